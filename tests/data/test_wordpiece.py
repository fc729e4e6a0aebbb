"""WordPiece on a small vocabulary; against the package it was written for: tests/minilm."""

import numpy as np
import pytest

from minattn.data import wordpiece

TOKENS = [
    *wordpiece.SPECIAL,
    "the",
    "un",
    "##for",
    "##get",
    "##table",
    "cafe",
    "##s",
    "!",
    "'",
    "a",
    "##b",
    "b",
    "日",
    "σ",
    "##σ",
    "-",
]


@pytest.fixture
def vocabulary(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    return wordpiece.read(tmp_path / "vocab.txt")


@pytest.mark.parametrize(
    "text, tokens",
    [
        ("Unforgettable cafés!", "un ##for ##get ##table cafe ##s !"),
        ("the\tThe\u00a0THE\r\nthe", "the the the the"),
        ("ab", "a ##b"),
        ("a b", "a b"),
        ("a\u200bb\x00\ufffd", "a ##b"),
        ("日日a", "日 日 a"),
        ("the'a-a", "the ' a - a"),
        ("theatre", "[UNK]"),
        ("the zzz a", "the [UNK] a"),
        ("ΣΣ", "σ ##σ"),
        ("the [MASK] a [mask]", "the [MASK] a [UNK] [UNK] [UNK]"),
        ("[CLS]the", "[CLS] the"),
        ("", ""),
        (" \n ", ""),
        ("a" * 100, "[UNK]"),
        ("b" * 101, "[UNK]"),
    ],
)
def test_tokens(vocabulary, text, tokens):
    assert wordpiece.tokenize(text, vocabulary) == tokens.split()


def test_a_word_of_a_hundred_characters_is_still_eaten(vocabulary):
    assert wordpiece.tokenize("b" * 100, vocabulary) == ["b"] + ["##b"] * 99
    assert wordpiece.tokenize("b" * 101, vocabulary) == ["[UNK]"]


def test_a_batch(vocabulary):
    tokens, lengths = wordpiece.encode(["the", "", "ab ab ab"], vocabulary)
    assert lengths.tolist() == [3, 2, 8] and tokens.shape == (3, 8) and tokens.dtype == np.int64
    assert [vocabulary.tokens[i] for i in tokens[0]] == ["[CLS]", "the", "[SEP]"] + ["[PAD]"] * 5
    assert [vocabulary.tokens[i] for i in tokens[2]] == ["[CLS]", *["a", "##b"] * 3, "[SEP]"]


def test_what_is_too_long_is_cut_before_the_end(vocabulary):
    tokens, lengths = wordpiece.encode(["ab ab ab", "a"], vocabulary, longest=5)
    assert lengths.tolist() == [5, 3]
    assert [vocabulary.tokens[i] for i in tokens[0]] == ["[CLS]", "a", "##b", "a", "[SEP]"]


def test_nothing_is_a_batch_too(vocabulary):
    tokens, lengths = wordpiece.encode([], vocabulary)
    assert tokens.shape[0] == 0 and lengths.shape == (0,)


def test_what_does_not_fit_is_said(vocabulary, tmp_path):
    with pytest.raises(TypeError, match=r"one string came: write \[text\]"):
        wordpiece.encode("the", vocabulary)
    with pytest.raises(ValueError, match="longest must be"):
        wordpiece.encode(["the"], vocabulary, longest=2)
    (tmp_path / "other.txt").write_text("[PAD]\n[UNK]\na\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"no vocabulary of WordPiece: it has no \[CLS\], \[SEP\], \[MASK\]"):
        wordpiece.read(tmp_path / "other.txt")
