"""Trying a student's function: it runs, its properties are tested one by one, and a mistake that is known is named."""

import copy
import functools
import inspect
import traceback
import warnings
from types import SimpleNamespace

import numpy as np

from minattn import tree
from minattn.classroom import properties
from minattn.classroom.solutions import given, reference, wrong
from minattn.classroom.verdict import (
    CRASHED,
    DELEGATED,
    MISSING,
    NUMERICAL,
    OK,
    WRONG_ANSWER,
    Mark,
    Verdict,
)
from minattn.classroom.watch import Watch, looks_like_differences
from minattn.gradcheck import gradcheck
from minattn.gradcheck.derivative import floating
from minattn.gradcheck.numeric import random_like

SAME = 1e-7  # two results are one, relative to the largest number
NEARLY = 1e-12, 1e-4  # errors of a gradient by differences
SEEDS = 3  # how many draws a mistake is compared on, beside the extremes
FIRST = {}  # what was predicted first


class Trial:
    """One function on one draw of numbers. Arguments are copied for every call; rng(): the same numbers every time."""

    def __init__(self, exercise, function, seed):
        self.exercise, self.seed = exercise, seed
        self.op = function
        self.watch = Watch(as_function(exercise, function), exercise.may, exercise.given)
        self.drawn = exercise.draw(self.rng())

    def rng(self, more=0):
        return self.exercise.rng(self.seed * 1000 + more)

    def call(self, arguments=None):
        """The student's function at its arguments, those drawn or others by name -> what it returns."""
        return self.watch(*copy.deepcopy(self.arguments(arguments)))

    def reference(self, arguments=None):
        return as_function(self.exercise, reference(self.exercise))(*copy.deepcopy(self.arguments(arguments)))

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


def as_function(exercise, function):
    """A mechanism as a function that returns its context and the gradients of its inputs; a function as it is."""
    if not exercise.mechanism:
        return function

    def there_and_back(*inputs, mask):
        context, cache = function.forward({}, *inputs, mask=mask)
        dinputs, _ = function.backward(np.cos(np.arange(context.size)).reshape(context.shape), cache)
        return context, *dinputs

    return lambda *arguments: there_and_back(*arguments[:-1], mask=arguments[-1])


def attempt(exercise, function, seed=0, hidden=False):
    """-> Verdict. hidden: the hidden properties too."""
    function = getattr(function, "function", function) if isinstance(function, Watch) else function
    if exercise.mechanism:
        function = _namespace(exercise, function)
    elif not callable(function):
        raise TypeError(
            f"check.{exercise.name} takes the function itself, check.{exercise.name}({exercise.name}), but got a "
            f"{type(function).__name__}{': is it called already?' if isinstance(function, np.ndarray | tuple) else ''}"
        )
    if not exercise.mechanism and (said := _signature(exercise, function)):
        return Verdict(exercise.name, CRASHED, said=said)
    trial = Trial(exercise, function, seed)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # what must stay finite is a property
        try:
            if trial.call() is None:
                nothing = f"{exercise.name} returns None: is a return missing?"
                return Verdict(exercise.name, MISSING, said=nothing, note=_more(exercise))
        except NotImplementedError:
            return Verdict(exercise.name, MISSING, said="Nothing is written yet.", note=_more(exercise))
        except Exception as error:
            return _honest(trial, Verdict(exercise.name, CRASHED, said=_said(error), note=_more(exercise)))
        asked = [p for p in properties.of(exercise) if hidden or not p.hidden]
        marks = tuple(_mark(trial, asked_for) for asked_for in asked)
        if all(mark.passed for mark in marks):
            return _honest(trial, Verdict(exercise.name, OK, marks))
        names, likely = diagnose(trial)
        if names == (exercise.broken,):  # what it is, is the question
            likely = ("what was given: the mistake is still in it.",)
        return _honest(trial, Verdict(exercise.name, WRONG_ANSWER, marks, "", names, likely, _more(exercise)))


def _namespace(exercise, drawer):
    """A module or class with forward and backward, as an op of the library."""
    parts = {name: getattr(drawer, name, None) for name in ("forward", "backward")}
    if missing := [name for name, part in parts.items() if not callable(part)]:
        raise TypeError(
            f"check.{exercise.name} takes a class or a module with forward and backward, but {', '.join(missing)} is "
            f"not in {getattr(drawer, '__name__', type(drawer).__name__)}"
        )
    return SimpleNamespace(__name__=exercise.name, init=lambda rng: {}, **parts)


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
    except Exception as error:
        said = _said(error)
    return Mark(asked.name, not said, said, asked.points, asked.hidden)


