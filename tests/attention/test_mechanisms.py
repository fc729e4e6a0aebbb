"""What the laws do not see of a mechanism: what `init` draws, the maps made when asked for, edges, defaults, errors."""

import math

import numpy as np
import pytest
from device import DeviceArray
from laws import close, fresh, params_of, run

from minattn import masks, tree
from minattn.attention import (
    VARIANTS,
    additive,
    blockwise,
    concat,
    cosine,
    dot,
    linear,
    local,
    multihead,
    relative,
    window,
)
from minattn.attention.cases import cases
from minattn.attention.relative import _plain_bucket, bucket
from minattn.gradcheck import adjoint
from minattn.op import bind, options

RNG = np.random.default_rng(0)
B, T, S, D, E = 2, 4, 5, 6, 7
TILED = pytest.mark.parametrize("op", [blockwise, linear, window], ids=["blockwise", "linear", "window"])


def inputs(query=(B, T, D), key=(B, S, D), value=(B, S, E)):
    return tuple(RNG.normal(size=shape) for shape in (query, key, value))


@pytest.mark.parametrize(
    "name, sizes, spread",
    [
        ("additive", {"N": 20, "D": 30, "A": 400}, {"W_query": 20, "W_key": 30, "v": 400}),
        ("bilinear", {"N": 20, "D": 30}, {"W": 600}),
        ("concat", {"N": 20, "D": 30, "A": 400}, {"W": 50, "v": 400}),
        ("local", {"N": 20, "D": 30, "A": 400}, {"W": 600, "W_position": 20, "v_position": 400}),
        ("relative", {"H": 50}, {"table": 1}),
        ("multihead", {"M": 30, "H": 4, "D": 5, "E": 6}, {"W_query": 30, "W_key": 30, "W_value": 30, "W_out": 24}),
    ],
)
def test_what_init_draws(name, sizes, spread):
    """A standard deviation of 1 / sqrt(numbers that are summed), so that scores are of size 1; biases of 0."""
    params = VARIANTS[name].init(np.random.default_rng(0), **sizes)
    for part, summed in spread.items():
        assert params[part].std() == pytest.approx(1 / math.sqrt(summed), rel=0.12)
    assert all(not params[part].any() for part in params.keys() - spread)
    assert ("b" in params) == (name == "additive") and ("b_out" in params) == (name == "multihead")


def test_sizes_that_init_knows_by_itself():
    assert cosine.init(RNG)["scale"] == 10 and relative.init(RNG, H=3)["table"].shape == (32, 3)
    for given, width in (({}, 4), ({"A": 5}, 5)):
        assert multihead.init(RNG, M=8, H=2, inner=VARIANTS["additive"], **given)["inner"]["v"].shape == (width,)
    assert multihead.init(RNG, M=8, H=2, inner=relative)["inner"]["table"].shape == (32, 1)  # heads share it


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "multihead"])
def test_the_weights_that_are_shown_make_the_context(name):
    """Also where they are made when asked for, and on the device."""
    op = VARIANTS[name]
    for case in cases(np.random.default_rng(0), op):
        if "dropout" in case.options:
            continue
        params = params_of(op, case)
        context, cache = run(op, params, case)
        close(cache.weights @ np.nan_to_num(case.inputs[2], posinf=0.0), context, 1e-12, case.name)
        moved = {k: DeviceArray(x) if isinstance(x, np.ndarray) else x for k, x in fresh(case).items()}
        put = {k: DeviceArray(x) for k, x in params.items()}
        _, there = op.forward(put, *(DeviceArray(x) for x in case.inputs), **moved)
        close(there.weights.get(), cache.weights, 1e-13, case.name)


@pytest.mark.parametrize("leading", [((B,), (), ()), ((), (B,), (B,)), ((3, 1), (B,), ()), ((3, B), (B,), (1, B))])
def test_the_map_of_a_window_has_the_leading_axes_of_its_scores(leading):
    arrays = inputs(*((*axes, *shape) for axes, shape in zip(leading, ((T, D), (S, D), (S, E)), strict=True)))
    _, cache = window.forward({}, *arrays, left=1, right=1, tile=3)
    _, plain = dot.forward({}, *arrays, mask=masks.window(1, 1))
    assert cache.weights.shape == plain.weights.shape and np.allclose(cache.weights, plain.weights, atol=1e-15)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("shape", [(T, 1), (1, S)])
def test_a_mask_that_is_shared_is_the_whole_one(name, shape):
    op, mask = VARIANTS[name], np.arange(max(shape)).reshape(shape) % 3 > 0
    case = next(case for case in cases(np.random.default_rng(0), op) if case.name in ("batch", "cross"))
    params = params_of(op, case)
    few, _ = run(op, params, case._replace(options=case.options | {"mask": mask}))
    if name == "linear":  # it takes no mask of T x S, its oracle takes any
        many = op.naive(params, *case.inputs, mask=mask)
    else:
        many, _ = run(op, params, case._replace(options=case.options | {"mask": np.broadcast_to(mask, (T, S))}))
    close(few, many, 1e-13)


