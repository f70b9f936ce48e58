"""Labels and groups in whatever holds them: what is missing is seen."""

import numpy as np
import pandas as pd
import pytest

from mne_megfm.utils.validation import check_groups, check_labels

HOLDERS = [
    list,
    tuple,
    lambda values: np.array(values, dtype=object),
    pd.Series,
    lambda values: pd.Series(values, index=list("zyxw")),
    pd.Categorical,
]


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
@pytest.mark.parametrize("check", [check_labels, check_groups])
def test_missing_among_strings(holder, missing, check):
    values = holder(["control", missing, "migraine", missing])
    with pytest.raises(ValueError, match="got none .NaN. for position 1, 3"):
        check(values, 4, "participant")


@pytest.mark.filterwarnings("ignore:A column-vector y")
@pytest.mark.parametrize("check", [check_labels, check_groups])
def test_missing_in_a_column(check):
    for values in (pd.DataFrame({"y": ["a", None, "b"]}), [["a"], [None], ["b"]]):
        with pytest.raises(ValueError, match="got none .NaN. for position 1"):
            check(values, 3, "participant")


@pytest.mark.parametrize("check", [check_labels, check_groups])
def test_missing_among_numbers(check):
    with pytest.raises(ValueError, match="got none .NaN. for position 2"):
        check([1.0, 0.0, np.nan, 1.0], 4, "participant")


@pytest.mark.parametrize("holder", HOLDERS)
def test_complete(holder):
    values = ["nan", "b", "a", "b"]  # a word, not a missing value
    assert check_labels(holder(values), 4, "participant").tolist() == values
    assert check_groups(holder(values), 4, "participant").tolist() == [2, 1, 0, 1]
