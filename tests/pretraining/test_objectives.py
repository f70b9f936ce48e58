"""Objectives beside plain reconstruction, against closed forms."""

import copy
import itertools

import mne
import numpy as np
import pytest
import torch
from scipy.stats import linregress

from mne_megfm.models import (
    LatentPredictor,
    MaskedSignalTransformer,
    ModelConfig,
    RandomMasking,
    WindowArray,
    WindowBatch,
    band_powers,
    encoder_parameters,
    from_patches,
    to_patches,
    window_statistics,
)
from mne_megfm.plugins import make_backbone
from mne_megfm.pretraining import (
    BandBalancedReconstruction,
    ContrastiveRegression,
    LatentPrediction,
    MaskedReconstruction,
    ParticipantConsistency,
    SignalSpectrumLoss,
    StoppedError,
    TimeFrequencyCodes,
    WindowStatistics,
    build_objective,
    fit_objective,
    pretrain,
)
from mne_megfm.pretraining._run import read_run
from mne_megfm.store import ShardSampler

SIZES = {
    "n_sensors": 16,
    "n_regions": 4,
    "sfreq": 100.0,
    "patch_length": 10,
    "n_patches": 10,
    "d_model": 16,
    "n_layers": 1,
    "n_decoder_layers": 1,
}
CONFIG = ModelConfig(**SIZES)
EDGES = (4.0, 8.0, 13.0, 30.0)
TIME = torch.arange(100, dtype=torch.float64) / 100.0


def _sine(frequency, amplitude=1.0):
    """Windows of a sinusoid at all sensors, cut into patches."""
    wave = amplitude * torch.sin(2 * torch.pi * frequency * TIME + 0.3)
    return to_patches(wave.expand(2, 16, 100), CONFIG)


def _everywhere(n=2):
    return torch.ones(n, 4, 10, dtype=torch.bool)


def _balanced(predicted, target, hidden, **params):
    objective = BandBalancedReconstruction(**params)
    return objective._loss(CONFIG, predicted, target, hidden)


# -- band-balanced ---------------------------------------------------------------------
@pytest.mark.parametrize("n_times", [100, 101])
def test_band_powers(rng, n_times):
    """As sums of the periodogram of NumPy; together the sum of squares (Parseval)."""
    signals = rng.standard_normal((3, 2, n_times))
    got = band_powers(torch.from_numpy(signals), 100.0, EDGES).numpy()
    assert np.allclose(got.sum(-1), (signals**2).sum(-1), rtol=1e-12)
    power = np.abs(np.fft.fft(signals)) ** 2 / n_times
    frequency = np.abs(np.fft.fftfreq(n_times, 0.01))
    ends = [0.0, *EDGES, np.inf]
    for band in range(5):
        inside = (frequency >= ends[band]) & (frequency < ends[band + 1])
        assert np.allclose(got[..., band], power[..., inside].sum(-1), rtol=1e-12)


@pytest.mark.parametrize("lost", [2.0, 6.0, 10.0, 20.0, 40.0])
@pytest.mark.parametrize("amplitudes", [(1.0,) * 5, (30.0, 10.0, 3.0, 1.0, 0.3)])
def test_bands_cost_the_same(lost, amplitudes):
    """A rhythm that is missing costs a fifth, however weak it is."""
    frequencies = (2.0, 6.0, 10.0, 20.0, 40.0)
    parts = {f: _sine(f, a) for f, a in zip(frequencies, amplitudes, strict=True)}
    target = sum(parts.values())
    loss = _balanced(target - parts[lost], target, _everywhere(), floor=0.0)
    assert float(loss) == pytest.approx(0.2, rel=1e-9)
    # with the floor that is set, to 1 % of that
    loss = _balanced(target - 0.5 * parts[lost], target, _everywhere())
    assert float(loss) == pytest.approx(0.05, rel=0.02)


