"""Tests of recordings that cannot be read, among others that can."""

import errno
import json
import shutil

import mne
import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from mne_megfm import MEGFMTransformer, evaluation, simulate_cohort
from mne_megfm.archive import files
from mne_megfm.commands import _participants, _rows, main
from mne_megfm.commands._rows import Failure

# MNE 1.13 reads the metadata of epochs in a way that pandas 3.1 warns of
pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:The inplace keyword in DataFrame.set_index:DeprecationWarning"
    ),
    pytest.mark.filterwarnings("ignore:.* recordings are missing"),
]
STATES = ("auditory", "somatosensory")
N = 6


def run(*args):
    """Run a command in this process."""
    return CliRunner().invoke(main, [str(arg) for arg in args])


class BareError(Exception):
    """An exception that takes no message, as some of MNE's."""

    def __init__(self, code, place):
        super().__init__()


ERRORS = {
    "json": lambda: json.loads("{"),
    "unicode": lambda: b"\xff".decode("utf-8"),
    "key": lambda: {}["tag"],
    "assertion": lambda: (_ for _ in ()).throw(AssertionError),
    "bare": lambda: (_ for _ in ()).throw(BareError(1, 2)),
}
REASONS = {
    "json": "Expecting property name",
    "unicode": "can't decode byte 0xff",
    "key": "KeyError: 'tag'",
    "assertion": "AssertionError",
    "bare": "BareError",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with recordings of six participants in two states."""
    path = tmp_path_factory.mktemp("recordings")
    cohort = simulate_cohort(
        N, states=STATES, arrays=("opm64",), n_epochs=3, random_state=3
    )
    lines = ["participant_id\tgroup"]
    for number, person in enumerate(cohort):
        lines.append(f"sub-{number}\t{'ab'[number % 2]}")
        for state in STATES:
            name = f"sub-{number}_task-{state}_epo.fif"
            person.epochs(state).save(path / name)
    (path / "participants.tsv").write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def broken(folder, tmp_path):
    """Return a folder in which sub-1 has half a file, and sub-2 none that is whole."""
    path = tmp_path / "broken"
    shutil.copytree(folder, path)
    (path / "sub-1_task-auditory_epo.fif").write_bytes(b"not a recording")
    for file in path.glob("sub-2_*.fif"):
        # headers are whole and the data are not
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return path


def _expected(folder):
    """Extract features of everybody as plain Python does, sub-1 by the one state."""
    X = {}
    for file in sorted(folder.glob("sub-*.fif")):
        name, task = file.name.split("_")[:2]
        if name != "sub-2" and file.name != "sub-1_task-auditory_epo.fif":
            X.setdefault(name, {})[task[5:]] = mne.read_epochs(file)
    transformer = MEGFMTransformer(sample="participant")
    rows = transformer.fit_transform(list(X.values()))
    return pd.DataFrame(rows, list(X), transformer.get_feature_names_out())


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_rows(broken, folder, tmp_path, jobs):
    """The table has what can be read, and the rest is named with its cause."""
    out = tmp_path / "rows.parquet"
    args = ["features", *sorted(broken.glob("sub-[0-2]_*.fif")), "-o", out]
    args += ["--jobs", jobs]
    result = run(*args, "--strict")
    assert result.exit_code == 1
    assert "got 3 that did" in result.output
    assert not out.exists()
    result = run(*args)
    assert result.exit_code == 0, result.output
    lines = [line for line in result.output.splitlines() if line[:7] == "Failed:"]
    files = ["sub-1_task-auditory", "sub-2_task-auditory", "sub-2_task-somatosensory"]
    for line, file in zip(lines, files, strict=True):
        assert f"{file}_epo.fif): " in line
        assert line[-1] != " "
    frame = pd.read_parquet(out)
    assert frame["file"].nunique() == 3
    epochs = mne.read_epochs(folder / "sub-1_task-somatosensory_epo.fif")
    own = frame[(frame["participant"] == "sub-1")]
    expected = MEGFMTransformer().fit_transform(epochs)
    np.testing.assert_allclose(own.iloc[:, 4:], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_participants(broken, folder, tmp_path, jobs):
    """Who has one recording that can be read has features of that, in all columns."""
    out = tmp_path / "people.parquet"
    args = ["features", *sorted(broken.glob("*.fif")), "--participants", "-o", out]
    result = run(*args, "--jobs", jobs)
    assert result.exit_code == 0, result.output
    assert result.output.count("Failed: ") == 3
    assert "Failed: sub-1 (" in result.output
    assert "sub-1_task-somatosensory" not in result.output
    frame = pd.read_parquet(out).set_index("participant")
    expected = _expected(folder)
    assert frame.index.tolist() == [f"sub-{n}" for n in (0, 1, 3, 4, 5)]
    assert frame.columns.tolist() == expected.columns.tolist()
    assert frame["auditory_missing"].tolist() == [0, 1, 0, 0, 0]
    np.testing.assert_allclose(frame, expected, rtol=1e-4, atol=1e-5)
    result = run(*args, "--strict", "--overwrite")
    assert result.exit_code == 1
    pd.testing.assert_frame_equal(pd.read_parquet(out).set_index("participant"), frame)


@pytest.mark.parametrize("more", [[], ["--participants"]])
@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_none_can_be_read(tmp_path, more, jobs):
    """Nothing that can be read is an error, and nothing is written."""
    for number in range(3):
        (tmp_path / f"sub-{number}_epo.fif").write_bytes(b"not a recording")
    out = tmp_path / "rows.csv"
    args = ["features", *tmp_path.glob("*.fif"), "-o", out, "--jobs", jobs]
    result = run(*args, *more)
    assert result.exit_code == 1
    assert all(f"sub-{number}_epo.fif): " in result.output for number in range(3))
    assert "got 3 that all failed" in result.output
    assert not list(tmp_path.glob("*rows.csv"))


@pytest.mark.parametrize("more", [[], ["--participants"]])
def test_exceptions_of_any_kind(folder, tmp_path, monkeypatch, more):
    """Whatever reading raises, however it is made, has its file and cause named."""
    read = _rows.read_source
    files = [folder / f"sub-{n}_task-auditory_epo.fif" for n in range(5)]
    kinds = dict(zip(files, ERRORS, strict=True))

    def fails(source, reading):
        if source.participant != "sub-5":
            ERRORS[kinds[source.path]]()
        return read(source, reading)

    monkeypatch.setattr(_rows, "read_source", fails)
    monkeypatch.setattr(_participants, "read_source", fails)
    good = folder / "sub-5_task-auditory_epo.fif"
    out = tmp_path / "rows.csv"
    result = run("features", *files, good, "-o", out, *more)
    assert result.exit_code == 0, result.output
    lines = [x for x in result.output.splitlines() if x.startswith("Failed:")]
    for line, (file, kind) in zip(sorted(lines), kinds.items(), strict=True):
        assert line.startswith(f"Failed: {file.name[:5]} ({file}): ")
        assert REASONS[kind] in line
    assert set(pd.read_csv(out)["participant"]) == {"sub-5"}


def _no_memory():
    np.empty(1 << 60, np.float32)


def _no_memory_in_torch():
    torch.empty(1 << 60, dtype=torch.float32)


def _no_memory_for_files():
    raise OSError(errno.ENOMEM, "Cannot allocate memory")


def _no_memory_below():
    try:
        _no_memory()
    except MemoryError as error:
        raise ValueError("Expected a recording, got another file") from error


@pytest.mark.parametrize("more", [[], ["--participants"]])
@pytest.mark.parametrize(
    "fails",
    [_no_memory, _no_memory_in_torch, _no_memory_for_files, _no_memory_below],
)
def test_too_little_memory(folder, tmp_path, monkeypatch, more, fails):
    """No table is without somebody for whom memory did not suffice that day."""
    read = _rows.read_source

    def starves(source, reading):
        if source.participant == "sub-1":
            fails()
        return read(source, reading)

    monkeypatch.setattr(_rows, "read_source", starves)
    monkeypatch.setattr(_participants, "read_source", starves)
    good, bad = sorted(folder.glob("sub-[01]_task-auditory_epo.fif"))
    out = tmp_path / "rows.csv"
    result = run("features", good, bad, "-o", out, *more)
    assert result.exit_code == 1, result.output
    assert f"Failed: sub-1 ({bad}): " in result.output
    assert "got too little for 1 of them, see above; run fewer" in result.output
    assert not out.exists()
    # the only one, too
    result = run("features", bad, "-o", out, *more)
    assert "got too little for 1 of them" in result.output


def test_too_little_memory_for_a_header(folder, tmp_path, monkeypatch):
    """That a file cannot be opened for want of memory does not make it another one."""
    file = folder / "sub-1_task-auditory_epo.fif"
    opened = files.fiff_open

    def starves(path, *args):
        if path == file:
            _no_memory()
        return opened(path, *args)

    monkeypatch.setattr(files, "fiff_open", starves)
    good = folder / "sub-0_task-auditory_epo.fif"
    result = run("features", good, file, "-o", tmp_path / "rows.csv")
    assert result.exit_code == 1
    assert "got too little for 1 of them" in result.output


def test_reasons():
    """A reason is one line, with the kind of what says nothing by itself."""
    assert (
        Failure.of("a", "f", ValueError("Expected\n  more")).reason == "Expected more"
    )
    assert Failure.of("a", "f", ValueError()).reason == "ValueError"
    assert Failure.of("a", "f", KeyError("x")).reason == "KeyError: 'x'"


def test_weights_that_are_not_there(folder, tmp_path):
    """What is wrong with all of it is said once, before anything is read."""
    args = [*folder.glob("*.fif"), "--weights", tmp_path / "none"]
    for more in ([], ["--participants"]):
        result = run("features", *args, "-o", tmp_path / "x.csv", *more)
        assert result.exit_code == 1
        assert "Failed:" not in result.output


def test_classify(broken, tmp_path):
    """Who can be read is classified, by columns as usual."""
    lines = ["file,participant,state"]
    for file in sorted(broken.glob("*.fif")):
        lines.append(f"{file.name},{file.name[:5]},{file.name[11:-8]}")
    (broken / "list.csv").write_text("\n".join(lines))
    labels = ["--labels", broken / "participants.tsv", "--folds", 2]
    args = ["classify", "fit", broken / "list.csv", *labels]
    out = tmp_path / "m.skops"
    (broken / "participants.tsv").write_text(
        "participant_id\tgroup\nsub-0\ta\nsub-1\tb\nsub-3\tb\nsub-4\ta\nsub-5\tb\n"
    )
    result = run(*args, "-o", out, "--strict")
    assert result.exit_code == 1
    assert not out.exists()
    result = run(*args, "-o", out)
    # two of a class are too few for the head, which is known after all were read
    assert "Features of 5 participants" in result.output
    assert result.output.count("Failed: ") == 3


def test_report(broken, tmp_path, monkeypatch):
    """The report is of those who can be read; a quick one compares few pipelines."""
    quick = ["model features", "band power", "original signals, evoked"]
    cheap = dict.fromkeys(["a", *quick])
    cheap["model features"] = make_pipeline(MEGFMTransformer(), LogisticRegression())
    monkeypatch.setattr(evaluation, "default_pipelines", lambda **kwargs: cheap)
    asked = {}

    class StopError(RuntimeError):
        pass

    def compare(X, y, pipelines, **kwargs):
        asked.update(kwargs, X=X, y=y, pipelines=pipelines)
        raise StopError("far enough")

    monkeypatch.setattr(evaluation, "compare", compare)
    files = sorted(broken.glob("sub-[0-3]_*.fif"))
    labels = ["--labels", broken / "participants.tsv"]
    args = ["report", *files, *labels, "-o", tmp_path / "r.html"]
    result = run(*args, "--quick", "--permutations", 2)
    assert "far enough" in result.output
    assert result.output.count("Failed: ") == 3
    assert "3 participants of participants.tsv" in result.output
    assert list(asked["pipelines"]) == quick
    assert asked["cv"].get_n_splits() == 3
    assert asked["n_permutations"] == 2
    assert asked["y"] == ["a", "b", "b"]
    assert [sorted(person) for person in asked["X"]] == [
        list(STATES) if n != 1 else ["somatosensory"] for n in range(3)
    ]
    assert "far enough" in run(*args).output
    assert list(asked["pipelines"]) == list(cheap)
    assert asked["cv"].get_n_splits() == 20
    result = run(*args, "--strict")
    assert "got 3 that did" in result.output
    assert result.exit_code == 1
    assert not list(tmp_path.glob("*.html"))


def test_progress(folder, tmp_path, capfd):
    """A bar with the time left, unless --quiet is given."""
    files = sorted(folder.glob("sub-[01]_task-auditory*"))
    for more, name in (([], "Features"), (["--participants"], "Participants")):
        for quiet in (False, True):
            options = ["--quiet"] if quiet else []
            out = tmp_path / f"{name}-{quiet}.csv"
            main(
                ["features", *map(str, files), "-o", str(out), *more, *options],
                standalone_mode=False,
            )
            said = capfd.readouterr()
            assert (f"{name} : 2/2 [" in said.err) == (not quiet)
            if quiet:
                assert said.err + said.out == ""
