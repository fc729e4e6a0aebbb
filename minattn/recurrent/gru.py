"""GRU: one state, of which the gates decide how much is used and how much is replaced.

    r, z   = sigmoid(x W_input + b + hidden W_hidden + b_hidden)         reset and update gate
    n      = tanh(x W_input + b + r * (hidden W_hidden + b_hidden))      candidate for the state
    hidden = (1 - z) * n + z * hidden                                    gradients pass the old state times z alone

Cho et al. 2014, arXiv:1406.1078, section 2.3, without biases, and with the reset gate applied before the product:
(r * hidden) W_hidden. Here it comes after, as in cuDNN and in PyTorch's `nn.GRU`: so one product serves all the gates.
That is why the hidden side has a bias of its own, which the candidate's gate resets too. The last axis of W_input,
W_hidden, b and b_hidden holds the gates in the order r z n.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minattn import validate
from minattn.functions import sigmoid, sigmoid_backward, tanh, tanh_backward
from minattn.functions.broadcast import column_sum
from minattn.recurrent import plain
from minattn.recurrent.unroll import (
    hidden_weight,
    hide,
    in_rows,
    project,
    project_backward,
    real_steps,
    time_first,
    unroll,
    unroll_backward,
)

SHAPES = {"inputs": "B T I", "hidden": "B N"}  # -> "B T N"
SHAPES |= {"W_input": "I 3N", "W_hidden": "N 3N", "b": "3N", "b_hidden": "3N"}
PAPER = "Cho 2014, 2.3"
TIME, MEMORY = "T N (I + N)", "T (I + N)"


class State(NamedTuple):
    hidden: Any


class Step(NamedTuple):
    W_hidden: Any
    hidden: Any
    r: Any
    z: Any
    n: Any
    offered: Any


class Cache(NamedTuple):
    params: Any
    inputs: Any
    state: Any
    unrolled: Any


def naive(params, inputs, state=None, *, lengths=None, reverse=False):
    """The formulas in plain loops."""
    W_input, W_hidden, b, b_hidden = (params[name] for name in ("W_input", "W_hidden", "b", "b_hidden"))
    N = len(W_hidden)

    def step(x, state):
        (hidden,) = state
        read = [b[j] + sum(x[i] * W_input[i, j] for i in range(len(x))) for j in range(3 * N)]
        kept = [b_hidden[j] + sum(hidden[n] * W_hidden[n, j] for n in range(N)) for j in range(3 * N)]
        r, z = ([plain.sigmoid(read[k * N + n] + kept[k * N + n]) for n in range(N)] for k in range(2))
        candidate = [math.tanh(read[2 * N + n] + r[n] * kept[2 * N + n]) for n in range(N)]
        return ([(1 - z[n]) * candidate[n] + z[n] * hidden[n] for n in range(N)],)

    return plain.recurrence(step, State, N, inputs, state, lengths, reverse)


def init(rng, *, I, N):
    """Uniform within 1 / sqrt(N)."""
    bound = 1 / math.sqrt(N)
    return {
        "W_input": rng.uniform(-bound, bound, size=(I, 3 * N)),
        "W_hidden": rng.uniform(-bound, bound, size=(N, 3 * N)),
        "b": np.zeros(3 * N),
        "b_hidden": np.zeros(3 * N),
    }


def step(params, projected, state, out=None):
    """One step. projected = x W_input + b (B, 3N), state (B, N) -> state, cache."""
    (hidden,) = state
    N = hidden.shape[-1]
    recalled = hidden @ params["W_hidden"] + params["b_hidden"]    # (B, 3N)
    gates = sigmoid(projected[:, : 2 * N] + recalled[:, : 2 * N])  # (B, 2N)
    r, z = gates[:, :N], gates[:, N:]                              # (B, N)
    offered = recalled[:, 2 * N :]                                 # (B, N)
    n = tanh(projected[:, 2 * N :] + r * offered)                  # (B, N)
    new = (1 - z) * n + z * hidden                                 # (B, N)
    return State(new), Step(params["W_hidden"], hidden, r, z, n, offered)


def step_backward(dstate, cache, out=None):
    """-> dprojected (B, 3N), dstate. The weights wait until all steps are done: one product serves them all."""
    (dnew,) = dstate
    W_hidden, hidden, r, z, n, offered = cache
    # new = (1 - z) * n + z * hidden
    dn, dz, dhidden = dnew * (1 - z), dnew * (hidden - n), dnew * z
    # n = tanh(projected + r * offered)
    dcandidate = tanh_backward(dn, n)
    dr = dcandidate * offered
    # r, z = sigmoid(projected + recalled)
    dprojected = np.concatenate([sigmoid_backward(dr, r), sigmoid_backward(dz, z), dcandidate], axis=-1, out=out)
    # recalled = hidden @ W_hidden + b_hidden
    return dprojected, State(dhidden + _recalled_backward(dprojected, r) @ W_hidden.mT)


def weights_backward(dprojected, steps):
    """-> the gradients of W_hidden and b_hidden, dprojected (B, T, 3N) being those at the input side of every step."""
    # recalled = hidden @ W_hidden + b_hidden
    drecalled = time_first(_recalled_backward(time_first(dprojected), np.stack([step.r for step in steps])))
    return {"W_hidden": hidden_weight(drecalled, steps), "b_hidden": column_sum(in_rows(drecalled))}


def forward(params, inputs, state=None, *, lengths=None, reverse=False):
    """inputs (B, T, I), state (hidden (B, N),) or None for zeros -> (outputs (B, T, N), state).

    lengths (B,): steps beyond a sequence's length do not exist for it; the state returned is the one after its last
    real step. reverse: from the last real step to the first. Raises TypeError for integers, ValueError for shapes.
    """
    sizes = validate.recurrence(SHAPES, params, inputs, State, state)
    real = real_steps(lengths, inputs)
    inputs = hide(real, inputs)                                            # (B, T, I)
    projected = project(inputs, params["W_input"], params["b"])            # (B, T, 3N)
    zeros = np.zeros_like(projected[:, 0, : sizes["N"]])                   # (B, N)
    start = State(zeros) if state is None else State(*state)
    out, unrolled = unroll(step, params, projected, start, real, reverse)  # (B, T, N), and the state
    return out, Cache(params, inputs, state, unrolled)


def flow(dout, cache):
    """Back through time -> Flow: the gradient at every step's input side, at every state, and at the initial state."""
    return unroll_backward(State, step_backward, dout, cache.unrolled)


def backward(dout, cache):
    """-> (dinputs, dstate), dparams."""
    params, inputs, state, unrolled = cache
    # out = unroll(projected, start)
    dprojected, dstate, _ = flow(dout, cache)
    dweights = weights_backward(dprojected, unrolled.steps)
    # projected = project(inputs, W_input, b)
    dinputs, dW_input, db = project_backward(dprojected, inputs, params["W_input"], params["b"])
    return (dinputs, None if state is None else dstate), {"W_input": dW_input, **dweights, "b": db}


def _recalled_backward(dprojected, r):
    """The gates' sums take both sides alike; the candidate's takes the hidden side times r."""
    dgates, dcandidate = dprojected[..., : -r.shape[-1]], dprojected[..., -r.shape[-1] :]
    return np.concatenate([dgates, dcandidate * r], axis=-1)
