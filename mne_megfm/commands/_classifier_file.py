"""The file that `mne-megfm classify` keeps what it fitted in."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..archive.settings import Reading

FORMAT = "mne-megfm classifier 3"
#: What a saved classifier is made of, beyond the types that skops trusts by itself.
TRUSTED = [
    "mne_megfm.estimators._heads.LogisticHead",
    "mne_megfm.estimators._heads.RidgeHead",
    "mne_megfm.estimators.novelty.Novelty",
    "mne_megfm.estimators.novelty._Cloud",
    "numpy.dtype",
]
#: What is in it, and of what type.
_CONTENT = {
    "columns": list,
    "kind": str,
    "weights": str,
    "reading": dict,
    "regression": bool,
    "label": str,
    "people": dict,
    "typicality": object,
    "pipeline": object,
}


class People:
    """Who was in training, by fingerprints of the names.

    The names themselves are not kept, since files of classifiers are passed on. A
    fingerprint is a salted hash, by which a name that is given can be looked up; who
    has the file may so try names, and short ones are soon found.
    """

    def __init__(self, salt: str, fingerprints: Iterable[str]) -> None:
        self.salt = salt
        self.fingerprints = sorted(fingerprints)

    @classmethod
    def of(cls, names: Iterable[str]) -> People:
        """Take the fingerprints of names, which are the same with and without sub-."""
        people = cls(secrets.token_hex(16), [])
        people.fingerprints = sorted(map(people._fingerprint, names))
        return people

    def _fingerprint(self, name: str) -> str:
        text = f"{self.salt} {name.removeprefix('sub-')}"
        return hashlib.sha256(text.encode()).hexdigest()

    def know(self, names: Iterable[str]) -> list[bool]:
        """Say which names were in training."""
        known = set(self.fingerprints)
        return [self._fingerprint(name) in known for name in names]

    def to_dict(self) -> dict[str, Any]:
        """Give what `People` is made of."""
        return {"salt": self.salt, "fingerprints": self.fingerprints}


def save(content: dict[str, Any], path: Path) -> None:
    """Write a classifier to a temporary file, then rename it."""
    import skops.io

    data = skops.io.dumps({"format": FORMAT} | content)
    aside = path.with_name(f".writing-{path.name}")
    try:
        aside.write_bytes(data)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def load(path: Path) -> dict[str, Any]:
    """Read a classifier; types that run code are refused, not built.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    content : dict
        What `save` was given.

    Raises
    ------
    ValueError
        If it is of another kind, or not complete.
    """
    import skops.io

    try:
        unknown = sorted(set(skops.io.get_untrusted_types(file=path)) - set(TRUSTED))
        content = None if unknown else skops.io.load(path, trusted=TRUSTED)
    except Exception as error:  # a file that is none fails in many ways
        raise ValueError(
            f"Expected a classifier of `mne-megfm classify fit` in {path}, got "
            f"something else ({type(error).__name__}: {error}); fit it again."
        ) from error
    if unknown:
        raise ValueError(
            f"Expected a classifier of `mne-megfm classify fit` in {path}, got one "
            f"with {', '.join(unknown[:3])}; it may run code and is not read."
        )
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(
            f"Expected a classifier of format {FORMAT!r} in {path}, got another; use "
            "the version of mne-megfm that wrote it."
        )
    wrong = _find_wrong(content)
    if wrong:
        raise ValueError(
            f"Expected all of a classifier of `mne-megfm classify fit` in {path}, got "
            f"none, or something else, for {', '.join(wrong)}; the file is damaged or "
            "was changed: fit it again."
        )
    return content


def _find_wrong(content: dict[str, Any]) -> list[str]:
    """Find parts that are missing, or cannot be what `save` was given."""
    from sklearn.pipeline import Pipeline

    wrong = [
        name
        for name, kind in _CONTENT.items()
        if content.get(name) is None or not isinstance(content[name], kind)
    ]
    if not wrong and not all(isinstance(name, str) for name in content["columns"]):
        wrong = ["columns"]
    if wrong:
        return wrong
    n_columns = len(content["columns"])
    try:
        Reading(**content["reading"])
        People(**content["people"]).know(["nobody"])
    except (TypeError, ValueError):
        wrong.append("reading or people")
    try:
        if not isinstance(content["pipeline"], Pipeline):
            raise TypeError("no pipeline")
        nobody = np.zeros((1, n_columns))
        content["pipeline"].predict(nobody)
        if not content["regression"]:
            content["pipeline"].predict_proba(nobody)
    except Exception:
        wrong.append("pipeline")
    try:
        content["typicality"].score([np.zeros((1, n_columns))])
    except Exception:
        wrong.append("typicality")
    return wrong
