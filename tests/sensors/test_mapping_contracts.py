"""What mapping promises: bads, projectors, compensation, frames, cache, errors."""

import pickle

import joblib
import mne
import numpy as np
import pytest
from mne.io.constants import FIFF
from mne.transforms import Transform

from mne_megfm.inputs import device_to_head, is_maxwell_filtered
from mne_megfm.sensors import (
    _mapping,
    canonical_array,
    compute_mapping,
)
from mne_megfm.simulation import make_array_info

VECTORVIEW = "vectorview306-left-auditory-right-visual-ave.fif"


@pytest.fixture
def kit():
    """Return the info of a KIT system, whose 157 sensors are quick to map."""
    return make_array_info("kit157", head_pos="random", random_state=0)


@pytest.fixture
def neuromag():
    return make_array_info("neuromag306", head_pos="random", random_state=0)


@pytest.fixture
def empty_cache():
    """Forget mappings made before."""
    _mapping._kept.clear()


def _truth(physics, dipoles):
    array = canonical_array()
    return physics.point_field(array.pos, array.ori, dipoles)


def test_form(kit):
    """Matrices fit the names; nothing can be changed by mistake; all of it pickles."""
    mapping = compute_mapping(kit)
    assert mapping.to_canonical.shape == (192, 157)
    assert mapping.from_canonical.shape == (157, 192)
    assert list(mapping.ch_names) == list(mapping.all_ch_names) == kit["ch_names"]
    assert mapping.system == "157 axial gradiometers" and mapping.rank == 157
    assert mapping.to_canonical.dtype == mapping.from_canonical.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        mapping.to_canonical[0] = 0
    again = pickle.loads(pickle.dumps(mapping))
    np.testing.assert_array_equal(again.to_canonical, mapping.to_canonical)


def test_info_is_left_alone(neuromag):
    before = neuromag.copy()
    compute_mapping(neuromag)
    assert mne.utils.object_diff(before, neuromag) == ""


# -- channels -----------------------------------------------------------------------


def test_bad_channels(neuromag, physics, rng):
    """Bad channels do not count, and are filled in on the way back."""
    bads = rng.choice(neuromag["ch_names"], 25, replace=False).tolist()
    neuromag["bads"] = bads
    mapping = compute_mapping(neuromag)
    good = [name not in bads for name in neuromag["ch_names"]]
    assert mapping.ch_names == tuple(np.array(neuromag["ch_names"])[good])
    assert mapping.all_ch_names == tuple(neuromag["ch_names"])
    dipoles = physics.make_dipoles(rng, neuromag)
    field = physics.coil_field(neuromag, dipoles)
    canonical = mapping.to_canonical @ field[good]
    truth = _truth(physics, dipoles)
    assert np.median(physics.correlation(canonical, truth)) > 0.999
    bad = np.flatnonzero(~np.array(good))
    back = mapping.from_canonical[bad] @ canonical
    for row, channel in enumerate(bad):
        assert np.corrcoef(back[row], field[channel])[0, 1] > 0.99


def test_order_of_channels(neuromag, rng):
    """Each channel has the same weights wherever it stands."""
    order = rng.permutation(len(neuromag["ch_names"]))
    shuffled = mne.pick_info(neuromag, order)
    mapping, other = compute_mapping(neuromag), compute_mapping(shuffled)
    assert list(other.ch_names) == shuffled["ch_names"]
    largest = np.abs(mapping.to_canonical).max()
    np.testing.assert_allclose(
        other.to_canonical, mapping.to_canonical[:, order], atol=1e-9 * largest
    )
    largest = np.abs(mapping.from_canonical).max()
    np.testing.assert_allclose(
        other.from_canonical, mapping.from_canonical[order], atol=1e-7 * largest
    )


