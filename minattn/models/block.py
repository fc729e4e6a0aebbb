"""One Transformer layer: look around, look at the memory, think; each around a residual and with a norm.

    x <- x + attention(norm(x), norm(x))                 norm_first, as GPT-2 does
    x <- x + attention(norm(x), memory)                  where there is a memory: a decoder's layer
    x <- x + feed(norm(x)),   feed(x) = activation(x W_in + b_in) W_out + b_out

or norm(x + f(x)) with norm_first=False, as in Vaswani et al. 2017, arXiv:1706.03762, section 3.1. Where the norm stands
first the residual is never scaled, so gradients reach the lowest layer: Xiong et al. 2020, arXiv:2002.04745.
"""

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from minattn import masks, tree, validate
from minattn.attention import multihead
from minattn.functions import FUNCTIONS, dropout_backward, layer_norm, layer_norm_backward, linear, linear_backward
from minattn.functions import dropout as drop
from minattn.functions.norm import EPS
from minattn.op import Case, pair

PAPER = "Vaswani 2017, 3.1; Xiong 2020"


class Cache(NamedTuple):
    params: Any
    settings: dict
    look: Any
    recall: Any
    feed: Any

    @property
    def weights(self):
        """(B, H, T, T): where each step looked among the steps."""
        return self.look.inner.weights

    @property
    def memory_weights(self):
        """(B, H, T, S): where each step looked in the memory."""
        return self.recall.inner.weights


class Stack(NamedTuple):
    """What a stack of layers under a last norm keeps."""

    params: dict
    layers: list
    norm: Any
    kept: list


class Part(NamedTuple):
    """What one residual part keeps: of the norm, of dropout, and of the function inside."""

    normalized: Any
    inverse_std: Any
    kept: Any
    inner: Any


def init(rng, *, M, H, G=None, F=None, cross=False, inner=None):
    """Width M, H heads (G of keys and values), F features inside `feed` (4 M); cross=True: a memory too."""
    F = F or 4 * M
    sizes = {"M": M, "H": H, "G": G, "inner": inner}
    params = {"look": multihead.init(rng, **sizes), "norm_look": new_norm(M), "norm_feed": new_norm(M)}
    if cross:
        params |= {"recall": multihead.init(rng, **sizes), "norm_recall": new_norm(M)}
    params["feed"] = {
        "W_in": rng.normal(size=(M, F)) / math.sqrt(M),
        "b_in": np.zeros(F),
        "W_out": rng.normal(size=(F, M)) / math.sqrt(F),
        "b_out": np.zeros(M),
    }
    return params


def forward(
    params, x, memory=None, bias=None, *, mask=None, memory_mask=None, norm_first=True, activation="gelu",
    dropout=0.0, rng=None, rotary=None, inner=None, eps=EPS,
):
    """x (B, T, M), memory (B, S, M) or None, bias to (B, H, T, T) on the scores of x -> (B, T, M).

    mask (T x T) and memory_mask (T x S): as in `multihead`. activation: gelu, gelu_tanh, relu or silu. dropout: the
    share of weights and of each part's outcome that is silenced, drawn from rng. rotary: a style, or None. eps: of the
    norms.
    """
    validate.block(params, x, memory, activation)
    settings = {"norm_first": norm_first, "activation": activation}
    chance = {"dropout": dropout, "rng": rng}

    def look(x):
        return multihead.forward(params["look"], x, x, x, bias, mask=mask, rotary=rotary, inner=inner, **chance)

    def recall(x):
        return multihead.forward(params["recall"], x, memory, memory, mask=memory_mask, inner=inner, **chance)

    def feed(x):
        return _feed(params["feed"], x, activation)

    x, looked = _residual(look, params["norm_look"], x, norm_first, chance, eps)            # (B, T, M)
    recalled = None
    if memory is not None:
        x, recalled = _residual(recall, params["norm_recall"], x, norm_first, chance, eps)  # (B, T, M)
    x, fed = _residual(feed, params["norm_feed"], x, norm_first, chance, eps)               # (B, T, M)
    return x, Cache(params, settings, looked, recalled, fed)


