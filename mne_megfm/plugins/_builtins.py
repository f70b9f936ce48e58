"""The table of kinds, what a part of each must offer, and the built-in parts."""

from dataclasses import dataclass, field


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
