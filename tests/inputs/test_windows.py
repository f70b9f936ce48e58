"""Windows: the same rows by every way in, and what becomes of odd lengths."""

import pickle

import mne
import numpy as np
import pytest

from mne_megfm.inputs import (
    MEGSamples,
    Recordings,
    as_recordings,
    iter_windows,
    window_starts,
)


def _assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("sfreq", [250.0, 600.615])
def test_rows_are_the_same_by_every_way_in(make_epochs, rows_of, tmp_path, sfreq):
    epochs = make_epochs(7, 300, sfreq)
    epochs.info["bads"] = ["MEG 003"]
    epochs._data[4, 1] = 2e-12  # flat in one epoch only
    epochs.metadata = None  # pandas warns about the way in which MNE writes it
    epochs.save(tmp_path / "test-epo.fif", fmt="double", verbose=False)
    on_disk = mne.read_epochs(tmp_path / "test-epo.fif", preload=False, verbose=False)
    expected = rows_of(epochs)
    view = MEGSamples(epochs)
    ways = [
        [epochs[i] for i in range(7)],
        [epochs[:3], epochs[3:]],
        view,
        list(view),
        [view[:2], epochs[2:5], [epochs[5], view[6]]],
        MEGSamples([view[:2], epochs[2:]]),
        as_recordings(view),
        pickle.loads(pickle.dumps(view)),
        on_disk,
        [on_disk[i] for i in range(7)],
        MEGSamples(on_disk),
        pickle.loads(pickle.dumps(MEGSamples(on_disk))),
    ]
    for way in ways:
        for batch_size in (1, 3, 64):
            _assert_same(rows_of(way, batch_size=batch_size), expected)


def test_subset_and_order(make_epochs, make_raw, rows_of):
    epochs, other, raw = make_epochs(6), make_epochs(4, seed=1), make_raw(4.0)
    view = MEGSamples([epochs, other, raw])
    whole = rows_of(view)[0]
    order = np.random.default_rng(0).permutation(14)[:11]
    order = np.r_[order, order[0]]  # a row twice
    data, row, *_ = rows_of(view[order])
    np.testing.assert_array_equal(row, np.arange(12))
    np.testing.assert_array_equal(data, whole[order])
    packed = pickle.loads(pickle.dumps(view[order]))
    np.testing.assert_array_equal(rows_of(packed)[0], whole[order])


@pytest.mark.parametrize("sfreq", [250.0, 1000.0, 600.615])
def test_raw_rows_do_not_depend_on_others(make_raw, rows_of, tmp_path, sfreq):
    raw = make_raw(12.0, sfreq)
    raw.save(tmp_path / "test_raw.fif", fmt="double", verbose=False)
    on_disk = mne.io.read_raw_fif(tmp_path / "test_raw.fif", verbose=False)
    assert not on_disk.preload
    data = rows_of(raw)[0]
    assert data.shape == (12, 6, 250)
    for view in (MEGSamples(raw), MEGSamples(on_disk)):
        np.testing.assert_array_equal(rows_of(view)[0], data)
        for row in (0, 5, 11):
            np.testing.assert_array_equal(rows_of(view[row])[0], data[row : row + 1])
        np.testing.assert_array_equal(rows_of(view[::-2])[0], data[::-2])


def test_blocks_of_reading_do_not_show(make_raw, make_epochs, rows_of, monkeypatch):
    raw, epochs = make_raw(12.0, 1000.0), make_epochs(12, 400, 1000.0)
    expected = rows_of(raw), rows_of(epochs)
    monkeypatch.setattr("mne_megfm.inputs.reading._BLOCK_BYTES", 8 * 8 * 2300)
    _assert_same(rows_of(raw), expected[0])
    _assert_same(rows_of(epochs), expected[1])


