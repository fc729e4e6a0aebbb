"""RNN: one state, squashed at every step.

    hidden = tanh(x W_input + hidden W_hidden + b)

Elman 1990, doi:10.1207/s15516709cog1402_1. Going back through time a gradient passes W_hidden and tanh once a step, so
it vanishes or explodes with the number of steps (Pascanu, Mikolov & Bengio 2013, arXiv:1211.5063).
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minattn import validate
from minattn.recurrent import plain
from minattn.recurrent.unroll import (
    hide,
    project,
    project_backward,
    real_steps,
    unroll,
    unroll_backward,
    weights_backward,
)

SHAPES = {"inputs": "B T I", "hidden": "B N"}  # -> "B T N"
SHAPES |= {"W_input": "I N", "W_hidden": "N N", "b": "N"}
PAPER = "Elman 1990"
TIME, MEMORY = "T N (I + N)", "T (I + N)"


class State(NamedTuple):
    hidden: Any


class Step(NamedTuple):
    W_hidden: Any
    hidden: Any
    new: Any


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
        (hidden,) = state
        total = [
            b[j] + sum(x[i] * W_input[i, j] for i in range(len(x))) + sum(hidden[n] * W_hidden[n, j] for n in range(N))
            for j in range(N)
        ]
        return ([math.tanh(number) for number in total],)

    return plain.recurrence(step, State, N, inputs, state, lengths, reverse)


def init(rng, *, I, N):
    """Uniform within 1 / sqrt(N)."""
    bound = 1 / math.sqrt(N)
    return {
        "W_input": rng.uniform(-bound, bound, size=(I, N)),
        "W_hidden": rng.uniform(-bound, bound, size=(N, N)),
        "b": np.zeros(N),
    }


def step(params, projected, state, out=None):
    """One step. projected = x W_input + b (B, N), state (B, N) -> state, cache."""
    (hidden,) = state
    total = np.add(projected, hidden @ params["W_hidden"], out=out)  # (B, N)
    new = np.tanh(total, out=out)                                   # (B, N)
    return State(new), Step(params["W_hidden"], hidden, new)


def step_backward(dstate, cache, out=None):
    """-> dprojected (B, N), dstate. The weights wait until all steps are done: one product serves them all."""
    (dnew,) = dstate
    W_hidden, _, new = cache
    # new = tanh(projected + hidden @ W_hidden)
    dtotal = np.multiply(dnew, 1 - new * new, out=out)
    return dtotal, State(dtotal @ W_hidden.mT)


def forward(params, inputs, state=None, *, lengths=None, reverse=False):
    """inputs (B, T, I), state (hidden (B, N),) or None for zeros -> (outputs (B, T, N), state).

    lengths (B,): steps beyond a sequence's length do not exist for it; the state returned is the one after its last
    real step. reverse: from the last real step to the first. Raises TypeError for integers, ValueError for shapes.
    """
    sizes = validate.recurrence(SHAPES, params, inputs, State, state)
    real = real_steps(lengths, inputs)
    inputs = hide(real, inputs)                                            # (B, T, I)
    projected = project(inputs, params["W_input"], params["b"])            # (B, T, N)
    zeros = np.zeros_like(projected[:, 0, : sizes["N"]])                   # (B, N)
    start = State(zeros) if state is None else State(*state)
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
    # projected = project(inputs, W_input, b)
    dinputs, dW_input, db = project_backward(dprojected, inputs, params["W_input"], params["b"])
    return (dinputs, None if state is None else dstate), {"W_input": dW_input, **dweights, "b": db}
