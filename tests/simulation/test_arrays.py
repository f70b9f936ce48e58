"""Geometries of the simulated arrays."""

import mne
import numpy as np
import pytest
from mne.io.constants import FIFF
from mne.transforms import apply_trans

from mne_megfm.simulation import ARRAYS, make_array_info

N_CHANNELS = {
    "neuromag306": 306,
    "neuromag122": 122,
    "ctf151": 151,
    "ctf275": 274,  # MNE-Python's canonical CTF-275 has 274
    "kit157": 157,
    "kit160": 160,
    "4d248": 248,
    "opm": 128,
    "opm64": 64,
}
COILS = {
    "neuromag306": {FIFF.FIFFV_COIL_VV_PLANAR_T1, FIFF.FIFFV_COIL_VV_MAG_T3},
    "neuromag122": {FIFF.FIFFV_COIL_NM_122},
    "ctf151": {FIFF.FIFFV_COIL_CTF_GRAD},
    "ctf275": {FIFF.FIFFV_COIL_CTF_GRAD},
    "kit157": {FIFF.FIFFV_COIL_KIT_GRAD},
    "kit160": {FIFF.FIFFV_COIL_KIT_GRAD},
    "4d248": {FIFF.FIFFV_COIL_MAGNES_MAG},
    "opm": {FIFF.FIFFV_COIL_POINT_MAGNETOMETER},
    "opm64": {FIFF.FIFFV_COIL_POINT_MAGNETOMETER},
}


def _in_head(info):
    pos = np.array([ch["loc"][:3] for ch in info["chs"]])
    return apply_trans(info["dev_head_t"], pos)


def test_all_arrays_are_tested():
    """No array is forgotten here."""
    assert set(ARRAYS) <= set(N_CHANNELS)


@pytest.mark.parametrize("name", N_CHANNELS)
def test_array_has_the_right_sensors(name):
    """Number, coil type, unit and orientation belong to the system."""
    info = make_array_info(name, 500.0)
    assert len(info["chs"]) == N_CHANNELS[name]
    coils = {int(ch["coil_type"]) & 0xFFFF for ch in info["chs"]}
    assert coils == {int(coil) for coil in COILS[name]}
    assert info["sfreq"] == 500.0
    assert len(set(info["ch_names"])) == len(info["ch_names"])
    n_planar = len(mne.pick_types(info, meg="grad"))
    expected = {"neuromag306": 204, "neuromag122": 122}.get(name, 0)
    assert n_planar == expected
    loc = np.array([ch["loc"] for ch in info["chs"]])
    frames = loc[:, 3:].reshape(-1, 3, 3)
    np.testing.assert_allclose(
        frames @ frames.transpose(0, 2, 1),
        np.tile(np.eye(3), (len(loc), 1, 1)),
        atol=1e-3,
    )
    # Normals point away from the head.
    centre = loc[:, :3].mean(axis=0) - [0, 0, 0.03]
    outward = np.sum(frames[:, 2] * (loc[:, :3] - centre), axis=1)
    assert np.mean(outward > 0) > 0.99


@pytest.mark.parametrize("name", N_CHANNELS)
def test_head_fits_into_every_position(name):
    """No sensor enters the head; positions differ from person to person."""
    shifts = []
    for seed in range(12):
        info = make_array_info(name, head_pos="random", random_state=seed)
        dist = np.linalg.norm(_in_head(info) - [0, 0, 0.04], axis=1)
        assert 0.0975 <= dist.min()
        assert dist.max() < 0.2
        shifts.append(info["dev_head_t"]["trans"])
    spread = np.std(shifts, axis=0)
    assert 0.001 < spread[:3, 3].max() < 0.012
    again = make_array_info(name, head_pos="random", random_state=11)
    np.testing.assert_array_equal(again["dev_head_t"]["trans"], shifts[-1])


def test_infos_are_independent():
    """Changing one info does not change the next."""
    first = make_array_info("kit157")
    first["bads"] = ["MEG 001"]
    first["chs"][0]["loc"][:] = 0
    second = make_array_info("kit157")
    assert second["bads"] == []
    assert np.abs(second["chs"][0]["loc"]).max() > 0


def test_given_head_position_is_kept():
    """A matrix or a Transform is used as it is."""
    trans = make_array_info("ctf151", head_pos="random", random_state=5)["dev_head_t"]
    for given in (trans, trans["trans"]):
        info = make_array_info("ctf275", head_pos=given)
        np.testing.assert_array_equal(info["dev_head_t"]["trans"], trans["trans"])


@pytest.mark.parametrize(
    ("args", "match"),
    [
        (dict(name="squid9000"), "one of neuromag306"),
        (dict(name=306), "name of an MEG array"),
        (dict(name="opm5"), "32 to 256"),
        (dict(name="kit157", sfreq=-1.0), "positive sfreq"),
        (dict(name="kit157", head_pos="somewhere"), "'random'"),
        (dict(name="kit157", head_pos=np.eye(3)), r"\(4, 4\)"),
        (
            dict(name="kit157", head_pos=np.diag([1.0, 1, 1, 1]) + 45 * np.eye(4, k=3)),
            "millimetres",
        ),
    ],
)
def test_array_errors(args, match):
    """What cannot be used is said, and what can."""
    with pytest.raises(ValueError, match=match):
        make_array_info(**args)


@pytest.mark.parametrize("name", ["kit157", "kit160"])
def test_kit_is_plotted_by_positions(name):
    """MNE plots averages of all arrays; KIT's needs to know the system."""
    info = make_array_info(name)
    layout = mne.channels.find_layout(info)
    assert layout.kind == "custom" and layout.names == info["ch_names"]
    # neighbours in the helmet are neighbours in the plane
    pos = np.array([ch["loc"][:3] for ch in info["chs"]])
    nearest = [np.argsort(np.linalg.norm(pos - p, axis=1))[1] for p in pos]
    apart = np.linalg.norm(layout.pos[:, :2] - layout.pos[nearest, :2], axis=1)
    assert np.median(apart) < 0.15
