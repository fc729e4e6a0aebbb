"""Gradient norms: how much of the loss's gradient arrives at every time step, layer and head of a model.

    norms = gradient_norms(bind(recurrent_model, cell=rnn), params, (tokens,), targets)
    plots.gradient_flow({"RNN": norms.steps}, xlabel="time step")
    norms = gradient_norms(language_model, params, (tokens,), targets, norm_first=False)
    plots.gradient_flow({"norm last": norms.layers.reshape(len(norms.layers), -1).T}, xlabel="layer")
    plots.heatmap(norms.heads, xlabel="head", ylabel="layer", cbar_label="gradient norm")

Vanishing and exploding through time: Pascanu, Mikolov & Bengio 2013, arXiv:1211.5063; through layers, and what the
place of the norm does to it: Xiong et al. 2020, arXiv:2002.04745.
"""

from typing import Any, NamedTuple

import numpy as np

from minattn.functions import Loss, cross_entropy, cross_entropy_backward
from minattn.models import language_model, seq2seq, transformer
from minattn.op import label
from minattn.recurrent import unroll


class GradientNorms(NamedTuple):
    """Euclidean norms over the features; None where a model has no such axis.

    steps (B, T): at the state after each step (recurrent_model), at the embedded token (language_model), or at the
    embedded token that the writer is given (seq2seq, transformer). source (B, S): at the embedded token that the reader
    is given. Of a transformer the layers and heads are those of its writer, the decoder, looking at itself.
    layers (L, B, T): at the states of each layer, or at what enters each layer; layers[0] is steps. heads (L, H): over
    all that belongs to one head alone, its query and its output projection, for the batch as a whole.
    """

    steps: Any
    source: Any = None
    layers: Any = None
    heads: Any = None


def gradient_norms(op, params, inputs, targets, *, ignore_index=None, **options):
    """The gradient of the mean cross-entropy at the inside of a model -> GradientNorms.

    Parameters
    ----------
    op : recurrent_model, seq2seq, transformer, language_model, or one of them after `bind`
        The cell of a recurrent_model may be rnn, lstm, gru, or `layers` of one of these.
    params, inputs, options
        What op.forward takes; inputs is a tuple.
    targets : (B, T) integers
        The right token at each step; those equal to ignore_index do not count.

    Raises
    ------
    TypeError
        The op, or the cell inside, does not tell what goes back through it.
    ValueError
        inputs or targets do not fit, as in op.forward and `cross_entropy`.
    """
    if not hasattr(op, "flow"):
        raise TypeError(f"{label(op)} has no flow: choose recurrent_model, seq2seq, transformer or language_model")
    out, cache = op.forward(params, *inputs, **options)
    recurrent = isinstance(out, tuple)  # logits and the last state
    _, *kept = cross_entropy(out[0] if recurrent else out, targets, ignore_index)
    dlogits = cross_entropy_backward(Loss(1.0), *kept)
    flow = op.flow((dlogits, None) if recurrent else dlogits, cache)
    if isinstance(flow, seq2seq.Flow):
        return GradientNorms(norm(flow.dtarget), norm(flow.dsource))
    if isinstance(flow, language_model.Flow):
        return _of_layers(flow.dlayers, flow.dparams["blocks"], None)
    if isinstance(flow, transformer.Flow):
        return _of_layers(flow.ddecoder, flow.dparams["decoder"], norm(flow.dencoder["0"]))
    flows = (flow,) if hasattr(flow, "_fields") else flow  # `layers` give a tuple, one flow each
    if not all(isinstance(each, unroll.Flow) for each in flows):
        raise TypeError(f"the cell of {label(op)} reads in both directions: choose rnn, lstm, gru, or layers of these")
    layers = np.stack([norm(*each.reach) for each in flows])
    return GradientNorms(layers[0], None, layers)


def _of_layers(dlayers, dblocks, source):
    layers = np.stack([norm(dx) for dx in dlayers.values()])
    heads = np.stack([_heads(layer["look"]) for layer in dblocks.values()])
    return GradientNorms(layers[0], source, layers, heads)


def norm(*parts):
    """Parts (..., *) of one vector -> its Euclidean norm (...)."""
    return np.sqrt(sum((part * part).sum(axis=-1) for part in parts))


def _heads(dlook):
    """Gradients of a `multihead` -> (H,)."""
    dquery = np.swapaxes(dlook["W_query"], 0, 1)  # (H, M, D)
    own = [dquery.reshape(len(dquery), -1), dlook["W_out"].reshape(len(dquery), -1)]
    return norm(*own, *([dlook["b_query"]] if "b_query" in dlook else []))
