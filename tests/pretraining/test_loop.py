"""Tests of the training loop: learning, resuming, stopping, seeds."""

import csv
import stat

import numpy as np
import pytest
import torch

from mne_megfm.models import (
    MixedMasking,
    TimeBlockMasking,
    WindowArray,
    from_patches,
    masked_r2,
    to_patches,
)
from mne_megfm.pretraining import (
    History,
    MaskedReconstruction,
    SignalSpectrumLoss,
    StoppedError,
)
from mne_megfm.pretraining._run import Ranks
from mne_megfm.pretraining._trainer import Labels, Step, choose_windows, validate
from mne_megfm.store import split_groups


class _Interrupted(Exception):
    pass


class _Flaky(MixedMasking):
    """Fail at one of the calls, as a machine that goes down."""

    calls_left = -1

    def __call__(self, *args):
        self.calls_left -= 1
        if not self.calls_left:
            raise _Interrupted
        return super().__call__(*args)

    def __repr__(self):
        return repr(MixedMasking(self.mask_ratio))


class _NoLoss(SignalSpectrumLoss):
    def __call__(self, predicted, target, hidden):
        return super().__call__(predicted, target, hidden) * float("nan")


class _Spoiling(SignalSpectrumLoss):
    """Train to be worse from the fifth batch on."""

    calls = 0

    def __call__(self, *args):
        loss = super().__call__(*args)
        if torch.is_inference_mode_enabled():
            return loss
        self.calls += 1
        return loss if self.calls <= 4 else -loss


def _equal(model, other):
    one, two = model.state_dict(), other.state_dict()
    return all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.slow
def test_learns_what_interpolation_cannot(train, store, region_pos):
    """Rhythms of two sources are predicted through 300 ms without any sensor."""
    masking = TimeBlockMasking(0.3)
    model, history = train(
        masking=masking, max_epochs=12, steps_per_epoch=40, batch_size=32, lr=3e-3
    )
    data, _ = store.take(np.arange(len(store)))
    r2 = masked_r2(model, data, masking, region_pos, n_draws=3)
    assert max(r2["time"], r2["field"]) < 0.1
    assert r2["model"] > 0.8
    assert history.train_loss[-1] < 0.3 * history.train_loss[0]


@pytest.mark.parametrize("call", [1, 3, 5, 6, 9])
def test_resumes_to_the_same_weights(train, make_model, tmp_path, call):
    """An interrupted run ends as an uninterrupted one, bit by bit."""
    straight, history = train(max_epochs=3)
    flaky = _Flaky()
    flaky.calls_left = call
    with pytest.raises(_Interrupted):
        train(max_epochs=3, masking=flaky, directory=tmp_path / "run")
    assert (tmp_path / "run" / "run.safetensors").is_file() == (call > 6)
    start = make_model(0 if call <= 6 else 99)  # whose weights come from the file
    resumed, again = train(start, max_epochs=3, directory=tmp_path / "run")
    assert _equal(straight, resumed)
    assert again == history
    finished, once_more = train(make_model(7), max_epochs=3, directory=tmp_path / "run")
    assert _equal(straight, finished)
    assert once_more == history


@pytest.mark.parametrize("call", [3, 4, 9, 14])
def test_resumes_within_an_epoch(train, make_model, tmp_path, call):
    """Interrupted in the middle of an epoch, a run goes on from the last step."""
    params = {"max_epochs": 3, "steps_per_epoch": 5, "accumulate": 2}
    straight, history = train(**params)
    params |= {"directory": tmp_path / "run", "save_minutes": 0.0}
    flaky = _Flaky()
    flaky.calls_left = call
    with pytest.raises(_Interrupted):
        train(masking=flaky, **params)
    resumed, again = train(make_model(99), **params)
    assert _equal(straight, resumed)
    assert again == history


def test_stops_when_asked(train, make_model, tmp_path):
    """A run that is asked to stop saves itself after the step, and goes on later."""
    params = {"max_epochs": 2, "steps_per_epoch": 5}
    straight, history = train(**params)
    params["directory"] = tmp_path / "run"
    steps = iter(range(100))
    with pytest.raises(StoppedError, match="after step 3 and saved in .*run; the same"):
        train(stop=lambda: next(steps) == 2, **params)
    resumed, again = train(make_model(99), **params)
    assert _equal(straight, resumed)
    assert again == history
    with pytest.raises(StoppedError, match="after step 1; the same call"):
        train(stop=lambda: True)


