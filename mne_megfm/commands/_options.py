"""Options that several commands have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import click


@dataclass(frozen=True)
class Reading:
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


def reading_options(function: Callable) -> Callable:
    """Add the fields of a `Reading` to a command."""
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
            help="Cut continuous recordings of a state around these events (* for "
            "all); without, they have no responses.",
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
    for option in reversed(options):
        function = option(function)
    return function
