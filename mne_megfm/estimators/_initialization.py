"""The model to start from: loaded weights, or a network with random ones."""

from __future__ import annotations

import copy
import os

import numpy as np
import torch
from mne.utils import logger
from torch import nn

from ..models import Backbone, BackboneConfig, WindowArray
from ..participants import Aggregator
from ..plugins import backbone_config, make_backbone, resolve
from ..weights import (
    load_checkpoint,
    load_pooling,
    read_config,
    weights_path,
)
from ..weights.checkpoint import check_backbone
from ._settings import Pretraining
from .extraction import CanonicalSensorMapping

_N_FIELDS = 256  # windows of 240 tokens each, for axes of 128 values


#: What ``aggregation="auto"`` tries, until weights have what is needed.
AUTO = ("parameters+measures", "measures", "mean_std")


def start_model(
    weights: str | os.PathLike | None,
    sensor_mapping: CanonicalSensorMapping,
    backbone: str | None,
    config: dict | BackboneConfig | None,
    seed: int,
) -> tuple[Backbone, dict]:
    """Load weights or draw random ones; give the model and what it has seen."""
    kernel = torch.from_numpy(np.array(sensor_mapping.kernel)).float()
    if weights is None:
        if not isinstance(config, BackboneConfig):
            array = sensor_mapping.array
            sizes = {"n_sensors": array.n_sensors, "n_regions": array.n_regions}
            config = backbone_config(backbone, sizes | (config or {}))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = make_backbone(backbone, config, kernel)
        # as of loaded weights: some layers behave otherwise in training
        return model.eval(), {}
    if config is not None:
        raise ValueError(
            f"Expected config=None with weights={str(weights)!r}, which bring their "
            f"own, got {config!r}; leave one of them out."
        )
    path = weights_path(weights)
    model = load_checkpoint(path)
    check_backbone(model, backbone, weights)
    if model.kernel.shape != kernel.shape or not torch.allclose(
        model.kernel, kernel, atol=1e-3
    ):
        raise ValueError(
            f"Expected weights for the array of the sensor mapping {sensor_mapping!r}, "
            f"got others in {path}; use the mapping that they were trained with."
        )
    # load_checkpoint is strict: had any array not matched, it would have raised
    n_arrays = len(model.state_dict())
    logger.debug(f"Loaded {n_arrays} of {n_arrays} arrays from {path}.")
    return model, read_config(path)["training"]


def start_aggregator(
    spec: str | Aggregator,
    weights: str | os.PathLike | None,
    model: Backbone,
    fields: WindowArray | None,
    pretraining: Pretraining | None,
    seed: int,
) -> tuple[Aggregator, dict]:
    """Make an aggregator, or copy the one given; with its weights.

    Those are loaded, or, with ``fields`` beside random weights of the model, random.
    Also gives what they have seen.
    """
    for name in AUTO if spec == "auto" else (spec,):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            aggregator = copy.deepcopy(resolve("aggregators", name))
        seen: dict | None = {}
        if weights is not None:
            seen = aggregator.load(weights_path(weights), model)
        elif fields is not None:
            seen = {} if aggregator.draw(fields, model, seed) else None
        elif aggregator.own_files:
            seen = None  # nothing trains it beside a model that starts at random
        if seen is not None:
            if spec == "auto" and name != AUTO[0]:
                logger.info(
                    f"Weights {weights} lack parts of the default: features of "
                    f"participants are those of aggregation={name!r}."
                )
            return aggregator.eval(), seen
    raise ValueError(
        f"Expected weights with a participant encoder for aggregation={spec!r}, got "
        f"weights={weights!r} with pretraining={pretraining!r}, which have none; use "
        "aggregation='auto' for means and standard deviations over trials."
    )


def random_fields(
    sensor_mapping: CanonicalSensorMapping, config: BackboneConfig, seed: int
) -> WindowArray:
    """Draw windows on which the projections of a random network are found.

    Normal fields with the covariance of sources all over the head and a 1/f spectrum
    of power, at the model's scale.
    """
    rng = np.random.default_rng(seed)
    size = (_N_FIELDS, config.n_sensors, config.n_times // 2 + 1)
    spectrum = rng.standard_normal((*size, 2)).view(complex)[..., 0]
    spectrum /= np.sqrt(np.maximum(np.arange(size[-1]), 1))
    spectrum[..., 0] = 0.0
    noise = np.fft.irfft(spectrum, config.n_times)
    kernel = np.asarray(sensor_mapping.kernel, dtype=float)
    root = np.linalg.cholesky(kernel + 1e-6 * np.eye(len(kernel)))
    fields = root @ (noise / noise.std())
    return WindowArray(fields, unit=config.scale)


def start_pooling(
    spec: str | nn.Module, weights: str | os.PathLike | None, seed: int
) -> tuple[nn.Module, bool]:
    """Make a pooling, or copy the one given; with its state from the weights.

    Also tells whether it still has to be fitted.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pooling = copy.deepcopy(resolve("poolings", spec))
    loaded = False
    if weights is not None and pooling.state_dict():
        loaded = load_pooling(weights_path(weights), pooling)
    return pooling.eval(), hasattr(pooling, "fit") and not loaded


def find_device(name: str) -> torch.device:
    """Find a device by name; ``"auto"`` is a GPU if there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"Expected a device that torch knows, got {name!r}; use 'cpu', 'cuda' or "
            "'auto'."
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"Expected a device that is there, got {name!r} without a usable GPU; use "
            "device='cpu' or 'auto'."
        )
    return device
