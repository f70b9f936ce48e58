"""Retrieval of stimuli: ranks against brute force, simulated truth, scikit-learn."""

import itertools
import pickle

import mne
import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from mne_megfm import CanonicalSensors, MEGFMRetriever, MEGFMTransformer, MEGSamples
from mne_megfm.estimators import Pretraining, retrieval_scores
from mne_megfm.simulation import simulate_participant, simulate_stimuli


# -- ranks -----------------------------------------------------------------------------
def _ranks(predicted, shown, candidates):
    """Rank what was shown, one pair at a time."""
    ranks = []
    for p, z in zip(predicted, shown, strict=True):

        def cosine(c, p=p):
            return p @ c / np.sqrt((p @ p) * (c @ c))

        ranks.append(1 + sum(cosine(c) > cosine(z) + 1e-12 for c in candidates))
    return np.array(ranks)


@pytest.mark.parametrize("own", [True, False])
def test_ranks_against_a_loop(rng, own):
    """Equal candidates are one; each presentation of a stimulus has a rank."""
    stimuli = rng.standard_normal((30, 5))
    number = rng.integers(0, 12, 40)
    shown = stimuli[number]
    predicted = shown + 1.5 * rng.standard_normal(shown.shape)
    candidates = stimuli[np.unique(number)] if own else stimuli
    given = None if own else np.concatenate([stimuli[::-1], stimuli[:7]])
    scores = retrieval_scores(predicted, shown, given, k=(1, 3, 5))
    ranks = _ranks(predicted, shown, candidates)
    n = len(candidates)
    for k in (1, 3, 5):
        expected = [np.mean(ranks <= k), k / n]
        assert_allclose(scores.loc[f"top-{k}", ["score", "chance"]], expected)
    assert_allclose(
        scores.loc["median rank", ["score", "chance"]], [np.median(ranks), (n + 1) / 2]
    )
    assert 1 < np.median(ranks) < n / 2 and set(scores["n_candidates"]) == {n}
    assert set(scores["n_samples"]) == {40}


def test_averages_of_presentations(rng):
    stimuli = rng.standard_normal((9, 4))
    number = np.repeat(np.arange(9), 3)
    predicted = stimuli[number] + rng.standard_normal((27, 4))
    order = rng.permutation(27)
    scores = retrieval_scores(
        predicted[order], stimuli[number][order], k=(1, 2), average=True
    )
    ranks = _ranks(predicted.reshape(9, 3, 4).mean(1), stimuli, stimuli)
    assert scores.loc["top-1", "score"] == pytest.approx(np.mean(ranks == 1))
    assert scores.loc["top-2", "score"] == pytest.approx(np.mean(ranks <= 2))
    assert scores.loc["median rank", "score"] == np.median(ranks)
    assert set(scores["n_samples"]) == {9}


@pytest.mark.parametrize("n", [5, 6])
def test_chance_is_the_mean_over_all_orders(n):
    """Of all assignments of what was shown to predictions, the mean is chance."""
    stimuli = np.eye(n)
    tables = [
        retrieval_scores(stimuli, stimuli[list(order)], stimuli, k=(1, 3))
        for order in itertools.permutations(range(n))
    ]
    # of an assignment, ranks are 1 or in the tie of the others, from 2 to n
    mean = np.mean([table["score"] for table in tables], axis=0)
    assert_allclose(mean[:2], tables[0]["chance"][:2], rtol=1e-12)
    # without ties, by one prediction for all
    line = np.arange(1.0, n + 1)
    candidates = np.stack([np.cos(line / 9), np.sin(line / 9)], axis=1)
    found = [
        retrieval_scores([[1.0, 0.0]], candidates[[i]], candidates, k=(1, 3))
        for i in range(n)
    ]
    ranks = [table.loc["median rank", "score"] for table in found]
    assert sorted(ranks) == line.tolist()
    mean = np.mean([table["score"] for table in found], axis=0)
    assert_allclose(mean, found[0]["chance"])


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_predictions_that_are_all_the_same_score_chance(value):
    """As if ties were drawn; whatever the order of candidates."""
    stimuli = np.eye(8)
    scores = retrieval_scores(np.full((8, 8), value), stimuli, k=(1, 5))
    assert_allclose(scores["score"], scores["chance"])


