"""Maps of experts, and their reliability, against planted gates."""

import copy

import mne
import numpy as np
import pytest
import torch

from mne_megfm import MEGFMTransformer
from mne_megfm.interpret import expert_reliability, expert_weights
from mne_megfm.models import RandomWalkExperts
from mne_megfm.sensors import canonical_array
from mne_megfm.simulation import make_array_info

SMALL = {"d_model": 32, "n_layers": 1, "n_decoder_layers": 1}


@pytest.fixture(scope="module")
def epochs():
    rng = np.random.default_rng(0)
    info = make_array_info("ctf151", sfreq=250.0)
    data = 1e-13 * rng.standard_normal((6, 151, 250))
    return mne.EpochsArray(data, info, tmin=-0.3, verbose="error")


def _with_gates(transformer, bias):
    """Give a copy whose preferences are those of a bias by region alone."""
    made = copy.copy(transformer)
    made.pooling_ = copy.deepcopy(transformer.pooling_)
    with torch.no_grad():
        made.pooling_.router.zero_()
        made.pooling_.region_bias.copy_(torch.as_tensor(bias))
    return made


@pytest.fixture(scope="module")
def transformer(epochs):
    pooling = RandomWalkExperts(n_experts=3, n_steps=0)
    return MEGFMTransformer(None, config=SMALL, pooling=pooling, random_state=0).fit(
        epochs
    )


def _bias():
    """Preferences: the left for the first expert, the right for the second."""
    x = np.array(canonical_array().region_pos)[:, 0]
    return np.stack([-40.0 * x, 40.0 * x, 0.0 * x], axis=1)


def test_maps_are_mean_gates_on_the_head(transformer, epochs):
    """Maps lie where the gates are, at the times of patches, and add up to all."""
    experts = expert_weights(_with_gates(transformer, _bias()), epochs)
    assert list(experts) == ["expert00", "expert01", "expert02"]
    left, right, both = experts.values()
    assert left.data.shape == (151, 10) and left.nave == 6
    np.testing.assert_allclose(left.times, -0.25 + 0.1 * np.arange(10), atol=1e-6)
    gates = np.exp(_bias()) / np.exp(_bias()).sum(1, keepdims=True)
    share = gates.mean(0)
    total = sum(e.data * s for e, s in zip(experts.values(), share, strict=True))
    np.testing.assert_allclose(total, 1.0, rtol=1e-6)
    x = np.array([ch["loc"][0] for ch in left.info["chs"]])
    assert np.corrcoef(left.data.mean(1), x)[0, 1] < -0.9
    assert np.corrcoef(right.data.mean(1), x)[0, 1] > 0.9
    for evoked, of_expert in zip(experts.values(), share, strict=True):
        assert evoked.comment == f"{100 * of_expert:.0f} % of tokens"
    # on other sensors, if asked
    other = make_array_info("opm64", sfreq=250.0)
    shown = expert_weights(_with_gates(transformer, _bias()), epochs, info=other)
    assert shown["expert00"].data.shape == (64, 10)


def test_reliability_finds_the_same_experts_in_any_order(transformer, epochs):
    """Experts in another order are as reliable as can be; others are not."""
    bias = _bias()
    same = [
        _with_gates(transformer, bias[:, order]) for order in ([0, 1, 2], [2, 0, 1])
    ]
    table = expert_reliability(same, epochs)
    np.testing.assert_allclose(table["correlation"], 1.0, atol=1e-6)
    assert (table["chance"] < 0.9).all() and (table["p_value"] < 0.01).all()
    rng = np.random.default_rng(0)
    others = [
        _with_gates(transformer, rng.standard_normal((24, 3)).astype("f4"))
        for _ in range(3)
    ]
    table = expert_reliability(others, epochs)
    assert (table["lowest"] <= table["correlation"]).all()
    assert (table["p_value"] > 0.01).all()


def test_smooth_maps_of_other_seeds_are_not_reliable(epochs):
    """Independent preferences are above chance as rarely as they should be.

    Walks on the same graph make all maps smooth, and smooth maps are alike.
    """
    pooling = RandomWalkExperts(n_experts=6, n_steps=2)
    transformer = MEGFMTransformer(None, config=SMALL, pooling=pooling, random_state=0)
    transformer.fit(epochs[:2])
    rng = np.random.default_rng(1)
    p_values = []
    for _ in range(25):
        seeds = [
            _with_gates(transformer, 2 * rng.standard_normal((24, 6)).astype("f4"))
            for _ in range(3)
        ]
        table = expert_reliability(seeds, epochs[:2], n_permutations=39)
        p_values += table["p_value"].tolist()
    # 150 p-values of 0.05 at most have a share of 0.05; 0.72 if maps were permuted
    assert np.mean(np.array(p_values) <= 0.05) < 0.15


def test_refusals(transformer, epochs):
    with pytest.raises(ValueError, match="n_permutations as a whole number from 1"):
        expert_reliability([transformer, transformer], epochs, n_permutations=0)
    plain = MEGFMTransformer(None, config=SMALL, pooling="mean").fit(epochs)
    with pytest.raises(TypeError, match="pooling='rwmoe', got one with MeanPooling"):
        expert_weights(plain, epochs)
    with pytest.raises(ValueError, match="two transformers or more .* got .3. experts"):
        expert_reliability([transformer], epochs)
