"""Attention, recurrence and functions: forward and backward, float32, the same random numbers on both sides.

A row function yields its contests, smallest first. torch is the module, or None where PyTorch is missing. Sizes are
arguments, so that tests can take small ones. put: where our arrays are brought before they are computed with; PyTorch's
tensors are made on its default device.
"""

import numpy as np

from minattn import op as ops
from minattn import tree
from minattn.attention import additive, fused
from minattn.bench.measure import Contest
from minattn.functions import FUNCTIONS, Loss, cross_entropy, cross_entropy_backward
from minattn.masks import causal
from minattn.recurrent import lstm

SHORT, MIDDLE, LONG = 128, 512, 8192  # steps up to which the goals of a row hold, and from which on it is long
ATTENTION = (16, 4, 32, 32), (16, 4, 64, 32), (8, 4, 128, 32), (4, 4, 512, 64), (1, 4, 2048, 64), (1, 2, 8192, 64)
LSTM = (32, 50, 64, 64), (32, 100, 128, 128), (64, 200, 256, 256)
NORM = (16, 64, 128), (32, 128, 512)
GELU = (16, 64, 512), (32, 128, 1024)
EMBEDDING = (64, 64, 65, 128), (64, 64, 5000, 128)
CROSS_ENTROPY = (4096, 65), (1024, 5000), (256, 50000)
SOFTMAX = (16, 4, 64, 64), (4, 4, 512, 512)


def stay(arrays):
    """Our arrays remain where they are."""
    return arrays


def attention(rng, torch, sizes=ATTENTION, *, mechanism=fused, put=stay):
    """Plain and causal, against the fused kernel; (B, H, T, D)."""
    for B, H, T, D in sizes:
        inputs = normal(rng, *[(B, H, T, D)] * 3)
        dcontext = normal(rng, (B, H, T, D))
        aim, must = (0.55, 1.0) if T <= SHORT else (0.65, 1.0) if T <= MIDDLE else (1.0, 1.25)
        for looking_back in (False, True):

            def theirs(params, *inputs, looking_back=looking_back):
                return torch.nn.functional.scaled_dot_product_attention(*inputs, is_causal=looking_back)

            options = {"mask": causal()} if looking_back else {}
            yield Contest(
                f"attention{', causal' * looking_back}  {B}x{H} heads, T {T}, D {D}",
                op_work(mechanism, {}, put(inputs), put(dcontext), options),
                twin_work(torch, theirs, {}, inputs, dcontext, ("query", "key", "value")),
                aim,
                must,
                flops=6 * 2 * B * H * T * T * D / (2 if looking_back else 1),  # two products forward, four backward
                long=T >= LONG,
            )


def lstm_layer(rng, torch, sizes=LSTM, *, put=stay):
    """One layer over a whole sequence, against nn.LSTM; (B, T, I, N)."""
    for B, T, I, N in sizes:
        aim, must = (1.1, 1.7) if N < 256 else (0.8, 1.0)
        yield _lstm(rng, torch, B, T, I, N, f"LSTM  B {B}, T {T}, I {I}, N {N}", aim, must, _layer, put)


def lstm_loop(rng, torch, sizes=LSTM[:2], *, put=stay):
    """The same against a loop over time with nn.LSTMCell; (B, T, I, N)."""
    for B, T, I, N in sizes:
        yield _lstm(rng, torch, B, T, I, N, f"LSTM against cells  B {B}, T {T}, I {I}, N {N}", 0.3, 0.5, _cells, put)


def _lstm(rng, torch, B, T, I, N, name, aim, must, way, put):
    problem = single(lstm.init(rng, I=I, N=N)), normal(rng, (B, T, I)), normal(rng, (B, T, N))
    params, inputs, doutputs = put(problem)

    def ours():
        (outputs, _), cache = lstm.forward(params, inputs)
        (dinputs, _), dparams = lstm.backward((doutputs, None), cache)
        return {"outputs": outputs, "dinputs": dinputs, "dparams": dparams}

    theirs = None if torch is None else way(torch, *problem)
    return Contest(name, ours, theirs, aim, must, flops=3 * 2 * B * T * (I + N) * 4 * N)


def _layer(torch, params, inputs, doutputs):
    module = with_weights(torch, torch.nn.LSTM, {"_l0": params}, batch_first=True)
    return _module_work(torch, module, lambda inputs: module(inputs)[0], inputs, doutputs)


