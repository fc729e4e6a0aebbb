"""Transformer layers and models against nn.TransformerEncoder and nn.TransformerDecoder, our parameters inside.

The modules stay in training mode, where PyTorch takes no shortcut of its own, and drop nothing. Rotary positions, which
they lack, are written out around scaled_dot_product_attention.
"""

import functools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch_twins
from torch_twins import F, agree, functional_call, nn, same, torch

from minattn import optim, tree
from minattn.functions import Loss, cross_entropy, cross_entropy_backward
from minattn.masks import causal, padding
from minattn.models import block, language_model, transformer
from minattn.op import bind

B, T, S, M, H, L, V, PAD = 3, 5, 6, 16, 4, 2, 9, 0  # heads of width 4: in 2 the styles of rotary are one
SIZES = {"M": M, "H": H, "F": 7}
LENGTHS, MEMORY_LENGTHS = np.array([5, 2, 1]), np.array([3, 6, 1])
ACTIVATIONS = {"gelu": F.gelu, "gelu_tanh": functools.partial(F.gelu, approximate="tanh"), "relu": F.relu}
ACTIVATIONS |= {"silu": F.silu}

DTYPES = pytest.mark.parametrize("dtype", [np.float64, np.float32])
NORM_FIRST = pytest.mark.parametrize("norm_first", [True, False], ids=["norm first", "norm last"])
ACTIVATION = pytest.mark.parametrize("activation", ACTIVATIONS)
GROUPS = pytest.mark.parametrize("G", [H, 2, 1], ids=["G = H", "G = 2", "G = 1"])
TIED = pytest.mark.parametrize("tied", [True, False], ids=["tied", "own output"])


def noisy(rng, params):
    """No gain is 1 and no bias is 0."""
    return tree.map(lambda p: p + 0.3 * rng.normal(size=p.shape), params)


def hidden(lengths, steps):
    """(B, steps), the other way round than ours: True = may not look."""
    return None if lengths is None else torch.arange(steps) >= torch.from_numpy(lengths)[:, None]


def future(steps):
    """(steps, steps), True = may not look."""
    return torch.ones(steps, steps, dtype=torch.bool).triu(1)


# Our parameters under PyTorch's names: matrices the other way round, the heads beside each other, query, key and value
# on top of each other. Key heads that serve several queries are repeated, so that autograd adds up their gradients.


