"""One recording cleaned, cut into windows and written to a store."""

from __future__ import annotations

import hashlib
import platform
import re
import time
import traceback
import warnings
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
from mne.io.constants import FIFF
from mne.utils import use_log_level

from .._version import __version__
from ..inputs import as_recordings, centre_windows, iter_windows
from ..sensors import (
    compute_mapping,
    describe_array,
    device_to_head,
    is_maxwell_filtered,
)
from ..store import WindowStore
from .epochs import cut_epochs
from .files import is_fif
from .settings import Filters
from .sources import Source

if TYPE_CHECKING:
    from mne.io import BaseRaw

    from ..inputs import Recording


#: Centre of the expansion without a head shape, in head coordinates (m).
HEAD_ORIGIN = (0.0, 0.0, 0.04)


def clean(
    raw: BaseRaw, filters: Filters, calibration: dict[str, Path] | None = None
) -> BaseRaw:
    """Filter a recording, but for what it went through already.

    Parameters
    ----------
    raw : Raw
        The recording, which is changed: MEG and trigger channels remain.
    filters : Filters
        What is asked for.
    calibration : dict | None
        Files of fine calibration and cross-talk, by their names in
        :func:`mne.preprocessing.maxwell_filter`.

    Returns
    -------
    raw : Raw
        The recording, in memory if anything was filtered.

    Raises
    ------
    ValueError
        If there are no MEG channels, or Maxwell filtering is needed and not asked for.
    """
    info = raw.info
    meg = mne.pick_types(info, meg=True, ref_meg=False, exclude=())
    if len(meg) == 0:
        types = ", ".join(sorted(set(info.get_channel_types())))
        raise ValueError(
            f"Expected MEG channels, got a recording with {types or 'no channels'} "
            "alone; leave it out."
        )
    was_separated = is_maxwell_filtered(info)
    if info.get("maxshield") and not was_separated and not filters.maxwell:
        raise ValueError(
            "Expected a recording without internal active shielding (MaxShield), got "
            "one that Maxwell filtering has not cleaned yet; pass --maxwell, or filter "
            "it first by mne.preprocessing.maxwell_filter."
        )
    raw.pick(mne.pick_types(info, meg=True, ref_meg=True, stim=True, exclude=()))
    if filters.maxwell and not was_separated:
        in_head = device_to_head(info) is not None
        raw = mne.preprocessing.maxwell_filter(
            raw.load_data(),
            origin="auto" if not in_head or _has_headshape(info) else HEAD_ORIGIN,
            coord_frame="head" if in_head else "meg",
            st_duration=filters.st_duration,
            ignore_ref=not raw.compensation_grade,
            **calibration or {},
        )
    good = mne.pick_types(raw.info, meg=True, ref_meg=False, exclude="bads")
    half = raw.info["sfreq"] / 2
    highpass, lowpass = filters.highpass, filters.lowpass
    # what the recording went through already is not to be done again
    if highpass is not None and raw.info["highpass"] >= highpass:
        highpass = None
    if lowpass is not None and min(raw.info["lowpass"], half) <= lowpass:
        lowpass = None
    if filters.notch is not None and filters.notch < half:
        harmonics = np.arange(filters.notch, half, filters.notch)
        raw.load_data().notch_filter(harmonics, good)
    if highpass is not None or lowpass is not None:
        raw.load_data().filter(highpass, lowpass, good)
    return raw


def check_unfiltered(inst: Any, filters: Filters) -> None:
    """Refuse to filter what has been cut or averaged already."""
    asked = [
        f"--{name.replace('_', '-')}"
        for name in ("highpass", "lowpass", "notch", "maxwell")
        if getattr(filters, name)
    ]
    if asked:
        raise ValueError(
            f"Expected a continuous recording for {', '.join(asked)}, got {inst!r}, "
            "which has been cut already; leave these options out, or give the "
            "continuous recording."
        )


def _has_headshape(info: mne.Info) -> bool:
    """Tell whether there are points on the head to fit a sphere to."""
    kinds = [int(point["kind"]) for point in info["dig"] or ()]
    return kinds.count(FIFF.FIFFV_POINT_EXTRA) > 10


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
    highpass, lowpass, notch, maxwell, st_duration
        See `Filters`.
    """

    events: dict[str, list[str]] | None = None
    tmin: float = -0.2

    def of_state(self, state: str) -> dict[str, Any]:
        """Tell what matters for a state, as JSON holds it."""
        settings = asdict(self)
        settings["events"] = (self.events or {}).get(state)
        if settings["events"] is None:
            del settings["tmin"]
        return settings | {"centred": "over the recording"}


def prepare_recording(source: Source, params: Parameters, path: Path) -> dict[str, Any]:
    """Bring a recording to the store, and tell how it went.

    Parameters
    ----------
    source : Source
        The recording.
    params : Parameters
        How to prepare it.
    path : Path
        The store.

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
            outcome |= _prepare(source, params, path)
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


def _prepare(source: Source, params: Parameters, path: Path) -> dict[str, Any]:
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
    facts = {
        "file": source.relative,
        "sha256": _hash(files),
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
    windows, n_valid, start, array = _windows(rows, raw.first_samp, store)
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
    rows: mne.io.BaseRaw | mne.Epochs, first_samp: int, store: WindowStore
) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """Bring rows to canonical windows, centred over the recording."""
    arrays = []

    def project(recording: Recording) -> tuple[np.ndarray, list[str]]:
        mapping = compute_mapping(recording.info)
        arrays.append(describe_array(recording.inst.info))
        return mapping.to_canonical, list(mapping.ch_names)

    recordings = as_recordings(rows)
    blocks = list(
        iter_windows(recordings, project, sfreq=store.sfreq, n_times=store.n_times)
    )
    windows = np.concatenate([block.data for block in blocks])
    n_valid = np.concatenate([block.n_valid for block in blocks])
    row = np.concatenate([block.row for block in blocks])
    # as users centre or baseline-correct theirs; the mean of a window would tell a
    # network the mean of what is hidden
    centre_windows(windows, n_valid)
    return windows, n_valid, _starts(recordings[0], first_samp)[row], arrays[0]


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
