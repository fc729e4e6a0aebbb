"""Figures: what a model looks at, how far its gradient reaches, how it learns.

    ax = heatmap(cache.weights[0, 0], queries=phonemes, keys=letters, mask=mask)
    ax = gradient_flow({"attention": norms, "last state": others}, tokens=letters)
    ax = curves({"LSTM": errors}, ["1-8", "9-16"], xlabel="source length (letters)", ylabel="error", percent=True)
    view = AttentionView(cache.weights[0], queries=phonemes, keys=letters)  # all heads; view.save("look.html")

The first three take `ax`, or make a figure of their own, and return the Axes: `ax.figure.savefig("look.png")`. Nothing
is shown, no setting of matplotlib is touched, and matplotlib is imported only when something is drawn. The last is HTML
for notebooks and browsers, and needs no matplotlib.
"""

from minattn.plots.curves import curves
from minattn.plots.gradient_flow import gradient_flow
from minattn.plots.heatmap import heatmap
from minattn.plots.viewer import AttentionView

__all__ = ["AttentionView", "curves", "gradient_flow", "heatmap"]
