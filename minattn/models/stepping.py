"""A few more tokens: what the layers of `block` compute for new steps, and nothing that an earlier step has done.

    joint  = norm(x) W_joint + b_joint                 as in `reading`: query, key, value, of all heads in one product
    looked = 2^(query keys^T (+ bias)) values          the keys and values of all steps so far are kept
    x      = x + context W_out + b_out                 context = looked, divided by its last column
    x      = x + feed(norm(x))

A step is mostly one row: its products take less time than a handful of NumPy calls, so what counts is how many calls
there are. Keys and values have room for every step from the start: a new one is written into its place, where
`block.advance` copies all earlier ones.

Where norms come first they leave their gain and bias to the weights that they meet. And since they alone see x, their
mean is taken from what is added to x, once for all steps: norm(x) = norm(x - mean(x)), and mean(x W) = x mean(W), so
that weights whose rows have mean 0 keep the mean of x at 0 (Ashkboos et al. 2024, SliceGPT, arXiv:2401.15024).
"""

from typing import Any, NamedTuple

import numpy as np

from minattn import masks, validate
from minattn.attention.fused import LOG2_E, moderate
from minattn.functions import add, buffers, row_sum
from minattn.functions.norm import EPS
from minattn.models import reading
from minattn.positions import rotary as turn


class Layer(NamedTuple):
    """A layer with its weights joined, ready for steps up to T; keys (B, G, T, D), values (B, G, T, E + 1).

    sizes: H, G, D, E. feed: the weights and biases of that part.
    """

    params: dict
    sizes: tuple
    W_joint: Any
    b_joint: Any
    W_out: Any
    b_out: Any
    feed: dict
    keys: Any
    values: Any


def layers(blocks, B, T, dtype, *, norm_first=True):
    """Layers that are ready for B sequences of up to T steps, none of them made yet; dtype: of the steps' features.

    Some weights are copied, others not, so nobody writes to blocks from now on.
    """
    return [_ready(params, B, T, dtype, norm_first) for params in blocks.values()]


def _ready(params, B, T, dtype, norm_first):
    look, feed = params["look"], params["feed"]
    sizes, *joint = reading.joined(look)
    _, G, D, E = sizes
    out = look["W_out"].reshape(-1, look["W_out"].shape[-1]), look.get("b_out")
    into, back = (feed["W_in"], feed["b_in"]), (feed["W_out"], feed["b_out"])
    if norm_first:
        joint, into = _after(params["norm_look"], *joint), _after(params["norm_feed"], *into)
        out, back = _centered(*out), _centered(*back)
    feed = dict(zip(("W_in", "b_in", "W_out", "b_out"), (*into, *back), strict=True))
    keys, values = (np.empty_like(joint[0], dtype, shape=(B, G, T, width)) for width in (D, E + 1))
    return Layer(params, sizes, *joint, *out, feed, keys, values)


def _after(norm, W, b):
    """(normed gain + bias) W + b = normed (gain W) + (bias W + b) -> the weights and the bias on the right."""
    gained = np.multiply(norm["gain"][:, None], W, out=buffers.empty(W, W.shape, W.dtype))
    return gained, add(norm["bias"] @ W, b)


def _centered(*terms):
    """W (*, M) and b (M,), or None, without the mean of their rows: what they add to x leaves its mean as it is."""
    return [None if term is None else term - row_sum(term) / term.shape[-1] for term in terms]


def step(layers, last_norm, x, place, *, bias=None, norm_first=True, activation="gelu", rotary=None):
    """x (B, t, M), new steps from that place on -> last_norm of what all layers make of them (B, t, M).

    Their keys and values are written into the layers. bias to (H, t, S), S = place + t; the other options as in
    `block`, and norm_first as the layers were made ready for.
    """
    B, t, M = x.shape

    def through(peak):
        """-> the result, and the totals of each layer."""
        rows, totals = x.reshape(B * t, M), []                                 # (R, M)  R = B t
        mean = np.full_like(rows, 1 / M, shape=(M, 1))                         # (M, 1)  rows @ mean is their mean
        rows = rows - rows @ mean if norm_first else rows                      # (R, M)
        for layer in layers:
            asking = _scaled(rows, mean) if norm_first else rows               # (R, M)
            looked, total = _look(layer, asking, t, place, bias, rotary, peak) # (R, M), (B H t,)
            rows = rows + looked if norm_first else _norm(rows + looked, layer.params["norm_look"], mean)
            totals.append(total)
            inside = _scaled(rows, mean) if norm_first else rows               # (R, M)
            fed = reading.feed(layer.feed, inside, activation)                 # (R, M)
            rows = rows + fed if norm_first else _norm(rows + fed, layer.params["norm_feed"], mean)
        return _norm(rows, last_norm, mean).reshape(x.shape), totals

    if validate.on_device(x):                                                  # which is not waited for
        return through(peak=True)[0]
    with np.errstate(over="ignore", invalid="ignore"):                         # an overflow is seen in the totals
        out, totals = through(peak=False)
    return out if moderate(np.concatenate(totals)).all() else through(peak=True)[0]


def _look(layer, x, t, place, bias, rotary, peak):
    """From t new steps to all up to their own: (R, M) -> (R, M), and what softmax divided by, (B H t,)."""
    (H, G, D, E), B, S = layer.sizes, len(layer.keys), place + t
    query, key, value = reading.heads(x @ layer.W_joint + layer.b_joint, layer.sizes, B, t)
    if rotary:
        query, key = turn(query, place, rotary), turn(key, place, rotary)      # (B, H, t, D), (B, G, t, D)
    layer.keys[:, :, place:S], layer.values[:, :, place:S] = key, value
    scores = query.reshape(B, G, H // G * t, D) @ layer.keys[:, :, :S].mT      # (B, G, H / G t, S)
    if bias is not None:
        scores = (scores.reshape(B, H, t, S) + LOG2_E * bias).reshape(scores.shape)
    if t > 1:
        sees = masks.array(masks.causal(offset=place), (t, S), like=scores)    # (t, S)
        scores = np.where(sees, scores.reshape(B, H, t, S), -np.inf).reshape(scores.shape)
    if peak:
        scores = scores - scores.max(axis=-1, keepdims=True)                   # (B, G, H / G t, S)
    looked = np.exp2(scores, out=scores) @ layer.values[:, :, :S]              # (B, G, H / G t, E + 1)
    total = looked[..., E:]                                                    # (B, G, H / G t, 1)
    context = (looked[..., :E] / total).reshape(B, H, t, E)                    # (B, H, t, E)
    return add(context.swapaxes(1, 2).reshape(B * t, H * E) @ layer.W_out, layer.b_out), total.reshape(-1)


def _norm(x, norm, mean):
    """`layer_norm` of a few rows: (R, M) -> (R, M)."""
    return _scaled(x - x @ mean, mean) * norm["gain"] + norm["bias"]


def _scaled(x, mean):
    """x of mean 0 -> of mean 0 and variance 1: (R, M) -> (R, M)."""
    return x / np.sqrt((x * x) @ mean + EPS)
