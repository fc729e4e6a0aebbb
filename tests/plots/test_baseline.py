"""Figures look as they did when somebody last looked at them: tests/plots/baseline/*.png, rebuilt by

    python tests/plots/test_baseline.py

which is right after a change that was meant to be seen; then look at them. Two minor versions of matplotlib place text
a little differently, so a picture is compared only by the one that made it, which its file names.
"""

import io
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
from matplotlib import pyplot
from PIL import Image

from minattn import masks
from minattn.plots import curves, gradient_flow, heads, heatmap, positions, saturation

BASELINE = Path(__file__).with_name("baseline")
MADE_BY = "matplotlib " + ".".join(matplotlib.__version__.split(".")[:2])
DPI = 40
TOLERANCE = 2.0  # of 255, root mean square: two lines that trade their colours make 12


def weights(*shape):
    """Rows that sum to 1 and are the same in every version of NumPy."""
    weights = np.exp(2 * np.sin(1.7 * np.arange(np.prod(shape))).reshape(shape))
    return weights / weights.sum(axis=-1, keepdims=True)


def draw_heatmap():
    holed = weights(5, 5) * np.tri(5)
    holed[3, 1] = np.nan
    return heatmap(holed, "abcde", ["the", "", " x", "$y$", "é"], mask=masks.causal(), annot=True, title="one head")


def draw_gradients():
    return heatmap(weights(4, 6) - 0.2, center=0, cbar_label="gradient")


def draw_heads():
    return heads(weights(2, 3, 4, 4) * np.tri(4), "abcd", "efgh", mask=masks.causal(), title="two layers")


def draw_many_heads():
    return heads(weights(3, 10, 6, 6))


def draw_gradient_flow():
    rnn = np.logspace(-6, 0, 12)
    lstm = np.stack([rnn**0.1, rnn**0.2, 2 * rnn**0.1])
    rnn[2:4], rnn[7] = 0, np.nan
    return gradient_flow({"RNN": rnn, "LSTM": lstm}, tokens="abcdefghijkl", title="gradients")


def draw_positions():
    return positions("sinusoidal", T=24, M=32, alike=True, title="waves")


def draw_saturation():
    return saturation((4, 64), np.logspace(-2, 0.5, 12), S=16, queries=32, title="why 1/√D")


def draw_curves():
    return curves({"a": [0.1, 0.4], "b": [0.1, 0.2]}, ["1–8", "9–16"], xlabel="length", ylabel="error", percent=True)


FIGURES = {name.removeprefix("draw_"): function for name, function in vars().items() if name.startswith("draw_")}


def save(name, file):
    """Draw as anybody would who has set nothing."""
    usual = {key: value for key, value in matplotlib.rcParamsDefault.items() if key != "backend"}
    with matplotlib.rc_context(usual):
        axes = FIGURES[name]()
        figure = np.ravel(np.array(axes, dtype=object))[0].figure
        figure.savefig(file, dpi=DPI, metadata={"Software": MADE_BY}, pil_kwargs={"optimize": True})
        pyplot.close(figure)


def read(file):
    """-> pixels (Y, X, 3) from 0 to 255, and who made them."""
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"), dtype=float), image.info["Software"]


def difference(first, second):
    """Root mean square of what two pictures differ by, 0 to 255; infinite if they differ in size."""
    (first, _), (second, _) = read(first), read(second)
    return np.sqrt(np.mean((first - second) ** 2)) if first.shape == second.shape else np.inf


@pytest.mark.parametrize("name", FIGURES)
def test_looks_as_before(name):
    path = BASELINE / f"{name}.png"
    _, made_by = read(path)
    if made_by != MADE_BY:
        pytest.skip(f"{path.name} was made by {made_by} and this is {MADE_BY}")
    drawn = io.BytesIO()
    save(name, drawn)
    assert difference(path, drawn) < TOLERANCE


def test_every_picture_is_small_and_drawn_by_somebody():
    assert {path.stem for path in BASELINE.iterdir()} == FIGURES.keys()
    assert max(path.stat().st_size for path in BASELINE.iterdir()) < 20_000


def test_a_difference_that_can_be_seen_is_noticed(monkeypatch):
    before, after = io.BytesIO(), io.BytesIO()
    save("curves", before)
    monkeypatch.setattr("minattn.plots.canvas.COLOURS", ["#d55e00", "#0072b2"])
    save("curves", after)
    assert difference(before, after) > TOLERANCE and difference(before, before) == 0


if __name__ == "__main__":
    BASELINE.mkdir(exist_ok=True)
    for name in FIGURES:
        save(name, BASELINE / f"{name}.png")
