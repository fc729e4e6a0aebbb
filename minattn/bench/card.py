"""On a graphics card: the same code with CuPy's arrays, against PyTorch on that card and against NumPy on the host.

A row is built three times from the same random numbers. Both sides on the card must have computed the same before they
are timed, in turns, each until the card has done all of it; what is quoted is the median. The host is asked twice, for
it takes long, and the faster time is quoted. Both sides compute in float32 itself: cuDNN would round to ten bits.
"""

import contextlib
import json
import statistics
import sys
import time
from typing import NamedTuple

import numpy as np

from minattn import backend
from minattn.attention import blockwise, dot, fused
from minattn.bench import measure, models, parts

AIM = 3.0  # times PyTorch's time
LEAST, SECONDS, QUICK = 5, 3.0, 0.5  # turns of each side; seconds of turns a row
LARGE, SMALL = (8, 8, 2048, 64), (2, 4, 256, 32)  # B, H, T, D
STEPS = 2048, 4096, 8192, 16384  # of the table of memory
NAME, WIDTHS = 84, (9, 11, 7, 6, 10, 9)
COLUMNS = "ours ms", "PyTorch ms", "ratio", "aim", "host ms", "speed-up"


class Row(NamedTuple):
    """Medians in seconds, None where nobody was asked; disagreement: in the place of times."""

    name: str
    ours: float | None = None
    theirs: float | None = None
    host: float | None = None
    aim: float | None = None
    disagreement: str = ""

    @property
    def ratio(self):
        return None if self.ours is None or self.theirs is None else self.ours / self.theirs

    @property
    def faster(self):
        """How many times as fast as NumPy on the host."""
        return None if self.ours is None or self.host is None else self.host / self.ours


class Usage(NamedTuple):
    """Bytes of the card at the peak of forward and backward, inputs and gradients included."""

    mechanism: str
    T: int
    bytes: int


def rows(torch, quick=False):
    """(name, what makes a contest from put, how PyTorch computes, aim) of every row."""
    shape = SMALL if quick else LARGE
    lstm = (16, 20, 64, 64) if quick else (64, 200, 256, 256)
    step = {"B": 4, "T": 32, "L": 2} if quick else {"B": 64, "T": 256, "M": 256, "H": 4, "L": 4}

    def attention(mechanism):
        return lambda torch, put: parts.attention(_rng(), torch, [shape], mechanism=mechanism, put=put)

    math_kernel, any_kernel = _kernel(torch, "MATH"), contextlib.nullcontext
    size = f"{shape[0]}x{shape[1]} heads, T {shape[2]}, D {shape[3]}"
    yield f"attention, dot, against the math kernel  {size}", attention(dot), math_kernel, AIM
    yield f"attention, fused, against the math kernel  {size}", attention(fused), math_kernel, AIM
    yield f"attention, fused, against the fused kernel  {size}", attention(fused), any_kernel, None
    size = "B {}, T {}, I {}, N {}".format(*lstm)
    for name, row in (("cuDNN", parts.lstm_layer), ("cells", parts.lstm_loop)):
        layer = lambda torch, put, row=row: row(_rng(), torch, [lstm], put=put)  # noqa: E731
        yield f"LSTM against {name}  {size}", layer, any_kernel, None
    language = lambda torch, put: models.transformer_step(_rng(), torch, **step, put=put)  # noqa: E731
    yield "language model, training step  " + _sizes(step), language, any_kernel, AIM
    small = {"B": 4, "S": 6, "T": 5} if quick else {"B": 128, "S": 40, "T": 40}
    reader = lambda torch, put: models.seq2seq_step(_rng(), torch, **small, put=put)  # noqa: E731
    yield "seq2seq, training step  " + _sizes(small), reader, any_kernel, None


def race(name, make, kernel, aim, torch, seconds):
    """One row, on the card that there is -> Row."""
    with contextlib.nullcontext() if torch is None else torch.device("cuda"):
        contest = next(iter(make(torch, backend.to_device)))
    with kernel():
        if wrong := measure.disagreement(contest):
            return Row(name, aim=aim, disagreement=wrong)
        works = [work for work in (contest.ours, contest.theirs) if work is not None]
        medians = _medians(works, torch, seconds)
    del contest, works
    _free(torch)
    alone = next(iter(make(None, parts.stay))).ours
    return Row(name, *medians, *[None] * (2 - len(medians)), min(_seconds(alone) for _ in range(2)), aim)


