"""Row by row: a function that needs of every row nothing but that row is computed tile by tile, by several cores.

A dozen operations on an array of many megabytes fetch it a dozen times from memory, and each asks the system for pages
to write to. A tile of its rows stays near the core, and its memory is used again by the next one.
"""

import numpy as np

from minattn import threads

TILE = 131072  # numbers: half a megabyte in single precision. Of smaller tiles each call costs more than it saves
SHARED = 4     # tiles from which on several cores are quicker than one
TILED = 16     # tiles from which on one core is quicker with them than without


def by_rows(function, *arrays, light=False):
    """function(*arrays) -> its tuple of arrays; all have the same leading axes, and each row answers for itself.

    Small arrays and arrays of a device are one tile. light: an operation or two, for which one core needs no tiles.
    """
    leading, size = arrays[0].shape[:-1], max(x.size for x in arrays)
    whole = all(isinstance(x, np.ndarray) and x.shape[:-1] == leading for x in arrays)
    alone = threads.count() == 1
    if not whole or size < (TILED if alone else SHARED) * TILE or (alone and light):
        return function(*arrays)
    rows = [x.reshape(-1, x.shape[-1]) for x in arrays]
    step = max(1, TILE * len(rows[0]) // size)
    results = [np.empty((len(rows[0]), x.shape[-1]), x.dtype) for x in function(*(x[:1] for x in rows))]

    def work(part):
        for begin in range(part.start, part.stop, step):
            tile = slice(begin, min(begin + step, part.stop))
            for result, piece in zip(results, function(*(x[tile] for x in rows)), strict=True):
                result[tile] = piece

    threads.share(work, len(rows[0]))
    return tuple(x.reshape(*leading, x.shape[-1]) for x in results)
