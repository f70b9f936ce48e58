"""Functions called in a process of their own, with limits, whatever they do to it."""

import json
import os
import resource
import signal
import sys
import time

#: Memory beyond what the parent has, bytes, and seconds that a call may take.
MEMORY, SECONDS = 600 * 2**20, 20.0


def in_child(function, memory=MEMORY, seconds=SECONDS):
    """Call a function in a forked process; return what it gives, or how it ended.

    Returns
    -------
    kind : str
        ``"result"``, the name of an exception, or ``"crash"``, ``"hang"``.
    value : object
        The result as JSON has it, or the message.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _answer(function, memory, writing)
    os.close(writing)
    end = time.monotonic() + seconds
    while not (done := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(reading)
            return "hang", f"more than {seconds:g} s"
        time.sleep(0.001)
    with open(reading, encoding="utf-8") as file:
        text = file.read()
    if not text:
        return "crash", f"status {done[1]}"
    return tuple(json.loads(text))


def limit_memory(more):
    """Allow this process so many bytes more than it has."""
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, used + more))


def _answer(function, memory, writing):
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        limit_memory(memory)
        answer = ["result", function()]
    except BaseException as error:
        answer = [type(error).__name__, str(error)[:500]]
        if isinstance(error, OSError):
            answer[0] = "OSError"
    try:
        # small enough for a pipe, so that the parent may wait first
        os.write(writing, json.dumps(answer).encode()[:60_000])
    finally:
        os._exit(0)
