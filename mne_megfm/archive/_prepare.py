"""Recordings filtered, cut into windows and written to a store."""

from __future__ import annotations

import csv
import hashlib
import os
import platform
import re
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from mne.utils import ProgressBar, logger, use_log_level

from .. import __version__
from ..inputs import (
    as_recordings,
    centre_windows,
    describe_array,
    device_to_head,
    iter_windows,
)
from ..sensors import CanonicalSensorMapping
from ..store import WindowStore
from ..utils.logs import verbose
from ..utils.tables import escape_formula
from .embeddings import EventEmbeddings
from .files import is_fif
from .reading import check_events, clean, cut_epochs
from .settings import Filters, Reading, SettingsError
from .sources import Source, find_sources

if TYPE_CHECKING:
    from ..inputs import Recording


WRITTEN, THERE, LEFT_OUT, FAILED = "written", "there", "left out", "failed"
#: Order of the columns of the log.
COLUMNS = (
    "outcome",
    "name",
    "participant",
    "state",
    "site",
    "array",
    "windows",
    "seconds",
    "took",
    "file",
    "reason",
    "warnings",
)


@dataclass(frozen=True, kw_only=True)
class Parameters(Filters):
    """How recordings are prepared.

    Attributes
    ----------
    events : dict
        Events that windows are cut around, for each state; without, windows follow
        each other.
    tmin : float
        Start of such a window from its event in s.
    embeddings : str | None
        Hash of the embeddings that such windows have.
    highpass, lowpass, notch, maxwell, st_duration
        See `Filters`.
    """

    events: dict[str, list[str]] | None = None
    tmin: float = -0.2
    embeddings: str | None = None

    def of_state(self, state: str) -> dict[str, Any]:
        """Tell what matters for a state, as JSON holds it."""
        settings = asdict(self)
        settings["events"] = (self.events or {}).get(state)
        if settings["events"] is None:
            del settings["tmin"]
        if settings["events"] is None or self.embeddings is None:
            del settings["embeddings"]
        return settings | {"centred": "over the recording"}


