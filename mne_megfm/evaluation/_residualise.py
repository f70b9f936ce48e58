"""Features without what is linear in confounds."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def confound_encoder(confounds: pd.DataFrame) -> ColumnTransformer:
    """Make columns of numbers: scaled, with the mean for missing ones, and levels."""
    numbers = [name for name in confounds if confounds[name].dtype.kind == "f"]
    others = [name for name in confounds if name not in numbers]
    fill = SimpleImputer(keep_empty_features=True)
    levels = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_column_transformer(
        (make_pipeline(fill, StandardScaler()), numbers), (levels, others)
    )


class Residualiser:
    """What is linear in confounds, fitted on training participants.

    Parameters
    ----------
    features : ndarray, shape (n_train, n_features)
        Features of the training participants.
    confounds : DataFrame
        Their confounds.
    """

    def __init__(self, features: NDArray[np.floating], confounds: pd.DataFrame) -> None:
        self._encoder = confound_encoder(confounds).fit(confounds)
        columns = self._encoder.transform(confounds)
        self._line = LinearRegression().fit(columns, features)
        self._mean = np.mean(features, axis=0)

    def transform(
        self, features: NDArray[np.floating], confounds: pd.DataFrame
    ) -> NDArray[np.float64]:
        """Take out what confounds predict, other than the mean."""
        predicted = self._line.predict(self._encoder.transform(confounds))
        return features - (predicted - self._mean)
