"""The benchmark: what it measures and compares, what it refuses, what it prints. How fast anything is, no test asks."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from minattn import threads, tree
from minattn.__main__ import main
from minattn.bench import command, contests, measure, memory, picture
from minattn.bench.measure import Contest, Result, Time

SMALL = {
    "attention": {"sizes": [(2, 2, 5, 3), (1, 1, 600, 4)]},  # one for each op
    "lstm": {"sizes": [(2, 3, 4, 5)]},
    "lstm-loop": {"sizes": [(2, 3, 4, 5)]},
    "additive": {"B": 2, "T": 3, "S": 4, "N": 5},
    "cross-entropy": {"sizes": [(6, 5)]},
    "layernorm": {"sizes": [(2, 3, 4)]},
    "gelu": {"sizes": [(2, 3, 4)]},
    "softmax": {"sizes": [(2, 3, 4)]},
    "embedding": {"sizes": [(2, 6, 5, 4)]},
    "adam": {"V": 5, "M": 8, "H": 2, "L": 1, "T": 3},
    "transformer": {"B": 2, "T": 4, "V": 5, "M": 8, "H": 2, "L": 2},
    "seq2seq": {"B": 2, "S": 4, "T": 3, "V": 6, "I": 3, "N": 4},
    "decoding": {"V": 9, "M": 8, "H": 2, "L": 2, "begin": 3, "steps": 4},
    "sentences": {"lengths": (5,), "V": 9, "M": 8, "H": 2, "L": 2},
    "gradcheck": {"shape": (1, 1, 2, 3)},
    "import": {"ours": "numpy, minattn.threads", "theirs": "json"},
}
ROW = pytest.mark.parametrize("key", contests.ROWS)
PROBLEM = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """The command sets variables for its children: they are set back here."""
    for name in threads.VARIABLES:
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(measure, "TURN", 0)
    monkeypatch.setattr(measure, "REST", 0)


def fake(name="fake", ours=PROBLEM, theirs=PROBLEM, **more):
    """A contest whose sides return what is given."""
    sides = (lambda: {"dkey": ours}), (None if theirs is None else lambda: {"dkey": theirs})
    return Contest(name, *sides, **more)


# The rows.


def test_every_row_is_tried_here():
    assert SMALL.keys() == contests.ROWS.keys()


@ROW
def test_our_side(key, rng):
    for contest in contests.ROWS[key](rng, None, **SMALL[key]):
        assert contest.theirs is None
        assert (contest.aim is None) == (contest.must is None) and (contest.aim or 0) <= (contest.must or 0)
        results = dict(tree.leaves(contest.ours()))
        assert results or key == "import"
        for path, array in results.items():
            array = np.asarray(array)
            assert np.isfinite(array).all() and array.dtype.kind in "ib" or array.dtype == np.float32, path
        assert measure.race(contest, 0).ours.quartile > 0


@ROW
@pytest.mark.parity
def test_both_sides_agree(key, rng):
    torch = pytest.importorskip("torch", reason="parity needs PyTorch: pip install minattn[compare]")
    for contest in contests.ROWS[key](rng, torch, **SMALL[key]):
        result = measure.race(contest, 0)
        assert result.disagreement == "", contest.name
        assert result.ratio == result.ours.quartile / result.theirs.quartile


def test_names_fit_into_the_table():
    """The large sizes are made, but nothing is computed with the longest."""
    for key in ("lstm-loop", "additive", "cross-entropy", "embedding", "transformer", "seq2seq"):
        contest = next(contests.ROWS[key](np.random.default_rng(0), None))
        assert len(contest.name) <= command.NAME


# Comparing.


@pytest.mark.parametrize(
    "ours, theirs, said",
    [
        (PROBLEM, PROBLEM + 1e-6, ""),
        (PROBLEM, PROBLEM + np.float32(0.15), "disagree: dkey by 3e-02"),
        (PROBLEM, PROBLEM.T, "disagree: dkey by inf"),
        (PROBLEM, np.where(PROBLEM == 2, np.nan, PROBLEM), "disagree: dkey by inf"),
        (np.where(PROBLEM == 2, np.inf, PROBLEM), PROBLEM, "disagree: dkey by inf"),
        (np.where(PROBLEM == 2, np.nan, PROBLEM), np.where(PROBLEM == 2, np.nan, PROBLEM), ""),
        (np.where(PROBLEM == 2, -np.inf, PROBLEM), np.where(PROBLEM == 2, -np.inf, PROBLEM), ""),
        (0 * PROBLEM, 0 * PROBLEM, ""),
        (1e-9 + 0 * PROBLEM, 0 * PROBLEM, "disagree: dkey by inf"),
        (np.zeros((0, 3)), np.zeros((0, 3)), ""),
        (np.array(True), np.array(False), "disagree: dkey by inf"),
        (PROBLEM, None, ""),
    ],
)
def test_disagreement(ours, theirs, said):
    assert measure.disagreement(fake(ours=ours, theirs=theirs)) == said


def test_rounding_of_what_is_exactly_zero():
    """The gradient of all keys' bias is 0: what is left of its terms is compared with the other gradients."""

    def side(rest):
        return lambda: {"db": np.full(3, rest), "dW": PROBLEM}

    assert measure.disagreement(Contest("", side(1e-9), side(-1e-9))) == ""
    assert measure.disagreement(Contest("", side(1e-2), side(-1e-2))).startswith("disagree: db by ")


