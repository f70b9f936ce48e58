"""Participants that are there twice, whole or in part."""

import mne
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from mne_megfm.inputs import as_recordings
from mne_megfm.inputs.duplicates import find_copies, warn_of_copies

SFREQ = 500.0
UNIT = np.repeat([1e-12, 4e-11], [8, 16])[:, None]
STRENGTH = np.linspace(1, 2, 24)[:, None]


@pytest.fixture
def person(rng):
    """People with the same response and noise of their own, as fields of T and T/m."""
    info = mne.create_info(24, SFREQ, ["mag"] * 8 + ["grad"] * 16)
    response = rng.standard_normal((24, 1)) * np.hanning(300)

    def make(n=20):
        noise = gaussian_filter1d(rng.standard_normal((n, 24, 300)), 3.0)
        return mne.EpochsArray(UNIT * (noise + response), info, tmin=-0.1)

    return make


def scaled(epochs):
    return epochs.apply_function(lambda values: 3.0 * values)


def check(*people, groups=None):
    X = [{"auditory": one} for one in people]
    return pairs(X, groups)


def pairs(X, groups=None):
    groups = np.arange(len(X)) if groups is None else np.array(groups)
    copies = find_copies(as_recordings(X, verbose="error"), groups)
    return [(copy.one, copy.other) for copy in copies]


@pytest.mark.parametrize(
    "changed",
    [
        lambda epochs: epochs,
        lambda epochs: epochs[::-1],
        lambda epochs: epochs[5:8],
        lambda epochs: epochs.crop(0.0, 0.4),
        lambda epochs: epochs.apply_baseline((None, 0)),
        lambda epochs: epochs.drop_channels(epochs.ch_names[-3:]),
        lambda epochs: epochs.reorder_channels(epochs.ch_names[::-1]),
        lambda epochs: epochs[3:].pick("mag"),
        lambda epochs: epochs[3:].pick("grad"),
        scaled,
        lambda epochs: epochs.resample(250.0),
        lambda epochs: epochs[4:].filter(None, 60.0).decimate(2),
        lambda epochs: epochs.crop(0.0, 0.4).resample(1000.0),
    ],
    ids=[
        *("whole", "order", "some", "cropped", "baseline", "channels", "turned"),
        *("magnetometers", "gradiometers", "unit", "resampled", "decimated"),
        "cropped and resampled",
    ],
)
def test_copies_are_found(person, changed):
    people = [person() for _ in range(3)]
    copy = changed(people[1].copy())
    assert check(*people, copy) == [(1, 3)]
    assert check(*people, copy, groups=[0, 1, 2, 1]) == []


def test_a_copy_on_disk_is_found(person, tmp_path):
    """Saved with other rounding, and in other states."""
    people = [person() for _ in range(2)]
    people[0].save(tmp_path / "copy-epo.fif", fmt="single")
    copy = mne.read_epochs(tmp_path / "copy-epo.fif", preload=False)[3:]
    assert check(*people, copy) == [(0, 2)]
    X = [{"auditory": people[0]}, {"somatosensory": copy}]
    assert pairs(X) == [(0, 1)]


def test_a_piece_of_a_recording_is_found(rng):
    info = mne.create_info(24, SFREQ, "mag")
    data = 1e-12 * gaussian_filter1d(rng.standard_normal((2, 24, 10_000)), 3.0)
    one, other = (mne.io.RawArray(values, info) for values in data)
    assert pairs([one, other]) == []
    piece = one.copy().crop(4.3, 11.2)
    assert pairs([one, other, piece]) == [(0, 2)]


@pytest.mark.parametrize("rates", [(), (200.0, 250.0, 100.0)])
@pytest.mark.parametrize("n_channels", [1, 2, 24])
@pytest.mark.parametrize("band", [(1.0, 40.0), (8.0, 12.0)])
def test_others_are_not_copies(person, n_channels, band, rates):
    """Not with the same response, few channels, rhythms, or flat spans in common."""
    people = [person(60) for _ in range(6)]
    for one in people:
        one.pick(one.ch_names[:n_channels]).filter(*band, verbose="error")
        one.get_data(copy=False)[::7, :, 100:] = 0.0
    for one, rate in zip(people, rates, strict=False):
        one.resample(rate)
    assert check(*people) == []


def together(epochs, course, at, size):
    """Add what is in all channels at a time, in these relative sizes."""
    data = epochs.get_data(copy=False)
    data[:, :, at : at + len(course)] += size * UNIT * STRENGTH * course


def sine(frequency):
    return np.sin(2 * np.pi * frequency * np.arange(300) / SFREQ)


@pytest.mark.parametrize(
    ("course", "at", "size"),
    [
        (np.ones(150), 40, 10.0),
        (sine(50.0), 0, 3.0),
        (sine(50.0), 0, 50.0),
        (sine(60.0), 0, 50.0),
        (sine(50.0) + 0.3 * sine(150.0), 0, 50.0),
        (sine(16.7), 0, 50.0),
        (sine(23.0), 0, 50.0),
    ],
    ids=["jump", "mains", "strong", "60 Hz", "harmonic", "railway", "machine"],
)
@pytest.mark.parametrize("rates", [(), (200.0, 250.0, 100.0)])
def test_what_many_recordings_have_is_no_copy(person, course, at, size, rates):
    """Interference of the room has the same pattern in everybody."""
    people = [person() for _ in range(4)]
    for one in people:
        together(one, course, at, size)
    for one, rate in zip(people, rates, strict=False):
        one.resample(rate)
    assert check(*people) == []


@pytest.mark.parametrize("size", [3.0, 50.0])
def test_a_copy_under_mains_is_found(person, size):
    people = [person() for _ in range(3)]
    for one in people:
        together(one, sine(50.0), 0, size)
    assert check(*people, people[1].copy()[2:]) == [(1, 3)]


def test_one_moment_in_common_is_no_copy(person):
    """Such as a pulse for calibration, which hides all else once."""
    people = [person() for _ in range(4)]
    for one in people:
        data = one.get_data(copy=False)
        pulse = 10 * UNIT * STRENGTH * np.hanning(300)
        data[0] *= 1e-3  # not the same to the last digit
        data[0] += pulse
    assert check(*people) == []
    assert check(*people, people[0].copy()) == [(0, 4)]


def test_positions_are_those_of_the_user(person):
    people = [person() for _ in range(3)]
    copies = find_copies(as_recordings([*people, people[1].copy()]), np.arange(4))
    assert copies == [(1, 3, True)]
    with pytest.warns(RuntimeWarning, match="elements 5 and 9 of X"):
        warn_of_copies(copies, [4, 5, 7, 9])


def test_the_same_recording_twice_for_one_participant(person):
    epochs = person()
    X = [{"auditory": epochs, "somatosensory": epochs.copy()}, {"auditory": person()}]
    assert pairs(X) == []
