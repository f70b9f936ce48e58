"""How recordings are read: states, events, filters."""

from __future__ import annotations

from dataclasses import dataclass, field


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
