"""Optimisers as pure functions over nested dicts: step(params, grads, state) -> params, state.

    params, state = adam(params, grads, state, learning_rate=1e-3)          # state None at the start

Nothing is written in place: the params that went in are still there, so a step can be looked at or taken back. Only
`Flat`, AdamW for long trainings, writes in place.
"""

import itertools
import math

import numpy as np

from minattn import tree
from minattn.backend import is_device, to_host

CHUNK = 2**16  # numbers: few enough that params, averages and gradients of one chunk stay in the cache, 256 KB each


def sgd(params, grads, state=None, *, learning_rate, momentum=0.0):
    """velocity = momentum * velocity + grad;  param -= learning_rate * velocity."""
    learning_rate, momentum = float(learning_rate), float(momentum)  # a NumPy float64 would make float32 wider
    if not momentum:
        return tree.map(lambda p, g: p - learning_rate * g, params, grads), state
    velocity = tree.map(np.zeros_like, grads) if state is None else state["velocity"]
    velocity = tree.map(lambda v, g: momentum * v + g, velocity, grads)
    params = tree.map(lambda p, v: p - learning_rate * v, params, velocity)
    return params, {"velocity": velocity}


def adam(params, grads, state=None, *, learning_rate, betas=(0.9, 0.999), eps=1e-8):
    """param -= learning_rate * mean / (sqrt(square) + eps), both running averages freed of their start at 0.

    Kingma & Ba 2015, arXiv:1412.6980, algorithm 1. state: the averages `mean` and `square`, and the number of `steps`.
    """
    return adamw(params, grads, state, learning_rate=learning_rate, weight_decay=0.0, betas=betas, eps=eps)


def adamw(params, grads, state=None, *, learning_rate, weight_decay=0.01, betas=(0.9, 0.999), eps=1e-8):
    """Adam, and beside it every param shrinks by learning_rate * weight_decay: decay that Adam does not rescale.

    Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2.
    """
    if state is None:
        state = {"mean": tree.map(np.zeros_like, grads), "square": tree.map(np.zeros_like, grads), "steps": 0}
    learning_rate, weight_decay, eps = float(learning_rate), float(weight_decay), float(eps)
    steps, (beta1, beta2) = int(state["steps"]) + 1, map(float, betas)
    mean = tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, state["mean"], grads)
    square = tree.map(lambda s, g: beta2 * s + (1 - beta2) * (g * g), state["square"], grads)
    pace = learning_rate / (1 - beta1**steps)
    unbias = math.sqrt(1 - beta2**steps)
    keep = 1 - learning_rate * weight_decay
    params = tree.map(lambda p, m, s: keep * p - pace * m / (np.sqrt(s) / unbias + eps), params, mean, square)
    return params, {"mean": mean, "square": square, "steps": steps}


def schedule(step, steps, *, peak, warm_up):
    """The learning rate of a step: up to peak in a straight line over the warm-up, and down to 0 over all steps."""
    return peak * min(1, (step + 1) / warm_up) * (1 - step / steps)


def clip(grads, max_norm):
    """Scale all gradients together so that their common norm is at most max_norm -> grads, norm before.

    Pascanu, Mikolov & Bengio 2013, arXiv:1211.5063, algorithm 1. The norm is summed in float64. A gradient that
    is NaN or infinite raises FloatingPointError with its name: nothing has been changed then.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm must be positive but is {max_norm}")
    max_norm = float(max_norm)
    wide = [(path, grad.astype(np.float64)) for path, grad in tree.leaves(grads)]
    peaks = _fetched([np.abs(grad).max() for _, grad in wide if grad.size])
    peak = max(peaks, default=0.0)
    for (path, _), largest in zip(((path, grad) for path, grad in wide if grad.size), peaks, strict=True):
        if not math.isfinite(largest):
            raise FloatingPointError(
                f"the gradient {path} holds {largest}: the step before was too long, or the data holds NaN; nothing "
                f"was changed"
            )
    # squares of numbers beyond 1e154 overflow: measure all by the largest
    norm = peak * math.sqrt(sum(_fetched([((grad / peak) * (grad / peak)).sum() for _, grad in wide]))) if peak else 0.0
    if norm <= max_norm:
        return grads, norm
    return tree.map(lambda grad: grad * (max_norm / norm), grads), norm


def _fetched(numbers):
    """Single numbers, of the host or of a device, as Python's: fetched together, since each fetch is a wait."""
    return to_host(np.stack(numbers)).tolist() if numbers else []


