"""How sources are recorded: lead fields, noise, haemodynamic responses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mne
import numpy as np
from mne.transforms import Transform
from numpy.typing import NDArray
from scipy import fft
from scipy.stats import gamma

from ._brain import power_law, spectral_noise
from ._cortex import template_sphere, template_trans
from ._forward import sensor_scale

# RMS of the driven current at the centre of an area, A m (a patch of a few cm2 of
# cortex; Hämäläinen et al. 1993)
MOMENT = 2e-9


# -- MEG -------------------------------------------------------------------------------
def solve_forwards(
    rng: np.random.Generator,
    info: mne.Info,
    src: mne.SourceSpaces,
    head_error: float,
    conductor_error: float,
) -> tuple[mne.Forward, mne.Forward]:
    """Compute the true forward solution, and the one that is handed out."""

    def solve(dev_head_t: Transform, shift: NDArray) -> mne.Forward:
        measured = info.copy()
        with measured._unlock():
            measured["dev_head_t"] = dev_head_t
        return mne.make_forward_solution(
            measured,
            template_trans(),
            src,
            template_sphere(tuple(shift)),
            meg=True,
            eeg=False,
            mindist=0.0,
            verbose="error",
        )

    true = solve(info["dev_head_t"], np.zeros(3))
    if not head_error and not conductor_error:
        return true, true
    moved = info["dev_head_t"]["trans"].copy()
    moved[:3, 3] += head_error * _direction(rng)
    shift = conductor_error * _direction(rng)
    return true, solve(Transform("meg", "head", moved), shift)


def _direction(rng: np.random.Generator) -> NDArray:
    vector = rng.standard_normal(3)
    return vector / np.linalg.norm(vector)


def fixed_gain(forward: mne.Forward) -> NDArray[np.float64]:
    """Give the lead field along the normals, shape (n_channels, n_sources)."""
    fixed = mne.convert_forward_solution(
        forward, surf_ori=True, force_fixed=True, verbose="error"
    )
    return fixed["sol"]["data"]


@dataclass(frozen=True)
class MegRecorder:
    """One person's MEG: fields of areas, of other activity, and noise of sensors."""

    info: mne.Info
    fields: NDArray[np.float64]
    ongoing: NDArray[np.float64]
    white: NDArray[np.float64]

    @classmethod
    def make(
        cls,
        rng: np.random.Generator,
        info: mne.Info,
        gain: NDArray,
        maps: NDArray,
        courses: Mapping[str, NDArray],
        snr: float,
    ) -> MegRecorder:
        fields = gain @ maps
        driven = np.var(fields @ np.hstack(list(courses.values())), axis=1)
        patches = gain[:, rng.integers(0, gain.shape[1], 150)]
        patches = patches * rng.gamma(4.0, 0.25, 150)
        white = sensor_scale(info) * np.sqrt(info["sfreq"] / 2)
        # the noise of sensors is what it is; other activity is set by the SNR, and at
        # least a tenth of the noise of sensors
        power = np.sum(patches**2, axis=1)
        kinds = np.array([ch["coil_type"] for ch in info["chs"]])
        kind = kinds == np.bincount(kinds).argmax()
        wanted = np.median(driven[kind]) / snr - np.median(white[kind] ** 2)
        wanted = max(wanted, 0.1 * np.median(white[kind] ** 2))
        patches = patches * np.sqrt(wanted / np.median(power[kind]))
        return cls(info, fields, patches, white)

    def noise(self, rng: np.random.Generator, n_times: int) -> NDArray[np.float64]:
        n_fft = fft.next_fast_len(n_times, real=True)
        n_fft += n_fft % 2
        freqs = fft.rfftfreq(n_fft, 1 / self.info["sfreq"])
        amplitude = power_law(freqs, 1.0, 1.0, (0.0, freqs[-1]))
        rows = spectral_noise(rng, amplitude, n_fft, self.ongoing.shape[1])
        white = rng.standard_normal((len(self.white), n_times))
        return self.ongoing @ rows[:, :n_times] + self.white[:, None] * white

    def record(self, rng: np.random.Generator, courses: NDArray) -> mne.io.BaseRaw:
        data = self.fields @ courses + self.noise(rng, courses.shape[1])
        return mne.io.RawArray(data, self.info.copy(), verbose="error")

    def noise_cov(self, rng: np.random.Generator) -> mne.Covariance:
        """Estimate the covariance of a minute of silence."""
        data = self.noise(rng, max(3000, int(60 * self.info["sfreq"])))
        raw = mne.io.RawArray(data, self.info.copy(), verbose="error")
        return mne.compute_raw_covariance(
            raw, method="shrunk", rank="info", verbose="error"
        )


def double_gamma(
    times: NDArray[np.float64], peak: float, undershoot: float
) -> NDArray[np.float64]:
    """Compute a haemodynamic response: one gamma density minus a sixth of another."""
    wave = gamma.pdf(times, peak + 1) - gamma.pdf(times, undershoot + 1) / 6
    return wave / wave.sum()


def pairwise_distances(points: NDArray) -> NDArray[np.float64]:
    """Measure the distance of each point from each."""
    return np.linalg.norm(points[:, None] - points[None], axis=2)
