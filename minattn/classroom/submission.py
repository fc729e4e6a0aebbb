"""What a student has handed in: notebooks or scripts, read without running anything, and without trusting them.

Imports, constants and definitions are taken, wherever they stand; nothing else will run, and of these only what an
exercise uses. Metadata are not looked at, so an editor that loses them loses nothing. Of several definitions of an
exercise the last one counts.
"""

import ast
import json
import os
import re
import textwrap
from pathlib import Path
from typing import NamedTuple

KINDS = re.compile(r"\.(ipynb|py)(\.txt|\.json)?$", re.IGNORECASE)  # browsers and mail programs add ends
LARGEST = 20_000_000  # bytes of a file
PASSED_OVER = ("__MACOSX", "__pycache__")
COPIES = re.compile(r"([ _-]?\(\d+\)|[ _-]?copy(_?\d+)?|\.nbconvert|[ _-]autosave)+$", re.IGNORECASE)
SKIPPED_CELLS = ("bash", "sh", "html", "javascript", "js", "latex", "markdown", "svg", "script", "writefile", "cmd")
MAKERS = ("np", "numpy", "math", "float", "int", "complex", "tuple", "list", "dict", "set", "range", "slice")
CONSTANT = (
    ast.Constant, ast.UnaryOp, ast.BinOp, ast.Tuple, ast.List, ast.Dict, ast.Set, ast.Name, ast.Attribute, ast.Load,
    ast.operator, ast.unaryop, ast.keyword,
)  # fmt: skip


class Submission(NamedTuple):
    """student: the name by which grades are kept; files: in the order in which they are read; note: to be told."""

    student: str
    files: tuple
    note: str = ""


class Part(NamedTuple):
    """One statement that may run. names: what it binds; needs: what it mentions; kind: import, constant, definition.

    file: its number among those handed in; untouched: as it was given out, with nothing written.
    """

    kind: str
    names: tuple
    needs: frozenset
    code: str
    place: str
    file: int = 0
    untouched: bool = False


class Reading(NamedTuple):
    """parts: in order; broken: {name: why it does not parse}; skipped: {name: where a line sets it that is not run}."""

    parts: list
    broken: dict
    skipped: dict
    notes: list

    def duplicates(self):
        """{name: places} of what is defined more than once, in different words."""
        found = {}
        for part in self.parts:
            if part.kind != "import" and not part.untouched:
                for name in part.names:
                    found.setdefault(name, {})[part.code] = part.place
        return {name: list(places.values()) for name, places in found.items() if len(places) > 1}

    def around(self, name):
        """The parts that a definition uses, as its notebook saw them: imports, then of each name the best definition.

        The best is the last one in the same file before it; else one behind it there; else the last in another file.
        Of the name itself it is the last that is not untouched.
        """
        written = [i for i, part in enumerate(self.parts) if name in part.names and part.kind != "import"]
        at = max(written, key=lambda i: (not self.parts[i].untouched, i), default=len(self.parts))
        file = self.parts[at].file if written else -1

        def goodness(i):
            part = self.parts[i]
            return not part.untouched, part.file == file, part.file != file or i <= at, i

        best = {}
        for i, part in enumerate(self.parts):
            for bound in part.names if part.kind != "import" else ():
                if bound not in best or goodness(i) > goodness(best[bound]):
                    best[bound] = i
        if written:
            best[name] = at
        wanted, used = {name}, set()
        while wanted:  # what the definition mentions, what that mentions, and so on: nothing else need run
            i = best.get(wanted.pop())
            if i is not None and i not in used:
                used.add(i)
                wanted |= self.parts[i].needs
        needs = frozenset().union({name}, *(self.parts[i].needs for i in used))
        imports = [p for p in self.parts if p.kind == "import" and (needs & {*p.names} or "*" in p.names)]
        imports.sort(key=lambda part: part.file == file)  # those of the same file last: they count
        return imports + [self.parts[i] for i in sorted(used)]


def find(paths):
    """Files, or folders that hold a file or a folder for each student -> [Submission], sorted by student."""
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = [child for child in sorted(path.iterdir()) if not _passed_over(child)]
            found += [(child.name, *_files(child)) for child in inside if child.is_dir()]
            found += [(KINDS.sub("", child.name), (child,), ()) for child in inside if _is_one(child)]
        elif _is_one(path):
            found.append((KINDS.sub("", path.name), (path,), ()))
        elif path.exists():
            raise ValueError(f"{path} is neither a notebook (.ipynb) nor a script (.py) nor a folder of these")
        else:
            raise FileNotFoundError(
                f"there is no {path}: a submission is a file, or a folder with one for each student"
            )
    if not any(files for _, files, _ in found):
        raise ValueError(f"no .ipynb or .py in {', '.join(map(str, paths))}")
    found.sort(key=lambda one: bool(COPIES.search(one[0])))  # a copy after what it is a copy of
    submissions, taken, everybody = [], set(), {name.lower() for name, *_ in found}
    for name, files, others in found:
        name = os.fsencode(name).decode("utf-8", errors="replace")
        student = COPIES.sub("", name).strip() or name
        note = "" if student == name else f"{name} looks like a copy: graded as {student}"
        if student.lower() in taken:  # where files differ in capitals alone, some systems keep one of them
            other, names = student, (name, *(f"{name} {number}" for number in range(2, 2 * len(found) + 2)))
            student = next(s for s in names if s.lower() not in taken and (s == name or s.lower() not in everybody))
            note = f"{other} has handed in already: this one is graded as {student}"
        if not files:
            note = f"no notebook and no script was handed in, but {', '.join(others[:5]) or 'an empty folder'}"
        taken.add(student.lower())
        submissions.append(Submission(student, files, note))
    return sorted(submissions)


