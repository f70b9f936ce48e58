"""Tests of pooling by experts: the walk, gates, balance, fit and state."""

import copy

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from torch import nn

from mne_megfm.models import (
    MaskedSignalTransformer,
    ModelConfig,
    RandomWalkExperts,
    balance_loss,
)
from mne_megfm.sensors import canonical_array, canonical_kernel

SMALL = ModelConfig(
    n_sensors=10, n_regions=5, n_patches=4, d_model=6, n_heads=2, n_layers=1,
    n_components=2,
)  # fmt: skip


def _made(seed=0, config=SMALL, kernel=None, **params):
    """Make experts with random parameters, in float64."""
    torch.manual_seed(seed)
    model = MaskedSignalTransformer(config, kernel)
    pooling = RandomWalkExperts(**{"n_experts": 3, "n_neighbours": 3, **params})
    pooling.build(model)
    pooling.double()
    for parameter in pooling.parameters():
        nn.init.normal_(parameter)
    return pooling.requires_grad_(True)


def _tokens(n=4, n_patches=4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(n, 5, n_patches, 6, generator=generator, dtype=torch.float64)
    recorded = torch.ones(n, n_patches, dtype=torch.bool)
    recorded[1, n_patches // 2 :] = False
    return tokens * recorded[:, None, :, None], recorded


def _one_step(pooling, recorded):
    """Write the matrix of the whole graph node by node, from the parameters alone."""
    logits = pooling.region_logits.detach().numpy()
    lags = pooling.lag_logits.detach().numpy()
    n_regions, n_patches = len(logits), len(recorded)
    by_region = np.zeros((n_regions, n_regions))
    for region, row in enumerate(logits):
        kept = np.argsort(row)[::-1][: pooling.n_neighbours]
        by_region[region, kept] = np.exp(row[kept]) / np.exp(row[kept]).sum()
    by_time = np.zeros((n_patches, n_patches))
    for patch in range(n_patches):
        for other in range(n_patches):
            lag = other - patch
            both = recorded[patch] and recorded[other]
            if lag == 0 or (both and abs(lag) <= pooling.n_lags):
                by_time[patch, other] = np.exp(lags[lag + pooling.n_lags])
        by_time[patch] /= by_time[patch].sum()
    step = np.zeros((n_regions * n_patches,) * 2)
    for r in range(n_regions):
        for t in range(n_patches):
            for s in range(n_regions):
                for u in range(n_patches):
                    weight = by_region[r, s] * by_time[t, u]
                    step[r * n_patches + t, s * n_patches + u] = weight
    return step


@pytest.mark.parametrize("n_steps", [0, 1, 2, 5])
@pytest.mark.parametrize("n_lags", [0, 1, 2, 6])
def test_walk_is_a_power_of_the_whole_graph(n_steps, n_lags):
    """Ends of walks are NumPy's power of the matrix over all regions and times."""
    pooling = _made(n_steps=n_steps, n_lags=n_lags)
    _, recorded = _tokens()
    walks = pooling.walk(recorded).detach().numpy()
    for walk, of_row in zip(walks, recorded.numpy(), strict=True):
        step = _one_step(pooling, of_row)
        np.testing.assert_allclose(
            walk, np.linalg.matrix_power(step, n_steps), rtol=0, atol=1e-14
        )
        np.testing.assert_allclose(walk.sum(1), 1.0, atol=1e-14)
        # where nothing was recorded a walk neither comes from elsewhere nor goes there
        node = np.tile(of_row, 5)
        assert not walk[np.ix_(node, ~node)].any()
        assert not walk[np.ix_(~node, node)].any()


def test_graph_is_sparse():
    """A step leads to as many regions and patches as stated, and no more."""
    pooling = _made(n_neighbours=3, n_lags=1)
    _, recorded = _tokens(n_patches=8)
    assert ((pooling.region_transitions() > 0).sum(1) == 3).all()
    times = pooling.time_transitions(recorded)
    assert ((times[0] > 0).sum(1) == torch.tensor([2, 3, 3, 3, 3, 3, 3, 2])).all()
    assert ((times[1] > 0).sum(1) == torch.tensor([2, 3, 3, 2, 1, 1, 1, 1])).all()
    few = _made(n_neighbours=99)
    assert ((few.region_transitions() > 0).sum(1) == 5).all()


def test_gates_and_features_by_definition():
    """Gates are the walk times preferences; experts gather weighted means of tokens."""
    pooling = _made(n_steps=2)
    tokens, recorded = _tokens()
    gates = pooling.gates(tokens, recorded).detach().numpy()
    features = pooling(tokens, recorded, None).detach().numpy().reshape(4, 3, 6)
    np.testing.assert_allclose(gates.sum(-1), 1.0, atol=1e-14)
    values = {name: p.detach().numpy() for name, p in pooling.named_parameters()}
    for i in range(4):
        x = tokens[i].numpy()
        logits = x @ values["router"].T + values["region_bias"][:, None]
        preference = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        step = _one_step(pooling, recorded[i].numpy())
        expected = step @ step @ preference.reshape(20, 3)
        np.testing.assert_allclose(gates[i].reshape(20, 3), expected, atol=1e-13)
        used = np.tile(recorded[i].numpy(), 5)
        flat = x.reshape(20, 6)[used]
        for expert in range(3):
            mean = np.average(flat, axis=0, weights=expected[used, expert])
            hidden = values["down"][expert] @ mean
            hidden = nn.functional.gelu(torch.from_numpy(hidden)).numpy()
            got = mean + values["up"][expert] @ hidden
            np.testing.assert_allclose(features[i, expert], got, atol=1e-12)


def test_gradients():
    """Gradients to tokens and to all parameters are those of finite differences."""
    pooling = _made(n_steps=2, d_hidden=2)
    names = [name for name, _ in pooling.named_parameters()]
    tokens, recorded = _tokens(n=2)

    def outputs(tokens, *values):
        named = dict(zip(names, values, strict=True))
        given = (tokens, recorded, None)
        features = torch.func.functional_call(pooling, named, given)
        return features, *_penalty(pooling, named, tokens, recorded)

    values = [p.detach().clone().requires_grad_(True) for p in pooling.parameters()]
    given = (tokens.requires_grad_(True), *values)
    assert torch.autograd.gradcheck(outputs, given)


def _penalty(pooling, named, tokens, recorded):
    other = copy.deepcopy(pooling)
    for name in named:
        delattr(other, name)
        setattr(other, name, named[name])
    return (other.penalty(tokens, recorded),)


def test_balance_against_closed_forms():
    """Fedus et al. (2022), eq. 4: N times the sum of shares chosen and mean gates."""
    everywhere = torch.ones(2, 10, dtype=torch.bool)
    for n in (2, 5, 8):
        # one expert has all: 1 * 1 * N
        one = nn.functional.one_hot(torch.zeros(2, 24, 10, dtype=torch.long), n)
        assert float(balance_loss(one.double(), everywhere)) == n
        # all have the same: N * N * 1/N * 1/N
        node = torch.arange(240 * n).view(n, 24, 10) % n
        same = nn.functional.one_hot(node, n).double()
        recorded = torch.ones(n, 10, dtype=torch.bool)
        assert float(balance_loss(same, recorded)) == pytest.approx(1.0)
    # three quarters choose the first, by gates of 0.6 and 0.4, the rest by 0.1 and 0.9
    gates = torch.tensor([0.6, 0.4], dtype=torch.float64).expand(1, 4, 1, 2).clone()
    gates[0, 3, 0] = torch.tensor([0.1, 0.9], dtype=torch.float64)
    mean = np.array([0.75 * 0.6 + 0.25 * 0.1, 0.75 * 0.4 + 0.25 * 0.9])
    expected = 2 * (0.75 * mean[0] + 0.25 * mean[1])
    one = torch.ones(1, 1, dtype=torch.bool)
    assert float(balance_loss(gates, one)) == pytest.approx(expected, rel=1e-12)
    # what was not recorded does not count
    more = torch.cat([gates, torch.rand(1, 4, 3, 2, dtype=torch.float64)], 2)
    recorded = torch.tensor([[True, False, False, False]])
    assert float(balance_loss(more, recorded)) == pytest.approx(expected, rel=1e-12)
    assert float(balance_loss(gates, ~one)) == 0.0


def test_order_of_experts_and_regions():
    """Other orders of experts permute features; other orders of regions change none."""
    pooling = _made()
    tokens, recorded = _tokens()
    before = pooling(tokens, recorded, None).view(4, 3, 6)
    experts, regions = torch.tensor([2, 0, 1]), torch.tensor([3, 1, 4, 0, 2])
    other = copy.deepcopy(pooling)
    with torch.no_grad():
        for name in ("router", "down", "up"):
            getattr(other, name).copy_(getattr(pooling, name)[experts])
        other.region_bias.copy_(pooling.region_bias[:, experts])
    after = other(tokens, recorded, None).view(4, 3, 6)
    torch.testing.assert_close(after, before[:, experts])
    other = copy.deepcopy(pooling)
    with torch.no_grad():
        other.region_logits.copy_(pooling.region_logits[regions][:, regions])
        other.region_bias.copy_(pooling.region_bias[regions])
    after = other(tokens[:, regions], recorded, None).view(4, 3, 6)
    torch.testing.assert_close(after, before)


def test_time_runs_either_way():
    """With lags reversed, reversed time has the same features; otherwise it has not."""
    pooling = _made()
    tokens, recorded = _tokens()
    before = pooling(tokens, recorded, None)
    given = tokens.flip(2), recorded.flip(1)
    assert not torch.allclose(pooling(*given, None), before)
    with torch.no_grad():
        pooling.lag_logits.copy_(pooling.lag_logits.flip(0))
    torch.testing.assert_close(pooling(*given, None), before)


def test_padding_changes_nothing():
    """Patches that were not recorded change no gate and no feature."""
    pooling = _made()
    tokens, _ = _tokens(n_patches=6)
    recorded = torch.ones(4, 6, dtype=torch.bool)
    more = torch.cat([tokens, torch.randn(4, 5, 3, 6, dtype=torch.float64)], 2)
    padded = torch.cat([recorded, torch.zeros(4, 3, dtype=torch.bool)], 1)
    expected = pooling(tokens, recorded, None)
    torch.testing.assert_close(pooling(more, padded, None), expected)


def test_begins_with_similar_lead_fields():
    """The first graph leads to regions whose lead fields are alike: the nearest."""
    kernel = torch.from_numpy(np.array(canonical_kernel())).float()
    model = MaskedSignalTransformer(ModelConfig(d_model=32, n_layers=1), kernel)
    pooling = RandomWalkExperts(n_neighbours=4)
    pooling.build(model)
    steps = pooling.region_transitions().detach().numpy()
    pos = np.array(canonical_array().region_pos)
    distance = np.linalg.norm(pos[:, None] - pos, axis=-1)
    assert (steps.argmax(1) == np.arange(24)).all()
    assert distance[steps > 0].mean() < 0.6 * distance[steps == 0].mean()
    # experts begin as weighted means
    assert not pooling.up.any()


def test_fit_finds_what_goes_together():
    """Neighbours that share a course are served by one expert, without labels."""
    rng = np.random.default_rng(0)
    pos = np.array(canonical_array().region_pos)
    member = KMeans(3, random_state=0, n_init=5).fit_predict(pos)
    shared = rng.standard_normal((200, 3, 32))  # one token a group in each window
    tokens = shared[:, member, None] + 0.3 * rng.standard_normal((200, 24, 10, 32))
    tokens = torch.from_numpy(tokens).float()
    recorded = torch.ones(200, 10, dtype=torch.bool)
    recorded[:50, 5:] = False
    tokens = tokens * recorded[:, None, :, None]
    torch.manual_seed(0)
    kernel = torch.from_numpy(np.array(canonical_kernel())).float()
    model = MaskedSignalTransformer(ModelConfig(d_model=32, n_layers=1), kernel)
    pooling = RandomWalkExperts(n_experts=3)
    pooling.build(model)
    start = copy.deepcopy(pooling)
    pooling.fit(tokens, recorded, torch.zeros(200))

    def served(pooling):
        with torch.no_grad():
            gates = pooling.gates(tokens[50:], recorded[50:])
        return gates.mean((0, 2)).argmax(1).numpy()

    assert adjusted_rand_score(member, served(start)) < 0.5
    assert adjusted_rand_score(member, served(pooling)) > 0.8
    assert float(pooling.unit) == pytest.approx(np.sqrt(1.09), rel=0.02)
    assert all(p.grad is None for p in pooling.parameters())


def test_numbers_are_checked():
    """Numbers that make no graph, and tokens of another backbone, are refused."""
    for name in ("n_experts", "n_neighbours", "d_hidden"):
        with pytest.raises(ValueError, match=f"of 1 or more for {name}, got 0"):
            RandomWalkExperts(**{name: 0})
    for name in ("n_steps", "n_lags"):
        with pytest.raises(ValueError, match=f"of 0 or more for {name}, got -1"):
            RandomWalkExperts(**{name: -1})
    with pytest.raises(ValueError, match="balance to be a number of 0 or more"):
        RandomWalkExperts(balance=float("nan"))
    tokens, recorded = _tokens()
    with pytest.raises(ValueError, match="build.model. to be called before"):
        RandomWalkExperts()(tokens, recorded, None)
    pooling = _made()
    with pytest.raises(
        ValueError, match="tokens of 5 regions and width 6, got 5 and 3"
    ):
        pooling(tokens[..., :3], recorded, None)
    with pytest.raises(ValueError, match="24 regions and tokens of width 128, got one"):
        pooling.build(MaskedSignalTransformer(ModelConfig(n_layers=1)))
    before = pooling.router.clone()
    pooling.build(MaskedSignalTransformer(SMALL))  # what suits it stays
    assert torch.equal(pooling.router, before)


def test_all_is_on_the_device_of_the_pooling():
    """Nothing is left on the CPU: on a device without memory, all shapes work out."""
    pooling = _made().to("meta")
    tokens, recorded = (x.to("meta") for x in _tokens())
    assert pooling(tokens, recorded, None).device.type == "meta"
    assert pooling.walk(recorded).shape == (4, 20, 20)
