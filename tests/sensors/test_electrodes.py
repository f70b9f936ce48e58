"""Electrodes beside the canonical array: nearest by the angle at the centre."""

import mne
import numpy as np
import pytest

from mne_megfm.sensors import (
    canonical_array,
    electrode_names,
    nearest_electrodes,
    nearest_sensors,
)


@pytest.fixture(scope="module")
def directions():
    """Return directions of electrodes as MNE puts them on a head, by name."""
    montage = mne.channels.make_standard_montage("colin27_1005")
    info = mne.create_info(montage.ch_names, 100.0, "eeg").set_montage(montage)
    pos = np.array([ch["loc"][:3] for ch in info["chs"]]) - canonical_array().origin
    pos /= np.linalg.norm(pos, axis=1, keepdims=True)
    names = [name.upper() for name in montage.ch_names]
    return dict(zip(names, pos, strict=True))


def _apart(names, directions):
    """Angles from chords: 2 asin(chord / 2)."""
    array = canonical_array()
    sensors = (array.pos - array.origin) / array.radius
    chords = [np.linalg.norm(sensors - directions[name], axis=1) for name in names]
    return 2.0 * np.arcsin(np.array(chords).T / 2.0)


@pytest.mark.parametrize("names", [None, ["Fpz", "oz", "T7", "T8", "Cz"]])
def test_nearest_is_of_the_smallest_angle(names, directions):
    found, pos, angle = nearest_electrodes(names)
    wanted = electrode_names() if names is None else [name.upper() for name in names]
    apart = _apart(wanted, directions)
    assert found == [wanted[i] for i in apart.argmin(1)]
    np.testing.assert_allclose(angle, apart.min(1), atol=1e-7)
    place = mne.channels.make_standard_montage("colin27_1005").get_positions()["ch_pos"]
    place = {name.upper(): value for name, value in place.items()}
    np.testing.assert_array_equal(pos, [place[name] for name in found])
    # the array and the electrodes cover the same head
    assert names is not None or np.degrees(np.median(angle)) < 5.0


def test_sensors_of_electrodes(directions):
    names = ["Cz", "Oz", "T7", "T8", "Fpz"]
    found = nearest_sensors(names)
    expected = _apart([name.upper() for name in names], directions).argmin(0)
    assert found.tolist() == expected.tolist()
    x, y, z = canonical_array().pos[found].T
    assert z.argmax() == 0 and y.argmin() == 1 and y.argmax() == 4
    assert x.argmin() == 2 and x.argmax() == 3


def test_references_and_second_names_are_left_out():
    assert not {"T3", "T4", "T5", "T6", "A1", "A2", "M1", "M2"} & set(electrode_names())
    for names in (["Cz", "T3"], ["FP1-F7"], []):
        with pytest.raises(ValueError, match="Expected names of electrodes of the"):
            nearest_sensors(names)
