"""One submission in a process of its own: it is read, its definitions are run, and its functions are tried.

`python -P -m minattn.classroom.worker` reads what to do from stdin, as JSON, and says on stdout how far it is, a line
of JSON at a time: {"begin": NAME}, {"end": NAME, "result": {...}}. What the student's code prints is counted and thrown
away. Limits are those of the operating system, where it has them; whoever started the process watches the clock.
"""

import builtins
import json
import os
import sys
import zlib

SOLVED = "(the solution)"  # graded as a student of that name, to see that grading works here


class Flood(BaseException):
    """More was printed than anyone would read."""


class Counter:
    """A stdout that counts and forgets."""

    encoding = "utf-8"

    def __init__(self, most):
        self.most = self.left = most

    def write(self, text):
        self.left -= len(text)
        if self.left < 0:
            raise Flood(f"it prints more than {self.most:,} characters")
        return len(text)

    def flush(self):
        pass

    def isatty(self):
        return False

    def fresh(self):
        self.left = self.most


def main():
    task = json.loads(sys.stdin.buffer.read())
    wire = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)

    def say(**line):
        print(json.dumps(line), file=wire, flush=True)

    try:
        from minattn.classroom.exercises import EXERCISES
    except Exception as error:  # without NumPy nobody can be right or wrong
        say(environment=f"{type(error).__name__}: {error}")
        return
    printed = sys.stdout = sys.stderr = Counter(task["output"])
    sys.stdin = open(os.devnull, encoding="utf-8")
    limit(task)
    say(begin="")
    allow(task["seconds"])
    try:
        given = Given(task["files"])
    except BaseException as error:  # an exit on import, for one
        given = Given([], _words(error))
    for name in task["exercises"]:
        printed.fresh()
        allow(task["seconds"])
        say(begin=name)
        try:
            result = given.grade(EXERCISES[name], task["student"])
        except BaseException as error:
            result = {"outcome": "CRASHED", "said": _words(error)}
        say(end=name, result=result)
    say(done=True, notes=given.notes)
    wire.flush()
    os._exit(0)  # threads that are still running do not hold us


def limit(task):
    """Memory, size of files, no core; Windows has none of these limits."""
    try:
        import resource
    except ImportError:
        return
    for what, most in (("RLIMIT_AS", task["memory"]), ("RLIMIT_FSIZE", task["output"]), ("RLIMIT_CORE", 0)):
        try:
            resource.setrlimit(getattr(resource, what), (most, most))
        except (ValueError, OSError, AttributeError):  # a stricter limit is set already, or there is none of this kind
            pass


def allow(seconds):
    """So much processor time from here on."""
    try:
        import resource
    except ImportError:
        return
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used + seconds) + 1, hard))


def _words(error):
    """An error that ended everything, in words."""
    if isinstance(error, SystemExit):
        return "it ends the program (exit, quit or sys.exit)"
    if isinstance(error, Flood):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


class Given:
    """The names that a submission defines."""

    def __init__(self, files, failed=""):
        import linecache
        import math
        from pathlib import Path

        import numpy as np

        from minattn.classroom.submission import read

        self.failed, self.absent, self.raised = failed, {}, {}
        self.names = {"__name__": "submission", "__builtins__": builtins, "np": np, "math": math}
        self.reading = read([Path(file) for file in files])
        self.notes = list(self.reading.notes)
        wanted = frozenset().union(*(part.needs for part in self.reading.parts if part.kind != "import"))
        for number, part in enumerate(self.reading.parts):
            if part.kind == "import" and not wanted & set(part.names) and "*" not in part.names:
                continue  # nothing uses it
            file = f"<{part.place} {number}>"
            linecache.cache[file] = len(part.code), None, part.code.splitlines(keepends=True), file
            try:
                exec(compile(part.code, file, "exec"), self.names)
            except ModuleNotFoundError as error:
                self.absent |= dict.fromkeys(part.names, error.name)
            except Exception as error:
                self.raised |= dict.fromkeys(part.names, f"{_words(error)} ({part.place})")

    def grade(self, exercise, student):
        """One exercise -> {outcome, said, marks, ...}."""
        from minattn.classroom.solutions import reference
        from minattn.classroom.trial import attempt, predicted

        name = exercise.name
        if self.failed:
            return {"outcome": "CRASHED", "said": f"its definitions do not run: {self.failed}"}
        if student == SOLVED:
            self.names[name] = exercise.right if exercise.kind == "predict" else reference(exercise)
        found = self.names.get(name)
        if exercise.kind == "predict":
            told = predicted(exercise, found)
            return {"outcome": told.outcome, "said": told.said} | ({"answer": found} if found else {})
        if name not in self.names:
            why = self.reading.broken.get(name) or self.raised.get(name)
            if why:
                return {"outcome": "CRASHED", "said": f"{name} cannot be run: {why}"}
            if name in self.absent:
                return {"outcome": "ENVIRONMENT", "said": f"{self.absent[name]} is not installed here"}
            return {"outcome": "NOT IMPLEMENTED", "said": f"Nothing in it is called {name}."}
        verdict = attempt(exercise, found, zlib.crc32(student.encode()), hidden=True)
        lacks = self._lacks(found)
        if lacks and verdict.outcome == "CRASHED":
            return {"outcome": "ENVIRONMENT", "said": f"it needs {lacks}, which is not installed here"}
        notes = [f"{name} is defined {len(places)} times, and the last counts ({', '.join(places)})."
                 for places in [self.reading.duplicates.get(name, ())] if places]  # fmt: skip
        return verdict._asdict() | {
            "marks": [m._asdict() for m in verdict.marks],
            "notes": notes + self._changed(exercise),
        }

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

    def _changed(self, exercise):
        """Was the function that was given rewritten?"""
        import ast

        from minattn.classroom.solutions import cell

        written = next((p for p in self.reading.parts if exercise.given in p.names and p.kind == "definition"), None)
        if not exercise.given or written is None:
            return []
        nodes = ast.parse(cell(exercise)).body
        ours = next(node for node in nodes if getattr(node, "name", "") == exercise.given)
        if ast.unparse(ours) == ast.unparse(ast.parse(written.code)):
            return []
        return [f"{exercise.given} was changed: {exercise.name} was graded with the one that was given."]


if __name__ == "__main__":
    main()
