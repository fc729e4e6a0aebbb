"""LSTM: a memory cell that forgets, takes in and shows as its gates decide.

    i, f, o = sigmoid(x W_input + hidden W_hidden + b)      input, forget and output gate
    g       = tanh(x W_input + hidden W_hidden + b)         candidate for the cell
    cell    = f * cell + i * g                              the conveyor: gradients pass it times f alone
    hidden  = o * tanh(cell)

Hochreiter & Schmidhuber 1997; forget gate: Gers, Schmidhuber & Cummins 2000, doi:10.1162/089976600300015015.
The last axis of W_input, W_hidden and b holds the gates in the order i f g o.

One tanh serves all four, since sigmoid(x) = tanh(x / 2) / 2 + 1 / 2:

    gates = scale * tanh(scale * total) + shift      scale 1/2, shift 1/2 for i f o; 1 and 0 for g

Backward meets in every step what the steps before it do not change, the slopes. They are found for many steps at once:

    dnew   = dcell + dhidden * [o (1 - tanh(new)^2)]
    dtotal = [dnew, dnew, dnew, dhidden] * [g i (1 - i), cell f (1 - f), i (1 - g^2), tanh(new) o (1 - o)]
    dcell  = dnew * [f]                              of the step before, as dhidden = dtotal W_hidden^T
"""

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from minattn import validate
from minattn.functions import sigmoid_backward, tanh, tanh_backward
from minattn.recurrent import plain
from minattn.recurrent.unroll import (
    cut,
    hide,
    project,
    project_backward,
    real_steps,
    unroll,
    unroll_backward,
    weights_backward,
)

SHAPES = {"inputs": "B T I", "hidden": "B N", "cell": "B N"}  # -> "B T N"
SHAPES |= {"W_input": "I 4N", "W_hidden": "N 4N", "b": "4N"}
PAPER = "Hochreiter & Schmidhuber 1997, Gers 2000"
TIME, MEMORY = "T N (I + N)", "T (I + N)"


class State(NamedTuple):
    hidden: Any
    cell: Any


class Step(NamedTuple):
    W_hidden: Any
    hidden: Any
    cell: Any
    gates: Any
    shown: Any


class Slopes(NamedTuple):
    """What moves with what: the hidden state with the new cell, the states with the four sums, new cell with cell."""

    hidden: Any
    total: Any
    cell: Any


class Cache(NamedTuple):
    params: Any
    inputs: Any
    state: Any
    unrolled: Any


def naive(params, inputs, state=None, *, lengths=None, reverse=False):
    """The formulas in plain loops."""
    W_input, W_hidden, b = params["W_input"], params["W_hidden"], params["b"]
    N = len(W_hidden)

    def step(x, state):
        hidden, cell = state
        total = [
            b[j] + sum(x[i] * W_input[i, j] for i in range(len(x))) + sum(hidden[n] * W_hidden[n, j] for n in range(N))
            for j in range(4 * N)
        ]
        i, f, g, o = (total[k * N : (k + 1) * N] for k in range(4))
        cell = [plain.sigmoid(f[n]) * cell[n] + plain.sigmoid(i[n]) * math.tanh(g[n]) for n in range(N)]
        return [plain.sigmoid(o[n]) * math.tanh(cell[n]) for n in range(N)], cell

    return plain.recurrence(step, State, N, inputs, state, lengths, reverse)


def init(rng, *, I, N):
    """Uniform within 1 / sqrt(N); the forget gate starts open, with bias 1 (Gers 2000)."""
    bound = 1 / math.sqrt(N)
    b = np.zeros(4 * N)
    b[N : 2 * N] = 1
    return {
        "W_input": rng.uniform(-bound, bound, size=(I, 4 * N)),
        "W_hidden": rng.uniform(-bound, bound, size=(N, 4 * N)),
        "b": b,
    }


def step(params, projected, state, out=None, curve=None):
    """One step. projected = x W_input + b (B, 4N), state (B, N) twice -> state, cache.

    For a loop: out is where the gates may be written, curve what `gate_curve` gives.
    """
    hidden, cell = state
    scale, shift = curve or gate_curve(params)                              # (4N,)
    gates = np.add(projected, hidden @ params["W_hidden"], out=out)         # (B, 4N)
    gates *= scale                                                          # (B, 4N)
    np.tanh(gates, out=gates)                                               # (B, 4N)
    gates *= scale                                                          # (B, 4N)
    gates += shift                                                          # (B, 4N)
    i, f, g, o = cut(gates, 4)                                              # (B, N)
    new = f * cell + i * g                                                  # (B, N)
    shown = tanh(new)                                                       # (B, N)
    return State(o * shown, new), Step(params["W_hidden"], hidden, cell, gates, shown)


