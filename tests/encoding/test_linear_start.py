"""The closed-form start against closed forms of others."""

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial import ConvexHull

from mne_megfm.encoding import LatentSourceEncoder


@pytest.fixture(scope="module")
def globe():
    """A sphere of 5 cm as a source space, with points on a golden spiral."""
    n = 2000
    z = 1 - (2 * np.arange(n) + 1) / n
    angle = np.arange(n) * np.pi * (3 - np.sqrt(5))
    r = np.sqrt(1 - z**2)
    points = np.c_[r * np.cos(angle), r * np.sin(angle), z]
    return {
        "type": "surf",
        "rr": 0.05 * points,
        "tris": ConvexHull(points).simplices,
        "vertno": np.arange(n),
    }


@pytest.mark.parametrize("degree", [1, 2, 4])
def test_smoothing_is_a_matern_field_on_a_sphere(globe, degree):
    """Spherical harmonics are eigenfunctions: l (l + 1) / r^2 of the Laplacian."""
    from mne_megfm.encoding._source_space import smoothing

    extent = 0.01
    harmonic = np.polynomial.Legendre.basis(degree)(globe["rr"][:, 2] / 0.05)
    found = harmonic @ (smoothing([globe], extent) @ harmonic) / (harmonic @ harmonic)
    expected = 1 + extent**2 * degree * (degree + 1) / 0.05**2
    assert found - 1 == pytest.approx(expected - 1, rel=0.1)


def test_no_extent_leaves_sources_independent(globe):
    from mne_megfm.encoding._source_space import smoothing

    left = smoothing([globe], 0.0) - sparse.eye_array(2000)
    assert np.abs(left).max() == 0


@pytest.mark.parametrize("strength", [1.2, 2.0, 5.0])
def test_shrinkage_is_that_of_a_known_spike(strength):
    """The best weight of a spike is its strength times two cosines.

    Benaych-Georges and Nadakuditi (2012, J Multivar Anal 111:120-135): where singular
    values and vectors of a spike in noise end up.
    """
    from mne_megfm.encoding._linear_start import _shrinkage

    n, m = 300, 600
    beta = n / m
    where = np.sqrt((1 + strength**2) * (beta + strength**2)) / strength
    left = (strength**4 - beta) / (strength**4 + beta * strength**2)
    right = (strength**4 - beta) / (strength**4 + strength**2)
    found = where * _shrinkage(np.array([np.sqrt(m) * where]), n, m)[0]
    assert found == pytest.approx(strength * np.sqrt(left * right), rel=1e-6)


def test_extended_areas_are_found_nearer(experiment, training, held_out):
    """Areas reach over 8 mm, so a prior of smooth patches is nearer to the truth."""
    truth = experiment.sources("story3").data.std(axis=1)
    alike = []
    for extent in (0.0, 0.006):
        encoder = LatentSourceEncoder(
            modalities=("meg",), n_layers=0, n_epochs=0, extent=extent
        ).fit(*training)
        power = encoder.estimate_sources(held_out[0])["story3"].data.std(axis=1)
        alike.append(power @ truth / np.linalg.norm(power) / np.linalg.norm(truth))
    assert alike[1] > alike[0] + 0.05