def memory(steps=STEPS):
    """What attention in tiles needs as T grows, one head of 64 -> [Usage]; `dot` beside it while that is small."""
    import cupy

    pool, found = cupy.get_default_memory_pool(), []
    for mechanism in (blockwise, fused, dot):
        for T in steps if mechanism is not dot else steps[:2]:
            _free(None)
            size = [(1, 1, T, 64)]
            work = next(parts.attention(_rng(), None, size, mechanism=mechanism, put=backend.to_device))
            work.ours()
            backend.synchronize()
            found.append(Usage(mechanism.__name__.rsplit(".", 1)[-1], T, pool.total_bytes()))
            del work
    return found


def facts(torch):
    """The card, its driver and all versions, one entry a fact."""
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    return {
        "card": properties["name"].decode(),
        "memory_bytes": properties["totalGlobalMem"],
        "driver": _version(cupy.cuda.runtime.driverGetVersion()),
        "cuda": _version(cupy.cuda.runtime.runtimeGetVersion()),
        "cupy": cupy.__version__,
        "torch": torch.__version__ if torch else None,
        "numpy": np.__version__,
    }


def main(arguments, number):
    """Every row and the table of memory -> 0; 1 where two sides disagree. Raises where there is no card."""
    backend.to_device(np.zeros(1))  # or the sentence that says why not
    torch = _torch()
    about, done = facts(torch), []
    say = (lambda line: None) if arguments.json else (lambda line: print(line, flush=True))
    say("; ".join(f"{name} {fact}" for name, fact in about.items() if fact is not None))
    say(_cells("", COLUMNS))
    for row in rows(torch, arguments.quick):
        done.append(race(*row, torch, QUICK if arguments.quick else SECONDS))
        say(_line(done[-1]))
    usages = memory(STEPS[:2] if arguments.quick else STEPS)
    say("\nbytes of the card at the peak, one head of 64, float32")
    for usage in usages:
        say(f"  {usage.mechanism:12}  T {usage.T:6}  {usage.bytes / 2**20:9.1f} MiB")
    agree = not any(row.disagreement for row in done)
    if arguments.json:
        content = [row._asdict() | {"ratio": row.ratio, "faster_than_host": row.faster} for row in done]
        document = {"agree": agree, "machine": about | {"threads": number}, "rows": content}
        print(json.dumps(document | {"memory": [usage._asdict() for usage in usages]}, indent=1))
    return 0 if agree else 1


def _rng():
    return np.random.default_rng(0)


def _sizes(sizes):
    return ", ".join(f"{letter} {n}" for letter, n in sizes.items())


def _kernel(torch, name):
    """A context in which PyTorch's attention is computed by that kernel."""
    if torch is None:
        return contextlib.nullcontext
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return lambda: sdpa_kernel(getattr(SDPBackend, name))


def _medians(works, torch, seconds):
    """Each in turn, until the seconds are over and each has had its turns."""
    times, begin = [[] for _ in works], time.perf_counter()
    while len(times[-1]) < LEAST or time.perf_counter() - begin < seconds:
        for work, its in zip(works, times, strict=True):
            its.append(_seconds(work, torch))
    return [statistics.median(its) for its in times]


def _seconds(work, torch=None):
    """From an idle card to an idle card."""
    _wait(torch)
    begin = time.perf_counter()
    work()
    _wait(torch)
    return time.perf_counter() - begin


def _wait(torch):
    backend.synchronize()
    if torch is not None:
        torch.cuda.synchronize()


def _free(torch):
    """What either library keeps of the card for later."""
    if "cupy" in sys.modules:
        sys.modules["cupy"].get_default_memory_pool().free_all_blocks()
    if torch is not None:
        torch.cuda.empty_cache()


def _torch():
    """PyTorch, where it sees the card."""
    try:
        import torch
    except ModuleNotFoundError:
        return None
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return torch if torch.cuda.is_available() else None


def _version(number):
    """13000 -> "13.0"."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _line(row):
    if row.disagreement:
        return f"{row.name:{NAME}}  {row.disagreement}"
    times = ["" if t is None else f"{1000 * t:.2f}" for t in (row.ours, row.theirs, row.host)]
    ratio, aim, faster = ("" if x is None else f"{x:.2f}" for x in (row.ratio, row.aim, row.faster))
    return _cells(row.name, [*times[:2], ratio, aim, times[2], faster])


def _cells(name, cells):
    return f"{name:{NAME}}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True))
