"""Positions: attention sees a set, so order has to be put in, into the vectors or into the scores.

    sinusoidal, learned   added to the embeddings          Vaswani 2017, section 3.5
    rotary                turns queries and keys           Su et al. 2021, arXiv:2104.09864, equation 34
    alibi                 added to the scores as `bias`    Press et al. 2022, arXiv:2108.12409, section 3

offset is the place of the first row, for decoding with the earlier steps kept. What has an input keeps its dtype; what
is made from sizes alone is computed in float64 and returned as dtype: give that of what it is added to.
"""

import math

import numpy as np


def sinusoidal(T, M, *, offset=0, base=10000.0, dtype=np.float64):
    """-> (T, M): waves of growing length, sine in the even columns and cosine in the odd ones.

    out[t, 2 i] = sin(t / base^(2 i / M)),    out[t, 2 i + 1] = cos(t / base^(2 i / M))
    """
    angles = _angles(T, (M + 1) // 2, M, offset, base)  # (T, M / 2)
    waves = np.stack([np.sin(angles), np.cos(angles)], axis=-1)  # (T, M / 2, 2)
    return waves.reshape(T, -1)[:, :M].astype(dtype)


def learned(table, T, offset=0):
    """table (L, M), one row for each place up to L -> rows offset .. offset + T, (T, M)."""
    if offset < 0 or offset + T > table.shape[0]:
        raise ValueError(
            f"places {offset} .. {offset + T - 1} do not stand in the table {table.shape} of {table.shape[0]} rows: "
            f"a learned position ends with the longest sequence trained"
        )
    return table[offset : offset + T]


def learned_backward(dout, table, T, offset=0):
    """-> dtable: zero but in the rows that were read."""
    dtable = np.zeros_like(table)
    dtable[offset : offset + T] = dout
    return dtable


def rotary(x, offset=0, style="interleaved", base=10000.0):
    """x (..., T, D), D even -> each pair of features turned by an angle that grows with its place t.

        (x1, x2) -> (x1 cos a - x2 sin a,  x1 sin a + x2 cos a),    a = t / base^(2 i / D)

    so that query @ key depends on the distance of the two alone. Pair i is (2 i, 2 i + 1) in the style "interleaved"
    (the paper, GPT-J) and (i, i + D / 2) in the style "half" (GPT-NeoX, Llama); weights trained with one style need it.
    """
    return _turn(x, _rotation(x, offset, base), style, 1)


def rotary_backward(dout, x, offset=0, style="interleaved", base=10000.0):
    """A rotation is undone by turning back: dx is dout turned by the opposite angles."""
    return _turn(dout, _rotation(x, offset, base), style, -1)


def alibi_slopes(H):
    """-> (H,): 2^(-8 h / H) for h = 1 .. H where H is a power of two.

    Otherwise the slopes of the power of two below H, then every other one of twice that, as in the authors' code.
    """
    below = 2 ** math.floor(math.log2(H))
    slopes = [2 ** (-8 * h / below) for h in range(1, below + 1)]
    between = [2 ** (-8 * h / (2 * below)) for h in range(1, 2 * below + 1, 2)]
    return np.array(slopes + between[: H - below])


def alibi(H, T, S, *, offset=0, dtype=np.float64):
    """-> bias (H, T, S): minus the slope of the head times the distance; offset is the place of the first query."""
    distance = np.abs(np.arange(S) - np.arange(T)[:, None] - offset)  # (T, S)
    return (-alibi_slopes(H)[:, None, None] * distance).astype(dtype)  # (H, T, S)


POSITIONS = {"learned": (learned, learned_backward), "rotary": (rotary, rotary_backward)}


def _angles(T, pairs, D, offset, base):
    """(T, pairs): place / base^(2 i / D), in float64 on the host."""
    return (np.arange(T) + offset)[:, None] / base ** (2 * np.arange(pairs) / D)


def _rotation(x, offset, base):
    """cos and sin of every angle, (T, D / 2) each, with the dtype and on the device of x."""
    T, D = x.shape[-2:]
    if D % 2:
        raise ValueError(f"rotary turns pairs of features, so D must be even, but x {x.shape} has D={D}")
    angles = _angles(T, D // 2, D, offset, base)
    return tuple(np.asarray(wave(angles).astype(x.real.dtype), like=x) for wave in (np.cos, np.sin))


def _turn(x, rotation, style, sense):
    cos, sin = rotation
    if style == "interleaved":
        first, second = x[..., 0::2], x[..., 1::2]
    elif style == "half":
        first, second = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    else:
        raise ValueError(f'style must be "interleaved" or "half" but is {style!r}')
    turned = first * cos - second * (sense * sin), second * cos + first * (sense * sin)  # (..., T, D / 2) each
    if style == "half":
        return np.concatenate(turned, axis=-1)
    return np.stack(turned, axis=-1).reshape(x.shape)
