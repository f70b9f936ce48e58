"""Messages about recordings of which too few channels are left."""

import mne
import pytest

from mne_megfm import MEGFMTransformer
from mne_megfm.simulation import make_array_info


def make(kind, rng, n_flat=0, bads=0):
    """Return a recording with flat channels and bad ones."""
    info = make_array_info("opm32", sfreq=250.0)
    data = 1e-13 * rng.standard_normal((32, 1000))
    data[:n_flat] = 0.0
    info["bads"] = info["ch_names"][32 - bads :]
    raw = mne.io.RawArray(data, info)
    if kind == "raw":
        return raw
    return mne.make_fixed_length_epochs(raw, 1.0, preload=True)


@pytest.mark.parametrize("kind", ["raw", "epochs"])
@pytest.mark.parametrize("n_flat, bads", [(28, 0), (20, 2), (0, 30)])
def test_too_few_channels(rng, kind, n_flat, bads):
    """How many are flat and bad is told, and the first few by name."""
    inst = make(kind, rng, n_flat, bads)
    names = inst.ch_names
    parts = []
    if n_flat:
        parts.append(f"{n_flat} are flat .channels {', '.join(names[:3])} and")
    if bads:
        first = ", ".join(names[32 - bads :][:3])
        parts.append(f"{bads} are marked as bad .channels {first}")
    with pytest.raises(ValueError, match="Of 32 MEG channels " + ".*, ".join(parts)):
        MEGFMTransformer().fit_transform(inst)


@pytest.mark.parametrize("kind", ["raw", "epochs"])
def test_reference_channels_alone(rng, kind):
    """Reference channels are no recording of a head."""
    inst = make(kind, rng)
    inst.set_channel_types(dict.fromkeys(inst.ch_names, "ref_meg"))
    match = "MEG channels around the head in X, got none beside 32 reference channels"
    with pytest.raises(ValueError, match=match):
        MEGFMTransformer().fit_transform(inst)
