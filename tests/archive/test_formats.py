"""Tests of the way to the store from files as KIT and CTF systems write them."""

import mne
import numpy as np
import pandas as pd
import pytest
from mne.io.constants import FIFF

from mne_megfm.archive.files import read_recording
from mne_megfm.inputs import device_to_head
from mne_megfm.store import WindowStore

from ._archives import (
    assert_stored,
    expected,
    prepare,
    read_log,
    simulate,
    write_bids,
)
from ._formats import write_ctf, write_kit


@pytest.fixture(params=["real", "simulated"])
def kit(request):
    """Return a KIT recording."""
    if request.param == "simulated":
        return simulate(array="kit160")
    folder = request.getfixturevalue("data_dir")
    return mne.io.read_raw(folder / "kit157-auditory_raw.fif", preload=True)


@pytest.fixture(params=["real", "simulated"])
def ctf(request):
    """Return a CTF recording; the real one has compensation of the third order."""
    if request.param == "simulated":
        return simulate(array="ctf151")
    folder = request.getfixturevalue("data_dir")
    return mne.io.read_raw(folder / "ctf274_raw.fif", preload=True)


def meg(raw):
    """Return the indices of MEG and reference channels."""
    return mne.pick_types(raw.info, meg=True, ref_meg=True, exclude=())


def assert_same_sensors(read, raw):
    """Compare the places of sensors, and the axes that matter to their coils."""
    for a, b in zip(meg(read), meg(raw), strict=True):
        a, b = read.info["chs"][a], raw.info["chs"][b]
        for key in ("ch_name", "kind", "coil_type", "unit", "coord_frame"):
            assert a[key] == b[key]
        x_matters = b["coil_type"] == FIFF.FIFFV_COIL_CTF_OFFDIAG_REF_GRAD
        matters = np.r_[:6, 9:12] if x_matters else np.r_[:3, 9:12]
        np.testing.assert_allclose(a["loc"][matters], b["loc"][matters], atol=1e-6)
    for key in ("dev_head_t", "ctf_head_t"):
        if raw.info[key] is not None:
            np.testing.assert_allclose(
                read.info[key]["trans"], raw.info[key]["trans"], atol=1e-6
            )


@pytest.mark.parametrize("head", ["inside", "fastscan", "isotrak"])
def test_kit_files(kit, tmp_path, head):
    """MNE reads the same recording from a KIT file that tests write."""
    file = tmp_path / "a.con"
    read = mne.io.read_raw_kit(file, **write_kit(kit, file, head=head))
    assert_same_sensors(read, kit)
    data, truth = read.get_data(meg(read)), kit.get_data(meg(kit))
    largest = np.abs(truth).max(axis=1, keepdims=True)
    assert np.all(np.abs(data - truth) <= 0.51 * largest / 2**15)
    if "STI 014" in kit.ch_names:
        assert np.array_equal(read.get_data("STI 014"), kit.get_data("STI 014"))


@pytest.mark.parametrize("n_trials", [1, 2])
def test_ctf_files(ctf, tmp_path, n_trials):
    """MNE reads the same recording from a CTF folder that tests write."""
    texts = ["tone", "bad_jump", "flash", "tone"]
    spans = mne.Annotations([0.1, 0.15, 0.2, 0.3], [0, 0.05, 0, 0], texts)
    ctf.set_annotations(spans)
    ctf.info["bads"] = ctf.ch_names[40:42]
    write_ctf(ctf, tmp_path / "a.ds", n_trials=n_trials)
    read = mne.io.read_raw_ctf(tmp_path / "a.ds")
    assert read.info["bads"] == ctf.info["bads"]
    assert read.annotations.description.tolist() == texts
    np.testing.assert_allclose(read.annotations.onset, spans.onset, atol=1e-8)
    np.testing.assert_allclose(read.annotations.duration, spans.duration, atol=1e-8)
    assert_same_sensors(read, ctf)
    assert read.compensation_grade == ctf.compensation_grade
    for a, b in zip(read.info["comps"], ctf.info["comps"], strict=False):
        assert a["kind"] == b["kind"]
        assert a["data"]["row_names"] == b["data"]["row_names"]
        assert a["data"]["col_names"] == b["data"]["col_names"]
        np.testing.assert_allclose(a["data"]["data"], b["data"]["data"], atol=1e-12)
    cals = np.abs([[ch["cal"]] for ch in read.info["chs"]])
    assert np.all(np.abs(read.get_data() - ctf.get_data()) <= 0.51 * cals)
    for key in ("highpass", "lowpass", "sfreq"):
        assert read.info[key] == ctf.info[key]


def _append(file, text):
    """Make a file another one than that of the same signals, past what is read."""
    file.write_bytes(file.read_bytes() + text.encode())


