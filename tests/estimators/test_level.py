"""Participants by the level over trials that comes with the bundled weights."""

import logging
import pickle

import mne
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from mne_megfm import CanonicalSensors, MEGFMTransformer, MEGSamples
from mne_megfm.estimators._level import map_responses
from mne_megfm.estimators._measures import (
    BAND_MEASURES,
    RESPONSE_MEASURES,
    measure_bands,
    measure_responses,
)
from mne_megfm.estimators._strengths import _whiteners, trial_strengths
from mne_megfm.estimators._trials import read_trials, split_elements
from mne_megfm.models import BANDS, TrialInputs
from mne_megfm.pretraining import delete_level, load_level

# rounding of float32 where windows come in other batches
CLOSE = {"rtol": 0, "atol": 1e-4}


@pytest.fixture(scope="module")
def fitted(participants):
    return MEGFMTransformer().fit(participants)


@pytest.fixture(scope="module")
def features(fitted, participants):
    return fitted.transform(participants)


def columns(transformer, *starts):
    names = transformer.get_feature_names_out().astype(str)
    return np.any([np.char.startswith(names, start) for start in starts], axis=0)


# -- measures -----------------------------------------------------------------------
INPUTS = TrialInputs()


def measure(components, recent=None):
    """Measure responses whose joint axes are the first pairs of axes."""
    if recent is None:
        recent = np.full((len(components), 2), np.nan)
    return measure_responses(components, recent, np.zeros(48, np.float32), INPUTS)


def planted(rng, n, decline, noise=0.05, size=6.0):
    """Responses along one axis that fall by a share from first to last trial."""
    z = noise * rng.standard_normal((n, 40, 30))
    z[:, 0, 3] += size * (1 - decline * np.linspace(-0.5, 0.5, n))
    return z


@pytest.mark.parametrize("decline", [-0.2, 0.0, 0.3])
def test_habituation_is_the_relative_decline(rng, decline):
    measures = measure(planted(rng, 60, decline))
    found = dict(zip(RESPONSE_MEASURES, measures, strict=True))
    assert found["habituation"] == pytest.approx(decline / 2, abs=0.02)
    assert found["size"] == pytest.approx(np.log(6), abs=0.05)


def test_recovery_is_seen_after_pauses(rng):
    z = planted(rng, 60, 0.0)
    fresh = np.arange(60) % 10 == 0
    recent = np.where(fresh, 0.1, 2.0)[:, None] * [1.0, 1.0]
    gained = z.copy()
    gained[fresh, 0, 3] *= 1.4
    index = RESPONSE_MEASURES.index("recovery")
    plain = measure(z, recent)[index]
    assert measure(gained, recent)[index] > plain + 0.2
    assert measure(gained)[index] == 0


def test_few_trials_say_little(rng):
    """Noise alone: what three trials say of habituation stays near zero."""
    index = RESPONSE_MEASURES.index("habituation")
    found = [measure(planted(rng, n, 0.0, noise=3.0)) for n in (1, 2, 3) * 10]
    assert np.isfinite(found).all()
    assert np.abs(np.array(found)[:, index]).max() < 0.5


@pytest.mark.parametrize("size", [0.0, 0.3, 6.0])
def test_a_larger_unit_changes_size_alone(rng, size):
    """Weak responses are measured as well as strong ones, none by a fixed floor."""
    z = planted(rng, 40, 0.1, noise=0.5, size=size)
    one, large = (measure(factor * z).numpy() for factor in (1.0, 20.0))
    np.testing.assert_allclose(large - one, [np.log(20.0), 0, 0, 0], atol=1e-6)


def test_size_without_a_response_is_that_of_noise(rng):
    """Half of what noise gives the average of 40 trials, on 16 axes, is the least."""
    index = RESPONSE_MEASURES.index("size")
    noise = rng.standard_normal((20, 40, 40, 30))
    found = np.array([measure(z) for z in noise])[:, index]
    least = 0.5 * np.log(0.5 * 16 * 40 / 41**2)
    assert found.min() == pytest.approx(least, abs=0.1)
    assert found.max() < 0.5 * np.log(16 * 40 / 41**2) + 0.2


