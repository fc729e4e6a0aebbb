"""Derivatives by number: known ones, many elements at once, and what cannot be taken so."""

import math
import warnings

import numpy as np
import pytest

from minattn.gradcheck import central_difference, complex_step, derivative
from minattn.gradcheck.derivative import along, one_sided

RNG = np.random.default_rng(0)
X, W, B = RNG.normal(size=(4, 5)), RNG.normal(size=(5, 3)), RNG.normal(size=3)


def softmax(x):
    e = np.exp(x - x.real.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def batch_norm(x):
    centred = x - x.mean(axis=0)
    return centred / np.sqrt((centred * centred).mean(axis=0) + 1e-5)


def last_with_last(x):
    """Reads its rows from behind: an axis in front of all changes nothing, one more behind would."""
    return x[..., ::-1, :] * x


TOGETHER = {
    "elementwise": lambda p: np.tanh(p["X"]),
    "linear": lambda p: p["X"] @ p["W"] + p["B"],
    "softmax": lambda p: softmax(p["X"] @ p["W"]),
    "last axes": lambda p: last_with_last(p["X"]),
    "two outputs": lambda p: (p["X"] @ p["W"], {"square": p["W"] ** 2}),
    "an output that does not move": lambda p: (p["X"] @ p["W"], p["B"] * 2),
    "more axes inside": lambda p: (p["X"][..., :, None] * p["W"]).sum(axis=-2),
    "mT": lambda p: p["X"].mT @ p["X"],
    "einsum with dots": lambda p: np.einsum("...ti,io->...to", p["X"], W),
}
ALONE = {
    "T": (lambda p: p["X"].T @ p["X"], "X"),
    "einsum": (lambda p: np.einsum("ti,io->to", p["X"], p["W"]), "X"),
    "a loss": (lambda p: (p["X"] @ p["W"]).sum(), "X"),
    "batch statistics": (lambda p: batch_norm(p["X"]), "X"),
    "sum over axis 0": (lambda p: p["X"] - p["X"].sum(axis=0), "X"),
    "reshape": (lambda p: p["X"].reshape(-1, 2), "X"),
    "the length of axis 0": (lambda p: p["X"] / len(p["X"]), "X"),
    "rows by number": (lambda p: p["X"][0] + p["X"][1], "X"),
    "a loop over rows": (lambda p: np.stack([row @ row for row in p["X"]]), "X"),
    "asks for two axes": (lambda p: p["X"] * (1 if p["X"].ndim == 2 else 2), "X"),
    "flip": (lambda p: p["X"] * np.flip(p["X"]), "X"),
    "cumsum": (lambda p: np.cumsum(p["X"]), "X"),
}
ALL = TOGETHER | {name: f for name, (f, _) in ALONE.items()}


def counted(function):
    calls = []

    def count(point):
        calls.append(1)
        return function(point)

    return count, calls


def upstream(out):
    rng = np.random.default_rng(1)
    return derivative.tree.map(lambda x: np.asarray(rng.normal(size=np.shape(x))), out)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("derive", [complex_step, central_difference])
def test_many_at_once_equals_one_at_a_time(name, derive, monkeypatch):
    point, function = {"X": X, "W": W, "B": B}, ALL[name]
    dout = upstream(function(point))
    found = derive(function, point, dout)
    monkeypatch.setattr(derivative, "_together", lambda *arguments: None)
    alone = derive(function, point, dout)
    for key, gradient in alone.items():
        assert np.allclose(found[key], gradient, rtol=0, atol=1e-11), key


@pytest.mark.parametrize("name", ALL)
def test_who_is_moved_together(name):
    """Copies stand on an axis of their own; where forward would mix them or refuse them, they are not made."""
    function, leaf = (TOGETHER[name], "X") if name in TOGETHER else ALONE[name]
    assert (derivative._together(function, {"X": X, "W": W, "B": B}, leaf) is not None) == (name in TOGETHER)


def test_few_calls_where_copies_are_copies():
    x = RNG.normal(size=(30, 20))
    function, calls = counted(np.tanh)
    complex_step(function, x, np.ones_like(x))
    assert len(calls) < 30
    function, calls = counted(lambda x: np.tanh(x).sum())
    complex_step(function, x, np.float64(1.0))
    assert len(calls) >= x.size


@pytest.mark.parametrize("count", [3, 4, 5, 7])
def test_copies_are_not_taken_for_rows(count):
    """A forward that asks how many rows there are must not be shown as many copies."""
    x = RNG.normal(size=(count, 6))
    found = complex_step(lambda x: x / len(x), x, np.ones_like(x))
    assert np.allclose(found, 1 / count, rtol=1e-14)


@pytest.mark.parametrize("derive, near", [(complex_step, 1e-14), (central_difference, 1e-9)])
@pytest.mark.parametrize("order", ["C", "F", "strided", "read-only", "reversed"])
def test_any_order_in_memory(derive, near, order):
    x = {
        "C": X,
        "F": np.asfortranarray(X),
        "strided": np.repeat(X, 2, axis=1)[:, ::2],
        "read-only": X.copy(),
        "reversed": X[::-1, ::-1][::-1, ::-1],
    }[order]
    x.flags.writeable = x.flags.writeable and order != "read-only"
    for function, slope in ((np.sin, np.cos), (lambda x: np.sin(x).sum(), np.cos)):
        dout = np.ones(np.shape(function(x)))
        assert np.allclose(derive(function, x, dout), slope(X), rtol=0, atol=near)


def test_single_numbers_and_empty_arrays():
    found = complex_step(lambda p: p["a"] * p["b"].sum() * 2, {"a": 3.0, "b": np.array(2.0)}, np.float64(1.0))
    assert found["a"] == 4.0 and found["b"] == 6.0 and found["a"].shape == ()
    found = complex_step(lambda x: np.tanh(x), np.zeros((0, 3)), np.zeros((0, 3)))
    assert found.shape == (0, 3)


def test_only_the_chosen_elements():
    places = {"X": np.array([0, 7, 19]), "B": np.array([], dtype=int)}
    point = {"X": X, "W": W, "B": B}
    dout = upstream(TOGETHER["linear"](point))
    some, every = (complex_step(TOGETHER["linear"], point, dout, chosen) for chosen in (places, None))
    assert np.array_equal(np.flatnonzero(~np.isnan(some["X"])), [0, 7, 19])
    assert np.allclose(some["X"].reshape(-1)[[0, 7, 19]], every["X"].reshape(-1)[[0, 7, 19]])
    assert np.isnan(some["B"]).all() and np.allclose(some["W"], every["W"])


def test_the_point_is_not_written_to_by_a_forward_that_writes():
    """Each call gets arrays of its own where they are moved; those that stand still are shared between calls."""
    x = X.copy()

    def forward(x):
        x *= 2
        return x

    assert np.allclose(complex_step(forward, x, np.ones_like(x)), 2)
    assert (x == X).all()


def test_the_step_of_a_difference():
    """h^4: half the step, a sixteenth of the error; and the kink at 0.01 is within the larger step alone."""
    errors = [
        abs(central_difference(np.exp, np.array([1.0]), np.ones(1), step=step) - math.e)[0] for step in (0.4, 0.2)
    ]
    assert 14 < errors[0] / errors[1] < 18
    kink = np.array([0.01])
    assert central_difference(np.abs, kink, np.ones(1), step=0.1)[0] < 0.9
    assert abs(central_difference(np.abs, kink, np.ones(1), step=0.005)[0] - 1) < 1e-12


def test_differences_pass_over_infinities():
    function = lambda x: np.array([x[0] * x[0], -np.inf, x[1]])  # noqa: E731
    assert np.allclose(central_difference(function, np.array([3.0, 1.0]), np.ones(3)), [6, 1])


def test_slopes_beside_a_kink():
    x, v = np.array([0.0, 2.0]), np.array([1.0, 0.0])
    left, right = one_sided(np.abs, x, np.ones(2), "", v, 1e-6)
    assert abs(left + 1) < 1e-9 and abs(right - 1) < 1e-9
    left, right = one_sided(np.abs, x, np.ones(2), "", v[::-1], 1e-6)
    assert abs(left - 1) < 1e-9 and abs(right - 1) < 1e-9


def test_along_a_direction():
    v = RNG.normal(size=X.shape)
    slope = along(lambda p: np.sin(p["X"]), {"X": X, "W": W}, np.ones_like(X), "X", v)
    right = float((np.cos(X) * v).sum())
    assert abs(slope.exact - right) < 1e-13 and abs(slope.differenced - right) < 1e-10 and slope.apart < 1e-4
    assert along(np.abs, X, np.ones_like(X), "", v).exact == 0.0  # the imaginary part is gone


@pytest.mark.parametrize(
    "refuses",
    [
        lambda x: np.array([float(n) for n in x]),
        lambda x: np.array([math.tanh(n) for n in x]),
        lambda x: np.add(x, 0.0, out=np.zeros(3)),
        lambda x: np.floor(x) * 0 + x.astype(float),
    ],
)
def test_forwards_that_refuse_complex_numbers(refuses):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # even where somebody looks away
        assert along(refuses, np.ones(3), np.ones(3), "", np.ones(3)).exact is None


def test_python_numbers_come_out_of_forward():
    slope = along(lambda x: float((x * x).sum()), np.ones(3), np.float64(1.0), "", np.ones(3))
    assert slope.exact is None and abs(slope.differenced - 6) < 1e-10
    assert np.allclose(central_difference(lambda x: float((x * x).sum()), np.ones(3), np.float64(1.0)), 2)
