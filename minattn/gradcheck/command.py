"""python -m minattn gradcheck NAME: a line for each array with its largest error over all cases."""

import sys
import time
import traceback

import numpy as np

from minattn.gradcheck.check import TOLERANCE, check_case
from minattn.gradcheck.registry import registry
from minattn.gradcheck.report import Row


def add_arguments(parser):
    parser.add_argument("name", nargs="*", default=["all"], help="names of ops, or `all`; `list` shows the names")
    parser.add_argument("--seed", type=int, default=0, help="of inputs, parameters and upstream gradients")


def main(arguments):
    """Print the report of every op asked for; -> 1 where any gradient is wrong."""
    known = registry()
    if arguments.seed < 0:
        raise ValueError(f"--seed must be at least 0 but is {arguments.seed}")
    if arguments.name == ["list"]:
        print("\n".join(known))
        return 0
    names = list(known) if arguments.name == ["all"] else arguments.name
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"no op is called {unknown[0]!r}; there are {', '.join(known)}")
    begin, wrong = time.perf_counter(), 0
    for name in names:
        op, cases = known[name]
        cases = cases(np.random.default_rng(arguments.seed))
        print(f"{name}  ({len(cases)} cases)")
        try:
            rows = worst(op, cases, arguments.seed)
        except Exception:  # in the op itself: show where
            traceback.print_exc(file=sys.stdout)
            wrong += 1
            continue
        for row in rows:
            right = row.error <= TOLERANCE
            wrong += not right
            print(f"  {'ok   ' if right else 'WRONG'} {row.name:34} error {row.error:.1e}  {row.remark}".rstrip())
    spent = time.perf_counter() - begin
    verdict = "every gradient is right" if not wrong else f"{wrong} {'is' if wrong == 1 else 'are'} WRONG"
    print(f"{verdict}: complex step, {spent:.1f} s")
    return int(wrong > 0)


def worst(op, cases, seed):
    """One row for each array: its largest error over the cases, and the case where that is."""
    rows = {}
    for case in cases:
        try:
            report = check_case(op, case, np.random.default_rng([seed, 1]))
        except Exception as error:
            error.add_note(f"in the case {case.name!r}")
            raise
        for row in report.rows:
            if row.name not in rows or row.error > rows[row.name].error:
                remark = f"{row.remark} ({case.name})" if row.remark else f"({case.name})"
                rows[row.name] = Row(row.name, row.shape, row.error, remark)
    return list(rows.values())
