"""Features of windows of MEG: powers of rhythms in regions of the cortex."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import mne
import numpy as np
from numpy.typing import NDArray

from ..utils.logs import verbose

#: Bands of rhythms in Hz.
BANDS = {
    "theta": (4.0, 8.0),
    "alpha": (8.0, 13.0),
    "beta": (13.0, 30.0),
    "gamma": (30.0, 45.0),
}
# length of the pieces that sources are computed in, s
_PIECE = 20.0


@verbose
def region_powers(
    raw: mne.io.BaseRaw,
    forward: mne.Forward,
    noise_cov: mne.Covariance,
    labels: Sequence[mne.Label],
    sfreq: float = 2.0,
    *,
    bands: Mapping[str, tuple[float, float]] = BANDS,
    verbose: bool | str | int | None = None,
) -> NDArray[np.float64]:
    """Compute the power of rhythms in regions, window by window.

    They are the same features for all people, whatever their sensors, and can take the
    place of the features of a stimulus in ``LatentSourceEncoder``.

    Parameters
    ----------
    raw : mne.io.Raw
        MEG.
    forward : mne.Forward
        Forward solution of this recording, of a surface source space.
    noise_cov : mne.Covariance
        Noise covariance.
    labels : sequence of mne.Label
        Regions, each with a source or more.
    sfreq : float
        Windows a second, which do not overlap.
    bands : dict of tuple
        Lowest and highest frequency of each rhythm in Hz.
    verbose : bool | str | int | None
        Log level.

    Returns
    -------
    features : array of shape (n_windows, n_regions * n_bands)
        Logarithm of the mean power over the sources of a region and the samples of a
        window, of mean 0 and variance 1 over windows. The bands of a region follow one
        another. Windows with samples that are annotated as BAD have the mean.

    Raises
    ------
    ValueError
        If a region has no source, a band is above half the rate of the recording, or
        windows have no sample.

    Notes
    -----
    Sources are those of an LCMV beamformer along the normals of the cortex, with unit
    noise gain [1]_.

    References
    ----------
    .. [1] Sekihara & Nagarajan (2008), "Adaptive spatial filters for electromagnetic
       brain imaging", Springer.

    Examples
    --------
    See :doc:`/guide/stories`, which has one.
    """
    rate = raw.info["sfreq"]
    highest = max(high for _, high in bands.values())
    if highest >= rate / 2 or sfreq > rate / 4:
        raise ValueError(
            f"Expected bands below {rate / 2:g} Hz and windows of 4 samples or more, "
            f"got bands up to {highest:g} Hz and {sfreq:g} windows a second; record "
            "faster, or give other bands."
        )
    rows = _rows(forward, labels)
    raw = raw.copy().pick("meg").load_data()
    fixed = mne.convert_forward_solution(
        forward, surf_ori=True, force_fixed=True, verbose="error"
    )
    edges = np.round(np.arange(int(raw.times[-1] * sfreq) + 2) * rate / sfreq)
    edges = edges[edges <= len(raw.times)].astype(int)
    _, times = raw.get_data(
        picks=[0], reject_by_annotation="omit", return_times=True, verbose="error"
    )
    bad = np.ones(len(raw.times))
    bad[raw.time_as_index(times, use_rounding=True)] = 0.0
    bad = np.add.reduceat(bad, edges[:-1])[: len(edges) - 1] > 0
    out = np.empty((len(edges) - 1, len(labels), len(bands)))
    step = max(1, int(_PIECE * sfreq))
    for b, (low, high) in enumerate(bands.values()):
        band = raw.copy().filter(low, high, verbose="error")
        # a filter of its own: what interferes differs between bands
        cov = mne.compute_raw_covariance(
            band, method="empirical", rank="info", verbose="error"
        )
        filters = mne.beamformer.make_lcmv(
            band.info,
            fixed,
            cov,
            reg=0.05,
            noise_cov=noise_cov,
            weight_norm="unit-noise-gain",
            rank="info",
            verbose="error",
        )
        for first in range(0, len(out), step):
            cuts = edges[first : first + step + 1]
            stc = mne.beamformer.apply_lcmv_raw(
                band, filters, start=int(cuts[0]), stop=int(cuts[-1]), verbose="error"
            )
            power = np.add.reduceat(stc.data**2, cuts[:-1] - cuts[0], axis=1)
            power /= np.diff(cuts)
            for r, inside in enumerate(rows):
                out[first : first + step, r, b] = power[inside].mean(axis=0)
    out = np.log(np.maximum(out, np.finfo(float).tiny))
    out -= out[~bad].mean(axis=0)
    out /= np.maximum(out[~bad].std(axis=0), 1e-12)
    out[bad] = 0.0
    return out.reshape(len(out), -1)


def _rows(forward: mne.Forward, labels: Sequence[mne.Label]) -> list[NDArray[np.int_]]:
    """Find the sources of each region."""
    src = forward["src"]
    if len(src) != 2 or any(s["type"] != "surf" for s in src):
        raise ValueError(
            "Expected a forward solution of a surface source space for labels, got "
            f"{src.kind!r}."
        )
    out = []
    for label in labels:
        side = {"lh": 0, "rh": 1}.get(label.hemi)
        found = np.array([], int)
        if side is not None:
            found = np.flatnonzero(np.isin(src[side]["vertno"], label.vertices))
        if not len(found):
            raise ValueError(
                f"Expected a source in the region {label.name!r} of one hemisphere, "
                "got none; leave it out, or use a denser source space."
            )
        out.append(found + side * src[0]["nuse"])
    return out
