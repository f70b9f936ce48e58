"""The transformer to the canonical array."""

import pickle

import mne
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from mne_megfm import CanonicalSensors, MEGSamples
from mne_megfm.sensors import canonical_array, compute_mapping
from mne_megfm.simulation import make_array_info


def _signals(physics, info, rng, n_times=100, n_epochs=6):
    """Epochs of some dipoles, on the sensors and on the canonical array."""
    dipoles = physics.make_dipoles(rng, info, n=20)
    course = rng.normal(size=(n_epochs, 20, n_times))
    array = canonical_array()
    field = physics.coil_field(info, dipoles)
    truth = physics.point_field(array.pos, array.ori, dipoles)
    return field @ course, truth @ course


@pytest.fixture
def info():
    return make_array_info("ctf151", sfreq=200.0, head_pos="random", random_state=0)


@pytest.fixture
def epochs(info, physics, rng):
    data, _ = _signals(physics, info, rng)
    events = np.c_[np.arange(6) * 100, np.zeros(6, int), [1, 2] * 3]
    metadata = pd.DataFrame({"subject": list("aabbcc")})
    return mne.EpochsArray(
        data,
        info,
        events,
        tmin=-0.1,
        event_id={"rest": 1, "tone": 2},
        metadata=metadata,
    )


def test_transform_is_the_mapping(epochs):
    out = CanonicalSensors().fit(epochs).transform(epochs)
    assert out.shape == (6, 192, 100) and out.dtype == np.float64
    expected = compute_mapping(epochs.info).to_canonical @ epochs.get_data()
    np.testing.assert_allclose(out, expected, rtol=1e-10)


def test_every_input_gives_the_same_rows(epochs):
    """Epochs, lists, views and subsets come out the same."""
    sensors = CanonicalSensors().fit(epochs)
    out = sensors.transform(epochs)
    np.testing.assert_array_equal(sensors.transform([epochs[i] for i in range(6)]), out)
    view = MEGSamples(epochs)
    np.testing.assert_array_equal(sensors.transform(view), out)
    np.testing.assert_array_equal(sensors.transform(view[[4, 1]]), out[[4, 1]])
    np.testing.assert_array_equal(sensors.transform([epochs[:2], epochs[2:]]), out)
    evoked = epochs[3].average(picks="meg")
    np.testing.assert_allclose(sensors.transform(evoked), out[[3]], rtol=1e-9)


def test_each_recording_has_its_own_mapping(physics, rng):
    """Recordings of different systems come to the same signals."""
    parts, truths = [], []
    for name in ("neuromag306", "kit157", "opm"):
        info = make_array_info(name, head_pos="random", random_state=1)
        data, truth = _signals(physics, info, rng, n_epochs=2)
        parts.append(mne.EpochsArray(data, info))
        truths.append(truth)
    out = CanonicalSensors().fit_transform(parts)
    truth = np.concatenate(truths)
    assert out.shape == truth.shape
    for row, expected in zip(out, truth, strict=True):
        assert np.corrcoef(row.ravel(), expected.ravel())[0, 1] > 0.995


def test_raw_rows_are_windows(info, physics, rng):
    data, _ = _signals(physics, info, rng, n_times=1100, n_epochs=1)
    raw = mne.io.RawArray(data[0], info)
    raw.set_annotations(mne.Annotations(1.2, 0.1, "BAD_jump"))
    whole = compute_mapping(info).to_canonical @ data[0]
    out = CanonicalSensors().fit_transform(raw)
    assert out.shape == (4, 192, 200)  # of five, one is bad
    np.testing.assert_allclose(out[1], whole[:, 400:600], rtol=1e-9, atol=1e-20)
    sensors = CanonicalSensors(duration=0.5, overlap=0.25, reject_by_annotation=False)
    assert sensors.fit_transform(raw).shape == (21, 192, 100)


def test_flat_channels_are_left_out(epochs):
    """A channel that is flat counts as bad where it is flat."""
    data = epochs.get_data()
    data[2, 5] = 3e-12
    broken = mne.EpochsArray(data, epochs.info)
    out = CanonicalSensors().fit_transform(broken)
    usual = CanonicalSensors().fit_transform(epochs)
    rows = np.delete(np.arange(6), 2)
    np.testing.assert_allclose(out[rows], usual[rows], rtol=1e-10)
    assert np.corrcoef(out[2].ravel(), usual[2].ravel())[0, 1] > 0.999


