"""The encoder against physics, planted sources, and itself after a trip to disk."""

import json

import mne
import numpy as np
import pytest
import torch
from sklearn.base import clone

from mne_megfm.encoding import (
    LatentSourceEncoder,
    cross_validate_stories,
    morph_forward,
    noise_ceiling,
    select_stories,
)


def _fixed(forward):
    return mne.convert_forward_solution(
        forward, surf_ori=True, force_fixed=True, verbose="error"
    )["sol"]["data"]


# -- physics ---------------------------------------------------------------------------
def test_meg_is_the_lead_field_of_the_sources(fitted, experiment, held_out):
    stimulus = held_out[0]["story3"]
    stc = fitted.estimate_sources(stimulus)
    for name, person in experiment.recordings.items():
        expected = _fixed(person["forward"]) @ stc.data
        for given in (
            fitted.predict(stimulus, name),
            fitted.predict(stimulus, forward=person["forward"]),
        ):
            np.testing.assert_allclose(
                given.T, expected, rtol=0, atol=1e-6 * np.abs(expected).max()
            )
        # whitened as MNE whitens
        info = person["meg"]["story1"][0].info
        whitener = mne.cov.compute_whitener(
            person["noise_cov"], info, rank=None, pca=True, verbose="error"
        )[0]
        white = fitted.predict(stimulus, name, whitened=True)
        expected = whitener @ expected
        np.testing.assert_allclose(
            white.T, expected, rtol=0, atol=1e-6 * np.abs(expected).max()
        )


def test_sources_are_causal(fitted, held_out):
    stimulus = held_out[0]["story3"]
    changed = stimulus.copy()
    changed[1500:] = 3.0
    one, other = (fitted.estimate_sources(x).data for x in (stimulus, changed))
    scale = np.abs(one).max()
    np.testing.assert_allclose(one[:, :1500], other[:, :1500], atol=1e-9 * scale)
    assert np.abs(one[:, 1500:] - other[:, 1500:]).max() > 0.1 * scale


def test_source_estimate_has_units_times_and_vertices(fitted, experiment, held_out):
    stc = fitted.estimate_sources(held_out[0]["story3"])
    assert isinstance(stc, mne.SourceEstimate) and stc.subject == "fsaverage"
    assert stc.sfreq == pytest.approx(50.0) and stc.times[0] == 0
    assert stc.shape == (1284, 3000)
    for vertices, s in zip(stc.vertices, experiment.src, strict=True):
        np.testing.assert_array_equal(vertices, s["vertno"])
    assert 1e-12 < np.abs(stc.data).max() < 1e-6  # A m


def test_free_orientation(training, experiment):
    encoder = LatentSourceEncoder(
        orientation="free", modalities=("meg",), n_layers=0, n_epochs=0
    ).fit(*training)
    stimulus = training[0]["story1"]
    stc = encoder.estimate_sources(stimulus)
    assert isinstance(stc, mne.VectorSourceEstimate) and stc.data.shape[:2] == (1284, 3)
    forward = mne.convert_forward_solution(
        experiment.recordings["P1"]["forward"], surf_ori=False, verbose="error"
    )
    expected = forward["sol"]["data"] @ stc.data.reshape(3 * 1284, -1)
    np.testing.assert_allclose(
        encoder.predict(stimulus, "P1").T,
        expected,
        rtol=0,
        atol=1e-6 * np.abs(expected).max(),
    )


# -- planted sources -------------------------------------------------------------------
def _coefficients(estimate, courses):
    """Regress estimated sources on the true courses of all areas."""
    courses = (courses - courses.mean(axis=1, keepdims=True)).T
    estimate = estimate - estimate.mean(axis=1, keepdims=True)
    return np.linalg.lstsq(courses, estimate.T, rcond=None)[0]


def test_held_out_meg_and_planted_areas(joint, experiment, held_out):
    table = joint.evaluate(*held_out)
    meg = table[table["modality"] == "meg"]
    # the ceiling is that of a perfect model
    sure = meg[meg["ceiling"] > 0.4]
    assert len(sure) > 50 and 0.85 < sure["normalized"].median() < 1.1
    estimate = joint.estimate_sources(held_out[0])["story3"].data
    weights = _coefficients(estimate, experiment.courses["story3"])
    points = 1e3 * experiment.positions()
    peaks = points[np.abs(weights).argmax(axis=1)]
    error = np.linalg.norm(peaks - points[experiment.centres], axis=1)
    assert np.median(error) < 20
    fmri = table[table["modality"] == "fmri"]
    at = fmri[fmri["name"].isin(experiment.centres.astype(str))]
    assert at["correlation"].mean() > 0.4


