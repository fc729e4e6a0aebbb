"""Masks: weights of what may be seen, self-attention's backward, and weights that are zeroed too late."""

import numpy as np

from minattn.classroom.exercise import Exercise, Mistake, Prediction, Property, sizes
from minattn.classroom.properties import stable

LOUD = 3e8  # a score that must not matter


def _half_hidden(rng):
    """Every row may see something, and may not see something."""
    B, T, S = sizes(rng, "BTS")
    S += 6  # enough that most rows see several
    chance = rng.random((B, T, S))
    mask = (chance < 0.6) | (chance == chance.min(axis=-1, keepdims=True))
    mask &= chance < chance.max(axis=-1, keepdims=True)
    return {"scores": rng.normal(size=(B, T, S)), "mask": mask, "temperature": float(rng.uniform(1.5, 3))}


def _loud_and_dead(rng):
    """What is hidden is far larger than what is not, and the first row of each sequence may see nothing."""
    drawn = _half_hidden(rng)
    mask = drawn["mask"].copy()
    mask[:, 0] = False
    return drawn | {"mask": mask, "scores": np.where(mask, drawn["scores"], LOUD)}


def _low(rng):
    """What may be seen is far below 0. Whole numbers and a temperature of 2: nothing is rounded away."""
    drawn = _half_hidden(rng)
    scores = np.where(drawn["mask"], np.round(3 * drawn["scores"]) - 4e9, 0)
    return drawn | {"scores": scores, "temperature": 2.0}


def _sums(trial):
    """Closer than a sum with something added to it."""
    for drawn in trial.cases():
        sums, seen = np.asarray(trial.call(drawn)).sum(axis=-1), drawn["mask"].any(axis=-1)
        off = seen & ~(np.abs(sums - 1) <= 1e-12)
        if off.any():
            place = tuple(int(i) for i in np.argwhere(off)[0])
            return f"the weights of row {list(place)} sum to {sums[place]:.11g}"
    return ""


def _hidden_is_zero(trial):
    for drawn in trial.cases():
        weights = np.asarray(trial.call(drawn))
        if (weights[~drawn["mask"] & drawn["mask"].any(axis=-1, keepdims=True)] != 0).any():
            return "what may not be seen has a weight"
    return ""


def _dead_row(trial):
    drawn = _loud_and_dead(trial.rng())
    dead = np.asarray(trial.call(drawn))[:, 0]
    return "" if (dead == 0).all() else f"a row that may look at nothing has the weights {dead[0, :3]} ..."


def _never_matters(trial):
    drawn = trial.drawn
    before = np.asarray(trial.call(drawn))
    for there in (1e9, -1e9, np.nan):
        other = np.asarray(trial.call(drawn | {"scores": np.where(drawn["mask"], drawn["scores"], there)}))
        if not np.allclose(before, other, rtol=0, atol=1e-12):
            return f"with {there:g} in the hidden places, the weights change"
    return ""


def _low_scores(trial):
    drawn = _low(trial.rng())
    before = np.asarray(trial.call(drawn | {"scores": drawn["scores"] + np.where(drawn["mask"], 4e9, 0)}))
    if np.allclose(before, np.asarray(trial.call(drawn)), rtol=0, atol=1e-12):
        return ""
    return "all scores that may be seen are 4e9 lower, and the weights change"


def _twice(trial):
    drawn = trial.drawn
    double = drawn | {"scores": 2 * drawn["scores"], "temperature": 2 * drawn["temperature"]}
    same = np.allclose(np.asarray(trial.call(drawn)), np.asarray(trial.call(double)), rtol=0, atol=1e-12)
    return "" if same else "scores twice as large at twice the temperature should have the same weights"


def _at_one(trial):
    drawn = {"scores": np.log([[[0.2, 0.3, 0.1, 0.4]]]), "mask": np.array([[[True, True, False, True]]])}
    weights = np.asarray(trial.call(drawn | {"temperature": 1.0}))
    if np.allclose(weights, [2 / 9, 3 / 9, 0, 4 / 9]):
        return ""
    return "at temperature 1, scores log(0.2), log(0.3), a hidden one and log(0.4) should have weights 2/9, 3/9, 0, 4/9"


