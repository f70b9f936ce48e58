"""The panel: what is drawn, what is planted, and how features are scored."""

import mne
import numpy as np
import pandas as pd
import panel
import pytest
from panel import (
    _anatomy,
    _ongoing,
    _responses,
    draw_traits,
    panel_difference,
    panel_scores,
    simulate_panel_person,
)
from scipy.signal import hilbert, welch
from scipy.special import ndtr

SFREQ = 250.0
CENTERS = {name: trait.center for name, trait in panel.TRAITS.items()}
NEUTRAL_HABITS = {
    "background": 1.0,
    "alpha": 1.0,
    "mu": 1.0,
    "mu_frequency": 10.8,
    "beta": 1.0,
    "beta_frequency": 20.0,
    "theta_frequency": 5.8,
    "frontal": 1.0,
    "parietal": 1.0,
    "frontal_frequency": 15.0,
    "gamma_frequency": 72.0,
}
NEUTRAL_SHAPES = {
    "latency": 1.0,
    "width": 1.0,
    "lag": 0.0,
    "sii_latency": 0.105,
    "sii_right": 0.8,
    "p35m": 0.7,
    "auditory": 1.0,
    "somatosensory": 1.0,
    "gamma_frequency": 62.0,
}


@pytest.fixture(scope="module")
def drawn():
    """Values on the scale where they are normal, and classes, of 4000 people."""
    rng = np.random.default_rng(0)
    people = [draw_traits(rng) for _ in range(4000)]
    values = pd.DataFrame([values for values, _ in people])
    z = pd.DataFrame({n: panel.TRAITS[n].place(x) for n, x in values.items()})
    return z, pd.DataFrame([classes for _, classes in people])


def _sources(seconds=600.0, rest=True, seed=0, **traits):
    """Make ongoing moments by name of the source."""
    moments, log_alpha = _ongoing.ongoing_sources(
        np.random.default_rng(seed),
        int(seconds * SFREQ),
        CENTERS | traits,
        NEUTRAL_HABITS,
        rest=rest,
    )
    return {n: moments[row].astype(float) for n, row in _anatomy.ROWS.items()}


# -- what is drawn --------------------------------------------------------------
def test_traits_are_independent(drawn):
    """No trait, and no class, goes with another trait."""
    z, classes = drawn
    assert len(z.columns) >= 24
    own = np.eye(z.shape[1], dtype=bool)
    bound = 4.5 / np.sqrt(len(z))  # 961 correlations
    assert np.abs(np.corrcoef(z.T)[~own]).max() < bound
    between = np.corrcoef(z.T, classes.T)[: z.shape[1], z.shape[1] :]
    assert np.abs(between[~own]).max() < bound
    assert between[own].min() > 0.7


def test_true_values_tell_classes_as_two_normal_distributions_do(drawn):
    z, classes = drawn
    assert classes.mean().between(0.46, 0.54).all()
    for name in z:
        groups = [z[name][classes[name] == label] for label in (0, 1)]
        assert groups[1].mean() - groups[0].mean() == pytest.approx(2.33, abs=0.15)
        assert [g.std() for g in groups] == pytest.approx([1, 1], abs=0.08)
    assert pytest.approx(ndtr(2.33 / np.sqrt(2))) == panel.CEILING
    alone = panel_scores(
        z[["n20m_latency"]].iloc[:1500],
        classes.iloc[:1500],
        traits=["n20m_latency"],
        learners=["ridge"],
        n_repeats=1,
    )
    assert alone.iloc[0, 0] == pytest.approx(panel.CEILING, abs=0.015)


def test_scales_of_traits_are_inverted():
    for name, trait in panel.TRAITS.items():
        z = np.array([-2.0, 0.0, 1.5])
        values = np.array([trait.value(x) for x in z])
        np.testing.assert_allclose(trait.place(values), z, atol=1e-9, err_msg=name)


def test_seeds_and_traits_of_the_report_are_apart():
    assert not set(panel.DEVELOPMENT_SEEDS) & set(panel.REPORT_SEEDS)
    held_out = {t.kind for t in panel.TRAITS.values() if t.held_out}
    free = {t.kind for t in panel.TRAITS.values() if not t.held_out}
    assert held_out == free and len(free) == 5


