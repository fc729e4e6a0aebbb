"""Decoder-only Transformer: every step predicts the next token from those before it.

    x      = embed[tokens] (+ positions)
    x      = block(x), L times, each step looking only back
    logits = norm(x) W_out,          W_out = embed^T where the embeddings are tied

Radford et al. 2019, Language models are unsupervised multitask learners (GPT-2); tied embeddings: Press & Wolf 2017,
arXiv:1608.05859. `generate` keeps the keys and values of earlier steps, so that a step costs what one step costs.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minattn import masks, tree, validate
from minattn.functions import (
    embedding,
    embedding_backward,
    layer_norm,
    linear,
    linear_backward,
    softmax,
)
from minattn.models import block, reading, stepping
from minattn.op import Case
from minattn.positions import alibi, learned, learned_backward, sinusoidal

PAPER = "Radford 2019 (GPT-2)"
PIECE = 128  # tokens of a beginning that are read together: their scores are B H PIECE S numbers


class Cache(NamedTuple):
    params: Any
    tokens: Any
    stack: Any
    normed: Any

    @property
    def weights(self):
        """One (B, H, T, T) for each layer."""
        return [layer.weights for layer in self.stack.layers]


class Flow(NamedTuple):
    """Gradients at what entered each layer, (B, T, M) by its name, and at every parameter."""

    dlayers: dict
    dparams: dict


def init(rng, *, V, M, H, L, G=None, F=None, T=None, tied=True):
    """V tokens, width M, L layers of H heads (G of keys and values); T: places of a learned table, None for no table.

    tied=False gives the output a matrix of its own.
    """
    params = {
        "embed": 0.02 * rng.normal(size=(V, M)) if tied else rng.normal(size=(V, M)) / math.sqrt(M),
        "blocks": {str(layer): block.init(rng, M=M, H=H, G=G, F=F) for layer in range(L)},
        "norm": block.new_norm(M),
    }
    if T is not None:
        params["positions"] = 0.02 * rng.normal(size=(T, M))
    if not tied:
        params["W_out"] = rng.normal(size=(M, V)) / math.sqrt(M)
    return params


def forward(
    params, tokens, *, lengths=None, positions=None, norm_first=True, activation="gelu", dropout=0.0, rng=None
):
    """tokens (B, T) ids -> logits (B, T, V) of the token after each.

    lengths (B,): what lies beyond is padding. positions: "rotary", "rotary half", "sinusoidal", "alibi", or None; a
    table of learned places is used where params hold one. Raises TypeError or ValueError for ids that do not fit.
    """
    validate.sequences(tokens=tokens)
    placed = _placed(params, tokens.shape[1], positions)
    x = _embed(params, tokens, 0, placed)     # (B, T, M)
    mask = masks.causal() if lengths is None else masks.causal() & masks.padding(lengths)
    bias = placed["bias"](0, x)               # (H, T, T), or None
    settings = {"norm_first": norm_first, "activation": activation, "dropout": dropout, "rng": rng}
    normed, stack = block.stack(
        params["blocks"], params["norm"], x, None, bias, mask=mask, rotary=placed["rotary"], **settings
    )                                         # (B, T, M)
    logits = linear(normed, _output(params))  # (B, T, V)
    return logits, Cache(params, tokens, stack, normed)


def backward(dlogits, cache):
    """-> (None,), dparams: token ids have no gradient."""
    return (None,), _backward(dlogits, cache)


def flow(dlogits, cache):
    """Back through the layers -> Flow: what `backward` gives, and the gradient on its way."""
    entered = {}
    dparams = _backward(dlogits, cache, entered)
    return Flow({name: entered[name] for name in cache.params["blocks"]}, dparams)


def _backward(dlogits, cache, entered=None):
    """-> dparams; entered: as in `block.stack_backward`."""
    params, tokens, stack, normed = cache
    # logits = linear(normed, W_out)
    dnormed, dW_out, _ = linear_backward(dlogits, normed, _output(params))
    dparams = {} if "W_out" not in params else {"W_out": dW_out}
    # normed = stack(x)
    (dx, _), dparams["blocks"], dparams["norm"] = block.stack_backward(dnormed, stack, entered)
    # x = embed[tokens] + positions
    if "positions" in params:
        dparams["positions"] = learned_backward(dx.sum(axis=0), params["positions"], tokens.shape[1])
    dparams["embed"] = embedding_backward(dx, params["embed"], tokens)
    if "W_out" not in params:
        dparams["embed"] = tree.add(dparams["embed"], dW_out.mT)  # tied: it was read twice
    return dparams


def generate(
    params, tokens, *, steps, rng=None, temperature=1.0, top_k=None, top_p=None, positions=None, norm_first=True,
    activation="gelu"
):
    """tokens (B, T) the beginning -> (B, T + steps). Without rng the likeliest token each time, else one is drawn.

    temperature: below 1 sharper, above 1 flatter. top_k: only the k likeliest; top_p: only the fewest that together
    have probability p (Holtzman et al. 2020, arXiv:1904.09751).
    """
    validate.sequences(tokens=tokens)
    validate.count("steps", steps)
    settings = {"positions": positions, "norm_first": norm_first, "activation": activation}
    B, T = tokens.shape
    layers = stepping.layers(params["blocks"], B, T + steps, reading.dtype_of(params), norm_first=norm_first)
    for place in range(0, T, PIECE):
        logits = _further(params, tokens[:, place : place + PIECE], layers, place, **settings)   # (B, V)
    written = np.empty_like(tokens, shape=(B, T + steps))                                        # (B, T + steps)
    written[:, :T] = tokens
    for place in range(T, T + steps):
        written[:, place] = choose(logits, rng, temperature, top_k, top_p)                       # (B,)
        if place + 1 < T + steps:
            logits = _further(params, written[:, place : place + 1], layers, place, **settings)  # (B, V)
    return written


def _further(params, tokens, layers, place, *, positions, norm_first, activation):
    """`advance` for tokens (B, t) from that place on -> logits (B, V) after the last; `layers` remember them."""
    placed = _placed(params, place + tokens.shape[1], positions)
    x = _embed(params, tokens, place, placed)                                                    # (B, t, M)
    settings = {"norm_first": norm_first, "activation": activation, "rotary": placed["rotary"]}
    bias = placed["bias"](place, x)                                                              # (H, t, S), or None
    x = stepping.step(layers, params["norm"], x, place, bias=bias, **settings)                   # (B, t, M)
    return x[:, -1] @ _output(params)


def advance(params, tokens, past, *, positions=None, norm_first=True, activation="gelu"):
    """`forward` for new tokens (B, t) alone -> logits (B, t, V), past; past is None at the start.

    past holds the keys and values of the earlier steps, for every layer.
    """
    memories = past or [None] * len(params["blocks"])
    offset = 0 if past is None else past[0].key.shape[-2]
    placed = _placed(params, offset + tokens.shape[1], positions)
    x = _embed(params, tokens, offset, placed)                                             # (B, t, M)
    bias, after = placed["bias"](offset, x), []                                            # (H, t, T), or None
    settings = {"norm_first": norm_first, "activation": activation, "rotary": placed["rotary"]}
    for layer, memory in zip(params["blocks"].values(), memories, strict=True):
        x, memory = block.advance(layer, x, memory, offset=offset, bias=bias, **settings)  # (B, t, M)
        after.append(memory)
    normed, *_ = layer_norm(x, params["norm"]["gain"], params["norm"]["bias"])             # (B, t, M)
    return linear(normed, _output(params)), after


def choose(logits, rng=None, temperature=1.0, top_k=None, top_p=None):
    """logits (B, V) -> one token id each (B,)."""
    if rng is None:
        return logits.argmax(axis=-1)
    if not temperature > 0:
        raise ValueError(f"temperature must be positive but is {temperature}: for the likeliest token leave out rng")
    logits = logits / float(temperature)                                              # (B, V)
    order = np.argsort(-logits, axis=-1, kind="stable")                               # (B, V)  likeliest first
    ranked = np.take_along_axis(logits, order, axis=-1)                               # (B, V)
    V = logits.shape[-1]
    allowed = np.arange(V, like=logits) < (top_k or V)                                # (V,)
    probability = softmax(np.where(allowed, ranked, -np.inf))                         # (B, V)
    if top_p is not None:
        if not 0 < top_p <= 1:
            raise ValueError(f"top_p must lie in (0, 1] but is {top_p}")
        before = np.cumsum(probability, axis=-1) - probability                        # (B, V)
        probability = softmax(np.where(allowed & (before < top_p), ranked, -np.inf))  # (B, V)
    drawn = np.asarray(rng.random((logits.shape[0], 1)), like=logits)                 # (B, 1)  on the host, in float64
    rank = (np.cumsum(probability, axis=-1) <= drawn).sum(axis=-1, keepdims=True)     # (B, 1)
    last = (probability > 0).sum(axis=-1, keepdims=True) - 1                          # (B, 1)  whatever the rounding
    return np.take_along_axis(order, np.minimum(rank, last), axis=-1)[:, 0]


def _placed(params, T, positions):
    """How places enter: what is added to x, the style of rotation, and the bias of the scores."""
    known = (None, "rotary", "rotary half", "sinusoidal", "alibi")
    if positions not in known:
        raise ValueError(f"positions must be one of {', '.join(map(repr, known))} but is {positions!r}")
    H = next(iter(params["blocks"].values()))["look"]["W_query"].shape[1]

    def bias(offset, x):
        if positions != "alibi":
            return None
        return np.asarray(alibi(H, x.shape[1], offset + x.shape[1], offset=offset, dtype=x.real.dtype), like=x)

    style = {"rotary": "interleaved", "rotary half": "half"}.get(positions)
    return {"rotary": style, "bias": bias, "waves": positions == "sinusoidal"}


def _embed(params, tokens, offset, placed):
    x = embedding(params["embed"], tokens)                           # (B, t, M)
    T, M = x.shape[1:]
    if "positions" in params:
        x = x + learned(params["positions"], T, offset)              # (B, t, M)
    if placed["waves"]:
        waves = sinusoidal(T, M, offset=offset, dtype=x.real.dtype)  # (t, M)
        x = x + np.asarray(waves, like=x)                            # (B, t, M)
    return x


def _output(params):
    """W_out (M, V), or the embeddings the other way round."""
    return params["W_out"] if "W_out" in params else params["embed"].mT


def cases(rng):
    """Tied and not, every kind of position, both places of the norm."""
    sizes = {"V": 7, "M": 4, "H": 2, "G": 1, "F": 5, "L": 2}
    tokens = rng.integers(7, size=(2, 3))
    yield Case("tied, rotary", sizes, (tokens,), {"positions": "rotary", "lengths": np.array([3, 2])})
    yield Case("own output, learned", sizes | {"T": 5, "tied": False, "L": 1}, (tokens,), {"norm_first": False})
    yield Case("alibi", sizes | {"L": 1}, (tokens,), {"positions": "alibi"})
    yield Case("sinusoidal, dropout", sizes | {"L": 1}, (tokens,), {
        "positions": "sinusoidal", "dropout": 0.3, "rng": np.random.default_rng(5),
    })
