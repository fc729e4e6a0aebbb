"""Arrays in files: written all or not at all, and not read before they are checked. The suffix chooses the format."""

import contextlib
import json
import math
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from minattn.backend import to_host
from minattn.weights import headers, npz, safetensors
from minattn.weights.headers import LIMIT

BROKEN = (ValueError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)


def save(path, params, settings=None):
    """Write a nested dict of arrays, all or nothing: an interrupted save leaves the file that was there before.

    settings: a dict of what JSON can say; tuples come back as lists, keys as strings.
    """
    if not isinstance(params, dict):
        raise TypeError(f"params must be a nested dict of arrays, but a {type(params).__name__} came")
    arrays, empty, order = _flat(params)
    about = {"settings": settings or {}, "empty": empty}
    if empty or _room(path) is safetensors:  # which sorts the arrays; and layers are read one after the other
        about["order"] = order
    _write(path, arrays, json.dumps(about))


def load(path, limit=LIMIT):
    """-> the nested dict of arrays, and the settings.

    limit: the most bytes that all arrays may have. FileNotFoundError where there is no file, ValueError with one
    sentence where it is not such a file.
    """
    with _opened(path) as file:
        arrays, about = _read(path, file, limit)
        if about is None:
            raise ValueError("it has no settings: weights.load_arrays reads what others wrote")
        return _tree(arrays, headers.parsed(about))


def save_arrays(path, arrays):
    """Write {name: array} and nothing else, all or nothing; what others read: np.load, safetensors, Transformers."""
    _write(path, {headers.checked(name): _numbers(name, x) for name, x in arrays.items()}, None)


def load_arrays(path, limit=LIMIT):
    """-> {name: array}, of a file of anybody's. limit and errors: as in `load`."""
    with _opened(path) as file:
        return _read(path, file, limit)[0]


def replace(path, write):
    """write(partial) beside the file, then put it in its place: nobody ever finds half a file."""
    partial = path.with_name(f"{path.stem}.partial{os.getpid()}{path.suffix}")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _room(path):
    return safetensors if Path(path).suffix == ".safetensors" else npz


def _write(path, arrays, about):
    path = Path(path)

    def write(partial):
        _room(path).write(partial, arrays, about)
        with headers.Sparing(partial) as file, _told(f"{path} is not written, since it could not be read back"):
            _room(path).check(file, math.inf)

    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, write)


@contextlib.contextmanager
def _opened(path):
    if not Path(path).exists():
        raise FileNotFoundError(f"{path} does not exist: there are no saved parameters at that place")
    with headers.Sparing(path) as file, _told(f"{path} is not a file of parameters, or it was damaged"):
        yield file


@contextlib.contextmanager
def _told(what):
    """Whatever zipfile raises on a damaged file, as one sentence."""
    try:
        yield
    except BROKEN as error:
        raise ValueError(f"{what}: {headers.cut(str(error), 300)}") from None


def _read(path, file, limit):
    arrays, about = _room(path).read(file, limit)
    for name, x in arrays.items():
        if x.dtype == bool and x.view(np.uint8).max(initial=0) > 1:
            raise ValueError(f"{name} is to be True or False, and is neither")
    return arrays, about


def _flat(params):
    """{"encoder": {"W": w}} -> {"encoder.W": w}, the paths of empty dicts, and all paths as they came."""
    arrays, empty, order = {}, [], []

    def visit(node, path):
        for name, child in node.items():
            where = f"{path}{name}"
            if not isinstance(name, str) or "." in name or not headers.fit(where) or where == npz.ABOUT:
                called = where if isinstance(name, str) else name
                raise ValueError(
                    f"no parameter can be called {headers.shown(called)}: '.' joins names and '/' leads elsewhere, "
                    f"{npz.ABOUT!r} is taken, and {headers.LONGEST} letters are the most"
                )
            if isinstance(child, dict) and child:
                visit(child, f"{where}.")
                continue
            order.append(where)
            if isinstance(child, dict):
                empty.append(where)
            else:
                arrays[where] = _numbers(where, child)

    visit(params, "")
    return arrays, empty, order


def _numbers(name, x):
    if x is None:
        raise ValueError(f"{name} is None: a file holds arrays")
    x = np.asarray(to_host(x))
    if x.dtype.kind not in "fiub":
        raise TypeError(f"{name} holds {x.dtype}: a file of parameters holds plain numbers")
    return x


def _tree(arrays, about):
    """The arrays by their paths, and empty dicts, in the order in which they were saved; and the settings."""
    if not isinstance(about, dict) or "settings" not in about or not _names(about.get("empty")):
        raise ValueError(f"its settings are {headers.shown(about)}, which weights.save does not write")
    held = arrays | {path: {} for path in about["empty"]}
    order = about.get("order", list(held))
    if not _names(order) or sorted(order) != sorted([*arrays, *about["empty"]]):
        raise ValueError("its settings list other names than it holds")
    return _nested({path: held[path] for path in order}), about["settings"]


def _names(x):
    return isinstance(x, list) and all(headers.fit(name) for name in x)


def _nested(flat):
    """{"encoder.W": w} -> {"encoder": {"W": w}}."""
    root, closed = {}, {id(leaf) for leaf in flat.values()}
    for path, leaf in flat.items():
        *parents, name = path.split(".")
        node = root
        for parent in parents:
            node = node.setdefault(parent, {})
            if id(node) in closed:
                raise ValueError(f"{path} stands below an array, or in an empty dict")
        if name in node:
            raise ValueError(f"{path} is there twice")
        node[name] = leaf
    return root
