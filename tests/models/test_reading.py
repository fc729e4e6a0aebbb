"""Reading: the layers of `block`, the norm last, without a backward; for any heads, scores, padding and batch."""

import tracemalloc

import numpy as np
import pytest
from device import DeviceArray, waits

from minattn import masks, tree
from minattn.models import block, reading

RNG = np.random.default_rng(0)
B, T, M = 3, 5, 8
LENGTHS = np.array([5, 0, 3])
REAL = np.arange(T) < LENGTHS[:, None]


def model(H=4, G=2, L=2, times=1.0, **left_out):
    blocks = {str(layer): block.init(RNG, M=M, H=H, G=G, F=12) for layer in range(L)}
    blocks = tree.map(lambda p: p + 0.3 * RNG.normal(size=p.shape), blocks)
    for layer in blocks.values():
        for name in left_out:
            del layer["look"][name]
        layer["look"]["W_query"] *= times
    return blocks


def expected(blocks, x, lengths=None, **settings):
    mask = None if lengths is None else masks.padding(lengths)
    for layer in blocks.values():
        x, _ = block.forward(layer, x, mask=mask, norm_first=False, **settings)
    return x


def close(out, right, places=...):
    assert out.dtype == right.dtype and abs(out - right)[places].max() <= 1e-12 * abs(right).max()


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu", "silu"])
@pytest.mark.parametrize("H, G", [(4, 4), (4, 2), (2, 1)])
def test_the_same_as_block(activation, H, G):
    blocks, x = model(H, G), RNG.normal(size=(B, T, M))
    settings = {"activation": activation, "eps": 0.1}
    before = x.copy()
    close(reading.read(reading.layers(blocks), x, **settings), expected(blocks, x, **settings))
    right = expected(blocks, x, LENGTHS, **settings)
    close(reading.read(reading.layers(blocks), x, REAL, **settings), right, REAL)
    assert (x == before).all()


def test_biases_may_be_missing():
    blocks, x = model(b_query=None, b_value=None, b_out=None), RNG.normal(size=(B, T, M))
    close(reading.read(reading.layers(blocks), x), expected(blocks, x))


@pytest.mark.parametrize("times", [1e3, 1e5])
def test_scores_that_need_a_peak(times):
    blocks, x = model(times=times), RNG.normal(size=(B, T, M))
    right, layers = expected(blocks, x), reading.layers(blocks)
    assert np.isfinite(right).all()
    close(reading.read(layers, x), right)
    close(reading.read(layers, x, REAL), expected(blocks, x, LENGTHS), REAL)


@pytest.mark.parametrize("b", [30, -30])
def test_scores_that_are_all_far_out(b):
    """Of every row: too large for 2^score, or so small that nothing is left of it."""
    blocks, x = model(), RNG.normal(size=(B, T, M))
    for layer in blocks.values():
        layer["look"]["b_query"] += b
        layer["look"]["b_key"] += 30
    close(reading.read(reading.layers(blocks), x), expected(blocks, x))


def test_totals_that_are_numbers_beside_contexts_that_are_not():
    """Scores of about 112 between values of about 1e10, in single precision."""
    blocks, x = model(G=4), RNG.normal(size=(B, T, M))
    for layer in blocks.values():
        for name in ("query", "key"):
            layer["look"][f"W_{name}"] *= 0.01
            layer["look"][f"b_{name}"][...] = 7.4
        layer["look"]["W_value"] *= 1e10
        layer["look"]["b_value"] *= 1e10
        layer["look"]["W_out"] *= 1e-10
    single = tree.astype(blocks, np.float32)
    out = reading.read(reading.layers(single), x.astype(np.float32))
    assert abs(out - expected(blocks, x)).max() <= 1e-4 * abs(out).max()


def test_half_precision():
    """Scores of about -15: 2^-21 is a number of half precision, of three bits."""
    blocks, x = model(L=1), RNG.normal(size=(B, T, M))
    for name, b in (("query", -3.3), ("key", 3.3)):
        blocks["0"]["look"][f"W_{name}"] *= 0.02
        blocks["0"]["look"][f"b_{name}"][...] = b
    out = reading.read(reading.layers(tree.astype(blocks, np.float16)), x.astype(np.float16))
    assert out.dtype == np.float16 and abs(out - expected(blocks, x)).max() <= 0.02 * abs(out).max()


@pytest.mark.parametrize("wide", ["blocks", "x", "one gain"])
def test_the_widest_of_all_decides(wide):
    blocks, x = model(), RNG.normal(size=(B, T, M))
    right = expected(blocks, x)
    single = blocks if wide == "blocks" else tree.astype(blocks, np.float32)
    if wide == "one gain":
        single["1"]["norm_feed"]["gain"] = blocks["1"]["norm_feed"]["gain"]
    out = reading.read(reading.layers(single), x if wide == "x" else x.astype(np.float32))
    assert out.dtype == np.float64 and np.allclose(out, right, atol=1e-4)


