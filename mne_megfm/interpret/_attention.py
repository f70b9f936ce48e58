"""Where and when the encoder attends, as maps on the sensors of a recording."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import mne
import numpy as np
import torch
from mne.utils import _validate_type, verbose
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from ..estimators import MEGFMTransformer
from ..estimators._extraction import window_blocks
from ..inputs import Recordings, as_recordings
from ..models import MaskedSignalTransformer
from ..sensors import canonical_array
from ._attention_maps import (
    region_places,
    sensor_info,
    spread_matrix,
    turned_heads,
    unit_vectors,
)
from ._encoder_attention import (
    carried_between,
    carried_norms,
    encoder_attention,
    rollout,
)

#: The readings of attention.
READINGS = ("between", "received", "norms", "rollout")


@verbose
def attention(
    transformer: MEGFMTransformer,
    X: Any,
    *,
    reading: str = "between",
    layer: int | None = -1,
    head: int | None = None,
    n_turns: int = 24,
    info: mne.Info | None = None,
    verbose: bool | str | int | None = None,
) -> mne.Evoked | list[mne.Evoked]:
    """Map the encoder's attention to the sensors of a recording.

    Parameters
    ----------
    transformer : MEGFMTransformer
        A fitted transformer.
    X : Epochs | Raw | Evoked | MEGSamples | list of these
        The recordings, in tesla. Attention is averaged over the rows of each: the
        epochs, or the windows of a Raw. To see where the model attends in an average,
        pass the Evoked.
    reading : {"between", "received", "norms", "rollout"}
        How attention is read.

        ``"between"``
            The norm of what each region hands to each other one in the same 100 ms
            [1]_, put halfway between the two: a source in the head has its two poles
            on its sides, and is itself between them.
        ``"received"``
            The plain weights: how much a token is attended to, on average over all
            that attend.
        ``"norms"``
            The same with the norms of what is handed on.
        ``"rollout"``
            Plain weights, multiplied through the layers [2]_.
    layer : int | None
        The layer, from 0 or, from the end, from -1; None averages all layers. A
        rollout goes from the first to this one.
    head : int | None
        The attention head; None takes all together.
    n_turns : int
        Turned copies of the head that are averaged. Regions are 7 cm apart, and the
        network has habits at each of them; turned under the array, all places of the
        head come under all regions. 1 is the head as it is.
    info : mne.Info | None
        The sensors to show attention on, where its ``dev_head_t`` says; by default the
        recording's own. The same for all recordings makes averages over different
        arrays or head positions possible.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`.

    Returns
    -------
    attention : Evoked | list of Evoked
        One map every 100 ms on the MEG sensors, with one channel for each place (the
        magnetometer where there are several): attention relative to its mean over
        places and times of a window, so that 1 is what even attention would be. It has
        no unit: plot with ``scalings=1, units=""``. A list if X is a list, one for each
        recording in it.

    Raises
    ------
    TypeError, ValueError
        If ``X`` does not look like MEG in tesla, or a parameter does not fit.

    See Also
    --------
    score_attention : How far attention lies from a source.

    Notes
    -----
    Attention is a density over places, not a field, so it is spread to sensors by
    position: with a Gaussian of 3 cm on a sphere around the head. Channels are marked
    as point magnetometers, so that MNE plots maps of all arrays alike.

    :func:`mne.grand_average` averages participants channel by channel. With ``info``,
    these channels are the same places in the head for everyone. Baseline correction
    by :meth:`mne.Evoked.apply_baseline` gives what a stimulus changes.

    Where windows of a long row overlap, all of them count.

    What aligns with sources was measured on simulated averages: ``"between"`` does for
    sounds, ``"rollout"`` to some degree for stimuli of a median nerve; plain weights
    hardly do, and single trials show nothing with what was tried (see the design page).

    References
    ----------
    .. [1] Kobayashi et al. (2020), "Attention is not only a weight: analyzing
       transformers with vector norms", EMNLP, section 3.
    .. [2] Abnar and Zuidema (2020), "Quantifying attention flow in transformers", ACL,
       section 3.

    Examples
    --------
    >>> from mne_megfm import MEGFMTransformer, simulate_cohort
    >>> from mne_megfm.interpret import attention
    >>> cohort = simulate_cohort(
    ...     1, states=("auditory",), arrays=("opm64",), n_epochs=4, verbose=False
    ... )
    >>> evoked = cohort.epochs("auditory")[0].average()
    >>> transformer = MEGFMTransformer().fit(evoked)
    >>> attention(transformer, evoked, n_turns=1).data.shape
    (64, 10)
    """
    check_is_fitted(transformer, "model_")
    layers = _check(transformer, reading, layer, head, n_turns)
    _validate_type(info, (mne.Info, None), "info")
    recordings = as_recordings(
        X,
        window=transformer.window,
        overlap=transformer.overlap,
        reject_by_annotation=transformer.reject_by_annotation,
    )
    array = transformer.frontend_.array
    places, used = region_places(array, reading == "between")
    if n_turns == 1:
        rotations = np.eye(3)[None]
        matrices = np.eye(array.n_sensors, dtype=np.float32)[None]
    else:
        rotations, matrices = turned_heads(n_turns)
    reader = _Reader(transformer.model_, reading, layers, head, torch.from_numpy(used))
    means = _mean_densities(transformer, recordings, reader, torch.from_numpy(matrices))
    out = []
    for recording, mean in zip(recordings, means, strict=True):
        rate = transformer.config_.sfreq / transformer.config_.patch_length
        shown, pos = sensor_info(recording.info if info is None else info, rate)
        weights = spread_matrix(unit_vectors(pos, array.origin), places, rotations)
        data = np.einsum("ckj,kjp->cp", weights, mean)
        evoked = mne.EvokedArray(
            data,
            shown,
            comment=f"attention ({reading})",
            nave=len(recording.rows),
            verbose="error",
        )
        # not as tmin, which would be rounded to whole patches; and a little later,
        # since MNE takes the first map that is not before the time asked for
        first = round(recording.tmin + 0.5 / rate, 6) + 1e-9
        out.append(evoked.shift_time(first, relative=False))
    return out if recordings.is_list else out[0]


def _check(
    transformer: MEGFMTransformer,
    reading: str,
    layer: int | None,
    head: int | None,
    n_turns: int,
) -> list[int]:
    """Check the parameters; give the layers that are read."""
    if reading not in READINGS:
        raise ValueError(
            f"Expected reading to be one of {', '.join(READINGS)}, got {reading!r}."
        )
    config = transformer.config_
    for name, value, least, most in (
        ("layer", layer, -config.n_layers, config.n_layers - 1),
        ("head", head, 0, config.n_heads - 1),
    ):
        if value is not None and not (
            isinstance(value, Integral) and least <= value <= most
        ):
            raise ValueError(
                f"Expected {name} from {least} to {most} or None, got {value!r}."
            )
    if not isinstance(n_turns, Integral) or n_turns < 1:
        raise ValueError(f"Expected n_turns of 1 or more, got {n_turns!r}; 24 do well.")
    if n_turns > 1 and transformer.frontend_.array is not canonical_array():
        raise ValueError(
            f"Expected n_turns=1 with the front end {transformer.frontend_!r}, got "
            f"{n_turns}; heads are turned under the canonical array alone."
        )
    every = range(config.n_layers)
    if layer is None:
        return list(every)
    last = every[layer]
    return list(range(last + 1)) if reading == "rollout" else [last]


class _Reader:
    """Reads attention as a density over places and patches.

    Parameters
    ----------
    model : MaskedSignalTransformer
        The network.
    reading : str
        One of `READINGS`.
    layers : list of int
        The layers to read.
    head : int | None
        The head.
    used : Tensor of bool
        Regions, or pairs of them, that are places.
    """

    def __init__(
        self,
        model: MaskedSignalTransformer,
        reading: str,
        layers: list[int],
        head: int | None,
        used: Tensor,
    ) -> None:
        self.model, self.reading, self.layers = model, reading, layers
        self.head, self.used = head, used

    def __call__(self, windows: Tensor, n_valid: Tensor) -> Tensor:
        """Give a density of shape (n, n_places, n_patches) with a mean of 1."""
        found = encoder_attention(self.model, windows, n_valid, self.layers)
        n_regions = self.model.config.n_regions
        if self.reading == "between":
            pairs = [carried_between(one, self.head, n_regions) for one in found]
            # both ways have the same place
            density = [part[:, self.used.to(part.device)] for part in pairs]
        else:
            if self.reading == "rollout":
                weights = [rollout(found, self.head)]
            elif self.reading == "norms":
                weights = [carried_norms(one, self.head) for one in found]
            elif self.head is None:
                weights = [one.weights.mean(1) for one in found]
            else:
                weights = [one.weights[:, self.head] for one in found]
            density = [w.mean(1).unflatten(1, (n_regions, -1)) for w in weights]
        # a loud window counts as much as a quiet one, and a layer as another
        even = [part / part.mean((1, 2), keepdim=True) for part in density]
        return torch.stack(even).mean(0)


def _mean_densities(
    transformer: MEGFMTransformer,
    recordings: Recordings,
    reader: _Reader,
    matrices: Tensor,
) -> list[NDArray[np.float64]]:
    """Average densities over rows; (n_turns, n_places, n_patches) each."""
    config, model = transformer.config_, transformer.model_
    device = next(model.parameters()).device
    owner = np.empty(recordings.n_rows, int)
    for number, recording in enumerate(recordings):
        owner[recording.index] = number
    n_turns, n_places = len(matrices), int(reader.used.sum())
    totals = [np.zeros((n_turns, n_places, 0)) for _ in recordings]
    counts = [np.zeros(0) for _ in recordings]
    # a window is read in all turns at once
    size = max(1, transformer.batch_size // n_turns)
    for block in window_blocks(recordings, transformer.frontend_, config, size):
        data = torch.from_numpy(block.data)
        n_recorded = -(-block.n_valid // config.patch_length)
        for n_patches in np.unique(n_recorded):
            at = np.flatnonzero(n_recorded == n_patches)
            turned = torch.einsum("ksc,nct->nkst", matrices, data[at]).flatten(0, 1)
            n_valid = torch.from_numpy(block.n_valid[at]).repeat_interleave(n_turns)
            density = reader(turned.to(device), n_valid.to(device)).cpu()
            density = density.unflatten(0, (len(at), n_turns)).numpy()
            for part, i in zip(density, at, strict=True):
                number = owner[block.row[i]]
                start, stop = block.start[i], block.start[i] + n_patches
                more = max(0, stop - len(counts[number]))
                totals[number] = np.pad(totals[number], ((0, 0), (0, 0), (0, more)))
                counts[number] = np.pad(counts[number], (0, more))
                totals[number][..., start:stop] += part
                counts[number][start:stop] += 1
    return [total / count for total, count in zip(totals, counts, strict=True)]
