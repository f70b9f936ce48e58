"""Training of the network on the recordings of all people, by chunks of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mne.utils import ProgressBar, logger
from numpy.typing import NDArray
from torch import Tensor

from ..models import LatentSourceNetwork, bold
from ._hemodynamics import HRF_DURATION
from ._recordings import Person

#: Share of each story, its end, that tells when to stop.
VALIDATION = 0.15
# maps and kernels start where they are best for a linear model; at a tenth of the rate
# of the transformer they pick up more noise than it gains
_SLOW = 0.01
# epochs without a better score, after which training stops
_PATIENCE = 10


@dataclass
class Head:
    """What training needs of one person, as tensors.

    Attributes
    ----------
    gain : Tensor, shape (n_components, n_rows) | None
        Lead field after both whiteners.
    meg : dict of tuple
        By story the whitened data (n_times, n_components) and the weights of samples.
    fmri : dict of tuple
        By story the scans (n_scans, n_sources) and their samples.
    hrf : Tensor, shape (3,)
        Weights of the haemodynamic response and its derivatives. Trained.
    fit : tuple of Tensor | None
        Mean of the predicted response, and slope of fMRI on it, of each source.
    """

    gain: Tensor | None
    meg: dict[str, tuple[Tensor, Tensor]]
    fmri: dict[str, tuple[Tensor, Tensor]]
    hrf: Tensor
    fit: tuple[Tensor, Tensor] | None = None

    @classmethod
    def of(
        cls,
        person: Person,
        metric: NDArray | None,
        hrf: NDArray,
        device: torch.device,
    ) -> Head:
        """Make it.

        Parameters
        ----------
        person : Person
            Whose it is.
        metric : array | None
            Whitener of what is left of whitened MEG.
        hrf : array of shape (3,)
            Where the haemodynamic response starts.
        device : torch.device
            Where tensors are kept.

        Returns
        -------
        head : Head
            The tensors.
        """

        def tensor(x: NDArray) -> Tensor:
            return torch.as_tensor(x, dtype=torch.float32, device=device)

        gain, meg, fmri = None, {}, {}
        if metric is not None:
            gain = tensor(metric @ person.whitened_gain)
            for story, run in person.meg.items():
                data = run.data @ (metric @ person.whitener).T
                meg[story] = tensor(data), tensor(run.counts)
        for story, run in person.fmri.items():
            data = run.data / np.maximum(run.data.std(axis=0), 1e-12)
            fmri[story] = tensor(data), torch.as_tensor(run.at, device=device)
        return cls(gain, meg, fmri, tensor(hrf).requires_grad_())


@dataclass(frozen=True)
class Penalties:
    """Weights of what is added to the error.

    Attributes
    ----------
    fmri : float
        Weight of the error of fMRI, with that of MEG at 1.
    smoothness : float
        Of squared differences between maps of neighbouring sources.
    temporal : float
        Of squared differences between components of successive samples.
    precision : Tensor, shape (n_sources,) | None
        Inverse prior variance of the maps before smoothing.
    laplacian : Tensor
        Sparse, shape (n_sources, n_sources).
    smoothing : Tensor
        The operator whose inverse smooths, as `laplacian`.
    evidence : Tensor, shape (n_sources,) | None
        Weights of sources in the error of fMRI, of mean 1.
    """

    fmri: float
    smoothness: float
    temporal: float
    precision: Tensor | None
    laplacian: Tensor
    smoothing: Tensor
    evidence: Tensor | None


class Trainer:
    """Errors of a network on all people, and steps that lower them.

    Parameters
    ----------
    network : LatentSourceNetwork
        Changed in place.
    heads : dict of Head
        People.
    stimulus : dict of array
        Features by story.
    kernels : Tensor, shape (3, n_lags) | None
        Haemodynamic responses at the rate of the stimulus.
    penalties : Penalties
        What is added to the error.
    sfreq : float
        Rate of the stimulus in Hz.
    chunk : float
        Length of a mini-batch in s.
    response : str
        What fMRI follows, ``'power'`` or ``'amplitude'``.
    """

    def __init__(
        self,
        network: LatentSourceNetwork,
        heads: Mapping[str, Head],
        stimulus: Mapping[str, NDArray],
        kernels: Tensor | None,
        penalties: Penalties,
        sfreq: float,
        chunk: float,
        response: str,
    ) -> None:
        self.network, self.heads, self.penalties = network, heads, penalties
        device = network.maps.device
        self.stimulus = {
            s: torch.as_tensor(x, dtype=torch.float32, device=device)
            for s, x in stimulus.items()
        }
        self.kernels, self.sfreq, self.response = kernels, sfreq, response
        self.chunk = max(int(chunk * sfreq), 2)
        used = {s for h in heads.values() for s in (*h.meg, *h.fmri)}
        self.stories = [s for s in stimulus if s in used]
        self._n_samples = sum(
            float(w.sum()) * len(h.gain)
            for h in heads.values()
            for _, w in h.meg.values()
        )

    def chunks(self, part: str) -> list[tuple[str, int, int]]:
        """List mini-batches of the part for training, for validation, or of all."""
        out = []
        for story in self.stories:
            n_times = len(self.stimulus[story])
            split = int(n_times * (1 - VALIDATION))
            first, last = {
                "train": (0, split),
                "validation": (split, n_times),
                "all": (0, n_times),
            }[part]
            n_chunks = max(1, round((last - first) / self.chunk))
            edges = np.linspace(first, last, n_chunks + 1).astype(int)
            out += [
                (story, int(a), int(b)) for a, b in zip(edges, edges[1:], strict=False)
            ]
        return out

    def errors(
        self, story: str, first: int, last: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the errors of a chunk.

        Parameters
        ----------
        story : str
            Whose.
        first, last : int
            Its samples.

        Returns
        -------
        meg : Tensor
            Sum of squared errors over whitened samples, over those of the data.
        fmri : Tensor
            Weighted mean of squared errors, over those of the data.
        components : Tensor, shape (n_times, n_components)
            Courses of the chunk.
        """
        history = self.network.config.history
        if any(story in h.fmri for h in self.heads.values()):
            history += int(HRF_DURATION * self.sfreq)
        start = max(0, first - history)
        components = self.network(self.stimulus[story][None, start:last])[0]
        inside = components[first - start :]
        meg, count, fmri, n_fmri = torch.zeros(()), 0.0, torch.zeros(()), 0
        meg, fmri = meg.to(inside.device), fmri.to(inside.device)
        for head in self.heads.values():
            if story in head.meg:
                data, weight = (x[first:last] for x in head.meg[story])
                error = data - inside @ (head.gain @ self.network.maps).mT
                meg = meg + (error.square().mean(1) * weight).sum()
                count += float(weight.sum())
            if story in head.fmri and self.kernels is not None:
                error = self._fmri_error(head, story, components, start, first, last)
                if error is not None:
                    fmri, n_fmri = fmri + error, n_fmri + 1
        return meg / max(count, 1.0), fmri / max(n_fmri, 1), inside

    def _fmri_error(
        self,
        head: Head,
        story: str,
        components: Tensor,
        start: int,
        first: int,
        last: int,
    ) -> Tensor | None:
        inside, predicted = self._predict_fmri(
            head, story, components, start, first, last
        )
        if not inside.any():
            return None
        mean, slope = head.fit
        error = head.fmri[story][0][inside] - slope * (predicted - mean)
        return (error.square().mean(0) * self.penalties.evidence).mean()

    def _predict_fmri(
        self,
        head: Head,
        story: str,
        components: Tensor,
        start: int,
        first: int,
        last: int,
    ) -> tuple[Tensor, Tensor]:
        """Find the scans of a chunk, and predict them without units."""
        at = head.fmri[story][1]
        inside = (at >= first) & ((at < last) | (last == len(self.stimulus[story])))
        kernel = (head.hrf[:, None] * self.kernels).sum(0, keepdim=True)
        at = at[inside] - start
        return inside, bold(self.network, components, kernel, at, self.response)[0]

    def fit_fmri(self, part: str) -> None:
        """Fit mean and slope of each source's fMRI to the predictions of now."""
        if self.kernels is None:
            return
        self.network.eval()
        with torch.no_grad():
            n_hrf = int(HRF_DURATION * self.sfreq)
            pairs: dict[str, list] = {n: [] for n, h in self.heads.items() if h.fmri}
            for story, first, last in self.chunks(part):
                if not any(story in self.heads[n].fmri for n in pairs):
                    continue
                # what came before is not needed, and grows with the story
                start = max(0, first - self.network.config.history - n_hrf)
                components = self.network(self.stimulus[story][None, start:last])[0]
                for name in pairs:
                    head = self.heads[name]
                    if story in head.fmri:
                        inside, predicted = self._predict_fmri(
                            head, story, components, start, first, last
                        )
                        pairs[name].append((predicted, head.fmri[story][0][inside]))
            for name, found in pairs.items():
                x, y = (torch.cat(z) for z in zip(*found, strict=True))
                mean = x.mean(0)
                square = (x - mean).square().mean(0)
                slope = ((x - mean) * y).mean(0) / (
                    square + 1e-12 + 1e-3 * square.mean()
                )
                self.heads[name].fit = mean, slope.clamp(min=0.0)

    def penalty(self, components: Tensor) -> Tensor:
        """Compute what is added to the error."""
        maps, weights = self.network.maps, self.penalties
        wide = maps.view(self.network.config.n_sources, -1)
        out = components.new_zeros(())
        if weights.precision is not None:
            # of the log posterior; errors are means over samples
            sharp = torch.sparse.mm(weights.smoothing, wide)
            out = out + (weights.precision[:, None] * sharp.square()).sum() / max(
                self._n_samples, 1.0
            )
        if weights.smoothness:
            rough = (wide * torch.sparse.mm(weights.laplacian, wide)).sum()
            out = out + weights.smoothness * rough / maps.detach().square().sum().clamp(
                min=1e-12
            )
        if weights.temporal:
            out = out + weights.temporal * components.diff(dim=0).square().mean()
        return out

    def score(self) -> float:
        """Compute the error of the validation parts, without dropout."""
        self.network.eval()
        self.fit_fmri("train")
        meg, fmri = [], []
        with torch.no_grad():
            for chunk in self.chunks("validation"):
                one, other, _ = self.errors(*chunk)
                meg.append(float(one))
                fmri.append(float(other))
        # a chunk without scans has an error of 0
        fmri = [x for x in fmri if x] or [0.0]
        return float(np.mean(meg) + self.penalties.fmri * np.mean(fmri))

    def train(
        self,
        n_epochs: int,
        learning_rate: float,
        rng: np.random.Generator,
        stop_early: bool,
        desc: str,
    ) -> tuple[int, list[float]]:
        """Train for some epochs.

        Parameters
        ----------
        n_epochs : int
            Passes over all chunks, at most.
        learning_rate : float
            Of Adam, for the transformer; a hundredth of it for maps and kernels.
        rng : numpy.random.Generator
            Draws the order of chunks.
        stop_early : bool
            Leave the ends of stories out, and stop where their error is lowest. The
            network is left as it was there.
        desc : str
            For the progress bar.

        Returns
        -------
        best : int
            Epochs after which the error was lowest.
        scores : list of float
            Validation errors before the first and after each epoch (with
            ``stop_early``), or mean errors of training.
        """
        network = self.network
        slow = [network.maps, network.kernel, network.offset]
        ids = {id(p) for p in slow}
        fast = [p for p in network.parameters() if id(p) not in ids]
        groups = [
            {"params": fast, "lr": learning_rate, "weight_decay": 1e-2},
            {"params": slow, "lr": _SLOW * learning_rate, "weight_decay": 0.0},
            {
                "params": [h.hrf for h in self.heads.values()],
                "lr": learning_rate,
                "weight_decay": 0.0,
            },
        ]
        # maps and kernels have units: steps are relative to their size
        for group in groups[1:2]:
            group["lr"] *= float(network.maps.detach().abs().max().clamp(min=1e-3))
        optimizer = torch.optim.AdamW([g for g in groups if g["params"]])
        scores = [self.score()] if stop_early else []
        if not stop_early:
            self.fit_fmri("all")
        best, kept = 0, self._state()
        for epoch in ProgressBar(range(n_epochs), mesg=desc):
            network.train()
            chunks = self.chunks("train" if stop_early else "all")
            total = []
            for i in rng.permutation(len(chunks)):
                meg, fmri, components = self.errors(*chunks[i])
                loss = meg + self.penalties.fmri * fmri + self.penalty(components)
                if not torch.isfinite(loss):
                    raise ValueError(
                        "Expected a finite error, got NaN or infinity in training; "
                        "lower learning_rate."
                    )
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                total.append(float(loss.detach()))
            scores.append(self.score() if stop_early else float(np.mean(total)))
            if not stop_early:
                self.fit_fmri("all")
            logger.debug("Epoch %d: error %.5f", epoch + 1, scores[-1])
            if stop_early:
                if scores[-1] < min(scores[:-1]) - 1e-6:
                    best, kept = epoch + 1, self._state()
                elif epoch + 1 - best >= _PATIENCE:
                    break
        if stop_early:
            self._restore(kept)
        network.eval()
        return best, scores

    def _state(self):
        network = {k: v.clone() for k, v in self.network.state_dict().items()}
        return network, {n: h.hrf.detach().clone() for n, h in self.heads.items()}

    def _restore(self, state) -> None:
        self.network.load_state_dict(state[0])
        with torch.no_grad():
            for name, value in state[1].items():
                self.heads[name].hrf.copy_(value)


