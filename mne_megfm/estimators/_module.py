"""The network of the package as a torch module, for the classifiers of braindecode."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mne
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..inputs import resampling_matrix, window_starts
from ..models import valid_patches
from ..sensors import CanonicalSensorMapping, canonical_array, compute_mapping
from ._initialization import start_model, start_pooling


class MEGFMModule(nn.Module):
    """The pretrained network and a linear layer, as braindecode has its networks.

    It takes signals in tesla as an array, ``(n, n_chans, n_times)``, and gives a number
    for each class. ``braindecode.EEGClassifier``, ``EEGRegressor`` and other tools of
    skorch train it. It needs no braindecode itself.

    Parameters
    ----------
    n_chans : int | None
        Channels of the signals; None takes that of ``chs_info`` or ``info``.
    n_outputs : int
        Classes, or numbers to predict.
    n_times : int | None
        Samples of a signal; None takes ``input_window_seconds * sfreq``.
    chs_info : list of dict | None
        Channels as in ``info["chs"]``. They do not say where the head was: signals of
        real sensors need ``info``.
    input_window_seconds : float | None
        Length of a signal in s.
    sfreq : float | None
        Sampling rate in Hz; None takes that of ``info``, or ``n_times`` divided by
        ``input_window_seconds``.
    info : mne.Info | None
        Measurement info of the recording whose channels the signals are of, all of
        them in this order: these are mapped to the canonical array by their lead
        fields inside the module. None: signals are on the canonical array already, as
        :class:`~mne_megfm.CanonicalSensors` gives them.
    weights : str | path-like | None
        Weights of the encoder, see :class:`~mne_megfm.MEGFMTransformer`. None draws
        random ones.
    pooling : str | callable
        How tokens become features, see :class:`~mne_megfm.MEGFMTransformer`.
    frozen : bool
        Whether training leaves the encoder as it is, and is of the linear layer alone.
    random_state : int
        Seed of random weights of the encoder.

    Attributes
    ----------
    encoder : Backbone
        The window encoder.
    final_layer : torch.nn.Linear
        From features to outputs.

    Raises
    ------
    ValueError
        If numbers of channels or samples do not fit, the rate is not known, real
        sensors come without ``info``, or the pooling has to be fitted.

    See Also
    --------
    MEGFMClassifier : A classifier that takes MNE objects, also for fine-tuning.

    Notes
    -----
    Features are those of ``MEGFMTransformer(sensor_mapping="canonical")``. ``info`` is
    of one recording. For participants with head positions or arrays of their own, map
    each recording by :class:`~mne_megfm.CanonicalSensors` first.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm import simulate_cohort
    >>> from mne_megfm.estimators import MEGFMModule
    >>> cohort = simulate_cohort(
    ...     1, states=("auditory",), arrays=("ctf151",), n_epochs=4, random_state=0
    ... )
    >>> epochs = cohort.epochs("auditory")[0]
    >>> X = torch.tensor(epochs.get_data(), dtype=torch.float32)
    >>> module = MEGFMModule(n_outputs=2, n_times=X.shape[-1], info=epochs.info)
    >>> module.eval()(X).shape
    torch.Size([4, 2])
    """

    def __init__(
        self,
        n_chans: int | None = None,
        n_outputs: int = 2,
        n_times: int | None = None,
        chs_info: Sequence[Mapping[str, Any]] | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
        *,
        info: mne.Info | None = None,
        weights: str | os.PathLike | None = "megfm-tiny",
        pooling: str | Callable = "projection",
        frozen: bool = False,
        random_state: int = 0,
    ) -> None:
        super().__init__()
        seconds = input_window_seconds
        if sfreq is None and info is not None:
            sfreq = info["sfreq"]
        if sfreq is None and n_times is not None and seconds is not None:
            sfreq = n_times / seconds
        if n_times is None and seconds is not None and sfreq is not None:
            n_times = round(seconds * sfreq)
        if n_times is None or sfreq is None or n_times < 1 or not sfreq > 0:
            raise ValueError(
                "Expected n_times and sfreq, or input_window_seconds with one of them, "
                f"got n_times={n_times}, sfreq={sfreq} and input_window_seconds="
                f"{seconds}; pass sfreq=info['sfreq'] (module__sfreq in a classifier)."
            )
        self.n_times, self.sfreq = int(n_times), float(sfreq)
        self.chs_info = chs_info
        matrix = _to_canonical(n_chans, chs_info, info)
        self.n_chans, self.n_outputs = matrix.shape[1], n_outputs

        mapping = CanonicalSensorMapping()
        model, _ = start_model(weights, mapping, None, None, random_state)
        pool, fits = start_pooling(pooling, weights, model, random_state)
        if fits:
            raise ValueError(
                f"Expected a pooling that is not fitted to data, got {pooling!r} with "
                f"weights={weights!r}, which lack its state; use 'projection'."
            )
        self.encoder, self.pooling = model, pool
        config = model.config
        resampling = resampling_matrix(self.n_times, self.sfreq, config.sfreq)
        n_samples = resampling.shape[1]
        self._starts = window_starts(
            n_samples, config.n_times, config.patch_length, config.n_patches // 2
        ).tolist()
        self._n_patches = self._starts[-1] + config.n_patches
        self.register_buffer("mapping", torch.tensor(matrix).float())
        self.register_buffer("resampling", torch.tensor(resampling).float())
        self.frozen = frozen
        if frozen:
            self.encoder.requires_grad_(False)
            self.pooling.requires_grad_(False)
        seconds = config.patch_length / config.sfreq
        names = pool.names(config.n_regions, self._n_patches, config.d_model, seconds)
        self._n_features = len(names)
        self.reset_head(n_outputs)

    @property
    def input_window_seconds(self) -> float:
        """Length of a signal in s."""
        return self.n_times / self.sfreq

    def reset_head(self, n_outputs: int) -> None:
        """Put a new linear layer at the end.

        Parameters
        ----------
        n_outputs : int
            Classes, or numbers to predict.
        """
        self.n_outputs = n_outputs
        self.final_layer = nn.Linear(self._n_features, n_outputs)

    def features(self, X: Tensor) -> Tensor:
        """Compute the features of signals.

        Parameters
        ----------
        X : Tensor, shape (n, n_chans, n_times)
            Signals in T.

        Returns
        -------
        features : Tensor, shape (n, n_features)
            Pooled tokens.
        """
        if X.shape[1:] != (self.n_chans, self.n_times):
            raise ValueError(
                f"Expected signals of {self.n_chans} channels and {self.n_times} "
                f"samples, got an array of shape {tuple(X.shape)}; give all channels "
                "of info in its order, and as many samples as n_times says."
            )
        config = self.encoder.config
        # far from the smallest number, which products of tesla would come near to
        field = self.mapping @ (X / config.scale) @ self.resampling
        field = (field - field.mean(-1, keepdim=True)) * config.scale
        n_samples, length = field.shape[-1], config.patch_length
        field = F.pad(field, (0, max(0, self._n_patches * length - n_samples)))
        total = field.new_zeros(
            len(X), config.n_regions, self._n_patches, config.d_model
        )
        count = field.new_zeros(len(X), self._n_patches)
        for start in self._starts:
            first = start * length
            window = field[..., first : first + config.n_times]
            n_valid = min(config.n_times, n_samples - first)
            valid = torch.full((len(X),), n_valid, device=X.device)
            tokens = self.encoder.encode(window, valid).float()
            recorded = valid_patches(valid, config)
            tokens = (tokens - self.encoder.token_mean) * recorded[:, None, :, None]
            inside = slice(start, start + config.n_patches)
            total[:, :, inside] = total[:, :, inside] + tokens
            count[:, inside] = count[:, inside] + recorded
        tokens = total / count.clamp(min=1)[:, None, :, None]
        return self.pooling(tokens, count > 0, self.encoder)

    def forward(
        self, X: Tensor, return_features: bool = False
    ) -> Tensor | dict[str, Tensor | None]:
        """Compute outputs of signals.

        Parameters
        ----------
        X : Tensor, shape (n, n_chans, n_times)
            Signals in T.
        return_features : bool
            Whether to give features instead, in the form of braindecode.

        Returns
        -------
        outputs : Tensor, shape (n, n_outputs) | dict
            Outputs; or ``"features"``, and ``"cls_token"``, which is None.
        """
        features = self.features(X)
        if return_features:
            return {"features": features, "cls_token": None}
        return self.final_layer(features)


def _to_canonical(
    n_chans: int | None,
    chs_info: Sequence[Mapping[str, Any]] | None,
    info: mne.Info | None,
) -> np.ndarray:
    """Give the matrix from the channels of signals to the canonical array."""
    array = canonical_array()
    given = None if chs_info is None else [ch["ch_name"] for ch in chs_info]
    names = array.ch_names if info is None else list(info["ch_names"])
    n_given = len(given) if n_chans is None and given is not None else n_chans
    if given not in (None, names) or n_given not in (None, len(names)):
        what = (
            f"the {len(names)} channels of info, in their order"
            if info is not None
            else f"{len(names)} channels of the canonical array without info"
        )
        raise ValueError(
            f"Expected signals of {what}, got {n_given} channels; pass "
            "info=epochs.info (module__info in a classifier), which also has the head "
            "position, or map recordings by CanonicalSensors first."
        )
    if info is None:
        return np.eye(array.n_sensors)
    mapping = compute_mapping(info)
    matrix = np.zeros((array.n_sensors, len(names)))
    matrix[:, [names.index(name) for name in mapping.ch_names]] = mapping.to_canonical
    return matrix
