"""Each baseline against the same numbers written out, and what all have in common."""

import mne
import numpy as np
import pytest
from numpy.testing import assert_allclose
from pyriemann.estimation import Covariances
from pyriemann.tangentspace import TangentSpace
from scipy.signal import periodogram
from sklearn.base import clone

from mne_megfm import CanonicalSensors
from mne_megfm.evaluation import (
    BandPower,
    CovarianceTangent,
    EvokedFeatures,
    HabituationFeatures,
    TrialSignals,
    default_pipelines,
)
from mne_megfm.evaluation._baselines import DYNAMICS, leading_fields
from mne_megfm.evaluation._participant_features import shared_trials

BASELINES = [
    EvokedFeatures("evoked", decim=25),
    EvokedFeatures("thirds", decim=25),
    EvokedFeatures("epochs", decim=25),
    BandPower(),
    HabituationFeatures(),
    CovarianceTangent(4),
]
every_baseline = pytest.mark.parametrize(
    "baseline", BASELINES, ids=lambda b: f"{type(b).__name__}-{getattr(b, 'kind', '')}"
)


@pytest.fixture(scope="module")
def canonical(participants):
    """Trials on the canonical array, by the public transformer, in the first four."""
    return [
        {state: CanonicalSensors().fit_transform(x[state]) for state in x}
        for x in participants[:4]
    ]


def test_evoked(participants, canonical):
    features = EvokedFeatures("evoked", decim=1).fit_transform(participants[:4])
    expected = np.stack([x["auditory"].mean(0).ravel() for x in canonical])
    assert_allclose(features[:, :-1], expected, rtol=1e-4, atol=1e-18)
    assert not features[:, -1].any()


def test_thirds_of_trials_in_order(participants, canonical):
    features = EvokedFeatures("thirds", decim=5).fit_transform(participants[:4])
    trials = canonical[2]["auditory"]
    parts = [trials[:3].mean(0), trials[3:6].mean(0), trials[6:].mean(0)]
    expected = np.stack(parts).reshape(3, 192, 50, 5).mean(-1).ravel()
    assert_allclose(features[2, :-1], expected, rtol=1e-4, atol=1e-18)


def test_epochs_use_rest(participants, canonical):
    transformer = EvokedFeatures("epochs", decim=1).fit(participants[:4])
    assert transformer.states_ == ["auditory", "rest"]
    rest = transformer.transform(participants[:4])[1, 2 * 48_000 + 1 : -1]
    trials = canonical[1]["rest"]
    expected = np.stack([trials.mean(0), trials.std(0)]).ravel()
    assert_allclose(rest, expected, rtol=1e-4, atol=1e-18)


def test_own_sensors(participants):
    """On own sensors good channels are left as they are, bad ones filled in."""
    epochs = participants[0]["auditory"].copy()
    epochs.info["bads"] = epochs.ch_names[5:7]
    transformer = EvokedFeatures("evoked", space="sensors", decim=1)
    features = transformer.fit_transform([{"auditory": epochs}])[0, :-1]
    picks = mne.pick_types(epochs.info, meg=True, ref_meg=False, exclude=())
    truth = epochs.get_data(picks).mean(0)
    good = np.delete(np.arange(len(picks)), [5, 6])
    found = features.reshape(truth.shape)
    # features are float32, from which the baseline was taken
    assert_allclose(found[good], truth[good], rtol=1e-5, atol=1e-6 * truth.std())
    for bad in (5, 6):
        assert np.corrcoef(found[bad], truth[bad])[0, 1] > 0.8


def test_own_sensors_of_one_array_alone(cohort):
    by_array = {person.array: person.recordings for person in cohort.participants}
    transformer = EvokedFeatures("evoked", space="sensors", decim=25)
    with pytest.raises(ValueError, match="use canonical sensors where arrays differ"):
        transformer.fit(list(by_array.values()))


def test_band_power(participants, canonical):
    """The power of a whole trial is that of its Hann-windowed periodogram."""
    features = BandPower({"alpha": (8.0, 13.0)}).fit_transform(participants[:4])
    trials = canonical[3]["rest"]
    freqs, power = periodogram(trials, 250.0, window="hann", detrend="constant")
    inside = (freqs >= 8.0) & (freqs < 13.0)
    by_region = power[..., inside].reshape(9, 24, 8, -1).mean((0, 2, 3))
    assert_allclose(features[3, 25:-1], np.log(by_region), rtol=1e-4)


def test_band_without_frequency(participants):
    with pytest.raises(ValueError, match="use a wider band or longer epochs"):
        BandPower({"narrow": (8.2, 8.4)}).fit(participants[:1])


