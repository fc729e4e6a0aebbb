"""Sequence to sequence as Luong has it: the writer takes its step first, then looks with the state it has now.

    hidden[t] = cell([target[t], shown[t - 1]], hidden[t - 1])            without input feeding: cell(target[t], ...)
    context[t] = attention(hidden[t], memory)
    shown[t]  = tanh([hidden[t], context[t]] W_shown),                    shown[-1] = 0
    logits[t] = shown[t] W_out + b_out

Luong, Pham & Manning 2015, arXiv:1508.04025, equations 5 and 6, and section 3.3 for input feeding, by which the writer
knows where it has looked. Without it no state depends on a context, so all steps ask the memory at once. The reader is
that of `seq2seq`, whose writer looks with the state before (Bahdanau 2015).
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minattn import masks, tree, validate
from minattn.attention import dot
from minattn.functions import embedding, embedding_backward, linear, linear_backward, tanh, tanh_backward
from minattn.models import decoding, seq2seq
from minattn.op import Case, halves
from minattn.recurrent import lstm

PAPER = "Luong 2015, eq. 5-6 and 3.3"


class Cache(NamedTuple):
    settings: dict
    encoder: Any
    target: Any
    given: Any
    steps: Any
    looked: list
    both: Any
    shown: Any

    @property
    def weights(self):
        """(B, T, S): where each output looked."""
        return np.concatenate([looked.weights for looked in self.looked], axis=1)


def init(
    rng, *, source_vocabulary, target_vocabulary, I, N, A=None, attention=None, cell=lstm, input_feeding=True
):
    """As `seq2seq.init`; input_feeding=False leaves out the rows of W_input that read what was shown last."""
    sizes = {"source_vocabulary": source_vocabulary, "target_vocabulary": target_vocabulary, "I": I, "N": N, "A": A}
    params = seq2seq.init(rng, **sizes, attention=attention, cell=cell)
    params["decoder"] = cell.init(rng, I=I + N if input_feeding else I, N=N)
    params["W_shown"] = rng.normal(size=(2 * N, N)) / math.sqrt(2 * N)
    params["W_out"] = rng.normal(size=(N, target_vocabulary)) / math.sqrt(N)
    return params


def forward(params, source, target, *, source_lengths=None, attention=None, cell=lstm):
    """source (B, S) token ids, target (B, T) the token before each output -> logits (B, T, V).

    Teacher forcing, padding and errors as in `seq2seq`; whether the writer is fed is read off W_input.
    """
    validate.sequences(source=source, target=target)
    settings = {"attention": attention, "cell": cell}
    encoded, encoder = seq2seq.encode(params, source, source_lengths=source_lengths, **settings)
    embedded = embedding(params["embed_target"], target)                                    # (B, T, I)
    T, I = embedded.shape[1:]
    if not _fed(params, I):
        (hidden, _), steps = cell.forward(params["decoder"], embedded, encoded.start)       # (B, T, N)
        shown, looked, both = _look(params, hidden, encoded, 0, attention)                  # (B, T, N)
        looked, given = [looked], embedded
    else:
        projected = _project(params, embedded)                                              # (B, T, *)
        state, steps, looked, both, shown = encoded.start, [], [], [], []
        last = np.zeros_like(state.hidden)                                                  # (B, N)
        fed = []
        for t in range(T):
            fed.append(last)
            total = projected[:, t] + last @ params["decoder"]["W_input"][I:]               # (B, *)
            state, stepped = cell.step(params["decoder"], total, state)                     # (B, N) each
            now, asked, pair = _look(params, state.hidden[:, None], encoded, t, attention)  # (B, 1, N)
            last = now[:, 0]                                                                # (B, N)
            steps.append(stepped)
            looked.append(asked)
            both.append(pair)
            shown.append(now)
        both, shown = np.concatenate(both, axis=1), np.concatenate(shown, axis=1)           # (B, T, 2N), (B, T, N)
        given = np.concatenate([embedded, np.stack(fed, axis=1)], axis=-1)                  # (B, T, I + N)
    logits = linear(shown, params["W_out"], params["b_out"])                                # (B, T, V)
    return logits, Cache(settings, encoder, target, given, steps, looked, both, shown)


def backward(dlogits, cache):
    """-> (None, None), dparams: token ids have no gradient."""
    settings, encoder, target, given, steps, looked, both, shown = cache
    attention, cell = settings["attention"], settings["cell"]
    params = encoder.params
    I = params["embed_target"].shape[-1]
    W_input, zeros = params["decoder"]["W_input"], np.zeros_like(shown[:, 0])
    # logits = linear(shown, W_out, b_out)
    dshown, dW_out, db_out = linear_backward(dlogits, shown, params["W_out"], params["b_out"])
    if not _fed(params, I):
        # shown = look(hidden, memory), all steps at once
        dhidden, dmemory, dattention, dW_shown = _look_backward(dshown, shown, both, looked[0], params, attention)
        # hidden = cell(embedded, start)
        (dgiven, dstate), ddecoder = cell.backward((dhidden, None), steps)
    else:
        dmemory, dattention, dW_shown, dlast = None, None, 0, zeros
        dprojected, dstate = [None] * len(steps), seq2seq.state_of(cell, zeros)
        for t in reversed(range(len(steps))):
            here = slice(t, t + 1)
            # last = shown[t] = look(hidden, memory)
            dnow = dshown[:, here] + dlast[:, None]
            dhidden, dlooked, dattend, dW = _look_backward(
                dnow, shown[:, here], both[:, here], looked[t], params, attention
            )
            dstate = dstate._replace(hidden=dstate.hidden + dhidden[:, 0])
            dmemory, dattention, dW_shown = tree.add(dmemory, dlooked), tree.add(dattention, dattend), dW_shown + dW
            # state = step(projected[t] + last W_input, state)
            dprojected[t], dstate = cell.step_backward(dstate, steps[t])
            dlast = dprojected[t] @ W_input[I:].mT
        # projected = linear(given, W_input, b), and the hidden products of all steps
        dprojected = np.stack(dprojected, axis=1)
        dgiven, dW_input, db = linear_backward(dprojected, given, W_input, params["decoder"]["b"])
        ddecoder = {"W_input": dW_input, "b": db} | cell.weights_backward(dprojected, steps)
    # start, memory = encode(source)
    dsource, dparams = seq2seq.encode_backward(dstate, dmemory, encoder, **settings)
    dparams |= {"decoder": ddecoder, "W_shown": dW_shown, "W_out": dW_out, "b_out": db_out}
    if attention is not None:
        dparams["attention"] = tree.join(dparams["attention"], dattention)
    # embedded = embedding(embed_target, target), and embedding(embed_source, source) in encode
    dparams["embed_target"] = embedding_backward(dgiven[..., :I], params["embed_target"], target)
    dparams["embed_source"] = embedding_backward(dsource, params["embed_source"], encoder.source)
    return (None, None), dparams


def greedy(params, source, **settings):
    """source (B, S) -> Decoded: at every step the likeliest token, until `end` or the number of steps."""
    return beam(params, source, width=1, **settings)


def beam(params, source, *, source_lengths=None, attention=None, cell=lstm, **search):
    """source (B, S) -> Decoded, the best of `width` beginnings; search: the options of `decoding.beam`."""
    validate.sequences(source=source)
    settings = {"attention": attention, "cell": cell}
    (start, memory, lengths), _ = seq2seq.encode(params, source, source_lengths=source_lengths, **settings)
    W_input = params["decoder"]["W_input"]

    def write(tokens, t, carried, fixed):
        (state, last), encoded = carried, seq2seq.Encoded(None, *fixed)
        embedded = embedding(params["embed_target"], tokens)                            # (B K, 1, I)
        projected, I = _project(params, embedded)[:, 0], embedded.shape[-1]             # (B K, *)
        projected = projected + last @ W_input[I:] if _fed(params, I) else projected    # (B K, *)
        state, _ = cell.step(params["decoder"], projected, state)                       # (B K, N) each
        shown, looked, _ = _look(params, state.hidden[:, None], encoded, t, attention)  # (B K, 1, N)
        return linear(shown[:, 0], params["W_out"], params["b_out"]), (state, shown[:, 0]), looked.weights

    return decoding.beam(write, (start, np.zeros_like(start.hidden)), (memory, lengths), source, **search)


def _fed(params, I):
    """Does the writer read what was shown last?"""
    return params["decoder"]["W_input"].shape[0] > I


def _project(params, embedded):
    """The part of the writer's input that is known beforehand, for all steps at once."""
    decoder = params["decoder"]
    return linear(embedded, decoder["W_input"][: embedded.shape[-1]], decoder["b"])  # (B, T, *)  as in `seq2seq`


