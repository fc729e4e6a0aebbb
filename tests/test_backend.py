"""Everything on the stand-in for a card, with the results of the host: training, writing, checking, drawing, saving."""

import importlib.machinery
import inspect
import sys
import types

import numpy as np
import pytest
from device import DeviceArray, waits
from laws import close

from minattn import backend, gradient_norms, masks, optim, plots, threads, training, tree
from minattn.attention import VARIANTS, additive, cosine, dot, fused, multihead
from minattn.functions import (
    Loss,
    cross_entropy,
    embedding,
    layer_norm,
    linear,
    linear_backward,
    mse,
    rms_norm,
    softmax,
    sparsemax,
)
from minattn.gradcheck import adjoint, check, gradcheck
from minattn.models import block, language_model, recurrent_model, seq2seq, speech, transformer, vision
from minattn.op import bind, halves
from minattn.recurrent import lstm
from minattn.weights import load, save

B, T, S, V = 3, 5, 4, 7
RNG = np.random.default_rng(0)
TOKENS, SOURCE = RNG.integers(V, size=(B, T)), RNG.integers(V, size=(B, S))
WRITER = language_model.init(RNG, V=V, M=8, H=2, L=2)


def put(t):
    """On the pretended card."""
    return tree.map(DeviceArray, t)


def mechanisms():
    """seq2seq with each mechanism and without any."""
    return {f"seq2seq-{name}": bind(seq2seq, attention=op) for name, op in {"none": None, **VARIANTS}.items()}


MODELS = mechanisms() | {
    "transformer": transformer,
    "language_model": bind(language_model, positions="rotary"),
    "recurrent_model": recurrent_model,
    "vision": vision,
    "speech": speech,
}


def setting(name):
    """-> params, inputs, targets of a small problem."""
    sizes = {"M": 8, "H": 2, "L": 1}
    if name.startswith("seq2seq"):
        params = MODELS[name].init(RNG, source_vocabulary=V, target_vocabulary=V, I=6, N=8)
        return params, (SOURCE, TOKENS), TOKENS
    if name == "transformer":
        return transformer.init(RNG, source_vocabulary=V, target_vocabulary=V, **sizes), (SOURCE, TOKENS), TOKENS
    if name == "language_model":
        return language_model.init(RNG, V=V, **sizes), (TOKENS,), TOKENS
    if name == "recurrent_model":
        return recurrent_model.init(RNG, V=V, I=6, N=8), (TOKENS,), TOKENS
    case = next(MODELS[name].cases(RNG))
    params, inputs = MODELS[name].init(RNG, **case.sizes), tree.map(np.nan_to_num, case.inputs)
    out, _ = MODELS[name].forward(params, *inputs)
    return params, inputs, RNG.integers(out.shape[-1], size=out.shape[:-1])


@pytest.mark.parametrize("name", MODELS)
def test_training_there_is_training_here(name):
    """Forward, loss, backward, clipping, Adam: three steps, the same parameters at the end."""
    op, (params, inputs, targets) = MODELS[name], setting(name)

    def train(params, inputs, targets):
        state, losses = None, []
        for _ in range(3):
            loss, grads = training.gradients(op, params, inputs, targets, side_by_side=True)
            grads, norm = optim.clip(grads, 0.1)
            params, state = optim.adamw(params, grads, state, learning_rate=1e-2, eps=1e-2)
            losses.append((float(loss), norm))
        return params, losses

    here, losses = train(params, inputs, targets)
    there, losses_there = train(put(params), put(inputs), put(targets))
    close(backend.to_host(there), here, 1e-10)
    np.testing.assert_allclose(losses_there, losses, rtol=1e-10)


@pytest.mark.parametrize(
    "name", ["seq2seq-none", "seq2seq-additive", "language_model", "transformer", "vision", "speech"]
)
def test_a_step_waits_for_the_card_a_fixed_number_of_times(name):
    """However many tokens, steps and sequences there are: nothing is fetched one by one."""
    op, (params, inputs, targets) = MODELS[name], setting(name)
    flat, counts = optim.Flat(put(params)), []
    for times in (1, 3):
        long = [np.concatenate([x] * times, axis=0) for x in (*inputs, targets)]
        if name not in ("vision", "speech"):
            long = [np.concatenate([x] * times, axis=1) for x in long]
        *arrays, target = put(long)
        waits.clear()
        _, grads = training.gradients(op, flat.params, tuple(arrays), target)
        flat.step(grads, learning_rate=1e-3, max_norm=1.0)
        counts.append(dict(waits))
    assert counts[0] == counts[1]
    assert sum(counts[0].values()) <= 12, counts[0]


