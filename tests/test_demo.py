"""The two commands that people type first, end to end."""

import json
import os
import subprocess
import sys
from concurrent.futures import Future

import numpy as np
import pytest

from minattn import demo, look, reader, threads, tree
from minattn.__main__ import main
from minattn.data import phrases
from minattn.weights import load

FIGURES = {"error_by_length.png", "alignment.png", "gradient_flow.png"}


def run(*words):
    strict = ["-W", "error", "-W", "ignore::EncodingWarning:matplotlib.font_manager"]  # see pyproject.toml
    command = [sys.executable, *strict, "-m", "minattn", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", env=os.environ | {"PYTHONUTF8": "1"}
    )


def results(folder):
    found = json.loads((folder / "demo.json").read_text(encoding="utf-8"))
    del found["seconds"]
    return found


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    out = tmp_path_factory.mktemp("quick")
    ended = run("demo", "--quick", "--out", out)
    assert ended.returncode == 0, ended.stderr
    return out, ended.stdout


def test_demo_shows_what_it_found(quick):
    out, printed = quick
    assert "largest gradient error" in printed and "41 to 48 letters" in printed and "seconds of training" in printed
    found = json.loads((out / "demo.json").read_text(encoding="utf-8"))
    assert set(found["figures"]) == FIGURES and FIGURES | {"demo.json", "demo.npz"} == set(os.listdir(out))
    assert all((out / name).stat().st_size > 10_000 for name in FIGURES)
    assert max(max(errors.values()) for errors in found["gradient_error"].values()) <= 1e-12
    assert found["settings"]["attention"] == "additive" and set(found["seconds"]) == {"fixed vector", "additive"}
    assert len(found["phonemes_wrong"]) == 2 * len(reader.BUCKETS) and len(found["examples"]) == 8
    assert sum(row["phrases"] for row in found["phonemes_wrong"]) == 120