def test_nothing_is_left_when_stories_are_swapped(experiment):
    """Fitted with stimuli of other stories, it predicts neither MEG nor fMRI."""
    pytest.importorskip("nilearn", reason="fMRI needs nilearn")
    names = list(experiment.stimulus)
    swapped = {
        story: experiment.stimulus[other]
        for story, other in zip(names, names[1:] + names[:1], strict=True)
    }
    # fMRI rises at the start of any story
    recordings = {
        name: {
            **given,
            "fmri": {s: [y[10:] for y in runs] for s, runs in given["fmri"].items()},
            "fmri_start": 20.0,
        }
        for name, given in experiment.recordings.items()
    }
    encoder = LatentSourceEncoder(n_layers=0, n_epochs=0)
    right, wrong = (
        cross_validate_stories(encoder, stimulus, recordings)
        for stimulus in (experiment.stimulus, swapped)
    )

    def mean(table, modality):
        table = table[table["modality"] == modality]
        if modality == "fmri":
            table = table[table["name"].isin(experiment.centres.astype(str))]
        return table.groupby("fold")["correlation"].mean()

    assert mean(right, "meg").min() > 0.1 and mean(right, "fmri").mean() > 0.25
    assert mean(wrong, "meg").abs().max() < 0.05
    assert abs(mean(wrong, "fmri").mean()) < 0.15


def test_a_person_who_was_not_in_training(experiment, training, held_out):
    encoder = LatentSourceEncoder(modalities=("meg",), n_layers=0, n_epochs=0)
    encoder.fit(training[0], {"P1": training[1]["P1"]})
    new = {"P2": held_out[1]["P2"]}
    table = encoder.evaluate(held_out[0], new)
    meg = table[table["modality"] == "meg"]
    assert len(meg) == 157 and meg["correlation"].mean() > 0.1
    assert encoder.score(held_out[0], new) == pytest.approx(meg["correlation"].mean())


def test_fmri_tells_where(training, experiment, joint, fitted):
    """fMRI makes the prior larger at the areas than MEG alone does."""
    away = joint.evidence_.copy()
    away[experiment.maps.max(axis=1) > 0.1] = 0
    at = joint.evidence_[experiment.centres]
    assert np.median(at) > 5 * np.mean(away)
    assert not fitted.evidence_.any()


