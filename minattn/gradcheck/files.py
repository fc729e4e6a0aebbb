"""Gradients in somebody's file: which functions belong together, and the numbers on which they are tried.

    def attention(q, k, v): ...                   def attention_backward(dout, cache): ...
    def attention_inputs(rng): return q, k, v     or gradcheck_inputs = {"attention": (q, k, v)}

The backward of f is called f_backward, f_grad, f_bwd, f_vjp, d_f, grad_f or backward_f, and that of f_forward as that
of f. Objects with forward and backward are understood too, and classes of them that need no arguments.
"""

import contextlib
import inspect
import sys
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np

from minattn import tree
from minattn.gradcheck.check import gradcheck

BACKWARD_OF = ("{}_backward", "{}_grad", "{}_bwd", "{}_vjp", "d_{}", "grad_{}", "backward_{}")
STORES = ("gradcheck_inputs", "example_inputs")
MAKERS = ("{}_inputs", "inputs_{}")
BOOL = "bool"


class Shape(NamedTuple):
    """The numbers that stand in for an argument: fractions; below a whole number, integers from 0; or booleans."""

    sizes: tuple
    below: int | str | None = None

    def draw(self, rng):
        if self.below is None:
            return np.asarray(rng.normal(size=self.sizes))
        below, kind = (2, bool) if self.below == BOOL else (self.below, int)
        return np.asarray(rng.integers(below, size=self.sizes)).astype(kind)


@contextlib.contextmanager
def loaded(path):
    """The file as a module. Meanwhile imports look into its folder first; no .pyc is written, and nothing stays."""
    path = Path(path).resolve()
    spec = util.spec_from_file_location(f"_gradcheck_{path.stem}", path)
    module = util.module_from_spec(spec)
    paths, writes, modules = list(sys.path), sys.dont_write_bytecode, set(sys.modules)
    sys.path.insert(0, str(path.parent))
    sys.dont_write_bytecode, sys.modules[spec.name] = True, module
    try:
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            if isinstance(error, FileNotFoundError) and not path.exists():
                raise ValueError(f"{path} does not exist") from None
            raise ValueError(f"{path.name} cannot be loaded: {sentence(error, path)}") from None
        yield module
    finally:
        sys.path[:], sys.dont_write_bytecode = paths, writes
        came = [name for name in sys.modules.keys() - modules if _beside(name.partition(".")[0], path)]
        for name in came:  # another file may have neighbours of the same names
            del sys.modules[name]


def pairs(module):
    """{name: (forward, backward)} of everything in the file that belongs together; an object has no second.

    What comes from elsewhere counts where the file holds inputs for it; a class too, or where there is nothing else; a
    function alone, which gives its own gradients, where the file holds inputs for it.
    """
    there = {name: x for name, x in vars(module).items() if not isinstance(x, ModuleType)}
    own = {name: x for name, x in there.items() if _defined_here(module, x) or _source(module, name) is not None}
    found, classes = {}, {}
    for name, value in own.items():
        if _lacks(value) == []:
            kind = classes if inspect.isclass(value) and _source(module, name) is None else found
            kind[name] = value, None
        elif inspect.isfunction(value) and (backward := _backward_of(name, there)):
            found[name] = value, there[backward]
        elif inspect.isfunction(value) and _source(module, name) is not None and not _is_backward(name, there):
            found[name] = value, None
    made = {type(value) for value, _ in found.values()}
    return {name: pair for name, pair in found.items() if pair[0] not in made} or classes


def find(module, function):
    """What stands behind :: -> its name and the pair; a function without a backward gives its own gradients."""
    known, file = pairs(module), Path(module.__file__).name
    for name, (forward, backward) in known.items():
        if function == name or (backward is not None and vars(module).get(function) is backward):
            return name, (forward, backward)
    value = vars(module).get(function)
    if (lacks := _lacks(value)) == []:
        return function, (value, None)
    if inspect.isclass(value) or len(lacks) == 1:
        raise ValueError(
            f"{function} has no {' and no '.join(lacks)}: an object or a class is checked by its two methods"
        )
    if callable(value):
        backward = _backward_of(function, vars(module))
        return function, (value, vars(module)[backward] if backward else None)
    there = ", ".join(known) or "no pair of a function and its backward"
    raise ValueError(f"{file} has nothing called {function}; there is {there}")