def test_covariance(participants, canonical):
    """Equal to pyRiemann, whose reference is that of the training participants."""
    transformer = CovarianceTangent(5).fit(participants[:3])
    features = transformer.transform(participants[3:4])[0, :15]
    matrices = []
    for x in canonical:
        trials = leading_fields(5) @ (x["auditory"] * 1e12)
        trials -= trials.mean(-1, keepdims=True)
        matrices.append(trials.transpose(1, 0, 2).reshape(5, -1))
    matrices = Covariances("oas").transform(np.stack(matrices))
    expected = TangentSpace().fit(matrices[:3]).transform(matrices[3:])[0]
    assert_allclose(features, expected, rtol=1e-3, atol=1e-4)


def _responses(participants, strengths, rng):
    """Make a participant whose response has given strengths, in noise."""
    info = participants[0]["auditory"].info
    pattern = CanonicalSensors().fit(participants[0]["auditory"])
    shape = np.zeros((192, 250))
    shape[:, 100:150] = 1e-13 * leading_fields(3)[2][:, None] * np.hanning(50)
    signal = pattern.inverse_transform(shape[None] * strengths[:, None, None])
    data = np.zeros((len(strengths), len(info["ch_names"]), 250))
    picks = mne.pick_types(info, meg=True, ref_meg=False, exclude=())
    data[:, picks] = signal
    data += 1e-16 * rng.standard_normal(data.shape)
    epochs = mne.EpochsArray(data, info, tmin=-0.2, verbose="error")
    return [{"sound": epochs}]


def test_dynamics_of_known_strengths(participants, rng):
    """Almost without noise, strengths are those that were put in."""
    strengths = np.linspace(1.4, 0.6, 12)
    (found,) = HabituationFeatures()._read_participants(
        _responses(participants, strengths, rng)
    )
    values = dict(zip(DYNAMICS, found["sound"], strict=True))
    thirds = strengths.reshape(3, 4).mean(1)
    assert_allclose([values[k] for k in ("early", "middle", "late")], thirds, rtol=0.01)
    assert_allclose(values["slope"], -0.8, rtol=0.01)
    assert_allclose(values["variability"], strengths.std(), rtol=0.01)
    twice = HabituationFeatures()._read_participants(
        _responses(participants, 2 * strengths, rng)
    )
    assert_allclose(twice[0]["sound"][-1] - values["amplitude"], np.log(2.0), rtol=0.01)
    assert_allclose(twice[0]["sound"][:3], thirds, rtol=0.01)


def test_dynamics_of_no_response(participants, rng):
    """The mean strength of noise alone is within its error.

    Were trials projected on an average that they are part of, their spread would be
    small beside their mean.
    """
    epochs = participants[0]["auditory"]
    data = 1e-13 * rng.standard_normal((60, len(epochs.ch_names), 250))
    noise = mne.EpochsArray(data, epochs.info, tmin=-0.2, verbose="error")
    (found,) = HabituationFeatures()._read_participants([{"sound": noise}])
    values = dict(zip(DYNAMICS, found["sound"], strict=True))
    assert values["variability"] > np.sqrt(60) / 4.0


def test_too_few_trials(participants):
    few = [{"auditory": x["auditory"][:2]} for x in participants[:2]]
    with pytest.raises(ValueError, match="HabituationFeatures can use"):
        HabituationFeatures().fit(few)


@every_baseline
def test_missing_state(baseline, participants):
    """A missing state is filled from training participants alone, and marked."""
    X = [dict(x) for x in participants[:5]]
    del X[1]["auditory"]
    transformer = clone(baseline).fit(X[:3])
    features = transformer.transform(X)
    width = len(transformer.transform(X)[0]) // len(transformer.states_)
    known = transformer.transform([X[0], X[2]])[:, :width]
    assert_allclose(features[:, width - 1], [0, 1, 0, 0, 0])
    if not isinstance(baseline, CovarianceTangent):
        assert_allclose(features[1, : width - 1], known.mean(0)[:-1], rtol=1e-6)
    else:  # the reference is the zero of tangent space
        assert_allclose(features[1, : width - 1], 0.0, atol=1e-9)
    # what is known of participants does not depend on others
    assert_allclose(features[[0, 2, 3]], transformer.transform([X[0], X[2], X[3]]))


@every_baseline
def test_unknown_state(baseline, participants):
    transformer = clone(baseline).fit(participants[:3])
    expected = transformer.transform(participants[3:4])
    more = {**participants[3], "sound": participants[3]["auditory"]}
    with pytest.warns(RuntimeWarning, match="'sound'.* are not used"):
        assert_allclose(transformer.transform([more]), expected)


