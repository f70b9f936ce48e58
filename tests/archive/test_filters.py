"""Tests of filters and Maxwell filtering in all commands that read recordings."""

import mne
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

from mne_megfm import MEGFMTransformer
from mne_megfm.archive.reading import clean
from mne_megfm.archive.settings import Filters
from mne_megfm.commands import main
from mne_megfm.estimators import LogisticHead
from mne_megfm.store import WindowStore
from mne_megfm.utils.tables import read_features

from ._archives import assert_stored, expected, prepare, read_log, simulate

EMPTY = {"max_info": {"sss_info": {}, "max_st": {}, "sss_ctc": {}, "sss_cal": {}}}
FROM_ZERO = ("--highpass", 0)


def run(*args):
    """Run a command in this process."""
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def shielded(tmp_path_factory):
    """Return a table of a recording made with active shielding, and it separated."""
    folder = tmp_path_factory.mktemp("shielded")
    raw = simulate(3.0, array="neuromag306")
    with raw.info._unlock():
        raw.info["maxshield"] = True
        raw.info["proc_history"] = [EMPTY]
    raw.save(folder / "a_raw.fif")
    assert mne.io.read_raw(folder / "a_raw.fif", allow_maxshield="yes").info[
        "maxshield"
    ]
    with raw.info._unlock():  # what MNE filters without being told of it
        raw.info["maxshield"] = False
        raw.info["proc_history"] = []
    separated = mne.preprocessing.maxwell_filter(raw, origin=(0.0, 0.0, 0.04))
    (folder / "files.csv").write_text("file,participant,state\na_raw.fif,p,rest\n")
    return folder / "files.csv", separated


def test_prepare_with_active_shielding(shielded, tmp_path):
    """--maxwell is what such a recording needs; without, that is said."""
    table, separated = shielded
    output = prepare(table, tmp_path / "none", *FROM_ZERO, code=1)
    assert "internal active shielding" in output
    assert "--maxwell" in output
    prepare(table, tmp_path / "store", "--maxwell", *FROM_ZERO, "--strict")
    assert read_log(tmp_path / "store").outcome.tolist() == ["written"]
    store = WindowStore.open(tmp_path / "store")
    assert_stored(store, "p_a_raw", expected(separated))
    assert store.notes("p_a_raw")["provenance"]["parameters"]["maxwell"] is True


def test_features_with_active_shielding(shielded, tmp_path):
    """Features are of what MNE's Maxwell filter gives."""
    table, separated = shielded
    out = tmp_path / "x.parquet"
    result = run("features", table, "-o", out)
    assert result.exit_code == 1
    assert "--maxwell" in result.output
    result = run("features", table, "-o", out, "--maxwell")
    assert result.exit_code == 0, result.output
    found = read_features(out).iloc[:, 4:].to_numpy()
    truth = MEGFMTransformer(sample="epoch").fit_transform(separated)
    assert found.shape == truth.shape
    assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] > 0.9999


def test_participants_with_active_shielding(shielded, tmp_path):
    """So are those of participants."""
    table, separated = shielded
    out = tmp_path / "x.parquet"
    result = run("features", table, "-o", out, "--participants", "--maxwell")
    assert result.exit_code == 0, result.output
    frame = read_features(out).drop(columns="participant")
    transformer = MEGFMTransformer(sample="participant")
    truth = transformer.fit_transform([{"rest": [separated]}])
    assert frame.columns.tolist() == transformer.get_feature_names_out().tolist()
    np.testing.assert_allclose(frame, truth, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    "record",
    [
        {"max_info": {**EMPTY["max_info"], "sss_info": {"in_order": 8, "nchan": 306}}},
        {"max_info": {"sss_info": None}},
        {"max_info": None},
        {},
    ],
)
def test_records_of_separation_in_part(record):
    """They are no separation: the recording is filtered as one without them."""
    raw = simulate(1.0, array="neuromag306")
    truth = clean(raw.copy(), Filters(maxwell=True))
    with raw.info._unlock():
        raw.info["proc_history"] = [record]
    found = clean(raw, Filters(maxwell=True))
    np.testing.assert_array_equal(found.get_data(), truth.get_data())


@pytest.mark.parametrize("name", ["highpass", "lowpass", "notch"])
@pytest.mark.parametrize("value", [50.0, 60.0, 400.0])
def test_filters_above_half_of_the_rate(name, value):
    """What MNE refuses is refused, as is a high-pass that would leave nothing."""
    raw = simulate(20.0, sfreq=100.0)
    if (name, value) != ("highpass", 50.0):
        with pytest.raises(ValueError):
            if name == "notch":
                raw.copy().notch_filter(value)
            else:
                edges = (value, None) if name == "highpass" else (None, value)
                raw.copy().filter(*edges)
    with pytest.raises(ValueError, match=f"Expected {name} below half .*{value:g} Hz"):
        clean(raw, Filters(**{name: value}))
    assert clean(raw, Filters(**{name: 40.0})) is raw


