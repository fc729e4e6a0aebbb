"""Fused attention: exactly `dot`, made of as few passes over the scores as can be, tile by tile, head beside head.

    E       = 2^(query key^T log2(e) / sqrt(D))         what softmax would divide by its row sum, not divided
    total   = sum over s of E                           one number for each query
    context = E value / total

Three things make it fast. `exp2` costs half of `exp`, and log2(e) rides on the scale of the query for nothing. The
context, T E numbers, is divided by the total in the place of T S weights. And softmax's peak is not looked for: as long
as every total lies between 1e-15 and 1e15 nothing has overflowed, and what underflowed is less than 1e-22 of its row;
where one does not, these rows are done again as `dot` does them, which is right for any scores.

In backward the total divides dcontext once, and softmax's row sum needs no weights either, since what it sums,
sum_s dweights_s weights_s, is dcontext context:

    dsum    = dcontext / total
    dscores = E * (dsum value^T - dsum context)

so that backward is a subtraction and a multiplication between four products. Short rows keep E; for long ones backward
makes it again, in memory that grows with T alone. Threads share the heads, and tiles in which nobody may look are left
out. Tiles: Dao et al. 2022, FlashAttention, arXiv:2205.14135.
"""

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from minattn import masks, op, threads, validate
from minattn.attention import dot
from minattn.attention.cases import SIZES, typical
from minattn.functions import buffers, part, unbroadcast

SHAPES = {"query": "... T D", "key": "... S D", "value": "... S E"}  # -> "... T E"
PAPER = "Dao 2022, in NumPy"
TIME, MEMORY = "T S (D + E)", "T (D + E), and T S for short rows or a bias"
EXACT = "equals `dot`"
LOG2_E = math.log2(math.e)
TILE = 2**18  # scores that are computed together, a megabyte of float32
SHORT = 2**18  # T S of one head up to which the exponentials are kept
ON_A_CARD = 2**26  # the same on a graphics card, where a tile costs a dozen calls and no cache is to be kept
WORTH = 2**25  # multiplications of the forward pass from which on threads help in both
LOW, HIGH = 1e-15, 1e15  # totals between these need no peak


class Cache(NamedTuple):
    query: Any
    key: Any
    value: Any
    bias: Any
    mask: Any
    shape: tuple
    tile: int
    context: Any
    total: Any
    peak: Any
    kept: Any

    @property
    def weights(self):
        """(..., T, S), made when asked for."""
        _, cache = dot.forward({}, self.query, self.key, self.value, self.bias, mask=self.mask)
        return cache.weights


class Heads(NamedTuple):
    """Some heads n of all N, as one thread computes them; where: which."""

    where: slice
    query: Any
    key: Any
    value: Any
    key_T: Any
    scratch: Any


naive = dot.naive


def init(rng):
    """Nothing to learn."""
    return {}


