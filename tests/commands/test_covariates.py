"""Tests of age, sex and site beside features of participants, from the shell."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from mne_megfm.commands import _participants, main
from mne_megfm.commands._covariates import find_table, read_covariates
from mne_megfm.utils.tables import read_features

N = 30


def run(*args):
    """Run a command in this process."""
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def features():
    """Return features of 30 people, of whom every other has more of the second."""
    values = np.random.default_rng(0).standard_normal((N, 3))
    values[1::2, 1] += 3.0
    index = pd.Index([f"sub-{n:02d}" for n in range(N)], name="participant")
    return pd.DataFrame(values, index, ["alpha_power", "N100m_latency", "theta"])


@pytest.fixture
def bids(tmp_path, features, monkeypatch):
    """Return a folder of recordings, whose features are known, and participants.tsv.

    There is nothing of sub-03, no age of sub-05 and no site of sub-06.
    """
    lines = ["participant_id\tage\tsex\tsite\tgroup\tremark, if any"]
    for n in range(N):
        age, site = "n/a" if n == 5 else 20 + n, "" if n == 6 else f"{n % 3:02d}"
        group = "ab"[n % 2]
        if n != 3:
            lines.append(f"sub-{n:02d}\t{age}\t{'FM'[n % 2]}\t{site}\t{group}\t=1+{n}")
    (tmp_path / "participants.tsv").write_text("\n".join(lines) + "\n")

    # opening files of 30 people would take seconds in each test
    (tmp_path / "recording.fif").touch()
    sources = [SimpleNamespace(participant=name) for name in features.index]
    monkeypatch.setattr("mne_megfm.archive.sources.list_recordings", lambda *_: sources)

    def extract(given, *args):
        assert given is sources
        return features, _participants.PARTICIPANTS

    monkeypatch.setattr(_participants, "extract_participants", extract)
    return tmp_path


def _write(bids, out, *more):
    given = ["--covariates", "age,sex", "--covariates", "site"]
    return run("features", bids, "--participants", *given, "-o", out, *more)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_covariates_stand_before_features(bids, features, tmp_path, suffix):
    out = tmp_path / f"people{suffix}"
    result = _write(bids, out)
    assert result.exit_code == 0, result.output
    if suffix == ".parquet":
        frame = pd.read_parquet(out)
    else:
        sep = "\t" if suffix == ".tsv" else ","
        frame = pd.read_csv(out, sep=sep, dtype={"site": str})
    assert frame.columns[:4].tolist() == ["participant", "age", "sex", "site"]
    assert frame.columns[4:].tolist() == features.columns.tolist()
    np.testing.assert_allclose(frame.iloc[:, 4:], features, rtol=1e-12)
    numbers = np.arange(N)
    age = np.where(np.isin(numbers, [3, 5]), np.nan, 20.0 + numbers)
    assert frame["age"].dtype.kind == "f"
    np.testing.assert_array_equal(frame["age"], age)
    here = numbers != 3
    assert (
        frame["sex"][here].tolist() == np.array(["F", "M"])[numbers % 2][here].tolist()
    )
    assert frame["sex"].isna().tolist() == (~here).tolist()
    # a code with a zero in front is no number
    assert frame["site"][:3].tolist() == ["00", "01", "02"]
    assert frame["site"].isna().sum() == 2
    assert result.output.count("Warning") == 1
    assert (
        "no age of sub-03, sub-05; no sex of sub-03; no site of sub-03, sub-06 ("
        in (result.output)
    )
    read = read_features(out, ["age", "sex", "site"])
    assert read.columns.tolist() == ["participant", *features]


def test_cells_of_covariates_are_no_formulas(bids, tmp_path):
    out = tmp_path / "people.csv"
    result = run(
        "features", bids, "--participants", "--covariates",
        '"remark, if any"', "-o", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert pd.read_csv(out)["remark, if any"][:2].tolist() == ["'=1+0", "'=1+1"]


def test_covariates_are_no_features_of_a_classifier(bids, features, tmp_path):
    """The same classifier with covariates in the table and without, to the last bit."""
    labels = ["--labels", bids / "participants.tsv", "--label", "group"]
    labels += ["--folds", 2, "--repeats", 1, "--permutations", 0]
    plain = tmp_path / "plain.csv"
    features.reset_index().to_csv(plain, index=False)
    said = {}
    for name, table in {
        "plain": plain,
        "with": tmp_path / "people.csv",
        "parquet": tmp_path / "people.parquet",
    }.items():
        if name != "plain":
            assert _write(bids, table).exit_code == 0
        model = tmp_path / f"{name}.skops"
        result = run("classify", "fit", table, *labels, "-o", model)
        assert result.exit_code == 0, result.output
        assert ("Not taken as features: age, sex, site" in result.output) == (
            name != "plain"
        )
        said[name] = result.output.partition("29 participants")[2].partition("Wrote")[0]
        out = tmp_path / f"{name}-predicted.csv"
        result = run("classify", "predict", model, table, "-o", out)
        assert result.exit_code == 0, result.output
        said[name, "predicted"] = out.read_text()
    assert said["plain", "predicted"] == said["with", "predicted"]
    assert said["plain", "predicted"] == said["parquet", "predicted"]
    assert "ROC AUC" in said["plain"] and said["plain"] == said["with"]
    # where the table of labels has no such column, a file of parquet says so itself
    (tmp_path / "labels.csv").write_text(
        "participant,group\n" + "".join(f"{n:02d},{'ab'[n % 2]}\n" for n in range(N))
    )
    labels[1] = tmp_path / "labels.csv"
    args = ["classify", "fit", tmp_path / "people.parquet", *labels]
    result = run(*args, "-o", tmp_path / "other.skops")
    assert result.exit_code == 0, result.output
    assert "Not taken as features: age, sex, site" in result.output


def test_table_of_deviations(bids, features, tmp_path):
    """A table with the names of BIDS, such as of z-scores, is taken as it is."""
    out = tmp_path / "z.csv"
    features.rename_axis("participant_id").reset_index().to_csv(out, index=False)
    table = read_features(out)
    assert table["participant"].tolist() == features.index.tolist()
    args = ["--labels", bids / "participants.tsv", "--label", "group", "--folds", 2]
    args += ["--repeats", 1, "--permutations", 0, "-o", tmp_path / "z.skops"]
    result = run("classify", "fit", out, *args)
    assert result.exit_code == 0, result.output
    # d = 3 of the second feature: AUC = Phi(3 / sqrt(2)) = 0.983
    auc = float(result.output.partition("ROC AUC: ")[2].partition(",")[0])
    assert auc > 0.9


def test_feature_of_the_same_name(bids, features, tmp_path, monkeypatch):
    """What was computed is not lost for the name of a column."""
    table = bids / "participants.tsv"
    table.write_text(table.read_text().replace("\tage", "\ttheta"))
    out = tmp_path / "people.parquet"
    args = [bids / "recording.fif", "--participants", "--covariates", "theta,sex"]
    result = run("features", *args, "-o", out)
    assert result.exit_code == 0, result.output
    read = read_features(out)
    assert read.columns.tolist() == ["participant", *features]
    np.testing.assert_allclose(read["theta"], features["theta"])


def test_called_wrongly(bids, tmp_path):
    out = tmp_path / "people.csv"

    def refuse(expected, *args, code=1):
        result = run("features", bids, *args, "-o", out)
        assert result.exit_code == code, result.output
        assert expected in " ".join(result.output.split())
        assert not out.exists()

    whole = ["--participants", "--covariates"]
    refuse("Expected --covariates with --participants", "--covariates", "age", code=2)
    refuse("such as age, sex, site, group, remark, if any, got IQ", *whole, "age,IQ")
    refuse("got participant_id; name columns that describe", *whole, "participant_id")
    refuse("close the quotes", *whole, '"age', code=2)
    one = ["--participants", "--covariates-from", bids / "participants.tsv"]
    refuse("Expected --covariates with --covariates-from, got none", *one, code=2)
    table = bids / "participants.tsv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, lines[1]]))
    refuse("Expected one row a participant", *whole, "age")
    table.write_text("participant_id\tage\nx\t3\n")
    refuse("got 1 others (x, ...)", *whole, "age")
    table.unlink()
    refuse("got none; name the table with --covariates-from", *whole, "age")


def test_where_the_table_is(tmp_path):
    derivatives = tmp_path / "derivatives" / "pipeline"
    derivatives.mkdir(parents=True)
    (tmp_path / "participants.tsv").write_text("participant_id\n")
    assert find_table([derivatives]) == tmp_path / "participants.tsv"
    (derivatives / "participants.tsv").write_text("participant_id\n")
    assert find_table([derivatives]) == derivatives / "participants.tsv"
    assert find_table([tmp_path / "x.fif", tmp_path]) == tmp_path / "participants.tsv"
    with pytest.raises(ValueError, match="got 2 of them"):
        find_table([tmp_path, derivatives])


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["34", "20", "n/a"], "f"),
        (["34", "20", "7"], "i"),
        (["34.5", "-2", "1e2"], "f"),
        (["01", "02", "10"], "O"),
        (["34", "old", "20"], "O"),
        (["n/a", "", "n/a"], "O"),
        (["e5", "1", "2"], "O"),
    ],
)
def test_which_columns_are_numbers(tmp_path, cells, kind):
    lines = [f"{n}\t{cell}" for n, cell in enumerate(cells)]
    path = tmp_path / "people.tsv"
    path.write_text("\n".join(["participant\tvalue", *lines]) + "\n")
    table = read_covariates(path, ["value"], "--covariates").table
    assert table["value"].dtype.kind == kind
    known = [cell for cell in cells if cell not in ("", "n/a")]
    got = table["value"].dropna().tolist()
    assert got == (known if kind == "O" else [float(cell) for cell in known])
