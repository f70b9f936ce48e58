"""What all commands share: lazy loading, verbosity, exit codes.

A command is the object ``command`` of the module of its name, made with
``click.command(cls=Command)``. Exit codes: 0 done, 1 failed, 2 called wrongly.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from .._version import __version__

#: Name and summary of every command; the summaries serve ``--help`` without imports.
COMMANDS = {
    "check": "Find what of a store, of weights or of a run is damaged.",
    "classify": "Fit a classifier on a table of features, or use one.",
    "demo": "A tour: a simulated cohort and one recording.",
    "features": "Turn recordings into a table of features.",
    "info": "Tell what a checkpoint is, or what is installed.",
    "prepare": "Bring a BIDS data set or files to a store of windows.",
    "pretrain": "Pretrain a model on a store of windows.",
    "report": "Write one HTML report of recordings, a model and results.",
}
#: What users can do something about; anything else is a bug and keeps its traceback.
EXPECTED = (ImportError, OSError, RuntimeError, TypeError, ValueError)


class _WithExamples(click.Command):
    """A command that shows examples under its help, line by line."""

    def __init__(self, *args: Any, examples: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are."""
        with formatter.section("Examples"):
            for line in self.examples.strip().splitlines():
                formatter.write(f"  {line.strip()}\n")


class Command(_WithExamples):
    """A command with ``--verbose`` and ``--quiet``, whose errors are one message.

    Parameters
    ----------
    *args, **kwargs
        As of :class:`click.Command`.
    examples : str
        Calls, one a line, that ``--help`` shows.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += [
            click.Option(
                ["-v", "--verbose"], is_flag=True, help="Say more; show tracebacks."
            ),
            click.Option(
                ["-q", "--quiet"], is_flag=True, help="Say only what matters."
            ),
        ]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command at the log level asked for."""
        verbose, quiet = ctx.params.pop("verbose"), ctx.params.pop("quiet")
        if verbose and quiet:
            raise click.UsageError("Expected --verbose or --quiet, got both.", ctx)
        from mne.utils import use_log_level

        level = "debug" if verbose else "warning" if quiet else "info"
        with use_log_level(level):
            try:
                return super().invoke(ctx)
            except (click.ClickException, click.Abort, click.exceptions.Exit):
                raise
            except EXPECTED as error:
                if verbose:
                    raise
                message = str(error) or type(error).__name__
                raise click.ClickException(message) from error


class LazyGroup(_WithExamples, click.Group):
    """Commands whose modules are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"{__package__}.{cmd_name}").command

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    examples="""
    mne-megfm demo
    mne-megfm prepare BIDS_ROOT STORE
    mne-megfm pretrain STORE OUT
    mne-megfm features sub-*_meg.fif --weights OUT --out features.parquet
    """,
)
@click.version_option(__version__, prog_name="mne-megfm")
def main() -> None:
    """Features from a transformer pretrained on MEG.

    `mne-megfm COMMAND --help` tells more. Exit codes: 0 done, 1 failed, 2 called
    wrongly.
    """


def run_as_module(name: str) -> None:
    """Run one command as ``python -m mne_megfm.commands.<name>``, as torchrun does."""
    main([name, *sys.argv[1:]])
