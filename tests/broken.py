"""For every law an op that must fail it: one line of the real source changed, as people have really written it.

Most of them live in the zoo of bugs (`minattn.gradcheck.zoo`), where each says why it is one. Those that no derivative
and no output shows, such as a dtype or a device that is lost, stand here.
"""

from typing import NamedTuple

import laws

from minattn.gradcheck.zoo import Bug, named


class Broken(NamedTuple):
    law: object
    bug: Bug
    raises: type = AssertionError


def own(name, where, edits, op, case):
    return Bug(name, where, edits, op, case, why="", formula="")


DOT = "attention.dot"
SCORES = "scores = query @ key.mT / math.sqrt(query.shape[-1])"
WEIGHTS = "softmax(add(scores, bias), mask)"
NUMPY = {"import math\n": "import math\nimport numpy as np\n"}

BROKEN = [
    Broken(laws.gradient, named("softmax backward divides by the batch size")),
    Broken(laws.adjoint_test, named("the scale is missing in backward")),
    Broken(laws.naive, named("query and key swapped in both passes")),
    Broken(laws.twin, own("the learned matrix is squared", "attention.bilinear",
           {'linear(key, params["W"].mT)': 'linear(key, params["W"].mT @ params["W"].mT)'},
           "bilinear", "W = 1 / sqrt(D)")),
    Broken(laws.twice, named("backward uses what the last call left")),
    Broken(laws.mirror, named("dvalue keeps the axes along which value was repeated")),
    Broken(laws.float32, own("np.sqrt of a whole number is a float64", DOT,
           NUMPY | {"math.sqrt(query.shape[-1])": "np.sqrt(query.shape[-1])"}, "dot", "batch")),
    Broken(laws.untouched, own("the scale is written into the caller's query", DOT,
           {SCORES: "query /= math.sqrt(query.shape[-1])\n    scores = query @ key.mT"}, "dot", "batch"), ValueError),
    Broken(laws.device, own("silent conversion to the host", DOT,
           NUMPY | {WEIGHTS: f"np.asarray({WEIGHTS})"}, "dot", "batch"), TypeError),
    Broken(laws.none_is_zero, own("None in dout is not expected", "recurrent.bidirectional",
           {"(None, None) if doutputs is None else np.split": "np.split"}, "bidirectional", "batch"), AttributeError),
    Broken(laws.rows_sum_to_one, named("the weights are masked after the softmax")),
    Broken(laws.rows_sum_to_one, own("sigmoid in the place of softmax", DOT,
           NUMPY | {WEIGHTS: "1 / (1 + np.exp(-add(scores, bias)))"}, "dot", "batch")),
    Broken(laws.order_of_keys, own("the place of a key counts", DOT,
           NUMPY | {WEIGHTS: "softmax(scores + np.arange(key.shape[-2]))"}, "dot", "batch")),
    Broken(laws.future, named("causal mask inverted")),
    Broken(laws.padding_is_nothing, named("padding that holds nan is multiplied by weight 0")),
    Broken(laws.halves_compose, named("additive: forward forgets the bias that attend knows")),
]  # fmt: skip
