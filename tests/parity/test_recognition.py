"""Attention pooling, the Vision Transformer and the LSTM that hears, against the same in PyTorch's words."""

import numpy as np
import pytest
import torch_twins
from torch_twins import F, agree, several_layers, torch

from minattn import tree
from minattn.attention import VARIANTS
from minattn.models import pooling, speech, vision
from minattn.op import bind
from minattn.recurrent import bidirectional, gru, lstm

B, S, M, V = 3, 5, 6, 4
DTYPES = pytest.mark.parametrize("dtype", [np.float64, np.float32])
ATTENTION = pytest.mark.parametrize("attention", ["dot", "additive", "concat", "sparse", "multihead"])
LENGTHS = pytest.mark.parametrize("lengths", [None, np.array([3, 5, 1])], ids=["whole", "padded"])


def noisy(rng, params):
    """No gain is 1 and no bias is 0."""
    return tree.map(lambda p: p + 0.3 * rng.normal(size=p.shape), params)


def pooled(params, x, *, lengths=None, attention="dot"):
    mask = None if lengths is None else (torch.arange(x.shape[1]) < torch.from_numpy(lengths)[:, None])[:, None]
    mask = mask[:, None] if mask is not None and attention == "multihead" else mask
    query = params["query"].expand(x.shape[0], 1, -1)
    return getattr(torch_twins, attention)(params["attention"], query, x, x, mask=mask)[:, 0]


def eye(params, images, *, strides, norm_first=True, attention="dot"):
    """nn.Conv2d wants channels first; its padding is what keeps Y / stride places."""
    x = images.permute(0, 3, 1, 2)
    for l, stride in enumerate(strides):
        W, b = params["convolutions"][str(l)]["W"].permute(3, 2, 0, 1), params["convolutions"][str(l)]["b"]
        x = F.conv2d(F.relu(x) if l else x, W, b, stride, (W.shape[-1] - stride) // 2)
    x = x.flatten(start_dim=2).mT
    x = x + params["places"] if "places" in params else x
    for layer in params["blocks"].values():
        x = residual(layer["norm_look"], x, norm_first, lambda x, p=layer["look"]: torch_twins.multihead(p, x, x, x))
        x = residual(layer["norm_feed"], x, norm_first, lambda x, p=layer["feed"]: feed(p, x))
    return answer(params, pooled(params["pooling"], norm(params["norm"], x), attention=attention))


def residual(gains, x, norm_first, function):
    return x + function(norm(gains, x)) if norm_first else norm(gains, x + function(x))


def norm(gains, x):
    return F.layer_norm(x, x.shape[-1:], gains["gain"], gains["bias"])


def feed(params, x):
    return F.gelu(x @ params["W_in"] + params["b_in"]) @ params["W_out"] + params["b_out"]


def answer(params, context):
    return context @ params["W_out"] + params["b_out"]


@DTYPES
@ATTENTION
@LENGTHS
def test_pooling(rng, lengths, attention, dtype):
    op = bind(pooling, lengths=lengths, attention=VARIANTS[attention])
    params = noisy(rng, op.init(rng, M=M, A=7, H=2))

    def twin(params, x):
        return pooled(params, x, lengths=lengths, attention=attention)

    agree(op, twin, params, (rng.normal(size=(B, S, M)),), rng=rng, dtype=dtype)


@DTYPES
@ATTENTION
@pytest.mark.parametrize("norm_first", [True, False], ids=["norm first", "norm last"])
def test_vision_transformer(rng, norm_first, attention, dtype):
    op = bind(vision, norm_first=norm_first, attention=VARIANTS[attention])
    params = noisy(rng, op.init(rng, V=V, Y=4, X=6, I=3, M=M, H=2, L=2, A=7))

    def twin(params, images):
        return eye(params, images, strides=(2,), norm_first=norm_first, attention=attention)

    agree(op, twin, params, (rng.normal(size=(B, 4, 6, 3)),), rng=rng, dtype=dtype)


@DTYPES
@pytest.mark.parametrize(
    "kernels, strides", [((3, 3), (1, 1)), ((5, 4), (1, 2)), ((4,), (2,)), ((3,), (1,))], ids=lambda x: str(x)
)
def test_convolutions(rng, kernels, strides, dtype):
    op = bind(vision, kernels=kernels, strides=strides)
    params = noisy(rng, op.init(rng, V=V, Y=4, X=6, I=3, M=M, L=0))

    def twin(params, images):
        return eye(params, images, strides=strides)

    agree(op, twin, params, (rng.normal(size=(B, 4, 6, 3)),), rng=rng, dtype=dtype)


@DTYPES
@LENGTHS
@pytest.mark.parametrize("both", [True, False], ids=["both sides", "one side"])
@pytest.mark.parametrize("cell", [lstm, gru], ids=["lstm", "gru"])
def test_speech(rng, cell, both, lengths, dtype):
    op = bind(speech, lengths=lengths, cell=bind(bidirectional, cell=cell) if both else cell)
    params = noisy(rng, op.init(rng, V=V, I=7, N=M, L=2))

    def twin(params, features):
        outputs, _ = several_layers(params["layers"], features, lengths=lengths, cell=cell)
        return answer(params, pooled(params["pooling"], outputs, lengths=lengths))

    agree(op, twin, params, (rng.normal(size=(B, S, 7)),), rng=rng, dtype=dtype)
