"""The table of kinds, what a part of each must offer, and the built-in parts."""

from dataclasses import dataclass, field
from importlib.metadata import Distribution, EntryPoint, distributions

from mne.utils import warn


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
    builtins : dict
        Name of each built-in part, and where it is: ``"module:object"``, the form that
        entry points have.
    """

    name: str
    singular: str
    methods: tuple[str, ...] = ("__call__",)
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


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "frontends",
            "front end",
            methods=("__call__", "mapping"),
            builtins={"canonical": "mne_megfm.estimators:CanonicalFrontend"},
        ),
        Kind(
            "backbones",
            "backbone",
            methods=("scale", "encode", "predict_patches", "reconstruct"),
            builtins={"masked-transformer": "mne_megfm.models:MaskedSignalTransformer"},
        ),
        Kind(
            "maskings",
            "masking",
            builtins={
                "mixed": "mne_megfm.pretraining:MixedMasking",
                "random": "mne_megfm.pretraining:RandomMasking",
                "space-block": "mne_megfm.pretraining:SpaceBlockMasking",
                "time-block": "mne_megfm.pretraining:TimeBlockMasking",
            },
        ),
        Kind(
            "objectives",
            "objective",
            builtins={
                "huber+logspec": "mne_megfm.pretraining:SignalSpectrumLoss",
                "log-error": "mne_megfm.pretraining:LogErrorLoss",
            },
        ),
        Kind(
            "poolings",
            "pooling",
            methods=("__call__", "names"),
            builtins={
                "compact": "mne_megfm.models:CompactPooling",
                "mean": "mne_megfm.models:MeanPooling",
                "space": "mne_megfm.models:SpacePooling",
                "time": "mne_megfm.models:TimePooling",
                "tokens": "mne_megfm.models:TokenPooling",
            },
        ),
        Kind(
            "heads",
            "head",
            methods=("fit", "predict"),
            builtins={
                "logistic": "mne_megfm.estimators:LogisticHead",
                "ridge": "mne_megfm.estimators:RidgeHead",
            },
        ),
        Kind(
            "networks",
            "network",
            builtins={
                "eegnet": "mne_megfm.plugins._braindecode:eegnet",
                "shallow-fbcsp": "mne_megfm.plugins._braindecode:shallow_fbcsp_net",
            },
        ),
    )
}
