"""The haemodynamic head against nilearn, and images at the sources."""

import numpy as np
import pytest
import torch

from mne_megfm.models import (
    LatentSourceConfig,
    LatentSourceNetwork,
    bold,
    convolve_at,
)


def _network(n_components=3, n_sources=5, n_orientations=1):
    sizes = LatentSourceConfig(
        2, 2, 4, n_components, n_sources, n_orientations, n_layers=0
    )
    network = LatentSourceNetwork(sizes).double()
    torch.manual_seed(0)
    torch.nn.init.normal_(network.maps)
    return network


def test_convolution_at_some_samples_is_that_of_numpy(rng):
    series, kernels = rng.standard_normal((200, 3)), rng.standard_normal((2, 40))
    at = np.r_[0, 5, 39, 40, 150, 199, 230]
    out = convolve_at(*(torch.as_tensor(x) for x in (series, kernels, at)))
    full = np.array([[np.convolve(s, k) for s in series.T] for k in kernels])
    np.testing.assert_allclose(out, np.moveaxis(full, 1, 2)[:, at], atol=1e-12)


@pytest.mark.parametrize("n_orientations", [1, 3])
@pytest.mark.parametrize("response", ["power", "amplitude"])
def test_bold_is_convolved_power(rng, n_orientations, response):
    network = _network(n_orientations=n_orientations)
    z, kernel = rng.standard_normal((300, 3)), rng.standard_normal((1, 50))
    at = np.arange(0, 300, 20)
    sources = z @ network.maps.detach().numpy().T
    power = (sources.reshape(300, 5, n_orientations) ** 2).sum(axis=2)
    if response == "amplitude":
        power = np.sqrt(power + 1e-8)
    expected = np.array([np.convolve(p, kernel[0])[at] for p in power.T]).T
    given = bold(network, *(torch.as_tensor(x) for x in (z, kernel, at)), response)
    np.testing.assert_allclose(given[0].detach(), expected, atol=1e-9)


def test_basis_is_nilearns():
    pytest.importorskip("nilearn", reason="the haemodynamic response is nilearn's")
    from nilearn.glm.first_level import compute_regressor
    from nilearn.glm.first_level.hemodynamic_models import orthogonalize

    from mne_megfm.encoding._hemodynamics import hrf_basis, scan_samples

    sfreq, tr = 50.0, 2.0
    basis = hrf_basis(sfreq)
    assert basis.shape == (3, 1600) and basis[0].sum() == pytest.approx(1.0)
    # blocks of power, at the oversampling of nilearn that has the rate of the stimulus
    onsets, duration = np.array([10.0, 40.0, 70.0]), 5.0
    power = np.zeros(6000)
    for onset in onsets:
        power[int(onset * sfreq) : int((onset + duration) * sfreq)] = 1.0
    at = scan_samples(60, tr, 0.0, sfreq)
    given = convolve_at(*(torch.as_tensor(x) for x in (power[:, None], basis, at)))
    expected, _ = compute_regressor(
        (onsets, np.full(3, duration), np.ones(3)),
        "glover + derivative + dispersion",
        np.arange(60) * tr,
        oversampling=int(tr * sfreq),
    )
    # nilearn makes derivatives orthogonal to the response
    given = orthogonalize(given[:, :, 0].numpy().T)
    for mine, theirs in zip(given.T, expected.T, strict=True):
        assert np.corrcoef(mine, theirs)[0, 1] > 0.999
        assert np.std(mine) == pytest.approx(np.std(theirs), rel=0.03)


def test_fmri_of_a_person_is_in_their_units_and_at_their_scans(joint, held_out):
    x = held_out[0]["story3"]
    whole = joint.predict(x, "P1", modality="fmri", tr=0.5)
    some = joint.predict(x, "P1", modality="fmri", fmri_start=4.0, n_scans=10)
    np.testing.assert_allclose(some, whole[8:48:4], rtol=1e-6, atol=1e-9)


def test_delay_of_a_person_is_found(training):
    """Scans 1 s later have a longer delay."""
    pytest.importorskip("nilearn", reason="fMRI needs nilearn")
    from mne_megfm.encoding import LatentSourceEncoder

    person = training[1]["P1"]
    delays = []
    for start in (0.0, 1.0):  # the same scans are said to be taken later
        given = {**person, "fmri_start": start}
        encoder = LatentSourceEncoder(n_layers=0, n_epochs=0)
        encoder.fit(training[0], {"P1": given})
        delays.append(encoder.hrf_delays()["P1"])
    assert 0.5 < delays[1] - delays[0] < 1.5


def test_surface_images_are_sampled_at_the_vertices(training, experiment):
    pytest.importorskip("nilearn", reason="images are nilearn's")
    from nilearn.surface import InMemoryMesh, PolyMesh, SurfaceImage

    from mne_megfm.encoding._hemodynamics import sample_image

    src = experiment.src
    scans = training[1]["P1"]["fmri"]["story1"][0]
    parts, first = {}, 0
    for side, s in zip(("left", "right"), src, strict=True):
        full = np.zeros((s["np"], len(scans)))
        full[s["vertno"]] = scans[:, first : first + s["nuse"]].T
        first += s["nuse"]
        parts[side] = full
    mesh = PolyMesh(
        **{
            side: InMemoryMesh(s["rr"], s["tris"])
            for side, s in zip(("left", "right"), src, strict=True)
        }
    )
    image = SurfaceImage(mesh, parts)
    np.testing.assert_allclose(sample_image(image, src, 2.0, "P1"), scans)


def test_volume_images_are_sampled_at_the_vertices(experiment):
    pytest.importorskip("nilearn", reason="images are nilearn's")
    import nibabel

    from mne_megfm.encoding._hemodynamics import sample_image

    # values that say where they are: x, y and z in three scans
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = (-90.0, -126.0, -72.0)
    grid = np.moveaxis(np.indices((46, 55, 46)), 0, -1)
    data = grid @ affine[:3, :3].T + affine[:3, 3]
    image = nibabel.Nifti1Image(data, affine)
    image.header.set_zooms((4.0, 4.0, 4.0, 2.0))
    found = sample_image(image, experiment.src, 2.0, "P1")
    away = np.linalg.norm(found.T - 1e3 * experiment.positions(), axis=1)
    assert np.median(away) < 3.0 and away.max() < 8.0
    with pytest.raises(ValueError, match="tr of P1 as in the image"):
        sample_image(image, experiment.src, 1.0, "P1")
