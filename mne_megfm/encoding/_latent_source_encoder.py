"""The estimator: stories and recordings of several people to cortical sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mne.utils import logger
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator

from ..models import LatentSourceConfig
from ..utils.validation import use_verbose
from ._checkpoint import KnownPerson
from ._fitted_sources import FittedSources
from ._hemodynamics import fit_hrf, hrf_basis
from ._linear_start import (
    LaggedDesign,
    NetworkDesign,
    fit_linear,
    fit_linear_fmri,
    fmri_evidence,
    make_network,
    noise_metric,
)
from ._recordings import (
    Person,
    check_stimulus,
    keep_modalities,
    prepare_people,
    without_ends,
)
from ._source_space import laplacian, smoothing
from ._training import (
    VALIDATION,
    Head,
    Penalties,
    Trainer,
    evidence_weights,
    residual_metrics,
    sparse_tensor,
)

# computed from recordings, again in each fit
_NOT_KEPT = ("_laplacian", "_smoothing")
# components with fMRI alone, where nothing tells how many there are
_N_WITHOUT_MEG = 8


class LatentSourceEncoder(FittedSources, BaseEstimator):
    """Cortical sources of naturalistic stimuli, from MEG and fMRI of several people.

    A causal network turns features of a stimulus into courses of sources that all
    people share. A person's MEG is their own lead field times the sources; a person's
    fMRI is the haemodynamic response to the power of the sources. The sources that
    predict both best are the estimate [1]_.

    Parameters
    ----------
    sfreq : float
        Rate of the stimulus and of the MEG in Hz.
    lags : float
        How long linear responses are, in s from the stimulus on.
    lag_step : float
        Distance of the peaks of the triangles that linear responses are made of, in s.
    n_components : int
        How many courses the sources are made of at most. As many are used as are
        above the noise of MEG.
    orientation : 'fixed' | 'free'
        Sources along the normals of the cortex, or in all directions.
    modalities : tuple of str
        What is used of ``'meg'`` and ``'fmri'``.
    fmri_response : 'power' | 'amplitude' | 'linear'
        What of the sources fMRI follows: their power, its root, or the sources
        themselves, where features are powers already, as those of
        ``mne_megfm.encoding.region_powers``.
    feature_regions : sequence of int | None
        The source or region that each feature belongs to, -1 for none, as an index of
        columns of fMRI. Used with ``fmri_response='linear'`` without MEG: fMRI is
        regressed on the features of its own region first.
    fmri_weight : float
        Weight of the error of fMRI beside that of MEG. Both are mean squares over
        those of the recordings, MEG whitened.
    extent : float
        How far sources are alike around a place before recordings are looked at, in m;
        0 leaves them independent.
    smoothness : float
        Weight of differences between neighbouring sources in training.
    temporal_smoothness : float
        Weight of differences between successive samples.
    depth : float
        How much deep sources are preferred to shallow ones, as in
        ``mne.minimum_norm.make_inverse_operator``.
    n_linear : int
        Principal components of the features that linear responses are of, at most.
    d_model, n_layers, n_heads : int
        Width, layers and heads of the transformer; ``n_layers=0`` leaves a linear
        model.
    context : float
        How far each layer looks back, in s.
    dropout : float
        Share of activations left out in training.
    n_epochs : int
        Passes over the data at most. As many are made as are best for the last 15 %
        of each story, in a first round without these. 0 leaves the linear start.
    learning_rate : float
        Of the transformer; maps and linear responses learn a hundred times slower.
    chunk_duration : float
        Length of a mini-batch in s.
    device : str | None
        Where torch computes; None is a GPU if there is one.
    random_state : int | None
        Seed.
    verbose : bool | str | int | None
        Log level.

    Attributes
    ----------
    network_ : LatentSourceNetwork
        From features to sources.
    space_ : SourceSpace
        The sources.
    people_ : dict
        What is kept of each person: lead field, whitener, haemodynamic response.
    evidence_ : array of shape (n_sources,)
        How well fMRI of each source follows the stimulus; zeros without fMRI.
    history_ : list of float
        Errors of the last 15 % of each story, before and after each epoch of the
        network that was not fitted to them.
    n_epochs_ : int
        Epochs that were best there, and for which the network is then trained on all.
    n_features_in_ : int
        Columns of the stimulus.

    Notes
    -----
    Without MEG, training starts from random maps, or, with
    ``fmri_response='linear'``, from ridge regression of fMRI on features convolved with
    each person's haemodynamic response, which is fitted in turn.

    With MEG, training starts from a linear model in closed form: regression on lagged
    features, whitened by the noise of all people's sensors, localised over all people
    at once with variances of sources that follow fMRI (see the modules' docstrings).
    The error of MEG is the squared error whitened by what the linear model leaves. The
    error of fMRI is that of a regression on the predicted response at each source,
    weighted by how well its fMRI follows the stimulus at all.

    References
    ----------
    .. [1] Jin et al. (2025), "Estimating brain activity with high spatial and temporal
       resolution using a naturalistic MEG-fMRI encoding model", arXiv:2510.09415.

    Examples
    --------
    See :doc:`/guide/stories`, which has one.
    """

    def __init__(
        self,
        sfreq: float = 50.0,
        *,
        lags: float = 0.7,
        lag_step: float = 0.04,
        n_components: int = 32,
        orientation: str = "fixed",
        modalities: tuple[str, ...] = ("meg", "fmri"),
        fmri_response: str = "power",
        feature_regions: Sequence[int] | None = None,
        fmri_weight: float = 0.1,
        extent: float = 0.006,
        smoothness: float = 1e-3,
        temporal_smoothness: float = 0.0,
        depth: float = 0.8,
        n_linear: int = 64,
        d_model: int = 64,
        n_layers: int = 2,
        n_heads: int = 4,
        context: float = 2.0,
        dropout: float = 0.1,
        n_epochs: int = 40,
        learning_rate: float = 2e-3,
        chunk_duration: float = 20.0,
        device: str | None = None,
        random_state: int | None = 0,
        verbose: bool | str | int | None = None,
    ) -> None:
        self.sfreq = sfreq
        self.lags = lags
        self.lag_step = lag_step
        self.n_components = n_components
        self.orientation = orientation
        self.modalities = modalities
        self.fmri_response = fmri_response
        self.feature_regions = feature_regions
        self.fmri_weight = fmri_weight
        self.extent = extent
        self.smoothness = smoothness
        self.temporal_smoothness = temporal_smoothness
        self.depth = depth
        self.n_linear = n_linear
        self.d_model = d_model
        self.n_layers = n_layers
        self.n_heads = n_heads
        self.context = context
        self.dropout = dropout
        self.n_epochs = n_epochs
        self.learning_rate = learning_rate
        self.chunk_duration = chunk_duration
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    # -- fitting -----------------------------------------------------------------------
    @use_verbose
    def fit(self, stimulus: Any, recordings: Mapping[str, Mapping[str, Any]]) -> Any:
        """Fit the sources to the recordings of all people.

        Parameters
        ----------
        stimulus : dict of array | array
            Features of each story, shape (n_times, n_features), at `sfreq`. An array
            is one story.
        recordings : dict of dict
            For each person some of

            - ``'meg'``: by story an ``mne.io.Raw`` or ``mne.Epochs`` that starts with
              the story, or a list of repeats. Times annotated as BAD are left out.
            - ``'forward'``: their ``mne.Forward``, of the source space of all.
            - ``'noise_cov'``: their ``mne.Covariance``.
            - ``'fmri'``: by story an array (n_scans, n_sources), an image, or a list of
              repeats. Where no person has a forward solution, columns are regions.
            - ``'tr'``: the time between scans in s.
            - ``'fmri_start'``: the time of the first scan in s (0).

        Returns
        -------
        self : LatentSourceEncoder
            Fitted.

        Raises
        ------
        ValueError
            If recordings, stimulus and forward solutions do not fit one another.
        ImportError
            If there is fMRI and nilearn is not installed.
        """
        stimulus, people, rng = self._prepare(stimulus, recordings, None)
        self.n_features_in_ = next(iter(stimulus.values())).shape[1]
        n_epochs, self.history_ = self.n_epochs, []
        if n_epochs:
            # how long to train follows from the ends of stories, which nothing has seen
            metrics = self._start(
                # not kept: it is as large as the recordings
                without_ends(people, stimulus, VALIDATION),
                stimulus,
                rng,
            )
            n_epochs, self.history_ = self._train(
                people, stimulus, metrics, rng, n_epochs, stop_early=True
            )
            logger.info(
                "The error of the ends of stories is least after %d epochs of %d",
                n_epochs,
                len(self.history_) - 1,
            )
        metrics = self._start(people, stimulus, rng)
        self._train(people, stimulus, metrics, rng, n_epochs, stop_early=False)
        self.n_epochs_ = n_epochs
        return self

    def _start(self, people, stimulus, rng) -> dict[str, NDArray]:
        """Make the network as a linear model, and whiten what it leaves of MEG."""
        design = LaggedDesign(
            stimulus,
            max(1, int(round(self.lags * self.sfreq))),
            self.n_linear,
            max(1, int(round(self.lag_step * self.sfreq))),
        )
        self.evidence_ = self._evidence(people, stimulus, design)
        with_meg = [p for p in people if p.meg]
        n_orientations = 1 if self.orientation == "fixed" else 3
        if with_meg:
            start, metrics = fit_linear(
                with_meg,
                stimulus,
                design,
                self.n_components,
                n_orientations,
                self.evidence_ if self.evidence_.any() else None,
                self.depth,
                self._smoothing,
            )
            kernel, maps = start.kernel, start.maps
            self.source_variance_ = start.variance
        else:
            metrics = {}
            if self.fmri_response == "linear":
                kernel, maps = fit_linear_fmri(
                    people,
                    stimulus,
                    design,
                    self.n_components,
                    self.sfreq,
                    self._feature_regions(design),
                )
            else:
                kernel, maps = self._start_without_meg(design, stimulus, rng)
            self.source_variance_ = np.zeros(len(self.evidence_))
        config = LatentSourceConfig(
            n_features=self.n_features_in_,
            n_linear=design.reduce.shape[1],
            n_lags=design.basis.shape[1],
            n_components=len(kernel),
            n_sources=self.space_.n_sources,
            n_orientations=n_orientations,
            d_model=self.d_model,
            n_layers=self.n_layers,
            n_heads=self.n_heads,
            context=max(1, int(round(self.context * self.sfreq))),
            dropout=self.dropout,
        )
        network = make_network(config, design, kernel, maps, rng)
        self.network_ = network.to(self._device())
        self.people_ = {}
        return metrics

    @use_verbose
    def partial_fit(
        self,
        stimulus: Any,
        recordings: Mapping[str, Mapping[str, Any]],
        n_epochs: int | None = None,
    ) -> Any:
        """Train further, on other stories or people.

        Parameters
        ----------
        stimulus : dict of array | array
            As for `fit`.
        recordings : dict of dict
            As for `fit`, of the same source space. New people are added.
        n_epochs : int | None
            Passes over these data; None is `n_epochs` of the encoder.

        Returns
        -------
        self : LatentSourceEncoder
            Trained further; fitted first if it was not.
        """
        if not hasattr(self, "network_"):
            return self.fit(stimulus, recordings)
        stimulus, people, rng = self._prepare(stimulus, recordings, self.space_)
        network = self.network_.to(self._device())
        metrics = residual_metrics(network, people, stimulus, noise_metric)
        if any(p.fmri for p in people):
            found = self._evidence(people, stimulus, NetworkDesign(network))
            self.evidence_ = np.maximum(self.evidence_, found)
        n_epochs = self.n_epochs if n_epochs is None else n_epochs
        self._train(people, stimulus, metrics, rng, n_epochs, stop_early=False)
        return self

    def _prepare(self, stimulus, recordings, space):
        """Check all input once."""
        self._check_parameters()
        n_features = getattr(self, "n_features_in_", None) if space else None
        stimulus = check_stimulus(stimulus, n_features)
        people = prepare_people(
            keep_modalities(recordings, self.modalities),
            stimulus,
            self.sfreq,
            self.orientation,
            space,
        )
        if space is None:
            self.space_ = next(p.space for p in people if p.space is not None)
            if self.space_.kind == "regions" and self.orientation == "free":
                raise ValueError(
                    "Expected orientation='fixed' with regions, got 'free'; give "
                    "forward solutions for directions."
                )
        n_sources = self.space_.n_sources
        self._laplacian = sparse.csr_array((n_sources, n_sources))
        self._smoothing = sparse.csr_array(sparse.eye_array(n_sources))
        if self.space_.kind != "regions":
            src = next(p.src for p in people if p.src is not None)
            self._laplacian = laplacian(src)
            self._smoothing = smoothing(src, self.extent)
        return stimulus, people, np.random.default_rng(self.random_state)

    def _check_parameters(self) -> None:
        for name, allowed in (
            ("orientation", ("fixed", "free")),
            ("fmri_response", ("power", "amplitude", "linear")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"Expected {name} to be one of {allowed}, got "
                    f"{getattr(self, name)!r}."
                )
        if self.fmri_response == "linear" and self.orientation == "free":
            raise ValueError(
                "Expected fmri_response='power' or 'amplitude' with "
                "orientation='free', got 'linear', which needs one direction."
            )
        modalities = tuple(self.modalities)
        if not modalities or not set(modalities) <= {"meg", "fmri"}:
            raise ValueError(
                f"Expected modalities of 'meg' and 'fmri', got {self.modalities!r}."
            )
        for name in ("sfreq", "lags", "lag_step", "context", "chunk_duration"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"Expected a positive {name}, got {value!r}.")
        if not (np.isfinite(self.extent) and self.extent >= 0):
            raise ValueError(f"Expected extent in m, at least 0, got {self.extent!r}.")

    def _device(self) -> torch.device:
        if self.device is not None:
            return torch.device(self.device)
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def _evidence(self, people, stimulus, design) -> NDArray[np.float64]:
        with_fmri = [p for p in people if p.fmri]
        if not with_fmri:
            return np.zeros(self.space_.n_sources)
        return fmri_evidence(with_fmri, stimulus, design, self.sfreq)

    def _feature_regions(self, design) -> NDArray[np.int_] | None:
        """Check which region each feature belongs to."""
        if self.feature_regions is None:
            return None
        regions, n_regions = np.asarray(self.feature_regions), self.space_.n_sources
        shape = (self.n_features_in_,)
        whole = regions.dtype.kind == "i" and regions.shape == shape
        if not whole or regions.min() < -1 or regions.max() >= n_regions:
            raise ValueError(
                f"Expected feature_regions as {shape[0]} integers from -1 to "
                f"{n_regions - 1}, one for each feature, got {self.feature_regions!r}."
            )
        if design.reduce.shape[1] < len(regions):
            raise ValueError(
                f"Expected n_linear of at least {len(regions)}, one for each feature, "
                f"with feature_regions, got {self.n_linear}."
            )
        return regions

    def _start_without_meg(self, design, stimulus, rng):
        """Draw components and maps; courses are not known without MEG."""
        n_columns = design.reduce.shape[1] * len(design.basis)
        n_components = min(self.n_components, _N_WITHOUT_MEG)
        x = np.vstack([design(f) for f in stimulus.values()])
        weights = rng.standard_normal((n_columns, n_components))
        weights /= np.maximum((x @ weights).std(axis=0), 1e-12)
        n_rows = self.space_.n_sources * (1 if self.orientation == "fixed" else 3)
        size = np.repeat(
            np.sqrt(self.evidence_ / max(self.evidence_.max(), 1e-12)),
            n_rows // self.space_.n_sources,
        )
        maps = 0.1 * (size[:, None] + 0.1) * rng.standard_normal((n_rows, n_components))
        return design.kernel(weights), maps

    def _train(self, people, stimulus, metrics, rng, n_epochs, stop_early):
        """Train the network, and keep what belongs to people."""
        device = self.network_.maps.device
        heads = {}
        for person in people:
            known = self.people_.get(person.name)
            if known is not None and known.scale is not None:
                hrf = known.hrf
            else:
                hrf = self._fit_hrf(person, stimulus)
            heads[person.name] = Head.of(person, metrics.get(person.name), hrf, device)
        has_fmri = any(p.fmri for p in people)
        kernels = None
        if has_fmri:
            kernels = torch.as_tensor(
                hrf_basis(self.sfreq), dtype=torch.float32, device=device
            )
        precision = None
        if self.source_variance_.any():
            precision = torch.as_tensor(
                1 / self.source_variance_, dtype=torch.float32, device=device
            )
        has_meg = any(p.meg for p in people)
        penalties = Penalties(
            fmri=self.fmri_weight if has_meg else 1.0,
            smoothness=self.smoothness,
            temporal=self.temporal_smoothness,
            precision=precision,
            laplacian=sparse_tensor(self._laplacian, device),
            smoothing=sparse_tensor(self._smoothing, device),
            evidence=evidence_weights(self.evidence_, device),
        )
        trainer = Trainer(
            self.network_,
            heads,
            stimulus,
            kernels,
            penalties,
            self.sfreq,
            self.chunk_duration,
            self.fmri_response,
        )
        best, scores = 0, []
        if n_epochs:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(rng.integers(2**31)))
                best, scores = trainer.train(
                    n_epochs,
                    self.learning_rate,
                    rng,
                    stop_early,
                    "Finding when to stop" if stop_early else "Training",
                )
        self.network_.eval()
        for person in people:
            self._keep(person, heads[person.name], stimulus)
        return best, scores

    def _fit_hrf(self, person: Person, stimulus) -> NDArray[np.float64]:
        """Fit the haemodynamic response of a person to the sources of now."""
        parts, data = [], []
        for story, run in person.fmri.items():
            x = [self._bold(stimulus[story], w, run.at) for w in np.eye(3)]
            parts.append(np.array(x) - np.mean(x, axis=1, keepdims=True))
            data.append(run.data / np.maximum(run.data.std(axis=0), 1e-12))
        if not parts:
            return np.array([1.0, 0.0, 0.0])
        trust = self.evidence_ if self.evidence_.any() else np.ones(len(self.evidence_))
        return fit_hrf(np.concatenate(parts, axis=1), np.vstack(data), trust)

    def _keep(self, person: Person, head: Head, stimulus) -> None:
        """Keep a person's head, and fit the units of their fMRI."""
        hrf = head.hrf.detach().cpu().numpy().astype(float)
        scale = None
        if person.fmri:
            product = square = 0.0
            for story, run in person.fmri.items():
                x = self._bold(stimulus[story], hrf, run.at)
                x = x - x.mean(axis=0)
                product = product + np.sum(x * run.data, axis=0)
                square = square + np.sum(x**2, axis=0)
            # weak sources have no scale of their own
            scale = np.maximum(product, 0.0) / (square + 0.1 * np.mean(square) + 1e-30)
        old = self.people_.get(person.name)
        if old is not None and not person.fmri:
            hrf, scale = old.hrf, old.scale
        self.people_[person.name] = KnownPerson(
            ch_names=person.ch_names or (old.ch_names if old else []),
            gain=person.gain if person.meg else (old.gain if old else None),
            whitener=person.whitener if person.meg else (old.whitener if old else None),
            hrf=hrf,
            scale=scale,
            tr=person.tr or (old.tr if old else 0.0),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {k: v for k, v in state.items() if k not in _NOT_KEPT}
