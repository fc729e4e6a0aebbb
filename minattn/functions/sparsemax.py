"""sparsemax: the nearest point of the probability simplex, so that weak scores get weight exactly 0.

    weights = argmin over p in the simplex of |p - scores|^2 = max(scores - threshold, 0)

with the one threshold that makes the row sum to 1. Martins & Astudillo 2016, arXiv:1602.02068, algorithm 1.
"""

import numpy as np

from minattn import validate


def sparsemax(scores, mask=None):
    """scores (..., S) -> weights (..., S), rows summing to 1; mask: booleans, True = may look, dead rows 0."""
    if mask is not None:
        validate.together(scores=scores, mask=mask)
        validate.boolean(mask)
        scores = np.where(mask, scores, -np.inf)                               # (..., S)
    seen = scores.real > -np.inf                                               # (..., S)
    peak = scores.real.max(axis=-1, keepdims=True)                             # (..., 1)  an offset changes nothing
    scores = np.where(seen, scores, 0) - np.where(np.isfinite(peak), peak, 0)  # (..., S)
    # the k largest are in the support while 1 + k z_k > z_1 + ... + z_k
    ranked = -np.sort(np.where(seen, -scores.real, np.inf), axis=-1)           # (..., S)  falling
    k = np.arange(1, scores.shape[-1] + 1, like=scores)                        # (S,)
    inside = 1 + k * ranked > np.cumsum(ranked, axis=-1)                       # (..., S)
    # the threshold is a mean over the support, so its slope is one too
    smallest = np.where(inside, ranked, np.inf).min(axis=-1, keepdims=True)    # (..., 1)
    support = seen & (scores.real >= smallest)                                 # (..., S)
    count = np.maximum(support.sum(axis=-1, keepdims=True), 1)                 # (..., 1)
    count = count.astype(scores.real.dtype)                                    # (..., 1)
    total = np.where(support, scores, 0).sum(axis=-1, keepdims=True)           # (..., 1)
    threshold = (total - 1) / count                                            # (..., 1)
    weights = scores - threshold                                               # (..., S)
    return np.where(support & (weights.real > 0), weights, 0)


def sparsemax_backward(dweights, weights):
    """Inside the support the mean is taken out, outside nothing moves: rows of dscores sum to 0."""
    support = weights.real > 0
    count = np.maximum(support.sum(axis=-1, keepdims=True), 1).astype(weights.real.dtype)
    mean = np.where(support, dweights, 0).sum(axis=-1, keepdims=True) / count
    return np.where(support, dweights - mean, 0)
