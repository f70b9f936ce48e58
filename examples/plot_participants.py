"""Classify participants, whatever their MEG system.

A *simulated* cohort: patients with migraine and controls on three MEG systems, rest
and sounds, some states missing. A frozen, pretrained encoder with a linear head is
cross-validated over participants; then some are classified that it has not seen, and
a recording from elsewhere is told by its typicality.
"""

import argparse

import mne
import numpy as np
from sklearn.model_selection import StratifiedKFold, cross_validate

from mne_megfm import MEGFMClassifier, simulate_cohort

SEED = 31
parser = argparse.ArgumentParser()
parser.add_argument("--participants", type=int, default=40)
parser.add_argument("--epochs", type=int, default=25)
options = parser.parse_args()
mne.set_log_level("error")

# %%
# One element a participant: a dict of its recordings, by state. Your own are
# ``{"rest": raw, "auditory": epochs}``, or one Epochs whose conditions are states.
cohort = simulate_cohort(
    options.participants,
    states=("rest", "auditory"),
    arrays=("neuromag306", "ctf275", "kit157"),
    n_epochs=options.epochs,
    filters=(1.0, 40.0),
    effect_size=1.5,
    p_missing=0.1,
    random_state=SEED,
)
X = [participant.recordings for participant in cohort.participants]
y = cohort.labels

# %%
# Cross-validation over participants.
classifier = MEGFMClassifier(random_state=SEED)
cv = StratifiedKFold(4, shuffle=True, random_state=SEED)
scores = cross_validate(classifier, X, y, cv=cv, scoring=("roc_auc", "neg_log_loss"))
print(f"SIMULATED cohort, {len(y)} participants, 4 folds, mean (SD over folds)")
for name in ("roc_auc", "neg_log_loss"):
    values = scores[f"test_{name}"]
    print(f"  {name:16s}{values.mean():7.3f} ({values.std():.3f})")

# %%
# New participants: how likely, and how much like those of training.
train, test = next(cv.split(X, y))
classifier.fit([X[i] for i in train], y[train])
new = [X[i] for i in test]
print("\nlabel      P(migraine)  typicality")
for label, chance, typicality in zip(
    y[test],
    classifier.predict_proba(new)[:, list(classifier.classes_).index("migraine")],
    classifier.typicality(new),
    strict=True,
):
    print(f"{label:11s}{chance:11.2f}{typicality:12.2f}")

# %%
# Noise of the sensors is no brain: it is classified, but not in silence.
info = next(iter(new[0].values())).info
noise = np.random.default_rng(SEED).standard_normal((20, len(info["ch_names"]), 250))
empty_room = {"auditory": mne.EpochsArray(1e-14 * noise, info, tmin=-0.2)}
print(f"\nempty room: typicality {classifier.typicality([empty_room])[0]:.2f}")
