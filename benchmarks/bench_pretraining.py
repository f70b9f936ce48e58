"""Pretraining throughput, beside what the machine's matrix products could give.

Run by ``make benchmark``, or ``python benchmarks/bench_pretraining.py``; on a GPU with
``--device cuda --batch 2048 --compiled``.
"""

import argparse
import time

import numpy as np
import torch
from _results import Results, add_option
from torch.utils.flop_counter import FlopCounterMode

from mne_megfm.models import (
    MaskedSignalTransformer,
    MixedMasking,
    ModelConfig,
    to_patches,
)
from mne_megfm.pretraining import SignalSpectrumLoss
from mne_megfm.sensors import canonical_array, canonical_kernel

SEED, N_MATRIX = 0, 2048


def now(device):
    """Read the clock once the device has done its work."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def matrix_rate(dtype, device):
    """Measure matrix products in FLOP/s."""
    size = N_MATRIX if device == "cpu" else 4 * N_MATRIX
    a = torch.randn(size, size, device=device).to(dtype)
    rates = []
    for _ in range(12):
        start = now(device)
        a @ a
        rates.append(2 * size**3 / (now(device) - start))
    return float(np.median(rates[2:]))


def main():
    """Print windows a second and the share of the matrix-product rate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--compiled", action="store_true", help="compile the layers")
    add_option(parser)
    options = parser.parse_args()
    results = Results("pretraining", options.json, options.device)
    device, batch, n_steps = options.device, options.batch, options.steps
    torch.manual_seed(SEED)
    region_pos = torch.from_numpy(np.array(canonical_array().region_pos))
    kernel = torch.from_numpy(np.array(canonical_kernel())).float()
    model = MaskedSignalTransformer(ModelConfig(), kernel).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), fused=device == "cuda")
    masking, objective = MixedMasking(), SignalSpectrumLoss()
    windows = torch.randn(batch, 192, 250, device=device) * 4e-13
    where = f"{torch.get_num_threads()} thread(s)"
    if device == "cuda":
        where = torch.cuda.get_device_name()
    print(
        f"Pretraining, batches of {batch}, {where}, seed {SEED}, {n_steps} steps with "
        f"mixed masks{', compiled' if options.compiled else ''}"
    )

    def step(generator, bf16):
        mask = masking(batch // 4, 10, region_pos, generator)
        mask = mask.repeat_interleave(4, 0).to(device)
        scaled, hidden = model.scale(windows, None, mask)
        target = to_patches(scaled.windows, model.config)
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            predicted = model.predict_patches(target, hidden)
        optimizer.zero_grad()
        objective(predicted, target, mask).backward()
        optimizer.step()

    generator = torch.Generator().manual_seed(SEED)
    with FlopCounterMode(display=False) as counter:
        for _ in range(n_steps):
            step(generator, False)
    flops = counter.get_total_flops() / n_steps
    if options.compiled:
        for layer in model.layers():
            layer.compile(dynamic=True)
    for name, bf16 in (("float32", False), ("bfloat16 autocast", True)):
        # the same masks again, so that work and time belong together
        for _ in range(2):  # compiled code is made in the first turn
            generator.manual_seed(SEED)
            times = []
            for _ in range(n_steps):
                start = now(device)
                step(generator, bf16)
                times.append(now(device) - start)
        rate = matrix_rate(torch.bfloat16 if bf16 else torch.float32, device)
        seconds = float(np.mean(times))
        print(
            f"  {name:18s}{batch / seconds:9.1f} windows/s "
            f"({seconds * 1e3:.0f} ms a step, SD {np.std(times) * 1e3:.0f}), "
            f"{flops / seconds / 1e9:.0f} GFLOP/s = {flops / seconds / rate:.1%} of "
            f"matrix products at {rate / 1e9:.0f} GFLOP/s",
            flush=True,
        )
        results.add(name, batch / seconds, "windows/s")
    results.write()


if __name__ == "__main__":
    main()