def passed_over(paths):
    """The names of files in these folders that belong to no student."""
    folders = [Path(path) for path in paths if Path(path).is_dir()]
    return [
        child.name
        for folder in folders
        for child in sorted(folder.iterdir())
        if child.is_file() and not _is_one(child) and not _passed_over(child)
    ]


def _files(folder):
    """What can be read in a student's folder, and the names of what cannot."""
    inside = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(map(_passed_over, (path, *path.relative_to(folder).parents)))
    ]
    return tuple(filter(_is_one, inside)), tuple(path.name for path in inside if not _is_one(path))


def _is_one(path):
    return path.is_file() and bool(KINDS.search(path.name))


def _passed_over(path):
    return path.name.startswith(".") and path.name not in (".", "") or path.name in PASSED_OVER


def read(files):
    """The parts of a submission that may run -> Reading. A file that cannot be read is a note, not an error."""
    reading = Reading([], {}, {}, [])
    for number, path in enumerate(files):
        try:
            cells = _cells(path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reading.notes.append(f"{path.name} cannot be read: {' '.join(str(error).split())[:200]}")
            continue
        for place, text in cells:
            try:
                _read(text, f"{path.name}, {place}" if place else path.name, number, reading)
            except (RecursionError, MemoryError, ValueError) as error:  # nested deeper than anyone writes; null bytes
                reading.notes.append(f"{path.name}, {place}: {error}")
    return reading


def _read(text, place, file, reading):
    """What of a cell may run goes into the reading, and what cannot be read or is not run."""
    text = _plain(text)
    try:
        trees = [(ast.parse(text), text)]
    except SyntaxError as error:
        trees, before = [], len(reading.broken)
        why = f"{place} does not parse: {error.msg}"
        for chunk in _chunks(text):
            try:
                trees.append((ast.parse(chunk), chunk))
            except SyntaxError as error:
                if name := re.match(r"(?:@.*\n)*(?:async )?(?:def|class)\s+(\w+)", chunk):
                    line = (error.text or "").strip()
                    reading.broken[name[1]] = f"{error.msg}{f', in the line `{line}`' if line else ''} ({place})"
        if len(reading.broken) == before:
            reading.notes.append(why)
    for tree, source in trees:
        for node in tree.body:
            part = _part(node, source, place)
            if part is not None:
                reading.parts.append(part._replace(file=file, untouched=_as_given(node)))
                for name in part.names:  # written again, and right
                    reading.broken.pop(name, None)
            elif isinstance(node, ast.Assign):
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
                reading.skipped.update(dict.fromkeys(names, place))


def _as_given(node):
    """A function of which nothing is written, or a choice that was not made."""
    if isinstance(node, ast.FunctionDef):
        last = node.body[-1]
        return isinstance(last, ast.Raise) and "NotImplementedError" in ast.unparse(last)
    return isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and node.value.value is None


def _cells(path):
    """[(place, text)] of a file's code."""
    if path.stat().st_size > LARGEST:
        raise ValueError(f"it is larger than {LARGEST // 10**6} MB")
    content = path.read_bytes()
    utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    text = content.decode("utf-16" if utf16 else "utf-8-sig", errors="replace")
    if KINDS.search(path.name)[1].lower() == "py":
        return [("", text)]
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("it is JSON, but not a notebook")
    sheets = [content, *(content.get("worksheets") or ())]  # as notebooks were before 2014
    cells = [cell for sheet in sheets for cell in sheet.get("cells", ())]
    if not cells and "cells" not in content:
        raise ValueError("it is JSON, but has no cells: is it a notebook?")
    found = []
    for number, cell in enumerate(cells, 1):
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            source = cell.get("source", cell.get("input")) or ""
            found.append((f"cell {number}", source if isinstance(source, str) else "".join(source)))
    return found


def _plain(text):
    """A cell without what only a notebook understands."""
    lines = re.split(r"\r\n|\r|\n", text.expandtabs(4))
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
    """Numbers, text, what is made of them by np and math, and functions without a name."""
    return isinstance(value, ast.Lambda) or all(
        isinstance(node, CONSTANT) or (isinstance(node, ast.Call) and _harmless(node.func)) for node in ast.walk(value)
    )


def _harmless(function):
    """np.array, math.sqrt, float: they make constants of constants."""
    while isinstance(function, ast.Attribute):
        function = function.value
    return isinstance(function, ast.Name) and function.id in MAKERS
