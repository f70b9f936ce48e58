"""Tests of masked reconstruction of recordings."""

import mne
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from mne_megfm import MEGFMTransformer, MEGSamples, simulate_cohort
from mne_megfm.interpret import MASKS, reconstruct, score_reconstruction
from mne_megfm.models import RandomMasking, SpaceBlockMasking, TimeBlockMasking
from mne_megfm.sensors import compute_mapping

SMALL = {"d_model": 32, "n_layers": 1, "n_decoder_layers": 1}


@pytest.fixture(scope="module")
def epochs():
    """Return six filtered epochs on planar gradiometers and magnetometers."""
    cohort = simulate_cohort(
        1,
        states=("rest",),
        arrays=("neuromag306",),
        n_epochs=6,
        filters=(1.0, 40.0),
        random_state=8,
        verbose="error",
    )
    return cohort.epochs("rest")[0]


@pytest.fixture(scope="module")
def transformer(epochs):
    """Return an untrained transformer."""
    return MEGFMTransformer(weights=None, config=SMALL, random_state=0).fit(epochs)


@pytest.fixture(scope="module")
def reconstructed(epochs, transformer):
    """Return a function that reconstructs the epochs, once for each kind of mask."""
    known = {}

    def once(masking):
        if repr(masking) not in known:
            known[repr(masking)] = reconstruct(
                epochs, transformer, masking, on="canonical"
            )
        return known[repr(masking)]

    return once


def test_masks_are_those_of_the_reports():
    """The masks that results are reported for stand in one place."""
    kinds = [type(masking) for masking in MASKS.values()]
    assert kinds == [RandomMasking, TimeBlockMasking, SpaceBlockMasking]
    shares = [masking.mask_ratio for masking in MASKS.values()]
    assert shares == [0.8, 0.3, 0.25]
    assert MASKS["time blocks of 300 ms"].n_block_patches == 3


@pytest.mark.slow
def test_scores(transformer, epochs):
    """One row a kind of mask, one column a way to predict, the same every time."""
    scores = score_reconstruction(epochs, transformer, n_draws=1)
    assert scores.index.tolist() == list(MASKS)
    columns = ["model", "network", "wiener", "field", "time"]
    assert scores.columns.tolist() == columns
    assert (scores <= 1).all(axis=None)
    assert scores.equals(score_reconstruction(epochs, transformer, n_draws=1))
    other = score_reconstruction(epochs, transformer, n_draws=1, random_state=1)
    assert not scores.equals(other)
    assert scores["field"]["quarter of the sensors"] > 0.3  # which is physics
    assert (scores["field"]["time blocks of 300 ms"]) == 0.0  # nothing to go by


@pytest.mark.parametrize("masking", MASKS.values(), ids=repr)
def test_score_is_that_of_the_reconstruction(
    transformer, epochs, reconstructed, masking
):
    """Scores are those of what `reconstruct` gives, by NumPy."""
    got = score_reconstruction(epochs, transformer, masks={"it": masking}, n_draws=1)
    result = reconstructed(masking)
    original = result.original.astype(float)
    error = (result.reconstructed - original)[result.mask]
    expected = 1 - np.sum(error**2) / np.sum(original[result.mask] ** 2)
    assert got["model"]["it"] == pytest.approx(expected, abs=1e-4)


def test_reconstruction(reconstructed):
    """What was not hidden stays bit by bit; the rest is predicted, in tesla."""
    result = reconstructed(MASKS["time blocks of 300 ms"])
    assert result.original.shape == result.reconstructed.shape == (6, 192, 250)
    assert result.sfreq == 250.0
    mask = result.mask
    np.testing.assert_array_equal(result.mask.mean((1, 2)), 0.3)
    np.testing.assert_array_equal(result.original[~mask], result.reconstructed[~mask])
    assert (result.original[mask] != result.reconstructed[mask]).mean() > 0.99
    assert 1e-14 < result.original.std() < 1e-11
    # centred over the recording, not over a window
    assert np.abs(result.original.mean((0, 2))).max() < 1e-17
    assert np.abs(result.original.mean(2)).max() > 1e-15


def test_canonical_signal_is_the_mappings(reconstructed, epochs):
    """The original is the canonical field without the recording's mean."""
    result = reconstructed(MASKS["random 80 %"])
    mapping = compute_mapping(epochs.info)
    field = mapping.to_canonical @ epochs.get_data(mapping.ch_names)
    field -= field.mean((0, 2), keepdims=True)
    np.testing.assert_allclose(result.original, field, atol=1e-5 * field.std())


def test_way_back_to_the_sensors(reconstructed, epochs):
    """The reconstruction goes back to the recording's own channels."""
    result = reconstructed(MASKS["random 80 %"])
    assert result.sensors.shape == (192, 306)
    data = result.original.transpose(0, 2, 1).astype(float) @ result.sensors
    real = epochs.get_data(list(result.ch_names)).transpose(0, 2, 1)
    real = real - real.mean((0, 1))
    kinds = np.array(epochs.copy().pick(list(result.ch_names)).get_channel_types())
    for kind in ("mag", "grad"):  # T and T/m
        one, other = data[..., kinds == kind], real[..., kinds == kind]
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.8, kind
        assert one.std() == pytest.approx(other.std(), rel=0.3), kind


