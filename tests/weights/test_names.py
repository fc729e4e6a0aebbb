"""Other people's names: their formulas in plain loops over their arrays, and our ops over what was read from these.

The modules themselves are asked in tests/parity/test_weights.py and tests/minilm/test_names.py.
"""

import math
import re

import numpy as np
import pytest
from device import DeviceArray

from minattn import tree
from minattn.attention import multihead
from minattn.models import block, language_model, minilm
from minattn.op import bind
from minattn.recurrent import bidirectional, gru, layers, lstm, rnn
from minattn.weights import huggingface, names, pytorch

T, S, I, N = 4, 3, 5, 3
M, H, F, V, P, U = 6, 3, 7, 11, 5, 4
CELLS = {"rnn": (pytorch.rnn, rnn, 1), "lstm": (pytorch.lstm, lstm, 4), "gru": (pytorch.gru, gru, 3)}
CELL = pytest.mark.parametrize("name", CELLS)
DIRECTIONS = pytest.mark.parametrize("both", [False, True], ids=["one direction", "two directions"])
LAYERS = pytest.mark.parametrize("L", [1, 3], ids=["1 layer", "3 layers"])
BIAS = pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def drawn(rng, shapes):
    """{name: shape} -> {name: array}, no two numbers alike."""
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def equal(left, right):
    """The same paths, dtypes and bits."""
    left, right = dict(tree.leaves(left)), dict(tree.leaves(right))
    assert left.keys() == right.keys()
    for path, x in left.items():
        assert x.dtype == right[path].dtype and x.shape == right[path].shape, path
        np.testing.assert_array_equal(x, right[path], err_msg=path)


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)


# Recurrent layers, as PyTorch's manual has them: matrices (out, in) before a column, and two biases.


def recurrent_state(rng, gates, L=1, both=False, bias=True):
    shapes = {}
    for l in range(L):
        for suffix in ("", "_reverse") if both else ("",):
            width = I if l == 0 else 2 * N if both else N
            shapes[f"weight_ih_l{l}{suffix}"] = (gates * N, width)
            shapes[f"weight_hh_l{l}{suffix}"] = (gates * N, N)
            if bias:
                shapes |= {f"bias_{x}h_l{l}{suffix}": (gates * N,) for x in "ih"}
    return drawn(rng, shapes)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rnn_step(read, kept, hidden, memory):
    return np.tanh(read + kept), memory


def lstm_step(read, kept, hidden, memory):
    i, f, g, o = np.split(read + kept, 4)
    memory = sigmoid(f) * memory + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(memory), memory


def gru_step(read, kept, hidden, memory):
    (r, z, n), (r2, z2, n2) = np.split(read, 3), np.split(kept, 3)
    r, z = sigmoid(r + r2), sigmoid(z + z2)
    return (1 - z) * np.tanh(n + r * n2) + z * hidden, memory


