"""Row by row: a function that needs of every row nothing but that row is computed tile by tile, by several cores.

A dozen operations on an array of many megabytes fetch it a dozen times from memory. A tile of its rows stays near the
core, and so does the room in which it is worked on.
"""

import numpy as np

from minattn import threads
from minattn.functions import buffers

TILE = 2**19    # numbers: 2 MB in single precision. Of smaller tiles each call costs more than it saves
SHARED = 2**20  # numbers from which on several cores are quicker than one


def by_rows(function, *arrays, widths, spare=0, dtype=None):
    """function(*arrays, *results, *spares) fills its results -> tuple of arrays (..., width), one for each of widths.

    All arrays have the same leading axes, the first is the largest, and each row answers for itself. spare: how many
    arrays like the first result it may write to besides; dtype: the np.dtype of the results, if not that of the arrays.
    Arrays of a device are one tile.
    """
    first = arrays[0]
    leading, size = first.shape[:-1], first.size
    dtype = np.result_type(*arrays) if dtype is None else dtype
    results = [buffers.empty(first, (*leading, width), dtype) for width in widths]
    if size <= TILE or not isinstance(first, np.ndarray):
        function(*arrays, *results, *[np.empty_like(results[0]) for _ in range(spare)])
        return tuple(results)
    rows = [x.reshape(-1, x.shape[-1]) for x in (*arrays, *results)]
    step = max(1, TILE * len(rows[0]) // size)

    def work(part):
        room = np.empty((spare, min(step, part.stop - part.start), widths[0]), dtype)
        for begin in range(part.start, part.stop, step):
            end = min(begin + step, part.stop)
            function(*(x[begin:end] for x in rows), *room[:, : end - begin])

    if size >= SHARED:
        threads.share(work, len(rows[0]))
    else:
        work(slice(0, len(rows[0])))
    return tuple(results)
