"""The lessons themselves: each has the shape that all have, and its notebook is what its source makes."""

import json
import re
from pathlib import Path

import pytest
from scripts import run_script

from minattn.classroom import shelf

LESSONS = sorted(shelf.BESIDE.glob("[0-9][0-9]_*.py"))
FIGURES = shelf.BESIDE.parent / "figures"
SECTIONS = "See", "Compute", "Derive", "Equal to the library", "A surprise", "Exercises", "Read"
ROUNDING = re.compile(r"\d[eE]-(1[3-9]|[2-9]\d)\b")  # a number that is nothing but rounding: `<= 1e-12` is written so

each = pytest.mark.parametrize("path", LESSONS, ids=[path.stem for path in LESSONS])


def outputs(path):
    """What the cells of a notebook print, and the kinds of their outputs."""
    cells = json.loads(path.with_suffix(".ipynb").read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        for output in cell.get("outputs", ()):
            yield (
                output["output_type"],
                output.get("name"),
                "".join(output.get("text") or output.get("data", {}).get("text/plain", "")),
            )


@each
def test_the_notebook_is_what_the_source_makes(path):
    pytest.importorskip("jupytext")
    from minattn.classroom.build import check

    assert check(path) == "ok"


@each
def test_it_has_the_shape_that_all_have(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# %% [markdown]\n# # {path.stem[:2]} · ")
    assert "**You will be able to**" in text
    found = re.findall(r"^# ## (.*)$", text, re.MULTILINE)
    wanted = SECTIONS if path.stem != "00_look" else ("See",)
    assert [section for section in found if section in wanted] == list(wanted), found
    assert "source(" in text or path.stem == "00_look"
    assert "agree(" in text or path.stem == "00_look"
    assert "<details>" in text and "</details>" in text


@each
def test_it_keeps_its_figures(path):
    kept = re.findall(r'keep\([^"\n]*"([^"]+)"', path.read_text(encoding="utf-8"))
    assert kept and all(name.startswith(path.stem[:2]) for name in kept)
    assert sorted(kept) == sorted(p.stem for p in FIGURES.glob(f"{path.stem[:2]}_*.png"))


@each
def test_its_outputs_say_what_anyone_may_see(path):
    for kind, name, said in outputs(path):
        assert kind != "error" and name != "stderr", said
        assert not ROUNDING.search(said), said
        assert "Warning" not in said, said
        assert str(Path.home()) not in said and str(shelf.BESIDE.parent) not in said, said


@each
def test_the_index_shows_it(path):
    index = (shelf.BESIDE / "README.md").read_text(encoding="utf-8")
    assert f"({path.stem}.ipynb)" in index and re.search(rf"\.\./figures/{path.stem[:2]}_\w+\.png", index)


def test_the_index_shows_nothing_else():
    index = (shelf.BESIDE / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)|src=\"([^\"]+)", index):
        assert (shelf.BESIDE / "".join(target)).exists(), target


@pytest.mark.long
@each
def test_it_is_a_plain_script_too(path, tmp_path):
    if why := shelf.missing(path):
        pytest.skip(f"{path.stem} {why}")
    done = run_script(path, tmp_path)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert list((tmp_path / "figures").glob("*.png"))
