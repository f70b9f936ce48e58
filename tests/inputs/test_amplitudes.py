"""Units that cannot be right, and channels far above others."""

import mne
import numpy as np
import pytest

from mne_megfm import CanonicalSensors, MEGFMTransformer
from mne_megfm.inputs import MEGSamples, as_recordings
from mne_megfm.simulation import make_array_info

DATA = {
    "kit157-auditory_raw.fif",
    "vectorview306-audvis-prestim_raw.fif",
    "4d248-solaris_raw.fif",
    "ctf274_raw.fif",
}


@pytest.fixture
def make(rng):
    """Return a maker of epochs of smooth fields and sensor noise on a real array."""
    from mne_megfm.sensors import canonical_array

    def make(array="ctf151", n_epochs=3, sfreq=250.0):
        info = make_array_info(array, sfreq=sfreq)
        n = round(sfreq)
        canonical = canonical_array().info(sfreq)
        source = mne.filter.filter_data(
            rng.standard_normal((n_epochs, 192, n)), sfreq, 4, 12, verbose="error"
        )
        fields = mne.EpochsArray(2e-13 * source, canonical, verbose="error")
        data = CanonicalSensors().inverse_transform(fields.get_data(), info)
        planar = mne.pick_types(info, meg="planar1").tolist()
        planar += mne.pick_types(info, meg="planar2").tolist()
        noise = np.full((len(info["ch_names"]), 1), 2e-14)
        noise[planar] = 5e-13
        data = data + noise * rng.standard_normal(data.shape)
        return mne.EpochsArray(data, info, tmin=-0.2, verbose="error")

    return make


@pytest.mark.parametrize("array", ["ctf151", "neuromag306", "opm64", "4d248"])
@pytest.mark.parametrize("factor", [30.0, 100.0, 1e4, 0.03, 1e-3, 1e-5])
def test_a_channel_far_from_the_rest_is_a_bad_channel(make, array, factor):
    """Rows are those of the same recording with the channel marked as bad."""
    epochs = make(array)
    name = epochs.ch_names[17]
    good = epochs.copy()
    good.info["bads"] = [name]
    expected = CanonicalSensors().transform(good)
    epochs._data[:, 17] *= factor
    with pytest.warns(RuntimeWarning, match=f"5 times as strong.*channel {name}$"):
        found = CanonicalSensors().transform(epochs)
    np.testing.assert_array_equal(found, expected)
    with pytest.warns(RuntimeWarning, match=name):
        raw = mne.io.RawArray(np.concatenate(epochs.get_data(), 1), epochs.info)
        found = CanonicalSensors().transform_inst(raw).get_data()
    np.testing.assert_allclose(found, np.concatenate(expected, 1), rtol=1e-9, atol=0)


@pytest.mark.parametrize("factor", [200.0, 0.005])
def test_several_channels_and_single_rows(make, factor):
    """Each row is judged by itself; neighbours of one another are found, too."""
    epochs = make()
    expected = epochs.copy()
    wrong = [epochs.ch_names[i] for i in (20, 21, 22, 90)]
    expected.info["bads"] = wrong
    epochs._data[1, [20, 21, 22, 90]] *= factor
    X = MEGSamples(epochs)
    with mne.utils.catch_logging(verbose="info") as log:  # of a few rows: no warning
        found = CanonicalSensors().transform(X)
    assert "channels " + ", ".join(wrong) in log.getvalue()
    np.testing.assert_array_equal(found[1], CanonicalSensors().transform(expected)[1])
    alone = CanonicalSensors().transform(X[[0, 2]])  # no warning
    np.testing.assert_array_equal(found[[0, 2]], alone)


@pytest.mark.parametrize("factor", [100.0, 1e4])
def test_many_channels_in_other_units_are_refused(make, rng, factor):
    """Neighbours, or anywhere."""
    for which in (np.arange(60), rng.choice(151, 60, replace=False)):
        epochs = make()
        epochs._data[:, which] *= factor
        with pytest.raises(ValueError, match=r"similar amplitude, got \d\d of 151"):
            as_recordings(epochs)


