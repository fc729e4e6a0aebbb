"""Is this backward the derivative of that forward? Every input, every parameter, a random gradient on every output.

numeric  = d sum(out * dout) / d x,  by complex step          analytic = what backward says
error    = max |analytic - numeric| / max(max |numeric|, floor)
"""

import copy
import math
import warnings
from typing import Any, NamedTuple

import numpy as np

from minattn import tree
from minattn.gradcheck import problem as problems
from minattn.gradcheck.derivative import (
    STEP,
    along,
    central_difference,
    complex_step,
    floating,
    inner,
    one_sided,
)
from minattn.gradcheck.report import Report, Row
from minattn.op import initialise

TOLERANCE = 1e-12
BY_DIFFERENCES = 1e-7  # what central differences can promise
NORMWISE = 1e-5  # float32: the norm of the error against that of the gradient
FLOOR = 1e-3  # of the largest gradient of the problem, that of the output included
DIRECTIONS = 3  # random directions in which an array is checked that is too large for every element
KINKS = 50  # wrong elements of an array that are looked at for kinks


def gradcheck(
    forward, backward=None, inputs=(), *, params=None, options=None, names=None, axes=None, seed=0, rng=None,
    tolerance=None, max_elements=5000, reference=None, diagnose=True, method="auto",
):  # fmt: skip
    """Check a hand-written gradient, of any code -> Report: true where all is right, and it says what is wrong.

    Parameters
    ----------
    forward, backward
        Two functions, `out = forward(x, W)` with `dx, dW = backward(dout, x, W)`, or `out, cache = forward(x, W)` with
        `dx, dW = backward(dout, cache)`; or a function alone that returns (loss, gradients); or an op; or an object
        with forward and backward that keeps its parameters and their gradients, as `layer.W` and `layer.dW` or in
        dicts. Gradients come one for each input in order, or in a dict by name.
    inputs : tuple
        Arrays, or nested dicts, tuples and lists of arrays. Float64 is checked element by element; float32 by its norm
        against float64. Integers have no gradient.
    params : dict
        Of an op or of functions: more arrays by name. Of an object: {"W": "dW"}, where gradients have unusual names.
    options : dict
        What else forward needs, by name; a random Generator is copied for each call, so that each draws the same.
    names, axes : sequence of names, dict
        How inputs are called in the report, and their axes: {"q": "B T D"}.
    seed, rng
        Of the upstream gradient and of the elements that are chosen.
    tolerance : float
        1e-12 by complex step; 1e-7 where only central differences are possible; 1e-5 for float32.
    max_elements : int or None
        Larger arrays are checked at so many elements, and as a whole in three random directions. None: every element.
    reference : str
        The name of the op that this is meant to be, "dot" or "lstm": compares the outputs too, which no gradient check
        can judge. Without it those ops are tried whose output is the same.
    diagnose : bool
        Say what the mistake looks like.
    method : "auto", "complex" or "central"
        Auto takes the complex step and, where forward is not analytic, central differences, and says so.

    Raises
    ------
    TypeError, ValueError
        What was given cannot be called, or returns something that is no gradient.
    """
    if method not in ("auto", "complex", "central"):
        raise ValueError(f"method must be auto, complex or central but is {method!r}")
    problem = problems.of(forward, backward, inputs, params, options, names, axes)
    rng = np.random.default_rng(seed) if rng is None else rng
    return _examine(problem, rng, tolerance, max_elements, reference, diagnose, method)


def check(op, params, inputs, options=None, rng=None, *, derivative=complex_step, tolerance=TOLERANCE):
    """`gradcheck` of an op at every element, by one way of derivation and without a diagnosis -> Report."""
    problem = problems.of_op(op, params, inputs, options)
    method = "complex" if derivative is complex_step else "central"
    return _examine(problem, rng or np.random.default_rng(0), tolerance, None, None, False, method)


def check_case(op, case, rng, **settings):
    """`check` on a Case, with parameters moved off their start so that no gain is 1 and no bias 0."""
    return check(op, case_params(op, case, rng), case.inputs, case.options, rng, **settings)


def case_params(op, case, rng):
    """Parameters for a Case: its own, or `init` and a little noise."""
    if case.params is not None:
        return case.params
    return tree.map(lambda p: p + 0.1 * rng.normal(size=p.shape), initialise(op, rng, case.sizes))


