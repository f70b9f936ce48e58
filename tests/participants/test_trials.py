"""Trials of a participant, their projections, and the training of the encoder."""

import numpy as np
import pytest
import torch
from mne.utils import use_log_level
from numpy.testing import assert_allclose, assert_array_equal

from mne_megfm.models import (
    ParticipantConfig,
    ParticipantTransformer,
    TrialInputs,
    state_kind,
)
from mne_megfm.participants import (
    PersonTrials,
    collate,
    fit_trial_inputs,
    fit_untrained_inputs,
    recent_stimuli,
)
from mne_megfm.pretraining import (
    hide_trials,
    participant_encoder_loss,
    pretrain_participant_encoder,
)

CONFIG = ParticipantConfig(n_response=4, n_spectral=2, d_model=32, n_layers=1)


def test_recent_stimuli():
    """Sums of exponentials of the delays; what cannot be times is not known."""
    found = recent_stimuli(np.array([0.0, 1.0, 4.0]))
    expected = [0.0, np.exp(-1 / 1.5), np.exp(-3 / 1.5) + np.exp(-4 / 1.5)]
    assert_allclose(found[:, 0], expected, rtol=1e-6)
    assert_allclose(found[2, 1], np.exp(-3 / 8) + np.exp(-4 / 8), rtol=1e-6)
    for times in ([0.0, 0.004, 0.008], [3.0, 1.0, 5.0], [2.0]):
        assert np.isnan(recent_stimuli(np.array(times))).all()


@pytest.mark.parametrize(
    ("name", "kind"),
    [("rest", 0), ("AUDITORY", 1), ("somatosensory/left", 2), ("pain", 3), ("", 3)],
)
def test_state_kind(name, kind):
    assert state_kind(name) == kind


def test_trials_of_a_state(rng):
    z = rng.standard_normal((20, 4))
    z[7] *= 100  # an artefact
    spectra = rng.standard_normal((20, 24, 19))
    trials = PersonTrials.of_state("auditory", z, spectra)
    size = trials.response.square().mean(1).sqrt()
    plain = np.sqrt((z**2).mean(1))
    assert_allclose(size[7], 2.5 * np.median(plain), rtol=1e-5)
    others = np.arange(20) != 7
    assert_allclose(trials.response[others], z[others], rtol=1e-6)
    assert trials.responds.all() and trials.recent.isnan().all()
    silent = PersonTrials.of_state("rest", None, spectra, n_response=4)
    assert not silent.responds.any() and not silent.response.any()
    both = PersonTrials.join([trials, silent])
    assert len(both) == 40 and both.kind.tolist() == [1] * 20 + [0] * 20


def test_many_trials_are_averaged_in_their_order(rng):
    z = rng.standard_normal((256, 4))
    trials = PersonTrials.of_state("auditory", z, np.zeros((256, 24, 19)))
    assert len(trials) == 128
    clipped = PersonTrials.of_state("auditory", z[:128], np.zeros((128, 24, 19)))
    assert len(clipped) == 128
    size = np.sqrt((z**2).mean(1))
    z = z * np.minimum(1, 2.5 * np.median(size) / size)[:, None]
    assert_allclose(trials.response, z.reshape(128, 2, 4).mean(1), rtol=1e-4, atol=1e-6)
    assert_allclose(trials.position[:2], [1 / 256, 3 / 256], rtol=1e-5)


def test_noise_is_what_trials_differ_by(rng):
    z = 3.0 + 0.7 * rng.standard_normal((100, 40))
    trials = PersonTrials.of_state("auditory", z, np.zeros((100, 24, 19)))
    assert trials.noise == pytest.approx(0.7, rel=0.05)
    assert trials.take(np.arange(1)).noise == 1.0


def coefficients(inputs, segments):
    return inputs.response(inputs.components(torch.from_numpy(segments))).numpy()


def test_axes_find_a_planted_response(rng):
    """Axes found on weak responses tell the strength of those of other people."""
    pattern = rng.standard_normal(192)
    pattern /= np.linalg.norm(pattern)
    course = np.exp(-0.5 * ((np.arange(125) - 25) / 5) ** 2)
    mixing = np.eye(192) + 0.5 * rng.standard_normal((192, 192)) / 14

    def person(low, high):
        strength = rng.uniform(low, high, 20)
        noise = np.einsum("cd,ndt->nct", mixing, rng.standard_normal((20, 192, 125)))
        response = strength[:, None, None] * pattern[:, None] * course
        return strength, (1e-12 * (noise + response)).astype(np.float32)

    people = [person(1, 2)[1] for _ in range(8)]
    inputs = TrialInputs(n_space=4, n_time=4, n_response=3, n_spectral=2)
    fit_trial_inputs(inputs, lambda: iter(people), rng.standard_normal((50, 24, 19)))
    strength, other = person(0, 8)
    z = coefficients(inputs, other)
    assert abs(np.corrcoef(z[:, 0], strength)[0, 1]) > 0.95
    # the best sensor at the best moment does not tell as much
    best = other[:, np.abs(pattern).argmax(), 25]
    assert abs(np.corrcoef(best, strength)[0, 1]) < 0.85
    # trials of a typical person differ by 1, however many people the axes are of
    z = coefficients(inputs, np.concatenate(people))
    assert_allclose(z.reshape(8, 20, 3).std(1, ddof=1).mean(0), 1.0, atol=0.15)


