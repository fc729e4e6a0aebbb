"""python -m minattn bench: the table of every row, ours and PyTorch's, and the memory of long attention."""

import argparse
import contextlib
import difflib
import functools
import json
import os
import sys
from pathlib import Path

from minattn.threads import VARIABLES, cores

AGREE, DISAGREE = 0, 1
SECONDS, QUICK = 2.5, 0.3  # of turns a row
MISSING = 'PyTorch is not installed, so only this library was timed: pip install "minattn[compare]"'
MARKS = {"aim": "✓", "must": "·", "neither": "✗", None: ""}
ON_REQUEST = ("memory-65536",)  # it takes minutes
NAME, WIDTHS = 54, (8, 8, 8, 8, 7, 6, 6, 2, 10)  # characters
COLUMNS = "p25", "min", "p25", "min", "ratio", "must", "aim", "", "products"
MEMORY_NAME, MEMORY_WIDTHS = 40, (9, 12, 7, 6, 6, 2, 14)
MEMORY_TITLE = "peak memory, forward and backward"
MEMORY_COLUMNS = "ours MiB", "PyTorch MiB", "ratio", "must", "aim", "", "growth"
HELP = """
what the columns say:
  p25, min      milliseconds: the 25th percentile of the turns, and the fastest run
  ratio         ours to PyTorch's, of p25: under 1 this library is faster
  must, aim     what the ratio should be: ✓ the aim is reached, · what must hold does, ✗ neither
  products      our time in that of the row's matrix products alone, at the speed of a product of 512 x 512
  busy          that product was far slower than before: something else was computing, and the ratio says little

examples:
  python -m minattn bench --only attention lstm
  python -m minattn bench --quick --threads 1
  python -m minattn bench --only list
  python -m minattn bench --card

exit status: 0, or 1 where the two sides compute something different; a slow row is told, but is no failure
"""


def add_arguments(parser):
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = HELP
    parser.add_argument("--only", nargs="+", metavar="KEY", default=[], help="some rows; `list` shows their keys")
    parser.add_argument("--threads", type=int, metavar="N", help="of both sides (default 2, or 1 on a single core)")
    parser.add_argument("--quick", action="store_true", help="short turns, and without the longest sequences")
    parser.add_argument(
        "--card", action="store_true", help="on a graphics card, against PyTorch there and the host here"
    )
    parser.add_argument("--picture", type=Path, metavar="PATH", help="draw the ratios as bars")
    parser.add_argument("--json", action="store_true", help="one JSON document in place of the table")


def main(arguments):
    """Race every row that was asked for and print the table -> 0, or 1 where the two sides disagree."""
    number = min(2, cores()) if arguments.threads is None else arguments.threads
    if number < 1:
        raise ValueError(f"--threads must be at least 1 but is {number}")
    os.environ.update(dict.fromkeys(VARIABLES, str(number)))  # read by all that is loaded from here on, children too
    from minattn.bench import card, measure, picture
    from minattn.bench.contests import MEMORY, ROWS

    if arguments.card:
        if arguments.only or arguments.picture:
            raise ValueError("--card has rows of its own, all of them, and no picture: leave out --only and --picture")
        return card.main(arguments, number)
    if arguments.only == ["list"]:
        print("\n".join([*ROWS, *MEMORY]))
        return AGREE
    keys = chosen(arguments.only, [*ROWS, *MEMORY])
    torch = _torch()
    if arguments.picture and torch is None:
        raise ValueError(f"--picture draws ratios to PyTorch's times. {MISSING}")
    path = arguments.picture and picture.check(arguments.picture)
    with measure.same_threads(number, torch):
        facts = measure.machine(cores(), number, torch)
        rows, usages = _measured(arguments, keys, number, torch)
    results = [result for _, result in rows]
    speeds = [result.speed for result in results if result.speed]
    agree = not any(result.disagreement for result in results)
    if arguments.json:
        document = {"agree": agree, "machine": facts, "rows": [_content(*row, max(speeds, default=0)) for row in rows]}
        print(json.dumps(document | {"memory": [_usage(usage) for usage in usages]}, indent=1))
    else:
        print("\n" + "\n".join([*_floor(speeds), *_foot(facts), *([] if torch else [MISSING])]))
    if path:
        picture.draw(results, path, "\n".join(_foot(facts)))
        print(f"Picture: {path}", file=sys.stderr if arguments.json else sys.stdout)
    return AGREE if agree else DISAGREE


def chosen(asked, known):
    """The keys that were asked for, in the order of the table; where none was, all but those that take minutes."""
    for key in asked:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=3)
            meant = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
            raise ValueError(f"no row is called {key!r}; {meant}")
    return [key for key in known if key in asked or not asked and key not in ON_REQUEST]


