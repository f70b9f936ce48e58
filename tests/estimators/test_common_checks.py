"""scikit-learn's common checks, and why some cannot pass.

The checks feed numeric arrays. Without sensor positions such an array says nothing
about a magnetic field, so the transformer refuses it, and every check that wants it to
be taken fails in the same way. The same checks for MNE objects: `test_mne_checks.py`.
"""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from mne_megfm import MEGFMTransformer

from .conftest import SMALL

ARRAY = "feeds an array without sensor positions; see test_mne_checks.py"
MESSAGE = "wants its own words on arrays, which are refused whatever they hold"

EXPECTED_FAILURES = {
    "check_complex_data": MESSAGE,
    "check_estimator_sparse_array": MESSAGE,
    "check_estimator_sparse_matrix": MESSAGE,
    "check_estimator_sparse_tag": MESSAGE,
    "check_estimators_empty_data_messages": MESSAGE,
    "check_estimators_nan_inf": MESSAGE,
    "check_fit1d": MESSAGE,
    "check_fit2d_predict1d": MESSAGE,
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
    "check_transformer_data_not_an_array": ARRAY,
    "check_transformer_general": ARRAY,
    "check_transformer_preserve_dtypes": ARRAY,
}


@parametrize_with_checks(
    [MEGFMTransformer(weights=None, config=SMALL)],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
    xfail_strict=True,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_common_checks(estimator, check):
    check(estimator)
