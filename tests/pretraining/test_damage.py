"""Tests that damage to checkpoints and runs is found, before memory is asked for."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from mne_megfm.models import MeanPooling, ParticipantConfig, ParticipantTransformer
from mne_megfm.pretraining._run import read_run
from mne_megfm.utils.files import UNSEALED, parse_sealed_json, seal, sealed_json
from mne_megfm.weights import (
    PARTICIPANT_ENCODER,
    load_checkpoint,
    load_pooling,
    read_config,
    save_checkpoint,
)

KERNEL = torch.eye(192)


@pytest.fixture
def checkpoint(make_model, tmp_path):
    """Return the folder of a small checkpoint with a participant encoder."""
    training = {"licence": "Ümlaut", "losses": [1e-05, 0.25], "name": None, "n": 4}
    path = save_checkpoint(tmp_path / "mine", make_model(), training=training)
    encoder = ParticipantTransformer(
        ParticipantConfig(d_model=8, n_heads=1, n_layers=1)
    )
    return PARTICIPANT_ENCODER.save(path, encoder, KERNEL, training)


def _silent(file, use, places=None):
    """Flip bits of a file, all by default; return those that `use` is silent about.

    What it says otherwise is a ValueError that names the file and what to do.
    """
    content = file.read_bytes()
    changed = bytearray(content)
    silent = []
    for place in range(8 * len(content)) if places is None else places:
        byte, bit = divmod(int(place), 8)
        changed[byte] ^= 1 << bit
        file.write_bytes(changed)
        changed[byte] ^= 1 << bit
        try:
            use()
        except ValueError as error:
            message = str(error)
            assert file.name in message, message
            assert "again" in message, message
        else:
            silent.append(place)
    file.write_bytes(content)
    use()
    return silent


def _some(file, rng, n=150):
    """Choose bits of a safetensors file: some of its header, and of its arrays."""
    content = file.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header, arrays = (
        rng.integers(0, 8 * end, n),
        rng.integers(8 * end, 8 * len(content), n),
    )
    return [*range(64), *header, *arrays]


def test_every_bit_of_the_configuration(checkpoint):
    """Sizes, hashes, notes on training, the hash of all that: nothing goes unseen."""
    use = lambda: read_config(checkpoint)  # noqa: E731
    assert _silent(checkpoint / "config.json", use) == []
    assert _silent(checkpoint / "preprocessing.json", use) == []


def test_every_bit_of_the_participant_configuration(checkpoint, monkeypatch):
    # the weights themselves are looked at in the next test
    monkeypatch.setattr(
        "mne_megfm.weights.checkpoint.ParticipantTransformer.load_state_dict",
        lambda *args, **kwargs: None,
    )
    file = checkpoint / "participant.json"
    content = file.read_bytes()
    places = range(8 * len(content))
    assert (
        _silent(
            file,
            lambda: PARTICIPANT_ENCODER.load(checkpoint, KERNEL),
            places,
        )
        == []
    )


@pytest.mark.slow
def test_bits_of_the_weights(checkpoint, rng):
    for name, use in (
        ("model.safetensors", lambda: load_checkpoint(checkpoint)),
        (
            "participant.safetensors",
            lambda: PARTICIPANT_ENCODER.load(checkpoint, KERNEL),
        ),
    ):
        file = checkpoint / name
        assert _silent(file, use, _some(file, rng)) == [], name


def test_bits_of_a_run(train, tmp_path, rng):
    """Weights, best weights, the optimiser, settings, history, step: all of it."""
    run = tmp_path / "run"
    model, _ = train(max_epochs=1, directory=run)
    file = run / "run.safetensors"
    use = lambda: train(model, max_epochs=1, directory=run)  # noqa: E731
    places = _some(file, rng)
    assert _silent(file, use, places) == []


def test_a_card_is_text(checkpoint):
    """README.md is read by people alone; a changed letter there changes no result."""
    (checkpoint / "README.md").write_text("changed")
    load_checkpoint(checkpoint)


SIZES = [
    {"d_model": 8192, "n_heads": 1},
    {"d_model": 65536, "n_heads": 1, "mlp_ratio": 64.0},
    {"n_layers": 256},
    {"n_decoder_layers": 256, "n_layers": 256, "d_model": 65536},
    {"n_patches": 10_000, "patch_length": 100_000},
    {"n_sensors": 10_000, "n_regions": 1},
    {"n_layers": 10**6},
    {"d_model": 10**6},
    {"n_patches": 10**6},
    {"n_patches": 10**400},
    {"n_layers": 1e9},
    {"scale": float("nan")},
    {"sfreq": "250"},
    {"n_heads": True},
]
PARTICIPANT_SIZES = [
    {"d_model": 65536, "n_layers": 256},
    {"n_measures": 1000, "d_model": 32768},
    {"n_layers": 10**7},
    {"n_response": 10**9},
]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
def test_sizes_are_compared_before_memory_is_taken(checkpoint):
    """Sizes that the weights do not have are refused in a process of little memory.

    The configurations are whole: their own hash is right.
    """
    code = f"""if True:
        import json, resource, sys
        from pathlib import Path
        import torch
        from mne_megfm.utils.files import parse_sealed_json, sealed_json
        from mne_megfm.weights import PARTICIPANT_ENCODER, load_checkpoint
        folder, kernel = Path({str(checkpoint)!r}), torch.eye(192)
        load_checkpoint(folder), PARTICIPANT_ENCODER.load(folder, kernel)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 200 * 2**20,) * 2)
        for name, cases, load in (
            ("config.json", {SIZES!r}, load_checkpoint),
            ("participant.json", {PARTICIPANT_SIZES!r},
             lambda folder: PARTICIPANT_ENCODER.load(folder, kernel)),
        ):
            data = (folder / name).read_bytes()
            for changes in cases:
                content = parse_sealed_json(data)
                content["model"].update(changes)
                (folder / name).write_bytes(sealed_json(content))
                try:
                    load(folder)
                except ValueError as error:
                    assert str(error).startswith("Expected"), error
                    print("refused")
            (folder / name).write_bytes(data)
    """.replace("nan", "float('nan')")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    n = len(SIZES) + len(PARTICIPANT_SIZES)
    assert done.stdout == "refused\n" * n, done.stderr


def test_headers_that_do_not_fit(checkpoint):
    """A header of weights that claims more than there is is refused."""
    file = checkpoint / "model.safetensors"
    old = file.read_bytes()
    end = 8 + int.from_bytes(old[:8], "little")
    for change in (
        {"dtype": "F32", "shape": [10**15], "data_offsets": [0, 4 * 10**15]},
        {"dtype": "F32", "shape": [10**400], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1, -4], "data_offsets": [0, 16]},
        {"dtype": "F3", "shape": [], "data_offsets": [0, 0]},
        [],
    ):
        header = json.loads(old[8:end]) | {"norm.bias": change}
        text = json.dumps(header).encode()
        _replace(checkpoint, len(text).to_bytes(8, "little") + text + old[end:])
        with pytest.raises(ValueError, match="Expected safetensors in .*damaged"):
            load_checkpoint(checkpoint)
    deep = b'{"a":' * 100_000
    _replace(checkpoint, len(deep).to_bytes(8, "little") + deep)
    with pytest.raises(ValueError, match="Expected safetensors in .*damaged"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ("notes", "reason"),
    [
        ({"more": float("nan")}, "it has NaN"),
        ({"more": float("inf")}, "it has Infinity"),
        # what safetensors alone refuses
        ({"more": 1}, "got something else"),
    ],
)
def test_notes_of_a_header(checkpoint, notes, reason):
    """Notes that are not JSON, or not text, are refused as damage."""
    file = checkpoint / "model.safetensors"
    old = file.read_bytes()
    end = 8 + int.from_bytes(old[:8], "little")
    header = json.loads(old[8:end])
    header["__metadata__"] |= notes
    text = json.dumps(header).encode()
    _replace(checkpoint, len(text).to_bytes(8, "little") + text + old[end:])
    with pytest.raises(ValueError, match=f"Expected safetensors in .*{reason}"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("kind", ["pooling", "aggregator"])
@pytest.mark.parametrize(
    "entry",
    [None, 3, [], {"is": "MeanPooling()"}, {"is": 3, "arrays": {}}]
    + [{"is": "MeanPooling()", "arrays": {"x": shape}} for shape in (3, [-1], [1.5])],
)
def test_parts_of_other_types(checkpoint, kind, entry):
    """What stands for the state of a pooling is looked at before it is used."""
    config = parse_sealed_json((checkpoint / "config.json").read_bytes())
    config[kind] = entry
    (checkpoint / "config.json").write_bytes(sealed_json(config))
    with pytest.raises(ValueError, match=f"identity and shapes of a {kind} in .*again"):
        load_pooling(checkpoint, MeanPooling())


def _replace(checkpoint, data):
    """Put other weights in place, with hashes that fit."""
    import hashlib

    config = json.loads((checkpoint / "config.json").read_text())
    del config["digest"]
    config["sha256"]["model.safetensors"] = hashlib.sha256(data).hexdigest()
    (checkpoint / "model.safetensors").write_bytes(data)
    (checkpoint / "config.json").write_bytes(sealed_json(config))


def test_loading_costs_no_random_numbers(checkpoint):
    """What comes after loading draws as if nothing had been loaded."""
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    load_checkpoint(checkpoint)
    PARTICIPANT_ENCODER.load(checkpoint, KERNEL)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("settings", []),
        ("settings", None),
        ("history", "none"),
        ("step", 1.0),
        ("step", True),
        ("total", "1"),
        ("history", {"epoch": [1], "r2": {}}),
    ],
)
def test_notes_of_a_run(train, tmp_path, name, value):
    """Notes of other types, sealed as such, are refused as damage."""
    train(max_epochs=1, directory=tmp_path)
    file = tmp_path / "run.safetensors"
    notes, state = read_run(file)
    assert name in notes
    text = json.dumps(UNSEALED | notes | {name: value})
    file.write_bytes(seal(save(state, metadata={"run": text})))
    with pytest.raises(ValueError, match=r"Expected a saved run in .*damaged: delete"):
        train(max_epochs=1, directory=tmp_path)


def test_a_run_whose_arrays_are_of_another_model(train, tmp_path):
    """Arrays that were changed and hashed as such are still not those of the model."""
    train(directory=tmp_path)
    file = tmp_path / "run.safetensors"
    state = load_file(file)
    save_file({k: v for k, v in state.items() if k != "model.norm.bias"}, file)
    with pytest.raises(ValueError, match=r"run.safetensors.*not JSON.*delete it"):
        train(directory=tmp_path)
