"""Tiles of rows give what all rows at once give, on one core and on two."""

import numpy as np
import pytest

from minattn import threads
from minattn.functions import FUNCTIONS, Loss, tiles
from minattn.functions.tiles import by_rows
from minattn.op import pair

RNG = np.random.default_rng(0)
CASES = {
    "gelu_tanh": (30 * RNG.normal(size=(4, 5, 6)),),
    "layer_norm": (RNG.normal(size=(4, 5, 6)), RNG.normal(size=6), RNG.normal(size=6)),
    "cross_entropy": (RNG.normal(size=(4, 5, 6)), RNG.integers(6, size=(4, 5))),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("tile", [1, 12, 18, 30])  # a row, and 2, 3 and 5 of 20
def test_tiles_give_the_same(monkeypatch, name, number, tile):
    op, inputs = pair(*FUNCTIONS[name]), CASES[name]

    def run():
        out, cache = op.forward({}, *inputs)
        loss = isinstance(out, Loss)
        dinputs, _ = op.backward(Loss(1.0, 2.0) if loss else np.ones_like(out), cache)
        return [out.sum if loss else out, *(d for d in dinputs if d is not None)]

    expected = run()
    monkeypatch.setattr(tiles, "TILE", tile)
    monkeypatch.setattr(tiles, "SHARED", 2 * tile)
    with threads.using(number):
        for got, right in zip(run(), expected, strict=True):
            assert got.shape == right.shape and np.allclose(got, right, rtol=1e-13, atol=1e-13)


def test_what_is_one_tile(monkeypatch):
    """Little; and what is more is cut into rows that fill a tile, each with room to work in."""
    seen = []

    def double(x, out, room):
        assert room.shape == out.shape == x.shape and room.dtype == out.dtype
        seen.append(x.shape)
        np.multiply(2, x, out=room)
        out[...] = room

    monkeypatch.setattr(tiles, "TILE", 10)
    with threads.using(1):
        by_rows(double, np.ones((2, 5)), widths=(5,), spare=1)
        assert seen == [(2, 5)]
        (out,) = by_rows(double, np.ones((5, 8, 5)), widths=(5,), spare=1)
        assert out.shape == (5, 8, 5) and (out == 2).all() and seen[1:] == 20 * [(2, 5)]
        (out,) = by_rows(double, np.ones((1, 11)), widths=(11,), spare=1, dtype=np.dtype(complex))
        assert out.dtype == complex and seen[21:] == [(1, 11)]
        assert by_rows(double, np.ones((0, 3)), widths=(3,), spare=1)[0].shape == (0, 3)