@pytest.mark.parametrize(
    ("args", "params", "match"),
    [
        ((np.ones((3, 2)), np.eye(3)), {}, "predicted to be finite .* got shape|"),
        ((np.eye(3), np.eye(3)), {"k": (3,)}, "from 1 to 2, below the number"),
        ((np.eye(3), np.eye(3)), {"k": (0,)}, "from 1 to 2"),
        ((np.eye(3), np.eye(3)), {"k": (1.5,)}, "whole numbers"),
        ((np.eye(3)[:2], np.eye(3)), {}, r"predicted .* shape \(3, n_dims\)"),
        ((np.eye(3) * np.nan, np.eye(3)), {}, "NaN or infinity for position 0, 1, 2"),
        ((np.eye(3), np.eye(3), np.eye(4)), {}, "candidates of 3 dimensions, .* got 4"),
        ((np.eye(3), np.eye(3), np.eye(3)[:2]), {"k": (1,)}, "got 1 embeddings that"),
        ((np.eye(3), ["a", "b", "c"]), {}, "embeddings to be finite numbers"),
    ],
)
def test_wrong_ranks(args, params, match):
    with pytest.raises(ValueError, match=match):
        retrieval_scores(*args, **params)


# -- simulated truth -------------------------------------------------------------------
@pytest.fixture(scope="module")
def shown():
    """Responses to 80 stimuli, each shown twice."""
    return simulate_stimuli(80, n_repeats=2, n_dims=6, amplitude=3.0, random_state=0)


@pytest.fixture(scope="module")
def without():
    """Return the same recordings without responses."""
    return simulate_stimuli(80, n_repeats=2, n_dims=6, amplitude=0.0, random_state=0)


@pytest.fixture(scope="module")
def split(shown):
    """Presentations of 60 stimuli to train on, and those of 20 others."""
    test = shown.stimulus >= 60
    return np.flatnonzero(~test), np.flatnonzero(test)


@pytest.fixture(scope="module")
def memory(tmp_path_factory):
    return tmp_path_factory.mktemp("memory")


@pytest.fixture(scope="module")
def fitted(shown, split, memory):
    train, _ = split
    return MEGFMRetriever(random_state=0, memory=memory).fit(
        MEGSamples(shown.epochs)[train], shown.embeddings[train]
    )


def test_responses_are_linear_in_embeddings(shown, without):
    """What responses add to the recording is a linear map of the embedding alone."""
    assert_array_equal(without.embeddings, shown.embeddings)
    added = (shown.epochs.get_data() - without.epochs.get_data()).reshape(160, -1)
    added *= 1e15
    embeddings = shown.embeddings
    found, _, rank, _ = np.linalg.lstsq(embeddings, added, rcond=None)
    assert rank == 6
    assert_allclose(embeddings @ found, added, atol=1e-6 * np.abs(added).max())
    assert np.linalg.matrix_rank(added, tol=1e-6 * np.abs(added).max() * 160) == 6
    # peaks of some hundred fT with an amplitude of 1, after the stimulus alone
    field = np.abs(added).reshape(160, 151, 250) / 3.0
    assert 100 < np.median(field.max((1, 2))) < 1000
    assert field[..., shown.epochs.times < 0].max() < 0.01 * field.max()
    assert_array_equal(shown.epochs.metadata["stimulus"], shown.stimulus)
    assert_array_equal(np.bincount(shown.stimulus), np.full(80, 2))
    same = shown.stimulus[:, None] == shown.stimulus
    equal = (embeddings[:, None] == embeddings).all(-1)
    assert_array_equal(same, equal)


def test_field_of_a_source(shown):
    """At its latency, a source has the field that MNE computes of its dipole."""
    given = {"n_dims": 1, "array": "ctf151", "random_state": 3}
    one, none = (simulate_stimuli(6, amplitude=a, **given) for a in (1.0, 0.0))
    truth, info, times = one.truth, one.epochs.info, one.epochs.times
    src = mne.setup_volume_source_space(
        pos={"rr": truth["pos"], "nn": truth["ori"]}, verbose="error"
    )
    origin = simulate_participant(
        array="ctf151", states=("rest",), n_epochs=1, random_state=3
    ).truth["head_origin"]
    model = mne.make_sphere_model(origin, head_radius=None, verbose="error")
    forward = mne.make_forward_solution(
        info, None, src, model, mindist=0.0, verbose="error"
    )
    gain = forward["sol"]["data"].reshape(151, -1, 3)
    field = np.einsum("csk,sk->cs", gain, truth["ori"]) * truth["moment"]
    z = (times - truth["latency"][:, None]) / truth["width"][:, None]
    courses = np.exp(-(z**2) / 2) * truth["weights"][:, [0]]
    expected = (field @ courses) * one.embeddings[:, 0][:, None, None]
    added = one.epochs.get_data() - none.epochs.get_data()
    assert_allclose(
        added * 1e15, expected * 1e15, atol=1e-3 * np.abs(added).max() * 1e15
    )


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"n_stimuli": 0}, "n_stimuli to be a whole number"),
        ({"n_repeats": 1.5}, "n_repeats to be a whole number"),
        ({"n_dims": 0}, "n_dims to be a whole number"),
        ({"amplitude": -1.0}, "amplitude to be a finite factor"),
        ({"array": "eeg"}, "ctf151"),
    ],
)
def test_wrong_simulations(params, match):
    with pytest.raises(ValueError, match=match):
        simulate_stimuli(**{"n_stimuli": 3, **params})


