"""How much memory attention takes at its peak, forward and backward, beyond what was there before.

Each size and each side has a process of its own, since a process keeps what it once had:

    python -m minattn.bench.memory ours|torch HEADS T D THREADS  -> bytes, or `unknown` where the system does not tell

with AT_ONCE in its environment, so that glibc's malloc gives back at once what is large (see `functions/buffers.py`):
what the making of the inputs has left would else serve the work, uncounted.
"""

import gc
import sys
from typing import NamedTuple

import numpy as np

from minattn.bench.measure import judge, python, same_threads
from minattn.bench.parts import attention

STEPS = 1024, 2048, 4096, 8192, 16384
QUICK = STEPS[:3]
FAR = 65536
HEADS, WIDTH = 4, 64
UNKNOWN = "unknown"
AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": "131072"}  # bytes from which on it asks the system
GOAL, AIM, MUST = 16384, 1.0, 1.25  # the size for which goals were set


class Usage(NamedTuple):
    """Bytes at the peak, for heads of T steps and width D; None where they are not known."""

    heads: int
    T: int
    D: int
    ours: int | None
    theirs: int | None

    @property
    def ratio(self):
        return None if None in (self.ours, self.theirs) else self.ours / self.theirs

    @property
    def aim(self):
        return AIM if self.T == GOAL else None

    @property
    def must(self):
        return MUST if self.T == GOAL else None

    @property
    def verdict(self):
        """Which goal the ratio holds."""
        return judge(self.ratio, self.aim, self.must)


def growing(number, torch, quick=False):
    """One Usage for each T, computed with so many threads."""
    for T in QUICK if quick else STEPS:
        yield _usage(HEADS, T, number, torch)


def far(number, torch, quick=False):
    """One head over so many steps that PyTorch is not asked."""
    yield _usage(1, FAR, number, None)


def _usage(heads, T, number, torch):
    sizes = heads, T, WIDTH
    return Usage(*sizes, _of("ours", *sizes, number), None if torch is None else _of("torch", *sizes, number))


def _of(side, *numbers):
    said = python("-m", "minattn.bench.memory", side, *map(str, numbers), **AT_ONCE).strip()
    return None if said == UNKNOWN else int(said)


def measure(side, heads, T, D, number):
    """The peak in bytes beyond what was there before, of forward and backward in this process."""
    torch = __import__("torch") if side == "torch" else None
    with same_threads(number, torch):
        small, large = (_work(torch, heads, steps, D) for steps in (64, T))
        small()  # what a library makes for itself the first time is not counted
        return peak(large)


def _work(torch, heads, T, D):
    (contest, *_) = attention(np.random.default_rng(0), torch, sizes=[(1, heads, T, D)])
    return contest.ours if torch is None else contest.theirs


def peak(work):
    """The resident memory at its peak during the work, less that before it; None where the system does not tell."""
    gc.collect()
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")  # the peak so far is forgotten
        read = _linux
    except OSError:
        try:
            import resource  # noqa: F401
        except ModuleNotFoundError:
            return None
        read = _unix
    before = read()
    work()
    return read() - before


def _linux():
    with open("/proc/self/status", encoding="utf-8") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _unix():
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    _, side, *sizes = sys.argv
    found = measure(side, *map(int, sizes))
    print(UNKNOWN if found is None else found)
