"""A small network."""

import pytest

from mne_megfm import MEGFMTransformer

SMALL = {"d_model": 32, "n_layers": 1, "n_decoder_layers": 1}


@pytest.fixture
def small():
    """An untrained transformer that is quick to fit."""
    return MEGFMTransformer(weights=None, config=SMALL, random_state=0)
