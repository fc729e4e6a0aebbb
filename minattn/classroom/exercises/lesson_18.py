"""Cheaper attention: which cheaper way is exact, and one softmax from what several machines have seen."""

import numpy as np

from minattn.classroom.exercise import Exercise, Mistake, Prediction, Property, sizes


def _sent(machines):
    """Scores (B, S) and values (S, E) of each machine -> what the machines send."""
    peaks = np.stack([scores.max(axis=-1) for scores, _ in machines])
    shares = [np.exp(scores - peak[:, None]) for (scores, _), peak in zip(machines, peaks, strict=True)]
    return {
        "peaks": peaks,
        "totals": np.stack([share.sum(axis=-1) for share in shares]),
        "contexts": np.stack([share @ values for share, (_, values) in zip(shares, machines, strict=True)]),
    }


def _machines(rng, far=0):
    K, B, E = sizes(rng, "TBE")
    away = np.full((K, B), far)
    away[1:, 1:], away[:, 0] = -far, -far  # the first query: all low; the others: one machine has all that counts
    return [
        (2 * rng.normal(size=(B, S)) + away[k][:, None], rng.normal(size=(S, E)) + 1)
        for k, S in enumerate(rng.integers(2, 6, size=K))
    ]


def _halves(rng):
    return _sent(_machines(rng))


def _far_apart(rng):
    return _sent(_machines(rng, far=1000))


def _saw_nothing(rng):
    drawn = _halves(rng)
    for machine, query in ((-1, slice(None)), (slice(None), 1)):  # one machine no key, one query no machine
        drawn["peaks"][machine, query] = -np.inf
        drawn["totals"][machine, query] = 0
        drawn["contexts"][machine, query] = 0
    return drawn


def _any_order(trial):
    drawn = {name: x[::-1].copy() for name, x in trial.drawn.items()}
    return "" if np.allclose(trial.call(drawn), trial.call()) else "the machines in another order change the context"


def _any_cut(trial):
    rng = trial.rng(3)
    B, E = trial.drawn["contexts"].shape[1:]
    scores, values = 2 * rng.normal(size=(B, 9)), rng.normal(size=(9, E)) + 1
    one, other = (
        np.asarray(
            trial.call(_sent([(scores[:, a:b], values[a:b]) for a, b in zip([0, *cut], [*cut, 9], strict=True)]))
        )
        for cut in ((1, 3), (2, 6, 8))
    )
    return "" if np.allclose(one, other) else "the same keys, cut elsewhere, change the context"


def _one_alone(trial):
    drawn = {name: x[:1] for name, x in trial.drawn.items()}
    same = np.allclose(trial.call(drawn), drawn["contexts"][0] / drawn["totals"][0][:, None])
    return "" if same else "of one machine the context should be what it sends, divided by its total"


def _moved(trial):
    peaks = trial.drawn["peaks"]
    away = np.where(np.arange(peaks.shape[1]) % 2, 1000, -1000)  # other for each query, the same for its machines
    found = np.asarray(trial.call(trial.drawn | {"peaks": peaks + away}))
    if not np.isfinite(found).all():
        return "with all peaks moved by 1000 it is NaN or infinite: exp overflows beyond 709"
    return "" if np.allclose(found, trial.call()) else "with all peaks of a query moved by 1000 the context changes"


def _far(trial):
    found = np.asarray(trial.call(_far_apart(trial.rng(4))))
    return "" if np.isfinite(found).all() else "peaks of 1000 and -1000 make it NaN or infinite"


def _nothing(trial):
    drawn = trial.drawn
    nothing = {name: np.full_like(x[:1], -np.inf if name == "peaks" else 0) for name, x in drawn.items()}
    if not np.allclose(
        trial.call({name: np.concatenate([x, nothing[name]]) for name, x in drawn.items()}), trial.call()
    ):
        return "one more machine that saw nothing changes the context"
    return "" if (np.asarray(trial.call(nothing)) == 0).all() else "if no machine saw anything the context should be 0"


def _looks(rng):
    B, T, S, D, E = sizes(rng, "BTSDE")
    query, key, value = (rng.normal(size=shape) for shape in ((B, T, D), (B, S, D), (B, S, E)))
    return {"query": query, "key": key, "value": value, "mask": rng.random((B, T, S)) < 0.7}


def _everyone(rng):
    return _looks(rng) | {"mask": None}


def _nobody(rng):
    drawn = _looks(rng)
    drawn["mask"][0, 0] = False
    return drawn


def _dead_rows_give_0(trial):
    drawn = _nobody(trial.rng())
    return "" if not np.any(trial.call(drawn)[0][0, 0]) else "a query that may look at nothing should get 0"


def _order_of_keys(trial):
    drawn = {name: x[..., ::-1, :] if name in ("key", "value") else x for name, x in trial.drawn.items()}
    drawn["mask"] = drawn["mask"][..., ::-1]
    same = np.allclose(trial.call(drawn)[0], trial.call()[0], rtol=0, atol=1e-9)
    return "" if same else "keys, values and mask reversed together should change nothing"


SLOPE = "dweights * weights * (1 - weights)"

