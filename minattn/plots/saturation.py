"""Saturation: why scores are divided by sqrt(D).

    entropy, gradient = saturation(D=(4, 64, 512))

A query and a key of D independent features with variance 1 have a dot product of variance D. Softmax of such scores
looks at one key alone, and then hardly any gradient passes it: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1.
Multiplied by 1 / sqrt(D), the scores spread alike whatever D is. Everything drawn is measured with the library's own
softmax and its backward, on random queries and keys.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minattn import validate
from minattn.functions import softmax, softmax_backward
from minattn.plots import canvas


class Saturation(NamedTuple):
    """What was measured, for each of the sizes D at each scale, and (D, 1) at that size's own 1 / sqrt(D).

    entropy: of the weights, as a share of log S, the mean over the queries. gradient: the norm of the gradient at the
    scaled scores for a random one at the weights of norm 1, the median over the queries.
    """

    sizes: tuple
    scale: Any
    entropy: Any
    gradient: Any
    usual_entropy: Any
    usual_gradient: Any


def saturation(D=(4, 64, 512), scale=None, *, S=64, queries=256, rng=0, axes=None, title=None):
    """Draw how entropy and gradient of the softmax depend on the scale of the scores, a line for each D -> two Axes.

    Parameters
    ----------
    D : int or sequence of int
        Features of a query and of a key.
    scale : sequence of numbers > 0, optional
        What the scores are multiplied by: 36 numbers from 0.001 to 3 unless given.
    S, queries : int
        Keys that each query chooses among, and how many queries are averaged over.
    rng : Generator or seed
        Where the random numbers come from.
    axes : pair of matplotlib Axes, optional
        Where to draw entropy and gradient; otherwise a new figure.
    title : str, optional
        Above the whole figure.

    Returns
    -------
    array of two Axes

    Raises
    ------
    ValueError, TypeError
        D, S or queries are no counts, or scale holds something else than positive numbers.
    """
    return draw(measure(D, scale, S=S, queries=queries, rng=rng), axes=axes, title=title)


def measure(D=(4, 64, 512), scale=None, *, S=64, queries=256, rng=0):
    """-> Saturation; arguments as for `saturation`."""
    sizes = (D,) if isinstance(D, int | np.integer) else tuple(D)
    if not sizes:
        raise ValueError("D is empty: give at least one number of features")
    for name, number in [*(("D", size) for size in sizes), ("S", S), ("queries", queries)]:
        validate.count(name, number)
    if S == 1:
        raise ValueError("S must be at least 2: one key alone has weight 1 whatever the scale")
    scale = np.logspace(-3, 0.5, 36) if scale is None else canvas.numbers("scale", scale)
    if scale.ndim != 1 or not scale.size or not (scale > 0).all() or not np.isfinite(scale).all():
        raise ValueError(f"scale must be a row of numbers > 0, since it stands on a log axis, but is {scale}")
    rng = np.random.default_rng(rng)
    measured = [_one_size(D, np.append(scale, 1 / math.sqrt(D)), S, queries, rng) for D in sizes]
    entropy, gradient = np.moveaxis(np.array(measured), 1, 0)  # (sizes, scales + 1) each
    return Saturation(sizes, scale, entropy[:, :-1], gradient[:, :-1], entropy[:, -1:], gradient[:, -1:])


def _one_size(D, scales, S, queries, rng):
    """-> entropy and norm of the gradient, one number a scale each."""
    query, key = rng.normal(size=(queries, D)), rng.normal(size=(S, D))
    scores = query @ key.T  # (queries, S)
    dweights = rng.normal(size=(queries, S))
    dweights /= np.linalg.norm(dweights, axis=-1, keepdims=True)
    entropies, gradients = [], []
    for scale in scales:
        weights = softmax(scale * scores)  # (queries, S)
        logs = np.log(np.where(weights > 0, weights, 1))
        entropies.append(-(weights * logs).sum(axis=-1).mean() / math.log(S))
        gradients.append(np.median(np.linalg.norm(softmax_backward(dweights, weights), axis=-1)))
    return entropies, gradients


def draw(measured, *, axes=None, title=None):
    """A Saturation as two panels -> array of two Axes."""
    curves = (
        (measured.entropy, measured.usual_entropy, "entropy of the weights (share of log S)"),
        (measured.gradient, measured.usual_gradient, "norm of the gradient at the scores"),
    )
    with canvas.grid(axes, (10.0, 4.2), 2, 2) as axes:
        for ax, (lines, usual, ylabel) in zip(axes, curves, strict=True):
            for i, (D, line, point) in enumerate(zip(measured.sizes, lines, usual, strict=True)):
                look = canvas.style(i, line)
                ax.plot(measured.scale, line, label=f"D={D}", **(look | {"markersize": 3.5}))
                at = {"marker": look["marker"], "color": look["color"], "edgecolors": "black"}
                ax.scatter(1 / math.sqrt(D), point, s=80, zorder=3, **at)
            ax.axvline(1, color=canvas.COLOURS[-1], linewidth=0.8, zorder=0, label="_nolegend_")
            ax.set_xscale("log")
            canvas.legend(ax, title="large mark: scale 1/√D")
            canvas.finish(ax, None, "scale of the scores (line: 1, not scaled)", ylabel)
        axes[1].set_yscale("log", nonpositive="mask")
        if title is not None:
            canvas.write(axes[0], axes[0].figure.suptitle(title), title)
    return axes