@pytest.mark.slow
def test_views_and_seeds(transformer, epochs):
    """A view gives the same as its epochs; another seed hides something else."""
    masking = RandomMasking(0.5)
    one = reconstruct(epochs, transformer, masking, on="canonical")
    view = reconstruct(MEGSamples(epochs), transformer, masking, on="canonical")
    other = reconstruct(epochs, transformer, masking, random_state=1, on="canonical")
    np.testing.assert_array_equal(one.reconstructed, view.reconstructed)
    assert (one.mask != other.mask).any()


def test_hidden_signal_does_not_leak(transformer, epochs, reconstructed):
    """Changing hidden signal (as far as its mean stays) changes no prediction."""
    masking = MASKS["time blocks of 300 ms"]
    one = reconstructed(masking)
    data = epochs.get_data(copy=True)
    hidden = one.mask[:, 0]  # all sensors at once, at the recording's own rate
    rng = np.random.default_rng(0)
    change = 3 * data.std(axis=(0, 2), keepdims=True) * rng.standard_normal(data.shape)
    change *= hidden[:, None]
    change -= hidden[:, None] * change.sum((0, 2), keepdims=True) / hidden.sum()
    changed = mne.EpochsArray(data + change, epochs.info, verbose="error")
    other = reconstruct(changed, transformer, masking, on="canonical")
    scale = one.original.std()
    assert np.abs(one.original - other.original)[one.mask].mean() > scale
    np.testing.assert_allclose(
        other.reconstructed[one.mask], one.reconstructed[one.mask], atol=1e-3 * scale
    )


@pytest.mark.slow
def test_short_epochs(epochs):
    """What was never recorded is neither hidden nor scored."""
    short = epochs.copy().crop(tmax=epochs.tmin + 0.499)
    transformer = MEGFMTransformer(weights=None, config=SMALL, random_state=0)
    transformer.fit(short)
    result = reconstruct(short, transformer, TimeBlockMasking(0.4, 2), on="canonical")
    n = len(short.times)
    assert not result.mask[..., n:].any()
    assert not result.original[..., n:].any()
    np.testing.assert_array_equal(result.mask[:, 0, :n].mean(1), 50 / n)
    assert np.isfinite(
        score_reconstruction(short, transformer, n_draws=1).to_numpy()
    ).all()


def test_nothing_is_left_of_hidden_sensors(epochs):
    """Hidden to the last sample, also where the last patch is recorded in part."""
    short = epochs.copy().crop(tmax=epochs.tmin + 0.55)
    transformer = MEGFMTransformer(weights=None, config=SMALL, random_state=0)
    transformer.fit(short)
    masks = {"space": SpaceBlockMasking()}
    scores = score_reconstruction(short, transformer, masks=masks, n_draws=2)
    assert scores.loc["space", "time"] == 0.0


@pytest.mark.slow
def test_long_epochs_are_cut_without_overlap(epochs):
    """Every moment of a long epoch is in one window."""
    data = np.concatenate(list(epochs.get_data(copy=True)), -1)
    long = mne.EpochsArray(data[None], epochs.info, verbose="error")
    transformer = MEGFMTransformer(weights=None, config=SMALL, random_state=0).fit(long)
    result = reconstruct(long, transformer, RandomMasking(), on="canonical")
    assert result.original.shape == (6, 192, 250)


@pytest.mark.slow
def test_raw_windows_are_those_of_the_transformer(epochs):
    """Windows of a Raw follow the transformer's own settings."""
    data = np.concatenate(list(epochs.get_data(copy=True)), -1)
    raw = mne.io.RawArray(data, epochs.info, verbose="error")
    transformer = MEGFMTransformer(
        weights=None, config=SMALL, overlap=0.5, random_state=0
    ).fit(raw)
    result = reconstruct(raw, transformer, RandomMasking(), on="canonical")
    assert len(result.original) == 11


def test_misuse(transformer, epochs):
    """Unfitted transformers, several recordings and microvolts are refused."""
    for function in (
        score_reconstruction,
        lambda *args: reconstruct(*args, RandomMasking(), on="canonical"),
    ):
        with pytest.raises(NotFittedError):
            function(epochs, MEGFMTransformer())
        with pytest.raises(ValueError, match="one recording, got 2; pass them one"):
            function([epochs[:3], epochs[3:]], transformer)
        wrong = mne.EpochsArray(1e6 * epochs.get_data(copy=True), epochs.info)
        with pytest.raises(ValueError, match="tesla|T"):
            function(wrong, transformer)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["kit157-auditory_raw.fif", "vectorview306-audvis-prestim_raw.fif"],
)
def test_real_recordings(data_dir, name):
    """Real recordings of two systems go through, and physics explains some."""
    raw = mne.io.read_raw(data_dir / name, verbose="error")
    transformer = MEGFMTransformer(weights=None, config=SMALL, random_state=0).fit(raw)
    scores = score_reconstruction(raw, transformer, n_draws=2)
    assert np.isfinite(scores.to_numpy()).all()
    assert scores["field"]["random 80 %"] > 0.3
    # untrained, the model is the mean of the interpolations
    assert scores["model"]["random 80 %"] > 0.0
    result = reconstruct(raw, transformer, SpaceBlockMasking(), on="canonical")
    assert len(result.original) == int(raw.times[-1] + 1.5 / raw.info["sfreq"])
    assert 1e-14 < result.original.std() < 1e-10
