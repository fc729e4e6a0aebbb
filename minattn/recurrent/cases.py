"""The inputs on which every cell is tried: lengths with NaN beyond them, given states, both directions."""

import numpy as np

from minattn import tree
from minattn.op import Case, initialise, options

# B, T, I, N and multiples of N are all different, so that no two axes can be mistaken for each other.
# A cell takes those that its `init` names.
SIZES = {"B": 2, "T": 5, "I": 3, "N": 4, "L": 2}
SMALL = {"B": 7, "T": 3, "I": 5, "N": 2, "L": 2}


def cases(rng, cell, sizes=SIZES):
    """Cases for anything with forward(params, inputs, state=None, *, lengths), and for the options that it has."""
    B, T = sizes["B"], sizes["T"]

    def draw(B=B, T=T, I=sizes["I"]):
        return rng.normal(size=(B, T, I))

    (outputs, last), _ = cell.forward(initialise(cell, rng, sizes), draw())
    state = tree.map(lambda part: rng.normal(size=part.shape), last)
    padded, lengths = draw(), np.array([T, T // 2] * B)[:B]
    padded[1::2, T // 2 :] = np.nan

    yield Case("batch", sizes, (draw(),))
    yield Case("one step", sizes, (draw(T=1),))
    yield Case("no sequences", sizes, (draw(B=0),))
    yield Case("given state", sizes, (draw(), state))
    yield Case("NaN in the padding", sizes, (padded, state), {"lengths": lengths})
    yield Case("nothing but padding", sizes, (np.full_like(padded, np.nan), state), {"lengths": 0 * lengths})
    if "reverse" in options(cell):
        yield Case("reverse", sizes, (draw(), state), {"reverse": True})
        yield Case("reverse, padding", sizes, (padded, state), {"reverse": True, "lengths": lengths})
    if "residual" in options(cell):
        width = outputs.shape[-1]
        padding = {"residual": True, "lengths": lengths}
        yield Case("residual", sizes, (padded, state), padding)
        wide = np.where(np.isnan(padded[..., :1]), np.nan, draw(I=width))
        yield Case("residual from the first layer", sizes | {"I": width}, (wide, state), padding)
    if "dropout" in options(cell):
        yield Case("dropout", sizes, (draw(), state), {"dropout": 0.3, "rng": np.random.default_rng(1)})
        yield Case("dropout in evaluation", sizes, (draw(), state), {"dropout": 0.3})
        both = {"residual": True, "dropout": 0.3, "rng": np.random.default_rng(2), "lengths": lengths}
        yield Case("residual, dropout, padding", sizes, (padded, state), both)


def nested(rng, cell):
    """Cases for cells in cells in layers, each of which has cases of its own: few, small, and handing on everything."""
    together = ("batch", "NaN in the padding", "residual from the first layer", "residual, dropout, padding")
    return [case for case in cases(rng, cell, SMALL) if case.name in together]
