"""Fine-tuning: what is trained, what is not, and from where it starts."""

import pickle

import mne
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV

from mne_megfm import MEGFMClassifier, MEGFMRegressor, MEGFMTransformer, MEGSamples
from mne_megfm.estimators import FineTuning, LogisticHead
from mne_megfm.estimators.finetuning import (
    ClassificationTask,
    RegressionTask,
    layer_rates,
)
from mne_megfm.estimators.finetuning_modules import (
    RowDraws,
    RowStore,
    network_outputs,
    rows_of_samples,
)
from mne_megfm.models import MaskedSignalTransformer, ModelConfig
from mne_megfm.simulation import make_array_info

from .conftest import SMALL

BOTH = pytest.mark.parametrize("strategy", ["lora", "finetune"])


def tuned(strategy, make=MEGFMClassifier, **params):
    """Make an estimator that is quick to fine-tune."""
    quick = {"max_epochs": 2, "n_epochs_per_state": 2, "lora_rank": 2}
    known = FineTuning().get_params()
    settings = quick | {name: params.pop(name) for name in known if name in params}
    finetuning = None if strategy == "probe" else FineTuning(**settings)
    drawn = {"weights": None, "config": SMALL, "batch_size": 16, "random_state": 0}
    return make(strategy=strategy, finetuning=finetuning, **drawn | params)


@pytest.fixture(scope="module", params=["lora", "finetune"])
def learned(request):
    """An estimator tuned to what no linear head can tell, and other data of the kind.

    The sign of the signal is random: epochs differ by how sensors go together, not by
    their mean.
    """
    rng = np.random.default_rng(0)
    info = make_array_info("ctf151", sfreq=250.0)
    first, second = rng.standard_normal((2, 1, len(info.ch_names), 1))
    # no channel so weak that it is left out
    first, second = (np.copysign(abs(x).clip(min=0.4), x) for x in (first, second))
    y = np.repeat([0, 1], 36)
    data = np.where(y[:, None, None] == 0, first, second)
    data = data * 6e-13 * rng.standard_normal((72, 1, 250))
    X = MEGSamples(mne.EpochsArray(data, info))
    train = np.arange(72) % 3 > 0
    params = {"max_epochs": 10, "lr": 1e-2, "patience": 10, "n_epochs_per_state": 1}
    classifier = tuned(request.param, batch_size=4, **params)
    return classifier.fit(X[train], y[train]), X[~train], y[~train]


def test_learns_what_no_linear_head_can(learned):
    classifier, X, y = learned
    history = classifier.history_["valid_loss"]
    assert history.min() < history[0] - 0.1
    assert log_loss(y, classifier.predict_proba(X)) < history[0] - 0.1


def test_only_what_should_be_is_trained(learned):
    classifier, X, _ = learned
    transformer = classifier.transformer_
    before = transformer.model_.state_dict()
    after = classifier.network_.encoder.state_dict()
    fresh = MEGFMTransformer(
        weights=None, config=SMALL, random_state=transformer.random_state
    ).fit(X)
    encoder = [n for n in before if not n.startswith("token_")]
    assert all(torch.equal(before[n], fresh.model_.state_dict()[n]) for n in encoder)
    names = {name: name.replace(".base.", ".") for name in after}
    adapters = {name for name in after if name.endswith((".down", ".up"))}
    changed = {
        name
        for name in set(after) - adapters
        if not torch.equal(after[name], before[names[name]])
    }
    if classifier.strategy == "lora":
        assert not changed and len(adapters) == 8
    else:
        assert {"blocks.0.attention.qkv.weight", "mixing", "norm.weight"} <= changed
        assert not any(n.startswith(("decoder", "token_", "head")) for n in changed)
        assert not adapters


def test_save_and_use_frozen(learned, tmp_path):
    """Adapters are merged: what is written is a plain encoder that does the same."""
    classifier, X, _ = learned
    path = classifier.save_pretrained(tmp_path / "mine")
    transformer = MEGFMTransformer(weights=path).fit(X)
    assert set(transformer.model_.state_dict()) == set(
        classifier.transformer_.model_.state_dict()
    )
    windows = 3e-13 * torch.randn(2, 192, 250)
    with torch.inference_mode():
        expected = classifier.network_.encoder.encode(windows)
        tokens = transformer.model_.encode(windows)
    torch.testing.assert_close(tokens, expected, rtol=1e-3, atol=1e-3)
    noted = transformer.provenance_["fine_tuned_on_labels"]
    assert noted["strategy"] == classifier.strategy
    with pytest.raises(FileExistsError, match="overwrite=True"):
        classifier.save_pretrained(path)