def _cells(torch, params, inputs, doutputs):
    cell = with_weights(torch, torch.nn.LSTMCell, {"": params})

    def loop(inputs):
        state, outputs = None, []
        for x in inputs.unbind(1):
            state = cell(x, state)
            outputs.append(state[0])
        return torch.stack(outputs, 1)

    return _module_work(torch, cell, loop, inputs, doutputs)


def _module_work(torch, module, run, inputs, doutputs):
    inputs, doutputs = torch.tensor(inputs, requires_grad=True), torch.tensor(doutputs)

    def theirs():
        outputs = run(inputs)
        dinputs, *dweights = torch.autograd.grad(outputs, [inputs, *module.parameters()], doutputs)
        return {"outputs": outputs, "dinputs": dinputs, "dparams": as_cell(*dweights)}

    return theirs


def with_weights(torch, Module, sides, **settings):
    """nn.LSTM or nn.LSTMCell with our weights, sides by suffix: gates in our order, matrices transposed."""
    weights = {}
    for suffix, params in sides.items():
        W_input, W_hidden, b = (torch.tensor(params[name]) for name in ("W_input", "W_hidden", "b"))
        own = {"weight_ih": W_input.mT, "weight_hh": W_hidden.mT, "bias_ih": b, "bias_hh": torch.zeros_like(b)}
        weights |= {name + suffix: weight for name, weight in own.items()}
    module = Module(len(W_input), len(W_hidden), **settings)
    module.load_state_dict(weights)
    return module


def as_cell(dweight_ih, dweight_hh, dbias_ih, dbias_hh=None):
    """Gradients of nn.LSTM or nn.LSTMCell under our names; its second bias has the gradient of the first."""
    return {"W_input": dweight_ih.mT, "W_hidden": dweight_hh.mT, "b": dbias_ih}


def additive_loop(rng, torch, B=32, T=20, S=50, N=128):
    """A decoder asks one memory at every step; the keys are projected once, on both sides."""
    params = single(additive.init(rng, N=N, D=N, A=N))
    queries, key, dcontexts = normal(rng, (B, T, N), (B, S, N), (B, T, N))
    steps = [slice(t, t + 1) for t in range(T)]

    def ours():
        memory, prepared = additive.prepare(params, key, key)
        looked = [additive.attend(params, queries[:, t], memory) for t in steps]
        dmemory, dparams, dqueries = None, None, [None] * T
        for t in reversed(range(T)):
            (dqueries[t], dlooked, _), dattend = additive.attend_backward(dcontexts[:, steps[t]], looked[t][1])
            dmemory, dparams = tree.add(dmemory, dlooked), tree.add(dparams, dattend)
        (dkey, dvalue), dprepare = additive.prepare_backward(dmemory, prepared)
        contexts = np.concatenate([context for context, _ in looked], axis=1)
        dqueries = np.concatenate(dqueries, axis=1)
        return {"out": contexts, "dqueries": dqueries, "dkey": dkey + dvalue, "dparams": dparams | dprepare}

    def theirs(params, queries, key):
        projected = key @ params["W_key"]
        contexts = [bahdanau(torch, params, queries[:, t], projected, key) for t in steps]
        return torch.cat(contexts, dim=1)

    yield Contest(
        f"additive attention in a loop  B {B}, T {T}, S {S}, N {N}",
        ours,
        twin_work(torch, theirs, params, (queries, key), dcontexts, ("queries", "key")),
        0.25,
        0.5,
    )


def bahdanau(torch, params, query, projected, value):
    """query (B, 1, N), projected (B, S, A), value (B, S, N) -> context (B, 1, N), in PyTorch."""
    hidden = torch.tanh(torch.addmm(params["b"], query[:, 0], params["W_query"])[:, None] + projected)
    weights = torch.softmax(hidden @ params["v"], dim=-1)
    return weights[:, None] @ value