def test_bands_cost_nearly_the_same_in_masks(rng):
    """Power as 1/f, 80 % of tokens hidden: squares are of delta, the loss of all."""
    frequency = np.fft.rfftfreq(100, 0.01)
    spectrum = rng.standard_normal((40, 16, 51, 2)).view(complex)[..., 0]
    spectrum *= np.where(frequency > 0, np.maximum(frequency, 0.5), np.inf) ** -0.5
    band = np.digitize(frequency + 1e-9, EDGES)
    parts = [
        to_patches(torch.from_numpy(np.fft.irfft(spectrum * (band == b), 100)), CONFIG)
        for b in range(5)
    ]
    target = 50 * sum(parts)
    hidden = torch.from_numpy(rng.random((40, 4, 10)) < 0.8)
    at, squares, costs = hidden[..., None, None], [], []
    for part in parts:
        squares.append(float((part * 50 * at).square().sum()))
        costs.append(float(_balanced(target - 50 * part, target, hidden)))
    squares = np.array(squares) / sum(squares)
    assert squares[0] > 0.38 and squares[1:].max() < 0.25
    assert 0.16 < min(costs) and max(costs) < 0.25


@pytest.mark.parametrize("edges", [(15.0,), (5.0, 15.0)])
def test_other_bands(edges):
    """Bands are those that are asked for."""
    target = _sine(10.0, 5.0) + _sine(20.0, 0.1)
    loss = _balanced(target - _sine(20.0, 0.1), target, _everywhere(), edges=edges)
    # of two bands one is lost; of three, one of which is empty, too
    assert float(loss) == pytest.approx(1 / (len(edges) + 1), rel=1e-2)


def test_share_that_is_not_explained(rng):
    """Nothing predicted costs 1 wherever the mask is, and a share its square."""
    target = torch.from_numpy(rng.standard_normal((3, 4, 10, 4, 10)).cumsum(-1))
    hidden = torch.from_numpy(rng.random((3, 4, 10)) < 0.4)
    for share in (0.0, 0.7, 1.0):
        predicted = torch.where(hidden[..., None, None], share * target, 1e3)
        loss = _balanced(predicted, target, hidden, floor=0.0)
        assert float(loss) == pytest.approx((1 - share) ** 2, abs=1e-12)
    # in units of the window, and without windows of which nothing is hidden
    scale = torch.tensor([1.0, 7.0, 0.1])[:, None, None, None, None]
    predicted = torch.from_numpy(rng.standard_normal(target.shape))
    one = _balanced(predicted, target, hidden)
    assert torch.allclose(_balanced(predicted * scale, target * scale, hidden), one)
    alone = _balanced(predicted[1:], target[1:], hidden[1:])
    hidden[0] = False
    assert torch.allclose(_balanced(predicted, target, hidden), alone)


def test_balance_against_numpy(rng):
    """Random signals give what the formula gives."""
    target, predicted = rng.standard_normal((2, 2, 4, 10, 4, 10))
    hidden = rng.random((2, 4, 10)) < 0.5
    windows = [
        from_patches(torch.from_numpy(x * hidden[..., None, None]), CONFIG).numpy()
        for x in (predicted - target, target)
    ]
    frequency = np.abs(np.fft.fftfreq(100, 0.01))
    band = np.digitize(np.round(frequency), EDGES)
    error, power = (
        np.stack(
            [(np.abs(np.fft.fft(w)) ** 2)[..., band == b].sum((1, 2)) for b in range(5)]
        )
        for w in windows
    )
    expected = np.mean(error / (power + 0.01 * power.sum(0)))
    args = map(torch.from_numpy, (predicted, target, hidden))
    assert float(_balanced(*args, floor=0.01)) == pytest.approx(expected, rel=1e-10)


def test_gradient_of_balance(rng):
    predicted, target = (
        torch.from_numpy(rng.standard_normal((1, 4, 10, 4, 10))) for _ in range(2)
    )
    hidden = torch.zeros(1, 4, 10, dtype=torch.bool)
    hidden[0, 1, 3:5] = True
    predicted = predicted[:, 1, 3:5].clone().requires_grad_()

    def loss(part):
        whole = target.clone()
        whole[:, 1, 3:5] = part
        return _balanced(whole, target, hidden)

    assert torch.autograd.gradcheck(loss, predicted)


