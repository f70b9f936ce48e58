"""Tests of attribution by patterns, gradients and occlusion of sensors and times."""

import mne
import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from mne_megfm import MEGFMClassifier, MEGFMTransformer, simulate_cohort
from mne_megfm.estimators import FineTuning
from mne_megfm.inputs import as_recordings
from mne_megfm.interpret import _gradients, decision_map
from mne_megfm.interpret._decisions import affine_head, split_pipeline
from mne_megfm.interpret._gradients import RowNetwork, iter_rows, row_gradients
from mne_megfm.interpret._occlusion import sensor_regions

WHEN, WIDTH = 0.3, 0.025


@pytest.fixture(scope="module")
def planted():
    """Return epochs of which half have a dipole response, labels and the field."""
    cohort = simulate_cohort(
        1,
        states=("rest",),
        arrays=("opm64",),
        n_epochs=72,
        filters=(1.0, 40.0),
        random_state=3,
    )
    epochs = cohort.epochs("rest")[0]
    dipole = mne.Dipole([0.0], [[0.045, 0.0, 0.08]], [1.0], [[0.0, 1.0, 0.0]], [1.0])
    sphere = mne.make_sphere_model((0.0, 0.0, 0.04), head_radius=None)
    forward, _ = mne.make_forward_dipole(dipole, sphere, epochs.info)
    field = forward["sol"]["data"][:, 0]
    y = np.arange(72) % 2
    wave = np.exp(-0.5 * ((epochs.times - WHEN) / WIDTH) ** 2)
    data = epochs.get_data() + 1e-7 * y[:, None, None] * field[:, None] * wave
    out = mne.EpochsArray(data, epochs.info, tmin=epochs.tmin)
    return out, y, np.abs(field)


@pytest.fixture(scope="module")
def features(planted):
    """Return a fitted transformer and features of the first 48 epochs."""
    transformer = MEGFMTransformer().fit(planted[0][:48])
    return transformer, transformer.transform(planted[0][:48])


@pytest.fixture(scope="module")
def fitted(planted, features):
    """Return a function that puts steps behind the fitted transformer."""
    transformer, values = features

    def fit(*steps, y=planted[1][:48]):
        pipeline = make_pipeline(transformer, *steps)
        pipeline[1:].fit(values, y)
        return pipeline

    return fit


@pytest.fixture(scope="module")
def logistic(fitted):
    """Return a fitted pipeline."""
    return fitted(StandardScaler(), LogisticRegression(C=1e-3))


def _network(pipeline, X, target=None):
    parts = split_pipeline(pipeline)
    return RowNetwork(parts, target), list(
        iter_rows(as_recordings(X)[0], parts.transformer)
    )


def _outputs(network, rows):
    out = []
    for row in rows:
        network.look_at(row)
        with torch.inference_mode():
            out.append(float(network(torch.from_numpy(row.signal)[None])))
    return np.array(out)


# -- the network ------------------------------------------------------------
@pytest.mark.parametrize(
    "steps",
    [
        (StandardScaler(), LogisticRegression(C=1e-3)),
        (StandardScaler(), PCA(10), LinearDiscriminantAnalysis()),
        (LinearSVC(),),
    ],
    ids=["logistic", "lda", "svm"],
)
def test_network_is_the_pipeline(planted, fitted, steps):
    """The torch module's output equals scikit-learn's decisions."""
    pipeline, held_out = fitted(*steps), planted[0][48:54]
    decision = pipeline.decision_function(held_out)
    given = _outputs(*_network(pipeline, held_out))
    np.testing.assert_allclose(given, decision, atol=1e-4 * np.ptp(decision))
    assert np.ptp(decision) > 0


def test_network_of_numbers_and_classes(planted, fitted):
    """Regressors and classes by name are computed, too."""
    held_out = planted[0][48:52]
    ridge = fitted(StandardScaler(), Ridge(10.0), y=np.arange(48.0))
    expected = ridge.predict(held_out)
    given = _outputs(*_network(ridge, held_out))
    np.testing.assert_allclose(given, expected, rtol=1e-3)
    names = np.array(["a", "b", "c"])[np.arange(48) % 3]
    three = fitted(StandardScaler(), LogisticRegression(C=1e-3), y=names)
    expected = three.decision_function(held_out)[:, 2]
    given = _outputs(*_network(three, held_out, "c"))
    np.testing.assert_allclose(given, expected, atol=1e-4)
    with pytest.raises(ValueError, match="Expected target to be one of the classes"):
        RowNetwork(split_pipeline(three))
    two = fitted(StandardScaler(), LogisticRegression(C=1e-3))
    assert np.allclose(
        _outputs(*_network(two, held_out, 0)), -_outputs(*_network(two, held_out, 1))
    )


