"""Simulated people, against closed forms."""

import math

import numpy as np
import pytest
import torch
from people._simulator import (
    N_REST,
    N_TRIALS,
    FieldBank,
    _bursts,
    _narrow,
    _spectrum,
    simulate,
    tangents,
)

from mne_megfm.models.posterior_encoder import (
    N_PARAMETERS,
    PARAMETER_NAMES,
    PARAMETERS,
    draw_scores,
)


@pytest.fixture(scope="module")
def bank():
    """Make a bank of random fields without noise of sensors."""
    g = torch.Generator().manual_seed(0)
    n, n_sites = 3, 400
    pos = torch.randn(n, n_sites, 3, generator=g)
    pos = 0.06 * pos / pos.norm(dim=2, keepdim=True)
    return FieldBank(
        pos,
        0.1 * torch.randn(n, 64, n_sites, 2, generator=g),
        0.001 * torch.eye(64).expand(n, -1, -1),
        torch.zeros(n, 64, 18),
    )


def _scores(**given):
    z = torch.zeros(4, N_PARAMETERS)
    for name, value in given.items():
        z[:, PARAMETER_NAMES.index(name)] = value
    return z


def _people(bank, seed=0, **given):
    g = torch.Generator().manual_seed(seed)
    return simulate(bank, 4, g, _scores(**given), torch.tensor([0, 1, 2, 0]))


def test_same_seed_same_people(bank):
    """People follow from the seed; another seed gives others."""
    one, two, other = (_people(bank, seed).data for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert (one - other).abs().max() > 0.1


def test_responses_grow_with_their_moment(bank):
    """Two people of the same seed differ by the responses alone, by exp(2 sd)."""
    sd = PARAMETERS[PARAMETER_NAMES.index("auditory_size")].sd
    none = _people(bank, auditory_size=-60.0).data  # exp(-30): no response
    small = _people(bank, auditory_size=-1.0).data - none
    large = _people(bank, auditory_size=1.0).data - none
    part = slice(N_REST, N_REST + N_TRIALS)
    torch.testing.assert_close(
        large[:, :, part], math.exp(2 * sd) * small[:, :, part], rtol=2e-3, atol=2e-4
    )
    assert large[:, :, :N_REST].abs().max() < 1e-4  # nothing at rest
    assert large[:, :, part, :49].abs().max() < 0.02 * large[:, :, part].abs().max()


def test_latency_of_the_largest_response(bank):
    """The N100m peaks at its latency, on average over trials."""
    still = dict(
        latency_jitter=-6.0, P50m_ratio=-9.0, P200m_ratio=-9.0, auditory_sustained=-0.88
    )
    none = _people(bank, auditory_size=-60.0).data
    for score in (-1.5, 1.5):
        found = _people(bank, auditory_size=2.0, N100m_latency=score, **still).data
        size = (found - none)[:, :, N_REST : N_REST + N_TRIALS].mean(2)
        # along the response itself, so that other deflections do not matter
        parameter = PARAMETERS[PARAMETER_NAMES.index("N100m_latency")]
        expected = parameter.mean + parameter.sd * score
        at = (size.square().sum(1).sqrt().argmax(1).numpy() - 50) / 250
        # other deflections, of any latency, may be larger in one of the four
        assert np.median(np.abs(at - expected)) <= 0.008


def test_alpha_at_its_frequency(bank):
    """The difference that alpha makes is at the alpha frequency."""
    small = _people(bank, alpha_size=-9.0).data[:, :, :N_REST]
    large = _people(bank, alpha_size=2.0, alpha_bandwidth=-2.0).data[:, :, :N_REST]
    power = torch.fft.rfft(large).abs().square().mean((1, 2))
    power = power - torch.fft.rfft(small).abs().square().mean((1, 2))
    peak = power[:, 3:40].argmax(1) + 3
    frequency = PARAMETERS[PARAMETER_NAMES.index("alpha_frequency")].mean
    assert (peak - frequency).abs().max() <= 1.0


def test_background_falls_as_its_exponent():
    """The spectrum is a power law of unit variance in its band."""
    freqs = torch.linspace(0, 125, 12501)
    found = _spectrum(freqs, torch.tensor(1.3), torch.tensor(1e-3), (2.0, 40.0))
    slope = (found[4000] / found[400]).log() / math.log(10)
    assert slope == pytest.approx(-1.3, abs=1e-3)
    inside = (freqs >= 2) & (freqs <= 40)
    assert found[inside].sum() * 0.01 == pytest.approx(1.0, rel=1e-3)


def test_narrow_noise_and_bursts():
    """Envelopes have unit power and the width asked for; bursts their rate."""

    class Draw:
        device = "cpu"
        g = torch.Generator().manual_seed(0)

        def normal(self, *shape):
            return torch.randn(*shape, generator=self.g)

        def uniform(self, low, high, *shape):
            return low + (high - low) * torch.rand(*shape, generator=self.g)

        def log(self, median, sd, *shape):
            return median * (sd * self.normal(*shape)).exp()

    width = torch.full((40, 2), 1.5)
    z = _narrow(Draw(), 40, 2, width)
    # as a wave, of variance 1
    assert z.real.square().mean().item() == pytest.approx(1.0, rel=0.05)
    freqs = torch.fft.fftfreq(z.shape[2], 1 / 25)
    power = torch.fft.fft(z).abs().square().mean((0, 1))
    width = ((power * freqs**2).sum() / power.sum()).sqrt()
    assert width.item() == pytest.approx(1.5, rel=0.05)
    rate, duration = torch.full((40, 2), 0.8), torch.full((40, 2), 0.1)
    bumps = _bursts(Draw(), 40, 2, rate, duration)
    # the mean of a row: rate x area of a bump x mean height
    expected = 0.8 * 0.1 * math.sqrt(2 * math.pi) * math.exp(0.45**2 / 2)
    assert bumps.mean().item() == pytest.approx(expected, rel=0.1)


def test_tangents_are_perpendicular():
    """Both directions are unit vectors, at right angles to the radius."""
    radial = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    first, second = tangents(radial)
    for one, other in ((first, radial), (second, radial), (first, second)):
        assert (one * other).sum(1).abs().max() < 1e-5
    torch.testing.assert_close(first.norm(dim=1), torch.ones(50))
    torch.testing.assert_close(second.norm(dim=1), torch.ones(50))


def test_scores_are_standard():
    """Scores have mean 0 and spread 1, but for what is cut off."""
    z = draw_scores(20_000, torch.Generator().manual_seed(0))
    assert z.mean(0).abs().max() < 0.03
    assert (z.std(0) - 0.98).abs().max() < 0.03
    assert z.abs().max() <= 2.5
