"""A class is graded: every outcome is told apart, nothing is lost, the same inputs give the same grades."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from classes import body, make, notebook, solutions

from minattn.classroom import feedback, grading, submission
from minattn.classroom.exercises import CORE, EXERCISES
from minattn.classroom.grade_command import chosen
from minattn.classroom.process import Limits
from minattn.classroom.solutions import cell, edited, opened, solved

TWO = ["tempered", "tempered_backward"]
LIMITS = Limits(seconds=3)
POSIX = os.name == "posix"
posix = pytest.mark.skipif(not POSIX, reason="limits are those of POSIX systems")


def write(folder, name, *cells):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(notebook(cells), encoding="utf-8")
    return path


def graded(path, names=TWO, limits=LIMITS):
    return grading.run(submission.find([path])[0], names, limits)


def command(*arguments, **more):
    """python -m minattn grade, as a process."""
    line = [sys.executable, "-m", "minattn", "grade", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, encoding="utf-8", check=False, **more)


def table(out):
    """The rows of grades.csv."""
    return list(csv.DictReader((out / "grades.csv").read_text(encoding="utf-8").splitlines()))


@pytest.fixture
def group(tmp_path):
    """Three students: all right, one mistake, nothing."""
    folder = tmp_path / "group"
    write(folder, "ada.ipynb", *solutions())
    wrong = edited(cell(CORE["tempered"]), CORE["tempered"].mistakes[0].edits, "tempered")
    write(folder, "bob.ipynb", *solutions(tempered=wrong))
    write(folder, "eve.ipynb", *[opened(cell(exercise)) for exercise in CORE.values()])
    return folder


def test_points_outcomes_and_files(group, tmp_path):
    out = tmp_path / "out"
    done = command(group, "--out", out, "--exercises", *TWO)
    assert done.returncode == 0 and "2 OK" in done.stdout and "3 students" in done.stdout, done.stderr
    rows = table(out)
    assert [row["student"] for row in rows] == ["ada", "bob", "eve"]
    assert rows[0]["points"] == "20.0" and rows[0]["possible"] == "20" and rows[2]["points"] == "0"
    assert rows[1]["tempered outcome"] == "WRONG" and 0 < float(rows[1]["tempered"]) < 10
    assert rows[2]["tempered_backward outcome"] == "NOT IMPLEMENTED"
    told = json.loads((out / "grades.json").read_text(encoding="utf-8"))
    assert told[1]["results"]["tempered"]["names"] == [CORE["tempered"].mistakes[0].name]
    before = {path: path.read_bytes() for path in out.rglob("*.*")}
    again = command(group, "--out", out, "--exercises", *TWO)
    assert again.returncode == 0 and "3 of them graded before" in again.stdout
    elsewhere = tmp_path / "elsewhere"
    assert command(group, "--out", elsewhere, "--exercises", *TWO, "--jobs", "1").returncode == 0
    assert before == {path: path.read_bytes() for path in out.rglob("*.*")}
    assert all((elsewhere / path.relative_to(out)).read_bytes() == text for path, text in before.items())


def test_a_page_shows_no_hidden_test(group, tmp_path):
    students = [graded(group / "bob.ipynb")]
    feedback.write(students, tmp_path)
    page = (tmp_path / "feedback" / "bob.html").read_text(encoding="utf-8")
    assert "right on other numbers (hidden)" in page and "softmax over the queries" in page and "A hint:" in page
    hidden = [mark for r in students[0].results.values() for mark in r["marks"] if mark["hidden"]]
    assert len(hidden) == 2 and not any(mark["said"] for mark in hidden)
    assert not re.search(r"off by|src=|href=|<script", page)


def test_names_are_escaped(tmp_path):
    write(tmp_path / "in", "<b>Zoë & Eve.ipynb", "x = 1")
    write(tmp_path / "in", "=cmd().ipynb", "x = 1")
    students = [grading.run(one, TWO, LIMITS) for one in submission.find([tmp_path / "in"])]
    written = feedback.write(students, tmp_path)
    pages = [path for path in written if path.suffix == ".html"]
    assert len({*pages}) == 2 and all(re.fullmatch(r"[\w.-]+", path.name, re.ASCII) for path in pages)
    assert "<b>Zoë" not in "".join(path.read_text(encoding="utf-8") for path in pages)
    assert "\n'=cmd()" in (tmp_path / "grades.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("code", "outcome", "sentence"),
    [
        pytest.param("while True: pass", "TIMEOUT", "longer than 1 seconds", marks=posix),
        ("import time\ntime.sleep(100)", "TIMEOUT", "longer than 1 seconds"),
        ("while True: print('x' * 1000)", "CRASHED", "prints more than 100,000"),
        ("import sys\nsys.exit(0)", "CRASHED", "ends the program"),
        ("import os\nos._exit(0)", "CRASHED", "with the exit status 0"),
        pytest.param("return np.empty(10**10)", "CRASHED", "MemoryError", marks=posix),
        pytest.param("with open('x', 'wb') as f: f.write(b'x' * 10**7)", "CRASHED", "OSError", marks=posix),
        ("return input()", "CRASHED", "EOFError"),
        ("import nowhere_to_be_found", "ENVIRONMENT", "nowhere_to_be_found, which is not installed"),
    ],
)
def test_out_of_hand(tmp_path, code, outcome, sentence):
    path = write(tmp_path, "ada.ipynb", *solutions(tempered=body("tempered", code)))
    results = graded(path, limits=Limits(seconds=1)).results
    assert results["tempered"]["outcome"] == outcome and sentence in results["tempered"]["said"]
    assert not results["tempered"]["points"] and results["tempered_backward"]["outcome"] == "OK"


def test_what_nobody_needs_is_not_run(tmp_path):
    beside = "class Ends:\n    import os\n    os._exit(1)", "def f(x=1 / 0): pass\nclass C(f): pass", "N = 9**9**9"
    path = write(tmp_path, "ada.ipynb", *solutions(), *beside)
    assert {r["outcome"] for r in graded(path).results.values()} == {"OK"}


@posix
@pytest.mark.parametrize(
    "code",
    [
        "import os, time\nos.closerange(0, 50)\ntime.sleep(100)",
        "import os\nos.closerange(0, 300)\nreturn scores",
        "import os\nfor n in range(3, 210):\n    try: os.write(n, b'5\\n')\n    except OSError: pass\nreturn scores",
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(100)\nreturn scores",
        "import os\nos.fork()\nreturn scores",
        "import subprocess\nsubprocess.Popen(['sleep', '100'], start_new_session=True)\nreturn scores",
        "import os\nfor _ in range(1500):\n    os.mkdir('d')\n    os.chdir('d')\nreturn scores",
        "raise ValueError('\\udcff')",
        "import json\njson.dumps = print = None\nreturn scores",
    ],
)
def test_nothing_holds_up_the_others(tmp_path, code):
    path = write(tmp_path, "ada.ipynb", *solutions(tempered=body("tempered", code)))
    begin = time.monotonic()
    student = graded(path, limits=Limits(seconds=1))
    feedback.write([student], tmp_path)
    assert time.monotonic() - begin < 20
    assert student.results["tempered"]["outcome"] != "OK" and student.results["tempered_backward"]["outcome"] == "OK"


def test_no_name_of_a_file_is_too_odd(tmp_path):
    odd = [os.fsdecode(b"Jos\xe9.ipynb")] if POSIX else []
    for name in (*odd, "(the solution).ipynb", "a" * 100 + "1.ipynb", "a" * 100 + "2.ipynb"):
        write(tmp_path / "in", name, "x = 1")
    students = [grading.run(one, ["tempered"], LIMITS) for one in submission.find([tmp_path / "in"])]
    assert {student.points for student in students} == {0} and len(students) == 3 + len(odd)
    assert len({*feedback.write(students, tmp_path)}) == 2 + len(students)


def test_what_is_missing_here_is_nobodys_fault(tmp_path):
    text = "import nowhere_to_be_found as helper\n\n" + body("tempered", "return helper.softmax(scores)")
    student = graded(write(tmp_path, "ada.ipynb", *solutions(tempered=text)))
    assert student.results["tempered"]["outcome"] == "ENVIRONMENT" and student.results["tempered"]["points"] is None
    assert (student.points, student.possible) == (10, 10)
    assert "nowhere_to_be_found" in student.results["tempered"]["said"]


def test_an_environment_that_cannot_grade_gives_no_grades(group, tmp_path):
    """As where NumPy is missing: nobody gets a 0, and the exit status says so."""
    (tmp_path / "broken" / "numpy").mkdir(parents=True)
    (tmp_path / "broken" / "numpy" / "__init__.py").write_text("raise ImportError('no numpy')", encoding="utf-8")
    code = "import sys; from minattn.classroom import grading; import os; os.environ['PYTHONPATH'] = sys.argv.pop(1);"
    code += "from minattn.__main__ import main; sys.exit(main(sys.argv[1:]))"
    line = [sys.executable, "-c", code, str(tmp_path / "broken"), "grade", str(group), "--out", str(tmp_path / "out")]
    done = subprocess.run(line, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 2 and "nothing was graded" in done.stderr and "no numpy" in done.stderr
    assert not list((tmp_path / "out").rglob("*"))


def test_two_notebooks_of_one_student(tmp_path):
    """A lesson's own import takes no helper away, and what is untouched takes the place of nothing."""
    helper = "def softmax(z):\n    shares = np.exp(z - z.max(axis=1, keepdims=True))\n"
    helper += "    return shares / shares.sum(axis=1, keepdims=True)\n"
    own = helper + "\n\n" + body("tempered", "return softmax(scores / temperature)")
    write(tmp_path / "sue", "07 (1).ipynb", *solutions(tempered=own))
    stubs = [opened(cell(CORE[name])) for name in TWO]
    write(tmp_path / "sue", "07.ipynb", *stubs, "from minattn.functions import softmax", "x = softmax(3)")
    student = grading.run(submission.find([tmp_path])[0], TWO, LIMITS)
    assert student.points == student.possible == 20


