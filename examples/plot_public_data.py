"""
Decoding a public recording
===========================

Sounds or pictures? Trials of one person in the *sample* data set of MNE-Python, decoded
with features of the model and with honest baselines. The data set (1.5 GB) is not
downloaded here. Fetch it once with ``mne.datasets.sample.data_path()``. Where it is not
there, this example says so, and runs on a *simulated* recording instead: sounds or
pulses to a wrist.
"""

import matplotlib.pyplot as plt
import mne
import pandas as pd
from mne.decoding import UnsupervisedSpatialFilter
from pyriemann.estimation import XdawnCovariances
from pyriemann.tangentspace import TangentSpace
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from mne_megfm import CanonicalSensors, MEGFMTransformer, MEGSamples, simulate_cohort

SEED = 5
mne.set_log_level("error")

# %%
# The steps of a usual MNE script: filter, find events, cut epochs, drop those with
# artefacts. Bad channels are marked in the data set. There is no baseline
# correction, since offsets do not matter.
if mne.datasets.has_dataset("sample"):
    source = "MNE sample"
    folder = mne.datasets.sample.data_path(download=False) / "MEG" / "sample"
    raw = mne.io.read_raw(folder / "sample_audvis_raw.fif", preload=True)
    raw.filter(1.0, 40.0)
    epochs = mne.Epochs(
        raw,
        mne.find_events(raw, "STI 014"),
        {"auditory/left": 1, "visual/left": 3},
        tmin=-0.1,
        tmax=0.5,
        baseline=None,
        reject=dict(mag=4e-12, grad=4e-10, eog=150e-6),
        preload=True,
    )
else:
    source = "simulated, since the sample data set is not on this computer"
    cohort = simulate_cohort(
        1, arrays=("neuromag306",), n_epochs=20, filters=(1.0, 40.0), random_state=SEED
    )
    epochs = cohort.epochs()[0][["auditory", "somatosensory"]]
print(f"{source}: {len(epochs)} trials")
epochs.pick("meg")

# %%
# Four pipelines. *Random weights* are the same network before any training: what they
# reach is not due to pretraining. *xDAWN* learns spatial filters from the labels, and
# within one person it is often the best.
model = make_pipeline(MEGFMTransformer(), LogisticRegression(max_iter=1000))
random = make_pipeline(
    MEGFMTransformer(weights=None, random_state=SEED), LogisticRegression(max_iter=1000)
)
signals = make_pipeline(
    CanonicalSensors(),
    FunctionTransformer(lambda x: x[:, :, ::10].reshape(len(x), -1)),
    StandardScaler(),
    LogisticRegression(max_iter=1000),
)
xdawn = make_pipeline(
    CanonicalSensors(),
    UnsupervisedSpatialFilter(PCA(30)),  # the array has many channels, and few trials
    FunctionTransformer(lambda x: 1e12 * x),  # pT
    XdawnCovariances(4, estimator="oas", xdawn_estimator="oas"),
    TangentSpace(),
    LogisticRegression(max_iter=1000),
)
pipelines = {
    "model features": model,
    "random weights": random,
    "signals": signals,
    "xDAWN and tangent space": xdawn,
}

# %%
# All on the same folds. Trials are shuffled: the question is about trials of this
# recording. It says nothing on other people.
X, y = MEGSamples(epochs), epochs.events[:, 2]
cv = StratifiedKFold(5, shuffle=True, random_state=SEED)
scores = pd.DataFrame(
    {
        name: cross_val_score(pipeline, X, y, cv=cv, scoring="roc_auc")
        for name, pipeline in pipelines.items()
    }
)
scores.agg(["mean", "std"]).T

# %%
# Each point is a fold. With one person, differences between pipelines are no test.
fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for row, name in enumerate(scores):
    ax.plot(scores[name], [row] * len(scores), "o", alpha=0.5, color="C0")
    ax.plot(scores[name].mean(), row, "|", markersize=20, color="k")
ax.axvline(0.5, color="0.5", linestyle="--")
ax.set(
    yticks=range(scores.shape[1]),
    yticklabels=scores.columns,
    xlabel="ROC AUC (black: mean, dashed: chance)",
    title=source,
)
ax.invert_yaxis()
plt.show()

# %%
# Other public sets
# -----------------
#
# - **somato** (MNE): ``mne.datasets.somato.data_path()``. One condition, so compare
#   windows after the stimulus with windows before it.
# - **ds000117** (OpenNeuro, faces), **OMEGA** and **Cam-CAN** are BIDS folders, the
#   last two with an agreement to sign. Features of all people in one command, with
#   your own names of tasks and events::
#
#       mne-megfm features BIDS_ROOT --participants --state rest=rest \
#           --out people.parquet
#       mne-megfm classify fit people.parquet --labels participants.tsv --label age \
#           --regression -o age.skops
#
#   From a script, read recordings by ``mne_bids.read_raw_bids``, and give one dict for
#   each participant: :ref:`sphx_glr_gallery_plot_participants.py`.