EXERCISES = (
    Prediction(
        "which_is_exact",
        "18",
        "what costs less is an approximation",
        right="b",
        replies={
            "a": "What is never all there can still be added up exactly. The answer of a tile is corrected by one "
            "factor whenever a larger score comes: tiles give the answer of dot, up to rounding.",
            "b": "Yes. Tiles compute the same sums in another order. A window leaves keys out, and linear attention "
            "compares them by something other than the exponential: these are different answers.",
            "c": "Linear attention sees every key too, but it does not compare by e to the score, since from that no "
            "summary can be made. Its weights are different, and so is its answer. The tiles alone are exact.",
        },
    ),
    Exercise(
        "merged",
        "18",
        "sums with different peaks can be added as they are",
        _halves,
        (
            Property("the order of machines does not matter", _any_order),
            Property("where the keys are cut does not matter", _any_cut),
            Property("one machine alone", _one_alone),
            Property("the same added to all scores of a query changes nothing", _moved),
            Property("finite for peaks of 1000 and -1000", _far),
            Property("a machine that saw nothing changes nothing", _nothing),
        ),
        hints=(
            "A machine's total is the sum of e^(score - its peak). Two such sums can be added if both are of e^(score "
            "- one peak). Which peak would be safe for all, and by which factor does a sum change?",
            "One peak for each query, over the machines. Each machine has one factor for each query, for its total and "
            "its context alike. Add up, and divide once, at the end.",
            "The factor is np.exp of its own peak less the common one, (K, B); contexts need one axis more. If the "
            "common peak is -inf, take 0 in its place, and where the total is 0 divide by 1.",
        ),
        mistakes=(
            Mistake(
                "the contexts are not rescaled",
                {"(factors[..., None] * contexts)": "contexts"},
                "A context is a sum of e^(score - peak) times values: it belongs to its peak as the total does.",
            ),
            Mistake(
                "the totals are not rescaled",
                {"(factors * totals)": "totals"},
                "A total is a sum of e^(score - peak): it belongs to its peak as the context does.",
            ),
            Mistake(
                "nothing is rescaled",
                {"(factors[..., None] * contexts)": "contexts", "(factors * totals)": "totals"},
                "The largest score of each machine counts as 1 in its sums, whether it was large or small.",
            ),
            Mistake(
                "an average of averages",
                {
                    "context / np.where(total == 0, 1, total)[:, None]": (
                        "(contexts / np.where(totals == 0, 1, totals)[..., None]).mean(axis=0)"
                    )
                },
                "Each machine then counts the same, the one that holds the key that was looked for and the one that "
                "holds nothing.",
            ),
            Mistake(
                "each machine counts by its peak alone",
                {
                    "(factors * totals)": "factors",
                    "(factors[..., None] * contexts)": (
                        "(factors[..., None] * contexts / np.where(totals == 0, 1, totals)[..., None])"
                    ),
                },
                "A machine weighs as much as all its keys together: by its factor times its total.",
            ),
            Mistake(
                "exp of the wrong sign",
                {"np.exp(peaks - base)": "np.exp(base - peaks)"},
                "The machine with the highest peak has the factor 1, all others less.",
            ),
            Mistake(
                "the mean of the peaks",
                {"peaks.max(axis=0)": "peaks.mean(axis=0)"},
                "Any common peak cancels on paper. But above it exp grows, and overflows beyond 709: take the highest.",
            ),
            Mistake(
                "one peak for all queries",
                {"peaks.max(axis=0)": "peaks.max()"},
                "A query whose scores are far below those of another then has nothing but zeros: each has a peak of "
                "its own.",
            ),
            Mistake(
                "NaN where no machine saw anything",
                {"np.where(np.isfinite(highest), highest, 0)": "highest"},
                "The highest peak is then -inf as well, and -inf minus -inf is NaN.",
            ),
        ),
        extremes=(_far_apart, _saw_nothing),
    ),
    Exercise(
        "sigmoid_attention",
        "18",
        "attention is a softmax",
        _looks,
        (
            Property("nobody to look at gives 0", _dead_rows_give_0),
            Property("the order of the keys does not matter", _order_of_keys),
        ),
        hints=(
            "forward is three lines: scores with their two corrections, the sigmoid, the sum over values. The mask "
            "acts on the weights: there is no sum that what is hidden could spoil.",
            "The slope of the sigmoid is weight times (1 - weight), each for itself: no sum over the row is taken off. "
            "ln S is a constant and has no gradient.",
            "backward goes through context = weights @ value first, which gives dvalue and dweights; then the slope; "
            "then the division by sqrt(D); then dquery by the keys and dkey by the queries, transposed.",
        ),
        mistakes=(
            Mistake(
                "the scale is missing in backward",
                {" / key.shape[-1] ** 0.5": ""},
                "The scores were divided by sqrt(D) in forward, so their gradient is in backward.",
            ),
            Mistake(
                "scaled by D, not by its root",
                {"/ D**0.5": "/ D", " ** 0.5": ""},
                "A sum of D products of independent numbers has variance D, so its size is sqrt(D).",
            ),
            Mistake(
                "the sigmoid is passed over in backward",
                {SLOPE: "dweights"},
                "Between scores and weights lies the sigmoid, whose slope is not 1.",
            ),
            Mistake(
                "the slope of a softmax",
                {SLOPE: "weights * (dweights - (dweights * weights).sum(axis=-1, keepdims=True))"},
                "No weight depends on another one here, so that no sum over the row is taken off.",
            ),
            Mistake(
                "ln S is forgotten",
                {"1 + S * np.exp": "1 + np.exp"},
                "Without it each of S keys has a weight of about a half, and the context is a sum that grows with S.",
            ),
            Mistake(
                "the mask is forgotten",
                {"if mask is None else": "if True else"},
                "What the mask hides has the weight 0.",
            ),
            Mistake(
                "the mask is inverted",
                {"np.where(mask, weights, 0)": "np.where(mask, 0, weights)"},
                "True = may look.",
            ),
            Mistake(
                "the weights are divided by their sum",
                {
                    "return weights @ value, (": "weights = weights / (weights.sum(axis=-1, keepdims=True) + 1e-300)\n"
                    "        return weights @ value, ("
                },
                "Each key has a weight of its own here; the rows need not sum to 1.",
            ),
        ),
        extremes=(_everyone, _nobody),
        mechanism=True,
    ),
)
