"""Local attention: the query predicts where to look, and a bell curve keeps its look near that place.

    centre  = S sigmoid(v_position^T tanh(W_position^T query))
    aligned = softmax(query^T W key + bias) over the keys within `reach` of the centre
    weights = aligned * exp(-(s - centre)^2 / (2 (reach / 2)^2))
    context = weights value

Luong, Pham & Manning 2015, arXiv:1508.04025, section 3.2, local-p with the general score of section 3.1. S is the
number of keys that the query may look at, so padding does not count. The weights of a row sum to less than 1.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minattn import masks, validate
from minattn.attention import plain
from minattn.attention.cases import typical
from minattn.functions import (
    add,
    linear,
    linear_backward,
    sigmoid,
    sigmoid_backward,
    softmax,
    softmax_backward,
    tanh,
    tanh_backward,
    unbroadcast,
)
from minattn.op import Memory

SHAPES = {"query": "... T N", "key": "... S D", "value": "... S E"}  # -> "... T E"
SHAPES |= {"W": "N D", "W_position": "N A", "v_position": "A"}
PAPER = "Luong 2015, 3.2 local-p"
TIME, MEMORY = "T S (N + E)", "T S"
EXACT = "weights of its own: softmax times a bell curve"
REACH = 10.0  # Luong's window
ORDERED = True  # the place of a key counts
NORMALISED = False


class Prepared(NamedTuple):
    params: Any
    key: Any
    value: Any


class Attended(NamedTuple):
    params: Any
    query: Any
    memory: Any
    bias: Any
    hidden: Any
    share: Any
    length: Any
    ahead: Any
    bell: Any
    reach: float
    aligned: Any
    weights: Any


class Cache(NamedTuple):
    prepared: Prepared
    attended: Attended

    @property
    def weights(self):
        return self.attended.weights


def naive(params, query, key, value, bias=None, *, mask=None, reach=REACH):
    """The paper's formulas in plain loops."""
    W, W_position, v_position = (params[name] for name in ("W", "W_position", "v_position"))
    T, S = query.shape[-2], key.shape[-2]
    scores = np.broadcast_shapes(query.shape[:-2], key.shape[:-2])
    leading = np.broadcast_shapes(scores, value.shape[:-2])
    mask = masks.array(mask, (*scores, T, S), like=query)
    mask = np.broadcast_to(True if mask is None else mask, (*leading, T, S))
    bias = np.broadcast_to(0.0 if bias is None else bias, (*leading, T, S))
    query, key, value = (np.broadcast_to(x, leading + x.shape[-2:]) for x in (query, key, value))
    context = np.zeros((*leading, T, value.shape[-1]))
    for place in np.ndindex(leading):
        for t in range(T):
            q, may = query[place][t], [s for s in range(S) if mask[place][t, s]]
            if not may:
                continue
            hidden = [math.tanh(sum(q[n] * W_position[n, a] for n in range(len(q)))) for a in range(len(v_position))]
            centre = len(may) / (1 + math.exp(-sum(v_position[a] * hidden[a] for a in range(len(hidden)))))
            near = [s for s in may if abs(s - centre) <= reach and bias[place][t, s] > -math.inf]
            score = [
                sum(q[n] * W[n, d] * key[place][s][d] for n in range(W.shape[0]) for d in range(W.shape[1]))
                + bias[place][t, s]
                for s in near
            ]
            for s, weight in zip(near, plain.softmax(score), strict=True):
                context[place][t] += weight * math.exp(-((s - centre) ** 2) / (2 * (reach / 2) ** 2)) * value[place][s]
    return context


def init(rng, *, N, D, A):
    """Queries of width N, keys of width D; A: width of the network that predicts the centre."""
    return {
        "W": rng.normal(size=(N, D)) / math.sqrt(N * D),
        "W_position": rng.normal(size=(N, A)) / math.sqrt(N),
        "v_position": rng.normal(size=A) / math.sqrt(A),
    }


