"""The checkpoint that a run writes: usable from the first epoch on."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from mne.utils import logger
from torch import Tensor

from ..models import MaskedSignalTransformer, ModelConfig, ParticipantTransformer
from ..sensors import canonical_array
from ..store import WindowStore
from ._axes import fit_token_axes
from ._card import common_provenance, describe_run, run_card
from ._checkpoint import save_checkpoint
from ._curves import write_curves, write_tensorboard
from ._history import History
from ._level_checkpoint import delete_level, save_level
from ._masking import RandomMasking, SpaceBlockMasking, TimeBlockMasking
from ._metrics import masked_r2
from ._settings import PretrainSettings

#: Windows for the axes of compact pooling: after an epoch, and in the end.
AXES_WINDOWS, FINAL_AXES_WINDOWS = 256, 20_000
#: Held-out windows of each state that the card's scores are of.
SCORED_WINDOWS = 128
#: Kinds of masks that the card reports on, whatever was trained with.
SCORED_MASKS = {
    "random 80 %": RandomMasking(0.8),
    "time blocks of 300 ms": TimeBlockMasking(0.3),
    "quarter of the sensors": SpaceBlockMasking(0.25),
}


class Product:
    """Checkpoint, card and curves of a run, written by its first process.

    Parameters
    ----------
    store : WindowStore
        The data.
    directory : Path
        Where to write.
    settings : PretrainSettings
        Those of the run.
    config : ModelConfig
        Sizes of the model.
    n_processes : int
        How many train together.
    device : device
        What they train on.
    encoder : tuple of (ParticipantTransformer, dict) | None
        The participant encoder that goes with the weights, and what it has seen.
    """

    def __init__(
        self,
        store: WindowStore,
        directory: Path,
        settings: PretrainSettings,
        config: ModelConfig,
        n_processes: int,
        device: torch.device,
        encoder: tuple[ParticipantTransformer, dict] | None = None,
    ) -> None:
        self.store = store
        self.directory = directory
        self.settings = settings
        self.config = config
        self.n_processes = n_processes
        self.device = device
        self.encoder = encoder
        self.train, self.valid = store.split(settings.valid_fraction, settings.seed)
        self._preprocessing = common_provenance(store)

    def update(self, history: History, best: dict[str, Tensor]) -> None:
        """Write curves after an epoch, and the checkpoint if it is the best so far."""
        write_curves(history, self.directory)
        write_tensorboard(history, self.directory / "run" / "tensorboard")
        if history.best_epoch == history.epoch[-1]:
            self._write(self._model(best, AXES_WINDOWS), self._describe(history))

    def finish(self, history: History, best: dict[str, Tensor]) -> None:
        """Write the checkpoint with scores on what was held out."""
        write_curves(history, self.directory)
        model = self._model(best, FINAL_AXES_WINDOWS)
        training = self._describe(history)
        training["reconstruction"] = self._score(model)
        training["reconstruction_windows"] = SCORED_WINDOWS
        self._write(model, training)
        logger.info(f"Wrote the checkpoint {self.directory}")

    def _describe(self, history: History) -> dict:
        held_out = np.unique(self.store.participant[self.valid])
        s = self.settings
        n_batches = s.steps_per_epoch or math.ceil(len(self.train) / s.batch_size)
        described = describe_run(
            self.store,
            n_held_out=len(held_out),
            settings=s,
            history=history,
            n_steps=n_batches * len(history.epoch),
            n_processes=self.n_processes,
            device=self.device,
        )
        seen = {} if self.encoder is None else {"level": self.encoder[1]}
        return described | seen

    def _model(
        self, state: dict[str, Tensor], n_windows: int
    ) -> MaskedSignalTransformer:
        """Make a model of gathered weights, and find the axes of its tokens."""
        model = MaskedSignalTransformer(self.config, state["kernel"])
        model.load_state_dict(state)
        model.to(self.device)
        fit_token_axes(
            model, self.store, n_windows, index=self.train, seed=self.settings.seed
        )
        return model

    def _score(self, model: MaskedSignalTransformer) -> dict[str, dict]:
        """Score masked reconstruction of held-out windows, by state and mask."""
        region_pos = torch.from_numpy(np.array(canonical_array().region_pos))
        rng = np.random.default_rng(self.settings.seed)
        states = self.store.state[self.valid]
        scores = {}
        for state in np.unique(states).tolist():
            index = rng.permutation(self.valid[states == state])[:SCORED_WINDOWS]
            data, n_valid = map(torch.as_tensor, self.store.take(index))
            scores[state] = {
                name: {
                    key: round(value, 3)
                    for key, value in masked_r2(
                        model,
                        data,
                        masking,
                        region_pos,
                        n_valid=n_valid,
                        seed=self.settings.seed,
                    ).items()
                }
                for name, masking in SCORED_MASKS.items()
            }
        return scores

    def _write(self, model: MaskedSignalTransformer, training: dict) -> None:
        save_checkpoint(
            self.directory,
            model,
            card=run_card(training),
            training=training,
            preprocessing=self._preprocessing,
            overwrite=True,
        )
        if self.encoder is None:
            delete_level(self.directory)  # of a checkpoint that was there before
        else:
            encoder, seen = self.encoder
            save_level(self.directory, encoder, model.kernel, seen)
