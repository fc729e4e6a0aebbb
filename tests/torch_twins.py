"""The same mathematics in PyTorch's own words, and `agree`: both sides give one result and one gradient of everything.

A twin is a function of tensors, twin(params, *inputs), that returns what our forward returns, in the same tuples; its
gradients come from autograd. Only `agree` knows both sides.
"""

import numpy as np
import pytest

from minattn import op as ops
from minattn import tree
from minattn.recurrent import bidirectional, gru, lstm, rnn

torch = pytest.importorskip("torch", reason="parity needs PyTorch: pip install minattn[compare]")

from torch import nn  # noqa: E402
from torch.func import functional_call  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

RELATIVE = {np.float64: 1e-10, np.float32: 2e-4}


def agree(op, twin, params, inputs, *, options=None, rng, dtype=np.float64, dout=None):
    """op.forward and op.backward against the twin and autograd, with a random upstream gradient on every output.

    dout: given in place of the random one, None standing for zero.
    """
    inputs, params = tree.map(lambda x: x.astype(dtype) if x.dtype.kind == "f" else x, (tuple(inputs), params))
    out, cache = op.forward(params, *inputs, **(options or {}))
    dout = tree.map(lambda x: _random_like(rng, x), out) if dout is None else dout
    dinputs, dparams = op.backward(dout, cache)

    their_inputs, their_params = tree.map(_leaf, (inputs, params))
    their_out = twin(their_params, *their_inputs)
    upstream = [
        (y, torch.from_numpy(np.array(d))) for y, d in zip(_flat(their_out), _flat(dout), strict=True) if d is not None
    ]
    torch.autograd.backward(*zip(*upstream, strict=True))

    names = ops.inputs(op) or [f"input_{i}" for i in range(len(inputs))]
    ours = {"out": out, "d": dict(zip(names, dinputs, strict=False)) | dparams}
    theirs = tree.map(_gradient, (their_inputs, their_params))
    theirs = {"out": their_out, "d": dict(zip(names, theirs[0], strict=False)) | theirs[1]}
    same(ours, theirs, dtype=dtype, scale=_largest(dout))


def same(ours, theirs, *, dtype=np.float64, relative=None, scale=0.0):
    """Trees of our arrays and of tensors: same paths, shapes and dtypes, and every number close.

    |ours - theirs| <= relative |theirs| + relative / 100 of the largest number of the problem: an entry that is a sum
    of terms which cancel (the gradient of a bias of all keys under a softmax is exactly 0) carries the rounding of its
    terms, not of its result.
    """
    ours, theirs = dict(tree.leaves(ours)), {path: t.detach().numpy() for path, t in tree.leaves(theirs)}
    assert ours.keys() == theirs.keys()
    relative = relative or RELATIVE[dtype]
    scale = max(scale, _largest(theirs))
    for path, expected in theirs.items():
        assert np.shape(ours[path]) == expected.shape, path
        assert ours[path].dtype == expected.dtype, path
        np.testing.assert_allclose(ours[path], expected, rtol=relative, atol=relative / 100 * scale, err_msg=path)


# Attention. mask: booleans, True = may look. A row that may look at nothing is NaN in a plain softmax: here it looks
# everywhere, and 0 takes its place afterwards, so that it gives and receives nothing.


def dot(params, query, key, value, bias=None, *, mask=None):
    """scaled_dot_product_attention."""
    leading = torch.broadcast_shapes(*(x.shape[:-2] for x in (query, key, value)))
    query, key, value = (x.expand(*leading, *x.shape[-2:]) for x in (query, key, value))
    alive, mask = _alive(mask)
    if bias is not None and mask is not None:
        bias = torch.where(mask, bias, -torch.inf)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask if bias is None else bias) * alive


def additive(params, query, key, value, bias=None, *, mask=None):
    """Bahdanau 2015: v^T tanh(W_query^T query + W_key^T key + b)."""
    total = (query @ params["W_query"])[..., :, None, :] + (key @ params["W_key"])[..., None, :, :]
    scores = torch.tanh(total + params["b"] if "b" in params else total) @ params["v"]
    return _look(scores, value, bias, mask)


def bilinear(params, query, key, value, bias=None, *, mask=None):
    """Luong 2015: query^T W key."""
    return _look(query @ params["W"] @ key.mT, value, bias, mask)


ATTENTION = {"dot": dot, "additive": additive, "bilinear": bilinear}


def _look(scores, value, bias, mask):
    alive, mask = _alive(mask)
    scores = scores if bias is None else scores + bias
    scores = scores if mask is None else torch.where(mask, scores, -torch.inf)
    return torch.softmax(scores, dim=-1) @ value * alive


def _alive(mask):
    """-> (..., T, 1) or 1, and the mask with rows that may look at nothing opened."""
    if mask is None:
        return 1, None
    alive = mask.any(dim=-1, keepdim=True)
    return alive, mask | ~alive


# Recurrence. PyTorch's gates stand in our order, i f g o and r z n; its weights are ours transposed; of its two biases
# ours is the one beside the input, and the other is zero, but for the GRU, which has both.

MODULES = {rnn: (nn.RNN, nn.RNNCell), lstm: (nn.LSTM, nn.LSTMCell), gru: (nn.GRU, nn.GRUCell)}


