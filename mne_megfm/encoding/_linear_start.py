"""Where training starts: the best linear model, in closed form.

Ridge-free regression on lagged features gives response functions of all sensors. With
the noise of sensors whitened, singular values separate what several people's sensors
share from noise; and these few components are localised over all people at once, with a
prior for each source that follows fMRI.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mne.utils import logger
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse.linalg import splu

from ..models import LatentSourceConfig, LatentSourceNetwork
from ._hemodynamics import fit_hrf, hrf_basis
from ._recordings import Person

# variance of a source's prior where fMRI has nothing, over that where it has most
_FLOOR = 0.01
# of the mean variance: people differ by so much in what they share
_MISFIT = 0.1
# weight of a source's prior, in observations
_PRIOR_WEIGHT = 0.1
# updates of the variances
_N_UPDATES = 30
# turns of ridge regression and haemodynamic responses
_N_TURNS = 3


@dataclass(frozen=True)
class LinearStart:
    """A linear model of sources.

    Attributes
    ----------
    kernel : array of shape (n_components, n_linear, n_lags)
        Weights of lagged, standardised and projected features.
    maps : array of shape (n_sources * n_orientations, n_components)
        Maps of the components, nAm.
    variance : array of shape (n_sources,)
        Variance of each source before smoothing.
    """

    kernel: NDArray[np.float64]
    maps: NDArray[np.float64]
    variance: NDArray[np.float64]


class LaggedDesign:
    """Standardised features, projected, and smoothed over lags.

    Parameters
    ----------
    stimulus : dict of array
        Features by story.
    n_lags : int
        Samples of lags, from 0 on.
    n_linear : int
        Principal components of the features to keep, at most.
    lag_step : int
        Samples between the peaks of the triangles that make kernels.
    """

    def __init__(
        self,
        stimulus: Mapping[str, NDArray],
        n_lags: int,
        n_linear: int,
        lag_step: int,
    ) -> None:
        together = np.vstack(list(stimulus.values()))
        self.mean = together.mean(axis=0)
        scale = together.std(axis=0)
        self.scale = np.where(scale > 1e-12 * (1 + np.abs(self.mean)), scale, 1.0)
        n_features = together.shape[1]
        if n_features <= n_linear:
            self.reduce = np.eye(n_features)
        else:
            scaled = (together - self.mean) / self.scale
            vectors = np.linalg.eigh(scaled.T @ scaled)[1]
            self.reduce = vectors[:, ::-1][:, :n_linear]
        lags, peaks = np.arange(n_lags), np.arange(0, n_lags, lag_step)
        away = np.abs(lags[None] - peaks[:, None]) / lag_step
        self.basis = np.maximum(0.0, 1.0 - away)

    def __call__(self, features: NDArray) -> NDArray[np.float64]:
        """Give the design of one story, shape (n_times, n_linear * n_basis)."""
        x = ((features - self.mean) / self.scale) @ self.reduce
        n_fft = len(x) + self.basis.shape[1]
        spectra = np.fft.rfft(x, n_fft, axis=0)[:, :, None]
        kernels = np.fft.rfft(self.basis.T, n_fft, axis=0)[:, None]
        out = np.fft.irfft(spectra * kernels, n_fft, axis=0)[: len(x)]
        return out.reshape(len(x), -1)

    def kernel(self, weights: NDArray) -> NDArray[np.float64]:
        """Turn weights (n_columns, k) into kernels (k, n_linear, n_lags)."""
        weights = weights.reshape(self.reduce.shape[1], len(self.basis), -1)
        return np.einsum("fbk,bl->kfl", weights, self.basis)


def fit_linear(
    people: Sequence[Person],
    stimulus: Mapping[str, NDArray],
    design: LaggedDesign,
    max_components: int,
    n_orientations: int,
    evidence: NDArray | None,
    depth: float,
    smoothing: sparse.csr_array,
) -> tuple[LinearStart, dict[str, NDArray]]:
    """Fit the linear model of sources to the MEG of all people.

    Parameters
    ----------
    people : sequence of Person
        Those with MEG.
    stimulus : dict of array
        Features by story.
    design : LaggedDesign
        What the model is linear in.
    max_components : int
        How many components at most.
    n_orientations : int
        Directions at each source.
    evidence : array of shape (n_sources,) | None
        How well fMRI of each source follows the stimulus, 0 or more.
    depth : float
        How much deep sources are preferred in their prior, as in MNE-Python.
    smoothing : sparse array of shape (n_sources, n_sources)
        The operator whose inverse smooths over neighbouring sources.

    Returns
    -------
    start : LinearStart
        The model.
    metrics : dict of array
        For each person the whitener of what is left of the whitened MEG.

    Notes
    -----
    The noise of coefficients of orthonormal regressors is that of the sensors. After it
    is whitened, singular values above the edge of Marchenko and Pastur (1967) are
    signal, and are shrunk to what is best in the Frobenius norm (Gavish and Donoho
    2017, IEEE Trans Inf Theory 63:2137-2152, eq. 7).

    Sources are few independent ones, smoothed over their neighbours. Their variances
    follow the updates of Champagne (Wipf et al. 2010, NeuroImage 49:641-655), which
    neuro-current response functions use as well (Das et al. 2020, NeuroImage
    211:116528). The prior of the variances follows fMRI (Sato et al. 2004, NeuroImage
    23:806-826).
    """
    designs = {story: design(features) for story, features in stimulus.items()}
    grams, crosses, counts = zip(
        *(_statistics(p, designs) for p in people), strict=True
    )
    whole = np.sum(grams, axis=0) / sum(counts)
    values, vectors = np.linalg.eigh(whole)
    kept = values > 1e-7 * values[-1]
    # columns of the design times `ortho` are orthonormal, over a sample
    ortho = vectors[:, kept] / np.sqrt(values[kept])
    rows, leads, metrics = [], [], {}
    for person, gram, cross, count in zip(people, grams, crosses, counts, strict=True):
        own = ortho.T @ gram @ ortho
        ridge = 1e-3 * np.trace(own) / len(own) * np.eye(len(own))
        coef = linalg.solve(own + ridge, ortho.T @ cross, assume_a="pos")
        metric = _noise_whitener(person, designs, ortho @ coef)
        metrics[person.name] = metric
        rows.append(np.sqrt(count) * coef @ metric.T)
        leads.append(np.sqrt(count) * metric @ person.whitened_gain)
    data, lead = np.hstack(rows), np.vstack(leads)
    left, values, _ = np.linalg.svd(data, full_matrices=False)
    edge = np.sqrt(data.shape[0]) + np.sqrt(data.shape[1])
    n_components = int(np.clip(np.sum(values > 1.02 * edge), 1, max_components))
    logger.info("%d components of %d are above noise", n_components, min(data.shape))
    left = left[:, :n_components]
    shrunk = left * _shrinkage(values[:n_components], *data.shape)
    smooth = _Smoother(smoothing, n_orientations)
    lead, fields = _reduce(smooth(lead.T).T, data.T @ shrunk)
    prior = _prior(lead, n_orientations, evidence, depth)
    maps, variance = _localise(lead, fields, prior, n_orientations)
    maps = smooth(maps)
    # components of unit variance
    kernel = design.kernel(ortho @ left)
    return LinearStart(kernel, maps, variance), metrics


def _statistics(
    person: Person, designs: Mapping[str, NDArray]
) -> tuple[NDArray, NDArray, float]:
    """Sum products of regressors, and of these with whitened MEG, over good times."""
    gram = cross = count = 0.0
    for story, run in person.meg.items():
        weight = run.counts
        x = centred(designs[story], run.good)
        y = run.data @ person.whitener.T
        gram = gram + (x * weight[:, None]).T @ x
        cross = cross + (x * weight[:, None]).T @ y
        count += weight.sum()
    return gram, cross, float(count)


def centred(x: NDArray, good: NDArray) -> NDArray[np.float64]:
    """Subtract the mean of good samples."""
    return x - x[good].mean(axis=0)


def _noise_whitener(
    person: Person, designs: Mapping[str, NDArray], weights: NDArray
) -> NDArray[np.float64]:
    """Whiten what regression leaves of one repeat."""
    total, count = 0.0, 0.0
    for story, run in person.meg.items():
        weight = run.counts
        x = centred(designs[story], run.good)
        left = run.data @ person.whitener.T - x @ weights
        left[~run.good] = 0.0
        total = total + (left * weight[:, None]).T @ left
        count += run.good.sum()
    return noise_metric(total, count, designs[next(iter(person.meg))].shape[1])


def noise_metric(total: NDArray, count: float, used: int) -> NDArray[np.float64]:
    """Turn a sum of squares of residuals into a whitener.

    Parameters
    ----------
    total : array of shape (n, n)
        The sum.
    count : float
        Samples in it.
    used : int
        Regressors that were fitted.

    Returns
    -------
    metric : array of shape (n, n)
        Inverse square root of the covariance, with a hundredth of the mean variance
        added.
    """
    cov = total / max(count - used, 1.0)
    cov += 0.01 * np.trace(cov) / len(cov) * np.eye(len(cov))
    values, vectors = np.linalg.eigh(cov)
    return (vectors / np.sqrt(np.maximum(values, 1e-12 * values[-1]))).T


def _shrinkage(values: NDArray, n: int, m: int) -> NDArray[np.float64]:
    """Give the best singular values over those of a matrix (n, m) with unit noise."""
    square = (values**2 - n - m) ** 2 - 4 * n * m
    # a value below the edge is kept only where there is no other
    return np.sqrt(np.maximum(square, 1e-4 * values**4)) / values**2


class _Smoother:
    """Smooth values of sources, shape (n_sources * n_orientations, k), over space."""

    def __init__(self, operator: sparse.csr_array, n_orientations: int) -> None:
        self._solve = splu(sparse.csc_array(operator)).solve
        self._n_orientations = n_orientations

    def __call__(self, x: NDArray) -> NDArray[np.float64]:
        wide = x.reshape(len(x) // self._n_orientations, -1)
        return self._solve(np.ascontiguousarray(wide)).reshape(x.shape)


def _reduce(lead: NDArray, fields: NDArray) -> tuple[NDArray, NDArray]:
    """Keep the directions of all people's sensors that sources reach."""
    left, values, right = np.linalg.svd(lead, full_matrices=False)
    kept = values > 1e-4 * values[0]
    return values[kept, None] * right[kept], left[:, kept].T @ fields


