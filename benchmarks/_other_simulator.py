"""A simulator of MEG cohorts that shares nothing with that of the package.

It was written by a reviewer with MNE-Python and NumPy alone. Its head is a sphere, in
the forward solution of MNE; eight dipoles respond to stimuli or carry alpha, 140 others
are the background. Sensor positions are those of real recordings. Spectra are made in
the frequency domain, where the filters of the cohort are applied, too. All that is
drawn for a participant follows from the seed and the participant's number.
"""

from dataclasses import dataclass

import mne
import numpy as np
from mne.io.constants import FIFF
from mne.transforms import Transform, rotation

FILES = {
    "vectorview": "vectorview306-audvis-prestim_raw.fif",
    "ctf": "ctf274_raw.fif",
    "4d": "4d248-solaris_raw.fif",
    "kit": "kit157-auditory_raw.fif",
}
TRAITS = ("habituation", "log_amplitude", "alpha_frequency", "log_theta")
ORIGIN = np.array([0.0, 0.0, 0.04])
AUDITORY, SOMATOSENSORY, SECONDARY = (0, 1), (2,), (3,)  # rows of the sources
RESPONDING, ALPHA, BACKGROUND = slice(0, 4), slice(4, 8), slice(8, 148)
N_ALPHA, N_BACKGROUND, N_TRIALS = 4, 140, 50
BACKGROUND_MOMENT, ALPHA_MOMENT = 2.5e-9, 6e-9  # Am over the root of Hz
ALPHA_OF_STATE = {"rest": 1.0, "auditory": 0.55, "somatosensory": 0.6}
# latency, its spread over participants, width (s), strength, sources
PEAKS = {
    "auditory": (
        (0.050, 0.004, 0.010, 0.35, AUDITORY),
        (0.100, 0.008, 0.018, -1.0, AUDITORY),
        (0.190, 0.015, 0.035, 0.6, AUDITORY),
    ),
    "somatosensory": (
        (0.0205, 0.001, 0.003, 0.8, SOMATOSENSORY),
        (0.035, 0.002, 0.005, -0.8, SOMATOSENSORY),
        (0.060, 0.005, 0.012, 1.0, SOMATOSENSORY),
        (0.110, 0.010, 0.025, 0.7, SECONDARY),
    ),
}
MOMENT = {"auditory": 25e-9, "somatosensory": 20e-9}  # Am
JITTER = {"auditory": 0.005, "somatosensory": 0.001}  # s, of single trials
MAGNETOMETERS = (
    FIFF.FIFFV_COIL_VV_MAG_T1,
    FIFF.FIFFV_COIL_VV_MAG_T3,
    FIFF.FIFFV_COIL_MAGNES_MAG,
)


@dataclass(frozen=True)
class Cohort:
    """How the recordings of a cohort are made.

    Attributes
    ----------
    seed, n_participants : int
        What is taken where nothing else is asked for.
    arrays : tuple of str
        Keys of ``FILES``; pairs of a control and a patient have them in turn.
    sfreq, tmin, tmax : float
        Sampling rate, and the times of epochs.
    band : tuple of float
        Edges of the filter in Hz.
    baseline : tuple of float | None
        Of the epochs.
    interval : tuple of float
        Least and greatest time between stimuli.
    rest : float
        Seconds of rest.
    rest_is_raw : bool
        Whether rest stays continuous, and is not cut into epochs of 1 s.
    line : float
        Amplitude of the power line.
    compensated : bool
        Whether gradient compensation is kept.
    head_known : bool
        Whether recordings have the position of the head. If not, saved recordings
        of Vectorview have that of the real one, from its measurement of coils.
    """

    seed: int
    n_participants: int
    arrays: tuple[str, ...]
    sfreq: float
    tmin: float
    tmax: float
    band: tuple[float, float]
    baseline: tuple[float, float] | None
    interval: tuple[float, float]
    rest: float
    rest_is_raw: bool
    line: float
    compensated: bool
    head_known: bool


