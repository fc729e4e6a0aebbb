"""MiniLM: an encoder in the shape of BERT that makes a vector of a sentence.

    x        = norm(embed[tokens] + positions[0 .. T-1] + types[0])
    hidden   = block(x), L times, the norm last, every token looking at every real one
    sentence = mean of hidden over the real tokens, divided by its Euclidean norm

Devlin et al. 2019 (BERT), arXiv:1810.04805; Wang et al. 2020 (MiniLM), arXiv:2002.10957; the mean: Reimers & Gurevych
2019 (Sentence-BERT), arXiv:1908.10084. Trained weights come by `weights.pretrained`, tokens by `data.wordpiece`.
"""

from typing import Any, NamedTuple

import numpy as np

from minattn import masks, validate
from minattn.functions import dropout as drop
from minattn.functions import (
    dropout_backward,
    embedding,
    embedding_backward,
    layer_norm,
    layer_norm_backward,
    row_dot,
)
from minattn.models import block, reading
from minattn.op import Case
from minattn.positions import learned, learned_backward

PAPER = "Devlin 2019; Wang 2020"
EPS = 1e-12  # of all norms, as BERT was trained
SHORTEST = 1e-12  # a mean shorter than that is divided by it


class Cache(NamedTuple):
    params: Any
    tokens: Any
    types: Any
    norm: Any
    kept: Any
    layers: list

    @property
    def weights(self):
        """One (B, H, T, T) for each layer."""
        return [layer.weights for layer in self.layers]


def init(rng, *, V, M, H, L, T, F=None, K=2):
    """V tokens, width M, L layers of H heads, F features inside `feed` (4 M), T places at most, K types of segments."""
    return {
        "embed": 0.02 * rng.normal(size=(V, M)),
        "positions": 0.02 * rng.normal(size=(T, M)),
        "types": 0.02 * rng.normal(size=(K, M)),
        "norm": block.new_norm(M),
        "blocks": {str(layer): block.init(rng, M=M, H=H, F=F) for layer in range(L)},
    }


def forward(params, tokens, *, lengths=None, types=None, dropout=0.0, rng=None):
    """tokens (B, T) ids -> hidden (B, T, M); what stands at padded steps means nothing.

    lengths (B,): what lies beyond is padding. types (B, T): the segment of each token, all 0 where none are given.
    dropout: the share of embeddings, weights and each part's outcome that is silenced, drawn from rng. Raises TypeError
    or ValueError for ids that do not fit, and for sentences of more tokens than there are places.
    """
    x, *norm = _embed(params, tokens, types)            # (B, T, M)
    x, kept = drop(x, dropout, rng)                     # (B, T, M)
    mask = None if lengths is None else masks.padding(lengths)
    settings = {"mask": mask, "norm_first": False, "dropout": dropout, "rng": rng, "eps": EPS}
    layers = []
    for layer in params["blocks"].values():
        x, cache = block.forward(layer, x, **settings)  # (B, T, M)
        layers.append(cache)
    return x, Cache(params, tokens, types, norm, kept, layers)


def backward(dhidden, cache):
    """-> (None,), dparams: token ids have no gradient."""
    params, tokens, types, norm, kept, layers = cache
    dparams, dx = {"blocks": dict.fromkeys(params["blocks"])}, dhidden
    for name, layer in zip(reversed(params["blocks"]), reversed(layers), strict=True):
        # x = block(x)
        (dx, _, _), dparams["blocks"][name] = block.backward(dx, layer)
    # x = dropout(norm(x))
    dnormed = dropout_backward(dx, kept)
    dx, dgain, dbias = layer_norm_backward(dnormed, *norm, params["norm"]["gain"], params["norm"]["bias"])
    dparams["norm"] = {"gain": dgain, "bias": dbias}
    # x = embed[tokens] + positions + types
    dparams["embed"] = embedding_backward(dx, params["embed"], tokens)
    dparams["positions"] = learned_backward(dx.sum(axis=0), params["positions"], tokens.shape[1])
    segments = np.zeros_like(tokens) if types is None else types
    dparams["types"] = embedding_backward(dx, params["types"], segments)
    return (None,), dparams


def reader(params):
    """-> read(tokens, *, lengths=None, types=None) -> hidden (B, T, M): `forward` where nobody goes back.

    It keeps nothing and joins the weights beforehand: make one for all that is to be read, and another where the params
    have changed. See `models.reading`.
    """
    layers = reading.layers(params["blocks"])

    def read(tokens, *, lengths=None, types=None):
        x, *_ = _embed(params, tokens, types)  # (B, T, M)
        real = None if lengths is None else _real(lengths, x)[:, 0]
        return reading.read(layers, x, real, eps=EPS)

    return read


def _embed(params, tokens, types):
    """norm(embed[tokens] + positions + types) (B, T, M), and what its backward needs."""
    validate.sequences(tokens=tokens, **({} if types is None else {"types": types}))
    if types is not None and types.shape != tokens.shape:
        raise ValueError(f"types {types.shape} must be the segments of tokens {tokens.shape}, one for each of them")
    x = embedding(params["embed"], tokens) + learned(params["positions"], tokens.shape[1])  # (B, T, M)
    x = x + (params["types"][0] if types is None else embedding(params["types"], types))    # (B, T, M)
    return layer_norm(x, params["norm"]["gain"], params["norm"]["bias"], EPS)


def _real(lengths, x):
    """Where the tokens of x (B, T, M) are no padding: (B, 1, T)."""
    B, T, _ = x.shape
    return np.broadcast_to(masks.array(masks.padding(lengths), (B, 1, T), like=x), (B, 1, T))


def sentence(hidden, lengths=None):
    """hidden (B, T, M), lengths (B,) of at least 1 -> out (B, M) of length 1, share (B, 1, T), size (B, 1).

    The inner product of two of them is the cosine of their angle: how near two sentences are in meaning.
    """
    real = _real(hidden.shape[1] if lengths is None else lengths, hidden)  # (B, 1, T)
    share = real / np.maximum(real.sum(axis=-1, keepdims=True), 1)         # (B, 1, T)
    share = share.astype(hidden.real.dtype)                                # (B, 1, T)
    mean = (share @ masks.keep(real[:, 0], hidden))[:, 0]                  # (B, M)
    size = np.sqrt(row_dot(mean, mean))                                    # (B, 1)
    size = np.where(size.real > SHORTEST, size, SHORTEST)                  # (B, 1)
    return mean / size, share, size


def sentence_backward(dout, out, share, size):
    """-> dhidden (B, T, M). The mean's part along its own direction only changes its length, which is divided away."""
    # out = mean / size
    dmean = (dout - row_dot(dout, out) * out) / size
    # mean = share @ hidden
    return share.mT @ dmean[:, None]


def cases(rng):
    """With and without padding, segments, dropout."""
    sizes = {"V": 7, "M": 6, "H": 2, "L": 2, "T": 5, "F": 5}
    tokens = rng.integers(7, size=(2, 4))
    yield Case("plain", sizes, (tokens,))
    yield Case("padding, segments", sizes, (tokens,), {
        "lengths": np.array([4, 2]), "types": rng.integers(2, size=(2, 4)),
    })
    yield Case("dropout", sizes | {"L": 1}, (tokens,), {"dropout": 0.3, "rng": np.random.default_rng(5)})
