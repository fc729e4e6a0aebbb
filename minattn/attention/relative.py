"""Relative attention: every head learns how much a distance is worth, added to the scores.

    context = softmax(query key^T / sqrt(D) + table[bucket(s - t)] + bias) value

The bias of T5: Raffel et al. 2020, arXiv:1910.10683, section 2.1. Short distances have a bucket each; beyond half of
the buckets they grow with the logarithm up to `farthest`, and all that is farther shares the last one.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minattn import op, validate
from minattn.attention import dot, plain
from minattn.attention.cases import SIZES, typical
from minattn.functions import add, embedding, embedding_backward, unbroadcast

SHAPES = {"query": "... T D", "key": "... S D", "value": "... S E"}  # -> "... T E"
SHAPES |= {"table": "R H"}
PAPER = "Raffel 2020 (T5), 2.1"
TIME, MEMORY = "T S (D + E)", "T S"
EXACT = "`dot` with a learned bias"
ORDERED = True  # the place of a key counts
OFFSET = True  # and `offset` tells that of the query
BORDER = 1e-9  # a distance just on a border belongs above it, whatever the rounding of the logarithm


class Cache(NamedTuple):
    params: Any
    inner: Any
    attended: Any
    buckets: Any
    given: Any
    bias: Any

    @property
    def weights(self):
        return self.attended.weights


def naive(params, query, key, value, bias=None, *, mask=None, offset=0, causal=False, farthest=128):
    """Plain loops: the learned bias is added place by place."""
    table = params["table"]
    T, S = query.shape[-2], key.shape[-2]
    learned = np.zeros((table.shape[1], T, S))
    for h, t, s in np.ndindex(learned.shape):
        learned[h, t, s] = table[_plain_bucket(s - t - offset, len(table), causal, farthest), h]

    def score(q, k):
        return sum(q[d] * k[d] for d in range(len(q))) / math.sqrt(len(q))

    learned = learned if table.shape[1] > 1 else learned[0]
    return plain.attention(score, query, key, value, learned if bias is None else learned + bias, mask)


def init(rng, *, H, R=32):
    """A table of R buckets for H heads; H = 1 serves all heads alike."""
    return {"table": rng.normal(size=(R, H))}


def forward(
    params, query, key, value, bias=None, *, mask=None, offset=0, causal=False, farthest=128, inner=dot
):
    """query (..., H, T, D), key (..., H, S, D), value (..., H, S, E), bias to (..., T, S) -> context (..., H, T, E).

    offset: the place of the first query among the keys. causal: all buckets are for what lies behind, as where a causal
    mask hides the rest; else one half is for each side. Errors and mask as in `dot`.
    """
    shape = validate.attention(SHAPES, params, query, key, value, bias)
    T, S = shape[-2:]
    R, H = params["table"].shape
    ahead = np.arange(S) - np.arange(T)[:, None] - offset                       # (T, S)
    buckets = np.asarray(bucket(ahead, R, causal, farthest), like=query)        # (T, S)
    given = np.moveaxis(embedding(params["table"], buckets), -1, 0)             # (H, T, S)
    given = given[0] if H == 1 else given                                       # (T, S) for a single column
    validate.broadcasts("the bias of table (R, H)", given.shape, shape, "(..., H, T, S)")
    both = op.biases(inner, add(given, bias))                                   # (..., H, T, S)
    context, attended = inner.forward({}, query, key, value, *both, mask=mask)  # (..., H, T, E)
    return context, Cache(params, inner, attended, buckets, given, bias)


def backward(dcontext, cache):
    """-> (dquery, dkey, dvalue, dbias), dparams."""
    params, inner, attended, buckets, given, bias = cache
    # context = inner(query, key, value, given + bias)
    (dquery, dkey, dvalue, dsum), _ = inner.backward(dcontext, attended)
    dbias, dgiven = unbroadcast(dsum, bias), unbroadcast(dsum, given)
    # given = table[buckets], heads first
    drows = np.moveaxis(dgiven.reshape(params["table"].shape[1], *buckets.shape), 0, -1)
    return (dquery, dkey, dvalue, dbias), {"table": embedding_backward(drows, params["table"], buckets)}


def bucket(ahead, R, causal=False, farthest=128):
    """ahead = s - t, integers of any shape -> the bucket 0 .. R-1 of each distance.

    The first half of a side's buckets are the distances themselves; distance d beyond them has bucket
    half + log(d / half) / log(farthest / half) * half, rounded down and at most the last.
    """
    side = R if causal else R // 2
    if side < 2 or farthest <= side // 2:
        raise ValueError(f"R={R} buckets do not reach farthest={farthest}: 2 or more a side, and half of them below it")
    first = 0 if causal else np.where(ahead > 0, side, 0)
    distance = np.maximum(-ahead, 0) if causal else np.abs(ahead)
    half = side // 2
    far = np.log(np.maximum(distance, 1) / half) / math.log(farthest / half) * (side - half) + BORDER
    return first + np.where(distance < half, distance, np.minimum(half + far.astype(int), side - 1))


def _plain_bucket(ahead, R, causal, farthest):
    side = R if causal else R // 2
    distance = max(-ahead, 0) if causal else abs(ahead)
    place = distance
    if distance >= side // 2:
        growth = math.log(distance / (side // 2)) / math.log(farthest / (side // 2))
        place = min(side // 2 + int(growth * (side - side // 2) + BORDER), side - 1)
    return place + (side if ahead > 0 and not causal else 0)


def cases(rng):
    """The typical ones with one table for all, and heads that have one each."""
    for case in typical(rng, SHAPES):
        if case.name != "shared bias":
            yield case._replace(sizes=case.sizes | {"H": 1, "R": 8})
    B, H, T, S, D, E = (SIZES[letter] for letter in "BHTSDE")
    heads = rng.normal(size=(B, H, T, D)), rng.normal(size=(B, 1, S, D)), rng.normal(size=(B, H, S, E))
    sizes = SIZES | {"R": 8}
    yield op.Case("a column for each head", sizes, heads, {"offset": 3, "farthest": 4})
    yield op.Case("all buckets behind", sizes, (*heads, rng.normal(size=(T, S))), {"causal": True, "farthest": 6})
