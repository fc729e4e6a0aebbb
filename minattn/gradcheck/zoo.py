"""The bug zoo: single mistakes that people really make in attention and recurrent networks, each of them alive.

    bug = named("lstm: the cell path is cut")
    op  = build(bug)                              an op that obeys the law, with that one bug in it
    of("dot")                                     every bug that can show in that op, those of what it uses among them

A row says how which line of the real source reads, where that shows, and what was forgotten. Nothing is kept twice: a
broken op is the library's own source, edited and run as modules of its own, while the real modules stay as they are. A
row whose line has gone says so when it is built.
"""

import builtins
import functools
import importlib
import inspect
import re
import sys
import types
from typing import NamedTuple

import numpy as np

from minattn import tree
from minattn.functions import FUNCTIONS
from minattn.gradcheck.registry import registry
from minattn.op import initialise, pair
from minattn.positions import POSITIONS

KEPT = {"minattn.masks"}  # never run afresh: a rule that the caller has made must be known as a rule


class Bug(NamedTuple):
    """One mistake.

    where: the module that is edited, without `minattn.`; edits: {what stands there: the same with the bug}; op, case:
    a name in the registry, and its case, in which the bug shows; why: what was forgotten; formula: the right one;
    shown_by: "gradient" for a gradient check, else the law of the tests that shows it ("naive": the paper's formula in
    plain loops), or "output": no law but a look at what comes out.
    """

    name: str
    where: str
    edits: dict
    op: str
    case: str
    why: str
    formula: str
    shown_by: str = "gradient"


def named(name):
    """The row of that name; KeyError where there is none."""
    for bug in ZOO:
        if bug.name == name:
            return bug
    raise KeyError(f"no bug is called {name!r}")


def build(bug, op=None):
    """The op with the bug in it; op: another name of the registry, for a bug in something that it uses.

    Settings that the registry has bound stay bound. LookupError where an edited line is no longer in its module. What
    was built is kept: asking again costs nothing.
    """
    return _built(bug.where, tuple(bug.edits.items()), bug.name, op or bug.op)


def of(name):
    """The rows whose bug can show in the op of that name: those that edit a function which runs in one of its cases."""
    ran = _runs(name)
    return [bug for bug in ZOO if edited(bug) & ran]


def edited(bug):
    """{(module, function)} that differ from the real ones."""
    return _edited(bug.where, tuple(bug.edits.items()), bug.name)


@functools.cache
def _built(where, edits, name, op):
    renew, (real, _) = _workshop(where, edits, name), _entry(op)
    if hasattr(real, "names"):  # a function and its backward, seen as an op
        return pair(*(renew(function) for function in (FUNCTIONS | POSITIONS)[op]))
    return renew(real)


@functools.cache
def _workshop(where, edits, name):
    """-> renew(anything of the library): the same where the edited module stands behind it.

    Only modules that lean on the edited one are run again, and what they import is handed to them renewed.
    """
    target, fresh = f"minattn.{where}", {}
    changed = _changed(where, edits, name)

    def load(module):
        if not _leans(module, target):
            return sys.modules[module]
        if module not in fresh:
            fresh[module] = made = types.ModuleType(module)
            made.__builtins__ = vars(builtins) | {"__import__": hand_out}
            code = compile(changed, f"<{name}>", "exec") if module == target else _code(module)
            exec(code, made.__dict__)
        return fresh[module]

    def hand_out(name, globals=None, locals=None, fromlist=(), level=0):
        found = importlib.__import__(name, globals, locals, fromlist, level)
        if not fromlist or not _ours(name):
            return found
        return types.SimpleNamespace(**{part: renew(getattr(found, part)) for part in fromlist})

    def renew(value):
        if isinstance(value, functools.partial):
            settings = {name: renew(setting) for name, setting in value.keywords.items()}
            return functools.partial(renew(value.func), *value.args, **settings)
        if isinstance(value, types.SimpleNamespace):  # settings were bound
            return types.SimpleNamespace(**{name: renew(part) for name, part in vars(value).items()})
        home = _home(value)
        if home is None:
            return value
        return load(home) if inspect.ismodule(value) else getattr(load(home), value.__name__)

    return renew


@functools.cache
def _leans(module, target):
    """Does the module use the target, itself or by what it uses?"""
    if module == target or module in KEPT:
        return module == target
    used = {_home(value) for value in vars(importlib.import_module(module)).values()} - {None, module}
    return any(_leans(other, target) for other in used)


def _home(value):
    """The name of the module of this library that a function or class comes from, or that a module is; else None."""
    if inspect.ismodule(value):
        home = value.__name__
    elif inspect.isfunction(value) or inspect.isclass(value):
        home = value.__module__
    else:
        return None
    return home if _ours(home) else None


def _ours(module):
    return module.split(".")[0] == "minattn"


@functools.cache
def _code(module):
    return compile(_source(module), sys.modules[module].__file__, "exec")


@functools.cache
def _source(module):
    return inspect.getsource(importlib.import_module(module))


def _changed(where, edits, name):
    """The source of the module with the edits."""
    source = _source(f"minattn.{where}")
    for line, bug in edits:
        if line not in source:
            raise LookupError(f"{line!r} is no longer in minattn.{where}: bring the row {name!r} of the zoo up to date")
        source = source.replace(line, bug)
    return source


@functools.cache
def _edited(where, edits, name):
    module = f"minattn.{where}"
    before, after = _functions(_source(module)), _functions(_changed(where, edits, name))
    return {(module, function) for function in after if after[function] != before.get(function)}


def _functions(source):
    """{name: text} of the functions of a module."""
    found, name = {}, ""
    for line in source.splitlines():
        if start := re.match(r"def (\w+)", line):
            name = start[1]
        elif re.match(r"[^\s)]", line):  # something else begins
            name = ""
        found.setdefault(name, []).append(line)
    return {name: lines for name, lines in found.items() if name}


def _entry(name):
    """The op of that name and its cases; ValueError where there is none."""
    known = _registry()
    if name not in known:
        raise ValueError(f"no op is called {name!r}; there are {', '.join(known)}")
    return known[name]


@functools.cache
def _registry():
    return registry()


@functools.cache
def _runs(name):
    """{(module, function)} of all that runs when the op is called on its cases, forward and backward."""
    op, cases = _entry(name)
    ran, before = set(), sys.getprofile()

    def watch(frame, event, _):
        if event == "call":
            ran.add((frame.f_globals.get("__name__"), frame.f_code.co_name))

    for case in cases(np.random.default_rng(0)):
        params = initialise(op, np.random.default_rng(0), case.sizes) if case.params is None else case.params
        sys.setprofile(watch)
        try:
            out, cache = op.forward(params, *case.inputs, **case.options)
            op.backward(tree.map(lambda x: np.ones_like(x) if x.dtype.kind == "f" else None, out), cache)
        finally:
            sys.setprofile(before)
    return ran


DOT, ADDITIVE, HEADS = "attention.dot", "attention.additive", "attention.multihead"
SOFTMAX, NORM, LOSS, TABLE = "functions.softmax", "functions.norm", "functions.loss", "functions.embedding"
DROPOUT, ACTIVATION, LINEAR, PLACES = "functions.dropout", "functions.activation", "functions.linear", "positions"
CONV, CONV_PLACES = "functions.convolution", "_places(padded.shape[1:3], W.shape[:2], stride)"
RNN, LSTM, GRU, UNROLL = "recurrent.rnn", "recurrent.lstm", "recurrent.gru", "recurrent.unroll"
BOTH, LAYERS, BLOCK, MODEL = "recurrent.bidirectional", "recurrent.layers", "models.block", "models.language_model"

# lines that several rows edit
SCALE = "    dscores = dscores / math.sqrt(query.shape[-1])\n"
WEIGHTS = "weights = softmax(add(scores, bias), mask) "
DSCORES = "dscores = softmax_backward(dweights, weights)"
DKEY = "dkey = unbroadcast(dscores.mT @ query, key)"
DQUERY = "dquery = unbroadcast(dscores @ key, query)"
ROW_DOT = "row_dot(dweights, weights)"
ROW = f"np.subtract(dweights, {ROW_DOT}, out=dscores)"
GAINED = "dnormalized = np.multiply(dout, gain, out=dx)\n        # normalized = (x - mean)"
RMS_GAINED = "dnormalized = dout * gain\n    # normalized = x * inverse_rms"
RMS_DX = "inverse_rms * (dnormalized - through_rms), dgain"
COUNT = "np.maximum(counted.sum(), 1).astype(total.dtype)\n    dsummed"
DSURPRISE = "exponentials, dsurprise[..., None] / total"
AT_TARGETS = "-= dsurprise * certainty"
ADD_AT = "_add_at(dtable, ids, dout)"
TURN_BACK = "_turn(dout, _rotation(x, offset, base), style, -1)"
PROJECT = "np.swapaxes(projected.reshape(*x.shape[:-1], H, D), -3, -2)"
PROJECT_BACK = "np.swapaxes(dheads, -3, -2).reshape(*x.shape[:-1], H * D)"
BACK_OUT = 'linear_backward(dout, joined, _flat(params["W_out"]), params.get("b_out"))'
LSTM_GATES, LSTM_OTHERS = "zip(total, (i, f, g, o)", "others = g, cell, i, shown"
LSTM_OWN, NO_SLOPE = "own = _of_sigmoid, _of_sigmoid, _of_tanh, _of_sigmoid", "(lambda gate, room: 1)"
LSTM_STATE = "State(out @ W_hidden_T, dcell)"
LSTM_SHOWN, LSTM_SHOWN_SLOPE = "dnew = dnew + dhidden * slope.hidden", "hidden = tanh_backward(o, shown)"
LSTM_HIDDEN = "hidden_rows(unrolled.steps).mT @ dprojected"
LSTM_BACK = "dW = rows.mT @ dprojected"
LSTM_FIRST = "first = slice(0, len(dstate.hidden))"
FIRST_INPUT = "dW[:-1] = rows[first, :-1].mT @ dprojected[first]"
FIRST_BIAS = "dW[-1] = dprojected[first].sum(axis=0)"
FIRST_HIDDEN = {LSTM_HIDDEN: "hidden_rows(unrolled.steps[:1]).mT @ dprojected[: len(dstate.hidden)]"}
LSTM_OUTPUT = "slope.total[3], out=dtotal[3]"
LSTM_CELL = "return dnew * slope.cell"
GRU_NEW = "dn, dz, dhidden = dnew * (1 - z), dnew * (hidden - n), dnew * z"
RNN_TOTAL = "dtotal = np.multiply(dnew, 1 - new * new, out=out)"
RNN_STATE = "State(dtotal @ W_hidden.mT)"
MOVED_ON = "new = type(new)(*(np.where(real[t], *pair) for pair in zip(new, state, strict=True)))"
DNEW = "dnew = State(*(np.where(real[t], part, 0) for part in dstate))"
DBEFORE = "np.where(real[t], 0, part)"
TIED = 'tree.add(dparams["embed"], dW_out.mT)'

