"""What of a checkpoint and its run has changed since it was written."""

from __future__ import annotations

import os
from pathlib import Path

from ._checkpoint import CONFIG, WEIGHTS, load_checkpoint
from ._level_checkpoint import LEVEL, LEVEL_CONFIG, load_level
from ._run import FILE, read_run


def find_damage(directory: str | os.PathLike) -> dict[str, str]:
    """Read all files of a checkpoint, and of the run that it comes from.

    Parameters
    ----------
    directory : path-like
        A checkpoint, the folder that `pretrain_store` wrote to, or its folder ``run``.

    Returns
    -------
    damage : dict of str
        For each part that was found (``"weights"``, ``"participant encoder"``,
        ``"run"``) what is wrong and what to do; empty where nothing is.

    Raises
    ------
    FileNotFoundError
        If there is neither a checkpoint nor a run.

    Notes
    -----
    The model card, ``history.csv`` and figures are for people: nothing is computed
    from them, and they have no hash.

    Examples
    --------
    >>> from mne_megfm.pretraining import find_damage
    >>> from mne_megfm.weights import weights_path
    >>> find_damage(weights_path("megfm-tiny"))
    {'weights': '', 'participant encoder': ''}
    """
    directory = Path(directory).expanduser()
    damage, kernel = {}, None
    if any((directory / name).exists() for name in (CONFIG, WEIGHTS)):
        damage["weights"] = ""
        try:
            kernel = load_checkpoint(directory).kernel
        except (OSError, ValueError) as error:
            damage["weights"] = str(error)
    if any((directory / name).exists() for name in (LEVEL, LEVEL_CONFIG)):
        if kernel is None:
            damage["participant encoder"] = (
                f"Expected weights that {directory / LEVEL} belongs to, got none that "
                "can be read; repair these first, then check again."
            )
        else:
            damage["participant encoder"] = ""
            try:
                load_level(directory, kernel)
            except (OSError, ValueError) as error:
                damage["participant encoder"] = str(error)
    for path in (directory / FILE, directory / "run" / FILE):
        if path.exists():
            damage["run"] = ""
            try:
                read_run(path)
            except (OSError, ValueError) as error:
                damage["run"] = str(error)
    if not damage:
        raise FileNotFoundError(
            f"Expected a checkpoint with {CONFIG} and {WEIGHTS}, or a run with {FILE}, "
            f"in {directory}, got neither; correct the path."
        )
    return damage
