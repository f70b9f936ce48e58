"""Windows: cut into patches, scaled, in bands, gathered to train on, augmented.

A window is ``(n, n_sensors, n_times)``; its patches are ``(n, n_regions,
n_patches, sensors_per_region, patch_length)``. A mask is ``(n, n_regions,
n_patches)`` and True where the signal is hidden.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ._interpolation import field_interpolation

if TYPE_CHECKING:
    from .backbone import BackboneConfig


# -- patches ---------------------------------------------------------------------------
def to_patches(windows: Tensor, config: BackboneConfig) -> Tensor:
    """Cut windows into one patch a region and time step.

    Parameters
    ----------
    windows : Tensor, shape (n, n_sensors, n_times)
        Windows on the canonical array.
    config : BackboneConfig
        The sizes.

    Returns
    -------
    patches : Tensor, shape (n, n_regions, n_patches, sensors_per_region, length)
        The patches.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import ModelConfig, to_patches
    >>> to_patches(torch.zeros(2, 192, 250), ModelConfig()).shape
    torch.Size([2, 24, 10, 8, 25])
    """
    n = len(windows)
    return windows.reshape(
        n,
        config.n_regions,
        config.sensors_per_region,
        config.n_patches,
        config.patch_length,
    ).transpose(2, 3)


def from_patches(patches: Tensor, config: BackboneConfig) -> Tensor:
    """Undo :func:`to_patches`.

    Parameters
    ----------
    patches : Tensor, shape (n, n_regions, n_patches, sensors_per_region, length)
        The patches.
    config : BackboneConfig
        The sizes.

    Returns
    -------
    windows : Tensor, shape (n, n_sensors, n_times)
        The windows that they were cut from.
    """
    return patches.transpose(2, 3).reshape(
        len(patches), config.n_sensors, config.n_times
    )


def valid_patches(n_valid: Tensor, config: BackboneConfig) -> Tensor:
    """Say which patches hold any recorded sample.

    Parameters
    ----------
    n_valid : Tensor of int, shape (n,)
        Recorded samples of each window.
    config : BackboneConfig
        The sizes.

    Returns
    -------
    recorded : Tensor of bool, shape (n, n_patches)
        False for patches of padding alone.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import ModelConfig, valid_patches
    >>> valid_patches(torch.tensor([51]), ModelConfig(n_patches=4)).tolist()
    [[True, True, True, False]]
    """
    starts = torch.arange(config.n_patches, device=n_valid.device)
    return starts * config.patch_length < n_valid[:, None]


def sample_mask(tokens: Tensor, n_valid: Tensor, config: BackboneConfig) -> Tensor:
    """Spread a mask over tokens to samples, leaving out what was not recorded.

    Parameters
    ----------
    tokens : Tensor of bool, shape (n, n_regions, n_patches)
        A mask over tokens.
    n_valid : Tensor of int, shape (n,)
        Recorded samples of each window.
    config : BackboneConfig
        The sizes.

    Returns
    -------
    samples : Tensor of bool, shape (n, n_sensors, n_times)
        The same mask over sensors and samples.
    """
    samples = tokens.repeat_interleave(config.sensors_per_region, 1)
    samples = samples.repeat_interleave(config.patch_length, 2)
    time = torch.arange(config.n_times, device=tokens.device)
    return samples & (time < n_valid[:, None])[:, None]


GROSS_OFFSET = 3.0


class Scaled(NamedTuple):
    """Dimensionless windows and what brings them back to tesla.

    Parameters
    ----------
    windows : Tensor, shape (n, n_sensors, n_times)
        Windows at the network's scale, zero where not recorded.
    offset : Tensor, shape (n, n_sensors, 1)
        What was taken away, in tesla.
    unit : Tensor, shape (n, 1, 1)
        Field in tesla that became 1.
    """

    windows: Tensor
    offset: Tensor
    unit: Tensor

    def to_tesla(self, windows: Tensor) -> Tensor:
        """Undo the scaling.

        Parameters
        ----------
        windows : Tensor, shape (n, n_sensors, n_times)
            Windows at the network's scale.

        Returns
        -------
        windows : Tensor, shape (n, n_sensors, n_times)
            The same in tesla.
        """
        return windows * self.unit + self.offset

    def from_tesla(self, windows: Tensor) -> Tensor:
        """Scale other windows alike.

        Parameters
        ----------
        windows : Tensor, shape (n, n_sensors, n_times)
            Windows in tesla.

        Returns
        -------
        windows : Tensor, shape (n, n_sensors, n_times)
            The same at the network's scale.
        """
        return (windows - self.offset) / self.unit


def scale_windows(
    windows: Tensor,
    hidden: Tensor,
    n_valid: Tensor,
    kernel: Tensor,
    config: BackboneConfig,
) -> Scaled:
    """Bring windows to the network's scale without looking at hidden samples.

    One fixed physical scale serves all windows, since amplitude is information.
    Two exceptions keep odd recordings within what was trained: offsets of more
    than three times the remaining signal (unfiltered recordings) are taken away,
    and windows beyond ``config.max_rms`` are shrunk to it. Smaller offsets stay:
    after a baseline correction they are part of the response.

    Parameters
    ----------
    windows : Tensor, shape (n, n_sensors, n_times)
        Field in tesla.
    hidden : Tensor of bool, shape (n, n_regions, n_patches)
        Tokens that must not be looked at.
    n_valid : Tensor of int, shape (n,)
        Recorded samples of each window.
    kernel : Tensor, shape (n_sensors, n_sensors)
        Gram matrix for the offset of sensors that are hidden all the time.
    config : BackboneConfig
        Sizes and scale.

    Returns
    -------
    scaled : Scaled
        Windows (zero where not recorded), offsets and unit.
    """
    seen = sample_mask(~hidden, n_valid, config)
    # tesla squared underflows in float32, so leave tesla before any square
    signal = windows / config.scale
    count = seen.sum(-1, keepdim=True)
    everything = bool(seen.all())
    mean = signal if everything else torch.where(seen, signal, 0.0)
    mean = mean.sum(-1, keepdim=True) / count.clamp(min=1)
    total = count.sum((1, 2), keepdim=True).clamp(min=1)

    # sum x^2 = sum (x - mean)^2 + count mean^2, without cancellation
    around = signal - mean
    around = around if everything else torch.where(seen, around, 0.0)
    moving = around.square().sum((1, 2), keepdim=True)
    still = (count * mean.square()).sum((1, 2), keepdim=True)

    gross = still > GROSS_OFFSET**2 * moving
    offset = torch.where(gross, mean, 0.0)
    unseen = (count == 0)[..., 0]
    if bool((gross[:, 0, 0] & unseen.any(1)).any()):
        shape = (len(windows), config.n_regions, 1, config.sensors_per_region, 1)
        lost = hidden.all(-1, keepdim=True)
        guess = field_interpolation(offset.reshape(shape), lost, kernel)
        offset = torch.where(unseen[..., None], guess.reshape(offset.shape), offset)
    if bool(gross.any()):
        signal = signal - offset
    if not everything:
        time = torch.arange(windows.shape[-1], device=windows.device)
        signal = torch.where((time < n_valid[:, None])[:, None], signal, 0.0)
    rms = ((moving + torch.where(gross, 0.0, still)) / total).sqrt()
    shrink = (rms / config.max_rms).clamp(min=1.0)
    return Scaled(signal / shrink, offset * config.scale, shrink * config.scale)


# -- frequencies -----------------------------------------------------------------------
#: Edges in Hz between delta, theta, alpha, beta and gamma.
EDGES = (4.0, 8.0, 13.0, 30.0)


def check_edges(edges: Sequence[float]) -> tuple[float, ...]:
    """Check that edges of bands are frequencies in Hz that rise; give a tuple."""
    values = tuple(edges) if isinstance(edges, Iterable) else ()
    numbers = all(isinstance(e, Real) and 0 < e < math.inf for e in values)
    if not values or not numbers or list(values) != sorted(set(values)):
        raise ValueError(
            "Expected edges to be frequencies in Hz that rise, such as "
            f"{list(EDGES)}, got {edges!r}; correct them."
        )
    return tuple(float(edge) for edge in values)


def band_powers(signals: Tensor, sfreq: float, edges: Sequence[float]) -> Tensor:
    """Sum the squares of signals by frequency band.

    The bands go from 0 Hz to the first edge, from edge to edge, and from the last edge
    to the Nyquist frequency; the lower end belongs to a band. Together they have the
    sum of squares of the signal (Parseval's theorem).

    Parameters
    ----------
    signals : Tensor, shape (..., n_times)
        The signals.
    sfreq : float
        Sampling rate in Hz.
    edges : sequence of float, length n_bands - 1
        Frequencies in Hz between the bands, rising.

    Returns
    -------
    powers : Tensor, shape (..., n_bands)
        Sums of squares, in squares of the unit of the signals.

    Raises
    ------
    ValueError
        If a band has none of the frequencies of signals of this length.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import band_powers
    >>> alpha = 2.0 * torch.sin(2 * torch.pi * 10.0 * torch.arange(250) / 250.0)
    >>> band_powers(alpha, 250.0, (4.0, 8.0, 13.0, 30.0)).round().tolist()
    [0.0, 0.0, 500.0, 0.0, 0.0]
    """
    n_times = signals.shape[-1]
    frequency = torch.arange(n_times // 2 + 1, dtype=torch.float64) * sfreq / n_times
    # a frequency that is an edge must not fall below it by rounding
    limits = torch.tensor(tuple(edges), dtype=torch.float64) * (1.0 - 1e-12)
    band = torch.bucketize(frequency, limits, right=True)
    counts = torch.bincount(band, minlength=len(limits) + 1)
    if not counts.all():
        ends = [0.0, *edges, sfreq / 2]
        number = int((counts == 0).nonzero()[0])
        raise ValueError(
            f"Expected bands that hold multiples of {sfreq / n_times:g} Hz, which "
            f"{n_times} samples at {sfreq:g} Hz resolve, got none from "
            f"{ends[number]:g} to {ends[number + 1]:g} Hz; change the edges."
        )
    # all but 0 Hz and the Nyquist frequency stand for two terms of the transform
    weight = torch.full_like(frequency, 2.0)
    weight[0] = 1.0
    if n_times % 2 == 0:
        weight[-1] = 1.0
    of_band = torch.zeros(len(frequency), len(limits) + 1, dtype=torch.float64)
    of_band[torch.arange(len(frequency)), band] = weight / n_times
    return torch.fft.rfft(signals).abs().square() @ of_band.to(signals)


def window_statistics(
    windows: Tensor,
    n_valid: Tensor,
    config: BackboneConfig,
    edges: Sequence[float] = EDGES,
    slope_range: Sequence[float] = (2.0, 40.0),
) -> Tensor:
    """Compute log power in bands, and the slope of the spectrum, of each region.

    Parameters
    ----------
    windows : Tensor, shape (n, n_sensors, n_times)
        Windows at the network's scale, 0 where not recorded.
    n_valid : Tensor of int, shape (n,)
        Recorded samples of each window.
    config : BackboneConfig
        Sizes and sampling rate.
    edges : sequence of float, length n_bands - 1
        See :func:`band_powers`.
    slope_range : sequence of float
        Lowest and highest frequency in Hz that the slope is fitted to.

    Returns
    -------
    statistics : Tensor, shape (n, n_regions, n_bands + 1)
        Natural logarithm of the mean square in each band, mean over the sensors of a
        region, without the mean of each sensor; then the slope of log power on log
        frequency, by least squares.

    Raises
    ------
    ValueError
        If a band has no frequency of the windows, or ``slope_range`` less than two.
    """
    n_valid = n_valid.clamp(min=1)[:, None, None]
    recorded = torch.arange(config.n_times, device=windows.device) < n_valid
    mean = windows.sum(-1, keepdim=True) / n_valid
    moving = torch.where(recorded, windows - mean, 0.0)
    moving = moving.unflatten(1, (config.n_regions, config.sensors_per_region))
    power = band_powers(moving, config.sfreq, edges).mean(2) / n_valid
    spectrum = torch.fft.rfft(moving).abs().square().mean(2) / n_valid

    frequency = torch.arange(config.n_times // 2 + 1) * config.sfreq / config.n_times
    low, high = slope_range
    inside = (frequency >= low) & (frequency <= high)
    if inside.sum() < 2:
        raise ValueError(
            "Expected at least two frequencies of the windows, multiples of "
            f"{config.sfreq / config.n_times:g} Hz, in slope_range to fit a slope to, "
            f"got {int(inside.sum())} in {tuple(slope_range)}; widen it."
        )
    along = frequency[inside].to(windows).log()
    along = along - along.mean()
    # far below what sensors can measure, at the network's scale
    log_spectrum = spectrum[..., inside.to(windows.device)].clamp(min=1e-10).log()
    slope = log_spectrum @ along / along.square().sum()
    return torch.cat([power.clamp(min=1e-10).log(), slope[..., None]], -1)


# -- training data ---------------------------------------------------------------------
@dataclass
class WindowBatch:
    """Windows of a batch, and what is known of them.

    What is not known is None.

    Parameters
    ----------
    windows : Tensor, shape (n, n_sensors, n_times)
        Canonical field in tesla.
    n_valid : Tensor of int, shape (n,)
        Recorded samples of each window.
    mask : Tensor of bool, shape (n, n_regions, n_patches), optional
        Tokens to hide.
    scored : Tensor of bool, shape (n, n_regions, n_patches), optional
        Hidden tokens that a loss of hidden signal is of; all of them by default.
    participant, recording, state, array : Tensor of int, shape (n,), optional
        Numbers of the participant, the recording, its state and its sensor array: the
        same number for the same one in all batches of a run.
    start : Tensor of float, shape (n,), optional
        Time of the first sample in its recording, in s.
    targets : Tensor, shape (n, ...), optional
        What to predict of each window, where the data bring that.
    view : WindowBatch, optional
        The same windows with another draw of augmentation and masks; for objectives
        with ``n_views = 2``.
    names : dict of tuple of str
        For ``"participant"``, ``"state"`` and ``"array"`` the name that each number
        stands for.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import WindowBatch
    >>> windows, n_valid = torch.zeros(2, 192, 250), torch.tensor([250, 200])
    >>> batch = WindowBatch(windows, n_valid, state=torch.tensor([0, 1]))
    >>> len(batch), batch.participant is None
    (2, True)
    """

    windows: Tensor
    n_valid: Tensor
    mask: Tensor | None = None
    scored: Tensor | None = None
    participant: Tensor | None = None
    recording: Tensor | None = None
    state: Tensor | None = None
    array: Tensor | None = None
    start: Tensor | None = None
    targets: Tensor | None = None
    view: WindowBatch | None = None
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.windows)


@dataclass
class WindowArray:
    """Canonical windows in memory or memory-mapped, at half precision.

    Parameters
    ----------
    values : array, shape (n_windows, n_sensors, n_times)
        The windows in units of ``unit``; float16 holds them well if ``unit`` is
        near their amplitude (tesla themselves would underflow).
    unit : float
        Field in tesla that is stored as 1.
    n_valid : array of int, shape (n_windows,), optional
        Recorded samples of each window; all by default.
    recording : array of int, shape (n_windows,), optional
        Which recording (or participant) each window is from, for splits; each
        window is its own by default.
    state : array of str, shape (n_windows,), optional
        State of each window, to report on each by itself.
    participant : array of str, shape (n_windows,), optional
        Whom each window is of.
    array : array of str, shape (n_windows,), optional
        Sensor array that each window was recorded with.
    start : array of float, shape (n_windows,), optional
        Time of the first sample in its recording, in s.
    targets : array, shape (n_windows, ...), optional
        Numbers to predict of each window, for objectives that do so.

    Examples
    --------
    >>> import numpy as np
    >>> from mne_megfm.models import WindowArray
    >>> windows = WindowArray(np.ones((3, 192, 250), np.float16), unit=1e-12)
    >>> data, n_valid = windows.take([0, 2])
    >>> data.shape, n_valid.tolist()
    (torch.Size([2, 192, 250]), [250, 250])
    """

    values: np.ndarray
    unit: float = 1e-12
    n_valid: np.ndarray | None = None
    recording: np.ndarray | None = None
    state: np.ndarray | None = None
    participant: np.ndarray | None = None
    array: np.ndarray | None = None
    start: np.ndarray | None = None
    targets: np.ndarray | None = None

    def __post_init__(self) -> None:
        n, _, n_times = self.values.shape
        for name in ("participant", "array", "start", "targets"):
            known = getattr(self, name)
            if known is not None and len(known) != n:
                raise ValueError(
                    f"Expected {name} of each of {n} windows, got {len(known)}; give "
                    "one value a window."
                )
        if self.n_valid is None:
            self.n_valid = np.full(n, n_times)
        if self.recording is None:
            self.recording = np.arange(n)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, index: np.ndarray | list[int]) -> tuple[Tensor, Tensor]:
        """Read windows.

        Parameters
        ----------
        index : array of int, shape (n,)
            Which.

        Returns
        -------
        windows : Tensor, shape (n, n_sensors, n_times)
            Field in tesla, float32.
        n_valid : Tensor of int, shape (n,)
            Recorded samples.
        """
        index = np.asarray(index)
        # memory-mapped files read fastest in their own order
        order = np.argsort(index, kind="stable")
        data = np.empty((len(index), *self.values.shape[1:]), np.float32)
        data[order] = self.values[index[order]]
        data *= self.unit
        return torch.from_numpy(data), torch.as_tensor(self.n_valid[index])

    def stream(self, batches: Iterable[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
        """Read batches of windows one after the other.

        Parameters
        ----------
        batches : iterable of array of int
            Windows of each batch.

        Returns
        -------
        batches : iterator of tuple of Tensor
            Windows and recorded samples of each batch, in order; see `take`.
        """
        return map(self.take, batches)


# -- augmentation ----------------------------------------------------------------------
class NoiseAndCropping:
    """Add local and smooth noise to some windows, filter and shorten some batches.

    Simulated sensors are all of one quality. In real recordings some are noisier than
    their neighbours, which puts a spot of field on the canonical array that nothing
    else explains; users filter more than the simulation does, after which the field is
    smoother and cleaner; and epochs are often shorter than a window.

    Parameters
    ----------
    sensor_pos : Tensor, shape (n_sensors, 3)
        Positions of the sensors in m.
    patch_length : int
        Samples in a patch.
    noisy : float
        Share of the windows that get noise.
    short : float
        Share of the batches that are shortened, to 3 patches at least.
    filtered : float
        Share of the batches that are low-pass filtered, at 20 to 80 Hz.
    sfreq : float
        Sampling rate in Hz.

    Raises
    ------
    ValueError
        If a share is out of range.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import NoiseAndCropping
    >>> augmentation = NoiseAndCropping(torch.randn(192, 3) * 0.1)
    >>> generator = torch.Generator().manual_seed(0)
    >>> windows = torch.ones(2, 192, 250) * 1e-13
    >>> more, n_valid = augmentation(windows, torch.tensor([250, 250]), generator)
    >>> more.shape
    torch.Size([2, 192, 250])
    """

    def __init__(
        self,
        sensor_pos: Tensor,
        patch_length: int = 25,
        noisy: float = 0.5,
        short: float = 0.3,
        filtered: float = 0.0,
        sfreq: float = 250.0,
    ) -> None:
        for name, share in (("noisy", noisy), ("short", short), ("filtered", filtered)):
            if not isinstance(share, Real) or not 0 <= share <= 1:
                raise ValueError(
                    f"Expected {name} to be a share from 0 to 1, got {share!r}; "
                    "correct it."
                )
        self.distance = torch.cdist(sensor_pos.float(), sensor_pos.float())
        smooth = torch.exp(-0.5 * (self.distance / 0.015) ** 2)
        self.smooth = smooth / smooth.square().sum(1, keepdim=True).sqrt()
        self.patch_length = patch_length
        self.noisy = noisy
        self.short = short
        self.filtered = filtered
        self.sfreq = sfreq

    def __repr__(self) -> str:
        return (
            f"NoiseAndCropping(noisy={self.noisy}, short={self.short}, "
            f"filtered={self.filtered})"
        )

    def __call__(
        self, windows: Tensor, n_valid: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw noise and length for a batch.

        Parameters
        ----------
        windows : Tensor, shape (n, n_sensors, n_times)
            Canonical field in tesla.
        n_valid : Tensor of int, shape (n,)
            Recorded samples of each window.
        generator : torch.Generator
            Source of what is random.

        Returns
        -------
        windows : Tensor, shape (n, n_sensors, n_times)
            Windows with noise, in tesla.
        n_valid : Tensor of int, shape (n,)
            Recorded samples, fewer in a shortened batch.
        """
        device = windows.device
        noise = self._noise(windows.shape, generator).to(device)
        # a standard deviation in tesla would underflow on the way to its square
        spread = (windows * 1e12).std((1, 2), keepdim=True) * 1e-12
        windows = windows + noise * spread
        # without a share nothing is drawn: what comes after stays as it was
        if self.filtered and float(torch.rand(1, generator=generator)) < self.filtered:
            cutoff = 20.0 * 4.0 ** float(torch.rand(1, generator=generator))
            windows = self._low_pass(windows, cutoff)
        if float(torch.rand(1, generator=generator)) < self.short:
            most = windows.shape[-1] // self.patch_length
            n_patches = int(torch.randint(3, most, (1,), generator=generator))
            n_valid = n_valid.clamp(max=n_patches * self.patch_length)
        time = torch.arange(windows.shape[-1], device=device)
        return torch.where((time < n_valid[:, None])[:, None], windows, 0.0), n_valid

    def _low_pass(self, windows: Tensor, cutoff: float) -> Tensor:
        """Filter without phase: a Gaussian response, -3 dB at the cutoff."""
        n_times = windows.shape[-1]
        first, last = windows[..., :1], windows[..., -1:]
        # odd reflection has neither a jump nor a kink at the ends
        before = 2 * first - windows[..., 1:].flip(-1)
        after = 2 * last - windows[..., :-1].flip(-1)
        long = torch.cat([before, windows, after], -1)
        frequency = torch.fft.rfftfreq(long.shape[-1], 1 / self.sfreq)
        response = torch.exp(-0.5 * math.log(2.0) * (frequency / cutoff) ** 2)
        spectrum = torch.fft.rfft(long) * response.to(windows.device)
        smooth = torch.fft.irfft(spectrum, n=long.shape[-1])
        return smooth[..., n_times - 1 : 2 * n_times - 1]

    def _noise(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """Draw noise in units of the windows' standard deviation."""
        n, n_sensors, n_times = shape

        def uniform(low: float, high: float, *size: int) -> Tensor:
            return low + (high - low) * torch.rand(size, generator=generator)

        n_spots = 3
        centre = torch.randint(n_sensors, (n, n_spots), generator=generator)
        width = 0.01 * uniform(0.0, 1.5, n, n_spots, 1).exp()
        maps = torch.exp(-0.5 * (self.distance[centre] / width) ** 2)
        strength = uniform(-3.0, 1.1, n, n_spots, 1).exp()
        strength = strength * (uniform(0.0, 1.0, n, n_spots, 1) < self.noisy)

        # power falls with frequency, from not at all to its square
        frequency = torch.arange(1, n_times // 2 + 2, dtype=torch.float32)
        shaped = frequency ** (-0.5 * uniform(0.0, 2.0, n, n_spots, 1))
        white = torch.randn(n, n_spots, n_times, generator=generator)
        course = torch.fft.irfft(torch.fft.rfft(white) * shaped, n=n_times)
        course = course / course.std(-1, keepdim=True)
        spots = torch.einsum("nks,nkt->nst", maps * strength, course)

        level = uniform(-4.0, -0.7, n, 1, 1).exp()
        level = level * (uniform(0.0, 1.0, n, 1, 1) < self.noisy)
        white = torch.randn(n, n_sensors, n_times, generator=generator)
        return spots + level * (self.smooth @ white)
