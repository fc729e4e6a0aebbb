import numpy as np
import pytest

from minattn import masks, op
from minattn.attention import additive, dot
from minattn.functions import layer_norm, layer_norm_backward, softmax, softmax_backward
from minattn.models import seq2seq
from minattn.op import bind, halves, pair
from minattn.recurrent import bidirectional, rnn

RNG = np.random.default_rng(0)


def test_bind_fixes_settings_for_every_function_that_takes_them():
    bound = bind(bidirectional, cell=rnn)
    params = bound.init(RNG, I=2, N=3)
    (outputs, state), _ = bound.forward(params, RNG.normal(size=(2, 4, 2)))
    assert outputs.shape == (2, 4, 6) and state.forward._fields == ("hidden",)


def test_bind_again_and_through_keywords():
    model = bind(bind(seq2seq, attention=additive), cell=rnn)
    params = model.init(RNG, source_vocabulary=5, target_vocabulary=6, I=2, N=3)
    decoded = model.greedy(params, np.array([[1, 2]]), start=0, end=1, steps=3)
    assert decoded.weights.shape[-1] == 2


def test_bind_refuses_what_nobody_takes():
    with pytest.raises(TypeError, match="dot has no setting dropuot"):
        bind(dot, dropuot=0.1)


def test_pair_finds_what_backward_needs_by_name():
    scores, mask = RNG.normal(size=(2, 3)), np.array([True, False, True])
    weights, cache = pair(softmax, softmax_backward).forward({}, scores, mask=mask)
    (dscores,), dparams = pair(softmax, softmax_backward).backward(np.ones((2, 3)), cache)
    assert (weights == softmax(scores, mask)).all() and dparams == {} and abs(dscores).max() < 1e-15
    out, cache = pair(layer_norm, layer_norm_backward).forward({}, scores, np.ones(3))
    gradients, _ = pair(layer_norm, layer_norm_backward).backward(np.ones((2, 3)), cache)
    assert len(gradients) == 2 and out.shape == (2, 3)


def test_own_halves_are_kept():
    assert halves(additive) is additive
    assert halves(dot).forward is dot.forward and hasattr(halves(dot), "attend_backward")


def test_names():
    assert op.inputs(dot) == ["query", "key", "value", "bias"] and op.options(dot) == ["mask", "dropout", "rng"]
    assert op.label(dot) == "dot"


def test_a_setting_is_not_an_input():
    paper = bind(additive, bias=False)  # init's option; forward's input of that name stays an input
    params = paper.init(RNG, N=2, D=3, A=4)
    assert "b" not in params
    inputs = RNG.normal(size=(2, 5, 2)), RNG.normal(size=(2, 6, 3)), RNG.normal(size=(2, 6, 3))
    assert paper.forward(params, *inputs)[0].shape == (2, 5, 3)
    model = bind(seq2seq, attention=paper)
    params = model.init(RNG, source_vocabulary=5, target_vocabulary=6, I=2, N=3)
    logits, cache = model.forward(params, np.array([[1, 2]]), np.array([[0]]))
    assert model.backward(logits, cache)[1]["attention"].keys() == {"W_query", "W_key", "v"}


def test_default_halves_keep_what_is_bound():
    causal_dot = halves(bind(dot, mask=masks.causal(offset=0)))
    query, key = RNG.normal(size=(1, 2, 3)), RNG.normal(size=(1, 4, 3))
    memory, _ = causal_dot.prepare({}, key, key)
    assert (causal_dot.attend({}, query, memory)[0] == causal_dot.forward({}, query, key, key)[0]).all()
