"""Tests of the tables that benchmarks write into the documentation."""

import datetime

import pytest
from docutils import nodes
from docutils.core import publish_doctree
from rst_tables import write_table

import mne_megfm


def test_table_is_replaced(tmp_path, monkeypatch):
    """Docutils reads the new cells; text around stays; the command is named."""
    page = tmp_path / "page.rst"
    page.write_text("Before.\n\n.. begin bench_x\n\nold\n\n.. end bench_x\n\nAfter.\n")
    monkeypatch.setattr(
        "sys.argv", ["benchmarks/bench_x.py", "--n", "3", "--rst", str(page)]
    )
    rows = [["random 80 %", "0.5 (0.1)"], ["quarter", "-0.25 (0.003)"]]
    write_table(page, {"Data": "simulated"}, ["hidden", "R²"], rows)
    write_table(page, {"Data": "simulated"}, ["hidden", "R²"], rows)  # and once more
    tree = publish_doctree(page.read_text("utf-8"))
    cells = [entry.astext() for entry in tree.findall(nodes.entry)]
    assert cells == ["hidden", "R²", *rows[0], *rows[1]]
    facts = [field.astext() for field in tree.findall(nodes.field_body)]
    today = datetime.date.today().isoformat()
    assert facts == [
        "python benchmarks/bench_x.py --n 3",
        "simulated",
        f"{today}, version {mne_megfm.__version__}",
    ]
    texts = [paragraph.astext() for paragraph in tree.findall(nodes.paragraph)]
    assert texts[0] == "Before." and texts[-1] == "After." and "old" not in texts
    monkeypatch.setattr("sys.argv", ["benchmarks/bench_y.py"])
    with pytest.raises(ValueError, match="got them 0 times"):
        write_table(page, {}, ["a"], [["b"]])
