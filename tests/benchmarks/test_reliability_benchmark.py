"""The benchmark of reliability, against planted variances."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
        path = BENCHMARKS / "bench_reliability.py"
        spec = importlib.util.spec_from_file_location("bench_reliability", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def test_intraclass_correlation_of_planted_variances(bench, rng):
    """Share of the variance that is between people: 3 of 4, none, all, undefined."""
    person = rng.standard_normal((20_000, 1)) * np.sqrt([3.0, 0.0, 1.0, 0.0])
    noise = np.array([1.0, 1.0, 0.0, 0.0])
    visits = [person + noise * rng.standard_normal((20_000, 4)) for _ in range(2)]
    np.testing.assert_allclose(bench.intraclass(*visits), [0.75, 0, 1, 0], atol=0.02)
    # ICC(1,1) from the mean squares of a one-way analysis of variance
    a, b = (v[:6, 0] for v in visits)
    between = 2 * np.var((a + b) / 2, ddof=1)
    within = sum(np.var([x, y], ddof=1) for x, y in zip(a, b, strict=True)) / 6
    np.testing.assert_allclose(
        bench.intraclass(a[:, None], b[:, None]),
        (between - within) / (between + within),
    )


def test_distances(bench):
    """Points on a line: to oneself 1, to others 9 and 11; then nearer to the other."""
    first = np.array([[0.0], [10.0]])
    assert bench.distances(first, first + 1.0) == (1.0 / 10.0, 1.0)
    assert bench.distances(first, np.array([[5.0], [2.0]])) == (6.5 / 3.5, 0.0)
