"""Stories to listen to, as features at a steady rate.

The rates are those of connected speech: about four syllables and two to three words a
second, in phrases of one to three seconds (Ding et al. 2017, Neurosci Biobehav Rev
81:181-187).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Names of the groups of features, in the order of the columns.
BANDS = ("envelope", "onsets", "words", "embedding")


@dataclass(frozen=True)
class Story:
    """Features of one story.

    Attributes
    ----------
    features : array of shape (n_times, n_features)
        The envelope of the speech (1 column), its rises (1), word onsets (1, ones at
        the samples where a word begins), and word embeddings (their values at these
        samples, 0 between). No units.
    sfreq : float
        Rate in Hz.
    words : array of shape (n_words,)
        Samples at which the words begin.
    """

    features: NDArray[np.float64]
    sfreq: float
    words: NDArray[np.int_]


def feature_bands(n_embedding: int) -> dict[str, slice]:
    """Give the columns of each group of features."""
    return {
        "envelope": slice(0, 1),
        "onsets": slice(1, 2),
        "words": slice(2, 3),
        "embedding": slice(3, 3 + n_embedding),
    }


def make_story(
    rng: np.random.Generator, duration: float, sfreq: float, n_embedding: int
) -> Story:
    """Draw one story.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    duration : float
        Length in s.
    sfreq : float
        Rate of the features in Hz.
    n_embedding : int
        Dimensions of the word embeddings.

    Returns
    -------
    story : Story
        Its features.
    """
    n_times = int(round(duration * sfreq))
    times = np.arange(n_times) / sfreq
    syllables, loudness, words = _speak(rng, duration)
    # a syllable is a bump of about 120 ms; the envelope is their sum
    envelope = np.zeros(n_times)
    for at, height in zip(syllables, loudness, strict=True):
        inside = slice(*np.searchsorted(times, (at - 0.2, at + 0.35)))
        width = np.where(times[inside] < at + 0.06, 0.03, 0.07)
        envelope[inside] += height * np.exp(
            -0.5 * ((times[inside] - at - 0.06) / width) ** 2
        )
    rises = np.maximum(np.diff(envelope, prepend=0.0), 0.0) * sfreq * 0.05
    samples = np.unique(np.minimum((words * sfreq).astype(int), n_times - 1))
    onset = np.zeros(n_times)
    onset[samples] = 1.0
    meaning = np.zeros((n_times, n_embedding))
    # meanings drift: words of a sentence resemble one another
    vector = rng.standard_normal(n_embedding)
    for sample in samples:
        vector = 0.5 * vector + np.sqrt(0.75) * rng.standard_normal(n_embedding)
        meaning[sample] = vector
    features = np.c_[envelope, rises, onset, meaning]
    return Story(features, float(sfreq), samples)


def _speak(
    rng: np.random.Generator, duration: float
) -> tuple[NDArray, NDArray, NDArray]:
    """Draw the times of syllables, how loud they are, and the times of words (s)."""
    syllables, loudness, words = [], [], []
    now = float(rng.uniform(0.2, 0.6))
    while now < duration - 0.3:
        end, level = now + rng.uniform(1.0, 3.0), rng.gamma(8.0, 1 / 8)
        while now < min(end, duration - 0.3):
            words.append(now)
            for _ in range(1 + (rng.random() < 0.55)):
                syllables.append(now)
                loudness.append(level * rng.gamma(6.0, 1 / 6))
                now += rng.gamma(12.0, 0.23 / 12)
        now += rng.uniform(0.2, 0.8)
    return np.array(syllables), np.array(loudness), np.array(words)
