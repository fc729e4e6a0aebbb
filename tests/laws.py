"""The laws that every op obeys. Each takes an op and a case, and raises AssertionError where the law is broken.

`broken.py` has an op for each law that must fail it.
"""

import copy
import inspect

import numpy as np
from device import DeviceArray

from minattn import tree
from minattn.attention import VARIANTS
from minattn.functions import FUNCTIONS
from minattn.gradcheck import adjoint, check
from minattn.gradcheck.check import case_params
from minattn.masks import causal
from minattn.op import options, pair

HOW = {"keep", "tile"}  # options that change how a result is computed, not what it is
PAIRS = VARIANTS | {name: pair(*both) for name, both in FUNCTIONS.items()}


def gradient(op, case):
    """Every element of every gradient agrees with the complex step to 1e-12."""
    check(op, params_of(op, case), case.inputs, case.options, rng()).assert_ok()


def adjoint_test(op, case):
    """<J v, w> = <v, J^T w> to 1e-12."""
    error = adjoint(op, params_of(op, case), case.inputs, case.options, rng())
    assert error <= 1e-12, f"the adjoint test is off by {error:.1e}"


def naive(op, case):
    """forward is the paper's formula."""
    if not hasattr(op, "naive"):
        return
    params = params_of(op, case)
    out, _ = run(op, params, case)
    known = inspect.signature(op.naive).parameters
    settings = {name: x for name, x in fresh(case).items() if name in known or name not in HOW}
    close(out, op.naive(params, *case.inputs, **settings), 1e-13, "forward differs from naive")


def twin(op, case):
    """An exact mechanism equals the plain one."""
    if case.twin is not None:
        other = PAIRS[case.twin]
        mine, others = params_of(op, case), params_of(other, case._replace(params=None))
        plain = case._replace(options={k: v for k, v in case.options.items() if k in options(other)})
        close(run(op, mine, case)[0], run(other, others, plain)[0], 1e-12)


def twice(op, case):
    """Two calls before either backward do not know of each other, and a second backward gives the same again."""
    params = params_of(op, case)
    other = case._replace(inputs=tree.map(lambda x: x + 1 if x.dtype.kind == "f" else x, case.inputs))
    both = [(params, case), (tree.map(lambda p: 2 * p, params), other)]

    def alone(params, case):
        out, cache = run(op, params, case)
        return tree.map(np.copy, op.backward(upstream(out), cache))

    expected = [alone(*one) for one in both]
    calls = [run(op, *one) for one in both]
    for _ in range(2):
        for (out, cache), right in zip(calls, expected, strict=True):
            close(op.backward(upstream(out), cache), right, 0)


def mirror(op, case):
    """Gradients have the form of inputs and params: the same names, the same shapes, None for None."""
    params = params_of(op, case)
    out, cache = run(op, params, case)
    result = op.backward(upstream(out), cache)
    dinputs, dparams = result
    expected = tree.map(lambda x: x if x.dtype.kind == "f" else None, case.inputs)
    form = [(path, leaf.shape) for path, leaf in tree.leaves(expected)]
    assert [(path, leaf.shape) for path, leaf in tree.leaves(tuple(dinputs))] == form
    assert {path: x.shape for path, x in tree.leaves(dparams)} == {path: x.shape for path, x in tree.leaves(params)}


def float32(op, case):
    """float32 in, float32 out: results, gradients of inputs, gradients of parameters."""
    single = lambda t: tree.map(lambda x: x.astype(np.float32) if x.dtype.kind == "f" else x, t)  # noqa: E731
    case = case._replace(inputs=single(case.inputs))
    params = single(params_of(op, case))
    out, cache = run(op, params, case)
    result = op.backward(single(upstream(out)), cache)
    for path, leaf in [*tree.leaves(out), *tree.leaves(result)]:
        assert leaf.dtype.kind != "f" or leaf.dtype == np.float32, f"{path} became {leaf.dtype}"


