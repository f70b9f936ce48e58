"""What a map would be by chance: a band for each point, and one for the largest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

# a tie by rounding is a tie
_TIE = 1e-9
# a spread of this share of the largest value is rounding of float32
_FLAT = 1e-7


@dataclass(frozen=True, eq=False)
class NullDistribution:
    """A map beside maps of the same procedure without an effect.

    Attributes
    ----------
    observed : ndarray
        The map, of any shape.
    null : ndarray, shape (n_permutations, ...)
        Maps by the same procedure with permuted labels, or of surrogate data.
    maxima : ndarray, shape (1 + n_permutations,)
        Largest ``z`` (absolute, if two-sided) of the observed map, and of each of the
        null maps, over all points of the family, which can have more maps than this.
    family : str
        What the largest value is taken over, in words.
    alpha : float
        Level of the thresholds.
    two_sided : bool
        Whether values below chance stand out, too.

    Notes
    -----
    Each point is standardised by mean and standard deviation over all maps, the
    observed one among them, so that points of different variance or unit count alike.
    The p value of a point is the share of all maps whose largest absolute value
    reaches it [1]_: it controls the family-wise error over all points. For
    exchangeable maps the test is exact.

    References
    ----------
    .. [1] Nichols & Holmes (2002), "Nonparametric permutation tests for functional
       neuroimaging: a primer with examples", Human Brain Mapping 15, 1-25.

    Examples
    --------
    Results of `attribute`, `occlude`, `state_importance` and `attention_test` have
    one as ``null``.
    """

    observed: NDArray[np.floating]
    null: NDArray[np.floating]
    maxima: NDArray[np.float64]
    family: str
    alpha: float = 0.05
    two_sided: bool = True

    @cached_property
    def _moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return _moments(self.observed, self.null)

    @property
    def n_permutations(self) -> int:
        """Number of null maps."""
        return len(self.null)

    @cached_property
    def size(self) -> NDArray[np.float64]:
        """What is compared with `threshold`: ``abs(z)``, or ``z`` if one-sided."""
        return np.abs(self.z) if self.two_sided else self.z

    @cached_property
    def z(self) -> NDArray[np.float64]:
        """The observed map, standardised; shape as the map."""
        return _standardise(self.observed, *self._moments)

    @cached_property
    def threshold(self) -> float:
        """``size`` above which a point stands out, over the whole family."""
        n_maps = len(self.maxima)
        # of all maps, at most a share of alpha lies above
        place = int(np.ceil((1.0 - self.alpha) * n_maps)) - 1
        return float(np.sort(self.maxima)[place])

    @cached_property
    def p_values(self) -> NDArray[np.float64]:
        """Family-wise p value of each point; shape as the map."""
        ordered = np.sort(self.maxima)
        below = np.searchsorted(ordered, self.size * (1.0 - _TIE), "left")
        return (len(ordered) - below) / len(ordered)

    @cached_property
    def significant(self) -> NDArray[np.bool_]:
        """Where the map exceeds the family-wise threshold; shape as the map."""
        # never by the standard of a point that does not vary
        return (self.p_values <= self.alpha) & (self._moments[1] > 0)

    @property
    def p_value(self) -> float:
        """The smallest p value of the family, over all of its maps."""
        reached = self.maxima >= self.maxima[0] * (1.0 - _TIE)
        return float(reached.mean())

    @cached_property
    def band(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Family-wise band (low, high); shapes as the map."""
        centre, spread = self._moments
        return centre - self.threshold * spread, centre + self.threshold * spread

    @cached_property
    def pointwise_band(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Band (low, high) of each point by itself, without correction."""
        everything = np.concatenate([self.observed[None], self.null])
        levels = self.alpha / 2, 1.0 - self.alpha / 2
        low, high = np.quantile(everything, levels, axis=0)
        return low, high

    def __repr__(self) -> str:
        return (
            f"<NullDistribution | {self.n_permutations} maps, {self.family}: smallest "
            f"p {self.p_value:.3g}, {self.significant.sum()} of "
            f"{self.significant.size} points at p <= {self.alpha:g}>"
        )


def _moments(
    observed: NDArray, null: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    everything = np.concatenate([observed[None], null]).astype(np.float64)
    centre, spread = everything.mean(0), everything.std(0)
    spread[spread <= _FLAT * np.abs(everything).max(0)] = 0.0
    return centre, spread


def _standardise(
    maps: NDArray, centre: NDArray[np.float64], spread: NDArray[np.float64]
) -> NDArray[np.float64]:
    out = np.zeros(np.shape(maps))
    return np.divide(maps - centre, spread, out=out, where=spread > 0)


def null_distributions(
    maps: Mapping[str, NDArray],
    family: str,
    alpha: float,
    *,
    two_sided: bool = True,
) -> dict[str, NullDistribution]:
    """Test maps together, by the largest value over all of them.

    Parameters
    ----------
    maps : dict of ndarray, shape (1 + n_permutations, ...)
        Observed map first, then those without an effect.
    family : str
        What the largest value is taken over, in words.
    alpha : float
        Level of the thresholds.
    two_sided : bool
        Whether values below chance stand out, too.

    Returns
    -------
    nulls : dict of NullDistribution
        One for each map, with the same maxima.
    """
    largest = []
    for values in maps.values():
        centre, spread = _moments(values[0], values[1:])
        z = _standardise(values, centre, spread)
        z = np.abs(z) if two_sided else z
        largest.append(z.reshape(len(values), -1).max(1, initial=0.0))
    maxima = np.max(largest, axis=0)
    return {
        name: NullDistribution(values[0], values[1:], maxima, family, alpha, two_sided)
        for name, values in maps.items()
    }


def check_permutations(n_permutations: int, alpha: float) -> int:
    """Check that so many permutations can reach a level at all."""
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"Expected alpha between 0 and 1, got {alpha!r}; choose 0.05.")
    least = int(np.ceil(1.0 / alpha - 1e-9)) - 1
    if n_permutations < least:
        raise ValueError(
            f"Expected at least {least} permutations for alpha={alpha:g}, since p can "
            f"be no smaller than 1 / (1 + n_permutations), got {n_permutations}; "
            "choose more."
        )
    return int(n_permutations)
