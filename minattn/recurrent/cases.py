"""The inputs on which every cell is tried: lengths with NaN beyond them, given states, both directions."""

import numpy as np

from minattn import tree
from minattn.op import Case, initialise, options

SIZES = {"I": 3, "N": 4}


def cases(rng, cell):
    """Cases for anything with forward(params, inputs, state=None, *, lengths)."""
    B, T = 2, 5

    def draw(B=B, T=T):
        return rng.normal(size=(B, T, SIZES["I"]))

    (_, last), _ = cell.forward(initialise(cell, rng, SIZES), draw())
    state = tree.map(lambda part: rng.normal(size=part.shape), last)
    padded, lengths = draw(), np.array([T, T - 3])
    padded[1, T - 3 :] = np.nan

    yield Case("batch", SIZES, (draw(),))
    yield Case("one step", SIZES, (draw(T=1),))
    yield Case("no sequences", SIZES, (draw(B=0),))
    yield Case("given state", SIZES, (draw(), state))
    yield Case("NaN in the padding", SIZES, (padded, state), {"lengths": lengths})
    yield Case("nothing but padding", SIZES, (np.full_like(padded, np.nan), state), {"lengths": np.array([0, 0])})
    if "reverse" in options(cell):
        yield Case("reverse", SIZES, (draw(), state), {"reverse": True})
        yield Case("reverse, padding", SIZES, (padded, state), {"reverse": True, "lengths": lengths})
