"""Who did the work? A function is watched while it runs: whom it calls, and whether its backward takes differences.

Not a wall: whoever wants to get round it will. It tells those who did not understand the task from those who solved it.
"""

import dis
import sys

import numpy as np

LIBRARIES = ("minattn", "torch", "jax", "jaxlib", "tensorflow", "keras", "autograd", "scipy.special", "cupy")
OFTEN = 2  # calls of forward with a number or two moved a little, in one backward: somebody takes differences
STEPS = 1e-8, 1e-2  # what people take for h


class Watch:
    """The function, watched. foreign: whose functions it called; differences: how it took differences, or ""."""

    def __init__(self, function, forward="", like=None):
        self.function, self.forward, self.like = function, forward, like
        self.foreign, self.differences, self._calls, self._last = set(), "", 0, ()

    def __call__(self, *args, **options):
        before, self._calls, self._last = sys.getprofile(), 0, ()
        sys.setprofile(self._see)
        try:
            result = self.function(*args, **options)
        finally:
            sys.setprofile(before)
        # (dx,) is dx: both are taken for the gradient of the one input that there is
        return as_arrays(result[0] if isinstance(result, tuple | list) and len(result) == 1 else result, self.like)

    def _see(self, frame, event, called):
        module, name = frame.f_globals.get("__name__") or "", frame.f_code.co_name
        if event == "call":
            if _is_library(module) and not _is_library(frame.f_back.f_globals.get("__name__") or ""):
                self.foreign.add(f"{module}.{name}")
            elif self.forward and module.split(".")[0] != "numpy":
                self._count(frame, name)
        elif event == "c_call" and not _is_library(module):
            owner = getattr(called, "__module__", None) or type(getattr(called, "__self__", None)).__module__
            if isinstance(owner, str) and _is_library(owner):
                self.foreign.add(f"{owner}.{getattr(called, '__name__', '?')}")

    def _count(self, frame, name):
        if name == self.forward:  # of a part of the batch at a time, say, is no difference
            given = [x.copy() for x in frame.f_locals.values() if isinstance(x, np.ndarray) and x.dtype.kind == "f"]
            self._calls += _moved(given, self._last)
            self._last = given
            if self._calls >= OFTEN:
                self.differences = f"backward calls {self.forward} again and again"
        if any(isinstance(x, np.ndarray) and np.iscomplexobj(x) for x in frame.f_locals.values()):
            self.differences = f"backward calls {name} with complex numbers"


def _moved(now, before):
    """The same arrays, but for one or two numbers that differ by no more than two steps."""
    if [x.shape for x in now] != [x.shape for x in before]:
        return False
    apart = [np.abs(x - y) for x, y in zip(now, before, strict=True)]
    return 0 < sum(np.count_nonzero(x) for x in apart) <= 2 and max(x.max(initial=0) for x in apart) <= 2.1 * STEPS[1]


def as_arrays(result, like):
    """What was returned, with lists of numbers as arrays and an array of results as a tuple, where it should be so."""
    if isinstance(like, tuple):
        rows = isinstance(result, np.ndarray) and [np.shape(row) for row in result] == [np.shape(part) for part in like]
        if rows or (isinstance(result, tuple | list) and len(result) == len(like)):
            return tuple(as_arrays(*pair) for pair in zip(result, like, strict=True))
        return result
    if isinstance(like, np.ndarray) and isinstance(result, list):
        try:
            array = np.array(result)
        except ValueError:  # rows of several lengths
            return result
        return array if array.dtype.kind in "fiubc" else result
    return result


def _is_library(module):
    """Is this one of the libraries? The classroom's own code is none, but for the solutions."""
    if module.startswith("minattn.classroom"):
        return module == "minattn.classroom.solutions"
    return any(module == home or module.startswith(f"{home}.") for home in LIBRARIES)


def looks_like_differences(function):
    """Do a function, and those that it calls, loop and hold a number that looks like the h of a difference?"""
    open_ones, seen, loops, steps = [function], set(), False, False
    while open_ones:
        one = open_ones.pop()
        code = getattr(one, "__code__", one)
        if not hasattr(code, "co_code") or code in seen:
            continue
        seen.add(code)
        around = getattr(one, "__globals__", {})
        used = [around[name] for name in code.co_names if name in around]
        used += [cell.cell_contents for cell in getattr(one, "__closure__", None) or ()]
        numbers = [*code.co_consts, *used, *(getattr(one, "__defaults__", None) or ())]
        open_ones += [part for part in code.co_consts if hasattr(part, "co_code")]
        open_ones += [part for part in used if hasattr(part, "__code__") and not _is_library(part.__module__ or "")]
        loops |= any(instruction.opname == "FOR_ITER" for instruction in dis.get_instructions(code))
        steps |= any(isinstance(number, float) and STEPS[0] <= number <= STEPS[1] for number in numbers)
    return loops and steps
