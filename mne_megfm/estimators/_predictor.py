"""What the classifier and the regressor share: features, checks, head."""

from __future__ import annotations

import os
from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from ..models import ModelConfig
from ._labels import check_duplicates, check_groups, check_labels, check_weights
from ._transformer import MEGFMTransformer

# parameters that are those of the transformer under the same names
_OF_TRANSFORMER = (
    "weights",
    "unit",
    "pooling",
    "frontend",
    "backbone",
    "config",
    "window",
    "overlap",
    "reject_by_annotation",
    "batch_size",
    "device",
    "bf16",
)


class BaseMEGFMPredictor(BaseEstimator):
    """A head on what a masked-signal transformer makes of recordings."""

    _parameter_constraints: dict = {
        **{
            name: MEGFMTransformer._parameter_constraints[name]
            for name in _OF_TRANSFORMER
        },
        "strategy": [StrOptions({"probe"})],
        "head": [HasMethods("fit"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        weights: str | os.PathLike | None = "megfm-tiny",
        *,
        strategy: str = "probe",
        head: BaseEstimator | None = None,
        unit: str = "auto",
        pooling: str | Callable = "compact",
        frontend: str | Callable = "canonical",
        backbone: str = "masked-transformer",
        config: dict | ModelConfig | None = None,
        window: float = 1.0,
        overlap: float = 0.0,
        reject_by_annotation: bool = True,
        batch_size: int = 64,
        device: str = "cpu",
        bf16: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.weights = weights
        self.strategy = strategy
        self.head = head
        self.unit = unit
        self.pooling = pooling
        self.frontend = frontend
        self.backbone = backbone
        self.config = config
        self.window = window
        self.overlap = overlap
        self.reject_by_annotation = reject_by_annotation
        self.batch_size = batch_size
        self.device = device
        self.bf16 = bf16
        self.random_state = random_state

    # -- what subclasses say ------------------------------------------------
    def _check_targets(self, y: NDArray) -> NDArray:
        """Check labels or numbers, and keep what is to be known of them."""
        raise NotImplementedError

    def _make_head(self, seed: int) -> BaseEstimator:
        """Make the linear head of the probe."""
        raise NotImplementedError

    # -- fitting ------------------------------------------------------------
    def _fit(self, X: Any, y: Any, sample_weight: Any, groups: Any) -> None:
        # one draw each, so that a RandomState gives all parts the same seed
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        transformer = MEGFMTransformer(
            **{name: getattr(self, name) for name in _OF_TRANSFORMER},
            random_state=seed,
        )
        recordings = transformer._recordings(X)
        unit = transformer._settle_unit(recordings)
        whole = unit == "participant"
        n_samples = recordings.n_elements if whole else recordings.n_rows
        y = self._check_targets(check_labels(y, n_samples, unit))
        weight = check_weights(sample_weight, n_samples, unit)
        groups = check_groups(groups, n_samples, unit)
        if whole:
            check_duplicates(recordings, groups)
        features = transformer.fit_transform(recordings)
        self.transformer_ = transformer
        self.unit_ = transformer.unit_
        self._fit_head(features, y, weight, groups, seed)

    def _fit_head(
        self,
        features: NDArray[np.float32],
        y: NDArray,
        weight: NDArray[np.float64],
        groups: NDArray[np.int_],
        seed: int,
    ) -> None:
        head = self._make_head(seed) if self.head is None else clone(self.head)
        # a head of the user's own takes what it can
        given = {"sample_weight": weight, "groups": groups}
        given = {k: v for k, v in given.items() if has_fit_parameter(head, k)}
        self.head_ = head.fit(features, y, **given)

    def _features(self, X: Any) -> NDArray[np.float32]:
        check_is_fitted(self, "transformer_")
        return self.transformer_.transform(X)

    @property
    def training_(self) -> dict:
        """What the weights had seen before `fit`, from their checkpoint."""
        check_is_fitted(self, "transformer_")
        return self.transformer_.training_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.allow_nan = False
        return tags
