"""Full disks, places without rights, too little memory, two processes, lost workers."""

import os
import shutil
import signal
import subprocess
import time
from collections import Counter

import psutil

from ._child import limit_memory
from ._kills import check_after
from ._process import LOG, Run

TRIES = {"disk full": 3, "read-only": 1, "memory": 4, "two at once": 1}
WORKERS = 2
#: Of these kinds of faults alone, where that is asked for.
KINDS = (*TRIES, "lost worker")
#: Bytes of the disks that fill up, beyond which all of it fits.
PAGE, ROOM = 4096, "64m"
_LEAST, _MOST = 2**16, 40 * 2**20


def try_limits(commands, folder, rng, say, kinds=KINDS):
    """Run each command where something is short or in the way, then where it is not.

    Returns
    -------
    counts : dict of Counter
        By kind of fault: tried, refused (ended with an error in words), unclean (with a
        traceback or by a signal), and what `check_after` counts.
    """
    counts = {kind: Counter() for kind in kinds}
    trial = folder / "trial"
    for command in commands:
        if command.name == "report":  # which writes as others do
            continue
        reference = folder / "reference" / command.name
        # in whole pages, as such a disk has it
        sizes = [p.stat().st_size for p in reference.rglob("*") if p.is_file()]
        size = sum(size // PAGE + 1 for size in sizes) * PAGE
        for kind, n in TRIES.items():
            needs_root = kind in ("disk full", "read-only")
            if kind not in kinds or (needs_root and os.geteuid()):
                continue
            for _ in range(n):
                trial.mkdir()
                attempt = _ATTEMPTS[kind]
                said, codes = attempt(command, trial, size, rng)
                _count(kind, command, said, codes, counts[kind], say)
                check_after(command, trial, reference, counts[kind], say)
                _end(trial)
    for command in commands:
        if "lost worker" in kinds and command.name in ("prepare", "features-csv"):
            reference = folder / "reference" / command.name
            for _ in range(WORKERS):
                said, codes = _lose_worker(command, trial, rng)
                _count("lost worker", command, said, codes, counts["lost worker"], say)
                check_after(command, trial, reference, counts["lost worker"], say)
                _end(trial)
    return counts


def _count(kind, command, said, codes, counts, say):
    counts["tried"] += 1
    failed = [code for code in codes if code]
    unclean = "Traceback" in said or any(code not in (0, 1) for code in codes)
    counts["unclean"] += unclean
    counts["refused"] += bool(failed) and not unclean
    if unclean or (failed and "Error: " not in said):
        say(f"{command.name}, {kind}: ended with {codes}: {said[-1500:]}")


def _mount(trial, *options):
    args = ["mount", "-t", "tmpfs", "-o", ",".join(options), "none", str(trial)]
    subprocess.run(args, check=True)


def _end(trial):
    if os.path.ismount(trial):
        subprocess.run(["umount", "-l", str(trial)], check=True)
    shutil.rmtree(trial)


def _finish(run, log):
    code = run.end()
    said = log.read_text("utf-8")
    log.unlink()
    return said, [code]


def _fill_disk(command, trial, size, rng):
    """Run on a disk that is full after a random share of what belongs on it."""
    _mount(trial, f"size={int(rng.integers(1, size // PAGE + 2) * PAGE)}")
    log = trial.with_name("log.txt")
    said = _finish(Run(command.args, trial, log=log), log)
    _mount(trial, "remount", f"size={ROOM}")
    return said


def _forbid(command, trial, size, rng):
    """Run in a place that can only be read."""
    _mount(trial, f"size={ROOM}", "ro")
    log = trial.with_name("log.txt")
    said = _finish(Run(command.args, trial, log=log), log)
    _mount(trial, "remount", "rw", f"size={ROOM}")
    return said


def _starve(command, trial, size, rng):
    """Run with little more memory than the imports take."""
    more = int(_LEAST * (_MOST / _LEAST) ** rng.uniform())
    log = trial.with_name("log.txt")
    run = Run(command.args, trial, before=lambda: limit_memory(more), log=log)
    return _finish(run, log)


def _meet(command, trial, size, rng):
    """Run twice at a time, the second a random while after the first."""
    logs = [trial.with_name(f"log{number}.txt") for number in range(2)]
    runs = [Run(command.args, trial, log=logs[0])]
    time.sleep(rng.uniform(0, 0.1))
    runs.append(Run(command.args, trial, log=logs[1]))
    ends = [_finish(run, log) for run, log in zip(runs, logs, strict=True)]
    said, codes = zip(*ends, strict=True)
    # what the check of what was reported reads
    (trial / LOG).write_text("".join(said))
    codes = [code for one in codes for code in one]
    return "".join(said), codes if 0 in codes else [*codes, -1]


def _lose_worker(command, trial, rng):
    """Kill one of two workers at a random time after both are there."""
    log = trial.with_name("log.txt")
    run = Run([*command.args, "--jobs", "2"], trial, log=log)
    workers = []
    while len(workers) < 2 and psutil.pid_exists(run.pid):
        workers = [
            child
            for child in psutil.Process(run.pid).children()
            if "popen_loky" in " ".join(child.cmdline())
        ]
        if psutil.Process(run.pid).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 6))
    if workers:
        victim = workers[int(rng.integers(len(workers)))]
        try:
            victim.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            pass
    return _finish(run, log)


_ATTEMPTS = {
    "disk full": _fill_disk,
    "read-only": _forbid,
    "memory": _starve,
    "two at once": _meet,
}
