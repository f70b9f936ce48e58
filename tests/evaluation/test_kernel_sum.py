"""The sum of three kernels, against the same numbers written out."""

import mne
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.signal import welch

from mne_megfm import CanonicalSensors
from mne_megfm.evaluation import HabituationFeatures
from mne_megfm.evaluation._baselines import KernelSum
from mne_megfm.sensors import canonical_kernel


@pytest.fixture(scope="module")
def X(participants):
    return participants[:4]


def test_parts_are_those_written_out(X):
    """Averages in leading components, log spectra by region, of the second person."""
    found = KernelSum(rank=3)._read_participants(X[1:2])[0]
    trials = 1e12 * CanonicalSensors().fit_transform(X[1]["auditory"])
    vectors = np.linalg.eigh(canonical_kernel())[1][:, [-1, -2, -3]].T
    average = vectors @ trials.mean(0)
    zero = round(-X[1]["auditory"].tmin * 250)
    average -= average[:, :zero].mean(1, keepdims=True)
    expected = average[:, zero : zero + 150].ravel()
    assert_allclose(found["averages"]["auditory"], expected, rtol=1e-4, atol=1e-4)
    freqs, power = welch(trials, 250.0, nperseg=250)
    power = power.mean(0).reshape(24, 8, -1).mean(1)
    spectra = found["spectra"]["auditory"].reshape(24, 21)
    assert_allclose(spectra[:, 3], np.log(power[:, 5]), rtol=1e-4)  # 5 Hz alone
    last = np.log(power[:, (freqs >= 86) & (freqs <= 100)]).mean(1)
    assert_allclose(spectra[:, -1], last, rtol=1e-3)
    assert set(found["averages"]) == set(found["dynamics"]) == {"auditory"}
    assert set(found["spectra"]) == {"auditory", "rest"}


def test_each_kernel_has_the_same_weight(X):
    """Trace 3 of three kernels in training, and others are scaled by the same."""
    transformer = KernelSum(rank=3).fit(X[:3])
    features, other = transformer.transform(X[:3]), transformer.transform(X[3:])
    names = transformer.get_feature_names_out()
    for part in ("averages", "spectra", "dynamics"):
        own = features[:, [name.startswith(part) for name in names]]
        assert_allclose(own.mean(0), 0, atol=1e-9)
        assert_allclose(np.square(own).sum(1).mean(), 1.0)
    dynamics = HabituationFeatures().fit(X[:3])
    known, new = dynamics.transform(X[:3]), dynamics.transform(X[3:])
    size = np.sqrt(np.square(known - known.mean(0)).sum(1).mean())
    block = other[:, [name.startswith("dynamics") for name in names]]
    assert_allclose(block, (new - known.mean(0)) / size)
    assert len(set(names)) == features.shape[1] and not np.isnan(features).any()


def test_missing_states_and_rest_alone(X):
    lacking = [{"rest": X[0]["rest"]}, *X[1:]]
    transformer = KernelSum(rank=3).fit(lacking)
    marks = [n for n in transformer.get_feature_names_out() if n.endswith("missing")]
    assert marks == [
        "averages_auditory_missing",
        "spectra_auditory_missing",
        "spectra_rest_missing",
        "dynamics_auditory_missing",
    ]
    assert np.isfinite(transformer.transform(lacking)).all()
    rest = KernelSum().fit([{"rest": x["rest"]} for x in X])
    assert list(rest.parts_) == ["spectra"] and rest.states_ == ["rest"]


def test_short_epochs_from_the_event_on(X):
    """Bands are 1 Hz wide all the same; averages are relative to their own mean."""
    info = X[0]["auditory"].info
    data = 1e-13 * np.random.default_rng(0).standard_normal((4, len(info.ch_names), 75))
    short = [mne.EpochsArray(d, info, verbose="error") for d in (data, 2 * data)]
    found = KernelSum(rank=2)._read_participants([{"a": one} for one in short])
    assert np.isfinite(found[0]["spectra"]["a"]).all()
    assert_allclose(
        found[1]["spectra"]["a"] - found[0]["spectra"]["a"], np.log(4), rtol=1e-3
    )
    average = found[0]["averages"]["a"].reshape(2, -1)
    assert_allclose(average.mean(1), 0, atol=1e-5)
