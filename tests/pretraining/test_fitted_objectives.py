"""Codes of patches and embeddings of stimuli, against float64 and brute force."""

import copy
import itertools
import math

import mne
import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from scipy.stats import entropy
from torch.nn import functional as F

from mne_megfm.models import (
    EmbeddingProjection,
    HybridConfig,
    HybridStateSpace,
    MaskedSignalTransformer,
    ModelConfig,
    RandomMasking,
    WindowArray,
    WindowBatch,
    contrastive_regression_loss,
    to_patches,
)
from mne_megfm.pretraining import (
    ContrastiveRegression,
    TimeFrequencyCodes,
    build_objective,
    fit_objective,
    pretrain,
)
from mne_megfm.pretraining._fitted_objectives import (
    nearest_codes,
    patch_features,
    perplexity,
)
from mne_megfm.pretraining._run import read_run
from mne_megfm.store import WindowStore, split_groups

CONFIG = ModelConfig(
    n_sensors=16,
    n_regions=4,
    sfreq=100.0,
    patch_length=10,
    n_patches=10,
    d_model=16,
    n_layers=1,
    n_decoder_layers=1,
)


@pytest.fixture
def model():
    return MaskedSignalTransformer(CONFIG).eval()


@pytest.mark.parametrize("name", ["time-frequency codes", "contrastive"])
def test_other_networks(name, rng):
    """State spaces take them, and windows of which some end early."""
    hybrid = HybridStateSpace(
        HybridConfig(
            n_sensors=16,
            n_regions=4,
            sfreq=100.0,
            patch_length=10,
            n_patches=10,
            d_model=16,
            n_layers=1,
            d_state=4,
        )
    )
    values = rng.standard_normal((16, 16, 100)).astype(np.float32)
    windows = WindowArray(
        values,
        unit=4e-13,
        n_valid=np.array([100, 75, 5, 100] * 4),
        targets=rng.standard_normal((16, 3)),
    )
    _, history = _pretrain(name, windows, model=hybrid)
    assert np.isfinite([history.train_loss, history.valid_loss]).all()


@pytest.fixture
def batch(rng):
    """Six windows with embeddings, of which the last is short, and two are alike."""
    windows = torch.from_numpy(4e-13 * rng.standard_normal((6, 16, 100))).float()
    n_valid = torch.tensor([100] * 5 + [55])
    time = torch.arange(100)
    targets = torch.from_numpy(rng.standard_normal((6, 3))).float()
    targets[4] = targets[1]
    return WindowBatch(
        torch.where((time < n_valid[:, None])[:, None], windows, 0.0),
        n_valid,
        torch.from_numpy(rng.random((6, 4, 10)) < 0.6),
        targets=targets,
    )


def _fitted(objective, model, batch):
    build_objective(objective, model, 0)
    fit_objective(objective, model, batch, 0)
    return objective


def _pretrain(objective, windows, model=None, **params):
    torch.manual_seed(0)
    model = MaskedSignalTransformer(CONFIG) if model is None else model
    given = {"max_epochs": 1, "batch_size": 8, "random_state": 3, **params}
    pos = torch.arange(4.0)[:, None] * torch.tensor([1.0, 0.0, 0.0])
    masking = RandomMasking(0.5)
    with mne.utils.use_log_level("error"):
        history = pretrain(
            model, windows, pos, masking=masking, objective=objective, **given
        )
    return model, history


# -- codes -----------------------------------------------------------------------------
def test_features_of_patches(rng):
    """Shape and periodogram of each patch, by NumPy."""
    patches = (
        rng.standard_normal((2, 3, 4, 10)) * np.array([1e-3, 5.0])[:, None, None, None]
    )
    waveform, spectrum = patch_features(torch.from_numpy(patches))
    for at in itertools.product(range(2), range(3)):
        x = patches[at]
        np.testing.assert_allclose(
            waveform[at], x.ravel() / max(np.sqrt((x**2).mean()), 1e-3), rtol=1e-10
        )
        power = (np.abs(np.fft.fft(x)) ** 2).mean(0)[:6] / 10
        np.testing.assert_allclose(spectrum[at], np.log(np.maximum(power, 1e-6)))
    nothing = patch_features(torch.zeros(1, 4, 10))
    assert all(torch.isfinite(x).all() for x in nothing)
    assert not nothing[0].any()


