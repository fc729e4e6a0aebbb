"""The exported course goes through nbgrader itself: what is released, graded and fed back."""

import csv
import json
import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

from minattn.__main__ import main
from minattn.classroom import leaks
from minattn.classroom.exercises import CORE
from minattn.classroom.solutions import cell, edited, opened, solved

pytestmark = pytest.mark.nbgrader
pytest.importorskip("nbgrader")
MISTAKE = next(m for m in CORE["tempered_backward"].mistakes if m.name == "the temperature is missing in backward")


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """Released, handed in by three, graded and fed back: ada has all, bob one mistake, eve nothing."""
    folder = tmp_path_factory.mktemp("course")
    assert main(["lessons", "build", "7", "8", "--nbgrader", "--out", str(folder)]) == 0

    def nbgrader(*arguments):
        bin_folder = str(Path(sys.executable).parent)  # it calls alembic by its name
        surroundings = os.environ | {"PATH": os.pathsep.join([bin_folder, os.environ["PATH"]]), "PYTHONWARNINGS": ""}
        line = [sys.executable, "-m", "nbgrader", *arguments]
        done = subprocess.run(line, cwd=folder, env=surroundings, capture_output=True, encoding="utf-8", check=False)
        assert done.returncode == 0, done.stderr

    nbgrader("generate_assignment", "attention")
    for student in ("ada", "bob", "eve"):
        for released in (folder / "release" / "attention").glob("*.ipynb"):
            target = folder / "submitted" / student / "attention" / released.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(_handed_in(student, released.read_text(encoding="utf-8")), encoding="utf-8")
    for step in ("autograde", "generate_feedback"):
        nbgrader(step, "attention")
    nbgrader("export")
    return folder


def _handed_in(student, text):
    made = json.loads(text)
    for each in made["cells"]:
        name = each["metadata"].get("nbgrader", {}).get("grade_id")
        if name in CORE and student != "eve":
            exercise = CORE[name]
            wrong = MISTAKE.edits if student == "bob" and name == "tempered_backward" else {}
            each["source"] = solved(edited(cell(exercise), wrong, name))
    return json.dumps(made)


def test_what_is_released_holds_no_solution_and_no_hidden_test(course):
    for path in (course / "release" / "attention").glob("*.ipynb"):
        made = json.loads(path.read_text(encoding="utf-8"))
        leaks.prove(made, path.stem[:2])
        assert "points_of" not in path.read_text(encoding="utf-8")
        text = "\n".join("".join(each["source"]) for each in made["cells"])
        for exercise in (e for e in CORE.values() if e.lesson == path.stem[:2]):
            given = opened(cell(exercise)).split("raise NotImplementedError")[0]
            assert given.strip() in text and f"check.{exercise.name}({exercise.name})" in text


def test_points(course):
    rows = {row["student_id"]: row for row in csv.DictReader((course / "grades.csv").read_text("utf-8").splitlines())}
    points = {student: float(row["score"]) for student, row in rows.items()}
    most = sum(exercise.points for exercise in CORE.values() if exercise.lesson in ("07", "08"))
    assert points["ada"] == most == float(rows["ada"]["max_score"]) and points["eve"] == 0
    assert most - 10 < points["bob"] < most  # a part of the ten


def test_feedback_names_the_mistake_and_keeps_what_is_hidden(course):
    page = (course / "feedback" / "bob" / "attention" / "07_scores.html").read_text(encoding="utf-8")
    text = unescape(re.sub(r"<[^>]+>", "", page))
    assert MISTAKE.name in text and "WRONG right on other numbers (hidden)\n" in text
    secrets = [line for exercise in CORE.values() for line in leaks.secrets_of(exercise)]
    other = (course / "feedback" / "eve" / "attention" / "07_scores.html").read_text(encoding="utf-8")
    bare = "".join(unescape(re.sub(r"<[^>]+>", "", other)).split())
    assert not [line for line in secrets if line in bare]