def test_what_was_to_be_mended_takes_the_place_of_nothing(tmp_path):
    mend = EXERCISES["rnn_backward"]
    write(tmp_path / "sue", "19 (1).ipynb", solved(cell(mend)))
    write(tmp_path / "sue", "19.ipynb", opened(cell(mend)))  # as it was given, and read last
    student = grading.run(submission.find([tmp_path])[0], ["rnn_backward"], LIMITS)
    assert student.results["rnn_backward"]["outcome"] == "OK"


def test_a_line_that_is_not_run_is_named(tmp_path):
    text = "swap = make_swap()\n\n" + body("tempered", "return swap(scores)")
    result = graded(write(tmp_path, "ada.ipynb", *solutions(tempered=text))).results["tempered"]
    assert result["outcome"] == "CRASHED" and "swap is set in ada.ipynb, cell" in result["notes"][0]


def test_who_handed_in_nothing_readable_has_a_row(tmp_path):
    (tmp_path / "jan").mkdir()
    (tmp_path / "jan" / "work.zip").write_bytes(b"x")
    write(tmp_path, "ada.ipynb", "x = 1")
    (tmp_path / "list.txt").write_text("x", encoding="utf-8")
    done = command(tmp_path, "--out", tmp_path.parent / "out", "--exercises", "tempered")
    assert done.returncode == 0 and "passed over: list.txt" in done.stdout
    assert [row["student"] for row in table(tmp_path.parent / "out")] == ["ada", "jan"]
    assert "work.zip" in (tmp_path.parent / "out" / "feedback" / "jan.html").read_text(encoding="utf-8")


