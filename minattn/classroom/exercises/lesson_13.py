"""A language model: the backward of a table that is read and compared with."""

from minattn.classroom.exercise import Exercise, Mistake, sizes


def _table(rng):
    B, T, V, M = sizes(rng, "BTVM")
    ids = rng.integers(V, size=(B, T))
    ids[0, 0] = ids[-1, -1] = ids[0, 1]  # some token comes again, within a sequence and in another one
    return {"table": rng.normal(size=(V, M)), "ids": ids}


def _one_token(rng):
    drawn = _table(rng)
    return drawn | {"ids": drawn["ids"] * 0 + drawn["ids"][0, 0]}


EXERCISES = (
    Exercise(
        "tied_backward",
        "13",
        "a table that is used twice has one gradient",
        _table,
        hints=(
            "The table stands in forward twice: it is read by ids, and it is compared with. Go back from the logits, "
            "and keep both of the gradients that reach it.",
            "logits = hidden @ table.T is a product of two arrays, so it has two gradients, one of them the table's. "
            "The other goes on through tanh to the rows that were read; what one row of the table gets is the sum over "
            "all the places at which it was read.",
            "The product's part for the table is dlogits, all B T rows of it, transposed, times hidden. A plain "
            "dtable[ids] += ... keeps only one of two equal ids; NumPy has a function that adds at an index as often "
            "as it comes.",
        ),
        mistakes=(
            Mistake(
                "the output's gradient is dropped",
                {"dlogits.reshape(-1, V).T @ hidden.reshape(-1, M)": "np.zeros_like(table)"},
                "The table is used twice, as embedding and as output matrix: both gradients add up.",
            ),
            Mistake(
                "the input's gradient is overwritten",
                {"np.add.at(dtable, ids, drows)": "pass"},
                "The table is used twice, as embedding and as output matrix: what goes on through hidden comes to the "
                "table too, and is added to what is there.",
            ),
            Mistake(
                "the rows that were read are overwritten",
                {"np.add.at(dtable, ids, drows)": "dtable[ids] = drows"},
                "What was there already, from the comparison with every row, is lost where a row was read.",
            ),
            Mistake(
                "a row read twice is assigned, not added",
                {"np.add.at(dtable, ids, drows)": "dtable[ids] += drows"},
                "A token that comes twice is moved by both: with += at an array of ids only the last of them counts.",
            ),
            Mistake(
                "a row read twice is averaged",
                {
                    "np.add.at(dtable, ids, drows)": (
                        "count = np.bincount(ids.ravel(), minlength=V)\n"
                        "    np.add.at(dtable, ids, drows / count[ids][..., None])"
                    )
                },
                "Every reading moves the result by itself: gradients add up, however often.",
            ),
            Mistake(
                "the slope of tanh is passed over",
                {"dhidden * (1 - hidden**2)": "dhidden"},
                "Between the rows that were read and what is compared stands a tanh, whose slope is 1 only at 0.",
            ),
            Mistake(
                "tanh's slope is 1 - out",
                {"dhidden * (1 - hidden**2)": "dhidden * (1 - hidden)"},
                "The result enters squared: tanh has the same slope on both sides.",
            ),
            Mistake(
                "tanh's slope is taken at its input",
                {"dhidden * (1 - hidden**2)": "dhidden * (1 - table[ids] ** 2)"},
                "1 - y^2 is the slope of tanh where y is its result: given its input it is another number.",
            ),
            Mistake(
                "dlogits is reshaped, not transposed, on its way to the table",
                {"dlogits.reshape(-1, V).T": "dlogits.reshape(V, -1)"},
                "A reshape gives the shape of the transpose and other numbers in it: rows are cut, not turned.",
            ),
        ),
        given="tied_logits",
        extremes=(_one_token,),
        core=True,
    ),
)
