"""Where the coils and landmarks of a recording are, on the head and in the device."""

import numpy as np
from mne.io.constants import FIFF
from mne.transforms import apply_trans, invert_transform

#: Nasion, left and right ear, then five coils: for recordings without digitisation.
DEFAULT = np.array(
    [
        [0.0, 0.1, 0.0],
        [-0.075, 0.0, 0.0],
        [0.073, 0.0, 0.0],
        [-0.07, 0.01, 0.01],
        [0.07, 0.01, 0.0],
        [0.0, 0.1, 0.03],
        [-0.04, 0.09, 0.03],
        [0.03, 0.09, 0.035],
    ]
)


def landmarks(info):
    """Return nasion, left and right ear, then coils, in head coordinates (m)."""
    cardinal, coils = {}, []
    for point in info["dig"] or ():
        if point["kind"] == FIFF.FIFFV_POINT_CARDINAL:
            cardinal[int(point["ident"])] = point["r"]
        elif point["kind"] == FIFF.FIFFV_POINT_HPI:
            coils.append(point["r"])
    if len(cardinal) == 3 and len(coils) == 5:
        order = (
            FIFF.FIFFV_POINT_NASION,
            FIFF.FIFFV_POINT_LPA,
            FIFF.FIFFV_POINT_RPA,
        )
        return np.array([*(cardinal[ident] for ident in order), *coils], float)
    if not cardinal and len(coils) == 3:  # CTF's coils are on the landmarks
        points = np.array(coils, float)
        return points[
            [points[:, 1].argmax(), points[:, 0].argmin(), points[:, 0].argmax()]
        ]
    return DEFAULT


def in_device(info, points):
    """Bring points from head to device coordinates."""
    return apply_trans(invert_transform(info["dev_head_t"]), points)
