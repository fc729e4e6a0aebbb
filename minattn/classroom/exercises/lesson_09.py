"""Positions: what attention knows of order, and a bias for distance in both directions."""

import numpy as np

from minattn.classroom.exercise import Exercise, Mistake, Prediction, Property, sizes


def _slopes(rng):
    """Some keys lie in the past of some queries, some in their future."""
    H, T, S = sizes(rng, "HTS")
    S += 2
    slopes = np.exp2(-rng.uniform(0, 4, size=(H, 2)))
    return {"slopes": slopes, "T": T, "S": S, "offset": int(rng.integers(1, S - 1))}


def _from_the_start(rng):
    return _slopes(rng) | {"offset": 0}


def _bias(trial, drawn):
    """What is returned, if it has the right shape."""
    bias = np.asarray(trial.call(drawn))
    return bias if bias.shape == (len(drawn["slopes"]), drawn["T"], drawn["S"]) else None


def _never_above_zero(trial):
    for drawn in trial.cases():
        bias = np.asarray(trial.call(drawn))
        if not np.isfinite(bias).all():
            return "a bias is infinite or NaN: no key is hidden here"
        if (bias > 0).any():
            return "a bias is above 0: the farther a key is, the lower its score"
    return ""


def _own_place(trial):
    for drawn in trial.cases():
        bias = _bias(trial, drawn)
        if bias is None:
            return "it has the wrong shape"
        for t in range(drawn["T"]):
            for s in range(drawn["S"]):
                if (drawn["offset"] + t == s) != bool((bias[:, t, s] == 0).all()):
                    return "a bias should be 0 where the key is at the query's own place, and nowhere else"
    return ""


def _as_within(trial):
    """Queries that are asked later have the bias that they would have among all others."""
    drawn = trial.drawn
    every = _bias(trial, drawn | {"T": drawn["T"] + drawn["offset"], "offset": 0})
    some = _bias(trial, drawn)
    if every is None or some is None:
        return "it has the wrong shape"
    same = np.allclose(every[:, drawn["offset"] :], some, rtol=0, atol=1e-12)
    return "" if same else "queries from the offset on should have the same bias as the same queries asked with all"


def _one_side(trial):
    drawn = trial.drawn
    for side, (name, free) in enumerate((("past", np.less), ("future", np.greater))):
        slopes = drawn["slopes"].copy()
        slopes[:, side] = 0
        bias = _bias(trial, drawn | {"slopes": slopes})
        if bias is None:
            return "it has the wrong shape"
        at = free(np.arange(drawn["S"]), drawn["offset"] + np.arange(drawn["T"])[:, None])
        if not (bias[:, at] == 0).all():
            return f"a slope of 0 for the {name} should leave no bias there"
    return ""


def _steps(trial):
    """From key to key in one direction the bias falls by the same."""
    drawn = trial.drawn | {"T": 1, "offset": 0, "S": 6}
    bias = _bias(trial, drawn)
    if bias is None:
        return "it has the wrong shape"
    falls = np.diff(bias[:, 0], axis=-1)
    return "" if np.allclose(falls, falls[:, :1], rtol=0, atol=1e-12) else "each step should cost as much as the first"


EXERCISES = (
    Prediction(
        "order",
        "09",
        "attention knows the order of what it looks at",
        right="c",
        replies={
            "a": "It has changed for us, who read from left to right. Attention compares the dog with each word and "
            "adds up: the same five words, the same five weights, the same sum, in whatever order they come.",
            "b": "The dog has other neighbours, but attention has no neighbours: no score asks how far a word is. All "
            "five words are looked at alike, and they are the same five.",
            "c": "Yes. Scores, weights and sums do not depend on the places, so each word gets the same answer, and an "
            "average of the answers is the same too.",
        },
    ),
    Exercise(
        "distance_bias",
        "09",
        "the first query stands beside the first key",
        _slopes,
        (
            Property("no bias is above 0, none is infinite", _never_above_zero),
            Property("a key at the query's own place costs nothing", _own_place),
            Property("queries asked later have the same bias", _as_within),
            Property("a slope of 0 leaves its direction free", _one_side),
            Property("each step costs the same", _steps),
        ),
        hints=(
            "First two lists of places, of the T queries and of the S keys. Which of them does the offset move?",
            "Subtract the one list as a column from the other as a row: a table (T, S) whose sign says past or future "
            "and whose size says how far.",
            "slopes[:, 0, None, None] has the shape (H, 1, 1) and meets a table (T, S) as (H, T, S). np.where with the "
            "sign of the table chooses between the two slopes.",
        ),
        mistakes=(
            Mistake(
                "alibi rewards distance",
                {"return -slope": "return slope"},
                "The term is a penalty: what is far away loses.",
            ),
            Mistake(
                "the offset is forgotten",
                {"offset + np.arange(T)": "np.arange(T)"},
                "The first query stands at place offset, not at 0: a query that is asked alone would take itself for "
                "the first.",
            ),
            Mistake(
                "the offset has the wrong sign",
                {"offset + np.arange(T)": "np.arange(T) - offset"},
                "The offset moves the queries forward among the keys, not back before the first of them.",
            ),
            Mistake(
                "the places of the queries are off by one",
                {"offset + np.arange(T)": "offset + 1 + np.arange(T)"},
                "The first query stands at place offset itself.",
            ),
            Mistake(
                "past and future trade their slopes",
                {"ahead > 0": "ahead < 0"},
                "The past is where the key's place is smaller than the query's; its slope is the first of the two.",
            ),
            Mistake(
                "one slope for both directions",
                {"slopes[:, 1, None, None]": "slopes[:, 0, None, None]"},
                "Each head has a slope for each direction.",
            ),
            Mistake(
                "distance has a sign",
                {"np.abs(ahead)": "-ahead"},
                "A distance is never negative: as it stands, the future gains by being far away.",
            ),
            Mistake(
                "the future is hidden",
                {"return -slope * np.abs(ahead)": "return np.where(ahead > 0, -np.inf, -slope * np.abs(ahead))"},
                "Hiding the future is the matter of a mask. Here it may be seen, and costs its own slope.",
            ),
            Mistake(
                "queries and keys trade places",
                {"return -slope * np.abs(ahead)": "return (-slope * np.abs(ahead)).mT"},
                "Rows are queries and columns are keys, as in the scores to which the bias is added.",
            ),
        ),
        extremes=(_from_the_start,),
    ),
)
