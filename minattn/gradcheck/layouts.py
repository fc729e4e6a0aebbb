"""How other people lay out the arrays of an op: heads side by side, gates in another order, matrices turned.

All their numbers are laid end to end, behind the numbers 0 and 1, and counted. A layout says for each array of ours
which of these numbers it holds, so it is written as what it does to arrays of counts: `at["W"].mT` is their W turned.
What goes there one way, as numbers, comes back the other way, as gradients: `Laid.back` is the transpose of `Laid.of`.
"""

import itertools
from typing import Any, NamedTuple

import numpy as np

from minattn import masks
from minattn.gradcheck.derivative import floating

ZERO, ONE = 0, 1  # the first two numbers of all
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
STATES = ("a0", "h0", "h_0", "hprev", "h_prev", "h", "hidden", "c0", "c_0", "cprev", "c_prev", "c", "cell")
MOST = 400  # layouts of one op that are tried


class Layout(NamedTuple):
    """slots {(kind, name): counts, a list of counts to add up, or the path of an array that is taken as it is}; options
    of the op; out: what makes their output of ours."""

    slots: dict
    options: dict = {}  # noqa: RUF012
    out: Any = None


class Laid(NamedTuple):
    """All their numbers, 0 and 1 before them, and {path: counts in the shape of the array}."""

    numbers: Any
    at: dict

    def of(self, counts):
        """The numbers that stand there."""
        return sum(self.numbers[some] for some in _several(counts))

    def back(self, gradients):
        """[(counts, gradient)] -> {path: gradient}, added up wherever a number was used."""
        total = np.zeros(len(self.numbers))
        for counts, gradient in gradients:
            for some in _several(counts):
                np.add.at(total, some, gradient)
        return {path: total[counts] for path, counts in self.at.items()}


def lay(leaves):
    """{path: array} -> Laid: those with fractions."""
    numbers, at = [np.array([ZERO, ONE], dtype=np.float64)], {}
    for path, leaf in leaves.items():
        if floating(leaf):
            at[path] = sum(map(len, numbers)) + np.arange(leaf.size).reshape(leaf.shape)
            numbers.append(leaf.reshape(-1).astype(np.float64))
    return Laid(np.concatenate(numbers), at)


def _several(counts):
    return counts if isinstance(counts, list) else [counts]


def plain(places, leaves):
    """Each array in one place: places {path: (kind, name)}."""
    at = lay(leaves).at
    return Layout({slot: at.get(path, path) for path, slot in places.items()})


def layouts(name, leaves, aliases):
    """The ways in which the arrays of an op of this name may have been laid out, likely ones first."""
    family = FAMILIES.get(name)
    if family is None:
        return
    at = lay(leaves).at
    others = {path: leaf for path, leaf in leaves.items() if path not in at}
    try:
        yield from itertools.islice(family(name, at, others, aliases), MOST)
    except _NoFit:
        return


class _NoFit(Exception):
    """These arrays are not those of this op."""


def _recurrent(name, at, others, aliases):
    """W_input and W_hidden, or one matrix for [x, h]; gates in any order, or each in a matrix of its own; turned.

    Steps first, or no batch; every state comes out, or the last alone.
    """
    if others:
        raise _NoFit
    at, k = dict(at), GATES[name]
    x = _take(at, "inputs", aliases, ndim=(2, 3))
    at = {path: a[:, 0] if a.ndim == 2 and a.shape[1] == 1 else a for path, a in at.items()}  # a column is a vector
    matrices = {path: a for path, a in at.items() if a.ndim == 2}
    vectors = {path: a for path, a in at.items() if a.ndim == 1}
    if len(matrices) + len(vectors) != len(at) or not matrices:
        raise _NoFit
    start = [matrices.pop(path) for path in list(matrices) if path.rsplit(".", 1)[-1].lower() in STATES]
    if x.ndim == 2:
        ways = {"no batch": (x[None], (lambda o: o[0], lambda o: o[0, -1]))}
    else:
        ways = {
            "batch first": (x, (None, lambda o: o[:, -1])),
            "steps first": (x.swapaxes(0, 1), (lambda o: o.swapaxes(0, 1), lambda o: o[:, -1])),
            "columns": (x.transpose(1, 2, 0), (lambda o: o.transpose(2, 0, 1), lambda o: o[:, -1].T)),
        }
    for way, turned in itertools.product(ways, (False, True)):
        inputs, outs = ways[way]
        given = [a.T if turned else a for a in matrices.values()]
        for params in _joined(given, list(vectors.values()), inputs.shape[-1], k):
            slots = {("inputs", "inputs"): inputs}
            if start:
                states = [a.T if way == "columns" else a for a in start]
                states += [np.full_like(states[0], ZERO)] * (k == 4 and len(states) == 1)
                slots |= {("inputs", f"state.{i}"): a for i, a in enumerate(states)}
            for order, out in itertools.product(itertools.permutations(range(k)), outs):
                gates = {("params", one): _gates(counts, order) for one, counts in params.items()}
                yield Layout(slots | gates, {}, out)


