"""Checkpoints: folders with weights of the window encoder and of participants."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ..models import (
    Backbone,
    BackboneConfig,
    ParticipantConfig,
    ParticipantPosterior,
    ParticipantTransformer,
    PosteriorConfig,
)
from ..plugins import get, make_backbone, name_of
from ..utils.files import (
    Header,
    find_together,
    parse_sealed_json,
    sealed_json,
    sha256,
    write_together,
    write_whole,
)

# -- window encoder --------------------------------------------------------------------
FORMAT = "mne-megfm 1"
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
PREPROCESSING = "preprocessing.json"
_PARTS = ("pooling", "aggregator")  # before the names of their arrays
#: Endings of files of weights that run code when they are read.
PICKLES = {".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth"}


def save_checkpoint(
    directory: str | os.PathLike,
    model: Backbone,
    *,
    pooling: nn.Module | None = None,
    aggregator: nn.Module | None = None,
    card: str = "",
    training: dict | None = None,
    preprocessing: dict | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a model with all that is needed to use it.

    The folder gets ``model.safetensors``, ``config.json`` (name and sizes of the
    backbone, training, and the hashes of the files that belong to it),
    ``preprocessing.json`` (what a window is) and ``README.md`` (the model card).
    Killed at any moment, it leaves the checkpoint that was there or the new one, and
    :func:`load_checkpoint` reads it.

    Parameters
    ----------
    directory : path-like
        Where to; made if it does not exist.
    model : Backbone
        The model, of a class that is registered as a backbone.
    pooling : Module, optional
        A pooling whose state, if it has any, is kept with the weights.
    aggregator : Module, optional
        An aggregator of participants whose state, if it has any, is kept as well.
    card : str
        The model card, in Markdown.
    training : dict, optional
        What the weights have seen, kept in ``config.json``.
    preprocessing : dict, optional
        How recordings came to be windows, added to what the model's sizes say in
        ``preprocessing.json``.
    overwrite : bool
        Whether an existing checkpoint may be replaced.

    Returns
    -------
    directory : Path
        Where it was written.

    Raises
    ------
    FileExistsError
        If there is something already and ``overwrite`` is False.
    ValueError
        If the class of the model is not registered as a backbone.

    Examples
    --------
    >>> import tempfile
    >>> from mne_megfm.models import MaskedSignalTransformer, ModelConfig
    >>> from mne_megfm.weights import load_checkpoint, save_checkpoint
    >>> model = MaskedSignalTransformer(ModelConfig(d_model=32, n_layers=1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_checkpoint(folder + "/mine", model)
    ...     load_checkpoint(path).config.d_model
    32
    """
    directory = Path(directory).expanduser()
    if directory.exists() and not directory.is_dir():
        raise FileExistsError(
            f"Expected a folder at {directory}, got a file; choose another path."
        )
    backbone = name_of("backbones", model)
    directory.mkdir(parents=True, exist_ok=True)
    state = _arrays(model)
    more = {}
    for kind, part in zip(_PARTS, (pooling, aggregator), strict=True):
        if part is not None and part.state_dict():
            own = _arrays(part)
            state |= {f"{kind}.{name}": array for name, array in own.items()}
            shapes = {name: list(array.shape) for name, array in own.items()}
            more[kind] = {"is": part_identity(part), "arrays": shapes}
    windows = _describe_windows(model.config) | (preprocessing or {})
    checked = {
        WEIGHTS: save(state, metadata={"format": FORMAT}),
        PREPROCESSING: (json.dumps(windows, indent=2) + "\n").encode(),
    }
    config = {
        "format": FORMAT,
        "sha256": {n: hashlib.sha256(data).hexdigest() for n, data in checked.items()},
        "backbone": backbone,
        "model": model.config.to_dict(),
        **more,
        "training": training or {},
    }
    card = card or "# A checkpoint of mne-megfm\n"
    files = {**checked, CARD: card.encode(), CONFIG: sealed_json(config)}
    write_together(directory, files, last=CONFIG, overwrite=overwrite)
    return directory


def _arrays(module: nn.Module) -> dict[str, Tensor]:
    """Copy the arrays of a module to the CPU, each with memory of its own."""
    state = module.state_dict().items()
    return {k: v.detach().cpu().contiguous().clone() for k, v in state}


def part_identity(part: nn.Module) -> str:
    """Tell which pooling or aggregator some arrays are of: its class and parameters.

    Parameters
    ----------
    part : Module
        The pooling or the aggregator.

    Returns
    -------
    identity : str
        The same for parts that can take each other's arrays.
    """
    cls = type(part)
    return f"{cls.__module__}.{cls.__qualname__} {part!r}"


