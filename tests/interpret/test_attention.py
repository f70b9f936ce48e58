"""Tests of attention as maps on sensors."""

import mne
import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

from mne_megfm import MEGFMTransformer, simulate_cohort
from mne_megfm.interpret import ATTENTION_METHODS, attention, score_attention
from mne_megfm.interpret._attention import (
    LayerAttention,
    carried_between,
    carried_norms,
    encoder_attention,
    rollout,
)
from mne_megfm.interpret._attention_scores import (
    region_places,
    spread_matrix,
    turned_heads,
    unit_vectors,
)
from mne_megfm.sensors import canonical_array
from mne_megfm.simulation import Head, lead_field

SMALL = {"d_model": 32, "n_layers": 2, "n_decoder_layers": 1}


@pytest.fixture(scope="module")
def epochs():
    """Return three epochs of 1 s on 64 sensors."""
    cohort = simulate_cohort(
        1,
        states=("auditory",),
        arrays=("opm64",),
        n_epochs=3,
        filters=(1.0, 40.0),
        random_state=8,
        verbose="error",
    )
    return cohort.epochs("auditory")[0]


@pytest.fixture(scope="module")
def transformer(epochs):
    """Return an untrained transformer whose attention is far from even."""
    transformer = MEGFMTransformer(None, config=SMALL, random_state=0).fit(epochs)
    with torch.no_grad():
        for block in transformer.model_.blocks:
            block.attention.qkv.weight *= 15.0
            block.attention.out.bias += torch.randn(32)
    return transformer


@pytest.fixture(scope="module")
def windows():
    """Return noise as windows."""
    generator = torch.Generator().manual_seed(1)
    return 2e-13 * torch.randn(2, 192, 250, generator=generator)


