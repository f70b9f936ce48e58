"""The network as a torch module for classifiers of braindecode."""

import importlib.util
import pickle
import warnings

import mne
import numpy as np
import pytest
import torch

from mne_megfm import CanonicalSensors, MEGFMTransformer
from mne_megfm.estimators import MEGFMModule
from mne_megfm.plugins import braindecode_models
from mne_megfm.sensors import canonical_array
from mne_megfm.simulation import make_array_info
from mne_megfm.weights import load_checkpoint, weights_path


def _epochs(sfreq=250.0, n_times=250, n=6):
    rng = np.random.default_rng(0)
    info = make_array_info("ctf151", sfreq=sfreq)
    # smooth, so that nothing is above the rate of the network
    data = rng.standard_normal((n, 151, n_times // 10 + 2))
    time = np.linspace(0, data.shape[-1] - 1.01, n_times)
    first = time.astype(int)
    data = data[..., first] + (data[..., first + 1] - data[..., first]) * (time % 1)
    return mne.EpochsArray(2e-13 * data, info, verbose=False)


@pytest.mark.parametrize(
    ("sfreq", "n_times"), [(250.0, 250), (250.0, 610), (600.0, 600), (200.0, 120)]
)
def test_features_are_those_of_the_transformer(sfreq, n_times):
    """For rows of any length and rate, from sensors and from the canonical array."""
    epochs = _epochs(sfreq, n_times)
    transformer = MEGFMTransformer(sensor_mapping="canonical", verbose="error")
    expected = transformer.fit_transform(epochs)
    X = torch.tensor(epochs.get_data(), dtype=torch.float32)
    module = MEGFMModule(n_times=n_times, info=epochs.info).eval()
    canonical = CanonicalSensors().fit_transform(epochs)
    chs = canonical_array().info(sfreq)["chs"]
    other = MEGFMModule(n_times=n_times, sfreq=sfreq, chs_info=chs).eval()
    with torch.inference_mode():
        got = module(X, return_features=True)
        assert got["cls_token"] is None
        outside = other(torch.tensor(np.asarray(canonical)).float(), True)["features"]
        assert module(X).shape == (6, 2)
    for features in (got["features"], outside):
        np.testing.assert_allclose(features, expected, atol=5e-4)


def test_arguments_of_braindecode():
    epochs = _epochs()
    info = epochs.info
    module = MEGFMModule(
        n_chans=151,
        n_outputs=3,
        input_window_seconds=1.0,
        chs_info=info["chs"],
        info=info,
        frozen=True,
    )
    assert (module.n_times, module.sfreq, module.n_outputs) == (250, 250.0, 3)
    assert module.input_window_seconds == 1.0
    trained = [n for n, p in module.named_parameters() if p.requires_grad]
    assert trained == ["final_layer.weight", "final_layer.bias"]
    module.reset_head(5)
    assert module(torch.zeros(2, 151, 250)).shape == (2, 5)
    kept = load_checkpoint(weights_path("megfm-tiny")).state_dict()
    for name, array in module.encoder.state_dict().items():
        assert torch.equal(array, kept[name]), name
    with pytest.raises(ValueError, match="Expected signals of 151 channels and 250"):
        module(torch.zeros(2, 151, 249))
    for given, text in (
        ({"n_times": 250, "sfreq": 250.0, "chs_info": info["chs"]}, "module__info"),
        ({"n_times": 250, "sfreq": 250.0, "n_chans": 151}, "module__info"),
        ({"n_times": 250, "info": info, "n_chans": 150}, "151 channels of info"),
        ({"n_times": 250}, "module__sfreq"),
        ({"n_times": 250, "info": info, "pooling": "rwmoe"}, "not fitted to data"),
    ):
        with pytest.raises(ValueError, match=text):
            MEGFMModule(**given)


@pytest.mark.skipif(
    importlib.util.find_spec("braindecode") is None,
    reason="The braindecode extra is not installed",
)
@pytest.mark.parametrize("frozen", [True, False])
def test_classifier_of_braindecode(frozen):
    """Two epochs of training tell strong from weak trials; the weights are loaded."""
    braindecode_models()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies
        from braindecode import EEGClassifier
    epochs = _epochs(n=16)
    X, y = epochs.get_data().astype(np.float32), np.arange(16) % 2
    X[y == 1] += 4.0 * X[0]  # the same response in each trial of one class
    net = EEGClassifier(
        MEGFMModule,
        module__info=epochs.info,
        module__frozen=frozen,
        optimizer=torch.optim.AdamW,
        lr=1e-3,
        max_epochs=2,
        batch_size=4,
        train_split=None,
        iterator_train__drop_last=False,
        classes=[0, 1],
        verbose=0,
    ).fit(X[:12], y[:12])
    losses = net.history[:, "train_loss"]
    assert losses[1] < losses[0]
    assert (net.predict(X[12:]) == y[12:]).mean() == 1.0
    kept = load_checkpoint(weights_path("megfm-tiny")).state_dict()
    weight = net.module_.encoder.state_dict()["embed.weight"]
    assert torch.equal(weight, kept["embed.weight"]) == frozen
    again = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(again.predict_proba(X), net.predict_proba(X))
