"""What a student has handed in: notebooks or scripts, read without running anything, and without trusting them.

Imports, constants and definitions are taken, wherever they stand; nothing else will run. Metadata are not looked at, so
an editor that loses them loses nothing. Of several definitions of one name the last one counts.
"""

import ast
import json
import re
import textwrap
from pathlib import Path
from typing import NamedTuple

KINDS = ".ipynb", ".py"
LARGEST = 20_000_000  # bytes of a file
PASSED_OVER = ("__MACOSX", "__pycache__")
COPIES = re.compile(r"([ _-]?\(\d+\)|[ _-]?copy(_?\d+)?|\.nbconvert|[ _-]autosave)+$", re.IGNORECASE)
SKIPPED_CELLS = ("bash", "sh", "html", "javascript", "js", "latex", "markdown", "svg", "script", "writefile", "cmd")
CONSTANT = (
    ast.Constant, ast.UnaryOp, ast.BinOp, ast.Tuple, ast.List, ast.Dict, ast.Set, ast.Name, ast.Attribute, ast.Load,
    ast.operator, ast.unaryop,
)  # fmt: skip


class Submission(NamedTuple):
    """student: the name by which grades are kept; files: in the order in which they are read; note: to be told."""

    student: str
    files: tuple
    note: str = ""


class Part(NamedTuple):
    """One statement that may run. names: what it binds; needs: what it mentions; kind: import, constant, definition."""

    kind: str
    names: tuple
    needs: frozenset
    code: str
    place: str


class Reading(NamedTuple):
    """parts: in order, of each name the last definition alone; duplicates: {name: places}; broken: {name: why}."""

    parts: list
    duplicates: dict
    broken: dict
    notes: list


def find(paths):
    """Files, or folders that hold a file or a folder for each student -> [Submission], sorted by student."""
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = [child for child in sorted(path.iterdir()) if not _passed_over(child)]
            found += [(child.name, tuple(_files(child))) for child in inside if child.is_dir()]
            found += [(child.stem, (child,)) for child in inside if child.is_file() and child.suffix in KINDS]
        elif path.is_file() and path.suffix in KINDS:
            found.append((path.stem, (path,)))
        elif path.exists():
            raise ValueError(f"{path} is neither a notebook (.ipynb) nor a script (.py) nor a folder of these")
        else:
            raise FileNotFoundError(
                f"there is no {path}: a submission is a file, or a folder with one for each student"
            )
    found = [(name, files) for name, files in found if files]
    if not found:
        raise ValueError(f"no .ipynb or .py in {', '.join(map(str, paths))}")
    submissions, taken = [], set()
    for name, files in sorted(found, key=lambda one: bool(COPIES.search(one[0]))):  # a copy after what it is a copy of
        student = COPIES.sub("", name).strip() or name
        note = "" if student == name else f"{name} looks like a copy: graded as {student}"
        if student.lower() in taken:  # where files differ in capitals alone, some systems keep one of them
            other, names = student, (name, *(f"{name} {number}" for number in range(2, len(found) + 2)))
            student = next(s for s in names if s.lower() not in taken)
            note = f"{other} has handed in already: this one is graded as {student}"
        taken.add(student.lower())
        submissions.append(Submission(student, files, note))
    return sorted(submissions)


def _files(folder):
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.suffix in KINDS
        and not any(map(_passed_over, path.relative_to(folder.parent).parents))
        and not _passed_over(path)
    ]


def _passed_over(path):
    return path.name.startswith(".") and path.name not in (".", "") or path.name in PASSED_OVER