def test_duplicates_and_changes_are_told(tmp_path):
    given = solutions()
    changed = [text.replace("scores / temperature\n", "scores / (temperature + 0)\n", 1) for text in given]
    path = write(tmp_path, "ada.ipynb", "def tempered(): pass", *changed)
    results = graded(path).results
    assert "defined 2 times, and the last counts (ada.ipynb, cell 1, ada.ipynb, cell" in results["tempered"]["notes"][0]
    assert "tempered_scores was changed" in results["tempered_backward"]["notes"][0]
    assert results["tempered_backward"]["outcome"] == "OK"


def test_sizes_are_the_students_own():
    draws = {CORE["tempered"].draw(CORE["tempered"].rng(seed))["scores"].shape for seed in range(20)}
    assert len(draws) > 10


@posix
def test_interrupted_it_goes_on(group, tmp_path):
    """Killed in the middle, with somebody looping: what was graded is kept, and the same line ends it."""
    for number in range(4):
        write(group, f"loop {number}.ipynb", *solutions(tempered=body("tempered", "while True: pass")))
    out = tmp_path / "out"
    line = [
        sys.executable,
        "-m",
        "minattn",
        "grade",
        group,
        "--out",
        out,
        "--exercises",
        *TWO,
        "--seconds",
        "2",
        "--jobs",
        "1",
    ]
    process = subprocess.Popen([*map(str, line)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for _ in range(600):
        if len(list(out.glob("students/*.json"))) >= 2:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and b"stopped" in said
    kept = {path: path.read_bytes() for path in out.glob("students/*.json")}
    assert 2 <= len(kept) < 7 and not (out / "grades.csv").exists()
    done = command(*line[4:])
    assert done.returncode == 0 and f"{len(kept)} of them graded before" in done.stdout, done.stderr
    assert all(path.read_bytes() == text for path, text in kept.items())
    assert len(table(out)) == 7


def test_a_changed_submission_is_graded_again(group, tmp_path):
    out = tmp_path / "out"
    command(group, "--out", out, "--exercises", *TWO)
    write(group, "eve.ipynb", *solutions())
    (out / "students" / "bob.json").write_text("{", encoding="utf-8")  # as after a crash of something else
    done = command(group, "--out", out, "--exercises", *TWO)
    assert "1 of them graded before" in done.stdout
    rows = table(out)
    assert [float(row["points"]) == 20 for row in rows] == [True, False, True]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere.ipynb"], "there is no nowhere.ipynb"),
        (["{group}", "--exercises", "temperd"], "did you mean tempered"),
        (["{group}", "--jobs", "0"], "--jobs must be at least 1"),
        (["{group}", "--seconds", "0"], "--seconds more than 0"),
        (["{group}", "--memory", "10"], "--memory at least 256"),
        (["{group}", "--out", "{group}"], "holds submissions"),
    ],
)
def test_what_cannot_be_graded(group, arguments, sentence):
    done = command(*(part.format(group=group) for part in arguments))
    assert done.returncode == 2 and sentence in done.stderr and not done.stdout


