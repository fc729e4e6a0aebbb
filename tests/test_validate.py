"""What came in wrong is answered with what was expected, what came, and the likely cause."""

import numpy as np
import pytest

from minattn import validate
from minattn.attention import additive, bilinear, dot
from minattn.functions import cross_entropy, dropout, embedding, softmax
from minattn.models import seq2seq
from minattn.recurrent import bidirectional, lstm

RNG = np.random.default_rng(0)
B, T, S, D, E = 2, 3, 5, 4, 6


def inputs(**changed):
    shapes = {"query": (B, T, D), "key": (B, S, D), "value": (B, S, E)} | changed
    return [RNG.normal(size=shape) for shape in shapes.values()]


@pytest.mark.parametrize(
    "changed, says",
    [
        ({"value": (B, 7, E)}, "value has S=7 source time steps but key has S=5"),
        ({"key": (B, S, 8)}, r"key has D=8 key features but query has D=4: key \(2, 5, 8\) stands for \(..., S, D\)"),
        ({"key": (S,)}, r"key needs the axes \(..., S, D\) but came with shape \(5,\)"),
        ({"query": ()}, "a single number"),
        ({"key": (3, S, D)}, r"the leading axes \(3,\) of key \(3, 5, 4\) do not broadcast with \(2,\)"),
        ({"key": (B, 0, D), "value": (B, 0, E)}, "has S=0 source time steps: there is nothing to look at"),
    ],
)
def test_attention_shapes(changed, says):
    with pytest.raises(ValueError, match=says):
        dot.forward({}, *inputs(**changed))


@pytest.mark.parametrize("mechanism", [dot, additive, bilinear])
def test_integers_raise(mechanism):
    query, key, value = inputs()
    params = {} if mechanism is dot else mechanism.init(RNG, N=D, D=D, **({"A": 3} if mechanism is additive else {}))
    with pytest.raises(TypeError, match="key must be floating but has dtype int64: gradients need fractions"):
        mechanism.forward(params, query, key.astype(np.int64), value)
    with pytest.raises(TypeError, match="query must be an array of floating numbers but is a list"):
        mechanism.forward(params, query.tolist(), key, value)


def test_parameters_that_do_not_fit():
    params = additive.init(RNG, N=D, D=7, A=3)
    with pytest.raises(ValueError, match="W_key has D=7 key features but key has D=4"):
        additive.forward(params, *inputs())
    with pytest.raises(ValueError, match="need W, but hold W_query"):
        bilinear.forward({"W_query": np.ones((D, D))}, *inputs())


@pytest.mark.parametrize("bias, error", [(np.ones((B, T, S), dtype=bool), TypeError), (np.ones((T, 4)), ValueError)])
def test_bias(bias, error):
    with pytest.raises(error, match="bias"):
        dot.forward({}, *inputs(), bias)


def test_float_mask():
    with pytest.raises(TypeError, match="mask must be boolean"):
        dot.forward({}, *inputs(), mask=np.zeros((T, S)))
    with pytest.raises(TypeError, match="mask must be boolean"):
        softmax(np.ones((T, S)), np.zeros((T, S)))


@pytest.mark.parametrize(
    "changed, says",
    [
        ((B, T), r"inputs needs the axes \(B, T, I\)"),
        ((B, T, 9), "W_input has I=3 input features but inputs has I=9"),
        ((B, 0, 3), "T=0 time steps"),
    ],
)
def test_recurrent_shapes(changed, says):
    with pytest.raises(ValueError, match=says):
        lstm.forward(lstm.init(RNG, I=3, N=4), RNG.normal(size=changed))


def test_recurrent_state_and_lengths():
    params, x = lstm.init(RNG, I=3, N=4), RNG.normal(size=(B, T, 3))
    with pytest.raises(ValueError, match="hidden has N=5 recurrent features"):
        lstm.forward(params, x, (np.ones((B, 5)), np.ones((B, 5))))
    with pytest.raises(ValueError, match="the state must be a tuple .hidden, cell. of arrays"):
        lstm.forward(params, x, np.ones((B, 4)))
    with pytest.raises(ValueError, match="lengths must lie in 0 .. T = 3 but 4 came"):
        lstm.forward(params, x, lengths=[4, 1])
    with pytest.raises(TypeError, match="inputs must be floating"):
        lstm.forward(params, np.ones((B, T, 3), dtype=int))


def test_gates_come_in_fours():
    params = lstm.init(RNG, I=3, N=4) | {"W_input": np.ones((3, 15))}
    with pytest.raises(ValueError, match=r"W_input \(3, 15\) has 15 in the axis 4N: it must be a multiple of 4"):
        lstm.forward(params, np.ones((B, T, 3)))