def _look(params, hidden, encoded, t, attention):
    """hidden (B, T, N) -> shown (B, T, N), the cache of attend, and [hidden, context] (B, T, 2N)."""
    place = {"offset": t} if getattr(attention, "OFFSET", False) else {}
    mask = None if encoded.lengths is None else masks.padding(encoded.lengths)
    look = halves(attention or dot).attend
    context, looked = look(params.get("attention", {}), hidden, encoded.memory, mask=mask, **place)  # (B, T, N)
    both = np.concatenate([hidden, context], axis=-1)                                                # (B, T, 2N)
    return tanh(linear(both, params["W_shown"])), looked, both


def _look_backward(dshown, shown, both, looked, params, attention):
    """-> dhidden, dmemory, dattention, dW_shown."""
    # shown = tanh(linear(both, W_shown))
    dboth, dW_shown, _ = linear_backward(tanh_backward(dshown, shown), both, params["W_shown"])
    # both = [hidden, context]
    dhidden, dcontext = np.split(dboth, 2, axis=-1)
    # context = attend(hidden, memory)
    (dquery, dmemory, _), dattention = halves(attention or dot).attend_backward(dcontext, looked)
    return dhidden + dquery, dmemory, dattention, dW_shown


def cases(rng):
    """With and without input feeding, padded and not."""
    sizes = {"source_vocabulary": 7, "target_vocabulary": 6, "I": 3, "N": 4, "A": 5}
    source, target = rng.integers(7, size=(2, 5)), rng.integers(6, size=(2, 3))
    lengths = {"source_lengths": np.array([5, 3])}
    yield Case("fed", sizes, (source, target), lengths)
    yield Case("not fed", sizes | {"input_feeding": False}, (source, target), lengths)
