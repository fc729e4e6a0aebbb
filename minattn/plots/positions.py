"""Positions: what is added to the embeddings so that order can be seen, and how alike it makes two places.

ax = positions("sinusoidal", T=64, M=128)
table, alike = positions(params["positions"], alike=True)
"""

from minattn import validate
from minattn.plots import canvas
from minattn.plots.heatmap import heatmap
from minattn.positions import sinusoidal


def positions(table, *, T=None, M=None, alike=False, ax=None, cmap=None, vmax=None, cbar=True, title=None):
    """Draw a table of positions (T, M), the first place on top, in colours that differ by sign -> the Axes.

    Parameters
    ----------
    table : (T, M) array or "sinusoidal"
        A row for each place, as `minattn.positions.sinusoidal` makes and as a model learns in params["positions"].
    T, M : int, optional
        Places and model features of "sinusoidal"; 64 and 64 unless given. Of an array: no more than the first T rows.
    alike : bool
        Draw the dot product of every two places beside it: for waves it depends on their distance alone.
    ax : matplotlib Axes, or a pair of them where alike, optional
        Where to draw; otherwise a new figure.
    cmap : name or Colormap
        "RdBu_r" by default: blue is negative, white 0, red positive.
    vmax : float, optional
        The end of the table's colours on both sides of 0; otherwise the largest absolute number in it.
    cbar : bool
        Add a colour bar to each.

    Returns
    -------
    Axes, or array of two Axes where alike

    Raises
    ------
    ValueError, TypeError
        table is neither the name of a kind nor real numbers of shape (T, M), or does not have T rows.
    """
    table = place_table(table, T, M)
    T, M = table.shape
    size = canvas.inches(M, 5 / max(T, M), 2.2), canvas.inches(T, 5 / max(T, M), 1.2)
    look = {"cmap": cmap, "center": 0.0, "cbar": cbar}
    if not alike:
        with canvas.axes(ax, size) as ax:
            return _draw_table(table, ax, vmax, title, look)
    with canvas.grid(ax, (size[0] + size[1] + 1.0, size[1]), 2, 2) as axes:
        _draw_table(table, axes[0], vmax, title, look)
        said = {"title": "how alike two places are", "xlabel": "place", "ylabel": "place"}
        heatmap(table @ table.T, ax=axes[1], cbar_label="dot product", **said, **look)
        axes[1].set_aspect("equal")
    return axes


def place_table(table, T=None, M=None):
    """A table of positions as (T, M) numbers, given as such or by the name of its kind."""
    if isinstance(table, str):
        if table != "sinusoidal":
            raise ValueError(
                f'table must be "sinusoidal" or (T, M) numbers but is {table!r}: what is learned stands in '
                f'params["positions"], and rotary and alibi have no table'
            )
        T, M = (64 if size is None else size for size in (T, M))
        validate.count("T", T)
        validate.count("M", M)
        return sinusoidal(T, M)
    table = canvas.numbers("table", table)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"table {table.shape} must be (T, M): a row of M features for each of T places")
    if M not in (None, table.shape[1]):
        raise ValueError(f"M={M} but table {table.shape} has M={table.shape[1]} features")
    if T is not None and not 0 < T <= len(table):
        raise ValueError(f"T={T} places were asked for but table {table.shape} has {len(table)} rows")
    return table[:T]


def _draw_table(table, ax, vmax, title, look):
    return heatmap(table, ax=ax, vmax=vmax, cbar_label="value", title=title, xlabel="feature", ylabel="place", **look)
