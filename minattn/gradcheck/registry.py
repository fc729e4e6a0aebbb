"""Everything here that has a gradient, by name, with the cases on which it is tried."""

import difflib

import numpy as np

from minattn import positions
from minattn.functions import FUNCTIONS
from minattn.op import Case, bind, pair


def registry():
    """{name: (op, cases)}, cases(rng) -> list of Case."""
    from minattn import (  # the whole library: whoever checks code of their own waits for none
        attention,
        models,
        recurrent,
    )
    from minattn.attention import cases as attention_cases
    from minattn.recurrent import cases as recurrent_cases

    # `linear` is both a function and a mechanism
    own = {name: f"functions.{name}" if name in attention.VARIANTS else name for name in FUNCTIONS}
    named = {own[name]: (pair(*both), _listed(name)) for name, both in FUNCTIONS.items()}
    named |= {name: (pair(*both), _listed(name)) for name, both in positions.POSITIONS.items()}
    for name, mechanism in attention.VARIANTS.items():
        named[name] = mechanism, lambda rng, op=mechanism: attention_cases.cases(rng, op)
    cases_of_heads = named["multihead"][1]
    named["multihead-fused"] = named["multihead"]
    named["multihead"] = bind(attention.multihead, inner=attention.dot), cases_of_heads  # what people write by hand
    both_sides = {cell: bind(recurrent.bidirectional, cell=recurrent.CELLS[cell]) for cell in ("rnn", "gru")}
    cells = recurrent.CELLS | {f"bidirectional-{name}": cell for name, cell in both_sides.items()}
    for name, cell in cells.items():
        named[name] = cell, lambda rng, op=cell: list(recurrent_cases.cases(rng, op))
    stacked = bind(recurrent.layers, cell=both_sides["gru"])
    named["layers-gru-bidirectional"] = stacked, lambda rng: recurrent_cases.nested(rng, stacked)
    memories = {"": {}, "-rnn": {"cell": recurrent.rnn}, "-gru": {"cell": recurrent.gru}}
    memories |= {f"-{name}": {"attention": mechanism} for name, mechanism in attention.VARIANTS.items()}
    fed = {suffix: memories[suffix] for suffix in ("", "-gru", "-dot", "-additive", "-relative")}
    asked = {suffix: memories[suffix] for suffix in ("", "-concat", "-multihead", "-sparse")}
    suffixes = {"seq2seq": memories, "luong": fed, "pooling": asked, "speech": {"": {}, "-gru": memories["-gru"]}}
    for name, model in models.MODELS.items():
        for suffix, settings in suffixes.get(name, {"": {}}).items():
            named[name + suffix] = bind(model, **settings), lambda rng, op=model: list(op.cases(rng))
    return named


def unknown(name, known):
    """The error for a name that is none: what was meant, where that can be guessed."""
    near = difflib.get_close_matches(name, known, n=3)
    meant = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
    return ValueError(f"no op is called {name!r}; {meant}")


