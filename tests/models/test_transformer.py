"""Generation with kept keys and values is the full forward, step by step; what causal, tied and drawn mean."""

import numpy as np
import pytest

from minattn import tree
from minattn.functions import log_softmax, softmax
from minattn.models import block, language_model, stepping, transformer
from minattn.models.language_model import choose

RNG = np.random.default_rng(0)
V = 9
KINDS = {
    "rotary": {"positions": "rotary"},
    "rotary half": {"positions": "rotary half"},
    "alibi": {"positions": "alibi"},
    "sinusoidal": {"positions": "sinusoidal"},
    "none": {},
    "norm last": {"norm_first": False, "activation": "relu"},
}


def model(tied=True, T=None):
    params = language_model.init(RNG, V=V, M=8, H=4, G=2, L=2, F=12, T=T, tied=tied)
    return tree.map(lambda p: p + 0.3 * RNG.normal(size=p.shape), params)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("T", [None, 12])
def test_every_step_with_kept_memories_is_the_full_forward(kind, T):
    params, tokens = model(T=T), RNG.integers(V, size=(2, 10))
    full, _ = language_model.forward(params, tokens, **KINDS[kind])
    logits, past = language_model.advance(params, tokens[:, :4], None, **KINDS[kind])
    pieces = [logits]
    for t in range(4, 10):
        logits, past = language_model.advance(params, tokens[:, t : t + 1], past, **KINDS[kind])
        pieces.append(logits)
    assert abs(np.concatenate(pieces, axis=1) - full).max() <= 1e-12 * abs(full).max()


@pytest.mark.parametrize("kind", KINDS)
def test_one_more_step_gives_the_logits_of_the_full_forward(kind):
    """Far from a mean of 0, and for a token all of whose features are alike: there is nothing left for a norm."""
    params, tokens = model(), np.concatenate([RNG.integers(1, V, size=(2, 5)), np.zeros((2, 2), dtype=int)], axis=1)
    params["embed"] += 3
    params["embed"][0] = 2
    full, _ = language_model.forward(params, tokens, **KINDS[kind])
    settings = {"positions": None, "norm_first": True, "activation": "gelu"} | KINDS[kind]
    layers = stepping.layers(params["blocks"], 2, 7, np.float64, norm_first=settings["norm_first"])
    for start, end in ((0, 3), (3, 4), (4, 6), (6, 7)):
        logits = language_model._further(params, tokens[:, start:end], layers, start, **settings)
        assert abs(logits - full[:, end - 1]).max() <= 1e-12 * abs(full).max()


@pytest.mark.parametrize("times", [1e3, -1e4])
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("layer", "01")
def test_steps_whose_scores_need_a_peak(layer, norm_first, times):
    params, tokens = model(), RNG.integers(V, size=(2, 6))
    params["blocks"][layer]["look"]["W_query"] *= times
    full, _ = language_model.forward(params, tokens, norm_first=norm_first)
    settings = {"positions": None, "norm_first": norm_first, "activation": "gelu"}
    layers = stepping.layers(params["blocks"], 2, 6, np.float64, norm_first=norm_first)
    for start, end in ((0, 4), (4, 5), (5, 6)):
        logits = language_model._further(params, tokens[:, start:end], layers, start, **settings)
        assert np.isfinite(logits).all() and abs(logits - full[:, end - 1]).max() <= 1e-12 * abs(full).max()


def test_steps_whose_exponentials_keep_few_digits():
    """Scores of about -140 in the first layer: 2^-140 is a number of single precision, of nine bits."""
    params, tokens = model(), RNG.integers(V, size=(2, 6))
    look = params["blocks"]["0"]["look"]
    for name, b in (("query", -8.3), ("key", 8.3)):
        look[f"W_{name}"] *= 0.02
        look[f"b_{name}"][...] = b
    full, _ = language_model.forward(params, tokens)
    single = tree.astype(params, np.float32)
    layers = stepping.layers(single["blocks"], 2, 6, np.float32)
    for start, end in ((0, 4), (4, 5), (5, 6)):
        x = language_model._embed(single, tokens[:, start:end], start, language_model._placed(single, end, None))
        logits = stepping.step(layers, single["norm"], x, start)[:, -1] @ single["embed"].mT
        assert logits.dtype == np.float32 and abs(logits - full[:, end - 1]).max() <= 1e-5 * abs(full).max()


