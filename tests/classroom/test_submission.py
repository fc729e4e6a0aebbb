"""What students hand in is read, whatever editors and hands have done to it, and nothing of it runs meanwhile."""

import json

import numpy as np
import pytest

from minattn.classroom.submission import find, passed_over, read


def notebook(*cells, **more):
    cells = [c if isinstance(c, dict) else {"cell_type": "code", "source": c, "metadata": {}} for c in cells]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5} | more)


def reading(tmp_path, text, name="ada.ipynb"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read([path])


def names(found):
    return [name for part in found.parts for name in part.names]


def test_imports_constants_and_definitions_are_taken_and_nothing_else(tmp_path):
    found = reading(
        tmp_path,
        notebook(
            "import numpy as np\nfrom math import pi as PI\nEPS = 1e-9",
            "N: int = 3\nA, B = 2, -np.inf\nprint('no')\nx = f()\n",
            "if True:\n    y = 1\nfor i in range(3): pass\nnp.exp = None\n@decorated\ndef f(x):\n    return x\n",
            "class C:\n    pass\nf(3)\ntry:\n    import scipy\nexcept ImportError:\n    scipy = None\n",
        ),
    )
    assert names(found) == ["np", "PI", "EPS", "N", "A", "B", "f", "C", "scipy", "scipy"]
    assert next(p for p in found.parts if p.names == ("f",)).code.startswith("@decorated\ndef f")
    assert not found.duplicates() and not found.broken and not found.notes
    assert found.skipped == {"x": "ada.ipynb, cell 2"}


def codes(found, name):
    return [part.code for part in found.around(name) if part.kind != "import"]


def test_the_last_definition_counts(tmp_path):
    found = reading(tmp_path, notebook("def f(): return 1", "g = 2", "def f(): return 2\ng = 3"))
    assert found.duplicates()["f"] == ["ada.ipynb, cell 1", "ada.ipynb, cell 3"] and codes(found, "f")[0].endswith("2")
    assert codes(found, "g") == ["g = 3"]


def test_a_definition_sees_what_its_notebook_saw(tmp_path):
    """Helpers of one name, in one file and in two; an import of another file; stubs and copies that come later."""
    a = notebook("def help(): return 1", "def f(): return help()", "def help(): return 2", "def g(): return help()")
    b = notebook(
        "from numpy import help", "def help(): return 3", "def f(): raise NotImplementedError('f')", "h = None"
    )
    (tmp_path / "a.ipynb").write_text(a, encoding="utf-8")
    (tmp_path / "b.ipynb").write_text(b, encoding="utf-8")
    found = read([tmp_path / "a.ipynb", tmp_path / "b.ipynb"])
    assert "def help(): return 1" in codes(found, "f") and "def f(): return help()" in codes(found, "f")
    assert codes(found, "g") == ["def help(): return 2", "def g(): return help()"] and codes(found, "h") == ["h = None"]
    assert found.around("f")[0].kind == "import" and "f" not in found.duplicates()


def test_constants_are_made_of_constants(tmp_path):
    found = reading(
        tmp_path, notebook("A = np.array([1.0, 2])\nroot = lambda x: x**0.5\nB = math.sqrt(2) * A", "C = load(3)")
    )
    assert names(found) == ["A", "root", "B"] and [*found.skipped] == ["C"]


def test_what_only_notebooks_understand(tmp_path):
    found = reading(
        tmp_path,
        notebook(
            "%matplotlib inline\n!pip install numpy\nimport numpy as np\n?np.exp\n",
            "%%time\ndef f():\n    %timeit 1\n    return 1\n",
            "%%bash\ndef g():\n",
            "\n%%writefile x.py\nh = 1\n",
            {"cell_type": "markdown", "source": "def k(): pass"},
            {"cell_type": "raw", "source": "m = 1"},
        ),
    )
    assert names(found) == ["np", "f"] and not found.broken


def test_one_broken_definition_spoils_no_other(tmp_path):
    text = "import numpy as np\n\ndef f(x):\n    return (x\n\n@np.vectorize\ndef g(x):\n    return x\n\nH = 3\n"
    text += "class K\n    pass\n"
    found = reading(tmp_path, text, "ada.py")
    assert names(found) == ["np", "g", "H"]
    assert set(found.broken) == {"f", "K"} and "never closed" in found.broken["f"] and "class K" in found.broken["K"]
    mended = reading(tmp_path, notebook("def f(x):\n  return (x\n", "def f(x): return x"))
    assert names(mended) == ["f"] and not mended.broken


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[1, 2]", "JSON, but not a notebook"),
        ('{"a": 1}', "has no cells"),
        ('{"cells": [{"cell_type": "code", "source": 3}]}', "cannot be read"),
        ('{"cells": 3}', "cannot be read"),
        (notebook("x = " + "(" * 5000 + ")" * 5000), ""),
        (notebook("x = '\0'"), ""),
    ],
)
def test_a_file_that_is_no_notebook_is_a_note(tmp_path, text, sentence):
    found = reading(tmp_path, text)
    assert not found.parts and (sentence in " ".join(found.notes) if sentence else found.notes or found.broken)


