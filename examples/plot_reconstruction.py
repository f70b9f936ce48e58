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
from mne_megfm.interpret import reconstruct, score_reconstruction
from mne_megfm.models import SpaceBlockMasking

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
# In each trial, hide a quarter of the head, at a random place.
# :func:`~mne_megfm.interpret.reconstruct` gives back Epochs, and what was hidden.
masking = SpaceBlockMasking(0.25)
result, hidden = reconstruct(epochs, transformer, masking, return_mask=True)
print(f"{hidden.mean():.0%} hidden")

# %%
# The average, at each channel, over those trials that hid it: nothing visible is in it.
# Beside it the average of the true signal of the same trials, which is what perfect
# predictions would give.
count = np.maximum(hidden.sum(0), 1)
true, predicted = epochs.average(), epochs.average()
true.data = np.where(hidden, epochs.get_data(), 0).sum(0) / count
predicted.data = np.where(hidden, result.get_data(), 0).sum(0) / count
r2 = 1 - np.sum((predicted.data - true.data) ** 2) / np.sum(true.data**2)
print(f"averages: R² {r2:.2f}")

fig, axes = plt.subplots(
    2, 2, figsize=(8, 5), width_ratios=[2.4, 1], layout="constrained"
)
limit = 1.05e15 * np.abs(true.data).max()
peak = epochs.average().crop(0.07, 0.13).get_peak()[1]
for row, evoked, title in zip(
    axes, (true, predicted), ("truth", "predictions"), strict=True
):
    row[0].plot(
        1e3 * evoked.times, 1e15 * evoked.data.T, lw=0.5, c="#0072B2", alpha=0.6
    )
    row[0].axvline(1e3 * peak, c="0.5", ls="--", lw=1)
    row[0].axvline(0, c="0.5", lw=1)
    row[0].set(ylabel="Field (fT)", title=f"Average of {title}", ylim=(-limit, limit))
    row[0].spines[["top", "right"]].set_visible(False)
    evoked.plot_topomap(peak, axes=row[1], colorbar=False, contours=4, show=False)
axes[1, 0].set_xlabel("Time after the sound (ms)")

# %%
# With all sensors hidden for 300 ms, little is left that a response could be known
# from. :func:`~mne_megfm.interpret.score_reconstruction` says so, beside straight lines
# in time and the truth of the same trials, all against the average of all trials.
# Latencies are in s.
score_reconstruction(epochs, transformer, on="evoked").round(3).T

# %%
# Without a mask, the data are projected on fields of sources in the head, and bad
# channels are filled.
truth = epochs.copy()
epochs.info["bads"] = epochs.ch_names[20:24]
clean = reconstruct(epochs, transformer, fill_bads=True)
true, filled = (x.average(picks=epochs.info["bads"]).data for x in (truth, clean))
r2 = 1 - np.sum((filled - true) ** 2) / np.sum(true**2)
print(f"bad before: {epochs.info['bads']}, after: {clean.info['bads']}")
print(f"averages of the filled channels against their truth: R² {r2:.2f}")
