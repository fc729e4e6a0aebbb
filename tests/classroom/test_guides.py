"""The code in the guide to the maths computes what its formulas say."""

import re

import numpy as np
import pytest

from minattn.classroom import shelf

STEP = 1e-100


def blocks():
    text = (shelf.BESIDE / "guides" / "maths.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def run(having, **known):
    """What the block that has this line leaves."""
    (block,) = [block for block in blocks() if having in block]
    exec(block, {"np": np}, known)
    return known


def slopes(f, x, dout):
    """sum of dout * f along every number of x, by complex step."""
    d = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        moved = x.astype(complex)
        moved[place] += STEP * 1j
        d[place] = (dout * f(moved)).sum().imag / STEP
    return d


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_sums_and_products(rng):
    a, b, dy = rng.normal(size=(3, 4)), rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    left = run("da, db = dy, dy", dy=dy)
    assert np.allclose(left["da"], slopes(lambda a: a + b, a, dy), rtol=1e-12)
    left = run("dy * b, dy * a", a=a, b=b, dy=dy)
    assert np.allclose(left["da"], slopes(lambda a: a * b, a, dy), rtol=1e-12)
    assert np.allclose(left["db"], slopes(lambda b: a * b, b, dy), rtol=1e-12)
    left = run("db = dy.sum(axis=0)")
    assert np.array_equal(left["db"], slopes(lambda b: np.zeros((5, 3)) + b, np.zeros(3), left["dy"]))


def test_matrix_product(rng):
    X, W, dY = rng.normal(size=(2, 3)), rng.normal(size=(3, 4)), rng.normal(size=(2, 4))
    left = run("dX = dY @ W.T", X=X, W=W, dY=dY)
    assert np.allclose(left["dX"], slopes(lambda X: X @ W, X, dY), rtol=1e-12)
    assert np.allclose(left["dW"], slopes(lambda W: X @ W, W, dY), rtol=1e-12)


def test_used_twice_and_chosen_twice(rng):
    x, dy = rng.normal(size=5), rng.normal(size=5)
    left = run("f_backward", x=x, dy=dy, f_backward=lambda d, x: d * np.cos(x), g_backward=lambda d, x: 2 * d * x)
    assert np.allclose(left["dx"], slopes(lambda x: np.sin(x) + x * x, x, dy), rtol=1e-12)
    table, ids, drows = rng.normal(size=(4, 3)), np.array([1, 3, 1]), rng.normal(size=(3, 3))
    left = run("np.add.at", table=table, ids=ids, drows=drows)
    assert np.allclose(left["dtable"], slopes(lambda table: table[ids], table, drows), rtol=1e-12)


def test_softmax(rng):
    s, dw = rng.normal(size=(2, 5)), rng.normal(size=(2, 5))
    w = np.exp(s) / np.exp(s).sum(axis=-1, keepdims=True)
    left = run("ds = w *", w=w, dw=dw)
    assert np.allclose(
        left["ds"], slopes(lambda s: np.exp(s) / np.exp(s).sum(axis=-1, keepdims=True), s, dw), rtol=1e-10
    )


def test_every_block_was_run():
    assert len(blocks()) == 7


def test_teaching_says_what_there_is():
    from minattn.classroom import verdict
    from minattn.classroom.exercises import CORE, EXERCISES

    text = (shelf.BESIDE / "guides" / "teaching.md").read_text(encoding="utf-8")
    outcomes = [
        verdict.OK, verdict.WRONG_ANSWER, verdict.MISSING, verdict.DELEGATED, verdict.NUMERICAL, verdict.TIMEOUT,
        verdict.CRASHED, verdict.ENVIRONMENT,
    ]  # fmt: skip
    assert re.findall(r"^\| ([A-Z ]+) \|", text, re.MULTILINE) == outcomes
    assert set(re.findall(r"^\| ([a-z]+) \|", text, re.MULTILINE)) == {e.kind for e in EXERCISES.values()} | {
        "kind",
        "outcome",
    }
    assert (len(EXERCISES), len(CORE)) == (45, 12) and "forty-five are cells" in text and "Twelve, marked" in text


def test_every_command_of_teaching_is_understood():
    from minattn.__main__ import COMMANDS

    text = (shelf.BESIDE / "guides" / "teaching.md").read_text(encoding="utf-8")
    lines = re.findall(r"python -m minattn (\w+) (.*?)(?:`|$)", text, re.MULTILINE)
    assert len(lines) >= 6 and {command for command, _ in lines} == {"lessons", "grade"} <= COMMANDS.keys()
    import argparse
    import importlib

    for command, arguments in lines:
        parser = argparse.ArgumentParser()
        importlib.import_module(COMMANDS[command][0]).add_arguments(parser)
        parser.parse_args(arguments.split())