def backward(dout, cache):
    """-> (dx, dmemory, dbias), dparams."""
    params, settings, looked, recalled, fed = cache
    norm_first, activation = settings["norm_first"], settings["activation"]
    dparams, others = {}, {"recall": None, "look": None}

    def feed_backward(dout, inner):
        dx, dparams["feed"] = _feed_backward(dout, inner, params["feed"], activation)
        return dx

    def recall_backward(dout, inner):
        (dx, dkey, dvalue, _), dparams["recall"] = multihead.backward(dout, inner)
        others["recall"] = dkey + dvalue  # the memory was both
        return dx

    def look_backward(dout, inner):
        (dquery, dkey, dvalue, others["look"]), dparams["look"] = multihead.backward(dout, inner)
        return dquery + dkey + dvalue  # x was all three

    # x = residual(feed)
    dx, dparams["norm_feed"] = _residual_backward(feed_backward, dout, fed, params["norm_feed"], norm_first)
    # x = residual(recall)
    if recalled is not None:
        dx, dparams["norm_recall"] = _residual_backward(
            recall_backward, dx, recalled, params["norm_recall"], norm_first
        )
    # x = residual(look)
    dx, dparams["norm_look"] = _residual_backward(look_backward, dx, looked, params["norm_look"], norm_first)
    return (dx, others["recall"], others["look"]), dparams


def stack(layers, norm, x, memory=None, bias=None, **options):
    """Layers on top of each other and a last norm: x (B, T, M) -> (B, T, M), Stack. options as for `forward`."""
    caches = []
    for layer in layers.values():
        x, cache = forward(layer, x, memory, bias, **options)  # (B, T, M)
        caches.append(cache)
    normed, *kept = layer_norm(x, norm["gain"], norm["bias"])  # (B, T, M)
    return normed, Stack(layers, caches, norm, kept)


def stack_backward(dnormed, cache, entered=None):
    """-> (dx, dmemory), dlayers, dnorm; every layer asked the one memory, so its gradients add up.

    entered: a dict to be filled with the gradient at what entered each layer, (B, T, M) by its name.
    """
    layers, caches, norm, kept = cache
    # normed = layer_norm(x)
    dx, dgain, dbias = layer_norm_backward(dnormed, *kept, norm["gain"], norm["bias"])
    dlayers, dmemory = dict.fromkeys(layers), None
    for name, layer in zip(reversed(layers), reversed(caches), strict=True):
        # x = layer(x, memory)
        (dx, drecalled, _), dlayers[name] = backward(dx, layer)
        dmemory = tree.add(dmemory, drecalled)
        if entered is not None:
            entered[name] = dx
    return (dx, dmemory), dlayers, {"gain": dgain, "bias": dbias}


def advance(
    params, x, past, recalled=None, *, offset, bias=None, memory_mask=None, norm_first=True, activation="gelu",
    rotary=None, inner=None,
):
    """`forward` for new steps alone: x (B, t, M) standing at offset, past what `look` kept of the earlier ones.

    -> out (B, t, M), past with the new steps. recalled: the memory as `multihead.prepare` made it. Nothing is kept for
    a backward.
    """
    kept = {"past": past}

    def look(x):
        new, _ = multihead.prepare(params["look"], x, x, rotary=rotary, offset=offset, inner=inner)
        kept["past"] = new if past is None else tree.map(_append, past, new)
        mask = masks.causal(offset=offset)
        return multihead.attend(
            params["look"], x, kept["past"], bias, mask=mask, rotary=rotary, offset=offset, inner=inner
        )

    def recall(x):
        return multihead.attend(params["recall"], x, recalled, mask=memory_mask, inner=inner)

    def feed(x):
        return _feed(params["feed"], x, activation)

    chance = {"dropout": 0.0, "rng": None}
    x, _ = _residual(look, params["norm_look"], x, norm_first, chance)          # (B, t, M)
    if recalled is not None:
        x, _ = _residual(recall, params["norm_recall"], x, norm_first, chance)  # (B, t, M)
    x, _ = _residual(feed, params["norm_feed"], x, norm_first, chance)          # (B, t, M)
    return x, kept["past"]