def strengths(z, expected=None):
    z = torch.as_tensor(z)
    expected = torch.zeros_like(z[0]) if expected is None else torch.as_tensor(expected)
    joint = torch.eye(z[0].numel(), 16, dtype=z.dtype).unflatten(0, z.shape[1:])
    return trial_strengths(z, expected, joint).numpy()


def test_strengths_leave_the_noise_of_the_person_out(rng):
    """A source of noise that all axes see hides responses from fixed axes alone."""
    truth = rng.uniform(0.5, 2.0, 80)
    response = np.outer(rng.standard_normal(16), np.hanning(12))
    field = rng.standard_normal(16)
    noise = rng.standard_normal((80, 16, 12))
    # as slow as the response
    source = rng.standard_normal((80, 1)) * np.hanning(12)
    z = truth[:, None, None] * response + noise
    z += 3 * field[:, None] * source[:, None]
    found = np.corrcoef(strengths(z), truth)[0, 1]
    fixed = np.corrcoef((z * response).sum((1, 2)), truth)[0, 1]
    # knowing all: generalised least squares (Kay 1993, eq. 6.5) with the true noise
    cov = np.eye(192) + 9 * np.outer(
        one := np.outer(field, np.hanning(12)).ravel(), one
    )
    best = np.linalg.solve(cov, response.ravel())
    known = np.corrcoef(z.reshape(80, -1) @ best, truth)[0, 1]
    assert fixed < 0.8 < found
    assert found > known - 0.05


def test_strengths_are_in_units_of_noise(rng):
    """Whatever the unit, and without a response they are not above it."""
    response = np.zeros((16, 12))
    response[0, :5] = 3.0
    noise = rng.standard_normal((400, 16, 12))
    found = strengths(7.0 * (response + noise))
    assert found.mean() == pytest.approx(3 * np.sqrt(5), rel=0.15)
    assert found.std() == pytest.approx(1.0, rel=0.15)


@pytest.mark.parametrize("n", [2, 3, 5, 10, 20])
def test_strengths_of_noise_are_zero_for_any_number_of_trials(rng, n):
    """Nothing of a trial is in what it is projected on."""
    found = [strengths(z).mean() for z in rng.standard_normal((200, n, 16, 12))]
    error = np.std(found) / np.sqrt(200)
    assert abs(np.mean(found)) < 4 * error
    assert 4 * error < 0.8


def test_noise_of_the_others_is_whitened(rng):
    """Each trial has the whitening that NumPy finds of the other trials."""
    z = rng.standard_normal((9, 16, 12)) @ rng.standard_normal((12, 12))
    in_space, in_time = _whiteners(torch.as_tensor(z))

    def whitener(rest):
        cov = sum(one @ one.T for one in rest) / (7 * rest.shape[2])
        cov += 0.1 * np.trace(cov) / len(cov) * np.eye(len(cov))
        return np.linalg.inv(np.linalg.cholesky(cov))

    for trial in (0, 4):
        others = np.delete(z, trial, 0)
        rest = others - others.mean(0)
        assert_allclose(in_space[trial], own := whitener(rest), atol=1e-9)
        rest = (own @ rest).transpose(0, 2, 1)
        assert_allclose(in_time[trial], whitener(rest), atol=1e-9)


def test_axes_of_pretraining_help_where_trials_are_few(rng):
    """Strengths tell more of few trials if the response is on known axes."""
    response = np.zeros((16, 12))
    response[0, :4] = 1.5  # the first pairs of axes
    elsewhere = np.roll(response, 8, 0)
    on, off = (
        np.mean(
            [strengths(one + z).mean() for z in rng.standard_normal((100, 6, 16, 12))]
        )
        for one in (response, elsewhere)
    )
    assert on > off + 0.3