def names(pair):
    """What forward takes."""
    called = getattr(pair[0], "forward", pair[0])
    return [name for name in inspect.signature(called).parameters if name != "self"]


def check(module, name, pair, shapes, rng, **settings):
    """The report of one pair; shapes {name of an argument: Shape}: random numbers for it."""
    forward, backward = pair
    if hasattr(forward, "forward"):
        layer = _object(module, name, forward)
        inputs, params, options = arguments(module, name, layer.forward, shapes, rng)
        # its parameters are those that it holds
        return gradcheck(layer, None, inputs, options=params | options, **settings)
    if backward is None:
        return _check_alone(module, name, forward, shapes, rng, settings)
    inputs, params, options = _some(name, arguments(module, name, forward, shapes, rng))
    return gradcheck(forward, backward, inputs, params=params, options=options, **settings)


def _check_alone(module, name, function, shapes, rng, settings):
    """`check` of a function without a backward: where it fails it says which backward was looked for."""
    none, given = _no_backward(module, name), None
    try:
        given = inputs, params, options = _some(name, arguments(module, name, function, shapes, rng))
        report = gradcheck(function, None, inputs, params=params, options=options, **settings)
    except (TypeError, ValueError) as error:
        if _place(error, Path(module.__file__)) or (given and "returned" not in str(error)):
            raise
        alone = f"{none}, so {name} alone must return (loss, gradients)"
        raise ValueError(f"{error}; {none}" if given else f"{alone}. {error}") from None
    said = f"{none}: what {name} returned behind the loss was taken for its gradients"
    return report if report else report._replace(notes=(*report.notes, said))


