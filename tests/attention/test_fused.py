"""What the fused form does that `dot` does not: no peak while none is needed, tiles, threads, E kept or made again."""

import concurrent.futures
import warnings

import numpy as np
import pytest

from minattn import masks, threads
from minattn.attention import dot, fused

B, H, T, S, D, E = 2, 3, 50, 70, 6, 7


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def inputs(rng, dtype=np.float64, spread=1.0, T=T, S=S):
    query, key, value = (rng.normal(size=(B, H, *shape)) for shape in ((T, D), (S, D), (S, E)))
    return (
        (spread * query).astype(dtype),
        key.astype(dtype),
        value.astype(dtype),
        rng.normal(size=(B, H, T, E)).astype(dtype),
    )


def both(rng, mask=None, bias=None, given=None, **settings):
    """-> largest difference of the context and of each gradient to those of dot, relative to the largest number."""
    query, key, value, dcontext = inputs(rng) if given is None else given
    results = []
    for op, options in ((dot, {}), (fused, settings)):
        context, cache = op.forward({}, query, key, value, bias, mask=mask, **options)
        gradients, _ = op.backward(dcontext, cache)
        results.append([context, *(g for g in gradients if g is not None)])
    return [np.abs(a - b).max() / (np.abs(a).max() or 1) for a, b in zip(*results, strict=True)], cache


SETTINGS = [
    {"keep": keep, "tile": tile} for keep in (True, False) for tile in (2**17, 14000, 200, 7)
]  # all heads, 4 of 6, parts of 1


MASKS = [None, masks.causal(offset=20), masks.window(9, 4), masks.padding([70, 31])]
MASKS += [masks.causal(offset=-30), masks.window(1, 1, offset=400)]  # some see nothing, nobody sees anything


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("mask", MASKS, ids=str)
def test_equals_dot_whatever_the_tiles(rng, settings, mask):
    errors, cache = both(rng, mask, **settings)
    assert np.max(errors) < 1e-13 and np.isnan(cache.peak).all()
    _, plain = dot.forward({}, *cache[:4], mask=mask)
    assert np.abs(cache.weights - plain.weights).max() < 1e-14


@pytest.mark.parametrize("settings", [{}, *SETTINGS], ids=str)
@pytest.mark.parametrize("mask", [None, masks.causal(offset=0), masks.window(3, 2, offset=5), "array"], ids=str)
def test_what_stood_in_memory_before_does_not_matter(rng, settings, mask, monkeypatch):
    """Under some of these masks there are keys at which nobody looks: they have to be told that their gradient is 0."""

    def used(like, shape, dtype):
        return np.full(shape, np.nan, dtype)

    monkeypatch.setattr(fused.buffers, "empty", used)
    mask = rng.random((T, S)) < 0.5 if mask == "array" else mask
    errors, _ = both(rng, mask, **settings)
    assert np.max(errors) < 1e-13


