"""Two plain functions, or one that returns its own gradients, as a problem.

    out = forward(q, k, v)             dq, dk, dv = backward(dout, q, k, v)        by the names of the arguments
    out, cache = forward(q, k, v)      dq, dk, dv = backward(dout, cache)
    loss, gradients = forward(x, W)                                                no backward: the gradient of the loss

What backward takes is read off the names of its arguments.
"""

import functools
import warnings
from typing import NamedTuple

import numpy as np

from minattn import tree
from minattn.backend import to_host
from minattn.gradcheck.derivative import floating, is_array, own
from minattn.gradcheck.problem import Problem, by_name, called, fresh, letters, parameters, upstreams

RESULT = ("out", "output", "y", "result")  # what forward returned, where backward asks for it
__tracebackhide__ = True  # as in check


def of_functions(forward, backward, inputs, params=None, options=None, names=None, axes=None):
    """Two functions, or one that returns its own gradients."""
    params, options, names = params or {}, options or {}, called(forward, inputs, names, backward)
    if shared := set(names) & set(params):
        raise ValueError(f"{', '.join(shared)} came twice, among the inputs and among the params")
    point, arrays = own(dict(zip(names, inputs, strict=True)) | params), [*names, *params]
    title, axes = getattr(forward, "__name__", type(forward).__name__), letters(axes, point)

    def run(point):
        return forward(*(point[name] for name in names), **{name: point[name] for name in params}, **fresh(options))

    if backward is None:

        def own_gradients(dout, point, out, cache):
            return by_name(cache, arrays, point, title)

        return Problem(title, point, lambda point: _loss(run(point), title), own_gradients, axes, False)
    style = _style(backward, arrays, options)
    alone = functools.cache(lambda: _takes_one(backward, style, run(own(point)), own(point), options))

    def call(point):
        out, how, kept = _split(style, run(point), point, title, alone)
        return out, (how, kept)

    def gradients(dout, point, out, cache):
        how, kept = cache
        settings = {name: option for name, option in fresh(options).items() if name in style.options}
        if how == "in order":
            result = backward(dout, *(point[name] for name in arrays), **settings)
        elif how == "cache":
            result = backward(*upstreams(dout, style.lead - 1), kept, **settings)
        else:
            given = dict.fromkeys(RESULT, out) | point | dict(zip(style.extras, kept, strict=True))
            asked = {name: given[name] for name in style.asks}
            result = backward(*upstreams(dout, style.lead), **asked, **settings)
        return by_name(result, arrays, point, f"backward of {title}")

    return Problem(title, point, call, gradients, axes)


class Style(NamedTuple):
    """What a backward takes: gradients, and a cache or what it asks for by name.

    (dout, x, W), (da, db, x), (dout, out), (dout, x, weights): asks are the names behind the first `lead` arguments,
    extras those of them that only forward can give. (dout, cache), (dh, dc, cache): asks for nothing, and the cache
    counts in `lead`, as do inputs of other names. rest: (dout, *inputs). options: those of forward that it takes too.
    """

    lead: int
    asks: list
    extras: list
    rest: bool
    options: list


def _style(backward, arrays, options):
    """The arguments of backward -> Style."""
    if not callable(backward):
        raise TypeError(f"backward must be a function but is a {type(backward).__name__}: give the function itself")
    takes = parameters(backward)
    known = {*arrays, *RESULT}
    wanted = [p for p in takes if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    first, wanted = wanted[:1], wanted[1:]  # the gradient may be called as it likes
    taken = [p.name for p in wanted if p.name in options]
    wanted = [p for p in wanted if p.name not in taken and (p.name in known or p.default is p.empty)]
    place = next((i for i, p in enumerate(wanted) if p.name in known), len(wanted))
    asks = [p.name for p in wanted[place:]]
    rest = any(p.kind is p.VAR_POSITIONAL for p in takes)
    return Style(len(first) + place, asks, [name for name in asks if name not in known], rest, taken)


def _split(style, result, point, title, alone):
    """What forward returned -> out, how backward is called, what is kept for it; alone(): is the first all of out?"""
    several = isinstance(result, tuple) and len(result) > 1
    extras = len(style.extras)
    if several and style.asks and not extras and 1 < style.lead < len(result):
        return result[: style.lead], "names", ()
    if len(style.asks) == 1 and several and style.lead == 1 and _is_kept(result, style.asks[0], point):
        return _only(result[:-1]), "names", ()
    if extras and several and len(result) > extras:
        return _only(result[:-extras]), "names", result[-extras:]
    if several and style.asks and not extras and style.lead == 1 and alone():
        return result[0], "names", ()
    if not extras and (style.asks or (style.lead == 1 and not style.rest)):
        return result, "names", ()
    if not several and not style.asks and (style.rest or style.lead == len(point) + 1 > 2):
        return result, "in order", ()
    if several and not style.asks and not style.rest:
        return _only(result[:-1]), "cache", result[-1]
    came = f"a tuple of {len(result)}" if isinstance(result, tuple) else f"a {type(result).__name__}"
    needs = f"asks for {', '.join(style.extras)}" if extras else "takes a cache"
    raise TypeError(
        f"{title} must return (out, cache), since backward {needs}, but returned {came}: return what backward "
        f"needs, or let backward take the inputs by their names"
    )


def _takes_one(backward, style, result, point, options):
    """Of several results: does backward take the gradient of the first alone, and not one of each? Both are tried."""
    if not isinstance(result, tuple) or len(result) < 2 or not is_array(result[0]):
        return False
    asked = {name: dict.fromkeys(RESULT, result[0]).get(name, point.get(name)) for name in style.asks}
    settings = {name: option for name, option in fresh(options).items() if name in style.options}

    def fits(out):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = backward(tree.map(np.ones_like, out), **asked, **settings)
                found = dict(tree.leaves(by_name(found, list(point), point, "")))
        except Exception:  # that was not what it takes
            return False
        return all(np.shape(leaf) == np.shape(found.get(path)) for path, leaf in tree.leaves(point) if floating(leaf))

    return not fits(result) and fits(result[0])


def _is_kept(result, name, point):
    """Did forward return, behind its result, just the array that backward asks for? Then it is no second output."""
    wanted = point[name] if name in point else result[0]
    both = wanted, result[-1]
    return all(map(is_array, both)) and np.array_equal(*map(to_host, both))


def _only(outs):
    return outs[0] if len(outs) == 1 else outs


def _loss(result, title):
    """(loss, gradients), or (loss, dx, dW)."""
    if not isinstance(result, tuple) or len(result) < 2 or np.size(result[0]) != 1:
        came = f"a {type(result).__name__}"
        if isinstance(result, tuple):
            came = f"({', '.join(f'{np.shape(x)}' if hasattr(x, 'shape') else type(x).__name__ for x in result)})"
        raise TypeError(
            f"{title} came without a backward, so it must return (loss, gradients), the loss a single number, but "
            f"returned {came}"
        )
    return result[0], _only(result[1:])