@verbose
def prepare(
    source: str | os.PathLike | pd.DataFrame | Sequence[str | os.PathLike],
    store: str | os.PathLike,
    *,
    states: Mapping[str, Sequence[str]] | None = None,
    events: Mapping[str, Sequence[str]] | None = None,
    tmin: float = -0.2,
    embeddings: str | os.PathLike | pd.DataFrame | None = None,
    highpass: float | None = 0.5,
    lowpass: float | None = None,
    notch: float | None = None,
    maxwell: bool = False,
    st_duration: float | None = None,
    site: str = "",
    prefix: str = "",
    n_jobs: int | None = 1,
    strict: bool = False,
    verbose: bool | str | int | None = None,
) -> tuple[WindowStore, pd.DataFrame]:
    """Bring recordings to a store of windows.

    Each recording is filtered, brought to the canonical array, cut into windows and
    written. Empty-room recordings, bad channels and spans annotated as bad are left
    out. Run again after an interruption, or when there are new recordings, it does
    what is missing and changes nothing that is there. Recordings that cannot be read
    take no others down.

    Parameters
    ----------
    source : path-like | DataFrame | list of path-like
        Root of a BIDS data set; or a table, or the path of one (CSV or TSV), with the
        columns ``file``, ``participant`` and ``state`` (also ``site``, ``name`` and
        ``bads``: bad channels with ; between); or recordings whose names have
        ``sub-<participant>`` and ``task-<state>``.
    store : path-like
        Folder of the store, which is made where there is none.
    states : dict of str to list of str | None
        Tasks that each state goes by; other tasks are left out. None makes each task
        a state.
    events : dict of str to list of str | None
        Events of each state that windows are cut around: names of annotations (of
        ``events.tsv``), parts of such names between slashes, else numbers of the
        trigger channel; ``["*"]`` for all. Windows of other states follow each other.
    tmin : float
        Start of a window from its event, in s.
    embeddings : path-like | DataFrame | None
        An embedding for each event, such as of the image that was shown: a table (CSV,
        TSV or parquet) with a column ``event`` and a column of numbers for each
        dimension. A name in it is that of an event, or one part of it between slashes:
        ``cat`` is also for ``image/cat``. They become the targets of the windows, for
        ``objective="contrastive"``. A recording with an event of which there is not
        exactly one fails.
    highpass, lowpass : float | None
        Edges of the filter in Hz; None for none.
    notch : float | None
        Frequency of the mains in Hz; its harmonics are filtered as well.
    maxwell : bool
        Whether to use signal-space separation.
    st_duration : float | None
        Length of its temporal extension in s.
    site : str
        Where it was recorded, if nothing else says.
    prefix : str
        Put before names of participants and recordings, for several data sets in one
        store.
    n_jobs : int | None
        Recordings at a time, as in joblib.
    strict : bool
        Whether it is an error if any recording fails.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`.

    Returns
    -------
    store : WindowStore
        The store, opened for reading.
    outcomes : DataFrame
        A row for each recording, in their order: its ``outcome`` (written, there,
        left out or failed), ``name``, ``participant``, ``state``, ``site``,
        ``array``, number of ``windows``, their ``seconds``, how long it ``took`` in s,
        its ``file``, the ``reason`` if it was left out or failed, and ``warnings``.

    Raises
    ------
    FileNotFoundError
        If there is no such source.
    OSError
        If the store cannot be written to.
    RuntimeError
        If no recording came into the store, or with ``strict`` if any failed. What was
        written stays.
    ValueError
        If the source has no recordings, or the options do not fit them.

    See Also
    --------
    mne_megfm.store.WindowStore : The store.
    mne_megfm.pretraining.pretrain_store : Pretraining on a store.

    Notes
    -----
    The outcome of every recording is also in a table in the folder ``logs`` of the
    store, written line by line. ``mne-megfm prepare`` does the same from a shell.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import mne
    >>> import numpy as np
    >>> import pandas as pd
    >>> from mne_megfm.archive import prepare
    >>> from mne_megfm.simulation import make_array_info
    >>> info = make_array_info("opm32", sfreq=250.0)
    >>> data = 1e-13 * np.random.default_rng(0).standard_normal((32, 5000))
    >>> folder = Path(tempfile.mkdtemp())
    >>> raw = mne.io.RawArray(data, info, verbose="error")
    >>> _ = raw.save(folder / "one_raw.fif", verbose="error")
    >>> table = pd.DataFrame(
    ...     {"file": [folder / "one_raw.fif"], "participant": "p1", "state": "rest"}
    ... )
    >>> store, outcomes = prepare(table, folder / "store", verbose="error")
    >>> outcomes["outcome"].tolist()
    ['written']
    >>> len(store)
    20
    """
    if n_jobs == 0:
        raise SettingsError(
            "Expected n_jobs other than 0, got 0; give a number of processes, or -1 "
            "for all cores."
        )
    states = {state: list(tasks) for state, tasks in (states or {}).items()}
    events = {state: list(names) for state, names in (events or {}).items()}
    known = None if embeddings is None else EventEmbeddings.read(embeddings)
    if known is not None and not events:
        raise SettingsError(
            "Expected events with embeddings, got none; name the events of each state "
            "that windows are cut around."
        )
    params = Parameters(
        highpass=highpass,
        lowpass=lowpass,
        notch=notch,
        maxwell=maxwell,
        st_duration=st_duration,
        events=events or None,
        tmin=tmin,
        embeddings=None if known is None else known.digest(),
    )
    sources = find_sources(_as_paths(source), states, prefix=prefix, site=site)
    usable = [source for source in sources if not source.left_out]
    without = sorted({source.task for source in usable} - set(events))
    if known is not None and without:
        raise SettingsError(
            "Expected events of all states with embeddings, so that all windows have "
            f"one, got none of {', '.join(without)}; name events of these states, or "
            "leave them out by states (in the shell --state)."
        )
    if events:
        check_events(usable, Reading(events=events), n_jobs)
    path = Path(store).expanduser()
    outcomes = _run(sources, params, path, n_jobs, known)
    _sum_up(outcomes)
    _check(outcomes, strict)
    place = {source.relative: number for number, source in enumerate(sources)}
    outcomes.sort(key=lambda outcome: place[outcome["file"]])
    return WindowStore.open(path), pd.DataFrame(outcomes, columns=list(COLUMNS))


