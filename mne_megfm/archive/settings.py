"""How recordings are read: states, events, filters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


class SettingsError(ValueError):
    """What was asked for makes no sense, by itself or for these recordings."""


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

    def __post_init__(self) -> None:
        if self.st_duration is not None and not self.maxwell:
            raise SettingsError(
                f"Expected maxwell with st_duration={self.st_duration:g}, got none; "
                "ask for both or for neither."
            )
        for name in ("highpass", "lowpass", "notch", "st_duration"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise SettingsError(
                    f"Expected {name} to be above 0, got {value:g}; leave it out for "
                    "none."
                )
        if None not in (self.highpass, self.lowpass) and self.highpass >= self.lowpass:
            raise SettingsError(
                f"Expected highpass to be less than lowpass, got {self.highpass:g} and "
                f"{self.lowpass:g} Hz; name the band to keep."
            )


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

    def __post_init__(self) -> None:
        super().__post_init__()
        check_states(self.states)
        if not self.tmin < self.tmax:
            raise SettingsError(
                f"Expected tmin to be less than tmax, got {self.tmin:g} and "
                f"{self.tmax:g} s; name start and end of an epoch from its event."
            )


def check_states(states: Mapping[str, Iterable[str]]) -> None:
    """See that no task is of two states.

    Parameters
    ----------
    states : dict
        Tasks of each state.

    Raises
    ------
    SettingsError
        If a task is there twice.
    """
    counts = Counter(task for tasks in states.values() for task in tasks)
    twice = [task for task, count in counts.items() if count > 1]
    if twice:
        raise SettingsError(
            f"Expected each task once, got {twice[0]!r} twice; give it to one state."
        )


#: How recordings are read without any option.
PLAIN = Reading()
