"""Tests of the order of writing: at no moment does a kill lose what was reported."""

import numpy as np
import pytest
import torch

from mne_megfm.models import (
    MaskedSignalTransformer,
    ModelConfig,
    ParticipantConfig,
    ParticipantTransformer,
)
from mne_megfm.pretraining import History, PretrainSettings, pretrain_store
from mne_megfm.sensors import canonical_kernel
from mne_megfm.store import WindowStore
from mne_megfm.weights import PARTICIPANT_ENCODER, load_checkpoint, save_checkpoint


@pytest.fixture
def store(tmp_path, rng):
    """Return a store of two participants."""
    store = WindowStore.create(tmp_path / "store")
    for name in "ab":
        windows = 1e-13 * rng.standard_normal((4, 192, 250)).cumsum(-1)
        store.append(windows, name=name, participant=name, state="rest")
    return store


@pytest.fixture
def weights(tmp_path):
    """Return a small checkpoint with a participant encoder."""
    kernel = torch.tensor(canonical_kernel(), dtype=torch.float32)
    config = ModelConfig(d_model=16, n_layers=1, n_decoder_layers=1, n_heads=2)
    path = save_checkpoint(
        tmp_path / "weights", MaskedSignalTransformer(config, kernel)
    )
    sizes = ParticipantConfig(d_model=8, n_heads=1, n_layers=1)
    PARTICIPANT_ENCODER.save(path, ParticipantTransformer(sizes), kernel)
    return path


def test_written_first(store, weights, tmp_path, monkeypatch):
    """Epochs are saved before they are reported; the encoder is there at any time."""
    out, epochs, removed = tmp_path / "out", [], []
    settings = PretrainSettings(
        weights=str(weights), epochs=2, steps_per_epoch=1, batch_size=4, max_valid=4
    )

    def report(text):
        if text.startswith("Epoch"):
            history = History.from_csv(out / "run" / "history.csv")
            epochs.append(len(history.epoch))

    def delete(directory, kept=()):
        removed.append([part for part in (PARTICIPANT_ENCODER,) if part not in kept])

    def save(directory, model, **kwargs):
        assert PARTICIPANT_ENCODER.load(out, model.kernel) is not None
        return save_checkpoint(directory, model, **kwargs)

    place = "mne_megfm.pretraining._checkpoint_writer"
    monkeypatch.setattr("mne_megfm.pretraining._trainer.logger.info", report)
    monkeypatch.setattr(f"{place}.save_checkpoint", save)
    monkeypatch.setattr(f"{place}.delete_participant_parts", delete)
    pretrain_store(store, out, settings)
    assert epochs == [1, 2]
    assert len(removed) >= 2
    assert not any(removed)
    assert np.isfinite(load_checkpoint(out).kernel.numpy()).all()
