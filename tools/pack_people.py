"""Pack trained weights and the components of their bank into one file of a reader.

python tools/pack_people.py WEIGHTS.safetensors BANK.npz READER.safetensors
"""

import json
import sys

import numpy as np
import torch
from people import EncoderConfig, PersonReader, save_reader
from safetensors import safe_open

if __name__ == "__main__":
    weights, bank, out = sys.argv[1:]
    with safe_open(weights, "pt") as file:
        config = EncoderConfig(**json.loads(file.metadata()["config"]))
        trained = {name: file.get_tensor(name) for name in file.keys()}
    reader = PersonReader(config)
    reader.encoder.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in trained.items()}
    )
    arrays = np.load(bank)
    for name in ("whiten", "place_gain", "places"):
        getattr(reader, name).copy_(torch.from_numpy(arrays[name]))
    save_reader(reader, out)
