"""One submission in a process of its own: it is read, its definitions are run, and its functions are tried.

`python -P -m minattn.classroom.worker` reads what to do from stdin, a line of JSON. On stdout it says how far it is,
each time in a line of JSON behind the word that it was told: {"begin": NAME}, {"end": NAME, "result": {...}}. What a
student's code prints is counted and thrown away. Limits are those of the operating system, where it has them; whoever
started the process watches the clock.
"""

import json
import os
import sys
import threading

ENCODE = json.JSONEncoder().encode  # a student's code may change json.dumps and print


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
    task = json.loads(sys.stdin.buffer.readline())
    wire, parent, me = _far(1), _far(0), os.getpid()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)

    def say(encode=ENCODE, write=os.write, pid=os.getpid, leave=os._exit, **line):
        if pid() != me:  # a child that a student's code has forked
            leave(0)
        data = f"\n{task['word']}{encode(line)}\n".encode()
        while data:
            data = data[write(wire, data) :]

    try:
        from minattn.classroom.exercises import EXERCISES
        from minattn.classroom.handed_in import CRASHED, HandedIn, ending
    except Exception as error:  # without NumPy nobody can be right or wrong
        say(environment=f"{type(error).__name__}: {error}")
        return
    printed = sys.stdout = sys.stderr = Counter(task["output"])
    sys.stdin = open(os.devnull, encoding="utf-8")
    limit(task)
    say(begin="")
    allow(task["seconds"])
    try:
        handed_in = HandedIn(task["files"], task["student"])
    except BaseException as error:
        handed_in = HandedIn([], task["student"], ending(error))
    for name in task["exercises"]:
        printed.fresh()
        allow(task["seconds"])
        say(begin=name)
        try:
            result = handed_in.solution(EXERCISES[name]) if task["solved"] else handed_in.grade(EXERCISES[name])
        except BaseException as error:
            result = {"outcome": CRASHED, "said": ending(error)}
        say(end=name, result=result)
    say(done=True, notes=handed_in.notes)
    os._exit(0)  # threads that are still running do not hold us


def _far(stream):
    """A copy of a stream with a number that nobody closes or writes to by accident."""
    try:
        import fcntl
    except ImportError:
        return os.dup(stream)
    return fcntl.fcntl(stream, fcntl.F_DUPFD_CLOEXEC, 200)


def _end_with(parent):
    """When the process that started us ends, in whatever way, so do we and all that we have started."""
    os.read(parent, 1)
    if hasattr(os, "killpg"):
        os.killpg(0, 9)
    os._exit(1)


def limit(task):
    """Memory, size of files, no core; Windows has none of these limits."""
    try:
        import resource
    except ImportError:
        return
    for what, most in (("RLIMIT_AS", task["memory"]), ("RLIMIT_FSIZE", task["output"]), ("RLIMIT_CORE", 0)):
        try:
            resource.setrlimit(getattr(resource, what), (most, most))
        except (
            ValueError,
            OverflowError,
            OSError,
            AttributeError,
        ):  # a stricter limit is set already, or there is none of this kind
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


if __name__ == "__main__":
    main()