# -- recomputed from the network ------------------------------------------------
@pytest.mark.parametrize("n_valid", [250, 130])
def test_attention_gives_what_the_layer_gave(transformer, windows, n_valid):
    """Weights times values are the output of the network's own attention."""
    model, valid = transformer.model_, torch.full((2,), n_valid)
    outputs = []
    hooks = [
        block.attention.register_forward_hook(lambda *args: outputs.append(args[2]))
        for block in model.blocks
    ]
    with torch.inference_mode():
        tokens = model.encode(windows, valid, n_layers=2)
    for hook in hooks:
        hook.remove()
    found = encoder_attention(model, windows, valid, [0, 1])
    for block, layer, output in zip(model.blocks, found, outputs, strict=True):
        assert layer.weights.shape[-1] == 24 * -(-n_valid // 25)
        assert layer.weights.max() > 3 / layer.weights.shape[-1]  # not even
        got = (layer.weights @ layer.values).sum(1) + block.attention.out.bias
        torch.testing.assert_close(got, output, rtol=1e-4, atol=1e-5)
    # and looking changes nothing
    with torch.inference_mode():
        assert torch.equal(model.encode(windows, valid, n_layers=2), tokens)
    assert not any(block.attention._forward_pre_hooks for block in model.blocks)


@pytest.mark.parametrize("n_valid", [250, 130])
def test_attention_of_regions_alone(epochs, windows, n_valid):
    """State spaces over time have no attention; regions attend within each patch.

    Weights are those of a softmax over the regions of a patch, and times values they
    are the output of the network's own attention. A rollout is an error.
    """
    given = {"config": SMALL | {"n_heads": 2}, "random_state": 0}
    transformer = MEGFMTransformer(None, backbone="hybrid-ssm", **given).fit(epochs)
    model, valid = transformer.model_, torch.full((2,), n_valid)
    n_patches, attending = -(-n_valid // 25), [b.attention for b in model.blocks[2:]]
    inputs, outputs, hooks = [], [], []
    for part in attending:
        with torch.no_grad():
            part.qkv.weight *= 15.0
            part.out.bias += torch.randn(32)
        hooks.append(part.register_forward_hook(lambda m, x, y: outputs.append(y)))
        hooks.append(part.register_forward_hook(lambda m, x, y: inputs.append(x[0])))
    with torch.no_grad():
        model.encode(windows, valid)
    for hook in hooks:
        hook.remove()
    found = encoder_attention(model, windows, valid, [0, 1])
    for part, layer, x, output in zip(attending, found, inputs, outputs, strict=True):
        got = (layer.weights @ layer.values).sum(1) + part.out.bias
        got = got.view(2, 24, n_patches, 32).transpose(1, 2)
        torch.testing.assert_close(
            got, output.view(2, 10, 24, 32)[:, :n_patches], rtol=1e-4, atol=1e-5
        )
        weights = layer.weights.view(2, 2, 24, n_patches, 24, n_patches)
        other = ~torch.eye(n_patches, dtype=torch.bool)
        assert not weights.movedim(4, 3)[..., other].any()
        query, key = part.qkv(x).detach()[..., :64].view(2, 10, 24, 2, 2, 16).unbind(3)
        expected = torch.einsum("ntqhd,ntkhd->nhqtk", query, key) / 4.0
        expected = expected.softmax(-1)[:, :, :, :n_patches]
        torch.testing.assert_close(
            weights.diagonal(dim1=3, dim2=5).transpose(-1, -2), expected
        )
    evoked = epochs.average()
    for method in ("between", "received", "norms"):
        shown = attention(transformer, evoked, method=method, layer=None, n_turns=1)
        assert shown.data.shape == (64, 10) and shown.data.min() >= 0
    with pytest.raises(ValueError, match="got 'rollout'; its state spaces over time"):
        attention(transformer, evoked, method="rollout")


def test_norms_are_those_of_what_is_carried():
    """Norms agree with carrying each value and measuring it."""
    generator = torch.Generator().manual_seed(2)
    weights = torch.rand(2, 3, 8, 8, generator=generator).softmax(-1)
    layer = LayerAttention(weights, torch.randn(2, 3, 8, 5, generator=generator))
    carried = layer.weights[..., None] * layer.values[:, :, None]
    torch.testing.assert_close(carried_norms(layer, None), carried.sum(1).norm(dim=-1))
    one = carried_norms(layer, 1)
    torch.testing.assert_close(one, carried[:, 1].norm(dim=-1))
    # 4 regions by 2 patches
    pairs = carried_norms(layer, None).view(2, 4, 2, 4, 2)
    same = torch.stack([pairs[:, :, t, :, t] for t in range(2)], -1)
    torch.testing.assert_close(carried_between(layer, None, 4), same)


def test_rollout_of_two_layers():
    """What is handed on twice is followed; rows stay shares."""
    # token 1 listens to 2 in the first layer, 0 to 1 in the second
    first, second = torch.eye(3), torch.eye(3)
    first[1], second[0] = torch.tensor([0.0, 0, 1]), torch.tensor([0.0, 1, 0])
    layers = [
        LayerAttention(weights.expand(1, 2, 3, 3), torch.zeros(1, 2, 3, 1))
        for weights in (first, second)
    ]
    expected = torch.tensor([[0.5, 0.25, 0.25], [0, 0.5, 0.5], [0, 0, 1]])
    torch.testing.assert_close(rollout(layers, None)[0], expected)


# -- places -----------------------------------------------------------------
def test_turned_head_has_the_field_of_turned_sources():
    """The matrix to a turned head agrees with a forward model of the turned source."""
    array = canonical_array()
    head = Head(array.origin, 0.075, None, None)
    rng = np.random.default_rng(0)
    pos, ori = unit_vectors(rng.standard_normal((2, 20, 3)), np.zeros(3))
    pos = 0.06 * np.abs(pos) * [1, 1, 1]
    rotations, matrices = turned_heads(3)
    np.testing.assert_array_equal(rotations[0], np.eye(3))

    def field(pos, ori):
        gain = lead_field(array.info(1.0), pos + array.origin, head)
        return np.einsum("csk,sk->cs", gain, ori)

    for rotation, matrix in zip(rotations[1:], matrices[1:], strict=True):
        got = matrix @ field(pos, ori)
        expected = field(pos @ rotation.T, ori @ rotation.T)
        error = np.linalg.norm(got - expected, axis=0)
        assert np.median(error / np.linalg.norm(expected, axis=0)) < 0.05


def test_even_attention_stays_even_and_peaks_stay_in_place():
    """Spreading keeps a constant, and brings a place back from a turned head."""
    array = canonical_array()
    places, _ = region_places(array, between=False)
    rotations, _ = turned_heads(3)
    targets = unit_vectors(array.pos, array.origin)
    weights = spread_matrix(targets, places, rotations)
    np.testing.assert_allclose(weights.sum((1, 2)), 1.0)
    for turn, rotation in enumerate(rotations):
        # the place that turns into region 5 is its direction turned back
        there = rotation.T @ places[5]
        best = targets[weights[:, turn, 5].argmax()]
        assert best @ there > np.cos(np.deg2rad(12))


def test_places_between_regions():
    """Pairs are near but not the same, both ways, with their middle between them."""
    array = canonical_array()
    places, used = region_places(array, between=True)
    assert not used.diagonal().any()
    np.testing.assert_array_equal(used, used.T)
    first, second = np.nonzero(used)
    unit = unit_vectors(array.region_pos, array.origin)
    np.testing.assert_allclose(
        (places * unit[first]).sum(1), (places * unit[second]).sum(1)
    )


# -- the function -------------------------------------------------------------
def test_network_without_a_preference_attends_evenly(epochs):
    """Where queries are zero, plain attention is 1 everywhere, however read."""
    transformer = MEGFMTransformer(None, config=SMALL).fit(epochs)
    with torch.no_grad():
        for block in transformer.model_.blocks:
            block.attention.qkv.weight[:32] = 0.0
            block.attention.qkv.bias[:32] = 0.0
    for method in ("received", "rollout"):
        found = attention(transformer, epochs, method=method, n_turns=2)
        np.testing.assert_allclose(found.data, 1.0, rtol=1e-5)


@pytest.mark.parametrize("method", ATTENTION_METHODS)
def test_rows_are_averaged(transformer, epochs, method):
    """Attention of epochs is the mean of that of each; layers and heads differ."""
    settings = dict(method=method, n_turns=1)
    found = attention(transformer, epochs, **settings)
    singles = attention(transformer, [epochs[i] for i in range(3)], **settings)
    mean = np.mean([single.data for single in singles], 0)
    np.testing.assert_allclose(found.data, mean, rtol=1e-4)
    assert found.nave == 3
    np.testing.assert_allclose(found.times, np.arange(-0.15, 0.76, 0.1), atol=1e-6)
    np.testing.assert_allclose(found.data.mean(), 1.0, atol=0.3)
    head = attention(transformer, epochs, head=1, **settings)
    every = attention(transformer, epochs, layer=None, **settings)
    first = attention(transformer, epochs, layer=0, **settings)
    assert np.abs(head.data - found.data).max() > 1e-3
    assert np.abs(first.data - found.data).max() > 1e-3
    if method == "rollout":
        np.testing.assert_array_equal(every.data, found.data)
    else:
        last = found.data
        np.testing.assert_allclose(every.data, (first.data + last) / 2, rtol=1e-4)


def test_all_kinds_of_recordings(transformer, epochs):
    """Evoked, Raw and long or short epochs keep their times."""
    evoked = epochs.average()
    single = attention(transformer, evoked, n_turns=1)
    assert single.times[0] == pytest.approx(-0.15)
    data = np.concatenate(list(epochs.get_data(copy=True)), -1)
    raw = mne.io.RawArray(data, epochs.info, verbose="error")
    found = attention(transformer, raw, n_turns=1)
    assert found.nave == 3
    np.testing.assert_allclose(found.times, 0.05 + 0.1 * np.arange(10), atol=1e-6)
    long = mne.EpochsArray(data[None, :, :400], epochs.info, verbose="error")
    times = attention(transformer, long, n_turns=1).times
    np.testing.assert_allclose(times, 0.05 + 0.1 * np.arange(16), atol=1e-6)
    short = evoked.copy().crop(0.0, 0.3)
    assert attention(transformer, short, n_turns=1).data.shape == (64, 3)


def test_maps_of_different_arrays_come_together(transformer, epochs):
    """With one info for all, grand averages are possible; places count once."""
    other = mne.EpochsArray(
        1e-13 * np.random.default_rng(0).standard_normal((2, 306, 250)),
        _neuromag(),
        tmin=-0.2,
        verbose="error",
    )
    with pytest.raises(ValueError, match="."):
        mne.grand_average(attention(transformer, [epochs, other], n_turns=1))
    found = attention(transformer, [epochs, other], info=other.info, n_turns=1)
    assert [one.data.shape for one in found] == [(102, 10), (102, 10)]
    average = mne.grand_average(found)
    np.testing.assert_allclose(average.data, (found[0].data + found[1].data) / 2)


def _neuromag():
    info = mne.channels.read_meg_canonical_info("neuromag")
    info = mne.pick_info(info, mne.pick_types(info, meg=True))
    with info._unlock():
        info["sfreq"], info["lowpass"] = 250.0, 125.0
        info["dev_head_t"] = mne.transforms.Transform("meg", "head")
    return info


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ({"method": "saliency"}, ValueError, "one of between, received"),
        ({"layer": 2}, ValueError, "layer from -2 to 1"),
        ({"head": 4}, ValueError, "head from 0 to 3"),
        ({"n_turns": 0}, ValueError, "n_turns of 1 or more"),
        ({"info": "neuromag"}, TypeError, "info must be"),
    ],
)
def test_wrong_parameters(transformer, epochs, given, error, match):
    """Parameters that cannot be used are refused."""
    with pytest.raises(error, match=match):
        attention(transformer, epochs, **given)