def _said(error):
    """The error in one line, with the student's own line where it came up."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        f
        for f in frames
        if "minattn" not in f.filename.replace("\\", "/").split("/") and "site-packages" not in f.filename
    ]
    line = f" in the line `{own[-1].line}`" if own and own[-1].line else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}{f': {text[:300]}' if text else ''}{line}"


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
    return NEARLY[0] < worst < NEARLY[1]


def diagnose(trial):
    """-> the names of the mistakes that give the same results, and a sentence for each.

    First one mistake that explains everything; then one that explains the usual cases, where something else goes wrong
    with the extremes; then several, each in results of its own. Where none is known, what the gradient checker's rules
    say of the numbers.
    """
    exercise = trial.exercise
    draws = [trial.cases(trial.rng(100 + seed)) for seed in range(SEEDS)]
    usual, extremes = [cases[0] for cases in draws], [case for cases in draws for case in cases[1:]]

    def results(function):
        return [[_results(function, trial, case) for case in cases] for cases in (usual, extremes)]

    found, right = results(trial.watch), results(as_function(exercise, reference(exercise)))
    mistaken = [(mistake, results(as_function(exercise, wrong(exercise, mistake)))) for mistake in exercise.mistakes]
    for alike in (_all_same, _usually_same):
        for mistake, bad in mistaken:
            if alike(found, bad) and not alike(bad, right):
                return (mistake.name,), (f"{mistake.name}. {mistake.why}",)
    alone, explained = [], set()
    for mistake, bad in mistaken:
        shown = _parts_that_differ(sum(bad, []), sum(right, []))
        if shown and shown <= _parts_that_agree(sum(found, []), sum(bad, [])) and not shown <= explained:
            alone.append(mistake)
            explained |= shown
    if alone:
        return tuple(m.name for m in alone), tuple(f"{m.name}. {m.why}" for m in alone)
    if exercise.given or exercise.mechanism:
        try:
            likely = trial.report(trial.drawn, diagnose=True).likenesses
        except Exception:
            return (), ()
        return tuple(x.name for x in likely), tuple(f"{x.name} ({', '.join(x.arrays)}). {x.why}" for x in likely)
    return (), ()


def _results(function, trial, case):
    """What a function returns, as a dict of arrays; the kind of its error where it raises."""
    try:
        result = function(*copy.deepcopy(trial.arguments(case)))
        return {path: np.asarray(leaf) for path, leaf in tree.leaves(result)}
    except Exception as error:
        return type(error).__name__


def same(found, expected, within=SAME):
    """The same arrays, NaN and infinities at the same places."""
    if found.shape != expected.shape or found.dtype.kind not in "fiubc" or expected.dtype.kind not in "fiubc":
        return False
    finite = np.isfinite(expected)
    scale = np.abs(expected[finite]).max(initial=0) or 1.0
    return np.array_equal(np.isfinite(found), finite) and bool(
        (np.abs(found[finite] - expected[finite]) <= within * scale).all()
    )


def _all_same(found, expected):
    return _same_cases(sum(found, []), sum(expected, []))


def _usually_same(found, expected):
    return _same_cases(found[0], expected[0])


def _same_cases(found, expected):
    """The same in all cases, not by raising alone."""
    pairs = list(zip(found, expected, strict=True))
    if any(isinstance(a, str) != isinstance(b, str) for a, b in pairs):
        return False
    arrays = [(a, b) for a, b in pairs if not isinstance(a, str)]
    return bool(arrays) and all(a.keys() == b.keys() and all(same(a[p], b[p]) for p in a) for a, b in arrays)


def _parts_that_differ(found, expected):
    """The results, by path, that are wrong in some case."""
    return {
        path
        for a, b in zip(found, expected, strict=True)
        if not isinstance(a, str) and not isinstance(b, str)
        for path in b
        if path not in a or not same(a[path], b[path])
    }


def _parts_that_agree(found, expected):
    """The results, by path, that are the same in every case."""
    pairs = [(a, b) for a, b in zip(found, expected, strict=True) if not isinstance(a, str) and not isinstance(b, str)]
    paths = set.intersection(*(a.keys() & b.keys() for a, b in pairs)) if pairs else set()
    return {path for path in paths if all(same(a[path], b[path]) for a, b in pairs)}
