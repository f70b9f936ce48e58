"""Which stimulus was shown, from the response: embeddings, ranks of candidates."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from numbers import Integral, Real
from typing import Any

import joblib
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.base import BaseEstimator, RegressorMixin, _fit_context
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, GroupShuffleSplit, cross_val_predict
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from ..inputs import MEGSamples
from ..models import (
    BackboneConfig,
    EmbeddingProjection,
    contrastive_regression_loss,
)
from ..utils.validation import check_embeddings, use_verbose
from ._initialization import Pretraining
from ._transformer import MEGFMTransformer

# parameters that are those of the transformer under the same names
_OF_TRANSFORMER = (
    "weights",
    "pooling",
    "pretraining",
    "sensor_mapping",
    "backbone",
    "config",
    "duration",
    "overlap",
    "batch_size",
    "device",
    "memory",
    "verbose",
)


# -- ranks -----------------------------------------------------------------------------
def retrieval_scores(
    predicted: Any,
    embeddings: Any,
    candidates: Any = None,
    *,
    k: Sequence[int] = (1, 5),
    average: bool = False,
) -> pd.DataFrame:
    """Rank candidates by their similarity to predictions, beside chance.

    Candidates are ranked by the cosine similarity of their embedding with what was
    predicted. Candidates with equal embeddings are one: a stimulus that was shown
    several times is to be found by each of its presentations.

    Parameters
    ----------
    predicted : array-like, shape (n_samples, n_dims)
        What was predicted from each response.
    embeddings : array-like, shape (n_samples, n_dims)
        What was shown.
    candidates : array-like, shape (n_candidates, n_dims), optional
        What may have been shown; all different ones among ``embeddings`` by default.
    k : sequence of int
        How many of the best candidates count as found, each below their number.
    average : bool
        Whether to average the predictions of all presentations of a stimulus, so that
        there is one rank a stimulus.

    Returns
    -------
    scores : DataFrame, shape (len(k) + 1, 4)
        For ``"top-1"``, ``"top-5"``, ... the share of samples whose stimulus is among
        so many best candidates, and ``"median rank"`` (1 is best). Columns ``score``,
        ``chance``, ``n_samples`` (or stimuli) and ``n_candidates``.

    Raises
    ------
    ValueError
        If shapes do not fit, something was shown that is no candidate, or ``k`` is not
        below the number of candidates.

    Notes
    -----
    By chance, each rank from 1 to *N* is as likely: *k* / *N* of the samples are found
    among *k* candidates, and the median rank is (*N* + 1) / 2. Ties count as if their
    order were drawn, so that predictions that are all the same score what chance does.

    Cosines are about the origin: embeddings with a mean that is not 0 should be
    standardised (by training data), and `MEGFMRetriever.retrieval_scores` does so.

    Top-5 accuracy and the median rank are the scores of [1]_.

    References
    ----------
    .. [1] Benchetrit, Banville & King (2024), "Brain decoding: toward real-time
       reconstruction of visual perception", ICLR, arXiv:2310.19812.

    Examples
    --------
    >>> import numpy as np
    >>> from mne_megfm.estimators import retrieval_scores
    >>> z = np.random.default_rng(0).standard_normal((20, 8))
    >>> scores = retrieval_scores(z + 0.1, z)
    >>> scores.loc["top-5", ["score", "chance"]].tolist()
    [1.0, 0.25]
    """
    embeddings = check_embeddings(embeddings, None)
    predicted = check_embeddings(predicted, len(embeddings), "predicted")
    stimulus, candidates = _match(embeddings, candidates)
    n = len(candidates)
    k = tuple(k)
    for value in k:
        if not isinstance(value, Integral) or not 1 <= value < n:
            raise ValueError(
                f"Expected k to be whole numbers from 1 to {n - 1}, below the number "
                f"of candidates that differ, got {value!r}; all of them are found by "
                "chance with as many, so lower k, or give more candidates."
            )
    if average:
        stimulus, of = np.unique(stimulus, return_inverse=True)
        total = np.zeros((len(stimulus), predicted.shape[1]))
        np.add.at(total, of, predicted)
        predicted = total / np.bincount(of)[:, None]
    similarity = cosine_similarity(predicted, candidates)
    own = similarity[np.arange(len(stimulus)), stimulus][:, None]
    better = (similarity > own).sum(1)
    tied = (similarity == own).sum(1)  # with the one that was shown
    scores = {
        f"top-{value}": (np.clip((value - better) / tied, 0, 1).mean(), value / n)
        for value in k
    }
    median = float(np.median(better + (tied + 1) / 2))
    scores["median rank"] = (median, (n + 1) / 2)
    table = pd.DataFrame.from_dict(scores, "index", columns=["score", "chance"])
    return table.assign(n_samples=len(stimulus), n_candidates=n)


def cosine_similarity(predicted: NDArray, candidates: NDArray) -> NDArray[np.float64]:
    """Compute cosines of rows, to 12 digits, so that rounding breaks no ties."""
    units = []
    for rows in (predicted, candidates):
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        units.append(
            np.divide(rows, length, out=np.zeros(rows.shape), where=length > 0)
        )
    return np.round(units[0] @ units[1].T, 12)


def _match(embeddings: NDArray, candidates: Any) -> tuple[NDArray, NDArray]:
    """Give the number of what was shown among candidates, and these, without copies."""
    if candidates is None:
        found, number = np.unique(embeddings, axis=0, return_inverse=True)
        return number.ravel(), found
    candidates = check_embeddings(candidates, None, "candidates")
    if candidates.shape[1] != embeddings.shape[1]:
        raise ValueError(
            f"Expected candidates of {embeddings.shape[1]} dimensions, as embeddings "
            f"have, got {candidates.shape[1]}; give embeddings of one kind."
        )
    candidates = np.unique(candidates, axis=0)
    both, number = np.unique(
        np.concatenate([candidates, embeddings]), axis=0, return_inverse=True
    )
    if len(both) > len(candidates):
        raise ValueError(
            "Expected all that was shown among the candidates, got "
            f"{len(both) - len(candidates)} embeddings that are not; add them."
        )
    return number.ravel()[len(candidates) :], candidates


# -- projection ------------------------------------------------------------------------
_ALPHAS = np.logspace(-4.0, 3.0, 8)
_N_FOLDS, _MOST_AXES = 5, 1000
# samples in a step of training, and of those that the temperature is found on
_BATCH, _MOST_SAMPLES = 256, 2048


class Axes:
    """Leading axes of features, and the ridge regression on them.

    The penalty is the one with the least squared error in an inner cross-validation
    that keeps presentations of a stimulus together. Axes have the size that this
    penalty leaves of them, so that steps of training are small along axes of noise.

    Parameters
    ----------
    features : ndarray, shape (n_samples, n_features)
        The features.
    embeddings : ndarray, shape (n_samples, n_dims)
        Standardised embeddings.
    stimulus : ndarray of int, shape (n_samples,)
        Numbers of the stimuli.
    seed : int
        Seed of the axes, where there are very many samples.
    """

    def __init__(
        self, features: NDArray, embeddings: NDArray, stimulus: NDArray, seed: int
    ) -> None:
        # arrays, whatever scikit-learn is set to give to users
        self.scaler = StandardScaler().set_output(transform="default").fit(features)
        n_axes = min(len(features) - 1, features.shape[1], _MOST_AXES)
        scaled = self.scaler.transform(features)
        self.pca = PCA(n_axes, random_state=seed).set_output(transform="default")
        self.pca.fit(scaled)
        # rows get a norm near 1, so that one range of penalties serves all
        variance = self.pca.explained_variance_
        self.size = np.full(n_axes, 1.0 / np.sqrt(max(variance.sum(), 1e-12)))
        scores = self(features)
        n_folds = min(_N_FOLDS, stimulus.max() + 1)
        folds = list(GroupKFold(n_folds).split(scores, groups=stimulus))

        # of one dimension, scikit-learn drops the axis
        shape = embeddings.shape
        held_out = {
            alpha: cross_val_predict(
                Ridge(alpha), scores, embeddings, cv=folds
            ).reshape(shape)
            for alpha in _ALPHAS[::-1].tolist()
        }
        errors = {a: np.square(x - embeddings).sum() for a, x in held_out.items()}
        self.alpha = min(errors, key=errors.get)
        self.log_scale = _fit_log_scale(held_out[self.alpha], embeddings)
        self.left = 1.0 / np.sqrt(scores.var(0) + self.alpha / len(scores))
        self.size = self.size * self.left

    def __call__(self, features: NDArray) -> NDArray[np.float64]:
        """Give the scores of features, shape (n_samples, n_axes)."""
        scores = self.pca.transform(self.scaler.transform(features))
        return scores.astype(np.float64) * self.size

    def start(
        self, scores: NDArray, embeddings: NDArray, hidden: int | None, seed: int
    ) -> EmbeddingProjection:
        """Make a projection of scores that begins as the ridge regression."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            size = scores.shape[1], embeddings.shape[1]
            projection = EmbeddingProjection(*size, hidden)
        ridge = Ridge(self.alpha).fit(scores / self.left, embeddings)
        with torch.no_grad():
            coef = np.reshape(ridge.coef_ / self.left, size[::-1])
            intercept = np.reshape(ridge.intercept_, size[1:])
            projection.linear.weight.copy_(torch.from_numpy(coef))
            projection.linear.bias.copy_(torch.from_numpy(intercept))
            projection.log_scale.fill_(self.log_scale)
        return projection


