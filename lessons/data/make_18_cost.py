"""Make `18_cost.json`: time and memory of five mechanisms, forward and backward, against the number of steps T.

python lessons/data/make_18_cost.py      about a minute and a half on a quiet core

One head of width 64, float32, no mask, one thread; the window reaches 64 steps to either side. Time: what the
processor spent on it (not what a clock on the wall shows, so that other work on the machine counts for less), in the
fastest of several runs, in which the mechanisms take turns. Memory: the peak of what Python and NumPy have asked for
during forward and backward, inputs not counted, by tracemalloc, in a process of its own.
"""

import json
import os
import platform
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[name] = "1"  # before NumPy is imported

import numpy as np

from minattn.attention import blockwise, dot, fused, linear, window
from minattn.op import bind

REACH, WIDTH = 64, 64
STEPS = 256, 512, 1024, 2048, 4096, 8192, 16384
MECHANISMS = {
    "dot": dot,
    "blockwise": blockwise,
    "fused": fused,
    "window": bind(window, left=REACH, right=REACH),
    "linear": linear,
}
LONGEST = {"dot": 8192}  # steps: at 16,384 each array of scores has a gigabyte
BUDGET = 4.0  # seconds of runs for each T and mechanism, and at least three runs
TARGET = Path(__file__).with_name("18_cost.json")


def inputs(T):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(T, WIDTH)).astype(np.float32) for _ in range(4)]


def work(op, query, key, value, dcontext):
    _, cache = op.forward({}, query, key, value)
    op.backward(dcontext, cache)


def peak(name, T):
    """Bytes at the peak; called in a process that has done nothing else."""
    op = MECHANISMS[name]
    work(op, *inputs(64))  # what is made only once is not counted
    given = inputs(T)
    tracemalloc.start()
    work(op, *given)
    return tracemalloc.get_traced_memory()[1]


def fastest(T):
    """Seconds of the processor in the fastest run of each mechanism."""
    given, names = inputs(T), [name for name in MECHANISMS if T <= LONGEST.get(name, T)]
    runs = {name: [] for name in names}
    while any(len(runs[name]) < 3 for name in names) or sum(map(sum, runs.values())) < BUDGET:
        for name in names:
            if len(runs[name]) < 3 or sum(runs[name]) < BUDGET / len(names):
                begin = time.thread_time()
                work(MECHANISMS[name], *given)
                runs[name].append(time.thread_time() - begin)
        if min(sum(runs[name]) for name in names) >= BUDGET / len(names):
            break
    return {name: min(times) for name, times in runs.items()}


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main():
    times, memory = ({name: [] for name in MECHANISMS} for _ in range(2))
    for T in STEPS:
        for name, seconds in fastest(T).items():
            out = subprocess.run([sys.executable, __file__, name, str(T)], capture_output=True, text=True, check=True)
            times[name].append(round(1000 * seconds, 3))
            memory[name].append(int(out.stdout))
            print(f"T {T:6}  {name:10} {times[name][-1]:10.2f} ms {memory[name][-1] / 2**20:10.2f} MiB", flush=True)
    about = {
        "made by": "lessons/data/make_18_cost.py",
        "numpy": np.__version__,
        "processor": f"{processor()}, one thread",
        "width": WIDTH,
        "reach": REACH,
        "steps": STEPS,
        "milliseconds": times,
        "bytes": memory,
    }
    TARGET.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:]:
        print(peak(sys.argv[1], int(sys.argv[2])))
    else:
        main()
