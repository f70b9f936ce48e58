"""Tests of copies of a recording, of files that end early, and of MNE's FIF reader."""

import gzip
import shutil

import mne
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from mne_megfm.archive import files as _files
from mne_megfm.archive.sources import find_sources, list_recordings
from mne_megfm.commands import main

from ._archives import prepare, read_log, simulate, write_bids
from ._formats import write_ctf, write_kit


def run(*args):
    """Run a command in this process."""
    return CliRunner().invoke(main, [str(arg) for arg in args])


def make_folder(folder, seed):
    """Write what looks like a folder of a BTi/4D system."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for name in ("config", "c,rfDC", "hs_file"):
        (folder / name).write_bytes(rng.bytes(2000))
    return folder


@pytest.mark.parametrize("ending", ["_raw.fif", "_raw.fif.gz", ".con", ".ds"])
def test_copies_are_read_once(tmp_path, ending):
    """A copy by another name is the same recording; one of the same size is not."""
    files = [tmp_path / f"{name}{ending}" for name in "abc"]
    first, copy, other = files
    for file, seed in ((first, 0), (other, 1)):
        if ending == ".ds":
            write_ctf(simulate(array="ctf151", seed=seed), file)
        elif ending == ".con":
            write_kit(simulate(array="kit160", seed=seed), file)
        else:
            simulate(seed=seed).save(file)
    if ending == ".ds":
        shutil.copytree(first, copy)
        for file in copy.glob("a.*"):  # as MNE expects them
            file.rename(copy / f"b{file.suffix}")
        (copy / ".hidden").write_text("of a file browser")
    else:
        shutil.copy(first, copy)
    assert first.stat().st_ino != copy.stat().st_ino
    assert [source.path for source in list_recordings(files)] == [first, other]
    # whoever lists them: the one before stays
    assert [s.path for s in list_recordings(files[::-1])] == [other, copy]


@pytest.mark.parametrize("again", ["packed", "single", "double", "short", "split"])
def test_recordings_saved_again_are_read_once(tmp_path, again):
    """Of the same signals in other bytes one is read; of other signals all are."""
    raw = simulate(40.0)
    for ch in raw.info["chs"]:  # so that numbers of 16 bits tell signals
        ch["cal"] = 1e-16
    raw.save(tmp_path / "a_raw.fif", fmt="double")
    other = simulate(40.0, seed=1)
    other.save(tmp_path / "c_raw.fif")
    name, given = {
        "packed": ("b_raw.fif.gz", {}),
        "split": ("b_raw.fif", {"split_size": "2MB", "buffer_size_sec": 1.0}),
    }.get(again, ("b_raw.fif", {"fmt": again}))
    read = mne.io.read_raw(tmp_path / "a_raw.fif", preload=True)
    if again == "double":  # with other bytes than before
        read.set_meas_date(0).rename_channels(str.lower)
    read.save(tmp_path / name, **given)
    files = sorted(tmp_path.glob("*.fif*"))
    assert len(files) > 3 or again != "split"
    assert _files.find_copies(files) == {}
    usable = [source.path.name for source in list_recordings(files)]
    assert usable == ["a_raw.fif", "c_raw.fif"]


@pytest.mark.parametrize("kind", ["epo", "ave", "kit"])
def test_other_recordings_saved_again(tmp_path, kind):
    """So it is with epochs, averages, and what came from another format."""
    names = []
    for seed in (0, 1):
        raw = simulate(seed=seed, array="kit160" if kind == "kit" else "opm32")
        epochs = mne.make_fixed_length_epochs(raw, 1.0, preload=True)
        if kind == "kit":
            write_kit(raw, tmp_path / f"{seed}.con")
            again = mne.io.read_raw_kit(tmp_path / f"{seed}.con")
            again.save(tmp_path / f"{seed}_raw.fif")
            names.append(f"{seed}.con")
            continue
        inst = epochs if kind == "epo" else epochs.average()
        inst.save(tmp_path / f"{seed}-{kind}.fif")
        inst.save(tmp_path / f"{seed}-{kind}.fif.gz")
        names.append(f"{seed}-{kind}.fif")
    found = list_recordings(sorted(tmp_path.iterdir()))
    assert [source.path.name for source in found] == names


def test_same_signals_of_two_participants(tmp_path):
    """They are refused as copies are; so is nothing that merely has their length."""
    first = tmp_path / "sub-01_task-rest_raw.fif"
    simulate().save(first)
    simulate().save(tmp_path / "sub-02_task-rest_raw.fif.gz")
    result = run("features", *sorted(tmp_path.iterdir()), "-o", tmp_path / "x.csv")
    assert result.exit_code == 1
    assert "which has the same signals, of sub-02; correct one" in result.output


def test_contents_of_folders(tmp_path):
    """Folders are compared by all files in them, and never with a file."""
    first = make_folder(tmp_path / "a", 0)
    copy = shutil.copytree(first, tmp_path / "b")
    other = make_folder(tmp_path / "c", 1)
    changed = shutil.copytree(first, tmp_path / "d")
    (changed / "config").write_bytes(b"x" * 2000)
    assert _files.find_copies([first, copy, other, changed]) == {copy: first}


def test_middles_that_differ(tmp_path):
    """Large files are told apart by all of their content."""
    content = bytearray(np.random.default_rng(0).bytes(400_000))
    files = [tmp_path / name for name in "abcd"]
    for file in files[:3]:
        file.write_bytes(content)
    content[200_000] ^= 1
    files[3].write_bytes(content)
    assert _files.find_copies(files) == {files[1]: files[0], files[2]: files[0]}
    # what cannot be a recording may be alike by chance
    for file in files:
        file.write_bytes(b"not a recording")
    assert _files.find_copies(files) == {}


def test_copies_of_two_participants(tmp_path):
    """One recording under two names of people is refused, by files and by a table."""
    file = tmp_path / "sub-01_task-rest_raw.fif"
    simulate().save(file)
    copy = tmp_path / "sub-02_task-rest_raw.fif"
    shutil.copy(file, copy)
    result = run("features", file, copy, "-o", tmp_path / "x.csv")
    assert result.exit_code == 1
    assert "of sub-01, and" in result.output
    assert "is a copy of it, of sub-02; correct one" in result.output
    table = tmp_path / "files.csv"
    rows = [f"{file.name},p,rest", f"{copy.name},q,rest"]
    table.write_text("\n".join(["file,participant,state", *rows]))
    output = prepare(table, tmp_path / "store", code=1)
    assert "line 2 of files.csv) of p" in output
    table.write_text(table.read_text().replace(",q,", ",p,"))
    prepare(table, tmp_path / "store", "--strict")
    log = read_log(tmp_path / "store")
    assert sorted(log.outcome) == ["left out", "written"]
    assert "a copy of sub-01_task-rest_raw.fif (line 2" in max(log.reason)


def test_copies_of_split_recordings(tmp_path):
    """Parts of a copy are read no more than its first file."""
    first = tmp_path / "rest_raw.fif"
    simulate(40.0).save(first, split_size="2MB", buffer_size_sec=1.0)
    parts = sorted(tmp_path.glob("*.fif"))
    assert len(parts) > 1
    copies = [shutil.copy(p, tmp_path / f"again{p.name[4:]}") for p in parts]
    (source,) = list_recordings([*parts, *copies])
    assert source.read().n_times == 10_000


def test_what_is_left_out_hides_no_copy(tmp_path):
    """A recording whose copy is no recording of its own is read."""
    folder = tmp_path / "sub-01" / "meg"
    folder.mkdir(parents=True)
    simulate().save(folder / "sub-01_task-noise_meg.fif")
    shutil.copy(
        folder / "sub-01_task-noise_meg.fif", folder / "sub-01_task-rest_meg.fif"
    )
    found = {source.task: source.left_out for source in find_sources(tmp_path, {})}
    assert found == {"noise": "empty room", "rest": ""}


def test_files_within_a_folder(tmp_path):
    """Files of a recording that is a folder are none of their own."""
    folder = tmp_path / "a.ds"
    write_ctf(simulate(array="ctf151"), folder)
    inner = sorted(folder.iterdir())
    assert [s.path for s in list_recordings([folder, *inner])] == [folder]
    assert [s.path for s in list_recordings([*inner, folder])] == [folder]


@pytest.mark.parametrize("kind", ["raw", "epo"])
@pytest.mark.parametrize("cut", [0.3, 0.5, 0.8, 0.97])
def test_files_that_end_early(tmp_path, kind, cut):
    """What ends early is no recording, wherever it ends."""
    raw = simulate(8.0)
    file = tmp_path / f"a_{kind}.fif"
    if kind == "raw":
        raw.save(file, buffer_size_sec=1.0)
    else:
        mne.make_fixed_length_epochs(raw, 1.0, preload=True).save(file)
    _files.read_recording(file)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(cut * len(whole))])
    match = f"whole FIF file, got a_{kind}.fif .*which ends early"
    with pytest.raises(ValueError, match=match):
        _files.read_recording(file)
    packed = file.with_suffix(".fif.gz")
    packed.write_bytes(gzip.compress(whole)[: int(cut * len(whole) / 3)])
    with pytest.raises(ValueError, match=r"got .* in a_\w+.fif.gz \(Compressed file"):
        _files.read_recording(packed)


@pytest.mark.parametrize("kind", ["files", "table", "bids"])
def test_commands_on_files_that_end_early(tmp_path, kind):
    """Features and prepare have one rule for them, and name file and cause."""
    root = tmp_path / "bids"
    files = [write_bids(simulate(seed=n), root, f"0{n}", "rest") for n in (1, 2)]
    content = files[0].read_bytes()
    files[0].write_bytes(content[: int(0.9 * len(content))])
    given = {"files": files, "bids": [root]}.get(kind)
    if kind == "table":
        given = [tmp_path / "files.csv"]
        rows = [f"{file},p{n},rest" for n, file in enumerate(files)]
        given[0].write_text("\n".join(["file,participant,state", *rows]))
    result = run("features", *given, "-o", tmp_path / "x.csv")
    assert result.exit_code == 0, result.output
    (line,) = (x for x in result.output.splitlines() if x.startswith("Failed:"))
    assert "which ends early (Invalid tag" in line
    assert files[0].name in line
    assert pd.read_csv(tmp_path / "x.csv").participant.nunique() == 1
    if kind != "files":
        prepare(given[0], tmp_path / "store")
        log = read_log(tmp_path / "store")
        assert sorted(log.outcome) == ["failed", "written"]
        assert log.reason.str.contains("which ends early").sum() == 1


def test_fif_reader_of_mne(tmp_path):
    """What is used of MNE beyond its public functions does what it did.

    If this fails after an update of MNE: look at mne.io.read_raw_fif for how it opens a
    file (fiff_open, dir_tree_find) and finds the next one (_get_next_fname), take that
    into commands/_files.py, and raise the lowest version of MNE in pyproject.toml.
    """
    first = tmp_path / "rest_raw.fif"
    simulate(40.0).save(first, split_size="2MB", buffer_size_sec=1.0)
    truth = mne.io.read_raw_fif(first).filenames
    assert len(truth) > 1
    file, tree, directory = _files.fiff_open(first)
    with file:
        assert tree["children"]
        assert directory
        assert _files.dir_tree_find(tree, _files.FIFF.FIFFB_RAW_DATA)
        assert _files._get_next_fname(file, first, tree) == truth[1]
        (entry, *_) = (e for e in directory if e.kind == _files.FIFF.FIFF_NCHAN)
        assert _files.read_tag(file, entry.pos).data.item() == 32
    assert [first, *_files.later_parts(first)] == list(truth)
    assert _files.part_before(truth[1]) == first