def test_stimuli_that_were_not_seen_are_found(shown, split, fitted):
    """Far above chance, and more by two presentations than by one."""
    _, test = split
    X = MEGSamples(shown.epochs)[test]
    table = fitted.retrieval_scores(X, shown.embeddings[test])
    assert table.loc["top-5", "chance"] == 0.25
    # by chance, 5 standard deviations above it
    assert table.loc["top-5", "score"] > 0.25 + 5 * np.sqrt(0.25 * 0.75 / 40)
    assert table.loc["top-1", "score"] > 0.2 and table.loc["median rank", "score"] < 5
    assert fitted.score(X, shown.embeddings[test]) == table.loc["top-5", "score"]
    both = fitted.retrieval_scores(X, shown.embeddings[test], average=True)
    assert both.loc["top-5", "score"] >= table.loc["top-5", "score"]
    # among all 80 stimuli, and in the order of the candidates given
    candidates = np.unique(shown.embeddings, axis=0)[::-1]
    more = fitted.retrieval_scores(X, shown.embeddings[test], candidates)
    assert more.loc["top-5", "chance"] == 5 / 80
    ranked = fitted.retrieve(X, candidates)
    assert_array_equal(np.sort(ranked, 1), np.tile(np.arange(80), (40, 1)))
    hit = (candidates[ranked[:, :5]] == shown.embeddings[test][:, None]).all(-1).any(1)
    assert hit.mean() == pytest.approx(more.loc["top-5", "score"])
    assert_array_equal(fitted.retrieve(X, candidates, 3), ranked[:, :3])
    # what is predicted is the embedding
    predicted = fitted.predict(X)
    r = [
        np.corrcoef(*z)[0, 1]
        for z in zip(predicted.T, shown.embeddings[test].T, strict=True)
    ]
    assert np.mean(r) > 0.3


@pytest.mark.parametrize("null", ["permuted", "no response"])
def test_null(shown, without, split, memory, null):
    """Without a relation, held-out stimuli are found as often as by chance."""
    train, test = split
    embeddings, epochs = shown.embeddings, shown.epochs
    if null == "permuted":
        order = np.random.default_rng(0).permutation(160)
        embeddings = embeddings[order]
    else:
        epochs = without.epochs
    X = MEGSamples(epochs)
    retriever = MEGFMRetriever(random_state=0, memory=memory)
    retriever.fit(X[train], embeddings[train])
    table = retriever.retrieval_scores(X[test], embeddings[test])
    top5, median = table.loc[["top-5", "median rank"], "score"]
    chance = table.loc["top-5", "chance"]
    assert abs(top5 - chance) < 3.5 * np.sqrt(chance * (1 - chance) / 40)
    n = table["n_candidates"].iloc[0]
    assert 0.25 * n < median < 0.75 * n


# -- projection ------------------------------------------------------------------------
@pytest.fixture
def small_retriever(memory):
    """A retriever with few features, which are kept."""
    return MEGFMRetriever(
        sensor_mapping="canonical",
        pooling="mean",
        top_k=2,
        max_epochs=5,
        memory=memory,
        random_state=0,
    )


@pytest.fixture(scope="module")
def few():
    """Responses to 12 stimuli, each shown twice."""
    return simulate_stimuli(
        12, n_repeats=2, n_dims=3, amplitude=4.0, array="opm64", random_state=2
    )


def test_without_training_it_is_ridge_regression(few, small_retriever):
    """That of scikit-learn on standardised features, with the penalty that was chosen.

    Whose scale is the root of their total variance.
    """
    small_retriever.set_params(max_epochs=0)
    got = small_retriever.fit(few.epochs, few.embeddings).predict(few.epochs)
    transformer = MEGFMTransformer(sensor_mapping="canonical", pooling="mean")
    features = transformer.fit_transform(few.epochs).astype(float)
    features = StandardScaler().fit_transform(features)
    known = StandardScaler().fit(few.embeddings)
    total = features.var(0, ddof=1).sum()
    ridge = Ridge(small_retriever.alpha_ * total)
    expected = ridge.fit(features, known.transform(few.embeddings)).predict(features)
    assert_allclose(got, known.inverse_transform(expected), rtol=2e-3, atol=2e-3)
    assert small_retriever.n_epochs_ == 0 and len(small_retriever.history_) == 1


