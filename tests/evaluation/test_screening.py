"""Features are screened by mutual information inside the folds, and have names."""

from functools import partial

import mne
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.feature_selection import (
    SelectKBest,
    VarianceThreshold,
    mutual_info_classif,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score, cross_validate
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mne_megfm import MEGFMTransformer, MEGSamples
from mne_megfm.evaluation import compare
from mne_megfm.simulation import make_array_info

INFORMATION = partial(mutual_info_classif, random_state=0)


def _screened(transformer, k):
    return make_pipeline(
        transformer,
        VarianceThreshold(),
        SelectKBest(INFORMATION, k=k),
        StandardScaler(),
        LogisticRegression(max_iter=1000),
    )


@pytest.mark.slow
def test_screened_in_each_fold(participants, cohort):
    """Selected features, and scores of test participants, are those of training folds.

    Against fits by hand: features of the training participants, their information on
    the labels, and the best of them by name.
    """
    X, y, cv = participants, np.array(cohort.labels), StratifiedKFold(3)
    transformer = MEGFMTransformer(random_state=0).set_output(transform="pandas")
    folds, tables, orders, gaps = [*cv.split(y, y)], [], [], []
    for train, _ in folds:
        features = transformer.fit_transform([X[i] for i in train])
        features = features.loc[:, features.nunique() > 1]
        information = mutual_info_classif(features, y[train], random_state=0)
        tables.append(features)
        orders.append(np.argsort(information))
        gaps.append(np.diff(np.sort(information))[::-1])
    # of few people many features tell equally much: no ties at the last that is chosen
    k = next(k for k in range(4, 20) if all(gap[k - 1] > 1e-6 for gap in gaps))
    pipeline = _screened(MEGFMTransformer(random_state=0), k)
    result = compare(
        X, y, {"screened": pipeline}, cv=cv, n_permutations=0, n_random_weights=0
    )
    scores = result.predictions.set_index("participant")["score"]
    found = cross_validate(pipeline, X, y, cv=cv, return_estimator=True)
    chosen = []
    for fitted, (train, test), features, order in zip(
        found["estimator"], folds, tables, orders, strict=True
    ):
        best = features.columns[np.sort(order[-k:])]
        chosen.append(set(best))
        assert fitted[:-1].get_feature_names_out().tolist() == best.tolist()
        head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        head.fit(features[best].to_numpy(), y[train])
        held_out = transformer.fit([X[i] for i in train]).transform(
            [X[i] for i in test]
        )
        expected = head.decision_function(held_out[best].to_numpy())
        own = fitted.decision_function([X[i] for i in test])
        assert_allclose(own, expected, rtol=1e-6)
        found_here = scores.to_numpy()[test]
        assert_allclose(found_here, expected, rtol=1e-4, atol=1e-5)
    # the share of folds, as the guide has it
    names = [fold[:-1].get_feature_names_out() for fold in found["estimator"]]
    share = pd.Series(np.concatenate(names)).value_counts() / len(names)
    for name, value in share.items():
        assert value == sum(name in best for best in chosen) / 3
    assert share.sum() == pytest.approx(k)


@pytest.mark.slow
def test_nothing_is_found_in_noise():
    """Labels without any effect are at chance, but not if features are chosen before.

    Neighbours, since information that is not linear is no use to a linear head.
    """
    rng = np.random.default_rng(0)
    data = 1e-13 * rng.standard_normal((32, 64, 250))
    info = make_array_info("opm64", sfreq=250.0)
    epochs = mne.EpochsArray(data, info, verbose="error")
    y = rng.permutation(np.arange(32) % 2)
    transformer = MEGFMTransformer(
        None,
        config={"d_model": 16, "n_layers": 1},
        pooling="space",
        sensor_mapping="canonical",
        random_state=0,
    )
    head = make_pipeline(StandardScaler(), KNeighborsClassifier(5))
    chosen = SelectKBest(INFORMATION, k=10)
    screened = make_pipeline(transformer, chosen, head)
    inside = cross_val_score(screened, MEGSamples(epochs), y, cv=4).mean()
    features = transformer.fit_transform(epochs)
    before = cross_val_score(head, chosen.fit_transform(features, y), y, cv=4).mean()
    assert inside < 0.65 < 0.7 < before
