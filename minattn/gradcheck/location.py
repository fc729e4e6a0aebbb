"""Where in an array something is: the names of its axes, and what all wrong elements have in common."""

import numpy as np

GATES = {4: ("input", "forget", "cell", "output"), 3: ("reset", "update", "candidate")}  # of an LSTM, of a GRU
LEADING = ("b", "h")  # axes before those that have letters
MEANING = {"t": "step", "s": "step", "b": "sequence", "h": "head", "g": "group"}


def names_of(shape, letters):
    """A short name for each axis: lower-case letters where they are known, else their numbers."""
    if not letters or len(letters) > len(shape):
        return [f"axis {i}" for i in range(len(shape))] if len(shape) > 1 else ["i"] * len(shape)
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
        parts.append(f"{int(i)}" if axis.startswith("axis") or axis == "i" else f"{axis}={int(i)}")
    return f"{name}[{', '.join(parts)}]"


def where(wrong, letters, numeric=None):
    """What the wrong elements have in common, in words; "" where that is all of them, or nothing simple."""
    if wrong.all() or not wrong.any():
        return ""
    if numeric is not None and numeric.shape == wrong.shape and np.array_equal(wrong, numeric == 0):
        return "just where the true gradient is 0, masked, padded or never read"
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
        if touched.sum() == 1:
            return f"all in {_one(name, int(touched.argmax()), n)}"
        if (~touched).sum() == 1:
            return f"everywhere but in {_one(name, int(touched.argmin()), n)}"
        hit = np.flatnonzero(touched)
        return f"all in {MEANING.get(name, name)}s {', '.join(map(str, hit[:6]))}{', ...' if len(hit) > 6 else ''}"
    if wrong.ndim >= 2 and wrong.shape[-1] > 1 and wrong.shape[-2] > 1:
        above = np.triu(np.ones(wrong.shape[-2:], dtype=bool), 1)
        for part, called in ((above, "above the diagonal"), (above.mT, "below the diagonal")):
            if part.any() and not (wrong & ~part).any():
                return f"all {called}"
    return ""


def _one(name, i, n):
    place = {0: "the first", n - 1: "the last"}.get(i)
    called = MEANING.get(name)
    if called is None:
        return f"{name}={i}" if not name.startswith("axis") and name != "i" else f"index {i} of {name}"
    return f"{called} {name}={i}" + (f", {place}" if place else "")
