"""Refitted pipelines: held-out scores and null distributions of maps."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import mne
import numpy as np
from mne.utils import ProgressBar
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    check_cv,
)
from sklearn.pipeline import Pipeline

from ..estimators import MEGFMClassifier, MEGFMRegressor, MEGFMTransformer
from ..estimators.frozen import FrozenStep
from ..inputs import MEGSamples, as_recordings
from ..utils.validation import find_scorer, scorer_name
from ._decisions import SplitPipeline, decide, settle_target

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


N_FOLDS = 5
_TRIES = 1000
METRICS = {
    "roc_auc": "ROC AUC",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "r2": "R²",
}


@dataclass(frozen=True)
class HeldOutScore:
    """How well a pipeline predicts samples that it was not fitted on.

    Attributes
    ----------
    metric : str
        The score, by its name in scikit-learn.
    mean : float
        Mean over folds.
    sd : float
        Standard deviation over folds.
    n_folds : int
        Number of folds.
    n : int
        Number of samples, each of which is held out once a repeat.
    unit : str
        What samples are: ``"epochs"``, ``"windows"`` or ``"participants"``.
    chance : float
        Mean over permutations of the labels.
    p_value : float
        Share of permutations (and the true labels) that score as well or better [1]_.
    positive : label | None
        Of two classes the positive one; None of several, and for numbers.

    References
    ----------
    .. [1] Ojala & Garriga (2010), "Permutation tests for studying classifier
       performance", J Mach Learn Res 11, 1833-1863, test 1.

    Examples
    --------
    >>> from mne_megfm.interpret import HeldOutScore
    >>> score = HeldOutScore("roc_auc", 0.8, 0.1, 5, 40, "epochs", 0.5, 0.01)
    >>> str(score)
    'Held-out ROC AUC 0.80 (SD 0.10 over 5 folds, 40 epochs; chance 0.50, p = 0.01)'
    """

    metric: str
    mean: float
    sd: float
    n_folds: int
    n: int
    unit: str
    chance: float
    p_value: float
    positive: Any = None

    def __str__(self) -> str:
        name = METRICS.get(self.metric, self.metric)
        of = "" if self.positive is None else f"; positive class: {self.positive}"
        return (
            f"Held-out {name} {self.mean:.2f} (SD {self.sd:.2f} over {self.n_folds} "
            f"folds, {self.n} {self.unit}; chance {self.chance:.2f}, p = "
            f"{self.p_value:.2g}{of})"
        )


def held_out_score(
    scores: NDArray[np.float64], metric: str, n: int, unit: str, positive: Any = None
) -> HeldOutScore:
    """Summarise scores, shape (1 + n_permutations, n_folds), true labels first."""
    known = scores[0][np.isfinite(scores[0])]
    with warnings.catch_warnings():
        # of a permutation, no fold may have a score
        warnings.simplefilter("ignore", RuntimeWarning)
        means = np.nanmean(scores, axis=1)
    reached = np.sum(means[1:] >= means[0] - 1e-9 * max(abs(means[0]), 1.0))
    return HeldOutScore(
        metric=metric,
        mean=float(means[0]),
        sd=float(known.std(ddof=1)) if len(known) > 1 else float("nan"),
        n_folds=scores.shape[1],
        n=n,
        unit=unit,
        chance=float(np.nanmean(means[1:])),
        p_value=float((1 + reached) / (1 + np.isfinite(means[1:]).sum())),
        positive=positive,
    )


def usual_score(classifier: bool, y: NDArray) -> str:
    """Name the score that is used where none is asked for."""
    if not classifier:
        return "r2"
    return "roc_auc" if len(np.unique(y)) == 2 else "balanced_accuracy"


def permute_labels(
    y: NDArray, groups: NDArray | None, rng: np.random.Generator
) -> NDArray:
    """Permute labels among samples that are exchangeable without an effect.

    Without groups, all are. With groups, labels that differ within a group are permuted
    within each; labels that each group has one of, between groups as a whole.
    """
    if groups is None:
        return y[rng.permutation(len(y))]
    names, of = np.unique(groups, return_inverse=True)
    members = [np.flatnonzero(of == number) for number in range(len(names))]
    out = y.copy()
    if all(len(np.unique(y[mine])) == 1 for mine in members):
        first = np.array([y[mine[0]] for mine in members])
        return first[rng.permutation(len(first))][of]
    for mine in members:
        out[mine] = y[mine[rng.permutation(len(mine))]]
    return out


class Refits:
    """A pipeline, fitted on folds with true and with permuted labels.

    Weights of the network are frozen, so that features are extracted once; what
    follows is fitted for each fold and permutation. Folds are drawn again for each
    permutation by the same rule, as the labels were given.

    Parameters
    ----------
    pipeline : estimator
        The pipeline, which is not changed.
    X : Any
        Epochs, a Raw or a list of participants.
    y : array-like, shape (n_samples,)
        Labels or numbers.
    groups : array-like, shape (n_samples,) | None
        Groups that are not torn apart by folds.
    target : label | None
        Class whose decision is explained; None for the positive one of two.
    cv : int | splitter | None
        The folds.
    scoring : str | callable | None
        The score.
    n_permutations : int
        Number of permutations.
    alpha : float
        Level that these must be able to reach.
    random_state : int
        Seed of folds and permutations.

    Attributes
    ----------
    target : label | None
        The class whose decision is explained; None for numbers.
    decisions : ndarray, shape (1 + n_permutations, n_samples)
        Held-out decisions of each sample, centred in each fold, in units of their
        standard deviation over all samples.
    whole : ndarray, shape (1 + n_permutations, n_samples)
        The same decisions as they are.
    side : ndarray, shape (1 + n_permutations, n_samples)
        The labels that the pipeline was fitted on, standardised: positive for the
        target.
    score : HeldOutScore
        The held-out score.
    """

    def __init__(
        self,
        pipeline: Any,
        X: Any,
        y: Any,
        *,
        groups: Any,
        target: Any,
        cv: Any,
        scoring: str | Callable | None,
        n_permutations: int,
        alpha: float,
        random_state: int,
    ) -> None:
        n_permutations = check_permutations(n_permutations, alpha)
        self.pipeline = _as_pipeline(pipeline)
        self.classifier = is_classifier(self.pipeline)
        self.samples = _make_samples(self.pipeline, X)
        y = np.asarray(y)
        n = self.samples.n
        for name, values in (("y", y), ("groups", groups)):
            if values is not None and np.shape(values) != (n,):
                raise ValueError(
                    f"Expected {name} with one value for each of {n} "
                    f"{self.samples.unit}, got shape {np.shape(values)}; give one for "
                    "each, in the order of X."
                )
        groups = None if groups is None else np.asarray(groups)
        scoring = scoring or usual_score(self.classifier, y)
        self.metric = scorer_name(scoring)
        self.target = positive = None
        if self.classifier:
            classes = np.unique(y)
            self.target = settle_target(pipeline, classes, target)
            positive = self.target if len(classes) == 2 else None
        scorer = find_scorer(scoring, positive)
        splitter = _splitter(cv, y, groups, self.classifier, random_state)
        rng = np.random.default_rng(random_state)
        self.labels: list[NDArray] = []
        #: for each run, a list of (train, test, transform, fitted rest)
        self.fits: list[list[_Fit]] = []
        whole, raw = np.full((2, 1 + n_permutations, n), np.nan)
        scores: list[list[float]] = []
        runs = ProgressBar(range(1 + n_permutations), mesg="Fitting permuted labels")
        for run in runs:
            labels, folds = y, list(splitter.split(np.zeros((n, 1)), y, groups))
            if run == 0:
                _check_folds(folds, n)
            for _ in range(_TRIES if run else 0):
                labels = permute_labels(y, groups, rng)
                folds = list(splitter.split(np.zeros((n, 1)), labels, groups))
                if not self.classifier or all(
                    len(np.unique(labels[train])) == len(np.unique(y))
                    for train, _ in folds
                ):
                    break
            fits = []
            for train, test in folds:
                fit = self.samples.fit(self.pipeline, train, test, labels)
                whole[run, test] = decision = self.decide(fit, fit.held_out)
                raw[run, test] = decision - decision.mean()
                fits.append(fit)
            scores.append([_score(scorer, fit, labels) for fit in fits])
            self.labels.append(labels)
            self.fits.append(fits)
        self.score = held_out_score(
            np.array(scores), self.metric, n, self.samples.unit, positive
        )
        self.whole = whole
        #: decisions are divided by these
        self.scale = raw.std(1)
        if self.scale[0] == 0:
            raise ValueError(
                "Expected decisions that differ between held-out samples, got one "
                "value in each fold; give samples of all classes, and fewer folds."
            )
        self.scale[self.scale == 0] = 1.0
        self.decisions = raw / self.scale[:, None]
        self.side = np.array([self._side(labels) for labels in self.labels])

    @property
    def n_runs(self) -> int:
        """Fits with true labels and with permuted ones."""
        return len(self.fits)

    def decide(self, fit: _Fit, features: Any) -> NDArray[np.float64]:
        """Decide on features by one of the fits."""
        return decide(fit.rest, features, self.target)

    def _side(self, labels: NDArray) -> NDArray[np.float64]:
        if self.classifier:
            labels = labels == self.target
        labels = np.asarray(labels, float) - np.mean(labels)
        return labels / labels.std()

    def lost(self, changed: Any) -> NDArray[np.float64]:
        """Tell how much evidence for their own label samples lose by a change.

        Parameters
        ----------
        changed : Any
            All samples, changed.

        Returns
        -------
        lost : ndarray, shape (1 + n_permutations, n_samples)
            Held-out decision less that on the changed sample, in standard deviations
            of decisions.
        """
        extracted = self.samples.extract(changed)
        out = np.empty(self.decisions.shape)
        for run, fits in enumerate(self.fits):
            for fit in fits:
                after = self.decide(fit, fit.transform(extracted, fit.test))
                out[run, fit.test] = self.whole[run, fit.test] - after
        return out / self.scale[:, None]


@dataclass(frozen=True)
class _Fit:
    """What was fitted on a training fold.

    Attributes
    ----------
    test : ndarray of int
        Held-out samples.
    transform : callable
        From what was extracted of all samples, and a choice of them, to features.
    rest : estimator
        The fitted rest of the pipeline.
    held_out : Any
        Features of the held-out samples.
    """

    test: NDArray[np.int_]
    transform: Callable[[Any, NDArray[np.int_]], Any]
    rest: Any
    held_out: Any


def _score(scorer: Callable, fit: _Fit, labels: NDArray) -> float:
    with warnings.catch_warnings():
        # a fold of one class has no AUC
        warnings.simplefilter("ignore")
        return float(scorer(fit.rest, fit.held_out, labels[fit.test]))


def _splitter(
    cv: Any, y: NDArray, groups: NDArray | None, classifier: bool, random_state: int
) -> Any:
    """Settle the folds; shuffled by a seed unless they are given."""
    if cv is not None and not isinstance(cv, int | np.integer):
        return check_cv(cv, y, classifier=classifier)
    if groups is None:
        kind, n_units = (StratifiedKFold if classifier else KFold), len(y)
    else:
        kind = StratifiedGroupKFold if classifier else GroupKFold
        n_units = len(np.unique(groups))
    if cv is None:
        least = n_units
        if classifier and groups is None:
            least = int(np.unique(y, return_counts=True)[1].min())
        if least < 2:
            raise ValueError(
                "Expected at least 2 samples of each class (or 2 groups), to hold out "
                f"some, got {least}; give more."
            )
        cv = min(N_FOLDS, least)
    return kind(n_splits=int(cv), shuffle=True, random_state=random_state)


def _check_folds(folds: list, n: int) -> None:
    times = np.bincount(np.concatenate([test for _, test in folds]), minlength=n)
    if not (times == 1).all():
        raise ValueError(
            "Expected folds that hold each sample out once, got samples held out "
            f"{times.min()} to {times.max()} times; give a number of folds, or a "
            "splitter without repeats."
        )


def _as_pipeline(pipeline: Any) -> Any:
    """Take a predictor of ours as a pipeline; refuse networks that are trained."""
    if isinstance(pipeline, MEGFMClassifier | MEGFMRegressor):
        if pipeline.strategy != "probe":
            raise ValueError(
                "Expected frozen weights, since a null distribution fits the pipeline "
                f"again for permuted labels, got strategy={pipeline.strategy!r}; use "
                "strategy='probe', or decision_map for a map without a test."
            )
        pipeline = pipeline.to_pipeline()
    first = pipeline[0] if isinstance(pipeline, Pipeline) else None
    if isinstance(first, MEGFMTransformer) and first.pretraining is not None:
        raise ValueError(
            "Expected frozen weights, since a null distribution fits the pipeline "
            f"again for permuted labels, got pretraining={first.pretraining!r}; "
            "pretrain once, save, and load by weights."
        )
    return pipeline


# -- samples ---------------------------------------------------------------------
def _make_samples(pipeline: Any, X: Any) -> Any:
    first = pipeline[0] if isinstance(pipeline, Pipeline) else None
    if not isinstance(first, MEGFMTransformer):
        return _Objects(X)
    transformer = clone(first)
    recordings = transformer._recordings(X)
    if transformer._settle_sample(recordings) == "participant":
        frozen = FrozenStep(first)
        if frozen.step._fits_pooling and frozen.step.aggregator_.pools_rows:
            raise ValueError(
                "Expected weights that contain the state of the pooling, got pooling="
                f"{first.pooling!r}, which would be fitted again for permuted labels; "
                "fit once, save, and load by weights."
            )
        return _People(frozen, X)
    return _Rows(transformer, X, recordings)


class _Rows:
    """Epochs or windows, by the features of a frozen transformer."""

    def __init__(self, transformer: Any, X: Any, recordings: Any) -> None:
        self.transformer = transformer.fit(X)
        self.n, self.unit = recordings.n_rows, "epochs"
        if len(recordings) and recordings[0].kind == "raw":
            self.unit = "windows"
        self.features = self.extract(X)

    def extract(self, X: Any) -> NDArray:
        return np.asarray(self.transformer.transform(X))

    def fit(self, pipeline: Any, train: Any, test: Any, labels: NDArray) -> _Fit:
        rest = clone(pipeline[1:]).fit(self.features[train], labels[train])
        return _Fit(test, _take, rest, self.features[test])


def _take(features: NDArray, at: NDArray[np.int_]) -> NDArray:
    return features[at]


class _People:
    """Participants, by what a frozen transformer extracts from them."""

    unit = "participants"

    def __init__(self, frozen: FrozenStep, X: list) -> None:
        self.frozen = frozen
        if isinstance(frozen.step, MEGFMTransformer):
            self.transformer = frozen.step
        self.features = self.extract(X)
        self.n = len(self.features)

    def extract(self, X: list) -> list:
        return self.frozen.extract(X)

    def fit(self, pipeline: Any, train: Any, test: Any, labels: NDArray) -> _Fit:
        chosen = [self.features[i] for i in train]
        own = self.frozen.fit(chosen)
        values = np.asarray(self.frozen.transform(own, chosen))
        rest = clone(pipeline[1:]).fit(values, labels[train])

        def transform(extracted: list, at: NDArray[np.int_]) -> NDArray:
            return np.asarray(self.frozen.transform(own, [extracted[i] for i in at]))

        return _Fit(test, transform, rest, transform(self.features, test))

    def parts(self, rest: Any, train: NDArray[np.int_]) -> SplitPipeline:
        """Put the transformer, fitted on some participants, before a fitted rest."""
        own = self.frozen.fit([self.features[i] for i in train])
        return SplitPipeline(own, rest, Pipeline([("features", own), ("rest", rest)]))


class _Objects:
    """Samples as MNE objects, for pipelines that extract features in another way."""

    def __init__(self, X: Any) -> None:
        self.is_list = isinstance(X, list | tuple)
        if self.is_list:
            self.unit, self.n = "participants", len(X)
        elif isinstance(X, mne.BaseEpochs | MEGSamples):
            self.unit, self.n = "epochs", len(X)
        else:
            kind = as_recordings(X)[0].kind
            raise TypeError(
                f"Expected Epochs or a list of participants for {type(self).__name__}, "
                f"got a {kind}; cut it by mne.make_fixed_length_epochs."
            )
        self.features = X

    def extract(self, X: Any) -> Any:
        return X

    def fit(self, pipeline: Any, train: Any, test: Any, labels: NDArray) -> _Fit:
        rest = clone(pipeline).fit(_choose(self.features, train), labels[train])
        return _Fit(test, _choose, rest, _choose(self.features, test))


def _choose(X: Any, at: NDArray[np.int_]) -> Any:
    return [X[i] for i in at] if isinstance(X, list | tuple) else X[at]
