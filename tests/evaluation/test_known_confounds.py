"""Features without confounds, and confounds alone, of people with planted ones."""

import mne
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mne_megfm.evaluation import compare, learning_curve

_N = 120
_SEEN = []


class Planted(TransformerMixin, BaseEstimator):
    """Features of a table, looked up by a number in the info of a recording."""

    def __init__(self, table=None):
        self.table = table

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        rows = [int(x["rest"].info["description"]) for x in X]
        return np.asarray(self.table)[rows]


class FrozenPlanted(Planted):
    """The same, as a frozen step that reads each participant by itself."""

    def _is_frozen(self):
        return True

    def _read_participants(self, X):
        return [{"rest": row} for row in self.transform(X)]

    def _fit_extracted(self, extracted, y=None):
        return self

    def _transform_extracted(self, extracted):
        return np.array([one["rest"] for one in extracted])


class Spy(LogisticRegression):
    """Remembers what it was fitted on and asked about."""

    def fit(self, X, y):
        _SEEN.append(X.copy())
        return super().fit(X, y)

    def decision_function(self, X):
        _SEEN.append(X.copy())
        return super().decision_function(X)


@pytest.fixture(autouse=True)
def _few_checks(monkeypatch):
    """Leave out checks of signals and copies, which are tested elsewhere."""
    monkeypatch.setattr("mne_megfm.inputs.reading._check_some_rows", lambda *_: None)
    monkeypatch.setattr("mne_megfm.evaluation._samples.find_copies", lambda *_: [])


@pytest.fixture(scope="module")
def people():
    """Return tiny recordings of 120 people, each of which knows its number."""
    rng = np.random.default_rng(0)
    info = mne.create_info(8, 100.0, "mag")
    found = []
    for number in range(_N):
        epochs = mne.EpochsArray(
            1e-13 * rng.standard_normal((2 + number % 2, 8, 50)), info, verbose=False
        )
        epochs.info["description"] = str(number)
        found.append({"rest": epochs})
    return found


def _pipelines(table, step=FrozenPlanted):
    head = make_pipeline(StandardScaler(), LogisticRegression())
    return {"features": make_pipeline(step(table), *[s for _, s in head.steps])}


def _auc(result, name="features"):
    return result.summary("roc_auc").loc[name, "mean"]


def _compare(people, y, pipelines, **kwargs):
    given = {"cv": StratifiedKFold(5, shuffle=True, random_state=0)}
    given |= {"n_permutations": 0, "scoring": "roc_auc"}
    return compare(people, y, pipelines, **given | kwargs)


def _by_confound(kind, rng):
    """Draw people whose label and features depend on a confound alone."""
    noise = rng.standard_normal((_N, 6))
    if kind == "age":
        confound = rng.uniform(20, 70, _N)
        push, strength = (confound - 45) / 10, (confound - 45) / 14
    else:
        number = np.arange(_N) % 4
        confound = np.array(["B", "D", "A", "C"])[number]
        push = np.array([2.0, -1.0, -2.0, 1.0])[number]
        strength = push
    y = rng.random(_N) < 1 / (1 + np.exp(-2 * push))
    features = noise + strength[:, None] * np.array([1, -1, 0.5, 2, 0, 0])
    return pd.DataFrame({kind: confound}), y.astype(int), features


@pytest.mark.parametrize("kind", ["age", "site"])
def test_label_of_a_confound_alone_is_lost(people, kind):
    confounds, y, features = _by_confound(kind, np.random.default_rng(4))
    pipelines = _pipelines(features)
    assert _auc(_compare(people, y, pipelines)) > 0.8
    result = _compare(people, y, pipelines, confounds=confounds)
    # Mann-Whitney: a standard error of about 0.053 at chance
    assert abs(_auc(result) - 0.5) < 0.12
    assert _auc(result, "confounds alone") > 0.85
    assert result.pipelines == ["features", "confounds alone"]
    assert result.settings["residualised"] == [kind]
    assert f"features without {kind}" in repr(result)
    scores = result.confound_scores.set_index("confound")
    assert scores.loc[kind, "low"] > 0.7
    # half of them have one trial more, which says nothing
    row = scores.loc["number of trials"]
    assert row["low"] < 0.5 < row["high"]
    assert "the same in all: 8 magnetometers" in scores.loc["array", "note"]
    assert kind in result._repr_html_()


