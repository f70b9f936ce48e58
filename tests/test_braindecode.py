"""Networks of braindecode load beside this torch, and can be compared with."""

import importlib.util
import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from mne_megfm.evaluation import NetworkClassifier, default_pipelines
from mne_megfm.plugins import braindecode_models

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("braindecode") is None,
    reason="The braindecode extra is not installed",
)


@pytest.mark.parametrize(("name", "n_times"), [("LUNA", 520), ("CBraMod", 400)])
def test_networks_run(name, n_times, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from bench_features import SFREQ, other_network, recording

    raw = recording(102)
    models = braindecode_models()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the other package
        run = other_network(models, name, raw, n_times)
        out = run()
    assert out.shape == (1, 2)
    assert torch.isfinite(out).all()
    assert SFREQ == raw.info["sfreq"]
    sys.modules.pop("bench_features")


def test_pipelines_by_name():
    pipelines = default_pipelines(networks=["shallow-fbcsp", "eegnet"])
    assert list(pipelines)[-2:] == ["shallow-fbcsp", "eegnet"]
    for name in ("shallow-fbcsp", "eegnet"):
        assert pipelines[name].steps[-1][1].network == name


@pytest.mark.parametrize("name", ["shallow-fbcsp", "eegnet"])
def test_networks_are_trained(name, rng):
    """Trials with an oscillation are told from noise, and fitted networks pickle."""
    y = np.repeat(["control", "migraine"], 8)
    wave = np.sin(2 * np.pi * 10 * np.arange(125) / 125)
    X = [
        {"rest": rng.standard_normal((4, 6, 125)) + (label == "migraine") * wave}
        for label in y
    ]
    fitted = NetworkClassifier(name, max_epochs=5, n_trials=4, batch_size=16, lr=3e-3)
    fitted.set_params(random_state=0).fit(X[::2] + X[1::2], [*y[::2], *y[1::2]])
    history = fitted.history_["rest"]
    assert history["valid_loss"].min() < history["valid_loss"][0] - 0.1
    again = pickle.loads(pickle.dumps(fitted))
    assert_allclose(again.decision_function(X), fitted.decision_function(X))