def forward(params, query, key, value, bias=None, *, mask=None, tile=None, keep=None):
    """query (..., T, D), key (..., S, D), value (..., S, E), bias to (..., T, S) -> context (..., T, E).

    tile: scores that are computed together, by default as many as pay; keep: whether the exponentials are kept for
    backward, by default those of short rows. Errors and mask as in `dot`.
    """
    shape = validate.attention(SHAPES, params, query, key, value, bias)
    if tile is None:
        cut = mask is not None and shape[-2] * shape[-1] > TILE // 2             # smaller tiles leave out more of it
        tile = ON_A_CARD if validate.on_device(query) else TILE // 2 if cut else TILE
    validate.count("tile", tile)
    sees, seen = masks.visible(mask, shape, like=query)                          # what nobody may see never matters
    query, key, value = masks.keep(sees, query), masks.keep(seen, key), masks.keep(seen, value)
    (*leading, T, S), E = (*np.broadcast_shapes(shape[:-2], value.shape[:-2]), *shape[-2:]), value.shape[-1]
    N, shape = math.prod(leading), (*leading, T, S)
    dtype = np.result_type(*[x for x in (query, key, value, bias) if x is not None])
    context = buffers.empty(query, (N, T, E), dtype)
    total = np.empty_like(query, shape=(N, T, 1), dtype=dtype)
    peak = np.full_like(total.real, np.nan)                                      # NaN where none was needed
    keep = T * S <= SHORT if keep is None else keep
    kept = buffers.empty(query, (N, T, S), dtype) if keep else None
    cache = Cache(query, key, value, bias, mask, shape, tile, context, total, peak, kept)
    dead = None if sees is None else ~_flat(sees[..., None], leading)            # (N, T, 1)

    def look(heads, rows, peak=None):
        """-> sum of E, sum of E value, over all keys."""
        first, *others = _columns(cache, rows)
        E = _exponentials(cache, heads, rows, first, peak)                       # (n, t, s)
        total, context = _row_sums(E), E @ heads.value[:, first]                 # (n, t, 1), (n, t, E)
        for columns in others:
            E = _exponentials(cache, heads, rows, columns, peak)                 # (n, t, s)
            total += _row_sums(E)                                                # (n, t, 1)
            context += E @ heads.value[:, columns]                               # (n, t, E)
        return total, context

    def work(some):
        for heads in _heads(cache, some, scores=True):
            for rows in _rows(cache):
                place = heads.where, rows
                sums, looked = look(heads, rows)
                fine = moderate(sums)
                if not (fine if dead is None else fine | (dead[place] & (sums == 0))).all():
                    peak[place] = _peak(cache, heads, rows)
                    sums, looked = look(heads, rows, peak[place])
                total[place] = np.where(sums == 0, 1, sums)                      # 1 in dead rows
                np.divide(looked, total[place], out=context[place])

    _share(work, cache)
    return context.reshape(*leading, T, E), cache


def backward(dcontext, cache):
    """-> (dquery, dkey, dvalue, dbias), {}."""
    query, key, value, bias, _, (*leading, T, S), _, context, total, peak, kept = cache
    N, D = math.prod(leading), query.shape[-1]
    dcontext = dcontext.reshape(context.shape)
    whole = slice(0, T), slice(0, S)
    alone = T > 0 and (T, S) == _sides(cache) and _columns(cache, whole[0]) == [whole[1]]  # one tile is all
    dquery, dkey, dvalue = (buffers.empty(total, (N, *x.shape[-2:]), total.dtype) for x in (query, key, value))
    if not alone:
        dquery[...], dkey[...], dvalue[...] = 0, 0, 0
    dbias = None if bias is None else np.zeros_like(total, shape=(N, T, S))
    peaks = not np.isnan(peak).all()  # asked once for all: a card is waited for

    def work(some):
        for heads in _heads(cache, some, scores=kept is None):
            n = heads.where
            value_T = _turned(heads.value, cache)
            for rows in _rows(cache):
                # context = E value / total
                dsum = dcontext[n, rows] / total[n, rows]
                row_sum = np.einsum("nte,nte->nt", dsum, context[n, rows])[..., None]
                high = peak[n, rows] if peaks and not np.isnan(peak[n, rows]).any() else None
                for columns in _columns(cache, rows):
                    again = kept is None
                    E = _exponentials(cache, heads, rows, columns, high) if again else kept[n, rows, columns]
                    _add(dvalue[n, columns], E.mT, dsum, alone)
                    # E = exp(scores)
                    dscores = heads.scratch[1, :, : rows.stop - rows.start, : columns.stop - columns.start]
                    np.matmul(dsum, value_T[..., columns], out=dscores)
                    dscores -= row_sum
                    dscores *= E
                    if bias is not None:
                        dbias[n, rows, columns] = dscores
                    # scores = query @ key.mT / sqrt(D)
                    _add(dkey[n, columns], dscores.mT, heads.query[:, rows], alone)
                    _add(dquery[n, rows], dscores, heads.key[:, columns], alone)

    _share(work, cache)
    dquery /= math.sqrt(D)
    dkey /= math.sqrt(D)
    scaled = (dquery, query), (dkey, key), (dvalue, value), (dbias, bias)
    return tuple(None if x is None else unbroadcast(d.reshape(*leading, *d.shape[1:]), x) for d, x in scaled), {}