HOSTILE = {
    "rows offset by 2000": lambda rng: {"bias": 2000 * rng.choice([-1.0, 0.0, 1.0], size=(B, H, T, 1)) + np.zeros(S)},
    "scores of 1e4": lambda rng: {"given": inputs(rng, spread=3000.0)},
    "one row far up": lambda rng: {"bias": np.where(np.arange(T)[:, None] == 3, 5000.0, 0.0) + np.zeros(S)},
    "one row far down": lambda rng: {"bias": np.where(np.arange(T)[:, None] == 3, -5000.0, 0.0) + np.zeros(S)},
    "far down under a mask": lambda rng: {
        "bias": np.where(np.arange(T)[:, None] == 3, -5000.0, 0.0) + np.zeros(S), "mask": np.arange(S) <= 40},
    "what is hidden is far up": lambda rng: {
        "bias": np.where(np.arange(S) > 40, 9000.0, 0.0) + np.zeros((T, 1)), "mask": np.arange(S) <= 40},
    "dead rows far up": lambda rng: {
        "bias": np.where(np.arange(T)[:, None] < 5, 9000.0, 0.0) + np.zeros(S),
        "mask": (np.arange(T)[:, None] >= 5) & (np.arange(S) > 1)},
    "all masked": lambda rng: {"mask": np.zeros((T, S), dtype=bool)},
    "bias of -inf": lambda rng: {"bias": np.where(rng.random((T, S)) < 0.3, -np.inf, 0.0)},
    "a row of -inf": lambda rng: {"bias": np.where(np.arange(T)[:, None] == 4, -np.inf, 0.0) + np.zeros(S)},
}  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_scores_that_need_the_peak(rng, hostile, settings, dtype):
    case = HOSTILE[hostile](rng)
    given = tuple(x.astype(dtype) for x in case.pop("given", inputs(rng)))
    case = {name: x.astype(dtype) if name == "bias" else x for name, x in case.items()}
    with np.errstate(all="raise", under="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        if hostile == "all masked":
            context, cache = fused.forward({}, *given[:3], **case, **settings)
            assert not context.any() and not any(g.any() for g in fused.backward(given[3], cache)[0][:3])
            return
        errors, cache = both(rng, given=given, **case, **settings)
    far = hostile in (
        "rows offset by 2000",
        "scores of 1e4",
        "one row far up",
        "one row far down",
        "far down under a mask",
    )
    # scores of some thousands are rounded to as many epsilons before anything is done with them
    digits = 1e4 if far else 100
    assert np.max(errors) < digits * np.finfo(dtype).eps and (not far or not np.isnan(cache.peak).all())


def test_without_the_guard_far_scores_are_wrong(rng, monkeypatch):
    """The check above can fail."""
    monkeypatch.setattr(fused, "LOW", -np.inf)
    monkeypatch.setattr(fused, "HIGH", np.inf)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        errors, _ = both(rng, **HOSTILE["one row far down"](rng))
    assert not max(errors) < 1e-3


def test_totals_at_the_edge_of_the_guard(rng):
    """Just inside nothing is done again, and all digits are there."""
    for exponent in (-33, 27):  # e^-33 S and e^27 S lie between 1e-15 and 1e15
        errors, cache = both(rng, bias=np.full((T, 1), float(exponent)) + np.zeros(S))
        assert np.max(errors) < 1e-13 and np.isnan(cache.peak).all()


def test_a_key_that_only_some_may_see_may_be_nan(rng):
    query, key, value, dcontext = inputs(rng)
    key[:, :, 60] = np.nan
    mask = np.ones((T, S), dtype=bool)
    mask[7:, 60] = False
    context, cache = fused.forward({}, query, key, value, mask=mask)
    expected, _ = dot.forward({}, query, key, value, mask=mask)
    assert np.array_equal(np.isnan(context), np.isnan(expected))
    assert np.abs(context[:, :, 7:] - expected[:, :, 7:]).max() < 1e-13


@pytest.mark.parametrize("keep", [True, False])
def test_any_number_of_threads(rng, keep, monkeypatch):
    monkeypatch.setattr(fused, "WORTH", 0)
    given, results = inputs(rng, np.float32), []
    for number in (1, 2, 8):
        with threads.using(number), warnings.catch_warnings():
            warnings.simplefilter("error")
            bias = np.where(np.arange(T)[:, None] == 3, 5000, 0).astype(np.float32)
            context, cache = fused.forward({}, *given[:3], bias, mask=masks.causal(offset=20), keep=keep)
            results.append([context, *fused.backward(given[3], cache)[0]])
    for other in results[1:]:
        assert all(np.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(results[0], other, strict=True))


def test_called_from_eight_threads_at_once(rng, monkeypatch):
    monkeypatch.setattr(fused, "WORTH", 0)
    cases = [inputs(np.random.default_rng(seed)) for seed in range(8)]

    def run(case):
        with threads.using(2):
            context, cache = fused.forward({}, *case[:3])
            return [context, *fused.backward(case[3], cache)[0][:3]]

    alone = [run(case) for case in cases]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for expected, found in zip(alone * 4, pool.map(run, cases * 4), strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))


