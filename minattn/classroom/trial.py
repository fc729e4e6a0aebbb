"""Trying a student's function: it runs, its properties are tested one by one, and a mistake that is known is named."""

import copy
import functools
import inspect
import os
import re
import sysconfig
import traceback
import warnings
from types import SimpleNamespace

import numpy as np

from minattn import tree
from minattn.classroom import properties, shelf
from minattn.classroom.diagnosis import diagnose
from minattn.classroom.solutions import given, reference
from minattn.classroom.verdict import CRASHED, DELEGATED, MISSING, NUMERICAL, OK, WRONG_ANSWER, Mark, Verdict
from minattn.classroom.watch import Watch, looks_like_differences
from minattn.gradcheck import gradcheck
from minattn.gradcheck.derivative import floating
from minattn.gradcheck.numeric import random_like

NOT_THEIRS = (
    "<solution of ",
    str(shelf.PACKAGE) + os.sep,
    *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),
)
NOISE = 2e-14  # what a last bit changes by more than that, relative to the largest, was divided by a small step
NEARLY = properties.EXACT, 1e-4  # errors of a gradient by differences
UNWRITTEN = "It still raises NotImplementedError: nothing is written yet, or that line is still there. Then delete it."
FIRST = {}  # what was predicted first


class Trial:
    """One function on one draw of numbers. Arguments are copied for every call; rng(): the same numbers every time."""

    def __init__(self, exercise, function, seed):
        self.exercise, self.seed = exercise, seed
        self.op = function
        self.drawn = exercise.draw(self.rng())
        self.watch = Watch(self.as_function(function), exercise.given, None if exercise.mechanism else self.reference())

    def rng(self, more=0):
        """The numbers of this student; more: other ones, the same each time."""
        return self.exercise.rng(self.seed * 1000 + more)

    def call(self, arguments=None):
        """The student's function at its arguments, those drawn or others by name -> what it returns."""
        return self.watch(*copy.deepcopy(self.arguments(arguments)))

    def reference(self, arguments=None):
        """The solution at the same arguments."""
        return self.as_function(reference(self.exercise))(*copy.deepcopy(self.arguments(arguments)))

    def as_function(self, function):
        """A mechanism as a function that returns its context and the gradients of its inputs; a function as it is."""
        if not self.exercise.mechanism:
            return function

        def there_and_back(*arguments):
            *inputs, mask = arguments
            context, cache = function.forward({}, *inputs, mask=mask)
            dinputs, _ = function.backward(np.cos(np.arange(context.size)).reshape(context.shape), cache)
            return context, *dinputs

        return there_and_back

    def arguments(self, drawn=None):
        """What the function is called with: a backward gets a random gradient and the cache of the given forward."""
        drawn = self.drawn if drawn is None else drawn
        if not self.exercise.given:
            return tuple(drawn.values())
        out, cache = given(self.exercise)(**copy.deepcopy(drawn))
        return random_like(out, self.rng(7)), cache

    def cases(self, rng=None):
        return self.exercise.cases(rng or self.rng())

    @functools.cached_property
    def reports(self):
        """The gradient check of the backward, with the forward that was given, on every case."""
        return [self.report(drawn) for drawn in self.cases()]

    def report(self, drawn, diagnose=False):
        """Of a mechanism its own forward and backward, else the backward against the forward that was given."""
        inputs = {name: x for name, x in drawn.items() if isinstance(x, np.ndarray) and floating(x)}
        options = {name: x for name, x in drawn.items() if name not in inputs}
        if self.exercise.mechanism:
            return gradcheck(self.op, inputs=tuple(inputs.values()), params={}, options=options, diagnose=diagnose)

        def backward(dout, cache):
            return self.watch(dout, cache)

        forward, names = given(self.exercise), tuple(inputs)
        return gradcheck(forward, backward, tuple(inputs.values()), names=names, options=options, diagnose=diagnose)


def attempt(exercise, function, seed=0, hidden=False):
    """-> Verdict. hidden: the hidden properties too."""
    if exercise.mechanism:
        function = _namespace(exercise, function)
    elif not callable(function):
        called = ", a result: leave out its brackets" if isinstance(function, np.ndarray | tuple) else ""
        raise TypeError(
            f"check.{exercise.name} takes the function itself, check.{exercise.name}({exercise.name}), but "
            f"{type(function).__name__} came{called}"
        )
    elif said := _signature(exercise, function):
        return Verdict(exercise.name, CRASHED, said=said)
    trial = Trial(exercise, function, seed)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # what must stay finite is a property
        try:
            if trial.call() is None:
                nothing = f"{exercise.name} returns None: is a return missing?"
                return Verdict(exercise.name, MISSING, said=nothing, note=_more(exercise))
        except NotImplementedError:
            return Verdict(exercise.name, MISSING, said=UNWRITTEN, note=_more(exercise))
        except Exception as error:
            return _honest(trial, Verdict(exercise.name, CRASHED, said=_said(error), note=_more(exercise)))
        asked = [p for p in properties.of(exercise) if hidden or not p.hidden]
        marks = tuple(_mark(trial, asked_for) for asked_for in asked)
        if all(mark.passed for mark in marks):
            return _honest(trial, Verdict(exercise.name, OK, marks))
        names, likely = diagnose(trial)
        if names == (exercise.broken,):  # what it is, is the question
            likely = ("what was given. The mistake is still in it.",)
        return _honest(trial, Verdict(exercise.name, WRONG_ANSWER, marks, "", names, likely, _more(exercise)))


