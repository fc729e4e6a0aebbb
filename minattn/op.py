"""What every op shares: settings bound once, the two halves of attention, a function seen as an op, and its cases.

An op is a namespace with `init`, `forward` and `backward` that obey the law in `minattn.__doc__`.
"""

import functools
import inspect
from types import SimpleNamespace
from typing import Any, NamedTuple

from minattn import masks, tree


class Case(NamedTuple):
    """One way to call an op, for checks: sizes by letter for `init`, inputs in order, options by name.

    twin: the name of an op that must give the same result on these inputs; params: used in place of `init`.
    """

    name: str
    sizes: dict
    inputs: tuple
    options: dict = {}
    twin: str | None = None
    params: dict | None = None


class Memory(NamedTuple):
    """What a query is asked against: keys and values, projected by mechanisms that project them."""

    key: Any
    value: Any


def bind(op, **settings):
    """The op with settings fixed: `bind(seq2seq, attention=additive)` obeys the same law.

    Every function of the op receives those settings that its signature names; a setting that none of them names raises
    TypeError.
    """
    functions = {name: f for name, f in vars(op).items() if _defined_by(op, f)}
    passed = set(options(op)) if hasattr(op, "forward") else set()  # what a function may hand on by **
    chosen = {name: {s: settings[s] for s in settings if _takes(f, s, passed)} for name, f in functions.items()}
    unknown = settings.keys() - set().union(*chosen.values())
    if unknown:
        raise TypeError(f"{label(op)} has no setting {', '.join(sorted(unknown))}")
    bound = {name: functools.partial(f, **chosen[name]) for name, f in functions.items() if chosen[name]}
    return SimpleNamespace(**{**vars(op), **bound})


def pair(function, function_backward):
    """A function and its backward as an op without parameters.

    The backward's arguments are found by name: the gradient of the result first, then the result, the function's own
    arguments, and the extras in the order in which the function returns them.
    """
    names = list(inspect.signature(function).parameters)
    dresult, *needed = inspect.signature(function_backward).parameters
    extras = [name for name in needed if name not in names and name != dresult[1:]]

    def forward(params, *inputs, **options):
        result = function(*inputs, **options)
        result, *rest = result if extras else (result,)
        known = dict(zip(names, inputs, strict=False)) | options | dict(zip(extras, rest, strict=True))
        known[dresult[1:]] = result
        return result, (len(inputs), {name: known[name] for name in needed if name in known})

    def backward(dout, cache):
        count, arguments = cache
        gradients = function_backward(dout, **arguments)
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        return (gradients + (None,) * count)[:count], {}

    return SimpleNamespace(
        __name__=function.__name__, names=names, init=lambda rng: {}, forward=forward, backward=backward
    )


def halves(op):
    """The op with `prepare` and `attend`: its own, or for a mechanism without projections these."""
    if hasattr(op, "prepare"):
        return op

    def prepare(params, key, value, *, seen=None):
        """key (..., S, D), value (..., S, E), seen (..., S) booleans -> memory, cache. Done once for all steps."""
        return Memory(masks.keep(seen, key), masks.keep(seen, value)), None

    def prepare_backward(dmemory, cache):
        return tuple(dmemory), {}

    def attend(params, query, memory, bias=None, **given):
        """query (..., T, D) -> context (..., T, E), cache; given: the options of forward, such as mask and offset."""
        given = {name: option for name, option in given.items() if option is not None}
        return op.forward(params, query, *memory, *biases(op, bias), **given)

    def attend_backward(dcontext, cache):
        (dquery, dkey, dvalue, *dbias), dparams = op.backward(dcontext, cache)
        return (dquery, Memory(dkey, dvalue), dbias[0] if dbias else None), dparams

    own = {f.__name__: f for f in (prepare, prepare_backward, attend, attend_backward)}
    return SimpleNamespace(**{**vars(op), **own})


def biases(op, bias):
    """() where there is no bias, else the bias as one more input, for a mechanism that adds it to its scores."""
    if bias is None:
        return ()
    if "bias" not in inputs(op):
        raise ValueError(f"a bias was given but {label(op)} takes none: it has no scores to which one could be added")
    return (bias,)


def inputs(op):
    """The names of forward's inputs, which stand between params and the star."""
    if hasattr(op, "names"):
        return op.names
    parameters = list(inspect.signature(op.forward).parameters.values())[1:]
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]


def options(op):
    """The names of forward's options, which stand after the star."""
    return [p.name for p in inspect.signature(op.forward).parameters.values() if p.kind is p.KEYWORD_ONLY]


def initialise(op, rng, sizes):
    """init with those sizes that its signature names and nobody has bound."""
    bound = getattr(op.init, "keywords", {})
    wanted = [name for name in inspect.signature(op.init).parameters if name not in bound]
    return op.init(rng, **{letter: n for letter, n in sizes.items() if letter in wanted})


def case_params(op, case, rng):
    """Parameters for a Case: its own, or `init` and a little noise."""
    if case.params is not None:
        return case.params
    return tree.map(lambda p: p + 0.1 * rng.normal(size=p.shape), initialise(op, rng, case.sizes))


def label(op):
    """The last part of the op's name: minattn.attention.dot -> dot."""
    return getattr(op, "__name__", str(op)).rsplit(".", 1)[-1]


def _defined_by(op, value):
    """A function of the op itself: neither imported by its file nor a class."""
    function = value.func if isinstance(value, functools.partial) else value
    return inspect.isfunction(function) and function.__module__ in (op.__name__, __name__)


def _takes(function, setting, passed):
    parameters = inspect.signature(function).parameters.values()
    named = any(p.name == setting and p.kind is p.KEYWORD_ONLY for p in parameters)
    return named or (setting in passed and any(p.kind is p.VAR_KEYWORD for p in parameters))