def test_slow_recordings_among_others(tmp_path):
    """A filter above half of the rate fails one recording, by name, and no other."""
    simulate(4.0, sfreq=100.0).save(tmp_path / "slow_raw.fif")
    simulate(4.0, sfreq=1000.0, seed=1).save(tmp_path / "fast_raw.fif")
    table = tmp_path / "files.csv"
    rows = ["slow_raw.fif,p,rest", "fast_raw.fif,q,rest"]
    table.write_text("\n".join(["file,participant,state", *rows]) + "\n")
    options = ["--lowpass", 60, *FROM_ZERO]
    said = "lowpass below half of the sampling rate of slow_raw.fif, which is 50 Hz"
    assert said in prepare(table, tmp_path / "store", *options)
    assert sorted(read_log(tmp_path / "store").outcome) == ["failed", "written"]
    for more in ([], ["--participants"]):
        out = tmp_path / f"{len(more)}.csv"
        result = run("features", table, "-o", out, *options, *more)
        assert result.exit_code == 0, result.output
        assert said in result.output
        assert set(pd.read_csv(out).participant) == {"q"}


@pytest.fixture(scope="module")
def shielded_people(tmp_path_factory):
    """Return tables of recordings with active shielding and of labels; and separated.

    Eight participants; of the second half, sources inside the head are stronger.
    """
    folder = tmp_path_factory.mktemp("people")
    lines, labels, people = ["file,participant,state"], ["participant,label"], []
    for number in range(8):
        raw = simulate(2.0, seed=number, array="neuromag306")
        raw._data *= 1.0 + (number >= 4)
        with raw.info._unlock():
            raw.info["maxshield"], raw.info["proc_history"] = True, [EMPTY]
        raw.save(folder / f"{number}_raw.fif")
        with raw.info._unlock():
            raw.info["maxshield"], raw.info["proc_history"] = False, []
        origin = (0.0, 0.0, 0.04)
        separated = mne.preprocessing.maxwell_filter(raw, origin=origin)
        people.append({"rest": [separated]})
        lines.append(f"{number}_raw.fif,p{number},rest")
        labels.append(f"p{number},{'ab'[number >= 4]}")
    (folder / "files.csv").write_text("\n".join(lines) + "\n")
    (folder / "labels.csv").write_text("\n".join(labels) + "\n")
    return folder / "files.csv", folder / "labels.csv", people


@pytest.mark.slow
def test_classify_with_active_shielding(shielded_people, tmp_path):
    """fit and predict are of separated signals; predict knows so from fit."""
    files, labels, people = shielded_people
    model, out = tmp_path / "x.skops", tmp_path / "y.csv"
    args = ["classify", "fit", files, "--labels", labels, "--folds", 4, "-o", model]
    result = run(*args, "--permutations", 0)
    assert result.exit_code == 1
    assert "--maxwell" in result.output
    result = run(*args, "--permutations", 0, "--repeats", 1, "--maxwell")
    assert result.exit_code == 0, result.output
    result = run("classify", "predict", model, files, "-o", out)
    assert result.exit_code == 0, result.output
    X = MEGFMTransformer(sample="participant").fit_transform(people)
    fit = make_pipeline(
        SimpleImputer(keep_empty_features=True), LogisticHead(random_state=0)
    ).fit(X, ["a"] * 4 + ["b"] * 4)
    found = pd.read_csv(out)["p_b"]
    np.testing.assert_allclose(found, fit.predict_proba(X)[:, 1], atol=0.01)


@pytest.mark.slow
def test_report_with_active_shielding(shielded_people, tmp_path):
    """The report reconstructs the separated signals of the first participant."""
    files, _, people = shielded_people
    out = tmp_path / "x.html"
    result = run("report", files, "-o", out)
    assert result.exit_code == 1
    assert "--maxwell" in result.output
    given = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "mne_megfm.report.MEGFMReport.add_recording",
            lambda self, inst, transformer: given.append(inst),
        )
        result = run("report", files, "-o", out, "--maxwell")
    assert result.exit_code == 0, result.output
    (raw,) = given
    truth = people[0]["rest"][0].get_data("meg")
    found = raw.get_data("meg")
    scale = truth.std(1, keepdims=True)
    np.testing.assert_allclose(found / scale, truth / scale, atol=0.01)
