"""The check itself: kinks, forwards that are not analytic, float32, large arrays; and right code is never blamed."""

import math
import warnings

import numpy as np
import pytest

from minattn.gradcheck import check, gradcheck
from minattn.gradcheck.derivative import complex_step
from minattn.gradcheck.measure import chance_of_missing

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 5))


# right code, as people write it, with nothing of this library


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def attention(q, k, v):
    w = softmax(q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]))
    return w @ v, (q, k, v, w)


def attention_backward(dout, cache):
    q, k, v, w = cache
    dw = dout @ v.swapaxes(-1, -2)
    ds = w * (dw - (dw * w).sum(axis=-1, keepdims=True)) / np.sqrt(q.shape[-1])
    return ds @ k, ds.swapaxes(-1, -2) @ q, w.swapaxes(-1, -2) @ dout


def layer_norm(x, gain, bias, eps=1e-5):
    centred = x - x.mean(axis=-1, keepdims=True)
    inverse = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)
    return gain * centred * inverse + bias, (centred * inverse, inverse, gain)


def layer_norm_backward(dout, cache):
    normal, inverse, gain = cache
    d = dout * gain
    dx = inverse * (d - d.mean(axis=-1, keepdims=True) - normal * (d * normal).mean(axis=-1, keepdims=True))
    axes = tuple(range(dout.ndim - 1))
    return dx, (dout * normal).sum(axis=axes), dout.sum(axis=axes)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_step(x, h, c, Wx, Wh, b):
    a = x @ Wx + h @ Wh + b
    i, f, g, o = np.split(a, 4, axis=1)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    c_next = f * c + i * g
    return o * np.tanh(c_next), c_next, (x, h, c, Wx, Wh, i, f, g, o, c_next)


def lstm_step_backward(dh, dc, cache):
    x, h, c, Wx, Wh, i, f, g, o, c_next = cache
    t = np.tanh(c_next)
    dc = dc + dh * o * (1 - t * t)
    da = np.concatenate(
        [dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g), dh * t * o * (1 - o)], axis=1
    )
    return da @ Wx.T, da @ Wh.T, dc * f, x.T @ da, h.T @ da, da.sum(axis=0)


def cross_entropy(scores, targets):
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    n = len(targets)
    loss = -np.log(p[np.arange(n), targets]).mean()
    p[np.arange(n), targets] -= 1
    return loss, p / n


def relu_network(x, W, b, V):
    z = x @ W + b
    return np.maximum(z, 0) @ V, (x, W, V, z)


def relu_network_backward(dout, cache):
    x, W, V, z = cache
    dz = (dout @ V.T) * (z > 0)
    return dz @ W.T, x.T @ dz, dz.sum(axis=0), np.maximum(z, 0).T @ dout


def sizes(rng, count):
    return [int(n) for n in rng.integers(1, 7, size=count)]


def scaled(rng, *shape):
    return rng.normal(size=shape) * 10 ** rng.uniform(-2, 1)


def draw_attention(rng):
    batch, t, s, d, e = sizes(rng, 5)
    leading = [(), (batch,), (batch, 2)][rng.integers(3)]
    return attention, attention_backward, tuple(scaled(rng, *leading, *n) for n in ((t, d), (s, d), (s, e)))


def draw_layer_norm(rng):
    b, t, d = sizes(rng, 3)
    d += 1  # of one feature nothing is left
    return layer_norm, layer_norm_backward, (scaled(rng, b, t, d), scaled(rng, d), scaled(rng, d))


def draw_lstm(rng):
    b, i, n = sizes(rng, 3)
    shapes = (b, i), (b, n), (b, n), (i, 4 * n), (n, 4 * n), (4 * n,)
    return lstm_step, lstm_step_backward, tuple(scaled(rng, *shape) for shape in shapes)


def draw_cross_entropy(rng):
    n, v = sizes(rng, 2)
    return cross_entropy, None, (scaled(rng, n, v + 1), rng.integers(0, v + 1, size=n))


def draw_relu_network(rng):
    b, i, n, o = sizes(rng, 4)
    return relu_network, relu_network_backward, tuple(rng.normal(size=s) for s in ((b, i), (i, n), (n,), (n, o)))


