"""The participant encoder on disk."""

import hashlib
import json

import pytest
import torch

from mne_megfm.models import ParticipantConfig, ParticipantTransformer
from mne_megfm.weights import (
    PARTICIPANT_ENCODER,
    delete_participant_parts,
)

KERNEL = torch.eye(192)


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    encoder = ParticipantTransformer(ParticipantConfig(d_model=32, n_layers=1))
    PARTICIPANT_ENCODER.save(tmp_path, encoder, KERNEL, {"participants": 3})
    return tmp_path, encoder


def test_comes_back_the_same(folder):
    path, encoder = folder
    again, training = PARTICIPANT_ENCODER.load(path, KERNEL + 1e-4)
    assert training == {"participants": 3} and not again.training
    for name, value in encoder.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert {p.name for p in path.iterdir()} == {
        "participant.json",
        "participant.safetensors",
    }


def test_none_is_none(folder, tmp_path):
    delete_participant_parts(folder[0])
    assert PARTICIPANT_ENCODER.load(folder[0], KERNEL) is None


def spoil_byte(path):
    file = path / "participant.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(bytes(data))


def drop_weights(path):
    (path / "participant.safetensors").unlink()


def cut_json(path):
    file = path / "participant.json"
    file.write_text(file.read_text()[:50])


def edit(**entries):
    def change(path):
        file = path / "participant.json"
        content = json.loads(file.read_text()) | entries | {"digest": "0" * 64}
        text = json.dumps(content)
        digest = hashlib.sha256(text.encode()).hexdigest()
        file.write_text(text.replace("0" * 64, digest, 1))

    return change


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (spoil_byte, "other contents; the file is damaged"),
        (drop_weights, "both participant.safetensors and participant.json"),
        (cut_json, "configuration of a participant encoder"),
        (edit(model={"depth": 3}), "configuration of a participant encoder"),
        (edit(format="mne-megfm participant 7"), "format"),
        (edit(model={"d_model": 64}), "only .* match"),
        (edit(kernel="0" * 16), "one of another"),
    ],
)
def test_damage_is_told(folder, spoil, match):
    spoil(folder[0])
    with pytest.raises(ValueError, match=match):
        PARTICIPANT_ENCODER.load(folder[0], KERNEL)


def test_other_array(folder):
    with pytest.raises(ValueError, match="of another"):
        PARTICIPANT_ENCODER.load(folder[0], 2 * KERNEL)
