"""What the page on parts of one's own says, done word for word."""

import re
import textwrap
import tomllib
from pathlib import Path

import mne
import numpy as np
import pytest
import torch

from mne_megfm import MEGFMTransformer
from mne_megfm.models import WindowBatch
from mne_megfm.plugins import KINDS, available
from mne_megfm.simulation import make_array_info
from mne_megfm.store import WindowStore
from mne_megfm.testing import plugin_checks
from mne_megfm.weights import read_config

PAGE = (Path(__file__).parents[2] / "doc" / "plugins.rst").read_text("utf-8")
PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "my-package"
version = "1.0"

[tool.setuptools]
py-modules = ["my_package"]
"""


def _blocks(language):
    found = re.findall(rf"^\.\. code-block:: {language}\n((?:\n|   .*\n)+)", PAGE, re.M)
    return [textwrap.dedent(block) for block in found]


@pytest.fixture
def package(pip_install, use_site):
    """Install the backbone and the objective of the page as a package."""
    backbone, _, objective, *_ = _blocks("python")
    [entry_points] = _blocks("toml")
    site = pip_install(
        {
            "pyproject.toml": PROJECT + entry_points,
            "my_package.py": f"{backbone}\n\n{objective}",
        }
    )
    return use_site(site, "my_package")


def test_groups_are_those_of_the_registry():
    """The page names the group of each kind."""
    named = set(re.findall(r"``(?:mne_megfm)?\.(\w+)``", PAGE))
    assert set(KINDS) <= named
    [toml] = _blocks("toml")
    for group in tomllib.loads(toml)["project"]["entry-points"]:
        assert group.removeprefix("mne_megfm.") in KINDS


@pytest.mark.parametrize("number, heading", [(0, "A backbone"), (2, "An objective")])
def test_parts_are_as_short_as_their_headings_say(number, heading):
    """Lines of code, imports and comments too."""
    limit = int(re.search(rf"^{heading} in (\d+) lines$", PAGE, re.M)[1])
    lines = [line for line in _blocks("python")[number].splitlines() if line.strip()]
    assert len(lines) <= limit


def test_backbone_of_the_page(package, tmp_path, monkeypatch):
    """It is installed, pretrained from a store, loaded and checked as the page says."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    store = WindowStore.create("store")
    for number in range(4):
        store.append(
            1e-13 * rng.standard_normal((20, 192, 250)),
            name=f"s{number}-rest",
            participant=f"s{number}",
            state="rest",
            array="ctf151",
        )
    assert "patch-mlp" in available("backbones")
    names = {"PatchMLP": package.PatchMLP, "PatchMLPConfig": package.PatchMLPConfig}
    _, pretrain, _, by_power, checks = _blocks("python")
    with mne.utils.use_log_level("error"):
        exec(compile(pretrain, "doc/plugins.rst", "exec"), names)
        assert read_config("weights")["backbone"] == "patch-mlp"
        assert read_config("weights")["model"]["hidden"] == 128
        info = make_array_info("ctf151")
        data = 1e-13 * rng.standard_normal((3, len(info["ch_names"]), 250))
        epochs = mne.EpochsArray(data, info)
        transformer = MEGFMTransformer("weights")
        assert transformer.fit_transform(epochs).shape[0] == 3
    assert type(transformer.model_) is package.PatchMLP
    with mne.utils.use_log_level("error"):
        exec(compile(by_power, "doc/plugins.rst", "exec"), names)
    training = read_config("by-power")["training"]
    assert training["settings"]["objective"] == {"name": "hidden-power"}
    exec(compile(checks, "doc/plugins.rst", "exec"), names)
    [mark] = names["test_patch_mlp"].pytestmark
    ran = [names["test_patch_mlp"](check) for check in mark.args[1]]
    assert len(ran) > 5


def test_objective_of_the_page(package):
    """It keeps what the package relies on, and computes what its docstring says."""
    model = package.PatchMLP(package.PatchMLPConfig())
    objective = package.HiddenPower(floor=1e-9)
    objective.build(model)
    torch.nn.init.zeros_(objective.head.weight)
    objective.head.bias.data = torch.arange(10.0)
    windows = torch.ones(2, 192, 250) * model.config.scale
    windows[..., ::2] *= -1.0  # log power is 0 at the network's scale
    mask = torch.zeros(2, 24, 10, dtype=torch.bool)
    mask[:, :3, 4] = mask[:, 5, 7] = True
    batch = WindowBatch(windows, torch.tensor([250, 190]), mask)
    # patch 7 of the second was not recorded to its end
    unit = model.scale(windows, batch.n_valid, mask)[0].windows[0, 0, 0].abs()
    shift = 2.0 * float(unit.log())
    expected = (6 * (4 - shift) ** 2 + (7 - shift) ** 2) / 7
    assert float(objective(model, batch).detach()) == pytest.approx(expected, rel=1e-4)
    for check in plugin_checks("objectives", package.HiddenPower()):
        check()
