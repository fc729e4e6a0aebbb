"""The time loop, forward and back through time, written once for every cell.

A cell gives one step and its backward, and the gradients of the weights that meet the hidden state, for all steps:

    step(params, projected, state)       -> state, cache
    step_backward(dstate, cache)         -> dprojected, dstate
    weights_backward(dprojected, steps)  -> dparams; the one below serves where hidden @ W_hidden is added to projected

A padded time step neither changes the state nor receives a gradient, and its output is 0. Running in reverse is the
same loop in the other order: the state waits at its start until the last real step of its sequence comes.
"""

from typing import Any, NamedTuple

import numpy as np

from minattn import validate


class Cache(NamedTuple):
    steps: list
    real: list
    order: range


class Flow(NamedTuple):
    """What goes back through time.

    dprojected (B, T, *): at the sum that enters each step; dstate: at the initial state; reach: like the state, but
    (B, T, N): the whole gradient that arrives at the state after each real step, 0 at padded ones.
    """

    dprojected: Any
    dstate: Any
    reach: Any


def real_steps(lengths, inputs):
    """One entry a time step of inputs (B, T, *): booleans (B, 1), or None where every sequence still goes on."""
    B, T = inputs.shape[:2]
    if lengths is None:
        return [None] * T
    lengths = np.broadcast_to(validate.lengths(lengths, (B,), T), (B,))  # (B,)
    shortest = int(lengths.min()) if lengths.size else T
    lengths = np.asarray(lengths, like=inputs)[:, None]                  # (B, 1)
    return [None if t < shortest else t < lengths for t in range(T)]


def hide(real, inputs):
    """inputs (B, T, I) with zeros at padded steps: what is not there must not matter, even NaN."""
    if all(step is None for step in real):
        return inputs
    return np.stack([_where(step, inputs[:, t], 0) for t, step in enumerate(real)], axis=1)


def unroll(step, params, projected, state, real, reverse=False):
    """projected (B, T, *), state (B, N) each -> (outputs (B, T, N), state), cache."""
    T = projected.shape[1]
    order = range(T)[::-1] if reverse else range(T)
    outputs, steps = [None] * T, [None] * T
    for t in order:
        new, steps[t] = step(params, projected[:, t], state)                                   # (B, N) each
        outputs[t] = _where(real[t], new.hidden, 0)                                            # (B, N)
        state = type(new)(*(_where(real[t], *pair) for pair in zip(new, state, strict=True)))  # (B, N) each
    return (np.stack(outputs, axis=1), state), Cache(steps, real, order)


def unroll_backward(State, step_backward, dout, cache):
    """dout = doutputs (B, T, N), dstate like the state; None, whole or in part, means zero -> Flow."""
    steps, real, order = cache
    doutputs, dstate = dout
    zeros = np.zeros_like(steps[0].hidden)
    dstate = State(*(zeros if part is None else part for part in dstate or (None,) * len(State._fields)))
    dprojected, reach = [None] * len(steps), [None] * len(steps)
    for t in reversed(order):
        # state = new where the step is real, else as before
        dnew = State(*(_where(real[t], part, 0) for part in dstate))
        dbefore = State(*(0 if real[t] is None else np.where(real[t], 0, part) for part in dstate))
        # outputs[t] = new.hidden
        if doutputs is not None:
            dnew = dnew._replace(hidden=dnew.hidden + _where(real[t], doutputs[:, t], 0))
        # new = step(params, projected[t], state)
        dprojected[t], dstate = step_backward(dnew, steps[t])
        dstate = State(*(a + b for a, b in zip(dstate, dbefore, strict=True)))
        reach[t] = dnew
    reach = State(*(np.stack(parts, axis=1) for parts in zip(*reach, strict=True)))
    return Flow(np.stack(dprojected, axis=1), dstate, reach)


def weights_backward(dprojected, steps):
    """-> dparams of projected + hidden @ W_hidden, dprojected (B, T, *) being the gradient at that sum."""
    return {"W_hidden": hidden_weight(dprojected, steps)}


def hidden_weight(dproduct, steps):
    """dW_hidden = sum over steps of hidden^T dproduct, hidden being the state that entered: one product for all."""
    hidden = np.stack([step.hidden for step in steps], axis=1)  # (B, T, N)
    return hidden.reshape(-1, hidden.shape[-1]).mT @ dproduct.reshape(-1, dproduct.shape[-1])


def _where(real, yes, no):
    return yes if real is None else np.where(real, yes, no)
