"""Time from a Raw to features, beside other networks: one run, one thread.

Run by ``make benchmark``, or ``python benchmarks/bench_features.py``.
"""

import argparse
import time
import warnings

import mne
import numpy as np
import torch
from _results import Results, add_option

from mne_megfm import MEGFMTransformer
from mne_megfm.plugins import braindecode_models
from mne_megfm.simulation import make_array_info

SEED, SECONDS, SFREQ, REPEATS = 0, 10, 250.0, 15


def recording(n_channels):
    """Return 10 s of noise on all or the magnetometers alone of a Neuromag array."""
    info = make_array_info("neuromag306", SFREQ, head_pos="random", random_state=SEED)
    if n_channels == 102:
        info = mne.pick_info(info, mne.pick_types(info, meg="mag"))
    rng = np.random.default_rng(SEED)
    kinds = mne.channel_indices_by_type(info)
    data = rng.standard_normal((len(info["ch_names"]), int(SECONDS * SFREQ)))
    data[kinds["mag"]] *= 1e-13
    data[kinds["grad"]] *= 3e-12
    return mne.io.RawArray(data, info)


def measure(functions):
    """Give median and spread of each, measured in turn so that all share the noise."""
    for function in functions.values():
        for _ in range(2):
            function()
    times = {name: [] for name in functions}
    for _ in range(REPEATS):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: np.percentile(t, [25, 50, 75]) for name, t in times.items()}


def other_network(models, name, raw, n_times):
    """Wrap a braindecode network with random weights: Raw to output."""
    torch.manual_seed(SEED)
    network = getattr(models, name)(
        n_outputs=2,
        n_chans=len(raw.ch_names),
        n_times=n_times,
        sfreq=SFREQ,
        chs_info=raw.info["chs"],
    ).eval()

    def run():
        data = torch.from_numpy(raw.get_data().astype(np.float32))
        # LUNA and CBraMod take whole patches of 40 and 200 samples
        data = torch.nn.functional.pad(data, (0, max(0, n_times - data.shape[1])))
        with torch.inference_mode():
            return network(data[None, :, :n_times] * 1e12)

    return run


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_option(parser)
    results = Results("features", parser.parse_args().json)
    torch.set_num_threads(1)
    mne.set_log_level("error")
    raw, fewer = recording(306), recording(102)
    whole, part = (MEGFMTransformer().fit(x) for x in (raw, fewer))
    functions = {
        "mne-megfm, 306 channels": lambda: whole.transform(raw),
        "mne-megfm, 102 channels": lambda: part.transform(fewer),
    }
    try:
        models = braindecode_models()
    except ImportError as error:
        print(f"Only this package is measured. {error}")
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            functions["LUNA base, 306 channels"] = other_network(
                models, "LUNA", raw, 2520
            )
            functions["CBraMod, 306 channels"] = other_network(
                models, "CBraMod", raw, 2400
            )
    print(
        f"MNE Raw ({SECONDS} s at {SFREQ:g} Hz) to features, {torch.get_num_threads()} "
        f"thread, seed {SEED}, {REPEATS} runs in turn: median (quartiles) in ms"
    )
    times = measure(functions)
    for name, (low, median, high) in times.items():
        print(f"  {name:26s}{median * 1e3:8.1f} ({low * 1e3:.1f}-{high * 1e3:.1f})")
        results.add(name, median * 1e3, "ms")
    results.write()
    ours = times["mne-megfm, 306 channels"][1]
    print(f"306 against 102 channels: {ours / times['mne-megfm, 102 channels'][1]:.2f}")
    for name in ("LUNA base", "CBraMod"):
        other = times.get(f"{name}, 306 channels")
        if other is not None:
            print(f"mne-megfm against {name}: {ours / other[1]:.2f} of its time")


if __name__ == "__main__":
    main()
