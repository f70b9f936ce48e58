"""What the guide says of other packages: norms by PCNtoolkit, ComBat inside folds.

Skipped where these are not installed, as in the tests of each change: they bring many
others with them.
"""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mne_megfm.evaluation import cross_validate_participants
from mne_megfm.utils.tables import write_table

_SEEN = []
_SITES = np.array(["A", "B", "C"])


class Spy(LogisticRegression):
    """Remembers what it was fitted on."""

    def fit(self, X, y):
        _SEEN.append(np.array(X))
        return super().fit(X, y)


@pytest.fixture(scope="module")
def planted():
    """Return features of 150 people, their sites and groups.

    Sites differ in mean and spread; one feature differs by 1.5 SD between groups.
    """
    rng = np.random.default_rng(0)
    number, group = np.arange(150) % 3, rng.integers(0, 2, 150)
    values = rng.standard_normal((150, 20))
    values[:, :10] += np.array([0.0, 1.0, -1.0])[number][:, None]
    values[:, 5] += 1.5 * group
    values *= np.array([1.0, 1.5, 0.7])[number][:, None]
    names = pd.Index([f"sub-{n:03d}" for n in range(150)], name="participant")
    columns = [f"feature{n}" for n in range(20)]
    table = pd.DataFrame(values, names, columns)
    return table, pd.Series(_SITES[number], names), group


def _mean(estimator, X, y, metric):
    scores = cross_validate_participants(
        estimator, X, y, n_repeats=1, n_permutations=0, verbose="warning"
    )
    return scores.table.loc[metric, "mean"]


def test_site_is_lost_and_the_effect_is_kept(planted):
    combat = pytest.importorskip("combatlearn").ComBat
    X, site, group = planted
    head = [StandardScaler(), LogisticRegression(max_iter=1000)]
    plain = make_pipeline(*head)
    harmonised = make_pipeline(combat(batch=site, method="fortin"), *head)
    of_site = site.to_numpy()
    assert _mean(plain, X, of_site, "balanced_accuracy") > 0.7
    # a standard error of 0.04 at chance, 1 / 3
    assert _mean(harmonised, X, of_site, "balanced_accuracy") < 0.33 + 0.08
    before, after = (_mean(one, X, group, "roc_auc") for one in (plain, harmonised))
    # Phi(1.5 / sqrt(2)) = 0.86, if the feature were known to be the one
    assert after > before and 0.7 < after < 0.92


def test_training_does_not_see_test_rows(planted):
    combat = pytest.importorskip("combatlearn").ComBat
    X, site, group = planted
    train, test = np.arange(100), np.arange(100, 150)
    other = X.copy()
    mixed = np.random.default_rng(1).permutation(test)
    other.iloc[test] = 3 * X.iloc[mixed].to_numpy()
    pipeline = make_pipeline(combat(batch=site, method="fortin"), Spy())
    _SEEN.clear()
    for given in (X, other):
        cross_validate_participants(
            pipeline, given, group, cv=[(train, test)], n_permutations=0,
            verbose="warning",
        )  # fmt: skip
    first, second = _SEEN
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, X.iloc[train])


@pytest.mark.filterwarnings("ignore")
def test_deviations_are_those_of_regression(tmp_path):
    """On a table as it is written; against least squares, and a planted effect."""
    toolkit = pytest.importorskip("pcntoolkit")
    rng = np.random.default_rng(0)
    n, patients = 280, np.arange(280) >= 200
    age = rng.uniform(20, 70, n).round()
    sex, site = rng.choice(["F", "M"], n), rng.choice(["01", "02"], n)
    values = rng.standard_normal((n, 3)) + 0.05 * age[:, None]
    values[:, 1] += 0.7 * (site == "02")
    values[patients, 0] += 1.5
    features = ["alpha", "beta", "theta"]
    known = {"participant": [f"sub-{k:03d}" for k in range(n)], "age": age}
    table = pd.DataFrame(known | {"sex": sex, "site": site}).join(
        pd.DataFrame(values, columns=features)
    )
    write_table(table, tmp_path / "people.csv")
    people = pd.read_csv(tmp_path / "people.csv", dtype={"site": str})
    norms, others = (
        toolkit.NormData.from_dataframe(
            name, part, covariates=["age"], batch_effects=["sex", "site"],
            response_vars=features, subject_ids="participant", remove_Nan=True,
        )
        for name, part in (("norms", people[~patients]), ("others", people[patients]))
    )  # fmt: skip
    model = toolkit.NormativeModel(
        toolkit.BLR(fixed_effect=True), savemodel=False, saveresults=False,
        saveplots=False,
    )  # fmt: skip
    model.fit(norms)
    model.predict(others)
    z = others.Z.to_pandas()
    assert others.subject_ids.to_numpy().tolist() == known["participant"][200:]
    columns = np.c_[np.ones(n), age, sex == "M", site == "02"].astype(float)
    line = np.linalg.lstsq(columns[:200], values[:200], rcond=None)[0]
    rest = values - columns @ line
    expected = rest[200:] / np.sqrt((rest[:200] ** 2).sum(0) / (200 - 4))
    # a prior of the coefficients pulls a little
    np.testing.assert_allclose(z[features], expected, atol=0.25)
    for k, name in enumerate(features):
        assert np.corrcoef(z[name], expected[:, k])[0, 1] > 0.999
    # a standard error of 0.13
    assert z["alpha"].mean() == pytest.approx(1.5, abs=0.4)
    assert abs(z["theta"].mean()) < 0.4