def _joined(matrices, vectors, I, k):
    """W_input (I, kN), W_hidden (N, kN) and biases (kN,) of two matrices, of one, of k or of 2 k."""
    if len(matrices) in (k, 2 * k) and k > 1:  # a matrix for each gate
        if len({len(W) for W in matrices}) == 1:
            matrices = [np.concatenate(some, axis=1) for some in _chunks(matrices, k) if _fit(some, 0)]
        else:
            wide = [[W for W in matrices if (len(W) == I) is first] for first in (True, False)]
            matrices = [np.concatenate(some, axis=1) for some in wide if len(some) == k and _fit(some, 0)]
    if len(vectors) in (k, 2 * k) and k > 1:
        vectors = [np.concatenate(some) for some in _chunks(vectors, k)]
    pairs = []
    if len(matrices) == 2:
        pairs = [matrices, matrices[::-1]] if matrices[0].shape == matrices[1].shape else [matrices]
    elif len(matrices) == 1:
        N = matrices[0].shape[1] // k
        pairs = [(matrices[0][:I], matrices[0][I:]), (matrices[0][N:], matrices[0][:N])]
    for W_input, W_hidden in pairs:
        if len(W_input) != I and len(W_hidden) == I:
            W_input, W_hidden = W_hidden, W_input
        N = len(W_hidden)
        if len(W_input) != I or W_input.shape[1] != k * N or W_hidden.shape[1] != k * N:
            continue
        if any(b.shape != (k * N,) for b in vectors) or len(vectors) > 2:
            continue
        params, none = {"W_input": W_input, "W_hidden": W_hidden}, np.full(k * N, ZERO)
        if k == GATES["gru"]:
            b, b_hidden = (*vectors, none, none)[:2]
            yield params | {"b": b, "b_hidden": b_hidden}
        else:  # two biases are added up
            yield params | {"b": vectors or none}


def _gates(counts, order):
    """The gates along the last axis in our order, where theirs stand in `order`."""
    if isinstance(counts, list):
        return [_gates(some, order) for some in counts]
    blocks = np.split(counts, len(order), axis=-1)
    return np.concatenate([blocks[i] for i in order], axis=-1)


def _heads(name, at, others, aliases):
    """Matrices (M, H D) with the heads side by side, turned or not, q k v in one; self-attention; no output matrix."""
    at = dict(at)
    flat = [a for a in at.values() if a.ndim == 1]
    matrices = {path: a for path, a in at.items() if a.ndim == 2}
    inputs = [a for a in at.values() if a.ndim == 3]
    if len(flat) + len(matrices) + len(inputs) != len(at) or not 1 <= len(inputs) <= 3:
        raise _NoFit
    query, key, value = {1: inputs * 3, 2: [*inputs, inputs[-1]], 3: inputs}[len(inputs)]
    if any(leaf.dtype != bool for leaf in others.values()) or len(others) > 1:
        raise _NoFit
    asked = [{"mask": _of_heads(mask, query)} for mask in others.values()] or [{}, {"mask": masks.causal()}]
    M = query.shape[-1]
    for turned in (False, True):
        W = [a.T if turned else a for a in _in_order(matrices, ("W_query", "W_key", "W_value", "W_out"), aliases)]
        if len(W) in (1, 2) and W[0].shape[1] % 3 == 0:  # q, k and v in one
            W = [*np.split(W[0], 3, axis=1), *W[1:]]
        b = [*np.split(flat[0], 3), *flat[1:]] if flat and len(flat) in (1, 2) and len(flat[0]) % 3 == 0 else flat
        if len(W) not in (3, 4) or len(b) not in (0, 3, 4) or any(len(one) != M for one in W[:3]):
            continue
        width, across = W[0].shape[1], W[2].shape[1]
        out, show = (W[3], None) if len(W) == 4 else (np.eye(across, M, dtype=int), lambda o, n=across: o[..., :n])
        if len(out) != across or (len(W) == 3 and across > M) or W[1].shape[1] != width:
            continue
        for H in (h for h in range(1, width + 1) if width % h == 0 and across % h == 0):
            slots = {("inputs", "query"): query, ("inputs", "key"): key, ("inputs", "value"): value}
            for one, matrix in zip(("query", "key", "value"), W, strict=False):
                slots["params", f"W_{one}"] = matrix.reshape(M, H, -1)
            for one, bias in zip(("query", "key", "value"), b, strict=False):
                slots["params", f"b_{one}"] = bias.reshape(H, -1)
            slots["params", "W_out"] = out.reshape(H, -1, out.shape[1])
            if len(b) == 4:
                slots["params", "b_out"] = b[3]
            for options in asked:
                yield Layout(slots, options, show)


def _of_heads(mask, query):
    """(T, S), (B, T, S) or (B, H, T, S) -> what may be read as (B, H, T, S)."""
    return mask[:, None] if mask.ndim == 3 and len(mask) == len(query) else mask


