"""Side by side: Python threads over the batch or the heads, each with a BLAS that keeps to itself.

np.matmul computes a stack of small matrices one after the other on one core. NumPy lets go of the interpreter while it
computes, so threads that take a share each use the other cores; meanwhile the BLAS is held to one thread, or threads
would wait for threads. `threadpoolctl` holds it where it is installed; without it everything runs, only slower.

Where there are no threads at all, as in a browser, the shares are computed one after the other.
"""

import contextlib
import contextvars
import functools
import os
import threading

VARIABLES = "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"
_chosen = contextvars.ContextVar("threads", default=None)  # None: as many as the BLAS may have


def count():
    """How many threads may compute: what `using` says, else what the variables of the BLAS say, else every core."""
    if _chosen.get() is not None:
        return _chosen.get()
    said = next((os.environ[name] for name in VARIABLES if os.environ.get(name, "").isdigit()), None)
    return max(1, int(said)) if said is not None else cores()


@contextlib.contextmanager
def using(number):
    """Within this block so many threads compute; 1 computes in the caller's own."""
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"the number of threads must be a whole number of at least 1 but is {number!r}")
    token = _chosen.set(number)
    try:
        yield
    finally:
        _chosen.reset(token)


def parts(items):
    """range(items) as one slice for each thread: together they are all of it."""
    number = max(1, min(count(), items))
    return [slice(items * i // number, items * (i + 1) // number) for i in range(number)]


def share(work, items):
    """work(part) for the parts of range(items), slices, side by side; what one raises is raised here."""
    map(work, parts(items) if items else [])


def map(work, things):
    """[work(thing) for thing in things], side by side: the first here, each other on a thread; errors are raised here.

    What is started from within a thread is computed where it is.
    """
    if len(things) < 2 or count() == 1:
        return [work(thing) for thing in things]
    everywhere, (mine, *theirs) = _apart(len(things))
    with _blas_to_itself():  # around the cores, too: what a BLAS starts when it may again is not to keep to mine
        # np.errstate belongs to the context of the caller: every thread computes in a copy of it
        pairs = zip(things[1:], theirs, strict=True)
        others = [_start(contextvars.copy_context(), work, thing, where) for thing, where in pairs]
        try:
            _keep_to(mine)
            with using(1):
                done = [work(things[0])]
        finally:
            _keep_to(everywhere)
            errors = [future.exception() for future in others if future is not None]
    for error in errors:
        if error is not None:
            raise error
    for thing, future in zip(things[1:], others, strict=True):
        done.append(work(thing) if future is None else future.result())  # None: no thread could be had
    return done


def _start(context, work, thing, where):
    """The work on a thread of its own, on these cores -> future; None where no thread can be started."""

    def alone():
        _keep_to(where)
        with using(1):
            return work(thing)

    try:
        return _pool().submit(context.run, alone)
    except RuntimeError:  # "can't start new thread": a browser, or the interpreter is about to end
        return None


@functools.cache
def _pool():
    """Threads that are kept: to start one costs as much as a small product."""
    from concurrent.futures import ThreadPoolExecutor  # a sixth of the time that NumPy takes to load: not before need

    return ThreadPoolExecutor(max(cores() - 1, 1), thread_name_prefix="minattn")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork


_lock = threading.Lock()
_held = [0, None]  # how many hold the BLAS, and what the first of them has to set back


@contextlib.contextmanager
def _blas_to_itself():
    """The BLAS computes with one thread until the last of all who ask for it, from whatever thread, has left."""
    with _lock:
        _held[0] += 1
        if _held[0] == 1 and (blas := _blas()) is not None:
            _held[1] = blas.limit(limits=1)
    try:
        yield
    finally:
        with _lock:
            _held[0] -= 1
            if _held[0] == 0 and _held[1] is not None:
                _held[1].restore_original_limits()
                _held[1] = None


@functools.cache
def _blas():
    """threadpoolctl's grip on the BLAS that NumPy has loaded, None where there is none."""
    try:
        from threadpoolctl import ThreadpoolController
    except ModuleNotFoundError:
        return None
    found = ThreadpoolController().select(user_api="blas")
    return found if len(found) else None


def _apart(number):
    """-> the cores of the caller, and a part of them for each of so many threads; all of them where these are too few.

    Linux wakes a thread on the core of whoever wakes it, even if another one has nothing to do, and may take ten
    milliseconds to move it: two threads would compute one after the other. So each is told where to be. None, for
    wherever the system likes, where it does not let one choose, and where nobody holds the BLAS: whatever threads that
    started meanwhile would keep to one core for good.
    """
    try:
        everywhere = sorted(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        everywhere = None
    if everywhere is None or _blas() is None:
        return None, [None] * number
    size = len(everywhere)
    if number > size:
        return everywhere, [everywhere] * number
    return everywhere, [everywhere[size * i // number : size * (i + 1) // number] for i in range(number)]


def _keep_to(where):
    """The calling thread computes on these cores from now on; None: where it does."""
    if where is not None:
        with contextlib.suppress(OSError):  # not everywhere may a program choose, and a core can be taken away
            os.sched_setaffinity(0, where)


def cores():
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
