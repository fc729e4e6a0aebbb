"""erf and erfc to double precision, analytic, from two formulas that can be derived on one page.

    erf(x)  = 2 / sqrt(pi) * integral of exp(-t^2) from 0 to x
    erfc(x) = 1 - erf(x), without losing the digits where erf is nearly 1

Near 0 the series (Abramowitz & Stegun 1964, 7.1.6), whose terms all have one sign, so that nothing cancels:

    erf(x) = 2 / sqrt(pi) * exp(-x^2) * (x + 2 x^3 / 3 + 4 x^5 / 15 + ...)         term n+1 = term n * 2 x^2 / (2 n + 3)

Far out the trapezoidal rule for  erfc(x) = x / pi * exp(-x^2) * integral of exp(-t^2) / (t^2 + x^2) over all t. With
the nodes at (n + 1/2) h it misses exp(-pi^2 / h^2), below 1e-17 for h = 1/2, and, while x < pi / h, the residue of the
pole at t = i x, which Hunter & Regan 1972 (Mathematics of Computation 26, 539) give in closed form:

    erfc(x) = 2 h x / pi * exp(-x^2) * sum over n >= 0 of exp(-t_n^2) / (t_n^2 + x^2)  +  2 / (1 + exp(2 pi x / h))
"""

import math

import numpy as np

# log2 of Phi(x) / Phi(-x), divided by x, as a polynomial in x^2: x (LOGIT[0] + LOGIT[1] x^2 + ...) is that logit so
# near, weighed by how much x Phi(x) sees of it, that 7e-8 is missed (least squares, weighed again and again until the
# errors are of one size, over 0 < x < 7). The last one is positive, so that far out it goes on to infinity.
LOGIT = 2.30220800, 0.104837507, -9.50873205e-05, -1.59498430e-04, 1.14639821e-05, -3.85623388e-07, 5.22071978e-09
BORDER, TERMS = 1.0, 24  # |x| below: the series; the 25th term is below 1e-17
END = 40.0
H, NODES = 0.5, 13  # |x| beyond: the rule; exp(-6.25^2) is 1e-17


def erf(x):
    """x of any shape -> erf(x)."""
    x = _within(x)
    return np.where(np.abs(x.real) < BORDER, _series(x), np.where(x.real < 0, _rule(-x) - 1, 1 - _rule(x)))


def erf_backward(dout, x):
    """d erf(x) / dx = 2 / sqrt(pi) * exp(-x^2)."""
    x = _within(x)
    return dout * (2 / math.sqrt(math.pi)) * np.exp(-(x * x))


def erfc(x):
    """x of any shape -> 1 - erf(x); far to the right it keeps every digit that can be stored."""
    x = _within(x)
    return np.where(np.abs(x.real) < BORDER, 1 - _series(x), np.where(x.real < 0, 2 - _rule(-x), _rule(x)))


def erfc_backward(dout, x):
    """d erfc(x) / dx = -2 / sqrt(pi) * exp(-x^2)."""
    return -erf_backward(dout, x)


def normal(x):
    """x of any shape -> Phi(x) = erfc(-x / sqrt(2)) / 2: the share of a standard normal below x."""
    if x.dtype != np.float32:
        return 0.5 * erfc(-x * math.sqrt(0.5))
    out = np.empty_like(x)
    rarity_single(x, out, np.empty_like(x))
    return np.divide(1, out, out=out)


def rarity_single(x, out, square):
    """float32 x: out becomes 1 / Phi(x) = 1 + 2^-logit, square becomes x^2. Phi within 2e-7, in 16 passes.

    So x Phi(x) is right to the last digits of x, not of itself: at x = -3 four of its own are left, at -5 one. The
    first two terms of the logit are what `gelu_tanh` has.
    """
    with np.errstate(over="ignore"):  # far out 2^-logit is inf, and 1 / inf the 0 that it should be
        np.multiply(x, x, out=square)
        np.multiply(square, -LOGIT[-1], out=out)
        for coefficient in LOGIT[-2:0:-1]:
            out -= coefficient
            out *= square
        out -= LOGIT[0]
        out *= x
        np.exp2(out, out=out)
    out += 1


def _within(x):
    """x, but no farther out than where erfc is 0 in double precision: its square must not overflow."""
    return np.where(x.real > END, END, np.where(x.real < -END, -END, x))


def _series(x):
    """erf for |x| < BORDER; elsewhere 0 goes in, so that nothing overflows."""
    x = np.where(np.abs(x.real) < BORDER, x, 0)
    term, total = x, x
    for n in range(TERMS):
        term = term * (x * x) * (2 / (2 * n + 3))
        total = total + term
    return total * np.exp(-(x * x)) * (2 / math.sqrt(math.pi))


def _rule(x):
    """erfc for x >= BORDER; elsewhere BORDER goes in."""
    x = np.where(x.real >= BORDER, x, BORDER)
    square = x * x
    nodes = [(n + 0.5) * H for n in range(NODES)]
    total = sum(math.exp(-t * t) / (t * t + square) for t in nodes)
    tail = np.exp(-2 * math.pi / H * np.where(x.real < math.pi / H, x, 60))
    return 2 * H / math.pi * x * np.exp(-square) * total + 2 * tail / (1 + tail)
