"""Heads: every head of every layer in one picture, in one scale of colours.

heads(cache.weights[0], tokens, tokens)                                          the heads of a layer
heads(np.stack([layer[0] for layer in cache.weights]), mask=masks.causal())      layers above each other
"""

import math

import numpy as np

from minattn.plots import canvas
from minattn.plots.heatmap import cells, colour_bar, fitting, heatmap, limits

WIDE = 4  # heads of one layer beside each other
ROOM = 1.2  # inches of a panel from which on its axes are labelled


def heads(
    weights,
    queries=None,
    keys=None,
    *,
    axes=None,
    titles=None,
    cmap=None,
    vmin=0.0,
    vmax=None,
    mask=None,
    cbar=True,
    title=None,
    xlabel="looks at (key)",
    ylabel="query",
):
    """Draw the attention weights of many heads as heatmaps of one scale -> array of Axes.

    Parameters
    ----------
    weights : (H, T, S) or (L, H, T, S) array
        The heads of one layer, four in a row, or a row for each of L layers. A list of L arrays will do.
    queries, keys : sequences of T and of S tokens, optional
        As in `heatmap`. Labels stand at the outer edges alone, and nowhere if a panel is too small for them.
    axes : array of H or (L, H) matplotlib Axes, optional
        Where to draw; otherwise a new figure. What its title and its labels say is then the caller's.
    titles : H or (L, H) strings, optional
        What stands above each panel; otherwise "head 0", "head 1", ..., and "layer 0", ... beside the rows.
    cmap, vmin, vmax, mask, cbar : optional
        As in `heatmap`, but all panels share the colours and one colour bar. mask: to (L, H, T, S).
    title, xlabel, ylabel : str
        Of the whole figure.

    Returns
    -------
    (H,) or (L, H) array of Axes

    Raises
    ------
    ValueError, TypeError
        weights are not real numbers of such a shape, or labels, mask, titles or axes do not fit them.
    """
    weights = _many(weights)
    *shape, T, S = weights.shape
    queries = fitting("queries", queries, T, weights, "T", "rows")
    keys = fitting("keys", keys, S, weights, "S", "columns")
    titles = _headings(titles, shape)
    hidden, missing, blank = cells(weights, mask)
    vmin, vmax = limits(weights[~blank], vmin, vmax)
    number, columns = math.prod(shape), min(shape[-1], WIDE if len(shape) == 1 else shape[-1])
    rows = -(-number // columns)
    side = min(max(14 / max(rows, columns), 1.1), 2.4)
    ragged = 1.0 if number % columns and keys else 0.0  # then labels stand below the last row but one, too
    size = canvas.inches(columns, side, 1.8, queries), canvas.inches(rows, side, 1.2 + ragged, keys)

    with canvas.grid(axes, size, number, columns) as panels:
        roomy = min(_inches(ax) for ax in panels) >= ROOM
        for i, (ax, place) in enumerate(zip(panels, np.ndindex(*shape), strict=True)):
            left, below = i % columns == 0, i + columns >= number
            heatmap(
                weights[place],
                queries if left and roomy else None,
                keys if below and roomy else None,
                ax=ax,
                cmap=cmap,
                vmin=vmin,
                vmax=vmax,
                mask=~hidden[place] if hidden.any() else None,
                cbar=False,
                title=titles[place],
                xlabel="",
                ylabel=f"layer {place[0]}" if left and len(shape) == 2 else "",
            )
            if not (left and roomy):
                ax.set_yticks([])
            if not (below and roomy):
                ax.set_xticks([])
            ax.title.set_size("medium" if roomy else "small")
            for spine in ax.spines.values():
                spine.set_linewidth(0.4)
        if cbar:
            image = panels[0].images[-1]
            colour_bar(list(panels), image, "weight", weights[~blank], hidden, missing, aspect=25 + 5 * rows)
        if axes is None:
            canvas.finish_figure(panels, title, xlabel, ylabel)
    return panels.reshape(shape)


def _many(weights):
    weights = canvas.numbers("weights", weights)
    if weights.ndim not in (3, 4):
        advice = {2: ": one head alone is drawn by heatmap", 5: ": choose one sequence, as in weights[:, 0]"}
        raise ValueError(
            f"weights {weights.shape} must be (H, T, S), or (L, H, T, S) for L layers{advice.get(weights.ndim, '')}"
        )
    if not weights.size:
        raise ValueError(f"weights {weights.shape} is empty: there is nothing to draw")
    return weights


def _headings(titles, shape):
    """What stands above each panel, (H,) or (L, H); without titles the number of the head above each column."""
    headings = np.full(shape, None, dtype=object)
    if titles is None:
        headings[...] = [f"head {h}" for h in range(shape[-1])]
        headings[1:] = headings[1:] if len(shape) == 1 else None  # above the first layer alone
        return headings
    titles = np.asarray(titles, dtype=object)
    if titles.size != headings.size:
        raise ValueError(f"titles has {titles.size} entries but there are {headings.size} panels")
    headings[...] = titles.reshape(shape)
    return headings


def _inches(ax):
    """The shorter side of a panel."""
    extent = ax.get_window_extent()
    return min(extent.width, extent.height) / ax.figure.dpi