def _prior(
    lead: NDArray, n_orientations: int, evidence: NDArray | None, depth: float
) -> NDArray[np.float64]:
    """Give the variance of each source before MEG is looked at, relative."""
    power = np.sum(lead**2, axis=0).reshape(-1, n_orientations).sum(axis=1)
    # silent sources (radial ones in a sphere) must not weigh more than others
    prior = np.maximum(power, 1e-2 * np.median(power)) ** -depth
    prior /= prior.max()
    if evidence is not None and np.max(evidence) > 0:
        top = np.quantile(evidence[evidence > 0], 0.98)
        prior *= np.minimum(evidence / top, 1.0) + _FLOOR
    return prior


def _localise(
    lead: NDArray, fields: NDArray, prior: NDArray, n_orientations: int
) -> tuple[NDArray, NDArray]:
    """Estimate maps of sources, and the variance of each."""
    n_components = fields.shape[1]
    power = np.mean(fields**2)
    noise = 1.0 + _MISFIT * power
    mean_power = np.mean(np.sum(lead**2 * np.repeat(prior, n_orientations), axis=1))
    prior = prior * power / mean_power
    variance = prior.copy()
    for step in range(_N_UPDATES + 1):
        wide = np.repeat(variance, n_orientations)
        cov = (lead * wide) @ lead.T + noise * np.eye(len(lead))
        factor = linalg.cho_factor(cov)
        maps = wide[:, None] * (lead.T @ linalg.cho_solve(factor, fields))
        if step == _N_UPDATES:
            return maps, variance
        weight = np.einsum("cs,cs->s", lead, linalg.cho_solve(factor, lead))
        squares = (maps**2).reshape(-1, n_orientations * n_components).sum(axis=1)
        spread = weight.reshape(-1, n_orientations).sum(axis=1)
        update = np.sqrt(squares / n_components / np.maximum(spread, 1e-30))
        variance = (update + _PRIOR_WEIGHT * prior) / (1.0 + _PRIOR_WEIGHT)
    raise AssertionError("the last step returns")