def test_silent_windows_of_balance():
    """A window without signal has neither loss nor gradient; others keep theirs."""
    target = torch.cat([torch.zeros(1, 4, 10, 4, 10), torch.randn(1, 4, 10, 4, 10)])
    predicted = torch.full(target.shape, 0.1, requires_grad=True)
    loss = _balanced(predicted, target, _everywhere())
    alone = _balanced(predicted[1:], target[1:], _everywhere(1))
    assert torch.equal(loss, alone)
    assert not _balanced(predicted[:1], target[:1], _everywhere(1)).any()
    loss.backward()
    assert not predicted.grad[0].any() and torch.isfinite(predicted.grad).all()


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"edges": (8.0, 4.0)}, "frequencies in Hz that rise"),
        ({"edges": ()}, "frequencies in Hz that rise"),
        ({"edges": "4, 8"}, "frequencies in Hz that rise"),
        ({"edges": 4.0}, "frequencies in Hz that rise"),
        ({"edges": (0.0, 4.0)}, "frequencies in Hz that rise"),
        ({"floor": -1.0}, "floor to be a number"),
    ],
)
def test_wrong_bands(params, match):
    with pytest.raises(ValueError, match=match):
        BandBalancedReconstruction(**params)


def test_edges_from_arrays_and_lists():
    """They are the same objective, for a run that is continued."""
    texts = {repr(BandBalancedReconstruction(e)) for e in ([4, 8], np.array([4.0, 8]))}
    assert texts == {"BandBalancedReconstruction(edges=(4.0, 8.0), floor=1e-06)"}


@pytest.mark.parametrize(
    ("edges", "match"),
    [((4.2, 4.8, 30.0), "from 4.2 to 4.8 Hz"), ((4.0, 60.0), "from 60 to 50 Hz")],
)
def test_bands_without_frequencies(edges, match):
    """Bands that the windows of a model cannot have are refused before training."""
    objective = BandBalancedReconstruction(edges)
    with pytest.raises(ValueError, match=match):
        objective.build(MaskedSignalTransformer(CONFIG))


# -- what the others share -------------------------------------------------------------
JOINT = {
    "statistics": WindowStatistics,
    "participant-consistency": ParticipantConsistency,
    "latent": LatentPrediction,
    "time-frequency codes": TimeFrequencyCodes,
    "contrastive": ContrastiveRegression,
}
#: Those that train parameters of their own.
WITH_STATE = {"statistics", "latent", "time-frequency codes", "contrastive"}


def _build(objective, model, batch):
    """Make an objective ready, as `pretrain` does."""
    build_objective(objective, model, 0)
    fit_objective(objective, model, batch, 0)


@pytest.fixture
def windows(rng):
    """Eight participants with a spectrum of their own, six windows each."""
    time = np.arange(100) / 100.0
    mixing, values = rng.standard_normal((16, 2)), []
    for number in range(8):
        phase = rng.uniform(0, 2 * np.pi, (6, 2, 1))
        rhythm = np.sin(2 * np.pi * np.array([[3.0], [6.0 + number]]) * time + phase)
        values.append(mixing @ rhythm)
    values = np.concatenate(values) + 0.1 * rng.standard_normal((48, 16, 100))
    who = np.repeat(np.arange(8), 6)
    return WindowArray(
        values.astype(np.float16),
        unit=4e-13,
        recording=who,
        participant=np.array([f"s{n}" for n in who]),
        targets=np.eye(8)[who] + np.tile([0.1, -0.1, 0.0], 16)[:, None],
    )


@pytest.fixture
def batch(windows):
    """Four windows of two participants, of which the last is short."""
    data, n_valid = windows.take([0, 1, 6, 7])
    n_valid[-1] = 60
    mask = torch.rand(4, 4, 10) < 0.5
    time = torch.arange(100)
    return WindowBatch(
        torch.where((time < n_valid[:, None])[:, None], data, 0.0),
        n_valid,
        mask,
        participant=torch.tensor([0, 0, 1, 1]),
        targets=torch.tensor([[0.0, 2], [1, 1], [1, 1], [3, -1]]),
    )


def _train(windows, objective, **changes):
    torch.manual_seed(0)
    model = MaskedSignalTransformer(CONFIG)
    params = {
        "masking": RandomMasking(0.5),
        "max_epochs": 2,
        "steps_per_epoch": 3,
        "batch_size": 12,
        "validation_fraction": 0.3,
        "random_state": 3,
        **changes,
    }
    pos = torch.arange(4.0)[:, None] * torch.tensor([1.0, 0.0, 0.0])
    with mne.utils.use_log_level("error"):
        history = pretrain(model, windows, pos, objective=objective, **params)
    return model, history