def test_interrupted_and_resumed_gives_the_same(quick, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(os.environ, "MPLBACKEND", "Agg")
    real, calls = reader.update, []

    def update(*arguments):
        calls.append(1)
        if len(calls) == 10:  # in the middle of the fifth update
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(reader, "update", update)
    assert main(["demo", "--quick", "--out", str(tmp_path)]) == 0
    assert "Stopped after 4 of 12 updates; --resume goes on from there." in capsys.readouterr().out
    assert results(tmp_path)["updates"] == 4 and set(os.listdir(tmp_path)) >= FIGURES
    assert main(["demo", "--quick", "--out", str(tmp_path), "--resume"]) == 0
    assert results(tmp_path) == results(quick[0])
    for name in FIGURES:
        assert (tmp_path / name).read_bytes() == (quick[0] / name).read_bytes()


@pytest.fixture
def two_processes(monkeypatch):
    monkeypatch.setattr(demo, "WORTH", 0)
    monkeypatch.setattr(threads, "cores", lambda: 2)
    monkeypatch.setattr(demo, "TOGETHER", 5)


def quick_runs(settings=reader.Settings(**demo.QUICK)):  # noqa: B008
    return reader.start(settings), settings, phrases.load().train, {}


def same(one, other):
    return all(
        np.array_equal(x, y)
        for name in one
        for (_, x), (_, y) in zip(tree.leaves(one[name].params), tree.leaves(other[name].params), strict=True)
    )


def test_two_processes_learn_what_one_learns(two_processes):
    together, seconds, stopped = demo.train(*quick_runs())
    demo.WORTH = 100
    alone, _, _ = demo.train(*quick_runs())
    assert not stopped and len(together["additive"].losses) == 12 and min(seconds.values()) > 0
    assert same(together, alone) and together["additive"].losses == alone["additive"].losses


def test_ctrl_c_ends_what_the_processes_have_begun(two_processes, monkeypatch):
    real, asked = Future.result, []

    def result(future, timeout=None):
        asked.append(1)
        if len(asked) == 4:  # the second reader after ten updates
            raise KeyboardInterrupt
        return real(future, timeout)

    monkeypatch.setattr(Future, "result", result)
    runs, _, stopped = demo.train(*quick_runs())
    assert stopped and {len(run.losses) for run in runs.values()} == {10}


def test_a_process_that_dies_is_done_without(two_processes, monkeypatch):
    monkeypatch.setattr(demo, "_begin", os._exit)  # without the number that it wants: nothing starts
    runs, _, stopped = demo.train(*quick_runs())
    assert not stopped and {len(run.losses) for run in runs.values()} == {12}


def test_resume_with_a_mechanism_that_learns_nothing(tmp_path, monkeypatch):
    real, calls = reader.update, []

    def update(*arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(reader, "update", update)
    words = ["demo", "--quick", "--updates", "4", "--attention", "dot", "--out", str(tmp_path)]
    assert main(words) == 0 and results(tmp_path)["updates"] == 2
    assert main([*words, "--resume"]) == 0 and results(tmp_path)["updates"] == 4


def test_what_is_missing_is_said_before_training(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "train", None)  # must not be reached
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert main(["demo", "--quick", "--out", str(tmp_path / "file" / "x")]) == 2
    assert "minattn demo:" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert main(["demo", "--quick", "--out", str(tmp_path)]) == 2
    assert 'pip install "minattn[demo]"' in capsys.readouterr().err


def test_resume_from_another_kind_of_file(tmp_path, capsys):
    (tmp_path / "demo.npz").write_bytes(look.WEIGHTS.read_bytes())
    assert main(["demo", "--quick", "--out", str(tmp_path), "--resume"]) == 2
    assert "is not where a demo was stopped" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["ascii", "cp932"])
def test_look_in_any_terminal(encoding, tmp_path):
    command = [sys.executable, "-m", "minattn", "look", "--no-picture", "the value"]
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    ended = subprocess.run(command, capture_output=True, env=environment)
    assert ended.returncode == 0 and b"DH AH | V AE L Y UW" in ended.stdout, ended.stderr


def test_look_without_a_stdout(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["look", "--no-picture", "the value"]) == 0
    sys.stdout.close()


@pytest.mark.parametrize("name", ["x.svg", "x.pdf", "plain", "x.jpg"])
def test_look_draws_many_kinds_of_picture(name, tmp_path):
    assert main(["look", "the", "--out", str(tmp_path / name)]) == 0
    assert [path.stem for path in tmp_path.iterdir()] == [name.split(".")[0]]


def test_look_refuses_what_is_no_picture(tmp_path, capsys):
    assert main(["look", "the", "--out", str(tmp_path / "x.doc")]) == 2
    assert "cannot be a picture: give a file that ends in .png" in capsys.readouterr().err


def test_resume_wants_the_same_settings(quick, capsys):
    assert main(["demo", "--quick", "--seed", "5", "--out", str(quick[0]), "--resume"]) == 2
    assert "was trained with seed=0: give the same options to go on" in capsys.readouterr().err


def test_resume_without_a_start(tmp_path, capsys):
    assert main(["demo", "--quick", "--out", str(tmp_path), "--resume"]) == 2
    assert "demo.npz does not exist" in capsys.readouterr().err


def test_no_updates(capsys):
    assert main(["demo", "--updates", "0"]) == 2
    assert "--updates must be at least 1 but is 0" in capsys.readouterr().err


def test_look(tmp_path):
    ended = run("look", "the value of the expression", "--out", tmp_path / "picture.png")
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[2].split() == "additive DH AH | V AE L Y UW | AH V | DH AH | IH K S P R EH SH AH N".split()
    assert 'th in "the"' in ended.stdout and "█" in ended.stdout
    assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_look_without_block_characters(capsys):
    reading = reader.Reading(("T",), ("T", "end"), np.array([[0.9, 0.1], [0.0, 0.5]]))
    assert look.chart(reading, "to", "ascii").splitlines() == ["      to", '   T  #   t in "type"', " end   :"]
    assert "█" in look.chart(reading, "to", "utf-8")


@pytest.mark.parametrize(
    "phrase, says",
    [
        ("room 3 €", "'3', '€' are not in the alphabet: write a phrase with the letters a to z"),
        ("  ", "the text is empty"),
        ("a" * 60, "the first word has more than 48 letters"),
    ],
)
def test_look_answers_kindly(phrase, says, capsys):
    assert main(["look", phrase]) == 2
    assert says in capsys.readouterr().err


def test_look_takes_what_people_type(capsys):
    assert main(["look", "--no-picture", "Thé VALUE, (of) \u2018it\u2019!"]) == 0
    assert "the value of 'it'" in capsys.readouterr().out


def test_look_without_matplotlib(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["look", "the value"]) == 0
    assert "No picture, since matplotlib is missing" in capsys.readouterr().out
    assert main(["look", "the value", "--out", "x.png"]) == 2


def test_look_cuts_between_words(capsys):
    assert main(["look", "--no-picture", "the value " * 6]) == 0
    out = capsys.readouterr().out
    assert 'left out: "value the value"' in out
    assert look.shorten("a" * 48) == ("a" * 48, "") and look.shorten("a " * 24 + "b") == (("a " * 24).strip(), "b")


def test_the_readers_that_ship():
    params, settings = load(look.WEIGHTS)
    settings = reader.Settings(**settings)
    test = [phrase for phrase in phrases.load().test if len(phrase.text) > 32][:100]
    wrong = {}
    for name in reader.names(settings):
        readings = reader.read(name, look.readers()[0][name], [phrase.text for phrase in test])
        wrong[name] = sum(phrases.distance(r.phonemes, p.phonemes) for r, p in zip(readings, test, strict=True))
    total = sum(len(phrase.phonemes) for phrase in test)
    assert wrong["additive"] <= 0.06 * total and wrong["fixed vector"] >= 0.4 * total
    assert look.WEIGHTS.stat().st_size < 600_000


def test_a_reading_does_not_depend_on_its_batch():
    params = look.readers()[0]["additive"]
    together = reader.read("additive", params, ["in", "the value of the expression"])
    alone = reader.read("additive", params, ["in"])
    assert together[0].phonemes == alone[0].phonemes and np.allclose(together[0].weights, alone[0].weights, atol=1e-5)


def test_help_and_unknown_commands(capsys):
    for words in (["--help"], ["demo", "--help"], ["look", "--help"], ["gradcheck", "--help"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "--resume" in out and "--no-picture" in out and "about 2 minutes" in out
    with pytest.raises(SystemExit) as ended:
        main(["dmeo"])
    assert ended.value.code == 2 and "invalid choice: 'dmeo'" in capsys.readouterr().err


def test_examples_and_silent_letters():
    def phrase(text, phonemes):
        return phrases.Phrase(text, tuple(phonemes.split()), False)

    test = [phrase("through the night", "A B C D"), phrase("abcdefghijklmnop", " ".join("abcdefghijklmnop"))]
    readings = [reader.Reading(p.phonemes, p.phonemes, None) for p in test]
    assert demo.silent_letters(readings, test) == 0
