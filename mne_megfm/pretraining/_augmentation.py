"""What makes training windows more like odd recordings."""

from __future__ import annotations

import torch
from torch import Tensor


class NoiseAndCropping:
    """Add local and smooth noise to some windows, and shorten some batches.

    Simulated sensors are all of one quality. In real recordings some are noisier than
    their neighbours, which puts a spot of field on the canonical array that nothing
    else explains; and epochs are often shorter than a window.

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
    ) -> None:
        self.distance = torch.cdist(sensor_pos.float(), sensor_pos.float())
        smooth = torch.exp(-0.5 * (self.distance / 0.015) ** 2)
        self.smooth = smooth / smooth.square().sum(1, keepdim=True).sqrt()
        self.patch_length = patch_length
        self.noisy = noisy
        self.short = short

    def __repr__(self) -> str:
        return f"NoiseAndCropping(noisy={self.noisy}, short={self.short})"

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
        if float(torch.rand(1, generator=generator)) < self.short:
            most = windows.shape[-1] // self.patch_length
            n_patches = int(torch.randint(3, most, (1,), generator=generator))
            n_valid = n_valid.clamp(max=n_patches * self.patch_length)
        time = torch.arange(windows.shape[-1], device=device)
        return torch.where((time < n_valid[:, None])[:, None], windows, 0.0), n_valid

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
