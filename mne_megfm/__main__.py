"""The command ``mne-megfm``, also as ``python -m mne_megfm``."""

import sys

from .utils.extras import needs_extra


def main() -> None:
    """Run a command; without the packages that commands need, say what to install."""
    try:
        with needs_extra("cli", "the command mne-megfm"):
            import click  # noqa: F401
    except ImportError as error:
        sys.exit(f"Error: {error}")
    from .commands import main as group

    group()


if __name__ == "__main__":
    main()
