"""Networks of braindecode: the one module that imports it."""

from __future__ import annotations

import importlib.util
import sys
import types
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.nn import Module


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