def test_a_few_directions_leave_noise_out(rng):
    """A response with three directions is found as by knowing them."""
    response = np.zeros((16, 12))
    response[[0, 5, 10], [2, 5, 8]] = 1.5
    truth = rng.uniform(0.5, 1.5, 60)
    z = truth[:, None, None] * response + rng.standard_normal((60, 16, 12))
    known = np.corrcoef((z * response).sum((1, 2)), truth)[0, 1]
    assert np.corrcoef(strengths(z), truth)[0, 1] > known - 0.12


def test_one_trial_is_measured_on_what_is_expected(rng):
    expected = np.zeros((1, 16, 12))
    expected[0, 0] = rng.standard_normal(12)  # on the axes of pretraining
    unit = expected / np.linalg.norm(expected)
    assert strengths(5.0 * unit, expected[0])[0] > 2.0
    assert np.isfinite(strengths(np.zeros((1, 16, 12)))).all()
    assert np.isfinite(strengths(np.zeros((5, 16, 12)))).all()


def test_trials_are_in_units_of_usual_noise(fitted, participants):
    """Trials differ by about 1, and sizes of responses by more than rounding."""
    recordings = fitted._recordings(participants)
    noise, sizes, zeros = [], [], np.zeros(48, np.float32)
    for group in split_elements(recordings):
        states = read_trials(
            group, fitted.frontend_, fitted.config_, fitted.level_.inputs, 16
        )
        for state in states.values():
            if state.components is not None:
                noise.append(float(state.trials.response.std(0).mean()))
                found = measure_responses(
                    state.components, state.recent, zeros, fitted.level_.inputs
                )
                sizes.append(found[0])
    assert 0.3 < np.median(noise) < 3.0
    assert len(np.unique(np.round(sizes, 3))) > len(sizes) / 2
    assert (fitted.level_.measures_scale[1:3, 0] > 0.4).all()


def test_alpha_frequency_is_found():
    freqs = np.array([(a + b) / 2 for a, b in BANDS])
    found = []
    for peak in (8.5, 10.0, 11.5):
        background = -1.2 * np.log(freqs)
        bump = 1.5 * np.exp(-0.5 * ((freqs - peak) / 1.0) ** 2)
        spectrum = np.tile(background + bump, (24, 1))
        found.append(dict(zip(BAND_MEASURES, measure_bands(spectrum), strict=True)))
    at = [entry["alpha-frequency"] for entry in found]
    assert_allclose(at, [8.5, 10.0, 11.5], atol=0.5)
    assert_allclose([entry["beta"] for entry in found], 0.0, atol=0.4)


def test_theta_does_not_draw_the_frequency_of_alpha():
    freqs = np.array([(a + b) / 2 for a, b in BANDS])
    index = BAND_MEASURES.index("alpha-frequency")
    found = []
    for theta in (0.0, 1.5):
        spectrum = -1.2 * np.log(freqs)
        spectrum += 1.0 * np.exp(-0.5 * ((freqs - 10.0) / 1.0) ** 2)
        spectrum += theta * np.exp(-0.5 * ((freqs - 5.5) / 1.0) ** 2)
        found.append(measure_bands(np.tile(spectrum, (24, 1)))[index])
    assert abs(found[1] - found[0]) < 0.2


# -- contracts ----------------------------------------------------------------------
def test_rows_and_names(fitted, features, participants):
    names = fitted.get_feature_names_out().tolist()
    assert features.shape == (len(participants), len(names))
    assert features.dtype == np.float32 and np.isfinite(features).all()
    # bands, measures of the one state with stimuli, its map, what is missing
    assert len(set(names)) == len(names) == 3 + 4 + 24 * 10 + 2
    assert fitted.states_ == ["auditory", "rest"]
    for name in (
        "responses_habituation",
        "auditory_response_region23_432ms",
        "spectrum_alpha-frequency",
        "rest_missing",
    ):
        assert name in names
    assert not columns(fitted, "rest_response", "auditory_habituation").any()
    assert fitted.training_["level"]["participants"] > 100