COHORTS = {
    "A": Cohort(
        seed=501,
        n_participants=100,
        arrays=("vectorview", "ctf", "4d", "kit"),
        sfreq=500.0,
        tmin=-0.1,
        tmax=0.5,
        band=(1.0, 40.0),
        baseline=None,
        interval=(1.1, 1.4),
        rest=30.0,
        rest_is_raw=False,
        line=0.0,
        compensated=True,
        head_known=True,
    ),
    "B": Cohort(
        seed=601,
        n_participants=90,
        arrays=("vectorview", "ctf"),
        sfreq=600.0,
        tmin=-0.2,
        tmax=0.8,
        band=(0.2, 120.0),
        baseline=(-0.2, 0.0),
        interval=(1.0, 1.0),
        rest=40.0,
        rest_is_raw=True,
        line=0.5,
        compensated=False,
        head_known=False,
    ),
}


# -- sensors and sources ----------------------------------------------------
def read_sensors(folder, array, cohort):
    """Read the sensors of a real recording."""
    info = mne.io.read_info(folder / FILES[array], verbose="error")
    # MNE's forward solution has none for the references of KIT
    picks = mne.pick_types(info, meg=True, ref_meg=array != "kit", exclude=())
    info = mne.pick_info(info, picks)
    with info._unlock():
        if not cohort.compensated:
            info["comps"] = []
            for channel in info["chs"]:
                channel["coil_type"] = int(channel["coil_type"]) & 0xFFFF
        info["sfreq"], info["projs"], info["bads"] = cohort.sfreq, [], []
        info["highpass"], info["lowpass"] = 0.0, cohort.sfreq / 2
    return info


def move_head(info, rng):
    """Turn and shift the head by about 4 degrees and 4 mm."""
    move = rotation(*np.deg2rad(rng.normal(0, 4.0, 3)))
    shift = rng.normal(0, 0.004, 3) * [1.0, 1.0, 0.6]
    move[:3, 3] = ORIGIN - move[:3, :3] @ ORIGIN + shift
    moved = info.copy()
    with moved._unlock():
        trans = move @ info["dev_head_t"]["trans"]
        moved["dev_head_t"] = Transform("meg", "head", trans)
    return moved


def pull_in(place, radius):
    """Move a place that is further out onto the sphere of this radius."""
    out = place - ORIGIN
    return ORIGIN + out * min(1.0, radius / np.linalg.norm(out))


def draw_sources(rng):
    """Draw places of all sources, and tangential directions."""
    places, directions = [], []

    def add(place, direction):
        out = (place - ORIGIN) / np.linalg.norm(place - ORIGIN)
        tangent = direction - (direction @ out) * out
        places.append(place)
        directions.append(tangent / np.linalg.norm(tangent))

    for side in (-1, 1):
        place = np.array([side * 0.052, 0.008, 0.058]) + rng.normal(0, 0.005, 3)
        add(place, np.array([0.0, 0.25, -1.0]) + rng.normal(0, 0.25, 3))
    place = np.array([-0.040, 0.006, 0.092]) + rng.normal(0, 0.005, 3)
    direction = np.array([0.4, 1.0, 0.0]) + rng.normal(0, 0.25, 3)
    add(pull_in(place, 0.078), direction)
    place = np.array([-0.050, 0.012, 0.065]) + rng.normal(0, 0.005, 3)
    add(place, np.array([0.0, 0.2, -1.0]) + rng.normal(0, 0.3, 3))
    for _ in range(N_ALPHA):
        place = np.array([rng.normal(0, 0.02), -0.055, 0.075])
        place = pull_in(place + rng.normal(0, 0.008, 3), 0.075)
        add(place, rng.normal(0, 1, 3))
    while len(places) < BACKGROUND.stop:
        out = rng.normal(0, 1, 3)
        out /= np.linalg.norm(out)
        if out[2] >= -0.35:
            place = ORIGIN + out * rng.uniform(0.05, 0.078)
            add(place, rng.normal(0, 1, 3))
    return np.array(places), np.array(directions)


def compute_fields(info, places, directions):
    """Compute fields of unit dipoles, (channels, sources); names of the channels."""
    sources = mne.setup_volume_source_space(
        pos={"rr": places, "nn": directions}, verbose="error"
    )
    forward = mne.make_forward_solution(
        info,
        trans=None,
        src=sources,
        bem=mne.make_sphere_model(tuple(ORIGIN), 0.095, verbose="error"),
        meg=True,
        eeg=False,
        mindist=0.0,
        on_inside="ignore",
        verbose="error",
    )
    fields = forward["sol"]["data"].reshape(-1, len(places), 3)
    fields = np.einsum("csk,sk->cs", fields, directions)
    return fields, forward["sol"]["row_names"]


