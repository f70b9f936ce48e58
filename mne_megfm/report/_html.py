"""HTML of tables and of model cards."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
from markupsafe import Markup, escape

from ..utils.extras import needs_extra

#: Longer tables are folded after so many rows.
_MOST_ROWS = 15
# text that takes several lines
_LONG = 40


def table(
    frame: pd.DataFrame, *, digits: int = 3, caption: str | None = None
) -> Markup:
    """Write a table that scrolls by itself where the window is narrow.

    Parameters
    ----------
    frame : DataFrame
        The table. Names and texts are escaped, but for `Markup`.
    digits : int
        Digits after the point.
    caption : str | None
        What it shows.

    Returns
    -------
    html : Markup
        The table.
    """
    numbers = pd.api.types.is_numeric_dtype(frame.index)
    named = frame.index.name is not None or not numbers
    columns = [_texts(frame.iloc[:, n], digits) for n in range(frame.shape[1])]
    kinds = [_kind(frame.iloc[:, n]) for n in range(frame.shape[1])]
    heads = [str(name) for name in frame.columns]
    if named:
        columns.insert(0, list(frame.index))
        kinds.insert(0, "word")
        heads.insert(0, str(frame.index.name or ""))

    def line(cells: Iterable, tag: str, scope: str) -> Markup:
        made = []
        for n, (cell, kind) in enumerate(zip(cells, kinds, strict=True)):
            head = tag == "th" or (named and n == 0)
            start = Markup('<th scope="{}"').format(scope) if head else Markup("<td")
            style = Markup(' class="{}"').format(kind) if kind else ""
            end = Markup("</th>" if head else "</td>")
            made.append(start + style + Markup(">") + escape(cell) + end)
        return Markup("<tr>{}</tr>").format(Markup("").join(made))

    rows = zip(*columns, strict=True)
    body = Markup("").join(line(cells, "td", "row") for cells in rows)
    text = Markup("<caption>{}</caption>").format(caption) if caption else ""
    # focusable, so that it scrolls by keys as well
    return Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="{}"><table>{}'
        "<thead>{}</thead><tbody>{}</tbody></table></div>"
    ).format(caption or "Table", text, line(heads, "th", "col"), body)


def long_table(
    frame: pd.DataFrame, *, digits: int = 3, caption: str | None = None
) -> Markup:
    """Write a table; what comes after its first rows is folded."""
    if len(frame) <= _MOST_ROWS:
        return table(frame, digits=digits, caption=caption)
    rest = frame.iloc[_MOST_ROWS:]
    return table(frame.iloc[:_MOST_ROWS], digits=digits, caption=caption) + Markup(
        "<details><summary>{} more rows</summary>{}</details>"
    ).format(len(rest), table(rest, digits=digits, caption=caption))


def card(markdown: str) -> Markup:
    """Write a model card; HTML in it is shown, not used."""
    with needs_extra("report", "the model card in a report"):
        from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    # a picture would be fetched from elsewhere
    reader.disable("image")
    # front matter is no part of the text
    if markdown.startswith("---\n"):
        _, _, markdown = markdown[4:].partition("\n---\n")
    return Markup('<div class="prose card">{}</div>').format(
        Markup(reader.render(markdown))
    )


def _kind(column: pd.Series) -> str:
    """Say how the cells of a column stand."""
    if pd.api.types.is_numeric_dtype(column):
        return ""
    longest = column.map(
        lambda cell: len(Markup(cell).striptags()) if cell else 0
    ).max()
    return "word long" if longest > _LONG else "word"


def _texts(column: pd.Series, digits: int) -> list:
    """Write the cells of a column; counts without digits after the point."""
    if not pd.api.types.is_float_dtype(column):
        return [
            cell if isinstance(cell, Markup) else "–" if pd.isna(cell) else str(cell)
            for cell in column
        ]
    known = column.dropna()
    digits = 0 if len(known) and (known == known.round()).all() else digits
    return ["–" if pd.isna(cell) else f"{cell:.{digits}f}" for cell in column]
