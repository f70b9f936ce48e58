"""Networks of braindecode as backbones: the same as when they are called directly."""

import importlib.util
import json
import pickle
import subprocess
import sys
import warnings

import mne
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.signal import resample_poly
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from mne_megfm import MEGFMClassifier, MEGFMTransformer
from mne_megfm.estimators import FineTuning, Pretraining
from mne_megfm.models import Reconstructor
from mne_megfm.plugins import braindecode_models, describe, make_backbone
from mne_megfm.pretraining import PretrainSettings, pretrain_store
from mne_megfm.sensors import canonical_array, canonical_kernel
from mne_megfm.simulation import make_array_info
from mne_megfm.store import WindowStore
from mne_megfm.testing import plugin_checks
from mne_megfm.weights import import_braindecode, load_checkpoint, read_config

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("braindecode") is None,
    reason="The braindecode extra is not installed",
)

DECODER = {"decoder_width": 16, "n_decoder_layers": 1}
#: Small sizes; those of the second dict have a token for each channel.
WHOLE = {
    "eegnet": {},
    "eegpt": {"d_model": 16, "n_layers": 1, "n_heads": 2},
    "luna": {"d_model": 64, "n_layers": 1},
}
MASKED = {
    "biot": {"d_model": 16, "n_layers": 1, "n_heads": 2},
    "cbramod": {"d_model": 16, "n_layers": 1, "n_heads": 4},
    "labram": {"d_model": 100, "n_layers": 1},
    "reve": {"d_model": 32, "n_layers": 1, "n_heads": 4},
    "signaljepa": {"n_layers": 1},
}
SMALL = WHOLE | {name: sizes | DECODER for name, sizes in MASKED.items()}
SCALE = 4e-13


@pytest.fixture(autouse=True)
def _quiet():
    with mne.utils.use_log_level("error"):
        yield


@pytest.fixture(scope="module")
def epochs():
    """Twelve epochs of noise, every second of which is stronger."""
    rng = np.random.default_rng(0)
    data = 1e-13 * rng.standard_normal((12, 64, 250))
    data[1::2] *= 3.0
    return mne.EpochsArray(data, make_array_info("opm64", sfreq=250.0))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Return a store of six recordings, whose sensors share what they measure."""
    rng = np.random.default_rng(0)
    root = np.linalg.cholesky(canonical_kernel() + 1e-3 * np.eye(192))
    store = WindowStore.create(tmp_path_factory.mktemp("data") / "store")
    for number in range(6):
        store.append(
            1e-13 * (root @ rng.standard_normal((4, 192, 250))),
            name=f"s{number}-rest",
            participant=f"s{number}",
            state="rest",
            array="ctf151",
        )
    return store


def _made(name, **more):
    torch.manual_seed(0)
    kernel = torch.tensor(canonical_kernel()).float()
    return make_backbone(f"braindecode:{name}", SMALL[name] | more, kernel).eval()


def _transformer(name, **given):
    given = {"config": SMALL[name], "sensor_mapping": "canonical"} | given
    return MEGFMTransformer(
        None, backbone=f"braindecode:{name}", random_state=0, **given
    )


# -- the same as the network by itself -------------------------------------------------
def _windows(n=3):
    """Windows at the network's scale that begin and end at 0, as resampling likes."""
    rng = np.random.default_rng(1)
    signals = rng.standard_normal((n, 192, 250))
    signals[..., [0, -1]] = 0.0
    return signals


def _input(signals, up, down, gain, n_times):
    x = gain * resample_poly(signals, up, down, axis=-1)
    x = np.pad(x, [(0, 0), (0, 0), (0, n_times - x.shape[-1])])
    return torch.tensor(x, dtype=torch.float32)