def test_same_input_twice_and_any_company_is_bit_equal(fitted, features, participants):
    assert_array_equal(fitted.transform(participants), features)
    assert_array_equal(clone(fitted).fit_transform(participants), features)
    assert_array_equal(fitted.transform(participants[::-1]), features[::-1])
    assert_array_equal(fitted.transform(participants[2:3])[0], features[2])
    assert_array_equal(
        pickle.loads(pickle.dumps(fitted)).transform(participants), features
    )


def test_batch_size_does_not_matter(fitted, features, participants):
    other = clone(fitted).set_params(batch_size=3).fit(participants)
    assert_allclose(other.transform(participants), features, **CLOSE)


def test_order_and_names_of_states(fitted, features, participants):
    turned = [{"rest": x["rest"], "auditory": x["auditory"]} for x in participants]
    assert_allclose(fitted.transform(turned), features, **CLOSE)
    renamed = [
        {"Auditory/tones": x["auditory"], "REST": x["rest"]} for x in participants
    ]
    assert_allclose(clone(fitted).fit_transform(renamed), features, **CLOSE)
    joined = [
        mne.concatenate_epochs([x["auditory"], x["rest"]], verbose=False)
        for x in participants
    ]
    found = clone(fitted).fit_transform(joined)
    # centred over both together, but otherwise the same
    assert np.corrcoef(found.ravel(), features.ravel())[0, 1] > 0.9


def test_trials_are_taken_in_their_order(fitted, features, participants):
    """A view that mixes the epochs is the same recording."""
    order = np.random.default_rng(0).permutation(8)
    mixed = [
        {"auditory": MEGSamples(x["auditory"])[order], "rest": x["rest"]}
        for x in participants
    ]
    assert_allclose(fitted.transform(mixed), features, **CLOSE)
    # while epochs played backwards are another one
    backwards = [
        {
            "auditory": mne.EpochsArray(
                x["auditory"].get_data()[::-1], x["auditory"].info, tmin=-0.2
            ),
            "rest": x["rest"],
        }
        for x in participants
    ]
    habituation = columns(fitted, "responses_habituation")
    there = fitted.transform(participants)[:, habituation]
    back = fitted.transform(backwards)[:, habituation]
    assert not np.allclose(there, back, atol=0.05)


def test_missing_state(fitted, features, participants):
    lacking = [participants[0], {"rest": participants[1]["rest"]}]
    with pytest.warns(RuntimeWarning, match="1 recordings are missing .*level"):
        found = fitted.transform(lacking)
    assert_array_equal(found[0], features[0])
    flag = columns(fitted, "auditory_missing")
    assert found[1, flag] == 1 and found[0, flag] == 0
    # filled with a guess of this person: within what people are like
    filled = found[1, columns(fitted, "auditory_")]
    assert np.isfinite(filled).all() and np.abs(filled).max() < 4
    other = [participants[0], {"rest": participants[2]["rest"]}]
    with pytest.warns(RuntimeWarning, match="missing"):
        assert not np.allclose(fitted.transform(other)[1], found[1])


def test_unknown_state(fitted, participants, epochs):
    with pytest.raises(ValueError, match=r"states of the training data.*'visual'"):
        fitted.transform([participants[0], {"visual": epochs}])


def test_states_that_pretraining_never_had(participants):
    X = [{"pain": x["auditory"], "visual": x["auditory"]} for x in participants]
    transformer = MEGFMTransformer().fit(X)
    names = transformer.get_feature_names_out().tolist()
    assert "pain_habituation_difference" in names
    assert "visual_response_region00_000ms" in names
    assert np.isfinite(transformer.transform(X)).all()


