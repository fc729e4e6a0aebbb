"""Activations: tanh, sigmoid, relu, gelu, silu, elu, softplus. At a kink the slope is that of the left side."""

import math

import numpy as np

from minattn.functions.gaussian import erf_backward, normal, rarity_single
from minattn.functions.tiles import by_rows


def tanh(x):
    """x of any shape -> tanh(x)."""
    return np.tanh(x)


def tanh_backward(dout, out):
    """d tanh(x) / dx = 1 - tanh(x)^2."""
    return dout * (1 - out * out)


def sigmoid(x):
    """x of any shape -> 1 / (1 + exp(-x)), written so that exp never overflows and the tails keep every digit."""
    positive = x.real >= 0
    decay = np.exp(np.where(positive, -x, x))  # exp(-|x|), in (0, 1]
    return np.where(positive, 1, decay) / (1 + decay)


def sigmoid_backward(dout, out):
    """d sigmoid(x) / dx = sigmoid(x) (1 - sigmoid(x))."""
    return dout * out * (1 - out)


def relu(x):
    """x of any shape -> max(x, 0); NaN stays NaN."""
    return np.where(x.real <= 0, 0, x)


def relu_backward(dout, out):
    """1 where x was positive, else 0."""
    return np.where(out.real <= 0, 0, dout)


def gelu(x):
    """x of any shape -> x Phi(x), Phi the normal distribution. Hendrycks & Gimpel 2016, arXiv:1606.08415."""
    if x.dtype != np.float32:
        return x * normal(x)
    rows = _in_rows(x)
    (out,) = by_rows(_gelu_single, rows, widths=rows.shape[-1:], spare=1)
    return out if x.ndim else out[0]


def _gelu_single(x, out, room):
    rarity_single(x, out, room)
    np.divide(x, out, out=out)  # x Phi(x)


def gelu_backward(dout, x):
    """d gelu(x) / dx = Phi(x) + x phi(x), phi the normal density."""
    density = 0.5 * math.sqrt(0.5) * erf_backward(1, x * math.sqrt(0.5))
    return dout * (normal(x) + x * density)


def gelu_tanh(x):
    """x of any shape -> out = x gate, and gate = (1 + tanh u) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3).

    That is gelu within 5e-4, same paper. The gate is sigmoid(2 u) = 1 / (1 + 2^w) with w = -2 u log2(e), and so it is
    computed: no digits are lost where it is small.
    """
    rows = _in_rows(x)
    out, gate = by_rows(_gelu_tanh, rows, widths=2 * rows.shape[-1:])
    return (out, gate) if x.ndim else (out[0], gate[0])


def _gelu_tanh(x, out, gate):
    scale = -2 * math.log2(math.e) * math.sqrt(2 / math.pi)
    with np.errstate(over="ignore"):  # far out 2^w is inf, and 1 / inf the 0 that it should be
        _cubic(_within(x) if x.dtype.kind == "c" else x, scale, 0.044715 * scale, gate)
        np.exp2(gate, out=gate)
    gate += 1
    np.divide(1, gate, out=gate)
    np.multiply(x, gate, out=out)


def gelu_tanh_backward(dout, x, gate):
    """d gelu_tanh(x) / dx = gate + x gate (1 - gate) 2 du/dx = gate (1 + (1 - gate) 2 x du/dx)."""
    rows = [_in_rows(each) for each in (dout, x, gate)]
    (dx,) = by_rows(_gelu_tanh_backward, *rows, widths=rows[0].shape[-1:], spare=1)
    return dx if x.ndim else dx[0]


def _gelu_tanh_backward(dout, x, gate, dx, room):
    scale = 2 * math.sqrt(2 / math.pi)
    _cubic(_within(x), scale, 3 * 0.044715 * scale, dx)  # 2 x du/dx
    dx *= np.subtract(1, gate, out=room)
    dx += 1
    dx *= gate
    dx *= dout


def silu(x):
    """x of any shape -> x sigmoid(x), also called swish."""
    return x * sigmoid(x)


def silu_backward(dout, x):
    """d silu(x) / dx = s + x s (1 - s), s = sigmoid(x)."""
    s = sigmoid(x)
    return dout * (s + x * s * (1 - s))


def elu(x, alpha=1.0):
    """x of any shape -> x where positive, else alpha (exp(x) - 1), alpha > 0. Clevert et al. 2016, arXiv:1511.07289."""
    if not alpha > 0:
        raise ValueError(f"alpha must be positive but is {alpha}: backward reads off the sign of the output that of x")
    return np.where(x.real > 0, x, alpha * np.expm1(np.where(x.real > 0, 0, x)))


def elu_backward(dout, out, alpha=1.0):
    """1 where x was positive, else alpha exp(x) = out + alpha."""
    return np.where(out.real > 0, dout, dout * (out + alpha))


def softplus(x):
    """x of any shape -> log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)): a relu without its kink."""
    positive = x.real > 0
    return np.where(positive, x, 0) + np.log1p(np.exp(np.where(positive, -x, x)))


def softplus_backward(dout, x):
    """d softplus(x) / dx = sigmoid(x)."""
    return dout * sigmoid(x)


def _in_rows(x):
    """A single number as a row of one."""
    return x if x.ndim else x.reshape(1)


def _cubic(x, a, b, out):
    """out becomes a x + b x^3 = x (a + b x^2)."""
    np.multiply(x, x, out=out)
    out *= b
    out += a
    out *= x


def _within(x):
    """x, but no farther out than where the gate is 0 or 1: x^3 must not overflow, nor 2^w in complex numbers."""
    if not x.size or (x.real.min() >= -20 and x.real.max() <= 20):
        return x
    return np.where(x.real > 20, 20, np.where(x.real < -20, -20, x))
