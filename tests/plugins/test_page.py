"""What the page on parts of one's own says, done word for word."""

import re
import textwrap
import tomllib
from pathlib import Path

import mne
import numpy as np
import pytest

from mne_megfm import MEGFMTransformer
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
    backbone, _, objective, _ = _blocks("python")
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
    _, pretrain, _, checks = _blocks("python")
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
    exec(compile(checks, "doc/plugins.rst", "exec"), names)
    [mark] = names["test_patch_mlp"].pytestmark
    ran = [names["test_patch_mlp"](check) for check in mark.args[1]]
    assert len(ran) > 5


def test_objective_of_the_page(package):
    """Its objective keeps what the package relies on."""
    for check in plugin_checks("objectives", package.SlowTokens()):
        check()
