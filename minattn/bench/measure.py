"""Two sides do the same work in turns; what is quoted is the ratio of their times.

Threads that have nothing to do look for more work a while, and keep a core meanwhile. So there is a rest before each
turn: else each side would be slowed by the threads of the other. And the first run after it does not count.

The 25th percentile forgets the turns that something else disturbed; a matrix product takes turns with them, and tells a
machine that is busy all the time. Before anything is timed both sides must have computed the same.
"""

import contextlib
import gc
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

import minattn
from minattn import threads, tree
from minattn.backend import to_host

TURN = 0.06  # seconds of runs in a turn, of which the median counts
REST = 0.12  # seconds before a turn, in which the threads of whoever came before go to sleep
LEAST = 3  # turns of each side
FLOOR = 1e-3  # of the largest number of all: a gradient that is exactly 0 carries the rounding of what cancelled
SIDE = 512  # of the square float32 matrices whose product is the floor
BUSY = 0.5  # of the fastest product: where it is slower than that, something else is computing


class Contest(NamedTuple):
    """One row. ours and theirs do the whole work once -> a tree of arrays, the same on both sides.

    theirs: None where PyTorch is missing. aim, must: of the ratio of the times, None where none was set. flops: of the
    matrix products that nobody can do without. tolerance: of max |ours - theirs| / max |theirs| in each array.
    clock: what is counted, in seconds. long: left out when time is short.
    """

    name: str
    ours: Callable
    theirs: Callable | None = None
    aim: float | None = None
    must: float | None = None
    flops: float | None = None
    tolerance: float = 1e-4
    clock: Callable = time.perf_counter
    long: bool = False


class Time(NamedTuple):
    """Seconds: the 25th percentile of the turns, and the fastest run."""

    quartile: float
    least: float


class Result(NamedTuple):
    """What a contest has shown. speed: flops a second of a product that took turns with it, in as many threads.

    products: our time in that of the row's matrix products alone.
    """

    name: str
    ours: Time | None = None
    theirs: Time | None = None
    aim: float | None = None
    must: float | None = None
    speed: float | None = None
    products: float | None = None
    disagreement: str = ""

    @property
    def ratio(self):
        """Ours to theirs: under 1 is faster than PyTorch."""
        return None if self.ours is None or self.theirs is None else self.ours.quartile / self.theirs.quartile

    @property
    def verdict(self):
        """Which goal the ratio holds."""
        return judge(self.ratio, self.aim, self.must)


def judge(ratio, aim, must):
    """-> "aim", "must" or "neither"; None where nothing was compared or no goal was set."""
    if ratio is None or must is None:
        return None
    return "aim" if ratio <= aim else "must" if ratio <= must else "neither"


def race(contest, seconds):
    """About so many seconds of turns -> Result; no time is told where the two sides disagree."""
    name, aim, must = contest.name, contest.aim, contest.must
    if wrong := disagreement(contest):
        return Result(name, aim=aim, must=must, disagreement=wrong)
    works = [(work, contest.clock) for work in (contest.ours, contest.theirs) if work is not None]
    *times, product = take_turns([*works, (_product(), time.perf_counter)], seconds)
    ours, theirs = times if len(times) == 2 else (*times, None)
    speed = 2 * SIDE**3 / product.quartile
    return Result(name, ours, theirs, aim, must, speed, contest.flops and ours.quartile * speed / contest.flops)


def busy(result, fastest):
    """Was the product much slower beside this row than it has been elsewhere?"""
    return result.speed is not None and result.speed < BUSY * fastest


def _product():
    left, right = np.random.default_rng(0).random((2, SIDE, SIDE), dtype=np.float32)
    return lambda: left @ right


