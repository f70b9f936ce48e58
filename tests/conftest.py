"""Settings and fixtures for all tests."""

import os
import random
import sys
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "agg")
# One thread a process: xdist runs several, and the order of sums stays the same.
# Before NumPy and torch are imported, since they look at these on import.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import mne  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True, scope="session")
def _quiet_mne(tmp_path_factory):
    """Log warnings only, and leave the configuration of the user alone."""
    # Not above WARNING: from there on, mne.utils.warn is silent and hides warnings
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("_MNE_FAKE_HOME_DIR", str(tmp_path_factory.mktemp("home")))
        monkeypatch.setenv("MNE_LOGGING_LEVEL", "WARNING")  # for worker processes
        with mne.utils.use_log_level("warning"):
            yield


@pytest.fixture(autouse=True)
def _seeds():
    """Seed the global random generators, for code that draws from them unasked."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    if "torch" in sys.modules:  # which many tests do without, and takes its time
        sys.modules["torch"].manual_seed(0)


@pytest.fixture
def rng():
    """Return a seeded random generator."""
    return np.random.default_rng(20251204)


@pytest.fixture(scope="session")
def data_dir():
    """Return the folder of real recordings, or skip the test.

    ``MNE_MEGFM_TEST_DATA`` names it; without that, a folder ``shared/data`` beside the
    checkout is taken.
    """
    given = os.environ.get("MNE_MEGFM_TEST_DATA")
    folder = Path(given) if given else ROOT.parent / "shared" / "data"
    if not any(folder.glob("*.fif")):
        if given:
            pytest.fail(f"Expected FIF files in MNE_MEGFM_TEST_DATA, got {folder}")
        pytest.skip("No real recordings: name their folder in MNE_MEGFM_TEST_DATA")
    return folder


@pytest.fixture(autouse=True)
def _close_figures():
    """Close all figures after a test."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
