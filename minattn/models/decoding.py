"""Beam search for anything that writes token by token: at every step the likeliest beginnings are kept."""

from typing import Any, NamedTuple

import numpy as np

from minattn import tree, validate
from minattn.functions import log_softmax


class Decoded(NamedTuple):
    """tokens (B, T) up to and with `end`, then `end` again; log_probability (B,); weights (B, T, S)."""

    tokens: Any
    log_probability: Any
    weights: Any


def beam(write, state, fixed, source, *, start, end, steps, width=4, length_penalty=1.0):
    """write(tokens (B K, 1), t, state, fixed) -> logits (B K, V), state, weights (B K, 1, S);  -> Decoded.

    state: a tree of (B, ...), what a beginning carries along; fixed: one of what all beginnings of a sequence share;
    source (B, S): whose device and batch size count. Beginnings of different length compete by log probability /
    length ** length_penalty; width=1 is the likeliest token each time.
    """
    validate.count("width", width)
    validate.count("steps", steps)
    B, K = source.shape[0], width
    state, fixed = tree.map(lambda x: np.repeat(x, K, axis=0), (state, fixed))
    tokens = np.full_like(source, start, shape=(B * K, 1), dtype=np.int64)                  # (B K, 1 + t)
    scores, looks = None, None
    for t in range(steps):
        # what each beginning would write next, (B, K, V); one that has ended adds `end` for nothing
        logits, state, weights = write(tokens[:, -1:], t, state, fixed)                     # (B K, V)
        log_p = log_softmax(logits)                                                         # (B K, V)
        V = log_p.shape[-1]
        ended = np.where(np.arange(V, like=tokens) == end, 0, -np.inf).astype(log_p.dtype)  # (V,)
        log_p = np.where(tokens[:, -1:] == end, ended, log_p).reshape(B, K, V)              # (B, K, V)
        # all begin alike: keep one
        if scores is None:
            first = np.arange(K, like=tokens) == 0                                          # (K,)
            scores = np.where(first, np.zeros_like(log_p[..., 0]), -np.inf)                 # (B, K)
        totals = (scores[..., None] + log_p).reshape(B, K * V)                              # (B, K V)
        # the K best of all continuations, and the beginnings that they continue
        best = totals.argmax(axis=-1)[:, None] if K == 1 else np.argsort(-totals, kind="stable")[:, :K]  # (B, K)
        scores = np.take_along_axis(totals, best, axis=-1)                                  # (B, K)
        rows = (np.arange(B, like=tokens)[:, None] * K + best // V).reshape(-1)             # (B K,)
        tokens = np.concatenate([tokens[rows], (best % V).reshape(-1, 1)], axis=1)          # (B K, 2 + t)
        state = tree.map(lambda x, rows=rows: x[rows], state)
        looks = weights if looks is None else np.concatenate([looks, weights], axis=1)      # (B K, 1 + t, S)
        looks = looks[rows]                                                                 # (B K, 1 + t, S)
        if (tokens[:, -1] == end).all():
            break
    tokens = tokens[:, 1:]                                                                  # (B K, T)
    lengths = np.minimum((tokens != end).sum(axis=-1) + 1, tokens.shape[1])                 # (B K,)
    lengths = lengths.reshape(B, K)                                                         # (B, K)
    best = (scores / lengths.astype(scores.dtype) ** length_penalty).argmax(axis=-1)        # (B,)
    rows = np.arange(B, like=tokens) * K + best                                             # (B,)
    return Decoded(tokens[rows], scores.reshape(-1)[rows], looks[rows])