def test_steps_in_half_precision():
    params, tokens = model(), RNG.integers(V, size=(2, 3))
    for name, b in (("query", -3), ("key", 3)):
        params["blocks"]["0"]["look"][f"W_{name}"] *= 0.1
        params["blocks"]["0"]["look"][f"b_{name}"][...] = b
    half = tree.astype(params, np.float16)
    layers = stepping.layers(half["blocks"], 2, 3, np.float16)
    settings = {"positions": None, "norm_first": True, "activation": "gelu"}
    logits = language_model._further(half, tokens, layers, 0, **settings)
    full, _ = language_model.forward(params, tokens)
    assert logits.dtype == np.float16 and abs(logits - full[:, -1]).max() <= 0.05 * abs(full).max()


def test_writing_where_layers_differ_and_where_nobody_begins():
    params, tokens = model(), RNG.integers(V, size=(2, 3))
    assert language_model.generate(params, tokens[:0], steps=2).shape == (0, 5)
    params["blocks"]["1"] = block.init(RNG, M=8, H=2, F=12)
    out = language_model.generate(params, tokens, steps=4)
    logits, _ = language_model.forward(params, out)
    assert (logits[:, 2:-1].argmax(axis=-1) == out[:, 3:]).all()
    look = params["blocks"]["0"]["look"]
    look |= {"W_query": look["W_query"][:, :3], "b_query": look["b_query"][:3], "W_out": look["W_out"][:3]}
    with pytest.raises(ValueError, match="the H=3 heads cannot share G=2 key/value heads evenly"):
        language_model.generate(params, tokens, steps=1)


def test_what_is_kept_is_as_wide_as_the_steps():
    params, tokens = model(), RNG.integers(V, size=(2, 4))
    mixed = params | {"blocks": tree.astype(params["blocks"], np.float32)}
    layers = stepping.layers(mixed["blocks"], 2, 4, np.float64)
    settings = {"positions": None, "norm_first": True, "activation": "gelu"}
    full, _ = language_model.forward(mixed, tokens)
    for t in range(4):
        logits = language_model._further(mixed, tokens[:, t : t + 1], layers, t, **settings)
        assert abs(logits - full[:, t]).max() <= 1e-6 * abs(full).max()
    assert layers[0].keys.dtype == logits.dtype == np.float64


@pytest.mark.parametrize("piece", [1, 3, 5, 6])
def test_a_long_beginning_is_read_in_pieces(piece, monkeypatch):
    params, tokens = model(), RNG.integers(V, size=(2, 5))
    right = language_model.generate(params, tokens, steps=4, positions="alibi")
    real, widths = stepping.step, []

    def step(layers, last_norm, x, place, **settings):
        widths.append(x.shape[1])
        return real(layers, last_norm, x, place, **settings)

    monkeypatch.setattr(language_model, "PIECE", piece)
    monkeypatch.setattr(stepping, "step", step)
    assert (language_model.generate(params, tokens, steps=4, positions="alibi") == right).all()
    assert sum(widths) == 8 and max(widths) == min(piece, 5)


@pytest.mark.parametrize("kind", KINDS)
def test_generate_is_the_likeliest_of_the_full_forward(kind):
    params, tokens = model(tied=False), RNG.integers(V, size=(3, 2))
    out = language_model.generate(params, tokens, steps=7, **KINDS[kind])
    assert out.shape == (3, 9) and (out[:, :2] == tokens).all()
    logits, _ = language_model.forward(params, out, **KINDS[kind])
    assert (logits[:, 1:-1].argmax(axis=-1) == out[:, 2:]).all()


def test_the_future_does_not_matter():
    params, tokens = model(), RNG.integers(V, size=(2, 6))
    changed = tokens.copy()
    changed[:, 4:] = (changed[:, 4:] + 1) % V
    left, _ = language_model.forward(params, tokens, positions="rotary")
    right, _ = language_model.forward(params, changed, positions="rotary")
    assert (left[:, :4] == right[:, :4]).all() and not np.allclose(left[:, 4:], right[:, 4:])


