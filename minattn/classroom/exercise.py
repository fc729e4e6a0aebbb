"""An exercise: what is drawn, what is asked, what must hold, and the mistakes that people make in it.

The solution stands in the lesson, between two markers, and nowhere else. A mistake is an edit of the solution, as a bug
of the gradient checker's zoo is an edit of the library: where a student's function gives what the edited solution
gives, the mistake has a name.
"""

import difflib
import zlib
from typing import Any, NamedTuple

import numpy as np


class Mistake(NamedTuple):
    """name: what has gone wrong, in a few words; edits: {a part of the solution: the same, wrong}; why: it is wrong."""

    name: str
    edits: dict
    why: str


class Property(NamedTuple):
    """test(trial) -> "" where it holds, else what is wrong, in a sentence.

    points: its weight among the properties; 0 for what everybody owes, and what is taken off where it does not hold.
    hidden: nobody is told what is wrong.
    """

    name: str
    test: Any
    points: int = 1
    hidden: bool = False


class Exercise(NamedTuple):
    """One function to write or to mend: `check.NAME(function)`.

    name: of the function, or of a class that holds forward and backward.
    lesson: "07".
    misconception: the wrong belief that it is after, as a sentence.
    draw(rng) -> {name: array or number}: its arguments; of a backward, those of the forward that is given, whose
        arrays have gradients.
    properties: what must hold beside what is asked of all.
    hints: three.
    mistakes: those that people make.
    given: the forward whose backward is asked.
    broken: the name of the mistake that is to be mended.
    extremes: further functions that draw, for what is rare: a dead row, a repeated token.
    core: it is graded.
    points: for all of it.
    mechanism: a class with forward and backward, as a file of the library has them; its last argument is the mask.
    """

    name: str
    lesson: str
    misconception: str
    draw: Any
    properties: tuple = ()
    hints: tuple = ()
    mistakes: tuple = ()
    given: str = ""
    broken: str = ""
    extremes: tuple = ()
    core: bool = False
    points: int = 10
    mechanism: bool = False

    @property
    def kind(self):
        if self.mechanism:
            return "mechanism"
        return "mend" if self.broken else "backward" if self.given else "forward"

    def cases(self, rng):
        """What is drawn, first the usual, then the extremes: dicts by name."""
        return [draw(rng) for draw in (self.draw, *self.extremes)]

    def rng(self, seed):
        """The numbers of one student are the same every time, and others than those of the next."""
        return np.random.default_rng([seed, zlib.crc32(self.name.encode())])

    def __hash__(self):  # what is built of a solution is kept, and dicts of edits have no hash
        return hash(self.name)


class Prediction(NamedTuple):
    """Something to decide before it is shown: `check.NAME("b")`. replies: {"a": what is said to those who chose it}."""

    name: str
    lesson: str
    misconception: str
    right: str
    replies: dict

    kind = property(lambda self: "predict")
    core = property(lambda self: False)
    broken = property(lambda self: "")
    hints = ("Say what you expect: nothing depends on it, and the lesson shows it right below.",)
    choices = property(lambda self: ", ".join(f'"{letter}"' for letter in self.replies))


def sizes(rng, letters):
    """As many sizes as letters, all different, none below 2: no axis can be mistaken for another."""
    return [int(n) for n in 2 + rng.permutation(max(6, len(letters)))[: len(letters)]]


def unknown(name, known):
    """What to say where no exercise is called so."""
    near = difflib.get_close_matches(name, known, 3)
    rest = f"did you mean {' or '.join(near)}?" if near else "python -m minattn lessons list --exercises names them all"
    return f"no exercise is called {name}: {rest}"
