"""The canonical array of virtual magnetometers, and lead fields of a sphere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import mne
import numpy as np
from mne.io.constants import FIFF
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from .geometry import ORIGIN

RADIUS = 0.12
N_REGIONS = 24
SENSORS_PER_REGION = 8
#: The shell is a cap down to this height, in units of its radius below its centre.
LOWEST = -0.35


def fibonacci_cap(n: int, lowest: float) -> NDArray[np.float64]:
    """Spread unit vectors evenly over the cap of a sphere.

    Parameters
    ----------
    n : int
        How many vectors.
    lowest : float
        The cap holds the vectors whose third component is larger than this.

    Returns
    -------
    unit : ndarray, shape (n, 3)
        Unit vectors on a Fibonacci lattice [1]_, from the pole to the rim.

    References
    ----------
    .. [1] Swinbank R, Purser RJ (2006). Fibonacci grids: a novel approach to global
       modelling. Q J R Meteorol Soc 132, 1769-1793. doi:10.1256/qj.05.227
    """
    step = np.arange(n) + 0.5
    z = 1.0 - (1.0 - lowest) * step / n
    angle = np.pi * (1.0 + np.sqrt(5.0)) * step
    in_plane = np.sqrt(1.0 - z**2)
    return np.stack([in_plane * np.cos(angle), in_plane * np.sin(angle), z], axis=1)


@dataclass(frozen=True, eq=False)
class CanonicalArray:
    """A fixed array of virtual magnetometers around the head.

    Point magnetometers that look radially outward from a shell in head coordinates,
    grouped into compact regions of equal size and sorted by region.

    Attributes
    ----------
    pos : ndarray, shape (n_sensors, 3)
        Positions in head coordinates (m).
    ori : ndarray, shape (n_sensors, 3)
        Unit vectors along which the field is measured.
    region : ndarray of int, shape (n_sensors,)
        Region of each sensor. Sensors of region ``r`` stand together, so canonical
        data ``(n, n_sensors, n_times)`` reshape to
        ``(n, n_regions, n_sensors // n_regions, n_times)``.
    region_pos : ndarray, shape (n_regions, 3)
        Mean direction of each region's sensors, on the shell (m).
    origin : ndarray, shape (3,)
        Centre of the shell and of the sphere model in head coordinates (m).
    radius : float
        Radius of the shell (m).

    Examples
    --------
    >>> from mne_megfm.sensors import canonical_array
    >>> array = canonical_array()
    >>> array.n_sensors, array.n_regions
    (192, 24)
    """

    pos: NDArray[np.float64]
    ori: NDArray[np.float64]
    region: NDArray[np.intp]
    region_pos: NDArray[np.float64]
    origin: NDArray[np.float64]
    radius: float

    @property
    def n_sensors(self) -> int:
        """Number of virtual magnetometers."""
        return len(self.pos)

    @property
    def n_regions(self) -> int:
        """Number of regions."""
        return len(self.region_pos)

    @property
    def ch_names(self) -> list[str]:
        """Names of the virtual magnetometers, V000 on."""
        return [f"V{index:03d}" for index in range(self.n_sensors)]

    def info(self, sfreq: float) -> mne.Info:
        """Describe the array to MNE.

        Parameters
        ----------
        sfreq : float
            Sampling rate of the data that the info is for (Hz).

        Returns
        -------
        info : mne.Info
            Point magnetometers in T. Device and head coordinates are the same
            (``dev_head_t`` is the identity).
        """
        info = mne.create_info(self.ch_names, sfreq, "mag")
        info["dev_head_t"] = mne.transforms.Transform("meg", "head")
        for ch, pos, ori in zip(info["chs"], self.pos, self.ori, strict=True):
            # MNE takes positions of MEG coils as device coordinates, whatever frame
            # they are marked with; with the identity these are head coordinates.
            ch["coord_frame"] = FIFF.FIFFV_COORD_DEVICE
            ch["coil_type"] = FIFF.FIFFV_COIL_POINT_MAGNETOMETER
            ch["loc"][:3] = pos
            ch["loc"][3:] = _frame(ori).ravel()
        return info


def _frame(normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Complete a normal to the three axes of a coil, one a row."""
    least = np.eye(3)[np.argmin(np.abs(normal))]
    ex = np.cross(least, normal)
    ex /= np.linalg.norm(ex)
    return np.stack([ex, np.cross(normal, ex), normal])


@lru_cache(maxsize=1)
def canonical_array() -> CanonicalArray:
    """Return the canonical array, the same object at every call.

    192 point magnetometers on the upper part of a sphere of 12 cm around
    (0, 0, 4) cm in head coordinates, in 24 regions of 8.

    Returns
    -------
    array : CanonicalArray
        The array. Its ndarrays are read-only.

    Notes
    -----
    Sensors stand on a Fibonacci lattice. Region centres are the same lattice with 24
    points; sensors go to centres by the assignment with the smallest sum of squared
    distances under which every region gets 8.

    Examples
    --------
    >>> from mne_megfm.sensors import canonical_array
    >>> canonical_array().pos.shape
    (192, 3)
    """
    n_sensors = N_REGIONS * SENSORS_PER_REGION
    unit = fibonacci_cap(n_sensors, LOWEST)
    seats = np.repeat(fibonacci_cap(N_REGIONS, LOWEST), SENSORS_PER_REGION, axis=0)
    cost = ((unit[:, None] - seats[None]) ** 2).sum(-1)
    region = linear_sum_assignment(cost)[1] // SENSORS_PER_REGION
    order = np.argsort(region, kind="stable")
    unit, region = unit[order], region[order]

    origin = np.array(ORIGIN)
    middle = unit.reshape(N_REGIONS, SENSORS_PER_REGION, 3).mean(1)
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    array = CanonicalArray(
        pos=origin + RADIUS * unit,
        ori=unit,
        region=region,
        region_pos=origin + RADIUS * middle,
        origin=origin,
        radius=RADIUS,
    )
    for value in vars(array).values():
        if isinstance(value, np.ndarray):
            value.setflags(write=False)  # shared by everyone
    return array


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
