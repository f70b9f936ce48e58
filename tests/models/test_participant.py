"""The network over trials, and what it knows of a trial."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from mne_megfm.models import (
    BANDS,
    ParticipantConfig,
    ParticipantTransformer,
    TrialInputs,
    Trials,
)

CONFIG = ParticipantConfig(n_response=6, n_spectral=4, d_model=32, n_layers=2)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return ParticipantTransformer(CONFIG).eval()


def some_trials(n=2, length=10, seed=0):
    g = torch.Generator().manual_seed(seed)
    return Trials(
        response=torch.randn(n, length, 6, generator=g),
        spectrum=torch.randn(n, length, 4, generator=g),
        state=torch.randint(0, 4, (n, length), generator=g),
        position=torch.rand(n, length, generator=g),
        recent=torch.rand(n, length, 2, generator=g),
        responds=torch.ones(n, length, dtype=torch.bool),
        seen=torch.ones(n, length, dtype=torch.bool),
        noise=torch.tensor([0.5, 2.0])[:n],
    )


@torch.no_grad()
def test_hidden_trials_have_no_influence(encoder):
    trials = some_trials()
    hidden = torch.zeros(2, 10, dtype=torch.bool)
    hidden[:, 3:7] = True
    spoiled = trials._replace(
        response=torch.where(hidden[..., None], 1e3, trials.response),
        spectrum=torch.where(hidden[..., None], -50.0, trials.spectrum),
    )
    for a, b in zip(encoder(trials, hidden), encoder(spoiled, hidden), strict=True):
        assert torch.equal(a, b)
    # but visible ones have
    other = trials._replace(response=trials.response + (~hidden[..., None]).float())
    assert not torch.allclose(encoder(trials, hidden)[0], encoder(other, hidden)[0])


@torch.no_grad()
def test_padding_and_company_have_no_influence(encoder):
    trials = some_trials()
    alone = Trials(*(value[:1, :6] for value in trials[:-1]), trials.noise[:1])
    seen = trials.seen.clone()
    seen[0, 6:] = False
    padded = trials._replace(seen=seen)
    expected = encoder.encode(alone)
    assert_allclose(encoder.encode(padded)[:1, :7], expected, atol=2e-6)
    none = torch.zeros(1, 6, dtype=torch.bool)
    found = encoder(padded, torch.zeros(2, 10, dtype=torch.bool))
    for a, b in zip(found, encoder(alone, none), strict=True):
        assert_allclose(a[:1, :6], b, atol=2e-6)


@torch.no_grad()
def test_trials_are_told_by_their_position_not_their_place(encoder):
    trials = some_trials()
    order = torch.tensor(np.random.default_rng(0).permutation(10))
    mixed = Trials(*(value[:, order] for value in trials[:-1]), trials.noise)
    expected = encoder.encode(trials)
    assert_allclose(encoder.encode(mixed)[:, 0], expected[:, 0], atol=2e-6)
    assert_allclose(encoder.encode(mixed)[:, 1:], expected[:, 1:][:, order], atol=2e-6)
    turned = trials._replace(position=1 - trials.position)
    assert not torch.allclose(encoder.encode(turned)[:, 0], expected[:, 0], atol=1e-4)


@torch.no_grad()
def test_unknown_times_are_taken(encoder):
    trials = some_trials()
    unknown = trials._replace(recent=torch.full_like(trials.recent, float("nan")))
    tokens = encoder.encode(unknown)
    assert tokens.isfinite().all()
    assert not torch.allclose(tokens, encoder.encode(trials), atol=1e-4)


def test_response_is_the_product_of_its_maps():
    inputs = TrialInputs(n_space=5, n_time=4, n_response=3)
    rng = np.random.default_rng(0)
    for name in ("space", "time", "joint"):
        buffer = getattr(inputs, name)
        buffer.copy_(torch.tensor(rng.standard_normal(buffer.shape)))
    segments = rng.standard_normal((2, 192, 125))
    field = torch.tensor(1e-12 * segments, dtype=torch.float32)
    found = inputs.response(inputs.components(field))
    space, time, joint = (
        getattr(inputs, n).numpy() for n in ("space", "time", "joint")
    )
    expected = np.zeros((2, 3))
    for i, segment in enumerate(segments):
        expected[i] = (space.T @ segment @ time).ravel() @ joint
    assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("freq", [4, 10, 24])
def test_spectrum_of_a_sine(freq):
    inputs = TrialInputs()
    t = np.arange(250) / 250
    window = np.tile(1e-12 * np.sin(2 * np.pi * freq * t), (1, 192, 1))
    log_power = inputs.log_spectrum(torch.tensor(window, dtype=torch.float32))
    (band,) = {int(i) for i in log_power[0].argmax(1)}
    assert BANDS[band][0] <= freq <= BANDS[band][1]
    # twice the field is four times the power
    louder = inputs.log_spectrum(torch.tensor(2 * window, dtype=torch.float32))
    assert_allclose((louder - log_power)[0, :, band], np.log(4), atol=1e-4)
    # a shorter recording of the same has the same power, though less sharp
    n_valid = torch.tensor([150])
    window[..., 150:] = 0
    short = inputs.log_spectrum(torch.tensor(window, dtype=torch.float32), n_valid)
    width = BANDS[band][1] - BANDS[band][0] + 1
    assert_allclose(short[0, :, band], log_power[0, :, band], atol=0.8 / width)
