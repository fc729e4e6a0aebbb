"""python -m minattn gradcheck FILE.py: what is found in a file, on which numbers it is tried, what the shell learns."""

import argparse
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from minattn import tree
from minattn.attention import dot
from minattn.gradcheck import files
from minattn.gradcheck.command import add_arguments, main

SQUARE = "def {0}(x):\n    return x * x\n\ndef {1}(dout, x):\n    return {2} * dout * x\n\n"
INPUTS = "import numpy as np\n\ngradcheck_inputs = {{'{0}': (np.array([1.0, -2.0]),)}}\n"


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """command(code, *words) -> status, what was printed; in the words mine.py is the file."""

    def run(code, *words):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "mine.py").write_text(code, encoding="utf-8")
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        status = main(parser.parse_args(words or ["mine.py"]))
        return status, capsys.readouterr().out

    return run


NAMES = [("f", name) for name in ("f_backward", "f_grad", "f_bwd", "f_vjp", "d_f", "grad_f", "backward_f")]
NAMES += [("forward", "backward"), ("f_forward", "f_backward"), ("forward_f", "backward_f"), ("f_forward", "f_grad")]


@pytest.mark.parametrize("forward, backward", NAMES)
def test_a_pair_by_its_names(command, forward, backward):
    status, out = command(SQUARE.format(forward, backward, 2) + INPUTS.format(forward))
    assert status == 0 and f"mine.py::{forward}\n  ok    x  (2,)" in out and "every gradient is right" in out
    status, out = command(SQUARE.format(forward, backward, 3) + INPUTS.format(forward))
    assert status == 1 and "WRONG x" in out and "every element wrong" in out and "1 is WRONG" in out


@pytest.mark.parametrize(
    "given",
    [
        "gradcheck_inputs = {'f': (x,)}",
        "gradcheck_inputs = {'f': {'x': x}}",
        "gradcheck_inputs = {'f': x}",
        "example_inputs = {'f': [x]}",
        "def f_inputs(rng):\n    return (rng.normal(size=2),)",
        "def inputs_f():\n    return {'x': x}",
        "f.__defaults__ = (x,)",
    ],
)
def test_where_inputs_come_from(command, given):
    code = SQUARE.format("f", "f_grad", 2) + "import numpy as np\nx = np.array([1.0, 2.0])\n" + given
    status, out = command(code)
    assert status == 0 and "ok    x  (2,)" in out


def test_shapes_on_the_command_line(command):
    code = "def f(q, k, scale=1.0):\n    return q @ k * scale\n\n"
    code += "def f_grad(d, q, k, scale=1.0):\n    return scale * d @ k.T, scale * q.T @ d\n"
    status, out = command(code, "mine.py::f", "--shape", "q=2,3", "--shape", "k=3,4")
    assert status == 0 and "ok    q  (2, 3)" in out and "ok    k  (3, 4)" in out and "scale" not in out
    status, out = command(code, "mine.py", "--shape", "q=2,3")
    assert status == 2 and "f needs numbers for k: write gradcheck_inputs" in out and "--shape k=2,3,4" in out
    status, out = command(code, "mine.py", "--shape", "z=2")
    assert status == 2 and "--shape z: nothing here takes it; there are k, q, scale" in out
    for wrong in ("q", "q=2,x", "2=3", "q=-1"):
        with pytest.raises(SystemExit):
            command(code, "mine.py", "--shape", wrong)


def test_a_shape_goes_before_what_the_file_holds(command):
    status, out = command(SQUARE.format("f", "f_grad", 2) + INPUTS.format("f"), "mine.py", "--shape", "x=4,5")
    assert status == 0 and "ok    x  (4, 5)" in out


def test_settings_reach_forward_and_backward(command):
    code = """
import numpy as np
def f(x, power, *, scale=1.0): return scale * x**power, (x, power, scale)
def f_backward(dout, cache):
    x, power, scale = cache
    return scale * power * x ** (power - 1) * dout
gradcheck_inputs = {"f": {"x": np.array([1.0, 2.0]), "power": 3, "scale": 0.5}}
"""
    assert command(code)[0] == 0
    assert command(code.replace("power - 1", "power - 2"))[0] == 1
    status, out = command(code.replace('"power": 3', '"powre": 3'))
    assert status == 2 and "f takes no powre; it takes x, power, scale" in out
    status, out = command(code.replace('{"x": np', '(1, 2, 3, 4) or {"x": np'))
    assert status == 2 and "f takes 2 inputs, x, power, but 4 came" in out


