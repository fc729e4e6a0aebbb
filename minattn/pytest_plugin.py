"""The pytest plugin: a fixture that asserts, a marker for its settings, one file of reports for the whole run.

    def test_gradient(gradcheck):                                 # installed with the package, nothing to import
        gradcheck(attention, attention_backward, (q, k, v))       # fails with the report, returns it where all is right

    @pytest.mark.gradcheck(eps=1e-3, rtol=1e-6, seed=1, max_elements=200)        of a test, a class or a module
    pytest --gradcheck-full --gradcheck-report=json                              every element; gradcheck-report.json

It stands here and not in `minattn/gradcheck/` because pytest loads it in every run of every project on the machine:
importing `minattn` costs nothing, importing `minattn.gradcheck` costs NumPy and every op there is. What the fixture
needs is imported when a test asks for it.
"""

import argparse
import html
import json
from pathlib import Path

import pytest

SETTINGS = {"eps": "eps", "rtol": "tolerance", "seed": "seed", "max_elements": "max_elements"}
CHECKED = pytest.StashKey[list]()  # of a test: what was checked since its last phase


def pytest_addoption(parser):
    group = parser.getgroup("gradcheck", "gradients written by hand")
    group.addoption(
        "--gradcheck-full",
        action="store_true",
        help="check every element of every array, where the test does not say how many",
    )
    group.addoption(
        "--gradcheck-report",
        action="append",
        default=[],
        type=_format_and_path,
        metavar="json|html[:PATH]",
        help="write the reports of all checks into one file, by default gradcheck-report.json or .html in the rootdir",
    )


def pytest_configure(config):
    config.addinivalue_line(
        "markers",
        "gradcheck(eps, rtol, seed, max_elements): settings of the gradcheck fixture, which arguments of a call "
        "override: the step of central differences, the tolerance, the seed, how many elements of large arrays",
    )
    if config.getoption("gradcheck_report") and not config.option.collectonly:
        config.pluginmanager.register(_Collector(config), "gradcheck-report")


@pytest.fixture
def gradcheck(request):
    """`minattn.gradcheck.gradcheck`, which fails the test with its report where anything is wrong, and returns it."""
    from minattn.gradcheck import gradcheck as check

    defaults, checked = _settings(request.node, request.config), request.node.stash.setdefault(CHECKED, [])

    def gradcheck(*arguments, **given):
        __tracebackhide__ = True  # a failure shows the test, and the report
        settings = defaults | given
        if given.get("method", "central") != "central" and "eps" not in given:
            settings.pop("eps", None)  # the marker's, which means central differences
        try:
            report = check(*arguments, **settings)
        except Exception as error:
            checked.append(f"{type(error).__name__}: {error}")
            raise
        checked.append(report)
        report.assert_ok()
        return report

    return gradcheck


def _settings(item, config):
    """What the markers and the command line say: the nearest marker first, the command line before all of them."""
    settings = {}
    for marker in reversed(list(item.iter_markers("gradcheck"))):
        unknown = marker.kwargs.keys() - SETTINGS.keys()
        if marker.args or unknown:
            came = ", ".join([*map(repr, marker.args), *sorted(unknown)])
            pytest.fail(f"the marker gradcheck takes {', '.join(SETTINGS)} by name, but {came} came", pytrace=False)
        settings |= {SETTINGS[name]: value for name, value in marker.kwargs.items()}
    return settings | ({"max_elements": None} if config.getoption("gradcheck_full") else {})


def _format_and_path(text):
    """json, html, json:PATH -> (format, path or None)."""
    form, _, path = text.partition(":")
    if form not in ("json", "html"):
        raise argparse.ArgumentTypeError(f"must be json or html, and perhaps :PATH behind it, but is {text!r}")
    return form, path or None


class _Collector:
    """Takes the reports off each test, sends them home from workers of pytest-xdist with its result, writes the file.

    They travel as an attribute of pytest's own report of the test, in plain dicts and strings: a worker that dies later
    has sent its own.
    """

    def __init__(self, config):
        self.config, self.entries, self.said = config, [], []
        self.files = [
            (form, Path(path or config.rootpath / f"gradcheck-report.{form}").absolute())
            for form, path in dict.fromkeys(config.getoption("gradcheck_report"))
        ]
        if folders := [path for _, path in self.files if path.is_dir()]:
            raise pytest.UsageError(f"--gradcheck-report must name a file, but {folders[0]} is a folder")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item):
        result = yield
        checked = item.stash.get(CHECKED, [])
        result.gradcheck = [_entry(item.nodeid, one) for one in checked]
        checked.clear()
        return result

    def pytest_runtest_logreport(self, report):
        self.entries += getattr(report, "gradcheck", ())

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session):
        if hasattr(self.config, "workerinput"):
            return
        entries, calls = [], {}
        for entry in sorted(self.entries, key=lambda entry: entry["test"]):  # whoever ran them
            calls[entry["test"]] = calls.get(entry["test"], 0) + 1
            entries.append({"test": entry["test"], "call": calls[entry["test"]]} | entry)
        from minattn.weights import replace

        for form, path in self.files:
            text = {"json": _json, "html": _html}[form](entries).encode("utf-8", "backslashreplace")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                replace(path, lambda partial, text=text: partial.write_bytes(text))
                self.said.append(f"gradcheck report: {path}")
            except OSError as error:
                self.said.append(f"gradcheck report: {path} cannot be written, {error.strerror}")
                session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def pytest_terminal_summary(self, terminalreporter):
        for line in self.said:
            terminalreporter.write_line(line)


def _entry(test, checked):
    """One call of the fixture; checked: its report, or the sentence with which it could not be checked."""
    if isinstance(checked, str):
        return {"test": test, "ok": False, "report": None, "error": checked, "html": f"<p>{html.escape(checked)}</p>"}
    return {"test": test, "ok": bool(checked), "report": json.loads(checked.json()), "html": checked._repr_html_()}


def _json(entries):
    shown = [{name: value for name, value in entry.items() if name != "html"} for entry in entries]
    wrong = sum(not entry["ok"] for entry in entries)
    return json.dumps({"ok": not wrong, "checks": len(entries), "wrong": wrong, "entries": shown}, indent=1)


def _html(entries):
    wrong = sum(not entry["ok"] for entry in entries)
    parts = [
        f"<h2>{html.escape(entry['test'])}{', call ' + str(entry['call']) if entry['call'] > 1 else ''}</h2>"
        f"{entry['html']}"
        for entry in entries
    ]
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>gradcheck</title>'
        "<style>body{font-family:sans-serif} h2{font-size:1em;margin:2em 0 .5em} caption{text-align:left}</style>"
        f"</head><body><h1>{len(entries):,} gradient checks, {wrong:,} wrong</h1>\n{body}</body></html>\n"
    )
