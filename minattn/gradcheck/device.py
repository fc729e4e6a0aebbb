"""A problem whose arrays lie on a graphics card, asked from the host.

The checker works where it always does. Forward and backward get the arrays that were on the card as arrays of the card,
and what they return is fetched; the cache between them stays there, whatever it holds.
"""

import numpy as np

from minattn import tree
from minattn.backend import beside, device_of, is_device, to_host

__tracebackhide__ = True  # as in check


def at_home(problem):
    """The problem with its point on the host; itself where all of it is there."""
    like = device_of(problem.point)
    if like is None:
        return problem
    lying = {path for path, leaf in tree.leaves(problem.point) if is_device(leaf)}

    def there(point):
        paths = iter([path for path, _ in tree.leaves(point)])
        return tree.map(lambda x: beside(x, like) if next(paths) in lying else x, point)

    def written(point, moved):
        """What was written on the card is written on the host, so that it is noticed."""
        for (_, leaf), (_, other) in zip(tree.leaves(point), tree.leaves(moved), strict=True):
            if is_device(other) and isinstance(leaf, np.ndarray):  # NumPy makes a number of what has no axes
                leaf[...] = to_host(other)

    def call(point):
        moved = there(point)
        out, cache = problem.call(moved)
        written(point, moved)
        return to_host(out), cache

    def gradients(dout, point, out, cache):
        moved, upstream = there(point), beside(dout, like)
        found = problem.gradients(upstream, moved, beside(out, like), cache)
        written(point, moved)
        written(dout, upstream)
        return to_host(found)

    def again(dout, point):
        return to_host(problem.again(beside(dout, like), there(point)))

    return problem._replace(
        point=to_host(problem.point),
        call=call,
        gradients=gradients,
        again=again if problem.again is not None else None,
        options=to_host(problem.options),
    )
