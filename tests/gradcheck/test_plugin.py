"""The pytest plugin, in projects that know nothing of this one."""

import html.parser
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import minattn.weights  # noqa: F401  loaded here once, and not anew in each project
from minattn.gradcheck import zoo  # noqa: F401

ROOT = Path(__file__).parents[2]
PLUGIN = ["-p", "no:cacheprovider", "-p", "minattn.pytest_plugin"]
LINEAR = """
import numpy as np
import pytest

rng = np.random.default_rng(0)
X, W = rng.normal(size=(3, 4)), rng.normal(size=(4, 5))

def linear(x, W):
    return x @ W

def right(dout, x, W):
    return dout @ W.T, x.T @ dout

def wrong(dout, x, W):
    return 2 * dout @ W.T, x.T @ dout
"""


@pytest.fixture
def project(pytester, monkeypatch):
    """project(code, *options) runs pytest on a file of that code, with this plugin alone."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(code, *options, run=pytester.runpytest_inprocess):
        pytester.makepyfile(test_it=LINEAR + code)
        return run(*PLUGIN, *options)

    return run


def test_a_right_gradient_passes_and_gives_the_report(project):
    project(
        """
def test_right(gradcheck):
    report = gradcheck(linear, right, (X, W))
    assert report and report.error < 1e-12 and [row.name for row in report.rows] == ["x", "W"]
"""
    ).assert_outcomes(passed=1)


def test_a_wrong_gradient_fails_with_the_report(project):
    result = project("\ndef test_wrong(gradcheck):\n    gradcheck(linear, wrong, (X, W))\n")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [">       gradcheck(linear, wrong, (X, W))", "E *WRONG x  (3, 4)  error 1.0e+00", "E *every element wrong"]
    )
    result.stdout.fnmatch_lines(["E *ok    W  (4, 5)  error *"])
    result.stdout.no_fnmatch_line("*check.py*")
    result.stdout.no_fnmatch_line("*pytest_plugin.py*")
    result.stdout.no_fnmatch_line("*report.py*")


def test_code_that_raises_is_shown_where_it_raises(project):
    result = project("\ndef test_it(gradcheck):\n    gradcheck(linear, lambda dout, x, W: dout @ dout, (X, W))\n")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [">       gradcheck(linear, lambda*", ">   gradcheck(linear, lambda*", "E *ValueError: matmul*"]
    )
    result.stdout.fnmatch_lines(["test_it.py:*: ValueError"])
    result.stdout.no_fnmatch_line("*problem.py*")


def test_warnings_are_errors_and_markers_strict(project, pytester):
    """In a process of its own, as it is installed."""
    code = """
def test_right(gradcheck):
    gradcheck(linear, right, (X, W))

@pytest.mark.gradcheck(seed=1)
def test_single(gradcheck):
    gradcheck(np.abs, lambda dout, x: dout * np.sign(x), (X.astype(np.float32),))
    gradcheck(np.log, lambda dout, x: dout / x, (abs(X),))
"""
    project(code, "-W", "error", "--strict-markers", run=pytester.runpytest_subprocess).assert_outcomes(passed=2)


def test_the_marker_is_explained(project):
    project("", "--markers").stdout.fnmatch_lines(["@pytest.mark.gradcheck(eps, rtol, seed, max_elements): *"])


def test_settings_of_the_marker(project):
    """Each setting is seen by what it does; the nearest marker goes first, and an argument before all of them."""
    result = project(
        """
pytestmark = pytest.mark.gradcheck(rtol=1e-3, seed=5, max_elements=7)

def check(gradcheck, **settings):
    return gradcheck(linear, right, (X, W), **settings)

def test_file(gradcheck):
    report = check(gradcheck)
    assert report.tolerance == 1e-3 and "7 of 20 elements" in str(report)

@pytest.mark.gradcheck(rtol=1e-6, eps=1e-3)
def test_nearest(gradcheck):
    report = check(gradcheck)
    assert report.tolerance == 1e-6 and "7 of 20 elements" in str(report)
    assert report.error > 1e-14  # by differences: of a step of 1e-3 their rounding

def test_argument(gradcheck):
    report = check(gradcheck, tolerance=1e-5, max_elements=None)
    assert report.tolerance == 1e-5 and "elements" not in str(report)

@pytest.mark.gradcheck(eps=1e-3)
def test_method_is_an_argument_too(gradcheck):
    assert check(gradcheck, method="complex").error < 1e-14

def test_seed(gradcheck):
    mine, other = check(gradcheck), check(gradcheck, seed=6)
    again = check(gradcheck, seed=5)
    kept = [np.flatnonzero(~np.isnan(report.rows[1].numeric)) for report in (mine, other, again)]
    assert (kept[0] == kept[2]).all() and not (kept[0] == kept[1]).all()
"""
    )
    result.assert_outcomes(passed=5)


@pytest.mark.parametrize("marker, came", [("esp=1e-3", "esp"), ("1e-3", "0.001")])
def test_a_marker_that_says_something_else(project, marker, came):
    result = project(f"\n@pytest.mark.gradcheck({marker})\ndef test_it(gradcheck):\n    pass\n")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*takes eps, rtol, seed, max_elements by name, but {came} came"])


def test_full_means_every_element(project):
    code = """
