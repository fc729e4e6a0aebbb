"""Other people's names for the same arrays: a table of entries, read in one direction and written in the other.

    theirs {"weight_ih_l0": "4N I"}   <->   ours ("0.W_input",)            the matrix the other way round

An entry says which of their arrays, with which axes in letters, make which of ours, and how, both ways. From the table
come the conversion, the way back, and errors that list what is missing, what nobody asked for, and what has another
shape, all at once.
"""

import difflib
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from minattn import backend, tree, validate

PARTS = "query", "key", "value"
MOST = 8  # keys of one kind that an error lists


class Entry(NamedTuple):
    """theirs: {name: its axes}, each a letter or some times a letter, as in "4N I"; ours: paths.

    read(H, *theirs) -> as many arrays as there are paths, H being the number of heads; write(*ours) -> as many as
    there are names.
    """

    theirs: dict
    ours: tuple
    read: Callable
    write: Callable


def same(theirs, axes, ours):
    """The array as it is."""
    return Entry({theirs: axes}, (ours,), lambda H, x: (x,), lambda x: (x,))


def matrix(theirs, axes, ours):
    """(out, in) <-> (in, out)."""
    return Entry({theirs: axes}, (ours,), lambda H, W: (W.mT,), lambda W: (W.mT,))


def summed(theirs, axes, ours):
    """Two arrays that are only ever added <-> their sum; written back, it is the first, and the second is 0."""
    return Entry(dict.fromkeys(theirs, axes), (ours,), lambda H, b, c: (b + c,), lambda b: (b, np.zeros_like(b)))


def into_heads(theirs, axes, ours):
    """(H D, M) <-> (M, H, D): what projects to all heads."""
    return Entry(
        {theirs: axes}, (ours,), lambda H, W: (W.mT.reshape(W.shape[1], H, -1),), lambda W: (W.reshape(len(W), -1).mT,)
    )


def bias_of_heads(theirs, axes, ours):
    """(H D,) <-> (H, D)."""
    return Entry({theirs: axes}, (ours,), lambda H, b: (b.reshape(H, -1),), lambda b: (b.reshape(-1),))


def out_of_heads(theirs, axes, ours, across=False):
    """(M, H E), or across=True (H E, M), M being H E <-> (H, E, M): what joins all heads."""

    def turned(W):
        return W if across else W.mT

    return Entry(
        {theirs: axes},
        (ours,),
        lambda H, W: (turned(W).reshape(H, -1, len(W)),),
        lambda W: (turned(W.reshape(-1, W.shape[-1])),),
    )


def three_matrices(theirs, ours, across=False):
    """(3 H D, M), or across=True (M, 3 H D) <-> (M, H, D) of query, key and value."""

    def cut(H, W):
        W = W if across else W.mT
        return tuple(part.reshape(len(W), H, -1) for part in np.split(W, 3, axis=1))

    def join(*parts):
        W = np.concatenate([W.reshape(len(W), -1) for W in parts], axis=1)
        return (W if across else W.mT,)

    return Entry({theirs: "M 3M" if across else "3M M"}, tuple(f"{ours}W_{part}" for part in PARTS), cut, join)


def three_biases(theirs, ours):
    """(3 H D,) <-> (H, D) of query, key and value."""
    return Entry(
        {theirs: "3M"},
        tuple(f"{ours}b_{part}" for part in PARTS),
        lambda H, b: tuple(part.reshape(H, -1) for part in np.split(b, 3)),
        lambda *parts: (np.concatenate([b.reshape(-1) for b in parts]),),
    )


def norm(theirs, ours):
    """The gain and bias of a norm."""
    return [same(f"{theirs}.weight", "M", f"{ours}.gain"), same(f"{theirs}.bias", "M", f"{ours}.bias")]