def test_parts_of_a_batch(train, make_model):
    """A batch computed in parts has the gradient of the whole.

    With masks that are the same whatever is drawn, so that parts do not differ in it.
    """

    class Fixed(MixedMasking):
        def __call__(self, n, n_patches, region_pos, generator):
            mask = torch.zeros(n, len(region_pos), n_patches, dtype=torch.bool)
            mask[:, 1:3, ::2] = True
            return mask

    params = {"masking": Fixed(), "max_epochs": 1, "steps_per_epoch": 3}
    whole, history = train(**params)
    parts, in_parts = train(accumulate=4, **params)
    for name, array in whole.state_dict().items():
        torch.testing.assert_close(
            parts.state_dict()[name], array, rtol=0, atol=2e-6, msg=name
        )
    assert in_parts.train_loss == pytest.approx(history.train_loss, rel=1e-6)
    with pytest.raises(ValueError, match=r"accumulate to be in \[1, inf\), got 0"):
        train(accumulate=0)


def test_each_window_once_a_pass(train, store):
    """Passes go through all windows, whatever the length of an epoch."""
    seen = []

    class Watching(WindowArray):
        def stream(self, batches):
            for index in batches:
                seen.append(index)
                yield self.take(index)

    windows = Watching(store.values, unit=store.unit, recording=store.recording)
    train(windows=windows, max_epochs=4, steps_per_epoch=3)
    first, _ = split_groups(store.recording, 0.1, 3)
    n_batches = -(-len(first) // 8)
    for start in range(0, 12, n_batches):
        one = np.sort(np.concatenate(seen[start : start + n_batches]))
        np.testing.assert_array_equal(one, first)
    assert not np.array_equal(seen[0], seen[n_batches])


def test_explained_share_by_state(train, make_model, store, region_pos):
    """R² of each state is that of the network's predictions for it, by NumPy."""

    class Fixed(MixedMasking):
        def __call__(self, n, n_patches, region_pos, generator):
            mask = torch.zeros(n, len(region_pos), n_patches, dtype=torch.bool)
            mask[:, 2, 4:7] = True
            return mask

    states = np.array(["rest", "auditory"] * 16)
    windows = WindowArray(
        store.values, unit=store.unit, recording=store.recording, state=states
    )
    _, history = train(windows=windows, masking=Fixed(), max_epochs=1)
    model, _ = train(windows=windows, masking=Fixed(), max_epochs=1)
    _, held_out = split_groups(store.recording, 0.1, 3)
    data, n_valid = store.take(held_out)
    mask = Fixed()(len(data), 10, region_pos, None)
    with torch.inference_mode():  # the network by itself: it is what is trained
        scaled, hidden = model.scale(data, n_valid, mask)
        patches = to_patches(scaled.windows, model.config)
        guess = from_patches(model.predict_patches(patches, hidden), model.config)
        guess = scaled.to_tesla(guess).double().numpy()
    data = data.double().numpy()
    region = np.arange(8, 12)  # four regions of four sensors
    truth, guess = data[:, region, 40:70], guess[:, region, 40:70]
    for name in ("all", "rest", "auditory"):
        at = (states[held_out] == name) | (name == "all")
        share = 1 - np.sum((truth - guess)[at] ** 2) / np.sum(truth[at] ** 2)
        assert history.r2[name] == [pytest.approx(share, abs=1e-5)], name


def test_fewer_windows_to_validate_on(train, store):
    """No more windows than asked for are looked at, always the same."""
    index = np.arange(100, 200)
    assert choose_windows(index, None, 0) is index
    assert choose_windows(index, 100, 0) is index
    some = choose_windows(index, 10, 0)
    assert len(set(some.tolist())) == 10
    assert set(some.tolist()) <= set(index.tolist())
    np.testing.assert_array_equal(some, choose_windows(index, 10, 0))
    assert not np.array_equal(some, choose_windows(index, 10, 1))
    _, history = train(max_valid=2)
    _, whole = train()
    assert history.train_loss == whole.train_loss
    assert history.valid_loss != whole.valid_loss


def test_after_epoch(train):
    """After each epoch the caller gets the history and the best weights so far."""
    seen = []
    model, history = train(
        max_epochs=3, after_epoch=lambda h, best: seen.append((len(h.epoch), best))
    )
    assert [n for n, _ in seen] == [1, 2, 3]
    for name, array in model.state_dict().items():
        assert torch.equal(seen[-1][1][name], array), name


def test_refuses_the_folder_of_another_run(train, tmp_path):
    """Settings that differ from the saved run's are refused, both shown."""
    train(directory=tmp_path)
    with pytest.raises(ValueError, match='settings of the run.*"lr": 0.001.*0.002'):
        train(directory=tmp_path, lr=0.002)


def test_refuses_a_damaged_run(train, tmp_path):
    """A run file that was cut says so, and what to do."""
    train(directory=tmp_path)
    path = tmp_path / "run.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="the file is damaged: delete it"):
        train(directory=tmp_path)


def test_run_files_are_readable_by_others(train, tmp_path):
    """The run has the rights that other new files have, and no leftovers."""
    (tmp_path / "other").touch()
    train(directory=tmp_path / "run")
    names = {"history.csv", "lock", "run.safetensors"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == names
    for path in (tmp_path / "run").iterdir():
        usual = stat.S_IMODE((tmp_path / "other").stat().st_mode)
        assert stat.S_IMODE(path.stat().st_mode) == usual


def test_seed_decides(train):
    """Equal seeds give equal weights, whatever the global seed; others do not."""
    one, _ = train()
    torch.manual_seed(1234)
    same, _ = train()
    other, _ = train(random_state=4)
    assert _equal(one, same)
    assert not _equal(one, other)


def test_stops_early(train):
    """Without a better held-out loss, training stops after ``patience`` epochs."""
    model, history = train(lr=1e-30, patience=2, max_epochs=9)
    assert history.epoch == [1, 2, 3]
    assert history.best_epoch == 1


def test_keeps_the_best_weights(train, store, region_pos):
    """The weights in the end are those with the least loss on held-out recordings."""
    masking, objective = MixedMasking(), MaskedReconstruction(_Spoiling())
    model, history = train(max_epochs=5, lr=3e-3, masking=masking, objective=objective)
    assert history.best_epoch in (2, 3)
    _, held_out = split_groups(store.recording, 0.1, 3)
    loss, r2 = validate(
        Step(model, objective),
        objective,
        model.config,
        store,
        Labels(store),
        held_out,
        masking,
        region_pos,
        random_state=3,
        batch_size=8,
        bf16=False,
        device=torch.device("cpu"),
        ranks=Ranks(),
    )
    assert loss == min(history.valid_loss)
    assert r2 == {"all": history.r2["all"][history.best_epoch - 1]}
    assert not model.training


def test_rate_rises_and_falls(train):
    """The learning rate rises along a line and falls along half a cosine."""
    _, history = train(max_epochs=6, steps_per_epoch=5, warmup=0.2, lr=1e-3)
    step = np.arange(30)
    cosine = 0.5 * (1 + np.cos(np.pi * (step - 6) / 24))
    rate = 1e-3 * np.where(step < 6, (step + 1) / 6, 0.01 + 0.99 * cosine)
    np.testing.assert_allclose(history.lr, rate[4::5])


def test_augmentation_changes_training_batches_alone(train):
    """It sees every training batch and no validation batch."""
    seen = []

    def augmentation(windows, n_valid, generator):
        seen.append(len(windows))
        return windows * 2.0, n_valid

    _, plain = train(max_epochs=1)
    _, history = train(max_epochs=1, augmentation=augmentation)
    assert seen
    assert history.train_loss != plain.train_loss


def test_first_step_is_adamws(train, make_model):
    """One step moves each weight by the rate against its gradient; matrices decay."""
    model, _ = train(max_epochs=1, steps_per_epoch=1, weight_decay=0.5, lr=1e-3)
    start = dict(make_model().named_parameters())
    moved = 0
    for name, parameter in model.named_parameters():
        before = start[name].detach()
        if parameter.ndim >= 2:
            before = before * (1 - 1e-3 * 0.5)
        change = (parameter.detach() - before).abs()
        assert float(change.max()) < 1e-3 * 1.001, name
        moved += int((change > 0.99e-3).sum())
    assert moved > 1000


def test_loss_that_is_not_finite(train):
    """A loss of NaN stops training at once, with the place and what to do."""
    with pytest.raises(RuntimeError, match="got nan in epoch 1, batch 0; lower lr"):
        train(objective=MaskedReconstruction(_NoLoss()))


def test_gradient_is_clipped(train):
    """A loss a million times as large trains as well: gradients are clipped."""

    class Large(SignalSpectrumLoss):
        def __call__(self, *args):
            return 1e6 * super().__call__(*args)

    model, _ = train(objective=MaskedReconstruction(Large()), clip=1e-3)
    other, _ = train(objective=MaskedReconstruction(SignalSpectrumLoss()), clip=1e-3)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-2, atol=1e-4)


def test_short_windows(train, rng):
    """Windows of two and a half patches train without NaN, as do mixed lengths."""
    values = rng.standard_normal((32, 16, 100)).astype(np.float16)
    for n_valid in (np.full(32, 25), rng.integers(8, 101, 32)):
        windows = WindowArray(values, unit=4e-13, n_valid=n_valid)
        for bf16 in (False, True):
            model, history = train(
                windows=windows, max_epochs=3, steps_per_epoch=4, bf16=bf16
            )
            assert np.isfinite(history.train_loss + history.valid_loss).all()
            assert all(torch.isfinite(p).all() for p in model.parameters())


def test_loss_leaves_out_what_was_not_recorded(train, rng):
    """Only hidden patches that were recorded as a whole are compared."""
    n_valid = np.repeat([100, 47, 20, 9], 8)
    loudness = np.repeat([0.25, 0.5, 1.0, 2.0], 8)[:, None, None]  # to tell them by
    values = loudness * rng.standard_normal((32, 16, 100))
    windows = WindowArray(values.astype(np.float16), unit=4e-13, n_valid=n_valid)
    most = {-2: 0, -1: 0, 0: 0, 1: 0}

    class Watching(SignalSpectrumLoss):
        def __call__(self, predicted, target, hidden):
            kinds = target[:, :, 0].square().mean((1, 2, 3)).sqrt().log2()
            for kind, where in zip(kinds.tolist(), hidden.any(1), strict=True):
                last = int(where.nonzero().max()) + 1 if where.any() else 0
                most[round(kind)] = max(most[round(kind)], last)
            return super().__call__(predicted, target, hidden)

    train(
        windows=windows,
        objective=MaskedReconstruction(Watching()),
        max_epochs=3,
        steps_per_epoch=8,
    )
    assert most == {-2: 10, -1: 4, 0: 2, 1: 0}


def test_too_little_data(train, rng):
    """One window, and windows of less than a patch, are refused."""
    values = rng.standard_normal((2, 16, 100)).astype(np.float16)
    with pytest.raises(ValueError, match="at least 2 windows to pretrain on, got 1"):
        train(windows=WindowArray(values[:1]))
    with pytest.raises(ValueError, match="whole patch of 10 samples.*most 9 samples"):
        train(windows=WindowArray(values, n_valid=np.array([9, 4])))


def test_trains_in_place_with_other_tokens_untouched(train, make_model):
    """Buffers (kernel, axes) stay what they were."""
    model, _ = train()
    for name, buffer in make_model().named_buffers():
        assert torch.equal(dict(model.named_buffers())[name], buffer), name


def test_history_csv(tmp_path):
    """The history is a table that others read."""
    history = History()
    history.append(epoch=1, train_loss=0.5, valid_loss=0.25, lr=1e-3)
    history.append(epoch=2, train_loss=0.4, valid_loss=0.3, lr=5e-4)
    history.to_csv(tmp_path / "history.csv")
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["valid_loss"]) for row in rows] == [0.25, 0.3]
    assert list(rows[0]) == ["epoch", "train_loss", "valid_loss", "lr"]
    assert history.best_epoch == 1
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]
    history.append(
        epoch=3, train_loss=0.4, valid_loss=0.3, lr=5e-4, r2={"all": 0.5, "rest": 0.25}
    )
    assert list(history.columns)[4:] == ["r2_all", "r2_rest"]
