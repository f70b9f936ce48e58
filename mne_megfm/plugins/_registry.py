"""Finding parts by name, among the built-ins and in installed packages."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import EntryPoint
from typing import Any

from mne.utils import warn

from ._builtins import KINDS, Kind
from ._probe import probe, say_later, watched_interrupts


class Registry:
    """The parts of one kind, each loaded on first use.

    External plug-ins are looked up once, on first use, in the metadata of the installed
    packages; nothing of theirs is imported before it is asked for by name or listed.
    What the methods do for users is described at the functions of the same names.

    Parameters
    ----------
    kind : Kind
        Name, entry-point group, required methods and built-in parts of the kind.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._builtins = {
            name: EntryPoint(name, value, kind.group)
            for name, value in kind.builtins.items()
        }
        self._temporary: dict[str, Callable[..., Any]] = {}
        self._loaded: dict[str, Callable[..., Any]] = {}
        self._failures: dict[str, tuple[str, BaseException]] = {}
        self._tried: set[str] = set()
        self._found: dict[str, EntryPoint] | None = None

    def available(self) -> tuple[str, ...]:
        """List the names that can be used."""
        # A name that is listed has to work, so the external ones are tried
        known = {*self._loaded, *self._failures, *self._tried}
        new = [name for name in self._external() if name not in known]
        reasons = probe([self._external()[name] for name in new])
        for name, reason in zip(new, reasons, strict=True):
            if reason:
                self._fail(name, reason, ImportError(reason))
            else:
                self._tried.add(name)
        external = set(self._external()) - set(self._failures)
        return tuple(sorted({*self._builtins, *self._temporary, *external}))

    def get(self, name: str) -> Callable[..., Any]:
        """Return what makes the part of this name."""
        if name in self._temporary:
            return self._temporary[name]
        external = self._external()  # also warns of an external that claims our names
        if name in self._builtins:
            # One of ours that cannot be imported is an error as it stands
            return self._load(self._builtins[name])
        factory = self._try(name) if name in external else None
        if factory is None:
            cause = self._failures[name][1] if name in self._failures else None
            raise ValueError(self._unknown(name)) from cause
        return factory

    def resolve(self, spec: Any, **params: Any) -> Any:
        """Return a part, made by name or given as an instance."""
        expected = f"Expected the name of {self.kind.one} or an instance"
        if inspect.isclass(spec):
            raise TypeError(
                f"{expected}, got the class {spec.__name__}; make an instance of it: "
                f"{spec.__name__}(...)."
            )
        part = self._make(spec, params) if isinstance(spec, str) else spec
        methods = self.kind.methods
        if not all(callable(getattr(part, method, None)) for method in methods):
            raise TypeError(
                f"{expected} with the method(s) {_enumerate(methods)}, got {part!r}; "
                f"choose one of the names {_enumerate(self.available())}."
            )
        return part

    @contextmanager
    def temporary(self, name: str, factory: Callable[..., Any]) -> Iterator[None]:
        """Make a part known for the length of a ``with`` block."""
        if not callable(factory):
            raise TypeError(f"Expected a class or a function, got {factory!r}.")
        if name in {*self._builtins, *self._temporary, *self._external()}:
            raise ValueError(
                f"Expected a name that is free, got {name!r}; choose another one."
            )
        self._temporary[name] = factory
        try:
            yield
        finally:
            del self._temporary[name]

    def _make(self, name: str, params: dict[str, Any]) -> Any:
        factory = self.get(name)
        signature = inspect.signature(factory)
        try:
            signature.bind(**params)
        except TypeError as exc:
            raise TypeError(
                f"Expected arguments for the {self.kind.singular} {name!r} that fit "
                f"{signature}, got {params} ({exc}); give only arguments that it has."
            ) from None
        return factory(**params)

    def _load(self, entry: EntryPoint) -> Callable[..., Any]:
        if entry.name not in self._loaded:
            self._loaded[entry.name] = entry.load()
        return self._loaded[entry.name]

    def _try(self, name: str) -> Callable[..., Any] | None:
        """Load an external part; a failure is a warning, once, and gives None."""
        if name in self._failures:
            return None
        entry = self._external()[name]
        text = (
            f"Still importing the {self.kind.singular} {name!r} of {_origin(entry)} "
            f"({entry.value}), which takes long; Ctrl-C ends it."
        )
        with watched_interrupts() as interrupted, say_later(text):
            try:
                part = self._load(entry)
                if not callable(part):
                    raise TypeError(f"{part!r} cannot be called")
                return part
            # an import may also ask for the end of the process, or of a generator
            except BaseException as exc:
                if isinstance(exc, KeyboardInterrupt) and interrupted():
                    raise
                self._loaded.pop(name, None)
                self._fail(name, f"{type(exc).__name__}: {exc}", exc)
        return None

    def _fail(self, name: str, reason: str, cause: BaseException) -> None:
        self._failures[name] = reason, cause
        entry = self._external()[name]
        warn(
            f"The {self.kind.singular} {name!r} of {_origin(entry)} ({entry.value}) "
            f"cannot be used: {reason}"
        )

    def _external(self) -> dict[str, EntryPoint]:
        """Find the entry points of this kind, one for each name."""
        if self._found is None:
            self._found = {}
            # The order of sys.path is no reason to take one plug-in or another
            for entry in self.kind.entry_points():
                taken = self._builtins.get(entry.name) or self._found.get(entry.name)
                if taken is None:
                    self._found[entry.name] = entry
                else:
                    warn(
                        f"The {self.kind.singular} {entry.name!r} of {_origin(entry)} "
                        f"({entry.value}) is left out, since {_origin(taken)} has one "
                        f"of that name ({taken.value})."
                    )
        return self._found

    def _unknown(self, name: str) -> str:
        names = self.available()
        message = (
            f"Expected the name of {self.kind.one}, one of {_enumerate(names)}, or an "
            f"instance; got {name!r}."
        )
        if name in self._failures:
            return (
                f"{message} A plug-in of this name is installed, but cannot be used: "
                f"{self._failures[name][0]}"
            )
        close = difflib.get_close_matches(name.lower(), names, n=3)
        return f"{message} Did you mean {_enumerate(close)}?" if close else message