DRAWN = [draw_attention, draw_layer_norm, draw_lstm, draw_cross_entropy, draw_relu_network]


@pytest.mark.parametrize("draw", DRAWN)
@pytest.mark.parametrize("first", [0, 30])
def test_right_code_is_never_blamed(draw, first):
    for seed in range(first, first + 30):
        forward, backward, inputs = draw(np.random.default_rng([seed, 7]))
        report = gradcheck(forward, backward, inputs, seed=seed)
        assert report, f"seed {seed}, shapes {[np.shape(x) for x in inputs]}\n{report}"
        assert report.notes == ()  # by complex step, all of them


# forwards that are not analytic


def normed(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def normed_backward(dout, x):
    n = np.linalg.norm(x, axis=-1, keepdims=True)
    return dout / n - x * (dout * x).sum(axis=-1, keepdims=True) / n**3


def one_by_one(x):
    return np.array([math.tanh(n) for n in x.ravel()]).reshape(x.shape)


def into_a_buffer(x):
    out = np.zeros(x.shape)
    out[...] = x * x
    return out


def refuses(x):
    if np.iscomplexobj(x):
        raise TypeError("ufunc 'erf' not supported for the input types")
    return np.tanh(x)


NOT_ANALYTIC = {
    "abs": (np.abs, lambda d, x: d * np.sign(x)),
    "norm": (normed, normed_backward),
    "float": (lambda x: float((x**2).sum()), lambda d, x: 2 * d * x),
    "math": (one_by_one, lambda d, x: d * (1 - np.tanh(x) ** 2)),
    "a real buffer": (into_a_buffer, lambda d, x: 2 * d * x),
    "refuses": (refuses, lambda d, x: d * (1 - np.tanh(x) ** 2)),
    "var": (lambda x: x.var(axis=-1), lambda d, x: 2 * d[..., None] * (x - x.mean(-1, keepdims=True)) / x.shape[-1]),
    "real": (lambda x: x.real**2, lambda d, x: 2 * d * x),
    "a little abs": (lambda x: x**2 + 1e-4 * abs(x), lambda d, x: d * (2 * x + 1e-4 * np.sign(x))),
}


@pytest.mark.parametrize("name", NOT_ANALYTIC)
def test_central_differences_where_forward_is_not_analytic(name):
    forward, backward = NOT_ANALYTIC[name]
    for seed in range(4):
        x = np.random.default_rng(seed).normal(size=(8, 25))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            report = gradcheck(forward, backward, (x,), seed=seed)
        assert report, report
        assert len(report.notes) == 1 and report.notes[0].endswith(": x by central differences, to 1e-07")
        assert not gradcheck(forward, lambda d, x: (1 + 1e-6) * backward(d, x), (x,), seed=seed, diagnose=False)


def test_only_the_arrays_that_need_it():
    """The others are checked by complex step, to 1e-12."""

    def forward(x, y):
        return abs(x) + y * y

    x, y = RNG.normal(size=(2, 3, 4))
    report = gradcheck(forward, lambda d, x, y: (d * np.sign(x), 2 * d * y), (x, y))
    assert report and report.notes == (
        "forward is not analytic (abs, .real, float, norm, var?): x by central differences, to 1e-07",
    )
    assert [row.tolerance for row in report.rows] == [1e-7, 1e-12]
    assert not gradcheck(forward, lambda d, x, y: (d * np.sign(x), 2 * d * y * (1 + 1e-10)), (x, y))
    assert not gradcheck(forward, lambda d, x, y: (d * np.sign(x) * (1 + 1e-5), 2 * d * y), (x, y))


def test_method_and_eps():
    cube = lambda x: x**3  # noqa: E731
    right = lambda d, x: 3 * d * x * x  # noqa: E731
    exact, central = (gradcheck(cube, right, (X,), method=method) for method in ("complex", "central"))
    assert exact and exact.error < 1e-14 and exact.rows[0].tolerance == 1e-12
    assert central and 1e-14 < central.error < 1e-9 and central.rows[0].tolerance == 1e-7
    rough = gradcheck(cube, lambda d, x: d * ((x + 0.1) ** 3 - (x - 0.1) ** 3) / 0.2, (X,), eps=0.2)
    assert not rough  # Richardson takes h^2 away
    coarse = gradcheck(np.exp, lambda d, x: d * np.exp(x), (X,), eps=0.5, tolerance=0.05)
    assert coarse and 1e-4 < coarse.error
    with pytest.raises(Exception, match="complex|float|imaginary"):
        gradcheck(one_by_one, lambda d, x: d, (X,), method="complex")


def test_check_takes_a_derivative_and_skips_nothing():
    """`check`, that the laws stand on: complex step alone, no kinks, every element."""
    import types

    op = types.SimpleNamespace(
        forward=lambda params, x: (np.where(x.real > 0, x, 0), x),
        backward=lambda d, x: ((d * (x >= 0),), {}),
        init=lambda rng: {},
        names=["x"],
    )
    assert check(op, {}, (X,))
    assert not check(op, {}, (np.zeros(3),))
    assert gradcheck(op, inputs=(np.zeros(3),))


# kinks


def relu(x):
    return np.maximum(x, 0)


def largest(x):
    return x.max(axis=-1)


def largest_backward(dout, x):
    return dout[..., None] * (np.arange(x.shape[-1]) == x.argmax(axis=-1)[..., None])


def zeros_among(seed, shape=(20, 20)):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(shape) < 0.5, 0.0, rng.normal(size=shape))


