"""Parameters of participants as features."""

import mne
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from mne_megfm import CanonicalSensors, MEGFMTransformer, simulate_cohort
from mne_megfm.models import PARAMETERS, StateWindows
from mne_megfm.participants import ParametersAggregator, trials
from mne_megfm.participants.posterior import GAIN
from mne_megfm.weights import POSTERIOR, load_checkpoint, weights_path

NAMES = [parameter.name for parameter in PARAMETERS]


@pytest.fixture(scope="module")
def people():
    """Return three participants in three states."""
    cohort = simulate_cohort(
        3,
        n_epochs=8,
        arrays=("neuromag306", "ctf151"),
        head_pos=None,  # one mapping of sensors for each system
        random_state=2,
    )
    return [{state: one.epochs(state) for state in one.states} for one in cohort]


@pytest.fixture(scope="module")
def fitted(people):
    """Return the transformer with parameters alone, fitted."""
    return MEGFMTransformer(aggregation="parameters").fit(people)


@pytest.fixture(scope="module")
def posterior():
    """Return the network of the bundled weights."""
    path = weights_path("megfm-tiny")
    return POSTERIOR.load(path, load_checkpoint(path).kernel)[0]


def test_features_are_posterior_means(people, fitted, posterior):
    """The network on canonical signals, as MNE has resampled them, says the same."""
    found = fitted.transform(people)
    names = fitted.get_feature_names_out().tolist()
    states = sorted(people[0])
    assert names == [*NAMES, *(f"{state}_missing" for state in states)]
    assert not found[:, len(NAMES) :].any()
    for person, row in zip(people, found, strict=True):
        given = {}
        for state, epochs in person.items():
            times = epochs.events[:, 0] / epochs.info["sfreq"]
            slow = epochs.copy().load_data().resample(250.0)
            data = CanonicalSensors().fit_transform(slow)
            given[state] = StateWindows(
                torch.from_numpy(data).float(), slow.tmin, torch.from_numpy(times)
            )
        with torch.inference_mode():
            mean, _ = posterior(given)
        assert_allclose(row[: len(NAMES)], GAIN * mean.numpy(), atol=0.03)


def test_measures_come_first(people, fitted):
    """The default has seven measures before the same parameters."""
    both = MEGFMTransformer().fit(people)
    names = both.get_feature_names_out().tolist()
    assert names[:7] == [
        "spectrum_alpha-frequency",
        "spectrum_theta",
        "spectrum_beta",
        "responses_amplitude",
        "responses_trial_amplitude",
        "responses_habituation",
        "responses_recovery",
    ]
    found = both.transform(people)
    assert_array_equal(found[:, 7:], fitted.transform(people))
    measures = MEGFMTransformer(aggregation="measures").fit(people)
    same = [measures.get_feature_names_out().tolist().index(n) for n in names[:7]]
    assert_allclose(found[:, :7], measures.transform(people)[:, same], atol=1e-6)


def test_recordings_are_read_once(people, monkeypatch):
    """Parameters and measures share what is read, also of a Raw beside epochs."""
    reads, plain = [], trials.iter_windows
    monkeypatch.setattr(
        trials, "iter_windows", lambda *a, **k: reads.append(1) or plain(*a, **k)
    )
    both = MEGFMTransformer().fit(people)
    both.transform(people)
    assert len(reads) == sum(map(len, people))
    epochs = people[0]["auditory"]
    data = np.concatenate(list(epochs.get_data()), -1)
    raw = mne.io.RawArray(data, epochs.info, verbose="error")
    mixed = [people[0] | {"auditory": [epochs, raw]}]
    reads.clear()
    found = both.transform(mixed)
    assert len(reads) == 4
    measures = MEGFMTransformer(aggregation="measures").fit(people)
    names = measures.get_feature_names_out().tolist()
    same = [names.index(name) for name in both.get_feature_names_out()[:7]]
    assert_allclose(found[:, :7], measures.transform(mixed)[:, same], atol=1e-6)


