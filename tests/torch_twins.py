"""The same mathematics in PyTorch's own words, and `agree`: both sides give one result and one gradient of everything.

A twin is a function of tensors, twin(params, *inputs), that returns what our forward returns, in the same tuples; its
gradients come from autograd. Only `agree` knows both sides.
"""

import math

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
# everywhere, and 0 takes its place afterwards, so that it gives and receives nothing. kept: what dropout multiplies the
# weights with, 0 or 1 / (1 - p).


def dot(params, query, key, value, bias=None, *, mask=None, kept=None):
    """scaled_dot_product_attention; PyTorch draws its own dropout, so with ours the formula is written out."""
    if kept is not None:
        return _look(query @ key.mT / math.sqrt(query.shape[-1]), value, bias, mask, times=kept)
    leading = torch.broadcast_shapes(*(x.shape[:-2] for x in (query, key, value)))
    query, key, value = (x.expand(*leading, *x.shape[-2:]) for x in (query, key, value))
    bias, mask, alive = _open(bias, mask)
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


def concat(params, query, key, value, bias=None, *, mask=None):
    """Luong 2015: v^T tanh(W^T [query, key]), the pairs written out."""
    leading = torch.broadcast_shapes(query.shape[:-2], key.shape[:-2])
    places = (*leading, query.shape[-2], key.shape[-2])
    both = query[..., :, None, :].expand(*places, -1), key[..., None, :, :].expand(*places, -1)
    return _look(torch.tanh(torch.cat(both, dim=-1) @ params["W"]) @ params["v"], value, bias, mask)


def cosine(params, query, key, value, bias=None, *, mask=None):
    """Graves 2014: the cosine of query and key, sharpened."""
    query, key = (x / torch.sqrt((x * x).sum(dim=-1, keepdim=True) + 1e-12) for x in (query, key))
    return _look(params["scale"] * query @ key.mT, value, bias, mask)


def local(params, query, key, value, bias=None, *, mask=None, reach=10.0):
    """Luong 2015, local-p: general scores near a predicted centre, under a bell curve of deviation reach / 2."""
    scores = query @ params["W"] @ key.mT
    length = scores.shape[-1] if mask is None else mask.expand(scores.shape).sum(dim=-1, keepdim=True)
    centre = length * torch.sigmoid(torch.tanh(query @ params["W_position"]) @ params["v_position"])[..., None]
    distance = torch.arange(scores.shape[-1]) - centre
    near = distance.detach().abs() <= reach
    bell = torch.exp(-(distance**2) / (2 * (reach / 2) ** 2))
    return _look(scores, value, bias, near if mask is None else near & mask, times=bell)


def relative(params, query, key, value, bias=None, *, mask=None, offset=0, causal=False, farthest=128):
    """Raffel 2020: a learned number for each bucket of distances, as attn_mask."""
    R, H = params["table"].shape
    places = [
        [t5_bucket(s - t - offset, R, causal, farthest) for s in range(key.shape[-2])] for t in range(query.shape[-2])
    ]
    learned = F.embedding(torch.tensor(places), params["table"]).permute(2, 0, 1)
    learned = learned[0] if H == 1 else learned
    return dot(None, query, key, value, learned if bias is None else learned + bias, mask=mask)


def t5_bucket(ahead, R, causal=False, farthest=128):
    """Raffel 2020 in whole numbers, so that no logarithm is rounded.

    Bucket half + i of n = side - half begins where (distance / half)^n reaches (farthest / half)^i.
    """
    side = R if causal else R // 2
    half, distance = side // 2, max(-ahead, 0) if causal else abs(ahead)
    n, after = side - half, side if ahead > 0 and not causal else 0
    if distance < half:
        return after + distance
    return after + half + sum(distance**n * half**i >= farthest**i * half**n for i in range(1, n))


def sparse(params, query, key, value, bias=None, *, mask=None):
    """Martins & Astudillo 2016: sparsemax in the place of the softmax."""
    return _look(query @ key.mT / math.sqrt(query.shape[-1]), value, bias, mask, weigh=sparsemax)