def test_one_function_of_several(command):
    code = SQUARE.format("f", "f_grad", 2) + SQUARE.format("g", "g_grad", 3)
    code += "import numpy as np\ngradcheck_inputs = dict.fromkeys('fg', (np.ones(2),))"
    assert command(code, "mine.py::f")[0] == 0
    assert command(code, "mine.py::g")[0] == 1
    assert command(code, "mine.py::g_grad")[0] == 1  # by its backward
    status, out = command(code)
    assert status == 1 and "ok    x" in out and "WRONG x" in out
    status, out = command(code, "mine.py::h")
    assert status == 2 and "mine.py has nothing called h; there is f, g" in out


def test_objects_of_classes_from_elsewhere(command):
    """A class that needs arguments is no layer yet; an object of it is, wherever the class was written."""
    layer = """
import numpy as np
import types

class Scale:
    def __init__(self, by):
        self.by = by
    def forward(self, x):
        return self.by * x
    def backward(self, dout):
        return self.by * dout

Elsewhere = types.new_class("Elsewhere", (Scale,))
Elsewhere.__module__ = "elsewhere"
lin = Elsewhere(3.0)
gradcheck_inputs = {"lin": (np.ones((2, 3)),)}
"""
    status, out = command(layer, "mine.py::Scale")
    assert status == 2 and "put one into mine.py, as in scale = Scale(...), and check mine.py::scale" in out
    assert command(layer, "mine.py::lin")[0] == 0


def test_a_function_alone_returns_its_gradients(command):
    code = "import numpy as np\ndef loss(x): return (x * x).sum(), 2 * x\nloss_inputs = np.ones(3)\n"
    assert command(code, "mine.py::loss")[0] == 0
    assert command(code.replace("2 * x", "3 * x"), "mine.py::loss")[0] == 1
    status, out = command(code)
    assert status == 2 and "mine.py has no function with a backward" in out


LAYER = """
import numpy as np
class Layer:
    def __init__(self): self.W = np.eye(3)
    def forward(self, x): self.x = x; return x @ self.W
    def backward(self, dout): self.dW = self.x.T @ dout; return dout @ self.W.T
"""


def test_objects_and_classes(command):
    status, out = command(LAYER + "layer = Layer()\nlayer_inputs = np.ones((2, 3))\n")
    assert status == 0 and "mine.py::layer\n  ok    x  (2, 3)" in out and "ok    W  (3, 3)" in out
    assert "mine.py::Layer" not in out
    status, out = command(LAYER + "Layer_inputs = np.ones((2, 3))\n")
    assert status == 0 and "mine.py::Layer\n" in out
    assert command(LAYER.replace("self.x.T @ dout", "dout.T @ self.x") + "Layer_inputs = np.ones((2, 3))\n")[0] == 1


def test_a_file_that_is_an_op(command):
    with open(dot.__file__, encoding="utf-8") as file:
        code = file.read()
    status, out = command(code)
    assert status == 0 and "mine.py  (" in out and "ok    query" in out
    line = "    dscores = dscores / math.sqrt(query.shape[-1])\n"
    assert line in code
    status, out = command(code.replace(line, ""))
    assert status == 1 and "WRONG query" in out and "looks like: " in out and "1/sqrt(D)" in out


@pytest.mark.parametrize(
    "code, said",
    [
        ("def f(:\n", r"mine.py cannot be loaded: invalid syntax, line 1"),
        ("x = 1\nx.y\n", "mine.py cannot be loaded: AttributeError: 'int' object has no attribute 'y', line 2"),
        ("import sys\nsys.exit(3)\n", "mine.py cannot be loaded: SystemExit: 3, line 2"),
        ("x = 1\n", "mine.py has no function with a backward"),
        (SQUARE.format("f", "f_grad", 2), "f needs numbers for x: write gradcheck_inputs = {\"f\": (x,)}"),
        (SQUARE.format("f", "f_grad", "dout @") + INPUTS.format("f"), "line 5"),
        (SQUARE.format("f", "f_grad", "dout.x") + INPUTS.format("f"), "has no attribute 'x', line 5 in f_grad"),
        (SQUARE.format("f", "f_grad", 2) + "f_inputs = [3]", "nothing here has a gradient"),
    ],
)  # fmt: skip
def test_what_cannot_be_checked_is_one_sentence(command, code, said):
    status, out = command(code)
    assert status == 2 and said in out and "Traceback" not in out and "1 cannot be checked" in out


