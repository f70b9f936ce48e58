"""The ``verbose`` parameter of estimators."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from mne.utils import use_log_level


def use_verbose(method: Callable) -> Callable:
    """Run a method of an estimator at the log level of its ``verbose`` parameter.

    `mne.verbose` does this for functions; methods that scikit-learn calls cannot take
    an argument for it.
    """

    @wraps(method)
    def at_level(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.verbose is None:
            return method(self, *args, **kwargs)
        with use_log_level(self.verbose):
            return method(self, *args, **kwargs)

    return at_level
