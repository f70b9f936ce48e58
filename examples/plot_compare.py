"""
Model features against original signals
=======================================

Can patients and controls be classified better with features of the model than with the
signals? One call compares both for any cohort: participants with recordings of several
states from several MEG systems, and labels. This cohort is *simulated* and small; with
your own::

    X = [{"rest": raw, "auditory": epochs}, ...]  # one dict a participant
    y = ["migraine", "control", ...]
"""

import mne
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from mne_megfm import MEGFMTransformer, simulate_cohort
from mne_megfm.evaluation import compare, default_pipelines
from mne_megfm.viz import plot_comparison

SEED = 31
mne.set_log_level("error")
cohort = simulate_cohort(
    36,
    states=("rest", "auditory"),
    arrays=("ctf151", "opm64"),
    n_epochs=10,
    filters=(1.0, 40.0),
    effect_size=1.0,
    random_state=SEED,
)
X = [participant.recordings for participant in cohort]
y = cohort.labels.astype(object)
# as in life: a recording is missing, and so is a label
del X[3]["rest"]
y[5] = None

# %%
# The model and some of the baselines, on the same folds. Any other pipeline can be
# added. Without ``pipelines``, all of :func:`~mne_megfm.evaluation.default_pipelines`
# are compared.
pipelines = default_pipelines(random_state=SEED)
chosen = ("model features", "random weights", "original signals, evoked")
pipelines = {name: pipelines[name] for name in (*chosen, "trial dynamics")}
pipelines["model features, SVM"] = make_pipeline(
    MEGFMTransformer(), SVC(class_weight="balanced")
)
result = compare(
    X,
    y,
    pipelines,
    cv=RepeatedStratifiedKFold(n_splits=4, n_repeats=2, random_state=SEED),
    reference="original signals, evoked",
    n_permutations=3,
    n_random_weights=2,
    random_state=SEED,
)
result

# %%
# Has pretraining helped? Each gate is a claim that has to be shown. With so few people
# most cannot be.
result.gates()

# %%
# How well the array can be read from the same features, beside chance.
result.confounds

# %%
# Everything that is left out is listed, with the reason.
result.excluded

# %%
# Each point is a fold. Bars are 95 % intervals that take into account that training
# sets overlap. So few simulated participants show how it is done, not what is better:
# with another seed the order changes. An AUC well below 0.5 is also chance.
plot_comparison(result)
