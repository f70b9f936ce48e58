"""Tests of features from the shell, and of classifying by them."""

import os

import mne
import numpy as np
import pandas as pd
import pytest
import skops.io
from click.testing import CliRunner
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

from mne_megfm import MEGFMTransformer, simulate_cohort
from mne_megfm.archive.files import read_recording
from mne_megfm.archive.settings import PLAIN, Reading
from mne_megfm.archive.sources import list_recordings
from mne_megfm.commands import main
from mne_megfm.commands._participants import get_features, summarise_rows
from mne_megfm.commands._rows import extract_rows
from mne_megfm.estimators import LogisticHead
from mne_megfm.simulation import make_array_info
from mne_megfm.utils.files import PREFIX
from mne_megfm.utils.tables import read_features

# MNE 1.13 reads the metadata of epochs in a way that pandas 3.1 warns of
pytestmark = pytest.mark.filterwarnings(
    "ignore:The inplace keyword in DataFrame.set_index:DeprecationWarning"
)


def run(*args):
    """Run a command in this process."""
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with recordings of two participants, and a table of them."""
    path = tmp_path_factory.mktemp("recordings")
    cohort = simulate_cohort(
        2,
        states=("rest", "auditory"),
        arrays=("opm64",),
        n_epochs=3,
        random_state=3,
    )
    lines = ["file\tparticipant\tstate"]
    for number, participant in enumerate(cohort.participants, 1):
        for state, epochs in participant.recordings.items():
            name = f"sub-0{number}_task-{state}_meg-epo.fif"
            epochs.save(path / name)
            lines.append(f"{name}\t0{number}\t{state}")
    (path / "recordings.tsv").write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def truth(folder):
    """Return features of each file as plain scikit-learn gives them."""
    return {
        path.name: MEGFMTransformer().fit_transform(read_recording(path))
        for path in sorted(folder.glob("*.fif"))
    }


# -- features -----------------------------------------------------------------------
@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_features(folder, truth, tmp_path, suffix):
    """A row an epoch: the features of the transformer, with participant and state."""
    out = tmp_path / f"features{suffix}"
    # all of them as a CSV: test_features_of_a_table
    files = sorted(folder.glob("*.fif"))[: 4 if suffix == ".parquet" else 1]
    result = run("features", *files, "--out", out)
    assert result.exit_code == 0, result.output
    frame = pd.read_parquet(out) if suffix == ".parquet" else pd.read_csv(out)
    assert frame.columns[:4].tolist() == ["participant", "state", "file", "row"]
    people = ["sub-01"] * 6 + ["sub-02"] * 6
    assert frame["participant"].tolist() == people[: 3 * len(files)]
    states = 2 * (["auditory"] * 3 + ["rest"] * 3)
    assert frame["state"].tolist() == states[: 3 * len(files)]
    assert frame["row"].tolist() == [0, 1, 2] * len(files)
    expected = np.concatenate([truth[path.name] for path in files])
    np.testing.assert_allclose(frame.iloc[:, 4:], expected, rtol=1e-5, atol=1e-6)
    again = run("features", *files, "--out", out)
    assert again.exit_code == 1
    assert "pass --overwrite" in again.output
    assert run("features", *files, "--out", tmp_path / "x.xls").exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_features_of_a_table(folder, truth, tmp_path):
    """A table says whose a file is and what state, also names made of digits."""
    out = tmp_path / "features.csv"
    result = run("features", folder / "recordings.tsv", "--out", out, "--quiet")
    assert result.exit_code == 0, result.output
    assert "Wrote" not in result.output
    frame = pd.read_csv(out, dtype={"participant": str})
    assert set(frame["participant"]) == {"01", "02"}
    rows = frame[(frame["participant"] == "02") & (frame["state"] == "rest")]
    expected = truth["sub-02_task-rest_meg-epo.fif"]
    np.testing.assert_allclose(rows.iloc[:, 4:], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs a folder none may fill")
def test_folder_that_is_read_only(folder, monkeypatch):
    """A folder that cannot be written to is an error before any work is done."""

    def too_late(*args):
        pytest.fail("Recordings are read before the folder is looked at")

    monkeypatch.setattr("mne_megfm.commands._rows.extract_rows", too_late)
    result = run("features", folder / "recordings.tsv", "-o", "/proc/features.csv")
    assert result.exit_code == 1
    assert "choose another one" in result.output


@pytest.fixture
def cut(folder, tmp_path):
    """Return a function that saves epochs cut from one time to another."""
    epochs = read_recording(next(folder.glob("*.fif")))
    data = np.tile(epochs.get_data(), 3)

    def cut(name, tmin, seconds, sfreq=None):
        n_times = round(seconds * epochs.info["sfreq"])
        size = 1 + 0.1 * len([*tmp_path.iterdir()])  # no two are the same
        one = mne.EpochsArray(size * data[:2, :, :n_times], epochs.info, tmin=tmin)
        if sfreq is not None:
            one.resample(sfreq)
        one.save(tmp_path / f"{name}_epo.fif")
        return tmp_path / f"{name}_epo.fif"

    return cut


@pytest.mark.parametrize("times", [(-0.2, 2.0), (-0.2, 0.9), (0.0, 1.0)])
@pytest.mark.parametrize("jobs", [1, 2])
def test_rows_of_different_times(cut, monkeypatch, times, jobs):
    """Recordings whose rows cannot stand in one table are named, before the work."""

    def too_late(*args):
        pytest.fail("Rows are computed before their times are looked at")

    monkeypatch.setattr("mne_megfm.commands._rows.run_each", too_late)
    first = [cut(f"sub-0{n}_task-tone", -0.2, 1.0) for n in (1, 2)]
    other = [cut(f"sub-0{n}_task-tone", *times) for n in (7, 8)]
    sources = list_recordings([*first, *other])
    end = times[0] + times[1]
    expected = (
        f"got rows of 1 s from -0.2 to 0.8 s in .*sub-01_task-tone_epo.fif, but rows "
        f"of {times[1]:.3g} s from {times[0]:.3g} to {end:.3g} s in "
        ".*sub-07_task-tone_epo.fif, .*sub-08_task-tone_epo.fif; cut or crop"
    )
    with pytest.raises(ValueError, match=expected):
        extract_rows(sources, {"weights": "megfm-tiny"}, jobs)


def test_rows_of_the_same_times(cut, tmp_path):
    """Other rates, states cut otherwise, and windows of a Raw stand in one table."""
    files = [
        cut("sub-01_task-tone", -0.2, 1.0),
        cut("sub-02_task-tone", -0.2, 1.0, sfreq=200.0),
        cut("sub-01_task-touch", 0.0, 1.0),
        tmp_path / "sub-01_task-rest_raw.fif",
    ]
    info = read_recording(files[0]).info
    data = 1e-13 * np.random.default_rng(0).standard_normal((len(info["chs"]), 1001))
    mne.io.RawArray(data, info).save(files[-1])
    frame = extract_rows(list_recordings(files), {"weights": "megfm-tiny"})
    assert frame["file"].nunique() == 4
    assert not frame.isna().any(axis=None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_features_on_a_cluster(folder, tmp_path):
    """The workers of a dask cluster, in processes of their own, compute the same."""
    from distributed import LocalCluster

    out, alone = tmp_path / "cluster.parquet", tmp_path / "alone.parquet"
    out_of_people = tmp_path / "people.parquet"
    table = folder / "recordings.tsv"
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        dashboard_address=None,
        local_directory=tmp_path / "dask",
    ) as cluster:
        dask = ["--dask", cluster.scheduler_address]
        result = run("features", table, "-o", out, *dask)
        people = run("features", table, "-o", out_of_people, "--participants", *dask)
    assert result.exit_code == 0, result.output
    assert run("features", table, "-o", alone).exit_code == 0
    pd.testing.assert_frame_equal(
        pd.read_parquet(out), pd.read_parquet(alone), atol=1e-5
    )
    assert people.exit_code == 0, people.output
    result = run("features", table, "-o", alone, "--participants", "--overwrite")
    assert result.exit_code == 0
    pd.testing.assert_frame_equal(
        pd.read_parquet(out_of_people), pd.read_parquet(alone), atol=1e-5
    )


# -- classify -----------------------------------------------------------------------
@pytest.fixture
def cohort(tmp_path, rng):
    """Return a table of features and one of labels, for 24 participants."""
    frames, labels = [], []
    for number in range(24):
        sick = number % 2 == 1
        labels.append((f"{number:02d}", "migraine" if sick else "control"))
        for state in ("rest", "auditory"):
            if state == "rest" and number == 5:
                continue  # a state that is missing
            values = rng.standard_normal((6, 3))
            # the spread of b tells patients from controls, in one state alone
            if state == "auditory" and sick:
                values[:, 1] *= 4.0
            frame = pd.DataFrame(values, columns=["a", "b", "c"])
            frame.insert(0, "participant", f"{number:02d}")
            frame.insert(1, "state", state)
            frames.append(frame)
    pd.concat(frames).to_csv(tmp_path / "features.csv", index=False)
    table = pd.DataFrame(labels, columns=["participant_id", "group"])
    table.to_csv(tmp_path / "participants.tsv", sep="\t", index=False)
    return tmp_path


def _fit(cohort, *more):
    return run(
        "classify",
        "fit",
        cohort / "features.csv",
        "--labels",
        cohort / "participants.tsv",
        "--label",
        "group",
        "-o",
        cohort / "model.skops",
        "--permutations",
        "2",
        "--repeats",
        "1",
        *more,
    )


def test_description_of_participants(cohort):
    """Mean and spread of a participant's rows, by state, as NumPy has them."""
    frame = pd.read_csv(cohort / "features.csv", dtype={"participant": str})
    described = summarise_rows(frame)
    assert described.shape == (24, 12)
    chosen = frame[(frame["participant"] == "07") & (frame["state"] == "rest")]
    row = described.loc["07"]
    assert row["rest_mean_b"] == pytest.approx(np.mean(chosen["b"]))
    assert row["rest_spread_b"] == pytest.approx(np.std(chosen["b"]))
    assert described.loc["05"].isna().sum() == 6


