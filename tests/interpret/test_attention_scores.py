"""Tests of how far attention lies from sources."""

import mne
import numpy as np
import pytest

from mne_megfm.interpret import score_attention
from mne_megfm.sensors import canonical_array

ARRAY = canonical_array()
UNIT = (ARRAY.pos - ARRAY.origin) / ARRAY.radius
SIDES = {"lh": np.array([-0.05, 0.01, 0.06]), "rh": np.array([0.05, 0.01, 0.06])}


def make_maps(*centres, width=0.03, before=None):
    """Return maps with a hill at each direction; even before 0 s unless told."""
    hills = np.zeros(len(UNIT))
    for centre in centres:
        rel = np.asarray(centre) - ARRAY.origin
        cosine = np.clip(UNIT @ (rel / np.linalg.norm(rel)), -1.0, 1.0)
        hills += np.exp(-0.5 * (ARRAY.radius * np.arccos(cosine) / width) ** 2)
    after = 0.2 + hills if centres else np.ones(len(UNIT))
    first = np.ones_like(after) if before is None else before
    data = np.stack([first, first, after, after], 1)
    return mne.EvokedArray(data, ARRAY.info(10.0), tmin=-0.2, verbose="error")


def test_hills_over_the_sources():
    """Attention on both sources is found there, beyond chance."""
    score = score_attention(
        make_maps(*SIDES.values()), SIDES, before=(-0.2, -0.05), n_null=99
    )
    ratio, distance = score.summary.loc["ratio"], score.summary.loc["distance"]
    assert ratio["mean"] > 3
    assert ratio.before == pytest.approx(1.0)
    assert distance["mean"] < 0.01
    assert ratio.p_sensors == ratio.p_places == pytest.approx(0.01)
    assert ratio.chance_places < 2
    assert np.isnan(ratio.p_random_weights)
    assert np.isnan(ratio.p_before)  # one participant
    after = score.scores.query("part == 'after'")
    assert after.source.tolist() == ["lh", "rh"]
    np.testing.assert_allclose(after.share / after.even_share, after.ratio)


def test_distance_of_a_hill_elsewhere():
    """The distance is that along the sphere between hill and source."""
    source = ARRAY.origin + [0.03, 0.0, 0.05]
    angle = np.deg2rad(40)
    turn = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0]]
    hill = ARRAY.origin + np.array([*turn, [0, 0, 1]]) @ [0.03, 0.0, 0.05]
    unit = [
        (x - ARRAY.origin) / np.linalg.norm(x - ARRAY.origin) for x in (source, hill)
    ]
    expected = ARRAY.radius * np.arccos(unit[0] @ unit[1])
    score = score_attention(make_maps(hill, width=0.02), source, n_null=9)
    assert score.summary.loc["distance", "mean"] == pytest.approx(expected, abs=0.008)
    assert expected > 0.03


def test_even_attention_is_at_chance():
    """Even attention has a ratio of 1 and is beaten by nothing."""
    score = score_attention(make_maps(), SIDES, n_null=50)
    ratio = score.summary.loc["ratio"]
    assert ratio["mean"] == pytest.approx(1.0)
    assert ratio.chance_places == pytest.approx(1.0)
    assert ratio.p_sensors > 0.9 or ratio.p_places > 0.9


def test_hills_anywhere_do_not_beat_other_places():
    """Hills that have nothing to do with the source: p values are spread out."""
    rng = np.random.default_rng(3)
    source = ARRAY.origin + [0.02, 0.0, 0.06]
    p = [
        score_attention(
            make_maps(ARRAY.pos[rng.integers(192)]),
            source,
            n_null=60,
            random_state=draw,
        ).summary.loc["ratio", "p_places"]
        for draw in range(40)
    ]
    assert np.mean(np.array(p) <= 0.2) < 0.45
    assert 0.35 < np.mean(p) < 0.65


def test_paired_comparisons_are_exact():
    """With five participants that all gain, one of 32 sign flips is as good."""
    maps = [make_maps(*SIDES.values(), width=0.02 + 0.004 * i) for i in range(5)]
    score = score_attention(
        maps, SIDES, before=(-0.2, -0.05), random_weights=[make_maps()] * 5, n_null=99
    )
    ratio = score.summary.loc["ratio"]
    assert ratio.n == 5
    assert ratio.p_before == ratio.p_random_weights == pytest.approx(1 / 32)
    worse = score_attention([make_maps()] * 5, SIDES, random_weights=maps, n_null=99)
    assert worse.summary.loc["ratio", "p_random_weights"] == pytest.approx(1.0)


def test_sources_in_all_forms():
    """A dipole stands for its best moment; arrays and lists are taken."""
    pos = np.array([[0.0, 0.0, 0.1], [-0.05, 0.01, 0.06]])
    dipole = mne.Dipole(
        [0.0, 0.1], pos, [1e-8, 1e-8], [[1, 0, 0]] * 2, [10.0, 90.0], name="N100m"
    )
    maps = make_maps(SIDES["lh"])
    scores = [
        score_attention(maps, sources, n_null=5).scores
        for sources in (dipole, pos[1], [pos[1]], {"N100m": pos[1]})
    ]
    assert scores[0].source.tolist() == ["N100m"]
    for other in scores[1:]:
        np.testing.assert_array_equal(other.ratio, scores[0].ratio)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"sources": {"lh": (-50, 10, 60)}}, "three head coordinates in m"),
        ({"sources": {}}, "at least one source"),
        ({"sources": [SIDES, SIDES]}, "sources of 1 participants, got 2"),
        ({"window": (1.0, 2.0)}, "maps between 1 and 2 s"),
        (
            {"random_weights": [make_maps()] * 2},
            "random_weights maps of 1 participants",
        ),
    ],
)
def test_wrong_input(given, match):
    """What does not fit is refused with a reason."""
    with pytest.raises(ValueError, match=match):
        score_attention(make_maps(), **({"sources": SIDES} | given))