# -- fMRI ------------------------------------------------------------------------------
def fmri_evidence(
    people: Sequence[Person],
    stimulus: Mapping[str, NDArray],
    design: LaggedDesign,
    sfreq: float,
) -> NDArray[np.float64]:
    """Tell how well fMRI of each source follows the stimulus.

    Parameters
    ----------
    people : sequence of Person
        Those with fMRI.
    stimulus : dict of array
        Features by story.
    design : LaggedDesign
        Which standardises features.
    sfreq : float
        Their rate in Hz.

    Returns
    -------
    evidence : array of shape (n_sources,)
        Correlation of fMRI with what ridge regression on features and their squares
        predicts in parts that it was not fitted to, people together, less its median
        over sources, at least 0.
    """
    basis = hrf_basis(sfreq)
    stories = {story: i for i, story in enumerate(stimulus)}
    n_parts = 1 if len({s for p in people for s in p.fmri}) > 2 else 4
    x, y, part = [], [], []
    for person in people:
        for story, run in person.fmri.items():
            x.append(slow_design(stimulus[story], design, basis, run.at))
            y.append(run.data / np.maximum(run.data.std(axis=0), 1e-12))
            # people hear the same: a part is left out for all of them
            step = run.at * n_parts // max(len(stimulus[story]), int(run.at[-1]) + 1)
            part.append(stories[story] * n_parts + step)
    score = _held_out(np.vstack(x), np.vstack(y), np.concatenate(part))
    return np.maximum(score - np.median(score), 0.0)


