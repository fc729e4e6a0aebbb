"""Sound: what a query hears in a recording played backwards, and a pooling that must not hear the padding."""

import numpy as np

from minattn.classroom.exercise import Exercise, Mistake, Prediction, Property, sizes


def _recordings(rng):
    B, T, M = sizes(rng, "BTM")
    lengths = rng.integers(1, T, size=B)
    lengths[0] = T
    return {"hidden": rng.normal(size=(B, T, M)) + 0.5, "query": rng.normal(size=M), "lengths": lengths}


def _one_is_empty(rng):
    drawn = _recordings(rng)
    drawn["lengths"][-1] = 0
    return drawn


def _far_apart(rng):
    drawn = _recordings(rng)
    return drawn | {"query": drawn["query"] * 3000}


def _padding(trial):
    drawn = trial.drawn
    padded = np.arange(drawn["hidden"].shape[1]) >= drawn["lengths"][:, None]
    loud = 1e4 * np.sign(drawn["query"])  # a score that drowns all others
    others = [np.where(padded[..., None], x, drawn["hidden"]) for x in (drawn["hidden"] * 3 - 7, loud, -loud)]
    same = all(np.allclose(trial.call(drawn | {"hidden": other}), trial.call()) for other in others)
    return "" if same else "with other numbers in the padding the context changes"


def _one_moment(trial):
    drawn = trial.drawn
    found = trial.call(drawn | {"lengths": np.ones_like(drawn["lengths"])})
    return "" if np.allclose(found, drawn["hidden"][:, 0]) else "of one real moment the context should be that moment"


def _no_moment(trial):
    found = np.asarray(trial.call(trial.drawn | {"lengths": np.zeros_like(trial.drawn["lengths"])}))
    return "" if (found == 0).all() else f"of no moment at all the context should be 0, not {found[0, 0]:.4g}"


def _finite(trial):
    found = np.asarray(trial.call(_far_apart(trial.rng(3))))
    return "" if np.isfinite(found).all() else "scores of a few thousand make it NaN or infinite"


EXERCISES = (
    Prediction(
        "reversed_sound",
        "17",
        "to have found the word is to have understood it",
        right="c",
        replies={
            "a": "Pooling does not know the order, but what it looks at was written by two LSTMs, and they read one "
            "moment after the other. They hear other sounds now. 91% of the attention is on the word, and 40% of the "
            "digits are heard rightly.",
            "b": "To find the word it is enough to tell a voice from noise, and that is as easy backwards: 91% of the "
            "attention is on the word. What is lost is which word it was.",
            "c": "Yes. Voice is voice in either direction, and 91% of the attention is on the word. But the LSTMs know "
            "sounds by their order: 40% of the digits are heard rightly, where it was 88%.",
        },
    ),
    Exercise(
        "pooled",
        "17",
        "a score of 0 gives no weight",
        _recordings,
        (
            Property("what stands in the padding does not matter", _padding),
            Property("a recording of one moment gives that moment", _one_moment),
            Property("a recording of no moment gives 0", _no_moment),
            Property("large scores do no harm", _finite),
        ),
        hints=(
            "The lengths are used, and real says rightly which moments are there. Follow one moment of the padding, "
            "line by line: which score has it, which share, which weight?",
            "A moment gets no weight if its share is 0, and its share is e to the score, less the peak. For which "
            "score is that 0?",
            "e^0 is 1, as much as for any moment that scores 0. A score below every number there is would do it; NumPy "
            "has one. A score of -1e9 is not enough where all of a recording is padding.",
        ),
        mistakes=(
            Mistake(
                "masked scores are set to 0, not to -inf",
                {"np.where(real, scores, -np.inf)": "np.where(real, scores, 0)"},
                "A score of 0 is a score like others: e^0 = 1 is its share, and the padding is listened to.",
            ),
            Mistake(
                "the padding is looked at",
                {"np.where(real, scores, -np.inf)": "scores"},
                "Nothing says which moments are padding: they score, and get their share.",
            ),
            Mistake(
                "the weights are masked after the softmax",
                {
                    "np.where(real, scores, -np.inf)": "scores",
                    "shares / np.where(total == 0, 1, total)": "real * shares / total",
                },
                "The padding has then taken its share of the sum, and what is left no longer sums to 1.",
            ),
            Mistake(
                "a large negative score in place of -inf",
                {"np.where(real, scores, -np.inf)": "np.where(real, scores, -1e9)"},
                "Where a recording has no moment at all, all scores are -1e9, the peak is too, and each moment of the "
                "padding gets the same weight.",
            ),
            Mistake(
                "the mask hides what may be heard",
                {"np.where(real, scores, -np.inf)": "np.where(real, -np.inf, scores)"},
                "True stands for a moment that is there; it is the others that should have no weight.",
            ),
            Mistake(
                "one moment of the padding is looked at",
                {"< lengths[:, None]": "<= lengths[:, None]"},
                "Moments are counted from 0: with 3 real ones they are 0, 1 and 2.",
            ),
            Mistake(
                "the last moment is hidden as well",
                {"< lengths[:, None]": "< lengths[:, None] - 1"},
                "Moments are counted from 0, so number length - 1 is the last that is real.",
            ),
            Mistake(
                "the beginning is hidden, not the end",
                {
                    "np.arange(hidden.shape[1]) < lengths[:, None]": (
                        "np.arange(hidden.shape[1]) >= hidden.shape[1] - lengths[:, None]"
                    )
                },
                "The padding stands at the end here, so the first moments are the real ones.",
            ),
            Mistake(
                "a recording without a moment is NaN",
                {"np.where(total == 0, 1, total)": "total"},
                "With nothing to listen to all shares are 0, their sum too, and 0 / 0 is NaN.",
            ),
        ),
        broken="masked scores are set to 0, not to -inf",
        extremes=(_one_is_empty, _far_apart),
    ),
)
