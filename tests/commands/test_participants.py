"""Tests of features by the participant encoder, from the shell."""

import shutil

import mne
import numpy as np
import pandas as pd
import pytest
import skops.io
from click.testing import CliRunner

from mne_megfm import MEGFMTransformer, simulate_cohort
from mne_megfm.commands import main
from mne_megfm.commands.classify import TRUSTED
from mne_megfm.estimators import LogisticHead
from mne_megfm.weights import delete_participant_parts, weights_path

# MNE 1.13 reads the metadata of epochs in a way that pandas 3.1 warns of
pytestmark = pytest.mark.filterwarnings(
    "ignore:The inplace keyword in DataFrame.set_index:DeprecationWarning"
)
MISSING = pytest.mark.filterwarnings("ignore:.* recordings are missing")
N = 8


def run(*args):
    """Run a command in this process."""
    return CliRunner().invoke(main, [str(arg) for arg in args])


def read(path):
    """Read a table of participants."""
    frame = (
        pd.read_parquet(path)
        if path.suffix == ".parquet"
        else pd.read_csv(path, dtype={"participant": str})
    )
    return frame.set_index("participant")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Return a folder of recordings, and the same as the transformer takes them.

    The auditory state has two runs; the first participant has no rest. Signals of those
    of group b are larger, so that there is something to learn.
    """
    path = tmp_path_factory.mktemp("people")
    cohort = simulate_cohort(
        N, states=("rest", "auditory"), arrays=("opm64",), n_epochs=4, random_state=5
    )
    table, labels, X = ["file,participant,state"], ["participant,group"], []
    for number, participant in enumerate(cohort.participants):
        labels.append(f"{number:02d},{'ab'[number % 2]}")
        for epochs in participant.recordings.values():
            epochs._data *= 1.0 + 0.5 * (number % 2)
        auditory = participant.recordings["auditory"]
        mine = {"auditory": [auditory[:2], auditory[2:]]}
        if number:
            mine["rest"] = [participant.recordings["rest"]]
        X.append({})
        for state, runs in mine.items():
            for nr, epochs in enumerate(runs, 1):
                file = f"sub-{number:02d}_task-{state}_run-{nr}_epo.fif"
                epochs.save(path / file)
                X[-1].setdefault(state, []).append(mne.read_epochs(path / file))
                table.append(f"{file},{number:02d},{state}")
    (path / "all.csv").write_text("\n".join(table) + "\n")
    (path / "labels.csv").write_text("\n".join(labels) + "\n")
    return path, X


@pytest.fixture(scope="module")
def fitted(people):
    """Return the transformer of plain Python, fitted on all, and its rows."""
    transformer = MEGFMTransformer(sample="participant")
    with pytest.warns(RuntimeWarning, match="1 recordings are missing"):
        rows = transformer.fit_transform(people[1])
    return transformer, rows


@pytest.fixture(scope="module")
def truth(fitted):
    """Return the rows that plain Python gives."""
    return fitted[1]


@pytest.fixture(scope="module")
def tables(people):
    """Return the table of participants, as parquet and CSV."""
    path = people[0]
    out = path / "people.parquet"
    with pytest.warns(RuntimeWarning, match="1 recordings are missing"):
        result = run("features", path / "all.csv", "--participants", "-o", out)
    assert result.exit_code == 0, result.output
    assert f"Wrote {N} rows of" in result.output
    pd.read_parquet(out).to_csv(path / "people.csv", index=False)
    return out, path / "people.csv"


@pytest.fixture(scope="module")
def classifiers(people, tables):
    """Return classifiers fitted on recordings, and on a table of them."""
    path = people[0]
    labels = ["--labels", path / "labels.csv", "--label", "group", "--folds", 2]
    labels += ["--repeats", 1, "--permutations", 0]
    by_recordings, by_table = path / "recordings.skops", path / "table.skops"
    with pytest.warns(RuntimeWarning, match="1 recordings are missing"):
        result = run("classify", "fit", path / "all.csv", *labels, "-o", by_recordings)
    assert result.exit_code == 0, result.output
    assert f"Features of {N} participants: one row" in result.output
    assert "the participant encoder, from recordings" in result.output
    result = run("classify", "fit", tables[1], *labels, "-o", by_table)
    assert result.exit_code == 0, result.output
    assert "one row of features each (as in the table" in result.output
    return by_recordings, by_table


def test_rows_of_participants(tables, fitted):
    """Rows are those of the transformer on the same recordings in Python."""
    transformer, truth = fitted
    for table in tables:
        frame = read(table)
        assert frame.index.tolist() == [f"{n:02d}" for n in range(N)]
        assert frame.columns.tolist() == list(transformer.get_feature_names_out())
        np.testing.assert_allclose(frame, truth, rtol=1e-4, atol=1e-5)


def test_states_that_recordings_tell(people, tmp_path):
    """Without a task in its name, a recording with several events has their states."""
    path, X = people
    folder = tmp_path / "joined"
    folder.mkdir()
    runs = X[1]["auditory"]
    joined = mne.concatenate_epochs([*X[1]["rest"], *runs], verbose="error")
    codes = np.r_[np.full(4, 1), np.full(4, 2)]
    joined.events[:, 2], joined.event_id = codes, {"rest": 1, "auditory": 2}
    joined.save(folder / "sub-01_epo.fif")
    out = tmp_path / "one.csv"
    result = run("features", folder / "sub-01_epo.fif", "--participants", "-o", out)
    assert result.exit_code == 0, result.output
    expected = MEGFMTransformer(sample="participant").fit_transform([joined])
    np.testing.assert_allclose(read(out), expected, rtol=1e-4, atol=1e-5)
    assert {"rest_missing", "auditory_missing"} <= set(read(out).columns)


@pytest.fixture
def continuous(people, tmp_path):
    """Return a file of a continuous recording with events in annotations."""
    epochs = people[1][2]["auditory"][0]
    data = np.concatenate(list(epochs.get_data()) * 2, axis=1)
    raw = mne.io.RawArray(data, epochs.info)
    onset = 0.2 + np.arange(4) * data.shape[1] / 4 / raw.info["sfreq"]
    raw.set_annotations(mne.Annotations(onset, 0.0, ["tone", "click"] * 2))
    raw.save(tmp_path / "sub-02_task-tones_meg.fif")
    return tmp_path / "sub-02_task-tones_meg.fif"


def test_continuous_recordings(continuous, tmp_path):
    """Events cut a recording as mne.Epochs does; without them a state has none."""
    raw = mne.io.read_raw(continuous)
    events, event_id = mne.events_from_annotations(raw)
    step = 1 / raw.info["sfreq"]
    epochs = mne.Epochs(
        raw, events, event_id["tone"], tmin=-0.1, tmax=0.5 - step, baseline=None
    )
    X = [{"auditory": epochs}]
    expected = MEGFMTransformer(sample="participant").fit_transform(X)
    out = tmp_path / "rows.csv"
    state = ["--state", "auditory=tones"]
    cut = ["--events", "auditory=tone", "--tmin", -0.1, "--tmax", 0.5]
    args = ["features", continuous, "-o", out, "--overwrite"]
    result = run(*args, "--participants", *state, *cut)
    assert result.exit_code == 0, result.output
    np.testing.assert_allclose(read(out), expected, rtol=1e-4, atol=1e-5)
    assert run(*args, *state, *cut).exit_code == 0  # rows of epochs
    expected = MEGFMTransformer(sample="epoch").fit_transform(epochs)
    frame = pd.read_csv(out)
    np.testing.assert_allclose(frame.iloc[:, 4:], expected, rtol=1e-4, atol=1e-5)
    result = run(*args, "--participants", *state)
    assert result.exit_code == 0
    assert "No responses in auditory of 1 participants" in result.output
    result = run(*args, "--participants", "--events", "pain=tone")
    assert result.exit_code == 2
    assert "events of states that there are (tones), got pain" in result.output


def test_what_is_cut_already(people, tmp_path):
    """Epochs are selected, not filtered; nor are tokens pooled by the level."""
    file = next(people[0].glob("sub-01_task-auditory*"))
    args = ["features", file, "--participants", "-o", tmp_path / "x.csv"]
    result = run(*args, "--events", "auditory=tone")
    assert result.exit_code == 1
    assert "there are auditory" in result.output
    result = run(*args, "--highpass", 1)
    assert result.exit_code == 1
    assert "Expected a continuous recording for highpass" in result.output
    result = run(*args, "--pooling", "mean")
    assert result.exit_code == 2
    assert "does not pool tokens" in result.output


@MISSING
def test_predictions(people, tables, classifiers, truth):
    """Recordings and tables give what the head gives on the transformer's rows."""
    path = people[0]
    y = np.array(["a", "b"] * (N // 2))
    expected = LogisticHead(random_state=0).fit(truth, y).predict_proba(truth)[:, 1]
    for number, classifier in enumerate(classifiers):
        for data in (path / "all.csv", *tables):
            out = path / f"{number}_{data.stem}{data.suffix[1:]}.csv"
            result = run("classify", "predict", classifier, data, "-o", out)
            assert result.exit_code == 0, result.output
            got = read(out)["p_b"]
            np.testing.assert_allclose(got, expected, atol=1e-3)
    assert np.ptp(expected) > 0.01


def test_states_of_new_participants(people, classifiers, fitted, tmp_path):
    """A state that all new participants lack is told by the token; another refused."""
    (path, X), (transformer, train) = people, fitted
    files = sorted(path.glob("sub-0[23]*auditory*"))
    lines = ["file,participant,state"]
    lines += [f"{file},{file.name[4:6]},auditory" for file in files]
    table, out = tmp_path / "new.csv", tmp_path / "p.csv"
    table.write_text("\n".join(lines) + "\n")
    args = ["classify", "predict", classifiers[0], table, "-o", out]
    with pytest.warns(RuntimeWarning, match="2 recordings are missing"):
        result = run(*args)
    assert result.exit_code == 0, result.output
    with pytest.warns(RuntimeWarning, match="2 recordings are missing"):
        rows = transformer.transform([{"auditory": x["auditory"]} for x in X[2:4]])
    head = LogisticHead(random_state=0).fit(train, ["a", "b"] * (N // 2))
    got = read(out)
    assert got.index.tolist() == ["02", "03"]
    np.testing.assert_allclose(got["p_b"], head.predict_proba(rows)[:, 1], atol=1e-3)
    table.write_text("\n".join(lines).replace(",auditory", ",pain") + "\n")
    result = run(*args, "--overwrite")
    assert result.exit_code == 1
    assert "the training data ['auditory', 'rest'], got also ['pain']" in result.output
    # of a table, what is missing cannot be told any more
    table.write_text("\n".join(lines) + "\n")
    rows = tmp_path / "rows.csv"
    assert run("features", table, "--participants", "-o", rows).exit_code == 0
    result = run("classify", "predict", classifiers[0], rows, "-o", tmp_path / "q.csv")
    assert result.exit_code == 1
    assert "in the states auditory, rest, as the classifier" in result.output
    assert "in auditory; give the recordings" in result.output


@MISSING
def test_recordings_are_read_as_for_fit(continuous, classifiers, fitted, tmp_path):
    """States and events of fit serve for predict, unless options say otherwise."""
    content = skops.io.load(classifiers[0], trusted=TRUSTED)
    content["reading"] = {
        "states": {"auditory": ["tones"]},
        "events": {"auditory": ["tone"]},
        "tmin": -0.1,
        "tmax": 0.5,
        "lowpass": 30.0,
    }
    skops.io.dump(content, tmp_path / "model.skops")
    args = ["classify", "predict", tmp_path / "model.skops", continuous, "-o"]
    for event in ("tone", "click"):
        out = tmp_path / f"{event}.csv"
        options = ["--events", "auditory=click"] if event == "click" else []
        result = run(*args, out, *options)
        assert result.exit_code == 0, result.output
        raw = mne.io.read_raw(continuous).load_data().filter(None, 30.0)
        events, event_id = mne.events_from_annotations(raw)
        tmax = 0.5 - 1 / raw.info["sfreq"]
        epochs = mne.Epochs(raw, events, event_id[event], -0.1, tmax, baseline=None)
        row = fitted[0].transform([{"auditory": epochs}])
        expected = content["pipeline"].predict_proba(row)[:, 1]
        np.testing.assert_allclose(read(out)["p_b"], expected, atol=1e-3)


def test_data_of_another_kind(people, tables, classifiers, tmp_path):
    """Rows of epochs, or of other weights, are not what was fitted on."""
    rows = pd.DataFrame({"participant": ["1", "1"], "state": "rest", "a": [0.0, 1.0]})
    rows.to_csv(tmp_path / "rows.csv", index=False)
    args = ["classify", "predict", classifiers[0]]
    result = run(*args, tmp_path / "rows.csv", "-o", tmp_path / "p.csv")
    assert result.exit_code == 1
    assert "one row of features each" in result.output
    assert "got mean and spread of rows" in result.output
    assert "features --participants" in result.output
    frame = pd.read_parquet(tables[0])
    assert frame.attrs["weights"] == "megfm-tiny"
    frame.attrs = frame.attrs | {"weights": "others"}
    frame.to_parquet(tmp_path / "others.parquet", index=False)
    result = run(*args, tmp_path / "others.parquet", "-o", tmp_path / "p.csv")
    assert result.exit_code == 1
    assert "(weights others)" in result.output
    labels = ["--labels", people[0] / "labels.csv", "--label", "group"]
    result = run(
        *["classify", "fit", tmp_path / "others.parquet", *labels],
        *["--weights", "megfm-tiny", "--folds", 2, "-o", tmp_path / "x.skops"],
    )
    assert result.exit_code == 1
    assert "got a table of weights others" in result.output


@pytest.mark.slow
def test_weights_without_encoder(people, tmp_path):
    """Features and classify take the same means of people, and say so."""
    weights = tmp_path / "weights"
    shutil.copytree(weights_path("megfm-tiny"), weights)
    delete_participant_parts(weights)
    path = people[0]
    lines = (path / "all.csv").read_text().splitlines()
    few = [line for line in lines if "run-2" not in line and "rest" not in line]
    (path / "few.csv").write_text("\n".join(few) + "\n")
    args, rows = [path / "few.csv", "--weights", weights], tmp_path / "rows.csv"
    result = run("features", *args, "--participants", "-o", rows, "--quiet")
    assert result.exit_code == 0, result.output
    assert "have no participant encoder: features of participants" in result.output
    epochs = mne.read_epochs(next(path.glob("sub-03_task-auditory_run-1*")))
    tokens = MEGFMTransformer(weights, sample="epoch").fit_transform(epochs)
    got = read(rows).loc["03"]
    expected = {"mean": tokens.mean(0), "spread": tokens.std(0)}
    for name, values in expected.items():
        own = got[got.index.str.startswith(f"auditory_{name}_")].sort_index()
        names = MEGFMTransformer(weights, sample="epoch").fit(epochs)
        order = np.argsort(names.get_feature_names_out())
        np.testing.assert_allclose(own, values[order], rtol=1e-3, atol=1e-4)
    labels = ["--labels", path / "labels.csv", "--folds", 2]
    labels += ["--repeats", 1, "--permutations", 0]
    out = tmp_path / "model.skops"
    result = run("classify", "fit", *args, *labels, "-o", out)
    assert result.exit_code == 0, result.output
    assert "have no participant encoder: features of participants" in result.output
    assert "mean and spread of rows" in result.output
    # so that both predict from recordings, and from the table
    predictions = []
    for data in (path / "few.csv", rows):
        result = run("classify", "predict", out, data, "-o", tmp_path / "p.tsv")
        assert result.exit_code == 0, result.output
        predictions.append((tmp_path / "p.tsv").read_text())
        (tmp_path / "p.tsv").unlink()
    assert predictions[0] == predictions[1]
