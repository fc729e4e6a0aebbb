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
from minattn.gradcheck import command as commands
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


@pytest.mark.parametrize("text", ["q", "q=2,x", "2=3", "q=-1", "q=2:", "q=2:0", "q=2:x", "q=2:bool:3", "q:7"])
def test_a_shape_that_is_none(command, capsys, text):
    with pytest.raises(SystemExit):
        command("", "mine.py", "--shape", text)
    said = capsys.readouterr().err
    assert f"as in q=2,3,4, ids=2,3:7 (integers from 0 to 6) or mask=2,3:bool, but is {text!r}" in said


def test_shapes_of_integers_and_booleans(command):
    code = """
import numpy as np
def embed(ids, table, mask):
    assert ids.dtype == int and ids.shape == (20, 30) and set(ids.flat) == set(range(7))
    assert mask.dtype == bool and 0 < mask.mean() < 1
    return table[ids] * mask[..., None]
def embed_backward(dout, ids, table, mask):
    dtable = np.zeros_like(table)
    np.add.at(dtable, ids, dout * mask[..., None])
    return dtable
"""
    words = ["mine.py", "--shape", "ids=20,30:7", "--shape", "table=7,2", "--shape", "mask=20,30:bool"]
    status, out = command(code, *words)
    assert status == 0 and "ok    table  (7, 2)" in out, out
    status, out = command(code)
    assert "as in --shape ids=2,3,4 (ids=2,3:7 gives integers from 0 to 6, ids=2,3:bool booleans)" in out
    drawn = [files.Shape((), below).draw(np.random.default_rng(0)) for below in (None, 7, files.BOOL)]
    assert [x.dtype.kind for x in drawn] == ["f", "i", "b"] and all(isinstance(x, np.ndarray) for x in drawn)


def test_shapes_are_of_files(command):
    with pytest.raises(ValueError, match="--shape q is of functions in a FILE.py; ops have cases of their own"):
        command("", "dot", "--shape", "q=2,3")


@pytest.mark.parametrize(
    "arguments, offered",
    [
        ("q, k, scale=1.0, mask=None", "(q, k)"),
        ("x, scale=1.0", "(x,)"),
        ("x, y=1.0, *, z, w=2.0", "dict(x=x, z=z)"),
    ],
)
def test_offered_inputs_are_those_that_are_needed(command, arguments, offered):
    code = f"def f({arguments}): pass\n\ndef f_grad(dout, {arguments}): pass\n"
    assert f'gradcheck_inputs = {{"f": {offered}}} or def f_inputs' in command(code)[1]


def test_offered_inputs_can_be_pasted(command):
    code = (
        "def f(x, scale=2, *, z): return scale * z * x\n\ndef f_grad(dout, x, scale=2, *, z): return scale * z * dout\n"
    )
    offered = command(code)[1].partition("write ")[2].partition(" or def")[0]
    code += f"import numpy as np\nx = np.ones(3)\nz = 3\n{offered}\n"
    assert command(code)[0] == 0


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
    told = "Scale is a class whose objects need arguments: put one into mine.py, as in scale = Scale(...), and check "
    assert status == 2 and told + "mine.py::scale" in out
    assert command(layer, "mine.py::lin")[0] == 0
    status, out = command(layer + "gradcheck_inputs['Scale'] = np.ones(3)\n")  # asked for by its inputs
    assert status == 2 and "ok    x  (2, 3)" in out and told in out
    status, out = command(layer.partition("Elsewhere")[0])  # alone in its file
    assert status == 2 and told in out
    status, out = command(layer.partition("    def backward")[0], "mine.py::Scale")
    assert status == 2 and "Scale has no backward: an object or a class is checked by its two methods" in out


def test_a_function_alone_returns_its_gradients(command):
    code = "import numpy as np\ndef loss(x): return (x * x).sum(), 2 * x\nloss_inputs = np.ones(3)\n"
    assert command(code, "mine.py::loss")[0] == 0
    assert command(code.replace("2 * x", "3 * x"), "mine.py::loss")[0] == 1
    assert command(code)[0] == 0 and command(code.replace("2 * x", "3 * x"))[0] == 1
    status, out = command(code.replace("loss_inputs", "x"))
    assert status == 2 and "mine.py has no function with a backward" in out


