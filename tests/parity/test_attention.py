"""Attention against scaled_dot_product_attention, or against the paper's formula under autograd."""

import numpy as np
import pytest
from torch_twins import ATTENTION, F, agree, torch

from minattn.attention import VARIANTS, dot
from minattn.masks import causal, padding
from minattn.op import initialise

B, H, T, S = 2, 3, 4, 5
SIZES = {"D": 6, "E": 7, "N": 8, "A": 9}

PLACES = np.arange(S)
EARLIER = PLACES <= PLACES[:, None]  # (S, S)
SOME = np.random.default_rng(3).random((B, T, S)) < 0.6
SOME[:, 0], SOME[0, 1], SOME[0, 1, 2], SOME[1, 2:] = True, False, True, False  # open, single and dead rows
LENGTHS, QUERY_LENGTHS = np.array([S - 2, S]), np.array([T, T - 1])
REAL = (PLACES < LENGTHS[:, None])[:, None]  # (B, 1, S)
ASKED = (np.arange(T) < QUERY_LENGTHS[:, None])[..., None]  # (B, T, 1)

# name: our mask, the same booleans written out, leading axes of query, key and value, shape of bias, T
BATCH, HEADS = ((B,), (B,), (B,)), ((B, H), (B, H), (B, H))
SITUATIONS = {
    "no mask": (None, None, BATCH, None, T),
    "no batch": (None, None, ((), (), ()), None, T),
    "heads": (None, None, HEADS, None, T),
    "booleans": (SOME, SOME, BATCH, None, T),
    "booleans for every head": (SOME[:, None], SOME[:, None], HEADS, None, T),
    "nothing to see": (np.zeros((T, S), dtype=bool), np.zeros((T, S), dtype=bool), BATCH, None, T),
    "causal": (causal(), EARLIER, BATCH, None, S),
    "causal, last queries": (causal(offset=S - T), EARLIER[S - T :], BATCH, None, T),
    "causal, first queries": (causal(offset=0), EARLIER[:T], BATCH, None, T),
    "causal, dead rows": (causal(offset=-2), np.arange(S) <= np.arange(T)[:, None] - 2, BATCH, None, T),
    "padding": (padding(LENGTHS), REAL, BATCH, None, T),
    "padding of heads": (padding(LENGTHS), REAL[:, None], HEADS, None, T),
    "padding of both": (padding(LENGTHS, QUERY_LENGTHS), REAL & ASKED, BATCH, None, T),
    "causal and padding": (causal() & padding(LENGTHS), EARLIER & REAL, BATCH, None, S),
    "rule and booleans": (SOME & padding(LENGTHS), SOME & REAL, BATCH, None, T),
    "bias": (None, None, BATCH, (B, T, S), T),
    "bias of each head": (None, None, HEADS, (H, T, S), T),
    "bias of each key": (None, None, HEADS, (H, 1, S), T),
    "bias and mask": (SOME, SOME, BATCH, (B, T, S), T),
    "bias of each query and causal": (causal(1), EARLIER[1:], HEADS, (T, 1), T),
    "shared key and value": (None, None, ((B, H), (B, 1), (B, 1)), None, T),
    "grouped queries, bias and padding": (
        padding(LENGTHS),
        REAL[:, None, None],
        ((B, 2, H), (B, 2, 1), (B, 2, 1)),
        (2, H, 1, S),
        T,
    ),
    "shared value": (SOME[:, None], SOME[:, None], ((B, H), (B, H), (1, H)), None, T),
    "shared query": (SOME[:, None], SOME[:, None], ((H,), (B, H), (B, 1)), (H, 1, 1), T),
    "value for several": (None, None, ((H,), (H,), (B, H)), (T, S), T),
}


def draw(rng, mechanism, leading, bias=None, steps=T):
    sizes = SIZES | {"T": steps, "S": S}
    inputs = [
        rng.normal(size=(*axes, *(sizes[letter] for letter in mechanism.SHAPES[name].split()[1:])))
        for name, axes in zip(("query", "key", "value"), leading, strict=True)
    ]
    return inputs if bias is None else [*inputs, rng.normal(size=bias)]


def parameters(rng, mechanism, **settings):
    """init, with noise, so that no bias is zero."""
    params = initialise(mechanism, rng, SIZES | settings)
    return {name: p + 0.1 * rng.normal(size=p.shape) for name, p in params.items()}


@pytest.mark.parametrize("situation", SITUATIONS.values(), ids=SITUATIONS)
@pytest.mark.parametrize("name", VARIANTS)
def test_attention(rng, name, situation):
    mask, booleans, leading, bias, steps = situation
    inputs, mechanism = draw(rng, VARIANTS[name], leading, bias, steps), VARIANTS[name]
    their_mask = None if booleans is None else torch.from_numpy(booleans)

    def twin(params, *inputs):
        return ATTENTION[name](params, *inputs, mask=their_mask)

    agree(mechanism, twin, parameters(rng, mechanism), inputs, options={"mask": mask}, rng=rng)


def test_causal_flag(rng):
    """PyTorch's own idea of causal."""
    inputs = draw(rng, dot, HEADS, steps=S)
    agree(
        dot,
        lambda _, *inputs: F.scaled_dot_product_attention(*inputs, is_causal=True),
        {},
        inputs,
        options={"mask": causal()},
        rng=rng,
    )


def test_additive_without_bias(rng):
    additive = VARIANTS["additive"]
    params = parameters(rng, additive, bias=False)
    assert "b" not in params
    agree(additive, ATTENTION["additive"], params, draw(rng, additive, HEADS), rng=rng)


@pytest.mark.parametrize("name", VARIANTS)
def test_large_scores(rng, name):
    """Nearly one-hot weights."""
    mechanism = VARIANTS[name]
    inputs = [5 * x for x in draw(rng, mechanism, HEADS)]
    agree(mechanism, ATTENTION[name], parameters(rng, mechanism), inputs, rng=rng)


@pytest.mark.parametrize("name", VARIANTS)
def test_nan_in_the_padding(rng, name):
    """What nobody may see is NaN for us and 0 in PyTorch."""
    mechanism = VARIANTS[name]
    query, key, value = draw(rng, mechanism, BATCH)
    key[~REAL[:, 0]], value[~REAL[:, 0]], query[~ASKED[..., 0]] = np.nan, np.inf, np.nan
    mask = torch.from_numpy(REAL & ASKED)

    def twin(params, *inputs):
        return ATTENTION[name](params, *(torch.where(x.isfinite(), x, 0) for x in inputs), mask=mask)

    options = {"mask": padding(LENGTHS, QUERY_LENGTHS)}
    agree(mechanism, twin, parameters(rng, mechanism), (query, key, value), options=options, rng=rng)


@pytest.mark.parametrize("name", VARIANTS)
def test_float32(rng, name):
    mechanism = VARIANTS[name]
    mask = torch.from_numpy(SOME[:, None])

    def twin(params, *inputs):
        return ATTENTION[name](params, *inputs, mask=mask)

    inputs = draw(rng, mechanism, HEADS, (H, T, S))
    options = {"mask": SOME[:, None]}
    agree(mechanism, twin, parameters(rng, mechanism), inputs, options=options, rng=rng, dtype=np.float32)
