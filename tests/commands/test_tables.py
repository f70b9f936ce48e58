"""Tests of tables: what is text, what is a number, what is missing."""

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.impute import SimpleImputer
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline

from mne_megfm.archive.sources import find_sources
from mne_megfm.commands import main
from mne_megfm.commands._labels import read_labels
from mne_megfm.estimators import RidgeHead
from mne_megfm.pretraining import History
from mne_megfm.utils.tables import read_features, read_names, read_text, write_table

#: Names that pandas takes for missing, or for numbers.
NAMES = ["NA", "None", "null", "nan", "N/A", "NaN", "<NA>", "NULL", "#N/A", "-nan"]
NAMES += ["01", "007", "1", "1.0", "1e3", "True", "False", "-1", "+5", "inf"]


def run(*args):
    """Run a command in this process."""
    return CliRunner().invoke(main, [str(arg) for arg in args])


def fit(path, *more, out="model.skops"):
    """Fit on the features and labels in a folder."""
    given = [path / "features.csv", "--labels", path / "labels.tsv", "--folds", 3]
    given += ["--repeats", 1, "--permutations", 0]  # other tests look at scores
    return run("classify", "fit", *given, "-o", path / out, "--overwrite", *more)


def predict(path, data="features.csv", out="p.csv"):
    """Predict, and read what comes as text."""
    args = [path / "model.skops", path / data, "-o", path / out, "--overwrite"]
    result = run("classify", "predict", *args)
    assert result.exit_code == 0, result.output
    return result, pd.read_csv(path / out, dtype=str, keep_default_na=False)


@pytest.fixture
def folder(tmp_path, rng):
    """Return a folder with one row of features for each name, and labels 1 and 2."""
    y = np.arange(len(NAMES)) % 2
    values = rng.standard_normal((len(NAMES), 3)) + 3.0 * y[:, None]
    frame = pd.DataFrame(values, columns=["a", "b", "c"])
    frame.insert(0, "participant", NAMES)
    frame.to_csv(tmp_path / "features.csv", index=False)
    _write_labels(tmp_path, [str(code + 1) for code in y])
    return tmp_path


def _write_labels(path, labels, column="group", names=NAMES):
    lines = [f"participant_id\t{column}"]
    lines += [f"{name}\t{label}" for name, label in zip(names, labels, strict=True)]
    (path / "labels.tsv").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("labels", [["a"] * 20, ["a"] * 18 + ["b"] * 2])
def test_labels_are_looked_at_before_recordings(folder, labels, monkeypatch):
    """What no fold can be made of is said before anything is read."""
    _write_labels(folder, labels)
    monkeypatch.setattr("mne_megfm.commands._participants.get_features", None)
    result = fit(folder, "--label", "group")
    assert result.exit_code == 1
    assert "at least 3 participants of each of two labels" in result.output


# -- text -----------------------------------------------------------------------------
def test_words_for_missing_are_names(folder):
    """Whatever a participant is called, nobody vanishes."""
    result = fit(folder)
    assert result.exit_code == 0, result.output
    assert f"Features of {len(NAMES)} participants" in result.output
    assert "No label" not in result.output
    _, got = predict(folder)
    assert got["participant"].tolist() == NAMES
    # the same, of rows of a state called None
    frame = read_features(folder / "features.csv")
    rows = pd.concat([frame, frame]).assign(state="None")
    rows.to_csv(folder / "features.csv", index=False)
    assert fit(folder).exit_code == 0
    _, got = predict(folder)
    assert sorted(got["participant"]) == sorted(NAMES)


@pytest.mark.parametrize("pair", [("01", "02"), ("1", "2"), ("True", "False")])
@pytest.mark.parametrize("missing", ["n/a", "", None])
def test_labels_stay_as_they_stand(folder, pair, missing):
    """Codes are text, also where one is missing, and who that is is said."""
    labels = [pair[n % 2] for n in range(len(NAMES))]
    if missing is not None:
        labels[4] = missing
    _write_labels(folder, labels)
    result = fit(folder)
    assert result.exit_code == 0, result.output
    said = "No label for 1 of 20 participants, whose group is n/a or empty"
    assert (said in result.output) == (missing is not None)
    if missing is not None:
        assert f"in labels.tsv: {NAMES[4]}." in result.output
    _, got = predict(folder)
    assert {name for name in got if name[:2] == "p_"} == {f"p_{one}" for one in pair}
    assert set(got["prediction"]) == set(pair)
    right = got["prediction"] == [pair[n % 2] for n in range(len(NAMES))]
    assert right.mean() > 0.9


