"""The posterior encoder, with random weights."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from mne_megfm.models import (
    PARAMETERS,
    ParticipantPosterior,
    PersonStatistics,
    PosteriorConfig,
    StateWindows,
)
from mne_megfm.models.posterior_encoder import Inputs, hide, posterior_loss

CONFIG = PosteriorConfig(d_model=32, n_layers=2, n_heads=4)


@pytest.fixture
def reader():
    """Make a small reader of random weights."""
    torch.manual_seed(0)
    return ParticipantPosterior(CONFIG).eval()


def _states(n=12, seed=0, n_times=250, tmin=-0.2):
    g = torch.Generator().manual_seed(seed)

    def windows(start):
        data = 1e-12 * torch.randn(n, 192, n_times, generator=g)
        return StateWindows(data, start, 1.3 * torch.arange(n))

    return dict(rest=windows(0.0), auditory=windows(tmin), somatosensory=windows(tmin))


def test_missing_states_cost_certainty_not_a_crash(reader):
    """Each state may be missing; the posterior is finite and another one."""
    states = _states()
    whole, _ = reader(states)
    for name in states:
        part = {key: value for key, value in states.items() if key != name}
        mean, variance = reader(part)
        assert mean.isfinite().all() and (variance > 0).all()
        assert (mean - whole).abs().max() > 1e-4
        alone, _ = reader({name: states[name]})
        assert alone.isfinite().all()


def test_what_is_missing_says_nothing(reader):
    """Statistics of a missing state do not reach the posterior."""
    encoder = reader.encoder
    g = torch.Generator().manual_seed(0)
    data = torch.randn(1, 64, 30, 250, generator=g)
    read = PersonStatistics(reader.place_gain, reader.places)
    valid = torch.ones(1, 30, dtype=torch.bool)
    valid[:, 10:20] = False
    found = read(data, valid, torch.arange(30.0)[None], (10, 10, 10))
    states = torch.tensor([[True, False, True]])
    mean, *_ = encoder(encoder.standard(found, states))
    changed = dataclasses.replace(found, averages=found.averages.clone())
    changed.averages[:, 0] = 5.0
    again, *_ = encoder(encoder.standard(changed, states))
    assert torch.equal(mean, again)


def test_a_person_depends_on_no_other(reader):
    """People of a batch are read as each alone."""
    encoder = reader.encoder
    g = torch.Generator().manual_seed(0)
    read = PersonStatistics(reader.place_gain, reader.places)
    data = torch.randn(3, 64, 30, 250, generator=g)
    valid = torch.rand(3, 30, generator=g) < 0.8
    times = torch.arange(30.0).expand(3, -1)
    states = torch.ones(3, 3, dtype=torch.bool)

    def infer(rows):
        found = read(data[rows], valid[rows], times[rows], (10, 10, 10))
        return encoder(encoder.standard(found, states[rows]))[0]

    together = infer(slice(0, 3))
    for ii in range(3):
        alone = infer(slice(ii, ii + 1))
        torch.testing.assert_close(together[ii : ii + 1], alone, rtol=1e-3, atol=1e-4)


def test_new_scales_change_nothing_that_is_computed(reader):
    """Weights follow the scales of the inputs."""
    encoder, g = reader.encoder, torch.Generator().manual_seed(0)
    read = PersonStatistics(reader.place_gain, reader.places)
    states = torch.ones(32, 3, dtype=torch.bool)

    def statistics():
        data = torch.randn(32, 64, 30, 250, generator=g)
        valid = torch.ones(32, 30, dtype=torch.bool)
        times = torch.arange(30.0).expand(32, -1)
        return read(data, valid, times, (10, 10, 10))

    encoder.fit_scales(statistics())
    found = statistics()  # of other people: other scales
    before, *_ = encoder(encoder.standard(found, states))
    weights = {k: v.clone() for k, v in encoder.state_dict().items() if "embed" in k}
    encoder.fit_scales(found)
    after, *_ = encoder(encoder.standard(found, states))
    # but for values that were clipped
    assert (before - after).abs().mean() < 0.003
    encoder.load_state_dict(weights, strict=False)
    astray, *_ = encoder(encoder.standard(found, states))
    assert (before - astray).abs().mean() > 0.01


def test_short_epochs_are_read(reader):
    """Epochs from -0.1 to 0.5 s will do; those of 0.1 s leave the prior."""
    states = _states(n_times=150, tmin=-0.1)
    assert reader(states)[0].isfinite().all()
    data = torch.zeros(3, 192, 25)
    short = StateWindows(data, 0.0, torch.arange(3.0))
    mean, variance = reader({"auditory": short})
    assert (mean == 0).all() and (variance == 1).all()
    both, _ = reader({"auditory": short, "rest": states["rest"]})
    assert torch.equal(both, reader({"rest": states["rest"]})[0])
    with pytest.raises(ValueError, match="Expected one of the states"):
        reader({"visual": states["auditory"]})
    with pytest.raises(ValueError, match="n of at least 1"):
        reader({"auditory": StateWindows(data[:0], 0.0, torch.arange(0))})


def test_most_windows_are_spread_over_the_recording(reader):
    """Of more windows than are read, the first and the last are read."""
    long, few = _states(n=150), _states(n=60)
    assert reader(long)[0].isfinite().all()
    index = torch.linspace(0, 149, 60).round().long()
    assert index[0] == 0 and index[-1] == 149
    for name, (data, tmin, times) in long.items():
        few[name] = StateWindows(data[index], tmin, times[index])
    assert torch.equal(reader(long)[0], reader(few)[0])


def test_hidden_tokens_are_counted_as_asked():
    """A quarter of each kind is hidden, averages in runs."""
    people = Inputs(
        *[torch.zeros(6)] * 4,
        torch.ones(6, 2, 40, dtype=torch.bool),
        torch.ones(6, 3, dtype=torch.bool),
    )
    hidden = hide(people, 0.25)
    assert hidden["places"].shape == (6, 5)
    assert hidden["trials"].shape == (6, 20)
    assert hidden["averages"].shape == (6, 20)
    runs = hidden["averages"].unflatten(1, (4, 5))
    assert (runs.diff(dim=2) == 1).all() and (runs[..., 0] % 5 == 0).all()


def test_loss_is_least_at_the_posterior():
    """Of Gaussian truth, the loss is least at its mean and variance."""
    rng = np.random.default_rng(0)
    z = torch.from_numpy(0.3 + 0.5 * rng.standard_normal(50_000))
    at = torch.tensor(0.3), torch.tensor(2 * math.log(0.5))
    best = posterior_loss(*at, z).mean()
    # entropy without its constant
    assert best == pytest.approx(0.5 * (2 * math.log(0.5) + 1), abs=0.01)
    for mean, log_var in ((0.2, at[1]), (0.3, at[1] + 0.3), (0.3, at[1] - 0.3)):
        assert (
            posterior_loss(torch.tensor(mean), torch.as_tensor(log_var), z).mean()
            > best
        )


def test_derivatives_lead_back_to_the_signals(reader):
    """They agree with finite differences along a direction."""
    states = _states(n=6)
    data, tmin, times = states["auditory"]
    g = torch.Generator().manual_seed(1)
    way = 1e-12 * torch.randn(1, *data.shape[1:], generator=g)

    def first(step):
        now = StateWindows(data + step * way, tmin, times)
        return reader(states | {"auditory": now})[0].square().sum()

    step = torch.zeros((), requires_grad=True)
    (slope,) = torch.autograd.grad(first(step), step)
    with torch.no_grad():
        expected = (first(0.002) - first(-0.002)) / 0.004
    assert abs(expected) > 1e-3
    assert slope.item() == pytest.approx(expected.item(), rel=0.05)


def test_parameters_have_names_and_units():
    """Each parameter has a name of its own, and a value at the mean of its prior."""
    names = [parameter.name for parameter in PARAMETERS]
    assert len(set(names)) == len(names) == 60
    by_name = dict(zip(names, PARAMETERS, strict=True))
    alpha = by_name["alpha_frequency"]
    assert alpha.unit == "Hz" and alpha.value(torch.tensor(1.0)) == pytest.approx(11.2)
    size = by_name["auditory_size"]
    assert size.value(torch.tensor(0.0)) == pytest.approx(2.8)
