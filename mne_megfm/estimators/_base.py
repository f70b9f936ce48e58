"""What estimators of MEG recordings share: the model, its training, its keeping."""

from __future__ import annotations

import copy
import inspect
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from mne.utils import warn
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ..inputs import Recordings, as_recordings
from ..plugins import get, resolve
from ..pretraining import (
    delete_level,
    fit_token_axes,
    pretrain,
    save_checkpoint,
    save_level,
)
from ..weights import weights_path
from ._extraction import RowTokens, gather_windows, iter_row_tokens
from ._start import (
    find_device,
    random_fields,
    start_level,
    start_model,
    untrained_level,
)

_AXES_WINDOWS = 2000
#: Parameters that the model depends on, besides ``random_state``.
_OF_MODEL = (
    "weights",
    "frontend",
    "pooling",
    "backbone",
    "config",
    "participants",
    "device",
    "max_epochs",
)
_OF_PRETRAINING = (
    "masking",
    "mask_ratio",
    "objective",
    "lr",
    "valid_fraction",
    "patience",
)


class BaseMEGFM(BaseEstimator):
    """An estimator around a masked-signal transformer.

    Subclasses have the parameters of
    :class:`~mne_megfm.estimators.MEGFMTransformer`.
    """

    def _fit_model(self, recordings: Recordings) -> None:
        """Load or draw weights, and pretrain where that is asked for."""
        key = self._model_key()
        for kind, part in (
            ("backbones", self.backbone),
            ("maskings", self.masking),
            ("objectives", self.objective),
        ):
            # a wrong name is an error also where nothing uses it
            (get if isinstance(part, str) else resolve)(kind, part)
        self.frontend_ = resolve("frontends", self.frontend)
        self.pooling_ = resolve("poolings", self.pooling)
        device = find_device(self.device)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        model, training = start_model(
            self.weights, self.frontend_, self.backbone, self.config, seed
        )
        untrained = self.weights is None and not self.max_epochs
        if untrained:
            # nothing is learnt from X: a network at its random start
            fields = random_fields(self.frontend_, model.config, seed)
            fit_token_axes(model, fields, len(fields), seed=seed)
            training = {"untrained": {"seed": seed}}
        self.level_, seen = None, None
        if self.participants != "statistics" and untrained:
            self.level_ = untrained_level(fields, model.config, seed)
            seen = training
        elif self.participants != "statistics" and self.weights is not None:
            self.level_, seen = start_level(self.weights, model)
        if self.participants == "level" and self.level_ is None:
            raise ValueError(
                "Expected weights with a level over trials for participants='level', "
                f"got weights={self.weights!r} (max_epochs={self.max_epochs}), which "
                "have none; use participants='auto' for means and standard deviations "
                "over trials."
            )
        self.model_ = model.to(device)
        self.config_ = model.config
        self.history_ = None
        if self.max_epochs:
            training = training | self._train(recordings, seed)
        if self.level_ is not None:
            training = training | {"level": seen}
        self.training_ = training
        self._loaded_for = key

    def _model_key(self) -> str:
        """Hash what the model depends on, besides the data of pretraining."""
        values = [getattr(self, name) for name in _OF_MODEL]
        if isinstance(self.random_state, np.random.RandomState):
            values.append(id(self.random_state))  # drawing from it changes it
        else:
            values.append(self.random_state)
        if self.weights is not None:
            try:
                stat = (weights_path(self.weights) / "config.json").stat()
                values += [stat.st_mtime_ns, stat.st_size]
            except OSError:
                pass  # loading will say what is wrong
        return joblib.hash(values)

    def _warn_unused(self, unit: str) -> None:
        """Name parameters that were set and have no effect."""
        has_encoder = unit == "participant" and self.level_ is not None
        idle = {
            "max_epochs=0": () if self.max_epochs else _OF_PRETRAINING,
            "weights that bring their own": ("backbone",) if self.weights else (),
            "participants described by the participant encoder, which reads signals "
            "(participants='statistics' pools tokens)": ("pooling",)
            if has_encoder
            else (),
            "rows that the participant encoder does not describe": ()
            if has_encoder
            else ("append_evoked",),
            "a row an epoch": () if unit == "participant" else ("participants",),
        }
        defaults = inspect.signature(type(self)).parameters
        found = [
            f"{', '.join(changed)} with {reason}"
            for reason, names in idle.items()
            if (changed := [n for n in names if self._differs(n, defaults[n].default)])
        ]
        if found:
            warn(f"Parameters that are set have no effect: {'; '.join(found)}.")

    def _differs(self, name: str, default: Any) -> bool:
        value = getattr(self, name)
        return value is not default and not (
            isinstance(value, type(default)) and value == default
        )

    def _train(self, recordings: Recordings, seed: int) -> dict:
        windows = gather_windows(
            recordings, self.frontend_, self.config_, self.batch_size
        )
        named = isinstance(self.masking, str)
        self.history_ = pretrain(
            self.model_,
            windows,
            self._region_pos(),
            masking=resolve(
                "maskings",
                self.masking,
                **({"mask_ratio": self.mask_ratio} if named else {}),
            ),
            objective=resolve("objectives", self.objective),
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            valid_fraction=self.valid_fraction,
            patience=self.patience,
            bf16=self.bf16,
            seed=seed,
        )
        if self.weights is None:
            fit_token_axes(self.model_, windows, _AXES_WINDOWS, seed=seed)
        n_epochs = len(self.history_.epoch)
        seen = {"windows": len(windows), "rows": recordings.n_rows}
        return {"fitted_on": {**seen, "epochs": n_epochs, "seed": seed}}

    def _recordings(self, X: Any) -> Recordings:
        return as_recordings(
            X,
            window=self.window,
            overlap=self.overlap,
            reject_by_annotation=self.reject_by_annotation,
        )

    def _region_pos(self) -> torch.Tensor:
        return torch.from_numpy(np.array(self.frontend_.array.region_pos))

    def _row_tokens(self, recordings: Recordings) -> Iterator[RowTokens]:
        return iter_row_tokens(
            recordings,
            self.frontend_,
            self.model_,
            batch_size=self.batch_size,
            bf16=self.bf16,
        )

    def _pool(self, tokens: torch.Tensor, recorded: torch.Tensor) -> np.ndarray:
        device = self.model_.kernel.device
        with torch.inference_mode():
            pooled = self.pooling_(tokens.to(device), recorded.to(device), self.model_)
        return pooled.cpu().numpy()

    def save_pretrained(
        self, directory: str | os.PathLike, *, overwrite: bool = False
    ) -> Path:
        """Write the model for ``MEGFMTransformer(weights=directory)``.

        Parameters
        ----------
        directory : path-like
            The folder; made if it does not exist.
        overwrite : bool
            Whether an existing checkpoint may be replaced.

        Returns
        -------
        directory : Path
            The folder.

        Raises
        ------
        FileExistsError
            If the folder has files and ``overwrite`` is False.
        """
        check_is_fitted(self, "model_")
        card = (
            "# Weights for mne-megfm\n\nWritten by `MEGFMTransformer.save_pretrained`. "
            "What they have seen:\n\n```json\n"
            f"{json.dumps(self.training_, indent=2)}\n```\n\n"
            "Not for diagnosis.\n"
        )
        path = save_checkpoint(
            directory,
            self.model_,
            card=card,
            training=self.training_,
            overwrite=overwrite,
        )
        if self.level_ is None:
            delete_level(path)
        else:
            save_level(path, self.level_, self.model_.kernel, self.training_["level"])
        return path

    def __getstate__(self) -> dict:
        state = super().__getstate__()
        model = state.get("model_")
        if model is not None and next(model.parameters()).device.type != "cpu":
            # a pickle must open where there is no GPU
            state = state | {"model_": copy.deepcopy(model).cpu()}
        return state