def cross_entropies(rng, torch, sizes=CROSS_ENTROPY):
    """The mean over all rows; (rows, V)."""
    for rows, V in sizes:
        logits, targets = normal(rng, (rows, V)), rng.integers(V, size=rows)

        def ours(logits=logits, targets=targets):
            loss, *needed = cross_entropy(logits, targets)
            return {"out": loss.mean, "dlogits": cross_entropy_backward(Loss(mean=1), *needed)}

        def theirs(params, logits, targets):
            return torch.nn.functional.cross_entropy(logits, targets)

        one = np.ones((), np.float32)
        twin = twin_work(torch, theirs, {}, (logits, targets), one, ("logits", "targets"))
        yield Contest(f"cross-entropy  {rows} rows, V {V}", ours, twin, 0.2, 0.6)


def layer_norms(rng, torch, sizes=NORM):
    """With the gradients of gain and bias; (B, T, M)."""
    for B, T, M in sizes:

        def theirs(params, x, gain, bias):
            return torch.nn.functional.layer_norm(x, gain.shape, gain, bias)

        name = f"LayerNorm  {B}x{T}, M {M}"
        yield _function(rng, torch, "layer_norm", theirs, normal(rng, (B, T, M), M, M), name, 2.0, 4.0)


def gelus(rng, torch, sizes=GELU):
    """By tanh, on both sides; the shape of x."""
    for shape in sizes:

        def theirs(params, x):
            return torch.nn.functional.gelu(x, approximate="tanh")

        name = f"GELU (tanh)  {'x'.join(map(str, shape))}"
        yield _function(rng, torch, "gelu_tanh", theirs, (normal(rng, shape),), name, 0.6, 1.2)


def softmaxes(rng, torch, sizes=SOFTMAX):
    """Along the last axis; the shape of the scores."""
    for shape in sizes:

        def theirs(params, scores):
            return torch.softmax(scores, dim=-1)

        name = f"softmax  {'x'.join(map(str, shape))}"
        yield _function(rng, torch, "softmax", theirs, (normal(rng, shape),), name)


def embeddings(rng, torch, sizes=EMBEDDING):
    """Reading rows of a table, and the gradient at the table; (B, T, V, M)."""
    for B, T, V, M in sizes:

        def theirs(params, table, ids):
            return torch.nn.functional.embedding(ids, table)

        inputs = normal(rng, (V, M)), rng.integers(V, size=(B, T))
        yield _function(rng, torch, "embedding", theirs, inputs, f"embedding  {B}x{T} ids, V {V}, M {M}", 1.2, 3.0)


def _function(rng, torch, function, theirs, inputs, name, aim=None, must=None):
    op = ops.pair(*FUNCTIONS[function])
    out, _ = op.forward({}, *inputs)
    dout = normal(rng, out.shape)
    return Contest(name, op_work(op, {}, inputs, dout), twin_work(torch, theirs, {}, inputs, dout, op.names), aim, must)


def op_work(op, params, inputs, dout, options=None):
    """Forward and backward of an op as one side of a contest."""
    names, options = ops.inputs(op), options or {}

    def ours():
        out, cache = op.forward(params, *inputs, **options)
        dinputs, dparams = op.backward(dout, cache)
        return _named(out, names, dinputs, dparams)

    return ours


def twin_work(torch, twin, params, inputs, dout, names):
    """twin(params, *inputs) in PyTorch, and autograd, as the other side; None without PyTorch."""
    if torch is None:
        return None
    params, inputs = tensors(torch, params), tensors(torch, inputs)
    leaves = [leaf for _, leaf in tree.leaves((params, inputs)) if leaf.requires_grad]
    dout = torch.tensor(dout)

    def theirs():
        out = twin(params, *inputs)
        gradients = iter(torch.autograd.grad(out, leaves, dout))
        dparams, dinputs = tree.map(lambda x: next(gradients) if x.requires_grad else None, (params, inputs))
        return _named(out, names, dinputs, dparams)

    return theirs


def _named(out, names, dinputs, dparams):
    return {"out": out, **{f"d{name}": d for name, d in zip(names, dinputs, strict=False)}, "dparams": dparams}


def tensors(torch, arrays):
    """The tree as tensors of their own, which collect gradients where they hold fractions."""
    return tree.map(lambda x: torch.tensor(x, requires_grad=x.dtype.kind == "f"), arrays)


def normal(rng, *shapes):
    """float32 of each shape; of one shape alone the array itself."""
    drawn = tuple(rng.standard_normal(shape, dtype=np.float32) for shape in shapes)
    return drawn if len(drawn) > 1 else drawn[0]


def single(params):
    """Parameters in float32."""
    return tree.astype(params, np.float32)