def test_values(make_epochs, project):
    """At the model's own rate a window is one matrix product."""
    epochs = make_epochs(3, 250, extra=["eeg", "stim"])
    epochs.info["bads"] = ["MEG 005"]
    matrix, names = project(as_recordings(epochs)[0])
    assert names == [f"MEG {i:03d}" for i in (0, 1, 2, 3, 4, 6, 7)]
    expected = matrix @ epochs.get_data(picks=names)
    (block,) = iter_windows(epochs, project)
    assert block.data.dtype == np.float32 and len(block) == 3
    np.testing.assert_allclose(block.data, expected, rtol=1e-6, atol=1e-20)


def test_channel_order_of_the_projection(make_epochs, project, rows_of):
    def reverse(recording):
        matrix, names = project(recording)
        return matrix[:, ::-1], names[::-1]

    def fewer(recording):
        matrix, names = project(recording)
        return matrix[:, 2:], names[2:]

    epochs = make_epochs(3)
    np.testing.assert_allclose(
        rows_of(epochs, reverse)[0], rows_of(epochs)[0], rtol=1e-5, atol=1e-17
    )
    epochs.info["bads"] = epochs.ch_names[:2]
    expected = rows_of(epochs)[0]
    epochs.info["bads"] = []
    np.testing.assert_array_equal(rows_of(epochs, fewer)[0], expected)


def test_flat_channels_count_as_bad(make_epochs, rows_of, project):
    epochs = make_epochs(5)
    epochs.info["bads"] = ["MEG 001", "MEG 004"]
    expected = rows_of(epochs)[0]
    epochs.info["bads"] = ["MEG 001"]
    epochs._data[:, 4] = 5e-12 * np.arange(5)[:, np.newaxis]
    with mne.utils.catch_logging(verbose="INFO") as log:
        recordings = as_recordings(epochs)
    said = log.getvalue()
    assert "Ignored" in said and said.count("MEG 004") == 1
    seen = []

    def remember(recording):
        seen.append((recording.left_out, recording.info["bads"]))
        return project(recording)

    with mne.utils.catch_logging(verbose="INFO") as log:
        np.testing.assert_array_equal(rows_of(recordings, remember)[0], expected)
    assert "MEG 004" not in log.getvalue()  # said once of these recordings
    assert seen == [(("MEG 004",), ["MEG 001", "MEG 004"])]  # one map for all rows
    assert epochs.info["bads"] == ["MEG 001"]  # the user's info is left alone


@pytest.mark.parametrize("n_times", [7, 25, 100, 249, 250])
def test_short_epochs(make_epochs, rows_of, n_times):
    epochs = make_epochs(2, n_times)
    data, _, start, n_valid = rows_of(epochs)
    assert data.shape == (2, 6, 250)
    np.testing.assert_array_equal(start, 0)
    np.testing.assert_array_equal(n_valid, n_times)
    assert not data[..., n_times:].any()
    assert data[..., :n_times].all()


@pytest.mark.parametrize(
    ("sfreq", "tmin", "tmax"),
    [
        (1000.0, -0.2, 0.8),
        (600.615, -0.2, 0.8),
        (678.17, -0.2, 0.8),
        (2034.5, -0.2, 0.8),
        (1200.0, -0.5, 0.5),
        (250.0, 0.0, 1.0),
        (100.0, -0.2, 0.8),
        (1000.0, 0.0, 0.999),
        (100.0, 0.0, 0.99),
    ],
)
def test_end_point_opens_no_window(make_raw, rows_of, sfreq, tmin, tmax):
    """Epochs of a second are one window, with or without their end point."""
    raw = make_raw(4.0, sfreq)
    events = np.array([[round(1.2 * sfreq), 0, 1], [round(2.6 * sfreq), 0, 1]])
    epochs = mne.Epochs(raw, events, tmin=tmin, tmax=tmax, baseline=None)
    data, row, _, n_valid = rows_of(epochs)
    np.testing.assert_array_equal(row, [0, 1])
    np.testing.assert_array_equal(n_valid, 250)


