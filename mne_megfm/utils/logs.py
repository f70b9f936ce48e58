"""The decorator for functions that take ``verbose``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

Function = TypeVar("Function", bound=Callable)

if TYPE_CHECKING:

    def verbose(function: Function) -> Function:
        """Keep the signature, which MNE's decorator hides from type checkers."""
        return function
else:
    from mne.utils import verbose

__all__ = ["verbose"]
