"""Built-in parts with state or targets of their own: from a store to features."""

import copy
import pickle

import mne
import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from mne_megfm import MEGFMClassifier, MEGFMTransformer, simulate_cohort
from mne_megfm.commands import main
from mne_megfm.estimators import FineTuning, Pretraining
from mne_megfm.interpret import reconstruct
from mne_megfm.models import (
    HybridStateSpace,
    LocalMasking,
    MaskedSignalTransformer,
    ModelConfig,
    RandomMasking,
    RandomWalkExperts,
    masked_r2,
)
from mne_megfm.pretraining import (
    BandBalancedReconstruction,
    ContrastiveRegression,
    History,
    LatentPrediction,
    ParticipantConsistency,
    PretrainSettings,
    TimeFrequencyCodes,
    WindowStatistics,
    find_damage,
    pretrain,
    pretrain_store,
)
from mne_megfm.sensors import canonical_array
from mne_megfm.simulation import make_array_info
from mne_megfm.store import WindowStore
from mne_megfm.weights import load_checkpoint, load_pooling, read_config

MODEL = {"d_model": 32, "n_layers": 1, "n_decoder_layers": 1}
SHORT = {
    "model": MODEL,
    "epochs": 2,
    "steps_per_epoch": 2,
    "batch_size": 6,
    "validation_fraction": 0.4,
    "device": "cpu",
}
LOCAL = {"name": "local", "mask_ratio": 0.7, "radius_time": 0.1}
EXPERTS = {"name": "rwmoe", "n_experts": 3}
HYBRID = {"d_model": 16, "n_layers": 1, "d_state": 4}


