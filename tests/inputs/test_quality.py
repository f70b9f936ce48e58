"""The table of quality: what was planted is found, what is clean has no remark."""

import mne
import numpy as np
import pandas as pd
import pytest

from mne_megfm.inputs import MEGSamples, reading, recording_quality
from mne_megfm.simulation import make_array_info

_SFREQ, _SECONDS, _SD = 500.0, 40, 1e-12


@pytest.fixture(scope="module")
def info():
    """Return the info of 151 axial gradiometers at 500 Hz, with a head position."""
    return make_array_info("ctf151", sfreq=_SFREQ)


@pytest.fixture
def make(info):
    """Return a maker of white noise in which things can be planted."""

    def make(plant=None, seconds=_SECONDS):
        rng = np.random.default_rng(3)
        n_times = round(seconds * _SFREQ)
        data = _SD * rng.standard_normal((len(info["ch_names"]), n_times))
        if plant is not None:
            plant(data)
        return mne.io.RawArray(data, info.copy(), verbose=False)

    return make


def _row(X, **kwargs):
    table = recording_quality(X, **kwargs)
    assert len(table) == 1
    return table.iloc[0]


def test_nothing_to_say(make):
    row = _row(make())
    assert row["remarks"] == ""
    assert row["duration"] == _SECONDS and row["n_channels"] == 151
    assert row["array"] == "151 axial gradiometers" and row["state"] == "rest"
    assert row["sfreq"] == _SFREQ and row["head_position"]
    counts = ["n_bad", "n_flat", "n_noisy", "n_weak", "n_intermittent", "saturated"]
    assert not row[counts].any() and row["artefacts"] == 0.0
    # the peak is the largest of three bins of an average of 40
    assert abs(row["line_noise_50"]) < 2.0 and abs(row["line_noise_60"]) < 2.0


def test_clean_recordings_of_several_arrays(participants, cohort):
    table = recording_quality(participants, names=cohort.names)
    assert table["participant"].tolist() == np.repeat(cohort.names, 2).tolist()
    assert table["state"].tolist() == ["auditory", "rest"] * len(participants)
    assert (table["remarks"] == "").all(), table["remarks"].tolist()


def test_planted_channels(make):
    names = make(seconds=1).ch_names

    def plant(data):
        data[3] = 7e-13
        data[40] *= 20.0
        data[80] /= 20.0
        data[100, : 10 * 500] *= 20.0  # a quarter of the time

    raw = make(plant)
    raw.info["bads"] = [names[120]]
    row = _row(raw)
    assert (row["flat"], row["noisy"], row["weak"]) == (names[3], names[40], names[80])
    assert row["intermittent"] == names[100] and row["bad"] == names[120]
    assert row["strongest"] == names[40]
    assert row["strongest_ratio"] == pytest.approx(20.0, rel=0.05)
    for name in (names[3], names[40], names[80], names[100]):
        assert name in row["remarks"]
    # what is marked is not measured
    raw.info["bads"] += [names[40]]
    row = _row(raw)
    assert row["n_noisy"] == 0 and row["n_bad"] == 2 and row["strongest_ratio"] < 10.0


@pytest.mark.parametrize("mains", [50.0, 60.0])
def test_line_noise(make, mains):
    def plant(data):
        time = np.arange(data.shape[1]) / _SFREQ
        data += _SD * np.sin(2 * np.pi * mains * time)

    row = _row(make(plant))
    # a sine of amplitude A in white noise, Hann window: 1 + A^2 N / (6 sd^2)
    expected = 10 * np.log10(1.0 + _SFREQ / 6.0)
    assert row[f"line_noise_{mains:.0f}"] == pytest.approx(expected, abs=0.5)
    assert abs(row[f"line_noise_{110 - mains:.0f}"]) < 2.0
    assert f"{mains:.0f} Hz line noise" in row["remarks"]
    filtered = make(plant).filter(None, 40.0, verbose=False)
    assert np.isnan(_row(filtered)[f"line_noise_{mains:.0f}"])


def test_saturated(make):
    names = make(seconds=1).ch_names

    def plant(data):
        rail = 1.5 * _SD
        data[10, 2000:3000] = np.clip(3 * data[10, 2000:3000], -rail, rail)
        data[20, 5000:5500] = 2e-12  # a window of 1 s

    row = _row(make(plant))
    assert row["saturated_channels"] == f"{names[10]}, {names[20]}"
    assert 1.0 < row["saturated"] < 3.0
    assert "saturated" in row["remarks"]

    def whole_numbers(data):  # a coarse converter is at its ends by chance
        data[:] = np.round(data / (2 * _SD)) * 2 * _SD

    assert _row(make(whole_numbers))["saturated"] == 0.0