def test_not_fitted(epochs):
    """A transformer must be fitted."""
    with pytest.raises(NotFittedError):
        attention(MEGFMTransformer(), epochs)


@pytest.mark.slow
def test_bundled_weights_attend_to_the_stimulated_regions():
    """In averages, more than before the stimulus and than an untrained network."""
    cohort = simulate_cohort(
        20,
        states=("auditory",),
        arrays=("neuromag306", "ctf275", "ctf151", "kit157", "opm64"),
        n_epochs=40,
        filters=(1.0, 40.0),
        random_state=8800,
        verbose="error",
    )
    averages = [
        one.apply_baseline((None, 0.0), verbose="error").average()
        for one in cohort.epochs("auditory")
    ]
    sources = [
        {
            source.hemi: source.pos
            for source in person.truth["states"]["auditory"]["sources"]
            if source.name == "N100m"
        }
        for person in cohort
    ]
    trained, untrained = (
        attention(
            MEGFMTransformer(weights, random_state=0).fit(averages),
            averages,
            method="between",
        )
        for weights in ("megfm-tiny", None)
    )
    score = score_attention(
        trained,
        sources,
        window=(0.0, 0.2),
        before=(-0.2, 0.0),
        random_weights=untrained,
        n_null=200,
    )
    ratio = score.summary.loc["ratio"]
    assert ratio["mean"] > max(ratio.before, ratio.random_weights)
    assert ratio.p_places < 0.05  # 0.014 with 500 draws (see the design page)
