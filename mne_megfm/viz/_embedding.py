"""Participants on a map: the leading axes of their features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from sklearn.decomposition import PCA

from ._style import bare, finish, look, open_axes


class EmbeddingDisplay:
    """Map of participants, from the two leading principal axes of their features.

    Made by `from_estimator` or `from_features`. Features keep the weights that they
    come with, as in linear heads: scale those of different units first. No label is
    used.

    Parameters
    ----------
    coordinates : ndarray, shape (n_rows, 2)
        Places on the map.
    explained : ndarray, shape (2,)
        Share of the variance of the features along each axis.
    labels : ndarray, shape (n_rows,) | None
        What rows are coloured by.

    Attributes
    ----------
    ax_ : Axes
        Where it was drawn.
    figure_ : Figure
        Its figure.
    scatters_ : list of PathCollection
        The points, one collection a label.

    See Also
    --------
    plot_embedding : Several maps, one for each thing to colour by.

    Examples
    --------
    >>> from mne_megfm import MEGFMTransformer, simulate_cohort
    >>> from mne_megfm.viz import EmbeddingDisplay
    >>> cohort = simulate_cohort(4, states=("auditory",), n_epochs=4, random_state=0)
    >>> X = [participant.recordings for participant in cohort.participants]
    >>> model = MEGFMTransformer().fit(X)
    >>> display = EmbeddingDisplay.from_estimator(model, X, labels=cohort.labels)
    >>> display.coordinates.shape
    (4, 2)
    """

    def __init__(
        self,
        coordinates: NDArray[np.floating],
        explained: NDArray[np.floating],
        labels: ArrayLike | None = None,
    ) -> None:
        self.coordinates = coordinates
        self.explained = explained
        self.labels = labels

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        labels: ArrayLike | None = None,
        ax: Axes | None = None,
    ) -> EmbeddingDisplay:
        """Compute features, find their axes and draw the map.

        Parameters
        ----------
        estimator : MEGFMTransformer | Pipeline
            A fitted transformer; of a pipeline that ends with a classifier or
            regressor, pass ``pipeline[:-1]``.
        X : list of dict | list of Epochs | Epochs
            What it transforms.
        labels : array-like, shape (n_rows,), optional
            What rows are coloured by.
        ax : Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        display : EmbeddingDisplay
            The map.

        Raises
        ------
        ValueError
            If there are fewer than three rows, or a label is missing.
        """
        return cls.from_features(estimator.transform(X), labels=labels, ax=ax)

    @classmethod
    def from_features(
        cls,
        features: ArrayLike,
        *,
        labels: ArrayLike | None = None,
        ax: Axes | None = None,
    ) -> EmbeddingDisplay:
        """Find the axes of features and draw the map.

        Parameters
        ----------
        features : array-like, shape (n_rows, n_features)
            Features.
        labels : array-like, shape (n_rows,), optional
            What rows are coloured by.
        ax : Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        display : EmbeddingDisplay
            The map.

        Raises
        ------
        ValueError
            If there are fewer than three rows, or a label is missing.
        """
        return cls(*_map(features), labels).plot(ax)

    def plot(self, ax: Axes | None = None) -> EmbeddingDisplay:
        """Draw the map.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        self : EmbeddingDisplay
            The map.
        """
        labels = self.labels
        if labels is not None:
            # a missing label is n/a, as in BIDS, and comes last
            missing = pd.isna(np.asarray(labels, object))
            labels = np.where(missing, "n/a", np.asarray(labels, object))
        if labels is not None and len(labels) != len(self.coordinates):
            raise ValueError(
                f"Expected {len(self.coordinates)} labels, one a row, got "
                f"{len(labels)}."
            )
        self.figure_, (self.ax_,) = open_axes(ax, 1, figsize=(4.5, 4))
        kinds = [None] if labels is None else pd.unique(labels)
        self.scatters_ = []
        for number, kind in enumerate(
            sorted(kinds, key=lambda k: (str(k) == "n/a", str(k)))
        ):
            mine = slice(None) if labels is None else labels == kind
            self.scatters_.append(
                self.ax_.scatter(
                    *self.coordinates[mine].T,
                    s=28,
                    alpha=0.8,
                    label=kind,
                    edgecolors="white",
                    linewidths=0.5,
                    **look(number),
                )  # fmt: skip
            )
        if labels is not None:
            self.ax_.legend(
                frameon=False, fontsize="small", loc="upper center", borderaxespad=0,
                bbox_to_anchor=(0.5, -0.17), ncols=2 if _are_short(kinds) else 1,
            )  # fmt: skip
        first, second = self.explained
        self.ax_.set(
            xlabel=f"first axis ({first:.0%} of variance)",
            ylabel=f"second axis ({second:.0%})",
        )
        bare(self.ax_)
        return self


def _are_short(kinds: Sequence) -> bool:
    """Find whether the names of a legend have room beside each other."""
    return len(kinds) <= 2 and sum(len(str(kind)) for kind in kinds) <= 30


def plot_embedding(
    features: ArrayLike,
    by: Mapping[str, ArrayLike],
    *,
    axes: Axes | Sequence[Axes] | None = None,
    title: str | None = None,
    show: bool = True,
) -> Figure:
    """Plot one map of participants, coloured by one thing after the other.

    Parameters
    ----------
    features : array-like, shape (n_rows, n_features)
        Features, as `transform` gives them.
    by : dict
        From name (group, state, array, ...) to one value a row.
    axes : Axes | list of Axes | None
        Where to draw, one axes for each name. None makes a figure.
    title : str | None
        Title of the figure.
    show : bool
        Whether to show the figure.

    Returns
    -------
    fig : Figure
        One map for each name.

    Raises
    ------
    ValueError
        If lengths differ, there is nothing to colour by, or fewer than three rows.

    See Also
    --------
    EmbeddingDisplay : One map, also from an estimator.

    Examples
    --------
    >>> import numpy as np
    >>> from mne_megfm.viz import plot_embedding
    >>> features = np.random.default_rng(0).standard_normal((8, 20))
    >>> fig = plot_embedding(features, {"group": list("aabbaabb")}, show=False)
    >>> fig.axes[0].get_title()
    'by group'
    """
    if not by:
        raise ValueError("Expected at least one thing to colour by, got an empty dict.")
    place = _map(features)
    fig, axes = open_axes(axes, len(by), figsize=(4.3 * len(by), 3.9))
    for ax, (name, labels) in zip(axes, by.items(), strict=True):
        EmbeddingDisplay(*place, labels).plot(ax)
        ax.set_title(f"by {name}")
    return finish(fig, show, title)


def _map(features: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find the places of rows, and the variance along the axes."""
    features = np.asarray(features, dtype=float)
    if features.ndim != 2 or len(features) < 3 or features.shape[1] < 2:
        raise ValueError(
            "Expected features of three rows at least, with two columns at least, got "
            f"shape {features.shape}."
        )
    pca = PCA(2, random_state=0)
    coordinates = pca.fit_transform(features)
    return coordinates, pca.explained_variance_ratio_
