"""Masks: who may look at what. True = may look.

A mask is a boolean array that broadcasts to (..., T, S), or a rule that computes any tile of one when it is needed:

    mask = causal() & padding(lengths)

so a mechanism that runs in O(T) memory never makes a T x S array. Rules and arrays combine with &.
"""

import functools
import operator
from typing import Any, NamedTuple

import numpy as np

from minattn import validate
from minattn.functions import unbroadcast

EVERYTHING = slice(None)
TILE = 2**20  # booleans that are looked at together


class Rule(NamedTuple):
    """tile(shape, rows, columns, like) -> booleans for those slices of T and S, broadcasting to (..., T, S)."""

    name: str
    tile: Any

    __array_ufunc__ = None  # so that `array & rule` is ours to answer

    def __and__(self, other):
        """Both must allow the look."""
        name = f"{self.name} & {getattr(other, 'name', 'array')}"
        return Rule(name, lambda *place: self.tile(*place) & _tile(other, *place))

    __rand__ = __and__

    def __repr__(self):
        return self.name


def causal(offset=None):
    """Query t may look at keys 0 .. t + offset: nobody sees the future.

    offset is the place of the first query among the keys. With T = S it is 0; with T != S it has to be said, as in
    decoding with the earlier keys kept, where it is S - T.
    """

    def tile(shape, rows, columns, like):
        T, S = shape[-2:]
        if offset is None and T != S:
            raise ValueError(
                f"causal() cannot know which of the S={S} keys the first of the T={T} queries stands at: "
                f"write causal(offset={S - T}) if the queries are the last ones, causal(offset=0) if they are the first"
            )
        return _places(S, columns, like) <= _places(T, rows, like)[:, None] + (offset or 0)

    return Rule("causal()" if offset is None else f"causal(offset={offset})", tile)


def padding(lengths, query_lengths=None):
    """Keys beyond the length of their sequence are padding, and so are queries beyond query_lengths, where given.

    lengths (B, ...) integers stand for the leading axes of (B, ..., T, S), from the left.
    """

    def tile(shape, rows, columns, like):
        *leading, T, S = shape
        allowed = _places(S, columns, like) < _outer(lengths, leading, S, "S", like)
        if query_lengths is None:
            return allowed
        return allowed & (_places(T, rows, like)[:, None] < _outer(query_lengths, leading, T, "T", like))

    return Rule("padding(lengths)" if query_lengths is None else "padding(lengths, query_lengths)", tile)


def array(mask, shape, *, like, rows=EVERYTHING, columns=EVERYTHING):
    """The mask as booleans that broadcast to shape (..., T, S), or to one tile of it; None stays None.

    like: an array on the device where the mask is wanted.
    """
    if mask is None:
        return None
    if not isinstance(mask, Rule):
        validate.boolean(mask)
        validate.broadcasts("mask", mask.shape, shape, "(..., T, S)")
    return _tile(mask, shape, rows, columns, like)


def visible(mask, shape, *, like):
    """Which queries (..., T) may look at anything, which keys (..., S) anyone may look at; None, None without a mask.

    A rule is asked tile by tile, so that this needs no T x S either.
    """
    if mask is None:
        return None, None
    *_, T, S = shape
    step = max(1, TILE // max(S, 1))
    tiles = [array(mask, shape, like=like, rows=slice(t, t + step)) for t in range(0, max(T, 1), step)]
    looks = [np.broadcast_to(tile, (*tile.shape[:-2], tile.shape[-2], S)) for tile in tiles]
    sees = np.concatenate([tile.any(axis=-1) for tile in looks], axis=-1)         # (..., T)
    seen = functools.reduce(operator.or_, (tile.any(axis=-2) for tile in looks))  # (..., S)
    return sees, seen


def keep(seen, x):
    """x (..., S, *) with zeros in the rows that nobody sees; along axes over which x is shared, one look is enough.

    What cannot be seen must not matter, even NaN: its weight is 0, but 0 x NaN is NaN, forward and backward.
    """
    if seen is None:
        return x
    steps = np.broadcast_to(0, x.shape[:-1])
    looks = np.broadcast_to(seen, np.broadcast_shapes(seen.shape, steps.shape))
    return np.where((unbroadcast(looks, steps) != 0)[..., None], x, 0)


def _tile(mask, shape, rows, columns, like):
    """A tile of a rule, or of a boolean array, whose axes of length 1 broadcast and stay as they are."""
    if isinstance(mask, Rule):
        return mask.tile(shape, rows, columns, like)
    validate.boolean(mask)
    mask = mask.reshape((1,) * (2 - mask.ndim) + mask.shape)
    T, S = mask.shape[-2:]
    return mask[..., EVERYTHING if T == 1 else rows, EVERYTHING if S == 1 else columns]


def _places(steps, part, like):
    """The numbers 0 .. steps-1 of one slice of an axis, on the device of `like`."""
    return np.arange(*part.indices(steps), like=like)


def _outer(lengths, leading, steps, letter, like):
    """lengths (B, ...) -> (B, ..., 1, 1)."""
    lengths = np.asarray(validate.lengths(lengths, leading, steps, letter), like=like)
    return lengths.reshape(lengths.shape + (1,) * (len(leading) - lengths.ndim + 2))