def adjoint(op, params, inputs, options=None, rng=None):
    """<J v, w> = <v, J^T w> for random v and w: one complex step and one backward test every gradient -> error.

    The error is relative to |J v| |w| / sqrt(outputs), the size that the product has for random w, with a floor of 1e-3
    of |v| in the place of |J v|. It sees an error in any element, if not which.
    """
    rng = rng or np.random.default_rng(0)
    problem = problems.of_op(op, params, inputs, options)
    out, cache = problem.call(problem.point)
    w = _upstream(out, rng)
    v = tree.map(lambda x: rng.normal(size=x.shape) if floating(x) else None, problem.point)
    moved = tree.map(lambda x, dx: x if dx is None else x + 1j * STEP * dx, problem.point, v)
    Jv = tree.map(lambda x: x.imag / STEP, problem.out(moved))
    forwards = inner(Jv, w)
    found = problem.gradients(w, problem.point, out, cache)
    backwards = inner({name: found.get(name) for name in problem.point}, v)
    entries = sum(leaf.size for _, leaf in tree.leaves(w))
    size = max(math.sqrt(inner(Jv, Jv)), FLOOR * math.sqrt(inner(v, v))) * math.sqrt(inner(w, w) / max(entries, 1))
    return abs(forwards - backwards) / size if size else abs(forwards - backwards)


def chance_of_missing(relative, tolerance, directions=DIRECTIONS):
    """That an error of this size, relative to the norm of the gradient, stays within the tolerance in all directions.

    <error, v> of a random v is a normal number of deviation |error|, which lies within tolerance |gradient| with the
    chance erf(tolerance / (relative sqrt 2)).
    """
    return math.erf(tolerance / (relative * math.sqrt(2))) ** directions


def _examine(problem, rng, tolerance, max_elements, reference, diagnose, method):
    """From a problem to its report."""
    before = tree.map(np.copy, problem.point)
    out, _ = problem.call(problem.point)
    dout = _upstream(out, rng) if problem.upstream else tree.map(lambda x: np.ones_like(np.asarray(x)), out)
    faults = _not_the_same_twice(problem, out) + _changed(before, problem.point, "forward")
    point, given = tree.map(np.copy, before), tree.map(np.copy, dout)
    analytic = dict(tree.leaves(problem.gradients(given, point, *problem.call(point))))
    faults += _changed(before, point, "backward") + _changed({"dout": dout}, {"dout": given}, "backward")
    faults += _remembers(problem, before, dout, analytic)

    narrow = any(leaf.dtype == np.float32 for _, leaf in tree.leaves(before))
    wide, upstream = (tree.map(lambda x: x.astype(np.float64) if floating(x) else x, t) for t in (before, dout))
    chosen = _choose(wide, max_elements, rng)
    numeric, notes, loose = _derive(problem, wide, upstream, chosen, method, rng)
    largest = [np.abs(n[np.isfinite(n)]).max(initial=0.0) for _, n in tree.leaves((numeric, upstream))]
    floor = FLOOR * max(largest, default=1.0)
    standard = tolerance or (NORMWISE if narrow else TOLERANCE)
    at = _Scale(problem, wide, upstream, floor, narrow, kinks=method != "complex")
    rows = []
    for name, number in tree.leaves(numeric):
        allowed = max(standard, BY_DIFFERENCES) if name in loose and tolerance is None else standard
        row = _row(at, name, analytic.get(name), number, allowed)
        rows.append(_directions(at, row, chosen[name], rng) if name in chosen and row.wrong is not None else row)
    known = {path for path, _ in tree.leaves(numeric)}
    rows += [
        Row(name, np.shape(extra), math.inf, "a gradient for something that has none")
        for name, extra in analytic.items()
        if name not in known and floating(extra)
    ]
    report = Report(rows, floor, standard, problem.title, tuple(faults), (), notes)
    if diagnose:
        from minattn.gradcheck.diagnosis import diagnose as look  # it knows the whole library

        faults, likenesses = look(problem, report, before, dout, out, reference)
        report = report._replace(faults=report.faults + faults, likenesses=likenesses)
    return report


