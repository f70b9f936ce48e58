"""Files of every kind: bits flipped, ends cut off, and headers that lie."""

import hashlib
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np

from mne_megfm.commands.classify import load as load_classifier
from mne_megfm.pretraining import find_damage
from mne_megfm.store import WindowStore
from mne_megfm.utils.files import Header, seal, sealed_json
from mne_megfm.utils.tables import read_features
from mne_megfm.weights import PARTICIPANT_ENCODER, load_checkpoint

from ._child import in_child

#: Errors that are documented for files that cannot be used.
DOCUMENTED = ("ValueError", "OSError")
BLANK = "0" * 64


def _hash(*arrays):
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _checkpoint(folder):
    model = load_checkpoint(folder)
    return _hash(*(array.numpy() for array in model.state_dict().values()))


def _participants(folder):
    kernel = load_checkpoint(folder).kernel
    found = PARTICIPANT_ENCODER.load(folder, kernel)
    return found and _hash(*(a.numpy() for a in found[0].state_dict().values()))


def _run(file):
    if damage := find_damage(file.parent)["run"]:
        raise ValueError(damage)
    return hashlib.sha256(file.read_bytes()).hexdigest()  # all of it is used


def _store(folder):
    store = WindowStore.open(folder)
    data, n_valid = store.take(np.arange(len(store)))
    table = store.table.to_json()
    notes = [store.notes(name) for name in store.table["name"]]
    return _hash(data, n_valid, store.start), table, json.dumps(notes)


def _table(file):
    frame = read_features(file)
    text = frame.select_dtypes(exclude="number").to_json()
    numbers = frame.select_dtypes("number").to_numpy()
    return _hash(numbers), text, frame.columns.tolist(), json.dumps(frame.attrs)


def _classifier(file):
    content = load_classifier(file)
    X = np.random.default_rng(0).standard_normal((5, len(content["columns"])))
    rest = {k: content[k] for k in ("columns", "weights", "reading", "people", "label")}
    scores = content["pipeline"].predict_proba(X)
    return _hash(scores, content["typicality"].score([X])), json.dumps(rest)


def make_kinds(inputs, reference):
    """Return, for each kind of file, the file and a function that uses all of it."""
    weights = inputs / "weights"
    run = reference / "pretrain" / "out" / "run" / "run.safetensors"
    recording = WindowStore.open(inputs / "store").files[0]
    return {
        "window weights": (weights / "model.safetensors", lambda: _checkpoint(weights)),
        "their settings": (weights / "config.json", lambda: _checkpoint(weights)),
        "what a window is": (
            weights / "preprocessing.json",
            lambda: _checkpoint(weights),
        ),
        "participant weights": (
            weights / "participant.safetensors",
            lambda: _participants(weights),
        ),
        "their settings, too": (
            weights / "participant.json",
            lambda: _participants(weights),
        ),
        "saved run": (run, lambda: _run(run)),
        "store, settings": (
            inputs / "store" / "store.json",
            lambda: _store(inputs / "store"),
        ),
        "store, recording": (recording, lambda: _store(inputs / "store")),
        "classifier": _of(reference / "classify-fit" / "m.skops", _classifier),
        "table, parquet": _of(reference / "features-parquet" / "f.parquet", _table),
        "table, CSV": _of(reference / "features-csv" / "f.csv", _table),
    }


def _of(file, use):
    return file, lambda: use(file)


def _judge(use, before, is_change):
    kind, value = in_child(use)
    if kind in DOCUMENTED:
        return "found", value
    if kind != "result":
        return "other", f"{kind}: {value}"
    if not is_change or value == before:
        return "harmless", ""
    return "not found", ""


def damage_files(kinds, n, rng, say, flip=True):
    """Flip bits of files, or cut them; count how often that is found.

    Parameters
    ----------
    kinds : dict
        From `make_kinds`.
    n : int
        Changes to each file.
    rng : Generator
        Where.
    say : callable
        Called with what is not found, or ends in another error.
    flip : bool
        Whether bits are flipped; otherwise the end is cut off.

    Returns
    -------
    counts : dict of Counter
        Found, harmless (all that is read is the same), not found, other (an error that
        is not documented, a crash, or no end), by kind of file.
    """
    counts = {}
    for name, (file, use) in kinds.items():
        content = file.read_bytes()
        kind, before = in_child(use)
        if kind != "result":
            raise RuntimeError(f"{name} cannot be read: {kind}: {before}")
        counts[name] = Counter()
        for number in range(n):
            changed = bytearray(content)
            if not flip:
                changed = changed[: int(rng.integers(len(content)))]
            else:
                # a half of them at the beginning or the end, where headers are
                edge = min(len(content), 4096)
                place = int(rng.integers(len(content)))
                if number % 2:
                    place = int(rng.integers(edge))
                    place = place if rng.integers(2) else len(content) - 1 - place
                changed[place] ^= 1 << int(rng.integers(8))
            file.write_bytes(changed)
            outcome, why = _judge(use, before, True)
            counts[name][outcome] += 1
            if outcome == "other" or (outcome == "not found" and "CSV" not in name):
                say(f"{name}: {outcome}: {why}")
        file.write_bytes(content)
    return counts


