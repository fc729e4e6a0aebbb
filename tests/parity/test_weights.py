"""State dicts of PyTorch's own modules: what is read computes the same, has the same gradients, and goes back.

The modules stay in training mode, where PyTorch takes no shortcut of its own, and drop nothing.
"""

import numpy as np
import pytest
import torch_twins  # skips where PyTorch is missing
from torch_twins import nn, torch

from minattn import tree
from minattn.attention import multihead
from minattn.masks import causal, padding
from minattn.models import block
from minattn.op import bind
from minattn.recurrent import bidirectional, gru, layers, lstm, rnn
from minattn.weights import pytorch

B, T, S, I, N, M, F, P, U = 3, 5, 4, 6, 4, 8, 7, 6, 5
LENGTHS = np.array([4, 2, 1])
CELLS = {
    "rnn": (pytorch.rnn, nn.RNN, rnn),
    "lstm": (pytorch.lstm, nn.LSTM, lstm),
    "gru": (pytorch.gru, nn.GRU, gru),
}
DTYPES = pytest.mark.parametrize("dtype", [np.float64, np.float32])
BIAS = pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
LAYERS = pytest.mark.parametrize("L", [1, 3], ids=["1 layer", "3 layers"])
DIRECTIONS = pytest.mark.parametrize("both", [False, True], ids=["one direction", "two directions"])
HEADS = pytest.mark.parametrize("H", [1, 2, 4])


def seeded(module, dtype=np.float64):
    """The module in this dtype, no weight of which is 0 or 1."""
    torch.manual_seed(7)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.3 * torch.randn(p.shape))
    return module.to(torch.from_numpy(np.zeros(1, dtype)).dtype)


def inputs(rng, *shapes, dtype=np.float64):
    """Arrays, and the same as tensors that collect gradients."""
    arrays = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    return arrays, [torch.tensor(x, requires_grad=True) for x in arrays]


def tensors(state):
    return {name: torch.from_numpy(x) for name, x in state.items()}


def equal(left, right):
    left, right = dict(tree.leaves(left)), dict(tree.leaves(right))
    assert left.keys() == right.keys()
    for path, x in left.items():
        assert x.dtype == right[path].dtype, path
        np.testing.assert_array_equal(x, right[path], err_msg=path)


def same(ours, theirs, dtype):
    """ours: arrays by name, theirs: tensors by the same names."""
    torch_twins.same(ours, theirs, dtype=dtype)


def gradients(module):
    return {name: p.grad for name, p in module.named_parameters()}


def descend(out, dout):
    """Back through PyTorch: the gradient of every output."""
    torch.autograd.backward(out, [torch.from_numpy(d) for d in dout])


# Recurrent layers.


@DTYPES
@BIAS
@LAYERS
@DIRECTIONS
@pytest.mark.parametrize("name", CELLS)
def test_recurrent(rng, name, both, L, bias, dtype):
    """Outputs, the last states and every gradient; where ours is one bias, both of theirs have its gradient."""
    theirs, kind, cell = CELLS[name]
    module = seeded(kind(I, N, L, bias=bias, batch_first=True, bidirectional=both), dtype)
    params = theirs.read(module.state_dict())
    (x,), (their_x,) = inputs(rng, (B, T, I), dtype=dtype)
    (outputs, last), cache = layers.forward(params, x, cell=bind(bidirectional, cell=cell) if both else cell)
    doutputs, dlast = tree.map(lambda y: rng.normal(size=y.shape).astype(dtype), (outputs, last))
    ((dx, _), dparams) = layers.backward((doutputs, dlast), cache)

    their_outputs, their_last = module(their_x)
    their_last = their_last if name == "lstm" else (their_last,)
    parts = [stacked(last, part, both) for part in cell.State._fields]
    dparts = [stacked(dlast, part, both) for part in cell.State._fields]
    descend([their_outputs, *their_last], [doutputs, *dparts])
    states = dict(zip(cell.State._fields, their_last, strict=True))
    same(
        {"outputs": outputs, **dict(zip(cell.State._fields, parts, strict=True))},
        {"outputs": their_outputs, **states},
        dtype,
    )
    written = theirs.write(dparams)
    if name != "gru":
        written |= {k: written[k.replace("bias_hh", "bias_ih")] for k in written if "bias_hh" in k}
    expected = gradients(module)
    same({"x": dx} | {k: written[k] for k in expected}, {"x": their_x.grad} | expected, dtype)
    assert bias or all("bias" in k for k in written.keys() - expected.keys())


