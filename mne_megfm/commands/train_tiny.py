"""Retrain the bundled weights ``megfm-tiny`` from simulated recordings.

``python -m mne_megfm.commands.train_tiny WORK`` simulates participants on all
arrays, keeps their canonical windows under WORK, pretrains on them and writes the
checkpoint to WORK/megfm-tiny. It continues where it was interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from joblib import Parallel, delayed
from mne.utils import ProgressBar, logger, use_log_level

from ..datasets import simulate_participant
from ..inputs import as_recordings, iter_windows
from ..models import MaskedSignalTransformer, ModelConfig
from ..pretraining import (
    LogErrorLoss,
    MixedMasking,
    NoiseAndCropping,
    SignalSpectrumLoss,
    WindowArray,
    fit_token_axes,
    pretrain,
    save_checkpoint,
)
from ..sensors import canonical_array, canonical_kernel, compute_mapping
from ._model_card import model_card, score_recording

#: Participants of this random state are for pretraining: evaluate on others.
RANDOM_STATE = 7_300_000
ARRAYS = (
    "neuromag306",
    "neuromag122",
    "ctf151",
    "ctf275",
    "kit157",
    "kit160",
    "4d248",
    "opm64",
    "opm144",
)
STATES = ("rest", "auditory", "somatosensory")
WINDOWS_PER_STATE = 40
AVERAGES_PER_STATE = 6
UNIT = 1e-12
VALID_FRACTION = 0.02


class Stage(NamedTuple):
    """A part of the training with settings of its own."""

    epochs: int
    lr: float
    objective: Callable
    augmentation: dict
    decoder_only: bool


# The first objective leaves what interpolation does well nearly alone: an error of 5 %
# that could be 4 % counts for little beside one of 60 %. The second stage makes such
# errors count alike, on more short and filtered windows, and leaves tokens as they are.
STAGES = (
    Stage(32, 1e-3, SignalSpectrumLoss, {"noisy": 0.15, "short": 0.25}, False),
    Stage(
        8,
        5e-4,
        LogErrorLoss,
        {"noisy": 0.05, "short": 0.5, "filtered": 0.5},
        True,
    ),
)


def canonical_windows(inst: object) -> np.ndarray:
    """Bring one recording to canonical windows of 1 s.

    Parameters
    ----------
    inst : Epochs | Raw
        The recording.

    Returns
    -------
    windows : ndarray, shape (n, 192, 250)
        Canonical field in tesla.
    """
    recordings = as_recordings(inst)

    def project(recording: object) -> tuple[np.ndarray, list[str]]:
        mapping = compute_mapping(recording.info)
        return mapping.to_canonical, list(mapping.ch_names)

    blocks = [
        block.data[block.n_valid == block.data.shape[-1]]
        for block in iter_windows(recordings, project)
    ]
    return np.concatenate(blocks)


def participant_windows(number: int) -> np.ndarray:
    """Simulate one participant and bring its recordings to windows.

    Recordings are centred as a whole, as users centre or baseline-correct theirs,
    and some windows of the evoked states are averages of 2 to 30 trials, since
    averages are what many users will pass.

    Parameters
    ----------
    number : int
        Number of the participant.

    Returns
    -------
    windows : ndarray of float16, shape (n, 192, 250)
        Windows in units of ``UNIT``.
    """
    rng = np.random.default_rng([RANDOM_STATE, number])
    scales = np.random.default_rng([RANDOM_STATE, number, 1]).standard_normal(2)
    array = ARRAYS[number % len(ARRAYS)]
    participant = simulate_participant(
        number,
        array=array,
        label="migraine" if rng.random() < 0.5 else "control",
        states=STATES,
        n_epochs=WINDOWS_PER_STATE,
        # responses anywhere in the window, as in other people's epochs
        tmin=-0.004 * int(rng.integers(0, 126)),
        sfreq=250.0,
        effect_size=rng.uniform(0.0, 1.5),
        filters="random",
        # laboratories differ more than the simulator's defaults
        brain=float(np.exp(0.3 * scales[0])),
        noise=float(np.exp(0.5 * scales[1])),
        random_state=RANDOM_STATE,
    )
    out = []
    for state in STATES:
        windows = canonical_windows(participant.recordings[state])
        windows = windows - windows.mean((0, 2), keepdims=True)
        chosen = windows[rng.permutation(len(windows))[:WINDOWS_PER_STATE]]
        averages = []
        if state != "rest":
            for _ in range(AVERAGES_PER_STATE):
                n_trials = int(np.exp(rng.uniform(np.log(2), np.log(30))))
                trials = rng.permutation(len(windows))[:n_trials]
                averages.append(windows[trials].mean(0))
        out += [chosen, *(a[None] for a in averages)]
    windows = np.concatenate(out) / UNIT
    # saturated artefacts would be infinite at half precision
    return np.clip(windows, -3e4, 3e4).astype(np.float16)


def build_store(work: Path, n_participants: int, n_jobs: int) -> WindowArray:
    """Simulate participants into one file of windows, in resumable shares.

    Parameters
    ----------
    work : Path
        Where to.
    n_participants : int
        How many.
    n_jobs : int
        Processes.

    Returns
    -------
    windows : WindowArray
        Memory-mapped windows, with the participant of each.
    """
    work.mkdir(parents=True, exist_ok=True)
    per_person = len(STATES) * WINDOWS_PER_STATE + (len(STATES) - 1) * (
        AVERAGES_PER_STATE
    )
    config = ModelConfig()
    shape = (n_participants * per_person, config.n_sensors, config.n_times)
    path, done_path = work / "windows.npy", work / "done.json"
    done = json.loads(done_path.read_text()) if done_path.is_file() else 0
    mode = "r+" if path.is_file() and done else "w+"
    store = np.lib.format.open_memmap(path, mode, np.float16, shape)
    if store.shape != shape:
        raise ValueError(
            f"Expected windows of shape {shape} in {path}, got {store.shape}; choose "
            "another folder or the same number of participants."
        )
    share = 8 * n_jobs
    with Parallel(n_jobs=n_jobs) as parallel:
        for first in ProgressBar(range(done, n_participants, share), mesg="Simulating"):
            numbers = range(first, min(first + share, n_participants))
            parts = parallel(delayed(participant_windows)(n) for n in numbers)
            for number, part in zip(numbers, parts, strict=True):
                store[number * per_person : (number + 1) * per_person] = part
            store.flush()
            aside = done_path.with_suffix(".writing")
            aside.write_text(json.dumps(numbers[-1] + 1))
            os.replace(aside, done_path)
    recording = np.repeat(np.arange(n_participants), per_person)
    values = np.load(path, mmap_mode="r")
    return WindowArray(values, unit=UNIT, recording=recording)


def main(args: list[str] | None = None) -> None:
    """Simulate, pretrain, and write the checkpoint.

    Parameters
    ----------
    args : list of str, optional
        Command line; that of the process by default.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="folder for windows and checkpoints")
    parser.add_argument("--participants", type=int, default=450)
    parser.add_argument("--steps-per-epoch", type=int, default=250)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--fp32", action="store_true", help="no bfloat16 autocast")
    parser.add_argument(
        "--score",
        nargs="*",
        default=[],
        metavar="RECORDING",
        help="recordings to reconstruct for the model card",
    )
    options = parser.parse_args(args)
    with use_log_level("info"):
        train(options)


