"""What a wrong gradient looks like, in two stages; where neither knows, nothing is said.

First `rules`: what shapes and algebra tell about the wrong array alone. Then `zoo`: the op that the code is meant to be
is run at the same inputs with one known bug after the other; where the gradients are the same, the bug is named.
"""

import itertools
from typing import Any, NamedTuple

import numpy as np

from minattn import tree
from minattn.gradcheck import rules
from minattn.gradcheck.derivative import floating
from minattn.gradcheck.reference import candidates, output_of, refusal, wants
from minattn.gradcheck.report import Likeness

SAME = 1e-7  # two gradients are one, relative to the largest number of the array
CLEAR = 1e-5  # an error of less might be called anything


class Wrong(NamedTuple):
    """What the rules are shown: a wrong row, all rows, and the problem that it comes from.

    backward(dout) -> {path: gradient}: the same backward for another upstream gradient; None where there is none.
    """

    row: Any
    rows: list
    leaves: dict
    out: Any
    dout: Any
    backward: Any


def diagnose(problem, report, point, dout, out, reference=None):
    """-> further faults, likenesses."""
    faults = ()
    wrong = [row for row in report.rows if not report.right(row)]
    if reference is not None:
        faults = _compare_outputs(problem, point, out, reference)
    if not wrong:
        return faults, ()
    clear = {row.name for row in wrong if row.error > CLEAR}
    seen = [row for row in wrong if row.name in clear]
    likenesses = _known_bug(problem, report, seen, point, dout, out, reference) if seen else []
    named = {name for likeness in likenesses for name in likeness.arrays}

    def backward(dout):
        here = tree.map(np.copy, point)
        return dict(tree.leaves(problem.gradients(dout, here, *problem.call(here))))

    leaves = dict(tree.leaves(point))
    for row in wrong:
        if row.name not in named:
            known = rules.RULES if row.name in clear else (rules.float32_inside,)
            ask = backward if problem.upstream else None
            found = rules.first(Wrong(row, report.rows, leaves, out, dout, ask), known)
            likenesses += [found] if found else []
    return faults, tuple(_joined(likenesses))


def _known_bug(problem, report, wrong, point, dout, out, reference):
    """The bug of the zoo that gives the same output and the same gradients at the same inputs.

    First among the ops that give this output: a bug in backward alone. Where none is the same in all arrays, several
    bugs may have come together, each seen in arrays of its own. Last among all ops that can be called like this.
    """
    from minattn.gradcheck import zoo

    alone, clear = {}, {row.name for row in wrong}
    for same_output in (True, False):
        for name, bound in candidates(problem, point, out, reference, same_output):
            if same_output and (missing := _missing_ways(report, wrong, bound, dout)):
                return missing
            for bug in zoo.of(name):
                try:
                    found, gradients = bound.run(zoo.build(bug, name), dout)
                except Exception:  # a bug may well raise at other shapes
                    continue
                if not _same(output_of(out), found):
                    continue
                alike = {
                    row.name
                    for row in report.rows
                    if row.name in gradients and _same(row.analytic, gradients[row.name])
                }
                likeness = Likeness(tuple(row.name for row in wrong), bug.name, bug.why, bug.formula)
                if len(alike) == len(report.rows):
                    return [likeness]
                if same_output and alike & clear and _would_show(report, gradients) <= alike:
                    for name in (alike & clear) - alone.keys():
                        alone[name] = likeness._replace(arrays=(name,))
    return list(alone.values())


def _would_show(report, gradients):
    """The arrays whose gradient a bug makes wrong: where one of them is another, the bug is not there."""
    told = [row for row in report.rows if row.numeric is not None and gradients.get(row.name) is not None]
    return {row.name for row in told if not _same(gradients[row.name], row.numeric)}


def _missing_ways(report, wrong, bound, dout):
    """An array that is query, key and value at once receives a gradient from each: which of them are not there?"""
    likenesses = []
    for path, ways in bound.ways(dout).items():
        row = next(row for row in report.rows if row.name == path)
        for there in itertools.chain.from_iterable(itertools.combinations(ways, n) for n in range(1, len(ways))):
            if row in wrong and _same(row.analytic, sum(ways[name] for name in there)):
                gone = " and the ".join(name for name in ways if name not in there)
                why = f"{path} is {', '.join(ways)} at once: its gradient through the {gone} is missing."
                formula = f"d{path} = {' + '.join(f'd{path} by the {name}' for name in ways)}"
                likenesses.append(Likeness((path,), "a way that was forgotten", why, formula))
    alone = {likeness.arrays[0] for likeness in likenesses} == {row.name for row in wrong}
    return likenesses if alone else []


def _compare_outputs(problem, point, out, reference):
    """Is forward what it is meant to be? No gradient check can see that."""
    from minattn.gradcheck import zoo

    tried = [bound for _, bound in candidates(problem, point, out, reference, same_output=False)]
    if any(_same(output_of(out), bound.run()[0]) for bound in tried):
        return ()
    for bound, bug in itertools.product(tried, zoo.of(reference)):
        try:
            found, _ = bound.run(zoo.build(bug, reference))
        except Exception:
            continue
        if _same(output_of(out), found):
            return (f"forward is not {reference}. It looks like: {bug.name}. {bug.why} Right: {bug.formula}",)
    if tried:
        return (f"forward is not {reference}: the outputs differ, whatever the gradients say",)
    why = refusal(problem, point, reference)
    raise ValueError(
        f"reference={reference!r} cannot be called with {', '.join(problem.point)}: it takes "
        f"{', '.join(wants(reference))}, in this order or by these names, in shapes of its own{'; ' * bool(why)}{why}"
    )


def _same(found, expected):
    if found is None or expected is None:
        return found is expected
    if np.shape(found) != np.shape(expected):
        return False
    found, expected = np.asarray(found), np.asarray(expected)
    if not (floating(found) and floating(expected)):
        return False
    finite = np.isfinite(expected)
    scale = np.abs(expected[finite]).max(initial=0.0)
    agree = np.allclose(found[finite], expected[finite], rtol=0, atol=SAME * scale)
    return bool(agree and np.array_equal(np.isfinite(found), finite))


def _joined(likenesses):
    """One likeness for all arrays that show the same."""
    merged = {}
    for one in likenesses:
        before = merged.get((one.name, one.why))
        merged[one.name, one.why] = one if before is None else before._replace(arrays=before.arrays + one.arrays)
    return merged.values()