def _residual(function, norm, x, norm_first, chance, eps=EPS):
    """x + function(norm(x)), or norm(x + function(x)) -> (B, T, M), Part."""
    if norm_first:
        normed, normalized, inverse_std = layer_norm(x, norm["gain"], norm["bias"], eps)        # (B, T, M)
        out, inner = function(normed)                                                           # (B, T, M)
        dropped, kept = drop(out, chance["dropout"], chance["rng"])                             # (B, T, M)
        return x + dropped, Part(normalized, inverse_std, kept, inner)
    out, inner = function(x)                                                                    # (B, T, M)
    dropped, kept = drop(out, chance["dropout"], chance["rng"])                                 # (B, T, M)
    normed, normalized, inverse_std = layer_norm(x + dropped, norm["gain"], norm["bias"], eps)  # (B, T, M)
    return normed, Part(normalized, inverse_std, kept, inner)


def _residual_backward(function_backward, dout, part, norm, norm_first):
    """-> dx, dnorm."""
    normalized, inverse_std, kept, inner = part

    def norm_backward(dnormed):
        dx, dgain, dbias = layer_norm_backward(dnormed, normalized, inverse_std, norm["gain"], norm["bias"])
        return dx, {"gain": dgain, "bias": dbias}

    if norm_first:
        # out = x + dropout(function(norm(x)))
        dnormed = function_backward(dropout_backward(dout, kept), inner)
        dx, dnorm = norm_backward(dnormed)
        return dout + dx, dnorm
    # out = norm(x + dropout(function(x)))
    dsum, dnorm = norm_backward(dout)
    return dsum + function_backward(dropout_backward(dsum, kept), inner), dnorm


def _feed(params, x, activation):
    """activation(x W_in + b_in) W_out + b_out, for every step alone."""
    inside = linear(x, params["W_in"], params["b_in"])                           # (B, T, F)
    active, acted = _activation(activation).forward({}, inside)                  # (B, T, F)
    return linear(active, params["W_out"], params["b_out"]), (x, active, acted)  # (B, T, M)


def _feed_backward(dout, cache, params, activation):
    """-> dx, dparams."""
    x, active, acted = cache
    # out = linear(active, W_out, b_out)
    dactive, dW_out, db_out = linear_backward(dout, active, params["W_out"], params["b_out"])
    # active = activation(inside)
    (dinside,), _ = _activation(activation).backward(dactive, acted)
    # inside = linear(x, W_in, b_in)
    dx, dW_in, db_in = linear_backward(dinside, x, params["W_in"], params["b_in"])
    return dx, {"W_in": dW_in, "b_in": db_in, "W_out": dW_out, "b_out": db_out}


@functools.cache
def _activation(name):
    """An activation and its backward as an op: some keep their input, some their output."""
    return pair(*FUNCTIONS[name])


def new_norm(M):
    """Gain 1 and bias 0."""
    return {"gain": np.ones(M), "bias": np.zeros(M)}


def _append(past, new):
    """Keys or values of earlier steps and of new ones, (B, G, 1, S, *)."""
    return np.concatenate([past, new], axis=-2)


def cases(rng):
    """Both places of the norm, with and without a memory, every activation, dropout."""
    B, T, S, M = 2, 3, 4, 6
    sizes = {"M": M, "H": 2, "G": 1, "F": 5}
    x, memory = rng.normal(size=(B, T, M)), rng.normal(size=(B, S, M))
    lengths = masks.padding(np.array([S, S - 2]))
    yield Case("norm first, causal", sizes, (x,), {"mask": masks.causal(), "rotary": None})
    yield Case("norm last, relu", sizes, (x,), {"norm_first": False, "activation": "relu", "eps": 0.1})
    yield Case("bias", sizes, (x, None, rng.normal(size=(B, 2, T, T))), {"activation": "silu"})
    sizes = sizes | {"cross": True}
    both = {"memory_mask": lengths, "mask": masks.causal()}
    yield Case("memory", sizes, (x, memory), both | {"activation": "gelu_tanh"})
    yield Case("memory, norm last", sizes, (x, memory), {"memory_mask": lengths, "norm_first": False})
    yield Case("dropout", sizes, (x, memory), {"dropout": 0.3, "rng": np.random.default_rng(5)})