@pytest.mark.parametrize("name", JOINT)
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_sum_of_terms(name, weight, batch):
    """The loss is that of the reconstruction plus the weight times the term."""
    model = MaskedSignalTransformer(CONFIG).eval()
    reconstruction = MaskedReconstruction(SignalSpectrumLoss(0.0))
    objective = JOINT[name](weight=weight, reconstruction=reconstruction)
    _build(objective, model, batch)
    measured = objective.measure(model, batch)
    alone = reconstruction.measure(model, batch)
    term = objective._term(model, batch)
    assert float(term.detach()) > 0
    torch.testing.assert_close(measured.loss, alone.loss + weight * term)
    torch.testing.assert_close(objective(model, batch), measured.loss)
    assert torch.equal(measured.error, alone.error)
    assert torch.equal(measured.power, alone.power)


@pytest.mark.parametrize("name", JOINT)
def test_term_ignores_hidden_and_missing_samples(name, batch):
    """What is predicted from does not depend on what is hidden, or not recorded."""
    model = MaskedSignalTransformer(CONFIG).eval()
    objective = JOINT[name]()
    _build(objective, model, batch)
    seen = []
    encode = model.encode
    model.encode = lambda *args: seen.append(encode(*args)) or seen[-1]
    objective._term(model, batch)
    hidden = batch.mask.repeat_interleave(4, 1).repeat_interleave(10, 2)
    batch.windows = torch.where(hidden, 3e-12, batch.windows)
    objective._term(model, batch)
    assert torch.equal(*seen) and seen[0].any()


@pytest.mark.parametrize("name", ["band-balanced", *JOINT])
def test_training_and_continuing(name, windows, tmp_path):
    """Training lowers the loss; interrupted, it ends with the same weights."""
    _, history = _train(windows, name, max_epochs=4, steps_per_epoch=12, lr=5e-3)
    assert history.train_loss[-1] < 0.93 * history.train_loss[0]
    assert np.isfinite(history.valid_loss).all()
    assert set(history.r2) == {"all"}
    given = {"max_epochs": 2, "steps_per_epoch": 3}
    model, history = _train(windows, name, **given, directory=tmp_path / "one")
    steps = iter([False] * 3 + [True])
    with pytest.raises(StoppedError, match="after step 4"):
        _train(
            windows,
            name,
            **given,
            directory=tmp_path / "two",
            stop=lambda: next(steps),
        )
    again, continued = _train(windows, name, **given, directory=tmp_path / "two")
    assert continued.columns == history.columns
    for key, array in model.state_dict().items():
        assert torch.equal(array, again.state_dict()[key]), key
    # also what the objective trains of its own
    one, two = (read_run(tmp_path / n / "run.safetensors")[1] for n in ("one", "two"))
    own = [key for key in one if key.startswith("objective.")]
    assert bool(own) == (name in WITH_STATE)
    for key in own:
        assert torch.equal(one[key], two[key]), key


@pytest.mark.parametrize("name", ["band-balanced", *JOINT])
def test_lower_precision(name, windows):
    """In bfloat16, losses are near those of full precision."""
    given = {"max_epochs": 1, "steps_per_epoch": 2}
    exact, rough = (_train(windows, name, bf16=b, **given)[1] for b in (False, True))
    assert rough.train_loss == pytest.approx(exact.train_loss, rel=0.03)
    assert rough.valid_loss == pytest.approx(exact.valid_loss, rel=0.03)
    assert rough.columns != exact.columns


@pytest.mark.parametrize("name", JOINT)
def test_other_weights_are_another_run(name, windows, tmp_path):
    given = {"max_epochs": 1, "steps_per_epoch": 1, "directory": tmp_path}
    _train(windows, JOINT[name](weight=0.5), **given)
    with pytest.raises(ValueError, match=r"weight=0\.5.* there, .*weight=0\.25"):
        _train(windows, JOINT[name](weight=0.25), **given)