def test_other_channels_do_not_matter(kit):
    """EEG, triggers and references are not looked at."""
    names = ["EEG 001", "STI 014", "REF 001"]
    extra = mne.create_info(names, kit["sfreq"], ["eeg", "stim", "ref_meg"])
    extra["dev_head_t"] = kit["dev_head_t"]
    merged = mne.io.RawArray(np.zeros((157, 2)), kit)
    merged.add_channels([mne.io.RawArray(np.zeros((3, 2)), extra)], True)
    assert compute_mapping(merged.info) is compute_mapping(kit)


@pytest.mark.parametrize(
    "name, system",
    [
        ("neuromag306", "204 planar gradiometers, 102 magnetometers"),
        ("neuromag122", "122 planar gradiometers"),
        ("4d248", "248 magnetometers"),
        ("ctf151", "151 axial gradiometers"),
        ("opm64", "64 magnetometers"),
    ],
)
def test_kinds_of_sensors(name, system):
    assert compute_mapping(make_array_info(name)).system == system


def test_kind_is_geometry_not_flag(kit):
    """Axial gradiometers flagged as 'grad' are still axial gradiometers."""
    flagged = kit.copy()
    for ch in flagged["chs"]:
        ch["unit"] = FIFF.FIFF_UNIT_T_M
    assert set(flagged.get_channel_types()) == {"grad"}
    assert set(kit.get_channel_types()) == {"mag"}
    assert compute_mapping(flagged) is compute_mapping(kit)


# -- what has been done to the data -------------------------------------------------


def test_projectors(data_dir, physics, rng):
    """Projected data are mapped by the projected lead field."""
    info = mne.io.read_info(data_dir / VECTORVIEW)
    assert all(proj["active"] for proj in info["projs"])
    dipoles = physics.make_dipoles(rng, info)
    truth = _truth(physics, dipoles)
    mapping = compute_mapping(info)
    assert mapping.rank == len(mapping.ch_names) - 3

    unprojected = mne.pick_info(
        info, mne.pick_channels(info["ch_names"], mapping.ch_names)
    )
    for proj in unprojected["projs"]:
        proj["active"] = False
    evoked = mne.EvokedArray(physics.coil_field(unprojected, dipoles), unprojected)
    plain = evoked.data.copy()
    projected = evoked.apply_proj().data
    assert np.median(physics.relative_error(projected, plain)) > 0.003
    canonical = mapping.to_canonical @ projected
    assert np.median(physics.correlation(canonical, truth)) > 0.999
    # external fields along the projectors cannot come through
    vectors = np.zeros((len(plain), len(info["projs"])))
    for column, proj in enumerate(info["projs"]):
        for name, value in zip(
            proj["data"]["col_names"], proj["data"]["data"][0], strict=True
        ):
            if name in mapping.ch_names:
                vectors[mapping.ch_names.index(name), column] = value
    passed = np.linalg.norm(mapping.to_canonical @ vectors, axis=0)
    without = info.copy()
    for proj in without["projs"]:
        proj["active"] = False
    usual = np.linalg.norm(compute_mapping(without).to_canonical @ vectors, axis=0)
    assert (passed < 1e-6 * usual).all()
    # the way back gives projected data
    back = mapping.from_canonical @ canonical
    good = [mapping.all_ch_names.index(name) for name in mapping.ch_names]
    assert np.median(physics.correlation(back[good][2::3], projected[2::3])) > 0.99


def test_projectors_not_applied(data_dir):
    """Projectors that have not been applied change nothing."""
    info = mne.io.read_info(data_dir / "vectorview306-audvis-prestim_raw.fif")
    assert info["projs"] and not any(proj["active"] for proj in info["projs"])
    without = info.copy()
    without["projs"].clear()
    assert compute_mapping(info) is compute_mapping(without)


