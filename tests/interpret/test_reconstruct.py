"""Tests of reconstruction on a recording's own sensors."""

import mne
import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

from mne_megfm import MEGFMTransformer, simulate_cohort
from mne_megfm.interpret import _reconstruct, reconstruct
from mne_megfm.models import (
    RandomMasking,
    SpaceBlockMasking,
    TimeBlockMasking,
    complete_recording,
)
from mne_megfm.sensors import canonical_array, compute_mapping

SMALL = {"d_model": 32, "n_layers": 1, "n_decoder_layers": 1}


@pytest.fixture(scope="module")
def epochs():
    """Return three epochs, of which a channel is bad; 64 sensors, 500 Hz."""
    cohort = simulate_cohort(
        1,
        states=("auditory",),
        arrays=("opm64",),
        n_epochs=3,
        sfreq=500.0,
        filters=(1.0, 40.0),
        random_state=8,
        verbose="error",
    )
    epochs = cohort.epochs("auditory")[0]
    epochs.info["bads"] = [epochs.ch_names[5]]
    return epochs


@pytest.fixture(scope="module")
def transformer(epochs):
    """Return an untrained transformer: it averages interpolations."""
    return MEGFMTransformer(weights=None, config=SMALL, random_state=0).fit(epochs)


@pytest.fixture(scope="module")
def raw(epochs):
    """Return 3 s at 250 Hz that do not begin at 0, with an annotation."""
    data = np.concatenate(list(epochs.get_data(copy=True)), -1)[:, ::2]
    info = epochs.info.copy()
    with info._unlock():
        info["sfreq"] = 250.0
    raw = mne.io.RawArray(data, info, first_samp=100, verbose="error")
    return raw.set_annotations(mne.Annotations(1.5, 0.2, "sound"))


def test_no_mask_is_the_way_there_and_back(transformer, epochs):
    """Without a mask, good channels go to the canonical array and back."""
    got = reconstruct(epochs, transformer)
    mapping = compute_mapping(epochs.info)
    there_and_back = mapping.from_canonical @ mapping.to_canonical
    expected = there_and_back @ epochs.get_data(list(mapping.ch_names))
    expected[:, 5] = epochs.get_data(copy=False)[:, 5]
    assert list(mapping.all_ch_names) == epochs.ch_names
    np.testing.assert_allclose(got.get_data(), expected, rtol=1e-9, atol=1e-20)
    assert got.info["bads"] == epochs.info["bads"]


def test_filled_bads_are_near_the_truth(transformer, epochs):
    """A channel that was not looked at comes out as it was, as near as by MNE."""
    clean = epochs.copy()
    clean.info["bads"] = []
    ours, theirs = [], []
    for name in epochs.ch_names[10:50:20]:
        marked = clean.copy()
        marked.info["bads"] = [name]
        truth = clean.get_data([name]).ravel()
        other = marked.copy().interpolate_bads(origin=(0, 0, 0.04), verbose="error")
        marked.get_data(copy=False)[:, marked.ch_names.index(name)] = 1e-10
        filled = reconstruct(marked, transformer, fill_bads=True)
        assert filled.info["bads"] == []
        for errors, result in ((ours, filled), (theirs, other)):
            error = result.get_data([name]).ravel() - truth
            errors.append(np.sum(error**2) / np.sum(truth**2))
    assert np.mean(ours) < 0.5
    assert np.mean(ours) < 1.1 * np.mean(theirs)


@pytest.mark.parametrize(
    "masking", [TimeBlockMasking(), SpaceBlockMasking()], ids=("time", "space")
)
def test_hidden_signal_is_not_looked_at(transformer, epochs, masking):
    """Hidden samples may be anything; the others stay bit by bit."""
    one, hidden = reconstruct(epochs, transformer, masking, return_mask=True)
    data = epochs.get_data(copy=True)
    assert hidden.shape == data.shape
    assert 0.1 < hidden.mean() < 0.4
    assert not hidden[:, 5].any()  # bad
    np.testing.assert_array_equal(one.get_data()[~hidden], data[~hidden])
    assert (one.get_data()[hidden] != data[hidden]).all()

    changed = epochs.copy()
    noise = np.random.default_rng(0).standard_normal(data.shape)
    changed.get_data(copy=False)[hidden] += (1e-12 * (3 + noise))[hidden]
    other = reconstruct(changed, transformer, masking)
    np.testing.assert_allclose(
        other.get_data()[hidden], one.get_data()[hidden], atol=1e-6 * data.std()
    )
    assert changed.events is not other.events
    np.testing.assert_array_equal(other.events, epochs.events)


def test_prediction_is_the_models(transformer, epochs):
    """Time blocks are what the model says of the canonical field, taken back."""
    slow = epochs.copy().crop(-0.2, 0.798).decimate(2)
    got, hidden = reconstruct(slow, transformer, TimeBlockMasking(), return_mask=True)
    mapping = compute_mapping(slow.info)
    good = [slow.ch_names.index(name) for name in mapping.ch_names]
    data, away = slow.get_data(good), hidden[:, good]
    mean = np.where(away, 0, data).sum((0, 2)) / (~away).sum((0, 2))
    canonical = mapping.to_canonical @ (data - mean[:, None])
    tokens = away[:, 0].reshape(3, 1, 10, 25).all(-1)
    array = canonical_array()
    generator = torch.Generator().manual_seed(0)
    parts = [
        TimeBlockMasking()(1, 10, torch.tensor(array.region_pos), generator)
        for _ in range(3)
    ]
    # the first draw is what was hidden
    np.testing.assert_array_equal(torch.cat(parts)[:, 0], tokens[:, 0])

    def draw(generator):
        parts = [
            TimeBlockMasking()(1, 10, torch.tensor(array.region_pos), generator)
            for _ in range(3)
        ]
        return torch.cat(parts)

    with torch.inference_mode():
        predicted = complete_recording(
            transformer.model_,
            torch.from_numpy(canonical.astype(np.float32)),
            torch.from_numpy(tokens.repeat(24, 1)),
            draw,
        ).model.numpy()
    expected = (mapping.from_canonical @ predicted)[:, good] + mean[:, None]
    np.testing.assert_allclose(
        got.get_data(good)[away], expected[away], atol=1e-4 * data.std()
    )


