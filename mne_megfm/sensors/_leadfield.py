"""Lead fields of a shell of dipoles, for real and for virtual coils."""

from __future__ import annotations

from functools import lru_cache

import mne
import numpy as np
from numpy.typing import NDArray

from ._array import ORIGIN, canonical_array, fibonacci_cap

#: The equivalent sources: how many sites, and how far down. Field mapping needs sources
#: dense enough to explain any field from within the head, not sources where the brain
#: is: deeper ones would blur near fields, shallower ones fit noise.
N_SITES = 1000
SHELL_LOWEST = -0.6
#: Their distance from the centre (m), for mapping and for the kernel.
MAPPING_RADIUS, KERNEL_RADIUS = 0.075, 0.08
#: Sites keep at least this distance from the coils (m): nearer ones would give
#: single sensors a field of their own.
CLEARANCE = 0.02


def dipole_shell(
    radius: float, coils: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Place the equivalent dipoles.

    Parameters
    ----------
    radius : float
        Distance from the centre of the head (m).
    coils : ndarray, shape (n_coils, 3) | None
        Positions of coils in head coordinates (m). A site that would come closer
        than 2 cm to one of them is drawn in towards the centre.

    Returns
    -------
    sites : ndarray, shape (1000, 3)
        Positions in head coordinates (m).
    """
    unit = fibonacci_cap(N_SITES, SHELL_LOWEST)
    distance = np.full(N_SITES, radius)
    if coils is not None:
        coils = coils - np.array(ORIGIN)
        # |r u - s|^2 = clearance^2: where each ray enters the ball around each coil
        along = unit @ coils.T
        inside = along**2 - (coils**2).sum(1) + CLEARANCE**2
        enters = along - np.sqrt(np.maximum(inside, 0.0))
        enters[(inside <= 0) | (along <= 0)] = np.inf
        distance = np.minimum(distance, enters.min(1))
    return np.array(ORIGIN) + distance[:, None] * unit


def lead_field(info: mne.Info, sites: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the fields of tangential dipoles in a conducting sphere.

    Parameters
    ----------
    info : mne.Info
        MEG channels with ``dev_head_t``; reference channels only where gradient
        compensation is to be part of the lead field.
    sites : ndarray, shape (n_sites, 3)
        Positions of dipoles in head coordinates (m).

    Returns
    -------
    gain : ndarray, shape (n_channels, 2 * n_sites)
        Field per dipole moment (T/Am; T/m/Am for planar gradiometers): one tangential
        direction of every site, then the other. Radial dipoles are silent [1]_.

    References
    ----------
    .. [1] Sarvas J (1987). Basic mathematical and electromagnetic concepts of the
       biomagnetic inverse problem. Phys Med Biol 32, 11-22.
       doi:10.1088/0031-9155/32/1/004
    """
    normals = np.tile([0.0, 0.0, 1.0], (len(sites), 1))
    source_space = mne.setup_volume_source_space(
        pos=dict(rr=sites, nn=normals), verbose="error"
    )
    sphere = mne.make_sphere_model(r0=ORIGIN, head_radius=None, verbose="error")
    forward = mne.make_forward_solution(
        info, None, source_space, sphere, meg=True, eeg=False, verbose="error"
    )
    gain = forward["sol"]["data"].reshape(forward["nchan"], len(sites), 3)
    first, second = _tangents(sites - np.array(ORIGIN))
    return np.concatenate(
        [np.einsum("cnk,nk->cn", gain, axis) for axis in (first, second)], axis=1
    )


def _tangents(
    radial: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give two unit vectors perpendicular to each of the given vectors."""
    radial = radial / np.linalg.norm(radial, axis=1, keepdims=True)
    first = np.cross(radial, np.eye(3)[np.abs(radial).argmin(1)])
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    return first, np.cross(radial, first)


@lru_cache(maxsize=1)
def canonical_kernel() -> NDArray[np.float64]:
    """Return the covariance of the canonical array for sources all over the head.

    Returns
    -------
    kernel : ndarray, shape (192, 192)
        Gram matrix of the lead fields of dipoles all over a shell of 8 cm, scaled to a
        mean diagonal of 1. Minimum-norm interpolation from sensors ``v`` to sensors
        ``h`` is ``kernel[h, v] @ inv(kernel[v, v] + noise * I)`` [1]_. Read-only.

    References
    ----------
    .. [1] Hämäläinen MS, Ilmoniemi RJ (1994). Interpreting magnetic fields of the
       brain: minimum norm estimates. Med Biol Eng Comput 32, 35-42.
       doi:10.1007/BF02512476

    Examples
    --------
    >>> from mne_megfm.sensors import canonical_kernel
    >>> kernel = canonical_kernel()
    >>> kernel.shape, round(float(kernel.diagonal().mean()), 6)
    ((192, 192), 1.0)
    """
    gain = lead_field(canonical_array().info(1.0), dipole_shell(KERNEL_RADIUS))
    kernel = gain @ gain.T
    kernel /= kernel.diagonal().mean()
    kernel.setflags(write=False)
    return kernel