def test_compensation(data_dir, physics, rng):
    """Compensated CTF data are mapped by the compensated lead field."""
    raw = mne.io.read_raw_fif(data_dir / "ctf274_raw.fif", preload=True)
    assert raw.compensation_grade == 3
    mapping = compute_mapping(raw.info)
    main = mne.pick_types(raw.info, meg=True, ref_meg=False)
    assert list(mapping.ch_names) == [raw.ch_names[pick] for pick in main]

    # references made ordinary channels, to know what they see of a dipole ...
    dipoles = physics.make_dipoles(rng, raw.info)
    sensing = mne.pick_info(raw.info, mne.pick_types(raw.info, meg=True, ref_meg=True))
    sensing["comps"].clear()
    for ch in sensing["chs"]:
        ch["kind"], ch["coil_type"] = FIFF.FIFFV_MEG_CH, ch["coil_type"] & 0xFFFF
    forward = mne.make_forward_solution(
        sensing,
        None,
        mne.setup_volume_source_space(pos=dict(rr=dipoles.rr, nn=dipoles.rr)),
        mne.make_sphere_model((0, 0, 0.04), None),
        eeg=False,
    )
    gain = forward["sol"]["data"].reshape(len(sensing["chs"]), -1, 3)
    seen = np.einsum("cdk,dk->cd", gain, dipoles.q)
    # ... and compensation done on the data, as users do
    raw = mne.io.RawArray(
        np.zeros((len(raw.ch_names), len(dipoles.rr))), raw.info
    ).apply_gradient_compensation(0)
    raw[sensing["ch_names"]] = seen
    uncompensated = raw.get_data(main)
    compensated = raw.apply_gradient_compensation(3).get_data(main)
    truth = _truth(physics, dipoles)
    good = physics.correlation(mapping.to_canonical @ compensated, truth)
    wrong = physics.correlation(mapping.to_canonical @ uncompensated, truth)
    assert np.median(good) > 0.999 > 0.9 > np.median(wrong)


def test_compensation_without_references(data_dir):
    """References that are gone, where they are needed, are worth a warning."""
    info = mne.io.read_info(data_dir / "ctf274_raw.fif")
    picks = mne.pick_types(info, meg=True, ref_meg=False)
    with pytest.warns(RuntimeWarning, match="grade 3 .*reference channels"):
        compute_mapping(mne.pick_info(info, picks))


def test_signal_space_separation(physics, rng):
    """Rank-reduced data are mapped on the directions that they have."""
    info = make_array_info("neuromag306", sfreq=1000.0)
    dipoles = physics.make_dipoles(rng, info)
    field = physics.coil_field(info, dipoles)
    raw = mne.io.RawArray(np.tile(field, 4), info)
    clean = mne.preprocessing.maxwell_filter(raw, origin=(0, 0, 0.04))
    mapping = compute_mapping(clean.info)
    assert 60 < mapping.rank < 90
    canonical = mapping.to_canonical @ clean.get_data()[:, : field.shape[1]]
    assert np.median(physics.correlation(canonical, _truth(physics, dipoles))) > 0.99
    # gradiometers in T/m, else they count for nothing in the rank
    scaled = mapping.to_canonical * [
        25 if ch["coil_type"] == 3012 else 1 for ch in info["chs"]
    ]
    assert np.linalg.matrix_rank(scaled, tol=1e-8) <= mapping.rank


EMPTY = {"max_info": {"sss_info": {}, "max_st": {}, "sss_ctc": {}, "sss_cal": {}}}


def _written_and_read(info, folder):
    """Give an info as a FIF file with active shielding holds it, by MNE's own hand."""
    with info._unlock():
        info["maxshield"] = True
    raw = mne.io.RawArray(np.zeros((len(info["ch_names"]), 100)), info)
    raw.save(folder / "a_raw.fif", overwrite=True)
    return mne.io.read_raw_fif(folder / "a_raw.fif", allow_maxshield="yes").info


