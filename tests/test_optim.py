"""Optimisers by hand: the formulas number by number, and nothing written in place."""

import copy
import math

import numpy as np
import pytest

from minattn import optim, tree

OPTIMISERS = {
    "sgd": (optim.sgd, {}),
    "momentum": (optim.sgd, {"momentum": 0.9}),
    "adam": (optim.adam, {}),
    "adamw": (optim.adamw, {"weight_decay": 0.1}),
}
EVERY = pytest.mark.parametrize("step, settings", OPTIMISERS.values(), ids=OPTIMISERS)


def draw(seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    params = {"W": rng.normal(size=(3, 4)), "encoder": {"b": rng.normal(size=5), "deeper": {"v": rng.normal(size=2)}}}
    return tree.astype(params, dtype)


def freeze(arrays):
    """Writing into any of them raises."""
    for _, x in tree.leaves(arrays):
        if isinstance(x, np.ndarray):
            x.flags.writeable = False
    return arrays


def assert_equal(left, right):
    left, right = tree.leaves(left), tree.leaves(right)
    assert [path for path, _ in left] == [path for path, _ in right]
    for (path, x), (_, y) in zip(left, right, strict=True):
        np.testing.assert_array_equal(x, y, err_msg=path)


@EVERY
def test_nothing_is_written_in_place(step, settings):
    params, state = freeze(draw(0)), None
    for seed in range(1, 4):
        grads = freeze(draw(seed))
        before = copy.deepcopy((params, grads, state))
        new, new_state = step(params, grads, state, learning_rate=0.1, **settings)
        assert_equal((params, grads, state), before)
        again, state_again = step(params, grads, state, learning_rate=0.1, **settings)
        assert_equal((again, state_again), (new, new_state))
        assert all((x != y).all() for (_, x), (_, y) in zip(tree.leaves(new), tree.leaves(params), strict=True))
        params, state = freeze(new), freeze(new_state)


@EVERY
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_stays(step, settings, dtype):
    params, state = draw(0, dtype), None
    for seed in range(1, 4):
        params, state = step(params, draw(seed, dtype), state, learning_rate=0.1, **settings)
    arrays = [x for _, x in tree.leaves((params, state)) if isinstance(x, np.ndarray)]
    assert len(arrays) >= 3 and {x.dtype for x in arrays} == {np.dtype(dtype)}
    clipped, norm = optim.clip(draw(0, dtype), 0.5)
    assert isinstance(norm, float) and {x.dtype for _, x in tree.leaves(clipped)} == {np.dtype(dtype)}


@EVERY
def test_nested_dicts_are_one_array_after_the_other(step, settings):
    """Where an array stands in the tree changes nothing."""
    nested, state = draw(0), None
    flat, flat_states = dict(tree.leaves(nested)), dict.fromkeys(dict(tree.leaves(nested)))
    for seed in range(1, 4):
        grads = draw(seed)
        nested, state = step(nested, grads, state, learning_rate=0.1, **settings)
        for path, grad in tree.leaves(grads):
            one, flat_states[path] = step(
                {"x": flat[path]}, {"x": grad}, flat_states[path], learning_rate=0.1, **settings
            )
            flat[path] = one["x"]
    assert_equal(dict(tree.leaves(nested)), flat)


@EVERY
def test_other_trees_are_refused(step, settings):
    grads = draw(1)
    del grads["encoder"]["b"]
    with pytest.raises(ValueError, match="trees differ"):
        step(draw(0), grads, learning_rate=0.1, **settings)


def test_sgd_by_hand():
    params, state = optim.sgd({"x": np.array([1.0, -2.0])}, {"x": np.array([0.5, 4.0])}, learning_rate=0.1)
    np.testing.assert_allclose(params["x"], [0.95, -2.4], rtol=1e-15)
    assert state is None


def test_momentum_by_hand():
    """Gradients 1, 2, -4 with momentum 0.5: velocities 1, 2.5, -2.75."""
    params, state = {"x": np.array([10.0])}, None
    for grad, velocity, x in [(1.0, 1.0, 9.9), (2.0, 2.5, 9.65), (-4.0, -2.75, 9.925)]:
        params, state = optim.sgd(params, {"x": np.array([grad])}, state, learning_rate=0.1, momentum=0.5)
        np.testing.assert_allclose(state["velocity"]["x"], [velocity], rtol=1e-15)
        np.testing.assert_allclose(params["x"], [x], rtol=1e-15)


@pytest.mark.parametrize("decay", [0.0, 0.2], ids=["adam", "adamw"])
def test_adam_on_a_quadratic(decay):
    """Six steps down 3 x^2 / 2, in single numbers, as the paper's algorithm 1 is written."""
    rate, beta1, beta2, eps = 0.1, 0.8, 0.9, 1e-3
    params, state = {"x": np.array([2.0])}, None
    x, mean, square = 2.0, 0.0, 0.0
    settings = {"learning_rate": rate, "betas": (beta1, beta2), "eps": eps}
    for t in range(1, 7):
        grads = {"x": 3 * params["x"]}
        if decay:
            params, state = optim.adamw(params, grads, state, weight_decay=decay, **settings)
        else:
            params, state = optim.adam(params, grads, state, **settings)
        grad = 3 * x
        mean = beta1 * mean + (1 - beta1) * grad
        square = beta2 * square + (1 - beta2) * grad**2
        mean_hat, square_hat = mean / (1 - beta1**t), square / (1 - beta2**t)
        x = x - rate * decay * x - rate * mean_hat / (math.sqrt(square_hat) + eps)
        np.testing.assert_allclose(params["x"], [x], rtol=1e-13)
        np.testing.assert_allclose([state["mean"]["x"][0], state["square"]["x"][0]], [mean, square], rtol=1e-13)
        assert state["steps"] == t


def test_first_step_of_adam_has_the_learning_rate():
    """Whatever the gradient's size: mean / sqrt(square) is its sign."""
    params, _ = optim.adam({"x": np.zeros(3)}, {"x": np.array([1e-3, -7.0, 1e6])}, learning_rate=0.1)
    np.testing.assert_allclose(params["x"], [-0.1, 0.1, -0.1], rtol=1e-4)


def test_clip_by_hand():
    """Norm 13 over both arrays together, as one vector."""
    grads = freeze({"a": np.array([3.0, 4.0]), "b": {"c": np.array([[12.0]])}})
    clipped, norm = optim.clip(grads, 6.5)
    assert norm == 13.0
    assert_equal(clipped, {"a": np.array([1.5, 2.0]), "b": {"c": np.array([[6.0]])}})
    assert_equal(grads, {"a": np.array([3.0, 4.0]), "b": {"c": np.array([[12.0]])}})


@pytest.mark.parametrize("max_norm", [13.0, 100.0])
def test_clip_leaves_what_is_short_enough(max_norm):
    grads = {"a": np.array([3.0, 4.0]), "b": {"c": np.array([[12.0]])}}
    clipped, norm = optim.clip(grads, max_norm)
    assert norm == 13.0
    assert all(x is y for (_, x), (_, y) in zip(tree.leaves(clipped), tree.leaves(grads), strict=True))


def test_clip_of_zeros():
    clipped, norm = optim.clip({"a": np.zeros(3)}, 1.0)
    assert norm == 0.0
    assert_equal(clipped, {"a": np.zeros(3)})


@pytest.mark.parametrize("size", [1e30, 1e-30])
def test_clip_sums_in_float64(size):
    """The square of either size is beyond float32."""
    grads = {"a": np.full((2, 2), size, dtype=np.float32)}
    clipped, norm = optim.clip(grads, size)
    np.testing.assert_allclose(norm, 2 * size, rtol=1e-7)
    np.testing.assert_allclose(clipped["a"], grads["a"] / 2, rtol=1e-6)
    assert clipped["a"].dtype == np.float32


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clip_names_what_is_not_finite(bad, dtype):
    grads = draw(0, dtype)
    grads["encoder"]["deeper"]["v"][1] = bad
    before = copy.deepcopy(grads)
    with pytest.raises(FloatingPointError, match=r"the gradient encoder\.deeper\.v holds"):
        optim.clip(freeze(grads), 1.0)
    assert_equal(grads, before)


def test_clip_names_the_first_of_several():
    grads = draw(0)
    grads["encoder"]["b"][0] = grads["encoder"]["deeper"]["v"][0] = np.nan
    with pytest.raises(FloatingPointError, match=r"the gradient encoder\.b holds nan"):
        optim.clip(grads, 1.0)


@pytest.mark.parametrize("max_norm", [0, 0.0, -1.0, np.nan])
def test_clip_to_nothing_is_refused(max_norm):
    with pytest.raises(ValueError, match="max_norm must be positive"):
        optim.clip(draw(0), max_norm)


def test_clip_measures_gradients_whose_squares_overflow():
    (clipped, norm) = optim.clip({"W": np.array([3e200, 4e200]), "b": np.zeros(0)}, 1.0)
    assert norm == pytest.approx(5e200) and np.allclose(clipped["W"], [0.6, 0.8])


def test_momentum_does_not_keep_the_callers_gradients():
    grads = {"W": np.ones(2)}
    _, state = optim.sgd({"W": np.zeros(2)}, grads, learning_rate=0.1, momentum=0.9)
    grads["W"][:] = 7
    assert (state["velocity"]["W"] == 1).all()
