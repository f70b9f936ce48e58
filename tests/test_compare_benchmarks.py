"""Tests of figures of benchmarks as JSON, and of their comparison."""

import json
import sys

import pytest
from _results import Results
from compare_benchmarks import compare, main, read


def _write(path, figures, benchmark="features"):
    results = Results(benchmark, path)
    for name, value, unit in figures:
        results.add(name, value, unit)
    results.write()
    return path


def test_ratios(tmp_path, monkeypatch, capsys):
    """Times that halve and rates that halve are told apart; the rest is listed."""
    old = [("a", 10, "ms"), ("b", 200, "windows/s"), ("c", 5, "ms"), ("gone", 1, "ms")]
    new = [
        ("a", 5, "ms"),
        ("b", 100, "windows/s"),
        ("c", 5.4, "ms"),
        ("added", 2, "ms"),
    ]
    _write(tmp_path / "old" / "features.json", old)
    _write(tmp_path / "new" / "features.json", new)
    _write(tmp_path / "new" / "store.json", [("a", 1, "kB")], "store")
    runs = [read(tmp_path / side) for side in ("old", "new")]
    rows = {row[0]: row[1:] for row in compare(*(run["features"] for run in runs))}
    assert rows["a"] == ("ms", 10, 5, 0.5, "better")
    assert rows["b"] == ("windows/s", 200, 100, 0.5, "worse")
    assert rows["c"] == ("ms", 5, 5.4, pytest.approx(1.08), "")
    assert rows["gone"] == ("ms", 1, None, None, "")
    assert rows["added"] == ("ms", None, 2, None, "")
    monkeypatch.setattr(
        sys, "argv", ["x", *(str(tmp_path / s) for s in ("old", "new"))]
    )
    main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[1:3]] == ["better", "worse"]
    assert lines[-1] == f"store: only in {tmp_path / 'new'}"


def test_another_machine(tmp_path, monkeypatch, capsys):
    """Figures of two machines are compared, and it is said that they are of two."""
    paths = [_write(tmp_path / f"{side}.json", [("a", 1, "ms")]) for side in "ab"]
    content = json.loads(paths[1].read_text("utf-8"))
    content["machine"]["cores"] = "other"
    paths[1].write_text(json.dumps(content), "utf-8")
    monkeypatch.setattr(sys, "argv", ["x", *map(str, paths)])
    main()
    assert "not one machine: cores" in capsys.readouterr().out


def test_wrong_files(tmp_path):
    """Files of something else, and folders without files, are refused."""
    (tmp_path / "x.json").write_text("[]", "utf-8")
    with pytest.raises(ValueError, match="Expected benchmark, figures"):
        read(tmp_path / "x.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="got none"):
        read(tmp_path / "empty")
    results = Results("features", None)
    results.add("a", 1, "ms")
    with pytest.raises(ValueError, match="twice"):
        results.add("a", 2, "ms")
    with pytest.raises(ValueError, match="as unit"):
        results.add("b", 2, "miles")
