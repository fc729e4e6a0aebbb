"""The inputs on which every cell is tried: lengths with NaN beyond them, given states, both directions."""

import numpy as np

from minattn import tree
from minattn.op import Case, initialise, options

SIZES = {"I": 3, "N": 4, "L": 2}  # a cell takes those that its `init` names


def cases(rng, cell):
    """Cases for anything with forward(params, inputs, state=None, *, lengths), and for the options that it has."""
    B, T = 2, 5

    def draw(B=B, T=T, I=SIZES["I"]):
        return rng.normal(size=(B, T, I))

    (outputs, last), _ = cell.forward(initialise(cell, rng, SIZES), draw())
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
    if "residual" in options(cell):
        width = outputs.shape[-1]
        padding = {"residual": True, "lengths": lengths}
        yield Case("residual", SIZES, (padded, state), padding)
        wide = np.where(np.isnan(padded[..., :1]), np.nan, draw(I=width))
        yield Case("residual from the first layer", SIZES | {"I": width}, (wide, state), padding)
    if "dropout" in options(cell):
        yield Case("dropout", SIZES, (draw(), state), {"dropout": 0.3, "rng": np.random.default_rng(1)})
        yield Case("dropout in evaluation", SIZES, (draw(), state), {"dropout": 0.3})
        both = {"residual": True, "dropout": 0.3, "rng": np.random.default_rng(2), "lengths": lengths}
        yield Case("residual, dropout, padding", SIZES, (padded, state), both)