def test_starts_from_the_probe(labelled, without_encoder):
    """With a rate of nearly 0, the network is the linear head on frozen features."""
    X, y = labelled
    classifier = tuned(
        "finetune", lr=1e-12, n_epochs_per_state=8, **without_encoder
    ).fit(X, y)
    task = ClassificationTask(classifier.classes_, None, classifier.task_.seed)
    train, _ = task.split(y, np.arange(8), 0.2)
    features = classifier.transformer_.transform(X).astype(float)
    # each state: mean, population SD over 4 epochs, and a column for missing ones
    width = (features.shape[1] - 2) // 4
    kept = np.r_[0 : 2 * width, 2 * width + 1 : 4 * width + 1]
    spread = np.r_[width : 2 * width, 3 * width : 4 * width]
    described = features[:, kept]
    described[:, spread] = np.sqrt(described[:, spread] ** 2 * 4 / 3 + 1e-6)
    network = classifier.network_
    with torch.inference_mode():
        completed = network.complete(torch.as_tensor(described).float()).numpy()
    assert_allclose(
        completed[:, :-2].std(0).max(), 1 / np.sqrt(len(completed[0])), rtol=1e-2
    )
    head = LogisticHead(random_state=task.seed).fit(completed[train], y[train])
    expected = head.decision_function(completed) / classifier.task_.temperature
    assert_allclose(classifier.decision_function(X), expected, rtol=1e-2, atol=1e-3)
    assert classifier.history_.index[0] == 0


def test_keeps_the_start_where_training_makes_it_worse(labelled, without_encoder):
    X, y = labelled
    classifier = tuned("finetune", lr=10.0, patience=1, **without_encoder).fit(X, y)
    assert classifier.history_["valid_loss"].idxmin() == 0
    assert len(classifier.history_) == 2
    before = classifier.transformer_.model_.state_dict()
    after = classifier.network_.encoder.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize(
    "strategy", ["lora", pytest.param("finetune", marks=pytest.mark.slow)]
)
def test_repeats_and_pickles(labelled, strategy):
    X, y = labelled
    torch.manual_seed(1)
    classifier = tuned(strategy, max_epochs=1).fit(X, y)
    expected = classifier.predict_proba(X)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert_array_equal(clone(classifier).fit(X, y).predict_proba(X), expected)
    assert torch.equal(torch.get_rng_state(), state)
    again = pickle.loads(pickle.dumps(classifier))
    assert_array_equal(again.predict_proba(X), expected)
    assert_allclose(expected.sum(1), 1.0)


@BOTH
def test_missing_states(labelled, without_encoder, strategy):
    X, y = labelled
    # one with the participant encoder, one without
    weights = {} if strategy == "lora" else without_encoder
    lacking = [X[0], {"auditory": X[1]["auditory"]}, *X[2:]]
    with pytest.warns(RuntimeWarning, match="1 recordings are missing"):
        classifier = tuned(strategy, max_epochs=1, **weights).fit(lacking, y)
    full = classifier.decision_function(X)
    with pytest.warns(RuntimeWarning, match="1 recordings are missing"):
        decision = classifier.decision_function(lacking)
    assert np.isfinite(decision).all()
    others = np.arange(len(X)) != 1
    assert_allclose(decision[others], full[others], atol=1e-4)
    assert decision[1] != full[1]


def test_three_classes_of_epochs(epochs):
    y = np.array(["a", "b", "c"])[np.arange(24) % 3]
    groups = np.arange(24) % 12
    X = MEGSamples([epochs[i % 8] for i in range(24)])
    classifier = tuned("lora").fit(X, y, groups=groups)
    assert classifier.sample_ == "epoch"
    assert classifier.decision_function(X[:5]).shape == (5, 3)
    assert set(classifier.predict(X)) <= {"a", "b", "c"}


@BOTH
def test_regression(labelled, without_encoder, strategy):
    X, _ = labelled
    weights = {} if strategy == "lora" else without_encoder
    y = np.linspace(20, 80, len(X))
    regressor = tuned(strategy, MEGFMRegressor, **weights).fit(X, y)
    predicted = regressor.predict(X)
    assert predicted.shape == (8,) and np.isfinite(predicted).all()
    assert 20 < predicted.mean() < 80


