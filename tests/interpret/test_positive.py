"""The class that explanations are for follows ``positive`` and is named."""

import matplotlib.pyplot as plt
import mne
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, recall_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline

from mne_megfm import MEGFMClassifier, MEGFMTransformer, simulate_cohort
from mne_megfm.interpret import attribute, decision_map, occlude, state_importance
from mne_megfm.report import MEGFMReport
from mne_megfm.viz import plot_attribution, plot_importance

FEW = {"n_permutations": 1, "alpha": 0.5, "cv": 2, "verbose": False}


@pytest.fixture(scope="module")
def planted():
    """Return epochs of which those called "loud" have one field more at 0.3 s."""
    cohort = simulate_cohort(
        1, states=("rest",), arrays=("opm64",), n_epochs=16, random_state=3
    )
    epochs = cohort.epochs("rest")[0]
    y = np.array(["loud", "quiet"] * 8)
    dipole = mne.Dipole([0.0], [[0.045, 0.0, 0.08]], [1.0], [[0.0, 1.0, 0.0]], [1.0])
    sphere = mne.make_sphere_model((0.0, 0.0, 0.04), head_radius=None)
    field = mne.make_forward_dipole(dipole, sphere, epochs.info)[0]["sol"]["data"]
    wave = np.exp(-0.5 * ((epochs.times - 0.3) / 0.03) ** 2)
    data = epochs.get_data() + 2e-7 * (y == "loud")[:, None, None] * field * wave
    return mne.EpochsArray(data, epochs.info, tmin=epochs.tmin), y, field[:, 0]


def model(positive=None):
    """Return a classifier, or the same as a pipeline of its steps."""
    return MEGFMClassifier(
        strategy="probe", head=LogisticRegression(C=1e-3), positive=positive
    )


@pytest.mark.parametrize(
    ("positive", "target", "expected"),
    [
        ("loud", None, "loud"),
        ("quiet", None, "quiet"),
        (None, None, "quiet"),
        ("quiet", "loud", "loud"),
    ],
)
def test_map_is_for_the_positive_class(planted, positive, target, expected):
    """The field that loud trials have more of goes with decisions for them."""
    epochs, y, field = planted
    found = attribute(model(positive), epochs, y, target=target, **FEW)
    at = np.abs(epochs.times - 0.3).argmin()
    sign = 1 if expected == "loud" else -1
    assert sign * np.corrcoef(found.maps["all"].data[:, at], field)[0, 1] > 0.8
    assert found.target == found.score.positive == expected
    assert f"positive class: {expected}" in str(found.score)
    assert f"Positive values are for {expected}." in found.in_words()
    fig = plot_attribution(found, [0.3], show=False)
    assert any(f"positive: for {expected}" in ax.get_ylabel() for ax in fig.axes)
    assert f"positive class: {expected}" in fig.get_suptitle()
    plt.close("all")
    fitted = model(positive).fit(epochs, y)
    plain = decision_map(fitted, epochs, target=target).data[:, at]
    assert sign * np.corrcoef(plain, field)[0, 1] > 0.8


def test_contributions_are_for_the_own_label(planted):
    """Evidence for the label of each row is the same whichever class is named."""
    epochs, y, _ = planted
    lost = [occlude(model(p), epochs, y, "times", **FEW) for p in ("loud", "quiet")]
    np.testing.assert_allclose(lost[0].summary["lost"], lost[1].summary["lost"])
    # decisions themselves are for the class
    tables = [one.table["decision"].to_numpy() for one in lost]
    np.testing.assert_allclose(tables[0], -tables[1])
    assert [one.target for one in lost] == ["loud", "quiet"]
    decisions = tables[0][: len(y)]
    assert decisions[y == "loud"].mean() > decisions[y == "quiet"].mean()


class Numbers(MEGFMTransformer):
    """A first step whose participants are dicts of numbers."""

    def _load_frozen(self):
        pass

    def _read_participants(self, X):
        return [dict(x) for x in X]

    def _combine_states(self, read):
        return read

    def _fit_extracted(self, extracted, y=None):
        return self

    def _transform_extracted(self, extracted):
        return np.array([[one.get(n, 0.0) for n in "ab"] for one in extracted])


@pytest.mark.parametrize("positive", [None, "control", "migraine"])
@pytest.mark.parametrize("scoring", ["recall", "average_precision"])
def test_scores_of_the_positive_class(rng, positive, scoring):
    """Scores of folds are those of scikit-learn's functions with ``pos_label``."""
    y = np.repeat(["control", "migraine"], [40, 20])
    values = rng.standard_normal((60, 2)) + 0.8 * (y == "migraine")[:, None]
    X = [dict(zip("ab", x, strict=True)) for x in values]
    pipeline = make_pipeline(Numbers(), LogisticRegression())
    cv = StratifiedKFold(3)
    found = state_importance(
        pipeline, X, y, scoring=scoring, positive=positive, **FEW | {"cv": cv}
    )
    named = positive or "migraine"
    expected = []
    for train, test in cv.split(values, y):
        fitted = clone(pipeline[-1]).fit(values[train], y[train])
        side = 1.0 if named == "migraine" else -1.0
        expected.append(
            recall_score(y[test], fitted.predict(values[test]), pos_label=named)
            if scoring == "recall"
            else average_precision_score(
                y[test] == named, side * fitted.decision_function(values[test])
            )
        )
    scores = found.table.groupby("fold")["score"].first()
    np.testing.assert_allclose(scores, expected)
    assert found.score.positive == named
    assert f"positive class: {named}" in found.in_words()
    fig = plot_importance(found, show=False)
    assert f"positive class: {named}" in fig.get_suptitle()
    plt.close("all")


def test_report_names_the_class(planted, tmp_path):
    """The page says what positive values are for."""
    epochs, y, _ = planted
    found = attribute(model("loud"), epochs, y, **FEW)
    path = tmp_path / "report.html"
    report = MEGFMReport()
    report.add_explanations(found)
    report.save(path)
    assert "Positive values are for loud." in path.read_text(encoding="utf-8")


def test_no_such_class(planted, rng):
    """A class that is not there is refused."""
    epochs, y, _ = planted
    with pytest.raises(ValueError, match="target to be one of the classes"):
        attribute(model("silent"), epochs, y, **FEW)
    X = [{"a": v, "b": v} for v in rng.standard_normal(16)]
    pipeline = make_pipeline(Numbers(), LogisticRegression())
    with pytest.raises(ValueError, match=r"one of two labels, got 'x' with \['loud'"):
        state_importance(pipeline, X, y, positive="x", **FEW)
