"""`compare` against plain scikit-learn, and against leaks that are planted."""

import warnings

import mne
import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from numpy.testing import assert_allclose
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import (
    brier_score_loss,
    f1_score,
    fbeta_score,
    make_scorer,
    r2_score,
    recall_score,
)
from sklearn.model_selection import (
    KFold,
    RepeatedStratifiedKFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    cross_val_predict,
    cross_validate,
)
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler

from mne_megfm import MEGFMClassifier, MEGFMRegressor, MEGFMTransformer
from mne_megfm.estimators import Pretraining
from mne_megfm.estimators.frozen import is_frozen
from mne_megfm.evaluation import (
    BandPower,
    CovarianceTangent,
    EvokedFeatures,
    HabituationFeatures,
    compare,
    learning_curve,
)

SMALL = {"d_model": 32, "n_layers": 1, "n_decoder_layers": 1}


class Values(TransformerMixin, BaseEstimator):
    """Numbers that are hidden in recordings of `made`, without any MEG."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.stack([x["s"].get_data(copy=False)[0, 1] for x in X]) * 1e12

    def __sklearn_is_fitted__(self):
        return True


class Counting(Values):
    """The same, with frozen weights, and a count of participants that were read."""

    calls = 0

    def _is_frozen(self):
        return True

    def _read_participants(self, X):
        type(self).calls += len(X)
        return [{"s": values} for values in self.transform(X)]

    def _fit_extracted(self, extracted, y=None):
        return self

    def _transform_extracted(self, extracted):
        return np.stack([entry["s"] for entry in extracted])


class Watching(Values):
    """A transformer that tells which participants it was fitted on."""

    def fit(self, X, y=None):
        self.provenance_ = {"fitted_on": [int(x["s"].metadata["number"][0]) for x in X]}
        return self


def make(values):
    """Make participants of whom each holds a row of values, and noise of its own."""
    rng = np.random.default_rng(0)
    info = mne.create_info(["MEG 1", "MEG 2"], 250.0, "mag")
    X = []
    for number, row in enumerate(values):
        data = 1e-13 * rng.standard_normal((2, 2, len(row)))
        data[:, 1] = 1e-12 * row
        table = pd.DataFrame({"number": [number] * 2})
        epochs = mne.EpochsArray(data, info, metadata=table, verbose="error")
        X.append({"s": epochs})
    return X


@pytest.fixture
def made(rng):
    """Forty participants, of whom the first of 30 values tells the class a little."""
    y = np.repeat(["control", "migraine"], 20)
    values = rng.standard_normal((40, 30))
    values[:, 0] += (y == "migraine") * 1.2
    return make(values), y


class Grouped(LogisticRegression):
    """A classifier that refuses to be fitted without the names of its participants."""

    def fit(self, X, y, groups=None):
        assert len(groups) == len(y) > len(set(groups)) == len(y) / 2
        return super().fit(X, y)


def linear(*steps):
    return make_pipeline(*steps, StandardScaler(), LogisticRegression())


# -- the same as scikit-learn ----------------------------------------------------------
SCORERS = {
    "roc_auc": "roc_auc",
    "balanced_accuracy": "balanced_accuracy",
    "sensitivity": make_scorer(recall_score, pos_label="migraine"),
    "specificity": make_scorer(recall_score, pos_label="control"),
    "brier": make_scorer(
        brier_score_loss,
        response_method="predict_proba",
        pos_label="migraine",
        greater_is_better=False,
    ),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*recordings are missing")
def test_equal_to_scikit_learn(participants, cohort):
    """Features computed once give what fitting everything anew in each fold gives.

    States are missing, so that what fills them has to be learnt from training folds.
    """
    X = [dict(x) for x in participants]
    for number in (1, 4, 10):
        del X[number]["auditory"]
    del X[5]["rest"]
    y = cohort.labels
    dynamics, bands = HabituationFeatures(), BandPower({"alpha": (8.0, 13.0)})
    pipelines = {
        "model": linear(MEGFMTransformer(None, config=SMALL, random_state=0)),
        "signals": linear(EvokedFeatures("evoked", decim=25)),
        "union": linear(FeatureUnion([("b", bands), ("d", dynamics)])),
        "covariance": linear(CovarianceTangent(4)),
    }
    cv = StratifiedKFold(n_splits=2, shuffle=True, random_state=3)
    result = compare(X, y, pipelines, cv=cv, n_permutations=0)
    for name, pipeline in pipelines.items():
        expected = cross_validate(
            pipeline, X, y, cv=cv, scoring=SCORERS, error_score="raise"
        )
        for metric in SCORERS:
            values = expected[f"test_{metric}"]
            values = -values if metric == "brier" else values
            found = result.values(metric)[name]
            assert_allclose(found, values, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*recordings are missing")
def test_probe_extracts_once(participants, cohort, monkeypatch):
    """A frozen encoder and its head are parted, and give the same."""
    X, y = [dict(x) for x in participants], cohort.labels
    del X[1]["auditory"]
    probe = MEGFMClassifier(None, config=SMALL, random_state=3)
    scoring = {metric: SCORERS[metric] for metric in ("roc_auc", "brier")}
    expected = cross_validate(probe, X, y, cv=StratifiedKFold(2), scoring=scoring)
    counts = []
    read = MEGFMTransformer._read

    def count(self, recordings):
        counts.append(recordings.n_elements)
        return read(self, recordings)

    monkeypatch.setattr(MEGFMTransformer, "_read", count)
    result = compare(X, y, {"a": probe}, cv=StratifiedKFold(2), n_permutations=1)
    assert sum(counts) == len(X)
    assert "random_weights" in result.provenance["a"]
    assert_allclose(result.values()["a"], expected["test_roc_auc"])
    assert_allclose(result.values("brier")["a"], -expected["test_brier"], rtol=1e-4)


@pytest.mark.slow
def test_probe_of_numbers(participants):
    ages = np.linspace(30.0, 60.0, len(participants))
    probe = MEGFMRegressor(None, config=SMALL, random_state=3)
    cv = KFold(2, shuffle=True, random_state=0)
    result = compare(participants, ages, {"a": probe}, cv=cv, n_permutations=0)
    expected = cross_validate(
        probe, participants, ages, cv=cv, scoring="neg_mean_squared_error"
    )["test_score"]
    assert_allclose(result.values("r2")["a"], 1 + expected / np.var(ages), rtol=1e-4)


def test_default_folds_and_tables(made):
    X, y = made
    result = compare(X, y, {"a": linear(Values())}, n_permutations=0)
    cv = RepeatedStratifiedKFold(n_splits=5, n_repeats=4, random_state=0)
    table = result.folds[result.folds["metric"] == "roc_auc"]
    assert len(table) == 20
    for (_, row), (train, test) in zip(table.iterrows(), cv.split(X, y), strict=True):
        assert row["train"] == tuple(train)
        assert row["test"] == tuple(test)
        assert (row["n_train"], row["n_test"]) == (32, 8)
    assert (table["repeat"] == np.repeat(range(4), 5)).all()
    # everybody is tested once a repeat
    counts = result.predictions.groupby(["repeat", "participant"]).size()
    assert (counts == 1).all() and len(counts) == 160
    assert (result.predictions["y_true"] == y[result.predictions["participant"]]).all()


def test_summary_by_hand(made):
    X, y = made
    cv = StratifiedKFold(4)
    pipelines = {"all": linear(Values()), "five": linear(Values(), SelectKBest(k=5))}
    result = compare(X, y, pipelines, cv=cv, n_permutations=0, reference="five")
    values = {
        name: cross_validate(p, X, y, cv=cv, scoring="roc_auc")["test_score"]
        for name, p in pipelines.items()
    }
    table = result.summary()
    for name in pipelines:
        assert_allclose(table.loc[name, "mean"], values[name].mean())
        assert_allclose(table.loc[name, "sd"], values[name].std(ddof=1))
    gain = values["all"] - values["five"]
    error = np.sqrt((1 / 4 + 10 / 30) * gain.var(ddof=1))
    half = 3.182446 * error  # t of 3 degrees of freedom
    assert_allclose(table.loc["all", "difference"], gain.mean())
    assert_allclose(table.loc["all", "difference_high"], gain.mean() + half, rtol=1e-5)
    assert np.isnan(table.loc["five", "p_value"])
    with pytest.raises(ValueError, match="roc_auc"):
        result.summary("r2")


def test_intervals_stay_within_the_metric(rng):
    """An interval of an AUC does not reach beyond 1, nor one of Brier below 0."""
    y = np.repeat(["control", "migraine"], 20)
    X = make((y == "migraine")[:, None] * 2.0 + rng.standard_normal((40, 2)))
    cv = StratifiedKFold(4)
    result = compare(X, y, {"a": linear(Values())}, cv=cv, n_permutations=0)
    row = result.summary().loc["a"]
    plain = row["mean"] + 3.182446 * np.sqrt(1 / 4 + 10 / 30) * row["sd"]
    assert plain > 1.0  # or the test tests nothing
    assert row["high"] == 1.0
    assert row["low"] < row["mean"]
    curve = learning_curve(X, y, {"a": linear(Values())}, train_sizes=[1.0], cv=cv)
    assert curve.summary()["high"].to_list() == [1.0]
    assert curve.summary("brier")["low"].min() >= 0.0


# -- leaks -----------------------------------------------------------------------------
def test_selection_sees_training_folds_alone(rng):
    """Selecting among thousands of noise features by label is at chance."""
    y = np.repeat(["control", "migraine"], 20)
    values = rng.standard_normal((40, 3000))
    honest = compare(
        make(values), y, {"a": linear(Values(), SelectKBest(k=10))}, n_permutations=0
    )
    leaked = make(SelectKBest(k=10).fit_transform(values, y))
    planted = compare(leaked, y, {"a": linear(Values())}, n_permutations=0)
    assert planted.summary().loc["a", "mean"] > 0.9
    assert abs(honest.summary().loc["a", "mean"] - 0.5) < 0.15


def test_fit_sees_training_folds_alone(made):
    """What is fitted and not frozen is fitted anew on each training fold."""
    X, y = made
    result = compare(X, y, {"a": linear(Watching())}, cv=KFold(4), n_permutations=0)
    first = result.folds.iloc[0]
    assert result.provenance["a"]["fitted_on"] == list(first["train"])
    assert "had seen: fitted_on" in repr(result)


def test_pretraining_in_fit_is_not_frozen():
    """A transformer that trains in `fit` cannot extract ahead of the folds."""
    assert is_frozen(MEGFMTransformer())
    assert not is_frozen(MEGFMTransformer(pretraining=Pretraining(max_epochs=1)))
    assert not is_frozen(MEGFMTransformer(sample="epoch"))


def test_permuted_labels_are_at_chance(rng):
    y = np.repeat(["control", "migraine"], 20)
    X = make((y == "migraine")[:, None] * 3.0 + rng.standard_normal((40, 30)))
    result = compare(X, y, {"a": linear(Values())}, n_permutations=19)
    row = result.summary().loc["a"]
    assert row["mean"] > 0.95
    assert abs(row["permuted"] - 0.5) < 0.1
    assert_allclose(row["p_permuted"], 1 / 20)
    assert "first repeat alone (5 of 20 folds)" in repr(result)
    assert "(1 + k) / (1 + 19), where k are no worse, is 0.05 at" in repr(result)


@pytest.mark.parametrize(("metric", "no_worse"), [("roc_auc", 2), ("brier", 3)])
def test_p_value_of_permutations(made, metric, no_worse):
    """Of the first repeat, (1 + as good) / (1 + all); less is better for Brier."""
    X, y = made
    cv = RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=0)
    pipelines = {"a": linear(Values())}
    result = compare(X, y, pipelines, cv=cv, scoring=metric, n_permutations=4)
    first = result.values().loc[0, "a"].mean()
    assert first != result.values()["a"].mean()
    result.permutations["value"] = first + np.array([-0.2, 0.0, 0.1, -0.001])
    row = result.summary().loc["a"]
    assert_allclose(row["p_permuted"], (1 + no_worse) / 5)


def test_nothing_to_find_is_at_chance(rng):
    y = np.repeat(["control", "migraine"], 20)
    X = make(rng.standard_normal((40, 30)))
    row = compare(X, y, {"a": linear(Values())}, n_permutations=9).summary().loc["a"]
    assert row["low"] < 0.5 < row["high"]
    assert row["p_permuted"] > 0.1


def test_sessions_stay_together(made):
    X, y = made
    names = np.repeat([f"sub-{n:02d}" for n in range(20)], 2)
    # the head is told of participants, too, for its own inner folds
    pipelines = {"a": linear(Values()), "b": make_pipeline(Counting(), Grouped())}
    result = compare(X, y, pipelines, groups=names, n_permutations=1)
    for _, row in result.folds.iterrows():
        assert not set(row["train"]) & set(row["test"])
    with config_context(enable_metadata_routing=True):
        routed = compare(X, y, pipelines, groups=names, n_permutations=1)
    pd.testing.assert_frame_equal(routed.folds, result.folds)
    with pytest.raises(ValueError, match="sub-02, .*both training and test"):
        cv = KFold(5, shuffle=True, random_state=0)
        compare(X, y, pipelines, groups=names, cv=cv)


def test_one_site_after_the_other(made):
    X, y = made
    sites = np.tile(["here", "there", "elsewhere", "here"], 10)
    result = compare(X, y, {"a": linear(Values())}, sites=sites, n_permutations=0)
    tested = [set(sites[list(test)]) for test in result.folds["test"]]
    assert all(len(names) == 1 for names in tested)
    assert set.union(*tested) == set(sites)
    assert result.folds["fold"].nunique() == 3


def test_duplicated_participant(made):
    X, y = made
    copies = [*X[:39], {"s": X[3]["s"].copy()}]
    with pytest.raises(ValueError, match="identical data in elements 3 and 39"):
        compare(copies, y, {"a": linear(Values())})


def test_participant_that_looks_like_another(participants, cohort):
    """A part of a recording under another name is warned of, and can be overruled."""
    other = {"auditory": participants[0]["auditory"][2:]}
    X, y = [*participants, other], [*cohort.labels, cohort.labels[0]]
    pipelines = {"a": linear(HabituationFeatures())}
    with pytest.warns(RuntimeWarning, match="in elements 0 and 12 of X"):
        compare(X, y, pipelines, cv=2, n_permutations=0)
    groups = [*range(12), 0]
    cv = StratifiedGroupKFold(2)
    compare(X, y, pipelines, groups=groups, cv=cv, n_permutations=0)  # no warning


@pytest.mark.parametrize("frozen", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_epochs_on_disk_reach_workers(participants, cohort, tmp_path, frozen):
    """MNE's epochs on disk do not pickle; results are those of one process."""
    X = []
    for number, person in enumerate(participants):
        person["auditory"].save(tmp_path / f"{number}-epo.fif", verbose="error")
        with warnings.catch_warnings():  # of pandas, in MNE's reading of metadata
            warnings.simplefilter("ignore")
            epochs = mne.read_epochs(tmp_path / f"{number}-epo.fif", preload=False)
        X.append({"auditory": [epochs] if number % 2 else epochs})
    step = (
        HabituationFeatures()
        if frozen
        else MEGFMTransformer(pretraining=Pretraining(max_epochs=1), batch_size=8)
    )
    if not frozen:
        step.set_params(weights=None, config=SMALL, random_state=0)
    values = [
        compare(
            X, cohort.labels, {"a": linear(step)}, cv=2, n_permutations=0, n_jobs=n_jobs
        ).folds["value"]
        for n_jobs in (1, 2)
    ]
    assert_allclose(*values, rtol=1e-5)
    assert not any(
        epochs.preload
        for x in X
        for epochs in np.ravel(np.array(x["auditory"], dtype=object))
        if isinstance(epochs, mne.BaseEpochs)
    )


