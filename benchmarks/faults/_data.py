"""Small simulated recordings, and a small checkpoint, that all faults are tried on."""

import mne
import numpy as np
import pandas as pd
import torch

from mne_megfm.archive import prepare
from mne_megfm.models import (
    MaskedSignalTransformer,
    ModelConfig,
    ParticipantConfig,
    ParticipantTransformer,
)
from mne_megfm.sensors import canonical_kernel
from mne_megfm.simulation import make_array_info
from mne_megfm.weights import PARTICIPANT_ENCODER, save_checkpoint

PARTICIPANTS = 8
SETTINGS = """
epochs = 2
steps_per_epoch = 2
batch_size = 4
accumulate = 2
lr = 2e-3
max_valid = 4
device = "cpu"
"""


def make_inputs(folder, seed):
    """Write recordings, their table, labels, a store, settings, and weights."""
    folder.mkdir(parents=True)
    info = make_array_info("opm32", sfreq=250.0)
    rng = np.random.default_rng(seed)
    rows, short = [], []
    for number in range(PARTICIPANTS):
        data = 1e-14 * rng.standard_normal((32, 750)).cumsum(-1)
        data *= 1 + 0.5 * (number % 2)
        name = f"sub-{number}_task-rest_meg.fif"
        raw = mne.io.RawArray(data, info, verbose="error")
        raw.save(folder / name, verbose="error")
        rows.append({"file": name, "participant": f"s{number}", "state": "rest"})
        if number < 2:  # a report takes long
            name = f"sub-{number}_task-short_meg.fif"
            raw.crop(0, 1.0).save(folder / name, verbose="error")
            short.append(rows[-1] | {"file": name})
    pd.DataFrame(rows).to_csv(folder / "list.csv", index=False)
    pd.DataFrame(short).to_csv(folder / "two.csv", index=False)
    labels = {"participant_id": [row["participant"] for row in rows]}
    labels["group"] = ["a", "b"] * (PARTICIPANTS // 2)
    pd.DataFrame(labels).to_csv(folder / "labels.tsv", sep="\t", index=False)
    (folder / "settings.toml").write_text(SETTINGS)
    prepare(folder / "list.csv", folder / "store", verbose="error")
    kernel = torch.tensor(canonical_kernel(), dtype=torch.float32)
    torch.manual_seed(seed)
    config = ModelConfig(d_model=16, n_layers=1, n_decoder_layers=1, n_heads=2)
    model = MaskedSignalTransformer(config, kernel)
    save_checkpoint(folder / "weights", model)
    sizes = ParticipantConfig(d_model=8, n_heads=1, n_layers=1)
    encoder = ParticipantTransformer(sizes)
    PARTICIPANT_ENCODER.save(folder / "weights", encoder, kernel)
    return folder
