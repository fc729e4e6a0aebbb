"""python -m minattn gradcheck NAME | FILE.py | FILE.py::function: the report of each gradient check."""

import argparse
import contextlib
import json
import sys
import time
import traceback
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minattn.attention import cases as attention_cases
from minattn.gradcheck import files
from minattn.gradcheck.check import TOLERANCE, check_case, gradcheck
from minattn.gradcheck.registry import registry, unknown
from minattn.gradcheck.report import Report
from minattn.op import case_params

RIGHT, WRONG, CANNOT = 0, 1, 2
HELP = """
what can be checked:
  NAME                 an op of this library, over all its cases; `all` of them, `list` their names
  FILE.py              every function f in the file that has an f_backward, f_grad, f_bwd, f_vjp, d_f, grad_f or
                       backward_f, forward with backward, and objects that have both
  FILE.py::function    one of them; alone it returns (loss, gradients)

inputs of functions in a file, in the file itself or by --shape:
  gradcheck_inputs = {"attention": (q, k, v)}     a tuple in order, or a dict by name
  def attention_inputs(rng): return q, k, v
  --shape q=2,3,4                                 random fractions
  --shape ids=2,3:7                               random integers from 0 to 6
  --shape mask=2,3:bool                           random booleans

examples:
  python -m minattn gradcheck dot lstm
  python -m minattn gradcheck mine.py
  python -m minattn gradcheck mine.py::attention --shape q=2,3,4 --shape k=2,5,4 --shape v=2,5,6

exit status: 0 where every gradient is right, 1 where one is wrong, 2 where something cannot be checked
"""


class Check(NamedTuple):
    """One report, or why there is none: `error` in one sentence, `trace` for those who wrote the op."""

    name: str
    report: Report | None = None
    error: str = ""
    trace: str = ""
    cases: int = 0

    @property
    def status(self):
        if self.report is None:
            return WRONG if self.trace else CANNOT
        return RIGHT if self.report else WRONG


