"""What lessons say `import` for."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from minattn.classroom import agree, data, keep, shelf, source
from minattn.functions import linear
from minattn.weights import save


def test_agree_says_so(capsys):
    agree(np.array([1.0, 2.0]), np.array([1.0, 2.0 + 1e-13]))
    agree({"W": np.ones(3), "more": {"b": np.zeros(0)}}, {"W": np.ones(3), "more": {"b": np.zeros(0)}})
    agree(np.array([True, False]), np.array([True, False]))
    agree(1.0, 1.0 + 1e-6, tolerance=1e-5)
    assert capsys.readouterr().out == "equal: error <= 1e-12\n" * 3 + "equal: error <= 1e-05\n"


@pytest.mark.parametrize(
    ("mine", "theirs", "sentence"),
    [
        (np.array([1.0, 2.0]), np.array([1.0, 2.1]), "the error is 4.8e-02, more than 1e-12"),
        (np.zeros((2, 3)), np.zeros((3, 2)), "has shape (2, 3) but should have (3, 2)"),
        ({"W": np.ones(2)}, {"W": np.zeros(2)}, "W: the error is 1.0e+00"),
        ({"W": np.ones(2)}, {"b": np.ones(2)}, "on one side alone: W, b"),
        (np.array([np.nan]), np.array([1.0]), "the error is nan"),
        (np.array([1e-9]), np.array([0.0]), "the error is 1.0e-09"),
    ],
)
def test_agree_refuses(mine, theirs, sentence, capsys):
    with pytest.raises(AssertionError) as caught:
        agree(mine, theirs)
    assert sentence in str(caught.value) and not capsys.readouterr().out


def test_a_script_keeps_its_figures(tmp_path, monkeypatch, capsys):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.delenv("MINATTN_FIGURES", raising=False)
    figure, axes = pyplot.subplots(1, 2)
    keep(axes, "two")
    assert (tmp_path / "figures" / "two.png").is_file() and "two.png" in capsys.readouterr().out
    assert not pyplot.fignum_exists(figure.number)
    monkeypatch.setenv("MINATTN_FIGURES", str(tmp_path / "elsewhere"))
    figure, ax = pyplot.subplots()
    keep(ax, "one")
    figure, ax = pyplot.subplots()
    keep(figure, "same")
    pictures = [(tmp_path / "elsewhere" / f"{name}.png").read_bytes() for name in ("one", "same")]
    assert pictures[0] == pictures[1] and b"Matplotlib" not in pictures[0]


def test_a_notebook_keeps_none_unasked(tmp_path, monkeypatch):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    monkeypatch.delenv("MINATTN_FIGURES", raising=False)
    figure, _ = pyplot.subplots()
    keep(figure, "one")
    assert not list(tmp_path.iterdir()) and pyplot.fignum_exists(figure.number)  # the notebook shows it
    pyplot.close(figure)


def test_source_is_the_code_itself(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    source(linear, agree, Path.read_text)
    said = capsys.readouterr().out
    assert said.startswith("def linear(x, W, b=None):") and "\n\ndef agree(" in said and "\n\ndef read_text(" in said


def test_data_of_each_kind(tmp_path, monkeypatch):
    monkeypatch.setattr(shelf, "folder", lambda: tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "04_a.json").write_text(json.dumps({"x": [1, 2]}), encoding="utf-8")
    np.savez(tmp_path / "data" / "04_b.npz", y=np.arange(3))
    (tmp_path / "data" / "06_c.py").write_text("print('é')\n", encoding="utf-8")
    assert data("04_a.json") == {"x": [1, 2]} and data("06_c.py") == "print('é')\n"
    assert data("04_b.npz")["y"].tolist() == [0, 1, 2]
    save(tmp_path / "data" / "04_e.npz", {"layer": {"W": np.eye(2)}}, {"N": 2})
    params, settings = data("04_e.npz")
    assert params["layer"]["W"].tolist() == [[1, 0], [0, 1]] and settings == {"N": 2}
    with pytest.raises(FileNotFoundError, match=r"make_04_d\.py"):
        data("04_d.json")
