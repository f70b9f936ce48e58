"""Tests with random arrays, rates, bads, orders, types, headers, and with faults.

The truth is that what is the same recording has the same features, and that what is no
file of ours is refused with the error that is documented.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest

pytest.importorskip("hypothesis")
from faults._damage import mutate
from hypothesis import HealthCheck, given, settings, strategies as st
from numpy.testing import assert_allclose
from safetensors.numpy import load_file

from mne_megfm import MEGFMTransformer
from mne_megfm.report import MEGFMReport
from mne_megfm.simulation import make_array_info
from mne_megfm.store import WindowStore
from mne_megfm.utils.files import sealed_json
from mne_megfm.weights import load_checkpoint, save_checkpoint

ROOT = Path(__file__).parents[1]
BLANK = "0" * 64
SLOW = pytest.mark.slow


def _settings(n):
    return settings(
        max_examples=n,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def transform():
    """Return a function from a recording to rows, each of its own samples alone."""
    first, _ = _simulate("opm32", 250.0, 1.0, 0, 0)
    transformer = MEGFMTransformer(sample="epoch", pooling="mean").fit(first)

    def transform(inst):
        features = transformer.transform(inst)
        assert np.isfinite(features).all()
        return features

    return transform


recordings = st.fixed_dictionaries(
    {
        "array": st.sampled_from(["opm32", "ctf151", "kit157", "neuromag306"]),
        "sfreq": st.sampled_from([125.0, 250.0, 300.0, 500.0]),
        "seconds": st.sampled_from([1.0, 1.3, 2.0]),
        "n_bads": st.integers(0, 3),
        "seed": st.integers(0, 2**16),
    }
)


def _simulate(array, sfreq, seconds, n_bads, seed):
    """Return smooth noise with slow changes, and a generator."""
    if array == "opm32":  # of which 30 are needed
        n_bads = min(n_bads, 2)
    rng = np.random.default_rng(seed)
    info = make_array_info(array, sfreq=sfreq)
    times = np.arange(round(seconds * sfreq)) / sfreq
    phases = rng.uniform(0, 2 * np.pi, (12, 1))
    waves = np.sin(2 * np.pi * rng.uniform(2, 30, (12, 1)) * times + phases)
    data = rng.standard_normal((len(info["ch_names"]), 12)) @ waves
    grads = mne.pick_types(info, meg="grad")
    data *= 1e-13
    if len(grads) < len(data):
        data[grads] *= 25  # planar gradiometers, T/m
    info["bads"] = rng.choice(info["ch_names"], n_bads, replace=False).tolist()
    return mne.io.RawArray(data, info, verbose="error"), rng


def _check_recording(transform, recording):
    raw, rng = _simulate(**recording)
    features = transform(raw)
    scale = np.abs(features).max()
    other = raw.copy()
    other.reorder_channels(rng.permutation(raw.ch_names).tolist())
    assert_allclose(transform(other), features, rtol=0, atol=2e-4 * scale)
    if raw.info["bads"]:
        other = raw.copy()
        picks = [raw.ch_names.index(name) for name in raw.info["bads"]]
        other._data[picks] = 1e-9 * rng.standard_normal((len(picks), raw.n_times))
        assert_allclose(transform(other), features, rtol=0, atol=1e-6 * scale)
    other = raw.copy()
    other._data = raw._data.astype(np.float32)
    assert_allclose(transform(other), features, rtol=0, atol=2e-3 * scale)


@_settings(4)
@given(recordings)
def test_same_recording(transform, recording):
    """Orders, bad channels' data and types of numbers change no feature."""
    _check_recording(transform, recording)


@SLOW
@_settings(60)
@given(recordings)
def test_same_recording_often(transform, recording):
    """So it is in many."""
    _check_recording(transform, recording)


@_settings(4)
@given(recordings, st.integers(0, 3))
def test_cropped(transform, recording, row):
    """A row has the same features in the recording and cut out of it."""
    raw, _ = _simulate(**recording | {"sfreq": 250.0, "seconds": 4.0})
    whole = transform(raw)
    assert len(whole) == 4
    part = transform(raw.copy().crop(row, row + 1.0, include_tmax=False))
    scale = np.abs(whole).max()
    assert_allclose(part, whole[[row]], rtol=0, atol=1e-5 * scale)


windows = st.fixed_dictionaries(
    {
        "n": st.integers(1, 4),
        "dtype": st.sampled_from(["f2", "f4", "f8", ">f4", ">f8"]),
        "exponent": st.integers(-15, 4),
        "offset": st.sampled_from([0.0, 1.0, 1e3]),
        "order": st.sampled_from("CF"),
        "name": st.text(min_size=1, max_size=150).filter(lambda t: t.isprintable()),
        "seed": st.integers(0, 2**16),
    }
)


