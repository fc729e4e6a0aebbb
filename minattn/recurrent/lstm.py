"""LSTM: a memory cell that forgets, takes in and shows as its gates decide.

    i, f, o = sigmoid(x W_input + hidden W_hidden + b)      input, forget and output gate
    g       = tanh(x W_input + hidden W_hidden + b)         candidate for the cell
    cell    = f * cell + i * g                              the conveyor: gradients pass it times f alone
    hidden  = o * tanh(cell)

Hochreiter & Schmidhuber 1997; forget gate: Gers, Schmidhuber & Cummins 2000, doi:10.1162/089976600300015015.
The last axis of W_input, W_hidden and b holds the gates in the order i f g o.

One tanh serves all four, since sigmoid(x) = tanh(x / 2) / 2 + 1 / 2. So the weights of i f o are halved once, and each
step is left with one tanh, and with half of it plus a half for three gates of four.

In memory a step lies by itself, in it each gate, and the three sigmoids side by side, i f o g: (T, 4, B, N). Whatever
is done to some numbers is done to numbers that lie together.

Backward meets in every step what the steps before it do not change, the slopes. They are found for many steps at once:

    dnew   = dcell + dhidden * [o (1 - tanh(new)^2)]
    dtotal = [dnew, dnew, dnew, dhidden] * [g i (1 - i), cell f (1 - f), i (1 - g^2), tanh(new) o (1 - o)]
    dcell  = dnew * [f]                              of the step before, as dhidden = dtotal W_hidden^T
"""

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from minattn import threads, tree, validate
from minattn.functions import product, tanh, tanh_backward
from minattn.recurrent import plain
from minattn.recurrent.unroll import (
    hidden_rows,
    hide,
    join,
    real_steps,
    time_first,
    unroll,
    unroll_backward,
    weights_backward,  # noqa: F401  for decoders, that go step by step
)

SHAPES = {"inputs": "B T I", "hidden": "B N", "cell": "B N"}  # -> "B T N"
SHAPES |= {"W_input": "I 4N", "W_hidden": "N 4N", "b": "4N"}
PAPER = "Hochreiter & Schmidhuber 1997, Gers 2000"
TIME, MEMORY = "T N (I + N)", "T (I + N)"
WORTH = 2**22  # B N N: multiplications of one gate in one step from which on threads share the batch


class State(NamedTuple):
    hidden: Any
    cell: Any


class Step(NamedTuple):
    """What one step keeps: W_hidden, the state before it, gates i f o g (4, B, N), and tanh of the new cell."""

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
    parts: list


class Part(NamedTuple):
    """Some sequences of the batch, as one thread reads them; rows: all their steps, a 1 behind each (T B, I + 1)."""

    where: slice
    rows: Any
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
    total = projected + state.hidden @ params["W_hidden"]                   # (B, 4N)
    return move(halved(total), state, params["W_hidden"])


def halved(x):
    """x (*, 4N), i f g o -> (4, *, N), i f o g: each by itself, and half of what goes into a sigmoid."""
    N = x.shape[1] // 4
    parts = np.stack([x[:, k * N : (k + 1) * N] for k in (0, 1, 3, 2)])     # (4, *, N)
    parts[:3] *= 0.5
    return parts


def move(sums, state, W_hidden):
    """sums i f o g (4, B, N), those of i f o halved -> state, cache. The gates take the place of their sums."""
    hidden, cell = state
    gates = np.tanh(sums, out=sums)                                         # (4, B, N)
    sigmoids = gates[:3]                                                    # (3, B, N)  tanh(x / 2) so far
    sigmoids *= 0.5
    sigmoids += 0.5
    i, f, o, g = gates                                                      # (B, N)
    new = f * cell + i * g                                                  # (B, N)
    shown = tanh(new)                                                       # (B, N)
    return State(o * shown, new), Step(W_hidden, hidden, cell, gates, shown)


def step_backward(dstate, cache):
    """-> dprojected (B, 4N), dstate. The weights wait until all steps are done: one product serves them all."""
    slope, (B, N) = slopes(cache.cell, cache.gates, cache.shown), cache.cell.shape
    dprojected = np.empty_like(slope.total, np.result_type(*dstate, slope.total), shape=(B, 4 * N))
    dcell = move_backward(dstate, slope, by_gate(dprojected))
    # total = projected + hidden @ W_hidden
    return dprojected, State(dprojected @ cache.W_hidden.mT, dcell)


def move_backward(dstate, slope, dtotal):
    """-> dcell before the step; dtotal i f g o (4, B, N) is written to."""
    dhidden, dnew = dstate
    # hidden = o * tanh(new)
    dnew = dnew + dhidden * slope.hidden
    # new = f * cell + i * g, hidden = o * tanh(new): the first three gates make the cell, the last what is shown
    np.multiply(dnew, slope.total, out=dtotal)
    np.multiply(dhidden, slope.total[3], out=dtotal[3])
    return dnew * slope.cell


