"""What the gradient checks cannot see: that the forwards are right, at the edges too."""

import inspect
import math

import numpy as np
import pytest

from minattn.functions import (
    FUNCTIONS,
    Loss,
    add_into,
    conv1d,
    conv2d,
    cross_entropy,
    cross_entropy_backward,
    dropout,
    elu,
    embedding,
    embedding_backward,
    erf,
    erfc,
    gelu,
    gelu_backward,
    gelu_tanh,
    gelu_tanh_backward,
    layer_norm,
    layer_norm_backward,
    linear,
    log_softmax,
    logsumexp,
    max_pool,
    mean_pool,
    mse,
    mse_backward,
    part,
    product,
    relu,
    rms_norm,
    sigmoid,
    silu,
    softmax,
    softmax_backward,
    softplus,
    sparsemax,
    tiles,
    unbroadcast,
)

RNG = np.random.default_rng(0)


def test_softmax_by_hand():
    assert softmax(np.log([1.0, 2.0, 5.0])) == pytest.approx([0.125, 0.25, 0.625], abs=1e-15)


@pytest.mark.parametrize("offset", [0.0, 1e4, -1e4, 1e300])
def test_softmax_does_not_know_an_offset(offset):
    scores = np.array([[0.0, 1.0, 2.0]]) * (offset < 1e200)
    assert np.allclose(softmax(scores + offset), softmax(scores), atol=1e-12)


def test_large_scores_are_exact():
    assert softmax(np.array([1e4, -1e4, 1e4])).tolist() == [0.5, 0.0, 0.5]
    assert log_softmax(np.array([1e4, -1e4, 1e4])) == pytest.approx([-math.log(2), -2e4 - math.log(2), -math.log(2)])


def test_nothing_to_look_at():
    mask = np.array([[True, False], [False, False]])
    scores = np.array([[np.nan, np.inf], [np.nan, -np.inf]])
    scores[0, 0] = 3.0
    assert softmax(scores, mask).tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert log_softmax(scores, mask).tolist() == [[0.0, -np.inf], [-np.inf, -np.inf]]
    assert softmax(np.full((1, 3), -np.inf)).tolist() == [[0.0, 0.0, 0.0]]  # masked by a bias of -inf


def test_rows_of_the_softmax_gradient_sum_to_0():
    weights = softmax(RNG.normal(size=(4, 5)))
    assert abs(softmax_backward(RNG.normal(size=(4, 5)), weights).sum(axis=-1)).max() < 1e-15


def test_sigmoid_keeps_its_tails():
    x = np.array([-745.0, -40.0, 0.0, 40.0, 800.0])
    expected = [math.exp(-745), 1 / (1 + math.exp(40)), 0.5, 1.0, 1.0]
    assert sigmoid(x) == pytest.approx(expected, rel=1e-14)


def test_relu():
    assert relu(np.array([-2.0, 0.0, 0.5, 3.0])).tolist() == [0.0, 0.0, 0.5, 3.0]


@pytest.mark.parametrize("name, left", [("relu", 0), ("elu", 0.3)])
def test_at_a_kink_the_slope_is_that_of_the_left_side(name, left):
    function, backward = FUNCTIONS[name]
    options = {"alpha": 0.3} if name == "elu" else {}
    assert function(np.array([1e-20j]), **options).imag / 1e-20 == pytest.approx([left])
    assert backward(np.ones(1), function(np.zeros(1), **options), **options) == pytest.approx([left])


def test_linear_takes_any_leading_axes():
    x, W, b = RNG.normal(size=(2, 3, 4)), RNG.normal(size=(4, 5)), RNG.normal(size=5)
    assert np.allclose(linear(x, W, b), np.einsum("bti,io->bto", x, W) + b)
    assert linear(x[0, 0], W).shape == (5,) and linear(x[:0], W, b).shape == (0, 3, 5)


