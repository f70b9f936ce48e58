"""Tables that commands read and write: CSV, TSV and parquet.

Names, states and labels are text, as they stand in the file, but for blanks around
them. What is missing is the empty cell and BIDS's ``n/a``, and nothing else: ``NA`` and
``None`` are names like others. Features are numbers.

A spreadsheet runs cells that look like formulas: text that begins with =, @, a tab or
the end of a line, or with + or - and goes on with more than a number or a name. In CSV
and TSV such text gets an apostrophe in front, which is taken away when it is read here.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from mne.utils import logger

from .extras import needs_extra
from .files import DIGEST, UNSEALED, check_seal, seal, written_whole

SUFFIXES = (".csv", ".tsv", ".parquet")
#: Columns of a table of features that are no features.
KEYS = ["participant", "state", "file", "row"]
#: How the column of participants is called: here, and in BIDS.
PARTICIPANT = ("participant", "participant_id")
#: Words for a missing value: that of BIDS (section "Tabular files"), and no word.
MISSING = ("n/a", "")
_BIDS_NAME = PARTICIPANT[1]
#: Notes in a parquet file: what pandas keeps as ``attrs``, and the hash of the file.
_ATTRS, _SEAL = "PANDAS_ATTRS", "mne-megfm digest"
_TEXT_KEYS = ("participant", "state", "file")
# a number with a sign is no formula
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
# nor is a name such as -control or +46, while -2+3 and +f(x) are
_SIGNED_NAME = re.compile(r"[+-][\w.\- ]*")


# -- reading --------------------------------------------------------------------------
def read_text(path: Path, columns: Iterable[str] | None = None) -> pd.DataFrame:
    """Read a table of names and labels, all of it as text.

    Parameters
    ----------
    path : Path
        CSV, TSV or parquet, by its suffix.
    columns : iterable of str | None
        Columns to take, where there are such; None for all.

    Returns
    -------
    table : DataFrame
        Strings, without blanks around them; None where a value is missing.

    Raises
    ------
    ValueError
        If it is no table, or two columns have one name.
    """
    frame = _read_parquet(path) if _suffix(path) == ".parquet" else _read_csv(path)
    if path.suffix.lower() != ".parquet":
        names = _header(frame)
        frame = frame.iloc[1:].set_axis(names, axis=1).reset_index(drop=True)
    _check_names(frame.columns, path)
    wanted = set(frame.columns if columns is None else columns) - {""}
    return pd.DataFrame(
        {name: _as_text(frame[name], path) for name in frame if name in wanted}
    )


def read_names(path: Path) -> list[str]:
    """Read the names of the columns alone."""
    if _suffix(path) == ".parquet":
        return _read_parquet(path).columns.tolist()
    return _header(_read_csv(path, nrows=1))


def _header(frame: pd.DataFrame) -> list[str]:
    return [_undo_escape(name.strip()) for name in frame.iloc[0].fillna("")]


def read_features(path: Path, covariates: Iterable[str] = ()) -> pd.DataFrame:
    """Read a table of features: names and states as text, the rest as numbers.

    Parameters
    ----------
    path : Path
        CSV, TSV or parquet, by its suffix.
    covariates : iterable of str
        Columns that are no features, where there are such, and are left out. Parquet
        may name its own (``attrs["covariates"]``).

    Returns
    -------
    table : DataFrame
        Columns participant (also where it is called participant_id), state and file,
        where there are such, as text; all others as numbers, NaN where a value is
        missing. What was left out is in ``attrs["covariates"]``.

    Raises
    ------
    ValueError
        If it is no table, a feature is no number, or a name or state is missing.
    """
    if _suffix(path) == ".parquet":
        frame = _read_parquet(path)
        _check_names(frame.columns, path)
    else:
        names = read_names(path)
        _check_names(names, path)
        # columns go by their place, since names are read for themselves
        as_text = (*_TEXT_KEYS, _BIDS_NAME)
        text = {n: str for n, name in enumerate(names) if name in as_text}
        frame = _read_csv(path, skiprows=1, dtype=text, na_values=list(MISSING))
        frame = frame.set_axis(names, axis=1)
    if "" in frame:
        raise ValueError(
            f"Expected a name for each column of features in {path}, got none for one; "
            "name it, or write the table without its index."
        )
    attrs = dict(frame.attrs)
    covariates = {*covariates, *attrs.get("covariates", [])} - set(KEYS + [_BIDS_NAME])
    attrs["covariates"] = [name for name in frame if name in covariates]
    frame = frame.drop(columns=attrs["covariates"])
    if "participant" not in frame:
        frame = frame.rename(columns={_BIDS_NAME: "participant"})
    for name in _TEXT_KEYS:
        if name in frame:
            frame[name] = _as_text(frame[name], path)
    for name in ("participant", "state"):
        if name in frame and frame[name].isna().any():
            lines = np.flatnonzero(frame[name].isna()) + 1
            raise ValueError(
                f"Expected a {name} in each row of {path}, got an empty cell or n/a in "
                f"{len(lines)} of {len(frame)}, the first in row {lines[0]}; fill it "
                "in, or remove these rows."
            )
    others = [name for name in frame if name not in _TEXT_KEYS]
    numbers = {name: _as_numbers(frame, name, path) for name in others}
    # assigned one by one, thousands of columns would be moved again and again
    frame = pd.concat([frame.drop(columns=others), pd.DataFrame(numbers)], axis=1)
    frame.attrs = attrs
    return frame


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(
            f"Expected a table that ends with {' or '.join(SUFFIXES)}, got "
            f"{path.name}; write it as one of these."
        )
    return suffix


def _read_parquet(path: Path) -> pd.DataFrame:
    data = path.read_bytes()
    try:
        _check_parquet(data)
        frame = pd.read_parquet(io.BytesIO(data))
    except (ValueError, OSError, RecursionError) as error:  # also of pyarrow
        raise ValueError(
            f"Expected a parquet table in {path}, got something else "
            f"({_first_line(error)}); write it again."
        ) from error
    if frame.index.name is not None or isinstance(frame.index, pd.MultiIndex):
        attrs = frame.attrs
        frame = frame.reset_index()  # pandas keeps a named index apart
        frame.attrs = attrs
    frame.columns = [str(name) for name in frame.columns]
    return frame


def _check_parquet(data: bytes) -> None:
    """Compare a table that was written here with its hash; others have none."""
    with needs_extra("parquet", "tables in parquet"):
        import pyarrow.parquet as pq

    notes = pq.read_metadata(io.BytesIO(data)).metadata or {}
    # the schema has a copy of the notes, and damage may hide either of them
    schema = base64.b64decode(notes.get(b"ARROW:schema", b""))
    if any(_SEAL.encode() in place for place in (data, schema)):
        found = re.search(_SEAL.encode() + rb".{1,8}?([0-9a-f]{64})", data, re.DOTALL)
        try:
            check_seal(data, found and found[1].decode())
        except ValueError as error:
            raise ValueError(
                f"{error}; if another program changed it on purpose, take away the "
                f"note {_SEAL!r}"
            ) from error


def _read_csv(path: Path, **kwargs: object) -> pd.DataFrame:
    """Read cells, without a header: pandas would rename columns, or make an index."""
    given = {
        "sep": "\t" if path.suffix.lower() == ".tsv" else ",",
        "header": None,
        "dtype": str,
        "keep_default_na": False,
        "na_values": [],
        "encoding": "utf-8-sig",
        "low_memory": False,
    } | kwargs
    try:
        frame = pd.read_csv(path, **given)
    except pd.errors.EmptyDataError as error:
        if "skiprows" in given:  # a header alone
            raise ValueError(
                f"Expected rows of features in {path}, got names of columns alone; "
                "write it again."
            ) from error
        raise ValueError(
            f"Expected a table in {path}, got an empty file; write it again, with "
            "names of columns in the first line."
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Expected text in UTF-8 in {path}, got another encoding ({error}); save "
            "it as UTF-8 (in a spreadsheet: CSV UTF-8)."
        ) from error
    except ValueError as error:  # also of pandas' parser
        if "fields in line" in str(error):  # more cells than in the first
            _check_lines(path, given["sep"])
        raise ValueError(
            f"Expected a table in {path}, got something else ({_first_line(error)}); "
            "correct it."
        ) from error
    if "nrows" not in given:  # a header alone is read before the rest
        _check_lines(path, given["sep"])
    if "skiprows" not in given:
        _check_separator(frame, path, given["sep"])
    return frame


def _check_separator(frame: pd.DataFrame, path: Path, separator: str) -> None:
    """See that the first line is not one cell with other separators in it."""
    first = str(frame.iloc[0, 0])
    other = next((mark for mark in ";\t,|" if mark in first), None)
    if frame.shape[1] == 1 and other not in (None, separator):
        names = {"\t": "a tab", ",": "a comma"}
        raise ValueError(
            f"Expected cells with {names[separator]} between them in {path}, as its "
            f"name says, got {names.get(other, repr(other))}; save it as CSV or TSV "
            "again."
        )


def _check_lines(path: Path, separator: str) -> None:
    """See that all lines have as many cells; pandas fills short ones up in silence."""
    n_cells = 0
    with open(path, encoding="utf-8-sig", newline="") as stream:
        rows = csv.reader(stream, delimiter=separator)
        for row in rows:
            if len(row) < 2 and not "".join(row).strip():  # an empty line
                continue
            n_cells = n_cells or len(row)
            if len(row) != n_cells:
                raise ValueError(
                    f"Expected {n_cells} cells in each line of {path}, as its first "
                    f"line has, got {len(row)} in line {rows.line_num}; correct it (a "
                    "missing value is n/a, or an empty cell between separators)."
                )


def _check_names(names: Sequence[str], path: Path) -> None:
    names = pd.Index([name for name in names if name])
    twice = names[names.duplicated()]
    if len(twice):
        raise ValueError(
            f"Expected a name of its own for each column of {path}, got {twice[0]!r} "
            "twice; rename one."
        )


def _as_text(column: pd.Series, path: Path) -> pd.Series:
    """Turn a column to text; codes that a missing one made floats are whole again."""
    column = column.astype(object)
    values = [None if pd.isna(value) else _one_text(value) for value in column]
    if path.suffix.lower() != ".parquet":
        values = [value and _undo_escape(value).strip() for value in values]
    values = [None if value in MISSING else value for value in values]
    return pd.Series(values, column.index, dtype=object, name=column.name)


def _one_text(value: object) -> str:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    return str(value).strip()


def _as_numbers(frame: pd.DataFrame, name: str, path: Path) -> pd.Series:
    """Check that a column of features is of numbers, and name the cell that is none."""
    column = frame[name]
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        numbers = column.astype(float)
    else:
        given = column.astype(object)
        text = given.map(lambda value: "" if pd.isna(value) else str(value).strip())
        numbers = pd.to_numeric(text.where(~text.isin(MISSING)), errors="coerce")
        # also what pandas takes for missing and BIDS does not
        is_number = text.map(lambda value: bool(_NUMBER.fullmatch(value))).astype(bool)
        wrong = ~text.isin(MISSING) & ~is_number
        numbers = numbers.astype(float).mask(wrong, np.inf)
    wrong = np.flatnonzero(np.isinf(numbers))
    if len(wrong):
        at, got, of = wrong[0], column.iloc[wrong[0]], ""
        got = repr(got) if isinstance(got, str) else str(got)
        if "participant" in frame:
            of = f" (participant {frame['participant'].iloc[at]!r})"
        raise ValueError(
            f"Expected a number in column {name} of {path}, got {got} in row "
            f"{at + 1}{of}; correct it, or remove the column if it is not a feature."
        )
    return numbers


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]


# -- writing --------------------------------------------------------------------------
def write_table(frame: pd.DataFrame, path: Path, overwrite: bool = True) -> None:
    """Write a table by its suffix, as a whole; mark what spreadsheets would run.

    Parameters
    ----------
    frame : DataFrame
        The table.
    path : Path
        CSV, TSV or parquet.
    overwrite : bool
        Whether a table that is there by now is replaced.

    Raises
    ------
    FileExistsError
        If there is one and ``overwrite`` is False.
    """
    with written_whole(path, overwrite) as file:
        if path.suffix == ".parquet":
            file.write(_sealed_parquet(frame))
        else:
            separator = "\t" if path.suffix == ".tsv" else ","
            text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
            cells = _escape_all(frame)
            ends = _line_ends(cells)
            cells.to_csv(text, sep=separator, index=False, lineterminator=ends)
            text.detach()


def _line_ends(cells: pd.DataFrame) -> str:
    """Choose ends of lines; carriage returns in cells are quoted if lines have them.

    Else what follows it in a name would be a line of its own, and perhaps a formula.
    """
    words = cells.select_dtypes(exclude=["number", "bool"])
    texts = [*cells.columns, *(t for name in words for t in words[name].dropna())]
    return "\r\n" if any("\r" in str(text) for text in texts) else os.linesep


def _sealed_parquet(frame: pd.DataFrame) -> bytes:
    """Write parquet, with the hash of the whole file in one of its notes."""
    with needs_extra("parquet", "tables in parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame, preserve_index=False)
    notes = {_ATTRS: json.dumps(frame.attrs), _SEAL: UNSEALED[DIGEST]}
    table = table.replace_schema_metadata({**table.schema.metadata, **notes})
    content = pa.BufferOutputStream()
    pq.write_table(table, content)
    return seal(content.getvalue().to_pybytes(), after=_SEAL.encode())


def _escape_all(frame: pd.DataFrame) -> pd.DataFrame:
    words = frame.select_dtypes(exclude=["number", "bool"]).columns
    escaped = frame.copy(deep=False)
    for name in words:
        escaped[name] = frame[name].map(escape_formula, na_action="ignore")
    escaped.columns = frame.columns.map(escape_formula)
    found = {*frame.columns, *(text for name in words for text in frame[name].dropna())}
    changed = sorted(text for text in map(str, found) if escape_formula(text) != text)
    if changed:
        logger.warning(
            f"A spreadsheet would take {len(changed)} of the names for formulas "
            f"({changed[0]!r}{', ...' if len(changed) > 1 else ''}): they have an "
            "apostrophe in front, which mne-megfm removes when it reads them. "
            "Parquet has them as they are."
        )
    return escaped


def escape_formula(text: object) -> str:
    """Put an apostrophe before what a spreadsheet would run."""
    text = str(text)
    return f"'{text}" if _is_formula(text) else text


def _undo_escape(text: str) -> str:
    return text[1:] if text.startswith("'") and _is_formula(text) else text


def _is_formula(text: str) -> bool:
    """Tell whether a spreadsheet would run a text, after any apostrophes before it."""
    text = text.lstrip("'")
    if text[:1] in ("+", "-"):
        return not (_NUMBER.fullmatch(text) or _SIGNED_NAME.fullmatch(text))
    return text[:1] in ("=", "@", "\t", "\r", "\n")