@pytest.mark.parametrize("name", VARIANTS)
def test_who_takes_an_offset_says_so(name):
    assert ("offset" in options(VARIANTS[name])) == getattr(VARIANTS[name], "OFFSET", False)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("mask", [None, masks.causal(offset=1)])
def test_no_queries(name, mask):
    op = VARIANTS[name]
    case = next(case for case in cases(np.random.default_rng(0), op) if case.name in ("batch", "cross"))
    case = case._replace(inputs=(case.inputs[0][:, :0], *case.inputs[1:]), options=case.options | {"mask": mask})
    context, cache = run(op, params_of(op, case), case)
    dinputs, dparams = op.backward(np.ones_like(context), cache)
    assert context.shape[:2] == (B, 0) and dinputs[0].shape == case.inputs[0].shape
    assert not any(d.any() for _, d in tree.leaves((dinputs[1:3], dparams)))


@TILED
def test_one_key(op):
    query, key, value = inputs((B, 1, D), (B, 1, D), (B, 1, E))
    context, cache = op.forward({}, query, key, value, tile=1)
    (dquery, dkey, dvalue, *_), _ = op.backward(np.ones_like(context), cache)
    assert np.allclose(context, value) and np.allclose(dvalue, 1)
    assert np.allclose(dquery, 0, atol=1e-15) and np.allclose(dkey, 0, atol=1e-15)


@TILED
@pytest.mark.parametrize("tile", [0, 1.5])
def test_a_tile_is_a_whole_number(op, tile):
    with pytest.raises(ValueError, match="tile must be a whole number of at least 1"):
        op.forward({}, *inputs(), tile=tile)


@pytest.mark.parametrize("S", [1, 5])
@pytest.mark.parametrize("offset", [-40, 40])
def test_a_window_beyond_all_keys_sees_nothing(S, offset):
    arrays = inputs(key=(B, S, D), value=(B, S, E))
    context, cache = window.forward({}, *arrays, left=1, right=1, offset=offset, tile=3)
    assert context.shape == (B, T, E) and not context.any() and not cache.weights.any()


@pytest.mark.parametrize("offset", [-3, -1, 0, 2])
def test_a_window_is_its_mask(offset):
    """Also where the first queries stand before all keys."""
    arrays = inputs()
    context, _ = window.forward({}, *arrays, left=1, right=1, offset=offset, tile=2)
    close(context, dot.forward({}, *arrays, mask=masks.window(1, 1, offset))[0], 1e-13)


def test_a_window_learns_what_is_inside():
    params = {"scale": np.array(3.0)}
    settings = {"left": 1, "right": 1, "tile": 3}
    arrays, near = inputs(), bind(window, inner=cosine)
    context, cache = near.forward(params, *arrays, **settings)
    whole, plain = cosine.forward(params, *arrays, mask=masks.window(1, 1))
    close(context, whole, 1e-13)
    dcontext = RNG.normal(size=context.shape)
    close(near.backward(dcontext, cache)[1], cosine.backward(dcontext, plain)[1], 1e-13)
    assert adjoint(near, params, arrays, settings) <= 1e-12


def test_a_query_of_linear_attention_that_sees_nothing_does_not_matter():
    """The only key up to its place is hidden: by the mask of keys and by the causal rule together."""
    query, key, value = inputs((1, 3, D), (1, 3, D), (1, 3, E))
    query[0, 0] = key[0, 0] = value[0, 0] = np.nan
    context, cache = linear.forward({}, query, key, value, mask=masks.causal() & np.array([[False, True, True]]))
    gradients, _ = linear.backward(np.ones_like(context), cache)
    assert not context[0, 0].any() and all(np.isfinite(x).all() for x in (context, *gradients))
    context, cache = linear.forward({}, query[:, :0], key, value)  # nobody asks at all
    assert not any(d.any() for d in linear.backward(context, cache)[0])


def test_local_attention_looks_ten_steps_to_either_side():
    params = local.init(RNG, N=D, D=D, A=3)
    params["W_position"][:] = 0  # the centre is in the middle
    arrays = inputs((1, D), (30, D), (30, E))
    _, cache = local.forward(params, *arrays)
    assert np.flatnonzero(cache.weights).tolist() == list(range(5, 26))
    assert cache.attended.bell[0, [5, 15, 25]] == pytest.approx([math.exp(-2), 1, math.exp(-2)], rel=1e-12)
    single = [{k: p.astype(np.float32) for k, p in params.items()}, *(x.astype(np.float32) for x in arrays)]
    assert local.forward(*single, reach=np.float64(3))[0].dtype == np.float32
    with pytest.raises(ValueError, match="reach must be positive but is 0"):
        local.forward(params, *arrays, reach=0)


