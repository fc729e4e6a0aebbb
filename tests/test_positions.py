"""Positions, and what mechanisms do with places and masks beyond the laws that all of them obey."""

import functools

import numpy as np
import pytest

from minattn.attention import additive, blockwise, cosine, dot, linear, local, multihead, relative, sparse, window
from minattn.attention.relative import bucket
from minattn.functions import softmax, sparsemax
from minattn.gradcheck import check
from minattn.masks import causal, padding
from minattn.masks import window as band
from minattn.op import bind, halves
from minattn.positions import alibi, alibi_slopes, learned, learned_backward, rotary, rotary_backward, sinusoidal

STYLES = pytest.mark.parametrize("style", ["interleaved", "half"])
RNG = np.random.default_rng(0)
B, H, T, S, D, E = 2, 3, 4, 5, 6, 7


def draw(query=(B,), key=(B,), value=(B,), T=T, S=S):
    return RNG.normal(size=(*query, T, D)), RNG.normal(size=(*key, S, D)), RNG.normal(size=(*value, S, E))


# Rotary.


@STYLES
def test_rotary_scores_know_the_distance_alone(style):
    query, key = RNG.normal(size=(2, 8))
    places = rotary(np.broadcast_to(query, (30, 8)), 0, style) @ rotary(np.broadcast_to(key, (30, 8)), 0, style).mT
    for distance in range(-29, 30):
        assert np.ptp(np.diagonal(places, distance)) < 1e-13
    assert np.ptp(places) > 0.1 and places[0, 0] == pytest.approx(query @ key)


@STYLES
def test_rotary_offset_goes_on_counting(style):
    x = RNG.normal(size=(B, H, 9, D))
    whole = rotary(x, 2, style)
    assert np.array_equal(rotary(x[..., 4:, :], 6, style), whole[..., 4:, :])
    assert np.array_equal(rotary(x, 0, style)[..., 0, :], x[..., 0, :])
    assert np.allclose((whole**2).sum(axis=-1), (x**2).sum(axis=-1))
    assert np.allclose(rotary_backward(whole, x, 2, style), x)  # turned there and back


def test_rotary_styles_are_one_up_to_the_order_of_features():
    x = RNG.normal(size=(T, D))
    order = [0, 2, 4, 1, 3, 5]
    assert np.array_equal(rotary(x, 3)[:, order], rotary(x[:, order], 3, "half"))


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: rotary(np.ones((3, 5))), r"D must be even, but x \(3, 5\) has D=5"),
        (lambda: rotary(np.ones((3, 4)), style="pairs"), "style must be .* but is 'pairs'"),
        (lambda: learned(np.ones((7, 4)), 3, 5), r"places 5 .. 7 do not stand in the table \(7, 4\) of 7 rows"),
        (lambda: learned(np.ones((7, 4)), 3, -1), "places -1 .. 1 do not stand"),
    ],
)
def test_errors(call, says):
    with pytest.raises(ValueError, match=says):
        call()


# Added to the embeddings.


