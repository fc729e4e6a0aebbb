"""WordPiece: text in the tokens of BERT, whole words where they are known, else pieces of words.

    "An unforgettable Café!"  ->  [CLS] an un ##for ##get ##table cafe ! [SEP]

Schuster & Nakajima 2012, doi:10.1109/ICASSP.2012.6289079; Devlin et al. 2019, arXiv:1810.04805. First the text is
cleaned: no control characters, no capitals, no accents. Then it is cut at blanks, and before and behind every mark of
punctuation and every Chinese character. Then each word is eaten from the left, always the longest piece that is known;
a word that cannot be eaten up is [UNK].

It is written here, in some seventy lines, for what the package `tokenizers` would bring along: a client for a model hub
and all that it needs. That it makes the same tokens is a test.
"""

import functools
import re
import unicodedata
from pathlib import Path
from typing import NamedTuple

import numpy as np

PAD, UNKNOWN, START, END, MASK = SPECIAL = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
INSIDE = "##"  # before a piece that does not begin a word
LONGEST_WORD = 100  # characters
CHINESE = [
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF), (0x2F800, 0x2FA1F),
]  # fmt: skip


class Vocabulary(NamedTuple):
    """tokens[i] is the token of id i; ids the other way round."""

    tokens: tuple
    ids: dict


def read(path):
    """A file with one token a line -> Vocabulary. ValueError where the five special tokens are not all there."""
    tokens = tuple(Path(path).read_text(encoding="utf-8").split("\n"))
    tokens = tokens[:-1] if tokens[-1] == "" else tokens
    if missing := [token for token in SPECIAL if token not in tokens]:
        raise ValueError(f"{path} is no vocabulary of WordPiece: it has no {', '.join(missing)}, one token a line")
    return Vocabulary(tokens, {token: i for i, token in enumerate(tokens)})


def tokenize(text, vocabulary):
    """The tokens of a text, without [CLS] and [SEP] around them. Special tokens in it stand for themselves."""
    found = []
    for part in re.split(f"({'|'.join(map(re.escape, SPECIAL))})", text):
        if part in SPECIAL:
            found.append(part)
        else:
            for word in words(part):
                found += pieces(word, vocabulary.ids)
    return found


def encode(texts, vocabulary, longest=256):
    """A list of texts -> tokens (B, T) ids, lengths (B,), T the longest. More than `longest` tokens are cut off."""
    if isinstance(texts, str):
        raise TypeError("texts must be a list of strings, but one string came: write [text]")
    if longest < 3:
        raise ValueError(f"longest must be at least 3 but is {longest}: {START} and {END} are among the tokens")
    rows = [[START, *tokenize(text, vocabulary)[: longest - 2], END] for text in texts]
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    tokens = np.full((len(rows), lengths.max(initial=2)), vocabulary.ids[PAD], dtype=np.int64)
    for place, row in zip(tokens, rows, strict=True):
        place[: len(row)] = [vocabulary.ids[token] for token in row]
    return tokens, lengths


def words(text):
    """A text, cleaned and cut."""
    cleaned = "".join(map(_clean, text))
    plain = "".join(c for c in unicodedata.normalize("NFD", cleaned) if unicodedata.category(c) != "Mn")
    return "".join(map(_apart, "".join(map(str.lower, plain)))).split(" ")


def pieces(word, ids):
    """A word -> its pieces, from the left, each the longest that is known; [UNK] where that does not work out."""
    if not word:
        return []
    if len(word) > LONGEST_WORD:
        return [UNKNOWN]
    found, start = [], 0
    while start < len(word):
        ends = range(len(word), start, -1)
        before = INSIDE if start else ""
        end = next((end for end in ends if before + word[start:end] in ids), None)
        if end is None:
            return [UNKNOWN]
        found.append(before + word[start:end])
        start = end
    return found


@functools.cache
def _clean(c):
    """A character: a blank for every kind of blank, nothing for what is no letter to be seen, Chinese by itself."""
    if c in "\t\n\r":
        return " "
    if c == "\N{REPLACEMENT CHARACTER}" or unicodedata.category(c) in ("Cc", "Cf", "Co"):
        return ""
    if c.isspace():
        return " "
    return f" {c} " if any(first <= ord(c) <= last for first, last in CHINESE) else c


@functools.cache
def _apart(c):
    """Punctuation stands alone: what Unicode calls so, and every mark on an American keyboard."""
    mark = unicodedata.category(c).startswith("P") or (c.isascii() and c.isprintable() and not c.isalnum() and c != " ")
    return f" {c} " if mark else c
