"""
Another MEG system, the same weights
====================================

Sensors of any array are mapped to one array of virtual magnetometers, by physics and
without learning. So a classifier that was fitted on one system takes recordings of
another system. The data are *simulated*.
"""

import matplotlib.pyplot as plt
import mne
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

from mne_megfm import CanonicalSensors, MEGFMTransformer, simulate_cohort
from mne_megfm.sensors import canonical_array
from mne_megfm.simulation import make_array_info

SEED = 3
ARRAYS = {"neuromag306": "Neuromag-306", "ctf275": "CTF-275", "opm64": "64 OPMs"}
mne.set_log_level("error")

# %%
# Two sources, one in each auditory cortex, as three systems see them, each with the
# head at another place in the helmet. (A sphere model, without noise.)
sphere = mne.make_sphere_model((0.0, 0.0, 0.04), head_radius=None)
pos = np.array([[-0.05, 0.01, 0.055], [0.05, 0.01, 0.055]])
ori = np.array([[0.0, -0.3, -1.0], [0.0, -0.3, -1.0]]) / np.hypot(0.3, 1.0)
moment, good = np.full(2, 25e-9), np.full(2, 100.0)
dipoles = mne.Dipole(np.array([0.0, 0.004]), pos, moment, ori, good)
evokeds = {}
for seed, array in enumerate(ARRAYS):
    info = make_array_info(array, 250.0, head_pos="random", random_state=SEED + seed)
    forward = mne.make_forward_dipole(dipoles, sphere, info)[0]
    field = forward["sol"]["data"] @ moment
    info = mne.pick_info(info, mne.pick_channels(info["ch_names"], forward.ch_names))
    evokeds[array] = mne.EvokedArray(field[:, np.newaxis], info)

# %%
# :class:`~mne_megfm.CanonicalSensors` is the mapping alone, for any other method.
mapped = {
    array: CanonicalSensors().fit_transform([evoked])[0][:, 0]
    for array, evoked in evokeds.items()
}

# %%
# Above the field at each system's own sensors, below on the array that the transformer
# sees. (Planar gradiometers are not shown, but used.)
canonical = canonical_array().info(250.0)
fig, axes = plt.subplots(2, 3, figsize=(7, 5.4), layout="constrained")
for (array, name), (above, below) in zip(ARRAYS.items(), axes.T, strict=True):
    own = evokeds[array].copy().pick("mag")
    limit = 1e15 * np.abs(mapped["ctf275"]).max()
    for field, info, ax in (
        (own.data[:, 0], own.info, above),
        (mapped[array], canonical, below),
    ):
        mne.viz.plot_topomap(
            1e15 * field,
            info,
            axes=ax,
            vlim=(-limit, limit),
            contours=4,
            sensors=False,
            show=False,
        )
    above.set_title(f"{name}\n{len(own.ch_names)} magnetometers")
    below.set_title(f"{len(canonical['ch_names'])} virtual ones")
fig.suptitle("The same sources in three systems (simulated)")

# %%
# The virtual fields, compared over all 192 virtual sensors.
for array, name in ARRAYS.items():
    r = np.corrcoef(mapped["ctf275"], mapped[array])[0, 1]
    print(f"{name:14s} correlation with the field from CTF-275: {r:.4f}")

# %%
# So a classifier may be fitted on participants of one system, and classify new ones who
# were recorded on another, ten on each. (So few show only that it works.)
settings = dict(
    states=("auditory",), filters=(1.0, 40.0), effect_size=1.5, random_state=SEED
)
train = simulate_cohort(16, arrays="ctf275", n_epochs=15, first=1, **settings)
pipeline = make_pipeline(MEGFMTransformer(), LogisticRegression())
pipeline.fit([person.recordings for person in train], train.labels)
for array, name in ARRAYS.items():
    test = simulate_cohort(10, arrays=array, n_epochs=15, first=17, **settings)
    decision = pipeline.decision_function([person.recordings for person in test])
    auc = roc_auc_score(test.labels == pipeline.classes_[1], decision)
    print(f"fitted on CTF-275, {len(test)} new participants in {name}: AUC {auc:.2f}")