# -- recordings -----------------------------------------------------------------
def test_person_follows_from_seed_and_number():
    one, same = (simulate_panel_person(4, 3, array="kit160") for _ in range(2))
    other = simulate_panel_person(5, 3, array="kit160", n_trials=2)
    few = simulate_panel_person(4, 3, array="kit160", n_trials=10)
    assert one.values == same.values == few.values != other.values
    for state, recording in one.recordings.items():
        data = recording.get_data()
        assert np.array_equal(data, same.recordings[state].get_data())
        first = [
            x.get_data()[..., :200][:2].ravel()
            for x in (recording, other.recordings[state])
        ]
        assert abs(np.corrcoef(*first)[0, 1]) < 0.5
    # fewer trials are the first ones
    part = one.recordings["auditory"].get_data()[:10]
    assert np.array_equal(few.recordings["auditory"].get_data(), part)
    part = one.recordings["rest"].get_data()[:, : 15 * 250]
    assert np.array_equal(few.recordings["rest"].get_data(), part)
    assert len(few.recordings["auditory"]) == 10
    assert few.recordings["rest"].times[-1] == pytest.approx(15.0, abs=0.01)
    assert np.array_equal(
        few.recordings["auditory"].events, one.recordings["auditory"].events[:10]
    )
    # the array does not change the person
    assert simulate_panel_person(4, 3, array="ctf275", n_trials=1).values == one.values


def test_stimuli_come_in_trains_with_pauses():
    onsets = _responses.draw_onsets(np.random.default_rng(0)) / SFREQ
    gaps = np.diff(onsets)
    pauses = np.flatnonzero(gaps > 4)
    assert pauses.tolist() == [7, 15, 23, 31]
    assert np.delete(gaps, pauses).min() > _responses.N_TIMES / SFREQ  # no overlap


def test_amplitudes_are_those_of_real_recordings():
    """Magnetometers: 150 to 500 fT at rest; N100m of 80 to 300 fT; a clear N20m."""
    ongoing, n100m, n20m = [], [], []
    for number in range(4):
        person = simulate_panel_person(number, 11, array="vectorview")
        rest = person.recordings["rest"].copy().pick("mag").get_data()
        ongoing.append(np.median(rest.std(1)))
        for state, found, window in (
            ("auditory", n100m, (0.08, 0.12)),
            ("somatosensory", n20m, (0.016, 0.026)),
        ):
            evoked = person.recordings[state].average(picks="mag")
            evoked.apply_baseline((None, 0), verbose="error")
            peak = np.abs(evoked.crop(*window).data).max()
            found.append(peak / person.values["response_size"])
    assert 150e-15 < np.mean(ongoing) < 500e-15
    assert 80e-15 < np.mean(n100m) < 300e-15
    assert 40e-15 < np.mean(n20m) < 250e-15
    # noise of sensors is far below the brain, but for gradiometers of KIT
    assert np.mean(ongoing) > 3 * 3e-15 * np.sqrt(SFREQ / 2)


@pytest.mark.parametrize(
    "array, n_channels", [("vectorview", 306), ("ctf275", 274), ("kit160", 160)]
)
def test_heads_fit_into_helmets(array, n_channels):
    rng = np.random.default_rng(1)
    for _ in range(5):
        info = _anatomy.place_head(array, rng)
        trans = info["dev_head_t"]["trans"]
        coils = np.array([c["loc"][:3] for c in info["chs"]]) @ trans[:3, :3].T
        coils += trans[:3, 3]
        places, directions = _anatomy.draw_places(rng, 0.0)
        distance = np.linalg.norm(coils[:, None] - places, axis=-1).min()
        assert distance > 0.02
        assert len(info["ch_names"]) == n_channels
        radial = places - _anatomy._ORIGIN
        assert np.abs(np.sum(radial * directions, 1)).max() < 1e-12  # tangential
    assert np.linalg.norm(info["dev_head_t"]["trans"][:3, 3]) > 0