def stacked(states, part, both):
    """A state for each layer -> (layers x sides, B, N), as PyTorch has it."""
    sides = [side for layer in states for side in (layer if both else [layer])]
    return np.stack([getattr(side, part) for side in sides])


@DTYPES
@LAYERS
@DIRECTIONS
@pytest.mark.parametrize("name", CELLS)
def test_recurrent_there_and_back(rng, name, both, L, dtype):
    """Ours -> theirs -> ours to the bit; the module then computes what it did."""
    theirs, kind, _ = CELLS[name]
    module = seeded(kind(I, N, L, batch_first=True, bidirectional=both), dtype)
    other = seeded(kind(I, N, L, batch_first=True, bidirectional=both), dtype)
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    state, params = module.state_dict(), theirs.read(module.state_dict())
    written = theirs.write(params)
    other.load_state_dict(tensors(written))  # strict
    equal(theirs.read(other.state_dict()), params)
    for key, x in state.items():
        if "weight" in key or name == "gru":
            np.testing.assert_array_equal(written[key], x.numpy())
        elif "bias_ih" in key:
            np.testing.assert_array_equal(written[key], (x + state[key.replace("bias_ih", "bias_hh")]).numpy())
        else:
            assert not written[key].any()
    (_, (x,)) = inputs(rng, (B, T, I), dtype=dtype)
    (outputs, last), (other_outputs, other_last) = module(x), other(x)
    last, other_last = (s if name == "lstm" else (s,) for s in (last, other_last))
    for left, right in zip((outputs, *last), (other_outputs, *other_last), strict=True):
        np.testing.assert_allclose(left.detach(), right.detach(), rtol=0, atol=1e-12 if dtype is np.float64 else 1e-5)


def test_projections_are_refused():
    with pytest.raises(ValueError, match="weight_hr_l0 comes from proj_size"):
        pytorch.lstm.read(nn.LSTM(I, N, proj_size=2).state_dict())


@pytest.mark.parametrize("name", CELLS)
def test_another_cell(name):
    for other in CELLS.keys() - {name}:
        with pytest.raises(ValueError, match=f"as in {CELLS[other][0].title}, but {CELLS[name][0].title} has "):
            CELLS[name][0].read(CELLS[other][1](I, N).state_dict())


# Attention.


@DTYPES
@BIAS
@HEADS
@pytest.mark.parametrize("widths", [(M, M), (P, M), (M, U), (P, U)], ids=str)
@pytest.mark.parametrize("masked", [False, True], ids=["open", "padding"])
def test_attention(rng, masked, widths, H, bias, dtype):
    kdim, vdim = widths
    module = seeded(nn.MultiheadAttention(M, H, bias=bias, kdim=kdim, vdim=vdim, batch_first=True), dtype)
    assert ("in_proj_weight" in module.state_dict()) == (widths == (M, M))
    params = pytorch.multihead.read(module.state_dict(), H=H)
    ours, tensors_in = inputs(rng, (B, T, M), (B, S, kdim), (B, S, vdim), dtype=dtype)
    out, cache = multihead.forward(params, *ours, mask=padding(LENGTHS) if masked else None)
    dout = rng.normal(size=out.shape).astype(dtype)
    (*dinputs, _), dparams = multihead.backward(dout, cache)

    hidden = torch.arange(S) >= torch.from_numpy(LENGTHS)[:, None] if masked else None
    their_out, weights = module(*tensors_in, key_padding_mask=hidden, average_attn_weights=False)
    descend([their_out], [dout])
    same({"out": out, "weights": cache.weights}, {"out": their_out, "weights": weights}, dtype)
    names = ("query", "key", "value")
    theirs = dict(zip(names, (x.grad for x in tensors_in), strict=True)) | gradients(module)
    same(dict(zip(names, dinputs, strict=True)) | pytorch.multihead.write(dparams), theirs, dtype)


