"""What a submission defines, run where nothing else runs, and tried: one exercise after the other."""

import ast
import builtins
import functools
import linecache
import math
import re
import zlib
from pathlib import Path

import numpy as np

from minattn.classroom.exercises import EXERCISES
from minattn.classroom.solutions import cell, opened, reference
from minattn.classroom.submission import read
from minattn.classroom.trial import attempt, predicted
from minattn.classroom.verdict import CRASHED, ENVIRONMENT, MISSING


class HandedIn:
    """A submission. failed: why nothing of it runs."""

    def __init__(self, files, student, failed=""):
        self.student, self.failed, reading = student, failed, read([Path(file) for file in files])
        self.reading = reading._replace(parts=[_or_untouched(part) for part in reading.parts])
        self.notes = list(self.reading.notes)

    def solution(self, exercise):
        """What the solution gets here."""
        if exercise.kind == "predict":
            return _plain(predicted(exercise, exercise.right))
        return _plain(attempt(exercise, reference(exercise), hidden=True))

    def grade(self, exercise):
        """One exercise -> {outcome, said, marks, ...}."""
        name = exercise.name
        if self.failed:
            return {"outcome": CRASHED, "said": f"it cannot be read: {self.failed}"}
        names = Names(self.reading.around(name))
        found = names.known.get(name)
        if exercise.kind == "predict":
            return _plain(predicted(exercise, found)) | ({"answer": found} if found else {})
        if name not in names.known:
            return self._missing(name, names)
        verdict = attempt(exercise, found, zlib.crc32(self.student.encode()), hidden=True)
        if verdict.outcome == CRASHED and (lacks := names.lacks(found) or _absent(verdict.said)):
            return {"outcome": ENVIRONMENT, "said": f"it needs {lacks}, which is not installed here"}
        notes = [*self._duplicates(name), *self._changed(exercise), *self._skipped(verdict.said)]
        return _plain(verdict) | {"notes": notes}

    def _missing(self, name, names):
        if why := self.reading.broken.get(name) or names.raised.get(name):
            return {"outcome": CRASHED, "said": f"{name} cannot be run: {why}", "notes": self._skipped(why)}
        if name in names.absent:
            return {"outcome": ENVIRONMENT, "said": f"{names.absent[name]} is not installed here"}
        unread = f" {'; '.join(self.notes)}." if self.notes else ""
        return {"outcome": MISSING, "said": f"Nothing in it is called {name}.{unread}"}

    def _skipped(self, said):
        """A name that nobody knows, since the line that sets it is not run."""
        name = next((n for n in re.findall(r"NameError: name '(\w+)'", said) if n in self.reading.skipped), None)
        if name is None:
            return []
        place = self.reading.skipped[name]
        return [f"{name} is set in {place} by a line that is not run: imports, constants and definitions are."]

    def _duplicates(self, name):
        places = self.reading.duplicates().get(name)
        return [f"{name} is defined {len(places)} times, and the last counts ({', '.join(places)})."] if places else []

    def _changed(self, exercise):
        """Was the function that was given rewritten?"""
        written = [p for p in self.reading.parts if exercise.given in p.names and p.kind == "definition"]
        if not exercise.given or not written:
            return []
        ours = next(n for n in ast.parse(cell(exercise)).body if getattr(n, "name", "") == exercise.given)
        if ast.unparse(ours) == ast.unparse(ast.parse(written[-1].code)):
            return []
        return [f"{exercise.given} was changed: {exercise.name} was graded with the one that was given."]


class Names:
    """What parts of a submission define when they are run. absent: {name: module}; raised: {name: error}."""

    def __init__(self, parts):
        self.known = {"__name__": "submission", "__builtins__": builtins, "np": np, "math": math}
        self.absent, self.raised = {}, {}
        for number, part in enumerate(parts):
            self._run(part, f"<{part.place} {number}>")

    def _run(self, part, file):
        linecache.cache[file] = len(part.code), None, part.code.splitlines(keepends=True), file
        try:
            exec(compile(part.code, file, "exec"), self.known)
        except ModuleNotFoundError as error:
            self.absent |= dict.fromkeys(part.names, error.name)
        except BaseException as error:  # an exit in a class, for one: it costs what needs that definition
            self.raised |= dict.fromkeys(part.names, f"{ending(error)} ({part.place})")

    def lacks(self, function):
        """The module that a function, or one that it calls, mentions but that is not there."""
        mentioned, seen = [function], set()
        while mentioned:
            code = getattr(mentioned.pop(), "__code__", None)
            for name in getattr(code, "co_names", ()):
                if name in self.absent:
                    return self.absent[name]
                if name in self.known and name not in seen:
                    seen.add(name)
                    mentioned.append(self.known[name])
        return ""


def _or_untouched(part):
    """A part, known as untouched where it is what was to be mended."""
    given = _to_mend().get(part.names[0]) if part.kind == "definition" else None
    return part._replace(untouched=True) if given and given == ast.unparse(ast.parse(part.code)) else part


@functools.cache
def _to_mend():
    """{name: the function as it was given out}."""
    found = {}
    for name, exercise in EXERCISES.items():
        if exercise.broken:
            nodes = ast.parse(opened(cell(exercise))).body
            found[name] = next(ast.unparse(node) for node in nodes if getattr(node, "name", "") == name)
    return found


def _plain(verdict):
    """A verdict as dicts and lists."""
    return verdict._asdict() | {"earned": verdict.earned, "marks": [mark._asdict() for mark in verdict.marks]}


def _absent(said):
    """The module that is not there, where an error says so."""
    found = re.match(r"ModuleNotFoundError: No module named '([\w.]+)'", said)
    return found[1] if found else ""


def ending(error):
    """An error that ended everything, in words."""
    if isinstance(error, SystemExit):
        return "it ends the program (exit, quit or sys.exit)"
    try:
        text = re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(str(error).split()))[:300]
    except Exception:
        text = ""
    if not isinstance(error, Exception):  # such as a flood, or Ctrl-C
        return text or type(error).__name__
    return f"{type(error).__name__}: {text}"
