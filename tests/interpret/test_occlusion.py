"""Tests of occlusion of regions, times, bands and states."""

import mne
import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from mne_megfm.interpret import occlude as occlude_tested
from mne_megfm.interpret._occlusion import sensor_regions
from mne_megfm.simulation import make_array_info

SFREQ = 100.0


def occlude(model, X, over, **kwargs):
    """Give the table for a decision that is known, and needs no held-out fold."""
    n = 8 if isinstance(X, mne.Evoked) else len(X)
    y = np.arange(n) % 2
    if isinstance(model, Probable):
        y = model.classes_[y]
    cv = [(np.arange(n), np.arange(n))]
    kwargs = {"n_permutations": 1, "alpha": 0.5, "scoring": None} | kwargs
    return occlude_tested(model, X, y, over, cv=cv, **kwargs).table


class Power(RegressorMixin, BaseEstimator):
    """A number that is known: power at one frequency, in pT squared."""

    def __init__(self, freq):
        self.freq = freq

    def fit(self, X, y):
        return self

    def predict(self, X):
        data = X.get_data() if isinstance(X, mne.BaseEpochs) else _joined(X)
        wave = np.exp(2j * np.pi * self.freq * np.arange(data.shape[-1]) / SFREQ)
        return 1e24 * np.square(np.abs(data @ wave)).mean(1)


def _joined(X):
    """Average the epochs of all states of each participant."""
    return np.array(
        [
            np.mean([inst.get_data().mean(0) for inst in person.values()], 0)
            for person in X
        ]
    )


class Probable(ClassifierMixin, BaseEstimator):
    """A classifier without decisions: how many states and good channels there are."""

    def __init__(self):
        self.classes_ = np.array(["control", "migraine"])

    def fit(self, X, y):
        return self

    def predict_proba(self, X):
        n = [
            len(person) + 0.01 * sum(len(i.info["bads"]) for i in person.values())
            for person in X
        ]
        p = 1 / (1 + np.exp(-np.array(n)))
        return np.stack([1 - p, p], 1)


@pytest.fixture(scope="module")
def epochs():
    """Return 8 epochs of white noise with a rhythm of 10 Hz of different size."""
    info = make_array_info("opm64", SFREQ, random_state=0)
    rng = np.random.default_rng(0)
    data = 1e-14 * rng.standard_normal((8, len(info["ch_names"]), 100))
    rhythm = np.sin(2 * np.pi * 10 * np.arange(100) / SFREQ)
    data += 1e-12 * np.arange(1, 9)[:, None, None] * rhythm
    return mne.EpochsArray(data, info, tmin=-0.2)


@pytest.fixture
def participants(epochs):
    """Return three participants, one without a state."""
    other = epochs.copy().crop(0.0, None)
    whole = [{"rest": epochs[:3], "auditory": epochs[3:6]} for _ in range(2)]
    return [*whole, {"auditory": epochs[6:]}], other


def _means(lost):
    return lost.groupby("part", sort=False)["lost"].agg(lambda x: x.abs().mean())


def test_bands(epochs):
    """Exchanging alpha changes the power at 10 Hz, other bands do not."""
    model = Power(10.0)
    lost = occlude(model, epochs, "bands")
    means = _means(lost)
    assert means.idxmax() == "alpha"
    assert means.drop("alpha").max() < 1e-6 * means["alpha"]
    of = lost[lost["part"] == "alpha"]
    np.testing.assert_allclose(of["decision"], model.predict(epochs))
    # all have the rhythm of another one
    left = of["decision"] - of["lost"]
    np.testing.assert_allclose(np.sort(left), np.sort(of["decision"]), rtol=0.01)
    again = occlude(model, epochs, "bands", bands={"mine": (9.0, 11.0)})
    assert again["part"].unique().tolist() == ["mine"]


