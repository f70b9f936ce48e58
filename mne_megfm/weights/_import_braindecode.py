"""Weights of networks of braindecode, from a file to a checkpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from mne.utils import logger, warn
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..models import BackboneConfig, fit_token_projection, random_fields
from ..plugins import make_backbone
from ..sensors import canonical_kernel
from ..utils.files import sha256
from ..utils.logs import verbose
from .checkpoint import check_finite, save_checkpoint


@verbose
def import_braindecode(
    file: str | os.PathLike,
    backbone: str,
    directory: str | os.PathLike,
    *,
    config: Mapping[str, Any] | BackboneConfig | None = None,
    leave_out: Sequence[str] = (),
    overwrite: bool = False,
    verbose: bool | str | int | None = None,
) -> Path:
    """Make a checkpoint of weights of a network of braindecode.

    Parameters
    ----------
    file : path-like
        The weights as braindecode has them, in safetensors. Files of torch are not
        read, since they may hold programs: convert those that you trust, see Notes.
        Nothing is downloaded.
    backbone : str
        Name of the network, such as ``"braindecode:labram"``.
    directory : path-like
        Where to; made if it does not exist.
    config : dict | BackboneConfig | None
        Fields of the configuration that differ from the default, which has the sizes
        that were published: ``n_patches`` for windows of more than 1 s, or the sizes
        of other weights.
    leave_out : sequence of str
        Beginnings of the names of arrays that are not to be read. Those that the
        encoder needs stay random, with a warning.
    overwrite : bool
        Whether an existing checkpoint may be replaced.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`. Names of arrays that were left out are
        logged.

    Returns
    -------
    directory : Path
        The folder, for ``MEGFMTransformer(weights=directory)``.

    Raises
    ------
    FileExistsError
        If the folder has files and ``overwrite`` is False.
    FileNotFoundError
        If there is no such file.
    ImportError
        If braindecode is not installed.
    ValueError
        If it is no file of arrays, the backbone is none of braindecode, or an array of
        the encoder is missing, unknown, of another shape or not finite. Heads, and
        what serves the network's own pretraining alone, may be missing or there: they
        are not read.

    See Also
    --------
    load_checkpoint : Read what this has written.

    Notes
    -----
    The axes of tokens for ``pooling="projection"`` are found on random fields, as those
    of random weights are, so that no data are needed. A decoder for masked pretraining
    starts at random. Licences of published weights differ, and some can be had on
    request alone: the checkpoint is for you to keep to them.

    A file of torch that holds arrays by name is converted by
    ``torch.load(path, weights_only=True)`` and ``safetensors.torch.save_file``.

    Examples
    --------
    >>> from mne_megfm import MEGFMTransformer
    >>> from mne_megfm.weights import import_braindecode
    >>> path = import_braindecode(  # doctest: +SKIP
    ...     "labram/model.safetensors", "braindecode:labram", "weights/labram"
    ... )
    >>> MEGFMTransformer(path)  # doctest: +SKIP
    """
    path = Path(file).expanduser()
    state = _read_arrays(path)
    kernel = torch.tensor(canonical_kernel(), dtype=torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make_backbone(backbone, config, kernel).eval()
        if not hasattr(model, "load_network"):
            raise ValueError(
                "Expected the name of a network of braindecode, such as "
                f"'braindecode:labram', got {backbone!r}; see "
                "`mne-megfm info --plugins`."
            )
        if isinstance(leave_out, str):
            leave_out = [leave_out]
        loaded = model.load_network(state, leave_out)
    check_finite(model.state_dict(), path)
    name = model.network_name
    left_out = ", ".join(loaded.left_out) or "none"
    logger.info(
        f"Read {len(loaded.read)} of {len(loaded.read) + len(loaded.drawn)} arrays of "
        f"the encoder of {name} from {path} (the first times of: "
        f"{', '.join(loaded.cut) or 'none'}); not of the encoder, and left out: "
        f"{left_out}."
    )
    if loaded.drawn:
        warn(
            f"{len(loaded.drawn)} arrays of the encoder of {name} were left out and "
            f"stay random: {', '.join(loaded.drawn)}."
        )
    fields = random_fields(canonical_kernel(), model.config, 0)
    fit_token_projection(model, fields, len(fields), random_state=0)
    seen = {
        "network": f"braindecode.models.{name}",
        "braindecode": version("braindecode"),
        "file": path.name,
        "sha256": sha256(path),
        "arrays": len(loaded.read),
        "random_arrays": loaded.drawn,
        "left_out": loaded.left_out,
    }
    card = (
        f"# {name} for mne-megfm\n\nWeights of `braindecode.models.{name}` from "
        f"`{path.name}`, of which {len(loaded.read)} arrays were read. Their licence "
        "is that of their source, and so is what they were trained on. "
        "Not for diagnosis.\n"
    )
    return save_checkpoint(
        directory, model, card=card, training={"imported": seen}, overwrite=overwrite
    )


def _read_arrays(path: Path) -> dict[str, Tensor]:
    """Read arrays by name from a file of safetensors."""
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a file of weights at {path}, got none; give the path of a file "
            "that you have downloaded."
        )
    expected = f"Expected arrays by name in {path}"
    if path.suffix != ".safetensors":
        raise ValueError(
            f"{expected} as a file that ends with .safetensors, got "
            f"{path.suffix or 'no ending'}; convert it, see the notes of "
            "import_braindecode."
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"{expected}, got a file that is no safetensors or damaged ({error}); "
            "download it again."
        ) from error
