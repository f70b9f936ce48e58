"""Parameters that are wrong, without effect, or changed after describe."""

import numpy as np
import pytest
import sklearn
from sklearn.exceptions import NotFittedError

from mne_megfm import MEGFMClassifier, MEGFMRegressor, MEGFMTransformer

from .conftest import SMALL


@pytest.fixture
def people(cohort):
    return [{"auditory": epochs} for epochs in cohort.epochs("auditory")]


@pytest.mark.parametrize("name", ["backbone", "masking", "objective"])
@pytest.mark.parametrize("weights", ["megfm-tiny", None])
def test_names_of_nothing_are_refused(epochs, name, weights):
    """Also where nothing uses the part."""
    transformer = MEGFMTransformer(weights, **{name: "nonsense"})
    with pytest.raises(ValueError, match="nonsense"):
        transformer.fit(epochs)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"mask_ratio": 0.5, "lr": 0.1}, "mask_ratio, lr with max_epochs=0"),
        ({"masking": "random"}, "masking with max_epochs=0"),
        ({"append_evoked": True}, "append_evoked"),
        ({"participants": "statistics"}, "participants with a row an epoch"),
    ],
)
def test_parameters_without_effect_are_named(epochs, params, words):
    with pytest.warns(RuntimeWarning, match=f"no effect.*{words}"):
        MEGFMTransformer(**params).fit(epochs)


def test_pooling_does_not_matter_to_the_participant_encoder(people):
    for fit in ("fit", "describe"):
        transformer = MEGFMTransformer(pooling="mean", sample="participant")
        with pytest.warns(RuntimeWarning, match="no effect: pooling with participants"):
            getattr(transformer, fit)(people)
    # it does for statistics: no warning
    MEGFMTransformer(pooling="mean", aggregation="mean_std").fit(people)


def test_describe_loads_the_weights_asked_for(people, tmp_path):
    other = MEGFMTransformer(None, config=SMALL, random_state=1)
    other.fit(people).save_pretrained(tmp_path / "one")
    params = {"unit": "participant", "participants": "statistics"}
    changed = MEGFMTransformer(**params)
    first = changed.describe(people)
    model = changed.model_
    changed.describe(people)
    assert changed.model_ is model  # loaded once
    changed.set_params(weights=tmp_path / "one")
    with pytest.raises(ValueError, match="call it again"):
        changed.fit_described(first)
    again = changed.fit_described(changed.describe(people))
    expected = MEGFMTransformer(tmp_path / "one", **params).fit_transform(people)
    np.testing.assert_array_equal(
        again.transform_described(again.describe(people)), expected
    )
    # other weights in the same folder
    MEGFMTransformer(None, config=SMALL, random_state=2).fit(people).save_pretrained(
        tmp_path / "one", overwrite=True
    )
    expected = MEGFMTransformer(tmp_path / "one", **params).fit_transform(people)
    again = changed.fit_described(changed.describe(people))
    np.testing.assert_array_equal(
        again.transform_described(changed.describe(people)), expected
    )


@pytest.mark.parametrize("seeds", [(0, 1), (1, 0)])
def test_describe_draws_other_random_weights(people, seeds):
    params = {"weights": None, "config": SMALL, "unit": "participant"}
    params["participants"] = "statistics"
    transformer = MEGFMTransformer(random_state=seeds[0], **params)
    transformer.describe(people)
    transformer.set_params(random_state=seeds[1])
    found = transformer.fit_described(transformer.describe(people))
    expected = MEGFMTransformer(random_state=seeds[1], **params).fit_transform(people)
    np.testing.assert_array_equal(
        found.transform_described(found.describe(people)), expected
    )


def test_fit_described_first(people):
    with pytest.raises(NotFittedError, match=r"describe\(X\)"):
        MEGFMTransformer().fit_described([])


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
