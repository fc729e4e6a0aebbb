"""A class of students that never were: each hands in a notebook in which one thing is as it happens to people.

`make(folder)` writes their files -> {student: {exercise: (outcome, names)}}, of the exercises that are graded.
"""

import json
import re
from typing import NamedTuple

from minattn.classroom.exercises import CORE
from minattn.classroom.solutions import cell, edited, opened, solved

RIGHT, NOTHING = ("OK", ()), ("NOT IMPLEMENTED", ())


class Handed(NamedTuple):
    """text: of the file; expected: {exercise: (outcome, names)} where it is not `usual`; end: of the file's name."""

    text: str
    expected: dict
    usual: tuple = RIGHT
    end: str = ".ipynb"


def notebook(cells, metadata=True, shape=4):
    """A notebook's text. metadata=False: as an editor leaves it that loses all it does not know."""
    cells = [{"cell_type": "code", "source": text.splitlines(keepends=True)} for text in cells]
    if metadata:
        more = {"execution_count": None, "outputs": [], "metadata": {"nbgrader": {"locked": True}}}
        cells = [each | more | {"id": f"cell-{number}"} for number, each in enumerate(cells)]
        return json.dumps({"cells": cells, "metadata": {}, "nbformat": shape, "nbformat_minor": 5})
    return json.dumps({"cells": cells})


def solutions(**changed):
    """The cells of a notebook in which all is right, but for those that are changed: {exercise: text of its cell}."""
    start = (
        "import numpy as np\nimport matplotlib.pyplot as plt\n%matplotlib inline\n\nfrom minattn.classroom import check"
    )
    cells = [start]
    for name, exercise in CORE.items():
        cells += [changed.get(name, solved(cell(exercise))), f"check.{name}({name})"]
    return cells


def body(name, code):
    """The cell of an exercise with another body of its function."""
    text = opened(cell(CORE[name]))
    head, tail = text[: text.index(f"def {name}(")], text[text.index(f"def {name}(") :]
    line = tail[: tail.index("\n")]
    return f"{head}{line}\n" + "\n".join(f"    {part}" for part in code.splitlines()) + "\n"


def make(folder):
    """Write everybody's files -> {student: {exercise: (outcome, names)}}."""
    folder.mkdir(parents=True, exist_ok=True)
    everybody = dict(_everybody())
    for student, handed in everybody.items():
        (folder / f"{student}{handed.end}").write_text(handed.text, encoding="utf-8")
    return {
        re.sub(r"( \(\d+\)|-Copy\d+)$", "", student): {name: handed.expected.get(name, handed.usual) for name in CORE}
        for student, handed in everybody.items()
    }


def _everybody():
    yield from _right()
    yield from _one_mistake()
    yield from _unfinished()
    yield from _out_of_hand()
    yield from _editors()
    yield from _not_their_own()


def _right():
    yield "right", Handed(notebook(solutions()), {})
    yield "right in a script", Handed("\n\n".join(t for t in solutions() if "%mat" not in t), {}, end=".py")
    yield "right with magics", Handed(notebook(["%%time\n" + t if "def " in t else t for t in solutions()]), {})
    yield "right with plots", Handed(notebook([*solutions(), "plt.plot([1])\nplt.show()\ninput('go on?')\n1 / 0"]), {})
    spaced = [re.sub(r"^( +)", r"\1\1", text, flags=re.MULTILINE) for text in solutions()]
    yield "right with other spaces", Handed(notebook(spaced), {})
    said = [
        text.replace('"""\n', '"""\n    print("here I am")\n', 1) if "def " in text else text for text in solutions()
    ]
    yield "right and talkative", Handed(notebook(said), {})
    for number in range(24):
        yield f"right {number:02}", Handed(notebook(solutions()), {})


