"""Kills at random moments: nothing reported is lost, and the run can be continued."""

import shutil
import time
from collections import Counter

from ._commands import rests_of
from ._process import Run, count_changes

#: How the moment is drawn: any time; before a change to the folder; just after one.
MOMENTS = ("time", "before", "after")
#: Longest time after a change, s.
AFTER = 0.003


def kill_commands(commands, folder, n_kills, rng, say):
    """Kill each command again and again.

    Parameters
    ----------
    commands : list of Command
        The commands.
    folder : Path
        Where to; has undisturbed runs in ``reference``.
    n_kills : int
        Kills in all. ``features`` and ``classify`` share theirs between their kinds.
    rng : Generator
        Moments.
    say : callable
        Told of each fault.

    Returns
    -------
    counts : dict of Counter
        By name of the command: killed, killed while it wrote, outputs there, lost,
        half, not continued, left over.
    """
    of_kind = Counter(command.name.partition("-")[0] for command in commands)
    counts = {kind: Counter() for kind in of_kind}
    numbers = Counter()
    for command in commands:
        kind = command.name.partition("-")[0]
        reference = folder / "reference" / command.name
        run, n_changes = count_changes(command.args, reference)
        if run.code or rests_of(reference):
            raise RuntimeError(f"{command.name} failed undisturbed: {run.said}")
        seconds = run.seconds
        place = list(of_kind).index(kind)
        share = n_kills // len(of_kind) + (place < n_kills % len(of_kind))
        own = share // of_kind[kind]
        if numbers[kind] == 0:
            own += share % of_kind[kind]
        numbers[kind] += own
        began = time.perf_counter()
        for number in range(own):
            trial = folder / "trial"
            moment = MOMENTS[number % len(MOMENTS)]
            _kill(command, trial, moment, seconds, n_changes, rng)
            _check(command, trial, reference, counts[kind], say)
            shutil.rmtree(trial)
        counts[kind]["seconds"] += round(time.perf_counter() - began)
        say(
            f"{command.name}: {own} kills; undisturbed {seconds:.1f} s, "
            f"{n_changes} changes to the folder"
        )
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


def _check(command, trial, reference, counts, say):
    said = (trial / "said.txt").read_text("utf-8") if any(trial.iterdir()) else ""
    problems = {
        "lost": command.lost(trial, said, reference),
        "half": command.half(trial, reference),
    }
    counts["killed"] += 1
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
