"""Simulated recordings against the truth that comes with them."""

import mne
import numpy as np
import pytest
from scipy.signal import welch

from mne_megfm.simulation import (
    ARRAYS,
    MigraineEffects,
    make_array_info,
    simulate_participant,
)

QUIET = dict(noise=0.0, artifacts=0.0, line_freq=None)


def _sphere_field(info, origin, pos, ori):
    """Field of a dipole by MNE-Python's forward model for dipoles."""
    dipole = mne.Dipole([0.0], pos[None], [1e-9], ori[None], [100.0])
    sphere = mne.make_sphere_model(origin, head_radius=None, verbose="error")
    fwd, _ = mne.make_forward_dipole(dipole, sphere, info, verbose="error")
    return fwd["sol"]["data"][:, 0]


def _responses(index, state, array, n_epochs, seed):
    """Simulate a person, and the responses alone.

    Traits change no random draw: a patient with larger responses and no other
    effect differs from the control by responses only.
    """
    args = dict(array=array, states=state, n_epochs=n_epochs, random_state=seed)
    control = simulate_participant(index, "control", **QUIET, **args)
    effects = MigraineEffects(
        habituation=0, adaptation=0, amplitude=6, theta=0, alpha_frequency=0, beta=0
    )
    patient = simulate_participant(index, "migraine", effects=effects, **QUIET, **args)
    factor = patient.truth["traits"]["amplitude"] / control.truth["traits"]["amplitude"]
    responses = patient.recordings[state].copy()
    data = responses.get_data(copy=False)
    data -= control.recordings[state].get_data(copy=False)
    data /= factor - 1.0
    return control, responses


@pytest.mark.parametrize("array", ARRAYS)
def test_amplitudes_are_those_of_recordings(array):
    """Between 2 and 40 Hz rest has 0.05 to 0.6 pT (planar: 10 to 100 fT/cm)."""
    rms, slow = [], []
    for index in range(3):
        epochs = simulate_participant(
            index, array=array, states="rest", n_epochs=10, random_state=3
        ).recordings["rest"]
        data = epochs.get_data(copy=False)
        assert data.shape == (10, len(epochs.ch_names), 250)
        assert data.dtype == np.float64
        freqs, psd = welch(data, 250.0, nperseg=250)
        band = (freqs >= 2) & (freqs <= 40)
        rms.append(np.sqrt(psd.mean(0)[:, band].sum(1)))
        slow.append(np.median(psd.mean(0)[:, 1] / psd.mean(0)[:, 30]))
    rms = np.median(rms, axis=0)
    grad = mne.pick_types(epochs.info, meg="grad")
    mag = mne.pick_types(epochs.info, meg="mag")
    assert len(grad) + len(mag) == len(epochs.ch_names)
    if len(mag):
        assert 5e-14 < np.median(rms[mag]) < 6e-13
    if len(grad):
        assert 1e-12 < np.median(rms[grad]) < 1e-11
    # Unfiltered: the slowest waves are the strongest.
    assert np.median(slow) > 4


def test_neighbours_are_alike():
    """Magnetometers near each other share more than distant ones."""
    epochs = simulate_participant(
        0, array="4d248", states="rest", n_epochs=10, random_state=1
    ).recordings["rest"]
    data = np.hstack(epochs.get_data(copy=False))
    data = mne.filter.filter_data(data, 250.0, 2, 40, verbose="error")
    pos = np.array([ch["loc"][:3] for ch in epochs.info["chs"]])
    dist = np.linalg.norm(pos[:, None] - pos[None], axis=-1)
    corr = np.abs(np.corrcoef(data))
    near = corr[(dist > 0) & (dist < 0.03)].mean()
    far = corr[(dist > 0.12) & (dist < 0.16)].mean()
    assert near > 0.7
    assert far < 0.6 * near


def test_one_over_f_slope_follows_the_exponents():
    """Flat and steep persons differ in the slope of their sensors."""
    slopes, exponents = [], []
    for index in range(10):
        sub = simulate_participant(
            index, array="ctf151", states="rest", n_epochs=30, random_state=7, **QUIET
        )
        data = sub.recordings["rest"].get_data(copy=False)
        freqs, psd = welch(data, 250.0, nperseg=250)
        # Above the rhythms.
        band = (freqs >= 45) & (freqs <= 100)
        spec = np.median(psd.mean(0)[:, band], axis=0)
        slopes.append(-np.polyfit(np.log(freqs[band]), np.log(spec), 1)[0])
        exponents.append(sub.truth["background"]["exponents"])
    exponents = np.array(exponents)
    low, high = exponents.min(axis=1), exponents.max(axis=1)
    assert np.all(slopes > low - 0.25)
    assert np.all(slopes < high + 0.25)
    assert np.corrcoef(slopes, exponents.mean(axis=1))[0, 1] > 0.6