@pytest.mark.parametrize("kind", [int, float])
def test_ages_in_whole_years(made, kind):
    """Numbers that can be no classes are not taken for classes without a word."""
    X, _ = made
    ages = np.linspace(20, 70, 40).round().astype(kind)
    for y in (ages, np.repeat(ages[::2], 2)):  # also with two of each age
        with pytest.raises(ValueError, match=r"whole numbers.*RidgeHead\(\)"):
            compare(X, y, cv=2, n_permutations=0)


# -- other labels ----------------------------------------------------------------------
def test_three_classes(rng):
    y = np.tile(["chronic", "control", "episodic"], 14)
    X = make((y == "control")[:, None] + rng.standard_normal((42, 10)))
    cv = StratifiedKFold(3)
    pipeline = linear(Values())
    result = compare(X, y, {"a": pipeline}, cv=cv, n_permutations=1)
    expected = cross_validate(
        pipeline, X, y, cv=cv, scoring=["roc_auc_ovr", "balanced_accuracy"]
    )
    assert result.metrics == ["roc_auc", "balanced_accuracy", "brier"]
    assert_allclose(result.values("roc_auc")["a"], expected["test_roc_auc_ovr"])
    assert_allclose(
        result.values("balanced_accuracy")["a"], expected["test_balanced_accuracy"]
    )
    table = result.predictions
    proba = table[["proba_chronic", "proba_control", "proba_episodic"]].to_numpy()
    truth = pd.get_dummies(table["y_true"]).to_numpy(float)
    assert_allclose(
        result.values("brier")["a"].mean(), ((proba - truth) ** 2).sum(1).mean()
    )


