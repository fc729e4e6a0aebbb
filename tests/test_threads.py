"""Shares side by side: all of the work, once; errors and warnings as in one thread; the BLAS is given back."""

import concurrent.futures
import os
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

from minattn import threads


def squares(number, items=7):
    """Which squares were computed, and by how many threads."""
    out, names = np.zeros(items), set()

    def work(part):
        names.add(threading.current_thread().name)
        out[part] += np.arange(items)[part] ** 2

    with threads.using(number):
        threads.share(work, items)
    return out, names


@pytest.mark.parametrize("items", [0, 1, 2, 7])
@pytest.mark.parametrize("number", [1, 2, 3, 8, 20])
def test_all_of_the_work_is_done_once(number, items):
    out, names = squares(number, items)
    assert (out == np.arange(items) ** 2).all() and len(names) <= max(1, min(number, items))


def test_one_thread_is_the_caller():
    assert squares(1)[1] == {threading.current_thread().name}


def test_the_number_is_that_of_the_block_the_variables_or_the_cores(monkeypatch):
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert threads.count() == threads.cores() >= 1
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads.count() == 3
    with threads.using(5):
        assert threads.count() == 5
        with threads.using(2):
            assert threads.count() == 2
        assert threads.count() == 5
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert threads.count() == threads.cores()


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "2"])
def test_a_number_that_is_none(number):
    with (
        pytest.raises(ValueError, match="number of threads must be a whole number of at least 1"),
        threads.using(number),
    ):
        pass


def test_shares_within_a_share_are_computed_where_they_are():
    inside = []

    def work(part):
        threads.share(lambda part: inside.append((threading.current_thread().name, threads.count())), 4)

    with threads.using(2):
        threads.share(work, 2)
    assert len(inside) == 2 and {count for _, count in inside} == {1}


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_an_error_is_raised_where_the_work_was_asked_for(wrong):
    done = []

    def work(part):
        if part.start == wrong:
            raise ZeroDivisionError(f"share {wrong}")
        done.append(part.start)

    with threads.using(3), pytest.raises(ZeroDivisionError, match=f"share {wrong}"):
        threads.share(work, 3)
    assert sorted(done) == [i for i in range(3) if i != wrong]
    assert threads._held == [0, None]


def test_errstate_goes_along():
    """What the caller has silenced stays silent in every thread, and what raises there raises here."""

    def work(part):
        np.exp2(np.array([5000.0]))

    with threads.using(3), warnings.catch_warnings():
        warnings.simplefilter("error")
        with np.errstate(over="ignore"):
            threads.share(work, 3)
        with np.errstate(over="raise"), pytest.raises(FloatingPointError):
            threads.share(work, 3)


def test_eight_callers_at_once():
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for out, _ in pool.map(squares, [2] * 64):
            assert (out == np.arange(7) ** 2).all()
    assert threads._held == [0, None]


def test_without_threads(monkeypatch):
    """As in a browser."""

    class None_:
        def submit(self, *work):
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "_pool", None_)
    assert (squares(4)[0] == np.arange(7) ** 2).all()


def test_without_threadpoolctl(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    threads._blas.cache_clear()
    try:
        assert threads._blas() is None and (squares(4)[0] == np.arange(7) ** 2).all()
    finally:
        threads._blas.cache_clear()


def test_the_blas_is_held_and_given_back():
    control = pytest.importorskip("threadpoolctl")

    def number():
        return [blas["num_threads"] for blas in control.threadpool_info() if blas["user_api"] == "blas"]

    with control.threadpool_limits(2, user_api="blas"):
        before, seen = number(), []
        with threads.using(2):
            threads.share(lambda part: seen.append(number()), 2)
        assert number() == before and all(n == 1 for held in seen for n in held)
        with threads.using(1):
            threads.share(lambda part: seen.append(number()), 2)
        assert seen[-1] == before  # one thread leaves the cores to the BLAS


@pytest.mark.skipif(len(getattr(os, "sched_getaffinity", lambda _: ())(0)) < 2, reason="there is one core to choose")
def test_each_on_its_own_cores():
    """Else the system wakes one thread on the core of the other. Afterwards the caller may be anywhere again."""
    pytest.importorskip("threadpoolctl")
    before = os.sched_getaffinity(0)
    with threads.using(2):
        for _ in range(2):  # the second time the threads are those of the first
            seen = threads.map(lambda _: os.sched_getaffinity(0), range(2))
            assert not seen[0] & seen[1] and seen[0] | seen[1] == before == os.sched_getaffinity(0)
        with pytest.raises(ZeroDivisionError):
            threads.map(lambda x: 1 // x, range(2))
        assert os.sched_getaffinity(0) == before
    more = len(before) + 1
    with threads.using(more):  # there are not enough for each to have one: so nobody is told where to be
        assert threads.map(lambda _: os.sched_getaffinity(0), range(more)) == [before] * more


def test_where_no_core_can_be_chosen(monkeypatch):
    def refused(process, cores):
        raise PermissionError("not here")

    monkeypatch.setattr(os, "sched_setaffinity", refused, raising=False)
    assert (squares(2)[0] == np.arange(7) ** 2).all()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: refused(0, ()), raising=False)
    assert threads._apart(2) == (None, [None, None])
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert threads._apart(2) == (None, [None, None]) and (squares(2)[0] == np.arange(7) ** 2).all()


def test_nobody_is_told_where_to_be_while_nobody_holds_the_blas(monkeypatch):
    """Its threads, started meanwhile, would stay on one core."""
    monkeypatch.setattr(threads, "_blas", lambda: None)
    assert threads._apart(2) == (None, [None, None])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_after_a_fork():
    code = (
        "import os, warnings; warnings.simplefilter('ignore')\n"
        "from minattn import threads\n"
        "def run():\n"
        "    done = []\n"
        "    with threads.using(2): threads.share(done.append, 2)\n"
        "    return len(done)\n"
        "run(); child = os.fork()\n"
        "if not child: os._exit(run() - 2)\n"
        "print(os.waitpid(child, 0)[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", timeout=60)
    assert done.stdout.strip() == "0", done.stderr
