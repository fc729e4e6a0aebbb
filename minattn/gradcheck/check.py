"""Is this backward the derivative of that forward? Every input, every parameter, a random gradient on every output.

numeric  = d sum(out * dout) / d x,  by complex step          analytic = what backward says
error    = max |analytic - numeric| / max(max |numeric|, floor)
"""

import math
import warnings
from typing import Any, NamedTuple

import numpy as np

from minattn import tree, validate
from minattn.gradcheck import problem as problems
from minattn.gradcheck.derivative import (
    STEP,
    WIDE,
    along,
    central_difference,
    complex_step,
    floating,
    inner,
    one_sided,
    own,
    slopes,
)
from minattn.gradcheck.report import Report, Row
from minattn.op import case_params

TOLERANCE = 1e-12
BY_DIFFERENCES = 1e-7  # what central differences can promise
NORMWISE = 1e-5  # float32: the norm of the error against that of the gradient
SINGLE = 1e-3, 2.0**-5  # tolerance and step where forward computes in float32 whatever it is given
FINE = 2.0**-17, 2.0**-22  # smaller steps for elements that may have a kink within the large one
NEAR, ROUNDING, NUDGES, EPSILON = 1e-6, 4, 4, 2.0**-52  # a small error is compared with what rounding does
ROUGH, SAME = 1e-2, 1e-9  # float32 may be so far off where the same backward is right, to so much, in float64
BITS = 64  # so many last bits of the largest gradient of the problem are rounding in any array
MISSING = "no gradient came back"
FLOOR = 1e-3  # of the largest gradient of the problem, that of the output included
DIRECTIONS = 3  # random directions in which an array is checked that is too large for every element
__tracebackhide__ = True  # pytest shows the test and the forward or backward that raised, not the way there
KINKS = 50  # wrong elements of an array that are looked at for kinks


