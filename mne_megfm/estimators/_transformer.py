"""MEG recordings to features, as one step of a scikit-learn pipeline."""

from __future__ import annotations

import copy
import inspect
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import torch
from mne.utils import warn
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..inputs import Recordings, as_recordings
from ..inputs.windows import check_forms
from ..models import (
    BackboneConfig,
    ParticipantTransformer,
    RandomMasking,
    SpaceBlockMasking,
    TimeBlockMasking,
    fit_pooling,
    fit_token_projection,
    masked_r2,
    random_fields,
)
from ..participants import Aggregator
from ..plugins import get, resolve
from ..utils.validation import check_embeddings, use_verbose
from ..weights import delete_participant_parts, save_checkpoint
from ._initialization import (
    Pretraining,
    find_device,
    start_aggregator,
    start_model,
    start_pooling,
)
from .extraction import SUFFIX, PooledRows, fit_denoising, gather_windows
from .frozen import Kept, digest_recordings, stamp

if TYPE_CHECKING:
    import pandas as pd

_AXES_WINDOWS = 2000


class BaseMEGFM(BaseEstimator):
    """An estimator around a masked-signal transformer.

    Subclasses have the parameters of
    :class:`~mne_megfm.estimators.MEGFMTransformer`.
    """

    def _fit_model(
        self,
        recordings: Recordings | None,
        targets: Any = None,
        needs_tokens: bool = True,
    ) -> None:
        """Load or draw weights, and pretrain on recordings where that is asked for."""
        training_settings = self.pretraining
        parts = [("backbones", self.backbone)]
        if training_settings is not None:
            training_settings._validate_params()
            parts += [
                ("maskings", training_settings.masking),
                ("objectives", training_settings.objective),
            ]
        for kind, part in parts:
            # a wrong name is an error also where nothing uses it
            if part is not None:
                (get if isinstance(part, str) else resolve)(kind, part)
        self.sensor_mapping_, self._denoises = self._resolve_mapping()
        device = find_device(self.device)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        model, training = start_model(
            self.weights, self.sensor_mapping_, self.backbone, self.config, seed
        )
        self.pooling_, self._fits_pooling = start_pooling(
            self.pooling, self.weights, model, seed
        )
        fields = None
        if self.weights is None and self.pretraining is None:
            # nothing is learnt from X: a network at its random start
            fields = random_fields(self.sensor_mapping_.kernel, model.config, seed)
            training = {"random_weights": {"random_state": seed}}
        self.denoising_ = None
        self.aggregator_, seen = start_aggregator(
            self.aggregation, self.weights, model, fields, self.pretraining, seed
        )
        if fields is not None and (needs_tokens or self.aggregator_.pools_rows):
            fit_token_projection(model, fields, len(fields), random_state=seed)
        self.model_ = model.to(device)
        self.pooling_.to(device)
        self.config_ = model.config
        self.history_ = None
        if self.pretraining is not None:
            training = training | self._train(recordings, seed, targets)
        if self.weights is None and self.aggregator_.own_files:
            seen = {"participant_encoder": training}
        self.provenance_ = training | seen

    def _resolve_mapping(self) -> tuple[Callable, bool]:
        """Make the mapping; say whether features of epochs are denoised, too."""
        mapping = self.sensor_mapping
        if not isinstance(mapping, str):
            return resolve("sensor_mappings", mapping), False
        if mapping == "auto":
            mapping = "canonical" + SUFFIX
        name = mapping.removesuffix(SUFFIX)
        return resolve("sensor_mappings", name), name != mapping

    def _warn_unused(self, sample: str) -> None:
        """Name parameters that were set and have no effect."""
        pools = sample == "epoch" or self.aggregator_.pools_rows
        idle = {
            "features by the participant encoder, which reads signals "
            "(aggregation='mean_std' pools tokens)": (
                () if pools else ("pooling", "pretraining")
            ),
            "a row an epoch": (
                ("aggregation",)
                if sample == "epoch" and not getattr(self.aggregation, "of_head", False)
                else ()
            ),
        }
        defaults = inspect.signature(type(self)).parameters
        found = [
            f"{', '.join(changed)} with {reason}"
            for reason, names in idle.items()
            if (changed := [n for n in names if self._differs(n, defaults[n].default)])
        ]
        if sample == "participant" and self._denoises and self.sensor_mapping != "auto":
            found.append(
                f"sensor_mapping={self.sensor_mapping!r} with participants, whose "
                "signals are not denoised here"
            )
        if found:
            warn(f"Parameters that are set have no effect: {'; '.join(found)}.")

    def _differs(self, name: str, default: Any) -> bool:
        value = getattr(self, name)
        return value is not default and not (
            isinstance(value, type(default)) and value == default
        )

    def _train(self, recordings: Recordings, seed: int, targets: Any) -> dict:
        # inference loads no training code
        from ..pretraining import pretrain, resolve_objective

        settings = self.pretraining
        # one with weights of its own is trained, and parameters stay as given
        objective = copy.deepcopy(resolve_objective(settings.objective))
        if not getattr(objective, "needs_targets", False):
            targets = None  # labels, which are for later steps
        elif targets is not None:
            targets = check_embeddings(targets, recordings.n_rows)
        windows = gather_windows(
            recordings, self.sensor_mapping_, self.config_, self.batch_size, targets
        )
        named = isinstance(settings.masking, str)
        self.history_ = pretrain(
            self.model_,
            windows,
            self._region_pos(),
            masking=resolve(
                "maskings",
                settings.masking,
                **({"mask_ratio": settings.mask_ratio} if named else {}),
            ),
            objective=objective,
            max_epochs=settings.max_epochs,
            batch_size=self.batch_size,
            lr=settings.lr,
            validation_fraction=settings.validation_fraction,
            patience=settings.patience,
            bf16=settings.bf16,
            random_state=seed,
        )
        if self.weights is None:
            fit_token_projection(self.model_, windows, _AXES_WINDOWS, random_state=seed)
        n_epochs = len(self.history_.epoch)
        seen = {"windows": len(windows), "rows": recordings.n_rows}
        return {"fitted_on": {**seen, "epochs": n_epochs, "seed": seed}}

    def _fit_pooling(self, recordings: Recordings) -> None:
        """Fit a pooling that learns from tokens, and was not loaded with weights."""
        if self._fits_pooling:
            windows = gather_windows(
                recordings, self.sensor_mapping_, self.config_, self.batch_size
            )
            seed = int(check_random_state(self.random_state).randint(2**31 - 1))
            fit_pooling(self.pooling_, self.model_, windows, random_state=seed)

    def _recordings(self, X: Any) -> Recordings:
        return as_recordings(
            X,
            duration=self.duration,
            overlap=self.overlap,
        )

    def _region_pos(self) -> torch.Tensor:
        return torch.from_numpy(np.array(self.sensor_mapping_.array.region_pos))

    def _rows(self) -> PooledRows:
        """Give what encodes and pools rows."""
        return PooledRows(
            self.model_, self.pooling_, self.sensor_mapping_, self.batch_size
        )

    @property
    def participant_encoder_(self) -> ParticipantTransformer | None:
        """The participant encoder; None if features need none."""
        return getattr(self.aggregator_, "encoder", None)

    def save_pretrained(
        self, directory: str | os.PathLike, *, overwrite: bool = False
    ) -> Path:
        """Write the model for ``MEGFMTransformer(weights=directory)``.

        Parameters
        ----------
        directory : path-like
            The folder; made if it does not exist.
        overwrite : bool
            Whether an existing checkpoint may be replaced.

        Returns
        -------
        directory : Path
            The folder.

        Raises
        ------
        FileExistsError
            If the folder has files and ``overwrite`` is False.
        """
        check_is_fitted(self, "model_")
        card = (
            "# Weights for mne-megfm\n\nWritten by `MEGFMTransformer.save_pretrained`. "
            "What they have seen:\n\n```json\n"
            f"{json.dumps(self.provenance_, indent=2)}\n```\n\n"
            "Not for diagnosis.\n"
        )
        path = save_checkpoint(
            directory,
            self.model_,
            pooling=self.pooling_,
            aggregator=None if self.aggregator_.own_files else self.aggregator_,
            card=card,
            training=self.provenance_,
            overwrite=overwrite,
        )
        delete_participant_parts(path)  # of what was there before
        if self.aggregator_.own_files:
            self.aggregator_.save(path, self.model_, self.provenance_)
        return path

    def __getstate__(self) -> dict:
        state = super().__getstate__()
        model = state.get("model_")
        if model is not None and next(model.parameters()).device.type != "cpu":
            # a pickle must open where there is no GPU
            for name in ("model_", "pooling_"):
                state = state | {name: copy.deepcopy(state[name]).cpu()}
        return state


