"""Signals denoised by what training rows show, against plain linear algebra."""

from itertools import permutations

import mne
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.linalg import eigh, fractional_matrix_power
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from mne_megfm import CanonicalSensors, MEGFMClassifier, MEGFMTransformer, MEGSamples
from mne_megfm.simulation import simulate_participant


@pytest.fixture(scope="module")
def epochs():
    """Return 12 epochs from -0.2 s."""
    person = simulate_participant(
        0,
        array="opm64",
        states=("auditory",),
        n_epochs=12,
        tmin=-0.2,
        sfreq=250.0,
        random_state=5,
    )
    return person.recordings["auditory"]


@pytest.fixture(scope="module")
def transformer(epochs):
    """Return the default transformer, fitted."""
    return MEGFMTransformer().fit(epochs)


def covariance_of(signals):
    """Compute the covariance around the mean of each row, in pT²."""
    signals = 1e12 * signals.astype(float)
    signals -= signals.mean(-1, keepdims=True)
    n = signals.shape[0] * (signals.shape[2] - 1)
    return np.einsum("nst,nrt->sr", signals, signals) / n


def expected_whitener(covariance):
    """Compute a whitener as the docs have it, by SciPy."""
    ridge = 0.01 * np.trace(covariance) / len(covariance)
    regular = covariance + ridge * np.eye(len(covariance))
    return fractional_matrix_power(regular, -0.5).real


def with_gain(matrix, covariance):
    """Give a filter the gain by which the background has 0.2 pT."""
    power = np.trace(matrix @ covariance @ matrix.T) / len(matrix)
    return 0.2 * matrix / np.sqrt(power)


def relative_error(found, expected):
    """Compare matrices by the Frobenius norm."""
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def test_filter_is_that_of_pairs_of_rows(transformer, epochs):
    """Patterns are those of the products of all pairs of different rows."""
    signals = CanonicalSensors().fit(epochs).transform(epochs)[..., :250]
    before = epochs.times[:250] < -1e-9
    covariance = covariance_of(signals[..., before])
    whitener = expected_whitener(covariance)
    signals = 1e12 * signals.astype(float)
    after = signals[..., ~before] - signals[..., before].mean(-1, keepdims=True)
    shared = sum(a @ b.T for a, b in permutations(whitener @ after, 2))
    patterns = eigh(shared, subset_by_index=[184, 191])[1]
    expected = with_gain(patterns @ patterns.T @ whitener, covariance)
    assert transformer.denoising_.n_components == 8
    assert np.linalg.matrix_rank(transformer.denoising_.matrix, 1e-6) == 8
    assert relative_error(transformer.denoising_.matrix, expected) < 1e-2


def test_rows_without_baseline_are_whitened_alone(epochs):
    """By the covariance of all samples; so are windows of a Raw, and few rows."""
    late = epochs.copy().crop(tmin=0.0)
    data = np.hstack(list(epochs.get_data()))[:, : 10 * 250]
    raw = mne.io.RawArray(data, epochs.info, verbose="error")
    for X in (late, raw):
        signals = CanonicalSensors().fit(X).transform(X)
        covariance = covariance_of(signals)
        found = MEGFMTransformer().fit(X).denoising_
        expected = with_gain(expected_whitener(covariance), covariance)
        assert found.n_components == 0
        assert relative_error(found.matrix, expected) < 1e-3
    few = MEGFMTransformer().fit(epochs[:7]).denoising_
    assert few.n_components == 0
    signals = CanonicalSensors().fit(epochs).transform(epochs[:7])
    covariance = covariance_of(signals[..., epochs.times < -1e-9])
    expected = with_gain(expected_whitener(covariance), covariance)
    assert relative_error(few.matrix, expected) < 1e-3


def test_rows_from_50_ms_before_the_stimulus(epochs):
    """They have a baseline; those that begin later have none."""
    late = epochs.copy().crop(tmin=-0.052).shift_time(0.002)
    assert late.tmin == pytest.approx(-0.05)
    assert MEGFMTransformer().fit(late).denoising_.n_components == 8
    late = epochs.copy().crop(tmin=-0.048)
    assert MEGFMTransformer().fit(late).denoising_.n_components == 0