def test_a_card_gets_the_whole_batch(monkeypatch):
    """Threads share a batch and heads on the host alone."""
    sizes = []

    def forward(params, tokens):
        sizes.append(len(tokens))
        return language_model.forward(params, tokens)

    op = types.SimpleNamespace(forward=forward, backward=language_model.backward)
    monkeypatch.setattr(fused, "WORTH", 0)
    monkeypatch.setattr(threads, "share", lambda *_: sizes.append("shared"))
    with threads.using(2):
        training.gradients(op, put(WRITER), (put(TOKENS),), put(TOKENS), side_by_side=True)
    assert sizes == [B]


@pytest.mark.parametrize("step, settings", [(optim.sgd, {}), (optim.sgd, {"momentum": 0.9}), (optim.adam, {})])
def test_optimisers(step, settings):
    params, grads = RNG.normal(size=(2, 3, 4))
    here, there, state, state_there = {"W": params}, put({"W": params}), None, None
    for _ in range(3):
        here, state = step(here, {"W": grads}, state, learning_rate=0.1, **settings)
        there, state_there = step(there, put({"W": grads}), state_there, learning_rate=0.1, **settings)
    close(backend.to_host(there), here, 1e-15)


def test_flat_is_one_chunk_there(monkeypatch):
    """As many as there are parameters, in one call each: where on the host they are several chunks."""
    monkeypatch.setattr(optim, "CHUNK", 5)
    params = {"W": RNG.normal(size=(3, 4)), "b": RNG.normal(size=7), "e": np.zeros((0, 2))}
    grads = tree.map(lambda p: RNG.normal(size=p.shape), params)
    here, there = optim.Flat(params), optim.Flat(put(params))
    for flat, given in ((here, grads), (there, put(grads))):
        for _ in range(3):
            norm = flat.step(given, learning_rate=0.1, max_norm=0.5)
    assert len(there._chunks) == 1 < len(here._chunks)
    close(backend.to_host(there.params), here.params, 1e-14)
    close(backend.to_host(there.state["mean"]), here.state["mean"], 1e-14)
    assert norm == pytest.approx(optim.clip(grads, 0.5)[1])
    with pytest.raises(FloatingPointError, match="the gradient b holds nan"):
        there.step(put(grads | {"b": np.full(7, np.nan)}), learning_rate=0.1, max_norm=0.5)


def test_fused_takes_a_card_as_one_tile(monkeypatch):
    query = RNG.normal(size=(2, 3, 40, 4))
    monkeypatch.setattr(fused, "TILE", 16)
    _, here = fused.forward({}, query, query, query)
    context, there = fused.forward({}, *put([query] * 3))
    assert here.tile == 16 and there.tile == fused.ON_A_CARD
    close(context.get(), dot.forward({}, query, query, query)[0], 1e-13)
    bias = RNG.normal(size=(3, 1, 40))
    context, _ = fused.forward({}, *put([query] * 3), DeviceArray(bias))
    close(context.get(), dot.forward({}, query, query, query, bias)[0], 1e-13)


@pytest.mark.parametrize("options", [{}, {"seed": 1}, {"seed": 1, "top_k": 3}, {"seed": 1, "top_p": 0.8}])
@pytest.mark.parametrize("positions", [None, "rotary", "alibi", "sinusoidal"])
def test_writing(options, positions):
    """The likeliest, and drawn: random numbers come from the host, so that one seed is one text everywhere."""
    drawn = [dict(options) for _ in range(2)]
    for each in drawn:
        if "seed" in each:
            each["rng"] = np.random.default_rng(each.pop("seed"))
    here = language_model.generate(WRITER, TOKENS, steps=6, positions=positions, **drawn[0])
    waits.clear()
    there = language_model.generate(put(WRITER), put(TOKENS), steps=6, positions=positions, **drawn[1])
    assert (there.get() == here).all()


