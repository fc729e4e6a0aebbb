"""Notebooks from lessons: each runs in a kernel of its own, from a clean start, and comes out the same every time.

What could differ from one run to the next is fixed: one BLAS thread, one hash seed, matplotlib's own settings, no time
stamps. What may differ between machines is noted in the notebook: versions, and the kernels that NumPy and its BLAS
chose for this processor.
"""

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from minattn.classroom import leaks, shelf
from minattn.classroom.desk import FIGURES
from minattn.classroom.solutions import opened, solved
from minattn.threads import VARIABLES
from minattn.weights import replace

FIXED = dict.fromkeys(VARIABLES, "1") | {
    "PYTHONHASHSEED": "0",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "PYTHONWARNINGS": "",
    "PYTHONWARNDEFAULTENCODING": "",
}
LONGEST = 600  # seconds of a cell
PLACE = "minattn"  # in the metadata


class Failed(Exception):
    """A lesson that does not run to its end, or complains on its way."""


class Built(NamedTuple):
    path: Path
    seconds: float
    changed: bool


def build(path, figures=None, form="student", folder=None):
    """Run a lesson and write its notebook and its figures -> Built; Failed, and nothing written, where it fails.

    figures: a folder, or none are kept. form: as students get it, which holds nothing of a solution, or "solution".
    folder: where the notebook goes, beside its source if none is given.
    """
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as drawn:
        made = run(shelf.notebook(path, opened if form == "student" else solved), drawn)
        if form == "student":
            prove(made, path.stem[:2])
        text = shelf.text(made)
        target = path.with_suffix(".ipynb") if folder is None else folder / f"{path.stem}.ipynb"
        changed = not target.is_file() or target.read_bytes() != text.encode()
        if figures is not None:
            figures.mkdir(parents=True, exist_ok=True)
            for figure in sorted(Path(drawn).iterdir()):
                _write(figures / figure.name, figure.read_bytes())
    target.parent.mkdir(parents=True, exist_ok=True)
    _write(target, text.encode())
    return Built(path, time.perf_counter() - begin, changed)


def prove(made, lesson):
    """Failed where a student's notebook holds a line of a solution."""
    try:
        leaks.prove(made, lesson)
    except leaks.Leak as leak:
        raise Failed(f"{leak}. Students would read it: word the lesson, or the solution, in another way") from None


def _write(path, content):
    """Whole or not at all, and untouched where nothing has changed."""
    if not path.is_file() or path.read_bytes() != content:
        replace(path, lambda partial: partial.write_bytes(content))


def run(made, figures):
    """The notebook with its outputs."""
    try:
        import nbclient
        from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
        from traitlets.config import Config
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(shelf.NEEDS, name=error.name) from None
    surrounded = os.environ | FIXED | {FIGURES: str(figures)}
    with tempfile.TemporaryDirectory() as empty, tempfile.TemporaryDirectory() as sockets:
        # Kernels that start side by side may choose the same free port, and one of them then waits for ever: files.
        wires = {} if os.name == "nt" else {"transport": "ipc", "ip": str(Path(sockets, "kernel"))}
        client = nbclient.NotebookClient(
            made,
            kernel_name="python3",
            timeout=LONGEST,
            record_timing=False,
            coalesce_streams=True,
            config=Config({"KernelManager": wires}),
            resources={"metadata": {"path": empty}},
        )
        try:
            # the kernel's own stderr: what cells say on theirs is in their outputs
            client.execute(env=surrounded, stderr=subprocess.DEVNULL)
        except CellTimeoutError:
            raise Failed(f"a cell takes longer than {LONGEST} seconds") from None
        except (CellExecutionError, DeadKernelError, RuntimeError) as error:  # the last: no kernel has answered
            raise Failed(str(error)) from None
    for cell in made.cells:
        for output in cell.get("outputs", ()):
            if output.get("name") == "stderr":
                raise Failed(
                    f"a lesson has nothing to complain about, but this cell says\n{output.text}\n{cell.source}"
                )
    made.metadata["language_info"] = {"name": "python"}
    made.metadata[PLACE] = surroundings()
    return made


def surroundings():
    """What outputs may depend on besides the source."""
    import platform

    import matplotlib
    import numpy as np
    from threadpoolctl import threadpool_info

    blas = next((info for info in threadpool_info() if info["user_api"] == "blas"), {})
    return {
        "python": platform.python_version(),  # its manual is what some lessons read
        "numpy": np.__version__,
        "matplotlib": matplotlib.__version__,
        "blas": f"{blas.get('internal_api')} {blas.get('version')} {blas.get('architecture')}",
        "simd": " ".join(np.show_config("dicts")["SIMD Extensions"].get("found", ())),
    }


def check(path, rerun=False):
    """Does the notebook hold this source, and with `rerun` these outputs? -> "ok", or what is wrong, in a sentence."""
    import nbformat

    target = path.with_suffix(".ipynb")
    again = f"python -m minattn lessons build {path.stem[:2]}"
    if not target.is_file():
        return f"has no notebook: {again}"
    there, made = nbformat.read(target, as_version=4), shelf.notebook(path, opened)
    if [(c.id, c.cell_type, c.source) for c in there.cells] != [(c.id, c.cell_type, c.source) for c in made.cells]:
        return f"has changed since its notebook was built: {again}"
    if not rerun:
        return "ok"
    with tempfile.TemporaryDirectory() as drawn:
        made = run(made, drawn)
    if there.metadata.get(PLACE) != made.metadata[PLACE]:
        return "ok"  # it runs; what it prints may differ on another machine
    for cell, now in zip(there.cells, made.cells, strict=True):
        if cell.get("outputs") != now.get("outputs"):
            return f"prints or draws something else now: {again}\n{cell.source}"
    return "ok"
