"""The guide says what happens: its code runs, in order, and prints what stands there."""

import re
from pathlib import Path

import pytest

from minattn.gradcheck import report

GUIDE = Path(__file__).parents[2] / "lessons" / "guides" / "gradcheck.md"
BLOCK = re.compile(r"```(python|text)\n(.*?)```", flags=re.DOTALL)


@pytest.fixture
def rounded(monkeypatch):
    """What is right to rounding is printed as such: the digits differ from machine to machine."""
    plain = report.Report.__str__
    monkeypatch.setattr(
        report.Report, "__str__", lambda self: re.sub(r"(ok .*error )\d\.\de-1[2-9]", r"\1<= 1e-12", plain(self))
    )


def test_the_guide(capsys, rounded):
    space, shown = {}, 0
    for kind, text in BLOCK.findall(GUIDE.read_text(encoding="utf-8")):
        if kind == "python":
            exec(compile(text, GUIDE.name, "exec"), space)
        else:
            found = re.sub(r"error 0\.0e\+00", "error <= 1e-12", capsys.readouterr().out)
            assert found.rstrip() == text.rstrip()
            shown += 1
    assert shown == 3
