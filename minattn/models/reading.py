"""A sentence, read: what the layers of `block` compute, the norm last, where weights stay and nobody goes back.

    joint  = x W_joint + b_joint                  query log2(e) / sqrt(D), key, and value with a 1 behind it
    looked = 2^(query key^T) value                contexts that are not divided yet, and behind them their totals
    x      = norm(x + context W_out + b_out)      context = looked / total
    x      = norm(x + feed(x))

Since the weights stay, those of query, key and value are joined once, and one product serves all three. What softmax
divides by comes along with what it divides, by a column of ones. And since nobody goes back nothing is kept: each sum
stands in the place of its first term. Why no peak is looked for while the totals are moderate: see `attention.fused`.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minattn import masks, tree, validate
from minattn.attention.fused import LOG2_E, ON_A_CARD, moderate
from minattn.functions import FUNCTIONS, row_dot, row_sum
from minattn.functions.broadcast import add_into
from minattn.functions.norm import EPS

PARTS = "query", "key", "value"
ROWS = 512  # tokens that go through the layers together: what a layer makes of more does not stay near the core


class Layer(NamedTuple):
    """A layer with its weights joined. sizes: H, G, D, E."""

    params: dict
    dtype: Any
    sizes: tuple
    W_joint: Any
    b_joint: Any


def layers(blocks):
    """Layers that are ready to read; some weights are copied, others not, so nobody writes to blocks from now on."""
    return [Layer(params, dtype_of(params), *joined(params["look"])) for params in blocks.values()]


def dtype_of(params):
    """What all of them together compute in."""
    return np.result_type(*[leaf for _, leaf in tree.leaves(params)])


def joined(look):
    """-> H, G, D, E, the weights of query, key and value side by side, (M, H D + G D + G (E + 1)), and their biases.

    Queries are in units of log2(e) / sqrt(D), so that softmax is 2^(query key^T), and a 1 stands behind each value.
    """
    W = {part: look[f"W_{part}"] for part in PARTS}                              # (M, H, D), (M, G, D), (M, G, E)
    b = {part: look.get(f"b_{part}", np.zeros_like(W[part][0])) for part in PARTS}
    (M, H, D), (_, G, E) = W["query"].shape, W["value"].shape
    validate.groups(H, G)
    scale = LOG2_E / math.sqrt(D)
    W["query"], b["query"] = scale * W["query"], scale * b["query"]
    W["value"] = np.concatenate([W["value"], np.zeros_like(W["value"][..., :1])], axis=-1)  # (M, G, E + 1)
    b["value"] = np.concatenate([b["value"], np.ones_like(b["value"][..., :1])], axis=-1)   # (G, E + 1)
    W_joint = np.concatenate([W[part].reshape(M, -1) for part in PARTS], axis=1)
    return (H, G, D, E), W_joint, np.concatenate([b[part].reshape(-1) for part in PARTS])


def heads(joint, sizes, B, t):
    """`joined` undone, views of joint (B t, *) -> query (B, H, t, D), key (B, G, t, D), value (B, G, t, E + 1)."""
    H, G, D, E = sizes
    parts = (joint[:, : H * D], H, D), (joint[:, H * D : (H + G) * D], G, D), (joint[:, (H + G) * D :], G, E + 1)
    return [part.reshape(B, t, number, width).swapaxes(1, 2) for part, number, width in parts]


def read(layers, x, real=None, *, activation="gelu", eps=EPS):
    """x (B, T, M), real (B, T) booleans or None -> (B, T, M), every token looking at every real one.

    What stands where nothing is real means nothing. activation, eps: as in `block`. A few sentences at a time go
    through all layers, and however long they are, no more scores are made at once than ROWS tokens have.
    """
    for layer in layers:
        validate.block(layer.params, x, None, activation)
    B, T, _ = x.shape
    x = masks.keep(real, x)                                       # what nobody may see never matters, even NaN
    x = x.astype(np.result_type(x, *[layer.dtype for layer in layers]), copy=False)
    out = np.empty_like(x)
    step = max(1, B if validate.on_device(x) else ROWS // max(1, T))
    with np.errstate(over="ignore", invalid="ignore"):            # an overflow is seen in the totals
        for some in (slice(start, start + step) for start in range(0, B, step)):
            out[some] = _through(layers, x[some], None if real is None else real[some], activation, eps)
    return out


def _through(layers, x, real, activation, eps):
    """All layers, for a few sentences."""
    (B, T, M), x = x.shape, x.reshape(-1, x.shape[-1])            # (R, M)  R = B T
    for layer in layers:
        look, norm_look, norm_feed = (layer.params[name] for name in ("look", "norm_look", "norm_feed"))
        looked = _attention(layer, x, B, real) @ look["W_out"].reshape(-1, M)        # (R, M)
        x = _norm(add_into(add_into(looked, look.get("b_out")), x), norm_look, eps)  # (R, M)
        x = _norm(add_into(feed(layer.params["feed"], x, activation), x), norm_feed, eps)  # (R, M)
    return x.reshape(B, T, M)


def feed(params, x, activation):
    """activation(x W_in + b_in) W_out + b_out."""
    active = FUNCTIONS[activation][0](add_into(x @ params["W_in"], params["b_in"]))  # (R, F)
    active = active[0] if isinstance(active, tuple) else active   # (R, F)
    return add_into(active @ params["W_out"], params["b_out"])    # (R, M)


def _attention(layer, x, B, real):
    """Every token of B sentences to every real one of its own: x (R, M) -> context (R, H E)."""
    (H, G, D, E), T = layer.sizes, len(x) // B
    joint = add_into(x @ layer.W_joint, layer.b_joint)            # (R, H D + G D + G (E + 1))
    query, key, value = heads(joint, layer.sizes, B, T)           # (B, H, T, D), (B, G, T, D), (B, G, T, E + 1)
    key_T = key.mT.copy()                                         # (B, G, D, T)  products with rows are faster
    value = masks.keep(None if real is None else real[:, None], value)
    context = np.empty_like(joint, shape=(B, T, H, E))            # (B, T, H, E)
    most = ON_A_CARD if validate.on_device(x) else H * ROWS * ROWS
    step = max(1, most // max(1, B * H * T))
    for some in (slice(start, start + step) for start in range(0, T, step)):
        asking = query[:, :, some].reshape(B, G, -1, D)           # (B, G, H / G t, D)
        scores = asking @ key_T                                   # (B, G, H / G t, T)
        looked = np.exp2(scores, out=scores) @ value              # (B, G, H / G t, E + 1)
        if not moderate(looked[..., E:]).all():
            looked = _with_peak(asking @ key_T, value, real)      # (B, G, H / G t, E + 1)
        looked = looked.reshape(B, H, -1, E + 1)                  # (B, H, t, E + 1)
        np.divide(looked[..., :E], looked[..., E:], out=context[:, some].swapaxes(1, 2))
    return context.reshape(len(x), H * E)


def _with_peak(scores, value, real):
    """-> looked: right for any scores (B, G, *, T), and with a total of 1 where nothing is real."""
    if real is not None:
        scores = np.where(real[:, None, None], scores, -np.inf)   # (B, G, *, T)
    peak = scores.real.max(axis=-1, keepdims=True)                # (B, G, *, 1)
    looked = np.exp2(scores - np.where(peak == -np.inf, 0, peak)) @ value  # (B, G, *, E + 1)
    looked[..., -1:] += looked[..., -1:] == 0
    return looked


def _norm(x, norm, eps):
    """`layer_norm` of x (R, M), in its place."""
    x -= row_sum(x) / x.shape[-1]
    x *= 1 / np.sqrt(row_dot(x, x) / x.shape[-1] + eps)
    x *= norm["gain"]
    x += norm["bias"]
    return x
