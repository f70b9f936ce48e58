"""Parts for mne-megfm as another package offers them, written from its docs alone."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from mne_megfm.models import BackboneConfig, BaseBackbone, Pooling, to_patches
from mne_megfm.participants import Aggregator
from mne_megfm.sensors import CanonicalSensorMapping


@dataclass(frozen=True)
class TinyConfig(BackboneConfig):
    """Sizes of a convolution over patches."""

    d_model: int = 16
    kernel_size: int = 3
    activation: str = "gelu"


class TinyConvolution(BaseBackbone):
    """Patches of a region, mixed over time by a convolution."""

    config_class = TinyConfig

    def __init__(self, config, kernel=None):
        super().__init__(config, kernel)
        size = config.kernel_size
        self.start = nn.Linear(config.token_length, config.d_model)
        self.convolution = nn.Conv1d(
            config.d_model, config.d_model, size, padding=size // 2
        )
        self.mix = nn.Linear(config.d_model, config.d_model)
        self.act = {"gelu": nn.GELU(), "relu": nn.ReLU()}[config.activation]
        self.back = nn.Linear(config.d_model, config.token_length)

    def _tokens(self, patches, hidden):
        visible = torch.where(hidden[..., None, None], 0.0, patches)
        x = self.start(visible.flatten(3))
        n, n_regions, n_patches, width = x.shape
        x = x.reshape(n * n_regions, n_patches, width).mT
        x = self.act(self.convolution(x)).mT.reshape(n, n_regions, n_patches, width)
        return self.mix(x)

    def encode(self, windows, n_valid=None, mask=None):
        scaled, hidden = self.scale(windows, n_valid, mask)
        tokens = self._tokens(to_patches(scaled.windows, self.config), hidden)
        return tokens * ~hidden[..., None]

    def predict_patches(self, patches, hidden):
        predicted = self.back(self._tokens(patches, hidden)).float()
        return predicted.view(patches.shape) * hidden[..., None, None]

    def layer_groups(self):
        return [["start"], ["convolution"], ["mix"]]


class MixturePooling(Pooling):
    """Means over regions that a fitted gate weighs."""

    def __init__(self, n_experts=2):
        super().__init__()
        self.n_experts = n_experts
        self.register_buffer("gate", torch.zeros(n_experts, 24))
        self.scale = nn.Parameter(torch.ones(n_experts))

    def fit(self, tokens, recorded, groups):
        means = torch.stack(
            [tokens[groups == g].mean((0, 2, 3)) for g in groups.unique()]
        )
        order = means.var(0, correction=0).argsort(descending=True)
        self.gate.zero_()
        for expert in range(self.n_experts):
            self.gate[expert, order[expert :: self.n_experts]] = 1.0

    def forward(self, tokens, recorded, model):
        weight = recorded[:, None, :, None].to(tokens.dtype)
        mean = (tokens * weight).sum(2) / weight.sum(2).clamp(min=1.0)
        gate = self.gate.to(mean) * self.scale[:, None].to(mean)
        return torch.einsum("nrd,er->ned", mean, gate).flatten(1)

    def names(self, n_regions, n_patches, d_model, seconds):
        return [
            f"expert{e}_dim{d}" for e in range(self.n_experts) for d in range(d_model)
        ]


class MedianAggregator(Aggregator):
    """The median over the rows of each state, times a weight that is drawn once."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", 0.5 + torch.rand(()))

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
        rows = [
            np.concatenate([one.get(state, self.fill[state]) for state in self.states])
            for one in extracted
        ]
        return np.float32(self.weight) * np.stack(rows).astype(np.float32)

    def names(self, encoder):
        return [
            f"{state}_median{i}"
            for state in self.states
            for i in range(len(self.fill[state]))
        ]


class Contrast(nn.Module):
    """Two views of a window are alike, those of other recordings are not (InfoNCE)."""

    n_views = 2

    def __init__(self, temperature=0.1):
        super().__init__()
        self.temperature = temperature
        self.log_scale = nn.Parameter(torch.tensor(0.0))

    def __repr__(self):
        return f"Contrast(temperature={self.temperature})"

    def forward(self, model, batch):
        one, two = (
            nn.functional.normalize(
                model.encode(view.windows, view.n_valid, view.mask).mean((1, 2)), dim=-1
            )
            for view in (batch, batch.view)
        )
        alike = one @ two.T * self.log_scale.exp() / self.temperature
        # another window of the same recording is no counterexample
        same = batch.recording[:, None] == batch.recording
        alike = alike.masked_fill(same & ~torch.eye(len(same), dtype=torch.bool), -1e4)
        return nn.functional.cross_entropy(alike, torch.arange(len(alike)))


class HalfMapping(CanonicalSensorMapping):
    """The canonical mapping at a fraction of the field."""

    def __init__(self, factor=0.5):
        super().__init__()
        self.factor = factor

    def __call__(self, recording):
        matrix, names = super().__call__(recording)
        return matrix * self.factor, names
