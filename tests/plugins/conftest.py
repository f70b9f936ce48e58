"""Installed packages with plug-ins."""

import importlib
import shutil
import sys
import tomllib
from pathlib import Path

import pytest

from mne_megfm.plugins import KINDS, _registry


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a package with one plug-in."""
    monkeypatch.syspath_prepend(tmp_path)
    modules = []

    def _install(dist, name, code, *, obj="Part", kind="maskings"):
        module = dist.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n"
        )
        (info / "entry_points.txt").write_text(
            f"[mne_megfm.{kind}]\n{name} = {module}:{obj}\n"
        )
        importlib.invalidate_caches()  # or a folder read just before seems unchanged
        modules.append(module)
        return module

    yield _install
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture
def external(tmp_path, monkeypatch):
    """Install the package in ``external/`` for a test, and return its module."""
    source = Path(__file__).with_name("external")
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    site = tmp_path / "site"
    site.mkdir()
    shutil.copy(source / "tiny_megfm_parts.py", site)
    info = site / f"tiny_megfm_parts-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\n"
        f"Version: {project['version']}\n"
    )
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in own.items())
        for group, own in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(site)
    # nothing has been looked up yet
    fresh = {name: _registry.Registry(kind) for name, kind in KINDS.items()}
    monkeypatch.setattr(_registry, "_REGISTRIES", fresh)
    importlib.invalidate_caches()
    yield importlib.import_module("tiny_megfm_parts")
    sys.modules.pop("tiny_megfm_parts", None)
