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

import numpy as np

from minattn import tree
from minattn.gradcheck.check import gradcheck

BACKWARD_OF = ("{}_backward", "{}_grad", "{}_bwd", "{}_vjp", "d_{}", "grad_{}", "backward_{}")
STORES = ("gradcheck_inputs", "example_inputs")
MAKERS = ("{}_inputs", "inputs_{}")


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
    """{name: (forward, backward)} of everything in the file that belongs together; an object has no second."""
    own = {name: x for name, x in vars(module).items() if _defined_here(module, x)}
    found = {}
    for name, value in own.items():
        if callable(getattr(value, "forward", None)) and callable(getattr(value, "backward", None)):
            if not inspect.isclass(value) or (_source(module, name) is not None and _needs_nothing(value)):
                found[name] = value, None
        elif inspect.isfunction(value) and (backward := _backward_of(name, own)):
            found[name] = value, own[backward]
    return found


def find(module, function):
    """What stands behind :: -> its name and the pair; a function without a backward gives its own gradients."""
    known, file = pairs(module), Path(module.__file__).name
    for name, (forward, backward) in known.items():
        if function == name or (backward is not None and vars(module).get(function) is backward):
            return name, (forward, backward)
    value = vars(module).get(function)
    if callable(getattr(value, "forward", None)) and callable(getattr(value, "backward", None)):
        if inspect.isclass(value) and not _needs_nothing(value):
            raise ValueError(
                f"{function} is a class whose objects need arguments: put one into {file}, as in "
                f"{function.lower()} = {function}(...), and check {file}::{function.lower()}"
            )
        return function, (value, None)
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
    """The report of one pair; shapes {name of an argument: shape}: random numbers for it."""
    forward, backward = pair
    if inspect.isclass(forward):
        forward = forward()
    inputs, params, options = arguments(module, name, getattr(forward, "forward", forward), shapes, rng)
    if hasattr(forward, "forward"):  # the parameters of an object are those that it holds
        params, options = None, params | options
    return gradcheck(forward, backward, inputs, params=params, options=options, **settings)


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
    given |= {argument: rng.normal(size=shape) for argument, shape in shapes.items() if argument in parameters}
    if unknown := [argument for argument in given if argument not in parameters]:
        raise ValueError(f"{name} takes no {', '.join(unknown)}; it takes {', '.join(parameters)}")
    for p in parameters.values():
        if p.name not in given and isinstance(p.default, np.ndarray):
            given[p.name] = p.default
    missing = [p.name for p in parameters.values() if p.default is p.empty and p.kind.name[:3] in ("POS", "KEY")]
    if missing := [argument for argument in missing if argument not in given]:
        raise ValueError(
            f"{name} needs numbers for {', '.join(missing)}: write gradcheck_inputs = "
            f'{{"{name}": ({", ".join(named)}{"," * (len(named) == 1)})}} or def {name}_inputs(rng) into the file, or '
            f"give the shape of each, as in --shape {missing[0]}=2,3,4"
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
    place, step = "", error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == str(path):
            function = step.tb_frame.f_code.co_name
            place = f", line {step.tb_lineno}" + (f" in {function}" if function != "<module>" else "")
        step = step.tb_next
    said = f"{type(error).__name__}: {error}" if not isinstance(error, (ValueError, TypeError)) or place else f"{error}"
    return said + place


def _source(module, name):
    """Where the file holds inputs for this name: an entry of a dict, or a function; None where it holds none."""
    for store in STORES:
        if name in getattr(module, store, {}):
            return getattr(module, store)[name]
    return next((vars(module)[form.format(name)] for form in MAKERS if form.format(name) in vars(module)), None)


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
    if name == "forward":
        return "backward" if "backward" in known else None
    stems = dict.fromkeys((name, name.removesuffix("_forward"), name.removeprefix("forward_")))
    names = (form.format(stem) for stem in stems for form in BACKWARD_OF)
    return next((other for other in names if other != name and inspect.isfunction(known.get(other))), None)


def _defined_here(module, value):
    kind = value if inspect.isfunction(value) or inspect.isclass(value) else type(value)
    return not isinstance(value, ModuleType) and getattr(kind, "__module__", None) == module.__name__


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
