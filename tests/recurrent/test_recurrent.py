"""Time: padding, direction, and the gradient that reaches every step."""

import numpy as np
import pytest

from minattn import tree
from minattn.recurrent import CELLS, bidirectional, lstm, rnn

RNG = np.random.default_rng(0)
B, T, I, N = 3, 6, 2, 4
LENGTHS = np.array([6, 3, 0])


def setting(cell):
    params = tree.map(lambda p: p + 0.1 * RNG.normal(size=p.shape), cell.init(RNG, I=I, N=N))
    return params, RNG.normal(size=(B, T, I)), cell.State(*(RNG.normal(size=(B, N)) for _ in cell.State._fields))


@pytest.mark.parametrize("cell", [rnn, lstm])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_padded_sequence_is_the_short_one(cell, reverse):
    params, inputs, state = setting(cell)
    (outputs, last), _ = cell.forward(params, inputs, state, lengths=LENGTHS, reverse=reverse)
    for b, length in enumerate(LENGTHS):
        assert not outputs[b, length:].any()
        if length:
            short = inputs[b : b + 1, :length], cell.State(*(part[b : b + 1] for part in state))
            (alone, last_alone), _ = cell.forward(params, *short, reverse=reverse)
            assert np.allclose(outputs[b, :length], alone[0], atol=1e-14)
            assert np.allclose(last.hidden[b], last_alone.hidden[0], atol=1e-14)
        else:
            assert (last.hidden[b] == state.hidden[b]).all()


@pytest.mark.parametrize("cell", [rnn, lstm])
def test_reverse_reads_from_the_end(cell):
    params, inputs, state = setting(cell)
    (outputs, last), _ = cell.forward(params, inputs, state, reverse=True)
    (flipped, last_flipped), _ = cell.forward(params, inputs[:, ::-1], state)
    assert np.allclose(outputs, flipped[:, ::-1], atol=1e-15) and np.allclose(last.hidden, last_flipped.hidden)


def test_bidirectional_sees_both_sides():
    params = bidirectional.init(RNG, I=I, N=N)
    inputs = RNG.normal(size=(B, T, I))
    (outputs, last), _ = bidirectional.forward(params, inputs)
    (ahead, _), _ = lstm.forward(params["forward"], inputs)
    (back, last_back), _ = lstm.forward(params["backward"], inputs[:, ::-1])
    assert np.allclose(outputs, np.concatenate([ahead, back[:, ::-1]], axis=-1), atol=1e-15)
    assert np.allclose(last.backward.cell, last_back.cell)


@pytest.mark.parametrize("cell", [rnn, lstm])
def test_reach_is_the_gradient_at_the_state_after_each_step(cell):
    params, inputs, state = setting(cell)
    (outputs, last), cache = cell.forward(params, inputs, state)
    dout = (RNG.normal(size=outputs.shape), tree.map(lambda x: RNG.normal(size=x.shape), last))
    flow = cell.flow(dout, cache)
    for t in range(T - 1):
        (_, there), _ = cell.forward(params, inputs[:, : t + 1], state)
        _, rest = cell.forward(params, inputs[:, t + 1 :], there)
        (_, dthere), _ = cell.backward((dout[0][:, t + 1 :], dout[1]), rest)
        assert np.allclose(flow.reach.hidden[:, t], dthere.hidden + dout[0][:, t], atol=1e-13)
    (dinputs, dstate), dparams = cell.backward(dout, cache)
    assert np.allclose(dinputs, flow.dprojected @ params["W_input"].mT, atol=1e-13)
    assert np.allclose(dparams["b"], flow.dprojected.sum(axis=(0, 1)), atol=1e-13)
    assert np.allclose(dstate.hidden, flow.dstate.hidden, atol=0)


def test_the_forget_gate_starts_open():
    assert (lstm.init(RNG, I=I, N=N)["b"] == [0] * N + [1] * N + [0] * 2 * N).all()


def test_padding_receives_no_gradient():
    for cell in CELLS.values():
        params, inputs = cell.init(RNG, I=I, N=N), RNG.normal(size=(B, T, I))
        out, cache = cell.forward(params, inputs, lengths=LENGTHS)
        (dinputs, _), _ = cell.backward(tree.map(np.ones_like, out), cache)
        for b, length in enumerate(LENGTHS):
            assert not dinputs[b, length:].any() and (length == 0 or dinputs[b, :length].any())