def test_nearest_code_by_brute_force(rng):
    features, codebook = rng.standard_normal((40, 7)), rng.standard_normal((9, 7))
    expected = [
        min(range(9), key=lambda k: sum((x - codebook[k]) ** 2)) for x in features
    ]
    got = nearest_codes(torch.from_numpy(features), torch.from_numpy(codebook))
    assert got.tolist() == expected and len(set(expected)) > 5


def test_perplexity():
    assert perplexity(torch.arange(12), 12) == pytest.approx(12.0)
    assert perplexity(torch.full((5, 2), 3), 12) == pytest.approx(1.0)
    codes = torch.tensor([0, 0, 0, 1, 5])
    assert perplexity(codes, 8) == pytest.approx(np.exp(entropy([3, 1, 1])))


def test_codes_against_the_formula(model, batch, rng):
    """Nearest codes by brute force, cross entropies by hand, in float64."""
    objective = _fitted(TimeFrequencyCodes(n_codes=12), model, batch)
    batch.scored = batch.mask & torch.from_numpy(rng.random(batch.mask.shape) < 0.7)
    # of the complete window, whose scale hidden samples have a part in
    scaled, _ = model.scale(batch.windows, batch.n_valid)
    patches = to_patches(scaled.windows.double(), CONFIG).numpy()
    books = [
        book.double().numpy()
        for book in (objective.time_codes, objective.frequency_codes)
    ]
    tokens = model.encode(batch.windows, batch.n_valid, batch.mask)
    recorded = torch.arange(10) * 10 < batch.n_valid[:, None]
    predicted = objective.predictor(tokens, batch.mask, recorded)
    logits = [
        head(predicted).detach().double().numpy()
        for head in (objective.time_head, objective.frequency_head)
    ]
    losses, seen = [], set()
    for i, r, p in itertools.product(range(6), range(4), range(10)):
        if not batch.scored[i, r, p] or (p + 1) * 10 > batch.n_valid[i]:
            continue
        x = patches[i, r, p]
        power = (np.abs(np.fft.rfft(x)) ** 2).mean(0) / 10
        for which, feature in enumerate(
            (x.ravel() / np.sqrt((x**2).mean()), np.log(power))
        ):
            code = int(((books[which] - feature) ** 2).sum(1).argmin())
            seen.add((which, code))
            losses.append(-log_softmax(logits[which][i, r, p])[code] / math.log(12))
    assert len(seen) > 12
    got = objective._term(model, batch)
    assert float(got.detach()) == pytest.approx(np.mean(losses), rel=1e-5)
    got.backward()
    assert model.embed.weight.grad.any()
    batch.scored = torch.zeros_like(batch.mask)  # nothing that is compared
    assert float(objective._term(model, batch).detach()) == 0.0


def test_guessing_costs_one(model, batch):
    objective = _fitted(TimeFrequencyCodes(n_codes=20), model, batch)
    for head in (objective.time_head, objective.frequency_head):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    assert float(objective._term(model, batch).detach()) == pytest.approx(1.0)


def test_targets_are_of_hidden_signal_and_predictions_are_not(model, batch):
    """Hidden samples change targets alone; visible ones at other places do not.

    Codes of a patch are those of its own samples, whatever the mask is.
    """
    objective = _fitted(TimeFrequencyCodes(n_codes=30), model, batch)
    predicted = []
    forward = objective.predictor.forward
    objective.predictor.forward = lambda *args: (
        predicted.append(forward(*args)) or (predicted[-1])
    )
    before = objective.codes(model, batch)
    first = objective._term(model, batch)
    hidden = batch.mask.repeat_interleave(4, 1).repeat_interleave(10, 2)
    changed = copy.copy(batch)
    changed.windows = torch.where(hidden, batch.windows.flip(0).flip(2), batch.windows)
    changed.windows[-1] = batch.windows[-1]  # not recorded to its end
    after = objective.codes(model, changed)
    second = objective._term(model, changed)
    assert torch.equal(*predicted) and predicted[0].any()
    assert not torch.equal(first, second)
    for one, two in zip(before, after, strict=True):
        moved = (one != two)[:-1]
        assert not (moved & ~batch.mask[:-1]).any()
        assert moved[batch.mask[:-1]].double().mean() > 0.5
    other = copy.copy(batch)
    other.mask = ~batch.mask
    for one, two in zip(before, objective.codes(model, other), strict=True):
        assert torch.equal(one, two)


