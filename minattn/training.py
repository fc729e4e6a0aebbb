"""Training: the one loop of every example here.

    loss, dparams = gradients(params, batch)
    params, state = adam(params, clip(dparams), state)            at the pace of `optim.schedule`

both by `optim.Flat`, which writes in place; what is handed out for keeps is a copy. Ctrl-C ends it early and returns
what was learned by then.
"""

import sys
import time
from typing import Any, NamedTuple

import numpy as np

from minattn import optim, tree

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
