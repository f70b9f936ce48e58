"""A package with a backbone, a pooling, an objective and a front end of its own."""

import ast
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from mne_megfm import MEGFMClassifier, MEGFMTransformer, simulate_cohort
from mne_megfm.estimators import FineTuning, Pretraining
from mne_megfm.interpret import attention
from mne_megfm.models import WindowArray
from mne_megfm.plugins import KINDS, get, make_backbone
from mne_megfm.pretraining import (
    PretrainSettings,
    find_damage,
    pretrain,
    pretrain_store,
)
from mne_megfm.store import WindowStore
from mne_megfm.testing import plugin_checks
from mne_megfm.weights import load_checkpoint, load_pooling, read_config

TINY = {"backbone": "tiny-convolution", "model": {"d_model": 20, "kernel_size": 5}}
SHORT = {"epochs": 2, "steps_per_epoch": 2, "batch_size": 6, "validation_fraction": 0.4}


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
            state="auditory" if number % 2 else "rest",
            array="ctf151",
        )
    return store


@pytest.fixture(scope="module")
def epochs():
    """Return twelve epochs of one simulated participant."""
    cohort = simulate_cohort(
        1, states=("auditory",), arrays=("ctf151",), n_epochs=12, random_state=1
    )
    return cohort.epochs("auditory")[0]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("aggregators", "tiny-median"),
        ("backbones", "tiny-convolution"),
        ("objectives", "tiny-contrast"),
        ("poolings", "tiny-mixture"),
        ("sensor_mappings", "tiny-half"),
    ],
)
def test_passes_the_checks(external, kind, name):
    """The parts keep what the package relies on."""
    for check in plugin_checks(kind, name):
        check()


