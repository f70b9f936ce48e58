"""Methods: what the model makes of a recording, its card, and versions."""

from __future__ import annotations

import io
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

import mne
import pandas as pd

from .. import viz
from .._sys_info import sys_info
from ..interpret import AttentionTest
from ..weights import read_card, weights_path
from ._html import card, table
from ._page import Part, embed, paragraphs, preformatted

if TYPE_CHECKING:
    from ..evaluation import Comparison
    from ..interpret import Reconstruction
    from ..pretraining import History


def reconstruction_parts(
    scores: pd.DataFrame | None, results: Mapping[str, Reconstruction]
) -> list[Part]:
    """Show scores beside interpolation, and a figure for each kind of mask."""
    html = paragraphs()
    if scores is not None:
        html += paragraphs(
            "Parts of one recording were hidden from the model. Share of the hidden "
            "signal that is explained (R²; 1 is perfect, 0 as good as predicting "
            "nothing): by the model, which stacks network, field and Wiener "
            "interpolation; by the network alone; by Wiener interpolation, which knows "
            "the visible part of this recording and no other; by the field of the "
            "visible sensors, at the best regularisation; and by straight lines in "
            "time. It says how the model works, and nothing about groups."
        )
        html += table(scores.rename_axis("hidden"), digits=2)
    for name, result in results.items():
        window = int(result.mask.any((1, 2)).argmax())
        html += embed(
            viz.plot_reconstruction(result, window=window, show=False),
            f"Hidden: {name}. Recorded and predicted signals of some sensors in one "
            "window, with what was hidden shaded, and their spectra.",
            f"Hidden: {name}",
        )
    return [Part("Reconstruction of hidden signals", html, folded=True)]


def attention_parts(maps: Mapping[str, AttentionTest | mne.Evoked]) -> list[Part]:
    """Show where the encoder looks."""
    words = [
        f"{name}: {found.in_words()}"
        for name, found in maps.items()
        if isinstance(found, AttentionTest)
    ]
    html = paragraphs(
        "Attention shows where the encoder takes its information from. It is no "
        "explanation of a decision. Where it is no more than attention to surrogates "
        "without timing, it is grey.",
        *words,
    )
    html += embed(
        viz.plot_attention(maps, show=False),
        f"Topographies of attention over time: {', '.join(maps)}. {' '.join(words)}",
    )
    return [Part("Attention of the encoder", html, folded=True)]


def model_parts(
    estimator: Any, weights: str | PathLike | None, history: History | None
) -> list[Part]:
    """Show the estimator, its training and its card."""
    parts = []
    if estimator is not None:
        parts.append(Part("Estimator", preformatted(repr(estimator)), folded=True))
    if history is not None:
        html = embed(
            viz.plot_training(history, show=False),
            "Losses in training and on held-out recordings, epoch by epoch.",
        )
        parts.append(Part("Training", html, folded=True))
    if weights is not None:
        name, text = weights_path(weights).name, read_card(weights)
        html = (
            card(text)
            if text
            else paragraphs(f"The weights {name} come without a model card.")
        )
        parts.append(Part(f"Model card of {name}", html, folded=True))
    return parts


def provenance_parts(result: Comparison) -> list[Part]:
    """Say what weights had seen before."""
    seen = result._seen_table()
    if not len(seen):
        return []
    return [Part("What weights had seen", table(seen), folded=True)]


def version_parts() -> list[Part]:
    """List what the report was made with."""
    text = io.StringIO()
    sys_info(text)
    return [Part("Versions", preformatted(text.getvalue()), folded=True)]
