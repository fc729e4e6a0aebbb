"""embedding: row `ids` of a table. Its gradient adds up at the rows that were read, however often."""

import numpy as np

from minattn import validate

OFTEN = 8  # a row that was read more often than that is worth a sum of its own


def embedding(table, ids):
    """table (V, M), ids (...) integers in 0..V-1 -> (..., M)."""
    validate.together(table=table, ids=ids)
    validate.tokens(ids, table.shape[0])
    return table[ids]


def embedding_backward(dout, table, ids):
    """-> dtable (V, M)."""
    dtable = np.zeros_like(table)
    _add_at(dtable, ids, dout)  # a row read twice collects twice
    return dtable


def _add_at(table, ids, rows):
    """table[id] += row for every id, as np.add.at does, but in a few large steps.

    Sorted, the places where one id was read stand side by side. `table[ids] += rows` is right where no id comes twice:
    so first every id at its first place, then at its second, and so on; and what was read often is summed at once.
    """
    if not isinstance(table, np.ndarray):
        np.add.at(table, ids, rows)
        return
    ids, rows = ids.reshape(-1), rows.reshape(ids.size, *table.shape[1:])
    order = np.argsort(ids, kind="stable")                    # (N,)
    first = np.flatnonzero(np.diff(ids[order], prepend=-1))   # (K,)  where in order each of K ids begins
    count = np.diff(first, append=len(ids))                   # (K,)
    for begin, n in zip(first[count > OFTEN], count[count > OFTEN], strict=True):
        table[ids[order[begin]]] += rows[order[begin : begin + n]].sum(axis=0)
    first, count = first[count <= OFTEN], count[count <= OFTEN]
    for k in range(OFTEN):
        place = order[first[count > k] + k]                   # the (k + 1)-th place of every id that has one
        table[ids[place]] += rows[place]
