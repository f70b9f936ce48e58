"""Tests of the configuration."""

import dataclasses
import json

import pytest

from mne_megfm.models import MaskedSignalTransformer, ModelConfig, ParticipantConfig


def test_default_is_small():
    """The default model has at most 5 million parameters."""
    model = MaskedSignalTransformer(ModelConfig())
    assert sum(p.numel() for p in model.parameters()) <= 5_000_000


def test_round_trip_through_json():
    """What is saved beside the weights makes the same configuration."""
    config = ModelConfig(d_model=48, sfreq=200.0, n_decoder_layers=0)
    text = json.dumps(config.to_dict())
    assert ModelConfig.from_dict(json.loads(text)) == config


def test_sizes_that_follow():
    """Derived sizes belong to the given ones."""
    config = ModelConfig(n_sensors=60, n_regions=12, patch_length=20, n_patches=7)
    assert config.sensors_per_region == 5
    assert config.n_times == 140
    assert config.token_length == 100


def test_is_frozen():
    """A configuration does not change after the model was made."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig().d_model = 3


@pytest.mark.parametrize(
    "given, match",
    [
        ({"d_model": 0}, "positive d_model, got 0"),
        ({"d_model": 32.0}, "whole number for d_model, got 32.0"),
        ({"n_heads": "4"}, "whole number for n_heads, got '4'"),
        ({"n_layers": True}, "whole number for n_layers, got True"),
        ({"sfreq": None}, "number for sfreq, got None"),
        ({"scale": float("nan")}, "positive scale, got nan"),
        ({"max_rms": float("inf")}, "positive max_rms, got inf"),
        ({"n_decoder_layers": -1}, "positive n_decoder_layers"),
        ({"d_model": 10**6}, "d_model, got 1000000; give one from 1 to 65536"),
        ({"n_layers": 10**6}, "n_layers, got .* from 1 to 256"),
        ({"n_patches": 10**400}, "n_patches, got .* from 1 to 10000"),
        ({"sfreq": 10**400}, "sfreq, got .* from 0.001 to 1e\\+06"),
        ({"sfreq": -250.0}, "positive sfreq"),
        ({"mlp_ratio": 0.002}, "mlp_ratio \\* d_model of at least 1"),
        ({"n_regions": 23}, "n_sensors to be a multiple of n_regions"),
        ({"d_model": 30}, "d_model to be a multiple of n_heads"),
        ({"d_model": 8}, "n_components <= d_model"),
    ],
)
def test_refuses(given, match):
    """Sizes that make no model are refused with their name."""
    with pytest.raises(ValueError, match=match):
        ModelConfig(**given)


def test_from_dict_wants_all_fields():
    """Unknown and missing fields are both named."""
    config = ModelConfig().to_dict()
    del config["n_heads"]
    config["heads"] = 4
    with pytest.raises(ValueError, match=r"\['heads'\] too many.*\['n_heads'\] miss"):
        ModelConfig.from_dict(config)


@pytest.mark.parametrize(
    "given, match",
    [
        ({"d_model": 10**6}, "d_model, got .* from 2 to 65536"),
        ({"n_layers": 2.0}, "whole number for n_layers, got 2.0"),
        ({"n_heads": True}, "whole number for n_heads, got True"),
        ({"mlp_ratio": float("nan")}, "positive mlp_ratio"),
        ({"n_response": 1201}, "n_response, got 1201.* from 1 to 1200"),
        ({"n_spectral": "32"}, "whole number for n_spectral, got '32'"),
        ({"n_measures": -1}, "positive n_measures"),
        ({"d_model": 30}, "d_model to be a multiple of n_heads"),
    ],
)
def test_participant_sizes_that_are_none(given, match):
    """So are those of the participant encoder."""
    with pytest.raises(ValueError, match=match):
        ParticipantConfig(**given)
