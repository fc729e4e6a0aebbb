"""Linear attention: the softmax gives way to a product of features, so the keys can be summed once for all queries.

    context[t] = phi(query[t])^T state / phi(query[t])^T total,    phi(x) = elu(x) + 1 > 0
    state      = sum over s of phi(key[s]) value[s]^T,             total = sum over s of phi(key[s])

With a causal mask the sums run up to t. The queries are taken in tiles: what lies before the tile is in the state, what
lies in it is compared one by one. A column of ones beside value makes `total` part of `state`.

Katharopoulos et al. 2020, Transformers are RNNs, arXiv:2006.16236, equations 4 to 12.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minattn import masks, op, validate
from minattn.attention.cases import SIZES
from minattn.functions import elu, unbroadcast

SHAPES = {"query": "... T D", "key": "... S D", "value": "... S E"}  # -> "... T E"
PAPER = "Katharopoulos 2020, eq. 4-12"
TIME, MEMORY = "(T + S) D E", "(T + S) (D + E)"
EXACT = "another kernel in the place of the softmax"
TILE = 64  # queries that are compared with their own tile one by one


class Cache(NamedTuple):
    query: Any
    key: Any
    queries: Any
    keys: Any
    phi_query: Any
    phi_key: Any
    worth: Any
    tiles: list
    total: Any
    context: Any

    @property
    def weights(self):
        """(..., T, S), made when asked for."""
        last = np.concatenate([tile.last for tile in self.tiles])
        allowed = np.arange(self.key.shape[-2], like=last) <= last[:, None]
        scores = np.where(allowed, self.phi_query @ self.phi_key.mT, 0)
        total = scores.sum(axis=-1, keepdims=True)
        return scores / np.where(total == 0, 1, total)


class Tile(NamedTuple):
    """Queries `rows`; keys `new` join the state, which is then `state`; keys `near` are compared one by one."""

    rows: slice
    new: slice
    near: slice
    last: Any
    state: Any
    scores: Any


def naive(params, query, key, value, *, mask=None):
    """The paper's equation 4 in plain loops."""
    T, S = query.shape[-2], key.shape[-2]
    leading = np.broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])
    mask = masks.array(mask, (*np.broadcast_shapes(query.shape[:-2], key.shape[:-2]), T, S), like=query)
    mask = np.broadcast_to(True if mask is None else mask, (*leading, T, S))
    query, key, value = (np.broadcast_to(x, leading + x.shape[-2:]) for x in (query, key, value))
    context = np.zeros((*leading, T, value.shape[-1]))

    def phi(x):
        return x + 1 if x > 0 else math.exp(x)

    def similarity(q, k):
        return sum(phi(q[d]) * phi(k[d]) for d in range(len(q)))

    for place in np.ndindex(leading):
        for t in range(T):
            looks = [s for s in range(S) if mask[place][t, s]]
            weights = [similarity(query[place][t], key[place][s]) for s in looks]
            for s, weight in zip(looks, weights, strict=True):
                context[place][t] += weight / sum(weights) * value[place][s]
    return context


def init(rng):
    """Nothing to learn."""
    return {}


def forward(params, query, key, value, *, mask=None, tile=TILE):
    """query (..., T, D), key (..., S, D), value (..., S, E) -> context (..., T, E).

    mask: causal, padding, booleans (..., 1, S) or (..., T, 1), and any of them joined: one sum serves all queries, so
    no query can have keys of its own; others raise ValueError. There is no bias: there are no scores to add it to.
    """
    shape = validate.attention(SHAPES, params, query, key, value)
    validate.count("tile", tile)
    T, S = shape[-2:]
    queries, keys, offset = masks.separate(mask, shape, like=query)
    sees, seen = _visible(queries, keys, offset, shape, like=query)      # what nobody may see never matters, even NaN
    query, key, value = masks.keep(sees, query), masks.keep(seen, key), masks.keep(seen, value)
    phi_query = _open(queries, elu(query) + 1)                           # (..., T, D)
    phi_key = _open(keys, elu(key) + 1)                                  # (..., S, D)
    ones = np.ones_like(value[..., :1])                                  # (..., S, 1)
    worth = np.concatenate([value, ones], axis=-1)                       # (..., S, E + 1)
    state, tiles, summed, done = 0, [], [], 0
    for start in range(0, max(T, 1), tile):
        rows = slice(start, min(start + tile, T))
        first, stop = (min(max(place + offset, 0), S) for place in (rows.start, rows.stop))
        new, near = slice(done, first), slice(first, stop)
        state = state + phi_key[..., new, :].mT @ worth[..., new, :]     # (..., D, E + 1)
        last = np.arange(rows.start, rows.stop, like=query) + offset     # (t,)
        allowed = np.arange(first, stop, like=query) <= last[:, None]    # (t, s)
        asked = phi_query[..., rows, :]                                  # (..., t, D)
        scores = np.where(allowed, asked @ phi_key[..., near, :].mT, 0)  # (..., t, s)
        summed.append(asked @ state + scores @ worth[..., near, :])      # (..., t, E + 1)
        tiles.append(Tile(rows, new, near, last, state, scores))
        done = new.stop
    summed = np.concatenate(summed, axis=-2)                             # (..., T, E + 1)
    total = np.where(summed[..., -1:] == 0, 1, summed[..., -1:])         # (..., T, 1)
    context = summed[..., :-1] / total                                   # (..., T, E)
    return context, Cache(query, key, queries, keys, phi_query, phi_key, worth, tiles, total, context)