def test_metadata_are_not_looked_at(tmp_path):
    bare = json.dumps({"cells": [{"cell_type": "code", "source": ["def f():\n", "    return 1"]}]})
    assert names(reading(tmp_path, bare)) == ["f"]
    old = json.dumps({"worksheets": [{"cells": [{"cell_type": "code", "input": "def f(): return 1"}]}], "nbformat": 3})
    assert names(reading(tmp_path, old)) == ["f"]
    assert names(reading(tmp_path, "\ufeff" + notebook("def f(): return 1"))) == ["f"]


def test_odd_cells_spoil_no_other(tmp_path):
    cells = [None, 3, {"cell_type": "code", "source": None}, {"cell_type": "code", "source": "# \u2028 \x0c\nf = 1"}]
    assert names(reading(tmp_path, json.dumps({"cells": cells, "worksheets": None}))) == ["f"]
    (tmp_path / "b.py").write_bytes("f = 1".encode("utf-16"))
    assert names(read([tmp_path / "b.py"])) == ["f"]


def test_any_bytes_can_be_read(tmp_path):
    rng, good = np.random.default_rng(0), notebook("import numpy as np\n", "def f(x):\n    return x\n").encode()
    path = tmp_path / "ada.ipynb"
    for _ in range(300):
        spoiled = bytearray(good)
        for place in rng.integers(0, len(spoiled), rng.integers(1, 6)):
            spoiled[place] = rng.integers(0, 256)
        path.write_bytes(bytes(spoiled[: rng.integers(1, len(spoiled) + 1)]))
        read([path])
    path.write_bytes(bytes(rng.integers(0, 256, 2000, dtype=np.uint8)))
    assert read([path]).notes


def test_students_are_found(tmp_path):
    names = "ada.ipynb eve/07.ipynb eve/08.py eve/.ipynb_checkpoints/07-checkpoint.ipynb __MACOSX/x.py zoe.ipynb ADA.py"
    names += " zoe-Copy1.ipynb .hidden.py notes.txt empty/readme.md"
    for name in [*names.split(), "bob (1).ipynb"]:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x = 1", encoding="utf-8")
    found = {s.student: ([p.name for p in s.files], s.note) for s in find([tmp_path])}
    assert found["eve"] == (["07.ipynb", "08.py"], "")
    assert found["bob"][0] == ["bob (1).ipynb"] and "looks like a copy" in found["bob"][1]
    assert {s for s in found if s.lower().startswith("ada")} == {"ADA", "ada 2"} and "ada" in found["ada 2"][1]
    assert sorted(s for s in found if s.startswith("zoe")) == ["zoe", "zoe-Copy1"] and not found["zoe"][1]
    assert len(found) == 7 and found["empty"] == ([], "no notebook and no script was handed in, but readme.md")
    assert passed_over([tmp_path]) == ["notes.txt"]
    one = find([tmp_path / "ada.ipynb"])
    assert one[0].student == "ada" and len(one) == 1


def test_ends_that_others_add(tmp_path):
    for name in ("a.IPYNB", "b.ipynb.txt", "c.ipynb.json", "d.PY"):
        (tmp_path / name).write_text(notebook("f = 1") if name[0] in "abc" else "f = 1", encoding="utf-8")
    found = find([tmp_path])
    assert [one.student for one in found] == ["a", "b", "c", "d"] and all(
        names(read(one.files)) == ["f"] for one in found
    )


def test_what_cannot_be_a_submission(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no .*ada"):
        find([tmp_path / "ada.ipynb"])
    (tmp_path / "ada.txt").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match=r"neither a notebook \(.ipynb\) nor a script"):
        find([tmp_path / "ada.txt"])
    with pytest.raises(ValueError, match="no .ipynb or .py in"):
        find([tmp_path])
