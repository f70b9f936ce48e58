"""Tests of sys_info."""

import io
from importlib import metadata

import mne
import torch

import mne_megfm


def test_sys_info(capsys):
    """The report names versions, torch's set-up and the weights."""
    mne_megfm.sys_info()
    out = capsys.readouterr().out
    rows = dict(line.split(None, 1) for line in out.splitlines() if " " in line.strip())
    assert rows["mne-megfm"].split()[0] == mne_megfm.__version__
    assert rows["mne"] == mne.__version__
    assert rows["torch"] == torch.__version__
    assert rows["threads"].startswith(f"{torch.get_num_threads()} ")
    assert rows["devices"].startswith("cpu")
    fid = io.StringIO()
    mne_megfm.sys_info(fid)
    assert fid.getvalue() == out


def test_requirements(monkeypatch):
    """Missing and misfit packages are told apart from good ones."""
    requires = ["mne>=1000", "no-such-package>=1", "numpy>=1", 'pytest; extra == "t"']
    monkeypatch.setattr(metadata, "requires", lambda name: requires)
    fid = io.StringIO()
    mne_megfm.sys_info(fid)
    out = fid.getvalue()
    core, optional = out.partition("Core")[2].split("Optional")
    assert f"{mne.__version__} (expected >=1000)" in core
    assert "no-such-package      not installed" in core
    assert "pytest" in optional
    assert "pytest" not in core


def test_not_installed(monkeypatch):
    """A checkout that was never installed says so."""

    def requires(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    fid = io.StringIO()
    mne_megfm.sys_info(fid)
    assert f"{mne_megfm.__version__} (not installed" in fid.getvalue()