class _Scale(NamedTuple):
    """What all rows of one problem are measured with."""

    problem: Any
    point: dict
    dout: Any
    floor: float
    narrow: bool
    kinks: bool


def _row(at, name, analytic, numeric, tolerance):
    """One array: both gradients, element by element; float32 by the norm of all."""
    letters = at.problem.axes.get(name, at.problem.axes.get(name.rsplit(".", 1)[-1], ()))
    row = Row(name, numeric.shape, math.inf, "", tolerance, letters=tuple(letters))
    if analytic is None:
        return row._replace(remark="no gradient came back")
    analytic = np.asarray(analytic)
    row = row._replace(analytic=analytic, numeric=numeric)
    if analytic.shape != numeric.shape:
        return row._replace(remark=f"the gradient has shape {analytic.shape}, but {name} has {numeric.shape}")
    asked = ~np.isnan(numeric)  # of large arrays some alone
    error, wrong = _error(at, analytic, numeric, asked, tolerance)
    kinks = _kinks(at, name, analytic, np.flatnonzero(wrong)) if at.kinks and wrong.any() else []
    if len(kinks):
        asked.reshape(-1)[kinks] = False
        error, wrong = _error(at, analytic, numeric, asked, tolerance)
    remark = f"{len(kinks)} element{'s' * (len(kinks) > 1)} at a kink skipped" if len(kinks) else ""
    if math.isnan(error):
        return row._replace(error=math.inf, wrong=wrong, remark="NaN")
    if error > tolerance and not at.kinks and not numeric.any():
        remark = "the numeric slope is 0 everywhere: does forward use abs, float, .real or astype?"
    return row._replace(error=error, wrong=wrong, remark=remark)


def _error(at, analytic, numeric, asked, tolerance):
    """-> the error of the array, and which of its elements are wrong."""
    if not asked.any():
        return 0.0, asked
    difference = np.where(asked, np.abs(analytic - numeric), 0)
    size, scale = float(difference.max()), max(np.abs(numeric[asked]).max(), at.floor)
    if at.narrow:
        size, scale = (math.sqrt(float((x * x).sum())) for x in (difference, numeric[asked]))
        scale = max(scale, at.floor)
    return size / scale if size else 0.0, ~(difference <= tolerance * scale) & asked


def _directions(at, row, chosen, rng):
    """A large array as a whole, in random directions: the error relative to the norm of its gradient."""
    norm, worst = max(math.sqrt(float((row.analytic * row.analytic).sum())), at.floor), row.error
    tolerance = row.tolerance * max(1.0, math.sqrt(row.analytic.size) / 100)  # rounding of a longer sum
    for _ in range(DIRECTIONS):
        v = rng.normal(size=row.shape)
        exact, differenced = along(at.problem.out, at.point, at.dout, row.name, v)
        slope = differenced if exact is None or row.tolerance == BY_DIFFERENCES else exact
        worst = max(worst, abs(slope - float((row.analytic * v).sum())) / norm)
    missed = chance_of_missing(1e-6, tolerance)
    remark = (
        f"{len(chosen):,} of {row.analytic.size:,} elements, and all of them in {DIRECTIONS} random directions: an "
        f"error of 1e-6 of the norm is missed with a chance of {missed:.0e}"
    )
    return row._replace(error=worst, tolerance=tolerance, remark=remark)


def _kinks(at, name, analytic, wrong):
    """Those of the wrong elements at which forward has a kink and the gradient lies between the slopes beside it."""
    found = []
    for place in wrong[:KINKS]:
        value = analytic.reshape(-1)[place]
        far, near = (one_sided(at.problem.out, at.point, at.dout, name, place, h) for h in (1e-5, 1e-6))
        slack = 1e-3 * max(abs(near).max(), at.floor)
        jumps = min(abs(far[1] - far[0]), abs(near[1] - near[0])) > slack
        if jumps and near.min() - slack <= value <= near.max() + slack:
            found.append(place)
    return found


