"""Masks: who may look at what. True = may look.

A mask is a boolean array that broadcasts to (..., T, S), or a rule that computes any tile of one when it is needed:

    mask = causal() & padding(lengths)

so a mechanism that runs in O(T) memory never makes a T x S array. Rules and arrays combine with &.
"""

import functools
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minattn import validate
from minattn.functions import part, split_heads, unbroadcast

EVERYTHING = slice(None)
TILE = 2**20  # booleans that are looked at together


class Rule:
    """Something that answers tile(shape, rows, columns, like) with booleans for those slices of (..., T, S).

    span(shape, rows) -> (first, end): none of these rows may look at a key outside; sure(shape, rows): each may look at
    every key inside; both for all that can be known without looking.
    """

    __array_ufunc__ = None  # so that `array & rule` is ours to answer

    def span(self, shape, rows):
        return 0, shape[-1]

    def sure(self, shape, rows):
        return 0, 0

    def hides_nobody(self, shape):
        """Does every query look at something, and somebody at every key? False where that is not known."""
        return False

    def __and__(self, other):
        """Both must allow the look."""
        return All((*parts(self), *parts(other)))

    def __rand__(self, other):
        return All((*parts(other), *parts(self)))


@dataclass(frozen=True)
class Causal(Rule):
    """Query t may look at keys 0 .. t + offset: nobody sees the future.

    offset is the place of the first query among the keys. With T = S it is 0; with T != S it has to be said, as in
    decoding with the earlier keys kept, where it is S - T.
    """

    offset: int | None = None

    def start(self, shape):
        """The offset for scores of this shape."""
        T, S = shape[-2:]
        if self.offset is None and T != S:
            raise ValueError(
                f"causal() cannot know which of the S={S} keys the first of the T={T} queries stands at: "
                f"write causal(offset={S - T}) if the queries are the last ones, causal(offset=0) if they are the first"
            )
        return self.offset or 0

    def tile(self, shape, rows, columns, like):
        T, S = shape[-2:]
        return _places(S, columns, like) <= _places(T, rows, like)[:, None] + self.start(shape)

    def span(self, shape, rows):
        _, stop, _ = rows.indices(shape[-2])
        return 0, stop + self.start(shape)

    def sure(self, shape, rows):
        start, _, _ = rows.indices(shape[-2])
        return 0, start + self.start(shape) + 1

    def hides_nobody(self, shape):
        T, S = shape[-2:]
        return self.start(shape) >= 0 and S <= T + self.start(shape)


@dataclass(frozen=True)
class Window(Rule):
    """Query t may look at keys t + offset - left .. t + offset + right; None is no border on that side."""

    left: int | None
    right: int | None
    offset: int = 0

    def tile(self, shape, rows, columns, like):
        T, S = shape[-2:]
        ahead = _places(S, columns, like) - _places(T, rows, like)[:, None] - self.offset
        allowed = ahead == ahead
        allowed = allowed if self.left is None else allowed & (ahead >= -self.left)
        return allowed if self.right is None else allowed & (ahead <= self.right)

    def span(self, shape, rows):
        start, stop, _ = rows.indices(shape[-2])
        first = 0 if self.left is None else start + self.offset - self.left
        return first, shape[-1] if self.right is None else stop + self.offset + self.right

    def sure(self, shape, rows):
        start, stop, _ = rows.indices(shape[-2])
        first = 0 if self.left is None else stop - 1 + self.offset - self.left
        return first, shape[-1] if self.right is None else start + self.offset + self.right + 1


@dataclass(frozen=True)
class Padding(Rule):
    """Keys beyond the length of their sequence are padding, and so are queries beyond query_lengths, where given.

    lengths (B, ...) integers stand for the leading axes of (B, ..., T, S), from the left.
    """

    lengths: Any
    query_lengths: Any = None

    def tile(self, shape, rows, columns, like):
        *leading, T, S = shape
        allowed = _places(S, columns, like) < _outer(self.lengths, leading, S, "S", like)
        if self.query_lengths is None:
            return allowed
        return allowed & (_places(T, rows, like)[:, None] < _outer(self.query_lengths, leading, T, "T", like))


