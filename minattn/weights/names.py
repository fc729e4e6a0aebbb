"""Other people's names for the same arrays: a table of entries, read in one direction and written in the other.

    theirs {"weight_ih_l0": "4N I"}   <->   ours ("0.W_input",)            the matrix the other way round

An entry says which of their arrays, with which axes in letters, make which of ours, and how, both ways. From the table
come the conversion, the way back, and errors that list what is missing, what nobody asked for, and what has another
shape, all at once.
"""

import difflib
import math
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from minattn import backend, tree

PARTS = "query", "key", "value"
MOST = 8  # keys of one kind that an error lists


class Entry(NamedTuple):
    """theirs: {name: its axes}, each a product of letters and numbers, as in "4N HD"; ours: paths.

    read(sizes, *theirs) -> as many arrays as there are paths; write(*ours) -> as many as there are names. optional:
    what may be missing as a whole, on both sides.
    """

    theirs: dict
    ours: tuple
    read: Callable
    write: Callable
    optional: bool = False


def same(theirs, axes, ours, optional=False):
    """The array as it is."""
    return Entry({theirs: axes}, (ours,), lambda sizes, x: (x,), lambda x: (x,), optional)


def matrix(theirs, axes, ours, optional=False):
    """(out, in) <-> (in, out)."""
    return Entry({theirs: axes}, (ours,), lambda sizes, W: (W.mT,), lambda W: (W.mT,), optional)


def into_heads(theirs, axes, ours, optional=False):
    """(H D, M) <-> (M, H, D): what projects to all heads."""
    return Entry(
        {theirs: axes},
        (ours,),
        lambda sizes, W: (W.mT.reshape(W.shape[1], sizes["H"], -1),),
        lambda W: (W.reshape(len(W), -1).mT,),
        optional,
    )


def bias_of_heads(theirs, axes, ours, optional=False):
    """(H D,) <-> (H, D)."""
    return Entry(
        {theirs: axes}, (ours,), lambda sizes, b: (b.reshape(sizes["H"], -1),), lambda b: (b.reshape(-1),), optional
    )


def out_of_heads(theirs, axes, ours, optional=False):
    """(M, H E) <-> (H, E, M): what joins all heads."""
    return Entry(
        {theirs: axes},
        (ours,),
        lambda sizes, W: (W.mT.reshape(sizes["H"], -1, len(W)),),
        lambda W: (W.reshape(-1, W.shape[-1]).mT,),
        optional,
    )


def three_biases(theirs, ours, optional=False):
    """(3 H D,) <-> (H, D) of query, key and value."""
    return Entry(
        {theirs: "3M"},
        tuple(f"{ours}b_{part}" for part in PARTS),
        lambda sizes, b: tuple(part.reshape(sizes["H"], -1) for part in np.split(b, 3)),
        lambda *parts: (np.concatenate([b.reshape(-1) for b in parts]),),
        optional,
    )


def three_matrices(theirs, ours, across):
    """(3 H D, M), or across=True (M, 3 H D) <-> (M, H, D) of query, key and value."""

    def cut(sizes, W):
        W = W if across else W.mT
        return tuple(part.reshape(len(W), sizes["H"], -1) for part in np.split(W, 3, axis=1))

    def join(*parts):
        W = np.concatenate([W.reshape(len(W), -1) for W in parts], axis=1)
        return (W if across else W.mT,)

    return Entry({theirs: "M 3M" if across else "3M M"}, tuple(f"{ours}W_{part}" for part in PARTS), cut, join)


def whole_heads(W, H):
    """The width of a matrix (M, M) is a multiple of the heads."""
    if not hasattr(H, "__index__") or isinstance(H, bool) or H < 1 or (W is not None and W.ndim == 2 and len(W) % H):
        width = f"a width of {len(W)}" if W is not None and W.ndim == 2 else "the width"
        raise ValueError(f"{width} cannot be cut into H={H!r} heads: give the number that the model was made with")


def norm(theirs, ours):
    """The gain and bias of a norm."""
    return [same(f"{theirs}.weight", "M", f"{ours}.gain"), same(f"{theirs}.bias", "M", f"{ours}.bias")]


def arrays(state, ignore=()):
    """A state dict -> {name: NumPy array}, of tensors, arrays of a card, or arrays; without names that `ignore` fits."""
    if not hasattr(state, "items"):
        raise TypeError(f"a dict of arrays by name was expected, as module.state_dict() is, but a {_kind(state)} came")
    return {name: _array(name, x) for name, x in state.items() if not any(re.fullmatch(p, name) for p in ignore)}


