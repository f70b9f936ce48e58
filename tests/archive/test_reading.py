"""Tests of which files are one recording, and of which events are looked up."""

import mne
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from mne_megfm.archive.reading import cut_epochs
from mne_megfm.archive.sources import list_recordings
from mne_megfm.commands import main
from mne_megfm.store import WindowStore

from ._archives import prepare, read_log, simulate


def save(raw, file, naming="neuromag"):
    """Save a recording in several files of 2 MB."""
    raw.save(file, split_size="2MB", split_naming=naming, buffer_size_sec=1.0)
    return sorted(file.parent.glob("*.fif"))


@pytest.mark.parametrize("kind", ["raw", "epochs"])
@pytest.mark.parametrize("naming", ["neuromag", "bids"])
def test_parts_are_one_recording(tmp_path, kind, naming):
    """Files in which a recording goes on are read with the first, however named."""
    raw = simulate(120.0)
    if kind == "raw":
        parts = save(raw, tmp_path / "rest_raw.fif", naming)
    else:
        epochs = mne.make_fixed_length_epochs(raw, 1.0, preload=True)
        epochs.save(tmp_path / "rest_epo.fif", split_size="2MB", split_naming=naming)
        parts = sorted(tmp_path.glob("*.fif"))
    assert len(parts) > 2
    (source,) = list_recordings(parts)
    inst = source.read()
    length = inst.n_times if kind == "raw" else len(inst) * 250
    assert length == raw.n_times
    # a later part alone is no recording of its own
    later = next(part for part in parts if part != source.path)
    (alone,) = list_recordings([later])
    with pytest.raises(ValueError, match="goes on from"):
        alone.read()


def test_parts_in_a_table(tmp_path):
    """Parts and files listed twice are stored once; of two people they are refused."""
    parts = save(simulate(60.0), tmp_path / "rest_raw.fif")
    first = tmp_path / "rest_raw.fif"
    (tmp_path / "again_raw.fif").symlink_to(first)
    files = [part.name for part in parts if part != first]
    rows = [f"{name},p,rest" for name in (first.name, *files, "again_raw.fif")]
    table = tmp_path / "files.csv"
    table.write_text("\n".join(["file,participant,state", *rows]))
    prepare(table, tmp_path / "store", "--highpass", 0, "--strict")
    assert len(WindowStore.open(tmp_path / "store")) == 60
    outcome = read_log(tmp_path / "store").outcome
    assert outcome.value_counts().to_dict() == {
        "written": 1,
        "left out": len(files) + 1,
    }
    for name in (files[0], "again_raw.fif"):
        rows = [f"{first.name},p,rest", f"{name},q,rest"]
        table.write_text("\n".join(["file,participant,state", *rows]))
        output = prepare(table, tmp_path / "other", code=1)
        assert "line 2 of files.csv" in output
        assert "line 3 of files.csv" in output


def test_one_file_by_two_paths(tmp_path):
    """A file given by two paths is read once."""
    simulate().save(tmp_path / "a_raw.fif")
    again = tmp_path / "." / "x" / ".." / "a_raw.fif"
    (tmp_path / "x").mkdir()
    (tmp_path / "b_raw.fif").symlink_to(tmp_path / "a_raw.fif")
    paths = [tmp_path / "a_raw.fif", again, tmp_path / "b_raw.fif"]
    assert len(list_recordings(paths)) == 1


def test_derivatives(tmp_path):
    """Of versions of a recording one is taken: clean epochs, else the cleanest."""
    pytest.importorskip("mne_bids")
    folder = tmp_path / "sub-01" / "meg"
    folder.mkdir(parents=True)
    raw = simulate(4.0)
    for kind in ("proc-filt_raw", "proc-clean_raw", "proc-icafit_raw"):
        raw.save(folder / f"sub-01_task-tone_run-01_{kind}.fif")
    epochs = mne.make_fixed_length_epochs(raw, 1.0, preload=True)
    epochs.event_id = {"standard": 1}
    for kind in ("epo", "proc-icafit_epo", "proc-clean_epo"):
        epochs.save(folder / f"sub-01_task-tone_{kind}.fif")
    (source,) = list_recordings([tmp_path])
    assert source.path.name == "sub-01_task-tone_proc-clean_epo.fif"
    assert source.read().event_id == {"standard": 1}
    prepare(tmp_path, tmp_path / "store", "--strict")
    notes = WindowStore.open(tmp_path / "store")
    assert notes.table.name.tolist() == ["sub-01_task-tone_run-01_proc-clean"]


@pytest.fixture
def triggers():
    """Return a recording with 16 triggers in its stimulus channel."""
    raw = simulate(20.0)
    stim = mne.io.RawArray(
        np.zeros((1, raw.n_times)), mne.create_info(["STI 014"], 250.0, "stim")
    )
    onsets = np.arange(500, 4500, 250)
    stim._data[0, np.add.outer(onsets, np.arange(10)).ravel()] = 1
    return raw.add_channels([stim], force_update_info=True)


