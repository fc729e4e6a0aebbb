"""Attention against scaled_dot_product_attention, or against the paper's formula under autograd."""

import numpy as np
import pytest
from laws import fresh
from torch_twins import ATTENTION, F, agree, functional_call, nn, same, torch, turned

from minattn import masks, tree
from minattn.attention import VARIANTS, cases, dot, linear, multihead
from minattn.functions import dropout
from minattn.gradcheck.check import case_params
from minattn.masks import causal, padding
from minattn.op import initialise, label

B, H, T, S = 2, 3, 4, 5
SIZES = {"D": 6, "E": 7, "N": 8, "A": 9, "H": 1, "R": 8}  # H: the tables of `relative`, which serve all heads alike

PLACES = np.arange(S)
EARLIER = PLACES <= PLACES[:, None]  # (S, S)
SOME = np.random.default_rng(3).random((B, T, S)) < 0.6
SOME[:, 0], SOME[0, 1], SOME[0, 1, 2], SOME[1, 2:] = True, False, True, False  # open, single and dead rows
LENGTHS, QUERY_LENGTHS = np.array([S - 2, S]), np.array([T, T - 1])
REAL = (PLACES < LENGTHS[:, None])[:, None]  # (B, 1, S)
ASKED = (np.arange(T) < QUERY_LENGTHS[:, None])[..., None]  # (B, T, 1)

# name: our mask, the same booleans written out, leading axes of query, key and value, shape of bias, T
BATCH, HEADS = ((B,), (B,), (B,)), ((B, H), (B, H), (B, H))
SITUATIONS = {
    "no mask": (None, None, BATCH, None, T),
    "no batch": (None, None, ((), (), ()), None, T),
    "heads": (None, None, HEADS, None, T),
    "booleans": (SOME, SOME, BATCH, None, T),
    "booleans for every head": (SOME[:, None], SOME[:, None], HEADS, None, T),
    "nothing to see": (np.zeros((T, S), dtype=bool), np.zeros((T, S), dtype=bool), BATCH, None, T),
    "causal": (causal(), EARLIER, BATCH, None, S),
    "causal, last queries": (causal(offset=S - T), EARLIER[S - T :], BATCH, None, T),
    "causal, first queries": (causal(offset=0), EARLIER[:T], BATCH, None, T),
    "causal, dead rows": (causal(offset=-2), np.arange(S) <= np.arange(T)[:, None] - 2, BATCH, None, T),
    "padding": (padding(LENGTHS), REAL, BATCH, None, T),
    "padding of heads": (padding(LENGTHS), REAL[:, None], HEADS, None, T),
    "padding of both": (padding(LENGTHS, QUERY_LENGTHS), REAL & ASKED, BATCH, None, T),
    "causal and padding": (causal() & padding(LENGTHS), EARLIER & REAL, BATCH, None, S),
    "rule and booleans": (SOME & padding(LENGTHS), SOME & REAL, BATCH, None, T),
    "bias": (None, None, BATCH, (B, T, S), T),
    "bias of each head": (None, None, HEADS, (H, T, S), T),
    "bias of each key": (None, None, HEADS, (H, 1, S), T),
    "bias and mask": (SOME, SOME, BATCH, (B, T, S), T),
    "bias of each query and causal": (causal(1), EARLIER[1:], HEADS, (T, 1), T),
    "shared key and value": (None, None, ((B, H), (B, 1), (B, 1)), None, T),
    "grouped queries, bias and padding": (
        padding(LENGTHS),
        REAL[:, None, None],
        ((B, 2, H), (B, 2, 1), (B, 2, 1)),
        (2, H, 1, S),
        T,
    ),
    "shared value": (SOME[:, None], SOME[:, None], ((B, H), (B, H), (1, H)), None, T),
    "shared query": (SOME[:, None], SOME[:, None], ((H,), (B, H), (B, 1)), (H, 1, 1), T),
    "value for several": (None, None, ((H,), (H,), (B, H)), (T, S), T),
}


# linear takes no bias and no mask that gives each query its own keys, and in multihead mask and bias have an axis for
# the heads: both are tried on their own cases and further down.
GENERIC = [name for name in VARIANTS if name not in ("linear", "multihead")]


def draw(rng, mechanism, leading, bias=None, steps=T):
    sizes = SIZES | {"T": steps, "S": S}
    inputs = [
        rng.normal(size=(*axes, *(sizes[letter] for letter in mechanism.SHAPES[name].split()[1:])))
        for name, axes in zip(("query", "key", "value"), leading, strict=True)
    ]
    return inputs if bias is None else [*inputs, rng.normal(size=bias)]


