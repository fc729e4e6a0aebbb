"""Window attention: every query looks at its neighbourhood alone, in time and memory that grow with T, not with T^2.

    context[t] = attention of query t over the keys t - left .. t + right

Sliding window attention as in Beltagy, Peters & Cohan 2020, Longformer, arXiv:2004.05150, section 3.1. The queries are
taken in tiles; each tile asks the keys that any of its queries can reach, by any mechanism, and the window's own mask
does the rest: the result is that of the mechanism with mask `window(left, right)`, to the last digit or so.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minattn import masks, op, tree, validate
from minattn.attention import dot, plain
from minattn.attention.cases import SIZES, typical
from minattn.functions import part

SHAPES = {"query": "... T D", "key": "... S D", "value": "... S E"}  # -> "... T E"
PAPER = "Beltagy 2020, 3.1"
TIME, MEMORY = "T R (D + E)", "T R"
EXACT = "equals `dot` under the mask `window(left, right)`"
TILE = 128  # queries that are asked together
ORDERED = True  # the place of a key counts
OFFSET = True  # and `offset` tells that of the query


class Cache(NamedTuple):
    inner: Any
    tiles: list
    query: Any
    key: Any
    value: Any
    bias: Any

    @property
    def weights(self):
        """(..., T, S), made when asked for: 0 outside the window."""
        T, S = self.query.shape[-2], self.key.shape[-2]
        leading = np.broadcast_shapes(self.query.shape[:-2], self.key.shape[:-2])
        weights = np.zeros_like(self.query, shape=(*leading, T, S))
        for rows, columns, attended in self.tiles:
            weights[..., rows, columns] = attended.weights
        return weights


def naive(params, query, key, value, bias=None, *, mask=None, left=None, right=None, offset=0):
    """Plain loops over all keys, those outside the window not allowed."""
    shape = (*np.broadcast_shapes(query.shape[:-2], key.shape[:-2]), query.shape[-2], key.shape[-2])
    allowed = np.zeros(shape[-2:], dtype=bool)
    for t, s in np.ndindex(allowed.shape):
        behind = left is None or s >= t + offset - left
        allowed[t, s] = behind and (right is None or s <= t + offset + right)
    if mask is not None:
        allowed = allowed & masks.array(mask, shape, like=query)

    def score(q, k):
        return sum(q[d] * k[d] for d in range(len(q))) / math.sqrt(len(q))

    return plain.attention(score, query, key, value, bias, allowed)


def init(rng):
    """Nothing to learn; for another inner mechanism its own `init` makes the parameters."""
    return {}


def forward(
    params, query, key, value, bias=None, *, mask=None, left=None, right=None, offset=0, tile=TILE, inner=dot
):
    """query (..., T, D), key (..., S, D), value (..., S, E), bias to (..., T, S) -> context (..., T, E).

    left, right: how many keys before and after its own place a query can reach, None for all of them; offset: the place
    of the first query among the keys; tile: how many queries are asked together. Errors and mask as in `dot`.
    """
    shape = validate.attention(SHAPES, {}, query, key, value, bias)
    validate.count("tile", tile)
    mask = masks.All((*masks.parts(mask), masks.window(left, right, offset)))
    T, S = shape[-2:]
    contexts, tiles = [], []
    for start in range(0, max(T, 1), tile):
        rows = slice(start, min(start + tile, T))
        columns = _reach(rows, S, left, right, offset)
        context, attended = inner.forward(
            params,
            query[..., rows, :],
            key[..., columns, :],
            value[..., columns, :],
            *op.biases(inner, part(bias, rows, columns)),
            mask=masks.array(mask, shape, like=query, rows=rows, columns=columns),
        )  # (..., t, E)
        contexts.append(context)
        tiles.append((rows, columns, attended))
    return np.concatenate(contexts, axis=-2), Cache(inner, tiles, query, key, value, bias)


def backward(dcontext, cache):
    """-> (dquery, dkey, dvalue, dbias), dparams."""
    inner, tiles, query, key, value, bias = cache
    dkey, dvalue = np.zeros_like(key), np.zeros_like(value)
    dbias = None if bias is None else np.zeros_like(bias)
    dqueries, dparams = [], {}
    for rows, columns, attended in tiles:
        # context[rows] = inner(query[rows], key[columns], value[columns], bias[rows, columns])
        (dquery, dnear, dworth, *dterm), dtile = inner.backward(dcontext[..., rows, :], attended)
        dqueries.append(dquery)
        dkey[..., columns, :] += dnear
        dvalue[..., columns, :] += dworth
        if bias is not None:
            place = part(dbias, rows, columns)
            place += dterm[0]
        dparams = tree.join(dparams, dtile)
    return (np.concatenate(dqueries, axis=-2), dkey, dvalue, dbias), dparams


def _reach(rows, S, left, right, offset):
    """The keys that any query of the tile can reach; where there are none, one key, which the mask hides."""
    first = 0 if left is None else min(max(rows.start + offset - left, 0), S - 1)
    last = S if right is None else min(rows.stop + offset + right, S)
    return slice(first, max(last, first + 1))


def cases(rng):
    """The typical ones with a window, tiles that do not divide T, and another mechanism inside."""
    reaches = [(1, 0), (2, 1), (None, 1), (0, None)]
    for i, case in enumerate(typical(rng, SHAPES)):
        left, right = reaches[i % 4]
        yield case._replace(options=case.options | {"left": left, "right": right, "tile": (3, 2, 128)[i % 3]})
    B, T, S, D, E = (SIZES[letter] for letter in "BTSDE")
    inputs = rng.normal(size=(B, T, D)), rng.normal(size=(B, S, D)), rng.normal(size=(B, S, E))
    yield op.Case("offset", SIZES, inputs, {"left": 1, "right": 1, "offset": 2, "tile": 3})
    yield op.Case("nothing within reach", SIZES, inputs, {"left": 1, "right": 1, "offset": 40, "tile": 3})
    yield op.Case("no borders", SIZES, inputs, {"tile": 3}, twin="dot")