def load_pooling(directory: str | os.PathLike, pooling: nn.Module) -> bool:
    """Read the state of a pooling from a checkpoint that has it.

    Parameters
    ----------
    directory : path-like
        A checkpoint folder.
    pooling : Module
        The pooling; changed in place.

    Returns
    -------
    found : bool
        Whether the checkpoint has the state of a pooling of this class with these
        parameters. False leaves the pooling as it is.

    Raises
    ------
    FileNotFoundError
        If there is no checkpoint.
    ValueError
        If it is damaged, or its arrays are not those of the pooling.

    Examples
    --------
    >>> from mne_megfm.models import MeanPooling
    >>> from mne_megfm.weights import load_pooling, weights_path
    >>> load_pooling(weights_path("megfm-tiny"), MeanPooling())
    False
    """
    return _load_part(directory, "pooling", pooling)


def load_aggregator(directory: str | os.PathLike, aggregator: nn.Module) -> bool:
    """Read the state of an aggregator from a checkpoint that has it.

    Parameters
    ----------
    directory : path-like
        A checkpoint folder.
    aggregator : Module
        The aggregator; changed in place.

    Returns
    -------
    found : bool
        Whether the checkpoint has the state of an aggregator of this class with these
        parameters. False leaves the aggregator as it is.

    Raises
    ------
    FileNotFoundError
        If there is no checkpoint.
    ValueError
        If it is damaged, or its arrays are not those of the aggregator.

    Examples
    --------
    See `load_pooling`.
    """
    return _load_part(directory, "aggregator", aggregator)


def _load_part(directory: str | os.PathLike, kind: str, part: nn.Module) -> bool:
    config, path = _read(Path(directory).expanduser())
    kept = config.get(kind)
    if kept is None or kept["is"] != part_identity(part):
        return False
    state = {
        name.removeprefix(f"{kind}."): array
        for name, array in load_file(path).items()
        if name.startswith(f"{kind}.")
    }
    expected = {name: tuple(a.shape) for name, a in part.state_dict().items()}
    check_names({name: tuple(a.shape) for name, a in state.items()}, expected, path)
    check_finite(state, path)
    part.load_state_dict(state)
    return True


def _describe_windows(config: BackboneConfig) -> dict:
    """Tell what every window of a model is."""
    return {
        "array": f"canonical, {config.n_sensors} virtual magnetometers",
        "unit": "T",
        "sfreq": config.sfreq,
        "n_times": config.n_times,
    }


def read_config(directory: str | os.PathLike) -> dict:
    """Read ``config.json`` of a checkpoint, and check the files that belong to it.

    Parameters
    ----------
    directory : path-like
        The checkpoint.

    Returns
    -------
    config : dict
        With ``"format"``, ``"backbone"`` (its name), ``"model"`` (its
        configuration, see ``BackboneConfig``), ``"training"``
        (what the weights have seen) and ``"sha256"`` (of the files).

    Raises
    ------
    FileNotFoundError
        If there is no checkpoint.
    ValueError
        If it is of another kind or version, or damaged.

    Examples
    --------
    >>> import tempfile
    >>> from mne_megfm.models import MaskedSignalTransformer, ModelConfig
    >>> from mne_megfm.weights import read_config, save_checkpoint
    >>> model = MaskedSignalTransformer(ModelConfig(d_model=32, n_layers=1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_checkpoint(folder, model, training={"epochs": 3})
    ...     read_config(path)["training"]
    {'epochs': 3}
    """
    return _read(Path(directory).expanduser())[0]


def _read(directory: Path) -> tuple[dict, Path]:
    """Read the configuration, and find the weights that belong to it."""
    missing = [n for n in (CONFIG, WEIGHTS) if not (directory / n).is_file()]
    if missing:
        message = (
            f"Expected a checkpoint folder with {CONFIG} and {WEIGHTS} at "
            f"{directory}, but {' and '.join(missing)} is missing; "
        )
        pickles = sorted(p.name for p in directory.glob("*") if p.suffix in PICKLES)
        if WEIGHTS in missing and pickles:
            raise FileNotFoundError(
                f"{message}{', '.join(pickles)} may be pickled, and pickles run code "
                "when they are read, so they never are: ask for safetensors."
            )
        raise FileNotFoundError(
            f"{message}give the name of bundled weights or a folder written by "
            "save_pretrained or `mne-megfm pretrain`."
        )
    # a temporary folder that a crash left has the new checkpoint; else the one in place
    found = find_together(directory, CONFIG, (WEIGHTS, PREPROCESSING))
    config = parse_sealed_json(found[CONFIG].read_bytes())
    if config.get("format") != FORMAT:
        raise ValueError(
            f"Expected a checkpoint of format {FORMAT!r} at {directory}, got "
            f"{config.get('format')!r}; use the version of mne-megfm that wrote it."
        )
    for part, kind, words in (
        ("backbone", str, "a name"),
        ("model", dict, "a table"),
        ("training", dict, "a table"),
    ):
        if not isinstance(config.get(part), kind):
            raise ValueError(
                f"Expected {words} {part!r} in {found[CONFIG]}, got "
                f"{config.get(part)!r}; the file is damaged: copy the checkpoint again."
            )
    for kind in _PARTS:
        if kind in config and not _is_part(config[kind]):
            raise ValueError(
                f"Expected identity and shapes of a {kind} in {found[CONFIG]}, got "
                f"{config[kind]!r}; the file is damaged: copy the checkpoint again."
            )
    return config, found[WEIGHTS]