def test_kit_in_bids(kit, tmp_path):
    """Wherever a KIT data set has the position of the head, it is used."""
    root, path = tmp_path / "bids", tmp_path / "store"
    gains = {"inside": 1.0, "fastscan": 1.1, "isotrak": 1.2}  # no copies
    for head, gain in gains.items():
        (tmp_path / head).mkdir()
        file = tmp_path / head / "a.con"
        scaled = kit.copy().load_data().apply_function(lambda x, g=gain: g * x)
        read_with = write_kit(scaled, file, head=head)
        read = mne.io.read_raw_kit(file, **read_with)
        write_bids(read, root, head, "rest", run="01")
    assert len(list(root.rglob("*_meg.con"))) == 3
    assert len(list(root.rglob("*_acq-run01_markers.mrk"))) == 2
    prepare(root, path, "--highpass", 0, "--strict")
    store = WindowStore.open(path)
    truth = expected(kit)
    for head, gain in gains.items():
        name = f"sub-{head}_task-rest_run-01"
        assert_stored(store, name, gain * truth)
        np.testing.assert_allclose(
            store.notes(name)["dev_head_t"], kit.info["dev_head_t"]["trans"], atol=1e-6
        )
    assert len(store.table) == 3
    # and by the table of files, which finds what is inside alone
    table = tmp_path / "files.csv"
    table.write_text("file,participant,state\ninside/a.con,p,rest\n")
    prepare(table, tmp_path / "from files", "--highpass", 0, "--strict")
    assert_stored(WindowStore.open(tmp_path / "from files"), "p_a", truth)


def test_kit_markers(tmp_path):
    """Markers are those of the run, before and after; without any, it is said."""
    root, path = tmp_path / "bids", tmp_path / "store"
    raw, file = simulate(array="kit160"), tmp_path / "a.con"
    for run in ("01", "02"):
        raw._data *= 1.1  # no copies
        read_with = write_kit(raw, file, head="fastscan")
        read = mne.io.read_raw_kit(file, **read_with)
        write_bids(read, root, "x", "rest", run=run)
    folder = root / "sub-x" / "meg"
    truth = raw.info["dev_head_t"]["trans"].copy()
    # 2 mm to one side before, to the other after: what is stored is between them
    own = folder / "sub-x_task-rest_acq-run01_markers.mrk"
    for shift, which in ((0.002, "pre"), (-0.002, "post")):
        raw.info["dev_head_t"]["trans"][:3, 3] = truth[:3, 3] + [shift, 0, 0]
        write_kit(raw, tmp_path / "b.con", head="fastscan")
        marker = own.with_name(own.name.replace("run01", f"run01{which}"))
        marker.write_bytes((tmp_path / "a.mrk").read_bytes())
    own.unlink()
    other = folder / "sub-x_task-rest_acq-run02_markers.mrk"
    other.write_bytes(marker.read_bytes())
    prepare(root, path, "--strict")
    store = WindowStore.open(path)
    heads = [store.notes(name)["dev_head_t"] for name in store.table.name]
    np.testing.assert_allclose(heads[0], truth, atol=1e-6)
    np.testing.assert_allclose(heads[1], raw.info["dev_head_t"]["trans"], atol=1e-6)
    # those of another run say nothing of this one
    other.unlink()
    prepare(root, tmp_path / "again", "--strict")
    again = WindowStore.open(tmp_path / "again")
    notes = again.notes("sub-x_task-rest_run-02")
    assert notes["dev_head_t"] is None
    log = read_log(tmp_path / "again")
    assert "head position is not known" in log.warnings["sub-x_task-rest_run-02"]
    assert "head position" not in log.warnings["sub-x_task-rest_run-01"]
    # unlike a marker file of no run
    other.with_name("sub-x_markers.mrk").write_bytes(marker.read_bytes())
    prepare(root, tmp_path / "third", "--strict")
    notes = WindowStore.open(tmp_path / "third").notes("sub-x_task-rest_run-02")
    np.testing.assert_allclose(
        notes["dev_head_t"], raw.info["dev_head_t"]["trans"], atol=1e-6
    )


@pytest.mark.parametrize("head", ["inside", None])
def test_kit_head_of_plain_files(tmp_path, head):
    """MNE's stand-in for a head position that is not known is none for features."""
    raw = simulate(array="kit160")
    write_kit(raw, tmp_path / "a.con", head=head)
    found = device_to_head(read_recording(tmp_path / "a.con").info)
    if head is None:
        assert found is None
    else:
        truth = raw.info["dev_head_t"]["trans"]
        np.testing.assert_allclose(found["trans"], truth, atol=1e-12)