ZOO = [
    # attention: dot
    Bug("the scale is missing in backward", DOT, {SCALE: ""}, "dot", "batch",
        "The scores were divided by sqrt(D) in forward, so their gradient is in backward.",
        "dquery = dscores key / sqrt(D),   dkey = dscores^T query / sqrt(D)"),
    Bug("the scale is missing for the key in backward", DOT,
        {DKEY: "dkey = unbroadcast(dscores.mT @ query * math.sqrt(query.shape[-1]), key)"}, "dot", "batch",
        "The scale stands between the scores and both of their factors: the key's gradient has it too.",
        "dkey = dscores^T query / sqrt(D)"),
    Bug("the scale is taken twice in backward", DOT,
        {SCALE: "    dscores = dscores / query.shape[-1]\n"}, "dot", "batch",
        "Forward divides by sqrt(D), backward by D: the root was forgotten, or it stands in two places.",
        "dquery = dscores key / sqrt(D),   dkey = dscores^T query / sqrt(D)"),
    Bug("the scale is taken twice for the query in backward", DOT,
        {DQUERY: "dquery = unbroadcast(dscores @ key / math.sqrt(query.shape[-1]), query)"}, "dot", "batch",
        "The gradient was already divided by sqrt(D), and is divided once more.",
        "dquery = dscores key / sqrt(D)"),
    Bug("dscores is not transposed on its way to the key", DOT,
        {DKEY: "dkey = unbroadcast(dscores.reshape(weights.mT.shape) @ query, key)"}, "dot", "batch",
        "A reshape gives the shape of the transpose and other numbers in it: rows are cut, not turned.",
        "dkey = dscores^T query / sqrt(D)"),
    Bug("the softmax is passed over in backward", DOT, {DSCORES: "dscores = dweights"}, "dot", "batch",
        "Between the weights and the scores stands the softmax, and its Jacobian is not the identity.",
        "dscores = weights (dweights - sum_s dweights_s weights_s)"),
    Bug("softmax backward uses the weights after dropout", DOT,
        {DSCORES: "dscores = softmax_backward(dweights, dropped)"}, "dot", "heads, dropout",
        "The slope of the softmax is made of its own result, not of what dropout left of it.",
        "dscores = weights (dweights - sum_s dweights_s weights_s), weights before dropout"),
    Bug("dropout: dvalue uses the weights before dropout", DOT,
        {"dropped = dropout_backward(weights, kept)": "dropped = weights"}, "dot", "heads, dropout",
        "The values were summed with the weights that dropout left, so those carry the gradient back.",
        "dvalue = dropped^T dcontext,   dropped = weights keep"),
    Bug("dropout on the weights is passed over in backward", DOT,
        {"dweights = dropout_backward(ddropped, kept)": "dweights = ddropped"}, "dot", "heads, dropout",
        "A weight that was silenced hears nothing, and the others were scaled by 1 / (1 - p).",
        "dweights = ddropped keep"),
    Bug("multi-query dkey is not summed over the heads that share it", DOT,
        {DKEY: "dkey = dscores.mT @ query"}, "multihead", "one key head",
        "One key answers several heads, so its gradient is the sum of what all of them send back.",
        "dkey_g = sum over the heads h that share it of dscores_h^T query_h / sqrt(D)"),
    Bug("dvalue keeps the axes along which value was repeated", DOT,
        {"unbroadcast(dvalue, value)": "dvalue"}, "dot", "shared keys",
        "What forward repeats, backward sums: the gradient has the shape of the value.",
        "dvalue = sum over the repeated axes of dropped^T dcontext"),
    Bug("the gradient of a shared bias is not summed", DOT,
        {"dbias = unbroadcast(dscores, bias)": "dbias = None if bias is None else dscores"}, "dot", "shared bias",
        "One bias was added to many rows of scores, so its gradient is the sum over them.",
        "dbias = sum over the repeated axes of dscores"),
    Bug("the bias is scaled in backward", DOT,
        {"dbias = unbroadcast(dscores, bias)": "dbias = unbroadcast(dscores / math.sqrt(query.shape[-1]), bias)"},
        "dot", "bias",
        "The bias is added after the scores were divided by sqrt(D): its gradient is not divided.",
        "dbias = dscores"),
    Bug("a + b + bias if bias is not none else 0", DOT,
        {"add(scores, bias)": "(scores + bias if bias is not None else 0 * scores)"}, "dot", "batch",
        "The condition takes in the whole sum, so without a bias the scores are gone, not the bias alone.",
        "scores + (bias if bias is not None else 0)"),
    Bug("query and key swapped in both passes", DOT,
        {"scores = query @ key.mT / math": "scores = key @ query.mT / math", DKEY: "dkey = dscores @ query",
         DQUERY: "dquery = dscores.mT @ key"}, "dot", "causal",
        "Rows of the scores are queries: each of them spreads its weight over the keys, not the other way round.",
        "scores_ts = query_t . key_s / sqrt(D), and rows over s sum to 1", "naive"),
    Bug("scaled by D, not by its root, in both passes", DOT,
        {"math.sqrt(query.shape[-1])": "query.shape[-1]"}, "dot", "batch",
        "A sum of D products of independent numbers has variance D, so its size is sqrt(D).",
        "scores = query key^T / sqrt(D)", "naive"),
    Bug("the scale is missing in both passes", DOT,
        {"query @ key.mT / math.sqrt(query.shape[-1])": "query @ key.mT", SCALE: ""}, "dot", "batch",
        "Without the scale the scores grow with D, the softmax saturates, and its gradients vanish.",
        "scores = query key^T / sqrt(D)", "naive"),
    Bug("softmax over the queries in both passes", DOT,
        {WEIGHTS: "weights = softmax(add(scores, bias).mT, None if mask is None else mask.mT).mT ",
         DSCORES: "dscores = softmax_backward(dweights.mT, weights.mT).mT"}, "dot", "batch",
        "Each query shares out one whole among the keys, so the softmax runs along the axis of the keys, the last.",
        "sum_s weights_ts = 1 for every query t", "rows_sum_to_one"),
    Bug("the weights are masked after the softmax", DOT,
        {WEIGHTS: "weights = softmax(add(scores, bias)) * (True if mask is None else mask) "}, "dot", "dead rows",
        "What is hidden has then taken its share of the sum, and the rest no longer sums to 1.",
        "weights = softmax(scores where the mask allows, -inf elsewhere)", "rows_sum_to_one"),
    Bug("masked scores are set to 0, not to -inf", SOFTMAX,
        {"np.where(mask, scores, -np.inf)": "np.where(mask, scores, 0)"}, "dot", "dead rows",
        "exp(0) is 1, so a score of 0 is a share like any other: only exp(-inf) is 0.",
        "weights_s = 0 where the mask hides s", "naive"),
    Bug("the mask hides what may be seen", SOFTMAX,
        {"np.where(mask, scores, -np.inf)": "np.where(mask, -np.inf, scores)"}, "dot", "dead rows",
        "True means may look here and in F.scaled_dot_product_attention, but hidden in nn.MultiheadAttention.",
        "weights_s = 0 where mask_s is False", "naive"),
    Bug("causal mask inverted", DOT,
        {"masks.array(mask, shape, like=query)": "masks.array(mask, shape, like=query).mT"}, "dot", "causal",
        "The upper triangle is the future: a query t may look at the keys s <= t, the lower triangle.",
        "may look: s <= t", "future"),
    Bug("fully masked row is nan", SOFTMAX,
        {"weights /= np.where(total == 0, 1, total)": "weights /= total"}, "dot", "dead rows",
        "A row with nothing to look at has a sum of 0, and 0 / 0 is NaN.",
        "weights = 0 in a row without anything to look at", "naive"),
    Bug("padding that holds nan is multiplied by weight 0", DOT,
        {"masks.keep(seen, key), masks.keep(seen, value)": "key, value"}, "dot", "NaN in the padding",
        "0 times NaN is NaN: what nobody may see has to be cleared before the products, not weighed with 0.",
        "value = 0 where nobody may look", "padding_is_nothing"),
    Bug("backward uses what the last call left", DOT,
        {"import math\n": "import math\nLAST = []\n", "kept = cache\n": "kept = LAST[-1]\n",
         "    return context, Cache(query, key, value, bias, weights, kept)\n":
         "    LAST.append(Cache(query, key, value, bias, weights, kept))\n    return context, None\n"}, "dot", "batch",
        "What was remembered belongs to the last call, not to this one: used twice, the first call is lost.",
        "forward returns the cache, backward is given it", "twice"),
    # softmax
    Bug("softmax backward divides by the batch size", SOFTMAX,
        {"dscores *= weights": "dscores *= weights / len(weights)"}, "softmax", "plain",
        "The mean over the batch belongs to the loss: a softmax knows no batch.",
        "dscores = weights (dweights - sum_s dweights_s weights_s)"),
    Bug("only the diagonal of the softmax jacobian", SOFTMAX,
        {ROW: "np.multiply(1 - weights, dweights, out=dscores)"}, "softmax", "plain",
        "Every score moves every weight of its row, by way of the sum: the Jacobian is a full matrix.",
        "dweights_i / dscores_j = weights_i ([i = j] - weights_j)"),
    Bug("softmax backward forgets the sum over the row", SOFTMAX, {ROW: "dscores[...] = dweights"}, "softmax", "plain",
        "Where one weight grows the others shrink: what the row sends back on average is taken off.",
        "dscores = weights (dweights - sum_s dweights_s weights_s)"),
    Bug("softmax backward sums over the wrong axis", SOFTMAX,
        {ROW: ROW.replace(ROW_DOT, "(dweights * weights).sum(axis=-2, keepdims=True)")}, "softmax", "plain",
        "The softmax ran along the last axis, so its sum does in backward too.",
        "dscores_ts = weights_ts (dweights_ts - sum over s of dweights_ts weights_ts)"),
    Bug("softmax backward takes a mean over the row", SOFTMAX,
        {ROW: ROW.replace(ROW_DOT, "(dweights * weights).mean(axis=-1, keepdims=True)")}, "softmax", "plain",
        "The weights are the average already: they sum to 1, and no second division is due.",
        "dscores = weights (dweights - sum_s dweights_s weights_s)"),
    # attention: additive
    Bug("additive: tanh's slope at its input", ADDITIVE,
        {"slope = hidden * hidden": "slope = (asked[..., :, None, :] + key[..., None, :, :]) ** 2"},
        "additive", "batch",
        "1 - y^2 is the slope of tanh where y is its result: given its input it is another number.",
        "dsum = dhidden (1 - hidden^2),   hidden = tanh(sum)"),
    Bug("additive: the vector v is left out in backward", ADDITIVE,
        {'_outer(dscores.reshape(-1), params["v"])': '_outer(dscores.reshape(-1), np.ones_like(params["v"]))'},
        "additive", "batch",
        "v weighs the hidden features into one score, so it weighs what goes back to each of them.",
        "dhidden_a = dscores v_a"),
    Bug("additive: dkey hears the first query alone", ADDITIVE,
        {"unbroadcast(dsum, key[..., None, :, :])[..., 0, :, :]": "dsum[..., 0, :, :]"}, "additive", "batch",
        "Every query was compared with the key, so the key's gradient is the sum over the queries.",
        "dkey_s = sum_t dsum_ts"),
    Bug("additive: dquery is averaged over the keys", ADDITIVE,
        {"(np.ones_like(dscores)[..., None, :] @ dsum)[..., 0, :]": "dsum.mean(axis=-2)"}, "additive", "batch",
        "The query was repeated for every key: what forward repeats, backward sums.",
        "dasked_t = sum_s dsum_ts"),
    Bug("additive: tanh is missing in both passes", ADDITIVE,
        {"    hidden = np.tanh(hidden, out=hidden)  ": "  ",
         "dsum = np.multiply(dhidden, slope, out=dhidden)": "dsum = dhidden"}, "additive", "batch",
        "Without tanh the query adds the same to all scores of its row, and the softmax takes that off again.",
        "score = v . tanh(W_query query + W_key key + b)", "naive"),
    Bug("additive: forward forgets the bias that attend knows", ADDITIVE,
        {"memory, bias, mask=mask)": "memory, None, mask=mask)"}, "additive", "bias",
        "The bias was taken in at the door and not handed on.",
        "context = attend(query, memory, bias)", "halves_compose"),
    # attention: multihead
    Bug("heads are reshaped without a transpose in both passes", HEADS,
        {PROJECT: "projected.reshape(*x.shape[:-2], H, x.shape[-2], D)",
         PROJECT_BACK: "dheads.reshape(*x.shape[:-1], H * D)"}, "multihead", "cross",
        "(T, H D) holds the heads of one step beside each other: (T, H, D) first, then the axes change places.",
        "(T, H D) -> reshape (T, H, D) -> swap -> (H, T, D)", "naive"),
    Bug("heads are joined without a transpose in both passes", HEADS,
        {"joined = np.swapaxes(join_heads(context), -3, -2) ":
         "joined = join_heads(context)\n"
         "    joined = joined.reshape(*joined.shape[:-3], query.shape[-2], -1, joined.shape[-1]) ",
         "np.swapaxes(djoined.reshape(*djoined.shape[:-1], H, E), -3, -2)":
         "djoined.reshape(*djoined.shape[:-2], H, -1, E)"}, "multihead", "cross",
        "Each step takes its piece from every head: the axis of heads goes behind that of steps before they join.",
        "(H, T, E) -> swap -> (T, H, E) -> reshape (T, H E)", "naive"),
    Bug("dheads are reshaped without a transpose in backward", HEADS,
        {PROJECT_BACK: "dheads.reshape(*x.shape[:-1], H * D)"}, "multihead", "no batch",
        "Forward reshaped and swapped the axes; backward undoes both, the last one first.",
        "(H, T, D) -> swap -> (T, H, D) -> reshape (T, H D)"),
    Bug("dcontext is cut into heads without a transpose in backward", HEADS,
        {"np.swapaxes(djoined.reshape(*djoined.shape[:-1], H, E), -3, -2)":
         "djoined.reshape(*djoined.shape[:-2], H, -1, E)"}, "multihead", "no batch",
        "Forward swapped the axes and reshaped; backward undoes both, the last one first.",
        "(T, H E) -> reshape (T, H, E) -> swap -> (H, T, E)"),
    Bug("the scale is the root of the model width in backward alone", HEADS,
        {"    dhead_query = join_heads(dgrouped)\n":
         "    too_small = math.sqrt(dgrouped.shape[-1] / query.shape[-1])\n"
         "    dmemory = (dmemory[0] * too_small, *dmemory[1:])\n"
         "    dhead_query = join_heads(dgrouped) * too_small\n"}, "multihead", "no batch",
        "Each head compares D features, not M, and backward divides by the same root as forward.",
        "dquery_h = dscores_h key_h / sqrt(D),   dkey_h = dscores_h^T query_h / sqrt(D),   D = M / H"),
    Bug("scale by the root of the model width, not of the head width", HEADS,
        {"grouped = split_heads(head_query, G) ":
         "head_query = head_query * math.sqrt(head_query.shape[-1] / query.shape[-1])\n"
         "    grouped = split_heads(head_query, G) ",
         "dhead_query = join_heads(dgrouped)":
         "dhead_query = join_heads(dgrouped) * math.sqrt(dgrouped.shape[-1] / query.shape[-1])"}, "multihead", "cross",
        "Each head compares D features, not M: with one head they are the same, with more the scores are too small.",
        "scores_h = query_h key_h^T / sqrt(D),   D = M / H", "naive"),
    Bug("what was broadcast is averaged, not summed, in backward", "functions.broadcast",
        {"gradient.sum(axis=repeated, keepdims=True)": "gradient.mean(axis=repeated, keepdims=True)"},
        "multihead", "grouped queries",
        "All that share an array, heads a key or rows a bias, move it by their whole gradient, not by a part of it.",
        "dshared = sum over all that share it"),
    Bug("grouped queries are dealt out in turn in both passes", "functions.broadcast",
        {"term.reshape(*term.shape[:-3], G, term.shape[-3] // G, *term.shape[-2:])":
         "term.reshape(*term.shape[:-3], term.shape[-3] // G, G, *term.shape[-2:]).swapaxes(-4, -3)",
         "return term.reshape(*term.shape[:-4],":
         "term = term.swapaxes(-4, -3)\n    return term.reshape(*term.shape[:-4],"},
        "multihead", "grouped queries",
        "Neighbours share a key head: repeat each key (k1 k1 k2 k2), do not tile the row of keys (k1 k2 k1 k2).",
        "head h asks the key head floor(h / (H / G))", "naive"),
    Bug("W_query and W_key swapped in both passes", HEADS,
        {'_project(params, "key", key)': '_project(params, "query", key)',
         '_project(params, "query", query)': '_project(params, "key", query)',
         '_project_backward(dhead_key, params, "key", key)': '_project_backward(dhead_key, params, "query", key)',
         '_project_backward(dhead_query, params, "query", query)':
         '_project_backward(dhead_query, params, "key", query)'}, "multihead", "cross",
        "The two matrices often have one shape, and training never notices: loaded weights then mean nothing.",
        "query_h = query W_query_h,   key_g = key W_key_g", "naive"),
    Bug("b_out's gradient is averaged over the steps", HEADS,
        {'{"b_out": db_out}': '{"b_out": db_out / joined.shape[-2]}'}, "multihead", "no batch",
        "The bias is added at every step of every sequence: its gradient is the sum over all of them.",
        "db_out = sum over sequences and steps of dout"),
    Bug("W_out is reshaped, not transposed, in backward", HEADS,
        {BACK_OUT: BACK_OUT.replace('_flat(params["W_out"])', 'params["W_out"].reshape(M, -1).mT')},
        "multihead", "no batch",
        "W_out is (H E, M), so what goes back passes its transpose: a reshape to (M, H E) mixes its numbers.",
        "djoined = dout W_out^T"),
    Bug("W_out's gradient is cut into heads the wrong way", HEADS,
        {"dW_out.reshape(H, E, M)": "dW_out.reshape(E, H, M).swapaxes(0, 1)"}, "multihead", "no batch",
        "The joined features are head after head, E numbers each: the outer of the two axes is that of heads.",
        "dW_out (H E, M) -> reshape (H, E, M)"),
    Bug("the biases of the heads have no gradient", HEADS,
        {'{f"b_{name}": db.reshape(b.shape)}': '{f"b_{name}": np.zeros_like(b)}'}, "multihead", "no batch",
        "A bias is a parameter like any other: what arrives at the projection is summed into it.",
        "db_value = sum over sequences and steps of dvalue_h"),
    Bug("rotary: the key is not turned back", HEADS,
        {"turn_backward(dhead_key, dhead_key, offset, rotary) if rotary else dhead_key": "dhead_key"},
        "multihead", "rotary",
        "The key was turned before it was compared, so its gradient is turned back before it meets W_key.",
        "dkey = turn(dturned, -angle)"),
    Bug("rotary: the queries' offset is forgotten in both passes", HEADS,
        {"turn(head_query, offset, rotary)": "turn(head_query, 0, rotary)",
         "turn_backward(dhead_query, dhead_query, offset, rotary)":
         "turn_backward(dhead_query, dhead_query, 0, rotary)"}, "multihead", "rotary",
        "With earlier keys kept, the first query stands at their end, not at place 0.",
        "query_t is turned by (t + offset) theta", "naive"),
    # positions
    Bug("rotary backward turns the wrong way", PLACES,
        {TURN_BACK: "_turn(dout, _rotation(x, offset, base), style, 1)"}, "rotary", "interleaved",
        "The transpose of a rotation is the rotation back: the sign of the sine changes.",
        "dx1 = dy1 cos a + dy2 sin a,   dx2 = dy2 cos a - dy1 sin a"),
    Bug("rotary backward forgets the offset", PLACES,
        {TURN_BACK: "_turn(dout, _rotation(x, 0, base), style, -1)"}, "rotary", "interleaved",
        "What was turned by (t + offset) theta is turned back by as much.",
        "dx_t = turn(dy_t, -(t + offset) theta)"),
    Bug("rotary backward pairs halves where forward pairs neighbours", PLACES,
        {TURN_BACK: '_turn(dout, _rotation(x, offset, base), "half", -1)'}, "rotary", "interleaved",
        "Two conventions exist, pairs (2i, 2i + 1) and (i, i + D/2): both passes and the weights need the same.",
        "pair i is (2 i, 2 i + 1) throughout, or (i, i + D / 2) throughout"),
    Bug("rotary: pairs of neighbours are put back as halves", PLACES,
        {"np.stack(turned, axis=-1).reshape(x.shape)": "np.concatenate(turned, axis=-1)"}, "rotary", "interleaved",
        "What was taken apart as (0, 2, 4 ..) and (1, 3, 5 ..) is woven together again, not set end to end.",
        "out_2i = y1_i,   out_2i+1 = y2_i"),
    Bug("rotary: the angles fall too slowly in both passes", PLACES,
        {"base ** (2 * np.arange(pairs) / D)": "base ** (np.arange(pairs) / D)"}, "rotary", "interleaved",
        "i counts pairs, of which there are D / 2: the exponent runs over the whole of 0 .. 1 by 2 i / D.",
        "theta_i = base^(-2 i / D)", "output"),
    Bug("learned positions: backward forgets the offset", PLACES,
        {"dtable[offset : offset + T] = dout": "dtable[:T] = dout"}, "learned", "offset",
        "The rows that were read are those from the offset on, and only they have a gradient.",
        "dtable[offset + t] = dout_t"),
    Bug("alibi rewards distance", PLACES,
        {"return (-alibi_slopes(H)": "return (alibi_slopes(H)"}, "language_model", "alibi",
        "The term is a penalty: what is far away loses.",
        "bias_hts = -slope_h |t - s|", "output"),
    # dropout, linear, activations
    Bug("dropout backward forgets what was silenced", DROPOUT,
        {"return dout if keep is None else dout * keep": "return dout"}, "dropout", "training",
        "A number that was silenced had no say in the result, so it gets no gradient.",
        "dx = dout keep,   keep = 0 or 1 / (1 - p)"),
    Bug("dropout backward forgets the scale", DROPOUT,
        {"dout * keep": "dout * (keep > 0)"}, "dropout", "training",
        "What stayed was scaled by 1 / (1 - p), so its gradient is too.",
        "dx = dout keep,   keep = 0 or 1 / (1 - p)"),
    Bug("dropout backward draws a new mask", DROPOUT,
        {"dout * keep": "dout * np.random.default_rng(0).permutation(keep.reshape(-1)).reshape(keep.shape)"},
        "dropout", "training",
        "Backward needs the very mask of forward: it is kept, not drawn again.",
        "dx = dout keep, the keep that forward drew"),
    Bug("dropout does not scale what stays, in both passes", DROPOUT,
        {"(rng.random(x.shape) >= p) / (1 - p)": "(rng.random(x.shape) >= p)"}, "dropout", "training",
        "With a share p gone the sum shrinks: the rest is scaled up so that evaluation needs no change.",
        "out = x keep,   keep = 0 or 1 / (1 - p)", "output"),
    Bug("dropout takes p for the share that stays, in both passes", DROPOUT,
        {"(rng.random(x.shape) >= p) / (1 - p)": "(rng.random(x.shape) < p) / p"}, "dropout", "training",
        "p is the share that is silenced; some frameworks of old meant the share that is kept.",
        "keep = 0 with probability p, else 1 / (1 - p)", "output"),
    Bug("linear: the bias's gradient is averaged", LINEAR,
        {"column_sum(drows)": "drows.mean(axis=0)"}, "additive", "batch",
        "The bias is added to every row: its gradient is the sum of the rows. A mean belongs to the loss alone.",
        "db = sum over rows of dout"),
    Bug("tanh's slope is 1 - out", ACTIVATION,
        {"dout * (1 - out * out)": "dout * (1 - out)"}, "tanh", "plain",
        "The result enters squared: tanh falls off alike on both sides.",
        "d tanh(x) / dx = 1 - tanh(x)^2"),
    Bug("sigmoid's slope is 1 - out", ACTIVATION,
        {"dout * out * (1 - out)": "dout * (1 - out)"}, "sigmoid", "plain",
        "The slope is small at both ends: one factor for each.",
        "d s(x) / dx = s(x) (1 - s(x))"),
    Bug("relu backward multiplies by the output", ACTIVATION,
        {"np.where(out.real <= 0, 0, dout)": "np.where(out.real <= 0, 0, dout * out)"}, "relu", "plain",
        "Where relu is open it hands on the gradient as it is: the slope is 1, not x.",
        "dx = dout where x > 0, else 0"),
    Bug("gelu: the slope of the normal distribution is forgotten", ACTIVATION,
        {"dout * (normal(x) + x * density)": "dout * normal(x)"}, "gelu", "plain",
        "x Phi(x) is a product: both of its factors move with x.",
        "d gelu(x) / dx = Phi(x) + x phi(x)"),
    Bug("silu: the slope of the gate is taken alone", ACTIVATION,
        {"dout * (s + x * s * (1 - s))": "dout * (s * (1 - s))"}, "silu", "plain",
        "x s(x) is a product: both of its factors move with x.",
        "d silu(x) / dx = s + x s (1 - s)"),
    # layer norm, rms norm
    Bug("layer norm backward pulls the gain outside the sums", NORM,
        {GAINED: GAINED.replace("gain,", "1,"), "dx *= inverse_std": "dx *= gain * inverse_std"},
        "layer_norm", "gain and bias",
        "The means run over the features, and each has a gain of its own: only one gain for all may stand outside.",
        "dx = (g dout - mean(g dout) - normalized mean(g dout normalized)) / std"),
    Bug("layer norm: the gain is forgotten on the way to x", NORM,
        {GAINED: GAINED.replace("gain,", "1,")}, "layer_norm", "gain and bias",
        "The output is gain * normalized, so normalized hears the gradient times the gain.",
        "dnormalized = dout gain"),
    Bug("layer norm: the term of the mean is missing", NORM,
        {"        dx -= through_mean\n": ""}, "layer_norm", "gain and bias",
        "Every x moves the mean that is taken off all of them: the gradient of a row sums to 0.",
        "dx = (dn - mean(dn) - normalized mean(dn normalized)) / std,   dn = g dout"),
    Bug("layer norm: the term of the variance is missing", NORM,
        {"        dx -= through_std\n": ""}, "layer_norm", "gain and bias",
        "Every x moves the variance that all of them are divided by: it is no constant.",
        "dx = (dn - mean(dn) - normalized mean(dn normalized)) / std,   dn = g dout"),
    Bug("layer norm: backward does not divide by the deviation", NORM,
        {"dx *= inverse_std": "pass"}, "layer_norm", "gain and bias",
        "Forward divides by the standard deviation, so backward does.",
        "dx = (dn - mean(dn) - normalized mean(dn normalized)) / std,   dn = g dout"),
    Bug("layer norm: backward takes sums for means", NORM,
        {"through_mean = row_sum(dnormalized) / M": "through_mean = row_sum(dnormalized)",
         "row_dot(dnormalized, normalized) / M": "row_dot(dnormalized, normalized)"}, "layer_norm", "gain and bias",
        "One x moves the mean of M numbers by 1 / M of its step.",
        "dx = (dn - mean(dn) - normalized mean(dn normalized)) / std,   dn = g dout"),
    Bug("layer norm: the variance divides by M - 1 in forward alone", NORM,
        {"variance = row_dot(centered, centered) / M ": "variance = row_dot(centered, centered) / (M - 1) "},
        "layer_norm", "gain and bias",
        "Backward is that of a mean over M; torch.std divides by M - 1 unless it is told otherwise.",
        "var = sum (x - mean)^2 / M"),
    Bug("layer norm: the variance divides by M - 1 in both passes", NORM,
        {"variance = row_dot(centered, centered) / M ": "variance = row_dot(centered, centered) / (M - 1) ",
         "row_dot(dnormalized, normalized) / M": "row_dot(dnormalized, normalized) / (M - 1)"},
        "layer_norm", "gain and bias",
        "A norm estimates nothing: it divides by M, and trained weights expect that.",
        "var = sum (x - mean)^2 / M", "output"),
    Bug("layer norm: eps stands outside the root", NORM,
        {"1 / np.sqrt(variance + eps)": "1 / (np.sqrt(variance) + eps)"}, "layer_norm", "no bias",
        "Inside the root it keeps the slope finite where all x are equal; outside, backward is another one too.",
        "normalized = (x - mean) / sqrt(var + eps)"),
    Bug("layer norm: the gain's gradient is that of the bias", NORM,
        {'dgain = np.einsum("rm,rm->m", dout.reshape(-1, M), normalized.reshape(-1, M))':
         "dgain = unbroadcast(dout, gain)"}, "layer_norm", "gain and bias",
        "The gain multiplies normalized, so normalized is its slope.",
        "dgain = sum over rows of dout normalized"),
    Bug("layer norm over the sequences of a batch in both passes", NORM,
        {"centered = np.subtract(x, row_sum(x) / M,": "centered = np.subtract(x, x.mean(axis=0, keepdims=True),",
         "variance = row_dot(centered, centered) / M ":
         "variance = (centered * centered).mean(axis=0, keepdims=True) ",
         "widths=(M, M, 1)": "widths=(M, M, M)",
         "through_mean = row_sum(dnormalized) / M": "through_mean = dnormalized.mean(axis=0, keepdims=True)",
         "row_dot(dnormalized, normalized) / M": "(dnormalized * normalized).mean(axis=0, keepdims=True)"},
        "layer_norm", "gain and bias",
        "That is batch norm: layer norm looks at the features of one step, and no other sequence matters to it.",
        "mean and var over the last axis", "output"),
    Bug("rms norm backward pulls the gain outside the mean", NORM,
        {RMS_GAINED: RMS_GAINED.replace("dout * gain", "dout"), RMS_DX: f"gain * {RMS_DX}"}, "rms_norm", "gain",
        "The mean runs over the features, and each has a gain of its own: only one gain for all may stand outside.",
        "dx = (g dout - normalized mean(g dout normalized)) / rms"),
    Bug("rms norm: the rms is taken for a constant", NORM,
        {RMS_DX: RMS_DX.replace(" - through_rms", "")}, "rms_norm", "gain",
        "Every x moves the root mean square that all of them are divided by.",
        "dx = (g dout - normalized mean(g dout normalized)) / rms"),
    Bug("rms norm: backward takes a mean off, as layer norm does", NORM,
        {RMS_DX: RMS_DX.replace("through_rms", "dnormalized.mean(axis=-1, keepdims=True) - through_rms")},
        "rms_norm", "gain",
        "rms norm takes no mean off in forward, so backward has none to answer for.",
        "dx = (g dout - normalized mean(g dout normalized)) / rms"),
    Bug("rms norm: the gain's gradient leaves out normalized", NORM,
        {"# out = gain * normalized\n    dgain = unbroadcast(dout * normalized, gain)":
         "# out = gain * normalized\n    dgain = unbroadcast(dout, gain)"}, "rms_norm", "gain",
        "The gain multiplies normalized, so normalized is its slope.",
        "dgain = sum over rows of dout normalized"),
    Bug("rms norm: the sum of squares is not divided by M, in both passes", NORM,
        {"row_dot(x, x) / x.shape[-1]": "row_dot(x, x)",
         "through_rms = normalized * (row_dot(dnormalized, normalized) / gain.shape[-1])":
         "through_rms = normalized * row_dot(dnormalized, normalized)"}, "rms_norm", "gain",
        "Rows are brought to a root mean square of 1, not to length 1, which would shrink with M.",
        "normalized = x / sqrt(mean(x^2) + eps)", "output"),
    # cross-entropy, mean squared error
    Bug("cross-entropy: not divided by the count", LOSS,
        {"0 if dmean is None else dmean / count": "0 if dmean is None else dmean"}, "cross_entropy", "plain",
        "The mean divides the sum by the number of targets, so each of them hears 1 / count.",
        "dlogits = (softmax(logits) - desired) / count"),
    Bug("cross-entropy: divided by the batch size, not by the tokens", LOSS,
        {COUNT: "len(exponentials)\n    dsummed"},
        "cross_entropy", "plain",
        "The mean runs over all targets, every step of every sequence.",
        "dlogits = (softmax(logits) - desired) / count,   count = targets counted"),
    Bug("cross-entropy: ignored tokens are counted in the mean", LOSS,
        {COUNT: "max(counted.size, 1)\n    dsummed"},
        "cross_entropy", "NaN where ignored",
        "What is ignored is not in the mean, so it is not in the number that the mean divides by.",
        "count = number of targets that are not ignored"),
    Bug("cross-entropy: ignored tokens receive a gradient", LOSS,
        {DSURPRISE: "exponentials, dsummed / total"}, "cross_entropy", "NaN where ignored",
        "Softmax - desired is not 0 where desired is empty: ignored rows are set to 0.",
        "dlogits = 0 where the target is ignored"),
    Bug("cross-entropy: the targets are not taken off", LOSS,
        {AT_TARGETS: "-= 0"}, "cross_entropy", "plain",
        "The gradient is predicted minus desired: it vanishes where the model is right.",
        "dlogits = (softmax(logits) - desired) / count"),
    Bug("cross-entropy: the gradient has the other sign", LOSS,
        {"return dlogits\n": "return -dlogits\n"}, "cross_entropy", "plain",
        "The loss is minus the log probability: descent raises the logit of the target, whose gradient is negative.",
        "dlogits = (softmax(logits) - desired) / count"),
    Bug("cross-entropy: backward forgets the label smoothing", LOSS,
        {"if elsewhere:": "if False:", AT_TARGETS: "-= dsurprise"},
        "cross_entropy", "smoothed",
        "With smoothing, desired is 1 - e at the target and e / V everywhere, in backward too.",
        "dlogits = (softmax(logits) - desired) / count,   desired = (1 - e) one_hot + e / V"),
    Bug("cross-entropy: the softmax is taken twice", LOSS,
        {"_exponentials(logits) ": "_exponentials(np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)) "},
        "cross_entropy", "plain",
        "The loss wants logits, not probabilities: after a softmax another one flattens all of them.",
        "loss = -log softmax(logits)_target"),
    Bug("cross-entropy: the gradient of the sum is forgotten", LOSS,
        {"+ (0 if dsum is None else dsum)\n    # summed =": "\n    # summed ="}, "cross_entropy", "plain",
        "The loss tells its mean and its sum: a gradient may come by both.",
        "dlogits = (dmean / count + dsum) (softmax(logits) - desired)"),
    Bug("mean squared error: the factor 2 is forgotten", LOSS,
        {"2 * dtotal * (predicted - desired)": "dtotal * (predicted - desired)"}, "mse", "plain",
        "The slope of a square is twice its root; only a loss with 1/2 in front has no 2.",
        "dpredicted = 2 (predicted - desired) / count"),
    Bug("mean squared error: both sides have the same sign", LOSS,
        {"return dpredicted, -dpredicted": "return dpredicted, dpredicted"}, "mse", "plain",
        "The difference grows with one side and shrinks with the other.",
        "ddesired = -dpredicted"),
    # embeddings, tied and not
    Bug("embedding: a row read twice is assigned, not added", TABLE,
        {ADD_AT: "dtable[ids] = dout"}, "embedding", "rows read twice",
        "A token that comes twice is moved by both: dtable[ids] += dout keeps the last one alone, too.",
        "dtable_v = sum of dout over all places where ids = v"),
    Bug("embedding: ids are off by one in backward", TABLE,
        {ADD_AT: "_add_at(dtable, ids - 1, dout)"}, "embedding", "rows read twice",
        "The gradient goes to the row that was read.",
        "dtable[ids] += dout"),
    Bug("embedding: token 0 is taken for padding in backward", TABLE,
        {ADD_AT: f"{ADD_AT}\n    dtable[0] = 0"}, "embedding", "rows read twice",
        "Token 0 was read like any other: a padding row has to be one that nothing else uses.",
        "dtable_0 = sum of dout over all places where ids = 0"),
    Bug("embedding: a row read twice is averaged", TABLE,
        {ADD_AT: ADD_AT + "\n    dtable /= np.maximum(np.bincount(ids.ravel(), minlength=len(dtable)), 1)[:, None]"},
        "embedding", "rows read twice",
        "Every reading moves the result by itself: gradients add up, however often.",
        "dtable_v = sum of dout over all places where ids = v"),
    Bug("tied embeddings: the output's gradient is dropped", MODEL,
        {TIED: 'dparams["embed"]'}, "language_model", "alibi",
        "The table is read twice, as embedding and as output matrix: both gradients add up.",
        "dembed = dembed by the input + (dW_out)^T"),
    Bug("tied embeddings: the input's gradient is overwritten", MODEL,
        {TIED: "dW_out.mT"}, "language_model", "alibi",
        "The table is read twice, as embedding and as output matrix: the second gradient is added, not put there.",
        "dembed = dembed by the input + (dW_out)^T"),
    Bug("learned positions: the gradient of the first sequence alone", MODEL,
        {"learned_backward(dx.sum(axis=0)": "learned_backward(dx[0]"}, "language_model", "own output, learned",
        "Every sequence of the batch was given the same places: their gradients add up.",
        "dpositions = sum over the batch of dx"),
    Bug("language model: the causal mask is forgotten in both passes", MODEL,
        {"masks.causal() if lengths is None": "None if lengths is None"}, "language_model", "alibi",
        "Without it every step sees the token it has to predict: the loss falls to 0 and nothing was learned.",
        "step t looks at steps s <= t", "output"),
    # blocks of a transformer
    Bug("query is key is value: one branch is dropped", BLOCK,
        {"return dquery + dkey + dvalue": "return dquery + dkey"}, "block", "norm first, causal",
        "In self-attention x is query, key and value: it hears all three.",
        "dx = dquery + dkey + dvalue"),
    Bug("cross-attention: the memory hears its keys alone", BLOCK,
        {'others["recall"] = dkey + dvalue': 'others["recall"] = dkey'}, "block", "memory",
        "The memory was given as keys and as values: it hears both.",
        "dmemory = dkey + dvalue"),
    Bug("the residual is dropped in backward", BLOCK,
        {"return dout + dx, dnorm": "return dx, dnorm"}, "block", "norm first, causal",
        "x goes around the function as well as through it: the way around hands the gradient on as it is.",
        "dx = dout + dx through the function"),
    Bug("norm last: the residual is dropped in backward", BLOCK,
        {"return dsum + function_backward": "return function_backward"}, "block", "norm last, relu",
        "The norm saw x + f(x): its gradient goes back both to f and straight to x.",
        "dx = dsum + dx through the function"),
    Bug("the activation's slope is taken at its output", BLOCK,
        {"(x, active, acted)": "(x, active, _activation(activation).forward({}, active)[1])"},
        "block", "norm first, causal",
        "Of relu, tanh and sigmoid the output tells the slope; of gelu and silu only the input does.",
        "dinside = dactive gelu'(inside)"),
    Bug("dropout on the residual part is passed over in backward", BLOCK,
        {"function_backward(dropout_backward(dout, kept), inner)": "function_backward(dout, inner)"},
        "block", "dropout",
        "What dropout silenced on the way out of the function hears nothing on the way back.",
        "dfunction = dout keep"),
    Bug("the residual is taken after the norm in both passes", BLOCK,
        {"return x + dropped, Part": "return normed + dropped, Part",
         "dnormed = function_backward(dropout_backward(dout, kept), inner)":
         "dnormed = dout + function_backward(dropout_backward(dout, kept), inner)",
         "return dout + dx, dnorm": "return dx, dnorm"}, "block", "norm first, causal",
        "With the norm first the way around is free of it: that is what keeps deep stacks trainable.",
        "out = x + f(norm(x))", "output"),
    Bug("embeddings are scaled by the root of M in forward alone", "models.transformer",
        {'dx * scale, params["embed_target"]': 'dx, params["embed_target"]'}, "transformer", "dropout",
        "The embedding was multiplied by sqrt(M), so its gradient is.",
        "dembed[target] += dx sqrt(M)"),
    Bug("attention pooling: x hears its values alone", "models.pooling",
        {"return (dkey + dvalue,)": "return (dvalue,)"}, "pooling", "plain",
        "The steps were given as keys and as values: they hear both.",
        "dx = dkey + dvalue"),
    Bug("seq2seq: the state does not hear the query", "models.seq2seq",
        {"        dstate = dstate._replace(hidden=dstate.hidden + dquery[:, 0])\n": ""}, "seq2seq-dot", "batch",
        "The decoder's state is also the question that attention asks: a gradient comes back by that way too.",
        "dhidden = dhidden by the cell + dquery"),
    Bug("seq2seq: the memory hears one step alone", "models.seq2seq",
        {"dmemory, dattention = tree.add(dmemory, dlooked)": "dmemory, dattention = dlooked"}, "seq2seq-dot", "batch",
        "Every step of the decoder asked the one memory: what they send back adds up.",
        "dmemory = sum_t dmemory by step t"),
    # rnn
    Bug("rnn: back-propagation is cut off after one step", RNN,
        {RNN_STATE: "State(0 * dtotal @ W_hidden.mT)"}, "rnn", "batch",
        "The state of every step depends on all earlier ones: the gradient runs back to the first.",
        "dhidden_t-1 = dtotal_t W_hidden^T"),
    Bug("rnn: W_hidden is not transposed in backward", RNN,
        {RNN_STATE: "State(dtotal @ W_hidden)"}, "rnn", "batch",
        "Forward takes hidden W, so backward takes the transpose: W is square, and no shape complains.",
        "dhidden_t-1 = dtotal_t W_hidden^T"),
    Bug("rnn: the slope of tanh is passed over", RNN,
        {RNN_TOTAL: "dtotal = np.multiply(dnew, 1, out=out)"}, "rnn", "batch",
        "The new state is tanh of a sum: the slope of tanh stands between them.",
        "dtotal = dhidden (1 - hidden^2)"),
    Bug("rnn: the slope of tanh is 1 - hidden", RNN,
        {RNN_TOTAL: "dtotal = np.multiply(dnew, 1 - new, out=out)"}, "rnn", "batch",
        "The slope of tanh is 1 less its square, not 1 less itself.",
        "dtotal = dhidden (1 - hidden^2)"),
    Bug("rnn: the slope of tanh is taken at the state before", RNN,
        {"W_hidden, _, new = cache": "W_hidden, new, _ = cache"}, "rnn", "given state",
        "1 - y^2 with the y that this step has made, not with the one that entered it.",
        "dtotal_t = dhidden_t (1 - hidden_t^2)"),
    Bug("rnn: W_input's gradient is assigned at each step, not added", RNN,
        {'"W_input": dW_input': '"W_input": inputs[:, 0].mT @ dprojected[:, 0]'}, "rnn", "batch",
        "Only the step that the loop came to last is left: += stands where the gradient of every step is added.",
        "dW_input = sum over steps of x_t^T dtotal_t"),
    Bug("rnn: the bias's gradient is averaged over the batch", RNN,
        {'**dweights, "b": db}': '**dweights, "b": db / len(inputs)}'}, "rnn", "batch",
        "The bias is added at every step of every sequence: its gradient is the sum over all of them.",
        "db = sum over sequences and steps of dtotal"),
    # convolution
    Bug("conv: dx is assigned window by window, not added", CONV,
        {CONV_PLACES: "reversed(list(_places(padded.shape[1:3], W.shape[:2], stride)))",
         "dpadded[place] += dout": "dpadded[place] = dout"}, "conv2d", "plain",
        "Windows overlap: a number that several of them have read hears from each, and = keeps the last alone.",
        "dx[t] = sum over the windows around t of dout W^T"),
    Bug("conv: dx is assigned place by place of the kernel, not added", CONV,
        {"dpadded[place] += dout": "dpadded[place] = dout"}, "conv2d", "plain",
        "Windows overlap: a number that several of them have read hears from each, and = keeps the last alone.",
        "dx[t] = sum over the windows around t of dout W^T"),
    Bug("conv: the kernel is flipped in backward", CONV,
        {"dpadded[place] += dout @ W[k].mT": "dpadded[place] += dout @ W[::-1, ::-1][k].mT"}, "conv2d", "plain",
        "As a convolution of dout the kernel would be turned round; as a sum over places it is not.",
        "dx[t + k] += dout[t] W[k]^T"),
    # lstm
    Bug("lstm: gates in another order in backward", LSTM,
        {LSTM_GATES: "zip(total, (f, i, g, o)", LSTM_OTHERS: "others = cell, g, i, shown"}, "lstm", "batch",
        "The columns of the weights hold the gates in one order, and both passes have to keep it.",
        "dtotal = [di, df, dg, do], as forward cuts it: i f g o"),
    Bug("lstm: gates in the order i f o g in both passes", LSTM,
        {"for k in (0, 1, 3, 2)": "for k in (0, 1, 2, 3)",
         LSTM_GATES: "zip(total, (i, f, o, g)", LSTM_OTHERS: "others = g, cell, shown, i",
         LSTM_OWN: "own = _of_sigmoid, _of_sigmoid, _of_sigmoid, _of_tanh",
         LSTM_OUTPUT: LSTM_OUTPUT.replace("3", "2")},
        "lstm", "batch",
        "Any order learns, but loaded weights mean one of them: PyTorch and Keras have i f g o, others differ.",
        "total = [i, f, g, o]", "naive"),
    Bug("lstm: the cell path is cut", LSTM, {LSTM_CELL: "return 0 * dnew"}, "lstm", "batch",
        "The cell reaches the next step times the forget gate: that is the way on which gradients last.",
        "dcell_t-1 = dcell_t f_t"),
    Bug("lstm: the cell's gradient passes the forget gate unchanged", LSTM,
        {LSTM_CELL: "return dnew"}, "lstm", "batch",
        "The old cell was multiplied by the forget gate, so its gradient is.",
        "dcell_t-1 = dcell_t f_t"),
    Bug("lstm: the forget gate hears nothing", LSTM,
        {LSTM_OTHERS: "others = g, 0 * cell, i, shown"}, "lstm", "given state",
        "The forget gate decides how much of the old cell stays: the old cell is its slope.",
        "df_t = dcell_t cell_t-1"),
    Bug("lstm: the forget gate's slope is the new cell", LSTM,
        {LSTM_OTHERS: "others = g, f * cell + i * g, i, shown"}, "lstm", "batch",
        "The forget gate multiplied the cell before the step, not the one after it.",
        "df_t = dcell_t cell_t-1"),
    Bug("lstm: input gate and candidate trade their gradients", LSTM,
        {LSTM_OTHERS: "others = i, cell, g, shown"}, "lstm", "batch",
        "In a product each factor's gradient holds the other factor.",
        "di = dcell g,   dg = dcell i"),
    Bug("lstm: the hidden path is cut", LSTM,
        {LSTM_STATE: "State(0 * dstate.hidden, dcell)"}, "lstm", "batch",
        "The gates of the next step read the hidden state: a gradient comes back by W_hidden.",
        "dhidden_t-1 = dtotal_t W_hidden^T"),
    Bug("lstm: back-propagation is cut off after one step", LSTM,
        {LSTM_STATE: "State(0 * dstate.hidden, 0 * dcell)"}, "lstm", "batch",
        "Hidden state and cell both come from the step before: the gradient runs back to the first step.",
        "dhidden_t-1 = dtotal_t W_hidden^T,   dcell_t-1 = dcell_t f_t"),
    Bug("lstm: the cell does not hear the next step", LSTM,
        {LSTM_SHOWN: LSTM_SHOWN.replace("dnew + ", "")}, "lstm", "batch",
        "The cell is used twice, shown now and kept for later: the two gradients add up.",
        "dcell_t = dcell_t by step t + 1 + dhidden_t o_t (1 - tanh(cell_t)^2)"),
    Bug("lstm: the cell does not hear what it shows", LSTM, {LSTM_SHOWN: "pass"}, "lstm", "batch",
        "The hidden state is made from the cell: its gradient goes on into the cell.",
        "dcell_t = dcell_t by step t + 1 + dhidden_t o_t (1 - tanh(cell_t)^2)"),
    Bug("lstm: the slope of tanh is taken at the cell", LSTM,
        {LSTM_SHOWN_SLOPE: "hidden = tanh_backward(o, f * cell + i * g)"}, "lstm", "batch",
        "1 - y^2 is the slope of tanh where y is its result: y is tanh(cell), not the cell.",
        "dcell = dhidden o (1 - tanh(cell)^2)"),
    Bug("lstm: the output gate's slope is the cell", LSTM,
        {LSTM_OTHERS: "others = g, cell, i, f * cell + i * g"}, "lstm", "batch",
        "The output gate multiplies tanh(cell), so that is its slope.",
        "do = dhidden tanh(cell)"),
    Bug("lstm: the slope of sigmoid is taken twice through it", LSTM,
        {LSTM_GATES: "zip(total, (i, 1 / (1 + np.exp(-f)), g, o)"}, "lstm", "given state",
        "s (1 - s) with s the gate itself: it has been through the sigmoid already.",
        "dtotal_f = df f (1 - f)"),
    Bug("lstm: output gate and candidate in another order in backward", LSTM,
        {LSTM_GATES: "zip(total, (i, f, o, g)", LSTM_OTHERS: "others = g, cell, shown, i",
         LSTM_OWN: "own = _of_sigmoid, _of_sigmoid, _of_sigmoid, _of_tanh",
         LSTM_OUTPUT: LSTM_OUTPUT.replace("3", "2")},
        "lstm", "batch",
        "The gates are joined in the order in which forward cut them apart: books differ between i f g o and i f o g.",
        "dtotal = [dtotal_i, dtotal_f, dtotal_g, dtotal_o]"),
    Bug("lstm: the slope of the input gate is forgotten", LSTM,
        {LSTM_OWN: f"own = {NO_SLOPE}, _of_sigmoid, _of_tanh, _of_sigmoid"}, "lstm", "batch",
        "A gate is a sigmoid of its sum: the slope of the sigmoid stands between them.", "dtotal_i = di i (1 - i)"),
    Bug("lstm: the slope of the forget gate is forgotten", LSTM,
        {LSTM_OWN: f"own = _of_sigmoid, {NO_SLOPE}, _of_tanh, _of_sigmoid"}, "lstm", "batch",
        "A gate is a sigmoid of its sum: the slope of the sigmoid stands between them.", "dtotal_f = df f (1 - f)"),
    Bug("lstm: the slope of the output gate is forgotten", LSTM,
        {LSTM_OWN: f"own = _of_sigmoid, _of_sigmoid, _of_tanh, {NO_SLOPE}"}, "lstm", "batch",
        "A gate is a sigmoid of its sum: the slope of the sigmoid stands between them.", "dtotal_o = do o (1 - o)"),
    Bug("lstm: the slope of the candidate is forgotten", LSTM,
        {LSTM_OWN: f"own = _of_sigmoid, _of_sigmoid, {NO_SLOPE}, _of_sigmoid"}, "lstm", "batch",
        "The candidate is a tanh of its sum: the slope of tanh stands between them.", "dtotal_g = dg (1 - g^2)"),
    Bug("lstm: the slopes of the gates are forgotten", LSTM,
        {LSTM_OWN: f"own = {NO_SLOPE}, {NO_SLOPE}, _of_tanh, {NO_SLOPE}"}, "lstm", "batch",
        "A gate is a sigmoid of its sum: the slope of the sigmoid stands between them.",
        "dtotal_i = di i (1 - i), and so for f and o"),
    Bug("lstm: the candidate has the slope of a sigmoid", LSTM,
        {LSTM_OWN: "own = _of_sigmoid, _of_sigmoid, _of_sigmoid, _of_sigmoid"}, "lstm", "batch",
        "The candidate is no gate: it went through tanh.",
        "dtotal_g = dg (1 - g^2)"),
    Bug("lstm: the bias's gradient is that of the last step alone", LSTM,
        {LSTM_BACK: f"{LSTM_BACK}; dW[-1] = dprojected[-len(dstate.hidden) :].sum(axis=0)"}, "lstm", "batch",
        "The same bias is added at every step: its gradient is the sum over time.",
        "db = sum over sequences and steps of dtotal"),
    Bug("lstm: W_input's gradient is assigned at each step, not added", LSTM,
        {LSTM_BACK: f"{LSTM_BACK}; {LSTM_FIRST}; {FIRST_INPUT}"}, "lstm", "batch",
        "Only the step that the loop came to last is left: += stands where the gradient of every step is added.",
        "dW_input = sum over steps of x_t^T dtotal_t"),
    Bug("lstm: the weights' gradients are assigned at each step, not added", LSTM,
        FIRST_HIDDEN | {LSTM_BACK: f"{LSTM_BACK}; {LSTM_FIRST}; {FIRST_INPUT}"}, "lstm", "batch",
        "Only the step that the loop came to last is left: += stands where the gradient of every step is added.",
        "dW = sum over steps of [x_t, hidden_t-1]^T dtotal_t"),
    Bug("lstm: all parameters' gradients are assigned at each step, not added", LSTM,
        FIRST_HIDDEN | {LSTM_BACK: f"{LSTM_BACK}; {LSTM_FIRST}; {FIRST_INPUT}; {FIRST_BIAS}"}, "lstm", "batch",
        "Only the step that the loop came to last is left: += stands where the gradient of every step is added.",
        "dW = sum over steps of [x_t, hidden_t-1]^T dtotal_t,   db = sum over steps of dtotal_t"),
    Bug("lstm: the bias's gradient is assigned at each step, not added", LSTM,
        {LSTM_BACK: f"{LSTM_BACK}; {LSTM_FIRST}; {FIRST_BIAS}"}, "lstm", "batch",
        "Only the step that the loop came to last is left: += stands where the gradient of every step is added.",
        "db = sum over sequences and steps of dtotal_t"),
    Bug("lstm: the slope of tanh is forgotten where the cell is shown", LSTM,
        {LSTM_SHOWN_SLOPE: "hidden = o"}, "lstm", "batch",
        "What is shown is o tanh(cell): the slope of tanh stands between them.",
        "dcell = dcell by the next step + dhidden o (1 - tanh(cell)^2)"),
    Bug("lstm: W_hidden's gradient is assigned at each step, not added", LSTM,
        FIRST_HIDDEN, "lstm", "batch",
        "Only the step that the loop came to last is left, the first, whose state before it is 0: write += for =.",
        "dW_hidden = sum over steps of hidden_t-1^T dtotal_t"),
    Bug("lstm: W_hidden is paired with the wrong step", LSTM,
        {LSTM_HIDDEN: "hidden_rows(unrolled.steps[1:] + unrolled.steps[-1:]).mT @ dprojected"}, "lstm", "batch",
        "W_hidden met the state that entered the step, not the one that left it.",
        "dW_hidden = sum_t hidden_t-1^T dtotal_t"),
    Bug("lstm: the initial state has no gradient", LSTM,
        {"(dinputs, None if state is None else dstate)":
         "(dinputs, None if state is None else State(*(0 * part for part in dstate)))"}, "lstm", "given state",
        "A state that was given is an input like any other: an encoder may stand behind it.",
        "dstate = (dhidden_0, dcell_0)"),
    Bug("lstm: tanh is missing where the cell is shown, in both passes", LSTM,
        {"shown = tanh(new) ": "shown = new ", LSTM_SHOWN_SLOPE: "hidden = o"}, "lstm", "batch",
        "The cell may grow without bound: tanh keeps what is shown within -1 and 1.",
        "hidden = o tanh(cell)", "naive"),
    Bug("state left over from the last call", LSTM,
        {"class State(NamedTuple):": "LAST = []\n\n\nclass State(NamedTuple):",
         "        out, unrolled = unroll(":
         "        fits = [last for last in LAST if (last.cell.shape, last.cell.dtype) == (zeros.shape, zeros.dtype)]\n"
         "        start = fits[-1] if state is None and fits else start\n        out, unrolled = unroll(",
         "        return out, Part(": "        LAST[:] = [out[1]]\n        return out, Part("}, "lstm", "batch",
        "A new sequence starts from a new state: what the last batch left belongs to other sequences.",
        "state_0 = 0 unless one is given", "twice"),
    # what every cell shares: the time loop
    Bug("an output's gradient takes the place of the next step's", UNROLL,
        {"State(dnew.hidden + _where(real[t], doutputs[:, t], 0)": "State(_where(real[t], doutputs[:, t], 0)"},
        "lstm", "batch",
        "A hidden state is used twice, as output and by the next step: the two gradients add up.",
        "dhidden_t = doutputs_t + dhidden_t by step t + 1"),
    Bug("the last step's output alone is heard", UNROLL,
        {"if doutputs is not None:": "if doutputs is not None and t == len(steps) - 1:"}, "rnn", "batch",
        "Every step has an output, and whoever uses it sends a gradient back to that step.",
        "dhidden_t = doutputs_t + dhidden_t by step t + 1"),
    Bug("padded steps receive a gradient", UNROLL, {DNEW: "dnew = dstate"}, "lstm", "NaN in the padding",
        "A padded step changed nothing, so nothing goes back into it.",
        "dnew_t = 0 where step t is padding"),
    Bug("the gradient is lost at padded steps", UNROLL, {DBEFORE: "0"}, "lstm", "NaN in the padding",
        "Across padding the state was carried unchanged, so its gradient is carried back unchanged.",
        "dstate_t-1 = dstate_t where step t is padding"),
    Bug("the state runs on through the padding", UNROLL,
        {MOVED_ON: "pass", DNEW: "dnew = dstate", DBEFORE: "0"}, "lstm", "NaN in the padding",
        "Padding is no input: the state after a short sequence is the one after its last real step.",
        "state_t = state_t-1 where step t is padding", "naive"),
    # gru
    Bug("gru: the way through the reset gate is missing in backward", GRU,
        {"dr = dcandidate * offered": "dr = 0 * dcandidate * offered"}, "gru", "batch",
        "The reset gate decides how much of the past the candidate is offered: what is offered is its slope.",
        "dr = dcandidate (hidden W_hidden + b_hidden)"),
    Bug("gru: the candidate's hidden side is not reset in backward", GRU,
        {"dcandidate * r]": "dcandidate]"}, "gru", "batch",
        "The candidate took the hidden side times r, so what goes back to that side is times r.",
        "drecalled_n = dcandidate r"),
    Bug("gru: z and 1 - z swapped in backward", GRU,
        {GRU_NEW: "dn, dz, dhidden = dnew * z, dnew * (hidden - n), dnew * (1 - z)"}, "gru", "batch",
        "z is the share of the old state that stays, 1 - z that of the candidate.",
        "dn = dhidden (1 - z),   dhidden_before = dhidden z"),
    Bug("gru: z and 1 - z swapped in both passes", GRU,
        {"(1 - z) * n + z * hidden ": "z * n + (1 - z) * hidden ",
         GRU_NEW: "dn, dz, dhidden = dnew * z, dnew * (n - hidden), dnew * (1 - z)"}, "gru", "batch",
        "Both conventions are in print: the one of Cho 2014 keeps z of the old state, and so do PyTorch's weights.",
        "hidden = (1 - z) n + z hidden_before", "naive"),
    Bug("gru: the update gate's gradient has the other sign", GRU,
        {GRU_NEW: GRU_NEW.replace("hidden - n", "n - hidden")}, "gru", "batch",
        "Opening z brings in the old state and takes out the candidate.",
        "dz = dhidden (hidden_before - n)"),
    Bug("gru: the update gate hears the old state alone", GRU,
        {GRU_NEW: GRU_NEW.replace("(hidden - n)", "hidden")}, "gru", "given state",
        "z stands twice in the sum, as z and as 1 - z.",
        "dz = dhidden (hidden_before - n)"),
    Bug("gru: the old state's direct way is cut", GRU,
        {GRU_NEW: GRU_NEW.replace("dnew * z", "0 * dnew")}, "gru", "batch",
        "The share z of the old state stays as it is: on this way gradients last.",
        "dhidden_before = dhidden z + what comes back by the gates"),
    Bug("gru: the candidate's slope is forgotten", GRU,
        {"dcandidate = tanh_backward(dn, n)": "dcandidate = dn"}, "gru", "batch",
        "The candidate is tanh of its sum: the slope of tanh stands between them.",
        "dcandidate = dn (1 - n^2)"),
    Bug("gru: b_hidden's gradient is not reset", GRU,
        {"column_sum(in_rows(drecalled))": "column_sum(in_rows(dprojected))"}, "gru", "batch",
        "The bias of the hidden side stands inside the bracket that r multiplies.",
        "db_hidden_n = sum over sequences and steps of dcandidate r"),
    Bug("gru: W_input's gradient is assigned at each step, not added", GRU,
        {'"W_input": dW_input': '"W_input": inputs[:, 0].mT @ dprojected[:, 0]'}, "gru", "batch",
        "Only the step that the loop came to last is left: += stands where the gradient of every step is added.",
        "dW_input = sum over steps of x_t^T dtotal_t"),
    Bug("gru: W_hidden's gradient is not reset", GRU,
        {"hidden_weight(drecalled, steps)": "hidden_weight(dprojected, steps)"}, "gru", "given state",
        "The product with W_hidden stands inside the bracket that r multiplies.",
        "dW_hidden_n = sum over steps of hidden^T (dcandidate r)"),
    # both directions, layers
    Bug("bidirectional: both cells read from the left, in both passes", BOTH,
        {'cell.forward(params["backward"], inputs, before[1], lengths=lengths, reverse=True)':
         'cell.forward(params["backward"], inputs, before[1], lengths=lengths)'}, "bidirectional", "batch",
        "The second cell is to know what comes after: it reads from the last step to the first.",
        "back_t = cell(inputs_t, back_t+1)", "naive"),
    Bug("bidirectional: the two halves trade their gradients", BOTH,
        {"return (ahead, dlast.forward), (back, dlast.backward)":
         "return (back, dlast.forward), (ahead, dlast.backward)"},
        "bidirectional", "batch",
        "The outputs are [forward, backward] side by side, and are cut apart in that order.",
        "dforward = doutputs[.. : N],   dbackward = doutputs[N : ..]"),
    Bug("bidirectional: the inputs hear one direction alone", BOTH,
        {"return (dinputs_ahead + dinputs_back, dstate)": "return (dinputs_ahead, dstate)"}, "bidirectional", "batch",
        "Both cells read the same inputs: their gradients add up.",
        "dinputs = dinputs by the forward cell + dinputs by the backward cell"),
    Bug("bidirectional: the inputs' gradient is not turned round", BOTH,
        {"dinputs_ahead + dinputs_back": "dinputs_ahead + dinputs_back[:, ::-1]"}, "bidirectional", "batch",
        "What the backward cell reads last is the first step: its gradients go back in the order of the inputs.",
        "dinputs_t = dinputs_t by the forward cell + dinputs_t by the backward cell"),
    Bug("layers: the residual is dropped in backward", LAYERS,
        {"dgiven = add(dgiven, dadded)": "pass"}, "layers", "residual",
        "What a layer was given was added to what it wrote: a gradient goes around the cell too.",
        "dgiven = doutputs + dgiven by the cell"),
    Bug("layers: the residual goes around dropout in backward", LAYERS,
        {"        dgiven = add(dgiven, dadded)\n": "",
         "doutputs = dropout_backward(dgiven, kept)": "doutputs = add(dropout_backward(dgiven, kept), dadded)"},
        "layers", "residual, dropout, padding",
        "What was added again is what dropout had let through: both ways lead back through the same dropout.",
        "doutputs_l-1 = (doutputs_l + dgiven_l by the cell) keep"),
]  # fmt: skip