def test_regression(rng):
    values = rng.standard_normal((40, 5))
    y = 40.0 + 10.0 * values[:, 0] + rng.standard_normal(40)
    pipeline = make_pipeline(Values(), Ridge())
    cv = KFold(4)
    result = compare(make(values), y, {"age": pipeline}, cv=cv, n_permutations=2)
    expected = cross_validate(
        pipeline, make(values), y, cv=cv, scoring=["neg_mean_absolute_error"]
    )
    # of folds that are equally large, the mean is R² of all held-out predictions
    held_out = cross_val_predict(pipeline, make(values), y, cv=cv)
    assert_allclose(result.values("r2")["age"].mean(), r2_score(y, held_out))
    assert_allclose(
        result.values("mae")["age"], -expected["test_neg_mean_absolute_error"]
    )
    fold = result.predictions.query("fold == 0")
    r = np.corrcoef(fold["y_true"], fold["y_pred"])[0, 1]
    assert_allclose(result.values("pearson_r")["age"].iloc[0], r)


def flips(estimator, X, y):
    """Count wrong labels, as a plain function for a scorer."""
    return -float(np.sum(estimator.predict(X) != y))


@pytest.mark.parametrize("positive", ["control", "migraine"])
def test_scorers_of_scikit_learn(rng, positive):
    """Names, scorers and functions give what cross_validate gives."""
    y = np.repeat(["control", "migraine"], [24, 12])
    X = make((y == "migraine")[:, None] + rng.standard_normal((36, 30)))
    pipeline, cv = linear(Values()), StratifiedKFold(3)
    half = make_scorer(fbeta_score, beta=0.5, pos_label=positive)
    scoring = {"f1": "f1", "neg_log_loss": "neg_log_loss", "F0.5": half, "wrong": flips}
    asked = {**scoring, "f1": make_scorer(f1_score, pos_label=positive)}
    expected = cross_validate(pipeline, X, y, cv=cv, scoring=asked)
    settings = {"cv": cv, "n_permutations": 1, "positive": positive}
    found = compare(X, y, {"a": pipeline}, scoring=scoring, **settings)
    assert found.metrics == list(scoring)
    for name in scoring:
        assert_allclose(found.values(name)["a"], expected[f"test_{name}"], atol=1e-12)
    row = found.summary("F0.5").iloc[0]
    assert row["low"] < row["mean"] < row["high"]
    assert "without a chance level" in found.verdicts("wrong")["a"]
    assert "F0.5" in repr(found)
    for one, name in ((flips, "flips"), ([half, "roc_auc"], str(half))):
        found = compare(X, y, {"a": pipeline}, scoring=one, **settings)
        assert found.metrics[0] == name
    curve = learning_curve(
        X, y, {"a": pipeline}, train_sizes=(1.0,), scoring=half, cv=cv
    )
    assert_allclose(curve.folds["value"], expected["test_F0.5"], atol=1e-12)


