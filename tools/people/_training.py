"""Train the participant encoder on people simulated as it goes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mne_megfm.models.participant_statistics import PersonStatistics, Statistics
from mne_megfm.models.posterior_encoder import (
    N_PARAMETERS,
    PARAMETER_NAMES,
    Inputs,
    PosteriorConfig,
    PosteriorEncoder,
    hide,
    posterior_loss,
)

from ._simulator import N_REST, N_TRIALS, FieldBank, simulate

COUNTS = (N_REST, N_TRIALS, N_TRIALS)
SPANS = ((0, 250), (0, 250), (0, 250), (25, 175), (25, 250), (0, 200))
N_WINDOWS = sum(COUNTS)


class Buffer:
    """People that were simulated last, as half precision on the device.

    Parameters
    ----------
    size : int
        How many people are kept.
    """

    def __init__(self, size: int) -> None:
        self.size, self.count, self.parts = size, 0, None

    def add(self, people: Inputs, scores: Tensor) -> None:
        """Add people; the oldest go."""
        new = [*people, scores]
        if self.parts is None:
            kinds = [torch.bfloat16] * 4 + [torch.bool] * 2 + [torch.float32]
            self.parts = [
                x.new_empty(self.size, *x.shape[1:], dtype=kind)
                for x, kind in zip(new, kinds, strict=True)
            ]
        n = len(scores)
        index = (torch.arange(n, device=scores.device) + self.count) % self.size
        for kept, x in zip(self.parts, new, strict=True):
            kept[index] = x.to(kept.dtype)
        self.count += n

    def __len__(self) -> int:
        return min(self.count, self.size)

    def take(self, index: Tensor) -> tuple[Inputs, Tensor]:
        """Get some people and their scores."""
        *people, scores = (x[index] for x in self.parts)
        return Inputs(*people), scores


class Supply:
    """Simulated people by the chunk.

    Parameters
    ----------
    arrays : dict of ndarray
        A field bank.
    device : str
        Where.
    seed : int
        Seed of all that is drawn.
    """

    def __init__(self, arrays, device: str, seed: int) -> None:
        self.bank = FieldBank.of(arrays, device)
        places = [
            torch.as_tensor(arrays[k]).to(device) for k in ("place_gain", "places")
        ]
        self.readers = {span: PersonStatistics(*places, span) for span in set(SPANS)}
        self.generator = torch.Generator(device).manual_seed(seed)
        self.host = torch.Generator().manual_seed(seed)
        self.n_chunks = 0

    @torch.no_grad()
    def draw(
        self,
        n: int,
        scores: Tensor | None = None,
        complete: bool = False,
        entries: Tensor | None = None,
    ) -> tuple[Statistics, Tensor, Tensor]:
        """Simulate a chunk of people and read their statistics."""
        coin = torch.rand(2, generator=self.host).tolist()
        people = simulate(
            self.bank, n, self.generator, scores, entries, filtered=coin[0] < 0.5
        )
        device = people.data.device
        states = torch.ones(n, 3, dtype=torch.bool, device=device)
        if not complete:
            lost = torch.rand(n, generator=self.generator, device=device)
            which = torch.randint(3, (n,), generator=self.generator, device=device)
            states[torch.arange(n, device=device), which] = lost > 0.25
        keep = states.repeat_interleave(
            torch.tensor(COUNTS, device=device), 1, output_size=N_WINDOWS
        )
        valid = people.valid & keep
        span = SPANS[0] if complete else SPANS[int(coin[1] * len(SPANS))]
        self.n_chunks += 1
        statistics = self.readers[span](people.data, valid, people.times, COUNTS)
        return statistics, people.scores, states


@dataclass
class Settings:
    """How the encoder is trained.

    Parameters
    ----------
    minutes : float
        Time that training may take, by the clock.
    chunk, batch : int
        People simulated together, and in a step.
    buffer : int
        People kept on the device.
    reuse : float
        Steps a simulated batch is worth.
    lr, weight_decay : float
        Of AdamW.
    hide_share, hide_weight : float
        Share of tokens that are hidden, and weight of their loss.
    """

    minutes: float = 8.5
    chunk: int = 256
    batch: int = 384
    buffer: int = 131072
    reuse: float = 6.0
    lr: float = 1e-3
    weight_decay: float = 0.05
    hide_share: float = 0.25
    hide_weight: float = 0.3
    n_valid: int = 1024
    warm: int = 200
    report_every: float = 20.0
    encoder: PosteriorConfig = field(default_factory=PosteriorConfig)


def evaluate(model, people: list[tuple[Inputs, Tensor]]) -> dict[str, Tensor]:
    """Compare posteriors with the truth of people that were kept aside."""
    model.eval()
    found = []
    kind = next(model.parameters()).device.type
    with torch.no_grad(), torch.autocast(kind, torch.bfloat16):
        for inputs, scores in people:
            mean, log_var, _ = model(inputs)
            found.append((mean, log_var, scores))
    mean, log_var, z = (torch.cat(x) for x in zip(*found, strict=True))
    around = z - z.mean(0)
    r2 = 1 - (z - mean).square().sum(0) / around.square().sum(0)
    inside = ((z - mean).abs() < 1.2816 * (0.5 * log_var).exp()).float().mean(0)
    nll = posterior_loss(mean, log_var, z).mean()
    return dict(r2=r2, coverage=inside, nll=nll)


def flops_of_step(model: PosteriorEncoder, batch: int, n_tokens: int) -> float:
    """Count the operations of matrix products of one step, forward and backward."""
    c = model.config
    d = c.d_model
    layer = 2 * n_tokens * d * d * (4 + 2 * c.mlp_ratio) + 4 * n_tokens**2 * d
    ends = sum(
        2 * count * linear.weight.numel()
        for count, linear in (
            (20, model.embed["places"]),
            (80, model.embed["averages"]),
            (80, model.embed["trials"]),
            (5, model.rebuild["places"]),
            (20, model.rebuild["averages"]),
            (20, model.rebuild["trials"]),
        )
    )
    return 3.0 * batch * (c.n_layers * layer + ends)


def train(
    arrays, settings: Settings, device: str, seed: int, save, log=print, start=None
) -> PosteriorEncoder:
    """Train an encoder.

    Parameters
    ----------
    arrays : dict of ndarray
        Field bank.
    settings : Settings
        How.
    device : str
        Where.
    seed : int
        Seed.
    save : callable
        Called with model, and a dict of figures, from time to time.
    log : callable
        Called with lines of text.
    start : dict of Tensor, optional
        Weights to go on from.

    Returns
    -------
    model : PosteriorEncoder
        The moving average of the weights.
    """
    begun = time.monotonic()
    cuda = device.startswith("cuda")
    torch.manual_seed(seed)
    supply = Supply(arrays, device, seed)
    kept = Supply(arrays, device, seed + 10_000)
    c = settings
    n_first = -(-min(1024, c.buffer) // c.chunk)
    first = [supply.draw(c.chunk, complete=True) for _ in range(n_first)]
    model = PosteriorEncoder(c.encoder, rebuilds=True).to(device)
    if start is not None:
        model.load_state_dict({k: v.float() for k, v in start.items()})
    model.fit_scales(Statistics.join([statistics for statistics, *_ in first]))

    @torch.no_grad()
    def ready(statistics, scores, states):
        return model.standard(statistics, states), scores

    def half(inputs, scores):
        return Inputs(
            *(x.bfloat16() if x.is_floating_point() else x for x in inputs)
        ), scores

    buffer = Buffer(c.buffer)
    for one in first:
        buffer.add(*ready(*one))
    del first
    n_chunks = -(-c.n_valid // c.chunk)
    valid = [half(*ready(*kept.draw(c.chunk))) for _ in range(n_chunks)]
    whole = [half(*ready(*kept.draw(c.chunk, complete=True))) for _ in range(n_chunks)]
    average = PosteriorEncoder(c.encoder, rebuilds=True).to(device)
    average.load_state_dict(model.state_dict())
    n_weights = sum(p.numel() for p in model.parameters())
    log(
        f"{n_weights} weights, {N_PARAMETERS} parameters, "
        f"set up in {time.monotonic() - begun:.1f} s"
    )
    optimizer = torch.optim.AdamW(
        model.parameters(),
        c.lr,
        weight_decay=c.weight_decay,
        betas=(0.9, 0.98),
        fused=cuda,
    )
    step, spent_sim, spent_train, history = 0, 0.0, 0.0, []
    first_step = last = time.monotonic()
    until = begun + 60 * c.minutes
    wanted = 0.0
    losses = []

    def now():
        if cuda:
            torch.cuda.synchronize()
        return time.monotonic()

    while True:
        t0 = now()
        done = (t0 - first_step) / max(until - first_step, 1e-6)
        if done >= 1.0:
            break
        buffer.add(*ready(*supply.draw(c.chunk)))
        t1 = now()
        spent_sim += t1 - t0
        wanted += c.reuse * c.chunk / c.batch
        model.train()
        while wanted >= 1.0:
            wanted -= 1.0
            # warm up, stay, and fall to zero over the last 40 % of the time
            rate = min(1.0, (step + 1) / c.warm) * min(1.0, (1.0 - done) / 0.4)
            for group in optimizer.param_groups:
                group["lr"] = c.lr * max(rate, 1e-3)
            index = torch.randint(len(buffer), (c.batch,), device=device)
            people, scores = buffer.take(index)
            # what is hidden is rebuilt; every other step sees everything
            hidden = hide(people, c.hide_share) if step % 2 else None
            with torch.autocast(device.split(":")[0], torch.bfloat16):
                mean, log_var, rebuilt = model(people, hidden)
                own = posterior_loss(mean, log_var, scores).mean()
                loss = own + c.hide_weight * rebuilt
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step += 1
            decay = min(0.998, 1 - 1 / (step / 10 + 2))
            with torch.no_grad():
                torch._foreach_lerp_(
                    list(average.parameters()), list(model.parameters()), 1 - decay
                )
            losses.append(torch.stack([own.detach(), 2 * rebuilt.detach()]))
        t2 = now()
        spent_train += t2 - t1
        if t2 - last >= c.report_every:
            last = t2
            found = evaluate(average, valid)
            complete = evaluate(average, whole)
            people = supply.n_chunks * c.chunk
            seconds = t2 - first_step
            n_tokens = c.encoder.n_person + 1 + 20 + 80 + 80
            flops = (
                flops_of_step(model, c.batch, n_tokens) * step / max(spent_train, 1e-6)
            )
            recent = torch.stack(losses[-200:]).mean(0).tolist() if losses else [0, 0]
            figures = dict(
                step=step,
                people=people,
                seconds=seconds,
                people_per_s=people / seconds,
                windows_per_s=people * N_WINDOWS / seconds,
                simulated_windows_per_s=people * N_WINDOWS / max(spent_sim, 1e-6),
                share_simulating=spent_sim / seconds,
                share_training=spent_train / seconds,
                steps_per_s_training=step / max(spent_train, 1e-6),
                training_tflops=flops / 1e12,
                mfu=flops / 784e12,
                loss=recent[0],
                rebuilt=recent[1],
                nll=float(found["nll"]),
                r2=float(found["r2"].mean()),
                nll_complete=float(complete["nll"]),
                r2_complete=float(complete["r2"].mean()),
                coverage=float(found["coverage"].mean()),
            )
            history.append(figures)
            log(" ".join(f"{k}={v:.4g}" for k, v in figures.items()))
            save(
                average,
                dict(
                    history=history,
                    r2=dict(zip(PARAMETER_NAMES, complete["r2"].tolist(), strict=True)),
                ),
            )
    final = evaluate(average, whole)
    some = evaluate(average, valid)
    log(
        f"final R2 {final['r2'].mean():.4f} with all states, "
        f"{some['r2'].mean():.4f} as they come"
    )
    for name, r2, inside in sorted(
        zip(
            PARAMETER_NAMES,
            final["r2"].tolist(),
            final["coverage"].tolist(),
            strict=True,
        ),
        key=lambda x: -x[1],
    ):
        log(f"{name:26s} R2 {r2:6.3f}  80 % interval {inside:5.3f}")
    save(
        average,
        dict(
            history=history,
            r2=dict(zip(PARAMETER_NAMES, final["r2"].tolist(), strict=True)),
            coverage=dict(
                zip(PARAMETER_NAMES, final["coverage"].tolist(), strict=True)
            ),
        ),
    )
    if math.isnan(float(final["nll"])):
        raise RuntimeError("Expected finite posteriors, got NaN.")
    return average
