"""What a bug report needs to say about a machine."""

import os
import platform
import sys
from importlib import metadata
from typing import TextIO

from . import __version__

_WIDTH = 21


def sys_info(fid: TextIO | None = None) -> None:
    """Print system information, to go with a bug report.

    Lists the platform, the packages that mne-megfm needs or can use (and whether their
    versions are in the tested range), how torch will compute, the weights that come
    with the package, and plug-ins of other packages.

    Parameters
    ----------
    fid : file-like | None
        The file to write to. None means standard output.

    Notes
    -----
    Nothing is downloaded. Plug-ins are listed without importing them.

    Examples
    --------
    >>> import mne_megfm
    >>> mne_megfm.sys_info()
    Platform ...
    """
    lines = [
        *_machine(),
        "",
        *_packages(),
        "",
        *_torch(),
        "",
        *_section("Bundled weights", _weights()),
        *_section("Plug-ins of others", _plugins()),
    ]
    # Looked up now, so that redirected output is redirected
    (fid or sys.stdout).write("\n".join(lines) + "\n")


def _row(label: str, text: str) -> str:
    return f"{label:<{_WIDTH}}{text}"


def _section(title: str, rows: list[str]) -> list[str]:
    return [title, *(f"  {row}" for row in rows or ["(none)"])]


def _machine() -> list[str]:
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    except (AttributeError, ValueError, OSError):  # no such call on Windows
        memory = None
    cpu = platform.processor() or platform.machine()
    return [
        _row("Platform", platform.platform()),
        _row("Python", sys.version.replace("\n", " ")),
        _row("Executable", sys.executable),
        _row("CPU", f"{cpu} ({os.cpu_count()} cores)"),
        _row("Memory", "unknown" if memory is None else f"{memory:.1f} GiB"),
    ]


def _packages() -> list[str]:
    """List our requirements as the installed metadata states them."""
    from packaging.requirements import Requirement

    try:
        requirements = [Requirement(r) for r in metadata.requires("mne-megfm") or ()]
    except metadata.PackageNotFoundError:
        note = f"{__version__} (not installed: requirements unknown)"
        return _section("Core", [_row("mne-megfm", note)])
    core, optional = [_row("mne-megfm", __version__)], []
    for requirement in sorted(requirements, key=lambda r: r.name.lower()):
        if requirement.name == "mne-megfm":  # an extra made of other extras
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            version = "not installed"
        else:
            if not requirement.specifier.contains(version, prereleases=True):
                version += f" (expected {requirement.specifier})"
        row = _row(requirement.name, version)
        rows = core if requirement.marker is None else optional
        if row not in rows:  # several extras may name the same package
            rows.append(row)
    return [*_section("Core", core), "", *_section("Optional", optional)]


def _torch() -> list[str]:
    try:
        import torch
    except Exception as exc:  # sys_info is for broken installations, too
        return _section("torch", [f"cannot be imported: {type(exc).__name__}: {exc}"])
    devices = [
        f"cuda:{i} ({torch.cuda.get_device_name(i)})"
        for i in range(torch.cuda.device_count())
    ]
    if torch.backends.mps.is_available():
        devices.append("mps")
    capability = torch.backends.cpu.get_cpu_capability()
    rows = [
        ("threads", f"{torch.get_num_threads()} (cpu, {capability})"),
        ("devices", ", ".join(["cpu", *devices])),
    ]
    return _section("torch", [_row(*row) for row in rows])


def _weights() -> list[str]:
    from .weights import available_weights, weights_path

    rows = []
    for name in available_weights():
        files = weights_path(name).glob("*.safetensors")
        size = sum(file.stat().st_size for file in files) / 1e6
        rows.append(_row(name, f"{size:.1f} MB"))
    return rows


def _plugins() -> list[str]:
    from .plugins import KINDS

    return [
        f"{kind.singular} {entry.name!r} ({entry.value})"
        for kind in KINDS.values()
        for entry in kind.entry_points()
    ]
