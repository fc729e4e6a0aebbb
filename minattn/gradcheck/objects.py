"""An object that keeps parameters and gradients of its own, and may hold other such layers, as a problem.

    out = layer.forward(x)             dx = layer.backward(dout)

Its gradients stand beside its parameters: layer.dW for layer.W, in dicts, as layer.grads["W"] for layer.params["W"],
or in lists of equal length; those of the layers in it are called by the way there, "layers.0.W".
"""

import copy
import re
from typing import NamedTuple

import numpy as np

from minattn import tree
from minattn.gradcheck.derivative import floating, is_array, own
from minattn.gradcheck.problem import GRADIENT_OF, Problem, by_name, called, fresh, letters, parameters, upstreams

PARAMETERS = ("params", "parameters", "weights")
LIKE_A_PARAMETER = re.compile(r"[WUwb]\w{0,3}|(W|w|b|bias|weights?|gain|kernel)(_\w+)?|gamma|beta")
STORES = ("grads", "gradients", "grad", "dparams")
__tracebackhide__ = True  # as in check


class Held(NamedTuple):
    """One parameter. places: wherever this array stands; gradients: where backward leaves what is added up for it.

    A place is the way to it: names of attributes, keys of dicts, numbers in lists.
    """

    places: tuple
    gradients: tuple


def of_object(layer, inputs, params=None, options=None, names=None, axes=None):
    """A layer that keeps its parameters and their gradients: params {name: name of its gradient}, or found by name."""
    names = called(layer.forward, inputs, names)
    lead = sum(p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty for p in parameters(layer.backward))

    def back(mine, dout):
        return mine.backward(*upstreams(dout, max(lead, 1)))

    tried = copy.deepcopy(layer)  # some make their gradients only in backward
    before = {place: dict(vars(part)) for place, part in _layers(tried)}
    back(tried, tree.map(np.ones_like, tried.forward(*own(tuple(inputs)), **fresh(options))))
    held, notes = (_given(tried, params), ()) if params is not None else _found(tried, before, names)
    point = dict(zip(names, inputs, strict=True)) | {name: _get(layer, one.places[0]) for name, one in held.items()}

    def prepared(point):
        mine = copy.deepcopy(layer)
        for name, one in held.items():
            for place in one.places:
                _set(mine, place, point[name])
        return _zeroed(mine)

    def call(point):
        mine = prepared(point)
        return mine.forward(*(point[name] for name in names), **fresh(options)), mine

    def gradients(dout, point, out, mine):
        return collect(back(mine, dout), mine, point)

    def collect(result, mine, point):
        """What backward returned goes before what it has left in the layer."""
        mapped = isinstance(result, dict) or (isinstance(result, tuple) and isinstance(result[-1], dict))
        returned = by_name(result, [*names, *(held if mapped else ())], point, f"backward of {title}", missing_ok=True)
        return {name: _sum([_get(mine, place) for place in one.gradients]) for name, one in held.items()} | returned

    def again(dout, point):
        """forward and backward, twice on one object: gradients that are added up come out doubled."""
        mine = prepared(point)
        for _ in range(2):
            out = _zeroed(mine).forward(*(point[name] for name in names), **fresh(options))
            result = back(mine, dout)
        return out, collect(result, mine, point)

    title = type(layer).__name__
    return Problem(title, own(point), call, gradients, letters(axes, point), again=again, notes=notes, kept=tuple(held))


def _layers(layer, place=(), seen=None):
    """(place, object): a layer and all layers that it holds, each once."""
    seen = set() if seen is None else seen
    if id(layer) in seen:
        return
    seen.add(id(layer))
    yield place, layer
    for name, value in list(vars(layer).items()):
        inside = dict(enumerate(value)) if isinstance(value, list | tuple) else value if isinstance(value, dict) else {}
        for way, part in [((name,), value), *(((name, key), part) for key, part in inside.items())]:
            if callable(getattr(part, "backward", None)) and hasattr(part, "__dict__") and not isinstance(part, type):
                yield from _layers(part, (*place, *way), seen)


def _zeroed(layer):
    """Gradients that are meant to add up are set back by the layers' own method."""
    for _, part in _layers(layer):
        for name in ("zero_grad", "zero_grads"):
            if callable(getattr(part, name, None)):
                getattr(part, name)()
    return layer