def backward(dcontext, cache):
    """-> (dquery, dkey, dvalue), {}."""
    query, key, queries, keys, phi_query, phi_key, worth, tiles, total, context = cache
    # context = summed / total, total the last column of summed
    dcontext = dcontext / total
    dsummed = np.concatenate([dcontext, -(dcontext * context).sum(axis=-1, keepdims=True)], axis=-1)
    dphi_key, dworth = np.zeros_like(phi_key), np.zeros_like(worth)
    dphi_query, dstate = [], 0
    for rows, new, near, _, state, scores in reversed(tiles):
        asked, dhere = phi_query[..., rows, :], dsummed[..., rows, :]
        # summed = asked @ state + scores @ worth
        dasked = dhere @ state.mT
        dstate = dstate + asked.mT @ dhere
        dworth[..., near, :] += unbroadcast(scores.mT @ dhere, worth[..., near, :])
        dscores = np.where(scores == 0, 0, dhere @ worth[..., near, :].mT)
        # scores = asked @ phi_key^T where allowed
        dphi_key[..., near, :] += unbroadcast(dscores.mT @ asked, phi_key[..., near, :])
        dphi_query.append(dasked + dscores @ phi_key[..., near, :])
        # state = state + phi_key^T @ worth
        dworth[..., new, :] += unbroadcast(phi_key[..., new, :] @ dstate, worth[..., new, :])
        dphi_key[..., new, :] += unbroadcast(worth[..., new, :] @ dstate.mT, phi_key[..., new, :])
    dphi_query = np.concatenate(dphi_query[::-1], axis=-2)
    # worth = [value, 1]
    dvalue = dworth[..., :-1]
    # phi = elu(x) + 1 where the mask is open; its slope is elu(x) + 1 itself below 0
    dquery = unbroadcast(_open(queries, dphi_query), query) * np.where(query.real > 0, 1, elu(query) + 1)
    dkey = unbroadcast(_open(keys, dphi_key), key) * np.where(key.real > 0, 1, elu(key) + 1)
    return (dquery, dkey, dvalue), {}


def _visible(queries, keys, offset, shape, *, like):
    """Which queries see anything and which keys anyone sees, from the three parts of the mask, in O(T + S)."""
    T, S = shape[-2:]
    keys = np.ones_like(like, shape=(S,), dtype=bool) if keys is None else keys  # (..., S)
    count = np.cumsum(keys, axis=-1)                                             # (..., S)
    last = np.arange(T, like=like) + offset                                      # (T,)  the last key that t may look at
    sees = (count[..., np.clip(last, 0, S - 1)] > 0) & (last >= 0)               # (..., T)
    sees = sees if queries is None else sees & queries                           # (..., T)
    farthest = last if queries is None else np.where(queries, last, -1)          # (..., T)  -1: not there, sees nothing
    farthest = farthest.max(axis=-1)[..., None] if T else -1                     # (..., 1)  no queries: nothing is seen
    return sees, keys & (np.arange(S, like=like) <= farthest)


def _open(allowed, phi):
    """phi (..., S, D) where its row is allowed, else 0; where heads share phi but not the mask, phi gets their axis."""
    return phi if allowed is None else np.where(allowed[..., None], phi, 0)


def cases(rng):
    """Both kinds of sum, tiles that do not divide T, padding, and rows that see nothing."""
    B, H, T, S, D, E = (SIZES[letter] for letter in "BHTSDE")

    def draw(query=(B,), key=(B,), value=(B,), T=T, S=S, D=D, E=E):
        shapes = ((*query, T, D), (*key, S, D), (*value, S, E))
        return tuple(rng.normal(size=shape) for shape in shapes)

    def case(name, inputs, mask=None, tile=2):
        return op.Case(name, SIZES, inputs, {"tile": tile} | ({} if mask is None else {"mask": mask}))

    yield case("batch", draw())
    yield case("no batch", draw((), (), ()))
    yield case("no sequences", draw((0,), (0,), (0,)))
    yield case("shared keys", draw((B, H), (B, 1), (1, H)), tile=64)
    yield case("causal", draw(S=T), masks.causal(), tile=3)
    yield case("causal, last queries", draw(), masks.causal(offset=S - T))
    yield case("causal, dead rows", draw(T=7), masks.causal(offset=-2), tile=3)
    yield case("causal, shared keys", draw((B, H), (B, 1), (1, H), S=T), masks.causal())
    query, key, value = draw((B, H), (B, 1), (B, 1), S=T)
    key[1, :, T - 2 :], value[1, :, T - 2 :], query[0, :, T - 1] = np.nan, np.inf, np.nan
    padding = masks.padding(np.array([T, T - 2]), np.array([T - 1, T]))
    yield case("NaN in the padding", (query, key, value), padding)
    yield case("NaN in the padding, causal", (query, key, value), padding & masks.causal())
    yield case("keys shared, masks not", draw((B, H), (B, 1), (B, 1)), rng.random((B, H, 1, S)) < 0.6)
    yield case("one memory for all", draw((B,), (1,), (1,)), masks.padding(np.array([2, S]), np.array([T, T - 2])))
    yield case("one query for all", draw((1,), (B,), (B,)), masks.padding(np.array([S, S]), np.array([2, T - 1])))
    query, key, value = draw(S=T)
    key[0], key[1, -1] = np.nan, np.nan
    absent = masks.padding(np.array([T, T]), np.array([0, T - 1]))
    yield case("keys that only absent queries could see", (query, key, value), absent & masks.causal())
    yield case("booleans for keys", draw(), rng.random((B, 1, S)) < 0.6)
    yield case("nothing to see", draw(), masks.padding(np.array([0, S])))
    x = rng.normal(size=(B, S, D))
    yield case("query is key is value", (x, x, x), masks.causal())
    yield case("widths 2 and 1, tiles of 1", draw(D=2, E=1), masks.causal(offset=1), tile=1)
    query, key, value = draw()
    value[..., 2] = 0
    yield case("values of 0", (query, key, value))
