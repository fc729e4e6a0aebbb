"""Memory for large results, used again and again: what one array has left, the next one takes.

The system clears a page before it hands it out, and takes all pages of a large array back as soon as the array is gone.
For 8 MB that costs as much as ten passes over them. So the memory of large results stays here when the last view of one
is gone, and the next result of that size is made in it. Nobody sees a difference, but the clock.

What "large" is depends on malloc. That of glibc can be taught: it asks the system for blocks beyond a certain size, but
when it has seen a block of up to 32 MB come back, it serves others of that size itself from then on, and keeps twice as
much memory at hand. So at first one of nearly 32 MB goes there and back, and nobody has written to it (mallopt(3),
M_MMAP_THRESHOLD).
"""

import math
import os
import sys
import threading
import weakref

import numpy as np

LARGEST = 2**25 - 2**13  # bytes: with what malloc adds to a block, still below 32 MB


def _taught():
    """Whether malloc is one that learns, and has learned; where somebody has set its borders it does not."""
    try:
        glibc = (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError, OSError):  # another system, another malloc
        return False
    set_by_hand = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    learns = glibc and sys.maxsize > 2**32 and not set_by_hand
    if learns:
        np.empty(LARGEST, np.uint8)
    return learns


LEAST = 2**24 if _taught() else 2**17  # bytes: of larger ones malloc keeps few, or none
MOST = 2**27  # bytes that are kept while nobody uses them
_idle = {}  # bytes -> the blocks of that size that nobody uses
_used = {}  # number of a weak reference to an array -> the reference, and the block in which the array stands
_lock = threading.RLock()  # a block may come back at any moment, within this room too


def empty(like, shape, dtype):
    """np.empty_like(like, dtype, shape=shape), row after row, in memory that is at hand where there is some.

    Row after row, however `like` lies: what fills a result by way of reshape would else fill a copy of it.
    """
    if not isinstance(like, np.ndarray):
        return np.empty_like(like, dtype, order="C", shape=shape)
    count = math.prod(shape)
    size = count * dtype.itemsize
    if size < LEAST:
        return np.empty(shape, dtype)
    step = 1 << (size.bit_length() - 4)
    rounded = -(-size // step) * step  # sizes that differ by less than a tenth share their blocks
    with _lock:
        blocks = _idle.get(rounded)
        block = blocks.pop() if blocks else np.empty(rounded, np.uint8)
        # every view of `whole` holds on to it, since it does not own its memory and what does is no array
        whole = np.frombuffer(memoryview(block), dtype, count)
        gone = weakref.ref(whole, _give_back)
        _used[id(gone)] = gone, block
    return whole.reshape(shape)


def _give_back(gone):
    with _lock:
        _, block = _used.pop(id(gone))
        if idle() + block.size > MOST:
            _idle.clear()  # of other sizes, from other work
        if block.size <= MOST:
            _idle.setdefault(block.size, []).append(block)


def idle():
    """Bytes that are kept and that nobody uses."""
    return sum([size * len(blocks) for size, blocks in _idle.items()])
