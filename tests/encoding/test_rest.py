"""fMRI of regions at rest from features of MEG."""

import mne
import numpy as np
import pytest
import torch
from sklearn.base import clone

from mne_megfm.encoding import LatentSourceEncoder, region_powers
from mne_megfm.models import LatentSourceConfig, LatentSourceNetwork, bold
from mne_megfm.simulation import simulate_rest

SFREQ, TR, N_REGIONS, N_BANDS = 2.0, 2.0, 6, 3


@pytest.fixture(scope="module")
def glover():
    first_level = pytest.importorskip("nilearn.glm.first_level")
    return first_level.glover_hrf(1 / SFREQ, 1, 32.0)


@pytest.fixture(scope="module")
def planted(glover):
    """Four people whose regions follow their own features, through nilearn's HRF."""
    rng = np.random.default_rng(5)
    weights = np.zeros((N_REGIONS * N_BANDS, N_REGIONS))
    for r in range(N_REGIONS):
        weights[r * N_BANDS : (r + 1) * N_BANDS, r] = rng.choice([-1, 1], N_BANDS)
    features, clean, noisy = {}, {}, {}
    for i in range(4):
        x = rng.standard_normal((400, N_REGIONS * N_BANDS))
        slow = np.array([np.convolve(c, glover)[:400] for c in (x @ weights).T]).T
        features[f"P{i}"], clean[f"P{i}"] = x, slow[::4]
        noise = rng.standard_normal(slow[::4].shape)
        noisy[f"P{i}"] = slow[::4] + 2 * slow.std() * noise
    return features, clean, noisy


def _encoder(**parameters):
    parameters = {"lags": 0.5, "n_layers": 0, "n_epochs": 0} | parameters
    return LatentSourceEncoder(
        SFREQ, modalities=("fmri",), fmri_response="linear", **parameters
    )


def _recordings(fmri, names):
    return {n: {"fmri": {n: fmri[n]}, "tr": TR} for n in names}


OWN = np.repeat(np.arange(N_REGIONS), N_BANDS)
TRAIN = ("P0", "P1", "P2")


def _fit(encoder, features, fmri):
    return encoder.fit({n: features[n] for n in TRAIN}, _recordings(fmri, TRAIN))


def _correlations(a, b):
    return np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(a.T, b.T, strict=True)])


def test_linear_response_is_a_convolution(glover):
    rng = np.random.default_rng(0)
    network = LatentSourceNetwork(LatentSourceConfig(2, 2, 1, 2, 3, n_layers=0))
    maps = rng.standard_normal((3, 2))
    with torch.no_grad():
        network.maps.copy_(torch.as_tensor(maps))
    z, at = rng.standard_normal((200, 2)), np.arange(0, 200, 4)
    expected = [np.convolve(c, glover)[:200][at] for c in (z @ maps.T).T]
    said = bold(
        network,
        torch.as_tensor(z, dtype=torch.float32),
        torch.as_tensor(glover[None], dtype=torch.float32),
        torch.as_tensor(at),
        "linear",
    )
    np.testing.assert_allclose(said[0].detach().numpy().T, expected, atol=1e-5)


def test_a_new_person_is_predicted(planted):
    features, clean, _ = planted
    encoder = _fit(_encoder(), features, clean)
    said = encoder.predict(features["P3"], modality="fmri", tr=TR)
    assert said.shape == (100, N_REGIONS)
    assert _correlations(said, clean["P3"]).min() > 0.95
    table = encoder.evaluate({"P3": features["P3"]}, _recordings(clean, ["P3"]))
    assert table["correlation"].min() > 0.95 and len(table) == N_REGIONS


def test_nothing_is_left_when_people_are_permuted(planted):
    """Trained on the features of one another, it predicts nothing."""
    features, _, noisy = planted
    others = {n: features[o] for n, o in zip(TRAIN, ("P1", "P2", "P0"), strict=True)}
    encoder = _fit(_encoder(feature_regions=OWN), others, noisy)
    said = encoder.predict(features["P3"], modality="fmri", tr=TR)
    assert abs(_correlations(said, noisy["P3"]).mean()) < 0.1


def test_features_of_a_region_go_first(planted):
    features, clean, noisy = planted
    scores = []
    for own in (None, OWN):
        encoder = _fit(_encoder(feature_regions=own), features, noisy)
        said = encoder.predict(features["P3"], modality="fmri", tr=TR)
        scores.append(_correlations(said, clean["P3"]).mean())
    assert scores[1] > scores[0] + 0.02 and scores[1] > 0.9