def parameters(rng, mechanism, **settings):
    """init, with noise, so that no bias is zero."""
    params = initialise(mechanism, rng, SIZES | settings)
    return tree.map(lambda p: p + 0.1 * rng.normal(size=p.shape), params)


@pytest.mark.parametrize("situation", SITUATIONS.values(), ids=SITUATIONS)
@pytest.mark.parametrize("name", GENERIC)
def test_attention(rng, name, situation):
    mask, booleans, leading, bias, steps = situation
    inputs, mechanism = draw(rng, VARIANTS[name], leading, bias, steps), VARIANTS[name]
    their_mask = None if booleans is None else torch.from_numpy(booleans)

    def twin(params, *inputs):
        return ATTENTION[name](params, *inputs, mask=their_mask)

    agree(mechanism, twin, parameters(rng, mechanism), inputs, options={"mask": mask}, rng=rng)


CASES = [
    pytest.param(name, case, dtype, id=f"{name}-{case.name}-{dtype.__name__}")
    for name, mechanism in VARIANTS.items()
    for case in cases.cases(np.random.default_rng(0), mechanism)
    for dtype in (np.float64, np.float32)
    if case.name != "rows offset by 2000" or dtype == np.float64  # in float32 a score of 2000 has steps of 1e-4
]


def in_torch(mechanism, params, case):
    """Our options as the twin's: masks as booleans, no word of tiles, dropout as what it kept, inner by name."""
    theirs = {name: option for name, option in fresh(case).items() if name not in ("tile", "keep")}
    query, key, value = case.inputs[:3]
    heads = params["W_query"].shape[1:2] if mechanism is multihead else ()
    shape = (*np.broadcast_shapes(query.shape[:-2], key.shape[:-2]), *heads, query.shape[-2], key.shape[-2])
    if theirs.get("mask") is not None:
        theirs["mask"] = torch.from_numpy(np.array(masks.array(theirs["mask"], shape, like=query)))
    if "inner" in theirs:
        inner = theirs["inner"]
        theirs["inner"] = label(inner)
        settings = getattr(inner.forward, "keywords", {})
        theirs["inside"] = {name: setting for name, setting in settings.items() if name not in ("tile", "keep")}
        if getattr(inner, "OFFSET", False):
            theirs["inside"]["offset"] = theirs.get("offset", 0)
    if "dropout" in theirs:
        theirs["kept"] = torch.from_numpy(dropout(np.ones(shape), theirs.pop("dropout"), theirs.pop("rng"))[1])
    return theirs


@pytest.mark.parametrize("name, case, dtype", CASES)
def test_case(rng, name, case, dtype):
    """The inputs on which the library tries it; what nobody may see is NaN or infinite for us and 0 in PyTorch."""
    mechanism, params = VARIANTS[name], case_params(VARIANTS[name], case, rng)
    theirs = in_torch(mechanism, params, case)

    def twin(params, query, key, value, *bias):
        finite = (torch.where(x.isfinite(), x, 0) for x in (query, key, value))
        given = {n: o.to(value.dtype) if n == "kept" else o for n, o in theirs.items()}
        return ATTENTION[name](params, *finite, *bias, **given)

    agree(mechanism, twin, params, case.inputs, options=fresh(case), rng=rng, dtype=dtype)


def test_causal_flag(rng):
    """PyTorch's own idea of causal."""
    inputs = draw(rng, dot, HEADS, steps=S)
    agree(
        dot,
        lambda _, *inputs: F.scaled_dot_product_attention(*inputs, is_causal=True),
        {},
        inputs,
        options={"mask": causal()},
        rng=rng,
    )


def test_cosine_is_pytorchs(rng):
    """The twin has our 1e-12 inside the root, cosine_similarity a floor of its own: far from 0 they are one."""
    query, key, value = draw(rng, VARIANTS["cosine"], BATCH)
    params = {"scale": np.array(3.0)}

    def twin(params, query, key, value):
        similarity = F.cosine_similarity(query[..., :, None, :], key[..., None, :, :], dim=-1)
        return torch.softmax(params["scale"] * similarity, dim=-1) @ value

    agree(VARIANTS["cosine"], twin, params, (query, key, value), rng=rng)


def test_additive_without_bias(rng):
    additive = VARIANTS["additive"]
    params = parameters(rng, additive, bias=False)
    assert "b" not in params
    agree(additive, ATTENTION["additive"], params, draw(rng, additive, HEADS), rng=rng)


@pytest.mark.parametrize("name", GENERIC)
def test_large_scores(rng, name):
    """Nearly one-hot weights."""
    mechanism = VARIANTS[name]
    inputs = [5 * x for x in draw(rng, mechanism, HEADS)]
    agree(mechanism, ATTENTION[name], parameters(rng, mechanism), inputs, rng=rng)