def _angles(names):
    """Great-circle angles (rad) from sensors to electrodes by the haversine formula."""
    montage = mne.channels.make_standard_montage("colin27_1005")
    info = mne.create_info(montage.ch_names, 100.0, "eeg").set_montage(montage)
    place = {ch["ch_name"].upper(): ch["loc"][:3] for ch in info["chs"]}
    array = canonical_array()

    def lon_lat(pos):
        x, y, z = (pos - array.origin).T
        return np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))

    (a, b), (c, d) = lon_lat(array.pos), lon_lat(np.array([place[n] for n in names]))
    part = np.sin((b[:, None] - d) / 2) ** 2
    part += np.cos(b[:, None]) * np.cos(d) * np.sin((a[:, None] - c) / 2) ** 2
    return 2.0 * np.arcsin(np.sqrt(part.clip(0.0, 1.0)))


def _nearest(names):
    return [names[i] for i in _angles(names).argmin(1)]


def _electrodes(order):
    """Names of an order of channels that are single electrodes of the 10-05 system."""
    montage = mne.channels.make_standard_montage("colin27_1005")
    known = {name.upper() for name in montage.ch_names}
    known -= {"T3", "T4", "T5", "T6", "A1", "A2", "M1", "M2"}
    return [name.upper() for name in order if name.upper() in known]


def _by_hand(name, network, signals):
    """Run a network of braindecode; give tokens of channels, (n, n_channels, d)."""
    models = braindecode_models()
    if name == "labram":
        names = _nearest(_electrodes(models.labram.LABRAM_CHANNEL_ORDER))
        x = _input(signals, 4, 5, 0.2, 200)
        return network(x, return_features=True, ch_names=names)["features"]
    if name == "cbramod":
        x = _input(signals, 4, 5, 0.2, 200)
        return network(x, return_features=True)["features"][:, :, 0]
    if name == "reve":
        montage = mne.channels.make_standard_montage("colin27_1005")
        place = {k.upper(): v for k, v in montage.get_positions()["ch_pos"].items()}
        names = _nearest(_electrodes(montage.ch_names))
        pos = torch.tensor(np.array([place[n] for n in names])).float()
        x = _input(signals, 4, 5, 1.0, 200)
        pos = pos.expand(len(x), -1, -1)
        return network(x, pos=pos, return_features=True)["features"][:, :, 0]
    assert name == "signaljepa"
    x = _input(signals, 64, 125, 20.0, 152)
    return network(x, return_features=True)["features"]


@pytest.mark.parametrize("name", ["labram", "cbramod", "reve", "signaljepa"])
def test_tokens_are_means_over_sensors_of_a_region(name):
    """Networks with a token for each sensor; resampled by scipy, called directly."""
    model, signals = _made(name), _windows()
    with torch.inference_mode():
        expected = _by_hand(name, model.network, signals)
        expected = expected.unflatten(1, (24, 8)).mean(2)
        got = model.encode(torch.tensor(signals * SCALE, dtype=torch.float32))
    assert got.shape == (3, 24, 10, model.config.d_model)
    for patch in (0, 9):  # the token of a second is that of all of its patches
        torch.testing.assert_close(got[:, :, patch], expected, rtol=1e-4, atol=1e-4)
    assert expected.std(1).min() > 0.0  # regions differ


@pytest.mark.parametrize("name", SMALL)
def test_layers_can_be_shared_out(name):
    """Each is a module that is called: a list in a list of BIOT is not."""
    for layer in _made(name).layers():
        assert type(layer).forward is not torch.nn.Module.forward


def test_sensors_are_named_by_geometry():
    """SignalJEPA and LaBraM look positions up by the name of the nearest electrode."""
    model = _made("signaljepa")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known = braindecode_models().SignalJEPA(
            n_times=152, channel_embedding="pretrain_aligned"
        )
    order = [ch["ch_name"].upper() for ch in known.chs_info]
    expected = [order.index(name) for name in _nearest(order)]
    assert model.network.pos_encoder.default_ch_idxs.tolist() == expected
    names = _made("labram")._names
    top = canonical_array().pos[:, 2].argmax()
    assert names[top] in {"CZ", "CPZ", "C1", "C2", "FCZ", "CCP1", "CCP2"}


