"""Concat attention: query and key side by side go through one small network.

    score(query, key) = v^T tanh(W^T [query, key])
    context           = softmax(score + bias) value

Luong, Pham & Manning 2015, arXiv:1508.04025, section 3.1, "concat". W^T [query, key] is the sum of the upper rows of W
on the query and of its lower rows on the key: additive attention without b, and that is how it is computed. Without b
the score is odd, score(-query, -key) = -score(query, key), which no dot product is.
"""

import math

import numpy as np

from minattn.attention import additive, plain

SHAPES = {"query": "... T N", "key": "... S D", "value": "... S E"}  # -> "... T E", W (N + D, A), v (A,)
PAPER = "Luong 2015, 3.1 concat"
TIME, MEMORY = "T S (A + E)", "T S A"
EXACT = "equals `additive` without b"


def naive(params, query, key, value, bias=None, *, mask=None):
    """The paper's formula in plain loops."""
    W, v = params["W"], params["v"]

    def score(q, k):
        both = [*q, *k]
        return sum(v[a] * math.tanh(sum(both[i] * W[i, a] for i in range(len(both)))) for a in range(len(v)))

    return plain.attention(score, query, key, value, bias, mask)


def init(rng, *, N, D, A):
    """Queries of width N, keys of width D, compared in width A."""
    return {"W": rng.normal(size=(N + D, A)) / math.sqrt(N + D), "v": rng.normal(size=A) / math.sqrt(A)}


def forward(params, query, key, value, bias=None, *, mask=None, inner=additive):
    """query (..., T, N), key (..., S, D), value (..., S, E), bias to (..., T, S) -> context (..., T, E).

    mask: a rule of `minattn.masks` or booleans to (..., T, S), True = may look. Raises TypeError for integers and for
    masks of numbers, ValueError for shapes that do not fit.
    """
    N, D = query.shape[-1], key.shape[-1]
    if params["W"].shape[0] != N + D:
        rows = f"N + D = {N} + {D} rows"
        raise ValueError(f"W {params['W'].shape} must have {rows} for query {query.shape} and key {key.shape}")
    return inner.forward(_cut(params, N), query, key, value, bias, mask=mask)


def backward(dcontext, cache, *, inner=additive):
    """-> (dquery, dkey, dvalue, dbias), dparams."""
    dinputs, dcut = inner.backward(dcontext, cache)
    return dinputs, {"W": np.concatenate([dcut["W_query"], dcut["W_key"]]), "v": dcut["v"]}


def prepare(params, key, value, *, seen=None, inner=additive):
    """key (..., S, D), value (..., S, E), seen (..., S) booleans -> memory: key (..., S, A), value (..., S, E)."""
    cut = _cut(params, len(params["W"]) - key.shape[-1])
    return inner.prepare(cut, key, value, seen=seen)


def prepare_backward(dmemory, cache, *, inner=additive):
    """-> (dkey, dvalue), dparams, in which the upper rows of W have no part yet."""
    dinputs, dcut = inner.prepare_backward(dmemory, cache)
    return dinputs, {"W": np.concatenate([np.zeros_like(cache.params["W_query"]), dcut["W_key"]])}


def attend(params, query, memory, bias=None, *, mask=None, inner=additive):
    """query (..., T, N), memory as prepared -> context (..., T, E)."""
    return inner.attend(_cut(params, query.shape[-1]), query, memory, bias, mask=mask)


def attend_backward(dcontext, cache, *, inner=additive):
    """-> (dquery, dmemory, dbias), dparams, in which the lower rows of W have no part yet."""
    dinputs, dcut = inner.attend_backward(dcontext, cache)
    return dinputs, {"W": np.concatenate([dcut["W_query"], np.zeros_like(cache.params["W_key"])]), "v": dcut["v"]}


def _cut(params, N):
    """W (N + D, A) -> its upper N rows and the rest, under the names of additive attention."""
    return {"W_query": params["W"][:N], "W_key": params["W"][N:], "v": params["v"]}