def sparsemax(scores):
    """The threshold from the sorted scores; autograd goes through its cumulative sum."""
    ranked, _ = torch.sort(scores, dim=-1, descending=True)
    summed, k = ranked.cumsum(dim=-1), torch.arange(1, scores.shape[-1] + 1)
    count = (1 + k * ranked > summed).sum(dim=-1, keepdim=True)
    threshold = (summed.gather(-1, count - 1) - 1) / count
    return torch.relu(scores - threshold)


def window(params, query, key, value, bias=None, *, mask=None, left=None, right=None, offset=0):
    """scaled_dot_product_attention under the mask of a band."""
    ahead = torch.arange(key.shape[-2]) - torch.arange(query.shape[-2])[:, None] - offset
    band = torch.ones_like(ahead, dtype=torch.bool)
    band = band if left is None else band & (ahead >= -left)
    band = band if right is None else band & (ahead <= right)
    return dot(None, query, key, value, bias, mask=band if mask is None else band & mask)


def linear(params, query, key, value, *, mask=None):
    """Katharopoulos 2020, equation 4: all pairs of features, written out."""
    weights = (F.elu(query) + 1) @ (F.elu(key) + 1).mT
    weights = weights if mask is None else torch.where(mask, weights, 0)
    total = weights.sum(dim=-1, keepdim=True)
    return weights @ value / torch.where(total == 0, 1, total)


def multihead(params, query, key, value, bias=None, *, rotary=None, offset=0, inner="dot", inside=None, **given):
    """Vaswani 2017: every head by einsum, key heads repeated where shared; inside: settings of the inner one."""
    H, G = params["W_query"].shape[1], params["W_key"].shape[1]

    def project(name, x):
        heads = torch.einsum("...tm,mhd->...htd", x, params[f"W_{name}"])
        return heads + params[f"b_{name}"][:, None] if f"b_{name}" in params else heads

    query, key, value = project("query", query), project("key", key), project("value", value)
    if rotary is not None:
        query, key = turned(query, offset, rotary), turned(key, 0, rotary)
    key, value = (x.repeat_interleave(H // G, dim=-3) for x in (key, value))
    more = () if bias is None else (bias,)
    context = ATTENTION[inner](params.get("inner"), query, key, value, *more, **given, **(inside or {}))
    return torch.einsum("...hte,hem->...tm", context, params["W_out"]) + params.get("b_out", 0)


def turned(x, offset=0, style="interleaved", base=10000.0):
    """Rotary positions (Su 2021): complex numbers for pairs side by side, x cos + (-x2, x1) sin for halves."""
    T, D = x.shape[-2:]
    frequency = base ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)
    angles = torch.outer(torch.arange(offset, offset + T, dtype=torch.float64), frequency)
    if style == "interleaved":
        circle = torch.polar(torch.ones_like(angles), angles).to(torch.promote_types(x.dtype, torch.complex64))
        return torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * circle).flatten(-2)
    angles = torch.cat([angles, angles], dim=-1)
    x1, x2 = x.chunk(2, dim=-1)
    return x * angles.cos().to(x.dtype) + torch.cat([-x2, x1], dim=-1) * angles.sin().to(x.dtype)


ATTENTION = {
    "dot": dot,
    "additive": additive,
    "bilinear": bilinear,
    "concat": concat,
    "cosine": cosine,
    "local": local,
    "relative": relative,
    "sparse": sparse,
    "window": window,
    "blockwise": dot,
    "fused": dot,
    "linear": linear,
    "multihead": multihead,
}


def _look(scores, value, bias, mask, *, weigh=None, times=1):
    bias, mask, alive = _open(bias, mask)
    scores = scores if bias is None else scores + bias
    scores = scores if mask is None else torch.where(mask, scores, -torch.inf)
    weights = torch.softmax(scores, dim=-1) if weigh is None else weigh(scores)
    return weights * times @ value * alive