@BIAS
@HEADS
@pytest.mark.parametrize("widths", [(M, M), (P, U)], ids=str)
def test_attention_there_and_back(widths, H, bias):
    kdim, vdim = widths
    module = seeded(nn.MultiheadAttention(M, H, bias=bias, kdim=kdim, vdim=vdim))
    params = pytorch.multihead.read(module.state_dict(), H=H)
    written = pytorch.multihead.write(params)
    equal(written, {name: x.numpy() for name, x in module.state_dict().items()})
    module.load_state_dict(tensors(written))
    equal(pytorch.multihead.read(module.state_dict(), H=H), params)


def test_attention_that_has_no_place_here():
    with pytest.raises(ValueError, match="bias_k comes from add_bias_kv, a key that is always there"):
        pytorch.multihead.read(nn.MultiheadAttention(M, 2, add_bias_kv=True).state_dict(), H=2)
    with pytest.raises(ValueError, match="a width of M=8 cannot be cut into H=3 heads"):
        pytorch.multihead.read(nn.MultiheadAttention(M, 2).state_dict(), H=3)


# Layers of the Transformer.

KINDS = {
    "encoder": (pytorch.encoder_layer, nn.TransformerEncoderLayer),
    "decoder": (pytorch.decoder_layer, nn.TransformerDecoderLayer),
}


@DTYPES
@BIAS
@HEADS
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("norm_first", [True, False], ids=["norm first", "norm last"])
@pytest.mark.parametrize("name", KINDS)
def test_layer(rng, name, norm_first, activation, H, bias, dtype):
    theirs, kind = KINDS[name]
    given = {"norm_first": norm_first, "activation": activation}
    module = seeded(kind(M, H, F, dropout=0.0, batch_first=True, bias=bias, **given), dtype)
    params, settings = theirs.read(module.state_dict(), H=H, **given)
    shapes = [(B, T, M), (B, S, M)][: 1 + theirs.cross]
    ours, tensors_in = inputs(rng, *shapes, dtype=dtype)
    masks = {"mask": causal()} | ({"memory_mask": padding(LENGTHS)} if theirs.cross else {})
    out, cache = block.forward(params, *ours, **masks, **settings)
    dout = rng.normal(size=out.shape).astype(dtype)
    dinputs, dparams = block.backward(dout, cache)

    future = torch.ones(T, T, dtype=torch.bool).triu(1)
    hidden = torch.arange(S) >= torch.from_numpy(LENGTHS)[:, None]
    masks = {"tgt_mask": future, "memory_key_padding_mask": hidden} if theirs.cross else {"src_mask": future}
    their_out = module(*tensors_in, **masks)
    descend([their_out], [dout])
    same({"out": out}, {"out": their_out}, dtype)
    names = ("x", "memory")[: len(ours)]
    expected = dict(zip(names, (x.grad for x in tensors_in), strict=True)) | gradients(module)
    written = dict(zip(names, dinputs, strict=False)) | theirs.write(dparams)
    same({k: written[k] for k in expected}, expected, dtype)
    assert bias or all("bias" in k for k in written.keys() - expected.keys())


@pytest.mark.parametrize("name", KINDS)
def test_layer_there_and_back(name):
    theirs, kind = KINDS[name]
    module = seeded(kind(M, 2, F))
    params, _ = theirs.read(module.state_dict(), H=2)
    written = theirs.write(params)
    equal(written, {k: x.numpy() for k, x in module.state_dict().items()})
    module.load_state_dict(tensors(written))
    equal(theirs.read(module.state_dict(), H=2)[0], params)


def test_a_layer_by_default(rng):
    """What is not said is as PyTorch has it."""
    module = seeded(nn.TransformerEncoderLayer(M, 2, F, dropout=0.0, batch_first=True))
    params, settings = pytorch.encoder_layer.read(module.state_dict(), H=2)
    (x,), (their_x,) = inputs(rng, (B, T, M))
    same({"out": block.forward(params, x, **settings)[0]}, {"out": module(their_x)}, np.float64)


# What people give instead of a state dict.


def test_the_module_itself():
    for module in (nn.LSTM(I, N), nn.ModuleDict({"lstm": nn.LSTM(I, N)})):
        with pytest.raises(TypeError, match=f"but the {type(module).__name__} itself came: give its state_dict"):
            pytorch.lstm.read(module)


