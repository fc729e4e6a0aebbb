"""Letters -> phonemes: phrases of the Python manual, and how they sound when read aloud.

    "the default value"  ->  DH AH · D IH F AO L T · V AE L Y UW          (· is the border between words)

Spelling and sound keep the same order but not the same pace: eight letters may make four sounds, one letter
two. An encoder-decoder must find for every sound the letters that make it, and its attention weights, drawn,
are that alignment.

Text: the manual inside every Python (`pydoc_data.topics`). Sounds: the first pronunciation in the CMU
Pronouncing Dictionary, without stress. Both licences are in `licenses/`; `make_phrases` made the file.

The three splits are different sections of the manual, and no phrase is in two of them. Some words are held
out: only test phrases contain them (`Phrase.unseen`), and every other word of a test phrase also occurs in
training. So errors on new words can be told from errors on known words in new phrases.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

MAX_LETTERS, MAX_WORDS = 48, 10  # the longest phrase in the file; `encode` takes longer texts too

PAD, START, END = 0, 1, 2  # ids that both vocabularies share
SHARED = ("<pad>", "<start>", "<end>", " ")  # in the phonemes, " " is the border between words
LETTERS = (*SHARED, "'", *"abcdefghijklmnopqrstuvwxyz")

GLOSS = {
    "AA": 'o in "hot"',
    "AE": 'a in "map"',
    "AH": 'u in "run"; a in "about"',
    "AO": 'a in "call"',
    "AW": 'ou in "loud"',
    "AY": 'i in "line"',
    "B": 'b in "bit"',
    "CH": 'ch in "each"',
    "D": 'd in "do"',
    "DH": 'th in "the"',
    "EH": 'e in "set"',
    "ER": 'er in "never"',
    "EY": 'a in "name"',
    "F": 'f in "if"',
    "G": 'g in "get"',
    "HH": 'h in "hash"',
    "IH": 'i in "with"',
    "IY": 'ee in "tree"',
    "JH": 'j in "just"',
    "K": 'c in "class"',
    "L": 'l in "list"',
    "M": 'm in "map"',
    "N": 'n in "not"',
    "NG": 'ng in "string"',
    "OW": 'o in "code"',
    "OY": 'oi in "point"',
    "P": 'p in "pass"',
    "R": 'r in "raise"',
    "S": 's in "set"',
    "SH": 'sh in "hash"',
    "T": 't in "type"',
    "TH": 'th in "path"',
    "UH": 'oo in "look"',
    "UW": 'oo in "loop"',
    "V": 'v in "value"',
    "W": 'w in "with"',
    "Y": 'y in "yield"',
    "Z": 'z in "zero"',
    "ZH": 's in "usual"',
}
PHONEMES = (*SHARED, *GLOSS)

DATA = Path(__file__).with_name("phrases.txt")
SECTIONS = ("lexicon", "held-out", "train", "valid", "test")

_LETTER_ID = {letter: i for i, letter in enumerate(LETTERS)}
_PHONEME_ID = {phoneme: i for i, phoneme in enumerate(PHONEMES)}
_QUOTES, _HYPHENS = "\u2018\u2019", "-\u2010\u2011\u2013\u2014"  # curly quotes; hyphens and dashes
_PLAIN = str.maketrans(dict.fromkeys(_QUOTES, "'") | dict.fromkeys(_HYPHENS, " "))
_ALLOWED = "write a phrase with the letters a to z, spaces and apostrophes"


class Phrase(NamedTuple):
    """A text in letters, its phonemes with " " between words, and whether it contains a held-out word."""

    text: str
    phonemes: tuple[str, ...]
    unseen: bool


class Phrases(NamedTuple):
    """The three splits, and the words that only the test phrases contain."""

    train: tuple[Phrase, ...]
    valid: tuple[Phrase, ...]
    test: tuple[Phrase, ...]
    held_out: frozenset[str]


class Batch(NamedTuple):
    """B phrases as int64 ids, padded with PAD to the longest: letters and END, phonemes and START or END."""

    source: np.ndarray  # (B, S)  letters + END
    source_lengths: np.ndarray  # (B,)
    target_in: np.ndarray  # (B, T)  START + phonemes
    target_out: np.ndarray  # (B, T)  phonemes + END
    target_lengths: np.ndarray  # (B,)


# --------------------------------------------------------------------------------------------------- the file


def load(path=None):
    """Read the phrases from `path`, by default the vendored file -> Phrases.

    The format is explained at the top of the file. FileNotFoundError where there is no file, ValueError
    where it is not what its header promises.
    """
    path = Path(path or DATA)
    sections = _read(path)

    lexicon = {}
    for number, line in sections["lexicon"]:
        word, *phonemes = line.split(" ")
        if not word or not set(word) <= set(LETTERS[4:]):
            raise _bad(path, number, f"expected a word of the letters a to z and apostrophes, but {word!r} came")
        if not phonemes:
            raise _bad(path, number, f"{word!r} has no phonemes: expected `word PHONEME PHONEME ...`")
        if unknown := [phoneme for phoneme in phonemes if phoneme not in GLOSS]:
            raise _bad(path, number, f"{unknown[0]!r} in {line!r} is not one of the {len(GLOSS)} phonemes")
        lexicon[word] = (" ", *phonemes)

    held_out = frozenset(line for _, line in sections["held-out"])

    def phrase(number, text):
        words = text.split(" ")
        if unknown := [word for word in words if word not in lexicon]:
            raise _bad(path, number, f"the word {unknown[0]!r} of {text!r} is not in the lexicon")
        _, *phonemes = [phoneme for word in words for phoneme in lexicon[word]]  # no border before the first
        return Phrase(text, tuple(phonemes), not held_out.isdisjoint(words))

    return Phrases(*(tuple(phrase(*line) for line in sections[split]) for split in SECTIONS[2:]), held_out)


def _read(path):
    """The lines of each section, numbered as an editor does, after checking that all of them are there."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path} is missing: the phrases come with the package, so install it again, "
            "or make the file with python -m minattn.data.make_phrases"
        ) from None
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text (byte {error.start}): the wrong file, or saved in another encoding"
        ) from None
    if not lines:
        raise ValueError(f"{path} is empty: expected a header and the sections {', '.join(SECTIONS)}")

    promised, sections, here = {}, {name: [] for name in SECTIONS}, None
    for number, line in enumerate(lines, start=1):
        if line.startswith("#"):
            if count := re.fullmatch(r"# ([a-z-]+) (\d{1,9})", line):
                promised[count[1]] = int(count[2])
        elif line.startswith("["):
            here = line[1:-1]
            if line not in [f"[{name}]" for name in (*SECTIONS, "end")]:
                raise _bad(path, number, f"{line!r} is not a section: the file was cut off, or edited by hand")
        elif here in sections:
            sections[here].append((number, line))
        else:
            raise _bad(path, number, f"{line[:40]!r} stands in no section: the wrong file, or edited by hand")

    if missing := [name for name in SECTIONS if name not in promised]:
        raise ValueError(f"{path}: the header does not say how many lines {missing[0]} has: the wrong file")
    cause = "the file was edited by hand" if here == "end" else "there is no [end], so the file was cut off"
    for name, found in sections.items():
        if len(found) != promised[name]:
            what = f"the header promises {promised[name]} lines of {name}, but {len(found)} came"
            raise _bad(path, len(lines), f"{what}; {cause}")
    if here != "end":
        raise _bad(path, len(lines), f"expected [end] after the last section; {cause}")
    return sections


