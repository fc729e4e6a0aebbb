"""Additive attention: a small network scores every pair of query and key.

    score(query, key) = v^T tanh(W_query^T query + W_key^T key + b)
    context           = softmax(score + bias) value

Bahdanau, Cho & Bengio 2015, Neural machine translation by jointly learning to align and translate, arXiv:1409.0473,
section A.1.2 (there without b). The keys are projected once for all the queries that will come: `prepare`.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minattn import masks, validate
from minattn.attention import plain
from minattn.functions import (
    add,
    linear,
    linear_backward,
    softmax,
    softmax_backward,
    unbroadcast,
)
from minattn.op import Memory

SHAPES = {"query": "... T N", "key": "... S D", "value": "... S E"}  # -> "... T E"
SHAPES |= {"W_query": "N A", "W_key": "D A", "b": "A", "v": "A"}
PAPER = "Bahdanau 2015, A.1.2"
TIME, MEMORY = "T S (A + E)", "T S A"
EXACT = "a score of its own"


class Prepared(NamedTuple):
    params: Any
    key: Any
    value: Any


class Attended(NamedTuple):
    params: Any
    query: Any
    memory: Any
    bias: Any
    asked: Any
    hidden: Any
    weights: Any


class Cache(NamedTuple):
    prepared: Prepared
    attended: Attended

    @property
    def weights(self):
        return self.attended.weights


def naive(params, query, key, value, bias=None, *, mask=None):
    """The paper's formula in plain loops."""
    W_query, W_key, b, v = (params.get(name) for name in ("W_query", "W_key", "b", "v"))

    def score(q, k):
        total = 0.0
        for a in range(len(v)):
            inside = 0.0 if b is None else b[a]
            inside += sum(q[n] * W_query[n, a] for n in range(len(q)))
            inside += sum(k[d] * W_key[d, a] for d in range(len(k)))
            total += v[a] * math.tanh(inside)
        return total

    return plain.attention(score, query, key, value, bias, mask)


def init(rng, *, N, D, A, bias=True):
    """Queries of width N, keys of width D, compared in width A; bias=False leaves b out, as the paper does."""
    params = {
        "W_query": rng.normal(size=(N, A)) / math.sqrt(N),
        "W_key": rng.normal(size=(D, A)) / math.sqrt(D),
        "v": rng.normal(size=A) / math.sqrt(A),
    }
    return params | {"b": np.zeros(A)} if bias else params


def forward(params, query, key, value, bias=None, *, mask=None):
    """query (..., T, N), key (..., S, D), value (..., S, E), bias to (..., T, S) -> context (..., T, E).

    mask: a rule of `minattn.masks` or booleans to (..., T, S), True = may look. Raises TypeError for integers and for
    masks of numbers, ValueError for shapes that do not fit.
    """
    shape = validate.attention(SHAPES, params, query, key, value, bias, optional="b")
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
    """key (..., S, D), value (..., S, E), seen (..., S) booleans -> memory: key (..., S, A), value (..., S, E)."""
    key, value = masks.keep(seen, key), masks.keep(seen, value)
    projected = linear(key, params["W_key"])  # (..., S, A)
    return Memory(projected, value), Prepared(params, key, value)


def prepare_backward(dmemory, cache):
    """-> (dkey, dvalue), dparams."""
    dprojected, dvalue = dmemory
    params, key, value = cache
    # projected = linear(key, W_key)
    dkey, dW_key, _ = linear_backward(dprojected, key, params["W_key"])
    return (dkey, dvalue), {"W_key": dW_key}


def attend(params, query, memory, bias=None, *, mask=None):
    """query (..., T, N), memory as prepared -> context (..., T, E)."""
    key, value = memory
    asked = linear(query, params["W_query"], params.get("b"))     # (..., T, A)
    hidden = asked[..., :, None, :] + key[..., None, :, :]        # (..., T, S, A)
    hidden = np.tanh(hidden, out=hidden)                          # (..., T, S, A)  large: in place
    scores = linear(hidden, params["v"][:, None])[..., 0]         # (..., T, S)
    mask = masks.array(mask, scores.shape, like=scores)           # to (..., T, S)
    weights = softmax(add(scores, bias), mask)                    # (..., T, S)  rows sum to 1
    context = weights @ value                                     # (..., T, E)
    return context, Attended(params, query, memory, bias, asked, hidden, weights)


def attend_backward(dcontext, cache):
    """-> (dquery, dmemory, dbias), dparams."""
    params, query, (key, value), bias, asked, hidden, weights = cache
    # context = weights @ value
    one = weights.shape[-2] == 1  # query at a time, as in a decoder
    dvalue = _outer(weights[..., 0, :], dcontext[..., 0, :]) if one else weights.mT @ dcontext
    dvalue = unbroadcast(dvalue, value)
    dweights = unbroadcast(dcontext @ value.mT, weights)
    # weights = softmax(scores + bias)
    dscores = softmax_backward(dweights, weights)
    dbias = unbroadcast(dscores, bias)
    # scores = linear(hidden, v)
    dv = dscores.reshape(-1) @ hidden.reshape(dscores.size, hidden.shape[-1])
    dhidden = _outer(dscores.reshape(-1), params["v"]).reshape(hidden.shape)
    # hidden = tanh(asked + key)
    slope = hidden * hidden
    slope = np.subtract(1, slope, out=slope)
    dsum = np.multiply(dhidden, slope, out=dhidden)
    dkey = unbroadcast(dsum, key[..., None, :, :])[..., 0, :, :]
    dasked = unbroadcast((np.ones_like(dscores)[..., None, :] @ dsum)[..., 0, :], asked)  # summed over the keys
    # asked = linear(query, W_query, b)
    dquery, dW_query, db = linear_backward(dasked, query, params["W_query"], params.get("b"))
    dparams = {"W_query": dW_query, "v": dv} | ({} if db is None else {"b": db})
    return (dquery, Memory(dkey, dvalue), dbias), dparams


def _outer(left, right):
    """left (..., S), right (..., A) -> left_s right_a (..., S, A).

    NumPy computes a product of one term by itself, and far slower than the BLAS one of two: the second is 0.
    """
    left = np.stack([left, np.zeros_like(left)], axis=-1)     # (..., S, 2)
    right = np.stack([right, np.zeros_like(right)], axis=-2)  # (..., 2, A)
    return left @ right