@pytest.mark.parametrize("name", GENERIC)
def test_nan_in_the_padding(rng, name):
    """What nobody may see is NaN for us and 0 in PyTorch."""
    mechanism = VARIANTS[name]
    query, key, value = draw(rng, mechanism, BATCH)
    key[~REAL[:, 0]], value[~REAL[:, 0]], query[~ASKED[..., 0]] = np.nan, np.inf, np.nan
    mask = torch.from_numpy(REAL & ASKED)

    def twin(params, *inputs):
        return ATTENTION[name](params, *(torch.where(x.isfinite(), x, 0) for x in inputs), mask=mask)

    options = {"mask": padding(LENGTHS, QUERY_LENGTHS)}
    agree(mechanism, twin, parameters(rng, mechanism), (query, key, value), options=options, rng=rng)


@pytest.mark.parametrize("name", GENERIC)
def test_float32(rng, name):
    mechanism = VARIANTS[name]
    mask = torch.from_numpy(SOME[:, None])

    def twin(params, *inputs):
        return ATTENTION[name](params, *inputs, mask=mask)

    inputs = draw(rng, mechanism, HEADS, (H, T, S))
    options = {"mask": SOME[:, None]}
    agree(mechanism, twin, parameters(rng, mechanism), inputs, options=options, rng=rng, dtype=np.float32)


# linear: everything that its masks can say.

SEPARABLE = {
    "none": (None, None, T),
    "keys": (SOME[:, :1], SOME[:, :1], T),
    "queries": (SOME[..., :1], SOME[..., :1], T),
    "keys and queries": (padding(LENGTHS) & SOME[..., :1], REAL & SOME[..., :1], T),
    "causal": (causal(), EARLIER, S),
    "causal, last queries": (causal(offset=S - T), EARLIER[S - T :], T),
    "causal, dead rows": (causal(offset=-2), np.arange(S) <= np.arange(T)[:, None] - 2, T),
    "causal and padding of both": (causal(1) & padding(LENGTHS, QUERY_LENGTHS), EARLIER[1:] & REAL & ASKED, T),
}


@pytest.mark.parametrize("tile", [1, 3, 64])
@pytest.mark.parametrize("situation", SEPARABLE.values(), ids=SEPARABLE)
def test_linear(rng, situation, tile):
    mask, booleans, steps = situation
    booleans = None if booleans is None else torch.from_numpy(booleans)

    def twin(params, *inputs):
        return ATTENTION["linear"](params, *inputs, mask=booleans)

    agree(linear, twin, {}, draw(rng, linear, BATCH, steps=steps), options={"mask": mask, "tile": tile}, rng=rng)


# multihead against nn.MultiheadAttention: its weights are ours packed and transposed, its masks say True = hidden.

M, HEADS_INSIDE, WIDTH = 12, 4, 3
PER_HEAD = np.random.default_rng(4).random((B, HEADS_INSIDE, T, S)) < 0.6
PER_HEAD[..., 2] = True
LAST = EARLIER[S - T :]  # (T, S)
HIDDEN = {  # our mask, key_padding_mask (B, S), attn_mask (T, S) or (B H, T, S)
    "no mask": (None, None, None),
    "padding": (padding(LENGTHS), ~REAL[:, 0], None),
    "padding as booleans": (REAL[:, None], ~REAL[:, 0], None),
    "causal": (causal(offset=S - T), None, ~LAST),
    "causal as booleans": (LAST, None, ~LAST),
    "causal and padding": (causal(offset=S - T) & padding(LENGTHS), ~REAL[:, 0], ~LAST),
    "a mask of each sequence": (PER_HEAD[:, :1], None, ~np.repeat(PER_HEAD[:, 0], HEADS_INSIDE, axis=0)),
    "a mask of each head": (PER_HEAD, None, ~PER_HEAD.reshape(-1, T, S)),
}


def packed(params):
    """in_proj_weight (3 M, M), out_proj.weight (M, M) and their biases."""
    names = ("query", "key", "value")
    weights = {
        "in_proj_weight": torch.cat([params[f"W_{name}"].flatten(start_dim=1).mT for name in names]),
        "out_proj.weight": params["W_out"].flatten(end_dim=1).mT,
    }
    if "b_out" not in params:
        return weights
    joined = torch.cat([params[f"b_{name}"].flatten() for name in names])
    return weights | {"in_proj_bias": joined, "out_proj.bias": params["b_out"]}


