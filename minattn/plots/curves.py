"""Curves: error against source length, loss against training step, several models in one picture."""

import numpy as np

from minattn.plots import canvas


def curves(series, x=None, *, ax=None, title=None, xlabel, ylabel, ylim=None, percent=False):
    """Draw one line with markers for each name -> the Axes.

    Parameters
    ----------
    series : dict name -> (n,) values
        NaN and infinite values leave a gap.
    x : n numbers or n strings, optional
        Strings, as "1-8", stand side by side in their order. Without x the values are numbered from 0, and the series
        may differ in length.
    ax : matplotlib Axes, optional
        Where to draw, beside what is there; otherwise a new figure.
    xlabel, ylabel : str
        What is measured, with its unit.
    ylim : (low, high), optional
        The ends of the y axis; None in either place leaves that end to the data.
    percent : bool
        The values are fractions and the axis writes them as percent: 0.25 is 25%.

    Raises
    ------
    ValueError, TypeError
        A series is not a row of real numbers as long as x.
    """
    series = {name: _row(name, values) for name, values in canvas.named("series", series).items()}
    ticks = None
    if x is not None:
        x = canvas.labels("x", x)
        for name, values in series.items():
            if len(values) != len(x):
                raise ValueError(f"series[{name!r}] has {len(values)} values but x has {len(x)}")
        if any(isinstance(place, str) for place in x):
            x, ticks = range(len(x)), x
        else:
            x = canvas.numbers("x", x)

    with canvas.axes(ax, (7.0, 4.2)) as ax:
        for i, (name, values) in enumerate(series.items(), start=len(ax.get_lines())):
            places = range(len(values)) if x is None else x
            ax.plot(places, values, label=str(name), **canvas.style(i, values))
        if ticks is not None:
            canvas.label_steps(ax.xaxis, ticks)
        elif x is None:
            canvas.number_steps(ax.xaxis)
        if percent:
            from matplotlib.ticker import PercentFormatter

            ax.yaxis.set_major_formatter(PercentFormatter(xmax=1))
        if ylim is not None:
            ax.set_ylim(*ylim)
        canvas.legend(ax)
        canvas.finish(ax, title, xlabel, ylabel)
    return ax


def _row(name, values):
    values = canvas.numbers(f"series[{name!r}]", values)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"series[{name!r}] must be a row of at least one value but has shape {values.shape}")
    return np.where(np.isfinite(values), values, np.nan)