def test_codebooks_find_planted_kinds(model, rng):
    """Of four waveforms at two strengths, codes in time are four, in frequency more."""
    time = np.arange(10) / 10
    shapes = [
        np.sin(2 * np.pi * time),
        np.cos(2 * np.pi * time),
        np.sin(2 * np.pi * 3 * time),
        np.cos(2 * np.pi * 3 * time),
    ]
    kind = rng.integers(0, 4, (8, 4, 10))
    strength = rng.choice([0.5, 2.0], (8, 4, 10))
    signal = np.array(shapes)[kind] * strength[..., None]
    windows = np.repeat(signal, 4, 1).reshape(8, 16, 100)
    windows = windows + 0.01 * rng.standard_normal(windows.shape)
    batch = WindowBatch(
        torch.from_numpy(4e-13 * windows).float(), torch.full((8,), 100)
    )
    objective = _fitted(TimeFrequencyCodes(n_codes=4), model, batch)
    in_time, in_frequency = (x.numpy() for x in objective.codes(model, batch))

    def one_to_one(codes, truth):
        pairs = set(zip(codes.ravel().tolist(), truth.ravel().tolist(), strict=True))
        return len(pairs) == len(np.unique(codes)) == len(np.unique(truth))

    assert one_to_one(in_time, kind)
    # phases have no part in spectra; strength has
    assert one_to_one(in_frequency, (kind // 2) * 2 + (strength > 1))
    shares = np.bincount(in_time.ravel()) / in_time.size
    assert float(objective.perplexity[0]) == pytest.approx(np.exp(entropy(shares)))


def test_codebooks_are_of_training_windows_and_kept(rng, tmp_path):
    """Held-out windows have no part in them; they are in the run, and do not change."""
    values = rng.standard_normal((40, 16, 100)).astype(np.float32)
    windows = WindowArray(values, unit=4e-13, recording=np.repeat(np.arange(10), 4))
    objective = TimeFrequencyCodes(n_codes=16)
    _pretrain(objective, windows, directory=tmp_path, validation_fraction=0.3)
    first = objective.time_codes.clone()
    state = read_run(tmp_path / "run.safetensors")[1]
    assert torch.equal(state["objective.time_codes"], first)
    assert 12.0 < float(state["objective.perplexity"][0]) <= 16.0
    _, valid = split_groups(windows.recording, 0.3, 3)
    spoiled = copy.copy(windows)
    spoiled.values = values.copy()
    spoiled.values[valid] = 7.0 * values[valid][:, :, ::-1]
    _pretrain(objective, spoiled, validation_fraction=0.3)
    assert torch.equal(objective.time_codes, first)
    spoiled.values = 3.0 * values[::-1]
    _pretrain(objective, spoiled, validation_fraction=0.3)
    assert not torch.equal(objective.time_codes, first)


def test_perplexity_is_logged(model, batch):
    with mne.utils.catch_logging() as log, mne.utils.use_log_level("info"):
        objective = _fitted(TimeFrequencyCodes(n_codes=10), model, batch)
    used = [f"{x:.1f}" for x in objective.perplexity.tolist()]
    text = log.getvalue()
    assert f"Codes in time: perplexity {used[0]} of 10" in text
    assert f"Codes in frequency: perplexity {used[1]} of 10" in text


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"n_codes": 1}, "n_codes to be a whole number of at least 2"),
        ({"n_codes": 12.5}, "n_codes to be a whole number"),
        ({"width": 10}, "a multiple of 4"),
        ({"n_layers": 0}, "n_layers to be a whole number of at least 1"),
    ],
)
def test_wrong_codes(params, match):
    with pytest.raises(ValueError, match=match):
        TimeFrequencyCodes(**params)


def test_more_codes_than_patches(model, batch):
    with pytest.raises(ValueError, match="different patches as codes, 300, .* got 220"):
        _fitted(TimeFrequencyCodes(n_codes=300), model, batch)


