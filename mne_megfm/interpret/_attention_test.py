"""Whether attention follows a signal in time, against surrogates without timing."""

from __future__ import annotations

from dataclasses import dataclass

import mne
import numpy as np
import pandas as pd
from mne.utils import ProgressBar, _validate_type, verbose
from numpy.typing import NDArray

from ..estimators import MEGFMTransformer
from ._attention import attention
from ._refits import NullDistribution, check_permutations, null_distributions


@dataclass(frozen=True, eq=False)
class AttentionTest:
    """Attention to averages, beside attention to surrogates without timing.

    Attributes
    ----------
    evoked : EvokedArray
        Attention, averaged over recordings: 1 is even.
    null : NullDistribution
        Its logarithm, and that of surrogates; all times and places are one family.
    n : int
        Number of recordings.

    See Also
    --------
    attention_test : Makes it.
    mne_megfm.viz.plot_attention : Plots it.

    Examples
    --------
    See `attention_test`.
    """

    evoked: mne.EvokedArray
    null: NullDistribution
    n: int

    @property
    def peaks(self) -> pd.DataFrame:
        """The strongest place of each time that stands out: one row a time.

        ``time`` (s from the event, the middle of 100 ms), ``ch_name``, ``value``, ``z``
        and ``p_value``. Empty where nothing stands out.
        """
        size = np.where(self.null.significant, self.null.size, 0.0)
        rows = []
        for at in np.flatnonzero(size.any(0)):
            channel = int(size[:, at].argmax())
            rows.append(
                {
                    "time": float(self.evoked.times[at]),
                    "ch_name": self.evoked.ch_names[channel],
                    "value": float(self.evoked.data[channel, at]),
                    "z": float(self.null.z[channel, at]),
                    "p_value": float(self.null.p_values[channel, at]),
                }
            )
        return pd.DataFrame(rows, columns=["time", "ch_name", "value", "z", "p_value"])

    def in_words(self) -> str:
        """Say when attention stands out, or that it does not.

        Returns
        -------
        text : str
            One or two sentences.
        """
        above = f"above chance (p < {self.null.alpha:g}, {self.null.family})"
        peaks = self.peaks
        if not len(peaks):
            return (
                f"Nothing stands out {above}: attention to surrogates without timing "
                f"is alike; the smallest p is {self.null.p_value:.2g}, n = {self.n}."
            )
        times = ", ".join(
            f"{row.time:.2f} s (p = {row.p_value:.2g})" for row in peaks.itertuples()
        )
        text = f"Stands out {above}, in s from the event: {times}; n = {self.n}."
        if (peaks["time"] < 0).any():
            text += (
                " Attention that stands out before the event is unexpected: check the "
                "baseline, filters that reach back, and the time of the event."
            )
        return text