def test_space_blocks_are_predicted_from_neighbours(transformer, epochs):
    """Channels are hidden with the region next to them, and follow the others."""
    got, hidden = reconstruct(
        epochs, transformer, SpaceBlockMasking(), return_mask=True
    )
    array = canonical_array()
    head = mne.transforms.apply_trans(
        epochs.info["dev_head_t"], [ch["loc"][:3] for ch in epochs.info["chs"]]
    )
    apart = np.linalg.norm(head[:, None] - array.pos, axis=-1)
    region = array.region[apart.argmin(1)]
    for one in hidden:
        regions = set(region[one.any(1)])
        same = np.isin(region, list(regions))
        same[5] = False
        np.testing.assert_array_equal(one.any(1), same)
        np.testing.assert_array_equal(one.all(1), same)
    truth, guess = epochs.get_data(copy=False)[hidden], got.get_data()[hidden]
    assert np.corrcoef(truth, guess)[0, 1] > 0.5


def test_raw_of_any_length(transformer, raw, monkeypatch):
    """Pieces of a Raw join without a trace; what is said of it stays."""
    whole = reconstruct(raw, transformer, fill_bads=True)
    monkeypatch.setattr(_reconstruct, "_PIECE", 0.7)
    pieces = reconstruct(raw, transformer, fill_bads=True)
    np.testing.assert_allclose(pieces.get_data(), whole.get_data(), atol=1e-20)
    got, hidden = reconstruct(raw, transformer, TimeBlockMasking(), return_mask=True)
    assert isinstance(got, mne.io.RawArray)
    assert got.first_samp == 100
    assert got.annotations == raw.annotations
    assert hidden.shape == (64, 750)
    assert 0.05 < hidden.mean() < 0.6
    np.testing.assert_array_equal(got.get_data()[~hidden], raw.get_data()[~hidden])
    assert np.isfinite(got.get_data()).all()


def test_short_evoked(transformer, epochs):
    """An average that is shorter than a window keeps its comment and its count."""
    evoked = epochs.average().crop(0.0, 0.431)
    evoked.comment = "tones"
    got, hidden = reconstruct(
        evoked, transformer, TimeBlockMasking(0.25), random_state=3, return_mask=True
    )
    assert (got.comment, got.nave) == ("tones", 3)
    assert hidden[0].sum() == 50  # one of four whole patches, at 500 Hz
    np.testing.assert_array_equal(got.data[~hidden], evoked.data[~hidden])
    again = reconstruct(evoked, transformer, TimeBlockMasking(0.25), random_state=3)
    np.testing.assert_array_equal(got.data, again.data)


def test_projectors_and_metadata_stay(transformer, epochs):
    """A copy in all that is not signal."""
    projs = mne.compute_proj_epochs(epochs, n_mag=1, n_grad=0, verbose="error")
    given = epochs.copy().add_proj(projs, verbose="error").apply_proj(verbose="error")
    got = reconstruct(given, transformer)
    assert [p["active"] for p in got.info["projs"]] == [True]
    assert got.metadata.equals(epochs.metadata)
    assert got.event_id == epochs.event_id
    assert got.times[0] == epochs.times[0]


def test_too_few_visible_channels(transformer, epochs):
    """Where hardly any channel is left, nothing is made up."""
    one = epochs[:1].crop(0.0, 0.5)

    def nearly_all(n, n_patches, region_pos, generator):
        mask = torch.zeros(n, len(region_pos), n_patches, dtype=torch.bool)
        mask[:, :23, 0] = True
        return mask

    got, hidden = reconstruct(one, transformer, nearly_all, return_mask=True)
    assert np.isfinite(got.get_data()).all()
    assert hidden.any()


def test_nothing_hidden(transformer, epochs):
    """A mask that hides nothing changes nothing."""

    def nothing(n, n_patches, region_pos, generator):
        return torch.zeros(n, len(region_pos), n_patches, dtype=torch.bool)

    got, hidden = reconstruct(epochs, transformer, nothing, return_mask=True)
    assert not hidden.any()
    np.testing.assert_array_equal(got.get_data(), epochs.get_data(copy=False))


def test_misuse(transformer, epochs):
    """What is no recording, no mask, or no fitted transformer is refused."""
    with pytest.raises(NotFittedError):
        reconstruct(epochs, MEGFMTransformer())
    with pytest.raises(TypeError, match="inst must be"):
        reconstruct([epochs], transformer)
    with pytest.raises(TypeError, match="mask as a callable or None, got 'random'"):
        reconstruct(epochs, transformer, "random")
    for wrong in (
        {"mask": None},
        {"mask": RandomMasking(), "fill_bads": True},
        {"mask": RandomMasking(), "return_mask": True},
    ):
        with pytest.raises(ValueError, match="the mask is part of the result"):
            reconstruct(epochs, transformer, on="canonical", **wrong)
    with pytest.raises(ValueError, match="at least 20 good MEG channels"):
        few = epochs.copy().pick(epochs.ch_names[:15])
        reconstruct(few, transformer, RandomMasking())