@pytest.mark.parametrize("wanted", ["1", "*"])
@pytest.mark.parametrize("text, n", [("BAD_x", 15), ("bad", 15), ("EDGE boundary", 16)])
def test_marks_are_no_events(triggers, wanted, text, n):
    """Bad spans and edges do not keep the trigger channel from being looked at."""
    triggers.set_annotations(mne.Annotations([3.2], [0.5], [text]))
    assert len(cut_epochs(triggers, [wanted], -0.2, 0.8).drop_bad()) == n


def test_annotations_beside_triggers(triggers):
    """Events are looked up in both places; what all of them are must be clear."""
    triggers.set_annotations(mne.Annotations([3.1], [0.5], ["HPI on"]))
    assert len(cut_epochs(triggers, ["1"], -0.2, 0.8).drop_bad()) == 16
    assert len(cut_epochs(triggers, ["HPI on"], -0.2, 0.8).drop_bad()) == 1
    with pytest.raises(ValueError, match=r"HPI on \(1\).*1 \(16\)\) differ"):
        cut_epochs(triggers, ["*"], -0.2, 0.8)
    annotated = cut_epochs(triggers, ["*"], -0.2, 0.8, only_annotations=True)
    assert len(annotated.drop_bad()) == 1
    onsets = np.arange(500, 4500, 250) / 250
    triggers.set_annotations(mne.Annotations(onsets, 0.0, ["tone"] * 16))
    epochs = cut_epochs(triggers, ["*"], -0.2, 0.8).drop_bad()
    assert (len(epochs), list(epochs.event_id)) == (16, ["tone"])


def test_events_at_one_sample():
    """Two events at one sample are one trial that has both names."""
    raw = simulate(20.0)
    names = ["standard", "left", "standard", "right", "standard/x"]
    raw.set_annotations(mne.Annotations([2, 2, 5, 8, 11], 0.0, names))
    epochs = cut_epochs(raw, ["standard", "left"], -0.2, 0.8).drop_bad()
    assert len(epochs) == 3
    assert len(epochs["standard"]) == 3
    assert len(epochs["left"]) == 1


@pytest.mark.parametrize(
    "name, typed",
    [
        ("face, left", '"face, left"'),
        ("a:b", "a:b"),
        ('"so"', '"""so"""'),
        ("面", "面"),
        ("x\uff1ay", "x\uff1ay"),  # a full-width colon
        ("e\u0301tude", "\u00e9tude"),  # an accent as a character of its own
        ("für", "fu\u0308r"),
        (" lead", "lead"),
        ("a=b", "a=b"),
        ("&#65;", "&#65;"),  # text that MNE writes as it is
    ],
)
def test_names_are_found_as_typed(tmp_path, name, typed):
    """Annotations in a FIF file are found by what one types, in every command."""
    raw = simulate(20.0)
    names = [name, "other", name, "other", name]
    raw.set_annotations(mne.Annotations([2, 5, 8, 11, 14], 0.0, names))
    raw.save(tmp_path / "sub-01_task-see_raw.fif")
    file = str(tmp_path / "sub-01_task-see_raw.fif")
    out = str(tmp_path / "x.csv")
    args = ["features", file, "-o", out, "--events", f"see={typed},other"]
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 0, result.output
    assert len(pd.read_csv(out)) == 5
    (tmp_path / "files.csv").write_text(
        "file,participant,state\nsub-01_task-see_raw.fif,p,see\n"
    )
    args = ["--highpass", 0, "--events", f"see={typed}"]
    prepare(tmp_path / "files.csv", tmp_path / "store", *args)
    assert len(WindowStore.open(tmp_path / "store")) == 3


def test_open_quotes_are_refused(tmp_path):
    """Quotes that nothing closes are a wrong call, not another name."""
    output = prepare(tmp_path, tmp_path / "store", "--events", 'a="b,c', code=2)
    assert "close the quotes" in output


def test_names_that_are_missing(tmp_path):
    """What no recording has is an error, what one of them lacks is said."""
    for number, names in ((1, ["standard", "deviant"]), (2, ["standard"] * 2)):
        raw = simulate(8.0, seed=number)
        raw.set_annotations(mne.Annotations([2, 5], 0.0, names))
        file = tmp_path / f"sub-0{number}_task-tone_raw.fif"
        raw.save(file)
    with pytest.warns(RuntimeWarning, match="devaint in sub-02.*standard"):
        cut_epochs(mne.io.read_raw(file), ["standard", "devaint"], -0.2, 0.8)
    files = sorted(map(str, tmp_path.glob("*.fif")))
    out = tmp_path / "rows.csv"

    def run(events):
        args = ["features", *files, "-o", str(out), "--events", f"tone={events}"]
        return CliRunner().invoke(main, args)

    result = run("standard,devaint")
    assert result.exit_code == 1
    assert "got devaint, which are in none of 2; correct the name (deviant?)" in (
        result.output
    )
    with pytest.warns(RuntimeWarning, match="deviant in sub-02_task-tone_raw.fif"):
        result = run("standard,deviant")
    assert result.exit_code == 0, result.output
    assert "sub-01: 1 deviant, 1 standard" in result.output
    assert "No deviant in tone of sub-02" in result.output
    assert len(pd.read_csv(out)) == 4
