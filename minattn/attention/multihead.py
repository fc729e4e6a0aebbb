"""Multi-head attention: several small attentions side by side, each with its own way to ask, to be found and to answer.

    query_h = query W_query_h + b_query_h,   key_g = key W_key_g + b_key_g,   value_g = value W_value_g + b_value_g
    context = sum over h of attention(query_h, key_g, value_g) W_out_h + b_out

Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2. With G < H key/value heads each serves H / G queries: grouped
query attention (Ainslie et al. 2023, arXiv:2305.13245); G = 1 is multi-query attention (Shazeer 2019,
arXiv:1911.02150). Keys are not repeated: the queries get an axis more, (..., G, H / G, T, D) against
(..., G, 1, S, D). Self-attention is query = key = value; any mechanism over query, key and value can stand inside.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minattn import masks, tree, validate
from minattn.attention import additive, blockwise, cosine, dot, fused, window
from minattn.attention.cases import SIZES
from minattn.functions import join_heads, linear, linear_backward, split_heads
from minattn.op import Case, bind, halves, initialise, label, options
from minattn.positions import rotary as turn
from minattn.positions import rotary_backward as turn_backward

SHAPES = {"query": "... T M", "key": "... S P", "value": "... S U"}  # -> "... T M"
SHAPES |= {"W_query": "M H D", "W_key": "P G D", "W_value": "U G E", "W_out": "H E M"}
SHAPES |= {"b_query": "H D", "b_key": "G D", "b_value": "G E", "b_out": "M"}
PAPER = "Vaswani 2017, 3.2.2"
TIME, MEMORY = "T S H (D + E) + (T + S) M H (D + E)", "T S H"
EXACT = "as its inner mechanism, by default `dot` in its fused form"
OPTIONAL = ("b_query", "b_key", "b_value", "b_out")
OFFSET = True  # tells rotary positions where the first query stands


class Prepared(NamedTuple):
    params: Any
    key: Any
    value: Any
    inner: Any
    rotary: Any
    offset: int
    memory: Any


class Attended(NamedTuple):
    params: Any
    query: Any
    bias: Any
    inner: Any
    rotary: Any
    offset: int
    asked: Any
    joined: Any

    @property
    def weights(self):
        """(..., H, T, S): one map a head."""
        return join_heads(self.asked.weights)


class Cache(NamedTuple):
    prepared: Prepared
    attended: Attended

    @property
    def weights(self):
        return self.attended.weights


def naive(
    params, query, key, value, bias=None, *, mask=None, dropout=0.0, rng=None, rotary=None, offset=0, inner=None
):
    """Each head by einsum, and the inner mechanism's plain loops over all of them."""
    H, G = params["W_query"].shape[1], params["W_key"].shape[1]
    inner = inner or dot

    def project(name, x, heads):
        b = params.get(f"b_{name}", np.zeros((heads, 1)))
        return np.einsum("...tm,mhd->...htd", x, params[f"W_{name}"]) + b[:, None]

    sees, seen = masks.visible(mask, (*query.shape[:-2], H, query.shape[-2], key.shape[-2]), like=query)
    query, key, value = _keep(sees, query), _keep(seen, key), _keep(seen, value)
    q, k, v = project("query", query, H), project("key", key, G), project("value", value, G)
    if rotary:
        q, k = turn(q, offset, rotary), turn(k, 0, rotary)
    k, v = (np.repeat(x, H // G, axis=-3) for x in (k, v))
    grouped = [split_heads(x, G) for x in (q, k, v)]
    extra = ({"dropout": dropout, "rng": rng} if dropout else {}) | _place(inner, offset)
    grouped += [] if bias is None else [split_heads(bias, G)]
    context = inner.naive(params.get("inner", {}), *grouped, mask=masks.heads(mask, G), **extra)
    context = join_heads(context)
    return np.einsum("...hte,hem->...tm", context, params["W_out"]) + params.get("b_out", 0)


def init(rng, *, M, H, G=None, D=None, E=None, P=None, U=None, A=None, bias=True, inner=None):
    """Width M, H heads, G key/value heads (H), of width D for keys and E for values (M / H); bias=False leaves out b.

    P, U: widths of the keys (M) and values (P) that come in. A: width of the inner mechanism, where it has one.
    """
    inner = inner or dot
    G, D, P = G or H, D or M // H, P or M
    E = E or D
    validate.groups(H, G)
    shapes = {"query": (M, H, D), "key": (P, G, D), "value": (U or P, G, E)}
    params = {f"W_{name}": rng.normal(size=shape) / math.sqrt(shape[0]) for name, shape in shapes.items()}
    params["W_out"] = rng.normal(size=(H, E, M)) / math.sqrt(H * E)
    if bias:
        params |= {f"b_{name}": np.zeros(shape[1:]) for name, shape in shapes.items()} | {"b_out": np.zeros(M)}
    learned = initialise(inner, rng, {"N": D, "D": D, "E": E, "A": A or D, "H": 1})
    return params | ({"inner": learned} if learned else {})


def forward(
    params, query, key, value, bias=None, *, mask=None, dropout=0.0, rng=None, rotary=None, offset=0, inner=None
):
    """query (..., T, M), key (..., S, P), value (..., S, U), bias to (..., H, T, S) -> context (..., T, M).

    mask: a rule, or booleans to (..., H, T, S), True = may look. Arrays, bias too, are read from the right: three axes
    are (H, T, S), one for each head, even where B = H; one for each sequence, alike for all heads, is (B, 1, T, S).
    dropout, rng: as in `dot`. rotary: None, or the style of `positions.rotary` that turns queries and keys; offset: the
    place of the first query. inner: the mechanism of each head, None for `dot` in the form that is fastest here. Errors
    as in `dot`, and ValueError for a bias where the inner mechanism takes none.
    """
    shape = _check(params, query, key, value, bias, mask)
    sees, seen = masks.visible(mask, shape, like=query)  # what nobody may see never matters, even NaN
    memory, prepared = prepare(params, key, value, seen=seen, rotary=rotary, inner=inner)
    context, attended = attend(
        params, _keep(sees, query), memory, bias, mask=mask, dropout=dropout, rng=rng, rotary=rotary, offset=offset,
        inner=inner,
    )
    return context, Cache(prepared, attended)


def backward(dcontext, cache):
    """-> (dquery, dkey, dvalue, dbias), dparams."""
    prepared, attended = cache
    # context = attend(query, memory)
    (dquery, dmemory, dbias), dattend = attend_backward(dcontext, attended)
    # memory = prepare(key, value)
    (dkey, dvalue), dprepare = prepare_backward(dmemory, prepared)
    return (dquery, dkey, dvalue, dbias), tree.join(dattend, dprepare)


def prepare(params, key, value, *, seen=None, rotary=None, offset=0, inner=None):
    """key (..., S, P), value (..., S, U) -> memory of the inner mechanism, (..., G, 1, S, *).

    offset: the place of the first key, for memories that grow step by step.
    """
    inner = inner or dot
    key, value = _keep(seen, key), _keep(seen, value)
    head_key = _project(params, "key", key)                            # (..., G, S, D)
    head_value = _project(params, "value", value)                      # (..., G, S, E)
    head_key = turn(head_key, offset, rotary) if rotary else head_key  # (..., G, S, D)
    shared = head_key[..., None, :, :], head_value[..., None, :, :]    # (..., G, 1, S, *)
    memory, prepared = halves(inner).prepare(params.get("inner", {}), *shared)
    return memory, Prepared(params, key, value, inner, rotary, offset, prepared)


def prepare_backward(dmemory, cache):
    """-> (dkey, dvalue), dparams."""
    params, key, value, inner, rotary, offset, prepared = cache
    # memory = inner.prepare(head_key, head_value)
    (dhead_key, dhead_value), dinner = halves(inner).prepare_backward(dmemory, prepared)
    dhead_key, dhead_value = dhead_key[..., 0, :, :], dhead_value[..., 0, :, :]
    # head_key = rotary(head_key)
    dhead_key = turn_backward(dhead_key, dhead_key, offset, rotary) if rotary else dhead_key
    # head = project(x)
    dvalue, dparams = _project_backward(dhead_value, params, "value", value)
    dkey, dkey_params = _project_backward(dhead_key, params, "key", key)
    return (dkey, dvalue), dparams | dkey_params | ({"inner": dinner} if "inner" in params else {})


def attend(
    params, query, memory, bias=None, *, mask=None, dropout=0.0, rng=None, rotary=None, offset=0, inner=None
):
    """query (..., T, M), memory as prepared -> context (..., T, M)."""
    H, G = params["W_query"].shape[1], params["W_key"].shape[1]
    _check_heads(H, mask, bias)
    inner = inner or _fastest(query, dropout)
    head_query = _project(params, "query", query)                                             # (..., H, T, D)
    head_query = turn(head_query, offset, rotary) if rotary else head_query                   # (..., H, T, D)
    grouped = split_heads(head_query, G)                                                      # (..., G, H / G, T, D)
    asked_with = {"mask": masks.heads(mask, G)} | _dropout(inner, dropout, rng) | _place(inner, offset)
    inner_params = params.get("inner", {})
    term = split_heads(bias, G)                                                               # to (..., G, H / G, T, S)
    context, asked = halves(inner).attend(inner_params, grouped, memory, term, **asked_with)  # (..., G, H / G, T, E)
    joined = np.swapaxes(join_heads(context), -3, -2)                                         # (..., T, H, E)
    joined = joined.reshape(*joined.shape[:-2], joined.shape[-2] * joined.shape[-1])          # (..., T, H E)
    out = linear(joined, _flat(params["W_out"]), params.get("b_out"))                         # (..., T, M)
    return out, Attended(params, query, bias, inner, rotary, offset, asked, joined)


def attend_backward(dout, cache):
    """-> (dquery, dmemory, dbias), dparams."""
    params, query, bias, inner, rotary, offset, asked, joined = cache
    (H, E, M), G = params["W_out"].shape, params["W_key"].shape[1]
    # out = linear(joined, W_out, b_out)
    djoined, dW_out, db_out = linear_backward(dout, joined, _flat(params["W_out"]), params.get("b_out"))
    dparams = {"W_out": dW_out.reshape(H, E, M)} | ({} if db_out is None else {"b_out": db_out})
    # joined = context, heads beside each other
    dcontext = np.swapaxes(djoined.reshape(*djoined.shape[:-1], H, E), -3, -2)
    # context = inner.attend(grouped, memory, bias)
    (dgrouped, dmemory, dbias), dinner = halves(inner).attend_backward(split_heads(dcontext, G), asked)
    dbias = None if bias is None else dbias.reshape(bias.shape)
    dhead_query = join_heads(dgrouped)
    # head_query = rotary(project(query))
    dhead_query = turn_backward(dhead_query, dhead_query, offset, rotary) if rotary else dhead_query
    dquery, dquery_params = _project_backward(dhead_query, params, "query", query)
    dparams |= dquery_params | ({"inner": dinner} if "inner" in params else {})
    return (dquery, dmemory, dbias), dparams


def _check(params, query, key, value, bias, mask):
    """-> the shape (..., H, T, S) of the scores."""
    own = {name: array for name, array in params.items() if name != "inner"}
    *leading, T, S = validate.attention(SHAPES, own, query, key, value, optional=OPTIONAL)
    H, G = params["W_query"].shape[1], params["W_key"].shape[1]
    validate.groups(H, G)
    shape = (*leading, H, T, S)
    _check_heads(H, mask, bias)
    if bias is not None:
        validate.broadcasts("bias", bias.shape, shape, "(..., H, T, S)")
    return shape


def _check_heads(H, mask, bias):
    """Arrays that would be cut into groups of heads have an axis for the heads."""
    for rule in masks.parts(mask):
        if isinstance(rule, masks.Given):
            validate.heads("mask", rule.mask.shape, H)
    if bias is not None:
        validate.floating("bias", bias)
        validate.heads("bias", bias.shape, H)


def _keep(seen, x):
    """x (..., S, M) with zeros where no head looks; seen (..., H, S)."""
    return masks.keep(seen, x[..., None, :, :])[..., 0, :, :]


def _flat(W):
    """W_out (H, E, M) -> (H E, M), without a copy."""
    return W.reshape(-1, W.shape[-1])


def _project(params, name, x):
    """x (..., T, M) -> (..., H, T, D): one product for all heads."""
    W, b = params[f"W_{name}"], params.get(f"b_{name}")
    M, H, D = W.shape
    projected = linear(x, W.reshape(M, H * D), None if b is None else b.reshape(-1))  # (..., T, H D)
    return np.swapaxes(projected.reshape(*x.shape[:-1], H, D), -3, -2)


def _project_backward(dheads, params, name, x):
    """-> dx, {dW, db}."""
    W, b = params[f"W_{name}"], params.get(f"b_{name}")
    M, H, D = W.shape
    dprojected = np.swapaxes(dheads, -3, -2).reshape(*x.shape[:-1], H * D)
    dx, dW, db = linear_backward(dprojected, x, W.reshape(M, H * D), None if b is None else b.reshape(-1))
    return dx, {f"W_{name}": dW.reshape(W.shape)} | ({} if b is None else {f"b_{name}": db.reshape(b.shape)})


def _fastest(query, dropout):
    """`dot` for a single query and for weights that dropout wants to see, `fused` for all else."""
    return dot if dropout or query.shape[-2] == 1 else fused


def _dropout(inner, dropout, rng):
    """The options of dropout, for an inner mechanism that has them."""
    if not dropout:
        return {}
    if "dropout" not in options(inner):
        raise ValueError(f"dropout={dropout} was asked for but {label(inner)} has no dropout on its weights")
    return {"dropout": dropout, "rng": rng}


def _place(inner, offset):
    """The place of the first query, for an inner mechanism to which it matters."""
    return {"offset": offset} if getattr(inner, "OFFSET", False) else {}


def cases(rng):
    """Self- and cross-attention, shared key heads, biases off, masks of all kinds, rotary, other mechanisms inside."""
    B, H, T, S = (SIZES[letter] for letter in "BHTS")
    M, H, D, E = 10, 4, 6, 3

    def params(inner=dot, **sizes):
        made = init(rng, **({"M": M, "H": H, "G": 2, "D": D, "E": E, "A": 5} | sizes), inner=inner)
        return tree.map(lambda p: p + 0.1 * rng.normal(size=p.shape), made)

    def case(name, params, *inputs, twin=None, **options):
        return Case(name, {}, inputs, options, twin, params)

    def cross(leading=(B,)):
        return rng.normal(size=(*leading, T, M)), rng.normal(size=(*leading, S, M)), rng.normal(size=(*leading, S, M))

    x = rng.normal(size=(B, T, M))
    some = rng.random((B, 1, T, S)) < 0.6
    some[:, :, 1], some[1, :, 0] = True, False  # the first row of the second sequence is dead
    yield case("cross", params(G=H), *cross())
    yield case("query is key is value, causal", params(G=H), x, x, x, mask=masks.causal())
    yield case("grouped queries", params(), *cross())
    wide, narrow = rng.normal(size=(B, S, 7)), rng.normal(size=(B, S, 2))
    yield case("keys and values of other widths", params(P=7, U=2), cross()[0], wide, narrow)
    yield case("one key head", params(G=1), *cross())
    yield case("no biases", params(bias=False), *cross())
    yield case("no batch", params(), *cross(()))
    yield case("no sequences", params(), *cross((0,)))
    yield case("queries of all", params(), cross(())[0], *cross()[1:])
    yield case("keys of all", params(), cross()[0], *cross(())[1:], mask=some)
    yield case("bias", params(), *cross(), rng.normal(size=(B, H, T, S)))
    yield case("shared bias", params(), *cross(), rng.normal(size=(1, 1, S)), mask=some)
    yield case("dead rows", params(), *cross(), mask=some)
    yield case("a mask for each head", params(), *cross(), mask=rng.random((B, H, T, S)) < 0.7)
    yield case("dropout", params(), *cross(), mask=some, dropout=0.3, rng=np.random.default_rng(5))
    query, key, value = cross()
    key[1, S - 2 :], value[1, S - 2 :], query[0, T - 1] = np.nan, np.inf, np.nan
    padding = masks.padding(np.array([S, S - 2]), np.array([T - 1, T]))
    yield case("NaN in the padding", params(), query, key, value, mask=padding)
    yield case("rotary", params(), *cross(), rotary="half", offset=1, mask=masks.causal(offset=1))
    yield case("rotary, interleaved", params(), *cross(), rotary="interleaved")
    yield case("additive inside", params(additive), *cross(), mask=some, inner=additive)
    yield case("cosine inside", params(cosine), *cross(), rng.normal(size=(H, T, S)), inner=cosine)
    yield case("dot inside", params(), *cross(), rng.normal(size=(B, H, T, S)), mask=some, inner=dot)
    yield case("blockwise inside", params(), *cross(), mask=masks.causal(offset=1), inner=blockwise)
    near = bind(window, left=1, right=0, tile=2)
    yield case("window inside, offset", params(), *cross(), inner=near, offset=1)
