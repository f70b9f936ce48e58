"""From canonical windows of one person to the posterior of the person's parameters."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ._encoder import EncoderConfig, ParticipantEncoder
from ._statistics import (
    KINDS,
    N_COMPONENTS,
    N_PLACES,
    N_TIMES,
    ONSET,
    SFREQ,
    PersonStatistics,
)

N_SENSORS = 192
#: Windows of rest and trials of a state that are read; of more, these are spread
#: evenly over the recording.
MOST = (60, 60, 60)


class StateWindows(NamedTuple):
    """Windows or trials of one state.

    Parameters
    ----------
    data : Tensor, shape (n, 192, n_times)
        Canonical signals (T) at 250 Hz.
    tmin : float
        Time of the first sample from the stimulus (s).
    times : Tensor, shape (n,)
        Times of the stimuli, or of the windows (s).
    """

    data: Tensor
    tmin: float
    times: Tensor


class PersonReader(nn.Module):
    """An encoder with all that takes canonical windows to it.

    Parameters
    ----------
    config : EncoderConfig
        Sizes of the encoder.

    Examples
    --------
    >>> import torch
    >>> from people import EncoderConfig, PersonReader, StateWindows
    >>> reader = PersonReader(EncoderConfig(d_model=32, n_layers=1, n_heads=4)).eval()
    >>> rest = StateWindows(1e-13 * torch.randn(12, 192, 250), 0.0, torch.arange(12.0))
    >>> mean, variance = reader({"rest": rest})
    >>> mean.shape, bool((variance > 0).all())
    (torch.Size([60]), True)
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.encoder = ParticipantEncoder(config)
        # components of the canonical array, and fields of the places on them
        self.register_buffer("whiten", torch.eye(N_COMPONENTS, N_SENSORS) * 1e12)
        gain = torch.randn(N_COMPONENTS, N_PLACES, 2, generator=torch.Generator())
        self.register_buffer("place_gain", 1e7 * gain)
        self.register_buffer("places", torch.randn(N_PLACES, 3) * 0.05)

    def forward(self, states: Mapping[str, StateWindows]) -> tuple[Tensor, Tensor]:
        """Infer one person's parameters.

        Parameters
        ----------
        states : mapping of str to StateWindows
            Recordings by state: one or more of ``'rest'``, ``'auditory'`` and
            ``'somatosensory'``.

        Returns
        -------
        mean, variance : Tensor, shape (n_parameters,)
            Posterior, in units of the prior's standard deviation; see
            `PARAMETERS`.

        Raises
        ------
        ValueError
            If there is no state that is known, or no window in one.
        """
        unknown = sorted(set(states) - set(KINDS))
        if unknown or not states:
            raise ValueError(
                f"Expected states among {', '.join(KINDS)}, got {unknown or 'none'}; "
                "rename the states."
            )
        parts, spans = [], []
        for kind, most in zip(KINDS, MOST, strict=True):
            if kind in states:
                *part, span = _fit_windows(states[kind], most, kind)
                parts.append(part)
                spans.append(span)
            else:
                parts.append(None)
        n_trials = max([1, *(len(p[1]) for p in parts[1:] if p is not None)])
        counts = [len(parts[0][1]) if parts[0] is not None else 1, n_trials, n_trials]
        n_windows = sum(counts)
        data = self.whiten.new_zeros(N_COMPONENTS, n_windows, N_TIMES)
        valid = torch.zeros(n_windows, dtype=torch.bool, device=data.device)
        times = data.new_zeros(n_windows)
        at = 0
        for part, count in zip(parts, counts, strict=True):
            if part is not None:
                here = slice(at, at + len(part[1]))
                signals = part[0].to(self.whiten)
                data[:, here] = torch.einsum("cs,nst->cnt", self.whiten, signals)
                valid[here] = True
                times[here] = part[1].to(times)
            at += count
        # what all states have
        span = max(s[0] for s in spans), min(s[1] for s in spans)
        read = PersonStatistics(self.place_gain, self.places, span)
        statistics = read(data[None], valid[None], times[None], tuple(counts))
        present = torch.tensor([[kind in states for kind in KINDS]], device=data.device)
        mean, log_var, _ = self.encoder(self.encoder.standard(statistics, present))
        return mean[0], log_var[0].exp()


def _fit_windows(
    state: StateWindows, most: int, kind: str
) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Bring windows to 250 samples with the stimulus at sample 50."""
    data, tmin, times = state
    n, _, n_times = data.shape
    if n == 0 or data.shape[1] != N_SENSORS:
        raise ValueError(
            f"Expected windows of {kind!r} of shape (n, {N_SENSORS}, n_times) with n "
            f"of at least 1, got {tuple(data.shape)}."
        )
    if n > most:
        index = torch.linspace(0, n - 1, most, device=data.device).round().long()
        data, times = data[index], torch.as_tensor(times)[index.cpu()]
    # windows of rest have no stimulus: any 250 samples will do
    first = 0 if kind == "rest" else round(-tmin * SFREQ) - ONSET
    start, stop = max(0, -first), min(N_TIMES, n_times - first)
    if stop - start < N_TIMES // 2:
        raise ValueError(
            f"Expected windows of {kind!r} with at least half a second between 0.2 s "
            f"before and 0.8 s after the stimulus, got {n_times / SFREQ:g} s from "
            f"{tmin:g} s on; cut longer epochs."
        )
    out = data.new_zeros(len(data), N_SENSORS, N_TIMES)
    out[..., start:stop] = data[..., first + start : first + stop]
    return out, torch.as_tensor(times), (start, stop)


def save_reader(reader: PersonReader, path: str | os.PathLike[str]) -> None:
    """Write a reader as half-precision safetensors.

    Parameters
    ----------
    reader : PersonReader
        The reader.
    path : path-like
        Where; an existing file is replaced in one go.
    """
    path = Path(path)
    weights = {}
    for name, value in reader.state_dict().items():
        # only pretraining rebuilds tokens; fields are beyond the range of half
        if name.startswith("encoder.rebuild"):
            continue
        small = name.startswith("encoder.") and value.is_floating_point()
        weights[name] = (value.half() if small else value).contiguous()
    about = {"config": json.dumps(reader.encoder.config.to_dict())}
    part = path.with_name(path.name + ".part")
    save_file(weights, part, metadata=about)
    os.replace(part, path)


def load_reader(path: str | os.PathLike[str]) -> PersonReader:
    """Read what `save_reader` wrote.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    reader : PersonReader
        The reader, for inference.

    Raises
    ------
    ValueError
        If the file is not of a reader.
    """
    with safe_open(path, "pt") as file:
        about = file.metadata() or {}
        weights = {name: file.get_tensor(name) for name in file.keys()}
    if "config" not in about or "whiten" not in weights:
        raise ValueError(
            f"Expected a file that save_reader wrote, got {str(path)!r} without a "
            "config or components; give another file."
        )
    reader = PersonReader(EncoderConfig(**json.loads(about["config"])))
    kept = {
        name: weights.get(name, value) for name, value in reader.state_dict().items()
    }
    missing = [
        name
        for name in kept
        if name not in weights and not name.startswith("encoder.rebuild")
    ]
    if missing:
        raise ValueError(
            f"Expected the weights of a participant encoder in {str(path)!r}, got none "
            f"of {missing[:3]}; give another file."
        )
    # weights are rounded on disk; computing is in single precision
    reader.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in kept.items()}
    )
    return reader.eval()