@pytest.mark.gradcheck(max_elements=7)
def test_marked(gradcheck):
    report = gradcheck(linear, right, (X, W))
    assert "7 of 20 elements" not in str(report)

def test_argument(gradcheck):
    assert "7 of 20 elements" in str(gradcheck(linear, right, (X, W), max_elements=7))

def test_large(gradcheck):
    assert "elements" not in str(gradcheck(lambda x: x * x, lambda dout, x: 2 * dout * x, (np.ones(5001),)))
"""
    project(code, "--gradcheck-full").assert_outcomes(passed=3)
    project(code).assert_outcomes(passed=1, failed=2)


SEVERAL = """
def test_two(gradcheck):
    gradcheck(linear, right, (X, W))
    gradcheck(lambda *named: linear(*named), wrong, (X, W), names=["x", "W"])

@pytest.mark.parametrize("name", ["<i>"])
def test_escape(gradcheck, name):
    gradcheck(lambda p: p["<b>"] ** 2, lambda dout, p: ({"<b>": 3 * dout * p["<b>"]},), ({"<b>": X},))

def test_cannot(gradcheck):
    gradcheck(linear, right, X)

def test_nothing():
    pass
"""


def entries_of(path):
    written = json.loads(path.read_text(encoding="utf-8"))
    return written, [(entry["test"], entry["call"], entry["ok"]) for entry in written["entries"]]


EXPECTED = [
    ("test_it.py::test_cannot", 1, False),
    ("test_it.py::test_escape[<i>]", 1, False),
    ("test_it.py::test_two", 1, True),
    ("test_it.py::test_two", 2, False),
]


def test_one_json_for_the_whole_run(project, pytester):
    result = project(SEVERAL, "--gradcheck-report=json")
    result.assert_outcomes(passed=1, failed=3)
    result.stdout.fnmatch_lines(["gradcheck report: *gradcheck-report.json"])
    written, entries = entries_of(pytester.path / "gradcheck-report.json")
    assert entries == EXPECTED
    assert not written["ok"] and (written["checks"], written["wrong"]) == (4, 3)
    cannot, _, first, second = written["entries"]
    assert cannot["report"] is None and cannot["error"].startswith("TypeError: inputs must be a tuple")
    assert [row["name"] for row in first["report"]["rows"]] == ["x", "W"]
    assert second["report"]["rows"][0]["details"][0] == "every element wrong"
    assert [path.name for path in pytester.path.glob("*gradcheck-report*")] == ["gradcheck-report.json"]  # no rest


def test_html_escapes_what_it_shows(project, pytester):
    project(SEVERAL, "--gradcheck-report=html:out/checks.html", "--gradcheck-report=json")
    text = (pytester.path / "out" / "checks.html").read_text(encoding="utf-8")
    assert "<b>" not in text and "<i>" not in text and "p.&lt;b&gt;" in text and "test_escape[&lt;i&gt;]" in text
    assert "4 gradient checks: 2 WRONG, 1 not checked, 1 ok" in text and "test_two, call 2" in text
    assert text.count("<table>") == 3 and text.count('<table class="index">') == 1
    assert (pytester.path / "gradcheck-report.json").exists()

    class Balanced(html.parser.HTMLParser):
        open = []

        def handle_starttag(self, tag, attrs):
            self.open.append(tag) if tag not in ("meta", "br") else None

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    Balanced().feed(text)
    assert Balanced.open == []


INDEXED = """
def test_a(gradcheck):
    gradcheck(linear, right, (X, W))

def test_b(gradcheck):
    gradcheck(linear, right, X)

def test_c(gradcheck):
    gradcheck(linear, wrong, (X, W))

def test_d(gradcheck):
    gradcheck(linear, lambda dout, x, W: {"x": dout @ W.T}, (X, W))

def test_e(gradcheck):
    gradcheck(lambda x: x * np.random.rand(), lambda dout, x: dout, (X,))

def test_f(gradcheck):
    def writes(x):
        out = x * x
        x[...] = 0
        return out

    gradcheck(writes, lambda dout, x: 3 * dout * x, (X.copy(),))
