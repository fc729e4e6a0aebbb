"""Where in an array something is: the names of its axes, and what all wrong elements have in common."""

import numpy as np

GATES = {4: ("input", "forget", "cell", "output"), 3: ("reset", "update", "candidate")}  # of an LSTM, of a GRU
LEADING = ("b", "h")  # axes before those that have letters
MEANING = {"t": "step", "s": "step", "b": "sequence", "h": "head", "g": "group"}


def names_of(shape, letters):
    """A short name for each axis: lower-case letters where they are known, else their numbers."""
    if not letters or len(letters) > len(shape):
        return [f"axis {i}" for i in range(len(shape))]
    extra = len(shape) - len(letters)
    leading = LEADING[:extra] if extra <= len(LEADING) else [f"axis {i}" for i in range(extra)]
    return [*leading, *(letter.lower() for letter in letters)]


def element(name, index, shape, letters):
    """W_query[m=3, h=1, d=0]; one axis of several gates becomes two."""
    parts = []
    for axis, i, n in zip(names_of(shape, letters), index, shape, strict=True):
        times = int(axis[:-1]) if axis[:-1].isdigit() else 1
        if times > 1:
            gate, i = divmod(int(i), n // times)
            parts.append(f"gate={GATES[times][gate] if times in GATES else gate}")
            axis = axis[-1]
        parts.append(f"{int(i)}" if axis.startswith("axis") else f"{axis}={int(i)}")
    return f"{name}[{', '.join(parts)}]"


def where(wrong, letters, numeric=None):
    """What the wrong elements have in common, in words; "" where that is all of them, or nothing simple."""
    if wrong.all() or not wrong.any():
        return ""
    if numeric is not None and numeric.shape == wrong.shape and np.array_equal(wrong, numeric == 0):
        return "just where the true gradient is 0, masked, padded or never read"
    if wrong.ndim >= 2:
        places = wrong.reshape(-1, *wrong.shape[-2:]).any(axis=0)
        for called, part in (("above", np.triu(np.ones_like(places), 1)), ("below", np.tril(np.ones_like(places), -1))):
            if min(places.shape) > 2 and not (places & ~part).any() and 2 * places.sum() > part.sum():
                return f"all {called} the diagonal"
    names = names_of(wrong.shape, letters)
    for axis, name in enumerate(names):
        others = tuple(a for a in range(wrong.ndim) if a != axis)
        touched, n = wrong.any(axis=others), wrong.shape[axis]
        times = int(name[:-1]) if name[:-1].isdigit() else 1
        if times > 1 and n % times == 0:
            gates = touched.reshape(times, -1).any(axis=1)
            if not gates.all():
                called = GATES.get(times, [f"{i}" for i in range(times)])
                which = [called[i] for i in np.flatnonzero(gates)]
                return f"in the {' and '.join(which)} gate{'s' if len(which) > 1 else ''}"
        if n < 2 or touched.all():
            continue
        hit = np.flatnonzero(touched)
        if len(hit) == n - 1 > 1:
            full = np.delete(wrong, touched.argmin(), axis=axis).all()
            return f"{'everywhere but' if full else 'none'} in {_some(name, np.flatnonzero(~touched), n)}"
        return f"all in {_some(name, hit, n)}"
    return ""


def _some(name, places, n):
    """Indices of an axis: step t=4, the last; heads h=1, 3; m=2; index 5 of axis 0."""
    shown = ", ".join(map(str, places[:6])) + (", ..." if len(places) > 6 else "")
    if len(places) > 3 and places[-1] - places[0] == len(places) - 1:
        shown = f"{places[0]} to {places[-1]}"
    several, place = len(places) > 1, {0: ", the first", n - 1: ", the last"}.get(int(places[0]), "")
    if name.startswith("axis"):
        return f"{'indices' if several else 'index'} {shown} of {name}"
    meaning = MEANING.get(name)
    called = f"{meaning}{'s' * several} {name}" if meaning else name
    return f"{called}={shown}{place if meaning and not several else ''}"
