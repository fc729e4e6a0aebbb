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
RESULT = ("out", "output", "y", "result")  # and what forward returned, where backward asks for it
STORES = ("grads", "gradients", "grad", "dparams")
__tracebackhide__ = True  # as in check


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
    options: Any = None
    op: Any = None

    def out(self, point):
        """forward alone."""
        return self.call(point)[0]


def of(forward, backward=None, inputs=(), params=None, options=None, names=None, axes=None):
    """The problem of whatever came."""
    if not isinstance(inputs, (tuple, list)):
        raise TypeError(
            f"inputs must be a tuple, one entry for each argument of forward, but is a {type(inputs).__name__}: for "
            f"one array write (x,)"
        )
    if backward is None and hasattr(forward, "init") and hasattr(forward, "forward") and hasattr(forward, "backward"):
        return of_op(forward, params or {}, inputs, options, axes)
    if inspect.isclass(forward):
        raise TypeError(f"gradcheck needs an object, {forward.__name__}(...), but the class itself came")
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
    return Problem(label(op), point, call, gradients, shapes | _letters(axes), options=options, op=op)


def of_functions(forward, backward, inputs, params=None, options=None, names=None, axes=None):
    """Two functions, or one that returns its own gradients."""
    params, options, names = params or {}, options or {}, _called(forward, inputs, names, backward)
    if shared := set(names) & set(params):
        raise ValueError(f"{', '.join(shared)} came twice, among the inputs and among the params")
    point, arrays = own(dict(zip(names, inputs, strict=True)) | params), [*names, *params]
    title = getattr(forward, "__name__", type(forward).__name__)

    def run(point):
        return forward(*(point[name] for name in names), **{name: point[name] for name in params}, **fresh(options))

    if backward is None:

        def own_gradients(dout, point, out, cache):
            return _named(cache, arrays, point, title)

        return Problem(title, point, lambda point: _loss(run(point), title), own_gradients, _letters(axes), False)
    style = _style(backward, arrays, options)

    def call(point):
        out, how, kept = _split(style, run(point), point, title)
        return out, (how, kept)

    def gradients(dout, point, out, cache):
        how, kept = cache
        settings = {name: option for name, option in fresh(options).items() if name in style.options}
        if how == "in order":
            result = backward(dout, *(point[name] for name in arrays), **settings)
        elif how == "cache":
            result = backward(*_upstreams(dout, style.lead - 1), kept, **settings)
        else:
            given = dict.fromkeys(RESULT, out) | point | dict(zip(style.extras, kept, strict=True))
            asked = {name: given[name] for name in style.asks}
            result = backward(*_upstreams(dout, style.lead), **asked, **settings)
        return _named(result, arrays, point, f"backward of {title}")

    return Problem(title, point, call, gradients, _letters(axes))


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
    parameters = _parameters(backward)
    known = {*arrays, *RESULT}
    wanted = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    first, wanted = wanted[:1], wanted[1:]  # the gradient may be called as it likes
    taken = [p.name for p in wanted if p.name in options]
    wanted = [p for p in wanted if p.name not in taken and (p.name in known or p.default is p.empty)]
    place = next((i for i, p in enumerate(wanted) if p.name in known), len(wanted))
    asks = [p.name for p in wanted[place:]]
    rest = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return Style(len(first) + place, asks, [name for name in asks if name not in known], rest, taken)


def _split(style, result, point, title):
    """What forward returned -> out, how backward is called, what is kept for it."""
    several = isinstance(result, tuple) and len(result) > 1
    extras = len(style.extras)
    if len(style.asks) == 1 and several and style.lead == 1 and _is_kept(result, style.asks[0], point):
        return _only(result[:-1]), "names", ()
    if extras and several and len(result) > extras:
        return _only(result[:-extras]), "names", result[-extras:]
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


def _is_kept(result, name, point):
    """Did forward return, behind its result, just the array that backward asks for? Then it is no second output."""
    wanted = point[name] if name in point else result[0]
    return isinstance(wanted, np.ndarray) and isinstance(result[-1], np.ndarray) and np.array_equal(wanted, result[-1])


def _upstreams(dout, count):
    """The gradients of the outputs, one for each or all in one."""
    if count == 1:
        return (dout,)
    if not isinstance(dout, (tuple, list)) or len(dout) != count:
        came = f"{len(dout)} outputs" if isinstance(dout, (tuple, list)) else "one output"
        raise TypeError(f"backward takes {count} gradients, one for each output, but forward returned {came}")
    return dout


