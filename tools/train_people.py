"""Train the participant encoder: everything in one command, on a GPU or a CPU.

    python tools/train_people.py BANK.npz OUT --device cuda --minutes 8.5

It needs PyTorch, NumPy, safetensors and lazy_loader, no network and no MNE. Weights and
figures are written to OUT again and again.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("bank")
parser.add_argument("out", type=Path)
parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
parser.add_argument("--minutes", type=float, default=8.5)
parser.add_argument("--seconds", type=float)
parser.add_argument("--start", help="weights to go on from")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--package", default=str(Path(__file__).parents[1]))
for name, kind in (
    ("chunk", int),
    ("batch", int),
    ("buffer", int),
    ("reuse", float),
    ("lr", float),
    ("n-valid", int),
    ("hide-weight", float),
    ("report-every", float),
    ("warm", int),
):
    parser.add_argument(f"--{name}", type=kind)
SIZES = {"d_model": int, "n_layers": int, "n_heads": int, "dropout": float}
for name, kind in SIZES.items():
    parser.add_argument(f"--{name.replace('_', '-')}", type=kind)


def main():
    """Train, as the command line says."""
    args = parser.parse_args()
    sys.path[:0] = [args.package, str(Path(__file__).parent)]
    from people._training import Settings, train

    from mne_megfm.models import PosteriorConfig

    given = {k: v for k, v in vars(args).items() if v is not None}
    sizes = {k: given[k] for k in SIZES if k in given}
    names = (
        "chunk",
        "batch",
        "buffer",
        "reuse",
        "lr",
        "n_valid",
        "hide_weight",
        "report_every",
        "warm",
    )
    settings = Settings(
        minutes=args.seconds / 60 if args.seconds else args.minutes,
        encoder=PosteriorConfig(**sizes),
        **{k: given[k] for k in names if k in given},
    )
    args.out.mkdir(parents=True, exist_ok=True)
    if args.device.startswith("cuda"):
        print(torch.cuda.get_device_name(), torch.__version__, flush=True)
        torch.backends.cuda.matmul.allow_tf32 = False

    def save(model, figures):
        weights = {
            k: (v.half() if v.is_floating_point() else v).contiguous()
            for k, v in model.state_dict().items()
        }
        part = args.out / "people.part"
        about = {"config": json.dumps(model.config.to_dict())}
        save_file(weights, part, metadata=about)
        os.replace(part, args.out / "people.safetensors")
        (args.out / "figures.json").write_text(json.dumps(figures, indent=1))

    def log(line):
        print(line, flush=True)

    start = None if args.start is None else load_file(args.start)
    train(
        dict(np.load(args.bank)),
        settings,
        args.device,
        args.seed,
        save,
        log,
        start=start,
    )


if __name__ == "__main__":
    main()