@pytest.mark.parametrize("kind", ["mag", "grad"])
def test_neighbours_that_are_weak_or_flat(make, kind):
    """Those beside them are neither too strong nor too weak."""
    epochs = make("neuromag306")
    picks = mne.pick_types(epochs.info, meg=kind)
    pos = np.array([epochs.info["chs"][pick]["loc"][:3] for pick in picks])
    near = picks[np.linalg.norm(pos - pos[40], axis=1).argsort(kind="stable")[:9]]
    expected = epochs.copy()
    expected.info["bads"] = [epochs.ch_names[pick] for pick in near]
    expected = CanonicalSensors().transform(expected)
    for weak, flat in ((near, []), (near[:4], near[4:])):
        wrong = epochs.copy()
        wrong._data[:, weak] *= 0.01
        wrong._data[:, flat] = 1e-12
        with pytest.warns(RuntimeWarning, match=wrong.ch_names[near[0]]):
            found = CanonicalSensors().transform(wrong)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("array", ["ctf151", "neuromag306", "opm64"])
def test_nodes_of_interference_are_no_weak_channels(array, rng):
    """A uniform field does not reach sensors across it; their noise is as usual."""
    info = make_array_info(array, sfreq=250.0)
    across = np.array([ch["loc"][9:12] for ch in info["chs"]]) @ rng.normal(size=(3, 8))
    size = np.where(np.array(info.get_channel_types()) == "grad", 5e-13, 2e-14)
    time = np.arange(250) / 250.0
    for number, direction in enumerate(across.T[:, :, None]):
        freq = (50.0, 16.7)[number % 2]
        noise = rng.standard_normal((len(size), 250))
        data = size[:, None] * (noise + 500 * direction * np.sin(6.28 * freq * time))
        as_recordings(mne.EpochsArray(data[None], info))  # no warning


def test_good_channels_are_not_left_out(make, data_dir):
    """On real recordings, only the channel that is marked as bad is found."""
    for name in sorted(DATA):
        raw = mne.io.read_raw_fif(data_dir / name, verbose="error")
        bads, raw.info["bads"] = raw.info["bads"], []
        if not bads:
            as_recordings(raw)
            continue
        with pytest.warns(RuntimeWarning, match=f"neighbours: channel {bads[0]}$"):
            as_recordings(raw)


@pytest.mark.parametrize("array", ["ctf151", "neuromag306", "opm64"])
def test_a_factor_of_1000_is_refused(make, array):
    epochs = make(array)
    as_recordings(epochs)
    epochs._data *= 1000.0
    with pytest.raises(ValueError, match="factor of 1000"):
        as_recordings(epochs)
    epochs._data *= 1e-6
    with pytest.raises(ValueError, match="tesla"):
        as_recordings(mne.EpochsArray(1e-3 * epochs.get_data(), epochs.info))


def test_offsets_and_interference_are_no_other_unit(make, rng):
    """What unfiltered recordings have: offsets, the mains, railways."""
    epochs = make()
    time = np.arange(250) / 250.0
    room = rng.standard_normal((151, 1))
    for extra in (
        1e-9 * room,
        1e-10 * room * np.sin(2 * np.pi * 50.0 * time),
        5e-11 * room * np.sin(2 * np.pi * 16.7 * time),
    ):
        noisy = mne.EpochsArray(epochs.get_data() + extra, epochs.info)
        as_recordings(noisy)


