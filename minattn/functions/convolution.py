"""conv1d, conv2d and pooling, features last: x (B, T, I) or (B, Y, X, I).

    out[t] = sum over k of x[t * stride + k] W[k] + b            one matrix product for each place k of the kernel

As everywhere in this field the kernel is not flipped: this is cross-correlation. LeCun et al. 1989.
"""

import numpy as np

from minattn import validate
from minattn.functions.broadcast import add, unbroadcast

SHAPES = {"x": "B Y X I", "W": "K L I O", "b": "O"}


def conv1d(x, W, b=None, stride=1, padding=0):
    """x (B, T, I), W (K, I, O), b (O,) or None -> (B, T', O), T' = (T + 2 padding - K) // stride + 1."""
    out = conv2d(x[:, None], W[None], b, (1, stride), (0, padding))  # (B, 1, T', O)
    return out[:, 0]


def conv1d_backward(dout, x, W, b=None, stride=1, padding=0):
    """-> dx, dW, db."""
    dx, dW, db = conv2d_backward(dout[:, None], x[:, None], W[None], b, (1, stride), (0, padding))
    return dx[:, 0], dW[0], db


def conv2d(x, W, b=None, stride=1, padding=0):
    """x (B, Y, X, I), W (K, L, I, O), b (O,) or None -> (B, Y', X', O).

    stride and padding: a number, or one for each of Y and X. Padding adds zeros on every side.
    """
    stride, padding = _both(stride), _both(padding)
    validate.shapes(SHAPES, x=x, W=W, b=b)
    for step in stride:
        validate.count("stride", step)
    x = _pad(x, padding)  # (B, Y + 2 padding, X + 2 padding, I)
    places = _places(x.shape[1:3], W.shape[:2], stride)
    return add(sum(x[place] @ W[k] for k, place in places), b)  # (B, Y', X', O)


def conv2d_backward(dout, x, W, b=None, stride=1, padding=0):
    """-> dx, dW, db."""
    stride, padding = _both(stride), _both(padding)
    padded = _pad(x, padding)
    dpadded, dW = np.zeros_like(padded), np.zeros_like(W)
    drows = dout.reshape(-1, dout.shape[-1])
    # out = sum over k of x[place of k] @ W[k] + b
    for k, place in _places(padded.shape[1:3], W.shape[:2], stride):
        dW[k] = padded[place].reshape(-1, x.shape[-1]).mT @ drows
        dpadded[place] += dout @ W[k].mT
    # x = pad(x)
    Y, X = x.shape[1:3]
    dx = dpadded[:, padding[0] : padding[0] + Y, padding[1] : padding[1] + X]
    return dx, dW, unbroadcast(dout, b)


def max_pool(x, size=2):
    """x (B, Y, X, I) -> (B, Y // size, X // size, I), and which number of each window was the largest."""
    windows = _windows(x, size)                  # (size^2, B, Y', X', I)
    largest = windows.real.argmax(axis=0)[None]  # (1, B, Y', X', I)
    return np.take_along_axis(windows, largest, axis=0)[0], largest


def max_pool_backward(dout, x, largest, size=2):
    """The whole gradient goes to the largest, the first of equals."""
    places = np.arange(size * size, like=largest).reshape(-1, 1, 1, 1, 1)
    return _unwindow(np.where(places == largest, dout, 0), x, size)


def mean_pool(x, size=2):
    """x (B, Y, X, I) -> (B, Y // size, X // size, I)."""
    return _windows(x, size).mean(axis=0)


def mean_pool_backward(dout, x, size=2):
    """Each number of a window gets its share."""
    return _unwindow(np.stack([dout / size**2] * size**2), x, size)


def _both(number):
    return tuple(number) if isinstance(number, (tuple, list)) else (number, number)


def _pad(x, padding):
    """Zeros around Y and X."""
    if padding == (0, 0):
        return x
    B, Y, X, I = x.shape
    (above, left) = padding
    padded = np.zeros_like(x, shape=(B, Y + 2 * above, X + 2 * left, I))  # (B, Y + 2 above, X + 2 left, I)
    padded[:, above : above + Y, left : left + X] = x
    return padded


def _places(size, kernel, stride):
    """For every place k of the kernel the slice of x that it meets, as it moves over x."""
    if any(k > n for k, n in zip(kernel, size, strict=True)):
        raise ValueError(f"a kernel of {kernel} does not fit into x of {tuple(size)}, padding included (Y, X)")
    (rows, columns) = ((n - k) // s + 1 for n, k, s in zip(size, kernel, stride, strict=True))
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            down = slice(i, i + stride[0] * (rows - 1) + 1, stride[0])
            along = slice(j, j + stride[1] * (columns - 1) + 1, stride[1])
            yield (i, j), (slice(None), down, along)


def _windows(x, size):
    """(B, Y, X, I) -> (size^2, B, Y', X', I): side by side, what is left over at the edges is not looked at."""
    Y, X = (n // size * size for n in x.shape[1:3])
    if not Y or not X:
        raise ValueError(f"windows of {size} x {size} do not fit into x {x.shape} (B, Y, X, I)")
    return np.stack([x[:, i:Y:size, j:X:size] for i in range(size) for j in range(size)])


def _unwindow(dwindows, x, size):
    Y, X = (n // size * size for n in x.shape[1:3])
    dx = np.zeros_like(x, dtype=dwindows.dtype)
    for k, dwindow in enumerate(dwindows):
        i, j = divmod(k, size)
        dx[:, i:Y:size, j:X:size] = dwindow
    return dx
