"""Banded ridge regression with lags, person by person: what an encoder has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from mne.utils import logger
from numpy.typing import NDArray
from scipy import signal
from sklearn.base import BaseEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold
from sklearn.utils.validation import check_is_fitted

from ..utils.validation import use_verbose
from ._recordings import (
    Person,
    check_stimulus,
    keep_modalities,
    prepare_people,
)
from ._scores import correlation, correlation_table

# penalties that are tried, relative to the variance of the features
_ALPHAS = np.logspace(0, 6, 7)
# lags of features in fMRI, in s (as Huth et al. 2016, Nature 532:453-458)
_SLOW_LAGS = (2.0, 4.0, 6.0, 8.0)


class BandedRidge(BaseEstimator):
    """Ridge regression from lagged features to each sensor or fMRI source of a person.

    Each group of features has its own penalty [1]_, found by cross-validation over
    stories.

    Parameters
    ----------
    sfreq : float
        Rate of the stimulus and of the MEG in Hz.
    lags : float
        Largest lag for MEG in s. For fMRI, means of the features over a scan are used,
        2, 4, 6 and 8 s before it.
    lag_step : float
        Distance of the peaks of the triangles that responses are made of, in s: the
        same as in ``LatentSourceEncoder``.
    bands : dict of slice | None
        Columns of each group of features; None is one group.
    solver : 'himalaya' | 'sklearn' | None
        With himalaya's ``GroupRidgeCV``, which searches penalties of groups at
        random, or scikit-learn's ``Ridge`` with one penalty. None takes himalaya if
        it is installed.
    n_iter : int
        Combinations of penalties that himalaya tries.
    modalities : tuple of str
        What is used of ``'meg'`` and ``'fmri'``.
    random_state : int | None
        Seed of the search.
    verbose : bool | str | int | None
        Log level.

    Attributes
    ----------
    weights_ : dict of array
        For each person and modality, shape (n_columns, n_outputs).

    References
    ----------
    .. [1] Nunez-Elizalde et al. (2019), "Voxelwise encoding models with non-spherical
       multivariate normal priors", NeuroImage 197:482-492.

    Examples
    --------
    >>> from mne_megfm.encoding import BandedRidge
    >>> ridge = BandedRidge(50.0, solver="sklearn")
    >>> ridge.fit(stimulus, recordings)  # doctest: +SKIP
    """

    def __init__(
        self,
        sfreq: float = 50.0,
        *,
        lags: float = 0.7,
        lag_step: float = 0.04,
        bands: Mapping[str, slice] | None = None,
        solver: str | None = None,
        n_iter: int = 10,
        modalities: tuple[str, ...] = ("meg", "fmri"),
        random_state: int | None = 0,
        verbose: bool | str | int | None = None,
    ) -> None:
        self.sfreq = sfreq
        self.lags = lags
        self.lag_step = lag_step
        self.bands = bands
        self.solver = solver
        self.n_iter = n_iter
        self.modalities = modalities
        self.random_state = random_state
        self.verbose = verbose

    @use_verbose
    def fit(self, stimulus: Any, recordings: Mapping[str, Mapping[str, Any]]) -> Any:
        """Fit each person and modality by itself.

        Parameters
        ----------
        stimulus : dict of array | array
            As for ``LatentSourceEncoder.fit``.
        recordings : dict of dict
            As for ``LatentSourceEncoder.fit``.

        Returns
        -------
        self : BandedRidge
            Fitted.

        Raises
        ------
        ValueError
            If recordings and stimulus do not fit, or there is one story alone.
        ImportError
            If himalaya is asked for and not installed.
        """
        solve = self._solver()
        stimulus, people = self._prepare(stimulus, recordings)
        together = np.vstack(list(stimulus.values()))
        self.mean_, scale = together.mean(axis=0), together.std(axis=0)
        self.scale_ = np.where(scale > 0, scale, 1.0)
        self.weights_, self.n_features_in_ = {}, together.shape[1]
        for person in people:
            for modality, runs in (("meg", person.meg), ("fmri", person.fmri)):
                if not runs:
                    continue
                logger.info("Ridge regression for %s of %s", modality, person.name)
                x, y, story = [], [], []
                for i, (name, run) in enumerate(runs.items()):
                    design = self._design(stimulus[name], person, modality, name)
                    good = run.good if modality == "meg" else slice(None)
                    x.append(design[good] - design[good].mean(axis=0))
                    y.append(run.data[good])
                    story.append(np.full(len(y[-1]), i))
                x, y, story = np.vstack(x), np.vstack(y), np.concatenate(story)
                if len(runs) < 2:
                    story = np.arange(len(story)) * 4 // len(story)
                # sensors of several kinds: units must not matter
                size = np.maximum(y.std(axis=0), np.finfo(float).tiny)
                weights = solve(x, y / size, story) * size
                self.weights_[person.name, modality] = weights
        return self

    def evaluate(
        self, stimulus: Any, recordings: Mapping[str, Mapping[str, Any]]
    ) -> pd.DataFrame:
        """Correlate predictions with recordings at each sensor and source.

        Parameters
        ----------
        stimulus : dict of array | array
            As for `fit`.
        recordings : dict of dict
            As for `fit`, of people of training.

        Returns
        -------
        table : DataFrame
            As ``LatentSourceEncoder.evaluate`` gives.
        """
        check_is_fitted(self)
        stimulus, people = self._prepare(stimulus, recordings)

        def predict(person: Person, modality: str, story: str) -> NDArray:
            x = self._design(stimulus[story], person, modality, story)
            return x @ self.weights_[person.name, modality]

        return correlation_table(people, predict)

    def predict_meg(self, stimulus: Any, participant: str) -> NDArray[np.float64]:
        """Predict the MEG of a person.

        Parameters
        ----------
        stimulus : array of shape (n_times, n_features)
            Features of one story.
        participant : str
            A person of training with MEG.

        Returns
        -------
        predicted : array of shape (n_times, n_channels)
            In SI units, without a mean.
        """
        check_is_fitted(self)
        (features,) = check_stimulus(stimulus, self.n_features_in_).values()
        out = self._lagged(features) @ self.weights_[participant, "meg"]
        return out - out.mean(axis=0)

    def _prepare(self, stimulus, recordings):
        stimulus = check_stimulus(stimulus, getattr(self, "n_features_in_", None))
        given = keep_modalities(recordings, tuple(self.modalities))
        return stimulus, prepare_people(given, stimulus, self.sfreq, "fixed")

    def _design(self, features, person: Person, modality: str, story: str) -> NDArray:
        if modality == "meg":
            return self._lagged(features)
        x = (features - self.mean_) / self.scale_
        at = person.fmri[story].at
        width = max(1, int(round(person.tr * self.sfreq)))
        total = np.vstack([np.zeros(x.shape[1]), np.cumsum(x, axis=0)])
        out = []
        for lag in _SLOW_LAGS:
            last = np.clip(at - int(lag * self.sfreq) + width // 2, 0, len(x))
            first = np.clip(last - width, 0, len(x))
            out.append((total[last] - total[first]) / width)
        # columns of a feature follow one another, as with MEG
        slow = np.stack(out, axis=2).reshape(len(at), -1)
        return slow - slow.mean(axis=0)

    def _lagged(self, features: NDArray) -> NDArray[np.float64]:
        x = (features - self.mean_) / self.scale_
        lags = np.arange(max(1, int(round(self.lags * self.sfreq))))
        step = max(1, int(round(self.lag_step * self.sfreq)))
        peaks = lags[::step]
        basis = np.maximum(0.0, 1.0 - np.abs(lags - peaks[:, None]) / step)
        return signal.fftconvolve(x[:, :, None], basis.T[:, None], axes=0)[
            : len(x)
        ].reshape(len(x), -1)

    def _groups(self, n_columns: int) -> NDArray[np.int_]:
        """Give the number of the band of each column."""
        band = np.zeros(self.n_features_in_, dtype=int)
        for i, columns in enumerate((self.bands or {}).values()):
            band[columns] = i
        return np.repeat(band, n_columns // self.n_features_in_)

    def _solver(self):
        if self.solver not in (None, "himalaya", "sklearn"):
            raise ValueError(
                f"Expected solver 'himalaya', 'sklearn' or None, got {self.solver!r}."
            )
        if self.solver == "sklearn":
            return self._one_penalty
        try:
            import himalaya.ridge  # noqa: F401
        except ImportError as error:
            if self.solver == "himalaya":
                raise ImportError(
                    "Expected himalaya for solver='himalaya', got none; install "
                    "mne-megfm[encoding], or give solver='sklearn'."
                ) from error
            return self._one_penalty
        return self._banded

    def _banded(self, x: NDArray, y: NDArray, story: NDArray) -> NDArray:
        from himalaya.ridge import GroupRidgeCV

        x, y, story = compress_stories(x, y, story)
        folds = GroupKFold(min(3, len(np.unique(story))))
        model = GroupRidgeCV(
            groups=self._groups(x.shape[1]),
            cv=list(folds.split(x, groups=story)),
            random_state=self.random_state,
            solver_params={
                "n_iter": self.n_iter if len(self.bands or {}) > 1 else 1,
                "alphas": _ALPHAS,
                "progress_bar": False,
                "n_targets_batch": 500,
                "warn": False,
            },
        )
        return model.fit(x.astype(np.float32), y.astype(np.float32)).coef_

    def _one_penalty(self, x: NDArray, y: NDArray, story: NDArray) -> NDArray:
        folds = list(GroupKFold(min(3, len(np.unique(story)))).split(x, groups=story))
        scores = []
        for alpha in _ALPHAS:
            fits = []
            for train, test in folds:
                ridge = Ridge(alpha, fit_intercept=False).fit(x[train], y[train])
                fits.append(correlation(y[test], ridge.predict(x[test])))
            scores.append(np.mean(fits))
        best = _ALPHAS[int(np.argmax(scores))]
        return Ridge(best, fit_intercept=False).fit(x, y).coef_.T


def compress_stories(
    x: NDArray, y: NDArray, story: NDArray
) -> tuple[NDArray, NDArray, NDArray]:
    """Replace the samples of each story by as few as there are columns.

    With ``x = q r``, squared errors of any weights are those of ``r`` and ``q.T y``
    plus a constant, in training and in validation, as long as stories stay whole.

    Parameters
    ----------
    x : array of shape (n_samples, n_columns)
        Regressors.
    y : array of shape (n_samples, n_outputs)
        What they predict.
    story : array of int, shape (n_samples,)
        The story of each sample.

    Returns
    -------
    x, y, story : array
        With fewer samples.
    """
    parts = []
    for name in np.unique(story):
        inside = story == name
        q, r = np.linalg.qr(x[inside])
        parts.append((r, q.T @ y[inside], np.full(len(r), name)))
    return tuple(map(np.concatenate, zip(*parts, strict=True)))
