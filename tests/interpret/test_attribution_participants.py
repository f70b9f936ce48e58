"""Tests of gradients of decisions on participants, by the participant encoder."""

import mne
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import binom
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mne_megfm import MEGFMClassifier, MEGFMTransformer, simulate_cohort
from mne_megfm.estimators import FineTuning
from mne_megfm.inputs import as_recordings
from mne_megfm.interpret import attribute, decision_map
from mne_megfm.interpret._decisions import split_pipeline
from mne_megfm.interpret._gradients import PersonNetwork

STATES = ("auditory", "somatosensory")


@pytest.fixture(scope="module")
def cohort():
    """Six participants on two systems, at rest and in two states with stimuli."""
    return simulate_cohort(
        6,
        states=("rest", *STATES),
        arrays=("ctf151", "opm64"),
        n_epochs={"rest": 6, "auditory": 12, "somatosensory": 10},
        raw_states=("rest",),
        filters=(1.0, 60.0),
        random_state=21,
    )


@pytest.fixture(scope="module")
def people(cohort):
    """Return a dict from state to recording for each of them."""
    return [dict(person.recordings) for person in cohort.participants]


@pytest.fixture(scope="module")
def fitted(people, cohort):
    """Return a function that puts steps behind one fitted transformer."""
    transformer = MEGFMTransformer().fit(people)
    features = transformer.transform(people)

    def fit(*steps, y=cohort.labels):
        pipeline = make_pipeline(transformer, *steps)
        pipeline[1:].fit(features, y)
        return pipeline

    return fit


@pytest.fixture(scope="module")
def logistic(fitted):
    """Return a fitted pipeline."""
    return fitted(LogisticRegression())


def _given(pipeline, X, target=None):
    """Compute the decision on one participant by the torch module."""
    network = PersonNetwork(split_pipeline(pipeline), list(as_recordings(X)), target)
    with torch.inference_mode():
        return float(network(*(one[None] for one in network.averages.values())))


def _change(person, state, field, gain=1.0):
    """Add the same field to all trials of a state, in the MNE object itself."""
    epochs = person[state].copy().load_data()
    picks = mne.pick_types(epochs.info, meg=True, ref_meg=False)
    epochs._data[:, picks] += gain * field
    return {**person, state: epochs}


def _average(epochs):
    picks = mne.pick_types(epochs.info, meg=True, ref_meg=False)
    return epochs.get_data()[:, picks].mean(0)


def _smooth(rng, shape, times, size):
    """Draw a field with a place and a course, of few Hertz."""
    course = sum(
        rng.standard_normal() * np.exp(-0.5 * ((times - t) / 0.03) ** 2)
        for t in (0.05, 0.1, 0.18, 0.3, 0.5)
    )
    return size * rng.standard_normal(shape)[:, None] * course


def _slope(pipeline, person, state, field, step):
    """Take the derivative of the pipeline's own decision by finite differences."""
    up, down = pipeline.decision_function(
        [_change(person, state, field, gain) for gain in (step, -step)]
    )
    return (up - down) / (2 * step)


def _scale(epochs):
    """Compute the unit of gradients: the spread of channels over trials and times."""
    picks = mne.pick_types(epochs.info, meg=True, ref_meg=False)
    return epochs.get_data()[:, picks].std((0, 2))[:, None]


# -- the network ------------------------------------------------------------
def test_network_is_the_pipeline(people, logistic):
    """The torch module's output equals scikit-learn's decisions on participants."""
    decision = logistic.decision_function(people[:4])
    given = [_given(logistic, [person]) for person in people[:4]]
    assert_allclose(given, decision, rtol=1e-3, atol=1e-4 * np.ptp(decision))
    assert np.ptp(decision) > 0.1


@pytest.mark.slow
def test_network_of_all_kinds_of_recordings(people, logistic):
    """Short and long epochs, several recordings, bad and flat channels, artefacts."""
    auditory, touch = (people[0][state] for state in STATES)
    bad = auditory.copy()
    bad.info["bads"] = bad.ch_names[3:5]
    flat = auditory.copy().load_data()
    flat._data[2, 7] = 0.0
    odd = auditory.copy().load_data()
    odd._data[4] *= 30.0
    filler = auditory.get_data()[::-1]
    longer = mne.EpochsArray(
        np.concatenate([auditory.get_data(), filler[..., :110]], 2),
        auditory.info,
        auditory.events,
        tmin=-0.2,
    )
    many = mne.concatenate_epochs([auditory] * 12)  # 144 trials, which are averaged
    kinds = {
        "bad": bad,
        "flat": flat,
        "odd": odd,
        "longer": longer,
        "many": many,
        "short": auditory.copy().crop(tmax=0.25),
        "late": auditory.copy().crop(tmin=0.05),
        "single": auditory[:1],
        "average": auditory.average(),
        "two runs": [auditory[:5], auditory[5:]],
        "resampled": auditory.copy().load_data().resample(400.0),
    }
    X = [{**people[0], "auditory": inst} for inst in kinds.values()]
    decision = logistic.decision_function(X)
    given = [_given(logistic, [person]) for person in X]
    assert_allclose(given, decision, rtol=1e-3, atol=1e-3 * np.ptp(decision))
    assert len(np.unique(decision.round(4))) == len(kinds)
    both = mne.concatenate_epochs([auditory, touch])
    with pytest.warns(RuntimeWarning, match="missing"):
        expected = logistic.decision_function([both])[0]
    assert _given(logistic, [both]) == pytest.approx(expected, rel=1e-3)