def _weights(params, suffix=""):
    return {
        f"weight_ih{suffix}": params["W_input"].mT,
        f"weight_hh{suffix}": params["W_hidden"].mT,
        f"bias_ih{suffix}": params["b"],
        f"bias_hh{suffix}": params.get("b_hidden", torch.zeros_like(params["b"])),
    }


def several_layers(params, inputs, state=None, *, lengths=None, cell=lstm):
    """nn.LSTM, nn.GRU or nn.RNN, its parameters a cell or two directions for each layer, lengths by packing.

    -> outputs (B, T, N or 2N), a tuple of states or of Directions of states.
    """
    both = "forward" in params["0"]
    sides = {
        f"_l{l}{suffix}": side
        for l, layer in params.items()
        for side, suffix in (zip(layer.values(), ("", "_reverse"), strict=True) if both else [(layer, "")])
    }
    weights = {name: w for suffix, side in sides.items() for name, w in _weights(side, suffix).items()}
    N = len(sides["_l0"]["W_hidden"])
    settings = {"num_layers": len(params), "bidirectional": both, "batch_first": True, "dropout": 0.0}
    module = MODULES[cell][0](inputs.shape[-1], N, **settings)
    start = None
    if state is not None:
        states = [s for layer in state for s in layer] if both else state
        start = tuple(torch.stack(parts) for parts in zip(*states, strict=True))  # (layers x sides, B, N) each
        start = start if cell is lstm else start[0]
    steps = inputs.shape[1]
    if lengths is not None:
        inputs = pack_padded_sequence(inputs, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    outputs, last = functional_call(module, weights, (inputs, start))
    if lengths is not None:
        outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=steps)
    last = [cell.State(*parts) for parts in zip(*(last if cell is lstm else (last,)), strict=True)]
    pairs = zip(last[::2], last[1::2], strict=True) if both else ()
    return outputs, tuple(bidirectional.Directions(*pair) for pair in pairs) if both else tuple(last)


def both_directions(params, inputs, state=None, *, lengths=None, cell=lstm):
    """One layer of two directions -> outputs (B, T, 2N), Directions of states."""
    outputs, (last,) = several_layers({"0": params}, inputs, state and (state,), lengths=lengths, cell=cell)
    return outputs, last


def one_direction(params, inputs, state=None, *, lengths=None, reverse=False, cell=lstm):
    """Half of both_directions -> outputs (B, T, N), state."""
    twice = {"forward": params, "backward": params}
    outputs, last = both_directions(twice, inputs, state and (state, state), lengths=lengths, cell=cell)
    return outputs.chunk(2, dim=-1)[reverse], last[reverse]


def one_step(params, inputs, state, *, cell):
    """nn.LSTMCell, nn.GRUCell or nn.RNNCell: inputs (B, I) -> state."""
    module = MODULES[cell][1](inputs.shape[-1], state.hidden.shape[-1])
    new = functional_call(module, _weights(params), (inputs, tuple(state) if cell is lstm else state.hidden))
    return cell.State(*new) if cell is lstm else cell.State(new)


# Sequence to sequence, after Bahdanau 2015.


def seq2seq(params, source, target, *, source_lengths=None, attention=None, cell=lstm):
    """attention: the name of a mechanism, or None for a memory of one entry, the summary -> logits (B, T, V)."""
    embedded = F.embedding(source, params["embed_source"])
    annotations, last = both_directions(params["encoder"], embedded, lengths=source_lengths, cell=cell)
    ends = torch.cat([last.forward.hidden, last.backward.hidden], dim=-1)
    summary = torch.tanh(ends @ params["W_summary"] + params["b_summary"])
    memory, mask = summary[:, None], None
    if attention is not None:
        memory = annotations @ params["W_memory"]
        if source_lengths is not None:
            mask = (torch.arange(source.shape[1]) < torch.tensor(source_lengths)[:, None])[:, None]
    embedded, logits = F.embedding(target, params["embed_target"]), []
    state = cell.State(summary, *(torch.zeros_like(summary) for _ in cell.State._fields[1:]))
    for t in range(target.shape[1]):
        look = ATTENTION[attention or "dot"]
        context = look(params.get("attention"), state.hidden[:, None], memory, memory, mask=mask)[:, 0]
        state = one_step(params["decoder"], torch.cat([embedded[:, t], context], dim=-1), state, cell=cell)
        logits.append(torch.cat([state.hidden, context], dim=-1) @ params["W_out"] + params["b_out"])
    return torch.stack(logits, dim=1)


def _leaf(x):
    """A tensor of its own, which collects gradients where it holds fractions."""
    return torch.tensor(x, requires_grad=x.dtype.kind == "f")


def _gradient(leaf):
    """None for integers; zeros where nothing came."""
    if not leaf.requires_grad:
        return None
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def _random_like(rng, x):
    """A 0-d result has a 0-d gradient; integers have none."""
    return np.asarray(rng.normal(size=np.shape(x)), dtype=x.dtype) if x.dtype.kind == "f" else None


def _flat(x):
    """The entries of nested tuples in order, None included."""
    return [leaf for part in x for leaf in _flat(part)] if isinstance(x, tuple) else [x]


def _largest(arrays):
    """The largest finite number."""
    finite = [np.abs(x[np.isfinite(x)]).max(initial=0.0) for _, x in tree.leaves(arrays)]
    return max(finite, default=0.0)
