"""Simulated stories, and the MEG, fMRI and ECoG of people who hear them."""

import mne
import numpy as np
import pytest
from mne.transforms import apply_trans, invert_transform

from mne_megfm.simulation import Area, simulate_naturalistic


@pytest.fixture(scope="module")
def src(data_dir):
    return mne.read_source_spaces(
        data_dir / "headmodel" / "fsaverage5-ico3-src.fif", verbose="error"
    )


@pytest.fixture(scope="module")
def experiment(src):
    return simulate_naturalistic(
        2,
        2,
        duration=60.0,
        n_repeats={"story2": 6},
        n_electrodes=7,
        adaptation=0.0,
        differences=0.0,
        fmri_snr=1.0,
        src=src,
        random_state=3,
    )


def _fixed(forward):
    return mne.convert_forward_solution(
        forward, surf_ori=True, force_fixed=True, verbose="error"
    )["sol"]["data"]


def test_stimulus_has_the_rates_of_speech(experiment):
    features = experiment.stimulus["story1"]
    assert features.shape == (3000, 7) and np.isfinite(features).all()
    words = features[:, experiment.bands["words"]].sum() / 60.0
    assert 1.5 < words < 3.5
    # embeddings only where a word begins
    silent = features[:, 2] == 0
    assert (features[silent, 3:] == 0).all() and (features[~silent, 3:] != 0).all()
    assert not np.array_equal(features, experiment.stimulus["story2"])


def test_areas_lie_where_they_were_put(experiment):
    points = 1e3 * experiment.positions()
    for area, centre, column in zip(
        experiment.areas, experiment.centres, experiment.maps.T, strict=True
    ):
        assert np.linalg.norm(points[centre] - area.position) < 15
        assert column.argmax() == centre and column[centre] == 1.0
        assert np.linalg.norm(points[column > 0.1] - points[centre], axis=1).max() < 30
        # one hemisphere each
        assert (np.sign(points[column > 0, 0]) == np.sign(points[centre, 0])).all()


def test_courses_follow_their_features_at_the_latency(experiment):
    features = experiment.stimulus["story1"]
    for row, area in enumerate(experiment.areas):
        if area.feature == "embedding":
            continue
        (drive,) = features[:, experiment.bands[area.feature]].T
        course = experiment.courses["story1"][row]
        lagged = [np.r_[np.zeros(lag), drive[: 3000 - lag]] for lag in range(50)]
        design = np.stack([*lagged, np.ones(3000)]).T
        kernel = np.linalg.lstsq(design, course, rcond=None)[0][:-1]
        assert abs(kernel.argmax() / 50.0 - area.latency) <= 0.021, area.name


def test_recordings_are_the_lead_field_of_the_sources(experiment):
    for name, person in experiment.recordings.items():
        runs = [raw.get_data() for raw in person["meg"]["story2"]]
        clean = _fixed(experiment.forwards[name]) @ experiment.sources("story2").data
        noise = np.std(runs, axis=0, ddof=1).mean(axis=1)
        error = np.mean(runs, axis=0) - clean
        # what is left is noise, smaller by the root of the number of repeats
        ratio = error.std(axis=1) / (noise / np.sqrt(6))
        assert 0.9 < np.median(ratio) < 1.1
        # the noise of repeats is independent, the signal is not
        assert (
            abs(np.corrcoef(runs[0][5] - clean[5], runs[1][5] - clean[5])[0, 1]) < 0.2
        )


@pytest.mark.parametrize("snr", [0.02, 0.2])
def test_snr_is_that_of_the_median_sensor(src, snr):
    experiment = simulate_naturalistic(
        1, 1, duration=60.0, meg_snr=snr, differences=0.0, src=src, random_state=1
    )
    person = experiment.recordings["P1"]
    clean = _fixed(person["forward"]) @ experiment.sources("story1").data
    noise = person["meg"]["story1"][0].get_data() - clean
    # 1/f noise of a minute: its power varies
    assert np.median(clean.var(1)) / np.median(noise.var(1)) == pytest.approx(
        snr, rel=0.5
    )


def test_noise_covariance_is_of_the_noise(experiment):
    person = experiment.recordings["P1"]
    clean = _fixed(person["forward"]) @ experiment.sources("story2").data
    noise = np.mean(
        [np.cov(raw.get_data() - clean) for raw in person["meg"]["story2"]], axis=0
    )
    given = person["noise_cov"].data
    assert np.corrcoef(np.diag(noise), np.diag(given))[0, 1] > 0.9
    assert np.trace(given) == pytest.approx(np.trace(noise), rel=0.3)


def test_fmri_is_power_some_seconds_later(experiment):
    fast = np.arange(3000) / 50.0
    for person in experiment.recordings.values():
        assert person["tr"] == 2.0
        scans = np.mean(person["fmri"]["story2"], axis=0)
        assert scans.shape == (30, len(experiment.positions()))
        power = experiment.sources("story2").data ** 2
        fits = {}
        for delay in (0.0, 5.0, 12.0):
            kernel = np.exp(-0.5 * ((fast[:1000] - delay) / 2.0) ** 2)
            slow = np.array(
                [np.convolve(power[c], kernel)[:3000:100] for c in experiment.centres]
            )
            fits[delay] = np.mean(
                [
                    np.corrcoef(a, scans[:, c])[0, 1]
                    for a, c in zip(slow, experiment.centres, strict=True)
                ]
            )
        assert fits[5.0] > max(fits[0.0], fits[12.0]) + 0.1 and fits[5.0] > 0.5