def test_a_file_that_does_not_exist(command):
    status, out = command("", "other.py")
    assert status == 2 and "other.py does not exist" in out


def test_what_is_wrong_weighs_more_than_what_cannot_be_checked(command):
    code = SQUARE.format("f", "f_grad", 2) + SQUARE.format("g", "g_grad", 3) + INPUTS.format("g")
    status, out = command(code)
    assert status == 1 and "1 is WRONG, 1 cannot be checked" in out


def test_json_is_one_document(command):
    code = SQUARE.format("f", "f_grad", "print(1) or 2") + SQUARE.format("g", "g_grad", 3) + INPUTS.format("f")
    status, out = command(code, "mine.py", "softmax", "nowhere.py", "--json")
    said = json.loads(out)  # what the file prints is not in it
    assert status == 2 and not said["ok"]
    assert [(one["name"], one["ok"]) for one in said["checks"]] == [
        ("mine.py::f", True),
        ("mine.py::g", False),
        ("softmax", True),
        ("nowhere.py", False),
    ]
    assert said["checks"][0]["rows"][0]["name"] == "x" and "needs numbers" in said["checks"][1]["error"]
    assert said["checks"][2]["cases"] > 1
    assert "softmax" in json.loads(command("", "list", "--json")[1])


def test_json_of_a_wrong_op(command, monkeypatch):
    right = dot.backward
    monkeypatch.setattr(dot, "backward", lambda d, cache: tree.map(lambda g: 2 * g, right(d, cache)))
    status, out = command("", "dot", "--json")
    (said,) = json.loads(out)["checks"]
    assert status == 1 and "elements wrong" in said["rows"][0]["details"][0] and said["likenesses"]
    monkeypatch.setattr(dot, "backward", lambda d, cache: d @ d)
    status, out = command("", "dot", "--json")
    (said,) = json.loads(out)["checks"]
    assert status == 1 and said["error"].startswith("ValueError: matmul")


def test_an_op_that_writes_to_its_inputs_is_wrong(command, monkeypatch):
    right = dot.forward

    def writes(params, query, key, value, bias=None, **options):
        result = right(params, query.copy(), key, value, bias, **options)
        query[...] = 7.0
        return result

    monkeypatch.setattr(dot, "forward", writes)
    status, out = command("", "dot")
    assert status == 1 and "WRONG forward writes to query" in out


def test_nothing_of_the_file_stays(command, tmp_path, monkeypatch):
    """Its folder is on the path while it is checked, for what functions import when they are called."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (tmp_path / "neighbour_of_mine.py").write_text("two = 2\n", encoding="utf-8")
    code = "def f(x):\n    import neighbour_of_mine\n    return x ** neighbour_of_mine.two\n\n"
    code += "def f_grad(dout, x):\n    return 2 * x * dout\n" + INPUTS.format("f")
    before = list(sys.path), set(sys.modules), sys.dont_write_bytecode
    assert command(code)[0] == 0
    assert (list(sys.path), set(sys.modules) - {"neighbour_of_mine"}, sys.dont_write_bytecode) == before
    assert "neighbour_of_mine" not in sys.modules
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.py", "neighbour_of_mine.py"]


def test_random_inputs_are_those_of_the_seed(tmp_path):
    code = SQUARE.format("f", "f_grad", 2) + "def f_inputs(rng):\n    return rng.normal(size=2)\n"
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    with files.loaded(tmp_path / "mine.py") as module:
        first, second = (files.arguments(module, "f", module.f, {}, np.random.default_rng(1)) for _ in range(2))
        assert first[0][0].shape == (2,) and (first[0][0] == second[0][0]).all()


def test_the_shell_learns_the_status(tmp_path):
    (tmp_path / "mine.py").write_text(SQUARE.format("f", "f_grad", 3) + INPUTS.format("f"), encoding="utf-8")
    words = [sys.executable, "-W", "error", "-m", "minattn", "gradcheck", "mine.py", "--json"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", env=os.environ)
    assert done.returncode == 1 and json.loads(done.stdout)["checks"][0]["name"] == "mine.py::f", done.stderr
