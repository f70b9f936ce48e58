"""Parameters that are wrong, without effect, or changed after fit."""

import inspect

import numpy as np
import pytest
import sklearn

from mne_megfm import MEGFMClassifier, MEGFMRegressor, MEGFMTransformer
from mne_megfm.estimators import FineTuning, Pretraining
from mne_megfm.estimators.frozen import FrozenStep

from .conftest import SMALL


@pytest.fixture
def people(cohort):
    return [{"auditory": epochs} for epochs in cohort.epochs("auditory")]


@pytest.mark.parametrize(
    "params",
    [
        {"backbone": "nonsense"},
        {"pretraining": Pretraining(masking="nonsense")},
        {"pretraining": Pretraining(objective="nonsense")},
    ],
)
@pytest.mark.parametrize("weights", ["megfm-tiny", None])
def test_names_of_nothing_are_refused(epochs, params, weights):
    """Also where nothing uses the part."""
    transformer = MEGFMTransformer(weights, **params)
    with pytest.raises(ValueError, match="nonsense"):
        transformer.fit(epochs)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"aggregation": "measures+evoked"}, "aggregation with a row an epoch"),
        ({"aggregation": "mean_std"}, "aggregation with a row an epoch"),
    ],
)
def test_parameters_without_effect_are_named(epochs, params, words):
    with pytest.warns(RuntimeWarning, match=f"no effect.*{words}"):
        MEGFMTransformer(**params).fit(epochs)


def test_finetuning_without_effect_is_named(people):
    classifier = MEGFMClassifier(finetuning=FineTuning(), random_state=0)
    with pytest.warns(RuntimeWarning, match="no effect: finetuning with strategy"):
        classifier.fit(people, np.arange(len(people)) % 2)


def test_constructors_are_small():
    """Training has settings of its own."""
    for make, most in (
        (MEGFMTransformer, 15),
        (MEGFMClassifier, 19),
        (MEGFMRegressor, 17),
    ):
        assert len(inspect.signature(make).parameters) <= most


def test_pooling_does_not_matter_to_the_participant_encoder(people):
    transformer = MEGFMTransformer(pooling="mean", sample="participant")
    with pytest.warns(
        RuntimeWarning,
        match="no effect: pooling with features by the participant encoder",
    ):
        transformer.fit(people)
    with pytest.warns(
        RuntimeWarning,
        match="no effect: pooling with features by the participant encoder",
    ):
        FrozenStep(transformer)
    # it does for statistics: no warning
    MEGFMTransformer(pooling="mean", aggregation="mean_std").fit(people)


@pytest.mark.parametrize("again", [0, 1])
def test_fit_takes_the_parameters_of_now(people, tmp_path, again):
    """After set_params, nothing of former weights is left."""
    folder = tmp_path / "one"
    params = {"sample": "participant", "aggregation": "mean_std"}
    changed = MEGFMTransformer(**params).fit(people)
    for seed in range(1 + again):  # other weights, then others in the same folder
        other = MEGFMTransformer(None, config=SMALL, random_state=seed)
        other.fit(people).save_pretrained(folder, overwrite=True)
        changed.set_params(weights=folder)
        expected = MEGFMTransformer(folder, **params).fit_transform(people)
        np.testing.assert_array_equal(changed.fit_transform(people), expected)
        frozen = FrozenStep(changed)
        extracted = frozen.extract(people)
        found = frozen.transform(frozen.fit(extracted), extracted)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_tables_of_scikit_learn_change_no_prediction(labelled, kind):
    pytest.importorskip(kind)
    X, y = labelled
    ages = np.linspace(20.0, 60.0, len(X))
    models = (
        (MEGFMClassifier(weights=None, config=SMALL, random_state=0), y),
        (MEGFMRegressor(weights=None, config=SMALL, random_state=0), ages),
    )
    expected = [model.fit(X, target).predict(X) for model, target in models]
    with sklearn.config_context(transform_output=kind):
        found = [model.fit(X, target).predict(X) for model, target in models]
        typicality = models[0][0].novelty_p_values(X)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert typicality.shape == (len(X),)


def test_verbose_is_for_one_estimator(epochs):
    from mne.utils import catch_logging

    for level, said in ((None, False), ("debug", True)):
        with catch_logging() as log:
            MEGFMTransformer(verbose=level).fit(epochs).transform(epochs)
        assert ("Loaded" in log.getvalue()) is said