def test_fields_of_magnetometers_are_those_of_sarvas():
    """A dipole's radial field outside a sphere, in closed form."""
    rng = np.random.default_rng(2)
    info = mne.create_info(1, SFREQ, "mag")
    place = _anatomy._ORIGIN + [0.01, 0.02, 0.05]
    direction = np.array([1.0, 0.0, 0.0])
    coil = _anatomy._ORIGIN + [0.02, -0.03, 0.11]
    out = (coil - _anatomy._ORIGIN) / np.linalg.norm(coil - _anatomy._ORIGIN)
    side = np.cross(out, rng.standard_normal(3))
    side /= np.linalg.norm(side)
    info["chs"][0]["loc"][:] = np.r_[coil, side, np.cross(out, side), out]
    info["chs"][0]["coil_type"] = mne.io.constants.FIFF.FIFFV_COIL_POINT_MAGNETOMETER
    with info._unlock():
        info["dev_head_t"] = mne.transforms.Transform("meg", "head", np.eye(4))
    found = _anatomy.compute_fields(info, place[None], direction[None])[0, 0]
    # volume currents add nothing to the radial component: Biot-Savart is enough
    away = coil - place
    expected = 1e-7 * np.cross(direction, away) @ out / np.linalg.norm(away) ** 3
    assert found == pytest.approx(expected, rel=1e-4)


# -- what is planted: ongoing activity ------------------------------------------
def test_oscillator_has_the_autocorrelation_of_a_damped_one():
    x = _ongoing.oscillator(np.random.default_rng(0), 400_000, 6.0, 0.3)
    assert x.real.var() == pytest.approx(1.0, abs=0.05)
    lag = 50  # 0.2 s
    found = np.mean(x[lag:] * x[:-lag].conj()) / np.mean(abs(x) ** 2)
    expected = np.exp(-0.2 / 0.3 + 2j * np.pi * 6.0 * 0.2)
    assert found == pytest.approx(expected, abs=0.04)


@pytest.mark.parametrize("slope", [0.9, 1.3])
def test_background_falls_as_its_slope_says(slope):
    x = _ongoing.background(np.random.default_rng(0), np.full(20, slope), 50_000)
    at, power = welch(x, SFREQ, nperseg=1000)
    fitted = (at >= 4) & (at <= 30)
    found = np.polyfit(np.log(at[fitted]), np.log(power.mean(0)[fitted]), 1)[0]
    assert -found == pytest.approx(slope, abs=0.06)


def test_slopes_turn_around_12_hz():
    powers = []
    for slope in (0.9, 1.3):
        x = _ongoing.background(np.random.default_rng(0), np.full(20, slope), 50_000)
        at, power = welch(x, SFREQ, nperseg=1000)
        powers.append(power.mean(0)[np.abs(at - 12) < 1].mean())
    assert powers[0] == pytest.approx(powers[1], rel=0.02)


def test_background_of_the_usual_slope_has_a_variance_of_one():
    x = _ongoing.background(np.random.default_rng(0), np.full(200, 1.1), 20_000)
    assert x.var() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("coupling", [-0.3, 0.1, 0.7])
def test_envelopes_of_mu_go_together_and_phases_do_not(coupling):
    signals, _ = _ongoing.mu_rhythm(
        np.random.default_rng(0), 1_000_000, 10.8, 0.0, coupling
    )
    analytic = hilbert(signals)
    logs = np.log(np.abs(analytic))
    # envelopes are slow; what is quick in them is of the phases
    smooth = logs.reshape(2, -1, 50).mean(-1)
    assert np.corrcoef(smooth)[0, 1] == pytest.approx(coupling, abs=0.06)
    phases = np.angle(analytic[0] * analytic[1].conj())
    assert abs(np.exp(1j * phases).mean()) < 0.06
    assert signals.var(1) == pytest.approx([1, 1], abs=0.08)


