"""Hidden parts of one row, predicted from the rest of it, on its own sensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..estimators import MEGFMTransformer
from ..inputs import Recording, rate_ratio, window_starts
from ..inputs._resampling import resample_segment
from ..pretraining import draw_masks
from ..sensors import SensorMapping
from ..sensors._geometry import MIN_CHANNELS, read_geometry


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
        base, array = self.mapping(()), self.transformer.frontend_.array
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
            self._kept[names] = self.transformer.frontend_.mapping(recording)
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
            np.array(self.transformer.frontend_.array.region_pos)
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
    def predict(
        self,
        data: NDArray[np.float64],
        tokens: NDArray[np.bool_],
        silent: NDArray[np.bool_],
        offset: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Predict the hidden part of a row; give the rest as it is mapped.

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
        predicted : ndarray, shape (n_names, n_samples)
            All MEG channels.
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
        canonical = self._complete(canonical, unseen)
        signal = resample_segment(canonical, down, up, n_out=n_samples)
        return self.back @ signal + level

    def _complete(
        self, signal: NDArray[np.float64], tokens: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Replace hidden tokens of a canonical row by the model's predictions.

        Windows overlap by half. Where several predict a token, they are weighed by
        how far from their ends it lies and by how much they see.
        """
        model, config = self.transformer.model_, self.transformer.config_
        n, length = config.n_patches, config.patch_length
        starts = window_starts(signal.shape[1], config.n_times, length, n // 2)
        windows = np.zeros((len(starts), config.n_sensors, config.n_times), np.float32)
        masks = np.zeros((len(starts), config.n_regions, n), bool)
        n_valid = np.empty(len(starts), int)
        for i, start in enumerate(starts):
            part = signal[:, start * length :][:, : config.n_times]
            windows[i, :, : part.shape[1]], n_valid[i] = part, part.shape[1]
            mask = tokens[:, start : start + n]
            masks[i, :, : mask.shape[1]] = mask
        recorded = np.arange(n) * length < n_valid[:, None]
        share = (~masks & recorded[:, None]).mean((1, 2))
        # nothing to predict, or nothing to predict it from
        useful = np.flatnonzero(masks.any((1, 2)) & (share > 0))
        total = np.zeros_like(signal)
        weight = np.zeros(-(-signal.shape[1] // length))
        taper = np.minimum(np.arange(1, n + 1), np.arange(n, 0, -1))
        device = next(model.parameters()).device
        size = self.transformer.batch_size
        for first in range(0, len(useful), size):
            at = useful[first : first + size]
            with torch.inference_mode():
                given = (
                    torch.from_numpy(x[at]).to(device)
                    for x in (windows, masks, n_valid)
                )
                predicted = model.reconstruct(*given).cpu().numpy()
            for i, window in zip(at, predicted, strict=True):
                stop = min(n, len(weight) - starts[i])
                gain = share[i] * taper[:stop]
                weight[starts[i] : starts[i] + stop] += gain
                samples = slice(starts[i] * length, starts[i] * length + n_valid[i])
                gain = np.repeat(gain, length)[: n_valid[i]]
                total[:, samples] += gain * window[:, : n_valid[i]]
        weight = np.repeat(weight, length)[: signal.shape[1]]
        predicted = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
        at = np.repeat(tokens, config.sensors_per_region, 0)
        at = np.repeat(at, length, 1)[:, : signal.shape[1]]
        return np.where(at, predicted, signal)


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