def slow_design(
    features: NDArray, design: LaggedDesign, basis: NDArray, at: NDArray
) -> NDArray[np.float64]:
    """Convolve features and their squares with haemodynamic responses.

    Parameters
    ----------
    features : array of shape (n_times, n_features)
        Those of a story.
    design : LaggedDesign
        Which standardises them.
    basis : array of shape (n_kernels, n_lags)
        The responses.
    at : array of int, shape (n_scans,)
        Samples of the scans.

    Returns
    -------
    x : array of shape (n_scans, 2 * n_linear * n_kernels)
        Regressors, centred.
    """
    x = ((features - design.mean) / design.scale) @ design.reduce
    slow = convolved(np.c_[x, x**2], basis, at)
    slow = slow.transpose(1, 2, 0).reshape(len(at), -1)
    return slow - slow.mean(axis=0)


def _held_out(x: NDArray, y: NDArray, part: NDArray) -> NDArray[np.float64]:
    """Correlate fMRI with its prediction by ridge regression, over parts left out."""
    x = x / np.maximum(x.std(axis=0), 1e-12)
    y = y / np.maximum(y.std(axis=0), 1e-12)
    predicted = np.zeros_like(y)
    for out in np.unique(part):
        inside = part != out
        # as many scans as regressors, in weight: fMRI of few minutes is noisy
        gram = x[inside].T @ x[inside] + len(x) * np.eye(x.shape[1])
        predicted[~inside] = x[~inside] @ np.linalg.solve(gram, x[inside].T @ y[inside])
    product = np.sum(predicted * y, axis=0)
    norm = np.sqrt(np.sum(predicted**2, axis=0) * np.sum(y**2, axis=0))
    return np.maximum(product / np.maximum(norm, 1e-12), 0.0)