@pytest.mark.parametrize("name", JOINT)
def test_instances_start_again(name, windows):
    """An objective that was trained before begins from the seed."""
    objective = JOINT[name](reconstruction="log-error")
    one, two = (_train(windows, objective, max_epochs=1)[1] for _ in range(2))
    assert one.columns == two.columns


@pytest.mark.parametrize("name", JOINT)
def test_reconstruction_with_arguments(name):
    """As settings have them."""
    objective = JOINT[name](reconstruction={"name": "log-error", "floor": 0.5})
    assert objective.reconstruction.loss.floor == 0.5
    assert "LogErrorLoss(floor=0.5)" in repr(objective)


@pytest.mark.parametrize("name", JOINT)
def test_wrong_reconstruction(name):
    with pytest.raises(TypeError, match="Expected reconstruction to be the name"):
        JOINT[name](reconstruction="latent")
    with pytest.raises(ValueError, match="Expected weight to be a number"):
        JOINT[name](weight=-1.0)


# -- statistics ------------------------------------------------------------------------
def test_statistics_of_rhythms():
    """Log power of a sinusoid is the log of half its squared amplitude."""
    windows = from_patches(_sine(10.0, 2.0) + _sine(20.0, 0.5) + 7.0, CONFIG)
    windows[1, :8] *= 3.0
    got = window_statistics(windows, torch.tensor([100, 100]), CONFIG)
    assert got.shape == (2, 4, 6)
    expected = torch.log(torch.tensor([2.0, 0.125], dtype=torch.float64)).expand(4, 2)
    torch.testing.assert_close(got[0][:, [2, 3]], expected)
    stronger = torch.tensor([9.0, 9.0, 1.0, 1.0], dtype=torch.float64).log()
    torch.testing.assert_close(got[1][:, [2, 3]], expected + stronger[:, None])
    assert (got[0][:, [0, 1, 4]] < -20).all()


@pytest.mark.parametrize("slope", [0.0, -1.0, -2.5])
def test_slope(slope, rng):
    """A spectrum that is a power law has its exponent."""
    frequency = np.fft.rfftfreq(100, 0.01)
    amplitude = np.where(frequency > 0, np.maximum(frequency, 0.5), np.inf) ** slope
    phase = rng.uniform(0, 2 * np.pi, (2, 16, 51))
    spectrum = np.where(frequency > 0, np.sqrt(amplitude) * np.exp(1j * phase), 0)
    windows = torch.from_numpy(50 * np.fft.irfft(spectrum, 100))
    n_valid = torch.tensor([100, 100])
    got = window_statistics(windows, n_valid, CONFIG)[..., -1]
    torch.testing.assert_close(got, torch.full((2, 4), slope, dtype=torch.float64))


def test_statistics_against_numpy(rng):
    """Random windows of any length, as periodogram and regression have it."""
    windows = rng.standard_normal((2, 16, 100)).cumsum(-1)
    n_valid = np.array([100, 70])
    windows[1, :, 70:] = 0.0
    given = {"edges": (5.0, 20.0), "slope_range": (3.0, 30.0)}
    args = torch.from_numpy(windows), torch.from_numpy(n_valid), CONFIG
    got = window_statistics(*args, **given).numpy()
    frequency = np.fft.fftfreq(100, 0.01)[:51]
    fitted = np.flatnonzero((frequency >= 3) & (frequency <= 30))
    for i, n in enumerate(n_valid):
        x = windows[i].copy()
        x[:, :n] -= x[:, :n].mean(1, keepdims=True)
        power = (np.abs(np.fft.fft(x)) ** 2).reshape(4, 4, 100).mean(1) / n
        of_band = np.digitize(np.abs(np.fft.fftfreq(100, 0.01)), (5.0, 20.0))
        for band in range(3):
            mean = power[:, of_band == band].sum(1) / 100
            np.testing.assert_allclose(got[i, :, band], np.log(mean))
        for region in range(4):
            line = linregress(np.log(frequency[fitted]), np.log(power[region, fitted]))
            assert got[i, region, -1] == pytest.approx(line.slope)