def sensor_noise(info):
    """Give the noise of each channel, in its unit over the root of Hz."""
    planar = [channel["unit"] == FIFF.FIFF_UNIT_T_M for channel in info["chs"]]
    magnetic = [channel["coil_type"] in MAGNETOMETERS for channel in info["chs"]]
    return np.where(planar, 3e-13, np.where(magnetic, 4e-15, 5e-15))[:, np.newaxis]


# -- signals ----------------------------------------------------------------
def gauss(x, mean, sd):
    """Evaluate a Gaussian of height 1."""
    return np.exp(-0.5 * ((x - mean) / sd) ** 2)


def filter_gain(frequencies, band):
    """Evaluate the filter of a cohort."""
    low, high = band
    gain = 1 / (1 + (low / np.maximum(frequencies, 1e-6)) ** 8)
    return gain / (1 + (frequencies / high) ** 16)


def draw_traits(rng, patient):
    """Draw what patients and controls differ in, and the level of the background."""
    return {
        "habituation": rng.normal(0.30 - 0.25 * patient, 0.25),
        "log_amplitude": rng.normal(0.22 * patient, 0.25),
        "alpha_frequency": np.clip(rng.normal(10.1 - 0.8 * patient, 0.9), 7.5, 12.5),
        "log_theta": rng.normal(0.4 * patient, 0.45),
        "log_background": rng.normal(0, 0.25),
    }


def ongoing(rng, n_times, alpha, traits, fields, noise, cohort):
    """Make background, alpha of this amplitude, sensor noise and power line."""
    frequencies = np.fft.rfftfreq(n_times, 1 / cohort.sfreq)
    gain = filter_gain(frequencies, cohort.band)
    kept = gain > 1e-3
    at = frequencies[kept]

    def white(n_rows):
        real = rng.normal(size=(n_rows, len(at)))
        imaginary = rng.normal(size=(n_rows, len(at)))
        return (real + 1j * imaginary) * np.sqrt(n_times * cohort.sfreq / 4)

    level = np.exp(2 * traits["log_background"]) * BACKGROUND_MOMENT**2
    power = level * (1 / np.maximum(at, 0.3)) ** rng.uniform(0.9, 1.3)
    power *= 1 + np.exp(traits["log_theta"]) * 0.8 * gauss(at, 5.8, 1.0)
    power += level * 0.05 * gauss(at, 20.0, 4.0)
    sources = np.zeros((BACKGROUND.stop, len(at)), complex)
    sources[BACKGROUND] = white(N_BACKGROUND) * np.sqrt(power)
    sources[BACKGROUND] *= np.exp(rng.normal(0, 0.3, (N_BACKGROUND, 1)))
    peak = np.sqrt(gauss(at, traits["alpha_frequency"], 0.8))
    sources[ALPHA] = white(N_ALPHA) * alpha * peak
    signals = fields @ sources + white(len(noise)) * noise
    if cohort.line:
        line = rng.normal(size=len(noise)) + 1j * rng.normal(size=len(noise))
        line *= noise[:, 0] * n_times * 0.5 * cohort.line
        signals[:, np.argmin(abs(at - 50))] += line
    spectrum = np.zeros((len(noise), len(frequencies)), complex)
    spectrum[:, kept] = signals * gain[kept]
    return np.fft.irfft(spectrum, n_times)


