"""Exercises that answer back: `check.NAME(function)` in any cell or script, without a network.

    check.tempered(tempered)              a tick or a cross for each property, and what the mistake looks like
    check.tempered(tempered).assert_ok()  an error where it is not solved
    check.tempered.hint(1)                the first of three hints
    check.repainted("b")                  what you expect, before it is shown

In a script: print(check.tempered(tempered)).
"""

from minattn.classroom.exercise import unknown
from minattn.classroom.exercises import EXERCISES


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    if name not in EXERCISES:
        raise AttributeError(unknown(name, EXERCISES))
    return EXERCISES[name]


def __dir__():
    return sorted(EXERCISES)