def test_untrained_axes_are_those_of_most_power(rng):
    """Axes in space and time are NumPy's principal ones; coefficients have size 1."""
    power = np.exp(-np.arange(192) / 4.0)[:, None] * np.exp(-np.arange(125) / 10.0)
    basis, _ = np.linalg.qr(rng.standard_normal((192, 192)))
    course, _ = np.linalg.qr(rng.standard_normal((125, 125)))
    noise = rng.standard_normal((80, 192, 125)) * np.sqrt(power)
    segments = np.einsum("cd,ndt,ut->ncu", basis, noise, course, optimize=True)
    later = rng.standard_normal((80, 192, 125))
    windows = (1e-13 * np.concatenate([segments, later], -1)).astype(np.float32)
    inputs = TrialInputs(n_space=3, n_time=2, n_response=4, n_spectral=2)
    fit_untrained_inputs(inputs, windows)
    # what was planted with most power, whatever its sign
    for found, truth in ((inputs.space, basis), (inputs.time, course)):
        overlap = np.abs(found.double().numpy().T @ truth)
        assert (overlap.argmax(1) == np.arange(found.shape[1])).all()
        assert overlap.max(1) == pytest.approx(1.0, abs=0.15)
    z = coefficients(inputs, windows[..., :125])
    assert_allclose(z.std(0), 1.0, rtol=1e-3)
    # six pairs of axes: the four of most power are kept, the most of all first
    expected = np.outer(np.exp(-np.arange(3) / 4.0), np.exp(-np.arange(2) / 10.0))
    kept = (inputs.joint != 0).double().argmax(0)
    assert kept.tolist() == expected.ravel().argsort()[::-1][:4].tolist()
    at = inputs.spectrum(inputs.log_spectrum(torch.from_numpy(windows)))
    assert_allclose(at.mean(0), 0.0, atol=1e-2)


def people_who_differ(n, seed=0):
    """People with responses of different size, which fall by a share of their own."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n):
        size, fall = rng.uniform(0, 5), rng.uniform(0, 1)
        course = size * (1 - fall * np.arange(16) / 15)
        z = course[:, None] * [1.0, -1.0, 0, 0] + rng.standard_normal((16, 4))
        spectra = np.full((16, 24, 19), rng.standard_normal())
        out.append(PersonTrials.of_state("auditory", z, spectra))
    return out


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    encoder = ParticipantTransformer(CONFIG)
    encoder.inputs = TrialInputs(n_response=4, n_spectral=2)
    return encoder


def test_hiding(encoder):
    trials = collate(people_who_differ(40), encoder.inputs)
    hidden = hide_trials(trials, torch.Generator().manual_seed(0))
    assert ((trials.seen & ~hidden).sum(1) >= 1).all()
    assert 0.4 < hidden.float().mean() < 0.9
    everything = hide_trials(trials, torch.Generator().manual_seed(0), ratio=1.0)
    assert_array_equal((~everything).sum(1), 1)
    assert not hide_trials(trials, torch.Generator(), ratio=0.0).any()


def test_encoder_learns_who_is_who(encoder):
    """Both predictions come to beat the mean over people, for people not seen."""
    people = people_who_differ(80)
    with use_log_level("error"):
        history = pretrain_participant_encoder(
            encoder, people, max_epochs=4, steps_per_epoch=40, n_valid=16, lr=3e-3
        )
    assert history.epoch == [1, 2, 3, 4]
    trials = collate(people_who_differ(40, seed=1), encoder.inputs)
    hidden = hide_trials(trials, torch.Generator().manual_seed(0), ratio=0.5)
    target = trials.response / trials.noise[:, None, None]
    with torch.inference_mode():
        for predicted in encoder(trials, hidden):
            rest = (predicted[..., :4] - target)[hidden].square().sum()
            plain = (target[hidden] - target[hidden].mean(0)).square().sum()
            assert 1 - rest / plain > 0.25


def test_interrupted_training_ends_alike(encoder, tmp_path):
    people = people_who_differ(20)
    start = {k: v.clone() for k, v in encoder.state_dict().items()}
    settings = {"steps_per_epoch": 3, "n_valid": 4, "max_epochs": 3, "batch_size": 4}

    def run(**more):
        encoder.load_state_dict(start)
        with use_log_level("error"):
            return pretrain_participant_encoder(encoder, people, **settings | more)

    whole = run()
    expected = {k: v.clone() for k, v in encoder.state_dict().items()}

    class Stop(Exception):
        pass

    count = 0
    encode = encoder.encode

    def stopping(*args):
        nonlocal count
        count += 1
        if count > 15:
            raise Stop
        return encode(*args)

    encoder.encode = stopping
    with pytest.raises(Stop):
        run(directory=tmp_path)
    encoder.encode = encode
    again = run(directory=tmp_path)
    assert again == whole
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, expected[name]), name
    with pytest.raises(ValueError, match="settings of the run"):
        run(directory=tmp_path, lr=0.5)


def test_too_few_people(encoder):
    with pytest.raises(ValueError, match="more than the 64"):
        pretrain_participant_encoder(encoder, people_who_differ(5))


def test_loss_of_a_perfect_guess_is_zero(encoder):
    trials = collate(people_who_differ(3), encoder.inputs)
    hidden = torch.ones_like(trials.seen)

    class Knows(torch.nn.Module):
        config = CONFIG

        def forward(self, trials, hidden):
            z = trials.response / trials.noise[:, None, None]
            both = torch.cat([z, trials.spectrum], -1)
            return both, both

    assert float(participant_encoder_loss(Knows(), trials, hidden)) == 0.0
