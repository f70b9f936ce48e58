"""Tests of the examples in the gallery."""

import ast
import re
import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import mne
import pytest

FOLDER = Path(__file__).parents[1] / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_form(path):
    """An example has a title, says that data are simulated, and has a seed."""
    assert path.name.startswith("plot_"), "the gallery runs plot_*.py alone"
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    head = ast.get_docstring(tree)
    title, line, blank = head.splitlines()[:3]
    assert line == "=" * len(title)
    assert not blank
    assert "simulated" in head.lower()
    assert re.search(r"^SEED = \d+$|random_state=\d", text, re.M)
    assert "\n# %%\n" in text


def test_gallery_order():
    """The order of the gallery names files that there are."""
    text = (FOLDER.parent / "doc" / "conf.py").read_text("utf-8")
    named = set(re.findall(r'"(plot_\w+\.py)"', text))
    assert named
    assert named <= {path.name for path in EXAMPLES}


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_run(path, monkeypatch):
    """An example runs, and ends with a figure."""
    if path.stem == "plot_stories_to_sources":
        pytest.importorskip("nilearn", reason="surfaces and fMRI need nilearn")
    monkeypatch.setattr("sys.argv", [str(path)])
    monkeypatch.setattr(plt, "show", lambda *args, **kwargs: None)
    with mne.use_log_level("warning"):  # restored after what the example sets
        runpy.run_path(str(path), run_name="__main__")
    assert plt.get_fignums()
    plt.close("all")
