"""What is taken, how its rows are counted, and what is refused."""

import mne
import numpy as np
import pytest

from mne_megfm.inputs import (
    MEGSamples,
    as_recordings,
    checked_once,
    iter_windows,
    reading,
)
from mne_megfm.inputs.checks import check_rows


def test_epochs(make_epochs):
    epochs = make_epochs(5)
    recordings = as_recordings(epochs)
    (recording,) = recordings
    assert recordings.n_rows == 5 and recordings.n_elements == 1
    assert not recordings.is_list
    assert recording.inst is epochs and recording.kind == "epochs"
    np.testing.assert_array_equal(recording.rows, np.arange(5))
    np.testing.assert_array_equal(
        recordings.states, ["tone", "touch", "tone", "touch", "tone"]
    )
    assert recording.tmin == pytest.approx(-0.2)
    assert "5 rows" in repr(recordings) and "5 rows" in repr(recording)


def test_elements_of_mixed_list(make_epochs, make_raw):
    evoked = make_epochs(3).average()
    evoked.comment = "tone"
    X = [
        make_epochs(3),
        make_raw(2.0),
        evoked,
        MEGSamples(make_epochs(4))[[3, 0]],
        {"rest": make_raw(3.0), "auditory": make_epochs(2)},
        [make_epochs(1), make_epochs(1)],
    ]
    expected = np.repeat(np.arange(6), [3, 2, 1, 2, 5, 2])
    array = np.empty(len(X), dtype=object)
    array[:] = X
    for given in (X, tuple(X), array):
        recordings = as_recordings(given)
        assert recordings.is_list and recordings.n_elements == 6
        assert len(recordings) == 8
        np.testing.assert_array_equal(recordings.elements, expected)
        np.testing.assert_array_equal(
            recordings.rows_per_element, np.bincount(expected)
        )
        index = np.concatenate([recording.index for recording in recordings])
        np.testing.assert_array_equal(index, np.arange(15))
        states = ["tone", "touch", "tone", "rest", "rest", "tone", "touch", "tone"]
        states += ["rest"] * 3 + ["auditory"] * 2 + ["tone"] * 2
        np.testing.assert_array_equal(recordings.states, states)


def test_several_recordings_of_a_state(make_epochs, make_raw):
    runs = [make_epochs(2), make_epochs(3, seed=1)]
    recordings = as_recordings([make_raw(1.0), {"tones": runs, "rest": make_raw(2.0)}])
    assert [recording.inst for recording in recordings][1:3] == runs
    np.testing.assert_array_equal(recordings.elements, [0] + [1] * 7)
    np.testing.assert_array_equal(
        recordings.states, ["rest"] + ["tones"] * 5 + ["rest"] * 2
    )
    with pytest.raises(TypeError, match="a recording of element 0 of X to be"):
        as_recordings([{"tones": [3]}])
    with pytest.raises(ValueError, match="element 0 of X, got an empty dict"):
        as_recordings([{"tones": []}])


def test_event_codes_without_name(make_epochs):
    epochs = make_epochs(2)
    epochs.event_id = {"sound/left": 1, "left": 1}
    epochs.events[1, 2] = 7
    np.testing.assert_array_equal(as_recordings(epochs).states, ["sound/left", "7"])


@pytest.mark.parametrize("sfreq", [250.0, 600.615, 1017.25])
def test_raw_windows(make_raw, sfreq):
    raw = make_raw(10.4, sfreq, first_samp=5000)
    (recording,) = as_recordings(raw)
    assert recording.n_samples == round(sfreq)
    # Starts stay within half a sample of whole seconds: no drift
    np.testing.assert_array_less(
        np.abs(recording.rows / sfreq - np.arange(10)), 0.5001 / sfreq
    )
    (recording,) = as_recordings(raw, duration=2.0, overlap=1.5)
    np.testing.assert_array_less(
        np.abs(recording.rows / sfreq - np.arange(17) / 2), 0.5001 / sfreq
    )


def test_short_raw_is_one_row(make_raw):
    (recording,) = as_recordings(make_raw(0.5))
    np.testing.assert_array_equal(recording.rows, [0])
    assert recording.n_samples == 125