@pytest.mark.parametrize("n_times", [251, 252, 275, 276, 300, 499, 500, 620, 1003])
@pytest.mark.parametrize("overlap", [0, 5, 9])
def test_long_epochs_are_covered(make_epochs, pick_first, rows_of, n_times, overlap):
    epochs = make_epochs(2, n_times)
    data, row, start, n_valid = rows_of(epochs, pick_first, overlap=overlap)
    truth = epochs.get_data(picks=[0])[:, 0].astype(np.float32)
    kept = n_times - (n_times % 25 == 1)  # an end point beyond the last patch
    for number in (0, 1):
        mine = row == number
        starts = start[mine]
        assert starts[0] == 0 and starts[-1] == max(-(-kept // 25) - 10, 0)
        if len(starts) > 1:
            assert np.all(np.diff(starts) <= 10 - overlap)
            assert np.all(np.diff(starts)[:-1] == 10 - overlap)
        covered = np.zeros(kept, bool)
        for window, first, valid in zip(data[mine], starts, n_valid[mine], strict=True):
            span = slice(first * 25, first * 25 + valid)
            np.testing.assert_array_equal(window[0, :valid], truth[number, span])
            assert not window[0, valid:].any()
            covered[span] = True
        assert covered.all()


def test_window_starts_other_sizes():
    np.testing.assert_array_equal(window_starts(100, n_times=40, patch=10), [0, 4, 6])
    np.testing.assert_array_equal(
        window_starts(100, n_times=40, patch=10, overlap=3), np.arange(7)
    )


def test_long_raw_windows(make_raw, rows_of):
    raw = make_raw(10.0)
    data, row, start, _ = rows_of(raw)
    long = as_recordings(raw, duration=2.0)
    got = rows_of(long)
    np.testing.assert_array_equal(got[1], np.repeat(np.arange(5), 2))
    np.testing.assert_array_equal(got[2], np.tile([0, 10], 5))
    np.testing.assert_array_equal(got[0], data)


def test_evoked(make_epochs, rows_of):
    epochs = make_epochs(4)
    average = mne.EpochsArray(epochs.average().data[np.newaxis], epochs.info)
    np.testing.assert_array_equal(rows_of(epochs.average())[0], rows_of(average)[0])


def test_mixed_list(make_epochs, make_raw, rows_of):
    epochs, raw = make_epochs(3, 100, 200.0), make_raw(3.5, 1000.0, n_mag=5)
    evoked = make_epochs(2, 600).average()
    data, row, start, n_valid = rows_of([epochs, raw, evoked], batch_size=2)
    np.testing.assert_array_equal(row, [0, 1, 2, 3, 4, 5, 6, 6, 6])
    np.testing.assert_array_equal(start, [0] * 7 + [10, 14])
    np.testing.assert_array_equal(n_valid, [125] * 3 + [250] * 6)
    np.testing.assert_array_equal(data[3:6], rows_of(raw)[0])
    np.testing.assert_array_equal(data[6:], rows_of(evoked)[0])


def test_bad_spans_do_not_ring_into_neighbours(make_raw, rows_of):
    """A jump that is annotated leaves the rows beside it as they were."""
    clean = make_raw(5.0, 1000.0)
    clean.set_annotations(mne.Annotations(2.0, 1.0, "BAD jump"))
    raw = clean.copy()
    raw._data[:, 2000:3000] += 1e-9
    data, row, *_ = rows_of(raw)
    assert len(data) == 4
    np.testing.assert_array_equal(data, rows_of(clean)[0])


def test_overlapping_rows_in_any_order(make_raw, rows_of):
    """Rows that begin within each other's context, beside a BAD span."""
    raw = make_raw(3.0, 1000.0)
    raw.set_annotations(mne.Annotations(1.0, 0.005, "BAD"))
    view = MEGSamples(raw, duration=0.5, overlap=0.495)
    data = rows_of(view)[0]
    order = np.random.default_rng(0).permutation(len(view))
    np.testing.assert_array_equal(rows_of(view[order])[0], data[order])
    np.testing.assert_array_equal(rows_of(view[::-1])[0], data[::-1])
    single = [rows_of(view[row])[0][0] for row in range(95, 110)]
    np.testing.assert_array_equal(single, data[95:110])


def test_nan_beside_a_row(make_raw, rows_of):
    raw = make_raw(4.0, 1000.0)
    raw._data[3, 2003] = np.nan
    view = MEGSamples(raw)
    assert np.isfinite(rows_of(view[0])[0]).all()
    with pytest.raises(ValueError, match="just before or after row 0, .* as BAD"):
        rows_of(view[1])
    raw.set_annotations(mne.Annotations(2.0, 0.01, "BAD"))
    assert np.isfinite(rows_of(MEGSamples(raw)[1])[0]).all()


def test_block_sizes(make_epochs, project):
    blocks = list(iter_windows([make_epochs(5), make_epochs(6)], project, batch_size=4))
    assert [len(block) for block in blocks] == [4, 4, 3]
    assert not np.shares_memory(blocks[0].data, blocks[1].data)


def test_low_rate_warns(make_raw, rows_of):
    with pytest.warns(RuntimeWarning, match="50 Hz, so nothing is known above 25 Hz"):
        data = rows_of(make_raw(3.0, 50.0))[0]
    assert data.shape == (3, 6, 250)


def test_takes_anything(make_epochs, project):
    epochs = make_epochs(2)
    assert isinstance(as_recordings(epochs), Recordings)
    one, other = (
        next(iter_windows(X, project)).data for X in (epochs, as_recordings(epochs))
    )
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"n_times": 260}, r"multiple of patch \(25\), got 260; 250 would do"),
        ({"n_times": 2.5}, "n_times to be an integer of at least 1"),
        ({"patch": 0}, "patch to be an integer of at least 1"),
        ({"overlap": 10}, "less than the 10 patches of a window"),
        ({"overlap": 0.5}, "overlap to be an integer of at least 0"),
        ({"batch_size": 0}, "batch_size to be an integer"),
        ({"sfreq": 0}, "sfreq to be a positive rate"),
        ({"sfreq": None}, "sfreq to be a positive rate"),
    ],
)
def test_parameters(make_epochs, project, kwargs, match):
    with pytest.raises(ValueError, match=match):
        iter_windows(make_epochs(2), project, **kwargs)  # at once, not on first use


