"""Time: padding, direction, and the gradient that reaches every step."""

import numpy as np
import pytest

from minattn import threads, tree
from minattn.functions import sigmoid
from minattn.op import bind, initialise
from minattn.recurrent import CELLS, bidirectional, gru, layers, lstm, rnn, unroll

RNG = np.random.default_rng(0)
B, T, I, N = 3, 6, 2, 4
LENGTHS = np.array([6, 3, 0])
EACH = pytest.mark.parametrize("cell", [rnn, lstm, gru], ids=["rnn", "lstm", "gru"])


def setting(cell):
    params = tree.map(lambda p: p + 0.1 * RNG.normal(size=p.shape), cell.init(RNG, I=I, N=N))
    return params, RNG.normal(size=(B, T, I)), cell.State(*(RNG.normal(size=(B, N)) for _ in cell.State._fields))


@EACH
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


@EACH
def test_reverse_reads_from_the_end(cell):
    params, inputs, state = setting(cell)
    (outputs, last), _ = cell.forward(params, inputs, state, reverse=True)
    (flipped, last_flipped), _ = cell.forward(params, inputs[:, ::-1], state)
    assert np.allclose(outputs, flipped[:, ::-1], atol=1e-15) and np.allclose(last.hidden, last_flipped.hidden)


@EACH
def test_bidirectional_sees_both_sides(cell):
    op = bind(bidirectional, cell=cell)
    params = op.init(RNG, I=I, N=N)
    inputs = RNG.normal(size=(B, T, I))
    (outputs, last), _ = op.forward(params, inputs)
    (ahead, _), _ = cell.forward(params["forward"], inputs)
    (back, last_back), _ = cell.forward(params["backward"], inputs[:, ::-1])
    assert np.allclose(outputs, np.concatenate([ahead, back[:, ::-1]], axis=-1), atol=1e-15)
    assert all(np.allclose(*pair) for pair in zip(last.backward, last_back, strict=True))


@EACH
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


@pytest.mark.parametrize("number", [1, 2, 3, 8])
def test_the_lstm_over_a_sequence_is_its_step_after_step(number, monkeypatch):
    """`forward` lays the gates out in another way, and may share the batch among threads; slopes in any number."""
    monkeypatch.setattr(lstm, "WORTH", 0)
    monkeypatch.setattr(unroll, "TILE", number)
    params, inputs, start = setting(lstm)
    projected, state, steps, hidden = inputs @ params["W_input"] + params["b"], start, [], []
    for t in range(T):
        state, step = lstm.step(params, projected[:, t], state)
        steps.append(step)
        hidden.append(state.hidden)
    doutputs, dlast = RNG.normal(size=(B, T, N)), tree.map(lambda x: RNG.normal(size=x.shape), state)
    dstate, dprojected = dlast, [None] * T
    for t in reversed(range(T)):
        dprojected[t], dstate = lstm.step_backward(dstate._replace(hidden=dstate.hidden + doutputs[:, t]), steps[t])
    dprojected = np.stack(dprojected, axis=1)
    dparams = {
        "W_input": np.einsum("bti,btn->in", inputs, dprojected),
        **lstm.weights_backward(dprojected, steps),
        "b": dprojected.sum(axis=(0, 1)),
    }
    expected = (np.stack(hidden, axis=1), state), (dprojected @ params["W_input"].mT, dstate), dparams, dprojected
    with threads.using(number):
        out, cache = lstm.forward(params, inputs, start)
        (dinputs, dstart), dparams = lstm.backward((doutputs, dlast), cache)
        flow = lstm.flow((doutputs, dlast), cache)
    assert len(cache.parts) == min(number, B)
    found = tree.leaves((out, (dinputs, dstart), dparams, flow.dprojected))
    for (path, one), (_, other) in zip(found, tree.leaves(expected), strict=True):
        assert np.allclose(one, other, rtol=0, atol=1e-13), path


def test_the_forget_gate_starts_open():
    assert (lstm.init(RNG, I=I, N=N)["b"] == [0] * N + [1] * N + [0] * 2 * N).all()


