"""From features to embeddings of stimuli: a projection, and the loss that trains it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# largest inverse temperature, and the one to start with, as of CLIP
_LARGEST, _START = 100.0, 1.0 / 0.07


def contrastive_regression_loss(
    predicted: Tensor, embeddings: Tensor, log_scale: Tensor, balance: float
) -> Tensor:
    r"""Compute a contrastive and a regression loss of predicted embeddings.

    The combined loss of Benchetrit et al. [1]_, section 2.2:

    .. math:: L = \lambda L_\mathrm{CLIP} + (1 - \lambda) L_\mathrm{MSE}

    with the mean squared error over rows and dimensions, and the symmetric contrastive
    loss of CLIP [2]_ over the *B* rows of a batch, with the cosine similarity *s* and a
    learnt temperature :math:`\tau`:

    .. math:: L_\mathrm{CLIP} = -\frac{1}{2B} \sum_i \left(
              \log \frac{e^{s(\hat z_i, z_i) / \tau}}
              {\sum_j e^{s(\hat z_i, z_j) / \tau}} +
              \log \frac{e^{s(\hat z_i, z_i) / \tau}}
              {\sum_j e^{s(\hat z_j, z_i) / \tau}} \right)

    Parameters
    ----------
    predicted : Tensor, shape (n, n_dims)
        What was predicted, :math:`\hat z`.
    embeddings : Tensor, shape (n, n_dims)
        What was to be predicted, *z*. Rows that are equal are of one stimulus.
    log_scale : Tensor, shape () or (1,)
        Natural logarithm of :math:`1 / \tau`; :math:`1 / \tau` is 100 at most.
    balance : float
        The weight :math:`\lambda`, from 0 to 1.

    Returns
    -------
    loss : Tensor, shape ()
        The loss.

    Notes
    -----
    A stimulus that is in the batch several times is no alternative to itself: the sums
    over *j* leave out other rows with the embedding of row *i*. (The first reference
    has the sum of both directions, and not their mean.)

    References
    ----------
    .. [1] Benchetrit, Banville & King (2024), "Brain decoding: toward real-time
       reconstruction of visual perception", ICLR, arXiv:2310.19812.
    .. [2] Radford et al. (2021), "Learning transferable visual models from natural
       language supervision", ICML, figure 3.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import contrastive_regression_loss
    >>> z = torch.eye(4)
    >>> loss = contrastive_regression_loss(z, z, torch.tensor(4.0), balance=0.75)
    >>> round(float(loss), 3)
    0.0
    """
    scale = log_scale.exp().clamp(max=_LARGEST)
    alike = F.normalize(predicted, dim=-1) @ F.normalize(embeddings, dim=-1).T * scale
    stimulus = torch.unique(embeddings, dim=0, return_inverse=True)[1]
    same = stimulus[:, None] == stimulus
    same.fill_diagonal_(False)
    # not -inf, which has no finite gradient
    alike = alike.masked_fill(same, -1e4)
    own = torch.arange(len(alike), device=alike.device)
    clip = (F.cross_entropy(alike, own) + F.cross_entropy(alike.T, own)) / 2
    return balance * clip + (1.0 - balance) * F.mse_loss(predicted, embeddings)


class EmbeddingProjection(nn.Module):
    """A linear projection to embeddings, with a temperature and maybe hidden units.

    Parameters
    ----------
    n_features : int
        Features that are projected.
    n_dims : int
        Dimensions of an embedding.
    hidden : int | None
        Units of a hidden layer whose output is added to the linear projection. It is
        0 at the start, so that training begins with the projection. None for none.
    """

    def __init__(self, n_features: int, n_dims: int, hidden: int | None = None) -> None:
        super().__init__()
        self.linear = nn.Linear(n_features, n_dims)
        self.more: nn.Module | None = None
        if hidden is not None:
            leave = nn.Linear(hidden, n_dims, bias=False)
            nn.init.zeros_(leave.weight)
            self.more = nn.Sequential(nn.Linear(n_features, hidden), nn.GELU(), leave)
        # of one axis, since sharding takes no scalars
        self.log_scale = nn.Parameter(torch.tensor([math.log(_START)]))

    def forward(self, features: Tensor) -> Tensor:
        """Predict embeddings.

        Parameters
        ----------
        features : Tensor, shape (n, n_features)
            The features.

        Returns
        -------
        predicted : Tensor, shape (n, n_dims)
            An embedding of each row.
        """
        predicted = self.linear(features)
        return predicted if self.more is None else predicted + self.more(features)

    def loss(self, features: Tensor, embeddings: Tensor, balance: float) -> Tensor:
        """Compute the loss of predictions, see `contrastive_regression_loss`.

        Parameters
        ----------
        features : Tensor, shape (n, n_features)
            The features.
        embeddings : Tensor, shape (n, n_dims)
            What is to be predicted.
        balance : float
            Weight of the contrastive term, from 0 to 1.

        Returns
        -------
        loss : Tensor, shape ()
            The loss.
        """
        predicted = self(features).float()
        with torch.autocast(predicted.device.type, enabled=False):
            return contrastive_regression_loss(
                predicted, embeddings, self.log_scale, balance
            )
