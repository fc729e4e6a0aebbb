"""Make `20_manual.txt`: sentences of the Python manual, half of which deny something, for lesson 20.

python lessons/data/make_20_manual.py

The manual comes with Python (`pydoc_data.topics`) and differs from version to version; a file does not. Kept are whole
sentences of plain paragraphs, 40 to 120 characters long, each once: all that hold a no, and as many others, drawn at
random. The same Python makes the same bytes.
"""

import platform
import random
import re
from pathlib import Path
from pydoc_data.topics import topics

SHORTEST, LONGEST = 40, 120  # characters
DENIES = re.compile(r"\b(no|not|nor|neither|never|cannot)\b|n[’']t\b", re.IGNORECASE)
SIGNS = re.compile(r"[|<>=*_`~{}\\]|::")  # of code and grammar
HEAD = """\
# Sentences of the manual of Python {version}, (c) Python Software Foundation, licence: minattn/data/licenses/PSF.txt
# {count} that deny something and {count} that do not, in the order of the manual. Made by make_20_manual.py.
"""


def main():
    paragraphs = [paragraph for topic in sorted(topics) for paragraph in re.split(r"\n\s*\n", topics[topic])]
    sentences = list(dict.fromkeys(sentence for paragraph in paragraphs for sentence in cut(paragraph)))
    denying = [sentence for sentence in sentences if DENIES.search(sentence)]
    others = [sentence for sentence in sentences if not DENIES.search(sentence)]
    chosen = {*denying, *random.Random(0).sample(others, len(denying))}
    text = HEAD.format(version=platform.python_version(), count=len(denying))
    text += "".join(f"{sentence}\n" for sentence in sentences if sentence in chosen)
    path = Path(__file__).parent / "20_manual.txt"
    path.write_text(text, encoding="utf-8", newline="\n")
    print(f"{path.name}: {len(chosen)} of {len(sentences)} sentences, {path.stat().st_size:,} bytes")


def cut(paragraph):
    """The whole sentences of a paragraph that are prose."""
    line = " ".join(re.sub(r"(?<=\w)-\n\s*(?=\w)", "-", paragraph).split())  # a word may be cut at its hyphen
    line = re.sub(r"^[*-] ", "", line)
    for sentence in re.split(r"(?<=[.?!]) (?=[A-Z\"])", line):
        whole = sentence[:1].isupper() and sentence.endswith(".") and not sentence.endswith(("e.g.", "i.e."))
        words = re.findall(r"[a-z]{3,}", sentence)
        news = re.search(r"(New|Changed) in version", sentence)
        if (
            whole
            and SHORTEST <= len(sentence) <= LONGEST
            and len(words) >= 5
            and not SIGNS.search(sentence)
            and not news
        ):
            yield sentence


if __name__ == "__main__":
    main()
