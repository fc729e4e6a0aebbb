"""Figures: what a model looks at, how far its gradient reaches, how it learns.

    ax = heatmap(cache.weights[0, 0], queries=phonemes, keys=letters, mask=mask)
    axes = heads(cache.weights[0], phonemes, letters)
    ax = gradient_flow({"attention": norms, "last state": others}, tokens=letters)
    ax = positions("sinusoidal", T=64, M=128)
    axes = saturation(D=(4, 64, 512))
    ax = curves({"LSTM": errors}, ["1-8", "9-16"], xlabel="source length (letters)", ylabel="error", percent=True)
    view = AttentionView(cache.weights[0], queries=phonemes, keys=letters)  # all heads; view.save("look.html")

Each takes `ax`, or makes a figure of its own, and returns the Axes: `ax.figure.savefig("look.png")`. Nothing is shown,
no setting of matplotlib is touched, and matplotlib is imported only when something is drawn. Tokens in any script are
written in fonts that have their letters. A Display holds the numbers, to draw them again with other settings:

    display = HeatmapDisplay.from_weights(weights, phonemes, letters).plot()

An AttentionView is HTML for notebooks and browsers, and needs no matplotlib.
"""

from minattn.plots.curves import curves
from minattn.plots.display import (
    GradientFlowDisplay,
    HeadsDisplay,
    HeatmapDisplay,
    PositionsDisplay,
    SaturationDisplay,
)
from minattn.plots.gradient_flow import gradient_flow
from minattn.plots.heads import heads
from minattn.plots.heatmap import heatmap
from minattn.plots.positions import positions
from minattn.plots.saturation import saturation
from minattn.plots.viewer import AttentionView

__all__ = [
    "AttentionView",
    "GradientFlowDisplay",
    "HeadsDisplay",
    "HeatmapDisplay",
    "PositionsDisplay",
    "SaturationDisplay",
    "curves",
    "gradient_flow",
    "heads",
    "heatmap",
    "positions",
    "saturation",
]
