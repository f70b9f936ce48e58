"""Windows of recordings to tokens: sensor mapping, filters in space, encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..inputs import Recording, Recordings, WindowBlock, centre_windows, iter_windows
from ..models import Backbone, BackboneConfig, WindowArray, valid_patches
from ..sensors import CanonicalArray

#: What follows the name of a sensor mapping whose signals are also denoised.
SUFFIX = "+denoised"
# least time before the stimulus, in s, that says enough of the background
_LEAST_BASELINE = 0.05
# of the mean eigenvalue: directions that hardly vary must not rule
_RIDGE = 1e-2
# standard deviation of denoised signals, in T: about that of the windows of pretraining
_AMPLITUDE = 2e-13
# patterns of responses that are kept, rows that are needed to find them, and how long
# after the stimulus they are looked for, in s
_N_COMPONENTS, _LEAST_ROWS, _LONGEST = 8, 8, 1.0


class RowTokens(NamedTuple):
    """Tokens of rows of equal length."""

    row: np.ndarray  # (n,)
    tokens: Tensor  # (n, n_regions, n_patches, d_model), centred
    recorded: Tensor  # (n, n_patches), bool


def window_blocks(
    recordings: Recordings,
    sensor_mapping: Callable,
    config: BackboneConfig,
    batch_size: int,
    centre_rows: bool = True,
) -> Iterator[WindowBlock]:
    """Stream the windows that a model of this configuration takes.

    Rows are without their mean: an offset of the recording is no signal. Where parts
    of a row are to be hidden, its mean would reveal the mean of what is hidden: then
    ``centre_rows=False``.
    """
    return iter_windows(
        recordings,
        sensor_mapping,
        sfreq=config.sfreq,
        n_times=config.n_times,
        patch=config.patch_length,
        # half a window: each patch of a long row is seen with context on both sides
        overlap=config.n_patches // 2,
        batch_size=batch_size,
        centre_rows=centre_rows,
    )


def gather_windows(
    recordings: Recordings,
    sensor_mapping: Callable,
    config: BackboneConfig,
    batch_size: int = 64,
    targets: np.ndarray | None = None,
) -> WindowArray:
    """Read all windows into memory (192 kB each), to train on or to score.

    They are without the mean over their recording, as those of a window store are.
    ``targets``, one for each row, go with the windows of the row.
    """
    blocks = list(
        window_blocks(recordings, sensor_mapping, config, batch_size, centre_rows=False)
    )
    row = np.concatenate([block.row for block in blocks])
    data = np.concatenate([block.data for block in blocks])
    n_valid = np.concatenate([block.n_valid for block in blocks])
    for recording in recordings:
        if len(recording.rows) > 1:  # the mean of a single row reveals what is hidden
            mine = np.isin(row, recording.index)
            centre_windows(data, n_valid, mine)
    # what may not be split between training and validation: a list element
    # (a participant), or else a row
    group = recordings.elements if recordings.is_list else np.arange(recordings.n_rows)
    start = np.concatenate([block.start for block in blocks])
    return WindowArray(
        data,
        unit=1.0,
        n_valid=n_valid,
        recording=group[row],
        participant=group[row].astype(str) if recordings.is_list else None,
        start=start * config.patch_length / config.sfreq,
        targets=None if targets is None else targets[row],
    )


def iter_row_tokens(
    recordings: Recordings,
    sensor_mapping: Callable,
    model: Backbone,
    *,
    batch_size: int,
) -> Iterator[RowTokens]:
    """Encode rows; the windows of a long row are joined on its patches.

    Where windows of a row overlap, their tokens are averaged.
    """
    config = model.config
    device = next(model.parameters()).device
    held: tuple | None = None
    for block in window_blocks(recordings, sensor_mapping, config, batch_size):
        n_valid = torch.as_tensor(block.n_valid, device=device)
        data = torch.from_numpy(block.data).to(device)
        valid = None if bool((n_valid == config.n_times).all()) else n_valid
        with torch.inference_mode():
            tokens = model.encode(data, valid).float() - model.token_mean
        recorded = valid_patches(n_valid, config)
        tokens = tokens * recorded[:, None, :, None]
        part = (block.row, block.start, tokens.cpu(), recorded.cpu())
        if held is not None:
            part = (
                np.concatenate([held[0], part[0]]),
                np.concatenate([held[1], part[1]]),
                torch.cat([held[2], part[2]]),
                torch.cat([held[3], part[3]]),
            )
        # a row ends where the next begins; the last may go on in the next block
        firsts = np.flatnonzero(part[1] == 0)
        yield from _join(part, firsts)
        held = tuple(column[firsts[-1] :] for column in part)
    if held is not None:
        yield from _join(held, np.array([0, len(held[0])]))


@dataclass(frozen=True)
class PooledRows:
    """The encoder and the pooling of rows, as aggregators use them.

    Attributes
    ----------
    model : Backbone
        The window encoder.
    pooling : Pooling
        How tokens become features.
    sensor_mapping : callable
        How recordings reach its array.
    batch_size : int
        Windows at a time.
    """

    model: Backbone
    pooling: nn.Module
    sensor_mapping: Callable
    batch_size: int

    def features(
        self, recordings: Recordings
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Encode and pool rows; gives their numbers and features, a few at a time."""
        device = self.model.kernel.device
        for row, tokens, recorded in iter_row_tokens(
            recordings,
            self.sensor_mapping,
            self.model,
            batch_size=self.batch_size,
        ):
            with torch.inference_mode():
                pooled = self.pooling(
                    tokens.to(device), recorded.to(device), self.model
                )
            yield row, pooled.cpu().numpy()

    def names(self, n_patches: int) -> list[str]:
        """Name the features of rows of so many patches."""
        config = self.model.config
        seconds = config.patch_length / config.sfreq
        return self.pooling.names(config.n_regions, n_patches, config.d_model, seconds)


