"""Derivatives by number: the complex step, and central differences for forwards that are not analytic.

    f'(x) = imag f(x + i h) / h + O(h^2)            no difference of near-equal numbers: exact at h = 1e-20
    f'(x) = (f(x + h) - f(x - h)) / 2 h + O(h^2)    at best about 1e-10

Squire & Trapp 1998, doi:10.1137/S003614459631241X. Both return the gradient of sum(out * dout), one element of the
point at a time.
"""

import numpy as np

from minattn import tree

STEP = 1e-20


def complex_step(function, point, dout):
    """function(point) -> out, all three trees -> the gradient at every floating leaf of point, None elsewhere."""

    def slope(place, leaf, moved, outcome):
        moved[place] = leaf[place] + 1j * STEP
        return inner(tree.map(lambda out: out.imag, outcome()), dout) / STEP

    return _each(function, point, complex, slope)


def central_difference(function, point, dout):
    """The same by central differences; the step is the cube root of machine epsilon, scaled by the element."""

    def slope(place, leaf, moved, outcome):
        h = np.cbrt(np.finfo(leaf.dtype).eps) * max(1.0, abs(leaf[place]))
        moved[place] = leaf[place] + h
        above, right = outcome(), moved[place]
        moved[place] = leaf[place] - h
        below, left = outcome(), moved[place]
        return inner(tree.map(_difference, above, below), dout) / (right - left)

    return _each(function, point, None, slope)


def inner(left, right):
    """<left, right>, summed over all leaves; None counts as 0."""
    pairs = tree.map(lambda r, l: 0.0 if l is None else float((l * r).sum()), right, left)
    return sum(number for _, number in tree.leaves(pairs))


def floating(leaf):
    """Is this a differentiable array?"""
    return leaf is not None and np.asarray(leaf).dtype.kind in "fc"


def own(point):
    """A copy of the point in which no array stands twice: query, key and value may be one."""
    return tree.map(np.array, point)


def _each(function, point, dtype, slope):
    """slope(place, leaf, moved, outcome) at every element of every floating leaf, the others standing still."""
    point = own(point)

    def gradient(leaf):
        if not floating(leaf):
            return None
        moved = leaf.astype(dtype or leaf.dtype)
        there = tree.map(lambda other: moved if other is leaf else other, point)
        slopes = np.zeros(leaf.shape)
        for place in np.ndindex(leaf.shape):
            slopes[place] = slope(place, leaf, moved, lambda: function(there))
            moved[place] = leaf[place]
        return slopes

    return tree.map(gradient, point)


def _difference(above, below):
    """above - below, where both are finite: -inf stays -inf and has no slope."""
    if not floating(above):
        return above
    finite = np.isfinite(above) & np.isfinite(below)
    return np.where(finite, above, 0) - np.where(finite, below, 0)
