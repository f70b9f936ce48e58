"""Tests of the figure of masked reconstruction."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import signal

from mne_megfm.interpret import Reconstruction
from mne_megfm.viz import plot_reconstruction


@pytest.fixture
def reconstruction(rng):
    """Return two windows: a quarter of the sensors hidden, and a time block."""
    original = 1e-13 * rng.standard_normal((3, 192, 250)).astype(np.float32)
    mask = np.zeros(original.shape, bool)
    mask[0, 40:88] = True
    mask[1, :, 50:125] = True
    return Reconstruction(
        original=original,
        reconstructed=np.where(mask, 0.5 * original, original),
        mask=mask,
        sfreq=250.0,
        sensors=np.zeros((192, 100)),
        ch_names=tuple(f"MEG {i}" for i in range(100)),
    )


def _axes(fig):
    """Return the axes with traces, topographies and the colour bar."""
    traces = [ax for ax in fig.axes if ax.get_ylabel().startswith("V")]
    tops = [ax for ax in fig.axes if " ms" in ax.get_title()]
    (bar,) = [ax for ax in fig.axes if ax.get_xlabel() == "fT"]
    return traces, tops, bar


@pytest.mark.parametrize("window", [0, 1, -2])
def test_figure_is_complete(reconstruction, window):
    """Axes have labels with units, a legend, a title and a colour bar."""
    fig = plot_reconstruction(
        reconstruction, window=window, n_traces=5, title="A recording", show=False
    )
    fig.canvas.draw()
    traces, tops, _ = _axes(fig)
    assert len(traces) == 5
    assert len(tops) == 2
    assert traces[-1].get_xlabel() == "Time in the window (s)"
    assert traces[0].get_xlim() == pytest.approx((0, 249 / 250))
    labels = [text.get_text() for text in traces[0].get_legend().get_texts()]
    assert labels == ["hidden from the model", "original", "predicted"]
    assert [ax.get_title().split(",")[0] for ax in tops] == ["original", "predicted"]
    assert fig.get_suptitle() == "A recording"
    top, bottom = fig.subfigs
    (side,) = {sub.get_supylabel() for sub in top.subfigs} - {""}
    assert side.endswith("(fT)")
    labels = [ax.get_xlabel() for ax in bottom.subfigs[-1].axes]
    assert labels == ["Frequency (Hz)"]


def test_traces_are_the_data(reconstruction):
    """Traces are in fT, of hidden sensors, with predictions where hidden alone."""
    fig = plot_reconstruction(reconstruction, n_traces=4, show=False)
    for ax in _axes(fig)[0]:
        sensor = int(ax.get_ylabel()[1:])
        assert 40 <= sensor < 88
        lines = {line.get_label(): line.get_ydata() for line in ax.get_lines()}
        original = reconstruction.original[0, sensor] * 1e15
        np.testing.assert_allclose(lines["original"], original, rtol=1e-5)
        np.testing.assert_allclose(lines["predicted"], original / 2, rtol=1e-5)
    fig = plot_reconstruction(reconstruction, window=1, show=False)
    for ax in _axes(fig)[0]:
        (predicted,) = [x for x in ax.get_lines() if x.get_label() == "predicted"]
        shown = np.isfinite(predicted.get_ydata())
        np.testing.assert_array_equal(shown, reconstruction.mask[1, 0])


def test_moment_is_hidden(reconstruction):
    """Topographies show the moment in hidden signal with the strongest field."""
    fig = plot_reconstruction(reconstruction, window=1, show=False)
    power = np.square(reconstruction.original[1]).sum(0) * reconstruction.mask[1, 0]
    moment = f"{power.argmax() * 4} ms"
    assert all(ax.get_title().endswith(moment) for ax in _axes(fig)[1])


def test_fewer_hidden_sensors_than_traces(reconstruction):
    """No sensor is shown twice."""
    mask = np.zeros_like(reconstruction.mask)
    mask[0, 7:10] = True
    object.__setattr__(reconstruction, "mask", mask)
    fig = plot_reconstruction(reconstruction, n_traces=6, show=False)
    assert [ax.get_ylabel() for ax in _axes(fig)[0]] == ["V007", "V008", "V009"]


@pytest.mark.parametrize(
    "kind, n", [("traces", 3), ("butterfly", 2), ("topomap", 2), ("spectra", 1)]
)
def test_given_axes(reconstruction, kind, n):
    """A single kind draws on axes that are given, and on no other figure."""
    own, given = plt.subplots(1, n, squeeze=False)
    fig = plot_reconstruction(
        reconstruction, kind=kind, n_traces=3, axes=given[0], show=False
    )
    assert fig is own
    assert plt.get_fignums() == [own.number]
    assert all(ax.has_data() or ax.images for ax in given[0])
    with pytest.raises(ValueError, match=f"axes as {n} matplotlib Axes, got {n + 1}"):
        plot_reconstruction(
            reconstruction, kind=kind, n_traces=3, axes=fig.subplots(1, n + 1)
        )


def test_butterfly_is_hidden_signal(reconstruction):
    """All sensors with hidden signal, where it is hidden alone."""
    fig = plot_reconstruction(reconstruction, kind="butterfly", window=1, show=False)
    for ax, factor in zip(fig.axes, (1.0, 0.5), strict=True):
        lines = np.array([line.get_ydata() for line in ax.get_lines()])
        expected = np.full((192, 250), np.nan)
        expected[:, 50:125] = reconstruction.original[1, :, 50:125] * 1e15 * factor
        np.testing.assert_allclose(lines, expected, rtol=1e-5)


def test_spectra_are_those_of_scipy(reconstruction):
    """Welch's method on a sensor hidden throughout; halves have half the amplitude."""
    one = np.zeros_like(reconstruction.mask)
    one[0, 40] = True
    object.__setattr__(reconstruction, "mask", one)
    fig = plot_reconstruction(reconstruction, kind="spectra", show=False)
    lines = {line.get_label(): line for line in fig.axes[0].get_lines()}
    taper = np.hanning(252)[1:-1]
    freqs, power = signal.periodogram(
        reconstruction.original[0, 40].astype(float) * 1e15, 250.0, taper,
        detrend=False,
    )  # fmt: skip
    np.testing.assert_allclose(lines["original"].get_xdata(), freqs[1:])
    found = lines["original"].get_ydata()
    # the highest frequency has no mirror image, so its power counts once
    np.testing.assert_allclose(found[:-1], np.sqrt(power[1:-1]), rtol=1e-6)
    np.testing.assert_allclose(lines["predicted"].get_ydata(), found / 2, rtol=1e-5)
    np.testing.assert_allclose(lines["difference"].get_ydata(), found / 2, rtol=1e-5)


def test_show(reconstruction, monkeypatch):
    """The figure is shown only when that is asked for."""
    shown = []
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: shown.append(True))
    plot_reconstruction(reconstruction, n_traces=1, show=False)
    assert not shown
    plot_reconstruction(reconstruction, n_traces=1)
    assert shown == [True]


@pytest.mark.parametrize(
    "given, match",
    [
        ({"window": 3}, "window below 3, got 3"),
        ({"window": -4}, "window below 3, got -4"),
        ({"window": 2}, "none in window 2"),
        ({"n_traces": 0}, "n_traces of 1 or more, got 0"),
        ({"kind": "field"}, "kind among .*, got 'field'"),
        ({"axes": []}, "no axes for kind='all'"),
    ],
)
def test_misuse(reconstruction, given, match):
    """Windows that are not there or not masked are refused."""
    with pytest.raises(ValueError, match=match):
        plot_reconstruction(reconstruction, show=False, **given)
