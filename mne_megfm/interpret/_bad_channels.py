"""Bad channels filled from the good ones.

Two linear maps from good channels to bad ones are stacked: by way of the canonical
array, which knows how fields of a head and of far sources look, and that of MNE. Which
is better differs between arrays, and with the noise; good channels tell.
"""

from __future__ import annotations

from typing import Any

import mne
import numpy as np
from mne.transforms import Transform
from mne.utils import logger
from numpy.typing import NDArray

from ..sensors.geometry import read_geometry
from ._sensor_predictor import SensorPredictor

#: Origin of the sphere for ``interpolate_bads``, in head coordinates (m).
ORIGIN = (0.0, 0.0, 0.04)
# good channels are left out in so many rounds, so many at a time
_ROUNDS, _SHARE = 3, 0.1
# weight that the canonical array's is drawn towards, and how far
_PRIOR, _RIDGE = 0.25, 0.01


def fill_bad_channels(
    inst: Any,
    out: Any,
    predictor: SensorPredictor,
    silent: NDArray[np.bool_] | None = None,
) -> None:
    """Fill the bad channels of an MNE object, which then are no longer bad.

    Parameters
    ----------
    inst : Raw | Epochs | Evoked
        What good channels are taken from.
    out : Raw | Epochs | Evoked
        A loaded copy to write to.
    predictor : SensorPredictor
        The way to the canonical array and back.
    silent : ndarray of bool, shape (n_good,) | None
        Good channels that are not to be taken from.
    """
    names = np.array(predictor.names)
    bad = np.isin(names, inst.info["bads"])
    out.info["bads"] = [name for name in inst.info["bads"] if name not in names]
    if not bad.any():
        return
    used = np.isin(names, predictor.good)
    if silent is not None:
        used[predictor.at[silent]] = False
    picks = [inst.ch_names.index(name) for name in names]
    data = inst.data if isinstance(inst, mne.Evoked) else inst.get_data()
    data = np.moveaxis(data[..., picks, :], -2, 0)  # channels first
    sources = data[used].reshape(used.sum(), -1)
    centred = sources - sources.mean(1, keepdims=True)
    maps = stacked_maps(predictor, bad, used, centred @ centred.T)
    filled = np.tensordot(maps, data[used], 1)
    target = out.data if isinstance(out, mne.Evoked) else out._data
    target[..., np.array(picks)[bad], :] = np.moveaxis(filled, 0, -2)


def stacked_maps(
    predictor: SensorPredictor,
    bad: NDArray[np.bool_],
    used: NDArray[np.bool_],
    covariance: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Stack maps from good channels to bad ones.

    Weights are found for each kind of coil, by predicting a tenth of the good channels
    at a time from the others. They add up to one, so that a field that both get right
    comes out right: with predictions p and q of a truth t, w p + (1 - w) q is nearest
    at ``w = sum (t - q)(p - q) / sum (p - q)^2`` [1]_, drawn towards 1/4 and cut to 0
    to 1.

    Parameters
    ----------
    predictor : SensorPredictor
        The way to the canonical array and back.
    bad, used : ndarray of bool, shape (n_names,)
        Channels to fill, and those to take from.
    covariance : ndarray, shape (n_used, n_used)
        Of the channels that are used, of any size.

    Returns
    -------
    maps : ndarray, shape (n_bad, n_used)
        The maps.

    References
    ----------
    .. [1] Breiman (1996), "Stacked regressions", Machine Learning 24, section 2.
    """
    geometry = read_geometry(predictor.recording.info)
    order = [geometry.names.index(name) for name in predictor.names]
    kinds = np.array(geometry.kinds)[order]
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(np.flatnonzero(used))
    size = max(round(_SHARE * used.sum()), 1)
    sums = {kind: np.zeros(2) for kind in set(kinds)}
    for number in range(_ROUNDS):
        gone = np.zeros_like(used)
        gone[shuffled[number * size : (number + 1) * size]] = True
        kept = used & ~gone
        first, second = (f(predictor, gone, kept) for f in (canonical_map, mne_map))
        apart = first - second
        inner, at = kept[used], gone[used]
        within, cross = covariance[np.ix_(inner, inner)], covariance[np.ix_(at, inner)]
        # sums over samples of (t - q)(p - q) and of (p - q)^2, for each channel
        missing = np.sum((cross - second @ within) * apart, 1)
        power = np.sum((apart @ within) * apart, 1)
        for kind, total in sums.items():
            of = kinds[gone] == kind
            total += missing[of].sum(), power[of].sum()
    first, second = (f(predictor, bad, used) for f in (canonical_map, mne_map))
    out = second.copy()
    for kind, (missing, power) in sums.items():
        share = missing / power if power > 0 else _PRIOR
        weight = np.clip((share + _RIDGE * _PRIOR) / (1 + _RIDGE), 0.0, 1.0)
        logger.debug(f"Bad channels, {kind}: weight of the canonical array {weight}.")
        of = kinds[bad] == kind
        out[of] += weight * (first - second)[of]
    return out


def canonical_map(
    predictor: SensorPredictor, bad: NDArray[np.bool_], used: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Map some channels to others by way of the canonical array."""
    names = np.array(predictor.names)
    left_out = tuple(name for name in predictor.good if name not in set(names[used]))
    mapping = predictor.mapping(left_out)
    order = [mapping.ch_names.index(name) for name in names[used]]
    return predictor.back[bad] @ mapping.to_canonical[:, order]


def mne_map(
    predictor: SensorPredictor, bad: NDArray[np.bool_], used: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Map some channels to others as ``interpolate_bads(mode="accurate")`` does."""
    info = predictor.recording.info
    geometry = read_geometry(info)
    named = dict(zip(geometry.names, geometry.loc[~geometry.is_reference], strict=True))
    names = [n for n, b, u in zip(predictor.names, bad, used, strict=True) if b or u]
    picks = [info["ch_names"].index(name) for name in names]
    info = mne.pick_info(info, picks, verbose="error")
    # places in the head, also where the head's own place is not known
    info["dev_head_t"] = Transform("meg", "head")
    for ch in info["chs"]:
        ch["loc"] = named[ch["ch_name"]].copy()
    filled = bad[bad | used]
    info["bads"] = np.array(names)[filled].tolist()
    # what it does with one channel at a time is what it does with any signal
    raw = mne.io.RawArray(np.eye(len(names)), info, verbose="error")
    raw.interpolate_bads(mode="accurate", origin=ORIGIN, verbose="error")
    return raw.get_data()[np.ix_(filled, ~filled)]
