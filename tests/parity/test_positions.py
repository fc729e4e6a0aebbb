"""Positions: turned by complex numbers, added by the formula, sloped as published."""

import numpy as np
import pytest
from torch_twins import F, agree, t5_bucket, torch, turned

from minattn.attention.relative import bucket
from minattn.gradcheck.registry import function_cases
from minattn.op import pair
from minattn.positions import POSITIONS, alibi, alibi_slopes, sinusoidal

ROTARY = [case.options | {"shape": case.inputs[0].shape} for case in function_cases(np.random.default_rng(0))["rotary"]]
ROTARY += [
    {"shape": (2, 3, 50, 16), "style": style, "offset": offset}
    for style in ("interleaved", "half")
    for offset in (0, 7, 1000)
]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("options", ROTARY, ids=str)
def test_rotary(rng, options, dtype):
    options = dict(options)
    x = rng.normal(size=options.pop("shape"))
    agree(pair(*POSITIONS["rotary"]), lambda _, x: turned(x, **options), {}, [x], options=options, rng=rng, dtype=dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("offset", [0, 3, 5])
def test_learned(rng, offset, dtype):
    """An embedding of the places."""

    def twin(_, table):
        return F.embedding(torch.arange(offset, offset + 4), table)

    options = {"T": 4, "offset": offset}
    agree(pair(*POSITIONS["learned"]), twin, {}, [rng.normal(size=(9, 6))], options=options, rng=rng, dtype=dtype)


@pytest.mark.parametrize("M", [8, 7])
@pytest.mark.parametrize("offset, base", [(0, 10000.0), (13, 10000.0), (2, 50.0)])
def test_sinusoidal(M, offset, base):
    """Vaswani 2017, 3.5."""
    place = torch.arange(offset, offset + 20)[:, None]
    column = torch.arange(M)
    angles = place / base ** ((column - column % 2) / M)
    expected = torch.where(column % 2 == 0, angles.sin(), angles.cos())
    np.testing.assert_allclose(sinusoidal(20, M, offset=offset, base=base), expected, rtol=0, atol=1e-14)


EIGHT = [2.0**-h for h in range(1, 9)]


SLOPES = {
    1: [2**-8],
    8: EIGHT,
    12: [*EIGHT, 2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5],
    16: [2 ** (-h / 2) for h in range(1, 17)],
}


@pytest.mark.parametrize("H, published", SLOPES.items())
def test_alibi(H, published):
    """Press 2022: the slopes, times the distance."""
    np.testing.assert_allclose(alibi_slopes(H), published, rtol=1e-15)
    distance = (torch.arange(7) - torch.arange(2, 6)[:, None]).abs()
    expected = -torch.tensor(published)[:, None, None] * distance
    np.testing.assert_allclose(alibi(H, 4, 7, offset=2), expected, rtol=1e-15)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("R, farthest", [(32, 128), (32, 20), (8, 6), (12, 100), (64, 512)])
def test_buckets(R, farthest, causal):
    """Where the logarithm says that a bucket begins, whole numbers say so too."""
    ahead = np.arange(-600, 601)
    assert bucket(ahead, R, causal, farthest).tolist() == [t5_bucket(int(a), R, causal, farthest) for a in ahead]


def test_buckets_of_t5():
    """32 of them up to 128, as it is trained: bucket 8 + i begins at 8 * 2^(i / 2)."""
    begins = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91])
    assert bucket(-begins, 32).tolist() == list(range(16))
    assert bucket(1 - begins[1:], 32).tolist() == list(range(15))
    assert bucket(begins[1:], 32).tolist() == list(range(17, 32))