def attention_weights(name, params):
    H = params["W_query"].shape[1]

    def heads(letter):
        return [params[f"{letter}_{x}"] for x in ("query", "key", "value")]

    W = [x.repeat_interleave(H // x.shape[1], dim=1).flatten(start_dim=1).mT for x in heads("W")]
    b = [x.repeat_interleave(H // x.shape[0], dim=0).flatten() for x in heads("b")]
    return {
        f"{name}.in_proj_weight": torch.cat(W),
        f"{name}.in_proj_bias": torch.cat(b),
        f"{name}.out_proj.weight": params["W_out"].flatten(end_dim=1).mT,
        f"{name}.out_proj.bias": params["b_out"],
    }


def norm_weights(name, params):
    return {f"{name}.weight": params["gain"], f"{name}.bias": params["bias"]}


def layer_weights(params):
    cross = "recall" in params
    feed = params["feed"]
    weights = attention_weights("self_attn", params["look"]) | norm_weights("norm1", params["norm_look"])
    if cross:
        weights |= attention_weights("multihead_attn", params["recall"]) | norm_weights("norm2", params["norm_recall"])
    weights |= norm_weights("norm3" if cross else "norm2", params["norm_feed"])
    weights |= {"linear1.weight": feed["W_in"].mT, "linear1.bias": feed["b_in"]}
    return weights | {"linear2.weight": feed["W_out"].mT, "linear2.bias": feed["b_out"]}


def stack_weights(layers, norm):
    weights = {f"layers.{l}.{name}": w for l, layer in layers.items() for name, w in layer_weights(layer).items()}
    return weights | norm_weights("norm", norm)


def module(params, *, norm_first=True, activation="gelu"):
    """nn.TransformerEncoderLayer, or for params with a memory nn.TransformerDecoderLayer."""
    kind = nn.TransformerDecoderLayer if "recall" in params else nn.TransformerEncoderLayer
    width, heads, _ = params["look"]["W_query"].shape
    settings = {"dropout": 0.0, "batch_first": True, "norm_first": norm_first, "activation": ACTIVATIONS[activation]}
    return kind(width, heads, params["feed"]["W_in"].shape[1], **settings)


def encode(layers, norm, x, mask=None, hidden=None, **settings):
    layer = module(layers["0"], **settings)
    encoder = nn.TransformerEncoder(layer, len(layers), nn.LayerNorm(x.shape[-1]), enable_nested_tensor=False)
    return functional_call(encoder, stack_weights(layers, norm), (x, mask, hidden))


def decode(layers, norm, x, memory, mask=None, hidden=None, **settings):
    decoder = nn.TransformerDecoder(module(layers["0"], **settings), len(layers), nn.LayerNorm(x.shape[-1]))
    masks = {"tgt_mask": mask, "memory_key_padding_mask": hidden}
    return functional_call(decoder, stack_weights(layers, norm), (x, memory), masks)


# One layer. name: our mask, and PyTorch's of pairs and of keys.

SITUATIONS = {
    "open": (None, None, None),
    "causal": (causal(), future(T), None),
    "padding": (padding(LENGTHS), None, hidden(LENGTHS, T)),
    "causal and padding": (causal() & padding(LENGTHS), future(T), hidden(LENGTHS, T)),
}
SITUATION = pytest.mark.parametrize("situation", SITUATIONS.values(), ids=SITUATIONS)


def check_encoder(rng, situation, *, G=H, dtype=np.float64, **settings):
    mask, pairs, keys = situation

    def twin(params, x):
        masks = {"src_mask": pairs, "src_key_padding_mask": keys}
        return functional_call(module(params, **settings), layer_weights(params), (x,), masks)

    params = noisy(rng, block.init(rng, **SIZES, G=G))
    x = rng.normal(size=(B, T, M))
    agree(block, twin, params, [x], options={"mask": mask, **settings}, rng=rng, dtype=dtype)


def check_decoder(rng, situation, *, lengths=MEMORY_LENGTHS, G=H, dtype=np.float64, **settings):
    mask, pairs, keys = situation

    def twin(params, x, memory):
        masks = {"tgt_mask": pairs, "tgt_key_padding_mask": keys, "memory_key_padding_mask": hidden(lengths, S)}
        return functional_call(module(params, **settings), layer_weights(params), (x, memory), masks)

    params = noisy(rng, block.init(rng, **SIZES, G=G, cross=True))
    inputs = rng.normal(size=(B, T, M)), rng.normal(size=(B, S, M))
    options = {"mask": mask, "memory_mask": None if lengths is None else padding(lengths), **settings}
    agree(block, twin, params, inputs, options=options, rng=rng, dtype=dtype)


@DTYPES
@NORM_FIRST
@ACTIVATION
@SITUATION
def test_encoder_layer(rng, situation, activation, norm_first, dtype):
    check_encoder(rng, situation, activation=activation, norm_first=norm_first, dtype=dtype)


@DTYPES
@NORM_FIRST
@ACTIVATION
@SITUATION
def test_decoder_layer(rng, situation, activation, norm_first, dtype):
    check_decoder(rng, situation, activation=activation, norm_first=norm_first, dtype=dtype)


@NORM_FIRST
def test_whole_memory(rng, norm_first):
    check_decoder(rng, SITUATIONS["causal"], lengths=None, norm_first=norm_first)


@GROUPS
def test_grouped_queries(rng, G):
    check_encoder(rng, SITUATIONS["causal and padding"], G=G)
    check_decoder(rng, SITUATIONS["causal"], G=G)


@DTYPES
@NORM_FIRST
@pytest.mark.parametrize("shape", [(B, H, T, T), (H, T, T), (B, 1, 1, T)], ids=str)
def test_bias(rng, shape, norm_first, dtype):
    """A mask of fractions is added to the scores, and has a gradient."""

    def twin(params, x, _, bias):
        pairs = bias.masked_fill(future(T), -torch.inf).expand(B, H, T, T).flatten(end_dim=1)
        return functional_call(module(params, norm_first=norm_first), layer_weights(params), (x, pairs))

    params = noisy(rng, block.init(rng, **SIZES))
    options = {"mask": causal(), "norm_first": norm_first}
    inputs = rng.normal(size=(B, T, M)), None, rng.normal(size=shape)
    agree(block, twin, params, inputs, options=options, rng=rng, dtype=dtype)


def test_padding_receives_nothing(rng):
    """Only real steps are asked for: what stands beyond has neither a say nor a gradient, on both sides."""
    real = ~hidden(LENGTHS, T).numpy()[..., None]
    dout = np.where(real, rng.normal(size=(B, T, M)), 0)
    params, x = noisy(rng, block.init(rng, **SIZES)), rng.normal(size=(B, T, M))

    def twin(params, x):
        masks = {"src_key_padding_mask": hidden(LENGTHS, T)}
        return functional_call(module(params), layer_weights(params), (x,), masks)

    options = {"mask": padding(LENGTHS)}
    agree(block, twin, params, [x], options=options, rng=rng, dout=dout)
    out, cache = block.forward(params, x, **options)
    other, _ = block.forward(params, np.where(real, x, 100.0), **options)
    np.testing.assert_array_equal(np.where(real, out, 0), np.where(real, other, 0))
    (dx, *_), _ = block.backward(dout, cache)
    assert not np.where(real, 0, dx).any()


# Models. Tokens repeat, so that rows of the tables add up.


def waves(steps, width):
    """Vaswani 2017, 3.5: sines in even columns, cosines in odd ones."""
    column = torch.arange(width)
    angles = torch.arange(steps)[:, None] / 10000 ** ((column - column % 2) / width)
    return torch.where(column % 2 == 0, angles.sin(), angles.cos())


def transformer_twin(params, source, target, *, lengths=None, **settings):
    def embed(ids, table):
        x = F.embedding(ids, table) * math.sqrt(M)
        return x + waves(ids.shape[1], M).to(x.dtype)

    unseen = hidden(lengths, source.shape[1])
    x = embed(source, params["embed_source"])
    memory = encode(params["encoder"], params["norm_encoder"], x, hidden=unseen, **settings)
    x, pairs = embed(target, params["embed_target"]), future(target.shape[1])
    written = decode(params["decoder"], params["norm_decoder"], x, memory, pairs, unseen, **settings)
    return F.linear(written, params["W_out"].mT if "W_out" in params else params["embed_target"])


def language_model_twin(params, tokens, *, lengths=None, positions=None, norm_first=True, activation="gelu"):
    x, steps = F.embedding(tokens, params["embed"]), tokens.shape[1]
    settings, unseen = {"norm_first": norm_first, "activation": activation}, hidden(lengths, steps)
    if "positions" in params:
        x = x + F.embedding(torch.arange(steps), params["positions"])
    if positions == "sinusoidal":
        x = x + waves(steps, M).to(x.dtype)
    if positions in ("rotary", "rotary half"):
        style = {"rotary": "interleaved", "rotary half": "half"}[positions]
        x = by_hand(params["blocks"], params["norm"], x, unseen, style, **settings)
    elif positions == "alibi":
        seen = ~future(steps) if unseen is None else ~future(steps) & ~unseen[:, None, None]
        pairs = torch.where(seen, distances(steps, x.dtype), -torch.inf)
        pairs = pairs.expand(len(x), H, steps, steps).flatten(end_dim=1)
        x = encode(params["blocks"], params["norm"], x, pairs, **settings)
    else:
        x = encode(params["blocks"], params["norm"], x, future(steps), unseen, **settings)
    return F.linear(x, params["W_out"].mT if "W_out" in params else params["embed"])


def distances(steps, dtype):
    """Press 2022: the head h of 4 loses 4^-h for each step that it looks back."""
    back = torch.arange(steps)[:, None] - torch.arange(steps)
    return -torch.tensor([1 / 4, 1 / 16, 1 / 64, 1 / 256], dtype=dtype)[:, None, None] * back.abs()


def by_hand(layers, norm, x, unseen, style, *, norm_first, activation):
    """The layers as formulas, around scaled_dot_product_attention of turned queries and keys."""
    mask = ~future(x.shape[1])
    mask = mask if unseen is None else mask & ~unseen[:, None, None]

    def normed(x, norm):
        return F.layer_norm(x, x.shape[-1:], norm["gain"], norm["bias"])

    for layer in layers.values():
        feed = layer["feed"]

        def look(x, params=layer["look"]):
            return torch_twins.multihead(params, x, x, x, rotary=style, mask=mask)

        def think(x, feed=feed):
            return ACTIVATIONS[activation](x @ feed["W_in"] + feed["b_in"]) @ feed["W_out"] + feed["b_out"]

        for part, own in ((look, layer["norm_look"]), (think, layer["norm_feed"])):
            x = x + part(normed(x, own)) if norm_first else normed(x + part(x), own)
    return normed(x, norm)


def with_loss(op, twin, answers):
    """The model and the cross-entropy of its logits, on both sides, as one op."""

    def forward(params, *tokens):
        logits, cache = op.forward(params, *tokens)
        loss, *extras = cross_entropy(logits, answers, ignore_index=PAD)
        return loss, (cache, extras)

    def backward(dloss, caches):
        cache, extras = caches
        return op.backward(cross_entropy_backward(dloss, *extras), cache)

    def twin_loss(params, *tokens):
        rows = twin(params, *tokens).flatten(end_dim=1), torch.from_numpy(answers).flatten()
        mean, total = (F.cross_entropy(*rows, ignore_index=PAD, reduction=how) for how in ("mean", "sum"))
        return Loss(mean, total, (rows[1] != PAD).sum())

    return SimpleNamespace(forward=forward, backward=backward), twin_loss


def draw_answers(rng):
    """(B, T), the end of the first sequence ignored."""
    answers = rng.integers(1, V, size=(B, T))
    answers[0, 3:] = PAD
    return answers


def translation(rng, *, lengths=None, tied=True, G=H, **settings):
    """The op with its settings, its twin, noisy parameters and tokens."""
    op = bind(transformer, source_lengths=lengths, **settings)
    sizes = {"source_vocabulary": 7, "target_vocabulary": V, "L": L, "G": G, "tied": tied}
    params = noisy(rng, transformer.init(rng, **SIZES, **sizes))
    twin = functools.partial(transformer_twin, lengths=lengths, **settings)
    return op, twin, params, (rng.integers(7, size=(B, S)), rng.integers(1, 5, size=(B, T)))


def language(rng, *, places=None, tied=True, G=H, **settings):
    """As `translation`. places: rows of a learned table."""
    op = bind(language_model, **settings)
    params = noisy(rng, language_model.init(rng, **SIZES, V=V, L=L, G=G, T=places, tied=tied))
    return op, functools.partial(language_model_twin, **settings), params, (rng.integers(5, size=(B, T)),)


PADDED = pytest.mark.parametrize("lengths", [None, MEMORY_LENGTHS], ids=["whole", "padded"])
ENDED = pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "padded"])


@PADDED
@TIED
@NORM_FIRST
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_transformer(rng, activation, norm_first, tied, lengths):
    op, twin, params, inputs = translation(
        rng, lengths=lengths, tied=tied, norm_first=norm_first, activation=activation
    )
    agree(op, twin, params, inputs, rng=rng)


@DTYPES
@PADDED
@TIED
@NORM_FIRST
def test_loss_of_transformer(rng, norm_first, tied, lengths, dtype):
    """As in training. A tied table collects what comes from the output and from the words that were read."""
    op, twin, params, inputs = translation(rng, lengths=lengths, tied=tied, norm_first=norm_first)
    dloss = Loss(np.array(1.0, dtype=dtype))
    agree(*with_loss(op, twin, draw_answers(rng)), params, inputs, rng=rng, dout=dloss, dtype=dtype)


@GROUPS
@NORM_FIRST
def test_transformer_float32(rng, norm_first, G):
    op, twin, params, inputs = translation(rng, lengths=MEMORY_LENGTHS, G=G, norm_first=norm_first)
    agree(op, twin, params, inputs, rng=rng, dtype=np.float32)


POSITIONS = {
    "learned": {"places": 7},  # two rows that are not read
    "none": {},
    "sinusoidal": {"positions": "sinusoidal"},
    "rotary": {"positions": "rotary"},
    "rotary half": {"positions": "rotary half"},
    "alibi": {"positions": "alibi"},
    "learned and alibi": {"places": T, "positions": "alibi"},
}
PLACED = pytest.mark.parametrize("placed", POSITIONS.values(), ids=POSITIONS)


@DTYPES
@ENDED
@TIED
@NORM_FIRST
@PLACED
def test_language_model(rng, placed, norm_first, tied, lengths, dtype):
    op, twin, params, inputs = language(rng, **placed, tied=tied, norm_first=norm_first, lengths=lengths)
    agree(op, twin, params, inputs, rng=rng, dtype=dtype)


@DTYPES
@ENDED
@TIED
@PLACED
def test_loss_of_language_model(rng, placed, tied, lengths, dtype):
    op, twin, params, inputs = language(rng, **placed, tied=tied, lengths=lengths)
    dloss = Loss(np.array(1.0, dtype=dtype))
    agree(*with_loss(op, twin, draw_answers(rng)), params, inputs, rng=rng, dout=dloss, dtype=dtype)


@GROUPS
@PLACED
def test_grouped_language_model(rng, placed, G):
    op, twin, params, inputs = language(rng, **placed, G=G, activation="relu")
    agree(op, twin, params, inputs, rng=rng)


# Decoding: earlier steps are kept with us, and PyTorch reads everything again for each new token.


@NORM_FIRST
@PLACED
def test_generate(rng, placed, norm_first):
    placed = placed | {"places": T + 3} if "places" in placed else placed
    _, twin, params, (tokens,) = language(rng, **placed, norm_first=norm_first, G=2)
    theirs, their_params = torch.from_numpy(tokens), tree.map(torch.from_numpy, params)
    for _ in range(3):
        theirs = torch.cat([theirs, twin(their_params, theirs)[:, -1:].argmax(dim=-1)], dim=1)
    settings = {"norm_first": norm_first, "positions": placed.get("positions")}
    ours = language_model.generate(params, tokens, steps=3, **settings)
    assert ours.tolist() == theirs.tolist()


@NORM_FIRST
@PADDED
def test_greedy(rng, norm_first, lengths):
    _, twin, params, (source, _) = translation(rng, lengths=lengths, norm_first=norm_first, G=2)
    their_params, start = tree.map(torch.from_numpy, params), 1
    theirs = torch.full((B, 1), start)
    for _ in range(6):
        logits = twin(their_params, torch.from_numpy(source), theirs)
        theirs = torch.cat([theirs, logits[:, -1:].argmax(dim=-1)], dim=1)
    settings = {"source_lengths": lengths, "norm_first": norm_first}
    ours = transformer.greedy(params, source, start=start, end=-1, steps=6, **settings)
    assert ours.tolist() == theirs[:, 1:].tolist()


OPTIMISERS = {
    "adam": (optim.adam, torch.optim.Adam, {}),
    "adamw": (optim.adamw, torch.optim.AdamW, {"weight_decay": 0.3}),
}


@pytest.mark.parametrize("case", OPTIMISERS.values(), ids=OPTIMISERS)
@pytest.mark.parametrize("placed", ["learned", "rotary"])
def test_training(rng, placed, case):
    """Three steps on one batch: losses, and after each step all parameters.

    Without rotation the bias of all keys has gradient 0 but for rounding, which Adam would blow up: eps is above it.
    """
    step, Theirs, settings = case
    model = language(rng, **POSITIONS[placed])
    op, twin = with_loss(*model[:2], draw_answers(rng))
    params, (tokens,), state = model[2], model[3], None
    theirs = tree.map(lambda p: nn.Parameter(torch.tensor(p)), params)
    settings = {"eps": 1e-5} | settings
    optimiser = Theirs([p for _, p in tree.leaves(theirs)], lr=0.02, **settings)
    losses = []
    for _ in range(3):
        loss, cache = op.forward(params, tokens)
        _, grads = op.backward(Loss(np.array(1.0)), cache)
        params, state = step(params, grads, state, learning_rate=0.02, **settings)
        optimiser.zero_grad()
        their_loss = twin(theirs, torch.from_numpy(tokens))
        their_loss.mean.backward()
        optimiser.step()
        same({"loss": loss, "params": params}, {"loss": their_loss, "params": theirs})
        losses.append(float(loss.mean))
    assert losses[2] < losses[1] < losses[0]