def _join(part: tuple, firsts: np.ndarray) -> Iterator[RowTokens]:
    """Join the windows of the rows that begin at ``firsts``, but for the last."""
    row, start, tokens, recorded = part
    lengths = np.diff(firsts)
    if not len(lengths):
        return
    if (lengths == 1).all():
        at = firsts[:-1]
        yield RowTokens(row[at], tokens[at], recorded[at])
        return
    for first, length in zip(firsts[:-1], lengths, strict=True):
        span = slice(first, first + length)
        n, step = int(start[span].max()) + tokens.shape[2], tokens.shape[2]
        total = torch.zeros(tokens.shape[1], n, tokens.shape[3])
        count = torch.zeros(n)
        for offset, window, inside in zip(
            start[span], tokens[span], recorded[span], strict=True
        ):
            total[:, offset : offset + step] += window
            count[offset : offset + step] += inside
        joined = total / count.clamp(min=1)[:, None]
        yield RowTokens(row[[first]], joined[None], (count > 0)[None])


class DenoisedSensorMapping:
    r"""A sensor mapping followed by a whitener and filters of responses in space.

    Parameters
    ----------
    sensor_mapping : callable
        The mapping to the canonical array.
    covariance : ndarray, shape (n_sensors, n_sensors)
        Covariance of the background on that array, in T².
    responses : ndarray, shape (n_sensors, n_sensors) | None
        Covariance of what is reproduced after each stimulus, in any unit; None for the
        whitener alone.

    Attributes
    ----------
    matrix : ndarray, shape (n_sensors, n_sensors)
        The filter, with a gain by which the background comes out with a standard
        deviation of 0.2 pT over sensors.
    n_components : int
        Patterns of responses that are kept: 8, or 0 for the whitener alone.

    See Also
    --------
    fit_denoising : Estimate both covariances from recordings.

    Notes
    -----
    With eigenvectors :math:`U` and eigenvalues :math:`\lambda` of the covariance, the
    whitener is :math:`W = U (\lambda + 0.01 \bar\lambda)^{-1/2} U^T`, ZCA whitening
    [1]_ with a ridge. It is symmetric, so that a whitened sensor stays where it was.
    With the eight leading eigenvectors :math:`V` of the whitened covariance of
    responses, the filter is :math:`V V^T W`: denoising source separation [2]_.

    References
    ----------
    .. [1] Kessy, Lewin and Strimmer (2018), "Optimal whitening and decorrelation", The
       American Statistician 72:309-314.
    .. [2] de Cheveigné and Simon (2008), "Denoising based on spatial filtering",
       J. Neurosci. Methods 171:331-339, section 2.2.
    """

    def __init__(
        self,
        sensor_mapping: Callable,
        covariance: NDArray,
        responses: NDArray | None = None,
    ) -> None:
        self.sensor_mapping = sensor_mapping
        matrix = whitener(covariance)
        self.n_components = 0
        if responses is not None:
            self.n_components = min(_N_COMPONENTS, len(matrix))
            patterns = np.linalg.eigh(matrix @ responses @ matrix)[1]
            patterns = patterns[:, -self.n_components :]
            matrix = patterns @ (patterns.T @ matrix)
        power = np.einsum("st,tr,sr->", matrix, covariance, matrix) / len(matrix)
        self.matrix = _AMPLITUDE / np.sqrt(power) * matrix

    def __repr__(self) -> str:
        return f"DenoisedSensorMapping({self.sensor_mapping!r})"

    @property
    def array(self) -> CanonicalArray:
        """The array that windows come out on."""
        return self.sensor_mapping.array

    def __call__(self, recording: Recording) -> tuple[NDArray, list[str]]:
        """Give the matrix to the array and the channels it takes."""
        matrix, names = self.sensor_mapping(recording)
        return self.matrix @ matrix, names


def whitener(covariance: NDArray) -> NDArray[np.float64]:
    """Compute the symmetric whitener of a covariance, with a ridge of 1 %.

    Parameters
    ----------
    covariance : ndarray, shape (n_sensors, n_sensors)
        The covariance.

    Returns
    -------
    matrix : ndarray, shape (n_sensors, n_sensors)
        The whitener.
    """
    values, vectors = np.linalg.eigh(covariance)
    values = values.clip(min=0) + _RIDGE * values.mean()
    return (vectors / np.sqrt(values)) @ vectors.T


