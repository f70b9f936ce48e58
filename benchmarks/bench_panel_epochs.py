"""Tell auditory from somatosensory epochs of the panel's people.

Run as ``python benchmarks/bench_panel_epochs.py``; ``--help`` tells the settings. The
people are SIMULATED, see ``panel``, on three arrays in turn. Two
questions: trials of one person by other trials of the same (5 stratified folds, mean
over people), and trials of people that were not trained on (one person out). Everything
that is learnt, the covariance before the stimulus included, is learnt on training rows.

Baselines: signals of the canonical array at 50 Hz; the same whitened in space by the
covariance before the stimulus, as MNE users do; these with filters of what rows share
after it, without labels; xDAWN and tangent space; all with logistic regression. The
model is the ten lines of the README, with a StandardScaler between and without, and the
same with random weights (three draws).
"""

import argparse
import time
import warnings

import mne
import numpy as np
import pandas as pd
from _spatial_filters import response_filter, spatial_whitener
from panel import (
    DEVELOPMENT_SEEDS,
    REPORT_SEEDS,
    simulate_panel_person,
)
from pyriemann.estimation import XdawnCovariances
from pyriemann.tangentspace import TangentSpace
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import LeaveOneGroupOut, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mne_megfm import CanonicalSensors, MEGFMTransformer, MEGSamples
from mne_megfm.sensors import canonical_kernel

STATES = ("auditory", "somatosensory")
TMIN, TMAX = -0.2, 0.796  # a window of 1 s
N_BEFORE = 50  # samples
STEP = 5


class Signals(TransformerMixin, BaseEstimator):
    """Signals of the canonical array in pT, shape (n_rows, 192, n_times)."""

    def fit(self, X, y=None):
        """Find the sensors."""
        self.step_ = CanonicalSensors().fit(X)
        return self

    def transform(self, X):
        """Map the rows."""
        return 1e12 * self.step_.transform(X).astype(float)


class Whiten(TransformerMixin, BaseEstimator):
    """Whiten in space by the covariance before the stimulus, of training rows."""

    def __init__(self, ridge=1e-2):
        self.ridge = ridge

    def fit(self, X, y=None):
        """Find the covariance; its ridge is a share of the mean eigenvalue."""
        self.matrix_ = spatial_whitener(X[..., :N_BEFORE], self.ridge)
        return self

    def transform(self, X):
        """Whiten, and take away the mean before the stimulus."""
        X = self.matrix_ @ X
        return X - X[..., :N_BEFORE].mean(-1, keepdims=True)


class Denoise(Whiten):
    """Whiten, and keep the eight patterns that rows share after the stimulus."""

    def fit(self, X, y=None):
        """Find the patterns."""
        X = X - X[..., :N_BEFORE].mean(-1, keepdims=True)
        self.matrix_ = response_filter(X[..., :N_BEFORE], X[..., N_BEFORE:])
        return self


class Flatten(TransformerMixin, BaseEstimator):
    """Average so many samples to one, and make rows."""

    def fit(self, X, y=None):
        """Learn nothing."""
        return self

    def transform(self, X):
        """Make rows."""
        return X.reshape(*X.shape[:2], -1, STEP).mean(-1).reshape(len(X), -1)

    def __sklearn_is_fitted__(self):
        return True


class Reduce(TransformerMixin, BaseEstimator):
    """Keep the spatial patterns that sources in the head can make best."""

    def __init__(self, rank=32):
        self.rank = rank

    def fit(self, X, y=None):
        """Find the patterns; they depend on no data."""
        self.matrix_ = np.linalg.eigh(canonical_kernel())[1][:, : -self.rank - 1 : -1].T
        return self

    def transform(self, X):
        """Project."""
        return self.matrix_ @ X