def test_effect_beside_a_confound_stays(people):
    rng = np.random.default_rng(5)
    y = np.arange(_N) // 2 % 2
    age = rng.uniform(20, 70, _N)
    features = rng.standard_normal((_N, 3))
    features[:, 0] += 2.0 * y + (age - 45) / 5
    confounds = {"age": age}
    before = _auc(_compare(people, y, _pipelines(features)))
    after = _auc(_compare(people, y, _pipelines(features), confounds=confounds))
    # d = 2 without the confound: AUC = Phi(2 / sqrt(2)) = 0.921
    assert after == pytest.approx(0.921, abs=0.05)
    assert after > before + 0.1


def test_training_does_not_see_confounds_of_the_test_fold(people):
    rng = np.random.default_rng(6)
    y = np.arange(_N) // 2 % 2
    confounds = pd.DataFrame(
        {
            "age": rng.uniform(20, 70, _N),
            "site": np.array(["A", "B", "C"])[np.arange(_N) % 3],
        }
    )
    features = rng.standard_normal((_N, 4))
    train, test = np.arange(90), np.arange(90, _N)
    other = confounds.copy()
    other.iloc[test] = other.iloc[rng.permutation(test)].to_numpy()
    other["age"] = other["age"].astype(float)
    seen = []
    for given in (confounds, other):
        _SEEN.clear()
        pipelines = {"spy": make_pipeline(FrozenPlanted(features), Spy())}
        _compare(people, y, pipelines, confounds=given, cv=[(train, test)])
        seen.append([_SEEN[0], _SEEN[1]])
    assert_array_equal(seen[0][0], seen[1][0])
    assert not np.allclose(seen[0][1], seen[1][1])
    # least squares by hand
    levels = pd.get_dummies(confounds["site"]).to_numpy(float)
    columns = np.c_[confounds["age"], levels]
    line = np.linalg.lstsq(columns[train], features[train], rcond=None)[0]
    mean = features[train].mean(0)
    assert_allclose(seen[0][0], features[train] - columns[train] @ line + mean)
    assert_allclose(seen[0][1], features[test] - columns[test] @ line + mean)


def test_steps_that_are_fitted_in_each_fold(people):
    confounds, y, features = _by_confound("age", np.random.default_rng(7))
    results = [
        _compare(people, y, _pipelines(features, step), confounds=confounds)
        for step in (FrozenPlanted, Planted)
    ]
    pd.testing.assert_frame_equal(results[0].predictions, results[1].predictions)
    # nothing but the classifier: nothing to take confounds out of
    pipelines = _pipelines(features) | {"one": Spy()}
    result = _compare(people, y, pipelines, confounds=confounds)
    assert result.pipelines == ["features", "confounds alone"]
    assert result.excluded["name"].tolist() == ["one"]
    with pytest.raises(ValueError, match="a transformer and an estimator"):
        _compare(people, y, {"one": Spy()}, confounds=confounds)


def test_missing_values_and_levels(people):
    confounds, y, features = _by_confound("age", np.random.default_rng(8))
    confounds["sex"] = np.array(["F", "M", None], dtype=object)[np.arange(_N) % 3]
    confounds["rare"] = np.where(np.arange(_N) == 3, "x", "y")
    confounds.loc[5, "age"] = np.nan
    result = _compare(people, y, _pipelines(features), confounds=confounds)
    assert np.isfinite(result.predictions["proba"]).all()
    scores = result.confound_scores.set_index("confound")
    assert scores.loc["age", "n"] == _N - 1 and scores.loc["sex", "n"] == _N * 2 // 3
    assert scores["kind"].to_dict() == {
        "age": "number", "sex": "category", "rare": "category",
        "array": "category", "number of trials": "number",
    }  # fmt: skip


def test_tables_of_confounds(people):
    rng = np.random.default_rng(9)
    trials = np.array([len(person["rest"]) for person in people])
    y = np.where(trials == 3, "migraine", "control")
    age = rng.uniform(20, 70, _N) + 10 * (y == "migraine")
    site = np.where(rng.random(_N) < 0.3, "B", "A")
    result = _compare(
        people, y, _pipelines(rng.standard_normal((_N, 2))),
        confounds={"age": age}, sites=site, cv=StratifiedKFold(4), n_permutations=1,
    )  # fmt: skip
    scores = result.confound_scores.set_index("confound")
    assert list(scores.index) == ["age", "array", "number of trials", "site"]
    assert scores.loc["number of trials", "value"] == 1.0
    # of one number, a line orders people as the number does
    folds = StratifiedKFold(4).split(age, y)
    expected = np.mean([roc_auc_score(y[test], age[test]) for _, test in folds])
    assert scores.loc["age", "value"] == pytest.approx(expected)
    groups = result.confound_groups.set_index(["confound", "level", "group"])
    for group in ("control", "migraine"):
        row = groups.loc[("age", "", group)]
        own = pd.Series(age[y == group])
        assert row["n"] == len(own)
        assert_allclose(row[["mean", "sd"]].astype(float), [own.mean(), own.std()])
        row = groups.loc[("site", "B", group)]
        assert row["n"] == np.sum(site[y == group] == "B")
        assert row["share"] == pytest.approx(np.mean(site[y == group] == "B"))
    # no baseline, and permuted as the others are
    assert "confounds alone" not in result.settings["baselines"]
    assert set(result.permutations["pipeline"]) == {"features", "confounds alone"}