def fit_linear_fmri(
    people: Sequence[Person],
    stimulus: Mapping[str, NDArray],
    design: LaggedDesign,
    max_components: int,
    sfreq: float,
    feature_regions: Sequence[int] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit the linear model of sources that fMRI follows without a square.

    Ridge regression on features that are convolved with the haemodynamic response of
    each person, and least squares for the responses, in turn. The penalty is the best
    one for people, or stories if there are fewer than three people, that are left out.

    Parameters
    ----------
    people : sequence of Person
        Those with fMRI.
    stimulus : dict of array
        Features by story.
    design : LaggedDesign
        What the model is linear in.
    max_components : int
        How many components at most.
    sfreq : float
        Rate of the features in Hz.
    feature_regions : sequence of int | None
        Column of fMRI that each feature belongs to, -1 for none.

    Returns
    -------
    kernel : array of shape (n_components, n_linear, n_lags)
        Weights of lagged, standardised and projected features.
    maps : array of shape (n_sources, n_components)
        Maps of the components.
    """
    basis = hrf_basis(sfreq)
    x, y, who, group = [], [], [], []
    stories = {story: i for i, story in enumerate(stimulus)}
    by_person = len(people) > 2
    for i, person in enumerate(people):
        for story, run in person.fmri.items():
            slow = convolved(design(stimulus[story]), basis, run.at)
            x.append(slow - slow.mean(axis=1, keepdims=True))
            y.append(run.data / np.maximum(run.data.std(axis=0), 1e-12))
            who.append(np.full(len(run.at), i))
            part = 4 * np.arange(len(run.at)) // len(run.at)
            group.append(who[-1] if by_person else 4 * stories[story] + part)
    x, y = np.concatenate(x, axis=1), np.vstack(y)
    who, group = np.concatenate(who), np.concatenate(group)
    own = None
    if feature_regions is not None:
        own = np.equal.outer(np.asarray(feature_regions), np.arange(y.shape[1]))
        own = np.repeat(own, x.shape[2] // len(own), axis=0)
    hrf = np.tile([1.0, 0.0, 0.0], (len(people), 1))
    for _ in range(_N_TURNS):
        whole = np.einsum("tk,ktf->tf", hrf[who], x)
        weights = _ridge(whole, y, group, own)
        said = x @ weights
        for i in range(len(people)):
            rows = who == i
            hrf[i] = fit_hrf(said[:, rows], y[rows], np.ones(y.shape[1]))
    fitted = whole @ weights
    vectors = np.linalg.eigh(fitted.T @ fitted)[1][:, ::-1]
    n_components = min(max_components, y.shape[1], x.shape[2])
    vectors = vectors[:, :n_components]
    weights = weights @ vectors
    z = np.vstack([design(features) @ weights for features in stimulus.values()])
    scale = np.maximum(z.std(axis=0), 1e-12)
    return design.kernel(weights / scale), vectors * scale


def convolved(x: NDArray, basis: NDArray, at: NDArray) -> NDArray[np.float64]:
    """Convolve columns with haemodynamic responses, at the samples of scans.

    Parameters
    ----------
    x : array of shape (n_times, n_columns)
        Regressors.
    basis : array of shape (n_kernels, n_lags)
        The responses.
    at : array of int, shape (n_scans,)
        Samples of the scans.

    Returns
    -------
    slow : array of shape (n_kernels, n_scans, n_columns)
        The results.
    """
    n_fft = max(len(x), int(at.max()) + 1) + basis.shape[1]
    spectra = np.fft.rfft(x, n_fft, axis=0)
    kernels = np.fft.rfft(basis, n_fft, axis=1)
    return np.array(
        [np.fft.irfft(spectra * k[:, None], n_fft, axis=0)[at] for k in kernels]
    )


def _ridge(
    x: NDArray, y: NDArray, group: NDArray, own: NDArray | None
) -> NDArray[np.float64]:
    """Ridge regression with the penalty that is best for groups left out.

    With `own`, each column of `y` is regressed on its own columns of `x` first, and
    what is left on all of them.
    """
    names = np.unique(group)
    grams = [x[group == g].T @ x[group == g] for g in names]
    crosses = [x[group == g].T @ y[group == g] for g in names]
    gram, cross = sum(grams), sum(crosses)
    alphas = np.trace(gram) / len(gram) * np.logspace(-3, 3, 13)
    pairs = list(zip(grams, crosses, strict=True))

    def best(solve) -> float:
        errors = [
            # the squared error without the part that is the same for all
            sum(
                np.sum(w * (g @ w)) - 2 * np.sum(w * c)
                for g, c in pairs
                for w in [solve(gram - g, cross - c, alpha)]
            )
            for alpha in alphas
        ]
        return float(alphas[int(np.argmin(errors))])

    if own is None:

        def first(gram: NDArray, cross: NDArray) -> NDArray:
            return np.zeros_like(cross)
    else:
        penalty = best(lambda g, c, alpha: _own_ridge(g, c, own, alpha))

        def first(gram: NDArray, cross: NDArray) -> NDArray:
            return _own_ridge(gram, cross, own, penalty)

    def both(gram: NDArray, cross: NDArray, alpha: float) -> NDArray:
        w = first(gram, cross)
        full = gram + alpha * np.eye(len(gram))
        return w + np.linalg.solve(full, cross - gram @ w)

    return both(gram, cross, best(both))


def _own_ridge(
    gram: NDArray, cross: NDArray, own: NDArray, alpha: float
) -> NDArray[np.float64]:
    """Regress each column on those that are its own."""
    out = np.zeros_like(cross)
    for column in range(cross.shape[1]):
        at = np.flatnonzero(own[:, column])
        square = gram[np.ix_(at, at)] + alpha * np.eye(len(at))
        out[at, column] = np.linalg.solve(square, cross[at, column])
    return out


# -- networks --------------------------------------------------------------------------
class NetworkDesign:
    """The part of a design that a network keeps."""

    def __init__(self, network: LatentSourceNetwork) -> None:
        self.mean, self.scale, self.reduce = (
            getattr(network, k).cpu().double().numpy()
            for k in ("mean", "scale", "reduce")
        )


def make_network(
    config: LatentSourceConfig,
    design: LaggedDesign,
    kernel: NDArray,
    maps: NDArray,
    rng: np.random.Generator,
) -> LatentSourceNetwork:
    """Make a network that is the linear model.

    Parameters
    ----------
    config : LatentSourceConfig
        Its sizes.
    design : LaggedDesign
        Which standardises and projects features.
    kernel, maps : array
        The linear model, see `LinearStart`.
    rng : numpy.random.Generator
        Draws the start of the transformer.

    Returns
    -------
    network : LatentSourceNetwork
        The network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        network = LatentSourceNetwork(config)
    with torch.no_grad():
        for name, value in (
            ("mean", design.mean),
            ("scale", design.scale),
            ("reduce", design.reduce),
            ("kernel", kernel),
            ("maps", maps),
        ):
            getattr(network, name).copy_(torch.as_tensor(value, dtype=torch.float32))
    return network
