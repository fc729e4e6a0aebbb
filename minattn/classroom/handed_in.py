"""What a submission defines, run where nothing else runs, and tried: one exercise after the other."""

import ast
import builtins
import linecache
import math
import zlib
from pathlib import Path

import numpy as np

from minattn.classroom.solutions import cell, reference
from minattn.classroom.submission import read
from minattn.classroom.trial import attempt, predicted
from minattn.classroom.verdict import CRASHED, ENVIRONMENT, MISSING

SOLVED = "(the solution)"  # graded as a student of that name, to see that grading works here


class HandedIn:
    """The names that a submission defines. failed: why nothing of it runs."""

    def __init__(self, files, failed=""):
        self.failed, self.absent, self.raised = failed, {}, {}
        self.names = {"__name__": "submission", "__builtins__": builtins, "np": np, "math": math}
        self.reading = read([Path(file) for file in files])
        self.notes = list(self.reading.notes)
        wanted = frozenset().union(*(part.needs for part in self.reading.parts if part.kind != "import"))
        for number, part in enumerate(self.reading.parts):
            if (
                part.kind != "import" or wanted & set(part.names) or "*" in part.names
            ):  # an import that nobody uses waits
                self._run(part, f"<{part.place} {number}>")

    def _run(self, part, file):
        linecache.cache[file] = len(part.code), None, part.code.splitlines(keepends=True), file
        try:
            exec(compile(part.code, file, "exec"), self.names)
        except ModuleNotFoundError as error:
            self.absent |= dict.fromkeys(part.names, error.name)
        except Exception as error:
            self.raised |= dict.fromkeys(part.names, f"{ending(error)} ({part.place})")

    def grade(self, exercise, student):
        """One exercise -> {outcome, said, marks, ...}."""
        name = exercise.name
        if self.failed:
            return {"outcome": CRASHED, "said": f"its definitions do not run: {self.failed}"}
        if student == SOLVED:
            self.names[name] = exercise.right if exercise.kind == "predict" else reference(exercise)
        found = self.names.get(name)
        if exercise.kind == "predict":
            told = predicted(exercise, found)
            return {"outcome": told.outcome, "said": told.said} | ({"answer": found} if found else {})
        if name not in self.names:
            return self._missing(name)
        verdict = attempt(exercise, found, zlib.crc32(student.encode()), hidden=True)
        if verdict.outcome == CRASHED and (lacks := self._lacks(found)):
            return {"outcome": ENVIRONMENT, "said": f"it needs {lacks}, which is not installed here"}
        notes = [*self._duplicates(name), *self._changed(exercise)]
        return verdict._asdict() | {"marks": [mark._asdict() for mark in verdict.marks], "notes": notes}

    def _missing(self, name):
        if why := self.reading.broken.get(name) or self.raised.get(name):
            return {"outcome": CRASHED, "said": f"{name} cannot be run: {why}"}
        if name in self.absent:
            return {"outcome": ENVIRONMENT, "said": f"{self.absent[name]} is not installed here"}
        return {"outcome": MISSING, "said": f"Nothing in it is called {name}."}

    def _lacks(self, function):
        """The module that a function, or one that it calls, mentions but that is not there."""
        mentioned, seen = [function], set()
        while mentioned:
            code = getattr(mentioned.pop(), "__code__", None)
            for name in getattr(code, "co_names", ()):
                if name in self.absent:
                    return self.absent[name]
                if name in self.names and name not in seen:
                    seen.add(name)
                    mentioned.append(self.names[name])
        return ""

    def _duplicates(self, name):
        places = self.reading.duplicates.get(name)
        return [f"{name} is defined {len(places)} times, and the last counts ({', '.join(places)})."] if places else []

    def _changed(self, exercise):
        """Was the function that was given rewritten?"""
        written = next((p for p in self.reading.parts if exercise.given in p.names and p.kind == "definition"), None)
        if not exercise.given or written is None:
            return []
        ours = next(n for n in ast.parse(cell(exercise)).body if getattr(n, "name", "") == exercise.given)
        if ast.unparse(ours) == ast.unparse(ast.parse(written.code)):
            return []
        return [f"{exercise.given} was changed: {exercise.name} was graded with the one that was given."]


def ending(error):
    """An error that ended everything, in words."""
    if isinstance(error, SystemExit):
        return "it ends the program (exit, quit or sys.exit)"
    text = " ".join(str(error).split())[:300]
    if not isinstance(error, Exception):  # such as a flood, or Ctrl-C
        return text or type(error).__name__
    return f"{type(error).__name__}: {text}"
