"""Tests of filters and Maxwell filtering in all commands that read recordings."""

import mne
import numpy as np
import pytest
from click.testing import CliRunner

from mne_megfm import MEGFMTransformer
from mne_megfm.commands import main
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
    np.testing.assert_allclose(frame, truth, rtol=1e-2, atol=1e-3)
