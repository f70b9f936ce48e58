"""
A state is missing
==================

Often a participant was not recorded in all states. A missing state is imputed by the
participant encoder from the other states, and a column marks it. This works in ``fit``
and in ``predict``. The cohort is *simulated*.
"""

import matplotlib.pyplot as plt
import mne
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from mne_megfm import MEGFMTransformer, simulate_cohort

SEED = 5
mne.set_log_level("error")

# %%
# In a fifth of the recordings of the training participants a state is missing.
settings = dict(
    states=("rest", "auditory", "somatosensory"),
    arrays=("ctf151", "kit157"),
    n_epochs=10,
    filters=(1.0, 40.0),
    effect_size=2.0,
    random_state=SEED,
)
train = simulate_cohort(20, p_missing=0.2, **settings)
pd.Series([", ".join(person.states) for person in train]).value_counts()

# %%
# No option is needed.
pipeline = make_pipeline(MEGFMTransformer(), LogisticRegression())
pipeline.fit([person.recordings for person in train], train.labels)
names = pipeline[0].get_feature_names_out()
print([str(name) for name in names if "missing" in name])

# %%
# New participants with all states, and the same participants without one of them.
test = simulate_cohort(10, first=20, **settings)
complete = [person.recordings for person in test]
decisions = {"nothing missing": pipeline.decision_function(complete)}
for missing in settings["states"]:
    fewer = [{s: inst for s, inst in p.items() if s != missing} for p in complete]
    decisions[f"no {missing}"] = pipeline.decision_function(fewer)
decisions = pd.DataFrame(decisions, index=test.labels)

# %%
# How much decisions change, and how often the label changes. (Ten simulated
# participants. A state that helps much is missed much.)
change = decisions.sub(decisions["nothing missing"], axis=0).abs()
other = (decisions > 0).ne(decisions["nothing missing"] > 0, axis=0)
right = (decisions > 0).eq(test.labels == pipeline.classes_[1], axis=0)
pd.DataFrame(
    {
        "mean change of log odds": change.mean(),
        "other label": other.sum(),
        "right": right.sum(),
    }
).round(2)

# %%
# Each line is a participant.
fig, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
places = np.arange(decisions.shape[1])
for label, colour, marker in (
    ("control", "#0072B2", "o"),
    ("migraine", "#D55E00", "s"),
):
    lines = ax.plot(
        places, decisions.loc[label].T, c=colour, marker=marker, lw=1, alpha=0.8
    )
    lines[0].set_label(label)
ax.axhline(0, color="0.6", lw=1, ls="--")
ax.set_xticks(places, decisions.columns)
ax.set(ylabel="Log odds of migraine", title="New participants (simulated)")
ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
ax.spines[["top", "right"]].set_visible(False)
