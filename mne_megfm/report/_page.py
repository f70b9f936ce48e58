"""The page: what it is made of, and how it becomes one file.

Everything that is text is escaped by the template, and by `markupsafe.Markup`, unless
it was made here. The page forbids browsers to run scripts and to fetch anything.
"""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

import mne
from jinja2 import Environment, Template
from markupsafe import Markup
from matplotlib.figure import Figure

from .. import __version__

#: Larger drawings become pictures, as do thousands of lines.
_MOST_SVG = 400_000
_DPI = 160


class Answer(NamedTuple):
    """What is on the first screen of one question."""

    key: str
    question: str
    short: str
    texts: Sequence[str] = ()
    figure: Markup = Markup()


class Part(NamedTuple):
    """A part of a section."""

    title: str
    html: Markup
    folded: bool = False


class Section(NamedTuple):
    """A section of the page."""

    key: str
    title: str
    parts: list[Part]


def embed(figure: Figure, alt: str, caption: str | None = None) -> Markup:
    """Embed a figure, and close it.

    Parameters
    ----------
    figure : Figure
        The figure.
    alt : str
        What it shows, in words, for those who do not see it.
    caption : str | None
        What stands beneath.

    Returns
    -------
    html : Markup
        A drawing; a picture where that would be large.
    """
    import matplotlib.pyplot as plt

    width = round(figure.get_size_inches()[0] * 96)
    kind, data = "svg+xml", _save(figure, "svg")
    if len(data) > _MOST_SVG:
        kind, data = "png", _save(figure, "png")
    plt.close(figure)
    source = f"data:image/{kind};base64,{b64encode(data).decode()}"
    # in a narrow window small figures shrink, and wide ones scroll
    wide = Markup(' class="wide"') if width > 620 else ""
    text = Markup("<figcaption>{}</figcaption>").format(caption) if caption else ""
    return Markup('<figure{}><img src="{}" alt="{}" width="{}">{}</figure>').format(
        wide, source, alt, width, text
    )


def _save(figure: Figure, kind: str) -> bytes:
    from matplotlib import rc_context

    stream = io.BytesIO()
    # the same figure is the same file
    with rc_context({"svg.hashsalt": "mne-megfm"}):
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(stream, format=kind, dpi=_DPI, metadata=metadata)
    return stream.getvalue()


def beside(*parts: Markup) -> Markup:
    """Put figures beside each other where there is room."""
    return Markup('<div class="figures">{}</div>').format(Markup("").join(parts))


def paragraphs(*texts: str) -> Markup:
    """Write texts as paragraphs."""
    return Markup("").join(Markup("<p>{}</p>").format(text) for text in texts)


def preformatted(text: str) -> Markup:
    """Write a text as it is, line by line."""
    return Markup("<pre>{}</pre>").format(text)


def folded(title: str | Markup, html: Markup) -> Markup:
    """Fold what is long."""
    return Markup("<details><summary>{}</summary>{}</details>").format(title, html)


def listed(names: Iterable, most: int = 6) -> str:
    """List names; of many, the first ones and how many more there are."""
    names = [str(name) for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def render(
    title: str,
    note: str | None,
    not_a_device: str,
    date: str | None,
    answers: Iterable[Answer],
    sections: Iterable[Section],
) -> str:
    """Write the page.

    Parameters
    ----------
    title : str
        Title of the report.
    note : str | None
        What readers must know first.
    not_a_device : str
        What readers must know in any case.
    date : str | None
        When it was made.
    answers : iterable of Answer
        What is on the first screen.
    sections : iterable of Section
        Sections in their order.

    Returns
    -------
    html : str
        The page.
    """
    return _template().render(
        title=title,
        note=note,
        not_a_device=not_a_device,
        date=date,
        version=__version__,
        mne_version=mne.__version__,
        style=Markup(files(__package__).joinpath("page.css").read_text("utf-8")),
        answers=list(answers),
        sections=[section for section in sections if section.parts],
    )


@lru_cache(maxsize=1)
def _template() -> Template:
    source = files(__package__).joinpath("page.html.jinja").read_text("utf-8")
    return Environment(autoescape=True).from_string(source)
