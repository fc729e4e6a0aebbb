"""Recurrent cells, directions and layers against nn.RNN, nn.LSTM and nn.GRU, lengths by packed sequences."""

import numpy as np
import pytest
from torch_twins import agree, both_directions, one_direction, several_layers

from minattn import tree
from minattn.op import bind
from minattn.recurrent import bidirectional, gru, layers, lstm, rnn
from minattn.recurrent.bidirectional import Directions

B, T, I, N = 3, 5, 4, 6
LENGTHS = {"whole": None, "padded": np.array([4, 5, 1]), "all shorter": np.array([1, 2, 3])}
CELLS = {"rnn": rnn, "lstm": lstm, "gru": gru}
DTYPES = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def parameters(rng, cell):
    return {name: p + 0.1 * rng.normal(size=p.shape) for name, p in cell.init(rng, I=I, N=N).items()}


def inputs(rng, lengths):
    """(B, T, I) with NaN beyond the lengths: packing drops it, we hide it."""
    x = rng.normal(size=(B, T, I))
    if lengths is not None:
        x[np.arange(T) >= lengths[:, None]] = np.nan
    return x


def state(rng, cell):
    return cell.State(*(rng.normal(size=(B, N)) for _ in cell.State._fields))


@DTYPES
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("given", [True, False], ids=["given state", "from zeros"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("name", CELLS)
def test_cell(rng, name, reverse, given, lengths, dtype):
    cell, options = CELLS[name], {"lengths": lengths, "reverse": reverse}

    def twin(params, inputs, state=None):
        return one_direction(params, inputs, state, cell=cell, **options)

    arrays = [inputs(rng, lengths)] + [state(rng, cell)] * given
    agree(cell, twin, parameters(rng, cell), arrays, options=options, rng=rng, dtype=dtype)


@DTYPES
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("given", [True, False], ids=["given state", "from zeros"])
@pytest.mark.parametrize("name", CELLS)
def test_bidirectional(rng, name, given, lengths, dtype):
    cell = CELLS[name]
    params = {"forward": parameters(rng, cell), "backward": parameters(rng, cell)}

    def twin(params, inputs, state=None):
        return both_directions(params, inputs, state, lengths=lengths, cell=cell)

    arrays = [inputs(rng, lengths)] + [Directions(state(rng, cell), state(rng, cell))] * given
    op = bind(bidirectional, cell=cell)
    agree(op, twin, params, arrays, options={"lengths": lengths}, rng=rng, dtype=dtype)


@pytest.mark.parametrize("name", CELLS)
def test_last_state_alone(rng, name):
    """No gradient comes from the outputs: all of it has to travel back through the states."""
    cell, lengths = CELLS[name], LENGTHS["padded"]

    def twin(params, inputs, state):
        return one_direction(params, inputs, state, cell=cell, lengths=lengths)

    arrays = [inputs(rng, lengths), state(rng, cell)]
    agree(
        cell, twin, parameters(rng, cell), arrays, options={"lengths": lengths}, rng=rng, dout=(None, state(rng, cell))
    )


@DTYPES
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("given", [True, False], ids=["given state", "from zeros"])
@pytest.mark.parametrize("both", [False, True], ids=["one direction", "bidirectional"])
@pytest.mark.parametrize("name", CELLS)
def test_layers(rng, name, both, given, lengths, dtype):
    """num_layers=2, and dropout=0: whoever silences draws numbers of his own."""
    cell, L = CELLS[name], 2
    op = bind(layers, cell=bind(bidirectional, cell=cell) if both else cell)
    params = tree.map(lambda p: p + 0.1 * rng.normal(size=p.shape), op.init(rng, I=I, N=N, L=L))

    def twin(params, inputs, state=None):
        return several_layers(params, inputs, state, lengths=lengths, cell=cell)

    states = tuple(Directions(state(rng, cell), state(rng, cell)) if both else state(rng, cell) for _ in range(L))
    arrays = [inputs(rng, lengths)] + [states] * given
    agree(op, twin, params, arrays, options={"lengths": lengths, "dropout": 0.0, "rng": rng}, rng=rng, dtype=dtype)
