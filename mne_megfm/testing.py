"""Checks that authors of plug-ins can run on their parts.

As :func:`sklearn.utils.estimator_checks.parametrize_with_checks` does for estimators:

.. code-block:: python

    import pytest
    from mne_megfm.testing import plugin_checks


    @pytest.mark.parametrize(
        "check", plugin_checks("backbones", MyBackbone(MyConfig()))
    )
    def test_my_backbone(check):
        check()
"""

from __future__ import annotations

import copy
import functools
import inspect
import json
import pickle
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import is_dataclass
from typing import Any

import mne
import numpy as np
import torch
from torch import Tensor, nn

from .estimators import MEGFMTransformer
from .estimators.frozen import FrozenStep
from .inputs import as_recordings
from .models import (
    BackboneConfig,
    BaseBackbone,
    MaskedSignalTransformer,
    ModelConfig,
    Reconstructor,
    WindowBatch,
    build_pooling,
    encoder_parameters,
    to_patches,
)
from .plugins import make_backbone, name_of, register, resolve
from .pretraining import build_objective, fit_objective, resolve_objective
from .sensors import canonical_array
from .simulation import make_array_info
from .weights import load_checkpoint, load_pooling, save_checkpoint

__all__ = ["plugin_checks"]


def plugin_checks(kind: str, part: Any) -> Iterator[Callable[[], None]]:
    """Generate the checks of a part.

    Parameters
    ----------
    kind : str
        The kind of the part: ``"aggregators"``, ``"backbones"``, ``"maskings"``,
        ``"objectives"``, ``"poolings"`` or ``"sensor_mappings"``.
    part : str | object
        Name of an installed part, or an instance. A named backbone is made with its
        default configuration.

    Yields
    ------
    check : callable
        Called without arguments, it raises AssertionError if the part breaks a rule
        that the package relies on. ``check.__name__`` says which rule.

    Raises
    ------
    TypeError
        If the part lacks a method of its kind.
    ValueError
        If there are no checks of this kind, or no part of this name.

    Examples
    --------
    >>> from mne_megfm.testing import plugin_checks
    >>> names = [check.__name__ for check in plugin_checks("maskings", "random")]
    >>> "check_masks_are_drawn_from_the_generator" in names
    True
    """
    if kind not in _CHECKS:
        raise ValueError(
            f"Expected a kind that has checks, one of {', '.join(sorted(_CHECKS))}, "
            f"got {kind!r}; heads are checked by scikit-learn's check_estimator."
        )
    if kind == "backbones" and isinstance(part, str):
        part = make_backbone(part)
    elif kind == "objectives":
        part = resolve_objective(part)
    else:
        part = resolve(kind, part)
    for check in (check_repr_is_stable, *_CHECKS[kind]):
        bound = functools.partial(check, part)
        bound.__name__ = check.__name__
        bound.__doc__ = check.__doc__
        yield bound


# -- data -------------------------------------------------------------------------
def _windows(config: BackboneConfig, n: int = 4) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    shape = (n, config.n_sensors, config.n_times)
    return torch.randn(shape, generator=rng) * config.scale


