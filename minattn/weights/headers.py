"""What a header promises, checked before anything is allocated: names, shapes, bytes, and the JSON that says so."""

import collections
import io
import json
import math
import reprlib

LIMIT = 2**30  # bytes of all arrays of a file, unless its reader allows more
HEADER = 2**22  # bytes of a header, or of a table of contents
LONGEST = 255  # letters of a name
AXES = 64  # as many as NumPy has


class Sparing(io.FileIO):
    """A file of which nobody takes more than HEADER bytes at once: zipfile reads a table of contents of any length."""

    def read(self, size=-1):
        if size > HEADER:
            raise ValueError(f"its table of contents is {size:,} bytes long, where at most {HEADER:,} are read")
        return super().read(size)


def parsed(text):
    """What the JSON says; no name may stand twice, since then nobody knows which of the two holds."""
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("its JSON is nested too deep") from None


def fit(name):
    """May an array be called so? Parts joined by dots, none of them empty; nothing that leads elsewhere on a disk."""
    return (
        isinstance(name, str)
        and len(name) <= LONGEST
        and name.isprintable()
        and all(name.split("."))
        and not (set("/\\") & set(name))
    )


def checked(name):
    """The name, where it is fit."""
    if not fit(name):
        raise ValueError(
            f"{shown(name)} cannot be the name of an array: parts joined by dots are expected, of at most {LONGEST} "
            "letters in all and without slashes"
        )
    return name


def shape(name, axes):
    """The axes as a tuple."""
    if type(axes) is not list or len(axes) > AXES or not all(type(n) is int and n >= 0 for n in axes):
        raise ValueError(f"{name} has the shape {shown(axes)}, where up to {AXES} integers from 0 are expected")
    return tuple(axes)


def bytes_of(shape, dtype):
    """How much room the array takes."""
    return math.prod(shape) * dtype.itemsize


def total(promises, limit):
    """No more bytes than the limit, in all of {name: (shape, dtype)}.

    An empty array must fit as well with 1 for 0: NumPy has no array of (0, 2**62, 2**62).
    """
    whole = sum(bytes_of(*promise) for promise in promises.values())
    largest = max((bytes_of([n or 1 for n in shape], dtype) for shape, dtype in promises.values()), default=0)
    if max(whole, largest) > limit:
        raise ValueError(f"it promises more than {limit:,} bytes: if it is to be trusted, give a larger limit")


def shown(x):
    """As Python writes it, and not longer than a line: what a file says may be long."""
    return cut(reprlib.repr(x))


def cut(text, most=200):
    """The text as one line, and no more of it than that."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[:most]}..."


def _once(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        [(name, _)] = collections.Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"its JSON says {shown(name)} twice")
    return found