@_settings(12)
@given(windows)
def test_store(tmp_path_factory, windows):
    """Whatever is appended is read as it was, within the rounding that is promised."""
    rng = np.random.default_rng(windows["seed"])
    shape = windows["n"], 3, 20
    data = windows["offset"] + rng.standard_normal(shape)
    exponent = max(windows["exponent"], -3) if windows["dtype"] == "f2" else None
    exponent = windows["exponent"] if exponent is None else min(exponent, 0)
    data = (10.0**exponent * data).astype(windows["dtype"], order=windows["order"])
    n_valid = rng.integers(1, 21, windows["n"])
    path = tmp_path_factory.mktemp("store") / "store"
    store = WindowStore.create(path, n_sensors=3, n_times=20, sfreq=20.0)
    name = windows["name"]
    store.append(data, name=name, participant=name, state="rest", n_valid=n_valid)
    store = WindowStore.open(path)
    assert store.table["participant"].tolist() == [name]
    read, found = store.take(np.arange(len(store)))
    assert found.tolist() == n_valid.tolist()
    for window, n, truth in zip(read, n_valid, data.astype(float), strict=True):
        truth = truth[:, :n]
        error = np.abs(window[:, :n] - truth).max(-1)
        bound = np.ptp(truth, axis=-1) / 131068 + 2e-7 * np.abs(truth).max(-1)
        assert (error <= 1.01 * bound + 1e-37).all()
        assert not window[:, n:].any()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return folders of a small store and of a small checkpoint."""
    import torch

    from mne_megfm.models import MaskedSignalTransformer, ModelConfig

    folder = tmp_path_factory.mktemp("files")
    store = WindowStore.create(folder / "store", n_sensors=2, n_times=4, sfreq=4.0)
    store.append(np.ones((2, 2, 4)), name="a", participant="a", state="rest")
    config = ModelConfig(
        n_sensors=4, n_regions=2, d_model=16, n_layers=1, n_heads=1, n_decoder_layers=1
    )
    model = MaskedSignalTransformer(config, torch.eye(4))
    save_checkpoint(folder / "weights", model, training={"epochs": [1, 2]})
    return folder


def _check_header(folder, name, seed):
    """Change settings, with a hash that fits: they are refused in words, or read."""
    file = folder / name
    content = file.read_bytes()
    changed = mutate(json.loads(content), np.random.default_rng(seed))
    file.write_bytes(sealed_json(changed | {"digest": BLANK}))
    try:
        if name.startswith("store"):
            WindowStore.open(folder / "store").take([0])
        else:
            load_checkpoint(folder / "weights")
    except ValueError as error:
        assert "Expected" in str(error)
    finally:
        file.write_bytes(content)


@pytest.mark.parametrize("name", ["store/store.json", "weights/config.json"])
@_settings(40)
@given(st.integers(0, 2**32))
def test_settings_that_lie(files, name, seed):
    """No change is a crash, another error, or runs."""
    _check_header(files, name, seed)


@SLOW
@pytest.mark.parametrize("name", ["store/store.json", "weights/config.json"])
@_settings(2000)
@given(st.integers(0, 2**32))
def test_settings_that_lie_often(files, name, seed):
    """So it is with many."""
    _check_header(files, name, seed)


def test_header_that_python_alone_reads(files):
    """NaN is no JSON: such weights are refused as all that are damaged."""
    import hashlib

    weights = files / "weights"
    file, config = weights / "model.safetensors", weights / "config.json"
    kept = {path: path.read_bytes() for path in (file, config)}
    content = kept[file]
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"]["more"] = float("nan")
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + content[end:])
    listed = json.loads(kept[config])
    listed["sha256"][file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    config.write_bytes(sealed_json(listed | {"digest": BLANK}))
    with pytest.raises(ValueError, match=r"Expected safetensors .* it has NaN"):
        load_checkpoint(weights)
    for path, data in kept.items():
        path.write_bytes(data)
    load_checkpoint(weights)


@pytest.mark.parametrize("key", ["participant", "state", "provenance"])
def test_recording_without_notes(files, key):
    """A file whose hash fits, and which does not say whose it is, is refused."""
    from safetensors.numpy import save

    from mne_megfm.utils.files import UNSEALED, seal

    (file,) = WindowStore.open(files / "store").files
    content = file.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    notes = json.loads(json.loads(content[8:end])["__metadata__"]["recording"])
    del notes["digest"], notes[key]
    arrays = load_file(file)
    text = json.dumps(UNSEALED | notes)
    changed = save(arrays, metadata={"recording": text})
    end = 8 + int.from_bytes(changed[:8], "little")
    small = [arrays[name].tobytes() for name in ("check", "n_valid", "start")]
    file.write_bytes(seal(changed[:end], *small) + changed[end:])
    with pytest.raises(ValueError, match=f"its notes lack {key}; delete it"):
        WindowStore.open(files / "store")
    file.write_bytes(content)


EVIL = '<img src=x onerror="alert(1)">'
FORMULA = "=HYPERLINK(1)"


def test_names_reach_no_page_as_code():
    """Channels, participants and titles are text in a report, whatever they say."""
    info = make_array_info("opm32", sfreq=250.0)
    rng = np.random.default_rng(0)
    raw = mne.io.RawArray(1e-13 * rng.standard_normal((32, 500)), info, verbose="error")
    raw.rename_channels({raw.ch_names[0]: EVIL}, verbose="error")
    raw.info["bads"] = [EVIL]
    raw.info["description"] = EVIL
    report = MEGFMReport(EVIL)
    report.add_data([{EVIL: raw}, {EVIL: raw}], names=[EVIL, FORMULA])
    assert "<img src=x" not in report.html
    assert "&lt;img src=x" in report.html


def test_names_are_no_formulas(tmp_path):
    """Names in tables of all commands that write some go through the same function."""
    from mne_megfm.utils.tables import read_text, write_table

    names = [
        FORMULA,
        "@SUM(A1)",
        "+1+cmd|' /C calc'!A0",
        "-2+3",
        "\t=1",
        "\r=1",
        "a\r=1",
        "ok",
    ]
    frame = pd.DataFrame({FORMULA: names})
    for suffix in (".csv", ".tsv"):
        path = tmp_path / f"t{suffix}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mne_megfm.utils.tables.logger.warning", lambda _: None)
            write_table(frame, path)
        separator = "\t" if suffix == ".tsv" else ","
        cells = pd.read_csv(path, sep=separator, dtype=str).iloc[:, 0].tolist()
        assert cells == [f"'{name}" for name in names[:-2]] + names[-2:]
        read = read_text(path)
        assert read.columns.tolist() == [FORMULA]
        assert read[FORMULA].tolist() == [name.strip() for name in names]


@pytest.mark.parametrize(
    "name", ["../../x", "/x", "os:system", "builtins:exec", "a/b:c", "x\x00y"]
)
def test_names_of_parts_import_nothing(files, name):
    """A checkpoint names parts that are registered; no other name is looked for."""
    config = files / "weights" / "config.json"
    content = config.read_bytes()
    before = set(sys.modules)
    listed = json.loads(content) | {"backbone": name, "digest": BLANK}
    config.write_bytes(sealed_json(listed))
    with pytest.raises(ValueError, match="Expected a backbone that is installed"):
        load_checkpoint(files / "weights")
    config.write_bytes(content)
    assert not {"os_system", "x"} & (set(sys.modules) - before)


def test_too_little_memory(tmp_path, monkeypatch):
    """It is said in a line, and nothing is left behind."""
    pytest.importorskip("pyarrow")
    from click.testing import CliRunner

    from mne_megfm.commands import main

    raw, _ = _simulate("opm32", 250.0, 2.0, 0, 0)
    file = tmp_path / "sub-1_task-rest_meg.fif"
    raw.save(file, verbose="error")

    def fail(*args, **kwargs):
        raise MemoryError("Unable to allocate 9 GiB")

    monkeypatch.setattr("mne_megfm.utils.tables.seal", fail)
    out = tmp_path / "f.parquet"
    result = CliRunner().invoke(main, ["features", str(file), "-q", "-o", str(out)])
    assert result.exit_code == 1
    assert "Expected more memory than there is (Unable to allocate" in result.output
    assert "Traceback" not in result.output
    assert os.listdir(tmp_path) == [file.name]


@SLOW
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and fork")
def test_benchmark(tmp_path):
    """A small run of the faults: kills, damage and headers, and nothing is found."""
    out = tmp_path / "faults.json"
    args = ["--seed", "7", "--kills", "10", "--changes", "12", "--json", out]
    parts = ["--parts", "kills", "flips", "cuts", "headers"]
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "bench_faults.py", *args, *parts],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert found["faults"] == []
    assert sum(counts["killed"] for counts in found["kills"].values()) >= 10
    assert sum(counts.get("found", 0) for counts in found["flips"].values()) > 50