@pytest.mark.parametrize(
    "R, causal, farthest", [(32, False, 128), (32, True, 128), (4, False, 2), (3, True, 4), (6, True, 9)]
)
def test_buckets_are_those_of_the_plain_loop(R, causal, farthest):
    ahead = np.arange(-300, 301)
    expected = [_plain_bucket(int(a), R, causal, farthest) for a in ahead]
    assert bucket(ahead, R, causal, farthest).tolist() == expected


def test_distances_up_to_128_are_told_apart():
    """The farthest distance of T5, by default."""
    ahead = np.arange(-300, 301)
    assert (bucket(ahead, 128) == bucket(ahead, 128, False, 128)).all()
    assert (bucket(ahead, 128) != bucket(ahead, 128, False, 129)).any()
    params, arrays = {"table": RNG.normal(size=(128, 1))}, inputs((1, D), (300, D), (300, E))
    given = relative.forward(params, *arrays, farthest=128)[0]
    assert (relative.forward(params, *arrays)[0] == given).all()
    assert (relative.forward(params, *arrays, farthest=129)[0] != given).any()


@pytest.mark.parametrize("R, farthest, fits", [(2, 128, False), (4, 2, True), (32, 8, False), (32, 9, True)])
def test_buckets_that_do_not_reach(R, farthest, fits):
    if fits:
        assert bucket(np.arange(-20, 21), R, farthest=farthest).max() == R - 1
    else:
        with pytest.raises(ValueError, match=f"R={R} buckets do not reach farthest={farthest}"):
            bucket(np.arange(-20, 21), R, farthest=farthest)


def test_attend_begins_at_the_first_place():
    params, (query, key, value) = multihead.init(RNG, M=8, H=2), inputs((B, T, 8), (B, S, 8), (B, S, 8))
    memory, _ = multihead.prepare(params, key, value, rotary="half")
    whole, _ = multihead.forward(params, query, key, value, rotary="half")
    assert (multihead.attend(params, query, memory, rotary="half")[0] == whole).all()


@pytest.mark.parametrize(
    "call, error, says",
    [
        (
            lambda: concat.forward({"W": np.ones((D, 3)), "v": np.ones(3)}, *inputs()),
            ValueError,
            r"W \(6, 3\) must have N \+ D = 6 \+ 6 rows",
        ),
        (
            lambda: relative.forward({"table": np.ones((8, 3))}, *inputs((2, T, D), (2, S, D), (2, S, E))),
            ValueError,
            r"the bias of table \(R, H\) has shape \(3, 4, 5\), which does not broadcast",
        ),
        (
            lambda: multihead.forward(multihead.init(RNG, M=8, H=2), *inputs((B, T, 8), (B, S, 8), (B, 7, 8))),
            ValueError,
            "value has S=7 source time steps but key has S=5",
        ),
        (
            lambda: multihead.forward(
                multihead.init(RNG, M=8, H=2), *inputs((B, T, 8), (B, S, 8), (B, S, 8)), [[0.0] * S] * T
            ),
            TypeError,
            "bias must be an array of floating numbers but is a list",
        ),
    ],
    ids=["concat", "relative", "multihead", "multihead bias"],
)
def test_errors(call, error, says):
    with pytest.raises(error, match=says):
        call()


@pytest.mark.parametrize("T", [1, 2, 3])
def test_additive_queries_together_are_those_asked_one_by_one(T):
    """One query at a time goes its own way in backward; a score of two features is as wide as two queries are many."""
    rng = np.random.default_rng(0)
    params = additive.init(rng, N=4, D=5, A=2)
    query, key, value = rng.normal(size=(2, T, 4)), rng.normal(size=(2, 6, 5)), rng.normal(size=(2, 6, 7))
    dcontext = rng.normal(size=(2, T, 7))
    context, cache = additive.forward(params, query, key, value)
    (dquery, *drest, _), dparams = additive.backward(dcontext, cache)
    total = None
    for t in range(T):
        one = slice(t, t + 1)
        alone, cache = additive.forward(params, query[:, one], key, value)
        (dalone, *dothers, _), dmore = additive.backward(dcontext[:, one], cache)
        assert np.allclose(alone, context[:, one], atol=1e-14) and np.allclose(dalone, dquery[:, one], atol=1e-14)
        total = tree.add(total, [dothers, dmore])
    for (path, x), (_, y) in zip(tree.leaves(total), tree.leaves([drest, dparams]), strict=True):
        assert np.allclose(x, y, atol=1e-13), path
