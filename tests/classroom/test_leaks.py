"""No line of a solution is left in what students get, and the proof of that can fail at every place."""

import base64

import pytest

pytest.importorskip("jupytext")

from minattn.classroom import leaks, shelf
from minattn.classroom.exercises import EXERCISES
from minattn.classroom.solutions import BEGIN, cell, opened, solved

LESSONS = sorted(shelf.BESIDE.glob("[0-9][0-9]_*.py"))
SECRET = "dtemperature = -(dscaled * scores / temperature**2).sum(axis=(0, 2))[:, None]"


def made():
    return shelf.notebook(next(path for path in LESSONS if path.stem.startswith("07")), opened)


@pytest.mark.parametrize("path", LESSONS, ids=[path.stem for path in LESSONS])
def test_a_students_notebook_gives_nothing_away(path):
    leaks.prove(shelf.notebook(path, opened), path.stem[:2])


@pytest.mark.parametrize("path", LESSONS, ids=[path.stem for path in LESSONS])
def test_nor_does_the_one_that_is_published(path):
    import nbformat

    leaks.prove(nbformat.read(path.with_suffix(".ipynb"), as_version=4), path.stem[:2])


@pytest.mark.parametrize("form", [solved, str])
def test_the_other_forms_would_not_pass(form):
    path = next(path for path in LESSONS if path.stem.startswith("07"))
    with pytest.raises(leaks.Leak):
        leaks.prove(shelf.notebook(path, form), "07")


@pytest.mark.parametrize("name", EXERCISES)
def test_every_solution_has_something_to_hide(name):
    assert leaks.secrets_of(EXERCISES[name])


def plant(where, text):
    book = made()
    if where == "source":
        book.cells[3].source += "\n\n    " + text.replace(" = ", "=") + "  # see"
    elif where == "output":
        book.cells[-2].outputs = [{"output_type": "stream", "name": "stdout", "text": f"a\n{text}\nb"}]
    elif where == "html":
        html = text.replace(" ", "&#32;")
        book.cells[-2].outputs = [
            {"output_type": "display_data", "data": {"text/html": [f"<b>{html}", "</b>"]}, "metadata": {}}
        ]
    elif where == "metadata":
        book.metadata["author"] = {"notes": ["x", text]}
    elif where == "cell metadata":
        book.cells[0].metadata["solution"] = text
    elif where == "a name in metadata":
        book.cells[0].metadata[text] = 1
    elif where == "attachment":
        book.cells[0].attachments = {"a.txt": {"text/plain": base64.b64encode(f"# {text}\n{text}".encode()).decode()}}
    return book


@pytest.mark.parametrize(
    "where", ["source", "output", "html", "metadata", "cell metadata", "a name in metadata", "attachment"]
)
@pytest.mark.parametrize("text", [SECRET, BEGIN, leaks.HIDDEN[0]])
def test_a_line_left_anywhere_is_found(where, text):
    with pytest.raises(leaks.Leak, match="solution of tempered_backward" if text == SECRET else "marker"):
        leaks.prove(plant(where, text), "07")


def test_of_another_lesson_a_line_may_be_known_but_not_all():
    book = made()
    book.cells[0].source += f"\n{SECRET}"
    leaks.prove(book, "06")
    book.cells[0].source += "\n" + cell(EXERCISES["tempered_backward"])
    with pytest.raises(leaks.Leak):
        leaks.prove(book, "06")


def test_a_solution_of_no_exercise_is_an_error():
    with pytest.raises(ValueError, match="solves no exercise that is known"):
        opened(f"def nobody():\n    {BEGIN}\n    return 1\n    ### END SOLUTION\n")