def add_arguments(parser):
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = HELP
    parser.add_argument("name", nargs="*", default=["all"], help="ops, `all`, `list`, FILE.py or FILE.py::function")
    parser.add_argument("--seed", type=int, default=0, help="of inputs, parameters and upstream gradients")
    parser.add_argument(
        "--shape",
        action="append",
        type=_shape,
        default=[],
        metavar="ARGUMENT=N,N",
        help="random numbers of that shape for an argument of functions in a file, N,N:7 integers from 0 to 6, "
        "N,N:bool booleans; once for each argument",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document in place of text")


def main(arguments):
    """Print the report of everything asked for -> 0 right, 1 wrong, 2 cannot be checked."""
    if arguments.seed < 0:
        raise ValueError(f"--seed must be at least 0 but is {arguments.seed}")
    known = registry()
    if arguments.name == ["list"]:
        print(json.dumps(list(known)) if arguments.json else "\n".join(known))
        return RIGHT
    names = [one for name in arguments.name for one in (known if name == "all" else [name])]
    for name in names:
        if name not in known and not _is_file(name):
            raise unknown(name, [*known, "all", "list"])
    if arguments.shape and not any(map(_is_file, names)):
        raise ValueError(f"--shape {arguments.shape[0][0]} is of functions in a FILE.py; ops have cases of their own")
    begin, checks = time.perf_counter(), []
    with contextlib.redirect_stdout(sys.stderr) if arguments.json else contextlib.nullcontext():
        if "all" in arguments.name:
            every = f"{len(known)} ops of this library, every one over all its cases: about a minute"
            print(f"{every}; name one, or a FILE.py (--help)", flush=True)
        for check in _checks(names, known, dict(arguments.shape), arguments.seed):
            checks.append(check)
            if not arguments.json:
                print(_text(check), flush=True)
    statuses = {check.status for check in checks}
    status = next(status for status in (WRONG, CANNOT, RIGHT) if status in statuses)
    if arguments.json:
        print(json.dumps({"ok": status == RIGHT, "checks": list(map(_content, checks))}, indent=1))
    else:
        print(f"{_verdict(checks)}: {time.perf_counter() - begin:.1f} s")
    return status


def _checks(names, known, shapes, seed):
    """Everything asked for, one Check after the other."""
    for name in names:
        if not _is_file(name):
            op, cases = known[name]
            yield of_op(name, op, cases(np.random.default_rng(seed)), seed)
            continue
        path, _, function = name.partition("::")
        try:
            with files.loaded(path) as module:
                yield from _of_file(path, module, function, shapes, seed)
        except (Exception, SystemExit) as error:
            yield Check(name, error=files.sentence(error, Path(path).resolve()))


def _of_file(path, module, function, shapes, seed):
    if not function and all(hasattr(module, name) for name in ("init", "forward", "backward")):
        if hasattr(module, "cases") or "query" in getattr(module, "SHAPES", {}):
            cases = attention_cases.cases(np.random.default_rng(seed), module)
            if not cases:
                raise ValueError(f"cases(rng) of {path} gives no case, so nothing would be checked")
            yield of_op(path, module, cases, seed)
            return
    pairs = dict([files.find(module, function)]) if function else files.pairs(module)
    if not pairs:
        raise ValueError(
            f"{path} has no function with a backward: the backward of f is called f_backward or f_grad; a function "
            f"that returns (loss, gradients) is asked for by {path}::f"
        )
    known = {argument for name, pair in pairs.items() for argument in files.names(pair)}
    if strangers := shapes.keys() - known:
        raise ValueError(f"--shape {min(strangers)}: nothing here takes it; there are {', '.join(sorted(known))}")
    for name, pair in pairs.items():
        try:
            report = files.check(module, name, pair, shapes, np.random.default_rng(seed), seed=seed)
            yield Check(f"{path}::{name}", report)
        except (Exception, SystemExit) as error:  # exit(0) in somebody's function is no proof
            yield Check(f"{path}::{name}", error=files.sentence(error, Path(path).resolve()))


def of_op(name, op, cases, seed):
    """An op over all its cases: of each array the largest error and its case; the first wrong case is diagnosed."""
    rows, faults, floor, wrong = {}, {}, 0.0, None
    for case in cases:
        try:
            report = check_case(op, case, np.random.default_rng([seed, 1]))
        except (Exception, SystemExit) as error:  # in the op itself: show where
            error.add_note(f"in the case {case.name!r}")
            return Check(name, error=f"{type(error).__name__}: {error}", trace=traceback.format_exc(), cases=len(cases))
        for row in report.rows:
            if row.name not in rows or row.error > rows[row.name].error:
                rows[row.name] = row._replace(remark=f"{row.remark} ({case.name})".lstrip())
        faults |= {fault: f"{fault} ({case.name})" for fault in report.faults if fault not in faults}
        floor, wrong = max(floor, report.floor), wrong or (None if report else case)
    report = Report(list(rows.values()), floor, TOLERANCE, name, tuple(faults.values()))
    if wrong is not None:
        rng = np.random.default_rng([seed, 1])
        params, settings = case_params(op, wrong, rng), {"max_elements": None, "method": "complex", "rng": rng}
        found = gradcheck(op, None, wrong.inputs, params=params, options=wrong.options, **settings)
        report = report._replace(likenesses=found.likenesses)
    return Check(name, report, cases=len(cases))


def _text(check):
    head = check.name + (f"  ({check.cases} cases)" if check.cases else "")
    if check.report is not None:
        return f"{head}\n{check.report}"
    return f"{head}\n{check.trace.rstrip()}" if check.trace else f"{head}\n  cannot be checked: {check.error}"


def _content(check):
    """What JSON says of a check."""
    said = {"name": check.name, "ok": check.status == RIGHT}
    said |= {"cases": check.cases} if check.cases else {}
    return said | (json.loads(check.report.json()) if check.report is not None else {"error": check.error})


def _verdict(checks):
    wrong = sum(check.trace != "" for check in checks)
    for report in (check.report for check in checks if check.report is not None):
        wrong += len(report.faults) + sum(not report.right(row) for row in report.rows)
    cannot = sum(check.status == CANNOT for check in checks)
    said = [f"{wrong} {'is' if wrong == 1 else 'are'} WRONG"] if wrong else []
    said += [f"{cannot} cannot be checked"] if cannot else []
    return ", ".join(said) or "every gradient is right"


def _is_file(name):
    return name.partition("::")[0].endswith(".py")


def _shape(text):
    """q=2,3,4 or ids=2,3:7 or mask=2,3:bool -> (name, Shape)."""
    name, equals, numbers = text.partition("=")
    sizes, colon, kind = numbers.partition(":")
    try:
        below = kind if kind == files.BOOL else int(kind) if colon else None
        shape = files.Shape(tuple(int(n) for n in sizes.split(",") if n.strip()), below)
        sound = min(shape.sizes, default=0) >= 0 and (below in (None, files.BOOL) or below > 0)
    except ValueError:
        sound = False
    if not name.isidentifier() or not equals or not sound:
        raise argparse.ArgumentTypeError(
            f"must name an argument and its sizes, as in q=2,3,4, ids=2,3:7 (integers from 0 to 6) or mask=2,3:bool, "
            f"but is {text!r}"
        )
    return name, shape
