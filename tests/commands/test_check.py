"""Tests of the command that looks for damage."""

import shutil

import pytest
from click.testing import CliRunner

from mne_megfm.commands import main
from mne_megfm.pretraining import PretrainSettings, pretrain_store
from mne_megfm.store import WindowStore
from mne_megfm.weights import weights_path


def check(path):
    """Run the command; return its exit code and what it says, in one line."""
    result = CliRunner().invoke(main, ["check", str(path), "--quiet"])
    return result.exit_code, " ".join(result.output.split())


def flip(file, place=-3):
    """Change one bit of a file."""
    content = bytearray(file.read_bytes())
    content[place] ^= 8
    file.write_bytes(content)


@pytest.fixture(scope="module")
def finished(small_store, settings_file, tmp_path_factory):
    """Return the folder of a finished run."""
    out = tmp_path_factory.mktemp("finished") / "out"
    settings = PretrainSettings.read(settings_file, epochs=1, steps_per_epoch=1)
    pretrain_store(small_store, out, settings)
    return out


@pytest.fixture
def out(finished, tmp_path):
    """Return a copy of it."""
    return shutil.copytree(finished, tmp_path / "out")


def test_store(small_store, tmp_path):
    """All damaged recordings of a store are listed, by file and name."""
    path = shutil.copytree(small_store, tmp_path / "store")
    assert check(path)[0] == 0
    files = WindowStore(path).files
    flip(files[1])  # windows
    flip(files[3], 5)  # length of the header
    flip(files[4], 200)  # header
    code, said = check(path)
    assert code == 1
    for number in (1, 3, 4):
        assert f"recordings/{files[number].name}: " in said
    assert said.count("prepare the recording again") == 3
    assert "5 recordings: as it was written" in said and "3 damaged in" in said
    flip(path / "store.json", 30)
    code, said = check(path)
    assert code == 1 and "store.json: Expected" in said
    (path / "store.json").unlink()
    assert check(path)[0] == 1


@pytest.mark.parametrize(
    "name, part",
    [
        ("config.json", "weights"),
        ("model.safetensors", "weights"),
        ("preprocessing.json", "weights"),
        ("run/run.safetensors", "run"),
    ],
)
def test_checkpoint_and_run(out, name, part):
    """A damaged file of either is named, and its part; the other one is whole."""
    code, said = check(out)
    assert code == 0
    assert "weights: as it was written run: as it was written" in said
    flip(out / name)
    code, said = check(out)
    assert code == 1
    assert f"{part}: Expected" in said and name.split("/")[-1] in said
    assert said.count("as it was written") == 1 and "1 damaged in" in said
    assert check(out / "run")[0] == (part == "run")


def test_participant_encoder(tmp_path):
    """So is a damaged participant encoder."""
    path = shutil.copytree(weights_path("megfm-tiny"), tmp_path / "mine")
    flip(path / "participant.json", 100)
    code, said = check(path)
    assert code == 1 and "participant encoder: Expected" in said
    assert "weights: as it was written" in said
    flip(path / "config.json", 100)
    assert check(path)[1].count(": Expected") == 3


def test_bundled():
    """Bundled weights are found by name, and are as they were written."""
    assert check("megfm-tiny") == (
        0,
        "weights: as it was written participant encoder: as it was written "
        "posterior encoder: as it was written",
    )


def test_a_damaged_run_is_not_continued(out, small_store, settings_file):
    """Nor is one on a damaged store started, or taken up again."""
    settings = PretrainSettings.read(settings_file, epochs=2, steps_per_epoch=1)
    flip(out / "run" / "run.safetensors")
    with pytest.raises(ValueError, match="run.safetensors.*damaged.*delete it"):
        pretrain_store(small_store, out, settings)


@pytest.mark.parametrize("resumed", [False, True])
def test_a_damaged_store_is_not_trained_on(
    out, small_store, settings_file, tmp_path, resumed
):
    """Damage is found before training, also that to windows that no step would read."""
    path = shutil.copytree(small_store, tmp_path / "store")
    flip(WindowStore(path).files[2])
    settings = PretrainSettings.read(settings_file, epochs=1, steps_per_epoch=1)
    target = out if resumed else tmp_path / "new"
    before = {
        p: p.read_bytes() for p in out.rglob("*") if p.name != "lock" and p.is_file()
    }
    with pytest.raises(ValueError, match="got 1 damaged ones .*mne-megfm check"):
        pretrain_store(path, target, settings, overwrite=True)
    assert {p: p.read_bytes() for p in before} == before
    assert not (tmp_path / "new" / "run" / "run.safetensors").exists()


def test_nothing_to_check(tmp_path):
    """A folder of something else, and a name that there is not, are errors."""
    code, said = check(tmp_path)
    assert code == 1 and "got neither" in said
    code, said = check("megfm-huge")
    assert code == 1 and "Expected the name of bundled weights" in said
