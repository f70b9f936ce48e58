"""Tests of the figure of masked reconstruction."""

import numpy as np
import pytest

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
    (side,) = {sub.get_supylabel() for sub in fig.subfigs} - {""}
    assert side.endswith("(fT)")


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
    ],
)
def test_misuse(reconstruction, given, match):
    """Windows that are not there or not masked are refused."""
    with pytest.raises(ValueError, match=match):
        plot_reconstruction(reconstruction, show=False, **given)
