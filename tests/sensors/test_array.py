"""The canonical array and its kernel."""

import mne
import numpy as np
import pytest

from mne_megfm.sensors import canonical_array, canonical_kernel


def test_geometry():
    """Sensors cover the cap of a sphere evenly and look outward."""
    array = canonical_array()
    assert array.n_sensors == len(array.ch_names) == 192
    offset = array.pos - array.origin
    np.testing.assert_allclose(array.origin, [0, 0, 0.04])
    np.testing.assert_allclose(np.linalg.norm(offset, axis=1), 0.12)
    np.testing.assert_allclose(offset / 0.12, array.ori, atol=1e-12)
    assert offset[:, 2].min() > -0.35 * 0.12
    distance = np.linalg.norm(array.pos[:, None] - array.pos[None], axis=-1)
    nearest = np.sort(distance, axis=1)[:, 1]
    assert 0.015 < nearest.min() and nearest.max() < 0.03


def test_regions():
    """Regions are of eight neighbours each, and sensors are sorted by region."""
    array = canonical_array()
    assert array.n_regions == 24
    np.testing.assert_array_equal(array.region, np.repeat(np.arange(24), 8))
    np.testing.assert_allclose(
        np.linalg.norm(array.region_pos - array.origin, axis=1), 0.12
    )
    members = array.pos.reshape(24, 8, 3)
    reach = np.linalg.norm(members - array.region_pos[:, None], axis=-1)
    assert reach.max() < 0.055  # about 3 cm patches
    cost = np.linalg.norm(array.pos[:, None] - array.region_pos[None], axis=-1)
    assert (cost.argmin(1) == array.region).mean() > 0.75


def test_same_object_and_read_only():
    """The array is made once and cannot be changed by mistake."""
    array = canonical_array()
    assert canonical_array() is array
    with pytest.raises(ValueError, match="read-only"):
        array.pos[0] = 0
    with pytest.raises(AttributeError):
        array.radius = 1.0


def test_info(tmp_path):
    """MNE takes the info for drawing, writing and forward models."""
    array = canonical_array()
    info = array.info(250.0)
    assert info["sfreq"] == 250.0 and info["ch_names"] == array.ch_names
    np.testing.assert_array_equal(info["dev_head_t"]["trans"], np.eye(4))
    axes = np.array([ch["loc"][3:].reshape(3, 3) for ch in info["chs"]])
    np.testing.assert_allclose(axes[:, 2], array.ori)
    np.testing.assert_allclose(
        axes @ axes.transpose(0, 2, 1), np.tile(np.eye(3), (192, 1, 1)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(axes), 1)
    mne.viz.plot_topomap(array.pos[:, 2], info, show=False)
    evoked = mne.EvokedArray(np.ones((192, 5)), info)
    evoked.save(tmp_path / "v-ave.fif")
    again = mne.read_evokeds(tmp_path / "v-ave.fif")[0].info
    np.testing.assert_allclose(
        [ch["loc"][:3] for ch in again["chs"]], array.pos, atol=1e-7
    )


def test_kernel(physics, rng):
    """The kernel interpolates the field of unseen dipoles from half the sensors."""
    kernel, array = canonical_kernel(), canonical_array()
    assert canonical_kernel() is kernel
    np.testing.assert_allclose(kernel, kernel.T)
    np.testing.assert_allclose(kernel.diagonal().mean(), 1)
    assert np.linalg.eigvalsh(kernel).min() > -1e-12
    field = physics.point_field(array.pos, array.ori, physics.make_dipoles(rng))
    v, h = np.split(rng.permutation(192), 2)
    gram = kernel[np.ix_(v, v)] + 1e-4 * np.eye(96)
    filled = kernel[np.ix_(h, v)] @ np.linalg.solve(gram, field[v])
    assert np.median(physics.correlation(filled, field[h])) > 0.999
