"""Comparing pipelines by cross-validation over participants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, is_regressor

from ..inputs import as_recordings, checked_once
from ..utils.logs import verbose
from ._comparison import Comparison
from ._confounds import arrays_of, find_confounds
from ._folds import (
    Fold,
    by_repeat,
    check_count,
    choose_cv,
    exclude_rare_states,
    permute_labels,
    split_participants,
)
from ._known_confounds import (
    ALONE,
    add_always_known,
    alone_pipeline,
    alone_tasks,
    check_confounds,
    check_residualised,
    group_table,
    score_table,
)
from ._metrics import Scoring, choose_classes, find_metrics
from ._pipelines import applicable, choose_pipelines, fewest_in_training
from ._provenance import (
    fitted_before,
    is_baseline,
    is_pretrained,
    key_of,
    random_controls,
    seen_before,
)
from ._running import Task, extract, make_task, parallel, run
from ._samples import gather
from ._tables import (
    count_participants,
    fold_table,
    permutation_table,
    prediction_table,
    random_table,
    trivial_table,
)
from ._verdicts import ENOUGH


@checked_once()
@verbose
def compare(
    X: Any,
    y: Any,
    pipelines: Mapping[str, BaseEstimator] | None = None,
    *,
    groups: Any = None,
    names: Sequence | None = None,
    sites: Any = None,
    confounds: Any = None,
    cv: Any = None,
    scoring: Scoring | None = None,
    positive: Any = None,
    reference: str | None = None,
    n_permutations: int = 10,
    n_random_weights: int = 3,
    halves: bool = False,
    n_jobs: int | None = None,
    memory: str | joblib.Memory | None = None,
    random_state: int = 0,
    verbose: bool | str | int | None = None,
) -> Comparison:
    """Compare pipelines on the same folds over participants.

    Parameters
    ----------
    X : list of dict | list of Epochs | Epochs
        The participants: dicts from state to Raw or Epochs, or Epochs whose event names
        are the states. Epochs of all participants in one object are split by
        ``groups``.
    y : array-like, shape (n_participants,)
        Labels, or numbers to predict; one for each epoch, if ``X`` is one Epochs.
    pipelines : dict | None
        From name to scikit-learn pipeline on participants. None for those of
        `default_pipelines`, of regression where ``y`` has numbers with fractions;
        for whole numbers, such as ages in years, pass
        ``default_pipelines(RidgeHead())``.
        Networks of braindecode are not among them, unless asked for by
        ``default_pipelines(networks=["shallow-fbcsp", "eegnet"])``.
    groups : array-like, shape (n_participants,) | None
        Name of the participant of each element, where some have several (sessions);
        those stay together.
    names : list of str | None
        Names of the participants, for tables and exclusions. None takes ``groups``, or
        else positions in ``X``.
    sites : array-like, shape (n_participants,) | None
        Site or device of each participant: one after the other is left out, unless
        ``cv`` is given.
    confounds : DataFrame | dict | None
        What may differ between groups besides the brain, such as age, sex and site: one
        row for each element of ``X``, in its order, one column for each confound. Text
        is a category, numbers go in as they are (codes of sites as text, so). Features
        of all pipelines are then without what is linear in these, and a pipeline
        ``"confounds alone"`` is added, see Notes.
    cv : int | splitter | iterable | None
        A splitter of scikit-learn, to which ``groups`` are handed, or pairs of places
        in ``X`` for training and test. None repeats five (stratified) folds four times.
    scoring : str | callable | list | dict | None
        Metrics, the first of which pipelines are judged by: names, scorers of
        scikit-learn, or a dict from name to scorer. ``"roc_auc"``,
        ``"balanced_accuracy"``, ``"sensitivity"`` and ``"specificity"`` (of the
        positive and of the other class) and ``"brier"``; for several classes the
        first two (AUC one against the rest) and the last; for regression ``"r2"``,
        ``"mae"`` and ``"pearson_r"``. None for all.
    positive : object
        Of two classes the one that scores, sensitivity and probabilities are about.
        None takes that of a :class:`~mne_megfm.MEGFMClassifier` among the pipelines,
        or else the last of the sorted labels.
    reference : str | None
        The pipeline that others are tested against. None takes the first.
    n_permutations : int
        How often labels are permuted among participants, so that nothing can be
        found. To spare time this is done on the first repeat of the folds alone (5 of
        the 20 folds by default), and set beside the first repeat of the true labels.
        With the default of 10 a p-value cannot be below 1/11: it shows leaks, and is
        no test of a result. Pass 199 or more for that. Of the model, the first
        pretrained pipeline, they are permuted 19 times at least, unless this is 0: its
        gate takes a p-value of 0.05.
    n_random_weights : int
        How often the model is compared with itself with random weights, with seeds from
        ``random_state`` on: the second gate takes two or more. Each costs an extraction
        of features, and none where the model is not a frozen transformer with something
        after it, since it would be trained again.
    halves : bool
        Whether to look for each participant among the first halves of all recordings by
        the features of the second, see ``confounds`` of the result. It costs as much as
        a second extraction of all features.
    n_jobs : int | None
        Processes, as joblib has it; with :func:`joblib.parallel_config` also on a
        cluster.
    memory : path-like | joblib.Memory | None
        Where what frozen weights extract from each participant is kept on disk, for
        later calls, also of `learning_curve` and
        :func:`~mne_megfm.interpret.state_importance`.
    random_state : int
        Seed of folds, permutations and default pipelines.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`; ``"warning"`` shows no progress bars.

    Returns
    -------
    comparison : Comparison
        Results of folds, predictions, a summary with tests, the four gates, what
        features reveal besides the labels, and what was left out.

    Raises
    ------
    TypeError
        If ``X`` or ``pipelines`` are of another kind.
    ValueError
        If lengths differ; if a recording is there under two names; if there are fewer
        participants than folds, a single class or number, or no way to permute labels;
        if training folds have fewer than two participants of a class, and a pipeline
        chooses its regularisation among them; if ``positive`` is no label; if a
        participant is on both sides of a split.

    See Also
    --------
    learning_curve : The same against the number of participants.
    default_pipelines : The model and all baselines.

    Notes
    -----
    Everything that learns, learns from training folds alone. Where the first step of a
    pipeline extracts features from each participant by itself, without labels (frozen
    weights, all baselines), this is done once for all folds and for all pipelines that
    share it; what the step learns from several participants (what fills a missing
    state, the reference of a tangent space) is learnt again in each training fold. The
    result is the same as from :func:`sklearn.model_selection.cross_validate`.
    :class:`~mne_megfm.MEGFMClassifier` and :class:`~mne_megfm.MEGFMRegressor` with
    ``strategy="probe"`` are split in this way, too; they do not warn then of
    participants who are unlike those of training.
    Pretraining or adaptation inside ``fit`` is repeated in every training fold.
    What was fitted before the call, on any data, is beyond this: a pipeline with a
    :class:`~sklearn.frozen.FrozenEstimator` leads to a warning and a note, and labels
    that were used outside (to choose features or settings) are for you to keep apart.
    Permuted labels show neither, as they are permuted only here.

    *Confounds.* In each fold, the first step of a pipeline makes features, and each
    feature is regressed on the confounds of the training participants, by least squares
    with a column for each number and each level of a category. What is predicted, less
    the mean, is subtracted from the features of training and test participants (cross-
    validated confound regression [1]_), and what follows in the pipeline sees the rest.
    Missing numbers count as the mean, a missing category as a level; a level that is
    not among the training participants, such as a site that is left out, has nothing
    subtracted. What is not linear in confounds stays. Where a confound differs much
    between groups, a part of the effect of the group goes with it, and no statistics
    can tell the two apart: match the groups. Subtracting the effect of a site evens out
    means, not variances; of several sites, see also ``sites``.

    ``"confounds alone"`` is logistic (or ridge) regression on these confounds, and on
    array, number of trials and site, where given, which are known without a table. A
    model that is no better says nothing new. Each of them alone is in
    ``confound_scores`` of the result, also without ``confounds``, and its distribution
    in ``confound_groups``. Pipelines without a step of features, as networks that are
    trained on signals, cannot be residualised and are left out. What features reveal of
    array and site (``Comparison.confounds``) is of features as they are.

    References
    ----------
    .. [1] Snoek L, Miletić S, Scholte HS (2019). How to control for confounds in
       decoding analyses of neuroimaging data. NeuroImage 184:741-760.
       doi:10.1016/j.neuroimage.2018.09.074

    Participants without label or without usable epochs are left out and listed in
    ``excluded`` of the result.

    Examples
    --------
    >>> from mne_megfm import simulate_cohort
    >>> from mne_megfm.evaluation import compare, default_pipelines
    >>> cohort = simulate_cohort(
    ...     8,
    ...     states=("auditory",),
    ...     arrays=("opm64",),
    ...     n_epochs=6,
    ...     random_state=0,
    ...     verbose=False,
    ... )
    >>> X = [participant.recordings for participant in cohort.participants]
    >>> pipelines = default_pipelines()
    >>> names = ["band power", "trial dynamics"]
    >>> result = compare(
    ...     X,
    ...     cohort.labels,
    ...     {name: pipelines[name] for name in names},
    ...     cv=3,
    ...     n_permutations=0,
    ... )
    >>> result.summary().index.to_list()
    ['band power', 'trial dynamics']
    """
    samples = gather(X, y, groups, sites, names)
    if confounds is not None:
        confounds = check_confounds(confounds, X, groups, names)
    chosen = choose_pipelines(pipelines, samples.y, random_state)
    classify = not is_regressor(next(iter(chosen.values())))
    classes = choose_classes(samples.y, positive, pipelines, classify)
    metrics = find_metrics(scoring, classes)
    check_count(n_permutations)
    check_count(n_random_weights, "n_random_weights")
    cv = choose_cv(cv, samples, classify, random_state)
    fewest = fewest_in_training(chosen.values())
    folds = split_participants(samples, samples.y, cv, classify, fewest)
    exclude_rare_states(samples, folds)
    recordings = as_recordings(samples.X, verbose="error")
    arrays = arrays_of(recordings)
    n_trials = recordings.rows_per_element
    known = add_always_known(confounds, samples, arrays, n_trials)
    removed = None
    if confounds is not None:
        removed = known[list(confounds)]
        chosen = check_residualised(chosen, removed, folds, samples)
    _check_reference(reference, chosen)
    model = next((name for name, p in chosen.items() if is_pretrained(p)), None)
    n_model = max(n_permutations, ENOUGH) if n_permutations and model else 0
    states = samples.states()
    shuffled = []
    for number in range(max(n_permutations, n_model)):
        rng = np.random.default_rng([random_state, number])
        shuffled.append(permute_labels(samples, states, cv, classify, rng, fewest))
    seeds = [random_state + number for number in range(n_random_weights)]
    controls = {} if model is None else dict(random_controls(chosen[model], seeds))
    every = [*chosen.values(), *controls.values()]
    frozen = extract(samples, every, n_jobs, memory)
    if pipelines is None:
        chosen = applicable(chosen, frozen, samples)
    reference = _check_reference(reference, chosen)

    def tasks(
        pipelines: Mapping[Any, BaseEstimator], y: NDArray, folds: list[Fold]
    ) -> list[Task]:
        return [
            make_task(
                name, pipeline, frozen, samples, y, part, metrics, classes, removed
            )
            for name, pipeline in pipelines.items()
            for part in by_repeat(folds)
        ]

    def with_alone(made: list[Task], y: NDArray, folds: list[Fold]) -> list[Task]:
        if removed is None:
            return made
        alone = alone_pipeline(known, classify)
        return made + [
            Task(ALONE, alone, None, known, y, samples.groups, part, metrics, classes)
            for part in by_repeat(folds)
        ]

    work = with_alone(tasks(chosen, samples.y, folds), samples.y, folds)
    # a control that is compared as a pipeline of its own is not fitted again
    compared = {key_of(pipeline): name for name, pipeline in chosen.items()}
    same = {seed: compared.get(key_of(control)) for seed, control in controls.items()}
    others = {seed: controls[seed] for seed in controls if same[seed] is None}
    random = tasks(others, samples.y, folds)
    permuted = []
    for number, (labels, parts) in enumerate(shuffled):
        if number < n_permutations:
            permuted += with_alone(tasks(chosen, labels, parts), labels, parts)
        else:
            permuted += tasks({model: chosen[model]}, labels, parts)
    each = alone_tasks(known, samples, folds, classes)
    everything = [*work, *random, *permuted, *each]
    results = parallel(
        (joblib.delayed(run)(task) for task in everything),
        len(everything),
        n_jobs,
        "Fitting",
    )
    n, m = len(work), len(work) + len(random)
    last = len(everything) - len(each)
    by_fold = fold_table(work, results[:n], samples)
    provenance = {
        task.name: found[0].seen for task, found in zip(work, results[:n], strict=True)
    }
    return Comparison(
        folds=by_fold,
        predictions=prediction_table(work, results[:n], samples),
        permutations=permutation_table(permuted, results[m:last]),
        excluded=samples.excluded_table(),
        provenance=provenance,
        metrics=list(metrics),
        reference=reference,
        labels=count_participants(samples.names, samples.y, classes),
        classes=None if classes is None else classes.tolist(),
        trivial=trivial_table(samples.y, folds, classes),
        random_weights=random_table(
            by_fold, same, fold_table(random, results[n:m], samples)
        ),
        confounds=find_confounds(
            samples, arrays, chosen, frozen, halves, n_jobs, random_state
        ),
        confound_scores=score_table(known, each, results[last:], samples),
        confound_groups=group_table(known, samples, classes),
        settings={
            "cv": f"{len(cv)} given folds" if isinstance(cv, list) else str(cv),
            "n_folds": len(folds),
            "random_state": random_state,
            "model": model,
            "seen_before": (
                None if model is None else seen_before(chosen[model], provenance[model])
            ),
            "baselines": [
                name
                for name, pipeline in chosen.items()
                if is_baseline(pipeline, provenance[name])
            ],
            "residualised": [] if removed is None else list(removed),
            "fitted_before": {
                name: found
                for name, pipeline in chosen.items()
                if (found := fitted_before(pipeline))
            },
        },
    )


def _check_reference(
    reference: str | None, pipelines: Mapping[str, BaseEstimator]
) -> str:
    """Take the first pipeline where none is named."""
    if reference is None:
        return next(iter(pipelines))
    if reference not in pipelines:
        raise ValueError(
            f"Expected the name of a pipeline as reference, got {reference!r}; there "
            f"are {list(pipelines)}."
        )
    return reference
