"""Pretraining throughput, beside what the machine's matrix products could give.

Run by ``make benchmark``, or ``python benchmarks/bench_pretraining.py``.
"""

import time

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from mne_megfm.models import (
    MaskedSignalTransformer,
    MixedMasking,
    ModelConfig,
    to_patches,
)
from mne_megfm.pretraining import SignalSpectrumLoss
from mne_megfm.sensors import canonical_array, canonical_kernel

SEED, BATCH, STEPS, N_MATRIX = 0, 32, 12, 2048


def matrix_rate(dtype):
    """Measure matrix products in FLOP/s."""
    a = torch.randn(N_MATRIX, N_MATRIX).to(dtype)
    rates = []
    for _ in range(12):
        start = time.perf_counter()
        a @ a
        rates.append(2 * N_MATRIX**3 / (time.perf_counter() - start))
    return float(np.median(rates[2:]))


def main():
    """Print windows a second and the share of the matrix-product rate."""
    torch.manual_seed(SEED)
    region_pos = torch.from_numpy(np.array(canonical_array().region_pos))
    kernel = torch.from_numpy(np.array(canonical_kernel())).float()
    model = MaskedSignalTransformer(ModelConfig(), kernel)
    optimizer = torch.optim.AdamW(model.parameters())
    masking, objective = MixedMasking(), SignalSpectrumLoss()
    windows = torch.randn(BATCH, 192, 250) * 4e-13
    print(
        f"Pretraining, batches of {BATCH}, {torch.get_num_threads()} thread(s), seed "
        f"{SEED}, {STEPS} steps with mixed masks"
    )
    for name, bf16 in (("float32", False), ("bfloat16 autocast", True)):
        generator = torch.Generator().manual_seed(SEED)

        def step(generator=generator, bf16=bf16):
            mask = masking(8, 10, region_pos, generator).repeat_interleave(4, 0)
            scaled, hidden = model.scale(windows, None, mask)
            target = to_patches(scaled.windows, model.config)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                predicted = model.predict_patches(target, hidden)
            optimizer.zero_grad()
            objective(predicted, target, mask).backward()
            optimizer.step()

        with FlopCounterMode(display=False) as counter:
            for _ in range(STEPS):
                step()
        flops = counter.get_total_flops() / STEPS
        # the same masks again, so that work and time belong together
        generator.manual_seed(SEED)
        times = []
        for _ in range(STEPS):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        rate = matrix_rate(torch.bfloat16 if bf16 else torch.float32)
        seconds = float(np.mean(times))
        print(
            f"  {name:18s}{BATCH / seconds:7.1f} windows/s "
            f"({seconds * 1e3:.0f} ms a step, SD {np.std(times) * 1e3:.0f}), "
            f"{flops / seconds / 1e9:.0f} GFLOP/s = {flops / seconds / rate:.0%} of "
            f"matrix products at {rate / 1e9:.0f} GFLOP/s"
        )


if __name__ == "__main__":
    main()