def _as_paths(source: Any) -> Path | pd.DataFrame | list[Path]:
    """Make paths of what tells paths."""
    if isinstance(source, pd.DataFrame):
        return source
    if isinstance(source, str | os.PathLike):
        return Path(source)
    files = list(source) if isinstance(source, Sequence) else [source]
    wrong = [file for file in files if not isinstance(file, str | os.PathLike)]
    if wrong:
        raise TypeError(
            "Expected a BIDS folder, a table, or files of recordings, got "
            f"{type(wrong[0]).__name__}; save recordings first, so that the store can "
            "tell where its windows come from."
        )
    return [Path(file) for file in files]


def _run(
    sources: list[Source],
    params: Parameters,
    path: Path,
    n_jobs: int | None,
    embeddings: EventEmbeddings | None,
) -> list[dict[str, Any]]:
    """Prepare all recordings, logging each as it is done."""
    if (path / "store.json").is_file():
        WindowStore.open(path, "a")  # damage is to be known before hours of work
    else:
        WindowStore.create(path)
    parallel = Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    held = _contents_held(path)
    results = parallel(
        delayed(prepare_recording)(source, params, path, held, embeddings)
        for source in sources
    )
    outcomes = []
    with _open_log(path) as (file, write):
        logger.info(f"Preparing {len(sources)} recordings; their outcomes: {file}")
        for outcome in ProgressBar(results, max_value=len(sources), mesg="Preparing"):
            write(outcome)
            outcomes.append(outcome)
            if outcome["outcome"] == FAILED:
                logger.debug(outcome.get("traceback"))
            if "stops" in outcome:
                break
        with warnings.catch_warnings():  # that work goes to waste is meant
            warnings.simplefilter("ignore", UserWarning)
            results.close()
    return outcomes


