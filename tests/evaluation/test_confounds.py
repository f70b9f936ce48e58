"""Gates and confounds of a comparison, and random weights in the same network."""

import mne
import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    RepeatedStratifiedKFold,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline

from mne_megfm import MEGFMClassifier, MEGFMTransformer
from mne_megfm.estimators import Pretraining
from mne_megfm.evaluation import BandPower, HabituationFeatures, compare
from mne_megfm.evaluation._confounds import _halves, find_again
from mne_megfm.evaluation._provenance import (
    is_pretrained,
    seen_before,
    with_random_weights,
)

SMALL = {"d_model": 32, "n_layers": 1, "n_decoder_layers": 1}


def linear(step):
    return make_pipeline(step, LogisticRegression(max_iter=1000))


class Channels(TransformerMixin, BaseEstimator):
    """One feature: how many channels there are, so which array it is."""

    def _is_frozen(self):
        return True

    def _read_participants(self, X):
        return [{"n": len(x["rest"].ch_names)} for x in X]

    def _fit_extracted(self, extracted, y=None):
        return self

    def _transform_extracted(self, extracted):
        return np.array([[(one["n"] - 110.0) / 10.0] for one in extracted])


@pytest.fixture(scope="module")
def result(brief, cohort, tmp_path_factory):
    """Return a comparison of a small saved model with three baselines."""
    small = MEGFMTransformer(None, config=SMALL, aggregation="mean_std", random_state=5)
    small._load_frozen()
    saved = small.save_pretrained(tmp_path_factory.mktemp("weights") / "small")
    pipelines = {
        "bands": linear(BandPower()),
        "model": linear(MEGFMTransformer(saved)),
        "dynamics": linear(HabituationFeatures()),
        "channels": linear(Channels()),
        "random": linear(
            MEGFMTransformer(None, config=SMALL, aggregation="mean_std", random_state=6)
        ),
    }
    return compare(
        brief,
        cohort.labels,
        pipelines,
        cv=StratifiedKFold(3),
        scoring=["brier", "roc_auc"],
        n_permutations=1,
        n_random_weights=2,
        random_state=6,
    )


def test_gates_are_of_the_first_pretrained_pipeline(result):
    assert result.settings["model"] == "model"
    assert result.settings["baselines"] == ["bands", "dynamics", "channels"]
    gates = result.gates("roc_auc")
    assert gates["result"].isin(["passed", "not passed"]).all()
    assert gates.index[0] == "better than the strongest baseline"
    values = result.values("roc_auc")
    gains = values["model"].mean() - values[result.settings["baselines"]].mean()
    assert_allclose(gates["gain"].iloc[0], gains.min())
    assert f"compared with {gains.idxmin()}" in gates["reason"].iloc[0]
    drawn = result.random_weights.query("metric == 'roc_auc'")["value"]
    assert_allclose(gates["gain"].iloc[1], values["model"].mean() - drawn.mean())
    assert (gates["participants"] == 12).all()
    # of losses, less is better
    losses = result.values("brier")
    less = losses[result.settings["baselines"]].mean() - losses["model"].mean()
    assert_allclose(result.gates()["gain"].iloc[0], less.min())


def test_draws_of_random_weights(result):
    """One of them is compared as a pipeline of its own, and not fitted again."""
    table = result.random_weights
    assert sorted(table["seed"].unique()) == [6, 7]
    assert len(table) == 2 * 3 * 2
    own = result.folds.query("pipeline == 'random'")["value"].to_numpy()
    assert_allclose(table.query("seed == 6")["value"], own)
    assert not np.allclose(table.query("seed == 7")["value"], own)


def test_labels_of_the_model_are_permuted_often_enough(result):
    counts = result.permutations.groupby("pipeline")["permutation"].nunique()
    assert counts["model"] == 19 and set(counts.drop("model")) == {1}
    assert "1 times (model 19 times)" in repr(result)


def test_printed_in_plain_words(result):
    text = repr(result)
    mean = result.values()["model"].mean()
    assert f"Gates of model, by Brier score ({mean:.3f}): " in text
    for name, gate in result.gates().iterrows():
        assert f"{name}: {gate['result'].upper()}. " in text
    assert "array (balanced accuracy, chance 0.50): bands" in text
    assert "person: not tested: pass halves=True" in text


def test_array_is_read_as_scikit_learn_would(result, brief):
    """The same classifier on arrays; channels tell them, whatever the label."""
    table = result.confounds.query("target == 'array'").set_index("pipeline")
    arrays = [len(x["rest"].ch_names) for x in brief]
    cv = RepeatedStratifiedKFold(n_splits=5, n_repeats=1, random_state=6)
    # features of bands depend on no other participant, but for missing states
    features = BandPower().fit_transform(brief)
    expected = cross_val_score(
        LogisticRegression(max_iter=1000),
        features,
        arrays,
        cv=cv,
        scoring="balanced_accuracy",
    ).mean()
    assert_allclose(table.loc["bands", "value"], expected)
    assert table.loc["channels", "value"] == 1.0 > table.loc["channels", "low"]
    assert (table["chance"] == 0.5).all() and (table["n"] == 12).all()
    assert table["note"].iloc[0].count("(n = 6)") == 2


