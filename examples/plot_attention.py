"""
Attention on the head
=====================

Where does the encoder attend, and is that where the stimulus arrived? *Simulated*
participants hear sounds and feel a median nerve, on three MEG systems; so the true
sources are known. Attention is of averages: in single trials it does not find the
stimulated regions. In averages of groups there is slightly more of it near the sources
(:doc:`/validation/attention`).
"""

import mne

from mne_megfm import MEGFMTransformer, simulate_cohort
from mne_megfm.interpret import attention, attention_test, score_attention
from mne_megfm.viz import plot_attention

SEED = 12
mne.set_log_level("error")
cohort = simulate_cohort(
    9,
    states=("auditory", "somatosensory"),
    arrays=("ctf275", "neuromag306", "kit157"),
    n_epochs=40,
    filters=(1.0, 40.0),
    random_state=SEED,
)

# %%
# One average for each participant and state. Sounds reach both hemispheres; of the
# wrists, only the right one is used. With ``info``, all maps are on the sensors of
# the first participant, so that participants of all systems can be averaged.
right = [p for p in cohort if p.truth["sides"]["somatosensory"] == "right"]
chosen = {"auditory": list(cohort), "somatosensory": right}
helmet = cohort[0].epochs("auditory").info
transformer = MEGFMTransformer().fit(cohort.epochs("auditory")[0])
averages, maps, sources = {}, {}, {}
for state, people in chosen.items():
    averages[state] = [
        p.epochs(state).apply_baseline((None, 0)).average() for p in people
    ]
    maps[state] = attention(transformer, averages[state], info=helmet)
    name = "N100m" if state == "auditory" else "N20m"
    sources[state] = [
        {s.hemi: s.pos for s in p.truth["states"][state]["sources"] if s.name == name}
        for p in people
    ]
{state: len(people) for state, people in chosen.items()}

# %%
# Grand averages. Each map stands for the 100 ms around its time. A value of 1 is even
# attention; stars are the true sources of the first participant, in both temporal
# lobes and at the left central sulcus. Points that do not exceed the attention to
# surrogates of the averages without timing are grey.
tests = {
    state: attention_test(transformer, found, info=helmet, n_turns=4, n_surrogates=19)
    for state, found in averages.items()
}
for state, test in tests.items():
    print(f"SIMULATED, {state}: {test.in_words()}")
first = {state: found[0] for state, found in sources.items()}
fig = plot_attention(tests, sources=first)

# %%
# The share of attention within 3 cm of a source, relative to what even attention would
# have there: after the stimulus, before it, and elsewhere under the sensors.
for state, window in (("auditory", (0.0, 0.2)), ("somatosensory", (0.0, 0.1))):
    score = score_attention(
        maps[state], sources[state], window=window, before=(-0.2, 0.0), n_null=200
    )
    print(f"SIMULATED, {state}")
    print(score.summary[["n", "mean", "sd", "before", "p_before", "p_places"]].round(3))

# %%
# The maps are :class:`mne.Evoked`: MNE's own figures take them too.
fig = mne.grand_average(maps["auditory"]).plot_joint(
    times=[-0.05, 0.05, 0.15],
    ts_args=dict(scalings=1, units="attention"),
    topomap_args=dict(scalings=1, cmap="PuOr_r"),
    show=False,
)
