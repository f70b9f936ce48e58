"""Attention against surrogates: level over all times and places, planted truth, figure.

The network is replaced by one that attends to power, of which the truth is known.
"""

import matplotlib.pyplot as plt
import mne
import numpy as np
import pytest
from scipy import stats

from mne_megfm.interpret import _attention, attention_test
from mne_megfm.simulation import make_array_info
from mne_megfm.viz import plot_attention

STEP = 10
INFO = make_array_info("opm64", 100.0, random_state=0)
DIPOLE = mne.Dipole([0.0], [[0.045, 0.0, 0.08]], [1.0], [[0.0, 1.0, 0.0]], [1.0])
SPHERE = mne.make_sphere_model((0.0, 0.0, 0.04), head_radius=None)


def attention_to_power(transformer, X, **reads):
    """Attend to the power of each sensor in 100 ms, relative to its mean."""
    maps = []
    for evoked in X:
        data = evoked.data[:, : len(evoked.times) // STEP * STEP]
        power = np.square(data).reshape(len(data), -1, STEP).mean(-1)
        info = evoked.info.copy()
        with info._unlock():
            info["sfreq"] = evoked.info["sfreq"] / STEP
        start = evoked.times[0] + 0.5 / info["sfreq"]
        maps.append(mne.EvokedArray(power / power.mean(), info, start))
    return maps


@pytest.fixture
def looks_at_power(monkeypatch):
    monkeypatch.setattr(_attention, "attention", attention_to_power)


def noise(rng, n_times=100):
    """Return an average of noise that is alike at all times, and smooth."""
    freqs = np.fft.rfftfreq(4 * n_times, 0.01)
    weight = 1e-13 / np.maximum(freqs, 4.0) * (freqs < 30)
    sources = np.fft.rfft(rng.standard_normal((64, 4 * n_times)))
    data = np.fft.irfft(sources * weight)[:, n_times : 2 * n_times]
    mixed = data + 0.5 * np.roll(data, 1, axis=0)
    return mne.EvokedArray(mixed, INFO, -0.2)


def people(rng, baseline=None, size=0.0):
    """Return averages of six, with a response of one dipole at 0.345 s."""
    field = mne.make_forward_dipole(DIPOLE, SPHERE, INFO)[0]["sol"]["data"][:, :1]
    averages = []
    for _ in range(6):
        evoked = noise(rng)
        wave = np.exp(-0.5 * ((evoked.times - 0.345) / 0.02) ** 2)
        evoked.data += size * evoked.data.std() / np.abs(field).max() * field * wave
        averages.append(evoked.apply_baseline(baseline))
    return averages, np.abs(field[:, 0])


def of(evoked, seed=0, n_surrogates=99):
    return attention_test(
        None,
        evoked,
        info=INFO,
        n_surrogates=n_surrogates,
        random_state=seed,
        verbose=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("baseline", [None, (None, 0.0)])
def test_level_over_all_times_and_places(looks_at_power, baseline):
    """Of 300 averages of noise, 5 % have any mark, also if they have a baseline."""
    rng = np.random.default_rng(8)
    p = [
        of(noise(rng).apply_baseline(baseline), seed, 19).null.p_value
        for seed in range(300)
    ]
    for level in (0.05, 0.2):
        marked = int(np.sum(np.array(p) <= level + 1e-9))
        assert stats.binomtest(marked, 300, level).pvalue > 1e-3, (level, marked)


@pytest.mark.parametrize(
    "baseline", [None, pytest.param((None, 0.0), marks=pytest.mark.slow)]
)
def test_planted_response_stands_out_alone(looks_at_power, baseline):
    """What is marked is the 100 ms and the side of the head with the response."""
    rng = np.random.default_rng(9)
    elsewhere = 0
    for seed in range(12):
        averages, field = people(rng, baseline, size=10.0)
        found = of(averages, seed)
        marked = found.null.significant
        when = np.abs(found.evoked.times - 0.345) < 0.1
        assert marked[:, when].any()
        assert field[marked[:, when].any(1)].min() > 0.05 * field.max()
        elsewhere += marked[:, ~when].any()
    # at other times, no more than the level says: P(> 3 of 12) = 0.002
    assert elsewhere <= 3


def test_figure_says_what_the_result_says(looks_at_power):
    """Marked times are in colour and named, all else is grey."""
    rng = np.random.default_rng(10)
    nothing, found = (of(people(rng, size=size)[0]) for size in (0.0, 10.0))
    assert not nothing.null.significant.any() and found.null.significant.any()
    for test in (found, nothing):
        fig = plot_attention(test, test.evoked.times, show=False)
        heads = [ax for ax in fig.axes if ax.images]
        coloured = [
            np.ptp(np.asarray(ax.images[0].get_array())[..., :3], axis=-1).max() > 1e-6
            for ax in heads
        ]
        assert coloured == test.null.significant.any(0).tolist()
        texts = " ".join(text.get_text() for text in heads[0].texts)
        said = "Stands out" if test is found else "Nothing stands out"
        assert said in texts and said in test.in_words()
        assert test.null.family in texts
    plt.close("all")