def arguments(module, name, function, shapes, rng):
    """-> inputs in order, arrays by name, all other settings by name: from shapes, from the file, or from defaults."""
    parameters = {p.name: p for p in inspect.signature(function).parameters.values()}
    named = [p.name for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    given = _given(module, name, rng)
    if isinstance(given, (tuple, list)):
        if len(given) > len(named):
            if any(p.kind is p.VAR_POSITIONAL for p in parameters.values()):
                return tuple(given), {}, {}
            raise ValueError(f"{name} takes {len(named)} inputs, {', '.join(named)}, but {len(given)} came")
        given = dict(zip(named, given, strict=False))
    given |= {argument: shape.draw(rng) for argument, shape in shapes.items() if argument in parameters}
    if unknown := [argument for argument in given if argument not in parameters]:
        raise ValueError(f"{name} takes no {', '.join(unknown)}; it takes {', '.join(parameters)}")
    for p in parameters.values():
        if p.name not in given and isinstance(p.default, np.ndarray):
            given[p.name] = p.default
    needed = [p.name for p in parameters.values() if p.default is p.empty and p.kind.name[:3] in ("POS", "KEY")]
    if missing := [argument for argument in needed if argument not in given]:
        offered = f"({', '.join(needed)}{',' * (len(needed) == 1)})"
        if not set(needed) <= set(named):  # what stands behind the star is given by name
            offered = f"dict({', '.join(f'{argument}={argument}' for argument in needed)})"
        raise ValueError(
            f'{name} needs numbers for {", ".join(missing)}: write gradcheck_inputs = {{"{name}": {offered}}} or '
            f"def {name}_inputs(rng) into the file, or give the shape of each, as in --shape {missing[0]}=2,3,4 "
            f"({missing[0]}=2,3:7 gives integers from 0 to 6, {missing[0]}=2,3:bool booleans)"
        )
    inputs = []
    for argument in named:
        if argument not in given or not _is_array(given[argument]):
            break
        inputs.append(given.pop(argument))
    arrays = {argument: given[argument] for argument in parameters if _is_array(given.get(argument))}
    return tuple(inputs), arrays, {argument: x for argument, x in given.items() if argument not in arrays}


def sentence(error, path):
    """An error in somebody's file as one sentence, with the line that raised it."""
    if isinstance(error, SyntaxError):
        return f"{error.msg}, line {error.lineno}"
    place = _place(error, path)
    said = f"{type(error).__name__}: {error}" if not isinstance(error, (ValueError, TypeError)) or place else f"{error}"
    return said + place


def _some(name, given):
    """Inputs, arrays and settings of which at least one is an array."""
    inputs, params, options = given
    if inputs or params:
        return given
    came = ", ".join(f"{argument} is {type(x).__name__}" for argument, x in options.items())
    raise ValueError(f"{name} has no array to take a gradient of ({came or 'it takes nothing'}): np.array(3.0) is one")


def _place(error, path):
    """The line of that file in which an error was raised, empty where it was raised elsewhere."""
    place, step = "", error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == str(path):
            function = step.tb_frame.f_code.co_name
            place = f", line {step.tb_lineno}" + (f" in {function}" if function != "<module>" else "")
        step = step.tb_next
    return place


def _no_backward(module, name):
    """What the file lacks for a function that came alone."""
    file, forward = Path(module.__file__).name, _forward_of(name)
    if forward:
        return f"{file} has no {forward}, whose backward {name} would be"
    *others, last = _names_of_backward(name)[-len(BACKWARD_OF) :]
    return f"{file} has no {', '.join(others)} or {last}" if others else f"{file} has no {last}"


def _object(module, name, value):
    """The object itself, or one of a class that needs no arguments."""
    if not inspect.isclass(value):
        return value
    if _needs_nothing(value):
        return value()
    file = Path(module.__file__).name
    raise ValueError(
        f"{name} is a class whose objects need arguments: put one into {file}, as in {name.lower()} = {name}(...), and "
        f"check {file}::{name.lower()}"
    )


def _lacks(value):
    """Which of the two methods an object is without."""
    return [method for method in ("forward", "backward") if not callable(getattr(value, method, None))]


def _source(module, name):
    """Where the file holds inputs for this name: an entry of a dict, or a function; None where it holds none."""
    for store in STORES:
        held = getattr(module, store, None)
        if isinstance(held, dict) and name in held:
            return held[name]
    makers = [form.format(name) for form in MAKERS if form.format(name) not in STORES]
    return next((vars(module)[maker] for maker in makers if maker in vars(module)), None)


def _given(module, name, rng):
    """The inputs that the file holds for this name: a tuple in order, or a dict by name."""
    given = _source(module, name)
    if callable(given):
        given = given(rng) if inspect.signature(given).parameters else given()
    if given is None:
        return {}
    return dict(given) if isinstance(given, dict) else given if isinstance(given, (tuple, list)) else (given,)


def _backward_of(name, known):
    """The name of the function that is the backward of this one, None where there is none."""
    return next((other for other in _names_of_backward(name) if inspect.isfunction(known.get(other))), None)


def _names_of_backward(name):
    """How the backward of a function may be called."""
    if name == "forward":
        return ["backward"]
    stems = dict.fromkeys((name, name.removesuffix("_forward"), name.removeprefix("forward_")))
    return [form.format(stem) for stem in stems for form in BACKWARD_OF]


def _forward_of(name):
    """What a function is the backward of, to judge by its name; None where the name says nothing."""
    if name == "backward":
        return "forward"
    ends = (form.split("{}") for form in BACKWARD_OF)
    stems = (name[len(a) : len(name) - len(b)] for a, b in ends if name.startswith(a) and name.endswith(b))
    return next((stem for stem in stems if stem.isidentifier()), None)


def _is_backward(name, known):
    """Is this the backward of something in the file?"""
    return any(other != name and _backward_of(other, known) == name for other in known)


def _defined_here(module, value):
    kind = value if inspect.isfunction(value) or inspect.isclass(value) else type(value)
    return getattr(kind, "__module__", None) == module.__name__


def _needs_nothing(kind):
    parameters = inspect.signature(kind).parameters.values()
    return all(p.default is not p.empty or p.kind.name[:3] == "VAR" for p in parameters)


def _beside(name, path):
    """Does this top-level module stand in the folder of the file?"""
    place = getattr(sys.modules.get(name), "__file__", None)
    if not place or name == "minattn":
        return False
    place = Path(place)
    return (place.parent.parent if place.stem == "__init__" else place.parent) == path.parent


def _is_array(value):
    return any(isinstance(leaf, np.ndarray) for _, leaf in tree.leaves(value))
