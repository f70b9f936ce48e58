"""Masked reconstruction of a recording: what was hidden, and what was predicted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from mne.utils import ProgressBar, verbose
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from ..estimators import MEGFMTransformer
from ..inputs import Recording, as_recordings, centre_windows, iter_windows
from ..models import sample_mask
from ..pretraining import (
    RandomMasking,
    SpaceBlockMasking,
    TimeBlockMasking,
    draw_masks,
    masked_r2,
)

#: The masks that results are reported for.
MASKS = {
    "random 80 %": RandomMasking(0.8),
    "time blocks of 300 ms": TimeBlockMasking(0.3, 3),
    "quarter of the sensors": SpaceBlockMasking(0.25),
}


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """One kind of mask over the windows of a recording.

    Attributes
    ----------
    original : ndarray, shape (n_windows, n_canonical, n_times)
        Canonical field in T, centred over the recording.
    reconstructed : ndarray, shape (n_windows, n_canonical, n_times)
        The same with the hidden part replaced by the prediction, in T.
    mask : ndarray of bool, shape (n_windows, n_canonical, n_times)
        Where the signal was hidden.
    sfreq : float
        Sampling rate in Hz.
    sensors : ndarray, shape (n_canonical, n_canonical_to_sensors)
        The way back, ``data = reconstructed.transpose(0, 2, 1) @ sensors``, to the
        recording's own MEG channels in T (T/m for planar gradiometers).
    ch_names : tuple of str
        Those channels.
    """

    original: NDArray[np.float32]
    reconstructed: NDArray[np.float32]
    mask: NDArray[np.bool_]
    sfreq: float
    sensors: NDArray[np.float64]
    ch_names: tuple[str, ...]


def _centred_windows(
    transformer: MEGFMTransformer, X: Any
) -> tuple[Recording, torch.Tensor, torch.Tensor]:
    """Cut a recording into windows without its mean at each virtual sensor.

    An offset of the recording is no signal. It is taken over the recording rather
    than over a window, where knowing it would give away the mean of what is hidden.
    """
    check_is_fitted(transformer, "model_")
    recordings = as_recordings(
        X,
        window=transformer.window,
        overlap=transformer.overlap,
        reject_by_annotation=transformer.reject_by_annotation,
    )
    if len(recordings) != 1:
        raise ValueError(
            f"Expected one recording, got {len(recordings)}; pass them one by one."
        )
    config = transformer.config_
    blocks = list(
        iter_windows(
            recordings,
            transformer.frontend_,
            sfreq=config.sfreq,
            n_times=config.n_times,
            patch=config.patch_length,
            batch_size=transformer.batch_size,
        )
    )
    data = np.concatenate([block.data for block in blocks])
    n_valid = np.concatenate([block.n_valid for block in blocks])
    centre_windows(data, n_valid)
    return recordings[0], torch.from_numpy(data), torch.from_numpy(n_valid)


@verbose
def score_reconstruction(
    transformer: MEGFMTransformer,
    X: Any,
    *,
    masks: Mapping[str, Any] | None = None,
    n_draws: int = 10,
    seed: int = 0,
    verbose: bool | str | int | None = None,
) -> pd.DataFrame:
    """Compare predictions of hidden signal with interpolation over field and time.

    Parameters
    ----------
    transformer : MEGFMTransformer
        A fitted transformer.
    X : Epochs | Raw | Evoked | MEGSamples
        One recording, in tesla. It is centred over its length.
    masks : dict of str to callable | None
        What to hide; by default 80 %% of the tokens at random, all sensors for 300 ms
        of each second, and a quarter of the sensors all the time. Of windows that
        are shorter than a second, the same shares are hidden.
    n_draws : int
        Masks drawn for each window.
    seed : int
        Seed of the masks.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`.

    Returns
    -------
    scores : DataFrame
        R² (1 is perfect, 0 as good as predicting nothing) of ``model``, ``field``
        and ``time`` for each kind of mask, see
        :func:`~mne_megfm.pretraining.masked_r2`.

    Raises
    ------
    ValueError
        If ``X`` is not one recording, or does not look like MEG in tesla.

    Examples
    --------
    >>> from mne_megfm import MEGFMTransformer, simulate_cohort
    >>> from mne_megfm.interpret import score_reconstruction
    >>> cohort = simulate_cohort(
    ...     1, states=("rest",), arrays=("ctf151",), n_epochs=4, verbose=False
    ... )
    >>> epochs = cohort.epochs("rest")[0]
    >>> transformer = MEGFMTransformer().fit(epochs)
    >>> scores = score_reconstruction(transformer, epochs, n_draws=1)
    >>> scores.columns.tolist()
    ['model', 'field', 'time']
    """
    _, data, n_valid = _centred_windows(transformer, X)
    region_pos = torch.from_numpy(np.array(transformer.frontend_.array.region_pos))
    rows = {
        name: masked_r2(
            transformer.model_,
            data,
            masking,
            region_pos,
            n_valid=n_valid,
            n_draws=n_draws,
            seed=seed,
        )
        for name, masking in ProgressBar(
            list((MASKS if masks is None else masks).items()), mesg="Masks"
        )
    }
    return pd.DataFrame(rows).T.rename_axis("mask")


@verbose
def masked_reconstruction(
    transformer: MEGFMTransformer,
    X: Any,
    masking: Any,
    *,
    seed: int = 0,
    verbose: bool | str | int | None = None,
) -> Reconstruction:
    """Hide parts of a recording and predict them from the rest.

    Parameters
    ----------
    transformer : MEGFMTransformer
        A fitted transformer.
    X : Epochs | Raw | Evoked | MEGSamples
        One recording, in tesla. It is centred over its length.
    masking : callable
        What to hide, for instance a
        :class:`~mne_megfm.pretraining.TimeBlockMasking`.
    seed : int
        Seed of the masks.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`.

    Returns
    -------
    reconstruction : Reconstruction
        Original, prediction and mask on the canonical array.

    Raises
    ------
    ValueError
        If ``X`` is not one recording, or does not look like MEG in tesla.

    Examples
    --------
    >>> from mne_megfm import MEGFMTransformer, simulate_cohort
    >>> from mne_megfm.interpret import masked_reconstruction
    >>> from mne_megfm.pretraining import TimeBlockMasking
    >>> cohort = simulate_cohort(
    ...     1, states=("rest",), arrays=("ctf151",), n_epochs=2, verbose=False
    ... )
    >>> epochs = cohort.epochs("rest")[0]
    >>> transformer = MEGFMTransformer().fit(epochs)
    >>> result = masked_reconstruction(transformer, epochs, TimeBlockMasking())
    >>> result.reconstructed.shape
    (2, 192, 250)
    """
    recording, data, n_valid = _centred_windows(transformer, X)
    model, config = transformer.model_, transformer.config_
    array = transformer.frontend_.array
    generator = torch.Generator().manual_seed(seed)
    region_pos = torch.from_numpy(np.array(array.region_pos))
    mask = draw_masks(masking, len(data), n_valid, config, region_pos, generator)
    parts = []
    device = next(model.parameters()).device
    with torch.inference_mode():
        for start in range(0, len(data), transformer.batch_size):
            part = slice(start, start + transformer.batch_size)
            batch = (x[part].to(device) for x in (data, mask, n_valid))
            parts.append(model.reconstruct(*batch).cpu())
    mapping = transformer.frontend_.mapping(recording)
    return Reconstruction(
        original=data.numpy(),
        reconstructed=torch.cat(parts).numpy(),
        mask=sample_mask(mask, n_valid, config).numpy(),
        sfreq=config.sfreq,
        sensors=mapping.from_canonical.T,
        ch_names=mapping.all_ch_names,
    )
