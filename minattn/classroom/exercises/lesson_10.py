"""Many heads: a width cut into interleaved heads, and the gradients of a key that all heads share."""

import numpy as np

from minattn.classroom.exercise import Exercise, Mistake, Property, sizes


def _wide(rng):
    B, T, D, H = sizes(rng, "BTDH")
    return {"x": rng.normal(size=(B, T, D * H)), "H": H}


def _heads(trial, x):
    """What becomes of x, if it has the right shape."""
    (B, T, M), H = x.shape, trial.drawn["H"]
    found = np.asarray(trial.call({"x": x, "H": H}))
    return found if found.shape == (B, H, T, M // H) else None


def _own_features(trial):
    x, H = trial.drawn["x"], trial.drawn["H"]
    before = _heads(trial, x)
    for m in range(x.shape[-1]):
        other = x.copy()
        other[..., m] += 1
        after = _heads(trial, other)
        if before is None or after is None:
            return "it has the wrong shape"
        moved = np.flatnonzero((after != before).any(axis=(0, 2, 3)))
        if list(moved) != [m % H]:
            return f"feature {m} should change one of {H} heads, but changes the heads {moved.tolist()}"
    return ""


def _own_time(trial):
    x = trial.drawn["x"]
    before = _heads(trial, x)
    for t in range(x.shape[1]):
        other = x.copy()
        other[:, t] += 1
        after = _heads(trial, other)
        if before is None or after is None:
            return "it has the wrong shape"
        moved = np.flatnonzero((after != before).any(axis=(0, 1, 3)))
        if list(moved) != [t]:
            return f"step {t} of x should reach step {t} alone, but changes the steps {moved.tolist()}"
    return ""


def _in_their_order(trial):
    x = np.broadcast_to(np.arange(float(trial.drawn["x"].shape[-1])), trial.drawn["x"].shape).copy()
    found = _heads(trial, x)
    if found is None:
        return "it has the wrong shape"
    return "" if (np.diff(found, axis=-1) > 0).all() else "the features of a head should stay in the order of x"


def _nothing_lost(trial):
    x = trial.drawn["x"]
    same = np.array_equal(np.sort(x.ravel()), np.sort(np.asarray(trial.call()).ravel()))
    return "" if same else "the numbers that come out are not those that went in"


def _shared(rng):
    B, H, T, S, D, E = sizes(rng, "BHTSDE")
    query, key, value = rng.normal(size=(B, H, T, D)), rng.normal(size=(B, S, D)), rng.normal(size=(B, S, E))
    return {"query": query, "key": key, "value": value}


def _a_key_twice(rng):
    drawn = _shared(rng)
    drawn["key"][:, 1] = drawn["key"][:, 0]
    return drawn


EXERCISES = (
    Exercise(
        "split_heads",
        "10",
        "a reshape does what a transpose does",
        _wide,
        (
            Property("each head sees its own features", _own_features),
            Property("steps are not mixed", _own_time),
            Property("features stay in order", _in_their_order),
            Property("nothing is lost", _nothing_lost),
        ),
        hints=(
            "A reshape alone moves no number: it only cuts the row of numbers, the last axis running fastest. So first "
            "cut M into two axes, and then move axes.",
            "Count the features of one step with D = 3, H = 2: their heads are 0 1 0 1 0 1. Of the two axes that M is "
            "cut into, which runs fastest?",
            "After the cut the axes are B, T, D, H. What is asked is B, H, T, D: transpose takes the old numbers of "
            "the axes, in their new order.",
        ),
        mistakes=(
            Mistake(
                "heads are reshaped without a transpose",
                {
                    "x.reshape(B, T, M // H, H)": "x.reshape(B, H, T, M // H)",
                    "features.transpose(0, 3, 1, 2)": "features",
                },
                "The shape is right, but numbers stay in their row: a head gets a piece of the time with all features.",
            ),
            Mistake(
                "heads lie side by side",
                {
                    "x.reshape(B, T, M // H, H)": "x.reshape(B, T, H, M // H)",
                    "features.transpose(0, 3, 1, 2)": "features.swapaxes(1, 2)",
                },
                "That is the library's layout, D neighbours to a head. Here neighbours go to different heads.",
            ),
            Mistake(
                "a reshape after a transpose repairs the shape alone",
                {"features.transpose(0, 3, 1, 2)": "features.swapaxes(1, 3).reshape(B, H, T, M // H)"},
                "A second reshape makes the shape right and cuts the rows anew: time and features are mixed.",
            ),
            Mistake(
                "x is transposed and then cut",
                {
                    "x.reshape(B, T, M // H, H)": "x.swapaxes(1, 2).reshape(B, H, T, M // H)",
                    "features.transpose(0, 3, 1, 2)": "features",
                },
                "Then time runs fastest, and the cut goes across it: a row of a head holds several steps of a feature.",
            ),
            Mistake(
                "the features of a head stand before the time",
                {"features.transpose(0, 3, 1, 2)": "features.transpose(0, 3, 2, 1)"},
                "A head is a sequence like any other: rows are steps, columns are features.",
            ),
            Mistake(
                "the heads stay behind the time",
                {"features.transpose(0, 3, 1, 2)": "features.transpose(0, 1, 3, 2)"},
                "Products are taken over the last two axes, which are to be time and features: all else stands before "
                "them.",
            ),
            Mistake(
                "the heads stand before the batch",
                {"features.transpose(0, 3, 1, 2)": "features.transpose(3, 0, 1, 2)"},
                "The batch comes first everywhere.",
            ),
            Mistake(
                "D heads of width H",
                {"x.reshape(B, T, M // H, H)": "x.reshape(B, T, H, M // H)"},
                "There are H heads, each of the width D = M / H: the two numbers have changed places.",
            ),
        ),
        core=True,
    ),
    Exercise(
        "shared_keys_backward",
        "10",
        "a shared key gets the average of what its heads send back",
        _shared,
        hints=(
            "Forward gives key and value an axis for the heads, of length 1, and every head reads the same numbers "
            "there. What does the gradient of something do that is read H times?",
            "Take the gradients as if each head had keys and values of its own, (B, H, S, D) and (B, H, S, E). One "
            "more step brings them to the shapes of key and value.",
            "A sum over axis 1 for dkey and for dvalue. The query has its heads already. The scale stands between the "
            "scores and both of their factors.",
        ),
        mistakes=(
            Mistake(
                "multi-query dkey is not summed over the heads that share it",
                {"dkey = (dscores.mT @ query).sum(axis=1)": "dkey = dscores.mT @ query"},
                "One key answers several heads, so its gradient is the sum of what all of them send back.",
            ),
            Mistake(
                "dvalue keeps the axes along which value was repeated",
                {"dvalue = (weights.mT @ dcontext).sum(axis=1)": "dvalue = weights.mT @ dcontext"},
                "What forward repeats, backward sums: the gradient has the shape of the value.",
            ),
            Mistake(
                "what was broadcast is averaged, not summed, in backward",
                {".sum(axis=1)": ".mean(axis=1)"},
                "Each head that reads the key adds its part to the loss, and so to the gradient: nothing is divided.",
            ),
            Mistake(
                "key and value hear the first head alone",
                {".sum(axis=1)": "[:, 0]"},
                "All heads read the same key and the same value, and all of them have something to say about it.",
            ),
            Mistake(
                "the scale is missing in backward",
                {"dscores = dscores / math.sqrt(query.shape[-1])": "dscores = dscores / 1"},
                "The scores were divided by sqrt(D) in forward, so their gradient is in backward.",
            ),
            Mistake(
                "the scale is missing for the key in backward",
                {"(dscores.mT @ query)": "(dscores.mT @ query * math.sqrt(query.shape[-1]))"},
                "The scale stands between the scores and both of their factors: the key's gradient has it too.",
            ),
            Mistake(
                "the scale is the root of the model width in backward alone",
                {
                    "dscores = dscores / math.sqrt(query.shape[-1])": (
                        "dscores = dscores / math.sqrt(query.shape[1] * query.shape[-1])"
                    )
                },
                "Each head compares D numbers, not those of all heads together: forward divides by sqrt(D).",
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
        ),
        given="shared_keys",
        extremes=(_a_key_twice,),
        core=True,
    ),
)
