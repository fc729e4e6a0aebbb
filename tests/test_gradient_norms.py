"""Every norm is that of a gradient found without any backward: by complex step at the very place."""

import numpy as np
import pytest

from minattn import masks
from minattn.attention import additive
from minattn.functions import cross_entropy, layer_norm
from minattn.gradient_norms import gradient_norms
from minattn.models import block, language_model, recurrent_model, seq2seq, speech, transformer
from minattn.op import bind
from minattn.recurrent import bidirectional, gru, layers, lstm, rnn

B, T, V, N = 2, 4, 9, 3
RNG = np.random.default_rng(0)
TOKENS, TARGETS = RNG.permutation(V)[: B * T].reshape(B, T), RNG.integers(V, size=(B, T))  # no token comes twice
STEP = 1e-20


def slope(loss, size):
    """The norm of the gradient of loss(delta), delta (size,), at 0."""
    return np.linalg.norm([loss(1j * STEP * unit).imag / STEP for unit in np.eye(size)])


def moved(array, place, delta):
    array = array.astype(complex)
    array[place] += delta
    return array


def mean_loss(logits):
    return cross_entropy(logits, TARGETS)[0].mean


@pytest.mark.parametrize("cell", [rnn, lstm, gru])
def test_the_states_of_a_recurrent_model(cell):
    model = bind(recurrent_model, cell=cell)
    params = model.init(RNG, V=V, I=5, N=N)
    norms = gradient_norms(model, params, (TOKENS,), TARGETS)
    assert norms.source is norms.heads is None and norms.layers.shape == (1, B, T)
    np.testing.assert_array_equal(norms.layers[0], norms.steps)

    def loss(delta, b, t):
        (before, state), cache = model.forward(params, TOKENS[:, : t + 1])
        state = type(state)(*(moved(x, b, d) for x, d in zip(state, np.split(delta, len(state)), strict=True)))
        here = state.hidden @ params["W_out"] + params["b_out"]
        logits = [before[:, :t], here[:, None]]
        if t + 1 < T:
            logits.append(model.forward(params, TOKENS[:, t + 1 :], state)[0][0])
        return mean_loss(np.concatenate(logits, axis=1))

    for b, t in np.ndindex(B, T):
        expected = slope(lambda delta, b=b, t=t: loss(delta, b, t), N * len(cell.State._fields))
        np.testing.assert_allclose(norms.steps[b, t], expected, rtol=1e-12)


def test_the_layers_of_a_recurrent_model():
    model = bind(recurrent_model, cell=bind(layers, cell=rnn))
    params = _two_layers()
    norms = gradient_norms(model, params, (TOKENS,), TARGETS)
    assert norms.layers.shape == (2, B, T)

    def loss(delta, place):
        outputs = params["embed"][TOKENS]
        for l, layer in enumerate(params["cell"].values()):
            hidden, given, outputs = np.zeros((B, N)), outputs, []
            for t in range(T):
                hidden = np.tanh(given[:, t] @ layer["W_input"] + hidden @ layer["W_hidden"] + layer["b"])
                hidden = moved(hidden, place[1], delta) if (l, t) == (place[0], place[2]) else hidden
                outputs.append(hidden)
            outputs = np.stack(outputs, axis=1)
        return mean_loss(outputs @ params["W_out"] + params["b_out"])

    for place in np.ndindex(2, B, T):
        expected = slope(lambda delta, place=place: loss(delta, place), N)
        np.testing.assert_allclose(norms.layers[place], expected, rtol=1e-12)


def _two_layers():
    cell = layers.init(RNG, I=5, N=N, L=2, cell=rnn)
    return recurrent_model.init(RNG, V=V, I=5, N=N, cell=rnn) | {"cell": cell}


@pytest.mark.parametrize("norm_first", [True, False])
def test_the_layers_of_a_transformer(norm_first):
    params = language_model.init(RNG, V=V, M=4, H=2, L=3)
    norms = gradient_norms(language_model, params, (TOKENS,), TARGETS, norm_first=norm_first)
    assert norms.layers.shape == (3, B, T) and norms.heads.shape == (3, 2)
    np.testing.assert_array_equal(norms.layers[0], norms.steps)

    def loss(delta, place):
        x = params["embed"][TOKENS]
        for l, layer in enumerate(params["blocks"].values()):
            x = moved(x, place[1:], delta) if l == place[0] else x
            x, _ = block.forward(layer, x, mask=masks.causal(), norm_first=norm_first)
        return mean_loss(layer_norm(x, **params["norm"])[0] @ params["embed"].T)

    for place in np.ndindex(3, B, T):
        expected = slope(lambda delta, place=place: loss(delta, place), 4)
        np.testing.assert_allclose(norms.layers[place], expected, rtol=1e-11)