def _is_part(entry: Any) -> bool:
    """Tell whether an entry is what `save_checkpoint` writes of a part."""
    if not isinstance(entry, dict) or not isinstance(entry.get("is"), str):
        return False
    shapes = entry.get("arrays")
    return isinstance(shapes, dict) and all(
        isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)
        for shape in shapes.values()
    )


def load_checkpoint(directory: str | os.PathLike) -> Backbone:
    """Read a model back, strictly: every array must match.

    Parameters
    ----------
    directory : path-like
        A folder written by ``save_checkpoint``.

    Returns
    -------
    model : Backbone
        The model in evaluation mode, on the CPU, of the backbone that the folder names.

    Raises
    ------
    FileNotFoundError
        If there is no checkpoint.
    ValueError
        If it is damaged, its arrays are not those of its configuration, or its
        backbone is not installed.

    Examples
    --------
    See ``save_checkpoint``.
    """
    directory = Path(directory).expanduser()
    config, path = _read(directory)
    name = config["backbone"]
    try:
        cls = get("backbones", name).config_class
    except ValueError as error:
        raise ValueError(
            f"Expected a backbone that is installed in {directory}, got {name!r}; "
            f"install the package that has it. {error}"
        ) from error
    try:
        sizes = cls.from_dict(config["model"])
    except TypeError as error:
        raise ValueError(
            f"Expected a configuration of {cls.__name__} in {directory / CONFIG}, got "
            f"{config['model']} ({error}); copy the checkpoint again."
        ) from error
    more = {
        f"{kind}.{k}": tuple(shape)
        for kind in _PARTS
        for k, shape in config.get(kind, {}).get("arrays", {}).items()
    }
    state = read_arrays(path, FORMAT, lambda: make_backbone(name, sizes), more)
    state = {k: array for k, array in state.items() if k not in more}
    # its random start is replaced, and must not cost the caller random numbers
    with torch.random.fork_rng(devices=[]):
        model = make_backbone(name, sizes)
    model.load_state_dict(state, strict=True)
    return model.eval()


def check_backbone(
    model: Backbone, backbone: str | None, weights: str | os.PathLike
) -> None:
    """Check that weights are of the backbone that was asked for.

    Parameters
    ----------
    model : Backbone
        The loaded weights.
    backbone : str | None
        Name of the backbone that was asked for; None takes any.
    weights : path-like
        What was loaded, for the message.

    Raises
    ------
    ValueError
        If they are of another one.
    """
    if backbone is None:
        return
    name = name_of("backbones", model)
    if name != backbone:
        raise ValueError(
            f"Expected weights of the backbone {backbone!r}, got some of {name!r} with "
            f"weights={str(weights)!r}; leave backbone out, or give weights of this "
            "backbone or None."
        )