def _bad(path, number, what):
    return ValueError(f"{path}, line {number}: {what}")


# ----------------------------------------------------------------------------------------------- text <-> ids


def encode(text):
    """A text -> the ids of its letters and END (S,), int64: END is where a reader looks to know that it is done.

    Capitals become small letters, hyphens and runs of white space one space, curly apostrophes straight ones.
    Any other character, or an empty text, raises ValueError.
    """
    plain = " ".join(text.translate(_PLAIN).lower().split())
    if unknown := [character for character in dict.fromkeys(plain) if character not in LETTERS]:
        verb = "is" if len(unknown) == 1 else "are"
        raise ValueError(f"{', '.join(map(repr, unknown[:10]))} {verb} not in the alphabet: {_ALLOWED}")
    if not plain:
        raise ValueError(f"the text is empty: {_ALLOWED}")
    return np.array([*(_LETTER_ID[letter] for letter in plain), END], dtype=np.int64)


def spell(ids):
    """Phoneme ids (T,) as a model writes them -> their symbols up to END, without PAD and START."""
    symbols = []
    for i in np.asarray(ids).tolist():
        if i == END:
            break
        if i not in (PAD, START):
            symbols.append(PHONEMES[i])
    return tuple(symbols)


def batch(phrases):
    """B phrases -> Batch: source (B, S), target_in and target_out (B, T), and the lengths (B,)."""
    if not phrases:
        raise ValueError("a batch needs at least one phrase, none came")
    sources = [encode(phrase.text) for phrase in phrases]
    targets = [[_PHONEME_ID[phoneme] for phoneme in phrase.phonemes] for phrase in phrases]
    source, source_lengths = _pad(sources)
    target_in, target_lengths = _pad([[START, *target] for target in targets])
    target_out, _ = _pad([[*target, END] for target in targets])
    return Batch(source, source_lengths, target_in, target_out, target_lengths)


def _pad(rows):
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    padded = np.full((len(rows), lengths.max()), PAD, dtype=np.int64)
    for line, row in zip(padded, rows, strict=True):
        line[: len(row)] = row
    return padded, lengths


def batches(phrases, rng, size):
    """Lists of about `size` phrases of similar length, without end, each phrase once in every epoch.

    Phrases are shuffled into pools of some 20 batches, sorted by length inside a pool, which leaves little
    padding, and the batches of a pool come in random order. Nothing is dropped: what does not fill a batch is
    spread over the others, so a batch has `size` phrases or a few more (fewer if there are fewer in all).
    """
    if size < 1 or not phrases:
        raise ValueError(f"expected phrases and size >= 1, but {len(phrases)} phrases and size={size} came")

    def split(indices, size):
        return np.array_split(indices, max(1, len(indices) // size))

    lengths = np.array([len(phrase.text) for phrase in phrases])
    while True:
        for pool in split(rng.permutation(len(phrases)), 20 * size):
            ready = split(pool[np.argsort(lengths[pool], kind="stable")], size)
            for i in rng.permutation(len(ready)):
                yield [phrases[j] for j in ready[i]]


def distance(predicted, reference):
    """The fewest insertions, deletions and substitutions that turn one sequence into the other.

    Levenshtein's distance, row by row. Divided by len(reference) it is the phoneme error rate.
    """
    row = list(range(len(reference) + 1))  # from nothing to the first j symbols: j insertions
    for i, symbol in enumerate(predicted, start=1):
        corner, row[0] = row[0], i  # corner: the entry diagonally above
        for j, expected in enumerate(reference, start=1):
            step = min(row[j] + 1, row[j - 1] + 1, corner + (symbol != expected))
            corner, row[j] = row[j], step
    return row[-1]
