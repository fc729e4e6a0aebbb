"""Any code as one kind of problem: a forward from one tree of arrays, and the gradients that a backward gives for it.

Understood are ops (a module with init, forward, backward), plain functions, and objects that keep parameters and
gradients of their own:

    out = forward(q, k, v)             dq, dk, dv = backward(dout, q, k, v)        by the names of the arguments
    out, cache = forward(q, k, v)      dq, dk, dv = backward(dout, cache)
    loss, gradients = forward(x, W)                                                no backward: the gradient of the loss
    out = layer.forward(x)             dx = layer.backward(dout)                   layer.W, layer.dW, or dicts of them

Nothing that is given is ever written to: all work is done on copies.
"""

import copy
import inspect
from typing import Any, NamedTuple

import numpy as np

from minattn import tree
from minattn.gradcheck.derivative import floating, own
from minattn.op import inputs as input_names
from minattn.op import label

GRADIENT_OF = ("d{}", "grad_{}", "{}_grad", "g{}", "d_{}", "{}_gradient")  # how people call the gradient of {}


class Problem(NamedTuple):
    """point: {name: tree}, inputs first, parameters behind them.

    call(point) -> out, cache; gradients(dout, point, out, cache) -> {name: tree}; axes: {path: letters}, where known.
    state: what a call may leave behind is compared by `again`, a second call after another one.
    """

    title: str
    point: dict
    call: Any
    gradients: Any
    axes: dict
    upstream: bool = True  # False: the loss is a number and its gradient 1
    again: Any = None

    def out(self, point):
        """forward alone."""
        return self.call(point)[0]


def of(forward, backward=None, inputs=(), params=None, options=None, names=None, axes=None):
    """The problem of whatever came."""
    if backward is None and hasattr(forward, "init") and hasattr(forward, "forward") and hasattr(forward, "backward"):
        return of_op(forward, params or {}, inputs, options, axes)
    if backward is None and hasattr(forward, "forward") and hasattr(forward, "backward"):
        return of_object(forward, inputs, params, options, names, axes)
    if not callable(forward):
        raise TypeError(
            f"gradcheck needs a function, an op or an object with forward and backward, but a {type(forward).__name__} "
            f"came"
        )
    return of_functions(forward, backward, inputs, params, options, names, axes)


def of_op(op, params, inputs, options=None, axes=None):
    """An op that obeys the law of `minattn`."""
    names = input_names(op) or [f"input_{i}" for i in range(len(inputs))]
    if len(inputs) > len(names):
        raise ValueError(f"{label(op)} takes {len(names)} inputs, {', '.join(names)}, but {len(inputs)} came")
    names = names[: len(inputs)]
    if shared := set(names) & set(params):
        raise ValueError(
            f"{label(op)} calls both an input and a parameter {', '.join(shared)}: their gradients cannot be told apart"
        )
    point = own(dict(zip(names, inputs, strict=True)) | params)

    def call(point):
        given = {name: point[name] for name in params}
        return op.forward(given, *(point[name] for name in names), **fresh(options))

    def gradients(dout, point, out, cache):
        result = op.backward(dout, cache)
        pair = isinstance(result, tuple) and len(result) == 2
        if not pair or not isinstance(result[0], tuple) or not isinstance(result[1], dict):
            came = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
            raise TypeError(f"backward must return (dinputs, dparams), a tuple and a dict, but returned {came}")
        dinputs, dparams = result
        more = {f"input_{i}": d for i, d in enumerate(dinputs[len(names) :], len(names)) if d is not None}
        return dict(zip(names, dinputs, strict=False)) | more | dparams

    shapes = {name: letters.replace("...", "").split() for name, letters in getattr(op, "SHAPES", {}).items()}
    return Problem(label(op), point, call, gradients, shapes | _letters(axes))


