"""What a class got, in files: grades.csv for the office, grades.json for programs, a page for each student.

A page shows what the student may know: what holds, what does not and why, what the mistake looks like, the next hint.
Of hidden properties it shows that there is one, and whether it holds.
"""

import csv
import html
import io
import json
from collections import Counter

from minattn.classroom.exercises import EXERCISES
from minattn.classroom.grading import file_of
from minattn.classroom.verdict import OK, Mark, Verdict, as_html
from minattn.weights import replace

STYLE = """
:root { color-scheme: light dark; --right: #1a7f37; --wrong: #c62828; --line: #d0d7de; }
@media (prefers-color-scheme: dark) { :root { --right: #3fb950; --wrong: #ff7b72; --line: #3d444d; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 0; }
section { border-top: 1px solid var(--line); padding: 0.8rem 0; }
header { display: flex; justify-content: space-between; gap: 1rem; }
table { border-collapse: collapse; } td, th { padding: 0.1rem 1rem 0.1rem 0; text-align: left; }
"""


def write(students, folder):
    """grades.csv, grades.json and feedback/STUDENT.html -> their paths."""
    pages = folder / "feedback"
    pages.mkdir(parents=True, exist_ok=True)
    written = {folder / "grades.csv": as_csv(students), folder / "grades.json": as_json(students)}
    written |= {pages / f"{file_of(student.student)}.html": page(student) for student in students}
    for old in set(pages.glob("*.html")) - written.keys():  # of somebody who is not in this class any more
        old.unlink()
    for path, text in written.items():
        replace(
            path,
            lambda partial, text=text: partial.write_text(
                text, encoding="utf-8", errors="backslashreplace", newline=""
            ),
        )
    return list(written)


def as_csv(students):
    """A row for each student: points of all, and of each exercise its points and outcome."""
    names = list(students[0].results)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["student", "points", "possible", *(head for name in names for head in (name, f"{name} outcome"))])
    for student in students:
        cells = [cell for name in names for cell in (student.results[name]["points"], student.results[name]["outcome"])]
        rows.writerow([_harmless(student.student), student.points, student.possible, *cells])
    return text.getvalue()


def _harmless(text):
    """No formula, when a spreadsheet opens it."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text


def as_json(students):
    return json.dumps([s._asdict() | {"points": s.points, "possible": s.possible} for s in students], indent=1) + "\n"


def page(student):
    """One student's page: nothing is loaded from elsewhere."""
    title = f"{html.escape(student.student)}: {student.points:g} of {student.possible:g} points"
    parts = [f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>']
    parts += ['<meta name="viewport" content="width=device-width">', f"<style>{STYLE}</style>", f"<h1>{title}</h1>"]
    parts += [f"<p>{html.escape(note)}</p>" for note in student.notes]
    for name, result in student.results.items():
        parts.append(_section(EXERCISES[name], result))
    return "\n".join(parts) + "\n</html>\n"


def _section(exercise, result):
    points = "no points"
    if result["possible"]:
        points = "not graded" if result["points"] is None else f"{result['points']:g} of {result['possible']:g}"
    head = f"<header><h2>Lesson {exercise.lesson} · {html.escape(exercise.name)}</h2><span>{points}</span></header>"
    marks = tuple(Mark(**mark) for mark in result["marks"])
    note = "" if result["outcome"] == OK or exercise.kind == "predict" else f"A hint: {exercise.hints[0]}"
    told = Verdict(exercise.name, result["outcome"], marks, result.get("said", ""), (), tuple(result["likely"]), note)
    more = "".join(f"<p>{html.escape(text)}</p>" for text in result["notes"])
    return f"<section>\n{head}\n{as_html(told)}\n{more}</section>"


def summary(students):
    """The class in a few lines: how each exercise went, and the mistakes that more than one made."""
    width = max(len(name) for name in students[0].results)
    lines = [f"{'':{width}}  points  outcomes"]
    for name in students[0].results:
        results = [student.results[name] for student in students]
        graded = [r for r in results if r["points"] is not None and r["possible"]]
        points = f"{sum(r['points'] for r in graded) / sum(r['possible'] for r in graded):6.0%}" if graded else "     -"
        outcomes = Counter(r["outcome"] for r in results).most_common()
        lines.append(f"{name:{width}}  {points}  {', '.join(f'{n} {outcome}' for outcome, n in outcomes)}")
    mistakes = Counter(
        (name, made) for student in students for name, result in student.results.items() for made in result["names"]
    )
    often = [(made, n) for made, n in mistakes.most_common(5) if n > 1]
    if often:
        lines += ["", "mistakes that several made:"]
        lines += [f"  {n} {name}: {made}" for (name, made), n in often]
    return "\n".join(lines)
