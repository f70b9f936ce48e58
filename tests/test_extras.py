"""Tests of what works, and what is said, without the packages of extras."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mne_megfm.utils.extras import needs_extra

README = Path(__file__).parents[1] / "README.md"
#: Packages of extras, by the names of their modules, and what packages of the core
#: bring. pyarrow is what pandas looks for.
BLOCKED = """
import importlib.abc, sys

OPTIONAL = {
    "braindecode", "captum", "click", "distributed", "himalaya", "huggingface_hub",
    "markdown_it", "mne_bids", "nilearn", "polars", "pyarrow", "pyriemann", "skops",
    "skorch", "tensorboard",
}

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in OPTIONAL:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""
EPOCHS = """
import mne, numpy as np
from mne_megfm.simulation import make_array_info

mne.set_log_level("error")
rng = np.random.default_rng(0)
info = make_array_info("opm64")
data = 1e-13 * rng.standard_normal((10, len(info["ch_names"]), 300))
epochs = mne.EpochsArray(data, info, tmin=-0.2)
epochs.events[:, 2] = np.arange(10) % 2
epochs.event_id = {"0": 0, "1": 1}
"""


def _run(code, *args, cwd=None):
    """Run code in a fresh interpreter where the packages of extras are missing."""
    return subprocess.run(
        [sys.executable, "-c", BLOCKED + code, *args],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        cwd=cwd,
    )


def test_core_alone(tmp_path):
    """The ten lines of the README, a fit and people need no package of an extra."""
    if not README.exists():
        pytest.skip("The README is not here: tests of an installed package.")
    (ten_lines,) = README.read_text("utf-8").split("```python\n")[1:]
    code = f"""{EPOCHS}
epochs.save("my-epo.fif")
{ten_lines.partition("```")[0]}
from mne_megfm import MEGFMClassifier

MEGFMClassifier(random_state=0).fit(epochs, y).predict_proba(epochs)
people = [{{"rest": epochs[:5], "auditory": epochs[5:]}} for _ in range(2)]
print(MEGFMTransformer().fit_transform(people).shape)
assert not OPTIONAL & {{name.partition(".")[0] for name in sys.modules}}
"""
    done = _run(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    score, shape = done.stdout.splitlines()[-2:]
    assert 0 <= float(score) <= 1
    assert shape.startswith("(2, ")


#: From what is called to the package that it lacks, and the extra that has it.
CALLS = {
    "MEGFMClassifier(strategy='lora').fit(epochs, y)": ("skorch", "finetune"),
    "CovarianceTangent(rank=2).fit([{'a': epochs}] * 2)": ("pyriemann", "compare"),
    "default_pipelines()": ("pyriemann", "compare"),
    "card('# Model')": ("markdown-it", "report"),
    "hrf_basis(1.0)": ("nilearn", "encoding"),
    "download_weights('hf://owner/name')": ("huggingface-hub", "hub"),
}


def test_extra_is_named():
    """Without a package, the error says which one, and how to install it."""
    code = f"""{EPOCHS}
import json
from mne_megfm import MEGFMClassifier
from mne_megfm.encoding._hemodynamics import hrf_basis
from mne_megfm.evaluation import CovarianceTangent, default_pipelines
from mne_megfm.report._html import card
from mne_megfm.weights import download_weights

y, messages = epochs.events[:, 2], {{}}
for call in {list(CALLS)!r}:
    try:
        eval(call)
    except ImportError as error:
        messages[call] = str(error)
print(json.dumps(messages))
"""
    done = _run(code)
    assert done.returncode == 0, done.stderr
    messages = json.loads(done.stdout.splitlines()[-1])
    assert set(messages) == set(CALLS)
    for call, (package, extra) in CALLS.items():
        assert messages[call].startswith(f"Expected {package} for ")
        assert messages[call].endswith(f"run: pip install 'mne-megfm[{extra}]'.")


def test_command_without_click():
    """The command says what to install: one line, no traceback."""
    code = "import runpy; runpy.run_module('mne_megfm', run_name='__main__')"
    done = _run(code, "--help")
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: Expected click for the command mne-megfm, got none")
    assert "pip install 'mne-megfm[cli]'" in line


def test_command_as_module():
    """``python -m mne_megfm`` is the command."""
    done = subprocess.run(
        [sys.executable, "-m", "mne_megfm", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("mne-megfm, version ")


def test_needs_extra():
    """Missing packages become one message; other errors stay as they are."""
    with pytest.raises(ImportError, match=r"Expected no-such for x.*mne-megfm\[y\]"):
        with needs_extra("y", "x"):
            import no_such.part  # noqa: F401
    with pytest.raises(ValueError, match="mine"), needs_extra("y", "x"):
        raise ValueError("mine")
