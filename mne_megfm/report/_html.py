"""HTML of tables, texts and figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import mne
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..inputs import Recordings, as_recordings, describe_array
from ..utils.extras import needs_extra

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
    with needs_extra("report", "the model card in a report"):
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


def describe_data(
    X: Any, y: Any = None, names: Sequence[str] | None = None
) -> pd.DataFrame:
    """Tell what was recorded of each participant.

    Parameters
    ----------
    X : list of dict | list of Epochs | Epochs | Raw
        The participants, or one recording.
    y : array-like, shape (n_participants,) | None
        Their labels.
    names : list of str | None
        Their names; None for numbers.

    Returns
    -------
    table : DataFrame
        One row a participant: ``label`` where given, ``array``, ``bad channels`` (the
        most in a recording), ``minutes`` of rows, and the number of rows (epochs, or
        windows of 1 s) of each state.

    Raises
    ------
    ValueError
        If lengths differ.
    """
    recordings = as_recordings(X, verbose="error")
    n = recordings.n_elements
    for what, values in (("y", y), ("names", names)):
        if values is not None and len(values) != n:
            raise ValueError(
                f"Expected {what} with one value a participant ({n}), got "
                f"{len(values)}; give one for each, in the order of X."
            )
    index = pd.Index(range(1, n + 1) if names is None else names, dtype=object)
    table = pd.DataFrame(index=index.rename("participant"))
    if y is not None:
        table["label"] = named_labels(y)
    table["array"] = _arrays(recordings)
    table["bad channels"] = _n_bads(recordings)
    seconds = np.zeros(n)
    for recording in recordings:
        length = recording.n_samples / recording.sfreq
        np.add.at(seconds, recordings.elements[recording.index], length)
    table["minutes"] = seconds / 60.0
    counts = pd.crosstab(recordings.elements, recordings.states)
    counts = counts.reindex(range(n), fill_value=0)
    return pd.concat([table, counts.set_index(table.index)], axis=1)


def named_labels(y: Any) -> list[str]:
    """Write labels as texts; a missing one is ``n/a``, as in BIDS."""
    return ["n/a" if pd.isna(label) else str(label) for label in y]


def states_of(table: pd.DataFrame) -> pd.Index:
    """Name the states that a table of participants has columns of."""
    return table.columns[table.columns.get_loc("minutes") + 1 :]


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Count participants by label and array, with what they have of each state."""
    by = [name for name in ("label", "array") if name in table]
    states = states_of(table)
    groups = table.groupby(by, sort=True)
    out = groups.size().rename("participants").to_frame()
    out["bad channels, median"] = groups["bad channels"].median()
    for state in states:
        out[f"{state}: participants"] = groups[state].agg(lambda n: int((n > 0).sum()))
        out[f"{state}: rows, median"] = groups[state].agg(_median_of_present)
    return out.reset_index()


def _median_of_present(counts: pd.Series) -> float:
    present = counts[counts > 0]
    return float(present.median()) if len(present) else 0.0


def _arrays(recordings: Recordings) -> list[str]:
    """Name the array of each participant by its coils, which channel types do not."""
    found: list[dict] = [{} for _ in range(recordings.n_elements)]
    for recording in recordings:
        if len(recording.index):
            element = recordings.elements[recording.index[0]]
            found[element][describe_array(recording.inst.info)] = None
    return ["; ".join(systems) for systems in found]


def _n_bads(recordings: Recordings) -> NDArray[np.int_]:
    """Count the bad MEG channels of each participant, in the recording with most."""
    counts = np.zeros(recordings.n_elements, int)
    for recording in recordings:
        info = recording.inst.info
        meg = mne.pick_types(info, meg=True, ref_meg=False, exclude=())
        n_bads = len(set(info["bads"]) & {info["ch_names"][pick] for pick in meg})
        np.maximum.at(counts, recordings.elements[recording.index], n_bads)
    return counts
