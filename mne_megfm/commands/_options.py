"""The group of commands, and the options that they share.

A command is the object ``command`` of the module of its name, made with
``click.command(cls=Command)``. Exit codes: 0 done, 1 failed, 2 called wrongly.
"""

from __future__ import annotations

import csv
import functools
import importlib
import sys
import tempfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from .. import __version__
from ..archive.settings import PLAIN, Reading, SettingsError
from ..utils.errors import is_of_memory

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
            except SettingsError as error:  # called wrongly
                raise click.UsageError(str(error), ctx) from error
            except Exception as error:
                if verbose or not (isinstance(error, EXPECTED) or is_of_memory(error)):
                    raise
                message = str(error) or type(error).__name__
                if is_of_memory(error):
                    message = (
                        f"Expected more memory than there is ({message}); run fewer "
                        "--jobs at a time, or use a machine with more. What was "
                        "reported as written stays."
                    )
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


def check_target(path: Path, overwrite: bool, suffixes: tuple[str, ...]) -> None:
    """See that a file can be written, before time is spent on what it will hold."""
    if path.suffix not in suffixes:
        raise click.UsageError(
            f"Expected a file that ends with {' or '.join(suffixes)}, got {path.name}."
        )
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"Expected a new file, got {path}, which exists; choose another one, or "
            "pass --overwrite."
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"Expected a folder {path.parent} to write to, got none; make it first."
        )
    check_folder(path.parent)


def check_folder(folder: Path) -> None:
    """See that files can be written to a folder."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise PermissionError(
            f"Expected a folder to write to, got {folder}, where that fails "
            f"({error}); choose another one."
        ) from error


def parse_columns(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> list[str]:
    """Read ``ONE,OTHER``, any number of times, each name once."""
    named = [name for value in values for name in _split(value, param)]
    return list(dict.fromkeys(named))


def _split(members: str, param: click.Parameter) -> list[str]:
    """Split names at commas, but for commas in double quotes."""
    try:
        (row,) = csv.reader([members], skipinitialspace=True, strict=True)
    except (csv.Error, ValueError) as error:  # an open quote, more than a line
        raise click.BadParameter(
            f"Expected {param.metavar} with names between commas, or in double "
            f"quotes, got {members!r} ({error}); close the quotes."
        ) from error
    return [member.strip() for member in row if member.strip()]


def parse_groups(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, list[str]]:
    """Read ``NAME=ONE,OTHER``, any number of times; quoted where a comma is inside."""
    groups: dict[str, list[str]] = {}
    for value in values:
        name, _, members = value.partition("=")
        listed = _split(members, param)
        if not (name.strip() and listed):
            raise click.BadParameter(f"Expected {param.metavar}, got {value!r}.")
        groups.setdefault(name.strip(), []).extend(listed)
    return groups


def filter_options(highpass: float) -> Callable[[Callable], Callable]:
    """Add options for filters to a command, with this high-pass by default."""
    options = [
        click.option(
            "--highpass",
            default=highpass,
            show_default=True,
            help="Lower edge of the filter in Hz; 0 for none.",
        ),
        click.option("--lowpass", type=float, help="Upper edge of the filter in Hz."),
        click.option(
            "--notch",
            type=float,
            help="Frequency of the mains in Hz; harmonics go with it.",
        ),
        click.option("--maxwell", is_flag=True, help="Use signal-space separation."),
        click.option("--st-duration", type=float, help="Its temporal extension in s."),
    ]
    return functools.partial(_add, options)


def reading_options(function: Callable) -> Callable:
    """Add the fields of a `Reading` to a command, which gets one as ``reading``."""
    options = [
        click.option(
            "--state",
            "states",
            multiple=True,
            metavar="STATE=TASK,...",
            callback=parse_groups,
            help="Tasks that a state goes by; others are left out. By default each "
            "task is a state.",
        ),
        click.option(
            "--events",
            multiple=True,
            metavar="STATE=EVENT,...",
            callback=parse_groups,
            help="Cut continuous recordings of a state around these events: names of "
            "annotations (events.tsv), parts of such names between slashes, else "
            "numbers of the trigger channel; * for all, of annotations alone if there "
            "is an events.tsv. Annotations that begin with BAD or EDGE are no events. "
            "A name with a comma stands in double quotes, as in "
            "'faces=\"left, up\",right'. "
            "Of recordings that are epochs already, these are taken. Without, "
            "continuous recordings have no responses.",
        ),
        click.option(
            "--tmin",
            default=PLAIN.tmin,
            show_default=True,
            help="Start of such an epoch from its event, in s.",
        ),
        click.option(
            "--tmax",
            default=PLAIN.tmax,
            show_default=True,
            help="End of such an epoch from its event, in s.",
        ),
    ]

    @functools.wraps(function)
    def command(*args: Any, **kwargs: Any) -> Any:
        given = {part.name: kwargs.pop(part.name) for part in fields(Reading)}
        return function(*args, reading=_reading(given), **kwargs)

    return _add(options, filter_options(0.0)(command))


def reading_as_before(reading: Reading, before: dict[str, Any]) -> Reading:
    """Take what no option of the present command says from an earlier reading.

    Parameters
    ----------
    reading : Reading
        What the options of the present command say.
    before : dict
        The fields of the earlier one.

    Returns
    -------
    reading : Reading
        What to do.
    """
    source = click.get_current_context().get_parameter_source
    default = click.core.ParameterSource.DEFAULT
    given = {part.name: getattr(reading, part.name) for part in fields(Reading)}
    earlier = vars(Reading(**before))
    kept = {name: earlier[name] for name in given if source(name) is default}
    return _reading(given | kept)


def _reading(given: dict[str, Any]) -> Reading:
    return Reading(**given | {"highpass": given["highpass"] or None})


def _add(options: list[Callable], function: Callable) -> Callable:
    for option in reversed(options):
        function = option(function)
    return function
