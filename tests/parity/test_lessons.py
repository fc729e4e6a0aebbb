"""What lessons show as PyTorch's way to write it is run here, and asserts by itself that it is the same."""

import pytest
from scripts import run_script

from minattn.classroom import shelf

pytest.importorskip("torch", reason="parity needs PyTorch: pip install minattn[compare]")
SCRIPTS = sorted((shelf.BESIDE / "data").glob("*_torch.py"))


def test_there_are_some():
    assert {path.stem[:2] for path in SCRIPTS} >= {"06", "08"}


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_it_runs_and_asserts(path, tmp_path):
    text = path.read_text(encoding="utf-8")
    done = run_script(path, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "assert" in text and "torch" in text
    shown = [lesson for lesson in shelf.lessons() if f'data("{path.name}")' in lesson.read_text(encoding="utf-8")]
    assert [lesson.stem[:2] for lesson in shown] == [path.stem[:2]]
