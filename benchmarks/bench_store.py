"""The window store: how fast it reads, and whether a training step waits for it.

Run by ``make benchmark``, or ``python benchmarks/bench_store.py [--device cuda]``.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _results import Results, add_option

from mne_megfm.models import (
    MaskedSignalTransformer,
    MixedMasking,
    ModelConfig,
    to_patches,
)
from mne_megfm.pretraining import SignalSpectrumLoss
from mne_megfm.sensors import canonical_array, canonical_kernel
from mne_megfm.store import ShardSampler, WindowStore

SEED, RECORDINGS, PER_RECORDING = 0, 10, 300
REPEATS = 5


def fill(path, results):
    """Write recordings of five minutes and print how fast."""
    store = WindowStore.create(path)
    rng = np.random.default_rng(SEED)
    windows = 4e-13 * rng.standard_normal((PER_RECORDING, 192, 250))
    start = time.perf_counter()
    for i in range(RECORDINGS):
        store.append(windows, name=f"r{i:02d}", participant=f"p{i:02d}", state="rest")
    seconds = time.perf_counter() - start
    n = RECORDINGS * PER_RECORDING
    size = sum(file.stat().st_size for file in store.path.rglob("*") if file.is_file())
    print(
        f"  written     {n / seconds:8.0f} windows/s, {size / n / 1e3:.1f} kB each "
        f"({n} windows, {size / 1e6:.0f} MB)"
    )
    results.add("written", n / seconds, "windows/s")
    results.add("size of a window", size / n / 1e3, "kB")
    return WindowStore.open(path)


def forget(store):
    """Ask the system to drop what it keeps of the files in memory."""
    for path in store.path.rglob("*.safetensors"):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def rate(work, n):
    """Run and return windows a second."""
    start = time.perf_counter()
    work()
    return n / (time.perf_counter() - start)


def read_rates(store, batch_size, ahead, results):
    """Print how fast batches in random order are read."""
    sampler = ShardSampler(len(store), batch_size, random_state=SEED)

    def read(epoch):
        for _ in store.stream(sampler.epoch(epoch), ahead=ahead):
            pass

    warm = [rate(lambda e=e: read(e), len(store)) for e in range(REPEATS + 1)][1:]
    line = (
        f"  read, ahead={ahead} {np.mean(warm):7.0f} windows/s (SD {np.std(warm):.0f})"
    )
    if hasattr(os, "posix_fadvise"):
        cold = []
        for epoch in range(REPEATS):
            forget(store)
            cold.append(rate(lambda e=epoch: read(e), len(store)))
        line += f", from disk {np.mean(cold):.0f} (SD {np.std(cold):.0f})"
        results.add(f"read from disk, ahead={ahead}", np.mean(cold), "windows/s")
    results.add(f"read, ahead={ahead}", np.mean(warm), "windows/s")
    print(line)


def check_rate(store, results):
    """Print how fast all windows are compared with what was written."""
    rates = [rate(store.damaged, len(store)) for _ in range(REPEATS)]
    print(f"  checked     {np.mean(rates):8.0f} windows/s (SD {np.std(rates):.0f})")
    results.add("checked", np.mean(rates), "windows/s")


def make_step(device, batch_size):
    """Return a function that does one training step on a batch, in bfloat16."""
    torch.manual_seed(SEED)
    region_pos = torch.from_numpy(np.array(canonical_array().region_pos))
    kernel = torch.from_numpy(np.array(canonical_kernel())).float()
    model = MaskedSignalTransformer(ModelConfig(), kernel).to(device)
    optimizer = torch.optim.AdamW(model.parameters())
    masking, objective = MixedMasking(), SignalSpectrumLoss()
    generator = torch.Generator()

    def step(windows, number):
        windows = torch.as_tensor(windows).to(device)
        # a step has its masks, whatever the order of what is measured
        generator.manual_seed(number)
        mask = masking(8, 10, region_pos, generator)
        mask = mask.repeat_interleave(-(-batch_size // 8), 0)[: len(windows)].to(device)
        scaled, hidden = model.scale(windows, None, mask)
        target = to_patches(scaled.windows, model.config)
        with torch.autocast(device, torch.bfloat16):
            predicted = model.predict_patches(target, hidden)
        optimizer.zero_grad()
        objective(predicted, target, mask).backward()
        optimizer.step()

    return step


def train_rates(store, options, ahead, results):
    """Print rates of steps from memory and from the store, in turns, and ratios."""
    device, batch_size, n_steps = options.device, options.batch_size, options.steps
    step = make_step(device, batch_size)
    sampler = ShardSampler(len(store), batch_size, random_state=SEED)
    index = [*sampler.epoch(0)][:n_steps]
    held, _ = store.take(index[0])
    n = sum(map(len, index))

    def from_memory():
        for number in range(len(index)):
            step(held, number)
        synchronize(device)

    def from_store():
        stream = store.stream(iter(index), ahead=ahead)
        for number, (windows, _) in enumerate(stream):
            step(windows, number)
        synchronize(device)

    from_memory()
    rates, work = [], []
    for _ in range(REPEATS):
        for run in (from_memory, from_store):
            cpu = time.process_time()
            rates.append(rate(run, n))
            work.append(time.process_time() - cpu)
    rates, work = np.reshape(rates, (-1, 2)), np.reshape(work, (-1, 2))
    memory, stored = rates.mean(0)
    ratios = rates[:, 1] / rates[:, 0]
    # what other processes do to the clock does not count here
    shares = work[:, 0] / work[:, 1]
    print(
        f"  train, ahead={ahead} {memory:6.1f} windows/s without the store, "
        f"{stored:.1f} with: ratio {ratios.mean():.3f} (SD {ratios.std():.3f}); in CPU "
        f"time {shares.mean():.3f} (SD {shares.std():.3f})"
    )
    results.add(f"train without the store, ahead={ahead}", memory, "windows/s")
    results.add(f"train with the store, ahead={ahead}", stored, "windows/s")


def synchronize(device):
    """Wait for the device."""
    if device == "cuda":
        torch.cuda.synchronize()


def main():
    """Print rates of writing, reading and training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--ahead", type=int, default=2)
    add_option(parser)
    options = parser.parse_args()
    results = Results("store", options.json, options.device)
    print(
        f"Window store on {options.device}, batches of {options.batch_size}, "
        f"{torch.get_num_threads()} thread(s) of {os.cpu_count()} cores, seed {SEED}, "
        f"{REPEATS} repeats"
    )
    with tempfile.TemporaryDirectory() as folder:
        store = fill(Path(folder) / "store", results)
        check_rate(store, results)
        for ahead in sorted({0, options.ahead}):
            read_rates(store, options.batch_size, ahead, results)
            train_rates(store, options, ahead, results)
    results.write()


if __name__ == "__main__":
    main()
