"""The gradient by number, the best way that a forward allows: the complex step where it is analytic, else differences.

Which of the two holds is seen leaf by leaf, not believed: both are taken along a random direction.
"""

import math
import warnings

import numpy as np

from minattn import tree
from minattn.gradcheck.derivative import WIDE, along, central_difference, complex_step, floating, inner
from minattn.gradcheck.measure import FLOOR

BY_DIFFERENCES = 1e-7  # what central differences can promise
WORK, FEWEST, MOST = 10**8, 200, 5000  # numbers that forward computes; elements of an array that are checked
SINGLE = 1e-3, 2.0**-5  # tolerance and step where forward computes in float32 whatever it is given
__tracebackhide__ = True  # as in check


def derive(problem, point, dout, chosen, method, eps, single, rng):
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


def random_like(out, rng):
    """A random gradient for every floating output, in its dtype."""
    return tree.map(
        lambda x: np.asarray(rng.normal(size=np.shape(x))).astype(np.asarray(x).real.dtype) if floating(x) else None,
        out,
    )


def affordable(point, dout):
    """So many elements of each array as let forward compute about WORK numbers in all."""
    sizes = [leaf.size for _, leaf in tree.leaves(point) if floating(leaf)]
    numbers = sum(sizes) + sum(np.size(leaf) for _, leaf in tree.leaves(dout))
    return int(np.clip(WORK // max(1, numbers * len(sizes)), FEWEST, MOST))


def choose(point, max_elements, rng):
    """{path: flat indices} for the leaves that are too large for every element."""
    if max_elements is None:
        return {}
    return {
        path: np.sort(rng.choice(leaf.size, size=max_elements, replace=False))
        for path, leaf in tree.leaves(point)
        if floating(leaf) and leaf.size > max_elements
    }