def arrays(state, ignored=()):
    """A state dict -> {name: NumPy array}, of tensors, arrays of a card, or arrays; without names that `ignored` fits.

    TypeError for what is no dict of arrays by name.
    """
    if hasattr(state, "state_dict"):
        raise TypeError(
            f"a dict of arrays by name was expected, but the {_kind(state)} itself came: give its state_dict()"
        )
    if not hasattr(state, "items"):
        raise TypeError(f"a dict of arrays by name was expected, as module.state_dict() is, but a {_kind(state)} came")
    if odd := [name for name in state if not isinstance(name, str)]:
        raise TypeError(f"a dict of arrays by name was expected, but {odd[0]!r} is no name")
    if parts := [name for name, x in state.items() if hasattr(x, "items")]:
        raise TypeError(
            f"a dict of arrays by name was expected, but a dict stands under {_list(parts)}: of a checkpoint give that "
            f"part which holds the parameters"
        )
    return {name: _array(name, x) for name, x in state.items() if not any(re.fullmatch(p, name) for p in ignored)}


def read(entries, state, who, H=1):
    """{name: array} of theirs -> our tree of parameters, arrays of its own. H: how many heads, where there are any.

    Raises ValueError, with every key that is missing, unexpected or of another shape; TypeError for whole numbers.
    """
    entries = list(entries)
    asked = {name: axes for entry in entries for name, axes in entry.theirs.items()}
    if places := _deeper(asked, state):
        raise ValueError(
            f"this is no state of {who}, but its names stand here after {_list(places)}: give the state_dict() of that "
            f"part alone, or {{n.removeprefix({places[0]}): x for n, x in state.items() if n.startswith({places[0]})}}"
        )
    missing = [name for name in asked if name not in state]
    unexpected = [name for name in state if name not in asked]
    sizes, wrong = {}, []
    for name, axes in asked.items():
        if name in state and not _fits(state[name].shape, axes, sizes):
            wrong.append(f"{name} {state[name].shape} where ({_spelled(axes, sizes)}) was expected")
    if missing or unexpected or wrong:
        raise ValueError(f"this is no state of {who}: {_told(missing, unexpected, wrong)}")
    for name in asked:
        _fractions(name, state[name])
    _whole_heads(sizes.get("M", H), H)
    found = {}
    for entry in entries:
        ours = entry.read(H, *(state[name] for name in entry.theirs))
        found |= {path: np.array(x, order="C") for path, x in zip(entry.ours, ours, strict=True)}
    return nested(found)


def write(entries, params, who):
    """Our tree of parameters -> {name: array} under their names, arrays of their own.

    Raises ValueError, with every parameter that is missing, unexpected, or of a shape that is impossible there.
    """
    entries, ours = list(entries), {path: _fractions(path, _array(path, leaf)) for path, leaf in _leaves(params)}
    asked = [path for entry in entries for path in entry.ours]
    missing, unexpected = [path for path in asked if path not in ours], [path for path in ours if path not in asked]
    state, sizes, wrong = {}, {}, []
    for entry in [] if missing or unexpected else entries:
        given = [ours[path] for path in entry.ours]
        try:
            made = dict(zip(entry.theirs, entry.write(*given), strict=True))
            fit = all(_fits(made[name].shape, axes, sizes) for name, axes in entry.theirs.items())
        except (ValueError, TypeError, IndexError):  # so few axes, or so different ones, that nothing could be made
            made, fit = {}, False
        if not fit:
            came = ", ".join(f"{path} {x.shape}" for path, x in zip(entry.ours, given, strict=True))
            wanted = " and ".join(f"{name} ({_spelled(axes, sizes)})" for name, axes in entry.theirs.items())
            wrong.append(f"{came} for {wanted}")
        state |= {name: np.array(x, order="C") for name, x in made.items()}
    if missing or unexpected or wrong:
        raise ValueError(f"these are no parameters of {who}: {_told(missing, unexpected, wrong)}")
    return state


