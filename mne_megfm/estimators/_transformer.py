"""MEG recordings to features, as one step of a scikit-learn pipeline."""

from __future__ import annotations

import os
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import TransformerMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..inputs import Recordings
from ..models import ModelConfig
from ..pretraining import (
    RandomMasking,
    SpaceBlockMasking,
    TimeBlockMasking,
    masked_r2,
)
from ._base import BaseMEGFM
from ._describing import DescribesParticipants
from ._extraction import gather_windows
from ._row_form import check_forms
from ._verbosity import use_verbose


class MEGFMTransformer(TransformerMixin, DescribesParticipants, BaseMEGFM):
    """Features of MEG recordings from a masked-signal transformer.

    Recordings of any MEG system are mapped to a canonical array of virtual
    magnetometers, cut into windows of 1 s at 250 Hz, encoded by the transformer and
    pooled. With ``max_epochs=0`` (the default) the weights are frozen and `fit` only
    checks; with more, `fit` pretrains by masked-signal reconstruction on ``X``.

    Parameters
    ----------
    weights : str | path-like | None
        Name of bundled weights, a folder written by `save_pretrained`, or None to
        start from random weights.
    unit : {"auto", "epoch", "participant"}
        What a row is. ``"epoch"``: an epoch, a window of a Raw, an Evoked.
        ``"participant"``: an element of the list, from all its epochs and windows.
        ``"auto"`` is settled by `fit`: participants if ``X`` is a list and any
        element has several rows, epochs otherwise.
    pooling : str | callable
        How tokens become features: ``"compact"`` (where, when, and the leading axes
        of each token), ``"tokens"`` (everything), ``"time"``, ``"space"``,
        ``"mean"``, or an instance, see :mod:`mne_megfm.models`. The level over trials
        does not pool tokens.
    participants : {"auto", "level", "statistics"}
        How a participant's rows become one. ``"level"``: by the level over trials
        that comes with the weights, see Notes, or, without weights, by one that has
        seen nobody. ``"statistics"``: mean and standard deviation of pooled rows.
        ``"auto"``: the level where there is one; there is none beside an encoder that
        is pretrained from random weights in `fit`.
    append_evoked : bool
        Whether the original signals, averages of each state on the canonical
        sensors, are appended to the level's features, as ``<state>_evoked_...``.
    max_epochs : int
        Epochs of masked pretraining on ``X``, at most.
    masking : str | callable
        What pretraining hides: ``"mixed"``, ``"random"``, ``"time-block"``,
        ``"space-block"`` or an instance, see :mod:`mne_megfm.pretraining`.
    mask_ratio : float
        Share that a masking given by name hides.
    objective : str | callable
        Loss of the reconstruction: ``"huber+logspec"`` or an instance.
    frontend : str | callable
        How recordings reach the model's array: ``"canonical"`` or an instance.
    backbone : str
        The network to start from when ``weights=None``.
    config : dict | ModelConfig | None
        Its sizes, where they differ from the default; for ``weights=None`` only.
    window : float
        Length in s of the rows of a Raw.
    overlap : float
        Overlap in s of the rows of a Raw.
    reject_by_annotation : bool
        Whether rows of a Raw that touch a BAD annotation are left out.
    batch_size : int
        Windows that are encoded or trained on at a time.
    lr : float
        Highest learning rate of pretraining.
    valid_fraction : float
        Share of recordings (list elements; otherwise rows) held out in pretraining.
    patience : int | None
        Pretraining stops after so many epochs without a better held-out loss.
    device : str
        ``"cpu"``, ``"cuda"``, ... or ``"auto"``: a GPU if there is one.
    bf16 : bool
        Whether to compute in bfloat16 where that is safe: quicker where the
        hardware has it, and less exact.
    random_state : int | RandomState | None
        Seed of weights, splits and masks.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`; None takes MNE's log level.

    Attributes
    ----------
    model_ : MaskedSignalTransformer
        The network, in evaluation mode.
    config_ : ModelConfig
        Its sizes.
    level_ : ParticipantTransformer | None
        The level over trials; None if participants are described by statistics.
    unit_ : {"epoch", "participant"}
        What a row is.
    n_patches_ : int | dict
        Patches in a row; for participants by statistics, by state; empty for the
        level, which takes rows of any length.
    states_ : list of str
        States that participants were described by, sorted; for participants only.
    history_ : History | None
        Losses of pretraining in `fit`.
    training_ : dict
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
    neighbours, are left out of the rows where they are, see
    :func:`~mne_megfm.inputs.as_recordings`.

    Pooled tokens are centred on the mean token at their place in training.

    The level over trials knows a trial by the canonical signal that follows the
    stimulus (time 0 of Epochs) and by its spectrum, in order, and a participant by a
    token over all of them. Features are measures of the responses of each state (size,
    strength, habituation, recovery after a pause) and of the spectrum, where the token
    stands in for trials that are few or missing, at a scale that suits a linear
    classifier as it is. States are told by their names: rest, auditory, somatosensory,
    or any other. ``max_epochs`` does not change the level.

    Computation is deterministic on a CPU: the same row gives the same features.
    Between batches of different size, rounding differs at the level of 1e-6.

    References
    ----------
    .. [1] He et al. (2022), "Masked autoencoders are scalable vision learners",
       CVPR (the pretraining scheme, here with two interpolations given to the
       decoder).

    Examples
    --------
    >>> from mne_megfm import MEGFMTransformer, simulate_cohort
    >>> cohort = simulate_cohort(
    ...     1, states=("auditory",), arrays=("ctf151",), n_epochs=4, random_state=0
    ... )
    >>> epochs = cohort.epochs("auditory")[0]
    >>> MEGFMTransformer().fit_transform(epochs).shape
    (4, 3840)
    """

    _parameter_constraints: dict = {
        "weights": [str, os.PathLike, None],
        "unit": [StrOptions({"auto", "epoch", "participant"})],
        "pooling": [str, callable],
        "participants": [StrOptions({"auto", "level", "statistics"})],
        "append_evoked": ["boolean"],
        "max_epochs": [Interval(Integral, 0, None, closed="left")],
        "masking": [str, callable],
        "mask_ratio": [Interval(Real, 0, 1, closed="neither")],
        "objective": [str, callable],
        "frontend": [str, callable],
        "backbone": [str],
        "config": [dict, ModelConfig, None],
        "window": [Interval(Real, 0, None, closed="neither")],
        "overlap": [Interval(Real, 0, None, closed="left")],
        "reject_by_annotation": ["boolean"],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "valid_fraction": [Interval(Real, 0, 1, closed="neither")],
        "patience": [Interval(Integral, 1, None, closed="left"), None],
        "device": [str],
        "bf16": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose", str, None],
    }

    def __init__(
        self,
        weights: str | os.PathLike | None = "megfm-tiny",
        *,
        unit: str = "auto",
        pooling: str | Callable = "compact",
        participants: str = "auto",
        append_evoked: bool = False,
        max_epochs: int = 0,
        masking: str | Callable = "mixed",
        mask_ratio: float = 0.8,
        objective: str | Callable = "huber+logspec",
        frontend: str | Callable = "canonical",
        backbone: str = "masked-transformer",
        config: dict | ModelConfig | None = None,
        window: float = 1.0,
        overlap: float = 0.0,
        reject_by_annotation: bool = True,
        batch_size: int = 64,
        lr: float = 1e-3,
        valid_fraction: float = 0.1,
        patience: int | None = None,
        device: str = "cpu",
        bf16: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool | str | int | None = None,
    ) -> None:
        self.weights = weights
        self.unit = unit
        self.pooling = pooling
        self.participants = participants
        self.append_evoked = append_evoked
        self.max_epochs = max_epochs
        self.masking = masking
        self.mask_ratio = mask_ratio
        self.objective = objective
        self.frontend = frontend
        self.backbone = backbone
        self.config = config
        self.window = window
        self.overlap = overlap
        self.reject_by_annotation = reject_by_annotation
        self.batch_size = batch_size
        self.lr = lr
        self.valid_fraction = valid_fraction
        self.patience = patience
        self.device = device
        self.bf16 = bf16
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
        y : None
            Ignored; scikit-learn passes it on.

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
        self._fit(self._recordings(X))
        return self

    def _fit(self, recordings: Recordings) -> NDArray[np.float32] | None:
        """Fit; give the features where finding them is part of it."""
        self._fit_model(recordings)
        self.unit_ = self._settle_unit(recordings)
        self._warn_unused(self.unit_)
        if self.unit_ == "participant":
            descriptions = self._describe(recordings)
            self._fit_participants(descriptions)
            return self._participants.transform(descriptions)
        self._form = check_forms(recordings, self.config_)
        self.n_patches_ = self._form.n_patches
        first = next(self._row_tokens(_first_row(recordings)))
        self._pool(first.tokens, first.recorded)
        return None

    def _settle_unit(self, recordings: Recordings) -> str:
        if self.unit != "auto":
            return self.unit
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
        y : None
            Ignored.

        Returns
        -------
        features : ndarray of float32, shape (n_rows, n_features_out)
            See `transform`.
        """
        recordings = self._recordings(X)
        features = self._fit(recordings)
        return self._transform(recordings) if features is None else features

    def _transform(self, recordings: Recordings) -> NDArray[np.float32]:
        if self.unit_ == "participant":
            return self._participants.transform(self._describe(recordings))
        several = np.flatnonzero(recordings.rows_per_element > 1)
        if recordings.is_list and len(several):
            raise ValueError(
                "Expected list elements of one epoch each, as fitted "
                f"(unit_='epoch'), got {recordings.rows_per_element[several[0]]} in "
                f"element {several[0]}; concatenate the epochs, or fit with "
                "unit='participant' to get a row an element."
            )
        check_forms(recordings, self.config_, self._form)
        out: NDArray[np.float32] | None = None
        for part in self._row_tokens(recordings):
            pooled = self._pool(part.tokens, part.recorded)
            if out is None:
                out = np.empty((recordings.n_rows, pooled.shape[1]), np.float32)
            out[part.row] = pooled
        return out

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
        config = self.config_
        if self.unit_ == "participant" and self.level_ is not None:
            return np.array(self._participants.names(), dtype=object)

        def names(n_patches: int) -> list[str]:
            seconds = config.patch_length / config.sfreq
            return self.pooling_.names(
                config.n_regions, n_patches, config.d_model, seconds
            )

        if self.unit_ == "participant":
            return np.array(self._participants.names(names), dtype=object)
        return np.array(names(self.n_patches_), dtype=object)

    @property
    def n_features_out_(self) -> int:
        """Number of features."""
        return len(self.get_feature_names_out())

    @use_verbose
    def score(self, X: Any, y: Any = None) -> float:
        """Compute minus the error of masked reconstruction.

        Network and field predict together, as for
        :func:`~mne_megfm.interpret.reconstruct`. There are three kinds of masks, the
        same whatever ``masking`` and ``mask_ratio`` the model was trained with: 80 % of
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
            self._recordings(X), self.frontend_, self.config_, self.batch_size
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
        tags.input_tags.allow_nan = False
        return tags


def _first_row(recordings: Recordings) -> Recordings:
    """Restrict recordings to the first row of the first of them."""
    first = recordings[0].select(np.array([0]), np.array([0]))
    return Recordings([first], np.zeros(1, int), 1, False)