def of_object(layer, inputs, params=None, options=None, names=None, axes=None):
    """A layer that keeps its parameters and their gradients: params {name: name of its gradient}, or found by name."""
    names = _called(layer.forward, inputs, names)
    lead = sum(p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty for p in _parameters(layer.backward))

    def back(mine, dout):
        return mine.backward(*_upstreams(dout, max(lead, 1)))

    tried = copy.deepcopy(layer)  # some make their gradients only in backward
    start = dict(vars(tried))
    back(tried, tree.map(np.ones_like, tried.forward(*own(tuple(inputs)), **fresh(options))))
    # what forward or backward replaces is no parameter: it is kept for backward, or for the caller
    steady = {name: value for name, value in vars(tried).items() if start.get(name) is value and name not in names}
    held = _held(tried, steady, params)
    point = own(dict(zip(names, inputs, strict=True)) | {name: _get(layer, place) for name, (place, _) in held.items()})

    def prepared(point):
        mine = copy.deepcopy(layer)
        for name, (place, _) in held.items():
            _set(mine, place, point[name])
        return _zeroed(mine)

    def call(point):
        mine = prepared(point)
        return mine.forward(*(point[name] for name in names), **fresh(options)), mine

    def gradients(dout, point, out, mine):
        return collect(back(mine, dout), mine, point)

    def collect(result, mine, point):
        """What backward returned goes before what it has left in the layer."""
        by_name = isinstance(result, dict) or (isinstance(result, tuple) and isinstance(result[-1], dict))
        returned = _named(result, [*names, *(held if by_name else ())], point, f"backward of {title}", missing_ok=True)
        return {name: _get(mine, gradient) for name, (_, gradient) in held.items()} | returned

    def again(dout, point):
        """forward and backward, twice on one object: gradients that are added up come out doubled."""
        mine = prepared(point)
        for _ in range(2):
            out = _zeroed(mine).forward(*(point[name] for name in names), **fresh(options))
            result = back(mine, dout)
        return out, collect(result, mine, point)

    title = type(layer).__name__
    return Problem(title, point, call, gradients, _letters(axes), again=again)


def _zeroed(layer):
    """Gradients that are meant to add up are set back by the layer's own method."""
    for name in ("zero_grad", "zero_grads"):
        if callable(getattr(layer, name, None)):
            getattr(layer, name)()
    return layer


def fresh(options):
    """The options, generators copied: each call draws the same numbers."""
    return {
        name: copy.deepcopy(x) if isinstance(x, (np.random.Generator, np.random.RandomState)) else x
        for name, x in (options or {}).items()
    }


def _called(function, inputs, names=None, backward=None):
    """Names for the inputs: those given, else those of the first arguments; numbers stand in for *args.

    What is written in C may tell no names, as np.tanh before NumPy 2.3: then those of backward, behind the gradient.
    """
    if names is None:
        named = _positional(function)[: len(inputs)]
        behind = [] if backward is None else _positional(backward)[1 : len(inputs) + 1]
        named = behind if not _parameters(function) and len(behind) == len(inputs) else named
        return named + [f"input_{i}" for i in range(len(named), len(inputs))]
    if len(names) != len(inputs):
        raise ValueError(f"{len(names)} names came for {len(inputs)} inputs: {', '.join(names)}")
    return list(names)


def _positional(function):
    return [p.name for p in _parameters(function) if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def _parameters(function):
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some of those that are written in C
        return []


def _letters(axes):
    """{"q": "B T D"} -> {"q": ["B", "T", "D"]}."""
    return {path: letters.replace("...", "").split() for path, letters in (axes or {}).items()}


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


def _named(result, names, point, who, missing_ok=False):
    """What a backward returned, by name: one array, a tuple in the order of the inputs, or dicts by name."""
    parts = list(result) if isinstance(result, (tuple, list)) else [result]
    if hasattr(result, "_fields"):
        parts = [result._asdict()]
    elif len(names) == 1 and isinstance(point[names[0]], (tuple, list)) and len(parts) == len(point[names[0]]) > 1:
        parts = [result]  # the mirror of the one input
    found, rest = {}, []
    for part in parts:
        if not isinstance(part, dict):
            rest.append(part)
        elif (whole := _whose(part, [name for name in names if name not in found], point)) is not None:
            found[whole] = {_plain(key, point[whole]): value for key, value in part.items()}
        else:
            found |= {_plain(key, names): value for key, value in part.items()}
    open_names = [name for name in names if name not in found]
    if len(rest) < len(open_names):  # integers may have been left out
        open_names = [name for name in open_names if any(floating(x) for _, x in tree.leaves(point[name]))]
    if len(rest) > len(open_names) or (len(rest) < len(open_names) and not missing_ok and not found):
        raise ValueError(
            f"{who} returned {len(rest)} gradients for {len(open_names)} arrays, {', '.join(open_names)}: return one "
            f"for each, in the order of the arguments, or a dict by name"
        )
    return dict(zip(open_names, rest, strict=False)) | found


def _whose(part, names, point):
    """The input, a dict itself, whose gradient this dict is; None where it holds gradients by the inputs' names."""
    if all(_plain(key, names) in names for key in part):
        return None
    dicts = [name for name in names if isinstance(point[name], dict)]
    return next((name for name in dicts if all(_plain(key, point[name]) in point[name] for key in part)), None)


def _plain(key, names):
    """The array of which this is the gradient: dW -> W."""
    if key in names:
        return key
    return next((name for name in names if key in [form.format(name) for form in GRADIENT_OF]), key)


def _held(layer, steady, params):
    """{name: (where the parameter is, where its gradient will be)}; a place is (attribute, key or None)."""
    if params is not None:
        return {name: (_place(layer, name), _place(layer, gradient)) for name, gradient in params.items()}
    stores, held = [store for store in STORES if isinstance(getattr(layer, store, None), dict)], {}
    for name, value in steady.items():
        if name in ("params", "parameters", "weights") and isinstance(value, dict):
            store = next(iter(stores), STORES[0])
            for key, leaves in value.items():
                if any(floating(leaf) for _, leaf in tree.leaves(leaves)):
                    held[key] = (name, key), (store, key)
        elif isinstance(value, np.ndarray) and floating(value):
            own_name = next((form.format(name) for form in GRADIENT_OF if hasattr(layer, form.format(name))), None)
            kept_in = next((store for store in stores if name in getattr(layer, store)), None)
            if own_name or kept_in:
                held[name] = (name, None), ((own_name, None) if own_name else (kept_in, name))
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
