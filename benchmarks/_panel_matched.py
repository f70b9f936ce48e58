"""Measures that know the generator of the panel: what is there to be found.

Each trait has a measure of its own on the signals of spatial filters (linearly
constrained minimum variance, of the person's own covariance) at the usual places of the
panel's sources. No feature maker can know these; what they tell is no bound, but shows
that a trait is in the recordings. Run as ``python benchmarks/_panel_matched.py`` for
the AUC of each measure by itself.
"""

import sys

import mne
import numpy as np
import pandas as pd
from panel import DEVELOPMENT_SEEDS, simulate_panel
from panel._anatomy import (
    ROWS,
    SFREQ,
    compute_fields,
    noise_levels,
    usual_places,
)
from panel._responses import N_BEFORE, TIMES
from scipy.interpolate import CubicSpline
from scipy.signal import butter, hilbert, sosfiltfilt, welch
from sklearn.metrics import roc_auc_score

ALPHA = [row for name, row in ROWS.items() if name.startswith("alpha")]
GAMMA = [row for name, row in ROWS.items() if name.startswith("gamma")]
MU = [ROWS["mu_left"], ROWS["mu_right"]]
BETA = [ROWS["beta_left"], ROWS["beta_right"]]
AUDITORY = [ROWS["auditory_left"], ROWS["auditory_right"]]
SOMATOSENSORY = [ROWS["si"], ROWS["sii_left"]]


def band(x, low, high):
    """Filter between two frequencies."""
    sos = butter(3, [low, high], "bandpass", fs=SFREQ, output="sos")
    return sosfiltfilt(sos, x, axis=-1)


def envelope(x, low, high):
    """Give the envelope in a band."""
    return np.abs(hilbert(band(x, low, high)))


def mean(x, start, stop):
    """Average between two times of the epochs."""
    return x[..., (TIMES >= start) & (TIMES < stop)].mean(-1)


def centered(x):
    """Take away the mean before the stimulus."""
    return x - x[..., TIMES < 0].mean(-1, keepdims=True)


def power_ratio(x, low, high, after, before):
    """Give the log power of single trials after over before the stimulus."""
    power = np.square(envelope(x, low, high))
    power = power.reshape(-1, power.shape[-1]).mean(0)
    return np.log(mean(power, *after) / mean(power, *before))


def source_signals(recordings):
    """Filter all recordings in space: from state to (..., n_sources, n_times)."""
    info = recordings["rest"].info
    noise = noise_levels(info)[:, None]
    fields = compute_fields(info, *usual_places()).astype(float) / noise
    data = {state: inst.get_data() / noise for state, inst in recordings.items()}
    cov = sum(np.cov(x if x.ndim == 2 else np.hstack(list(x))) for x in data.values())
    cov += 0.05 * np.trace(cov) / len(cov) * np.eye(len(cov))
    filters = np.linalg.solve(cov, fields)
    filters /= np.sum(fields * filters, 0)
    return {state: filters.T @ x for state, x in data.items()}


def evoked_measures(auditory, somatosensory):
    """Measure averages of sources, shape (n_sources, n_times)."""
    both = auditory[AUDITORY].sum(0)
    early = (TIMES >= 0.06) & (TIMES < 0.14)
    peak = TIMES[early][np.abs(both[early]).argmax()]
    left, right = -mean(auditory[AUDITORY], peak - 0.01, peak + 0.011).clip(max=-1e-10)
    si, sii = somatosensory[SOMATOSENSORY]
    fine = np.arange(0.014, 0.030, 0.0002)
    n20m = CubicSpline(TIMES, si)(fine)
    height = max(n20m.max(), 1e-10)
    return {
        "n100m_latency": peak,
        "n100m_laterality": np.log(right / left),
        "p50m_ratio": both[(TIMES >= 0.04) & (TIMES < 0.06)].max() / (left + right),
        "p200m_ratio": mean(both, 0.16, 0.23) / (left + right),
        "sustained_ratio": -mean(both, 0.32, 0.68) / (left + right),
        "n20m_latency": fine[n20m.argmax()],
        "p60m_ratio": -mean(si, 0.055, 0.07) / height,
        "sii_ratio": np.log(max(mean(sii, 0.09, 0.13), 1e-10) / height),
    }


