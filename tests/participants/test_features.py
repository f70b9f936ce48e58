"""Participants by the participant encoder that comes with the bundled weights."""

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
from mne_megfm.estimators import Pretraining
from mne_megfm.estimators.frozen import FrozenStep
from mne_megfm.participants.features import map_responses
from mne_megfm.participants.response_features import (
    RESPONSE_MEASURES,
    measure_responses,
)
from mne_megfm.participants.trials import read_trials
from mne_megfm.weights import (
    PARTICIPANT_ENCODER,
    delete_participant_parts,
)

# rounding of float32 where windows come in other batches
CLOSE = {"rtol": 0, "atol": 1e-4}


@pytest.fixture(scope="module")
def fitted(participants):
    return MEGFMTransformer(aggregation="measures").fit(participants)


@pytest.fixture(scope="module")
def features(fitted, participants):
    return fitted.transform(participants)


def columns(transformer, *starts):
    names = transformer.get_feature_names_out().astype(str)
    return np.any([np.char.startswith(names, start) for start in starts], axis=0)


# -- contracts ----------------------------------------------------------------------
def test_trials_are_in_units_of_usual_noise(fitted, participants):
    """Trials differ by about 1, and sizes of responses by more than rounding."""
    recordings = fitted._recordings(participants)
    noise, sizes, zeros = [], [], np.zeros(48, np.float32)
    for group in recordings.split_elements():
        states = read_trials(
            group,
            fitted.sensor_mapping_,
            fitted.config_,
            fitted.participant_encoder_.inputs,
            16,
        )
        for state in states.values():
            if state.components is not None:
                noise.append(float(state.trials.response.std(0).mean()))
                found = measure_responses(
                    state.components,
                    state.recent,
                    zeros,
                    fitted.participant_encoder_.inputs,
                )
                sizes.append(found[0])
    assert 0.3 < np.median(noise) < 3.0
    assert len(np.unique(np.round(sizes, 3))) > len(sizes) / 2
    assert (fitted.participant_encoder_.measures_scale[1:3, 0] > 0.4).all()


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
    assert fitted.provenance_["participant_encoder"]["participants"] > 100


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
    with pytest.warns(
        RuntimeWarning, match="1 recordings are missing .*participant encoder"
    ):
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
    transformer = MEGFMTransformer(aggregation="measures").fit(X)
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
    found = MEGFMTransformer(aggregation="measures").fit_transform(X)
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
    size = columns(fitted, "responses_amplitude", "responses_trial_amplitude")
    # but for the mean over the recording, which is another one
    assert_allclose(found[0, size], features[0, size], atol=0.3)


