"""The checker itself: exact where the truth is known, and loud where a backward is wrong."""

import argparse
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest

from minattn import tree
from minattn.attention import dot
from minattn.gradcheck import adjoint, central_difference, check, complex_step
from minattn.gradcheck.command import add_arguments, main

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3))


def command(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return main(parser.parse_args(words))


def op(forward, backward):
    return SimpleNamespace(
        forward=lambda params, x, y=None: forward(x, y), backward=backward, init=lambda rng: {}, names=["x", "y"]
    )


def cube(x, y):
    return x * x * x, x


CUBE = op(cube, lambda dout, x: ((3 * dout * x * x,), {}))


def test_complex_step_is_exact():
    dout = RNG.normal(size=X.shape)
    found = complex_step(lambda x: np.exp(x) * np.sin(x), X, dout)
    assert np.allclose(found, dout * np.exp(X) * (np.sin(X) + np.cos(X)), rtol=1e-14, atol=0)


def test_central_difference_is_near():
    dout = RNG.normal(size=X.shape)
    found = central_difference(np.exp, X, dout)
    error = abs(found - dout * np.exp(X)).max()
    assert 1e-14 < error < 1e-8


def test_one_array_in_two_places():
    found = complex_step(lambda pair: pair[0] * pair[1], (X, X), np.ones_like(X))
    assert np.allclose(found[0], X) and np.allclose(found[1], X)


def test_integers_and_none_have_no_gradient():
    found = complex_step(lambda p: p[0] * p[1], (X, np.array(2), None), np.ones_like(X))
    assert found[1] is None and found[2] is None


def test_a_right_backward_passes():
    report = check(CUBE, {}, (X,))
    assert report and report.error < 1e-14
    report.assert_ok()
    assert "ok    x  (2, 3)  error" in str(report)
    assert adjoint(CUBE, {}, (X,)) < 1e-14


@pytest.mark.parametrize(
    "backward, remark",
    [
        (lambda dout, x: ((2 * dout * x * x,), {}), "error 3.3e-01"),
        (lambda dout, x: ((None,), {}), "no gradient came back"),
        (lambda dout, x: (((3 * dout * x * x).sum(axis=0),), {}), r"the gradient has shape \(3,\), but x has \(2, 3\)"),
        (lambda dout, x: ((np.nan * dout,), {}), "NaN"),
        (lambda dout, x: ((3 * dout * x * x, dout), {}), "a gradient for something that has none"),
        (lambda dout, x: ((3 * dout * x * x,), {"W": dout}), "a gradient for something that has none"),
    ],
)
def test_a_wrong_backward_is_named(backward, remark):
    report = check(op(cube, backward), {}, (X,))
    assert not report
    with pytest.raises(AssertionError, match=remark):
        report.assert_ok()


def test_one_wrong_element_is_seen():
    def backward(dout, x):
        dx = 3 * dout * x * x
        dx[1, 2] *= 1 + 1e-9
        return (dx,), {}

    wrong = op(cube, backward)
    assert 1e-11 < check(wrong, {}, (X,)).error < 1e-8
    assert adjoint(wrong, {}, (X,)) > 1e-12


def test_a_gradient_that_is_zero_is_measured_against_the_problem():
    query, key, value = RNG.normal(size=(2, 3, 4)), RNG.normal(size=(2, 5, 4)), RNG.normal(size=(2, 5, 6))
    # a bias of all keys moves every score of a row alike: its true gradient is 0
    shift = op(
        lambda b, y: dot.forward({}, query, key + b, value),
        lambda d, cache: ((dot.backward(d, cache)[0][1].sum(axis=(0, 1)),), {}),
    )
    report = check(shift, {}, (RNG.normal(size=4),))
    assert report and report.floor > 1e-4


def test_a_nan_is_an_infinite_error():
    report = check(op(lambda x, y: (x * x, x), lambda d, x: ((d * np.nan,), {})), {}, (X,))
    assert report.error == math.inf


def test_the_point_is_left_alone():
    x = X.copy()
    x.flags.writeable = False
    check(CUBE, {}, (x,))
    assert (x == X).all()


def test_large_shapes_by_the_adjoint():
    shapes = (4, 8, 128, 64), (4, 8, 160, 64), (4, 8, 160, 32)
    assert adjoint(dot, {}, tuple(RNG.normal(size=shape) for shape in shapes)) < 1e-12


def test_command(capsys):
    assert command("dot", "softmax", "--seed", "1") == 0
    out = capsys.readouterr().out
    assert re.search(r"^dot  \(\d\d cases\)$", out, re.MULTILINE)
    assert "ok    query" in out and "every gradient is right" in out
    assert command("list") == 0
    assert "seq2seq-additive" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no op is called 'dto'; did you mean dot"):
        command("dto")


def test_command_tells_a_wrong_gradient(capsys, monkeypatch):
    right = dot.backward
    monkeypatch.setattr(dot, "backward", lambda d, cache: tree.map(lambda g: 2 * g, right(d, cache)))
    assert command("dot") == 1
    out = capsys.readouterr().out
    assert "WRONG query" in out and "every element wrong" in out and " like: a factor of 2" in out


def test_a_forward_that_loses_the_imaginary_part_is_suspected():
    report = check(op(lambda x, y: (x.real * x.real, x), lambda d, x: ((2 * d * x,), {})), {}, (X,))
    assert not report and "does forward use abs, float, .real or astype?" in str(report)


def test_backward_must_return_a_pair():
    with pytest.raises(
        TypeError, match="backward must return .dinputs, dparams., a tuple and a dict, but returned 4 values"
    ):
        check(op(cube, lambda d, x: (d, d, d, d)), {}, (X,))


def test_command_shows_where_a_backward_breaks(capsys, monkeypatch):
    monkeypatch.setattr(dot, "backward", lambda d, cache: d @ d)
    assert command("dot") == 1
    out = capsys.readouterr().out
    assert "Traceback" in out and "in the case 'batch'" in out and "1 is WRONG" in out
