"""
Choose the masking and the classifier together
==============================================

Pretraining is a step like any other, so ``GridSearchCV`` chooses the share that is
hidden in pretraining together with the classifier, inside each training fold. The
cohort is *simulated*; the network and its training are far too small to be of use, so
that this runs in half a minute.
"""

import tempfile

import matplotlib.pyplot as plt
import mne
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

from mne_megfm import MEGFMTransformer, simulate_cohort
from mne_megfm.estimators import Pretraining

SEED = 7
mne.set_log_level("error")
cohort = simulate_cohort(
    18,
    states=("auditory",),
    arrays=("kit157",),
    n_epochs=8,
    filters=(1.0, 40.0),
    effect_size=2.0,
    random_state=SEED,
)
X = [participant.recordings for participant in cohort]

# %%
# With ``weights=None`` and ``pretraining`` the transformer is pretrained on what
# ``fit`` is given, which here is the training fold alone. ``memory`` keeps what a
# step made of a fold: each pretraining is done once, not once for every classifier.
small = dict(d_model=32, n_layers=1, n_decoder_layers=1, n_heads=2)
cache = tempfile.TemporaryDirectory()
pipeline = Pipeline(
    [
        (
            "features",
            MEGFMTransformer(
                weights=None,
                config=small,
                pretraining=Pretraining(max_epochs=3, lr=3e-3),
                random_state=SEED,
            ),
        ),
        ("classifier", LogisticRegression(max_iter=1000)),
    ],
    memory=cache.name,
)
search = GridSearchCV(
    pipeline,
    {
        "features__pretraining__mask_ratio": [0.5, 0.8],
        "classifier": [LogisticRegression(max_iter=1000), SVC()],
    },
    scoring="roc_auc",
    cv=StratifiedKFold(3, shuffle=True, random_state=SEED),
)
search.fit(X, cohort.labels)
cache.cleanup()

# %%
# What was tried: mean and SD over folds. Differences within the SD mean nothing.
found = pd.DataFrame(search.cv_results_)
found["classifier"] = [type(c).__name__ for c in found["param_classifier"]]
found["mask_ratio"] = found["param_features__pretraining__mask_ratio"].astype(float)
table = found.pivot(index="classifier", columns="mask_ratio", values="mean_test_score")
spread = found.pivot(index="classifier", columns="mask_ratio", values="std_test_score")
fig, ax = plt.subplots(figsize=(5.5, 2.6), layout="constrained")
image = ax.imshow(table, cmap="cividis", vmin=0, vmax=1, aspect="auto")
for row, name in enumerate(table.index):
    for column, ratio in enumerate(table.columns):
        text = f"{table.loc[name, ratio]:.2f}\n({spread.loc[name, ratio]:.2f})"
        dark = table.loc[name, ratio] < 0.5
        ax.text(column, row, text, ha="center", va="center", c="w" if dark else "k")
ax.set_xticks(range(len(table.columns)), table.columns)
ax.set_yticks(range(len(table)), table.index)
ax.set(
    xlabel="Share hidden in pretraining",
    title=f"{len(X)} simulated participants, 3 folds",
)
fig.colorbar(image, label="ROC AUC")

# %%
# Without labels, ``mask_ratio`` can be chosen by how well hidden signal of held-out
# recordings is predicted:
# ``GridSearchCV(MEGFMTransformer(...), {"pretraining__mask_ratio": ...})`` takes the
# transformer's own ``score``, which hides the same parts whatever the network was
# trained with.
