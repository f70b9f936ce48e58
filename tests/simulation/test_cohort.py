"""Cohorts: groups, reproducibility, errors, cortical surfaces."""

import shutil

import mne
import numpy as np
import pytest

from mne_megfm.simulation import MigraineEffects, simulate_cohort, simulate_participant
from mne_megfm.simulation._forward import Cortex
from mne_megfm.simulation._participant import LOG_TRAITS, TRAITS, draw_traits

SMALL = dict(arrays="opm32", n_epochs=2, random_state=0)


def _data(person):
    return {
        state: inst.get_data(copy=False) for state, inst in person.recordings.items()
    }


def _equal(one, two):
    one, two = _data(one), _data(two)
    assert one.keys() == two.keys()
    for state in one:
        np.testing.assert_array_equal(one[state], two[state])


def test_cohort_is_the_same_whatever_n_jobs():
    """Processes and the size of the cohort change nothing."""
    one = simulate_cohort(4, **SMALL)
    two = simulate_cohort(6, **SMALL, n_jobs=2)
    three = simulate_cohort(2, **SMALL, first=2)
    for ii in range(4):
        _equal(one[ii], two[ii])
        assert one[ii].label == two[ii].label
    for ii in range(2):
        _equal(one[ii + 2], three[ii])
        assert one[ii + 2].name == three[ii].name
    other = simulate_cohort(1, **dict(SMALL, random_state=1))
    assert not np.array_equal(_data(one[0])["rest"], _data(other[0])["rest"])


def test_seed_is_recorded_when_none_is_given():
    """A cohort without a seed can be made again from its settings."""
    args = dict(arrays="opm32", n_epochs=1, states="rest")
    cohort = simulate_cohort(1, **args)
    again = simulate_cohort(1, random_state=cohort.settings["random_state"], **args)
    _equal(cohort[0], again[0])


def test_without_effect_patients_are_controls():
    """With effect_size 0 the label changes not a bit, otherwise it does."""
    args = dict(array="opm32", n_epochs=3, random_state=5)
    control = simulate_participant(7, "control", **args)
    patient = simulate_participant(7, "migraine", effect_size=0.0, **args)
    _equal(control, patient)
    assert control.truth["traits"] == patient.truth["traits"]
    patient = simulate_participant(7, "migraine", effect_size=1.0, **args)
    for state in control.recordings:
        assert not np.array_equal(_data(control)[state], _data(patient)[state])
    np.testing.assert_array_equal(
        control.truth["dev_head_t"], patient.truth["dev_head_t"]
    )


def test_effects_have_their_size():
    """Traits of groups differ by the stated number of standard deviations."""
    effects = MigraineEffects()
    n_persons = 3000
    for size in (0.0, 0.5, 1.0):
        groups = []
        for shift, label in enumerate(("control", "migraine")):
            rng = np.random.default_rng(shift)
            people = [draw_traits(rng, label, effects, size) for _ in range(n_persons)]
            groups.append(people)
        for name in TRAITS:
            control, patient = (
                np.array([person[name] for person in group]) for group in groups
            )
            if name in LOG_TRAITS:
                control, patient = np.log(control), np.log(patient)
            pooled = np.sqrt((control.var() + patient.var()) / 2)
            cohen = (patient.mean() - control.mean()) / pooled
            assert abs(cohen - size * getattr(effects, name)) < 0.1
            assert abs(control.std() / TRAITS[name][1] - 1.0) < 0.06


def test_single_effects_act_on_what_they_name():
    """Theta changes theta alone; larger responses are larger."""
    none = dict.fromkeys(TRAITS, 0.0)
    args = dict(array="opm32", n_epochs=2, states="auditory", random_state=3)
    control = simulate_participant(2, **args)

    def patient(**changed):
        effects = MigraineEffects(**dict(none, **changed))
        return simulate_participant(2, "migraine", effects=effects, **args)

    def moments(person):
        return {(r["name"], r["hemi"]): r["moment"] for r in person.truth["rhythms"]}

    before, after = moments(control), moments(patient(theta=1.0))
    for key in before:
        ratio = np.exp(TRAITS["theta"][1]) if "theta" in key[0] else 1.0
        assert after[key] == pytest.approx(ratio * before[key])
    larger = patient(amplitude=1.0).truth["states"]["auditory"]["sources"]
    for one, two in zip(
        control.truth["states"]["auditory"]["sources"], larger, strict=True
    ):
        assert two.moment == pytest.approx(one.moment * np.exp(0.35))
        np.testing.assert_array_equal(one.pos, two.pos)
    slower = patient(alpha_frequency=-1.0).truth
    assert slower["traits"]["alpha_frequency"] == pytest.approx(
        control.truth["traits"]["alpha_frequency"] - 0.9
    )


def test_arrays_tell_nothing_about_labels():
    """Each array has the same share of patients; heads differ."""
    cohort = simulate_cohort(
        16,
        arrays=("opm32", "opm40"),
        patients=0.25,
        n_epochs=1,
        states="rest",
        random_state=2,
    )
    arrays = np.array([person.array for person in cohort])
    assert np.sum(cohort.labels == "migraine") == 4
    for array in ("opm32", "opm40"):
        assert np.sum(cohort.labels[arrays == array] == "migraine") == 2
    assert len(set(cohort.names)) == len(cohort) == 16
    shifts = np.array([person.truth["dev_head_t"][:3, 3] for person in cohort])
    assert len(np.unique(shifts.round(6), axis=0)) == 16
    origins = np.array([person.truth["head_origin"] for person in cohort])
    assert origins.std(axis=0).max() > 0.001


