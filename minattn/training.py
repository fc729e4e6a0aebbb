"""Training: the one loop of every example here.

    loss, dparams = gradients(params, batch)
    params, state = adam(params, clip(dparams), state)            at the pace of `optim.schedule`

Ctrl-C ends it early and returns what was learned by then.
"""

import sys
import time
from typing import Any, NamedTuple

from minattn import optim

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

    learning_rate: the highest one; warm_up: updates until it is reached; max_norm: longer gradients are shortened;
    measure(params): anything, asked ten times on the way and at the end.
    """
    from tqdm import tqdm

    state, losses, seconds, marks = None, [], 0.0, []

    def mark():
        marks.append(Mark(len(losses), seconds, losses[-1] if losses else float("nan"), measure and measure(params)))

    pause = 0.1 if sys.stderr.isatty() else 10  # a log wants fewer lines than a screen
    with tqdm(total=updates, desc=title, unit="update", dynamic_ncols=True, mininterval=pause) as bar:
        try:
            for batch in batches:
                if len(losses) >= updates:
                    break
                begin = time.perf_counter()
                loss, dparams = gradients(params, batch)
                dparams, _ = optim.clip(dparams, max_norm)
                pace = optim.schedule(len(losses), updates, peak=learning_rate, warm_up=warm_up)
                params, state = optim.adam(params, dparams, state, learning_rate=pace)
                losses.append(float(loss))
                seconds += time.perf_counter() - begin
                bar.update()
                if len(losses) % max(1, updates // MARKS) == 0:
                    mark()
        except KeyboardInterrupt:
            bar.write(f"{title}: stopped after {len(losses)} of {updates} updates", file=sys.stdout)
        if not marks or marks[-1].updates < len(losses):
            mark()
    return Fitted(params, losses, seconds, marks)