def _open(bias, mask):
    """-> the bias without -inf, the mask with rows that may look at nothing opened, and which are not (..., T, 1)."""
    if bias is not None and bias.isinf().any():
        mask = bias > -torch.inf if mask is None else mask & (bias > -torch.inf)
        bias = torch.where(bias > -torch.inf, bias, 0)
    if mask is None:
        return bias, None, 1
    alive = mask.any(dim=-1, keepdim=True)
    return bias, mask | ~alive, alive


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


# Models with a recurrent cell: the encoder-decoders of Bahdanau 2015 and Luong 2015, which read alike, and a language
# model. attention: the name of a mechanism, or None for a memory of one entry, the summary.


def seq2seq(params, source, target, *, source_lengths=None, attention=None, cell=lstm):
    """Bahdanau 2015: the writer looks with the state it had, then takes its step -> logits (B, T, V)."""
    state, look = _read(params, source, source_lengths, attention, cell)
    embedded, logits = F.embedding(target, params["embed_target"]), []
    for t in range(target.shape[1]):
        context = look(state.hidden, t)
        state = one_step(params["decoder"], torch.cat([embedded[:, t], context], dim=-1), state, cell=cell)
        logits.append(torch.cat([state.hidden, context], dim=-1) @ params["W_out"] + params["b_out"])
    return torch.stack(logits, dim=1)


def luong(params, source, target, *, source_lengths=None, attention=None, cell=lstm):
    """Luong 2015: the writer takes its step, then looks; where W_input reads it, what was shown goes in again.

    -> logits (B, T, V)
    """
    state, look = _read(params, source, source_lengths, attention, cell)
    embedded, logits = F.embedding(target, params["embed_target"]), []
    fed, shown = len(params["decoder"]["W_input"]) > embedded.shape[-1], torch.zeros_like(state.hidden)
    for t in range(target.shape[1]):
        given = torch.cat([embedded[:, t], shown], dim=-1) if fed else embedded[:, t]
        state = one_step(params["decoder"], given, state, cell=cell)
        shown = torch.tanh(torch.cat([state.hidden, look(state.hidden, t)], dim=-1) @ params["W_shown"])
        logits.append(shown @ params["W_out"] + params["b_out"])
    return torch.stack(logits, dim=1)


def recurrent_model(params, tokens, state=None, *, lengths=None, cell=lstm):
    """Mikolov 2010: nn.LSTM, nn.GRU or nn.RNN between F.embedding and F.linear -> logits (B, T, V), state."""
    embedded = F.embedding(tokens, params["embed"])
    outputs, (last,) = several_layers({"0": params["cell"]}, embedded, state and (state,), lengths=lengths, cell=cell)
    return F.linear(outputs, params["W_out"].mT, params["b_out"]), last


def _read(params, source, source_lengths, attention, cell):
    """-> the writer's first state, and look(hidden (B, N), t) -> context (B, N), which asks the memory at step t."""
    embedded = F.embedding(source, params["embed_source"])
    annotations, last = both_directions(params["encoder"], embedded, lengths=source_lengths, cell=cell)
    ends = torch.cat([last.forward.hidden, last.backward.hidden], dim=-1)
    summary = torch.tanh(ends @ params["W_summary"] + params["b_summary"])
    memory, mask = summary[:, None], None
    if attention is not None:
        memory = annotations @ params["W_memory"]
        if source_lengths is not None:
            mask = (torch.arange(source.shape[1]) < torch.tensor(source_lengths)[:, None])[:, None]
            mask = mask[:, None] if attention == "multihead" else mask  # an axis for the heads

    def look(hidden, t):
        place = {"offset": t} if attention in ("relative", "window", "multihead") else {}
        mechanism, own = ATTENTION[attention or "dot"], params.get("attention")
        return mechanism(own, hidden[:, None], memory, memory, mask=mask, **place)[:, 0]

    return cell.State(summary, *(torch.zeros_like(summary) for _ in cell.State._fields[1:])), look


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