@verbose
def attention_test(
    transformer: MEGFMTransformer,
    X: mne.Evoked | list[mne.Evoked],
    *,
    n_surrogates: int = 99,
    alpha: float = 0.05,
    random_state: int = 0,
    method: str = "between",
    layer: int | None = -1,
    head: int | None = None,
    n_turns: int = 24,
    info: mne.Info | None = None,
    verbose: bool | str | int | None = None,
) -> AttentionTest:
    """Test whether attention depends on the time from a stimulus.

    Parameters
    ----------
    transformer : MEGFMTransformer
        A fitted transformer.
    X : Evoked | list of Evoked
        One average, or one for each participant, in tesla. Of several, the mean of
        their maps is tested: pass ``info``.
    n_surrogates : int
        Surrogates of each average. The smallest p value is one by this and 1.
    alpha : float
        Level of the thresholds.
    random_state : int
        Seed of the surrogates.
    method : str
        See `attention`.
    layer : int | None
        See `attention`.
    head : int | None
        See `attention`.
    n_turns : int
        See `attention`.
    info : mne.Info | None
        See `attention`.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`.

    Returns
    -------
    test : AttentionTest
        Attention and its null distribution.

    Raises
    ------
    TypeError
        If ``X`` is not an Evoked or a list of these.
    ValueError
        If there are too few surrogates for ``alpha``, or several averages without
        ``info``.

    See Also
    --------
    attention : The map alone.
    score_attention : Whether attention lies near a known source.

    Notes
    -----
    Attention has no labels to permute. What it would be without a stimulus is taken
    from surrogates of the same averages: all phases of the Fourier transform are
    shifted at random, by the same angle in all channels, which keeps the spectrum of
    each channel and the cross-spectra of all, and with them noise, rhythms and the
    topographies of sources, but nothing of when they were active [1]_. An average is
    mirrored in time before, so that its ends fit together. What the network attends to
    anyway, by habit at a place of the head or of the window, is in surrogates, too, and
    does not stand out. Attention is relative to its mean over the window, so that more
    of it at one time is less at others: only more than in surrogates is tested. All
    times and places are tested together (`NullDistribution`).

    References
    ----------
    .. [1] Prichard & Theiler (1994), "Generating surrogate data for time series with
       several simultaneously measured variables", Phys Rev Lett 73, 951-954.

    Examples
    --------
    >>> from mne_megfm import MEGFMTransformer, simulate_cohort
    >>> from mne_megfm.interpret import attention_test
    >>> cohort = simulate_cohort(
    ...     1,
    ...     states=("rest",),
    ...     arrays=("opm64",),
    ...     n_epochs=4,
    ...     random_state=0,
    ...     verbose=False,
    ... )
    >>> evoked = cohort.epochs("rest")[0].average()
    >>> transformer = MEGFMTransformer().fit(evoked)
    >>> test = attention_test(
    ...     transformer, evoked, n_surrogates=19, n_turns=1, verbose=False
    ... )
    >>> test.null.n_permutations
    19
    """
    n_surrogates = check_permutations(n_surrogates, alpha)
    averages = X if isinstance(X, list | tuple) else [X]
    for one in averages:
        _validate_type(one, mne.Evoked, "X", extra="(an average, or a list of these)")
    if len(averages) > 1 and info is None:
        raise ValueError(
            f"Expected info with {len(averages)} averages, so that all maps are on the "
            "same places, got None; pass the info of one of them."
        )
    rng = np.random.default_rng(random_state)
    reads = {"method": method, "layer": layer, "head": head}
    reads |= {"n_turns": n_turns, "info": info}
    maps = []
    for run in ProgressBar(range(1 + n_surrogates), mesg="Attention to surrogates"):
        given = [surrogate(one, rng) if run else one for one in averages]
        found = attention(transformer, given, **reads, verbose="error")
        shapes = {one.data.shape for one in found}
        if len(shapes) > 1:
            raise ValueError(
                f"Expected averages of the same length, got maps of {sorted(shapes)}; "
                "crop all to the same times."
            )
        if run == 0:
            evoked = found[0].copy()
            evoked.data = np.mean([one.data for one in found], 0)
            evoked.nave = len(found)
        maps.append(np.log(np.mean([one.data for one in found], 0)))
    n_places, n_times = maps[0].shape
    family = f"max over {n_times} times x {n_places} places"
    null = null_distributions({"": np.array(maps)}, family, alpha, two_sided=False)[""]
    return AttentionTest(evoked, null, len(averages))


def surrogate(evoked: mne.Evoked, rng: np.random.Generator) -> mne.Evoked:
    """Randomise the phases of an average, alike in all of its MEG channels."""
    out = evoked.copy()
    picks = mne.pick_types(out.info, meg=True, ref_meg=True, exclude=())
    out.data[picks] = _randomised(out.data[picks], rng)
    return out


def _randomised(
    data: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    n_times = data.shape[-1]
    mean = data.mean(-1, keepdims=True)
    # mirrored, an end goes over into the beginning without a step
    centred = np.concatenate([data - mean, (data - mean)[..., ::-1]], -1)
    spectrum = np.fft.rfft(centred)
    angles = rng.uniform(0.0, 2.0 * np.pi, spectrum.shape[-1])
    angles[[0, -1]] = 0.0  # these are real
    moved = np.fft.irfft(spectrum * np.exp(1j * angles), 2 * n_times)
    return moved[..., :n_times] + mean