def induced_measures(auditory, somatosensory):
    """Measure single trials of sources, without their average."""
    sounds = (auditory - auditory.mean(0))[:, AUDITORY]
    touch = somatosensory
    return {
        "mu_suppression": -power_ratio(
            touch[:, MU[0]], 8.5, 13.5, (0.2, 0.55), (-0.25, 0.05)
        ),
        "beta_rebound": power_ratio(
            touch[:, BETA[0]], 16, 25, (0.58, 0.85), (-0.25, 0.1)
        ),
        "induced_gamma": power_ratio(sounds, 52, 72, (0.12, 0.32), (-0.25, 0.0)),
        "induced_theta": power_ratio(sounds, 3.5, 7, (0.15, 0.45), (-0.25, -0.05)),
    }


def ongoing_measures(rest, sensors, auditory):
    """Measure rest, of sources and of sensors in units of their noise."""
    at, power = welch(rest, SFREQ, nperseg=1000)
    inside = (at >= 7.5) & (at <= 12.5)
    outside = ((at > 5) & (at < 7)) | ((at > 13) & (at < 16))
    alpha = power[ALPHA].mean(0)
    line = np.interp(np.log(at[inside]), np.log(at[outside]), np.log(alpha[outside]))
    excess = np.maximum(alpha[inside] - np.exp(line), 0) ** 2
    sides = np.log(power[ALPHA][:, inside].mean(1)).reshape(2, 2).mean(1)
    at_trials, trials = welch(np.moveaxis(auditory, 0, 1)[ALPHA], SFREQ, nperseg=300)
    task = trials[..., (at_trials >= 7.5) & (at_trials <= 12.5)].mean()
    beta = np.square(envelope(rest[BETA], 16, 24))
    at_sensors, of_sensors = welch(sensors, SFREQ, nperseg=500)
    used = ((at_sensors > 2.5) & (at_sensors < 4.5)) | (
        (at_sensors > 26) & (at_sensors < 45)
    )
    slope = np.polyfit(np.log(at_sensors[used]), np.log(of_sensors.mean(0)[used]), 1)
    theta = hilbert(band(rest[ROWS["theta"]], 4, 8))
    lag = int(0.3 * SFREQ)
    mu = power[MU].mean(0)
    near = (at > 9) & (at < 12.7)
    peak = at[near][mu[near].argmax()]
    envelopes = np.log(envelope(rest[MU], 8.5, 13.5))
    smooth = sosfiltfilt(butter(2, 1.0, fs=SFREQ, output="sos"), envelopes, axis=-1)
    pair = hilbert(band(rest[[ROWS["frontal"], ROWS["parietal"]]], 13, 17))
    cross = np.mean(pair[0] * pair[1].conj())
    gamma = np.square(envelope(rest[GAMMA], 62, 82))
    turned = np.mean(gamma * np.exp(1j * np.angle(theta)), 1) / gamma.mean(1)
    return {
        "alpha_frequency": np.sum(excess * at[inside]) / excess.sum(),
        "alpha_laterality": sides[1] - sides[0],
        "alpha_reactivity": np.log(task / alpha[inside].mean()),
        "beta_duty": -np.log(np.mean(beta**2, 1) / beta.mean(1) ** 2).mean(),
        "background_slope": -slope[0],
        "theta_size": np.log(power[ROWS["theta"]][(at > 4.5) & (at < 7.2)].mean()),
        "theta_lifetime": abs(np.mean(theta[lag:] * theta[:-lag].conj()))
        / np.mean(abs(theta) ** 2),
        "gamma_size": np.log(power[GAMMA][:, (at > 64) & (at < 82)].mean()),
        "mu_harmonic": np.log(
            mu[abs(at - 2 * peak) < 1].mean() / mu[abs(at - peak) < 1].mean()
        ),
        "mu_coupling": np.corrcoef(smooth)[0, 1],
        "frontoparietal_coherence": np.imag(cross)
        / np.sqrt(np.mean(abs(pair) ** 2, 1).prod()),
        "theta_gamma_coupling": abs(turned).mean(),
    }


