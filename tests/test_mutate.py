"""The mutation gate itself: what it changes, that a change is killed, and that what is explained is still there."""

import inspect
import sys

import laws
import numpy as np
import pytest
from mutants import install, mutants

from minattn.functions import softmax, softmax_backward
from minattn.gradcheck import registry
from minattn.op import pair

SOURCE = '''
def naive(x):
    return x + 1


def f(x, mask=None):
    """Words stay: 1 + 1."""
    if mask is not None:
        x = where(mask, x, -1)
    if x < 2:
        came = 3
        raise ValueError(f"{x + 1} is {came}")
    return x.mT @ x[a:], g(x, axis=-1)
'''
CHANGED = [
    "if mask is None:", "if not mask is not None:", "(deleted) x = where(mask, x, -1)", "x = mask", "x = x", "x = -1",
    "x = where(x, mask, -1)", "x = where(mask, -1, x)", "x = where(mask, x, 1)", "x = where(mask, x, -2)",
    "if x <= 2:", "if not x < 2:", "if x < 3:", "(deleted) raise ValueError(f'{x + 1} is {came}')",
    "return (g(x, axis=-1), x.mT @ x[a:])", "return (x[a:] @ x.mT, g(x, axis=-1))", "return (x @ x[a:], g(x, axis=-1))",
    "return (x.mT @ x[a + 1:], g(x, axis=-1))", "return (x.mT @ x[a:-1], g(x, axis=-1))", "return (x.mT @ x[a:], g(x))",
    "return (x.mT @ x[a:], x)", "return (x.mT @ x[a:], g(x, axis=1))", "return (x.mT @ x[a:], g(x, axis=-2))",
]  # fmt: skip


def test_one_thing_at_a_time():
    found = mutants("f.py", SOURCE)
    assert sorted(m.key[2] for m in found) == sorted(CHANGED) and {m.key[:2] for m in found} == {("f.py", "f")}
    results = []
    for mutant in mutants("g.py", "def g(a, b):\n    return a - 2 * b"):
        space = {}
        exec(mutant.code("g.py"), space)
        results.append(space["g"](6, 2))
    assert results == [10, 5, 0]  # a + 2 * b, a - 2 / b, a - 3 * b: each alone


def test_a_mutant_is_killed():
    module, real = sys.modules[softmax.__module__], softmax.__code__
    source = inspect.getsource(module)
    case = registry()["softmax"][1](np.random.default_rng(0))[0]
    op = pair(softmax, softmax_backward)
    killed = 0
    try:
        for mutant in mutants("functions/softmax.py", source):
            if mutant.key[1:] == ("rows", "np.subtract(row_dot(dweights, weights), dweights, out=dscores)"):
                install(module, mutant.code(module.__file__))
                with pytest.raises((AssertionError, ValueError)):
                    laws.adjoint_test(op, case)
                killed += 1
    finally:
        install(module, compile(source, module.__file__, "exec"))
    assert killed == 1 and softmax.__code__ == real
    laws.adjoint_test(op, case)


def test_what_is_explained_is_still_there():
    pytest.importorskip("resource", reason="forks and limits: not on Windows")
    from mutate import TESTS, all_mutants, reviewed

    known = reviewed((TESTS / "equivalent.txt").read_text(encoding="utf-8"))
    assert known.keys() <= {mutant.key for mutant in all_mutants()} and all(known.values())
    assert reviewed("# a word\n\na/b.py f: why: because\n    x = 1\n    x = 2\n") == {
        ("a/b.py", "f", "x = 1"): "why: because",
        ("a/b.py", "f", "x = 2"): "why: because",
    }