def test_biot_reads_differences_of_sensors():
    """Its mean over tokens is that of its own encoder, on 18 differences."""
    model, signals = _made("biot"), _windows()
    order = braindecode_models().biot.BIOT_CHANNEL_ORDER
    pairs = [
        [{"A1": "T9", "A2": "T10"}.get(name, name) for name in pair.split("-")]
        for pair in order
    ]
    nearest = [[_angles([name])[:, 0].argmin() for name in pair] for pair in pairs]
    first, second = np.array(nearest).T
    x = _input(signals[:, first] - signals[:, second], 4, 5, 0.5, 200)
    windows = torch.tensor(signals, dtype=torch.float32)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that its window is rectangular
        given = model.network_input(windows)
        torch.testing.assert_close(given, x, rtol=1e-4, atol=1e-4)
        expected = model.network(x, return_features=True)["features"]
        tokens = model.tokens(given)
        got = model.encode(windows * SCALE)
    torch.testing.assert_close(tokens.mean((1, 2)), expected, rtol=1e-4, atol=1e-4)
    # a region has the channel whose middle is nearest
    pos = canonical_array().pos
    middle = (pos[first] + pos[second]) / 2
    apart = np.linalg.norm(canonical_array().region_pos[:, None] - middle, axis=2)
    expected = tokens[:, apart.argmin(1), 0]
    torch.testing.assert_close(got[:, :, 4], expected, rtol=1e-4, atol=1e-4)


def test_tokens_of_the_whole_head():
    """EEGPT: means over summary tokens; steps in time are weighed by their overlap."""
    model, signals = _made("eegpt"), _windows()
    names = braindecode_models().eegpt.EEGPT_CHANNELS
    sensors = _angles(list(names)).argmin(0)
    x = _input(signals[:, sensors], 128, 125, 0.02, 256)
    with torch.inference_mode():
        expected = model.network(x).mean(2)
        got = model.encode(torch.tensor(signals * SCALE, dtype=torch.float32))
    assert expected.shape == (3, 7, 16)
    # by samples of 1/32 s: steps last 8 of them, every 4; windows are 1 s, 10 patches
    time = (np.arange(3200) + 0.5) / 3200
    inside = (time >= np.arange(7)[:, None] / 8) & (
        time < np.arange(7)[:, None] / 8 + 0.25
    )
    for patch in range(10):
        weight = inside[:, (time >= patch / 10) & (time < (patch + 1) / 10)].sum(1)
        mean = torch.einsum(
            "nsd,s->nd", expected, torch.tensor(weight / weight.sum()).float()
        )
        for region in (0, 23):
            torch.testing.assert_close(
                got[:, region, patch], mean, rtol=1e-3, atol=1e-3
            )


@pytest.mark.parametrize(
    ("name", "ratio", "n_times"),
    [("luna", (128, 125), 280), ("eegnet", (64, 125), 128)],
)
def test_tokens_before_the_head(name, ratio, n_times):
    """LUNA and EEGNet: what their own forward pass hands to their head."""
    model, signals = _made(name), _windows()
    x = _input(signals, *ratio, 1.0, n_times)
    models = braindecode_models()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name == "luna":
            sizes = {"embed_dim": 16, "num_queries": 4, "depth": 1, "num_heads": 2}
            info = canonical_array().info(256.0)["chs"]
            whole = models.LUNA(
                n_outputs=2, chs_info=info, n_times=280, sfreq=256, **sizes
            )
            before = whole.norm
        else:
            whole = models.EEGNet(n_chans=192, n_outputs=2, n_times=128)
            before = whole.drop_2
    names = model.load_network(whole.state_dict())
    assert len(names.left_out) >= 2
    found = []
    before.register_forward_hook(lambda module, args, out: found.append(out))
    with torch.inference_mode():
        whole.eval()(x)
        got = model.encode(torch.tensor(signals * SCALE, dtype=torch.float32))
    expected = found[0] if name == "luna" else found[0][:, :, 0].transpose(1, 2)
    # the first patch of 100 ms is inside the first step
    torch.testing.assert_close(got[:, 5, 0], expected[:, 0], rtol=1e-3, atol=1e-4)


