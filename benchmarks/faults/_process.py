"""Commands in processes of their own, which are ended, starved or refused a disk.

Each is forked from a process that has imported everything, so that a run costs what the
command does and no imports. It leads a process group, with all workers that it starts.
"""

import os
import signal
import sys
import time
import traceback

#: Audit events of changes to a folder, and which of their arguments are paths.
CHANGES = {
    "os.rename": (0, 1),
    "os.link": (0, 1),
    "os.mkdir": (0,),
    "os.remove": (0,),
    "os.rmdir": (0,),
    "os.truncate": (0,),
    "shutil.rmtree": (0,),
}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
LOG = "said.txt"
SECONDS = 300.0


class Run:
    """A command in a folder of its own.

    Parameters
    ----------
    args : list of str
        Arguments of ``mne-megfm``.
    folder : Path
        Where it runs. What it says goes to a file there.
    before : callable, optional
        Called in the new process before the command.
    die_at : int | None
        The change to the folder before which the group is killed, from 0.
    log : Path, optional
        Where to what it says goes instead.
    modules : Path, optional
        Where to the names of all modules go that are there at the end.
    """

    def __init__(self, args, folder, before=None, die_at=None, log=None, modules=None):
        self.folder = folder
        self.log = folder / LOG if log is None else log
        self.started = time.perf_counter()
        folder.mkdir(parents=True, exist_ok=True)
        reading, writing = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reading)
            _run(args, folder, self.log, before, die_at, writing, modules)
        os.setpgid(self.pid, self.pid)
        os.close(writing)
        self._events = reading
        self.code = None

    def wait_for_change(self, number):
        """Wait until the folder is about to change for the n-th time, or the end."""
        while number >= 0:
            got = os.read(self._events, number + 1)
            if not got:
                return
            number -= len(got)

    def kill(self):
        """Kill the whole group at once."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def end(self):
        """Wait for the end; return the exit code, minus the signal if killed."""
        if self.code is None:
            os.set_blocking(self._events, False)
            while True:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    break
                if time.perf_counter() - self.started > SECONDS:
                    self.kill()
                self._drain()
                time.sleep(0.002)
            self.seconds = time.perf_counter() - self.started
            os.close(self._events)
            self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def _drain(self):
        try:
            os.read(self._events, 4096)
        except BlockingIOError:
            pass

    @property
    def said(self):
        """What it has said."""
        return self.log.read_text("utf-8", "replace")


def _run(args, folder, log, before, die_at, events, modules):
    """Run the command; does not return."""
    code = 1
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.stdout = open(1, "w", buffering=1, encoding="utf-8", closefd=False)
        sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)
        os.chdir(folder)
        from mne_megfm.commands import main

        if before is not None:
            before()
        _watch(str(folder), events, die_at)
        try:
            main(args, prog_name="mne-megfm")
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(bool(error.code))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        if modules is not None:
            modules.write_text("\n".join(sys.modules))
        os._exit(code)


def _watch(folder, events, die_at):
    """Tell the parent of each change to the folder, and die before one of them."""
    count = 0

    def is_inside(path):
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        return os.path.abspath(os.fsdecode(path)).startswith(folder)

    def look(event, args):
        nonlocal count
        if event == "open":
            path, _, flags = args
            if not (isinstance(flags, int) and flags & _WRITES and is_inside(path)):
                return
        elif event not in CHANGES:
            return
        elif not any(is_inside(args[k]) for k in CHANGES[event]):
            return
        if count == die_at:
            os.killpg(0, signal.SIGKILL)
        count += 1
        os.write(events, b".")

    sys.addaudithook(look)


def count_changes(args, folder):
    """Run a command to its end; return it, and how often it changed its folder."""
    names = folder.with_name("modules.txt")
    run = Run(args, folder, modules=names)
    count = 0
    while got := os.read(run._events, 4096):
        count += len(got)
    run.end()
    run.modules = names.read_text().split()
    names.unlink()
    return run, count