def test_missing_states_cost_certainty(people, fitted):
    """Without a state, its parameters are nearer to the prior, and it is marked."""
    whole = fitted.transform(people)
    rest = [{"rest": person["rest"]} for person in people]
    with pytest.warns(RuntimeWarning, match="6 recordings are missing"):
        found = fitted.transform(rest)
    names = fitted.get_feature_names_out().tolist()
    missing = [names.index(f"{s}_missing") for s in ("auditory", "somatosensory")]
    assert (found[:, missing] == 1).all()
    evoked = [NAMES.index(n) for n in ("N100m_latency", "auditory_size", "SII_ratio")]
    spread = np.abs(whole[:, evoked]).max()
    assert np.abs(found[:, evoked]).max() < 0.7 * spread
    step = fitted.aggregator_
    read = step.read(fitted._recordings(people), fitted._rows())
    some = [{"rest": one["rest"]} for one in read]
    more, less = (
        np.mean([d.variance[evoked] for d in step.combine(x)]) for x in (read, some)
    )
    assert less > more


def test_a_participant_depends_on_no_other(people, fitted):
    """Rows are the same alone, in any order, and with a state in several parts."""
    whole = fitted.transform(people)
    assert_array_equal(fitted.transform(people[::-1]), whole[::-1])
    assert_array_equal(fitted.transform(people[1:2]), whole[1:2])
    epochs = people[0]["auditory"]
    parts = {**people[0], "auditory": [epochs[:5], epochs[5:]]}
    assert_allclose(fitted.transform([parts]), whole[:1], atol=0.02)


def test_any_state_is_read(people):
    """Unknown states, short epochs, averages and Raw: finite, and near the prior."""
    epochs = people[0]["auditory"]
    raw = mne.io.RawArray(
        epochs.get_data().transpose(1, 0, 2).reshape(len(epochs.ch_names), -1),
        epochs.info,
        verbose=False,
    )
    X = [
        {"pain": epochs, "rest": raw},
        {"pain": epochs.copy().crop(tmax=0.1), "rest": raw},
        {"pain": epochs.average(), "rest": raw},
    ]
    transformer = MEGFMTransformer(aggregation="parameters").fit(X)
    found = transformer.transform(X)
    assert np.isfinite(found).all() and np.abs(found[:, :60]).max() < 4 * GAIN
    short = [{"auditory": epochs.copy().crop(tmax=0.1)}] * 2
    short = MEGFMTransformer(aggregation="parameters", sample="participant").fit(short)
    prior = short.transform([{"auditory": epochs.copy().crop(tmax=0.1)}])
    assert not prior.any()  # too short to say anything


def test_what_is_locked_to_events_is_not_read_as_rest(people, fitted):
    """Of an unknown state, a response that all trials share changes nothing."""
    epochs = people[0]["auditory"]
    louder = epochs.copy().load_data()
    louder._data += 5.0 * epochs.get_data().mean(0)
    known, pain = (
        [{name: one} for one in (epochs, louder)] for name in ("auditory", "pain")
    )
    transformer = MEGFMTransformer(aggregation="parameters", sample="participant")
    same = transformer.fit(pain).transform(pain)
    assert_allclose(same[0], same[1], atol=0.02)
    other = transformer.fit(known).transform(known)
    assert np.abs(other[0] - other[1]).max() > 0.1


def test_derivable_rows_are_the_rows(people):
    """What derivatives go through gives the features of `transform`."""
    transformer = MEGFMTransformer().fit(people)
    step = transformer.aggregator_
    read = step.read(transformer._recordings(people), transformer._rows())
    with torch.no_grad():
        rows = np.stack([step.differentiable_row(one).numpy() for one in read])
    assert_allclose(rows, transformer.transform(people), atol=1e-5)


def test_weights_go_with_a_checkpoint(people, fitted, tmp_path):
    """Saved and loaded features are the same; damage is found."""
    path = fitted.save_pretrained(tmp_path / "mine")
    again = MEGFMTransformer(path, aggregation="parameters").fit(people)
    assert_array_equal(again.transform(people), fitted.transform(people))
    assert again.provenance_["posterior"]["participants"] == 979000
    file = path / "posterior.safetensors"
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="copy the checkpoint again"):
        MEGFMTransformer(path, aggregation="parameters").fit(people)