# -- as any backbone -------------------------------------------------------------------
@pytest.mark.parametrize("name", sorted(SMALL))
def test_plugin_checks(name):
    for check in plugin_checks("backbones", _made(name)):
        check()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=() if n == "eegnet" else pytest.mark.slow)
        for n in sorted(SMALL)
    ],
)
def test_estimator(name, epochs, tmp_path):
    """Features after fit, of a clone, a pickle and saved weights are the same."""
    transformer = _transformer(name)
    features = transformer.fit_transform(epochs)
    assert features.shape == (12, len(transformer.get_feature_names_out()))
    assert np.isfinite(features).all() and features.std(0).max() > 0.0
    path = transformer.save_pretrained(tmp_path / "saved")
    saved = MEGFMTransformer(path, sensor_mapping="canonical")
    for other in (
        pickle.loads(pickle.dumps(transformer)),
        clone(transformer).fit(epochs),
        saved.fit(epochs),
    ):
        np.testing.assert_array_equal(other.transform(epochs), features)
    assert read_config(path)["backbone"] == f"braindecode:{name}"


def test_longer_windows():
    """Windows of 2 s have two tokens; what was not recorded has none."""
    model = _made("labram", n_patches=20)
    windows = torch.randn(2, 192, 500) * SCALE
    with torch.inference_mode():
        tokens = model.encode(windows)
        part = model.encode(windows, torch.tensor([500, 250]))
    assert tokens.shape == (2, 24, 20, 100)
    assert torch.equal(tokens[:, :, 0], tokens[:, :, 9])
    assert torch.equal(tokens[:, :, 10], tokens[:, :, 19])
    assert not torch.allclose(tokens[:, :, 9], tokens[:, :, 10], atol=1e-3)
    assert torch.equal(tokens[0], part[0]) and not part[1, :, 10:].any()


@pytest.mark.slow
def test_search_and_fine_tuning(epochs):
    """A search goes through networks; adapters and all weights can be trained."""
    pipeline = make_pipeline(_transformer("luna"), LogisticRegression())
    step, y = "megfmtransformer", np.arange(12) % 2
    grid = [
        {f"{step}__backbone": [f"braindecode:{n}"], f"{step}__config": [SMALL[n]]}
        for n in ("labram", "eegnet")
    ]
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(epochs, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    for name, strategy in (
        ("cbramod", "lora"),
        ("signaljepa", "lora"),
        ("eegnet", "finetune"),
    ):
        classifier = MEGFMClassifier(
            None,
            backbone=f"braindecode:{name}",
            config=SMALL[name],
            strategy=strategy,
            finetuning=FineTuning(max_epochs=2, lora_rank=2, lr=0.01),
            random_state=0,
        ).fit(epochs, y)
        assert np.isfinite(classifier.predict_proba(epochs)).all()


# -- masks -----------------------------------------------------------------------------
@pytest.mark.parametrize("name", sorted(MASKED))
def test_hidden_samples_reach_nothing(name):
    """Tokens and predictions are bit-equal whatever is hidden, also if it is NaN."""
    model = _made(name)
    rng = torch.Generator().manual_seed(0)
    # else the prediction is that of the interpolations
    torch.nn.init.normal_(model.head.weight, std=0.1, generator=rng)
    windows = torch.randn(3, 192, 250, generator=rng) * SCALE
    mask = torch.rand(3, 24, 10, generator=rng) < 0.6
    samples = mask.repeat_interleave(8, 1).repeat_interleave(25, 2)
    other = torch.where(samples, torch.randn(3, 192, 250, generator=rng), windows)
    gone = windows.masked_fill(samples, torch.nan)
    with torch.inference_mode():
        found = [model.encode(x, None, mask) for x in (windows, other, gone)]
        filled = [model.reconstruct(x, mask) for x in (windows, other)]
        changed = model.reconstruct(windows.roll(1, -1), mask)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    assert torch.equal(filled[0], filled[1].where(samples, filled[0]))
    assert not torch.allclose(filled[0][samples], changed[samples], rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if n != "labram" else ()) for n in MASKED],
)
def test_masked_pretraining(name, store, tmp_path):
    """Networks and their decoder learn from hidden regions; the encoder is trained."""
    settings = PretrainSettings(
        backbone=f"braindecode:{name}",
        model=SMALL[name],
        masking={"name": "random", "mask_ratio": 0.5},
        epochs=3,
        steps_per_epoch=4,
        batch_size=6,
        lr=3e-3,
        validation_fraction=0.4,
        device="cpu",
    )
    history = pretrain_store(store, tmp_path / "run", settings)
    assert history.train_loss[-1] < 0.95 * history.train_loss[0]
    model = load_checkpoint(tmp_path / "run")
    assert isinstance(model, Reconstructor)
    torch.manual_seed(settings.random_state)
    start = make_backbone(settings.backbone, settings.model).state_dict()
    moved = [
        not torch.equal(array, start[n])
        for n, array in model.state_dict().items()
        if n.startswith("network.") and array.is_floating_point()
    ]
    assert np.mean(moved) > 0.8


