"""A soft dictionary: whether the weights hear the values, and a lookup that hears directions alone."""

import numpy as np

from minattn.classroom.exercise import Exercise, Mistake, Prediction, Property, sizes
from minattn.classroom.properties import stable

QUERY_LENGTH = "query / np.sqrt((query**2).sum(axis=-1, keepdims=True))"
KEY_LENGTH = "keys / np.sqrt((keys**2).sum(axis=-1, keepdims=True))"


def _entries(rng):
    B, S, D, E = sizes(rng, "BSDE")
    return {
        "query": rng.normal(size=(B, D)),
        "keys": rng.normal(size=(S, D)),
        "values": rng.normal(size=(S, E)),
        "sharpness": float(rng.uniform(1.5, 4)),
    }


def _sharp(rng):
    return _entries(rng) | {"sharpness": 5000.0}


def _answers(trial, drawn, **others):
    return np.asarray(trial.call(drawn | others))


def _length_of(name):
    def test(trial):
        for drawn in trial.cases():
            lengths = np.linspace(0.5, 3, len(drawn[name]))[:, None]
            if not np.allclose(_answers(trial, drawn, **{name: drawn[name] * lengths}), _answers(trial, drawn)):
                return f"other lengths in {name}, all directions as they were, and the answers are different"
        return ""

    return test


def _average_at_zero(trial):
    drawn = trial.drawn
    found = _answers(trial, drawn, sharpness=0.0)
    return (
        "" if np.allclose(found, drawn["values"].mean(axis=0)) else "at sharpness 0 every answer should be the average"
    )


def _dictionary_when_sharp(trial):
    drawn = trial.drawn
    asked = np.arange(len(drawn["query"])) % len(drawn["keys"])
    found = _answers(trial, drawn, query=0.5 * drawn["keys"][asked], sharpness=5000.0)
    right = np.allclose(found, drawn["values"][asked])
    return "" if right else "asked for a key at sharpness 5000, it should answer with the value beside that key"


def _two_at_right_angles(trial):
    two = {"query": np.eye(2), "keys": np.eye(2), "values": np.array([[1.0] * 4, [0.0] * 4]), "sharpness": 1.0}
    found = _answers(trial, two)
    right = np.allclose(found, [[0.7311] * 4, [0.2689] * 4], atol=1e-4)
    return "" if right else "the cosines 1 and 0 at sharpness 1 should give the weights 0.731 and 0.269"


def _an_average(trial):
    for drawn in trial.cases():
        if not np.allclose(_answers(trial, drawn, values=np.full_like(drawn["values"], 0.7)), 0.7):
            return "every value is 0.7, and some answer is not: the weights should sum to 1"
    return ""


def _each_by_itself(trial):
    for drawn in trial.cases():
        others = drawn["query"].copy()
        others[1:] = -2 * others[1:]
        if not np.allclose(_answers(trial, drawn, query=others)[0], _answers(trial, drawn)[0]):
            return "the answer to the first query changes when other queries do"
    return ""


EXERCISES = (
    Prediction(
        "repainted",
        "01",
        "what an entry says changes how much it is looked at",
        right="a",
        replies={
            "a": "Yes. Weights come from query and key alone. What does change is the answer: the same share of "
            "another paint.",
            "b": "Tempting, since larger numbers often win. Only a key can do that: a value is not compared with "
            "anything. It makes the answer brighter, with the weight that it had.",
            "c": "Tempting: whoever asks for orange has no use for white. But the query is compared with the keys, and "
            "the key has not been touched. The lookup does not see what it will get until the weights are made.",
        },
    ),
    Exercise(
        "softened",
        "01",
        "a longer key is a more similar one",
        _entries,
        (
            Property("the length of a query does not matter", _length_of("query")),
            Property("the length of a key does not matter", _length_of("keys")),
            Property("at sharpness 0 it is the average", _average_at_zero),
            Property("sharp enough, it is a dictionary", _dictionary_when_sharp),
            Property("two keys at right angles get their shares", _two_at_right_angles),
            Property("equal values come back", _an_average),
            Property("each query is answered by itself", _each_by_itself),
            stable("sharpness", title="stable at a sharpness of ten thousand"),
        ),
        hints=(
            "The cosine of two arrows is their dot product after each has been made 1 long. Then it goes on as in "
            "look_up, but for B queries at once.",
            "The length of an arrow is the root of the sum of its squares: one for each query and one for each key, "
            "not one for all. Scores are (B, S), and the softmax of a query runs over the keys.",
            "Make both 1 long, with sums over axis=-1 and keepdims=True so that shapes fit; multiply query by keys.T "
            "and by sharpness. Subtract the largest score of each row before exp: no weight changes, and nothing "
            "overflows.",
        ),
        mistakes=(
            Mistake(
                "the query keeps its length",
                {QUERY_LENGTH: "query"},
                "A query that is twice as long makes every score twice as large: it asks more sharply, where only its "
                "direction should count.",
            ),
            Mistake(
                "the keys keep their length",
                {KEY_LENGTH: "keys"},
                "A long key has a large dot product with every query that lies on its side: it shouts.",
            ),
            Mistake(
                "divided by the square of the length",
                {
                    "np.sqrt((query**2).sum(axis=-1, keepdims=True))": "(query**2).sum(axis=-1, keepdims=True)",
                    "np.sqrt((keys**2).sum(axis=-1, keepdims=True))": "(keys**2).sum(axis=-1, keepdims=True)",
                },
                "The sum of the squares is the length times itself. Divided by it, an arrow that was 2 long is 1/2 "
                "long, not 1.",
            ),
            Mistake(
                "one length for all arrows",
                {
                    "(query**2).sum(axis=-1, keepdims=True)": "(query**2).sum()",
                    "(keys**2).sum(axis=-1, keepdims=True)": "(keys**2).sum()",
                },
                "The squares of all arrows are summed together. That makes them all shorter by the same factor, and "
                "the long ones are still the long ones.",
            ),
            Mistake(
                "softmax over the queries",
                {
                    "scores.max(axis=-1, keepdims=True)": "scores.max(axis=0, keepdims=True)",
                    "shares.sum(axis=-1, keepdims=True)": "shares.sum(axis=0, keepdims=True)",
                },
                "Each query shares its weight among the keys: rows of (B, S) sum to 1, not columns.",
            ),
            Mistake(
                "shares that are not divided by their sum",
                {"shares / shares.sum(axis=-1, keepdims=True)": "shares"},
                "Without the division the answer is a pile of values, not an average.",
            ),
            Mistake(
                "divided by the sharpness",
                {"sharpness * (query @ keys.T)": "(query @ keys.T) / max(sharpness, 1e-9)"},
                "Larger scores make sharper weights, so sharpness multiplies them. What divides them is called a "
                "temperature.",
            ),
            Mistake(
                "the sharpness is not used",
                {"sharpness * (query @ keys.T)": "query @ keys.T"},
                "A cosine lies between -1 and 1. As scores alone such numbers never make a sharp weight.",
            ),
            Mistake(
                "the peak is not subtracted",
                {"scores - scores.max(axis=-1, keepdims=True)": "scores"},
                "exp overflows beyond 709. Subtracting the largest score of each row prevents that and changes nothing "
                "else.",
            ),
        ),
        extremes=(_sharp,),
    ),
)
