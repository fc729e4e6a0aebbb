"""Vision: convolutions see the places of an image, layers may let them look around, one query looks at them all.

    x       = conv(... relu(conv(image)))               (B, Y', X', M), laid out as S = Y' X' places
    x       = norm(block(... block(x + places)))        L layers, each place looking at every place
    context = pooling(x),   logits = context W_out + b_out

Vision Transformer (Dosovitskiy et al. 2021, arXiv:2010.11929): one convolution as large as its stride, so that every
patch goes through one matrix, and L layers; the learned query stands for the class token (Zhai et al. 2022,
arXiv:2106.04560, section 3). Attention over the features of a convolutional network (Xu et al. 2015, arXiv:1502.03044,
section 3.1.2): small kernels, and L = 0.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minattn import validate
from minattn.attention import dot
from minattn.functions import conv2d, conv2d_backward, linear, linear_backward, relu, relu_backward
from minattn.models import block, pooling
from minattn.op import Case

PAPER = "Dosovitskiy 2021; L = 0: Xu 2015"


class Cache(NamedTuple):
    params: Any
    strides: Any
    seen: list
    grid: tuple
    stack: Any
    pooled: Any
    context: Any

    @property
    def weights(self):
        """(B, Y', X'): how much each place of the image gave to the answer."""
        return self.pooled.weights.reshape(-1, *self.grid)

    @property
    def layers(self):
        """One (B, H, S, S) for each layer: where each place looked."""
        return [layer.weights for layer in self.stack.layers]


def init(rng, *, V, Y, X, M, I=1, L=2, H=2, F=None, kernels=(2,), strides=(2,), A=None, attention=dot):
    """V classes, images of Y x X with I channels, width M, L layers of H heads.

    kernels, strides: one number for each convolution. (2,) and (2,): patches of 2 x 2; (3, 3) and (1, 1): two
    convolutions that keep every place. A: width of an additive score, where the query asks by one.
    """
    convolutions, features = {}, I
    for l, (kernel, stride) in enumerate(zip(kernels, strides, strict=True)):
        K = _kernel(kernel, stride)
        convolutions[str(l)] = {
            "W": rng.normal(size=(K, K, features, M)) / math.sqrt(K * K * features),
            "b": np.zeros(M),
        }
        Y, X, features = Y // stride, X // stride, M
    params = {"convolutions": convolutions}
    if L:
        params["places"] = 0.5 * rng.normal(size=(Y * X, M))  # about as loud as what a patch shows
    return params | {
        "blocks": {str(layer): block.init(rng, M=M, H=H, F=F) for layer in range(L)},
        "norm": block.new_norm(M),
        "pooling": pooling.init(rng, M=M, A=A, H=H, attention=attention),
        "W_out": rng.normal(size=(M, V)) / math.sqrt(M),
        "b_out": np.zeros(V),
    }


def forward(
    params, images, *, strides=(2,), norm_first=True, activation="gelu", dropout=0.0, rng=None, attention=dot
):
    """images (B, Y, X, I) -> logits (B, V).

    strides: as they were given to `init`; the other options as in `block`; attention: how the query asks. Raises
    TypeError for integers, ValueError for images of another size.
    """
    validate.image(images, params["convolutions"], strides)
    options = {"norm_first": norm_first, "activation": activation, "dropout": dropout, "rng": rng}
    features, seen = _see(params["convolutions"], images, strides)                # (B, Y', X', M)
    grid = features.shape[1:3]
    x = features.reshape(features.shape[0], -1, features.shape[-1])               # (B, S, M)
    if "places" in params:
        validate.broadcasts("places", params["places"].shape, x.shape[1:], "(S, M)")
        x = x + params["places"]                                                  # (B, S, M)
    x, stack = block.stack(params["blocks"], params["norm"], x, **options)        # (B, S, M)
    context, pooled = pooling.forward(params["pooling"], x, attention=attention)  # (B, M)
    logits = linear(context, params["W_out"], params["b_out"])                    # (B, V)
    return logits, Cache(params, strides, seen, grid, stack, pooled, context)


def backward(dlogits, cache):
    """-> (dimages,), dparams."""
    params, strides, seen, grid, stack, pooled, context = cache
    dparams = {}
    # logits = linear(context, W_out, b_out)
    dcontext, dparams["W_out"], dparams["b_out"] = linear_backward(dlogits, context, params["W_out"], params["b_out"])
    # context = pooling(x)
    (dx,), dparams["pooling"] = pooling.backward(dcontext, pooled)
    # x = stack(x)
    (dx, _), dparams["blocks"], dparams["norm"] = block.stack_backward(dx, stack)
    # x = x + places
    if "places" in params:
        dparams["places"] = dx.sum(axis=0)
    # x = see(images), places laid out in a row
    dfeatures = dx.reshape(dx.shape[0], *grid, dx.shape[-1])
    dimages, dparams["convolutions"] = _see_backward(dfeatures, params["convolutions"], seen, strides)
    return (dimages,), dparams


def _see(layers, x, strides):
    """Convolutions, with relu between them -> features (B, Y', X', M), what each was given."""
    seen = []
    for l, stride in enumerate(strides):
        x = relu(x) if l else x                           # (B, Y, X, I)
        seen.append(x)
        W, b = layers[str(l)]["W"], layers[str(l)]["b"]
        x = conv2d(x, W, b, stride, _padding(W, stride))  # (B, Y / stride, X / stride, M)
    return x, seen


def _see_backward(dx, layers, seen, strides):
    """-> dimages, dlayers."""
    dlayers = dict.fromkeys(layers)
    for l, stride in reversed(list(enumerate(strides))):
        # x = conv2d(x, W, b)
        W, b = layers[str(l)]["W"], layers[str(l)]["b"]
        dx, dW, db = conv2d_backward(dx, seen[l], W, b, stride, _padding(W, stride))
        dlayers[str(l)] = {"W": dW, "b": db}
        # x = relu(x)
        dx = relu_backward(dx, seen[l]) if l else dx
    return dx, dlayers


def _padding(W, stride):
    """As many zeros on every side as leave Y / stride places."""
    return (W.shape[0] - stride) // 2


def _kernel(kernel, stride):
    """A kernel that can stand in the middle of its stride."""
    if kernel < stride or (kernel - stride) % 2:
        raise ValueError(
            f"a kernel of {kernel} with a stride of {stride} has no middle: kernel - stride must be 0, 2, 4, ... so "
            f"that both sides get the same padding"
        )
    return kernel


def cases(rng):
    """Patches that look around; convolutions and a query; several channels, dropout."""
    sizes = {"V": 3, "Y": 4, "X": 6, "M": 4, "H": 2, "F": 5, "L": 1}
    images = rng.normal(size=(2, 4, 6, 1))
    yield Case("patches", sizes, (images,), {"activation": "gelu_tanh"})
    chance = {"dropout": 0.3, "rng": np.random.default_rng(5), "norm_first": False}
    yield Case("dropout, norm last", sizes, (images,), chance)
    small = {"Y": 3, "X": 4, "I": 2, "M": 3, "L": 0, "kernels": (3, 3), "strides": (1, 1)}
    yield Case("convolutions", sizes | small, (rng.normal(size=(2, 3, 4, 2)),), {"strides": (1, 1)})