def of_functions(forward, backward, inputs, params=None, options=None, names=None, axes=None):
    """Two functions, or one that returns its own gradients."""
    names = list(names or _names(forward, len(inputs)))
    if len(names) != len(inputs):
        raise ValueError(f"{len(names)} names came for {len(inputs)} inputs: {', '.join(names)}")
    point = own(dict(zip(names, inputs, strict=True)) | (params or {}))
    options = options or {}
    named = list(params or {})

    def run(point):
        return forward(*(point[name] for name in names), **{name: point[name] for name in named}, **fresh(options))

    title = getattr(forward, "__name__", type(forward).__name__)
    if backward is None:
        return Problem(
            title, point, lambda point: _pair(run(point), title), _own_gradients(names, named), _letters(axes), False
        )
    wants = [
        p
        for p in inspect.signature(backward).parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    known = {*names, *named, *options, "out", "output", "y", "result"}
    asks = [p.name for p in wants[1:] if p.name in known or p.default is p.empty]
    by_name = bool(asks) and all(name in known for name in asks)

    def call(point):
        result = run(point)
        return (result, None) if by_name else _pair(result, title)

    def gradients(dout, point, out, cache):
        if by_name:
            given = point | options | dict.fromkeys(("out", "output", "y", "result"), out)
            given |= {name: point[name] for name in names}
            result = backward(dout, **{name: given[name] for name in asks})
        elif len(asks) > 1 and isinstance(dout, tuple) and len(asks) == len(dout):
            result = backward(*dout, cache)  # one gradient for each output
        else:
            result = backward(dout, cache)
        return _named(result, [*names, *named], point, f"backward of {title}")

    return Problem(title, point, call, gradients, _letters(axes))


def of_object(layer, inputs, params=None, options=None, names=None, axes=None):
    """A layer that keeps its parameters and their gradients: params {name: name of its gradient}, or found by name."""
    names = list(names or _names(layer.forward, len(inputs)))
    tried = copy.deepcopy(layer)  # some make their gradients only in backward
    tried.backward(tree.map(np.ones_like, tried.forward(*own(tuple(inputs)), **fresh(options))))
    held = _held(tried, params)
    point = own(dict(zip(names, inputs, strict=True)) | {name: _get(layer, place) for name, (place, _) in held.items()})

    def prepared(point):
        own_copy = copy.deepcopy(layer)
        for name, (place, _) in held.items():
            _set(own_copy, place, point[name])
        return own_copy

    def call(point):
        mine = prepared(point)
        return mine.forward(*(point[name] for name in names), **fresh(options)), mine

    def gradients(dout, point, out, mine):
        result = mine.backward(dout)
        return collect(result, mine)

    def collect(result, mine):
        if isinstance(result, tuple) and len(result) == len(names) + 1 and isinstance(result[-1], dict):
            return _named(result, names + list(held), mine, "backward")
        found = _named(result, names, None, f"backward of {type(layer).__name__}", missing_ok=True)
        return found | {name: _get(mine, gradient) for name, (_, gradient) in held.items()}

    def again(dout, point):
        """forward and backward, twice on one object: gradients that are added up come out doubled."""
        mine = prepared(point)
        for _ in range(2):
            out = mine.forward(*(point[name] for name in names), **fresh(options))
            result = mine.backward(dout)
        return out, collect(result, mine)

    return Problem(type(layer).__name__, point, call, gradients, _letters(axes), again=again)


def fresh(options):
    """The options, generators copied: each call draws the same numbers."""
    return {
        name: copy.deepcopy(x) if isinstance(x, (np.random.Generator, np.random.RandomState)) else x
        for name, x in (options or {}).items()
    }


def _names(function, count):
    """The names of the first `count` arguments; numbers stand in for *args."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        parameters = []
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][:count]
    return names + [f"input_{i}" for i in range(len(names), count)]


def _letters(axes):
    """{"q": "B T D"} -> {"q": ["B", "T", "D"]}."""
    return {path: letters.replace("...", "").split() for path, letters in (axes or {}).items()}


def _pair(result, title):
    """(out, cache), where out may be several outputs and the last of what was returned is the cache."""
    if not isinstance(result, tuple) or len(result) < 2:
        came = f"a tuple of {len(result)}" if isinstance(result, tuple) else f"a {type(result).__name__}"
        raise TypeError(
            f"{title} must return (out, cache), since backward takes a cache, but returned {came}: return what "
            f"backward needs, or let backward take the inputs by their names"
        )
    *out, cache = result
    return (out[0] if len(out) == 1 else tuple(out)), cache


def _own_gradients(names, named):
    """For functions that return (loss, gradients)."""
    return lambda dout, point, out, cache: _named(cache, [*names, *named], point, "the function")


def _named(result, names, point, who, missing_ok=False):
    """What a backward returned, by name: one array, a tuple in the order of the inputs, or dicts by name."""
    parts = list(result) if isinstance(result, (tuple, list)) and not hasattr(result, "_fields") else [result]
    if hasattr(result, "_fields"):
        parts = [result._asdict()]
    found, rest = {}, []
    for part in parts:
        if isinstance(part, dict) and not _is_input(part, names, point, len(rest)):
            found |= {_plain(key, names): value for key, value in part.items()}
        else:
            rest.append(part)
    open_names = [name for name in names if name not in found]
    if point is not None and len(rest) < len(open_names):  # integers may have been left out
        open_names = [name for name in open_names if any(floating(x) for _, x in tree.leaves(point[name]))]
    if len(rest) > len(open_names) or (len(rest) < len(open_names) and not missing_ok and not found):
        raise ValueError(
            f"{who} returned {len(rest)} gradients for {len(open_names)} arrays, {', '.join(open_names)}: return one "
            f"for each, in the order of the arguments, or a dict by name"
        )
    return dict(zip(open_names, rest, strict=False)) | found


def _is_input(part, names, point, place):
    """Is this dict the gradient of an input that is a dict itself?"""
    if not isinstance(point, dict) or place >= len(names):
        return False
    return isinstance(point[names[place]], dict) and part.keys() == point[names[place]].keys()


def _plain(key, names):
    """The array of which this is the gradient: dW -> W."""
    if key in names:
        return key
    return next((name for name in names if key in [form.format(name) for form in GRADIENT_OF]), key)


def _held(layer, params):
    """{name: (where the parameter is, where its gradient will be)}; a place is (attribute, key or None)."""
    if params is not None:
        return {name: (_place(layer, name), _place(layer, gradient)) for name, gradient in params.items()}
    held = {}
    for name, value in vars(layer).items():
        if isinstance(value, np.ndarray) and floating(value):
            gradient = next((form.format(name) for form in GRADIENT_OF if form.format(name) in dir(layer)), None)
            if gradient is None:
                for store in ("grads", "gradients", "grad", "dparams"):
                    if isinstance(getattr(layer, store, None), dict):
                        gradient = store, name
                        break
            else:
                gradient = gradient, None
            if gradient is not None:
                held[name] = ((name, None), gradient)
        elif name in ("params", "parameters", "weights") and isinstance(value, dict):
            store = next((s for s in ("grads", "gradients", "grad", "dparams") if hasattr(layer, s)), "grads")
            for key, leaf in value.items():
                if floating(leaf):
                    held[key] = ((name, key), (store, key))
    return held


def _place(layer, name):
    """ "W", or "params.W" for an entry of a dict."""
    attribute, _, key = name.partition(".")
    if not hasattr(layer, attribute) and not key:
        raise ValueError(
            f"{type(layer).__name__} has no {attribute}: params must name each parameter and its gradient, as in "
            f'params={{"W": "dW"}}; it holds {", ".join(vars(layer)) or "nothing"}'
        )
    return attribute, key or None


def _get(layer, place):
    attribute, key = place
    held = getattr(layer, attribute, None)
    return held if key is None else (held or {}).get(key)


def _set(layer, place, value):
    attribute, key = place
    if key is None:
        setattr(layer, attribute, value)
    else:
        getattr(layer, attribute)[key] = value
