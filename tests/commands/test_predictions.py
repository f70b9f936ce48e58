"""Tests of what predictions say beside the label, and of the file they come from."""

import numpy as np
import pandas as pd
import pytest
import skops.io
from click.testing import CliRunner

from mne_megfm.commands import main
from mne_megfm.commands.classify import TRUSTED, People, load

N = 40


def run(*args):
    """Run a command in this process."""
    return CliRunner().invoke(main, [str(arg) for arg in args])


def _rows(names, rng, shift=0.0):
    """Rows of two states, whose means tell the odd ones from the even ones."""
    frames = []
    for name in names:
        for state in ("rest", "auditory"):
            values = rng.standard_normal((5, 4)) + shift + 1.5 * (int(name[-2:]) % 2)
            frame = pd.DataFrame(values, columns=list("abcd"))
            frame.insert(0, "participant", name)
            frame.insert(1, "state", state)
            frames.append(frame)
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Return a folder with a classifier of the participants sub-00 to sub-39."""
    path, rng = tmp_path_factory.mktemp("fitted"), np.random.default_rng(0)
    names = [f"sub-{n:02d}" for n in range(N)]
    _rows(names, rng).to_csv(path / "train.csv", index=False)
    lines = [f"{name}\t{'HC' if n % 2 else 'CM'}" for n, name in enumerate(names)]
    (path / "labels.tsv").write_text("\n".join(["participant_id\tgroup", *lines]))
    args = [path / "train.csv", "--labels", path / "labels.tsv", "--folds", 2]
    args += ["--repeats", 1, "--permutations", 0]
    result = run("classify", "fit", *args, "-o", path / "model.skops")
    assert result.exit_code == 0, result.output
    return path


def _predict(fitted, tmp_path, frame):
    frame.to_csv(tmp_path / "new.csv", index=False)
    args = [fitted / "model.skops", tmp_path / "new.csv", "-o", tmp_path / "p.csv"]
    result = run("classify", "predict", *args, "--overwrite")
    assert result.exit_code == 0, result.output
    given = {"dtype": str, "keep_default_na": False}
    return result.output, pd.read_csv(tmp_path / "p.csv", **given)


def test_columns(fitted, tmp_path, rng):
    """Probabilities of few digits, typicality, missing states and who is known."""
    frame = _rows([f"new-{n:02d}" for n in range(60)], rng)
    frame = frame[~((frame["participant"] == "new-07") & (frame["state"] == "rest"))]
    said, got = _predict(fitted, tmp_path, frame)
    assert got.columns.tolist() == [
        *("participant", "prediction", "p_CM", "p_HC"),
        *("typicality", "missing_states", "in_training"),
    ]
    for name in ("p_CM", "p_HC", "typicality"):
        assert got[name].str.len().max() <= 6  # 0. and 4 digits
        assert got[name].astype(float).between(0, 1).all()
    assert got["missing_states"].tolist() == [""] * 7 + ["rest"] + [""] * 52
    assert set(got["in_training"]) == {"False"}
    assert "Warning" not in said
    # of the same distribution, typicality is spread evenly; here: mean and share
    typicality = got["typicality"].astype(float)
    assert 0.35 < typicality.mean() < 0.65
    assert (typicality < 0.1).mean() < 0.25


def test_unlike_training(fitted, tmp_path, rng):
    """Who is far from all of training has the least typicality, and is named."""
    frame = pd.concat([_rows(["new-00"], rng), _rows(["new-01"], rng, shift=100.0)])
    said, got = _predict(fitted, tmp_path, frame)
    assert float(got["typicality"][1]) == pytest.approx(1 / (N + 1), abs=1e-4)
    assert float(got["typicality"][0]) > 0.05
    assert "Warning: 1 of 2 are unlike the participants of training" in said
    assert "(new-01)" in said


def test_people_of_training(fitted, tmp_path, rng):
    """They are named, with and without sub-; their names are not in the file."""
    frame = _rows(["sub-03", "05", "new-03", "sub-40"], rng)
    said, got = _predict(fitted, tmp_path, frame)
    known = got.set_index("participant")["in_training"].to_dict()
    assert known == {
        "sub-03": "True",
        "05": "True",
        "new-03": "False",
        "sub-40": "False",
    }
    assert "Warning: 2 of 4 have the name of somebody in training" in said
    content = load(fitted / "model.skops")
    assert "sub-" not in repr(content["people"])
    assert len(content["people"]["fingerprints"]) == N
    # of other salts, so that files cannot be compared with each other
    assert People.of(["a"]).fingerprints != People.of(["a"]).fingerprints


@pytest.mark.parametrize(
    "change, match",
    [
        ({"pipeline": None}, "for pipeline"),
        ({"pipeline": "LogisticHead"}, "for pipeline"),
        ({"columns": [1, 2]}, "for columns"),
        ({"columns": ["a"]}, "for pipeline"),
        ({"reading": {"speed": 1}}, "for reading or people"),
        ({"people": {"salt": "a"}}, "for reading or people"),
        ({"typicality": 0.5}, "for typicality"),
        ({"regression": "yes"}, "for regression"),
        ({"format": "mne-megfm classifier 1"}, "of format"),
    ],
)
def test_other_content(fitted, tmp_path, change, match):
    """A file of the format without its parts is an error that names them."""
    content = skops.io.load(fitted / "model.skops", trusted=TRUSTED) | change
    content = {name: value for name, value in content.items() if value is not None}
    skops.io.dump(content, tmp_path / "m.skops")
    out = tmp_path / "p.csv"
    result = run("classify", "predict", tmp_path / "m.skops", fitted, "-o", out)
    assert result.exit_code == 1
    assert match in result.output
    assert "m.skops" in result.output
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)


@pytest.mark.parametrize("content", [{"format": "mne-megfm classifier 3"}, [], 3])
def test_little_content(tmp_path, content):
    """So is one with hardly anything in it, and one that is cut short."""
    path = tmp_path / "m.skops"
    skops.io.dump(content, path)
    args = ["classify", "predict", path, tmp_path, "-o", tmp_path / "p.csv"]
    for data in (path.read_bytes(), path.read_bytes()[:-40], b""):
        path.write_bytes(data)
        result = run(*args)
        assert result.exit_code == 1
        assert "Error: Expected" in result.output
        assert isinstance(result.exception, SystemExit)
