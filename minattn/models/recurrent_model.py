"""Recurrent language model: a cell reads token after token and says after each what may come next.

    outputs = cell(embed[tokens]),   logits = outputs W_out + b_out

Mikolov et al. 2010, Recurrent neural network based language model. The baseline beside `language_model`.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minattn import validate
from minattn.functions import embedding, embedding_backward, linear, linear_backward
from minattn.models.language_model import choose
from minattn.op import Case
from minattn.recurrent import lstm

PAPER = "Mikolov 2010"


class Cache(NamedTuple):
    params: Any
    cell: Any
    tokens: Any
    read: Any
    outputs: Any


def init(rng, *, V, I, N, cell=lstm):
    """V tokens, embeddings of width I, a cell of width N."""
    return {
        "embed": rng.normal(size=(V, I)) / math.sqrt(I),
        "cell": cell.init(rng, I=I, N=N),
        "W_out": rng.normal(size=(N, V)) / math.sqrt(N),
        "b_out": np.zeros(V),
    }


def forward(params, tokens, state=None, *, lengths=None, cell=lstm):
    """tokens (B, T) ids, state of the cell or None -> (logits (B, T, V) of the token after each, state)."""
    validate.sequences(tokens=tokens)
    embedded = embedding(params["embed"], tokens)                                            # (B, T, I)
    (outputs, state), read = cell.forward(params["cell"], embedded, state, lengths=lengths)  # (B, T, N)
    logits = linear(outputs, params["W_out"], params["b_out"])                               # (B, T, V)
    return (logits, state), Cache(params, cell, tokens, read, outputs)


def backward(dout, cache):
    """-> (None, dstate), dparams: token ids have no gradient."""
    params, cell, tokens, read, _ = cache
    # logits = linear(outputs, W_out, b_out)
    darrived, dW_out, db_out = _arrived(dout, cache)
    # outputs, state = cell(embedded, state)
    (dembedded, dstate), dcell = cell.backward(darrived, read)
    # embedded = embed[tokens]
    dembed = embedding_backward(dembedded, params["embed"], tokens)
    return (None, dstate), {"embed": dembed, "cell": dcell, "W_out": dW_out, "b_out": db_out}


def flow(dout, cache):
    """Back through time -> what the cell's own flow returns."""
    darrived, *_ = _arrived(dout, cache)
    return cache.cell.flow(darrived, cache.read)


def _arrived(dout, cache):
    """-> the gradient at what the cell gave, (doutputs, dlast), and those of W_out and b_out."""
    params, outputs = cache.params, cache.outputs
    dlogits, dlast = dout
    if dlogits is None:
        dlogits = np.zeros_like(outputs, shape=(*outputs.shape[:-1], params["W_out"].shape[1]))
    doutputs, dW_out, db_out = linear_backward(dlogits, outputs, params["W_out"], params["b_out"])
    return (doutputs, dlast), dW_out, db_out


def generate(params, tokens, *, steps, rng=None, temperature=1.0, top_k=None, top_p=None, cell=lstm):
    """tokens (B, T) the beginning -> (B, T + steps); the options are those of `language_model.generate`."""
    validate.count("steps", steps)
    (logits, state), _ = forward(params, tokens, cell=cell)
    for step in range(steps):
        new = choose(logits[:, -1], rng, temperature, top_k, top_p)[:, None]  # (B, 1)
        tokens = np.concatenate([tokens, new.astype(tokens.dtype)], axis=1)   # (B, T + 1 + step)
        if step + 1 < steps:
            (logits, state), _ = forward(params, new, state, cell=cell)
    return tokens


def cases(rng):
    """With and without a state and padding."""
    sizes, tokens = {"V": 5, "I": 3, "N": 4}, rng.integers(5, size=(2, 3))
    state = lstm.State(rng.normal(size=(2, 4)), rng.normal(size=(2, 4)))
    yield Case("batch", sizes, (tokens,))
    yield Case("given state, padding", sizes, (tokens, state), {"lengths": np.array([3, 2])})
