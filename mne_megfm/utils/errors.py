"""What errors say."""

from __future__ import annotations

import errno

# how torch, whose errors are of no kind of their own, says it of the CPU
_NO_MEMORY = ("allocate memory", "not enough memory", "out of memory", "bad_alloc")


def is_of_memory(error: BaseException) -> bool:
    """Find whether an error, or what caused it, is that memory did not suffice."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    if isinstance(error, RuntimeError) and any(x in str(error) for x in _NO_MEMORY):
        return True
    return error.__cause__ is not None and is_of_memory(error.__cause__)
