"""Train the participant encoder that comes with the bundled weights.

``python tools/train_participants.py WORK`` simulates participants, keeps their
canonical windows with the trials in order under WORK, finds the projection of trials,
pretrains the participant encoder by hiding trials, and writes it beside the window
weights (WEIGHTS, the bundled ones by default). It continues where it was interrupted.
The participant encoder reads canonical signals, not tokens of the window encoder: it
need not be trained again for new window weights on the same array.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mne.utils import ProgressBar, logger, use_log_level
from safetensors.torch import load_file, save_file
from simulated_participants import FIRST, read_person, simulate_store
from train_windows import RANDOM_STATE, STATES

from mne_megfm.models import ParticipantConfig, ParticipantTransformer, TrialInputs
from mne_megfm.participants import PersonTrials, fit_trial_inputs, recent_stimuli
from mne_megfm.participants.features import measure_population
from mne_megfm.participants.trials import Part, StateTrials, join_parts
from mne_megfm.pretraining import pretrain_participant_encoder
from mne_megfm.weights import (
    PARTICIPANT_ENCODER,
    load_checkpoint,
    weights_path,
)

#: Participants that the axes are found on.
N_FOR_AXES = 300
SFREQ = 250.0


def _segments(windows: np.ndarray, tmin: float, n_after: int) -> np.ndarray:
    onset = round(-tmin * SFREQ)
    return windows[:, :, onset : onset + n_after]


def _log_spectrum(inputs: TrialInputs, windows: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return inputs.log_spectrum(torch.from_numpy(windows)).numpy()


def find_inputs(paths: list[Path], config: ParticipantConfig) -> TrialInputs:
    """Find the axes by which trials are known.

    Parameters
    ----------
    paths : list of Path
        Files of participants.
    config : ParticipantConfig
        Sizes.

    Returns
    -------
    inputs : TrialInputs
        The maps.
    """
    inputs = TrialInputs(n_response=config.n_response, n_spectral=config.n_spectral)
    spectra = []
    for path in ProgressBar(paths, mesg="Spectra"):
        arrays = read_person(path)
        spectra += [
            _log_spectrum(inputs, arrays[state][::4])
            for state in STATES
            if state in arrays
        ]

    def read() -> Iterator[np.ndarray]:
        for path in ProgressBar(paths, mesg="Axes"):
            arrays = read_person(path)
            for state in STATES[1:]:
                if state in arrays:
                    yield _segments(
                        arrays[state], float(arrays["tmin"]), inputs.n_after
                    )

    fit_trial_inputs(inputs, read, np.concatenate(spectra))
    return inputs


def read_states(path: Path, inputs: TrialInputs) -> dict[str, StateTrials]:
    """Read a stored participant as trials.

    Parameters
    ----------
    path : Path
        The file.
    inputs : TrialInputs
        The maps.

    Returns
    -------
    states : dict of StateTrials
        Trials of each state.
    """
    arrays, states = read_person(path), {}
    for state in STATES:
        if state not in arrays:
            continue
        components = recent = total = None
        if state != "rest":
            segments = _segments(arrays[state], float(arrays["tmin"]), inputs.n_after)
            segments = torch.from_numpy(segments)
            with torch.inference_mode():
                components, total = inputs.components(segments), segments.sum(0)
            recent = recent_stimuli(arrays[f"{state}_times"])
        spectra = torch.from_numpy(_log_spectrum(inputs, arrays[state]))
        part = Part(components, spectra, recent, total)
        states[state] = join_parts(state, [part], inputs)
    return states


def main(args: list[str] | None = None) -> None:
    """Simulate, pretrain the participant encoder, and write it.

    Parameters
    ----------
    args : list of str, optional
        Command line; that of the process by default.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="folder for participants and the run")
    parser.add_argument("--weights", default="megfm-tiny", help="window weights")
    parser.add_argument("--participants", type=int, default=745)
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--steps-per-epoch", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--held-out", type=int, default=64)
    parser.add_argument("--n-jobs", type=int, default=1)
    options = parser.parse_args(args)
    with use_log_level("info"):
        train(options)


def train(options: argparse.Namespace) -> None:
    """Run all stages.

    Parameters
    ----------
    options : Namespace
        See ``--help``.
    """
    paths = simulate_store(options.work, options.participants, options.n_jobs)
    config = ParticipantConfig()
    torch.manual_seed(RANDOM_STATE)
    encoder = ParticipantTransformer(config)
    kept = options.work / "inputs.safetensors"
    if kept.is_file():
        encoder.inputs.load_state_dict(load_file(kept))
    else:
        encoder.inputs = find_inputs(paths[:N_FOR_AXES], config)
        save_file(encoder.inputs.state_dict(), kept)
    people = [
        read_states(path, encoder.inputs) for path in ProgressBar(paths, mesg="Trials")
    ]
    history = pretrain_participant_encoder(
        encoder,
        [
            PersonTrials.join([state.trials for state in states.values()])
            for states in people
        ],
        max_epochs=options.epochs,
        steps_per_epoch=options.steps_per_epoch,
        batch_size=options.batch_size,
        n_valid=options.held_out,
        random_state=RANDOM_STATE,
        directory=options.work / "run",
    )
    measure_population(encoder, people)
    path = weights_path(options.weights)
    training = {
        "data": "simulated recordings (mne_megfm.simulation.simulate_participant)",
        "random_state": RANDOM_STATE,
        "participants": len(people),
        "first_participant": FIRST,
        "participants_held_out": options.held_out,
        "participants_for_axes": min(N_FOR_AXES, len(paths)),
        "epochs": options.epochs,
        "steps": options.epochs * options.steps_per_epoch,
        "batch_size": options.batch_size,
        "best_epoch": history.best_epoch,
        "train_loss": [round(x, 4) for x in history.train_loss],
        "valid_loss": [round(x, 4) for x in history.valid_loss],
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores, cpu",
        "torch": torch.__version__,
    }
    PARTICIPANT_ENCODER.save(path, encoder, load_checkpoint(path).kernel, training)
    logger.info(f"Wrote the participant encoder to {path}")


if __name__ == "__main__":
    main()