def test_memory_grows_with_T_alone():
    """E is not kept for long rows, and a rule as mask is asked for tiles alone."""
    import tracemalloc

    peaks = []
    for steps in (1024, 2048, 4096):
        query, key, value, dcontext = (
            x[:1, :1] for x in inputs(np.random.default_rng(0), np.float32, T=steps, S=steps)
        )
        tracemalloc.start()
        _, cache = fused.forward({}, query, key, value, mask=masks.causal())
        fused.backward(dcontext, cache)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert cache.kept is None and peaks[2] < 2.2 * peaks[1] < 4.84 * peaks[0] and peaks[2] < 4096 * 4096


def test_a_tile_is_a_whole_number(rng):
    query, key, value, _ = inputs(rng)
    with pytest.raises(ValueError, match="tile must be a whole number of at least 1"):
        fused.forward({}, query, key, value, tile=0)


def test_values_with_more_heads_than_keys(rng):
    query, key, value, _ = inputs(rng)
    context, cache = fused.forward({}, query[:1, :1], key[:, :1], value)
    expected, _ = dot.forward({}, query[:1, :1], key[:, :1], value)
    assert np.abs(context - expected).max() < 1e-14 and context.shape == (B, H, T, E)
    (dquery, dkey, dvalue, _), _ = fused.backward(np.ones_like(context), cache)
    assert (dquery.shape, dkey.shape, dvalue.shape) == ((1, 1, T, D), (B, 1, S, D), (B, H, S, E))


def test_a_wider_bias_makes_all_wider(rng):
    query, key, value, _ = inputs(rng, np.float32)
    context, _ = fused.forward({}, query, key, value, np.zeros((T, S)))
    assert context.dtype == np.float64


@pytest.mark.parametrize("wide", ["query", "key", "value", "bias"])
def test_one_wider_input_makes_everything_wider(rng, wide):
    names = {"query": (T, D), "key": (S, D), "value": (S, E), "bias": (T, S)}
    arrays = [rng.normal(size=n).astype(np.float64 if name == wide else np.float32) for name, n in names.items()]
    for keep in (True, False):
        context, cache = fused.forward({}, *arrays, keep=keep)
        expected, plain = dot.forward({}, *arrays)
        gradients = [*fused.backward(expected, cache)[0], *dot.backward(expected, plain)[0]]
        for one, other in ((context, expected), *zip(gradients[:4], gradients[4:], strict=True)):
            assert one.dtype == other.dtype == np.float64 and np.allclose(one, other, rtol=1e-5, atol=1e-5)


def test_values_of_more_sequences_than_queries_and_keys(rng):
    query, key, value = rng.normal(size=(T, D)), rng.normal(size=(S, D)), rng.normal(size=(B, H, S, E))
    results = []
    for op in (dot, fused):
        context, cache = op.forward({}, query, key, value)
        results.append([context, *op.backward(np.cos(context), cache)[0][:3]])
    for one, other in zip(*results, strict=True):
        assert one.shape == other.shape and np.allclose(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("together", [1, 2, 3])
def test_a_bias_for_each_of_some_heads_under_axes_of_one(rng, together):
    """(1, 1, H, T, S), a few heads at a time: each meets its own."""
    query, key, value = (rng.normal(size=(1, 1, 3, *shape)) for shape in ((4, D), (5, D), (5, E)))
    given = query, key, value, rng.normal(size=(1, 1, 3, 4, E))
    errors, _ = both(rng, bias=rng.normal(size=(1, 1, 3, 4, 5)), given=given, tile=together * 4 * 5)
    assert max(errors) <= 1e-12