def test_harmonic_of_mu_has_its_share():
    pure, arched = (
        _ongoing.mu_rhythm(np.random.default_rng(0), 500_000, 10.8, share, 0.0)[0]
        for share in (0.0, 0.4)
    )
    added = arched - pure
    assert added.std() / pure.std() == pytest.approx(0.4, rel=0.02)
    for signals, peak in ((pure, 10.8), (added, 21.6)):
        at, power = welch(signals, SFREQ, nperseg=250)
        assert at[power.mean(0).argmax()] == pytest.approx(peak, abs=0.7)


@pytest.mark.parametrize("duty", [0.15, 0.5])
def test_bursts_take_their_share_of_the_time(duty):
    envelope = _ongoing.burst_envelope(np.random.default_rng(0), 1_000_000, duty)
    assert np.mean(envelope > envelope.max() / 2) == pytest.approx(duty, abs=0.02)
    assert np.mean(envelope**2) == pytest.approx(1.0, abs=0.05)


def test_coupled_pair_has_its_coherence_and_lag():
    x = _ongoing.coupled_pair(np.random.default_rng(0), 500_000, 15.0, 0.4)
    cross = np.mean(x[1] * x[0].conj()) / np.sqrt(np.prod(np.mean(abs(x) ** 2, 1)))
    assert cross == pytest.approx(0.4 * np.exp(-1j * np.pi / 3), abs=0.03)
    assert x.real.var(1) == pytest.approx([1, 1], abs=0.05)


def test_theta_modulates_gamma_and_leaves_its_power():
    depth = 0.6
    found = _sources(theta_gamma_coupling=depth)
    phase = np.angle(hilbert(found["theta"]))
    power = found["gamma_front"] ** 2
    # first Fourier coefficient of (1 + m cos)^2 over its mean
    index = np.mean(power * np.exp(-1j * phase)) / power.mean()
    assert index.real == pytest.approx(depth / (1 + depth**2 / 2), abs=0.05)
    assert found["gamma_front"].std() == pytest.approx(CENTERS["gamma_size"], rel=0.03)


def test_rhythms_have_the_traits_they_were_given():
    found = _sources(alpha_frequency=9.0, alpha_laterality=0.5, theta_size=8e-9)
    at, power = welch(found["alpha_left"], SFREQ, nperseg=500)
    assert at[power.argmax()] == pytest.approx(9.0, abs=0.5)
    x = hilbert(found["alpha_left"])
    turned = np.angle(np.mean(x[25:] * x[:-25].conj())) / (2 * np.pi)  # in 0.1 s
    assert (turned % 1) / 0.1 == pytest.approx(9.0, abs=0.2)
    ratio = np.log(found["alpha_right"].std() / found["alpha_left"].std())
    assert ratio == pytest.approx(0.5, abs=0.1)
    assert found["theta"].std() == pytest.approx(8e-9, rel=0.08)
    task = _sources(rest=False, alpha_reactivity=0.4, alpha_laterality=0.5)
    ratio = task["alpha_left"].std() / found["alpha_left"].std()
    assert ratio == pytest.approx(0.4, rel=0.12)


# -- what is planted: responses -------------------------------------------------
def test_deflection_peaks_where_and_as_wide_as_it_should():
    times = np.arange(0, 0.4, 1e-5)
    wave = _responses.deflection(times, 0.1, 0.018)
    assert times[wave.argmax()] == pytest.approx(0.1, abs=1e-5)
    assert wave.max() == pytest.approx(1.0)
    curvature = np.gradient(np.gradient(wave, times), times)[wave.argmax()]
    assert -curvature == pytest.approx(1 / 0.018**2, rel=1e-3)
    late, early = wave[times > 0.1].sum(), wave[times < 0.1].sum()
    assert late > 1.05 * early
    assert _responses.deflection(np.array([-0.1, 0.0]), 0.1, 0.018).max() < 1e-12


