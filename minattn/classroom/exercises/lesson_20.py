"""Real heads: what a head can tell of a pronoun, the direction of a weighted sum, and the gradient of a cosine."""

import numpy as np

from minattn.classroom.exercise import Exercise, Mistake, Prediction, Property, sizes


def _weighted(rng):
    B, T, M = sizes(rng, "BTM")
    weight = rng.uniform(0.2, 2, size=(B, T))
    weight[0, -1] = 0
    return {"hidden": rng.normal(size=(B, T, M)) + 1, "weight": weight}


def _nothing_counts(rng):
    drawn = _weighted(rng)
    drawn["weight"][-1] = 0
    return drawn


def _by_hand(trial):
    arguments = {"hidden": np.array([[[3.0, 0.0], [0.0, 8.0]]]), "weight": np.array([[2.0, 1.0]])}
    found = np.asarray(trial.call(arguments)).ravel()
    if np.allclose(found, [0.6, 0.8]):
        return ""
    return f"tokens (3, 0) and (0, 8) with weights 2 and 1 should give (0.6, 0.8), but give {found.round(3).tolist()}"


def _one_long(trial):
    squares = (np.asarray(trial.call()) ** 2).sum(axis=-1)
    return "" if np.allclose(squares, 1) else f"a vector has length {np.sqrt(squares[~np.isclose(squares, 1)][0]):.3f}"


def _weights_in_another_unit(trial):
    found = trial.call(trial.drawn | {"weight": 10 * trial.drawn["weight"]})
    return "" if np.allclose(found, trial.call()) else "with all weights ten times as large the vectors change"


def _without_weight(trial):
    hidden = np.where(trial.drawn["weight"][..., None] == 0, 100, trial.drawn["hidden"])
    found = trial.call(trial.drawn | {"hidden": hidden})
    return "" if np.allclose(found, trial.call()) else "with other numbers at a token of weight 0 its sentence changes"


def _no_direction(trial):
    found = np.asarray(trial.call(_nothing_counts(trial.rng(3))))[-1]
    return "" if (found == 0).all() else f"a sentence without any weight gives {found[0]:.4g}, not 0"


def _search(rng):
    B, N, M = sizes(rng, "BNM")
    return {"query": rng.normal(size=(B, M)) + 0.5, "others": 2 * rng.normal(size=(B, N, M))}


def _the_same_way(rng):
    """One of the others is the query itself, three times as long: there the cosine is 1, and at its peak."""
    drawn = _search(rng)
    drawn["others"][:, 0] = 3 * drawn["query"]
    return drawn


