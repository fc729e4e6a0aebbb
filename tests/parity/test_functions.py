"""Functions on arrays against torch.nn.functional."""

import numpy as np
import pytest
from torch_twins import F, agree, sparsemax, torch

from minattn.functions import FUNCTIONS, Loss, dropout
from minattn.gradcheck.registry import function_cases
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


# The rest on the cases on which the library tries them, and on larger arrays.


def masked(twin, empty):
    """With a mask: hidden scores are -inf in PyTorch, dead rows are open and become `empty`, hidden weights too."""

    def with_mask(scores, mask=None):
        if mask is None:
            return twin(scores)
        mask = torch.from_numpy(mask).expand(scores.shape)
        dead = ~mask.any(dim=-1, keepdim=True)
        out = twin(scores.masked_fill(~mask & ~dead, -torch.inf).masked_fill(dead, 0))
        return torch.where(~dead if out.ndim == scores.ndim else ~dead[..., 0], out, empty)

    return with_mask


def features_first(pool):
    """x (B, Y, X, I), and the result the same way."""
    return lambda x, size=2: pool(x.permute(0, 3, 1, 2), size).permute(0, 2, 3, 1)


def conv1d(x, W, b=None, stride=1, padding=0):
    return F.conv1d(x.mT, W.permute(2, 1, 0), b, stride, padding).mT


def conv2d(x, W, b=None, stride=1, padding=0):
    return F.conv2d(x.permute(0, 3, 1, 2), W.permute(3, 2, 0, 1), b, stride, padding).permute(0, 2, 3, 1)


def mse(predicted, desired):
    """The mean of nothing is NaN in PyTorch and 0 for us."""
    total = F.mse_loss(predicted, desired, reduction="sum")
    mean = F.mse_loss(predicted, desired) if predicted.numel() else total
    return Loss(mean, total, torch.tensor(predicted.numel()))


TWINS = {
    "logsumexp": masked(lambda x: torch.logsumexp(x, dim=-1), -torch.inf),
    "sparsemax": masked(sparsemax, 0),
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "elu": F.elu,
    "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),  # F.softplus is x itself from 20 on
    "erf": torch.erf,
    "erfc": torch.erfc,
    "rms_norm": lambda x, gain, eps=1e-6: F.rms_norm(x, gain.shape, gain, eps),
    "conv1d": conv1d,
    "conv2d": conv2d,
    "max_pool": features_first(F.max_pool2d),
    "mean_pool": features_first(F.avg_pool2d),
    "mse": mse,
}


def larger(rng):
    """name, inputs, options."""
    wide = [s * rng.normal(size=(7, 11, 33)) for s in (1.0, 30.0)]
    mask = some(rng, 7, 11, 33)
    for x in wide:
        yield from ((name, [x], {}) for name in list(TWINS)[:9])
        yield from ((name, [x], {"mask": mask}) for name in ("logsumexp", "sparsemax"))
        yield "elu", [x], {"alpha": 1.7}
        yield "rms_norm", [x, rng.normal(size=33)], {"eps": 1e-3}
    for stride, padding in ((1, 0), (1, 4), (3, 2), (7, 1)):
        inputs = [rng.normal(size=(3, 40, 8)), rng.normal(size=(5, 8, 9)), rng.normal(size=9)]
        yield "conv1d", inputs, {"stride": stride, "padding": padding}
    for stride, padding in ((1, 0), (2, 3), ((3, 1), (0, 2)), ((4, 5), (1, 1))):
        inputs = [rng.normal(size=(3, 19, 14, 4)), rng.normal(size=(5, 3, 4, 6)), rng.normal(size=6)]
        yield "conv2d", inputs, {"stride": stride, "padding": padding}
    image = rng.normal(size=(3, 23, 17, 5))
    yield from ((name, [image], {"size": size}) for name in ("max_pool", "mean_pool") for size in (1, 2, 4, 17))
    yield "max_pool", [rng.integers(3, size=image.shape).astype(float)], {"size": 3}  # equals: the first of them
    yield "mse", [rng.normal(size=(50, 70)), rng.normal(size=(50, 70))], {}


CASES = [(name, case.inputs, case.options) for name in TWINS for case in function_cases(np.random.default_rng(0))[name]]
CASES += larger(np.random.default_rng(1))


def written(options):
    return " ".join(name if name == "mask" else f"{name}={option}" for name, option in options.items())


IDS = [f"{name} {'x'.join(map(str, inputs[0].shape))} {written(options)}".strip() for name, inputs, options in CASES]


@DTYPES
@pytest.mark.parametrize("name, inputs, options", CASES, ids=IDS)
def test_function(rng, name, inputs, options, dtype):
    """Hidden numbers are NaN for us and 0 in PyTorch."""

    def twin(*inputs):
        return TWINS[name](*(torch.where(x.isnan(), 0, x) for x in inputs), **options)

    check(rng, name, twin, inputs, dtype=dtype, **options)


@pytest.mark.parametrize("dout", UPSTREAM.values(), ids=UPSTREAM)
def test_mse(rng, dout):
    check(rng, "mse", mse, [rng.normal(size=(B, T)), rng.normal(size=(B, T))], dout=dout)


def test_every_function_has_a_twin():
    above = {"softmax", "log_softmax", "linear", "tanh", "sigmoid", "relu", "layer_norm", "embedding", "cross_entropy"}
    assert above | {"dropout"} | TWINS.keys() == FUNCTIONS.keys()