def test_confounds_follow_who_is_left_out(people):
    confounds, y, features = _by_confound("age", np.random.default_rng(10))
    labels = y.astype(float)
    labels[:20] = np.nan
    part = _compare(people, labels, _pipelines(features), confounds=confounds)
    alone = _compare(
        people[20:], y[20:], _pipelines(features), confounds=confounds.iloc[20:]
    )
    assert_allclose(part.predictions["proba"], alone.predictions["proba"])


def test_refused(people):
    confounds, y, features = _by_confound("age", np.random.default_rng(11))
    pipelines = _pipelines(features)

    def refuse(given, match, error=ValueError, **kwargs):
        with pytest.raises(error, match=match):
            _compare(people, y, pipelines, confounds=given, **kwargs)

    refuse(confounds.iloc[:-1], r"one row for each element of X \(120\), got 119")
    refuse(["age"], "confounds as a DataFrame", TypeError)
    refuse(confounds[[]], "a column of confounds")
    refuse({"age": np.full(_N, 30.0)}, "one value in 'age'")
    refuse({"age": np.r_[np.inf, np.arange(_N - 1.0)]}, "finite numbers in 'age'")
    names = [f"P{n}" for n in range(_N)]
    refuse(confounds.set_index(pd.Index(names[::-1])), "another order", names=names)
    refuse({"code": names}, "fewer columns of confounds")
    with pytest.warns(RuntimeWarning, match="pass them as text"):
        _compare(people, y, pipelines, confounds={"site": np.arange(_N) % 5})
    pipelines = {"confounds alone": pipelines["features"]}
    refuse(confounds, "other names of pipelines")


# -- learning curve --------------------------------------------------------------------
def test_learning_curve_with_all_labels_is_as_in_compare(people):
    confounds, y, features = _by_confound("site", np.random.default_rng(12))
    confounds["age"] = np.random.default_rng(13).uniform(20, 70, _N)
    cv = StratifiedKFold(5, shuffle=True, random_state=0)
    given = {"confounds": confounds, "scoring": "roc_auc", "cv": cv}
    pipelines = _pipelines(features) | {"one": Spy()}
    curve = learning_curve(people, y, pipelines, train_sizes=(0.5, 1.0), **given)
    result = compare(people, y, pipelines, n_permutations=0, **given)
    full = curve.folds[curve.folds["size"] == 1.0].drop(columns="size")
    pd.testing.assert_frame_equal(full.reset_index(drop=True), result.folds)
    assert curve.residualised == ["site", "age"]
    assert "features without site, age" in repr(curve)
    assert curve.excluded["name"].tolist() == ["one"]
    table = curve.summary()["mean"]
    # the label depends on the site alone: nothing is left of it at any size
    assert (abs(table["features"] - 0.5) < 0.15).all()
    assert (table["confounds alone"] > 0.85).all()


def test_fewer_labels_residualise_by_fewer_people(people):
    """At half the labels the line is that of half of the training participants."""
    rng = np.random.default_rng(14)
    y = np.arange(_N) // 2 % 2
    age, features = rng.uniform(20, 70, _N), rng.standard_normal((_N, 4))
    train, test = np.arange(90), np.arange(90, _N)
    _SEEN.clear()
    curve = learning_curve(
        people, y, {"spy": make_pipeline(FrozenPlanted(features), Spy())},
        train_sizes=(0.5,), confounds={"age": age}, cv=[(train, test)],
        scoring="roc_auc",
    )  # fmt: skip
    used = list(curve.folds["train"].iloc[0])
    assert len(used) == 45
    columns = np.c_[np.ones(_N), age]
    line = np.linalg.lstsq(columns[used], features[used], rcond=None)[0]
    expected = features - columns @ line + features[used].mean(0)
    assert_allclose(_SEEN[0], expected[used])
    assert_allclose(_SEEN[1], expected[test])
    few = {"train_sizes": (0.05, 1.0), "confounds": {"site": np.arange(_N) % 5 + 0.5}}
    few["confounds"]["site"] = few["confounds"]["site"].astype(str)
    with pytest.raises(ValueError, match=r"than training participants \(4\), got 5"):
        learning_curve(people, y, _pipelines(features), cv=[(train, test)], **few)
