"""Input that does not fit is an error that says what to do."""

import mne
import numpy as np
import pytest

from mne_megfm.encoding import LatentSourceEncoder, cross_validate_stories


def _fit(training, **changes):
    """Fit the first person with some of their recordings changed."""
    stimulus = changes.pop("stimulus", training[0])
    parameters = {"modalities": ("meg",), "n_layers": 0, "n_epochs": 0}
    parameters |= changes.pop("parameters", {})
    person = {**training[1]["P1"], **changes}
    person = {k: v for k, v in person.items() if v is not None}
    return LatentSourceEncoder(**parameters).fit(stimulus, {"P1": person})


BOTH = {"modalities": ("meg", "fmri")}


def test_other_channels_than_the_forward(training):
    meg = {}
    for story, (raw,) in training[1]["P1"]["meg"].items():
        meg[story] = raw.copy().rename_channels({"OPM001": "other"})
    with pytest.raises(ValueError, match="forward solution of 'P1'.*none of other"):
        _fit(training, meg=meg)


def test_other_channels_than_the_covariance(training):
    cov = training[1]["P1"]["noise_cov"]
    cov = mne.pick_channels_cov(cov, cov.ch_names[1:])
    with pytest.raises(ValueError, match="noise covariance of 'P1'.*OPM001"):
        _fit(training, noise_cov=cov)


def test_a_bad_channel_is_left_out(training):
    meg = {}
    for story, (raw,) in training[1]["P1"]["meg"].items():
        data = raw.get_data()
        data[0] = np.nan
        meg[story] = mne.io.RawArray(data, raw.info.copy(), verbose="error")
    with pytest.raises(ValueError, match="finite MEG of 'P1'"):
        _fit(training, meg=meg)
    for raw in meg.values():
        raw.info["bads"] = ["OPM001"]
    encoder = _fit(training, meg=meg)
    assert "OPM001" not in encoder.people_["P1"].ch_names


def test_other_channels_in_another_run(training):
    (one,), (other,) = training[1]["P1"]["meg"].values()
    meg = {"story1": one, "story2": other.copy().drop_channels(["OPM003"])}
    with pytest.raises(ValueError, match="same MEG channels in all runs.*OPM003"):
        _fit(training, meg=meg)


@pytest.mark.parametrize("tr", [2000.0, 4.0, 0.9])
def test_wrong_tr(training, tr):
    pytest.importorskip("nilearn", reason="fMRI needs nilearn")
    with pytest.raises(ValueError, match="(?i)tr"):
        _fit(training, tr=tr, parameters=BOTH)


def test_missing_tr(training):
    with pytest.raises(ValueError, match="'tr' of 'P1', who has fMRI"):
        _fit(training, tr=None, parameters=BOTH)


def test_stimulus_shorter_than_the_recording(training):
    stimulus = {s: x[:2500] for s, x in training[0].items()}
    with pytest.raises(ValueError, match="as long as the MEG.*got 50.00 s"):
        _fit(training, stimulus=stimulus)


def test_stimulus_at_another_rate(training):
    with pytest.raises(ValueError, match="rate of the stimulus.*resample"):
        _fit(training, parameters={"sfreq": 100.0})


def test_source_spaces_that_do_not_match(training, experiment):
    one, other = training[1].values()
    src = experiment.src.copy()
    src[0]["inuse"][src[0]["vertno"][0]] = 0
    src[0]["vertno"] = src[0]["vertno"][1:]
    src[0]["nuse"] -= 1
    forward = mne.make_forward_solution(
        other["meg"]["story1"][0].info,
        one["forward"]["mri_head_t"],
        src,
        mne.make_sphere_model((0.0, 0.0, 0.04), None, verbose="error"),
        eeg=False,
        verbose="error",
    )
    encoder = LatentSourceEncoder(modalities=("meg",), n_layers=0, n_epochs=0)
    with pytest.raises(ValueError, match="641 \\+ 642 sources"):
        encoder.fit(training[0], {"P1": one, "P2": {**other, "forward": forward}})
    encoder.fit(training[0], {"P1": one})
    with pytest.raises(ValueError, match="641 \\+ 642 sources"):
        encoder.predict(training[0]["story1"], forward=forward)


def test_a_person_without_either_modality(training):
    person = training[1]["P1"]
    with pytest.raises(ValueError, match="MEG or fMRI of 'P1', got neither"):
        LatentSourceEncoder().fit(training[0], {"P1": {"forward": person["forward"]}})