def trial_measures(auditory, somatosensory):
    """Measure dynamics over trials, by the person's own averages as templates."""
    order = np.arange(len(auditory))
    design = [np.ones(len(order)), order / order[-1], np.exp(-(order % 8) / 0.8)]
    design = np.column_stack(design)
    sounds = centered(auditory[:, AUDITORY].sum(1, keepdims=True))
    fits, spreads, sizes, alphas = [], [], [], []
    for trials, sources, window in (
        (auditory, sounds, (0.0, 0.3)),
        (somatosensory, centered(somatosensory[:, SOMATOSENSORY]), (0.01, 0.2)),
    ):
        template = sources.mean(0) * ((TIMES >= window[0]) & (TIMES < window[1]))
        power = np.sum(template**2)
        gains = np.sum(sources * template, (1, 2)) / power
        fit = np.linalg.lstsq(design, gains, rcond=None)[0]
        before = np.square(mean(envelope(trials[:, ALPHA], 8, 12), -0.3, 0)).mean(1)
        fits.append(fit)
        # the same template before the stimulus tells how much of the spread is noise
        noise = np.sum(sources * np.roll(template, -N_BEFORE, axis=-1), (1, 2)) / power
        spreads.append(np.var(gains - design @ fit) - np.var(noise))
        sizes.append(np.sqrt(power))
        alphas.append(np.corrcoef(np.log(before), gains)[0, 1])
    smooth = band(sounds[:, 0], 2, 20)
    window = (TIMES >= 0.03) & (TIMES < 0.25)
    shifts = np.arange(-10, 11)
    template = [np.roll(smooth.mean(0), shift) * window for shift in shifts]
    best = shifts[np.argmax(smooth @ np.transpose(template), axis=1)]
    _, decline, rested = np.mean(fits, 0)
    return {
        "habituation": -decline,
        "recovery": rested,
        "response_size": np.log(sizes).sum(),
        "latency_jitter": best.std(),
        "amplitude_variability": np.mean(spreads),
        "alpha_gain": np.sum(alphas),
    }


def matched_measures(recordings):
    """Measure what each trait changes, but the place of the N100m."""
    sources = source_signals(recordings)
    rest, auditory, somatosensory = (
        sources[state] for state in ("rest", "auditory", "somatosensory")
    )
    raw = recordings["rest"]
    sensors = raw.get_data() / noise_levels(raw.info)[:, None]
    averages = (centered(x.mean(0)) for x in (auditory, somatosensory))
    return {
        **evoked_measures(*averages),
        **induced_measures(auditory, somatosensory),
        **ongoing_measures(rest, sensors, auditory),
        **trial_measures(auditory, somatosensory),
    }


def main():
    """Print the AUC of each measure by itself, of the second development cohort."""
    n_people = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    mne.set_log_level("error")
    found, classes = [], []
    for person in simulate_panel(n_people, DEVELOPMENT_SEEDS[1]):
        found.append(matched_measures(person.recordings))
        classes.append(person.classes)
    found, classes = pd.DataFrame(found), pd.DataFrame(classes)
    aucs = pd.Series({n: roc_auc_score(classes[n], x) for n, x in found.items()})
    print(aucs.round(2).to_string())
    print(f"SIMULATED, {n_people} people: mean of {len(aucs)} traits {aucs.mean():.3f}")


if __name__ == "__main__":
    main()
