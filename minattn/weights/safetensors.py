"""Arrays in .safetensors files, as Hugging Face keeps them: the length of a header, the header in JSON, the numbers.

The package of that name reads and writes them. What the header says is checked here before, since the package knows no
limit, and of a name that stands twice it takes one.
"""

import os
from typing import NamedTuple

import numpy as np

from minattn.weights import headers

METADATA = "__metadata__"  # the entry of the header that is no array but texts by name
ABOUT = "minattn"  # the text that is ours
DTYPES = {"BOOL": np.dtype(bool)} | {
    f"{letter}{8 * size}": np.dtype(f"{kind}{size}")
    for letter, kind, sizes in (("F", "f", (2, 4, 8)), ("I", "i", (1, 2, 4, 8)), ("U", "u", (1, 2, 4, 8)))
    for size in sizes
}
FOREIGN = {"BF": "bfloat", "F8": "float8, ", "F6": "float6, ", "F4": "float4, "}  # how they begin, and what they are


class Promise(NamedTuple):
    shape: tuple
    dtype: np.dtype
    start: int
    stop: int


def write(path, arrays, about):
    """{name: array} and a text or None. Without one it says what Transformers asks: that the names are PyTorch's."""
    numpy = _package().numpy
    if METADATA in arrays:
        raise ValueError(f"no array can be called {METADATA!r} in a .safetensors file: the name is taken")
    native = {}
    for name, x in arrays.items():
        dtype = x.dtype.newbyteorder("=")
        if dtype not in DTYPES.values():
            raise TypeError(f"{name} holds {x.dtype}, which a .safetensors file does not have: {', '.join(DTYPES)}")
        native[name] = np.asarray(x, dtype, order="C")  # a strided array would be written as it lies
    path.touch()
    mode = path.stat().st_mode
    numpy.save_file(native, path, {"format": "pt"} if about is None else {ABOUT: about})
    path.chmod(mode)  # the package's own is for nobody but the owner


def read(file, limit):
    """-> {name: array}, and our text or None."""
    package = _package()
    promises, about = _promises(file, limit)
    try:
        with package.safe_open(file.name, "np") as opened:
            arrays = {name: opened.get_tensor(name) for name in promises}
    except package.SafetensorError as error:
        raise ValueError(str(error)) from None
    for name, x in arrays.items():
        if (x.shape, x.dtype) != promises[name][:2]:
            raise ValueError(f"{name} is {x.dtype} {x.shape} and was another a moment before: somebody writes to it")
    return arrays, about


def check(file, limit):
    """ValueError where the header promises what `read` would not read."""
    _promises(file, limit)


def _promises(file, limit):
    """{name: Promise} as the numbers stand in the file, and our text or None: all from the header."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if 8 + length > size or length > headers.HEADER:
        raise ValueError(
            f"it has {size:,} bytes and should begin with a header of {length:,}, of which at most {headers.HEADER:,} "
            "are read"
        )
    header = headers.parsed(file.read(length).decode("utf-8"))
    if not isinstance(header, dict):
        raise ValueError(f"its header is {headers.shown(header)}, where arrays by name are expected")
    texts = header.pop(METADATA, {})
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise ValueError(f"its {METADATA} is {headers.shown(texts)}, where texts by name are expected")
    promises = {headers.checked(name): _promise(name, entry) for name, entry in header.items()}
    headers.total({name: promise[:2] for name, promise in promises.items()}, limit)
    promises = dict(sorted(promises.items(), key=lambda entry: entry[1][2:]))
    _check_places(promises, size - 8 - length)
    return promises, texts.get(ABOUT)


def _promise(name, entry):
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name} is {headers.shown(entry)}, where dtype, shape and data_offsets are expected")
    dtype, offsets = entry["dtype"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"{name} is {_foreign(dtype)}")
    if type(offsets) is not list or len(offsets) != 2 or not all(type(n) is int for n in offsets):
        raise ValueError(f"{name} has the data_offsets {headers.shown(offsets)}, where two integers are expected")
    return Promise(headers.shape(name, entry["shape"]), DTYPES[dtype], *offsets)


def _foreign(dtype):
    for start, kind in FOREIGN.items():
        if isinstance(dtype, str) and dtype.startswith(start):
            said = kind + (dtype.removeprefix(start) if start == "BF" else dtype)
            return f"{said[:40]}, which NumPy does not have: save the model as float32"
    return f"{headers.shown(dtype)}, where one of {', '.join(DTYPES)} is expected"


def _check_places(promises, size):
    """One array after the other, each as long as its shape, to the end of the file."""
    end = 0
    for name, (shape, dtype, start, stop) in promises.items():
        if start != end:
            raise ValueError(
                f"{name} begins at byte {start:,}, and the one before it ends at {end:,}: a hole or an overlap"
            )
        if stop - start != headers.bytes_of(shape, dtype):
            raise ValueError(
                f"{name} has {stop - start:,} bytes, and {dtype} {shape} needs {headers.bytes_of(shape, dtype):,}"
            )
        end = stop
    if end != size:
        raise ValueError(f"its arrays end at byte {end:,} and its numbers at {size:,}")


def _package():
    try:
        import safetensors.numpy
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "safetensors":
            raise
        raise ModuleNotFoundError(
            'a .safetensors file needs the package safetensors: pip install "minattn[weights]"', name="safetensors"
        ) from None
    return safetensors
