"""Simulated people at rest: rhythms of regions, and fMRI that follows their power."""

import mne
import numpy as np
import pytest
from scipy.stats import gamma

from mne_megfm.simulation import simulate_rest


@pytest.fixture(scope="module")
def src(data_dir):
    return mne.read_source_spaces(
        data_dir / "headmodel" / "fsaverage5-ico3-src.fif", verbose="error"
    )


@pytest.fixture(scope="module")
def experiment(src):
    return simulate_rest(
        2,
        200.0,
        n_regions=5,
        arrays=("opm64",),
        differences=0.0,
        fmri_snr=2.0,
        src=src,
        random_state=1,
    )


def test_fmri_follows_the_power_of_rhythms(experiment):
    times = np.arange(0, 32, 2.0)
    wave = gamma.pdf(times, 6) - gamma.pdf(times, 16) / 6
    for name, powers in experiment.powers.items():
        assert powers.shape == (100, 5, 4) and (powers > 0).all()
        drive = (powers * experiment.coupling).sum(axis=2)
        drive -= drive.mean(axis=0)
        for r in range(5):
            expected = np.convolve(drive[:, r], wave)[:100]
            # the peak of the response differs between people, and scans are coarse
            assert np.corrcoef(expected, experiment.driven[name][:, r])[0, 1] > 0.9
        noise = experiment.fmri[name] - experiment.driven[name]
        assert noise.mean() == pytest.approx(100, abs=0.5)
        ratio = experiment.driven[name].var(axis=0) / noise.var(axis=0)
        assert np.median(ratio) == pytest.approx(2.0, rel=0.3)


def test_alpha_is_in_meg(experiment):
    raw = experiment.meg["P1"]
    assert raw.times[-1] == pytest.approx(200, abs=0.02)
    spectrum = raw.compute_psd(fmin=3, fmax=45, n_fft=400, verbose="error")
    psds, freqs = spectrum.get_data(return_freqs=True)
    mean = psds.mean(axis=0)
    near = mean[np.abs(freqs - 10) < 1].max()
    assert near > 3 * mean[np.abs(freqs - 14) < 1].max()


def test_regions_hold_their_centres_and_share_no_vertex(experiment):
    vertices = [s["vertno"] for s in experiment.src]
    seen = set()
    for label, centre in zip(experiment.labels, experiment.centres, strict=True):
        side = int(centre >= len(vertices[0]))
        assert label.hemi == ("lh", "rh")[side]
        assert vertices[side][centre - side * len(vertices[0])] in label.vertices
        own = {(label.hemi, v) for v in label.vertices}
        assert not own & seen
        seen |= own


@pytest.mark.parametrize(
    "wrong",
    [{"sfreq": 50.0}, {"duration": 10.0}, {"meg_snr": 0.0}, {"n_people": 0}],
)
def test_wrong_numbers_are_errors(src, wrong):
    with pytest.raises(ValueError, match="Expected .*got"):
        simulate_rest(**{"n_people": 1, "src": src, **wrong})
