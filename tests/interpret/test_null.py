"""Tests of null distributions: thresholds, level, planted truth, grey figures."""

import matplotlib.pyplot as plt
import mne
import numpy as np
import pytest
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mne_megfm import MEGFMTransformer, simulate_cohort
from mne_megfm.interpret import (
    HeldOutScore,
    attention_test,
    attribute,
    occlude,
    state_importance,
)
from mne_megfm.interpret._attention import surrogate
from mne_megfm.interpret._refits import (
    check_permutations,
    null_distributions,
    permute_labels,
)
from mne_megfm.simulation import make_array_info
from mne_megfm.viz import plot_attribution

WHEN = 0.3


@pytest.fixture(scope="module")
def rest():
    """Return epochs without an effect."""
    cohort = simulate_cohort(
        1,
        states=("rest",),
        arrays=("opm64",),
        n_epochs=72,
        filters=(1.0, 40.0),
        random_state=3,
    )
    return cohort.epochs("rest")[0]


@pytest.fixture(scope="module")
def planted(rest):
    """Return epochs of which half have a dipole response at 0.3 s."""
    dipole = mne.Dipole([0.0], [[0.045, 0.0, 0.08]], [1.0], [[0.0, 1.0, 0.0]], [1.0])
    sphere = mne.make_sphere_model((0.0, 0.0, 0.04), head_radius=None)
    field = mne.make_forward_dipole(dipole, sphere, rest.info)[0]["sol"]["data"]
    y = np.arange(72) % 2
    wave = np.exp(-0.5 * ((rest.times - WHEN) / 0.025) ** 2)
    data = rest.get_data() + 1e-7 * y[:, None, None] * field * wave
    return mne.EpochsArray(data, rest.info, tmin=rest.tmin), y, np.abs(field[:, 0])


def _model():
    return make_pipeline(
        # one dipole in 72 epochs: denoised features decode more, their maps show less
        MEGFMTransformer(sensor_mapping="canonical"),
        StandardScaler(),
        LogisticRegression(C=1e-3),
    )


def _is_grey(image):
    values = np.asarray(image.get_array())[..., :3]
    return np.ptp(values, axis=-1).max() < 1e-6


def test_family_wise_p_values(rng):
    """They are the share of maps whose largest z reaches the point."""
    maps = rng.standard_normal((20, 3, 5)) * [1.0, 1e-13, 7.0, 2.0, 1e6]
    (null,) = null_distributions({"a": maps}, "all", 0.1).values()
    z = np.abs((maps - maps.mean(0)) / maps.std(0))
    largest = z.reshape(20, -1).max(1)
    expected = (largest[:, None, None] >= z[0]).mean(0)
    np.testing.assert_allclose(null.p_values, expected)
    assert null.threshold == pytest.approx(np.sort(largest)[17])
    assert null.p_value == pytest.approx(expected.min())
    with pytest.raises(ValueError, match="at least 19 permutations"):
        check_permutations(18, 0.05)