def test_classify(cohort):
    """Fit, save, load and predict give what scikit-learn gives in one process."""
    rest = cohort / f"{PREFIX}rest-of-a-killed-fit"
    rest.write_bytes(b"half")
    result = _fit(cohort)
    assert result.exit_code == 0, result.output
    assert not rest.exists()
    assert "24 participants (12 " in result.output  # n of each class
    assert "), 5 folds over them, " in result.output
    assert "95 % interval" in result.output and "sensitivity (" in result.output
    auc = float(result.output.partition("ROC AUC: ")[2].partition(",")[0])
    assert auc > 0.9
    out = cohort / "predictions.csv"
    args = ["classify", "predict", cohort / "model.skops", cohort / "features.csv"]
    assert run(*args, "-o", out).exit_code == 0
    got = pd.read_csv(out, dtype={"participant": str}).set_index("participant")

    frame = pd.read_csv(cohort / "features.csv", dtype={"participant": str})
    described = summarise_rows(frame)
    y = np.where(described.index.astype(int) % 2 == 1, "migraine", "control")
    pipeline = make_pipeline(
        SimpleImputer(keep_empty_features=True), LogisticHead(random_state=0)
    ).fit(described.to_numpy(), y)
    np.testing.assert_allclose(
        got["p_migraine"],
        pipeline.predict_proba(described.to_numpy())[:, 1],
        atol=5e-5,
    )
    assert (got["prediction"] == pipeline.predict(described.to_numpy())).all()


