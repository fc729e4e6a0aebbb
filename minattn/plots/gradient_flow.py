"""Gradient flow: how much of the error's gradient arrives at each source position, time step, or layer.

gradient_flow({"LSTM": at_steps, "RNN": others}, tokens=letters)
gradient_flow({"norm first": at_layers, "norm last": others}, xlabel="layer")
"""

import numpy as np

from minattn.plots import canvas

ROWS, HEIGHT = 10, 0.03  # rows of marks at the foot, and the share of the figure's height that each takes


def gradient_flow(
    norms,
    *,
    labels=None,
    tokens=None,
    ax=None,
    title=None,
    xlabel="source position",
    ylabel="gradient norm",
):
    """Draw gradient norms against source position, on a log axis -> the Axes.

    Parameters
    ----------
    norms : dict name -> (S,) or (R, S) array
        Norms of the gradient at each of S positions. Of R phrases the line is the median and the band the middle half,
        both taken of the logarithms. Zeros, NaN and infinity have no place on a log axis and are left out, position by
        position and phrase by phrase, so that padding does not count. Where nothing else is left a mark stands at the
        foot of the figure: a triangle for zeros alone, a cross where there is NaN or infinity.
    labels : sequence, optional
        What the legend says in place of the names.
    tokens : sequence of the longest S, optional
        Labels of the positions, otherwise 0, 1, 2, ...
    ax : matplotlib Axes, optional
        Where to draw, beside what is there; otherwise a new figure.

    Raises
    ------
    ValueError, TypeError
        norms are not real numbers >= 0 of shape (S,) or (R, S), or labels or tokens do not fit them.
    """
    norms = {name: _norms(name, values) for name, values in canvas.named("norms", norms).items()}
    bands = {name: _quartiles(values) for name, values in norms.items()}
    S = max(band.shape[1] for band in bands.values())
    names = list(bands) if labels is None else canvas.labels("labels", labels)
    if len(names) != len(bands):
        raise ValueError(f"labels has {len(names)} entries but norms has {len(bands)}: {', '.join(map(str, bands))}")
    tokens = None if tokens is None else canvas.labels("tokens", tokens)
    if tokens is not None and len(tokens) != S:
        raise ValueError(f"tokens has {len(tokens)} labels but norms has S={S} source positions")

    with canvas.axes(ax, (max(canvas.inches(S, 0.17, 1.5), 5.0) if tokens else 7.0, 4.2)) as ax:
        ax.set_yscale("log")
        before, spread, marked = len(ax.get_lines()), False, False
        for i, (name, (key, band)) in enumerate(zip(names, bands.items(), strict=True), start=before):
            low, middle, high = band
            empty = "" if np.isfinite(middle).any() else " (no norm above 0)"
            look = canvas.style(i, middle)
            ax.plot(middle, label=f"{name}{empty}", **look)
            if (low < high).any():
                spread = True
                ax.fill_between(np.arange(len(low)), low, high, color=look["color"], alpha=0.2, linewidth=0)
            marked |= _mark_gaps(ax, norms[key], look["color"], i)
        if not before and not any(np.isfinite(band).any() for band in bands.values()):
            sentence = "No gradient norm is above 0:\nnothing can stand on a log axis."
            ax.text(0.5, 0.5, sentence, transform=ax.transAxes, ha="center", va="center")
            ax.set_xlim(-0.5, S - 0.5)
            ax.tick_params(axis="y", which="both", left=False, labelleft=False)
        if tokens is None:
            canvas.number_steps(ax.xaxis)
        else:
            canvas.label_steps(ax.xaxis, tokens)
        rows = min(len(ax.get_lines()), ROWS) if marked else 0
        ax.margins(y=0.05 + HEIGHT * rows)  # no line runs through the marks
        meaning = ["line: median, band: middle half"] * spread + ["at the foot: triangle 0, cross not finite"] * marked
        canvas.legend(ax, title="\n".join(meaning) or None, foot=HEIGHT * rows)
        canvas.finish(ax, title, xlabel, ylabel)
    return ax


def _norms(name, norms):
    """(R, S)."""
    norms = canvas.numbers(f"norms[{name!r}]", norms)
    if norms.ndim not in (1, 2) or not norms.size:
        raise ValueError(f"norms[{name!r}] must be (S,), or (R, S) for R phrases, but has shape {norms.shape}")
    if (norms < 0).any():
        raise ValueError(f"norms[{name!r}] holds {norms[norms < 0].min()}: a norm is never negative")
    return np.atleast_2d(norms)


def _quartiles(norms):
    """(R, S) norms -> (3, S): the quartiles over R of what lies above 0, NaN where nothing does."""
    band = np.full((3, norms.shape[1]), np.nan)
    for s, column in enumerate(norms.T):
        real = column[np.isfinite(column) & (column > 0)]
        if real.size:
            band[:, s] = np.exp(np.quantile(np.log(real), [0.25, 0.5, 0.75]))
    return band


def _mark_gaps(ax, norms, colour, i):
    """A mark at the foot for every position without a norm above 0, one row of them a line; whether there are any."""
    empty = ~(np.isfinite(norms) & (norms > 0)).any(axis=0)
    broken = ~np.isfinite(norms).all(axis=0)
    for places, marker in ((empty & ~broken, "v"), (empty & broken, "x")):
        places = np.flatnonzero(places)
        if places.size:
            height = np.full(len(places), HEIGHT * (i % ROWS + 0.7))
            ax.scatter(places, height, s=22, color=colour, marker=marker, transform=ax.get_xaxis_transform(), zorder=3)
    return bool(empty.any())