@pytest.mark.parametrize("M", [6, 7])
def test_sinusoidal_offset_goes_on_counting(M):
    whole = sinusoidal(20, M)
    assert whole.shape == (20, M) and np.array_equal(sinusoidal(5, M, offset=9), whole[9:14])
    assert whole[0].tolist() == [0.0, 1.0] * (M // 2) + [0.0] * (M % 2)
    assert whole[3, :2] == pytest.approx([np.sin(3), np.cos(3)])


def test_learned_offset_reads_further_down():
    table = RNG.normal(size=(9, 4))
    assert np.array_equal(learned(table, 3, 6), table[6:])
    dtable = learned_backward(np.ones((3, 4)), table, 3, 6)
    assert dtable.shape == table.shape and dtable[6:].all() and not dtable[:6].any()


def test_float32_stays_float32():
    x, dout = RNG.normal(size=(2, T, D)).astype(np.float32)
    for style in ("interleaved", "half"):
        assert rotary(x, 5, style).dtype == rotary_backward(dout, x, 5, style).dtype == np.float32
    assert learned(x, 2).dtype == learned_backward(dout[:2], x, 2).dtype == np.float32


@pytest.mark.parametrize("make", [sinusoidal, functools.partial(alibi, H)], ids=["sinusoidal", "alibi"])
def test_what_has_no_input_is_made_in_the_dtype_asked_for(make):
    """Computed in float64 and rounded once: places far out keep their digits."""
    whole = make(T, D, offset=10**6)
    assert whole.dtype == np.float64
    single = make(T, D, offset=10**6, dtype=np.float32)
    assert single.dtype == np.float32 and np.array_equal(single, whole.astype(np.float32))


# Added to the scores.


def test_alibi_is_minus_slope_times_distance():
    slopes, bias = alibi_slopes(H), alibi(H, T, S, offset=2)
    assert bias.shape == (H, T, S)
    for h, t, s in np.ndindex(H, T, S):
        assert bias[h, t, s] == -slopes[h] * abs(s - (t + 2))
    assert np.array_equal(alibi(H, 1, S, offset=3), alibi(H, T, S)[:, 3:])
    assert slopes.tolist() == [2**-4, 2**-8, 2**-2]


def test_alibi_as_bias_prefers_what_is_near():
    query, key, value = draw((H,), (H,), (H,))
    _, cache = dot.forward({}, 0 * query, key, value, alibi(H, T, S))
    for t in range(T):
        assert (cache.weights[:, t].argmax(axis=-1) == t).all()


def test_buckets():
    assert bucket(np.arange(-9, 10), 8, farthest=8).tolist() == [3] * 6 + [2, 2, 1, 0, 5, 6, 6] + [7] * 6
    assert bucket(np.arange(-3, 3), 4, causal=True, farthest=4).tolist() == [3, 2, 1, 0, 0, 0]


# The place of a query, told by offset: a few queries get what they get among all of them.


@pytest.mark.parametrize(
    "op, sizes",
    [
        (relative, {"H": 1, "R": 8}),
        (bind(relative, causal=True, farthest=6), {"H": 1, "R": 8}),
        (bind(window, left=1, right=1), {}),
        (bind(window, left=None, right=0, tile=2), {}),
        (bind(window, left=2, right=None), {}),
    ],
)
def test_offset_is_the_place_of_the_first_query(op, sizes):
    query, key, value = draw(T=S)
    params = op.init(np.random.default_rng(1), **sizes)
    whole, _ = op.forward(params, query, key, value)
    for start in range(S):
        rest, cache = op.forward(params, query[:, start:], key, value, offset=start)
        assert np.allclose(rest, whole[:, start:], rtol=0, atol=1e-14)
        assert cache.weights.shape == (B, S - start, S)
    assert start == 0 or not np.allclose(op.forward(params, query[:, 1:], key, value)[0], whole[:, 1:])


def test_multihead_offset_turns_the_queries():
    params = multihead.init(np.random.default_rng(1), M=8, H=4, G=2)
    x = RNG.normal(size=(B, S, 8))
    whole, _ = multihead.forward(params, x, x, x, mask=causal(), rotary="half")
    memory, _ = multihead.prepare(params, x[:, :3], x[:, :3], rotary="half")
    later, _ = multihead.prepare(params, x[:, 3:], x[:, 3:], rotary="half", offset=3)  # a memory that grows
    memory = memory._replace(
        **{n: np.concatenate([getattr(m, n) for m in (memory, later)], -2) for n in memory._fields}
    )
    for t in range(S):
        context, _ = multihead.attend(params, x[:, t : t + 1], memory, mask=causal(t), rotary="half", offset=t)
        assert np.allclose(context, whole[:, t : t + 1], rtol=0, atol=1e-14)


def test_local_counts_what_may_be_seen():
    """The centre is a share of the real keys, so padding changes nothing, and far keys weigh exactly 0."""
    query, key, value = draw()
    params = local.init(np.random.default_rng(1), N=D, D=D, A=3)
    padded, _ = local.forward(params, query, key, value, mask=padding([3, 3]), reach=2.0)
    assert np.allclose(padded, local.forward(params, query, key[:, :3], value[:, :3], reach=2.0)[0], rtol=0, atol=1e-15)
    _, cache = local.forward(params | {"v_position": 0 * params["v_position"]}, query, key, value, reach=1.0)
    assert (cache.weights[..., [0, 1, 4]] == 0).all() and (cache.weights[..., 2:4] > 0).all()  # centre 2.5
    assert np.allclose(cache.weights.sum(axis=-1), np.exp(-0.5))


# Weights that are made when they are asked for.


@pytest.mark.parametrize("tile", [1, 2, 3, 256])
@pytest.mark.parametrize("mask", [None, causal(offset=1), padding([0, 3])], ids=["none", "causal", "padding"])
def test_weights_equal_those_of_dot(tile, mask):
    inputs = *draw((B, H), (B, 1), (B, H)), RNG.normal(size=(H, T, S))
    _, plain = dot.forward({}, *inputs, mask=mask)
    for op in (blockwise, window):
        _, cache = op.forward({}, *inputs, mask=mask, tile=tile)
        assert cache.weights.shape == plain.weights.shape
        assert np.allclose(cache.weights, plain.weights, rtol=0, atol=1e-15)
    mask = band(1, 0, 2) if mask is None else mask & band(1, 0, 2)
    _, plain = dot.forward({}, *inputs, mask=mask)
    _, cache = window.forward({}, *inputs, mask=mask, left=1, right=0, offset=2, tile=tile)
    assert np.allclose(cache.weights, plain.weights, rtol=0, atol=1e-15)
    assert np.array_equal(cache.weights == 0, plain.weights == 0)


@pytest.mark.parametrize("tile", [1, 3, 64])
def test_linear_weights_make_its_context(tile):
    query, key, value = draw(S=T)
    for mask in (None, causal(), padding([0, 3])):
        context, cache = linear.forward({}, query, key, value, mask=mask, tile=tile)
        assert np.allclose(cache.weights @ value, context, rtol=0, atol=1e-14)
        assert cache.weights.shape == (B, T, T)


def test_window_of_another_mechanism():
    query, key, value = draw()
    params = additive.init(np.random.default_rng(1), N=D, D=D, A=3)
    plain, _ = additive.forward(params, query, key, value, mask=band(1, 1))
    found, _ = window.forward(params, query, key, value, left=1, right=1, tile=2, inner=additive)
    assert np.allclose(found, plain, rtol=0, atol=1e-15)


def test_window_of_a_mechanism_without_scores():
    """One query a tile is a mask of its own for keys alone, which linear attention can take."""
    query, key, value = draw()
    near = bind(window, left=1, right=1, tile=1, inner=linear)
    check(near, {}, (query, key, value)).assert_ok()
    found, _ = near.forward({}, query, key, value)
    assert np.allclose(found, linear.naive({}, query, key, value, mask=band(1, 1)), rtol=0, atol=1e-14)


def test_multihead_weights_are_one_map_a_head():
    params = multihead.init(np.random.default_rng(1), M=8, H=4, G=2, bias=False)
    query, key = RNG.normal(size=(B, T, 8)), RNG.normal(size=(B, S, 8))
    for inner in (dot, blockwise):
        _, cache = multihead.forward(params, query, key, key, inner=inner)
        assert cache.weights.shape == (B, 4, T, S)
        for h in range(4):
            scores = query @ params["W_query"][:, h] @ (key @ params["W_key"][:, h // 2]).mT / np.sqrt(2)
            assert np.allclose(cache.weights[:, h], softmax(scores), rtol=0, atol=1e-15)


# What is refused.

X = np.ones((B, S, 8))
HEADS = multihead.init(np.random.default_rng(1), M=8, H=4, G=2)
ONE_SUM = "keeps one sum of all keys, so its mask can be causal.*but {} gives each query its own keys"


TABLE = {"table": np.ones((8, 1))}


def with_inner(inner, bias=None, **options):
    params = multihead.init(np.random.default_rng(1), M=8, H=4, G=2, A=3, inner=inner)
    return multihead.forward(params, X, X, X, bias, inner=inner, **options)


def asked():
    """A query and its memory."""
    query, *memory = draw()
    return query, memory


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: linear.forward({}, *draw(), mask=band(1, 1)), ONE_SUM.format("Window")),
        (lambda: linear.forward({}, *draw(), mask=causal(1) & band(1, 1)), ONE_SUM.format("Window")),
        (lambda: linear.forward({}, *draw(), mask=np.ones((T, S), dtype=bool)), ONE_SUM.format("a boolean array")),
        (lambda: linear.forward({}, *draw(), mask=causal()), r"write causal\(offset=1\)"),
        (lambda: window.forward({}, *draw(), left=-1), "left must be at least 0"),
        (lambda: multihead.init(RNG, M=8, H=4, G=3), "the H=4 heads cannot share G=3 key/value heads evenly"),
        (
            lambda: multihead.forward(multihead.init(RNG, M=8, H=3, G=1) | multihead_keys(2), X, X, X),
            "the H=3 heads cannot share G=2 key/value heads evenly",
        ),
        (
            lambda: multihead.forward(HEADS, X, X, X, mask=np.ones((B, S, S), dtype=bool)),
            r"mask has shape \(2, 5, 5\), which is read as \(..., H, T, S\) with H=4 heads or 1, not 2: one for each "
            r"sequence, alike for all heads, is \(B, 1, T, S\), so write mask\[..., None, :, :\]",
        ),
        (
            lambda: multihead.forward(HEADS, X, X, X, np.ones((B, S, S))),
            r"bias has shape \(2, 5, 5\), which is read as .*so write bias\[..., None, :, :\]",
        ),
        (lambda: with_inner(additive, dropout=0.2, rng=RNG), "dropout=0.2 was asked for but additive has no dropout"),
        (lambda: with_inner(cosine, dropout=0.2, rng=RNG), "cosine has no dropout on its weights"),
        (lambda: with_inner(sparse, dropout=0.2), "sparse has no dropout on its weights"),
        (lambda: multihead.forward(HEADS, X, X, X, np.ones((4, S, 3))), r"bias has shape \(4, 5, 3\), which does not"),
        (
            lambda: with_inner(linear, bias=np.ones((4, S, S))),
            "a bias was given but linear takes none: it has no scores",
        ),
        (lambda: window.forward({}, *draw(), np.ones((T, S)), inner=linear), "a bias was given but linear takes none"),
        (lambda: relative.forward(TABLE, *draw(), inner=linear), "a bias was given but linear takes none"),
        (lambda: halves(linear).attend({}, *asked(), np.ones((T, S))), "a bias was given but linear takes none"),
    ],
)
def test_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


