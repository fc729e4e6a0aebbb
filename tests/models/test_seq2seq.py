"""Decoding: greedy is the likeliest next token, beam never does worse, and both agree with teacher forcing."""

import itertools

import numpy as np
import pytest
from device import DeviceArray

from minattn import tree
from minattn.attention import VARIANTS
from minattn.functions import log_softmax
from minattn.models import luong, seq2seq
from minattn.models.decoding import beam
from minattn.op import bind
from minattn.recurrent import gru, rnn

START, END, V = 0, 1, 4
MODELS = {name: bind(seq2seq, attention=mechanism) for name, mechanism in {"none": None, **VARIANTS}.items()}
MODELS["rnn"] = bind(seq2seq, attention=None, cell=rnn)
MODELS["gru"] = bind(seq2seq, attention=None, cell=gru)
MODELS |= {f"luong {name}": bind(luong, attention=mechanism) for name, mechanism in VARIANTS.items()}
MODELS["luong, not fed"] = bind(luong, attention=VARIANTS["bilinear"], input_feeding=False)
MARKS = {"start": START, "end": END}


def setting(model, seed=0, scale=2.0):
    rng = np.random.default_rng(seed)
    params = model.init(rng, source_vocabulary=6, target_vocabulary=V, I=3, N=5)
    params = tree.map(lambda p: scale * p, params)  # sharper than at the start: no near-ties
    return params, rng.integers(6, size=(3, 7)), np.array([7, 3, 1])


def score(model, params, source, lengths, tokens):
    """log probability of tokens (B, T) by teacher forcing, up to and with the first END."""
    before = np.concatenate([np.full_like(tokens[:, :1], START), tokens[:, :-1]], axis=1)
    logits, _ = model.forward(params, source, before, source_lengths=lengths)
    each = np.take_along_axis(log_softmax(logits), tokens[..., None], axis=-1)[..., 0]
    live = np.cumsum(before[:, 1:] == END, axis=1) == 0
    return each[:, 0] + (each[:, 1:] * live).sum(axis=1)


@pytest.mark.parametrize("name", MODELS)
def test_greedy_is_teacher_forcing_on_its_own_words(name):
    model = MODELS[name]
    params, source, lengths = setting(model)
    decoded = model.greedy(params, source, source_lengths=lengths, steps=8, **MARKS)
    assert np.allclose(score(model, params, source, lengths, decoded.tokens), decoded.log_probability, atol=1e-12)
    before = np.concatenate([np.zeros((3, 1), dtype=int), decoded.tokens[:, :-1]], axis=1)
    logits, cache = model.forward(params, source, before, source_lengths=lengths)
    for row, tokens in enumerate(decoded.tokens):
        live = slice(0, (list(tokens) + [END]).index(END) + 1)
        assert (logits[row].argmax(axis=-1) == tokens)[live].all()
        assert np.allclose(cache.weights[row, live], decoded.weights[row, live], atol=1e-12)


def test_a_wide_beam_finds_the_best_of_all():
    model = MODELS["additive"]
    params, source, lengths = setting(model, scale=1.0)
    source, lengths = source[:1], lengths[:1]
    every = [
        [*words, END] + [END] * (3 - len(words))
        for count in range(4)
        for words in itertools.product((0, 2, 3), repeat=count)
    ]
    every = np.array([row[:3] for row in every])
    scores = score(model, params, np.repeat(source, len(every), 0), np.repeat(lengths, len(every)), every)
    best = every[scores.argmax()]
    decoded = model.beam(params, source, source_lengths=lengths, steps=3, width=64, length_penalty=0.0, **MARKS)
    assert np.allclose(decoded.log_probability, scores.max(), atol=1e-12)
    assert decoded.tokens[0].tolist() == best[: decoded.tokens.shape[1]].tolist()


@pytest.mark.parametrize("seed", range(5))
def test_beam_is_no_worse_than_greedy(seed):
    model = MODELS["dot"]
    params, source, lengths = setting(model, seed)
    options = {"source_lengths": lengths, "steps": 6, **MARKS}
    greedy = model.greedy(params, source, **options)
    beam = model.beam(params, source, width=24, length_penalty=0.0, **options)
    assert (beam.log_probability >= greedy.log_probability - 1e-12).all()


def test_of_equally_likely_words_the_first_is_kept():
    """300 words in three degrees of likelihood, one step: two beginnings of the highest, in their order."""
    logits = np.random.default_rng(1).integers(3, size=(2, 300)).astype(float)

    def write(tokens, t, state, fixed):
        return np.repeat(logits, 2, axis=0), state, np.ones((4, 1, 1))

    words, *_ = beam(write, {}, {}, np.zeros((2, 1)), start=0, end=300, steps=1, width=2)
    assert (words[:, 0] == logits.argmax(axis=-1)).all()


def test_a_batch_decodes_as_its_sequences_alone():
    model = MODELS["bilinear"]
    params, source, lengths = setting(model)
    together = model.beam(params, source, source_lengths=lengths, steps=6, width=3, **MARKS)
    for row, length in enumerate(lengths):
        alone = model.beam(params, source[row : row + 1, :length], steps=6, width=3, **MARKS)
        T = alone.tokens.shape[1]
        assert (together.tokens[row, :T] == alone.tokens[0]).all() and (together.tokens[row, T:] == END).all()
        assert np.allclose(together.log_probability[row], alone.log_probability[0], atol=1e-12)
        assert np.allclose(together.weights[row, :T, :length], alone.weights[0], atol=1e-12)
        assert not together.weights[row, :T, length:].any()


def test_the_fixed_vector_is_a_memory_with_one_entry():
    model = MODELS["none"]
    params, source, lengths = setting(model)
    _, cache = model.forward(params, source, source[:, :3] % V, source_lengths=lengths)
    assert (cache.weights == np.ones((3, 3, 1))).all()


@pytest.mark.parametrize("name", ["additive", "luong additive"])
def test_decoding_on_the_device(name):
    model = MODELS[name]
    params, source, lengths = setting(model)
    here = model.beam(params, source, source_lengths=lengths, steps=5, width=3, **MARKS)
    there = model.beam(
        tree.map(DeviceArray, params), DeviceArray(source), source_lengths=lengths, steps=5, width=3, **MARKS
    )
    for left, right in zip(here, there, strict=True):
        assert np.allclose(left, right.get(), atol=1e-12)
