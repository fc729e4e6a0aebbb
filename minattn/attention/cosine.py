"""Cosine attention: only the direction of query and key counts, and one learned number says how sharply.

    context = softmax(scale * cos(query, key) + bias) value,    cos(q, k) = q k / (|q| |k|)

Graves, Wayne & Danihelka 2014, Neural Turing machines, arXiv:1410.5401, equations 5 and 6 (there scale is beta).
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minattn import masks, validate
from minattn.attention import plain
from minattn.functions import add, softmax, softmax_backward, unbroadcast

SHAPES = {"query": "... T D", "key": "... S D", "value": "... S E"}  # -> "... T E"
SHAPES |= {"scale": ""}
PAPER = "Graves 2014, eq. 5-6"
TIME, MEMORY = "T S (D + E)", "T S"
EXACT = "a score of its own"
EPS = 1e-12  # inside the root: the zero vector has no direction


class Cache(NamedTuple):
    params: Any
    unit_query: Any
    query_length: Any
    unit_key: Any
    key_length: Any
    value: Any
    bias: Any
    weights: Any


def naive(params, query, key, value, bias=None, *, mask=None):
    """The paper's formula in plain loops."""

    def score(q, k):
        lengths = [math.sqrt(sum(x * x for x in vector) + EPS) for vector in (q, k)]
        return params["scale"] * sum(q[d] * k[d] for d in range(len(q))) / (lengths[0] * lengths[1])

    return plain.attention(score, query, key, value, bias, mask)


def init(rng):
    """scale = 10: scores between -10 and 10."""
    return {"scale": np.array(10.0)}


def forward(params, query, key, value, bias=None, *, mask=None):
    """query (..., T, D), key (..., S, D), value (..., S, E), bias to (..., T, S) -> context (..., T, E).

    mask: a rule of `minattn.masks` or booleans to (..., T, S), True = may look. Raises TypeError for integers and for
    masks of numbers, ValueError for shapes that do not fit.
    """
    shape = validate.attention(SHAPES, params, query, key, value, bias)
    sees, seen = masks.visible(mask, shape, like=query)    # what nobody may see never matters, even NaN
    query, key, value = masks.keep(sees, query), masks.keep(seen, key), masks.keep(seen, value)
    mask = masks.array(mask, shape, like=query)            # to (..., T, S)
    unit_query, query_length = _direction(query)           # (..., T, D), (..., T, 1)
    unit_key, key_length = _direction(key)                 # (..., S, D), (..., S, 1)
    scores = params["scale"] * (unit_query @ unit_key.mT)  # (..., T, S)
    weights = softmax(add(scores, bias), mask)             # (..., T, S)  rows sum to 1
    context = weights @ value                              # (..., T, E)
    return context, Cache(params, unit_query, query_length, unit_key, key_length, value, bias, weights)


def backward(dcontext, cache):
    """-> (dquery, dkey, dvalue, dbias), dparams."""
    params, unit_query, query_length, unit_key, key_length, value, bias, weights = cache
    # context = weights @ value
    dvalue = unbroadcast(weights.mT @ dcontext, value)
    dweights = unbroadcast(dcontext @ value.mT, weights)
    # weights = softmax(scores + bias)
    dscores = softmax_backward(dweights, weights)
    dbias = unbroadcast(dscores, bias)
    # scores = scale * (unit_query @ unit_key.mT)
    dscale = (dscores * (unit_query @ unit_key.mT)).sum()
    dscores = dscores * params["scale"]
    dunit_key = unbroadcast(dscores.mT @ unit_query, unit_key)
    dunit_query = unbroadcast(dscores @ unit_key, unit_query)
    # unit = x / length
    dkey = _direction_backward(dunit_key, unit_key, key_length)
    dquery = _direction_backward(dunit_query, unit_query, query_length)
    return (dquery, dkey, dvalue, dbias), {"scale": dscale}


def _direction(x):
    """x (..., D) -> x / |x| and |x|."""
    length = np.sqrt((x * x).sum(axis=-1, keepdims=True) + EPS)  # (..., 1)
    return x / length, length


def _direction_backward(dunit, unit, length):
    """dx = (dunit - unit (unit dunit)) / |x|: the part along x only makes it longer."""
    return (dunit - unit * (dunit * unit).sum(axis=-1, keepdims=True)) / length