@pytest.mark.parametrize("word", ["NA", "None", "null", "nan"])
def test_words_for_missing_are_labels(folder, word):
    """Controls may be called None; what is missing is n/a."""
    _write_labels(folder, [("patient", word)[n % 2] for n in range(len(NAMES))])
    result = fit(folder)
    assert result.exit_code == 0, result.output
    assert f"{word!r} is taken as a label like others (10 part" in result.output
    _, got = predict(folder)
    assert {"p_patient", f"p_{word}"} < set(got)


@pytest.mark.parametrize("kind", ["float", "int", "category", "bool", "object"])
def test_parquet(folder, kind):
    """Labels in parquet are the text that they would be in a TSV."""
    names, codes = [f"{n:02d}" for n in range(6)], [1, 2, 1, 2, 1, 2]
    columns = {
        "float": [1.0, 2.0, None, 2.0, 1.0, 2.0],
        "int": codes,
        "category": pd.Categorical(["a", None, "n/a", "b", "", "NA"]),
        "bool": [True, False] * 3,
        "object": ["a", None, "n/a", "None", "", " 01 "],
    }
    expected = {
        "float": ["1", "2", None, "2", "1", "2"],
        "int": ["1", "2", "1", "2", "1", "2"],
        "category": ["a", None, None, "b", None, "NA"],
        "bool": ["True", "False"] * 3,
        "object": ["a", None, None, "None", None, "01"],
    }
    table = pd.DataFrame({"participant": names, "group": columns[kind]})
    for frame in (table, table.set_index("participant")):
        frame.to_parquet(folder / "labels.parquet")
        labels = read_labels(folder / "labels.parquet", "group")
        assert labels.values == dict(zip(names, expected[kind], strict=True))


def test_blanks_and_marks(tmp_path):
    """A byte-order mark and blanks around cells are no part of them."""
    text = "\ufeffparticipant_id\t group \t\r\n 01 \t HC\t\r\n02\t n/a \t\r\n\t\t\r\n"
    path = tmp_path / "labels.tsv"
    path.write_bytes(text.encode("utf-8"))
    assert read_names(path) == ["participant_id", "group", ""]
    assert read_labels(path).values == {"01": "HC", "02": None}


def test_recordings_by_names_of_all_kinds(tmp_path):
    """A list of recordings takes names and states as they stand."""
    lines = ["file,participant,state"]
    lines += [f"{n}.fif,{name},None" for n, name in enumerate(NAMES)]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    sources = find_sources(tmp_path / "list.csv", {})
    assert [source.participant for source in sources] == NAMES
    assert {source.task for source in sources} == {"None"}


# -- whose labels ---------------------------------------------------------------------
def test_names_with_and_without_sub(folder):
    """sub-01 and 01 are one person, aloud, unless there are both."""
    names = ["sub-" + name if n < 18 else name for n, name in enumerate(NAMES)]
    _write_labels(folder, ["ab"[n % 2] for n in range(20)], names=names)
    result = fit(folder)
    assert result.exit_code == 0, result.output
    assert "for the same participant: 18, such as NA and sub-NA" in result.output
    labels = read_labels(folder / "labels.tsv", "group")
    found = labels.of(["01", "sub-01", "sub-+5"])
    assert found.tolist() == [None, "a", "a"]


def test_who_has_no_label(folder):
    """All of other names are an error that shows names of both."""
    _write_labels(folder, ["a", "b"] * 10, names=[f"x{n}" for n in range(20)])
    result = fit(folder)
    assert result.exit_code == 1
    assert "Expected labels of 'NA', 'None', 'null', ..." in result.output
    assert "20 rows of others ('x0', 'x1', 'x2', ...)" in result.output
    (folder / "labels.tsv").write_text("participant_id\tgroup\nNA\ta\nNA\tb\n")
    assert "got several of 'NA'" in fit(folder).output
    (folder / "labels.tsv").write_text("participant_id\tgroup\nNA\ta\nn/a\tb\n")
    assert "Left out: 1 rows of labels.tsv" in fit(folder).output


def test_column_of_labels(folder):
    """One usual column is taken, aloud; else there is a list to choose from."""
    assert "Labels are those of column group" in fit(folder).output
    table = pd.read_csv(folder / "labels.tsv", sep="\t", dtype=str)
    table = table.assign(sex=["F", "M"] * 10, age=range(20, 40))
    table.assign(diagnosis="x").to_csv(folder / "labels.tsv", sep="\t", index=False)
    result = fit(folder)
    assert result.exit_code == 1
    assert "has 2 of the columns label, group, diagnosis" in result.output
    assert "group (1, 2); sex (F, M); age (20 values)" in result.output
    assert fit(folder, "--label", "sex").exit_code == 0
    result = fit(folder, "--label", "gender")
    assert "Expected a column gender" in result.output
    assert "got participant_id, group, sex, age, diagnosis" in result.output