def test_way_back(epochs):
    sensors = CanonicalSensors().fit(epochs)
    back = sensors.inverse_transform(sensors.transform(epochs))
    data = epochs.get_data()
    assert np.linalg.norm(back - data) < 0.05 * np.linalg.norm(data)
    one = sensors.inverse_transform(sensors.transform(epochs)[0], epochs.info)
    np.testing.assert_allclose(one, back[0], rtol=1e-9, atol=1e-20)


def test_epochs_as_epochs(epochs):
    """Everything but the channels stays."""
    epochs.apply_baseline((None, 0))
    sensors = CanonicalSensors().fit(epochs)
    mapped = sensors.transform_inst(epochs)
    assert isinstance(mapped, mne.EpochsArray)
    np.testing.assert_allclose(mapped.get_data(), sensors.transform(epochs))
    np.testing.assert_array_equal(mapped.events, epochs.events)
    np.testing.assert_array_equal(mapped.times, epochs.times)
    assert mapped.event_id == epochs.event_id
    assert mapped.baseline == epochs.baseline
    assert mapped.metadata.equals(epochs.metadata)
    assert mapped.info["sfreq"] == 200.0
    assert len(mapped["tone"]) == 3
    back = sensors.inverse_transform_inst(mapped)
    assert back.ch_names == epochs.ch_names
    np.testing.assert_array_equal(back.events, epochs.events)
    error = np.linalg.norm(back.get_data() - epochs.get_data())
    assert error < 0.05 * np.linalg.norm(epochs.get_data())


def test_raw_as_raw(info, physics, rng, tmp_path, monkeypatch):
    """A Raw on disk is mapped chunk by chunk; times and annotations stay."""
    data, _ = _signals(physics, info, rng, n_times=1100, n_epochs=1)
    data[0, 7] = 0.0  # flat all through
    raw = mne.io.RawArray(data[0], info, first_samp=300)
    raw.set_annotations(mne.Annotations([1.0, 2.0], [0.5, 0.1], ["BAD_x", "tone"]))
    raw.save(tmp_path / "some_raw.fif")
    raw = mne.io.read_raw_fif(tmp_path / "some_raw.fif")
    monkeypatch.setattr("mne_megfm.estimators._canonical_sensors._CHUNK", 256)
    sensors = CanonicalSensors()
    mapped = sensors.transform_inst(raw)
    assert not raw.preload and isinstance(mapped, mne.io.RawArray)
    assert mapped.n_times == 1100 and mapped.first_samp == 300
    assert list(mapped.annotations.description) == ["BAD_x", "tone"]
    np.testing.assert_allclose(mapped.annotations.onset, raw.annotations.onset)
    without = info.copy()
    without["bads"] = [info["ch_names"][7]]
    used = np.delete(np.arange(151), 7)
    np.testing.assert_allclose(
        mapped.get_data(),
        compute_mapping(without).to_canonical @ raw.get_data()[used],
        rtol=1e-4,
        atol=1e-18,
    )
    back = sensors.inverse_transform_inst(mapped, without)
    assert len(back.ch_names) == 151 and back.first_samp == 300


def test_evoked_as_evoked(data_dir, physics):
    """Averages of a real recording, with projectors and a bad channel."""
    evoked = mne.read_evokeds(
        data_dir / "vectorview306-left-auditory-right-visual-ave.fif", condition=0
    )
    sensors = CanonicalSensors().fit(evoked)
    mapped = sensors.transform_inst(evoked)
    assert mapped.nave == evoked.nave and mapped.comment == evoked.comment
    assert mapped.baseline == evoked.baseline and not mapped.info["projs"]
    assert mapped.data.shape == (192, len(evoked.times))
    back = sensors.inverse_transform_inst(mapped)
    assert len(back.ch_names) == 306 and back.info["bads"] == evoked.info["bads"]
    # three trials are mostly noise: fields from outside, which the mapping takes
    # away, and sensor noise, of which magnetometers share less
    mags, same = evoked.copy().pick("mag"), back.copy().pick("mag")
    outside = np.linalg.qr(physics.external_field(mags.info))[0]
    mags, same = (
        data - outside @ (outside.T @ data) for data in (mags.data, same.data)
    )
    assert np.corrcoef(mags.ravel(), same.ravel())[0, 1] > 0.85
    mapped.plot_topomap(times=[0.1], show=False)


