"""Derivatives by number: the complex step, and central differences for forwards that are not analytic.

    f'(x) = imag f(x + i h) / h + O(h^2)            no difference of near-equal numbers: exact at h = 1e-20
    f'(x) = (4 D(h / 2) - D(h)) / 3 + O(h^4),       D(h) = (f(x + h) - f(x - h)) / 2 h: at best about 1e-12

Squire & Trapp 1998, doi:10.1137/S003614459631241X; the second is Richardson's. Both return the gradient of
sum(out * dout) at the floating leaves of a point.

Where forward lets them, many elements are moved in one call: copies of the leaf stand on a new first axis and broadcast
against everything else. That forward takes them for copies is seen, not believed: see `_together`.
"""

import itertools
import warnings
from typing import NamedTuple

import numpy as np

from minattn import tree
from minattn.backend import is_device

STEP = 1e-20
WIDE = 2.0**-9  # the step of a difference, times the element where that is larger than 1
TOGETHER = 2**17  # numbers in one call
__tracebackhide__ = True  # as in check


def complex_step(function, point, dout, chosen=None):
    """function(point) -> out, all three trees -> the gradient at every floating leaf of point, None elsewhere.

    chosen: {path: flat indices}: only those elements of these leaves; NaN stands at the others.
    """

    def slopes(moved, x):
        return project({path: out.imag for path, out in moved(1j * STEP).items()}, dout) / STEP

    return _each(function, point, slopes, chosen)


def central_difference(function, point, dout, chosen=None, *, step=WIDE):
    """The same by central differences and Richardson's extrapolation.

    step: the larger of the two, times the element where that is larger than 1. It must be small against the distance
    to the next kink, and large against rounding: the error of a slope is about 1e-16 / step.
    """

    def slopes(moved, x):
        def difference(h):
            above, below = x + h, x - h  # as they are rounded
            return project(difference_of(moved(above - x), moved(below - x)), dout) / (above - below)

        h = step * np.maximum(1.0, np.abs(x))
        return (4 * difference(h / 2) - difference(h)) / 3

    return _each(function, point, slopes, chosen)


def one_sided(function, point, dout, path, v, h):
    """The slopes to the left and to the right along v, a direction of one leaf: at a kink they differ."""
    left, here, right = (_moved(function, point, path, step * v) for step in (-h, 0.0, h))
    slopes = (project(difference_of(*pair), dout)[0] / h for pair in ((here, left), (right, here)))
    return np.array(list(slopes))


def slopes(function, point, dout, path, place, steps):
    """The slopes of one element between steps that grow: constant but for curvature and kinks."""
    outs = _alone(function, own(point), path)(np.full(len(steps), place), np.asarray(steps))
    above, below = ({at: out[part] for at, out in outs.items()} for part in (slice(1, None), slice(-1)))
    return project(difference_of(above, below), dout) / np.diff(steps)


class Slope(NamedTuple):
    """d sum(out * dout) along a direction, by the complex step and by differences, and how far two differences are
    apart. The first is None where forward refuses complex numbers; where the two differ, forward is not analytic."""

    exact: float | None
    differenced: float
    apart: float


def along(function, point, dout, path, v, h=2.0**-13):
    """The slope along v, a direction of one leaf -> Slope."""

    def difference(h):
        above, below = (_moved(function, point, path, step * v) for step in (h, -h))
        return float(project(difference_of(above, below), dout)[0]) / (2 * h)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            moved = _moved(function, point, path, 1j * STEP * v)
        exact = float(project({at: out.imag for at, out in moved.items()}, dout)[0]) / STEP
    except Exception:  # whatever forward says to complex numbers
        exact = None
    far, near = difference(h), difference(h / 2)
    return Slope(exact, (4 * near - far) / 3, abs(near - far))


def inner(left, right):
    """<left, right>, summed over all leaves; None counts as 0."""
    pairs = tree.map(lambda r, l: 0.0 if l is None else float((l * r).sum()), right, left)
    return sum(number for _, number in tree.leaves(pairs))


def project(outs, dout):
    """outs {path: (K, ...)} -> (K,): sum(out * dout) for each of the K."""
    parts = (outs[path] * weight for path, weight in tree.leaves(dout))
    return sum((part.reshape(part.shape[0], -1).sum(axis=1) for part in parts), start=0.0)


def difference_of(above, below):
    """above - below where both are finite: -inf stays -inf and has no slope."""

    def difference(a, b):
        finite = np.isfinite(a) & np.isfinite(b)
        return np.where(finite, a, 0) - np.where(finite, b, 0)

    return {path: difference(a, below[path]) for path, a in above.items() if floating(a)}


def floating(leaf):
    """Is this a differentiable array?"""
    return leaf is not None and (leaf if is_device(leaf) else np.asarray(leaf)).dtype.kind in "fc"