def test_real_recordings(data_dir, rows_of, project):
    """Recordings of several systems, as they are, on disk."""
    for name, n_rows, n_valid in (
        ("vectorview306-audvis-prestim_raw.fif", 2, 250),
        ("kit157-auditory_raw.fif", 5, 250),
        ("4d248-solaris_raw.fif", 1, 250),
        ("ctf274_raw.fif", 1, 125),
    ):
        raw = mne.io.read_raw_fif(data_dir / name, verbose=False)
        data, row, _, valid = rows_of(raw)
        np.testing.assert_array_equal(row, np.arange(n_rows))
        np.testing.assert_array_equal(valid, n_valid)
        assert np.isfinite(data).all() and data.any()
        good = mne.pick_types(raw.info, meg=True, ref_meg=False)
        picked = np.array(raw.ch_names)[good]
        assert project(as_recordings(raw)[0])[1] == picked.tolist()
    evoked = mne.read_evokeds(
        data_dir / "vectorview306-left-auditory-right-visual-ave.fif", verbose=False
    )
    recordings = as_recordings(evoked)
    np.testing.assert_array_equal(recordings.states, ["Left Auditory", "Right visual"])
    assert len(rows_of(recordings)[0]) == 2


def test_rows_of_one_sample(make_epochs, rows_of):
    """Without their mean nothing is left of them."""
    epochs = make_epochs().crop(0.0, 0.0)
    assert len(epochs.times) == 1
    with (
        pytest.warns(RuntimeWarning, match="far below the noise"),
        pytest.raises(ValueError, match="two samples or more, got 1 in row 0"),
    ):
        rows_of(epochs)