def evidence_weights(evidence: NDArray, device: torch.device) -> Tensor:
    """Turn evidence of fMRI into weights of mean 1."""
    weights = torch.as_tensor(evidence, dtype=torch.float32, device=device)
    if not bool(weights.any()):
        weights = torch.ones_like(weights)
    return weights / weights.mean()


def sparse_tensor(matrix, device: torch.device) -> Tensor:
    """Move a sparse array to torch."""
    coo = matrix.tocoo()
    index = torch.as_tensor(np.array([coo.row, coo.col]), device=device)
    values = torch.as_tensor(coo.data, dtype=torch.float32, device=device)
    return torch.sparse_coo_tensor(
        index, values, coo.shape, check_invariants=True
    ).coalesce()


def residual_metrics(
    network: LatentSourceNetwork,
    people: Sequence[Person],
    stimulus: Mapping[str, NDArray],
    noise_metric,
) -> dict[str, NDArray]:
    """Whiten what a network leaves of each person's whitened MEG."""
    out = {}
    double = network.double()
    with torch.no_grad():
        maps = double.maps.cpu().numpy()
        for person in people:
            total, count = 0.0, 0.0
            for story, run in person.meg.items():
                x = torch.as_tensor(stimulus[story], device=double.maps.device)
                z = double(x[None])[0].cpu().numpy()
                left = (
                    run.data @ person.whitener.T - z @ (person.whitened_gain @ maps).T
                )
                left[~run.good] = 0.0
                total = total + (left * run.counts[:, None]).T @ left
                count += run.good.sum()
            if person.meg:
                out[person.name] = noise_metric(total, count, 0)
    network.float()
    return out
