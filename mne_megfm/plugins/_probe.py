"""Trying plug-ins of other packages where they can do no harm.

What an import does is not known before it is done: it may end the process, or never
return. So those that are to be listed are imported in processes of their own first.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import EntryPoint
from pathlib import Path
from types import FrameType

from mne.utils import logger

#: Seconds that an import may take, and how many are tried at a time.
SECONDS, _AT_A_TIME = 30.0, 4
#: An import in this process that takes longer than so many seconds is named.
SAY_AFTER = 5.0

_CODE = """
import json, os, sys
from importlib.metadata import EntryPoint
told = json.loads(sys.argv[1])
sys.path[:] = told["path"]
try:
    part = EntryPoint(*told["entry"]).load()
    reason = "" if callable(part) else f"TypeError: {part!r} cannot be called"
except BaseException as error:
    reason = f"{type(error).__name__}: {error}"
with open(told["result"], "w", encoding="utf-8") as file:
    json.dump(reason, file)
os._exit(0)  # whatever threads it has started
"""


def probe(entries: Sequence[EntryPoint]) -> list[str]:
    """Import plug-ins in processes of their own.

    Parameters
    ----------
    entries : sequence of EntryPoint
        The plug-ins.

    Returns
    -------
    reasons : list of str
        Why each cannot be used; empty for those that can.
    """
    reasons = []
    with tempfile.TemporaryDirectory() as folder:
        for first in range(0, len(entries), _AT_A_TIME):
            reasons += _probe(entries[first : first + _AT_A_TIME], Path(folder))
    return reasons


def _probe(entries: Sequence[EntryPoint], folder: Path) -> list[str]:
    results = [folder / f"{i}.json" for i in range(len(entries))]
    children = []
    try:
        for entry, result in zip(entries, results, strict=True):
            result.unlink(missing_ok=True)
            told = {
                "path": sys.path,
                "entry": [entry.name, entry.value, entry.group],
                "result": str(result),
            }
            child = subprocess.Popen(
                [sys.executable, "-c", _CODE, json.dumps(told)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # to end what it may start as well
            )
            children.append(child)
        end = time.monotonic() + SECONDS
        return [
            _reason(child, result, end)
            for child, result in zip(children, results, strict=True)
        ]
    finally:
        for child in children:
            _end(child)


def _reason(child: subprocess.Popen, result: Path, end: float) -> str:
    try:
        code = child.wait(max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        return f"its import took more than {SECONDS:g} s"
    try:
        return json.loads(result.read_text("utf-8"))
    except (OSError, ValueError):
        return f"its import ended the process (exit code {code})"


def _end(child: subprocess.Popen) -> None:
    """End a process and those that it started."""
    if hasattr(os, "killpg"):
        with suppress(OSError):  # gone by now
            os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()
    child.wait()


@contextmanager
def say_later(text: str) -> Iterator[None]:
    """Say a text if what is done takes more than `SAY_AFTER` seconds.

    What an import does cannot be ended in the process that needs it, but the user can
    be told what takes so long.
    """
    timer = threading.Timer(SAY_AFTER, logger.warning, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def watched_interrupts() -> Iterator[Callable[[], bool]]:
    """Tell an interruption by the user from a KeyboardInterrupt that code raises.

    Yields
    ------
    interrupted : callable
        Tells whether a signal to interrupt has come.
    """
    before = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if not (main and callable(before)):  # signals come to the main thread alone
        yield lambda: False
        return
    came: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        came.append(number)
        before(number, frame)

    signal.signal(signal.SIGINT, receive)
    try:
        yield lambda: bool(came)
    finally:
        if signal.getsignal(signal.SIGINT) is receive:
            signal.signal(signal.SIGINT, before)
