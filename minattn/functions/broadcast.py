"""Broadcasting and its gradient: what forward repeats, backward sums. And sums along the last axis."""

import numpy as np


def add(x, term):
    """x + term, where None adds nothing: optional biases read like the formula."""
    return x if term is None else x + term


def add_into(x, term):
    """x + term in the place of x, where its dtype can hold the sum; None adds nothing."""
    if term is None:
        return x
    fits = np.result_type(x, term) == x.dtype
    return np.add(x, term, out=x if fits else None)


def unbroadcast(gradient, like):
    """Sum a gradient over every axis along which `like` was repeated; None mirrors None.

    y[b, i] = x[i] for every b, so dx[i] = sum over b of dy[b, i].
    """
    if like is None:
        return None
    extra = gradient.ndim - like.ndim
    if extra:
        gradient = gradient.sum(axis=tuple(range(extra)))
    repeated = tuple(axis for axis, n in enumerate(like.shape) if n == 1 != gradient.shape[axis])
    return gradient.sum(axis=repeated, keepdims=True) if repeated else gradient


def row_sum(x):
    """sum_i x_i along the last axis -> (..., 1). For rows of a hundred numbers einsum is thrice as fast as sum."""
    return np.einsum("...i->...", x)[..., None]


def row_dot(x, y):
    """sum_i x_i y_i along the last axis -> (..., 1), without the array of the products."""
    return np.einsum("...i,...i->...", x, y)[..., None]


def column_sum(rows):
    """rows (R, M) -> the sum of them all (M,), as a product with ones, which takes half the time.

    Beside other products alone: the threads of the BLAS that it may wake are in the way of ours for a while.
    """
    if not rows.flags.c_contiguous:
        return rows.sum(axis=0)
    return np.ones_like(rows, shape=(len(rows),)) @ rows


def part(term, rows, columns):
    """The slices rows and columns of the last two axes (T, S) of a term; axes of length 1 stay, None stays None.

    It is a view: adding to the part adds to the whole.
    """
    if term is None:
        return None
    term = term.reshape((1,) * (2 - term.ndim) + term.shape)
    T, S = term.shape[-2:]
    return term[..., rows if T > 1 else slice(None), columns if S > 1 else slice(None)]


def split_heads(term, G):
    """(..., H, T, S) -> (..., G, H / G, T, S); an axis of one head serves all groups, None stays None."""
    if term is None or term.ndim < 3:
        return term
    if term.shape[-3] == 1:
        return term[..., None, :, :]
    return term.reshape(*term.shape[:-3], G, term.shape[-3] // G, *term.shape[-2:])


def join_heads(term):
    """(..., G, H / G, T, S) -> (..., H, T, S): `split_heads` undone."""
    return term.reshape(*term.shape[:-4], term.shape[-4] * term.shape[-3], *term.shape[-2:])