@pytest.mark.slow
def test_random_weights_are_seeded(people):
    """The control has the same names, and other values for each seed."""
    one, same, other = (
        MEGFMTransformer(None, random_state=seed).fit_transform(people)
        for seed in (0, 0, 1)
    )
    assert_array_equal(one, same)
    assert one.shape[1] == 7 + 60 + 3
    assert np.abs(one - other)[:, 7:67].max() > 0.01


def test_copies_share_the_network():
    """Folds copy what is learnt, not weights."""
    import copy

    step = ParametersAggregator()
    step.posterior = torch.nn.Linear(2, 2)
    step.states = ["rest"]
    copied = copy.deepcopy(step)
    copied.states.append("auditory")
    assert step.states == ["rest"] and copied.posterior is step.posterior


def test_parameters_in_their_units():
    """Alpha frequency is that of the simulation, and its interval is narrow."""
    cohort = simulate_cohort(
        4, n_epochs=12, arrays=("opm64",), patients=0.0, random_state=4
    )
    X = [{state: one.epochs(state) for state in one.states} for one in cohort]
    transformer = MEGFMTransformer().fit(X)
    table = transformer.estimate_parameters(X)
    assert table.index.names == ["participant", "parameter"]
    assert len(table) == 4 * len(NAMES)
    assert (table["low"] < table["median"]).all()
    assert (table["median"] < table["high"]).all()
    assert table["reliability"].between(0, 1).all()
    alpha = table.xs("alpha_frequency", level="parameter")
    truth = [one.truth["traits"]["alpha_frequency"] for one in cohort]
    assert (alpha["unit"] == "Hz").all()
    # 7.8 Hz, the slowest of them, is drawn to the prior's mean
    assert_allclose(alpha["median"], truth, atol=1.4)
    assert np.corrcoef(alpha["median"], truth)[0, 1] > 0.9
    assert (alpha["high"] - alpha["low"] < 2.0).all()
    wide = transformer.estimate_parameters(X, interval=0.99)
    assert (wide["high"] > table["high"]).all()
    # features are the same, in units of the prior's spread
    place = transformer.get_feature_names_out().tolist().index("alpha_frequency")
    prior = next(p for p in PARAMETERS if p.name == "alpha_frequency")
    scores = transformer.transform(X)[:, place] / GAIN
    assert_allclose(alpha["median"], prior.mean + prior.sd * scores, rtol=1e-5)


def test_parameters_are_of_participants(people):
    """Other features have no such table, nor is any interval one."""
    epochs = MEGFMTransformer().fit(people[0]["auditory"])
    with pytest.raises(ValueError, match="Expected features of participants"):
        epochs.estimate_parameters(people[0]["auditory"])
    measures = MEGFMTransformer(aggregation="measures").fit(people)
    with pytest.raises(ValueError, match="aggregation='parameters'"):
        measures.estimate_parameters(people)
    fitted = MEGFMTransformer(aggregation="parameters").fit(people)
    with pytest.raises(ValueError, match="interval between 0 and 1"):
        fitted.estimate_parameters(people, interval=1.0)


@pytest.mark.parametrize("states", [("auditory", "somatosensory"), ("rest",)])
def test_derivatives_are_finite(states):
    """Also of windows that are not there, and of bands that a filter took away."""
    cohort = simulate_cohort(
        1, states=states, arrays=("ctf275",), n_epochs=6, filters=(1.0, 40.0),
        random_state=20,
    )  # fmt: skip
    people = [person.recordings for person in cohort.participants]
    transformer = MEGFMTransformer(aggregation="parameters").fit(people * 2)
    step = transformer.aggregator_
    (read,) = step.read(transformer._recordings(people), transformer._rows())
    signals = {
        state: one.components.data.clone().requires_grad_()
        for state, one in read.items()
    }
    read = {
        state: one._replace(components=one.components._replace(data=signals[state]))
        for state, one in read.items()
    }
    row = step.differentiable_row(read)
    # some directions in the space of features
    for seed in range(3):
        weights = torch.randn(len(row), generator=torch.Generator().manual_seed(seed))
        found = torch.autograd.grad(row @ weights, signals.values(), retain_graph=True)
        for one in found:
            assert torch.isfinite(one).all() and one.abs().max() > 0