def test_a_token_more_costs_no_more_waits():
    counts = []
    for steps in (4, 9):
        waits.clear()
        language_model.generate(put(WRITER), put(TOKENS), steps=steps)
        counts.append(sum(waits.values()))
    assert counts[1] - counts[0] == 5, "more than what checking the ids of a token costs"


def test_reading():
    params, inputs, _ = setting("transformer")
    marks = {"start": 0, "end": 1, "steps": 4}
    here = transformer.greedy(params, SOURCE, **marks)
    there = transformer.greedy(put(params), put(SOURCE), **marks)
    assert (there.get() == here).all()


@pytest.mark.parametrize("name", ["seq2seq-additive", "language_model", "transformer"])
def test_gradient_norms(name):
    op, (params, inputs, targets) = MODELS[name], setting(name)
    here = gradient_norms.gradient_norms(op, params, inputs, targets)
    there = gradient_norms.gradient_norms(op, put(params), put(inputs), put(targets))
    close(backend.to_host(there), here, 1e-12)


def test_a_step_at_a_time():
    """A memory that is asked step by step, of every mechanism."""
    query, memory = RNG.normal(size=(B, T, 4)), RNG.normal(size=(B, S, 4))
    for name, mechanism in VARIANTS.items():
        split = halves(mechanism)
        params = mechanism.init(RNG, **_letters(mechanism))
        results = []
        for move in (lambda t: t, put):
            kept, _ = split.prepare(move(params), *move((memory, memory)))
            context, cache = split.attend(move(params), move(query), kept)
            back = split.attend_backward(move(np.ones(context.shape)), cache)
            results.append(backend.to_host((context, back)))
        close(results[1], results[0], 1e-12, name)


def _letters(mechanism):
    sizes = {"D": 4, "E": 4, "N": 4, "A": 5, "M": 4, "H": 1, "R": 32}
    return {letter: n for letter, n in sizes.items() if letter in inspect.signature(mechanism.init).parameters}


class Layer:
    """With its own parameters and gradients."""

    def __init__(self, W):
        self.W = W

    def forward(self, x):
        self.x = x
        return x @ self.W

    def backward(self, dout):
        self.dW = self.x.mT @ dout
        return dout @ self.W.mT


class Adds(Layer):
    """Adds up its gradients, which nobody sets back."""

    def __init__(self, W):
        super().__init__(W)
        self.dW = np.zeros_like(W)

    def backward(self, dout):
        self.dW = self.dW + self.x.mT @ dout
        return dout @ self.W.mT


def squash(x, W):
    return np.tanh(x @ W)


def squash_backward(dout, x, W):
    out = np.tanh(x @ W)
    dsum = dout * (1 - out * out)
    return dsum @ W.mT, x.mT @ dsum


def twice_as_much(dout, x, W):
    dx, dW = squash_backward(dout, x, W)
    return dx, 2 * dW


def writes(x, W):
    x *= 2
    return x @ W


def cached(x, W):
    return x @ W, (x, W)


def cached_backward(dout, cache):
    x, W = cache
    return dout @ W.mT, x.mT @ dout


def kept(x, W):
    out = np.tanh(x @ W)
    return out, out


def kept_backward(dout, x, W, out):
    dsum = dout * (1 - out * out)
    return dsum @ W.mT, x.mT @ dsum