def moderate(total):
    """Where no peak was needed: nothing has overflowed, and what has underflowed is less than 1e-22 of its row.

    Half precision has no such numbers: there nothing is moderate.
    """
    if total.real.dtype.itemsize < 4:
        return np.zeros_like(total.real, dtype=bool)
    return (total.real > LOW) & (total.real < HIGH)


def _add(place, left, right, alone):
    """place += left @ right; place = left @ right where nothing else is added there."""
    if alone:
        np.matmul(left, right, out=place)
    else:
        place += left @ right


def _row_sums(E):
    """Faster than E.sum(axis=-1, keepdims=True)."""
    return np.einsum("nts->nt", E)[..., None]


def _exponentials(cache, heads, rows, columns, peak):
    """One tile of E, times exp(-peak) where there is one; it stands where E is kept, if E is kept."""
    n, t, s = heads.where, rows.stop - rows.start, columns.stop - columns.start
    E = heads.scratch[0, :, :t, :s] if cache.kept is None else cache.kept[n, rows, columns]
    if peak is not None:
        E[...] = np.exp(_scores(cache, heads, rows, columns) - peak)             # (n, t, s)
        return E
    query = heads.query[:, rows] * (LOG2_E / math.sqrt(heads.query.shape[-1]))   # (n, t, D)
    np.matmul(query, heads.key_T[..., columns], out=E)                           # (n, t, s)
    if cache.bias is not None:
        E += LOG2_E * _of(n, part(cache.bias, rows, columns), cache.shape)       # (n, t, s)
    np.exp2(E, out=E)                                                            # (n, t, s)
    if cache.mask is not None:
        _, sure = masks.span(cache.mask, cache.shape, rows)
        known = min(sure.stop, columns.stop) - columns.start                     # keys at which all of these rows look
        if sure.start > columns.start or known < s // 4:
            known = 0                                                            # whole rows are quicker to walk
        allowed = _allowed(cache, n, rows, slice(columns.start + known, columns.stop))  # to (n, t, s)
        E[..., known:] *= allowed.astype(E.real.dtype)                           # cast once, not for every head
    return E


def _scores(cache, heads, rows, columns):
    """One tile of the scores as `dot` has them, -inf where nobody may look."""
    n, D = heads.where, cache.query.shape[-1]
    scores = heads.query[:, rows] @ heads.key_T[..., columns] / math.sqrt(D)     # (n, t, s)
    if cache.bias is not None:
        scores = scores + _of(n, part(cache.bias, rows, columns), cache.shape)   # (n, t, s)
    if cache.mask is None:
        return scores
    return np.where(_allowed(cache, n, rows, columns), scores, -np.inf)          # (n, t, s)


def _peak(cache, heads, rows):
    """The largest score of each row, 0 where there is none."""
    tiles = (_scores(cache, heads, rows, columns).real for columns in _columns(cache, rows))
    peak = functools.reduce(np.maximum, (tile.max(axis=-1, keepdims=True) for tile in tiles))
    return np.where(np.isfinite(peak), peak, 0)                                  # (n, t, 1)


def _allowed(cache, n, rows, columns):
    """Who of some heads may look where in one tile."""
    return _of(n, masks.array(cache.mask, cache.shape, like=cache.query, rows=rows, columns=columns), cache.shape)