def test_bands_that_are_not_there(epochs, participants):
    """What has no frequency of the recording is refused; usual bands are left out."""
    model = Power(10.0)
    match = "high .60 to 80 Hz. for a recording at 100"
    for X in (epochs, participants[0]):
        with pytest.raises(ValueError, match=match):
            occlude(model, X, "bands", bands={"high": (60.0, 80.0)})
    with pytest.raises(ValueError, match="narrow .* with 100 samples"):
        occlude(model, epochs, "bands", bands={"narrow": (9.2, 9.8)})
    slow = epochs.copy().resample(50.0)
    with pytest.warns(RuntimeWarning, match="Left out: gamma") as caught:
        lost = occlude(model, slow, "bands")
    assert len(caught) == 1
    assert set(lost["part"]) == {"delta", "theta", "alpha", "beta"}


def test_times_and_regions(epochs):
    """Parts are blocks of 100 ms from the first sample, and regions of sensors."""
    times = occlude(Power(10.0), epochs, "times")
    parts = times["part"].unique()
    np.testing.assert_allclose(parts, np.arange(-0.2, 0.75, 0.1), atol=0.011)
    regions = occlude(Power(10.0), epochs, "regions")
    # power is summed over channels: what is lost adds up
    whole = regions.groupby("sample")["lost"].sum()
    alone = occlude(Power(10.0), epochs, "bands", bands={"all": (0.0, 51.0)})
    assert set(regions["part"]) == set(sensor_regions(epochs.info, epochs.ch_names))
    np.testing.assert_allclose(whole, alone["lost"], rtol=1e-6)


def test_nothing_is_changed(epochs, participants):
    """What is given stays as it was."""
    before = epochs.get_data().copy()
    occlude(Power(10.0), epochs, "times")
    for over in ("states", "regions", "bands", "times"):
        occlude(Power(10.0), participants[0], over)
    np.testing.assert_array_equal(epochs.get_data(), before)
    assert not epochs.info["bads"]


def test_states(participants):
    """A state is missing where it is left out; the last one is not."""
    lost = occlude(Probable(), participants[0], "states").set_index(["part", "sample"])
    assert lost["lost"].to_numpy() == pytest.approx([1, 1, 0, 1, 1, 0])
    other = occlude(Probable(), participants[0], "states", target="control")
    assert other["lost"].to_numpy() == pytest.approx(-lost["lost"].to_numpy())


def test_participants_without_parts(participants):
    """Bands are cut out, lines drawn in time, and sensors marked as bad."""
    people = participants[0]
    bands = _means(occlude(Power(10.0), people, "bands"))
    assert bands.idxmax() == "alpha"
    of = occlude(Power(10.0), people, "bands", bands={"alpha": (8.0, 13.0)})
    np.testing.assert_allclose(of["lost"], of["decision"], rtol=0.01)
    times = occlude(Power(10.0), people, "times")
    # a period of ten is lost: of power, 1 - 0.9 squared
    share = (times["lost"] / times["decision"]).to_numpy()
    np.testing.assert_allclose(share, 1 - 0.9**2, atol=0.04)
    regions = occlude(Probable(), people, "regions")
    n_bads = -100 * regions[regions["sample"] == 2]["lost"]
    assert n_bads.sum() == pytest.approx(64)


def test_epochs_with_states(epochs):
    """States of one Epochs are told by event names."""
    both = epochs.copy()
    both.event_id = {"rest": 1, "auditory": 2}
    both.events[:, 2] = [1, 1, 1, 1, 2, 2, 2, 2]

    class Count(Power):
        def predict(self, X):
            return np.array([float(len(person)) for person in X])

    lost = occlude(Count(1.0), [both, both["rest"]], "states")
    assert lost["lost"].tolist() == [4, 0, 4, 0]


def test_errors(epochs):
    """What cannot be taken away is refused."""
    with pytest.raises(ValueError, match="list of participants for over='states'"):
        occlude(Power(1.0), epochs, "states")
    with pytest.raises(ValueError, match="at least 2 states"):
        occlude(Power(1.0), [{"rest": epochs}], "states")
    with pytest.raises(ValueError, match="at least 2 epochs"):
        occlude(Power(1.0), epochs[:1], "bands")
    with pytest.raises(TypeError, match="Expected Epochs for occlusion"):
        occlude(Power(1.0), epochs.average(), "bands")
    raw = mne.io.RawArray(epochs.get_data()[0], epochs.info)
    with pytest.raises(ValueError, match="Expected Epochs or Evoked"):
        occlude(Probable(), [{"rest": raw}], "times")
