"""Options that several commands have."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import click


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What continuous recordings go through.

    Attributes
    ----------
    highpass, lowpass : float | None
        Edges of the filter in Hz.
    notch : float | None
        Frequency of the mains in Hz; its harmonics are filtered as well.
    maxwell : bool
        Whether to use signal-space separation.
    st_duration : float | None
        Length of its temporal extension in s.
    """

    highpass: float | None = None
    lowpass: float | None = None
    notch: float | None = None
    maxwell: bool = False
    st_duration: float | None = None


@dataclass(frozen=True, kw_only=True)
class Reading(Filters):
    """How recordings are read.

    Attributes
    ----------
    states : dict
        Tasks of each state; others are left out. Without any, a task is a state.
    events : dict
        Events of each state that continuous recordings are cut around; those of other
        states stay in one piece.
    tmin, tmax : float
        Start and end of an epoch from its event, in s; the end is not part of it.
    highpass, lowpass, notch, maxwell, st_duration
        See `Filters`.
    """

    states: dict[str, list[str]] = field(default_factory=dict)
    events: dict[str, list[str]] = field(default_factory=dict)
    tmin: float = -0.2
    tmax: float = 0.8


#: How recordings are read without any option.
PLAIN = Reading()


def parse_groups(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, list[str]]:
    """Read ``NAME=ONE,OTHER``, given any number of times."""
    groups: dict[str, list[str]] = {}
    for value in values:
        name, _, members = value.partition("=")
        listed = [member.strip() for member in members.split(",") if member.strip()]
        if not (name.strip() and listed):
            raise click.BadParameter(f"Expected {param.metavar}, got {value!r}.")
        groups.setdefault(name.strip(), []).extend(listed)
    given = [member for members in groups.values() for member in members]
    twice = [member for member, n in Counter(given).items() if n > 1]
    if param.name == "states" and twice:
        raise click.BadParameter(f"Expected each task once, got {twice[0]!r} twice.")
    return groups


def filter_options(highpass: float) -> Callable[[Callable], Callable]:
    """Add the fields of a `Filters` to a command, with this high-pass by default."""
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


def check_filters(
    highpass: float | None,
    lowpass: float | None,
    notch: float | None,
    maxwell: bool,
    st_duration: float | None,
) -> Filters:
    """Check what was given for a `Filters`; a high-pass of 0 is none."""
    highpass = highpass or 0.0
    if st_duration is not None and not maxwell:
        raise click.UsageError("Expected --maxwell with --st-duration.")
    values = {"lowpass": lowpass, "notch": notch, "st-duration": st_duration}
    for name, value in values.items():
        if value is not None and not 0 < value < float("inf"):
            raise click.UsageError(f"Expected --{name} to be above 0, got {value}.")
    if not 0 <= highpass < (float("inf") if lowpass is None else lowpass):
        raise click.UsageError(
            f"Expected --highpass from 0 Hz to less than --lowpass, got {highpass}."
        )
    return Filters(
        highpass=highpass or None,
        lowpass=lowpass,
        notch=notch,
        maxwell=maxwell,
        st_duration=st_duration,
    )


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
    names = [part.name for part in fields(Filters)]
    filters = check_filters(**{name: given.pop(name) for name in names})
    if not given["tmin"] < given["tmax"]:
        raise click.UsageError(
            f"Expected --tmin to be less than --tmax, got {given['tmin']} and "
            f"{given['tmax']}."
        )
    return Reading(**given, **vars(filters))


def _add(options: list[Callable], function: Callable) -> Callable:
    for option in reversed(options):
        function = option(function)
    return function
