"""
Pretrain on your own recordings
===============================

Masked pretraining needs recordings and no labels. Here the bundled weights go on
training on a few *simulated* participants, beside a small network from scratch, and
both are judged on participants that neither has seen. A real pretraining has
thousands of windows and is started from the shell, see :doc:`/scaling`.
"""

import tempfile

import matplotlib.pyplot as plt
import mne
import pandas as pd

from mne_megfm import MEGFMTransformer, simulate_cohort

SEED = 9
mne.set_log_level("error")
cohort = simulate_cohort(
    12, arrays=("neuromag122",), n_epochs=5, filters=(1.0, 40.0), random_state=SEED
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
    "bundled, continued": MEGFMTransformer(max_epochs=4, lr=1e-4, random_state=SEED),
    "small, from scratch": MEGFMTransformer(
        weights=None, config=small, max_epochs=12, random_state=SEED
    ),
    "small, untrained": MEGFMTransformer(weights=None, config=small, random_state=SEED),
}
scores = {name: model.fit(own).score(held_out) for name, model in models.items()}

# %%
# Minus the unexplained share of hidden signal: 0 is perfect, -1 is what predicting
# nothing reaches.
pd.Series(scores, name="score on held-out participants").round(3).to_frame()

# %%
# Even an untrained decoder is handed what interpolation in space and time makes of
# the visible signal; training is what it adds to that. The losses of the two
# trainings:
fig, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
names = ("bundled, continued", "small, from scratch")
for ax, name in zip(axes, names, strict=False):
    history = models[name].history_
    ax.plot(
        history.epoch, history.train_loss, c="#0072B2", marker="o", label="training"
    )
    ax.plot(
        history.epoch, history.valid_loss, c="#D55E00", marker="s", label="held out"
    )
    ax.set(title=name, xlabel="Epoch", ylabel="Loss")
    ax.spines[["top", "right"]].set_visible(False)
axes[0].legend(frameon=False)
axes[2].barh(list(scores), [1 + score for score in scores.values()], color="#009E73")
axes[2].invert_yaxis()
axes[2].set(xlabel="Explained share of hidden signal", title="New participants")
axes[2].spines[["top", "right"]].set_visible(False)

# %%
# A trained model is kept in a folder, which is then the name of its weights.
with tempfile.TemporaryDirectory() as folder:
    models["bundled, continued"].save_pretrained(folder, overwrite=True)
    again = MEGFMTransformer(weights=folder).fit(own)
    print(f"read again: {again.score(held_out):.3f}")
    print(again.training_["fitted_on"])
