"""Optimisers as pure functions over nested dicts: step(params, grads, state) -> params, state.

    params, state = adam(params, grads, state, learning_rate=1e-3)          # state None at the start

Nothing is written in place: the params that went in are still there, so a step can be looked at or taken back.
"""

import math

import numpy as np

from minattn import tree


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
    peaks = [float(np.abs(grad).max()) if grad.size else 0.0 for _, grad in wide]
    peak = max(peaks, default=0.0)
    for (path, _), largest in zip(wide, peaks, strict=True):
        if not math.isfinite(largest):
            raise FloatingPointError(
                f"the gradient {path} holds {largest}: the step before was too long, or the data holds NaN; nothing "
                f"was changed"
            )
    # squares of numbers beyond 1e154 overflow: measure all by the largest
    norm = peak * math.sqrt(sum(float(((grad / peak) * (grad / peak)).sum()) for _, grad in wide)) if peak else 0.0
    if norm <= max_norm:
        return grads, norm
    return tree.map(lambda grad: grad * (max_norm / norm), grads), norm