def read_arrays(
    path: Path,
    kind: str,
    make: Callable[[], nn.Module],
    more: Mapping[str, tuple[int, ...]] | None = None,
) -> dict[str, Tensor]:
    """Read the arrays of a module, once their sizes are known to be right.

    Parameters
    ----------
    path : Path
        The file.
    kind : str
        Format that its header has to name.
    make : callable
        Makes the module. It is called without memory for arrays, so that sizes that
        are not those of the file cost none.
    more : dict of tuple of int, optional
        Shapes of arrays that the file has besides those of the module.

    Returns
    -------
    state : dict of Tensor
        The arrays by name.

    Raises
    ------
    ValueError
        If the file is none, or its arrays are not those of the module, or not finite.
    """
    try:
        with path.open("rb") as file:
            header = Header.read(file, path.stat().st_size)
    except ValueError as error:
        raise ValueError(
            f"Expected safetensors in {path}, got something else: {error}; the file is "
            "damaged or of another kind: copy the checkpoint again."
        ) from error
    found = header.metadata.get("format")
    if found != kind:
        raise ValueError(
            f"Expected weights of format {kind!r} in {path}, got {found!r}; the "
            "folder mixes files of different programs."
        )
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        expected = {k: tuple(v.shape) for k, v in make().state_dict().items()}
    shapes = {k: shape for k, (_, shape, _) in header.arrays.items()}
    check_names(shapes, expected | dict(more or {}), path)
    try:
        state = load_file(path)
    except SafetensorError as error:  # stricter than we are
        raise ValueError(
            f"Expected safetensors in {path}, got something else: {error}; the file is "
            "damaged or of another kind: copy the checkpoint again."
        ) from error
    check_finite(state, path)
    return state


def check_names(
    shapes: Mapping[str, tuple[int, ...]],
    expected: Mapping[str, tuple[int, ...]],
    source: Path,
) -> None:
    """Compare names and shapes of arrays, and say how many match.

    Parameters
    ----------
    shapes : dict of tuple of int
        Shape of each array that is there.
    expected : dict of tuple of int
        What the configuration asks for.
    source : Path
        Where they are, for the message.

    Raises
    ------
    ValueError
        If any array is missing, unknown, or of another shape.
    """
    wrong = sorted(k for k in {*shapes, *expected} if shapes.get(k) != expected.get(k))
    if wrong:
        matched = len(set(expected) - set(wrong))
        shown = ", ".join(wrong[:4]) + (", ..." if len(wrong) > 4 else "")
        raise ValueError(
            f"Expected {len(expected)} arrays as its configuration says in {source}, "
            f"but only {matched} match (not: {shown}); the weights and the "
            "configuration are not of one checkpoint."
        )


def check_finite(state: Mapping[str, Tensor], source: Path) -> None:
    """Check that arrays are finite.

    Parameters
    ----------
    state : dict of Tensor
        The arrays.
    source : Path
        Where they were read, for the message.

    Raises
    ------
    ValueError
        If one has NaN or infinity.
    """
    damaged = [n for n, a in state.items() if not bool(torch.isfinite(a).all())]
    if damaged:
        raise ValueError(
            f"Expected finite weights in {source}, got NaN or infinity in "
            f"{', '.join(damaged[:4])}; the checkpoint is damaged or training diverged."
        )


