"""Training: the one loop of every example here, and the loss and gradients of whatever predicts tokens or classes.

    loss, dparams = gradients(params, batch)
    params, state = adam(params, clip(dparams), state)            at the pace of `optim.schedule`

both by `optim.Flat`, which writes in place; what is handed out for keeps is a copy. Ctrl-C ends it early and returns
what was learned by then.
"""

import functools
import sys
import time
from typing import Any, NamedTuple

import numpy as np

from minattn import optim, threads, tree
from minattn.backend import is_device
from minattn.functions import Loss, cross_entropy, cross_entropy_backward

MARKS = 10  # how often `measure` is asked


class Mark(NamedTuple):
    """What was measured after so many updates, which took so many seconds."""

    updates: int
    seconds: float
    loss: float
    measured: Any


class Fitted(NamedTuple):
    """What training leaves. losses: one for each update; seconds: of the updates alone."""

    params: dict
    losses: list
    seconds: float
    marks: list


def gradients(op, params, inputs, targets, *, ignore_index=None, lengths=None, side_by_side=False):
    """The mean cross-entropy of op's logits at targets (B, ...), and its gradient -> loss, dparams.

    inputs: a tuple of arrays (B, ...), one entry for each sequence, as have the arrays of lengths, options of op by
    name. side_by_side: each thread computes some sequences of the batch, and their gradients are added. That pays where
    the operations are large, as in a Transformer; the steps of a recurrence are too short for it, and a card has no use
    for it.

        mean = sum over all counted targets / count,  so a part whose sum is divided by the count of all adds up to it
    """
    count = targets.size if ignore_index is None else int((targets != ignore_index).sum())

    def part(some):
        out, cache = op.forward(params, *(x[some] for x in inputs), **{k: x[some] for k, x in (lengths or {}).items()})
        logits, *last = out if isinstance(out, tuple) else (out,)
        loss, *needed = cross_entropy(logits, targets[some], ignore_index=ignore_index)
        dlogits = cross_entropy_backward(Loss(mean=None, sum=1 / max(count, 1)), *needed)
        _, dparams = op.backward((dlogits, *(None for _ in last)) if last else dlogits, cache)
        return loss.sum, dparams

    B = len(targets)
    side_by_side = side_by_side and not is_device(targets)
    sums, dparams = zip(*threads.map(part, threads.parts(B) if side_by_side else [slice(0, B)]), strict=True)
    return sum(sums) / max(count, 1), functools.reduce(tree.add, dparams)


def fit(
    params, gradients, batches, *, updates, learning_rate, warm_up=40, max_norm=1.0, measure=None, title="training"
):
    """gradients(params, batch) -> loss, dparams, for each of the first `updates` batches -> Fitted.

    params: of one dtype, and left as they are; those that gradients() is given change with the next update.
    learning_rate: the highest one; warm_up: updates until it is reached; max_norm: longer gradients are shortened;
    measure(params): anything, asked ten times on the way and at the end.
    """
    from tqdm import tqdm

    flat, losses, seconds, marks = optim.Flat(params), [], 0.0, []

    def copied():
        return tree.map(np.copy, flat.params)

    def mark():
        measured = measure and measure(copied())
        marks.append(Mark(len(losses), seconds, losses[-1] if losses else float("nan"), measured))

    pause = 0.1 if sys.stderr.isatty() else 10  # a log wants fewer lines than a screen
    with tqdm(total=updates, desc=title, unit="update", dynamic_ncols=True, mininterval=pause) as bar:
        try:
            for batch in batches:
                if len(losses) >= updates:
                    break
                begin = time.perf_counter()
                loss, dparams = gradients(flat.params, batch)
                pace = optim.schedule(len(losses), updates, peak=learning_rate, warm_up=warm_up)
                flat.step(dparams, learning_rate=pace, max_norm=max_norm)
                losses.append(float(loss))
                seconds += time.perf_counter() - begin
                bar.update()
                if len(losses) % max(1, updates // MARKS) == 0:
                    mark()
        except KeyboardInterrupt:
            bar.write(f"{title}: stopped after {len(losses)} of {updates} updates", file=sys.stdout)
        if not marks or marks[-1].updates < len(losses):
            mark()
    return Fitted(copied(), losses, seconds, marks)
