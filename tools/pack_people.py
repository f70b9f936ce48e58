"""Put trained weights and the components of their bank into a checkpoint.

python tools/pack_people.py WEIGHTS.safetensors BANK.npz CHECKPOINT_FOLDER TRAINING.json

TRAINING.json says what the weights have seen, for the model card.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

from mne_megfm.models import ParticipantPosterior, PosteriorConfig
from mne_megfm.weights import POSTERIOR, load_checkpoint

if __name__ == "__main__":
    weights, bank, folder, training = sys.argv[1:]
    with safe_open(weights, "pt") as file:
        about = json.loads(file.metadata()["config"])
        trained = {name: file.get_tensor(name) for name in file.keys()}
    posterior = ParticipantPosterior(PosteriorConfig(**about))
    # only pretraining rebuilds tokens
    posterior.encoder.load_state_dict(
        {
            k: v.float() if v.is_floating_point() else v
            for k, v in trained.items()
            if not k.startswith("rebuild")
        }
    )
    arrays = np.load(bank)
    for name in ("whiten", "place_gain", "places"):
        getattr(posterior, name).copy_(torch.from_numpy(arrays[name]))
    seen = json.loads(Path(training).read_text())
    POSTERIOR.save(folder, posterior, load_checkpoint(folder).kernel, seen)