def _derive(problem, point, dout, chosen, method, rng):
    """-> numeric gradients, notes, and the names of the leaves that were derived by central differences."""
    if method == "complex":
        return _strictly(complex_step, problem.out, point, dout, chosen), (), set()
    if method == "central":
        numeric = central_difference(problem.out, point, dout, chosen)
        return numeric, (), {path for path, _ in tree.leaves(numeric)}
    leaves, why = {path: leaf for path, leaf in tree.leaves(point) if floating(leaf) and leaf.size}, ""
    loose = set()
    for path, leaf in leaves.items():
        v = rng.normal(size=leaf.shape)
        with warnings.catch_warnings():
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            exact, differenced = along(problem.out, point, dout, path, v)
        size = max(abs(differenced), FLOOR * math.sqrt(inner(dout, dout)))
        if exact is None or not abs(exact - differenced) <= 1e-4 * size:
            loose.add(path)
            why = why or ("takes no complex numbers" if exact is None else "is not analytic (abs, .real, float, norm?)")
    if not loose:
        return _strictly(complex_step, problem.out, point, dout, chosen), (), loose
    numeric = dict(tree.leaves(central_difference(problem.out, point, dout, chosen)))
    note = f"forward {why}: {', '.join(sorted(loose))} by central differences, to {BY_DIFFERENCES:g}"
    if tight := leaves.keys() - loose:
        exact = dict(tree.leaves(_strictly(complex_step, problem.out, point, dout, chosen)))
        numeric |= {path: exact[path] for path in tight}
    return numeric, (note,), loose


def _strictly(derivative, *arguments):
    """A result that throws its imaginary part away is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        return derivative(*arguments)


def _upstream(out, rng):
    """A random gradient for every floating output, in its dtype."""
    return tree.map(
        lambda x: np.asarray(rng.normal(size=np.shape(x))).astype(np.asarray(x).real.dtype) if floating(x) else None,
        out,
    )


def _choose(point, max_elements, rng):
    """{path: flat indices} for the leaves that are too large for every element."""
    if max_elements is None:
        return {}
    return {
        path: np.sort(rng.choice(leaf.size, size=max_elements, replace=False))
        for path, leaf in tree.leaves(point)
        if floating(leaf) and leaf.size > max_elements
    }


def _not_the_same_twice(problem, out):
    """Randomness that nobody seeded, and state that outlives a call."""
    again = problem.out(tree.map(np.copy, problem.point))
    if _equal(out, again):
        return []
    return [
        "forward gives another result each time, on the same inputs: randomness without a seed, or state kept from "
        "call to call; pass a Generator by `options`, which is copied for each call"
    ]


def _changed(before, after, who):
    """Inputs that were written to."""
    after = dict(tree.leaves(after))
    return [
        f"{who} writes to {path}: what the caller passed in is changed"
        for path, leaf in tree.leaves(before)
        if not np.array_equal(leaf, after[path], equal_nan=leaf.dtype.kind in "fc")
    ]


def _remembers(problem, point, dout, analytic):
    """What a call leaves behind for the next one."""
    fresh = lambda: (tree.map(np.copy, point), tree.map(np.copy, dout))  # noqa: E731
    if problem.again is not None:
        here, d = fresh()
        found = dict(tree.leaves(problem.again(d, here)[1]))
        grown = [name for name, a in analytic.items() if not _near(found.get(name), a)]
        more = ": it is added to that of the first, and nothing sets it back"
        return [
            f"the gradient of {name} is another one after a second forward and backward"
            f"{more if _near(found.get(name), 2 * np.asarray(analytic[name])) else ''}"
            for name in grown
        ]
    here, d = fresh()
    out, cache = problem.call(here)
    other = tree.map(lambda x: x + 1 if floating(x) else x, here)
    try:
        problem.call(copy.deepcopy(other))
    except Exception:  # other numbers need not be allowed
        return []
    found = dict(tree.leaves(problem.gradients(d, here, out, cache)))
    return [
        f"the gradient of {name} is another one when forward was called again before backward: state is left over from "
        f"the last call"
        for name, a in analytic.items()
        if not _near(found.get(name), a)
    ]


def _near(found, expected):
    if found is None or expected is None:
        return found is expected
    found, expected = np.asarray(found), np.asarray(expected)
    return found.shape == expected.shape and np.allclose(found, expected, rtol=1e-9, atol=0, equal_nan=True)


def _equal(left, right):
    left, right = dict(tree.leaves(left)), dict(tree.leaves(right))
    return left.keys() == right.keys() and all(_near(right[path], leaf) for path, leaf in left.items())
