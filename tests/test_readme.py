"""The README says what is there: its code runs, its table is the registry, its numbers are the demo's."""

import json
import re
from pathlib import Path

import pytest

from minattn import demo, reader
from minattn.attention import VARIANTS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_ten_lines_run(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    out = capsys.readouterr().out
    assert "ok    W_query" in out and "WRONG" not in out


def test_the_table_is_the_registry():
    rows = [f"| `{name}` | {op.PAPER} | {op.TIME} | {op.MEMORY} | {op.EXACT} |" for name, op in VARIANTS.items()]
    table = "\n".join(["| mechanism | paper | time | memory | exactness |", "|---|---|---|---|---|", *rows])
    assert table in README, f"the README's table of mechanisms should be:\n\n{table}"


def test_the_results_are_the_demo():
    results = json.loads((ROOT / "figures" / "demo.json").read_text(encoding="utf-8"))
    names = list(results["seconds"])
    if f"trained for {results['seconds'][names[0]]:.1f} and {results['seconds'][names[1]]:.1f} seconds" not in README:
        pytest.skip("figures/ holds another run of the demo than the one that the README shows")
    rows = ["| letters in the phrase | " + " | ".join(demo.label(name) for name in names) + " |", "|---|---|---|"]
    for bucket in reader.BUCKETS:
        shares = [demo.share(results["phonemes_wrong"], bucket, name) for name in names]
        rows.append("| {} to {} | ".format(*bucket) + " | ".join(f"{share:.1%}" for share in shares) + " |")
    table = "\n".join(rows)
    assert table in README, f"the README's results should be:\n\n{table}"


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_every_link_leads_somewhere(path):
    assert (ROOT / path).exists()


def test_every_room_is_on_the_map():
    rooms = {path.stem for path in (ROOT / "minattn").iterdir() if path.suffix in ("", ".py")}
    rooms -= {"__init__", "__main__", "__pycache__", "py"}
    table = README[README.index("## The rooms") :]
    assert [room for room in sorted(rooms) if not re.search(rf"\b{room}\b", table)] == []


def test_the_losses_are_those_of_writing():
    models = json.loads((ROOT / "figures" / "language_model.json").read_text(encoding="utf-8"))["models"]
    rows = [f"| {name} | {done['parameters']:,} | {done['valid'][-1]:.3f} |" for name, done in models.items()]
    if not any(row in README for row in rows):
        pytest.skip("figures/ holds another run of write than the one that the README shows")
    assert all(row in README for row in rows)


def test_the_shares_are_those_of_recognising():
    rows = []
    for task, title in (("digits", "written digits"), ("spoken", "spoken digits")):
        models = json.loads((ROOT / "figures" / f"{task}.json").read_text(encoding="utf-8"))["models"]
        for name, done in models.items():
            share = f"{done['accuracy']:.1%} of {done['examples']}"
            rows.append(f"| {name} | {title} | {done['parameters']:,} | {share} |")
    if not any(row in README for row in rows):
        pytest.skip("figures/ holds other runs of classify than those that the README shows")
    assert all(row in README for row in rows)
    on_the_word = f"{done['attention_on_the_word']:.0%} of its attention lies on it, though it fills {done['word']:.0%}"
    assert on_the_word in README
