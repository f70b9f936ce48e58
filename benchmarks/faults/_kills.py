"""Kills at random moments: nothing reported is lost, and the run can be continued."""

import importlib
import shutil
import sys
import time
import warnings
from collections import Counter
from contextlib import suppress

from ._commands import rests_of
from ._process import LOG, Run, count_changes

#: How the moment is drawn: any time; before a change to the folder; just after one.
MOMENTS = ("time", "before", "after")
#: Shares of the kills: fewer of what takes long.
SHARES = {"prepare": 70, "pretrain": 24, "features": 50, "classify": 60, "report": 6}
#: Longest time after a change, s.
AFTER = 0.003


def run_undisturbed(commands, reference, say):
    """Run each command to its end; return how long it took and its changes to files."""
    times, folder = {}, reference.parent
    for command in commands:
        run, n_changes = count_changes(command.args, reference / command.name)
        if run.code or rests_of(reference / command.name):
            raise RuntimeError(f"{command.name} failed undisturbed: {run.said}")
        _import_as(run)
        run, n_changes = count_changes(command.args, folder / "warm")
        shutil.rmtree(folder / "warm")
        times[command.name] = run.seconds, n_changes
        say(f"{command.name}: {run.seconds:.1f} s undisturbed, {n_changes} changes")
    return times


def _import_as(run):
    """Import what a command has imported, so that the next ones need not."""
    for name in run.modules:
        if name not in sys.modules and not name.startswith("_"):
            with suppress(BaseException), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(name)


def kill_commands(commands, times, folder, n_kills, rng, say):
    """Kill each command again and again.

    Parameters
    ----------
    commands : list of Command
        The commands.
    times : dict
        From `run_undisturbed`, into the folder ``reference``.
    folder : Path
        Where to.
    n_kills : int
        Kills in all, shared out by `SHARES`.
    rng : Generator
        Moments.
    say : callable
        Called with each fault.

    Returns
    -------
    counts : dict of Counter
        By kind of command: killed, killed while it wrote, with an output, lost, half,
        not continued, left over.
    """
    by_kind = {}
    for command in commands:
        by_kind.setdefault(command.name.partition("-")[0], []).append(command)
    counts = {kind: Counter() for kind in by_kind}
    for kind, own in by_kind.items():
        share = -(-n_kills * SHARES[kind] // sum(SHARES.values()))
        for number in range(share):
            command = own[number % len(own)]
            moment = MOMENTS[number // len(own) % len(MOMENTS)]
            trial = folder / "trial"
            _kill(command, trial, moment, *times[command.name], rng)
            reference = folder / "reference" / command.name
            check_after(command, trial, reference, counts[kind], say)
            counts[kind]["killed"] += 1
            shutil.rmtree(trial)
    return counts


def _kill(command, trial, moment, seconds, n_changes, rng):
    """Run a command until it is killed; once more if it ended before that."""
    while True:
        at = int(rng.integers(n_changes))
        delay = rng.uniform(0, seconds if moment == "time" else AFTER)
        run = Run(command.args, trial, die_at=at if moment == "before" else None)
        if moment == "after":
            run.wait_for_change(at)
        if moment != "before":
            time.sleep(delay)
            run.kill()
        if run.end() < 0:
            return
        shutil.rmtree(trial)


def check_after(command, trial, reference, counts, say):
    """Count what is wrong after a fault, and after the command was called again."""
    file = trial / LOG
    said = file.read_text("utf-8") if file.is_file() else ""
    problems = {
        "lost": command.lost(trial, said, reference),
        "half": command.half(trial, reference),
    }
    counts["while writing"] += bool(rests_of(trial))
    counts["with output"] += bool((trial / command.out).exists())
    run = Run(command.again(trial), trial)
    problems["not continued"] = [f"exit {run.code}"] if run.end() else []
    if not run.code:
        problems["not continued"] = command.differs(trial, reference)
    problems["left over"] = rests_of(trial)
    for kind, found in problems.items():
        counts[kind] += bool(found)
        if found:
            said = run.said[-300:] if run.code else ""
            say(f"{command.name}: {kind}: {', '.join(map(str, found))} {said}")