def unbiased(entries, state):
    """The state with a bias of 0 beside every matrix, where it has none at all: of a module made with bias=False."""
    if any("bias" in name for name in state):
        return state
    biases = [name for entry in entries for name in entry.theirs if "bias" in name]
    beside = {name: state.get(name.replace("bias", "weight")) for name in biases}
    return state | {name: np.zeros_like(W, shape=W.shape[:1]) for name, W in beside.items() if W is not None}


def layers(names, pattern):
    """How many layers there are, at least one: the largest number where the pattern has its group, and one.

    No more than there are names, whatever number a damaged file gives.
    """
    numbers = [int(found.group(1)) for name in names if (found := re.match(pattern, name))]
    return max(1, min(max(numbers, default=0) + 1, len(names)))


def paths(params):
    """Where the parameters of a tree stand."""
    return [path for path, _ in _leaves(params)]


def nested(flat):
    """{"0.W": w} -> {"0": {"W": w}}."""
    root = {}
    for path, leaf in flat.items():
        *parents, name = path.split(".")
        node = root
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = leaf
    return root


def _array(name, x):
    """The array of whatever came."""
    if hasattr(x, "detach"):
        try:
            x = x.detach().cpu().numpy()
        except (TypeError, RuntimeError) as error:  # bfloat16, sparse, without data
            why = str(error).splitlines()[0]
            raise TypeError(
                f"{name} is a tensor of {x.dtype} of which NumPy can make no array ({why}): bfloat16 becomes float32 "
                f"by module.float()"
            ) from None
    return np.asarray(backend.to_host(x))


def _fractions(name, x):
    """The array, if it is one of floating numbers."""
    if x.dtype.kind != "f":
        raise TypeError(f"{name} holds {x.dtype}, but parameters are floating numbers, as float32 is")
    return x


def _leaves(params):
    if not isinstance(params, dict):
        raise TypeError(f"the parameters must be a nested dict of arrays, but a {_kind(params)} came")
    return tree.leaves(params)


def _whole_heads(M, H):
    """The width is a multiple of the heads."""
    validate.count("H", H)
    if M % H:
        raise ValueError(f"a width of M={M} cannot be cut into H={H} heads: give as many as the model was made with")


def _deeper(asked, state):
    """After which beginnings the names stand, where none stands by itself: a whole model, or one that was wrapped."""
    first = next(iter(asked))
    if asked.keys() & state.keys():
        return []
    return [repr(name.removesuffix(first)) for name in state if name.endswith(f".{first}")]


def _fits(shape, axes, sizes):
    """Is this the shape of these axes? A letter that is not known yet becomes known."""
    axes = axes.split()
    if len(axes) != len(shape):
        return False
    for axis, n in zip(axes, shape, strict=True):
        times, letter = _axis(axis)
        if letter not in sizes and n and n % times == 0:
            sizes[letter] = n // times
        if letter not in sizes or n != times * sizes[letter]:
            return False
    return True


def _spelled(axes, sizes):
    """ "4N I" -> "4N = 256, I = 64", as far as it is known."""
    told = []
    for axis in axes.split():
        times, letter = _axis(axis)
        told.append(f"{axis} = {times * sizes[letter]}" if letter in sizes else axis)
    return ", ".join(told)


def _axis(axis):
    """ "4N" -> 4, "N"."""
    return int(axis[:-1] or 1), axis[-1]


def _told(missing, unexpected, wrong):
    """All that does not fit, in one sentence; where one name is nearly another, which."""
    told = []
    if missing:
        told.append("missing " + _list(missing, lambda name: _suggested(name, unexpected)))
    if unexpected:
        told.append("unexpected " + _list(unexpected))
    if wrong:
        told.append("misshaped " + _list(wrong))
    return "; ".join(told)


def _suggested(name, others):
    near = difflib.get_close_matches(name, others, cutoff=0.8)
    return f"{name} (is it {near[0]}?)" if near else name


def _list(names, told=str):
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(told(name) for name in names[:MOST]) + more


def _kind(x):
    return type(x).__name__
