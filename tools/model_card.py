"""What the model card of the bundled weights says."""

from __future__ import annotations

from pathlib import Path

import mne
import numpy as np

from mne_megfm.estimators import MEGFMTransformer
from mne_megfm.interpret import COLUMNS, score_reconstruction

#: Of the masks that are reported; the stacking was chosen on others.
SEEDS = (2, 3, 4)


def score_recording(
    weights: Path, name: str, band: tuple[float, float] | None = None
) -> dict:
    """Score masked reconstruction of one recording.

    Parameters
    ----------
    weights : Path
        The checkpoint.
    name : str
        A recording in any format that MNE reads.
    band : tuple of float | None
        Pass band to filter it to, in Hz; None leaves it as recorded.

    Returns
    -------
    scores : dict
        For each kind of mask R² of all predictions: mean and standard deviation over
        3 seeds of one mask a window.
    """
    raw = mne.io.read_raw(name)
    if band is not None:
        raw.load_data().filter(*band)
    transformer = MEGFMTransformer(weights=weights).fit(raw)
    frames = [
        score_reconstruction(raw, transformer, n_draws=1, random_state=seed)
        for seed in SEEDS
    ]
    values = np.stack([frame.to_numpy() for frame in frames])
    return {
        mask: {
            column: [
                round(float(values[:, i, j].mean()), 3),
                round(float(values[:, i, j].std()), 3),
            ]
            for j, column in enumerate(frames[0].columns)
        }
        for i, mask in enumerate(frames[0].index)
    }


def model_card(training: dict) -> str:
    """Write the model card of the bundled weights.

    Parameters
    ----------
    training : dict
        What the weights have seen, as kept in ``config.json``.

    Returns
    -------
    card : str
        The card, in Markdown.
    """
    t, stages, first = training, training["stages"], training["stages"][0]
    s = first["settings"]
    command = (
        f"python tools/train_windows.py WORK --participants "
        f"{t['participants']} --steps-per-epoch {s['steps_per_epoch']} "
        f"--batch-size {s['batch_size']}{'' if s['bf16'] else ' --fp32'}"
    )
    settings = [stage["settings"] for stage in stages]
    described = "\n".join(
        f"  {number}. {each['epochs']} epochs, highest learning rate {each['lr']}, "
        f"objective `{each['objective']}`, augmentation `{each['augmentation']}`"
        f"{', decoder alone' if each['decoder_only'] else ''}; kept: epoch "
        f"{stage['best_epoch']}, with the least loss on held-out participants."
        for number, (stage, each) in enumerate(zip(stages, settings, strict=True), 1)
    )
    curve = "\n".join(
        f"| {number}.{epoch} | {train:.4f} | {valid:.4f} |"
        for number, stage in enumerate(stages, 1)
        for epoch, (train, valid) in enumerate(
            zip(stage["train_loss"], stage["valid_loss"], strict=True), 1
        )
    )
    counts = "\n".join(
        f"| {row['state']} | {row['array']} | {row['participants']} | "
        f"{row['windows']} | {row['hours']} |"
        for row in first["counts"]
    )
    versions = ", ".join(f"{name} {value}" for name, value in first["versions"].items())
    columns = list(COLUMNS)
    results = "\n".join(
        f"| {name} | {mask} | "
        + " | ".join(
            f"{mean:.3f} ({sd:.3f})" for mean, sd in (scores[c] for c in columns)
        )
        + " |"
        for name, masks in t["reconstruction"].items()
        for mask, scores in masks.items()
    )
    return f"""# megfm-tiny

Weights of the masked-signal transformer of mne-megfm, for
`MEGFMTransformer(weights="megfm-tiny")`.

## Limits

- Not for diagnosis, nor for any other clinical use.
- Not the published study's weights: they were trained here, on simulated
  recordings alone. No real recording was seen.
- The simulation has rest, auditory and somatosensory states on
  {len(t["arrays"])} arrays. Other tasks, systems and populations are transfer, to be
  checked with masked reconstruction (`mne_megfm.interpret.score_reconstruction`).

## Data

{first["windows"]} windows of 1 s at 250 Hz from {t["participants"]} participants of
`mne_megfm.simulation.simulate_participant` with `random_state={t["random_state"]}`
({first["participants_held_out"]} of them held out for the loss below). Participants of
this random state must not be used for evaluation.

| state | array | participants | windows | hours |
|---|---|---|---|---|
{counts}

## Training

- Command (seed included): `{command}`
- Seed: {t["random_state"]}
- Steps: {t["steps"]} of {s["batch_size"]} windows, {s["steps_per_epoch"]} an epoch, in
  {len(stages)} stages, as `mne-megfm pretrain` does them:
{described}
- Masking: `{s["masking"]}`.
- Hardware: {first["hardware"]}; {"bfloat16 autocast" if s["bf16"] else "float32"}.
- Versions: {versions}.
- Licence: {s["licence"]}.

## Real recordings

R² of hidden signal, mean (SD) over 3 seeds of a mask a window. Network: these weights
alone. Wiener: Wiener interpolation by the covariances of the visible part of the same
recording. Field: minimum-norm interpolation at the best of six regularisations, chosen
on the hidden truth. Time: straight lines. Model: network, field and Wiener, stacked. No
weight was fitted to these recordings, but they were looked at while the mapping, the
simulation, the decoder and the stacking were chosen: they are not an untouched test.

| recording | hidden | {" | ".join(columns)} |
|---|---|{"---|" * len(columns)}
{results}

## Participant encoder

`participant.safetensors` gives features of participants from all their trials. It was
trained by `python tools/train_participants.py WORK` on further simulated participants
of the same random state, without labels. `participant.json` has their number, the steps
and the losses.

## Posterior encoder

`posterior.safetensors` infers 60 parameters of physiology of a participant. It was
trained by `python tools/train_people.py` on 979,000 SIMULATED people, 128 windows
of 1 s each (125 million windows), 18 minutes on one NVIDIA H100, by the negative
log likelihood of the true parameters and the reconstruction of hidden inputs. No
real recording was seen. Of new simulated people of the same kind it explains 48 %
of the variance of a parameter on average (alpha frequency 97 %; couplings of
rhythms 0 to 30 %), and intervals of 80 % hold 80.3 % of the truth. Of people of
other simulators, and of real people, both are worse: it is a prior about brains as
they were simulated.

## Loss curve

| epoch | training | held-out participants |
|---|---|---|
{curve}
"""
