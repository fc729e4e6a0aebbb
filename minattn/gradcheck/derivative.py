"""Derivatives by number: the complex step, and central differences for forwards that are not analytic.

    f'(x) = imag f(x + i h) / h + O(h^2)            no difference of near-equal numbers: exact at h = 1e-20
    f'(x) = (4 D(h / 2) - D(h)) / 3 + O(h^4),       D(h) = (f(x + h) - f(x - h)) / 2 h: at best about 1e-12

Squire & Trapp 1998, doi:10.1137/S003614459631241X; the second is Richardson's. Both return the gradient of
sum(out * dout) at the floating leaves of a point.

Where forward lets them, many elements are moved in one call: copies of the leaf stand on a new first axis and broadcast
against everything else. That forward takes them for copies is seen, not believed: see `_together`.
"""

import warnings

import numpy as np

from minattn import tree

STEP = 1e-20
WIDE = 2.0**-9  # the step of a difference, times the element where that is larger than 1
TOGETHER = 2**17  # numbers in one call


def complex_step(function, point, dout, chosen=None):
    """function(point) -> out, all three trees -> the gradient at every floating leaf of point, None elsewhere.

    chosen: {path: flat indices}: only those elements of these leaves; NaN stands at the others.
    """

    def slopes(moved, x):
        return project({path: out.imag for path, out in moved(1j * STEP).items()}, dout) / STEP

    return _each(function, point, slopes, chosen)


def central_difference(function, point, dout, chosen=None):
    """The same by central differences and Richardson's extrapolation."""

    def slopes(moved, x):
        def difference(h):
            above, below = x + h, x - h  # as they are rounded
            return project(difference_of(moved(above - x), moved(below - x)), dout) / (above - below)

        h = WIDE * np.maximum(1.0, np.abs(x))
        return (4 * difference(h / 2) - difference(h)) / 3

    return _each(function, point, slopes, chosen)


def one_sided(function, point, dout, path, place, h):
    """The slopes to the left and to the right of one element, by differences of size h: at a kink they differ."""
    moved, x = _alone(function, own(point), path), dict(tree.leaves(point))[path].reshape(-1)[place]
    h = h * max(1.0, abs(x))
    out = moved(np.array([place] * 3), np.array([-h, 0.0, h]))
    steps = {at: out_k[1:] for at, out_k in out.items()}, {at: out_k[:-1] for at, out_k in out.items()}
    return project(difference_of(*steps), dout) / h


def along(function, point, dout, path, v, h=2.0**-13):
    """d sum(out * dout) / d leaf in the direction v: by the complex step, and by central differences.

    The first is None where forward refuses complex numbers. Where the two differ, forward is not analytic.
    """

    def moved(step):
        return dict(tree.leaves(function(_replace(point, path, lambda x: x + step * v))))

    def difference(h):
        above, below = ({at: out[None] for at, out in moved(step).items()} for step in (h, -h))
        return float(project(difference_of(above, below), dout)[0]) / (2 * h)

    try:
        exact = float(project({at: out.imag[None] for at, out in moved(1j * STEP).items()}, dout)[0]) / STEP
    except Exception:
        exact = None
    return exact, (4 * difference(h / 2) - difference(h)) / 3


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
    return leaf is not None and np.asarray(leaf).dtype.kind in "fc"


def own(point):
    """A copy of the point in which no array stands twice: query, key and value may be one."""
    return tree.map(np.array, point)


def _each(function, point, slopes, chosen):
    """slopes(moved, x) for the elements x of every floating leaf; moved(steps) moves each alone."""
    point = own(point)
    found = {}
    for path, leaf in tree.leaves(point):
        if not floating(leaf):
            continue
        places = np.arange(leaf.size) if chosen is None or path not in chosen else chosen[path]
        evaluate, count = _together(function, point, path) or (_alone(function, point, path), 1)
        gradient = np.full(leaf.size, np.nan)
        for some in np.split(places, range(count, len(places), count)):
            if len(some):
                moved = lambda steps, some=some: evaluate(some, np.broadcast_to(steps, some.shape))  # noqa: B023, E731
                gradient[some] = slopes(moved, leaf.reshape(-1)[some])
        found[path] = gradient.reshape(leaf.shape)
    return _fill(point, found)


def _alone(function, point, path):
    """evaluate(places, steps) -> {path of out: (K, ...)}, one call of function for each place."""

    def evaluate(places, steps):
        def one(place, step):
            def move(x):
                x = x.astype(np.result_type(x, type(step)))
                x.reshape(-1)[place] += step
                return x

            return dict(tree.leaves(function(_replace(point, path, move))))

        outs = [one(place, step) for place, step in zip(places, steps.tolist(), strict=True)]
        return {at: np.stack([np.asarray(out[at]) for out in outs]) for at in outs[0]}

    return evaluate


def _together(function, point, path):
    """`_alone` in one call, and how many places at once; None where forward does not take copies for copies.

    Three elements are moved far, by different steps, together and alone: the results must be the same.
    """
    leaf = dict(tree.leaves(point))[path]
    alone, many = _alone(function, point, path), min(3, leaf.size)
    if many < 2:
        return None

    def evaluate(places, steps):
        def move(x):
            copies = np.broadcast_to(x, (len(places), *(1,) * (axes - x.ndim), *x.shape))
            copies = copies.astype(np.result_type(x, steps.dtype))
            copies.reshape(len(places), -1)[np.arange(len(places)), places] += steps
            return copies

        return dict(tree.leaves(function(_replace(point, path, move))))

    places = np.linspace(0, leaf.size - 1, many).astype(int)
    steps = np.array([0.25, -0.5, 0.75])[:many]
    expected = alone(places, steps)
    axes = max([leaf.ndim, *(out.ndim - 1 for out in expected.values())])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = evaluate(places, steps)
        same = found.keys() == expected.keys() and all(_same(found[at], out) for at, out in expected.items())
    except Exception:  # whatever forward says to an axis that it does not know
        return None
    total = sum(np.size(leaf) for _, leaf in tree.leaves(point)) + sum(out[0].size for out in expected.values())
    return (evaluate, max(1, TOGETHER // total)) if same else None


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
