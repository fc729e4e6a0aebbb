"""Sequence to sequence: one LSTM reads from both sides, another writes and looks back at every step.

    annotations   = bidirectional(source)                              what was read, with its surroundings
    summary       = tanh([last forward, last backward] W_summary + b)  all of it in one vector
    context[t]    = attention(hidden[t - 1], annotations W_memory)     what matters for the next token
    hidden[t]     = cell([target[t], context[t]], hidden[t - 1]),      hidden[-1] = summary
    logits[t]     = [hidden[t], context[t]] W_out + b_out

Bahdanau, Cho & Bengio 2015, arXiv:1409.0473. attention=None is the encoder-decoder that it improves on (Sutskever,
Vinyals & Le 2014, arXiv:1409.3215; Cho et al. 2014, arXiv:1406.1078, who show the vector at every step as here): the
memory then has a single entry, the summary, so every query looks at that. Any mechanism with two halves fits in.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minattn import masks, tree, validate
from minattn.attention import dot
from minattn.functions import embedding, embedding_backward, linear, linear_backward, tanh, tanh_backward
from minattn.models import decoding
from minattn.op import Case, halves, initialise, label
from minattn.recurrent import bidirectional, lstm

PAPER = "Bahdanau 2015; attention=None: Sutskever 2014, Cho 2014"


class Encoded(NamedTuple):
    """What the decoder is given: its first state, the memory it may ask, and how many entries of it are real."""

    start: Any
    memory: Any
    lengths: Any


class EncoderCache(NamedTuple):
    params: Any
    source: Any
    encoder: Any
    annotations: Any
    ends: Any
    summary: Any
    prepared: Any


class Cache(NamedTuple):
    settings: dict
    encoder: EncoderCache
    target: Any
    embedded: Any
    contexts: Any
    shown: Any
    attended: list
    steps: list

    @property
    def weights(self):
        """(B, T, S): where each output looked; without attention (B, T, 1), all of it at the one summary."""
        return np.concatenate([step.weights for step in self.attended], axis=1)


class Flow(NamedTuple):
    """Gradients at the embedded source (B, S, I) and target (B, T, I), and at every other parameter."""

    dsource: Any
    dtarget: Any
    dparams: dict


def init(rng, *, source_vocabulary, target_vocabulary, I, N, A=None, attention=None, cell=lstm):
    """Embeddings of width I; reader (each side), writer and memory of width N; A: width of an additive score (N)."""
    sizes = {"D": N, "E": N, "M": N, "N": N, "A": A or N, "H": 1}
    params = {
        "embed_source": rng.normal(size=(source_vocabulary, I)),
        "embed_target": rng.normal(size=(target_vocabulary, I)),
        "encoder": bidirectional.init(rng, I=I, N=N, cell=cell),
        "W_summary": rng.normal(size=(2 * N, N)) / math.sqrt(2 * N),
        "b_summary": np.zeros(N),
        "decoder": cell.init(rng, I=I + N, N=N),
        "W_out": rng.normal(size=(2 * N, target_vocabulary)) / math.sqrt(2 * N),
        "b_out": np.zeros(target_vocabulary),
    }
    if attention is not None:
        params["W_memory"] = rng.normal(size=(2 * N, N)) / math.sqrt(2 * N)
        params["attention"] = initialise(attention, rng, sizes)
    return params


def forward(params, source, target, *, source_lengths=None, attention=None, cell=lstm):
    """source (B, S) token ids, target (B, T) the token before each output -> logits (B, T, V).

    Teacher forcing: target is the right answer, one step late. source_lengths (B,) tells what is padding. Raises
    TypeError or ValueError for ids, lengths and shapes that do not fit.
    """
    validate.sequences(source=source, target=target)
    settings = {"attention": attention, "cell": cell}
    (start, memory, lengths), encoder = encode(params, source, source_lengths=source_lengths, **settings)
    embedded = embedding(params["embed_target"], target)                   # (B, T, I)
    projected = _project(params, embedded)                                 # (B, T, *)
    state, contexts, shown, attended, steps = start, [], [], [], []
    for t in range(target.shape[1]):
        state, context, looked, stepped = _step(params, projected[:, t], state, memory, lengths, t, **settings)
        contexts.append(context)
        shown.append(state.hidden)
        attended.append(looked)
        steps.append(stepped)
    contexts, shown = np.stack(contexts, axis=1), np.stack(shown, axis=1)  # (B, T, N) each
    logits = _predict(params, shown, contexts)                             # (B, T, V)
    return logits, Cache(settings, encoder, target, embedded, contexts, shown, attended, steps)


def backward(dlogits, cache):
    """-> (None, None), dparams: token ids have no gradient."""
    dsource, dtarget, dparams = flow(dlogits, cache)
    params = cache.encoder.params
    # embedded = embedding(embed_target, target), and embedding(embed_source, source) in encode
    dparams["embed_target"] = embedding_backward(dtarget, params["embed_target"], cache.target)
    dparams["embed_source"] = embedding_backward(dsource, params["embed_source"], cache.encoder.source)
    return (None, None), dparams


def flow(dlogits, cache):
    """Back through the writer, the memory and the reader -> Flow: all of `backward` but the two embeddings."""
    settings, encoder, _, embedded, contexts, shown, attended, steps = cache
    attention, cell = _halves(settings["attention"]), settings["cell"]
    params, I = encoder.params, embedded.shape[-1]
    W_input = params["decoder"]["W_input"]
    # logits = linear([shown, contexts], W_out, b_out)
    both = np.concatenate([shown, contexts], axis=-1)
    dboth, dW_out, db_out = linear_backward(dlogits, both, params["W_out"], params["b_out"])
    dshown, dcontexts = np.split(dboth, 2, axis=-1)
    # at every t: context = attend(state.hidden, memory), state = step(projected + context W_context, state)
    dstate = state_of(cell, np.zeros_like(dshown[:, 0]))
    dmemory, dattention, dprojected = None, None, [None] * len(steps)
    for t in reversed(range(len(steps))):
        dstate = dstate._replace(hidden=dstate.hidden + dshown[:, t])
        dprojected[t], dstate = cell.step_backward(dstate, steps[t])
        dcontext = dcontexts[:, t] + dprojected[t] @ W_input[I:].mT
        (dquery, dlooked, _), dattend = attention.attend_backward(dcontext[:, None], attended[t])
        dstate = dstate._replace(hidden=dstate.hidden + dquery[:, 0])
        dmemory, dattention = tree.add(dmemory, dlooked), tree.add(dattention, dattend)
    # W_input and W_hidden served every step: one product each
    dprojected = np.stack(dprojected, axis=1)
    given = np.concatenate([embedded, contexts], axis=-1)
    dgiven, dW_input, db = linear_backward(dprojected, given, W_input, params["decoder"]["b"])
    dweights = cell.weights_backward(dprojected, steps)
    # start, memory = encode(source)
    dsource, dparams = encode_backward(dstate, dmemory, encoder, **settings)
    dparams["decoder"] = {"W_input": dW_input, **dweights, "b": db}
    dparams |= {"W_out": dW_out, "b_out": db_out}
    if settings["attention"] is not None:
        dparams["attention"] = tree.join(dparams["attention"], dattention)
    return Flow(dsource, dgiven[..., :I], dparams)


def encode(params, source, *, source_lengths=None, attention=None, cell=lstm):
    """source (B, S) -> Encoded, cache."""
    if (attention is None) != ("attention" not in params):
        having = "with" if "attention" in params else "without"
        asked = None if attention is None else label(attention)
        raise ValueError(f"these parameters were made {having} attention, but attention={asked} was asked for")
    embedded = embedding(params["embed_source"], source)                              # (B, S, I)
    read, encoder = bidirectional.forward(params["encoder"], embedded, lengths=source_lengths, cell=cell)
    annotations, last = read                                                          # (B, S, 2N)
    ends = np.concatenate([last.forward.hidden, last.backward.hidden], axis=-1)       # (B, 2N)
    summary = tanh(linear(ends, params["W_summary"], params["b_summary"]))            # (B, N)
    entries, seen, lengths = summary[:, None], None, None                             # (B, 1, N)
    if attention is not None:
        entries = linear(annotations, params["W_memory"])                             # (B, S, N)
        if source_lengths is not None:
            B, S = source.shape
            lengths = np.broadcast_to(validate.lengths(source_lengths, (B,), S, "S"), (B,))
            _, seen = masks.visible(masks.padding(lengths), (B, 1, S), like=entries)  # (B, S)
    memory, prepared = _halves(attention).prepare(params.get("attention", {}), entries, entries, seen=seen)
    cache = EncoderCache(params, source, encoder, annotations, ends, summary, prepared)
    return Encoded(state_of(cell, summary), memory, lengths), cache


def encode_backward(dstart, dmemory, cache, *, attention=None, cell=lstm):
    """-> dsource (B, S, I) at the embedded source, dparams of the reader."""
    params, _, encoder, annotations, ends, summary, prepared = cache
    dparams, dannotations = {}, None
    # memory = prepare(entries, entries): as keys and as values
    (dkey, dvalue), dprepare = _halves(attention).prepare_backward(dmemory, prepared)
    dentries, dsummary = dkey + dvalue, dstart.hidden
    # entries = summary alone, or linear(annotations, W_memory)
    if attention is None:
        dsummary = dsummary + dentries[:, 0]
    else:
        dannotations, dparams["W_memory"], _ = linear_backward(dentries, annotations, params["W_memory"])
        dparams["attention"] = dprepare
    # summary = tanh(linear(ends, W_summary, b_summary))
    dsum = tanh_backward(dsummary, summary)
    dends, dW_summary, db_summary = linear_backward(dsum, ends, params["W_summary"], params["b_summary"])
    dparams |= {"W_summary": dW_summary, "b_summary": db_summary}
    # ends = [last.forward.hidden, last.backward.hidden]
    dlast = bidirectional.Directions(*(state_of(cell, d) for d in np.split(dends, 2, axis=-1)))
    # annotations, last = bidirectional(embedded)
    (dsource, _), dparams["encoder"] = bidirectional.backward((dannotations, dlast), encoder)
    return dsource, dparams


def greedy(params, source, **settings):
    """source (B, S) -> Decoded: at every step the likeliest token, until `end` or the number of steps."""
    return beam(params, source, width=1, **settings)


def beam(params, source, *, source_lengths=None, attention=None, cell=lstm, **search):
    """source (B, S) -> Decoded, the best of `width` beginnings; search: the options of `decoding.beam`."""
    validate.sequences(source=source)
    settings = {"attention": attention, "cell": cell}
    (state, memory, lengths), _ = encode(params, source, source_lengths=source_lengths, **settings)

    def write(tokens, t, state, fixed):
        projected = _project(params, embedding(params["embed_target"], tokens))[:, 0]       # (B K, *)
        state, context, looked, _ = _step(params, projected, state, *fixed, t, **settings)  # (B K, N)
        return _predict(params, state.hidden, context), state, looked.weights

    return decoding.beam(write, state, (memory, lengths), source, **search)


def cases(rng):
    """Two sequences of different length, with each kind of memory and of cell."""
    sizes = {"source_vocabulary": 7, "target_vocabulary": 6, "I": 3, "N": 4, "A": 5}
    source, target = rng.integers(7, size=(2, 5)), rng.integers(6, size=(2, 3))
    yield Case("batch", sizes, (source, target))
    yield Case("padding", sizes, (source, target), {"source_lengths": np.array([5, 3])})


def _halves(attention):
    return halves(dot if attention is None else attention)


def state_of(cell, hidden):
    """A state of the cell that shows `hidden`, the rest 0."""
    return cell.State(hidden, *(np.zeros_like(hidden) for _ in cell.State._fields[1:]))


def _project(params, embedded):
    """The part of the writer's input that is known beforehand, for all steps at once."""
    decoder, I = params["decoder"], embedded.shape[-1]
    return linear(embedded, decoder["W_input"][:I], decoder["b"])  # (B, T, *)  4N for an LSTM, 3N for a GRU


def _step(params, projected, state, memory, lengths, t, *, attention, cell):
    """Look with the state there is, then take the step: -> state, context (B, N), and the two caches."""
    place = {"offset": t} if getattr(attention, "OFFSET", False) else {}
    mask = None if lengths is None else masks.padding(lengths)
    query = state.hidden[:, None]                                                          # (B, 1, N)
    context, looked = _halves(attention).attend(params.get("attention", {}), query, memory, mask=mask, **place)
    context = context[:, 0]                                                                # (B, N)
    W_context = params["decoder"]["W_input"][-context.shape[-1] :]
    state, stepped = cell.step(params["decoder"], projected + context @ W_context, state)  # (B, N) each
    return state, context, looked, stepped


def _predict(params, shown, contexts):
    """(..., N) twice -> logits (..., V)."""
    return linear(np.concatenate([shown, contexts], axis=-1), params["W_out"], params["b_out"])
