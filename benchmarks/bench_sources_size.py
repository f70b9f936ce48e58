"""Memory and time of fitting latent sources, against sources and people.

    python benchmarks/bench_sources_size.py --rst doc/validation/sources.rst

Each row is a process of its own, which makes recordings of noise and of sources that
follow the features, fits the linear start and trains for an epoch by mini-batches over
time. Its peak memory includes the recordings, which are loaded.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import mne
import numpy as np

from mne_megfm.encoding import LatentSourceEncoder
from mne_megfm.simulation import (
    make_array_info,
    template_source_space,
    template_sphere,
    template_trans,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from rst_tables import simple_table, write_table  # noqa: E402

SFREQ, TR, STORY = 50.0, 2.0, 300.0
# people, minutes, spacing of sources (ico3: 1284, ico4: 5124)
SIZES = [(2, 10, "ico3"), (2, 10, "ico4"), (8, 10, "ico3"), (8, 30, "ico4")]


def main(argv=None):
    """Print a table, and write it into a page if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", nargs=3, metavar=("PEOPLE", "MINUTES", "SPACING"))
    parser.add_argument("--features", type=int, default=16)
    parser.add_argument("--rst", type=Path, help="page to write the table into")
    args = parser.parse_args(argv)
    mne.set_log_level("error")
    if args.one:
        people, minutes, spacing = args.one
        print(json.dumps(measure(int(people), int(minutes), spacing, args.features)))
        return
    rows = []
    for size in SIZES:
        done = subprocess.run(
            [sys.executable, __file__, "--features", str(args.features)]
            + ["--one", *map(str, size)],
            check=True,
            capture_output=True,
            text=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
        rows.append(
            [
                str(found["people"]),
                str(found["minutes"]),
                str(found["sources"]),
                str(found["components"]),
                f"{found['recordings']:.1f}",
                f"{found['peak']:.1f}",
                f"{found['start']:.0f}",
                f"{found['epoch']:.0f}",
            ]
        )
        print(rows[-1], flush=True)
    header = ["people", "minutes", "sources", "components"]
    header += ["recordings (GiB)", "peak (GiB)", "linear start (s)", "epoch (s)"]
    facts = {
        "Data": f"157 sensors at {SFREQ:g} Hz, and of fMRI at a TR of "
        f"{TR:g} s; {args.features} features, stories of {STORY / 60:g} minutes",
        "Computer": f"{os.environ.get('OMP_NUM_THREADS', os.cpu_count())} thread(s) of "
        "a shared CPU",
    }
    print(simple_table(header, rows))
    if args.rst:
        write_table(args.rst, facts, header, rows)


def measure(n_people, minutes, spacing, n_features):
    """Fit noise, and give peak memory and times."""
    rng = np.random.default_rng(0)
    src = template_source_space(spacing)
    info = make_array_info("kit157", SFREQ, random_state=rng)
    forward = mne.make_forward_solution(
        info, template_trans(), src, template_sphere(), eeg=False, mindist=0.0
    )
    n_stories, n_times = round(60 * minutes / STORY), int(STORY * SFREQ)
    names = [f"story{i}" for i in range(n_stories)]
    stimulus = {s: rng.standard_normal((n_times, n_features)) for s in names}
    n_channels, n_sources = len(info.ch_names), sum(s["nuse"] for s in src)
    cov = mne.make_ad_hoc_cov(info)

    gain = mne.convert_forward_solution(forward, force_fixed=True)["sol"]["data"]
    fields = gain @ rng.standard_normal((n_sources, n_features))
    fields *= 3e-14 / fields.std()
    noise = np.sqrt(np.diag(cov["data"]) if cov["data"].ndim == 2 else cov["data"])

    def raw(story):
        data = rng.standard_normal((n_channels, n_times), dtype=np.float32)
        data *= noise[:, None].astype(np.float32)
        return mne.io.RawArray(data + fields @ stimulus[story].T, info)

    def scans():
        return rng.standard_normal((int(STORY / TR), n_sources))

    recordings = {
        f"P{i}": {
            "meg": {s: raw(s) for s in names},
            "forward": forward,
            "noise_cov": cov,
            "fmri": {s: scans() for s in names},
            "tr": TR,
        }
        for i in range(n_people)
    }
    before = peak()
    encoder = LatentSourceEncoder(SFREQ, n_epochs=1)
    seconds = {"_start": [], "_train": []}
    for name, times in seconds.items():
        setattr(encoder, name, timed(getattr(encoder, name), times))
    encoder.fit(stimulus, recordings)
    return {
        "people": n_people,
        "minutes": minutes,
        "sources": int(n_sources),
        "components": encoder.network_.config.n_components,
        "recordings": before,
        "peak": peak(),
        "start": seconds["_start"][-1],
        # the first training is of one epoch; units of fMRI are fitted in it as well
        "epoch": seconds["_train"][0],
    }


def timed(function, times):
    """Add how long a function takes to a list."""

    def run(*args, **kwargs):
        begin = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            times.append(time.perf_counter() - begin)

    return run


def peak():
    """Peak memory of this process in GiB."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / (2**30 if sys.platform == "darwin" else 2**20)


if __name__ == "__main__":
    main()
