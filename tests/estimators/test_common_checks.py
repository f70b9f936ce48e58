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
    MEGFMTransformer,
)

CHECKS = (
    "check_do_not_raise_errors_in_init_or_set_param",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_estimators_unfitted",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_param_validation",
    "check_parameters_default_constructible",
    "check_requires_y_none",
    "check_set_params",
    "check_valid_tag_types",
)
ESTIMATORS = (MEGFMTransformer, MEGFMClassifier, MEGFMRegressor)


@pytest.mark.parametrize("make", [*ESTIMATORS, CanonicalSensors])
@pytest.mark.parametrize("check", CHECKS)
def test_common_checks(make, check):
    if make is CanonicalSensors and check == "check_estimators_unfitted":
        assert not get_tags(make()).requires_fit  # it learns nothing
        return
    getattr(estimator_checks, check)(make.__name__, make())


@pytest.mark.parametrize("make", ESTIMATORS)
def test_tags_tell_that_arrays_are_refused(make):
    tags = get_tags(make())
    assert not tags.input_tags.two_d_array
    assert tags.no_validation
    assert tags.target_tags.required is (make is not MEGFMTransformer)
