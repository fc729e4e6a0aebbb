"""What shapes and algebra tell about a wrong gradient. Each rule gives a name and a reason, or None: silence.

Numbers drawn at random do not agree by chance: where an array equals another one in every element, to 1e-8 of the
largest, that is how it was made.
"""

import functools
import itertools
import math

import numpy as np

from minattn import tree
from minattn.gradcheck.derivative import floating
from minattn.gradcheck.location import names_of
from minattn.gradcheck.report import Likeness

SAME = 1e-8
ENOUGH = 4  # numbers that have to agree before anything is said


def first(wrong, rules):
    """The likeness of the first rule that has something to say about a wrong row; None if none has."""
    if wrong.row.analytic is None or wrong.row.numeric is None:
        return None
    for rule in rules:
        found = rule(wrong)
        if found:
            return Likeness((wrong.row.name,), *found)
    return None


def nan_in_dead_rows(wrong):
    analytic, numeric = _both(wrong)
    lost = ~np.isfinite(analytic) if analytic.shape == numeric.shape else np.zeros(1, dtype=bool)
    if lost.any() and not numeric[lost].any() and _same(analytic[~lost], numeric[~lost]):
        return "NaN where nothing may be looked at", (
            "It is right but for elements whose true gradient is 0: a row with nothing to look at was divided by its "
            "sum, 0 / 0. Give such rows the weight 0."
        )
    return None


def nothing(wrong):
    analytic, numeric = _both(wrong)
    if analytic.size and not analytic.any() and numeric.any():
        return "a way that was forgotten", (
            f"It is 0 everywhere, but forward depends on {wrong.row.name}: a term was left out, or = stands where += "
            f"should, and what was assigned last is 0."
        )
    return None


def float32_inside(wrong):
    analytic, numeric = _both(wrong)
    if analytic.shape != numeric.shape or wrong.leaves[wrong.row.name].dtype != np.float64:
        return None
    narrow = analytic.dtype == np.float32 or np.array_equal(analytic, analytic.astype(np.float32))
    if narrow and _same(analytic, numeric, 1e-4):
        return "float32 somewhere on the way", "It is right to some seven digits, and float64 came in."
    return None


def not_summed(wrong):
    analytic, numeric = _both(wrong)
    extra = analytic.ndim - numeric.ndim
    if extra < 0 or analytic.shape == numeric.shape:
        return None
    shape = (1,) * extra + numeric.shape
    repeated = tuple(i for i, (a, n) in enumerate(zip(analytic.shape, shape, strict=True)) if n == 1 != a)
    if repeated and _same(analytic.sum(axis=repeated).reshape(-1), numeric.reshape(-1)):
        return "a sum that was forgotten", (
            f"Summed over axis {_list(repeated)} it is right: what forward repeats by broadcasting, backward sums."
        )
    return None


def summed_too_much(wrong):
    analytic, numeric = _both(wrong)
    for axes in _subsets(range(numeric.ndim)):
        if numeric.size > analytic.size and _same(numeric.sum(axis=axes).reshape(-1), analytic.reshape(-1)):
            return (
                "a sum too many",
                f"It is the true gradient summed over axis {_list(axes)}, which {wrong.row.name} has.",
            )
    return None


def transposed(wrong):
    analytic, numeric = _both(wrong)
    if not 2 <= numeric.ndim <= 5 or analytic.ndim != numeric.ndim:
        return None
    for order in itertools.permutations(range(numeric.ndim)):
        if order != tuple(range(numeric.ndim)) and _same(analytic, numeric.transpose(order)):
            moved = [i for i, j in enumerate(order) if i != j]
            return "a transpose", f"With the axes {_list(moved)} in another order it is right."
    return None


def another_shape(wrong):
    analytic, numeric = _both(wrong)
    if analytic.shape != numeric.shape and _same(analytic.reshape(-1), numeric.reshape(-1)):
        return "the right numbers in another shape", f"Reshaped to {numeric.shape} it is right."
    return None


def swapped(wrong):
    analytic, _ = _both(wrong)
    for other in wrong.rows:
        if other.name != wrong.row.name and other.numeric is not None and _same(analytic, other.numeric):
            return "gradients in another order", (
                f"This is the gradient of {other.name}: return them in the order of the arguments."
            )
    return None


def constant_ratio(wrong):
    analytic, numeric = _both(wrong)
    c = _ratio(analytic, numeric)
    if c is None:
        return None
    known = _constant(c, wrong)
    if known is None:
        return "a constant factor", f"It is {c:.6g} times the true gradient, everywhere."
    return f"a factor of {known[0]}", f"It is {c:.6g} times the true gradient, everywhere. {known[1]}".rstrip()


