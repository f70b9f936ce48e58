"""Installed packages with plug-ins."""

import importlib
import importlib.util
import shutil
import subprocess
import sys
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


@pytest.fixture(scope="session")
def pip_install(tmp_path_factory):
    """Return a function that builds a package and installs it, without a network."""
    for tool in ("pip", "setuptools"):  # setuptools does not like to be imported late
        if importlib.util.find_spec(tool) is None:
            pytest.skip(f"{tool} is not installed")

    def pip_install(files):
        """Install the package of files (a folder, or name to text); give the place."""
        source = tmp_path_factory.mktemp("source") / "package"
        if isinstance(files, Path):
            shutil.copytree(files, source, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            source.mkdir()
            for name, text in files.items():
                (source / name).write_text(text, "utf-8")
        site = tmp_path_factory.mktemp("site")
        options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
        options += ["--disable-pip-version-check", "--target", str(site)]
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", *options, str(source)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return site

    return pip_install


@pytest.fixture
def use_site(monkeypatch):
    """Return a function that makes an installed package known for a test."""
    modules = []

    def use_site(site, module):
        monkeypatch.syspath_prepend(site)
        # nothing has been looked up yet
        fresh = {name: _registry.Registry(kind) for name, kind in KINDS.items()}
        monkeypatch.setattr(_registry, "_REGISTRIES", fresh)
        importlib.invalidate_caches()
        modules.append(module)
        return importlib.import_module(module)

    yield use_site
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture(scope="session")
def external_site(pip_install):
    """Return the folder in which the package in ``external/`` is installed."""
    return pip_install(Path(__file__).with_name("external"))


@pytest.fixture
def external(external_site, use_site):
    """Make the package in ``external/`` known for a test, and return its module."""
    return use_site(external_site, "tiny_megfm_parts")