# -- headers ---------------------------------------------------------------------------
def _deep(n):
    value = 0
    for _ in range(n):
        value = [value]
    return value


VALUES = [
    None,
    True,
    0,
    -1,
    3,
    10**9,
    10**30,
    0.5,
    1e308,
    math.nan,
    math.inf,
    "",
    "x" * 10_000,
    "../../../etc/passwd",
    "/etc/passwd",
    "os:system",
    "__import__('os').system('touch ran')",
    "<script>alert(1)</script>",
    "=1+1",
    "\x00\u202e\U0001f4a5é",
    "0" * 64,
    [],
    {},
    [1, "a", None],
    {"a": {"b": []}},
    [10**9, 10**9, 10**9],
    _deep(500),
]


def mutate(content, rng):
    """Change one random place of a JSON value: replace, delete, rename or add."""
    content = json.loads(json.dumps(content))
    places = list(_places(content))
    holder, key = places[rng.integers(len(places))]
    action = rng.integers(5)
    value = VALUES[rng.integers(len(VALUES))]
    if action == 0:
        del holder[key]
    elif action == 1 and isinstance(holder, dict):
        holder[str(VALUES[rng.integers(11, 21)])] = holder.pop(key)
    elif action == 2 and isinstance(holder, dict):
        holder[f"more{rng.integers(10)}"] = value
    else:
        holder[key] = value
    return content


def _places(content):
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        yield content, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _parts(content):
    """Return header and arrays of a safetensors file."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def _joined(header, arrays, key=None):
    """Put a safetensors file together; notes under a key are sealed if they can be."""
    if key is not None:
        metadata = header.get("__metadata__")
        if isinstance(metadata, dict) and isinstance(metadata.get(key), dict):
            notes = {"digest": BLANK} | metadata[key]
            if "digest" in metadata[key]:
                notes["digest"] = BLANK
            metadata[key] = json.dumps(notes)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


def _fuzz_safetensors(file, key, rng, small=()):
    """Write a safetensors file with a changed header, whose hash fits."""
    content = file.read_bytes()
    header, arrays = _parts(content)
    if key is not None:
        header["__metadata__"][key] = json.loads(header["__metadata__"][key])
        if rng.integers(4):  # mostly the notes, which say the most
            notes = header["__metadata__"][key]
            header["__metadata__"][key] = mutate(notes, rng)
        else:
            header = mutate(header, rng)
    else:
        header = mutate(header, rng)
    start = _joined(header, arrays, key)
    if key is None:
        return start + arrays
    more = [arrays] if small is None else small
    if BLANK.encode() not in start:
        return start + arrays
    if small is None:
        return seal(start + arrays)
    return seal(start, *more) + arrays


def _small_arrays(file):
    with open(file, "rb") as stream:
        header = Header.read(stream, file.stat().st_size)
    content = file.read_bytes()
    parts = []
    for name in ("check", "n_valid", "start", "targets"):
        if name in header.arrays:
            kind, shape, at = header.arrays[name]
            size = {"U32": 4, "I32": 4, "F32": 4, "F64": 8}[kind] * math.prod(shape)
            parts.append(content[at : at + size])
    return parts


def _resign(config, file, content):
    """Write weights, and settings that have their hash."""
    settings = json.loads(config.read_bytes())
    digest = hashlib.sha256(content).hexdigest()
    if isinstance(settings["sha256"], dict):
        settings["sha256"][file.name] = digest
    else:
        settings["sha256"] = digest
    file.write_bytes(content)
    config.write_bytes(sealed_json(settings | {"digest": BLANK}, indent=1))


def fuzz_headers(kinds, n, rng, say):
    """Change headers at random, with hashes that fit; count what becomes of it.

    Returns
    -------
    counts : dict of Counter
        Found (refused with the documented error), harmless (read, as that change may
        be), other.
    """
    counts = {}
    folder = kinds["window weights"][0].parent
    plans = {
        "window weights": (folder / "config.json", None),
        "their settings": (None, None),
        "participant weights": (folder / "participant.json", None),
        "their settings, too": (None, None),
        "saved run": (None, "run"),
        "store, settings": (None, None),
        "store, recording": (None, "recording"),
    }
    for name, (config, key) in plans.items():
        file, use = kinds[name]
        kept = {path: path.read_bytes() for path in (file, config) if path is not None}
        counts[name] = Counter()
        for _ in range(n):
            if file.suffix == ".json":
                content = mutate(json.loads(file.read_bytes()), rng)
                file.write_bytes(sealed_json(content | {"digest": BLANK}))
            elif config is not None:
                _resign(config, file, _fuzz_safetensors(file, None, rng))
            else:
                small = None if key == "run" else _small_arrays(file)
                file.write_bytes(_fuzz_safetensors(file, key, rng, small))
            outcome, why = _judge(use, None, False)
            counts[name][outcome] += 1
            if outcome == "other":
                say(f"header of {name}: {why[:300]}")
            for path, content in kept.items():
                path.write_bytes(content)
    if Path("ran").exists():
        say("a header was run as code")
        counts["code run"] = Counter(other=1)
    return counts
