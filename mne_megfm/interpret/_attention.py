"""Where and when the encoder attends, as maps on the sensors, and a test of when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple

import mne
import numpy as np
import pandas as pd
import torch
from mne.utils import ProgressBar, _validate_type
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from ..estimators import MEGFMTransformer
from ..estimators.extraction import window_blocks
from ..inputs import Recordings, as_recordings
from ..models import Backbone, HybridStateSpace, MaskedSignalNetwork
from ..sensors import canonical_array
from ..utils.logs import verbose
from ._attention_scores import (
    region_places,
    sensor_info,
    spread_matrix,
    turned_heads,
    unit_vectors,
)
from ._refits import NullDistribution, check_permutations, null_distributions


# -- maps ------------------------------------------------------------------------------
class LayerAttention(NamedTuple):
    """What a layer's attention did with some windows.

    Parameters
    ----------
    weights : Tensor, shape (n, n_heads, n_tokens, n_tokens)
        Share of each token (last axis) in what each token (the axis before) receives.
        Rows sum to 1.
    values : Tensor, shape (n, n_heads, n_tokens, d_model)
        What each token hands on through each head, after the output projection but
        without its bias: ``weights @ values``, summed over heads, plus the bias is
        the layer's attention output (Kobayashi et al. 2020, eq. 5).
    """

    weights: Tensor
    values: Tensor


def check_attends(model: Backbone, method: str) -> None:
    """Check that the attention of a backbone can be read.

    Parameters
    ----------
    model : Backbone
        The backbone.
    method : str
        One of `ATTENTION_METHODS`.

    Raises
    ------
    TypeError
        If it has no attention, or such that is not known here.
    ValueError
        If it has attention, but not such that can be read in this way.
    """
    if not isinstance(model, MaskedSignalNetwork):
        raise TypeError(
            "Expected the backbone 'masked-transformer' or 'hybrid-ssm', whose "
            f"attention can be read, got {type(model).__name__}; use "
            "mne_megfm.interpret.occlude, which takes any backbone."
        )
    if isinstance(model, HybridStateSpace) and method == "rollout":
        raise ValueError(
            "Expected a method other than 'rollout' for the backbone 'hybrid-ssm', got "
            "'rollout'; its state spaces over time have no attention to follow, so use "
            "'between', or mne_megfm.interpret.occlude for what depends on when."
        )


def encoder_attention(
    model: MaskedSignalNetwork,
    windows: Tensor,
    n_valid: Tensor,
    layers: Sequence[int],
) -> list[LayerAttention]:
    """Compute the attention of layers of the encoder.

    The network runs as it is, with its fused attention; hooks keep what the attention
    of each layer is given, and weights are computed from that. So nothing that is
    predicted changes by looking.

    Parameters
    ----------
    model : MaskedSignalNetwork
        The network, in evaluation mode.
    windows : Tensor, shape (n, n_sensors, n_times)
        Canonical field in tesla.
    n_valid : Tensor of int, shape (n,)
        Recorded samples, in as many patches in each window. Patches after these are
        padding, which the encoder does not see.
    layers : sequence of int
        Which of the layers that have attention.

    Returns
    -------
    found : list of LayerAttention
        In the order of ``layers``. Token ``region * n_patches + patch`` is the region
        during the patch, of the patches that are recorded. Where regions attend to each
        other within patches alone, weights between patches are 0.
    """
    given: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, args: tuple[Any, ...]) -> None:
        given[module] = args[0]

    attending = [b.attention for b in model.blocks if hasattr(b, "attention")]
    parts = [attending[layer] for layer in layers]
    hooks = [part.register_forward_pre_hook(keep) for part in parts]
    try:
        with torch.inference_mode():
            model.encode(windows, n_valid, n_layers=len(model.blocks))
            if not isinstance(model, HybridStateSpace):
                return [_recompute(part, given[part]) for part in parts]
            recorded = -(-int(n_valid[0]) // model.config.patch_length)
            found = []
            for part in parts:
                tokens = given[part].unflatten(0, (len(windows), -1))[:, :recorded]
                layer = _recompute(part, tokens.flatten(0, 1))
                found.append(_within_patches(layer, recorded))
            return found
    finally:
        for hook in hooks:
            hook.remove()


def _recompute(attention: nn.Module, tokens: Tensor) -> LayerAttention:
    """Compute weights and values of one layer from its input."""
    n, n_tokens, d_model = tokens.shape
    n_heads = attention.n_heads
    size = d_model // n_heads
    parts = attention.qkv(tokens).view(n, n_tokens, 3, n_heads, size)
    query, key, value = parts.permute(2, 0, 3, 1, 4)
    weights = ((query @ key.transpose(-1, -2)) * size**-0.5).softmax(-1)
    # through the layer itself, whatever it is made of: each head with the others at 0
    apart = torch.zeros(n, n_heads, n_tokens, n_heads, size, device=tokens.device)
    for head in range(n_heads):
        apart[:, head, :, head] = value[:, head]
    bias = attention.out(torch.zeros(d_model, device=tokens.device))
    return LayerAttention(weights, attention.out(apart.flatten(-2)) - bias)


def _within_patches(layer: LayerAttention, n_patches: int) -> LayerAttention:
    """Put attention between the regions of each patch into that between all tokens."""
    weights, values = (part.unflatten(0, (-1, n_patches)) for part in layer)
    n, _, n_heads, n_regions, _ = weights.shape
    shape = (n, n_heads, n_regions, n_patches, n_regions, n_patches)
    every = weights.new_zeros(shape)
    every.diagonal(dim1=3, dim2=5).copy_(weights.permute(0, 2, 3, 4, 1))
    values = values.permute(0, 2, 3, 1, 4).flatten(2, 3)
    return LayerAttention(every.flatten(4, 5).flatten(2, 3), values)


def rollout(layers: list[LayerAttention], head: int | None) -> Tensor:
    """Follow attention through the layers, half of it staying where it is.

    Abnar and Zuidema (2020), section 3: the product of ``(A + I) / 2`` over layers.

    Parameters
    ----------
    layers : list of LayerAttention
        From the first layer on.
    head : int | None
        The head; None averages them in each layer.

    Returns
    -------
    weights : Tensor, shape (n, n_tokens, n_tokens)
        Share of each input token (last axis) in each token. Rows sum to 1.
    """
    total = None
    for layer in layers:
        weights = layer.weights.mean(1) if head is None else layer.weights[:, head]
        stay = torch.eye(weights.shape[-1], device=weights.device)
        step = (weights + stay) / 2
        total = step if total is None else step @ total
    return total


def carried_norms(layer: LayerAttention, head: int | None) -> Tensor:
    """Measure what attention carries: the norm of weight times value.

    Kobayashi et al. (2020), eq. 6; heads are summed before the norm is taken.

    Parameters
    ----------
    layer : LayerAttention
        The layer.
    head : int | None
        One head alone; None takes all.

    Returns
    -------
    norms : Tensor, shape (n, n_tokens, n_tokens)
        Norm of what each token (last axis) hands to each.
    """
    weights, values = _heads(layer, head)
    gram = torch.einsum("nhkd,ngkd->nhgk", values, values)
    total = torch.einsum("nhqk,nhgk,ngqk->nqk", weights, gram, weights)
    return total.clamp(min=0).sqrt()


def carried_between(layer: LayerAttention, head: int | None, n_regions: int) -> Tensor:
    """Measure what attention carries between regions within a patch.

    As `carried_norms`, for those pairs of tokens alone, which are a tenth of all.

    Parameters
    ----------
    layer : LayerAttention
        The layer.
    head : int | None
        One head alone; None takes all.
    n_regions : int
        Regions of the array.

    Returns
    -------
    norms : Tensor, shape (n, n_regions, n_regions, n_patches)
        Norm of what each region (second axis of regions) hands to each.
    """
    weights, values = _heads(layer, head)
    n, n_heads = weights.shape[:2]
    weights = weights.reshape(
        n, n_heads, n_regions, -1, n_regions, weights.shape[-1] // n_regions
    )
    same = weights.diagonal(dim1=3, dim2=5)
    values = values.unflatten(2, (n_regions, -1))
    gram = torch.einsum("nhktd,ngktd->nhgkt", values, values)
    total = torch.einsum("nhqkt,nhgkt,ngqkt->nqkt", same, gram, same)
    return total.clamp(min=0).sqrt()


def _heads(layer: LayerAttention, head: int | None) -> tuple[Tensor, Tensor]:
    if head is None:
        return layer.weights, layer.values
    return layer.weights[:, [head]], layer.values[:, [head]]


#: The readings of attention.
ATTENTION_METHODS = ("between", "received", "norms", "rollout")


@verbose
def attention(
    transformer: MEGFMTransformer,
    X: Any,
    *,
    method: str = "between",
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
    method : {"between", "received", "norms", "rollout"}
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
        rollout goes from the first to this one. Layers without attention do not count.
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

    With the backbone ``"hybrid-ssm"``, regions attend to each other within each patch.
    There is no attention over time, and a rollout is an error.

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
    ...     1,
    ...     states=("auditory",),
    ...     arrays=("opm64",),
    ...     n_epochs=4,
    ...     random_state=0,
    ...     verbose=False,
    ... )
    >>> evoked = cohort.epochs("auditory")[0].average()
    >>> transformer = MEGFMTransformer().fit(evoked)
    >>> attention(transformer, evoked, n_turns=1).data.shape
    (64, 10)
    """
    check_is_fitted(transformer, "model_")
    layers = _check(transformer, method, layer, head, n_turns)
    _validate_type(info, (mne.Info, None), "info")
    recordings = as_recordings(
        X,
        duration=transformer.duration,
        overlap=transformer.overlap,
    )
    array = transformer.sensor_mapping_.array
    places, used = region_places(array, method == "between")
    if n_turns == 1:
        rotations = np.eye(3)[None]
        matrices = np.eye(array.n_sensors, dtype=np.float32)[None]
    else:
        rotations, matrices = turned_heads(n_turns)
    reader = _Reader(transformer.model_, method, layers, head, torch.from_numpy(used))
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
            comment=f"attention ({method})",
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
    method: str,
    layer: int | None,
    head: int | None,
    n_turns: int,
) -> list[int]:
    """Check the parameters; give the layers that are read."""
    if method not in ATTENTION_METHODS:
        raise ValueError(
            f"Expected method to be one of {', '.join(ATTENTION_METHODS)}, "
            f"got {method!r}."
        )
    check_attends(transformer.model_, method)
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
    if n_turns > 1 and transformer.sensor_mapping_.array is not canonical_array():
        raise ValueError(
            f"Expected n_turns=1 with the mapping {transformer.sensor_mapping_!r}, got "
            f"{n_turns}; heads are turned under the canonical array alone."
        )
    every = range(config.n_layers)
    if layer is None:
        return list(every)
    last = every[layer]
    return list(range(last + 1)) if method == "rollout" else [last]