def forward(params, query, key, value, bias=None, *, mask=None, reach=REACH):
    """query (..., T, N), key (..., S, D), value (..., S, E), bias to (..., T, S) -> context (..., T, E).

    reach: how far from the centre a key may be, in steps; the bell's standard deviation is half of it. Where a key
    crosses that border the weights jump by exp(-2) of their size: there is no derivative at such a point. Errors and
    mask as in `dot`.
    """
    shape = validate.attention(SHAPES, params, query, key, value, bias)
    sees, seen = masks.visible(mask, shape, like=query)  # what nobody may see never matters, even NaN
    memory, prepared = prepare(params, key, value, seen=seen)
    context, attended = attend(params, masks.keep(sees, query), memory, bias, mask=mask, reach=reach)
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


def attend(params, query, memory, bias=None, *, mask=None, reach=REACH):
    """query (..., T, N), memory as prepared -> context (..., T, E)."""
    key, value = memory
    reach = float(reach)
    if not reach > 0:
        raise ValueError(f"reach must be positive but is {reach}: it is the half-width of the window, in steps")
    scores = query @ key.mT                                                      # (..., T, S)
    S = scores.shape[-1]
    mask = masks.array(mask, scores.shape, like=scores)                          # to (..., T, S)
    allowed = None if mask is None else np.broadcast_to(mask, scores.shape)      # (..., T, S)
    length = S if mask is None else allowed.sum(axis=-1, keepdims=True)          # (..., T, 1)
    length = length if mask is None else length.astype(scores.real.dtype)        # (..., T, 1)
    hidden = tanh(linear(query, params["W_position"]))                           # (..., T, A)
    share = sigmoid(linear(hidden, params["v_position"][:, None]))               # (..., T, 1)
    centre = length * share                                                      # (..., T, 1)
    ahead = np.arange(S, like=scores).astype(scores.real.dtype) - centre         # (..., T, S)
    near = (ahead.real <= reach) & (ahead.real >= -reach)                        # (..., T, S)
    aligned = softmax(add(scores, bias), near if mask is None else near & mask)  # (..., T, S)
    bell = np.exp(-2 / reach**2 * (ahead * ahead))                               # (..., T, S)  2 sigma^2 = reach^2 / 2
    weights = aligned * bell                                                     # (..., T, S)
    context = weights @ value                                                    # (..., T, E)
    return context, Attended(
        params, query, memory, bias, hidden, share, length, ahead, bell, reach, aligned, weights
    )


def attend_backward(dcontext, cache):
    """-> (dquery, dmemory, dbias), dparams."""
    params, query, (key, value), bias, hidden, share, length, ahead, bell, reach, aligned, weights = cache
    # context = weights @ value
    dvalue = unbroadcast(weights.mT @ dcontext, value)
    dweights = unbroadcast(dcontext @ value.mT, weights)
    # weights = aligned * bell
    daligned, dbell = dweights * bell, dweights * aligned
    # bell = exp(-2 / reach^2 * ahead^2), ahead = s - centre
    dahead = dbell * bell * (-4 / reach**2 * ahead)
    dcentre = -dahead.sum(axis=-1, keepdims=True)
    # centre = length * share
    dshare = unbroadcast(dcentre * length, share)
    # share = sigmoid(linear(hidden, v_position))
    dsum = sigmoid_backward(dshare, share)
    dhidden, dv_position, _ = linear_backward(dsum, hidden, params["v_position"][:, None])
    # hidden = tanh(linear(query, W_position))
    dinside = tanh_backward(dhidden, hidden)
    dquery, dW_position, _ = linear_backward(dinside, query, params["W_position"])
    # aligned = softmax(scores + bias)
    dscores = softmax_backward(daligned, aligned)
    dbias = unbroadcast(dscores, bias)
    # scores = query @ key.mT
    dkey = unbroadcast(dscores.mT @ query, key)
    dquery = dquery + unbroadcast(dscores @ key, query)
    dparams = {"W_position": dW_position, "v_position": dv_position[:, 0]}
    return (dquery, Memory(dkey, dvalue), dbias), dparams


def cases(rng):
    """The typical ones, with windows that leave keys out."""
    for i, case in enumerate(typical(rng, SHAPES)):
        if case.name == "large scores":  # smaller: where the bell hides the largest weight, all is rounding
            case = case._replace(inputs=tuple(0.5 * x for x in case.inputs))
        yield case._replace(options=case.options | {"reach": (1.3, 2.4, 10.0)[i % 3]})