@pytest.mark.parametrize("name", CELLS)
def test_padding_receives_no_gradient(name):
    cell = CELLS[name]
    params, inputs = initialise(cell, RNG, {"I": I, "N": N, "L": 2}), RNG.normal(size=(B, T, I))
    out, cache = cell.forward(params, inputs, lengths=LENGTHS)
    (dinputs, _), _ = cell.backward(tree.map(np.ones_like, out), cache)
    for b, length in enumerate(LENGTHS):
        assert not dinputs[b, length:].any() and (length == 0 or dinputs[b, :length].any())


def test_the_update_gate_keeps_and_the_reset_gate_forgets():
    """z = 1: the state stays. z = 0 and r = 0: of the hidden side, its bias included, nothing is left."""
    params, inputs, state = setting(gru)
    reset, update = slice(0, N), slice(N, 2 * N)
    params["b"][update] = 1000
    (_, last), _ = gru.forward(params, inputs, state)
    assert (last.hidden == state.hidden).all()
    params["b"][update] = params["b"][reset] = -1000
    (outputs, _), _ = gru.forward(params, inputs, state)
    alone = inputs @ params["W_input"][:, 2 * N :] + params["b"][2 * N :]
    assert np.allclose(outputs, np.tanh(alone), atol=1e-15)


def test_the_hidden_side_of_a_gru_has_gradients_of_its_own():
    """Where the reset gate is shut the candidate's hidden weights get nothing, its input weights all."""
    params, inputs, state = setting(gru)
    params["b"][:N] = -1000
    (outputs, _), cache = gru.forward(params, inputs, state)
    _, dparams = gru.backward((np.ones_like(outputs), None), cache)
    assert dparams["W_input"][:, 2 * N :].all() and dparams["b"][2 * N :].all()
    assert not dparams["W_hidden"][:, 2 * N :].any() and not dparams["b_hidden"][2 * N :].any()
    assert (dparams["b"][: 2 * N] == dparams["b_hidden"][: 2 * N]).all()


BOTH = bind(bidirectional, cell=gru)
STACKED = pytest.mark.parametrize("cell", [rnn, lstm, gru, BOTH], ids=["rnn", "lstm", "gru", "bidirectional gru"])


def stack(cell, I=I, L=3):
    op = bind(layers, cell=cell)
    params = tree.map(lambda p: p + 0.1 * RNG.normal(size=p.shape), op.init(RNG, I=I, N=N, L=L))
    inputs = RNG.normal(size=(B, T, I))
    (_, last), _ = op.forward(params, inputs)
    return op, params, inputs, tree.map(lambda part: RNG.normal(size=part.shape), last)


@STACKED
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("equal_widths", [False, True])
def test_layers_are_the_cells_one_after_the_other(cell, residual, equal_widths):
    """The state of every layer, and with residual what went in comes out again: from the second layer, or the first."""
    width = 2 * N if cell is BOTH else N
    op, params, inputs, states = stack(cell, width if equal_widths else I)
    (outputs, last), cache = op.forward(params, inputs, states, lengths=LENGTHS, residual=residual)
    real = np.arange(T)[:, None] < LENGTHS[:, None, None]
    by_hand, caches = inputs, []
    for l, state in enumerate(states):
        (written, after), one = cell.forward(params[str(l)], by_hand, state, lengths=LENGTHS)
        carried = by_hand * real if residual and (l or equal_widths) else 0
        by_hand = written + carried
        caches.append(one)
        for (path, part), (_, expected) in zip(tree.leaves(last[l]), tree.leaves(after), strict=True):
            assert (part == expected).all(), path
    assert (outputs == by_hand).all() and not outputs[~np.broadcast_to(real, outputs.shape)].any()
    # and back: each cell's flow is that for the gradient that arrives from above
    d = RNG.normal(size=outputs.shape)
    flows = op.flow((d, None), cache)
    (dinputs, _), _ = op.backward((d, None), cache)
    for l in reversed(range(3)):
        alone = cell.flow((d, None), caches[l])
        for (path, part), (_, expected) in zip(tree.leaves(flows[l]), tree.leaves(alone), strict=True):
            assert np.allclose(part, expected, rtol=0, atol=1e-13), path
        (dgiven, _), _ = cell.backward((d, None), caches[l])
        d = dgiven + d * real if residual and (l or equal_widths) else dgiven
    assert np.allclose(dinputs, d, rtol=0, atol=1e-13)


