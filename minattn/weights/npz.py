"""Parameter trees in .npz files: each array under its path, settings as one JSON text beside them.

    save("model.npz", params, {"N": 64})
    params, settings = load("model.npz")

A file is data, never code: nothing is unpickled, and what the headers promise is checked before anything is read.
"""

import json
import math
import os
import zipfile
from pathlib import Path

import numpy as np

from minattn import tree

SETTINGS = "settings"
LIMIT = 2**30  # bytes in all: a file of parameters for this library is far smaller


def save(path, params, settings=None):
    """Write a nested dict of arrays, all or nothing: an interrupted save leaves the file that was there before."""
    path = Path(path)
    arrays = {name: np.asarray(array) for name, array in tree.leaves(params)}
    if SETTINGS in arrays:
        raise ValueError(f"a parameter may not be called {SETTINGS!r}: the file keeps its settings under that name")
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays[SETTINGS] = np.array(json.dumps(settings or {}))
    replace(path, lambda partial: np.savez_compressed(partial, **arrays))


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
            _check(path, archive)
        with np.load(path, allow_pickle=False) as arrays:
            flat = {name: arrays[name] for name in arrays.files}
        settings = json.loads(str(flat.pop(SETTINGS)))
    except (zipfile.BadZipFile, EOFError, OSError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a file of parameters, or it was cut off ({error})") from None
    return _nested(flat), settings


def _check(path, archive):
    """Names once each, plain numbers, and no more bytes than the limit: all from the headers."""
    names = archive.namelist()
    if len(set(names)) < len(names):
        raise ValueError(f"{path} holds a name twice: it was not written by this library")
    total = 0
    for name in names:
        with archive.open(name) as member:
            shape, dtype = _header(path, name, member)
        total += math.prod(shape) * dtype.itemsize
        if dtype.kind not in ("U" if name == f"{SETTINGS}.npy" else "fiub"):
            raise ValueError(f"{path}: {name} holds {dtype}, where only numbers are expected")
        if total > LIMIT:
            raise ValueError(f"{path} promises more than {LIMIT:,} bytes: not parameters of this library")


def _header(path, name, member):
    try:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(member)
    except ValueError as error:
        raise ValueError(f"{path}: {name} is not an array ({error})") from None
    return shape, dtype


def _nested(flat):
    """{"encoder.W": w} -> {"encoder": {"W": w}}."""
    root = {}
    for path, array in flat.items():
        *parents, name = path.split(".")
        node = root
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = array
    return root