def test_layer_norm_by_hand():
    out, normalized, _ = layer_norm(np.array([[1.0, 2.0, 3.0]]), np.array([1.0, 2.0, 3.0]), np.full(3, 0.5), eps=0)
    step = math.sqrt(1.5)
    assert np.allclose(normalized, [[-step, 0, step]]) and np.allclose(out, [[0.5 - step, 0.5, 0.5 + 3 * step]])


def test_rows_may_lie_in_any_order(monkeypatch):
    """Cut into tiles, too: results are filled by rows, so a row of theirs lies together."""
    monkeypatch.setattr(tiles, "TILE", 8)
    x = np.random.default_rng(0).normal(size=(3, 4, 5)).swapaxes(0, 1)
    for found, right in zip(layer_norm(x, np.ones(5)), layer_norm(x.copy(), np.ones(5)), strict=True):
        assert (found == right).all()


def test_rms_norm_by_hand():
    """eps stands under the root, added: at the size of the numbers it halves them by the root of 2."""
    out, normalized, inverse = rms_norm(np.array([[1e-3, -1e-3]]), np.array([1.0, 2.0]))
    assert normalized == pytest.approx(np.array([[1, -1]]) / math.sqrt(2), rel=1e-12)
    assert out == pytest.approx(np.array([[1, -2]]) / math.sqrt(2)) and inverse == pytest.approx(1000 / math.sqrt(2))


@pytest.mark.parametrize("norm", [layer_norm, rms_norm])
def test_eps_as_a_numpy_number_keeps_single_precision(norm):
    x, gain = np.ones((2, 3), dtype=np.float32), np.ones(3, dtype=np.float32)
    assert all(part.dtype == np.float32 for part in norm(x, gain, eps=np.float64(1e-5)))


def test_embedding():
    table = RNG.normal(size=(4, 3))
    assert (embedding(table, np.array([[3, 0]])) == table[[[3, 0]]]).all()


@pytest.mark.parametrize("shape", [(0,), (), (7,), (3, 4), (40, 5), (200,)])
@pytest.mark.parametrize("V", [1, 3, 60])
def test_the_gradient_of_a_table_adds_up(shape, V):
    """Rows that were read never, once, a few times and often."""
    ids, table = RNG.integers(V, size=shape), np.ones((V, 3))
    dout, expected = RNG.normal(size=(*shape, 3)), np.zeros((V, 3))
    np.add.at(expected, ids, dout)
    for kind in (np.int64, np.uint8, np.uint64):
        assert embedding_backward(dout, table, ids.astype(kind)) == pytest.approx(expected, abs=1e-13)


def test_cross_entropy_by_hand():
    logits = np.log(np.array([[1.0, 3.0], [4.0, 1.0], [1.0, 1.0]]))
    loss, *_ = cross_entropy(logits, np.array([1, 1, 0]))
    surprise = [math.log(4 / 3), math.log(5), math.log(2)]
    assert loss.sum == pytest.approx(sum(surprise)) and loss.mean == pytest.approx(sum(surprise) / 3)
    loss, *needed = cross_entropy(logits, np.array([1, 7, 0]), ignore_index=7, label_smoothing=0.2)
    predicted, desired = [[0.25, 0.75], [0, 0], [0.5, 0.5]], np.array([[0.1, 0.9], [0, 0], [0.9, 0.1]])
    assert loss.count == 2 and cross_entropy_backward(Loss(0, 1), *needed) == pytest.approx(predicted - desired)
    smooth = 0.9 * math.log(4 / 3) + 0.1 * math.log(4) + math.log(2)
    assert loss.sum == pytest.approx(smooth) and loss.mean == pytest.approx(smooth / 2)


def plain_cross_entropy(logits, targets, ignore_index, label_smoothing):
    """The formula with its array of desired shares -> sum of the loss, its gradient."""
    V = logits.shape[-1]
    desired = (1 - label_smoothing) * (np.arange(V) == targets[..., None]) + label_smoothing / V
    desired = desired * (targets != ignore_index)[..., None]
    log_weights = log_softmax(logits)
    predicted = np.exp(log_weights) * desired.sum(axis=-1, keepdims=True)
    return -(desired * np.where(desired == 0, 0, log_weights)).sum(), predicted - desired


