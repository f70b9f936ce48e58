"""
Pretrain on your own recordings
===============================

Masked pretraining needs recordings and no labels. Here the bundled weights are trained
further on a few *simulated* participants, beside a small network from random weights.
Both are scored on participants that neither has seen. A real pretraining has thousands
of windows and is started from the shell, see :doc:`/scaling`.
"""

import tempfile

import matplotlib.pyplot as plt
import mne
import pandas as pd

from mne_megfm import MEGFMTransformer, simulate_cohort
from mne_megfm.estimators import Pretraining

SEED = 9
mne.set_log_level("error")
cohort = simulate_cohort(
    12, arrays=("neuromag122",), n_epochs=4, filters=(1.0, 40.0), random_state=SEED
)
recordings = [participant.recordings for participant in cohort]
own, held_out = recordings[:9], recordings[9:]

# %%
# ``max_epochs`` is what makes ``fit`` train. A tenth of the recordings is held out in
# training, for the loss that ``patience`` looks at. The small network is tiny on
# purpose.
small = dict(d_model=32, n_layers=2, n_decoder_layers=1, n_heads=2)
models = {
    "bundled": MEGFMTransformer(),
    "bundled, continued": MEGFMTransformer(
        pretraining=Pretraining(max_epochs=2, lr=1e-4), random_state=SEED
    ),
    "small, from scratch": MEGFMTransformer(
        weights=None,
        config=small,
        pretraining=Pretraining(max_epochs=8),
        random_state=SEED,
    ),
    "small, random weights": MEGFMTransformer(
        weights=None, config=small, random_state=SEED
    ),
}
scores = {name: model.fit(own).score(held_out) for name, model in models.items()}

# %%
# Minus the unexplained share of hidden signal: 0 is perfect, -1 is a prediction of
# zero.
pd.Series(scores, name="score on held-out participants").round(3).to_frame()

# %%
# Even with random weights, the decoder has the interpolation of the visible signal in
# space and time. Training adds to that. Losses are of held-out recordings, always with
# the same masks.
fig, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
colours = ["#0072B2", "#56B4E9", "#D55E00", "0.6"]
for (name, model), colour, marker in zip(models.items(), colours, " osx", strict=True):
    history = model.history_
    if history is not None:
        axes[0].plot(
            history.epoch, history.valid_loss, c=colour, marker=marker, label=name
        )
axes[0].set(xlabel="Epoch", ylabel="Loss, held out", title="Training")
axes[0].legend(frameon=False)
axes[1].barh(list(scores), [1 + score for score in scores.values()], color=colours)
axes[1].invert_yaxis()
axes[1].set(xlabel="Explained share of what was hidden", title="New participants")
for ax in axes:
    ax.spines[["top", "right"]].set_visible(False)

# %%
# A trained model is kept in a folder, which is then the name of its weights.
with tempfile.TemporaryDirectory() as folder:
    models["bundled, continued"].save_pretrained(folder, overwrite=True)
    again = MEGFMTransformer(weights=folder).fit(own)
    print(f"read again: {again.score(held_out):.3f}")
    print(again.provenance_["fitted_on"])
