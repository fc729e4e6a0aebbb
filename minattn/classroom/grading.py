"""A class is graded: each submission in a process of its own, each student's result a file, whole or not at all.

What was graded is not graded again while submission, exercises and limits are the same: an interrupted run goes on
where it was. The same inputs give the same grades: sizes and numbers come from the student's name, no time is kept.
"""

import concurrent.futures
import functools
import hashlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import NamedTuple

from minattn.classroom import shelf, submission
from minattn.classroom.exercises import EXERCISES
from minattn.classroom.handed_in import SOLVED
from minattn.classroom.verdict import CRASHED, ENVIRONMENT, OK, TIMEOUT
from minattn.threads import VARIABLES
from minattn.weights import replace

STARTING = 60  # seconds until a process must have said its first word, on a busy machine
PATIENCE = 3  # times its processor time may pass on the clock


class Limits(NamedTuple):
    """Seconds of processor time and characters printed, for each exercise; bytes of memory, for each process."""

    seconds: float = 10
    memory: int = 2 * 2**30
    output: int = 100_000


class NoGrades(ValueError):
    """This environment cannot grade: nobody gets a 0 for it."""


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
        if before is None:
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
        running = {pool.submit(run, one, names, limits, stop): (path, key) for one, path, key in open_ones}
        for future in concurrent.futures.as_completed(running):
            path, key = running[future]
            student = future.result()
            text = json.dumps({"key": key, **student._asdict()}, indent=1)
            replace(path, lambda partial, text=text: partial.write_text(text + "\n", encoding="utf-8"))
            done[student.student] = student
            told(student, True)
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
    return [done[one.student] for one in submissions]


def prove(names, limits):
    """The solutions themselves must get all points here, or NoGrades."""
    solved = run(submission.Submission(SOLVED, ()), names, limits)
    for name, result in solved.results.items():
        if result["outcome"] != OK:
            why = result.get("said") or "; ".join(mark["name"] for mark in result["marks"] if not mark["passed"])
            raise NoGrades(
                f"nothing was graded: here even the solution of {name} is {result['outcome']} ({why}). "
                f"Is {sys.executable} the Python in which minattn is installed? Try: python -m minattn lessons list"
            )


def run(one, names, limits, stop=None):
    """Grade one submission -> Student. A process that hangs or dies is replaced for the exercises that are left."""
    left, results, notes = list(names), {}, [one.note] if one.note else []
    while left:
        found, told, at, end = _process(one, left, limits, stop)
        results |= found
        notes += [note for note in told if note not in notes]
        left = [name for name in left if name not in results]
        if end and left:  # the one it was at; before any, all have the same fate
            for name in [at] if at in left else list(left):
                results[name] = end
            left = [name for name in left if name not in results]
    results = {name: _scored(EXERCISES[name], results[name]) for name in names}
    return Student(one.student, [path.name for path in one.files], results, notes)


def _scored(asked, result):
    """With points, None where nothing could be said; marks of hidden properties say nothing."""
    possible = asked.points if asked.kind != "predict" else 0
    points = None if result["outcome"] == ENVIRONMENT else round(possible * result.get("earned", 0.0), 2)
    marks = [mark | {"said": "" if mark["hidden"] else mark["said"]} for mark in result.get("marks", [])]
    kept = {part: result[part] for part in ("said", "answer") if result.get(part)}
    lists = {part: list(result.get(part, ())) for part in ("names", "likely", "notes")}
    return {"outcome": result["outcome"], "points": points, "possible": possible, **kept, "marks": marks, **lists}


def _process(one, names, limits, stop):
    """One process -> results, notes, the exercise it was at when it ended, how it ended ({} for well)."""
    task = {"files": [str(path.resolve()) for path in one.files], "exercises": names, "student": one.student}
    task |= limits._asdict()
    surroundings = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LANG", "TZ") if name in os.environ}
    surroundings |= {name: "1" for name in VARIABLES} | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    surroundings["PYTHONPATH"] = os.pathsep.join(
        [str(shelf.PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as empty:
        surroundings |= {"HOME": empty, "TMPDIR": empty, "TEMP": empty, "TMP": empty, "MPLBACKEND": "agg"}
        process = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", "-m", "minattn.classroom.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=empty,
            env=surroundings,
            start_new_session=os.name == "posix",
        )
        try:
            return _listen(process, task, limits, stop)
        finally:
            _kill(process)


def _listen(process, task, limits, stop):
    try:
        process.stdin.write(json.dumps(task).encode())
        process.stdin.close()
    except OSError:  # it is dead already: what it said is read below
        pass
    lines, complaints = queue.Queue(), []
    threading.Thread(target=_read_lines, args=(process.stdout, lines), daemon=True).start()
    threading.Thread(target=lambda: complaints.append(process.stderr.read()), daemon=True).start()
    results, notes, at, deadline = {}, [], None, time.monotonic() + STARTING + PATIENCE * limits.seconds
    while True:
        if stop is not None and stop.is_set():
            raise concurrent.futures.CancelledError
        try:
            line = lines.get(timeout=min(0.5, max(0.01, deadline - time.monotonic())))
        except queue.Empty:
            if time.monotonic() > deadline:
                return results, notes, at, _too_long(limits)
            continue
        if line is None:
            break
        if "environment" in line:
            raise NoGrades(f"nothing was graded: the library does not run in {sys.executable}: {line['environment']}")
        if "begin" in line:
            at, deadline = line["begin"], time.monotonic() + PATIENCE * limits.seconds
        elif "end" in line:
            results[line["end"]], at = line["result"], None
        elif "done" in line:
            return results, notes + line["notes"], None, {}
    code = process.wait()
    if code == -getattr(signal, "SIGXCPU", 0):
        return results, notes, at, _too_long(limits)
    if at is None and not results:
        said = (complaints[0] if complaints else b"").decode(errors="replace").strip().splitlines()
        raise NoGrades(
            f"nothing was graded: a process in {sys.executable} ends with {code}: {said[-1] if said else ''}"
        )
    how = f"the signal {-code}" if code < 0 else f"the exit status {code}"
    return results, notes, at, {"outcome": CRASHED, "said": f"It ended the Python process, with {how}."}


def _read_lines(stream, lines):
    for line in stream:
        try:
            lines.put(json.loads(line))
        except ValueError:  # something that the student's code has sent
            continue
    lines.put(None)


def _too_long(limits):
    return {
        "outcome": TIMEOUT,
        "said": f"It takes longer than {limits.seconds:g} seconds: is there a loop without end?",
    }


def _kill(process):
    """It and all that it has started."""
    try:
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except (ProcessLookupError, PermissionError):
        pass
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        try:
            stream.close()
        except OSError:
            pass


def _key(one, names, limits):
    """What a result depends on."""
    digest = hashlib.sha256(json.dumps([one.student, one.note, sorted(names), limits]).encode())
    for path in one.files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
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
