"""Any code as one kind of problem: a forward from one tree of arrays, and the gradients that a backward gives for it.

What is common to functions, ops and objects stands here: names for what came in, and the gradients that came back by
these names. Nothing that is given is ever written to: all work is done on copies.
"""

import copy
import inspect
from typing import Any, NamedTuple

import numpy as np

from minattn import tree
from minattn.gradcheck.derivative import floating

GRADIENT_OF = ("d{}", "grad_{}", "{}_grad", "g{}", "d_{}", "{}_gradient")  # how people call the gradient of {}
__tracebackhide__ = True  # as in check


class Problem(NamedTuple):
    """point: {name: tree}, inputs first, parameters behind them.

    call(point) -> out, cache; gradients(dout, point, out, cache) -> {name: tree}; axes: {path: letters}, where known.
    again: a second call after another one, where what a call leaves behind may matter; notes: to be told to whoever
    asked; kept: the names of what an object keeps.
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
    notes: tuple = ()
    kept: tuple = ()

    def out(self, point):
        """forward alone."""
        return self.call(point)[0]


def fresh(options):
    """The options, generators copied: each call draws the same numbers."""
    return {
        name: copy.deepcopy(x) if isinstance(x, (np.random.Generator, np.random.RandomState)) else x
        for name, x in (options or {}).items()
    }


def called(function, inputs, names=None, backward=None):
    """Names for the inputs: those given, else those of the first arguments; numbers stand in for *args.

    What is written in C may tell no names, as np.tanh before NumPy 2.3: then those of backward, behind the gradient.
    """
    if names is None:
        named = positional(function)[: len(inputs)]
        behind = [] if backward is None else positional(backward)[1 : len(inputs) + 1]
        named = behind if not parameters(function) and len(behind) == len(inputs) else named
        return named + [f"input_{i}" for i in range(len(named), len(inputs))]
    if isinstance(names, (str, dict)):
        raise TypeError(f'names must be a sequence, one for each input, as in names=("x", "W"), but is {names!r}')
    if len(names) != len(inputs):
        raise ValueError(f"{len(names)} names came for {len(inputs)} inputs: {', '.join(names)}")
    return list(names)


def positional(function):
    return [p.name for p in parameters(function) if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def parameters(function):
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some of those that are written in C
        return []


def upstreams(dout, count):
    """The gradients of the outputs, one for each or all in one."""
    if count == 1:
        return (dout,)
    if not isinstance(dout, (tuple, list)) or len(dout) != count:
        came = f"{len(dout)} outputs" if isinstance(dout, (tuple, list)) else "one output"
        raise TypeError(f"backward takes {count} gradients, one for each output, but forward returned {came}")
    return dout


def by_name(result, names, point, who, missing_ok=False):
    """What a backward returned, by name: one array, a tuple in the order of the inputs, or dicts by name."""
    if result is None and not missing_ok:
        raise TypeError(f"{who} returned None: is a return missing?")
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
        masks = [name for name in open_names if _looks_like_a_mask(point[name])]
        more = f"; {', '.join(masks)} holds only 0 and 1: a mask that needs no gradient is boolean" if masks else ""
        raise ValueError(
            f"{who} returned {len(rest)} gradient{'s' * (len(rest) != 1)} for {len(open_names)} arrays, "
            f"{', '.join(open_names)}: return one for each, in the order of the arguments, or a dict by name{more}"
        )
    return dict(zip(open_names, rest, strict=False)) | found


def _looks_like_a_mask(leaf):
    return floating(leaf) and np.size(leaf) > 1 and bool(np.isin(leaf, (0, 1)).all())


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


def letters(axes, point):
    """{"q": "B T D"} -> {"q": ["B", "T", "D"]}, of arrays that there are, one letter for each axis."""
    found, leaves = {}, dict(tree.leaves(point))
    for path, said in (axes or {}).items():
        named = said.split() if isinstance(said, str) else list(said)
        meant = [leaf for name, leaf in leaves.items() if path in (name, name.rsplit(".", 1)[-1])]
        if not meant:
            raise ValueError(f"axes names {path}, but the arrays are {', '.join(leaves)}")
        found[path] = [name for name in named if name != "..."]
        for leaf in meant:
            if len(found[path]) > leaf.ndim or (len(named) < leaf.ndim and "..." not in named):
                raise ValueError(
                    f"axes calls those of {path} {' '.join(named)}, but it has {leaf.ndim}, in the shape {leaf.shape}: "
                    f"one name for each, or ... for the first ones"
                )
    return found
