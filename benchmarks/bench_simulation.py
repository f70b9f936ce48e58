"""Windows of simulated recordings a second and core.

Run it as ``python benchmarks/bench_simulation.py``; ``--help`` lists the options.
One thread is used. The processor time is that of one core; the wall time is longer
when other programs use the machine.
"""

from __future__ import annotations

import os

# Before NumPy is imported: one thread for matrix products.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse  # noqa: E402
import time  # noqa: E402

from mne_megfm.simulation import simulate_cohort, simulate_participant  # noqa: E402


def main(argv: list[str] | None = None) -> float:
    """Time the simulation and print a table; return windows a second."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-participants", type=int, default=8)
    parser.add_argument("--n-epochs", type=int, default=60, help="of each state")
    parser.add_argument("--array", default="neuromag306")
    parser.add_argument("--sfreq", type=float, default=250.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    # Compilers and caches are warm before the clock starts.
    simulate_participant(0, array=args.array, n_epochs=2, random_state=args.seed)
    print(f"{'filters':>8} {'states':>7} {'channels':>8} {'windows':>8} ", end="")
    print(f"{'core s':>7} {'wall s':>7} {'windows/s/core':>15}")
    slowest = float("inf")
    for filters in (None, "random"):
        wall, core = time.perf_counter(), time.process_time()
        n_windows = 0
        for first in range(args.n_participants):
            # One after the other, so that memory holds one participant.
            cohort = simulate_cohort(
                1,
                n_epochs=args.n_epochs,
                arrays=args.array,
                sfreq=args.sfreq,
                filters=filters,
                first=first,
                random_state=args.seed,
                verbose="error",
            )
            recordings = cohort[0].recordings.values()
            n_windows += sum(len(epochs) for epochs in recordings)
        core, wall = time.process_time() - core, time.perf_counter() - wall
        n_channels = len(next(iter(recordings)).ch_names)
        speed = n_windows / core
        slowest = min(slowest, speed)
        print(
            f"{str(filters):>8} {len(recordings):7d} {n_channels:8d} {n_windows:8d} "
            f"{core:7.2f} {wall:7.2f} {speed:15.0f}"
        )
    print(
        f"1 thread, {args.n_participants} participants, {args.n_epochs} epochs of "
        f"1 s a state at {args.sfreq:g} Hz, seed {args.seed}"
    )
    return slowest


if __name__ == "__main__":
    main()