def _origin(entry: EntryPoint) -> str:
    if entry.dist is None:
        return "mne-megfm"
    return entry.dist.metadata["Name"] or "a package without a name"


def _enumerate(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names) or "(none)"


_REGISTRIES = {name: Registry(kind) for name, kind in KINDS.items()}


def _registry(kind: str) -> Registry:
    if kind not in _REGISTRIES:
        raise ValueError(
            f"Expected a kind of plug-in, one of {_enumerate(_REGISTRIES)}; got "
            f"{kind!r}."
        )
    return _REGISTRIES[kind]


def available(kind: str) -> tuple[str, ...]:
    """List the names of the parts of one kind.

    Parameters
    ----------
    kind : str
        One of the keys of ``KINDS``, for example ``'maskings'``.

    Returns
    -------
    names : tuple of str
        Sorted names that can be given to the estimators. External plug-ins are imported
        for this, once, in processes of their own. One that fails, ends its process, or
        takes longer than 30 s is left out with a warning that gives the reason.

    Raises
    ------
    ValueError
        If there is no such kind.

    Examples
    --------
    >>> from mne_megfm.plugins import available
    >>> "time-block" in available("maskings")
    True
    """
    return _registry(kind).available()


def get(kind: str, name: str) -> Callable[..., Any]:
    """Return what makes the part of this kind and name.

    An external plug-in is imported for this in the process that asks.

    Parameters
    ----------
    kind : str
        One of the keys of ``KINDS``, for example ``'maskings'``.
    name : str
        Name of a part.

    Returns
    -------
    factory : callable
        A class, or another callable that returns the part.

    Raises
    ------
    ValueError
        If there is no such kind or no usable part of this name; the message lists what
        there is.
    """
    return _registry(kind).get(name)


def resolve(kind: str, spec: Any, **params: Any) -> Any:
    """Return a part of this kind, made by name or given as an instance.

    Parameters
    ----------
    kind : str
        One of the keys of ``KINDS``, for example ``'maskings'``.
    spec : str | object
        Name of a part, or a part, which is returned as it is.
    **params : dict
        Arguments with which a named part is made; an instance is not changed by them.

    Returns
    -------
    part : object
        The part.

    Raises
    ------
    TypeError
        If the part lacks a method of its kind, a class is given instead of an
        instance, or a named part does not take these arguments.
    ValueError
        If there is no such kind or no usable part of this name; the message lists what
        there is.
    """
    return _registry(kind).resolve(spec, **params)


def temporary(
    kind: str, name: str, factory: Callable[..., Any]
) -> AbstractContextManager[None]:
    """Make a part known for the length of a ``with`` block, as tests need.

    Parameters
    ----------
    kind : str
        One of the keys of ``KINDS``, for example ``'maskings'``.
    name : str
        A name that is not taken.
    factory : callable
        A class, or another callable that returns the part.

    Returns
    -------
    context : context manager
        Inside it, the name is known.

    Raises
    ------
    TypeError
        If the factory cannot be called.
    ValueError
        If there is no such kind, or the name is taken.

    Examples
    --------
    >>> from mne_megfm.plugins import resolve, temporary
    >>> with temporary("objectives", "constant", lambda value: lambda x: value):
    ...     objective = resolve("objectives", "constant", value=3)
    >>> objective("anything")
    3
    """
    return _registry(kind).temporary(name, factory)