@pytest.mark.slow
def test_listed_in_the_shell(external_site, install, tmp_path):
    """A table of all parts, those of other packages and broken ones; also as JSON."""
    install("broken-parts", "broken", "raise RuntimeError('no licence')")
    source = Path(__file__).with_name("external")
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    tree = ast.parse((source / "tiny_megfm_parts.py").read_text())
    docs = {
        node.name: ast.get_docstring(node)
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }
    paths = [str(external_site), str(tmp_path), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}

    def listed(*options):
        command = ["-m", "mne_megfm.commands.info", "--plugins", *options]
        done = subprocess.run(
            [sys.executable, *command],
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "cannot be used" not in done.stderr
        return done.stdout

    table, rows = listed().splitlines(), json.loads(listed("--json"))
    assert len(table) == len(rows) + len(KINDS)
    found = {(row["kind"], row["name"]): row for row in rows}
    start = {line.split()[0]: line for line in table if line.startswith("  ")}
    for group, entries in project["entry-points"].items():
        for name, where in entries.items():
            row = found.pop((group.removeprefix("mne_megfm."), name))
            assert row["origin"] == "tiny-megfm-parts" and not row["error"]
            assert row["entry_point"] == where
            summary = docs[where.partition(":")[2]].splitlines()[0]
            assert row["summary"] == summary and start[name].endswith(summary)
            assert f"tiny-megfm-parts ({where})" in start[name]
    broken = found.pop(("maskings", "broken"))
    assert broken["error"] == "RuntimeError: no licence" and not broken["summary"]
    assert start["broken"].endswith("NOT USABLE: RuntimeError: no licence")
    # what is left is of the package, and all of it
    assert set(found) == {(k, name) for k in KINDS for name in KINDS[k].builtins}
    assert all(row["summary"] and not row["error"] for row in found.values())
    # columns begin at the same places
    where = {line.index(" built in ") for line in table if " built in " in line}
    assert len(where) == 1


@pytest.mark.parametrize("objective", ["huber+logspec", "tiny-contrast"])
def test_from_store_to_features(external, store, epochs, tmp_path, objective):
    """A run writes a checkpoint that names the backbone; estimators load it."""
    settings = PretrainSettings(
        **TINY,
        **SHORT,
        objective={"name": objective},
        pooling={"name": "tiny-mixture", "n_experts": 3},
    )
    history = pretrain_store(store, tmp_path / "run", settings)
    assert len(history.epoch) == 2
    assert bool(history.r2) == (objective == "huber+logspec")
    config = read_config(tmp_path / "run")
    assert config["backbone"] == "tiny-convolution"
    assert config["model"]["kernel_size"] == 5
    assert find_damage(tmp_path / "run") == {"weights": "", "run": ""}
    model = load_checkpoint(tmp_path / "run")
    assert type(model) is external.TinyConvolution
    assert model.token_mean.any()  # the axes were fitted
    pooling = external.MixturePooling(3)
    assert load_pooling(tmp_path / "run", pooling)
    assert pooling.gate.sum() == 24
    assert not load_pooling(tmp_path / "run", external.MixturePooling(2))
    transformer = MEGFMTransformer(
        str(tmp_path / "run"), pooling=external.MixturePooling(3), sample="epoch"
    )
    features = transformer.fit_transform(epochs)
    assert features.shape == (12, 2 * 3 * 20)
    torch.testing.assert_close(transformer.pooling_.gate, pooling.gate)
    # saved again, it is the same
    transformer.save_pretrained(tmp_path / "again")
    again = MEGFMTransformer(
        str(tmp_path / "again"), pooling=external.MixturePooling(3), sample="epoch"
    )
    np.testing.assert_array_equal(again.fit(epochs).transform(epochs), features)


def test_interrupted_run_goes_on(external, store, tmp_path):
    """Parameters of the objective are part of the run: it ends as if uninterrupted."""
    settings = PretrainSettings(**TINY, **SHORT, objective={"name": "tiny-contrast"})
    steps = iter([False, False, True])
    with pytest.raises(RuntimeError, match="stopped after step 3"):
        pretrain_store(store, tmp_path / "two", settings, stop=lambda: next(steps))
    one = pretrain_store(store, tmp_path / "one", settings)
    two = pretrain_store(store, tmp_path / "two", settings)
    assert one.valid_loss == two.valid_loss
    states = [load_checkpoint(tmp_path / n).state_dict() for n in ("one", "two")]
    for name, array in states[0].items():
        assert torch.equal(array, states[1][name]), name


def test_settings_and_weights_that_disagree(external, store, tmp_path):
    """Fields and names of another backbone are errors, in files and beside weights."""
    file = tmp_path / "settings.toml"
    file.write_text('backbone = "tiny-convolution"\n[model]\nkernel_size = 7\n')
    assert PretrainSettings.read(file).model == {"kernel_size": 7}
    file.write_text("[model]\nkernel_size = 7\n")
    with pytest.raises(ValueError, match="fields of ModelConfig.*'kernel_size'"):
        PretrainSettings.read(file)
    for other in ("masked-transformer", None):
        settings = PretrainSettings(weights="megfm-tiny", backbone=other, **SHORT)
        assert settings.backbone == other
    settings = PretrainSettings(
        weights="megfm-tiny", backbone="tiny-convolution", **SHORT
    )
    match = "weights of the backbone 'tiny-convolution', got some of 'masked-transf"
    with pytest.raises(ValueError, match=match):
        pretrain_store(store, tmp_path / "run", settings)
    assert not (tmp_path / "run").exists()


def test_estimator_with_other_weights(external, epochs):
    """Naming another backbone than that of the weights is an error, never ignored."""
    with pytest.raises(ValueError, match="got some of 'masked-transformer'"):
        MEGFMTransformer(backbone="tiny-convolution").fit(epochs)
    MEGFMTransformer(backbone="masked-transformer").fit(epochs)


def test_grid_search(external, epochs):
    """GridSearchCV chooses among backbones, poolings, objectives and front ends."""
    pipeline = make_pipeline(
        MEGFMTransformer(
            None,
            pretraining=Pretraining(max_epochs=1),
            batch_size=8,
            random_state=0,
        ),
        LogisticRegression(),
    )
    contrast = {
        "backbone": ["tiny-convolution"],
        "config": [{"kernel_size": 1}],
        "pretraining__objective": ["tiny-contrast", external.Contrast(0.5)],
        "pooling": ["tiny-mixture"],
    }
    mapped = {
        "backbone": ["tiny-convolution"],
        "pooling": [external.MixturePooling(3), "mean"],
        "sensor_mapping": ["tiny-half"],
    }
    grid = [
        {f"megfmtransformer__{name}": values for name, values in part.items()}
        for part in (contrast, mapped)
    ]
    y = np.arange(12) % 2
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise")
    search.fit(epochs, y)
    assert len(search.cv_results_["params"]) == 4
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.slow
def test_aggregator(external, tmp_path):
    """An aggregator is chosen by name; its weights come back from the checkpoint."""
    cohort = simulate_cohort(
        4, states=("auditory",), arrays=("ctf151",), n_epochs=5, random_state=2
    )
    X = [{"auditory": epochs} for epochs in cohort.epochs("auditory")]
    transformer = MEGFMTransformer(
        None,
        config={"d_model": 16, "n_layers": 1, "n_components": 4},
        pooling="mean",
        aggregation="tiny-median",
        random_state=0,
    )
    features = transformer.fit_transform(X)
    rows = transformer.__class__(
        **{
            **transformer.get_params(deep=False),
            "sample": "epoch",
            "aggregation": "auto",
            "sensor_mapping": "canonical",  # participants are not denoised
        }
    ).fit(X[0]["auditory"])
    weight = float(transformer.aggregator_.weight)
    assert 0.5 <= weight < 1.5
    for own, person in zip(features, X, strict=True):
        expected = weight * np.median(rows.transform(person["auditory"]), 0)
        np.testing.assert_allclose(own, expected, rtol=1e-3, atol=1e-6)
    assert transformer.get_feature_names_out()[0] == "auditory_median0"
    path = transformer.save_pretrained(tmp_path / "mine")
    assert read_config(path)["aggregator"]["arrays"] == {"weight": []}
    again = MEGFMTransformer(path, pooling="mean", aggregation="tiny-median")
    np.testing.assert_allclose(again.fit_transform(X), features, rtol=1e-5)
    search = GridSearchCV(
        make_pipeline(transformer, LogisticRegression()),
        {
            "megfmtransformer__aggregation": [
                "tiny-median",
                external.MedianAggregator(),
                "mean_std",
            ]
        },
        cv=2,
        error_score="raise",
    ).fit(X, [0, 0, 1, 1])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("strategy", ["lora", "finetune"])
def test_fine_tuning(external, epochs, strategy, tmp_path):
    """Adapters and layer rates go by the layer groups; a pooling is trained along."""
    classifier = MEGFMClassifier(
        None,
        backbone="tiny-convolution",
        pooling="tiny-mixture",
        strategy=strategy,
        finetuning=FineTuning(max_epochs=2, lora_rank=2, lr=0.05),
        random_state=0,
    ).fit(epochs, np.arange(12) % 2)
    names = {n for n, _ in classifier.network_.encoder.named_parameters()}
    assert ("mix.down" in names) == (strategy == "lora")
    assert "start.down" not in names  # the embedding
    trained, before = classifier.network_.pooling, classifier.transformer_.pooling_
    assert trained is not before and trained.scale.requires_grad
    if strategy == "finetune":
        assert not torch.equal(trained.scale, before.scale)
    path = classifier.save_pretrained(tmp_path / "tuned")
    assert type(load_checkpoint(path)) is external.TinyConvolution


def test_attention_of_a_backbone_without(external, epochs):
    """What has no attention that can be read says so, and what to use."""
    transformer = MEGFMTransformer(None, backbone="tiny-convolution", pooling="mean")
    with pytest.raises(TypeError, match="TinyConvolution; use .*occlude"):
        attention(transformer.fit(epochs), epochs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "objective"),
    [("tiny-convolution", "tiny-contrast"), ("hybrid-ssm", "huber+logspec")],
)
def test_two_processes_equal_one(
    external, external_site, store, tmp_path, backbone, objective
):
    """Copies (DDP) of backbones and objectives end with the same weights."""
    settings = tmp_path / "settings.toml"
    settings.write_text(
        f'backbone = "{backbone}"\nepochs = 2\nsteps_per_epoch = 3\n'
        'batch_size = 8\naccumulate = 2\nvalidation_fraction = 0.4\ndevice = "cpu"\n'
        f'[objective]\nname = "{objective}"\n[model]\nd_model = 20\n'
    )
    paths = [str(external_site), os.environ.get("PYTHONPATH", "")]
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "OMP_NUM_THREADS": "1",
    }
    pretraining = ["-m", "mne_megfm.commands.pretrain", str(store.path)]
    ranks = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for name, start in (("one", []), ("two", ranks)):
        done = subprocess.run(
            [sys.executable, *start, *pretraining, str(tmp_path / name)]
            + ["--config", str(settings), "--quiet"],
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert read_config(tmp_path / "two")["training"]["processes"] == 2
    one, two = (load_checkpoint(tmp_path / name) for name in ("one", "two"))
    assert type(one) is type(two) is get("backbones", backbone)
    for name, array in one.state_dict().items():
        torch.testing.assert_close(
            two.state_dict()[name], array, rtol=0, atol=1e-6, msg=name
        )
    # the loss changed, so that equal weights are trained ones
    losses = pd.read_csv(tmp_path / "two" / "history.csv")["train_loss"]
    assert len(losses) == 2 and losses[0] != losses[1]


def test_objective_sees_what_is_known(store):
    """A batch says whose windows it has, as the store does."""
    seen = Seeing()
    model = make_backbone(config={"d_model": 16, "n_layers": 1, "n_components": 4})
    pos = torch.randn(24, 3)
    given = dict(masking=_hide_first, objective=seen, max_epochs=1, batch_size=6)
    pretrain(model, store, pos, **given)
    known = {"participant", "state", "array"}
    for batch in seen.batches:
        assert set(batch.names) == known and batch.targets is None
        windows = store.take(np.arange(len(store)))[0]
        for i, window in enumerate(batch.windows.numpy()):
            (number,) = np.flatnonzero((windows == window).all((1, 2)))
            assert (
                batch.names["participant"][batch.participant[i]]
                == (store.participant[number])
            )
            assert batch.names["state"][batch.state[i]] == store.state[number]
            assert batch.recording[i] == store.recording[number]
            assert batch.start[i] == store.start[number]
    targets = np.arange(8.0)
    values = np.random.default_rng(0).standard_normal((8, 192, 250)).astype("f4")
    seen.batches.clear()
    pretrain(model, WindowArray(values, unit=1e-13, targets=targets), pos, **given)
    for batch in seen.batches:
        assert batch.participant is batch.state is batch.array is batch.start is None
        for window, target in zip(batch.windows, batch.targets, strict=True):
            expected = torch.from_numpy(values[int(target)]) * 1e-13
            torch.testing.assert_close(window, expected, rtol=1e-6, atol=0)


class Seeing:
    """Keep the batches."""

    def __init__(self):
        self.batches = []

    def __call__(self, model, batch):
        self.batches.append(batch)
        return model.encode(batch.windows, batch.n_valid).square().mean()


def _hide_first(n, n_patches, region_pos, generator):
    mask = torch.zeros(n, len(region_pos), n_patches, dtype=torch.bool)
    mask[:, :, 0] = True
    return mask
