"""cross_entropy: how surprised the model is by the right answer. mse: how far off a number is.

    loss = - sum_v desired_v log softmax(logits)_v

`desired` is 1 at the target; with label smoothing e it is (1 - e) at the target plus e / V everywhere
(Szegedy et al. 2016, arXiv:1512.00567).
"""

from typing import Any, NamedTuple

import numpy as np

from minattn import validate
from minattn.functions.softmax import log_softmax


class Loss(NamedTuple):
    """The mean over the counted targets, and what it is made of: mean = sum / count."""

    mean: Any
    sum: Any = None
    count: Any = None


def cross_entropy(logits, targets, ignore_index=None, label_smoothing=0.0):
    """logits (..., V), targets (...) integers -> Loss, log_weights (..., V), desired (..., V).

    Targets equal to ignore_index are not counted, and what their logits hold never matters. Where none is counted
    the mean is 0. The loss is in nats.
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must lie in [0, 1] but is {label_smoothing}: it is a share of certainty")
    validate.floating("logits", logits)
    V = logits.shape[-1]
    validate.integers("targets", targets)
    counted = np.ones_like(targets, dtype=bool)                         # (...)
    if ignore_index is not None:
        counted = targets != ignore_index                               # (...)
    targets = np.where(counted, targets, 0)                             # (...)
    validate.tokens(targets, V, name="targets", like=logits.shape[:-1])
    logits = np.where(counted[..., None], logits, 0)                    # (..., V)  what is ignored never matters
    log_weights = log_softmax(logits)                                   # (..., V)
    one_hot = np.arange(V, like=targets) == targets[..., None]          # (..., V)
    desired = one_hot * (1 - label_smoothing) + label_smoothing / V     # (..., V)
    desired = (desired * counted[..., None]).astype(logits.real.dtype)  # (..., V)  0 in rows not counted
    total = -(desired * np.where(desired == 0, 0, log_weights)).sum()   # ()        0 times -inf is 0 here
    count = counted.sum()                                               # ()
    mean = total / np.maximum(count, 1).astype(desired.dtype)           # ()
    return Loss(mean, total, count), log_weights, desired


def cross_entropy_backward(dloss, log_weights, desired):
    """dloss mirrors Loss, usually Loss(1.0) -> dlogits = predicted - desired, over the count for the mean."""
    dmean, dsum = dloss.mean, dloss.sum
    counted = desired.sum(axis=-1, keepdims=True)  # (..., 1)  1 or 0
    # mean = total / count, sum = total
    count = np.maximum(counted.sum(), 1)
    dtotal = (0 if dmean is None else dmean / count) + (0 if dsum is None else dsum)
    # total = -sum of desired * log_softmax(logits), and desired sums to 1 where it is counted
    return dtotal * (np.exp(log_weights) * counted - desired)


def mse(predicted, desired):
    """predicted, desired of one shape -> Loss of (predicted - desired)^2; the mean of nothing is 0."""
    if predicted.shape != desired.shape:
        raise ValueError(f"predicted {predicted.shape} and desired {desired.shape} must have one shape")
    difference = predicted - desired         # (...)
    total = (difference * difference).sum()  # ()
    return Loss(total / max(difference.size, 1), total, np.full_like(total, difference.size, dtype=np.int64))


def mse_backward(dloss, predicted, desired):
    """dloss mirrors Loss -> dpredicted, ddesired."""
    dmean, dsum = dloss.mean, dloss.sum
    # mean = total / size, sum = total
    dtotal = (0 if dmean is None else dmean / max(predicted.size, 1)) + (0 if dsum is None else dsum)
    # total = sum of (predicted - desired)^2
    dpredicted = 2 * dtotal * (predicted - desired)
    return dpredicted, -dpredicted