def check_multihead(rng, inputs, *, mask=None, biases=True, dtype=np.float64, **hidden):
    """Result, every gradient, the weights of every head; a fourth input is a bias, for PyTorch a float attn_mask."""
    params = parameters(rng, multihead, M=M, H=HEADS_INSIDE, D=WIDTH, E=WIDTH, bias=biases)
    module = nn.MultiheadAttention(M, HEADS_INSIDE, bias=biases, batch_first=True)
    given = {name: torch.from_numpy(x) for name, x in hidden.items() if x is not None}
    given |= {"need_weights": True, "average_attn_weights": False}
    weights = []

    def twin(params, query, key, value, *bias):
        term = {"attn_mask": bias[0].flatten(end_dim=1)} if bias else {}
        context, theirs = functional_call(module, packed(params), (query, key, value), given | term)
        weights.append(theirs)
        return context

    agree(multihead, twin, params, inputs, options={"mask": mask}, rng=rng, dtype=dtype)
    inputs, params = tree.astype((tuple(inputs), params), dtype)
    same(multihead.forward(params, *inputs, mask=mask)[1].weights, weights[0], dtype=dtype)


def cross(rng):
    return [rng.normal(size=(B, steps, M)) for steps in (T, S, S)]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("biases", [True, False], ids=["biases", "no biases"])
@pytest.mark.parametrize("mask, padded, unseen", HIDDEN.values(), ids=HIDDEN)
def test_cross_attention(rng, mask, padded, unseen, biases, dtype):
    hidden = {"key_padding_mask": padded, "attn_mask": unseen}
    check_multihead(rng, cross(rng), mask=mask, biases=biases, dtype=dtype, **hidden)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("biases", [True, False], ids=["biases", "no biases"])
@pytest.mark.parametrize("padded", [None, ~REAL[:, 0]], ids=["whole", "padded"])
def test_self_attention(rng, padded, biases, dtype):
    """Causal; the gradient of the one input is the sum of those of query, key and value."""
    x = rng.normal(size=(B, S, M))
    mask = causal() if padded is None else causal() & padding(LENGTHS)
    hidden = {"key_padding_mask": padded, "attn_mask": ~EARLIER}
    check_multihead(rng, (x, x, x), mask=mask, biases=biases, dtype=dtype, **hidden)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_bias_of_each_head(rng, dtype):
    check_multihead(rng, [*cross(rng), rng.normal(size=(B, HEADS_INSIDE, T, S))], dtype=dtype)


@pytest.mark.parametrize("G", [1, 2, 4])
@pytest.mark.parametrize("inside", ["enable_gqa", "causal", "rotary half", "rotary interleaved"])
def test_grouped_queries(rng, G, inside):
    """H = 4 query heads on G key heads, which PyTorch shares by itself."""
    style = inside.split()[1] if "rotary" in inside else None
    params = parameters(rng, multihead, M=M, H=HEADS_INSIDE, G=G, D=6, E=5)
    inputs = [rng.normal(size=(B, S, M)) for _ in range(3)]

    def twin(params, *inputs):
        heads = (
            torch.einsum("btm,mhd->bhtd", x, params[f"W_{name}"]) + params[f"b_{name}"][:, None]
            for name, x in zip(("query", "key", "value"), inputs, strict=True)
        )
        query, key, value = heads
        if style is not None:
            query, key = turned(query, 3, style), turned(key, 0, style)
        settings = {"is_causal": inside == "causal", "enable_gqa": True}
        context = F.scaled_dot_product_attention(query, key, value, **settings)
        return torch.einsum("bhte,hem->btm", context, params["W_out"]) + params["b_out"]

    options = {"mask": causal() if inside == "causal" else None, "rotary": style, "offset": 3}
    agree(multihead, twin, params, inputs, options=options, rng=rng)


@pytest.mark.parametrize("inner", [name for name in VARIANTS if name not in ("multihead", "local")])
def test_mechanism_inside(rng, inner):
    """Heads of any kind, causal; where there is a score, with a bias of each head."""
    mechanism = VARIANTS[inner]
    params = multihead.init(rng, M=M, H=HEADS_INSIDE, G=2, D=6, E=5, A=7, inner=mechanism)
    params = tree.map(lambda p: p + 0.1 * rng.normal(size=p.shape), params)
    inputs = [rng.normal(size=(B, S, M)) for _ in range(3)]
    inputs += [] if inner == "linear" else [rng.normal(size=(HEADS_INSIDE, S, S))]

    def twin(params, *inputs):
        return ATTENTION["multihead"](params, *inputs, inner=inner, mask=torch.from_numpy(EARLIER))

    agree(multihead, twin, params, inputs, options={"mask": causal(), "inner": mechanism}, rng=rng)