def untouched(op, case):
    """Inputs, parameters and dout are never written to, and any strides will do: the sums may run in another order."""
    params = params_of(op, case)
    out, cache = run(op, params, case)
    expected = tree.map(np.copy, op.backward(upstream(out), cache))
    locked = case._replace(inputs=tree.map(strided, case.inputs))
    out_again, cache = run(op, tree.map(strided, params), locked)
    close(out_again, out, 1e-12)
    close(op.backward(tree.map(strided, upstream(out)), cache), expected, 1e-12)


def device(op, case):
    """The same code on a device that has no more than CuPy has, with the same result."""
    params = params_of(op, case)
    out, cache = run(op, params, case)
    expected = op.backward(upstream(out), cache)
    put = lambda t: tree.map(DeviceArray, t)  # noqa: E731
    moved = {name: DeviceArray(x) if isinstance(x, np.ndarray) else x for name, x in case.options.items()}
    there, cache = run(op, put(params), case._replace(inputs=put(case.inputs), options=moved))
    close(host(there), out, 1e-13)
    close(host(op.backward(put(upstream(out)), cache)), expected, 1e-13)


def none_is_zero(op, case):
    """Where out is a tuple, None in dout means zero: for a part, and for a whole branch."""
    params = params_of(op, case)
    out, cache = run(op, params, case)
    if not isinstance(out, tuple):
        return
    dout = upstream(out)
    for without, zeros in left_out(dout):
        close(op.backward(without, cache), op.backward(zeros, cache), 0)


def left_out(t):
    """For every branch of a tree of tuples: the tree with None in its place, and with zeros."""
    if not isinstance(t, tuple):
        return
    make = type(t)._make if hasattr(t, "_make") else tuple
    for i, part in enumerate(t):
        if part is None:
            continue
        changes = [(None, tree.map(np.zeros_like, part)), *left_out(part)]
        for without, zeros in changes:
            yield (make([*t[:i], new, *t[i + 1 :]]) for new in (without, zeros))


def rows_sum_to_one(op, case):
    """Attention weights are at least 0, each row sums to 1, and a row with nothing to look at to 0."""
    if not attends(op):
        return
    _, cache = run(op, params_of(op, case), case)
    total = cache.weights.sum(axis=-1)
    if getattr(op, "NORMALISED", True) is False:  # declared: what stands before the context is not a distribution
        return
    assert (cache.weights >= 0).all()
    assert np.all((abs(total - 1) < 1e-12) | (total == 0))


def order_of_keys(op, case):
    """Keys and values shuffled together change nothing: a memory is a set."""
    if not attends(op) or case.options or len(case.inputs) > 3 or getattr(op, "ORDERED", False):
        return  # declared: the place of a key counts
    params = params_of(op, case)
    query, key, value = case.inputs
    order = np.random.default_rng(3).permutation(key.shape[-2])
    shuffled = case._replace(inputs=(query, key[..., order, :], value[..., order, :]))
    close(run(op, params, shuffled)[0], run(op, params, case)[0], 1e-12)


def future(op, case):
    """Under a causal mask the outputs up to t do not know what comes after."""
    mask = case.options.get("mask") if attends(op) else None
    if isinstance(mask, np.ndarray) or mask != causal():
        return
    params = params_of(op, case)
    query, key, value, *bias = case.inputs
    T = key.shape[-2]
    out, _ = run(op, params, case)
    for t in range(T - 1):
        later = np.arange(T)[:, None] > t
        changed = (np.where(later, 9.0, key), np.where(later, -7.0, value))
        again, _ = run(op, params, case._replace(inputs=(query, *changed, *bias)))
        close(again[..., : t + 1, :], out[..., : t + 1, :], 0)


def padding_is_nothing(op, case):
    """What stands in the padding never matters: NaN or a number, the result is the same to the last bit."""
    if not any(np.isnan(x).any() for _, x in tree.leaves(case.inputs) if x.dtype.kind == "f"):
        return
    params = params_of(op, case)
    out, cache = run(op, params, case)
    filled = tree.map(lambda x: np.nan_to_num(x, nan=3.0, posinf=-5.0) if x.dtype.kind == "f" else x, case.inputs)
    out_filled, cache_filled = run(op, params, case._replace(inputs=filled))
    close(out_filled, out, 0)
    close(op.backward(upstream(out), cache_filled), op.backward(upstream(out), cache), 0)