def responses(rng, state, onsets, n_times, traits, cohort):
    """Make the moments of the sources that respond."""
    habituation = traits["habituation"] + rng.normal(0, 0.12)
    course = (1 - np.exp(-3 * np.linspace(0, 1, N_TRIALS))) / (1 - np.exp(-3))
    amplitude = np.exp(rng.normal(0, 0.25)) * np.exp(traits["log_amplitude"])
    later = rng.normal(0, 1, 4)
    gains = np.array([1.0, 1.0, 1.0, 0.8])
    if state == "auditory":
        gains[:2] = np.exp(rng.normal(0, 0.25, 2))
    strengths = np.exp(rng.normal(0, 0.2, len(PEAKS[state])))
    times = np.arange(int(0.6 * cohort.sfreq)) / cohort.sfreq
    moments = np.zeros((RESPONDING.stop, n_times))
    for onset, size in zip(onsets, 1 - habituation * course, strict=True):
        size *= MOMENT[state] * amplitude * max(0.0, 1 + 0.3 * rng.normal())
        shift = rng.normal(0, JITTER[state])
        for number, peak in enumerate(PEAKS[state]):
            latency, spread, width, strength, rows = peak
            latency += spread * later[number] + shift
            shape = size * strength * strengths[number] * gauss(times, latency, width)
            for row in rows:
                moments[row, onset : onset + len(times)] += gains[row] * shape
    gain = filter_gain(np.fft.rfftfreq(n_times, 1 / cohort.sfreq), cohort.band)
    return np.fft.irfft(np.fft.rfft(moments) * gain, n_times)


def simulate_person(number, patient, info, cohort, seed):
    """Simulate a participant.

    Parameters
    ----------
    number : int
        Number in the cohort.
    patient : bool | int
        Whether the traits are those of patients.
    info : Info
        Sensors, of `read_sensors`.
    cohort : Cohort
        How recordings are made.
    seed : int
        Seed of the cohort.

    Returns
    -------
    recordings : dict
        Epochs, or Raw, of each state.
    traits : dict
        The true traits.
    """
    rng = np.random.default_rng([seed, number])
    traits = draw_traits(rng, patient)
    info = move_head(info, rng)
    fields, names = compute_fields(info, *draw_sources(rng))
    info = mne.pick_info(info, [info["ch_names"].index(name) for name in names])
    noise = sensor_noise(info)
    alpha = np.exp(rng.normal(np.log(ALPHA_MOMENT), 0.4))
    recordings = {}
    for state in PEAKS:
        gaps = rng.uniform(*cohort.interval, N_TRIALS)
        onsets = np.round((1 + np.cumsum(gaps)) * cohort.sfreq).astype(int)
        n_times = onsets[-1] + int(2 * cohort.sfreq)
        size = ALPHA_OF_STATE[state] * alpha
        signals = ongoing(rng, n_times, size, traits, fields, noise, cohort)
        moments = responses(rng, state, onsets, n_times, traits, cohort)
        signals += fields[:, RESPONDING] @ moments
        recordings[state] = mne.Epochs(
            mne.io.RawArray(signals, info, verbose="error"),
            np.c_[onsets, np.zeros(N_TRIALS, int), np.ones(N_TRIALS, int)],
            {state: 1},
            cohort.tmin,
            cohort.tmax,
            baseline=cohort.baseline,
            preload=True,
            verbose="error",
        )
    n_times = int(cohort.rest * cohort.sfreq)
    size = ALPHA_OF_STATE["rest"] * alpha
    signals = ongoing(rng, n_times, size, traits, fields, noise, cohort)
    rest = mne.io.RawArray(signals, info, verbose="error")
    if not cohort.rest_is_raw:
        rest = mne.make_fixed_length_epochs(rest, 1.0, preload=True, verbose="error")
    recordings["rest"] = rest
    if not cohort.head_known:
        for recording in recordings.values():
            with recording.info._unlock():
                recording.info["dev_head_t"] = None
    return recordings, traits


def simulate(folder, cohort, n_participants, seed):
    """Simulate controls and patients in turn, one by one.

    Parameters
    ----------
    folder : Path
        Where the real recordings are.
    cohort : Cohort
        How recordings are made.
    n_participants : int
        How many.
    seed : int
        Seed of the cohort.

    Yields
    ------
    recordings, label, traits
        Of each participant.
    """
    sensors = {array: read_sensors(folder, array, cohort) for array in cohort.arrays}
    for number in range(n_participants):
        patient = number % 2
        array = cohort.arrays[number // 2 % len(cohort.arrays)]
        recordings, traits = simulate_person(
            number, patient, sensors[array], cohort, seed
        )
        yield recordings, "migraine" if patient else "control", traits
