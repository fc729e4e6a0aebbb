"""What lessons show as PyTorch's way to write it is run here, and asserts by itself that it is the same."""

import os
import subprocess
import sys

import pytest

from minattn.classroom import shelf

pytest.importorskip("torch", reason="parity needs PyTorch: pip install minattn[compare]")
SCRIPTS = sorted((shelf.BESIDE / "data").glob("*_torch.py"))


def test_there_are_some():
    assert {path.stem[:2] for path in SCRIPTS} >= {"06", "08"}


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_it_runs_and_asserts(path, tmp_path):
    text = path.read_text(encoding="utf-8")
    surroundings = os.environ | {"PYTHONPATH": str(shelf.BESIDE.parent)}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        cwd=tmp_path,
        env=surroundings,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "assert" in text and "torch" in text
    shown = [lesson for lesson in shelf.lessons() if f'data("{path.name}")' in lesson.read_text(encoding="utf-8")]
    assert [lesson.stem[:2] for lesson in shown] == [path.stem[:2]]
