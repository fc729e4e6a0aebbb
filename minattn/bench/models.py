"""Whole models at work: training steps, decoding; and what a user waits for beside them.

The twins are what a careful user of PyTorch would write: fused kernels, one product for query, key and value, the fused
optimiser, nothing computed twice.
"""

import numpy as np

from minattn import optim, training, tree
from minattn.attention import additive, dot
from minattn.bench.measure import Contest, python
from minattn.bench.parts import as_cell, bahdanau, normal, single, stay, tensors, with_weights
from minattn.gradcheck import gradcheck
from minattn.models import language_model, minilm, seq2seq
from minattn.op import bind

RATE = 1e-4  # small: after hundreds of steps on one batch the work is still the same
PARTS = "query", "key", "value"
CHOICES = {"activation": "gelu_tanh"}


def adam_step(rng, torch, V=65, M=128, H=4, L=4, T=64):
    """All parameters of a Transformer, against the fused optimiser."""
    params = single(language_model.init(rng, V=V, M=M, H=H, L=L, T=T))
    grads = tree.map(lambda p: normal(rng, p.shape), params)
    flat = optim.Flat(params)

    def ours():
        flat.step(grads, learning_rate=RATE)
        return flat.params

    def twin():
        parameters = tensors(torch, params)
        tree.map(lambda p, g: setattr(p, "grad", torch.tensor(g)), parameters, grads)
        optimiser = torch.optim.Adam([p for _, p in tree.leaves(parameters)], lr=RATE, fused=True)

        def theirs():
            optimiser.step()
            return parameters

        return theirs

    count = sum(p.size for _, p in tree.leaves(params))
    yield Contest(f"Adam  {count:,} parameters", ours, twin() if torch else None, 1.5, 2.5, tolerance=1e-6)


def transformer_step(rng, torch, B=16, T=64, V=65, M=128, H=4, L=4, *, put=stay):
    """A training step of the language model: forward, loss, backward, AdamW."""
    op, params = bind(language_model, **CHOICES), single(language_model.init(rng, V=V, M=M, H=H, L=L, T=T))
    tokens = rng.integers(V, size=(B, T + 1))
    problem = (tokens[:, :-1],), tokens[:, 1:]

    def twin():
        weights = fused(torch, params)
        leaves = [leaf for _, leaf in tree.leaves(weights)]

        def gradients():
            return parted(tree.map(lambda weight: weight.grad, weights))

        return _their_step(torch, lambda tokens: language_twin(torch, weights, tokens), leaves, gradients, *problem)

    name = f"Transformer, training step  L {L}, M {M}, T {T}, B {B}"
    ours = _our_step(op, put(params), *put(problem), side_by_side=True)
    yield Contest(name, ours, twin() if torch else None, 0.8, 1.05)


def seq2seq_step(rng, torch, B=32, S=20, T=20, V=40, I=64, N=128, *, put=stay):
    """A training step of the encoder-decoder with additive attention at every step."""
    op = bind(seq2seq, attention=additive)
    params = single(op.init(rng, source_vocabulary=V, target_vocabulary=V, I=I, N=N))
    source, target = rng.integers(V, size=(B, S)), rng.integers(V, size=(B, T + 1))
    problem = (source, target[:, :-1]), target[:, 1:]

    def twin():
        sides = {"_l0": params["encoder"]["forward"], "_l0_reverse": params["encoder"]["backward"]}
        reader = with_weights(torch, torch.nn.LSTM, sides, batch_first=True, bidirectional=True)
        writer = with_weights(torch, torch.nn.LSTMCell, {"": params["decoder"]})
        own = tensors(torch, {name: p for name, p in params.items() if name not in ("encoder", "decoder")})
        leaves = [*reader.parameters(), *writer.parameters(), *(leaf for _, leaf in tree.leaves(own))]

        def gradients():
            dreader, dwriter = ([p.grad for p in module.parameters()] for module in (reader, writer))
            both = {"forward": as_cell(*dreader[:4]), "backward": as_cell(*dreader[4:])}
            return tree.map(lambda p: p.grad, own) | {"encoder": both, "decoder": as_cell(*dwriter)}

        def logits(source, target):
            return seq2seq_twin(torch, own, reader, writer, source, target)

        return _their_step(torch, logits, leaves, gradients, *problem)

    name = f"seq2seq, training step  N {N}, S {S}, T {T}, B {B}"
    yield Contest(name, _our_step(op, put(params), *put(problem)), twin() if torch else None)


def _our_step(op, params, inputs, answers, side_by_side=False):
    flat = optim.Flat(params, weight_decay=0.01)

    def ours():
        loss, dparams = training.gradients(op, flat.params, inputs, answers, side_by_side=side_by_side)
        flat.step(dparams, learning_rate=RATE)
        return {"loss": loss, "dparams": dparams}

    return ours


