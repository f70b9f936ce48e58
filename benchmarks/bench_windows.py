"""Features of single windows, beside random weights and the signals.

Run as ``python benchmarks/bench_windows.py``; ``--help`` lists the settings. Three
questions to 120 simulated participants on three arrays, each answered by ridge
regression on the features of windows, without the participant encoder:

- auditory or somatosensory: single trials, of participants that were not trained on
  (ROC AUC, 5 folds of participants);
- migraine or control: the averages of both states (ROC AUC, 4 x 5 folds);
- the frequency of alpha: mean and spread over windows of rest (correlation with the
  truth, 4 x 5 folds).

The cohort is drawn from another seed than the participants of pretraining, and than
those that the layer and the axes of features were chosen on (4400, 4500, 4600, 4601).
Filters in space are learnt from trials of 12 more participants, of seed 4800.
"""

import argparse
import warnings

import mne
import numpy as np
from _spatial_filters import response_filter, spatial_whitener
from scipy.stats import pearsonr
from sklearn.linear_model import RidgeClassifierCV, RidgeCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, RepeatedKFold, RepeatedStratifiedKFold

from mne_megfm import CanonicalSensors, MEGFMTransformer, MEGSamples
from mne_megfm.simulation import simulate_participant

ARRAYS = ("neuromag306", "ctf275", "kit160")
RESPONSES = ("auditory", "somatosensory")
ALPHAS = np.logspace(-4, 4, 17)
STEP = 5  # samples of 4 ms: signals have nothing above 40 Hz
N_BEFORE = 50  # samples before the stimulus


class Signals:
    """The original signals on the canonical sensors, in the face of a transformer."""

    def fit(self, X):
        """Find the canonical sensors."""
        self.step = CanonicalSensors().fit(X)
        return self

    def transform(self, X):
        """Give signals at 50 Hz as rows."""
        signals = self.step.transform(X)[..., ::STEP]
        return signals.reshape(len(signals), -1)


class WhitenedSignals(Signals):
    """The same, whitened in space by the covariance before the stimulus."""

    def fit(self, X):
        """Find the canonical sensors, and the covariance with a ridge of 1 %."""
        super().fit(X)
        before = self.step.transform(X)[..., :N_BEFORE].astype(float)
        self.matrix = spatial_whitener(before)
        return self

    def transform(self, X):
        """Give filtered signals at 50 Hz as rows, without what was before."""
        signals = self.matrix @ self.step.transform(X)
        signals -= signals[..., :N_BEFORE].mean(-1, keepdims=True)
        return signals[..., ::STEP].reshape(len(signals), -1)


class DenoisedSignals(WhitenedSignals):
    """The same, by the eight patterns that rows share after the stimulus."""

    def fit(self, X):
        """Find the canonical sensors, and the filters."""
        Signals.fit(self, X)
        signals = self.step.transform(X).astype(float)
        signals -= signals[..., :N_BEFORE].mean(-1, keepdims=True)
        self.matrix = response_filter(signals[..., :N_BEFORE], signals[..., N_BEFORE:])
        return self


def simulate(n, n_trials, seed):
    """Give trials by state, averages by state, rest, labels and alpha frequencies."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 2)
    for number, label in enumerate(labels):
        person = simulate_participant(
            number,
            array=ARRAYS[number % len(ARRAYS)],
            label="migraine" if label else "control",
            states=(*RESPONSES, "rest"),
            n_epochs={**dict.fromkeys(RESPONSES, 40), "rest": n_trials},
            tmin=-0.2,
            sfreq=250.0,
            effect_size=1.4,
            filters=(1.0, 40.0),
            random_state=seed,
        )
        yield label, person


def describe(steps, n, n_trials, seed):
    """Describe everyone by all feature sets."""
    found = {name: {"trials": [], "averages": [], "rest": []} for name in steps}
    labels, frequencies = [], []
    for label, person in simulate(n, n_trials, seed):
        labels.append(label)
        frequencies.append(person.truth["traits"]["alpha_frequency"])
        epochs = [person.recordings[state] for state in RESPONSES]
        for name, step in steps.items():
            part = found[name]
            trials = [step.transform(e[:n_trials]) for e in epochs]
            part["trials"].append(np.concatenate(trials))
            averages = [step.transform(e.average()) for e in epochs]
            part["averages"].append(np.concatenate(averages, axis=None))
            rest = step.transform(person.recordings["rest"])
            part["rest"].append(np.concatenate([rest.mean(0), rest.std(0)]))
    arrays = {k: {q: np.array(v) for q, v in d.items()} for k, d in found.items()}
    return arrays, np.array(labels), np.array(frequencies)


def scaled(x):
    """Give rows of unit variance in total, so that penalties mean the same."""
    x = x - x.mean(0)
    return x / np.sqrt(np.square(x).sum(1).mean())


def score(features, labels, frequencies):
    """Answer the three questions; scores of the folds."""
    n, n_rows = features["trials"].shape[:2]
    rows = scaled(features["trials"].reshape(n * n_rows, -1))
    state = np.tile(np.repeat([0, 1], n_rows // 2), n)
    person = np.repeat(np.arange(n), n_rows)
    averages, rest = scaled(features["averages"]), scaled(features["rest"])
    out = {"trials": [], "migraine": [], "alpha": []}
    for train, test in GroupKFold(5).split(rows, groups=person):
        model = RidgeClassifierCV(ALPHAS).fit(rows[train], state[train])
        out["trials"].append(
            roc_auc_score(state[test], model.decision_function(rows[test]))
        )
    folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=4, random_state=0)
    for train, test in folds.split(averages, labels):
        model = RidgeClassifierCV(ALPHAS).fit(averages[train], labels[train])
        out["migraine"].append(
            roc_auc_score(labels[test], model.decision_function(averages[test]))
        )
    folds = RepeatedKFold(n_splits=5, n_repeats=4, random_state=0)
    for train, test in folds.split(rest):
        model = RidgeCV(ALPHAS).fit(rest[train], frequencies[train])
        guess = model.predict(rest[test])
        out["alpha"].append(
            pearsonr(guess, frequencies[test])[0] if np.ptp(guess) else 0.0
        )
    return out


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--participants", type=int, default=120)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--seed", type=int, default=4700)
    options = parser.parse_args()
    mne.set_log_level("error")
    warnings.simplefilter("ignore")
    first = MEGSamples(
        [
            person.recordings[state][:8]
            for _, person in simulate(12, 8, 4800)
            for state in RESPONSES
        ]
    )
    steps = {
        "model features": MEGFMTransformer().fit(first),
        "model features, not denoised": MEGFMTransformer(
            sensor_mapping="canonical"
        ).fit(first),
        "random weights": MEGFMTransformer(None, random_state=0).fit(first),
        "original signals": Signals().fit(first),
        "whitened signals": WhitenedSignals().fit(first),
        "denoised signals": DenoisedSignals().fit(first),
    }
    n, n_trials = options.participants, options.trials
    arrays, labels, frequencies = describe(steps, n, n_trials, options.seed)
    print(
        f"{n} participants, {n_trials} trials a state, seed {options.seed}: "
        "mean (SD over folds)\n"
        f"{'':30s}{'state of a trial':>18s}{'migraine':>18s}{'alpha, r':>18s}"
    )
    for name, features in arrays.items():
        scores = score(features, labels, frequencies)
        cells = "".join(
            f"{np.mean(x):10.3f} ({np.std(x):.3f})" for x in scores.values()
        )
        print(f"{name:30s}{cells}")


if __name__ == "__main__":
    main()