def _dot(name, at, others, aliases):
    """Self-attention of x alone; (B, T, H, D) in the place of (B, H, T, D); a single query (B, D)."""
    if others or len(at) not in (1, 3):
        raise _NoFit
    q, k, v = at.values() if len(at) == 3 else [*at.values()] * 3
    for options in ({}, {"mask": masks.causal()}):
        yield Layout(_qkv(q, k, v), options)
        if q.ndim == k.ndim == v.ndim == 4:
            yield Layout(_qkv(*(a.swapaxes(1, 2) for a in (q, k, v))), options, lambda o: o.swapaxes(1, 2))
    if q.ndim == k.ndim - 1:
        yield Layout(_qkv(q[:, None], k, v), {}, lambda o: o[:, 0])


def _additive(name, at, others, aliases):
    """A single query (B, D); the annotations as keys and values; matrices turned; v as (A, 1)."""
    if others:
        raise _NoFit
    at = dict(at)
    names = ("W_query", "W_key", "v")
    last = dict(list(at.items())[-3:])  # the inputs come first
    named = dict(zip(names, _in_order(last, names, aliases), strict=False))
    inputs = list(at.values())[:-3]
    if len(named) < 3 or len(inputs) not in (2, 3) or inputs[-1].ndim != 3:
        raise _NoFit
    query, key, value = (*inputs, inputs[-1])[:3]
    query, out = (query[:, None], lambda o: o[:, 0]) if query.ndim == 2 else (query, None)
    for turned in (False, True):
        W_query, W_key = (named[one].T if turned else named[one] for one in ("W_query", "W_key"))
        params = {("params", "W_query"): W_query, ("params", "W_key"): W_key, ("params", "v"): named["v"].reshape(-1)}
        yield Layout(_qkv(query, key, value) | params, {}, out)


def _linear(name, at, others, aliases):
    """W as (outputs, inputs)."""
    at = dict(at)
    x, W = _take(at, "x", aliases, ndim=range(1, 9)), _take(at, "W", aliases, ndim=(2,))
    slots = {("inputs", "x"): x, ("inputs", "W"): W.T}
    if at:
        slots["inputs", "b"] = next(iter(at.values()))
    yield Layout(slots)


def _cross_entropy(name, at, others, aliases):
    """Targets below 0 are those that are ignored."""
    if len(at) != 1 or len(others) != 1:
        raise _NoFit
    ((logits,), ((path, targets),)) = at.values(), others.items()
    slots = {("inputs", "logits"): logits, ("inputs", "targets"): path}
    yield Layout(slots, {"ignore_index": int(targets.min())})


def _convolution(name, at, others, aliases):
    """Channels first, (B, C, Y, X) with (O, C, k, k), or last; any stride and padding that fits."""
    at = dict(at)
    x, W = _take(at, "x", aliases, ndim=(4,)), _take(at, "W", aliases, ndim=(4,))
    b = {("inputs", "b"): next(iter(at.values()))} if at else {}
    first = {("inputs", "x"): x.transpose(0, 2, 3, 1), ("inputs", "W"): W.transpose(2, 3, 1, 0)}
    last = {("inputs", "x"): x, ("inputs", "W"): W}
    for stride, padding in itertools.product((1, 2, 3), (0, 1, 2, 3)):
        yield Layout(first | b, {"stride": stride, "padding": padding}, lambda o: o.transpose(0, 3, 1, 2))
        yield Layout(last | b, {"stride": stride, "padding": padding})


FAMILIES = dict.fromkeys(GATES, _recurrent) | {
    "multihead": _heads,
    "dot": _dot,
    "additive": _additive,
    "functions.linear": _linear,
    "conv2d": _convolution,
    "cross_entropy": _cross_entropy,
}


def _qkv(query, key, value):
    return {("inputs", "query"): query, ("inputs", "key"): key, ("inputs", "value"): value}


def _take(at, name, aliases, ndim):
    """The array that is called so, else the first that can be; it is taken out of `at`."""
    fits = [path for path, a in at.items() if a.ndim in ndim]
    named = [path for path in fits if path.rsplit(".", 1)[-1].lower() in (name.lower(), *aliases.get(name, ()))]
    if not fits:
        raise _NoFit
    return at.pop((named or fits)[0])


def _in_order(at, names, aliases):
    """Arrays in the order of these names, where that is what they are called; else as they came."""
    said = {path.rsplit(".", 1)[-1].lower(): a for path, a in at.items()}
    found = [next((said[o] for o in (name.lower(), *aliases.get(name, ())) if o in said), None) for name in names]
    found = [a for a in found if a is not None]
    return found if len(found) == len(at) else list(at.values())


def _chunks(some, k):
    return [some[i : i + k] for i in range(0, len(some), k)]


def _fit(some, axis):
    return len({a.shape[axis] for a in some}) == 1
