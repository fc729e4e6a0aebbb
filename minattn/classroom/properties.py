"""What must hold: a vocabulary for exercises. A property gives nothing away, as an answer would.

Each is Property(name, test), test(trial) -> "" where it holds, else what is wrong, in a sentence.
"""

import copy

import numpy as np

from minattn import tree
from minattn.classroom.exercise import Property
from minattn.gradcheck.faults import changed

CLOSE = 1e-10  # of results that should be the same but for rounding
EXACT = 1e-12  # of a gradient
HIDDEN_SEEDS = 11, 12, 13


def of(exercise):
    """All properties of an exercise, the hidden one last."""
    if exercise.mechanism:
        return (SHAPE, FORMULA, *gradients(exercise), *exercise.properties, UNTOUCHED, TWICE, SAME)
    if exercise.given:
        return (SHAPES, *gradients(exercise), UNTOUCHED, TWICE, *exercise.properties, SAME_GRADIENTS)
    return (SHAPE, *exercise.properties, UNTOUCHED, TWICE, SAME)


def gradients(exercise):
    """One property for each gradient that is asked: exact to 1e-12."""
    drawn = exercise.draw(exercise.rng(0))
    names = [name for name, x in drawn.items() if isinstance(x, np.ndarray) and x.dtype.kind == "f"]
    return tuple(Property(f"d{name} is exact", _exact(name), 2) for name in names)


def _exact(name):
    def test(trial):
        for report in trial.reports:
            row = next(row for row in report.rows if row.name == name)
            if not row.error <= EXACT:  # NaN too; what rounding might excuse elsewhere, it does not at these sizes
                details = [line.replace(f"{name}[", f"d{name}[", 1) for line in row.details()]
                return "; ".join([f"error {row.error:.1e}", *filter(None, (row.remark,)), *details])
        return ""

    return test


def _shape(trial):
    for drawn in trial.cases():
        found, expected = trial.call(drawn), trial.reference(drawn)
        if said := _shapes_differ(found, expected):
            return said
    return ""


def _shapes_differ(found, expected):
    if isinstance(expected, tuple | list):
        if not isinstance(found, tuple | list) or len(found) != len(expected):
            came = f"{len(found)}" if isinstance(found, tuple | list) else f"one {type(found).__name__}"
            return f"it should return {len(expected)} results, but returns {came}"
        pairs = enumerate(zip(found, expected, strict=True))
        return next((f"result {i + 1}: {said}" for i, pair in pairs if (said := _shapes_differ(*pair))), "")
    if expected is None:
        return ""
    if np.shape(found) != np.shape(expected):
        return f"it returns the shape {np.shape(found)}, but should return {np.shape(expected)}"
    dtype, right = np.asarray(found).dtype, np.asarray(expected).dtype
    if dtype.kind not in "fiub":
        return f"it returns {dtype}, but should return real numbers"
    return f"it returns {dtype}: compute in {right}" if dtype.kind == right.kind == "f" and dtype != right else ""


def _untouched(trial):
    for drawn in trial.cases():
        arguments = copy.deepcopy(trial.arguments(drawn))
        before = copy.deepcopy(arguments)
        trial.watch(*arguments)
        names = ("dout", "cache") if trial.exercise.given else drawn
        for name, now, then in zip(names, arguments, before, strict=True):
            if changed(_arrays(then), _arrays(now), name):
                return (
                    f"it writes into {name}, which belongs to its caller: make a new one, x = x + 1 instead of x += 1"
                )
    return ""


def _arrays(result):
    return {path: np.asarray(leaf) for path, leaf in tree.leaves({"it": result})}


def _twice(trial):
    first, other = (trial.arguments(case) for case in (trial.drawn, trial.exercise.draw(trial.rng(5))))
    before = trial.watch(*copy.deepcopy(first))
    trial.watch(*copy.deepcopy(other))
    again = trial.watch(*copy.deepcopy(first))
    if changed(_arrays(before), _arrays(again), "it"):
        return "the same arguments gave a different result the second time: is something kept between calls?"
    return ""


def _same(trial):
    for seed in HIDDEN_SEEDS:
        for drawn in trial.cases(trial.rng(seed)):
            if said := difference(trial.call(drawn), trial.reference(drawn), CLOSE):
                return said
    return ""


def _formula(trial):
    for drawn in trial.cases():
        if difference(trial.call(drawn)[0], trial.reference(drawn)[0], CLOSE):
            return "the context is not what the formula says"
    return ""


def difference(found, expected, within):
    """ "" where two results are the same, else what is different."""
    if said := _shapes_differ(found, expected):
        return said
    found = _arrays(found)
    worst = max(error(found[path], right) for path, right in _arrays(expected).items())
    return "" if worst <= within else f"off by {worst:.1e}" if np.isfinite(worst) else "not finite where it should be"


def error(found, expected):
    """max |found - expected| / max |expected|; infinite where shapes, NaN or infinities differ or no numbers came."""
    if found.shape != expected.shape or not {found.dtype.kind, expected.dtype.kind} <= {*"fiubc"}:
        return np.inf
    finite = np.isfinite(expected)
    if not np.array_equal(np.isfinite(found), finite):
        return np.inf
    size = np.abs(expected[finite]).max(initial=0) or 1.0
    return np.abs(found[finite] - 1.0 * expected[finite]).max(initial=0) / size


def _same_gradients(trial):
    for seed in HIDDEN_SEEDS[:1]:
        for drawn in trial.cases(trial.rng(seed)):
            wrong = [row for row in trial.report(drawn).rows if not row.error <= EXACT]
            if wrong:
                return "; ".join(f"d{row.name}: error {row.error:.1e}" for row in wrong)
    return ""


def sum_to_one(axis):
    """Along an axis the weights sum to 1."""

    def test(trial):
        for drawn in trial.cases():
            sums = np.asarray(trial.call(drawn)).sum(axis=axis, keepdims=True)
            off = ~np.isclose(sums, 1, rtol=0, atol=1e-9)
            if off.any():
                place = np.argwhere(off)[0].tolist()
                at = ", ".join(":" if i == axis else str(n) for i, n in enumerate(place))
                return f"weights[{at}] sum to {sums[tuple(place)]:.4g}"
        return ""

    return Property("weights sum to 1", test)


def stable(name, size=1e4, title=None):
    """Large numbers in one argument do no harm, where small ones do none."""

    def test(trial):
        for drawn in trial.cases():
            found = np.asarray(trial.call(drawn | {name: np.asarray(drawn[name]) * size}))
            if np.isfinite(trial.call(drawn)).all() and not np.isfinite(found).all():
                return f"with {name} {size:g} times as large the result is not finite: exp overflows beyond 709"
        return ""

    return Property(title or f"stable at {size:g}", test)


FORMULA = Property("it computes the formula", _formula, 2)
SHAPE = Property("it returns the right shape", _shape, 0)
SHAPES = Property("gradients have the shapes of their arrays", _shape, 0)
UNTOUCHED = Property("inputs stay untouched", _untouched, 0)
TWICE = Property("a second call gives the same", _twice, 0)
SAME = Property("right on other numbers (hidden)", _same, hidden=True)
SAME_GRADIENTS = Property("right on other numbers (hidden)", _same_gradients, hidden=True)
