"""Descriptions made before are taken as they are, and nobody is described again."""

import mne
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler

from mne_megfm import MEGFMClassifier, MEGFMTransformer
from mne_megfm.estimators.given import _is_alike
from mne_megfm.evaluation import BandPower, HabituationFeatures, compare, learning_curve
from mne_megfm.evaluation._running import _stamp

QUICK = {"cv": StratifiedKFold(2), "n_permutations": 0}


class Counting(BandPower):
    """Band power with a count of who was described."""

    calls = 0

    def describe(self, X):
        type(self).calls += len(X)
        return super().describe(X)


@pytest.fixture
def X(participants):
    return [dict(x) for x in participants]


def linear(step, C=1.0):
    return make_pipeline(step, StandardScaler(), LogisticRegression(C=C))


@pytest.mark.parametrize("call", [compare, learning_curve])
def test_nobody_is_described_again(X, cohort, call):
    """But for one participant, as a check; all pipelines with that step know it."""
    y = np.array(["control", "migraine"] * 6)
    grid = {"mild": linear(Counting(), 0.1), "strong": linear(Counting())}
    settings = {"cv": StratifiedKFold(3)}
    settings |= {"train_sizes": (0.5, 1)} if call is learning_curve else {}
    first = call(X, y, grid, **settings)
    Counting.calls = 0
    given = {"strong": Counting().describe(X)}
    assert Counting.calls == 12
    second = call(X, y, grid, descriptions=given, **settings)
    assert Counting.calls == 13
    pd.testing.assert_frame_equal(first.folds, second.folds, check_exact=True)


def test_some_are_left_out(X, cohort):
    """Each keeps its own; with a recording less, participants are described anew."""
    y = cohort.labels.astype(object)
    y[0] = None
    X[3]["sound"] = X[3]["auditory"].copy().crop(0.0)
    X[5]["rest"] = X[5]["rest"].copy().drop(range(9), verbose="error")
    pipelines = {"a": linear(Counting()), "b": linear(HabituationFeatures())}
    settings = {"cv": StratifiedKFold(3), "n_permutations": 1}
    first = compare(X, y, pipelines, **settings)
    kept = [n for n in range(12) if n != 5]
    given = dict(zip(kept, BandPower().describe([X[n] for n in kept]), strict=True))
    given[5] = {}  # of whom nothing could be said
    given = {"a": [given[n] for n in range(12)]}
    Counting.calls = 0
    second = compare(X, y, pipelines, descriptions=given, **settings)
    assert Counting.calls == 1 + 2
    assert first.excluded["kind"].to_list() == ["participant", "recording", "recording"]
    pd.testing.assert_frame_equal(first.excluded, second.excluded)
    pd.testing.assert_frame_equal(first.folds, second.folds, check_exact=True)
    pd.testing.assert_frame_equal(first.predictions, second.predictions)


def test_all_have_recordings_left_out(X):
    """Then all are described, and descriptions are of no use."""
    y = ["control", "migraine"] * 4
    X = X[:8]
    given = {"a": BandPower().describe(X)}
    for x in X:
        x["empty"] = x["rest"].copy().drop(range(9), verbose="error")
    pipelines = {"a": linear(BandPower())}
    first = compare(X, y, pipelines, **QUICK)
    second = compare(X, y, pipelines, descriptions=given, **QUICK)
    pd.testing.assert_frame_equal(first.folds, second.folds, check_exact=True)


def test_descriptions_of_the_model(X, cohort):
    """Folds are bit-equal to those without, also of a classifier that is parted."""
    X, y = X[:8], cohort.labels[:8]
    pipelines = {"probe": MEGFMClassifier(random_state=0)}
    first = compare(X, y, pipelines, **QUICK)
    described = MEGFMTransformer().describe(X)
    second = compare(X, y, pipelines, descriptions={"probe": described}, **QUICK)
    pd.testing.assert_frame_equal(first.folds, second.folds, check_exact=True)
    pd.testing.assert_frame_equal(first.predictions, second.predictions)
    assert first.provenance == second.provenance
    other = MEGFMTransformer(None, random_state=0).describe(X[:1])
    given = {"probe": other + described[1:]}
    with pytest.raises(ValueError, match="with the same weights, parameters and X"):
        compare(X, y, pipelines, descriptions=given, **QUICK)


def test_errors(X):
    """Descriptions are of these participants, by these pipelines."""
    X, y = X[:8], ["control", "migraine"] * 4
    both = FeatureUnion([("bands", BandPower()), ("dynamics", HabituationFeatures())])
    pipelines = {"bands": linear(BandPower()), "both": linear(both)}
    described = BandPower().describe(X)
    wrong = [
        (described, TypeError, "as a dict from the name of a pipeline .* got a list"),
        ({"other": described}, ValueError, r"describes, \['bands'\], got 'other'"),
        ({"both": described}, ValueError, r"describes, \['bands'\], got 'both'"),
        ({"bands": described[:7]}, ValueError, r"one a participant \(8\), got 7"),
        ({"bands": described[::-1]}, ValueError, "by the first step .* got others"),
        ({"bands": HabituationFeatures().describe(X)}, ValueError, "got others"),
    ]
    for given, error, message in wrong:
        with pytest.raises(error, match=message):
            compare(X, y, pipelines, descriptions=given, **QUICK)


def test_cache_knows_the_level():
    """What another participant encoder said is not taken from the disk."""
    transformer = MEGFMTransformer()
    transformer.participant_encoder_ = torch.nn.Linear(2, 2)
    before = _stamp(transformer)
    assert _stamp(transformer) == before
    with torch.no_grad():
        transformer.participant_encoder_.weight += 1
    assert _stamp(transformer) != before


def test_cache_knows_what_is_in_files(participants, cohort, tmp_path):
    """Files that are written anew, under the same names, are described anew."""
    y = cohort.labels[:8]

    def write(gain):
        """Give rest as recordings that are read when they are needed."""
        X = []
        for number, participant in enumerate(participants[:8]):
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


def test_names_and_memory_maps_are_compared(tmp_path):
    """Descriptions by other packages may hold names, or come from a file."""
    names = np.array(["rest", None], dtype=object)
    assert _is_alike(names, names.copy())
    assert not _is_alike(names, np.array(["rest", "task"], dtype=object))
    np.save(tmp_path / "values.npy", np.arange(3.0))
    mapped = np.load(tmp_path / "values.npy", mmap_mode="r")
    assert _is_alike(mapped, np.arange(3.0))
    assert not _is_alike(mapped, np.arange(3.0) + 1)
