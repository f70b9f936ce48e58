"""Times of events, which MNE counts at the rate at which epochs were cut."""

import mne
import numpy as np
import pytest

from mne_megfm import CanonicalSensors, MEGFMTransformer, simulate_cohort
from mne_megfm.inputs import MEGSamples, as_recordings

ONSETS = np.array([0.5, 1.7, 2.6, 4.1])


@pytest.fixture(scope="module")
def epochs():
    """Epochs at 1 kHz around events at known times."""
    info = mne.create_info([f"MEG {i}" for i in range(4)], 1000.0, "mag")
    data = 1e-13 * np.random.default_rng(0).standard_normal((4, 6000))
    raw = mne.io.RawArray(data, info, first_samp=0, verbose="error")
    events = np.c_[(1000 * ONSETS).astype(int), np.zeros(4, int), np.ones(4, int)]
    return mne.Epochs(raw, events, tmin=-0.2, tmax=0.6, baseline=None, preload=True)


def _from_file(epochs, tmp_path):
    name = tmp_path / f"{len(list(tmp_path.iterdir()))}-epo.fif"
    epochs.save(name)
    return mne.read_epochs(name, preload=False)


@pytest.mark.parametrize(
    "change",
    [
        lambda epochs, _: epochs,
        lambda epochs, _: epochs.resample(250.0),
        lambda epochs, _: epochs.resample(2000.0),
        lambda epochs, _: epochs.decimate(4, verbose="error"),
        lambda epochs, _: epochs.resample(300.0).resample(200.0),
        lambda epochs, path: _from_file(epochs.resample(250.0), path),
        lambda epochs, path: _from_file(_from_file(epochs, path), path).load_data(),
        lambda epochs, _: mne.concatenate_epochs(
            [epochs[:2].resample(250.0), epochs[2:].resample(250.0)],
            add_offset=False,
            verbose="error",
        ),
        lambda epochs, _: MEGSamples(epochs.resample(250.0)),
    ],
    ids=[
        *("as cut", "resampled", "up", "decimated", "twice", "file", "file twice"),
        *("joined", "view"),
    ],
)
def test_times_are_those_of_the_recording(epochs, tmp_path, change):
    changed = change(epochs.copy(), tmp_path)
    (recording,) = as_recordings(changed, verbose="error")
    np.testing.assert_allclose(recording.event_times, ONSETS)


@pytest.mark.filterwarnings("ignore:The events passed to the Epochs constructor")
def test_joined_after_different_decimation(epochs):
    """Cut at one rate, times stay; of several rates MNE keeps one, and warns."""
    one, other = epochs.copy()[:2], epochs.copy()[2:]
    slow = mne.EpochsArray(
        other.get_data()[..., ::2], mne.create_info(epochs.ch_names, 500.0, "mag"),
        np.c_[other.events[:, 0] // 2, other.events[:, 1:]], other.tmin,
    )  # fmt: skip
    one.resample(250.0)
    settings = {"add_offset": False, "on_mismatch": "ignore"}
    same = mne.concatenate_epochs([one, other.resample(250.0)], **settings)
    np.testing.assert_allclose(as_recordings(same)[0].event_times, ONSETS)
    with pytest.warns(RuntimeWarning, match="raw sampling rate of the"):
        mne.concatenate_epochs([one, slow.resample(250.0)], **settings)


def test_decim_when_cutting(epochs):
    info = epochs.info
    raw = mne.io.RawArray(1e-13 * np.ones((4, 6000)), info, verbose="error")
    raw._data *= np.random.default_rng(0).standard_normal((4, 6000))
    cut = mne.Epochs(
        raw, epochs.events, tmin=0.0, tmax=0.4, baseline=None, decim=5, verbose="error"
    )
    (recording,) = as_recordings(cut)
    np.testing.assert_allclose(recording.event_times, ONSETS)


def test_only_epochs_have_event_times(epochs):
    assert as_recordings(epochs.average())[0].event_times is None


def test_the_canonical_array_keeps_them():
    cohort = simulate_cohort(
        1, states=("auditory",), n_epochs=3, sfreq=500.0, random_state=0
    )
    epochs = cohort.epochs("auditory")[0]
    times = epochs.events[:, 0] / 500.0
    mapped = CanonicalSensors().transform_inst(epochs.resample(250.0))
    np.testing.assert_allclose(as_recordings(mapped)[0].event_times, times)


def test_recovery_does_not_depend_on_the_sampling_rate():
    """Features of a participant at 1 kHz, and after resampling to 250 Hz."""
    cohort = simulate_cohort(
        1, states=("auditory",), arrays=("ctf151",), n_epochs=40, sfreq=1000.0,
        random_state=0,
    )  # fmt: skip
    epochs = cohort.epochs("auditory")[0]
    transformer = MEGFMTransformer(sample="participant").fit([{"auditory": epochs}])
    names = list(transformer.get_feature_names_out())
    at = [names.index(f"responses_{name}") for name in ("recovery", "habituation")]
    full = transformer.transform([{"auditory": epochs}])[0, at]
    low = transformer.transform([{"auditory": epochs.copy().resample(250.0)}])[0, at]
    np.testing.assert_allclose(low, full, atol=0.05)
    # with the rate of today, stimuli lie four times as far apart
    wrong = epochs.copy().resample(250.0)
    wrong._raw_sfreq = 250.0
    wrong = transformer.transform([{"auditory": wrong}])[0, at]
    assert np.abs(wrong - full).max() > 0.1