def test_few_short_and_averaged(participants, epochs):
    """Short epochs, single epochs, averages and Raw cost certainty, not an error."""
    raw = mne.io.RawArray(
        epochs.get_data().transpose(1, 0, 2).reshape(len(epochs.ch_names), -1),
        epochs.info,
        verbose=False,
    )
    X = [
        {"auditory": epochs.copy().crop(tmax=0.25), "rest": raw},
        {"auditory": epochs[0], "rest": participants[1]["rest"][0]},
        {"auditory": epochs.average(), "rest": raw},
        {"auditory": epochs.copy().crop(tmin=0.05), "rest": raw},
    ]
    found = MEGFMTransformer().fit_transform(X)
    assert np.isfinite(found).all() and np.abs(found).max() < 10


def test_long_epochs_are_cut_at_the_stimulus(fitted, features, participants):
    """Two seconds around the stimulus: the half second after it counts."""
    data = participants[0]["auditory"].get_data()
    filler = np.random.default_rng(0).permutation(data)
    info = participants[0]["auditory"].info
    events = participants[0]["auditory"].events
    longer = mne.EpochsArray(
        np.concatenate([filler, data], 2), info, events, tmin=-1.2, verbose=False
    )
    found = fitted.transform([{"auditory": longer, "rest": participants[0]["rest"]}])
    size = columns(fitted, "responses_size", "responses_strength")
    # but for the mean over the recording, which is another one
    assert_allclose(found[0, size], features[0, size], atol=0.3)


def test_original_signals_are_appended_by_name(participants, features):
    transformer = MEGFMTransformer(append_evoked=True).fit(participants)
    found = transformer.transform(participants)
    evoked = columns(transformer, "auditory_evoked_")
    assert_array_equal(found[:, ~evoked], features)
    assert evoked.sum() == 192 * 63 and not columns(transformer, "rest_evoked_").any()
    # they are the average on the canonical sensors, after the stimulus
    epochs = participants[0]["auditory"]
    field = CanonicalSensors().fit_transform(epochs)
    field = field - field.mean((0, 2), keepdims=True)
    expected = field.mean(0)[:, 50:175:2]
    assert np.corrcoef(found[0, evoked], expected.ravel())[0, 1] > 0.9999


# -- states together -------------------------------------------------------------------
def test_what_states_share_weighs_more(participants):
    """The mean over states comes first; differences are what they are, scaled down."""
    X = [{"auditory": x["auditory"], "tones": x["auditory"]} for x in participants]
    same = MEGFMTransformer().fit(X)
    found = same.transform(X)
    names = same.get_feature_names_out().tolist()
    alone = MEGFMTransformer().fit(X)
    descriptions = alone.describe(X)
    for name in RESPONSE_MEASURES:
        index = RESPONSE_MEASURES.index(name)
        by_state = np.array(
            [
                [
                    (8 * d[state][index] + 10 * d.inferred[kind][index]) / 18
                    for state, kind in (("auditory", 1), ("tones", 3))
                ]
                for d in descriptions
            ]
        )
        shared = found[:, names.index(f"responses_{name}")]
        own = [
            found[:, names.index(f"{state}_{name}_difference")]
            for state in ("auditory", "tones")
        ]
        assert_allclose(shared, 0.5 * np.sqrt(2) * by_state.mean(1), atol=1e-5)
        around = by_state - by_state.mean(1, keepdims=True)
        assert_allclose(np.transpose(own), 0.1 * around, atol=1e-5)


