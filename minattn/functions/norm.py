"""layer_norm: every row to mean 0 and variance 1, then a gain and a bias. Ba, Kiros & Hinton 2016, arXiv:1607.06450.

    normalized = (x - mean(x)) / sqrt(var(x) + eps)
    out        = gain * normalized + bias

rms_norm: the same without the mean and the bias. Zhang & Sennrich 2019, arXiv:1910.07467.

    normalized = x / sqrt(mean(x^2) + eps)
    out        = gain * normalized
"""

import numpy as np

from minattn.functions.broadcast import add, unbroadcast


def layer_norm(x, gain, bias=None, eps=1e-5):
    """x (..., M), gain (M,), bias (M,) or None -> out (..., M), normalized (..., M), inverse_std (..., 1)."""
    centered = x - x.mean(axis=-1, keepdims=True)                  # (..., M)
    variance = (centered * centered).mean(axis=-1, keepdims=True)  # (..., 1)
    inverse_std = 1 / np.sqrt(variance + float(eps))               # (..., 1)
    normalized = centered * inverse_std                            # (..., M)
    return add(gain * normalized, bias), normalized, inverse_std


def layer_norm_backward(dout, normalized, inverse_std, gain, bias=None):
    """-> dx, dgain, dbias. The gain stands inside both means: moving it outside is right only when it is 1."""
    # out = gain * normalized + bias
    dbias = unbroadcast(dout, bias)
    dgain = unbroadcast(dout * normalized, gain)
    dnormalized = dout * gain
    # normalized = (x - mean) * inverse_std, and both mean and inverse_std depend on every x of the row
    through_mean = dnormalized.mean(axis=-1, keepdims=True)
    through_std = normalized * (dnormalized * normalized).mean(axis=-1, keepdims=True)
    dx = inverse_std * (dnormalized - through_mean - through_std)
    return dx, dgain, dbias


def rms_norm(x, gain, eps=1e-6):
    """x (..., M), gain (M,) -> out (..., M), normalized (..., M), inverse_rms (..., 1)."""
    inverse_rms = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + float(eps))  # (..., 1)
    normalized = x * inverse_rms                                                  # (..., M)
    return gain * normalized, normalized, inverse_rms


def rms_norm_backward(dout, normalized, inverse_rms, gain):
    """-> dx, dgain."""
    # out = gain * normalized
    dgain = unbroadcast(dout * normalized, gain)
    dnormalized = dout * gain
    # normalized = x * inverse_rms, and inverse_rms depends on every x of the row
    through_rms = normalized * (dnormalized * normalized).mean(axis=-1, keepdims=True)
    return inverse_rms * (dnormalized - through_rms), dgain