def test_padding_does_not_matter():
    params, tokens = model(), RNG.integers(V, size=(2, 6))
    logits, _ = language_model.forward(params, tokens, lengths=np.array([6, 3]))
    alone, _ = language_model.forward(params, tokens[1:, :3])
    assert np.allclose(logits[1:, :3], alone, atol=1e-13)


def test_a_seed_is_a_text():
    params, tokens = model(), RNG.integers(V, size=(2, 3))
    draw = lambda seed: language_model.generate(params, tokens, steps=8, rng=np.random.default_rng(seed))  # noqa: E731
    assert (draw(1) == draw(1)).all() and (draw(1) != draw(2)).any()


def test_choose_draws_as_often_as_the_probability_says():
    logits = np.repeat(np.log([[0.5, 0.3, 0.15, 0.05]]), 20_000, axis=0)

    def shares(**options):
        drawn = choose(logits, np.random.default_rng(0), **options)
        return np.bincount(drawn, minlength=4) / len(drawn)

    assert np.allclose(shares(), [0.5, 0.3, 0.15, 0.05], atol=0.012)
    assert np.allclose(shares(temperature=0.5), softmax(2 * logits[0]), atol=0.012)
    assert np.allclose(shares(top_k=2), [0.625, 0.375, 0, 0], atol=0.012)
    assert np.allclose(shares(top_p=0.75), [0.625, 0.375, 0, 0], atol=0.012)
    assert np.allclose(shares(top_p=1e-9), [1, 0, 0, 0])
    assert choose(logits).max() == 0
    with pytest.raises(ValueError, match="temperature must be positive but is 0"):
        choose(logits, np.random.default_rng(0), temperature=0)
    with pytest.raises(ValueError, match="top_p must lie in"):
        choose(logits, np.random.default_rng(0), top_p=0)


def test_of_equally_likely_tokens_the_first_is_first():
    logits = np.random.default_rng(1).integers(3, size=(8, 300)).astype(float)
    assert (choose(logits, np.random.default_rng(0), top_k=1) == logits.argmax(axis=-1)).all()


def test_errors_of_the_language_model():
    params = model(T=4)
    with pytest.raises(ValueError, match="a learned position ends with the longest sequence trained"):
        language_model.forward(params, RNG.integers(V, size=(1, 5)))
    with pytest.raises(ValueError, match="positions must be one of"):
        language_model.forward(params, RNG.integers(V, size=(1, 3)), positions="absolute")
    with pytest.raises(ValueError, match="V-1 = 8 but 9 came"):
        language_model.forward(params, np.full((1, 3), 9))


def test_block_says_what_does_not_fit():
    params, x = block.init(RNG, M=4, H=2), RNG.normal(size=(2, 3, 4))
    with pytest.raises(ValueError, match="made without attention to a memory, but one came"):
        block.forward(params, x, x)
    with pytest.raises(ValueError, match="with M=4 model features but came with shape"):
        block.forward(params, x[..., :3])
    with pytest.raises(ValueError, match="activation must be one of gelu, gelu_tanh, relu, silu but is 'gleu'"):
        block.forward(params, x, activation="gleu")


@pytest.mark.parametrize("norm_first", [True, False])
def test_transformer_greedy_is_teacher_forcing_on_its_own_words(norm_first):
    sizes = {"source_vocabulary": 7, "target_vocabulary": V, "M": 8, "H": 2, "L": 2, "F": 12}
    params = tree.map(lambda p: p + 0.3 * RNG.normal(size=p.shape), transformer.init(RNG, **sizes))
    source, lengths = RNG.integers(7, size=(3, 5)), np.array([5, 2, 1])
    tokens = transformer.greedy(params, source, start=0, end=1, steps=6, source_lengths=lengths, norm_first=norm_first)
    before = np.concatenate([np.zeros((3, 1), dtype=int), tokens[:, :-1]], axis=1)
    logits, cache = transformer.forward(params, source, before, source_lengths=lengths, norm_first=norm_first)
    live = np.cumsum(before == 1, axis=1) == 0
    assert (logits.argmax(axis=-1) == tokens)[live].all() and (tokens[~live] == 1).all()
    assert np.allclose(cache.weights.sum(axis=-1), 1) and not cache.weights[1, :, 2:].any()
    assert np.isfinite(log_softmax(logits)).all()