def test_level_of_the_family():
    """Of 400 null maps of correlated points, 5 % have one that stands out."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(400):
        maps = np.cumsum(rng.standard_normal((40, 30)), 1)
        (null,) = null_distributions({"": maps}, "", 0.05).values()
        found.append(null.significant.any())
    # exact binomial: 0.05 +- 4 SE
    assert 0.01 < np.mean(found) < 0.095


def test_labels_are_permuted_within_groups(rng):
    """Within each group, or between groups of one label each."""
    groups = np.repeat([3, 1, 2], 6)
    y = np.r_[[0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1]]
    for _ in range(10):
        other = permute_labels(y, groups, rng)
        assert [other[groups == g].sum() for g in (3, 1, 2)] == [3, 5, 1]
    one = np.repeat([0, 1, 0], 6)
    for _ in range(10):
        other = permute_labels(one, groups, rng)
        assert other.sum() == 6
        assert all(len(set(other[groups == g])) == 1 for g in (1, 2, 3))


def test_planted_response_stands_out_alone(planted):
    """Peaks are at the planted time and place, none before the event."""
    epochs, y, field = planted
    found = attribute(_model(), epochs, y, n_permutations=39, verbose=False)
    assert found.score.mean > 0.9 and found.score.n == 72
    assert len(found.peaks)
    assert (np.abs(found.peaks["time"] - WHEN) < 0.06).all()
    significant = found.null["all"].significant
    assert not significant[:, epochs.times < 0.2].any()
    # where the field of the dipole is large
    assert field[significant.any(1)].min() > np.median(field)
    assert "before the event" not in found.in_words()
    fig = plot_attribution(found, show=False)
    assert not _is_grey(fig.axes[1].images[0])
    assert "Held-out ROC AUC" in fig.get_suptitle()
    plt.close("all")


def test_nothing_is_said_to_be_nothing(planted):
    """Without an effect there is no peak, the figure is grey and says so."""
    epochs, y, _ = planted
    labels = np.random.default_rng(0).permutation(y)
    found = attribute(_model(), epochs, labels, n_permutations=19, verbose=False)
    assert not len(found.peaks)
    assert "Nothing stands out above chance" in found.in_words()
    fig = plot_attribution(found, [0.1, 0.3], show=False)
    assert all(_is_grey(ax.images[0]) for ax in fig.axes[1:3])
    assert "Nothing stands out" in fig.axes[0].get_title(loc="left")
    plt.close("all")


def test_peaks_before_the_event_are_unexpected(planted):
    """A leak before the event stands out, and is said to be unexpected."""
    epochs, y, _ = planted
    data = np.roll(epochs.get_data(), -100, axis=-1)  # 0.4 s earlier
    early = mne.EpochsArray(data, epochs.info, tmin=epochs.tmin)
    found = attribute(_model(), early, y, n_permutations=39, verbose=False)
    assert (found.peaks["time"] < 0).any()
    assert "unexpected: check for leakage" in found.in_words()


def test_surrogates_keep_spectra_and_lose_time(rng):
    """Auto- and cross-covariances stay those of the mirrored average, at every time."""
    info = make_array_info("opm64", 100.0, random_state=0)
    n_times, n = 80, 3
    mixing = rng.standard_normal((64, 4))
    sources = np.cumsum(rng.standard_normal((4, n_times)), 1) * [[1], [2], [0.5], [3]]
    wave = np.exp(-0.5 * ((np.arange(n_times) - 40) / 3.0) ** 2)
    data = 1e-13 * (mixing @ sources + 20 * mixing[:, :1] * wave)
    evoked = mne.EvokedArray(data, info, -0.2)
    drawn = [surrogate(evoked, rng) for _ in range(3000)]
    np.testing.assert_allclose(drawn[0].times, evoked.times)
    some = np.array([one.data[:n] for one in drawn])
    mean = data[:n].mean(-1, keepdims=True)
    mirrored = np.concatenate([data[:n] - mean, (data[:n] - mean)[:, ::-1]], -1)
    some -= mean
    power = np.square(mirrored).mean(-1)
    scale = np.sqrt(power[:, None] * power)
    for lag in (0, 1, 5, 20):
        expected = mirrored @ np.roll(mirrored, -lag, -1).T / (2 * n_times)
        first, later = some[:, :, : n_times - lag], some[:, :, lag:]
        at = np.einsum("sit,sjt->tij", first, later) / len(some)
        # at every time alike, so that nothing is locked to a time
        np.testing.assert_allclose(
            at / scale, expected[None] / scale + 0 * at, atol=0.12
        )
        np.testing.assert_allclose(at.mean(0) / scale, expected / scale, atol=0.05)
    np.testing.assert_allclose(some.mean(0) / np.sqrt(power)[:, None], 0.0, atol=0.1)


def test_attention_to_noise_does_not_stand_out(rest):
    """An average without a stimulus is like its surrogates."""
    evoked = rest[:24].average()
    transformer = MEGFMTransformer().fit(evoked)
    found = attention_test(
        transformer, evoked, n_surrogates=39, n_turns=2, verbose=False
    )
    assert not len(found.peaks)
    assert "Nothing stands out" in found.in_words()


def _assert_level(marked, level=0.05):
    """Check that as many are marked as the level says: exact binomial, P > 0.999."""
    assert np.sum(marked) <= binom.ppf(0.999, len(marked), level)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("explain", ["attribute", "occlude"])
def test_level_of_rows(rest, explain):
    """Of 120 permuted labellings, 5 % have anything marked: at most 14."""
    epochs, y, marked = rest[:24], np.arange(24) % 2, []
    model = make_pipeline(
        MEGFMTransformer(), StandardScaler(), RidgeClassifier(alpha=100.0)
    )
    for seed in range(120):
        labels = np.random.default_rng([5, seed]).permutation(y)
        settings = {"cv": 2, "n_permutations": 19, "random_state": seed}
        if explain == "attribute":
            found = attribute(model, epochs, labels, verbose="error", **settings)
            (null,) = found.null.values()
            assert len(found.peaks) == 0 or null.significant.any()
        else:
            bands = {"slow": (1.0, 9.0), "fast": (9.0, 40.0)}
            null = occlude(
                model, epochs, labels, "bands", bands=bands, verbose="error", **settings
            ).null
        marked.append(null.significant.any())
    _assert_level(marked)


def _margin(pipeline, X, y):
    """Score without ties, by which a test would mark less than its level."""
    return np.mean(pipeline.decision_function(X) * np.where(y, 1.0, -1.0))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("method", "n"), [("permutation", 60), ("shapley", 100)])
def test_level_of_state_importance(method, n):
    """Of n permuted labellings, 5 % have a state marked: at most 9 and 13."""
    cohort = simulate_cohort(
        8, states=("rest", "auditory"), arrays=("opm64",), n_epochs=2, random_state=3
    )
    X = [participant.recordings for participant in cohort]
    model = make_pipeline(
        MEGFMTransformer(), StandardScaler(), RidgeClassifier(alpha=100.0)
    )
    y, marked = np.arange(8) % 2, []
    for seed in range(n):
        found = state_importance(
            model, X, np.random.default_rng([7, seed]).permutation(y), method=method,
            cv=2, n_permutations=19, scoring=_margin, random_state=seed,
            verbose="error",
        )  # fmt: skip
        marked.append(found.null.significant.any())
    _assert_level(marked)


def test_score_in_words():
    """It names the score, its spread, the number of samples and chance."""
    score = HeldOutScore("r2", 0.1, 0.2, 3, 30, "participants", -0.1, 0.2)
    assert str(score) == (
        "Held-out R² 0.10 (SD 0.20 over 3 folds, 30 participants; "
        "chance -0.10, p = 0.2)"
    )
