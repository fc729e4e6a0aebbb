"""A display holds the numbers, draws them with the function of its name, and can draw them again."""

import subprocess
import sys

import numpy as np
import pytest
from device import DeviceArray, waits
from matplotlib import pyplot

from minattn import masks, plots
from minattn.positions import sinusoidal

WEIGHTS = np.random.default_rng(0).dirichlet(np.ones(4), size=(2, 3, 4))  # L=2 H=3 T=4 S=4
NORMS = {"rnn": np.logspace(-4, 0, 5), "lstm": np.ones(5)}
SMALL = {"D": (4, 64), "scale": [0.1, 1.0], "S": 8, "queries": 16}
DISPLAYS = {
    "heatmap": lambda **options: plots.HeatmapDisplay.from_weights(WEIGHTS[0, 0], "abcd", "efgh", **options),
    "heads": lambda **options: plots.HeadsDisplay.from_weights(WEIGHTS, **options),
    "gradient flow": lambda **options: plots.GradientFlowDisplay.from_norms(NORMS, **options),
    "positions": lambda **options: plots.PositionsDisplay.from_table("sinusoidal", T=4, M=6, **options),
    "saturation": lambda **options: plots.SaturationDisplay.from_sizes(**SMALL, **options),
}
DIRECT = {
    "heatmap": lambda: plots.heatmap(WEIGHTS[0, 0], "abcd", "efgh", title="t"),
    "heads": lambda: plots.heads(WEIGHTS, title="t"),
    "gradient flow": lambda: plots.gradient_flow(NORMS, title="t"),
    "positions": lambda: plots.positions("sinusoidal", T=4, M=6, title="t"),
    "saturation": lambda: plots.saturation(**SMALL, title="t"),
}


def picture(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba()).copy()


@pytest.mark.parametrize("name", DISPLAYS)
def test_draws_what_the_function_draws_as_often_as_asked(name):
    display = DISPLAYS[name](title="t")
    assert pyplot.get_fignums() == [] and not hasattr(display, "ax_")
    first = display.plot().figure_
    assert display.plot() is display and display.figure_ is not first
    direct = np.ravel(np.array(DIRECT[name](), dtype=object))[0].figure
    once, twice, itself = (picture(figure) for figure in (first, display.figure_, direct))
    np.testing.assert_array_equal(once, itself)
    np.testing.assert_array_equal(twice, itself)


def test_other_settings_hold_for_one_drawing():
    display = plots.HeatmapDisplay.from_weights(WEIGHTS[0, 0], cmap="viridis")
    assert display.plot(cmap="magma", mask=masks.causal()).im_.cmap.name == "magma"
    assert display.plot().im_.cmap.name == "viridis" and not display.ax_.patches


def test_what_came_out_is_kept():
    display = plots.HeatmapDisplay.from_weights(WEIGHTS[0, 0]).plot()
    assert display.im_ is display.ax_.images[0] and display.figure_ is display.ax_.figure
    display = plots.HeadsDisplay.from_weights(WEIGHTS).plot()
    assert display.ax_.shape == (2, 3) and display.im_[5] is display.ax_[1, 2].images[0]
    display = plots.PositionsDisplay.from_table(sinusoidal(4, 6), alike=True).plot()
    assert len(display.im_) == 2 and display.numbers.shape == (4, 6)
    assert plots.GradientFlowDisplay.from_norms(NORMS).plot().im_ is None


@pytest.mark.parametrize(("name", "panels"), [("heatmap", 1), ("heads", 6), ("gradient flow", 1), ("saturation", 2)])
def test_the_given_axes_are_drawn_on(name, panels):
    figure, axes = pyplot.subplots(1, panels)
    display = DISPLAYS[name]().plot(axes)
    assert display.figure_ is figure and pyplot.get_fignums() == [figure.number]
    display.plot(ax=axes).figure_.canvas.draw()


def test_to_draw_again_measures_nothing(monkeypatch):
    display = plots.SaturationDisplay.from_sizes(**SMALL)
    monkeypatch.setattr(sys.modules["minattn.plots.saturation"], "_one_size", None)
    display.plot()


def test_numbers_are_checked_before_anything_is_drawn():
    with pytest.raises(TypeError, match="weights must hold real numbers"):
        plots.HeatmapDisplay.from_weights([["a"]])
    with pytest.raises(TypeError, match="norms must be a dict"):
        plots.GradientFlowDisplay.from_norms(np.ones(3))
    with pytest.raises(ValueError, match="table must be"):
        plots.PositionsDisplay.from_table("rotary")


def test_numbers_on_a_device_come_to_the_host_once():
    there = DeviceArray(WEIGHTS[0, 0])
    waits.clear()
    plots.HeatmapDisplay.from_weights(there).plot().plot()
    assert waits == {"get": 1}


def test_matplotlib_is_imported_only_when_something_is_drawn():
    code = (
        "import sys, numpy as np; from minattn.plots import HeatmapDisplay, SaturationDisplay;"
        "HeatmapDisplay.from_weights(np.eye(2)); SaturationDisplay.from_sizes(4, S=4, queries=2);"
        "sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
