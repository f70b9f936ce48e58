"""A map of the decisions of one fitted pipeline, without a test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mne
import numpy as np
from mne.utils import _check_option, verbose
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from ..inputs import Recording, as_recordings
from ..inputs.reading import read_rows
from ._decisions import SplitPipeline, decide, settle_target, split_pipeline
from ._gradients import (
    PersonNetwork,
    RowNetwork,
    iter_rows,
    own_info,
    person_gradients,
    row_gradients,
)
from ._occlusion import occlusion_maps, takes_windows

GRADIENTS = ("smoothgrad", "integrated_gradients", "gradient", "gradient_x_input")
METHODS = ("pattern", "occlusion", *GRADIENTS)
#: A covariance over fewer rows would be one of noise.
_FEWEST = 8


@verbose
def decision_map(
    pipeline: Any,
    X: Any,
    method: str = "pattern",
    *,
    target: Any = None,
    average: bool = True,
    random_state: int = 0,
    verbose: bool | str | int | None = None,
) -> mne.EvokedArray | list[mne.EvokedArray] | dict[str, mne.EvokedArray]:
    """Map the decisions of one fitted pipeline to sensors and times, without a test.

    Any pipeline has such a map, also one that predicts nothing: it says nothing about
    chance. `attribute` has a held-out score and a null distribution beside it.

    Parameters
    ----------
    pipeline : Pipeline | MEGFMClassifier | MEGFMRegressor
        A fitted pipeline of epochs. For gradients, a ``MEGFMTransformer`` and steps
        that are linear together, or one of our predictors, of epochs or of
        participants; for others, anything that takes MNE objects.
    X : Epochs | Raw | MEGSamples | dict | list
        One recording, with rows of all classes, in tesla; best one that the pipeline
        was not fitted on. Occlusion takes Epochs. For gradients of a pipeline of
        participants, one participant: a dict from state to recordings, Epochs of
        several states, or a list with one of these.
    method : str
        ``"pattern"`` (the default), ``"occlusion"``, ``"smoothgrad"``,
        ``"integrated_gradients"``, ``"gradient"`` or ``"gradient_x_input"``, see Notes.
    target : label | None
        The class whose decision is mapped: positive values are for it. None takes the
        positive class of a `MEGFMClassifier`, or else the second of two; or the number
        that a regressor predicts.
    average : bool
        Whether to average over rows. ``"pattern"`` and participants have no maps of
        single rows.
    random_state : int
        Seed of noise and exchanges.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`.

    Returns
    -------
    maps : EvokedArray | list of EvokedArray | dict of EvokedArray
        On the recording's good MEG channels; one a row with ``average=False``. A
        pattern is a field (T, T/m) at the recording's rate: what goes with a decision
        higher by one standard deviation. The others are in units of the decision;
        gradients are at the model's rate. Of a participant, one for each state with
        stimuli, by its name.

    Raises
    ------
    TypeError
        If the pipeline has no transformer and a gradient was asked for.
    ValueError
        If the method is unknown or does not fit the pipeline or the recording; if
        there is more than one participant, or one without a state with stimuli, or
        participants are not described by the participant encoder.

    See Also
    --------
    attribute : The same, held out, and tested against permuted labels.

    Notes
    -----
    Against planted truth, ``"pattern"`` found place and time; SmoothGrad and integrated
    gradients came within some 3 cm and 20 ms, the others missed one or both by far,
    though their maps were better than chance: see the table in the design page of the
    documentation (``benchmarks/bench_attribution.py``).

    ``"pattern"``
        Covariance, over rows, of the signal with the decision, divided by the standard
        deviation of the decision: the pattern that belongs to a linear decoder, see
        [1]_, eq. 6. It says which signal goes with decisions, whether or not the
        pipeline needs it, and is blind to power without phase (see `occlude` over
        bands). It takes at least 8 rows.
    ``"smoothgrad"``
        Mean gradient at 16 copies with white noise of 0.3 standard deviations of each
        channel [2]_, per standard deviation of the channel.
    ``"integrated_gradients"``
        Gradient along the way from the mean of all rows to the row, in 64 steps, times
        the change: contributions that should add up to the change of the decision
        [3]_. They do so roughly at best: the encoder bends sharply where the way passes
        weak signals, and some rows were off by half of their change and more.
    ``"gradient"``, ``"gradient_x_input"``
        The plain gradient per standard deviation, and times the signal.
    ``"occlusion"``
        What the decision loses when the sensors of one of 24 regions have, for 100 ms,
        the signal of another row, drawn at random [4]_.

    Gradients go through pooling, encoder and the mapping to the canonical array, by the
    chain rule. They show where signal would change the decision, which for decoders is
    also where noise has to be subtracted, and not where the effect is [1]_.

    Of a participant, gradients are those with respect to a change that all trials of a
    state have in common, which is one of the average response: the sum over trials of
    the gradient at each. They go through the participant encoder and its measures (size
    and dynamics of responses, the spectrum of the same trials, maps, and what the token
    tells of other states), which are those of trials that keep what they differ by from
    their average.

    - ``"gradient"`` is per standard deviation of a channel over trials and times, and
      ``"gradient_x_input"`` that times the average response.
    - ``"smoothgrad"`` has white noise in the average, of 0.3 times the standard
      deviation of averages over channels and times, these in units of the former.
    - ``"integrated_gradients"`` go from the trials without their average, without an
      evoked response in any state, to the trials as they are. Over all states, they add
      up to the change of the decision, but for what 64 steps leave: of 24 simulated
      people 0.03 (median; at most 0.13), where decisions changed by 1.0 (median).

    Gradient times input and integrated gradients found a response that was planted in
    patients, as their average response alone did; the others missed its time.

    States without stimuli (rest, continuous recordings) have no responses, and no map:
    their windows have nothing in common that an average would show. They count in the
    decision, and stay as they are.

    Contributions (integrated gradients, gradient times input, occlusion) of rows with
    decisions above the mean count positive in the average and those of other rows
    negative, since over all rows they cancel.

    References
    ----------
    .. [1] Haufe et al. (2014), "On the interpretation of weight vectors of linear
       models in multivariate neuroimaging", NeuroImage 87, 96-110.
    .. [2] Smilkov et al. (2017), "SmoothGrad: removing noise by adding noise",
       arXiv:1706.03825, section 3.
    .. [3] Sundararajan et al. (2017), "Axiomatic attribution for deep networks", ICML,
       eq. 1.
    .. [4] Zeiler & Fergus (2014), "Visualizing and understanding convolutional
       networks", ECCV, section 4.2.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from mne_megfm import MEGFMTransformer, simulate_cohort
    >>> from mne_megfm.interpret import decision_map
    >>> cohort = simulate_cohort(
    ...     1,
    ...     states=("auditory",),
    ...     arrays=("opm64",),
    ...     n_epochs=8,
    ...     random_state=0,
    ...     verbose=False,
    ... )
    >>> epochs = cohort.epochs("auditory")[0]
    >>> y = [0, 1] * 4
    >>> pipeline = make_pipeline(MEGFMTransformer(), LogisticRegression()).fit(
    ...     epochs, y
    ... )
    >>> decision_map(pipeline, epochs).data.shape
    (64, 250)
    """
    _check_option("method", method, METHODS)
    if method == "pattern" and not average:
        raise ValueError(
            "Expected average=True with method='pattern', which is made of all rows, "
            "got average=False; choose another method for single rows."
        )
    check_is_fitted(pipeline)
    if is_classifier(pipeline):
        target = settle_target(pipeline, pipeline.classes_, target)
    if method in GRADIENTS:
        parts = split_pipeline(pipeline)
        if parts.transformer.sample_ == "participant":
            return _of_participant(parts, X, method, target, average, random_state)
    recording = _one_recording(pipeline, X)
    if method in GRADIENTS:
        network = RowNetwork(parts, target)
        rows = list(iter_rows(recording, network.transformer))
        maps = row_gradients(network, rows, method, random_state)
        info = own_info(recording, network.config.sfreq)
    else:
        info = own_info(recording, recording.sfreq)
        if method == "occlusion":
            maps = occlusion_maps(pipeline, recording, target, random_state)
    n_rows = len(recording.rows)
    if method == "pattern":
        data = _pattern(recording, _decisions(pipeline, X, recording, target))
    elif not average:
        return [
            mne.EvokedArray(row, info, recording.tmin, method, nave=1, verbose="error")
            for row in maps
        ]
    elif method in ("gradient", "smoothgrad"):
        data = maps.mean(0)
    else:
        decision = _decisions(pipeline, X, recording, target)
        side = np.where(decision > decision.mean(), 1.0, -1.0)
        data = (side[:, None, None] * maps).mean(0)
    return mne.EvokedArray(
        data, info, recording.tmin, method, nave=n_rows, verbose="error"
    )


def _of_participant(
    parts: SplitPipeline,
    X: Any,
    method: str,
    target: Any,
    average: bool,
    random_state: int,
) -> dict[str, mne.EvokedArray]:
    """Attribute the decision on one participant to the responses of each state."""
    if not average:
        raise ValueError(
            "Expected average=True for a participant, whose decision is one of all "
            "trials together, got average=False; fit a pipeline of epochs for maps of "
            "single rows."
        )
    X = [X] if isinstance(X, Mapping) else X
    recordings = as_recordings(X, **takes_windows(parts.whole))
    if recordings.n_elements != 1:
        raise ValueError(
            f"Expected one participant, got {recordings.n_elements}, who may have "
            "other sensors; map one at a time."
        )
    network = PersonNetwork(parts, list(recordings), target)
    maps = person_gradients(network, method, random_state)
    return {state: network.evoked(state, data, method) for state, data in maps.items()}


def _one_recording(pipeline: Any, X: Any) -> Recording:
    """Check that there is one recording, cut as the pipeline cuts it."""
    recordings = as_recordings(X, **takes_windows(pipeline))
    if len(recordings) != 1:
        raise ValueError(
            f"Expected one recording, got {len(recordings)}, which may have other "
            "sensors; map one at a time, or use mne_megfm.interpret.occlude for "
            "participants."
        )
    return recordings[0]


def _decisions(
    pipeline: Any, X: Any, recording: Recording, target: Any
) -> NDArray[np.float64]:
    """Decide on each row."""
    decision = decide(pipeline, X, target)
    if len(decision) != len(recording.rows):
        raise ValueError(
            f"Expected a decision for each of {len(recording.rows)} rows, got "
            f"{len(decision)}; for pipelines of participants use "
            "mne_megfm.interpret.occlude."
        )
    return decision


def _pattern(
    recording: Recording, decision: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Covariance of signals with the decision, per standard deviation of it."""
    if len(decision) < _FEWEST:
        raise ValueError(
            f"Expected at least {_FEWEST} rows for method='pattern', got "
            f"{len(decision)}; give more, or use method='occlusion'."
        )
    around = decision - decision.mean()
    spread = around.std()
    if spread == 0:
        raise ValueError(
            "Expected decisions that differ between rows, got one value for all; give "
            "rows of all classes."
        )
    total = np.zeros((len(recording.picks), recording.n_samples))
    for positions, pieces in read_rows(recording):
        for position, piece in zip(positions, pieces, strict=True):
            total += around[position] * piece.own
    return total / (len(decision) * spread)