def test_the_heads_of_a_transformer():
    params = language_model.init(RNG, V=V, M=4, H=2, G=1, L=2)
    norms = gradient_norms(language_model, params, (TOKENS,), TARGETS)
    own = {"W_query": 1, "b_query": 0, "W_out": 0}  # the axis of the heads
    for layer, h in np.ndindex(2, 2):
        sums = 0
        for name, axis in own.items():
            weight = params["blocks"][str(layer)]["look"][name]
            place = (slice(None),) * axis + (h,)

            def loss(delta, weight=weight, place=place, layer=str(layer), name=name):
                look = params["blocks"][layer]["look"] | {
                    name: moved(weight, place, delta.reshape(weight[place].shape))
                }
                blocks = params["blocks"] | {layer: params["blocks"][layer] | {"look": look}}
                return mean_loss(language_model.forward(params | {"blocks": blocks}, TOKENS)[0])

            sums += slope(loss, weight[place].size) ** 2
        np.testing.assert_allclose(norms.heads[layer, h], np.sqrt(sums), rtol=1e-11)


@pytest.mark.parametrize("attention", [None, additive])
def test_both_sides_of_seq2seq(attention):
    model = bind(seq2seq, attention=attention)
    params = model.init(RNG, source_vocabulary=V, target_vocabulary=V, I=3, N=N)
    source = TOKENS[:, :3]
    norms = gradient_norms(model, params, (source, TOKENS), TARGETS)
    assert norms.layers is norms.heads is None

    def loss(delta, name, token):  # each token comes once, so to move its embedding is to move one step
        return mean_loss(model.forward(params | {name: moved(params[name], token, delta)}, source, TOKENS)[0])

    for found, name, tokens in ((norms.source, "embed_source", source), (norms.steps, "embed_target", TOKENS)):
        assert found.shape == tokens.shape
        for place in np.ndindex(tokens.shape):
            token = tokens[place]
            expected = slope(lambda delta, name=name, token=token: loss(delta, name, token), 3)
            np.testing.assert_allclose(found[place], expected, rtol=1e-11)


@pytest.mark.parametrize("norm_first", [True, False])
def test_both_sides_of_a_transformer(norm_first):
    """What enters the first layer is moved with the embedded tokens, what enters the others by hand."""
    params = transformer.init(RNG, source_vocabulary=V, target_vocabulary=V, M=4, H=2, L=2)
    source, how = TOKENS[:, :3], {"norm_first": norm_first}
    norms = gradient_norms(transformer, params, (source, TOKENS), TARGETS, **how)
    assert norms.layers.shape == (2, B, T) and norms.heads.shape == (2, 2) and norms.source.shape == source.shape
    np.testing.assert_array_equal(norms.layers[0], norms.steps)

    def loss(delta, side, layer, place):
        x = transformer._embed(params["embed_source"], source)
        x = moved(x, place, delta) if side == "source" else x
        read, _ = block.stack(params["encoder"], params["norm_encoder"], x, **how)
        x = transformer._embed(params["embed_target"], TOKENS)
        for l, here in enumerate(params["decoder"].values()):
            x = moved(x, place, delta) if (side, layer) == ("target", l) else x
            x, _ = block.forward(here, x, read, mask=masks.causal(), **how)
        return mean_loss(layer_norm(x, **params["norm_decoder"])[0] @ params["embed_target"].T)

    for place in np.ndindex(source.shape):
        expected = slope(lambda delta, place=place: loss(delta, "source", None, place), 4)
        np.testing.assert_allclose(norms.source[place], expected, rtol=1e-11)
    for layer, *place in np.ndindex(2, B, T):
        expected = slope(lambda delta, layer=layer, place=tuple(place): loss(delta, "target", layer, place), 4)
        np.testing.assert_allclose(norms.layers[layer, *place], expected, rtol=1e-11)


def test_padding_receives_nothing():
    params = language_model.init(RNG, V=V, M=4, H=2, L=2)
    targets = np.where(np.arange(T) < np.array([[2], [T]]), TARGETS, -1)
    norms = gradient_norms(language_model, params, (TOKENS,), targets, ignore_index=-1, lengths=np.array([2, T]))
    assert (norms.layers[:, 0, 2:] == 0).all() and (norms.layers[:, 0, :2] > 0).all() and (norms.steps[1] > 0).all()


def test_what_cannot_tell_says_so():
    with pytest.raises(TypeError, match="speech has no flow: choose recurrent_model, seq2seq, transformer or"):
        gradient_norms(speech, {}, (), TARGETS)
    model = bind(recurrent_model, cell=bidirectional)
    params = recurrent_model.init(RNG, V=V, I=5, N=N) | {"W_out": np.ones((2 * N, V))}
    params["cell"] = bidirectional.init(RNG, I=5, N=N)
    with pytest.raises(TypeError, match="the cell of recurrent_model reads in both directions"):
        gradient_norms(model, params, (TOKENS,), TARGETS)
