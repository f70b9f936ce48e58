"""A program that uses public names, for mypy alone: signatures have types.

`Any` in the place of a class or function, as a name that mypy cannot find has it, would
let all of this pass; `assert_type` does not.
"""

from pathlib import Path
from typing import Any, assert_type

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mne_megfm import (
    MEGFMClassifier,
    MEGFMRegressor,
    MEGFMTransformer,
    MEGSamples,
    make_report,
    simulate_cohort,
    sys_info,
)
from mne_megfm.evaluation import Comparison, compare, default_pipelines
from mne_megfm.simulation import Cohort
from mne_megfm.weights import available_weights


def use(X: list[dict[str, Any]], y: NDArray[np.int_]) -> None:
    """Call what the guide calls; never run."""
    transformer = MEGFMTransformer(sample="participant", random_state=0)
    assert_type(transformer, MEGFMTransformer)
    assert_type(transformer.save_pretrained("folder"), Path)
    assert_type(MEGFMClassifier(), MEGFMClassifier)
    assert_type(MEGFMRegressor(), MEGFMRegressor)
    assert_type(compare(X, y, default_pipelines()), Comparison)
    assert_type(simulate_cohort(4), Cohort)
    assert_type(available_weights(), tuple[str, ...])
    assert_type(transformer.estimate_parameters(X), pd.DataFrame)
    assert_type(sys_info(), None)
    len(MEGSamples(X[0]["rest"]))
    MEGFMTransformer(no_such=1)  # type: ignore[call-arg]
    MEGFMClassifier(strategy=3)  # type: ignore[arg-type]
    compare(X)  # type: ignore[call-arg]
    simulate_cohort("four")  # type: ignore[arg-type]
    make_report(no_such=1)  # type: ignore[call-arg]
