"""A recording's rows taken from its sensors to the model and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..estimators import MEGFMTransformer
from ..inputs import Recording, rate_ratio, window_starts
from ..inputs.windows import resample_segment
from ..models import ModelConfig, complete_recording, draw_masks
from ..sensors import SensorMapping
from ..sensors.geometry import MIN_CHANNELS, read_geometry


class CanonicalRow(NamedTuple):
    """A row of a recording on the canonical array, of which a part is hidden.

    Attributes
    ----------
    signal : ndarray, shape (n_canonical, n_times)
        At the model's rate, in T.
    unseen : ndarray of bool, shape (n_regions, n_patches)
        Tokens that are hidden, or that too few channels are left for.
    level : ndarray, shape (n_names, 1)
        Offsets that were taken away.
    n_samples : int
        Length of the row at its own rate.
    """

    signal: NDArray[np.float64]
    unseen: NDArray[np.bool_]
    level: NDArray[np.float64]
    n_samples: int


@dataclass(eq=False)
class SensorPredictor:
    """Ways from a recording's sensors to the model and back.

    Parameters
    ----------
    transformer : MEGFMTransformer
        A fitted transformer.
    recording : Recording
        The recording.
    """

    transformer: MEGFMTransformer
    recording: Recording
    _kept: dict[tuple[str, ...], SensorMapping] = field(default_factory=dict)

    def __post_init__(self) -> None:
        base, array = self.mapping(()), self.transformer.sensor_mapping_.array
        self.good = list(self.recording.ch_names)
        self.names = list(base.all_ch_names)
        self.back = base.from_canonical
        geometry = read_geometry(self.recording.info)
        order = [geometry.names.index(name) for name in self.names]
        apart = geometry.pos[order][:, None] - array.pos
        nearest = np.square(apart).sum(-1).argmin(1)
        #: region of each of `names`: that of the nearest virtual sensor
        self.region = array.region[nearest]
        #: where the good channels are among `names`
        self.at = np.array([self.names.index(name) for name in self.good])

    def mapping(self, names: tuple[str, ...]) -> SensorMapping:
        """Compute or look up the mapping without some channels."""
        if names not in self._kept:
            left_out = self.recording.left_out + names
            recording = replace(self.recording, left_out=left_out)
            self._kept[names] = self.transformer.sensor_mapping_.mapping(recording)
        return self._kept[names]

    def project(
        self, data: NDArray[np.float64], left_out: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Map good channels, but for some, to the canonical array."""
        names = tuple(np.array(self.good)[left_out].tolist())
        mapping = self.mapping(names)
        return mapping.to_canonical @ data[np.isin(self.good, mapping.ch_names)]

    # -- masks --------------------------------------------------------------
    def draw(
        self, masking: Callable, n_samples: int, generator: torch.Generator
    ) -> NDArray[np.bool_]:
        """Draw a mask over the tokens of a row, window after window.

        Returns
        -------
        tokens : ndarray of bool, shape (n_regions, n_patches)
            True where hidden.
        """
        config = self.transformer.config_
        region_pos = torch.from_numpy(
            np.array(self.transformer.sensor_mapping_.array.region_pos)
        )
        parts = []
        for first in range(0, self.n_model(n_samples), config.n_times):
            n_valid = min(config.n_times, self.n_model(n_samples) - first)
            mask = draw_masks(
                masking, 1, torch.tensor([n_valid]), config, region_pos, generator
            )
            parts.append(mask[0, :, : -(-n_valid // config.patch_length)].numpy())
        return np.concatenate(parts, 1)

    def n_model(self, n_samples: int) -> int:
        """Count the samples of a row at the model's rate."""
        up, down, _ = rate_ratio(self.recording.sfreq, self.transformer.config_.sfreq)
        return -(-n_samples * up // down)

    def spread(self, tokens: NDArray[np.bool_], n_samples: int) -> NDArray[np.bool_]:
        """Spread a mask over tokens to the recording's channels and samples."""
        config = self.transformer.config_
        up, down, _ = rate_ratio(self.recording.sfreq, config.sfreq)
        patch = np.arange(n_samples) * up // (down * config.patch_length)
        return tokens[self.region][:, patch]

    # -- prediction ---------------------------------------------------------
    def prepare(
        self,
        data: NDArray[np.float64],
        tokens: NDArray[np.bool_],
        silent: NDArray[np.bool_],
        offset: NDArray[np.float64],
    ) -> CanonicalRow:
        """Map the visible part of a row to the canonical array.

        Parameters
        ----------
        data : ndarray, shape (n_good, n_samples)
            Good channels.
        tokens : ndarray of bool, shape (n_regions, n_patches)
            What to hide. Values there are not looked at.
        silent : ndarray of bool, shape (n_good,)
            Channels that are left out of this row.
        offset : ndarray, shape (n_good,)
            Mean of each over what is visible in the recording; NaN if nothing is.

        Returns
        -------
        row : CanonicalRow
            The row.
        """
        config = self.transformer.config_
        n_samples = data.shape[1]
        up, down, _ = rate_ratio(self.recording.sfreq, config.sfreq)
        known = np.isfinite(offset)
        offset = np.where(known, offset, 0.0)
        level = self.back @ self.project(offset[:, None], ~known | silent)
        # a channel's own mean where it has one, that of the field elsewhere
        level[self.at[known], 0] = offset[known]
        data = data - offset[:, None]
        hidden = self.spread(tokens, n_samples)[self.at]
        # the filter that resamples must not carry hidden signal to visible samples
        visible = _bridge(data, hidden)
        visible = resample_segment(visible, up, down, n_out=self.n_model(n_samples))

        canonical = np.zeros((len(self.back.T), visible.shape[1]))
        unseen = tokens.copy()
        sets, which = np.unique(tokens, axis=1, return_inverse=True)
        for number, column in enumerate(sets.T):
            left_out = column[self.region[self.at]] | silent
            patches = which.ravel() == number
            if (~left_out).sum() < MIN_CHANNELS:
                unseen[:, patches] = True
                continue
            at = np.repeat(patches, config.patch_length)[: visible.shape[1]]
            canonical[:, at] = self.project(visible[:, at], left_out)
        return CanonicalRow(canonical, unseen, level, n_samples)

    def finish(
        self, row: CanonicalRow, signal: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Take a completed row to all MEG channels, shape (n_names, n_samples)."""
        up, down, _ = rate_ratio(self.recording.sfreq, self.transformer.config_.sfreq)
        signal = resample_segment(signal, down, up, n_out=row.n_samples)
        return self.back @ signal + row.level

    def complete(
        self,
        rows: list[CanonicalRow],
        starts: list[int],
        masking: Callable,
        names: tuple[str, ...],
    ) -> dict[str, list[NDArray[np.float64]]]:
        """Replace hidden tokens of canonical rows by predictions.

        Windows overlap by half. Where several predict a token, they are weighted by
        how far from their ends it lies and by how much they see.

        Parameters
        ----------
        rows : list of CanonicalRow
            All rows of the recording.
        starts : list of int
            First sample of each on the recording's time line, at the model's rate.
        masking : callable
            What the rows were masked by.
        names : tuple of str
            Predictions that are wanted: ``"model"``, or one of what it is made of.

        Returns
        -------
        signals : dict of str to list of ndarray, shape (n_canonical, n_times)
            Each row, for each of the names.
        """
        config = self.transformer.config_
        n, length = config.n_patches, config.patch_length
        cuts = [
            window_starts(row.signal.shape[1], config.n_times, length, n // 2)
            for row in rows
        ]
        where = [(i, first) for i, cut in enumerate(cuts) for first in cut.tolist()]
        windows = np.zeros((len(where), config.n_sensors, config.n_times), np.float32)
        n_valid = np.empty(len(where), int)
        for window, (k, (i, first)) in zip(windows, enumerate(where), strict=True):
            part = rows[i].signal[:, first * length :][:, : config.n_times]
            window[:, : part.shape[1]], n_valid[k] = part, part.shape[1]

        def cut(tokens: list[NDArray[np.bool_]]) -> torch.Tensor:
            masks = np.zeros((len(where), config.n_regions, n), bool)
            for mask, (i, first) in zip(masks, where, strict=True):
                part = tokens[i][:, first : first + n]
                mask[:, : part.shape[1]] = part
            return torch.from_numpy(masks)

        def draw(generator: torch.Generator) -> torch.Tensor:
            return cut([self.draw(masking, row.n_samples, generator) for row in rows])

        masks = cut([row.unseen for row in rows])
        place = [starts[i] + first * length for i, first in where]
        device = next(self.transformer.model_.parameters()).device
        with torch.inference_mode():
            completed = complete_recording(
                self.transformer.model_,
                torch.from_numpy(windows).to(device),
                masks.to(device),
                draw,
                n_valid=torch.from_numpy(n_valid).to(device),
                starts=torch.tensor(place, device=device),
                batch_size=self.transformer.batch_size,
            )
        recorded = np.arange(n) * length < n_valid[:, None]
        share = (~masks.numpy() & recorded[:, None]).mean((1, 2))
        taper = np.minimum(np.arange(1, n + 1), np.arange(n, 0, -1))
        out = {}
        for name in names:
            predicted = completed.model if name == "model" else completed.parts[name]
            out[name] = _overlap_add(
                rows, where, predicted.cpu().numpy(), share[:, None] * taper, config
            )
        return out


def _overlap_add(
    rows: list[CanonicalRow],
    where: list[tuple[int, int]],
    predicted: NDArray[np.float32],
    gains: NDArray[np.float64],
    config: ModelConfig,
) -> list[NDArray[np.float64]]:
    """Average overlapping windows, weighted patch by patch, where rows are hidden."""
    length = config.patch_length
    totals = [np.zeros_like(row.signal) for row in rows]
    weights = [np.zeros(row.signal.shape[1]) for row in rows]
    for (i, first), window, gain in zip(where, predicted, gains, strict=True):
        samples = slice(first * length, first * length + config.n_times)
        size = len(weights[i][samples])
        gain = np.repeat(gain, length)[:size]
        weights[i][samples] += gain
        totals[i][:, samples] += gain * window[:, :size]
    out = []
    for row, total, weight in zip(rows, totals, weights, strict=True):
        mean = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
        at = np.repeat(row.unseen, config.sensors_per_region, 0)
        at = np.repeat(at, length, 1)[:, : total.shape[1]]
        out.append(np.where(at, mean, row.signal))
    return out


def _bridge(
    data: NDArray[np.float64], hidden: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Put straight lines between visible samples; zeros where there are none."""
    data, time = data.copy(), np.arange(data.shape[1])
    for row, away in zip(data, hidden, strict=True):
        if away.all():
            row[:] = 0.0
        elif away.any():
            row[away] = np.interp(time[away], time[~away], row[~away])
    return data
