"""
Another MEG system, the same weights
====================================

Sensors of any array are mapped to one array of virtual magnetometers, by physics
rather than by learning. So a classifier that was fitted on one system takes
recordings of another, with no change. The data are *simulated*.
"""

import matplotlib.pyplot as plt
import mne
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

from mne_megfm import CanonicalSensors, MEGFMTransformer, simulate_cohort
from mne_megfm.sensors import canonical_array

SEED = 3
ARRAYS = {"neuromag306": "Neuromag-306", "ctf275": "CTF-275", "opm64": "64 OPMs"}
mne.set_log_level("error")
settings = dict(
    states=("auditory",), filters=(1.0, 40.0), effect_size=2.0, random_state=SEED
)

# %%
# One head in three systems, each time at another place in the helmet.
# :class:`~mne_megfm.CanonicalSensors` is the mapping alone, for any other method.
evokeds = {
    array: simulate_cohort(1, arrays=array, n_epochs=60, **settings)[0]
    .epochs("auditory")
    .average()
    for array in ARRAYS
}
mapped = {
    array: CanonicalSensors().fit_transform([evoked])[0]
    for array, evoked in evokeds.items()
}

# %%
# The response to sounds at its peak: as the sensors measured it, and on the array
# that the transformer sees. (Planar gradiometers are not shown, but used.)
info = canonical_array().info(250.0)
times = evokeds["ctf275"].times
peak = np.flatnonzero((times > 0.07) & (times < 0.15))
peak = peak[np.square(mapped["ctf275"][:, peak]).sum(0).argmax()]
fig, axes = plt.subplots(2, 3, figsize=(7, 5), layout="constrained")
for (array, name), column in zip(ARRAYS.items(), axes.T, strict=True):
    own = evokeds[array].copy().pick("mag")
    for data, where, ax in (
        (own.data, own.info, column[0]),
        (mapped[array], info, column[1]),
    ):
        field = 1e15 * data[:, peak]
        limit = np.abs(field).max()
        mne.viz.plot_topomap(
            field, where, axes=ax, vlim=(-limit, limit), contours=4, show=False
        )
    column[0].set_title(f"{name}\n{len(own.ch_names)} sensors")
axes[1, 1].set_title(f"{len(info['ch_names'])} virtual magnetometers")
fig.suptitle(f"{1e3 * times[peak]:.0f} ms after a sound (simulated)")

# %%
# The mapped averages, compared over all sensors and times.
reference = mapped["ctf275"].ravel()
for array, name in ARRAYS.items():
    r = np.corrcoef(reference, mapped[array].ravel())[0, 1]
    print(f"{name:14s} correlation with the same head in CTF-275: {r:.2f}")

# %%
# Fit on participants of one system, and classify participants of another.
train = simulate_cohort(16, arrays="ctf275", n_epochs=15, first=1, **settings)
pipeline = make_pipeline(MEGFMTransformer(), LogisticRegression())
pipeline.fit([person.recordings for person in train], train.labels)
for array, name in ARRAYS.items():
    test = simulate_cohort(10, arrays=array, n_epochs=15, first=17, **settings)
    decision = pipeline.decision_function([person.recordings for person in test])
    auc = roc_auc_score(test.labels == pipeline.classes_[1], decision)
    print(f"fitted on CTF-275, {len(test)} new participants in {name}: AUC {auc:.2f}")