@dataclass(frozen=True)
class Document(Rule):
    """Several documents packed into one sequence: a query looks at keys of its own document alone.

    keys (B, ..., S) and queries (B, ..., T) are integers, one number for each document.
    """

    queries: Any
    keys: Any

    def tile(self, shape, rows, columns, like):
        *leading, T, S = shape
        queries = _spread("queries", self.queries, leading, T, like)[..., rows]
        keys = _spread("keys", self.keys, leading, S, like)[..., columns]
        return queries[..., :, None] == keys[..., None, :]


@dataclass(frozen=True)
class Given(Rule):
    """A boolean array among rules; its axes of length 1 broadcast and stay as they are."""

    mask: Any

    def tile(self, shape, rows, columns, like):
        return part(self.mask, rows, columns)


@dataclass(frozen=True)
class All(Rule):
    """Every rule must allow the look."""

    rules: tuple

    def tile(self, *place):
        return functools.reduce(operator.and_, (rule.tile(*place) for rule in self.rules))

    def span(self, shape, rows):
        return _within(rule.span(shape, rows) for rule in self.rules)

    def sure(self, shape, rows):
        return _within(rule.sure(shape, rows) for rule in self.rules)


def causal(offset=None):
    """Query t may look at keys 0 .. t + offset -> Causal."""
    return Causal(offset)


def window(left, right, offset=0):
    """Query t may look at keys t + offset - left .. t + offset + right, None for no border -> Window."""
    for name, reach in (("left", left), ("right", right)):
        if reach is not None and reach < 0:
            raise ValueError(f"{name} must be at least 0, or None for no border, but is {reach}")
    return Window(left, right, offset)


def padding(lengths, query_lengths=None):
    """What lies beyond the length of its sequence is not there, lengths (B, ...) -> Padding."""
    return Padding(lengths, query_lengths)


def document(queries, keys=None):
    """A query looks at keys of its own document, (B, ..., T) and (B, ..., S) numbers of documents -> Document."""
    return Document(queries, queries if keys is None else keys)


def parts(mask):
    """The rules that a mask is made of: a boolean array is one, None is none."""
    if mask is None:
        return ()
    if isinstance(mask, Rule):
        return mask.rules if isinstance(mask, All) else (mask,)
    validate.boolean(mask)
    return (Given(mask),)


def array(mask, shape, *, like, rows=EVERYTHING, columns=EVERYTHING):
    """The mask as booleans that broadcast to shape (..., T, S), or to one tile of it; None stays None.

    like: an array on the device where the mask is wanted.
    """
    rules = parts(mask)
    for rule in rules:
        if isinstance(rule, Given):
            validate.together(mask=rule.mask, query=like)
            validate.broadcasts("mask", rule.mask.shape, shape, "(..., T, S)")
    return All(rules).tile(shape, rows, columns, like) if rules else None


def span(mask, shape, rows):
    """The keys outside of which none of these rows may look, and those at which all of them may: two slices.

    As far as rules tell without being looked at: the second is empty where they do not, never the first.
    """
    S, rules = shape[-1], parts(mask)
    if not rules:
        return slice(0, S), slice(0, S)
    some, sure = (_within(getattr(rule, ask)(shape, rows) for rule in rules) for ask in ("span", "sure"))
    return _clipped(some, S), _clipped(sure, S)