def _measured(arguments, keys, number, torch):
    """-> [(key, Result)], [Usage], each line printed as soon as it is known."""
    import numpy as np

    from minattn.bench import measure
    from minattn.bench.contests import MEMORY, ROWS

    rows, usages, fastest = [], [], 0
    with _progress(len(keys)) as (say, advance):
        say = (lambda line: None) if arguments.json else say
        for key in keys:
            if key in ROWS:
                if not rows:
                    say(_cells("", ["ours ms", "", "PyTorch ms", ""]) + "\n" + _cells("", COLUMNS))
                for contest in ROWS[key](np.random.default_rng(0), torch):
                    if arguments.quick and contest.long:
                        continue
                    seconds = QUICK if arguments.quick else SECONDS
                    result = measure.race(contest, seconds)
                    rows.append((key, result))
                    fastest = max(fastest, result.speed or 0)
                    say(_line(result) + " busy" * measure.busy(result, fastest))
            else:
                for usage in MEMORY[key](number, torch, arguments.quick):
                    if not usages:
                        say("\n" * bool(rows) + _cells(MEMORY_TITLE, MEMORY_COLUMNS, MEMORY_NAME, MEMORY_WIDTHS))
                    say(_memory_line(usage, usages[-1] if usages else None))
                    usages.append(usage)
            advance()
    return rows, usages


@contextlib.contextmanager
def _progress(total):
    """-> say(line) on stdout, advance(); a bar on stderr where tqdm is installed."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        yield functools.partial(print, flush=True), lambda: None
        return
    pause = 0.1 if sys.stderr.isatty() else 10  # a log wants fewer lines than a screen
    with tqdm(total=total, desc="bench", unit="row", dynamic_ncols=True, mininterval=pause, leave=False) as bar:
        yield bar.write, bar.update


def _torch():
    """PyTorch, or None where it is not installed."""
    try:
        import torch
    except ModuleNotFoundError:
        return None
    return torch


def _line(result):
    """One row of the table."""
    if result.disagreement:
        return f"{result.name:{NAME}}  {result.disagreement}"
    goals = [_number(result.must), _number(result.aim)]
    times = [_milliseconds(seconds) for time in (result.ours, result.theirs) for seconds in time or (None, None)]
    ratio = "" if result.ratio is None else f"{result.ratio:.2f}"
    products = "" if result.products is None else f"{result.products:.1f}"
    return _cells(result.name, [*times, ratio, *goals, MARKS[result.verdict], products])


def _memory_line(usage, before):
    """One row of the table of memory; growth since the row before, where that had as many heads."""
    megabytes = ["" if n is None else f"{n / 2**20:.1f}" for n in (usage.ours, usage.theirs)]
    known = before is not None and before.heads == usage.heads and before.ours and usage.ours
    growth = f"{usage.ours / before.ours:.1f}x for {usage.T / before.T:g}x" if known else ""
    ratio = "" if usage.ratio is None else f"{usage.ratio:.2f}"
    cells = [*megabytes, ratio, _number(usage.must), _number(usage.aim), MARKS[usage.verdict], growth]
    name = f"attention  {usage.heads} head{'s' * (usage.heads > 1)}, T {usage.T}, D {usage.D}"
    return _cells(name, cells, MEMORY_NAME, MEMORY_WIDTHS)


def _cells(name, cells, wide=NAME, widths=WIDTHS):
    """A name and what stands behind it, in columns."""
    return (f"{name:{wide}}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=False))).rstrip()


def _milliseconds(seconds):
    """Three digits."""
    if seconds is None:
        return ""
    ms = 1e3 * seconds
    return f"{ms:.{0 if ms >= 100 else 1 if ms >= 10 else 2 if ms >= 1 else 3}f}"


def _number(goal):
    return "" if goal is None else f"{goal:g}"


def _floor(speeds):
    """How fast the product was that took turns with every row."""
    if not speeds:
        return []
    slowest, fastest = (f"{bound(speeds) / 1e9:.0f}" for bound in (min, max))
    return [f"{slowest} to {fastest} GFLOP/s in a float32 product of 512 x 512 that took turns with the rows"]


def _foot(facts):
    """What was measured on what."""
    blas_threads = "" if facts["blas_threads"] is None else f" with threads: {facts['blas_threads']}"
    theirs = f", PyTorch {facts['torch']}" if facts["torch"] else ""
    return [
        f"{facts['processor']}, cores: {facts['cores']}, threads on each side: {facts['threads']}",
        f"Python {facts['python']}, NumPy {facts['numpy']}, {facts['blas']}{blas_threads}{theirs}",
    ]


def _content(key, result, fastest):
    """What JSON says of a row."""
    from minattn.bench.measure import busy

    times = {
        name: time and {"p25": 1e3 * time.quartile, "min": 1e3 * time.least}
        for name, time in (("ours_ms", result.ours), ("torch_ms", result.theirs))
    }
    said = {"key": key, "name": result.name, **times, "ratio": result.ratio, "must": result.must, "aim": result.aim}
    said |= {"verdict": result.verdict, "products": result.products, "gflops": result.speed and result.speed / 1e9}
    return said | {"busy": busy(result, fastest), "disagreement": result.disagreement or None}


def _usage(usage):
    """What JSON says of a row of memory."""
    said = {"heads": usage.heads, "T": usage.T, "D": usage.D, "ours_bytes": usage.ours, "torch_bytes": usage.theirs}
    return said | {"ratio": usage.ratio, "must": usage.must, "aim": usage.aim, "verdict": usage.verdict}