class AggregatesParticipants:
    """The part of a transformer that makes one row of each participant."""

    def _read(self, recordings: Recordings) -> list[dict[str, Any]]:
        """Read what there is to know of each state of each participant by itself."""
        rows = self._rows()
        if self.memory is None:
            return self.aggregator_.read(recordings, rows)
        keep, mark = Kept(self.memory), stamp(self)
        return [
            keep(
                lambda part=part: self.aggregator_.read(part.alone(), rows)[0],
                mark,
                digest_recordings(part),
            )
            for part in recordings.split_elements()
        ]

    def _combine_states(self, read: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Put together what `_read` gave, of any states together."""
        return self.aggregator_.combine(read)

    def _fit_participants(self, extracted: list[Mapping[str, Any]]) -> None:
        self.aggregator_.fit(extracted)
        self._keep_fitted()

    def _keep_fitted(self) -> None:
        self.states_ = self.aggregator_.states
        # what reads signals takes rows of any length
        forms = getattr(self.aggregator_, "forms", {})
        self.n_patches_ = {state: form.n_patches for state, form in forms.items()}

    # -- in parts, for many folds: see `frozen` -------------------------------
    def _is_frozen(self) -> bool:
        fits = not isinstance(self.pooling, str) and hasattr(self.pooling, "fit")
        if isinstance(self.pooling, str):
            fits = hasattr(get("poolings", self.pooling), "fit")
        return self.pretraining is None and self.sample != "epoch" and not fits

    def _load_frozen(self) -> None:
        self._validate_params()
        # participant encoders read signals, and the projection takes its time
        self._fit_model(None, needs_tokens=False)
        self.sample_ = "participant"
        self._warn_unused(self.sample_)

    @use_verbose
    def _read_participants(self, X: Any) -> list[dict[str, Any]]:
        return self._read(self._recordings(X))

    def _fit_extracted(
        self, extracted: list[Mapping[str, Any]], y: Any = None
    ) -> AggregatesParticipants:
        # the step that this is a copy of shares it
        self.aggregator_ = copy.deepcopy(self.aggregator_)
        self._fit_participants(extracted)
        return self

    def _transform_extracted(
        self, extracted: list[Mapping[str, Any]]
    ) -> NDArray[np.float32]:
        return self.aggregator_.transform(extracted)


class MEGFMTransformer(TransformerMixin, AggregatesParticipants, BaseMEGFM):
    """Features of MEG recordings from a masked-signal transformer.

    Recordings of any MEG system are mapped to a canonical array of virtual
    magnetometers, cut into windows of 1 s at 250 Hz, encoded by the transformer and
    pooled. Without ``pretraining`` (the default) the weights are frozen; with it, `fit`
    trains by masked-signal reconstruction on ``X``, without labels.

    Parameters
    ----------
    weights : str | path-like | None
        Name of bundled weights, a folder written by `save_pretrained`, or None to
        start from random weights.
    sample : {"auto", "epoch", "participant"}
        What a row is. ``"epoch"``: an epoch, a window of a Raw, an Evoked.
        ``"participant"``: an element of the list, from all its epochs and windows.
        ``"auto"`` is settled by `fit`: participants if ``X`` is a list and any
        element has several rows, epochs otherwise.
    pooling : str | callable
        How tokens become features: ``"projection"`` (where, when, and the leading axes
        of each token), ``"tokens"`` (everything), ``"time"``, ``"space"``,
        ``"mean"``, ``"rwmoe"`` (experts that gather tokens over regions and times,
        fitted without labels where the weights have none), or an instance, see
        :mod:`mne_megfm.models`. The participant encoder does not pool tokens.
    aggregation : str | Aggregator
        How a participant's rows become one: a name, or an instance, see
        :class:`~mne_megfm.participants.Aggregator`. ``"parameters+measures"``: seven
        hand-made measures, and posterior means of 60 parameters of physiology, see
        Notes. ``"parameters"``: the parameters alone. ``"measures"``: more measures,
        with maps of the responses. ``"measures+evoked"``: the same, followed by
        averages of each state on the canonical sensors, as ``<state>_evoked_...``.
        ``"mean_std"``: mean and standard deviation of pooled rows. ``"auto"``: the
        first of these that the weights have networks for; without weights, these
        networks have random weights too. Beside a network that is pretrained from
        random weights in `fit` there are none, and it is ``"mean_std"``.
    pretraining : Pretraining | None
        How `fit` pretrains on ``X``, see :class:`~mne_megfm.estimators.Pretraining`;
        None leaves the weights as they are.
    sensor_mapping : str | callable
        How recordings reach the model's array: ``"canonical"``, an instance, or
        ``"canonical+denoised"``, by which rows that are epochs have features twice: as
        they are, and denoised in space. `fit` takes the covariance of the background
        from the training rows and whitens by it. Of rows that begin 50 ms or more
        before a stimulus (time 0), the background is what comes before it, and the
        eight patterns that rows share most in the second after it are kept (denoising
        source separation [3]_, without labels). Of others it is the whole row, and
        signals are whitened alone, as of fewer than eight rows. ``"auto"`` is
        ``"canonical+denoised"`` for epochs and ``"canonical"`` for participants.
    backbone : str | None
        Name of the network: ``"masked-transformer"``, ``"hybrid-ssm"``, a network of
        braindecode such as ``"braindecode:labram"``, or a plug-in. None takes that of
        the weights, or with ``weights=None`` ``"masked-transformer"``. Weights of
        another network than the one named are an error.
    config : dict | BackboneConfig | None
        Fields of its configuration that differ from the default (see
        ``ModelConfig`` and ``HybridConfig``); for ``weights=None`` only.
    duration : float
        Length in s of the rows of a Raw. Rows that touch a BAD annotation are left
        out; :func:`mne.make_fixed_length_epochs` cuts in other ways.
    overlap : float
        Overlap in s of the rows of a Raw.
    batch_size : int
        Windows that are encoded or trained on at a time.
    device : str
        ``"cpu"``, ``"cuda"``, ... or ``"auto"``: a GPU if there is one.
    memory : path-like | joblib.Memory | None
        Where to keep what was read of each recording or participant, so that the same
        data are encoded once by the same weights, as the ``memory`` of scikit-learn's
        pipelines. None keeps nothing.
    random_state : int | RandomState | None
        Seed of weights, splits and masks.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`; None takes MNE's log level.

    Attributes
    ----------
    model_ : Backbone
        The network, in evaluation mode.
    config_ : BackboneConfig
        Its sizes.
    denoising_ : DenoisedSensorMapping | None
        The mapping and the filter of epochs; None if nothing is denoised.
    aggregator_ : Aggregator
        What makes features of participants.
    participant_encoder_ : ParticipantTransformer | None
        The participant encoder; None if features need none.
    sample_ : {"epoch", "participant"}
        What a row is.
    n_patches_ : int | dict
        Patches in a row; by state for ``aggregation="mean_std"``; empty for the
        participant encoder, which takes rows of any length.
    states_ : list of str
        States of the training participants, sorted; for participants only.
    history_ : History | None
        Losses of pretraining in `fit`.
    provenance_ : dict
        What the weights had seen, from their checkpoint and from `fit`.

    See Also
    --------
    CanonicalSensors : The mapping alone, as fair input to any other method.
    MEGSamples : A light view of Epochs for cross-validation.

    Notes
    -----
    Values are in tesla at the edge. Epochs that are longer than a window are covered
    by windows that overlap by half, whose tokens are averaged patch by patch; those
    that are shorter are padded, and padding is masked in attention. `fit` fixes how
    long rows are and when they begin; `transform` takes rows like these.

    Rows are without their mean at each sensor, so that an offset of the recording
    changes nothing. Channels that are flat, or more than five times as strong as their
    neighbours or less than a fifth, are left out of the rows where they are, see
    ``as_recordings``.

    Pooled tokens are centred on the mean token at their place in training.

    Of a participant, the posterior encoder reads spectra, envelopes and connections of
    places in the brain, averages and single trials in their order, and infers
    parameters of physiology that it was trained to infer from simulated participants
    [2]_: from ``alpha_frequency`` to ``N100m_latency``, in units of the spread over
    those. The participant encoder knows a trial by the canonical signal that follows
    the stimulus (time 0 of Epochs) and by its spectrum, and a participant by a token
    over all of them, which stands in where trials for hand-made measures (evoked and
    single-trial amplitude, habituation, recovery after a pause, and of the spectrum)
    are few or missing. Features have a scale that suits a linear classifier as they
    are. States are known by their names: rest, auditory, somatosensory, or any other.
    ``pretraining`` changes neither of these encoders.

    Computation is deterministic on a CPU: the same row gives the same features.
    Between batches of different size, rounding differs at the level of 1e-6.

    References
    ----------
    .. [1] He et al. (2022), "Masked autoencoders are scalable vision learners",
       CVPR (the pretraining scheme, here with two interpolations given to the
       decoder).
    .. [2] Cranmer, Brehmer and Louppe (2020), "The frontier of simulation-based
       inference", PNAS 117:30055-30062.
    .. [3] de Cheveigné and Simon (2008), "Denoising based on spatial filtering",
       J. Neurosci. Methods 171:331-339, section 2.2.

    Examples
    --------
    >>> from mne_megfm import MEGFMTransformer, simulate_cohort
    >>> cohort = simulate_cohort(
    ...     1, states=("auditory",), arrays=("ctf151",), n_epochs=4, random_state=0
    ... )
    >>> epochs = cohort.epochs("auditory")[0]
    >>> MEGFMTransformer().fit_transform(epochs).shape
    (4, 7968)
    """

    _parameter_constraints: dict = {
        "weights": [str, os.PathLike, None],
        "sample": [StrOptions({"auto", "epoch", "participant"})],
        "pooling": [str, callable],
        "aggregation": [str, HasMethods(["read", "fit", "transform"])],
        "pretraining": [Pretraining, None],
        "sensor_mapping": [str, callable],
        "backbone": [str, None],
        "config": [dict, BackboneConfig, None],
        "duration": [Interval(Real, 0, None, closed="neither")],
        "overlap": [Interval(Real, 0, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "device": [str],
        "memory": [str, os.PathLike, HasMethods(["cache"]), None],
        "random_state": ["random_state"],
        "verbose": ["verbose", str, None],
    }

    def __init__(
        self,
        weights: str | os.PathLike | None = "megfm-tiny",
        *,
        sample: str = "auto",
        pooling: str | Callable = "projection",
        aggregation: str | Aggregator = "auto",
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
        self.sample = sample
        self.pooling = pooling
        self.aggregation = aggregation
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
    def fit(self, X: Any, y: Any = None) -> MEGFMTransformer:
        """Load or pretrain the model, and settle what a row is.

        Parameters
        ----------
        X : Epochs | Raw | Evoked | MEGSamples | list of these
            The recordings, in tesla.
        y : array-like, shape (n_rows, n_dims), optional
            Embeddings of what was shown in each row, for ``pretraining`` with an
            objective that predicts them (``"contrastive"``). Otherwise ignored.

        Returns
        -------
        self : MEGFMTransformer
            The fitted transformer.

        Raises
        ------
        TypeError
            If ``X`` is not made of MNE objects.
        ValueError
            If ``X`` does not look like MEG in tesla, or a parameter does not fit.
        FileNotFoundError
            If there are no such weights.
        """
        self._fit(self._recordings(X), y)
        return self

    def _fit(
        self, recordings: Recordings, targets: Any = None
    ) -> NDArray[np.float32] | None:
        """Fit; give the features where finding them is part of it."""
        self._fit_model(recordings, targets)
        self.sample_ = self._settle_sample(recordings)
        self._warn_unused(self.sample_)
        if self.sample_ == "epoch" or self.aggregator_.pools_rows:
            self._fit_pooling(recordings)
        if self.sample_ == "participant":
            if self.aggregator_.fit_unread(recordings, self._rows()):
                self._look_at(recordings)
                self._keep_fitted()
                return None
            extracted = self._combine_states(self._read(recordings))
            self._fit_participants(extracted)
            return self.aggregator_.transform(extracted)
        self._form = check_forms(recordings, self.config_)
        self.n_patches_ = self._form.n_patches
        self._look_at(recordings)
        if self._denoises:
            self.denoising_ = fit_denoising(
                recordings, self.sensor_mapping_, self.config_, self.batch_size
            )
        return None

    def _look_at(self, recordings: Recordings) -> None:
        """Look at the first row, and do not encode it: nothing is learnt from rows."""
        gather_windows(
            _first_row(recordings), self.sensor_mapping_, self.config_, self.batch_size
        )

    def _settle_sample(self, recordings: Recordings) -> str:
        if self.sample != "auto":
            return self.sample
        several = recordings.is_list and (recordings.rows_per_element > 1).any()
        return "participant" if several else "epoch"

    # -- features -----------------------------------------------------------
    @use_verbose
    def transform(self, X: Any) -> NDArray[np.float32]:
        """Turn recordings into features.

        Parameters
        ----------
        X : Epochs | Raw | Evoked | MEGSamples | list of these
            The recordings, in tesla.

        Returns
        -------
        features : ndarray of float32, shape (n_rows, n_features_out)
            One row an epoch, window or average; or one a participant.

        Raises
        ------
        ValueError
            If rows are not as long as in `fit`, or begin at another time from their
            event, or a list holds many-epoch elements
            where `fit` saw epochs, or the data do not look like MEG in tesla.
        """
        check_is_fitted(self, "model_")
        return self._transform(self._recordings(X))

    @_fit_context(prefer_skip_nested_validation=True)
    @use_verbose
    def fit_transform(self, X: Any, y: Any = None) -> NDArray[np.float32]:
        """Fit, then turn the same recordings into features.

        Parameters
        ----------
        X : Epochs | Raw | Evoked | MEGSamples | list of these
            The recordings, in tesla.
        y : array-like, shape (n_rows, n_dims), optional
            See `fit`.

        Returns
        -------
        features : ndarray of float32, shape (n_rows, n_features_out)
            See `transform`.
        """
        recordings = self._recordings(X)
        features = self._fit(recordings, y)
        return self._transform(recordings) if features is None else features

    def _transform(self, recordings: Recordings) -> NDArray[np.float32]:
        if self.sample_ == "participant":
            extracted = self._combine_states(self._read(recordings))
            return self.aggregator_.transform(extracted)
        several = np.flatnonzero(recordings.rows_per_element > 1)
        if recordings.is_list and len(several):
            raise ValueError(
                "Expected list elements of one epoch each, as fitted "
                f"(sample_='epoch'), got {recordings.rows_per_element[several[0]]} in "
                f"element {several[0]}; concatenate the epochs, or fit with "
                "sample='participant' to get a row an element."
            )
        check_forms(recordings, self.config_, self._form)
        encoders = [self._rows()]
        if self.denoising_ is not None:
            encoders.append(replace(encoders[0], sensor_mapping=self.denoising_))
        n_features = self._n_features_out // len(encoders)
        out = np.empty((recordings.n_rows, len(encoders), n_features), np.float32)
        for number, encoder in enumerate(encoders):
            for rows, pooled in self._row_features(recordings, encoder):
                out[rows, number] = pooled
        return out.reshape(recordings.n_rows, -1)

    def _row_features(
        self, recordings: Recordings, rows: PooledRows
    ) -> Iterator[tuple[NDArray[np.int_], NDArray[np.float32]]]:
        """Give numbers and features of rows: those of each recording, with memory."""
        if self.memory is None:
            yield from rows.features(recordings)
            return
        keep, mark = Kept(self.memory), stamp(self)
        if rows.sensor_mapping is self.denoising_:
            mark += joblib.hash(self.denoising_.matrix)
        for recording in recordings:
            features = keep(
                lambda one=recording: _in_order(rows.features(one.alone())),
                mark,
                digest_recordings([recording]),
            )
            yield recording.index, features

    @use_verbose
    def estimate_parameters(self, X: Any, *, interval: float = 0.8) -> pd.DataFrame:
        """Estimate parameters of physiology of participants, in their units.

        The posterior of each parameter given all that was recorded, see the features
        of the same names. The prior is that of the simulated participants of training:
        what recordings say little of is near its mean, with a wide interval.

        Parameters
        ----------
        X : Epochs | Raw | list of Epochs | list of dict
            The participants, in tesla.
        interval : float
            Posterior probability of the interval.

        Returns
        -------
        parameters : DataFrame, shape (n_participants * n_parameters, 5)
            Columns ``median``, ``low`` and ``high`` in the unit of the column
            ``unit``, and ``reliability``: the share of the prior's variance that the
            recordings explain, from 0 to 1. Rows by ``participant``, the place in
            ``X``, and ``parameter``.

        Raises
        ------
        ValueError
            If features are not parameters of participants.

        Examples
        --------
        >>> from mne_megfm import MEGFMTransformer, simulate_cohort
        >>> cohort = simulate_cohort(2, arrays=("opm64",), n_epochs=6, random_state=0)
        >>> X = [dict(person.recordings) for person in cohort]
        >>> table = MEGFMTransformer().fit(X).estimate_parameters(X)
        >>> table.loc[(0, "alpha_frequency"), "unit"]
        'Hz'
        """
        check_is_fitted(self, "model_")
        aggregator = self.aggregator_
        if self.sample_ != "participant" or not hasattr(aggregator, "tabulate"):
            raise ValueError(
                "Expected features of participants by aggregation='parameters' or "
                f"'parameters+measures', got sample_={self.sample_!r} and "
                f"{aggregator!r}; fit a list of participants with one of these."
            )
        recordings = self._recordings(X)
        extracted = self._combine_states(self._read(recordings))
        return aggregator.tabulate(extracted, interval)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Name the features.

        Times in the names count from the first sample of a row.

        Parameters
        ----------
        input_features : None
            Ignored; here for scikit-learn.

        Returns
        -------
        names : ndarray of str, shape (n_features_out,)
            For instance ``region03_t0100-0200ms_axis00``; for participants
            ``responses_habituation``, or, as statistics, ``auditory_mean_region03...``.
        """
        check_is_fitted(self, "model_")
        rows = self._rows()
        if self.sample_ == "participant":
            return np.array(self.aggregator_.names(rows), dtype=object)
        names = rows.names(self.n_patches_)
        if self.denoising_ is not None:
            names = names + [f"denoised_{name}" for name in names]
        return np.array(names, dtype=object)

    @property
    def _n_features_out(self) -> int:
        return len(self.get_feature_names_out())  # as scikit-learn's mixins name it

    @use_verbose
    def score(self, X: Any, y: Any = None) -> float:
        """Compute minus the error of masked reconstruction.

        Network and field predict together, as for
        :func:`~mne_megfm.interpret.reconstruct`. There are three kinds of masks, the
        same whatever ``pretraining`` hid: 80 % of
        the tokens at random, 300 ms of all sensors, and a quarter of the regions all
        the time.

        Parameters
        ----------
        X : Epochs | Raw | Evoked | MEGSamples | list of these
            The recordings, in tesla.
        y : None
            Ignored.

        Returns
        -------
        score : float
            Minus the unexplained share of the hidden signal, averaged over the kinds
            of masks: 0 is perfect, -1 as good as predicting nothing.
        """
        check_is_fitted(self, "model_")
        windows = gather_windows(
            self._recordings(X), self.sensor_mapping_, self.config_, self.batch_size
        )
        data, n_valid = windows.take(np.arange(len(windows)))
        errors = [
            1.0
            - masked_r2(
                self.model_, data, masking, self._region_pos(), n_valid=n_valid
            )["model"]
            for masking in (RandomMasking(), TimeBlockMasking(), SpaceBlockMasking())
        ]
        return -float(np.mean(errors))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # frozen weights need no y, whose length scikit-learn would ask for
        tags.target_tags.required = False
        tags.input_tags.two_d_array = False
        tags.no_validation = True  # MNE objects, checked by as_recordings
        return tags


def _in_order(
    parts: Iterator[tuple[NDArray[np.int_], NDArray[np.float32]]],
) -> NDArray[np.float32]:
    """Put the features of rows in the order of the rows."""
    numbers, features = zip(*parts, strict=True)
    return np.concatenate(features)[np.argsort(np.concatenate(numbers))]


def _first_row(recordings: Recordings) -> Recordings:
    """Restrict recordings to the first row of the first of them."""
    return recordings[0].select(np.array([0]), np.array([0])).alone()
