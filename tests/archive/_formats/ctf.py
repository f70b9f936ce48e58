"""Write recordings as CTF systems do: a folder of files, numbers big-endian.

Written is what ``mne.io.ctf`` looks at: ``.res4`` has the times, filters, names, coils
(cm, device axes) with gains, and compensation (``res4._read_res4``); ``.meg4`` has
trials of 32-bit integers, channel after channel (``ctf.RawCTF``); ``.hc`` tells where
the three coils were, in the device and on the head (``hc._read_hc``). Annotations are
in ``MarkerFile.mrk`` (``markers._get_markers``) and, of bad spans, in ``bad.segments``;
bad channels are in ``BadChannels`` (``info._read_bad_chans``).
"""

import struct
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from mne.io.constants import FIFF
from mne.transforms import apply_trans, rotation

from .landmarks import in_device, landmarks

#: Where the fixed part of the header has what, of what is not zero here.
HEADER = np.dtype(
    {
        "names": [
            *("head", "n_averaged", "time", "date", "n_times", "n_channels"),
            *("sfreq", "seconds", "n_trials", "n_trials_done"),
        ],
        "formats": [
            *("S8", ">i2", "S255", "S255", ">i4", ">i2"),
            *(">f8", ">f8", ">i2", ">i2"),
        ],
        "offsets": [0, 776, 778, 1033, 1288, 1292, 1296, 1304, 1312, 1320],
        "itemsize": 1844,
    }
)
_COIL = [
    *(("position", ">f8", 4), ("normal", ">f8", 4), ("turns", ">i2")),
    *(("spare", ">i4"), ("spare2", ">i2"), ("area", ">f8")),
]
CHANNEL = np.dtype(
    [
        *(("type", ">i2"), ("run", ">i2"), ("shape", ">i4"), ("proper_gain", ">f8")),
        *(("qgain", ">f8"), ("io_gain", ">f8"), ("io_offset", ">f8")),
        *(("n_coils", ">i2"), ("grade", ">i2"), ("spare", ">i4")),
        *(("coils", _COIL, 8), ("head_coils", _COIL, 8)),
    ]
)
COMPENSATION = np.dtype(
    [
        *(("channel", "S32"), ("kind", ">i4"), ("spare", ">i4"), ("n", ">i2")),
        *(("references", "S31", 50), ("coefficients", ">f8", 50)),
    ]
)
STIM, MISC = 11, 18
TYPES = {
    FIFF.FIFFV_COIL_CTF_REF_MAG: 0,
    FIFF.FIFFV_COIL_CTF_REF_GRAD: 1,
    FIFF.FIFFV_COIL_CTF_OFFDIAG_REF_GRAD: 1,
    FIFF.FIFFV_COIL_CTF_GRAD: 5,
}
BASELINES = {
    FIFF.FIFFV_COIL_CTF_GRAD: 0.05,
    FIFF.FIFFV_COIL_CTF_REF_GRAD: 0.0786,
    FIFF.FIFFV_COIL_CTF_OFFDIAG_REF_GRAD: 0.0786,
}
CAL = 3.3e-16  # T a bit, for channels that come without, as simulated ones do
FINER = 32  # than the bits that were recorded: filters leave values between them


