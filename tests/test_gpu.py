"""What runs on a GPU gives what it gives on the CPU. Skipped where there is none."""

import mne
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from mne_megfm import MEGFMClassifier, MEGFMRegressor, MEGFMTransformer
from mne_megfm.estimators import FineTuning, Pretraining
from mne_megfm.models import StateSpacePredictor

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a GPU that PyTorch can use"
)
DEVICES = ("cpu", "cuda")
#: Sums are taken in another order there.
CLOSE = {"rtol": 2e-3, "atol": 2e-3}


@pytest.fixture(scope="module")
def people():
    """Eight participants with two states of noise."""
    from mne_megfm.simulation import make_array_info

    rng = np.random.default_rng(0)
    info = make_array_info("ctf151", sfreq=250.0)

    def epochs():
        data = 1e-13 * rng.standard_normal((10, 151, 250))
        return mne.EpochsArray(data, info, tmin=-0.2, verbose="error")

    return [{"rest": epochs(), "auditory": epochs()} for _ in range(8)]


def _similar(first, second):
    """Compare features at the scale of each."""
    scale = np.abs(first).max(0) + 1e-12
    assert_allclose(first / scale, second / scale, **CLOSE)


def test_features_of_epochs(people):
    epochs = people[0]["auditory"]
    _similar(*(MEGFMTransformer(device=d).fit_transform(epochs) for d in DEVICES))


@pytest.mark.parametrize("aggregation", ["parameters+measures", "mean_std"])
def test_features_of_participants(people, aggregation):
    transformers = [
        MEGFMTransformer(device=d, aggregation=aggregation) for d in DEVICES
    ]
    _similar(*(t.fit_transform(people[:3]) for t in transformers))


@pytest.mark.parametrize("masking", ["mixed", "local"])
def test_pretraining(people, masking):
    """The same losses, and weights that give the same features."""
    losses, features = [], []
    for device in DEVICES:
        transformer = MEGFMTransformer(
            pretraining=Pretraining(2, masking=masking),
            aggregation="mean_std",
            pooling="rwmoe",
            random_state=0,
            device=device,
        )
        features.append(transformer.fit_transform(people))
        losses.append(transformer.history_.train_loss)
    assert_allclose(*losses, rtol=0.02)
    assert np.isfinite(features[1]).all()
    pairs = [np.corrcoef(a, b)[0, 1] for a, b in zip(*features, strict=True)]
    assert min(pairs) > 0.98


@pytest.mark.parametrize(
    "objective",
    [
        "band-balanced",
        "statistics",
        "participant-consistency",
        "latent",
        "time-frequency codes",
        "contrastive",
    ],
)
def test_objectives(people, objective):
    """The same losses, by weights of objectives that are where the model is."""
    embeddings = np.random.default_rng(0).standard_normal((8 * 20, 6))
    losses = [
        MEGFMTransformer(
            pretraining=Pretraining(
                2, objective=objective, validation_fraction=0.5, bf16=False
            ),
            aggregation="mean_std",
            random_state=0,
            device=device,
        )
        .fit(people, embeddings)
        .history_.train_loss
        for device in DEVICES
    ]
    assert_allclose(*losses, rtol=0.02)


def test_hybrid_pretraining(people):
    """State spaces over time and attention over regions: losses and features."""
    losses, features = [], []
    for device in DEVICES:
        transformer = MEGFMTransformer(
            None,
            backbone="hybrid-ssm",
            config={"d_model": 32, "n_layers": 1},
            pretraining=Pretraining(2),
            random_state=0,
            device=device,
        )
        features.append(transformer.fit_transform(people[0]["auditory"]))
        losses.append(transformer.history_.train_loss)
    assert_allclose(*losses, rtol=0.02)
    pairs = [np.corrcoef(a, b)[0, 1] for a, b in zip(*features, strict=True)]
    assert min(pairs) > 0.98


def test_state_spaces(rng):
    """Forward and backward of the parallel scan."""
    torch.manual_seed(0)
    network = StateSpacePredictor(torch.zeros(6), torch.eye(6)[:5], 1, 8, 4, 2)
    steps = torch.from_numpy(rng.standard_normal((3, 40, 6))).float()
    seen = torch.arange(40) < torch.tensor([[40], [17], [1]])
    found = []
    for device in DEVICES:
        network = network.to(device)
        network.zero_grad()
        out = network(steps.to(device), seen.to(device))
        out.square().sum().backward()
        grads = [p.grad for p in network.parameters() if p.grad is not None]
        found.append([x.detach().cpu().numpy() for x in (out, *grads)])
    for one, other in zip(*found, strict=True):
        assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_local_masks_experts_and_state_spaces(people):
    regressor = MEGFMRegressor(
        masking=Pretraining(1, masking="local"),
        pooling="rwmoe",
        head="ssm",
        device="cuda",
        random_state=0,
    ).fit(people, np.linspace(20, 60, 8))
    assert np.isfinite(regressor.predict(people)).all()


@pytest.mark.parametrize("strategy", ["lora", "finetune"])
def test_fine_tuning(people, strategy):
    classifier = MEGFMClassifier(
        strategy=strategy,
        finetuning=FineTuning(max_epochs=2),
        device="cuda",
        random_state=0,
    ).fit(people, np.arange(8) % 2)
    assert np.isfinite(classifier.predict_proba(people)).all()