def _one_mistake():
    """Every mistake of every exercise that is graded, alone."""
    for name, exercise in CORE.items():
        for number, mistake in enumerate(exercise.mistakes):
            text = solved(edited(cell(exercise), mistake.edits, name))
            expected = {name: ("WRONG", (mistake.name,))}
            yield f"{name} {number}", Handed(notebook(solutions(**{name: text})), expected)


def _unfinished():
    as_given = [opened(cell(exercise)) for exercise in CORE.values()]
    yield "untouched", Handed(notebook(as_given), {}, NOTHING)
    yield "no cells", Handed(notebook([]), {}, NOTHING)
    yield "nothing at all", Handed("", {}, NOTHING)
    yield "half a file", Handed(notebook(solutions())[:2000], {}, NOTHING)
    yield "another notebook", Handed(notebook(["import numpy as np", "print('hello')"]), {}, NOTHING)
    yield "a table", Handed("student,points\nada,10\n", {}, ("NOT IMPLEMENTED", ()), ".py")
    for number, (name, exercise) in enumerate(CORE.items()):
        given = opened(cell(exercise))
        yield f"{name} is missing", Handed(notebook(solutions(**{name: "# later"})), {name: NOTHING})
        if number % 3 == 0:
            yield f"{name} as given", Handed(notebook(solutions(**{name: given})), {name: NOTHING})
        if number % 3 == 1:
            yield f"{name} passes", Handed(notebook(solutions(**{name: body(name, "pass")})), {name: NOTHING})
        if number % 3 == 2:
            broken = body(name, "return (dvalue")
            yield f"{name} is broken", Handed(notebook(solutions(**{name: broken})), {name: ("CRASHED", ())})


def _out_of_hand():
    """Loops, floods, exits: one function at a time, and while the file is loaded."""
    ends = {
        "loops": ("while True:\n    pass", "TIMEOUT"),
        "loops and catches": (
            "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
            "TIMEOUT",
        ),
        "sleeps": ("import time\ntime.sleep(3600)", "TIMEOUT"),
        "floods": ("while True: print('x' * 1000)", "CRASHED"),
        "floods below": ("import os\nwhile True: os.write(1, b'x' * 100000)", "TIMEOUT"),
        "exits": ("import sys\nsys.exit(0)", "CRASHED"),
        "exits below": ("import os\nos._exit(0)", "CRASHED"),
        "kills": ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "CRASHED"),
        "recurses": ("def again(): return again()\nreturn again()", "CRASHED"),
        "eats memory": ("return [np.empty(10**8) for _ in range(100)]", "CRASHED"),
        "fills the disk": ("with open('x', 'wb') as f:\n    while True: f.write(b'x' * 10**6)", "CRASHED"),
        "raises": ("raise ValueError('no')", "CRASHED"),
        "asks": ("return input('what?')", "CRASHED"),
        "returns text": ("return 'right'", "WRONG"),
        "returns nan": ("return scores * np.nan", "WRONG"),
    }
    for what, (code, outcome) in ends.items():
        name = "tempered"
        yield f"{what}", Handed(notebook(solutions(**{name: body(name, code)})), {name: (outcome, None)})
    loop = "class Waits:\n    while True:\n        pass"
    yield "loops beside it", Handed(notebook([*solutions(), loop]), {})
    yield "exits beside it", Handed(notebook([*solutions(), "class Ends:\n    raise SystemExit"]), {})
    needed = {
        "loops before": (loop, "Waits", "TIMEOUT"),
        "exits before": ("class Ends:\n    raise SystemExit", "Ends", "CRASHED"),
        "dies before": ("class Ends:\n    import os\n    os._exit(1)", "Ends", "CRASHED"),
        "counts too far": ("N = 9**9**9**9", "N", "TIMEOUT"),
    }
    for what, (before, mentioned, outcome) in needed.items():
        text = f"{before}\n\n\n" + body("tempered", f"return {mentioned}")
        yield what, Handed(notebook(solutions(tempered=text)), {"tempered": (outcome, ())})
    thread = "    import threading, time\n    threading.Thread(target=time.sleep, args=(3600,)).start()\n    peak ="
    threaded = solved(cell(CORE["tempered"])).replace("    peak =", thread, 1)
    yield "leaves a thread", Handed(notebook(solutions(tempered=threaded)), {})


