"""Tests of weights on the hub, with its client and a folder in place of a network."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import pytest
from huggingface_hub.utils import filter_repo_objects

from mne_megfm.weights import download_weights, upload_weights, weights_path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Return a hub's cache with the bundled weights as owner/name, without network."""
    repository = tmp_path / "hub" / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    shutil.copytree(weights_path("megfm-tiny"), repository / "snapshots" / COMMIT)
    monkeypatch.setattr(
        huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub")
    )
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Return a folder that stands for the hub: uploads and downloads copy files."""
    root = tmp_path / "hub"

    def copy(source, target, patterns):
        files = [p.relative_to(source) for p in Path(source).rglob("*") if p.is_file()]
        names = [path.as_posix() for path in files]
        for name in filter_repo_objects(names, allow_patterns=patterns):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(source) / name, target / name)

    class Api:
        def create_repo(self, repo_id, *, private, exist_ok):
            assert private
            assert exist_ok
            (root / repo_id).mkdir(parents=True, exist_ok=True)

        def upload_folder(
            self, *, repo_id, folder_path, revision, allow_patterns, commit_message
        ):
            copy(folder_path, root / repo_id, allow_patterns)
            return SimpleNamespace(commit_url=f"https://hub.test/{repo_id}")

    def download(repo_id, *, revision, allow_patterns):
        copy(root / repo_id, tmp_path / "cache", allow_patterns)
        return str(tmp_path / "cache")

    # files are chosen by the client's own function
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return root


def test_from_the_cache(cache):
    """The client's own cache is used, also without a network, by either name."""
    path = weights_path("hf://owner/name")
    assert (path / "model.safetensors").is_file()
    assert path == download_weights("hf://owner/name@main")


def test_not_there(cache):
    """Weights that cannot be had say so, with the name and what to do."""
    with pytest.raises(FileNotFoundError, match="at hf://owner/other, got .*by hand"):
        weights_path("hf://owner/other")


def test_there_and_back(hub, tmp_path):
    """What goes up are the files of the checkpoint alone, and they come down again."""
    mine = tmp_path / "mine"
    shutil.copytree(weights_path("megfm-tiny"), mine)
    (mine / "run").mkdir()
    (mine / "run" / "run.safetensors").write_bytes(b"state of the run")
    (mine / "run" / "config.json").write_text("{}")
    (mine / "participants.tsv").write_text("names\n")
    assert upload_weights(mine, "hf://owner/mine") == "https://hub.test/owner/mine"
    sent = {file.name for file in (hub / "owner" / "mine").iterdir()}
    assert sent == {file.name for file in weights_path("megfm-tiny").iterdir()}
    (hub / "owner" / "mine" / "pytorch_model.bin").write_bytes(b"a pickle")
    (hub / "owner" / "mine" / "more.safetensors").write_bytes(b"of another program")
    path = download_weights("hf://owner/mine")
    assert {file.name for file in path.iterdir()} == sent
    for name in sent:
        assert (path / name).read_bytes() == (mine / name).read_bytes()


@pytest.mark.parametrize("name", ["hf://name", "hf://a/b/c", "hf://a/b@", "a/b"])
def test_names(name, tmp_path):
    """Names of another form are refused before anything is asked."""
    with pytest.raises(ValueError, match="Expected hf://owner/name"):
        upload_weights(tmp_path, name)
    if name.startswith("hf://"):
        with pytest.raises(ValueError, match="Expected hf://owner/name"):
            weights_path(name)


def test_upload_needs_a_checkpoint(hub, tmp_path):
    """A folder without a checkpoint is not uploaded."""
    with pytest.raises(FileNotFoundError, match="Expected a checkpoint"):
        upload_weights(tmp_path, "hf://owner/name")
    assert not hub.exists()


def test_optional():
    """Without huggingface_hub all else works, and a name of the hub says what to do."""
    code = """if True:
        import sys
        sys.modules["huggingface_hub"] = None
        from mne_megfm.weights import weights_path
        weights_path("megfm-tiny")
        try:
            weights_path("hf://owner/name")
        except ImportError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "pip install 'mne-megfm[hub]'" in done.stdout
