"""The benchmark of a card, on the stand-in: every row runs there, and says so where something else comes out."""

import argparse
import contextlib
import json
import os

import numpy as np
import pytest
from device import DeviceArray, waits

from minattn import backend, threads, tree
from minattn.bench import card, command, measure
from minattn.bench.measure import Contest


@pytest.fixture(autouse=True)
def pretended(monkeypatch):
    for name in threads.VARIABLES:  # which the command sets
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    monkeypatch.setattr(backend, "to_device", lambda t: tree.map(DeviceArray, t))
    monkeypatch.setattr(card, "facts", lambda torch: {"card": "a pretended one", "torch": None})
    monkeypatch.setattr(card, "_torch", lambda: None)
    monkeypatch.setattr(card, "memory", lambda steps: [card.Usage("blockwise", T, 2**20 * T) for T in steps])
    monkeypatch.setattr(card, "LEAST", 1)
    monkeypatch.setattr(card, "QUICK", 0.01)


def run(*arguments):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.main(parser.parse_args(["--card", "--quick", *arguments]))


def test_every_row_runs_there_and_here(capsys):
    assert run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "card a pretended one"
    for row in card.rows(None, quick=True):
        assert sum(line.startswith(row[0]) for line in lines) == 1
    assert any("blockwise" in line and "4096" in line and "MiB" in line for line in lines)


def test_as_json(capsys):
    run("--json")
    document = json.loads(capsys.readouterr().out)
    assert document["agree"] and document["machine"]["card"] == "a pretended one"
    for row in document["rows"]:
        assert row["ours"] > 0 and row["host"] > 0 and row["theirs"] is row["ratio"] is None
        assert row["faster_than_host"] == row["host"] / row["ours"]
    assert [usage["T"] for usage in document["memory"]] == list(card.STEPS[:2])


def test_what_is_computed_lies_on_the_card():
    for name, make, _, _ in card.rows(None, quick=True):
        out = next(iter(make(None, backend.to_device))).ours()
        assert all(backend.is_device(leaf) or leaf.ndim == 0 for _, leaf in tree.leaves(out)), name


def test_no_ratio_where_the_two_differ(monkeypatch):
    make = lambda torch, put: [Contest("", lambda: {"out": put(np.ones(3))}, lambda: {"out": np.ones(3) + 1e-3})]  # noqa: E731
    row = card.race("wrong", make, card._kernel(None, "MATH"), 3.0, None, 0.01)
    assert row.disagreement == "disagree: out by 1e-03" and row.ours is row.ratio is None


def test_a_ratio_where_they_agree():
    make = lambda torch, put: [Contest("", lambda: {"out": put(np.ones(3))}, lambda: {"out": np.ones(3)})]  # noqa: E731
    row = card.race("right", make, card._kernel(None, "MATH"), 3.0, None, 0.01)
    assert row.ratio == row.ours / row.theirs and row.host > 0


def test_two_that_differ_are_status_1(monkeypatch, capsys):
    make = lambda torch, put: [Contest("", lambda: {"out": put(np.ones(3))}, lambda: {"out": np.ones(3) + 1e-3})]  # noqa: E731
    monkeypatch.setattr(card, "rows", lambda torch, quick: [("wrong", make, contextlib.nullcontext, 3.0)])
    assert run() == 1 and "disagree: out by 1e-03" in capsys.readouterr().out


def test_both_are_asked_under_the_kernel_of_the_row():
    inside, seen = [], []

    @contextlib.contextmanager
    def kernel():
        inside.append(True)
        yield
        inside.pop()

    def make(torch, put):
        work = lambda: seen.append(bool(inside)) or {"out": put(np.ones(3))}  # noqa: E731
        return [Contest("", work, work)]

    card.race("", make, kernel, 3.0, None, 0.01)
    assert all(seen[:-2]) and not any(seen[-2:])  # the host twice, at the end


def test_it_waits_for_the_card_before_and_after(monkeypatch):
    asked = []
    monkeypatch.setattr(backend, "synchronize", lambda: asked.append("wait"))
    card._seconds(lambda: asked.append("work"))
    assert asked == ["wait", "work", "wait"]


def test_with_other_options(capsys):
    for option in (["--only", "lstm"], ["--picture", "bars.png"]):
        with pytest.raises(ValueError, match="--card has rows of its own"):
            run(*option)


def test_numbers_of_a_card_are_compared_on_the_host():
    waits.clear()
    contest = Contest("", lambda: {"out": DeviceArray(np.ones(3))}, lambda: {"out": DeviceArray(np.ones(3))})
    assert measure.disagreement(contest) == "" and waits["get"] == 2


@pytest.mark.parity
def test_the_rows_compute_what_pytorch_does():
    """PyTorch on the host, ours on the pretended card."""
    torch = pytest.importorskip("torch")
    for name, make, kernel, _ in card.rows(torch, quick=True):
        contest = next(iter(make(torch, backend.to_device)))
        with kernel():
            assert measure.disagreement(contest) == "", name