def _editors():
    """What editors and hands do to a file."""
    yield "lost metadata", Handed(notebook(solutions(), metadata=False), {})
    yield (
        "older format",
        Handed(
            json.dumps(
                {"worksheets": [{"cells": [{"cell_type": "code", "input": t} for t in solutions()]}], "nbformat": 3}
            ),
            {},
        ),
    )
    yield "byte order mark", Handed("\ufeff" + notebook(solutions()), {})
    yield "cells reversed", Handed(notebook(solutions()[::-1]), {})
    yield "every cell twice", Handed(notebook([t for text in solutions() for t in (text, text)]), {})
    old = solved(edited(cell(CORE["tempered"]), CORE["tempered"].mistakes[0].edits, "tempered"))
    yield "wrong, then right", Handed(notebook([old, *solutions()]), {})
    yield (
        "right, then wrong",
        Handed(notebook([*solutions(), old]), {"tempered": ("WRONG", (CORE["tempered"].mistakes[0].name,))}),
    )
    yield "a broken cell between", Handed(notebook([*solutions()[:5], "for x in\n  print(", *solutions()[5:]]), {})
    yield "all in one cell", Handed(notebook(["\n\n".join(t for t in solutions() if "%mat" not in t)]), {})
    yield "saved again-Copy1", Handed(notebook(solutions()), {})
    yield "downloaded (2)", Handed(notebook(solutions()), {})
    yield "=cmd()", Handed(notebook(solutions()), {})
    yield "<b>Zoë & Eve", Handed(notebook(solutions()), {})
    windows = notebook([text.replace("\n", "\r\n") for text in solutions()])
    yield "windows lines", Handed(windows, {})
    tabs = [re.sub(r"^((?:    )+)", lambda m: "\t" * (len(m[1]) // 4), t, flags=re.MULTILINE) for t in solutions()]
    yield "tabs", Handed(notebook(tabs), {})


def _not_their_own():
    library = "from minattn.functions import softmax\n\n\n"
    code = "return np.swapaxes(softmax(np.swapaxes(scores, 1, 2) / temperature), 1, 2)"
    text = library + body("tempered", code)
    yield "the library", Handed(notebook(solutions(tempered=text)), {"tempered": ("DELEGATED", ())})
    asked = "from minattn.classroom import solutions\nfrom minattn.classroom.exercises import CORE\n\n\n" + body(
        "tempered", "return solutions.reference(CORE['tempered'])(scores, temperature)"
    )
    yield "the solution itself", Handed(notebook(solutions(tempered=asked)), {"tempered": ("DELEGATED", ())})
    unknown = "import nowhere_to_be_found as helper\n\n\n" + body(
        "tempered", "return helper.tempered(scores, temperature)"
    )
    yield "what nobody has", Handed(notebook(solutions(tempered=unknown)), {"tempered": ("ENVIRONMENT", ())})
    measured = """h = 1e-6
scores, temperature, weights = cache
def again(scores, temperature):
    shares = np.exp(scores / temperature)
    return (shares / shares.sum(axis=-1, keepdims=True) * dweights).sum()
gradients = []
for which in (0, 1):
    gradient = np.zeros_like(cache[which])
    for place in np.ndindex(gradient.shape):
        arrays = [np.array(scores), np.array(temperature)]
        arrays[which][place] += h
        above = again(*arrays)
        arrays[which][place] -= 2 * h
        gradient[place] = (above - again(*arrays)) / (2 * h)
    gradients.append(gradient)
return tuple(gradients)"""
    text = body("tempered_backward", measured)
    yield "measured", Handed(notebook(solutions(tempered_backward=text)), {"tempered_backward": ("NUMERICAL", ())})
