"""What makes training windows more like odd recordings."""

from __future__ import annotations

import math
from numbers import Real

import torch
from torch import Tensor


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
    >>> from mne_megfm.pretraining import NoiseAndCropping
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