def _namespace(exercise, drawer):
    """A module or class with forward and backward, as an op of the library."""
    parts = {name: getattr(drawer, name, None) for name in ("forward", "backward")}
    if missing := [name for name, part in parts.items() if not callable(part)]:
        raise TypeError(
            f"check.{exercise.name} takes a class or a module with forward and backward, but "
            f"{getattr(drawer, '__name__', type(drawer).__name__)} has no {' and no '.join(missing)}"
        )

    def backward(dcontext, cache):
        """A list of the three is as good as a tuple; of what else it may return the exercise's own words tell."""
        result = parts["backward"](dcontext, cache)
        pair = isinstance(result, tuple | list) and len(result) == 2 and isinstance(result[1], dict)
        if not pair or not isinstance(result[0], tuple | list):
            came = f"{len(result)} results" if isinstance(result, tuple | list) else f"one {type(result).__name__}"
            raise TypeError(f"backward should return (dquery, dkey, dvalue), {{}}: a tuple and a dict, not {came}")
        return tuple(result[0]), result[1]

    return SimpleNamespace(__name__=exercise.name, init=lambda rng: {}, forward=parts["forward"], backward=backward)


def predicted(prediction, answer):
    """What was expected is kept, and then answered."""
    if answer is None:
        return Verdict(prediction.name, MISSING, said=f"Decide first: one of {prediction.choices}.")
    if not isinstance(answer, str) or answer.strip().lower() not in prediction.replies:
        raise ValueError(f"{prediction.name} is one of {prediction.choices}, but it is {answer!r}")
    answer = answer.strip().lower()
    first = FIRST.setdefault(prediction.name, answer)
    before = f" At first you said {first}." if first != answer else ""
    right = answer == prediction.right
    said = f"You say {answer}.{before} {prediction.replies[answer]}"
    return Verdict(prediction.name, OK if right else WRONG_ANSWER, said=said)


def _signature(exercise, function):
    """Can it be called as it should? A sentence where not."""
    wanted = list(inspect.signature(reference(exercise)).parameters)
    try:
        found = inspect.signature(function)
    except (TypeError, ValueError):
        return ""
    try:
        found.bind(*[None] * len(wanted))
    except TypeError as error:
        return f"{exercise.name} is called as {exercise.name}({', '.join(wanted)}): {error}. Was the def line changed?"
    return ""


def _more(exercise):
    return f"A hint: check.{exercise.name}.hint(1)"


def _mark(trial, asked):
    try:
        said = asked.test(trial)
    except NotImplementedError:
        said = "part of it is not written yet"
    except Exception as error:  # of the student's own, or of a test that met something that it did not expect
        said = _said(error) if _own_line(error) else "cannot be tried on what it returns"
    return Mark(asked.name, not said, said, asked.points, asked.hidden)


def _said(error):
    """The error in one line, with the student's own line where it came up."""
    line, text = _own_line(error), re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(str(error).split()))
    where = f", in the line `{line}`" if line else ""
    return f"{type(error).__name__}{f': {text[:300]}' if text else ''}{where}"


def _own_line(error):
    """The last line on the error's way that is the student's: not this package's, Python's or another library's."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((f.line for f in reversed(frames) if not f.filename.startswith(NOT_THEIRS) and f.line), "")


def _honest(trial, verdict):
    """The same, unless somebody else did the work or the gradient was measured."""
    watch = trial.watch
    if watch.foreign:
        who = ", ".join(sorted(watch.foreign)[:3])
        said = f"It calls {who}, which does what was to be written. Write it with NumPy alone."
        return verdict._replace(outcome=DELEGATED, said=said, names=(), likely=())
    how = watch.differences or (_nearly(trial, verdict) and "its errors are those of differences")
    if how:
        said = f"A gradient by differences: {how}. Write the derivative itself."
        return verdict._replace(outcome=NUMERICAL, said=said, names=(), likely=())
    return verdict


def _nearly(trial, verdict):
    """Nearly right gradients, from code that loops with a small step."""
    if not trial.exercise.given or verdict.outcome != WRONG_ANSWER or not looks_like_differences(trial.watch.function):
        return False
    try:
        worst = max(report.error for report in trial.reports)
    except Exception:
        return False
    return NEARLY[0] < worst < NEARLY[1] and _noisy(trial)


def _noisy(trial):
    """What a last bit of the inputs changes is divided by h in a difference; in a derivative it stays a last bit."""
    first = trial.arguments()
    moved = tree.map(lambda x: np.nextafter(x, np.inf) if floating(x) else x, first)
    before, after = (tree.leaves(trial.watch(*copy.deepcopy(arguments))) for arguments in (first, moved))
    return any(
        np.abs(x - y).max(initial=0) > NOISE * np.abs(x).max(initial=0)
        for (_, x), (_, y) in zip(before, after, strict=True)
    )
