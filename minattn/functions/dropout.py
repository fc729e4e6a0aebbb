"""dropout: silence each number with probability p, scale the rest by 1 / (1 - p). Srivastava et al. 2014."""

import numpy as np


def dropout(x, p, rng):
    """x of any shape, p in [0, 1), rng a numpy Generator or None (evaluation) -> out, keep.

    keep holds 0 or 1 / (1 - p); it is drawn on the host in float64, so one seed means one mask everywhere.
    """
    if not 0 <= p < 1:
        raise ValueError(f"p must lie in [0, 1) but is {p}: it is the share of numbers that is silenced, not kept")
    if rng is None or p == 0:
        return x, None
    keep = (rng.random(x.shape) >= p) / (1 - p)           # as x, on the host
    keep = np.asarray(keep.astype(x.real.dtype), like=x)  # as x
    return x * keep, keep


def dropout_backward(dout, keep):
    """What was silenced hears nothing, what was scaled is scaled."""
    return dout if keep is None else dout * keep