def test_sites_that_are_few_and_classifiers_that_refuse(brief, cohort):
    """What cannot be measured says so, and stops nothing."""
    weighted = LogisticRegression(
        class_weight={"control": 1, "migraine": 2}, max_iter=1000
    )
    pipelines = {
        "bands": linear(BandPower()),
        "weighted": make_pipeline(BandPower(), weighted),
    }
    few = compare(
        brief,
        cohort.labels,
        pipelines,
        sites=["a"] * 10 + ["b"] * 2,
        cv=StratifiedKFold(2),
        n_permutations=0,
        halves=True,
    )
    table = few.confounds.set_index(["target", "pipeline"])
    assert "of 2 sites, 1 with 3 participants" in table.loc[("site", ""), "note"]
    assert "does not take these classes" in table.loc[("array", "weighted"), "note"]
    assert np.isnan(table.loc[("array", "weighted"), "value"])
    person = table.loc[("person", "bands")]
    assert_allclose(person["chance"], 1 / 12)
    assert person["value"] > 0.5 and person["n"] == 12
    gates = few.gates()
    assert (gates["result"] == "not tested").all()
    assert "no pretrained pipeline" in repr(few)


def test_nearest_half_is_that_of_the_person(rng):
    people = rng.standard_normal((40, 6))
    # one feature is large and means nothing
    people[:, 0] *= 1e6
    first, second = (people + 0.05 * rng.standard_normal((40, 6)) for _ in range(2))
    names = np.arange(40)
    assert find_again(first, second, names) == 1.0
    assert find_again(first, second[::-1], names) <= 0.1
    assert find_again(first, rng.standard_normal((40, 6)), names) < 0.15
    # two sessions of one person are the same person
    assert find_again(first, np.roll(first, 1, 0), np.repeat(np.arange(20), 2)) == 0.5


def test_halves_of_recordings():
    info = mne.create_info(1, 100.0, "mag")
    raw = mne.io.RawArray(np.arange(400.0)[None], info, verbose="error")
    epochs = mne.EpochsArray(np.zeros((5, 1, 10)), info, verbose="error")
    first, second = _halves({"rest": [raw, raw], "sound": epochs})
    assert [part["rest"][1].n_times for part in (first, second)] == [200, 200]
    assert second["rest"][0].get_data()[0, 0] == 200
    assert [len(part["sound"]) for part in (first, second)] == [2, 3]
    assert _halves({"sound": epochs[:1]}) is None


# -- random weights --------------------------------------------------------------------
def test_random_weights_in_the_same_network(tmp_path):
    """Sizes and the way participants are described are those of the checkpoint."""
    default = with_random_weights(MEGFMTransformer(), 3)
    assert repr(default) == repr(MEGFMTransformer(None, random_state=3))
    saved = MEGFMTransformer(None, config=SMALL, aggregation="mean_std")
    saved._load_frozen()
    saved.save_pretrained(tmp_path / "small")
    own = MEGFMTransformer(tmp_path / "small", pooling="mean")
    control = with_random_weights(own, 3)
    assert control.weights is None and control.aggregation == "mean_std"
    assert control.pooling == "mean"
    control._load_frozen()
    own._load_frozen()
    # nothing says what the weights had seen but that they were random
    assert seen_before(linear(own), own.provenance_) == own.provenance_
    assert seen_before(linear(own), None) is None
    assert control.config_ == own.config_
    assert repr(control.aggregator_) == repr(own.aggregator_)


def test_hand_made_measures_are_no_model():
    assert is_pretrained(linear(MEGFMTransformer()))
    assert not is_pretrained(linear(MEGFMTransformer(aggregation="measures")))
    assert not is_pretrained(linear(MEGFMTransformer(None)))
    assert not is_pretrained(MEGFMClassifier(None, strategy="finetune"))
    assert is_pretrained(MEGFMClassifier(None, masking="local"))
    assert not is_pretrained(linear(BandPower()))


def test_what_folds_train_was_not_seen_before(tmp_path):
    """`fit` in folds leaves no mark; in the checkpoint that it starts from it does."""
    inside = linear(MEGFMTransformer(None, pretraining=Pretraining()))
    assert seen_before(inside, {"fitted_on": {"rows": 9}}) == {}
    seen = {"data": "simulated", "fine_tuned_on_labels": {"strategy": "lora"}}
    assert seen_before(linear(MEGFMTransformer()), seen) == {"data": "simulated"}
    saved = MEGFMTransformer()
    saved._load_frozen()
    saved.provenance_ = {"fitted_on": {"rows": 9}}
    path = saved.save_pretrained(tmp_path / "fitted")
    again = linear(MEGFMTransformer(path))
    assert seen_before(again, {"fitted_on": {"rows": 9}}) == {"fitted_on": {"rows": 9}}
    saved.provenance_ = {}
    path = saved.save_pretrained(tmp_path / "nothing")
    assert seen_before(linear(MEGFMTransformer(path)), {}) is None