def _sequence(rng):
    B, T, D = sizes(rng, "BTD")
    return {"x": rng.normal(size=(B, T, D)), "temperature": float(rng.uniform(1.5, 3))}


def _a_token_twice(rng):
    drawn = _sequence(rng)
    drawn["x"][:, 1] = drawn["x"][:, 0]
    return drawn


EXERCISES = (
    Prediction(
        "after_softmax",
        "08",
        "a weight of 0 hides everything",
        right="a",
        replies={
            "a": "Yes. The sum below the line has the last step in it, so the weights that are left depend on it: how "
            "much is missing from 1 tells how loud the future is.",
            "b": "No value of the future comes through, that is true. But a weight is a share of a sum, and that sum "
            "was taken over all steps: the louder the last step is, the less is left for the others.",
            "c": "A gradient does come through to the last step, but only because the contexts depend on it: backward "
            "is the derivative of forward, and lets nothing through that forward does not.",
        },
    ),
    Exercise(
        "masked",
        "08",
        "a large negative number is as good as a mask",
        _half_hidden,
        (
            Property("weights sum to 1 where something may be seen", _sums),
            Property("hidden places have weight 0", _hidden_is_zero),
            Property("a row that may look at nothing has weights 0", _dead_row),
            Property("what is hidden does not matter", _never_matters),
            Property("low scores are scores", _low_scores),
            Property("at temperature 1 the shares are as they should be", _at_one),
            Property("scores and temperature twice as large change nothing", _twice),
            stable("scores"),
        ),
        hints=(
            "A hidden score should be one whose exp is exactly 0. Which number is that? Make it so before anything is "
            "compared or summed.",
            "The largest score of a row is to be the largest of those that may be seen. In a row without any, it is "
            "-inf, and -inf minus -inf is NaN: give such a row another peak, and another sum to divide by.",
            "np.where(mask, ..., -np.inf) first. mask.any(axis=-1, keepdims=True) says which rows may see something; "
            "np.where of that chooses the peak or 0, and later the sum or 1.",
        ),
        mistakes=(
            Mistake(
                "the weights are masked after the softmax",
                {
                    "np.where(mask, scores / temperature, -np.inf)": "scores / temperature",
                    "mask.any(axis=-1, keepdims=True)": "True",
                    "return shares / np.where(alive, shares.sum(axis=-1, keepdims=True), 1)": (
                        "return shares / shares.sum(axis=-1, keepdims=True) * mask"
                    ),
                },
                "What is hidden has then taken its share of the sum, and the rest no longer sums to 1.",
            ),
            Mistake(
                "masked scores are set to 0, not to -inf",
                {"-np.inf": "0", "mask.any(axis=-1, keepdims=True)": "True"},
                "The exp of 0 is 1, so a score of 0 is a share like any other: only exp(-inf) is 0.",
            ),
            Mistake(
                "a large negative number is no mask",
                {"-np.inf": "-1e9", "mask.any(axis=-1, keepdims=True)": "True"},
                "Softmax sees only differences: where all scores of a row are that low, or what may be seen is lower "
                "still, what is hidden takes the weight.",
            ),
            Mistake(
                "the mask hides what may be seen",
                {"np.where(mask, scores": "np.where(~mask, scores", "mask.any(": "(~mask).any("},
                "True means may look here and in F.scaled_dot_product_attention, but hidden in nn.MultiheadAttention.",
            ),
            Mistake(
                "the peak is taken over hidden scores too",
                {
                    "np.where(alive, allowed.max(axis=-1, keepdims=True), 0)": (
                        "(scores / temperature).max(axis=-1, keepdims=True)"
                    ),
                    "np.where(alive, shares.sum(axis=-1, keepdims=True), 1)": (
                        "np.where(shares.sum(axis=-1, keepdims=True) == 0, 1, shares.sum(axis=-1, keepdims=True))"
                    ),
                },
                "A hidden score that is far larger than the others makes all of their shares 0, and a hidden NaN makes "
                "them NaN: the peak is the largest of what may be seen.",
            ),
            Mistake(
                "the peak is not subtracted",
                {
                    "allowed - peak": "allowed",
                    "np.where(alive, shares.sum(axis=-1, keepdims=True), 1)": (
                        "np.where(shares.sum(axis=-1, keepdims=True) == 0, 1, shares.sum(axis=-1, keepdims=True))"
                    ),
                },
                "Beyond 709 exp is infinite, and below -745 it is 0; subtracting the largest score of each row "
                "changes nothing but that.",
            ),
            Mistake(
                "fully masked row is NaN",
                {"mask.any(axis=-1, keepdims=True)": "True"},
                "A row with nothing to look at has no largest score and a sum of 0, and 0 / 0 is NaN.",
            ),
            Mistake(
                "a row that may look at nothing is a plain average",
                {"-np.inf": "np.finfo(float).min", "mask.any(axis=-1, keepdims=True)": "True"},
                "If all scores are equally low, softmax gives all of them the same weight: a row that may look at "
                "nothing becomes the average of what it must not see.",
            ),
            Mistake(
                "something small is added to the sum",
                {
                    "np.where(alive, shares.sum(axis=-1, keepdims=True), 1)": (
                        "(shares.sum(axis=-1, keepdims=True) + 1e-6)"
                    )
                },
                "That saves the rows that may look at nothing, and makes all other rows sum to less than 1: only a sum "
                "of 0 needs help.",
            ),
        ),
        extremes=(_loud_and_dead, _low),
        core=True,
    ),
    Exercise(
        "self_attention_backward",
        "08",
        "x has one gradient, though it is read three times",
        _sequence,
        hints=(
            "Give each of the three places of x a name of its own, query, key and value, and take the gradients as if "
            "they were three arrays. What becomes of them when they are one array?",
            "Through context = weights @ value come two gradients, through the softmax one, and through scores = query "
            "@ key.mT / temperature two more. Three of the five are gradients of x.",
            "In the scores, row t is made of the query t and column s of the key s: one of the two gradients needs "
            "dscores as it is, the other its transpose, and both the temperature.",
        ),
        mistakes=(
            Mistake(
                "the query's branch is dropped",
                {"dquery + dkey + dvalue": "dkey + dvalue"},
                "In self-attention x is query, key and value: it hears all three.",
            ),
            Mistake(
                "the key's branch is dropped",
                {"dquery + dkey + dvalue": "dquery + dvalue"},
                "In self-attention x is query, key and value: it hears all three.",
            ),
            Mistake(
                "the value's branch is dropped",
                {"dquery + dkey + dvalue": "dquery + dkey"},
                "In self-attention x is query, key and value: it hears all three.",
            ),
            Mistake(
                "the temperature is missing in backward",
                {"dscaled / temperature": "dscaled"},
                "Scores were divided by it in forward, so their gradient is.",
            ),
            Mistake(
                "dscores is not transposed on its way to the key",
                {"dscores.mT @ x": "dscores @ x"},
                "Row t of the scores belongs to query t, column s to key s: what a key hears comes from its column.",
            ),
            Mistake(
                "the weights are not transposed on their way to the value",
                {"weights.mT @ dcontext": "weights @ dcontext"},
                "A value hears from all steps that looked at it: they stand in its column of the weights.",
            ),
            Mistake(
                "only the diagonal of the softmax jacobian",
                {"dweights - (dweights * weights).sum(axis=-1, keepdims=True)": "dweights * (1 - weights)"},
                "Every score moves every weight of its row, by way of the sum: the Jacobian is a full matrix.",
            ),
            Mistake(
                "the softmax is passed over in backward",
                {"weights * (dweights - (dweights * weights).sum(axis=-1, keepdims=True))": "dweights"},
                "Between the weights and the scores stands the softmax, and its Jacobian is not the identity.",
            ),
            Mistake(
                "softmax backward sums over the wrong axis",
                {"(dweights * weights).sum(axis=-1": "(dweights * weights).sum(axis=-2"},
                "The softmax ran along the last axis, so its sum does in backward too.",
            ),
        ),
        given="self_attention",
        extremes=(_a_token_twice,),
        core=True,
    ),
)
