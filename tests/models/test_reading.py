"""Reading: the layers of `block`, the norm last, without a backward; for any heads, scores, padding and batch."""

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
    assert reading.read(layers, x[:0]).shape == (0, T, M)


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
