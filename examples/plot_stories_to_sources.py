"""
From stories to sources
=======================

Three people hear stories in MEG and in fMRI. One encoding model finds the cortical
sources that predict both, and these are compared with the planted ones. The experiment
is *simulated*.
"""

import matplotlib.pyplot as plt
import mne
import numpy as np

from mne_megfm.encoding import LatentSourceEncoder, compare_sources
from mne_megfm.simulation import simulate_naturalistic

SEED = 1
mne.set_log_level("error")

# %%
# Four stories of a minute, the last one heard twice. Seven areas of the language
# network respond to the envelope, to onsets and words, and to word embeddings.
experiment = simulate_naturalistic(
    3,
    4,
    arrays=("ctf151", "kit157", "4d248"),
    n_repeats={"story4": 2},
    meg_snr=0.02,
    random_state=SEED,
)
for area in experiment.areas:
    print(f"{area.name:25s} {area.feature:10s} {1e3 * area.latency:.0f} ms")

# %%
# The encoder and its baselines are fitted to the first three stories. Here it is the
# linear model, which takes seconds; see the guide for when a transformer pays.
encoder = LatentSourceEncoder(n_layers=0, n_epochs=0)
comparison = compare_sources(
    encoder,
    experiment.stimulus,
    experiment.recordings,
    ["story4"],
    bands=experiment.bands,
)
comparison.summary().round(3)

# %%
# Courses at the centre of each area, where the truth is known. Inverse methods take the
# recordings of the held-out story; the encoder has only heard it.
truth = experiment.courses["story4"]
fits = {}
for name in ("joint", "MEG alone", "MNE", "sLORETA", "LCMV"):
    data = comparison.sources[name]["story4"].data[experiment.centres]
    fits[name] = [np.corrcoef(a, b)[0, 1] for a, b in zip(data, truth, strict=True)]
fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for name, values in fits.items():
    ax.plot(values, "o-", label=f"{name}, mean {np.mean(values):.2f}")
ax.set_xticks(range(len(truth)), [a.name for a in experiment.areas], rotation=30)
ax.set(ylabel="correlation with the true course", ylim=(-1, 1))
ax.legend()

# %%
# Where the estimate is strong, seen from the left. ``stc.plot()`` shows the same on a
# surface where there is a display.
points = 1e3 * experiment.positions()
left = points[:, 0] < 0
estimate = comparison.sources["joint"]["story4"].data.std(axis=1)
planted = experiment.sources("story4").data.std(axis=1)
fig, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
for ax, (title, size) in zip(
    axes, {"planted": planted, "estimated": estimate}.items(), strict=True
):
    order = np.argsort(size[left])
    y, z, c = (v[left][order] for v in (points[:, 1], points[:, 2], size))
    ax.scatter(-y, z, c=c, s=25, cmap="magma_r")
    ax.set(title=f"{title}, left hemisphere", xlabel="front to back (mm)")
axes[0].set_ylabel("bottom to top (mm)")
plt.show()