@pytest.mark.parametrize("label_smoothing", [0, 0.2, 1])
@pytest.mark.parametrize("size", [1, 20, 60, 500, 1e4])  # beyond about 20 the row's peak is needed
@pytest.mark.parametrize("offset", [0, 1000, -1000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy_is_its_formula(label_smoothing, size, offset, dtype):
    rng = np.random.default_rng(1)
    logits, targets = (size * rng.normal(size=(3, 4, 6)) + offset).astype(dtype), rng.integers(6, size=(3, 4))
    total, dlogits = plain_cross_entropy(logits.astype(np.float64), targets, 2, label_smoothing)
    loss, *needed = cross_entropy(logits, targets.astype(np.uint8), 2, np.float64(label_smoothing))
    near = 2e-6 if dtype == np.float32 else 1e-14
    assert loss.sum.dtype == loss.mean.dtype == dtype
    assert loss.sum == pytest.approx(total, rel=near, abs=near * (size + abs(offset)))
    assert cross_entropy_backward(Loss(0.0, 1.0), *needed) == pytest.approx(dlogits, abs=3 * near)
    transposed = np.asfortranarray(logits)  # of which flattening makes a copy
    _, *needed = cross_entropy(transposed, targets, 2, label_smoothing)
    assert cross_entropy_backward(Loss(0.0, 1.0), *needed) == pytest.approx(dlogits, abs=3 * near)


def test_the_ends_of_cross_entropy():
    """All certainty smoothed away; a vocabulary of one token; logits that are no fractions."""
    loss, *needed = cross_entropy(np.log([[1.0, 3.0]]), np.array([0]), label_smoothing=1)
    assert cross_entropy_backward(Loss(1.0), *needed) == pytest.approx(np.array([[-0.25, 0.25]]))
    assert loss.mean == pytest.approx((math.log(4) + math.log(4 / 3)) / 2)
    assert cross_entropy(np.ones((2, 1)), np.array([0, -1]), ignore_index=-1)[0] == (0, 0, 1)
    with pytest.raises(TypeError, match="logits must be floating but has dtype int64"):
        cross_entropy(np.ones((2, 3), dtype=np.int64), np.array([0, 1]))


def test_cross_entropy_of_impossible_tokens():
    logits = np.array([[0.0, -np.inf, 0.0]])
    loss, *needed = cross_entropy(logits, np.array([0]))
    assert loss.mean == pytest.approx(math.log(2))
    assert np.allclose(cross_entropy_backward(Loss(1.0), *needed), [[-0.5, 0, 0.5]])


def test_nothing_counted_is_no_loss():
    loss, *needed = cross_entropy(np.ones((2, 3)), np.array([1, 1]), ignore_index=1)
    assert loss == (0, 0, 0) and not cross_entropy_backward(Loss(1.0, 1.0), *needed).any()


def test_dropout_keeps_the_mean_and_its_seed():
    x = np.ones((200, 300))
    out, keep = dropout(x, 0.3, np.random.default_rng(1))
    assert set(np.unique(out)) == {0.0, 1 / 0.7} and abs(out.mean() - 1) < 0.01
    assert (dropout(x, 0.3, np.random.default_rng(1))[0] == out).all()
    single, _ = dropout(x.astype(np.float32), 0.3, np.random.default_rng(1))
    assert single.dtype == np.float32 and ((single == 0) == (out == 0)).all()
    assert dropout(x, 0.3, None)[0] is x and dropout(x, 0.0, RNG)[0] is x


@pytest.mark.parametrize("shape", [(), (4,), (1,), (3, 1), (2, 1, 4), (2, 3, 4), (1, 1, 1)])
def test_unbroadcast_sums_what_was_repeated(shape):
    gradient = RNG.normal(size=(2, 3, 4))
    like = np.zeros(shape)
    expected = np.zeros(shape)
    for place in np.ndindex(gradient.shape):
        own = tuple(0 if n == 1 else i for n, i in zip(shape, place[3 - len(shape) :], strict=True))
        expected[own] += gradient[place]
    assert np.allclose(unbroadcast(gradient, like), expected) and unbroadcast(gradient, like).shape == shape
    assert unbroadcast(gradient, None) is None


@pytest.mark.parametrize("shape", [(), (2,), (1,), (2, 2), (1, 2), (2, 1), (3, 1, 2, 2)])
def test_part_is_a_view_of_the_tile(shape):
    """Axes that are shared stay whole, also those that the term does not have."""
    term, last = RNG.normal(size=shape), slice(1, 2)
    tile = part(term, last, last)
    whole = np.broadcast_to(term, np.broadcast_shapes(shape, (2, 2)))
    assert (tile == whole[..., last, last]).all() and np.shares_memory(tile, term)
    assert part(None, last, last) is None


def test_every_function_has_its_backward():
    for name, (function, backward) in FUNCTIONS.items():
        assert function.__name__ == name and backward.__name__ == f"{name}_backward"


@pytest.mark.parametrize(
    "name", ["tanh", "sigmoid", "relu", "gelu", "gelu_tanh", "silu", "elu", "softplus", "erf", "erfc"]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activations_far_out(name, dtype):
    function, backward = FUNCTIONS[name]
    largest = np.finfo(dtype).max
    x = np.array([-largest, -1e5, -700.0, 700.0, 1e5, largest], dtype=dtype)
    out, *gate = function(x) if name == "gelu_tanh" else (function(x),)
    operand = out if "out" in inspect.signature(backward).parameters else x
    slope = backward(np.ones_like(x), operand, *gate)
    flat = {"tanh": (-1, 1), "sigmoid": (0, 1), "erf": (-1, 1), "erfc": (2, 0)}
    left, right = flat.get(name, (-1 if name == "elu" else 0, x[-1]))
    assert out[0] == left and out[-1] == right and out.dtype == slope.dtype == dtype
    assert slope[0] == 0 and slope[-1] == (0 if name in flat else 1)


def test_erf_has_every_digit():
    x = np.linspace(-6, 26, 3001)
    assert erf(x) == pytest.approx([math.erf(v) for v in x], rel=1e-15)
    near, far = x[x < 6], x[x >= 6]
    assert erfc(near) == pytest.approx([math.erfc(v) for v in near], rel=1e-14)
    assert erfc(far) == pytest.approx([math.erfc(v) for v in far], rel=1e-13)  # x^2 is rounded before exp


def test_gelu_in_single_precision():
    """A polynomial in the place of erfc: within 2e-7 of |x|, near and far, and so its slope."""
    x = np.linspace(-30, 30, 60_001).astype(np.float32)
    right = np.array([v * math.erfc(-v / math.sqrt(2)) / 2 for v in x.tolist()])
    assert gelu(x).dtype == np.float32 and (abs(gelu(x) - right) <= 2e-7 * np.maximum(abs(x), 0.1)).all()
    slope = gelu_backward(np.ones_like(x), x)
    assert slope.dtype == np.float32 and abs(slope - gelu_backward(np.ones(len(x)), x.astype(float))).max() < 4e-7
    far = np.array([-1e30, -40, 40, 1e30, np.inf], np.float32)
    assert np.array_equal(gelu(far), [0, 0, 40, np.float32(1e30), np.inf])
    assert (
        gelu(np.float32(2.0)[None][0]) == gelu(np.array([2.0], np.float32))[0]
        and gelu(np.array(2, np.float32)).shape == ()
    )
    many = np.tile(x, (30, 1))
    assert (gelu(many) == gelu(x)).all() and gelu(np.zeros((0, 3), np.float32)).shape == (0, 3)


def test_gelu_by_hand():
    x = np.linspace(-5, 5, 101)
    assert gelu(x) == pytest.approx([v * math.erfc(-v / math.sqrt(2)) / 2 for v in x], rel=1e-14, abs=1e-17)
    assert abs(gelu(x) - gelu_tanh(x)[0]).max() < 5e-4
    assert silu(np.array([1.0])) == pytest.approx(1 / (1 + math.exp(-1)))
    assert softplus(np.array([-1.0, 2.0])) == pytest.approx([math.log1p(math.exp(-1)), math.log1p(math.exp(2))])
    assert elu(np.array([-1.0, 2.0]), 0.5) == pytest.approx([0.5 * math.expm1(-1), 2.0])


@pytest.mark.parametrize("alpha", [0, -0.5, math.nan])
def test_elu_must_know_the_sign_of_x(alpha):
    with pytest.raises(ValueError, match=f"alpha must be positive but is {alpha}: backward reads off the sign"):
        elu(np.array([-1.0, 2.0]), alpha)


def test_logsumexp():
    assert logsumexp(np.array([1e4, 1e4])) == pytest.approx(1e4 + math.log(2))
    assert logsumexp(np.zeros((2, 3)), np.array([[True, True, False], [False] * 3])).tolist() == [math.log(2), -np.inf]


def plain_convolution(x, W, b, stride, padding):
    (up, along), (above, left) = stride, padding
    x = np.pad(x, ((0, 0), (above, above), (left, left), (0, 0)))
    rows, columns = (x.shape[1] - W.shape[0]) // up + 1, (x.shape[2] - W.shape[1]) // along + 1
    out = np.zeros((len(x), rows, columns, W.shape[3]))
    for n, r, c in np.ndindex(len(x), rows, columns):
        patch = x[n, r * up : r * up + W.shape[0], c * along : c * along + W.shape[1]]
        out[n, r, c] = (patch[..., None] * W).sum(axis=(0, 1, 2)) + (0 if b is None else b)
    return out


@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
@pytest.mark.parametrize("padding", [(0, 0), (2, 1), (1, 0), (0, 1)])
def test_convolution_is_its_definition(stride, padding):
    x, W, b = RNG.normal(size=(2, 6, 7, 3)), RNG.normal(size=(3, 2, 3, 4)), RNG.normal(size=4)
    assert np.allclose(conv2d(x, W, b, stride, padding), plain_convolution(x, W, b, stride, padding), atol=1e-13)
    line = conv1d(x[:, 0], W[0], None, stride[1], padding[1])
    expected = plain_convolution(x[:, :1], W[:1], None, (1, stride[1]), (0, padding[1]))[:, 0]
    assert np.allclose(line, expected, atol=1e-13)


def test_pooling_by_hand():
    x = np.arange(16.0).reshape(1, 4, 4, 1)
    assert max_pool(x)[0][0, ..., 0].tolist() == [[5, 7], [13, 15]]
    assert mean_pool(x)[0, ..., 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert max_pool(x, 3)[0].ravel().tolist() == [10]


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: conv1d(np.ones((2, 3, 4)), np.ones((5, 4, 6))), "a kernel of .1, 5. does not fit into x of .1, 3."),
        (lambda: conv1d(np.ones((2, 3, 4)), np.ones((2, 5, 6))), "W has I=5 input features but x has I=4"),
        (lambda: conv2d(np.ones((2, 3, 4)), np.ones((2, 2, 4, 6))), "x needs the axes .B, Y, X, I."),
        (lambda: conv2d(np.ones((2, 3, 3, 4)), np.ones((2, 2, 4, 6)), np.ones(5)), "b has O=5 .* but W has O=6"),
        (lambda: max_pool(np.ones((1, 2, 2, 1)), 3), "windows of 3 x 3 do not fit"),
        (lambda: max_pool(np.ones((1, 2, 6, 1)), 3), "windows of 3 x 3 do not fit"),
        (lambda: mean_pool(np.ones((1, 6, 2, 1)), 3), "windows of 3 x 3 do not fit"),
        (lambda: conv2d(np.ones((1, 4, 4, 2)), np.ones((2, 2, 2, 3)), stride=0), "stride must be a whole number"),
    ],
)
def test_convolution_errors(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_mse_by_hand():
    loss = mse(np.array([1.0, 2.0]), np.array([3.0, 2.5]))
    assert loss == (2.125, 4.25, 2) and loss.count.dtype == np.int64
    one = np.array([3.0]), np.array([1.0])
    assert mse(*one) == (4, 4, 1) and mse_backward(Loss(1.0), *one) == ([4], [-4])
    with pytest.raises(ValueError, match="must have one shape"):
        mse(np.ones(2), np.ones((2, 1)))


def test_sparsemax_is_the_nearest_point_of_the_simplex():
    scores = RNG.normal(size=(20, 6))
    weights = sparsemax(scores)
    assert np.allclose(weights.sum(axis=-1), 1) and (weights >= 0).all() and (weights == 0).any()
    distance = ((weights - scores) ** 2).sum(axis=-1)
    for other in RNG.dirichlet(np.full(6, 0.3), size=500):
        assert (distance <= ((other - scores) ** 2).sum(axis=-1) + 1e-12).all()
    mask = np.array([[True, False, True], [False] * 3])
    expected = np.array([[0.4, 0, 0.6], [0, 0, 0]])
    assert sparsemax(np.array([[1.0, 99.0, 1.2], [1, 2, 3]]), mask) == pytest.approx(expected)
    with pytest.raises(TypeError, match="mask must be boolean"):
        sparsemax(scores, np.ones(6))


@pytest.mark.parametrize("far", [[1e30, 0.0], [-1e30, 0.0], [-1e30, 1e30]])
def test_gelu_tanh_far_out_is_nothing_or_all(far):
    """Its cube would overflow, on either side."""
    x = np.array(far, dtype=np.float32)
    out, gate = gelu_tanh(x)
    assert np.array_equal(out, np.maximum(x, 0))
    assert np.array_equal(gelu_tanh_backward(np.ones_like(x), x, gate), np.where(x == 0, 0.5, x > 0))


def test_gelu_tanh_of_nothing():
    empty = np.zeros((0, 3))
    out, gate = gelu_tanh(empty)
    assert out.shape == gate.shape == gelu_tanh_backward(empty, empty, gate).shape == (0, 3)


def test_gelu_tanh_of_a_single_number():
    out, gate = gelu_tanh(np.array(2.0))
    assert out.shape == () and out == 2 * gate and gate == pytest.approx(0.977299, abs=1e-6)
    slope = gelu_tanh_backward(np.array(3.0), np.array(2.0), gate)
    assert slope.shape == () and slope == pytest.approx(3 * 1.086099, abs=1e-5)


@pytest.mark.parametrize("least", [0, 1, 2])
def test_the_first_row_that_was_read_gets_its_gradient(least):
    ids, dout = np.array([least, 4, least]), np.arange(6.0).reshape(3, 2)
    expected = np.zeros((5, 2))
    np.add.at(expected, ids, dout)
    assert np.array_equal(embedding_backward(dout, np.zeros((5, 2)), ids), expected)


@pytest.mark.parametrize("upstream", [Loss(mean=1), Loss(1.0), Loss(None, 0.25), Loss(0.5, 2)])
def test_a_plain_number_upstream_leaves_float32_what_it_is(upstream):
    logits, targets = np.ones((3, 4), np.float32), np.array([0, 3, 1])
    _, *needed = cross_entropy(logits, targets)
    assert cross_entropy_backward(upstream, *needed).dtype == np.float32


MIXED = pytest.mark.parametrize(
    "kinds", [(np.float32, np.float64), (np.float64, np.float32), (float, complex), (complex, float)]
)


@MIXED
def test_sums_and_products_have_the_wider_kind(kinds):
    """Where only one of the two is wider, as in a complex step at a bias alone."""
    x, term = np.ones((2, 3), kinds[0]), np.full(3, 2, kinds[1])
    wider = np.result_type(*kinds)
    total, fits = add_into(x, term), kinds[0] == wider
    assert total.dtype == wider and (total == 3).all() and np.shares_memory(total, x) == fits
    assert add_into(x, None) is x
    out = product(np.ones((2, 3), kinds[0]), np.ones((3, 4), kinds[1]))
    assert out.dtype == wider and (out == 3).all()


@MIXED
def test_norms_of_mixed_kinds_have_the_wider(kinds):
    x, gain = RNG.normal(size=(3, 4)).astype(kinds[0]), RNG.normal(size=4).astype(kinds[1])
    wider = np.result_type(*kinds)
    expected = layer_norm(x.astype(wider), gain.astype(wider), gain.astype(wider))
    for bias in (gain, gain.astype(wider)):
        for one, other in zip(layer_norm(x, gain, bias), expected, strict=True):
            assert one.dtype == wider and np.allclose(one, other, rtol=1e-5)
    dout, (_, normalized, inverse_std) = RNG.normal(size=(3, 4)), layer_norm(x, gain)
    for wide in ("dout", "normalized", "inverse_std", "gain"):
        arrays = {"dout": dout, "normalized": normalized.real, "inverse_std": inverse_std.real, "gain": gain.real}
        arrays = {name: a.astype(np.float64 if name == wide else np.float32) for name, a in arrays.items()}
        dx, *_ = layer_norm_backward(**arrays)
        assert dx.dtype == np.result_type(*arrays.values())


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.uint64, np.int64])
def test_targets_of_every_kind_of_integer(kind):
    logits, targets = RNG.normal(size=(7, 100)), np.arange(7) * 14
    loss, *needed = cross_entropy(logits, targets.astype(kind))
    expected, *_ = cross_entropy(logits, targets)
    assert loss.mean == expected.mean
    dlogits = cross_entropy_backward(Loss(mean=1), *needed)
    assert (dlogits[np.arange(7), targets] < 0).all()


