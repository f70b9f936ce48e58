"""Import braindecode's networks where its torchaudio does not load."""

import importlib
import sys
import types
import warnings


def _mend_torchaudio():
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


def networks():
    """Return braindecode's ``models`` module, or None where it is not installed."""
    if importlib.util.find_spec("braindecode") is None:
        return None
    _mend_torchaudio()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("braindecode.models")