def gradcheck(
    forward, backward=None, inputs=(), *, params=None, options=None, names=None, axes=None, seed=0, rng=None,
    tolerance=None, max_elements=5000, reference=None, diagnose=True, method="auto", eps=None,
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
    eps : float
        The step of central differences, 1/512 if none is given, and thus method "central": for a forward whose kinks
        lie closer, or whose rounding is coarser. Handed on to `central_difference`.

    Raises
    ------
    TypeError, ValueError
        What was given cannot be called, or returns something that is no gradient.
    """
    if method not in ("auto", "complex", "central"):
        raise ValueError(f"method must be auto, complex or central but is {method!r}")
    if eps is not None:
        if method == "complex":
            raise ValueError("eps is the step of central differences, but method is 'complex': give one or the other")
        if not 0 < eps < 1:
            raise ValueError(f"eps must lie between 0 and 1, the step of central differences, but is {eps!r}")
        method = "central"
    if tolerance is not None and not tolerance > 0:
        raise ValueError(f"tolerance must be larger than 0 but is {tolerance!r}")
    if max_elements is not None:
        validate.count("max_elements", max_elements)
    problem = problems.of(forward, backward, inputs, params, options, names, axes)
    rng = np.random.default_rng([seed, 1998]) if rng is None else rng  # not the stream that drew somebody's inputs
    return _examine(problem, rng, tolerance, max_elements, reference, diagnose, method, eps)


def check(op, params, inputs, options=None, rng=None, *, derivative=complex_step, tolerance=TOLERANCE):
    """`gradcheck` of an op at every element, by one way of derivation and without a diagnosis -> Report."""
    problem = problems.of_op(op, params, inputs, options)
    method = "complex" if derivative is complex_step else "central"
    return _examine(problem, rng or np.random.default_rng(0), tolerance, None, None, False, method)


def check_case(op, case, rng, **settings):
    """`check` on a Case, with parameters moved off their start so that no gain is 1 and no bias 0."""
    return check(op, case_params(op, case, rng), case.inputs, case.options, rng, **settings)


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


def _examine(problem, rng, tolerance, max_elements, reference, diagnose, method, eps=None):
    """From a problem to its report."""
    kept = np.random.get_state()  # noqa: NPY002  of the caller: forward may draw from it
    try:
        return _report(problem, rng, tolerance, max_elements, reference, diagnose, method, eps)
    finally:
        np.random.set_state(kept)  # noqa: NPY002


def _report(problem, rng, tolerance, max_elements, reference, diagnose, method, eps):
    before = own(problem.point)
    _refuse(before)
    point = own(before)
    out, _ = problem.call(point)
    _refuse_output(out, problem)
    out = own(out)
    dout = _upstream(out, rng) if problem.upstream else tree.map(np.ones_like, out)
    written, random = _changed(before, point, "forward"), _not_the_same_twice(problem, before, out)
    if random:  # then no number means anything
        return Report([], 0.0, tolerance or TOLERANCE, problem.title, tuple(written + random))
    faults = written + _nan(before, out)
    point, given = own(before), own(dout)
    called = problem.call(point)
    between = own(point)
    analytic = dict(tree.leaves(problem.gradients(given, point, *called)))
    analytic = {name: np.array(gradient) for name, gradient in analytic.items()}
    faults += _changed(between, point, "backward") + _changed({"dout": dout}, {"dout": given}, "backward")
    faults += _remembers(problem, before, dout, analytic)

    narrow = any(leaf.dtype == np.float32 for _, leaf in tree.leaves(before))
    wide, upstream = (tree.map(lambda x: x.astype(np.float64) if floating(x) else x, t) for t in (before, dout))
    if written:  # into copies, then
        problem = problem._replace(call=lambda point, call=problem.call: call(own(point)))
    single = any(np.asarray(leaf).dtype == np.float32 for _, leaf in tree.leaves(problem.out(own(wide))))
    chosen = _choose(wide, max_elements, rng)
    numeric, notes, loose = _derive(problem, wide, upstream, chosen, method, eps, single, rng)
    floor = FLOOR * (_largest(tree.leaves((numeric, upstream))) or 1.0)
    standard = tolerance or (NORMWISE if narrow else TOLERANCE)
    differences = SINGLE[0] if single else BY_DIFFERENCES
    at = _Scale(problem, wide, upstream, floor, narrow, kinks=method != "complex")
    rows = []
    for name, number in tree.leaves(numeric):
        allowed = max(standard, differences) if name in loose and tolerance is None else standard
        row = _row(at, name, analytic.get(name), number, allowed, chosen.get(name), name in loose)
        whole = name in chosen and row.wrong is not None
        rows.append(_directions(at, row, chosen[name], name in loose, rng) if whole else row)
    known = {path for path, _ in tree.leaves(numeric)}
    extras = {name: np.shape(x) for name, x in analytic.items() if name not in known and floating(x)}
    rows = [_missing(row, extras) if row.remark == MISSING else row for row in rows]
    rows += [Row(name, shape, math.inf, _superfluous(name, before)) for name, shape in extras.items()]
    if narrow:
        notes += (f"float32: judged by the norm of the error, to {standard:g}",)
    report = Report(rows, floor, standard, problem.title, tuple(faults), (), notes)
    if diagnose:
        from minattn.gradcheck.diagnosis import diagnose as look  # it knows the whole library

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is tried there need not fit
            faults, likenesses = look(problem, report, before, dout, out, reference)
        report = report._replace(faults=report.faults + faults, likenesses=likenesses)
    return report


def _missing(row, extras):
    """No gradient for an argument: it came under another name, or none was meant to come."""
    if row.shape in extras.values():
        names = ", ".join(name for name, shape in extras.items() if shape == row.shape)
        return row._replace(
            remark=f"{MISSING}, but one of this shape called {names}: is that it? Use the argument's name"
        )
    return row._replace(remark=f"{MISSING}: data that needs none goes into options={{'{row.name}': ...}}")


def _superfluous(name, point):
    """A gradient for nothing: for integers, or for a name that no argument has."""
    leaf = dict(tree.leaves(point)).get(name)
    integers = "" if leaf is None else f": {name} is {leaf.dtype}, write {name}.astype(float) if it should have one"
    return f"a gradient for something that has none{integers}"


class _Scale(NamedTuple):
    """What all rows of one problem are measured with."""

    problem: Any
    point: dict
    dout: Any
    floor: float
    narrow: bool
    kinks: bool


def _row(at, name, analytic, numeric, tolerance, chosen=None, loose=False):
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


def _directions(at, row, chosen, loose, rng):
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
    far, near = (one_sided(at.problem.out, at.point, at.dout, name, v, h) for h in (1e-5, 1e-6))
    return abs(near[1] - near[0]) > max(0.5 * abs(far[1] - far[0]), 1e-6 * size)


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
    found, missed, leaf = [], 0, dict(tree.leaves(at.point))[name]
    for place in wrong:
        v, size = np.zeros(leaf.shape), max(1.0, abs(leaf.reshape(-1)[place]))
        v.reshape(-1)[place] = size
        far, near = (one_sided(at.problem.out, at.point, at.dout, name, v, h) / size for h in (1e-5, 1e-6))
        size_of = max(abs(near).max(), at.floor)
        jumps = abs(near[1] - near[0]) > max(0.5 * abs(far[1] - far[0]), 1e-7 * size_of)  # curvature is a tenth
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


def _derive(problem, point, dout, chosen, method, eps, single, rng):
    """-> numeric gradients, notes, and the names of the leaves that were derived by central differences."""
    step, promised = (SINGLE[1], SINGLE[0]) if single else (WIDE, BY_DIFFERENCES)

    def differences():
        return central_difference(problem.out, point, dout, chosen, step=eps or step)

    if method == "complex":
        return _strictly(complex_step, problem.out, point, dout, chosen), (), set()
    leaves = {path: leaf for path, leaf in tree.leaves(point) if floating(leaf) and leaf.size}
    if method == "central":
        return differences(), (), set(leaves)
    why = {path: _not_analytic(problem.out, point, dout, path, rng) for path in leaves}
    loose = {path for path in leaves if why[path]}
    if not loose:
        return _strictly(complex_step, problem.out, point, dout, chosen), (), loose
    numeric, some = dict(tree.leaves(differences())), sorted(loose)
    note = f"forward {why[some[0]]}: {', '.join(some)} by central differences, to {promised:g}"
    if tight := leaves.keys() - loose:
        only = chosen | {path: np.zeros(0, dtype=int) for path in loose}  # those take no complex numbers
        exact = dict(tree.leaves(_strictly(complex_step, problem.out, point, dout, only)))
        numeric |= {path: exact[path] for path in tight}
    return numeric, (note,), loose


def _not_analytic(function, point, dout, path, rng):
    """Why the complex step of a leaf is no derivative, "" where it is: differences agree, if not here at a kink then
    beside it."""

    def agrees(slope):
        size = max(abs(slope.differenced), FLOOR * math.sqrt(inner(dout, dout)))
        return abs(slope.exact - slope.differenced) <= 1e-7 * size

    shape = dict(tree.leaves(point))[path].shape
    for v in rng.normal(size=(2, *shape)):  # one may be blind to a small part of forward
        here = along(function, point, dout, path, v)
        if here.exact is None:
            return "takes no complex numbers"
        if not agrees(here):
            break
    else:
        return ""
    beside = tree.map(lambda x: x + rng.normal(size=x.shape) / 128 if floating(x) else x, point)
    try:
        there = along(function, beside, dout, path, v, 2.0**-20)
        found = there.exact is not None and agrees(there)
    except Exception:  # other numbers need not be allowed
        found = False
    return "" if found else "is not analytic (abs, .real, float, norm, var?)"


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


def _refuse(point):
    """What no gradient check can be done on."""
    for path, leaf in tree.leaves(point):
        if leaf.dtype.kind not in "fciub":
            raise TypeError(
                f"{path} is no array of numbers but of {leaf.dtype}: inputs are arrays, and everything else that "
                f"forward needs goes by name, as in options={{'rng': rng}}"
            )
        if leaf.dtype.kind == "c" or leaf.dtype == np.float16:
            raise TypeError(f"{path} has dtype {leaf.dtype}: a gradient is checked in float64, or float32")
    if not any(floating(leaf) for _, leaf in tree.leaves(point)):
        came = ", ".join(f"{path} is {leaf.dtype}" for path, leaf in tree.leaves(point)) or "no inputs came"
        raise ValueError(f"nothing here has a gradient ({came}): gradients need fractions, write x.astype(float)")


def _refuse_output(out, problem):
    if not any(floating(leaf) for _, leaf in tree.leaves(out)):
        came = ", ".join(f"{np.asarray(leaf).dtype}" for _, leaf in tree.leaves(out)) or "None"
        raise ValueError(f"{problem.title} returned {came}: only floating outputs have gradients")


def _not_the_same_twice(problem, point, out):
    """Randomness that nobody seeded, and state that outlives a call."""
    if _equal(out, problem.out(own(point))):
        return []
    return [
        "forward gives another result each time, on the same inputs: randomness without a seed, or state kept from "
        "call to call; pass a Generator by `options`, which is copied for each call"
    ]


def _nan(point, out):
    """Where forward is no number, backward cannot be judged."""
    came = [path for path, leaf in tree.leaves(point) if not np.isfinite(leaf).all()]
    many = sum(int(np.isnan(leaf).sum()) for _, leaf in tree.leaves(out) if floating(leaf))
    why = f"NaN or infinity in {', '.join(came)} reaches it" if came else "from numbers that are all finite"
    return (
        [f"forward gives NaN in {many:,} place{'s' * (many > 1)}, {why}: no gradient can be judged there"]
        if many
        else []
    )


def _changed(before, after, who):
    """Inputs that were written to."""
    after = dict(tree.leaves(after))
    return [
        f"{who} writes to {path}: what the caller passed in is changed"
        for path, leaf in tree.leaves(before)
        if not np.array_equal(leaf, after.get(path), equal_nan=leaf.dtype.kind in "fc")
    ]


def _remembers(problem, point, dout, analytic):
    """What a call leaves behind for the next one."""
    size = _largest(analytic.items())
    if problem.again is not None:
        found = dict(tree.leaves(problem.again(own(dout), own(point))[1]))
        grown = [name for name, a in analytic.items() if not _near(found.get(name), a, size)]
        more = ": it is added to that of the first, and nothing sets it back"
        return [
            f"the gradient of {name} is another one after a second forward and backward"
            f"{more if _near(found.get(name), 2 * analytic[name], size) else ''}"
            for name in grown
        ]
    here = own(point)
    out, cache = problem.call(here)
    try:
        problem.call(tree.map(lambda x: x + 1 if floating(x) else x, own(point)))
    except Exception:  # other numbers need not be allowed
        return []
    found = dict(tree.leaves(problem.gradients(own(dout), here, out, cache)))
    return [
        f"the gradient of {name} is another one when forward was called again before backward: state is left over from "
        f"the last call"
        for name, a in analytic.items()
        if not _near(found.get(name), a, size)
    ]


def _near(found, expected, size):
    """The same but for rounding, which may be all there is of an array that is truly 0."""
    if found is None:
        return False
    found, expected = np.asarray(found), np.asarray(expected)
    return found.shape == expected.shape and np.allclose(found, expected, rtol=1e-9, atol=1e-12 * size, equal_nan=True)


def _equal(left, right):
    left, right, size = dict(tree.leaves(left)), dict(tree.leaves(right)), _largest(tree.leaves(left))
    return left.keys() == right.keys() and all(_near(right[path], leaf, size) for path, leaf in left.items())


def _largest(leaves):
    return max((np.abs(x[np.isfinite(x)]).max(initial=0.0) for _, x in leaves if floating(x)), default=0.0)