def test_statistics_are_of_the_whole_window(batch):
    """The target is of hidden signal, too; the loss is Huber's."""
    model = MaskedSignalTransformer(CONFIG).eval()
    objective = WindowStatistics()
    build_objective(objective, model, 0)
    torch.nn.init.zeros_(objective.head.weight)
    torch.nn.init.zeros_(objective.head.bias)
    scaled, _ = model.scale(batch.windows, batch.n_valid, batch.mask)
    known = window_statistics(scaled.windows, batch.n_valid, CONFIG).abs()
    expected = torch.where(known < 1, known.square() / 2, known - 0.5).mean()
    torch.testing.assert_close(objective._term(model, batch), expected)
    # a head that tells the statistics has no loss
    with torch.no_grad():
        known = window_statistics(scaled.windows[:1], batch.n_valid[:1], CONFIG)
        objective.head.bias.copy_(known.flatten())
    alone = WindowBatch(batch.windows[:1], batch.n_valid[:1], batch.mask[:1])
    assert float(objective._term(model, alone).detach()) == pytest.approx(0.0, abs=1e-9)


def test_statistics_that_windows_do_not_have():
    model = MaskedSignalTransformer(CONFIG)
    for params, match in (
        ({"edges": (4.0, 70.0)}, "from 70 to 50 Hz"),
        ({"slope_range": (4.2, 4.9)}, "at least two frequencies"),
        ({"reconstruction": BandBalancedReconstruction((4.2, 4.8))}, "4.2 to 4.8 Hz"),
    ):
        with pytest.raises(ValueError, match=match):
            WindowStatistics(**params).build(model)
    with pytest.raises(ValueError, match="slope_range to be the lowest"):
        WindowStatistics(slope_range=(1.0, 2.0, 3.0))


# -- participant consistency -----------------------------------------------------------
def test_consistency_against_the_formula(rng):
    """The mean over pairs of minus the log of the share that the pair has."""
    embeddings = rng.standard_normal((7, 5))
    who = [0, 1, 0, 2, 1, 0, 3]
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    weight = np.exp(unit @ unit.T / 0.3)
    losses = []
    for i, p in itertools.permutations(range(7), 2):
        if who[i] == who[p]:
            others = sum(weight[i, k] for k in range(7) if who[k] != who[i])
            losses.append(-np.log(weight[i, p] / (weight[i, p] + others)))
    assert len(losses) == 8
    objective = ParticipantConsistency(temperature=0.3)
    args = torch.from_numpy(embeddings), torch.tensor(who)
    assert float(objective.consistency(*args)) == pytest.approx(np.mean(losses))


def test_extremes_of_consistency():
    """Participants that are alike cost log 2 and more; those apart nothing."""
    objective = ParticipantConsistency(temperature=0.05)
    who = torch.tensor([0, 0, 1])
    alike = torch.ones(3, 4, requires_grad=True)
    loss = objective.consistency(alike, who)
    assert float(loss.detach()) == pytest.approx(np.log(2))
    apart = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    assert float(objective.consistency(apart, who)) < 1e-6
    for who in ([0, 1, 2], [0, 0, 0]):  # no pair; nobody to tell apart
        loss = objective.consistency(alike, torch.tensor(who))
        loss.backward()
        assert float(loss.detach()) == pytest.approx(0.0, abs=1e-6)
        assert torch.isfinite(alike.grad).all()


def test_gradient_of_consistency(rng):
    objective = ParticipantConsistency(temperature=0.5)
    embeddings = torch.from_numpy(rng.standard_normal((5, 3))).requires_grad_()
    who = torch.tensor([0, 1, 0, 1, 2])
    assert torch.autograd.gradcheck(lambda x: objective.consistency(x, who), embeddings)


class _Seeing(ParticipantConsistency):
    """Keeps the batches."""

    def _term(self, model, batch):
        self.__dict__.setdefault("batches", []).append((self.training, batch))
        return super()._term(model, batch)


