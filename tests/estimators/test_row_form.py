"""Rows are as long as in fit, and begin at the same time from their event."""

import mne
import numpy as np
import pytest

from mne_megfm import MEGFMRegressor, MEGFMTransformer, MEGSamples

from .conftest import SMALL


@pytest.fixture
def other(cohort):
    """Auditory epochs of the second participant."""
    return cohort.epochs("auditory")[1]


@pytest.mark.parametrize(
    "change",
    [
        lambda epochs: epochs.crop(0.0, 0.5),
        lambda epochs: epochs.crop(0.1, 0.196),
        lambda epochs: epochs.crop(-0.2, 0.7),
        lambda epochs: epochs.shift_time(0.2),
        lambda epochs: epochs.shift_time(0.05),
        lambda epochs: epochs.crop(-0.1, 0.4).average(),
        lambda epochs: MEGSamples(epochs.crop(0.0, 0.5))[[2]],
        lambda epochs: [epochs.crop(0.0, 0.5)[0]],
    ],
)
def test_other_rows_than_in_fit_are_refused(small, epochs, other, change):
    small.fit(epochs)
    with pytest.raises(ValueError, match=r"rows of 1 s from -0.2 to 0.8 s as in fit"):
        small.transform(change(other.copy()))
    with pytest.raises(ValueError, match="as in fit"):
        small.fit(MEGSamples([epochs, change(other.copy())]))


def test_sampling_moves_neither_length_nor_start(small, epochs, other):
    """With the end point that MNE includes, at other rates, as an average."""
    small.fit(epochs)
    for rate in (125.0, 200.0, 300.0, 600.615, 1000.0):
        resampled = other.copy().resample(rate, verbose="error")
        assert small.transform(resampled).shape[0] == len(other)
    info = mne.pick_info(other.info, mne.pick_types(other.info, meg=True))
    data = 1e-13 * np.random.default_rng(0).standard_normal((2, info["nchan"], 251))
    with_end = mne.EpochsArray(data, info, tmin=-0.2, verbose="error")
    assert small.transform(with_end).shape[0] == 2
    assert small.transform(other.average()).shape[0] == 1


def test_windows_of_a_raw_have_no_event(small, epochs):
    raw = mne.io.RawArray(np.concatenate(epochs.get_data(), 1), epochs.info)
    small.fit(epochs)
    assert len(small.transform(raw)) == len(epochs)
    with pytest.raises(ValueError, match=r"rows of 0.5 s in row 0 \(raw\)"):
        small.set_params(duration=0.5).transform(raw)


def test_participants_by_statistics(participants):
    transformer = MEGFMTransformer(None, config=SMALL, aggregation="mean_std")
    transformer.fit(participants)
    changed = [dict(participants[0])]
    changed[0]["auditory"] = changed[0]["auditory"].copy().crop(0.0, 0.5)
    with pytest.raises(ValueError, match="in state 'auditory'"):
        transformer.transform(changed)
    with pytest.raises(ValueError, match="in state 'auditory'"):
        transformer.fit([participants[1], *changed])


def test_prediction_from_an_average_that_is_longer(cohort):
    """An average of 3 s after fit on 0.3 s: what is wrong, in seconds."""
    epochs = cohort.epochs("auditory")[0]
    short = epochs.copy().crop(-0.1, 0.196)
    model = MEGFMRegressor(weights=None, config=SMALL, random_state=0)
    model.fit(MEGSamples(short), np.arange(8.0))
    data = np.concatenate([epochs.average().data] * 3, 1)
    long = mne.EvokedArray(data, epochs.info, tmin=-0.2)
    with pytest.raises(ValueError, match="rows of 0.3 s from -0.1 to 0.2 s") as error:
        model.predict(long)
    assert "rows of 3 s from -0.2 to 2.8 s in row 0 (evoked)" in str(error.value)