@pytest.mark.parametrize("name", ["mask", "bias"])
def test_arrays_without_an_axis_for_the_heads(name):
    """(B, T, S) is refused at both doors, in attend too where B = G would be taken for groups; B = H is H heads."""
    array = RNG.random((B, S, S)) < 0.6
    array = array if name == "mask" else array.astype(float)
    memory, _ = multihead.prepare(HEADS, X, X)
    with pytest.raises(ValueError, match=rf"which is read as .*so write {name}\[..., None, :, :\]"):
        multihead.attend(HEADS, X, memory, **{name: array})
    x = RNG.normal(size=(4, S, 8))
    array = np.repeat(array, 2, axis=0)
    found, right = (multihead.forward(HEADS, x, x, x, **{name: a})[0] for a in (array, np.stack([array] * 4)))
    assert np.array_equal(found, right)
    each, _ = multihead.forward(HEADS, x, x, x, **{name: array[..., None, :, :]})
    alone = [multihead.forward(HEADS, *[x[b]] * 3, **{name: array[b]})[0] for b in range(4)]
    assert np.allclose(each, np.stack(alone), rtol=0, atol=1e-13) and not np.allclose(each, found)


def multihead_keys(G):
    """Keys and values of G heads for a width of 8 and heads of 2."""
    return {
        "W_key": np.ones((8, G, 2)),
        "W_value": np.ones((8, G, 2)),
        "b_key": np.ones((G, 2)),
        "b_value": np.ones((G, 2)),
    }