class _Reader:
    """Reads attention as a density over places and patches.

    Parameters
    ----------
    model : MaskedSignalNetwork
        The network.
    method : str
        One of `ATTENTION_METHODS`.
    layers : list of int
        The layers to read.
    head : int | None
        The head.
    used : Tensor of bool
        Regions, or pairs of them, that are places.
    """

    def __init__(
        self,
        model: MaskedSignalNetwork,
        method: str,
        layers: list[int],
        head: int | None,
        used: Tensor,
    ) -> None:
        self.model, self.method, self.layers = model, method, layers
        self.head, self.used = head, used

    def __call__(self, windows: Tensor, n_valid: Tensor) -> Tensor:
        """Give a density of shape (n, n_places, n_patches) with a mean of 1."""
        found = encoder_attention(self.model, windows, n_valid, self.layers)
        n_regions = self.model.config.n_regions
        if self.method == "between":
            pairs = [carried_between(one, self.head, n_regions) for one in found]
            # both ways have the same place
            density = [part[:, self.used.to(part.device)] for part in pairs]
        else:
            if self.method == "rollout":
                weights = [rollout(found, self.head)]
            elif self.method == "norms":
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
    for block in window_blocks(recordings, transformer.sensor_mapping_, config, size):
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


# -- a test of their timing ------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class AttentionTest:
    """Attention to averages, beside attention to surrogates without timing.

    Attributes
    ----------
    evoked : EvokedArray
        Attention, averaged over recordings: 1 is even.
    null : NullDistribution
        Its logarithm, and that of surrogates; all times and places are one family.
    n : int
        Number of recordings.

    See Also
    --------
    attention_test : Makes it.
    mne_megfm.viz.plot_attention : Plots it.

    Examples
    --------
    See `attention_test`.
    """

    evoked: mne.EvokedArray
    null: NullDistribution
    n: int

    @property
    def peaks(self) -> pd.DataFrame:
        """The strongest place of each time that stands out: one row a time.

        ``time`` (s from the event, the middle of 100 ms), ``ch_name``, ``value``, ``z``
        and ``p_value``. Empty where nothing stands out.
        """
        size = np.where(self.null.significant, self.null.size, 0.0)
        rows = []
        for at in np.flatnonzero(size.any(0)):
            channel = int(size[:, at].argmax())
            rows.append(
                {
                    "time": float(self.evoked.times[at]),
                    "ch_name": self.evoked.ch_names[channel],
                    "value": float(self.evoked.data[channel, at]),
                    "z": float(self.null.z[channel, at]),
                    "p_value": float(self.null.p_values[channel, at]),
                }
            )
        return pd.DataFrame(rows, columns=["time", "ch_name", "value", "z", "p_value"])

    def in_words(self) -> str:
        """Say when attention stands out, or that it does not.

        Returns
        -------
        text : str
            One or two sentences.
        """
        above = f"above chance (p < {self.null.alpha:g}, {self.null.family})"
        peaks = self.peaks
        if not len(peaks):
            return (
                f"Nothing stands out {above}: attention to surrogates without timing "
                f"is alike; the smallest p is {self.null.p_value:.2g}, n = {self.n}."
            )
        times = ", ".join(
            f"{row.time:.2f} s (p = {row.p_value:.2g})" for row in peaks.itertuples()
        )
        text = f"Stands out {above}, in s from the event: {times}; n = {self.n}."
        if (peaks["time"] < 0).any():
            text += (
                " Attention that stands out before the event is unexpected: check the "
                "baseline, filters that reach back, and the time of the event."
            )
        return text


