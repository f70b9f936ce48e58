"""Baselines: ridge regression and inverse methods against what they are made of."""

import mne
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from mne_megfm.encoding import (
    BandedRidge,
    LatentSourceEncoder,
    compare_sources,
    inverse_estimate,
)
from mne_megfm.encoding._banded_ridge import compress_stories


@pytest.mark.parametrize("solver", ["sklearn", "himalaya"])
def test_ridge_finds_planted_responses(training, held_out, experiment, solver):
    if solver == "himalaya":
        pytest.importorskip("himalaya", reason="banded ridge is himalaya's")
    ridge = BandedRidge(
        bands=experiment.bands, solver=solver, n_iter=3, modalities=("meg",)
    ).fit(*training)
    table = ridge.evaluate(*held_out)
    assert len(table) == 64 + 157
    # against ridge regression with lags by hand
    person = training[1]["P1"]
    x, y = [], []
    for s, features in training[0].items():
        z = (features - ridge.mean_) / ridge.scale_
        lagged = [np.vstack([np.zeros((k, 7)), z[: 3000 - k]]) for k in range(35)]
        x.append(np.hstack(lagged))
        y.append(person["meg"][s][0].get_data().T * 1e13)
    hand = Ridge(1e3).fit(np.vstack(x), np.vstack(y))
    z = (held_out[0]["story3"] - ridge.mean_) / ridge.scale_
    lagged = [np.vstack([np.zeros((k, 7)), z[: 3000 - k]]) for k in range(35)]
    said = hand.predict(np.hstack(lagged))
    given = ridge.predict_meg(held_out[0]["story3"], "P1")
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(said.T, given.T, strict=True)]
    assert np.median(r) > 0.7
    assert table["correlation"].mean() > 0.1


def test_compression_changes_no_difference_of_errors(rng):
    x, y = rng.standard_normal((300, 8)), rng.standard_normal((300, 2))
    story = np.repeat([0, 1, 2], 100)
    short = compress_stories(x, y, story)
    assert len(short[0]) == 24
    for inside in ([0], [1, 2]):
        long_, brief = np.isin(story, inside), np.isin(short[2], inside)
        errors = []
        for w in rng.standard_normal((2, 8, 2)):
            one = np.sum((y[long_] - x[long_] @ w) ** 2)
            errors.append(one - np.sum((short[1][brief] - short[0][brief] @ w) ** 2))
        assert errors[0] == pytest.approx(errors[1])


@pytest.mark.parametrize("method", ["MNE", "dSPM", "sLORETA", "LCMV"])
def test_inverse_methods_find_one_source(experiment, method):
    """One strong source without noise: standardised methods are near its place."""
    person = dict(experiment.recordings["P2"])
    forward = mne.convert_forward_solution(
        person["forward"], surf_ori=True, force_fixed=True, verbose="error"
    )
    gain = forward["sol"]["data"]
    source = int(np.linalg.norm(gain, axis=0).argmax())
    course = np.sin(np.arange(500) / 5.0)
    rng = np.random.default_rng(0)
    noise = np.linalg.cholesky(person["noise_cov"].data + 1e-32 * np.eye(157))
    data = 1e-7 * gain[:, [source]] * course + noise @ rng.standard_normal((157, 500))
    info = person["meg"]["story1"][0].info
    person["meg"] = {"story1": mne.io.RawArray(data, info, verbose="error")}
    stc = inverse_estimate({"P2": person}, "story1", method)
    away = np.linalg.norm(
        experiment.positions() - experiment.positions()[source], axis=1
    )
    # dSPM is known to be biased
    assert away[stc.data.std(axis=1).argmax()] < (0.04 if method == "dSPM" else 0.02)
    assert abs(np.corrcoef(stc.data[source], course)[0, 1]) > 0.9


def test_comparison_has_all_models(experiment):
    pytest.importorskip("nilearn", reason="fMRI needs nilearn")
    comparison = compare_sources(
        LatentSourceEncoder(n_layers=0, n_epochs=0),
        experiment.stimulus,
        experiment.recordings,
        ["story3"],
        bands=experiment.bands,
        solver="sklearn",
    )
    summary = comparison.summary()
    assert set(summary.index) == {"joint", "MEG alone", "fMRI alone", "ridge", "random"}
    assert summary.loc["joint", "meg"] > summary.loc["random", "meg"] + 0.1
    assert np.isnan(summary.loc["fMRI alone", "meg"])
    inverse = {"MNE", "dSPM", "sLORETA", "LCMV", "MNE of ridge"}
    assert set(comparison.sources) == (set(summary.index) - {"ridge"}) | inverse
    for stories in comparison.sources.values():
        assert stories["story3"].shape == (1284, 3000)


def test_stories_to_test_on_have_to_be_there(experiment):
    for test in (["other"], [], list(experiment.stimulus)):
        with pytest.raises(ValueError, match="in test, and others"):
            compare_sources(
                LatentSourceEncoder(),
                experiment.stimulus,
                experiment.recordings,
                test,
            )


def test_what_is_not_installed_or_known(training, monkeypatch):
    with pytest.raises(ValueError, match="Expected solver"):
        BandedRidge(solver="other").fit(*training)
    with pytest.raises(ValueError, match="Expected one of"):
        inverse_estimate(training[1], "story1", "other")
    for name in ("himalaya", "himalaya.ridge", "nilearn", "nilearn.glm"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(ImportError, match="mne-megfm\\[encoding\\]"):
        BandedRidge(solver="himalaya").fit(*training)
    with pytest.raises(ImportError, match="mne-megfm\\[encoding\\]"):
        LatentSourceEncoder(n_epochs=0).fit(*training)