def test_batches_have_pairs(windows):
    """In training and validation, windows have another one of their participant.

    Neighbours in a batch share a mask, by which a pair must not be known.
    """
    objective = _Seeing()
    _train(windows, objective, max_epochs=4, steps_per_epoch=4)
    kinds, of_pair, shared = set(), [], []
    for training, batch in objective.batches:
        kinds.add(training)
        same = batch.participant[:, None] == batch.participant
        # the ends of a batch may divide a pair
        assert (same.sum(1) > 1).sum() >= len(batch) - 2 and not same.all()
        masks = batch.mask.flatten(1).double()
        others = torch.triu(torch.ones_like(same), 1)
        one_mask = (torch.cdist(masks, masks) == 0) & others
        of_pair.append(int((one_mask & same).sum()))
        shared.append(int(one_mask.sum()))
    assert kinds == {True, False}
    assert sum(shared) > 50 and sum(of_pair) < 0.4 * sum(shared)


def test_sampler_of_pairs(rng):
    """All windows once, each beside another of its group, in an order of the epoch."""
    groups = np.repeat(np.arange(9), [2, 3, 4, 5, 1, 2, 8, 7, 6])
    groups = rng.permutation(groups)
    index = 100 + np.arange(38)
    sampler = ShardSampler(index, 10, random_state=1, groups=groups)
    epochs = [list(sampler.epoch(number)) for number in (1, 2, 1)]
    for epoch in epochs:
        assert sorted(np.concatenate(epoch)) == sorted(index)
        assert [len(batch) for batch in epoch] == [10, 10, 9, 9]
        for batch in epoch:
            _, counts = np.unique(groups[batch - 100], return_counts=True)
            # besides the only window of a group, ends may divide a pair
            assert (counts == 1).sum() <= 3
    one, two, again = map(np.concatenate, epochs)
    assert (one == again).all() and (one != two).any()
    ranks = [
        ShardSampler(index, 10, random_state=1, groups=groups, rank=r, world_size=2)
        for r in range(2)
    ]
    for whole, *parts in zip(epochs[0], *(r.epoch(1) for r in ranks), strict=True):
        assert sorted(np.concatenate(parts)) == sorted(whole)
    with pytest.raises(ValueError, match="a group for each of 38 windows"):
        ShardSampler(index, 10, groups=groups[:-1])


def test_windows_without_pairs(windows):
    """What cannot be compared is said before training."""
    anonymous = copy.copy(windows)
    anonymous.participant = None
    with pytest.raises(ValueError, match="windows whose participant is known"):
        _train(anonymous, "participant-consistency")
    alone = copy.copy(windows)
    alone.participant = np.array([f"s{n}" for n in range(48)])
    with pytest.raises(ValueError, match="with two of one participant at least"):
        _train(alone, "participant-consistency")
    with pytest.raises(ValueError, match="held out with two of one participant"):
        _train(windows, "participant-consistency", validation_fraction=0.1)
    with pytest.raises(ValueError, match="at least 4 windows of a batch together"):
        _train(windows, "participant-consistency", batch_size=12, accumulate=6)


# -- latent ----------------------------------------------------------------------------
class _Recording(LatentPrediction):
    """Keeps the weights of the model after each step."""

    def after_step(self, model):
        super().after_step(model)
        weights = copy.deepcopy(model.state_dict())
        self.__dict__.setdefault("seen", []).append(weights)


def test_teacher_is_the_moving_average(windows):
    """After three steps: m^3 w0 + (1 - m) (m^2 w1 + m w2 + w3)."""
    objective = _Recording(momentum=0.8)
    torch.manual_seed(0)
    first = MaskedSignalTransformer(CONFIG).state_dict()
    _train(windows, objective, max_epochs=1, steps_per_epoch=3, accumulate=2)
    one, two, three = objective.seen
    moved = 0
    for name, got in objective.teacher.state_dict().items():
        expected = 0.512 * first[name].double() + 0.2 * (
            0.64 * one[name].double() + 0.8 * two[name] + three[name]
        )
        torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-7)
        moved += not torch.equal(got, first[name])
    assert moved > 15  # the encoder has no more that changes
    assert not objective.teacher.training
    assert not any(p.requires_grad for p in objective.teacher.parameters())