class TestTheChecker:
    x, W = put((RNG.normal(size=(3, 4)), RNG.normal(size=(4, 5))))

    def test_an_op(self):
        params = put(additive.init(RNG, N=4, D=3, A=5))
        inputs = put((RNG.normal(size=(2, 3, 4)), RNG.normal(size=(2, 5, 3)), RNG.normal(size=(2, 5, 6))))
        mask = put(RNG.random((2, 3, 5)) > 0.3)
        check(additive, params, inputs, {"mask": mask}).assert_ok()
        gradcheck(additive, inputs=inputs, params=params, options={"mask": mask}).assert_ok()
        assert adjoint(additive, params, inputs, {"mask": mask}) < 1e-12

    @pytest.mark.parametrize(
        "functions", [(squash, squash_backward), (cached, cached_backward), (kept, kept_backward), (Layer(W),)]
    )
    def test_right_ones_of_every_kind(self, functions):
        inputs = (self.x, self.W) if len(functions) == 2 else (self.x,)
        report = gradcheck(*functions, inputs=inputs)
        report.assert_ok()
        assert {row.name for row in report.rows} == {"x", "W"}

    def test_what_is_wrong_has_its_name(self):
        report = gradcheck(squash, twice_as_much, (self.x, self.W))
        assert not report and "It is 2 times the true gradient" in str(report)

    def test_what_is_written_to_there_is_noticed(self):
        assert "forward writes to x" in str(gradcheck(writes, squash_backward, (self.x, self.W)))

    @pytest.mark.parametrize("name", ["dout", "x"])
    def test_what_backward_writes_to_there_is_noticed(self, name):
        def scribbles(dout, x, W):
            gradients = squash_backward(dout, x, W)
            for array in [dout] if name == "dout" else [x]:
                array *= 2
            return gradients

        assert f"backward writes to {name}" in str(gradcheck(squash, scribbles, (self.x, self.W)))

    def test_an_object_that_remembers(self):
        here, there = gradcheck(Adds(self.W.get()), inputs=(self.x.get(),)), gradcheck(Adds(self.W), inputs=(self.x,))
        assert str(here) == str(there) and "it is added to the first" in str(there)

    def test_a_single_number_among_the_parameters(self):
        inputs = put((RNG.normal(size=(2, 3, 4)), RNG.normal(size=(2, 5, 4)), RNG.normal(size=(2, 5, 6))))
        params = put(cosine.init(RNG))
        gradcheck(cosine, inputs=inputs, params=params).assert_ok()
        assert adjoint(cosine, params, inputs) < 1e-12

    def test_the_point_is_left_as_it_was(self):
        before = self.x.get()
        gradcheck(writes, squash_backward, (self.x, self.W))
        assert (self.x.get() == before).all()

    def test_what_came_mixed_is_refused(self):
        with pytest.raises(TypeError, match="W lies on the host but x on a device"):
            gradcheck(linear, lambda dout, x, W: (dout, dout), (self.x, self.W.get()))

    def test_a_single_number(self):
        gradcheck(
            lambda x, s: x * s, lambda dout, x, s: (dout * s, (dout * x).sum()), (self.x, put(np.array(3.0)))
        ).assert_ok()

    def test_float32_and_ids(self):
        table, ids = put((RNG.normal(size=(V, 3)).astype(np.float32), TOKENS))
        gradcheck(embedding, lambda dout, table, ids: _scattered(dout, table, ids), (table, ids)).assert_ok()


def _scattered(dout, table, ids):
    dtable = np.zeros_like(table)
    np.add.at(dtable, ids, dout)
    return dtable


def test_figures_of_what_lies_there(tmp_path):
    query, key = RNG.normal(size=(2, T, 4)), RNG.normal(size=(2, S, 4))
    _, cache = multihead.forward(put(multihead.init(RNG, M=4, H=2)), *put((query, key, key)))
    there = cache.weights
    plots.heatmap(there[0, 0], put(TOKENS[0]))
    plots.heads(there[0])
    plots.gradient_flow({"attention": DeviceArray(np.arange(1.0, 5.0))})
    plots.curves({"loss": DeviceArray(np.arange(1.0, 5.0))}, xlabel="update", ylabel="loss, nats")
    plots.AttentionView(there[0], ["a"] * T, ["b"] * S)
    from matplotlib import pyplot

    pyplot.close("all")


def test_what_lies_there_is_saved_and_loaded(tmp_path):
    save(tmp_path / "model.npz", put(WRITER), {"V": V})
    params, settings = load(tmp_path / "model.npz")
    assert settings == {"V": V}
    close(params, WRITER, 0)


