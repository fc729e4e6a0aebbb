"""What the gradient checks cannot see: that the forwards are right, at the edges too."""

import math

import numpy as np
import pytest

from minattn.functions import (
    FUNCTIONS,
    Loss,
    cross_entropy,
    cross_entropy_backward,
    dropout,
    embedding,
    layer_norm,
    linear,
    log_softmax,
    relu,
    sigmoid,
    softmax,
    softmax_backward,
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
    assert relu(np.array([-2.0, 0.0, 3.0])).tolist() == [0.0, 0.0, 3.0]


def test_linear_takes_any_leading_axes():
    x, W, b = RNG.normal(size=(2, 3, 4)), RNG.normal(size=(4, 5)), RNG.normal(size=5)
    assert np.allclose(linear(x, W, b), np.einsum("bti,io->bto", x, W) + b)
    assert linear(x[0, 0], W).shape == (5,) and linear(x[:0], W, b).shape == (0, 3, 5)


def test_layer_norm_by_hand():
    out, normalized, _ = layer_norm(np.array([[1.0, 2.0, 3.0]]), np.array([1.0, 2.0, 3.0]), np.full(3, 0.5), eps=0)
    step = math.sqrt(1.5)
    assert np.allclose(normalized, [[-step, 0, step]]) and np.allclose(out, [[0.5 - step, 0.5, 0.5 + 3 * step]])


def test_embedding():
    table = RNG.normal(size=(4, 3))
    assert (embedding(table, np.array([[3, 0]])) == table[[[3, 0]]]).all()


def test_cross_entropy_by_hand():
    logits = np.log(np.array([[1.0, 3.0], [4.0, 1.0], [1.0, 1.0]]))
    loss, _, _ = cross_entropy(logits, np.array([1, 1, 0]))
    surprise = [math.log(4 / 3), math.log(5), math.log(2)]
    assert loss.sum == pytest.approx(sum(surprise)) and loss.mean == pytest.approx(sum(surprise) / 3)
    loss, _, desired = cross_entropy(logits, np.array([1, 7, 0]), ignore_index=7, label_smoothing=0.2)
    assert loss.count == 2 and desired.tolist() == [[0.1, 0.9], [0, 0], [0.9, 0.1]]
    smooth = 0.9 * math.log(4 / 3) + 0.1 * math.log(4) + math.log(2)
    assert loss.sum == pytest.approx(smooth) and loss.mean == pytest.approx(smooth / 2)


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


def test_every_function_has_its_backward():
    for name, (function, backward) in FUNCTIONS.items():
        assert function.__name__ == name and backward.__name__ == f"{name}_backward"