@pytest.mark.parametrize("n_records", [1, 2])
def test_active_shielding(neuromag, tmp_path, n_records):
    """The empty record of internal active shielding says that nothing was filtered."""
    plain = compute_mapping(neuromag)
    with neuromag._unlock():
        neuromag["proc_history"] = [EMPTY] * n_records
    info = _written_and_read(neuromag, tmp_path)
    assert [record["max_info"] for record in info["proc_history"]] == [
        EMPTY["max_info"]
    ] * n_records
    assert not is_maxwell_filtered(info)
    mapping = compute_mapping(info)
    assert mapping.rank == plain.rank == 306
    np.testing.assert_allclose(
        mapping.to_canonical, plain.to_canonical, rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("where", ["before", "after"])
def test_active_shielding_and_separation(neuromag, tmp_path, where):
    """An empty record beside that of a separation (MaxFilter 3) changes nothing."""
    raw = mne.io.RawArray(np.zeros((306, 100)), neuromag)
    clean = mne.preprocessing.maxwell_filter(raw, origin=(0, 0, 0.04)).info
    mapping = compute_mapping(clean)
    with clean._unlock():
        records = clean["proc_history"]
        clean["proc_history"] = (
            [EMPTY, *records] if where == "before" else [*records, EMPTY]
        )
    info = _written_and_read(clean, tmp_path)
    assert len(info["proc_history"]) == 2
    assert is_maxwell_filtered(info)
    same = compute_mapping(info)
    assert same.rank == mapping.rank < 100
    np.testing.assert_allclose(
        same.to_canonical, mapping.to_canonical, rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize(
    "record",
    [
        {"in_order": 8, "out_order": 3, "nchan": 306},
        {"components": np.ones(95, int), "nfree": 80},
        {"in_order": 8, "components": np.zeros(95, int)},
        {"in_order": 8, "components": None},
        {"frame": 1, "job": 2},
        None,
        "no sss_info",
        "no max_info",
    ],
)
def test_records_in_part(neuromag, record):
    """Records that lack what was expanded are no separation, beside one or alone."""
    plain = compute_mapping(neuromag)
    clean = mne.preprocessing.maxwell_filter(
        mne.io.RawArray(np.zeros((306, 100)), neuromag), origin=(0, 0, 0.04)
    ).info
    whole = compute_mapping(clean)
    part = {"max_info": {**EMPTY["max_info"], "sss_info": record}}
    if record == "no sss_info":
        part = {"max_info": {}}
    elif record == "no max_info":
        part = {"creator": "somebody"}
    with neuromag._unlock(), clean._unlock():
        neuromag["proc_history"] = [part]
        clean["proc_history"] = [part, *clean["proc_history"]]
    _mapping._kept.clear()
    assert not is_maxwell_filtered(neuromag)
    assert is_maxwell_filtered(clean)
    for info, expected in ((neuromag, plain), (clean, whole)):
        found = compute_mapping(info)
        assert found.rank == expected.rank
        np.testing.assert_array_equal(found.to_canonical, expected.to_canonical)


def test_temporal_extension_alone(neuromag, rng):
    """Data that had the temporal extension alone keep rank and outside fields."""
    raw = mne.io.RawArray(1e-13 * rng.standard_normal((306, 1000)), neuromag)
    extended = mne.preprocessing.maxwell_filter(
        raw, origin=(0, 0, 0.04), st_duration=1.0, st_only=True
    )
    assert len(extended.info["proc_history"]) == 1
    assert not is_maxwell_filtered(extended.info)
    np.testing.assert_array_equal(
        compute_mapping(extended.info).to_canonical,
        compute_mapping(neuromag).to_canonical,
    )


# -- coordinates --------------------------------------------------------------------


def test_head_coordinates(kit):
    """Sensors given in head coordinates are not moved by dev_head_t."""
    inside = kit.copy()
    trans = kit["dev_head_t"]["trans"]
    for ch in inside["chs"]:
        ch["loc"][:3] = trans[:3, :3] @ ch["loc"][:3] + trans[:3, 3]
        ch["loc"][3:] = (ch["loc"][3:].reshape(3, 3) @ trans[:3, :3].T).ravel()
        ch["coord_frame"] = FIFF.FIFFV_COORD_HEAD
    mapping = compute_mapping(kit)
    for known in (inside["dev_head_t"], None):
        inside["dev_head_t"] = known
        np.testing.assert_allclose(
            compute_mapping(inside).to_canonical,
            mapping.to_canonical,
            rtol=1e-3,
            atol=1e-4,
        )


def test_head_position_matters(kit):
    moved = make_array_info("kit157", head_pos="random", random_state=1)
    change = compute_mapping(moved).to_canonical - compute_mapping(kit).to_canonical
    assert np.linalg.norm(change) > 0.1 * np.linalg.norm(
        compute_mapping(kit).to_canonical
    )


def test_missing_head_position(physics, rng):
    """Without a head position the helmet is put around an average head."""
    info = make_array_info("ctf275")
    known = info.copy()
    info["dev_head_t"] = None
    with pytest.warns(RuntimeWarning, match="head position is not known"):
        mapping = compute_mapping(info)
    shifted = info.copy()
    for ch in shifted["chs"]:
        ch["loc"][:3] += [0.0, 0.02, 0.5]
    with pytest.warns(RuntimeWarning, match="head position is not known"):
        same = compute_mapping(shifted)
    np.testing.assert_allclose(
        same.to_canonical, mapping.to_canonical, rtol=1e-3, atol=1e-3
    )
    # about right for a head that is about where heads are
    dipoles = physics.make_dipoles(rng, known)
    canonical = mapping.to_canonical @ physics.coil_field(known, dipoles)
    assert np.median(physics.correlation(canonical, _truth(physics, dipoles))) > 0.85


@pytest.mark.parametrize("system", ["kit160", "4d248"])
def test_identity_is_no_head_position(system):
    """The identity that MNE gives these systems for an unknown position is none."""
    info = make_array_info(system)
    info["dev_head_t"] = None
    assert device_to_head(info) is None
    with pytest.warns(RuntimeWarning, match="is None"):
        unknown = compute_mapping(info)
    info["dev_head_t"] = Transform("meg", "head")
    assert device_to_head(info) is None
    with pytest.warns(RuntimeWarning, match="is the identity"):
        mapping = compute_mapping(info)
    np.testing.assert_array_equal(mapping.to_canonical, unknown.to_canonical)
    # one nearly so has been measured, and digitised points say that somebody looked
    moved = info.copy()
    moved["dev_head_t"]["trans"][2, 3] = 1e-3
    assert device_to_head(moved) is moved["dev_head_t"]
    points = mne.channels.make_dig_montage(
        nasion=[0, 0.1, 0], lpa=[-0.08, 0, 0], rpa=[0.08, 0, 0], coord_frame="head"
    )
    with info._unlock():
        info["dig"] = points.dig
    assert device_to_head(info) is info["dev_head_t"]
    # sensors of other systems may well be given in head coordinates
    for other in ("neuromag306", "ctf151", "opm64"):
        info = make_array_info(other)
        info["dev_head_t"] = Transform("meg", "head")
        assert device_to_head(info) is info["dev_head_t"]


def test_unknown_head_position_is_warned_of_once():
    """A recording is warned of once, whatever is asked of it; the next one again."""
    info = make_array_info("kit160")
    info["dev_head_t"] = None
    other = info.copy()
    other.set_meas_date(1_000_000)
    with pytest.warns(RuntimeWarning, match="head position") as caught:
        for one in (info, other):
            compute_mapping(one)
            compute_mapping(one)
            bad = one.copy()
            bad["bads"] = one["ch_names"][3:4]
            compute_mapping(bad)
    assert len(caught) == 2


# -- cache --------------------------------------------------------------------------


def test_cache_in_memory(kit, tmp_path, monkeypatch, empty_cache):
    """The same geometry gives the same object, also after a file; another does not."""
    mapping = compute_mapping(kit)
    fname = tmp_path / "one_raw.fif"
    mne.io.RawArray(np.zeros((157, 10)), kit).save(fname)
    again = mne.io.read_info(fname)
    again["bads"] = []
    assert compute_mapping(again) is mapping
    other = kit.copy()
    other["bads"] = kit["ch_names"][:1]
    assert compute_mapping(other) is not mapping
    monkeypatch.setattr(_mapping, "_MAX_KEPT", 1)
    compute_mapping(other.copy())
    compute_mapping(make_array_info("kit157", head_pos="random", random_state=2))
    assert len(_mapping._kept) == 1


@pytest.mark.parametrize("form", [str, lambda path: path, joblib.Memory])
def test_cache_on_disk(form, kit, tmp_path, monkeypatch, empty_cache):
    """What has been computed once is read from disk."""
    memory = form(tmp_path) if form is not joblib.Memory else form(tmp_path, verbose=0)
    mapping = compute_mapping(kit, memory=memory)
    _mapping._kept.clear()

    def refuse(*args):
        raise AssertionError("computed again")

    monkeypatch.setattr(_mapping, "lead_field", refuse)
    again = compute_mapping(kit.copy(), memory=memory)
    assert again is not mapping and again.key == mapping.key
    np.testing.assert_array_equal(again.to_canonical, mapping.to_canonical)
    assert not again.to_canonical.flags.writeable


# -- errors -------------------------------------------------------------------------


def _eeg(info):
    return mne.create_info(["EEG 001", "EEG 002"], 250.0, "eeg")


def _all_bad(info):
    info["bads"] = list(info["ch_names"])
    return info


def _few(info):
    return mne.pick_info(info, np.arange(12))


def _no_positions(info):
    return mne.create_info([f"MEG {i:03d}" for i in range(50)], 250.0, "mag")


def _zero_positions(info):
    for ch in info["chs"][:7]:
        ch["loc"][:] = 0
    return info


def _scaled(factor):
    def change(info):
        for ch in info["chs"]:
            ch["loc"][:3] *= factor
        return info

    return change


def _one_far(info):
    info["chs"][3]["loc"][0] += 0.5
    return info


def _inside(info):
    info["chs"][3]["loc"][:3] = -info["dev_head_t"]["trans"][:3, :3].T @ (
        info["dev_head_t"]["trans"][:3, 3] - [0, 0, 0.04]
    )
    return info


def _skewed(info):
    info["chs"][3]["loc"][3:] *= 2
    return info


def _unknown_coil(info):
    info["chs"][0]["coil_type"] = 9999
    return info


def _strange_frame(info):
    for ch in info["chs"]:
        ch["coord_frame"] = FIFF.FIFFV_COORD_MRI
    return info


@pytest.mark.parametrize(
    "change, message",
    [
        (_eeg, "Expected MEG channels in info, got channel types: eeg"),
        (_all_bad, "Expected good MEG channels, got 157 that are all marked as bad"),
        (_few, "at least 20 good MEG channels .* got 12"),
        (_no_positions, "Expected a position .* for 50 of 50: MEG 000, .* and 45 more"),
        (_zero_positions, "Expected a position .* for 7 of 157"),
        (_scaled(1000), "look like mm, convert them to m"),
        (_scaled(100), "look like cm, convert them to m"),
        (_one_far, r"got 1 of 157 farther away .*: MEG 004; check dev_head_t"),
        (_inside, "outside the head, got 1 of 157 .* MEG 004"),
        (_skewed, "perpendicular unit vectors .* got others for MEG 004"),
        (_unknown_coil, "Expected coil types that MNE knows"),
        (_strange_frame, "device or head coordinates, got coordinate frame 5"),
    ],
)
def test_errors(change, message, kit):
    with pytest.raises(ValueError, match=message):
        compute_mapping(change(kit))


def test_bad_channels_may_lack_positions(kit):
    """A channel that is marked as bad need not have a position."""
    kit["chs"][3]["loc"][:] = np.nan
    kit["bads"] = [kit["ch_names"][3]]
    mapping = compute_mapping(kit)
    assert kit["ch_names"][3] not in mapping.all_ch_names
    assert np.isfinite(mapping.from_canonical).all()


def test_few_channels_warn(kit):
    with pytest.warns(RuntimeWarning, match="Only 25 good MEG channels"):
        compute_mapping(mne.pick_info(kit, np.arange(0, 150, 6)))


def test_wrong_types(kit):
    with pytest.raises(TypeError, match="info must be an instance of Info"):
        compute_mapping(mne.io.RawArray(np.zeros((157, 1)), kit))
    _mapping._kept.clear()
    with pytest.raises(TypeError, match="memory must be"):
        compute_mapping(kit, memory=3)


def test_ctf_head_frame(kit):
    """Sensors in CTF head coordinates are brought to MNE's."""
    turned = kit.copy()
    quarter = np.array([[0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    to_ctf = quarter @ kit["dev_head_t"]["trans"]
    for ch in turned["chs"]:
        ch["loc"][:3] = to_ctf[:3, :3] @ ch["loc"][:3] + to_ctf[:3, 3]
        ch["loc"][3:] = (ch["loc"][3:].reshape(3, 3) @ to_ctf[:3, :3].T).ravel()
        ch["coord_frame"] = FIFF.FIFFV_MNE_COORD_CTF_HEAD
    with turned._unlock():
        turned["ctf_head_t"] = Transform("ctf_head", "head", quarter.T)
    np.testing.assert_allclose(
        compute_mapping(turned).to_canonical,
        compute_mapping(kit).to_canonical,
        rtol=1e-3,
        atol=1e-4,
    )


@pytest.mark.parametrize("array", ["ctf151", "4d248", "neuromag306", "opm64"])
def test_sensors_that_share_a_place(array):
    """All at one place are refused; single ones are left out like bad channels."""
    info = make_array_info(array)
    n = len(info["ch_names"])
    for wrong in (range(n), range(n // 2)):
        changed = info.copy()
        for i in wrong:
            changed["chs"][i]["loc"][:3] = info["chs"][9]["loc"][:3]
        with pytest.raises(ValueError, match="place of its own"):
            compute_mapping(changed)
    changed, expected = info.copy(), info.copy()
    one, other = (3, 9) if array != "neuromag306" else (2, 8)  # of one kind
    assert info["chs"][one]["coil_type"] == info["chs"][other]["coil_type"]
    changed["chs"][one]["loc"] = info["chs"][other]["loc"].copy()
    left_out = [one, other] if array != "neuromag306" else [2, 6, 7, 8]  # four there
    expected["bads"] = [info["ch_names"][i] for i in left_out]
    with pytest.warns(RuntimeWarning, match="share place and direction"):
        mapping = compute_mapping(changed)
    assert set(expected["bads"]).isdisjoint(mapping.ch_names)
    np.testing.assert_allclose(
        mapping.to_canonical, compute_mapping(expected).to_canonical, rtol=1e-6,
        atol=1e-9 * np.abs(mapping.to_canonical).max(),
    )  # fmt: skip
    compute_mapping(changed)  # said once


def test_triaxial_sensors_share_places_rightly():
    """Three magnetometers at one place look in three directions."""
    info = make_array_info("opm64")
    picks = np.repeat(np.arange(64), 3)
    triaxial = mne.create_info(192, 250.0, "mag")
    for number, (ch, pick) in enumerate(zip(triaxial["chs"], picks, strict=True)):
        axes = info["chs"][pick]["loc"][3:].reshape(3, 3)
        ch["loc"][:3] = info["chs"][pick]["loc"][:3]
        ch["loc"][3:] = np.roll(axes, number % 3, axis=0).ravel()
        ch["coil_type"] = info["chs"][pick]["coil_type"]
        ch["coord_frame"] = info["chs"][pick]["coord_frame"]
    triaxial["dev_head_t"] = info["dev_head_t"]
    assert len(compute_mapping(triaxial).ch_names) == 192