def test_map_shows_where_and_when(fitted):
    """A response at one place and time is largest there in the map."""
    inputs = fitted.level_.inputs
    rng = np.random.default_rng(0)
    coefficients = torch.tensor(rng.standard_normal((3, 48)), dtype=torch.float32)
    field = inputs.field(coefficients)
    back = inputs.response(inputs.components(field))
    assert_allclose(back, coefficients, rtol=0, atol=2e-3 * float(coefficients.max()))
    maps = map_responses(fitted.level_, coefficients.numpy())
    assert maps.shape == (3, 24, 10)
    size = field.numpy().reshape(3, 24, 8, 125)[..., :120].reshape(3, 24, 8, 10, 12)
    size = np.sqrt(np.mean(size.astype(float) ** 2, (2, 4)))
    assert_allclose(maps, np.log(size / 1e-15 + 0.1), rtol=1e-3, atol=1e-3)


# -- which weights have a level -------------------------------------------------------
def test_statistics_can_be_asked_for(participants):
    transformer = MEGFMTransformer(participants="statistics").fit(participants)
    assert transformer.level_ is None
    assert columns(transformer, "auditory_spread_").any()


def test_untrained_level(participants):
    """Without weights there is a level that has seen nobody, whatever is passed."""
    one = MEGFMTransformer(None, random_state=0).fit(participants)
    same = MEGFMTransformer(None, random_state=0).fit(participants[:2])
    other = MEGFMTransformer(None, random_state=1).fit(participants)
    trained = MEGFMTransformer().fit(participants)
    arrays = [x.level_.state_dict() for x in (one, same, other, trained)]
    for name, array in arrays[0].items():
        assert torch.equal(array, arrays[1][name]), name
    for others in arrays[2:]:
        for name in ("head.weight", "inputs.space"):
            assert not torch.allclose(arrays[0][name], others[name], atol=1e-3)
    assert set(one.training_["level"]) == {"untrained"}
    names = one.get_feature_names_out()
    assert names.tolist() == trained.get_feature_names_out().tolist()
    assert one.transform(participants).shape == (4, len(names))
    # an encoder that is pretrained here has none: it would not be trained
    started = MEGFMTransformer(
        None, config={"d_model": 32, "n_layers": 1}, max_epochs=1, random_state=0
    )
    assert started.fit(participants).level_ is None
    with pytest.raises(ValueError, match=r"max_epochs=1.*participants='auto'"):
        clone(started).set_params(participants="level").fit(participants)


def test_no_untrained_level_for_other_arrays(participants):
    """Of an array of other sizes, participants are described by statistics."""
    config = {"d_model": 32, "n_layers": 1, "patch_length": 20, "sfreq": 200.0}
    assert MEGFMTransformer(None, config=config).fit(participants).level_ is None


def test_checkpoint_without_level(fitted, participants, tmp_path, caplog):
    """Older checkpoints give statistics, and say so."""
    path = fitted.save_pretrained(tmp_path / "mine")
    assert load_level(path, fitted.model_.kernel) is not None
    delete_level(path)
    with mne.utils.use_log_level("info"), caplog.at_level(logging.INFO):
        old = MEGFMTransformer(path).fit(participants)
    assert "no level over trials" in caplog.text
    assert old.level_ is None and columns(old, "auditory_spread_").any()
    with pytest.raises(ValueError, match="participants='auto'"):
        MEGFMTransformer(path, participants="level").fit(participants)
    # an overwritten checkpoint keeps no level of other weights
    fitted.save_pretrained(path, overwrite=True)
    old.save_pretrained(path, overwrite=True)
    assert load_level(path, fitted.model_.kernel) is None


def test_saved_with_its_level(fitted, features, participants, tmp_path):
    again = MEGFMTransformer(fitted.save_pretrained(tmp_path / "mine"))
    assert_array_equal(again.fit_transform(participants), features)
    assert again.training_ == fitted.training_


def test_described_once_for_many_folds(fitted, features, participants):
    descriptions = fitted.describe(participants)
    assert_array_equal(fitted.transform_described(descriptions), features)


def test_cross_validation(participants, cohort):
    pipeline = make_pipeline(MEGFMTransformer(), LogisticRegression())
    scores = cross_val_score(
        pipeline, participants, cohort.labels, cv=2, error_score="raise"
    )
    assert scores.shape == (2,)
