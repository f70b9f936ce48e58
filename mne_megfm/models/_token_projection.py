"""The linear projection of tokens, fitted without labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional as F

from .backbone import Backbone, BackboneConfig
from .participant_transformer import STATES, state_kind
from .windows import WindowArray, valid_patches

# signals are known by so many axes of the lead fields, and steps of a patch
_N_SPACE, _N_STEPS = 40, 5
# of the mean variance: directions that hardly vary must not look reproducible
_SHRINKAGE = 1e-2
# of the mean variance of tokens, for the regression
_RIDGE = 1e-4
# single windows and averages of each recording that are regressed on
_N_SINGLES, _N_AVERAGES = 12, 6
# share of the windows that is averaged at most: the others are the target
_MOST = 0.6
# where log spectra are read, in Hz: rhythms, and what filters mostly leave
_LOWEST, _HIGHEST = 4.0, 30.0
# least power, of the mean: where nothing was recorded
_LEAST_POWER, _LEAST_TOKEN_POWER = 1e-6, 1e-2
# of the mean variance of log power, for the regression on spectra
_SPECTRAL_RIDGE = 1e-2


def read_responses(
    model: Backbone,
    windows: WindowArray,
    recordings: Sequence[np.ndarray],
    token_mean: Tensor,
    *,
    random_state: int = 0,
) -> Tensor:
    """Find how the tokens of each region predict the response over all regions.

    The response is known by ``n_components`` coordinates of each patch, see
    `response_axes`. Ridge regression predicts the coordinates of the average of some
    windows of a recording from the tokens of *others*, a single one or an average,
    so that noise of its input cannot help it: it is regression on a noisy
    target [1]_. Each region predicts by itself. A recording weighs the less the more
    noise it has.

    Parameters
    ----------
    model : Backbone
        Whose tokens are read.
    windows : WindowArray | WindowStore
        Windows in tesla.
    recordings : sequence of array of int
        Windows of each recording with a response; at least two each.
    token_mean : Tensor, shape (n_regions, n_patches, d_model)
        Mean token at every place.
    random_state : int
        Seed of the draw of windows that are averaged.

    Returns
    -------
    projection : Tensor, shape (n_regions, n_components, d_model)
        Rows to project the tokens of a region on, the strongest coordinate first.

    References
    ----------
    .. [1] Lehtinen et al. (2018), "Noise2Noise: learning image restoration without
       clean data", ICML, section 2.
    """
    config = model.config
    device = next(model.parameters()).device
    space = field_axes(model)
    usual, axes = response_axes(windows, recordings, model)
    gram = torch.zeros(config.n_regions, config.d_model, config.d_model).double()
    cross = torch.zeros(config.n_regions, config.d_model, config.n_components).double()
    rng = np.random.default_rng(random_state)
    for own in recordings:
        data, n_valid = (torch.as_tensor(x).to(device) for x in windows.take(own))
        n_valid = n_valid.min().expand(len(own))
        recorded = valid_patches(n_valid, config)[0]
        known = (coordinates(data, n_valid, space, config) - usual)[
            :, recorded
        ] @ axes.T
        noise = known.var(0).mean().clamp(min=1e-12)
        parts = _draw_parts(len(own), rng).to(device)
        share = parts / parts.sum(1, keepdim=True)
        rest = 1.0 - parts
        target = torch.einsum("gn,npk->gpk", rest / rest.sum(1, keepdim=True), known)
        averaged = torch.einsum("gn,nst->gst", share, data)
        with torch.inference_mode():
            tokens = model.encode(averaged, n_valid[:1].expand(len(parts)))
        tokens = (tokens - token_mean.to(tokens))[:, :, recorded].cpu().double()
        tokens = tokens.transpose(0, 1).flatten(1, 2)
        target = target.flatten(0, 1).cpu().double()
        weight = 1.0 / noise.cpu().double()
        gram += weight * (tokens.mT @ tokens)
        cross += weight * (tokens.mT @ target)
    ridge = _RIDGE * gram.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-12)
    ridge = ridge[:, None, None] * torch.eye(config.d_model, dtype=gram.dtype)
    return torch.linalg.solve(gram + ridge, cross).mT


def response_axes(
    windows: WindowArray,
    recordings: Sequence[np.ndarray],
    model: Backbone,
) -> tuple[Tensor, Tensor]:
    """Find the axes along which averages of a recording vary most over the window.

    They are those of denoising source separation [1]_: averages over the windows of a
    recording, relative to single windows, patch by patch, so that it does not matter
    when a stimulus came.

    Parameters
    ----------
    windows : WindowArray | WindowStore
        Windows in tesla.
    recordings : sequence of array of int
        Windows of each recording.
    model : Backbone
        Whose regions and patches are meant.

    Returns
    -------
    usual : Tensor, shape (n_patches, n_values)
        Mean `coordinates` of each patch.
    axes : Tensor, shape (n_components, n_values)
        Rows to project `coordinates` on, such that single windows have unit variance.

    References
    ----------
    .. [1] de Cheveigné & Simon (2008), "Denoising based on spatial filtering",
       J. Neurosci. Methods 171, section 2.2.
    """
    averages, counts, sizes, outer = [], [], [], 0.0
    config, space = model.config, field_axes(model)
    for own in recordings:
        data, n_valid = (
            torch.as_tensor(x).to(model.kernel.device) for x in windows.take(own)
        )
        values = coordinates(data, n_valid, space, config).double()
        seen = valid_patches(n_valid, config)[..., None].double()
        size = (values * seen).square().mean().sqrt().clamp(min=1e-12)
        averages.append((values * seen).sum(0) / seen.sum(0).clamp(min=1))
        counts.append(seen.sum(0))
        sizes.append(size)
        flat = (values * seen / size).flatten(0, 1)
        outer = outer + flat.mT @ flat
    average, count = torch.stack(averages), torch.stack(counts)
    usual = (average * count).sum(0) / count.sum(0).clamp(min=1)
    # all recordings count alike, however large their fields
    average = average / torch.stack(sizes)[:, None, None]
    mean = (average * count).sum(0) / count.sum(0).clamp(min=1)
    single = outer - torch.einsum("pd,pe->de", mean * count.sum(0), mean)
    single = single / count.sum()
    around = (average - mean) * (count > 0)
    # what lasts through the window is no response: it tells recordings apart
    lasting = around.sum(1, keepdim=True) / (count > 0).sum(1, keepdim=True)
    around = (around - lasting) * count.sqrt()
    signal = torch.einsum("apd,ape->de", around, around)
    n_values = len(single)
    ridge = (_SHRINKAGE * single.diagonal().mean()).clamp(min=1e-12)
    single = single + ridge * torch.eye(n_values).to(single)
    # whiten single windows; the leading axes of averages are then those of the ratio
    factor = torch.linalg.cholesky(single)
    half = torch.linalg.solve_triangular(factor, signal, upper=False)
    ratio = torch.linalg.solve_triangular(factor, half.mT, upper=False)
    vectors = torch.linalg.eigh((ratio + ratio.mT) / 2)[1].flip(1)
    vectors = vectors[:, : config.n_components]
    axes = torch.linalg.solve_triangular(factor.mT, vectors, upper=True).mT
    return usual.float(), _flipped(axes).float()


def field_axes(model: Backbone) -> Tensor:
    """Find the leading axes of the lead fields.

    Parameters
    ----------
    model : Backbone
        Its kernel is taken.

    Returns
    -------
    space : Tensor, shape (n_sensors, n_space)
        Up to 40 orthonormal columns, the strongest first.
    """
    vectors = torch.linalg.eigh(model.kernel.double())[1].flip(1)
    return vectors[:, :_N_SPACE].to(model.kernel)


def coordinates(
    windows: Tensor, n_valid: Tensor, space: Tensor, config: BackboneConfig
) -> Tensor:
    """Bring windows to few numbers a patch.

    Parameters
    ----------
    windows : Tensor, shape (n, n_sensors, n_times)
        Field in tesla; zero where not recorded.
    n_valid : Tensor of int, shape (n,)
        Recorded samples of each window.
    space : Tensor, shape (n_sensors, n_space)
        As of `field_axes`.
    config : BackboneConfig
        Patches and unit.

    Returns
    -------
    values : Tensor, shape (n, n_patches, n_values)
        Amplitudes of the axes in up to five steps a patch, in the network's unit,
        around their mean over the window.
    """
    inside = torch.arange(windows.shape[-1], device=windows.device) < n_valid[:, None]
    mean = windows.sum(-1, keepdim=True) / n_valid[:, None, None]
    centred = torch.where(inside[:, None], windows - mean, 0.0) / config.scale
    n_steps = min(_N_STEPS, config.patch_length)
    amplitude = space.mT @ centred
    amplitude = F.adaptive_avg_pool1d(amplitude, config.n_patches * n_steps)
    return amplitude.unflatten(2, (-1, n_steps)).transpose(1, 2).flatten(2)


def _draw_parts(n: int, rng: np.random.Generator) -> Tensor:
    """Draw which windows are averaged: single ones and parts of growing size."""
    singles = rng.permutation(n)[:_N_SINGLES]
    most = max(int(_MOST * n), 1)
    sizes = np.geomspace(min(2, most), most, _N_AVERAGES).round().astype(int)
    parts = torch.zeros(len(singles) + _N_AVERAGES, n)
    parts[torch.arange(len(singles)), torch.from_numpy(singles)] = 1.0
    for row, size in enumerate(sizes, len(singles)):
        parts[row, torch.from_numpy(rng.permutation(n)[:size])] = 1.0
    return parts


def log_power(power: Tensor, usual: Tensor) -> Tensor:
    """Take the logarithm of the power of tokens, relative to what is usual.

    Parameters
    ----------
    power : Tensor, shape (..., n_regions, d_model)
        Mean square of tokens over the patches of a row.
    usual : Tensor, shape (n_regions, d_model)
        The same over many windows.

    Returns
    -------
    values : Tensor, shape (..., n_regions, d_model)
        Finite, also where there is none.
    """
    return (power / usual.clamp(min=1e-12) + _LEAST_TOKEN_POWER).log()


def read_spectra(
    model: Backbone, windows: WindowArray, index: np.ndarray, batch_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Find how the power of the tokens of each region predicts the spectrum there.

    The spectrum of a region is the mean log periodogram of its sensors (Hann window, 4
    to 30 Hz). It is known by the principal axes of how recordings differ in it, the
    same in all regions, each of unit variance: otherwise its size would hide where its
    peaks are. Ridge regression predicts them from the log power of the tokens of one
    window, for the mean of the *other* windows of a recording, so that noise of its
    input cannot help it (see ``read_responses``). Of fewer than 20 recordings of ten
    windows they are predicted for the window itself.

    Parameters
    ----------
    model : Backbone
        Whose tokens are read, around their mean at each place.
    windows : WindowArray | WindowStore
        Windows in tesla. Those that were not recorded as a whole are left out.
    index : array of int
        Windows to read.
    batch_size : int
        Windows at a time.

    Returns
    -------
    power : Tensor, shape (n_regions, d_model)
        Mean square of the tokens.
    axes : Tensor, shape (n_regions, n_spectral, d_model)
        Rows to project the log power of a region's tokens on, the axis by which
        spectra differ most first. The projections of a region have as much variance
        together as those of its tokens in a window: one for each patch. Zero beyond
        what there are spectra for.
    offset : Tensor, shape (n_regions, n_spectral)
        Mean projection.
    """
    config = model.config
    device = next(model.parameters()).device
    squares, spectra, whole = [], [], []
    for start in range(0, len(index), batch_size):
        part = index[start : start + batch_size]
        data, n_valid = map(torch.as_tensor, windows.take(part))
        full = n_valid == config.n_times
        if not full.any():
            continue
        data = data[full].to(device)
        with torch.inference_mode():
            tokens = model.encode(data).float() - model.token_mean
        squares.append(tokens.square().mean(2).cpu())
        spectra.append(_spectra(data, config).cpu())
        whole.append(part[full.numpy()])
    axes = torch.zeros(config.n_regions, config.n_spectral, config.d_model).double()
    offset = torch.zeros(config.n_regions, config.n_spectral).double()
    if sum(map(len, whole)) < 2 or not spectra[0].shape[2]:
        return torch.ones(config.n_regions, config.d_model), axes, offset
    power, spectrum = torch.cat(squares), torch.cat(spectra).double()
    spectrum = spectrum.clamp(min=_LEAST_POWER * spectrum.mean())
    usual = power.mean(0)
    known, others = _recording_spectra(spectrum, windows, np.concatenate(whole))
    # (n_recordings * n_regions, n_bins)
    around = (known - known.mean(0)).flatten(0, 1)
    sizes, vectors = torch.linalg.svd(around, full_matrices=False)[1:]
    n_axes = min(config.n_spectral, int((sizes > 1e-6 * sizes[0]).sum()))
    vectors = _flipped(vectors[:n_axes]) / sizes[:n_axes, None] * len(around) ** 0.5
    target = (others - known.mean(0)) @ vectors.T
    target = (target - target.mean(0)).transpose(0, 1)
    values = log_power(power, usual).double().transpose(0, 1)
    mean = values.mean(1, keepdim=True)
    values = values - mean
    gram = values.mT @ values
    ridge = _SPECTRAL_RIDGE * gram.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-12)
    ridge = ridge[:, None, None] * torch.eye(config.d_model, dtype=gram.dtype)
    found = torch.linalg.solve(gram + ridge, values.mT @ target).mT
    variance = (values @ found.mT).square().mean(1).sum(1).mean()
    size = (config.n_patches / variance.clamp(min=1e-24)).sqrt()
    axes[:, :n_axes] = size * found
    return usual, axes, (axes @ mean.mT)[..., 0]