def test_classify_recordings(folder, tmp_path):
    """Recordings are turned into features on the way, with the weights of the fit."""
    # each participant four times, as eight of them: enough for two folds
    lines, labels = ["file,participant,state"], ["participant,label"]
    for path in sorted(folder.glob("*task-rest*.fif")):
        for copy in range(2):
            name = f"{path.name[:6]}-{copy}"
            epochs = mne.read_epochs(path)
            epochs._data *= 1.0 + 0.1 * copy
            epochs.save(tmp_path / f"{name}-epo.fif")
            lines.append(f"{name}-epo.fif,{name},rest")
            labels.append(f"{name},{path.name[5]}")
    (tmp_path / "recordings.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "labels.csv").write_text("\n".join(labels) + "\n")
    model = tmp_path / "model.skops"
    args = [tmp_path / "recordings.csv", "--labels", tmp_path / "labels.csv"]
    result = run("classify", "fit", *args, "--folds", 2, "-o", model)
    # two participants of each, one of them in training, are too few to regularise
    assert result.exit_code == 1
    assert "Expected 2 participants of each class or more" in result.output
    assert not model.exists()


def test_missing_and_unknown_states(cohort):
    """A state missing in prediction is filled in, an unknown one left out, aloud."""
    assert _fit(cohort, "--folds", "2").exit_code == 0
    frame = pd.read_csv(cohort / "features.csv", dtype={"participant": str})
    frame.loc[frame["state"] == "rest", "state"] = "motor"
    frame.to_csv(cohort / "other.csv", index=False)
    args = ["classify", "predict", cohort / "model.skops", cohort / "other.csv"]
    result = run(*args, "-o", cohort / "p.csv")
    assert result.exit_code == 0, result.output
    assert "6 features are not known from fit" in result.output
    assert "6 features are filled in for all" in result.output
    frame["state"] = "motor"
    frame.to_csv(cohort / "other.csv", index=False)
    result = run(*args, "-o", cohort / "q.csv")
    assert result.exit_code == 1
    assert "Expected features such as" in result.output


@pytest.mark.slow
def test_labels(cohort):
    """Participants without a label are named; too few are refused."""
    labels = cohort / "participants.tsv"
    lines = labels.read_text().splitlines()
    labels.write_text("\n".join(lines[:-1]) + "\n")
    result = _fit(cohort)
    assert result.exit_code == 0
    assert "No label for 1 of 24 participants" in result.output
    assert "not in participants.tsv: 23." in result.output
    labels.write_text("\n".join(lines[:4]) + "\n")
    result = _fit(cohort, "--overwrite")
    assert result.exit_code == 1
    assert "got 2 of control, 1 of migraine; add participants" in result.output
    labels.write_text("\n".join([*lines, lines[1]]) + "\n")
    assert "got several of '00'" in _fit(cohort, "--overwrite").output
    labels.write_text("name\tgroup\n")
    assert "Expected the column participant" in _fit(cohort, "--overwrite").output


class _Evil:
    pass


def test_classifier_that_may_run_code(cohort):
    """Files with other classes, and files of another kind, are refused."""
    path = cohort / "model.skops"
    skops.io.dump({"format": "mne-megfm classifier 3", "pipeline": _Evil()}, path)
    args = ["classify", "predict", path, cohort / "features.csv", "-o"]
    result = run(*args, cohort / "p.csv")
    assert result.exit_code == 1
    assert "_Evil; it may run code and is not read" in result.output
    path.write_bytes(b"something else")
    assert "got something else" in run(*args, cohort / "p.csv").output
    skops.io.dump({"format": "mne-megfm classifier 9"}, path)
    assert "of format 'mne-megfm classifier 3'" in run(*args, cohort / "p.csv").output


# -- demo -----------------------------------------------------------------------------
@pytest.mark.slow
def test_demo(folder, tmp_path):
    """The tour of a recording prints its scores and draws it."""
    out = tmp_path / "out"
    recording = next(folder.glob("*.fif"))
    args = ["demo", "--skip-cohort", "--data", recording, "--out", out]
    result = run(*args)
    assert result.exit_code == 0, result.output
    assert "3 rows of 7968 features" in result.output
    assert len(list(out.glob("*.png"))) == 3
    assert "pass --overwrite" in run(*args).output


def test_filters_in_a_table(tmp_path):
    """A table in parquet knows how recordings were filtered, as it was asked for."""
    info = make_array_info("opm32", sfreq=250.0)
    data = np.random.default_rng(0).standard_normal((len(info["ch_names"]), 3000))
    raw = mne.io.RawArray(1e-13 * data, info, verbose="error")
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    out = tmp_path / "x.parquet"
    given = {"highpass": 1.0, "lowpass": 40.0, "notch": 50.0}
    options = [part for name, value in given.items() for part in (f"--{name}", value)]
    args = ["features", tmp_path / "a_raw.fif", "-o", out, "--participants"]
    result = run(*args, *options, "--tmin", -0.1)
    assert result.exit_code == 0, result.output
    reading = Reading(**given, tmin=-0.1)
    assert Reading(**read_features(out).attrs["reading"]) == reading
    described = get_features(out, None, PLAIN)
    assert (described.reading, described.weights) == (reading, "megfm-tiny")
