"""Displays: figures as objects, after scikit-learn's convention. They hold the numbers and draw them when asked.

    display = HeatmapDisplay.from_weights(weights, phonemes, letters).plot()
    display.ax_.set_title("where the reader looked")
    display.plot(cmap="viridis", annot=True)            the same numbers once more, in a new figure

`from_...` takes the numbers, or measures them, and draws nothing yet. `plot` hands them to the function of that name in
`minattn.plots`: options given to either are that function's, and those given to `plot` hold for that once.
"""

import numpy as np

from minattn.plots import canvas
from minattn.plots.gradient_flow import gradient_flow
from minattn.plots.heads import heads
from minattn.plots.heatmap import heatmap
from minattn.plots.positions import place_table, positions
from minattn.plots.saturation import draw as draw_saturation
from minattn.plots.saturation import measure


class Display:
    """What all share. After `plot`: `ax_` (an Axes or an array of them), `figure_`, and `im_`, its images alike."""

    draw = None  # the function that draws, and the name under which it takes Axes
    where = "ax"

    def __init__(self, numbers, **options):
        self.numbers, self.options = numbers, options

    def plot(self, ax=None, **options):
        """Draw on these Axes, or in a new figure -> the display itself."""
        self.ax_ = type(self).draw(self.numbers, **(self.options | options | {self.where: ax}))
        panels = np.ravel(np.array(self.ax_, dtype=object))
        images = [ax.images[-1] if ax.images else None for ax in panels]
        self.figure_ = panels[0].figure
        self.im_ = images if isinstance(self.ax_, np.ndarray) else images[0]
        return self


class HeatmapDisplay(Display):
    """The weights (T, S) of one head; `numbers` holds them."""

    draw = staticmethod(heatmap)

    @classmethod
    def from_weights(cls, weights, queries=None, keys=None, **options):
        """weights, queries, keys and options of `heatmap` -> HeatmapDisplay."""
        return cls(canvas.numbers("weights", weights), queries=queries, keys=keys, **options)


class HeadsDisplay(Display):
    """The weights (H, T, S) or (L, H, T, S) of many heads; `numbers` holds them."""

    draw, where = staticmethod(heads), "axes"

    @classmethod
    def from_weights(cls, weights, queries=None, keys=None, **options):
        """weights, queries, keys and options of `heads` -> HeadsDisplay."""
        return cls(canvas.numbers("weights", weights), queries=queries, keys=keys, **options)


class GradientFlowDisplay(Display):
    """Norms of gradients by the name of the model; `numbers` is that dict."""

    draw = staticmethod(gradient_flow)

    @classmethod
    def from_norms(cls, norms, **options):
        """norms and options of `gradient_flow` -> GradientFlowDisplay."""
        norms = canvas.named("norms", norms)
        return cls({name: canvas.numbers(f"norms[{name!r}]", row) for name, row in norms.items()}, **options)


class PositionsDisplay(Display):
    """A table of positions (T, M); `numbers` holds it."""

    draw = staticmethod(positions)

    @classmethod
    def from_table(cls, table, *, T=None, M=None, **options):
        """table or "sinusoidal", its sizes, and options of `positions` -> PositionsDisplay."""
        return cls(place_table(table, T, M), **options)


class SaturationDisplay(Display):
    """Entropy and gradient of the softmax; `numbers` is the Saturation, so that to draw again measures nothing."""

    draw, where = staticmethod(draw_saturation), "axes"

    @classmethod
    def from_sizes(cls, D=(4, 64, 512), scale=None, *, S=64, queries=256, rng=0, **options):
        """Arguments of `saturation` -> SaturationDisplay."""
        return cls(measure(D, scale, S=S, queries=queries, rng=rng), **options)
