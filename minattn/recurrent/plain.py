"""Recurrence in plain Python loops: the oracle of every cell's `naive`."""

import math

import numpy as np


def recurrence(step, State, N, inputs, state, lengths, reverse):
    """step(x, state) -> state, over inputs (B, T, I) -> (outputs (B, T, N), State of (B, N))."""
    B, T = inputs.shape[:2]
    outputs = np.zeros((B, T, N))
    last = State(*(np.zeros((B, N)) if state is None else np.array(part) for part in state or State._fields))
    for b in range(B):
        current = [list(part[b]) for part in last]
        real = range(T if lengths is None else lengths[b])
        for t in reversed(real) if reverse else real:
            current = step(inputs[b, t], current)
            outputs[b, t] = current[0]
        for part, numbers in zip(last, current, strict=True):
            part[b] = numbers
    return outputs, last


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
