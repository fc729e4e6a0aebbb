"""cross_entropy: how surprised the model is by the right answer. mse: how far off a number is.

    loss = - sum_v desired_v log softmax(logits)_v

`desired` is 1 at the target; with label smoothing e it is (1 - e) at the target plus e / V everywhere
(Szegedy et al. 2016, arXiv:1512.00567). It sums to 1, so the same loss needs no array (..., V) but the exponentials:

    loss = log sum_v exp(logits_v) - (1 - e) logits_target - e mean_v logits_v
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minattn import validate
from minattn.functions.tiles import by_rows

MODERATE = 1e-10, 1e10  # sums of exponentials that have overflowed nowhere and keep every digit that matters


class Loss(NamedTuple):
    """The mean over the counted targets, and what it is made of: mean = sum / count."""

    mean: Any
    sum: Any = None
    count: Any = None


class Desired(NamedTuple):
    """certainty at the targets plus elsewhere everywhere, in the rows that are counted; 0 in the others.

    places: where the numbers at the targets stand when (..., V) is flattened.
    """

    places: Any
    counted: Any
    certainty: float
    elsewhere: float


def cross_entropy(logits, targets, ignore_index=None, label_smoothing=0.0):
    """logits (..., V), targets (...) integers -> Loss, exponentials (..., V), total (..., 1), desired.

    Targets equal to ignore_index are not counted, and what their logits hold never matters. Where none is counted
    the mean is 0. The loss is in nats.
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must lie in [0, 1] but is {label_smoothing}: it is a share of certainty")
    validate.together(logits=logits, targets=targets)
    validate.floating("logits", logits)
    V, e = logits.shape[-1], float(label_smoothing)
    validate.integers("targets", targets)
    counted = np.ones_like(targets, dtype=bool)                              # (...)
    if ignore_index is not None:
        counted = targets != ignore_index                                    # (...)
        targets = np.where(counted, targets, 0)                              # (...)
    validate.tokens(targets, V, name="targets", like=logits.shape[:-1])
    if ignore_index is not None:
        logits = np.where(counted[..., None], logits, 0)                     # (..., V)  ignored, it never matters
    at = np.arange(0, logits.size, V, like=targets).reshape(targets.shape)   # (...)
    places = at + targets.astype(np.int64)                                   # (...)
    exponentials, total, peak = _exponentials(logits)                        # (..., V), (..., 1), (..., 1) or 0
    surprise = (np.log(total) + peak)[..., 0]                                # (...)
    if e < 1:
        surprise = surprise - (1 - e) * logits.reshape(-1)[places]           # (...)
    if e > 0:
        surprise = surprise - e * logits.mean(axis=-1)                       # (...)
    summed = (counted * surprise).sum()                                      # ()
    count = counted.sum()                                                    # ()
    mean = summed / np.maximum(count, 1).astype(logits.real.dtype)           # ()
    return Loss(mean, summed, count), exponentials, total, Desired(places, counted, 1 - e, e / V)


def cross_entropy_backward(dloss, exponentials, total, desired):
    """dloss mirrors Loss, usually Loss(1.0) -> dlogits = predicted - desired, over the count for the mean."""
    dmean, dsum = dloss.mean, dloss.sum
    places, counted, certainty, elsewhere = desired
    # mean = summed / count
    count = np.maximum(counted.sum(), 1).astype(total.dtype)
    dsummed = (0 if dmean is None else dmean / count) + (0 if dsum is None else dsum)
    # summed = sum of counted * surprise
    dsurprise = counted.astype(total.real.dtype) * dsummed
    # surprise = log total - certainty * logits at the target - elsewhere * sum of logits
    V = exponentials.shape[-1]
    (dlogits,) = by_rows(_times, exponentials, dsurprise[..., None] / total, widths=(V,))
    if elsewhere:
        dlogits -= (dsurprise * elsewhere)[..., None]
    dlogits.reshape(-1)[places] -= dsurprise * certainty
    return dlogits


def _exponentials(logits):
    """logits (..., V) -> exp(logits - peak) (..., V), its sum (..., 1), peak: 0, or where need be the row's (..., 1).

    The peak keeps exp from overflow, and changes neither loss nor gradient. To look for it costs as much as exp, so
    first it is tried without.
    """
    least, most = MODERATE
    with np.errstate(over="ignore", invalid="ignore"):
        exponentials, total = by_rows(_exp, logits, widths=(logits.shape[-1], 1))  # (..., V), (..., 1)
    if ((total.real >= least) & (total.real <= most)).all():
        return exponentials, total, 0
    peak = logits.real.max(axis=-1, keepdims=True)                                 # (..., 1)
    peak = np.where(np.isfinite(peak), peak, 0)                                    # (..., 1)
    with np.errstate(over="ignore"):                                               # of what is far below the peak
        exponentials, total = by_rows(_exp, logits - peak, widths=(logits.shape[-1], 1))
    return exponentials, np.where(total == 0, 1, total), peak


def _exp(x, powers, total):
    """exp(x) = 2^(x log2(e)), which NumPy computes in half the time in single precision, and its sums by the BLAS."""
    if x.dtype == np.float32:
        np.multiply(x, math.log2(math.e), out=powers)
        np.exp2(powers, out=powers)
    else:
        np.exp(x, out=powers)
    total[..., 0] = powers @ np.ones_like(powers, shape=powers.shape[-1:])


def _times(exponentials, scale, dlogits):
    np.multiply(exponentials, scale, out=dlogits)


def mse(predicted, desired):
    """predicted, desired of one shape -> Loss of (predicted - desired)^2; the mean of nothing is 0."""
    validate.together(predicted=predicted, desired=desired)
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
