"""Covariance matrices of participants in tangent space."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from numbers import Integral

import numpy as np
from numpy.typing import NDArray
from pyriemann.estimation import Covariances
from pyriemann.tangentspace import TangentSpace
from sklearn.utils._param_validation import Interval

from ..sensors import canonical_kernel
from ._description import ParticipantDescriber
from ._signals import Trials

N_SENSORS = 192  # of the canonical array
_PICOTESLA = 1e-12


@lru_cache
def leading_fields(rank: int) -> NDArray[np.float64]:
    """Find the spatial patterns that sources in the head can make best.

    Leading eigenvectors of the Gram matrix of the canonical lead fields: they depend
    on no data.
    """
    _, vectors = np.linalg.eigh(canonical_kernel())
    return np.ascontiguousarray(vectors[:, : -rank - 1 : -1].T)


class CovarianceTangent(ParticipantDescriber):
    """Covariance between virtual sensors, in the tangent space of their mean.

    Parameters
    ----------
    rank : int
        Spatial patterns that the canonical sensors are reduced to. Covariances of
        recordings with fewer good channels than that would be singular.
    metric : str
        Metric of the tangent space, as ``"riemann"`` or ``"logeuclid"``, see pyRiemann.
    window : float
        Length of a row of a Raw (s).

    Attributes
    ----------
    states_ : list of str
        States of the training participants, sorted.
    fill_ : dict
        For each state the mean covariance of the training participants: the reference
        of the tangent space, and what stands for a missing state.

    Notes
    -----
    Each trial or window is taken without its mean. The covariance over all samples
    of a state is shrunk by an oracle-approximating amount (pyRiemann's ``"oas"``), and
    vectors of the tangent space are computed as in [1]_.

    References
    ----------
    .. [1] Barachant A, Bonnet S, Congedo M, Jutten C (2012). Multiclass brain-computer
       interface classification by Riemannian geometry. IEEE Trans Biomed Eng
       59:920-928. doi:10.1109/TBME.2011.2172210

    Examples
    --------
    >>> from mne_megfm import simulate_cohort
    >>> from mne_megfm.evaluation import CovarianceTangent
    >>> cohort = simulate_cohort(2, states=("rest",), n_epochs=3, random_state=0)
    >>> X = [participant.recordings for participant in cohort.participants]
    >>> CovarianceTangent(rank=4).fit_transform(X).shape  # 4 x 5 / 2, 1 for missing
    (2, 11)
    """

    _parameter_constraints: dict = {
        "rank": [Interval(Integral, 1, N_SENSORS, closed="both")],
        "metric": [str],
        **ParticipantDescriber._parameter_constraints,
    }

    def __init__(
        self, rank: int = 24, *, metric: str = "riemann", window: float = 1.0
    ) -> None:
        self.rank = rank
        self.metric = metric
        self.window = window

    def _describe_state(self, trials: Trials) -> NDArray[np.floating]:
        data = leading_fields(self.rank) @ (trials.data / _PICOTESLA)
        data = data - data.mean(-1, keepdims=True)
        joined = np.concatenate(list(data), axis=-1)
        return Covariances("oas").transform(joined[None])[0].ravel()

    def _fit_state(
        self, state: str, known: list[NDArray[np.floating]]
    ) -> NDArray[np.floating]:
        tangent = TangentSpace(metric=self.metric).fit(self._matrices(known))
        return tangent.reference_.ravel()

    def _columns(
        self, state: str, values: NDArray[np.floating]
    ) -> NDArray[np.floating]:
        # the mean of one matrix is that matrix
        reference = self._matrices([self.fill_[state]])
        tangent = TangentSpace(metric=self.metric).fit(reference)
        return tangent.transform(self._matrices(values))

    def _names(self, n_values: int) -> list[str]:
        rows, columns = np.triu_indices(self.rank)
        return [f"pattern{i:02d}_pattern{j:02d}" for i, j in zip(rows, columns)]  # noqa: B905

    def _matrices(self, values: Sequence[NDArray]) -> NDArray[np.floating]:
        return np.reshape(values, (len(values), self.rank, self.rank))
