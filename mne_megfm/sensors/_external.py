"""Fields from outside the head, which a mapping must not take for sources within."""

from __future__ import annotations

import mne
import numpy as np
from numpy.typing import NDArray

from ._array import ORIGIN
from ._geometry import is_maxwell_filtered

#: Uniform fields and their gradients: what sources metres away leave near a head.
ORDER = 2
#: Directions weaker than this share of the strongest are left out.
_WEAK = 1e-3


def external_patterns(info: mne.Info) -> NDArray[np.float64]:
    """Compute what uniform fields and gradients do to a recording's channels.

    Parameters
    ----------
    info : mne.Info
        MEG channels in head coordinates, with references where gradient compensation
        was applied; it is then applied to the patterns too.

    Returns
    -------
    patterns : ndarray, shape (n_channels, n_patterns)
        Fields (T, or T/m for planar gradiometers) of three uniform fields and five
        gradients of any size, less those that the channels cannot see [1]_, eq. 11.
        None after signal-space separation, which has taken them away.

    References
    ----------
    .. [1] Taulu S, Kajola M (2005). Presentation of electromagnetic multichannel
       data: the signal space separation method. J Appl Phys 97, 124905.
       doi:10.1063/1.1935742
    """
    if is_maxwell_filtered(info):
        return np.empty((len(info["chs"]), 0))
    # without its references a recording is mapped as if it were not compensated
    grade = max(int(ch["coil_type"]) >> 16 for ch in info["chs"])
    grade = grade if info["comps"] else 0
    plain = info.copy()
    plain["bads"], plain["projs"][:] = [], []
    for ch in plain["chs"]:
        ch["coil_type"] = int(ch["coil_type"]) & 0xFFFF
    compensators = list(plain["comps"])
    plain["comps"][:] = []
    basis, _, _, n_in = mne.preprocessing.compute_maxwell_basis(
        plain,
        origin=ORIGIN,
        coord_frame="head",
        int_order=1,
        ext_order=ORDER,
        regularize=None,
        ignore_ref=not grade,
        mag_scale=1.0,
        bad_condition="ignore",  # the inverse is not used
        verbose="error",
    )
    patterns = basis[:, n_in:]
    if grade:
        plain["comps"][:] = compensators
        raw = mne.io.RawArray(patterns, plain, verbose="error")
        patterns = raw.apply_gradient_compensation(grade, verbose="error").get_data()
    return patterns


def orthonormal(patterns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give an orthonormal basis of the patterns' span.

    Parameters
    ----------
    patterns : ndarray, shape (n_channels, n_patterns)
        Columns of any size.

    Returns
    -------
    basis : ndarray, shape (n_channels, rank)
        The basis; directions that are next to nothing are left out.
    """
    size = np.linalg.norm(patterns, axis=0)
    patterns = patterns[:, size > 0] / size[size > 0]
    if patterns.shape[1] == 0:
        return patterns
    vectors, values, _ = np.linalg.svd(patterns, full_matrices=False)
    return vectors[:, values > _WEAK * values[0]]