@pytest.mark.parametrize(
    "strategy", ["probe", pytest.param("finetune", marks=pytest.mark.slow)]
)
def test_network_of_the_classifier(planted, strategy):
    """Our own classifier is computed, with a head or a fine-tuned encoder."""
    epochs, y, _ = planted
    finetuning = None if strategy == "probe" else FineTuning(max_epochs=1)
    classifier = MEGFMClassifier(
        strategy=strategy, finetuning=finetuning, random_state=0
    )
    # each epoch for itself; several windows in a row
    longer = mne.EpochsArray(
        np.concatenate([epochs[:20].get_data(), epochs[20:40].get_data()[..., :60]], 2),
        epochs.info,
    )
    classifier.fit(longer[:16], y[:16])
    decision = classifier.decision_function(longer[16:20])
    given = _outputs(*_network(classifier, longer[16:20]))
    np.testing.assert_allclose(given, decision, atol=1e-3 * np.abs(decision).max())


def test_flat_and_bad_channels(planted, logistic):
    """Bad channels are left out, and those that are flat in a row."""
    epochs = planted[0][48:52].copy()
    epochs.info["bads"] = epochs.ch_names[:2]
    epochs.get_data(copy=False)[1, 5] = 0.0
    network, rows = _network(logistic, epochs)
    decision = logistic.decision_function(epochs)
    np.testing.assert_allclose(_outputs(network, rows), decision, atol=1e-4)
    assert rows[0].signal.shape == (62, 250)
    assert (rows[1].matrix[:, 3] == 0).all()
    assert (rows[0].matrix[:, 3] != 0).any()


def test_affine_head_of_known_weights(rng):
    """Weights come out as they are; what is not affine is refused."""
    true = rng.standard_normal(30)
    weights, bias = affine_head(lambda f: f @ true - 2.0, 30)
    np.testing.assert_allclose(weights, true)
    assert bias == -2.0
    with pytest.raises(ValueError, match="method='occlusion'"):
        affine_head(lambda f: np.abs(f @ true), 30)


# -- gradients --------------------------------------------------------------
def test_gradient_is_that_of_finite_differences(planted, logistic):
    """Moving a channel at a time changes decisions as the gradient says."""
    network, rows = _network(logistic, planted[0][48:50])
    maps = row_gradients(network, rows, "gradient", 0)
    row, scale = rows[0], np.std([row.signal for row in rows], axis=(0, 2))
    network.look_at(row)
    at = np.argsort(-np.abs(maps[0]), axis=None)[[40, 400, 4000]]
    for channel, time in zip(*np.unravel_index(at, maps[0].shape), strict=True):
        moved = torch.from_numpy(np.stack([row.signal, row.signal]))
        step = 1e-2 * float(scale[channel])
        moved[:, channel, time] += torch.tensor([step, -step])
        with torch.inference_mode():
            up, down = network(moved)
        slope = float(up - down) / 2e-2
        assert slope == pytest.approx(maps[0, channel, time], rel=0.05, abs=1e-4)


def test_integrated_gradients_are_their_integral(planted, logistic, monkeypatch):
    """Gradients at the points of Gauss and Legendre, weighed, times the change.

    That contributions add up to the change of the decision is not asked: the encoder
    normalises what it sees, so that it bends sharply where the way passes weak signals,
    and of eight rows looked at two were off by more than half of their change.
    """
    monkeypatch.setattr(_gradients, "N_STEPS", 6)
    network, rows = _network(logistic, planted[0][48:51])
    maps = row_gradients(network, rows, "integrated_gradients", 0)
    neutral = torch.from_numpy(np.mean([row.signal for row in rows], 0))
    points, weights = np.polynomial.legendre.leggauss(6)
    for row, got in zip(rows, maps, strict=True):
        network.look_at(row)
        change = torch.from_numpy(row.signal) - neutral
        mean = torch.zeros_like(change)
        for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
            signal = (neutral + point * change)[None].requires_grad_()
            (slope,) = torch.autograd.grad(network(signal).sum(), signal)
            mean += weight * slope[0]
        expected = (mean * change).numpy()
        np.testing.assert_allclose(got, expected, atol=2e-3 * np.abs(expected).max())


