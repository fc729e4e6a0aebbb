"""softmax, log_softmax and logsumexp along the last axis, with masks.

    weights_i = exp(scores_i) / sum_j exp(scores_j)

A row with nothing to look at has weights 0 and gradients 0, never NaN.
"""

import numpy as np

from minattn import validate
from minattn.functions.broadcast import row_dot, row_sum
from minattn.functions.tiles import by_rows


def softmax(scores, mask=None):
    """scores (..., S) -> weights (..., S); mask: booleans that broadcast to scores, True = may look."""
    scores = _hidden(scores, mask)

    def rows(scores, weights):
        np.subtract(scores, _peak(scores), out=weights)  # (..., S)  the largest is 0
        np.exp(weights, out=weights)                     # (..., S)
        total = row_sum(weights)                         # (..., 1)
        weights /= np.where(total == 0, 1, total)        # (..., S)

    (weights,) = by_rows(rows, scores, widths=scores.shape[-1:])
    return weights


def softmax_backward(dweights, weights):
    """dscores_i = weights_i (dweights_i - sum_j dweights_j weights_j): every row of dscores sums to 0."""

    def rows(dweights, weights, dscores):
        np.subtract(dweights, row_dot(dweights, weights), out=dscores)
        dscores *= weights

    (dscores,) = by_rows(rows, dweights, weights, widths=weights.shape[-1:])
    return dscores


def log_softmax(scores, mask=None):
    """scores (..., S) -> log_weights (..., S): log(softmax(scores)), exact where the softmax underflows.

    What may not be looked at has -inf.
    """
    scores, _ = _from_peak(scores, mask)                           # (..., S)
    total = row_sum(np.exp(scores))                                # (..., 1)
    log_weights = scores - np.log(np.where(total == 0, 1, total))  # (..., S)
    return np.where(scores.real == -np.inf, -np.inf, log_weights)  # last, so that its slope is 0 too


def log_softmax_backward(dlog_weights, log_weights):
    """dscores_i = dlog_weights_i - weights_i sum_j dlog_weights_j, over what may be looked at."""
    dlog_weights = np.where(np.isfinite(log_weights), dlog_weights, 0)
    return dlog_weights - np.exp(log_weights) * dlog_weights.sum(axis=-1, keepdims=True)


def logsumexp(scores, mask=None):
    """scores (..., S) -> log(sum(exp(scores))) (...): a maximum without its kinks; -inf where there is nothing."""
    shifted, peak = _from_peak(scores, mask)                        # (..., S), (..., 1)
    total = np.exp(shifted).sum(axis=-1)                            # (...)
    result = np.log(np.where(total == 0, 1, total)) + peak[..., 0]  # (...)
    return np.where(total == 0, -np.inf, result)


def logsumexp_backward(dout, scores, mask=None):
    """dscores = dout * softmax(scores)."""
    return dout[..., None] * softmax(scores, mask)


def _from_peak(scores, mask):
    """Scores less the largest of their row, so that exp cannot overflow, and that peak (..., 1), 0 in a dead row."""
    scores = _hidden(scores, mask)  # (..., S)
    peak = _peak(scores)            # (..., 1)
    return scores - peak, peak


def _hidden(scores, mask):
    """-inf where nobody may look."""
    validate.floating("scores", scores)
    if mask is None:
        return scores
    validate.together(scores=scores, mask=mask)
    validate.boolean(mask)
    return np.where(mask, scores, -np.inf)          # (..., S)


def _peak(scores):
    """The largest of each row, 0 in a dead one."""
    peak = scores.real.max(axis=-1, keepdims=True)  # (..., 1)
    return np.where(np.isfinite(peak), peak, 0)     # (..., 1)
