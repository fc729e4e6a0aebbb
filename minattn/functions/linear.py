"""linear: y = x W + b."""

import numpy as np

from minattn import validate
from minattn.functions import buffers
from minattn.functions.broadcast import add_into, column_sum


def linear(x, W, b=None):
    """x (..., I), W (I, O), b (O,) or None -> (..., O): one product, whatever the leading axes."""
    validate.together(x=x, W=W, b=b)
    return add_into(product(_rows(x), W), b).reshape(*x.shape[:-1], W.shape[1])


def linear_backward(dout, x, W, b=None):
    """-> dx, dW, db."""
    validate.together(dout=dout, x=x, W=W)
    # out = rows @ W + b, in the shape of x
    drows = _rows(dout)
    db = None if b is None else column_sum(drows)
    dW = _rows(x).mT @ drows
    # rows = x, all leading axes in one
    dx = product(drows, W.mT).reshape(x.shape)
    return dx, dW, db


def product(x, W):
    """x (R, I) @ W (..., I, O) -> (..., R, O), in memory that is at hand."""
    shape, dtype = (*W.shape[:-2], x.shape[0], W.shape[-1]), np.result_type(x, W)
    return np.matmul(x, W, out=buffers.empty(x, shape, dtype))


def _rows(x):
    return x.reshape(-1, x.shape[-1]) if x.size else x.reshape(0, x.shape[-1])