@pytest.mark.slow
def test_interrupted_run_ends_the_same(store, tmp_path):
    """There is no dropout, so that a run that goes on has the same weights."""
    settings = PretrainSettings(
        backbone="braindecode:cbramod",
        model=SMALL["cbramod"],
        epochs=2,
        steps_per_epoch=2,
        batch_size=6,
        validation_fraction=0.4,
        device="cpu",
    )
    pretrain_store(store, tmp_path / "one", settings)
    steps = iter([False, False, True])
    with pytest.raises(RuntimeError, match="stopped after step 3"):
        pretrain_store(store, tmp_path / "two", settings, stop=lambda: next(steps))
    pretrain_store(store, tmp_path / "two", settings)
    one, two = (load_checkpoint(tmp_path / n).state_dict() for n in ("one", "two"))
    for name, array in one.items():
        assert torch.equal(array, two[name]), name


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_networks_that_cannot_predict_say_so(name, epochs):
    transformer = _transformer(name)
    assert not isinstance(transformer.fit(epochs).model_, Reconstructor)
    match = "Expected a backbone that predicts hidden signal, .* use another backbone"
    with pytest.raises(TypeError, match=match):
        transformer.score(epochs)
    with pytest.raises(TypeError, match=match):
        _transformer(name, pretraining=Pretraining(max_epochs=1)).fit(epochs)


# -- weights from files ----------------------------------------------------------------
def _published(tmp_path, **more):
    """Write a small LaBraM for windows of 4 s, as braindecode saves it."""
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = braindecode_models().Labram(
            n_times=800,
            n_chans=128,
            n_outputs=3,
            sfreq=200,
            conv_out_channels=4,
            num_layers=1,
        )
    state = network.state_dict() | more
    path = tmp_path / "published.safetensors"
    _save(state, path)
    return path, state


def _save(state, path):
    save_file({k: v.contiguous() for k, v in state.items()}, path)


def test_weights_are_imported(tmp_path, epochs):
    """All arrays of the encoder are those of the file; the log counts them."""
    path, state = _published(tmp_path)
    with mne.utils.catch_logging("info") as log:
        folder = import_braindecode(
            path,
            "braindecode:labram",
            tmp_path / "w",
            config=SMALL["labram"],
            verbose="info",
        )
    own = load_checkpoint(folder).network.state_dict()
    encoder = {k: v for k, v in state.items() if not k.startswith("final_layer")}
    assert set(own) == set(encoder)
    for name, array in own.items():
        expected = (
            encoder[name][:, :2] if name == "temporal_embedding" else encoder[name]
        )
        assert torch.equal(array, expected), name
    text = " ".join(log.getvalue().split())
    assert f"Read {len(own)} of {len(own)} arrays" in text
    assert "left out: final_layer.bias, final_layer.weight" in text
    seen = read_config(folder)["training"]["imported"]
    assert seen["arrays"] == len(own) and len(seen["sha256"]) == 64
    features = MEGFMTransformer(folder).fit_transform(epochs)
    assert np.isfinite(features).all()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        import_braindecode(path, "braindecode:labram", folder, config=SMALL["labram"])