def gate_curve(params):
    """-> scale, shift (4N,) with which one tanh is the sigmoid of i f o and the tanh of g."""
    scale, shift = np.full_like(params["b"].real, 0.5), np.full_like(params["b"].real, 0.5)
    g = slice(2 * len(scale) // 4, 3 * len(scale) // 4)
    scale[g], shift[g] = 1, 0
    return scale, shift


def slopes(step):
    """The slopes of one step, or of many with time in front."""
    _, _, cell, gates, shown = step
    i, f, g, o = cut(gates, 4)
    # hidden = o * shown, shown = tanh(new)
    hidden = tanh_backward(o, shown)
    # new = f * cell + i * g, hidden = o * shown; i, f, g, o = gates of total
    di, df, dg, do = g, cell, i, shown
    total = np.concatenate(
        [sigmoid_backward(di, i), sigmoid_backward(df, f), tanh_backward(dg, g), sigmoid_backward(do, o)], axis=-1
    )
    return Slopes(hidden, total, f)


def step_backward(dstate, cache, slope=None, out=None, W_hidden_T=None):
    """-> dprojected (B, 4N), dstate. The weights wait until all steps are done: one product serves them all.

    For a loop: slope and W_hidden_T are found before it, out is where dprojected may be written.
    """
    dhidden, dnew = dstate
    slope = slopes(cache) if slope is None else slope
    W_hidden_T = cache.W_hidden.mT if W_hidden_T is None else W_hidden_T
    # hidden = o * tanh(new)
    dnew = dnew + dhidden * slope.hidden
    # new = f * cell + i * g, hidden = o * tanh(new)
    dtotal = np.multiply(np.concatenate([dnew, dnew, dnew, dhidden], axis=-1), slope.total, out=out)
    dcell = dnew * slope.cell
    # total = projected + hidden @ W_hidden
    return dtotal, State(dtotal @ W_hidden_T, dcell)


def forward(params, inputs, state=None, *, lengths=None, reverse=False):
    """inputs (B, T, I), state (hidden (B, N), cell (B, N)) or None for zeros -> (outputs (B, T, N), state).

    lengths (B,): steps beyond a sequence's length do not exist for it; the state returned is the one after its last
    real step. reverse: from the last real step to the first. Raises TypeError for integers, ValueError for shapes.
    """
    sizes = validate.recurrence(SHAPES, params, inputs, State, state)
    real = real_steps(lengths, inputs)
    inputs = hide(real, inputs)                                            # (B, T, I)
    projected = project(inputs, params["W_input"], params["b"])            # (B, T, 4N)
    zeros = np.zeros_like(projected[:, 0, : sizes["N"]])                   # (B, N)
    start = State(zeros, zeros) if state is None else State(*state)
    each = functools.partial(step, curve=gate_curve(params))
    out, unrolled = unroll(each, params, projected, start, real, reverse)  # (B, T, N), and the state
    return out, Cache(params, inputs, state, unrolled)


def flow(dout, cache):
    """Back through time -> Flow: the gradient at every step's sum, at every state, and at the initial state."""
    return _flow(dout, cache, keep=True)


def _flow(dout, cache, keep):
    W_hidden_T = np.copy(cache.params["W_hidden"].mT, order="C")  # read at every step: as it lies it would be slow
    each = functools.partial(step_backward, W_hidden_T=W_hidden_T)
    return unroll_backward(State, each, dout, cache.unrolled, slopes, keep)


def backward(dout, cache):
    """-> (dinputs, dstate), dparams."""
    params, inputs, state, unrolled = cache
    # out = unroll(projected, start)
    dprojected, dstate, _ = _flow(dout, cache, keep=False)
    dweights = weights_backward(dprojected, unrolled.steps)
    # projected = project(inputs, W_input, b)
    dinputs, dW_input, db = project_backward(dprojected, inputs, params["W_input"], params["b"])
    return (dinputs, None if state is None else dstate), {"W_input": dW_input, **dweights, "b": db}