def _heads(cache, some, scores):
    """As many heads at a time as fill a tile; scores: whether theirs are to be computed, from key_T."""
    *leading, T, S = cache.shape
    query, key, value = (_flat(x, leading) for x in cache[:3])
    t, s = _sides(cache)
    together = max(1, cache.tile // max(t * s, 1))
    scratch = buffers.empty(cache.total, (2, min(together, some.stop - some.start), t, s), cache.total.dtype)
    for n in _slices(some, together):
        key_T = _turned(key[n], cache) if scores else None
        yield Heads(n, query[n], key[n], value[n], key_T, scratch[:, : n.stop - n.start])


def _turned(x, cache):
    """(n, S, D) -> (n, D, S); for short rows laid out as it is read, which makes small products twice as fast."""
    if cache.kept is None:
        return x.mT
    turned = buffers.empty(x, x.mT.shape, x.dtype)
    turned[...] = x.mT
    return turned


def _rows(cache):
    return _slices(slice(0, cache.shape[-2]), _sides(cache)[0])


def _columns(cache, rows):
    """Tiles of the keys that some of these rows may look at; the first key where that is none."""
    span, _ = masks.span(cache.mask, cache.shape, rows)
    return _slices(span, _sides(cache)[1]) or [slice(0, min(1, cache.shape[-1]))]


def _sides(cache):
    """Rows and columns of a tile, twice as wide as high."""
    *_, T, S = cache.shape
    s = min(S, 2 * math.isqrt(cache.tile))
    return min(T, max(1, cache.tile // max(s, 1))), s


def _slices(whole, length):
    return [slice(i, min(i + length, whole.stop)) for i in range(whole.start, whole.stop, max(length, 1))]


def _flat(x, leading):
    """(..., T, D) -> (N, T, D), copied where it was broadcast."""
    whole = (*leading, *x.shape[-2:])
    x = x if x.shape == whole else np.broadcast_to(x, whole)
    return x.reshape(math.prod(leading), *x.shape[-2:])


def _of(heads, term, shape):
    """Some heads of a term (..., t, s) that broadcasts over all."""
    if math.prod(term.shape[:-2]) == 1:
        return term.reshape(term.shape[-2:])
    leading = shape[:-2]
    if heads.stop - heads.start == math.prod(leading):
        return _flat(term, leading)
    places = np.unravel_index(range(heads.start, heads.stop), leading)
    return np.broadcast_to(term, (*leading, *term.shape[-2:]))[tuple(place.tolist() for place in places)]


def _share(work, cache):
    """work(heads) on every core, where there is enough of it; a card needs none."""
    N = math.prod(cache.shape[:-2])
    much = math.prod(cache.shape) * (cache.query.shape[-1] + cache.value.shape[-1]) >= WORTH
    with np.errstate(over="ignore", invalid="ignore"):                           # an overflow is seen in the totals
        if much and isinstance(cache.query, np.ndarray):
            threads.share(work, N)
        else:
            work(slice(0, N))


def cases(rng):
    """The typical ones, in tiles of all sizes, exponentials kept and made again, each equal to `dot`; far scores."""
    for i, case in enumerate(typical(rng, SHAPES)):
        settings = ({"tile": 2}, {"tile": 9, "keep": False}, {"tile": 5}, {}, {"keep": False})[i % 5]
        yield case._replace(options=case.options | settings, twin="dot")
    B, H, T, S, D, E = (SIZES[letter] for letter in "BHTSDE")
    far = rng.normal(size=(B, H, T, S)) + 2000 * rng.choice([-1, 0, 1], size=(B, H, T, 1))
    inputs = rng.normal(size=(B, H, T, D)), rng.normal(size=(B, 1, S, D)), rng.normal(size=(B, H, S, E))
    for keep in (True, False):
        settings = {"tile": 4, "keep": keep}
        yield op.Case(f"rows offset by 2000, keep={keep}", SIZES, (*inputs, far), settings, twin="dot")
        yield op.Case(f"bias, keep={keep}", SIZES, (*inputs, rng.normal(size=(H, T, S))), settings, twin="dot")
        yield op.Case(f"window, keep={keep}", SIZES, inputs, settings | {"mask": masks.window(1, 1)}, twin="dot")
