"""
Participants, whatever their MEG system
=======================================

With a list of participants, a row is a person. A *simulated* cohort of patients and
controls on three MEG systems, rest and sounds, is split by participants: the classifier
is fitted on some and predicts the others. A small novelty p-value shows a recording
that is unlike those of training.
"""

import matplotlib.pyplot as plt
import mne
import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from mne_megfm import MEGFMClassifier, simulate_cohort

SEED = 31
mne.set_log_level("error")

# %%
# One element for each participant: a dict from state to recording. Your own are
# ``{"rest": raw, "auditory": epochs}``, or one Epochs whose conditions are states.
cohort = simulate_cohort(
    36,
    states=("rest", "auditory"),
    arrays=("ctf151", "kit157", "opm64"),
    n_epochs=8,
    filters=(1.0, 40.0),
    effect_size=1.5,
    random_state=SEED,
)
X = [participant.recordings for participant in cohort]
y = cohort.labels

# %%
# Fit on two thirds of the participants. (For a result, cross-validate over
# participants, as :ref:`sphx_glr_gallery_plot_compare.py` does: one split of so few
# participants shows nothing.)
train, test = train_test_split(
    np.arange(len(y)), test_size=1 / 3, stratify=y, random_state=SEED
)
classifier = MEGFMClassifier(random_state=SEED).fit([X[i] for i in train], y[train])

# %%
# New participants: the probability of migraine, and how similar they are to those of
# training (a conformal p-value; 0.5 is the middle). The smallest value with ``n``
# participants is 1 / (``n`` + 1) (dashed below).
new = [X[i] for i in test]
chance = classifier.predict_proba(new)[:, list(classifier.classes_).index("migraine")]
p_value = classifier.novelty_p_values(new)
auc = roc_auc_score(y[test] == "migraine", chance)
print(f"ROC AUC of these {len(new)}: {auc:.2f}")

# %%
# Noise of an empty room is classified as well, but with a warning.
info = new[0]["auditory"].info
noise = np.random.default_rng(SEED).standard_normal((20, len(info["ch_names"]), 250))
empty = [{"auditory": mne.EpochsArray(1e-14 * noise, info, tmin=-0.2)}]
empty_chance = classifier.predict_proba(empty)[0, 1]

# %%
# Look at this before you trust a probability.
fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for label, colour, marker in (
    ("control", "#0072B2", "o"),
    ("migraine", "#D55E00", "s"),
):
    of = y[test] == label
    ax.scatter(chance[of], p_value[of], c=colour, marker=marker, s=50, label=label)
ax.scatter(
    empty_chance,
    classifier.novelty_p_values(empty),
    c="k",
    marker="x",
    s=60,
    label="empty room",
)
ax.axhline(1 / (len(train) + 1), color="0.6", lw=1, ls="--")
ax.set(
    xlabel="Probability of migraine",
    ylabel="Novelty p-value",
    xlim=(0, 1),
    title=f"{len(test)} new participants (simulated), and an empty room",
)
ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
ax.spines[["top", "right"]].set_visible(False)
