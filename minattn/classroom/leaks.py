"""Nothing of a solution is left in what students get: its lines are looked for in every text of a notebook.

Lines are compared without their spaces and comments. Short ones, and those that hand back or unpack names, give nothing
away; neither do lines that a student gets anyway, in the same cell.
"""

import base64
import html
import json
import re

from minattn.classroom.exercises import EXERCISES
from minattn.classroom.solutions import BEGIN, END, cell, solved_lines, stub

HIDDEN = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"
SHORT = 12  # characters without spaces
TELLS_NOTHING = re.compile(r"return[\w,()]*|[\w,]+=\w+")  # names alone: return dquery, dkey; query, key = cache


class Leak(ValueError):
    """A line that students must not see is in what they get."""


def prove(made, lesson):
    """Raise Leak where a student's notebook of a lesson holds a marker, or a line of a solution of this lesson.

    Of another lesson's solution single lines may well be common knowledge here; all of them together may not.
    """
    texts = [(place, text, _bare(text)) for place, text in _texts(json.loads(json.dumps(made)))]
    for place, text, _ in texts:
        for marker in (BEGIN, END, *HIDDEN):
            if marker in html.unescape(text):
                raise Leak(f"{place} holds the marker {marker}")
    for exercise in EXERCISES.values():
        lines = secrets_of(exercise)
        found = {line: place for place, _, bare in texts for line in lines if line in bare}
        if found and (exercise.lesson == lesson or found.keys() == lines):
            line, place = next(iter(found.items()))
            raise Leak(f"{place} holds a line of the solution of {exercise.name}: {line}")


def secrets_of(exercise):
    """The lines of a solution that give something away, bare."""
    seen = {_bare(line) for line in stub(exercise, cell(exercise)).splitlines()}
    found = {_bare(line) for line in solved_lines(exercise)} - seen
    if exercise.kind == "predict":
        return found
    return {line for line in found if len(line) >= SHORT and not TELLS_NOTHING.fullmatch(line)}


def _bare(text):
    """Without comments and spaces."""
    return re.sub(r"\s+", "", re.sub(r"[ \t]#[^\n]*", "", html.unescape(text)))


def _texts(content, place="the notebook"):
    """(place, text) of every string in it; what is base64 is read too."""
    if isinstance(content, dict):
        for name, part in content.items():
            yield place, name
            yield from _texts(part, f"{place}, {name}")
    elif isinstance(content, list):
        if content and all(isinstance(part, str) for part in content):
            yield from _texts("".join(content), place)
        for number, part in enumerate(content):
            yield from _texts(part, f"{place} {number}" if not isinstance(part, str) else place)
    elif isinstance(content, str):
        yield place, content
        if len(content) > SHORT and re.fullmatch(r"[A-Za-z0-9+/\s]+=*\s*", content):
            try:
                yield place, base64.b64decode(content).decode("utf-8", errors="ignore")
            except ValueError:
                pass