# -- encoders of participants ----------------------------------------------------------
@dataclass(frozen=True)
class ParticipantPart:
    """One kind of weights of participants, and the two files that it is kept in.

    Attributes
    ----------
    name : str
        What it is called in messages.
    format : str
        Of its files.
    stem : str
        Name of its files, without their endings.
    key : str
        Of what it has seen, in a provenance.
    make : callable
        Makes it from the sizes in its configuration.
    sizes : callable
        Finds the sizes of a given one.
    """

    name: str
    format: str
    stem: str
    key: str
    make: Callable[[Mapping[str, Any]], nn.Module]
    sizes: Callable[[Any], dict]

    @property
    def weights(self) -> str:
        """Name of the file of arrays."""
        return f"{self.stem}.safetensors"

    @property
    def config(self) -> str:
        """Name of the file that has its sizes and hashes."""
        return f"{self.stem}.json"

    def save(
        self,
        directory: str | os.PathLike,
        module: nn.Module,
        kernel: Tensor,
        training: dict | None = None,
    ) -> Path:
        """Write weights of participants into the folder of window weights.

        Parameters
        ----------
        directory : path-like
            A checkpoint folder.
        module : Module
            The network.
        kernel : Tensor, shape (n_sensors, n_sensors)
            Kernel of the array that it was trained on.
        training : dict, optional
            What it has seen.

        Returns
        -------
        directory : Path
            The folder.

        Examples
        --------
        >>> import tempfile, torch
        >>> from mne_megfm.models import ParticipantConfig, ParticipantTransformer
        >>> from mne_megfm.weights import PARTICIPANT_ENCODER
        >>> encoder = ParticipantTransformer(ParticipantConfig(d_model=32, n_layers=1))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = PARTICIPANT_ENCODER.save(folder, encoder, torch.eye(192))
        ...     PARTICIPANT_ENCODER.load(path, torch.eye(192))[0].config.d_model
        32
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        state = {
            k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()
        }
        if all(_is_half(state[name]) for name, _ in module.named_parameters()):
            # nothing is lost: they were in half precision when they were read
            state |= {k: state[k].half() for k, _ in module.named_parameters()}
        content = save(state, metadata={"format": self.format})
        config = {
            "format": self.format,
            "model": self.sizes(module),
            "kernel": kernel_hash(kernel),
            "sha256": hashlib.sha256(content).hexdigest(),
            "training": training or {},
        }
        # temporary files that are moved, the configuration last: it has the hash
        for name, data in ((self.weights, content), (self.config, sealed_json(config))):
            write_whole(directory / name, data)
        return directory

    def load(
        self, directory: str | os.PathLike, kernel: Tensor
    ) -> tuple[Any, dict] | None:
        """Read weights of participants back, strictly; None if the checkpoint has none.

        Parameters
        ----------
        directory : path-like
            A checkpoint folder.
        kernel : Tensor, shape (n_sensors, n_sensors)
            Kernel of the window weights there.

        Returns
        -------
        found : tuple of (Module, dict) | None
            The network in evaluation mode, in single precision, and what it has seen.

        Raises
        ------
        ValueError
            If files are damaged, of another kind, or of other weights.
        """
        directory = Path(directory).expanduser()
        path, config_path = directory / self.weights, directory / self.config
        found = [p.name for p in (path, config_path) if p.is_file()]
        if not found:
            return None
        if len(found) == 1:
            raise ValueError(
                f"Expected both {self.weights} and {self.config} in {directory}, got "
                f"only {found[0]}; copy the checkpoint again, or delete that file to "
                f"use the checkpoint without its {self.name}."
            )
        again = (
            "the file is damaged or of another checkpoint: copy the checkpoint again."
        )
        try:
            config = parse_sealed_json(config_path.read_bytes())
            kind, sizes = config["format"], config["model"]
            expected, fingerprint = config["sha256"], config["kernel"]
            with torch.random.fork_rng(devices=[]), torch.device("meta"):
                self.make(sizes)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"Expected the configuration of a {self.name} in {config_path}, got "
                f"something else ({error!r}); {again}"
            ) from error
        if kind != self.format or sha256(path) != expected:
            raise ValueError(
                f"Expected the {self.name} of format {self.format!r} that belongs to "
                f"{config_path} in {path}, got other contents; {again}"
            )
        if fingerprint != kernel_hash(kernel):
            raise ValueError(
                f"Expected a {self.name} for the array of the weights in {directory}, "
                f"got one of another (fingerprint {fingerprint}); {again}"
            )
        state = read_arrays(path, self.format, lambda: self.make(sizes))
        # its random start is replaced, and must not cost the caller random numbers
        with torch.random.fork_rng(devices=[]):
            module = self.make(sizes)
        module.load_state_dict(state, strict=True)
        return module.eval(), config.get("training", {})


def kernel_hash(kernel: torch.Tensor) -> str:
    """Give the fingerprint of an array of virtual sensors.

    Parameters
    ----------
    kernel : Tensor, shape (n_sensors, n_sensors)
        Gram matrix of its lead fields, as window weights keep it.

    Returns
    -------
    fingerprint : str
        The same for kernels that differ by rounding alone.
    """
    rounded = (kernel.cpu().double() * 100).round().to(torch.int32).numpy()
    return hashlib.sha256(rounded.tobytes()).hexdigest()[:16]


def _is_half(values: Tensor) -> bool:
    """Whether half precision holds all values as they are."""
    return values.is_floating_point() and torch.equal(values.half().float(), values)


PARTICIPANT_ENCODER = ParticipantPart(
    "participant encoder",
    "mne-megfm participant 1",
    "participant",
    "participant_encoder",
    lambda sizes: ParticipantTransformer(ParticipantConfig(**sizes)),
    lambda encoder: encoder.config.to_dict(),
)
POSTERIOR = ParticipantPart(
    "posterior encoder",
    "mne-megfm posterior 1",
    "posterior",
    "posterior",
    lambda sizes: ParticipantPosterior(PosteriorConfig(**sizes)),
    lambda posterior: posterior.config.to_dict(),
)
#: All that a checkpoint may have.
PARTICIPANT_PARTS = (PARTICIPANT_ENCODER, POSTERIOR)


def delete_participant_parts(
    directory: str | os.PathLike, kept: Collection[ParticipantPart] = ()
) -> None:
    """Delete weights of participants from a checkpoint.

    Parameters
    ----------
    directory : path-like
        The checkpoint folder.
    kept : collection of ParticipantPart
        Those that stay.
    """
    for part in PARTICIPANT_PARTS:
        if part not in kept:
            for name in (part.config, part.weights):
                (Path(directory) / name).unlink(missing_ok=True)
