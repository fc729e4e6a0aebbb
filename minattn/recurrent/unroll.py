"""The time loop, forward and back through time, written once for every cell.

A cell gives one step and its backward, and the gradients of the weights that meet the hidden state, for all steps:

    step(params, projected, state)       -> state, cache; out: where what is as wide as projected may be written
    step_backward(dstate, cache)         -> dprojected, dstate; out: where dprojected is written
    weights_backward(dprojected, steps)  -> dparams; the one below serves where hidden @ W_hidden is added to projected

A padded time step neither changes the state nor receives a gradient, and its output is 0. Running in reverse is the
same loop in the other order: the state waits at its start until the last real step of its sequence comes.
"""

import itertools
from typing import Any, NamedTuple

import numpy as np

from minattn import tree, validate
from minattn.functions import add_into, buffers, linear, linear_backward

TILE = 2**19  # numbers that are looked at together: what a core keeps near


class Cache(NamedTuple):
    steps: list
    real: list
    order: range
    projected: Any


class Flow(NamedTuple):
    """What goes back through time.

    dprojected (B, T, *): at the sum that enters each step; dstate: at the initial state; reach: like the state, but
    (B, T, N): the whole gradient that arrives at the state after each real step, 0 at padded ones. In memory dprojected
    has time first, as the steps have.
    """

    dprojected: Any
    dstate: Any
    reach: Any


def real_steps(lengths, inputs):
    """One entry a time step of inputs (B, T, *): booleans (B, 1), or None where every sequence still goes on."""
    B, T = inputs.shape[:2]
    if lengths is None:
        return [None] * T
    validate.reaches("lengths", lengths, inputs)
    lengths = np.broadcast_to(validate.lengths(lengths, (B,), T), (B,))  # (B,)
    shortest = int(lengths.min()) if lengths.size else T
    lengths = np.asarray(lengths, like=inputs)[:, None]                  # (B, 1)
    return [None if t < shortest else t < lengths for t in range(T)]


def hide(real, inputs):
    """inputs (B, T, I) with zeros at padded steps: what is not there must not matter, even NaN."""
    if all(step is None for step in real):
        return inputs
    return np.stack([_where(step, inputs[:, t], 0) for t, step in enumerate(real)], axis=1)


def time_first(x):
    """(B, T, *) -> (T, B, *)."""
    return x.swapaxes(0, 1)


def join(parts):
    """Trees of arrays (b, ...), for some sequences of the batch each -> one for all."""
    return parts[0] if len(parts) == 1 else tree.map(lambda *some: np.concatenate(some), *parts)


def project(inputs, W_input, b):
    """linear(inputs, W_input, b), all steps at once; in memory time comes first, so a step lies together."""
    return time_first(add_into(linear(time_first(inputs), W_input), b))                        # (B, T, *)


def project_backward(dout, inputs, W_input, b):
    """-> dinputs, dW_input, db."""
    dinputs, dW_input, db = linear_backward(time_first(dout), time_first(inputs), W_input, b)
    return time_first(dinputs), dW_input, db


def unroll(step, params, projected, state, real, reverse, apart=False):
    """projected (B, T, *), state (B, N) each -> (outputs (B, T, N), state), cache.

    Steps may write over projected; with apart=True they write to an array of their own, in which each step lies
    together.
    """
    T = projected.shape[1]
    dtype = np.result_type(projected, *state, *params.values())
    projected = time_first(projected).astype(dtype, copy=False)                                    # (T, B, *)
    written = buffers.empty(projected, projected.shape, dtype) if apart else projected             # (T, B, *)
    order = range(T)[::-1] if reverse else range(T)
    outputs, steps = [None] * T, [None] * T
    for t in order:
        new, steps[t] = step(params, projected[t], state, out=written[t])                          # (B, N) each
        outputs[t] = _where(real[t], new.hidden, 0)                                                # (B, N)
        if real[t] is not None:
            new = type(new)(*(np.where(real[t], *pair) for pair in zip(new, state, strict=True)))  # (B, N) each
        state = new
    return (np.stack(outputs, axis=1), state), Cache(steps, real, order, written)


def unroll_backward(State, step_backward, dout, cache, slopes=None, keep=True, shape=None):
    """dout = doutputs (B, T, N), dstate like the state; None, whole or in part, means zero -> Flow.

    slopes(cache, some), where a cell has it: for all steps of a range at once, what its step_backward takes in the
    place of each. keep: whether the Flow has its reach. shape: of dprojected, time first, if not that of projected.
    """
    steps, real, order, projected = cache
    doutputs, dstate = dout
    zeros = np.zeros_like(steps[0].hidden)
    dstate = State(*(zeros if part is None else part for part in dstate or (None,) * len(State._fields)))
    known = *dstate, *steps[0], zeros if doutputs is None else doutputs
    dprojected = buffers.empty(projected, shape or projected.shape, np.result_type(*known))
    reach = [None] * len(steps)
    for t, step in zip(reversed(order), _each(slopes, cache), strict=True):
        # state = new where the step is real, else as before
        dnew, dbefore = dstate, None
        if real[t] is not None:
            dnew = State(*(np.where(real[t], part, 0) for part in dstate))
            dbefore = State(*(np.where(real[t], 0, part) for part in dstate))
        # outputs[t] = new.hidden
        if doutputs is not None:
            dnew = State(dnew.hidden + _where(real[t], doutputs[:, t], 0), *dnew[1:])  # hidden stands first in all
        # new = step(params, projected[t], state)
        _, dstate = step_backward(dnew, step, out=dprojected[t])
        if dbefore is not None:
            dstate = State(*(a + b for a, b in zip(dstate, dbefore, strict=True)))
        reach[t] = dnew
    reach = State(*(np.stack(parts, axis=1) for parts in zip(*reach, strict=True))) if keep else None
    return Flow(time_first(dprojected), dstate, reach)


def _each(slopes, cache):
    """The slopes of each step, found for as many steps at once as stay near the core; the step where there are none."""
    steps, back = cache.steps, cache.order[::-1]
    if slopes is None:
        return [steps[t] for t in back]
    together = max(1, TILE // max(1, sum(part.size for part in steps[0][1:])))
    chunks = (back[first : first + together] for first in range(0, len(back), together))
    return itertools.chain.from_iterable(slopes(cache, chunk) for chunk in chunks)


def weights_backward(dprojected, steps):
    """-> dparams of projected + hidden @ W_hidden, dprojected (B, T, *) being the gradient at that sum."""
    return {"W_hidden": hidden_weight(dprojected, steps)}


def hidden_weight(dproduct, steps):
    """dW_hidden = sum over steps of hidden^T dproduct, hidden being the state that entered: one product for all."""
    return hidden_rows(steps).mT @ in_rows(dproduct)


def in_rows(x):
    """(B, T, *) -> (T B, *), one step after the other."""
    return time_first(x).reshape(-1, x.shape[-1])


def hidden_rows(steps):
    """The hidden states that entered the steps, one after the other, (T B, N)."""
    hidden = np.stack([step.hidden for step in steps])  # (T, B, N)
    return hidden.reshape(-1, hidden.shape[-1])


def _where(real, yes, no):
    return yes if real is None else np.where(real, yes, no)