def test_alpha_peaks_at_the_individual_frequency():
    """Where alpha is strong, the spectrum peaks at the person's frequency."""
    n_seen = 0
    for index in range(8):
        sub = simulate_participant(
            index, array="kit157", states="rest", n_epochs=60, random_state=2, **QUIET
        )
        alpha = [r for r in sub.truth["rhythms"] if r["name"] == "alpha"]
        if max(r["moment"] for r in alpha) < 10e-9:
            continue
        n_seen += 1
        info = sub.recordings["rest"].info
        field = _sphere_field(
            info, sub.truth["head_origin"], alpha[0]["pos"], alpha[0]["ori"]
        )
        field = field / np.linalg.norm(field)
        data = np.hstack(sub.recordings["rest"].get_data(copy=False))
        freqs, psd = welch(field @ data, 250.0, nperseg=500)
        band = (freqs >= 6) & (freqs <= 14)
        peak = freqs[band][np.argmax((psd * freqs)[band])]
        assert abs(peak - sub.truth["traits"]["alpha_frequency"]) <= 1.5
    assert n_seen >= 2


@pytest.mark.parametrize("array", ["neuromag306", "kit157", "4d248", "opm64"])
def test_responses_are_the_fields_of_the_sources(array):
    """Every sample of the responses is explained by the true dipoles."""
    for state in ("auditory", "somatosensory"):
        sub, responses = _responses(4, state, array, 10, seed=0)
        sources = sub.truth["states"][state]["sources"]
        fields = np.array(
            [
                _sphere_field(
                    responses.info, sub.truth["head_origin"], src.pos, src.ori
                )
                for src in sources
            ]
        )
        times = responses.times
        data = responses.get_data(copy=False)
        expected = np.zeros_like(data)
        for src, field in zip(sources, fields, strict=True):
            rel = (times[None] - src.trial_latency[:, None]) / src.width
            rel = np.where(rel > 0, rel / 1.25, rel)
            wave = src.moment * src.trial_gain[:, None] * np.exp(-0.5 * rel**2)
            wave *= times[None] > -1e-9
            expected += field[None, :, None] * wave[:, None]
        error = np.linalg.norm(data - expected) / np.linalg.norm(expected)
        assert error < 0.02


def test_auditory_response_has_its_peaks():
    """P50m, N100m and P200m come from both sides, with opposite currents."""
    latencies = []
    for index in range(6):
        sub, responses = _responses(index, "auditory", "ctf151", 20, seed=1)
        sources = sub.truth["states"]["auditory"]["sources"]
        assert {(s.name, s.hemi) for s in sources} == {
            (name, hemi) for name in ("P50m", "N100m", "P200m") for hemi in ("lh", "rh")
        }
        for src in sources:
            # Down and back for the N100m, up and front for the others.
            assert (src.ori[2] < -0.5) if src.name == "N100m" else (src.ori[2] > 0.5)
            assert np.sign(src.pos[0]) == (1 if src.hemi == "rh" else -1)
        evoked = responses.average()
        peaks = np.abs(evoked.data).max(axis=1)
        assert 2e-14 < peaks.max() < 6e-13
        latencies.append(evoked.times[np.argmax(evoked.data.std(axis=0))])
    assert abs(np.median(latencies) - 0.098) < 0.02


def test_somatosensory_response_is_contralateral():
    """N20m and P35m come from the hemisphere opposite to the wrist."""
    for index in range(4):
        sub = simulate_participant(
            index,
            array="ctf275",
            states="somatosensory",
            n_epochs=80,
            random_state=12,
            **QUIET,
        )
        side = sub.truth["sides"]["somatosensory"]
        hemi = "rh" if side == "left" else "lh"
        sources = sub.truth["states"]["somatosensory"]["sources"]
        early = {s.name: s for s in sources if s.name in ("N20m", "P35m")}
        assert set(early) == {"N20m", "P35m"}
        for src in early.values():
            assert src.hemi == hemi
            assert np.sign(src.pos[0]) == (1 if hemi == "rh" else -1)
        # The currents are opposite: N20m to the front, P35m to the back.
        assert early["N20m"].ori[1] > 0.5
        assert early["P35m"].ori[1] < -0.5
        assert {s.hemi for s in sources if s.name == "SII"} == {"lh", "rh"}
        evoked = sub.recordings["somatosensory"].average()
        evoked.apply_baseline((None, 0.0), verbose="error")
        src = early["P35m"]
        field = _sphere_field(evoked.info, sub.truth["head_origin"], src.pos, src.ori)
        field /= np.linalg.norm(field)
        course = field @ evoked.data
        noise = course[evoked.times < 0].std()
        window = (evoked.times > 0.02) & (evoked.times < 0.055)
        assert course[window].max() > 3 * noise


