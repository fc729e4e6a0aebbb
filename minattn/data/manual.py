"""The manual inside every Python, as characters: real text without a file of our own.

`pydoc_data.topics` comes with CPython (PSF licence) and differs a little from version to version, so figures made with
it name the version.
"""

import importlib
import sys
from typing import NamedTuple

import numpy as np

ALPHABET = ("\n", *map(chr, range(32, 127)))  # printable ASCII; anything else becomes "?"
_ID = {character: i for i, character in enumerate(ALPHABET)}


class Manual(NamedTuple):
    """train and valid: ids (characters,) of different topics; version: of the Python whose manual it is."""

    train: np.ndarray
    valid: np.ndarray
    version: str


def load(share=0.1):
    """Read the manual, every so many topics for validation -> Manual."""
    try:
        topics = importlib.import_module("pydoc_data.topics").topics
    except ModuleNotFoundError:
        raise FileNotFoundError(
            "this Python has no pydoc_data.topics: some systems put it into a package of its own (python3-doc, idle); "
            "the interpreter of python.org has it"
        ) from None
    names = sorted(topics)
    valid = set(names[:: round(1 / share)])
    texts = ["\n\n".join(topics[name] for name in names if (name in valid) == wanted) for wanted in (False, True)]
    return Manual(*map(encode, texts), ".".join(map(str, sys.version_info[:3])))


def encode(text):
    """A text -> ids (characters,)."""
    return np.array([_ID.get(character, _ID["?"]) for character in text], dtype=np.int64)


def decode(ids):
    """ids (characters,) -> the text."""
    return "".join(ALPHABET[i] for i in np.asarray(ids).tolist())