def test_wrapped_modules():
    module = nn.LSTM(I, N)
    params = pytorch.lstm.read(module.state_dict())
    wrapped = {
        "module.": nn.DataParallel(module),
        "_orig_mod.": torch.compile(module, backend="eager"),
        "encoder.": nn.ModuleDict({"encoder": module, "fc": nn.Linear(2, 2), "norm": nn.BatchNorm1d(2)}),
    }
    for start, outer in wrapped.items():
        with pytest.raises(ValueError, match=f"its names stand here after '{start}': give the state_dict") as caught:
            pytorch.lstm.read(outer.state_dict())
        advice = str(caught.value).partition(" alone, or ")[2]
        equal(pytorch.lstm.read(eval(advice, {"state": outer.state_dict()})), params)


def test_checkpoints():
    module = nn.LSTM(I, N)
    optimizer = torch.optim.SGD(module.parameters())
    checkpoint = {"epoch": 3, "model": module.state_dict(), "optimizer": optimizer.state_dict(), "best": None}
    with pytest.raises(TypeError, match="a dict stands under model, optimizer: of a checkpoint give that part which"):
        pytorch.lstm.read(checkpoint)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn], ids=str)
def test_types_that_numpy_does_not_have(dtype):
    module = nn.LSTM(I, N)
    state = {name: x.to(dtype) for name, x in module.state_dict().items()}
    with pytest.raises(
        TypeError, match=f"^weight_ih_l0 is a tensor of {dtype} .*: bfloat16 becomes float32 by module.fl"
    ):
        pytorch.lstm.read(state)
    if dtype is torch.bfloat16:
        module.to(dtype)
        assert pytorch.lstm.read(module.float().state_dict())["0"]["b"].dtype == np.float32


def test_tensors_without_plain_numbers():
    state = nn.LSTM(I, N).state_dict()
    W = state["weight_ih_l0"]
    for odd, says in ((W.to_sparse(), "Sparse"), (W.to("meta"), "meta tensor")):
        with pytest.raises(TypeError, match=f"^weight_ih_l0 is a tensor of torch.float64 .*{says}"):
            pytorch.lstm.read(state | {"weight_ih_l0": odd})
    with pytest.raises(TypeError, match="^weight_ih_l0 holds int8, but parameters are floating numbers"):
        pytorch.lstm.read(state | {"weight_ih_l0": W.to(torch.int8)})


def test_tensors_of_every_kind():
    """Those that need gradients, half ones, the other way round in memory, and arrays among them."""
    module = nn.LSTM(I, N)
    params = pytorch.lstm.read(module.state_dict())
    equal(pytorch.lstm.read(dict(module.named_parameters())), params)
    equal(pytorch.lstm.read({k: x.t().contiguous().t() for k, x in module.state_dict().items()}), params)
    equal(pytorch.lstm.read({k: x.numpy() if "b" in k else x for k, x in module.state_dict().items()}), params)
    half = pytorch.lstm.read(module.half().state_dict())
    assert {x.dtype for _, x in tree.leaves(half)} == {np.dtype(np.float16)}


def test_copies(rng):
    """A step of training on one side moves nothing on the other."""
    for theirs, module, heads in (
        (pytorch.lstm, nn.LSTM(I, N), {}),
        (pytorch.gru, nn.GRU(I, N), {}),
        (pytorch.multihead, nn.MultiheadAttention(M, 2), {"H": 2}),
        (pytorch.multihead, nn.MultiheadAttention(M, 1, kdim=P, vdim=U), {"H": 1}),
        (pytorch.decoder_layer, nn.TransformerDecoderLayer(M, 2, F), {"H": 2}),
    ):
        read = theirs.read(module.state_dict(), **heads)
        params = read[0] if isinstance(read, tuple) else read
        before = tree.map(np.copy, params)
        with torch.no_grad():
            for p in module.parameters():
                p.add_(1)
        equal(params, before)
        module.load_state_dict(tensors(theirs.write(params)))
        held = {name: x.clone().numpy() for name, x in module.state_dict().items()}
        for _, x in tree.leaves(params):
            x += 1
        equal({name: x.numpy() for name, x in module.state_dict().items()}, held)
