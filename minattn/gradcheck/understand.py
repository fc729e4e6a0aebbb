"""Whatever came, as a problem: an op (a module with init, forward, backward), functions, or an object."""

import inspect

from minattn.gradcheck.derivative import own
from minattn.gradcheck.functions import of_functions
from minattn.gradcheck.objects import of_object
from minattn.gradcheck.problem import Problem, fresh, letters, positional
from minattn.op import inputs as input_names
from minattn.op import label

__tracebackhide__ = True  # as in check


def of(forward, backward=None, inputs=(), params=None, options=None, names=None, axes=None):
    """The problem of whatever came."""
    if not isinstance(inputs, (tuple, list)) and not callable(inputs):
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
    if callable(inputs) and isinstance(backward, (tuple, list)):
        raise TypeError("gradcheck takes forward, backward, inputs in this order, but a tuple came before the function")
    if not callable(forward):
        raise TypeError(
            f"gradcheck needs a function, an op or an object with forward and backward, but a {type(forward).__name__} "
            f"came"
        )
    if backward is not None and _swapped(forward, backward):
        raise TypeError(
            f"gradcheck takes forward, backward, inputs in this order, but {_name(forward)} came first and asks for a "
            f"gradient and what {_name(backward)} takes: swap the two"
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

    named = letters(axes, point)
    shapes = {name: axes.replace("...", "").split() for name, axes in getattr(op, "SHAPES", {}).items()}
    return Problem(label(op), point, call, gradients, shapes | named, options=options, op=op)


def _swapped(forward, backward):
    """Does the first ask for a gradient and then for a cache, or for everything that the second takes?"""
    first, *rest = positional(forward) or [""]
    takes = positional(backward)
    asks = bool(takes) and rest[: len(takes)] == takes and first not in takes
    return first.startswith(("d", "grad")) and (asks or rest in (["cache"], ["ctx"])) and "cache" not in takes


def _name(function):
    return getattr(function, "__name__", type(function).__name__)