# -- embeddings ------------------------------------------------------------------------
def _loop(predicted, embeddings, tau, balance):
    """Compute the combined loss row by row."""
    n = len(predicted)

    def s(i, j):
        a, b = predicted[i], embeddings[j]
        return a @ b / math.sqrt((a @ a) * (b @ b)) / tau

    def others(i):
        return [j for j in range(n) if j == i or (embeddings[i] != embeddings[j]).any()]

    clip = 0.0
    for i in range(n):
        own = math.exp(s(i, i))
        clip -= math.log(own / sum(math.exp(s(i, j)) for j in others(i)))
        clip -= math.log(own / sum(math.exp(s(j, i)) for j in others(i)))
    error = sum(
        (predicted[i] - embeddings[i]) @ (predicted[i] - embeddings[i])
        for i in range(n)
    )
    return balance * clip / (2 * n) + (1 - balance) * error / embeddings.size


@pytest.mark.parametrize("balance", [0.0, 0.75, 1.0])
@pytest.mark.parametrize("repeats", [False, True])
def test_loss_against_a_loop(rng, balance, repeats):
    """The formula, and where all stimuli differ also the cross entropy of torch."""
    predicted, embeddings = rng.standard_normal((2, 7, 4))
    if repeats:
        embeddings[[3, 5]] = embeddings[0]
        embeddings[6] = embeddings[2]
    args = [torch.from_numpy(x) for x in (predicted, embeddings)]
    tau = 0.3
    got = contrastive_regression_loss(*args, torch.tensor(-math.log(tau)), balance)
    expected = _loop(predicted, embeddings, tau, balance)
    assert float(got) == pytest.approx(expected, rel=1e-6)
    logits = F.cosine_similarity(args[0][:, None], args[1][None], dim=-1) / tau
    own = torch.arange(7)
    clip = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    plain = balance * clip + (1 - balance) * F.mse_loss(*args)
    assert (float(got) == pytest.approx(float(plain), rel=1e-6)) == (
        not repeats or balance == 0.0
    )


def test_extremes_of_the_loss():
    """Alike predictions cost log n; right ones nothing; one stimulus has no others."""
    z = torch.eye(5, dtype=torch.float64)
    sharp = torch.tensor(4.0)
    assert float(contrastive_regression_loss(z, z, sharp, 0.5)) < 1e-9
    alike = torch.ones(5, 5, dtype=torch.float64, requires_grad=True)
    loss = contrastive_regression_loss(alike, z, sharp, 1.0)
    assert float(loss.detach()) == pytest.approx(math.log(5))
    one = contrastive_regression_loss(alike, torch.ones_like(z), sharp, 1.0)
    one.backward()
    assert float(one.detach()) == pytest.approx(0.0, abs=1e-9)
    assert torch.isfinite(alike.grad).all()
    # an inverse temperature of 100 at most
    losses = [
        contrastive_regression_loss(z + 0.3, z, torch.tensor(x), 1.0)
        for x in (4.7, 9.0)
    ]
    assert torch.equal(*losses)


def test_loss_of_long_embeddings():
    """Memory grows with the square of rows, not times their dimensions (32 GB)."""
    z = torch.randn(2000, 2000)
    loss = contrastive_regression_loss(z, z, torch.tensor(2.0), 0.5)
    assert torch.isfinite(loss)


def test_gradient_of_the_loss(rng):
    predicted, embeddings = (
        torch.from_numpy(rng.standard_normal((5, 3))) for _ in range(2)
    )
    embeddings[4] = embeddings[1]
    predicted.requires_grad_()
    log_scale = torch.tensor([1.2], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, s: contrastive_regression_loss(x, embeddings, s, 0.6),
        (predicted, log_scale),
    )


def test_projection(rng):
    """Hidden units add nothing at the start, and learn."""
    x = torch.from_numpy(rng.standard_normal((6, 5))).float()
    projection = EmbeddingProjection(5, 3, hidden=8)
    weight, bias = projection.linear.weight, projection.linear.bias
    torch.testing.assert_close(projection(x), x @ weight.T + bias)
    known = torch.from_numpy(rng.standard_normal((6, 3))).float()
    projection.loss(x, known, 0.5).backward()
    assert projection.log_scale.grad.any() and projection.more[2].weight.grad.any()


