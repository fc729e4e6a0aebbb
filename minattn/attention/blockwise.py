"""Blockwise attention: exactly `dot`, one tile of the scores at a time, in memory that grows with T and not with T^2.

    peak    <- max(peak, scores of this tile)
    total   <- total   * exp(old peak - peak) + sum exp(scores - peak)
    context <- context * exp(old peak - peak) + exp(scores - peak) value
    at last: context / total

Whenever a larger score comes, what was summed before is rescaled to the new peak, so the sums are those of the softmax
over all keys seen so far. Only log(total) + peak is kept, one number for each query: backward makes each tile of the
weights again as exp(scores - that number). Milakov & Gimelshein 2018, arXiv:1805.02867 (the online softmax); Rabe &
Staats 2021, arXiv:2112.05682; Dao et al. 2022, FlashAttention, arXiv:2205.14135, algorithms 1 and 4.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minattn import masks, op, validate
from minattn.attention import dot
from minattn.attention.cases import SIZES, typical
from minattn.functions import add, part, unbroadcast

SHAPES = {"query": "... T D", "key": "... S D", "value": "... S E"}  # -> "... T E"
PAPER = "Dao 2022, alg. 1 and 4"
TIME, MEMORY = "T S (D + E)", "T (D + E)"
EXACT = "equals `dot`"
TILE = 256  # queries, and keys, of one tile


class Cache(NamedTuple):
    query: Any
    key: Any
    value: Any
    bias: Any
    mask: Any
    shape: tuple
    tile: int
    context: Any
    log_total: Any

    @property
    def weights(self):
        """(..., T, S), made when asked for."""
        whole = slice(None)
        return np.exp(_scores(self, whole, whole) - self.log_total)


naive = dot.naive


def init(rng):
    """Nothing to learn."""
    return {}


def forward(params, query, key, value, bias=None, *, mask=None, tile=TILE):
    """query (..., T, D), key (..., S, D), value (..., S, E), bias to (..., T, S) -> context (..., T, E).

    tile: queries and keys taken together; a rule as mask is asked for tiles alone. Errors and mask as in `dot`.
    """
    shape = validate.attention(SHAPES, params, query, key, value, bias)
    validate.count("tile", tile)
    # what nobody may see never matters, even NaN
    sees, seen = masks.visible(mask, shape, like=query)
    query, key, value = masks.keep(sees, query), masks.keep(seen, key), masks.keep(seen, value)
    cache = Cache(query, key, value, bias, mask, shape, tile, None, None)
    contexts, log_totals = [], []
    for rows in _tiles(shape[-2], tile):
        peak, total, context = -math.inf, 0.0, 0.0
        for columns in _tiles(shape[-1], tile):
            scores = _scores(cache, rows, columns)                               # (..., t, s)
            higher = np.maximum(peak, scores.real.max(axis=-1, keepdims=True))   # (..., t, 1)
            base = np.where(np.isfinite(higher), higher, 0)                      # (..., t, 1)
            exponentials = np.exp(scores - base)                                 # (..., t, s)
            rescale = np.exp(peak - base)                                        # (..., t, 1)  0 for the first tile
            total = total * rescale + exponentials.sum(axis=-1, keepdims=True)   # (..., t, 1)
            context = context * rescale + exponentials @ value[..., columns, :]  # (..., t, E)
            peak = higher
        total = np.where(total == 0, 1, total)                                   # (..., t, 1)  1 in dead rows
        contexts.append(context / total)                                         # (..., t, E)
        log_totals.append(np.log(total) + np.where(np.isfinite(peak), peak, 0))  # (..., t, 1)
    context = np.concatenate(contexts, axis=-2)                                  # (..., T, E)
    return context, cache._replace(context=context, log_total=np.concatenate(log_totals, axis=-2))


def backward(dcontext, cache):
    """-> (dquery, dkey, dvalue, dbias), {}."""
    query, key, value, bias, _, shape, tile, context, log_total = cache
    dquery, dkey, dvalue = np.zeros_like(query), np.zeros_like(key), np.zeros_like(value)
    dbias = None if bias is None else np.zeros_like(bias)
    # the softmax's row sum: sum_s dweights[t, s] weights[t, s] = dcontext[t] context[t]
    row_sum = (dcontext * context).sum(axis=-1, keepdims=True)
    for rows in _tiles(shape[-2], tile):
        for columns in _tiles(shape[-1], tile):
            weights = np.exp(_scores(cache, rows, columns) - log_total[..., rows, :])
            # context = weights @ value
            dnear = dcontext[..., rows, :]
            dvalue[..., columns, :] += unbroadcast(weights.mT @ dnear, value[..., columns, :])
            dweights = dnear @ value[..., columns, :].mT
            # weights = softmax(scores + bias)
            dscores = unbroadcast(weights * (dweights - row_sum[..., rows, :]), weights)
            if bias is not None:
                place = part(dbias, rows, columns)
                place += unbroadcast(dscores, place)
            # scores = query @ key.mT / sqrt(D)
            dscores = dscores / math.sqrt(query.shape[-1])
            dkey[..., columns, :] += unbroadcast(dscores.mT @ query[..., rows, :], key[..., columns, :])
            dquery[..., rows, :] += unbroadcast(dscores @ key[..., columns, :], query[..., rows, :])
    return (dquery, dkey, dvalue, dbias), {}


def _scores(cache, rows, columns):
    """One tile of the scores, -inf where nobody may look."""
    query, key = cache.query[..., rows, :], cache.key[..., columns, :]
    scores = add(query @ key.mT / math.sqrt(query.shape[-1]), part(cache.bias, rows, columns))  # (..., t, s)
    mask = masks.array(cache.mask, cache.shape, like=query, rows=rows, columns=columns)         # to (..., t, s)
    return scores if mask is None else np.where(mask, scores, -np.inf)


def _tiles(steps, tile):
    """Slices of at most `tile` steps; one empty slice where there is no step."""
    return [slice(start, min(start + tile, steps)) for start in range(0, max(steps, 1), tile)]


def cases(rng):
    """The typical ones in tiles that do not divide T and S, the smallest tiles, each equal to `dot`."""
    for i, case in enumerate(typical(rng, SHAPES)):
        yield case._replace(options=case.options | {"tile": (2, 3, 256)[i % 3]}, twin="dot")
    B, H, T, S, D, E = (SIZES[letter] for letter in "BHTSDE")
    far = rng.normal(size=(B, H, T, S)) + 2000 * rng.choice([-1, 0, 1], size=(B, H, T, 1))
    inputs = rng.normal(size=(B, H, T, D)), rng.normal(size=(B, 1, S, D)), rng.normal(size=(B, H, S, E)), far
    yield op.Case("rows offset by 2000", SIZES, inputs, {"tile": 2}, twin="dot")
    pairs = rng.normal(size=(B, T, 2)), rng.normal(size=(B, S, 2)), rng.normal(size=(B, S, 2))
    yield op.Case("width 2, tiles of 1", SIZES | {"D": 2, "E": 2}, pairs, {"tile": 1}, twin="dot")
