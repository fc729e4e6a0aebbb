"""Which op is this code meant to be? The ops of the registry, called with what somebody else's code was given.

Arrays find their place by the names that people give them, or by their order; the op whose output is the same is it.
"""

import functools
import inspect
import math
from typing import Any, NamedTuple

import numpy as np

from minattn import tree, validate
from minattn.gradcheck.derivative import floating
from minattn.gradcheck.layouts import Layout, lay, layouts, plain
from minattn.gradcheck.problem import fresh
from minattn.gradcheck.registry import registry, unknown
from minattn.op import case_params
from minattn.op import inputs as input_names
from minattn.op import options as option_names

ALIASES = {
    "query": ("q", "query", "queries", "xq"),
    "key": ("k", "key", "keys", "xk", "memory", "annotations"),
    "value": ("v", "value", "values", "xv"),
    "x": ("x", "inp", "input", "inputs", "h", "a", "z", "scores", "logits", "s"),
    "scores": ("scores", "x", "s", "logits", "z"),
    "logits": ("logits", "x", "scores", "z"),
    "targets": ("targets", "target", "y", "labels", "t"),
    "table": ("table", "W", "weight", "E", "embedding", "weights"),
    "ids": ("ids", "idx", "tokens", "x", "indices"),
    "gain": ("gain", "gamma", "g", "weight", "scale", "w"),
    "bias": ("bias", "beta", "b"),
    "inputs": ("inputs", "x", "xs", "input"),
    "W": ("w", "weight", "weights"),
    "b": ("b", "bias"),
    "W_input": ("w_input", "wx", "w_x", "wi", "w_ih", "wih", "weight_ih", "w_xh", "wxh"),
    "W_hidden": ("w_hidden", "wh", "w_h", "w_hh", "whh", "weight_hh", "u"),
    "W_query": ("w_query", "wa", "wq", "w_q", "w1", "w_a", "w_s"),
    "W_key": ("w_key", "wk", "w_k", "w2", "u_a", "ua"),
    "W_value": ("w_value", "wv", "w_v"),
    "W_out": ("w_out", "wo", "w_o"),
    "v": ("v", "v_a", "va"),
}


class Bound(NamedTuple):
    """An op with somebody's arrays in its places; own: one of ours, at its point."""

    op: Any
    leaves: dict
    layout: Any
    own: Any = None

    def run(self, op=None, dout=None):
        """What the op gives here, or another of the same form: its output, and {their path: gradient} for a dout."""
        shown, slots = self._run(op or self.op, dout)
        if self.own is not None:
            found = {path: d for (_, path), d in slots.items()}
            return shown, {path: found.get(path) for path in self.leaves} if slots else {}
        parts = [(counts, slots.get(slot)) for slot, counts in self.layout.slots.items() if not isinstance(counts, str)]
        gradients = lay(self.leaves).back([(counts, d) for counts, d in parts if d is not None])
        return shown, gradients if slots else {}

    def ways(self, dout):
        """{their path: {slot: gradient by this way}} of the arrays that stand in several places at once."""
        laid, users = lay(self.leaves), {}
        for slot, counts in self.layout.slots.items():
            for path, own in laid.at.items():
                if not isinstance(counts, str | list) and np.isin(own, counts).all():
                    users.setdefault(path, []).append(slot)
        users = {path: slots for path, slots in users.items() if len(slots) > 1}
        _, gradients = self._run(self.op, dout) if users else (None, {})
        return {
            path: {slot[1]: laid.back([(self.layout.slots[slot], gradients[slot])])[path] for slot in slots}
            for path, slots in users.items()
        }

    def _run(self, op, dout):
        """-> their output, {(kind, name): gradient} of our slots; none of these without a dout."""
        params, inputs = self._arguments()
        out, cache = op.forward(params, *inputs, **fresh(self.layout.options))
        shown = output_of(out) if self.layout.out is None else self.layout.out(output_of(out))
        if dout is None:
            return shown, {}
        dinputs, dparams = op.backward(self._upstream(out, tree.map(_wide, dout)), cache)
        parts = {"inputs": dict(zip(input_names(op), dinputs, strict=False)), "params": dparams}
        slots = {(kind, path): d for kind, part in parts.items() for path, d in tree.leaves(part)}
        states = parts["inputs"].get("state") or ()
        return shown, slots | {("inputs", f"state.{i}"): d for i, d in enumerate(states)}

    def _arguments(self):
        """-> params, inputs of the op."""
        names = input_names(self.op)
        if self.own is not None:
            wide = tree.map(_wide, self.own)
            params = {name: part for name, part in wide.items() if name not in names}
            return params, [wide[name] for name in names if name in wide]
        laid, given = lay(self.leaves), {"inputs": {}, "params": {}}
        for (kind, name), counts in self.layout.slots.items():
            given[kind][name] = self.leaves[counts] if isinstance(counts, str) else laid.of(counts)
        inputs, states = given["inputs"], [name for name in given["inputs"] if name.startswith("state.")]
        if states:
            inputs["state"] = tuple(inputs.pop(name) for name in states)
        last = max((i for i, name in enumerate(names) if name in inputs), default=-1)
        return _completed(self.op, given["params"], inputs), [inputs.get(name) for name in names[: last + 1]]

    def _upstream(self, out, dout):
        """Their upstream gradient as ours: of the first output, where they have no other."""
        first = output_of(out)
        if self.layout.out is not None:
            counts, ours = self.layout.out(np.arange(first.size).reshape(first.shape)), np.zeros(first.size)
            ours[counts] = output_of(dout)
            dout = ours.reshape(first.shape)
        if isinstance(out, tuple) and not isinstance(dout, tuple):
            dout = (dout, *[None] * (len(out) - 1))
            dout = type(out)(*dout) if hasattr(out, "_fields") else dout
        return dout