def test_dipole_fit_finds_the_source():
    """A dipole fit to the early response lands within a centimetre and a half."""
    for index in range(10):
        sub = simulate_participant(
            index,
            array="neuromag306",
            states="somatosensory",
            n_epochs=100,
            random_state=21,
            noise=0.3,
            artifacts=0.0,
            line_freq=None,
            brain=1.0,
        )
        sources = sub.truth["states"]["somatosensory"]["sources"]
        src = next(s for s in sources if s.name == "P35m")
        if src.moment > 25e-9:
            break
    evoked = sub.recordings["somatosensory"].average()
    evoked.apply_baseline((-0.05, 0.0), verbose="error")
    evoked.crop(src.latency, src.latency)
    cov = mne.make_ad_hoc_cov(evoked.info, verbose="error")
    sphere = mne.make_sphere_model(
        sub.truth["head_origin"], head_radius=None, verbose="error"
    )
    dipole = mne.fit_dipole(evoked, cov, sphere, min_dist=10.0, verbose="error")[0]
    assert np.linalg.norm(dipole.pos[0] - src.pos) < 0.015
    assert dipole.ori[0] @ src.ori > 0.8


def test_responses_habituate():
    """Responses shrink over the run and within trains as the truth says."""
    sub, responses = _responses(3, "auditory", "ctf151", 100, seed=5)
    traits, state = sub.truth["traits"], sub.truth["states"]["auditory"]
    src = next(s for s in state["sources"] if s.name == "N100m")
    run = np.linspace(0, 1, 100)
    design = np.c_[
        np.ones(100),
        -run,
        np.log1p(-traits["adaptation"] * (1 - np.exp(-state["train"] / 1.5))),
    ]
    fit = np.linalg.lstsq(design, np.log(src.trial_gain), rcond=None)[0]
    assert abs(fit[1] - traits["habituation"]) < 0.25
    assert abs(fit[2] - 1.0) < 0.35
    # And the sensors show it.
    data = responses.get_data(copy=False)
    window = np.abs(responses.times - src.latency) < 0.02
    pattern = data[:, :, window].mean(axis=(0, 2))
    size = np.tensordot(data[:, :, window].mean(-1), pattern, 1)
    both = np.mean(
        [s.trial_gain for s in state["sources"] if s.name == "N100m"], axis=0
    )
    assert np.corrcoef(size, both)[0, 1] > 0.8
    assert size[state["train"] == 0].mean() > size[state["train"] > 4].mean()


def test_artefacts_are_when_the_truth_says():
    """Heartbeats show in the average around their times, and blinks in front."""
    sub = simulate_participant(
        6,
        array="4d248",
        states="rest",
        raw_states="rest",
        n_epochs=60,
        random_state=9,
        brain=0.0,
        noise=0.0,
        line_freq=None,
        artifacts=3.0,
    )
    raw, found = sub.recordings["rest"], sub.truth["states"]["rest"]
    assert raw.times[-1] > found["heartbeats"].max()
    data = raw.copy().filter(2, 40, verbose="error").get_data()
    beats = np.round(found["heartbeats"] * 250).astype(int)
    beats = beats[(beats > 100) & (beats < data.shape[1] - 100)]
    cut = np.median([np.abs(data[:, b - 60 : b + 60]).mean(0) for b in beats], axis=0)
    assert abs(np.argmax(cut) - 60) <= 4
    blinks = np.round(found["blinks"] * 250).astype(int)
    slow = raw.copy().filter(0.5, 8, verbose="error").get_data()
    # Lids always move in the same direction, all else has either sign.
    topography = slow[:, blinks].mean(1)
    fields = np.array(
        [
            _sphere_field(raw.info, sub.truth["head_origin"], eye, axis)
            for eye in sub.truth["eyes"]
            for axis in np.eye(3)
        ]
    ).T
    # In a sphere one direction of each dipole is silent: four columns count.
    u, sing, _ = np.linalg.svd(fields, full_matrices=False)
    u = u[:, sing > 0.01 * sing[0]]
    left = topography - u @ (u.T @ topography)
    assert np.linalg.norm(left) < 0.3 * np.linalg.norm(topography)