def function_cases(rng):
    """{function: its cases}: every shape with all dimensions different, masks with dead rows, every option."""

    def normal(*shape):
        return rng.normal(size=shape)

    def row(name, *inputs, **options):
        return Case(name, {}, inputs, options)

    mask = rng.random((2, 3, 5)) < 0.6
    mask[0, 1] = False
    hidden = normal(2, 3, 5)
    hidden[~mask] = np.nan
    ids = np.array([[0, 3, 3], [5, 3, 0]])
    targets = np.array([[4, 0, 2], [1, 1, 3]])
    ignored = normal(2, 3, 5)
    ignored[targets == 1] = np.nan
    away = normal(2, 3, 5)
    away += np.sign(away) * 0.1  # no kink within reach
    masked = [row("plain", normal(2, 3, 5)), row("masked", hidden, mask=mask), row("large", 300 * normal(2, 3, 5))]
    return {
        "softmax": [*masked, row("shared mask", normal(2, 3, 5), mask=mask[:, :1])],
        "log_softmax": masked,
        "logsumexp": masked,
        "sparsemax": [row("plain", normal(2, 3, 5)), row("masked", hidden, mask=mask), row("flat", 0.1 * normal(2, 5))],
        "linear": [row("bias", normal(2, 3, 4), normal(4, 5), normal(5)), row("no bias", normal(4), normal(4, 5))],
        "tanh": [row("plain", normal(2, 3, 5)), row("large", 300 * normal(2, 3))],
        "sigmoid": [row("plain", normal(2, 3, 5)), row("large", 300 * normal(2, 3))],
        "relu": [row("plain", away)],
        "gelu": [row("plain", 2 * normal(2, 3, 5)), row("large", 30 * normal(2, 3))],
        "gelu_tanh": [row("plain", 2 * normal(2, 3, 5)), row("large", 30 * normal(2, 3))],
        "silu": [row("plain", 2 * normal(2, 3, 5)), row("large", 300 * normal(2, 3))],
        "elu": [row("plain", away), row("steep", 3 * away, alpha=0.3)],
        "softplus": [row("plain", 2 * normal(2, 3, 5)), row("large", 300 * normal(2, 3))],
        "erf": [row("plain", 2 * normal(4, 3, 5)), row("large", 30 * normal(2, 3))],
        "erfc": [row("plain", 2 * normal(4, 3, 5)), row("large", 10 * normal(2, 3))],
        "layer_norm": [
            row("gain and bias", normal(2, 3, 5), normal(5), normal(5)),
            row("no bias", normal(2, 3, 5), normal(5), eps=0.1),
        ],
        "rms_norm": [row("gain", normal(2, 3, 5), normal(5)), row("eps", normal(2, 5), normal(5), eps=0.1)],
        "conv1d": [
            row("plain", normal(2, 7, 3), normal(4, 3, 5), normal(5)),
            row("stride and padding", normal(2, 7, 3), normal(3, 3, 5), stride=2, padding=1),
        ],
        "conv2d": [
            row("plain", normal(2, 6, 7, 3), normal(2, 4, 3, 5), normal(5)),
            row("stride and padding", normal(2, 6, 7, 3), normal(3, 2, 3, 4), stride=(2, 3), padding=(2, 1)),
        ],
        "max_pool": [row("whole windows", normal(2, 4, 6, 3)), row("edges left over", normal(2, 7, 5, 3), size=3)],
        "mean_pool": [row("whole windows", normal(2, 4, 6, 3)), row("edges left over", normal(2, 7, 5, 3), size=3)],
        "embedding": [row("rows read twice", normal(6, 4), ids), row("one row", normal(6, 4), np.array(2))],
        "cross_entropy": [
            row("plain", normal(2, 3, 5), targets),
            row("NaN where ignored", ignored, targets, ignore_index=1),
            row("smoothed", normal(2, 3, 5), targets, ignore_index=1, label_smoothing=0.2),
            row("all ignored", normal(2, 3, 5), np.full_like(targets, 1), ignore_index=1),
            row("large", 300 * normal(2, 3, 5), targets),
        ],
        "rotary": [
            row("interleaved", normal(2, 3, 5, 4), offset=2),
            row("half", normal(3, 5, 6), style="half", base=100.0),
        ],
        "learned": [row("from the start", normal(7, 4), T=3), row("offset", normal(7, 4), T=3, offset=4)],
        "mse": [row("plain", normal(2, 3), normal(2, 3)), row("nothing", normal(0, 3), normal(0, 3))],
        "dropout": [
            row("training", normal(2, 3, 5), p=0.3, rng=np.random.default_rng(1)),
            row("evaluation", normal(2, 3, 5), p=0.3, rng=None),
        ],
    }


def _listed(name):
    return lambda rng: function_cases(rng)[name]
