"""Versions of the lessons from one source: for students, for teachers, for nbgrader."""

import json

import pytest

pytest.importorskip("jupytext")

from minattn.__main__ import main
from minattn.classroom import leaks, nbgrader, shelf
from minattn.classroom.exercises import CORE
from minattn.classroom.solutions import BEGIN, END

SMALL = "01"  # the quickest to run


def built(folder, form, *lessons):
    assert main(["lessons", "build", *lessons, f"--{form}", "--out", str(folder), "--jobs", "1"]) == 0
    return json.loads((folder / "01_soft_dictionary.ipynb").read_text(encoding="utf-8"))


def source(made):
    return "\n".join("".join(cell["source"]) for cell in made["cells"])


def printed(made):
    return json.dumps([cell.get("outputs", ()) for cell in made["cells"]], ensure_ascii=False)


def test_students_and_teachers(tmp_path, capsys):
    pytest.importorskip("nbclient")
    open_one, solved = built(tmp_path / "release", "student", SMALL), built(tmp_path / "solved", "solution", SMALL)
    assert 'raise NotImplementedError("context")' in source(open_one) or "NotImplementedError" in source(open_one)
    assert "softened: NOT IMPLEMENTED" in printed(open_one) and "softened: OK" in printed(solved)
    for made in (open_one, solved):
        assert BEGIN not in source(made) and END not in source(made)
    assert len(open_one["cells"]) == len(solved["cells"])
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["01_soft_dictionary.ipynb"] * 2
    published = json.loads((shelf.BESIDE / "01_soft_dictionary.ipynb").read_text(encoding="utf-8"))
    assert source(open_one) == source(published)  # outputs may differ where versions do


def test_a_leak_is_not_written(tmp_path, capsys, monkeypatch):
    pytest.importorskip("nbclient")
    monkeypatch.setattr(
        leaks, "secrets_of", lambda exercise: {"importnumpyasnp"} if exercise.lesson == SMALL else set()
    )
    assert main(["lessons", "build", SMALL, "--student", "--out", str(tmp_path), "--jobs", "1"]) == 1
    assert "holds a line of the solution" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_an_nbgrader_course(tmp_path, capsys):
    assert main(["lessons", "build", "--nbgrader", "--out", str(tmp_path)]) == 0
    books = sorted((tmp_path / "source" / nbgrader.ASSIGNMENT).glob("*.ipynb"))
    assert f"{len(books)} notebooks: cd " in capsys.readouterr().out
    asked, graded = {}, {}
    for book in books:
        for cell in json.loads(book.read_text(encoding="utf-8"))["cells"]:
            about = cell["metadata"].get("nbgrader")
            if about:
                (graded if about["grade"] else asked)[about["grade_id"]] = "".join(cell["source"])
    assert asked.keys() == {*CORE} and graded.keys() == {f"check-{name}" for name in CORE}
    assert all(text.count(BEGIN) == text.count(END) == 1 for text in asked.values())
    assert all(
        text.index(leaks.HIDDEN[0]) < text.index("points_of") < text.index(leaks.HIDDEN[1]) for text in graded.values()
    )
    assert "import minattn" in (tmp_path / "nbgrader_config.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--student"], "want --out DIR"),
        (["--out", "x"], "wants one of them"),
        (["00", "--nbgrader", "--out", "{folder}"], "none of these lessons has an exercise that is graded"),
    ],
)
def test_what_cannot_be_built(arguments, sentence, tmp_path, capsys):
    assert main(["lessons", "build", *(part.format(folder=tmp_path / "x") for part in arguments)]) == 2
    assert sentence in capsys.readouterr().err and not (tmp_path / "x").exists()