def disagreement(contest):
    """What the two sides compute differently, in a few words; "" where they agree. This warms both up, too."""
    ours = dict(tree.leaves(contest.ours()))
    if contest.theirs is None:
        return ""
    theirs = {path: _array(leaf) for path, leaf in tree.leaves(contest.theirs())}
    if ours.keys() != theirs.keys():
        return f"disagree: {', '.join(sorted(ours.keys() ^ theirs.keys()))} on one side alone"
    scale = FLOOR * max(map(_largest, theirs.values()), default=0.0)
    errors = {path: _error(_array(leaf), theirs[path], scale) for path, leaf in ours.items()}
    worst = max(errors, key=errors.get, default=None)
    if worst is None or errors[worst] <= contest.tolerance:
        return ""
    return f"disagree: {worst} by {errors[worst]:.0e}"


def _array(leaf):
    """NumPy's, from wherever it lies."""
    return np.asarray(leaf.detach().cpu() if hasattr(leaf, "detach") else to_host(leaf))


def _error(ours, theirs, scale):
    """max |ours - theirs| / max(max |theirs|, scale); infinite for another shape, and where only one side is finite."""
    if ours.shape != theirs.shape:
        return np.inf
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    difference = np.abs(np.where(same, 0, ours) - np.where(same, 0, theirs)).max(initial=0.0)
    if np.isnan(difference):
        return np.inf
    scale = max(_largest(theirs), scale)
    return float(difference) / scale if scale else (np.inf if difference else 0.0)


def _largest(array):
    """The largest finite number, whatever its sign."""
    return float(np.abs(array[np.isfinite(array)]).max(initial=0))


def take_turns(works, seconds):
    """Each (work, clock) in turn, again and again, until the seconds are over -> one Time for each."""
    counts = [max(1, int(TURN / max(_run(*work), 1e-9))) for work in works]
    turns, runs = [[] for _ in works], [[] for _ in works]
    with _no_garbage_collection():
        begin = time.perf_counter()
        while len(turns[-1]) < LEAST or time.perf_counter() - begin < seconds:
            for work, count, its_turns, its_runs in zip(works, counts, turns, runs, strict=True):
                time.sleep(REST)
                _run(*work)  # wakes the threads, which then have to find their cores
                times = [_run(*work) for _ in range(count)]
                its_turns.append(statistics.median(times))
                its_runs.append(min(times))
    return [Time(float(np.percentile(a, 25)), min(b)) for a, b in zip(turns, runs, strict=True)]


def _run(work, clock):
    begin = clock()
    work()
    return clock() - begin


@contextlib.contextmanager
def _no_garbage_collection():
    """Nobody's turn is the one in which the garbage of all is collected."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def same_threads(number, torch=None):
    """Both sides compute with so many threads, the BLAS of NumPy too where threadpoolctl is installed."""
    before = torch.get_num_threads() if torch else None
    with threads.using(number), _blas_limited(number):
        if torch:
            torch.set_num_threads(number)
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(before)


def _blas_limited(number):
    try:
        from threadpoolctl import threadpool_limits
    except ModuleNotFoundError:
        return contextlib.nullcontext()
    return threadpool_limits(limits=number, user_api="blas")


def machine(cores, number, torch=None):
    """What the figures were measured on, one entry a fact."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "processor": _processor(),
        "cores": cores,
        "threads": number,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
        "blas_threads": _blas_threads(),
        "torch": torch.__version__ if torch else None,
    }


def python(*arguments, **variables):
    """Run a Python of its own that finds this library, its environment with these variables -> what it printed."""
    paths = [str(Path(minattn.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | variables
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # installed libraries are compiled once, and so shall this one be
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    if done.returncode:
        raise ValueError(f"a Python of its own, {' '.join(arguments)}, ended with status {done.returncode}")
    return done.stdout


def _processor():
    """Its name where the system tells one, else its kind."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _blas_threads():
    """How many threads NumPy's BLAS has now; None where nobody can tell."""
    try:
        from threadpoolctl import threadpool_info
    except ModuleNotFoundError:
        return None
    return next((blas["num_threads"] for blas in threadpool_info() if blas["user_api"] == "blas"), None)