def test_late_responses_are_found(planted):
    """One person's response is a second later than that of the others."""
    features, clean, _ = planted
    late = features | {"P1": np.roll(features["P1"], -2, axis=0)}
    encoder = _fit(_encoder(), late, clean)
    delays = encoder.hrf_delays()
    assert delays["P1"] - delays[["P0", "P2"]].mean() == pytest.approx(1.0, abs=0.35)


def test_training_checkpoint_and_new_people(planted, tmp_path):
    features, clean, noisy = planted
    encoder = _encoder(
        n_layers=1, d_model=8, n_heads=1, n_epochs=1, feature_regions=OWN
    )
    _fit(encoder, features, noisy)
    encoder.partial_fit({"P3": features["P3"]}, _recordings(noisy, ["P3"]), 1)
    said = encoder.predict(features["P3"], "P3", modality="fmri")
    assert _correlations(said, clean["P3"]).mean() > 0.8
    again = LatentSourceEncoder.load(encoder.save(tmp_path / "encoder"))
    assert again.space_.kind == "regions"
    np.testing.assert_array_equal(
        again.predict(features["P3"], "P3", modality="fmri"), said
    )
    with pytest.raises(ValueError, match="one of regions"):
        encoder.estimate_sources(features["P3"])


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"feature_regions": [0, 1]}, "18 integers from -1 to 5"),
        ({"feature_regions": OWN + 1}, "18 integers from -1 to 5"),
        ({"feature_regions": OWN, "n_linear": 4}, "n_linear of at least 18"),
        ({"orientation": "free"}, "one direction"),
        ({"orientation": "free", "fmri_response": "power"}, "'fixed' with regions"),
    ],
)
def test_parameters_that_do_not_fit(planted, parameters, match):
    with pytest.raises(ValueError, match=match):
        _fit(clone(_encoder()).set_params(**parameters), planted[0], planted[1])


def test_other_regions_are_an_error(planted):
    features, clean, _ = planted
    fmri = clean | {"P2": clean["P2"][:, :4]}
    with pytest.raises(ValueError, match="column for each source or region"):
        _fit(_encoder(), features, fmri)


# -- features of MEG -------------------------------------------------------------------
@pytest.fixture(scope="module")
def rest(src):
    return simulate_rest(
        1, 60.0, n_regions=2, arrays=("opm64",), src=src, random_state=4
    )


def test_powers_follow_a_planted_rhythm(rest):
    """A source of 10 Hz whose power is known, where MEG is not blind."""
    rng = np.random.default_rng(0)
    raw, forward = rest.meg["P1"], rest.forwards["P1"]
    fixed = mne.convert_forward_solution(
        forward, surf_ori=True, force_fixed=True, verbose="error"
    )["sol"]["data"]
    source = int(np.linalg.norm(fixed, axis=0).argmax())
    vertices = [s["vertno"] for s in forward["src"]]
    side = int(source >= len(vertices[0]))
    vertex = vertices[side][source - side * len(vertices[0])]
    label = mne.Label([vertex], hemi=("lh", "rh")[side], subject="fsaverage")
    times = raw.times
    amplitude = 1.5 + np.sin(2 * np.pi * 0.05 * times)
    field = fixed[:, [source]] * (amplitude * np.cos(2 * np.pi * 10 * times))
    scale = field.std()
    noise = [scale * rng.standard_normal(field.shape) for _ in range(2)]
    cov = mne.compute_raw_covariance(
        mne.io.RawArray(noise[0], raw.info, verbose="error"), verbose="error"
    )
    raw = mne.io.RawArray(field + noise[1], raw.info, verbose="error")
    features = region_powers(raw, forward, cov, [label], 0.5)
    assert features.shape == (30, 4)
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(features.std(axis=0), 1)
    true = np.log((amplitude**2).reshape(30, 200).mean(axis=1))
    r = np.corrcoef(true, features.T)[0, 1:]
    assert r[1] > 0.98 and np.abs(r[[0, 2, 3]]).max() < 0.6


def test_bad_windows_have_the_mean(rest):
    raw = rest.meg["P1"].copy()
    given = (rest.forwards["P1"], rest.noise_covs["P1"], rest.labels)
    raw.set_annotations(mne.Annotations(10.1, 0.4, "BAD_jump"))
    marked = region_powers(raw, *given, 0.5)
    assert not marked[5].any() and marked[[4, 6]].any(axis=1).all()


def test_regions_without_sources_and_bands_too_high(rest):
    given = (rest.meg["P1"], rest.forwards["P1"], rest.noise_covs["P1"])
    away = mne.Label([10_241], hemi="lh", name="away", subject="fsaverage")
    with pytest.raises(ValueError, match="source in the region 'away'"):
        region_powers(*given, [away])
    with pytest.raises(ValueError, match="below 50 Hz"):
        region_powers(*given, rest.labels, bands={"high": (60.0, 90.0)})