def test_states_can_be_missing():
    """Some states are left out, never all; the rest stays as it was."""
    full = simulate_cohort(6, **SMALL)
    cohort = simulate_cohort(6, p_missing=0.5, **SMALL)
    counts = [len(person.states) for person in cohort]
    assert min(counts) >= 1
    assert 1 < sum(counts) < 18
    for one, two in zip(full, cohort, strict=True):
        for state in two.states:
            np.testing.assert_array_equal(_data(one)[state], _data(two)[state])


def test_random_filters_differ_between_participants():
    """filters='random' gives several filters, the same for all states."""
    cohort = simulate_cohort(12, filters="random", **dict(SMALL, n_epochs=1))
    filters = {person.truth["filters"] for person in cohort}
    assert len(filters) > 2


@pytest.mark.parametrize(
    ("changed", "error", "match"),
    [
        (dict(arrays="meg9000"), ValueError, "name of an MEG array"),
        (dict(arrays=()), ValueError, "at least one array"),
        (dict(states=("rest", "visual")), ValueError, "'visual'"),
        (dict(states=()), ValueError, "at least one state"),
        (dict(n_participants=0), ValueError, "at least 1"),
        (dict(patients=1.5), ValueError, "between 0 and 1"),
        (dict(patients=np.nan), ValueError, "patients"),
        (dict(effect_size="big"), ValueError, "effect_size"),
        (dict(effects=dict(theta=1)), TypeError, "MigraineEffects"),
        (dict(n_epochs=0), ValueError, "n_epochs of rest"),
        (dict(n_epochs={"rest": 3}), ValueError, "n_epochs of auditory"),
        (dict(sfreq=50.0), ValueError, "resample"),
        (dict(tmin=0.1), ValueError, "tmin"),
        (dict(filters="strong"), ValueError, "'random'"),
        (dict(filters=(40.0, 1.0)), ValueError, "above l_freq"),
        (dict(line_freq=-50.0), ValueError, "line_freq"),
        (dict(noise=-1.0), ValueError, "noise"),
        (dict(subject="fsaverage"), ValueError, "subjects_dir and subject"),
        (dict(head_pos="upside down"), ValueError, "head_pos"),
    ],
)
def test_errors_say_what_to_do(changed, error, match):
    """Wrong parameters are refused before anything is simulated."""
    args = dict(dict(n_participants=1, **SMALL), **changed)
    with pytest.raises(error, match=match):
        simulate_cohort(**args)


def test_participant_errors():
    """Unknown labels and settings are refused."""
    with pytest.raises(ValueError, match="'control', 'migraine'"):
        simulate_participant(0, "tension")
    with pytest.raises(TypeError, match="got 'n_epoch'"):
        simulate_participant(0, n_epoch=3)
    with pytest.raises(ValueError, match="effect 'theta'"):
        MigraineEffects(theta=np.inf)


@pytest.fixture
def subjects_dir(tmp_path, data_dir):
    """Make a subjects folder of the head models among the recordings."""
    source = data_dir / "headmodel"
    if not source.is_dir():
        pytest.skip("No head models beside the real recordings")
    bem = tmp_path / "fsaverage" / "bem"
    bem.mkdir(parents=True)
    shutil.copy(source / "fsaverage5-ico3-src.fif", bem / "fsaverage-ico3-src.fif")
    shutil.copy(source / "fsaverage-trans.fif", bem / "fsaverage-trans.fif")
    return tmp_path, source


@pytest.mark.parametrize("with_bem", [False, True])
def test_sources_lie_on_the_cortex(subjects_dir, with_bem):
    """With a subject all sources are vertices, their currents along normals."""
    folder, source = subjects_dir
    if with_bem:
        bem = "fsaverage-1280-inner_skull-bem-sol.fif"
        shutil.copy(source / bem, folder / "fsaverage" / "bem" / bem)
    cohort = simulate_cohort(
        1,
        arrays="ctf151",
        n_epochs=3,
        states="auditory",
        subjects_dir=folder,
        subject="fsaverage",
        random_state=0,
        verbose="error",
    )
    cortex = Cortex(folder, "fsaverage")
    assert (cortex.bem is not None) == with_bem
    sources = cohort[0].truth["states"]["auditory"]["sources"]
    for src in sources:
        dist = np.linalg.norm(cortex.pos - src.pos, axis=1)
        assert dist.min() < 1e-9
        assert abs(cortex.normals[dist.argmin()] @ src.ori) == pytest.approx(1.0)
        assert np.sign(src.pos[0]) == (1 if src.hemi == "rh" else -1)
    data = cohort.epochs("auditory")[0].get_data(copy=False)
    assert np.isfinite(data).all()
    rms = np.median((data - data.mean(-1, keepdims=True)).std(-1))
    assert 2e-14 < rms < 3e-12


def test_cortex_errors(tmp_path):
    """What is missing in a subjects folder is said."""
    with pytest.raises(FileNotFoundError, match="folder of subject 'nobody'"):
        Cortex(tmp_path, "nobody")
    (tmp_path / "fsaverage" / "bem").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="source space"):
        Cortex(tmp_path, "fsaverage")
    (tmp_path / "someone").mkdir()
    with pytest.raises(FileNotFoundError, match="-trans.fif"):
        Cortex(tmp_path, "someone")


def test_headless_surface_needs_a_surface(tmp_path):
    """A volume source space is refused."""
    bem = tmp_path / "fsaverage" / "bem"
    bem.mkdir(parents=True)
    sphere = mne.make_sphere_model((0, 0, 0.04), 0.09, verbose="error")
    src = mne.setup_volume_source_space(sphere=sphere, pos=40.0, verbose="error")
    mne.write_source_spaces(bem / "fsaverage-vol-src.fif", src, verbose="error")
    with pytest.raises(ValueError, match="surface source space"):
        Cortex(tmp_path, "fsaverage")
