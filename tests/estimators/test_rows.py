"""What a row is: epochs, windows, averages, participants."""

import mne
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from mne_megfm import MEGFMTransformer

from .test_mne_checks import CLOSE, raw


def test_unit_is_settled_by_fit(small, epochs, participants):
    single = [epochs[i] for i in range(3)]
    for X, unit in (
        (epochs, "epoch"),
        (single, "epoch"),
        ([epochs.average(), epochs.average()], "epoch"),
        (participants, "participant"),
        ([epochs, epochs[0]], "participant"),
    ):
        assert small.fit(X).sample_ == unit
    assert small.set_params(sample="participant").fit(single).sample_ == "participant"


def test_windows_of_raw_are_epochs_of_raw(small, epochs):
    continuous = raw(epochs)
    windows = mne.make_fixed_length_epochs(continuous, 1.0, preload=True)
    features = small.fit(continuous).transform(continuous)
    assert features.shape[0] == len(windows)
    assert_allclose(small.transform(windows), features, **CLOSE)


def test_long_epochs_keep_their_time(small, epochs):
    """A response moved by a window's length moves in the features, too."""
    data = np.zeros((1, len(epochs.ch_names), 750))
    response = epochs.average().data
    early, late = data.copy(), data.copy()
    noise = np.random.default_rng(0).standard_normal(data.shape) * 1e-15
    early[0, :, :250] = late[0, :, 500:] = response
    features = small.fit(mne.EpochsArray(early + noise, epochs.info)).transform(
        mne.EpochsArray(early + noise, epochs.info)
    )
    other = small.transform(mne.EpochsArray(late + noise, epochs.info))
    assert small.n_patches_ == 30
    by_time = features[0, : 24 * 20 * 16].reshape(24, 20, 16)  # not denoised
    assert by_time[:, :5].std() != pytest.approx(by_time[:, -5:].std(), rel=0.05)
    assert not np.allclose(features, other)


def test_short_epochs_do_not_see_their_padding(small, epochs):
    short = epochs.copy().crop(tmax=epochs.times[149], include_tmax=True)
    features = small.fit(short).transform(short)
    assert small.n_patches_ == 10
    parts = np.split(features, 2, axis=1)  # as they are, and denoised
    by_time = np.stack([p[:, : 24 * 10 * 16].reshape(-1, 24, 10, 16) for p in parts])
    assert (by_time[..., 6:, :] == 0).all() and (by_time[..., :6, :] != 0).any()


def test_sampling_rate_does_not_matter(small, epochs):
    """Epochs at 1000 Hz give the features of the same signal at 250 Hz."""
    up = epochs.copy().resample(1000.0, method="polyphase")
    expected = small.fit(epochs).transform(epochs)
    found = small.transform(up)
    assert np.corrcoef(expected.ravel(), found.ravel())[0, 1] > 0.99


def test_other_length_than_fitted(small, epochs):
    small.fit(epochs)
    longer = mne.EpochsArray(np.tile(epochs.get_data(), (1, 1, 2)), epochs.info)
    with pytest.raises(
        ValueError, match=r"rows of 1 s from -0.2 to 0.8 s as in fit, got rows of 2 s"
    ):
        small.transform(longer)


def test_many_epoch_elements_after_epochs(small, epochs, participants):
    small.fit(epochs)
    with pytest.raises(ValueError, match="sample='participant'"):
        small.transform(participants)


def test_participants(small, participants, tmp_path):
    small.set_params(aggregation="mean_std")
    features = small.fit(participants).transform(participants)
    names = small.get_feature_names_out()
    assert features.shape == (len(participants), len(names))
    assert len(set(names)) == len(names)
    assert small.states_ == ["auditory", "rest"]
    assert_array_equal(small.fit_transform(participants), features)
    # means and spreads are those of the rows
    where = small.save_pretrained(tmp_path)
    same = MEGFMTransformer(weights=where, sensor_mapping="canonical")
    rows = same.fit_transform(participants[1]["rest"])
    chosen = np.char.startswith(names.astype(str), "rest_mean")
    assert_allclose(features[1, chosen], rows.mean(0), rtol=1e-4, atol=1e-5)
    chosen = np.char.startswith(names.astype(str), "rest_spread")
    assert_allclose(features[1, chosen], rows.std(0), rtol=1e-3, atol=1e-5)


def test_participants_come_out_the_same_in_any_company(small, participants):
    features = small.fit(participants).transform(participants)
    assert_allclose(small.transform(participants[2:3])[0], features[2], **CLOSE)
    assert_allclose(small.transform(participants[::-1]), features[::-1], **CLOSE)


def test_missing_state(small, participants):
    small.set_params(aggregation="mean_std")
    features = small.fit(participants).transform(participants)
    lacking = [participants[0], {"rest": participants[1]["rest"]}]
    with pytest.warns(RuntimeWarning, match="1 recordings are missing"):
        found = small.transform(lacking)
    names = small.get_feature_names_out().astype(str)
    assert_allclose(found[0], features[0], **CLOSE)
    gone = np.char.startswith(names, "auditory_")
    assert_allclose(found[1, ~gone], features[1, ~gone], **CLOSE)
    flag = names == "auditory_missing"
    assert found[1, flag] == 1 and found[0, flag] == 0
    of_group = features[:, gone & ~flag].mean(0)
    assert_allclose(found[1, gone & ~flag], of_group, rtol=1e-3, atol=1e-5)


def test_unknown_state(small, participants, epochs):
    small.fit(participants)
    with pytest.raises(ValueError, match=r"states of the training data.*'visual'"):
        small.transform([participants[0], {"visual": epochs}])


def test_cross_validation_of_participants(small, participants, cohort):
    pipeline = make_pipeline(small, LogisticRegression())
    scores = cross_val_score(
        pipeline, participants, cohort.labels, cv=2, error_score="raise"
    )
    assert scores.shape == (2,)


def test_real_recordings_of_four_systems(small, data_dir):
    rows = {
        "kit157-auditory_raw.fif": 5,
        "vectorview306-audvis-prestim_raw.fif": 2,
        "4d248-solaris_raw.fif": 1,
        "ctf274_raw.fif": 1,
    }
    for name, n_rows in rows.items():
        recording = mne.io.read_raw_fif(data_dir / name)
        features = small.fit(recording).transform(recording)
        assert features.shape == (n_rows, 7968)
        assert np.isfinite(features).all() and features.std() > 0
