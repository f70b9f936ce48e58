"""Networks by name: backbones with their configurations, and those of braindecode."""

from __future__ import annotations

import importlib.util
import sys
import types
import warnings
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from ._registry import get, resolve

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from ..models import Backbone, BackboneConfig

# -- backbones -------------------------------------------------------------------------
#: The backbone that random weights are drawn for where none is named.
DEFAULT_BACKBONE = "masked-transformer"


def backbone_config(
    name: str | None = None, config: Mapping[str, Any] | BackboneConfig | None = None
) -> BackboneConfig:
    """Make the configuration of a backbone.

    Parameters
    ----------
    name : str | None
        Name of the backbone; None stands for ``"masked-transformer"``.
    config : dict | BackboneConfig | None
        Fields that differ from their defaults, or the whole configuration.

    Returns
    -------
    config : BackboneConfig
        An instance of the ``config_class`` of the backbone.

    Raises
    ------
    TypeError
        If the configuration is of another backbone, or what has this name is no class
        of backbones.
    ValueError
        If there is no such backbone, a field is not known, or a value does not fit.

    Examples
    --------
    >>> from mne_megfm.plugins import backbone_config
    >>> backbone_config("masked-transformer", {"n_layers": 2}).n_layers
    2
    """
    name = DEFAULT_BACKBONE if name is None else name
    cls = getattr(get("backbones", name), "config_class", None)
    if not (isinstance(cls, type) and is_dataclass(cls)):
        raise TypeError(
            f"Expected the backbone {name!r} to be a class with a dataclass as its "
            f"config_class, got {cls!r}; inherit from mne_megfm.models.BaseBackbone "
            "and set config_class."
        )
    if is_dataclass(config):
        if type(config) is not cls:
            raise TypeError(
                f"Expected a {cls.__name__} for the backbone {name!r}, got a "
                f"{type(config).__name__}; give one of these, or a dict of fields."
            )
        return config
    given = dict(config or {})
    known = [field.name for field in fields(cls)]
    if not set(given) <= set(known):
        raise ValueError(
            f"Expected fields of {cls.__name__} in the configuration of the backbone "
            f"{name!r}, got {sorted(set(given) - set(known))}; there are "
            f"{sorted(known)}."
        )
    return cls(**given)


def make_backbone(
    name: str | None = None,
    config: Mapping[str, Any] | BackboneConfig | None = None,
    kernel: Tensor | None = None,
) -> Backbone:
    """Make a backbone with random weights.

    Parameters
    ----------
    name : str | None
        Name of the backbone; None stands for ``"masked-transformer"``.
    config : dict | BackboneConfig | None
        See :func:`backbone_config`.
    kernel : Tensor, shape (n_sensors, n_sensors), optional
        Gram matrix of the canonical lead fields.

    Returns
    -------
    backbone : Backbone
        The backbone.

    Raises
    ------
    TypeError, ValueError
        See :func:`backbone_config`, and if the backbone lacks what all must have.

    Examples
    --------
    >>> from mne_megfm.plugins import make_backbone
    >>> make_backbone("masked-transformer", {"d_model": 32}).config.d_model
    32
    """
    name = DEFAULT_BACKBONE if name is None else name
    config = backbone_config(name, config)
    return resolve("backbones", name, config=config, kernel=kernel)


# -- networks of braindecode -----------------------------------------------------------
def braindecode_models() -> types.ModuleType:
    """Import ``braindecode.models``, also where its torchaudio does not load.

    Returns
    -------
    models : module
        Classes of networks by name.

    Raises
    ------
    ImportError
        If braindecode is not installed.

    Examples
    --------
    >>> from mne_megfm.plugins import braindecode_models
    >>> models = braindecode_models()  # doctest: +SKIP
    >>> models.EEGNet(n_chans=192, n_outputs=2, n_times=250)  # doctest: +SKIP
    """
    if importlib.util.find_spec("braindecode") is None:
        raise ImportError(
            "Expected braindecode to be installed for its networks, got none; run: "
            "pip install 'mne-megfm[braindecode]'."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies
        _mend_torchaudio()
        from braindecode import models
    return models


def eegnet(n_chans: int, n_outputs: int, n_times: int, sfreq: float) -> Module:
    """Make EEGNet (Lawhern et al. 2018, J. Neural Eng. 15, 056013)."""
    return _make("EEGNet", n_chans, n_outputs, n_times, sfreq)


def shallow_fbcsp_net(
    n_chans: int, n_outputs: int, n_times: int, sfreq: float
) -> Module:
    """Make the shallow network of Schirrmeister et al. (2017), HBM 38, 5391-5420."""
    return _make("ShallowFBCSPNet", n_chans, n_outputs, n_times, sfreq)


def _make(
    name: str, n_chans: int, n_outputs: int, n_times: int, sfreq: float
) -> Module:
    network = getattr(braindecode_models(), name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return network(
            n_chans=n_chans, n_outputs=n_outputs, n_times=n_times, sfreq=sfreq
        )


def _mend_torchaudio() -> None:
    """Let torchaudio fall back to its pure-torch paths where its library fails.

    braindecode needs torchaudio, whose last release does not load beside CPU builds
    of recent torch versions. Its compiled extension is optional, but the check for it
    raises; a stand-in says that there is none.
    """
    try:
        importlib.import_module("torchaudio")
    except (OSError, RuntimeError):
        for name in [n for n in sys.modules if n.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
        stand_in = types.ModuleType("torchaudio._extension")
        stand_in._IS_TORCHAUDIO_EXT_AVAILABLE = False
        stand_in._IS_ALIGN_AVAILABLE = False
        stand_in.fail_if_no_align = lambda function: function
        sys.modules["torchaudio._extension"] = stand_in
        importlib.import_module("torchaudio")
