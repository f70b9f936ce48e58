"""Parts found by name: those of the package and those of installed packages."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import Any

from mne.utils import warn

from ._imports import in_words, kept_state, probe, say_later, watched_interrupts


@dataclass(frozen=True)
class Kind:
    """One kind of plug-in.

    Parameters
    ----------
    name : str
        The kind, which also ends the name of its entry-point group.
    singular : str
        What one part of the kind is called in messages.
    methods : tuple of str
        The methods that a part must have.
    attributes : tuple of str
        What else it must have.
    builtins : dict
        Name of each built-in part, and where it is: ``"module:object"``, the form that
        entry points have.
    """

    name: str
    singular: str
    methods: tuple[str, ...] = ("__call__",)
    attributes: tuple[str, ...] = ()
    builtins: dict[str, str] = field(default_factory=dict)

    @property
    def group(self) -> str:
        """The entry-point group in which packages offer parts of this kind."""
        return f"mne_megfm.{self.name}"

    @property
    def one(self) -> str:
        """What one part of the kind is called in messages, with its article."""
        return f"{'an' if self.singular[0] in 'aeiou' else 'a'} {self.singular}"

    def entry_points(self) -> list[EntryPoint]:
        """List what installed packages offer, in the order of the packages' names.

        Returns
        -------
        entries : list of EntryPoint
            Nothing of them has been imported. A package whose metadata cannot be read
            is left out with a warning.
        """
        found: dict[str, list[EntryPoint]] = {}
        # one by one, since all of them together end at the first that is broken
        for dist in distributions():
            own_name, name = None, "a package without a name"
            try:
                # not by index, which the backport of importlib.metadata refuses
                own_name = dist.metadata.get("Name")
                name = own_name or name
                entries = list(dist.entry_points.select(group=self.group))
            except Exception as exc:
                # also of packages that have nothing to do with this one
                if self.group in _text(dist):
                    warn(
                        f"The plug-ins of {name} cannot be used: its list of entry "
                        f"points cannot be read ({type(exc).__name__}: {exc})."
                    )
                continue
            # of a package that is there twice, the first on the path is the one in use
            if name in found and own_name:
                continue
            found[name] = found.get(name, []) + entries
        return [entry for name in sorted(found) for entry in found[name]]


def _text(dist: Distribution) -> str:
    """Read the list of entry points of a package as it is."""
    try:
        return dist.read_text("entry_points.txt") or ""
    except UnicodeDecodeError as error:
        return str(error.object, "utf-8", "replace")


#: Where networks of braindecode are adapted; it is imported when one is made.
_BRAINDECODE = "mne_megfm.plugins.braindecode_backbones"

KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "sensor_mappings",
            "sensor mapping",
            methods=("__call__", "mapping"),
            attributes=("array", "kernel"),
            builtins={"canonical": "mne_megfm.sensors:CanonicalSensorMapping"},
        ),
        Kind(
            "backbones",
            "backbone",
            methods=(
                "scale",
                "encode",
                "set_token_axes",
                "set_spectral_axes",
                "layer_groups",
                "layers",
            ),
            attributes=(
                "config_class",
                "config",
                "kernel",
                "token_mean",
                "token_axes",
                "token_power",
                "spectral_axes",
                "spectral_offset",
            ),
            builtins={
                **{
                    f"braindecode:{name.lower()}": f"{_BRAINDECODE}:{name}"
                    for name in (
                        "Biot",
                        "CBraMod",
                        "Eegnet",
                        "Eegpt",
                        "Labram",
                        "Luna",
                        "Reve",
                        "SignalJepa",
                    )
                },
                "hybrid-ssm": "mne_megfm.models:HybridStateSpace",
                "masked-transformer": "mne_megfm.models:MaskedSignalTransformer",
            },
        ),
        Kind(
            "maskings",
            "masking",
            builtins={
                "local": "mne_megfm.models:LocalMasking",
                "mixed": "mne_megfm.models:MixedMasking",
                "random": "mne_megfm.models:RandomMasking",
                "space-block": "mne_megfm.models:SpaceBlockMasking",
                "time-block": "mne_megfm.models:TimeBlockMasking",
            },
        ),
        Kind(
            "objectives",
            "objective",
            builtins={
                "huber+logspec": "mne_megfm.pretraining:signal_spectrum_objective",
                "log-error": "mne_megfm.pretraining:log_error_objective",
                "band-balanced": "mne_megfm.pretraining:BandBalancedReconstruction",
                "statistics": "mne_megfm.pretraining:WindowStatistics",
                "participant-consistency": (
                    "mne_megfm.pretraining:ParticipantConsistency"
                ),
                "latent": "mne_megfm.pretraining:LatentPrediction",
                "time-frequency codes": "mne_megfm.pretraining:TimeFrequencyCodes",
                "contrastive": "mne_megfm.pretraining:ContrastiveRegression",
            },
        ),
        Kind(
            "poolings",
            "pooling",
            methods=("__call__", "names", "state_dict"),
            builtins={
                "projection": "mne_megfm.models:ProjectionPooling",
                "mean": "mne_megfm.models:MeanPooling",
                "rwmoe": "mne_megfm.models:RandomWalkExperts",
                "space": "mne_megfm.models:SpacePooling",
                "time": "mne_megfm.models:TimePooling",
                "tokens": "mne_megfm.models:TokenPooling",
            },
        ),
        Kind(
            "aggregators",
            "aggregator",
            methods=("read", "combine", "fit", "transform", "names", "state_dict"),
            builtins={
                "measures": "mne_megfm.participants:MeasuresAggregator",
                "measures+evoked": "mne_megfm.participants:aggregate_with_evoked",
                "parameters": "mne_megfm.participants:ParametersAggregator",
                "parameters+measures": (
                    "mne_megfm.participants:aggregate_with_measures"
                ),
                "mean_std": "mne_megfm.participants:MeanStdAggregator",
            },
        ),
        Kind(
            "heads",
            "head",
            methods=("fit", "predict"),
            builtins={
                "logistic": "mne_megfm.estimators:LogisticHead",
                "mixing": "mne_megfm.estimators:state_mixing_head",
                "ridge": "mne_megfm.estimators:RidgeHead",
                "ssm": "mne_megfm.estimators:state_space_head",
            },
        ),
        Kind(
            "networks",
            "network",
            builtins={
                "eegnet": "mne_megfm.plugins._networks:eegnet",
                "shallow-fbcsp": "mne_megfm.plugins._networks:shallow_fbcsp_net",
            },
        ),
    )
}


@dataclass(frozen=True)
class PartInfo:
    """What is known of a part without making it.

    Parameters
    ----------
    kind : str
        Its kind, one of the keys of ``KINDS``.
    name : str
        Its name.
    origin : str
        Package that offers it, ``"built in"``, or ``"register"`` for one that a
        ``with`` block makes known.
    entry_point : str
        Where it is, ``"module:object"``.
    summary : str
        First line of its docstring; empty if it has none.
    error : str
        Why it cannot be used; empty if it can.
    """

    kind: str
    name: str
    origin: str
    entry_point: str
    summary: str = ""
    error: str = ""


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
        #: First line of the docstring of each that was imported elsewhere.
        self._tried: dict[str, str] = {}
        self._left_out: list[tuple[EntryPoint, str]] = []
        self._found: dict[str, EntryPoint] | None = None

    def available(self) -> tuple[str, ...]:
        """List the names that can be used."""
        # A name that is listed has to work, so the external ones are tried
        entries = self._external()
        known = {*self._loaded, *self._failures, *self._tried}
        new = [name for name in entries if name not in known]
        found = probe([entries[name] for name in new])
        for name, (reason, summary) in zip(new, found, strict=True):
            if reason:
                self._fail(name, reason, ImportError(reason))
            else:
                self._tried[name] = summary
        external = set(self._external()) - set(self._failures)
        return tuple(sorted({*self._builtins, *self._temporary, *external}))

    def describe(self) -> list[PartInfo]:
        """Describe all parts, also those that cannot be used."""
        with warnings.catch_warnings():
            # what cannot be used is in the list
            warnings.filterwarnings("ignore", f"The {self.kind.singular} '")
            self.available()
        rows = []
        for _, entry in sorted(self._builtins.items()):
            try:
                rows.append(self._row(entry, _summary(self._load(entry))))
            except ImportError as exc:
                rows.append(self._row(entry, error=in_words(exc)))
        for name, factory in sorted(self._temporary.items()):
            own = getattr(factory, "__qualname__", type(factory).__qualname__)
            where = f"{factory.__module__}:{own}"
            rows.append(
                PartInfo(self.kind.name, name, "register", where, _summary(factory))
            )
        for name, entry in sorted(self._external().items()):
            if name in self._failures:
                rows.append(self._row(entry, error=self._failures[name][0]))
            elif name in self._loaded:
                rows.append(self._row(entry, _summary(self._loaded[name])))
            else:
                rows.append(self._row(entry, self._tried[name]))
        rows += [self._row(entry, error=reason) for entry, reason in self._left_out]
        return rows

    def _row(self, entry: EntryPoint, summary: str = "", error: str = "") -> PartInfo:
        origin = "built in" if entry.dist is None else _origin(entry)
        kind = self.kind.name
        return PartInfo(kind, entry.name, origin, entry.value, summary, error)

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
        methods, attributes = self.kind.methods, self.kind.attributes
        missing = [m for m in methods if not callable(getattr(part, m, None))]
        missing += [a for a in attributes if not hasattr(part, a)]
        if missing:
            also = f" and {_enumerate(attributes)}" if attributes else ""
            raise TypeError(
                f"{expected} with the method(s) {_enumerate(methods)}{also}, got "
                f"{part!r} without {_enumerate(missing)}; choose one of the names "
                f"{_enumerate(self.available())}."
            )
        return part

    def name_of(self, part: Any) -> str:
        """Return the name under which the class of a part is known."""
        cls = type(part)
        for name, factory in self._temporary.items():
            if factory is cls:
                return name
        for name, entry in self._builtins.items():
            if entry.attr == cls.__qualname__ and self._load(entry) is cls:
                return name
        for name, entry in self._external().items():
            # of others, nothing is imported
            if name in self._failures or entry.attr != cls.__qualname__:
                continue
            if self._try(name) is cls:
                return name
        raise ValueError(
            f"Expected {self.kind.one} that is known by a name, one of "
            f"{_enumerate(self.available())}, got one of the class "
            f"{cls.__module__}.{cls.__qualname__}; offer this class as an entry point "
            f"in the group {self.kind.group!r} of an installed package."
        )

    @contextmanager
    def register(self, name: str, factory: Callable[..., Any]) -> Iterator[None]:
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
                with kept_state(f"{name!r} of {_origin(entry)}"):
                    part = self._load(entry)
                if not callable(part):
                    raise TypeError(f"{part!r} cannot be called")
                return part
            # an import may also ask for the end of the process, or of a generator
            except BaseException as exc:
                if isinstance(exc, KeyboardInterrupt) and interrupted():
                    raise
                self._loaded.pop(name, None)
                self._fail(name, in_words(exc), exc)
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
                    reason = (
                        f"is left out, since {_origin(taken)} has one of that name "
                        f"({taken.value})"
                    )
                    self._left_out.append((entry, reason))
                    warn(
                        f"The {self.kind.singular} {entry.name!r} of {_origin(entry)} "
                        f"({entry.value}) {reason}."
                    )
            for name, entry in self._found.items():
                if not entry.pattern.match(entry.value):
                    reason = f"its entry point {entry.value!r} is not module:object"
                    self._fail(name, reason, ValueError(reason))
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
    return entry.dist.metadata.get("Name") or "a package without a name"


def _summary(factory: Callable[..., Any]) -> str:
    text = getattr(factory, "__doc__", None)
    return text.strip().partition("\n")[0] if isinstance(text, str) else ""


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


def describe(kind: str) -> list[PartInfo]:
    """Describe the parts of one kind, also those that cannot be used.

    Parameters
    ----------
    kind : str
        One of the keys of ``KINDS``, for example ``'maskings'``.

    Returns
    -------
    parts : list of PartInfo
        Those of the package, then those of others, each sorted by name. Of those that
        cannot be used, ``error`` says why; there is no warning.

    Raises
    ------
    ValueError
        If there is no such kind.

    Examples
    --------
    >>> from mne_megfm.plugins import describe
    >>> describe("maskings")[0].summary
    'Hide tokens together with their neighbours in space and time.'
    """
    return _registry(kind).describe()


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


def name_of(kind: str, part: Any) -> str:
    """Return the name under which the class of a part is known.

    Parameters
    ----------
    kind : str
        One of the keys of ``KINDS``, for example ``'backbones'``.
    part : object
        A part.

    Returns
    -------
    name : str
        The name, with which :func:`resolve` makes a part of the same class.

    Raises
    ------
    ValueError
        If there is no such kind, or none of its names stands for this class.

    Examples
    --------
    >>> from mne_megfm.models import RandomMasking
    >>> from mne_megfm.plugins import name_of
    >>> name_of("maskings", RandomMasking(0.5))
    'random'
    """
    return _registry(kind).name_of(part)


def register(
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
    >>> from mne_megfm.plugins import resolve, register
    >>> with register("objectives", "constant", lambda value: lambda x: value):
    ...     objective = resolve("objectives", "constant", value=3)
    >>> objective("anything")
    3
    """
    return _registry(kind).register(name, factory)
