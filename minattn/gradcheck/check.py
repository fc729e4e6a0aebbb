"""Is this backward the derivative of that forward? Every input, every parameter, a random gradient on every output.

numeric  = d sum(out * dout) / d x,  by complex step          analytic = what backward says
error    = max |analytic - numeric| / max(max |numeric|, floor)
"""

import math
import warnings

import numpy as np

from minattn import tree, validate
from minattn.gradcheck.derivative import STEP, complex_step, floating, inner, own
from minattn.gradcheck.device import at_home
from minattn.gradcheck.faults import (
    changed,
    largest,
    not_a_number,
    not_the_same_twice,
    refuse,
    refuse_output,
    remembers,
)
from minattn.gradcheck.measure import FLOOR, MISSING, Scale, element_by_element, in_directions, missing, superfluous
from minattn.gradcheck.numeric import BY_DIFFERENCES, SINGLE, affordable, choose, derive, random_like
from minattn.gradcheck.report import Report, Row
from minattn.gradcheck.understand import of as understand
from minattn.gradcheck.understand import of_op
from minattn.op import case_params

TOLERANCE = 1e-12
NORMWISE = 1e-5  # float32: the norm of the error against that of the gradient
__tracebackhide__ = True  # pytest shows the test and the forward or backward that raised, not the way there


def gradcheck(
    forward, backward=None, inputs=(), *, params=None, options=None, names=None, axes=None, seed=0, rng=None,
    tolerance=None, max_elements="auto", reference=None, diagnose=True, method="auto", eps=None,
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
    max_elements : int, None or "auto"
        Larger arrays are checked at so many elements, and as a whole in three random directions. None: every element.
        Auto: 5,000, and fewer where forward is large, so that a check takes seconds.
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
    if max_elements not in (None, "auto"):
        validate.count("max_elements", max_elements)
    problem = understand(forward, backward, inputs, params, options, names, axes)
    rng = np.random.default_rng([seed, 1998]) if rng is None else rng  # not the stream that drew somebody's inputs
    return _examine(problem, rng, tolerance, max_elements, reference, diagnose, method, eps)


def check(op, params, inputs, options=None, rng=None, *, derivative=complex_step, tolerance=TOLERANCE):
    """`gradcheck` of an op at every element, by one way of derivation and without a diagnosis -> Report."""
    problem = of_op(op, params, inputs, options)
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
    problem = at_home(of_op(op, params, inputs, options))
    out, cache = problem.call(problem.point)
    w = random_like(out, rng)
    v = tree.map(lambda x: rng.normal(size=x.shape) if floating(x) else None, problem.point)
    moved = tree.map(lambda x, dx: x if dx is None else x + 1j * STEP * dx, problem.point, v)
    Jv = tree.map(lambda x: x.imag / STEP, problem.out(moved))
    forwards = inner(Jv, w)
    found = problem.gradients(w, problem.point, out, cache)
    backwards = inner({name: found.get(name) for name in problem.point}, v)
    entries = sum(leaf.size for _, leaf in tree.leaves(w))
    size = max(math.sqrt(inner(Jv, Jv)), FLOOR * math.sqrt(inner(v, v))) * math.sqrt(inner(w, w) / max(entries, 1))
    return abs(forwards - backwards) / size if size else abs(forwards - backwards)


def _examine(problem, rng, tolerance, max_elements, reference, diagnose, method, eps=None):
    """From a problem to its report."""
    problem = at_home(problem)
    kept = np.random.get_state()  # noqa: NPY002  of the caller: forward may draw from it
    try:
        return _report(problem, rng, tolerance, max_elements, reference, diagnose, method, eps)
    finally:
        np.random.set_state(kept)  # noqa: NPY002


def _report(problem, rng, tolerance, max_elements, reference, diagnose, method, eps):
    point = own(problem.point)
    refuse(point)
    given = own(point)
    out = problem.out(given)
    refuse_output(out, problem)
    out, written = own(out), changed(point, given, "forward")
    if random := not_the_same_twice(problem, point, out):  # then no number means anything
        return Report([], 0.0, tolerance or TOLERANCE, problem.title, (*written, *random))
    dout = random_like(out, rng) if problem.upstream else tree.map(np.ones_like, out)
    if undefined := not_a_number(point, out):
        return Report([], 0.0, tolerance or TOLERANCE, problem.title, (*written, *undefined))
    analytic, faults = _backward(problem, point, dout)
    faults = (*written, *faults)
    if written:  # into copies, then
        problem = problem._replace(call=lambda point, call=problem.call: call(own(point)))
    report = _compared(problem, point, dout, analytic, rng, tolerance, max_elements, method, eps)
    report = report._replace(faults=faults)
    if diagnose:
        from minattn.gradcheck.diagnosis import diagnose as look  # it knows the whole library

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is tried there need not fit
            more, likenesses = look(problem, report, point, dout, out, reference)
        report = report._replace(faults=faults + more, likenesses=likenesses)
    return report


def _backward(problem, point, dout):
    """-> {path: the gradient that backward gives}, and what is wrong with how it does so."""
    here, given = own(point), own(dout)
    out, cache = problem.call(here)
    between = own(here)
    found = dict(tree.leaves(problem.gradients(given, here, out, cache)))
    analytic = {path: np.array(gradient) for path, gradient in found.items()}
    written = changed(between, here, "backward") + changed({"dout": dout}, {"dout": given}, "backward")
    return analytic, written + remembers(problem, point, dout, analytic)


def _compared(problem, point, dout, analytic, rng, tolerance, max_elements, method, eps):
    """The numeric gradient at the same point in float64, and a row for each array -> Report without faults."""
    narrow = any(leaf.dtype == np.float32 for _, leaf in tree.leaves(point))
    wide, upstream = (tree.map(lambda x: x.astype(np.float64) if floating(x) else x, t) for t in (point, dout))
    single = any(np.asarray(leaf).dtype == np.float32 for _, leaf in tree.leaves(problem.out(own(wide))))
    if max_elements == "auto":
        max_elements = affordable(wide, upstream)
    chosen = choose(wide, max_elements, rng)
    numeric, notes, loose = derive(problem, wide, upstream, chosen, method, eps, single, rng)
    floor = FLOOR * (largest(tree.leaves((numeric, upstream))) or 1.0)
    standard = tolerance or (NORMWISE if narrow else TOLERANCE)
    differences = max(standard, SINGLE[0] if single else BY_DIFFERENCES) if tolerance is None else tolerance
    at = Scale(problem, wide, upstream, floor, narrow, kinks=method != "complex")
    rows, numeric = [], dict(tree.leaves(numeric))
    for path, number in numeric.items():
        allowed = differences if path in loose else standard
        row = element_by_element(at, path, analytic.get(path), number, allowed, chosen.get(path), path in loose)
        if path in chosen and row.wrong is not None:
            row = in_directions(at, row, chosen[path], path in loose, rng)
        rows.append(row)
    extras = {path: np.shape(x) for path, x in analytic.items() if path not in numeric and floating(x)}
    rows = [missing(row, extras, row.name in problem.kept) if row.remark == MISSING else row for row in rows]
    rows += [Row(path, shape, math.inf, superfluous(path, point)) for path, shape in extras.items()]
    if narrow:
        notes += (f"float32: judged by the norm of the error, to {standard:g}",)
    return Report(rows, floor, standard, problem.title, notes=(*problem.notes, *notes))
