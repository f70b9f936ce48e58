"""Processes that write to a store and are killed; run by test_crashes.py."""

import json
import os
import signal
import sys
import zlib

import numpy as np

from mne_megfm.store import WindowStore, _shard
from mne_megfm.utils import files


def say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def windows_of(name, n):
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return 1e-12 * rng.standard_normal((n, 6, 20))


def append(store, name, n=7):
    participant = name.partition("-")[0]
    store.append(windows_of(name, n), name=name, participant=participant, state="rest")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def trace_until(number):
    """Kill this process at the n-th line that it comes to in what writes files."""
    count = 0
    ours = _shard.__file__, files.__file__

    def lines(frame, event, _):
        nonlocal count
        if event == "line":
            count += 1
            if count == number:
                known = frame.f_locals
                if {"file", "view"} <= known.keys() and len(known["view"]):
                    half = known["view"]
                    known["file"].write(half[: len(half) // 2])
                die()
        return lines

    def calls(frame, event, _):
        return lines if frame.f_code.co_filename in ours else None

    sys.settrace(calls)


def every_line(path):
    """Append one recording after another, killed one line later each time."""
    outcomes = []
    for number in range(1, 200):
        name = f"p{number:03d}-rest"
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            store = WindowStore.open(path, "a")
            trace_until(number)
            append(store, name)
            sys.settrace(None)
            os.write(writing, b"written")
            os._exit(0)
        os.close(writing)
        _, status = os.waitpid(child, 0)
        with open(reading, "rb") as file:
            written = file.read() == b"written"
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        outcomes.append([name, killed, written])
        if not killed:
            break
    say(json.dumps(outcomes))


def without_end(path, first, n_windows):
    """Append until killed; a name is printed when its recording is written."""
    store = WindowStore.open(path, "a")
    for number in range(int(first), int(first) + 1000):
        name = f"p{number:04d}-rest"
        append(store, name, int(n_windows))
        say(name)


def all_names(path, last):
    """Append names that others append too, and print those that were ours."""
    store = WindowStore.open(path, "a")
    for number in range(int(last)):
        name = f"p{number:04d}-rest"
        try:
            append(store, name)
        except FileExistsError:
            continue
        say(name)


def too_large(path, limit):
    """Append with a limit on the size of files, as on a disk that is full."""
    import resource

    store = WindowStore.open(path, "a")
    append(store, "small-rest")
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    try:
        append(store, "large-rest", 500)
    except OSError as error:
        say(json.dumps([error.errno, len(store)]))


def read_only(path):
    """Append where nothing may be written, and read what is there."""
    windows = windows_of("new-rest", 7)  # imports while that is allowed
    if os.geteuid() == 0:  # whom permissions do not keep out
        os.setgid(65534)
        os.setuid(65534)
    store = WindowStore.open(path, "a")
    try:
        store.append(windows, name="new-rest", participant="new", state="rest")
    except PermissionError as error:
        say(json.dumps([str(error), len(store), len(store.take([0])[0])]))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