@pytest.mark.parametrize("array", ["ctf151", "neuromag306"])
@pytest.mark.parametrize("shape", ["ramp", "parabola", "slow wave"])
def test_drifts_within_rows(make, array, shape, rng):
    """A warning says what to do, and doing it mends it."""
    epochs = make(array)
    as_recordings(epochs)  # no warning
    time = np.linspace(0, 1, 250)
    course = {
        "ramp": time,
        "parabola": 4 * time * (1 - time),
        "slow wave": np.sin(2 * np.pi * 0.3 * time),
    }[shape]
    strength = rng.standard_normal((3, len(epochs.ch_names), 1))
    planar = mne.pick_types(epochs.info, meg="grad")
    strength[:, planar] /= 0.0168
    drifting = epochs.copy()
    drifting._data += 1e-11 * strength * course
    with pytest.warns(RuntimeWarning, match="Drifts within rows.*detrend=1"):
        as_recordings(drifting)
    # magnetometers alone
    drifting._data[:, planar] = epochs.get_data()[:, planar]
    with pytest.warns(RuntimeWarning, match="Drifts within rows"):
        as_recordings(drifting)
    if shape == "ramp":
        drifting._data = mne.filter.detrend(drifting.get_data(), 1)
        as_recordings(drifting)  # no warning


@pytest.mark.parametrize("highpass", [0.1, 1.0])
def test_filtered_recordings_do_not_drift(make, data_dir, highpass):
    """Neither slow waves as strong as all else, nor rhythms of the room, warn."""
    epochs = make()
    data, time = epochs.get_data(), np.arange(250) / 250.0
    size = data.std(axis=2, keepdims=True)
    for freq, times in ((1.0, 1.0), (1.7, 1.0), (16.7, 100.0), (50.3, 1000.0)):
        wave = times * np.sqrt(2) * size * np.sin(2 * np.pi * freq * time)
        as_recordings(mne.EpochsArray(data + wave, epochs.info))
    for name in sorted(DATA):
        raw = mne.io.read_raw_fif(data_dir / name, preload=True, verbose="error")
        raw.filter(highpass, None, verbose="error", method="iir")
        for duration in (0.3, 0.5, 1.0):
            as_recordings(raw, duration=duration)


def test_a_channel_that_drifts_alone(make):
    """It is a bad channel, as one that is noisy."""
    epochs = make()
    good = epochs.copy()
    good.info["bads"] = [good.ch_names[17]]
    expected = CanonicalSensors().transform(good)
    epochs._data[:, 17] += 1e-11 * np.linspace(0, 1, 250)
    with pytest.warns(RuntimeWarning, match=f"neighbours: channel {good.ch_names[17]}"):
        found = CanonicalSensors().transform(epochs)
    np.testing.assert_array_equal(found, expected)


def test_signals_below_the_noise_of_sensors(make):
    epochs = make()
    epochs._data *= 1e-3
    with pytest.warns(RuntimeWarning, match="far below the noise of any sensor"):
        as_recordings(epochs)


def test_gradiometers_in_other_units(make):
    epochs = make("neuromag306")
    as_recordings(epochs)  # no warning
    planar = mne.pick_types(epochs.info, meg="grad")
    weak = epochs.copy()
    weak._data[:, planar] /= 100.0
    with pytest.warns(RuntimeWarning, match="T/cm instead of T/m"):
        as_recordings(weak)
    weak = epochs.copy()
    weak._data[:, mne.pick_types(epochs.info, meg="mag")] /= 1000.0
    with pytest.warns(RuntimeWarning, match="magnetometers may be in"):
        as_recordings(weak)


@pytest.mark.parametrize("offset", [1e-12, 1e-11, 1e-9])
def test_offsets_change_no_feature(make, rng, offset):
    """A constant at each channel of an unfiltered recording is no signal."""
    epochs = make()
    transformer = MEGFMTransformer().fit(epochs)
    features = transformer.transform(epochs)
    epochs._data += offset * rng.standard_normal((151, 1))
    np.testing.assert_allclose(transformer.transform(epochs), features, atol=1e-3)
    # and of long rows, too
    long = mne.EpochsArray(np.concatenate([epochs.get_data()] * 2, 2), epochs.info)
    moved = mne.EpochsArray(
        long.get_data() + offset * rng.standard_normal((151, 1)), epochs.info
    )
    transformer.fit(long)
    np.testing.assert_allclose(
        transformer.transform(moved), transformer.transform(long), atol=1e-3
    )