def factor_of_another_array(wrong):
    """The ratio is an array that came in: a gain forgotten, or used twice."""
    analytic, numeric = _both(wrong)
    if analytic.shape != numeric.shape or numeric.size < ENOUGH or not numeric.all():
        return None
    ratio = analytic / numeric
    for path, leaf in wrong.leaves.items():
        if not floating(leaf) or leaf.size < 2 or not leaf.all() or not _broadcasts(leaf.shape, ratio.shape):
            continue
        for factor, name, how in ((1 / leaf, "forgotten", "divided by"), (leaf, "multiplied twice", "multiplied by")):
            if _same(ratio, np.broadcast_to(factor, ratio.shape)):
                return f"{path} {name}", f"It is the true gradient {how} {path}."
    return None


def upstream(wrong):
    """How it answers to another upstream gradient."""
    analytic, numeric = _both(wrong)
    if wrong.backward is None or not np.isfinite(analytic).all():
        return None
    twice = wrong.backward(tree.map(lambda d: 2 * d, wrong.dout)).get(wrong.row.name)
    if twice is None or analytic.shape != numeric.shape:
        return None
    size = np.abs(analytic).max(initial=0.0)
    if not size:
        return None
    if np.allclose(twice, analytic, rtol=0, atol=SAME * size):
        return (
            "an upstream gradient that was ignored",
            "It does not change with dout: multiply by dout, the chain rule.",
        )
    if not np.allclose(twice, 2 * analytic, rtol=0, atol=SAME * size):
        return "a backward that is not linear", "Twice the upstream gradient must give twice the gradient."
    return None


def one_of_a_sum(wrong):
    """Only the last, or the first, of several contributions is there: = in the place of +=."""
    analytic, _ = _both(wrong)
    outs = [leaf for _, leaf in tree.leaves(wrong.dout)]
    if wrong.backward is None or len(outs) != 1 or not analytic.any():
        return None
    (d,) = outs
    for axes in _subsets(range(d.ndim)):
        lengths = [d.shape[axis] for axis in axes]
        batched = axes == (0,) and analytic.shape[:1] == d.shape[:1]
        if min(lengths) < 2 or batched or axes == (d.ndim - 1,):
            continue
        for place, called in ((-1, "last"), (0, "first")):
            alone, at = np.zeros_like(d), [slice(None)] * d.ndim
            for axis in axes:
                at[axis] = place
            alone[tuple(at)] = d[tuple(at)]
            found = wrong.backward(tree.map(lambda _, alone=alone: alone, wrong.dout)).get(wrong.row.name)
            if found is not None and _same(found, analytic):
                along = f"axis {axes[0]}" if len(axes) == 1 else f"the axes {_list(axes)}"
                return "an assignment in the place of a sum", (
                    f"Only the {called} of {' x '.join(map(str, lengths))} along {along} of the output counts: write "
                    f"+= where = stands, and start at 0."
                )
    return None


def rows_read_twice(wrong):
    """Of a table, the rows that ids name more than once."""
    analytic, numeric = _both(wrong)
    if analytic.shape != numeric.shape or numeric.ndim < 2:
        return None
    off = wrong.row.wrong.reshape(numeric.shape[0], -1).any(axis=1)
    for path, leaf in wrong.leaves.items():
        if leaf.dtype.kind not in "iu" or not leaf.size or leaf.min() < 0 or leaf.max() >= len(off):
            continue
        often = np.bincount(leaf.reshape(-1), minlength=len(off)) > 1
        if often.any() and np.array_equal(off, often):
            return "an assignment in the place of a sum", (
                f"Just the rows that {path} names more than once are wrong: dtable[ids] = ... keeps the last of them, "
                f"np.add.at(dtable, ids, ...) adds them."
            )
    return None


def mask_ignored(wrong):
    analytic, numeric = _both(wrong)
    if analytic.shape != numeric.shape:
        return None
    zero = numeric == 0
    if zero.any() and not zero.all() and analytic[zero].any() and _same(analytic[~zero], numeric[~zero]):
        return "a mask that backward forgot", (
            "It is right but for elements whose true gradient is exactly 0: masked, padded or cut off in forward."
        )
    return None


