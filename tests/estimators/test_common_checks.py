"""scikit-learn's common checks.

Its generator of checks feeds numeric arrays. Without sensor positions an array says
nothing about a magnetic field; tags say so, and the generator yields no check then. So
the checks that need no array are called here; the others, for MNE objects:
`test_mne_checks.py`, `test_classifier.py`, `test_regressor.py`.
"""

import pytest
from sklearn.utils import estimator_checks, get_tags

from mne_megfm import (
    CanonicalSensors,
    MEGFMClassifier,
    MEGFMRegressor,
    MEGFMRetriever,
    MEGFMTransformer,
)

CHECKS = (
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_estimators_unfitted",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_param_validation",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
)
PREDICTORS = (MEGFMClassifier, MEGFMRegressor, MEGFMRetriever)
ESTIMATORS = (MEGFMTransformer, *PREDICTORS)
# it validates without scikit-learn's private tools, and learns nothing
NOT_OF_SENSORS = {"check_param_validation", "check_estimators_unfitted"}
CASES = [
    *((check, make) for check in CHECKS for make in ESTIMATORS),
    *((check, CanonicalSensors) for check in CHECKS if check not in NOT_OF_SENSORS),
    *(("check_requires_y_none", make) for make in PREDICTORS),
]


@pytest.mark.parametrize(("check", "make"), CASES)
def test_common_checks(check, make):
    getattr(estimator_checks, check)(make.__name__, make())


@pytest.mark.parametrize("make", ESTIMATORS)
def test_tags_tell_that_arrays_are_refused(make):
    tags = get_tags(make())
    assert not tags.input_tags.two_d_array
    assert tags.no_validation
    assert tags.target_tags.required is (make is not MEGFMTransformer)
