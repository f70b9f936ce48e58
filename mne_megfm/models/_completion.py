"""Hidden parts of a whole recording, predicted by network, field and covariances.

What each of them is worth differs from one recording to the next, and with what is
hidden. Both are known: part of what is visible is hidden as well, predicted, and
compared with the truth.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ._interpolation import (
    GaussianComponents,
    covariance_interpolation,
    field_estimates,
    fit_components,
    wiener_interpolation,
)
from ._signal_reconstructor import FILL_REGULARIZATIONS
from .backbone import Reconstructor, check_reconstructs
from .windows import from_patches, sample_mask, to_patches, valid_patches

#: What is stacked.
PARTS = ("network", "field", "covariance", "wiener")

# windows that covariances and weights come from: at most so many, in so long runs
_MOST_WINDOWS, _RUN = 64, 8
# visible tokens are hidden in so many windows and more, in so many rounds at most
_COMPARED, _MOST_ROUNDS = 12, 8
# of the visible tokens: where a mask drawn again hides more of them, so many are hidden
_MOST_HIDDEN, _HIDDEN = 1 / 3, 1 / 5
# weights that stacking is drawn towards, and how far in a single window
_PRIOR = {"network": 0.15, "field": 0.1, "covariance": 0.35, "wiener": 0.4}
_RIDGE = 0.1
# more is hidden to find weights than in the end, which makes predictions too small
_LARGEST_SUM = 1.1


@dataclass(frozen=True, eq=False)
class Completed:
    """Predictions of what is hidden in the windows of a recording.

    Parameters
    ----------
    model : Tensor, shape (n, n_sensors, n_times)
        Windows in tesla, with the stacked prediction where hidden.
    parts : dict of str to Tensor
        The same, by each of `PARTS` alone.
    weights : dict of str to float
        Weight of each of them.
    """

    model: Tensor
    parts: dict[str, Tensor]
    weights: dict[str, float]


def complete_recording(
    model: Reconstructor,
    windows: Tensor,
    mask: Tensor,
    draw: Callable[[torch.Generator], Tensor],
    *,
    n_valid: Tensor | None = None,
    starts: Tensor | None = None,
    seed: int = 0,
    batch_size: int = 64,
) -> Completed:
    """Predict what is hidden in the windows of a recording.

    Stacks [1]_ four predictions: by the network; by the minimum-norm field; by the
    recording's covariance over sensors; and by Wiener interpolation, see
    :func:`~mne_megfm.models.wiener_interpolation`. Covariances come from what is
    visible. For the weights, masks are drawn once more and visible tokens that they
    hide are predicted from the others, with covariances that do not know them either.
    One set of weights holds for the recording, see :func:`stacked_weights`: what adds
    nothing to the others there has a weight near 0.

    Parameters
    ----------
    model : Reconstructor
        The model.
    windows : Tensor, shape (n, n_sensors, n_times)
        All windows of a recording on the canonical array, in tesla, of mean 0.
    mask : Tensor of bool, shape (n, n_regions, n_patches)
        Tokens to hide and predict. Values there are not looked at.
    draw : callable
        ``draw(generator)`` draws masks of the same kind for all windows.
    n_valid : Tensor of int, shape (n,), optional
        Recorded samples of each window; all by default.
    starts : Tensor of int, shape (n,), optional
        First sample of each window on the recording's time line; None if windows have
        nothing to do with each other. Of windows that overlap, nothing is learnt from
        what any of them hides.
    seed : int
        Seed of the masks that weights are found with.
    batch_size : int
        Windows that the network is given at a time.

    Returns
    -------
    completed : Completed
        Predictions and their weights.

    References
    ----------
    .. [1] Breiman (1996), "Stacked regressions", Machine Learning 24, section 2.
    """
    check_reconstructs(model)
    config = model.config
    if n_valid is None:
        n_valid = torch.full((len(windows),), config.n_times, device=windows.device)
    recording = _Recording(model, windows, n_valid, starts, batch_size)
    some = recording.some(_subset(len(windows)))
    hidden = mask | ~valid_patches(n_valid, config)[:, None]
    kept = recording.spread(hidden)[some.index]
    level = some.best_field(kept)
    weights = some.stacking_weights(kept, draw, level, seed)
    parts = recording.predict(hidden, level, some.fit(kept))
    at = sample_mask(mask, n_valid, config)

    def to_tesla(patches: Tensor) -> Tensor:
        signal = from_patches(patches, config).to(windows.dtype) * config.scale
        return torch.where(at, signal, windows)

    stacked = torch.tensordot(weights.to(parts), parts, 1)
    return Completed(
        to_tesla(stacked),
        {name: to_tesla(part) for name, part in zip(PARTS, parts, strict=True)},
        dict(zip(PARTS, weights.tolist(), strict=True)),
    )


def _subset(n: int) -> Tensor:
    """Choose windows to learn from: all, or runs spread over the recording."""
    if n <= _MOST_WINDOWS:
        return torch.arange(n)
    first = torch.linspace(0, n - _RUN, _MOST_WINDOWS // _RUN).round().long()
    return (first[:, None] + torch.arange(_RUN)).flatten()


class _Recording:
    """Windows of a recording, and what predicts hidden parts of them."""

    def __init__(
        self,
        model: Reconstructor,
        windows: Tensor,
        n_valid: Tensor,
        starts: Tensor | None,
        batch_size: int,
    ) -> None:
        self.model, self.windows, self.n_valid = model, windows, n_valid
        self.starts, self.batch_size = starts, batch_size
        self.index = torch.arange(len(windows))
        config = model.config
        self.patches = to_patches(windows / config.scale, config)
        patch = torch.arange(1, config.n_patches + 1, device=windows.device)
        # a patch that was recorded in part ends with zeros, which are no signal
        self.whole = (patch * config.patch_length <= n_valid[:, None])[:, None]

    def some(self, index: Tensor) -> _Recording:
        """Take some of the windows."""
        starts = None if self.starts is None else self.starts[index]
        some = _Recording(
            self.model,
            self.windows[index],
            self.n_valid[index],
            starts,
            self.batch_size,
        )
        some.index = index
        return some

    def spread(self, hidden: Tensor) -> Tensor:
        """Hide tokens in each window that overlap with hidden ones of another."""
        config, starts = self.model.config, self.starts
        if starts is None or len(starts) < 2:
            return hidden
        if int(starts.sort().values.diff().min()) >= config.n_times:
            return hidden
        first = starts - starts.min()
        size = int(first.max()) + config.n_times
        line = torch.zeros((config.n_regions, size), dtype=torch.bool)
        samples = hidden.cpu().repeat_interleave(config.patch_length, 2)
        for start, gone in zip(first.tolist(), samples, strict=True):
            line[:, start : start + config.n_times] |= gone
        shape = (config.n_patches, config.patch_length)
        parts = [
            line[:, start : start + config.n_times].unflatten(1, shape).any(2)
            for start in first.tolist()
        ]
        return torch.stack(parts).to(hidden.device)

    def fit(self, hidden: Tensor) -> GaussianComponents:
        """Learn covariances from what is visible."""
        return fit_components(
            self.patches, hidden | ~self.whole, self.model.kernel, self.starts
        )

    def fields(self, hidden: Tensor, values: tuple[float, ...]) -> Tensor:
        """Predict each region by the field of the others."""
        visible = torch.where(hidden[..., None, None], 0.0, self.patches)
        return field_estimates(visible, hidden, self.model.kernel, values)[0]

    def best_field(self, hidden: Tensor) -> float:
        """Choose the regularisation that predicts visible regions best."""
        partly = (~hidden) & hidden.any(1, keepdim=True)
        at = partly[..., None, None]
        errors = [
            float(torch.where(at, field - self.patches, 0.0).double().square().sum())
            for field in self.fields(hidden, FILL_REGULARIZATIONS)
        ]
        return FILL_REGULARIZATIONS[int(np.argmin(errors))]

    def network(self, hidden: Tensor) -> Tensor:
        """Predict hidden patches by the network alone."""
        config, parts = self.model.config, []
        for first in range(0, len(self.windows), self.batch_size):
            at = slice(first, first + self.batch_size)
            scaled, gone = self.model.scale(
                self.windows[at], self.n_valid[at], hidden[at]
            )
            patches = to_patches(scaled.windows, config)
            predicted = self.model.predict_patches(patches, gone)
            tesla = scaled.to_tesla(from_patches(predicted, config))
            parts.append(to_patches(tesla / config.scale, config))
        return torch.cat(parts)

    def predict(
        self, hidden: Tensor, level: float, components: GaussianComponents
    ) -> Tensor:
        """Predict hidden patches by all of `PARTS`, at the network's scale."""
        unseen = hidden | ~self.whole
        parts = [
            self.network(hidden),
            self.fields(hidden, (level,))[0],
            covariance_interpolation(self.patches, unseen, components.covariance),
            wiener_interpolation(self.patches, unseen, components),
        ]
        return torch.stack(parts) * hidden[..., None, None]

    def stacking_weights(
        self, hidden: Tensor, draw: Callable, level: float, seed: int
    ) -> Tensor:
        """Find weights by hiding visible tokens."""
        generator = torch.Generator().manual_seed(seed)
        n = len(hidden)
        n_rounds = min(-(-_COMPARED // n), _MOST_ROUNDS)
        gram = np.zeros((len(PARTS), len(PARTS)))
        product, power = np.zeros(len(PARTS)), 0.0
        for _ in range(n_rounds):
            more = draw(generator)[self.index].to(hidden.device) & ~hidden
            if more.sum() > _MOST_HIDDEN * (~hidden).sum():
                share = torch.rand(more.shape, generator=generator).to(hidden.device)
                more &= share < _HIDDEN
            more = self.spread(more) & ~hidden
            if not bool(more.any()):
                continue
            gone = hidden | more
            parts = self.predict(gone, level, self.fit(gone))
            flat = parts[:, more].double().flatten(1)
            truth = self.patches[more].double().flatten()
            gram += (flat @ flat.T).cpu().numpy()
            product += (flat @ truth).cpu().numpy()
            power += float(truth @ truth)
        prior = np.array([_PRIOR[name] for name in PARTS])
        partly = bool((hidden.any(1) & ~hidden.all(1)).any())
        if not partly:  # whole moments are hidden: nothing at the same time is known
            prior[1:3] = 0.0
            prior /= prior.sum()
        ridge = _RIDGE / n**0.5
        weights = stacked_weights(gram, product, power, prior, ridge)
        return torch.from_numpy(weights)


def stacked_weights(
    gram: np.ndarray,
    product: np.ndarray,
    power: float,
    prior: np.ndarray,
    ridge: float,
) -> np.ndarray:
    """Find weights of predictions that come closest to the truth.

    Weights w minimise ``|t - P w|^2 + ridge * sum d (w - w0)^2`` over w >= 0 with a
    sum of at most 1.1, with the columns of P the predictions of a truth t and d the
    sums of their squares: stacked regressions with weights that are not
    negative [1]_, drawn towards others [2]_.

    Parameters
    ----------
    gram : ndarray, shape (k, k)
        ``P' P``.
    product : ndarray, shape (k,)
        ``P' t``.
    power : float
        ``t' t``.
    prior : ndarray, shape (k,)
        The weights w0; taken as they are where there is nothing to compare.
    ridge : float
        How far weights are drawn towards the prior.

    Returns
    -------
    weights : ndarray, shape (k,)
        The weights.

    References
    ----------
    .. [1] Breiman (1996), "Stacked regressions", Machine Learning 24, section 2.
    .. [2] Hoerl & Kennard (1970), "Ridge regression: biased estimation for
       nonorthogonal problems", Technometrics 12, section 6.

    Examples
    --------
    >>> import numpy as np
    >>> from mne_megfm.models._completion import stacked_weights
    >>> P, prior = np.array([[1.0, 1.0], [1.0, -1.0], [0.0, 1.0]]), np.array([0.5, 0.5])
    >>> stacked_weights(P.T @ P, P.T @ P @ [0.9, 0.0], 1.0, prior, 0.0).round(6)
    array([0.9, 0. ])
    """
    live = gram.diagonal() > 1e-12 * power
    weights = np.where(gram.diagonal() > 0, 0.0, prior) if power > 0 else prior.copy()
    if not live.any():
        return weights
    size = np.diag(gram.diagonal()[live])
    inner = gram[np.ix_(live, live)] + (ridge + 1e-9) * size
    target = product[live] + ridge * size @ prior[live]
    weights[live] = _bounded(inner, target)
    return weights


def _bounded(gram: np.ndarray, product: np.ndarray) -> np.ndarray:
    """Minimise ``w' gram w - 2 w' product`` over w >= 0 of a limited sum.

    A few weights: the best of all sets of weights above 0, each solved exactly.
    """
    best, least = np.zeros(len(gram)), 0.0
    for chosen in itertools.product((False, True), repeat=len(gram)):
        at = np.flatnonzero(chosen)
        if not len(at):
            continue
        inner = gram[np.ix_(at, at)]
        found, ones = np.linalg.solve(
            inner, np.stack([product[at], np.ones(len(at))], 1)
        ).T
        if found.sum() > _LARGEST_SUM:
            found = found - ones * (found.sum() - _LARGEST_SUM) / ones.sum()
        value = found @ inner @ found - 2 * found @ product[at]
        if (found >= 0).all() and value < least:
            best, least = np.zeros(len(gram)), value
            best[at] = found
    return best