@pytest.mark.parametrize("backbone", ["masked-transformer", "hybrid-ssm"])
def test_teacher_is_the_encoder_alone(backbone, batch):
    """What `encode` does not use is not copied; tokens are those of the model."""
    sizes = {k: v for k, v in SIZES.items() if k != "n_decoder_layers"}
    model = make_backbone(backbone, sizes, torch.eye(16)).eval()
    objective = LatentPrediction()
    build_objective(objective, model, 0)
    used = {name for name, _ in encoder_parameters(model)}
    assert {name for name, _ in objective.teacher.named_parameters()} == used
    assert len(used) < len(list(model.parameters()))
    known = model.encode(batch.windows, batch.n_valid)
    got = objective.teacher.encode(batch.windows, batch.n_valid)
    assert torch.equal(got, known)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1.0
    assert torch.equal(objective.teacher.encode(batch.windows, batch.n_valid), got)
    objective.after_step(model)
    own = dict(objective.teacher.named_parameters())
    for name, parameter in encoder_parameters(model):
        torch.testing.assert_close(own[name], parameter - 0.996, rtol=0, atol=1e-5)


def test_latent_against_the_formula(batch):
    """Mean square between predictions and normalised tokens of the whole window."""
    model = MaskedSignalTransformer(CONFIG).eval()
    objective = LatentPrediction()
    build_objective(objective, model, 0)
    batch.scored = batch.mask & (torch.rand(batch.mask.shape) < 0.7)
    known = model.encode(batch.windows, batch.n_valid).detach().double().numpy()
    known = known - known.mean(-1, keepdims=True)
    known /= np.sqrt((known**2).mean(-1, keepdims=True) + 1e-5)
    tokens = model.encode(batch.windows, batch.n_valid, batch.mask)
    recorded = torch.arange(10) * 10 < batch.n_valid[:, None]
    predicted = objective.predictor(tokens, batch.mask, recorded).detach().numpy()
    at = (batch.scored & recorded[:, None]).numpy()
    expected = ((predicted - known) ** 2)[at].mean()
    got = objective._term(model, batch)
    assert float(got.detach()) == pytest.approx(expected, rel=1e-5)
    got.backward()
    assert model.embed.weight.grad.any()
    assert all(p.grad is None for p in objective.teacher.parameters())
    # nothing that is compared
    batch.scored = torch.zeros_like(batch.mask)
    assert float(objective._term(model, batch).detach()) == 0.0


def test_predicting_nothing_costs_one(batch):
    model = MaskedSignalTransformer(CONFIG).eval()
    objective = LatentPrediction()
    build_objective(objective, model, 0)
    for parameter in objective.predictor.leave.parameters():
        torch.nn.init.zeros_(parameter)
    assert float(objective._term(model, batch).detach()) == pytest.approx(1.0, rel=1e-3)


def test_predictor_ignores_what_was_not_recorded():
    """Tokens that are not recorded, or hidden, have no effect on predictions."""
    predictor = LatentPredictor(CONFIG, 8, 1)
    tokens = torch.randn(2, 4, 10, 16)
    hidden = torch.rand(2, 4, 10) < 0.5
    recorded = torch.arange(10) < torch.tensor([[10], [6]])
    one = predictor(tokens, hidden, recorded)
    lost = hidden | ~recorded[:, None]
    two = predictor(torch.where(lost[..., None], 5.0, tokens), hidden, recorded)
    kept = recorded[:, None].expand(hidden.shape)
    assert torch.allclose(one[kept], two[kept], atol=1e-6)
    nothing = torch.zeros_like(recorded)
    assert torch.isfinite(predictor(tokens, hidden, nothing)).all()


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"momentum": 1.0}, r"momentum to be in \[0, 1\)"),
        ({"width": 10}, "width to be a whole multiple of 4"),
        ({"n_layers": 0}, "n_layers to be a whole multiple of 1"),
    ],
)
def test_wrong_latent(params, match):
    with pytest.raises(ValueError, match=match):
        LatentPrediction(**params)


def test_not_built(batch):
    """An objective that is called by itself says what it lacks."""
    model = MaskedSignalTransformer(CONFIG)
    for name in WITH_STATE - {"contrastive"}:
        with pytest.raises(ValueError, match=r"call build\(model\) first"):
            JOINT[name]()(model, batch)
    built = TimeFrequencyCodes()
    built.build(model)
    for objective in (built, ContrastiveRegression()):
        with pytest.raises(ValueError, match=r"call fit\(model, batch\) first"):
            objective(model, batch)