def train(options: argparse.Namespace) -> None:
    """Simulate, pretrain and write the checkpoint.

    Parameters
    ----------
    options : Namespace
        See ``--help``.
    """
    store = build_store(options.work, options.participants, options.n_jobs)
    torch.manual_seed(RANDOM_STATE)
    config = ModelConfig()
    kernel = torch.tensor(canonical_kernel(), dtype=torch.float32)
    model = MaskedSignalTransformer(config, kernel).to(options.device)
    region_pos = torch.tensor(canonical_array().region_pos)
    masking = MixedMasking()
    sensor_pos = torch.tensor(canonical_array().pos)
    stages = []
    for number, stage in enumerate(STAGES, 1):
        if stage.decoder_only:
            model.freeze_encoder()
        objective = stage.objective()
        augmentation = NoiseAndCropping(sensor_pos, **stage.augmentation)
        history = pretrain(
            model,
            store,
            region_pos,
            masking=masking,
            objective=objective,
            augmentation=augmentation,
            max_epochs=stage.epochs,
            steps_per_epoch=options.steps_per_epoch,
            batch_size=options.batch_size,
            lr=stage.lr,
            valid_fraction=VALID_FRACTION,
            bf16=not options.fp32,
            seed=RANDOM_STATE,
            directory=options.work / f"run-{number}",
        )
        stages.append(
            {
                "epochs": stage.epochs,
                "lr": stage.lr,
                "objective": repr(objective),
                "augmentation": repr(augmentation),
                "decoder_only": stage.decoder_only,
                "best_epoch": history.best_epoch,
                "train_loss": [round(x, 4) for x in history.train_loss],
                "valid_loss": [round(x, 4) for x in history.valid_loss],
            }
        )
    model = model.cpu()
    some = np.random.default_rng(RANDOM_STATE).permutation(len(store))[:2000]
    fit_token_axes(model, *store.take(some))
    training = {
        "name": "megfm-tiny",
        "data": "simulated recordings (mne_megfm.datasets.simulate_participant)",
        "random_state": RANDOM_STATE,
        "participants": options.participants,
        "participants_held_out": len(
            np.unique(store.recording[store.split(VALID_FRACTION, RANDOM_STATE)[1]])
        ),
        "arrays": list(ARRAYS),
        "states": list(STATES),
        "windows": len(store),
        "masking": repr(masking),
        "batch_size": options.batch_size,
        "bf16": not options.fp32,
        "steps_per_epoch": options.steps_per_epoch,
        "steps": sum(stage.epochs for stage in STAGES) * options.steps_per_epoch,
        "stages": stages,
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores, {options.device}",
        "torch": torch.__version__,
        "licence": "BSD-3-Clause",
    }
    path = options.work / "megfm-tiny"
    save_checkpoint(path, model, training=training, overwrite=True)
    training["reconstruction"] = {
        Path(name).stem: score_recording(path, name) for name in options.score
    }
    save_checkpoint(
        path, model, card=model_card(training), training=training, overwrite=True
    )
    logger.info(f"Wrote {path}")


if __name__ == "__main__":
    main()
