"""linear: y = x W + b."""

from minattn.functions.broadcast import add


def linear(x, W, b=None):
    """x (..., I), W (I, O), b (O,) or None -> (..., O)."""
    return add(_rows(x) @ W, b).reshape(*x.shape[:-1], W.shape[1])  # one product, whatever the leading axes


def linear_backward(dout, x, W, b=None):
    """-> dx, dW, db."""
    # out = rows @ W + b, in the shape of x
    drows = _rows(dout)
    db = None if b is None else drows.sum(axis=0)
    dW = _rows(x).mT @ drows
    # rows = x, all leading axes in one
    dx = (drows @ W.mT).reshape(x.shape)
    return dx, dW, db


def _rows(x):
    return x.reshape(-1, x.shape[-1]) if x.size else x.reshape(0, x.shape[-1])