def test_a_class_is_not_checked_beside_its_object(command):
    code = "import numpy as np\nfrom minattn.gradcheck import gradcheck\n" + SIZED + "layer = Layer(3)\n"
    status, out = command(code + 'gradcheck_inputs = {"layer": (np.ones((2, 3)),), "Layer": (np.ones((2, 3)),)}\n')
    assert status == 0 and "mine.py::layer\n" in out and "::Layer" not in out and "::gradcheck" not in out


SIZED = """
class Layer:
    def __init__(self, n):
        self.W = np.ones((n, n))

    def forward(self, x):
        self.x = x
        return x @ self.W

    def backward(self, dout):
        self.dW = self.x.T @ dout
        return dout @ self.W.T

"""
LOOKED = "mine.py has no {0}_backward, {0}_grad, {0}_bwd, {0}_vjp, d_{0}, grad_{0} or backward_{0}"


def test_a_function_alone_is_told_which_backward_was_looked_for(command):
    """Where inputs are missing, where it returns no gradient or a wrong one; not where all is right."""
    code, inputs, looked = "def f(x): return x * x\n\n", INPUTS.format("f"), LOOKED.format("f")
    status, out = command(code, "mine.py::f")
    assert status == 2 and f"{looked}, so f alone must return (loss, gradients). f needs numbers for x: write" in out
    status, out = command(code + inputs, "mine.py::f")
    assert status == 2 and "must return (loss, gradients), the loss a single number, but returned" in out
    assert f"; {looked}\n" in out
    status, out = command(code.replace("x * x", "(x * x).sum(), (x, x)") + inputs, "mine.py::f")
    assert status == 2 and "returned 2 gradients for 1 arrays, x: return one for each" in out and looked in out
    loss = code.replace("x * x", "(x * x).sum(), 3 * x") + inputs
    status, out = command(loss, "mine.py::f")
    assert status == 1 and f"{looked}: what f returned behind the loss was taken for its gradients" in out
    status, out = command(loss.replace("3", "2"), "mine.py::f")
    assert status == 0 and "mine.py has no" not in out
    status, out = command(code.replace("x * x", "x @ 'a'") + inputs, "mine.py::f")  # a mistake of its own
    assert status == 2 and "line 1 in f" in out and "mine.py has no" not in out
    status, out = command(code + inputs, "mine.py::f", "--shape", "x=2:7")
    assert status == 2 and "nothing here has a gradient" in out and "mine.py has no" not in out


@pytest.mark.parametrize(
    "name, said",
    [
        ("f_forward", LOOKED.format("f")),
        ("forward", "mine.py has no backward, so forward alone must return"),
        ("f_backward", "mine.py has no f, whose backward f_backward would be, so f_backward alone must return"),
        ("d_f", "mine.py has no f, whose backward d_f would be, so d_f alone must return"),
        ("backward", "mine.py has no forward, whose backward backward would be"),
    ],
)
def test_half_of_a_pair(command, name, said):
    status, out = command(f"def {name}(x): return x\n", f"mine.py::{name}")
    assert status == 2 and said in out


def test_a_backward_above_its_forward(command):
    code = "def f_backward(dout, x): return 2 * dout * x\n\ndef f(x): return x * x\n\n" + INPUTS.format("f")
    for name in ("mine.py", "mine.py::f", "mine.py::f_backward"):
        status, out = command(code, name)
        assert status == 0 and "mine.py::f\n  ok    x  (2,)" in out


def test_what_comes_from_elsewhere_is_checked_where_the_file_holds_inputs_for_it(command, tmp_path):
    pair, taken = SQUARE.format("f", "f_grad", 3), "from neighbour_of_mine import f, f_grad\n"
    (tmp_path / "neighbour_of_mine.py").write_text(pair, encoding="utf-8")
    assert command(taken + INPUTS.format("f"))[0] == 1
    assert "has no function with a backward" in command(taken)[1]