def _fit_log_scale(predicted: NDArray, embeddings: NDArray) -> float:
    """Find the temperature that suits predictions of samples that were held out."""
    n = len(predicted)
    at = np.unique(np.linspace(0, n - 1, min(n, _MOST_SAMPLES)).astype(int))
    args = torch.from_numpy(predicted[at]), torch.from_numpy(embeddings[at])

    def loss(log_scale: float) -> float:
        scale = torch.tensor(log_scale, dtype=torch.float64)
        return float(contrastive_regression_loss(*args, scale, 1.0))

    bounds = 0.0, float(np.log(100.0))
    return float(minimize_scalar(loss, bounds=bounds, method="bounded").x)


# -- estimator -------------------------------------------------------------------------
class MEGFMRetriever(RegressorMixin, BaseEstimator):
    """Find which stimulus was shown, by its embedding, from responses to it.

    Responses become features of a pretrained transformer, and a projection predicts
    from these the embedding of what was shown: of an image or a word, say, as another
    network makes them. Candidates are ranked by their similarity to the prediction,
    also candidates that were never shown in training. The projection is trained with a
    contrastive and a regression loss [1]_, see ``contrastive_regression_loss`` of
    :mod:`mne_megfm.models`.

    Parameters
    ----------
    weights : str | path-like | None
        Weights of the encoder, see :class:`~mne_megfm.MEGFMTransformer`.
    balance : float
        Weight of the contrastive term in the loss, from 0 (regression alone) to 1.
    hidden : int | None
        Units of a hidden layer whose output is added to the linear projection; None
        for none.
    max_epochs : int
        Epochs of training at most; 0 leaves the projection at ridge regression.
    lr : float
        Learning rate.
    validation_fraction : float
        Share of the stimuli held out to find the number of epochs.
    patience : int
        That search ends after so many epochs without a lower held-out loss.
    top_k : int
        How many of the best candidates count as found in `score`.
    pooling : str | callable
        How tokens become features, see :class:`~mne_megfm.MEGFMTransformer`.
    pretraining : Pretraining | None
        How the encoder is trained before, on the training data; None leaves it as it
        is. With ``Pretraining(objective="contrastive")`` it is trained to predict the
        embeddings, too.
    sensor_mapping : str | callable
        How recordings reach the model's array, see
        :class:`~mne_megfm.MEGFMTransformer`.
    backbone : str | None
        Name of the network; None takes that of the weights, or with ``weights=None``
        ``"masked-transformer"``.
    config : dict | BackboneConfig | None
        Fields of its configuration, for ``weights=None`` only.
    duration : float
        Length in s of the rows of a Raw.
    overlap : float
        Overlap in s of the rows of a Raw.
    batch_size : int
        Windows that are encoded or trained on at a time.
    device : str
        ``"cpu"``, ``"cuda"``, ... or ``"auto"``: a GPU if there is one. The projection
        is small, and is trained on the CPU.
    memory : path-like | joblib.Memory | None
        Where to keep what was read of each recording, see
        :class:`~mne_megfm.MEGFMTransformer`.
    random_state : int | RandomState | None
        Seed of what is held out, of batches, and of random weights.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`; None takes MNE's log level.

    Attributes
    ----------
    transformer_ : MEGFMTransformer
        The fitted encoder.
    projection_ : torch.nn.Module
        From the leading axes of features to standardised embeddings.
    embedding_mean_, embedding_scale_ : ndarray, shape (n_dims,)
        Mean and standard deviation of the training embeddings.
    alpha_ : float
        Penalty of the ridge regression that training starts from.
    history_ : DataFrame
        Losses in training with stimuli held out; epoch 0 is the ridge regression.
    n_epochs_ : int
        Epochs that the projection was trained for: those with the least held-out loss.

    See Also
    --------
    mne_megfm.estimators.retrieval_scores : Scores of any predicted embeddings.
    mne_megfm.simulation.simulate_stimuli : Responses whose embeddings are known.

    Notes
    -----
    Features are standardised and reduced to their leading axes (1000 at most). A ridge
    regression, its penalty chosen by an inner cross-validation that keeps presentations
    of a stimulus together, is where training starts (AdamW); so is a temperature that
    suits its held-out predictions. The number of epochs is the one with the least loss
    on held-out stimuli; then training is repeated on all. With few or noisy responses
    it may be 0.

    Embeddings are standardised by the training data before they are compared, in
    training and in ranks. In cross-validation, keep the presentations of a stimulus in
    one fold (``GroupKFold``), if retrieval is to be of stimuli that were not seen.

    The network of [1]_ is trained end to end, on many more responses.

    References
    ----------
    .. [1] Benchetrit, Banville & King (2024), "Brain decoding: toward real-time
       reconstruction of visual perception", ICLR, arXiv:2310.19812, section 2.2.

    Examples
    --------
    >>> from mne_megfm import MEGFMRetriever
    >>> from mne_megfm.simulation import simulate_stimuli
    >>> shown = simulate_stimuli(24, n_dims=4, amplitude=3.0, random_state=0)
    >>> train, test = slice(0, 16), slice(16, 24)
    >>> retriever = MEGFMRetriever(random_state=0)
    >>> retriever = retriever.fit(shown.epochs[train], shown.embeddings[train])
    >>> retriever.retrieve(shown.epochs[test], shown.embeddings[test]).shape
    (8, 8)
    """

    _parameter_constraints: dict = {
        **{
            name: MEGFMTransformer._parameter_constraints[name]
            for name in _OF_TRANSFORMER
        },
        "balance": [Interval(Real, 0, 1, closed="both")],
        "hidden": [Interval(Integral, 1, None, closed="left"), None],
        "max_epochs": [Interval(Integral, 0, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "validation_fraction": [Interval(Real, 0, 0.5, closed="right")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "top_k": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        weights: str | os.PathLike | None = "megfm-tiny",
        *,
        balance: float = 0.75,
        hidden: int | None = None,
        max_epochs: int = 60,
        lr: float = 1e-3,
        validation_fraction: float = 0.2,
        patience: int = 10,
        top_k: int = 5,
        pooling: str | Callable = "projection",
        pretraining: Pretraining | None = None,
        sensor_mapping: str | Callable = "auto",
        backbone: str | None = None,
        config: dict | BackboneConfig | None = None,
        duration: float = 1.0,
        overlap: float = 0.0,
        batch_size: int = 64,
        device: str = "cpu",
        memory: str | os.PathLike | joblib.Memory | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool | str | int | None = None,
    ) -> None:
        self.weights = weights
        self.balance = balance
        self.hidden = hidden
        self.max_epochs = max_epochs
        self.lr = lr
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.top_k = top_k
        self.pooling = pooling
        self.pretraining = pretraining
        self.sensor_mapping = sensor_mapping
        self.backbone = backbone
        self.config = config
        self.duration = duration
        self.overlap = overlap
        self.batch_size = batch_size
        self.device = device
        self.memory = memory
        self.random_state = random_state
        self.verbose = verbose

    # -- fitting ------------------------------------------------------------
    @_fit_context(prefer_skip_nested_validation=True)
    @use_verbose
    def fit(self, X: Any, embeddings: Any) -> MEGFMRetriever:
        """Fit to responses and the embeddings of what was shown.

        Parameters
        ----------
        X : Epochs | Raw | Evoked | MEGSamples | list of these
            The responses, in tesla. Rows of a list are those of its elements, one after
            the other.
        embeddings : array-like, shape (n_rows, n_dims)
            An embedding for each row. Equal ones are of one stimulus.

        Returns
        -------
        self : MEGFMRetriever
            The fitted retriever.

        Raises
        ------
        TypeError
            If ``X`` is not made of MNE objects.
        ValueError
            If there is not one finite embedding a row, there are fewer than 4 stimuli,
            or ``X`` does not look like MEG in tesla.
        """
        if embeddings is None:
            raise ValueError(
                f"Expected embeddings, got None: {type(self).__name__} requires y to "
                "be passed, but the target y is None."
            )
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        params = {name: getattr(self, name) for name in _OF_TRANSFORMER}
        transformer = MEGFMTransformer(**params, sample="epoch", random_state=seed)
        # scikit-learn's setting for tables is for what users get, not for what is here
        transformer.set_output(transform="default")
        recordings = transformer._recordings(self._rows(X))
        embeddings = check_embeddings(embeddings, recordings.n_rows)
        stimulus = _match(embeddings, None)[0]
        n_stimuli = int(stimulus.max()) + 1
        if n_stimuli < 4:
            raise ValueError(
                "Expected embeddings of at least 4 stimuli, to train on some and hold "
                f"others out, got {n_stimuli} that differ; give responses to more."
            )
        features = transformer.fit_transform(recordings, embeddings)
        self.transformer_ = transformer
        self.embedding_mean_ = embeddings.mean(0)
        spread = embeddings.std(0)
        self.embedding_scale_ = np.where(spread > 0, spread, 1.0)
        known = self._standardise(embeddings)
        self._axes = Axes(features, known, stimulus, seed)
        self.alpha_ = self._axes.alpha
        self._fit_projection(self._axes(features), known, stimulus, seed)
        return self

    def _fit_projection(
        self, scores: NDArray, known: NDArray, stimulus: NDArray, seed: int
    ) -> None:
        """Find the number of epochs on held-out stimuli, and train on all."""
        n_valid = max(2, round(self.validation_fraction * (stimulus.max() + 1)))
        splitter = GroupShuffleSplit(1, test_size=n_valid, random_state=seed)
        train, valid = next(splitter.split(scores, groups=stimulus))
        held_out = _tensors(scores[valid], known[valid])
        losses = []
        start = self._axes.start(scores[train], known[train], self.hidden, seed)
        best, best_epoch = np.inf, 0
        for epoch, (loss, projection) in enumerate(
            self._train(start, scores[train], known[train], seed)
        ):
            with torch.inference_mode():
                of_valid = float(projection.loss(*held_out, self.balance))
            losses.append((epoch, loss, of_valid))
            if of_valid < best:
                best, best_epoch = of_valid, epoch
            if epoch - best_epoch >= self.patience or epoch == self.max_epochs:
                break
        names = ["epoch", "train_loss", "valid_loss"]
        self.history_ = pd.DataFrame(losses, columns=names).set_index("epoch")
        self.n_epochs_ = best_epoch
        start = self._axes.start(scores, known, self.hidden, seed)
        trained = self._train(start, scores, known, seed)
        for _, (_, projection) in zip(range(self.n_epochs_ + 1), trained, strict=False):
            self.projection_ = projection
        self.projection_.eval()

    def _train(
        self,
        projection: EmbeddingProjection,
        scores: NDArray,
        known: NDArray,
        seed: int,
    ) -> Iterator[tuple[float, EmbeddingProjection]]:
        """Train a projection; gives the loss of each epoch, first that of the start."""
        x, y = _tensors(scores, known)
        generator = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.AdamW(projection.parameters(), lr=self.lr)
        n_batches = -(-len(x) // _BATCH)
        for epoch in itertools.count():
            total = 0.0
            order = torch.randperm(len(x), generator=generator)
            for batch in order.tensor_split(n_batches):
                loss = projection.loss(x[batch], y[batch], self.balance)
                if epoch:  # the first is that of the start
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                total += float(loss.detach()) * len(batch)
            if not np.isfinite(total):
                raise RuntimeError(
                    f"Expected a finite loss, got {total}; lower lr, or look for "
                    "artefacts in the data."
                )
            yield total / len(x), projection

    def _rows(self, X: Any) -> Any:
        """Give rows, also of lists whose elements have several."""
        if isinstance(X, list | tuple):
            return MEGSamples(list(X), duration=self.duration, overlap=self.overlap)
        return X

    def _standardise(self, embeddings: NDArray) -> NDArray[np.float64]:
        return (embeddings - self.embedding_mean_) / self.embedding_scale_

    # -- predicting ---------------------------------------------------------
    @use_verbose
    def predict(self, X: Any) -> NDArray[np.float64]:
        """Predict embeddings.

        Parameters
        ----------
        X : Epochs | Raw | Evoked | MEGSamples | list of these
            The responses, as in `fit`.

        Returns
        -------
        embeddings : ndarray, shape (n_rows, n_dims)
            An embedding for each row, in the units of those given.
        """
        return self._project(X) * self.embedding_scale_ + self.embedding_mean_

    def _project(self, X: Any) -> NDArray[np.float64]:
        check_is_fitted(self, "transformer_")
        features = self.transformer_.transform(self._rows(X))
        scores = torch.from_numpy(self._axes(features)).float()
        with torch.inference_mode():
            return self.projection_(scores).numpy().astype(np.float64)

    @use_verbose
    def retrieve(
        self, X: Any, candidates: Any, n_best: int | None = None
    ) -> NDArray[np.int_]:
        """Rank candidates for each response.

        Parameters
        ----------
        X : Epochs | Raw | Evoked | MEGSamples | list of these
            The responses, as in `fit`.
        candidates : array-like, shape (n_candidates, n_dims)
            Embeddings of what may have been shown.
        n_best : int, optional
            How many to give; all by default.

        Returns
        -------
        ranked : ndarray of int, shape (n_rows, n_best)
            Rows of ``candidates``, the most similar first. Equal candidates keep their
            order.

        Raises
        ------
        ValueError
            If candidates are not finite numbers of the training's dimensions, or
            ``n_best`` is out of range.
        """
        check_is_fitted(self, "transformer_")
        candidates = self._check_dims(candidates, None, "candidates")
        n = len(candidates)
        n_best = n if n_best is None else n_best
        if not isinstance(n_best, Integral) or not 1 <= n_best <= n:
            raise ValueError(
                f"Expected n_best to be a whole number from 1 to {n}, the number of "
                f"candidates, got {n_best!r}; correct it."
            )
        similarity = cosine_similarity(self._project(X), self._standardise(candidates))
        return np.argsort(-similarity, axis=1, kind="stable")[:, :n_best]

    @use_verbose
    def retrieval_scores(
        self,
        X: Any,
        embeddings: Any,
        candidates: Any = None,
        *,
        k: Sequence[int] = (1, 5),
        average: bool = False,
    ) -> pd.DataFrame:
        """Score retrieval beside chance.

        Parameters
        ----------
        X : Epochs | Raw | Evoked | MEGSamples | list of these
            The responses, as in `fit`.
        embeddings : array-like, shape (n_rows, n_dims)
            What was shown.
        candidates : array-like, shape (n_candidates, n_dims), optional
            What may have been shown; all different ones among ``embeddings`` by
            default.
        k : sequence of int
            How many of the best candidates count as found.
        average : bool
            Whether to average the predictions of all presentations of a stimulus.

        Returns
        -------
        scores : DataFrame
            See :func:`~mne_megfm.estimators.retrieval_scores`.

        Raises
        ------
        ValueError
            If shapes do not fit, something was shown that is no candidate, or ``k`` is
            not below the number of candidates.
        """
        predicted = self._project(X)
        embeddings = self._check_dims(embeddings, len(predicted), "embeddings")
        if candidates is not None:
            candidates = self._check_dims(candidates, None, "candidates")
            candidates = self._standardise(candidates)
        embeddings = self._standardise(embeddings)
        return retrieval_scores(predicted, embeddings, candidates, k=k, average=average)

    def score(self, X: Any, embeddings: Any) -> float:
        """Compute top-5 accuracy, or that of other ``top_k``.

        Parameters
        ----------
        X : Epochs | Raw | Evoked | MEGSamples | list of these
            The responses, as in `fit`.
        embeddings : array-like, shape (n_rows, n_dims)
            What was shown. The different ones among them are the candidates.

        Returns
        -------
        score : float
            Share of rows whose stimulus is among the ``top_k`` best candidates. By
            chance it is ``top_k`` divided by the number of candidates.

        Raises
        ------
        ValueError
            If there are no more than ``top_k`` candidates, where every one is found.
        """
        k = self.top_k
        table = self.retrieval_scores(X, embeddings, k=(k,))
        return float(table.loc[f"top-{k}", "score"])

    def _check_dims(self, values: Any, n_rows: int | None, name: str) -> NDArray:
        values = check_embeddings(values, n_rows, name)
        if values.shape[1] != len(self.embedding_mean_):
            raise ValueError(
                f"Expected {name} of {len(self.embedding_mean_)} dimensions, as in "
                f"training, got {values.shape[1]}; give embeddings of one kind."
            )
        return values

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = False
        tags.input_tags.two_d_array = False
        tags.no_validation = True  # MNE objects, checked by as_recordings
        return tags


def _tensors(scores: NDArray, known: NDArray) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(scores).float(), torch.from_numpy(known).float()
