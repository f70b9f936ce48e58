"""The networks that the benchmarks compare with load beside this torch."""

import importlib.util
import sys
import warnings
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("braindecode") is None,
    reason="The braindecode extra is not installed",
)


@pytest.mark.parametrize(("name", "n_times"), [("LUNA", 520), ("CBraMod", 400)])
def test_networks_run(name, n_times, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from _braindecode import networks
    from bench_features import SFREQ, other_network, recording

    raw = recording(102)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the other package
        run = other_network(networks(), name, raw, n_times)
        out = run()
    assert out.shape == (1, 2)
    assert torch.isfinite(out).all()
    assert SFREQ == raw.info["sfreq"]
    for module in ("_braindecode", "bench_features"):
        sys.modules.pop(module)
