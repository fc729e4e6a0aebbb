"""A class is graded: each submission in a process of its own, each student's result a file, whole or not at all.

What was graded is not graded again while submission, exercises and limits are the same: an interrupted run goes on
where it was. The same inputs give the same grades: sizes and numbers come from the student's name, no time is kept.
"""

import concurrent.futures
import functools
import hashlib
import json
import os
import re
import sys
import threading
from typing import NamedTuple

import numpy as np

from minattn.classroom import process, shelf, submission
from minattn.classroom.exercises import EXERCISES
from minattn.classroom.process import NoGrades
from minattn.classroom.verdict import ENVIRONMENT, OK
from minattn.weights import replace


class Student(NamedTuple):
    """What one submission got. results: {exercise: {outcome, points, possible, said, marks, names, likely, notes}}."""

    student: str
    files: list
    results: dict
    notes: list

    @property
    def points(self):
        return round(sum(result["points"] or 0 for result in self.results.values()), 2)

    @property
    def possible(self):
        return sum(result["possible"] for result in self.results.values() if result["outcome"] != ENVIRONMENT)


def grade(submissions, names, folder, limits, jobs, told):
    """Grade all -> [Student] in order; told(student, anew) as each is done. Raises NoGrades before anyone is graded."""
    kept, done, open_ones = folder / "students", {}, []
    for one in submissions:
        path, key = kept / f"{file_of(one.student)}.json", _key(one, names, limits)
        before = _read(path, key)
        if before is None or any(r["outcome"] == ENVIRONMENT for r in before.results.values()):  # mended by now?
            open_ones.append((one, path, key))
        else:
            done[one.student] = before
            told(before, False)
    if open_ones:
        prove(names, limits)
        kept.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()
    pool = concurrent.futures.ThreadPoolExecutor(jobs)
    try:
        running = {pool.submit(run, one, names, limits, jobs, stop): (path, key) for one, path, key in open_ones}
        for future in concurrent.futures.as_completed(running):
            path, key = running[future]
            student = future.result()
            text = json.dumps({"key": key, **student._asdict()}, indent=1)
            replace(
                path,
                lambda partial, text=text: partial.write_text(text + "\n", encoding="utf-8", errors="backslashreplace"),
            )
            done[student.student] = student
            told(student, True)
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
    return [done[one.student] for one in submissions]


def prove(names, limits):
    """The solutions themselves must get all points here, or NoGrades."""
    solved = run(submission.Submission("", ()), names, limits, solved=True)
    for name, result in solved.results.items():
        if result["outcome"] != OK:
            why = result.get("said") or "; ".join(mark["name"] for mark in result["marks"] if not mark["passed"])
            raise NoGrades(
                f"nothing was graded: here even the solution of {name} is {result['outcome']} ({why}). "
                f"Is {sys.executable} the Python in which minattn is installed? Try: python -m minattn lessons list"
            )


def run(one, names, limits, jobs=1, stop=None, solved=False):
    """Grade one submission -> Student. A process that hangs or dies is replaced for the exercises that are left.

    solved: the solutions in the place of what was handed in.
    """
    task = {"files": [str(path.resolve()) for path in one.files], "student": one.student, "solved": solved}
    left, results, notes = list(names), {}, [one.note] if one.note else []
    while left:
        heard = process.run(task | {"exercises": left}, limits, jobs, stop)
        results |= heard.results
        notes += [note for note in heard.notes if note not in notes]
        left = [name for name in left if name not in results]
        if left and (heard.at or not heard.results):  # the one it was at; before any, all have the same fate
            results |= dict.fromkeys([heard.at] if heard.at in left else left, heard.end)
            left = [name for name in left if name not in results]
    results = {name: _scored(EXERCISES[name], results[name]) for name in names}
    return Student(one.student, [_shown(path.name) for path in one.files], results, notes)


def _shown(name):
    """The name of a file as text, whatever bytes it is made of."""
    return os.fsencode(name).decode("utf-8", errors="replace")


def _scored(asked, result):
    """With points, None where nothing could be said; marks of hidden properties say nothing."""
    possible = asked.points if asked.kind != "predict" else 0
    points = None if result["outcome"] == ENVIRONMENT else round(possible * result.get("earned", 0.0), 2)
    marks = [mark | {"said": "" if mark["hidden"] else mark["said"]} for mark in result.get("marks", [])]
    kept = {part: result[part] for part in ("said", "answer") if result.get(part)}
    lists = {part: list(result.get(part, ())) for part in ("names", "likely", "notes")}
    return {"outcome": result["outcome"], "points": points, "possible": possible, **kept, "marks": marks, **lists}


def _key(one, names, limits):
    """What a result depends on."""
    digest = hashlib.sha256(
        json.dumps([one.student, one.note, sorted(names), limits, sys.version, np.__version__]).encode()
    )
    for path in one.files:
        digest.update(os.fsencode(path.name) + b"\0" + path.read_bytes() + b"\0")
    digest.update(_machinery())
    return digest.hexdigest()


@functools.cache
def _machinery():
    """The code that grades, and the exercises: where it has changed, grades may have."""
    rooms = [shelf.PACKAGE / name for name in ("classroom", "gradcheck")]
    texts = [*(path for room in rooms for path in sorted(room.rglob("*.py"))), *shelf.lessons()]
    digest = hashlib.sha256()
    for path in texts:
        digest.update(path.read_bytes())
    return digest.digest()


def file_of(student):
    """The name of a student's files without its end: letters that every system takes, other ones for every student."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", student).strip("._")[:60] or "student"
    return plain if plain == student else f"{plain}-{hashlib.sha256(student.encode()).hexdigest()[:8]}"


def _read(path, key):
    """The result of before, if it is of just this; None where it is not, or cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("key") == key:
            return Student(**content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return None
