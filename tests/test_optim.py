"""Optimisers by hand: the formulas number by number, and nothing written in place.

`Flat` alone writes in place, and must come to the same numbers.
"""

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


def draw_large(seed, dtype):
    """Leaves that fill several chunks of `Flat`, small ones between them, an empty one, one of no axes, and None."""
    rng = np.random.default_rng(seed)
    shapes = {"a": (3, 4), "large": (optim.CHUNK // 8, 19), "none": (0, 5), "b": (7,), "whole": (optim.CHUNK,), "c": ()}
    params = {"nested": {name: rng.normal(size=shape) for name, shape in shapes.items()}, "absent": None}
    params["list"] = [rng.normal(size=optim.CHUNK - 3), rng.normal(size=(2, 2))]
    return tree.map(lambda x: np.asarray(x, dtype), params)


@pytest.mark.parametrize("max_norm", [None, 1e9, 2.0], ids=["no limit", "short enough", "shortened"])
@pytest.mark.parametrize(
    "settings", [{}, {"weight_decay": 0.1}, {"betas": (0.5, 0.7), "eps": 1e-3}], ids=["adam", "decay", "betas"]
)
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 1e-6)])
def test_flat_is_adamw(dtype, tolerance, settings, max_norm, monkeypatch, steps=50):
    monkeypatch.setattr(optim, "CHUNK", 64)
    params, state = freeze(draw_large(0, dtype)), None
    flat = optim.Flat(params, **settings)
    for seed in range(1, steps + 1):
        grads = freeze(draw_large(seed % 3 + 1, dtype))
        norm = flat.step(grads, learning_rate=1e-2 / seed, max_norm=max_norm)
        if max_norm is None:
            assert norm is None
        else:
            grads, expected = optim.clip(grads, max_norm)
            assert norm == pytest.approx(expected, rel=1e-12)
        settings = {"weight_decay": 0.0} | settings
        params, state = optim.adamw(params, grads, state, learning_rate=1e-2 / seed, **settings)
    assert flat.steps == flat.state["steps"] == state["steps"] == steps
    for ours, theirs in [
        (flat.params, params),
        (flat.state["mean"], state["mean"]),
        (flat.state["square"], state["square"]),
    ]:
        assert [path for path, _ in tree.leaves(ours)] == [path for path, _ in tree.leaves(theirs)]
        for (path, x), (_, y) in zip(tree.leaves(ours), tree.leaves(theirs), strict=True):
            assert x.dtype == dtype and x.shape == y.shape
            np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * np.abs(y).max(initial=1), err_msg=path)


def test_flat_params_are_views_and_the_callers_stay():
    params = freeze(draw(0))
    flat = optim.Flat(params)
    assert_equal(flat.params, params)
    held = tree.leaves(flat.params)
    before = copy.deepcopy(params)
    flat.step(freeze(draw(1)), learning_rate=0.1)
    assert_equal(params, before)
    assert all(x is y for (_, x), (_, y) in zip(held, tree.leaves(flat.params), strict=True))
    assert all((x != y).all() for (_, x), (_, y) in zip(held, tree.leaves(params), strict=True))
    kept = flat.state
    flat.step(draw(2), learning_rate=0.1)
    assert kept["steps"] == 1 and (kept["mean"]["W"] != flat.state["mean"]["W"]).all()


def test_flat_reads_gradients_of_any_strides_and_order():
    grads = draw(1)
    turned = dict(reversed(grads.items())) | {"W": np.asfortranarray(grads["W"])}
    ours, theirs = optim.Flat(draw(0)), optim.Flat(draw(0))
    assert ours.step(turned, learning_rate=0.1, max_norm=1.0) == theirs.step(grads, learning_rate=0.1, max_norm=1.0)
    assert_equal(ours.params, theirs.params)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_flat_names_what_is_not_finite_and_changes_nothing(bad, dtype):
    flat, grads = optim.Flat(draw(0, dtype)), draw(1, dtype)
    flat.step(grads, learning_rate=0.1)
    before = copy.deepcopy((flat.params, flat.state))
    grads["encoder"]["deeper"]["v"][1] = bad
    with pytest.raises(FloatingPointError, match=r"the gradient encoder\.deeper\.v holds"):
        flat.step(grads, learning_rate=0.1, max_norm=1.0)
    assert_equal((flat.params, flat.state), before)


@pytest.mark.parametrize(
    "size, dtype", [(3e200, np.float64), (3e-200, np.float64), (3e30, np.float32), (0.0, np.float64)]
)
def test_flat_measures_what_float64_cannot_square(size, dtype):
    grads = {"W": np.array([size, size], dtype)}
    flat = optim.Flat({"W": np.ones(2, dtype)})
    assert flat.step(grads, learning_rate=0.0, max_norm=1.0) == pytest.approx(math.sqrt(2) * size, rel=1e-6)


def test_flat_refuses_what_does_not_fit():
    flat = optim.Flat(draw(0))
    before = copy.deepcopy(flat.params)
    for wrong, said in [
        (np.ones((4, 3)), r"the parameter W has shape \(3, 4\) but its gradient has shape \(4, 3\)"),
        (None, r"the parameter W has shape \(3, 4\) but its gradient is None"),
    ]:
        with pytest.raises(ValueError, match=said):
            flat.step(draw(1) | {"W": wrong}, learning_rate=0.1)
    with pytest.raises(ValueError, match="trees differ"):
        flat.step({"W": np.ones((3, 4))}, learning_rate=0.1)
    with pytest.raises(ValueError, match="max_norm must be positive"):
        flat.step(draw(1), learning_rate=0.1, max_norm=0.0)
    assert flat.steps == 0
    assert_equal(flat.params, before)
    for params, said in [
        ({"a": np.ones(2), "b": np.ones(2, np.float32)}, "float32, float64"),
        ({"a": np.ones(2, int)}, "int64"),
        ({"a": np.ones(2, complex)}, "complex128"),
        ({}, "no parameters"),
    ]:
        with pytest.raises(TypeError, match=f"of one dtype, but there are {said}"):
            optim.Flat(params)


@pytest.mark.parametrize("sizes", [(), (0,), (5,), (10, 1), (4, 6, 1, 0, 25, 3, 3), (9, 9, 9), (30,), (20, 20)])
def test_chunks_cover_every_number_once(sizes, monkeypatch):
    monkeypatch.setattr(optim, "CHUNK", 10)
    rows = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1]) if sizes else []
    seen = []
    for place, pieces in optim._chunks(sizes, optim.CHUNK):
        numbers = np.concatenate([rows[row][part] for row, part in pieces])
        assert numbers.tolist() == list(range(place.start, place.stop)) and 0 < len(numbers) <= 10
        seen += numbers.tolist()
    assert seen == list(range(sum(sizes)))