"""


def test_html_begins_with_an_index(project, pytester):
    """The wrong ones first, each with a link to its section; the sections in the order of the tests."""
    project(INDEXED, "--gradcheck-report=html:checks.html")
    text = (pytester.path / "checks.html").read_text(encoding="utf-8")
    assert "<h1>6 gradient checks: 4 WRONG, 1 not checked, 1 ok</h1>" in text
    index, *sections = text.partition("<tbody>")[2].split("<section ")
    lines = [re.findall("<td>(.*?)</td>", line) for line in index.splitlines()]
    lines = [[re.sub("<.*?>", "", cell) for cell in line] + re.findall('"#(.*?)"', line[1]) for line in lines if line]
    assert [line[:2] + line[3:] for line in lines] == [
        ["WRONG", "test_it.py::test_c", "1 of 2", "check-3"],
        ["WRONG", "test_it.py::test_d", "1 of 2", "check-4"],
        ["WRONG", "test_it.py::test_e", "1 fault", "check-5"],
        ["WRONG", "test_it.py::test_f", "1 of 1, 1 fault", "check-6"],
        ["not checked", "test_it.py::test_b", "–", "check-2"],
        ["ok", "test_it.py::test_a", "0 of 2", "check-1"],
    ]
    errors = [line[2] for line in lines]
    assert errors[0] == "1.0e+00" and errors[1] == "inf" and errors[2] == errors[4] == "–" and float(errors[5]) < 1e-12
    assert [section[:12] for section in sections] == [f'id="check-{i}"' for i in range(1, 7)]
    assert '<h2><b class="wrong">WRONG</b> test_it.py::test_c</h2>' in sections[2]
    for colour in re.findall(r"var\((--\w+)", text):  # named for light and for dark grounds
        assert len(re.findall(f"{colour}: #", text)) == (1 if colour == "--line" else 2)
    assert {"--right", "--wrong"} <= set(re.findall(r"color:var\((--\w+)", text))
    assert "overflow-wrap: anywhere" in text


def test_html_is_the_same_each_time(project, pytester):
    written = []
    for _ in range(2):
        project(SEVERAL, "--gradcheck-report=html:checks.html")
        written.append((pytester.path / "checks.html").read_bytes())
    assert written[0] == written[1]


def test_html_of_no_and_of_one_check(project, pytester):
    project("\ndef test_nothing():\n    pass\n", "--gradcheck-report=html")
    text = (pytester.path / "gradcheck-report.html").read_text(encoding="utf-8")
    assert "<h1>0 gradient checks</h1>" in text and "<table" not in text and "No test has asked" in text
    project("\ndef test_right(gradcheck):\n    gradcheck(linear, right, (X, W))\n", "--gradcheck-report=html")
    assert "<h1>1 gradient check: 1 ok</h1>" in (pytester.path / "gradcheck-report.html").read_text(encoding="utf-8")


def test_workers_send_their_reports_home(project, pytester):
    pytest.importorskip("xdist")
    result = project(SEVERAL, "-p", "xdist", "-n2", "--gradcheck-report=json", run=pytester.runpytest_subprocess)
    result.assert_outcomes(passed=1, failed=3)
    assert entries_of(pytester.path / "gradcheck-report.json")[1] == EXPECTED


def test_a_run_without_checks_says_so(project, pytester):
    project("\ndef test_nothing():\n    pass\n", "--gradcheck-report=json")
    assert entries_of(pytester.path / "gradcheck-report.json")[0] == {
        "ok": True, "checks": 0, "wrong": 0, "entries": []
    }  # fmt: skip


def test_collecting_writes_nothing(project, pytester):
    project(SEVERAL, "--gradcheck-report=json", "--collect-only")
    assert not (pytester.path / "gradcheck-report.json").exists()


def test_a_report_that_cannot_be_written(project, pytester):
    (pytester.path / "file").write_text("", encoding="utf-8")
    code = "\ndef test_right(gradcheck):\n    gradcheck(linear, right, (X, W))\n"
    result = project(code, "--gradcheck-report=json:file/report.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["gradcheck report: *report.json cannot be written, *"])
    result = project(code, "--gradcheck-report=xml")
    result.stderr.fnmatch_lines(["*must be json or html, and perhaps :PATH behind it, but is 'xml'"])
    result = project(code, "--gradcheck-report=json:.")
    result.stderr.fnmatch_lines(["*--gradcheck-report must name a file, but * is a folder"])


def test_nothing_is_loaded_where_it_is_not_used(pytester):
    path = pytester.makepyfile(test_it="def test_it():\n    pass\n")
    code = (
        "import sys, pytest\n"
        "assert pytest.main(sys.argv[1:]) == 0\n"
        "assert 'minattn.pytest_plugin' in sys.modules\n"
        "print(sorted(m for m in sys.modules if m == 'numpy' or m.startswith('minattn.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "-q", *PLUGIN, str(path)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )
    assert done.stdout.splitlines()[-1] == "['minattn.pytest_plugin']", done.stdout + done.stderr


def test_the_fixture_takes_what_the_function_takes(project):
    """An op with params and options, an object, a function alone."""
    project(
        """
class Layer:
    def __init__(self):
        self.W = W.copy()
    def forward(self, x):
        self.x = x
        return x @ self.W
    def backward(self, dout):
        self.dW = self.x.T @ dout
        return dout @ self.W.T

def test_object(gradcheck):
    assert [row.name for row in gradcheck(Layer(), None, (X,)).rows] == ["x", "W"]

def test_op(gradcheck):
    from minattn.attention import dot
    from minattn.masks import causal
    q = rng.normal(size=(2, 3, 4))
    assert len(gradcheck(dot, inputs=(q, q, q), options={"mask": causal()}).rows) == 3
"""
    ).assert_outcomes(passed=2)


def test_the_plugin_is_declared():
    """Where the package is installed pytest finds it by itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"minattn": "minattn.pytest_plugin"}