def test_mains_and_filters_show():
    """The mains stand where asked; filters take away what they should."""
    args = dict(array="4d248", states="rest", n_epochs=20, random_state=4)
    plain = simulate_participant(2, line_freq=60.0, **args)
    clean = simulate_participant(2, line_freq=60.0, filters=(1.0, 40.0), **args)
    freqs, one = welch(
        plain.recordings["rest"].get_data(copy=False), 250.0, nperseg=250
    )
    two = welch(clean.recordings["rest"].get_data(copy=False), 250.0, nperseg=250)[1]
    one, two = one.mean(0), two.mean(0)
    assert np.max(one[:, 60] / one[:, [56, 57, 63, 64]].mean(1)) > 4
    assert np.all(two[:, 60] < 0.01 * one[:, 60])
    one, two = np.median(one, axis=0), np.median(two, axis=0)
    assert 0.5 < two[10] / one[10] < 2.0
    info = clean.recordings["rest"].info
    assert (info["highpass"], info["lowpass"]) == (1.0, 40.0)
    assert plain.recordings["rest"].info["line_freq"] == 60.0
    mean = np.abs(clean.recordings["rest"].get_data(copy=False).mean())
    assert mean < np.abs(plain.recordings["rest"].get_data(copy=False)).mean()


def test_raw_and_epochs_hold_the_same():
    """Epochs cut from the Raw of a state have its stimuli and shape."""
    sub = simulate_participant(
        0, array="opm32", n_epochs=8, raw_states=("auditory",), random_state=1
    )
    raw = sub.recordings["auditory"]
    assert isinstance(raw, mne.io.BaseRaw)
    events, ids = mne.events_from_annotations(raw, verbose="error")
    assert len(events) == 8
    assert list(ids) == ["auditory"]
    np.testing.assert_allclose(
        events[:, 0] / 250.0, sub.truth["states"]["auditory"]["onsets"], atol=1e-9
    )
    epochs = mne.Epochs(
        raw, events, tmin=-0.2, tmax=0.796, baseline=None, verbose="error"
    )
    assert len(epochs.drop_bad(verbose="error")) == 8
    with pytest.raises(ValueError, match="got a Raw"):
        sub.epochs("auditory")


def test_states_join_into_one_epochs():
    """All states of a participant make one Epochs, told apart by event_id."""
    sub = simulate_participant(0, array="opm32", n_epochs=5, random_state=1)
    epochs = sub.epochs()
    assert len(epochs) == 15
    assert set(epochs.event_id) == {"rest", "auditory", "somatosensory"}
    for state in sub.states:
        np.testing.assert_array_equal(
            epochs[state].get_data(copy=False), sub.epochs(state).get_data(copy=False)
        )
    assert list(epochs.metadata["state"].unique()) == list(sub.states)
    with pytest.raises(ValueError, match="one of rest"):
        sub.epochs("visual")


def test_leaving_out_a_state_changes_no_other():
    """A state's signals do not depend on which others are simulated."""
    args = dict(array="opm32", n_epochs=4, random_state=8)
    full = simulate_participant(3, **args)
    alone = simulate_participant(3, states="somatosensory", **args)
    np.testing.assert_array_equal(
        full.epochs("somatosensory").get_data(copy=False),
        alone.epochs("somatosensory").get_data(copy=False),
    )


def test_bad_channels_are_listed():
    """Bad channels are named and stand out."""
    sub = simulate_participant(
        1,
        array="ctf151",
        states="rest",
        n_epochs=4,
        n_bads=3,
        random_state=0,
        brain=0.1,
    )
    epochs = sub.recordings["rest"]
    assert len(epochs.info["bads"]) == 3
    high = np.diff(epochs.get_data(copy=False), axis=-1).std(axis=(0, 2))
    bad = np.isin(epochs.ch_names, epochs.info["bads"])
    ratio = high[bad] / np.median(high[~bad])
    assert np.all((ratio > 3) | (ratio < 0.9))


def test_sampling_rate_is_free():
    """At 1 kHz the same physiology comes out."""
    sub = simulate_participant(
        0, array="opm32", sfreq=1000.0, states="auditory", n_epochs=3, random_state=0
    )
    epochs = sub.epochs("auditory")
    assert epochs.get_data(copy=False).shape[2] == 1000
    assert epochs.info["sfreq"] == 1000.0
    assert make_array_info("opm32")["sfreq"] == 250.0
