"""What grows with T and not with T^2: measured, at T = 8192, causal by rule, one head of width 64, float64."""

import tracemalloc

import numpy as np
import pytest

from minattn.attention import VARIANTS
from minattn.masks import causal

T, WIDTH, LIMIT = 8192, 64, 64 * 2**20  # T x S numbers alone would be 512 MiB


@pytest.mark.parametrize("name, options", [("window", {"left": 128, "right": 0}), ("blockwise", {}), ("linear", {})])
def test_never_makes_t_by_s(name, options):
    op, rng = VARIANTS[name], np.random.default_rng(0)
    query, key, value, dcontext = (rng.normal(size=(1, T, WIDTH)) for _ in range(4))
    tracemalloc.start()
    try:
        context, cache = op.forward({}, query, key, value, mask=causal(), **options)
        (dquery, dkey, dvalue, *_), _ = op.backward(dcontext, cache)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    results = sum(array.nbytes for array in (context, dquery, dkey, dvalue))
    assert peak - results < LIMIT, f"{(peak - results) / 2**20:.0f} MiB above inputs and outputs"
