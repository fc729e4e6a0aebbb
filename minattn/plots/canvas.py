"""What the figures share: an Axes to draw on, text that is data, and lines told apart without colour."""

import contextlib
import itertools
import unicodedata

import numpy as np

from minattn import backend
from minattn.plots import fonts

LONGEST = 16  # characters of a token that are shown
SMALLEST = 6.0  # points: smaller letters cannot be read

# Okabe & Ito 2008, without black and yellow, which vanish on dark and on white paper; grey takes their place. The three
# lists differ in length, so that lines which share a colour still differ in marker or dash.
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#888888"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]
DASHES = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))]

# Tokens and names are data: "$", "_" and "\" in them mean themselves.
VERBATIM = {"parse_math": False, "usetex": False}


@contextlib.contextmanager
def axes(ax, size):
    """The Axes to draw on: the caller's, or that of a new figure (inches), which is closed again if drawing fails."""
    with grid(None if ax is None else [ax], size, 1, 1) as (ax,):
        yield ax


@contextlib.contextmanager
def grid(axes, size, number, columns):
    """So many Axes in a row, as an array: the caller's, or those of a new figure, so many beside each other."""
    if axes is not None:
        axes = np.asarray(axes, dtype=object).ravel()
        if len(axes) != number:
            raise ValueError(f"axes has {len(axes)} Axes but there are {number} panels to draw")
        yield axes
        return
    try:
        from matplotlib import pyplot
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise ModuleNotFoundError('figures need matplotlib: pip install "minattn[plots]"', name="matplotlib") from None
    figure, axes = pyplot.subplots(-(-number // columns), columns, figsize=size, layout="constrained", squeeze=False)
    try:
        for ax in axes.flat[number:]:
            ax.remove()
        yield axes.ravel()[:number]
    except BaseException:
        pyplot.close(figure)
        raise


def to_host(array):
    """A NumPy array, also of one that lies on a graphics card, or of several of them."""
    if isinstance(array, list | tuple) and any(backend.is_device(part) for part in array):
        return np.stack([to_host(part) for part in array])
    return np.asarray(backend.to_host(array))


def numbers(name, array):
    """Real numbers as float64 on the host."""
    array = np.asarray(to_host(array))
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers but has dtype {array.dtype}")
    return array.astype(np.float64)


def named(name, series):
    """A dict name -> values with at least one entry."""
    if not isinstance(series, dict):
        raise TypeError(
            f"{name} must be a dict name -> array, since the names stand in the legend, but is a "
            f'{type(series).__name__}: write {{"model": {name}}}'
        )
    if not series:
        raise ValueError(f"{name} is empty: there is nothing to draw")
    return series


def labels(name, tokens):
    """Anything with an order, a string too, as a list of tokens."""
    try:
        return list(backend.to_host(tokens))
    except TypeError:
        raise TypeError(f"{name} must be a sequence of labels but is a {type(tokens).__name__}") from None


def visible(token):
    """The text of a token such that every token can be seen: " the" -> "␣the", "" -> "∅", a line break -> "\\n"."""
    text = str(token)
    if not text:
        return "∅"
    body = text.strip(" ")
    start = len(text) - len(text.lstrip(" "))
    end = len(text) - start - len(body)
    body = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in body)
    return "␣" * start + body + "␣" * end


def shorten(text, longest=LONGEST):
    """No more of a token than so many characters."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def ink(rgb):
    """ "black" or "white", whichever differs more from the colour (red, green, blue in 0 .. 1) behind the letters."""
    rgb = np.asarray(rgb)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    bright = linear @ [0.2126, 0.7152, 0.0722]  # relative luminance, WCAG 2; black and white are equal at 0.179
    return "black" if bright > 0.179 else "white"


def letters(text):
    """How many Latin letters are as wide as the text: those of Chinese, Japanese and Korean are square."""
    return sum(1.5 if unicodedata.east_asian_width(c) in "FW" else 1 for c in text)


def label_steps(axis, tokens):
    """Write tokens at 0, 1, 2, ... along an axis: as many as can be read.

    Where they do not fit side by side along x, those that are too long are turned upright, or all if they are many.
    Then the letters shrink, down to SMALLEST points. Where that is not enough either, every 2nd, 5th, 10th, 20th ...
    token is written, counted from the first. Where no font has the letters of a token, its code points are.
    """
    ax, text = axis.axes, axis.get_major_ticks(1)[0].label1
    tokens, family, lacking = fonts.legible([visible(token) for token in tokens], text.get_fontfamily())
    tokens = [shorten(token) for token in tokens]
    across = axis.axis_name == "x"
    extent = ax.get_window_extent()
    points = (extent.width if across else extent.height) * 72 / ax.figure.dpi
    usual = text.get_size()

    # Everything in units of the letters' size: the room for each token, and what it needs lying or standing.
    room, stand = points / (len(tokens) * usual), 1.15
    lying = np.array([0.7 * letters(token) + 0.4 for token in tokens]) if across else np.full(len(tokens), stand)
    turned = lying > max(stand, room / 0.8)
    if turned.mean() > 0.125:
        turned[:] = True
    need = np.where(turned, stand, lying).max()
    size = min(usual, max(SMALLEST, usual * room / need))
    step = thin(len(tokens), points / (need * size))

    axis.set_ticks(range(0, len(tokens), step), tokens[::step], fontsize=size, fontfamily=family, **VERBATIM)
    for tick, upright in zip(axis.get_major_ticks(), turned[::step], strict=True):
        tick.label1.set_rotation(90 if upright else 0)  # also where axes are shared and inner labels hidden
    if lacking:
        _advise(ax)


def number_steps(axis):
    """Positions 0, 1, 2, ...: matplotlib chooses whole numbers that fit."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins="auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def thin(n, fit):
    """The smallest of 1, 2, 5, 10, 20, 50 ... such that every step-th of n labels are no more than fit."""
    fit = max(1.001 * fit, 1)  # rounding must not cost every other label
    steps = (s * 10**power for power in itertools.count() for s in (1, 2, 5))
    return next(step for step in steps if n <= step * fit)


def style(i, values):
    """The look of the i-th line in its Axes; long lines have fewer markers, but a value alone between gaps has one."""
    real = np.pad(np.isfinite(values), 1)
    alone = real[1:-1] & ~real[:-2] & ~real[2:]
    some = np.arange(len(values)) % (1 if len(values) <= 64 else len(values) // 16) == 0
    return {
        "color": COLOURS[i % len(COLOURS)],
        "marker": MARKERS[i % len(MARKERS)],
        "linestyle": DASHES[i % len(DASHES)],
        "linewidth": 1.5,
        "markersize": 4.5,
        "markevery": np.flatnonzero(some | alone).tolist(),
    }


def legend(ax, title=None, foot=0.0):
    """The names of all lines that have one, though they begin with "_", which matplotlib would leave out.

    foot: the share of the height, from below, where the legend may not stand.
    """
    lines = [line for line in ax.get_lines() if not line.get_label().startswith(("_child", "_nolegend_"))]
    names, room = [str(i) for i in range(len(lines))], (0, foot, 1, 1 - foot)
    box = ax.legend(lines, names, title=title, handlelength=3.5, loc="best", bbox_to_anchor=room)
    for text, line in zip(box.get_texts(), lines, strict=True):
        write(ax, text, line.get_label(), **VERBATIM)


def write(ax, text, words, **look):
    """Let a matplotlib Text beside these Axes say the words, in fonts that have their letters."""
    (words,), family, lacking = fonts.legible([words], text.get_fontfamily())
    text.set(text=words, fontfamily=family, **look)
    if lacking:
        _advise(ax)


def finish(ax, title, xlabel, ylabel):
    """What the figure and its axes say; what has been advised stays below."""
    advised = fonts.ADVICE in ax.get_xlabel()
    for text, words, how in (
        (ax.xaxis.label, xlabel, {}),
        (ax.yaxis.label, ylabel, {}),
        (ax.title, title, {"wrap": True}),
    ):
        if words is not None:
            write(ax, text, words, **how)
    if advised:
        _advise(ax)


def finish_figure(axes, title, xlabel, ylabel):
    """What a figure of many panels says; what any of them has been advised stands once, below all."""
    figure, first = axes[0].figure, axes[0]
    write(first, figure.supylabel(ylabel), ylabel)
    if title is not None:
        write(first, figure.suptitle(title), title, wrap=True)
    below = figure.supxlabel(xlabel)
    write(first, below, xlabel)
    for label in (ax.xaxis.label for ax in axes):
        if fonts.ADVICE in label.get_text():
            label.set_text(label.get_text().replace(fonts.ADVICE, "").strip())
            below.set_text(f"{below.get_text()}\n{fonts.ADVICE}")


def _advise(ax):
    """Below the x axis, once in a figure: why there are code points, and what to do about them."""
    label = ax.xaxis.label
    others = (other for other in ax.figure.axes if other is not ax)
    if not any(fonts.ADVICE in text.get_text() for text in (label, *(other.xaxis.label for other in others))):
        label.set(text=f"{label.get_text()}\n{fonts.ADVICE}".strip(), wrap=True)


def inches(steps, each, margin, tokens=None):
    """The side of a figure: so much for each step, room for labels beside them, neither tiny nor huge."""
    longest = max((letters(shorten(visible(token))) for token in tokens or ()), default=0)
    return min(max(steps * each + margin + (0.08 * longest if longest > 3 else 0), 3.2), 16.0)
