"""Attention pooling: one learned query looks at a whole sequence and takes one vector from it.

    context = attention(query, x, x),              query (1, M): a parameter, what there is to look for

Where a mean counts every step alike, this counts most what matters. Yang et al. 2016, Hierarchical attention networks
for document classification, equations 5 to 7 (`attention=concat`); Lee et al. 2019, Set Transformer, arXiv:1810.00825,
section 3.2 (`attention=multihead`). Any mechanism over query, key and value is an argument.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minattn import masks, validate
from minattn.attention import dot
from minattn.op import Case, initialise

PAPER = "Yang 2016, eq. 5-7; Lee 2019, 3.2"


class Cache(NamedTuple):
    attention: Any
    asked: Any

    @property
    def weights(self):
        """(B, S): how much each step gave to the context; of several heads the mean."""
        weights = self.asked.weights[..., 0, :]
        return weights if weights.ndim == 2 else weights.mean(axis=1)


def init(rng, *, M, A=None, H=1, attention=dot):
    """Steps of width M; A: width of an additive score (M); H: heads, where the mechanism has them."""
    sizes = {"N": M, "D": M, "E": M, "M": M, "A": A or M, "H": H}
    return {
        "query": rng.normal(size=(1, M)) / math.sqrt(M),
        "attention": initialise(attention, rng, sizes),
    }


def forward(params, x, *, lengths=None, attention=dot):
    """x (B, S, M) -> context (B, M). lengths (B,): steps beyond them are padding, and are not looked at.

    Raises TypeError for integers, ValueError for shapes that do not fit.
    """
    validate.shapes({"x": "B S M"}, x=x)
    mask = None if lengths is None else masks.padding(lengths)
    contexts, asked = attention.forward(params["attention"], params["query"], x, x, mask=mask)  # (B, 1, M)
    return contexts[:, 0], Cache(attention, asked)


def backward(dcontext, cache):
    """-> (dx,), dparams."""
    attention, asked = cache
    # contexts = attention(query, x, x)
    (dquery, dkey, dvalue, *_), dattention = attention.backward(dcontext[:, None], asked)
    return (dkey + dvalue,), {"query": dquery, "attention": dattention}  # x was both


def cases(rng):
    """With and without padding, a sequence of padding alone among them."""
    x = rng.normal(size=(3, 4, 2))
    x[1, 2:], x[2] = np.nan, np.nan
    yield Case("plain", {"M": 2, "A": 5}, (rng.normal(size=(3, 4, 2)),))
    yield Case("padding, one empty", {"M": 2, "A": 5}, (x,), {"lengths": np.array([4, 2, 0])})