def halves_compose(op, case):
    """prepare and attend, one query at a time, give what forward gives for all of them."""
    from minattn.masks import array, keep, visible
    from minattn.op import halves

    if not attends(op) or case.options.keys() - {"mask"}:
        return
    params, split = params_of(op, case), halves(op)
    query, key, value, *bias = case.inputs
    T, S = query.shape[-2], key.shape[-2]
    heads = params["W_out"].shape[:1] if "W_out" in params else ()
    shape = (*np.broadcast_shapes(query.shape[:-2], key.shape[:-2]), *heads, T, S)
    mask = array(case.options.get("mask"), shape, like=query)
    sees, seen = visible(mask, shape, like=query)
    query = keep(sees, query[..., None, :, :])[..., 0, :, :] if heads else keep(sees, query)
    full = lambda x: None if x is None else np.broadcast_to(x, shape)  # noqa: E731
    bias, mask = full(bias[0] if bias else None), full(mask)
    out, _ = run(op, params, case)
    memory, _ = split.prepare(params, key, value, seen=seen)
    at = lambda x, t: None if x is None else x[..., t : t + 1, :]  # noqa: E731
    for t in range(T):
        place = {"offset": t} if "offset" in options(op) else {}
        context, _ = split.attend(params, at(query, t), memory, at(bias, t), mask=at(mask, t), **place)
        close(context, at(out, t), 1e-13)


LAWS = [
    gradient, adjoint_test, naive, twin, twice, mirror, float32, untouched, device, none_is_zero, rows_sum_to_one,
    order_of_keys, future, padding_is_nothing, halves_compose,
]  # fmt: skip


def run(op, params, case):
    return op.forward(params, *case.inputs, **fresh(case))


def fresh(case):
    """The options, generators copied: each call draws the same numbers."""
    return {k: copy.deepcopy(v) if isinstance(v, np.random.Generator) else v for k, v in case.options.items()}


def rng():
    return np.random.default_rng(7)


def params_of(op, case):
    return case_params(op, case, rng())


def upstream(out):
    draws = np.random.default_rng(11)
    return tree.map(lambda x: np.asarray(draws.normal(size=x.shape)) if x.dtype.kind == "f" else None, out)


def strided(x):
    """The same numbers, read-only, the last axis first in memory, and with gaps between them."""
    x = np.asarray(x)
    wide = np.repeat(x.T, 2, axis=-1)[..., ::2].T if x.ndim else x.copy()
    wide.flags.writeable = False
    return wide


def host(t):
    return tree.map(lambda x: x.get(), t)


def close(found, expected, tolerance, what=""):
    """Two trees agree: the same paths, and numbers within tolerance of the largest one of their array.

    Arrays that are truly 0, as the gradient of a bias of all keys is, hold rounding alone: no array counts for less
    than 1e-3 of the largest number of the problem, as in the gradient check.
    """
    found, expected = dict(tree.leaves(found)), dict(tree.leaves(expected))
    assert found.keys() == expected.keys(), f"{sorted(found)} came, {sorted(expected)} expected"
    floor = 1e-3 * max([1.0, *(np.abs(x[np.isfinite(x)]).max(initial=0.0) for x in expected.values())])
    for path, right in expected.items():
        left = found[path]
        assert left.shape == right.shape, f"{path}: shape {left.shape}, expected {right.shape}"
        finite = np.isfinite(right)
        assert np.array_equal(left[~finite], right[~finite], equal_nan=True), f"{path}: other NaN or infinities"
        scale = max(np.abs(right[finite]).max(initial=0.0), floor)
        error = np.abs(left[finite] - right[finite]).max(initial=0.0) / scale
        assert error <= tolerance, f"{what} {path}: off by {error:.1e}"


def attends(op):
    return "query" in inspect.signature(op.forward).parameters and "mask" in options(op)
