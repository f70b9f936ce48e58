"""What the classifier and the regressor share: features, checks, head."""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Callable
from numbers import Integral
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from mne.utils import warn
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from ..inputs import Recordings
from ..inputs.duplicates import find_copies, warn_of_copies
from ..models import BackboneConfig, merge_adapters
from ..plugins import get, resolve
from ..utils.validation import (
    check_groups,
    check_labels,
    check_weights,
    listed,
    use_verbose,
)
from ._heads import LogisticHead, count_groups
from ._initialization import FineTuning, Pretraining
from ._sequence_heads import SequenceAggregator
from ._transformer import MEGFMTransformer
from .extraction import SUFFIX
from .finetuning import ClassificationTask, RegressionTask
from .finetuning_modules import (
    network_outputs,
    participant_outputs,
    reads_trials,
    rows_of_samples,
)
from .frozen import Kept, digest_recordings, stamp
from .novelty import Novelty, signal_features

# parameters that are those of the transformer under the same names
_OF_TRANSFORMER = (
    "weights",
    "sample",
    "pooling",
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


_RATES = {"lora": 1e-3, "finetune": 1e-4}


def _is_probe(self: Any) -> bool:
    return self.strategy == "probe"


def _mean_steps(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Make a row of each sequence: the mean of its steps; rows stay as they are."""
    return features if features.ndim == 2 else np.nanmean(features, axis=1)


class BaseMEGFMPredictor(BaseEstimator):
    """A head on what a masked-signal transformer makes of recordings."""

    _parameter_constraints: dict = {
        **{
            name: MEGFMTransformer._parameter_constraints[name]
            for name in _OF_TRANSFORMER
        },
        "strategy": [StrOptions({"probe", "lora", "finetune"})],
        "finetuning": [FineTuning, None],
        "masking": [str, callable, Pretraining, None],
        "head": [str, HasMethods("fit")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        weights: str | os.PathLike | None = "megfm-tiny",
        *,
        strategy: str = "probe",
        finetuning: FineTuning | None = None,
        masking: str | Callable | Pretraining | None = None,
        head: str | BaseEstimator = "ridge",
        sample: str = "auto",
        pooling: str | Callable = "projection",
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
        self.strategy = strategy
        self.finetuning = finetuning
        self.masking = masking
        self.head = head
        self.sample = sample
        self.pooling = pooling
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

    # -- what subclasses say ------------------------------------------------
    def _check_targets(self, y: NDArray) -> NDArray:
        """Check labels or numbers, and keep what is to be known of them."""
        raise NotImplementedError

    _default_head: str
    _wrong_head: Callable[[Any], bool]  # what tells heads of the other task
    _task: str  # "classification" or "regression"

    def _head_params(self, seed: int) -> dict[str, Any]:
        """Give the arguments of a head given by name, of which it gets those it has."""
        return {"task": self._task, "device": self.device, "random_state": seed}

    def _make_task(self, seed: int) -> ClassificationTask | RegressionTask:
        """Say what fine-tuning needs to know of labels or numbers."""
        raise NotImplementedError

    # -- fitting ------------------------------------------------------------
    @use_verbose
    def _fit(self, X: Any, y: Any, sample_weight: Any, groups: Any) -> None:
        if y is None:
            raise ValueError(
                f"Expected labels or numbers in y, got None: {type(self).__name__} "
                "requires y to be passed, but the target y is None."
            )
        seed = self._draw_seed(self.random_state)
        if self.head != self._default_head and self.strategy != "probe":
            raise ValueError(
                f"Expected head={self._default_head!r} with strategy="
                f"{self.strategy!r}, whose head is trained with the encoder, got "
                f"{self.head!r}; leave one of them out."
            )
        if self.finetuning is not None:
            self.finetuning._validate_params()
            if self.strategy == "probe":
                warn(
                    "Parameters that are set have no effect: finetuning with strategy="
                    "'probe', which trains the head alone."
                )
        # first, since what does not suit should be known before features are there
        if self.strategy != "probe":
            from . import training_loop  # noqa: F401, needs skorch
        head = self._make_head(seed) if self.strategy == "probe" else None
        transformer = self._make_transformer(seed, head)
        recordings = transformer._recordings(X)
        sample = transformer._settle_sample(recordings)
        if sample == "epoch":
            transformer.set_params(aggregation="auto")
        whole = sample == "participant"
        n_samples = recordings.n_elements if whole else recordings.n_rows
        y = self._check_targets(check_labels(y, n_samples, sample))
        weight = check_weights(sample_weight, n_samples, sample)
        groups = check_groups(groups, n_samples, sample)
        if isinstance(head, LogisticHead):
            count_groups(y, groups)  # it would fail when features are there
        if whole:
            warn_of_copies(find_copies(recordings, groups), range(n_samples))
        features = transformer.fit_transform(recordings)
        self.transformer_ = transformer
        self.sample_ = sample
        parts = [_mean_steps(features), self._signals(recordings)]
        self.novelty_ = Novelty(seed).fit(parts, groups)
        if head is not None:
            self._fit_head(head, features, y, weight, groups)
        else:
            self._fit_network(recordings, features, (y, weight, groups), seed)

    @staticmethod
    def _draw_seed(random_state: int | np.random.RandomState | None) -> int:
        """Draw one seed, so that a RandomState gives all parts the same."""
        return int(check_random_state(random_state).randint(2**31 - 1))

    def _make_transformer(
        self, seed: int, head: BaseEstimator | None
    ) -> MEGFMTransformer:
        params = {name: getattr(self, name) for name in _OF_TRANSFORMER}
        params["pretraining"] = self._settle_pretraining()
        if getattr(head, "reads_sequences", False) and self.sample != "epoch":
            # a head of the user's own reads rows
            make = getattr(head, "make_aggregator", SequenceAggregator)
            params["aggregation"] = make()
        if self.strategy != "probe":
            # the network that is trained sees signals once
            if self.sensor_mapping == "auto":
                params["sensor_mapping"] = "canonical"
            elif str(self.sensor_mapping).endswith(SUFFIX):
                raise ValueError(
                    "Expected signals that are not denoised for strategy="
                    f"{self.strategy!r}, got sensor_mapping={self.sensor_mapping!r}; "
                    "use 'canonical', or strategy='probe'."
                )
        transformer = MEGFMTransformer(**params, random_state=seed)
        # scikit-learn's setting for tables is for what users get, not for what is here
        return transformer.set_output(transform="default")

    def _settle_pretraining(self) -> Pretraining | None:
        """Give the settings of pretraining; those of a masking alone are defaults."""
        if self.masking is None or isinstance(self.masking, Pretraining):
            return self.masking
        return Pretraining(masking=self.masking)

    @available_if(_is_probe)
    def to_pipeline(self) -> Pipeline:
        """Give the encoder and the head of ``strategy="probe"`` as a pipeline.

        It predicts the same, so that features are extracted once for many folds. It
        has no `novelty_p_values`.

        Returns
        -------
        pipeline : Pipeline
            A :class:`~mne_megfm.MEGFMTransformer` and the head, not fitted.

        Raises
        ------
        ValueError
            If a parameter does not fit, or there is no such head.
        """
        self._validate_params()
        seed = self._draw_seed(copy.deepcopy(self.random_state))
        head = self._make_head(seed)
        return make_pipeline(self._make_transformer(seed, head), head)

    def _signals(self, recordings: Recordings) -> NDArray[np.float64]:
        """Summarise signals in plain numbers, for novelty."""
        states = self.transformer_.states_ if self.sample_ == "participant" else [""]
        rows = rows_of_samples(recordings, self.sample_, states)

        def compute() -> NDArray[np.float64]:
            return signal_features(recordings, *rows, len(states), self.transformer_)

        if self.memory is None:
            return compute()
        mark = "signals " + stamp(self.transformer_)
        where = rows[0].tolist(), rows[1].tolist(), len(states)
        content = joblib.hash((digest_recordings(recordings), where))
        return Kept(self.memory)(compute, mark, content)

    def _fit_head(
        self,
        head: BaseEstimator,
        features: NDArray[np.float32],
        y: NDArray,
        weight: NDArray[np.float64],
        groups: NDArray[np.int_],
    ) -> None:
        # a head of the user's own takes what it can
        given = {"sample_weight": weight, "groups": groups}
        given = {k: v for k, v in given.items() if has_fit_parameter(head, k)}
        self.head_ = head.fit(features, y, **given)

    def _make_head(self, seed: int) -> BaseEstimator:
        """Make the head by its name, or copy the one given."""
        if isinstance(self.head, str):
            known = inspect.signature(get("heads", self.head)).parameters
            params = self._head_params(seed)
            params = {name: params[name] for name in params if name in known}
            head = resolve("heads", self.head, **params)
        else:
            head = clone(resolve("heads", self.head))
        if type(self)._wrong_head(head):
            raise ValueError(
                f"Expected a head that suits {type(self).__name__}, got {self.head!r}; "
                f"use head={self._default_head!r} or another of its kind."
            )
        return head

    def _head_has(self, method: str) -> bool:
        """Say whether the head has a method; a name that is wrong fails in fit."""
        try:
            named = isinstance(self.head, str)
            return hasattr(self._make_head(0) if named else self.head, method)
        except (TypeError, ValueError):
            return True

    def _fit_network(
        self,
        recordings: Recordings,
        features: NDArray[np.float32],
        given: tuple[NDArray, NDArray[np.float64], NDArray[np.int_]],
        seed: int,
    ) -> None:
        # skorch takes a second to import, which the probe need not wait for
        from .finetuning import Tuning, fine_tune

        self.task_ = self._make_task(seed)
        settings = self.finetuning or FineTuning()
        tuning = Tuning(
            lora_rank=settings.lora_rank if self.strategy == "lora" else None,
            n_epochs_per_state=settings.n_epochs_per_state,
            validation_fraction=settings.validation_fraction,
            max_epochs=settings.max_epochs,
            lr=settings.lr or _RATES[self.strategy],
            layer_decay=settings.layer_decay,
            patience=settings.patience,
            seed=seed,
        )
        self.network_, self.history_ = fine_tune(
            self.transformer_, recordings, features, self.task_, given, tuning
        )

    # -- predicting ---------------------------------------------------------
    @use_verbose
    def _outputs(self, X: Any, method: str) -> NDArray:
        """Look at recordings, and give what the head or the network says of them."""
        check_is_fitted(self, "transformer_")
        recordings = self.transformer_._recordings(X)
        features = self.transformer_.transform(recordings)
        parts = [_mean_steps(features), self._signals(recordings)]
        far = np.flatnonzero(self.novelty_.is_far(parts))
        if len(far):
            warn(
                f"{len(far)} of {len(features)} {self.sample_}s are unlike those of "
                f"training ({listed(far)}): predictions for them are not reliable; "
                "see novelty_p_values, and look at units, filters and artefacts."
            )
        if self.strategy == "probe":
            return getattr(self.head_, method)(features)
        if reads_trials(self.transformer_):
            outputs = participant_outputs(
                self.network_, recordings, features, self.transformer_
            )
        else:
            outputs = network_outputs(self.network_, recordings, self.transformer_)
        return getattr(self.task_, method)(outputs)

    @use_verbose
    def novelty_p_values(self, X: Any) -> NDArray[np.float64]:
        """Say how much samples are like those of training.

        The distance of a sample from the training samples, in the frozen encoder's
        features [1]_ and in plain numbers about its signals (amplitude, spectrum,
        smoothness over space), is compared with distances of training samples that
        were held out in turn. What comes from the same distribution gets values spread
        evenly over (0, 1]; what comes from elsewhere (other systems or filters than in
        training, wrong units, noise) gets low ones. With few training samples the
        lowest value, 1 / (n + 1), is not very low.

        Parameters
        ----------
        X : Epochs | Raw | Evoked | MEGSamples | list of these
            The recordings, as in `fit`.

        Returns
        -------
        p_values : ndarray, shape (n_samples,)
            Share of training samples that lie as far out, in (0, 1].

        Notes
        -----
        Predicting warns of samples that lie far beyond all of at least 8 training
        samples.

        References
        ----------
        .. [1] Lee et al. (2018), "A simple unified framework for detecting
           out-of-distribution samples and adversarial attacks", NeurIPS, section 2.1.
        """
        check_is_fitted(self, "transformer_")
        recordings = self.transformer_._recordings(X)
        features = self.transformer_.transform(recordings)
        parts = [_mean_steps(features), self._signals(recordings)]
        return self.novelty_.score(parts)

    @property
    def provenance_(self) -> dict:
        """What the weights had seen before `fit`, and whether it tuned them."""
        check_is_fitted(self, "transformer_")
        if self.strategy == "probe":
            return self.transformer_.provenance_
        epochs = int(self.history_["valid_loss"].idxmin())
        tuned = {"strategy": self.strategy, "epochs": epochs}
        return self.transformer_.provenance_ | {"fine_tuned_on_labels": tuned}

    def save_pretrained(
        self, directory: str | os.PathLike, *, overwrite: bool = False
    ) -> Path:
        """Write the encoder for ``MEGFMTransformer(weights=directory)``.

        That of fine-tuning if there was any, with adapters merged into its weights. The
        head is not written.

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
        ValueError
            If the participant encoder was fine-tuned: what the features of participants
            rest on was measured on the encoder as pretrained, and does not suit it.
        """
        check_is_fitted(self, "transformer_")
        transformer = copy.copy(self.transformer_)
        if self.strategy != "probe":
            if reads_trials(transformer):
                raise ValueError(
                    "Expected a window encoder that was trained, got one as pretrained "
                    f"and a participant encoder tuned by strategy={self.strategy!r}, "
                    "which gives no features of its own; keep the whole estimator with "
                    "joblib.dump, or use strategy='probe'."
                )
            transformer.model_ = merge_adapters(copy.deepcopy(self.network_.encoder))
            transformer.pooling_ = self.network_.pooling
            transformer.provenance_ = self.provenance_
        return transformer.save_pretrained(directory, overwrite=overwrite)

    def __getstate__(self) -> dict:
        state = super().__getstate__()
        network = state.get("network_")
        if network is not None and network.centre.device.type != "cpu":
            # a pickle must open where there is no GPU
            state = state | {"network_": copy.deepcopy(network).cpu()}
        return state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.two_d_array = False
        tags.no_validation = True  # MNE objects, checked by as_recordings
        return tags
