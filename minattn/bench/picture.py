"""The ratios of all rows as bars: to the left of 1 this library is faster, to the right PyTorch."""

from pathlib import Path

from minattn.plots import canvas
from minattn.weights import replace

TICKS = 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50
COLOURS = {"aim": "#009e73", "must": "#e69f00", "neither": "#d55e00", None: "#888888"}


def check(path):
    """Path of a picture that can be written; ValueError with one sentence where it cannot."""
    from matplotlib.figure import Figure

    path = Path(path)
    path = path if path.suffix else path.with_name(f"{path.name}.png")
    known = Figure().canvas.get_supported_filetypes()
    if path.is_dir() or path.suffix[1:] not in known:
        raise ValueError(f"{path} cannot be a picture: give a file that ends in .png, or in {', '.join(sorted(known))}")
    return path


def draw(results, path, subtitle):
    """One bar for each Result with a ratio, in their order, written to path."""
    from matplotlib import pyplot

    shown = [result for result in results if result.ratio is not None]
    if not shown:
        raise ValueError("there is no ratio to draw: no row was compared with PyTorch")
    with canvas.axes(None, (9.5, canvas.inches(len(shown), 0.25, 1.6))) as ax:
        places, ratios = range(len(shown)), [result.ratio for result in shown]
        colours = [COLOURS[result.verdict] for result in shown]
        ax.barh(places, [ratio - 1 for ratio in ratios], left=1, height=0.7, color=colours)
        ax.axvline(1, color="black", linewidth=1)
        _goals(ax, shown)
        for place, ratio in enumerate(ratios):
            ax.annotate(f"{ratio:.2f}", (1.01, place), xycoords=ax.get_yaxis_transform(), va="center", fontsize=8)
        ax.set_yticks(places, [result.name for result in shown], fontsize=8, **canvas.VERBATIM)
        ax.set_ylim(len(shown) - 0.4, -0.6)  # the first row on top
        _logarithmic(ax, [goal for result in shown for goal in (result.ratio, result.must, result.aim) if goal])
        canvas.finish(ax, None, "time of minattn / time of PyTorch (under 1: minattn is faster)", None)
        ax.set_title(subtitle, fontsize=7, color="dimgray", **canvas.VERBATIM)
        ax.figure.suptitle("Time of minattn against PyTorch on one processor", fontsize=11)
        path.parent.mkdir(parents=True, exist_ok=True)
        about = {"metadata": {"Software": None}} if path.suffix == ".png" else {}  # same content, same bytes
        replace(path, lambda partial: ax.figure.savefig(partial, dpi=150, **about))
        pyplot.close(ax.figure)


def _goals(ax, shown):
    """A stroke where the bar must end, a diamond where it should."""
    for goal, look in (("must", {"marker": "|", "s": 110, "linewidths": 2}), ("aim", {"marker": "D", "s": 16})):
        marks = [(getattr(result, goal), place) for place, result in enumerate(shown) if getattr(result, goal)]
        if marks:
            ax.scatter(*zip(*marks, strict=True), color="black", zorder=3, label=goal, **look)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(loc="lower right", fontsize=8)


def _logarithmic(ax, numbers):
    """The axis of the ratios: twice as slow is as far from 1 as twice as fast."""
    ax.set_xscale("log")
    ax.minorticks_off()
    ticks = [tick for tick in TICKS if 0.7 * min(numbers) <= tick <= 1.5 * max(numbers)]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_xlim(0.8 * min(0.9, *numbers), 1.25 * max(1.1, *numbers))