@pytest.mark.parametrize("held", ["(x, x)", "x", "None"])
def test_inputs_of_nobody(command, held):
    code = SQUARE.format("f", "f_grad", 2) + f"import numpy as np\nx = np.ones(2)\ngradcheck_inputs = {held}\n"
    status, out = command(code)
    assert status == 2 and 'f needs numbers for x: write gradcheck_inputs = {"f": (x,)}' in out


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
    status, out = command(LAYER)
    assert status == 2 and "Layer needs numbers for x: write" in out


def test_a_file_that_is_an_op(command):
    with open(dot.__file__, encoding="utf-8") as file:
        code = file.read()
    status, out = command(code)
    assert status == 0 and "mine.py  (" in out and "ok    query" in out
    line = "    dscores = dscores / math.sqrt(query.shape[-1])\n"
    assert line in code
    status, out = command(code.replace(line, ""))
    assert status == 1 and "WRONG query" in out and " like: " in out and "1/sqrt(D)" in out
    status, out = command(code + "\n\ndef cases(rng):\n    return []\n")
    assert status == 2 and "cases(rng) of mine.py gives no case, so nothing would be checked" in out
    status, out = command(code + "\n\ndef cases(rng):\n    return rng.x\n")
    assert status == 2 and "has no attribute 'x', line " in out and "1 cannot be checked" in out
    status, out = command(code.replace("    dscores = dscores /", "    raise SystemExit(0)\n    dscores = dscores /"))
    assert status == 1 and "1 is WRONG" in out


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
        (SQUARE.format("f", "f_grad", 2) + "f_inputs = [3]", "f has no array to take a gradient of (x is int): np."),
        ("def f(): return 1\n\ndef f_grad(): return 1\n", "f has no array to take a gradient of (it takes nothing)"),
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


def test_several_pairs_of_which_some_cannot_be_checked(command):
    """In any order, in one file or in several; leaving the process is no way to be right."""
    right, wrong, cannot = (
        SQUARE.format(f, f"{f}_grad", by) for f, by in (("f", 2), ("g", 3), ("h", "__import__('sys').exit(0)"))
    )
    inputs = "import numpy as np\ngradcheck_inputs = dict.fromkeys('fgh', (np.ones(2),))\n"
    for order in ((right, wrong, cannot), (cannot, wrong, right)):
        status, out = command("".join(order) + inputs)
        assert status == 1 and out.splitlines()[-1].startswith("1 is WRONG, 1 cannot be checked: ")
        assert "ok    x" in out and "cannot be checked: SystemExit: 0, line " in out
    for order in ((right, cannot), (cannot, right)):
        status, out = command("".join(order) + inputs)
        assert status == 2 and out.splitlines()[-1].startswith("1 cannot be checked: ")
    status, out = command(cannot + inputs, "nowhere.py", "mine.py", "softmax")
    assert status == 2 and out.splitlines()[-1].startswith("2 cannot be checked: ") and "softmax  (" in out
    assert json.loads(command(cannot + right + inputs, "mine.py", "--json")[1])["ok"] is False


def test_everything_is_announced_before_it_begins(command, monkeypatch, capsys):
    known = commands.registry()
    monkeypatch.setattr(commands, "registry", lambda: {name: known[name] for name in ("softmax", "relu")})
    announced = "2 ops of this library, every one over all its cases: about a minute; name one, or a FILE.py (--help)"
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert main(parser.parse_args([])) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == announced and said[1].startswith("softmax  (") and sum(line == announced for line in said) == 1
    assert main(parser.parse_args(["--json"])) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["ok"] and said.err.splitlines() == [announced]
    assert "about a minute" not in command("", "relu")[1]


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
    before = list(sys.path), sys.dont_write_bytecode
    assert command(code)[0] == 0
    assert (list(sys.path), sys.dont_write_bytecode) == before
    assert not [name for name in sys.modules if "mine" in name]
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