def test_latencies_and_ratios_of_averages_without_noise():
    times = np.arange(0, 0.6, 1e-4)
    traits = CENTERS | {
        "n100m_latency": 0.112,
        "n100m_laterality": 0.3,
        "p50m_ratio": 1e-6,
        "p200m_ratio": 1e-6,
        "sustained_ratio": 1e-6,
        "n20m_latency": 0.0225,
        "sii_ratio": 1.4,
    }
    waves = _responses.auditory_waves(times, traits, NEUTRAL_SHAPES)
    left, right = waves["auditory_left"], waves["auditory_right"]
    assert times[left.argmin()] == pytest.approx(0.112, abs=1.5e-4)
    assert np.log(right.min() / left.min()) == pytest.approx(0.3, abs=1e-6)
    for name, when in (("p50m_ratio", 0.05), ("p200m_ratio", 0.185)):
        more = _responses.auditory_waves(times, traits | {name: 0.5}, NEUTRAL_SHAPES)
        added = more["auditory_left"] - left
        assert added.max() / -left.min() == pytest.approx(0.5, rel=1e-3)
        assert times[added.argmax()] == pytest.approx(when, abs=2e-4)
    more = traits | {"sustained_ratio": 0.5}
    more = _responses.auditory_waves(times, more, NEUTRAL_SHAPES)["auditory_left"]
    assert (more / left.min())[np.isclose(times, 0.5)][0] == pytest.approx(
        0.5, abs=0.01
    )
    waves = _responses.somatosensory_waves(times, traits, NEUTRAL_SHAPES)
    early = times < 0.03
    assert times[early][waves["si"][early].argmax()] == pytest.approx(0.0225, abs=3e-4)
    assert waves["sii_left"].max() == pytest.approx(
        1.4 * waves["si"][early].max(), rel=0.02
    )
    after = (times > 0.055) & (times < 0.07)
    assert -waves["si"][after].min() == pytest.approx(
        CENTERS["p60m_ratio"] * _responses._SOMATOSENSORY, rel=0.05
    )


def test_places_move_to_the_front():
    here, there = (
        _anatomy.draw_places(np.random.default_rng(0), shift)[0] for shift in (0, 0.005)
    )
    assert (there - here)[:2, 1] == pytest.approx([0.005, 0.005], abs=1e-3)
    assert not (there - here)[2:].any()


def test_gains_of_trials():
    rng = np.random.default_rng(0)
    calm = CENTERS | {"amplitude_variability": 0.0, "alpha_gain": 0.0, "recovery": 0.0}
    alpha = rng.standard_normal(40)
    size = {"response_size": 1.3}
    declining = _responses.trial_gains(rng, calm | size | {"habituation": 0.4}, alpha)
    np.testing.assert_allclose(declining, 1.3 * (1 - 0.4 * np.linspace(0, 1, 40)))
    even = calm | {"habituation": 0.0}
    rested = _responses.trial_gains(rng, even | {"recovery": 0.5}, alpha)
    assert rested[::8] == pytest.approx(1.5) and rested[7] == pytest.approx(1, abs=1e-3)
    moved = np.log(_responses.trial_gains(rng, even | {"alpha_gain": 0.2}, alpha))
    assert np.std(moved) == pytest.approx(0.2)
    assert np.corrcoef(moved, alpha)[0, 1] == pytest.approx(1.0)
    many = np.concatenate(
        [
            _responses.trial_gains(rng, even | {"amplitude_variability": 0.3}, alpha)
            for _ in range(500)
        ]
    )
    assert many.std() / many.mean() == pytest.approx(0.3, abs=0.01)


def _respond(state, moments=None, seed=0, n_trials=40, **traits):
    if moments is None:
        moments = np.zeros((_anatomy.N_SOURCES, n_trials, 300), np.float32)
    _responses.add_responses(
        np.random.default_rng(seed),
        state,
        moments,
        np.random.default_rng(1).standard_normal(n_trials),
        CENTERS | traits,
        NEUTRAL_SHAPES,
    )
    return {n: moments[row] for n, row in _anatomy.ROWS.items()}