def read(entries, state, sizes, who):
    """{name: array} of theirs -> our tree of parameters, arrays of its own. sizes: letters that are known.

    Raises ValueError, with every key that is missing, unexpected or of another shape.
    """
    here = [entry for entry in entries if not entry.optional or entry.theirs.keys() & state.keys()]
    asked = {name: axes for entry in here for name, axes in entry.theirs.items()}
    missing = [name for name in asked if name not in state]
    unexpected = [name for name in state if name not in asked]
    sizes, wrong = dict(sizes), []
    for name, axes in asked.items():
        if name in state and not _fits(state[name].shape, axes, sizes):
            wrong.append(f"{name} {state[name].shape} where ({_spelled(axes, sizes)}) was expected")
    if missing or unexpected or wrong:
        raise ValueError(f"this is no state of {who}: {_told(missing, unexpected, wrong)}")
    found = {}
    for entry in here:
        ours = entry.read(sizes, *(state[name] for name in entry.theirs))
        found |= {path: np.array(x, order="C") for path, x in zip(entry.ours, ours, strict=True)}
    return nested(found)


def write(entries, params, who):
    """Our tree of parameters -> {name: array} under their names, arrays of their own."""
    ours = {path: backend.to_host(leaf) for path, leaf in tree.leaves(params)}
    here = [entry for entry in entries if not entry.optional or set(entry.ours) & ours.keys()]
    asked = [path for entry in here for path in entry.ours]
    missing, unexpected = [p for p in asked if p not in ours], [p for p in ours if p not in asked]
    if missing or unexpected:
        raise ValueError(f"these are no parameters of {who}: {_told(missing, unexpected, [])}")
    state = {}
    for entry in here:
        theirs = entry.write(*(ours[path] for path in entry.ours))
        state |= {name: np.array(x, order="C") for name, x in zip(entry.theirs, theirs, strict=True)}
    return state


def layers(keys, pattern):
    """How many layers there are: the largest number that stands where the pattern has its group, and one."""
    numbers = [int(found.group(1)) for key in keys if (found := re.match(pattern, key))]
    return max(numbers, default=-1) + 1


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
        except TypeError:  # NumPy has no such type
            raise TypeError(f"{name} is {x.dtype}, which NumPy does not have: call module.float() first") from None
    x = np.asarray(backend.to_host(x))
    if x.dtype.kind not in "fiub":
        raise TypeError(f"{name} holds {x.dtype}: parameters are numbers")
    return x


def _fits(shape, axes, sizes):
    """Is this the shape of these axes? A letter that is not known yet becomes known."""
    axes = axes.split()
    if len(axes) != len(shape):
        return False
    for axis, n in zip(axes, shape, strict=True):
        number, letters = re.fullmatch(r"(\d*)([A-Z]*)", axis).groups()
        known = int(number or 1) * math.prod(sizes[letter] for letter in letters if letter in sizes)
        open_letters = [letter for letter in letters if letter not in sizes]
        if n % known or (not open_letters and n != known):
            return False
        if open_letters:
            sizes[open_letters[0]] = n // known
    return True


def _spelled(axes, sizes):
    """ "4N I" -> "4N = 256, I = 64"."""
    said = []
    for axis in axes.split():
        number, letters = re.fullmatch(r"(\d*)([A-Z]*)", axis).groups()
        whole = all(letter in sizes for letter in letters)
        size = int(number or 1) * math.prod(sizes.get(letter, 1) for letter in letters)
        said.append(f"{axis} = {size}" if whole and letters else axis)
    return ", ".join(said)


def _told(missing, unexpected, wrong):
    """All that does not fit, in one sentence; where one name is nearly another, which."""
    said = []
    if missing:
        near = {name: difflib.get_close_matches(name, unexpected, n=1, cutoff=0.8) for name in missing}
        said.append(
            "missing " + _list([f"{name} (is it {near[name][0]}?)" if near[name] else name for name in missing])
        )
    if unexpected:
        said.append("unexpected " + _list(unexpected))
    if wrong:
        said.append("misshaped " + _list(wrong))
    return "; ".join(said)


def _list(names):
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(names[:MOST]) + more


def _kind(x):
    return type(x).__name__
