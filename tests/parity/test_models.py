"""Models with a recurrent cell, rebuilt from nn.LSTM, nn.GRU, nn.RNN and their cells: logits, loss, every gradient.

Random gradients and those of a loss both hold to the same 1e-10 as a single function does.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch_twins
from torch_twins import F, agree, torch

from minattn import tree
from minattn.attention import VARIANTS
from minattn.functions import Loss, cross_entropy, cross_entropy_backward
from minattn.models import luong, recurrent_model, seq2seq
from minattn.op import bind
from minattn.recurrent import gru, lstm, rnn

SIZES = {"source_vocabulary": 8, "target_vocabulary": 7, "I": 4, "N": 6, "A": 9}
B, S, T, PAD = 3, 5, 4, 0
LENGTHS = {"whole": None, "padded": np.array([3, 5, 1])}

WRITERS = {
    "seq2seq": (seq2seq, torch_twins.seq2seq),
    "luong": (luong, torch_twins.luong),
    "luong, not fed": (bind(luong, input_feeding=False), torch_twins.luong),
}

WRITER = pytest.mark.parametrize("writer", WRITERS)
ATTENTION = pytest.mark.parametrize("attention", [None, *VARIANTS])
CELL = pytest.mark.parametrize("cell", [lstm, gru, rnn], ids=["lstm", "gru", "rnn"])
PADDED = pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
DTYPES = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def noisy(rng, params):
    """No bias is 0."""
    return tree.map(lambda p: p + 0.1 * rng.normal(size=p.shape), params)


def problem(rng, writer, attention, cell, lengths):
    """The op with its settings, its twin, noisy parameters, and inputs in which tokens repeat."""
    model, written = WRITERS[writer]
    op = bind(model, source_lengths=lengths, attention=attention and VARIANTS[attention], cell=cell)
    params = noisy(rng, op.init(rng, **SIZES))

    def twin(params, source, target):
        return written(params, source, target, source_lengths=lengths, attention=attention, cell=cell)

    source, target = rng.integers(SIZES["source_vocabulary"], size=(B, S)), rng.integers(1, 4, size=(B, T))
    return op, twin, params, (source, target)


def with_loss(op, twin, answers):
    """The model and the cross-entropy of its logits, on both sides, as one op."""

    def forward(params, source, target):
        logits, cache = op.forward(params, source, target)
        loss, *extras = cross_entropy(logits, answers, ignore_index=PAD)
        return loss, (cache, extras)

    def backward(dloss, caches):
        cache, extras = caches
        return op.backward(cross_entropy_backward(dloss, *extras), cache)

    def twin_loss(params, source, target):
        rows = twin(params, source, target).flatten(end_dim=1), torch.from_numpy(answers).flatten()
        mean, total = (F.cross_entropy(*rows, ignore_index=PAD, reduction=how) for how in ("mean", "sum"))
        return Loss(mean, total, (rows[1] != PAD).sum())

    return SimpleNamespace(forward=forward, backward=backward), twin_loss


@WRITER
@ATTENTION
@CELL
@PADDED
def test_logits(rng, writer, attention, cell, lengths):
    op, twin, params, inputs = problem(rng, writer, attention, cell, lengths)
    agree(op, twin, params, inputs, rng=rng)


@WRITER
@ATTENTION
@CELL
@PADDED
def test_loss(rng, writer, attention, cell, lengths):
    """As in training: the mean over all answers but padding."""
    op, twin, params, inputs = problem(rng, writer, attention, cell, lengths)
    answers = rng.integers(1, SIZES["target_vocabulary"], size=(B, T))
    answers[0, 2:] = PAD
    agree(*with_loss(op, twin, answers), params, inputs, rng=rng, dout=Loss(np.array(1.0)))


@WRITER
@ATTENTION
@CELL
def test_float32(rng, writer, attention, cell):
    op, twin, params, inputs = problem(rng, writer, attention, cell, LENGTHS["padded"])
    agree(op, twin, params, inputs, rng=rng, dtype=np.float32)


@DTYPES
@CELL
@PADDED
@pytest.mark.parametrize("given", [True, False], ids=["given state", "from zeros"])
def test_recurrent_model(rng, given, cell, lengths, dtype):
    """Logits and last state; gradients of the first state too, where it is given."""
    op = bind(recurrent_model, cell=cell)
    params = noisy(rng, op.init(rng, V=8, I=4, N=6))

    def twin(params, tokens, state=None):
        return torch_twins.recurrent_model(params, tokens, state, lengths=lengths, cell=cell)

    state = cell.State(*(rng.normal(size=(B, 6)) for _ in cell.State._fields))
    inputs = [rng.integers(5, size=(B, S))] + [state] * given
    agree(op, twin, params, inputs, options={"lengths": lengths}, rng=rng, dtype=dtype)
