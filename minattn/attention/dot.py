"""Scaled dot-product attention: look at keys that point the way the query does.

    context = softmax(query key^T / sqrt(D) + bias) value

Vaswani et al. 2017, Attention is all you need, arXiv:1706.03762, equation 1.
"""

import math
from typing import Any, NamedTuple

from minattn import masks, validate
from minattn.attention import plain
from minattn.functions import add, dropout_backward, softmax, softmax_backward, unbroadcast
from minattn.functions import dropout as drop

SHAPES = {"query": "... T D", "key": "... S D", "value": "... S E"}  # -> "... T E"
PAPER = "Vaswani 2017, eq. 1"
TIME, MEMORY = "T S (D + E)", "T S"
EXACT = "the plain form"


class Cache(NamedTuple):
    query: Any
    key: Any
    value: Any
    bias: Any
    weights: Any
    kept: Any


def naive(params, query, key, value, bias=None, *, mask=None, dropout=0.0, rng=None):
    """The paper's formula in plain loops."""

    def score(q, k):
        return sum(q[d] * k[d] for d in range(len(q))) / math.sqrt(len(q))

    return plain.attention(score, query, key, value, bias, mask, dropout, rng)


def init(rng):
    """Nothing to learn."""
    return {}


def forward(params, query, key, value, bias=None, *, mask=None, dropout=0.0, rng=None):
    """query (..., T, D), key (..., S, D), value (..., S, E), bias to (..., T, S) -> context (..., T, E).

    mask: who may look at what, a rule of `minattn.masks` or booleans to (..., T, S), True = may look. Leading axes
    broadcast: queries (B, G, R, T, D) share the keys (B, G, 1, S, D). dropout: the share of weights to silence, drawn
    from rng, a numpy Generator; without one nothing is silenced. `cache.weights` are those before dropout. Raises
    TypeError for integers and for masks of numbers, ValueError for shapes that do not fit.
    """
    shape = validate.attention(SHAPES, params, query, key, value, bias)
    sees, seen = masks.visible(mask, shape, like=query)   # what nobody may see never matters, even NaN
    query, key, value = masks.keep(sees, query), masks.keep(seen, key), masks.keep(seen, value)
    mask = masks.array(mask, shape, like=query)           # to (..., T, S)
    scores = query @ key.mT / math.sqrt(query.shape[-1])  # (..., T, S)
    weights = softmax(add(scores, bias), mask)            # (..., T, S)  rows sum to 1
    dropped, kept = drop(weights, dropout, rng)           # (..., T, S)
    context = dropped @ value                             # (..., T, E)
    return context, Cache(query, key, value, bias, weights, kept)


def backward(dcontext, cache):
    """-> (dquery, dkey, dvalue, dbias), {}."""
    query, key, value, bias, weights, kept = cache
    # context = dropped @ value
    dropped = dropout_backward(weights, kept)  # the same product as forward's
    dvalue = dropped.mT @ dcontext
    ddropped = unbroadcast(dcontext @ value.mT, weights)
    # dropped = dropout(weights)
    dweights = dropout_backward(ddropped, kept)
    # weights = softmax(scores + bias)
    dscores = softmax_backward(dweights, weights)
    dbias = unbroadcast(dscores, bias)
    # scores = query @ key.mT / sqrt(D)
    dscores = dscores / math.sqrt(query.shape[-1])
    dkey = unbroadcast(dscores.mT @ query, key)
    dquery = unbroadcast(dscores @ key, query)
    return (dquery, dkey, unbroadcast(dvalue, value), dbias), {}
