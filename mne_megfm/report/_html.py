"""Pieces of HTML: paragraphs, tables, model cards."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

import pandas as pd

#: Tables scroll by themselves, and narrow windows have no column of contents.
STYLE = """
.table-scroll {overflow-x: auto;}
.table-scroll table {width: auto; font-size: 0.95em;}
.table-scroll th, .table-scroll td
  {padding: 0.2rem 0.7rem; text-align: right; white-space: nowrap;}
.table-scroll thead th, .table-scroll td.word
  {white-space: normal; min-width: 4.5em;}
.table-scroll .word {text-align: left;}
.prose {max-width: 50rem; overflow-wrap: anywhere;}
.prose pre, pre.wide {overflow-x: auto; white-space: pre; max-width: 100%;}
.prose h1 {font-size: 1.4rem;}
.prose h2 {font-size: 1.2rem;}
.prose table {display: block; overflow-x: auto; font-size: 0.9em;}
.prose th, .prose td {padding: 0.15rem 0.6rem; overflow-wrap: normal;}
.notice {border-left: 4px solid #D55E00; padding: 0.4rem 0.8rem; max-width: 50rem;}
.accordion-header .badge {display: none;}
@media (max-width: 700px) {
  #toc {display: none;}
  #content {margin-left: 0; width: 100%;}
  #container {padding: 0;}
  .accordion-body {padding: 0.5rem;}
}
"""


def paragraphs(*texts: str) -> str:
    """Write texts as paragraphs."""
    return '<div class="prose">{}</div>'.format(
        "".join(f"<p>{escape(text)}</p>" for text in texts)
    )


def notice(text: str) -> str:
    """Write a text that must not be overlooked."""
    return f'<p class="notice"><strong>{escape(text)}</strong></p>'


def table(frame: pd.DataFrame, *, digits: int = 3) -> str:
    """Write a table that scrolls by itself where the window is narrow.

    Parameters
    ----------
    frame : DataFrame
        The table. Names and texts are escaped.
    digits : int
        Digits after the point.

    Returns
    -------
    html : str
        The table.
    """
    named = frame.index.name is not None or frame.index.dtype == object
    columns = [(str(name), _texts(frame[name], digits)) for name in frame]
    if named:
        labels = [str(label) for label in frame.index]
        columns.insert(0, (frame.index.name or "", labels))
        left = {0}
    else:
        left = set()
    left |= {
        number
        for number, name in enumerate(frame, len(columns) - frame.shape[1])
        if not pd.api.types.is_numeric_dtype(frame[name])
    }

    def line(cells: Iterable[str], tag: str) -> str:
        kinds = (" class=word" if n in left else "" for n in range(len(columns)))
        parts = (
            f"<{tag}{kind}>{escape(cell)}</{tag}>"
            for kind, cell in zip(kinds, cells, strict=True)
        )
        return f"<tr>{''.join(parts)}</tr>"

    head = line([name for name, _ in columns], "th")
    rows = zip(*(cells for _, cells in columns), strict=True)
    body = "".join(line(cells, "td") for cells in rows)
    return (
        '<div class="table-scroll"><table class="table table-sm table-striped">'
        f"<thead>{head}</thead><tbody>{body}</tbody></table></div>"
    )


def preformatted(text: str) -> str:
    """Write a text as it is, line by line."""
    return f'<pre class="wide">{escape(text)}</pre>'


def card(markdown: str) -> str:
    """Write a model card; HTML in it is shown, not used."""
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    # a picture would be fetched from elsewhere
    reader.disable("image")
    return f'<div class="prose">{reader.render(markdown)}</div>'


def _texts(column: pd.Series, digits: int) -> list[str]:
    """Write the cells of a column; counts without digits after the point."""
    if not pd.api.types.is_float_dtype(column):
        return ["–" if pd.isna(cell) else str(cell) for cell in column]
    known = column.dropna()
    digits = 0 if len(known) and (known == known.round()).all() else digits
    return ["–" if pd.isna(cell) else f"{cell:.{digits}f}" for cell in column]
