"""Heatmap of attention: one row a query, one column a key, colour = weight."""

import numpy as np

from minattn import backend, masks
from minattn.plots import canvas

GREY, DARK = "#d9d9d9", "#7a7a7a"


def heatmap(
    weights,
    queries=None,
    keys=None,
    *,
    ax=None,
    cmap=None,
    vmin=0.0,
    vmax=None,
    center=None,
    annot=False,
    fmt=".2f",
    mask=None,
    cbar=True,
    cbar_label="weight",
    title=None,
    xlabel="looks at (key)",
    ylabel="query",
):
    """Draw attention weights (T, S), the first query on top -> the Axes.

    Parameters
    ----------
    weights : (T, S) array
        What one head gave. NaN and infinite weights are crossed grey cells.
    queries, keys : sequences of T and of S tokens, optional
        Any tokens: they are written as they are, except that outer spaces become "␣", the empty token "∅", unprintable
        characters their Python escape, and that long ones end in "…". Without them the positions count from 0.
    ax : matplotlib Axes, optional
        Where to draw; otherwise a new figure, sized by T and S.
    cmap : name or Colormap
        "cividis" by default, which reads the same with and without colour blindness; "RdBu_r" with a center.
    vmin, vmax : float or None
        The ends of the colours. vmin is 0, and vmax is the largest weight unless given; vmin=None takes the smallest,
        as scores before the softmax need it. Give both to several heatmaps that are to be compared.
    center : float, optional
        The middle of the colours: what lies as far above it as below is as dark, as suits gradients (center=0). vmin is
        then not needed, and vmax is as far from the center as the farthest value unless given.
    annot, fmt : bool, format spec
        Write each weight into its cell.
    mask : (T, S) booleans or rule of minattn.masks, True = may look
        All other cells are hatched. They are grey as well, unless they carry a weight: then its colour stays, since a
        weight where nobody may look is a mistake that should be seen.
    cbar, cbar_label : bool, str
        Add a colour bar, and what it says is measured.

    Raises
    ------
    ValueError, TypeError
        weights are not (T, S) real numbers, or labels or mask do not fit them.
    """
    weights = _one_head(weights)
    T, S = weights.shape
    queries = fitting("queries", queries, T, weights, "T", "rows")
    keys = fitting("keys", keys, S, weights, "S", "columns")
    hidden, missing, blank = cells(weights, mask)
    shown = weights[~blank]
    vmin, vmax = limits(shown, vmin, vmax, center)
    texts = {(t, s): format(weights[t, s], fmt) for t, s in np.argwhere(~blank)} if annot else {}

    # Cells of one size: large enough for a number, or for a label.
    longest = max((len(text) for text in texts.values()), default=0)
    cell = max(0.45, 0.13 * longest) if annot else min(max(6 / max(T, S), 0.17), 0.45)
    size = canvas.inches(S, cell, 2.2, queries), canvas.inches(T, cell, 1.2, keys)
    with canvas.axes(ax, size) as ax:
        import matplotlib

        usual = "cividis" if center is None else "RdBu_r"
        colours = matplotlib.colormaps.get_cmap(usual if cmap is None else cmap).with_extremes(bad=GREY)
        image = ax.imshow(
            np.ma.masked_where(blank, weights),
            cmap=colours,
            vmin=vmin,
            vmax=vmax,
            aspect="auto",
            origin="upper",
            interpolation="antialiased",
        )
        ax.grid(False)
        _hatch(ax, hidden, "////")
        _hatch(ax, missing, "xxxx")
        if cbar:
            colour_bar(ax, image, cbar_label, shown, hidden, missing)
        for axis, tokens in ((ax.xaxis, keys), (ax.yaxis, queries)):
            if tokens is None:
                canvas.number_steps(axis)
            else:
                canvas.label_steps(axis, tokens)
        _write(ax, image, texts, weights)
        canvas.finish(ax, title, xlabel, ylabel)
    return ax