def test_epochs_are_those_with_the_least_held_out_loss(fitted):
    history = fitted.history_
    assert history.index.tolist() == list(range(len(history)))
    assert fitted.n_epochs_ == history["valid_loss"].idxmin()
    assert len(history) == min(61, fitted.n_epochs_ + 11)
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]


@pytest.mark.parametrize(
    "params", [{"balance": 0.0}, {"balance": 1.0}, {"hidden": 8}, {"lr": 1e-2}]
)
def test_parameters_have_an_effect(few, small_retriever, params):
    one = clone(small_retriever).set_params(patience=9).fit(few.epochs, few.embeddings)
    two = clone(one).set_params(**params).fit(few.epochs, few.embeddings)
    assert not np.allclose(
        one.history_["valid_loss"], two.history_["valid_loss"].iloc[: len(one.history_)]
    )
    assert np.isfinite(two.predict(few.epochs)).all()


def test_encoder_that_is_trained_on_embeddings(few, small_retriever):
    """With the contrastive objective; other embeddings make other features."""
    small_retriever.set_params(pretraining=Pretraining(1, objective="contrastive"))
    one = clone(small_retriever).fit(few.epochs, few.embeddings)
    two = clone(small_retriever).fit(few.epochs, few.embeddings[::-1])
    features = [r.transformer_.transform(few.epochs) for r in (one, two)]
    assert not np.allclose(*features)
    assert len(one.transformer_.history_.epoch) == 1
    assert np.isfinite(one.predict(few.epochs)).all()


def test_units_of_embeddings(few, small_retriever):
    """They come back in predictions, and change no rank; a constant is predicted."""
    factor, shift = np.array([1e3, 0.01, 0.0]), np.array([5.0, -1.0, 7.0])
    embeddings = few.embeddings[:, [0, 1, 1]]
    scaled = embeddings * factor + shift
    one = clone(small_retriever).fit(few.epochs, embeddings[:, :2])
    two = clone(small_retriever).fit(few.epochs, scaled)
    predicted = two.predict(few.epochs)
    assert_allclose(predicted[:, 2], 7.0, atol=0.1)
    best = one.retrieve(few.epochs, embeddings[:, :2], 1)
    assert (two.retrieve(few.epochs, scaled, 1) == best).mean() > 0.7
    expected = one.predict(few.epochs) * factor[:2] + shift[:2]
    for a, b in zip(predicted.T, expected.T, strict=False):
        assert np.corrcoef(a, b)[0, 1] > 0.95


def test_embeddings_of_one_dimension(few, small_retriever):
    """Such as a rating: the ridge regression of that number."""
    small_retriever.set_params(max_epochs=0)
    number = few.embeddings[:, :1]
    retriever = small_retriever.fit(few.epochs, number)
    features = retriever.transformer_.transform(few.epochs).astype(float)
    features = StandardScaler().fit_transform(features)
    ridge = Ridge(retriever.alpha_ * features.var(0, ddof=1).sum())
    expected = ridge.fit(features, number.ravel()).predict(features)
    assert_allclose(retriever.predict(few.epochs)[:, 0], expected, rtol=2e-3, atol=2e-3)
    assert len(np.unique(number)) == 12
    assert 0.0 <= retriever.score(few.epochs, number) <= 1.0


# -- scikit-learn ----------------------------------------------------------------------
def test_same_seed_same_result(few, small_retriever):
    """Clones, pickles and second fits; another seed holds out others."""
    one = small_retriever.fit(few.epochs, few.embeddings)
    expected = one.predict(few.epochs)
    assert_array_equal(pickle.loads(pickle.dumps(one)).predict(few.epochs), expected)
    again = clone(one).fit(few.epochs, few.embeddings)
    assert_array_equal(again.predict(few.epochs), expected)
    assert_allclose(again.history_, one.history_)
    other = clone(one).set_params(random_state=1).fit(few.epochs, few.embeddings)
    assert not np.allclose(
        other.history_["valid_loss"].iloc[0], one.history_["valid_loss"].iloc[0]
    )


