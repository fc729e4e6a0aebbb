"""Solutions: read out of the lessons, run, edited into mistakes, and taken out of what students get."""

import functools
import linecache
import math
import re
import textwrap
import zlib

import numpy as np

from minattn.classroom import shelf
from minattn.classroom.exercises import EXERCISES

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"  # as nbgrader has them


def reference(exercise):
    """The solution, as a function."""
    return _built(exercise, ())[exercise.name]


def given(exercise):
    """The forward that is given with a backward to write."""
    return _built(exercise, ())[exercise.given]


def wrong(exercise, mistake):
    """The solution with a mistake in it, as a function."""
    return _built(exercise, tuple(mistake.edits.items()))[exercise.name]


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
    names = re.findall(r"^(?:def |class )?(\w+)(?= = |\(|:)", text, re.MULTILINE) if BEGIN in text else []
    return [EXERCISES[name] for name in names if name in EXERCISES]


def edited(text, edits, name):
    """The text with a mistake in it; LookupError where an edit no longer fits."""
    for right, wrong in edits.items():
        if right not in text:
            raise LookupError(f"{right!r} is no longer in the solution of {name}")
        text = text.replace(right, wrong)
    return text


@functools.cache
def _built(exercise, edits):
    """The names that the cell defines, with edits."""
    text = edited(cell(exercise), dict(edits), exercise.name)
    file = f"<solution of {exercise.name} {zlib.crc32(repr(edits).encode()):x}>"
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


def solved_lines(exercise):
    """The lines that a student must not see: those between the markers, of a mistake to mend those that mend it."""
    text = cell(exercise)
    if exercise.broken:
        before, after = text.splitlines(), stub(exercise, text).splitlines()
        return [line for line in before if line not in after and line.strip() not in (BEGIN, END)]
    bodies = re.findall(rf"{BEGIN}.*\n((?:.*\n)*?)[ ]*{END}", text)
    return [line for body in bodies for line in textwrap.dedent(body).splitlines()]