def by_gate(row):
    """A row (B, 4N), C-ordered -> a view of it, (4, B, N), through which it is written."""
    return row.reshape(len(row), 4, row.shape[1] // 4).swapaxes(0, 1)


def slopes(cell, gates, shown):
    """cell (B, N), gates (4, B, N), shown (B, N) of one step, or (T, B, N) and (4, T, B, N) of several -> Slopes."""
    i, f, o, g = gates
    # hidden = o * shown, shown = tanh(new)
    hidden = tanh_backward(o, shown)
    # new = f * cell + i * g, hidden = o * shown
    others = g, cell, i, shown
    # i, f, g, o = gates of total
    total = np.empty_like(gates, np.result_type(cell, gates))
    own = _of_sigmoid, _of_sigmoid, _of_tanh, _of_sigmoid
    for part, gate, slope, other in zip(total, (i, f, g, o), own, others, strict=True):
        np.multiply(slope(gate, part), other, out=part)
    return Slopes(hidden, np.moveaxis(total, 0, -3), f)


def _of_sigmoid(gate, room):
    """The slope of sigmoid where it has this result: s (1 - s)."""
    return np.multiply(np.subtract(1, gate, out=room), gate, out=room)


def _of_tanh(gate, room):
    """The slope of tanh where it has this result: 1 - g^2."""
    return np.subtract(1, np.multiply(gate, gate, out=room), out=room)


def slopes_of(unrolled, some):
    """One Slopes for each step of the range `some`, all found at once; their gates stand where their sums stood."""
    cell, shown = (np.stack([getattr(unrolled.steps[t], name) for t in some]) for name in ("cell", "shown"))
    gates = unrolled.projected[min(some) : max(some) + 1][:: some.step].swapaxes(0, 1)       # (4, T, B, N)
    return [Slopes(*one) for one in zip(*slopes(cell, gates, shown), strict=True)]


def forward(params, inputs, state=None, *, lengths=None, reverse=False):
    """inputs (B, T, I), state (hidden (B, N), cell (B, N)) or None for zeros -> (outputs (B, T, N), state).

    lengths (B,): steps beyond a sequence's length do not exist for it; the state returned is the one after its last
    real step. reverse: from the last real step to the first. Raises TypeError for integers, ValueError for shapes.
    """
    sizes = validate.recurrence(SHAPES, params, inputs, State, state)
    B, T, I, N = (sizes[letter] for letter in "BTIN")
    real = real_steps(lengths, inputs)
    inputs = hide(real, inputs)                                             # (B, T, I)
    W_hidden = halved(params["W_hidden"])                                   # (4, N, N)
    W_input = halved(np.concatenate([params["W_input"], params["b"][None]]))  # (4, I + 1, N)  b meets a 1

    def each(params, projected, state, out):
        sums = np.add(projected, state.hidden @ W_hidden, out=out)          # (4, b, N)
        return move(sums, state, params["W_hidden"])

    def read(some):
        size = some.stop - some.start
        rows = np.ones_like(inputs, shape=(T, size, I + 1))                                      # (T, b, I + 1)
        rows[..., :I] = time_first(inputs[some])
        rows = rows.reshape(T * size, I + 1)                                                     # (T b, I + 1)
        projected = product(rows, W_input).reshape(4, T, size, N)                                # (4, T, b, N)
        zeros = np.zeros_like(projected[0, 0])                                                   # (b, N)
        start = State(zeros, zeros) if state is None else State(*(part[some] for part in state))
        here = [None if step is None else step[some] for step in real]                           # (b, 1) each
        out, unrolled = unroll(each, params, projected, start, here, reverse, apart=True)        # (b, T, N), and state
        return out, Part(some, rows, unrolled)

    alone = B * N * N < WORTH or not isinstance(inputs, np.ndarray)
    outs, parts = zip(*threads.map(read, [slice(0, B)] if alone else threads.parts(B)), strict=True)
    return join(outs), Cache(params, inputs, state, parts)


def flow(dout, cache):
    """Back through time -> Flow: the gradient at every step's sum, at every state, and at the initial state."""
    return join([_flow(dout, cache, part, keep=True) for part in cache.parts])


def _flow(dout, cache, part, keep):
    """`flow` of some sequences."""
    W_hidden_T = np.copy(cache.params["W_hidden"].mT, order="C")            # (4N, N)  as it lies it is slow to read

    def each(dstate, slope, out):
        dcell = move_backward(dstate, slope, by_gate(out))
        # total = projected + hidden @ W_hidden
        return out, State(out @ W_hidden_T, dcell)

    here = tree.map(lambda d: d[part.where], dout)
    T, _, b, N = part.unrolled.projected.shape
    return unroll_backward(State, each, here, part.unrolled, slopes_of, keep, (T, b, 4 * N))


def backward(dout, cache):
    """-> (dinputs, dstate), dparams."""
    params, inputs, state, parts = cache

    def back(part):
        _, rows, unrolled = part
        # outputs, last = unroll(projected, start)
        dprojected, dstate, _ = _flow(dout, cache, part, keep=False)
        dprojected = time_first(dprojected).reshape(len(rows), len(params["b"]))  # not -1: there may be no rows
        dW_hidden = hidden_rows(unrolled.steps).mT @ dprojected
        # projected = rows @ [W_input, b]
        dW = rows.mT @ dprojected
        # rows = inputs, time first, and ones
        drows = product(dprojected, params["W_input"].mT)
        dinputs = time_first(drows.reshape(*time_first(inputs[part.where]).shape))
        return (dinputs, dstate), {"W_input": dW[:-1], "W_hidden": dW_hidden, "b": dW[-1]}

    douts, dparams = zip(*threads.map(back, parts), strict=True)
    dinputs, dstate = join(douts)
    return (dinputs, None if state is None else dstate), functools.reduce(tree.add, dparams)