@pytest.mark.parametrize(
    "forward, backward, x, skipped",
    [
        (relu, lambda d, x: d * (x > 0), np.array([-1.0, 0.0, 2.0, 0.0]), "2 elements at a kink skipped"),
        (relu, lambda d, x: d * 0.5 * (np.sign(x) + 1), np.array([-1.0, 0.0, 2.0]), "1 element at a kink skipped"),
        (relu, lambda d, x: d * (x > 0), zeros_among(0), " elements at a kink skipped"),
        (np.abs, lambda d, x: d * np.where(x > 0, 1, -1), zeros_among(1), " elements at a kink skipped"),
        (np.abs, lambda d, x: d * np.sign(x), zeros_among(2), ""),  # 0 is what differences give there
        (largest, largest_backward, np.array([[1.0, 3.0, 3.0], [0.0, 2.0, 1.0]]), " at a kink skipped"),
        (largest, largest_backward, np.ones((6, 20)), " elements at a kink skipped"),
        (
            lambda x: np.sort(x)[-2:],
            lambda d, x: np.array([0, 0, d[0], d[1]]),
            np.array([1.0, 2.0, 2.0, 4.0]),
            " kink skipped",
        ),
    ],
)
def test_kinks_are_skipped_and_reported(forward, backward, x, skipped):
    report = gradcheck(forward, backward, (x,))
    assert report, report
    assert report.rows[0].remark.endswith(skipped) if skipped else not report.rows[0].remark
    if skipped:
        wrong = gradcheck(forward, lambda d, x: 3 * backward(d, x), (x,))
        assert not wrong


def test_kinks_that_fall_together():
    """A row of zeros and no bias: every unit of the relu stands at its kink, and each may take its own side."""
    rng = np.random.default_rng(0)
    x, W, V = rng.normal(size=(4, 5)), rng.normal(size=(5, 6)), rng.normal(size=(6, 3))
    x[1] = 0
    report = gradcheck(relu_network, relu_network_backward, (x, W, np.zeros(6), V))
    assert report and [row.remark for row in report.rows] == [
        "5 elements at a kink skipped", "", "6 elements at a kink skipped", ""
    ], report  # fmt: skip

    def wrong(dout, cache):
        dx, *rest = relu_network_backward(dout, cache)
        dx[1] += 10  # further than all kinks together
        return dx, *rest

    report = gradcheck(relu_network, wrong, (x, W, np.zeros(6), V))
    assert [report.right(row) for row in report.rows] == [False, True, True, True]
    for seed in range(5):
        whole = [np.round(np.random.default_rng(seed).normal(size=n)) for n in ((5, 6), (6, 7), (7,), (7, 3))]
        assert gradcheck(relu_network, relu_network_backward, whole, seed=seed)


