"""The checks for authors of plug-ins: built-ins pass, broken parts do not."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from mne_megfm.models import (
    BackboneConfig,
    BaseBackbone,
    HybridConfig,
    HybridStateSpace,
    LocalMasking,
    MaskedSignalTransformer,
    MeanPooling,
    ModelConfig,
    Pooling,
    RandomMasking,
    to_patches,
)
from mne_megfm.participants import Aggregator
from mne_megfm.plugins import KINDS
from mne_megfm.pretraining import MaskedReconstruction
from mne_megfm.testing import plugin_checks

SMALL = ModelConfig(d_model=32, n_layers=2, n_decoder_layers=1)
HYBRID = HybridConfig(d_model=32, n_layers=1)
BUILTINS = [
    (kind, name)
    for kind in ("aggregators", "maskings", "objectives", "poolings", "sensor_mappings")
    for name in KINDS[kind].builtins
] + [
    ("backbones", MaskedSignalTransformer(SMALL)),
    ("backbones", HybridStateSpace(HYBRID)),
]


def _named(part):
    return part if isinstance(part, str) else type(part).__name__


@pytest.mark.parametrize(("kind", "part"), BUILTINS, ids=_named)
def test_built_ins_pass(kind, part):
    for check in plugin_checks(kind, part):
        check()


class Network(BaseBackbone):
    """A backbone that passes, to break."""

    config_class = BackboneConfig

    def __init__(self, config, kernel=None):
        super().__init__(config, kernel)
        self.embed = nn.Linear(config.token_length, config.d_model)

    def encode(self, windows, n_valid=None, mask=None):
        scaled, hidden = self.scale(windows, n_valid, mask)
        patches = to_patches(scaled.windows, self.config).flatten(3)
        return self.embed(patches) * ~hidden[..., None]

    def layer_groups(self):
        return [["embed"]]


class Shows(Network):
    def encode(self, windows, n_valid=None, mask=None):
        scaled, hidden = self.scale(windows, n_valid, mask)
        tokens = self.embed(to_patches(scaled.windows, self.config).flatten(3))
        return (tokens + tokens.mean(2, keepdim=True)) * ~hidden[..., None]


class Noisy(Network):
    def encode(self, windows, n_valid=None, mask=None):
        tokens = super().encode(windows, n_valid, mask)
        return tokens * (1 + torch.rand(1))


class Mixes(Network):
    def encode(self, windows, n_valid=None, mask=None):
        tokens = super().encode(windows, n_valid, mask)
        return tokens - tokens.mean(0)


class Forgets(Network):
    def layer_groups(self):
        return [[]]


class Invents(Network):
    def layer_groups(self):
        return [["embed", "nothing"]]


class Leaves(Network):
    def encode(self, windows, n_valid=None, mask=None):
        scaled, _ = self.scale(windows, n_valid, mask)
        return self.embed(to_patches(scaled.windows, self.config).flatten(3))


_FACTORS = itertools.count(1)


class Loses(Network):
    def __init__(self, config, kernel=None):
        super().__init__(config, kernel)
        self.factor = next(_FACTORS)

    def encode(self, windows, n_valid=None, mask=None):
        return self.factor * super().encode(windows, n_valid, mask)


def _failing(kind, part):
    failed = set()
    for check in plugin_checks(kind, part):
        try:
            check()
        except AssertionError:
            failed.add(check.__name__)
    return failed


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (Network, None),
        (Shows, "check_hidden_signal_is_not_seen"),
        (Noisy, "check_tokens_are_deterministic"),
        (Mixes, "check_tokens_do_not_depend_on_the_batch"),
        (Forgets, "check_layer_groups"),
        (Invents, "check_layer_groups"),
        (Leaves, "check_tokens"),
        (Loses, "check_saved_and_loaded"),
    ],
)
def test_broken_backbones(make, expected):
    failed = _failing("backbones", make(BackboneConfig(d_model=16)))
    assert (expected in failed) if expected else not failed


class Fitted(Pooling):
    """A pooling that passes, to break."""

    def __init__(self):
        super().__init__()
        self.register_buffer("centre", torch.zeros(32))

    def fit(self, tokens, recorded, groups):
        self.centre.copy_(tokens.mean((0, 1, 2)))

    def forward(self, tokens, recorded, model):
        return tokens.mean((1, 2)) - self.centre

    def names(self, n_regions, n_patches, d_model, seconds):
        return [f"dim{d}" for d in range(d_model)]


class Unsaved(Fitted):
    def fit(self, tokens, recorded, groups):
        self.level = tokens.mean((0, 1, 2))

    def forward(self, tokens, recorded, model):
        return tokens.mean((1, 2)) - getattr(self, "level", 0.0)


class Misnamed(Fitted):
    def names(self, n_regions, n_patches, d_model, seconds):
        return ["dim"] * d_model


class Batched(Fitted):
    def forward(self, tokens, recorded, model):
        values = super().forward(tokens, recorded, model)
        return values - values.mean(0)


class Infinite(Fitted):
    def forward(self, tokens, recorded, model):
        count = recorded.sum(1)[:, None]
        return tokens.sum((1, 2)) / count


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (Fitted, None),
        (Unsaved, "check_state_is_saved"),
        (Misnamed, "check_one_unique_name_a_feature"),
        (Batched, "check_rows_are_pooled_alone"),
        (Infinite, "check_nothing_recorded"),
    ],
)
def test_broken_poolings(make, expected):
    failed = _failing("poolings", make())
    assert (expected in failed) if expected else not failed


class Medians(Aggregator):
    """An aggregator that passes, to break."""

    fill = {}

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.rand(()))

    def read(self, recordings, encoder):
        rows = [{} for _ in range(recordings.n_elements)]
        for numbers, features in encoder.features(recordings):
            for number, values in zip(numbers, features, strict=True):
                of_person = rows[recordings.elements[number]]
                of_person.setdefault(str(recordings.states[number]), []).append(values)
        return [{state: np.median(v, 0) for state, v in one.items()} for one in rows]

    def fit(self, extracted):
        self.states = sorted({state for one in extracted for state in one})
        self.fill = {
            state: np.mean([one[state] for one in extracted if state in one], 0)
            for state in self.states
        }
        return self

    def transform(self, extracted):
        self.check_states(extracted)
        return float(self.weight) * np.stack(
            [
                np.concatenate([one.get(s, self.fill[s]) for s in self.states])
                for one in extracted
            ]
        )

    def names(self, encoder):
        return [f"{s}_{i}" for s in self.states for i in range(len(self.fill[s]))]


class Plain(Medians):
    def __init__(self):
        Aggregator.__init__(self)
        self.weight = float(torch.rand(()))


class Together(Medians):
    def combine(self, read):
        mean = np.mean([one["rest"] for one in read], 0)
        return [one | {"rest": one["rest"] - mean} for one in read]


class Accepts(Medians):
    def check_states(self, extracted):
        pass


class Shares(Medians):
    def fit(self, extracted):
        before, fitted = Medians.fill, super().fit(extracted)
        before.clear()
        before.update(fitted.fill)
        fitted.fill = before
        return fitted


class Missing(Medians):
    def fit(self, extracted):
        super().fit(extracted)
        self.fill = {state: np.nan * mean for state, mean in self.fill.items()}
        return self


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (Medians, None),
        (Plain, "check_weights_are_saved"),
        (Together, "check_rows_do_not_depend_on_others"),
        (Accepts, "check_unknown_states_are_refused"),
        (Shares, "check_folds_are_apart"),
        (Missing, "check_one_row_a_participant"),
    ],
)
def test_broken_aggregators(make, expected):
    failed = _failing("aggregators", make())
    assert (expected in failed) if expected else not failed


class Unseeded(RandomMasking):
    def __call__(self, n, n_patches, region_pos, generator):
        return torch.rand(n, len(region_pos), n_patches) < 0.5


class Leaking(LocalMasking):
    """Names targets that are visible."""

    def draw(self, *args):
        drawn = super().draw(*args)
        return drawn._replace(targets=~drawn.hidden)


def test_broken_maskings_and_objectives():
    failed = _failing("maskings", Unseeded(0.5))
    assert "check_masks_are_drawn_from_the_generator" in failed
    assert _failing("maskings", Leaking(0.5)) == {"check_targets_are_hidden"}
    constant = _failing("objectives", lambda model, batch: torch.ones(3))
    assert {"check_loss", "check_repr_is_stable"} <= constant
    noisy = MaskedReconstruction(lambda p, t, h: (p * torch.rand(1)).mean())
    assert "check_loss_is_deterministic" in _failing("objectives", noisy)


def test_what_is_no_part():
    with pytest.raises(TypeError, match="MaskedReconstruction"):
        list(plugin_checks("objectives", lambda p, t, h: 0.0))
    with pytest.raises(ValueError, match="check_estimator"):
        list(plugin_checks("heads", "ridge"))
    with pytest.raises(TypeError, match="name of a backbone .* without"):
        list(plugin_checks("backbones", MeanPooling()))
