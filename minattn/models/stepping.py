"""One more token: what the layers of `block` compute for a single new step, and nothing that an earlier step has done.

    joint   = norm(x) W_joint + b_joint            query / sqrt(D), key and value of all heads in one product
    weights = exp(query keys^T - peak)             against the keys of all steps so far, which are kept
    x       = x + (weights values / sum of weights) W_out + b_out
    x       = x + feed(norm(x))

A step is one row: its products take less time than a handful of NumPy calls, so what counts is how many calls there
are. Three products become one; 1 / sqrt(D) rides on the weights of the query; sums are products, and that of the
weights comes with their values, which end with a column of ones. Keys and values have room for every step from the
start: a new one is written into its place, where `block.advance` copies all earlier ones.

Where norms come first they leave their gain and bias to the weights that they meet. And since they alone see x, their
mean is taken from what is added to x, once for all steps: norm(x) = norm(x - mean(x)), and mean(x W) = x mean(W), so
that weights whose rows have mean 0 keep the mean of x at 0 (Ashkboos et al. 2024, SliceGPT, arXiv:2401.15024).
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minattn.functions import FUNCTIONS, add, buffers
from minattn.functions.norm import EPS
from minattn.positions import rotary as turn

PARTS = "query", "key", "value"


class Layer(NamedTuple):
    """A layer with its weights joined, ready for steps up to T; keys (B, G, T, D), values (B, G, T, E + 1).

    W_in, W_feed_out: those of `feed`.
    """

    params: dict
    sizes: tuple
    W_joint: Any
    b_joint: Any
    W_out: Any
    b_out: Any
    W_in: Any
    b_in: Any
    W_feed_out: Any
    b_feed_out: Any
    keys: Any
    values: Any


def layers(blocks, past, T, *, norm_first=True):
    """Layers that are ready for steps up to T; past: what `block.advance` kept of the first steps, one for each layer.

    Neither blocks nor past are written to.
    """
    return [_ready(params, *memory, T, norm_first) for params, memory in zip(blocks.values(), past, strict=True)]


def _ready(params, key, value, T, norm_first):
    look, feed = params["look"], params["feed"]
    (M, H, D), (_, G, E) = look["W_query"].shape, look["W_value"].shape
    scale = {"query": 1 / math.sqrt(D), "key": 1, "value": 1}
    weights = [scale[part] * look[f"W_{part}"].reshape(M, -1) for part in PARTS]
    biases = [scale[part] * look[f"b_{part}"].reshape(-1) for part in PARTS if f"b_{part}" in look]
    joint = np.concatenate(weights, axis=1), np.concatenate(biases) if biases else None  # (M, H D + G (D + E))
    out = look["W_out"].reshape(H * E, M), look.get("b_out")
    into, back = (feed["W_in"], feed["b_in"]), (feed["W_out"], feed["b_out"])
    if norm_first:
        joint, into = _after(params["norm_look"], *joint), _after(params["norm_feed"], *into)
        out, back = _centered(*out), _centered(*back)
    B, _, _, S, _ = key.shape
    keys = np.empty_like(key, shape=(B, G, T, D))
    values = np.ones_like(value, shape=(B, G, T, E + 1))
    keys[:, :, :S], values[:, :, :S, :E] = key[:, :, 0], value[:, :, 0]
    return Layer(params, (H, G, D, E), *joint, *out, *into, *back, keys, values)


def _after(norm, W, b):
    """(normed gain + bias) W + b = normed (gain W) + (bias W + b) -> the weights and the bias on the right."""
    gained = np.multiply(norm["gain"][:, None], W, out=buffers.empty(W, W.shape, W.dtype))
    return gained, add(norm["bias"] @ W, b)


def _centered(*terms):
    """W (*, M) and b (M,), or None, without the mean of their rows: what they add to x leaves its mean as it is."""
    return [None if term is None else term - term.mean(axis=-1, keepdims=True) for term in terms]


def step(layers, last_norm, x, place, *, bias=None, norm_first=True, activation="gelu", rotary=None):
    """x (B, M), the step at that place -> last_norm of what all layers make of it (B, M).

    Its keys and values are written into the layers. bias to (H, 1, S), S = place + 1; the other options as in `block`,
    and norm_first as the layers were made ready for.
    """
    mean = np.full_like(x, 1 / x.shape[-1], shape=(x.shape[-1], 1))            # (M, 1)  x @ mean is the mean
    x = x - x @ mean if norm_first else x                                      # (B, M)
    for layer in layers:
        if norm_first:
            x = x + _look(layer, _scaled(x, mean), place, bias, rotary)        # (B, M)
            x = x + _feed(layer, _scaled(x, mean), activation)                 # (B, M)
        else:
            norm_look, norm_feed = layer.params["norm_look"], layer.params["norm_feed"]
            x = _norm(x + _look(layer, x, place, bias, rotary), norm_look, mean)  # (B, M)
            x = _norm(x + _feed(layer, x, activation), norm_feed, mean)        # (B, M)
    return _norm(x, last_norm, mean)


def _look(layer, x, place, bias, rotary):
    """From a single query to all steps up to its own: (B, M) -> (B, M)."""
    (H, G, D, E), B = layer.sizes, len(x)
    joint = add(x @ layer.W_joint, layer.b_joint)                              # (B, H D + G (D + E))
    query, key = joint[:, : H * D].reshape(B, H, 1, D), joint[:, H * D : -G * E].reshape(B, G, 1, D)
    if rotary:
        query, key = turn(query, place, rotary), turn(key, place, rotary)
    layer.keys[:, :, place] = key[:, :, 0]
    layer.values[:, :, place, :E] = joint[:, -G * E :].reshape(B, G, E)
    keys, values = layer.keys[:, :, : place + 1], layer.values[:, :, : place + 1]
    scores = query.reshape(B, G, H // G, D) @ keys.mT                          # (B, G, H / G, S)
    if bias is not None:
        scores = scores + bias.reshape(G, H // G, -1)                          # (B, G, H / G, S)
    scores -= scores.max(axis=-1, keepdims=True)                               # (B, G, H / G, S)
    looked = np.exp(scores, out=scores) @ values                               # (B, G, H / G, E + 1)
    context = looked[..., :E] / looked[..., E:]                                # (B, G, H / G, E)
    return add(context.reshape(B, H * E) @ layer.W_out, layer.b_out)


def _feed(layer, x, activation):
    """As in `block`: (B, M) -> (B, M)."""
    active = FUNCTIONS[activation][0](x @ layer.W_in + layer.b_in)             # (B, F)
    active = active[0] if isinstance(active, tuple) else active
    return active @ layer.W_feed_out + layer.b_feed_out


def _norm(x, norm, mean):
    """`layer_norm` of a few rows: (B, M) -> (B, M)."""
    return _scaled(x - x @ mean, mean) * norm["gain"] + norm["bias"]


def _scaled(x, mean):
    """x of mean 0 -> of mean 0 and variance 1: (B, M) -> (B, M)."""
    return x / np.sqrt((x * x) @ mean + EPS)
