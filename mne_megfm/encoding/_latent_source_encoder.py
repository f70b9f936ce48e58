"""The estimator: stories and recordings of several people to cortical sources."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
import torch
from mne.utils import logger
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from ..models import LatentSourceConfig, bold
from ..utils.validation import use_verbose
from ._checkpoint import KnownPerson, load_encoder, save_encoder
from ._hemodynamics import fit_hrf, hrf_basis, scan_samples
from ._linear_start import (
    LaggedDesign,
    NetworkDesign,
    fit_linear,
    fmri_evidence,
    make_network,
    noise_metric,
)
from ._recordings import (
    NANO,
    Person,
    check_stimulus,
    keep_modalities,
    oriented_gain,
    prepare_people,
    without_ends,
)
from ._scores import correlation_table
from ._source_space import SourceSpace, laplacian, source_estimate
from ._training import (
    VALIDATION,
    Head,
    Penalties,
    Trainer,
    evidence_weights,
    residual_metrics,
    sparse_tensor,
)

# components with fMRI alone, where nothing tells how many there are
_N_WITHOUT_MEG = 8


class LatentSourceEncoder(BaseEstimator):
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
    fmri_response : 'power' | 'amplitude'
        What of the sources fMRI follows.
    fmri_weight : float
        Weight of the error of fMRI beside that of MEG. Both are mean squares over
        those of the recordings, MEG whitened.
    smoothness : float
        Weight of differences between neighbouring sources.
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
        Of the transformer; maps and linear responses learn ten times slower.
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
    Training starts from a linear model in closed form: regression on lagged features,
    whitened by the noise of all people's sensors, localised over all people at once
    with variances of sources that follow fMRI (see the modules' docstrings). The error
    of MEG is the squared error whitened by what the linear model leaves. The error of
    fMRI is that of a regression on the predicted response at each source, weighted by
    how well its fMRI follows the stimulus at all.

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
        fmri_weight: float = 0.1,
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
        self.fmri_weight = fmri_weight
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
              repeats.
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
            shorter = without_ends(people, stimulus, VALIDATION)
            metrics = self._start(shorter, stimulus, rng)
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
            )
            kernel, maps = start.kernel, start.maps
            self.source_variance_ = start.variance
        else:
            kernel, maps, metrics = self._start_without_meg(design, stimulus, rng)
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
        self._laplacian = laplacian(next(p.src for p in people if p.src is not None))
        return stimulus, people, np.random.default_rng(self.random_state)

    def _check_parameters(self) -> None:
        for name, allowed in (
            ("orientation", ("fixed", "free")),
            ("fmri_response", ("power", "amplitude")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"Expected {name} to be one of {allowed}, got "
                    f"{getattr(self, name)!r}."
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

    def _device(self) -> torch.device:
        if self.device is not None:
            return torch.device(self.device)
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def _evidence(self, people, stimulus, design) -> NDArray[np.float64]:
        with_fmri = [p for p in people if p.fmri]
        if not with_fmri:
            return np.zeros(self.space_.n_sources)
        return fmri_evidence(with_fmri, stimulus, design, self.sfreq)

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
        return design.kernel(weights), maps, {}

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
            wide = np.repeat(self.source_variance_, self.network_.config.n_orientations)
            precision = torch.as_tensor(1 / wide, dtype=torch.float32, device=device)
        has_meg = any(p.meg for p in people)
        penalties = Penalties(
            fmri=self.fmri_weight if has_meg else 1.0,
            smoothness=self.smoothness,
            temporal=self.temporal_smoothness,
            precision=precision,
            laplacian=sparse_tensor(self._laplacian, device),
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

    # -- prediction --------------------------------------------------------------------
    def _components(self, features: NDArray) -> NDArray[np.float64]:
        """Compute components in double precision."""
        network = self.network_
        with torch.no_grad():
            x = torch.as_tensor(
                features, dtype=torch.float64, device=network.mean.device
            )
            try:
                return network.double().eval()(x[None])[0].cpu().numpy()
            finally:
                network.float()

    def _sources(self, features: NDArray) -> NDArray[np.float64]:
        """Give courses of sources in nAm, shape (n_rows, n_times)."""
        maps = self.network_.maps.detach().cpu().double().numpy()
        return maps @ self._components(features).T

    def _bold(self, features: NDArray, hrf: NDArray, at: NDArray) -> NDArray:
        """Compute the haemodynamic response, shape (n_scans, n_sources)."""
        network = self.network_
        kernel = hrf @ hrf_basis(self.sfreq)
        with torch.no_grad():
            z = torch.as_tensor(self._components(features)).to(network.maps.device)
            try:
                out = bold(
                    network.double(),
                    z,
                    torch.as_tensor(kernel[None]).to(z.device),
                    torch.as_tensor(at).to(z.device),
                    self.fmri_response,
                )
            finally:
                network.float()
        return out[0].cpu().numpy()

    def predict(
        self,
        stimulus: Any,
        participant: str | None = None,
        *,
        forward: mne.Forward | None = None,
        modality: str = "meg",
        whitened: bool = False,
        tr: float | None = None,
        fmri_start: float = 0.0,
        n_scans: int | None = None,
    ) -> Any:
        """Predict the MEG or fMRI of a person.

        Parameters
        ----------
        stimulus : dict of array | array
            Features, as for `fit`.
        participant : str | None
            A person of training. None predicts for a new one: MEG from `forward`, fMRI
            with the mean haemodynamic response and scale of those in training.
        forward : mne.Forward | None
            Forward solution of a new person, or another one of a known person.
        modality : 'meg' | 'fmri'
            What to predict.
        whitened : bool
            Give whitened MEG (known people).
        tr : float | None
            Time between scans in s; None is the person's.
        fmri_start : float
            Time of the first scan in s.
        n_scans : int | None
            How many scans; None fills the stimulus.

        Returns
        -------
        predicted : array | dict of array
            MEG of shape (n_times, n_channels), in SI units, for the channels of
            ``people_[participant].ch_names`` or of `forward`; or fMRI of shape
            (n_scans, n_sources), in the units of training, without a mean. A dict for
            a dict.

        Raises
        ------
        ValueError
            If the person is not known, or has no such recordings.
        """
        check_is_fitted(self)
        single = not isinstance(stimulus, Mapping)
        stimulus = check_stimulus(stimulus, self.n_features_in_)
        if modality == "meg":
            matrix = self._meg_matrix(participant, forward, whitened)
            out = {s: self._sources(x).T @ matrix.T for s, x in stimulus.items()}
        elif modality == "fmri":
            hrf, scale, own_tr = self._fmri_head(participant)
            tr = own_tr if tr is None else tr
            out = {}
            for story, x in stimulus.items():
                n = n_scans
                if n is None:
                    n = int((len(x) / self.sfreq - fmri_start) / tr + 1e-9)
                at = scan_samples(n, tr, fmri_start, self.sfreq)
                out[story] = scale * self._bold(x, hrf, at)
        else:
            raise ValueError(f"Expected modality 'meg' or 'fmri', got {modality!r}.")
        return next(iter(out.values())) if single else out

    def _meg_matrix(self, participant, forward, whitened) -> NDArray[np.float64]:
        if forward is not None:
            self.space_.check_same(SourceSpace.of(forward), participant or "forward")
            gain = (
                NANO
                * oriented_gain(forward, self.orientation, participant or "forward")[1]
            )
            if whitened:
                raise ValueError(
                    "Expected whitened=False with a forward solution, which has no "
                    "noise covariance; give participant alone."
                )
            return gain
        person = self._known(participant)
        if person.gain is None:
            raise ValueError(
                f"Expected a person with MEG, got {participant!r}; give forward=."
            )
        return person.whitener @ person.gain if whitened else person.gain

    def _known(self, participant: str | None) -> KnownPerson:
        if participant not in self.people_:
            raise ValueError(
                f"Expected participant as one of {', '.join(self.people_)}, got "
                f"{participant!r}; give forward= for another person."
            )
        return self.people_[participant]

    def _fmri_head(self, participant):
        if participant is not None and participant in self.people_:
            people = [self._known(participant)]
        else:
            people = list(self.people_.values())
        people = [p for p in people if p.scale is not None]
        if not people:
            raise ValueError(
                f"Expected a person with fMRI, got {participant!r}; None takes the "
                "mean of all who have fMRI."
            )
        # a haemodynamic response is known up to its size
        hrf = np.mean([p.hrf / p.hrf[0] for p in people], axis=0)
        scale = np.mean([p.scale * p.hrf[0] for p in people], axis=0)
        return hrf, scale, people[0].tr

    def estimate_sources(self, stimulus: Any) -> Any:
        """Estimate the sources of a stimulus.

        Parameters
        ----------
        stimulus : dict of array | array
            Features, as for `fit`.

        Returns
        -------
        stc : mne.SourceEstimate | mne.VectorSourceEstimate | dict
            Currents in A m; a volume estimate for a volume. Vector estimates with
            free orientation. A dict for a dict.
        """
        check_is_fitted(self)
        single = not isinstance(stimulus, Mapping)
        out = {}
        for story, features in check_stimulus(stimulus, self.n_features_in_).items():
            data = NANO * self._sources(features)
            if self.orientation == "free":
                data = data.reshape(self.space_.n_sources, 3, -1)
            out[story] = source_estimate(data, self.space_, self.sfreq)
        return next(iter(out.values())) if single else out

    def hrf_delays(self) -> pd.Series:
        """Give the delay of each person's haemodynamic response.

        Returns
        -------
        delays : Series
            In s, relative to Glover's response, of each person with fMRI: minus the
            weight of the time derivative over that of the response.
        """
        check_is_fitted(self)
        delays = {
            name: -p.hrf[1] / p.hrf[0]
            for name, p in self.people_.items()
            if p.scale is not None
        }
        return pd.Series(delays, name="delay", dtype=float)

    # -- scores ------------------------------------------------------------------------
    @use_verbose
    def evaluate(
        self, stimulus: Any, recordings: Mapping[str, Mapping[str, Any]]
    ) -> pd.DataFrame:
        """Correlate predictions with recordings at each sensor and source.

        Parameters
        ----------
        stimulus : dict of array | array
            As for `fit`.
        recordings : dict of dict
            As for `fit`; also of people who were not in training.

        Returns
        -------
        table : DataFrame
            Columns ``participant``, ``modality``, ``name``, ``correlation``,
            ``ceiling``, ``normalized`` (correlation over ceiling); the last two are NaN
            without repeats.
        """
        check_is_fitted(self)
        stimulus = check_stimulus(stimulus, self.n_features_in_)
        people = prepare_people(
            keep_modalities(recordings, self.modalities),
            stimulus,
            self.sfreq,
            self.orientation,
            self.space_,
        )

        def predict(person: Person, modality: str, story: str) -> NDArray:
            features = stimulus[story]
            if modality == "meg":
                return self._sources(features).T @ person.gain.T
            known = self.people_.get(person.name)
            name = person.name if known and known.scale is not None else None
            hrf, scale, _ = self._fmri_head(name)
            return scale * self._bold(features, hrf, person.fmri[story].at)

        return correlation_table(people, predict)

    def score(
        self, stimulus: Any, recordings: Mapping[str, Mapping[str, Any]]
    ) -> float:
        """Give the mean correlation with MEG, or with fMRI where there is no MEG.

        Parameters
        ----------
        stimulus : dict of array | array
            As for `fit`.
        recordings : dict of dict
            As for `fit`.

        Returns
        -------
        score : float
            Mean over sensors, then over people.
        """
        table = self.evaluate(stimulus, recordings)
        kind = "meg" if (table["modality"] == "meg").any() else "fmri"
        table = table[table["modality"] == kind]
        return float(table.groupby("participant")["correlation"].mean().mean())

    # -- checkpoints -------------------------------------------------------------------
    def save(self, directory: str | os.PathLike, *, overwrite: bool = False) -> Path:
        """Write a checkpoint: arrays as safetensors, the rest as JSON with hashes.

        Parameters
        ----------
        directory : path-like
            The folder; made if needed.
        overwrite : bool
            Whether to replace a checkpoint that is there.

        Returns
        -------
        directory : Path
            The folder.

        Raises
        ------
        FileExistsError
            If there is a checkpoint and `overwrite` is False.
        """
        check_is_fitted(self)
        return save_encoder(self, directory, overwrite)

    @classmethod
    def load(cls, directory: str | os.PathLike) -> LatentSourceEncoder:
        """Read a checkpoint.

        Parameters
        ----------
        directory : path-like
            A folder that `save` wrote.

        Returns
        -------
        encoder : LatentSourceEncoder
            As it was, on the CPU.

        Raises
        ------
        FileNotFoundError
            If there is no checkpoint.
        ValueError
            If it is damaged.
        """
        return load_encoder(cls, directory)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in super().__getstate__().items() if k != "_laplacian"}
