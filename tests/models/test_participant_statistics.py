"""Statistics that the participant encoder reads, against closed forms."""

import math

import numpy as np
import pytest
import torch

from mne_megfm.models.participant_statistics import (
    BINS,
    N_PLACES,
    TF_FREQS,
    TF_TIMES,
    PersonStatistics,
    _connections,
    _courses,
    _dominant,
    _envelopes,
    inverse_root,
)


@pytest.fixture(scope="module")
def reader():
    """Make statistics of places with random fields."""
    g = torch.Generator().manual_seed(0)
    places = torch.randn(N_PLACES // 2, 3, generator=g)
    places[:, 0] = -places[:, 0].abs()
    places = torch.cat([places, places * torch.tensor([-1.0, 1.0, 1.0])])
    gain = 1e8 * torch.randn(64, N_PLACES, 2, generator=g)
    return PersonStatistics(gain, places)


def _windows(reader, freq, moment, n_windows=60, noise=0.05, place=7, seed=1):
    """Make windows of one source with a rhythm of random phase."""
    g = torch.Generator().manual_seed(seed)
    t = torch.arange(250) / 250
    phase = 2 * math.pi * torch.rand(n_windows, 1, generator=g)
    course = moment * torch.sin(2 * math.pi * freq * t + phase)
    field = 1e-8 * reader.place_gain[:, place, 0]
    data = field[:, None, None] * course
    return data + noise * torch.randn(64, n_windows, 250, generator=g)


def test_power_of_a_source_of_known_moment(reader):
    """A beamformer of unit gain gives the power of the source at its place."""
    data = _windows(reader, 20.0, 3.0)[None]
    x = data - data.mean(-1, keepdim=True)
    weight = torch.ones(1, 60)
    places, _ = reader._places(x, weight, [slice(0, 20), slice(20, 40), slice(40, 60)])
    found = places[0, :, : len(BINS)]
    # a Hann window of unit energy: sum(w)^2 / 4 of the squared amplitude
    taper = np.hanning(250)
    share = taper.sum() ** 2 / (taper**2).sum()
    expected = math.log(3.0**2 * share / 4)
    index = BINS.index((20, 20))
    assert found[7, index] == pytest.approx(expected, abs=0.1)
    assert found[:, index].argmax() == 7
    assert found[7].argmax() == index


@pytest.mark.parametrize("size", [3, 64])
def test_inverse_root(size):
    """The inverse root agrees with that of the eigenvalues."""
    rng = np.random.default_rng(size)
    a = rng.standard_normal((5, size, 2 * size))
    matrix = a @ a.transpose(0, 2, 1) / size + 0.05 * np.eye(size)
    values, vectors = np.linalg.eigh(matrix)
    expected = (vectors / np.sqrt(values)[:, None]) @ vectors.transpose(0, 2, 1)
    found = inverse_root(torch.from_numpy(matrix), n_steps=24)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_dominant_directions():
    """Leading eigenvectors agree with NumPy's, but for their signs."""
    rng = np.random.default_rng(3)
    basis = np.linalg.qr(rng.standard_normal((64, 64)))[0]
    values = np.r_[10.0, 7.0, 4.0, 2.0, 0.1 * rng.random(60)]
    matrix = (basis * values) @ basis.T
    found = _dominant(torch.from_numpy(matrix).float()[None], 4)[0].numpy()
    np.testing.assert_allclose(np.abs(found.T @ basis[:, :4]), np.eye(4), atol=2e-3)


def test_envelopes_of_gaussian_noise():
    """Power of complex Gaussian noise: E[p^2] is 2 and E[p^3] 6 of the mean's power."""
    g = torch.Generator().manual_seed(0)
    shape = 1, N_PLACES, 800, len(TF_FREQS), len(TF_TIMES)
    energy = torch.empty(shape).exponential_(generator=g)
    seen = torch.ones(len(TF_FREQS), len(TF_TIMES), dtype=torch.bool)
    found = _envelopes(energy, torch.ones(1, 800), seen)
    found = found.unflatten(2, (len(TF_FREQS), 7)).mean((0, 1, 2))
    expected = [math.log(2), math.log(6), -0.5772]
    for value, want in zip(found[:3].tolist(), expected, strict=True):
        # what is large is squashed
        assert value == pytest.approx(4 * math.asinh(want / 4), abs=0.03)
    assert found[4:].abs().max() < 0.03  # white in time


def test_connections_of_a_lagged_pair():
    """A quarter cycle between mirror images shows as lagged coherence."""
    g = torch.Generator().manual_seed(0)
    shape = 1, N_PLACES, 400, len(TF_FREQS), len(TF_TIMES), 2
    tf = torch.view_as_complex(torch.randn(shape, generator=g))
    tf[:, 20] = math.sqrt(0.5) * (1j * tf[:, 0] + tf[:, 20])
    seen = torch.ones(len(TF_FREQS), len(TF_TIMES), dtype=torch.bool)
    areas = torch.zeros(N_PLACES, 12)
    found = _connections(tf, tf.abs().square(), torch.ones(1, 400), seen, areas)
    found = found.view(1, N_PLACES, 5, 4, 13)[0, :, :, :, 0]
    _, _, in_step, lagged = found.unbind(2)
    assert lagged[0].mean() == pytest.approx(math.sqrt(0.5), abs=0.03)
    assert in_step[0].mean() < 0.1
    assert lagged[1:20].max() < 0.15


def test_courses_of_trials_that_decline():
    """Decline over the run and recovery are found together, relative to the mean."""
    order = torch.linspace(0, 1, 40)[None]
    recent = (torch.arange(40) % 8).float()[None] / 8
    measures = 3.0 - 1.2 * order - 0.6 * recent
    found = _courses(measures[..., None], order, recent, torch.ones(1, 40))[0]
    mean = measures.mean()
    assert found[0] == pytest.approx(mean.item(), abs=1e-5)
    assert found[2] == pytest.approx(-1.2 / (mean + 0.3).item(), rel=0.15)
    assert found[3] == pytest.approx(-0.6 / (mean + 0.3).item(), rel=0.4)