def test_widths_follow_from_what_the_layer_below_writes():
    params = bind(layers, cell=BOTH).init(RNG, I=I, N=N, L=3)
    assert [params[l]["forward"]["W_input"].shape[0] for l in "012"] == [I, 2 * N, 2 * N]
    assert list(layers.init(RNG, I=I, N=N, L=12)) == [str(l) for l in range(12)]


def test_dropout_between_layers():
    """A share p of what a layer hands on is silenced, the rest scaled; not the inputs, not what the last one writes."""
    op, params, inputs, states = stack(rnn, L=2)
    options = {"dropout": 0.4, "lengths": LENGTHS}

    def run(rng):
        return op.forward(params, inputs, states, rng=rng, **options)[0]

    first, again, other = (run(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first[0] == again[0]).all() and (first[0] != other[0]).any()
    plain, _ = op.forward(params, inputs, states, lengths=LENGTHS)
    assert (run(None)[0] == plain[0]).all()
    kept = np.random.default_rng(1).random((B, T, N)) >= 0.4
    (written, _), _ = rnn.forward(params["0"], inputs, states[0], lengths=LENGTHS)
    (by_hand, _), _ = rnn.forward(params["1"], np.where(kept, written / 0.6, 0), states[1], lengths=LENGTHS)
    assert np.allclose(first[0], by_hand, atol=1e-15) and (first[1][0].hidden == plain[1][0].hidden).all()
    alone = bind(op, dropout=0.9)
    (outputs, _), _ = alone.forward({"0": params["0"]}, inputs, rng=np.random.default_rng(1))
    assert (outputs == rnn.forward(params["0"], inputs)[0][0]).all()


def test_no_state_has_no_gradient():
    op, params, inputs, states = stack(gru)
    out, cache = op.forward(params, inputs)
    (_, dstate), _ = op.backward(tree.map(np.ones_like, out), cache)
    assert dstate is None
    out, cache = op.forward(params, inputs, states)
    (_, dstate), _ = op.backward(tree.map(np.ones_like, out), cache)
    assert isinstance(dstate, tuple) and [type(part) for part in dstate] == [gru.State] * 3


def test_residual_hides_what_stands_in_the_padding():
    op, params, inputs, states = stack(gru, I=N)
    inputs[1, 3:] = np.nan
    inputs[2] = np.inf
    out, cache = op.forward(params, inputs, states, lengths=LENGTHS, residual=True)
    assert np.isfinite(out[0]).all() and not out[0][1, 3:].any() and not out[0][2].any()
    (dinputs, _), _ = op.backward((np.ones_like(out[0]), None), cache)
    assert np.isfinite(dinputs).all() and not dinputs[1, 3:].any() and not dinputs[2].any()


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda p, x, s: (p["0"], x, s), "one cell for each layer, 0 to L - 1, but hold W_input"),
        (lambda p, x, s: ({"1": p["0"], "2": p["1"]}, x, s), "but hold 1, 2"),
        (lambda p, x, s: ({}, x, None), "but hold none"),
        (lambda p, x, s: (p, x, s[:1]), "a tuple of L=2 states, one for each layer, but 1 came"),
        (lambda p, x, s: (p, x, s[0].hidden), "a tuple of L=2 states, one for each layer, but ndarray came"),
        (lambda p, x, s: (p, x[0, 0], s), r"inputs needs the axes \(B, T, I\)"),
        (lambda p, x, s: (p, x[..., :1], s), "W_input"),
    ],
)
def test_layers_say_what_is_wrong(change, message):
    op, params, inputs, states = stack(lstm, L=2)
    with pytest.raises(ValueError, match=message):
        op.forward(*change(params, inputs, states))
    with pytest.raises(ValueError, match="L must be a whole number of at least 1"):
        op.init(RNG, I=I, N=N, L=0)


@EACH
def test_init_is_uniform_within_one_over_the_root_of_the_width(cell):
    params = cell.init(np.random.default_rng(0), I=300, N=64)
    for name in ("W_input", "W_hidden"):
        assert -0.125 <= params[name].min() < -0.12 and 0.12 < params[name].max() <= 0.125
        assert abs(params[name].mean()) < 0.01 and params[name].std() == pytest.approx(0.125 / 3**0.5, rel=0.05)


