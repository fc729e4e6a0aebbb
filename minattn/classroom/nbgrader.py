"""The graded core as an nbgrader course: a notebook for each lesson, with nbgrader's own cells and markers.

    DIR/nbgrader_config.py  DIR/source/attention/07_scores.ipynb

A solution cell holds the solution between the markers, which `nbgrader generate_assignment` takes out. The cell behind
it shows the check to students; its hidden part returns the points, a part of them where only some properties hold, and
says what a check says, so that feedback pages show diagnoses and no hidden test.
"""

import copy
import re

from minattn.classroom import leaks, shelf
from minattn.classroom.leaks import HIDDEN
from minattn.classroom.solutions import exercises_in, opened

ASSIGNMENT = "attention"
CONFIG = """import minattn.classroom.exercises  # where this is missing, grading must fail and not give everybody 0

c = get_config()
c.CourseDirectory.course_id = "attention"
c.ClearSolutions.code_stub = {"python": 'raise NotImplementedError("write this")'}
c.ExecutePreprocessor.timeout = 60
c.ExecutePreprocessor.interrupt_on_timeout = True
"""


def course(paths):
    """{path below DIR: text}: the settings, and a notebook of each lesson that has graded exercises."""
    found = {"nbgrader_config.py": CONFIG}
    for path in paths:
        made = _assignment(path)
        if made is not None:
            leaks.prove(_released(made), path.stem[:2])
            found[f"source/{ASSIGNMENT}/{path.stem}.ipynb"] = shelf.text(made)
    if len(found) == 1:
        raise ValueError("none of these lessons has an exercise that is graded: try it without naming lessons")
    return found


def _released(made):
    """What students will get of it: solutions opened, hidden tests cut out."""
    made = copy.deepcopy(made)
    for cell in made.cells:
        if cell.cell_type == "code":
            cell.source = re.sub(rf"{HIDDEN[0]}\n(.*\n)*{HIDDEN[1]}", "", opened(cell.source))
    return made


def _assignment(path):
    """The graded exercises of a lesson, each with the prose above it; None where there are none."""
    import nbformat

    lesson = shelf.notebook(path)
    cells, prose = [], None
    for cell in lesson.cells:
        if cell.cell_type == "markdown":
            prose = cell
            continue
        asked = [e for e in exercises_in(cell.source) if e.core]
        if asked:
            cells += [prose, *_cells(cell, asked[0])]
    if not cells:
        return None
    title = nbformat.v4.new_markdown_cell(f"# {shelf.title(path)}: exercises", id="title")
    start = nbformat.v4.new_code_cell("import numpy as np\n\nfrom minattn.classroom import check", id="start")
    lesson.cells = [title, start, *cells]
    for number, cell in enumerate(lesson.cells):
        cell.id = f"{cell.id}-{number}"[:64]
    return lesson


def _cells(cell, exercise):
    import nbformat

    common = {"schema_version": 3, "task": False}
    cell.metadata["nbgrader"] = common | {"grade": False, "grade_id": exercise.name, "locked": False, "solution": True}
    name = exercise.name
    asked = f"check.{name}({name})\n{HIDDEN[0]}\ncheck.{name}.points_of({name}, {exercise.points})\n{HIDDEN[1]}"
    graded = nbformat.v4.new_code_cell(asked, id=f"check-{name}")
    graded.metadata["nbgrader"] = common | {
        "grade": True, "grade_id": f"check-{name}", "locked": True, "solution": False, "points": exercise.points,
    }  # fmt: skip
    return cell, graded
