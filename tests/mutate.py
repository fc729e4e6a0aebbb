"""The mutation gate: does a test notice when one thing in the rooms of formulas is wrong?

    python tests/mutate.py [--only FILE ...] [--sample N --seed S]        or: make mutate

The tests run once, to learn which of them call which function. Then each mutant (`mutants.py`) gets a fork of this
process, takes the place of the real code there, and meets the tests that call the changed function: those first that
are quick and that have killed its neighbours, until one fails. What lives through all of them is a hole in the tests,
or a change that changes nothing. Those are reviewed, with their reasons, in `equivalent.txt`; any other ends with exit
status 1. Reviewed ones are not run again, unless by --reviewed.

The law `gradient` is left out: `adjoint_test` sees an error in any element too, at a hundredth of the cost.
"""

import argparse
import collections
import contextlib
import importlib
import os
import pathlib
import random
import resource
import signal
import sys
import time

import pytest
from _pytest.runner import runtestprotocol
from mutants import install, mutants
from tqdm import tqdm

TESTS = pathlib.Path(__file__).resolve().parent
PACKAGE = TESTS.parent / "minattn"
ROOMS = ("functions", "attention", "recurrent")
KILLERS = [
    "test_laws.py",
    *ROOMS,
    "models",
    "test_backend.py",
    "test_masks.py",
    "test_op.py",
    "test_positions.py",
    "test_validate.py",
]
NO_FORMULAS = {"plain.py", "cases.py", "__init__.py"}  # oracles, inputs, lists
PATIENCE = 5  # seconds that a test may take, beyond ten times what it takes without the mutant
MEMORY = 16 * 2**30  # bytes of addresses for a mutant


class Gate:
    """A pytest plugin: the tests are collected as always, and then run in another way."""

    def __init__(self, chosen):
        self.chosen, self.survivors, self.tried = chosen, [], []

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        items[:] = [item for item in items if not item.name.endswith("-gradient]")]

    def pytest_runtestloop(self, session):
        if session.testsfailed:
            raise session.Interrupted("tests could not be collected")
        self.items = session.items
        self.learn()
        kills = collections.Counter()
        with contextlib.suppress(KeyboardInterrupt), tqdm(self.chosen, unit="mutant", smoothing=0.01) as bar:
            for mutant in bar:
                order = self.order(mutant, kills)
                killer = meet(mutant, order, self.seconds)
                self.tried.append(mutant)
                if killer is None:
                    self.survivors.append(mutant)
                    bar.set_postfix(survivors=len(self.survivors))
                    bar.write(f"{mutant.file}:{mutant.line}  {mutant.key[2]}")
                elif killer >= 0:
                    kills[order[killer], mutant.key[:2]] += 1
        return True

    def learn(self):
        """Run every test once: how long it takes, and which functions it calls."""
        self.seconds, self.calls, ranks = {}, {}, collections.Counter()
        for item in tqdm(self.items, unit="test", desc="what calls what"):
            called = set()
            start = time.perf_counter()
            with calls_into(called):
                failed = fails(item)
            if failed:
                raise pytest.UsageError(f"{item.nodeid} fails without any mutant")
            self.seconds[item], self.calls[item] = time.perf_counter() - start, called
        # the quickest of every test, and for the laws of every law, before the second of any
        self.price = {}
        for item in sorted(self.items, key=self.seconds.get):
            kind = item.originalname, item.name.rsplit("-", 1)[-1] if item.originalname == "test_law" else ""
            ranks[kind] += 1
            self.price[item] = self.seconds[item] * ranks[kind]

    def order(self, mutant, kills):
        file = str(PACKAGE / mutant.file)  # a number of the whole file matters wherever any of its functions runs
        able = [
            item
            for item in self.items
            if any(called == file and mutant.start in (None, start) for called, start in self.calls[item])
            or (mutant.start is None and mutant.key[2].endswith(("True", "False")))  # a promise that others read
        ]
        return sorted(able, key=lambda item: (-kills[item, mutant.key[:2]], self.price[item]))


@contextlib.contextmanager
def calls_into(called):
    """Collect (file, line of def) of every function of the package that is called."""

    def look(frame, event, _):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(PACKAGE)):
            called.add((code.co_filename, code.co_firstlineno))

    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(None)