def test_contrastive_against_the_formula(model, batch):
    """The projection of the mean visible token, and scaled embeddings."""
    objective = _fitted(ContrastiveRegression(balance=0.3), model, batch)
    tokens = model.encode(batch.windows, batch.n_valid, batch.mask).detach()
    known = batch.targets.double().numpy()
    scaled = (known - known.mean(0)) / known.std(0)
    mean = []
    for i in range(6):
        at = ~batch.mask[i] & (torch.arange(10) * 10 < batch.n_valid[i])
        mean.append(tokens[i][at].double().mean(0).numpy())
    linear = objective.projection.linear
    predicted = np.array(mean) @ linear.weight.detach().double().numpy().T
    predicted += linear.bias.detach().double().numpy()
    got = objective._term(model, batch)
    expected = _loop(predicted, scaled.astype(np.float32), 0.07, 0.3)
    assert float(got.detach()) == pytest.approx(expected, rel=1e-4)
    got.backward()
    assert model.embed.weight.grad.any() and objective.projection.log_scale.grad.any()


def test_scaling_of_embeddings(model, batch):
    """A dimension that is constant, and units of the others, have no effect."""
    one = _fitted(ContrastiveRegression(), model, batch)._term(model, batch)
    batch.targets = batch.targets * torch.tensor([1e3, 0.1, 5.0]) + 7.0
    two = _fitted(ContrastiveRegression(), model, batch)._term(model, batch)
    torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)
    batch.targets[:, 1] = 3.0
    loss = _fitted(ContrastiveRegression(), model, batch)._term(model, batch)
    assert torch.isfinite(loss)
    batch.targets[:] = 3.0
    with pytest.raises(ValueError, match="embeddings of different stimuli"):
        _fitted(ContrastiveRegression(), model, batch)


def test_windows_without_embeddings(rng, tmp_path):
    """Said before anything is written; and what is no embedding."""
    windows = WindowArray(rng.standard_normal((16, 16, 100)), unit=4e-13)
    with pytest.raises(ValueError, match="Expected targets of all windows"):
        _pretrain("contrastive", windows, directory=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    for wrong in (np.arange(16.0), np.full((16, 2), np.nan)):
        windows.targets = wrong
        with pytest.raises(ValueError, match="Expected an embedding of each window"):
            _pretrain("contrastive", windows)
    for balance in (-0.1, 2, "half"):
        with pytest.raises(ValueError, match="balance to be a share"):
            ContrastiveRegression(balance=balance)


def test_embeddings_of_a_store(rng, tmp_path):
    """They are kept with the windows, in their order, and are part of the data."""
    known = rng.standard_normal((2, 5, 3))
    stores = []
    for name, given in (("a", known), ("b", known + 1.0)):
        store = WindowStore.create(
            tmp_path / name, n_sensors=16, n_times=100, sfreq=100
        )
        for person in (1, 0):
            store.append(
                4e-13 * np.ones((5, 16, 100)),
                name=f"s{person}",
                participant=f"s{person}",
                state="image",
                targets=given[person],
            )
        stores.append(WindowStore.open(tmp_path / name))
    one, two = stores
    np.testing.assert_array_equal(one.targets, known.reshape(10, 3).astype(np.float32))
    assert one.fingerprint != two.fingerprint
    assert not one.damaged()
    # a changed bit is found
    file = one.files[0]
    data = bytearray(file.read_bytes())
    at = bytes(data).find(known[0].astype("<f4").tobytes())
    assert at > 0
    data[at] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        WindowStore.open(tmp_path / "a")


def test_wrong_embeddings_of_a_store(tmp_path):
    store = WindowStore.create(tmp_path / "s", n_sensors=16, n_times=100, sfreq=100)
    given = {"participant": "a", "state": "image"}
    windows = np.ones((4, 16, 100))
    for wrong in (
        np.ones(4),
        np.ones((3, 2)),
        np.full((4, 2), np.inf),
        np.ones((4, 0)),
    ):
        with pytest.raises(
            ValueError, match=r"targets to be finite numbers of shape \(4"
        ):
            store.append(windows, name="x", targets=wrong, **given)
    assert store.targets is None
    store.append(windows, name="x", targets=np.ones((4, 2)), **given)
    assert store.targets.shape == (4, 2)
    store.append(windows, name="y", targets=np.ones((4, 3)), **given)
    with pytest.raises(ValueError, match="targets of one size"):
        store.targets  # noqa: B018
    store = WindowStore.create(tmp_path / "t", n_sensors=16, n_times=100, sfreq=100)
    store.append(windows, name="x", targets=np.ones((4, 2)), **given)
    store.append(windows, name="y", **given)
    assert store.targets is None
