"""What the figures share: an Axes to draw on, text that is data, and lines told apart without colour."""

import contextlib
import itertools

import numpy as np

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
    if ax is not None:
        yield ax
        return
    try:
        from matplotlib import pyplot
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise ModuleNotFoundError('figures need matplotlib: pip install "minattn[plots]"', name="matplotlib") from None
    figure, ax = pyplot.subplots(figsize=size, layout="constrained")
    try:
        yield ax
    except BaseException:
        pyplot.close(figure)
        raise


def to_host(array):
    """A NumPy array, also of one that lies on a graphics card."""
    return array.get() if hasattr(array, "get") else np.asarray(array)


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
        return list(to_host(tokens)) if hasattr(tokens, "get") else list(tokens)
    except TypeError:
        raise TypeError(f"{name} must be a sequence of labels but is a {type(tokens).__name__}") from None


def visible(token, longest=LONGEST):
    """The text of a token such that every token can be seen: " the" -> "␣the", "" -> "∅", a line break -> "\\n"."""
    text = str(token)
    if not text:
        return "∅"
    body = text.strip(" ")
    start = len(text) - len(text.lstrip(" "))
    end = len(text) - start - len(body)
    body = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in body)
    text = "␣" * start + body + "␣" * end
    return text if len(text) <= longest else text[: longest - 1] + "…"


def ink(rgb):
    """ "black" or "white", whichever differs more from the colour (red, green, blue in 0 .. 1) behind the letters."""
    rgb = np.asarray(rgb)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    bright = linear @ [0.2126, 0.7152, 0.0722]  # relative luminance, WCAG 2; black and white are equal at 0.179
    return "black" if bright > 0.179 else "white"


def label_steps(axis, tokens):
    """Write tokens at 0, 1, 2, ... along an axis: as many as can be read.

    Where they do not fit side by side along x, those that are too long are turned upright, or all if they are many.
    Then the letters shrink, down to SMALLEST points. Where that is not enough either, every 2nd, 5th, 10th, 20th ...
    token is written, counted from the first.
    """
    tokens = [visible(token) for token in tokens]
    ax, text = axis.axes, axis.get_major_ticks(1)[0].label1
    across = axis.axis_name == "x"
    extent = ax.get_window_extent()
    points = (extent.width if across else extent.height) * 72 / ax.figure.dpi
    usual = text.get_size()

    # Everything in units of the letters' size: the room for each token, and what it needs lying or standing.
    room, stand = points / (len(tokens) * usual), 1.15
    lying = np.array([0.7 * len(token) + 0.4 for token in tokens]) if across else np.full(len(tokens), stand)
    turned = lying > max(stand, room / 0.8)
    if turned.mean() > 0.125:
        turned[:] = True
    need = np.where(turned, stand, lying).max()
    size = min(usual, max(SMALLEST, usual * room / need))
    step = thin(len(tokens), points / (need * size))

    # The caller's font may lack "␣"; the one that comes with matplotlib has it.
    family = list(dict.fromkeys([*text.get_fontfamily(), "DejaVu Sans"]))
    axis.set_ticks(range(0, len(tokens), step), tokens[::step], fontsize=size, fontfamily=family, **VERBATIM)
    for tick, upright in zip(axis.get_ticklabels(), turned[::step], strict=True):
        tick.set_rotation(90 if upright else 0)


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


def legend(ax, title=None):
    """The names of all lines that have one, though they begin with "_", which matplotlib would leave out."""
    lines = [line for line in ax.get_lines() if not line.get_label().startswith(("_child", "_nolegend_"))]
    box = ax.legend(lines, [str(i) for i in range(len(lines))], title=title, handlelength=3.5)
    for text, line in zip(box.get_texts(), lines, strict=True):
        text.set(text=line.get_label(), **VERBATIM)


def finish(ax, title, xlabel, ylabel):
    """What the figure and its axes say."""
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    if title is not None:
        ax.set_title(title, wrap=True)


def inches(steps, each, margin, tokens=None):
    """The side of a figure: so much for each step, room for labels beside them, neither tiny nor huge."""
    longest = max((len(visible(token)) for token in tokens or ()), default=0)
    return min(max(steps * each + margin + (0.08 * longest if longest > 3 else 0), 3.2), 16.0)
