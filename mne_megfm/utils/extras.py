"""What is said when a package that only some functions need is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needs_extra(extra: str, use: str) -> Iterator[None]:
    """Name the extra that has the packages imported inside, where one is missing.

    Parameters
    ----------
    extra : str
        The extra, as in setup.cfg.
    use : str
        What the packages are needed for, as in "the command mne-megfm".

    Raises
    ------
    ImportError
        If an import inside fails.
    """
    try:
        yield
    except ImportError as error:
        package = (error.name or "its packages").partition(".")[0].replace("_", "-")
        raise ImportError(
            f"Expected {package} for {use}, got none ({error}); run: "
            f"pip install 'mne-megfm[{extra}]'.",
            name=error.name,
        ) from error
