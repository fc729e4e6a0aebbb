"""LSTM: a memory cell that forgets, takes in and shows as its gates decide.

    i, f, o = sigmoid(x W_input + hidden W_hidden + b)      input, forget and output gate
    g       = tanh(x W_input + hidden W_hidden + b)         candidate for the cell
    cell    = f * cell + i * g                              the conveyor: gradients pass it times f alone
    hidden  = o * tanh(cell)

Hochreiter & Schmidhuber 1997; forget gate: Gers, Schmidhuber & Cummins 2000, doi:10.1162/089976600300015015.
The last axis of W_input, W_hidden and b holds the gates in the order i f g o.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minattn import validate
from minattn.functions import linear, linear_backward, sigmoid, sigmoid_backward, tanh, tanh_backward
from minattn.recurrent import plain
from minattn.recurrent.unroll import hide, real_steps, unroll, unroll_backward, weights_backward

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
    i: Any
    f: Any
    g: Any
    o: Any
    shown: Any


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


def step(params, projected, state):
    """One step. projected = x W_input + b (B, 4N), state (B, N) twice -> state, cache."""
    hidden, cell = state
    total = projected + hidden @ params["W_hidden"]                                            # (B, 4N)
    N = hidden.shape[-1]
    i, f, o = sigmoid(total[:, :N]), sigmoid(total[:, N : 2 * N]), sigmoid(total[:, 3 * N :])  # (B, N)
    g = tanh(total[:, 2 * N : 3 * N])                                                          # (B, N)
    new = f * cell + i * g                                                                     # (B, N)
    shown = tanh(new)                                                                          # (B, N)
    return State(o * shown, new), Step(params["W_hidden"], hidden, cell, i, f, g, o, shown)


def step_backward(dstate, cache):
    """-> dprojected (B, 4N), dstate. The weights wait until all steps are done: one product serves them all."""
    dhidden, dnew = dstate
    W_hidden, _, cell, i, f, g, o, shown = cache
    # hidden = o * shown
    do = dhidden * shown
    # shown = tanh(new)
    dnew = dnew + tanh_backward(dhidden * o, shown)
    # new = f * cell + i * g
    df, dcell = dnew * cell, dnew * f
    di, dg = dnew * g, dnew * i
    # i, f, g, o = gates of total
    dtotal = np.concatenate(
        [sigmoid_backward(di, i), sigmoid_backward(df, f), tanh_backward(dg, g), sigmoid_backward(do, o)], axis=-1
    )
    # total = projected + hidden @ W_hidden
    return dtotal, State(dtotal @ W_hidden.mT, dcell)


def forward(params, inputs, state=None, *, lengths=None, reverse=False):
    """inputs (B, T, I), state (hidden (B, N), cell (B, N)) or None for zeros -> (outputs (B, T, N), state).

    lengths (B,): steps beyond a sequence's length do not exist for it; the state returned is the one after its last
    real step. reverse: from the last real step to the first. Raises TypeError for integers, ValueError for shapes.
    """
    sizes = validate.recurrence(SHAPES, params, inputs, State, state)
    real = real_steps(lengths, inputs)
    inputs = hide(real, inputs)                                            # (B, T, I)
    projected = linear(inputs, params["W_input"], params["b"])             # (B, T, 4N)
    zeros = np.zeros_like(projected[:, 0, : sizes["N"]])                   # (B, N)
    start = State(zeros, zeros) if state is None else State(*state)
    out, unrolled = unroll(step, params, projected, start, real, reverse)  # (B, T, N), and the state
    return out, Cache(params, inputs, state, unrolled)


def flow(dout, cache):
    """Back through time -> Flow: the gradient at every step's sum, at every state, and at the initial state."""
    return unroll_backward(State, step_backward, dout, cache.unrolled)


def backward(dout, cache):
    """-> (dinputs, dstate), dparams."""
    params, inputs, state, unrolled = cache
    # out = unroll(projected, start)
    dprojected, dstate, _ = flow(dout, cache)
    dweights = weights_backward(dprojected, unrolled.steps)
    # projected = linear(inputs, W_input, b)
    dinputs, dW_input, db = linear_backward(dprojected, inputs, params["W_input"], params["b"])
    return (dinputs, None if state is None else dstate), {"W_input": dW_input, **dweights, "b": db}
