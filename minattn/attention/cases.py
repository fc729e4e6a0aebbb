"""The inputs on which every mechanism is tried, built from its SHAPES: typical ones, and those that break things."""

import numpy as np

from minattn.masks import causal, padding
from minattn.op import Case, options

# All different, so that no two axes can be mistaken for each other.
SIZES = {"B": 2, "H": 3, "T": 4, "S": 5, "D": 6, "E": 7, "N": 8, "A": 9}


def cases(rng, mechanism):
    """The mechanism's own cases where it declares some, else the typical ones; dropout where it has that option."""
    found = list(mechanism.cases(rng) if hasattr(mechanism, "cases") else typical(rng, mechanism.SHAPES))
    if "dropout" in options(mechanism):
        options_of = {"dropout": 0.3, "rng": np.random.default_rng(5)}
        found += [
            case._replace(name=f"{case.name}, dropout", options=case.options | options_of)
            for case in found
            if case.name in ("heads", "dead rows", "NaN in the padding")
        ]
    return found


def typical(rng, shapes, sizes=SIZES):
    """Cases for inputs query, key and value of the given letters."""
    B, H, T, S = (sizes[letter] for letter in "BHTS")

    def draw(query=(B,), key=(B,), value=(B,), **changed):
        axes = sizes | changed
        return tuple(
            rng.normal(size=(*leading, *(axes[letter] for letter in shapes[name].split()[1:])))
            for name, leading in (("query", query), ("key", key), ("value", value))
        )

    def case(name, inputs, mask=None, sizes=sizes):
        return Case(name, sizes, inputs, {} if mask is None else {"mask": mask})

    some = rng.random((B, T, S)) < 0.6
    some[:, 1], some[1, 0] = True, False  # the first row of the second sequence is dead
    lengths, query_lengths = np.array([S, S - 2]), np.array([T - 1, T])

    yield case("batch", draw())
    yield case("no batch", draw((), (), ()))
    yield case("one query", draw(T=1))
    yield case("heads", draw((B, H), (B, H), (B, H)))
    yield case("shared keys", draw((B, H), (B, 1), (1, H)))
    yield case("no sequences", draw((0,), (0,), (0,)))
    yield case("bias", (*draw(), rng.normal(size=(B, T, S))))
    yield case("shared bias", (*draw((B, H), (B, H), (B, H)), rng.normal(size=(H, 1, S))))
    yield case("causal", draw(S=T), causal())
    yield case("causal, last queries", draw(), causal(offset=S - T))
    yield case("dead rows", draw(), some)
    yield case("dead rows, bias", (*draw(), rng.normal(size=(B, T, S))), some)
    closed = np.where(some, rng.normal(size=(B, T, S)), -np.inf)
    yield case("bias of -inf, dead rows", (*draw(), closed))
    yield case("nothing to see", draw(), np.zeros((T, S), dtype=bool))
    yield case("large scores", tuple(5 * x for x in draw()))

    query, key, value = draw((B, H), (B, 1), (B, 1))
    key[1, :, S - 2 :], value[1, :, S - 2 :], query[0, :, T - 1] = np.nan, np.inf, np.nan
    yield case("NaN in the padding", (query, key, value), padding(lengths, query_lengths))

    width = sizes[shapes["query"].split()[-1]]
    same = sizes | {shapes[name].split()[-1]: width for name in ("query", "key", "value")} | {"T": S}
    x = rng.normal(size=(B, S, width))
    yield case("query is key is value", (x, x, x), causal(), same)
    yield case("one query for all", draw((), (B, 1), (B, H)))
