"""What misuse is answered with."""

import mne
import numpy as np
import pytest

from mne_megfm import MEGFMTransformer
from mne_megfm.estimators import Pretraining

from .conftest import SMALL


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"weights": "megfm-huge", "config": None}, FileNotFoundError, "megfm-tiny"),
        ({"weights": 3}, ValueError, "weights"),
        ({"sample": "trial"}, ValueError, "sample"),
        ({"pooling": "median"}, ValueError, "'projection'"),
        ({"pretraining": Pretraining(masking="holes")}, ValueError, "'mixed'"),
        ({"pretraining": Pretraining(objective="l7")}, ValueError, "huber"),
        ({"sensor_mapping": "raw"}, ValueError, "'canonical'"),
        ({"backbone": "cnn"}, ValueError, "masked-transformer"),
        ({"pretraining": Pretraining(mask_ratio=1.0)}, ValueError, "mask_ratio"),
        ({"pretraining": Pretraining(0)}, ValueError, "max_epochs"),
        ({"pretraining": Pretraining(1.5)}, ValueError, "max_epochs"),
        ({"pretraining": 3}, ValueError, "pretraining"),
        ({"device": "toaster"}, ValueError, "'cpu'"),
        ({"config": {"depth": 3}}, ValueError, r"\['depth'\]"),
        ({"config": {"d_model": 30, "n_heads": 4}}, ValueError, "multiple of n_heads"),
        ({"weights": "megfm-tiny", "config": SMALL}, ValueError, "config=None"),
    ],
)
def test_parameters(epochs, params, error, match):
    transformer = MEGFMTransformer(**{"weights": None, "config": SMALL} | params)
    with pytest.raises(error, match=match):
        transformer.fit(epochs)


def test_not_mne(small):
    with pytest.raises(TypeError, match="Expected X to be Epochs, Raw"):
        small.fit(np.zeros((10, 306, 250)))


def test_eeg_only(small):
    info = mne.create_info(20, 250.0, "eeg")
    epochs = mne.EpochsArray(np.ones((2, 20, 250)), info)
    with pytest.raises(ValueError, match="MEG"):
        small.fit(epochs)


@pytest.mark.parametrize(
    ("scale", "match"),
    [(1e15, "tesla"), (1e-6, "tesla"), (1e-12, "flat"), (np.nan, "NaN")],
)
def test_values_that_are_not_tesla(small, epochs, scale, match):
    wrong = mne.EpochsArray(epochs.get_data() * scale, epochs.info)
    with pytest.raises(ValueError, match=match):
        small.fit(wrong)


def test_cuda_that_is_not_there(small, epochs):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("There is a GPU")
    with pytest.raises(ValueError, match="without a usable GPU"):
        small.set_params(device="cuda").fit(epochs)
    assert (
        small.set_params(device="auto").fit(epochs).model_.kernel.device.type == "cpu"
    )


def test_compact_pooling_with_too_many_components(small, epochs):
    from mne_megfm.models import ProjectionPooling

    small.set_params(pooling=ProjectionPooling(n_components=20))
    with pytest.raises(ValueError, match="n_components <= 16"):
        small.fit_transform(epochs)
