"""What a lesson needs besides the library: comparing, keeping figures, showing code, reading what took longer."""

import inspect
import json
import os
import sys
import textwrap
from pathlib import Path

import numpy as np

from minattn import tree
from minattn.classroom import shelf
from minattn.weights import load
from minattn.weights.npz import ABOUT

FIGURES = "MINATTN_FIGURES"  # the variable that says where figures are kept; notebooks keep none without it
DOTS = 110  # per inch


def agree(mine, theirs, tolerance=1e-12):
    """Say that two arrays, or two trees of arrays, are the same to rounding; AssertionError where they are not.

    Each array's error is max |mine - theirs| / max(max |theirs|, 1).
    """
    (mine, theirs), worst = (dict(tree.leaves(side)) for side in (mine, theirs)), 0.0
    if mine.keys() != theirs.keys():
        raise AssertionError(f"on one side alone: {', '.join(sorted(map(str, mine.keys() ^ theirs.keys())))}")
    for name, right in theirs.items():
        left, right = np.asarray(mine[name]), np.asarray(right) + 0  # booleans become numbers
        if left.shape != right.shape:
            raise AssertionError(f"{name or 'mine'} has shape {left.shape} but should have {right.shape}")
        error = np.max(np.abs(left - right), initial=0) / max(np.max(np.abs(right), initial=0), 1)
        if not error <= tolerance:
            raise AssertionError(f"{name or 'they'}: the error is {error:.1e}, more than {tolerance:.0e}")
        worst = max(worst, error)
    print(f"equal: error <= {tolerance:.0e}")


def keep(figure, name):
    """Write a figure, or the figure of an Axes or of an array of them, to NAME.png.

    In a notebook it is shown anyway, and kept only if the variable MINATTN_FIGURES says where. A script has nothing to
    show it in, so there it is always kept, by default in the folder figures, and closed.
    """
    from matplotlib import pyplot

    figure = np.ravel(figure)[0] if isinstance(figure, np.ndarray | list | tuple) else figure
    figure = getattr(figure, "figure", figure)
    notebook = "ipykernel" in sys.modules
    folder = os.environ.get(FIGURES, "" if notebook else "figures")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        path = Path(folder, f"{name}.png")
        figure.savefig(path, dpi=DOTS, metadata={"Software": None})
        if not notebook:
            print(f"figure: {path}")
    if not notebook:
        pyplot.close(figure)


def source(*functions):
    """Show the library's own code of functions, classes or modules."""
    code = "\n\n".join(textwrap.dedent(inspect.getsource(function)).rstrip() for function in functions)
    if "ipykernel" in sys.modules:
        from IPython.display import Markdown, display

        display(Markdown(f"```python\n{code}\n```"))
    else:
        print(code)


def data(name):
    """What stands in lessons/data: the contents of a .json file, the arrays of an .npz file as a dict, else the text.

    What `minattn.weights.save` has written comes back as `load` gives it: params, settings. A script make_NAME.py
    beside it has made what is in numbers.
    """
    path = shelf.folder() / "data" / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: if it holds numbers, make_{path.stem}.py beside it makes it")
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return load(path) if ABOUT in arrays else dict(arrays)
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else text