def write_ctf(raw, folder, *, n_trials=1):
    """Write a recording, in trials that follow each other."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    cals = np.array([_cal(ch) for ch in raw.info["chs"]])
    ints = np.round(raw.get_data() / cals[:, None]).astype(">i4")
    trials = np.split(ints, n_trials, axis=1)
    content = b"".join(trial.tobytes() for trial in trials)
    (folder / f"{folder.stem}.meg4").write_bytes(b"MEG41CP\0" + content)
    header = _header(raw, n_trials) + _channels(raw.info, cals)
    (folder / f"{folder.stem}.res4").write_bytes(header + _compensation(raw.info, cals))
    (folder / f"{folder.stem}.hc").write_text(_coils(raw.info))
    if len(raw.annotations):  # MNE reads no file of none
        (folder / "MarkerFile.mrk").write_text(_markers(raw))
    (folder / "bad.segments").write_text(_bad_spans(raw))
    bads = [f"{name.split('-')[0]}\n" for name in raw.info["bads"]]
    (folder / "BadChannels").write_text("".join(bads))


def _cal(ch):
    """Give the value of a bit, with the sign that tells how coils are wound."""
    if ch["kind"] not in (FIFF.FIFFV_MEG_CH, FIFF.FIFFV_REF_MEG_CH):
        return 1.0
    return (CAL if ch["cal"] == 1.0 else ch["cal"] * ch["range"]) / FINER


def _header(raw, n_trials):
    info = raw.info
    made = info["meas_date"] or datetime(2000, 1, 1, tzinfo=UTC)
    head = np.zeros(1, HEADER)
    n_times = raw.n_times // n_trials
    head[0] = (
        *(b"MEG42RS", 1, f"{made:%H:%M:%S}".encode(), f"{made:%d/%m/%Y}".encode()),
        *(n_times, len(info["chs"]), info["sfreq"], n_times / info["sfreq"]),
        *(n_trials, n_trials),
    )
    # the record of a filter: edge in Hz, class, low-pass (1) or high-pass (2)
    edges = [(1, info["lowpass"]), (2, info["highpass"])]
    filters = [struct.pack(">diih", edge, 1, kind, 0) for kind, edge in edges]
    return head.tobytes() + struct.pack(">h", len(filters)) + b"".join(filters)


def _channels(info, cals):
    """Names, then what and where each is."""
    records = np.zeros(len(info["chs"]), CHANNEL)
    for ch, cal, record in zip(info["chs"], cals, records, strict=True):
        record["proper_gain"] = np.sign(cal)
        record["qgain"] = 1 / abs(cal)
        record["io_gain"] = 1.0
        coil = int(ch["coil_type"]) & 0xFFFF
        record["grade"] = int(ch["coil_type"]) >> 16
        if coil not in TYPES:
            record["type"] = STIM if ch["kind"] == FIFF.FIFFV_STIM_CH else MISC
            continue
        record["type"] = TYPES[coil]
        positions = _positions(ch["loc"], coil)
        record["n_coils"] = len(positions)
        # a positive gain stands for a coil that is wound the other way
        normal = -np.sign(cal) * _to_ctf(ch["loc"][9:], move=False)
        for i, position in enumerate(positions):
            record["coils"][i]["position"][:3] = 100 * _to_ctf(position)
            record["coils"][i]["normal"][:3] = normal if i == 0 else -normal
    names = b"".join(struct.pack("32s", ch["ch_name"].encode()) for ch in info["chs"])
    return names + records.tobytes()


def _positions(loc, coil):
    """Centres of the coils that a channel is made of, in device coordinates."""
    centre, ex, ez = loc[:3], loc[3:6], loc[9:]
    if coil == FIFF.FIFFV_COIL_CTF_OFFDIAG_REF_GRAD:  # side by side
        half = BASELINES[coil] / 2 * ex
        return [centre + half, centre - half]
    if coil in BASELINES:
        return [centre, centre + BASELINES[coil] * ez]
    return [centre]


def _to_ctf(points, *, move=True):
    """Go from MNE's device axes to CTF's: turned by 45 degrees, 19 cm further up."""
    trans = rotation(z=-np.pi / 4)
    trans[2, 3] = -0.19
    return apply_trans(trans, points, move=move)


def _compensation(info, cals):
    """Coefficients of all grades, in bits of one channel for bits of another."""
    scale = dict(zip(info["ch_names"], cals, strict=True))
    records = []
    for comp in info["comps"]:
        data = comp["data"]
        rows = np.array([scale[name] for name in data["row_names"]])
        columns = np.array([scale[name] for name in data["col_names"]])
        for name, weights in zip(
            data["row_names"],
            data["data"] / rows[:, None] * columns,
            strict=True,
        ):
            record = np.zeros(1, COMPENSATION)
            n = len(columns)
            record["channel"], record["kind"], record["n"] = name, comp["ctfkind"], n
            record["references"][0, :n] = data["col_names"]
            record["coefficients"][0, :n] = weights
            records.append(record.tobytes())
    if not records:  # MNE reads no file without any, and real ones all have some
        record = np.zeros(1, COMPENSATION)
        record["channel"] = record["references"][0, 0] = info["ch_names"][0]
        record["kind"], record["n"] = 1, 1
        records.append(record.tobytes())
    return struct.pack(">h", len(records)) + b"".join(records)


def _coils(info):
    """Tell in words where the coils were; the nasion is in front, on CTF's x axis."""
    nasion, left, right = points = landmarks(info)[:3]
    centre = (left + right) / 2
    x, z = nasion - centre, np.cross(nasion - centre, left - centre)
    axes = np.array([x, np.cross(z, x), z])
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    frames = {
        "dewar": _to_ctf(in_device(info, points)),
        "head": (points - centre) @ axes.T,
    }
    return "".join(
        f"measured {name} coil position relative to {frame} (cm):\n"
        + "".join(
            f"\t{axis} = {100 * value:.8f}\n"
            for axis, value in zip("xyz", p, strict=True)
        )
        for frame, place in frames.items()
        for name, p in zip(("nasion", "left ear", "right ear"), place, strict=True)
    )


def _spans(raw):
    """Give annotations by their time from the first sample."""
    for span in raw.annotations:
        onset = span["onset"] - raw.first_time
        yield onset, span["duration"], span["description"]


def _markers(raw):
    """Tell times of events, all from the beginning of the first trial."""
    times = {}
    for onset, _, text in _spans(raw):
        if not text.startswith("bad_"):
            times.setdefault(text, []).append(onset)
    blocks = "".join(
        f"NAME:\n{text}\nNUMBER OF SAMPLES:\n{len(onsets)}\nLIST OF SAMPLES:\n"
        "TRIAL NUMBER\t\tTIME FROM SYNC POINT (in seconds)\n"
        + "".join(f"0\t{onset:.9f}\n" for onset in onsets)
        for text, onsets in times.items()
    )
    return f"NUMBER OF MARKERS:\n{len(times)}\n{blocks}"


def _bad_spans(raw):
    """Tell beginning and end of what was marked as bad."""
    return "".join(
        f"{text.removeprefix('bad_')} {onset:.9f} {onset + duration:.9f}\n"
        for onset, duration, text in _spans(raw)
        if text.startswith("bad_")
    )
