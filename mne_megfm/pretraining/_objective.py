"""What pretraining minimises: the protocol of objectives, and how they are made."""

from __future__ import annotations

import inspect
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..models import Backbone, WindowBatch
from ..plugins import resolve


@runtime_checkable
class Objective(Protocol):
    """What a model is trained for: ``objective(model, batch) -> loss``.

    Any callable of this form is an objective. The parameters of one that is a
    :class:`torch.nn.Module` are trained with those of the model, and saved with the run
    but not with the weights. Its ``repr`` tells one objective from another when a run
    is continued. These are optional:

    - ``build(model)`` is called before training, and makes parameters whose sizes
      follow from the backbone, or raises ValueError if it does not suit;
    - ``after_step(model)`` is called after each step of the optimiser;
    - ``n_views = 2`` asks for batches with a second ``view``;
    - ``pairs = "participant"`` (or ``"recording"``, ``"state"``, ``"array"``) asks for
      batches in which windows come with another one of the same participant;
    - ``needs_targets = True`` asks for windows with ``targets``;
    - ``fit(model, batch)`` is called after ``build``, with some hundred windows of the
      training data, without masks: to find targets, or their sizes.

    See Also
    --------
    MaskedReconstruction : The objective of the built-in weights.
    """

    def __call__(self, model: Backbone, batch: WindowBatch) -> Tensor:
        """Compute the loss.

        Parameters
        ----------
        model : Backbone
            The model.
        batch : WindowBatch
            Some windows.

        Returns
        -------
        loss : Tensor, shape ()
            The mean loss over the windows.
        """


def build_objective(objective: Objective, model: Backbone, random_state: int) -> None:
    """Make what an objective trains of its own, and check that it suits a backbone.

    Parameters
    ----------
    objective : callable
        The objective, changed in place; one without ``build`` stays as it is.
    model : Backbone
        The backbone.
    random_state : int
        Seed of its parameters.

    Raises
    ------
    ValueError
        If the objective does not suit the backbone.
    """
    if hasattr(objective, "build"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random_state)
            objective.build(model)


def fit_objective(
    objective: Objective, model: Backbone, batch: WindowBatch, random_state: int
) -> None:
    """Let an objective look at training windows, if it does so.

    Parameters
    ----------
    objective : callable
        The objective, changed in place; one without ``fit`` stays as it is.
    model : Backbone
        The backbone.
    batch : WindowBatch
        Windows to train on.
    random_state : int
        Seed of its parameters.

    Raises
    ------
    ValueError
        If the objective does not suit the windows.
    """
    if hasattr(objective, "fit"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random_state)
            objective.fit(model, batch)


def resolve_objective(spec: Any, **params: Any) -> Objective:
    """Return an objective, made by name or given as an instance.

    Parameters
    ----------
    spec : str | callable
        Name of an objective, or an objective.
    **params : dict
        Arguments with which a named objective is made.

    Returns
    -------
    objective : callable
        The objective.

    Raises
    ------
    TypeError
        If it cannot be called with a model and a batch.
    ValueError
        If there is no objective of this name.
    """
    objective = resolve("objectives", spec, **params)
    try:
        inspect.signature(objective).bind(None, None)
    except TypeError as error:
        raise TypeError(
            "Expected an objective to be called with a model and a batch of windows, "
            f"got {objective!r} ({error}); a loss of patches is an objective as "
            "MaskedReconstruction(loss=...)."
        ) from None
    return objective