def test_tokens():
    table = np.ones((5, 2))
    with pytest.raises(ValueError, match="ids must lie in 0 .. V-1 = 4 but 5 came"):
        embedding(table, np.array([0, 5]))
    with pytest.raises(ValueError, match="but -1 came"):
        embedding(table, np.array([0, -1]))
    with pytest.raises(TypeError, match="ids must be an array of integers.*float64"):
        embedding(table, np.array([0.0]))
    with pytest.raises(ValueError, match="targets must lie in 0 .. V-1 = 4 but 7 came"):
        cross_entropy(np.ones((2, 5)), np.array([0, 7]))
    with pytest.raises(ValueError, match=r"targets must have shape \(2,\), one token for each row of logits"):
        cross_entropy(np.ones((2, 5)), np.array([0, 1, 2]))


def test_label_smoothing_and_dropout_are_shares():
    with pytest.raises(ValueError, match="label_smoothing must lie in"):
        cross_entropy(np.ones((2, 5)), np.array([0, 1]), label_smoothing=1.5)
    with pytest.raises(ValueError, match=r"p must lie in \[0, 1\) but is 1"):
        dropout(np.ones(3), 1, RNG)


def test_sequences():
    params = seq2seq.init(RNG, source_vocabulary=5, target_vocabulary=6, I=2, N=3)
    ids = np.zeros((2, 3), dtype=int)
    with pytest.raises(ValueError, match=r"source must hold token ids \(B, T\)"):
        seq2seq.forward(params, ids[0], ids)
    with pytest.raises(ValueError, match="target .* has no time steps"):
        seq2seq.forward(params, ids, ids[:, :0])
    with pytest.raises(ValueError, match=r"one batch size B, but source \(2, 3\), target \(1, 3\) came"):
        seq2seq.forward(params, ids, ids[:1])
    with pytest.raises(ValueError, match="V-1 = 4 but 9 came"):
        seq2seq.forward(params, ids + 9, ids)
    with pytest.raises(ValueError, match="steps must be a whole number of at least 1 but is 0"):
        seq2seq.greedy(params, ids, start=0, end=1, steps=0)


def test_lengths_may_be_one_number_and_counts_numpy_integers():
    params, x = lstm.init(RNG, I=3, N=4), RNG.normal(size=(B, T, 3))
    assert (lstm.forward(params, x, lengths=2)[0][0] == lstm.forward(params, x, lengths=[2, 2])[0][0]).all()
    params = seq2seq.init(RNG, source_vocabulary=5, target_vocabulary=6, I=2, N=3)
    seq2seq.greedy(params, np.zeros((2, 3), dtype=np.uint64), start=0, end=1, steps=np.int64(3), source_lengths=2)


def test_models_and_wrappers_want_their_own_parameters():
    params = seq2seq.init(RNG, source_vocabulary=5, target_vocabulary=6, I=2, N=3)
    ids = np.zeros((2, 3), dtype=int)
    with pytest.raises(ValueError, match="made without attention, but attention=additive was asked for"):
        seq2seq.forward(params, ids, ids, attention=additive)
    with pytest.raises(ValueError, match="must be two cells, forward and backward, but hold W_input"):
        bidirectional.forward(lstm.init(RNG, I=3, N=4), np.ones((B, T, 3)))
    with pytest.raises(ValueError, match="has a None in it"):
        lstm.forward(lstm.init(RNG, I=3, N=4), np.ones((B, T, 3)), (np.ones((B, 4)), None))
    with pytest.raises(ValueError, match="need b, but hold"):
        lstm.forward({"W_input": np.ones((3, 16)), "W_hidden": np.ones((4, 16))}, np.ones((B, T, 3)))


def test_boolean_targets_are_no_tokens():
    with pytest.raises(TypeError, match="targets must be an array of integers"):
        cross_entropy(np.ones((2, 5)), np.array([True, False]))
    with pytest.raises(TypeError, match="targets must be an array of integers.*list"):
        cross_entropy(np.ones((2, 5)), [1, 2], ignore_index=1)


def test_a_column_of_a_table_lies_on_no_card():
    """pandas has `get` and `dtype` too."""

    class Column:
        dtype = np.dtype(float)

        def get(self, key):
            return None

    assert not validate.on_device(Column())


def test_what_is_known_of_shapes_says_nothing_of_their_kind():
    """Shapes are read once; what came with the same shapes is looked at again, and nobody writes into what is known."""
    letters, x = {"x": "... T D"}, np.ones((2, 3, 4))
    sizes = validate.shapes(letters, x=x)
    sizes["T"] = 7
    assert validate.shapes(letters, x=x) == {"...": (2,), "T": 3, "D": 4}
    with pytest.raises(TypeError, match="x must be floating but has dtype int64"):
        validate.shapes(letters, x=x.astype(np.int64))