def _found(tried, before, names):
    """{name: Held} of everything that looks like a parameter with its gradient, and notes about what may be one.

    before: what stood there at first. An array without a gradient is a parameter whose gradient backward forgot, where
    it is called like one and another array has its own; else it may be a constant, which is said.
    """
    held, known, alone = {}, {}, {}
    for place, part in _layers(tried):
        was = before.get(place, {})
        # what forward or backward replaces is no parameter: it is kept for backward, or for the caller
        steady = {key: value for key, value in vars(part).items() if was.get(key) is value}
        steady = steady if place else {key: value for key, value in steady.items() if key not in names}
        for name, here, gradient in _pairs(part, steady):
            name = ".".join(map(str, (*place, *name)))
            array, here, gradient = _get(part, here), (*place, *here), (*place, *gradient)
            first = known.setdefault(id(array), name)  # one array may stand in several places
            one = held.get(first, Held((), ()))
            new = all(_get(tried, other) is not _get(tried, gradient) for other in one.gradients)
            held[first] = Held((*one.places, here), (*one.gradients, gradient) if new else one.gradients)
        for name, value in steady.items():
            if is_array(value) and floating(value):
                alone[".".join(map(str, (*place, name)))] = (*place, name)
    used = {*known, *(id(_get(tried, place)) for one in held.values() for place in one.gradients)}
    alone = {name: place for name, place in alone.items() if id(_get(tried, place)) not in used}
    forgotten = [name for name, place in alone.items() if held and LIKE_A_PARAMETER.fullmatch(str(place[-1]))]
    held |= {name: Held((alone[name],), ()) for name in forgotten}
    return held, tuple(f"{name} has no gradient: taken for a constant" for name in alone if name not in forgotten)


def _pairs(layer, steady):
    """(name, place, place of the gradient) of the parameters of one layer."""
    stores = [store for store in STORES if isinstance(getattr(layer, store, None), dict | list)]
    store = next(iter(stores), STORES[0])
    for name, value in steady.items():
        if name in PARAMETERS and isinstance(value, dict):
            for key, leaves in value.items():
                if any(floating(leaf) for _, leaf in tree.leaves(leaves)):
                    yield (key,), (name, key), (store, key)
        elif name in PARAMETERS and isinstance(value, list) and len(value) == len(getattr(layer, store, ())):
            for i, leaf in enumerate(value):
                if is_array(leaf) and floating(leaf):
                    yield (name, i), (name, i), (store, i)
        elif is_array(value) and floating(value):
            own_name = next((form.format(name) for form in GRADIENT_OF if hasattr(layer, form.format(name))), None)
            kept_in = next((store for store in stores if name in _keys(getattr(layer, store))), None)
            if own_name or kept_in:
                yield (name,), (name,), (own_name,) if own_name else (kept_in, name)


def _keys(store):
    return store if isinstance(store, dict) else ()


def _given(layer, params):
    """{name: Held} of what the caller says: {"W": "dW", "layers.0.W": "layers.0.dW"}."""
    return {name: Held((_place(layer, name),), (_place(layer, gradient),)) for name, gradient in params.items()}


def _place(layer, name):
    """ "W" -> ("W",); "params.W" for an entry of a dict; "layers.0.W" of a layer in a list."""
    place, holder, ways = [], layer, name.split(".")
    for i, key in enumerate(ways):
        here = list(holder) if isinstance(holder, dict) else list(getattr(holder, "__dict__", ()))
        if isinstance(holder, list | tuple):
            here, key = list(range(len(holder))), int(key) if key.isdigit() else key
        if key not in here and not hasattr(holder, str(key)) and not (isinstance(holder, dict) and i == len(ways) - 1):
            raise ValueError(
                f"{type(layer).__name__} has no {'.'.join(ways[: i + 1])}: params must name each parameter and its "
                f'gradient, as in params={{"W": "dW"}}; it holds {", ".join(map(str, here)) or "nothing"}'
            )
        place.append(key)
        holder = _get(holder, (key,))
    return tuple(place)


def _get(holder, place):
    """What stands there, None where nothing does."""
    for key in place:
        if isinstance(holder, dict):
            holder = holder.get(key)
        elif isinstance(holder, list | tuple):
            holder = holder[key] if key < len(holder) else None
        else:
            holder = getattr(holder, key, None)
    return holder


def _set(layer, place, value):
    holder = _get(layer, place[:-1])
    if isinstance(holder, dict | list):
        holder[place[-1]] = value
    else:
        setattr(holder, place[-1], value)


def _sum(gradients):
    """Of tied parameters each layer keeps its own; None where none came."""
    came = [gradient for gradient in gradients if gradient is not None]
    if len(came) < 2:
        return came[0] if came else None
    return tree.map(lambda *parts: sum(parts[1:], start=parts[0]), *came)
