"""layer_norm: every row to mean 0 and variance 1, then a gain and a bias. Ba, Kiros & Hinton 2016, arXiv:1607.06450.

    normalized = (x - mean(x)) / sqrt(var(x) + eps)
    out        = gain * normalized + bias

rms_norm: the same without the mean and the bias. Zhang & Sennrich 2019, arXiv:1910.07467.

    normalized = x / sqrt(mean(x^2) + eps)
    out        = gain * normalized
"""

import numpy as np

from minattn import validate
from minattn.functions.broadcast import row_dot, row_sum, unbroadcast
from minattn.functions.tiles import by_rows

EPS = 1e-5


def layer_norm(x, gain, bias=None, eps=EPS):
    """x (..., M), gain (M,), bias (M,) or None -> out (..., M), normalized (..., M), inverse_std (..., 1)."""
    validate.together(x=x, gain=gain, bias=bias)
    M, dtype = x.shape[-1], np.result_type(*[each for each in (x, gain, bias) if each is not None])

    def rows(x, out, normalized, inverse_std):
        centered = np.subtract(x, row_sum(x) / M, out=normalized)          # (..., M)
        variance = row_dot(centered, centered) / M                         # (..., 1)
        inverse_std[...] = 1 / np.sqrt(variance + eps)                     # (..., 1)
        normalized *= inverse_std                                          # (..., M)
        np.multiply(gain, normalized, out=out)                             # (..., M)
        if bias is not None:
            out += bias                                                    # (..., M)

    return by_rows(rows, x, widths=(M, M, 1), dtype=dtype)


def layer_norm_backward(dout, normalized, inverse_std, gain, bias=None):
    """-> dx, dgain, dbias. The gain stands inside both means: outside it is right only if all gains are equal."""
    M = gain.shape[-1]
    # out = gain * normalized + bias
    dbias = unbroadcast(dout, bias)
    dgain = np.einsum("rm,rm->m", dout.reshape(-1, M), normalized.reshape(-1, M))

    def rows(dout, normalized, inverse_std, dx, room):
        dnormalized = np.multiply(dout, gain, out=dx)
        # normalized = (x - mean) * inverse_std, and both mean and inverse_std depend on every x of the row
        through_mean = row_sum(dnormalized) / M
        through_std = np.multiply(normalized, row_dot(dnormalized, normalized) / M, out=room)
        dx -= through_mean
        dx -= through_std
        dx *= inverse_std

    dtype = np.result_type(dout, normalized, inverse_std, gain)
    (dx,) = by_rows(rows, dout, normalized, inverse_std, widths=(M,), spare=1, dtype=dtype)
    return dx, dgain, dbias


def rms_norm(x, gain, eps=1e-6):
    """x (..., M), gain (M,) -> out (..., M), normalized (..., M), inverse_rms (..., 1)."""
    validate.together(x=x, gain=gain)
    inverse_rms = 1 / np.sqrt(row_dot(x, x) / x.shape[-1] + float(eps))  # (..., 1)
    normalized = x * inverse_rms                                         # (..., M)
    return gain * normalized, normalized, inverse_rms


def rms_norm_backward(dout, normalized, inverse_rms, gain):
    """-> dx, dgain."""
    # out = gain * normalized
    dgain = unbroadcast(dout * normalized, gain)
    dnormalized = dout * gain
    # normalized = x * inverse_rms, and inverse_rms depends on every x of the row
    through_rms = normalized * (row_dot(dnormalized, normalized) / gain.shape[-1])
    return inverse_rms * (dnormalized - through_rms), dgain