def test_a_small_kink_on_a_steep_slope():
    """Jumps of a thousandth of the slope, and the gradient on one side or the other or past both."""
    forward = lambda x: 1000 * x + np.maximum(x, 0)  # noqa: E731
    for slope, right in ((0, True), (1, True), (0.5, True), (1.1, False), (-0.1, False)):
        report = gradcheck(forward, lambda d, x, slope=slope: d * (1000 + slope), (np.zeros(3),))
        assert bool(report) is right, (slope, report)


@pytest.mark.parametrize("beside", [1e-3, 1e-4, 1e-5, 3e-6, 1e-6, 1e-7, 1e-9, 1e-14])
@pytest.mark.parametrize("forward, right", [(relu, lambda d, x: d * (x > 0)), (np.abs, lambda d, x: d * np.sign(x))])
def test_a_kink_beside_the_point_blames_nobody(forward, right, beside):
    x = np.array([beside, -beside, 1.0, -1.0])
    assert gradcheck(forward, right, (x,))
    assert gradcheck(forward, right, (x,), method="central")


def test_a_wrong_gradient_beside_a_kink_is_still_wrong():
    x = np.array([0.0, 0.0, 1.0, -1.0])
    outside = gradcheck(relu, lambda d, x: d * np.where(x == 0, 1.5, x > 0), (x,))  # no slope between 0 and 1
    assert not outside and list(np.flatnonzero(outside.rows[0].wrong)) == [0, 1]
    below = gradcheck(relu, lambda d, x: d * np.where(x == 0, -0.1, x > 0), (x,))
    assert not below
    other = gradcheck(relu, lambda d, x: d * np.where(x == 1, 0.9, x > 0), (x,))
    assert not other and list(np.flatnonzero(other.rows[0].wrong)) == [2]
    assert other.rows[0].remark == "2 elements at a kink skipped"


def test_many_wrong_elements_are_no_kinks():
    x = RNG.normal(size=2000) + np.sign(RNG.normal(size=2000))
    report = gradcheck(relu, lambda d, x: d * (x < 0), (x,))
    assert not report and report.rows[0].wrong.sum() == 2000 and not report.rows[0].remark


def test_relu_layers_stay_with_the_complex_step():
    """Zeros in the input are kinks, but forward is analytic beside them: no note, 1e-12 for the rest."""
    x = zeros_among(4, (30, 30))
    report = gradcheck(relu, lambda d, x: d * (x > 0), (x,))
    assert report and not report.notes and report.rows[0].tolerance == 1e-12
    assert not gradcheck(relu, lambda d, x: d * (x > 0) * (1 + 1e-10), (x,))


# float32


