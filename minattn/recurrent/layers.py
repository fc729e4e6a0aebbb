"""Layers: cells one above another, each reading what the one below has written.

    given[0]   = inputs,   given[l] = outputs[l - 1], some of it silenced by dropout
    outputs[l] = cell[l](given[l])            residual: + given[l], where the widths agree

Graves, Mohamed & Hinton 2013, arXiv:1303.5778; residual: Wu et al. 2016, arXiv:1609.08144, section 3.1; dropout between
the layers alone, never through time: Zaremba, Sutskever & Vinyals 2014, arXiv:1409.2329. The cell is an argument:
`bind(layers, cell=gru)`, `bind(layers, cell=bind(bidirectional, cell=gru))`.
"""

from typing import Any, NamedTuple

import numpy as np

from minattn import validate
from minattn.functions import add, dropout_backward
from minattn.functions import dropout as drop
from minattn.recurrent import lstm
from minattn.recurrent.unroll import hide, real_steps

PAPER = "Graves 2013; residual: Wu 2016, 3.1"
TIME, MEMORY = "L times the cell's", "L times the cell's"


class Layer(NamedTuple):
    """kept: what dropout let through on the way in; read: the cell's cache; added: was what came in added again?"""

    kept: Any
    read: Any
    added: bool


class Cache(NamedTuple):
    cell: Any
    layers: list
    real: list
    state: Any


def naive(params, inputs, state=None, *, lengths=None, residual=False, dropout=0.0, rng=None, cell=lstm):
    """Every layer by the cell's own plain loops."""
    B, T = inputs.shape[:2]
    outputs, states = inputs, []
    for l in range(len(params)):
        given = outputs.copy()
        if l and rng is not None:
            given *= (rng.random(given.shape) >= dropout) / (1 - dropout)
        outputs, last = cell.naive(params[str(l)], given, None if state is None else state[l], lengths=lengths)
        for b in range(B):
            for t in range(T if lengths is None else lengths[b]):
                if residual and len(given[b, t]) == len(outputs[b, t]):
                    outputs[b, t] += given[b, t]
        states.append(last)
    return outputs, tuple(states)


def init(rng, *, I, N, L, cell=lstm):
    """L cells of width N, named "0" to "L - 1": the first reads width I, the others what the one below writes."""
    validate.count("L", L)
    params = {}
    for l in range(L):
        params[str(l)] = cell.init(rng, I=I, N=N)
        (outputs, _), _ = cell.forward(params[str(l)], np.zeros((0, 1, I)))  # no sequences: only the width is asked
        I = outputs.shape[-1]
    return params


def forward(params, inputs, state=None, *, lengths=None, residual=False, dropout=0.0, rng=None, cell=lstm):
    """inputs (B, T, I), state (one for each layer) or None for zeros -> (outputs (B, T, *), tuple of final states).

    The outputs are the last layer's, as wide as the cell's. lengths (B,): steps beyond a sequence's length do not exist
    for it. residual: each layer adds what it was given to what it writes, the first only where I is the width of its
    outputs. dropout: the share of the numbers that is silenced between two layers, drawn from rng, a numpy Generator;
    without one nothing is silenced. Raises TypeError for integers, ValueError for shapes.
    """
    _check(params, inputs, state)
    real = real_steps(lengths, inputs)
    outputs, states, layers = inputs, [], []
    for l in range(len(params)):
        given, kept = drop(outputs, dropout, rng) if l else (inputs, None)                   # (B, T, *)
        start = None if state is None else state[l]
        (outputs, last), read = cell.forward(params[str(l)], given, start, lengths=lengths)  # (B, T, *)
        added = residual and given.shape == outputs.shape
        if added:
            outputs = outputs + hide(real, given)                                            # (B, T, *)  padding is 0
        states.append(last)
        layers.append(Layer(kept, read, added))
    return (outputs, tuple(states)), Cache(cell, layers, real, state)


def flow(dout, cache):
    """Back through time -> what the cell's own flow returns, for every layer."""
    _, _, _, arrived = _down(dout, cache)
    return tuple(cache.cell.flow(dout, layer.read) for dout, layer in zip(arrived, cache.layers, strict=True))


def backward(dout, cache):
    """-> (dinputs, dstate), dparams."""
    dinputs, dstates, dparams, _ = _down(dout, cache)
    return (dinputs, None if cache.state is None else tuple(dstates)), dparams


def _down(dout, cache):
    """From the last layer to the first -> dinputs, dstates, dparams, and the gradient that arrived at every cell."""
    cell, layers, real, _ = cache
    doutputs, dlast = dout
    dstates, arrived = [None] * len(layers), [None] * len(layers)
    dparams = {str(l): None for l in range(len(layers))}
    for l, (kept, read, added) in reversed(list(enumerate(layers))):
        arrived[l] = doutputs, None if dlast is None else dlast[l]
        # outputs = outputs + given
        dadded = hide(real, doutputs) if added and doutputs is not None else None
        # outputs, last = cell(given)
        (dgiven, dstates[l]), dparams[str(l)] = cell.backward(arrived[l], read)
        dgiven = add(dgiven, dadded)
        # given = dropout(outputs)
        doutputs = dropout_backward(dgiven, kept)
    return doutputs, dstates, dparams, arrived


def _check(params, inputs, state):
    """One cell and one state for each layer."""
    L = len(params)
    if not L or params.keys() != {str(l) for l in range(L)}:
        came = ", ".join(params) or "none"
        raise ValueError(f"the parameters must be one cell for each layer, 0 to L - 1, but hold {came}")
    if state is not None and (not isinstance(state, tuple) or len(state) != L):
        came = f"{len(state)}" if isinstance(state, tuple) else type(state).__name__
        raise ValueError(f"the state must be a tuple of L={L} states, one for each layer, but {came} came")
    validate.shapes({"inputs": "B T I"}, inputs=inputs)
