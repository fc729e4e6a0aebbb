"""Attention in plain Python loops: slow, and so plain that it is seen to be right. The oracle of every `naive`."""

import math

import numpy as np

from minattn import masks
from minattn.functions import dropout as drop


def softmax(scores):
    """A list of scores -> their weights."""
    peak = max(scores, default=0.0)
    exponentials = [math.exp(x - peak) for x in scores]
    return [x / sum(exponentials) for x in exponentials]


def attention(score, query, key, value, bias=None, mask=None, dropout=0.0, rng=None, normalise=softmax):
    """score(q, k) -> number; query (..., T, *), key (..., S, *), value (..., S, E) -> context (..., T, E).

        context[t] = sum_s weights[t, s] value[s],   weights[t, s] = exp(score[t, s]) / sum_r exp(score[t, r])

    where s and r run over what t may look at. normalise: another way from scores to weights.
    """
    T, S, E = query.shape[-2], key.shape[-2], value.shape[-1]
    leading = np.broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])
    mask = masks.array(mask, (*np.broadcast_shapes(query.shape[:-2], key.shape[:-2]), T, S), like=query)
    query = np.broadcast_to(query, leading + query.shape[-2:])
    key = np.broadcast_to(key, leading + key.shape[-2:])
    value = np.broadcast_to(value, leading + value.shape[-2:])
    bias = np.broadcast_to(0.0 if bias is None else bias, (*leading, T, S))
    mask = np.broadcast_to(True if mask is None else mask, (*leading, T, S))
    _, kept = drop(np.ones((*query.shape[:-1], S)), dropout, rng)
    context = np.zeros((*leading, T, E))
    for place in np.ndindex(leading):
        for t in range(T):
            looks = [s for s in range(S) if mask[place][t, s] and bias[place][t, s] > -math.inf]
            scores = [score(query[place][t], key[place][s]) + bias[place][t, s] for s in looks]
            for s, weight in zip(looks, normalise(scores), strict=True):
                context[place][t] += weight * (1 if kept is None else kept[place][t, s]) * value[place][s]
    return context
