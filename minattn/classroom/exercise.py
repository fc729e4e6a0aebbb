"""An exercise: what is drawn, what is asked, what must hold, and the mistakes that people make in it.

The solution stands in the lesson, between two markers, and nowhere else. A mistake is an edit of the solution, as a bug
of the gradient checker's zoo is an edit of the library: where a student's function gives what the edited solution
gives, the mistake has a name.
"""

import difflib
import functools
import inspect
import linecache
import math
import re
import textwrap
import zlib
from typing import Any, NamedTuple

import numpy as np

from minattn.classroom import shelf

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"  # as nbgrader has them
LETTERS = {name: size for size, name in enumerate("BTSDEHGMNIAV")}


class Mistake(NamedTuple):
    """name: what has gone wrong, in a few words; edits: {a part of the solution: the same, wrong}; why: it is wrong."""

    name: str
    edits: dict
    why: str


class Property(NamedTuple):
    """test(trial) -> "" where it holds, else what is wrong, in a sentence. hidden: nobody is told what is wrong."""

    name: str
    test: Any
    points: int = 1
    hidden: bool = False


class Exercise(NamedTuple):
    """One function to write or to mend: `check.NAME(function)`.

    name: of the function, or of a class that holds forward and backward; lesson: "07". draw(rng) -> {name: array or
    number}, its arguments; of a backward, those of the forward that is given, whose arrays have gradients. extremes:
    further such functions, for what is rare: a dead row, a repeated token. given: the forward whose backward is asked.
    properties: beside those that all have. broken: the name of the mistake that is to be mended. may: functions of the
    library that may be called. core: it is graded. mechanism: a class that holds forward and backward, as a file of
    the library does; its last argument is the mask.
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
    may: tuple = ()
    core: bool = False
    points: int = 10
    mechanism: bool = False

    def __call__(self, function, *, seed=0):
        """Try a function -> Verdict. seed: of the sizes and numbers on which it is tried."""
        from minattn.classroom.trial import attempt

        return attempt(self, function, seed)

    def points_of(self, function, possible, *, seed=0):
        """Print what a check says, hidden properties without their reasons, and return the points, for nbgrader."""
        from minattn.classroom.trial import attempt

        verdict = attempt(self, function, seed, hidden=True)
        print(verdict)
        return round(possible * verdict.earned, 2)

    def hint(self, number=1):
        """The first, second or third hint; each says more than the one before."""
        return Hint(_hint(self.hints, number))

    @property
    def kind(self):
        if self.mechanism:
            return "mechanism"
        return "mend" if self.broken else "backward" if self.given else "forward"

    def source(self, edits=None):
        """The cell with the solution, or with a mistake in it; LookupError where an edit no longer fits."""
        return edited(cell(self), edits or {}, self.name)

    def reference(self):
        """The solution."""
        return _built(self, ())[self.name]

    def forward(self):
        """The forward that is given with a backward to write."""
        return _built(self, ())[self.given]

    def wrong(self, mistake):
        """The solution with a mistake in it."""
        return _built(self, tuple(mistake.edits.items()))[self.name]

    def cases(self, rng):
        """What is drawn, first the usual, then the extremes: dicts by name."""
        return [draw(rng) for draw in (self.draw, *self.extremes)]

    def rng(self, seed):
        """The numbers of one student are the same every time, and others than those of the next."""
        return np.random.default_rng([seed, zlib.crc32(self.name.encode())])

    def __hash__(self):
        return hash(self.name)


class Prediction(NamedTuple):
    """Something to decide before it is shown: `check.NAME("b")`. replies: {"a": what is said to those who chose it}."""

    name: str
    lesson: str
    misconception: str
    right: str
    replies: dict

    def __call__(self, answer, *, seed=0):
        """Say what you expect -> Verdict, which remembers what you said first."""
        from minattn.classroom.trial import predicted

        return predicted(self, answer)

    def hint(self, number=1):
        """There is none: what you expect is what is asked."""
        return Hint("Say what you expect; nothing depends on it. The lesson shows it right below.")

    kind = property(lambda self: "predict")
    core = property(lambda self: False)
    broken = property(lambda self: "")
    choices = property(lambda self: ", ".join(f'"{letter}"' for letter in self.replies))

    def __hash__(self):
        return hash(self.name)


class Hint(str):
    """Text that a notebook shows as text."""

    __repr__ = str.__str__


def _hint(hints, number):
    if number not in range(1, len(hints) + 1):
        raise ValueError(f"there are hints 1 to {len(hints)}, not {number!r}")
    return hints[number - 1]


def sizes(rng, letters):
    """A size for each letter, all different, none below 2: no axis can be mistaken for another."""
    return [int(n) for n in 2 + rng.permutation(max(6, len(letters)))[: len(letters)]]


@functools.cache
def _cells(lesson):
    """The code cells of a lesson's source."""
    text = shelf.lessons([lesson])[0].read_text(encoding="utf-8")
    parts = re.split(r"^# %%(.*)\n", text, flags=re.MULTILINE)[1:]
    return [
        body.strip("\n") + "\n" for head, body in zip(parts[::2], parts[1::2], strict=True) if "[markdown]" not in head
    ]


