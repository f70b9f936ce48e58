"""Settings of simulated recordings, checked once."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from numbers import Integral, Real

import numpy as np

STATES = ("rest", "auditory", "somatosensory")
EVENT_ID = {name: ii + 1 for ii, name in enumerate(STATES)}
LABELS = ("control", "migraine")

# Filters that laboratories use, in Hz; none is the most frequent.
_FILTERS = (
    (None, None),
    (None, None),
    (None, None),
    (None, 80.0),
    (0.1, None),
    (0.1, 80.0),
    (0.3, 100.0),
    (0.5, None),
    (0.5, 40.0),
    (1.0, None),
    (1.0, 45.0),
    (1.0, 100.0),
)


def check_label(label: str) -> None:
    """Raise if a label is not known."""
    if label not in LABELS:
        raise ValueError(f"Expected a label, one of {LABELS}, got {label!r}.")


@dataclass
class Settings:
    """How recordings are made; see `simulate_cohort` for the meaning."""

    states: tuple[str, ...] = STATES
    n_epochs: int | dict = 40
    epoch_duration: float = 1.0
    tmin: float = -0.2
    sfreq: float = 250.0
    isi_jitter: float = 0.15
    train_length: int = 10
    train_gap: float = 1.0
    raw_states: tuple[str, ...] = ()
    filters: object = None
    line_freq: object = "random"
    brain: float = 1.0
    noise: float = 1.0
    artifacts: float = 1.0
    head_pos: object = "random"
    n_bads: int = 0
    n_times: int = field(init=False)
    n_before: int = field(init=False)

    @classmethod
    def from_kwargs(cls, kwargs: dict) -> Settings:
        """Make settings from keyword arguments."""
        known = [f.name for f in fields(cls) if f.init]
        for name in kwargs:
            if name not in known:
                raise TypeError(
                    f"Expected settings among {', '.join(known)}, got {name!r}."
                )
        return cls(**kwargs)

    def __post_init__(self):
        self.states = _check_states("states", self.states)
        self.raw_states = _check_states("raw_states", self.raw_states)
        if not self.states:
            raise ValueError(f"Expected at least one state of {STATES}, got none.")
        for name in ("sfreq", "epoch_duration"):
            _check_number(name, getattr(self, name), above=0.0)
        for name in ("isi_jitter", "train_gap", "brain", "noise", "artifacts"):
            _check_number(name, getattr(self, name), least=0.0)
        _check_number("tmin", self.tmin)
        if self.sfreq < 100.0:
            raise ValueError(
                f"Expected sfreq of at least 100 Hz, got {self.sfreq}; simulate at a "
                "higher rate and resample."
            )
        if not isinstance(self.n_epochs, dict):
            self.n_epochs = dict.fromkeys(self.states, self.n_epochs)
        for state in self.states:
            _check_count(f"n_epochs of {state}", self.n_epochs.get(state), 1)
        _check_count("train_length", self.train_length, 1)
        _check_count("n_bads", self.n_bads, 0)
        self.n_times = int(round(self.epoch_duration * self.sfreq))
        self.n_before = int(round(-self.tmin * self.sfreq))
        if not 0 <= self.n_before < self.n_times:
            raise ValueError(
                "Expected tmin between minus epoch_duration and 0, so that the "
                f"stimulus is in the epoch, got {self.tmin} with epochs of "
                f"{self.epoch_duration} s."
            )
        self._check_filters()
        line = self.line_freq
        if line is not None and not (isinstance(line, str) and line == "random"):
            _check_number("line_freq", line, above=0.0)

    def _check_filters(self):
        if self.filters is None or self.filters == "random":
            return
        if not isinstance(self.filters, (tuple, list)) or len(self.filters) != 2:
            raise ValueError(
                "Expected filters to be None, 'random' or a pair (l_freq, h_freq), "
                f"got {self.filters!r}."
            )
        low, high = self.filters = tuple(self.filters)
        for name, value in (("l_freq", low), ("h_freq", high)):
            if value is not None:
                _check_number(name, value, above=0.0)
        if high is not None and not (low or 0.0) < high < self.sfreq / 2:
            raise ValueError(
                "Expected h_freq above l_freq and below half of sfreq, got "
                f"{self.filters} at {self.sfreq} Hz."
            )

    def draw_filters(self, rng: np.random.Generator) -> tuple:
        """Return (l_freq, h_freq) of a participant's recordings."""
        low, high = _FILTERS[rng.integers(len(_FILTERS))]
        if self.filters is None:
            return None, None
        if self.filters != "random":
            return self.filters
        return low, (None if high is None or high > 0.45 * self.sfreq else high)

    def draw_line(self, rng: np.random.Generator) -> float | None:
        """Return the mains frequency that a participant's recordings show."""
        visible, first = rng.random() < 0.8, rng.random() < 0.5
        if self.line_freq != "random":
            return self.line_freq
        return (50.0 if first else 60.0) if visible else None


def _check_states(name: str, states) -> tuple[str, ...]:
    states = (states,) if isinstance(states, str) else tuple(states)
    for state in states:
        if state not in STATES:
            raise ValueError(
                f"Expected {name} among {', '.join(STATES)}, got {state!r}."
            )
    return tuple(state for state in STATES if state in states)


def _check_number(name: str, value, *, least=-np.inf, above=-np.inf) -> None:
    good = isinstance(value, Real) and np.isfinite(value)
    if not good or value < least or value <= above:
        limit = f" above {above:g}" if above > -np.inf else ""
        limit = f" of at least {least:g}" if least > -np.inf else limit
        raise ValueError(f"Expected {name} to be a number{limit}, got {value!r}.")


def _check_count(name: str, value, least: int) -> None:
    if not isinstance(value, Integral) or value < least:
        raise ValueError(
            f"Expected {name} to be an integer of at least {least}, got {value!r}."
        )
