"""How far is one array's gradient off, and where: element by element, at kinks, in random directions.

error = max |analytic - numeric| / max(max |numeric|, floor)      float32: of the norms, in the place of the largest
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minattn import tree
from minattn.gradcheck.derivative import along, central_difference, floating, one_sided, own, slopes
from minattn.gradcheck.report import Row

FINE = 2.0**-17, 2.0**-22  # smaller steps for elements that may have a kink within the large one
NEAR, ROUNDING, NUDGES, EPSILON = 1e-6, 4, 4, 2.0**-52  # a small error is compared with what rounding does
ROUGH, SAME = 1e-2, 1e-9  # float32 may be so far off where the same backward is right, to so much, in float64
BITS = 64  # so many last bits of the largest gradient of the problem are rounding in any array
MISSING = "no gradient came back"
FLOOR = 1e-3  # of the largest gradient of the problem, that of the output included
DIRECTIONS = 3  # random directions in which an array is checked that is too large for every element
FAR, HERE, ROUNDED = 1e-5, 1e-6, 8  # a kink shows at both distances, and by more than so many last bits
KINKS = 50  # wrong elements of an array that are looked at for kinks
__tracebackhide__ = True  # as in check


class Scale(NamedTuple):
    """What all rows of one problem are measured with."""

    problem: Any
    point: dict
    dout: Any
    floor: float
    narrow: bool
    kinks: bool


def element_by_element(at, name, analytic, numeric, tolerance, chosen=None, loose=False):
    """One array: both gradients, element by element; float32 by the norm of all."""
    letters = at.problem.axes.get(name, at.problem.axes.get(name.rsplit(".", 1)[-1], ()))
    row = Row(name, numeric.shape, math.inf, "", tolerance, letters=tuple(letters))
    if analytic is None:
        return row._replace(remark=MISSING)
    row = row._replace(analytic=analytic, numeric=numeric)
    if analytic.shape != numeric.shape:
        return row._replace(remark=f"the gradient has shape {analytic.shape}, but {name} has {numeric.shape}")
    asked = np.isfinite(numeric) | np.isfinite(dict(tree.leaves(at.point))[name])  # infinity has no neighbours
    if chosen is not None:
        asked &= np.isin(np.arange(numeric.size), chosen).reshape(numeric.shape)
    if not numeric.size:
        return row._replace(error=0.0, wrong=asked, remark="empty: nothing was checked")
    error, wrong = _error(at, analytic, numeric, asked, tolerance)
    if loose and at.kinks and wrong.any():
        numeric = _finer(at, name, analytic, numeric, wrong, tolerance)
        row, (error, wrong) = row._replace(numeric=numeric), _error(at, analytic, numeric, asked, tolerance)
    kinks = _kinks(at, name, analytic, np.flatnonzero(wrong)) if at.kinks and wrong.any() else []
    if len(kinks):
        asked.reshape(-1)[kinks] = False
        error, wrong = _error(at, analytic, numeric, asked, tolerance)
    remark = f"{len(kinks)} element{'s' * (len(kinks) > 1)} at a kink skipped" if len(kinks) else ""
    if at.narrow and at.kinks and tolerance < error < ROUGH and _right_in_double(at, name, numeric, asked):
        remark = "; ".join(
            filter(None, (remark, "right in float64: in float32 it is a difference of near-equal numbers"))
        )
        row, wrong = row._replace(tolerance=ROUGH), np.zeros_like(wrong)
    if at.kinks and tolerance < error < NEAR and not at.narrow:
        size, why = _size(at, numeric, asked), "rounding, beside the largest gradient of all"
        rounded = BITS * EPSILON * at.floor / FLOOR / size
        if error > rounded:
            rounded = ROUNDING * _rounding(at, name, analytic) / size
            why = f"ill-conditioned: the last bits of the inputs alone move it by {rounded:.0e}"
        if error <= rounded:
            remark = "; ".join(filter(None, (remark, why)))
            row, wrong = row._replace(tolerance=rounded), np.zeros_like(wrong)
    if math.isnan(error):
        return row._replace(error=math.inf, wrong=wrong, remark="NaN")
    if error > tolerance and not at.kinks and not numeric.any():
        remark = "the numeric slope is 0 everywhere: does forward use abs, float, .real or astype?"
    return row._replace(error=error, wrong=wrong, remark=remark)


def _error(at, analytic, numeric, asked, tolerance):
    """-> the error of the array, and which of its elements are wrong."""
    if not asked.any():
        return 0.0, asked
    difference, scale = np.where(asked, np.abs(analytic - numeric), 0), _size(at, numeric, asked)
    size = math.sqrt(float((difference * difference).sum())) if at.narrow else float(difference.max())
    return size / scale if size else 0.0, ~(difference <= tolerance * scale) & asked


def _size(at, numeric, asked):
    """What errors of an array are measured against."""
    numbers = numeric[asked]
    size = math.sqrt(float((numbers * numbers).sum())) if at.narrow else np.abs(numbers).max(initial=0.0)
    return max(size, at.floor)


def _right_in_double(at, name, numeric, asked):
    """Is the same backward right where it is given float64?"""
    found = dict(tree.leaves(at.problem.gradients(at.dout, own(at.point), *at.problem.call(own(at.point)))))[name]
    return _error(at, np.asarray(found), numeric, asked, SAME)[0] <= SAME


def _rounding(at, name, analytic):
    """How far backward itself moves when the inputs move by their last bit: no check can ask for more."""
    rng, moved = np.random.default_rng(0), 0.0
    for _ in range(NUDGES):
        point = tree.map(lambda x: x * (1 + EPSILON * rng.choice([-1, 1], x.shape)) if floating(x) else x, at.point)
        found = dict(tree.leaves(at.problem.gradients(at.dout, point, *at.problem.call(point))))
        moved = max(moved, float(np.abs(np.asarray(found[name]) - analytic).max()))
    return moved


def _finer(at, name, analytic, numeric, wrong, tolerance):
    """The numeric gradient, by smaller steps where the large one has crossed a kink and they agree with backward."""
    places = {path: np.flatnonzero(wrong if path == name else ()) for path, _ in tree.leaves(at.point)}
    allowed, numeric = tolerance * _size(at, numeric, np.isfinite(numeric)), numeric.copy()
    for step in FINE:
        near = dict(tree.leaves(central_difference(at.problem.out, at.point, at.dout, places, step=step)))[name]
        right = np.abs(analytic - near) <= allowed
        numeric[right] = near[right]
        places[name] = np.setdiff1d(places[name], np.flatnonzero(right))
    return numeric


def _kinks(at, name, analytic, wrong):
    """Those of the wrong elements at which forward has a kink and the gradient lies between the slopes beside it."""
    found, missed, leaf, rounded = [], 0, dict(tree.leaves(at.point))[name], _rounded(at)
    for place in wrong:
        v, size = np.zeros(leaf.shape), max(1.0, abs(leaf.reshape(-1)[place]))
        v.reshape(-1)[place] = size
        far, near = (one_sided(at.problem.out, at.point, at.dout, name, v, h) / size for h in (FAR, HERE))
        size_of = max(abs(near).max(), at.floor)
        least = max(1e-7 * size_of, rounded / (HERE * size))
        jumps = abs(near[1] - near[0]) > max(0.5 * abs(far[1] - far[0]), least)  # curvature is a tenth
        value = analytic.reshape(-1)[place]
        inside = near.min() - 1e-5 * size_of <= value <= near.max() + 1e-5 * size_of
        if jumps and (inside or _between_kinks(at, name, place, size, value)):
            found.append(place)
        elif (missed := missed + 1) == KINKS:
            break
    return found


def _between_kinks(at, name, place, size, value):
    """Where several kinks fall together, as in a row of zeros before a relu, each may have its own side.

    Beside the point they stand apart, and the slope jumps at one after the other: so much up in all, so much down.
    """
    rng, steps = np.random.default_rng(0), np.linspace(-1e-3, 1e-3, 128) * size
    low, high = math.inf, -math.inf
    for _ in range(4):
        beside = tree.map(lambda x: x + 1e-4 * rng.normal(size=x.shape) if floating(x) else x, at.point)
        slope = slopes(at.problem.out, beside, at.dout, name, place, steps)
        jumps = np.diff(slope)
        low = min(low, slope[0] + np.minimum(jumps, 0).sum())
        high = max(high, slope[0] + np.maximum(jumps, 0).sum())
    slack = 0.01 * (high - low)
    return low - slack <= value <= high + slack


def in_directions(at, row, chosen, loose, rng):
    """A large array as a whole, in random directions: the error relative to the norm of its gradient."""
    norm, worst = max(math.sqrt(float((row.analytic * row.analytic).sum())), at.floor), row.error
    tolerance = row.tolerance * max(1.0, math.sqrt(row.analytic.size) / 100)  # rounding of a longer sum
    seen = 0
    for _ in range(3 * DIRECTIONS if loose or at.kinks else DIRECTIONS):
        v = rng.normal(size=row.shape)
        for step in FINE:
            slope = along(at.problem.out, at.point, at.dout, row.name, v, step)
            if not loose or slope.apart <= tolerance * norm / 4:
                break
        else:
            continue  # a kink was crossed
        error = abs((slope.differenced if loose else slope.exact) - float((row.analytic * v).sum())) / norm
        if not error <= tolerance and at.kinks and _kinked(at, row.name, v, norm):
            continue
        worst, seen = max(worst, error), seen + 1
        if seen == DIRECTIONS:
            break
    size = max(1e-6, 10 * tolerance)
    remark = f"{len(chosen):,} of {row.analytic.size:,} elements"
    if seen:
        missed = chance_of_missing(size, tolerance, seen)
        remark += (
            f", and all of them in {seen} random direction{'s' * (seen > 1)}: an error of {size:.0e} of the norm is "
            f"missed with a chance of {missed:.0e}"
        )
    else:
        remark += "; random directions would cross kinks"
    return row._replace(error=worst, tolerance=tolerance, remark="; ".join(filter(None, (row.remark, remark))))


def _kinked(at, name, v, size):
    """Do the slopes on both sides of the point still differ a tenth of the way nearer? Curvature would not."""
    far, near = (one_sided(at.problem.out, at.point, at.dout, name, v, h) for h in (FAR, HERE))
    return abs(near[1] - near[0]) > max(0.5 * abs(far[1] - far[0]), 1e-6 * size, _rounded(at) / HERE)


def _rounded(at):
    """How far rounding alone may move sum(out * dout)."""
    out = dict(tree.leaves(at.problem.out(own(at.point))))
    terms = (np.abs(out[path] * weight) for path, weight in tree.leaves(at.dout))
    return ROUNDED * EPSILON * sum(float(term[np.isfinite(term)].sum()) for term in terms)


def chance_of_missing(relative, tolerance, directions=DIRECTIONS):
    """That an error of this size, relative to the norm of the gradient, stays within the tolerance in all directions.

    <error, v> of a random v is a normal number of deviation |error|, which lies within tolerance |gradient| with the
    chance erf(tolerance / (relative sqrt 2)).
    """
    return math.erf(tolerance / (relative * math.sqrt(2))) ** directions


def missing(row, extras, kept=False):
    """No gradient for an argument, or for what an object keeps: under another name, or not meant to come."""
    if row.shape in extras.values():
        names = ", ".join(name for name, shape in extras.items() if shape == row.shape)
        return row._replace(
            remark=f"{MISSING}, but one of this shape called {names}: is that it? Use the argument's name"
        )
    if kept:
        return row._replace(remark=f"{MISSING}, and none is kept beside it; constants are left out by params=")
    return row._replace(remark=f"{MISSING}: data that needs none goes into options={{'{row.name}': ...}}")


def superfluous(name, point):
    """A gradient for nothing: for integers, or for a name that no argument has."""
    leaf = dict(tree.leaves(point)).get(name)
    integers = "" if leaf is None else f": {name} is {leaf.dtype}, write {name}.astype(float) if it should have one"
    return f"a gradient for something that has none{integers}"