@pytest.mark.slow
def test_grid_search_over_strategy(labelled):
    X, y = labelled
    search = GridSearchCV(
        tuned("probe"),
        [
            {"strategy": ["probe"]},
            {
                "strategy": ["lora", "finetune"],
                "finetuning": [FineTuning(max_epochs=1)],
                "finetuning__lora_rank": [2],
            },
        ],
        cv=[(np.arange(6), np.arange(6, 8))],
        error_score="raise",
    ).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_held_out_participants_are_held_out(rng):
    groups = np.repeat(np.arange(12), 3)
    y = np.repeat(np.arange(12) % 3, 3)
    task = ClassificationTask(np.arange(3), "balanced", 0)
    for split in (
        task.split(y, groups, 0.25),
        RegressionTask(0).split(y.astype(float), groups, 0.25),
    ):
        train, valid = split
        assert not set(groups[train]) & set(groups[valid])
        assert sorted(np.r_[train, valid]) == list(range(36))
    assert set(y[task.split(y, groups, 0.25)[1]]) == {0, 1, 2}


@pytest.mark.parametrize(
    ("make", "y", "match"),
    [
        (MEGFMClassifier, [0, 1, 1, 1, 0, 1, 1, 1], "at least 3 participants of each"),
        (MEGFMRegressor, np.arange(8.0), "at least 4 participants"),
    ],
)
def test_too_few(labelled, make, y, match):
    groups = None if make is MEGFMClassifier else np.arange(8) // 3
    with pytest.raises(ValueError, match=match):
        tuned("lora", make).fit(labelled[0], y, groups=groups)


def test_head_is_for_the_probe(labelled):
    with pytest.raises(ValueError, match="head='logistic' with strategy='lora'"):
        tuned("lora", head=LogisticHead()).fit(*labelled)


def test_rates_fall_with_depth():
    """Each layer has a lower rate than the one after it (ELECTRA's factor)."""
    model = MaskedSignalTransformer(ModelConfig(d_model=16, n_layers=3))
    groups = layer_rates(model.layer_groups(), 1e-3, 0.5)
    rates = {pattern: settings["lr"] for pattern, settings in groups}
    blocks = [rates[f"encoder.blocks.{i}.*"] for i in range(3)]
    assert_allclose(blocks, [1.25e-4, 2.5e-4, 5e-4])
    assert rates["encoder.mixing"] == rates["encoder.embed.*"] == 6.25e-5
    assert rates["encoder.norm.*"] == 1e-3


def test_network_and_transformer_agree(labelled, without_encoder):
    """Batches of drawn windows and streamed rows lead to the same outputs."""
    X, y = labelled
    classifier = tuned("finetune", n_epochs_per_state=4, **without_encoder).fit(X, y)
    transformer = classifier.transformer_
    recordings = transformer._recordings(X)
    sample, state = rows_of_samples(recordings, "participant", ["auditory", "rest"])
    store = RowStore(recordings, sample, state, 100, transformer)
    everything = RowDraws(
        store, np.arange(8), torch.zeros(8), torch.ones(8), n_rows=100
    )
    batch, (targets, weights) = everything.collate([everything[i] for i in range(8)])
    assert len(batch) == len(targets) == len(weights) == 8
    with torch.inference_mode():
        outputs = classifier.network_(batch).numpy()
    streamed = network_outputs(classifier.network_, recordings, transformer)
    assert_allclose(outputs, streamed, rtol=1e-2, atol=2e-3)


def test_draws(labelled):
    X, _ = labelled
    transformer = MEGFMTransformer(weights=None, config=SMALL).fit(X)
    recordings = transformer._recordings(X)
    sample, state = rows_of_samples(recordings, "participant", ["auditory", "rest"])
    store = RowStore(recordings, sample, state, 3, transformer)
    assert np.bincount(store.sample).tolist() == [6] * 8
    drawn = RowDraws(store, np.array([2, 5]), torch.zeros(8), torch.ones(8), 2, seed=0)
    rows = [drawn[1][0] for _ in range(10)]
    assert all((store.sample[r] == 5).all() and len(set(r)) == 4 for r in rows)
    assert all(np.bincount(store.state[r]).tolist() == [2, 2] for r in rows)
    assert len({tuple(sorted(r)) for r in rows}) > 1
    # what the model gets is what was recorded, but for half precision
    batch = store.batch([rows[0][:1]])
    assert 1e-14 < batch.windows.std() < 1e-11