def fails(item):
    return any(report.failed for report in runtestprotocol(item, nextitem=None, log=False))


def meet(mutant, items, seconds):
    """The place in items of the first test that fails, -1 for a crash or an endless loop, None where none fails."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            os.write(writing, str(first_failure(mutant, items, seconds)).encode())
        os._exit(0)
    os.close(writing)
    try:
        with os.fdopen(reading) as pipe:
            said = pipe.read()
    except KeyboardInterrupt:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        os.waitpid(child, 0)
    return None if said == "None" else int(said or -1)


def first_failure(mutant, items, seconds):
    signal.alarm(PATIENCE)  # unanswered it ends the process: a loop without end is seen too
    try:
        name = mutant.file.removesuffix(".py").replace("/", ".")
        install(importlib.import_module(f"minattn.{name}"), mutant.code(str(PACKAGE / mutant.file)))
    except Exception:
        return -1  # not even an import
    for i, item in enumerate(items):
        signal.alarm(PATIENCE + int(10 * seconds[item]))
        if fails(item):
            return i
    return None


def reviewed(text):
    """Blocks of "file function: why it changes nothing" and, indented, the changed lines -> {key: why}."""
    found = {}
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if not line.startswith("#")]
        if lines:
            where, why = lines[0].split(": ", 1)
            found |= {(*where.split(), line.strip()): why for line in lines[1:]}
    return found


def all_mutants():
    paths = [path for room in ROOMS for path in sorted((PACKAGE / room).glob("*.py")) if path.name not in NO_FORMULAS]
    return [m for path in paths for m in mutants(str(path.relative_to(PACKAGE)), path.read_text(encoding="utf-8"))]


def summary(found, tried, survivors, known):
    """One line a file, then every survivor that nobody has explained."""
    lines = [f"{'file':28} {'mutants':>8} {'killed':>8} {'equivalent':>12} {'survivors':>10}"]
    killed, explained = set(tried) - set(survivors), {m for m in found if m.key in known}
    rows = [found, killed, explained - killed, set(survivors) - explained]
    for file in [*dict.fromkeys(m.file for m in found), None]:
        counts = [sum(file in (None, m.file) for m in row) for row in rows]
        lines.append("{:28} {:8} {:8} {:12} {:10}".format(file or "all", *counts))
    lines += [f"{m.file}:{m.line} {m.key[1]}\n    {m.key[2]}" for m in survivors if m not in explained]
    lines += [f"{m.file}:{m.line} is explained, and yet killed\n    {m.key[2]}" for m in killed & explained]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="FILE", help="files of minattn, as attention/dot.py")
    parser.add_argument("--sample", type=int, metavar="N", help="N mutants drawn at random")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the sample (0)")
    parser.add_argument("--reviewed", action="store_true", help="run those of equivalent.txt too")
    asked = parser.parse_args()
    known = reviewed((TESTS / "equivalent.txt").read_text(encoding="utf-8"))
    found = all_mutants()
    stale = known.keys() - {m.key for m in found}
    if asked.only:
        found = [m for m in found if any(name.endswith(m.file) for name in asked.only)]
        if not found:
            parser.error(f"no file of {', '.join(ROOMS)} is called {', '.join(asked.only)}")
    if asked.sample:
        drawn = set(random.Random(asked.seed).sample(found, min(asked.sample, len(found))))
        found = [m for m in found if m in drawn]
    gate = Gate([m for m in found if asked.reviewed or m.key not in known])
    os.chdir(TESTS.parent)
    sys.path.insert(0, str(TESTS.parent))
    options = ["-q", "-s", "-p", "no:xdist", "-p", "no:cacheprovider"]
    status = pytest.main([*options, *(str(TESTS / name) for name in KILLERS)], plugins=[gate])
    print(summary(found, gate.tried, gate.survivors, known))
    for key in sorted(stale):
        print("no longer a mutant, so no longer explained:", *key)
    if left := len(gate.chosen) - len(gate.tried):
        print(f"{left} mutants were not tried")
    return int(bool(status or stale or left or any(m.key not in known for m in gate.survivors)))


if __name__ == "__main__":
    sys.exit(main())
