"""Imports of other packages, of which it is not known what they do.

An import may end the process, never return, or change the process for all. So plug-ins
that are to be listed are imported in processes of their own first, and what an import
in this process changes is put back.
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
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import EntryPoint
from pathlib import Path
from types import FrameType

from mne.utils import logger, warn

#: Seconds that an import may take, and how many are tried at a time.
SECONDS, _AT_A_TIME = 30.0, 4
#: An import in this process that takes longer than so many seconds is named.
SAY_AFTER = 5.0

#: Message, category and module of filters that are of the warnings of all packages.
_ALL = {(None, Warning, None), (None, UserWarning, None)}

_CODE = """
import json, os, sys
from importlib.metadata import EntryPoint
task = json.loads(sys.argv[1])
sys.path[:] = task["path"]
summary = ""
try:
    part = EntryPoint(*task["entry"]).load()
    reason = "" if callable(part) else f"TypeError: {part!r} cannot be called"
    text = getattr(part, "__doc__", None)
    summary = text.strip().partition("\\n")[0] if isinstance(text, str) else ""
except BaseException as error:
    reason = type(error).__name__
    try:
        reason = f"{reason}: {error}"
    except BaseException:  # some cannot even be written out
        pass
with open(task["result"], "w", encoding="utf-8") as file:
    json.dump([reason, summary], file)
os._exit(0)  # whatever threads it has started
"""


def probe(entries: Sequence[EntryPoint]) -> list[tuple[str, str]]:
    """Import plug-ins in processes of their own.

    Parameters
    ----------
    entries : sequence of EntryPoint
        The plug-ins.

    Returns
    -------
    found : list of tuple of str
        Why each cannot be used, empty for those that can; and the first line of its
        docstring.
    """
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for first in range(0, len(entries), _AT_A_TIME):
            found += _probe(entries[first : first + _AT_A_TIME], Path(folder))
    return found


def _probe(entries: Sequence[EntryPoint], folder: Path) -> list[tuple[str, str]]:
    results = [folder / f"{i}.json" for i in range(len(entries))]
    children = []
    try:
        for entry, result in zip(entries, results, strict=True):
            result.unlink(missing_ok=True)
            task = {
                "path": sys.path,
                "entry": [entry.name, entry.value, entry.group],
                "result": str(result),
            }
            child = subprocess.Popen(
                [sys.executable, "-c", _CODE, json.dumps(task)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # to end what it may start as well
            )
            children.append(child)
        end = time.monotonic() + SECONDS
        return [
            _result(child, result, end)
            for child, result in zip(children, results, strict=True)
        ]
    finally:
        for child in children:
            _end(child)


def _result(child: subprocess.Popen, result: Path, end: float) -> tuple[str, str]:
    try:
        code = child.wait(max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        return f"its import took more than {SECONDS:g} s", ""
    try:
        reason, summary = json.loads(result.read_text("utf-8"))
    except (OSError, ValueError):
        return f"its import ended the process (exit code {code})", ""
    return _in_a_line(reason), _in_a_line(summary)


def in_words(error: BaseException) -> str:
    """Say what an exception is; some cannot even be written out."""
    try:
        return _in_a_line(f"{type(error).__name__}: {error}")
    except BaseException:
        return type(error).__name__


def _in_a_line(text: str, most: int = 500) -> str:
    text = " ".join(text.split())
    # no control characters, which a terminal would follow
    text = "".join(x if x.isprintable() else ascii(x)[1:-1] for x in text)
    return text if len(text) <= most else f"{text[:most]}..."


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
    read what takes so long.
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


def _filters_of_all() -> list[tuple]:
    """List the filters of warnings that are not of one package alone."""
    return [f for f in warnings.filters if f[1:4] in _ALL]


@contextmanager
def kept_state(who: str) -> Iterator[None]:
    """Put back what an import may change for all of the process, and say so.

    Parameters
    ----------
    who : str
        The plug-in, for the message.
    """
    folder, limit = os.getcwd(), sys.getrecursionlimit()
    streams = {name: getattr(sys, name) for name in ("stdin", "stdout", "stderr")}
    threads, filters = set(threading.enumerate()), _filters_of_all()
    changed = []
    stack = ExitStack()
    stack.enter_context(warnings.catch_warnings())
    try:
        yield
    finally:
        # filters for messages or modules of their own are what packages may have
        if _filters_of_all() != filters:
            stack.close()
            changed.append("the filters of warnings")
        try:
            moved = os.getcwd() != folder
        except OSError:  # to a folder that it has deleted
            moved = True
        if moved:
            os.chdir(folder)
            changed.append("the working directory")
        if sys.getrecursionlimit() != limit:
            sys.setrecursionlimit(limit)
            changed.append("the limit of recursion")
        for name, stream in streams.items():
            if getattr(sys, name) is not stream:
                setattr(sys, name, stream)
                changed.append(f"sys.{name}")
        if changed:
            warn(
                f"The import of {who} changed {', '.join(changed)}, for all of the "
                "process; this was put back."
            )
        new = [t for t in threading.enumerate() if t not in threads and not t.daemon]
        if new:
            names = ", ".join(thread.name for thread in new)
            warn(
                f"The import of {who} started {names}, which keeps the process from "
                "ending."
            )