def test_network_of_other_heads(people, fitted, cohort):
    """Averages that are appended, numbers, classes by name, our own classifier."""
    one = people[1]
    ridge = fitted(StandardScaler(), Ridge(10.0), y=np.arange(6.0))
    assert _given(ridge, [one]) == pytest.approx(ridge.predict([one])[0], rel=1e-3)
    three = fitted(LogisticRegression(), y=["a", "b", "c"] * 2)
    expected = three.decision_function([one])[0, 2]
    assert _given(three, [one], "c") == pytest.approx(expected, rel=1e-3)
    two = fitted(LogisticRegression())
    flipped = _given(two, [one], "control")
    assert flipped == pytest.approx(-two.decision_function([one])[0], rel=1e-3)
    appended = make_pipeline(
        MEGFMTransformer(aggregation="measures+evoked"), LogisticRegression()
    ).fit(people, cohort.labels)
    expected = appended.decision_function([one])[0]
    assert _given(appended, [one]) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    "strategy", ["probe", pytest.param("lora", marks=pytest.mark.slow)]
)
def test_network_of_the_classifier(people, cohort, strategy):
    """Our own classifier is computed, also with an encoder that was tuned."""
    finetuning = None if strategy == "probe" else FineTuning(max_epochs=2)
    classifier = MEGFMClassifier(
        strategy=strategy, finetuning=finetuning, random_state=0
    )
    classifier.fit(people, cohort.labels)
    expected = classifier.decision_function(people[:2])
    given = [_given(classifier, [person]) for person in people[:2]]
    assert_allclose(given, expected, rtol=1e-3, atol=1e-4)


# -- gradients --------------------------------------------------------------
@pytest.mark.parametrize("state", STATES)
def test_gradient_is_that_of_finite_differences(people, logistic, rng, state):
    """A field added to all trials in MNE changes the pipeline's decision as told."""
    person = people[0]
    maps = decision_map(logistic, person, "gradient")
    assert set(maps) == set(STATES)
    epochs, scale = person[state], _scale(person[state])
    gradient = maps[state].data / scale
    # up the gradient as it is within the band of the recording, and anywhere else
    up = mne.filter.filter_data(gradient * scale**2, 250.0, None, 40.0)
    fields = [1e-2 * up * scale.mean() / np.abs(up).max(), _average(epochs)]
    fields += [_smooth(rng, len(gradient), epochs.times, 1e-14) for _ in range(2)]
    # within the smallest size, beyond which the decision has a bend
    found = [_slope(logistic, person, state, field, 2e-2) for field in fields]
    expected = [(gradient * field).sum() for field in fields]
    assert_allclose(expected, found, rtol=0.02, atol=0.01 * np.abs(found).max())


def test_gradient_through_odd_and_averaged_trials(people, cohort, rng):
    """Also where trials are shrunk, averaged with their neighbours, and resampled."""
    logistic = make_pipeline(
        MEGFMTransformer(aggregation="measures"), LogisticRegression()
    ).fit(people, cohort.labels)
    first = people[2]["auditory"].copy().load_data()
    first._data[4] *= 30.0
    runs = [first, *[people[2]["auditory"]] * 11]
    many = mne.concatenate_epochs(runs, verbose=False)
    person = {**people[2], "auditory": many}
    gradient = decision_map(logistic, [person], "gradient")["auditory"].data
    field = _smooth(rng, len(gradient), many.times, 1e-14)
    found = _slope(logistic, person, "auditory", field, 0.1)
    assert (gradient / _scale(many) * field).sum() == pytest.approx(found, rel=0.02)

    quick = people[2]["auditory"].copy().load_data().resample(500.0)
    person = {**people[2], "auditory": quick}
    evoked = decision_map(logistic, person, "gradient")["auditory"]
    assert evoked.info["sfreq"] == 250.0
    field = _smooth(rng, len(gradient), quick.times, 1e-14)
    found = _slope(logistic, person, "auditory", field, 0.1)
    slope = (evoked.data / _scale(quick) * field[:, ::2][:, : len(evoked.times)]).sum()
    assert slope == pytest.approx(found, rel=0.02)


