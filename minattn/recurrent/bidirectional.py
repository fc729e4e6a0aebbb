"""Bidirectional: one cell reads from the left, another of the same kind from the right.

    outputs[t] = [forward[t], backward[t]]

Schuster & Paliwal 1997, doi:10.1109/78.650093. The cell is an argument: `bind(bidirectional, cell=rnn)`.
"""

from typing import Any, NamedTuple

import numpy as np

from minattn import validate
from minattn.recurrent import lstm

PAPER = "Schuster & Paliwal 1997"
TIME, MEMORY = "twice the cell's", "twice the cell's"


class Directions(NamedTuple):
    """A pair of anything: states, caches, flows."""

    forward: Any
    backward: Any


class Cache(NamedTuple):
    cell: Any
    caches: Directions
    state: Any


def naive(params, inputs, state=None, *, lengths=None, cell=lstm):
    """Each direction by the cell's own plain loops."""
    state = state or Directions(None, None)
    ahead, last_ahead = cell.naive(params["forward"], inputs, state[0], lengths=lengths)
    back, last_back = cell.naive(params["backward"], inputs, state[1], lengths=lengths, reverse=True)
    return np.concatenate([ahead, back], axis=-1), Directions(last_ahead, last_back)


def init(rng, *, I, N, cell=lstm):
    """Two cells of width N."""
    return {"forward": cell.init(rng, I=I, N=N), "backward": cell.init(rng, I=I, N=N)}


def forward(params, inputs, state=None, *, lengths=None, cell=lstm):
    """inputs (B, T, I), state Directions or None -> (outputs (B, T, 2N), Directions of final states).

    The final state of the backward direction is the one after the first step.
    """
    validate.directions(params, state)
    before = state or Directions(None, None)
    (ahead, last_ahead), cache_ahead = cell.forward(params["forward"], inputs, before[0], lengths=lengths)
    (back, last_back), cache_back = cell.forward(params["backward"], inputs, before[1], lengths=lengths, reverse=True)
    outputs = np.concatenate([ahead, back], axis=-1)  # (B, T, 2N)
    return (outputs, Directions(last_ahead, last_back)), Cache(cell, Directions(cache_ahead, cache_back), state)


def flow(dout, cache):
    """Back through time, each direction in its own -> Directions of Flow."""
    return Directions(*(cache.cell.flow(d, c) for d, c in zip(_split(dout), cache.caches, strict=True)))


def backward(dout, cache):
    """-> (dinputs, dstate), dparams."""
    cell, caches, state = cache
    # outputs = [ahead, back]
    dahead, dback = _split(dout)
    # back = cell(backward), ahead = cell(forward)
    (dinputs_back, dstate_back), dparams_back = cell.backward(dback, caches.backward)
    (dinputs_ahead, dstate_ahead), dparams_ahead = cell.backward(dahead, caches.forward)
    dstate = None if state is None else Directions(dstate_ahead, dstate_back)
    return (dinputs_ahead + dinputs_back, dstate), {"forward": dparams_ahead, "backward": dparams_back}


def _split(dout):
    """(doutputs (B, T, 2N), Directions) -> one (doutputs (B, T, N), dstate) for each direction."""
    doutputs, dlast = dout
    dlast = Directions(None, None) if dlast is None else Directions(*dlast)
    ahead, back = (None, None) if doutputs is None else np.split(doutputs, 2, axis=-1)
    return (ahead, dlast.forward), (back, dlast.backward)