def _spectra(data: Tensor, config: BackboneConfig) -> Tensor:
    """Give the mean periodogram of each region, shape (n, n_regions, n_bins)."""
    n_times = data.shape[-1]
    window = torch.hann_window(n_times, device=data.device)
    centred = (data - data.mean(-1, keepdim=True)) / config.scale
    freqs = torch.fft.rfftfreq(n_times, 1 / config.sfreq)
    inside = (freqs >= _LOWEST) & (freqs <= _HIGHEST)
    power = torch.fft.rfft(centred * window)[..., inside].abs().square()
    return power.unflatten(1, (config.n_regions, -1)).mean(2)


def _recording_spectra(
    spectrum: Tensor, windows: WindowArray, index: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Give the log spectra of recordings, and those that windows are to predict."""
    which = np.unique(np.asarray(windows.recording)[index], return_inverse=True)[1]
    counts = np.bincount(which)
    enough = counts >= MIN_WINDOWS
    if enough.sum() < MIN_RECORDINGS:
        return spectrum.log(), spectrum.log()
    which, counts = torch.from_numpy(which), torch.from_numpy(counts).double()
    total = spectrum.new_zeros(len(counts), *spectrum.shape[1:])
    total.index_add_(0, which, spectrum)
    # recordings of few windows are known too badly
    several = counts[which] > 1
    others = (total[which] - spectrum) / (counts[which] - 1).clamp(min=1)[:, None, None]
    others = torch.where(several[:, None, None], others, spectrum).log()
    mean = total / counts[:, None, None]
    return mean[torch.from_numpy(enough)].log(), others


#: Recordings that are needed to tell what is the same in all windows of one, and how
#: many windows of each.
MIN_RECORDINGS, MIN_WINDOWS = 20, 10


def fit_token_projection(
    model: Backbone,
    windows: WindowArray,
    n_windows: int,
    *,
    index: np.ndarray | None = None,
    batch_size: int = 64,
    random_state: int = 0,
) -> None:
    """Find axes of a model's tokens for compact pooling, and keep them in it.

    Tokens have a mean of their own at every region and patch; each region has axes of
    what varies around it. They follow evoked responses: what is the same in each
    window of a recording is predicted from a single window, or from an average of
    some, for the average of the *other* windows (see ``read_responses``). Recordings
    of rest, where states are known, have no response. The projections have unit
    variance in total, and strong axes stay strong. Of fewer than 20 recordings of ten
    windows they are the principal axes instead, scaled so that tokens have unit
    variance in total.

    Spectral axes follow the spectrum of a recording, see ``read_spectra``.

    Parameters
    ----------
    model : Backbone
        The model, changed in place.
    windows : WindowArray | WindowStore
        Windows in tesla, with their recordings.
    n_windows : int
        How many to look at, of recordings in random order.
    index : array of int, optional
        Windows to choose from; all by default.
    batch_size : int
        Windows at a time.
    random_state : int
        Seed of the choice.

    Examples
    --------
    >>> import numpy as np
    >>> from mne_megfm.models import MaskedSignalTransformer, ModelConfig
    >>> from mne_megfm.models import WindowArray, fit_token_projection
    >>> model = MaskedSignalTransformer(ModelConfig(d_model=32, n_layers=1))
    >>> data = np.random.default_rng(0).standard_normal((8, 192, 250))
    >>> fit_token_projection(model, WindowArray(data, unit=1e-13), 8)
    >>> model.token_axes.shape
    torch.Size([24, 16, 32])
    """
    index = np.arange(len(windows)) if index is None else np.asarray(index)
    index = _choose(np.asarray(windows.recording), index, n_windows, random_state)
    model.eval()
    mean, covariance = _moments(model, windows, index, batch_size)
    responding = _responding(windows, index)
    if len(responding) < MIN_RECORDINGS:
        axes = _principal(covariance, model.config.n_components)
        power = covariance.diagonal(dim1=1, dim2=2).sum(1)
    else:
        axes = read_responses(
            model, windows, responding, mean, random_state=random_state
        )
        power = torch.einsum("rkd,rde,rke->r", axes, covariance, axes)
    axes = axes / power.mean().sqrt().clamp(min=1e-12)
    model.set_token_axes(mean.float(), axes.float())
    read = read_spectra(model, windows, index, batch_size)
    model.set_spectral_axes(*(values.float() for values in read))


def _choose(
    recording: np.ndarray, index: np.ndarray, n_windows: int, random_state: int
) -> np.ndarray:
    """Choose windows of recordings in random order, so that most are whole."""
    rng = np.random.default_rng(random_state)
    names, which = np.unique(recording[index], return_inverse=True)
    rank = rng.permutation(len(names))[which]
    return index[np.lexsort((rng.random(len(index)), rank))[:n_windows]]


def _responding(windows: WindowArray, index: np.ndarray) -> list[np.ndarray]:
    """Find the windows of each recording that may hold a response."""
    recording, found = np.asarray(windows.recording)[index], []
    for name in np.unique(recording):
        own = np.sort(index[recording == name])
        state = None if windows.state is None else str(windows.state[own[0]])
        rest = state is not None and STATES[state_kind(state)] == "rest"
        if len(own) >= MIN_WINDOWS and not rest:
            found.append(own)
    return found


def _moments(
    model: Backbone,
    windows: WindowArray,
    index: np.ndarray,
    batch_size: int,
) -> tuple[Tensor, Tensor]:
    """Mean token at each place, and the covariance of each region's around it."""
    config = model.config
    device = next(model.parameters()).device
    total = torch.zeros(config.n_regions, config.n_patches, config.d_model).double()
    seen = torch.zeros(config.n_regions, config.n_patches, 1).double()
    outer = torch.zeros(config.n_regions, config.d_model, config.d_model).double()
    with torch.inference_mode():
        for start in range(0, len(index), batch_size):
            part = windows.take(index[start : start + batch_size])
            data, n_valid = map(torch.as_tensor, part)
            tokens = model.encode(data.to(device), n_valid.to(device)).cpu().double()
            total += tokens.sum(0)
            seen += (tokens != 0).any(-1, keepdim=True).sum(0)
            flat = tokens.transpose(0, 1).flatten(1, 2)
            outer += flat.mT @ flat
    mean = total / seen.clamp(min=1)
    if len(index) == 1:
        # one window does not vary around its own tokens, only from place to place
        mean = (total.sum((0, 1)) / seen.sum()).expand_as(mean)
    around = outer - torch.einsum("rpd,rpe->rde", mean * seen, mean)
    return mean, around / seen.sum(1)[..., None]


def _principal(covariance: Tensor, n_components: int) -> Tensor:
    """Find the principal axes of each region, shape (n_regions, n_components, d)."""
    axes = torch.linalg.eigh(covariance)[1].flip(2)[..., :n_components].mT
    return _flipped(axes)


def _flipped(axes: Tensor) -> Tensor:
    """Fix the signs of axes, shape (..., n_axes, n_values), for reproducible features.

    Eigenvectors have none of their own. The largest value gets to be positive, as by
    scikit-learn's ``svd_flip``, which does not take stacks of matrices.
    """
    return axes * axes.gather(-1, axes.abs().argmax(-1, keepdim=True)).sign()


# Windows for each value of a token, 64 to 256 in all: windows have many tokens, so that
# axes are found as well for narrow networks as for those of 128 values.
_FIELDS_PER_VALUE, _FEWEST_FIELDS, _MOST_FIELDS = 2, 64, 256


def random_fields(
    kernel: ArrayLike, config: BackboneConfig, random_state: int
) -> WindowArray:
    """Draw windows on which the projections of a network are found without data.

    Normal fields with the covariance of sources all over the head and a 1/f spectrum
    of power, at the network's scale.

    Parameters
    ----------
    kernel : array-like, shape (n_sensors, n_sensors)
        Gram matrix of the canonical lead fields.
    config : BackboneConfig
        Sizes and scale.
    random_state : int
        Seed.

    Returns
    -------
    windows : WindowArray
        Two windows for each value of a token; 64 at least, and 256 at most.

    Examples
    --------
    >>> import numpy as np
    >>> from mne_megfm.models import ModelConfig, random_fields
    >>> len(random_fields(np.eye(192), ModelConfig(), 0))
    256
    """
    rng = np.random.default_rng(random_state)
    n_fields = np.clip(_FIELDS_PER_VALUE * config.d_model, _FEWEST_FIELDS, _MOST_FIELDS)
    size = (n_fields, config.n_sensors, config.n_times // 2 + 1)
    spectrum = rng.standard_normal((*size, 2)).view(complex)[..., 0]
    spectrum /= np.sqrt(np.maximum(np.arange(size[-1]), 1))
    spectrum[..., 0] = 0.0
    noise = np.fft.irfft(spectrum, config.n_times)
    kernel = np.asarray(kernel, dtype=float)
    root = np.linalg.cholesky(kernel + 1e-6 * np.eye(len(kernel)))
    fields = root @ (noise / noise.std())
    return WindowArray(fields, unit=config.scale)
