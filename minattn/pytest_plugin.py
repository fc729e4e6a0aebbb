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
import math
from pathlib import Path

import pytest

SETTINGS = {"eps": "eps", "rtol": "tolerance", "seed": "seed", "max_elements": "max_elements"}
CHECKED = pytest.StashKey[list]()  # of a test: what was checked since its last phase
VERDICTS = "WRONG", "not checked", "ok"
STYLE = """
:root { color-scheme: light dark; --line: #8884; --right: #1a7f37; --wrong: #c62828; --open: #8a5a00 }
@media (prefers-color-scheme: dark) { :root { --right: #5ec27a; --wrong: #ff8a80; --open: #e0b050 } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 1.5rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem }
h2 { font-size: 1rem; margin: 0 0 .5rem; overflow-wrap: anywhere }
section { margin-top: 1.5rem; padding-top: 1rem; border-top: 1px solid var(--line) }
table { border-collapse: collapse }
caption { text-align: left; padding: 2px 10px }
th, td { padding: 2px 10px; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line) }
th, .index td { white-space: nowrap }
.index td:nth-child(2) { white-space: normal }
td { overflow-wrap: anywhere }
p { margin: 4px 10px; overflow-wrap: anywhere }
section > p { white-space: pre-wrap }
.ok { color: var(--right) } .wrong { color: var(--wrong) } .checked { color: var(--open) }
"""


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
    """One page: an index of all checks, the wrong ones first, below it their reports in the order of the tests."""
    numbered = list(enumerate(entries, 1))
    first = sorted(numbered, key=lambda one: VERDICTS.index(_verdict(one[1])))  # a stable sort
    counts = [(sum(_verdict(entry) == verdict for entry in entries), verdict) for verdict in VERDICTS]
    found = ", ".join(f"{count:,} {verdict}" for count, verdict in counts if count)
    title = f"{len(entries):,} gradient check{'' if len(entries) == 1 else 's'}{': ' if found else ''}{found}"
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("", "check", "worst error", "arrays wrong"))
    index = "\n".join(_index_row(number, entry) for number, entry in first)
    table = f'<table class="index"><thead><tr>{heads}</tr></thead>\n<tbody>{index}</tbody></table>'
    sections = "\n".join(
        f'<section id="check-{number}"><h2>{_mark(entry)} {_name(entry)}</h2>\n{entry["html"]}</section>'
        for number, entry in numbered
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>gradcheck</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n"
        f"{table if entries else '<p>No test has asked for the fixture gradcheck.</p>'}\n{sections}</body></html>\n"
    )


def _index_row(number, entry):
    """A line of the index; what could not be checked has no numbers."""
    error = wrong = "–"
    if report := entry["report"]:
        rows, faults = report["rows"], len(report["faults"])
        errors = [math.inf if row["error"] is None else row["error"] for row in rows]
        error = f"{max(errors):.1e}" if errors else "–"
        said = [f"{sum(not row['ok'] for row in rows)} of {len(rows)}"] if rows else []
        said += [f"{faults} fault{'' if faults == 1 else 's'}"] if faults else []
        wrong = ", ".join(said) or "–"
    cells = _mark(entry), f'<a href="#check-{number}">{_name(entry)}</a>', error, wrong
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _verdict(entry):
    """ok, WRONG or, where the check itself has raised, not checked."""
    return VERDICTS[2 if entry["ok"] else 0 if entry["report"] else 1]


def _mark(entry):
    verdict = _verdict(entry)
    return f'<b class="{verdict.split()[-1].lower()}">{verdict}</b>'


def _name(entry):
    return html.escape(entry["test"]) + (f", call {entry['call']}" if entry["call"] > 1 else "")