def test_smoothgrad_is_a_mean_gradient(planted, logistic):
    """SmoothGrad has a seed, is near to the gradient, and not the same."""
    network, rows = _network(logistic, planted[0][48:50])
    plain, first, again, other = (
        row_gradients(network, rows, method, seed).ravel()
        for method, seed in (
            ("gradient", 0),
            ("smoothgrad", 0),
            ("smoothgrad", 0),
            ("smoothgrad", 1),
        )
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.corrcoef(plain, first)[0, 1] > 0.5
    assert np.corrcoef(other, first)[0, 1] > np.corrcoef(plain, first)[0, 1]


# -- maps -------------------------------------------------------------------
def _found(evoked, field):
    """Score a map: AUC for where and when, and the time of its peak."""
    strength = np.abs(evoked.data)
    wave = np.exp(-0.5 * ((evoked.times - WHEN) / WIDTH) ** 2)
    true = field[:, None] / field.max() * wave >= 0.5
    peak = evoked.times[np.square(strength).sum(0).argmax()]
    return roc_auc_score(true.ravel(), strength.ravel()), peak


def test_pattern_finds_the_truth(planted, logistic):
    """The default finds the planted place and time; with other labels it does not."""
    epochs, y, field = planted
    held_out = epochs[48:]
    pattern = decision_map(logistic, held_out)
    assert isinstance(pattern, mne.EvokedArray)
    assert pattern.ch_names == epochs.ch_names
    np.testing.assert_allclose(pattern.times, epochs.times)
    auc, peak = _found(pattern, field)
    assert auc > 0.9
    assert abs(peak - WHEN) < 0.03
    # closed form: the covariance of signal and decision
    decision = logistic.decision_function(held_out)
    signal = held_out.get_data()[:, 7, 100]
    expected = np.cov(signal, decision, bias=True)[0, 1] / decision.std()
    assert pattern.data[7, 100] == pytest.approx(expected)
    other = decision_map(logistic, held_out, target=0)
    np.testing.assert_allclose(other.data, -pattern.data)


class Known(ClassifierMixin, BaseEstimator):
    """A decision that is known: the sum over some channels and times, in pT."""

    def __init__(self, channels, times):
        self.channels, self.times, self.classes_ = channels, times, np.array([0, 1])

    def fit(self, X, y=None):
        return self

    def decision_function(self, X):
        data = X.get_data()[:, self.channels]
        return 1e12 * data[:, :, self.times[0] : self.times[1]].sum((1, 2))


def test_occlusion_is_exact(planted):
    """Where a known decision looks is what occlusion finds, and nowhere else."""
    epochs = planted[0][48:54]
    region = sensor_regions(epochs.info, epochs.ch_names)
    true = region == region[10]
    known = Known(np.flatnonzero(true), (100, 125))
    rows = decision_map(known, epochs, "occlusion", average=False)
    maps = np.array([row.data for row in rows])
    assert (maps[:, ~true] == 0).all()
    assert (maps[:, :, :100] == 0).all()
    assert (maps[:, :, 125:] == 0).all()
    # each loses its own part and gains that of another one, and all are exchanged
    lost, decision = maps[:, 10, 110], known.decision_function(epochs)
    assert (lost != 0).all()
    np.testing.assert_allclose(np.sort(decision - lost), np.sort(decision))
    mean = decision_map(known, epochs, "occlusion").data[10, 110]
    side = np.where(decision > decision.mean(), 1, -1)
    assert mean == pytest.approx((side * lost).mean())


def test_maps_of_rows(planted, logistic):
    """Single rows and their average fit each other."""
    held_out = planted[0][48:51]
    rows = decision_map(logistic, held_out, "gradient", average=False)
    mean = decision_map(logistic, held_out, "gradient")
    assert [row.nave for row in rows] == [1, 1, 1]
    assert mean.nave == 3
    whole = np.mean([row.data for row in rows], 0)
    np.testing.assert_allclose(whole, mean.data, atol=1e-5 * np.abs(whole).max())
    assert mean.info["sfreq"] == 250.0
    assert mean.times[0] == pytest.approx(held_out.times[0])


def test_errors(planted, logistic, fitted):
    """What does not fit is refused, and what to do is said."""
    epochs = planted[0][48:58]
    with pytest.raises(ValueError, match="Invalid value for the 'method'"):
        decision_map(logistic, epochs, "gradcam")
    with pytest.raises(ValueError, match="at least 8 rows"):
        decision_map(logistic, epochs[:4])
    with pytest.raises(ValueError, match="choose another method for single rows"):
        decision_map(logistic, epochs, average=False)
    with pytest.raises(ValueError, match="Expected one recording, got 2"):
        decision_map(logistic, [epochs[:1], epochs[1:2]])
    forest = fitted(RandomForestClassifier(3, random_state=0))
    with pytest.raises(ValueError, match="method='occlusion'"):
        decision_map(forest, epochs, "smoothgrad")
    with pytest.raises(TypeError, match="method='occlusion'"):
        decision_map(logistic[1:], epochs, "smoothgrad")
    with pytest.raises(TypeError, match="make_fixed_length_epochs"):
        decision_map(logistic, epochs.average(), "occlusion")
    longer = mne.EpochsArray(np.tile(epochs.get_data(), 2), epochs.info)
    with pytest.raises(ValueError, match="Expected rows of 1.0 s"):
        decision_map(logistic, longer, "gradient")
