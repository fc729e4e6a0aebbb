"""Functions on arrays against torch.nn.functional."""

import numpy as np
import pytest
from torch_twins import F, agree, torch

from minattn.functions import FUNCTIONS, Loss, dropout
from minattn.op import pair

B, T, V, I, M = 2, 3, 5, 4, 6


def check(rng, name, twin, inputs, /, *, dtype=np.float64, dout=None, **options):
    agree(pair(*FUNCTIONS[name]), lambda _, *x: twin(*x), {}, inputs, options=options, rng=rng, dtype=dtype, dout=dout)


def some(rng, *shape):
    """A mask with one open row, one single look and one dead row."""
    mask = rng.random(shape) < 0.6
    mask[0, 0], mask[0, 1], mask[1, 0] = True, False, False
    mask[0, 1, 2] = True
    return mask


DTYPES = pytest.mark.parametrize("dtype", [np.float64, np.float32])
SIZES = pytest.mark.parametrize("size", [1, 30, 500])


@DTYPES
@SIZES
def test_softmax(rng, size, dtype):
    check(rng, "softmax", lambda x: torch.softmax(x, dim=-1), [size * rng.normal(size=(B, T, V))], dtype=dtype)


@DTYPES
@SIZES
def test_log_softmax(rng, size, dtype):
    check(rng, "log_softmax", lambda x: F.log_softmax(x, dim=-1), [size * rng.normal(size=(B, T, V))], dtype=dtype)


@pytest.mark.parametrize("shape", [(B, T, V), (B, 1, V), (T, V)])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_masked(rng, name, shape):
    """A dead row is open in PyTorch, which gives NaN otherwise, and what is hidden gets its value afterwards."""
    mask = some(rng, B, T, V)[tuple(slice(n) for n in shape)] if len(shape) == 3 else some(rng, B, T, V)[0]
    hidden = torch.from_numpy(~mask)
    dead = hidden.all(dim=-1, keepdim=True)

    def twin(scores):
        weights = getattr(torch, name)(scores.masked_fill(hidden & ~dead, -torch.inf), dim=-1)
        return weights.masked_fill(hidden, 0 if name == "softmax" else -torch.inf)

    check(rng, name, twin, [rng.normal(size=(B, T, V))], mask=mask)


@DTYPES
@pytest.mark.parametrize("leading", [(), (B,), (B, T)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(rng, leading, bias, dtype):
    inputs = [rng.normal(size=(*leading, I)), rng.normal(size=(I, M))] + [rng.normal(size=M)] * bias
    check(rng, "linear", lambda x, W, b=None: F.linear(x, W.mT, b), inputs, dtype=dtype)


@DTYPES
@SIZES
@pytest.mark.parametrize("name", ["tanh", "sigmoid", "relu"])
def test_activation(rng, name, size, dtype):
    x = size * rng.normal(size=(B, T, V))
    x[0, 0, :2] = 0  # the kink of relu: slope 0 on both sides of the comparison
    check(rng, name, getattr(torch, name), [x], dtype=dtype)


@DTYPES
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_layer_norm(rng, bias, eps, dtype):
    inputs = [3 + 2 * rng.normal(size=(B, T, M)), rng.normal(size=M)] + [rng.normal(size=M)] * bias
    check(rng, "layer_norm", lambda x, *gain: F.layer_norm(x, (M,), *gain, eps=eps), inputs, dtype=dtype, eps=eps)


@DTYPES
@pytest.mark.parametrize("ids", [np.array([[0, 3, 3], [4, 3, 0]]), np.array(2)], ids=["repeated", "one"])
def test_embedding(rng, ids, dtype):
    check(rng, "embedding", lambda table, ids: F.embedding(ids, table), [rng.normal(size=(V, M)), ids], dtype=dtype)


UPSTREAM = {"both": None, "mean": Loss(np.array(1.0)), "sum": Loss(None, np.array(0.7))}


@pytest.mark.parametrize("dout", UPSTREAM.values(), ids=UPSTREAM)
@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("ignore_index", [None, 1, -100])
def test_cross_entropy(rng, ignore_index, label_smoothing, dout):
    targets = np.array([[4, 0, 2], [3, 0, 3]])
    if ignore_index is not None:
        targets[0, 1], targets[1, 2] = ignore_index, ignore_index
    settings = {"label_smoothing": label_smoothing} | ({} if ignore_index is None else {"ignore_index": ignore_index})

    def twin(logits, targets):
        rows = logits.reshape(-1, V), targets.reshape(-1)
        counted = (targets != ignore_index).sum() if ignore_index is not None else torch.tensor(targets.numel())
        return Loss(*(F.cross_entropy(*rows, **settings, reduction=how) for how in ("mean", "sum")), counted)

    check(rng, "cross_entropy", twin, [2 * rng.normal(size=(B, T, V)), targets], dout=dout, **settings)


def test_cross_entropy_float32(rng):
    def twin(logits, targets):
        rows = logits.reshape(-1, V), targets.reshape(-1)
        return Loss(*(F.cross_entropy(*rows, reduction=how) for how in ("mean", "sum")), torch.tensor(targets.numel()))

    check(rng, "cross_entropy", twin, [rng.normal(size=(B, T, V)), rng.integers(V, size=(B, T))], dtype=np.float32)


@DTYPES
@pytest.mark.parametrize("p", [0.0, 0.3])
def test_dropout(rng, p, dtype):
    """The same numbers are kept on both sides; which ones, a draw of ours decides."""
    x = rng.normal(size=(B, T, V))
    _, keep = dropout(x, p, np.random.default_rng(5))
    kept = torch.from_numpy(np.ones(x.shape, dtype=bool) if keep is None else keep > 0)
    assert 0 < kept.sum() < kept.numel() or p == 0

    def twin(x):
        return torch.where(kept, x / (1 - p), 0)

    check(rng, "dropout", twin, [x], dtype=dtype, p=p, rng=np.random.default_rng(5))