class TestMixed:
    """Each names the arguments, as it stands in the call."""

    x = RNG.normal(size=(B, T, 4))
    there = DeviceArray(x)

    @pytest.mark.parametrize("name", VARIANTS)
    def test_a_mechanism(self, name):
        mechanism, params = VARIANTS[name], VARIANTS[name].init(RNG, **_letters(VARIANTS[name]))
        with pytest.raises(TypeError, match="key lies on the host but query on a device: bring both to one place"):
            mechanism.forward(put(params), self.there, self.x, self.there)
        if params:
            with pytest.raises(TypeError, match=r"query lies on the host but \w+ on a device"):
                mechanism.forward(put(params), self.x, self.x, self.x)

    @pytest.mark.parametrize("name", VARIANTS)
    def test_a_mask(self, name):
        mechanism, params = VARIANTS[name], VARIANTS[name].init(RNG, **_letters(VARIANTS[name]))
        mask = np.ones((1 if name == "linear" else T, T), dtype=bool)
        with pytest.raises(TypeError, match="mask lies on the host but query on a device"):
            mechanism.forward(put(params), *[self.there] * 3, mask=mask)
        with pytest.raises(TypeError, match="query lies on the host but mask on a device"):
            mechanism.forward(params, *[self.x] * 3, mask=DeviceArray(mask))

    def test_functions(self):
        ids, W, scores = TOKENS, RNG.normal(size=(4, 2)), RNG.normal(size=(B, T))
        for call, words in [
            (lambda: linear(self.there, W), "W lies on the host but x"),
            (lambda: linear(self.there, DeviceArray(W), np.ones(2)), "b lies on the host but x"),
            (lambda: linear_backward(self.there, self.there, W), "W lies on the host but dout"),
            (lambda: linear_backward(self.x, self.x, DeviceArray(W)), "dout lies on the host but W"),
            (lambda: embedding(DeviceArray(W), ids % 4), "ids lies on the host but table"),
            (lambda: softmax(DeviceArray(scores), scores > 0), "mask lies on the host but scores"),
            (lambda: sparsemax(scores, DeviceArray(scores > 0)), "scores lies on the host but mask"),
            (lambda: cross_entropy(self.there, ids % 4), "targets lies on the host but logits"),
            (lambda: mse(self.x, self.there), "predicted lies on the host but desired"),
            (lambda: layer_norm(self.there, np.ones(4)), "gain lies on the host but x"),
            (lambda: rms_norm(self.there, np.ones(4)), "gain lies on the host but x"),
            (lambda: dot.forward({}, *[self.there] * 3, np.ones((T, T))), "bias lies on the host but query"),
        ]:
            with pytest.raises(TypeError, match=words):
                call()

    def test_models(self):
        x = RNG.normal(size=(B, T, 8))
        layer = WRITER["blocks"]["0"]
        with pytest.raises(TypeError, match="ids lies on the host but table on a device"):
            language_model.forward(put(WRITER), TOKENS)
        with pytest.raises(TypeError, match="target lies on the host but source on a device"):
            seq2seq.forward(setting("seq2seq-none")[0], DeviceArray(SOURCE), TOKENS)
        with pytest.raises(TypeError, match="parameters lies on the host but x on a device"):
            block.forward(layer, DeviceArray(x))
        with pytest.raises(TypeError, match="memory lies on the host but x on a device"):
            block.forward(put(block.init(RNG, M=8, H=2, cross=True)), DeviceArray(x), x)
        params = lstm.init(RNG, I=4, N=3)
        with pytest.raises(TypeError, match="W_input lies on the host but inputs on a device"):
            lstm.forward(params, self.there)
        logits, cache = language_model.forward(put(WRITER), put(TOKENS))
        with pytest.raises(TypeError, match="dout lies on the host but x on a device"):
            language_model.backward(np.ones(logits.shape), cache)

    def test_lengths_go_there_but_do_not_come_back(self):
        params, lengths = lstm.init(RNG, I=4, N=3), np.array([5, 2, 1])
        here, _ = lstm.forward(params, self.x, lengths=lengths)
        there, _ = lstm.forward(put(params), self.there, lengths=lengths)
        close(backend.to_host(there), here, 1e-14)
        with pytest.raises(TypeError, match="lengths lies on a device but what it is for on the host"):
            lstm.forward(params, self.x, lengths=DeviceArray(lengths))
        with pytest.raises(TypeError, match="lengths lies on a device"):
            dot.forward({}, *[self.x] * 3, mask=masks.padding(DeviceArray(lengths)))
        with pytest.raises(TypeError, match="queries lies on a device"):
            dot.forward({}, *[self.x] * 3, mask=masks.document(DeviceArray(TOKENS)))