def test_gradient_times_input_is_that_of_scaling(people, logistic):
    """Its sum is the derivative by a factor of the average."""
    person = people[3]
    maps = decision_map(logistic, person, "gradient_x_input")
    for state in STATES:
        average = _average(person[state])
        found = _slope(logistic, person, state, average, 1e-2)
        assert maps[state].data.sum() == pytest.approx(found, rel=0.02, abs=1e-3)


@pytest.mark.slow
def test_integrated_gradients_add_up(people, logistic):
    """Contributions sum to what the decision loses without any average."""
    for person in people[:2]:
        maps = decision_map(logistic, person, "integrated_gradients")
        without = person
        for state in STATES:
            without = _change(without, state, _average(person[state]), -1.0)
        whole, rest = logistic.decision_function([person, without])
        total = sum(maps[state].data.sum() for state in STATES)
        assert abs(whole - rest) > 0.1
        # the largest of several components may be another one on the way
        assert total == pytest.approx(whole - rest, rel=0.1)


def test_map_of_a_participant_is_of_all_others(people, cohort):
    """`attribute` maps the decision of the pipeline that was fitted on the others."""
    y, number = np.asarray(cohort.labels), 1
    pipeline = make_pipeline(MEGFMTransformer(), LogisticRegression())
    found = attribute(
        pipeline, people, y, "gradient_x_input", participant=number, cv=2,
        n_permutations=19, random_state=0, verbose=False,
    )  # fmt: skip
    others = np.delete(np.arange(len(y)), number)
    pipeline.fit([people[i] for i in others], y[others])
    expected = decision_map(pipeline, [people[number]], "gradient_x_input")
    assert set(found.maps) == set(expected) == set(STATES)
    # in units of the spread of decisions: one factor for all states
    both = [
        np.concatenate([maps[state].data.ravel() for state in STATES])
        for maps in (found.maps, expected)
    ]
    factor = both[0] @ both[1] / (both[1] @ both[1])
    assert factor > 0
    assert_allclose(both[0], factor * both[1], atol=1e-4 * np.abs(both[0]).max())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_level_of_maps_of_participants():
    """Labels that are independent of the data: 5 % of the maps have a mark.

    Bounds are those of the binomial distribution, P > 0.999 each.
    """
    n = 30
    cohort = simulate_cohort(
        8, states=STATES, arrays=("opm64",), n_epochs=6, random_state=3
    )
    people = [dict(person.recordings) for person in cohort]
    pipeline = make_pipeline(
        MEGFMTransformer(), StandardScaler(), RidgeClassifier(alpha=100.0)
    )
    marked, p_values = [], []
    for seed in range(n):
        y = np.random.default_rng([11, seed]).permutation(np.arange(8) % 2)
        found = attribute(
            pipeline, people, y, "gradient_x_input", participant=seed % 8, cv=2,
            n_permutations=19, random_state=seed, verbose="error",
        )  # fmt: skip
        marked.append(any(one.significant.any() for one in found.null.values()))
        p_values.append(found.null[STATES[0]].p_value)
    assert np.sum(marked) <= binom.ppf(0.999, n, 0.05)
    for level in (0.25, 0.5, 0.75):
        low, high = binom.ppf([0.0005, 0.9995], n, level)
        assert low <= np.sum(np.array(p_values) <= level + 1e-9) <= high


@pytest.mark.slow
@pytest.mark.parametrize(("aggregation", "times"), [("auto", 1.0), ("measures", 2.0)])
@pytest.mark.parametrize("state", STATES)
def test_planted_response_of_participants(state, aggregation, times):
    """Where one state tells labels apart, its map is larger, and no other is marked.

    That it is marked itself takes more permutations and participants than these. Each
    parameter is inferred from all states, so that maps of parameters are less apart.
    """
    cohort = simulate_cohort(
        24,
        states=STATES,
        arrays=("opm64",),
        n_epochs=12,
        filters=(1.0, 40.0),
        random_state=11,
    )
    people, y = [], np.arange(24) % 2
    dipole = mne.Dipole([0.0], [[0.045, 0.0, 0.08]], [1.0], [[0.0, 1.0, 0.0]], [1.0])
    sphere = mne.make_sphere_model((0.0, 0.0, 0.04), head_radius=None)
    for person, label in zip(cohort, y, strict=True):
        info, when = person.epochs(state).info, person.epochs(state).times
        field = mne.make_forward_dipole(dipole, sphere, info)[0]["sol"]["data"]
        wave = 3e-7 * label * np.exp(-0.5 * ((when - 0.2) / 0.03) ** 2)
        people.append(_change(dict(person.recordings), state, field * wave))
    pipeline = make_pipeline(
        MEGFMTransformer(aggregation=aggregation),
        StandardScaler(),
        LogisticRegression(C=1e-2),
    )
    found = attribute(
        pipeline, people, y, "gradient_x_input", participant=1, n_permutations=39,
        verbose=False,
    )  # fmt: skip
    assert found.score.mean > 0.8
    assert set(found.peaks["state"]) <= {state}
    power = {name: np.square(one.data).sum() for name, one in found.maps.items()}
    assert power.pop(state) > times * max(power.values())