@verbose
def attention_test(
    transformer: MEGFMTransformer,
    X: mne.Evoked | list[mne.Evoked],
    *,
    n_surrogates: int = 99,
    alpha: float = 0.05,
    random_state: int = 0,
    method: str = "between",
    layer: int | None = -1,
    head: int | None = None,
    n_turns: int = 24,
    info: mne.Info | None = None,
    verbose: bool | str | int | None = None,
) -> AttentionTest:
    """Test whether attention depends on the time from a stimulus.

    Parameters
    ----------
    transformer : MEGFMTransformer
        A fitted transformer.
    X : Evoked | list of Evoked
        One average, or one for each participant, in tesla. Of several, the mean of
        their maps is tested: pass ``info``.
    n_surrogates : int
        Surrogates of each average. The smallest p value is one by this and 1.
    alpha : float
        Level of the thresholds.
    random_state : int
        Seed of the surrogates.
    method : str
        See `attention`.
    layer : int | None
        See `attention`.
    head : int | None
        See `attention`.
    n_turns : int
        See `attention`.
    info : mne.Info | None
        See `attention`.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`.

    Returns
    -------
    test : AttentionTest
        Attention and its null distribution.

    Raises
    ------
    TypeError
        If ``X`` is not an Evoked or a list of these.
    ValueError
        If there are too few surrogates for ``alpha``, or several averages without
        ``info``.

    See Also
    --------
    attention : The map alone.
    score_attention : Whether attention lies near a known source.

    Notes
    -----
    Attention has no labels to permute. What it would be without a stimulus is taken
    from surrogates of the same averages: all phases of the Fourier transform are
    shifted at random, by the same angle in all channels, which keeps the spectrum of
    each channel and the cross-spectra of all, and with them noise, rhythms and the
    topographies of sources, but nothing of when they were active [1]_. An average is
    mirrored in time before, so that its ends fit together. What the network attends to
    anyway, by habit at a place of the head or of the window, is in surrogates, too, and
    does not stand out. Attention is relative to its mean over the window, so that more
    of it at one time is less at others: only more than in surrogates is tested. All
    times and places are tested together (`NullDistribution`).

    References
    ----------
    .. [1] Prichard & Theiler (1994), "Generating surrogate data for time series with
       several simultaneously measured variables", Phys Rev Lett 73, 951-954.

    Examples
    --------
    >>> from mne_megfm import MEGFMTransformer, simulate_cohort
    >>> from mne_megfm.interpret import attention_test
    >>> cohort = simulate_cohort(
    ...     1,
    ...     states=("rest",),
    ...     arrays=("opm64",),
    ...     n_epochs=4,
    ...     random_state=0,
    ...     verbose=False,
    ... )
    >>> evoked = cohort.epochs("rest")[0].average()
    >>> transformer = MEGFMTransformer().fit(evoked)
    >>> test = attention_test(
    ...     transformer, evoked, n_surrogates=19, n_turns=1, verbose=False
    ... )
    >>> test.null.n_permutations
    19
    """
    n_surrogates = check_permutations(n_surrogates, alpha)
    averages = X if isinstance(X, list | tuple) else [X]
    for one in averages:
        _validate_type(one, mne.Evoked, "X", extra="(an average, or a list of these)")
    if len(averages) > 1 and info is None:
        raise ValueError(
            f"Expected info with {len(averages)} averages, so that all maps are on the "
            "same places, got None; pass the info of one of them."
        )
    rng = np.random.default_rng(random_state)
    reads = {"method": method, "layer": layer, "head": head}
    reads |= {"n_turns": n_turns, "info": info}
    maps = []
    for run in ProgressBar(range(1 + n_surrogates), mesg="Attention to surrogates"):
        given = [surrogate(one, rng) if run else one for one in averages]
        found = attention(transformer, given, **reads, verbose="error")
        shapes = {one.data.shape for one in found}
        if len(shapes) > 1:
            raise ValueError(
                f"Expected averages of the same length, got maps of {sorted(shapes)}; "
                "crop all to the same times."
            )
        if run == 0:
            evoked = found[0].copy()
            evoked.data = np.mean([one.data for one in found], 0)
            evoked.nave = len(found)
        maps.append(np.log(np.mean([one.data for one in found], 0)))
    n_places, n_times = maps[0].shape
    family = f"max over {n_times} times x {n_places} places"
    null = null_distributions({"": np.array(maps)}, family, alpha, two_sided=False)[""]
    return AttentionTest(evoked, null, len(averages))


def surrogate(evoked: mne.Evoked, rng: np.random.Generator) -> mne.Evoked:
    """Randomise the phases of an average, alike in all of its MEG channels."""
    out = evoked.copy()
    picks = mne.pick_types(out.info, meg=True, ref_meg=True, exclude=())
    out.data[picks] = _randomised(out.data[picks], rng)
    return out


def _randomised(
    data: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    n_times = data.shape[-1]
    mean = data.mean(-1, keepdims=True)
    # mirrored, an end goes over into the beginning without a step
    centred = np.concatenate([data - mean, (data - mean)[..., ::-1]], -1)
    spectrum = np.fft.rfft(centred)
    angles = rng.uniform(0.0, 2.0 * np.pi, spectrum.shape[-1])
    angles[[0, -1]] = 0.0  # these are real
    moved = np.fft.irfft(spectrum * np.exp(1j * angles), 2 * n_times)
    return moved[..., :n_times] + mean
