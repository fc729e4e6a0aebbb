"""Additive attention: the backward of its scores, where query and key share a matrix."""

from minattn.classroom.exercise import Exercise, Mistake, sizes


def _asked(rng):
    B, S, D, A = sizes(rng, "BSDA")
    return {
        "query": rng.normal(size=(B, D)),
        "key": rng.normal(size=(B, S, D)),
        "W": rng.normal(size=(D, A)) / 2,
        "b": rng.normal(size=A),
        "v": rng.normal(size=A),
    }


EXERCISES = (
    Exercise(
        "shared_additive_backward",
        "06",
        "a weight used in several places has the gradient of one of them",
        _asked,
        hints=(
            "Go back in the order of Derive, steps 3 to 6: the dot product with v, the tanh, the sum inside the tanh, "
            "the matrix. There is one query for S keys, and now there are B sequences too.",
            "Inside the tanh stands query @ W + key @ W + b, repeated over what it lacks: the query over the keys, b "
            "over the keys and the sequences. What forward repeats, backward sums. W stands there twice, so two "
            "gradients reach it.",
            "With the gradient inside the tanh (B, S, A), and its sum over the keys (B, A): the key takes the first, "
            "the query the second, both back through W transposed. W gets query and key transposed, each with its "
            "own, all sequences added up; the two parts have the shape (D, A), and so has their sum.",
        ),
        mistakes=(
            Mistake(
                "W hears the keys alone",
                {'query.T @ dasked + np.einsum("bsd,bsa->da", key, dinside)': 'np.einsum("bsd,bsa->da", key, dinside)'},
                "The query went through W as well as the keys: what comes back on both ways is added.",
            ),
            Mistake(
                "W hears the query alone",
                {'query.T @ dasked + np.einsum("bsd,bsa->da", key, dinside)': "query.T @ dasked"},
                "The keys went through W as well as the query: what comes back on both ways is added.",
            ),
            Mistake(
                "dquery is averaged over the keys",
                {"dinside.sum(axis=1)": "dinside.mean(axis=1)"},
                "The query was repeated for every key: what forward repeats, backward sums.",
            ),
            Mistake(
                "the vector v is left out in backward",
                {"dscores[..., None] * v": "dscores[..., None] * np.ones_like(v)"},
                "v weighs the hidden features into one score, so it weighs what goes back to each of them.",
            ),
            Mistake(
                "the slope of tanh is passed over",
                {"dhidden * (1 - hidden**2)": "dhidden"},
                "Between the scores and the sum inside stands the tanh, whose slope is 1 only at 0.",
            ),
            Mistake(
                "tanh's slope is 1 - out",
                {"dhidden * (1 - hidden**2)": "dhidden * (1 - hidden)"},
                "The result enters squared: tanh has the same slope on both sides.",
            ),
            Mistake(
                "W is reshaped, not transposed, in backward",
                {"W.T": "W.reshape(W.shape[::-1])"},
                "A reshape gives the shape of the transpose and other numbers in it: rows are cut, not turned.",
            ),
            Mistake(
                "the bias's gradient is averaged",
                {"dasked.sum(axis=0)": "dinside.mean(axis=(0, 1))"},
                "The same b was added at every key of every sequence: its gradient is their sum, not their mean.",
            ),
            Mistake(
                "v is not weighed with dscores",
                {'np.einsum("bs,bsa->a", dscores, hidden)': "hidden.sum(axis=(0, 1))"},
                "A score is hidden times v, so v hears each hidden row as loudly as its score is asked to move.",
            ),
        ),
        given="shared_additive",
        core=True,
    ),
)
