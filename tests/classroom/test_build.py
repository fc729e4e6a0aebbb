"""Notebooks come from their sources, the same every time; what fails leaves everything as it was."""

import json
import shutil
import subprocess
import sys

import pytest

from minattn.__main__ import main
from minattn.classroom import leaks, shelf

pytest.importorskip("jupytext")
LESSON = """# %% [markdown]
# # 03 · Small
#
# A sentence.

# %%
from matplotlib import pyplot as plt

from minattn.classroom import keep

print(1 + 1)
print(2)

# %%
figure, ax = plt.subplots(figsize=(2, 1))
keep(figure, "03_small")

# %%
print(1 + 1)

# %%
print(1 + 1)
"""


@pytest.fixture
def room(tmp_path, monkeypatch):
    """A clone with two small lessons."""
    lessons = tmp_path / "lessons"
    lessons.mkdir()
    (lessons / "03_small.py").write_text(LESSON, encoding="utf-8")
    (lessons / "12_other.py").write_text("# %% [markdown]\n# # 12 · Other\n\n# %%\nprint(3)\n", encoding="utf-8")
    monkeypatch.setattr(shelf, "BESIDE", lessons)
    monkeypatch.setattr(leaks, "EXERCISES", {})  # those of the real lessons
    monkeypatch.setattr(shelf, "WITHIN", tmp_path / "nowhere")
    return lessons


def run(capsys, *words):
    status = main(["lessons", *words])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_list_and_choice(room, capsys):
    assert run(capsys, "list") == (0, "03 · Small\n12 · Other\n", "")
    assert run(capsys, "list", "12")[1] == run(capsys, "list", "12_other")[1] == "12 · Other\n"
    assert run(capsys, "list", "3")[1] == run(capsys, "list", "lessons/03_small.ipynb")[1] == "03 · Small\n"
    status, out, error = run(capsys, "list", "4")
    assert status == 2 and not out and "there is no lesson 4: choose from 03_small, 12_other" in error


def test_cells_are_named_by_what_is_in_them(room):
    cells = shelf.notebook(room / "03_small.py").cells
    assert len({cell.id for cell in cells}) == len(cells) == 5  # two of them say the same
    (room / "03_small.py").write_text(LESSON.replace("A sentence.", "Another."), encoding="utf-8")
    again = shelf.notebook(room / "03_small.py").cells
    assert [a.id == b.id for a, b in zip(cells, again, strict=True)] == [False, True, True, True, True]


def test_copy(room, tmp_path, capsys):
    import nbformat

    target = tmp_path / "course"
    assert run(capsys, "copy", str(target))[0] == 0
    assert [p.name for p in sorted(target.iterdir())] == ["03_small.ipynb", "12_other.ipynb"]
    copied = nbformat.read(target / "03_small.ipynb", as_version=4)
    nbformat.validate(copied)
    assert not any(cell.get("outputs") for cell in copied.cells)
    (target / "03_small.ipynb").write_text("mine", encoding="utf-8")
    status, _, error = run(capsys, "copy", str(target))
    assert status == 2 and "03_small.ipynb" in error and "--force" in error
    assert (target / "03_small.ipynb").read_text(encoding="utf-8") == "mine"
    assert run(capsys, "copy", str(target), "--force")[0] == 0


