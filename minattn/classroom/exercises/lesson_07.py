"""Scores: a softmax at a temperature, and its backward."""

import numpy as np

from minattn.classroom.exercise import Exercise, Mistake, Prediction, Property, sizes
from minattn.classroom.properties import stable, sum_to_one


def _scores(rng):
    B, S, T = sizes(rng, "BST")
    return {"scores": rng.normal(size=(B, S, T)), "temperature": float(rng.uniform(1.5, 3))}


def _far_apart(rng):
    drawn = _scores(rng)
    return drawn | {"scores": drawn["scores"] * 2000}


def _at_one(trial):
    scores = np.log([[[0.2], [0.3], [0.5]]])
    weights = np.ravel(trial.call({"scores": scores, "temperature": 1.0}))
    if np.allclose(weights, [0.2, 0.3, 0.5]):
        return ""
    return "at temperature 1 the scores log(0.2), log(0.3), log(0.5) should have the weights 0.2, 0.3, 0.5"


def _warmer_is_flatter(trial):
    flatter = []
    for seed in range(5):
        drawn = trial.exercise.draw(trial.rng(seed))
        hot, cold = (np.asarray(trial.call(drawn | {"temperature": t})).max(axis=1) for t in (8.0, 0.5))
        flatter.append((hot < cold).all())
    return "" if all(flatter) else "a higher temperature should make the weights more equal"


def _tempered(rng):
    B, T, S = sizes(rng, "BTS")
    return {"scores": rng.normal(size=(B, T, S)), "temperature": rng.uniform(1.5, 3, size=(T, 1))}


JACOBIAN = "weights * (dweights - (dweights * weights).sum(axis=-1, keepdims=True))"

EXERCISES = (
    Prediction(
        "unscaled",
        "07",
        "scores that grow with D do no harm",
        right="c",
        replies={
            "a": "Softmax looks at differences, and these grow: a sum of D products of independent numbers has the "
            "variance D. Larger scores make the weights sharper, whatever is asked.",
            "b": "The other way round: larger scores make one weight 1 and the rest 0.",
            "c": "Yes. The scores have the standard deviation sqrt(D): 2, 8 and 22.6. In the end one weight takes all, "
            "and where weights are 0 or 1 the softmax has no slope, so that nothing can be learned.",
        },
    ),
    Exercise(
        "tempered",
        "07",
        "a softmax runs along the last axis",
        _scores,
        (
            sum_to_one(axis=1),
            stable("scores"),
            Property("temperature 1 changes nothing", _at_one),
            Property("warmer is flatter", _warmer_is_flatter),
        ),
        hints=(
            "Three steps: what temperature does to scores, what makes shares of them, what makes shares sum to 1.",
            "Each query has a weight for every key. Which axis of (B, S, T) holds the keys, and is therefore summed?",
            "Subtract from the scores the largest that each query has: no weight changes, and exp stays below 1. With "
            "keepdims=True what is reduced still lines up.",
        ),
        mistakes=(
            Mistake(
                "softmax over the queries",
                {"axis=1": "axis=2"},
                "Each query shares 1 among its keys, and the keys stand on the middle axis. With T = S no shape tells.",
            ),
            Mistake(
                "softmax over everything",
                {"axis=1, ": ""},
                "Maximum and sum run over the whole array: all queries of all sequences together share a weight of 1.",
            ),
            Mistake(
                "the peak is not subtracted",
                {"(scores - peak)": "scores"},
                "exp overflows beyond 709. Subtracting the largest score of each query changes nothing but that.",
            ),
            Mistake(
                "multiplied by the temperature",
                {"/ temperature": "* temperature"},
                "A high temperature makes weights equal: scores are divided by it.",
            ),
            Mistake(
                "the temperature is not used",
                {" / temperature": ""},
                "The temperature divides the scores before exp.",
            ),
            Mistake(
                "the weights are divided by the temperature",
                {" / temperature": "", "return shares / shares.sum": "return shares / temperature / shares.sum"},
                "Then they no longer sum to 1: the temperature belongs to the scores.",
            ),
            Mistake(
                "shares that are not divided by their sum",
                {" / shares.sum(axis=1, keepdims=True)": ""},
                "Shares become weights when each is divided by the sum of all shares of its query.",
            ),
            Mistake(
                "the temperature divides the scores but not the peak",
                {"(scores - peak) / temperature": "scores / temperature - peak"},
                "No weight changes as long as all is finite, but exp may underflow to 0 everywhere, and 0 / 0 is NaN.",
            ),
        ),
        extremes=(_far_apart,),
        core=True,
    ),
    Exercise(
        "tempered_backward",
        "07",
        "a score moves its own weight alone",
        _tempered,
        hints=(
            "Go back through the forward: first exp and the division by the sum, together, then the temperature.",
            "Raise one score: its weight grows, all others of the row shrink. Therefore one number for each row is "
            "subtracted from dweights.",
            "scaled = scores / temperature has two inputs. One temperature serves a whole row, in every sequence of "
            "the batch: its gradient is a sum over both.",
        ),
        mistakes=(
            Mistake(
                "only the diagonal of the softmax jacobian",
                {JACOBIAN: "weights * (1 - weights) * dweights"},
                "One score moves all weights of its row. Rows of the gradient must sum to 0.",
            ),
            Mistake(
                "the softmax is passed over in backward",
                {JACOBIAN: "dweights"},
                "The weights are not the scores: between them lies a softmax, which has a gradient of its own.",
            ),
            Mistake(
                "the temperature is missing in backward",
                {"dscaled / temperature": "dscaled"},
                "Scores were divided by it in forward, so their gradient is.",
            ),
            Mistake(
                "multiplied by the temperature in backward",
                {"dscaled / temperature": "dscaled * temperature"},
                "The slope of x / t is 1 / t.",
            ),
            Mistake(
                "dtemperature is not squared",
                {"temperature**2": "temperature"},
                "The slope of x / t by t is -x / t ** 2.",
            ),
            Mistake(
                "dtemperature has the wrong sign",
                {"-(dscaled": "(dscaled"},
                "The slope of x / t by t is -x / t ** 2: a higher temperature makes scaled scores smaller.",
            ),
            Mistake(
                "the Jacobian is summed over the queries",
                {JACOBIAN: JACOBIAN.replace("axis=-1", "axis=-2")},
                "The sum runs along the axis along which weights sum to 1.",
            ),
        ),
        given="tempered_scores",
        core=True,
    ),
)