def test_artefacts(make):
    def plant(data):
        for second in (2, 11, 17, 30, 35):
            data[60:80, second * 500 + 100 : second * 500 + 200] += 3e-11

    row = _row(make(plant))
    assert row["artefacts"] == pytest.approx(5 / _SECONDS)
    assert "artefacts in 12" in row["remarks"]
    raw = make(plant)
    raw.set_annotations(mne.Annotations([2, 11.0, 17, 30, 35], [1.0] * 5, "BAD_move"))
    row = _row(raw)
    assert row["artefacts"] == 0.0 and row["bad_spans"] == 5.0
    assert row["duration"] == _SECONDS


def test_trials(make):
    raw = make()
    events = np.c_[np.arange(100, 19000, 500), np.zeros((38, 1), int), np.ones(38, int)]
    raw._data[7, 100:600] += 5e-11 * np.arange(500) / 500
    raw._data[8, 2100:2600] += 5e-11 * np.arange(500) / 500
    epochs = mne.Epochs(
        raw, events, {"tone": 1}, 0.0, 0.5, baseline=None, reject={"mag": 2e-11},
        verbose=False,
    )  # fmt: skip
    row = _row([{"auditory": epochs}], names=["A"])
    assert (row["n_trials"], row["n_dropped"]) == (36, 2)
    assert f"{raw.ch_names[7]} (1)" in row["drop_reasons"]
    assert row["state"] == "auditory" and row["participant"] == "A"
    assert _row(epochs)["state"] == "tone"
    evoked = epochs.average()
    evoked.comment = "tones"
    row = _row(evoked)
    assert row["n_trials"] == 36 and row["state"] == "tones"
    assert pd.isna(row["n_dropped"])
    view = _row([{"auditory": MEGSamples(epochs)[:5]}])
    assert view["n_trials"] == 5 and view["state"] == "auditory"
    # events that were not asked for were not dropped
    assert _row(epochs[:4])["n_dropped"] == 2


def test_what_the_info_says(make):
    raw = make(seconds=2)
    raw.info["dev_head_t"] = None
    raw.add_proj(mne.compute_proj_raw(raw, n_mag=2, n_grad=0, verbose=False))
    row = _row(raw)
    assert not row["head_position"] and "head position not known" in row["remarks"]
    assert (row["n_projectors"], row["n_projectors_active"]) == (2, 0)
    raw.apply_proj()
    assert _row(raw)["n_projectors_active"] == 2
    assert not row["maxwell"] and row["compensation"] == raw.compensation_grade
    filtered = make(seconds=20).filter(1.0, 45.0, verbose=False)
    row = _row(filtered)
    assert (row["highpass"], row["lowpass"]) == (1.0, 45.0)


def test_what_would_be_refused_is_a_remark(make, tmp_path):
    raw = make(seconds=3)
    raw._data[5, 20] = np.nan
    assert f"NaN or infinity in {raw.ch_names[5]}" in _row(raw)["remarks"]
    raw.info["bads"] = raw.ch_names
    assert "no good MEG" in _row(raw)["remarks"]
    raw = make(seconds=3)
    raw.set_annotations(mne.Annotations([0.0], [3.0], "bad"))
    assert "no rows free of BAD spans" in _row(raw)["remarks"]
    raw = make(seconds=3)
    raw._data *= 1e12
    assert "another unit" in _row(raw)["remarks"]
    raw = make(seconds=3)
    raw._data[:60] *= 100.0
    assert "more than a quarter of the channels" in _row(raw)["remarks"]
    raw = make(seconds=3)
    raw.save(tmp_path / "gone_raw.fif", verbose=False)
    raw = mne.io.read_raw(tmp_path / "gone_raw.fif", verbose=False)
    (tmp_path / "gone_raw.fif").unlink()
    table = recording_quality([raw, make(seconds=3)])
    assert table["remarks"].str.startswith("cannot be read").tolist() == [True, False]
    assert table["n_channels"].tolist() == [151, 151]


def test_read_in_blocks(make, monkeypatch):
    raw = make(lambda data: data.__setitem__(40, 20 * data[40]), seconds=10)
    whole = recording_quality(raw)
    monkeypatch.setattr(reading, "_BLOCK_BYTES", 1)
    pd.testing.assert_frame_equal(recording_quality(raw), whole)


def test_wrong_input(make):
    raw = make(seconds=2)
    with pytest.raises(TypeError, match="Expected X to be Epochs"):
        recording_quality(3)
    with pytest.raises(TypeError, match="element 1 of X"):
        recording_quality([raw, {"rest": 3}])
    with pytest.raises(ValueError, match="at least one recording"):
        recording_quality([])
    with pytest.raises(ValueError, match=r"one name for each participant \(1\), got 2"):
        recording_quality([raw], names=["A", "B"])