def test_an_installed_package_copies_but_does_not_build(room, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(shelf, "WITHIN", room)
    monkeypatch.setattr(shelf, "BESIDE", tmp_path / "nowhere")
    assert run(capsys, "copy", str(tmp_path / "course"))[0] == 0
    status, _, error = run(capsys, "build")
    assert status == 2 and "lessons copy DIR" in error
    monkeypatch.setattr(shelf, "WITHIN", tmp_path / "nowhere")
    assert run(capsys, "list")[0] == 2


class TestKernel:
    """What needs a kernel; its outputs come back in the notebook."""

    @pytest.fixture(autouse=True)
    def kernel(self, monkeypatch):
        pytest.importorskip("ipykernel")
        pytest.importorskip("nbclient")

    def test_the_same_bytes_every_time(self, room, tmp_path, capsys):
        status, out, _ = run(capsys, "build", "3")
        assert status == 0 and "new" in out
        notebook, figure = room / "03_small.ipynb", tmp_path / "figures" / "03_small.png"
        first = notebook.read_bytes(), figure.read_bytes()
        status, out, _ = run(capsys, "build", "3", "--jobs", "1")
        assert status == 0 and "the same" in out and (notebook.read_bytes(), figure.read_bytes()) == first
        held = json.loads(first[0])
        assert "".join(held["cells"][1]["outputs"][0]["text"]) == "2\n2\n"
        assert "image/png" in held["cells"][2]["outputs"][0]["data"] and "execution" not in held["cells"][1]["metadata"]
        assert str(tmp_path).encode() not in first[0]

    def test_check(self, room, capsys):
        status, out, _ = run(capsys, "check", "3")
        assert status == 1 and "03_small has no notebook: python -m minattn lessons build 03" in out
        run(capsys, "build", "3")
        assert run(capsys, "check", "3")[:2] == (0, "1 notebooks hold what their sources say\n")
        assert run(capsys, "check", "3", "--run")[:2] == (0, "1 notebooks hold what their sources say, 1 run again\n")
        notebook = room / "03_small.ipynb"
        held = json.loads(notebook.read_text(encoding="utf-8"))
        held["cells"][3]["outputs"][0]["text"] = ["3\n"]
        notebook.write_text(json.dumps(held), encoding="utf-8")
        status, out, _ = run(capsys, "check", "3", "--run")
        assert status == 1 and "prints or draws something else now" in out and "print(1 + 1)" in out
        held["metadata"]["minattn"]["numpy"] = "1.0"  # made elsewhere: it runs, that is all that can be said
        notebook.write_text(json.dumps(held), encoding="utf-8")
        assert run(capsys, "check", "3", "--run")[0] == 0
        (room / "03_small.py").write_text(LESSON.replace("A sentence.", "Another."), encoding="utf-8")
        status, out, _ = run(capsys, "check", "3")
        assert status == 1 and "has changed since its notebook was built" in out

    def test_a_lesson_whose_model_is_missing_is_passed_over(self, room, capsys, monkeypatch):
        monkeypatch.setattr(shelf, "READS", {"03": {"of_nobody": "pip install of-nobody", "json": "pip install json"}})
        why = "reads a trained model that is not installed: pip install of-nobody\n"
        status, out, _ = run(capsys, "build")
        assert status == 0 and "03_small" in out and f"is left out: it {why}" in out and "12_other" in out
        assert not (room / "03_small.ipynb").exists() and (room / "12_other.ipynb").is_file()
        status, out, error = run(capsys, "build", "3")  # asked for by name
        assert status == 2 and f"03_small {why}" in error and not out
        monkeypatch.setattr(shelf, "READS", {"03": {"json": "pip install json"}})
        assert run(capsys, "build", "3")[0] == 0
        monkeypatch.setattr(shelf, "READS", {"03": {"of_nobody": "pip install of-nobody"}})
        told = f"03_small is not run: it {why}2 notebooks hold what their sources say, 1 run again\n"
        assert run(capsys, "check", "--run")[:2] == (0, told)
        assert run(capsys, "check")[:2] == (0, "2 notebooks hold what their sources say\n")

    def test_nothing_is_left_to_build(self, room, capsys, monkeypatch):
        monkeypatch.setattr(shelf, "READS", dict.fromkeys(("03", "12"), {"of_nobody": "pip install of-nobody"}))
        status, out, _ = run(capsys, "build")
        assert status == 0 and out.count("is left out") == 2 and not list(room.glob("*.ipynb"))

    def test_a_kernel_that_does_not_answer(self, room, tmp_path, monkeypatch):
        import nbclient

        from minattn.classroom import build

        def execute(self, **how):
            raise RuntimeError("Kernel didn't respond in 60 seconds")

        monkeypatch.setattr(nbclient.NotebookClient, "execute", execute)
        with pytest.raises(build.Failed, match="didn't respond"):
            build.build(room / "03_small.py", tmp_path / "figures")
        assert not (room / "03_small.ipynb").exists()

    def test_all_are_run_where_git_has_nothing_to_say(self, room, capsys):
        run(capsys, "build")
        assert run(capsys, "check", "--since", "HEAD")[1].endswith("2 run again\n")  # no clone

    @pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
    @pytest.mark.parametrize("changed", ["03_small.py", "data/03_x.json", "data/make_03_x.py"])
    def test_those_that_have_changed_since_a_commit(self, room, capsys, changed):
        def git(*words):
            settings = ("-c", "user.name=a", "-c", "user.email=a@b.c")
            subprocess.run(["git", *settings, *words], cwd=room.parent, check=True, capture_output=True)

        run(capsys, "build")
        (room / "data").mkdir()
        for name in ("data/03_x.json", "data/make_03_x.py"):
            (room / name).write_text("{}", encoding="utf-8")
        git("init")
        git("add", ".")
        git("commit", "-m", "all")
        assert run(capsys, "check", "--since", "HEAD")[:2] == (0, "2 notebooks hold what their sources say\n")
        (room / changed).write_text((room / changed).read_text(encoding="utf-8") + "\n", encoding="utf-8")
        assert run(capsys, "check", "--since", "HEAD")[1].endswith("1 run again\n")

    @pytest.mark.parametrize(
        ("line", "sentence"),
        [
            ("raise ValueError('broken on purpose')", "broken on purpose"),
            ("import warnings; warnings.warn('mind this')", "mind this"),
        ],
    )
    def test_what_fails_leaves_everything_as_it_was(self, room, tmp_path, capsys, line, sentence):
        run(capsys, "build", "3")
        before = (room / "03_small.ipynb").read_bytes()
        (room / "03_small.py").write_text(LESSON.replace("print(2)", line), encoding="utf-8")
        status, out, error = run(capsys, "build")
        assert status == 1 and "12_other" in out  # the others are built
        assert "03_small fails, and its notebook stays as it was" in error and sentence in error
        assert (room / "03_small.ipynb").read_bytes() == before and (room / "12_other.ipynb").is_file()

    def test_libraries_that_are_missing(self, room, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "jupytext", None)
        status, _, error = run(capsys, "copy", str(room / "x"))
        assert status == 2 and 'pip install "minattn[lessons]"' in error and not (room / "x").exists()