@pytest.mark.parametrize(
    ("scoring", "error", "match"),
    [
        ("fun", ValueError, "another name of sklearn"),
        ("r2", ValueError, "for two classes"),
        ([], ValueError, "one metric at least"),
        ([3], TypeError, "a name or a scorer, got 3"),
        ({"brier": "f1"}, ValueError, "are not those of our metrics"),
    ],
)
def test_scoring_that_is_none(made, scoring, error, match):
    X, y = made
    with pytest.raises(error, match=match):
        compare(X, y, {"a": linear(Values())}, scoring=scoring)


# -- once, and anywhere ----------------------------------------------------------------
def test_extracted_once(made, tmp_path):
    """A grid over classifiers reads each participant once, and keeps it."""
    X, y = made
    grid = {
        str(C): make_pipeline(Counting(), LogisticRegression(C=C)) for C in (0.1, 1, 10)
    }
    Counting.calls = 0
    first = compare(X, y, grid, n_permutations=1, memory=tmp_path)
    assert Counting.calls == len(X)
    Counting.calls = 0
    second = compare(X, y, grid, n_permutations=1, memory=tmp_path)
    assert Counting.calls == 0
    pd.testing.assert_frame_equal(first.folds, second.folds)


@pytest.mark.parametrize(
    "backend", [pytest.param("loky", marks=pytest.mark.slow), "dask"]
)
def test_same_in_other_processes(participants, cohort, backend):
    X, y = participants, cohort.labels
    pipelines = {"a": linear(HabituationFeatures()), "b": linear(BandPower())}
    settings = {"cv": StratifiedKFold(2), "n_permutations": 1}
    here = compare(X, y, pipelines, **settings)
    if backend == "loky":
        there = compare(X, y, pipelines, n_jobs=2, **settings)
    else:
        from distributed import Client, LocalCluster

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of ports and versions, not ours
            with (
                LocalCluster(2, threads_per_worker=1, processes=False) as cluster,
                Client(cluster),
                parallel_config("dask"),
            ):
                there = compare(X, y, pipelines, **settings)
    pd.testing.assert_frame_equal(here.folds, there.folds)
    pd.testing.assert_frame_equal(here.permutations, there.permutations)