def test_nan_in_the_stimulus(training):
    stimulus = {s: x.copy() for s, x in training[0].items()}
    stimulus["story2"][7, 1] = np.nan
    with pytest.raises(ValueError, match="finite features of 'story2'.*1 samples"):
        _fit(training, stimulus=stimulus)


def test_nan_in_fmri(training):
    fmri = {
        s: [r.copy() for r in runs] for s, runs in training[1]["P1"]["fmri"].items()
    }
    fmri["story1"][0][3, 5] = np.nan
    with pytest.raises(ValueError, match="finite fMRI of 'P1' in 'story1'"):
        _fit(training, fmri=fmri, parameters=BOTH)


def test_fmri_of_another_number_of_sources(training):
    fmri = {
        s: [r[:, :-1] for r in runs] for s, runs in training[1]["P1"]["fmri"].items()
    }
    with pytest.raises(ValueError, match="1284.*a column for each source"):
        _fit(training, fmri=fmri, parameters=BOTH)


def test_rank_deficient_covariance_is_whitened_within_its_rank(training):
    """After projection, MEG has fewer dimensions than channels."""
    person = training[1]["P1"]
    info = person["meg"]["story1"][0].info
    rng = np.random.default_rng(0)
    vectors = np.linalg.qr(rng.standard_normal((64, 6)))[0]
    out = np.eye(64) - vectors @ vectors.T
    cov = mne.Covariance(
        out @ person["noise_cov"].data @ out,
        person["noise_cov"].ch_names,
        [],
        [],
        person["noise_cov"].nfree,
        verbose="error",
    )
    meg = {
        s: mne.io.RawArray(out @ r.get_data(), info.copy(), verbose="error")
        for s, (r,) in person["meg"].items()
    }
    encoder = _fit(training, meg=meg, noise_cov=cov)
    assert encoder.people_["P1"].whitener.shape == (58, 64)
    assert np.isfinite(encoder.predict(training[0]["story1"], "P1")).all()


def test_covariance_of_too_few_samples_warns(training):
    person = training[1]["P1"]
    raw = person["meg"]["story1"][0].copy().crop(0, 0.2)
    data = raw.get_data()
    cov = mne.Covariance(np.cov(data), raw.ch_names, [], [], data.shape[1])
    with pytest.warns(RuntimeWarning, match="rank \\d+ for 64 channels"):
        _fit(training, noise_cov=cov)


def test_zero_covariance(training):
    cov = training[1]["P1"]["noise_cov"].copy()
    cov["data"] = np.full_like(cov.data, np.nan)
    with pytest.raises(ValueError, match="finite noise covariance"):
        _fit(training, noise_cov=cov)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"meg": {"story9": []}}, "stories with a stimulus.*story9"),
        ({"unknown": 1}, "got unknown"),
        ({"forward": None}, "'forward' of 'P1'"),
        ({"noise_cov": None}, "'noise_cov' of 'P1'"),
        ({"parameters": {"orientation": "loose"}}, "orientation to be one of"),
        ({"parameters": {"fmri_response": "phase"}}, "fmri_response to be one of"),
        ({"parameters": {"modalities": ("eeg",)}}, "modalities of 'meg' and 'fmri'"),
        ({"parameters": {"lags": 0.0}}, "positive lags"),
        ({"parameters": {"extent": -0.01}}, "extent in m"),
    ],
)
def test_settings_that_are_none(training, changes, message):
    with pytest.raises(ValueError, match=message):
        _fit(training, **changes)


def test_recordings_of_one_person_without_a_name(training):
    with pytest.raises(ValueError, match="by the name of each person"):
        LatentSourceEncoder().fit(training[0], training[1]["P1"])


def test_other_features_in_prediction(fitted, held_out):
    with pytest.raises(ValueError, match="Expected 7 features"):
        fitted.predict(held_out[0]["story3"][:, :5], "P1")


def test_unknown_person(fitted, held_out):
    with pytest.raises(ValueError, match="one of P1, P2, got 'P7'"):
        fitted.predict(held_out[0]["story3"], "P7")


def test_not_fitted(held_out):
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        LatentSourceEncoder().predict(held_out[0]["story3"], "P1")


def test_one_story_cannot_be_left_out(held_out):
    with pytest.raises(ValueError, match="at least two stories"):
        cross_validate_stories(LatentSourceEncoder(), *held_out)