def test_tables_of_scikit_learn_change_nothing(few, small_retriever):
    expected = (
        clone(small_retriever).fit(few.epochs, few.embeddings).predict(few.epochs)
    )
    with sklearn.config_context(transform_output="pandas"):
        got = clone(small_retriever).fit(few.epochs, few.embeddings)
        assert_array_equal(got.predict(few.epochs), expected)


def test_search_and_cross_validation(few, small_retriever):
    """Folds keep presentations of a stimulus together."""
    given = {"cv": GroupKFold(2), "error_score": "raise"}
    scores = cross_val_score(
        small_retriever,
        MEGSamples(few.epochs),
        few.embeddings,
        groups=few.stimulus,
        **given,
    )
    assert scores.shape == (2,) and ((scores >= 0) & (scores <= 1)).all()
    # Epochs, which scikit-learn cuts into a list of single ones
    again = cross_val_score(
        small_retriever,
        few.epochs,
        pd.DataFrame(few.embeddings),
        groups=few.stimulus,
        **given,
    )
    assert_array_equal(again, scores)
    pipeline = Pipeline([("retriever", small_retriever)])
    search = GridSearchCV(pipeline, {"retriever__balance": [0.2, 0.8]}, **given)
    search.fit(MEGSamples(few.epochs), few.embeddings, groups=few.stimulus)
    assert search.predict(few.epochs).shape == (24, 3)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_rows_of_several_systems(small_retriever):
    """A list of Epochs of several arrays, one row after the other."""
    parts = [
        simulate_stimuli(6, n_dims=3, array=array, random_state=n)
        for n, array in enumerate(("ctf151", "opm64"))
    ]
    X = [part.epochs for part in parts]
    embeddings = np.concatenate([part.embeddings for part in parts])
    retriever = small_retriever.fit(X, embeddings)
    predicted = retriever.predict(X)
    assert predicted.shape == (12, 3)
    assert_allclose(predicted[6:], retriever.predict(X[1]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda z: z[:-1], r"shape \(24, n_dims\), got shape \(23, 3\)"),
        (lambda z: z[:, 0], r"got shape \(24,\)"),
        (
            lambda z: np.where(z > 2, np.inf, z * np.nan),
            "NaN or infinity for position 0",
        ),
        (lambda z: [["a", "b"]] * 24, "embeddings to be finite numbers"),
        (lambda z: np.ones_like(z), "at least 4 stimuli, .* got 1 that differ"),
        (lambda z: None, "requires y to be passed"),
    ],
)
def test_wrong_embeddings(few, small_retriever, change, match):
    with pytest.raises(ValueError, match=match):
        small_retriever.fit(few.epochs, change(few.embeddings))


def test_wrong_candidates(few, small_retriever):
    retriever = small_retriever.fit(few.epochs, few.embeddings)
    with pytest.raises(ValueError, match="candidates of 3 dimensions, .* got 4"):
        retriever.retrieve(few.epochs, np.ones((5, 4)))
    with pytest.raises(ValueError, match="n_best to be a whole number from 1 to 5"):
        retriever.retrieve(few.epochs, np.ones((5, 3)), 6)
    with pytest.raises(ValueError, match="embeddings of 3 dimensions"):
        retriever.score(few.epochs, np.ones((24, 2)))
    with pytest.raises(ValueError, match="got 12; all of them are found by chance"):
        retriever.set_params(top_k=12).score(few.epochs, few.embeddings)


def test_training_that_diverges(few, small_retriever):
    with pytest.raises(RuntimeError, match="Expected a finite loss.*lower lr"):
        small_retriever.set_params(lr=1e30).fit(few.epochs, few.embeddings)


# -- baseline --------------------------------------------------------------------------
@pytest.mark.slow
def test_baseline(shown, split, fitted):
    """Ridge regression of signals on the canonical array, the recipe of the guide."""
    train, test = split
    X = MEGSamples(shown.epochs)
    baseline = make_pipeline(
        CanonicalSensors(),
        FunctionTransformer(lambda x: x[:, :, ::4].reshape(len(x), -1) * 1e12),
        StandardScaler(),
        RidgeCV(np.logspace(2, 8, 7)),
    ).fit(X[train], shown.embeddings[train])
    scores = retrieval_scores(baseline.predict(X[test]), shown.embeddings[test])
    assert scores.loc["top-5", "score"] > scores.loc["top-5", "chance"] + 0.1
    own = fitted.retrieval_scores(X[test], shown.embeddings[test])
    assert own.loc["top-5", "score"] > scores.loc["top-5", "score"] - 0.1