def read(files):
    """The parts of a submission that may run -> Reading. A file that cannot be read is a note, not an error."""
    parts, broken, notes = [], {}, []
    for path in files:
        try:
            cells = _cells(path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            notes.append(f"{path.name} cannot be read: {' '.join(str(error).split())[:200]}")
            continue
        for place, text in cells:
            try:
                found, wrong = _parts(text, f"{path.name}, {place}" if place else path.name)
            except (RecursionError, MemoryError, ValueError) as error:  # nested deeper than anyone writes; null bytes
                notes.append(f"{path.name}, {place}: {error}")
                continue
            parts += found
            broken |= wrong
            for part in found:  # written again, and right
                broken = {name: why for name, why in broken.items() if name not in part.names}
    last, places = {}, {}
    for number, part in enumerate(parts):
        if part.kind != "import":
            for name in part.names:
                last[name] = number
                places.setdefault(name, []).append(part.place)
    kept = [p for number, p in enumerate(parts) if p.kind == "import" or any(last[n] == number for n in p.names)]
    duplicates = {name: found for name, found in places.items() if len(found) > 1}
    return Reading(kept, duplicates, broken, notes)


def _cells(path):
    """[(place, text)] of a file's code."""
    if path.stat().st_size > LARGEST:
        raise ValueError(f"it is larger than {LARGEST // 10**6} MB")
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    if path.suffix == ".py":
        return [("", text)]
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("it is JSON, but not a notebook")
    sheets = [content, *content.get("worksheets", ())]  # as notebooks were before 2014
    cells = [cell for sheet in sheets for cell in sheet.get("cells", ())]
    if not cells and "cells" not in content:
        raise ValueError("it is JSON, but has no cells: is it a notebook?")
    found = []
    for number, cell in enumerate(cells, 1):
        if cell.get("cell_type") == "code":
            source = cell.get("source", cell.get("input", ""))
            found.append((f"cell {number}", source if isinstance(source, str) else "".join(source)))
    return found


def _parts(text, place):
    """What of a cell may run, and {name: why} of definitions that cannot be read."""
    text = _plain(text)
    try:
        return _taken(ast.parse(text), text, place), {}
    except SyntaxError as error:
        whole = error
    parts, broken = [], {}
    for chunk in _chunks(text):
        try:
            parts += _taken(ast.parse(chunk), chunk, place)
        except SyntaxError as error:
            if name := re.match(r"(?:@.*\n)*(?:async )?(?:def|class)\s+(\w+)", chunk):
                line = (error.text or "").strip()
                broken[name[1]] = f"{error.msg}{f', in the line `{line}`' if line else ''} ({place})"
    return parts, broken or {"": f"{whole.msg} ({place})"}


def _plain(text):
    """A cell without what only a notebook understands."""
    lines = text.expandtabs(4).splitlines()
    first = next((line.strip() for line in lines if line.strip()), "")
    if first.startswith("%%"):
        if first[2:].split()[:1] and first[2:].split()[0] in SKIPPED_CELLS:
            return ""
        lines[next(i for i, line in enumerate(lines) if line.strip())] = ""
    return "\n".join(re.sub(r"^(\s*)(%\w|!|\?).*", r"\1pass", line) for line in lines) + "\n"


def _chunks(text):
    """The text in pieces that begin at the left margin: one that does not parse spoils no other."""
    chunks = [[]]
    for line in text.splitlines():
        decorated = chunks[-1] and chunks[-1][-1].startswith("@")
        if re.match(r"[^\s#)\]}]", line) and not decorated:
            chunks.append([])
        chunks[-1].append(line)
    return ["\n".join(chunk) + "\n" for chunk in chunks]


def _taken(tree, text, place):
    return [part for node in tree.body if (part := _part(node, text, place))]


def _part(node, text, place):
    """A statement that may run, else None."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        kind, names = "import", tuple((a.asname or a.name).split(".")[0] for a in node.names)
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        kind, names = "definition", (node.name,)
    elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None and _constant(node.value):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = tuple(n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name))
        if not all(isinstance(n, ast.Name | ast.Tuple | ast.List | ast.Store) for t in targets for n in ast.walk(t)):
            return None
        kind = "constant"
    elif isinstance(node, ast.Try):
        inside = [*node.body, *(n for handler in node.handlers for n in handler.body), *node.orelse, *node.finalbody]
        found = [_part(n, text, place) for n in inside if not isinstance(n, ast.Pass)]
        if not found or not all(part and part.kind != "definition" for part in found):
            return None
        kind, names = "import", tuple(name for part in found for name in part.names)
    else:
        return None
    code = textwrap.dedent(ast.get_source_segment(text, node, padded=True) or ast.unparse(node))
    if decorators := getattr(node, "decorator_list", ()):
        code = "".join(f"@{ast.unparse(d)}\n" for d in decorators) + code
    needs = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    return Part(kind, names, frozenset(needs), code, place)


def _constant(value):
    return all(isinstance(node, CONSTANT) for node in ast.walk(value))