def cell(exercise):
    """The one cell of the lesson that holds the solution."""
    start = re.compile(rf"^((def|class) {exercise.name}\b|{exercise.name} = )", re.MULTILINE)
    found = [text for text in _cells(exercise.lesson) if BEGIN in text and start.search(text)]
    if len(found) != 1:
        raise LookupError(f"lesson {exercise.lesson} has {len(found)} cells that solve {exercise.name}")
    return found[0]


def exercises_in(text):
    """The exercises that a cell solves."""
    from minattn.classroom.exercises import EXERCISES

    names = re.findall(r"^(?:def |class )?(\w+)(?= = |\(|:)", text, re.MULTILINE) if BEGIN in text else []
    return [EXERCISES[name] for name in names if name in EXERCISES]


def edited(text, edits, name):
    for right, wrong in edits.items():
        if right not in text:
            raise LookupError(f"{right!r} is no longer in the solution of {name}")
        text = text.replace(right, wrong)
    return text


@functools.cache
def _built(exercise, edits):
    """The names that the cell defines, with edits."""
    text, file = exercise.source(dict(edits)), f"<{exercise.name} {zlib.crc32(repr(edits).encode()):x}>"
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
    names = {"__name__": "solution", "np": np, "math": math}
    exec(compile(text, file, "exec"), names)
    return names


def stub(exercise, text):
    """What a student gets of a cell: a body to write, a mistake to mend, something to decide; never the markers."""
    if exercise.broken:
        mistake = next(m for m in exercise.mistakes if m.name == exercise.broken)
        text = edited(text, mistake.edits, exercise.name)
        return "".join(line for line in text.splitlines(keepends=True) if line.strip() not in (BEGIN, END))

    def empty(match):
        indent, missing = match[1], match[2].strip() or exercise.name
        if exercise.kind == "predict":
            return f"{exercise.name} = None  # one of {exercise.choices}: what do you expect?\n"
        return f'{indent}raise NotImplementedError("{missing}")\n'

    return re.sub(rf"^([ ]*){BEGIN}(.*)\n(?:.*\n)*?[ ]*{END}[ ]*\n?", empty, text, flags=re.MULTILINE)


def opened(text):
    """A cell as students get it; ValueError where a solution belongs to no exercise."""
    for exercise in exercises_in(text):
        text = stub(exercise, text)
    if BEGIN in text:
        raise ValueError(f"this cell solves no exercise that is known:\n{text}")
    return text.rstrip("\n")


def solved(text):
    """A cell as teachers get it: without the markers."""
    return "\n".join(line for line in text.splitlines() if not line.strip().startswith((BEGIN, END)))


FORMS = {"student": opened, "solution": solved, "marked": str}


def solved_lines(exercise):
    """The lines that a student must not see: those between the markers, of a mistake to mend those that mend it."""
    text = cell(exercise)
    if exercise.broken:
        before, after = text.splitlines(), stub(exercise, text).splitlines()
        return [line for line in before if line not in after and line.strip() not in (BEGIN, END)]
    bodies = re.findall(rf"{BEGIN}.*\n((?:.*\n)*?)[ ]*{END}", text)
    return [line for body in bodies for line in textwrap.dedent(body).splitlines()]


def argument_names(function):
    return list(inspect.signature(function).parameters)


def unknown(name, known):
    """What to say where no exercise is called so."""
    near = difflib.get_close_matches(name, known, 3) or sorted(known)
    return f"no exercise is called {name}: did you mean {', '.join(near)}?"