def _one_head(weights):
    weights = canvas.numbers("weights", weights)
    if weights.ndim == 1:
        raise ValueError(f"weights {weights.shape} must be (T, S), one row a query: write weights[None] for one query")
    if weights.ndim != 2:
        choice = {3: "one head, as in weights[0]", 4: "one sequence and one head, as in weights[0, 0]"}
        advice = choice.get(weights.ndim, "two of its axes")
        raise ValueError(
            f"weights {weights.shape} has {weights.ndim} axes but a heatmap draws one (T, S): choose {advice}"
        )
    if not weights.size:
        raise ValueError(f"weights {weights.shape} is empty: there is nothing to draw")
    return weights


def fitting(name, tokens, n, weights, letter, lines):
    """Labels as a list of n, or None."""
    if tokens is None:
        return None
    tokens = canvas.labels(name, tokens)
    if len(tokens) != n:
        raise ValueError(f"{name} has {len(tokens)} labels but weights {weights.shape} has {letter}={n} {lines}")
    return tokens


def cells(weights, mask):
    """Booleans (..., T, S): where nobody may look, where a number is missing, and what therefore has no colour."""
    hidden = np.zeros(weights.shape, dtype=bool)
    if mask is not None:
        mask = backend.to_host(mask)
        hidden = ~np.broadcast_to(masks.array(mask, weights.shape, like=weights), weights.shape)
    real = np.isfinite(weights)
    missing = ~real & ~hidden
    return hidden, missing, missing | (hidden & ~(real & (weights != 0)))


def limits(shown, vmin, vmax, center=None):
    """The ends of the colours: as given, or as the numbers shown have it, equally far from the center, if any."""
    if center is not None:
        if vmax is None:
            vmax = center + (np.abs(shown - center).max(initial=0) or 1.0)
        if not vmax > center:
            raise ValueError(f"vmax={vmax} must lie above center={center}, the middle of the colours")
        return float(2 * center - vmax), float(vmax)
    if vmin is None:
        vmin = shown.min() if shown.size else 0.0
    if vmax is None:
        vmax = shown.max() if shown.size else vmin
        vmax = vmax if vmax > vmin else vmin + 1.0  # all alike, as rows of zeros: the colour of vmin
    if not vmin <= vmax:
        raise ValueError(f"vmin={vmin} must not lie above vmax={vmax}")
    return float(vmin), float(vmax)


def colour_bar(axes, image, label, shown, hidden, missing, aspect=30):
    """One colour bar beside the Axes, which also says what the hatches mean."""
    label += "\nhatched: may not look" if hidden.any() else ""
    label += "\ncrossed: not a number" if missing.any() else ""
    bar = image.figure.colorbar(image, ax=axes, aspect=aspect, extend=_beyond(shown, *image.get_clim()))
    canvas.write(bar.ax, bar.ax.yaxis.label, label)


def _beyond(shown, vmin, vmax):
    """Colour bars end in an arrow where weights lie beyond it."""
    low, high = bool((shown < vmin).any()), bool((shown > vmax).any())
    return {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[low, high]


def _hatch(ax, cells, pattern):
    """One patch of many rectangles, a rectangle for each run of cells in a row: a large causal mask stays cheap."""
    if not cells.any():
        return
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    edges = np.diff(np.pad(cells, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    (rows, starts), (_, ends) = np.nonzero(edges == 1), np.nonzero(edges == -1)
    left, right, top, bottom = starts - 0.5, ends - 0.5, rows - 0.5, rows + 0.5
    corners = np.stack([left, top, right, top, right, bottom, left, bottom, left, top], axis=1).reshape(-1, 2)
    codes = np.tile([Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY], len(rows))
    ax.add_patch(PathPatch(Path(corners, codes), facecolor="none", edgecolor=DARK, linewidth=0, hatch=pattern))


def _write(ax, image, texts, weights):
    """Numbers into cells, in letters that can be read on the colour behind them."""
    if not texts:
        return
    extent, points = ax.get_window_extent(), 72 / ax.figure.dpi
    width, height = extent.width * points / weights.shape[1], extent.height * points / weights.shape[0]
    longest = max(len(text) for text in texts.values())
    size = max(min(10.0, 0.6 * height, 1.3 * width / longest), 3.0)
    for (t, s), text in texts.items():
        colour = canvas.ink(image.cmap(image.norm(weights[t, s]))[:3])
        ax.text(s, t, text, ha="center", va="center", color=colour, fontsize=size, **canvas.VERBATIM)