def by_hand(state, x, step, L, both):
    """x (T, I) through all the layers -> (T, N or 2N)."""
    for l in range(L):
        sides = []
        for suffix in ("", "_reverse") if both else ("",):
            W, U, b, c = (
                state.get(f"{kind}_l{l}{suffix}", 0) for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            hidden, memory, outputs = np.zeros(N), np.zeros(N), {}
            for t in reversed(range(len(x))) if suffix else range(len(x)):
                hidden, memory = step(W @ x[t] + b, U @ hidden + c, hidden, memory)
                outputs[t] = hidden
            sides.append(np.stack([outputs[t] for t in range(len(x))]))
        x = np.concatenate(sides, axis=1)
    return x


@BIAS
@LAYERS
@DIRECTIONS
@CELL
def test_recurrent(rng, name, both, L, bias):
    theirs, cell, gates = CELLS[name]
    state, x = recurrent_state(rng, gates, L, both, bias), rng.normal(size=(T, I))
    params = theirs.read(state)
    (outputs, _), _ = layers.forward(params, x[None], cell=bind(bidirectional, cell=cell) if both else cell)
    close(outputs[0], by_hand(state, x, {"rnn": rnn_step, "lstm": lstm_step, "gru": gru_step}[name], L, both))


@LAYERS
@DIRECTIONS
@CELL
def test_recurrent_there_and_back(rng, name, both, L):
    theirs, cell, gates = CELLS[name]
    state = recurrent_state(rng, gates, L, both)
    params = theirs.read(state)
    written = theirs.write(params)
    assert {k: x.shape for k, x in written.items()} == {k: x.shape for k, x in state.items()}
    equal({k: x for k, x in written.items() if "weight" in k}, {k: x for k, x in state.items() if "weight" in k})
    equal(theirs.read(written), params)
    for bias in (k for k in state if "bias_ih" in k):
        other = bias.replace("bias_ih", "bias_hh")
        two = name == "gru"  # both stay, since they are not only added
        np.testing.assert_array_equal(written[bias], state[bias] if two else state[bias] + state[other])
        np.testing.assert_array_equal(written[other], state[other] if two else 0)


@CELL
def test_a_cell_of_our_own_goes_there_and_back(rng, name):
    theirs, cell, _ = CELLS[name]
    sides = {"forward": cell.init(rng, I=I, N=N), "backward": cell.init(rng, I=I, N=N)}
    params = {"0": sides, "1": {side: cell.init(rng, I=2 * N, N=N) for side in sides}}
    equal(theirs.read(theirs.write(params)), params)


def test_the_candidate_of_the_gru_keeps_its_second_bias(rng):
    state = recurrent_state(rng, 3)
    equal(pytorch.gru.read(state)["0"]["b_hidden"], state["bias_hh_l0"])


def test_gates_of_another_cell(rng):
    with pytest.raises(ValueError, match=re.escape(
        "weight_hh_l0 (9, 3) has 3 N rows for N = 3, as in nn.GRU, but nn.LSTM has 4 N"
    )):  # fmt: skip
        pytorch.lstm.read(recurrent_state(rng, 3))
    with pytest.raises(ValueError, match=r"\(12, 3\) has 4 N rows for N = 3, as in nn.LSTM, but nn.RNN has 1 N"):
        pytorch.rnn.read(recurrent_state(rng, 4))
    with pytest.raises(ValueError, match=r"\(3, 3\) has 1 N rows for N = 3, as in nn.RNN, but nn.GRU has 3 N"):
        pytorch.gru.read(recurrent_state(rng, 1))


def test_projections_are_refused(rng):
    state = recurrent_state(rng, 4) | {"weight_hr_l0": np.zeros((2, N))}
    with pytest.raises(ValueError, match="weight_hr_l0 comes from proj_size, a projection of the state that no cell"):
        pytorch.lstm.read(state)


@CELL
def test_a_layer_in_the_middle_is_missing(rng, name):
    theirs, _, gates = CELLS[name]
    state = {k: x for k, x in recurrent_state(rng, gates, L=3).items() if "_l1" not in k}
    gone = r"missing weight_ih_l1, weight_hh_l1, bias_ih_l1, bias_hh_l1$"
    with pytest.raises(ValueError, match=rf"^this is no state of {theirs.title}: {gone}"):
        theirs.read(state)


def test_only_some_biases(rng):
    """bias=False leaves out all of them; where one is there, the others are missing."""
    state = recurrent_state(rng, 4, L=2)
    del state["bias_ih_l1"], state["bias_hh_l1"]
    with pytest.raises(ValueError, match="missing bias_ih_l1, bias_hh_l1$"):
        pytorch.lstm.read(state)


def test_a_number_that_no_module_has(rng):
    """A damaged file does not make us look for a million layers: for no more than there are keys."""
    for number in ("999999", "9" * 5000):
        state = recurrent_state(rng, 4) | {f"weight_ih_l{number}": np.zeros(1)}
        with pytest.raises(ValueError, match=f"bias_hh_l2 and 8 more; unexpected weight_ih_l{number}$"):
            pytorch.lstm.read(state)


# Attention, every head by itself.


def attention(query, key, value, look, H, mask=None):
    """look: (out, in) matrices and biases of query, key, value and out, the rows of the heads below each other."""
    (W_query, b_query), (W_key, b_key), (W_value, b_value), (W_out, b_out) = look
    D, joined = len(W_query) // H, []
    for h in range(H):
        rows = slice(h * D, (h + 1) * D)
        q, k, v = (
            x @ W[rows].T + (b[rows] if np.ndim(b) else b)
            for x, W, b in ((query, W_query, b_query), (key, W_key, b_key), (value, W_value, b_value))
        )
        scores = q @ k.T / math.sqrt(D)
        scores = scores if mask is None else np.where(mask, scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        joined.append(weights / weights.sum(axis=1, keepdims=True) @ v)
    return np.concatenate(joined, axis=1) @ W_out.T + b_out


def attention_state(rng, separate=False, bias=True, start=""):
    if separate:
        shapes = {"q_proj_weight": (M, M), "k_proj_weight": (M, P), "v_proj_weight": (M, U)}
    else:
        shapes = {"in_proj_weight": (3 * M, M)}
    shapes |= {"out_proj.weight": (M, M)} | ({"in_proj_bias": (3 * M,), "out_proj.bias": (M,)} if bias else {})
    return drawn(rng, {start + name: shape for name, shape in shapes.items()})


def looks(state, start=""):
    """-> what `attention` wants, of nn.MultiheadAttention."""
    if start + "in_proj_weight" in state:
        W = np.split(state[start + "in_proj_weight"], 3)
    else:
        W = [state[f"{start}{x}_proj_weight"] for x in "qkv"]
    b = np.split(state[start + "in_proj_bias"], 3) if start + "in_proj_bias" in state else [0, 0, 0]
    out = state[start + "out_proj.weight"], state.get(start + "out_proj.bias", 0)
    return [*zip(W, b, strict=True), out]


SEPARATE = pytest.mark.parametrize("separate", [False, True], ids=["one matrix", "three matrices"])


@BIAS
@SEPARATE
@pytest.mark.parametrize("heads", [1, 2, 3])
def test_attention(rng, separate, bias, heads):
    state, query = attention_state(rng, separate, bias), rng.normal(size=(T, M))
    key, value = (rng.normal(size=(S, width if separate else M)) for width in (P, U))
    params = pytorch.multihead.read(state, H=heads)
    assert any(name.startswith("b_") for name in params) == bias
    close(multihead.forward(params, query, key, value)[0], attention(query, key, value, looks(state), heads))
    written = pytorch.multihead.write(params)
    equal(written, state)
    equal(pytorch.multihead.read(written, H=heads), params)


@BIAS
@pytest.mark.parametrize("sizes", [{}, {"P": P}, {"U": U}, {"P": P, "U": U}], ids=str)
def test_attention_of_our_own_goes_there_and_back(rng, sizes, bias):
    params = multihead.init(rng, M=M, H=H, bias=bias, **sizes)
    state = pytorch.multihead.write(params)
    assert ("q_proj_weight" in state) == bool(sizes)  # PyTorch has one matrix where all widths are the same
    equal(pytorch.multihead.read(state, H=H), params)


@pytest.mark.parametrize("heads", [0, -1, 2.5, True, "3", None, 4])
def test_heads_that_cannot_be(rng, heads):
    says = "a width of M=6 cannot be cut into H=4 heads: give" if heads == 4 else "H must be a whole number of at least"
    with pytest.raises(ValueError, match=says):
        pytorch.multihead.read(attention_state(rng), H=heads)


def test_attention_that_has_no_place_here(rng):
    with pytest.raises(ValueError, match="bias_k comes from add_bias_kv, a key that is always there"):
        pytorch.multihead.read(attention_state(rng) | {"bias_k": np.zeros((1, 1, M))}, H=H)
    state = attention_state(rng)
    del state["in_proj_bias"]
    with pytest.raises(ValueError, match="missing in_proj_bias$"):
        pytorch.multihead.read(state, H=H)


def test_attention_that_has_no_place_there(rng):
    """Shared key heads, heads of a width of their own, an inner mechanism."""
    grouped = multihead.init(rng, M=M, H=H, G=1)
    says = "these are no parameters of nn.MultiheadAttention: misshaped W_query (6, 3, 2), W_key (6, 1, 2), "
    with pytest.raises(ValueError, match=re.escape(says + "W_value (6, 1, 2) for in_proj_weight (3M, M)")):
        pytorch.multihead.write(grouped)
    with pytest.raises(ValueError, match=r"misshaped W_query \(6, 3, 4\), .* for in_proj_weight"):
        pytorch.multihead.write(multihead.init(rng, M=M, H=H, D=4))
    with pytest.raises(ValueError, match=r"misshaped W_out \(3, 4, 6\) for out_proj.weight \(M = 6, M = 6\)"):
        pytorch.multihead.write(multihead.init(rng, M=M, H=H) | {"W_out": np.zeros((3, 4, 6))})
    with pytest.raises(ValueError, match="unexpected inner.v"):
        pytorch.multihead.write(multihead.init(rng, M=M, H=H) | {"inner": {"v": np.ones(3)}})
    for W in (np.ones(()), np.ones(M), np.ones((P, H, 2, 2))):
        with pytest.raises(ValueError, match="misshaped .*W_key"):
            pytorch.multihead.write(multihead.init(rng, M=M, H=H) | {"W_key": W})


# Layers and models, row by row.


def layer_norm(x, gain, bias, eps):
    return (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + eps) * gain + bias


def gelu(x):
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def gelu_new(x):
    return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


ACTIVATIONS = {"relu": lambda x: np.maximum(x, 0), "gelu": gelu}


def layer_state(rng, cross, bias=True):
    names = ("self_attn.", "multihead_attn.")[: 1 + cross]
    state = {name: x for start in names for name, x in attention_state(rng, bias=bias, start=start).items()}
    shapes = {"linear1.weight": (F, M), "linear2.weight": (M, F)} | {
        f"norm{i + 1}.weight": (M,) for i in range(2 + cross)
    }
    if bias:
        shapes |= {name.replace("weight", "bias"): shape[:1] for name, shape in shapes.items()}
    return state | drawn(rng, shapes)


def layer_by_hand(state, x, memory, *, norm_first, activation):
    feed = lambda x: (  # noqa: E731
        activation(x @ state["linear1.weight"].T + state.get("linear1.bias", 0)) @ state["linear2.weight"].T
        + state.get("linear2.bias", 0)
    )
    parts = [lambda x: attention(x, x, x, looks(state, "self_attn."), H)]
    if memory is not None:
        parts.append(lambda x: attention(x, memory, memory, looks(state, "multihead_attn."), H))
    for i, part in enumerate([*parts, feed], 1):
        norm = lambda x, i=i: layer_norm(x, state[f"norm{i}.weight"], state.get(f"norm{i}.bias", 0), 1e-5)  # noqa: E731
        x = x + part(norm(x)) if norm_first else norm(x + part(x))
    return x


@BIAS
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("norm_first", [True, False], ids=["norm first", "norm last"])
@pytest.mark.parametrize("theirs", [pytorch.encoder_layer, pytorch.decoder_layer], ids=["encoder", "decoder"])
def test_layer(rng, theirs, norm_first, activation, bias):
    state, x = layer_state(rng, theirs.cross, bias), rng.normal(size=(T, M))
    memory = rng.normal(size=(S, M)) if theirs.cross else None
    params, settings = theirs.read(state, H=H, norm_first=norm_first, activation=activation)
    out, _ = block.forward(params, x[None], None if memory is None else memory[None], **settings)
    by_hand = layer_by_hand(state, x, memory, norm_first=norm_first, activation=ACTIVATIONS[activation])
    close(out[0], by_hand)
    written = theirs.write(params)
    equal({name: written[name] for name in state}, state)
    assert not any(written[name].any() for name in written.keys() - state.keys())  # a bias that was none is 0
    equal(theirs.read(written, H=H)[0], params)


def test_layers_by_default_are_as_pytorch_makes_them(rng):
    _, settings = pytorch.encoder_layer.read(layer_state(rng, False), H=H)
    assert settings == {"norm_first": False, "activation": "relu"}


def test_layers_that_cannot_be_read(rng):
    with pytest.raises(ValueError, match="activation must be one of relu, gelu, as PyTorch's is, but is 'silu'"):
        pytorch.encoder_layer.read(layer_state(rng, False), H=H, activation="silu")
    with pytest.raises(
        ValueError, match=r"no state of nn.TransformerEncoderLayer: unexpected multihead_attn.in_proj_we"
    ):
        pytorch.encoder_layer.read(layer_state(rng, True), H=H)
    state = layer_state(rng, False)
    del state["self_attn.in_proj_bias"], state["norm1.bias"]
    with pytest.raises(ValueError, match="missing self_attn.in_proj_bias, norm1.bias$"):
        pytorch.encoder_layer.read(state, H=H)


def test_layers_that_have_no_place_there(rng):
    """Keys of a width of their own, matrices that are none."""
    params = block.init(rng, M=M, H=H, F=F)
    for path, W in (("look.W_key", np.ones((P, H, 2))), ("look.W_out", np.ones(())), ("feed.W_in", np.ones(F))):
        inner, name = path.split(".")
        wrong = params | {inner: params[inner] | {name: W}}
        with pytest.raises(
            ValueError, match=f"^these are no parameters of .*: misshaped .*{re.escape(f'{path} {W.shape}')}"
        ):
            pytorch.encoder_layer.write(wrong)


L = 2


def bert_state(rng):
    shapes = {
        "embeddings.word_embeddings.weight": (V, M),
        "embeddings.position_embeddings.weight": (T, M),
        "embeddings.token_type_embeddings.weight": (2, M),
    }
    norms = ["embeddings.LayerNorm"]
    for l in range(L):
        start = f"encoder.layer.{l}."
        squares = [f"attention.self.{part}" for part in ("query", "key", "value")] + ["attention.output.dense"]
        shapes |= {f"{start}{name}.weight": (M, M) for name in squares} | {
            f"{start}{name}.bias": (M,) for name in squares
        }
        shapes |= {f"{start}intermediate.dense.weight": (F, M), f"{start}intermediate.dense.bias": (F,)}
        shapes |= {f"{start}output.dense.weight": (M, F), f"{start}output.dense.bias": (M,)}
        norms += [f"{start}attention.output.LayerNorm", f"{start}output.LayerNorm"]
    shapes |= {f"{norm}.{end}": (M,) for norm in norms for end in ("weight", "bias")}
    return drawn(rng, shapes)


def bert_by_hand(state, ids, types):
    def norm(x, name):
        return layer_norm(x, state[f"{name}.weight"], state[f"{name}.bias"], 1e-12)

    def dense(name):
        return state[f"{name}.weight"], state[f"{name}.bias"]

    def through(x, name):
        W, b = dense(name)
        return x @ W.T + b

    tables = (state[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "position", "token_type"))
    x = sum(table[i] for table, i in zip(tables, (ids, np.arange(len(ids)), types), strict=True))
    x = norm(x, "embeddings.LayerNorm")
    for l in range(L):
        start = f"encoder.layer.{l}."
        parts = [f"{start}attention.self.{part}" for part in ("query", "key", "value")]
        look = [dense(name) for name in [*parts, f"{start}attention.output.dense"]]
        x = norm(x + attention(x, x, x, look, H), f"{start}attention.output.LayerNorm")
        fed = through(gelu(through(x, f"{start}intermediate.dense")), f"{start}output.dense")
        x = norm(x + fed, f"{start}output.LayerNorm")
    return x


def test_bert(rng):
    state, ids, types = bert_state(rng), rng.integers(V, size=T), rng.integers(2, size=T)
    params = huggingface.bert.read(state, H=H)
    hidden, _ = minilm.forward(params, ids[None], types=types[None])
    close(hidden[0], bert_by_hand(state, ids, types))
    written = huggingface.bert.write(params)
    equal(written, state)
    equal(huggingface.bert.read(written, H=H), params)


def test_bert_of_our_own_goes_there_and_back(rng):
    params = minilm.init(rng, V=V, M=M, H=H, L=3, T=T, F=F)
    equal(huggingface.bert.read(huggingface.bert.write(params), H=H), params)


def test_bert_for_a_task(rng):
    """What a task adds is left out, and so is what is no parameter."""
    state = bert_state(rng)
    more = {"pooler.dense.weight": np.ones((M, M)), "embeddings.position_ids": np.arange(T)[None]}
    equal(huggingface.bert.read(state | more, H=H), huggingface.bert.read(state, H=H))
    inside = {f"bert.{name}": x for name, x in (state | more).items()}
    equal(huggingface.bert.read(inside | {"cls.predictions.bias": np.ones(V)}, H=H), huggingface.bert.read(state, H=H))
    with pytest.raises(ValueError, match="no state of BertModel: unexpected classifier.weight$"):
        huggingface.bert.read(state | {"classifier.weight": np.ones((2, M))}, H=H)


def test_bert_by_its_first_names(rng):
    """As it was published, a norm has gamma and beta."""
    state = bert_state(rng)
    old = {re.sub("(LayerNorm.)(weight|bias)", lambda m: m[1] + {"weight": "gamma", "bias": "beta"}[m[2]], k): x
           for k, x in state.items()}  # fmt: skip
    assert sum(name.endswith("LayerNorm.gamma") for name in old) == 1 + 2 * L
    equal(huggingface.bert.read(old, H=H), huggingface.bert.read(state, H=H))


def gpt2_state(rng):
    """As GPT2Model has it: matrices (in, out)."""
    shapes, norms = {"wte.weight": (V, M), "wpe.weight": (T, M)}, ["ln_f"]
    for l in range(L):
        ends = {"attn.c_attn": (M, 3 * M), "attn.c_proj": (M, M), "mlp.c_fc": (M, F), "mlp.c_proj": (F, M)}
        shapes |= {f"h.{l}.{end}.weight": shape for end, shape in ends.items()}
        shapes |= {f"h.{l}.{end}.bias": shape[1:] for end, shape in ends.items()}
        norms += [f"h.{l}.ln_1", f"h.{l}.ln_2"]
    shapes |= {f"{norm}.{end}": (M,) for norm in norms for end in ("weight", "bias")}
    return drawn(rng, shapes)


def gpt2_by_hand(state, ids):
    def norm(x, name):
        return layer_norm(x, state[f"{name}.weight"], state[f"{name}.bias"], 1e-5)

    def through(x, name):
        return x @ state[f"{name}.weight"] + state[f"{name}.bias"]

    x, past = state["wte.weight"][ids] + state["wpe.weight"][: len(ids)], np.tri(len(ids), dtype=bool)
    for l in range(L):
        W, b = (np.split(state[f"h.{l}.attn.c_attn.{end}"], 3, axis=-1) for end in ("weight", "bias"))
        out = state[f"h.{l}.attn.c_proj.weight"].T, state[f"h.{l}.attn.c_proj.bias"]
        look = [*((W.T, b) for W, b in zip(W, b, strict=True)), out]
        seen = norm(x, f"h.{l}.ln_1")
        x = x + attention(seen, seen, seen, look, H, past)
        x = x + through(gelu_new(through(norm(x, f"h.{l}.ln_2"), f"h.{l}.mlp.c_fc")), f"h.{l}.mlp.c_proj")
    return norm(x, "ln_f") @ state["wte.weight"].T


def test_gpt2(rng):
    state, ids = gpt2_state(rng), rng.integers(V, size=T)
    params, settings = huggingface.gpt2.read(state, H=H)
    logits, _ = language_model.forward(params, ids[None], **settings)
    close(logits[0], gpt2_by_hand(state, ids))
    written = huggingface.gpt2.write(params)
    whole = {f"transformer.{name}": x for name, x in state.items()} | {"lm_head.weight": state["wte.weight"]}
    equal(written, whole)
    equal(huggingface.gpt2.read(written, H=H)[0], params)
    assert written["lm_head.weight"] is not written["transformer.wte.weight"]  # a tree holds no array twice


def test_gpt2_of_our_own_goes_there_and_back(rng):
    params = language_model.init(rng, V=V, M=M, H=H, L=3, F=F, T=T)
    equal(huggingface.gpt2.read(huggingface.gpt2.write(params), H=H)[0], params)
    with pytest.raises(ValueError, match="no parameters of GPT2LMHeadModel: missing positions; unexpected W_out$"):
        huggingface.gpt2.write(language_model.init(rng, V=V, M=M, H=H, L=1, tied=False))
    with pytest.raises(
        ValueError, match=r"misshaped blocks.1.look.W_query .* for h.1.attn.c_attn.weight \(M = 6, 3M = 18"
    ):
        params["blocks"]["1"] = block.init(rng, M=M, H=H, G=1, F=F)
        huggingface.gpt2.write(params)


def test_gpt2_as_older_versions_kept_it(rng):
    """With the mask of every layer among the parameters."""
    state = gpt2_state(rng)
    masks = {f"h.{l}.attn.bias": np.tri(T, dtype=bool)[None, None] for l in range(L)}
    masks |= {"h.0.attn.masked_bias": np.array(-1e4)}
    equal(huggingface.gpt2.read(state | masks, H=H)[0], huggingface.gpt2.read(state, H=H)[0])
    with pytest.raises(ValueError, match="unexpected h.0.attn.biased$"):
        huggingface.gpt2.read(state | {"h.0.attn.biased": np.ones(M)}, H=H)
    inside = {f"transformer.{name}": x for name, x in (state | masks).items()}
    equal(huggingface.gpt2.read(inside, H=H)[0], huggingface.gpt2.read(state, H=H)[0])


def test_gpt2_with_an_output_of_its_own(rng):
    state = gpt2_state(rng)
    for head in (rng.normal(size=(V, M)), np.zeros((V + 1, M))):
        with pytest.raises(ValueError, match="lm_head.weight has other numbers than wte.weight"):
            huggingface.gpt2.read(state | {"lm_head.weight": head}, H=H)
    del state["wte.weight"]
    with pytest.raises(ValueError, match="missing wte.weight$"):
        huggingface.gpt2.read(state | {"lm_head.weight": head}, H=H)


# What does not fit.


def test_everything_that_does_not_fit_is_told_at_once(rng):
    state = recurrent_state(rng, 4)
    state |= {"weight_hx_l0": state.pop("weight_hh_l0"), "fc.weight": np.ones(3)}
    state |= {"weight_ih_l0": np.zeros((12, 5, 1)), "bias_ih_l0": np.zeros(13)}
    with pytest.raises(ValueError, match="^" + re.escape(
        "this is no state of nn.LSTM: missing weight_hh_l0 (is it weight_hx_l0?); unexpected weight_hx_l0, fc.weight; "
        "misshaped weight_ih_l0 (12, 5, 1) where (4N, I) was expected, bias_ih_l0 (13,) where (4N) was expected"
    ) + "$"):  # fmt: skip
        pytorch.lstm.read(state)


def test_what_was_expected_is_told_in_numbers(rng):
    state = layer_state(rng, False) | {"linear1.bias": np.zeros(F + 1), "linear2.weight": np.zeros((F, M))}
    with pytest.raises(ValueError, match="misshaped " + re.escape(
        "linear1.bias (8,) where (F = 7) was expected, linear2.weight (7, 6) where (M = 6, F = 7) was expected"
    )):  # fmt: skip
        pytorch.encoder_layer.read(state, H=H)


def test_layers_that_contradict_each_other(rng):
    state = recurrent_state(rng, 4, L=2)
    state |= {"weight_hh_l1": np.zeros((16, 4)), "weight_ih_l1": np.zeros((16, N))}
    with pytest.raises(ValueError, match="misshaped " + re.escape(
        "weight_ih_l1 (16, 3) where (4N = 12, N = 3) was expected, weight_hh_l1 (16, 4) where (4N = 12, N = 3) was"
    )):  # fmt: skip
        pytorch.lstm.read(state)


@pytest.mark.parametrize("shape", [(0, 5), (12, 0), (), (12,), (13, 5), (12, 5, 1)], ids=str)
def test_shapes_that_cannot_be(rng, shape):
    with pytest.raises(ValueError, match=re.escape(f"misshaped weight_ih_l0 {shape} where (4N")):
        pytorch.lstm.read({"weight_ih_l0": np.zeros(shape)} | {
            name: x for name, x in recurrent_state(rng, 4).items() if name != "weight_ih_l0"
        })  # fmt: skip
    with pytest.raises(ValueError, match=f"misshaped.*{re.escape(f'weight_ih_l0 {shape}')}"):
        pytorch.lstm.read({"weight_ih_l0": np.zeros(shape), "weight_hh_l0": np.zeros((12, 3))})  # without biases


def test_many_are_cut():
    with pytest.raises(ValueError, match=r"; unexpected (k\d, ){7}k7 and 12 more$") as caught:
        huggingface.bert.read({f"k{i}": np.ones(1) for i in range(20)}, H=1)
    assert re.search(r"missing embeddings.word_embeddings.weight, .* and 13 more; ", str(caught.value))


def test_as_many_as_are_listed():
    eight = {f"k{i}": np.ones(1) for i in range(8)}
    with pytest.raises(ValueError, match="; unexpected k0, k1, k2, k3, k4, k5, k6, k7$"):
        pytorch.lstm.read(eight)


def test_only_near_names_are_suggested(rng):
    state = recurrent_state(rng, 4)
    for name, suggested in (("weight_hh", True), ("weight", False)):
        almost = {name if k == "weight_hh_l0" else k: x for k, x in state.items()}
        hint = rf" \(is it {name}\?\)" if suggested else ""
        with pytest.raises(ValueError, match=f"missing weight_hh_l0{hint}; unexpected {name}$"):
            pytorch.lstm.read(almost)


def test_what_stands_beside_the_parameters(rng):
    """Whole numbers, nothing, a text: unexpected, like any other key."""
    state = recurrent_state(rng, 4) | {"epoch": 3, "best": None, "note": "a text", "losses": [[1.0], [2.0]]}
    with pytest.raises(ValueError, match="no state of nn.LSTM: unexpected epoch, best, note, losses$"):
        pytorch.lstm.read(state)
    lists = {name: x.tolist() for name, x in recurrent_state(rng, 4).items()}
    equal(pytorch.lstm.read(lists), pytorch.lstm.read({name: np.array(x) for name, x in lists.items()}))


def test_nothing():
    says = "this is no state of nn.GRU: missing weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0"
    with pytest.raises(ValueError, match=f"^{says}$"):
        pytorch.gru.read({})
    for empty in (lambda: pytorch.multihead.read({}, H=1), lambda: huggingface.bert.read({}, H=1),
                  lambda: huggingface.gpt2.read({}, H=1), lambda: pytorch.decoder_layer.read({}, H=1)):  # fmt: skip
        with pytest.raises(ValueError, match="^this is no state of [^;]*: missing [^;]*$"):
            empty()
    for theirs in (pytorch.rnn, pytorch.multihead, pytorch.decoder_layer, huggingface.bert, huggingface.gpt2):
        with pytest.raises(ValueError, match=f"^these are no parameters of {theirs.title}: missing "):
            theirs.write({})


# What people give instead of a state dict.


class Module:
    """As nn.Module, and nn.ModuleDict with its items."""

    def state_dict(self):
        return {}

    def items(self):
        return []


@pytest.mark.parametrize(
    "state, says",
    [
        (Module(), r"but the Module itself came: give its state_dict\(\)"),
        ([np.ones(1)], "but a list came"),
        ("model.safetensors", "but a str came"),
        (None, "but a NoneType came"),
        ({3: np.ones(1)}, "but 3 is no name"),
        ({"epoch": 3, "model": {}, "optimizer": {}}, "a dict stands under model, optimizer: of a checkpoint give that"),
    ],
    ids=lambda x: type(x).__name__ if not isinstance(x, str) else "",
)
def test_no_state_dict(state, says):
    with pytest.raises(TypeError, match=f"^a dict of arrays by name was expected, .*{says}"):
        pytorch.lstm.read(state)
    for theirs in (pytorch.multihead, pytorch.encoder_layer, huggingface.bert, huggingface.gpt2):
        with pytest.raises(TypeError, match=says):
            theirs.read(state, H=1)


@pytest.mark.parametrize("start", ["module.", "_orig_mod.", "encoder.lstm."])
def test_a_module_inside_another(rng, start):
    state = {start + name: x for name, x in recurrent_state(rng, 4, L=2).items()}
    state |= {"fc.weight": np.ones(2), "norm.num_batches_tracked": np.array(5)}
    with pytest.raises(
        ValueError, match=f"is no state of nn.LSTM, but its names stand here after '{start}': "
    ) as caught:
        pytorch.lstm.read(state)
    advice = re.search(r"or (\{.*\})$", str(caught.value)).group(1)
    equal(pytorch.lstm.read(eval(advice, {"state": state})), pytorch.lstm.read(recurrent_state_like(state, start)))


def recurrent_state_like(state, start):
    return {name.removeprefix(start): x for name, x in state.items() if name.startswith(start)}


def test_a_stack_of_layers(rng):
    """Every place is named, and so is what stands inside a layer."""
    state = {f"layers.{l}.{name}": x for l in range(2) for name, x in layer_state(rng, False).items()}
    with pytest.raises(
        ValueError, match=r"its names stand here after 'layers.0.', 'layers.1.': give the state_dict\(\)"
    ):
        pytorch.encoder_layer.read(state, H=H)
    with pytest.raises(ValueError, match=r"stand here after 'layers.0.self_attn.', 'layers.1.self_attn.': "):
        pytorch.multihead.read(state, H=H)
    with pytest.raises(ValueError, match=r"stand here after 'model\.': "):
        pytorch.multihead.read({f"model.{name}": x for name, x in attention_state(rng, separate=True).items()}, H=H)
    with pytest.raises(ValueError, match=r"stand here after 'module.bert\.': "):
        huggingface.bert.read({f"module.bert.{name}": x for name, x in bert_state(rng).items()}, H=H)


def test_what_is_there_by_itself_is_read_by_itself(rng):
    """A name that comes again deeper is unexpected, not the place to look."""
    state = recurrent_state(rng, 4)
    with pytest.raises(ValueError, match="no state of nn.LSTM: unexpected old.weight_ih_l0$"):
        pytorch.lstm.read(state | {"old.weight_ih_l0": state["weight_ih_l0"]})
    with pytest.raises(ValueError, match=r"no state of nn.LSTM: missing weight_ih_l0 \(is it xweight_ih_l0\?\), "):
        pytorch.lstm.read({f"x{name}": x for name, x in state.items()})  # no dot: another name, not another place


@pytest.mark.parametrize(
    "x, says",
    [
        (np.array([[{}] * I] * 12, dtype=object), "holds object, but parameters are floating numbers, as float32 is"),
        (np.ones((12, I), dtype=int), "holds int64"),
        (np.ones((12, I), dtype=bool), "holds bool"),
        (np.ones((12, I), dtype=complex), "holds complex128"),
        (np.full((12, I), "text"), "holds <U4"),
    ],
    ids=["object", "int", "bool", "complex", "text"],
)
def test_what_is_no_floating_number(rng, x, says):
    with pytest.raises(TypeError, match=f"^weight_ih_l0 {says}"):
        pytorch.lstm.read(recurrent_state(rng, 4) | {"weight_ih_l0": x})
    params = pytorch.lstm.read(recurrent_state(rng, 4))
    params["0"]["W_input"] = x.T
    with pytest.raises(TypeError, match=f"^0.W_input {says}"):
        pytorch.lstm.write(params)


class Tensor:
    """As a tensor that needs gradients: the way to an array leads over detach and cpu."""

    def __init__(self, array):
        self.array, self.dtype = array, "torch.bfloat16"

    def detach(self):
        return Detached(self.array)


class Detached:
    def __init__(self, array):
        self.array = array

    def cpu(self):
        return OnHost(self.array)


class OnHost:
    def __init__(self, array):
        self.array = array

    def numpy(self):
        if isinstance(self.array, Exception):
            raise self.array
        return self.array


def test_tensors(rng):
    state = recurrent_state(rng, 4)
    equal(pytorch.lstm.read({name: Tensor(x) for name, x in state.items()}), pytorch.lstm.read(state))
    for error in (TypeError("Got unsupported ScalarType BFloat16"), NotImplementedError("no data!\nand more")):
        says = f"weight_ih_l0 is a tensor of torch.bfloat16 of which NumPy can make no array ({str(error)[:8]}"
        with pytest.raises(TypeError, match=re.escape(says) + r".*\): bfloat16 becomes float32 by module.float()"):
            pytorch.lstm.read(state | {"weight_ih_l0": Tensor(error)})


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_dtype_stays(rng, dtype):
    state = {name: x.astype(dtype) for name, x in recurrent_state(rng, 4, bias=False).items()}
    params = pytorch.lstm.read(state)
    assert {x.dtype for _, x in tree.leaves(params)} == {np.dtype(dtype)}
    assert {x.dtype for x in pytorch.lstm.write(params).values()} == {np.dtype(dtype)}


def test_strides_and_arrays_that_cannot_be_written(rng):
    state = bert_state(rng)
    strided = {name: np.repeat(x, 2, axis=0)[::2] for name, x in state.items()}
    for x in strided.values():
        x.flags.writeable = False
    params = huggingface.bert.read(strided, H=H)
    equal(params, huggingface.bert.read(state, H=H))
    assert all(x.flags.c_contiguous and x.flags.writeable for _, x in tree.leaves(params))
    written = huggingface.bert.write(tree.map(lambda x: np.repeat(x, 2, axis=0)[::2], params))
    assert all(x.flags.c_contiguous and x.flags.writeable for x in written.values())
    equal(written, state)


ALL = {
    "rnn": (pytorch.rnn, lambda rng: recurrent_state(rng, 1, L=2, both=True), {}),
    "lstm": (pytorch.lstm, lambda rng: recurrent_state(rng, 4, L=2), {}),
    "lstm without biases": (pytorch.lstm, lambda rng: recurrent_state(rng, 4, bias=False), {}),
    "gru": (pytorch.gru, lambda rng: recurrent_state(rng, 3), {}),
    "one matrix": (pytorch.multihead, attention_state, {"H": H}),
    "three matrices": (pytorch.multihead, lambda rng: attention_state(rng, separate=True), {"H": 1}),
    "encoder": (pytorch.encoder_layer, lambda rng: layer_state(rng, False), {"H": H}),
    "decoder": (pytorch.decoder_layer, lambda rng: layer_state(rng, True), {"H": H}),
    "bert": (huggingface.bert, bert_state, {"H": H}),
    "gpt2": (huggingface.gpt2, gpt2_state, {"H": H}),
}


def params_of(theirs, state, heads):
    read = theirs.read(state, **heads)
    return read[0] if isinstance(read, tuple) else read


@pytest.mark.parametrize("name", ALL)
def test_arrays_of_a_card(rng, name):
    theirs, make, heads = ALL[name]
    state = make(rng)
    params = params_of(theirs, {name: DeviceArray(x) for name, x in state.items()}, heads)
    equal(params, params_of(theirs, state, heads))
    assert all(type(x) is np.ndarray for _, x in tree.leaves(params))
    written = theirs.write(tree.map(DeviceArray, params))
    equal(written, theirs.write(params))
    assert all(type(x) is np.ndarray for x in written.values())


@pytest.mark.parametrize("name", ALL)
def test_both_ways_give_copies(rng, name):
    theirs, make, heads = ALL[name]
    state = make(rng)
    params = params_of(theirs, state, heads)
    before = tree.map(np.copy, params), tree.map(np.copy, state)
    written = theirs.write(params)
    arrays = [x for some in (state, params, written) for _, x in tree.leaves(some)]
    assert not any(np.may_share_memory(x, y) for i, x in enumerate(arrays) for y in arrays[:i])
    assert len(arrays) > 2 * len(state)
    equal(params, before[0])
    equal(state, before[1])


@pytest.mark.parametrize("name", ALL)
def test_every_key_matters(rng, name):
    """One key less, one more, one of another shape: each is named."""
    theirs, make, heads = ALL[name]
    state = make(rng)
    for key, x in state.items():
        with pytest.raises(ValueError, match=f"no state of {theirs.title}: .*{re.escape(key)}"):
            theirs.read({k: y for k, y in state.items() if k != key} | {f"{key}s": x}, **heads)
        with pytest.raises(ValueError, match=f"misshaped .*{re.escape(key)} {re.escape(str((1, *x.shape)))} where"):
            theirs.read(state | {key: x[None]}, **heads)
    params = params_of(theirs, state, heads)
    for path, _ in tree.leaves(params):
        with pytest.raises(ValueError, match=f"no parameters of {theirs.title}: missing {re.escape(path)}"):
            theirs.write(names.nested({p: x for p, x in tree.leaves(params) if p != path}))


def test_what_is_no_tree_of_ours(rng):
    read = pytorch.encoder_layer.read(layer_state(rng, False), H=H)
    with pytest.raises(TypeError, match="the parameters must be a nested dict of arrays, but a tuple came"):
        pytorch.encoder_layer.write(read)
    for theirs in (pytorch.lstm, pytorch.multihead, huggingface.bert, huggingface.gpt2):
        with pytest.raises(TypeError, match="the parameters must be a nested dict of arrays, but a list came"):
            theirs.write([np.ones(1)])
    with pytest.raises(
        ValueError, match=r"missing 0.W_input \(is it W_input\?\), .*; unexpected W_input, W_hidden, b$"
    ):
        pytorch.lstm.write(lstm.init(rng, I=I, N=N))  # one cell in the place of layers
    sides = {side: lstm.init(rng, I=I, N=N) for side in ("forward", "backward")}
    with pytest.raises(ValueError, match=r"missing 0.forward.W_input \(is it forward.W_input\?\)"):
        pytorch.lstm.write(sides)
