"""Write recordings as KIT systems do.

A file is a directory of blocks and the blocks, little-endian. Written is what
``mne.io.kit.kit.get_kit_info`` looks at: system and converter (block 1), channels with
positions in anterior-left-superior axes (4), gains (5), filters of the amplifier (7),
rate and length (8), samples in turn (9), coils in the device (12), and points on the
head (26). A marker file has the blocks 1 and 12, as ``mne.io.kit.coreg.read_mrk``
looks at; points on the head are text of one of two programs of Polhemus.
"""

import struct
from pathlib import Path

import mne
import numpy as np
from mne.io.constants import FIFF
from mne.transforms import als_ras_trans

from .landmarks import in_device, landmarks

N_BLOCKS = 27
N_TRIGGERS = 8
RANGE, BITS = 10.0, 16  # of the converter: -5 to 5 V
HIGHPASSES = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
LOWPASSES = (10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 10000.0)
#: Channel types of the format, by coil.
TYPES = {FIFF.FIFFV_COIL_KIT_GRAD: 2, FIFF.FIFFV_COIL_KIT_REF_MAG: 0x101}
NAMES = (b"fidnz", b"fidt9", b"fidt10", *(b"HPI_%d" % i for i in range(1, 6)))


def write_kit(raw, file, *, head="inside"):
    """Write a recording, and say with which arguments MNE reads it.

    Where the head was is written ``"inside"`` the file, beside it as marker file and
    texts of ``"fastscan"`` or ``"isotrak"``, or nowhere (``None``). Triggers are lines
    that fall from 5 V, one for each bit of the stimulus channel, if there is one.
    """
    info = raw.info
    picks = mne.pick_types(info, meg=True, ref_meg=True, exclude=())
    data = raw.get_data(picks)
    gains = np.maximum(np.abs(data).max(axis=1), 1e-20) / (2 ** (BITS - 1) - 1)
    lines = _trigger_lines(raw)
    ints = np.vstack([np.round(data / gains[:, None]), lines]).astype("<i2")
    n_channels, n_times = ints.shape
    blocks = {
        1: (_system(info, n_channels), 1),
        4: (_channels(info, picks), n_channels),
        5: (_gains(gains * 2**BITS / RANGE), n_channels),
        7: (_filters(info), 1),
        8: (struct.pack("<idii", 1, info["sfreq"], n_times, n_times), 1),
        9: (ints.tobytes("F"), n_times),
    }
    read_with = {}
    points = landmarks(info)
    coils = _coils(info, points[3:])
    if head == "inside":
        blocks[12] = (coils, 1)
        blocks[26] = (_points(points), len(points))
    elif head is not None:
        folder = Path(file).parent
        elp, hsp = ("a.elp", "a.hsp") if head == "isotrak" else ("a.txt", "b.txt")
        read_with = {"mrk": folder / "a.mrk", "elp": folder / elp, "hsp": folder / hsp}
        _write_blocks(read_with["mrk"], {1: blocks[1], 12: (coils, 1)})
        write = _isotrak if head == "isotrak" else _fastscan
        read_with["elp"].write_text(write(points))
        read_with["hsp"].write_text(write([*points[:3], *_shape(points)]))
    _write_blocks(file, blocks)
    return read_with


def _write_blocks(file, blocks):
    """Write blocks after the directory that tells where they are."""
    offset = 16 * N_BLOCKS
    entries = [struct.pack("<Iiii", 0, 16, N_BLOCKS, N_BLOCKS)]
    for number in range(1, N_BLOCKS):
        content, count = blocks.get(number, (b"", 0))
        size = len(content) // max(count, 1)
        entries.append(struct.pack("<Iiii", offset, size, count, count))
        offset += len(content)
    content = [blocks[number][0] for number in sorted(blocks)]
    Path(file).write_bytes(b"".join(entries + content))