def test_import_is_strict(tmp_path):
    """Whatever is missing, unknown, of another shape or no array is an error."""
    path, state = _published(tmp_path, surprise=torch.zeros(2))
    given = {"config": SMALL["labram"]}
    name, out = "braindecode:labram", tmp_path / "out"
    with pytest.raises(ValueError, match=r"unknown: surprise"):
        import_braindecode(path, name, out, **given)
    state.pop("surprise")
    _save({k: v for k, v in state.items() if k != "cls_token"}, path)
    with pytest.raises(ValueError, match=r"missing: cls_token"):
        import_braindecode(path, name, out, **given)
    with (
        mne.utils.use_log_level("warning"),
        pytest.warns(RuntimeWarning, match="stay random: cls_token"),
    ):
        import_braindecode(path, name, out, leave_out=["cls_token"], **given)
    _save(state, path)
    with pytest.raises(ValueError, match=r"another shape: .*instead of"):
        import_braindecode(
            path, name, tmp_path / "a", config=given["config"] | {"d_model": 200}
        )
    _save(state | {"cls_token": torch.full((1, 1, 100), torch.nan)}, path)
    with pytest.raises(ValueError, match="Expected finite weights"):
        import_braindecode(path, name, tmp_path / "a", **given)
    with pytest.raises(ValueError, match="network of braindecode"):
        import_braindecode(path, "hybrid-ssm", tmp_path / "a")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="no safetensors or damaged"):
        import_braindecode(path, name, tmp_path / "a", **given)
    torch.save(state, tmp_path / "published.pt")  # may hold programs
    with pytest.raises(ValueError, match="ends with .safetensors, got .pt; convert"):
        import_braindecode(tmp_path / "published.pt", name, tmp_path / "a", **given)
    with pytest.raises(FileNotFoundError, match="downloaded"):
        import_braindecode(tmp_path / "no.pt", name, tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["biot", "cbramod", "eegpt", "labram", "signaljepa"])
def test_published_sizes_are_the_default(name):
    """Weights of networks that braindecode makes by default fit, but for heads."""
    models = braindecode_models()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = {
            "biot": lambda: models.BIOT(n_chans=18, n_outputs=2, n_times=2000),
            "cbramod": lambda: models.CBraMod(n_outputs=2, return_encoder_output=True),
            "eegpt": lambda: models.EEGPT(n_chans=22, n_outputs=2, n_times=1024),
            "labram": lambda: models.Labram(n_chans=128, n_outputs=2, n_times=3000),
            "signaljepa": lambda: models.SignalJEPA(
                n_times=2048, channel_embedding="pretrain_aligned"
            ),
        }[name]()
    loaded = make_backbone(f"braindecode:{name}").load_network(network.state_dict())
    assert not loaded.drawn and len(loaded.read) > 50


# -- found by name ---------------------------------------------------------------------
def test_names_are_listed_without_an_import():
    code = """
import json, sys
from mne_megfm.plugins import describe
rows = [[p.name, p.error, p.summary] for p in describe("backbones")]
print(json.dumps([rows, "braindecode" in sys.modules]))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True
    )
    rows, imported = json.loads(done.stdout)
    names = {name for name, _, _ in rows}
    assert {f"braindecode:{name}" for name in SMALL} <= names and not imported
    assert all(summary and not error for _, error, summary in rows)


def test_without_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'mne-megfm\[braindecode\]'"):
        make_backbone("braindecode:labram")
    assert any(p.name == "braindecode:labram" for p in describe("backbones"))


def test_sizes_that_do_not_fit():
    for name, config, text in (
        ("labram", {"d_model": 150}, "a multiple of 100"),
        ("signaljepa", {"d_model": 32}, "d_model=64"),
        ("labram", {"n_sensors": 96, "n_regions": 12}, "canonical array of 192"),
    ):
        with pytest.raises(ValueError, match=text):
            make_backbone(f"braindecode:{name}", config)