def test_one_side_returns_more():
    contest = Contest("", lambda: {"a": PROBLEM, "b": None}, lambda: {"a": PROBLEM, "b": PROBLEM, "c": PROBLEM})
    assert measure.disagreement(contest) == "disagree: b, c on one side alone"


def test_no_time_is_told_where_they_disagree():
    result = measure.race(fake(theirs=PROBLEM + 1, aim=0.5, must=1.0, flops=1e9), 0)
    assert result.ours is result.theirs is result.ratio is result.products is result.speed is result.verdict is None
    assert "disagree: dkey by 2e-01" in command._line(result)


# Timing.


def test_turns():
    """In turn, the first run of each beside the count; the percentile is that of the turns, the minimum of all runs."""
    order, now = [], [0.0]
    durations = {"ours": iter([5] + [0.5, 1, 9, 2, 9, 3]), "theirs": itertools.repeat(2)}

    def work(name):
        order.append(name)
        now[0] += next(durations[name])

    works = [(lambda: work("ours"), lambda: now[0]), (lambda: work("theirs"), lambda: now[0])]
    ours, theirs = measure.take_turns(works, 0)
    assert order == ["ours", "theirs"] + ["ours", "ours", "theirs", "theirs"] * measure.LEAST
    assert ours == Time(1.5, 1) and theirs == Time(2, 2)


def test_a_rest_before_each_turn(monkeypatch):
    """The threads of whoever came before sleep when the clock starts."""
    order = []
    monkeypatch.setattr(measure, "REST", 0.25)
    monkeypatch.setattr(measure.time, "sleep", order.append)
    measure.take_turns([(lambda: order.append("ours"), iter(range(99)).__next__)], 0)
    assert order == ["ours"] + [0.25, "ours", "ours"] * measure.LEAST


def test_short_works_run_several_times_a_turn(monkeypatch):
    monkeypatch.setattr(measure, "TURN", 1.0)
    runs, now = [], [0.0]

    def work():
        runs.append(1)
        now[0] += 0.25

    assert measure.take_turns([(work, lambda: now[0])], 0) == [Time(0.25, 0.25)]
    assert len(runs) == 1 + (1 + 4) * measure.LEAST


def test_what_a_result_says():
    result = Result("", Time(0.002, 0.001), Time(0.004, 0.004), aim=0.4, must=0.6)
    assert result.ratio == 0.5 and result.verdict == "must"
    assert result._replace(aim=0.5).verdict == "aim" and result._replace(must=0.45).verdict == "neither"
    assert result._replace(must=None, aim=None).verdict is None and result._replace(theirs=None).verdict is None
    assert "·" in command._line(result) and "✓" in command._line(result._replace(aim=0.5))


def test_products():
    """A clock of one second a run: as many products as the speed makes of the flops in that second."""
    seconds = itertools.count()
    result = measure.race(fake(theirs=None, flops=50.0, clock=lambda: next(seconds)), 0)
    assert result.ours == Time(1, 1) and result.products == result.speed / 50 > 0


def test_busy():
    result = Result("", speed=1e9)
    assert measure.busy(result, 3e9) and not measure.busy(result, 1.5e9) and not measure.busy(Result(""), 3e9)


def test_same_threads():
    set_to = []
    torch = SimpleNamespace(get_num_threads=lambda: 7, set_num_threads=set_to.append)
    with measure.same_threads(3, torch):
        assert threads.count() == 3 and set_to == [3]
    assert set_to == [3, 7] and threads.count() == 1


def test_garbage_is_collected_again():
    import gc

    with pytest.raises(ZeroDivisionError):
        measure.take_turns([(lambda: 1 / 0, lambda: 0.0)], 0)
    assert gc.isenabled()


# Memory.