def candidates(problem, point, out, reference=None, same_output=True):
    """(name, Bound) for the ops that this can be: the one that was named, or those whose output is the same.

    same_output=False: those whose output has the same shape.
    """
    known = _registry()
    if reference is not None and reference not in known:
        raise unknown(reference, known)
    names = [reference] if reference is not None else sorted(known, key=lambda name: name != problem.title)
    for name in names:
        for candidate in _bound(problem, point, name):
            try:
                found, _ = candidate.run()
            except Exception:  # these arrays are not for this op
                continue
            if _equal(output_of(out), found):
                yield name, candidate
                break
            if not same_output and output_of(out).shape == found.shape:
                yield name, candidate


def refusal(problem, point, reference):
    """Why an op cannot be called with these arrays, in its own words; "" where it says nothing."""
    for candidate in _bound(problem, point, reference):
        try:
            candidate.run()
        except (TypeError, ValueError, IndexError) as error:
            return str(error)
    return ""


def output_of(out):
    """The first output, which is what people return: the state of a recurrence, the sum of a loss come behind it."""
    first = [leaf for _, leaf in tree.leaves(out) if floating(leaf)]
    return np.asarray(first[0]) if first else np.zeros(0)


def _bound(problem, point, name):
    """The op in question, in every way in which the arrays may stand in it."""
    op, _ = _registry()[name]
    leaves = dict(tree.leaves(point))
    if problem.op is not None:  # one of ours, whose arrays have their names already
        if name == problem.title or name.startswith(f"{problem.title}-"):
            yield Bound(op, leaves, Layout({}, problem.options or {}), point)
        return
    for places in _places(name, leaves):
        layout = plain({path: slot for path, slot in places.items() if slot[0] != "options"}, leaves)
        masks = {slot[1]: leaves[path] for path, slot in places.items() if slot[0] == "options"}
        yield Bound(op, leaves, layout._replace(options=masks))
    for layout in layouts(name, leaves, ALIASES):
        yield Bound(op, leaves, layout)


def _places(name, leaves):
    """How these arrays may stand in the places of the op: by their names first, then by their order."""
    slots, has_mask = _slots(name)
    masks = {path: ("options", "mask") for path, leaf in leaves.items() if leaf.dtype == bool}
    rest = [path for path in leaves if path not in masks]
    if masks and not has_mask:
        return
    by_name, taken = {}, set()
    for path in rest:
        plain = path.rsplit(".", 1)[-1]
        fits = [s for s in slots if s not in taken and (plain == s[1] or plain.lower() in ALIASES.get(s[1], ()))]
        if not fits:
            break
        by_name[path] = fits[0]
        taken.add(fits[0])
    if len(by_name) == len(rest):
        yield by_name | masks
    if len(rest) <= len(slots):
        yield dict(zip(rest, slots, strict=False)) | masks


@functools.cache
def _slots(name):
    """[(kind, name)]: the inputs of the op in order, then its parameters as a case has them; and has it a mask?"""
    op, cases = _registry()[name]
    inputs = [("inputs", path) for path in input_names(op)]
    if not inspect.signature(op.init).parameters.keys() - {"rng"}:
        return inputs, "mask" in option_names(op)
    case = cases(np.random.default_rng(0))[0]
    given = [slot for slot, x in zip(inputs, case.inputs, strict=False) if x is not None]
    params = [("params", path) for path, _ in tree.leaves(case_params(op, case, np.random.default_rng(0)))]
    return given + params, "mask" in option_names(op)


def wants(name):
    """The names of the arrays that an op of the registry takes, inputs first."""
    return [path for _, path in _slots(name)[0]]


@functools.cache
def _registry():
    return registry()


def _completed(op, params, given):
    """Biases that somebody's code has not are zeros."""
    shapes = getattr(op, "SHAPES", {})
    missing = [name for name in ("b", "b_hidden") if name in shapes and name not in params]
    if not missing or not params:
        return params
    sizes = validate.shapes(shapes, **{name: x for name, x in (given | params).items() if name in shapes})
    zeros = {name: np.zeros(math.prod(_size(axis, sizes) for axis in shapes[name].split())) for name in missing}
    return params | zeros


def _size(axis, sizes):
    """The axis "4N" of N = 5 is 20 long."""
    return int(axis[:-1] or 1) * sizes[axis[-1]]


def _equal(found, expected):
    if found.shape != expected.shape or not found.size:
        return False
    scale = np.abs(expected).max()
    return bool(np.allclose(found, expected, rtol=0, atol=1e-5 * scale if found.dtype == np.float32 else 1e-9 * scale))


def _wide(x):
    return x.astype(np.float64) if getattr(x, "dtype", None) == np.float32 else x
