"""KV cache: one step of attention against kept keys, at a distance; and what may be kept."""

import numpy as np

from minattn.classroom.exercise import Exercise, Mistake, Prediction, Property, sizes
from minattn.classroom.properties import stable


def _kept(rng):
    B, H, S, D, E = sizes(rng, "BHSDE")
    return {
        "query": rng.normal(size=(B, H, D)),
        "keys": rng.normal(size=(B, H, S, D)),
        "values": rng.normal(size=(B, H, S, E)),
        "slope": rng.uniform(0.2, 0.8, size=H),
    }


def _far_apart(rng):
    drawn = _kept(rng)
    return drawn | {"query": drawn["query"] * 2000}


def _context(trial, **others):
    return np.asarray(trial.call(trial.drawn | others))


def _one_key(trial):
    keys, values = trial.drawn["keys"][:, :, -1:], trial.drawn["values"][:, :, -1:]
    alone = np.allclose(_context(trial, keys=keys, values=values), values[:, :, 0], rtol=0, atol=1e-9)
    return "" if alone else "where one key is kept, the new one, the context should be its value"


def _equal_values(trial):
    values = np.broadcast_to(trial.drawn["values"][:, :, :1], trial.drawn["values"].shape)
    same = np.allclose(_context(trial, values=values), values[:, :, 0], rtol=0, atol=1e-9)
    return "" if same else "where all values of a head are equal, an average should be equal to them"


def _steep(trial):
    context = _context(trial, slope=np.full_like(trial.drawn["slope"], 1e4))
    newest = np.allclose(context, trial.drawn["values"][:, :, -1], rtol=0, atol=1e-9)
    return "" if newest else "with a slope of 10000 nothing but the newest key should be seen"


def _halves(trial):
    """Equal keys and a slope of log 2: each share is half of the one behind it."""
    S = trial.drawn["keys"].shape[2]
    slope, keys = np.full_like(trial.drawn["slope"], np.log(2)), np.zeros_like(trial.drawn["keys"])
    shares = 0.5 ** np.arange(S)[::-1]
    expected = np.einsum("s,bhse->bhe", shares / shares.sum(), trial.drawn["values"])
    close = np.allclose(_context(trial, slope=slope, keys=keys), expected, rtol=0, atol=1e-9)
    return "" if close else "with equal scores and a slope of log 2 each key should get half of what the next one gets"


def _flat(trial):
    order = np.roll(np.arange(trial.drawn["keys"].shape[2]), 1)
    slope, keys, values = (trial.drawn[name] for name in ("slope", "keys", "values"))
    here = _context(trial, slope=slope * 0)
    there = _context(trial, slope=slope * 0, keys=keys[:, :, order], values=values[:, :, order])
    return (
        ""
        if np.allclose(here, there, rtol=0, atol=1e-9)
        else "with slopes of 0 the order of the keys should not matter"
    )


def _own_slopes(trial):
    slope = trial.drawn["slope"]
    for head in range(len(slope)):
        steeper = slope.copy()
        steeper[head] += 1
        changed = ~np.isclose(_context(trial, slope=steeper), _context(trial), rtol=0, atol=1e-9)
        if not changed[:, head].any() or np.delete(changed, head, axis=1).any():
            return "another slope for one head should change the context of that head, and of no other"
    return ""


def _four_times_as_wide(trial):
    query, keys = (np.tile(trial.drawn[name], 4) for name in ("query", "keys"))
    wide, twice = _context(trial, query=query, keys=keys), _context(trial, query=2 * trial.drawn["query"])
    close = np.allclose(wide, twice, rtol=0, atol=1e-9)
    return (
        ""
        if close
        else "every feature four times over should count as a query of twice the size: sqrt(4 D) = 2 sqrt(D)"
    )


EXERCISES = (
    Prediction(
        "which_keys_stay",
        "14",
        "an encoder could keep its keys too",
        right="a",
        replies={
            "a": "Yes. There a key is made of the embedding of its own token, and that stays. Every row of that layer "
            "then looks at the new token, so from the next layer on all keys and values change. Under a causal mask "
            "no earlier row would have looked.",
            "b": "The token at an earlier place is as it was, but its row is not: it looks at the new token too, and "
            "comes out of the first layer with other numbers. From there on its keys and values are different.",
            "c": "Nearly: in all layers but one. The rows that enter the lowest layer are embeddings, which have not "
            "looked at anything yet, so their keys and values are what they were.",
        },
    ),
    Exercise(
        "attend_step",
        "14",
        "distances are counted from the oldest key",
        _kept,
        (
            Property("one key alone gets all of the weight", _one_key),
            Property("equal values are averaged to themselves", _equal_values),
            Property("a steep slope sees the newest alone", _steep),
            Property("every step back costs the same", _halves),
            Property("without slopes the order does not matter", _flat),
            Property("each head has its own slope", _own_slopes),
            Property("wider features do not make the weights sharper", _four_times_as_wide),
            stable("query"),
        ),
        hints=(
            "It is one row of causal attention, the last one: scores, softmax, average. No mask is needed, since all "
            "that is kept lies in the past. Add the bias to the scores.",
            "The scores have the shape (B, H, S). Which of the S keys is the newest, the first or the last? "
            "Write down the distances for S = 3, and what slope (H,) must become to meet (B, H, S).",
            "The distances are S - 1, ..., 1, 0. slope[:, None] times them is (H, S), taken off scores that are "
            "divided by sqrt(D) already. keys @ query[..., None] has one axis of length 1 at its end.",
        ),
        mistakes=(
            Mistake(
                "alibi rewards distance",
                {"np.arange(S)[::-1]": "np.arange(S)"},
                "What is far away should lose. New keys are put at the end, so the last key is the nearest: it loses "
                "nothing, and the first loses most. A plus in the place of the minus does the same, since what all "
                "scores of a row have in common does not matter.",
            ),
            Mistake(
                "the scale is missing",
                {" / np.sqrt(D)": ""},
                "Without the square root of D the scores grow with the number of features.",
            ),
            Mistake(
                "scaled by D, not by its root",
                {"/ np.sqrt(D)": "/ D"},
                "A sum of D products of independent numbers has variance D, so its size is sqrt(D).",
            ),
            Mistake(
                "the bias is scaled too",
                {
                    " / np.sqrt(D)": "",
                    "scores - slope[:, None] * distance": "(scores - slope[:, None] * distance) / np.sqrt(D)",
                },
                "The bias is added after the scores were divided by sqrt(D): it is not divided itself.",
            ),
            Mistake(
                "the peak is not subtracted",
                {"scores - scores.max(axis=-1, keepdims=True)": "scores"},
                "exp overflows beyond 709; subtracting the largest score of each row changes nothing but that.",
            ),
            Mistake(
                "softmax over the heads",
                {"axis=-1": "axis=1"},
                "Each head shares its weight of 1 among the keys, not each key among the heads.",
            ),
            Mistake(
                "one slope for all heads",
                {"slope[:, None]": "slope[0]"},
                "Heads differ in how far they see: each has a slope of its own.",
            ),
            Mistake(
                "the newest key is not looked at",
                {
                    "S, D = keys.shape[-2:]": (
                        "keys, values = keys[:, :, :-1], values[:, :, :-1]\n    S, D = keys.shape[-2:]"
                    )
                },
                "A token looks at itself and back: its own key is kept before it asks, and counts like the others.",
            ),
        ),
        extremes=(_far_apart,),
    ),
)
