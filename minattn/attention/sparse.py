"""Sparse attention: scaled dot-product scores, with weights that can be exactly 0.

    context = sparsemax(query key^T / sqrt(D) + bias) value

Martins & Astudillo 2016, From softmax to sparsemax, arXiv:1602.02068, section 4.
"""

import math
from typing import Any, NamedTuple

from minattn import masks, validate
from minattn.attention import plain
from minattn.functions import add, sparsemax, sparsemax_backward, unbroadcast

SHAPES = {"query": "... T D", "key": "... S D", "value": "... S E"}  # -> "... T E"
PAPER = "Martins & Astudillo 2016"
TIME, MEMORY = "T S (D + E + log S)", "T S"
EXACT = "weights of its own: sparsemax"


class Cache(NamedTuple):
    query: Any
    key: Any
    value: Any
    bias: Any
    weights: Any


def naive(params, query, key, value, bias=None, *, mask=None):
    """The paper's algorithm 1 in plain loops."""

    def score(q, k):
        return sum(q[d] * k[d] for d in range(len(q))) / math.sqrt(len(q))

    def weights(scores):
        falling, threshold = sorted(scores, reverse=True), 0.0
        for k in range(1, len(scores) + 1):
            if 1 + k * falling[k - 1] > sum(falling[:k]):
                threshold = (sum(falling[:k]) - 1) / k
        return [max(x - threshold, 0.0) for x in scores]

    return plain.attention(score, query, key, value, bias, mask, normalise=weights)


def init(rng):
    """Nothing to learn."""
    return {}


def forward(params, query, key, value, bias=None, *, mask=None):
    """query (..., T, D), key (..., S, D), value (..., S, E), bias to (..., T, S) -> context (..., T, E).

    mask: a rule of `minattn.masks` or booleans to (..., T, S), True = may look. Raises TypeError for integers and for
    masks of numbers, ValueError for shapes that do not fit.
    """
    shape = validate.attention(SHAPES, params, query, key, value, bias)
    sees, seen = masks.visible(mask, shape, like=query)   # what nobody may see never matters, even NaN
    query, key, value = masks.keep(sees, query), masks.keep(seen, key), masks.keep(seen, value)
    mask = masks.array(mask, shape, like=query)           # to (..., T, S)
    scores = query @ key.mT / math.sqrt(query.shape[-1])  # (..., T, S)
    weights = sparsemax(add(scores, bias), mask)          # (..., T, S)  rows sum to 1
    context = weights @ value                             # (..., T, E)
    return context, Cache(query, key, value, bias, weights)


def backward(dcontext, cache):
    """-> (dquery, dkey, dvalue, dbias), {}."""
    query, key, value, bias, weights = cache
    # context = weights @ value
    dvalue = unbroadcast(weights.mT @ dcontext, value)
    dweights = unbroadcast(dcontext @ value.mT, weights)
    # weights = sparsemax(scores + bias)
    dscores = sparsemax_backward(dweights, weights)
    dbias = unbroadcast(dscores, bias)
    # scores = query @ key.mT / sqrt(D)
    dscores = dscores / math.sqrt(query.shape[-1])
    dkey = unbroadcast(dscores.mT @ query, key)
    dquery = unbroadcast(dscores @ key, query)
    return (dquery, dkey, dvalue, dbias), {}
