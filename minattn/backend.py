"""The way to a graphics card and back. Nothing else in this library imports CuPy.

    params, tokens = to_device((params, tokens))          # CuPy arrays from here on
    logits, cache = language_model.forward(params, tokens)
    gradients = to_host(language_model.backward(dlogits, cache))

The code of every op says `np.`, and NumPy hands a function whose arguments are CuPy's arrays to CuPy (NEP 13 and 18).
So it is one code for both, and what lies on the card stays there until somebody fetches it. CuPy is imported when
`to_device` is first called, never before.
"""

import sys

import numpy as np

from minattn import tree
from minattn.validate import on_device as is_device

__all__ = ["is_device", "synchronize", "to_device", "to_host"]


def to_device(arrays):
    """The same tree, its arrays on the current card; what lies there already stays as it is, and so does None.

    A dict, tuple, list or namedtuple of arrays, or one array. Raises ModuleNotFoundError where CuPy is not installed,
    OSError where there is no card that it can use.
    """
    cupy = _cupy()
    return tree.map(lambda x: x if is_device(x) else cupy.asarray(x), arrays)


def to_host(arrays):
    """The same tree as NumPy arrays, once the card has computed them; what is on the host stays as it is."""
    return tree.map(lambda x: x.get() if is_device(x) else x, arrays)


def synchronize():
    """Wait until the card has done all that was asked of it: before a clock is read. Without a card, nothing."""
    if "cupy" in sys.modules:
        sys.modules["cupy"].cuda.get_current_stream().synchronize()


def device_of(arrays):
    """The first array of a tree that lies on a card, for `np.asarray(x, like=...)`; None where none does."""
    return next((leaf for _, leaf in tree.leaves(arrays) if is_device(leaf)), None)


def beside(arrays, like):
    """The same tree on the card on which `like` lies."""
    return tree.map(lambda x: x if is_device(x) else np.asarray(x, like=like), arrays)


def _cupy():
    try:
        import cupy
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "cupy":
            raise
        raise ModuleNotFoundError(
            'a graphics card needs CuPy: pip install "minattn[gpu12]" for CUDA 12, "minattn[gpu13]" for CUDA 13',
            name="cupy",
        ) from None
    try:
        cards = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise OSError(f"CuPy finds no graphics card that it can use: {error}") from None
    if not cards:
        raise OSError("CuPy finds no graphics card: everything here runs on the host as well, without to_device")
    return cupy
