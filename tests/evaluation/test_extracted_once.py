"""What frozen weights extract is computed once, and kept by ``memory``."""

import mne
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mne_megfm import MEGFMClassifier, MEGFMTransformer
from mne_megfm.estimators.frozen import FrozenStep, stamp
from mne_megfm.evaluation import BandPower, HabituationFeatures, compare, learning_curve

SMALL = {"d_model": 32, "n_layers": 1, "n_heads": 2}
QUICK = {"cv": StratifiedKFold(2), "n_permutations": 0, "n_random_weights": 0}


class Counting(BandPower):
    """Band power with a count of participants that were read."""

    calls = 0

    def _read_participants(self, X):
        type(self).calls += len(X)
        return super()._read_participants(X)


@pytest.fixture
def X(brief):
    return [dict(x) for x in brief]


def linear(step, C=1.0):
    return make_pipeline(step, StandardScaler(), LogisticRegression(C=C))


@pytest.mark.parametrize("call", [compare, learning_curve])
def test_nobody_is_read_again(X, tmp_path, call):
    """Pipelines with one first step share it, and a later call finds it on disk."""
    y = np.array(["control", "migraine"] * 6)
    grid = {"mild": linear(Counting(), 0.1), "strong": linear(Counting())}
    settings = {"cv": StratifiedKFold(3)}
    settings |= (
        {"train_sizes": (0.5, 1)} if call is learning_curve else {"n_permutations": 1}
    )
    Counting.calls = 0
    first = call(X, y, grid, **settings)
    assert Counting.calls == 12
    call(X, y, grid, memory=tmp_path, **settings)
    assert Counting.calls == 24
    second = call(X, y, grid, memory=tmp_path, **settings)
    assert Counting.calls == 24
    pd.testing.assert_frame_equal(first.folds, second.folds, check_exact=True)


def test_who_has_a_recording_less_is_read_again(X, cohort, tmp_path):
    y = cohort.labels
    pipelines = {"a": linear(Counting()), "b": linear(HabituationFeatures())}
    settings = {"cv": StratifiedKFold(3), "n_permutations": 1}
    compare(X, y, pipelines, memory=tmp_path, **settings)
    y = y.astype(object)
    y[0] = None
    X[3]["sound"] = X[3]["auditory"].copy().crop(0.0)
    X[5] = {"auditory": X[5]["auditory"]}
    first = compare(X, y, pipelines, **settings)
    Counting.calls = 0
    second = compare(X, y, pipelines, memory=tmp_path, **settings)
    # of the third the state that nobody else has is left out
    assert Counting.calls == 1
    assert first.excluded["kind"].to_list() == ["participant", "recording"]
    pd.testing.assert_frame_equal(first.folds, second.folds, check_exact=True)
    pd.testing.assert_frame_equal(first.predictions, second.predictions)


@pytest.mark.slow
def test_model_in_memory(X, cohort, tmp_path):
    """Folds are bit-equal to those without, also of a classifier that is parted."""
    X, y = X[:8], cohort.labels[:8]
    pipelines = {"probe": MEGFMClassifier(random_state=0)}
    first = compare(X, y, pipelines, **QUICK)
    for _ in range(2):
        second = compare(X, y, pipelines, memory=tmp_path, **QUICK)
        pd.testing.assert_frame_equal(first.folds, second.folds, check_exact=True)
        pd.testing.assert_frame_equal(first.predictions, second.predictions)
        assert first.provenance == second.provenance


def test_fit_and_transform_in_parts(X):
    """Features are those of fit and transform; the step that was given stays as is."""
    for step in (
        MEGFMTransformer(),
        MEGFMTransformer(None, config=SMALL, aggregation="mean_std", random_state=1),
        BandPower(),
    ):
        frozen = FrozenStep(step)
        extracted = frozen.extract(X[:3])
        fitted = frozen.fit(extracted[:2])
        step.set_output(transform="default")
        found = frozen.transform(fitted, extracted)
        assert not hasattr(step, "states_")
        expected = step.fit(X[:2]).transform(X[:3])
        np.testing.assert_array_equal(found, expected)


def test_cache_knows_the_level():
    """What another participant encoder said is not taken from the disk."""
    transformer = MEGFMTransformer()
    transformer.aggregator_ = torch.nn.Linear(2, 2)
    before = stamp(transformer)
    assert stamp(transformer) == before
    with torch.no_grad():
        transformer.aggregator_.weight += 1
    assert stamp(transformer) != before


def test_cache_knows_what_is_in_files(brief, cohort, tmp_path):
    """Files that are written anew, under the same names, are described anew."""
    y = cohort.labels[:8]

    def write(gain):
        """Give rest as recordings that are read when they are needed."""
        X = []
        for number, participant in enumerate(brief[:8]):
            rest = participant["rest"]
            data = gain * np.hstack(rest.get_data(copy=True))
            data[:, ::2] *= 1.5 - 0.5 * gain
            path = tmp_path / f"{number}_raw.fif"
            raw = mne.io.RawArray(data, rest.info, verbose="error")
            raw.save(path, overwrite=True, verbose="error")
            X.append({"rest": mne.io.read_raw(path, verbose="error")})
        return X

    def scores(memory):
        return compare(
            X, y, {"bands": linear(BandPower())}, memory=memory, **QUICK
        ).predictions["score"]

    X = write(1.0)
    before = scores(tmp_path / "cache")
    np.testing.assert_array_equal(scores(tmp_path / "cache"), before)
    X = write(2.0)
    after = scores(tmp_path / "cache")
    np.testing.assert_array_equal(after, scores(None))
    assert not np.allclose(after, before)
