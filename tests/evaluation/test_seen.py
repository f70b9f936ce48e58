"""What the weights of a pipeline had seen is told, wherever they are."""

import numpy as np
import pytest
from sklearn.feature_selection import SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import FeatureUnion, make_pipeline

from mne_megfm import MEGFMClassifier, MEGFMTransformer
from mne_megfm.estimators import FineTuning
from mne_megfm.evaluation import BandPower, compare

QUICK = {"cv": StratifiedKFold(2), "n_permutations": 0, "n_random_weights": 0}


def linear(step):
    return make_pipeline(step, LogisticRegression(max_iter=1000))


@pytest.mark.slow
def test_wherever_the_weights_are(participants, cohort):
    model = MEGFMTransformer()
    union = FeatureUnion([("model", model), ("bands", BandPower())])
    both = FeatureUnion(
        [("model", model), ("untrained", MEGFMTransformer(None, random_state=0))]
    )
    pipelines = {
        "plain": linear(model),
        "grid": GridSearchCV(
            linear(model), {"logisticregression__C": [0.1, 1.0]}, cv=2
        ),
        "nested": make_pipeline(make_pipeline(model), LogisticRegression()),
        "weighted": linear(union.set_params(transformer_weights={"model": 2.0})),
        "both": linear(both),
        "tuned": MEGFMClassifier(
            strategy="lora", finetuning=FineTuning(max_epochs=1), random_state=0
        ),
        "bands": linear(BandPower()),
    }
    seen = compare(participants, cohort.labels, pipelines, **QUICK).provenance
    plain = seen["plain"]
    assert plain["name"] == "megfm-tiny"
    assert seen["grid"] == seen["nested"] == seen["weighted"] == plain
    assert list(seen["both"]) == ["MEGFMTransformer 1", "MEGFMTransformer 2"]
    assert seen["both"]["MEGFMTransformer 1"] == plain
    assert set(seen["both"]["MEGFMTransformer 2"]) >= {"random_weights"}
    assert seen["tuned"]["fine_tuned_on_labels"]["strategy"] == "lora"
    assert {k: seen["tuned"][k] for k in plain} == plain
    assert seen["bands"] is None


@pytest.mark.filterwarnings("ignore:Features:UserWarning", "ignore:invalid value")
def test_what_was_fitted_before_is_told(brief):
    """Columns chosen by all labels tell labels that mean nothing."""
    y = np.random.default_rng(3).permutation(["control", "migraine"] * 6)
    chosen = make_pipeline(BandPower(), SelectKBest(k=5))
    chosen.fit(brief, y)
    pipelines = {"chosen": linear(FrozenEstimator(chosen)), "own": linear(BandPower())}
    with pytest.warns(RuntimeWarning, match="'chosen' holds Pipeline fitted before"):
        result = compare(brief, y, pipelines, **QUICK)
    assert result.summary().loc["chosen", "mean"] > 0.8
    assert result.settings["fitted_before"] == {"chosen": ["Pipeline"]}
    assert "chosen holds Pipeline fitted before" in repr(result)
    assert "own holds" not in repr(result)
