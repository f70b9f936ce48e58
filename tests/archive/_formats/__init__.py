"""Writers of files that MNE-Python reads and does not write, for tests."""

from .ctf import write_ctf
from .kit import write_kit

__all__ = ["write_ctf", "write_kit"]
