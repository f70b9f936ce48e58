"""
Which image was shown?
======================

Each image has an embedding, as a network for images makes it. ``MEGFMRetriever``
predicts embeddings from single responses, and ranks candidates by their similarity to
the prediction, also images that were never shown in training. Responses here are
*simulated*: they are linear in embeddings that are known, with the background of a
participant at rest.
"""

import matplotlib.pyplot as plt
import mne
import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from mne_megfm import CanonicalSensors, MEGFMRetriever, MEGSamples
from mne_megfm.estimators import retrieval_scores
from mne_megfm.simulation import simulate_stimuli

SEED = 3
mne.set_log_level("error")
shown = simulate_stimuli(150, n_repeats=2, n_dims=8, random_state=SEED)
X, embeddings = MEGSamples(shown.epochs), shown.embeddings

# %%
# Train on 110 images, test on 40 others. Both presentations of an image are on one
# side: otherwise it would be known already.
test = shown.stimulus >= 110
train, test = np.flatnonzero(~test), np.flatnonzero(test)
retriever = MEGFMRetriever(random_state=SEED).fit(X[train], embeddings[train])
retriever.retrieval_scores(X[test], embeddings[test])

# %%
# Predictions of both presentations of an image, averaged.
retriever.retrieval_scores(X[test], embeddings[test], average=True)

# %%
# A baseline: ridge regression from the signals to embeddings, on the same responses.
baseline = make_pipeline(
    CanonicalSensors(),
    FunctionTransformer(lambda x: x[:, :, ::4].reshape(len(x), -1)),
    StandardScaler(),
    RidgeCV(np.logspace(2, 8, 7)),
).fit(X[train], embeddings[train])

# %%
# And a null: embeddings of other images in training. What is found then is found by
# chance.
order = np.random.default_rng(SEED).permutation(len(train))
null = MEGFMRetriever(random_state=SEED).fit(X[train], embeddings[train][order])

# %%
# The share of responses whose image is among the *k* best of 40 candidates.
k = range(1, 40)
curves = {
    "MEGFMRetriever": retriever.retrieval_scores(X[test], embeddings[test], k=k),
    "ridge, signals": retrieval_scores(
        baseline.predict(X[test]), embeddings[test], k=k
    ),
    "permuted embeddings": null.retrieval_scores(X[test], embeddings[test], k=k),
}
fig, ax = plt.subplots(figsize=(5.5, 3.6), layout="constrained")
for name, table in curves.items():
    ax.plot(k, table["score"][:-1], label=name)
ax.plot(k, table["chance"][:-1], "k--", label="chance")
ax.set(
    xlabel="Candidates that count as found, of 40",
    ylabel="Share found",
    title=f"{len(test)} simulated responses to images not seen in training",
    xlim=(1, 39),
    ylim=(0, 1),
)
ax.legend(loc="lower right")

# %%
# One participant and simulated responses show how it is done, not how well it works
# with real ones.