@pytest.mark.parametrize("seed", range(3))
def test_float32_is_judged_by_its_norm(seed):
    rng = np.random.default_rng(seed)
    inputs = tuple(rng.normal(size=(2, 512 // 16, 8)).astype(np.float32) for _ in "qkv")
    report = gradcheck(attention, attention_backward, inputs, seed=seed)
    assert report and report.tolerance == 1e-5 and 1e-9 < report.error < 1e-6
    assert not gradcheck(attention, lambda d, c: [g * np.float32(1.001) for g in attention_backward(d, c)], inputs)

    def one_row_off(d, cache):
        dq, dk, dv = attention_backward(d, cache)
        dq[0, 3] *= 1.05
        return dq, dk, dv

    report = gradcheck(attention, one_row_off, inputs)
    assert not report and "q[0, 3, " in str(report)


def test_float32_that_cancels():
    """Two features: a layer norm leaves almost nothing of them, and of their gradient what float32 rounds."""
    x = np.random.default_rng(38).normal(size=(4, 6, 2)).astype(np.float32) * 3
    gain, bias = np.ones(2, np.float32), np.zeros(2, np.float32)
    report = gradcheck(layer_norm, layer_norm_backward, (x, gain, bias))
    assert report and "right in float64" in report.rows[0].remark and report.rows[0].error > 1e-5

    def wrong(dout, cache):
        dx, *rest = layer_norm_backward(dout, cache)
        return dx * dx.dtype.type(1.001), *rest

    assert not gradcheck(layer_norm, wrong, (x, gain, bias))


def test_forward_in_float32_whatever_comes():
    def forward(x, W):
        return x.astype(np.float32) @ W.astype(np.float32)

    W = RNG.normal(size=(5, 3))
    backward = lambda d, x, W: (d @ W.T, x.T @ d)  # noqa: E731
    for x, w in ((X, W), (X.astype(np.float32), W.astype(np.float32))):
        report = gradcheck(forward, backward, (x, w))
        assert report and report.notes[0].endswith("W, x by central differences, to 0.001"), report
        assert not gradcheck(forward, lambda d, x, W: (d @ W.T, 1.01 * x.T @ d), (x, w))


# large arrays


def square_but(place, error):
    def backward(d, x):
        dx = 2 * d * x
        dx.reshape(-1)[place] += error
        return dx

    return lambda x: x * x, backward


def test_large_arrays_by_some_elements_and_by_directions():
    x = RNG.normal(size=(60, 100))
    report = gradcheck(*square_but(0, 0.0), (x,), max_elements=50)
    assert report and report.rows[0].remark == (
        "50 of 6,000 elements, and all of them in 3 random directions: an error of 1e-06 of the norm is missed with a "
        "chance of 5e-19"
    )
    asked = ~np.isnan(report.rows[0].numeric)
    assert asked.sum() == 50
    unseen, seen = (int(np.flatnonzero(mask)[0]) for mask in (~asked, asked))
    for place in (unseen, seen):
        wrong = gradcheck(*square_but(place, 1e-6), (x,), max_elements=50)
        assert not wrong
        assert wrong.rows[0].wrong.any() == (place == seen)
    assert gradcheck(*square_but(0, 0.0), (x,), max_elements=None).rows[0].remark == ""
    assert "5,000 of 6,000" in gradcheck(*square_but(0, 0.0), (x,)).rows[0].remark
    assert gradcheck(*square_but(0, 0.0), (x,), max_elements=6000).rows[0].remark == ""


def test_large_float32_and_large_differences():
    x = RNG.normal(size=(60, 100))
    single = gradcheck(*square_but(0, 0.0), (x.astype(np.float32),), max_elements=50)
    assert single and "an error of 1e-04 of the norm is missed with a chance of 5e-04" in single.rows[0].remark
    assert not gradcheck(*square_but(5999, 1.0), (x.astype(np.float32),), max_elements=50)
    for tolerance in (None, 1e-6):
        report = gradcheck(np.abs, lambda d, x: d * np.sign(x), (x,), max_elements=50, tolerance=tolerance)
        assert report and "3 random directions" in report.rows[0].remark
        wrong = gradcheck(
            np.abs, lambda d, x: d * np.where(x == x[59, 99], 2, np.sign(x)), (x,), max_elements=50,
            tolerance=tolerance,
        )  # fmt: skip
        assert not wrong


def test_large_arrays_with_kinks():
    """Where every direction crosses a kink the elements decide, and the report says so."""
    x = zeros_among(5, (80, 80))
    report = gradcheck(relu, lambda d, x: d * (x > 0), (x,), max_elements=100)
    assert report and "100 of 6,400 elements; random directions would cross kinks" in report.rows[0].remark
    assert "at a kink skipped" in report.rows[0].remark
    for seed in (0, 4, 6, 8):  # none at the point, but some so near it that most directions cross one
        x = np.random.default_rng(seed).normal(size=(200, 250))
        for function, slope in ((np.abs, np.sign), (relu, lambda x: x > 0)):
            report = gradcheck(function, lambda d, x, slope=slope: d * slope(x), (x,), max_elements=20, seed=seed)
            assert report and "3 random directions" in report.rows[0].remark, report
    assert not gradcheck(relu, lambda d, x: d * (x > 0.5), (x,), max_elements=20)


def test_the_chance_of_missing_is_what_happens():
    """Errors of one size, many times: how often do all directions stay within the tolerance?"""
    rng = np.random.default_rng(0)
    relative, tolerance = 1.0, 0.7
    gradient = rng.normal(size=200)
    norm = np.linalg.norm(gradient)
    trials, missed = 4000, 0
    for _ in range(trials):
        error = rng.normal(size=200)
        error *= relative * norm / np.linalg.norm(error)
        missed += (abs(rng.normal(size=(3, 200)) @ error) <= tolerance * norm).all()
    expected = chance_of_missing(relative, tolerance)
    assert abs(missed / trials - expected) < 4 * math.sqrt(expected * (1 - expected) / trials)
    assert math.isclose(chance_of_missing(1.0, 0.7, 1) ** 3, expected)
    assert chance_of_missing(1e-6, 1e-12) < 1e-17 < 1e-15 < chance_of_missing(1e-8, 1e-12)


# what is no number


def test_nan_in_forward_is_a_fault():
    def forward(x):
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.log(x)

    report = gradcheck(forward, lambda d, x: d / x, (np.array([1.0, -1.0, 2.0]),))
    assert not report and "forward gives NaN in 1 place, from numbers that are all finite" in str(report)


def test_nan_that_reaches_the_output_is_a_fault():
    """Where nothing can be measured, nothing passes."""
    x = np.array([[np.nan, 1.0, -2.0]])
    nonsense = lambda d, c: np.array([[777.0, d[0, 1], 0.0]])  # noqa: E731
    report = gradcheck(lambda x: (np.maximum(x, 0), x), nonsense, (x,))
    assert not report and "in 1 place, NaN or infinity in x reaches it" in str(report)


def test_a_gradient_under_another_name_or_for_integers():
    found = str(gradcheck(lambda x, g: x * g, lambda d, x, g: {"x": d * g, "gamma": (d * x).sum(axis=0)}, (X, X[0])))
    assert "no gradient came back, but one of this shape called gamma: is that it? Use the argument's name" in found
    data = str(gradcheck(lambda W, x: ((x @ W).sum(), {"W": x.sum(axis=0)}), inputs=(X[0], X)))
    assert "no gradient came back: data that needs none goes into options={'x': ...}" in data
    whole = str(gradcheck(lambda x, y: x * y, lambda d, x, y: (d * y, d * x), (X, np.ones(X.shape, dtype=int))))
    assert "a gradient for something that has none: y is int64, write y.astype(float) if it should have one" in whole


def test_float32_says_how_it_was_judged():
    assert "float32: judged by the norm of the error, to 1e-05" in str(
        gradcheck(lambda x: x * x, lambda d, x: 2 * d * x, (X.astype(np.float32),))
    )


def test_numbers_that_differ_are_printed_so():
    found = str(gradcheck(lambda x: x * x, lambda d, x: 2 * d * x * (1 + 1e-9), (X,)))
    (line,) = [line for line in found.splitlines() if "should be" in line]
    left, right = line.split(" is ")[1].split(", should be ")
    assert left != right


def test_some_arguments_alone_go_through_a_real_buffer():
    def forward(x, b):
        out = np.zeros(x.shape)
        out[:] = 2 * x
        return out + b

    report = gradcheck(forward, lambda d, x, b: (2 * d, d.sum(axis=0)), (X, X[0]))
    assert report and "forward takes no complex numbers: x by central differences" in str(report)
    assert not gradcheck(forward, lambda d, x, b: (2 * d, d.mean(axis=0)), (X, X[0]))


def test_a_random_forward_is_said_alone():
    def forward(x):
        keep = np.random.random(x.shape) < 0.5  # noqa: NPY002
        return x * keep, keep

    report = gradcheck(forward, lambda d, keep: d * keep, (X,))
    assert not report and not report.rows and not report.likenesses and len(report.faults) == 1


@pytest.mark.parametrize("method", ["auto", "complex", "central"])
def test_nan_that_nobody_looks_at(method):
    """A padded step may hold anything; its gradient is 0."""
    x = X.copy()
    x[1] = np.nan
    keep = np.array([True, False, True, True])[:, None]
    forward = lambda x: np.where(keep, x, 0.0) ** 2  # noqa: E731
    report = gradcheck(forward, lambda d, x: 2 * d * np.where(keep, x, 0), (x,), method=method)
    assert report, report


def test_a_forward_that_is_nan_by_complex_step_alone_is_no_excuse():
    def forward(x):
        return x * np.nan if np.iscomplexobj(x) else x * x

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = gradcheck(forward, lambda d, x: 2 * d * x, (X,))
        assert report and "central differences" in report.notes[0]
        assert not gradcheck(forward, lambda d, x: 2 * d * x, (X,), method="complex")


def test_infinities_that_forward_returns_have_no_slope():
    masked = np.array([[True, False, True]] * 2)
    forward = lambda x: np.where(masked, x * x, -np.inf)  # noqa: E731
    assert gradcheck(forward, lambda d, x: np.where(masked, 2 * d * x, 0), (X[:2, :3],))


def test_domains_with_an_end():
    """Elements are moved far to see whether they may be moved together; a logarithm does not mind."""
    x = np.array([0.01, 0.2, 0.3, 0.001, 0.5, 1.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gradcheck(np.log, lambda d, x: d / x, (x,))
        assert gradcheck(np.sqrt, lambda d, x: d / 2 / np.sqrt(x), (x,))

    def strict(x):
        if (x.real <= 0).any():
            raise ValueError("only positive numbers")
        return np.log(x)

    assert gradcheck(strict, lambda d, x: d / x, (x,))


def test_gradients_that_are_zero_are_measured_against_the_problem():
    """A bias of all keys moves every score alike: its gradient is rounding, and no fault of anybody."""

    def forward(q, k, v, b):
        return attention(q, k + b, v)

    def backward(d, cache):
        dq, dk, dv = attention_backward(d, cache)
        return dq, dk, dv, dk.sum(axis=(0, 1))

    q, k, v = RNG.normal(size=(3, 2, 4, 5))
    report = gradcheck(forward, backward, (q, k, v, RNG.normal(size=5)))
    assert report and abs(report.rows[-1].analytic).max() < 1e-12
    for seed in range(20):  # rounding is no kink either
        *qkv, b = (np.random.default_rng([seed, i]).normal(size=(2, 4, 5) if i < 3 else 5) for i in range(4))
        assert not gradcheck(forward, lambda d, c: (*backward(d, c)[:3], np.full(5, 1e-9)), (*qkv, b))


def test_rounding_beside_a_large_gradient_is_no_error():
    """Weights of nearly 1 leave of the scores' gradients what the subtraction rounds, in the size of v's."""
    rng = np.random.default_rng([1346, 7])
    forward, backward, inputs = draw_attention(rng)
    report = gradcheck(forward, backward, inputs, seed=1346)
    assert report and report.rows[0].error > 1e-12 and "beside the largest gradient" in report.rows[0].remark
    wrong = gradcheck(forward, lambda d, c: [g + 1e-10 for g in backward(d, c)], inputs, seed=1346)
    assert not any(map(wrong.right, wrong.rows))


def test_one_element_of_many_is_found():
    """1e-9 too much in one of 60, in each array in turn."""
    q, k, v = RNG.normal(size=(3, 3, 4, 5))
    for i in range(3):

        def backward(d, cache, i=i):
            gradients = attention_backward(d, cache)
            gradients[i][2, 1, 3] += 1e-9
            return gradients

        report = gradcheck(attention, backward, (q, k, v), diagnose=False)
        assert [report.right(row) for row in report.rows] == [j != i for j in range(3)]
        assert report.rows[i].worst == (2, 1, 3) and report.rows[i].wrong.sum() == 1


def test_the_seed_chooses_the_upstream_gradient():
    reports = [gradcheck(attention, attention_backward, (X, X, X), seed=seed) for seed in (1, 1, 2)]
    numeric = [report.rows[0].numeric for report in reports]
    assert (numeric[0] == numeric[1]).all() and not np.allclose(numeric[0], numeric[2])
    drawn = gradcheck(attention, attention_backward, (X, X, X), rng=np.random.default_rng(3)).rows[0].numeric
    assert (
        drawn == gradcheck(attention, attention_backward, (X, X, X), rng=np.random.default_rng(3)).rows[0].numeric
    ).all()


def test_complex_step_of_the_whole_problem():
    """numeric is d sum(out * dout): the same as of a function that multiplies and sums."""
    report = gradcheck(lambda x: np.sin(x), lambda d, x: d * np.cos(x), (X,))
    dout = report.rows[0].analytic / np.cos(X)
    loss = complex_step(lambda x: (np.sin(x) * dout).sum(), X, np.float64(1.0))
    assert np.allclose(loss, report.rows[0].numeric, rtol=1e-13)