@pytest.fixture(autouse=True)
def _quiet():
    with mne.utils.use_log_level("error"):
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Return a store of six recordings of four windows."""
    rng = np.random.default_rng(0)
    store = WindowStore.create(tmp_path_factory.mktemp("data") / "store")
    for number in range(6):
        store.append(
            rng.standard_normal((4, 192, 250)) * 1e-13,
            name=f"s{number}-rest",
            participant=f"s{number}",
            state="rest",
            array="ctf151",
            targets=np.eye(6)[[number] * 4] + np.arange(4.0)[:, None],
        )
    return store


@pytest.fixture(scope="module")
def epochs():
    """Twelve epochs of noise, every second of which is stronger."""
    rng = np.random.default_rng(0)
    data = 1e-13 * rng.standard_normal((12, 64, 250))
    data[1::2] *= 3.0
    return mne.EpochsArray(data, make_array_info("opm64", sfreq=250.0))


@pytest.fixture(scope="module")
def weights(store, tmp_path_factory):
    """Weights that were pretrained with local masks, and experts fitted to them."""
    path = tmp_path_factory.mktemp("weights") / "run"
    settings = PretrainSettings(masking=LOCAL, pooling=EXPERTS, **SHORT)
    with mne.utils.use_log_level("error"):
        pretrain_store(store, path, settings)
    return path


def test_experts_are_trained_and_kept(weights, epochs, tmp_path):
    """What pretraining fitted is used as it is, and comes back bit by bit."""
    settings = read_config(weights)["training"]["settings"]
    assert settings["masking"] == LOCAL and settings["pooling"] == EXPERTS
    kept, drawn = RandomWalkExperts(3), RandomWalkExperts(3)
    model = load_checkpoint(weights)
    for pooling in (kept, drawn):
        torch.manual_seed(0)
        pooling.build(model)
    assert load_pooling(weights, kept)
    names = ("router", "region_logits", "lag_logits", "down", "up", "region_bias")
    for name in (*names, "unit"):
        assert not torch.equal(getattr(kept, name), getattr(drawn, name)), name
    transformer = MEGFMTransformer(
        weights, pooling=RandomWalkExperts(3), sensor_mapping="canonical"
    )
    features = transformer.fit_transform(epochs)
    assert features.shape == (12, 3 * 32)
    for name, array in transformer.pooling_.state_dict().items():
        assert torch.equal(array, kept.state_dict()[name])
    path = transformer.save_pretrained(tmp_path / "again")
    again = MEGFMTransformer(
        path, pooling=RandomWalkExperts(3), sensor_mapping="canonical"
    )
    np.testing.assert_array_equal(again.fit_transform(epochs), features)
    # others are fitted to the data, the same by the same seed
    found = [
        MEGFMTransformer(weights, pooling="rwmoe", random_state=seed).fit(epochs)
        for seed in (1, 1, 2)
    ]
    one, two, three = (t.transform(epochs) for t in found)
    np.testing.assert_array_equal(one, two)
    assert not np.allclose(one, three)


def test_interrupted_run_ends_with_the_same_experts(store, weights, tmp_path):
    settings = PretrainSettings(masking=LOCAL, pooling=EXPERTS, **SHORT)
    steps = iter([False, False, True])
    with pytest.raises(RuntimeError, match="stopped after step 3"):
        pretrain_store(store, tmp_path / "two", settings, stop=lambda: next(steps))
    pretrain_store(store, tmp_path / "two", settings)
    one, two = RandomWalkExperts(3), RandomWalkExperts(3)
    for pooling, path in ((one, weights), (two, tmp_path / "two")):
        pooling.build(load_checkpoint(path))
        assert load_pooling(path, pooling)
    for name, array in one.state_dict().items():
        assert torch.equal(array, two.state_dict()[name]), name


@pytest.mark.parametrize("strategy", ["lora", "finetune"])
def test_fine_tuning_trains_experts_with_their_balance(weights, epochs, strategy):
    """Labels train all parameters of the pooling; the load counts in the loss."""

    def tuned(balance):
        return MEGFMClassifier(
            weights,
            pooling=RandomWalkExperts(3, balance=balance),
            strategy=strategy,
            finetuning=FineTuning(max_epochs=2, lora_rank=2, lr=1e-2, patience=2),
            random_state=0,
        ).fit(epochs, np.arange(12) % 2)

    classifier = tuned(0.0)
    before, after = classifier.transformer_.pooling_, classifier.network_.pooling
    assert not classifier.network_.training and len(classifier.history_) > 1
    best = int(classifier.history_["valid_loss"].argmin())
    if best:  # else what is kept is the start
        assert not torch.equal(before.router, after.router)
    # at the first step the loss has what the balance adds: 1 for an even load
    heavy = tuned(1000.0)
    losses = heavy.history_["train_loss"], classifier.history_["train_loss"]
    assert losses[0].iloc[1] > losses[1].iloc[1] + 900.0
    held_out = heavy.history_["valid_loss"].iloc[0]
    assert held_out == pytest.approx(classifier.history_["valid_loss"].iloc[0], 0.5)
    copy.deepcopy(classifier.network_)


def test_objective_is_built_once(store, tmp_path, monkeypatch):
    """A run from a store makes a teacher once, also when it goes on."""
    built, build = [], LatentPrediction.build

    def count(objective, model):
        built.append(model)
        build(objective, model)

    monkeypatch.setattr(LatentPrediction, "build", count)
    settings = PretrainSettings(objective={"name": "latent"}, **SHORT)
    for n_runs in (1, 2):
        pretrain_store(store, tmp_path / "run", settings)
        assert len(built) == n_runs


def test_masks_that_hide_nothing_are_refused(tmp_path):
    """Time blocks of windows of one patch; nothing is written."""
    store = WindowStore.create(tmp_path / "store")
    rng = np.random.default_rng(0)
    for number in range(4):
        windows = 1e-13 * rng.standard_normal((4, 192, 250))
        windows[..., 20:] = 0.0
        store.append(
            windows,
            name=f"s{number}",
            participant=f"s{number}",
            state="rest",
            n_valid=np.full(4, 20 + 5 * (number == 0)),
        )
    settings = PretrainSettings(masking={"name": "time-block"}, **SHORT)
    with pytest.raises(ValueError, match="at most 25 samples, .* hides nothing"):
        pretrain_store(store, tmp_path / "run", settings)
    assert not (tmp_path / "run").exists()


class Seeing:
    """An objective that keeps its batches."""

    n_views = 2

    def __init__(self):
        self.batches = []

    def __call__(self, model, batch):
        self.batches.append(batch)
        return model.encode(batch.windows, batch.n_valid, batch.mask).square().mean()


def test_batches_bring_the_targets_of_local_masks(store):
    """In training and validation, and in both views, targets have no visible ones near.

    Neighbours in a batch share a mask and its targets.
    """
    seeing = Seeing()
    model = MaskedSignalTransformer(ModelConfig(**MODEL))
    pos = torch.tensor(canonical_array().region_pos)
    given = {"max_epochs": 1, "batch_size": 12, "objective": seeing}
    pretrain(model, store, pos, masking=LocalMasking(0.6), **given)
    apart = torch.cdist(pos, pos)
    time = torch.arange(10)
    near = torch.kron((apart <= 0.09).int(), ((time - time[:, None]).abs() <= 2).int())
    views = [view for batch in seeing.batches for view in (batch, batch.view)]
    assert len(views) > 4
    for view in views:
        hidden, scored = view.mask.flatten(1), view.scored.flatten(1)
        assert scored.any(1).all() and not (scored & ~hidden).any()
        seen = (~hidden).float() @ near.float() > 0
        assert torch.equal(scored, hidden & ~seen)


def test_scores_are_of_targets():
    """Explained shares count errors at targets alone."""
    model = MaskedSignalTransformer(ModelConfig(**MODEL)).eval()
    pos = torch.tensor(canonical_array().region_pos)
    masking = LocalMasking(0.6)
    windows = torch.randn(8, 192, 250) * 1e-13
    masks = masking.draw(8, 10, pos, torch.Generator().manual_seed(0))

    def right_at(where):
        samples = where.repeat_interleave(8, 1).repeat_interleave(25, 2)
        model.reconstruct = lambda part, mask, valid: torch.where(samples, part, 0.0)
        return masked_r2(model, windows, masking, pos)["model"]

    assert right_at(masks.targets) == pytest.approx(1.0, abs=1e-5)
    assert right_at(masks.hidden & ~masks.targets) < 0.1


def test_local_masking_from_the_shell(store, tmp_path):
    """It is named in options and in settings files, with its radii."""
    file = tmp_path / "settings.toml"
    file.write_text(
        "epochs = 1\nsteps_per_epoch = 1\nbatch_size = 4\nvalidation_fraction = 0.4\n"
        "[masking]\nname = 'local'\nradius_space = 0.07\n"
        "[model]\nd_model = 32\nn_layers = 1\nn_decoder_layers = 1\n"
    )
    options = ["--config", str(file), "--device", "cpu"]
    main(
        ["pretrain", str(store.path), str(tmp_path / "a"), *options],
        standalone_mode=False,
    )
    masking = read_config(tmp_path / "a")["training"]["settings"]["masking"]
    assert masking == {"name": "local", "radius_space": 0.07}
    options += ["--masking", "local", "--mask-ratio", "0.6"]
    main(
        ["pretrain", str(store.path), str(tmp_path / "b"), *options],
        standalone_mode=False,
    )
    masking = read_config(tmp_path / "b")["training"]["settings"]["masking"]
    assert masking == {"name": "local", "mask_ratio": 0.6}


def test_features_of_experts_from_the_shell(store, epochs, tmp_path):
    """Weights that hold experts give features; others, of each recording, do not."""
    path = tmp_path / "sub-01_task-rest_meg-epo.fif"
    epochs.save(path)
    settings = PretrainSettings(pooling={"name": "rwmoe"}, **SHORT)
    pretrain_store(store, tmp_path / "run", settings)
    command = ["features", str(path), "--pooling", "rwmoe"]
    out = tmp_path / "features.csv"
    done = CliRunner().invoke(main, [*command, "--out", str(out)])
    assert done.exit_code == 2
    assert "Expected weights that hold the state of the pooling 'rwmoe'" in done.output
    weights = str(tmp_path / "run")
    done = CliRunner().invoke(main, [*command, "--weights", weights, "--out", str(out)])
    assert done.exit_code == 0, done.output
    found = pd.read_csv(out).filter(like="expert").to_numpy()
    transformer = MEGFMTransformer(weights, pooling="rwmoe")
    np.testing.assert_allclose(
        found[:, :256], transformer.fit_transform(epochs)[:, :256], rtol=1e-4, atol=1e-5
    )


OBJECTIVES = {
    "band-balanced": {"edges": [4.0, 8.0, 13.0, 30.0, 60.0]},
    "statistics": {"weight": 0.5, "slope_range": [3.0, 30.0]},
    "participant-consistency": {"temperature": 0.2},
    "latent": {"momentum": 0.9, "width": 16, "reconstruction": "band-balanced"},
    "time-frequency codes": {"n_codes": 24, "width": 16},
    "contrastive": {"balance": 0.5, "weight": 0.3},
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "latent" else pytest.mark.slow)
        for name in OBJECTIVES
    ],
)
def test_objectives_in_settings(name, store, tmp_path):
    """From the shell and in Python, with parameters; interrupted and continued.

    What an objective trains of its own is in the run, and not in the weights.
    """
    file = tmp_path / "settings.toml"
    given = "".join(f"{key} = {value!r}\n" for key, value in OBJECTIVES[name].items())
    file.write_text(
        "epochs = 1\nsteps_per_epoch = 2\nbatch_size = 6\nvalidation_fraction = 0.4\n"
        "device = 'cpu'\n[model]\nd_model = 32\nn_layers = 1\nn_decoder_layers = 1\n"
        f"[objective]\nname = '{name}'\n{given}"
    )
    command = ["pretrain", str(store.path), str(tmp_path / "one")]
    main([*command, "--config", str(file)], standalone_mode=False)
    history = History.from_csv(tmp_path / "one" / "history.csv")
    assert set(history.r2) == {"all", "rest"}
    settings = PretrainSettings.read(file)
    steps = iter([True])
    with pytest.raises(RuntimeError, match="stopped after step 1"):
        pretrain_store(store, tmp_path / "two", settings, stop=lambda: next(steps))
    pretrain_store(store, tmp_path / "two", settings)
    one, two = (load_checkpoint(tmp_path / n).state_dict() for n in ("one", "two"))
    assert set(one) == set(MaskedSignalTransformer(ModelConfig(**MODEL)).state_dict())
    for key, array in one.items():
        assert torch.equal(array, two[key]), key
    assert find_damage(tmp_path / "two") == {"weights": "", "run": ""}
    training = read_config(tmp_path / "two")["training"]
    assert training["settings"]["objective"] == {"name": name, **OBJECTIVES[name]}
    with pytest.raises(ValueError, match='"objective": .* there, .* here'):
        other = settings.change(objective={"name": "log-error"})
        pretrain_store(store, tmp_path / "two", other)


@pytest.mark.parametrize(
    ("objective", "match"),
    [
        ({"name": "band-balanced", "edges": [4.2, 4.8]}, "from 4.2 to 4.8 Hz"),
        ({"name": "latent", "momentum": 2}, "momentum to be in"),
        ({"name": "statistics", "reconstruction": "latent"}, "that reconstructs"),
        ({"name": "participant-consistency"}, "two of one participant"),
        ({"name": "time-frequency codes", "n_codes": 0}, "n_codes to be a whole"),
        ({"name": "contrastive"}, "Expected targets of all windows"),
    ],
)
def test_objectives_that_do_not_suit(objective, match, tmp_path):
    """Nothing is written then."""
    store = WindowStore.create(tmp_path / "store")
    for number in range(6):
        window = np.ones((1, 192, 250)) * 1e-13
        name = f"s{number}"
        store.append(window, name=name, participant=name, state="rest")
    settings = PretrainSettings(objective=objective, **SHORT)
    with pytest.raises((TypeError, ValueError), match=match):
        pretrain_store(store, tmp_path / "run", settings)
    assert not (tmp_path / "run").exists()


INSTANCES = [
    BandBalancedReconstruction((8.0, 30.0)),
    WindowStatistics(0.5),
    LatentPrediction(width=16, n_layers=1),
    TimeFrequencyCodes(n_codes=32, width=16, n_layers=1),
    ContrastiveRegression(0.5),
]
EMBEDDINGS = np.random.default_rng(1).standard_normal((12, 5))


def _pretrained(objective):
    return MEGFMTransformer(
        None,
        config=MODEL,
        pretraining=Pretraining(1, objective=objective),
        pooling="mean",
        batch_size=8,
        random_state=0,
    )


@pytest.mark.slow
@pytest.mark.parametrize("objective", INSTANCES, ids=repr)
def test_objectives_in_an_estimator(objective, epochs):
    """Copies, pickles and a second fit give the same; the one given stays as it is."""
    transformer = _pretrained(objective)
    copied = clone(transformer), pickle.loads(pickle.dumps(transformer))
    features = transformer.fit_transform(epochs, EMBEDDINGS)
    assert transformer.pretraining.objective is objective
    assert not getattr(objective, "state_dict", dict)()
    for other in (transformer, *copied):
        again = other.fit_transform(epochs, EMBEDDINGS)
        np.testing.assert_array_equal(again, features)
    again = pickle.loads(pickle.dumps(transformer))
    np.testing.assert_array_equal(again.transform(epochs), features)


@pytest.mark.slow
def test_search_among_objectives(epochs):
    pipeline = make_pipeline(_pretrained("log-error"), LogisticRegression())
    name = "megfmtransformer__pretraining__objective"
    names = ["band-balanced", "statistics", "latent", "time-frequency codes"]
    grid = {name: [*names, WindowStatistics(0.1)]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise")
    search.fit(epochs, np.arange(12) % 2)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_embeddings_in_an_estimator(epochs):
    """Those of rows go to their windows; others change the result, labels do not."""
    transformer = _pretrained(ContrastiveRegression())
    features = transformer.fit_transform(epochs, EMBEDDINGS)
    assert np.isfinite(transformer.history_.valid_loss).all()
    assert not np.array_equal(
        transformer.fit_transform(epochs, EMBEDDINGS[::-1]), features
    )
    for wrong, match in (
        (None, "Expected targets of all windows"),
        (EMBEDDINGS[:-1], r"shape \(12, n_dims\), got shape \(11, 5\)"),
        (np.arange(12) % 2, r"got shape \(12,\)"),
        (["a"] * 12, "embeddings to be finite numbers"),
        (np.where(EMBEDDINGS > 2, np.nan, EMBEDDINGS), "NaN or infinity for position"),
    ):
        with pytest.raises(ValueError, match=match):
            transformer.fit(epochs, wrong)
    plain = _pretrained("log-error")
    np.testing.assert_array_equal(
        plain.fit_transform(epochs, ["a"] * 12), plain.fit_transform(epochs)
    )


def test_consistency_of_participants_in_an_estimator(epochs):
    """A list has participants; epochs of one have none to compare."""
    people = [epochs[[i, i + 1, i + 2]] for i in (0, 3, 6, 9)]
    transformer = _pretrained(ParticipantConsistency())
    transformer.set_params(pretraining__validation_fraction=0.5, aggregation="mean_std")
    assert transformer.fit_transform(people).shape[0] == 4
    with pytest.raises(ValueError, match="whose participant is known"):
        transformer.fit(epochs)


# -- state spaces over time ----------------------------------------------------------
def _hybrid(**params):
    given = {
        "backbone": "hybrid-ssm",
        "config": HYBRID,
        "sensor_mapping": "canonical",
        "random_state": 0,
    }
    return MEGFMTransformer(None, **given | params)


def test_hybrid_from_store_to_features(store, epochs, tmp_path):
    """A run that was interrupted ends as one that was not; its weights come back."""
    settings = PretrainSettings(
        backbone="hybrid-ssm", masking=LOCAL, **SHORT | {"model": HYBRID}
    )
    steps = iter([False, False, True])
    with pytest.raises(RuntimeError, match="stopped after step 3"):
        pretrain_store(store, tmp_path / "two", settings, stop=lambda: next(steps))
    one = pretrain_store(store, tmp_path / "one", settings)
    two = pretrain_store(store, tmp_path / "two", settings)
    assert one.valid_loss == two.valid_loss and np.isfinite(one.valid_loss).all()
    config = read_config(tmp_path / "one")
    assert config["backbone"] == "hybrid-ssm" and config["model"]["d_state"] == 4
    states = [load_checkpoint(tmp_path / n).state_dict() for n in ("one", "two")]
    for name, array in states[0].items():
        assert torch.equal(array, states[1][name]), name
    assert states[0]["token_mean"].any()  # the axes were fitted
    transformer = MEGFMTransformer(tmp_path / "one", sensor_mapping="canonical")
    features = transformer.fit_transform(epochs)
    assert type(transformer.model_) is HybridStateSpace
    path = transformer.save_pretrained(tmp_path / "again")
    again = MEGFMTransformer(path, sensor_mapping="canonical").fit(epochs)
    np.testing.assert_array_equal(again.transform(epochs), features)
    match = "weights of the backbone 'masked-transformer', got some of 'hybrid-ssm'"
    with pytest.raises(ValueError, match=match):
        MEGFMTransformer(path, backbone="masked-transformer").fit(epochs)


@pytest.mark.parametrize(
    "pooling",
    [
        "mean",
        *(
            pytest.param(n, marks=pytest.mark.slow)
            for n in ("projection", "rwmoe", "tokens")
        ),
    ],
)
def test_hybrid_on_several_arrays(pooling):
    """Features of recordings of several systems, of clones and of pickles."""
    cohort = simulate_cohort(
        4,
        states=("auditory",),
        arrays=("ctf151", "kit157", "opm64"),
        n_epochs=3,
        random_state=1,
    )
    X = cohort.epochs("auditory")
    assert len({len(one.ch_names) for one in X}) > 1
    transformer = _hybrid(pooling=pooling, aggregation="mean_std")
    features = transformer.fit_transform(X)
    assert features.shape == (4, len(transformer.get_feature_names_out()))
    assert np.isfinite(features).all() and features.std(0).max() > 0.0
    for other in (pickle.loads(pickle.dumps(transformer)), clone(transformer).fit(X)):
        np.testing.assert_array_equal(other.transform(X), features)


@pytest.mark.slow
def test_hybrid_in_a_search(epochs):
    """A search goes through backbones, their configurations and their pretraining."""
    pipeline = make_pipeline(_hybrid(batch_size=8), LogisticRegression())
    step = "megfmtransformer"
    grid = [
        {f"{step}__config": [HYBRID, {**HYBRID, "d_state": 2}]},
        {f"{step}__pretraining": [Pretraining(max_epochs=1)]},
        {f"{step}__backbone": ["masked-transformer"], f"{step}__config": [MODEL]},
    ]
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise")
    search.fit(epochs, np.arange(12) % 2)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_hybrid_pretrained_in_an_estimator(epochs):
    """Training changes all weights; the axes of tokens are fitted to the data."""
    start = _hybrid().fit(epochs).model_.state_dict()
    trained = _hybrid(pretraining=Pretraining(max_epochs=6, masking="local"))
    features = trained.fit_transform(epochs)
    assert np.isfinite(features).all() and len(trained.history_.epoch) == 6
    assert np.isfinite(trained.history_.train_loss).all()
    for name, array in trained.model_.state_dict().items():
        assert torch.equal(array, start[name]) == (name == "kernel"), name


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["lora", "finetune"])
def test_hybrid_is_fine_tuned(epochs, strategy, tmp_path):
    """Adapters go on the layers over time as well; what was tuned is saved."""
    classifier = MEGFMClassifier(
        None,
        backbone="hybrid-ssm",
        config={"d_model": 16, "n_layers": 1},
        strategy=strategy,
        finetuning=FineTuning(max_epochs=2, lr=0.05),
        random_state=0,
    ).fit(epochs, np.arange(12) % 2)
    names = {n for n, _ in classifier.network_.encoder.named_parameters()}
    for layer in ("forth.step", "back.to_state", "leave"):
        assert (f"blocks.0.{layer}.down" in names) == (strategy == "lora")
    assert ("blocks.1.attention.qkv.down" in names) == (strategy == "lora")
    assert "embed.down" not in names
    tuned = load_checkpoint(classifier.save_pretrained(tmp_path / "tuned"))
    assert type(tuned) is HybridStateSpace
    before = classifier.transformer_.model_.state_dict()["blocks.0.leave.weight"]
    after = tuned.state_dict()["blocks.0.leave.weight"]
    best = int(classifier.history_["valid_loss"].argmin())
    assert torch.equal(after, before) == (best == 0)  # else what is kept is the start


@pytest.mark.slow
def test_hybrid_reconstructs(epochs):
    """Before training, it is the mean of the interpolations, as any network is."""
    masking = RandomMasking(0.5)
    hybrid = _hybrid().fit(epochs)
    found = reconstruct(epochs[:2], hybrid, masking, on="canonical")
    other = _hybrid(backbone="masked-transformer", config=MODEL).fit(epochs)
    expected = reconstruct(epochs[:2], other, masking, on="canonical")
    assert found.mask.any() and not np.allclose(
        found.reconstructed[found.mask], found.original[found.mask], atol=1e-15
    )
    np.testing.assert_allclose(
        found.reconstructed, expected.reconstructed, rtol=1e-4, atol=1e-17
    )
