"""An encoder beside what is usual: ridge regression and inverse methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mne
import numpy as np
import pandas as pd
import torch
from mne.utils import logger
from numpy.typing import NDArray
from sklearn.base import clone

from ..utils.logs import verbose
from ._banded_ridge import BandedRidge
from ._latent_source_encoder import LatentSourceEncoder
from ._recordings import check_stimulus
from ._scores import select_stories
from ._source_space import SourceSpace

#: Inverse methods of MNE-Python.
INVERSE_METHODS = ("MNE", "dSPM", "sLORETA", "LCMV")
# lambda squared is one over its square: as MNE-Python advises for averages
_SNR = 3.0


@dataclass(frozen=True)
class SourceComparison:
    """Results of ``compare_sources``.

    Attributes
    ----------
    scores : DataFrame
        As ``LatentSourceEncoder.evaluate`` gives, with a column ``model``.
    sources : dict of dict
        For each model and held-out story an ``mne.SourceEstimate``.
    models : dict
        The fitted encoders and ridge regression.
    """

    scores: pd.DataFrame
    sources: dict[str, dict[str, mne.SourceEstimate]]
    models: dict[str, Any]

    def summary(self) -> pd.DataFrame:
        """Give mean correlations.

        Returns
        -------
        table : DataFrame
            A row for each model, a column for each modality: mean over sensors or
            sources, then over people.
        """
        keys = ["model", "modality", "participant"]
        means = self.scores.groupby(keys, sort=False)["correlation"].mean()
        return means.groupby(["model", "modality"], sort=False).mean().unstack()


@verbose
def compare_sources(
    encoder: LatentSourceEncoder,
    stimulus: Mapping[str, NDArray],
    recordings: Mapping[str, Mapping[str, Any]],
    test: Sequence[str],
    *,
    bands: Mapping[str, slice] | None = None,
    one_modality: bool = True,
    inverse: Iterable[str] = INVERSE_METHODS,
    solver: str | None = None,
    verbose: bool | str | int | None = None,
) -> SourceComparison:
    """Fit an encoder and baselines to some stories, and test them on the others.

    Parameters
    ----------
    encoder : LatentSourceEncoder
        Cloned and fitted.
    stimulus : dict of array
        Features by story.
    recordings : dict of dict
        As for ``LatentSourceEncoder.fit``. All have MEG of the stories in `test`.
    test : sequence of str
        Stories that nothing is fitted to.
    bands : dict of slice | None
        Groups of features for ridge regression.
    one_modality : bool
        Also fit the encoder to MEG alone and to fMRI alone.
    inverse : iterable of str
        Of ``'MNE'``, ``'dSPM'``, ``'sLORETA'``, ``'LCMV'``: applied to the recordings
        of the held-out stories, and (``'MNE of ridge'``) to what ridge regression
        predicts of them.
    solver : str | None
        As for ``BandedRidge``.
    verbose : bool | str | int | None
        Log level.

    Returns
    -------
    comparison : SourceComparison
        Models ``'joint'``, ``'MEG alone'``, ``'fMRI alone'``, ``'random'`` (the
        network with random weights), ``'ridge'``, and the inverse methods, whose
        estimates are means over people.

    Raises
    ------
    ValueError
        If stories in `test` have no stimulus, or none is left to train with.

    Notes
    -----
    Neuro-current response functions [1]_ are not among the baselines: the package that
    has them needs recordings in a form of its own. An encoder of MEG alone with
    ``n_layers=0`` is a model of their kind.

    References
    ----------
    .. [1] Das et al. (2020), "Neuro-current response functions", NeuroImage 211:116528.

    Examples
    --------
    See :doc:`/guide/stories`, which has one.
    """
    stimulus = check_stimulus(stimulus)
    unknown = [s for s in test if s not in stimulus]
    train = [s for s in stimulus if s not in set(test)]
    if unknown or not train or not test:
        raise ValueError(
            f"Expected stories of {', '.join(stimulus)} in test, and others to train "
            f"with, got {list(test)}."
        )
    parts = [
        ({s: stimulus[s] for s in names}, select_stories(recordings, names))
        for names in (train, list(test))
    ]
    models: dict[str, Any] = {"joint": clone(encoder)}
    has_fmri = any(r.get("fmri") is not None for r in recordings.values())
    if one_modality and has_fmri:
        models["MEG alone"] = clone(encoder).set_params(modalities=("meg",))
        models["fMRI alone"] = clone(encoder).set_params(modalities=("fmri",))
    models["ridge"] = BandedRidge(
        encoder.sfreq,
        lags=encoder.lags,
        lag_step=encoder.lag_step,
        bands=bands,
        solver=solver,
        modalities=encoder.modalities,
        random_state=encoder.random_state,
    )
    for name, model in models.items():
        logger.info("Fitting %s", name)
        model.fit(*parts[0])
    models["random"] = randomized(models["joint"])
    tables, sources = [], {}
    for name, model in models.items():
        tables.append(model.evaluate(*parts[1]).assign(model=name))
        if name != "ridge":
            sources[name] = model.estimate_sources(parts[1][0])
    for method in inverse:
        sources[method] = {
            story: inverse_estimate(parts[1][1], story, method) for story in test
        }
        if method == "MNE":
            said = _predicted(models["ridge"], *parts[1])
            sources["MNE of ridge"] = {
                story: inverse_estimate(said, story, method) for story in test
            }
    return SourceComparison(pd.concat(tables, ignore_index=True), sources, models)


def randomized(
    encoder: LatentSourceEncoder, random_state: int = 0
) -> LatentSourceEncoder:
    """Copy an encoder with random weights in its network.

    Parameters
    ----------
    encoder : LatentSourceEncoder
        A fitted encoder.
    random_state : int
        Seed.

    Returns
    -------
    encoder : LatentSourceEncoder
        With linear responses and maps drawn from normal distributions of their
        standard deviations; heads of people are the same.
    """
    out = clone(encoder)
    out.__dict__.update(encoder.__dict__)
    out.network_ = type(encoder.network_)(encoder.network_.config)
    out.network_.load_state_dict(encoder.network_.state_dict())
    generator = torch.Generator().manual_seed(random_state)
    with torch.no_grad():
        for weights in (out.network_.kernel, out.network_.maps):
            draw = torch.randn(weights.shape, generator=generator)
            weights.copy_(draw * weights.std())
    out.network_.eval()
    return out


def inverse_estimate(
    recordings: Mapping[str, Mapping[str, Any]],
    story: str,
    method: str,
    snr: float = _SNR,
) -> mne.SourceEstimate:
    """Estimate sources of a story by an inverse method, and average over people.

    Parameters
    ----------
    recordings : dict of dict
        As for ``LatentSourceEncoder.fit``; people without MEG of the story are left
        out.
    story : str
        Which.
    method : str
        ``'MNE'``, ``'dSPM'``, ``'sLORETA'`` or ``'LCMV'``, all with sources along the
        normals. The mean over repeats is used.
    snr : float
        Assumed signal to noise ratio of the first three.

    Returns
    -------
    stc : mne.SourceEstimate
        Mean over people of estimates of equal power.

    Raises
    ------
    ValueError
        If the method is not known, or no participant has MEG of the story.
    """
    if method not in INVERSE_METHODS:
        raise ValueError(f"Expected one of {INVERSE_METHODS}, got {method!r}.")
    total, space, count, sfreq = 0.0, None, 0, 0.0
    for given in recordings.values():
        runs = (given.get("meg") or {}).get(story)
        if not runs:
            continue
        runs = runs if isinstance(runs, list | tuple) else [runs]
        sfreq = runs[0].info["sfreq"]
        mean = np.mean([raw.get_data(picks="meg") for raw in runs], axis=0)
        info = mne.pick_info(runs[0].info, mne.pick_types(runs[0].info, meg=True))
        raw = mne.io.RawArray(
            mean - mean.mean(axis=1, keepdims=True), info, verbose="error"
        )
        stc = _invert(raw, given["forward"], given["noise_cov"], method, snr)
        space = SourceSpace.of(given["forward"])
        # units differ between methods, and noise between people
        total, count = total + stc.data / np.sqrt(np.mean(stc.data**2)), count + 1
    if not count:
        raise ValueError(f"Expected MEG of {story!r} of somebody, got none.")
    return mne.SourceEstimate(
        total / count, space.vertices, 0.0, 1 / sfreq, space.subject
    )


def _invert(raw, forward, cov, method: str, snr: float) -> mne.SourceEstimate:
    if method == "LCMV":
        fixed = mne.convert_forward_solution(
            forward, surf_ori=True, force_fixed=True, verbose="error"
        )
        data_cov = mne.compute_raw_covariance(
            raw, method="empirical", rank="info", verbose="error"
        )
        filters = mne.beamformer.make_lcmv(
            raw.info,
            fixed,
            data_cov,
            reg=0.05,
            noise_cov=cov,
            weight_norm="unit-noise-gain",
            rank="info",
            verbose="error",
        )
        return mne.beamformer.apply_lcmv_raw(raw, filters, verbose="error")
    operator = mne.minimum_norm.make_inverse_operator(
        raw.info, forward, cov, loose=0.0, depth=0.8, fixed=True, verbose="error"
    )
    return mne.minimum_norm.apply_inverse_raw(
        raw, operator, 1.0 / snr**2, method, verbose="error"
    )


def _predicted(ridge: BandedRidge, stimulus, recordings) -> dict[str, dict[str, Any]]:
    """Put what ridge regression predicts in the place of MEG."""
    out = {}
    for name, given in recordings.items():
        if not given.get("meg"):
            continue
        meg = {}
        for story, runs in given["meg"].items():
            first = runs[0] if isinstance(runs, list | tuple) else runs
            picks = mne.pick_types(first.info, meg=True)
            info = mne.pick_info(first.info, picks)
            data = ridge.predict_meg(stimulus[story], name).T
            meg[story] = [mne.io.RawArray(data, info, verbose="error")]
        out[name] = {**given, "meg": meg}
    return out
