"""For every law an op that must fail it: one line of the real source changed, as people have really written it.

Each row: the law, what is wrong, the module, the edits (line -> line with the bug), and the case that shows it.
"""

import importlib
import inspect
import types
from typing import NamedTuple

import laws

from minattn.functions import FUNCTIONS
from minattn.op import pair


class Broken(NamedTuple):
    law: object
    bug: str
    module: str
    edits: dict
    case: str
    raises: type = AssertionError


DOT, SOFTMAX, NORM = "attention.dot", "functions.softmax", "functions.norm"
SCORES = "scores = query @ key.mT / math.sqrt(query.shape[-1])"
WEIGHTS = "softmax(add(scores, bias), mask)"
NUMPY = {"import math\n": "import math\nimport numpy as np\n"}
REMEMBER = {
    "import math\n": "import math\nLAST = []\n",
    "    return context, Cache(query, key, value, bias, weights, kept)\n": (
        "    LAST.append(Cache(query, key, value, bias, weights, kept))\n    return context, None\n"
    ),
    "kept = cache\n": "kept = LAST[-1]\n",
}
ROW_SUM = "(dweights - (dweights * weights).sum(axis=-1, keepdims=True))"

BROKEN = [
    Broken(laws.gradient, "the scale is missing in backward", DOT,
           {"    dscores = dscores / math.sqrt(query.shape[-1])\n": ""}, "batch"),
    Broken(laws.gradient, "softmax backward divides by the batch size", SOFTMAX,
           {"return weights * (dweights": "return weights / len(weights) * (dweights"}, "plain"),
    Broken(laws.gradient, "only the diagonal of the softmax Jacobian", SOFTMAX,
           {ROW_SUM: "(1 - weights) * dweights"}, "plain"),
    Broken(laws.gradient, "layer norm pulls the gain outside the means", NORM,
           {"dnormalized = dout * gain": "dnormalized = dout", "dx = inverse_std": "dx = gain * inverse_std"},
           "gain and bias"),
    Broken(laws.gradient, "dropout backward forgets what was silenced", "functions.dropout",
           {"return dout if keep is None else dout * keep": "return dout"}, "training"),
    Broken(laws.gradient, "shared keys: dkey is not summed over the heads that share it", DOT,
           {"dkey = unbroadcast(dscores.mT @ query, key)": "dkey = dscores.mT @ query"}, "shared keys"),
    Broken(laws.gradient, "a + bias if bias is not None else 0", DOT,
           {"add(scores, bias)": "(scores + bias if bias is not None else 0 * scores)"}, "batch"),
    Broken(laws.gradient, "an embedding row read twice is assigned, not added", "functions.embedding",
           {"np.add.at(dtable, ids, dout)": "dtable[ids] = dout"}, "rows read twice"),
    Broken(laws.gradient, "back-propagation through time cut off after one step", "recurrent.rnn",
           {"State(dtotal @ W_hidden.mT)": "State(0 * dtotal @ W_hidden.mT)"}, "batch"),
    Broken(laws.gradient, "LSTM: gates in another order in backward", "recurrent.lstm",
           {"[sigmoid_backward(di, i), sigmoid_backward(df, f)": "[sigmoid_backward(df, f), sigmoid_backward(di, i)"},
           "batch"),
    Broken(laws.gradient, "GRU: the way through the reset gate is missing in backward", "recurrent.gru",
           {"dr = dcandidate * offered": "dr = 0 * dcandidate * offered"}, "batch"),
    Broken(laws.gradient, "GRU: the candidate's hidden side is not reset in backward", "recurrent.gru",
           {"dcandidate * r]": "dcandidate]"}, "batch"),
    Broken(laws.adjoint_test, "the scale is missing in backward", DOT,
           {"    dscores = dscores / math.sqrt(query.shape[-1])\n": ""}, "batch"),
    Broken(laws.naive, "scaled by D, not by its root, forward and backward", DOT,
           {"math.sqrt(query.shape[-1])": "query.shape[-1]"}, "batch"),
    Broken(laws.naive, "query and key swapped in both passes", DOT,
           {SCORES: SCORES.replace("query @ key.mT", "(key @ query.mT).mT[..., ::-1]")}, "batch"),
    Broken(laws.naive, "a row with nothing to look at is NaN", SOFTMAX,
           {"exponentials / np.where(total == 0, 1, total)": "exponentials / total"}, "masked"),
    Broken(laws.twin, "the learned matrix is squared", "attention.bilinear",
           {'linear(key, params["W"].mT)': 'linear(key, params["W"].mT @ params["W"].mT)'}, "W = 1 / sqrt(D)"),
    Broken(laws.twice, "backward uses what the last call left", DOT, REMEMBER, "batch"),
    Broken(laws.mirror, "dvalue keeps the axes along which value was repeated", DOT,
           {"unbroadcast(dvalue, value)": "dvalue"}, "shared keys"),
    Broken(laws.float32, "np.sqrt of a whole number is a float64", DOT,
           NUMPY | {"math.sqrt(query.shape[-1])": "np.sqrt(query.shape[-1])"}, "batch"),
    Broken(laws.untouched, "the scale is written into the caller's query", DOT,
           {SCORES: "query /= math.sqrt(query.shape[-1])\n    scores = query @ key.mT"}, "batch", ValueError),
    Broken(laws.device, "silent conversion to the host", DOT,
           NUMPY | {WEIGHTS: f"np.asarray({WEIGHTS})"}, "batch", TypeError),
    Broken(laws.none_is_zero, "None in dout is not expected", "recurrent.bidirectional",
           {"(None, None) if doutputs is None else np.split": "np.split"}, "batch", AttributeError),
    Broken(laws.rows_sum_to_one, "sigmoid in the place of softmax", DOT,
           NUMPY | {WEIGHTS: "1 / (1 + np.exp(-add(scores, bias)))"}, "batch"),
    Broken(laws.order_of_keys, "the place of a key counts", DOT,
           NUMPY | {WEIGHTS: "softmax(scores + np.arange(key.shape[-2]))"}, "batch"),
    Broken(laws.future, "the causal mask is upside down", DOT,
           {"masks.array(mask, shape, like=query)": "masks.array(mask, shape, like=query).mT"}, "causal"),
    Broken(laws.padding_is_nothing, "weight 0 times NaN", DOT,
           {"masks.keep(seen, key), masks.keep(seen, value)": "key, value"}, "NaN in the padding"),
    Broken(laws.halves_compose, "forward forgets what attend knows", "attention.additive",
           {"memory, bias, mask=mask)": "memory, None, mask=mask)"}, "bias"),
]  # fmt: skip


def build(row):
    """The module of the row with its edits: a new module, the real one stays as it is."""
    original = importlib.import_module(f"minattn.{row.module}")
    source = inspect.getsource(original)
    for line, bug in row.edits.items():
        assert line in source, f"{line!r} is no longer in {row.module}: bring the row up to date"
        source = source.replace(line, bug)
    module = types.ModuleType(original.__name__)
    exec(compile(source, f"<{row.bug}>", "exec"), module.__dict__)
    name = row.module.split(".")[-1]
    if not row.module.startswith("functions"):
        return name, module
    function = {"norm": "layer_norm"}.get(name, name)
    op = pair(*(getattr(module, part.__name__) for part in FUNCTIONS[function]))
    if function == "softmax":
        op.naive = plain_softmax
    return function, op


def plain_softmax(params, scores, *, mask=None):
    import math

    import numpy as np

    weights = np.zeros(scores.shape)
    mask = np.broadcast_to(True if mask is None else mask, scores.shape)
    for row in np.ndindex(scores.shape[:-1]):
        exponentials = {s: math.exp(scores[row][s]) for s in np.flatnonzero(mask[row])}
        for s, exponential in exponentials.items():
            weights[row][s] = exponential / sum(exponentials.values())
    return weights