def is_array(value):
    """An array of the host, or of a graphics card."""
    return isinstance(value, np.ndarray) or is_device(value)


def own(point):
    """A copy of the point, row after row, in which no array stands twice: query, key and value may be one."""
    return tree.map(lambda x: x.copy() if is_device(x) else np.array(x, order="C"), point)


def _each(function, point, slopes, chosen):
    """slopes(moved, x) for the elements x of every floating leaf; moved(steps) moves each alone."""
    point = own(point)
    found = {}
    for path, leaf in tree.leaves(point):
        if not floating(leaf):
            continue
        places = np.arange(leaf.size) if chosen is None or path not in chosen else chosen[path]
        if not len(places):
            found[path] = np.full(leaf.shape, np.nan)
            continue
        evaluate, count = _together(function, point, path) or (_alone(function, point, path), 1)
        gradient = np.full(leaf.size, np.nan)
        for some in np.split(places, range(count, len(places), count)):
            moved = lambda steps, some=some: evaluate(some, np.broadcast_to(steps, some.shape))  # noqa: B023, E731
            gradient[some] = slopes(moved, leaf.reshape(-1)[some])
        found[path] = gradient.reshape(leaf.shape)
    return _fill(point, found)


def _alone(function, point, path):
    """evaluate(places, steps) -> {path of out: (K, ...)}, one call of function for each place."""

    def evaluate(places, steps):
        def one(place, step):
            def move(x):
                x = x.astype(np.result_type(x, type(step)), order="C")
                x.reshape(-1)[place] += step
                return x

            return _leaves(function(_replace(point, path, move)))

        outs = [one(place, step) for place, step in zip(places, steps.tolist(), strict=True)]
        return {at: np.stack([out[at] for out in outs]) for at in outs[0]}

    return evaluate


def _together(function, point, path):
    """`_alone` in one call, and how many places at once; None where forward does not take copies for copies.

    Three elements or more are moved far, by different steps, together and alone: the results must be the same. They
    are so many as no axis is long, lest the copies be taken for something else that happens to be as many.
    """
    leaf = dict(tree.leaves(point))[path]
    lengths = {n for _, leaf in tree.leaves(point) for n in np.shape(leaf)}
    many = next(k for k in itertools.count(3) if k not in lengths)
    if leaf.size <= many:  # the proof would cost more than it saves
        return None
    alone, places = _alone(function, point, path), np.resize(np.linspace(0, leaf.size - 1, 3).astype(int), many)
    steps = np.resize([0.25, -0.5, 0.75], many) + np.arange(many) / 8

    def evaluate(places, steps):
        def move(x):
            copies = np.broadcast_to(x, (len(places), *(1,) * (axes - x.ndim), *x.shape))
            copies = copies.astype(np.result_type(x, steps.dtype), order="C")
            copies.reshape(len(places), -1)[np.arange(len(places)), places] += steps
            return copies

        outs = _leaves(function(_replace(point, path, move)))
        for at, out in outs.items():
            if out.shape == expected[at].shape[1:]:  # this leaf does not move it
                outs[at] = np.broadcast_to(out, (len(places), *out.shape))
        return outs

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = alone(places, steps)
            axes = max([leaf.ndim, *(out.ndim - 1 for out in expected.values())])
            found = evaluate(places, steps)
        same = found.keys() == expected.keys() and all(_same(found[at], out) for at, out in expected.items())
    except Exception:  # whatever forward says to an axis that it does not know, or to numbers so far away
        return None
    total = sum(np.size(leaf) for _, leaf in tree.leaves(point)) + sum(out[0].size for out in expected.values())
    return (evaluate, max(1, TOGETHER // total)) if same else None


def _moved(function, point, path, step):
    """{path of out: (1, ...)} with a step added to one leaf."""
    return {at: out[None] for at, out in _leaves(function(_replace(point, path, lambda x: x + step))).items()}


def _leaves(out):
    """{path: array}, of Python's numbers too."""
    return {path: np.asarray(leaf) for path, leaf in tree.leaves(out)}


def _same(found, expected):
    if np.shape(found) != expected.shape:
        return False
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
    return np.allclose(found, expected, rtol=0, atol=1e-10 * scale, equal_nan=True)


def _replace(point, path, function):
    """The point with function(leaf) in the place of one leaf."""
    return _fill(point, {path: function}, lambda leaf, function: function(leaf), lambda leaf: leaf)


def _fill(point, found, there=lambda leaf, new: new, elsewhere=lambda leaf: None):
    """A tree of the form of point, made leaf by leaf from {path: new}."""
    paths = iter([path for path, _ in tree.leaves(point)])

    def fill(leaf):
        path = next(paths)
        return there(leaf, found[path]) if path in found else elsewhere(leaf)

    return tree.map(fill, point)
