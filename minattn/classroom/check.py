"""Exercises that answer back: `check.NAME(function)` in any cell or script, without a network.

    check.tempered(tempered)              a tick or a cross for each property, and what the mistake looks like
    check.tempered(tempered).assert_ok()  an error where it is not solved
    check.tempered.hint(1)                the first of three hints
    check.unscaled("b")                   what you expect, before it is shown

In a script: print(check.tempered(tempered)).
"""

from typing import Any, NamedTuple

from minattn.classroom.exercise import unknown
from minattn.classroom.exercises import EXERCISES
from minattn.classroom.trial import attempt, predicted


class Check(NamedTuple):
    """One exercise, to be called with what a student has written."""

    exercise: Any

    def __call__(self, answer, *, seed=0):
        """Try a function, or hear what is predicted -> Verdict. seed: of the sizes and numbers that are tried."""
        if self.exercise.kind == "predict":
            return predicted(self.exercise, answer)
        return attempt(self.exercise, answer, seed)

    def hint(self, number=1):
        """The first, second or third hint; each says more than the one before."""
        hints = self.exercise.hints
        if number not in range(1, len(hints) + 1):
            raise ValueError(f"there are hints 1 to {len(hints)}, not {number!r}")
        return Hint(hints[number - 1])

    def points_of(self, function, possible):
        """Print what a check says, hidden properties without their reasons, and return the points, for nbgrader."""
        verdict = attempt(self.exercise, function, hidden=True)
        print(verdict)
        return round(possible * verdict.earned, 2)

    def __repr__(self):
        """Nothing of the solution, when somebody types check.NAME and no more."""
        name = self.exercise.name
        return f"check.{name}({name}) tells whether it is right, check.{name}.hint(1) helps"


class Hint(str):
    """Text that a notebook shows as text."""

    __repr__ = str.__str__


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    if name not in EXERCISES:
        raise AttributeError(unknown(name, EXERCISES))
    return Check(EXERCISES[name])


def __dir__():
    return sorted(EXERCISES)