def test_ids_out_of_range_are_refused_where_a_card_would_take_others():
    """A card takes the row at the other end of the table, without a word."""
    table = DeviceArray(RNG.normal(size=(V, 3)))
    assert (table[DeviceArray(np.array([V]))].get() == table.get()[:1]).all()
    for ids in (np.array([V]), np.array([-1])):
        with pytest.raises(ValueError, match="ids must lie in 0 .. V-1 = 6"):
            embedding(table, DeviceArray(ids))
        with pytest.raises(ValueError, match="targets must lie in 0 .. V-1 = 6"):
            cross_entropy(DeviceArray(RNG.normal(size=(1, V))), DeviceArray(ids))
    with pytest.raises(ValueError, match="lengths must lie in 0 .. T = 5"):
        lstm.forward(put(lstm.init(RNG, I=4, N=3)), DeviceArray(RNG.normal(size=(B, T, 4))), lengths=[1, 2, 6])


class TestTheWayThereAndBack:
    @pytest.fixture
    def cupy(self, monkeypatch):
        """A CuPy whose arrays are those of the stand-in."""
        module = types.ModuleType("cupy")
        module.__spec__ = importlib.machinery.ModuleSpec("cupy", None)
        module.asarray, module.calls, module.cards = DeviceArray, [], 1
        error = type("CUDARuntimeError", (RuntimeError,), {})

        def count():
            if module.cards is None:
                raise error("cudaErrorInsufficientDriver")
            return module.cards

        stream = types.SimpleNamespace(synchronize=lambda: module.calls.append("synchronize"))
        runtime = types.SimpleNamespace(getDeviceCount=count, CUDARuntimeError=error)
        module.cuda = types.SimpleNamespace(runtime=runtime, get_current_stream=lambda: stream)
        monkeypatch.setitem(sys.modules, "cupy", module)
        return module

    def test_a_tree_goes_there_and_comes_back(self, cupy):
        given = {"W": np.arange(3.0), "more": (np.ones((2, 2), dtype=bool), None, [np.zeros((0, 3), dtype=np.int32)])}
        there = backend.to_device(given)
        assert all(backend.is_device(x) for _, x in tree.leaves(there)) and there["more"][1] is None
        again = backend.to_device(there)
        assert again["W"] is there["W"]  # what is there is not copied
        back = backend.to_host(there)
        assert all(type(x) is np.ndarray for _, x in tree.leaves(back))
        close({"W": back["W"], "b": back["more"][2][0]}, {"W": given["W"], "b": given["more"][2][0]}, 0)
        assert back["more"][2][0].dtype == np.int32 and backend.to_host(given)["W"] is given["W"]

    def test_waiting(self, cupy, monkeypatch):
        backend.synchronize()
        assert cupy.calls == ["synchronize"]
        monkeypatch.delitem(sys.modules, "cupy")
        backend.synchronize()
        assert "cupy" not in sys.modules and cupy.calls == ["synchronize"]

    @pytest.mark.parametrize("cards", [None, 0])
    def test_no_card(self, cupy, cards):
        cupy.cards = cards
        with pytest.raises(OSError, match="CuPy finds no graphics card"):
            backend.to_device(np.ones(3))

    def test_no_cupy(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "cupy", None)
        with pytest.raises(ModuleNotFoundError, match=r'pip install "minattn\[gpu12\]" for CUDA 12'):
            backend.to_device(np.ones(3))

    def test_a_dict_is_no_array(self):
        assert not backend.is_device({}) and not backend.is_device(np.ones(3)) and not backend.is_device(np.float64(1))


def test_mse_there():
    there = mse(put(np.arange(3.0)), put(np.ones(3)))
    assert float(there.mean) == mse(np.arange(3.0), np.ones(3)).mean and isinstance(there, Loss)
