"""Learning to write, in a test-sized form: both models learn, and an interruption loses nothing."""

import json
import os

import numpy as np
import pytest

from minattn import write
from minattn.__main__ import main
from minattn.data import manual


def test_manual_is_text():
    text = manual.load()
    assert len(text.train) > 8 * len(text.valid) > 100_000
    assert "the" in manual.decode(text.train[:2000])
    assert manual.decode(manual.encode("a ~\n\u00e9")) == "a ~\n?"


def test_a_python_without_the_manual(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pydoc_data.topics", None)
    with pytest.raises(FileNotFoundError, match="this Python has no pydoc_data.topics"):
        manual.load()


@pytest.mark.parametrize("name", write.MODELS)
def test_both_learn(name, monkeypatch):
    monkeypatch.setitem(write.RATES, name, 1e-2)
    settings = write.QUICK._replace(updates=150, batch=16, M=32, N=40, I=16)
    done = write.train(name, write.MODELS[name], settings, manual.load())
    assert done["updates"][-1] == 150 and len(done["valid"]) == 10
    assert done["valid"][-1] < 3.2 < 3.7 < done["valid"][0] < np.log(len(manual.ALPHABET))
    assert done["sample"].startswith("The ") and len(done["sample"]) == settings.T


def test_end_to_end(tmp_path, capsys):
    assert main(["write", "--quick", "--updates", "3", "--out", str(tmp_path), "--prompt", "If "]) == 0
    out = capsys.readouterr().out
    assert "Transformer: 9,576 parameters" in out and "nats" in out and "If " in out
    about = json.loads((tmp_path / "language_model.json").read_text(encoding="utf-8"))
    assert set(about["models"]) == {"Transformer", "LSTM"} and about["settings"]["updates"] == 3
    assert set(os.listdir(tmp_path)) == {"language_model.json", "language_model.png"}


def test_an_interruption_goes_on_with_what_was_learned(tmp_path, monkeypatch, capsys):
    real, calls = write.windows, []

    def windows(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(write, "windows", windows)
    assert main(["write", "--quick", "--updates", "5", "--out", str(tmp_path)]) == 0
    assert "Transformer: stopped after 3 of 5 updates" in capsys.readouterr().out
    about = json.loads((tmp_path / "language_model.json").read_text(encoding="utf-8"))
    assert [done["updates"][-1] for done in about["models"].values()] == [3, 5]
