"""Run the tests of an sdist on its wheel, in a new environment, not in the checkout.

``python tools/check_dist.py DIST [PYTEST_ARGS ...]``, with the folder of ``python -m
build``. Nothing of the checkout is there: files that are not packed, and paths that
lead out of the package, show.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path


def main(dist: Path, args: list[str]) -> int:
    """Install, unpack, and run pytest."""
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        (source,) = Path(folder).iterdir()
        # the package is to come from the wheel
        (source / "mne_megfm").rename(source.parent / "packed_package")
        venv.create(Path(folder) / "venv", with_pip=True, symlinks=os.name != "nt")
        scripts = "Scripts" if os.name == "nt" else "bin"
        python = Path(folder) / "venv" / scripts / "python"
        constraints = ["-c", source / "constraints.txt"]
        pip = [python, "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *constraints, "--no-deps", "torch"], check=True)
        wanted = f"mne-megfm[test] @ {wheel.resolve().as_uri()}"
        subprocess.run([*pip, *constraints, wanted], check=True)
        command = [python, "-m", "pytest", "-p", "no:cacheprovider", "tests", *args]
        return subprocess.run(command, cwd=source, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
