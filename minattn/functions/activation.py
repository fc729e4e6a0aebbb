"""Activations: tanh, sigmoid, relu, gelu, silu, elu, softplus. At a kink the slope is that of the left side."""

import math

import numpy as np

from minattn.functions.gaussian import erf_backward, erfc
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
    return x * _normal(x)


def gelu_backward(dout, x):
    """d gelu(x) / dx = Phi(x) + x phi(x), phi the normal density."""
    density = 0.5 * math.sqrt(0.5) * erf_backward(1, x * math.sqrt(0.5))
    return dout * (_normal(x) + x * density)


def gelu_tanh(x):
    """x of any shape -> x (1 + tanh u) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3): gelu within 5e-4, same paper."""
    return by_rows(_gelu_tanh, x)[0]


def _gelu_tanh(x):
    out = np.tanh(_inside(_within(x)))
    out += 1
    out *= 0.5
    out *= x
    return (out,)


def gelu_tanh_backward(dout, x):
    """d gelu_tanh(x) / dx = (1 + tanh u) / 2 + x (1 - tanh(u)^2) / 2 du/dx.

    x du/dx = 3 u - 2 sqrt(2 / pi) x needs no power again, and with s = (1 + tanh u) / 2 the slope is
    s (1 + 2 (1 - s) x du/dx).
    """
    return by_rows(_gelu_tanh_backward, dout, x)[0]


def _gelu_tanh_backward(dout, x):
    x = _within(x)
    u = _inside(x)
    s = np.tanh(u)
    s *= 0.5
    s += 0.5
    slope = u
    slope *= 6
    slope -= 4 * math.sqrt(2 / math.pi) * x
    slope *= 1 - s
    slope += 1
    slope *= s
    slope *= dout
    return (slope,)


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


def _normal(x):
    """Phi(x) = erfc(-x / sqrt(2)) / 2: the share of a standard normal below x."""
    return 0.5 * erfc(-x * math.sqrt(0.5))


def _inside(x):
    """u = x sqrt(2 / pi) (1 + 0.044715 x^2)."""
    u = math.sqrt(2 / math.pi) * 0.044715 * x
    u *= x
    u += math.sqrt(2 / math.pi)
    u *= x
    return u


def _within(x):
    """x, but no farther out than where tanh is 1: its cube must not overflow."""
    if not x.size or (x.real.min() >= -20 and x.real.max() <= 20):
        return x
    return np.where(x.real > 20, 20, np.where(x.real < -20, -20, x))