def test_ctf_in_bids(ctf, tmp_path):
    """CTF folders in a data set arrive as the same recordings do by another way."""
    root, path = tmp_path / "bids", tmp_path / "store"
    write_ctf(ctf, tmp_path / "a.ds", n_trials=2)
    read = mne.io.read_raw_ctf(tmp_path / "a.ds")
    write_bids(read, root, "x", "rest", session="1")
    assert next(root.rglob("*_meg.ds")).is_dir()
    prepare(root, path, "--highpass", 0, "--strict")
    store = WindowStore.open(path)
    n_sensors = len(mne.pick_types(ctf.info, meg=True, ref_meg=False))
    assert store.table.array[0] in (f"{n_sensors} axial gradiometers", "ctf151")
    # the x axes of some reference coils are arbitrary, and zero in the real file
    for a, b in zip(ctf.info["chs"], read.info["chs"], strict=True):
        if b["kind"] == FIFF.FIFFV_REF_MEG_CH:
            a["loc"] = b["loc"]
    assert_stored(store, "sub-x_ses-1_task-rest", expected(ctf))
    notes = store.notes("sub-x_ses-1_task-rest")
    head = ctf.info["dev_head_t"]["trans"]
    np.testing.assert_allclose(notes["dev_head_t"], head, atol=1e-6)
    table = tmp_path / "files.csv"
    table.write_text("file,participant,state\na.ds,p,rest\n")
    prepare(table, tmp_path / "from files", "--highpass", 0, "--strict")
    assert_stored(WindowStore.open(tmp_path / "from files"), "p_a", expected(ctf))


def test_ctf_bad_spans(tmp_path):
    """Events and bad spans come from CTF's own files, whatever events.tsv leaves."""
    root, path = tmp_path / "bids", tmp_path / "store"
    raw = simulate(8.0, array="ctf151")
    texts = ["tone", "tone", "bad_jump"]
    raw.set_annotations(mne.Annotations([1.3, 3.2, 5.5], [0, 0, 0.2], texts))
    write_ctf(raw, tmp_path / "a.ds", n_trials=4)
    write_bids(mne.io.read_raw_ctf(tmp_path / "a.ds"), root, "x", "tones")
    events = next(root.rglob("*_events.tsv"))
    table = pd.read_csv(events, sep="\t")
    assert table.trial_type.tolist() == texts
    table[:2].to_csv(events, sep="\t", index=False)
    prepare(root, path, "--highpass", 0, "--strict")
    assert WindowStore.open(path).start.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 7.0]
    prepare(root, tmp_path / "events", "--events", "tones=tone", "--strict")
    start = WindowStore.open(tmp_path / "events").start
    np.testing.assert_allclose(start, [1.1, 3.0], atol=1e-9)


def test_files_that_end_early(tmp_path):
    """What is not all there fails, also where MNE would read on."""
    kit, ctf = simulate(array="kit160"), simulate(array="ctf151")
    write_kit(kit, tmp_path / "whole.con", head=None)
    content = (tmp_path / "whole.con").read_bytes()
    sample = 2 * (160 + 8)
    lengths = {"samples": 300 * sample, "bytes": 7, "most": len(content) - 3000}
    for name, length in lengths.items():
        (tmp_path / f"{name}.con").write_bytes(content[:-length])
    for name in ("meg4", "res4", "hc"):
        write_ctf(ctf, tmp_path / f"{name}.ds", n_trials=2)
        file = tmp_path / f"{name}.ds" / f"{name}.{name}"
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 3])
    write_ctf(ctf, tmp_path / "whole.ds", n_trials=2)
    files = sorted([*tmp_path.glob("*.con"), *tmp_path.glob("*.ds")])
    rows = [f"{file.name},{file.stem},rest,{file.name}" for file in files]
    table = tmp_path / "files.csv"
    table.write_text("\n".join(["file,participant,state,name", *rows]))
    prepare(table, tmp_path / "store")
    log = read_log(tmp_path / "store")
    assert log.outcome.value_counts().to_dict() == {"failed": 6, "written": 2}
    assert set(log.index[log.outcome == "written"]) == {"whole.con", "whole.ds"}
    assert "1000 samples, as the file says, got 700" in log.reason["samples.con"]


@pytest.mark.parametrize("suffix", ["con", "sqd", "fif"])
@pytest.mark.parametrize("size", [0, 300, 3000])
def test_files_that_are_no_recordings(tmp_path, suffix, size):
    """Names of formats on other content: the file is named, and what to do."""
    path = tmp_path / f"other.{suffix}"
    path.write_bytes(np.random.default_rng(size).bytes(size))
    with pytest.raises(ValueError, match=rf"Expected .* other\.{suffix}.*again\."):
        read_recording(path)