def test_transformer_learns_what_is_not_linear(src):
    """Sources that depend on a product over time, which lags cannot explain."""
    from mne_megfm.models import LatentSourceConfig, LatentSourceNetwork

    rng = np.random.default_rng(0)
    drive = rng.standard_normal((8, 400, 1))
    course = drive * np.roll(drive, 3, axis=1)
    x, y = (torch.as_tensor(a, dtype=torch.float32) for a in (drive, course))
    torch.manual_seed(0)
    sizes = LatentSourceConfig(
        1, 1, 5, 1, 1, d_model=16, n_layers=1, n_heads=2, context=10
    )
    network = LatentSourceNetwork(sizes)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(200):
        loss = (network(x[:6])[:, 10:] - y[:6, 10:]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        left = (network(x[6:])[:, 10:] - y[6:, 10:]).square().mean() / y[6:, 10:].var()
    assert left < 0.6


# -- continuation, checkpoints, scikit-learn -------------------------------------------
def test_checkpoint_gives_the_same(joint, tmp_path, held_out):
    path = joint.save(tmp_path / "encoder")
    assert {p.suffix for p in path.iterdir()} == {".json", ".safetensors"}
    again = LatentSourceEncoder.load(path)
    assert again.get_params() == joint.get_params()
    x = held_out[0]["story3"]
    np.testing.assert_array_equal(
        joint.estimate_sources(x).data, again.estimate_sources(x).data
    )
    for name in joint.people_:
        np.testing.assert_array_equal(joint.predict(x, name), again.predict(x, name))
        np.testing.assert_array_equal(
            joint.predict(x, name, modality="fmri"),
            again.predict(x, name, modality="fmri"),
        )
    with pytest.raises(FileExistsError, match="overwrite=True"):
        joint.save(path)
    joint.save(path, overwrite=True)


@pytest.mark.parametrize("name", ["encoder.json", "encoder.safetensors"])
def test_damaged_checkpoints_are_errors(fitted, tmp_path, name):
    path = fitted.save(tmp_path / "encoder")
    content = bytearray((path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (path / name).write_bytes(content)
    with pytest.raises(ValueError, match="copy"):
        LatentSourceEncoder.load(path)
    (path / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        LatentSourceEncoder.load(path)


def test_checkpoint_config_is_readable(fitted, tmp_path):
    config = json.loads((fitted.save(tmp_path) / "encoder.json").read_text())
    assert config["parameters"]["sfreq"] == 50.0
    assert [p["name"] for p in config["people"]] == ["P1", "P2"]


def test_partial_fit_goes_on(fitted, training, tmp_path):
    encoder = LatentSourceEncoder.load(fitted.save(tmp_path))
    before = encoder.network_.maps.detach().clone()
    other = select_stories(training[1], ["story1"])
    encoder.partial_fit({"story1": training[0]["story1"]}, other, n_epochs=1)
    moved = (encoder.network_.maps - before).norm() / before.norm()
    assert 0 < moved < 0.2
    assert list(encoder.people_) == list(fitted.people_)


def test_partial_fit_takes_a_new_person(training):
    encoder = LatentSourceEncoder(modalities=("meg",), n_layers=0, n_epochs=0)
    encoder.partial_fit(training[0], {"P1": training[1]["P1"]})
    assert list(encoder.people_) == ["P1"]
    encoder.partial_fit(training[0], {"P2": training[1]["P2"]}, n_epochs=1)
    assert list(encoder.people_) == ["P1", "P2"]
    assert encoder.predict(training[0]["story1"], "P2").shape == (3000, 157)


def test_same_seed_same_result(training, fitted):
    encoder = clone(fitted)
    states = []
    for seed in (0, 0, 1):
        encoder = clone(fitted).set_params(random_state=seed, n_epochs=1)
        torch.manual_seed(seed + 5)  # the global state must not matter
        encoder.fit(*training).partial_fit(*training, n_epochs=1)
        states.append(encoder.network_.kernel.detach().clone())
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


def test_global_random_state_is_left_alone(training):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    LatentSourceEncoder(modalities=("meg",), d_model=8, n_heads=1, n_epochs=1).fit(
        *training
    )
    assert torch.equal(torch.rand(1), expected)


# -- what recordings may be ------------------------------------------------------------
def test_people_with_one_modality(training):
    pytest.importorskip("nilearn", reason="fMRI needs nilearn")
    one, other = training[1].values()
    recordings = {
        "meg only": {k: one[k] for k in ("meg", "forward", "noise_cov")},
        "fmri only": {k: other[k] for k in ("fmri", "tr")},
    }
    encoder = LatentSourceEncoder(n_layers=0, n_epochs=0).fit(training[0], recordings)
    x = training[0]["story1"]
    assert encoder.predict(x, "meg only").shape == (3000, 64)
    assert encoder.predict(x, "fmri only", modality="fmri").shape == (30, 1284)
    with pytest.raises(ValueError, match="person with MEG"):
        encoder.predict(x, "fmri only")
    with pytest.raises(ValueError, match="person with fMRI"):
        encoder.predict(x, "meg only", modality="fmri")


def test_gaps_are_not_used(training):
    """Nonsense within annotations changes nothing."""
    person = dict(training[1]["P1"])
    clean, dirty = {}, {}
    for story, (raw,) in person["meg"].items():
        marks = mne.Annotations(10.0, 5.0, "BAD_gap")
        clean[story] = raw.copy().set_annotations(marks)
        data = raw.get_data()
        data[:, 500:750] = 1e-9
        data[:, 600] = np.nan
        spoilt = mne.io.RawArray(data, raw.info, verbose="error")
        dirty[story] = spoilt.set_annotations(marks)
    results = []
    for meg in (clean, dirty, person["meg"]):
        encoder = LatentSourceEncoder(modalities=("meg",), n_layers=0, n_epochs=1)
        encoder.fit(training[0], {"P1": {**person, "meg": meg}})
        results.append(encoder.estimate_sources(training[0]["story1"]).data)
    scale = np.abs(results[0]).max()
    np.testing.assert_allclose(results[0], results[1], atol=1e-5 * scale)
    assert np.abs(results[0] - results[2]).max() > 1e-3 * scale


def test_epochs_are_repeats(experiment):
    """Epochs of one story are the same as a list of raws."""
    person = experiment.recordings["P1"]
    raws = person["meg"]["story3"]
    stack = np.stack([raw.get_data() for raw in raws])
    epochs = mne.EpochsArray(stack, raws[0].info, verbose="error")
    stimulus = {"story3": experiment.stimulus["story3"]}
    results = []
    for meg in (raws, epochs):
        encoder = LatentSourceEncoder(modalities=("meg",), n_layers=0, n_epochs=0)
        encoder.fit(stimulus, {"P1": {**person, "meg": {"story3": meg}}})
        results.append(encoder.estimate_sources(stimulus["story3"]).data)
    np.testing.assert_allclose(*results, rtol=1e-6)


def test_recordings_may_end_before_the_story(training):
    person = training[1]["P1"]
    meg = {s: raw.copy().crop(0, 45.0) for s, (raw,) in person["meg"].items()}
    encoder = LatentSourceEncoder(modalities=("meg",), n_layers=0, n_epochs=0)
    encoder.fit(training[0], {"P1": {**person, "meg": meg}})
    table = encoder.evaluate(training[0], {"P1": {**person, "meg": meg}})
    assert table["correlation"].mean() > 0.1


def test_volume_source_space(training, data_dir):
    """Sources on a grid, in all directions."""
    person = training[1]["P1"]
    forward = person["forward"]
    trans = forward["mri_head_t"]
    sphere = mne.make_sphere_model((0.0, 0.0, 0.04), 0.08, verbose="error")
    grid = mne.setup_volume_source_space(pos=20.0, sphere=sphere, verbose="error")
    info = person["meg"]["story1"][0].info
    forward = mne.make_forward_solution(
        info, trans, grid, sphere, eeg=False, verbose="error"
    )
    given = {**person, "forward": forward}
    with pytest.raises(ValueError, match="surface"):
        LatentSourceEncoder(modalities=("meg",)).fit(training[0], {"P1": given})
    encoder = LatentSourceEncoder(
        modalities=("meg",), orientation="free", n_layers=0, n_epochs=0
    ).fit(training[0], {"P1": given})
    stc = encoder.estimate_sources(training[0]["story1"])
    assert isinstance(stc, mne.VolVectorSourceEstimate)
    assert encoder.score(training[0], {"P1": given}) > 0.1


@pytest.mark.parametrize("spacing", ["ico3", "ico2"])
def test_forward_of_another_source_space(training, src, tmp_path, spacing):
    """A lead field on sources of the person times the morph of the sources of all."""
    surface = pytest.importorskip("nilearn.surface")
    datasets = pytest.importorskip("nilearn.datasets")
    meshes = datasets.fetch_surf_fsaverage("fsaverage5")
    for subject in ("fsaverage", "own"):
        folder = tmp_path / subject / "surf"
        folder.mkdir(parents=True)
        for hemi, side in (("lh", "left"), ("rh", "right")):
            for name in ("white", "sphere"):
                mesh = surface.load_surf_mesh(meshes[f"{name}_{side}"])
                for kind in (name, f"{name}.reg"):
                    mne.write_surface(folder / f"{hemi}.{kind}", *map(np.asarray, mesh))
    person = training[1]["P1"]
    own = mne.setup_source_space(
        "own", spacing, subjects_dir=tmp_path, add_dist=False, verbose="error"
    )
    forward = mne.make_forward_solution(
        person["meg"]["story1"][0].info,
        person["forward"]["mri_head_t"],
        own,
        mne.make_sphere_model((0.0, 0.0, 0.04), None, verbose="error"),
        eeg=False,
        mindist=0.0,
        verbose="error",
    )
    morph = mne.compute_source_morph(
        src,
        "fsaverage",
        "own",
        subjects_dir=tmp_path,
        spacing=[s["vertno"] for s in forward["src"]],
        smooth=0 if spacing == "ico3" else None,
        verbose="error",
    )
    common = morph_forward(forward, morph, src)
    gain = _fixed(forward)
    # what MEG of sources is, is the same on both ways
    stc = mne.SourceEstimate(
        np.random.default_rng(0).standard_normal((1284, 3)),
        [s["vertno"] for s in src],
        0.0,
        0.02,
        "fsaverage",
    )
    expected = gain @ morph.apply(stc).data
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        common["sol"]["data"] @ stc.data, expected, atol=1e-9 * scale
    )
    if spacing == "ico3":  # the same sources: nothing changes
        np.testing.assert_allclose(common["sol"]["data"], gain, rtol=1e-6)
    encoder = LatentSourceEncoder(modalities=("meg",), n_layers=0, n_epochs=0)
    given = {"P1": {**person, "forward": common}, "P2": training[1]["P2"]}
    encoder.fit(training[0], given)
    assert encoder.score(training[0], given) > 0.1
    if spacing == "ico2":
        with pytest.raises(ValueError, match="morph to 642"):
            morph_forward(person["forward"], morph, src)
        with pytest.raises(ValueError, match="morph from 162"):
            morph_forward(forward, morph, own)


# -- noise ceiling ---------------------------------------------------------------------
def test_noise_ceiling_is_what_the_truth_reaches(rng):
    signal = rng.standard_normal((20_000, 3)) * [0.3, 1.0, 3.0]
    repeats = signal + rng.standard_normal((4, 20_000, 3))
    mean = repeats.mean(axis=0)
    reached = [np.corrcoef(signal[:, i], mean[:, i])[0, 1] for i in range(3)]
    np.testing.assert_allclose(noise_ceiling(repeats), reached, atol=0.03)
    assert np.isnan(noise_ceiling(repeats[:1])).all()
    assert noise_ceiling(rng.standard_normal((4, 5000, 1)))[0] < 0.2