# Masks on arrays that are shared, keys that nobody may see, places told to what stands inside.


def of_each(*shape):
    """A mask (..., 1, S) with keys to see in every row, but others in each."""
    mask = np.random.default_rng(6).random(shape) < 0.5
    mask[..., 0] = True
    return mask


@pytest.mark.parametrize(
    "leading, mask",
    [
        (((B, H), (B, 1), (B, 1)), of_each(B, H, 1, S)),  # keys shared by heads that see different ones
        (((B,), (1,), (1,)), padding([2, 5])),  # one memory, two lengths
        (((1,), (B,), (B,)), padding([S, S], [2, 4])),  # one question, dead rows of its own for each memory
    ],
    ids=["heads", "lengths", "queries"],
)
def test_linear_sees_through_shared_arrays(leading, mask):
    inputs = draw(*leading)
    found, _ = linear.forward({}, *inputs, mask=mask)
    assert np.allclose(found, linear.naive({}, *inputs, mask=mask), rtol=0, atol=1e-13)


def test_linear_inside_grouped_heads_with_a_mask_of_each():
    given = {"mask": of_each(B, 4, 1, S), "inner": linear}
    x = RNG.normal(size=X.shape)
    found, _ = multihead.forward(HEADS, x, x, x, **given)
    assert np.allclose(found, multihead.naive(HEADS, x, x, x, **given), rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    "mask, hidden",
    [
        (padding([S, S], [0, S]), (0, slice(None))),  # no query of the first sequence is real
        (causal() & padding([S, S], [S - 1, S]), (0, S - 1)),  # only the last query, which is padding, could see it
    ],
    ids=["no query", "last query"],
)
def test_linear_never_reads_what_padded_queries_could_see(mask, hidden):
    query, key, value = draw(T=S)
    key[hidden] = np.nan
    assert np.isfinite(dot.forward({}, query, key, value, mask=mask)[0]).all()
    assert np.isfinite(linear.forward({}, query, key, value, mask=mask)[0]).all()