def test_stimuli_induce_what_they_should():
    ones = np.ones((_anatomy.N_SOURCES, 40, 300), np.float32)
    found = _respond("somatosensory", ones, mu_suppression=0.4, beta_rebound=0.8)
    at = _responses.TIMES
    middle, late, before = (np.argmin(abs(at - t)) for t in (0.38, 0.85, -0.2))
    assert found["mu_left"][:, middle] == pytest.approx(0.6, abs=0.01)
    assert found["mu_right"][:, middle] == pytest.approx(0.8, abs=0.01)
    assert found["beta_left"][:, late] == pytest.approx(1.8, abs=0.01)
    for name in ("mu_left", "beta_left"):
        assert found[name][:, before] == pytest.approx(1.0, abs=0.01)

    # without the evoked response: gamma and theta have no fixed phase
    silent = {"response_size": 0.0, "induced_theta": 1e-12, "induced_gamma": 4e-9}
    found = _respond("auditory", n_trials=400, **silent)["auditory_left"]
    middle = (at > 0.15) & (at < 0.28)
    assert found[:, middle].std() == pytest.approx(4e-9, rel=0.05)
    assert found[:, middle].mean(0).std() < 0.15 * 4e-9
    assert found[:, at < -0.05].std() < 0.05e-9
    silent |= {"induced_theta": 10e-9, "induced_gamma": 1e-12}
    found = _respond("auditory", n_trials=400, **silent)["auditory_left"]
    middle = (at > 0.25) & (at < 0.40)
    assert found[:, middle].std() == pytest.approx(10e-9, rel=0.05)


def test_latencies_of_trials_jitter():
    traits = dict(
        latency_jitter=0.02,
        induced_gamma=1e-15,
        induced_theta=1e-15,
        amplitude_variability=1e-6,
        p50m_ratio=1e-6,
        p200m_ratio=1e-6,
        sustained_ratio=1e-6,
    )
    found = _respond("auditory", n_trials=1000, **traits)["auditory_right"]
    peaks = _responses.TIMES[found.argmin(1)]
    assert peaks.std() == pytest.approx(0.02, rel=0.1)
    assert peaks.mean() == pytest.approx(CENTERS["n100m_latency"], abs=0.002)


# -- scores ---------------------------------------------------------------------
@pytest.fixture(scope="module")
def cohort(drawn):
    z, classes = drawn
    return z.iloc[:120].reset_index(drop=True), classes.iloc[:120].reset_index(
        drop=True
    )


def test_scores_of_noise_are_at_chance(cohort):
    _, classes = cohort
    noise = np.random.default_rng(0).standard_normal((120, 30))
    scores = panel_scores(noise, classes, learners=["ridge", "scaled ridge"])
    assert scores.mean().to_numpy() == pytest.approx([0.5, 0.5], abs=0.05)
    assert not any(panel.TRAITS[name].held_out for name in scores.index)


def test_scaling_of_columns_matters_to_unscaled_learners_alone(cohort):
    z, classes = cohort
    x = z[["alpha_frequency", "habituation"]].to_numpy()
    wild = x * [1.0, 1e-3]
    traits = ["alpha_frequency", "habituation"]
    plain, scaled = (panel_scores(f, classes, traits=traits) for f in (x, wild))
    for learner in ("scaled ridge", "scaled logistic"):
        np.testing.assert_allclose(plain[learner], scaled[learner], atol=1e-6)
    assert scaled.loc["habituation", "logistic"] < plain.loc["habituation", "logistic"]