def test_peak():
    code = "import numpy as np; from minattn.bench import memory; print(memory.peak(lambda: np.ones(2**22).sum()))"
    said = measure.python("-c", code).strip()
    assert said == "None" or 30e6 < int(said) < 60e6


def test_usages(monkeypatch):
    monkeypatch.setattr(memory, "QUICK", (32, 64))
    for usage, T in zip(memory.growing(1, None, quick=True), (32, 64), strict=True):
        assert (usage.heads, usage.T, usage.theirs, usage.ratio) == (memory.HEADS, T, None, None)
        assert usage.ours is None or usage.ours >= 0


def test_memory_is_measured_where_malloc_gives_back_at_once(monkeypatch):
    """Each in a Python of its own, which really has the variable."""
    monkeypatch.setattr(memory, "python", lambda *arguments, **variables: str(variables == memory.AT_ONCE and 7))
    assert memory._of("ours", 1, 2, 3, 1) == 7
    ((name, value),) = memory.AT_ONCE.items()
    assert measure.python("-c", f"import os; print(os.environ[{name!r}])", **memory.AT_ONCE).strip() == value


def test_memory_lines():
    small, large = memory.Usage(4, 8192, 64, 2**20, 2**21), memory.Usage(4, memory.GOAL, 64, 2**21, 2**21)
    assert command._memory_line(small, None).split()[-3:] == ["1.0", "2.0", "0.50"]
    assert command._memory_line(large, small).split()[-7:] == ["1.00", "1.25", "1", "✓", "2.0x", "for", "2x"]
    assert (
        command._memory_line(memory.Usage(1, 16, 8, None, None), small).split() == "attention 1 head, T 16, D 8".split()
    )


def test_a_python_that_fails():
    with pytest.raises(ValueError, match="ended with status 3"):
        measure.python("-c", "raise SystemExit(3)")


# The command.


@pytest.fixture
def run(monkeypatch, capsys):
    """run("--only", "fake") with rows that take no time -> status, stdout, stderr; torch=None: it is not installed."""
    monkeypatch.setattr(measure, "BUSY", 0)
    monkeypatch.setattr(command, "QUICK", 0)
    monkeypatch.setattr(command, "SECONDS", 0)
    stand_in = SimpleNamespace(get_num_threads=lambda: 1, set_num_threads=lambda n: None, __version__="9.9")

    def run(*arguments, torch=stand_in, **rows):
        monkeypatch.setattr(command, "_torch", lambda: torch)
        monkeypatch.setattr(contests, "ROWS", {name: lambda rng, torch, c=c: iter(c) for name, c in rows.items()})
        monkeypatch.setattr(contests, "MEMORY", {})
        status = main(["bench", *arguments])
        return status, *capsys.readouterr()

    return run


def test_table(run):
    status, out, _ = run(first=[fake("one", must=9999, aim=9999, flops=1.0)], second=[fake("two")])
    one, two = out.splitlines()[2:4]
    assert status == 0 and one.startswith("one ") and two.startswith("two ")
    assert one.split()[-4:-1] == ["9999", "9999", "✓"] and len(one.split()) == 10 and len(two.split()) == 6
    assert "GFLOP/s" in out and f"NumPy {np.__version__}" in out and "PyTorch 9.9" in out and "pip install" not in out


def test_disagreement_is_a_failure(run):
    status, out, _ = run(good=[fake()], bad=[fake("wrong", theirs=PROBLEM + 1, must=1.0, aim=0.5)])
    (line,) = (line for line in out.splitlines() if line.startswith("wrong"))
    assert status == 1 and line.split() == "wrong disagree: dkey by 2e-01".split()


def test_slow_is_no_failure(run):
    status, out, _ = run(row=[fake(must=1e-9, aim=1e-9)])
    assert status == 0 and "✗" in out


def test_without_pytorch(run):
    status, out, _ = run(torch=None, row=[fake(theirs=None, must=1.0, aim=0.5, flops=1.0)])
    assert status == 0 and 'only this library was timed: pip install "minattn[compare]"' in out
    assert len(out.splitlines()[2].split()) == 6  # name, two times, must, aim, products


def test_a_busy_machine(run, monkeypatch):
    monkeypatch.setattr(measure, "BUSY", 2)
    assert run(row=[fake()])[1].splitlines()[2].endswith(" busy")
    assert json.loads(run("--json", row=[fake()])[1])["rows"][0]["busy"] is True


def test_quick_leaves_the_longest_out(run):
    rows = [fake("short"), fake("endless", long=True)]
    assert "endless" in run(row=rows)[1] and "endless" not in run("--quick", row=rows)[1]