def test_which_exercises():
    assert chosen(["core"]) == [*CORE] and chosen(["7"]) == ["unscaled", "tempered", "tempered_backward"]
    assert chosen(["tempered_backward", "07"]) == chosen(["7"]) and len(chosen(["all"])) > len(CORE)


@pytest.mark.long
@posix
def test_a_class_of_two_hundred(tmp_path):
    """Everybody gets what is expected, killed half-way and gone on with, on two cores within 15 minutes."""
    expected = make(tmp_path / "class")
    assert len(expected) >= 200
    line = [
        sys.executable,
        "-m",
        "minattn",
        "grade",
        tmp_path / "class",
        "--out",
        tmp_path / "out",
        "--seconds",
        "4",
        "--jobs",
        "2",
    ]
    begin = time.monotonic()
    process = subprocess.Popen([*map(str, line)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(list(tmp_path.glob("out/students/*.json"))) < len(expected) // 2:
        assert process.poll() is None
        time.sleep(0.2)
    process.kill()
    process.wait()
    done = command(*line[4:])
    seconds = time.monotonic() - begin
    assert done.returncode == 0 and seconds < 900, done.stderr
    assert int(re.search(r"(\d+) of them graded before", done.stdout)[1]) >= len(expected) // 2
    told = {
        s["student"]: s["results"] for s in json.loads((tmp_path / "out" / "grades.json").read_text(encoding="utf-8"))
    }
    assert told.keys() == expected.keys()
    wrong = [
        (student, name, outcome, names, told[student][name]["outcome"], told[student][name]["names"])
        for student, exercises in expected.items()
        for name, (outcome, names) in exercises.items()
        if told[student][name]["outcome"] != outcome
        or (names is not None and tuple(told[student][name]["names"]) != names)
    ]
    assert not wrong
    print(f"\n{len(expected)} students in {seconds:.0f} seconds")