def test_averages_may_differ_by_a_sample(epochs):
    """Evokeds of people whose files end a sample apart are denoised together."""
    evokeds = [epochs[i].average() for i in range(12)]
    for evoked in evokeds[::2]:
        evoked.crop(tmax=epochs.times[-2])
    transformer = MEGFMTransformer(sample="epoch").fit(evokeds)
    assert transformer.denoising_.n_components == 8
    assert np.isfinite(transformer.transform(evokeds)).all()


def test_features_are_those_of_denoised_signals(transformer, epochs):
    """The second half is the network's answer to signals times the filter."""
    features = transformer.transform(epochs)
    names = transformer.get_feature_names_out()
    half = len(names) // 2
    assert features.shape == (12, len(names))
    assert list(names[half:]) == [f"denoised_{name}" for name in names[:half]]
    signals = CanonicalSensors().fit(epochs).transform(epochs)[..., :250]
    windows = transformer.denoising_.matrix @ signals
    windows = torch.from_numpy(windows - windows.mean(-1, keepdims=True)).float()
    model = transformer.model_
    with torch.inference_mode():
        tokens = model.encode(windows, None) - model.token_mean
        recorded = torch.ones(12, 10, dtype=torch.bool)
        expected = transformer.pooling_(tokens, recorded, model).numpy()
    assert_allclose(features[:, half:], expected, atol=2e-3)
    plain = MEGFMTransformer(sensor_mapping="canonical").fit(epochs)
    assert plain.denoising_ is None
    assert_allclose(features[:, :half], plain.transform(epochs), atol=1e-5)


def test_amplitude_of_the_background_does_not_matter(transformer, epochs):
    """Denoised features of data three times as large are the same."""
    larger = epochs.copy()
    larger._data *= 3.0
    half = transformer._n_features_out // 2
    features = MEGFMTransformer().fit(larger).transform(larger)
    assert_allclose(
        features[:, half:], transformer.transform(epochs)[:, half:], atol=2e-3
    )


def test_strong_background_is_suppressed(epochs):
    """A response in a strong background of few sources is decoded once denoised."""
    rng = np.random.default_rng(3)
    n, n_channels = 32, len(epochs.ch_names)
    sphere = mne.make_sphere_model((0.0, 0.0, 0.04), head_radius=None)

    def fields(places, moments):
        times = np.arange(len(places), dtype=float)
        ones = np.ones(len(places))
        dipole = mne.Dipole(times, places, ones, moments, ones)
        return mne.make_forward_dipole(dipole, sphere, epochs.info)[0]["sol"]["data"]

    places = [[0.05, 0.0, 0.07], [-0.05, 0.0, 0.07], [0.0, -0.05, 0.07]]
    moments = [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    ongoing = np.cumsum(rng.standard_normal((n, 3, 250)), axis=2)
    ongoing -= ongoing.mean(2, keepdims=True)
    background = 1e-8 * fields(places, moments) @ ongoing
    y = np.arange(n) % 2
    wave = np.exp(-0.5 * ((epochs.times[:250] - 0.15) / 0.03) ** 2)
    field = fields([[0.045, 0.03, 0.075]], [[0.0, 0.0, 1.0]])
    data = background + 1e-8 * y[:, None, None] * field * wave
    data += 1e-14 * rng.standard_normal((n, n_channels, 250))
    X = mne.EpochsArray(data, epochs.info, tmin=-0.2, verbose="error")
    scores = {
        name: cross_val_score(
            make_pipeline(MEGFMTransformer(sensor_mapping=name), LogisticRegression()),
            MEGSamples(X),
            y,
            cv=2,
            scoring="roc_auc",
        ).mean()
        for name in ("canonical", "auto")
    }
    assert scores["auto"] > 0.9
    assert scores["auto"] > scores["canonical"] + 0.1


def test_where_nothing_is_denoised(epochs):
    """Fine-tuning refuses what is denoised; participants are as they are."""
    y = np.arange(12) % 2
    with pytest.raises(ValueError, match="not denoised for strategy='lora'"):
        MEGFMClassifier(strategy="lora", sensor_mapping="canonical+denoised").fit(
            epochs, y
        )
    people = [epochs[:6], epochs[6:]]
    with pytest.warns(RuntimeWarning, match="have no effect: sensor_mapping="):
        MEGFMTransformer(sensor_mapping="canonical+denoised").fit(people)
    assert MEGFMTransformer().fit(people).denoising_ is None
    with pytest.raises(ValueError, match="'canonical'"):
        MEGFMTransformer(sensor_mapping="denoised").fit(epochs)