def _lengths(config: BackboneConfig, n: int = 4) -> Tensor:
    """Lengths of windows: whole ones, and one of half the patches."""
    n_valid = torch.full((n,), config.n_times)
    n_valid[-1] = max(1, config.n_patches // 2) * config.patch_length
    return n_valid


def _mask(config: BackboneConfig, n: int = 4) -> Tensor:
    mask = torch.zeros(n, config.n_regions, config.n_patches, dtype=torch.bool)
    mask[:, ::3] = True
    mask[:, :, 0] = True
    return mask


def _region_pos() -> Tensor:
    return torch.from_numpy(np.array(canonical_array().region_pos))


def _expect(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)


def check_repr_is_stable(part: Any) -> None:
    """Check that the ``repr`` of a part has parameters, and no place in memory."""
    if isinstance(part, BaseBackbone):
        return
    _expect(
        not re.search(r" at 0x[0-9a-f]+", repr(part)),
        f"Expected a repr by which a continued run knows the part, got {part!r}; "
        "write __repr__ with its parameters.",
    )


# -- backbones --------------------------------------------------------------------
def check_configuration(model: Any) -> None:
    """Check that the configuration is a dataclass, and goes through JSON."""
    cls = type(model).config_class
    _expect(
        is_dataclass(cls) and issubclass(cls, BackboneConfig),
        f"Expected config_class to be a dataclass that inherits from BackboneConfig, "
        f"got {cls!r}.",
    )
    again = cls.from_dict(json.loads(json.dumps(model.config.to_dict())))
    _expect(
        again == model.config,
        f"Expected the configuration to survive JSON, got {again} for {model.config}.",
    )


def check_tokens(model: Any) -> None:
    """Check that tokens are finite, and zero where not recorded or hidden."""
    model, config = copy.deepcopy(model).eval(), model.config
    n_valid, mask = _lengths(config), _mask(config)
    with torch.inference_mode():
        tokens = model.encode(_windows(config), n_valid, mask)
    shape = (4, config.n_regions, config.n_patches, config.d_model)
    _expect(
        tuple(tokens.shape) == shape,
        f"Expected tokens of shape {shape}, got {tuple(tokens.shape)}.",
    )
    _expect(bool(tokens.isfinite().all()), "Expected finite tokens, got NaN or inf.")
    half = max(1, config.n_patches // 2)
    _expect(
        not tokens[-1, :, half:].any(),
        "Expected zero tokens of patches that were not recorded, got others.",
    )
    _expect(not tokens[mask].any(), "Expected zero tokens where hidden, got others.")


def check_tokens_are_deterministic(model: Any) -> None:
    """Check that in evaluation mode, the same windows give the same tokens."""
    model = copy.deepcopy(model).eval()
    with torch.inference_mode():
        one, two = (model.encode(_windows(model.config)) for _ in range(2))
    _expect(torch.equal(one, two), "Expected the same tokens twice, got others.")


def check_tokens_do_not_depend_on_the_batch(model: Any) -> None:
    """Check that a window has the same tokens alone and among others."""
    model = copy.deepcopy(model).eval()
    windows = _windows(model.config)
    with torch.inference_mode():
        together, alone = model.encode(windows), model.encode(windows[1:2])
    torch.testing.assert_close(together[1:2], alone, rtol=1e-3, atol=1e-4)


def check_hidden_signal_is_not_seen(model: Any) -> None:
    """Check that tokens are the same whatever the hidden samples are."""
    model, config = copy.deepcopy(model).eval(), model.config
    windows, mask = _windows(config), _mask(config)
    other = windows.clone()
    samples = mask.repeat_interleave(config.sensors_per_region, 1)
    samples = samples.repeat_interleave(config.patch_length, 2)
    other[samples] = other[samples].flip(0) * 3.0
    with torch.inference_mode():
        one, two = model.encode(windows, None, mask), model.encode(other, None, mask)
    _expect(
        torch.allclose(one, two, rtol=1e-4, atol=1e-5),
        "Expected tokens that do not depend on hidden samples, got others; use the "
        "second output of scale(), which is True where tokens are hidden.",
    )


def check_layer_groups(model: Any) -> None:
    """Check that all parameters that tokens depend on are in the layer groups."""
    model = copy.deepcopy(model).train()
    model.requires_grad_(True)
    names = [name for group in model.layer_groups() for name in group]
    known = {n for n, _ in model.named_modules()} | {
        n for n, _ in model.named_parameters()
    }
    _expect(
        set(names) <= known and len(set(names)) == len(names),
        "Expected names of modules or parameters in layer_groups, each once, got "
        f"{sorted(set(names) - known) or names}.",
    )
    model.encode(_windows(model.config)).square().sum().backward()
    used = {n for n, p in model.named_parameters() if p.grad is not None}
    inside = {n for n, _ in encoder_parameters(model)}
    _expect(
        used <= inside,
        "Expected all parameters that encode() uses in layer_groups, but "
        f"{sorted(used - inside)} are missing.",
    )


def check_saved_and_loaded(model: Any) -> None:
    """Check that a checkpoint gives the same tokens."""
    model = copy.deepcopy(model).eval()
    with tempfile.TemporaryDirectory() as folder, _known("backbones", model):
        again = load_checkpoint(save_checkpoint(folder + "/saved", model))
    windows = _windows(model.config)
    with torch.inference_mode():
        one, two = model.encode(windows), again.encode(windows)
    _expect(
        type(again) is type(model) and torch.equal(one, two),
        "Expected the same tokens after saving and loading, got others; register all "
        "state as parameters or buffers.",
    )


def _known(kind: str, part: Any) -> AbstractContextManager:
    """Make the class of a part known by a name, where it is not."""
    try:
        name_of(kind, part)
    except ValueError:
        return register(kind, f"checked-{type(part).__name__}", type(part))
    return nullcontext()


def check_prediction(model: Any) -> None:
    """Check that predicted patches do not depend on hidden ones."""
    if not isinstance(model, Reconstructor):
        return
    model, config = copy.deepcopy(model).eval(), model.config
    mask = _mask(config)
    patches = to_patches(_windows(config) / config.scale, config)
    other = torch.where(mask[..., None, None], 7.0, patches)
    with torch.inference_mode():
        one, two = (model.predict_patches(x, mask) for x in (patches, other))
        filled = model.reconstruct(_windows(config), mask)
    _expect(
        one.shape == patches.shape and one.dtype == torch.float32,
        f"Expected predicted patches of shape {tuple(patches.shape)} in float32, got "
        f"{tuple(one.shape)} in {one.dtype}.",
    )
    _expect(
        torch.allclose(one[mask], two[mask], rtol=1e-4, atol=1e-5),
        "Expected a prediction that does not depend on hidden patches, got another.",
    )
    samples = mask.repeat_interleave(config.sensors_per_region, 1)
    samples = samples.repeat_interleave(config.patch_length, 2)
    _expect(
        torch.equal(filled[~samples], _windows(config)[~samples]),
        "Expected reconstruct() to leave visible samples as they are.",
    )


# -- poolings ---------------------------------------------------------------------
def _tokens(n_patches: int, d_model: int = 32) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    tokens = torch.randn(5, 24, n_patches, d_model, generator=rng)
    recorded = torch.ones(5, n_patches, dtype=torch.bool)
    recorded[-1, n_patches // 2 :] = False
    return tokens * recorded[:, None, :, None], recorded


@functools.cache
def _small_model() -> MaskedSignalTransformer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MaskedSignalTransformer(ModelConfig(d_model=32, n_layers=1)).eval()


def _built(pooling: Any) -> Any:
    pooling = copy.deepcopy(pooling)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        build_pooling(pooling, _small_model())
    return pooling


def _fitted(pooling: Any) -> Any:
    pooling = _built(pooling)
    if hasattr(pooling, "fit"):
        tokens, recorded = _tokens(_small_model().config.n_patches)
        pooling.fit(tokens, recorded, torch.tensor([0, 0, 1, 1, 2]))
    return pooling.eval()


def check_one_unique_name_a_feature(pooling: Any) -> None:
    """Check that every feature has a name of its own, for rows of any length."""
    pooling = _fitted(pooling)
    for n_patches in (1, 10, 33):
        with torch.inference_mode():
            features = pooling(*_tokens(n_patches), _small_model())
        names = pooling.names(24, n_patches, 32, 0.1)
        _expect(
            tuple(features.shape) == (5, len(names)) and len(set(names)) == len(names),
            f"Expected a row of {len(names)} features with unique names for each of 5 "
            f"rows, got {tuple(features.shape)} and {len(set(names))} names.",
        )
        _expect(bool(features.isfinite().all()), "Expected finite features.")


def check_nothing_recorded(pooling: Any) -> None:
    """Check that a row of which nothing was recorded has finite features."""
    tokens, recorded = torch.zeros(1, 24, 10, 32), torch.zeros(1, 10, dtype=torch.bool)
    pooling = _fitted(pooling)
    with torch.inference_mode():
        features = pooling(tokens, recorded, _small_model())
    _expect(bool(features.isfinite().all()), "Expected finite features, got NaN.")


def check_rows_are_pooled_alone(pooling: Any) -> None:
    """Check that the features of a row do not depend on the other rows."""
    pooling, (tokens, recorded) = _fitted(pooling), _tokens(10)
    with torch.inference_mode():
        together = pooling(tokens, recorded, _small_model())
        alone = pooling(tokens[2:3], recorded[2:3], _small_model())
    torch.testing.assert_close(together[2:3], alone, rtol=1e-4, atol=1e-5)


def check_copies_and_pickles(pooling: Any) -> None:
    """Check that a copy and a pickle of a fitted pooling give the same features."""
    pooling = _fitted(pooling)
    for again in (copy.deepcopy(pooling), pickle.loads(pickle.dumps(pooling))):
        with torch.inference_mode():
            one, two = (p(*_tokens(10), _small_model()) for p in (pooling, again))
        _expect(torch.equal(one, two), "Expected the same features of a copy.")


def check_state_is_saved(pooling: Any) -> None:
    """Check that a pooling that was not fitted gets its state from a checkpoint."""
    fitted, again = _fitted(pooling), _built(pooling).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = save_checkpoint(folder + "/saved", _small_model(), pooling=fitted)
        found = load_pooling(path, again)
    _expect(
        found == bool(fitted.state_dict()),
        "Expected the state of the pooling in the checkpoint to be found.",
    )
    with torch.inference_mode():
        one, two = (p(*_tokens(10), _small_model()) for p in (fitted, again))
    _expect(
        torch.equal(one, two),
        "Expected the features of the fitted pooling after loading, got others; "
        "register what fit() learns as buffers or parameters of a fixed shape.",
    )


# -- aggregators ------------------------------------------------------------------
@functools.cache
def _participants() -> tuple[dict[str, mne.BaseEpochs], ...]:
    """Make three participants of two states, of which the last has one alone."""
    info = make_array_info("opm64")
    rng = np.random.default_rng(0)
    states = [("rest", "auditory"), ("rest", "auditory"), ("rest",)]
    with mne.utils.use_log_level("error"):
        return tuple(
            {
                state: mne.EpochsArray(
                    rng.standard_normal((5, len(info["ch_names"]), 300)) * 1e-13,
                    info,
                    tmin=-0.2,
                )
                for state in of_person
            }
            for of_person in states
        )


def _transformer_with(aggregator: Any, weights: Any = None) -> MEGFMTransformer:
    config = {"d_model": 32, "n_layers": 1} if weights is None else None
    return MEGFMTransformer(
        weights,
        config=config,
        sample="participant",
        aggregation=aggregator,
        random_state=0,
        verbose="error",
    )


def check_one_row_a_participant(aggregator: Any) -> None:
    """Check that each participant has one finite row, and each feature a name."""
    X = list(_participants())
    with mne.utils.use_log_level("error"):
        transformer = _transformer_with(aggregator).fit(X)
        features = transformer.transform(X)
    names = transformer.get_feature_names_out()
    _expect(
        features.shape == (3, len(names)) and len(set(names)) == len(names),
        f"Expected 3 rows of {len(names)} features with unique names, got "
        f"{features.shape} and {len(set(names))} names.",
    )
    _expect(
        bool(np.isfinite(features).all()),
        "Expected finite features, also of a participant who lacks a state.",
    )
    _expect(
        transformer.states_ == ["auditory", "rest"],
        f"Expected the sorted states in `states` after fit(), got "
        f"{transformer.states_}.",
    )


def check_rows_do_not_depend_on_others(aggregator: Any) -> None:
    """Check that the row of a participant does not depend on the others."""
    X = list(_participants())
    with mne.utils.use_log_level("error"):
        transformer = _transformer_with(aggregator).fit(X[:2])
        together, alone = transformer.transform(X[:2]), transformer.transform(X[1:2])
    np.testing.assert_allclose(together[1:], alone, rtol=1e-3, atol=1e-5)


def check_unknown_states_are_refused(aggregator: Any) -> None:
    """Check that a state that the training data lack is an error."""
    X = list(_participants())
    transformer = _transformer_with(aggregator).fit([{"rest": x["rest"]} for x in X])
    try:
        transformer.transform(X[:1])
    except ValueError:
        return
    raise AssertionError(
        "Expected a ValueError for a state that fit() has not seen, got features; "
        "call self.check_states(extracted) in transform()."
    )


def check_folds_are_apart(aggregator: Any) -> None:
    """Check that fitting for one fold leaves what was fitted for another."""
    X = list(_participants())
    frozen = FrozenStep(_transformer_with(aggregator))
    with mne.utils.use_log_level("error"):
        extracted = frozen.extract(X)
        one = frozen.fit(extracted[:2])
        before = frozen.transform(one, extracted[2:])
        frozen.fit(extracted[1:])
        after = frozen.transform(one, extracted[2:])
    _expect(
        np.array_equal(before, after),
        "Expected features that stay when a copy is fitted, got others; keep what "
        "fit() learns in attributes of the instance.",
    )


def check_weights_are_saved(aggregator: Any) -> None:
    """Check that the weights of an aggregator come back from a checkpoint."""
    X = list(_participants())
    with tempfile.TemporaryDirectory() as folder, mne.utils.use_log_level("error"):
        fitted = _transformer_with(aggregator).fit(X)
        path = fitted.save_pretrained(folder + "/saved")
        names = inspect.signature(type(aggregator)).parameters
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            again = type(aggregator)(**{n: getattr(aggregator, n) for n in names})
        found = _transformer_with(again, path).fit(X).transform(X)
        expected = fitted.transform(X)
    _expect(
        np.allclose(found, expected, rtol=1e-5, atol=1e-6),
        "Expected the same features after saving and loading, got others; register "
        "all weights as parameters or buffers, or write save() and load().",
    )


# -- maskings ---------------------------------------------------------------------
def check_masks(masking: Any) -> None:
    """Check that masks hide something, and leave something visible."""
    pos = _region_pos()
    for seed, n_patches in enumerate((1, 2, 10, 10, 10)):
        generator = torch.Generator().manual_seed(seed)
        masks = masking(3, n_patches, pos, generator)
        _expect(
            masks.dtype is torch.bool and tuple(masks.shape) == (3, 24, n_patches),
            f"Expected masks of bool, shape (3, 24, {n_patches}), got {masks.dtype} "
            f"{tuple(masks.shape)}.",
        )
        shares = masks.float().mean((1, 2))
        # of a very short window, all or nothing may be hidden
        _expect(
            n_patches < 3 or bool(((shares > 0) & (shares < 1)).all()),
            "Expected masks that hide a part of the tokens, got shares of "
            f"{shares.tolist()} with {n_patches} patches.",
        )


def check_targets_are_hidden(masking: Any) -> None:
    """Check that targets of a masking with some of its own are hidden tokens."""
    if not hasattr(masking, "draw"):
        return
    drawn = masking.draw(3, 10, _region_pos(), torch.Generator().manual_seed(0), 0.1)
    hidden, targets = drawn
    _expect(
        targets.shape == hidden.shape and not (targets & ~hidden).any(),
        "Expected targets among the hidden tokens, got some that are visible.",
    )
    _expect(bool(targets.any((1, 2)).all()), "Expected targets in each window.")


def check_masks_are_drawn_from_the_generator(masking: Any) -> None:
    """Check that masks depend on the generator, and on no other random numbers."""
    before = torch.random.get_rng_state()
    one, two = (
        masking(3, 10, _region_pos(), torch.Generator().manual_seed(1))
        for _ in range(2)
    )
    _expect(torch.equal(one, two), "Expected the same masks of the same generator.")
    _expect(
        torch.equal(before, torch.random.get_rng_state()),
        "Expected random numbers of the generator alone; torch's own was drawn from.",
    )


# -- objectives -------------------------------------------------------------------
def _batch() -> WindowBatch:
    config = _small_model().config
    numbers = torch.tensor([0, 0, 1, 1])
    known = {
        "participant": numbers,
        "recording": numbers,
        "state": numbers,
        "array": torch.zeros(4, dtype=torch.long),
        "start": torch.arange(4.0),
        "targets": torch.randn(4, 3, generator=torch.Generator().manual_seed(0)),
        "names": {"participant": ("a", "b"), "state": ("x", "y"), "array": ("ctf151",)},
    }
    windows, n_valid = _windows(config), torch.full((4,), config.n_times)
    view = WindowBatch(windows, n_valid, _mask(config).flip(1), **known)
    return WindowBatch(windows, n_valid, _mask(config), view=view, **known)


def _made(objective: Any) -> Any:
    """Copy an objective, and make it for the small model."""
    objective = copy.deepcopy(objective)
    build_objective(objective, _small_model(), 0)
    fit_objective(objective, _small_model(), _batch(), 0)
    return objective


def check_loss(objective: Any) -> None:
    """Check that the loss is one finite number with a gradient for the model."""
    model = copy.deepcopy(_small_model()).train()
    loss = _made(objective)(model, _batch())
    _expect(
        isinstance(loss, Tensor) and not loss.shape and bool(loss.isfinite()),
        f"Expected a finite loss of shape (), got {loss!r}.",
    )
    loss.backward()
    moved = [p for p in model.parameters() if p.grad is not None and p.grad.any()]
    _expect(bool(moved), "Expected a gradient for the model, got none.")


def check_loss_is_deterministic(objective: Any) -> None:
    """Check that the same batch has the same loss."""
    with torch.inference_mode():
        one, two = (_made(objective)(_small_model(), _batch()) for _ in range(2))
    _expect(
        torch.equal(one, two), f"Expected the same loss twice, got {one} and {two}."
    )


def check_parameters_are_trained(objective: Any) -> None:
    """Check that parameters of the objective, if it has any, get a gradient."""
    if not isinstance(objective, nn.Module):
        return
    objective = _made(objective)
    objective(copy.deepcopy(_small_model()), _batch()).backward()
    idle = [
        name
        for name, parameter in objective.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ]
    _expect(not idle, f"Expected gradients for all parameters, got none for {idle}.")


# -- sensor mappings --------------------------------------------------------------
def check_mapping(mapping: Any) -> None:
    """Check that recordings of two arrays give a matrix and its channels."""
    kernel, array = np.asarray(mapping.kernel), mapping.array
    _expect(
        kernel.shape == (array.n_sensors,) * 2 and np.allclose(kernel, kernel.T),
        f"Expected a symmetric kernel of {array.n_sensors} sensors, got shape "
        f"{kernel.shape}.",
    )
    for name in ("ctf151", "neuromag306"):
        info = make_array_info(name)
        data = np.random.default_rng(0).standard_normal((len(info["ch_names"]), 500))
        with mne.utils.use_log_level("error"):
            raw = mne.io.RawArray(data * 1e-13, info)
            matrix, names = mapping(as_recordings(raw)[0])
        _expect(
            matrix.shape == (array.n_sensors, len(names))
            and set(names) <= set(info["ch_names"]),
            f"Expected a matrix to {array.n_sensors} sensors from channels of the "
            f"recording, got {matrix.shape} and {len(names)} names.",
        )
        _expect(bool(np.isfinite(matrix).all()), "Expected a finite matrix.")


_CHECKS: dict[str, tuple[Callable[[Any], None], ...]] = {
    "backbones": (
        check_configuration,
        check_tokens,
        check_tokens_are_deterministic,
        check_tokens_do_not_depend_on_the_batch,
        check_hidden_signal_is_not_seen,
        check_layer_groups,
        check_saved_and_loaded,
        check_prediction,
    ),
    "poolings": (
        check_one_unique_name_a_feature,
        check_nothing_recorded,
        check_rows_are_pooled_alone,
        check_copies_and_pickles,
        check_state_is_saved,
    ),
    "aggregators": (
        check_one_row_a_participant,
        check_rows_do_not_depend_on_others,
        check_unknown_states_are_refused,
        check_folds_are_apart,
        check_weights_are_saved,
    ),
    "maskings": (
        check_masks,
        check_targets_are_hidden,
        check_masks_are_drawn_from_the_generator,
    ),
    "objectives": (
        check_loss,
        check_loss_is_deterministic,
        check_parameters_are_trained,
    ),
    "sensor_mappings": (check_mapping,),
}
