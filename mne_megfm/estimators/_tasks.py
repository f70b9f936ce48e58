"""What fine-tuning has to know of labels, and what of numbers."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold
from torch import Tensor

from ._calibration import as_logits, fit_temperature
from ._heads import LogisticHead, RidgeHead, balance

Split = tuple[NDArray[np.int_], NDArray[np.int_]]


class ClassificationTask:
    """Labels: one output a class, cross entropy, one temperature.

    Parameters
    ----------
    classes : ndarray, shape (n_classes,)
        The labels.
    class_weight : {"balanced"} | dict | None
        Weights of the classes.
    seed : int
        Seed of splits.
    """

    def __init__(
        self, classes: NDArray, class_weight: str | dict | None, seed: int
    ) -> None:
        self.classes = classes
        self.class_weight = class_weight
        self.seed = seed
        self.temperature = 1.0

    def targets(self, y: NDArray, weight: NDArray) -> tuple[Tensor, Tensor]:
        """Give class numbers, and weights with a mean of 1."""
        codes = np.searchsorted(self.classes, y)
        weight = balance(codes, y, weight, self.class_weight)
        weight = torch.as_tensor(weight / weight.mean(), dtype=torch.float32)
        return torch.as_tensor(codes), weight

    def split(self, y: NDArray, groups: NDArray, fraction: float) -> Split:
        """Hold out groups, with all classes on both sides."""
        least = min(len(np.unique(groups[y == label])) for label in self.classes)
        n_folds = min(round(1 / fraction), least)
        if least >= 3:
            splitter = StratifiedGroupKFold(
                n_folds, shuffle=True, random_state=self.seed
            )
            for train, valid in splitter.split(y, y, groups):
                sides = [len(np.unique(y[side])) for side in (train, valid)]
                if min(sides) == len(self.classes):
                    return train, valid
        raise ValueError(
            "Expected at least 3 participants of each class, to train on some and stop "
            f"by others, got {least} of one; add participants, or use strategy='probe'."
        )

    def start(
        self, X: NDArray, y: NDArray, weight: NDArray, groups: NDArray
    ) -> tuple[NDArray, NDArray]:
        """Fit the linear head that training starts from."""
        head = LogisticHead(self.class_weight, random_state=self.seed)
        head.fit(X, y, weight, groups)
        if len(self.classes) == 2:
            both = np.array([-0.5, 0.5])
            return both[:, None] * head.coef_, both * head.intercept_
        return head.coef_, head.intercept_

    def finish(self, outputs: NDArray, y: NDArray, weight: NDArray) -> None:
        """Calibrate by outputs for the samples held out, those with weight."""
        used = weight > 0
        codes, weights = self.targets(y[used], weight[used])
        self.temperature, _ = fit_temperature(
            outputs[used], codes.numpy(), weights.numpy()
        )

    def decision_function(self, outputs: NDArray) -> NDArray[np.float64]:
        """Turn outputs into decisions."""
        logits = outputs / self.temperature
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_proba(self, outputs: NDArray) -> NDArray[np.float64]:
        """Turn outputs into probabilities."""
        return softmax(as_logits(self.decision_function(outputs)), axis=1)

    def predict(self, outputs: NDArray) -> NDArray:
        """Turn outputs into labels."""
        return self.classes[outputs.argmax(1)]


class RegressionTask:
    """Numbers: one output, squared error.

    Parameters
    ----------
    seed : int
        Seed of splits.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.mean, self.scale = 0.0, 1.0

    def targets(self, y: NDArray, weight: NDArray) -> tuple[Tensor, Tensor]:
        """Give scaled numbers, and weights with a mean of 1."""
        self.mean, self.scale = float(y.mean()), float(y.std()) or 1.0
        scaled = (y - self.mean) / self.scale
        weight = torch.as_tensor(weight / weight.mean(), dtype=torch.float32)
        return torch.as_tensor(scaled, dtype=torch.float32), weight

    def split(self, y: NDArray, groups: NDArray, fraction: float) -> Split:
        """Hold out groups."""
        n_groups = len(np.unique(groups))
        if n_groups < 4:
            raise ValueError(
                "Expected at least 4 participants, to train on some and stop by "
                f"others, got {n_groups}; add participants, or use strategy='probe'."
            )
        n_valid = max(1, round(fraction * n_groups))
        splitter = GroupShuffleSplit(1, test_size=n_valid, random_state=self.seed)
        return next(splitter.split(y, groups=groups))

    def start(
        self, X: NDArray, y: NDArray, weight: NDArray, groups: NDArray
    ) -> tuple[NDArray, NDArray]:
        """Fit the linear head that training starts from."""
        head = RidgeHead(random_state=self.seed)
        head.fit(X, (y - self.mean) / self.scale, weight, groups)
        return head.coef_, head.intercept_

    def finish(self, outputs: NDArray, y: NDArray, weight: NDArray) -> None:
        """Do nothing: numbers need no calibration."""

    def predict(self, outputs: NDArray) -> NDArray[np.float64]:
        """Turn outputs into numbers."""
        return outputs[:, 0] * self.scale + self.mean