def heads_mixed(wrong):
    """Heads reshaped without a transpose: (T, H D) as (H, T, D)."""
    analytic, numeric = _both(wrong)
    if analytic.shape != numeric.shape or numeric.ndim < 2:
        return None
    *leading, T, M = numeric.shape
    for H in (h for h in range(2, M) if M % h == 0):
        split = numeric.reshape(*leading, T, H, M // H).swapaxes(-3, -2)
        back = numeric.reshape(*leading, H, T, M // H).swapaxes(-3, -2)
        for heads in (split, back):
            if _same(analytic, heads.reshape(numeric.shape)):
                return "heads reshaped without a transpose", (
                    f"Cut into H={H} heads of {M // H} and put together in the other order it is right: "
                    f"(T, H, D) and (H, T, D) are a swapaxes apart, not a reshape."
                )
    return None


def blocks_in_another_order(wrong):
    analytic, numeric = _both(wrong)
    if analytic.shape != numeric.shape or not numeric.ndim:
        return None
    for axis, count in itertools.product(range(numeric.ndim), (4, 3, 2)):
        n = numeric.shape[axis]
        if n % count or n // count < 2:
            continue
        blocks = np.split(numeric, count, axis=axis)
        found = np.split(analytic, count, axis=axis)
        order = [
            next((j for j, b in enumerate(blocks) if _same(f, b) or not (f.any() or b.any())), None) for f in found
        ]
        if None not in order and sorted(order) == list(range(count)) and order != list(range(count)):
            name = names_of(numeric.shape, wrong.row.letters)[axis]
            return "blocks in another order", (
                f"The {count} blocks along {name} are right, but stand in the order {_list(order)}: gates, or query, "
                f"key and value, are cut apart and joined in one order."
            )
    return None


def shifted(wrong):
    analytic, numeric = _both(wrong)
    if analytic.shape != numeric.shape:
        return None
    for axis in range(numeric.ndim):
        if numeric.shape[axis] < 3:
            continue
        name = names_of(numeric.shape, wrong.row.letters)[axis]
        if _same(analytic, np.flip(numeric, axis)):
            return "a reversal that was not undone", f"Read backwards along {name} it is right."
        for step in (1, -1):
            part = [slice(None)] * numeric.ndim
            here, there = part.copy(), part.copy()
            here[axis], there[axis] = (slice(1, None), slice(None, -1))[::step]
            if _same(analytic[tuple(here)], numeric[tuple(there)]):
                return "an index off by one", f"Moved by one along {name} it is right."
    return None


def cut_off_in_time(wrong):
    """Right at the end of a sequence, wrong before: back-propagation through time that stops."""
    analytic, numeric = _both(wrong)
    if analytic.shape != numeric.shape or numeric.ndim != 3 or wrong.row.wrong is None or wrong.backward is None:
        return None
    for axis in (1, 0):
        others = tuple(i for i in range(3) if i != axis)
        off, heard = wrong.row.wrong.any(axis=others), numeric.any(axis=others)
        right = len(off) - int(off.sum())
        before, after = slice(0, len(off) - right), slice(len(off) - right, None)
        if not (0 < right < len(off) and off[before].all() and heard[after].all()):
            continue
        last = tree.map(functools.partial(_last_step, axis, len(off)), wrong.dout)
        found = wrong.backward(last).get(wrong.row.name)
        if found is None or np.moveaxis(np.asarray(found), axis, 0)[before].any():
            continue  # what the last step sends back does arrive
        return "back-propagation through time that is cut off", (
            f"The last {right if right > 1 else 'step'}{' steps are' if right > 1 else ' is'} right, all before "
            f"{'are' if len(off) - right > 1 else 'is'} wrong: the gradient of the state is not handed on."
        )
    return None


def softmax_alone(wrong):
    """For a function whose rows sum to 1."""
    analytic, numeric = _both(wrong)
    outs = [leaf for _, leaf in tree.leaves(wrong.out)]
    if len(outs) != 1 or outs[0].shape != numeric.shape or analytic.shape != numeric.shape or numeric.ndim < 1:
        return None
    weights, (d,) = outs[0], [leaf for _, leaf in tree.leaves(wrong.dout)]
    axes = [a for a in range(weights.ndim) if np.allclose(weights.sum(axis=a), 1) and (weights >= 0).all()]
    if not axes:
        return None
    formula = "dscores = weights * (dweights - (dweights * weights).sum(axis, keepdims=True))"
    if _same(analytic, weights * d):
        return "a missing row sum", "Every weight depends on every score of its row, through the sum.", formula
    if _same(analytic, weights * (1 - weights) * d):
        return (
            "the diagonal of the softmax Jacobian alone",
            "What a score does to the other weights is left out.",
            formula,
        )
    for axis in set(range(weights.ndim)) - set(axes):
        if _same(analytic, weights * (d - (d * weights).sum(axis=axis, keepdims=True))):
            return (
                "a softmax along another axis",
                f"Backward sums over axis {axis}, forward over axis {axes[-1]}.",
                formula,
            )
    return None


def slope_at_another_point(wrong):
    """Elementwise functions: the slope forgotten, or taken at x where it is written in terms of the output, or so."""
    analytic, numeric = _both(wrong)
    outs = [leaf for _, leaf in tree.leaves(wrong.out)]
    x = wrong.leaves[wrong.row.name]
    if len(outs) != 1 or not outs[0].shape == x.shape == analytic.shape or not floating(outs[0]):
        return None
    y, (d,) = outs[0], [leaf for _, leaf in tree.leaves(wrong.dout)]
    if _same(analytic, d):
        return "a slope that was forgotten", "It is dout itself: multiply by the slope of the function."
    tanh = "Right: dout * (1 - out * out)"
    sigmoid = "Right: dout * out * (1 - out)"
    for right, found, name, why in (
        (1 - y * y, 1 - x * x, "tanh's slope at x", f"1 - out^2 is written in terms of the output. {tanh}"),
        (1 - y * y, 1 - np.tanh(y) ** 2, "tanh's slope at its own output", f"tanh was taken twice. {tanh}"),
        (
            y * (1 - y),
            x * (1 - x),
            "sigmoid's slope at x",
            f"out (1 - out) is written in terms of the output. {sigmoid}",
        ),
        (y * (1 - y), _sigmoid_slope(y), "sigmoid's slope at its own output", f"sigmoid was taken twice. {sigmoid}"),
    ):
        if _same(numeric, d * right) and _same(analytic, d * found):
            return name, why
    return None


def _last_step(axis, steps, d):
    """An upstream gradient that the last step alone has sent; all of it where only that step has an output."""
    if d.ndim <= axis or d.shape[axis] != steps:
        return d
    alone = np.zeros_like(d)
    place = (slice(None),) * axis + (slice(-1, None),)
    alone[place] = d[place]
    return alone


RULES = (
    nan_in_dead_rows,
    nothing,
    float32_inside,
    not_summed,
    softmax_alone,
    upstream,
    constant_ratio,
    slope_at_another_point,
    swapped,
    transposed,
    another_shape,
    summed_too_much,
    mask_ignored,
    rows_read_twice,
    heads_mixed,
    blocks_in_another_order,
    shifted,
    factor_of_another_array,
    one_of_a_sum,
    cut_off_in_time,
)


def _both(wrong):
    return np.asarray(wrong.row.analytic), wrong.row.numeric


def _same(found, expected, tolerance=SAME):
    """Equal in every element, and enough of them to mean something."""
    if found.shape != expected.shape or found.size < ENOUGH or not expected.any():
        return False
    if not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return False
    return bool(np.abs(found - expected).max() <= tolerance * np.abs(expected).max())


def _ratio(analytic, numeric):
    """c where analytic = c numeric."""
    if analytic.shape != numeric.shape or numeric.size < ENOUGH or not np.isfinite(analytic).all():
        return None
    square = float((numeric * numeric).sum())
    c = float((analytic * numeric).sum()) / square if square else 0.0
    return c if c and _same(analytic, c * numeric) else None


def _constant(c, wrong):
    """The name of a constant, and what it may mean; sizes of the problem by the axis that has them."""
    plain = {
        -1.0: ("-1", "A sign."),
        2.0: ("2", "Something is added twice, or a 1/2 is missing."),
        0.5: ("1/2", "A 2 is missing, or one of two equal ways."),
        1 / math.log(2): ("log2(e)", "A logarithm of another base."),
        math.log(2): ("ln 2", "A logarithm of another base."),
    }
    sizes = {}
    arrays = [(row.name, row.shape, row.letters) for row in wrong.rows if row.numeric is not None]
    arrays += [("the output", leaf.shape, ()) for _, leaf in tree.leaves(wrong.out)]
    for name, shape, letters in arrays:
        for axis, n in zip(names_of(shape, letters), shape, strict=True):
            sizes.setdefault(n, f"{axis} of {name}" if axis.startswith("axis") else f"{axis.upper()}")
    for name, shape, _ in arrays[-1:]:
        if len(shape) > 1:
            sizes.setdefault(math.prod(shape[:-1]), f"all rows of {name}")
    named = list(plain.items())
    for n, axis in sizes.items():
        if n > 1:
            named += [
                (1 / n, (f"1/{n}", f"A mean over {axis} in the place of a sum, or that mean taken twice.")),
                (float(n), (f"{n}", f"A mean over {axis} in forward whose 1/{n} backward forgot.")),
                (math.sqrt(n), (f"sqrt({n})", f"A scale of 1/sqrt({axis}) that backward forgot.")),
                (1 / math.sqrt(n), (f"1/sqrt({n})", f"A scale of 1/sqrt({axis}) used once too often.")),
            ]
    fitting = [text for value, text in named if abs(c - value) <= SAME * abs(value)]
    return (fitting[0][0], " Or: ".join(dict.fromkeys(why for _, why in fitting))) if fitting else None


def _broadcasts(shape, target):
    try:
        return np.broadcast_shapes(shape, target) == target
    except ValueError:
        return False


def _sigmoid_slope(y):
    s = 1 / (1 + np.exp(-y))
    return s * (1 - s)


def _subsets(axes):
    axes = list(axes)
    return [some for k in range(1, len(axes) + 1) for some in itertools.combinations(axes, k)]


def _list(numbers):
    return ", ".join(map(str, numbers))