def test_a_row_that_rules_everything_out_is_infinitely_surprised():
    logits = np.array([[-np.inf, -np.inf, -np.inf], [800.0, 0.0, -800.0]])
    loss, *needed = cross_entropy(logits, np.array([1, 2]))
    assert loss.sum == np.inf and np.isfinite(cross_entropy_backward(Loss(sum=1, mean=None), *needed)).all()


@pytest.mark.parametrize("function", [softmax, log_softmax, logsumexp])
def test_scores_have_fractions(function):
    with pytest.raises(TypeError, match="scores must be floating but has dtype int64"):
        function(np.arange(3))


@pytest.mark.parametrize("shape", [(3, 4, 5), (40, 30, 500)])
def test_logits_may_lie_in_any_order(shape):
    """Axes that were swapped, not copied: the same loss and the same gradient, in small arrays and in tiles."""
    rng = np.random.default_rng(0)
    swapped = rng.normal(size=shape).swapaxes(0, 1)
    targets = rng.integers(shape[-1], size=swapped.shape[:-1])
    found = []
    for logits in (swapped, np.ascontiguousarray(swapped)):
        loss, *kept = cross_entropy(logits, targets)
        found.append((loss.mean, cross_entropy_backward(Loss(1.0), *kept)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-14) and abs(found[0][1] - found[1][1]).max() < 1e-15


def test_what_is_ignored_never_matters():
    """Not even NaN, in the loss or in its gradient."""
    logits, targets = np.random.default_rng(0).normal(size=(2, 3, 5)), np.array([[1, 4, -1], [-1, 0, 2]])
    right, *_ = cross_entropy(np.where(targets[..., None] < 0, 0, logits), targets, ignore_index=-1)
    logits[targets < 0] = np.nan
    loss, *kept = cross_entropy(logits, targets, ignore_index=-1)
    dlogits = cross_entropy_backward(Loss(1.0), *kept)
    assert loss.mean == right.mean and (dlogits[targets < 0] == 0).all() and np.isfinite(dlogits).all()
