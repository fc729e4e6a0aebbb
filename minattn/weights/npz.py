"""Parameter trees in .npz files: each array under its path, settings as one JSON text beside them.

    save("model.npz", params, {"N": 64})
    params, settings = load("model.npz")

A file is data, never code: nothing is pickled or unpickled, and what the headers promise is checked before anything is
read. NumPy's own `np.load` reads these files too.
"""

import json
import math
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from minattn.backend import to_host

ABOUT = "about"  # the member with the settings, and the names of empty subtrees, which have no arrays
LIMIT = 2**30  # bytes in all: a file of parameters for this library is far smaller
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, KeyError, IndexError, NotImplementedError, RuntimeError)


def save(path, params, settings=None):
    """Write a nested dict of arrays, all or nothing: an interrupted save leaves the file that was there before."""
    arrays, empty = _flat(params)
    arrays[ABOUT] = np.array(json.dumps({"settings": settings or {}, "empty": empty}))

    def write(partial):
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in arrays.items():
                member = zipfile.ZipInfo(f"{name}.npy")  # without today's date: same content, same bytes
                member.compress_type = zipfile.ZIP_DEFLATED
                with archive.open(member, "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    replace(Path(path), write)


def replace(path, write):
    """write(partial) beside the file, then put it in its place: nobody ever finds half a file."""
    partial = path.with_name(f"{path.stem}.partial{os.getpid()}{path.suffix}")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load(path):
    """-> the nested dict of arrays, and the settings.

    FileNotFoundError where there is no file, ValueError with one sentence where it is not such a file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: there are no saved parameters at that place")
    try:
        with zipfile.ZipFile(path) as archive:
            _check(archive)
            arrays = {name.removesuffix(".npy"): _read(archive, name) for name in archive.namelist()}
        about = json.loads(str(arrays.pop(ABOUT)))
        return _nested(arrays, about["empty"]), about["settings"]
    except (*BROKEN, ValueError, TypeError) as error:
        raise ValueError(f"{path} is not a file of parameters, or it was damaged: {error}") from None


def _flat(params):
    """{"encoder": {"W": w}} -> {"encoder.W": w}, and the paths of empty dicts."""
    arrays, empty = {}, []

    def visit(node, path):
        for name, child in node.items():
            where = f"{path}{name}"
            if "." in name or "/" in name or where == ABOUT:
                raise ValueError(f"no parameter can be called {where!r}: '.' and '/' join names, {ABOUT!r} is taken")
            if isinstance(child, dict):
                visit(child, f"{where}.")
                empty.extend([where] * (not child))
            elif child is None:
                raise ValueError(f"{where} is None: a file holds arrays")
            else:
                arrays[where] = np.asarray(to_host(child))
                if arrays[where].dtype.kind not in "fiub":
                    raise TypeError(f"{where} holds {arrays[where].dtype}: a file of parameters holds plain numbers")

    visit(params, "")
    return arrays, empty


def _nested(arrays, empty):
    """{"encoder.W": w} -> {"encoder": {"W": w}}."""
    root = {}
    for path, leaf in [*arrays.items(), *((path, {}) for path in empty)]:
        *parents, name = path.split(".")
        node = root
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ValueError(f"{path} stands below an array")
        if name in node:
            raise ValueError(f"{path} is there twice")
        node[name] = leaf
    return root


def _check(archive):
    """Names once each, plain numbers, and no more bytes than the limit: all from the headers."""
    names, total = archive.namelist(), 0
    if len(set(names)) < len(names):
        raise ValueError("it holds a name twice")
    for name in names:
        with archive.open(name) as member:
            shape, dtype = _header(name, member)
        total += math.prod(shape) * dtype.itemsize
        if dtype.kind not in ("U" if name == f"{ABOUT}.npy" else "fiub"):
            raise ValueError(f"{name} holds {dtype}, where only numbers are expected")
        if total > LIMIT:
            raise ValueError(f"it promises more than {LIMIT:,} bytes")


def _header(name, member):
    try:
        version = np.lib.format.read_magic(member)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, _, dtype = read(member)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{name} is not an array ({error})") from None
    return shape, dtype


def _read(archive, name):
    with archive.open(name) as member:
        return np.lib.format.read_array(member, allow_pickle=False)