def test_systems_in_real_data(data_dir):
    """Recordings of every system go through, with what they bring along."""
    for name in (
        "kit157-auditory",
        "4d248-solaris",
        "ctf274",
        "vectorview306-audvis-prestim",
    ):
        raw = mne.io.read_raw_fif(data_dir / f"{name}_raw.fif")
        out = CanonicalSensors(duration=0.5).fit_transform(raw)
        assert out.shape[1:] == (192, round(0.5 * raw.info["sfreq"]))
        assert 1e-15 < out.std() < 1e-9


def test_in_scikit_learn(epochs, rng):
    """It is cloned, pickled, searched and cross-validated as others are."""
    sensors = CanonicalSensors(duration=2.0)
    assert clone(sensors).get_params() == sensors.get_params()
    assert repr(sensors) == "CanonicalSensors(duration=2.0)"
    assert "CanonicalSensors" in sensors._repr_html_()
    fitted = pickle.loads(pickle.dumps(sensors.fit(epochs)))
    np.testing.assert_array_equal(fitted.transform(epochs), sensors.transform(epochs))
    names = sensors.get_feature_names_out()
    assert list(names) == canonical_array().ch_names
    power = FunctionTransformer(lambda x: np.log(x.var(-1)))
    pipeline = make_pipeline(sensors, power, LogisticRegression())
    y = ["control", "migraine"] * 3
    for X in (MEGSamples(epochs), [epochs[i] for i in range(6)]):
        scores = cross_val_score(pipeline, X, y, cv=2, error_score="raise")
        assert scores.shape == (2,)
    pooled = make_pipeline(CanonicalSensors(), power, DummyClassifier())
    assert pooled.fit(epochs, y).predict(epochs).shape == (6,)


def test_no_fit_needed(epochs):
    """Nothing is learnt, so transform works at once."""
    assert CanonicalSensors().transform(epochs).shape == (6, 192, 100)


def test_memory(epochs, tmp_path):
    CanonicalSensors(memory=str(tmp_path)).fit(epochs)
    other = epochs.copy()
    other.info["bads"] = epochs.ch_names[:2]
    CanonicalSensors(memory=str(tmp_path)).fit(other)
    assert list(tmp_path.rglob("output.pkl"))


def test_errors(epochs, info):
    sensors = CanonicalSensors()
    with pytest.raises(TypeError, match="Expected X to be Epochs"):
        sensors.fit(epochs.get_data())
    with pytest.raises(TypeError, match="inst must be an instance of"):
        sensors.transform_inst([epochs])
    with pytest.raises(TypeError, match="inst must be an instance of"):
        sensors.inverse_transform_inst(epochs.get_data())
    with pytest.raises(ValueError, match="one length and sampling rate.*50 at 200 Hz"):
        sensors.transform([epochs, epochs.copy().crop(tmax=0.145)])
    canonical = sensors.transform(epochs)
    with pytest.raises(ValueError, match="Expected info, .* got none"):
        sensors.inverse_transform(canonical)
    other = epochs.copy()
    other.info["bads"] = epochs.ch_names[:1]
    sensors.fit([epochs, other])
    with pytest.raises(ValueError, match="got recordings with 2 geometries"):
        sensors.inverse_transform(canonical)
    with pytest.raises(ValueError, match=r"shape \(\.\.\., 192, n_times\), got shape"):
        sensors.inverse_transform(canonical[:, :5], info)
    with pytest.raises(
        ValueError, match="V000 to V191 of the canonical array, got 151"
    ):
        sensors.inverse_transform_inst(epochs, info)
    with pytest.raises(ValueError, match="Expected MEG in tesla"):
        sensors.fit(mne.EpochsArray(epochs.get_data() * 1e15, info))
    with pytest.raises(TypeError, match="memory must be"):
        wrong = epochs.copy()
        wrong.info["bads"] = epochs.ch_names[3:7]
        CanonicalSensors(memory=1.5).fit(wrong)