def test_original_signals_are_appended_by_name(participants, features):
    transformer = MEGFMTransformer(aggregation="measures+evoked").fit(participants)
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
    same = MEGFMTransformer(aggregation="measures").fit(X)
    found = same.transform(X)
    names = same.get_feature_names_out().tolist()
    extracted = FrozenStep(MEGFMTransformer(aggregation="measures")).extract(X)
    for name in RESPONSE_MEASURES:
        index = RESPONSE_MEASURES.index(name)
        by_state = np.array(
            [
                [
                    (8 * d[state][index] + 10 * d.inferred[kind][index]) / 18
                    for state, kind in (("auditory", 1), ("tones", 3))
                ]
                for d in extracted
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
    inputs = fitted.participant_encoder_.inputs
    rng = np.random.default_rng(0)
    coefficients = torch.tensor(rng.standard_normal((3, 48)), dtype=torch.float32)
    field = inputs.field(coefficients)
    back = inputs.response(inputs.components(field))
    assert_allclose(back, coefficients, rtol=0, atol=2e-3 * float(coefficients.max()))
    maps = map_responses(fitted.participant_encoder_, coefficients.numpy())
    assert maps.shape == (3, 24, 10)
    size = field.numpy().reshape(3, 24, 8, 125)[..., :120].reshape(3, 24, 8, 10, 12)
    size = np.sqrt(np.mean(size.astype(float) ** 2, (2, 4)))
    assert_allclose(maps, np.log(size / 1e-15 + 0.1), rtol=1e-3, atol=1e-3)


# -- which weights have an encoder -----------------------------------------------------
def test_statistics_can_be_asked_for(participants):
    transformer = MEGFMTransformer(aggregation="mean_std").fit(participants)
    assert transformer.participant_encoder_ is None
    assert columns(transformer, "auditory_spread_").any()


@pytest.mark.slow
def test_encoder_with_random_weights(participants):
    """Without weights there is an encoder that has seen no participant."""
    one = MEGFMTransformer(None, aggregation="measures", random_state=0).fit(
        participants
    )
    same = MEGFMTransformer(None, aggregation="measures", random_state=0).fit(
        participants[:2]
    )
    other = MEGFMTransformer(None, aggregation="measures", random_state=1).fit(
        participants
    )
    trained = MEGFMTransformer(aggregation="measures").fit(participants)
    arrays = [x.participant_encoder_.state_dict() for x in (one, same, other, trained)]
    for name, array in arrays[0].items():
        assert torch.equal(array, arrays[1][name]), name
    for others in arrays[2:]:
        for name in ("head.weight", "inputs.space"):
            assert not torch.allclose(arrays[0][name], others[name], atol=1e-3)
    assert set(one.provenance_["participant_encoder"]) == {"random_weights"}
    names = one.get_feature_names_out()
    assert names.tolist() == trained.get_feature_names_out().tolist()
    assert one.transform(participants).shape == (4, len(names))
    # an encoder that is pretrained here has none: it would not be trained
    started = MEGFMTransformer(
        None,
        config={"d_model": 32, "n_layers": 1},
        pretraining=Pretraining(max_epochs=1),
        random_state=0,
    )
    assert started.fit(participants).participant_encoder_ is None
    with pytest.raises(ValueError, match=r"max_epochs=1\).*aggregation='auto'"):
        clone(started).set_params(aggregation="measures").fit(participants)


def test_no_random_encoder_for_other_arrays(participants):
    """Of an array of other sizes, features of participants are statistics."""
    config = {"d_model": 32, "n_layers": 1, "patch_length": 20, "sfreq": 200.0}
    assert (
        MEGFMTransformer(None, config=config).fit(participants).participant_encoder_
        is None
    )


def test_checkpoint_without_encoder(fitted, participants, tmp_path, caplog):
    """Older checkpoints give statistics, and say so."""
    path = fitted.save_pretrained(tmp_path / "mine")
    assert PARTICIPANT_ENCODER.load(path, fitted.model_.kernel) is not None
    delete_participant_parts(path)
    with mne.utils.use_log_level("info"), caplog.at_level(logging.INFO):
        old = MEGFMTransformer(path).fit(participants)
    assert "lack parts of the default" in caplog.text
    assert old.participant_encoder_ is None and columns(old, "auditory_spread_").any()
    with pytest.raises(ValueError, match="aggregation='auto'"):
        MEGFMTransformer(path, aggregation="measures").fit(participants)
    # an overwritten checkpoint keeps no encoder of other weights
    fitted.save_pretrained(path, overwrite=True)
    old.save_pretrained(path, overwrite=True)
    assert PARTICIPANT_ENCODER.load(path, fitted.model_.kernel) is None


def test_saved_with_its_encoder(fitted, features, participants, tmp_path):
    again = MEGFMTransformer(fitted.save_pretrained(tmp_path / "mine"))
    assert_array_equal(again.fit_transform(participants), features)
    assert again.provenance_ == fitted.provenance_


def test_cross_validation(participants, cohort):
    pipeline = make_pipeline(
        MEGFMTransformer(aggregation="measures"), LogisticRegression()
    )
    scores = cross_val_score(
        pipeline, participants, cohort.labels, cv=2, error_score="raise"
    )
    assert scores.shape == (2,)