@pytest.mark.parametrize("first_samp", [0, 1234])
@pytest.mark.parametrize("dated", [False, True])
def test_bad_annotations(make_raw, first_samp, dated):
    raw = make_raw(10.0, first_samp=first_samp)
    if dated:
        raw.set_meas_date(1_000_000.0)
    onset = np.array([1.5, 4.0, 6.99, 8.2, 9.0])
    duration = [0.1, 1.0, 0.02, 0.1, 0.0]
    description = ["BAD jump", "bad_segment", "Bad", "blink", "BAD boundary"]
    orig = raw.info["meas_date"]
    raw.set_annotations(
        mne.Annotations(
            onset + raw.first_time * dated, duration, description, orig_time=orig
        )
    )
    (recording,) = as_recordings(raw)
    np.testing.assert_array_equal(recording.rows // 250, [0, 2, 3, 5, 8, 9])
    # The same windows that MNE keeps
    events = mne.make_fixed_length_events(raw, duration=1.0)
    epochs = mne.Epochs(
        raw, events, tmin=0, tmax=1 - 1 / 250, baseline=None, verbose=False
    ).drop_bad()
    kept = (epochs.events[:, 0] - raw.first_samp) // 250
    np.testing.assert_array_equal(
        np.setdiff1d(recording.rows // 250, [8, 9]), np.setdiff1d(kept, [8, 9])
    )
    (everything,) = as_recordings(raw, reject_by_annotation=False)
    np.testing.assert_array_equal(everything.rows // 250, np.arange(10))


def test_concatenated_raws(make_raw):
    """No row goes over a seam, and none sees over it."""
    one, two = make_raw(2.5, 1000.0, seed=1), make_raw(2.5, 1000.0, seed=2)
    two._data += 1e-9
    raw = mne.concatenate_raws([one.copy(), two], verbose=False)
    (recording,) = as_recordings(raw)
    np.testing.assert_array_equal(recording.rows, [0, 1000, 3000, 4000])


def test_all_windows_bad(make_raw):
    raw = make_raw(3.0)
    raw.set_annotations(mne.Annotations(0, 3.0, "BAD"))
    with pytest.raises(ValueError, match="no window that is free of BAD annotations"):
        as_recordings(raw)


def _eeg(make_info):
    info = make_info(n_mag=0, extra=["eeg"] * 3 + ["stim"])
    return mne.EpochsArray(np.ones((2, 4, 100)), info)


@pytest.mark.parametrize("edge", [as_recordings, MEGSamples])
def test_eeg_only(make_info, edge):
    with pytest.raises(ValueError, match="MEG channels in X, got 3 eeg, 1 stim; pass"):
        edge(_eeg(make_info))
    with pytest.raises(ValueError, match="MEG channels in element 0 of X"):
        edge([_eeg(make_info)])


def test_reference_channels_are_no_meg(make_info):
    info = make_info(n_mag=0, extra=["ref_meg"] * 3)
    with pytest.raises(ValueError, match="none beside 3 reference channels"):
        as_recordings(mne.EpochsArray(np.ones((2, 3, 100)), info))


def test_all_bad(make_epochs):
    epochs = make_epochs(2)
    epochs.info["bads"] = epochs.ch_names
    with pytest.raises(ValueError, match=r"8 MEG channels that are all in info\['bads"):
        as_recordings(epochs)


@pytest.mark.parametrize(
    ("factor", "match"),
    [
        (1e12, "z-scored data, EEG, or other units"),  # standard deviations
        (1e15, "z-scored data, EEG, or other units"),  # fT
        (1e7, "z-scored data, EEG, or other units"),  # EEG in V
        (1e13, "z-scored data, EEG, or other units"),  # EEG in uV
        (1e-7, "weaker than any sensor's noise"),
    ],
)
def test_not_tesla(make_epochs, make_raw, factor, match):
    epochs, raw = make_epochs(3), make_raw(2.0)
    epochs._data *= factor
    raw._data *= factor
    for inst in (epochs, raw, epochs.average(), [epochs], MEGSamples(epochs)):
        with pytest.raises(ValueError, match=match):
            as_recordings(inst)


def test_gradients_are_compared_in_tesla(make_info):
    info = make_info(n_mag=0, extra=["grad"] * 4)
    data = np.random.default_rng(0).standard_normal((2, 4, 100))
    as_recordings(mne.EpochsArray(1e-11 * data, info))
    with pytest.raises(ValueError, match="Expected MEG in tesla"):
        as_recordings(mne.EpochsArray(1e-5 * data, info))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(make_epochs, make_raw, project, value):
    epochs = make_epochs(3)
    epochs._data[1, 2, 50] = value
    with pytest.raises(ValueError, match="NaN or infinity in row 1, channel MEG 002;"):
        as_recordings(epochs)
    raw = make_raw(20.0)
    raw._data[:7, 15 * 250 + 3] = value
    recordings = as_recordings(raw)  # looks at the beginning only
    with pytest.raises(ValueError, match="in row 15, channels .* and 2 more"):
        list(iter_windows(recordings, project))


def test_not_finite_in_other_channels_is_no_matter(make_epochs, project):
    epochs = make_epochs(2, extra=["eeg"])
    epochs._data[:, -1] = np.nan
    epochs._data[:, 0] = np.nan
    epochs.info["bads"] = ["MEG 000"]
    (block,) = iter_windows(epochs, project)
    assert np.isfinite(block.data).all()


def test_all_flat(make_epochs, make_raw, project):
    epochs = make_epochs(3)
    epochs._data[1] = 3e-12
    with pytest.raises(ValueError, match="row 1, .* every one of the 8 .* is flat"):
        as_recordings(epochs)
    epochs._data[:] = 0.0
    with pytest.raises(ValueError, match="row 0, .* every one of the 8 .* is flat"):
        as_recordings(epochs.average())
    raw = make_raw(20.0)
    raw._data[:, 10 * 250 : 12 * 250] = 0.0
    with pytest.raises(ValueError, match="row 10, .* annotate that span as BAD"):
        list(iter_windows(raw, project))


def test_complex_data(make_info, rng):
    data = 1e-12 * np.exp(1j * rng.uniform(0, 6, (8, 500)))
    with pytest.raises(TypeError, match="real data in row 0, got complex128"):
        as_recordings(mne.io.RawArray(data, make_info()))


@pytest.mark.parametrize(
    ("X", "match"),
    [
        (np.zeros((3, 4, 5)), r"array of shape \(3, 4, 5\).*mne.EpochsArray"),
        ("some_raw.fif", "'some_raw.fif'; read the file with"),
        (None, "got None"),
        (3, "got a int"),
        ([3], "Expected element 0 of X to be .* got a int"),
        ([np.zeros(3)], "element 0 of X to be .* got an array"),
        ([["some_raw.fif"]], "a recording of element 0 of X to be"),
        ({}, "got a dict; for one participant"),
    ],
)
def test_wrong_type(X, match):
    for edge in (as_recordings, MEGSamples):
        with pytest.raises(TypeError, match=match):
            edge(X)


@pytest.mark.filterwarnings("ignore:All epochs were dropped")
def test_empty(make_epochs):
    for edge in (as_recordings, MEGSamples):
        with pytest.raises(ValueError, match="got an empty list"):
            edge([])
        with pytest.raises(ValueError, match="element 1 of X, got an empty list"):
            edge([make_epochs(1), []])
        with pytest.raises(ValueError, match="with no epochs left"):
            edge(make_epochs(2)[[]])
        with pytest.raises(ValueError, match="element 1 of X, got .* no epochs left"):
            edge([make_epochs(1), make_epochs(2)[[]]])
    with pytest.raises(ValueError, match="MEGSamples without rows"):
        as_recordings(MEGSamples(make_epochs(2))[[]])


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"duration": 0}, ValueError, "duration to be a positive"),
        ({"duration": np.nan}, ValueError, "duration to be a positive"),
        ({"duration": "1 s"}, TypeError, "duration to be a number of seconds"),
        ({"overlap": 1.0}, ValueError, r"overlap in seconds, .* duration \(1.0\)"),
        ({"overlap": -0.1}, ValueError, "overlap in seconds"),
        ({"overlap": None}, TypeError, "overlap to be a number"),
    ],
)
def test_window_parameters(make_raw, kwargs, error, match):
    for edge in (as_recordings, MEGSamples):
        with pytest.raises(error, match=match):
            edge(make_raw(), **kwargs)