@pytest.mark.slow
def test_smoothgrad_is_a_mean_gradient(people, logistic):
    """SmoothGrad has a seed, is near to the gradient, and not the same."""
    plain, first, again, other = (
        decision_map(logistic, people[0], method, random_state=seed)[
            "auditory"
        ].data.ravel()
        for method, seed in (
            ("gradient", 0),
            ("smoothgrad", 0),
            ("smoothgrad", 0),
            ("smoothgrad", 1),
        )
    )
    assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.corrcoef(plain, first)[0, 1] > 0.5


def test_map_of_a_known_decision(people, logistic):
    """A decision by the response of one state is found there, and after the stimulus.

    Not where and when in detail: responses are read along 48 axes of the whole array
    and half a second.
    """
    transformer = MEGFMTransformer(aggregation="measures").fit(people)
    names = transformer.get_feature_names_out().tolist()
    head = Ridge().fit(np.eye(len(names)), np.zeros(len(names)))
    head.coef_[names.index("auditory_response_region10_096ms")] = 1.0
    maps = decision_map(make_pipeline(transformer, head), people[1], "gradient")
    course = np.square(maps["auditory"].data).sum(0)
    times = maps["auditory"].times
    # the rest comes from the mean over the recording, and from what is expected
    assert course[(times >= 0) & (times < 0.5)].sum() > 0.9 * course.sum()
    assert np.square(maps["somatosensory"].data).sum() < 0.1 * course.sum()


# -- what comes back --------------------------------------------------------
def test_maps(people, logistic):
    """Maps are on the participant's good channels, for states with stimuli."""
    person = {**people[0]}
    person["auditory"] = person["auditory"].copy()
    person["auditory"].info["bads"] = person["auditory"].ch_names[:1]
    maps = decision_map(logistic, [person], "gradient_x_input")
    assert sorted(maps) == sorted(STATES)
    evoked = maps["auditory"]
    assert isinstance(evoked, mne.EvokedArray)
    assert evoked.ch_names == person["auditory"].ch_names[1:]
    assert evoked.nave == 12 and maps["somatosensory"].nave == 10
    assert_allclose(evoked.times, person["auditory"].times)
    both = mne.concatenate_epochs([people[0][state] for state in STATES])
    assert sorted(decision_map(logistic, both, "gradient")) == sorted(STATES)


def test_errors(people, logistic, fitted, cohort):
    """What does not fit is refused, and what to do is said."""
    with pytest.raises(ValueError, match="Expected one participant, got 2.*one at a"):
        decision_map(logistic, people[:2], "gradient")
    with pytest.raises(ValueError, match="average=True for a participant"):
        decision_map(logistic, people[0], "gradient", average=False)
    with pytest.raises(ValueError, match=r"state with stimuli, got \['rest'\]"):
        decision_map(logistic, {"rest": people[0]["rest"]}, "smoothgrad")
    auditory = people[0]["auditory"]
    with pytest.raises(ValueError, match=r"states of the training data.*'visual'"):
        decision_map(logistic, {"visual": auditory}, "gradient")
    other = auditory.copy().crop(tmax=0.5)
    with pytest.raises(ValueError, match="same good channels and times"):
        decision_map(logistic, {"auditory": [auditory, other]}, "gradient")
    forest = fitted(RandomForestClassifier(3, random_state=0))
    with pytest.raises(ValueError, match="steps after the transformer that are linear"):
        decision_map(forest, people[0], "gradient")
    pooled = make_pipeline(
        MEGFMTransformer(aggregation="mean_std"), LogisticRegression()
    ).fit(people, cohort.labels)
    with pytest.raises(ValueError, match="from a network or measures"):
        decision_map(pooled, people[0], "gradient")
    # those for rows of one recording are what they were
    with pytest.raises(TypeError):
        decision_map(logistic, people[0])
