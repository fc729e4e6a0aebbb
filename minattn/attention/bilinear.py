"""Bilinear attention: the query meets every key through one learned matrix.

    score(query, key) = query^T W key
    context           = softmax(score + bias) value

Luong, Pham & Manning 2015, Effective approaches to attention-based neural machine translation, arXiv:1508.04025,
section 3.1, "general". The keys are projected once for all the queries that will come: `prepare`.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minattn import masks, validate
from minattn.attention import plain
from minattn.attention.cases import SIZES, typical
from minattn.functions import add, linear, linear_backward, softmax, softmax_backward, unbroadcast
from minattn.op import Case, Memory

SHAPES = {"query": "... T N", "key": "... S D", "value": "... S E"}  # -> "... T E"
SHAPES |= {"W": "N D"}
PAPER = "Luong 2015, 3.1 general"
TIME, MEMORY = "T S (N + E)", "T S"
EXACT = "equals `dot` for W = 1 / sqrt(D)"


class Prepared(NamedTuple):
    params: Any
    key: Any
    value: Any


class Attended(NamedTuple):
    query: Any
    memory: Any
    bias: Any
    weights: Any


class Cache(NamedTuple):
    prepared: Prepared
    attended: Attended

    @property
    def weights(self):
        return self.attended.weights


def naive(params, query, key, value, bias=None, *, mask=None):
    """The paper's formula in plain loops."""
    W = params["W"]

    def score(q, k):
        return sum(q[n] * W[n, d] * k[d] for n in range(len(q)) for d in range(len(k)))

    return plain.attention(score, query, key, value, bias, mask)


def init(rng, *, N, D):
    """Queries of width N, keys of width D."""
    return {"W": rng.normal(size=(N, D)) / math.sqrt(N * D)}


def forward(params, query, key, value, bias=None, *, mask=None):
    """query (..., T, N), key (..., S, D), value (..., S, E), bias to (..., T, S) -> context (..., T, E).

    mask: a rule of `minattn.masks` or booleans to (..., T, S), True = may look. Raises TypeError for integers and for
    masks of numbers, ValueError for shapes that do not fit.
    """
    shape = validate.attention(SHAPES, params, query, key, value, bias)
    sees, seen = masks.visible(mask, shape, like=query)  # what nobody may see never matters, even NaN
    memory, prepared = prepare(params, key, value, seen=seen)
    context, attended = attend(params, masks.keep(sees, query), memory, bias, mask=mask)
    return context, Cache(prepared, attended)


def backward(dcontext, cache):
    """-> (dquery, dkey, dvalue, dbias), dparams."""
    prepared, attended = cache
    # context = attend(query, memory)
    (dquery, dmemory, dbias), dattend = attend_backward(dcontext, attended)
    # memory = prepare(key, value)
    (dkey, dvalue), dprepare = prepare_backward(dmemory, prepared)
    return (dquery, dkey, dvalue, dbias), dattend | dprepare


def prepare(params, key, value, *, seen=None):
    """key (..., S, D), value (..., S, E), seen (..., S) booleans -> memory: key (..., S, N), value (..., S, E)."""
    key, value = masks.keep(seen, key), masks.keep(seen, value)
    projected = linear(key, params["W"].mT)  # (..., S, N)
    return Memory(projected, value), Prepared(params, key, value)


def prepare_backward(dmemory, cache):
    """-> (dkey, dvalue), dparams."""
    dprojected, dvalue = dmemory
    params, key, value = cache
    # projected = linear(key, W.mT)
    dkey, dW, _ = linear_backward(dprojected, key, params["W"].mT)
    return (dkey, dvalue), {"W": dW.mT}


def attend(params, query, memory, bias=None, *, mask=None):
    """query (..., T, N), memory as prepared -> context (..., T, E)."""
    key, value = memory
    scores = query @ key.mT                              # (..., T, S)
    mask = masks.array(mask, scores.shape, like=scores)  # to (..., T, S)
    weights = softmax(add(scores, bias), mask)           # (..., T, S)  rows sum to 1
    context = weights @ value                            # (..., T, E)
    return context, Attended(query, memory, bias, weights)


def attend_backward(dcontext, cache):
    """-> (dquery, dmemory, dbias), {}."""
    query, (key, value), bias, weights = cache
    # context = weights @ value
    dvalue = unbroadcast(weights.mT @ dcontext, value)
    dweights = unbroadcast(dcontext @ value.mT, weights)
    # weights = softmax(scores + bias)
    dscores = softmax_backward(dweights, weights)
    dbias = unbroadcast(dscores, bias)
    # scores = query @ key.mT
    dkey = unbroadcast(dscores.mT @ query, key)
    dquery = unbroadcast(dscores @ key, query)
    return (dquery, Memory(dkey, dvalue), dbias), {}


def cases(rng):
    """The typical ones, and W = 1 / sqrt(D), with which this is dot-product attention."""
    yield from typical(rng, SHAPES)
    B, T, S, D, E = (SIZES[letter] for letter in "BTSDE")
    inputs = rng.normal(size=(B, T, D)), rng.normal(size=(B, S, D)), rng.normal(size=(B, S, E))
    same = {"W": np.eye(D) / math.sqrt(D)}
    yield Case("W = 1 / sqrt(D)", SIZES, inputs, twin="dot", params=same)