def fit_denoising(
    recordings: Recordings,
    sensor_mapping: Callable,
    config: BackboneConfig,
    batch_size: int,
) -> DenoisedSensorMapping:
    """Estimate background and responses of rows, and the filter that they give.

    The background is what there is before the stimulus, if rows begin at least 50 ms
    before it; otherwise all that is in the rows. All samples count the same, as in
    :func:`mne.compute_covariance`, however the rows are divided into recordings; but in
    rows longer than a window those in two windows count twice.

    Responses are what rows of one recording share in the second after the stimulus
    (rows that are the only one of their recording count as one recording together): the
    covariance of their average, less what noise of single rows puts into it. No labels
    are used. In fewer than eight rows, and in rows that do not begin before a
    stimulus (windows of a Raw, epochs of fixed length), none are looked for, and
    signals are whitened alone.

    Parameters
    ----------
    recordings : Recordings
        The training rows.
    sensor_mapping : callable
        The mapping to the canonical array.
    config : BackboneConfig
        What the network takes.
    batch_size : int
        Windows at a time.

    Returns
    -------
    mapping : DenoisedSensorMapping
        The mapping, followed by the filter.

    Examples
    --------
    >>> import numpy as np
    >>> from mne_megfm import simulate_cohort
    >>> from mne_megfm.estimators.extraction import fit_denoising
    >>> from mne_megfm.inputs import as_recordings
    >>> from mne_megfm.models import ModelConfig
    >>> from mne_megfm.sensors import CanonicalSensorMapping
    >>> cohort = simulate_cohort(
    ...     1, states=("auditory",), arrays=("ctf151",), n_epochs=4, random_state=0
    ... )
    >>> recordings = as_recordings(cohort.epochs("auditory")[0])
    >>> mapping = CanonicalSensorMapping()
    >>> fit_denoising(recordings, mapping, ModelConfig(), 4).matrix.shape
    (192, 192)
    """
    background = np.zeros((config.n_sensors, config.n_sensors))
    n_samples = 0
    shared = np.zeros_like(background)
    single_rows = _Average()  # of recordings that have no other row
    for recording in recordings:
        # whole samples before time 0, where the stimulus is
        stimulus = int(-recording.tmin * config.sfreq + 1e-6)
        timed = recording.kind != "raw" and -recording.tmin >= _LEAST_BASELINE - 1e-6
        end = stimulus + round(_LONGEST * config.sfreq)
        alone = len(recording.rows) == 1
        average = single_rows if alone else _Average()
        for first, window in _windows(recording, sensor_mapping, config, batch_size):
            before = window[:, : max(stimulus - first, 0)] if timed else window
            if before.shape[1] > 1:
                level = before.mean(axis=1, keepdims=True)
                background += (before - level) @ (before - level).T
                n_samples += before.shape[1] - 1
                if first == 0:
                    row_level = level
            after = window[:, max(stimulus - first, 0) : max(end - first, 0)]
            if timed and after.size:
                average.add(first, after - row_level)
        if not alone:
            shared += average.covariance(config.n_sensors)
    shared += single_rows.covariance(config.n_sensors)
    if not background.any():  # zeros before the stimulus
        background = np.eye(config.n_sensors)
    background *= 1e-24 / max(n_samples, 1)
    found = shared.any() and recordings.n_rows >= _LEAST_ROWS
    return DenoisedSensorMapping(sensor_mapping, background, shared if found else None)


class _Average:
    """An average of rows, by windows, which knows how noisy it is."""

    def __init__(self) -> None:
        # by first sample and length of a window: number of rows, their sum, squares
        self.windows: dict[tuple[int, int], list] = {}

    def add(self, first: int, signals: NDArray) -> None:
        """Add a window of a row that begins at sample ``first`` of the row."""
        key = first, signals.shape[1]  # rows may differ by a sample
        n_rows, total, squares = self.windows.get(key, (0, 0.0, 0.0))
        self.windows[key] = [
            n_rows + 1,
            total + signals,
            squares + signals @ signals.T,
        ]

    def covariance(self, n_sensors: int) -> NDArray[np.float64]:
        """Compute the covariance of the average without noise, times number of rows.

        The products of all pairs of different rows: noise is independent between them.

        Parameters
        ----------
        n_sensors : int
            Sensors of the array.

        Returns
        -------
        covariance : ndarray, shape (n_sensors, n_sensors)
            Zeros of a single row.
        """
        out = np.zeros((n_sensors, n_sensors))
        for n_rows, total, squares in self.windows.values():
            if n_rows > 1:
                out += (total @ total.T - squares) / (n_rows - 1)
        return out


def _windows(
    recording: Recording,
    sensor_mapping: Callable,
    config: BackboneConfig,
    batch_size: int,
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Give the first sample in its row, and recorded signals in pT, of each window."""
    for block in window_blocks(recording.alone(), sensor_mapping, config, batch_size):
        for start, n_valid, data in zip(
            block.start, block.n_valid, block.data, strict=True
        ):
            signals = 1e12 * data[:, :n_valid].astype(np.float64)
            yield int(start) * config.patch_length, signals