def separate(mask, shape, *, like):
    """A mask as queries (..., T), keys (..., S) and an offset: t may look at s <= t + offset, where both are allowed.

    For mechanisms that keep one sum over the keys. queries and keys are None where all are allowed; without a causal
    rule the offset is S. ValueError for masks that cannot be taken apart so.
    """
    T, S = shape[-2:]
    queries, keys, offset = [], [], S
    for rule in parts(mask):
        if isinstance(rule, Given):
            validate.together(mask=rule.mask, query=like)
            validate.broadcasts("mask", rule.mask.shape, shape, "(..., T, S)")
        tall = isinstance(rule, Given) and (rule.mask.ndim < 2 or rule.mask.shape[-2] == 1)
        wide = isinstance(rule, Given) and rule.mask.ndim > 1 and rule.mask.shape[-1] == 1
        if isinstance(rule, Causal):
            offset = min(offset, rule.start(shape))
        elif isinstance(rule, Padding):
            keys.append(Padding(rule.lengths).tile(shape, EVERYTHING, EVERYTHING, like)[..., 0, :])
            if rule.query_lengths is not None:
                flipped = (*shape[:-2], S, T)
                queries.append(Padding(rule.query_lengths).tile(flipped, EVERYTHING, EVERYTHING, like)[..., 0, :])
        elif tall:
            keys.append(np.broadcast_to(rule.mask, (*rule.mask.shape[:-1], S)).reshape(*rule.mask.shape[:-2], S))
        elif wide:
            queries.append(np.broadcast_to(rule.mask[..., 0], (*rule.mask.shape[:-2], T)))
        else:
            came = "a boolean array" if isinstance(rule, Given) else type(rule).__name__
            raise ValueError(
                f"this mechanism keeps one sum of all keys, so its mask can be causal(), padding(...), booleans "
                f"(..., 1, S) or (..., T, 1), and those joined, but {came} gives each query its own keys"
            )
    both = (functools.reduce(operator.and_, allowed) if allowed else None for allowed in (queries, keys))
    return (*both, offset)


def heads(mask, G):
    """A mask over (..., H, T, S) for scores (..., G, H / G, T, S): arrays get the new axis, rules know no heads."""
    rules = tuple(Given(split_heads(rule.mask, G)) if isinstance(rule, Given) else rule for rule in parts(mask))
    return All(rules) if rules else None


def visible(mask, shape, *, like):
    """Which queries (..., T) may look at anything, which keys (..., S) anyone may look at; None, None where all are.

    A rule is asked tile by tile, so that this needs no T x S either.
    """
    rules = parts(mask)
    if not rules or (len(rules) == 1 and rules[0].hides_nobody(shape)):
        return None, None
    *_, T, S = shape
    step = max(1, TILE // max(S, 1))
    tiles = [array(mask, shape, like=like, rows=slice(t, t + step)) for t in range(0, max(T, 1), step)]
    alike = tiles[0].shape[-2] == 1 < min(step, T)                                # all rows are
    looks = [np.broadcast_to(tile, (*tile.shape[:-1], S)) for tile in (tiles[:1] if alike else tiles)]
    sees = np.concatenate([tile.any(axis=-1) for tile in looks], axis=-1)         # (..., T)
    sees = np.broadcast_to(sees, (*sees.shape[:-1], T))                           # (..., T)
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


def _within(spans):
    """Where all of the spans (first, end) overlap."""
    firsts, ends = zip(*spans, strict=True)
    return max(firsts), min(ends)


def _clipped(span, S):
    """(first, end) as a slice of S keys, perhaps an empty one."""
    first, end = (min(max(i, 0), S) for i in span)
    return slice(first, max(first, end))


def _places(steps, part, like):
    """The numbers 0 .. steps-1 of one slice of an axis, on the device of `like`."""
    return np.arange(*part.indices(steps), like=like)


def _outer(lengths, leading, steps, letter, like):
    """lengths (B, ...) -> (B, ..., 1, 1)."""
    validate.reaches("lengths", lengths, like)
    lengths = np.asarray(validate.lengths(lengths, leading, steps, letter), like=like)
    return lengths.reshape(lengths.shape + (1,) * (len(leading) - lengths.ndim + 2))


def _spread(name, numbers, leading, steps, like):
    """Numbers of documents (B, ..., S) -> with an axis of 1 for each leading axis that they do not have."""
    numbers = numbers if hasattr(numbers, "dtype") else np.asarray(numbers)
    if numbers.dtype.kind not in "iu" or numbers.ndim == 0 or numbers.shape[-1] != steps:
        came = f"{numbers.dtype} {numbers.shape}"
        raise ValueError(f"{name} of document() must be integers (B, ..., {steps}) but came as {came}")
    validate.lengths(numbers[..., 0] * 0, leading, 0)
    validate.reaches(name, numbers, like)
    numbers = np.asarray(numbers, like=like)
    return numbers.reshape(numbers.shape[:-1] + (1,) * (len(leading) - numbers.ndim + 1) + (steps,))