def test_fmri_is_in_percent_and_varies_where_areas_are(experiment):
    scans = np.stack(experiment.recordings["P1"]["fmri"]["story2"])
    assert scans.mean() == pytest.approx(100.0, abs=3.0)
    reliable = scans.mean(axis=0).var(axis=0)
    away = np.setdiff1d(
        np.arange(len(reliable)), np.flatnonzero(experiment.maps.max(axis=1) > 0.1)
    )
    assert np.median(reliable[experiment.centres]) > 2 * np.median(reliable[away])


def test_electrodes_measure_the_area_that_they_are_near(experiment):
    for raws in experiment.ecog.values():
        raw = raws["story1"]
        assert set(raw.get_channel_types()) == {"ecog"} and len(raw.ch_names) == 7
        data, courses = raw.get_data(), experiment.courses["story1"]
        r = np.corrcoef(data, courses)[:7, 7:]
        assert np.diag(r).min() > 0.25
        assert np.diag(r).mean() > 0.35
        trans = mne.read_trans(mne.__path__[0] + "/data/fsaverage/fsaverage-trans.fif")
        place = np.array([ch["loc"][:3] for ch in raw.info["chs"]])
        centre = apply_trans(
            invert_transform(trans), experiment.positions()[experiment.centres]
        )
        assert np.linalg.norm(place - centre, axis=1).max() < 0.02


def test_errors_of_the_head_model_are_in_what_is_handed_out(src):
    experiment = simulate_naturalistic(
        1, 1, duration=10.0, head_error=0.005, src=src, random_state=0
    )
    true = experiment.forwards["P1"]["info"]["dev_head_t"]["trans"]
    given = experiment.recordings["P1"]["forward"]["info"]["dev_head_t"]["trans"]
    assert np.linalg.norm(true[:3, 3] - given[:3, 3]) == pytest.approx(0.005)
    other = simulate_naturalistic(
        1, 1, duration=10.0, conductor_error=0.01, src=src, random_state=0
    )
    a, b = _fixed(other.forwards["P1"]), _fixed(other.recordings["P1"]["forward"])
    assert 0.02 < np.linalg.norm(a - b) / np.linalg.norm(a) < 1.0


def test_adaptation_is_not_linear(src):
    """A linear model with lags explains all of the courses, or not."""
    left = {}
    for adaptation in (0.0, 1.0):
        experiment = simulate_naturalistic(
            1, 1, duration=60.0, adaptation=adaptation, src=src, random_state=2
        )
        features = experiment.stimulus["story1"][:, 0]
        lags = np.stack([np.r_[np.zeros(k), features[: 3000 - k]] for k in range(40)]).T
        design = np.c_[lags, np.ones(3000)]
        course = experiment.courses["story1"][0]
        fit = design @ np.linalg.lstsq(design, course, rcond=None)[0]
        left[adaptation] = np.var(course - fit) / np.var(course)
    assert left[0.0] < 1e-6 < 0.01 < left[1.0]


def test_random_areas_are_apart_and_ordered(src):
    experiment = simulate_naturalistic(
        1, 1, duration=10.0, areas=6, src=src, random_state=4
    )
    points = experiment.positions()[experiment.centres]
    away = np.linalg.norm(points[:, None] - points[None], axis=2)
    assert away[~np.eye(6, dtype=bool)].min() > 0.025
    latencies = [area.latency for area in experiment.areas]
    assert latencies == sorted(latencies)


def test_a_seed_gives_the_same_and_another_gives_another(src):
    def simulate(seed):
        experiment = simulate_naturalistic(
            1, 1, duration=10.0, src=src, random_state=seed
        )
        person = experiment.recordings["P1"]
        return person["meg"]["story1"][0].get_data(), person["fmri"]["story1"][0]

    first, again, other = simulate(7), simulate(7), simulate(8)
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_people": 0}, "n_people of 1 or more"),
        ({"duration": 3.0}, "at least 10 s"),
        ({"meg_snr": -1.0}, "positive meg_snr"),
        ({"sfreq": 10.0}, "at least 20 Hz"),
        ({"head_error": 5.0}, "divide millimetres"),
        ({"n_repeats": {"story9": 2}}, "n_repeats of story1"),
        ({"n_repeats": 0}, "n_repeats of 1"),
        ({"areas": [Area("out", (200.0, 0.0, 0.0), "words", 0.1)]}, "within 20 mm"),
        ({"areas": 500}, "as many areas as fit"),
    ],
)
def test_what_cannot_be_simulated_is_an_error(src, settings, message):
    with pytest.raises(ValueError, match=message):
        simulate_naturalistic(
            **({"n_people": 1, "n_stories": 1, "src": src} | settings)
        )


def test_source_space_without_a_download(src):
    pytest.importorskip("nilearn")
    from mne_megfm.simulation._cortex import template_source_space

    made = template_source_space("ico3")
    for one, other in zip(made, src, strict=True):
        np.testing.assert_array_equal(one["vertno"], other["vertno"])
        np.testing.assert_allclose(one["rr"], other["rr"], atol=1e-6)
