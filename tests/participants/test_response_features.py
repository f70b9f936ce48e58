"""What is measured on responses and spectra."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from mne_megfm.models import BANDS, TrialInputs
from mne_megfm.participants import response_features as _strengths
from mne_megfm.participants.response_features import (
    BAND_MEASURES,
    RESPONSE_MEASURES,
    _whiteners,
    measure_bands,
    measure_responses,
    single_trial_amplitudes,
)

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
    assert found["amplitude"] == pytest.approx(np.log(6), abs=0.05)


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
    index = RESPONSE_MEASURES.index("amplitude")
    noise = rng.standard_normal((20, 40, 40, 30))
    found = np.array([measure(z) for z in noise])[:, index]
    least = 0.5 * np.log(0.5 * 16 * 40 / 41**2)
    assert found.min() == pytest.approx(least, abs=0.1)
    assert found.max() < 0.5 * np.log(16 * 40 / 41**2) + 0.2


def strengths(z, expected=None):
    z = torch.as_tensor(z)
    expected = torch.zeros_like(z[0]) if expected is None else torch.as_tensor(expected)
    joint = torch.eye(z[0].numel(), 16, dtype=z.dtype).unflatten(0, z.shape[1:])
    return single_trial_amplitudes(z, expected, joint).numpy()


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


def test_three_directions_are_found(rng):
    """Nearly as well as by knowing them."""
    response = np.zeros((16, 12))
    response[[0, 5, 10], [2, 5, 8]] = 1.5
    truth = rng.uniform(0.5, 1.5, 60)
    z = truth[:, None, None] * response + rng.standard_normal((60, 16, 12))
    known = np.corrcoef((z * response).sum((1, 2)), truth)[0, 1]
    assert np.corrcoef(strengths(z), truth)[0, 1] > known - 0.12


def test_few_directions_leave_noise_out(rng, monkeypatch):
    """One source is measured better by the leading directions than by all."""
    draws = []
    for _ in range(30):
        response = 0.3 * np.outer(rng.standard_normal(16), np.hanning(12))
        truth = rng.uniform(0.3, 1.7, 40)
        noise = rng.standard_normal((40, 16, 12))
        draws.append((truth, truth[:, None, None] * response + noise))

    def tells():
        return np.mean([np.corrcoef(strengths(z), truth)[0, 1] for truth, z in draws])

    few = tells()
    monkeypatch.setattr(_strengths, "_N_DIRECTIONS", 12)
    assert few > tells() + 0.03


def test_one_trial_is_measured_on_what_is_expected(rng):
    expected = np.zeros((1, 16, 12))
    expected[0, 0] = rng.standard_normal(12)  # on the axes of pretraining
    unit = expected / np.linalg.norm(expected)
    assert strengths(5.0 * unit, expected[0])[0] > 2.0
    assert np.isfinite(strengths(np.zeros((1, 16, 12)))).all()
    assert np.isfinite(strengths(np.zeros((5, 16, 12)))).all()


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