def test_a_long_sentence_takes_no_more_memory_than_its_scores_a_few_at_a_time(monkeypatch):
    def peak(T):
        layers, x = reading.layers(model(L=1, H=8, G=8)), RNG.normal(size=(1, T, M))
        tracemalloc.start()
        try:
            out = reading.read(layers, x)
            return out, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    monkeypatch.setattr(reading, "ROWS", 32)
    (_, short), (_, long) = peak(128), peak(512)
    assert long < 6 * short  # 16 times the scores
    blocks, x = model(), RNG.normal(size=(2, 70, M))
    real = np.arange(70) < np.array([[70], [41]])
    close(reading.read(reading.layers(blocks), x, real), expected(blocks, x, np.array([70, 41])), real)


def test_what_does_not_fit_is_said():
    blocks, x = model(G=2), RNG.normal(size=(B, T, M))
    with pytest.raises(ValueError, match="activation must be one of gelu, gelu_tanh, relu, silu but is 'swish'"):
        reading.read(reading.layers(blocks), x, activation="swish")
    with pytest.raises(ValueError, match="with M=8 model features but came with shape"):
        reading.read(reading.layers(blocks), x[..., 1:])
    look = blocks["1"]["look"]
    look |= {"W_query": look["W_query"][:, :3], "b_query": look["b_query"][:3], "W_out": look["W_out"][:3]}
    with pytest.raises(ValueError, match="the H=3 heads cannot share G=2 key/value heads evenly"):
        reading.layers(blocks)


def test_what_is_not_real_does_not_matter():
    """Not even NaN, nor how many sentences stand beside; where nothing is real nothing is found."""
    blocks, x = model(), RNG.normal(size=(B, T, M))
    layers = reading.layers(blocks)
    out = reading.read(layers, x, REAL)
    other = np.where(REAL[..., None], x, np.nan)
    close(reading.read(layers, other, REAL), out)
    for b, length in enumerate(LENGTHS):
        if length:
            close(reading.read(layers, x[b : b + 1, :length]), out[b : b + 1, :length])
    assert np.isfinite(out).all()
    assert reading.read(layers, x[:0]).shape == (0, T, M) and reading.read(layers, x[:, :0]).shape == (B, 0, M)


@pytest.mark.parametrize("rows", [1, 2 * T, 2 * T + 1])
def test_sentences_go_through_a_few_at_a_time(rows, monkeypatch):
    blocks, x = model(), RNG.normal(size=(B, T, M))
    right, seen, through = reading.read(reading.layers(blocks), x, REAL), [], reading._through
    monkeypatch.setattr(reading, "ROWS", rows)
    monkeypatch.setattr(reading, "_through", lambda layers, x, *rest: seen.append(len(x)) or through(layers, x, *rest))
    close(reading.read(reading.layers(blocks), x, REAL), right)
    assert seen == ([1, 1, 1] if rows == 1 else [2, 1])


def test_single_precision_stays():
    blocks, x = model(), RNG.normal(size=(B, T, M))
    single = tree.astype(blocks, np.float32)
    out = reading.read(reading.layers(single), x.astype(np.float32))
    assert out.dtype == np.float32 and np.allclose(out, expected(blocks, x), atol=1e-4)


@pytest.mark.parametrize("times", [1.0, 1e5])
def test_on_the_device(times):
    blocks, x = model(times=times), RNG.normal(size=(B, T, M))
    right = reading.read(reading.layers(blocks), x, REAL)
    layers = reading.layers(tree.map(DeviceArray, blocks))
    close(reading.read(layers, DeviceArray(x), DeviceArray(REAL)).get(), right)


def test_a_card_reads_all_sentences_at_once(monkeypatch):
    monkeypatch.setattr(reading, "ROWS", T)
    layers, counts = reading.layers(tree.map(DeviceArray, model())), []
    for x in (RNG.normal(size=(1, T, M)), RNG.normal(size=(B, T, M))):
        waits.clear()
        reading.read(layers, DeviceArray(x))
        counts.append(sum(waits.values()))
    assert counts[0] == counts[1]


def test_weights_are_not_written_to():
    blocks = model()
    before = tree.map(np.copy, blocks)
    reading.read(reading.layers(blocks), RNG.normal(size=(B, T, M)), REAL)
    same = tree.map(lambda left, right: bool((left == right).all()), blocks, before)
    assert all(leaf for _, leaf in tree.leaves(same))