def test_shown(made):
    X, y = made
    result = compare(X, [*y[:39], None], {"<a>": linear(Values())}, n_permutations=1)
    html = result._repr_html_()
    assert "&lt;a&gt;" in html and "<a>" not in html
    for text in (html, repr(result)):
        assert "39 participants" in text
        assert "participant 39: no label (n/a)" in text
        assert "by ROC AUC" in text
        assert "sensitivity (migraine)" in text
        assert "(20 control, 19 migraine), positive class: migraine" in text


def test_pipelines_are_left_as_they_are(made):
    X, y = made
    pipeline = linear(Counting())
    before = clone(pipeline)
    compare(X, y, {"a": pipeline}, n_permutations=0)
    assert str(before) == str(pipeline)
    assert not hasattr(pipeline[-1], "coef_")


# -- who, and of what ------------------------------------------------------------------
def test_named_participants(made):
    """Exclusions and predictions have names, and numbers do not depend on them."""
    X, y = made
    names = [f"sub-{n:02d}" for n in range(40, 0, -1)]
    labels = [*y[:39], None]
    settings = {"cv": StratifiedKFold(2), "n_permutations": 0}
    result = compare(X, labels, {"a": linear(Values())}, names=names, **settings)
    assert result.excluded["name"].to_list() == ["sub-01"]
    assert set(result.predictions["participant"]) == set(names[:39])
    plain = compare(X, labels, {"a": linear(Values())}, **settings)
    assert_allclose(result.values(), plain.values())
    with pytest.raises(ValueError, match="some twice; pass them as groups"):
        compare(X, y, {"a": linear(Values())}, names=["a"] * 40)


def test_positive_class(made):
    """Sensitivity is that of the class named, also by a classifier."""
    X, y = made
    settings = {"cv": StratifiedKFold(4), "n_permutations": 0}
    last = compare(X, y, {"a": linear(Values())}, **settings)
    first = compare(X, y, {"a": linear(Values())}, positive="control", **settings)
    assert (last.positive, first.positive) == ("migraine", "control")
    assert_allclose(first.values("sensitivity"), last.values("specificity"))
    assert_allclose(first.values("roc_auc"), last.values("roc_auc"))
    assert_allclose(first.values("brier"), last.values("brier"))
    assert_allclose(first.predictions["proba"], 1.0 - last.predictions["proba"])
    assert "sensitivity (control)" in repr(first)
    assert "positive class: control" in repr(first)
    for call in (compare, learning_curve):
        with pytest.raises(ValueError, match="'control', 'migraine'., got 'x'"):
            call(X, y, {"a": linear(Values())}, positive="x")
    from mne_megfm.evaluation._metrics import order_classes

    model = MEGFMClassifier(positive="control")
    assert order_classes(y, None, [model]).tolist() == ["migraine", "control"]
