"""Memory that is used again holds what it should, and is nobody else's meanwhile."""

import gc
import os
import platform
import subprocess
import sys
import threading

import numpy as np
import pytest

from minattn.functions import buffers


@pytest.fixture(autouse=True)
def nothing_idle(monkeypatch):
    monkeypatch.setattr(buffers, "LEAST", 2**17)
    gc.collect()
    buffers._idle.clear()


def new(shape, dtype=np.float32):
    return buffers.empty(np.empty(0), shape, np.dtype(dtype))


def address(array):
    return array.__array_interface__["data"][0]


def idle():
    return sum(len(blocks) for blocks in buffers._idle.values())


def test_what_was_left_is_taken_again():
    first = new((100, 1000))
    place = address(first)
    assert first.shape == (100, 1000) and first.dtype == np.float32 and first.flags.writeable
    del first
    assert idle() == 1
    again = new((1000, 100), np.float32)
    assert address(again) == place and idle() == 0


@pytest.mark.parametrize("view", [lambda x: x[3:5].T, lambda x: x.reshape(-1).view(np.int32), lambda x: x[0].real])
def test_the_last_view_holds_it(view):
    held = view(new((100, 1000)))
    other = new((100, 1000))
    assert not np.shares_memory(held, other)
    del other
    assert idle() == 1
    del held
    assert idle() == 2


def test_sizes_that_differ_little_share_a_block():
    place = address(new((1000, 1000)))
    near, far = new((1000, 990)), new((1000, 700))
    assert address(near) == place != address(far) and near.shape == (1000, 990)
    near[:], far[:] = 1, 2
    assert (near == 1).all()


@pytest.mark.parametrize("size", [2**17, 2**17 + 1, 10**6, 2**20 - 1, 12_345_678])
def test_a_block_is_hardly_larger_than_what_stands_in_it(size):
    new((size,), np.uint8)
    ((block, _),) = buffers._idle.items()
    assert size <= block <= 1.125 * size


def test_small_ones_and_those_of_a_device_are_as_always(monkeypatch):
    new((10, 10))
    assert idle() == 0
    assert new((0, 5)).shape == (0, 5)


def test_no_more_is_kept_than_most(monkeypatch):
    monkeypatch.setattr(buffers, "MOST", 2**20)
    several = [new((100, 1000)) for _ in range(4)]
    del several
    assert 0 < buffers.idle() <= 2**20 and idle() == 2
    new((1000, 1000))  # larger than all that is kept
    assert idle() == 0


def test_eight_threads_at_once():
    wrong = []

    def work(number):
        for _ in range(50):
            mine = new((100, 1000))
            mine[:] = number
            if not (mine == number).all():
                wrong.append(number)

    them = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in them:
        thread.start()
    for thread in them:
        thread.join()
    assert not wrong and 0 < idle() <= 16  # a new one for each, while it still has the one before


@pytest.mark.parametrize("answer, taught", [("glibc 2.36", sys.maxsize > 2**32), ("musl", False), (None, False)])
def test_which_malloc_learns(monkeypatch, answer, taught):
    for name in [name for name in os.environ if name.startswith("MALLOC_") or name == "GLIBC_TUNABLES"]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "confstr", lambda name: answer if name == "CS_GNU_LIBC_VERSION" else "glibc", raising=False)
    assert buffers._taught() is taught
    for name in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES"):
        with monkeypatch.context() as within:
            within.setenv(name, "1")
            assert not buffers._taught()


def test_where_nobody_knows_which_malloc(monkeypatch):
    def refused(name):
        raise OSError(22, "Invalid argument")  # as musl says

    monkeypatch.setattr(os, "confstr", refused, raising=False)
    assert not buffers._taught()
    monkeypatch.delattr(os, "confstr")
    assert not buffers._taught()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc")
def test_malloc_keeps_what_comes_back():
    """Temporary arrays of a megabyte, many at a time: without its lesson the system clears each of their pages anew."""
    code = (
        "import resource\n"
        "import numpy as np\n"
        "import minattn.functions\n"
        "def faults():\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(3):\n"
        "    begin = faults()\n"
        "    some = [np.ones(2**18, np.float32) for _ in range(20)]\n"
        "    del some\n"
        "print(faults() - begin)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert int(done.stdout) < 500  # of 5120 pages
