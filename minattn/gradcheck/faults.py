"""What no number shows: inputs written to, state left behind, randomness, NaN, and what cannot be checked at all."""

import numpy as np

from minattn import tree
from minattn.gradcheck.derivative import floating, own

__tracebackhide__ = True  # as in check


def refuse(point):
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
        came = ", ".join(f"{path} is {leaf.dtype}" for path, leaf in tree.leaves(point))
        if not came:
            raise ValueError("no array came: give them behind the functions, as in gradcheck(f, f_backward, (x, W))")
        raise ValueError(f"nothing here has a gradient ({came}): gradients need fractions, write x.astype(float)")


def refuse_output(out, problem):
    if not any(floating(leaf) for _, leaf in tree.leaves(out)):
        came = ", ".join(f"{np.asarray(leaf).dtype}" for _, leaf in tree.leaves(out))
        if not came:
            raise ValueError(f"{problem.title} returned None: is a return missing?")
        raise ValueError(f"{problem.title} returned {came}: only floating outputs have gradients")


def not_the_same_twice(problem, point, out):
    """Randomness that nobody seeded, and state that outlives a call."""
    if _equal(out, problem.out(own(point))):
        return []
    return [
        "forward gives another result each time, on the same inputs: randomness without a seed, or state kept from "
        "call to call; pass a Generator by `options`, which is copied for each call"
    ]


def not_a_number(point, out):
    """Where forward is no number, backward cannot be judged."""
    came = [path for path, leaf in tree.leaves(point) if not np.isfinite(leaf).all()]
    many = sum(int(np.isnan(leaf).sum()) for _, leaf in tree.leaves(out) if floating(leaf))
    why = f"NaN or infinity in {', '.join(came)} reaches it" if came else "from numbers that are all finite"
    return (
        [f"forward gives NaN in {many:,} place{'s' * (many > 1)}, {why}: no gradient can be judged there"]
        if many
        else []
    )


def changed(before, after, who):
    """Inputs that were written to."""
    after = dict(tree.leaves(after))
    return [
        f"{who} writes to {path}: what the caller passed in is changed"
        for path, leaf in tree.leaves(before)
        if not np.array_equal(leaf, after.get(path), equal_nan=leaf.dtype.kind in "fc")
    ]


def remembers(problem, point, dout, analytic):
    """What a call leaves behind for the next one."""
    size = largest(analytic.items())

    def others(found):
        return [name for name, a in analytic.items() if not _near(found.get(name), a, size)]

    if problem.again is not None:
        out, gradients = problem.again(own(dout), own(point))
        found = dict(tree.leaves(gradients))
        if not _equal(problem.out(own(point)), out):
            return [
                "forward gives another result the second time: the object keeps state from call to call, and nothing "
                "sets it back"
            ]
        grown = [name for name in others(found) if _near(found.get(name), 2 * analytic[name], size)]
        changed = [name for name in others(found) if name not in grown]
        faults = [
            f"{_gradients(grown)} twice as large after a second forward and backward: it is added to the first, and "
            f"nothing sets it back"
        ]
        more = [f"{_gradients(changed)} different after a second forward and backward: state is kept from call to call"]
        return faults * bool(grown) + more * bool(changed)
    here = own(point)
    out, cache = problem.call(here)
    try:
        problem.call(tree.map(lambda x: x + 1 if floating(x) else x, own(point)))
    except Exception:  # other numbers need not be allowed
        return []
    changed = others(dict(tree.leaves(problem.gradients(own(dout), here, out, cache))))
    return [
        f"{_gradients(changed)} different when forward was called again before backward: state is left over from the "
        f"last call"
    ] * bool(changed)


def _gradients(names):
    """The gradient of x is, those of x and W are."""
    return f"the gradient{'s' * (len(names) > 1)} of {', '.join(names)} {'are' if len(names) > 1 else 'is'}"


def _near(found, expected, size):
    """The same but for rounding, which may be all there is of an array that is truly 0."""
    if found is None:
        return False
    found, expected = np.asarray(found), np.asarray(expected)
    return found.shape == expected.shape and np.allclose(found, expected, rtol=1e-9, atol=1e-12 * size, equal_nan=True)


def _equal(left, right):
    left, right, size = dict(tree.leaves(left)), dict(tree.leaves(right)), largest(tree.leaves(left))
    return left.keys() == right.keys() and all(_near(right[path], leaf, size) for path, leaf in left.items())


def largest(leaves):
    return max((np.abs(x[np.isfinite(x)]).max(initial=0.0) for _, x in leaves if floating(x)), default=0.0)