EXERCISES = (
    Prediction(
        "pronoun_head",
        "20",
        "a head that looks at the right noun in one example has understood the pronoun",
        right="c",
        replies={
            "a": "It was trained to bring sentences together that belong together. Nobody ever asked it what a pronoun "
            "stands for: the head that was chosen on one half is right in 54% of the other.",
            "b": "One head does reach 59% of all sentences. But it is the best of 72, and of 72 that guess the best "
            "reaches 56% on average. On pairs that it was not chosen on it is 54%.",
            "c": "Yes: 54%. Where it was chosen it had 61%, which is what choosing alone does. One example, found by "
            "looking for it, proves nothing.",
        },
    ),
    Exercise(
        "meaning",
        "20",
        "a weighted mean and its direction are one and the same",
        _weighted,
        (
            Property("3, 4 and 5 come out", _by_hand),
            Property("vectors have length 1", _one_long),
            Property("the unit of the weights does not matter", _weights_in_another_unit),
            Property("a token without weight does not matter", _without_weight),
            Property("0 where nothing has a weight", _no_direction),
        ),
        hints=(
            "Tokens (3, 0) and (0, 8) with the weights 2 and 1 sum to (6, 8), which is 10 long: the vector is "
            "(0.6, 0.8). Which two steps were that?",
            "weight is (B, T) and hidden (B, T, M): weight[..., None] has the axis that is missing. Then the sum goes "
            "over the tokens, axis 1, and a length is the root of a sum of squares over the last axis.",
            "Each sentence has a length of its own: keepdims=True keeps the axis for the division. A length of 0 "
            "becomes 1 before you divide, by np.where.",
        ),
        mistakes=(
            Mistake(
                "a mean in the place of a direction",
                {"np.where(size == 0, 1, size)": "np.maximum(weight.sum(axis=1), 1e-9)[:, None]"},
                "It points the right way, but is not 1 long: the sum is to be divided by its own length, and not by "
                "the sum of the weights.",
            ),
            Mistake(
                "one length for all sentences",
                {".sum(axis=-1, keepdims=True)": ".sum()"},
                "Every sentence is divided by its own length: the squares are summed over the features alone.",
            ),
            Mistake(
                "every token is brought to length 1 before the sum",
                {
                    "(weight[..., None] * hidden)": (
                        "(weight[..., None] * hidden / np.sqrt((hidden**2).sum(axis=-1, keepdims=True)))"
                    )
                },
                "A long token counts for more than a short one. It is the sum that is brought to length 1, at the end.",
            ),
            Mistake(
                "all tokens count alike",
                {"(weight[..., None] * hidden)": "hidden"},
                "Then padding counts too: each token is multiplied by its weight before the sum.",
            ),
            Mistake(
                "the weights go through a softmax",
                {"weight[..., None]": "np.exp(weight)[..., None]"},
                "These are weights already, not scores: a weight of 0 would become e to the power of 0, which is 1.",
            ),
            Mistake(
                "the square of the length",
                {"np.sqrt((total**2).sum(axis=-1, keepdims=True))": "(total**2).sum(axis=-1, keepdims=True)"},
                "The length is the root of the sum of squares.",
            ),
            Mistake(
                "the sum of absolute values as a length",
                {"np.sqrt((total**2).sum(axis=-1, keepdims=True))": "np.abs(total).sum(axis=-1, keepdims=True)"},
                "The cosine asks for the Euclidean length: the root of the sum of squares.",
            ),
            Mistake(
                "the mean of the squares, as in a norm of a layer",
                {"(total**2).sum(": "(total**2).mean("},
                "A norm of a layer makes the mean of the squares 1. Here their sum is to be 1.",
            ),
            Mistake(
                "an empty sentence is NaN",
                {"np.where(size == 0, 1, size)": "size"},
                "Where all weights are 0 the sum is 0 and has the length 0, and 0 / 0 is NaN.",
            ),
        ),
        extremes=(_nothing_counts,),
    ),
    Exercise(
        "alike_backward",
        "20",
        "lengths are constants, so the gradient of a cosine is that of the product",
        _search,
        hints=(
            "cosine = inner / (query_size * other_size): the query is in inner and in query_size, so its gradient has "
            "two parts. So has that of the others.",
            "d query_size / d query is query / query_size. With cosine / query_size for what the division leaves, the "
            "second part is dcosine * cosine / query_size**2 along the query, and it is taken off.",
            "One query meets N others: its gradient sums over axis 1, in both of its parts. Each of the others meets "
            "one query, and nothing is summed.",
        ),
        mistakes=(
            Mistake(
                "the length of the query is taken for a constant",
                {" - along.sum(axis=1, keepdims=True) / query_size**2 * query": ""},
                "A longer query does not change the cosine, so nothing of its gradient may point along the query.",
            ),
            Mistake(
                "the lengths of the others are taken for constants",
                {" - (along / other_size**2)[..., None] * others": ""},
                "A longer vector does not change the cosine: what points along it has to be taken off.",
            ),
            Mistake(
                "all lengths are taken for constants",
                {
                    " - along.sum(axis=1, keepdims=True) / query_size**2 * query": "",
                    " - (along / other_size**2)[..., None] * others": "",
                },
                "That is the gradient of the product alone. Both vectors are in their lengths as well.",
            ),
            Mistake(
                "the query's gradient is averaged over the others",
                {"(dinner * others).sum(axis=1)": "(dinner * others).mean(axis=1)", "along.sum(": "along.mean("},
                "The query is used N times, and what is used several times hears the sum of all its uses.",
            ),
            Mistake(
                "the query hears the first of the others alone",
                {
                    "(dinner * others).sum(axis=1)": "(dinner * others)[:, 0]",
                    "along.sum(axis=1, keepdims=True)": "along[:, :1]",
                },
                "All N others were compared with the one query, and each has something to say about it.",
            ),
            Mistake(
                "the lengths are not squared",
                {"query_size**2": "query_size", "other_size**2": "other_size"},
                "Once the length stands there from the division, once from the derivative of the length itself.",
            ),
            Mistake(
                "the part along the vector is added, not taken off",
                {"- along": "+ along", "- (along": "+ (along"},
                "A longer vector has a smaller cosine, as it is divided by more: the sign is minus.",
            ),
            Mistake(
                "the product is not divided by the lengths",
                {"(dcosine / (query_size * other_size))": "dcosine"},
                "Forward divides the product by both lengths, and so does backward.",
            ),
            Mistake(
                "the cosine is missing where the length is taken off",
                {"along = dcosine * cosine": "along = dcosine"},
                "How much a length matters depends on the cosine: at right angles it does not matter at all.",
            ),
        ),
        given="alike",
        extremes=(_the_same_way,),
    ),
)
