"""scikit-learn's common checks of the classifier and the regressor.

As for the transformer, arrays without sensor positions are refused, and with them most
checks; the same for MNE objects: `test_classifier.py`, `test_regressor.py`.
"""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from mne_megfm import MEGFMClassifier, MEGFMRegressor

from .conftest import SMALL

ARRAY = "feeds an array without sensor positions; see test_classifier.py"
MESSAGE = "wants its own words on arrays, which are refused whatever they hold"

EXPECTED_FAILURES = {
    "check_classifiers_one_label": MESSAGE,
    "check_classifiers_regression_target": MESSAGE,
    "check_complex_data": MESSAGE,
    "check_estimator_sparse_array": MESSAGE,
    "check_estimator_sparse_matrix": MESSAGE,
    "check_estimator_sparse_tag": MESSAGE,
    "check_estimators_empty_data_messages": MESSAGE,
    "check_estimators_nan_inf": MESSAGE,
    "check_fit1d": MESSAGE,
    "check_fit2d_predict1d": MESSAGE,
    "check_supervised_y_no_nan": MESSAGE,
    "check_all_zero_sample_weights_error": ARRAY,
    "check_class_weight_classifiers": ARRAY,
    "check_classifier_data_not_an_array": ARRAY,
    "check_classifiers_classes": ARRAY,
    "check_classifiers_one_label_sample_weights": ARRAY,
    "check_classifiers_train": ARRAY,
    "check_decision_proba_consistency": ARRAY,
    "check_dict_unchanged": ARRAY,
    "check_dont_overwrite_parameters": ARRAY,
    "check_dtype_object": ARRAY,
    "check_estimators_dtypes": ARRAY,
    "check_estimators_fit_returns_self": ARRAY,
    "check_estimators_overwrite_params": ARRAY,
    "check_estimators_pickle": ARRAY,
    "check_f_contiguous_array_estimator": ARRAY,
    "check_fit2d_1feature": ARRAY,
    "check_fit2d_1sample": ARRAY,
    "check_fit_check_is_fitted": ARRAY,
    "check_fit_idempotent": ARRAY,
    "check_fit_score_takes_y": ARRAY,
    "check_methods_sample_order_invariance": ARRAY,
    "check_methods_subset_invariance": ARRAY,
    "check_n_features_in": ARRAY,
    "check_n_features_in_after_fitting": ARRAY,
    "check_pipeline_consistency": ARRAY,
    "check_positive_only_tag_during_fit": ARRAY,
    "check_readonly_memmap_input": ARRAY,
    "check_regressor_data_not_an_array": ARRAY,
    "check_regressors_int": ARRAY,
    "check_regressors_no_decision_function": ARRAY,
    "check_regressors_train": ARRAY,
    "check_sample_weight_equivalence_on_dense_data": ARRAY,
    "check_sample_weights_list": ARRAY,
    "check_sample_weights_not_an_array": ARRAY,
    "check_sample_weights_not_overwritten": ARRAY,
    "check_sample_weights_pandas_series": ARRAY,
    "check_sample_weights_shape": ARRAY,
    "check_supervised_y_2d": ARRAY,
}


@parametrize_with_checks(
    [
        MEGFMClassifier(weights=None, config=SMALL),
        MEGFMRegressor(weights=None, config=SMALL),
    ],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
    xfail_strict=True,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_common_checks(estimator, check):
    check(estimator)