def test_the_flow_of_both_directions_is_that_of_each():
    params, inputs = BOTH.init(RNG, I=I, N=N), RNG.normal(size=(B, T, I))
    (outputs, last), cache = BOTH.forward(params, inputs, lengths=LENGTHS)
    d, dlast = RNG.normal(size=outputs.shape), tree.map(lambda x: RNG.normal(size=x.shape), last)
    flows = BOTH.flow((d, dlast), cache)
    ahead = gru.flow((d[..., :N], dlast.forward), cache.caches.forward)
    back = gru.flow((d[..., N:], dlast.backward), cache.caches.backward)
    for flow, alone in ((flows.forward, ahead), (flows.backward, back)):
        for (path, part), (_, expected) in zip(tree.leaves(flow), tree.leaves(alone), strict=True):
            assert (part == expected).all() and part.any(), path


@EACH
@pytest.mark.parametrize("size", [(B, T, N), (16, 7, 600)], ids=["slopes of all steps at once", "of one at a time"])
def test_the_loop_is_the_step_again_and_again(cell, size):
    """The loop writes into one array and finds slopes for many steps together: the same as one step after the other."""
    B, T, N = size
    params = tree.map(lambda p: p + 0.1 * RNG.normal(size=p.shape), cell.init(RNG, I=I, N=N))
    inputs, state = RNG.normal(size=(B, T, I)), cell.State(*(RNG.normal(size=(B, N)) for _ in cell.State._fields))
    (outputs, last), cache = cell.forward(params, inputs, state)
    steps, now, projected = [], state, inputs @ params["W_input"] + params["b"]
    kept = projected.copy()
    for t in range(T):
        now, step = cell.step(params, projected[:, t], now)
        steps.append(step)
        assert np.allclose(outputs[:, t], now.hidden, rtol=0, atol=1e-13)
    assert (projected == kept).all()
    dout = RNG.normal(size=outputs.shape), cell.State(*(RNG.normal(size=part.shape) for part in last))
    flow, dnow, dprojected = cell.flow(dout, cache), dout[1], [None] * T
    for t in reversed(range(T)):
        dnow = dnow._replace(hidden=dnow.hidden + dout[0][:, t])
        for field, part in zip(dnow._fields, dnow, strict=True):
            assert np.allclose(getattr(flow.reach, field)[:, t], part, rtol=0, atol=1e-12)
        dprojected[t], dnow = cell.step_backward(dnow, steps[t])
    dprojected = np.stack(dprojected, axis=1)
    assert np.allclose(flow.dprojected, dprojected, rtol=0, atol=1e-12)
    _, dparams = cell.backward(dout, cache)
    for name, part in cell.weights_backward(dprojected, steps).items():
        assert np.allclose(dparams[name], part, rtol=1e-11, atol=1e-11)


def test_one_tanh_is_three_sigmoids_and_a_tanh():
    """Each gate in its own column: what goes in is i f g o, what comes out i f o g."""

    def moved(dtype):
        x = np.linspace(-800, 800, 33, dtype=dtype)[:, None]  # (B, N), N = 1
        sums = np.concatenate([x, x / 2, x / 3, x / 4], axis=-1)  # (B, 4N)
        (_, new), cache = lstm.move(lstm.halved(sums), lstm.State(0 * x, x), None)
        return x, new, cache.gates

    x, new, (i, f, o, g) = moved(np.float64)
    for gate, entered in ((i, x), (f, x / 2), (o, x / 4)):
        assert np.allclose(gate, sigmoid(entered), rtol=0, atol=1e-15)
    assert (g == np.tanh(x / 3)).all() and (new == f * x + i * g).all()
    assert moved(np.float32)[2].dtype == np.float32


@EACH
def test_states_and_inputs_of_other_precision_meet_in_the_wider_one(cell):
    params, inputs, state = setting(cell)
    narrow = tree.map(lambda p: p.astype(np.float32), params), inputs.astype(np.float32)
    (outputs, last), cache = cell.forward(*narrow, state)
    assert outputs.dtype == last.hidden.dtype == np.float64
    (dinputs, _), _ = cell.backward((np.ones_like(outputs), None), cache)
    assert dinputs.dtype == np.float64
    (outputs, _), cache = cell.forward(*narrow)
    assert cell.flow((np.ones(outputs.shape), None), cache).dprojected.dtype == np.float64