def test_json(run):
    status, out, _ = run("--json", row=[fake(must=9999, aim=9999, flops=1.0)], bad=[fake("b", theirs=PROBLEM + 1)])
    said = json.loads(out)
    good, bad = said["rows"]
    assert status == 1 and said["agree"] is False and said["memory"] == []
    assert good["key"] == "row" and good["ratio"] == good["ours_ms"]["p25"] / good["torch_ms"]["p25"]
    assert (
        good["verdict"] == "aim"
        and good["products"] > 0
        and good["gflops"] > 0
        and good["busy"] is False
        and good["disagreement"] is None
    )
    assert bad["ratio"] is bad["ours_ms"] is bad["verdict"] is None and bad["disagreement"] == "disagree: dkey by 2e-01"
    facts = {"processor", "cores", "threads", "python", "numpy", "blas", "blas_threads", "torch"}
    assert said["machine"].keys() == facts and said["machine"]["numpy"] == np.__version__


def test_only(run):
    rows = {"lstm": [fake("an lstm")], "attention": [fake("an attention")], "adam": [fake("an adam")]}
    lines = run("--only", "adam", "lstm", **rows)[1].splitlines()
    assert [line[:7] for line in lines[2:4]] == ["an lstm", "an adam"] and "an attention" not in lines
    status, _, error = run("--only", "lstn", **rows)
    assert status == 2 and error == "minattn bench: no row is called 'lstn'; did you mean lstm?\n"
    assert "there are lstm, attention, adam" in run("--only", "zzz", **rows)[2]
    assert run("--only", "list", **rows)[1].split() == list(rows)


def test_what_takes_minutes_is_only_done_when_asked_for():
    known = [*contests.ROWS, *contests.MEMORY]
    assert command.chosen([], known) == [key for key in known if key != "memory-65536"]
    assert command.chosen(["memory-65536"], known) == ["memory-65536"]


def test_threads(run):
    said = json.loads(run("--json", "--threads", "3", row=[fake()])[1])
    assert said["machine"]["threads"] == 3 and {os.environ[name] for name in threads.VARIABLES} == {"3"}
    status, _, error = run("--threads", "0", row=[fake()])
    assert status == 2 and error == "minattn bench: --threads must be at least 1 but is 0\n"


def test_picture(run, tmp_path):
    rows = [fake("one", must=1.0, aim=0.5), fake("two $x_1$"), fake("wrong", theirs=PROBLEM + 1)]
    status, out, _ = run("--picture", str(tmp_path / "new" / "bars"), row=rows)
    assert status == 1 and f"Picture: {tmp_path / 'new' / 'bars.png'}" in out
    assert os.listdir(tmp_path / "new") == ["bars.png"]
    (tmp_path / "folder.png").mkdir()
    for name in ("bars.txt", "folder.png"):
        status, out, error = run("--picture", str(tmp_path / name), row=rows)
        assert status == 2 and f"{name} cannot be a picture" in error and not out
    status, out, error = run("--picture", str(tmp_path / "bars.png"), torch=None, row=rows)
    assert status == 2 and "pip install" in error and not out


def test_nothing_to_draw(tmp_path):
    with pytest.raises(ValueError, match="there is no ratio to draw"):
        picture.draw([Result("", Time(1, 1))], tmp_path / "bars.png", "")


def test_the_blas_has_the_threads_that_were_asked_for():
    """In a process of its own, whatever its environment says; NumPy must not be loaded before that is settled."""
    code = "import sys, minattn.bench.command; print('numpy' in sys.modules)"
    assert measure.python("-c", code).strip() == "False"
    command = [sys.executable, "-m", "minattn", "bench", "--only", "adam", "--quick", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True)
    machine = json.loads(done.stdout)["machine"]
    assert machine["threads"] == min(2, machine["cores"]) and machine["blas_threads"] in (None, machine["threads"])


def test_the_guide_shows_what_was_measured():
    """Every row of figures/bench.json, and nothing else, in the tables of lessons/guides/performance.md."""
    root = Path(__file__).parent.parent
    document = json.loads((root / "figures/bench.json").read_text(encoding="utf-8"))
    text = (root / "lessons/guides/performance.md").read_text(encoding="utf-8")
    guide = text.partition("## What makes it fast")[0].splitlines()
    lines = [line.strip("| ").split(" | ") for line in guide if line.startswith("| ")]
    shown = {cells[0]: cells[3] for cells in lines if cells[3] != "ratio"}
    rows = {row["name"].replace("  ", ": "): f"{row['ratio']:.2f}" for row in document["rows"]}
    rows |= {f"{u['heads']} heads of {u['D']}, T = {u['T']}": f"{u['ratio']:.2f}" for u in document["memory"]}
    assert shown == rows and document["agree"]