def test_epochs_not_settled_yet(make_raw, project):
    """Bad epochs of lazily read Epochs are dropped, once, as MNE does it."""
    raw = make_raw(5.0)
    raw._data[0, 600] = 1e-9
    events = np.c_[[0, 250, 500, 750], [0] * 4, [1] * 4]
    epochs = mne.Epochs(
        raw, events, tmin=0, tmax=0.996, baseline=None, reject=dict(mag=1e-10)
    )
    assert as_recordings(epochs).n_rows == 3
    assert len(MEGSamples(epochs)) == 3


def test_checked_once_within_a_block(cohort, monkeypatch):
    """Rows are read for the check once; without the block each time."""
    read = []
    monkeypatch.setattr(
        reading, "check_rows", lambda *args: read.append(args) or check_rows(*args)
    )
    epochs = cohort.epochs("rest")[:2]
    with checked_once():
        as_recordings(epochs)
        n_once = len(read)
        with checked_once():
            as_recordings(epochs)
        as_recordings(epochs[:1])
        assert len(read) == n_once > 0
        as_recordings(epochs[0][:1])  # other rows
        assert len(read) > n_once
    read.clear()
    as_recordings(epochs)
    assert len(read) == n_once


def test_a_failed_check_is_repeated_within_a_block(cohort):
    """An error is not forgotten the second time."""
    epochs = cohort.epochs("rest")[0].copy().load_data()
    epochs._data *= 1e6
    with checked_once():
        for _ in range(2):
            with pytest.raises(ValueError, match="tesla|unit"):
                as_recordings(epochs)