# -- numbers --------------------------------------------------------------------------
@pytest.mark.parametrize("cell", ["high", "nan", "NA", "None", "inf", "True", "1;5"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_features_that_are_no_numbers(tmp_path, cell, suffix):
    """A cell that is no number is named by its column and row."""
    path = tmp_path / f"f{suffix}"
    frame = pd.DataFrame({"participant": ["a", "NA"], "x": ["1", cell], "y": ["", 2]})
    frame["y"] = ["n/a", "2"]
    frame.to_parquet(path) if suffix == ".parquet" else frame.to_csv(path, index=False)
    with pytest.raises(
        ValueError, match=r"number in column x of .*in row 2 \(part.*'NA"
    ):
        read_features(path)
    frame["x"] = ["-1.5e-3", ""]
    frame.to_parquet(path) if suffix == ".parquet" else frame.to_csv(path, index=False)
    got = read_features(path)
    np.testing.assert_array_equal(got[["x", "y"]], [[-1.5e-3, np.nan], [np.nan, 2]])
    assert got["participant"].tolist() == ["a", "NA"]


@pytest.mark.parametrize("column", ["participant", "state"])
def test_rows_of_nobody(tmp_path, column):
    """A row without a participant or state is an error, rather than left out."""
    frame = pd.DataFrame({"participant": ["a", "b"], "state": "rest", "x": [1.0, 2.0]})
    frame.loc[1, column] = "n/a"
    frame.to_csv(tmp_path / "f.csv", index=False)
    with pytest.raises(ValueError, match=f"Expected a {column} in each .*in row 2"):
        read_features(tmp_path / "f.csv")


@pytest.mark.parametrize(
    "content, match",
    [
        (b"", "got an empty file"),
        (b"\n\n", "got an empty file"),
        ("participant,gruppe\n1,m\u00e4nnlich\n".encode("latin1"), "in UTF-8.*save it"),
        ("participant,group\n1,a\n".encode("utf-16"), "in UTF-8.*save it"),
        (b"participant,group,group\n1,2,3\n", "a name of its own.*'group' twice"),
        (b"participant,group\n1,2,3\n", "table.csv"),
        (b'participant,group\n"1,2\n', "got something else"),
    ],
)
@pytest.mark.parametrize("read", [read_text, read_features])
def test_what_is_no_table(tmp_path, content, match, read):
    """The error names the file and what to do."""
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(ValueError, match=match) as caught:
        read(tmp_path / "table.csv")
    assert "table.csv" in str(caught.value)


LINES = {
    "short": (["a,b,c", "1,2,3", "4,5"], 2, 3),
    "short in quotes": (['a,b,"c', 'd"', "", "1,2,3", "4"], 1, 5),
    "after an empty line": (["a,b,c", "", "  ", "1,2,3", "1,2"], 2, 5),
    "long": (["a,b,c", "1,2,3", "4,5,6,7"], 4, 3),
    "all short": (["a,b,c", "1,2"], 2, 2),
}


@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("read", [read_text, read_features])
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_lines_of_other_length(tmp_path, kind, read, suffix):
    """A line that lacks cells, or has too many, is an error that tells its number."""
    lines, n, number = LINES[kind]
    text = "\n".join(lines) + "\n\n"
    path = tmp_path / f"x{suffix}"
    path.write_text(text if suffix == ".csv" else text.replace(",", "\t"))
    match = f"Expected 3 cells .* got {n} in line {number};"
    with pytest.raises(ValueError, match=match):
        read(path)


def test_short_lines_of_labels_and_sources(folder):
    """Neither a label nor a file is missing because a line ends early."""
    labels = folder / "labels.tsv"
    lines = labels.read_text().splitlines()
    name = lines[3].split("\t")[0]
    labels.write_text("\n".join([*lines[:3], name, *lines[4:]]))
    result = fit(folder)
    assert result.exit_code == 1
    assert "got 1 in line 4;" in result.output
    labels.write_text("\n".join([*lines[:3], f"{name}\tn/a", *lines[4:], "", ""]))
    assert read_labels(labels, "group").values[name] is None
    table = folder / "files.csv"
    table.write_text("file,participant,state,site\na.fif,p,rest,x\nb.fif,p,rest\n")
    with pytest.raises(ValueError, match="got 3 in line 3"):
        find_sources(table, {})


@pytest.mark.parametrize("read", [read_text, read_features])
@pytest.mark.parametrize(
    ("suffix", "mark", "match"),
    [
        (".csv", ";", "a comma between them in .*, got ';'"),
        (".csv", "\t", "a comma between them in .*, got a tab"),
        (".tsv", ",", "a tab between them in .*, got a comma"),
    ],
)
def test_other_separators(tmp_path, read, suffix, mark, match):
    """A table of one column with separators in its name is another kind of table."""
    path = tmp_path / f"x{suffix}"
    lines = [mark.join(one) for one in (["participant", "a"], ["p1", "1"])]
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=match):
        read(path)
    # one column alone is a table
    path.write_text("participant\np1\n")
    assert read(path)["participant"].tolist() == ["p1"]


def test_labels_without_rows(folder):
    """Names of columns alone are said to be so."""
    (folder / "labels.tsv").write_text("participant_id\tgroup\n")
    result = fit(folder)
    assert result.exit_code == 1
    assert "got names of columns alone; write a row" in result.output


def test_history(tmp_path):
    """A history with a mark at its start is read; a bad cell is named."""
    history = History([1, 2], [3.0, 2.0], [3.0, 2.5], [0.1, 0.1], {"NA": [0.0, 0.1]})
    history.to_csv(tmp_path / "h.csv")
    text = (tmp_path / "h.csv").read_text()
    (tmp_path / "h.csv").write_text("\ufeff" + text, encoding="utf-8")
    assert History.from_csv(tmp_path / "h.csv") == history
    for cell, got in (("lost", "'lost'"), ("", "''")):
        (tmp_path / "h.csv").write_text(text.replace("2.5", cell))
        with pytest.raises(ValueError, match=f"column valid_loss of .*{got} in row 2"):
            History.from_csv(tmp_path / "h.csv")


# -- spreadsheets ---------------------------------------------------------------------
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_formulas(tmp_path, capsys, suffix):
    """No text that is written begins as a formula; read here, it is as it was."""
    names = ["=1+1", "@SUM(A1)", "+f(x)", "-2+3|x", "'=z", "''=", "+1+2", "-a!b"]
    plain = ["a=b", "-1", "+2.5e+3", "-control", "+46", "-nan", "'-x", "'q"]
    frame = pd.DataFrame({"participant": names + plain, "state": "=s", "=x": -1.0})
    path = tmp_path / f"t{suffix}"
    write_table(frame, path)
    pd.testing.assert_frame_equal(
        read_features(path), frame.astype({"participant": object, "state": object})
    )
    said = capsys.readouterr().out
    if suffix == ".parquet":
        assert said == ""
        return
    assert "would take 10 of the names for formulas" in said
    given = {"dtype": str, "keep_default_na": False}
    raw = pd.read_csv(path, sep="," if suffix == ".csv" else "\t", **given)
    cells = [*raw.columns, *raw["participant"], *raw["state"]]
    risky = [cell for cell in cells if cell[0] in "=@+-\t\r"]
    # numbers, and names with a sign, run nothing, and stay as they are for others
    assert risky == ["-1", "+2.5e+3", "-control", "+46", "-nan"]


def test_formulas_as_labels(folder):
    """Labels like formulas go through fit and predict."""
    _write_labels(folder, [("=HYPERLINK(1)", "-1")[n % 2] for n in range(20)])
    assert fit(folder).exit_code == 0
    result, got = predict(folder)
    assert "a spreadsheet would take" in result.output.lower()
    assert {"p_=HYPERLINK(1)", "p_-1"} < set(got)
    assert set(got["prediction"]) == {"'=HYPERLINK(1)", "-1"}
    assert set(read_text(folder / "p.csv")["prediction"]) == {"=HYPERLINK(1)", "-1"}


# -- regression -----------------------------------------------------------------------
def test_regression(folder):
    """Numbers are predicted as scikit-learn does with the same head."""
    frame = read_features(folder / "features.csv").set_index("participant")
    age = (40 + 3 * frame["a"] - 2 * frame["b"]).round(1)
    _write_labels(folder, age, "age")
    result = fit(folder, "--label", "age")
    assert result.exit_code == 1
    assert "for numbers such as age, pass --regression" in result.output
    result = fit(folder, "--label", "age", "--regression")
    assert result.exit_code == 0, result.output
    head = make_pipeline(SimpleImputer(), RidgeHead(random_state=0))
    X = frame.to_numpy()
    cv = KFold(3, shuffle=True, random_state=0)
    errors = -cross_val_score(head, X, age, cv=cv, scoring="neg_mean_absolute_error")
    assert f"mean absolute error: {errors.mean():.3f}, 95 %" in result.output
    _, got = predict(folder)
    assert not any(name.startswith("p_") for name in got)
    expected = head.fit(X, age).predict(X)
    np.testing.assert_allclose(got["prediction"].astype(float), expected, rtol=1e-3)
    _write_labels(folder, [*age[:-1].astype(str), "old"], "age")
    result = fit(folder, "--label", "age", "--regression")
    assert result.exit_code == 1
    assert "Expected numbers in column age for --regression, got 'old'" in result.output
    _write_labels(folder, [*age[:-1].astype(str), "n/a"], "age")
    assert fit(folder, "--label", "age", "--regression").exit_code == 0
    _write_labels(folder, ["30"] * 20, "age")
    result = fit(folder, "--label", "age", "--regression")
    assert "Expected numbers that differ, got 30.0 for all 20" in result.output
