"""One check for anything that obeys the law: every input, every parameter, every output with a random gradient."""

import copy
import math
from typing import NamedTuple

import numpy as np

from minattn import tree
from minattn.gradcheck.derivative import STEP, complex_step, floating, inner, own
from minattn.op import initialise
from minattn.op import inputs as input_names

TOLERANCE = 1e-12
FLOOR = 1e-3  # of the largest gradient of the problem, that of the output included


class Row(NamedTuple):
    """One array: error = max |analytic - numeric| / max(max |numeric|, floor)."""

    name: str
    shape: tuple
    error: float
    remark: str = ""


class Report(NamedTuple):
    """One row for each input and parameter; floor: what errors are measured against where gradients are tiny.

    Some true gradients are exactly 0 (a bias of all keys under a softmax) or vanish (a saturated tanh), and rounding is
    no error: the floor is 1e-3 of the largest gradient of the whole problem, that of the output included.
    """

    rows: list
    floor: float
    tolerance: float = TOLERANCE

    @property
    def error(self):
        """The largest error of all rows; NaN counts as infinite."""
        return max((row.error for row in self.rows), default=0.0)

    def __bool__(self):
        return self.error <= self.tolerance

    def __str__(self):
        width = max((len(row.name) for row in self.rows), default=0)
        shape = max((len(str(row.shape)) for row in self.rows), default=0)
        return "\n".join(
            f"  {'ok   ' if row.error <= self.tolerance else 'WRONG'} {row.name:{width}}  {row.shape!s:{shape}}"
            f"  error {row.error:.1e}{row.remark and '  ' + row.remark}"
            for row in self.rows
        )

    def assert_ok(self):
        """Raise AssertionError with the whole report where any row is wrong."""
        if not self:
            raise AssertionError(f"backward is not the derivative of forward (tolerance {self.tolerance:g})\n{self}")


def check(op, params, inputs, options=None, rng=None, *, derivative=complex_step, tolerance=TOLERANCE):
    """Compare backward with a numeric derivative of forward at every element -> Report.

    inputs: a tuple in forward's order; options: a dict of what stands after forward's star. A numpy Generator among
    them is copied for each call, so that every call draws the same numbers.
    """
    function, (out, cache), dout, point = _problem(op, params, inputs, options, rng)
    dinputs, dparams = _gradients(op, dout, cache)
    numeric_inputs, numeric_params = derivative(function, point, dout)
    names = input_names(op)
    analytic = dict(zip(names, dinputs, strict=False)) | dparams
    numeric = dict(zip(names, numeric_inputs, strict=False)) | numeric_params
    floor = FLOOR * max((np.abs(n).max(initial=0.0) for _, n in tree.leaves((numeric, dout))), default=1.0)
    found, expected = dict(tree.leaves(analytic)), dict(tree.leaves(numeric))
    rows = [_compare(name, found.get(name), number, floor) for name, number in expected.items()]
    rows += [
        Row(name, np.shape(extra), math.inf, "a gradient for something that has none")
        for name, extra in found.items()
        if name not in expected
    ]
    return Report(rows, floor, tolerance)


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
    function, (out, cache), w, point = _problem(op, params, inputs, options, rng)
    rng = rng or np.random.default_rng(0)
    v = tree.map(lambda x: rng.normal(size=x.shape) if floating(x) else None, point)
    moved = tree.map(lambda x, dx: x if dx is None else x + 1j * STEP * dx, point, v)
    Jv = tree.map(lambda x: x.imag / STEP, function(moved))
    forwards = inner(Jv, w)
    dinputs, dparams = _gradients(op, w, cache)
    backwards = inner((tuple(dinputs)[: len(inputs)], dparams), v)
    entries = sum(leaf.size for _, leaf in tree.leaves(w))
    size = max(math.sqrt(inner(Jv, Jv)), FLOOR * math.sqrt(inner(v, v))) * math.sqrt(inner(w, w) / max(entries, 1))
    return abs(forwards - backwards) / size if size else abs(forwards - backwards)


def _problem(op, params, inputs, options, rng):
    """-> forward as a function of one tree, its result and cache there, a random dout, and that tree."""
    rng = rng or np.random.default_rng(0)
    point = own((tuple(inputs), params))

    def run(point):
        inputs, params = point
        fresh = {k: copy.deepcopy(v) if isinstance(v, np.random.Generator) else v for k, v in (options or {}).items()}
        return op.forward(params, *inputs, **fresh)

    out, cache = run(point)
    dout = tree.map(lambda x: np.asarray(rng.normal(size=np.shape(x))) if floating(x) else None, out)
    return lambda point: run(point)[0], (out, cache), dout, point


def _gradients(op, dout, cache):
    """What backward returns, if it has the form of the law."""
    result = op.backward(dout, cache)
    pair = isinstance(result, tuple) and len(result) == 2
    if not pair or not isinstance(result[0], tuple) or not isinstance(result[1], dict):
        came = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
        raise TypeError(f"backward must return (dinputs, dparams), a tuple and a dict, but returned {came}")
    return result


def _compare(name, analytic, numeric, floor):
    if analytic is None:
        return Row(name, numeric.shape, math.inf, "no gradient came back")
    if np.shape(analytic) != numeric.shape:
        shapes = f"the gradient has shape {np.shape(analytic)}, but {name} has {numeric.shape}"
        return Row(name, numeric.shape, math.inf, shapes)
    if not numeric.size:
        return Row(name, numeric.shape, 0.0)
    difference = np.abs(analytic - numeric).max()
    error = float(difference / max(np.abs(numeric).max(), floor)) if difference else 0.0
    if math.isnan(error):
        return Row(name, numeric.shape, math.inf, "NaN")
    lost = error > TOLERANCE and not numeric.any()
    remark = "the numeric slope is 0 everywhere: does forward use abs, float, .real or astype?" if lost else ""
    return Row(name, numeric.shape, error, remark)
