"""
Reconstruct evoked responses
============================

Parts of single trials are hidden, the model predicts them on the recording's own
sensors, and the average of the predictions is compared with the true average. Then
bad channels are filled. The recording is *simulated*; with your own,
``mne.read_epochs`` takes its place.
"""

import matplotlib.pyplot as plt
import mne
import numpy as np

from mne_megfm import MEGFMTransformer, simulate_cohort
from mne_megfm.interpret import reconstruct, score_evoked
from mne_megfm.pretraining import TimeBlockMasking

SEED = 5
mne.set_log_level("error")
cohort = simulate_cohort(
    1,
    states=("auditory",),
    arrays=("ctf151",),
    n_epochs=30,
    filters=(1.0, 40.0),
    random_state=SEED,
)
epochs = cohort.epochs("auditory")[0]
transformer = MEGFMTransformer().fit(epochs)

# %%
# Hide all sensors for 300 ms of each trial, at times that are drawn anew.
# :func:`~mne_megfm.interpret.reconstruct` gives back Epochs, and what was hidden.
masking = TimeBlockMasking(0.3)
result, hidden = reconstruct(transformer, epochs, masking, return_mask=True)
print(f"{hidden.mean():.0%} hidden")

# %%
# The average, at each moment, of those trials that hid it: nothing visible is in it.
count = hidden.sum(0)
predicted = epochs.average()
predicted.data = np.where(hidden, result.get_data(), 0).sum(0) / np.maximum(count, 1)
true = epochs.average()
fig, axes = plt.subplots(
    2, 2, figsize=(8, 5), width_ratios=[2.4, 1], layout="constrained"
)
limit = 1.05e15 * np.abs(true.data).max()
peak = true.copy().crop(0.07, 0.13).get_peak()[1]
for row, evoked, title in zip(
    axes, (true, predicted), ("true average", "average of predictions"), strict=True
):
    row[0].plot(
        1e3 * evoked.times, 1e15 * evoked.data.T, lw=0.5, c="#0072B2", alpha=0.6
    )
    row[0].axvline(1e3 * peak, c="0.5", ls="--", lw=1)
    row[0].axvline(0, c="0.5", lw=1)
    row[0].set(ylabel="Field (fT)", title=title, ylim=(-limit, limit))
    row[0].spines[["top", "right"]].set_visible(False)
    evoked.plot_topomap(peak, axes=row[1], colorbar=False, contours=4, show=False)
axes[1, 0].set_xlabel("Time after the sound (ms)")

# %%
# The same in numbers, beside straight lines in time, and beside the true signal of
# the same few trials, which is what perfect predictions would give. Latencies are in
# s.
score_evoked(transformer, epochs, masking).round(3).T

# %%
# Without a mask, what cannot come from a head goes, and bad channels are filled.
truth = epochs.copy()
epochs.info["bads"] = epochs.ch_names[20:24]
clean = reconstruct(transformer, epochs, fill_bads=True)
true, filled = (x.average(picks=epochs.info["bads"]).data for x in (truth, clean))
r2 = 1 - np.sum((filled - true) ** 2) / np.sum(true**2)
print(f"bad before: {epochs.info['bads']}, after: {clean.info['bads']}")
print(f"averages of the filled channels against their truth: R² {r2:.2f}")