def test_many_columns_give_what_scikit_learn_gives(cohort):
    """Logistic regression in the span of the training rows is the same regression."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import RepeatedKFold

    z, classes = cohort
    rng = np.random.default_rng(0)
    x = np.hstack([z[["alpha_frequency"]], 0.3 * rng.standard_normal((120, 300))])
    y = classes["alpha_frequency"].to_numpy()
    found = panel_scores(
        x, classes, traits=["alpha_frequency"], learners=["logistic"], n_repeats=1
    )
    folds = RepeatedKFold(n_splits=5, n_repeats=1, random_state=0).split(x)
    expected = [
        roc_auc_score(
            y[test],
            LogisticRegression(max_iter=2000)
            .fit(x[train], y[train])
            .decision_function(x[test]),
        )
        for train, test in folds
    ]
    assert found.iloc[0, 0] == pytest.approx(np.mean(expected), abs=0.005)


def test_blocks_are_summed_at_equal_trace(cohort):
    """A block of large numbers does not drown another."""
    z, classes = cohort
    noise = 1e6 * np.random.default_rng(0).standard_normal((120, 3))
    signal = z[["alpha_frequency"]].to_numpy()
    settings = dict(traits=["alpha_frequency"], learners=["ridge"])
    apart = panel_scores([signal, noise], classes, **settings).iloc[0, 0]
    together = panel_scores(np.hstack([signal, noise]), classes, **settings).iloc[0, 0]
    assert apart > 0.85 > together


def test_fewer_labels_tell_less(cohort):
    z, classes = cohort
    few, many = (
        panel_scores(z, classes, learners=["scaled ridge"], n_train=n).mean().iloc[0]
        for n in (24, 96)
    )
    assert many > few + 0.1


def test_bad_features_are_refused(cohort):
    _, classes = cohort
    with pytest.raises(ValueError, match="one row for each of 120"):
        panel_scores(np.zeros((100, 2)), classes)
    with pytest.raises(ValueError, match="1 are not finite"):
        panel_scores(np.r_[[[np.nan]], np.zeros((119, 1))], classes)
    with pytest.raises(ValueError, match="Expected learners among"):
        panel_scores(np.zeros((120, 2)), classes, learners=["forest"])
    with pytest.raises(ValueError, match="classes of all traits"):
        panel_scores(np.zeros((120, 2)), classes, traits=["age"])
    with pytest.raises(ValueError, match="Expected array among"):
        simulate_panel_person(0, 0, array="opm")
    with pytest.raises(ValueError, match="n_trials from 1 to 40"):
        simulate_panel_person(0, 0, n_trials=41)


def test_interval_of_differences_holds_the_truth():
    """Traits and cohorts have effects of their own; 95 % intervals hold the mean."""
    rng = np.random.default_rng(0)
    held = []
    for _ in range(200):
        effects = 0.05 + 0.05 * rng.standard_normal((20, 1))
        effects = effects + 0.03 * rng.standard_normal((20, 5))
        names = [f"trait{i}" for i in range(20)]
        ours = {c: pd.Series(effects[:, c], names) for c in range(5)}
        theirs = {c: pd.Series(0.0, names) for c in range(5)}
        mean, low, high = panel_difference(ours, theirs, n_draws=400)
        assert mean == pytest.approx(effects.mean())
        held.append(low <= 0.05 <= high)
    assert 0.88 <= np.mean(held) <= 0.995
    with pytest.raises(ValueError, match="same cohorts and traits"):
        panel_difference(ours, {0: theirs[0]})


def test_another_visit_is_the_same_brain(monkeypatch):
    """Traits and sources stay; head position, noise and trials are drawn again."""
    from panel import _person

    places = []
    compute_fields = _person.compute_fields

    def watched(info, where, directions):
        places.append((where, directions))
        return compute_fields(info, where, directions)

    monkeypatch.setattr(_person, "compute_fields", watched)
    first, second, third = (
        simulate_panel_person(3, 5, array="kit160", n_trials=2, visit=visit)
        for visit in (0, 1, 2)
    )
    assert first.values == second.values and first.classes == second.classes
    for one, other in zip(places[0], places[1], strict=True):
        np.testing.assert_array_equal(one, other)
    infos = [p.recordings["rest"].info for p in (first, second, third)]
    heads = [info["dev_head_t"]["trans"][:3, 3] for info in infos]
    away = [np.linalg.norm(a - b) for a, b in zip(heads, heads[1:], strict=False)]
    assert all(1e-4 < distance < 0.05 for distance in away)
    for state in first.recordings:
        data = [p.recordings[state].get_data().ravel()[:15000] for p in (first, second)]
        assert abs(np.corrcoef(data)[0, 1]) < 0.3
    with pytest.raises(ValueError, match="Expected visit to be 0 or more, got -1"):
        simulate_panel_person(3, 5, visit=-1)
