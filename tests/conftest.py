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


@pytest.fixture(scope="session")
def cohort():
    """Four participants on three systems, two states, short epochs at 250 Hz."""
    from mne_megfm.simulation import simulate_cohort

    return simulate_cohort(
        4,
        states=("auditory", "rest"),
        arrays=("neuromag306", "ctf151", "kit157"),
        n_epochs=8,
        filters=(0.5, 80.0),
        random_state=5,
    )


@pytest.fixture(scope="session")
def epochs(cohort):
    """Auditory epochs of the first participant."""
    return cohort.epochs("auditory")[0]


@pytest.fixture(scope="session")
def participants(cohort):
    """One dict of state to epochs for each participant."""
    return [
        {"auditory": auditory, "rest": rest}
        for auditory, rest in zip(
            cohort.epochs("auditory"), cohort.epochs("rest"), strict=True
        )
    ]


@pytest.fixture
def make_model():
    """Return a function that makes a model of 16 sensors with given weights."""
    import torch

    from mne_megfm.models import MaskedSignalTransformer, ModelConfig

    small = {
        "n_sensors": 16,
        "n_regions": 4,
        "sfreq": 100.0,
        "patch_length": 10,
        "n_patches": 10,
        "d_model": 32,
        "n_layers": 1,
        "n_decoder_layers": 1,
    }

    def make(seed=0, **changes):
        torch.manual_seed(seed)
        pos = torch.arange(16.0)
        kernel = torch.exp(-((pos[:, None] - pos).abs() / 4.0))
        return MaskedSignalTransformer(ModelConfig(**small | changes), kernel)

    return make


@pytest.fixture
def recordings(rng):
    """Return 25 recordings of 12 windows with a response that is each one's own."""
    from mne_megfm.models import WindowArray

    noise = rng.standard_normal((25, 12, 16, 100)).cumsum(-1) / 5
    response = rng.standard_normal((25, 1, 16, 1)) * np.hanning(100)
    signal = (noise + 2 * response).reshape(-1, 16, 100) * 1e-13
    owner = np.repeat(np.arange(25), 12)
    return WindowArray(signal.astype("f4"), unit=1.0, recording=owner)


@pytest.fixture(scope="session")
def comparison():
    """Return a comparison made of numbers: decisions drawn for 32 participants.

    Two pipelines, two repeats of four folds; nobody is fitted, no recording is read.
    """
    import pandas as pd
    from sklearn.metrics import brier_score_loss, roc_auc_score

    from mne_megfm.evaluation import Comparison

    rng = np.random.default_rng(5)
    people = np.arange(32)
    y = np.where(people % 2, "migraine", "control")
    folds, predictions = [], []
    for name, gain in (("<good>", 2.0), ("poor", 0.3)):
        for repeat in range(2):
            parts = np.array_split(rng.permutation(16), 4)
            for number, part in enumerate(parts):
                test = np.sort(np.r_[2 * part, 2 * part + 1])
                truth = y[test] == "migraine"
                score = gain * (truth - 0.5) + rng.standard_normal(len(test))
                proba = 1.0 / (1.0 + np.exp(-score))
                values = {
                    "roc_auc": roc_auc_score(truth, score),
                    "brier": brier_score_loss(truth, proba),
                }
                shared = {"pipeline": name, "repeat": repeat, "fold": number}
                sides = {
                    "n_train": 24,
                    "n_test": 8,
                    "train": tuple(np.setdiff1d(people, test).tolist()),
                    "test": tuple(test.tolist()),
                }
                folds += [
                    {**shared, "metric": metric, "value": value, **sides}
                    for metric, value in values.items()
                ]
                predictions.append(
                    pd.DataFrame(
                        {
                            **shared,
                            "participant": test,
                            "y_true": y[test],
                            "y_pred": np.where(score > 0, "migraine", "control"),
                            "score": score,
                            "proba": proba,
                        }
                    )
                )
    return Comparison(
        folds=pd.DataFrame(folds),
        predictions=pd.concat(predictions, ignore_index=True),
        permutations=pd.DataFrame(
            columns=["pipeline", "permutation", "metric", "value"]
        ),
        excluded=pd.DataFrame(
            [{"kind": "participant", "name": "<32>", "reason": "no label (n/a)"}]
        ),
        provenance={"<good>": {"name": "megfm-tiny"}, "poor": None},
        metrics=["roc_auc", "brier"],
        reference="poor",
        labels={"control": 16, "migraine": 16},
        classes=["control", "migraine"],
        trivial={"roc_auc": 0.5, "brier": 0.25},
        settings={
            "cv": "made",
            "n_folds": 8,
            "random_state": 5,
        },
    )


@pytest.fixture(autouse=True)
def _close_figures():
    """Close all figures after a test."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def pytest_collection_modifyitems(items):
    """Give slow tests more time, also where other work shares the cores."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(1200))