def _their_step(torch, logits, leaves, gradients, inputs, answers):
    inputs, answers = [torch.tensor(x) for x in inputs], torch.tensor(answers).flatten()
    optimiser = torch.optim.AdamW(leaves, lr=RATE, fused=True)

    def theirs():
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits(*inputs).flatten(end_dim=1), answers)
        loss.backward()
        optimiser.step()
        return {"loss": loss, "dparams": gradients()}

    return theirs


def language_twin(torch, weights, tokens):
    """tokens (B, T) -> logits (B, T, V), in PyTorch."""
    F = torch.nn.functional
    x = F.embedding(tokens, weights["embed"]) + weights["positions"]
    for block in weights["blocks"].values():

        def look(query, key, value):
            return F.scaled_dot_product_attention(query, key, value, is_causal=True)

        x = _block(F, block, x, look)
    return F.linear(_norm(F, x, weights["norm"]), weights["embed"])


def _block(F, block, x, look):
    """One layer, the norm first; look(query, key, value), (B, H, T, D) each -> context."""
    asking, feed = block["look"], block["feed"]
    W, b = asking["W_joint"], asking["b_joint"]  # (M, 3, H, D), (3, H, D)
    joint = F.linear(_norm(F, x, block["norm_look"]), W.flatten(1).mT, b.flatten())
    context = look(*joint.unflatten(-1, b.shape).permute(2, 0, 3, 1, 4))
    x = x + F.linear(context.transpose(1, 2).flatten(2), asking["W_out"].flatten(0, 1).mT, asking["b_out"])
    inside = F.linear(_norm(F, x, block["norm_feed"]), feed["W_in"].mT, feed["b_in"])
    return x + F.linear(F.gelu(inside, approximate="tanh"), feed["W_out"].mT, feed["b_out"])


def _norm(F, x, norm):
    return F.layer_norm(x, norm["gain"].shape, norm["gain"], norm["bias"])


def fused(torch, params):
    """Our parameters as tensors, those of query, key and value in one: a single product serves all three."""
    weights = dict(params) | {"blocks": {}}
    for name, block in params["blocks"].items():
        look = {end: block["look"][end] for end in ("W_out", "b_out")}
        look["W_joint"] = np.stack([block["look"][f"W_{part}"] for part in PARTS], axis=1)
        look["b_joint"] = np.stack([block["look"][f"b_{part}"] for part in PARTS])
        weights["blocks"][name] = block | {"look": look}
    return tensors(torch, weights)


def parted(gradients):
    """`fused` undone, without a copy."""
    for block in gradients["blocks"].values():
        look = block["look"]
        joint = look.pop("W_joint").unbind(1), look.pop("b_joint").unbind(0)
        for part, dW, db in zip(PARTS, *joint, strict=True):
            look |= {f"W_{part}": dW, f"b_{part}": db}
    return gradients


def seq2seq_twin(torch, own, reader, writer, source, target):
    """source (B, S), target (B, T) -> logits (B, T, V), in PyTorch; the keys are projected once."""
    F = torch.nn.functional
    annotations, (ends, _) = reader(F.embedding(source, own["embed_source"]))
    summary = torch.tanh(F.linear(torch.cat([*ends], dim=-1), own["W_summary"].mT, own["b_summary"]))
    memory = annotations @ own["W_memory"]
    projected, state, steps = memory @ own["attention"]["W_key"], (summary, torch.zeros_like(summary)), []
    for embedded in F.embedding(target, own["embed_target"]).unbind(1):
        context = bahdanau(torch, own["attention"], state[0][:, None], projected, memory)[:, 0]
        state = writer(torch.cat([embedded, context], dim=-1), state)
        steps.append(torch.cat([state[0], context], dim=-1))
    return F.linear(torch.stack(steps, dim=1), own["W_out"].mT, own["b_out"])


def sentences(rng, torch, lengths=(16, 128), V=1000, M=384, H=12, L=6):
    """One sentence through an encoder of the size of MiniLM, forward alone, the norm last; weights joined before."""
    for T in lengths:
        params = single(minilm.init(rng, V=V, M=M, H=H, L=L, T=T))
        tokens, read = rng.integers(V, size=(1, T)), minilm.reader(params)

        def ours(read=read, tokens=tokens):
            return {"hidden": read(tokens)}

        theirs = their_sentences(torch, params, tokens) if torch else None
        flops = 2 * L * T * (12 * M * M + 2 * T * M)  # every matrix once, scores and contexts
        yield Contest(f"encoding a sentence  T {T}, L {L}, M {M}", ours, theirs, 1.0, 1.1, flops=flops)


