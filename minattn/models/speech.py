"""Speech: an LSTM hears a word from both sides, one query looks at every moment of it.

    outputs = bidirectional(... bidirectional(features))      (B, T, 2N), what was heard and its surroundings
    context = pooling(outputs)                                the moments that tell
    logits  = context W_out + b_out

Features are log-mel spectra, `minattn.data.spoken.log_mel`. Attention over recurrent states for a whole utterance:
Mirsamadi, Barsoum & Zhang 2017, doi:10.1109/ICASSP.2017.7952552. Cell and mechanism are arguments.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minattn import validate
from minattn.attention import dot
from minattn.functions import linear, linear_backward
from minattn.models import pooling
from minattn.op import Case
from minattn.recurrent import bidirectional, layers

PAPER = "Mirsamadi 2017"


class Cache(NamedTuple):
    params: Any
    heard: Any
    pooled: Any
    context: Any

    @property
    def weights(self):
        """(B, T): how much each moment gave to the answer."""
        return self.pooled.weights


def init(rng, *, V, I, N, L=1, A=None, H=1, cell=bidirectional, attention=dot):
    """V classes, features of width I, L layers of cells of width N. A, H: as in `pooling`."""
    recurrent = layers.init(rng, I=I, N=N, L=L, cell=cell)
    (outputs, _), _ = layers.forward(recurrent, np.zeros((0, 1, I)), cell=cell)  # no sounds: only the width is asked
    M = outputs.shape[-1]
    return {
        "layers": recurrent,
        "pooling": pooling.init(rng, M=M, A=A, H=H, attention=attention),
        "W_out": rng.normal(size=(M, V)) / math.sqrt(M),
        "b_out": np.zeros(V),
    }


def forward(params, features, *, lengths=None, dropout=0.0, rng=None, cell=bidirectional, attention=dot):
    """features (B, T, I) -> logits (B, V). lengths (B,): moments beyond them are padding.

    dropout: the share silenced between two layers, drawn from rng. Raises TypeError for integers, ValueError for shapes
    that do not fit.
    """
    validate.shapes({"features": "B T I"}, features=features)
    (outputs, _), heard = layers.forward(
        params["layers"], features, lengths=lengths, dropout=dropout, rng=rng, cell=cell
    )                                                           # (B, T, 2N)
    context, pooled = pooling.forward(
        params["pooling"], outputs, lengths=lengths, attention=attention
    )                                                           # (B, 2N)
    logits = linear(context, params["W_out"], params["b_out"])  # (B, V)
    return logits, Cache(params, heard, pooled, context)


def backward(dlogits, cache):
    """-> (dfeatures,), dparams."""
    params, heard, pooled, context = cache
    # logits = linear(context, W_out, b_out)
    dcontext, dW_out, db_out = linear_backward(dlogits, context, params["W_out"], params["b_out"])
    # context = pooling(outputs)
    (doutputs,), dpooling = pooling.backward(dcontext, pooled)
    # outputs = layers(features)
    (dfeatures, _), dlayers = layers.backward((doutputs, None), heard)
    return (dfeatures,), {"layers": dlayers, "pooling": dpooling, "W_out": dW_out, "b_out": db_out}


def cases(rng):
    """With and without padding, two layers with dropout between them."""
    sizes, features = {"V": 5, "I": 3, "N": 2}, rng.normal(size=(2, 4, 3))
    features[1, 3:] = np.nan
    yield Case("padding", sizes, (features,), {"lengths": np.array([4, 3])})
    chance = {"dropout": 0.3, "rng": np.random.default_rng(5)}
    yield Case("two layers, dropout", sizes | {"N": 1, "L": 2}, (rng.normal(size=(2, 4, 3)),), chance)