def test_linear_refuses_a_mask_larger_than_its_scores():
    with pytest.raises(ValueError, match="does not broadcast"):
        linear.forward({}, *draw((), (), ()), mask=of_each(B, 1, S))


def test_linear_weights_where_the_value_serves_several():
    assert linear.forward({}, *draw((H,), (H,), (B, H)))[1].weights.shape == (H, T, S)


@pytest.mark.parametrize("inner", [bind(window, left=1, right=0), relative], ids=["window", "relative"])
def test_multihead_tells_its_inner_mechanism_the_place(inner):
    params = multihead.init(np.random.default_rng(1), M=8, H=4, G=2, inner=inner)
    x = RNG.normal(size=X.shape)
    whole, _ = multihead.forward(params, x, x, x, inner=inner)
    memory, _ = multihead.prepare(params, x, x, inner=inner)
    last, _ = multihead.attend(params, x[:, -1:], memory, offset=S - 1, inner=inner)
    assert np.allclose(last, whole[:, -1:], rtol=0, atol=1e-13)


def test_sparsemax_does_not_know_an_offset():
    scores = np.random.default_rng(0).integers(-64, 64, size=(50, 20)).astype(np.float32) / 32  # 2^17 more is exact
    assert np.allclose(sparsemax(scores + np.float32(2**17)), sparsemax(scores), rtol=0, atol=1e-6)


@pytest.mark.parametrize("R, farthest, distance, expected", [(18, 128, 8, 5), (38, 16, 12, 14)])
def test_a_bucket_begins_where_its_formula_says(R, farthest, distance, expected):
    """R = 18: buckets 4 + i begin at 4 * 2^i; the logarithm comes out a last digit too low."""
    assert bucket(np.array([-distance]), R, farthest=farthest) == expected
