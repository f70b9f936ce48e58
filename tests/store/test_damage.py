"""Tests that damage to a store is found: every bit, and what headers claim."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from mne_megfm.store import WindowStore
from mne_megfm.utils.files import DIGEST, UNSEALED, seal

FORM = {"n_sensors": 2, "n_times": 4, "sfreq": 4.0}


@pytest.fixture
def tiny(tmp_path):
    """Return the folder of a store of one recording, three windows, and its file."""
    store = WindowStore.create(tmp_path / "store", **FORM)
    rng = np.random.default_rng(0)
    store.append(
        1e-12 * rng.standard_normal((3, 2, 4)),
        name="p1-rést",
        participant="p1",
        state="rest",
        n_valid=np.array([4, 3, 4]),
        site="here",
        array="2 magnetometers",
        dev_head_t=np.eye(4),
        provenance={"file": "a.fif", "lowpass": 4e1},
    )
    return store.path, store.files[0]


def _use(path):
    """Open a store and read all that there is in it."""
    store = WindowStore.open(path)
    store.take(np.arange(len(store)))


def _flips(content):
    """Yield the place and the contents after each change of a single bit."""
    changed = bytearray(content)
    for place in range(8 * len(content)):
        byte, bit = divmod(place, 8)
        changed[byte] ^= 1 << bit
        yield place, changed
        changed[byte] ^= 1 << bit


def _silent(file, use):
    """Flip each bit of a file; return the flips that `use` does not complain of.

    Complaints are ValueErrors that name the file and say what to do.
    """
    content = file.read_bytes()
    silent = []
    for place, changed in _flips(content):
        file.write_bytes(changed)
        try:
            use()
        except ValueError as error:
            message = str(error)
            assert file.name in message, message
            assert any(word in message for word in ("again", "Copy")), message
        else:
            silent.append(place)
    file.write_bytes(content)
    use()
    return silent


def test_every_bit_of_a_recording(tiny):
    """Windows, scales, counts, times, names, types: no changed bit goes unseen."""
    path, file = tiny
    assert _silent(file, lambda: _use(path)) == []


def test_every_bit_of_the_settings(tiny):
    """Nor does one in store.json."""
    path, _ = tiny
    assert _silent(path / "store.json", lambda: _use(path)) == []


def test_each_array_is_looked_at_when_it_is_read(tiny):
    """Windows are compared at each reading; what lies beside them, on opening."""
    path, file = tiny
    store = WindowStore.open(path)
    content = file.read_bytes()
    arrays = load_file(file)
    for name in arrays:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        at = len(content) - max(e["data_offsets"][1] for e in _entries(header))
        changed = bytearray(content)
        changed[at + header[name]["data_offsets"][0]] ^= 4
        file.write_bytes(changed)
        if name in ("coding", "windows"):
            with pytest.raises(ValueError, match=r"damaged one \(number 0\); delete"):
                store.take([0])
            store.take([1, 2])
            WindowStore.open(path)
        else:
            with pytest.raises(ValueError, match="p1-r.*damaged file.*delete it"):
                WindowStore.open(path)
        assert WindowStore(path).damaged() == [
            "p1-rést" if name in ("coding", "windows") else file.name
        ]
        file.write_bytes(content)
        assert WindowStore(path).damaged() == []


def _entries(header):
    return [entry for name, entry in header.items() if name != "__metadata__"]


def test_of_another_recording(tiny):
    """A whole file under the name of another one is not taken for that."""
    path, file = tiny
    store = WindowStore.open(path, "a")
    store.append(np.ones((1, 2, 4)), name="p2", participant="p2", state="rest")
    (other,) = set(store.files) - {file}
    file.write_bytes(other.read_bytes())
    with pytest.raises(ValueError, match="p1-r.*it is the file of 'p2'"):
        WindowStore.open(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("name", 3), ("participant", None), ("state", []), ("provenance", "a.fif")],
)
@pytest.mark.parametrize("is_there", [True, False])
def test_notes_of_other_types(tiny, name, value, is_there):
    """Notes that lack something, or have it as another type, are refused as damage.

    Their hash fits.
    """
    path, file = tiny
    content = file.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    notes = json.loads(header["__metadata__"]["recording"])
    notes = UNSEALED | {k: v for k, v in notes.items() if k != DIGEST}
    del notes[name]
    if is_there:
        notes[name] = value
    header["__metadata__"]["recording"] = json.dumps(notes)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    small = [load_file(file)[k].tobytes() for k in ("check", "n_valid", "start")]
    text = seal(len(text).to_bytes(8, "little") + text, *small)
    file.write_bytes(text + content[end:])
    with pytest.raises(ValueError, match=f"notes lack {name}; .*delete it"):
        WindowStore.open(path)


@pytest.mark.parametrize(
    "whose", [{"participant": "b"}, {"state": "auditory"}, {"n_valid": np.array([3])}]
)
def test_fingerprint_is_of_what_training_reads(tmp_path, whose):
    """Whose windows are is part of it: the split depends on that. Provenance is not."""
    facts = {"participant": "a", "state": "rest"}
    fingerprints = []
    for i, more in enumerate(({}, {"provenance": {"file": "b.fif"}}, whose)):
        store = WindowStore.create(tmp_path / str(i), **FORM)
        store.append(np.ones((1, 2, 4)), name="x", **facts | more)
        fingerprints.append(store.fingerprint)
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


@pytest.mark.parametrize(
    "change",
    [
        {"n_sensors": 0},
        {"n_sensors": 2.0},
        {"n_sensors": True},
        {"n_sensors": 10**30},
        {"n_times": -4},
        {"n_times": "4"},
        {"sfreq": float("nan")},
        {"sfreq": float("inf")},
        {"sfreq": 0.0},
        {"sfreq": None},
    ],
)
def test_forms_that_are_none(tmp_path, change):
    """A store of no size, or of an impossible one, is not made."""
    with pytest.raises(ValueError, match=f"Expected {next(iter(change))} to be a"):
        WindowStore.create(tmp_path / "store", **FORM | change)
    assert not (tmp_path / "store").exists()


CLAIMS = {
    "longer than the file": None,
    "deep": "[" * 100_000,
    "deep object": '{"a":' * 100_000,
    "many windows": {"n_valid": {"dtype": "I32", "shape": [10**12]}},
    "huge number": {"start": {"dtype": "F64", "shape": [10**400]}},
    "negative": {"windows": {"dtype": "I16", "shape": [-1, -2, 4]}},
    "other type": {"windows": {"dtype": "F16", "shape": [3, 2, 4]}},
    "no shape": {"windows": 7},
    "no metadata": {"__metadata__": {}},
    "metadata of no table": {"__metadata__": [1]},
    "deep notes": {"__metadata__": {"recording": "[" * 100_000}},
}


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_headers_that_claim_too_much(tiny, claim):
    """Sizes that a header claims are compared with the file before memory is asked for.

    In a process that may not have 400 MB more than it has.
    """
    path, file = tiny
    old = file.read_bytes()
    end = 8 + int.from_bytes(old[:8], "little")
    text = claim
    if isinstance(claim, dict):
        header = json.loads(old[8:end])
        for name, entry in claim.items():
            given = isinstance(entry, dict) and "dtype" in entry
            header[name] = header[name] | entry if given else entry
        text = json.dumps(header)
    length = 2**62 if text is None else len(text)
    content = length.to_bytes(8, "little") + (text or "").encode() + old[end:]
    file.write_bytes(content)
    code = f"""if True:
        import resource
        from mne_megfm.store import WindowStore
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 400 * 2**20,) * 2)
        try:
            WindowStore.open({str(path)!r})
        except ValueError as error:
            assert "damaged file" in str(error) and "delete it" in str(error), error
            print("refused")
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stdout == "refused\n", done.stderr
