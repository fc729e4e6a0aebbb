"""A worker's process, from outside: started in an empty folder, heard with an eye on the clock, ended with all its own.

Nothing that a student's code does to its process may hold up the others: not closing its streams, nor writing to ours,
nor leaving children behind, nor ending without a word.
"""

import concurrent.futures
import contextlib
import json
import os
import queue
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from minattn.classroom import shelf
from minattn.classroom.verdict import CRASHED, TIMEOUT
from minattn.threads import VARIABLES, cores

STARTING = 120  # seconds until a process must have said its first word, on a busy machine
PATIENCE = 5  # times the allowed processor time may pass on the clock
LINE = 2**22  # bytes of a line at most


class Limits(NamedTuple):
    """Seconds of processor time and characters printed, for each exercise; bytes of memory, for each process."""

    seconds: float = 10
    memory: int = 2 * 2**30
    output: int = 100_000

    def clock(self, jobs):
        """Seconds on the clock, where so many processes run side by side."""
        return PATIENCE * self.seconds * max(1, jobs / cores())


class NoGrades(ValueError):
    """This environment cannot grade: nobody gets a 0 for it."""


class Heard(NamedTuple):
    """results: {exercise: result}; at: the exercise at which it ended; end: how, {} for well."""

    results: dict
    notes: list
    at: str | None
    end: dict


def run(task, limits, jobs=1, stop=None):
    """Do a worker's task in a process of its own -> Heard; NoGrades where no process can be had that grades.

    stop: an Event; once it is set, the process ends and CancelledError is raised.
    """
    task = task | limits._asdict() | {"word": secrets.token_hex(8)}  # the word begins each line that is a worker's own
    with _empty_folder() as folder:
        process = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", "-m", "minattn.classroom.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=_surroundings(folder),
            start_new_session=os.name == "posix",
        )
        try:
            return _listen(process, task, limits, limits.clock(jobs), stop or threading.Event())
        finally:
            _end(process, folder)


def _surroundings(folder):
    """Little of ours: where programs and this package are, one BLAS thread, a home that is empty."""
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LANG", "TZ") if name in os.environ}
    paths = [str(shelf.PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    fixed = {
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLBACKEND": "agg",
        "PYTHONPATH": os.pathsep.join(paths),
    }
    return kept | dict.fromkeys(VARIABLES, "1") | fixed | dict.fromkeys(("HOME", "TMPDIR", "TEMP", "TMP"), folder)


def _listen(process, task, limits, clock, stop):
    with contextlib.suppress(OSError):  # it is dead already: what it said is read below
        process.stdin.write(json.dumps(task).encode() + b"\n")
        process.stdin.flush()  # it stays open: when it closes, the worker ends
    lines, complaints = queue.Queue(), []
    threading.Thread(target=_read_lines, args=(process.stdout, lines, task["word"].encode()), daemon=True).start()
    reader = threading.Thread(target=_read_all, args=(process.stderr, complaints), daemon=True)
    reader.start()
    results, at, deadline = {}, None, time.monotonic() + STARTING
    while (line := _next(lines, deadline, stop)) is not None:
        if line is LATE:
            if at is None and not results:
                raise NoGrades(
                    f"nothing was graded: no process starts within {STARTING} seconds, is this machine busy?"
                )
            return Heard(results, [], at, _too_long(limits))
        if "environment" in line:
            raise NoGrades(f"nothing was graded: the library does not run in {sys.executable}: {line['environment']}")
        if "done" in line:
            return Heard(results, line["notes"], None, {})
        if "end" in line:
            results[line["end"]], at = line["result"], None
        else:
            at, deadline = line["begin"], time.monotonic() + clock
    while (code := process.poll()) is None:  # it has closed its stdout and goes on
        if stop.is_set():
            raise concurrent.futures.CancelledError
        if time.monotonic() > deadline:
            return Heard(results, [], at, _too_long(limits))
        time.sleep(0.01)
    if code == -getattr(signal, "SIGXCPU", 0):
        return Heard(results, [], at, _too_long(limits))
    if at is None and not results:
        reader.join(1)  # what it has said may still be on its way
        said = b"".join(complaints).decode(errors="replace").strip().splitlines()
        last = f": {said[-1]}" if said else ""
        raise NoGrades(f"nothing was graded: a process in {sys.executable} ends with {code}{last}")
    how = f"the signal {-code}" if code < 0 else f"the exit status {code}"
    return Heard(results, [], at, {"outcome": CRASHED, "said": f"It ended the Python process, with {how}."})


LATE = {"late": True}


def _next(lines, deadline, stop):
    """The worker's next line; LATE where none comes in time, None where none can come."""
    while True:
        if stop.is_set():
            raise concurrent.futures.CancelledError
        left = deadline - time.monotonic()
        try:
            return lines.get(timeout=min(0.5, max(0.01, left)))
        except queue.Empty:
            if left <= 0:
                return LATE


def _read_lines(stream, lines, word):
    with stream:
        while line := stream.readline(LINE):
            if line.startswith(word):  # anything else a student's code has sent
                lines.put(json.loads(line.removeprefix(word)))
    lines.put(None)


def _read_all(stream, complaints):
    with stream:
        complaints.append(stream.read(LINE))


def _too_long(limits):
    said = f"It takes longer than {limits.seconds:g} seconds: is there a loop without end?"
    return {"outcome": TIMEOUT, "said": said}


def _end(process, folder):
    """It and all that it has started, even what has left its group: its surroundings name the folder."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
    with contextlib.suppress(OSError):
        process.stdin.close()  # the others belong to those who read them
    for surroundings in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"TMPDIR={folder}\0".encode() in surroundings.read_bytes():
                os.kill(int(surroundings.parent.name), signal.SIGKILL)


@contextlib.contextmanager
def _empty_folder():
    """A folder that is gone afterwards, however deep the one is that was made in it."""
    folder = tempfile.mkdtemp()
    try:
        yield folder
    finally:
        try:
            shutil.rmtree(folder, ignore_errors=True)
        except RecursionError:  # before Python 3.13
            subprocess.run(["rm", "-rf", folder], stderr=subprocess.DEVNULL, check=False)
