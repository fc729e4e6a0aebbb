"""The page about the way out says what happens: its blocks run, in order, and its program on two processes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
PAGE = Path(__file__).parents[2] / "lessons" / "guides" / "onward.md"


def test_the_page(tmp_path, monkeypatch):
    pytest.importorskip("safetensors")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 10
    space = {}
    for i, text in enumerate(blocks):
        exec(compile(text, f"{PAGE.name}, block {i}", "exec"), space)
    assert (tmp_path / "writer.safetensors").exists()
    defines = [block for block in blocks if re.search(r"^(def batch|class Writer|def state_of)", block, re.MULTILINE)]
    assert len(defines) == 3
    Path("onward.py").write_text("\n".join(defines), encoding="utf-8")
    Path("many.py").write_text(space["program"], encoding="utf-8")
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--nproc-per-node", "2", "many.py"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    state = torch.load("writer.pt", weights_only=True)
    assert state.keys() == space["model"].state_dict().keys()
    assert not torch.equal(state["embed.weight"], torch.from_numpy(space["params"]["embed"]))
