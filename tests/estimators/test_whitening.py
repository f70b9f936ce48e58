"""Signals whitened by the background of training rows, against plain linear algebra."""

import mne
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.linalg import fractional_matrix_power
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


def expected_whitener(signals):
    """Compute the whitener of signals, (n_rows, 192, n_times), as the docs have it."""
    signals = 1e12 * signals.astype(float)
    signals -= signals.mean(-1, keepdims=True)
    n = signals.shape[0] * (signals.shape[2] - 1)
    covariance = np.einsum("nst,nrt->sr", signals, signals) / n
    ridge = 0.01 * np.trace(covariance) / len(covariance)
    regular = covariance + ridge * np.eye(len(covariance))
    return 1e12 * 2e-13 * fractional_matrix_power(regular, -0.5).real


def relative_error(found, expected):
    """Compare matrices by the Frobenius norm."""
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def test_covariance_is_that_before_the_stimulus(transformer, epochs):
    """It is the covariance of MNE's baseline on the canonical sensors."""
    signals = CanonicalSensors().fit(epochs).transform(epochs)
    expected = expected_whitener(signals[..., epochs.times < -1e-9])
    assert relative_error(transformer.whitening_.whitener, expected) < 1e-3
    # and not that of all samples
    assert relative_error(
        transformer.whitening_.whitener, expected_whitener(signals)
    ) > (0.02)


def test_covariance_of_rows_without_baseline(epochs):
    """Then it is of all samples; so it is for windows of a Raw."""
    late = epochs.copy().crop(tmin=0.0)
    signals = CanonicalSensors().fit(late).transform(late)
    found = MEGFMTransformer().fit(late).whitening_.whitener
    assert relative_error(found, expected_whitener(signals)) < 1e-3
    data = np.hstack(list(epochs.get_data()))[:, : 10 * 250]
    raw = mne.io.RawArray(data, epochs.info, verbose="error")
    signals = CanonicalSensors().fit(raw).transform(raw)
    found = MEGFMTransformer().fit(raw).whitening_.whitener
    assert relative_error(found, expected_whitener(signals)) < 1e-3


def test_features_are_those_of_whitened_signals(transformer, epochs):
    """The second half is the network's answer to signals times the whitener."""
    features = transformer.transform(epochs)
    names = transformer.get_feature_names_out()
    half = len(names) // 2
    assert features.shape == (12, len(names))
    assert list(names[half:]) == [f"whitened_{name}" for name in names[:half]]
    signals = CanonicalSensors().fit(epochs).transform(epochs)[..., :250]
    windows = transformer.whitening_.whitener @ signals
    windows = torch.from_numpy(windows - windows.mean(-1, keepdims=True)).float()
    model = transformer.model_
    with torch.inference_mode():
        tokens = model.encode(windows, None) - model.token_mean
        recorded = torch.ones(12, 10, dtype=torch.bool)
        expected = transformer.pooling_(tokens, recorded, model).numpy()
    assert_allclose(features[:, half:], expected, atol=2e-3)
    plain = MEGFMTransformer(sensor_mapping="canonical").fit(epochs)
    assert plain.whitening_ is None
    assert_allclose(features[:, :half], plain.transform(epochs), atol=1e-5)


def test_amplitude_of_the_background_does_not_matter(transformer, epochs):
    """Whitened features of data three times as large are the same."""
    larger = epochs.copy()
    larger._data *= 3.0
    half = transformer._n_features_out // 2
    features = MEGFMTransformer().fit(larger).transform(larger)
    assert_allclose(
        features[:, half:], transformer.transform(epochs)[:, half:], atol=2e-3
    )


def test_strong_background_is_suppressed(epochs):
    """A response in a strong background of few sources is decoded once whitened."""
    rng = np.random.default_rng(3)
    n, n_channels = 48, len(epochs.ch_names)
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
            cv=4,
            scoring="roc_auc",
        ).mean()
        for name in ("canonical", "auto")
    }
    assert scores["auto"] > 0.9
    assert scores["auto"] > scores["canonical"] + 0.1


def test_where_nothing_is_whitened(epochs):
    """Fine-tuning refuses what is whitened; participants are as they are."""
    y = np.arange(12) % 2
    with pytest.raises(ValueError, match="not whitened for strategy='lora'"):
        MEGFMClassifier(strategy="lora", sensor_mapping="canonical+whitened").fit(
            epochs, y
        )
    people = [epochs[:6], epochs[6:]]
    with pytest.warns(RuntimeWarning, match="have no effect: sensor_mapping="):
        MEGFMTransformer(sensor_mapping="canonical+whitened").fit(people)
    assert MEGFMTransformer().fit(people).whitening_ is None
    with pytest.raises(ValueError, match="'canonical'"):
        MEGFMTransformer(sensor_mapping="whitened").fit(epochs)
