"""The canonical array, and the maps to it from the sensors of any array, and back."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from os import PathLike
from threading import Lock
from typing import TYPE_CHECKING

import joblib
import mne
import numpy as np
from mne.io.constants import FIFF
from mne.transforms import Transform
from mne.utils import _validate_type, logger, warn
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from ..inputs.device import active_projs, is_maxwell_filtered, separation_records
from ..utils.logs import verbose as _verbose
from .geometry import ORIGIN, Geometry, read_geometry

if TYPE_CHECKING:
    from ..inputs import Recording

# -- the canonical array ---------------------------------------------------------------
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


# -- the mapping -----------------------------------------------------------------------
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
    with plain._unlock():  # MNE refuses, by records in part, too
        plain["proc_history"] = []
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


#: Noise variance in units of the mean eigenvalue of the whitened lead fields' Gram
#: matrix. Forward it answers for sensor noise; on the way back there is none.
FORWARD_REGULARIZATION = 3e-3
BACKWARD_REGULARIZATION = 1e-6
#: Variance of uniform external fields and their gradients, each spread over all
#: channels, as a share of the sum of the eigenvalues.
EXTERNAL_VARIANCE = 2.5e-4
_MAX_KEPT = 64  # about 1 MB each
_kept: OrderedDict[str, SensorMapping] = OrderedDict()
_lock = Lock()


@dataclass(frozen=True, eq=False)
class SensorMapping:
    """Linear maps between a recording's sensors and the canonical array.

    Attributes
    ----------
    ch_names : tuple of str
        The good MEG channels that are mapped from, in the order of the info.
    to_canonical : ndarray, shape (192, n_channels)
        Takes data of ``ch_names`` to the canonical array (T).
    all_ch_names : tuple of str
        The MEG channels that can be mapped back to: the good ones and the bad ones,
        in the order of the info, without references.
    from_canonical : ndarray, shape (n_all_channels, 192)
        Takes canonical data to ``all_ch_names`` (T, or T/m for planar gradiometers).
    rank : int
        Number of directions of the data that are used.
    system : str
        The good sensors in words.
    key : str
        Hash of the geometry and of everything else that the maps depend on.
    """

    ch_names: tuple[str, ...]
    to_canonical: NDArray[np.float64]
    all_ch_names: tuple[str, ...]
    from_canonical: NDArray[np.float64]
    rank: int
    system: str
    key: str

    def __repr__(self) -> str:
        n_sensors = len(self.to_canonical)
        return f"<SensorMapping | {self.system} to {n_sensors} virtual magnetometers>"


@_verbose
def compute_mapping(
    info: mne.Info,
    *,
    memory: str | PathLike[str] | joblib.Memory | None = None,
    verbose: bool | str | int | None = None,
) -> SensorMapping:
    """Compute the maps between the sensors of a recording and the canonical array.

    Parameters
    ----------
    info : mne.Info
        Measurement info of the recording. Bad channels are left out. Projectors that
        have been applied (``active``) and gradient compensation are applied to the
        lead field too. Where the head position is not known (see
        ``device_to_head``) the helmet is put around an average
        head, with a warning, one for each recording.
    memory : path-like | joblib.Memory | None
        Where mappings are kept on disk. In memory the last 64 are kept in any case.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`.

    Returns
    -------
    mapping : SensorMapping
        The maps; the same object for the same geometry.

    Raises
    ------
    ValueError
        If there are no or too few usable MEG channels, or their positions are missing
        or cannot be around a head.
    TypeError
        If ``info`` is not an :class:`mne.Info`.

    Notes
    -----
    Sources are 1000 sites on a shell of 7.5 cm, drawn in where sensors are near, with
    two tangential dipoles each, in a sphere model. With G the lead fields of the
    recording's sensors, divided by nominal noise (5 fT/cm for planar gradiometers,
    20 fT for others) and projected as the data, and V those of the virtual sensors,
    the map is the minimum-norm estimate [1]_ [2]_

        V G' (G G' + lambda I + mu E E')^-1

    with E an orthonormal basis of the patterns of uniform external fields and their
    gradients: noise with a known shape. It is taken on the leading eigenvectors of
    G G', as many as the data have according to the info (signal-space separation leaves
    about 70 of 306, and no external part). The kind of a sensor is taken from its coil
    type alone.

    References
    ----------
    .. [1] Hämäläinen MS, Ilmoniemi RJ (1994). Interpreting magnetic fields of the
       brain: minimum norm estimates. Med Biol Eng Comput 32, 35-42.
       doi:10.1007/BF02512476
    .. [2] Knösche TR (2002). Transformation of whole-head MEG recordings between
       different sensor positions. Biomed Tech 47, 59-62.
       doi:10.1515/bmte.2002.47.3.59

    Examples
    --------
    >>> from mne_megfm.sensors import canonical_array, compute_mapping
    >>> mapping = compute_mapping(canonical_array().info(250.0), verbose="error")
    >>> mapping.to_canonical.shape, mapping.system
    ((192, 192), '192 magnetometers')
    """
    geometry = read_geometry(info)
    with _lock:
        if geometry.key in _kept:
            _kept.move_to_end(geometry.key)
            return _kept[geometry.key]
    if geometry.warning:  # once for a geometry
        warn(geometry.warning, RuntimeWarning)
    if memory is None:
        mapping = _solve(geometry.key, geometry, info)
    else:
        _validate_type(memory, ("path-like", joblib.Memory), "memory")
        if not isinstance(memory, joblib.Memory):
            memory = joblib.Memory(memory, verbose=0)
        # the key says it all; hashing an Info is slow and not to be relied on
        solve = memory.cache(_solve, ignore=["geometry", "info"], verbose=0)
        mapping = solve(geometry.key, geometry, info)
    for matrix in (mapping.to_canonical, mapping.from_canonical):
        matrix.setflags(write=False)  # shared by everyone
    with _lock:
        mapping = _kept.setdefault(geometry.key, mapping)
        while len(_kept) > _MAX_KEPT:
            _kept.popitem(last=False)
    return mapping


class CanonicalSensorMapping:
    """Map recordings to the canonical virtual array, as `iter_windows` asks for it.

    Parameters
    ----------
    memory : path-like | joblib.Memory | None
        Where mappings are kept on disk; None keeps them in memory alone.

    Examples
    --------
    >>> from mne_megfm.sensors import CanonicalSensorMapping
    >>> CanonicalSensorMapping().array.n_sensors
    192
    """

    def __init__(
        self, memory: str | PathLike[str] | joblib.Memory | None = None
    ) -> None:
        self.memory = memory

    def __repr__(self) -> str:
        return f"CanonicalSensorMapping(memory={self.memory!r})"

    @property
    def array(self) -> CanonicalArray:
        """The array that windows come out on."""
        return canonical_array()

    @property
    def kernel(self) -> np.ndarray:
        """Gram matrix of the array's lead fields, shape (n_sensors, n_sensors)."""
        return canonical_kernel()

    def mapping(self, recording: Recording) -> SensorMapping:
        """Compute or look up both ways between a recording and the array.

        Parameters
        ----------
        recording : Recording
            One recording of a validated input.

        Returns
        -------
        mapping : SensorMapping
            Matrices to the array and back.
        """
        return compute_mapping(recording.info, memory=self.memory)

    def __call__(self, recording: Recording) -> tuple[np.ndarray, list[str]]:
        """Give the matrix to the array and the channels it takes."""
        mapping = self.mapping(recording)
        return mapping.to_canonical, list(mapping.ch_names)


def _solve(key: str, geometry: Geometry, info: mne.Info) -> SensorMapping:
    """Compute the maps of a geometry."""
    good, noise = geometry.good, geometry.noise[:, None]
    good_info, head_info = _good_info(info, geometry), _head_info(info, geometry)
    sites = dipole_shell(MAPPING_RADIUS, geometry.pos[good])
    virtual = _virtual_lead_field(sites.tobytes())
    gain = _real_lead_field(head_info, sites)

    # good channels -> canonical
    whitened = _project(gain[good], good_info) / noise[good]
    rank = _rank(good_info)
    eigenvalues, vectors = np.linalg.eigh(whitened @ whitened.T)
    eigenvalues, vectors = eigenvalues[-rank:], vectors[:, -rank:]
    outside = external_patterns(head_info)[~geometry.is_reference][good]
    outside = _project(outside, good_info) / noise[good]
    outside = vectors.T @ orthonormal(outside)
    noise_part = EXTERNAL_VARIANCE * eigenvalues.sum() * outside @ outside.T
    noise_part += FORWARD_REGULARIZATION * eigenvalues.mean() * np.eye(rank)
    damped = np.diag(eigenvalues) + noise_part
    to_canonical = virtual @ (whitened.T @ vectors) @ np.linalg.solve(damped, vectors.T)

    # canonical -> all channels, as the data are projected
    gram = virtual @ virtual.T
    gram += BACKWARD_REGULARIZATION * gram.diagonal().mean() * np.eye(len(gram))
    from_canonical = np.linalg.solve(gram, virtual @ gain.T).T
    from_canonical[good] = _project(from_canonical[good], good_info)

    names = np.array(geometry.names)
    logger.debug(f"Mapped {geometry.system} (rank {rank}) to the canonical array.")
    return SensorMapping(
        ch_names=tuple(names[good].tolist()),
        to_canonical=to_canonical / noise[good].T,
        all_ch_names=geometry.names,
        from_canonical=from_canonical,
        rank=rank,
        system=geometry.system,
        key=key,
    )


@lru_cache(maxsize=8)
def _virtual_lead_field(sites: bytes) -> NDArray[np.float64]:
    """Compute the lead field of the canonical array; most helmets share the shell."""
    return lead_field(canonical_array().info(1.0), np.frombuffer(sites).reshape(-1, 3))


def _head_info(info: mne.Info, geometry: Geometry) -> mne.Info:
    """Restrict an info to what the lead field needs, in head coordinates."""
    info = mne.pick_info(info, geometry.picks, verbose="error")
    info["dev_head_t"] = Transform("meg", "head")
    for ch, loc in zip(info["chs"], geometry.loc, strict=True):
        ch["loc"] = loc.copy()
    return info


def _real_lead_field(
    head_info: mne.Info, sites: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute the lead field of a recording's MEG channels, compensated as they are."""
    try:
        return lead_field(head_info, sites)
    except RuntimeError as error:
        if "coil definition" not in str(error):
            raise
        raise ValueError(
            f"Expected coil types that MNE knows, got one that it does not ({error}); "
            "define it with mne.use_coil_def or mark such channels as bad."
        ) from error


def _good_info(info: mne.Info, geometry: Geometry) -> mne.Info:
    """Restrict an info to good MEG channels and projectors that were applied."""
    picks = geometry.picks[~geometry.is_reference][geometry.good]
    info = mne.pick_info(info, picks, verbose="error")
    info["projs"][:] = active_projs(info)
    with info._unlock():  # MNE takes the rank from the first, whole or not
        info["proc_history"] = separation_records(info)
    for ch in info["chs"]:
        ch["coil_type"] = int(ch["coil_type"]) & 0xFFFF  # compensation is done with
    return info


def _project(data: NDArray[np.float64], info: mne.Info) -> NDArray[np.float64]:
    """Apply to the columns of a matrix the projectors that the data went through."""
    if not info["projs"]:
        return data
    info = info.copy()
    for proj in info["projs"]:
        proj["active"] = False
    evoked = mne.EvokedArray(data, info, verbose="error")
    return evoked.apply_proj(verbose="error").data


def _rank(info: mne.Info) -> int:
    """Count the independent directions of the data, from the info alone."""
    nothing = mne.io.RawArray(
        np.zeros((len(info["ch_names"]), 1)), info, verbose="error"
    )
    rank = mne.compute_rank(nothing, rank="info", verbose="error")
    return sum(rank.values())
