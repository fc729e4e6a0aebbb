"""A map is not an explanation: other weights for the same answer, and an average without one of its entries."""

import numpy as np

from minattn.classroom.exercise import Exercise, Mistake, Prediction, Property, sizes


def _looked(rng):
    B, T, S, E = sizes(rng, "BTSE")
    shares = rng.exponential(size=(B, T, S)) + 0.05
    return {
        "weights": shares / shares.sum(axis=-1, keepdims=True),
        "values": rng.normal(size=(B, S, E)) + 1,
        "s": int(rng.integers(min(T, S))),
    }


def _all_on_one(rng):
    drawn = _looked(rng)
    drawn["weights"][0, -1] = np.arange(drawn["weights"].shape[-1]) == drawn["s"]
    return drawn


def _what_it_holds(trial):
    values = trial.drawn["values"].copy()
    values[:, trial.drawn["s"]] += 100
    same = np.allclose(trial.call(trial.drawn | {"values": values}), trial.call())
    return "" if same else "with another value at s the context changes"


def _all_alike(trial):
    values = np.full_like(trial.drawn["values"], 3.0)
    found = np.asarray(trial.call(trial.drawn | {"values": values}))
    return "" if np.allclose(found, 3) else f"all values are 3, but the context is {found.ravel()[0]:.4g}"


def _little_left(trial):
    """A row of which next to nothing is left: 1e-9 is no weight to be passed over."""
    weights, s = np.full_like(trial.drawn["weights"], 1e-9), trial.drawn["s"]
    weights[:, :, s] = 1 - 1e-9 * (weights.shape[-1] - 1)
    found = trial.call(trial.drawn | {"weights": weights})
    average = np.delete(trial.drawn["values"], s, axis=1).mean(axis=1)[:, None]
    return "" if np.allclose(found, average) else "what is left may be little: of 1e-9 each, all have equal parts"


def _still_nothing(trial):
    weights, values, s = (trial.drawn[name] for name in ("weights", "values", "s"))
    unseen = (s + 1) % weights.shape[-1]
    weights = np.where(np.arange(weights.shape[-1]) == unseen, 0, weights)
    weights, other = weights / weights.sum(axis=-1, keepdims=True), values.copy()
    other[:, unseen] += 100
    before, after = (np.asarray(trial.call({"weights": weights, "values": x, "s": s})) for x in (values, other))
    return "" if np.allclose(before, after) else "an entry that had no weight has some when s is gone"


def _nothing_left(trial):
    found = np.asarray(trial.call(_all_on_one(trial.rng(3))))[0, -1]
    return "" if (found == 0).all() else f"a row whose whole weight was on s gives {found[0]:.4g}, not 0"


EXERCISES = (
    Prediction(
        "other_weights",
        "15",
        "a map that is the only one possible explains the answer",
        right="c",
        replies={
            "a": "The map is the only one, and yet it weighs entries, not letters: the LSTM has noted down the "
            "neighbours in every entry. A third of the letters that change a phoneme by more than half have a weight "
            "below 0.01.",
            "b": "That was so for the digits, with 64 entries of 24 features. Here the 18 entries with 64 features are "
            "independent: no direction is free. And there is a relation: the rank correlation of weight and change is "
            "0.67.",
            "c": "Yes. The rank correlation of weight and change is 0.67, and a third of the letters that change a "
            "phoneme by more than half have a weight below 0.01: an entry holds more than its own letter.",
        },
    ),
    Exercise(
        "without",
        "15",
        "without one entry, the rest of the average stays as it is",
        _looked,
        (
            Property("the value at s does not matter", _what_it_holds),
            Property("values that are all alike stay", _all_alike),
            Property("an entry without weight gets none", _still_nothing),
            Property("little is shared as much is", _little_left),
            Property("0 where nothing is left", _nothing_left),
        ),
        hints=(
            "The answers of Compute: 14.25 without c is (14.25 - 0.090 * 30) / (1 - 0.090). What was done to the "
            "weights of a and b?",
            "Two steps: the weight at s becomes 0 in a copy of the weights; then each row is divided by what is left "
            "of its sum. Which axis of (B, T, S) are the entries?",
            "A row with nothing left has the sum 0, and 0 / 0 is NaN: put a 1 in the place of a sum of 0, with "
            "np.where, before you divide. keepdims=True keeps the axis.",
        ),
        mistakes=(
            Mistake(
                "the rest is not divided by its sum",
                {"rest / np.where(total == 0, 1, total)": "rest"},
                "The entry is gone, its share must go to the others. Setting its value to 0 does the same: then it is "
                "still there, and says 0.",
            ),
            Mistake(
                "a query is taken out, not an entry",
                {"rest[:, :, s] = 0": "rest[:, s] = 0"},
                "The axes are B, T, S: sequences, queries, entries. What is taken out is a column of every map.",
            ),
            Mistake(
                "divided along the queries",
                {"axis=-1": "axis=-2"},
                "Each query shares its weight among the entries: the sum of a row is to be 1, not that of a column.",
            ),
            Mistake(
                "the share is given out in equal parts",
                {
                    "rest / np.where(total == 0, 1, total)": (
                        "rest + (np.arange(rest.shape[-1]) != s) * (1 - total) / (rest.shape[-1] - 1)"
                    )
                },
                "Then entries that nobody looked at get some of it. Softmax without one score shares it in proportion.",
            ),
            Mistake(
                "divided by the weight that was taken out",
                {"total = rest.sum(axis=-1, keepdims=True)": "total = weights[:, :, s : s + 1]"},
                "What is left is to sum to 1, so it is divided by its own sum.",
            ),
            Mistake(
                "a softmax over weights",
                {"rest / np.where(total == 0, 1, total)": "np.exp(rest) / np.exp(rest).sum(axis=-1, keepdims=True)"},
                "A softmax makes weights of scores; these are weights already. It also gives a share to what is 0.",
            ),
            Mistake(
                "a row with nothing left is NaN",
                {"np.where(total == 0, 1, total)": "total"},
                "Where the whole weight was on s, the rest sums to 0, and 0 / 0 is NaN.",
            ),
            Mistake(
                "a row with nothing left looks everywhere",
                {"rest / np.where(total == 0, 1, total)": "np.where(total == 0, 1 / rest.shape[-1], rest / total)"},
                "Where nothing is left there is nothing to average: the context is 0, not the mean of all values. A "
                "mask of -1e9 in the scores does the same.",
            ),
        ),
        extremes=(_all_on_one,),
    ),
)