def their_sentences(torch, params, tokens):
    F, weights = torch.nn.functional, tree.map(lambda w: w.detach(), fused(torch, params))
    tokens = torch.tensor(tokens)

    def norm(x, weights):
        return F.layer_norm(x, weights["gain"].shape, weights["gain"], weights["bias"], minilm.EPS)

    @torch.inference_mode()
    def theirs():
        x = F.embedding(tokens, weights["embed"]) + weights["positions"] + weights["types"][0]
        x = norm(x, weights["norm"])
        for block in weights["blocks"].values():
            asking, feed = block["look"], block["feed"]
            W, b = asking["W_joint"], asking["b_joint"]  # (M, 3, H, D), (3, H, D)
            joint = F.linear(x, W.flatten(1).mT, b.flatten()).unflatten(-1, b.shape).permute(2, 0, 3, 1, 4)
            context = F.scaled_dot_product_attention(*joint).transpose(1, 2).flatten(2)
            x = norm(x + F.linear(context, asking["W_out"].flatten(0, 1).mT, asking["b_out"]), block["norm_look"])
            inside = F.gelu(F.linear(x, feed["W_in"].mT, feed["b_in"]))
            x = norm(x + F.linear(inside, feed["W_out"].mT, feed["b_out"]), block["norm_feed"])
        return {"hidden": x}

    return theirs


def decoding(rng, torch, V=65, M=128, H=4, L=4, begin=8, steps=56):
    """One sequence token by token, keys and values kept, against lean PyTorch with its memory made beforehand."""
    params = single(language_model.init(rng, V=V, M=M, H=H, L=L, T=begin + steps))
    tokens = rng.integers(V, size=(1, begin))

    def ours():
        return {"tokens": language_model.generate(params, tokens, steps=steps, **CHOICES)}

    theirs = their_decoding(torch, params, tokens, steps) if torch else None
    name = f"decoding with a KV cache  {steps} steps, L {L}, M {M}"
    yield Contest(name, ours, theirs, 0.4, 0.7, tolerance=0.0)


def their_decoding(torch, params, tokens, steps):
    F, weights = torch.nn.functional, tree.map(lambda w: w.detach(), fused(torch, params))
    (B, begin), (_, H, D) = tokens.shape, params["blocks"]["0"]["look"]["W_query"].shape
    kept = {name: torch.empty(2, B, H, begin + steps, D) for name in params["blocks"]}
    written = torch.zeros(B, begin + steps, dtype=torch.int64)

    def advance(new, start):
        """The likeliest token after the new ones, (B,)."""
        end = start + new.shape[1]
        x = F.embedding(new, weights["embed"]) + weights["positions"][start:end]
        for name, block in weights["blocks"].items():

            def look(query, key, value, memory=kept[name]):
                memory[0, :, :, start:end], memory[1, :, :, start:end] = key, value
                key, value = memory[:, :, :, :end]
                return F.scaled_dot_product_attention(query, key, value, is_causal=start == 0)

            x = _block(F, block, x, look)
        return F.linear(_norm(F, x[:, -1], weights["norm"]), weights["embed"]).argmax(-1)

    @torch.inference_mode()
    def theirs():
        written[:, :begin] = torch.from_numpy(tokens)
        start = 0
        for end in range(begin, begin + steps):
            written[:, end] = advance(written[:, start:end], start)
            start = end
        return {"tokens": written}

    return theirs


def gradient_check(rng, torch, shape=(2, 2, 8, 8)):
    """Every number of query, key and value, both in float64; the shape of each."""
    inputs = tuple(rng.normal(size=shape) for _ in range(3))

    def ours():
        return {"right": bool(gradcheck(dot, None, inputs, max_elements=None))}

    def twin():
        theirs = tensors(torch, inputs)
        return {"right": torch.autograd.gradcheck(torch.nn.functional.scaled_dot_product_attention, theirs)}

    name = f"gradient check of attention  {sum(x.size for x in inputs)} numbers"
    yield Contest(name, ours, twin if torch else None, 0.03, 0.4)


def importing(rng, torch, ours="numpy, minattn.gradcheck", theirs="torch"):
    """User and system time of a Python that imports this library and its checker, or PyTorch."""
    spent = []

    def work(modules):
        spent.append(float(python("-c", f"import time, {modules}; print(time.process_time())")))
        return {}

    name, their_work = "import, user and system time", (lambda: work(theirs)) if torch else None
    yield Contest(name, lambda: work(ours), their_work, 0.12, 0.2, clock=lambda: sum(spent))