def find_pipelines(n_random):
    """Name the pipelines; those of several seeds are lists."""

    def logistic(*steps):
        return make_pipeline(*steps, LogisticRegression(max_iter=1000))

    def control(*steps):
        return [
            logistic(MEGFMTransformer(None, random_state=s), *steps)
            for s in range(n_random)
        ]

    return {
        "ten lines": [logistic(MEGFMTransformer())],
        "ten lines, scaled": [logistic(MEGFMTransformer(), StandardScaler())],
        "ten lines, not denoised": [
            logistic(MEGFMTransformer(sensor_mapping="canonical"))
        ],
        "ten lines, random weights": control(),
        "ten lines, random weights, scaled": control(StandardScaler()),
        "signals": [logistic(Signals(), Flatten())],
        "signals, scaled": [logistic(Signals(), Flatten(), StandardScaler())],
        "whitened signals": [logistic(Signals(), Whiten(), Flatten())],
        "denoised signals": [logistic(Signals(), Denoise(), Flatten())],
        "xDAWN and tangent space": [
            logistic(
                Signals(),
                Reduce(),
                XdawnCovariances(nfilter=4, estimator="oas", xdawn_estimator="oas"),
                TangentSpace(),
            )
        ],
    }


def simulate(n_people, n_trials, seed):
    """Give the trials of everyone, a list of two Epochs for each."""
    people = []
    for number in range(n_people):
        recordings = simulate_panel_person(number, seed, n_trials=n_trials).recordings
        people.append([recordings[s].crop(TMIN, TMAX) for s in STATES])
    return people


def cross_validate(pipeline, X, y, folds):
    """Give the AUC of each fold."""
    aucs = []
    for train, test in folds:
        fitted = clone(pipeline).fit(X[train], y[train])
        aucs.append(roc_auc_score(y[test], fitted.decision_function(X[test])))
    return np.array(aucs)


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=6)
    parser.add_argument(
        "--trials", type=int, nargs="+", default=[10, 40], help="a class"
    )
    parser.add_argument("--pipelines", nargs="+", help="names (all)")
    parser.add_argument("--random-weights", type=int, default=3, help="draws")
    parser.add_argument(
        "--report",
        type=int,
        nargs="?",
        const=REPORT_SEEDS[0],
        choices=REPORT_SEEDS,
        help="a held-out seed",
    )
    parser.add_argument(
        "--between", action="store_true", help="also between people, all trials"
    )
    options = parser.parse_args()
    mne.set_log_level("error")
    warnings.simplefilter("ignore")
    pipelines = find_pipelines(options.random_weights)
    pipelines = {name: pipelines[name] for name in options.pipelines or pipelines}
    seed = options.report or DEVELOPMENT_SEEDS[0]
    print(
        f"SIMULATED, panel, seed {seed}, {options.people} people: AUC (SD over people)"
    )
    found = {}
    for n_trials in options.trials:
        people = simulate(options.people, n_trials, seed)
        for name, of_seeds in pipelines.items():
            started = time.perf_counter()
            aucs = []
            for trials in people:
                X, y = MEGSamples(trials), np.repeat([0, 1], n_trials)
                folds = StratifiedKFold(5, shuffle=True, random_state=0)
                folds = list(folds.split(y, y))
                aucs.append(
                    np.mean([cross_validate(p, X, y, folds).mean() for p in of_seeds])
                )
            found[name, f"within, {n_trials} trials"] = np.mean(aucs), np.std(aucs)
            took = time.perf_counter() - started
            print(
                f"{n_trials:3d} trials, {name}: {np.mean(aucs):.3f} "
                f"({np.std(aucs):.3f}), {took:.0f} s",
                flush=True,
            )
    if options.between:
        X = MEGSamples([epochs for trials in people for epochs in trials])
        y = np.tile(np.repeat([0, 1], n_trials), len(people))
        group = np.repeat(np.arange(len(people)), 2 * n_trials)
        folds = list(LeaveOneGroupOut().split(y, y, group))
        for name, of_seeds in pipelines.items():
            aucs = np.mean([cross_validate(p, X, y, folds) for p in of_seeds], 0)
            found[name, "between"] = aucs.mean(), aucs.std()
            print(f"between people, {name}: {aucs.mean():.3f}", flush=True)
    table = pd.Series({k: f"{m:.3f} ({s:.3f})" for k, (m, s) in found.items()})
    print(table.unstack(sort=False).to_string())


if __name__ == "__main__":
    main()