def _system(info, n_channels):
    """Version 2.4, system, time, type 100 of electronics, and the converter."""
    stamp = int(info["meas_date"].timestamp()) if info["meas_date"] else 0
    names = struct.pack("<128s128si256s", b"written for tests", b"", n_channels, b"")
    electronics = (
        (0,) * 3 + (0,) + (0,) * 3 + (100,) + (0,) * 3 + (0,) + (0,) * 3 + (0,)
    )
    return b"".join(
        [
            struct.pack("<iii", 2, 4, info["kit_system_id"] or 34),
            names,
            struct.pack("<ii", stamp, stamp),
            struct.pack(f"<{len(electronics) + 29}i", *electronics, *(0,) * 29),
            struct.pack("<diii", RANGE, 0, BITS, BITS),
        ]
    )


def _channels(info, picks):
    """Type, position, direction and name of each, in records of 80 bytes."""
    records = []
    to_als = als_ras_trans[:3, :3].T
    for number, pick in enumerate(picks, 1):
        ch = info["chs"][pick]
        position, normal = to_als @ ch["loc"][:3], to_als @ ch["loc"][9:]
        theta = np.degrees(np.arccos(normal[2] / np.linalg.norm(normal)))
        phi = np.degrees(np.arctan2(normal[1], normal[0]))
        # no name stands for a number, which is what longer names are
        name = b"" if ch["ch_name"] == f"MEG {number:03d}" else ch["ch_name"].encode()
        record = struct.pack(
            "<i5d16x6s", TYPES[int(ch["coil_type"])], *position, theta, phi, name
        )
        records.append(record.ljust(80, b"\0"))
    for number in range(N_TRIGGERS):
        records.append(struct.pack("<ii4x32s", -1, number, b"").ljust(80, b"\0"))
    return b"".join(records)


def _gains(tesla_per_volt):
    """Offset and gain of each; those of triggers are not used."""
    gains = np.r_[tesla_per_volt, np.ones(N_TRIGGERS)]
    return np.c_[np.zeros_like(gains), gains].astype("<f8").tobytes()


def _filters(info):
    """Give the nearest settings that let all through, without gain."""
    high = max(i for i, f in enumerate(HIGHPASSES) if f <= info["highpass"])
    low = min(i for i, f in enumerate(LOWPASSES) if f >= info["lowpass"])
    return struct.pack("<i", high << 8 | low << 16)


def _trigger_lines(raw):
    """Give samples of the trigger lines."""
    stim = mne.pick_types(raw.info, meg=False, stim=True)
    code = np.zeros(raw.n_times, int)
    if len(stim):
        code = raw.get_data(stim[:1])[0].astype(int)
    is_on = code >> np.arange(N_TRIGGERS)[:, None] & 1
    return np.where(is_on, 0, 2 ** (BITS - 1) - 1)


def _coils(info, points):
    """Coils as found in the device: one matching, with five markers."""
    points = in_device(info, points) @ als_ras_trans[:3, :3]
    markers = [struct.pack("<4i6d", 0, 0, 0, 1, 0, 0, 0, *point) for point in points]
    return b"".join([struct.pack("<i256xi", 1, len(points)), *markers, bytes(256)])


def _points(points):
    """Names and positions of points on the head, in the digitiser's coordinates."""
    return b"".join(
        struct.pack("<8s3d", name, *point)
        for name, point in zip(NAMES, points, strict=True)
    )


def _shape(points):
    """Points between the landmarks, in place of a head's shape."""
    return (points[:3] + np.roll(points[:3], 1, axis=0)) / 2


def _fastscan(points):
    """Points in mm."""
    lines = ["% Ascii stylus data file created by FastSCAN V2.1", "% x y z"]
    lines += [" ".join(f"{1000 * x:.6f}" for x in point) for point in points]
    return "\n".join(lines) + "\n"


def _isotrak(points):
    """Points in m, the first three by themselves."""
    lines = ["\t".join(f"{x:.9f}" for x in point) for point in points]
    return "\n".join(
        [
            "3\t200",
            "//Shape file",
            "//Position of fiducials X+, Y+, Y- on the subject",
            *(f"%F\t{line}" for line in lines[:3]),
            "//No of rows, no of columns; position of digitized points",
            f"{len(lines) - 3}\t3",
            *lines[3:],
        ]
    )