@contextmanager
def _open_log(path: Path) -> Iterator[tuple[Path, Callable[[dict[str, Any]], None]]]:
    """Open a log of this run, and give its path and what writes a line to it."""
    folder = path / "logs"
    folder.mkdir(exist_ok=True)
    file = folder / f"prepare-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{os.getpid()}.tsv"
    with open(file, "x", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(
            stream,
            COLUMNS,
            restval="",
            extrasaction="ignore",
            delimiter="\t",
            lineterminator="\n",
        )

        def write(row: dict[str, Any]) -> None:
            # messages may have several lines, a row of the log has one
            cells = {k: " ".join(str(v).split()) for k, v in row.items()}
            writer.writerow({k: escape_formula(v) for k, v in cells.items()})
            stream.flush()

        writer.writeheader()
        yield file, write


def _sum_up(outcomes: list[dict[str, Any]]) -> None:
    """Log how many recordings had which outcome, and name those that failed."""
    counts = Counter(outcome["outcome"] for outcome in outcomes)
    reasons = Counter(o["reason"] for o in outcomes if o["outcome"] == LEFT_OUT)
    logger.info(
        ", ".join(
            f"{counts[kind]} {kind}" for kind in (WRITTEN, THERE, LEFT_OUT, FAILED)
        )
    )
    for reason, n in reasons.most_common():
        logger.info(f"  left out: {n} ({reason})")
    seconds = Counter()
    for outcome in outcomes:
        if outcome["outcome"] == WRITTEN:
            seconds[outcome["state"], outcome["array"]] += outcome["seconds"]
    for (state, array), total in sorted(seconds.items()):
        logger.info(f"  written: {total / 60:.1f} min of {state}, {array}")
    failed = (outcome for outcome in outcomes if outcome["outcome"] == FAILED)
    for outcome in sorted(failed, key=lambda outcome: outcome["name"]):
        reason = " ".join(outcome["reason"].split())
        logger.warning(f"Failed: {outcome['name']} ({outcome['file']}): {reason}")


def _check(outcomes: list[dict[str, Any]], strict: bool) -> None:
    """Raise an error where the store cannot be written to, or recordings failed."""
    for outcome in outcomes:
        if "stops" in outcome:
            raise OSError(
                f"The store cannot be written to ({outcome['reason']}). What is "
                "reported as written stays; make room, or get the right to write, and "
                "do the same again."
            )
    counts = Counter(outcome["outcome"] for outcome in outcomes)
    n_there = counts[WRITTEN] + counts[THERE]
    if counts[FAILED] and (strict or not n_there):
        raise RuntimeError(
            f"{counts[FAILED]} of {len(outcomes)} recordings failed, see above and the "
            "log; correct or leave out these files."
        )
    if not n_there:
        raise RuntimeError(
            "Expected recordings to prepare, got none that is not to be left out; see "
            "the log for the reasons."
        )


def _contents_held(path: Path) -> dict[str, tuple[str, str]]:
    """Find name and participant of each recording in a store, by its files' hash."""
    table = WindowStore.open(path).table
    if "sha256" not in table:
        return {}
    names = zip(table["name"], table["participant"], strict=True)
    return dict(zip(table["sha256"], names, strict=True))


def prepare_recording(
    source: Source,
    params: Parameters,
    path: Path,
    held: Mapping[str, tuple[str, str]],
    embeddings: EventEmbeddings | None = None,
) -> dict[str, Any]:
    """Bring a recording to the store, and tell how it went.

    Parameters
    ----------
    source : Source
        The recording.
    params : Parameters
        How to prepare it.
    path : Path
        The store.
    held : dict
        Name and participant of what was in the store before, by the hash of its files.
    embeddings : EventEmbeddings | None
        What windows around events have as targets.

    Returns
    -------
    outcome : dict
        A row of the log. Whatever goes wrong is an outcome, too; ``stops`` is there
        if the store cannot be written to.
    """
    started = time.perf_counter()
    outcome: dict[str, Any] = {
        "outcome": LEFT_OUT,
        "name": source.name,
        "participant": source.participant,
        "state": source.task,
        "site": source.site,
        "file": source.relative,
        "reason": source.left_out,
    }
    if source.left_out:
        return outcome
    # above this level mne.utils.warn is silent, and warnings belong in the log
    with warnings.catch_warnings(record=True) as caught, use_log_level("warning"):
        warnings.simplefilter("always")
        try:
            outcome |= _prepare(source, params, path, held, embeddings)
        except Exception as error:  # one bad recording takes no other down
            outcome |= {
                "outcome": FAILED,
                "reason": f"{type(error).__name__}: {error}",
                "traceback": traceback.format_exc(),
            }
    texts = dict.fromkeys(_one_line(warning.message) for warning in caught)
    outcome["warnings"] = "; ".join(texts)
    outcome["took"] = round(time.perf_counter() - started, 1)
    return outcome


def _prepare(
    source: Source,
    params: Parameters,
    path: Path,
    held: Mapping[str, tuple[str, str]],
    embeddings: EventEmbeddings | None,
) -> dict[str, Any]:
    store = WindowStore(path, "a")
    settings = params.of_state(source.task)
    files = _files(source.path)
    size = sum(file.stat().st_size for file in files)
    if source.name in store:
        notes = store.notes(source.name)
        before = notes["provenance"]
        for what, old, new in (
            ("parameters", before["parameters"], settings),
            ("state", notes["state"], source.task),
            ("file", before["file"], source.relative),
            ("size", before["bytes"], size),
        ):
            if old != new:
                raise ValueError(
                    f"Expected the recording {source.name!r} as it is in the store, "
                    f"got another {what}: {new} instead of {old}; use another store, "
                    "or --prefix for another data set."
                )
        return {"outcome": THERE}
    raw = source.read()
    if not isinstance(raw, mne.io.BaseRaw):
        raise ValueError(
            f"Expected a continuous recording, got {raw!r}; the store takes no epochs "
            "or averages."
        )
    if is_fif(source.path):
        files = [Path(file) for file in raw.filenames]  # all parts of it
    content = _hash(files)
    if content in held:  # under another name, as by a table and by BIDS
        name, participant = held[content]
        notes = store.notes(name)
        for what, old, new in (
            ("parameters", notes["provenance"]["parameters"], settings),
            ("state", notes["state"], source.task),
            ("participant", participant, source.participant),
        ):
            if old != new:
                raise ValueError(
                    f"Expected a recording once in a store, got the files of {name!r}, "
                    f"which is there, with another {what}: {new} instead of {old}; "
                    "correct it, or use another store."
                )
        return {"outcome": THERE, "reason": f"the files of {name}"}
    facts = {
        "file": source.relative,
        "sha256": content,
        "bytes": size,
        "recorded_sfreq": raw.info["sfreq"],
        "recorded_seconds": raw.n_times / raw.info["sfreq"],
        "bads": list(raw.info["bads"]),
        "parameters": settings,
        "software": _software(),
    }
    raw = clean(raw, params, source.calibration())
    rows = raw
    if settings["events"] is not None:
        tmin = settings["tmin"]
        length = store.n_times / store.sfreq
        own = source.has_events_table()
        rows = cut_epochs(
            raw, settings["events"], tmin, tmin + length, only_annotations=own
        )
    if settings["events"] is None:
        embeddings = None
    windows, n_valid, start, targets, array = _windows(
        rows, raw.first_samp, store, embeddings
    )
    head = device_to_head(raw.info)
    try:
        store.append(
            windows,
            name=source.name,
            participant=source.participant,
            state=source.task,
            site=source.site,
            array=array,
            n_valid=n_valid,
            start=start,
            targets=targets,
            dev_head_t=None if head is None else head["trans"],
            provenance=facts,
        )
    except FileExistsError:  # another run of the command has been quicker
        return {"outcome": THERE}
    except OSError as error:  # a full disk or missing rights: no other would fit either
        return {"outcome": FAILED, "reason": str(error), "stops": True}
    return {
        "outcome": WRITTEN,
        "array": array,
        "windows": len(windows),
        "seconds": float(n_valid.sum() / store.sfreq),
    }


def _windows(
    rows: mne.io.BaseRaw | mne.Epochs,
    first_samp: int,
    store: WindowStore,
    embeddings: EventEmbeddings | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None, str]:
    """Bring rows to canonical windows, centred over the recording."""
    recordings = as_recordings(rows)
    # before the work: names may have no embedding
    targets = None if embeddings is None else embeddings.of(recordings[0].states)
    mapping = CanonicalSensorMapping()
    blocks = list(
        iter_windows(recordings, mapping, sfreq=store.sfreq, n_times=store.n_times)
    )
    windows = np.concatenate([block.data for block in blocks])
    n_valid = np.concatenate([block.n_valid for block in blocks])
    row = np.concatenate([block.row for block in blocks])
    # as users centre or baseline-correct theirs; the mean of a window would tell a
    # network the mean of what is hidden
    centre_windows(windows, n_valid)
    starts = _starts(recordings[0], first_samp)[row]
    if targets is not None:
        targets = targets[row]
    array = describe_array(recordings[0].inst.info)
    return windows, n_valid, starts, targets, array


def _starts(recording: Recording, first_samp: int) -> np.ndarray:
    """Time of each row's first sample from the beginning of the recording, in s."""
    if recording.kind == "raw":
        return recording.rows / recording.sfreq
    return recording.event_times - first_samp / recording.sfreq + recording.tmin


def _files(path: Path) -> list[Path]:
    """List the files of a recording, which may be a folder."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    return [path]


def _hash(files: list[Path]) -> str:
    """Hash the contents of files; that of one file is its plain SHA-256."""
    digests = []
    for file in files:
        with open(file, "rb") as content:
            digests.append(hashlib.file_digest(content, "sha256").hexdigest())
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _software() -> dict[str, str]:
    versions = {"mne-megfm": __version__, "python": platform.python_version()}
    for name in ("mne", "mne-bids", "numpy", "scipy"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _one_line(text: object) -> str:
    return re.sub(r"\s+", " ", str(text)).strip()
