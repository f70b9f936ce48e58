"""Installed packages with plug-ins."""

import importlib
import sys

import pytest


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
