"""The whole Transformer: an encoder reads, a decoder writes and looks back at what was read.

    memory = norm(block(... embed_source[source] sqrt(M) + waves))            every step looks at every step
    x      = norm(block(... embed_target[target] sqrt(M) + waves, memory))    every step looks back, and at the memory
    logits = x W_out,                                                         W_out = embed_target^T where tied

Vaswani et al. 2017, arXiv:1706.03762, figure 1, with sinusoidal positions (3.5) and tied embeddings (3.4).
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minattn import masks, tree, validate
from minattn.attention import multihead
from minattn.functions import embedding, embedding_backward, layer_norm, linear, linear_backward
from minattn.models import block
from minattn.op import Case
from minattn.positions import sinusoidal

PAPER = "Vaswani 2017, fig. 1"


class Cache(NamedTuple):
    params: Any
    source: Any
    target: Any
    encoder: Any
    decoder: Any
    written: Any

    @property
    def weights(self):
        """(B, T, S): where each output looked in the source, the mean over the heads of the last layer."""
        return self.decoder.layers[-1].memory_weights.mean(axis=-3)


class Flow(NamedTuple):
    """Gradients at what entered each layer, encoder (B, S, M) and decoder (B, T, M), and at every parameter."""

    dencoder: dict
    ddecoder: dict
    dparams: dict


def init(rng, *, source_vocabulary, target_vocabulary, M, H, L, G=None, F=None, tied=True):
    """Width M, L layers on each side, H heads (G of keys and values); tied=False gives the output its own matrix."""
    sizes = {"M": M, "H": H, "G": G, "F": F}
    params = {
        "embed_source": rng.normal(size=(source_vocabulary, M)) / math.sqrt(M),
        "embed_target": rng.normal(size=(target_vocabulary, M)) / math.sqrt(M),
        "encoder": {str(layer): block.init(rng, **sizes) for layer in range(L)},
        "norm_encoder": block.new_norm(M),
        "decoder": {str(layer): block.init(rng, **sizes, cross=True) for layer in range(L)},
        "norm_decoder": block.new_norm(M),
    }
    return params if tied else params | {"W_out": rng.normal(size=(M, target_vocabulary)) / math.sqrt(M)}


def forward(
    params, source, target, *, source_lengths=None, norm_first=True, activation="gelu", dropout=0.0, rng=None
):
    """source (B, S) token ids, target (B, T) the token before each output -> logits (B, T, V).

    Teacher forcing, as in `seq2seq`; source_lengths (B,) tells what is padding. Options as in `block`. Raises TypeError
    or ValueError for ids and lengths that do not fit.
    """
    validate.sequences(source=source, target=target)
    options = {"norm_first": norm_first, "activation": activation, "dropout": dropout, "rng": rng}
    mask = None if source_lengths is None else masks.padding(source_lengths)
    read, encoder = block.stack(
        params["encoder"], params["norm_encoder"], _embed(params["embed_source"], source), mask=mask, **options
    )                                          # (B, S, M)
    written, decoder = block.stack(
        params["decoder"], params["norm_decoder"], _embed(params["embed_target"], target), read,
        mask=masks.causal(), memory_mask=mask, **options,
    )                                          # (B, T, M)
    logits = linear(written, _output(params))  # (B, T, V)
    return logits, Cache(params, source, target, encoder, decoder, written)


def backward(dlogits, cache):
    """-> (None, None), dparams: token ids have no gradient."""
    return (None, None), flow(dlogits, cache).dparams


def flow(dlogits, cache):
    """Back through the decoder and the encoder -> Flow: what `backward` gives, and the gradient on its way."""
    params, source, target, encoder, decoder, written = cache
    dencoder, ddecoder = {}, {}
    dparams, scale = {}, math.sqrt(written.shape[-1])
    # logits = linear(written, W_out)
    dwritten, dW_out, _ = linear_backward(dlogits, written, _output(params))
    # written = stack(embed_target[target] sqrt(M) + waves, read)
    (dx, dread), dparams["decoder"], dparams["norm_decoder"] = block.stack_backward(dwritten, decoder, ddecoder)
    dparams["embed_target"] = embedding_backward(dx * scale, params["embed_target"], target)
    # read = stack(embed_source[source] sqrt(M) + waves)
    (dx, _), dparams["encoder"], dparams["norm_encoder"] = block.stack_backward(dread, encoder, dencoder)
    dparams["embed_source"] = embedding_backward(dx * scale, params["embed_source"], source)
    # W_out = embed_target^T: it was read twice
    if "W_out" in params:
        dparams["W_out"] = dW_out
    else:
        dparams["embed_target"] = tree.add(dparams["embed_target"], dW_out.mT)
    first_to_last = [{name: d[name] for name in reversed(d)} for d in (dencoder, ddecoder)]
    return Flow(*first_to_last, dparams)


def greedy(params, source, *, start, end, steps, source_lengths=None, norm_first=True, activation="gelu"):
    """source (B, S) -> tokens (B, T) up to and with `end`: the likeliest each time, earlier steps kept, not redone."""
    validate.sequences(source=source)
    validate.count("steps", steps)
    options = {"norm_first": norm_first, "activation": activation}
    mask = None if source_lengths is None else masks.padding(source_lengths)
    x = _embed(params["embed_source"], source)                                                 # (B, S, M)
    read, _ = block.stack(params["encoder"], params["norm_encoder"], x, mask=mask, **options)  # (B, S, M)
    layers = list(params["decoder"].values())
    recalled = [multihead.prepare(layer["recall"], read, read)[0] for layer in layers]
    past, tokens = [None] * len(layers), np.full_like(source, start, shape=(source.shape[0], 1), dtype=np.int64)
    for step in range(steps):
        x = _embed(params["embed_target"], tokens[:, -1:], step)                               # (B, 1, M)
        for i, layer in enumerate(layers):
            x, past[i] = block.advance(layer, x, past[i], recalled[i], offset=step, memory_mask=mask, **options)
        norm = params["norm_decoder"]
        written, *_ = layer_norm(x, norm["gain"], norm["bias"])                                # (B, 1, M)
        new = linear(written, _output(params)).argmax(axis=-1)                                 # (B, 1)
        new = np.where(tokens[:, -1:] == end, end, new)                                        # (B, 1)  end stays end
        tokens = np.concatenate([tokens, new], axis=1)                                         # (B, 2 + step)
        if (new == end).all():
            break
    return tokens[:, 1:]


def _embed(table, ids, offset=0):
    """embed[ids] sqrt(M) + waves, (B, T, M)."""
    x = embedding(table, ids)                                    # (B, T, M)
    T, M = x.shape[1:]
    waves = sinusoidal(T, M, offset=offset, dtype=x.real.dtype)  # (T, M)
    return x * math.sqrt(M) + np.asarray(waves, like=x)


def _output(params):
    """W_out (M, V), or the embeddings the other way round."""
    return params["W_out"] if "W_out" in params else params["embed_target"].mT


def cases(rng):
    """Padding, tied and not, both places of the norm, dropout."""
    sizes = {"source_vocabulary": 6, "target_vocabulary": 5, "M": 4, "H": 2, "G": 1, "F": 3, "L": 1}
    source, target = rng.integers(6, size=(2, 4)), rng.integers(5, size=(2, 3))
    yield Case("tied", sizes | {"L": 2}, (source, target), {"source_lengths": np.array([4, 2])})
    yield Case("own output, norm last", sizes | {"tied": False}, (source, target), {"norm_first": False})
    chance = {"dropout": 0.3, "rng": np.random.default_rng(5), "activation": "relu"}
    yield Case("dropout", sizes, (source, target), chance)