class Flat:
    """AdamW in place: all parameters side by side in one buffer, which a step walks through once, chunk by chunk.

        flat = Flat(params)                                          # copies them
        norm = flat.step(grads, learning_rate=1e-3, max_norm=1.0)
        flat.params                                                  # the tree, with views into the buffer: changed

    Up to rounding the numbers of `clip` and `adamw`, several times as fast. What has to last is to be copied out of
    flat.params, and a cache that holds them is void after the step. A step that Ctrl-C breaks off has moved some of the
    parameters and not the others.
    """

    def __init__(self, params, *, weight_decay=0.0, betas=(0.9, 0.999), eps=1e-8):
        leaves = tree.leaves(params)
        kinds = {str(leaf.dtype) for _, leaf in leaves}
        if len(kinds) != 1 or not kinds.pop().startswith("float"):
            came = ", ".join(sorted({f"{leaf.dtype}" for _, leaf in leaves})) or "no parameters"
            raise TypeError(
                f"one buffer holds floating-point numbers of one dtype, but there are {came}: make them one with "
                f"tree.astype(params, np.float32)"
            )
        self.steps, self._decay, self._betas, self._eps = 0, float(weight_decay), tuple(map(float, betas)), float(eps)
        row = np.concatenate([leaf.reshape(-1) for _, leaf in leaves])
        # The averages are kept as sums, mean / (1 - beta1) and square / (1 - beta2): one pass less for each
        self._rows = np.stack([row, np.zeros_like(row), np.zeros_like(row)])  # params, sums, sums of squares
        chunk = max(row.size, 1) if is_device(row) else CHUNK  # a card has no such cache, and each call costs it more
        self._chunks = _chunks([leaf.size for _, leaf in leaves], chunk)
        self._spare = np.empty_like(row, shape=(2, chunk))
        self.params = _views(self._rows[0], params)
        self._shapes = [leaf.shape for _, leaf in leaves]

    @property
    def state(self):
        """What `adamw` would have returned as its state: copies."""
        mean, square = ((1 - beta) * row for beta, row in zip(self._betas, self._rows[1:], strict=True))
        return {"mean": _views(mean, self.params), "square": _views(square, self.params), "steps": self.steps}

    def step(self, grads, *, learning_rate, max_norm=None):
        """Move flat.params against the gradients, a tree of the same form -> their norm; None where max_norm is None.

        max_norm: longer gradients are shortened, as by `clip`. NaN among them raises FloatingPointError then, and
        nothing has changed.
        """
        grads = self._checked(grads)
        norm = None if max_norm is None else self._norm(grads, max_norm)
        shorten = 1.0 if norm is None or norm <= max_norm else float(max_norm) / norm
        self.steps += 1
        (beta1, beta2), rate = self._betas, float(learning_rate)
        # pace * mean / (sqrt(square) / unbias + eps), written in the sums: stride * sum / (sqrt(sum) + least)
        scale = math.sqrt((1 - beta2**self.steps) / (1 - beta2))
        stride, least = rate * (1 - beta1) / (1 - beta1**self.steps) * scale, self._eps * scale
        keep = 1 - rate * self._decay
        for grad, param, mean, square in self._walk(grads):
            spare = self._spare[1, : grad.size]
            if shorten != 1:
                grad = np.multiply(grad, shorten, out=self._spare[0, : grad.size])
            np.multiply(mean, beta1, out=mean)
            np.add(mean, grad, out=mean)
            np.multiply(square, beta2, out=square)
            np.multiply(grad, grad, out=spare)
            np.add(square, spare, out=square)
            np.sqrt(square, out=spare)
            np.add(spare, least, out=spare)
            np.divide(mean, spare, out=spare)
            np.multiply(spare, stride, out=spare)
            if keep != 1:
                np.multiply(param, keep, out=param)
            np.subtract(param, spare, out=param)
        return norm

    def _checked(self, grads):
        """The gradients one after the other, in the order of the parameters."""
        found = _in_order(self.params, grads)
        for i, (grad, shape) in enumerate(zip(found, self._shapes, strict=True)):
            if grad is None or grad.shape != shape:
                path, _ = tree.leaves(self.params)[i]
                came = "is None" if grad is None else f"has shape {grad.shape}"
                raise ValueError(f"the parameter {path} has shape {shape} but its gradient {came}")
        return found

    def _norm(self, grads, max_norm):
        """The squares summed in float64; where that is not enough, or something is wrong, `clip` knows what to do."""
        with np.errstate(over="ignore", invalid="ignore"):
            wide = (grad.astype(np.float64) for grad, *_ in self._walk(grads))
            total = sum(_fetched([grad @ grad for grad in wide]))
        if max_norm > 0 and 1e-200 < total < math.inf:
            return math.sqrt(total)
        _, norm = clip(dict(zip([path for path, _ in tree.leaves(self.params)], grads, strict=True)), max_norm)
        return norm

    def _walk(self, grads):
        """Chunk by chunk: grad, param, and its two sums, as views; a gradient in several pieces is put together."""
        grads = [grad.reshape(-1) for grad in grads]
        for place, pieces in self._chunks:
            found = [grads[i][part] for i, part in pieces]
            size = place.stop - place.start
            grad = found[0] if len(found) == 1 else np.concatenate(found, out=self._spare[0, :size])
            yield grad, *self._rows[:, place]


def _in_order(params, grads):
    """Every gradient, in the order of the parameters; `tree.map` for what is no dict, and for what does not fit."""
    if isinstance(params, dict) and isinstance(grads, dict) and params.keys() == grads.keys():
        return [grad for name, child in params.items() for grad in _in_order(child, grads[name])]
    if hasattr(params, "shape"):  # the map would say the same, slower
        return [grads]
    found = []
    tree.map(lambda _, grad: found.append(grad), params, grads)
    return found


def _chunks(sizes, chunk):
    """Rows of these sizes, one after the other, in chunks -> [(place in the whole, [(row, part of it), ...]), ...].

    A chunk is a few small rows, or a part of a large one, which nobody has to put together.
    """
    chunks, start, end, pieces = [], 0, 0, []
    for row, size in enumerate(sizes):
        for first in range(0, size, chunk):
            part = slice(first, min(first + chunk, size))
            length = part.stop - part.start
            if pieces and end - start + length > chunk:
                chunks.append((slice(start, end), pieces))
                start, pieces = end, []
            pieces.append((row, part))
            end += length
    return [*chunks, (slice(start, end), pieces)] if pieces else chunks


def _views(buffer, params):
    """A tree of the form of params, whose leaves are views into the buffer, one after the other."""
    ends = itertools.accumulate(leaf.size for _, leaf in tree.leaves(params))

    def view(leaf):
        end = next(ends)
        return buffer[end - leaf.size : end].reshape(leaf.shape)

    return tree.map(view, params)
