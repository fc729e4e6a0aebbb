"""The rooms look down, never up, and never in circles: read off the imports themselves."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import minattn

ROOT = Path(minattn.__file__).parent
FLOORS = {
    "minattn": -1, "functions": 0, "masks": 0, "positions": 0, "tree": 0, "validate": 0, "threads": 0, "op": 0,
    "attention": 1, "recurrent": 1, "models": 2,
    "backend": 3, "gradcheck": 3, "gradient_norms": 3, "optim": 3, "weights": 3, "plots": 3, "data": 3,
    "pytest_plugin": 4, "reader": 4, "training": 4, "look": 5, "demo": 5, "write": 5, "classify": 5, "bench": 5,
    "similar": 5, "classroom": 5,
    "__main__": 6,
}  # fmt: skip
ALLOWED = {"pytest_plugin": {"pytest"}, "threads": {"threadpoolctl"}}  # the second only where it is installed
SCRIPTS = 7  # make_*.py: they made the vendored files, and nothing imports them


def files():
    return sorted(ROOT.rglob("*.py"))


def room(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def module_of(path):
    parts = ["minattn", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path, top_only=False):
    """The modules that a file imports, as full names; top_only leaves out imports inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; a copied file must still run"
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                place = ROOT.joinpath(*inner.split(".")[1:])
                is_module = place.with_suffix(".py").exists() or (place / "__init__.py").exists()
                yield inner if node.module.startswith("minattn") and is_module else node.module


def ours(path):
    return {name for name in imports(path) if name.split(".")[0] == "minattn"}


@pytest.mark.parametrize("path", files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_looks_down(path):
    mine = SCRIPTS if path.stem.startswith("make_") else FLOORS[room(module_of(path))]
    for name in ours(path):
        assert FLOORS[room(name)] <= mine, f"{module_of(path)} (floor {mine}) imports {name} from above"


@pytest.mark.parametrize("path", files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_core_needs_only_numpy(path):
    outside = {name.split(".")[0] for name in imports(path, top_only=FLOORS[room(module_of(path))] > 2)}
    outside -= {"minattn", "numpy", *sys.stdlib_module_names, *ALLOWED.get(path.stem, ())}
    assert not outside, f"{path.name} imports {outside} when it is loaded"


def test_no_circles():
    graph = {module_of(path): ours(path) - {"minattn"} for path in files()}
    done, on_the_way = set(), []

    def visit(name):
        assert name not in on_the_way, " -> ".join([*on_the_way, name])
        if name not in done:
            on_the_way.append(name)
            for other in graph.get(name, ()):
                visit(other)
            done.add(on_the_way.pop())

    for name in graph:
        visit(name)


def test_mechanisms_do_not_import_each_other():
    from minattn.attention import VARIANTS

    # those that wrap another take it as an argument with a default, or take over its oracle
    wrapped = {"concat": "additive"} | dict.fromkeys(("relative", "window", "blockwise", "fused", "multihead"), "dot")
    for name in set(VARIANTS) - {"multihead"}:  # which tries several mechanisms in its cases
        others = {f"minattn.attention.{other}" for other in VARIANTS if other not in (name, wrapped.get(name))}
        assert not ours(ROOT / "attention" / f"{name}.py") & others


def test_importing_the_core_loads_nothing_heavy():
    code = (
        "import sys, minattn.attention, minattn.recurrent, minattn.models, minattn.plots, minattn.gradcheck;"
        "print([m for m in ('matplotlib', 'tqdm', 'torch', 'cupy', 'pytest') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", check=True)
    assert found.stdout.strip() == "[]"
