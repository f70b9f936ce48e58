"""
Where decisions come from
=========================

A classifier decides between two kinds of epochs. Which signals does it use? Here the
truth is known: epochs are *simulated*, and half of them get the field of one more
dipole, 300 ms after time 0, in the right hemisphere. The default map finds it: the
covariance of the signal with the decision (Haufe et al. 2014). For other methods see
:doc:`/validation/attribution`.
"""

import mne
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mne_megfm import MEGFMTransformer, simulate_cohort
from mne_megfm.interpret import attribute, occlude, state_importance
from mne_megfm.viz import plot_attribution, plot_importance, plot_occlusion

mne.set_log_level("error")
cohort = simulate_cohort(
    1,
    states=("rest",),
    arrays=("ctf151",),
    n_epochs=120,
    filters=(1, 40),
    random_state=3,
)
epochs = cohort.epochs("rest")[0]
place, direction = [[0.045, 0.0, 0.08]], [[0.0, 1.0, 0.0]]
dipole = mne.Dipole([0.0], place, [1.0], direction, [100.0])
sphere = mne.make_sphere_model((0.0, 0.0, 0.04), head_radius=None)
field = mne.make_forward_dipole(dipole, sphere, epochs.info)[0]["sol"]["data"]
wave = np.exp(-0.5 * ((epochs.times - 0.3) / 0.025) ** 2)
y = np.arange(120) % 2
data = epochs.get_data() + 100e-9 * y[:, None, None] * field * wave
epochs = mne.EpochsArray(data, epochs.info, tmin=epochs.tmin)

# %%
# The pipeline is fitted on folds, and explained on held-out epochs. This is repeated
# with permuted labels. What does not stand out above chance is grey. Features are of
# signals as they are: denoised ones decode more, and their maps stand out less.
pipeline = make_pipeline(
    MEGFMTransformer(sensor_mapping="canonical"),
    StandardScaler(),
    LogisticRegression(C=1e-3),
)
found = attribute(pipeline, epochs, y, n_permutations=39)
print(found.in_words())
plot_attribution(found, title="What goes with decisions")

# %%
# A map is an ``Evoked`` (``found.maps``) on the user's sensors, so MNE's own figures
# and its dipole fits work on it. The truth, for comparison:
truth = mne.EvokedArray(100e-9 * field * wave, epochs.info, epochs.tmin, "pattern")
truth.plot_joint([0.3], title="What was planted", show=False)

# %%
# What do decisions lose when 100 ms of an epoch are those of another one?
lost = occlude(pipeline, epochs, y, "times", n_permutations=19)
print(lost.in_words())
plot_occlusion(lost)

# %%
# How much better do predictions of participants become with each state? The Shapley
# values of a fold add up to the difference of its score to that without any state.
# Twenty simulated people keep this quick, and are too few to compare states.
people = simulate_cohort(
    20,
    states=("auditory", "somatosensory"),
    arrays=("opm64",),
    n_epochs=20,
    filters=(1, 40),
    effect_size=1.5,
    random_state=5,
)
recordings = [person.recordings for person in people]
model = make_pipeline(MEGFMTransformer(), LogisticRegression())
importance = state_importance(model, recordings, people.labels, cv=4, n_permutations=39)
plot_importance(importance, title="Shapley values of the ROC AUC")
