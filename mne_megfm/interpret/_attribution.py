"""Which sensors and times decisions go with: a fitted pipeline's, or held-out ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import mne
import numpy as np
import pandas as pd
import torch
from mne.utils import ProgressBar, _check_option
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from ..inputs import Recording, as_recordings
from ..inputs.reading import read_rows
from ..utils.logs import verbose
from ._decisions import (
    SplitPipeline,
    affine_head,
    decide,
    settle_target,
    split_pipeline,
)
from ._gradients import (
    PersonNetwork,
    RowNetwork,
    iter_row_gradients,
    iter_rows,
    own_info,
    person_gradients,
    row_gradients,
)
from ._occlusion import (
    Exchange,
    occlusion_maps,
    put,
    sensor_regions,
    takes_windows,
    time_blocks,
)
from ._refits import HeldOutScore, NullDistribution, Refits, null_distributions

# -- one pipeline ----------------------------------------------------------------------
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
        features of participants are not from the participant encoder.

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
            return _map_participant(parts, X, method, target, average, random_state)
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


def _map_participant(
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


# -- held-out decisions ----------------------------------------------------------------
#: Peaks are at least so far apart (s).
APART = 0.1
#: Weights of less than this share of the largest are rounding.
_RANK = 1e-6
#: Maps of participants whose held-out decisions agree less with labels count so much.
_LEAST = 1e-3


@dataclass(frozen=True, eq=False)
class Attribution:
    """Maps of held-out decisions, beside what they would be by chance.

    Attributes
    ----------
    method : str
        How decisions were attributed.
    maps : dict of str to EvokedArray
        For each state, a map on the good MEG channels of the recording. Of a recording
        of epochs or windows there is one, named ``"all"``.
    null : dict of str to NullDistribution
        For each map, maps by the same procedure with permuted labels. All maps, times
        and sensors are one family.
    score : HeldOutScore
        How well the pipeline that is explained predicts held-out samples.
    target : label | None
        The class whose decision is mapped; None for numbers.
    direction : str
        What positive values are for, in words.

    See Also
    --------
    attribute : Makes it.
    mne_megfm.viz.plot_attribution : Plots it.

    Examples
    --------
    See `attribute`.
    """

    method: str
    maps: dict[str, mne.EvokedArray]
    null: dict[str, NullDistribution]
    score: HeldOutScore
    target: Any = None
    direction: str = "larger numbers"

    @property
    def peaks(self) -> pd.DataFrame:
        """Peaks above the family-wise threshold, 100 ms apart in each map.

        One row for each, in the order of time: ``state``, ``time`` (s from the event),
        ``ch_name``, ``value``, ``z`` and ``p_value``. Empty where nothing stands out.
        """
        rows = []
        for state, evoked in self.maps.items():
            null = self.null[state]
            size = np.where(null.significant, np.abs(null.z), 0.0)
            course = size.max(0)
            while course.any():
                at = int(course.argmax())
                channel = int(size[:, at].argmax())
                rows.append(
                    {
                        "state": state,
                        "time": float(evoked.times[at]),
                        "ch_name": evoked.ch_names[channel],
                        "value": float(evoked.data[channel, at]),
                        "z": float(null.z[channel, at]),
                        "p_value": float(null.p_values[channel, at]),
                    }
                )
                course[np.abs(evoked.times - evoked.times[at]) < APART] = 0.0
        columns = ["state", "time", "ch_name", "value", "z", "p_value"]
        found = pd.DataFrame(rows, columns=columns)
        return found.sort_values(["state", "time"], ignore_index=True)

    def in_words(self) -> str:
        """Say what stands out above chance, or that nothing does.

        Returns
        -------
        text : str
            A few sentences.
        """
        null = next(iter(self.null.values()))
        above = f"above chance (p < {null.alpha:g}, {null.family})"
        text = f"{self.score}. Positive values are for {self.direction}. "
        peaks = self.peaks
        if not len(peaks):
            return text + (
                f"Nothing stands out {above}; the smallest p is {null.p_value:.2g}."
            )
        places = []
        for state, some in peaks.groupby("state", sort=False):
            where = "" if len(self.maps) == 1 else f"{state}: "
            points = [
                f"{row.time:.3f} s ({row.ch_name}, p = {row.p_value:.2g})"
                for row in some.itertuples()
            ]
            places.append(where + ", ".join(points))
        text += f"Stands out {above}, in s from the event: {'; '.join(places)}."
        early = peaks.loc[peaks["time"] < 0, "time"]
        if self.score.unit == "participants":
            # features of a response are of all of it
            return text + " Of participants, times and sensors are not resolved."
        if len(early):
            times = ", ".join(f"{time:.3f} s" for time in early)
            text += (
                f" What stands out before the event ({times}) is unexpected: check for "
                "leakage, such as filters that reach back, a baseline that differs "
                "between classes, or an order of trials that gives the class away."
            )
        return text


@verbose
def attribute(
    pipeline: Any,
    X: Any,
    y: Any,
    method: str = "pattern",
    *,
    groups: Any = None,
    participant: int = 0,
    target: Any = None,
    cv: Any = None,
    scoring: str | Callable | None = None,
    n_permutations: int = 99,
    alpha: float = 0.05,
    random_state: int = 0,
    verbose: bool | str | int | None = None,
) -> Attribution:
    """Attribute held-out decisions to sensors and times, and test against chance.

    Parameters
    ----------
    pipeline : Pipeline | MEGFMClassifier | MEGFMRegressor
        A pipeline with frozen weights, fitted or not; it is not changed. For gradients,
        a ``MEGFMTransformer`` and steps that are linear together, or one of our
        predictors with ``strategy="probe"``; for others, anything that takes Epochs.
    X : Epochs | Raw | MEGSamples | list of dict | list of Epochs
        One recording, in tesla, or a list of participants for gradients.
    y : array-like, shape (n_samples,)
        Labels or numbers of the epochs, windows or participants.
    method : str
        ``"pattern"`` (the default), ``"occlusion"``, ``"smoothgrad"``,
        ``"integrated_gradients"``, ``"gradient"`` or ``"gradient_x_input"``, see
        `decision_map`.
    groups : array-like, shape (n_samples,) | None
        Groups that no fold separates, such as the participants of epochs, or blocks of
        trials. Labels are permuted within each group, or between groups as a whole
        where each group has one label.
    participant : int
        Of a list of participants, whose decision is mapped, by place.
    target : label | None
        The class whose decision is mapped: positive values are for it. None takes the
        positive class of a `MEGFMClassifier`, or else the second of two; or the number
        that a regressor predicts.
    cv : int | splitter | None
        Folds that hold each sample out once; None takes 5, shuffled, stratified for
        classifiers.
    scoring : str | callable | None
        A score of scikit-learn, or a scorer; None takes ``"roc_auc"`` for two classes,
        ``"balanced_accuracy"`` for several and ``"r2"`` for numbers.
    n_permutations : int
        Permutations of the labels. The smallest p value is one by this and 1.
    alpha : float
        Level of the thresholds.
    random_state : int
        Seed of folds, permutations, noise and exchanges.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`.

    Returns
    -------
    attribution : Attribution
        Maps, their null distribution and the held-out score.

    Raises
    ------
    TypeError
        If a gradient was asked for and the pipeline has no transformer.
    ValueError
        If the method does not fit the pipeline or the recording, weights are not
        frozen, lengths differ, or there are too few permutations for ``alpha``.

    See Also
    --------
    decision_map : The map of one fitted pipeline, without a test; methods in detail.
    occlude : Regions, times, bands or states, also of participants.
    state_importance : How much better each state makes predictions.

    Notes
    -----
    The pipeline is fitted on each training fold, and its held-out decisions are mapped.
    Then the same is done with permuted labels: weights are frozen, so that only what
    follows the features is fitted again. Points stand out where the map exceeds the
    largest value over all sensors and times that permuted labels give
    (`NullDistribution`, [1]_). Samples must be exchangeable without an effect: trials
    of one class in one block, and of the other in the next, are not.

    All maps are per standard deviation of held-out decisions. A pattern is a field (T,
    T/m). Contributions (occlusion, integrated gradients, gradient times input) of a
    row count by its label: positive is evidence for it.

    Of participants, the pipeline is fitted on all others, for each permutation; the
    score is that of folds over all. Maps are multiplied by the correlation of held-out
    decisions with labels (0.001, if it is smaller), by which they differ from those of
    permuted labels: weights fitted on those are as large, and predict no participant.
    This factor is one for all states. The test holds its level, but is weak: of 24
    simulated participants, of whom half had a response in one state and all were
    classified, the map of that state was the largest and nothing was marked with 39
    permutations; with 99, p was 0.05 in that state and 0.06 in the other. So sizes of
    maps hint at states, and marks alone do not tell them apart. Times and sensors are
    not resolved, since features of responses are read along axes of the whole array
    and half a second.

    Gradients take a pass through the network for each row and each direction of
    weights, of which there are about as many as rows: minutes for 50 epochs, and hours
    for integrated gradients of epochs.

    References
    ----------
    .. [1] Nichols & Holmes (2002), "Nonparametric permutation tests for functional
       neuroimaging: a primer with examples", Human Brain Mapping 15, 1-25.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from mne_megfm import MEGFMTransformer, simulate_cohort
    >>> from mne_megfm.interpret import attribute
    >>> cohort = simulate_cohort(
    ...     1,
    ...     states=("auditory",),
    ...     arrays=("opm64",),
    ...     n_epochs=12,
    ...     random_state=0,
    ...     verbose=False,
    ... )
    >>> epochs = cohort.epochs("auditory")[0]
    >>> y = [0, 1] * 6
    >>> pipeline = make_pipeline(MEGFMTransformer(), LogisticRegression())
    >>> found = attribute(pipeline, epochs, y, cv=2, n_permutations=19, verbose=False)
    >>> found.maps["all"].data.shape, len(found.peaks)
    ((64, 250), 0)
    """
    _check_option("method", method, METHODS)
    X = [X] if isinstance(X, Mapping) else X
    recordings = as_recordings(X, **takes_windows(pipeline))
    is_people = recordings.is_list and recordings.n_elements != recordings.n_rows
    is_people = is_people or len(recordings) > 1
    if is_people and method not in GRADIENTS:
        raise ValueError(
            f"Expected one recording for method={method!r}, got a list of "
            f"{recordings.n_elements}, which may have other sensors; choose a gradient "
            "of one participant, or use mne_megfm.interpret.occlude."
        )
    if is_people and not 0 <= participant < recordings.n_elements:
        raise ValueError(
            f"Expected participant from 0 to {recordings.n_elements - 1}, got "
            f"{participant}; give a place in X."
        )
    refits = Refits(
        pipeline,
        X,
        y,
        groups=groups,
        target=target,
        cv=cv,
        scoring=scoring,
        n_permutations=n_permutations,
        alpha=alpha,
        random_state=random_state,
    )
    if method in GRADIENTS and not hasattr(refits.samples, "transformer"):
        raise TypeError(
            "Expected a pipeline that begins with a MEGFMTransformer, a "
            f"MEGFMClassifier or a MEGFMRegressor, got {pipeline!r}; use "
            "method='pattern' or method='occlusion', which work with any pipeline."
        )
    if is_people:
        maps, evokeds = _of_participant(refits, X, method, participant, random_state)
    else:
        recording = recordings[0]
        info = own_info(recording, recording.sfreq)
        if method == "pattern":
            found = _patterns(refits, recording)
        elif method == "occlusion":
            found = _occlusions(refits, recording, random_state)
        else:
            found = _row_gradients(refits, recording, method, random_state)
            info = own_info(recording, refits.samples.transformer.config_.sfreq)
        n_rows = len(recording.rows)
        evoked = mne.EvokedArray(
            found[0], info, recording.tmin, method, nave=n_rows, verbose="error"
        )
        maps, evokeds = {"all": found}, {"all": evoked}
    shapes = [evoked.data.shape for evoked in evokeds.values()]
    family = f"max over {shapes[0][1]} times x {shapes[0][0]} sensors"
    if len(shapes) > 1:
        sizes = " + ".join(f"{n_times} x {n}" for n, n_times in shapes)
        family = f"max over times x sensors of {len(shapes)} states: {sizes}"
    null = null_distributions(maps, family, alpha)
    direction = "larger numbers" if refits.target is None else str(refits.target)
    if not is_people and method not in ("pattern", "gradient", "smoothgrad"):
        direction = "the label of each row"
    return Attribution(method, evokeds, null, refits.score, refits.target, direction)


def _patterns(refits: Refits, recording: Recording) -> NDArray[np.float32]:
    """Covariance of signals with held-out decisions of each run."""
    n_channels, n_times = len(recording.picks), recording.n_samples
    total = np.zeros((refits.n_runs, n_channels * n_times))
    for positions, pieces in read_rows(recording):
        signals = np.array([piece.own.ravel() for piece in pieces])
        total += refits.decisions[:, positions] @ signals
    total /= refits.decisions.shape[1]
    return total.reshape(-1, n_channels, n_times).astype(np.float32)


def _occlusions(
    refits: Refits, recording: Recording, random_state: int
) -> NDArray[np.float32]:
    """Evidence that rows lose without a region for 100 ms, on sensors."""
    exchange = Exchange(recording, random_state)
    region = sensor_regions(exchange.epochs.info, recording.ch_names)
    blocks = time_blocks(exchange.epochs.times)
    maps = np.zeros((refits.n_runs, len(region), recording.n_samples), np.float32)
    parts = [
        (np.flatnonzero(region == number), block)
        for number in np.unique(region)
        for block in blocks
    ]
    rows = np.arange(len(recording.rows))
    for sensors, block in ProgressBar(parts, mesg="Occluding"):
        at = np.ix_(rows, sensors, block)
        changed = exchange(lambda own, other, at=at: put(own, other, at))
        lost = (refits.side * refits.lost(changed)).mean(1)
        maps[np.ix_(range(len(maps)), sensors, block)] = lost[:, None, None]
    return maps


def _directions(weights: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
    """Write weights as sums of fewer: ``weights = gains @ directions``."""
    left, size, axes = np.linalg.svd(weights, full_matrices=False)
    kept = size > _RANK * size[0] if size[0] > 0 else size > 0
    return left[:, kept] * size[kept], axes[kept]


def _row_gradients(
    refits: Refits, recording: Recording, method: str, random_state: int
) -> NDArray[np.float32]:
    """Average gradients of held-out decisions over rows, for each run."""
    transformer = refits.samples.transformer
    n_features = transformer._n_features_out
    n_rows = len(recording.rows)
    weights = np.zeros((n_rows, refits.n_runs, n_features), np.float32)
    for run, fits in enumerate(refits.fits):
        for fit in fits:
            own = _weights(refits, fit.rest, n_features) / refits.scale[run]
            weights[fit.test, run] = own
    rest = refits.fits[0][0].rest
    whole = SplitPipeline(transformer, rest, refits.pipeline)
    network = RowNetwork(whole, refits.target)
    rows = list(iter_rows(recording, transformer))
    maps = 0.0
    counts = method in ("gradient", "smoothgrad")

    def each() -> Iterator[tuple[NDArray, NDArray]]:
        for own in weights:
            yield _directions(own.astype(np.float64))

    gains, axes = zip(*each(), strict=True)
    found = iter_row_gradients(
        network, rows, method, random_state, [torch.from_numpy(one) for one in axes]
    )
    bar = ProgressBar(n_rows, mesg="Gradients")
    for number, (gain, one) in enumerate(zip(gains, found, strict=True)):
        side = 1.0 if counts else refits.side[:, [number]]
        maps = maps + np.tensordot(side * gain, one, 1) / n_rows
        bar.update(number + 1)
    return np.asarray(maps, np.float32)


def _weights(refits: Refits, rest: Any, n_features: int) -> NDArray[np.float64]:
    """Find the weights of a decision that is linear in features."""
    parts = SplitPipeline(refits.samples.transformer, rest, refits.pipeline)
    weights, _ = affine_head(
        lambda features: parts.decide(features, refits.target), n_features
    )
    return weights


def _of_participant(
    refits: Refits, X: list, method: str, participant: int, random_state: int
) -> tuple[dict[str, NDArray[np.float32]], dict[str, mne.EvokedArray]]:
    """Gradients of the decision on one participant by pipelines of all others."""
    samples = refits.samples
    others = np.delete(np.arange(samples.n), participant)
    fits = [
        samples.fit(refits.pipeline, others, np.array([participant]), labels)
        for labels in refits.labels
    ]
    parts = samples.parts(fits[0].rest, others)
    recordings = list(as_recordings([X[participant]], **takes_windows(parts.whole)))
    network = PersonNetwork(parts, recordings, refits.target)
    n_features = parts.transformer._n_features_out
    weights = np.array([_weights(refits, fit.rest, n_features) for fit in fits])
    # a pipeline fitted on permuted labels has weights that are as large: unlike rows,
    # one participant does not show that they predict no other
    agreement = np.maximum((refits.side * refits.decisions).mean(1), _LEAST)
    gains, axes = _directions(weights * (agreement / refits.scale)[:, None])
    found: dict[str, list] = {}
    for axis in ProgressBar(axes, mesg="Gradients"):
        network.weights = torch.from_numpy(axis)
        for state, one in person_gradients(network, method, random_state).items():
            found.setdefault(state, []).append(one)
    maps = {
        state: np.tensordot(gains, np.array(some), 1).astype(np.float32)
        for state, some in found.items()
    }
    evokeds = {
        state: network.evoked(state, values[0], method)
        for state, values in maps.items()
    }
    return maps, evokeds