@every_baseline
def test_epochs_and_dicts_are_the_same(baseline, cohort, participants):
    """Epochs whose event names are the states, as dicts of states."""
    joined = [participant.epochs() for participant in cohort.participants[:3]]
    assert_allclose(
        clone(baseline).fit_transform(joined),
        clone(baseline).fit_transform(participants[:3]),
        rtol=1e-6,
    )


@every_baseline
def test_raw(baseline, participants):
    """Windows of a Raw are rest: described by what needs no events, else left out."""
    raw = mne.io.RawArray(
        np.hstack(participants[0]["rest"].get_data()), participants[0]["rest"].info
    )
    X = [{"rest": raw, "auditory": x["auditory"]} for x in participants[:1]]
    features = clone(baseline).fit_transform(X)
    as_epochs = clone(baseline).fit_transform(participants[:1])
    assert_allclose(features, as_epochs, rtol=1e-5, atol=1e-20)


@every_baseline
def test_not_a_list(baseline, participants):
    with pytest.raises(ValueError, match="list of participants"):
        clone(baseline).fit(participants[0]["rest"])


@every_baseline
def test_bad_window(baseline, participants):
    with pytest.raises(ValueError, match="duration"):
        clone(baseline).set_params(duration=-1.0).fit(participants[:1])


def test_shared_trials_are_mapped_once(participants, monkeypatch):
    """Within the block each recording is mapped once, with the same result."""
    from mne_megfm.evaluation import _participant_features as _signals

    calls = []
    original = _signals.iter_windows
    monkeypatch.setattr(
        _signals,
        "iter_windows",
        lambda *args, **kwargs: calls.append(1) or original(*args, **kwargs),
    )
    alone = [b._read_participants(participants[:1])[0]["auditory"] for b in BASELINES]
    assert len(calls) == 2 * len(BASELINES)
    calls.clear()
    with shared_trials():
        shared = [
            b._read_participants(participants[:1])[0]["auditory"] for b in BASELINES
        ]
    assert len(calls) == 2
    for a, b in zip(alone, shared, strict=True):
        assert_allclose(a, b, rtol=0, atol=0)


def test_default_pipelines(brief, cohort):
    pipelines = default_pipelines()
    assert list(pipelines)[:2] == ["model features", "random weights"]
    assert len({id(pipeline[-1]) for pipeline in pipelines.values()}) == len(pipelines)
    pipeline = pipelines["band power + trial dynamics"].fit(brief, cohort.labels)
    # 24 regions x 5 bands and a mark in two states; 7 numbers and a mark in one
    assert pipeline[:-1].transform(brief).shape == (12, 250)
    assert "own sensors" in list(default_pipelines(sensors=True))[-1]


@every_baseline
def test_names_of_features(baseline, participants):
    """One a column, none twice; scikit-learn makes tables with them."""
    X = participants[:4]
    baseline = clone(baseline).set_output(transform="pandas")
    table = baseline.fit_transform(X)
    assert table.columns.tolist() == baseline.get_feature_names_out().tolist()
    assert table.columns.is_unique
    assert table.index.size == 4
    assert table.filter(regex="_missing$").columns.size == len(baseline.states_)
    plain = clone(baseline).set_output(transform="default").fit_transform(X)
    assert isinstance(plain, np.ndarray)
    assert_allclose(table.to_numpy(), plain)


def test_names_are_where_their_values_are(participants):
    X = participants[:2]
    power = BandPower().set_output(transform="pandas").fit_transform(X)
    alpha = BandPower({"alpha": (8.0, 13.0)}).fit_transform(X)
    columns = [f"auditory_region{region:02d}_alpha" for region in range(24)]
    assert_allclose(power[columns], alpha[:, :24])
    evoked = EvokedFeatures(decim=1).set_output(transform="pandas").fit_transform(X)
    expected = CanonicalSensors().transform(X[1]["auditory"]).mean(0)
    assert_allclose(
        evoked.loc[1, "auditory_average_V017_t031"], expected[17, 31], rtol=1e-4
    )
    names = HabituationFeatures().fit(X).get_feature_names_out()
    assert names[: len(DYNAMICS)].tolist() == [f"auditory_{n}" for n in DYNAMICS]


def test_trials_are_no_table(participants):
    from sklearn.pipeline import FeatureUnion

    trials = TrialSignals()
    FeatureUnion([("trials", trials)]).set_output(transform="pandas")  # no error
    assert isinstance(trials.fit_transform(participants[:2])[0], dict)
    assert trials.get_feature_names_out().tolist() == ["auditory", "rest"]
