"""
One step in a pipeline
======================

Epochs go in, cross-validated predictions come out: the features of the pretrained
transformer are one step of a scikit-learn pipeline. The data are *simulated*; with
your own, ``mne.read_epochs`` takes the place of the first lines.
"""

import matplotlib.pyplot as plt
import mne
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay, balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from mne_megfm import CanonicalSensors, MEGFMTransformer, MEGSamples, simulate_cohort

SEED = 12
mne.set_log_level("error")

# %%
# Epochs of one person in a Neuromag system: at rest, with sounds, and with pulses to
# a wrist.
cohort = simulate_cohort(
    1, arrays=("neuromag306",), n_epochs=40, filters=(1.0, 40.0), random_state=SEED
)
epochs = cohort.epochs()[0]
print(epochs)

# %%
# The pipeline. :class:`~mne_megfm.MEGFMTransformer` maps the sensors of any system to
# one array, and encodes each epoch; its weights come with the package and stay as
# they are. :class:`~mne_megfm.MEGSamples` is a view of the epochs that scikit-learn
# can split without copies.
pipeline = make_pipeline(MEGFMTransformer(), LogisticRegression(max_iter=1000))
X, y = MEGSamples(epochs), epochs.events[:, 2]
cv = StratifiedKFold(4, shuffle=True, random_state=SEED)
predicted = cross_val_predict(pipeline, X, y, cv=cv)
print(f"balanced accuracy {balanced_accuracy_score(y, predicted):.2f}, chance 0.33")

# %%
# The same classifier on the signals themselves, on the same array, every 40 ms. For
# single trials of one person that is a strong baseline: look at both.
signals = make_pipeline(
    CanonicalSensors(),
    FunctionTransformer(lambda x: 1e13 * x[:, :, ::10].reshape(len(x), -1)),
    LogisticRegression(max_iter=1000),
)
other = cross_val_predict(signals, X, y, cv=cv)
print(f"original signals: {balanced_accuracy_score(y, other):.2f}")

# %%
# Which single trials were taken for which.
fig, axes = plt.subplots(1, 2, figsize=(8.5, 3.8), layout="constrained")
for ax, name, labels in zip(
    axes, ("model features", "original signals"), (predicted, other), strict=True
):
    ConfusionMatrixDisplay.from_predictions(
        y,
        labels,
        display_labels=list(epochs.event_id),
        cmap="Blues",
        colorbar=False,
        im_kw=dict(vmin=0, vmax=40),
        ax=ax,
    )
    ax.set_title(name)
fig.suptitle(f"{len(epochs)} single trials of one person (simulated), 4 folds")

# %%
# Features have names: a region of the head, a time in the epoch, and an axis of the
# tokens there. They go on to any other estimator, or into a table.
features = MEGFMTransformer().set_output(transform="pandas").fit_transform(epochs)
features.iloc[:4, :5]
