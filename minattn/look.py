"""The hook: type a phrase and see it read aloud, letter by letter, with attention and without.

The readers come with the package, trained by the demo's own code (`minattn.data.make_readers`).
"""

import sys
import unicodedata
from pathlib import Path

import numpy as np

from minattn import reader, tree
from minattn.data import phrases
from minattn.weights import load, replace

WEIGHTS = Path(phrases.__file__).with_name("readers.npz")
SHADES = " ░▒▓█"
PLAIN_SHADES = " .:*#"  # where the terminal has no block characters


def add_arguments(parser):
    parser.add_argument("phrase", nargs="+", help='any phrase, e.g. "the value of the expression"')
    parser.add_argument("--out", type=Path, help="where the picture goes (default figures/look.png)")
    parser.add_argument("--no-picture", action="store_true", help="only the terminal")


def main(arguments):
    """Read one phrase with both readers and show where the attention looked; -> exit status."""
    text, left_out = shorten(plain(" ".join(arguments.phrase)))
    if left_out:
        print(f'The readers learned phrases of up to {phrases.MAX_LETTERS} letters; left out: "{left_out}"\n')
    params, settings = readers()
    settings = reader.Settings(**settings)
    readings = {name: reader.read(name, params[name], [text])[0] for name in reader.names(settings)}
    width = max(map(len, readings)) + 2
    print(f"{'letters':{width}} {text}")
    for name, reading in readings.items():
        print(f"{name:{width}} {aloud(reading.phonemes)}")
    attended = readings[settings.attention]
    print(f"\nWhere each phoneme was read from ({settings.attention} attention):\n")
    print(chart(attended, text, sys.stdout.encoding))
    print("\nDarker: more of the attention. Lines without a phoneme are the borders between words.")
    if arguments.no_picture:
        return 0
    try:
        print(f"\nPicture: {draw(attended, text, arguments.out or Path('figures/look.png'))}")
    except ModuleNotFoundError:
        if arguments.out:
            raise
        print('\nNo picture, since matplotlib is missing: pip install "minattn[demo]"')
    return 0


def readers():
    """The trained readers that ship with the package: {name: params} in float32, and their settings."""
    params, settings = load(WEIGHTS)
    return tree.astype(params, np.float32), settings


def plain(text):
    """The text without accents, and with spaces for punctuation: what the readers have no letters for."""
    letters = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    letters = letters.replace("\u2018", "'").replace("\u2019", "'")
    return "".join(" " if unicodedata.category(c)[0] == "P" and c != "'" else c for c in letters)


def shorten(text):
    """The text as the readers spell it, cut between words at their longest phrase -> text, what was left out."""
    text = "".join(phrases.LETTERS[i] for i in phrases.encode(text)[:-1])
    if len(text) <= phrases.MAX_LETTERS:
        return text, ""
    cut = text.rfind(" ", 0, phrases.MAX_LETTERS + 1)
    if cut < 1:
        raise ValueError(
            f"the first word has more than {phrases.MAX_LETTERS} letters, the longest phrase that the readers know: "
            f"write a shorter one"
        )
    return text[:cut], text[cut + 1 :]


def aloud(phonemes):
    """Phonemes with a bar between words."""
    return " ".join("|" if phoneme == " " else phoneme for phoneme in phonemes)


def chart(reading, text, encoding="utf-8"):
    """One line a phoneme, one column a letter, darker where it looked more; the gloss says how it sounds."""
    try:
        SHADES.encode(encoding or "ascii")
        shades = SHADES
    except UnicodeEncodeError:
        shades = PLAIN_SHADES
    lines = [f"      {text}"]
    for phoneme, row in zip(reading.written, reading.weights, strict=True):
        darkness = np.minimum((row * len(shades)).astype(int), len(shades) - 1)
        cells = "".join(shades[level] for level in darkness)
        lines.append(f"{'' if phoneme == ' ' else phoneme:>4}  {cells}  {phrases.GLOSS.get(phoneme, '')}".rstrip())
    return "\n".join(lines)


def draw(reading, text, path, title="Which letters each phoneme was read from"):
    """The alignment as a picture -> its path."""
    from matplotlib import pyplot

    from minattn import plots

    path = path if path.suffix else path.with_name(f"{path.name}.png")
    known = pyplot.figure(figsize=(1, 1)).canvas.get_supported_filetypes()
    pyplot.close()
    if path.is_dir() or path.suffix[1:] not in known:
        raise ValueError(f"{path} cannot be a picture: give a file that ends in .png, or in {', '.join(sorted(known))}")
    size = (max(2.2 + 0.27 * len(text), 5.0), min(max(1.6 + 0.24 * len(reading.written), 3.6), 16.0))
    figure, ax = pyplot.subplots(figsize=size, layout="constrained")
    axes = {"xlabel": "letters of the phrase", "ylabel": "phonemes, in the order they were read"}
    plots.heatmap(reading.weights, reading.written, [*text, "end"], ax=ax, title=title, **axes)
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"metadata": {"Software": None}} if path.suffix == ".png" else {}  # same content, same bytes
    replace(path, lambda partial: figure.savefig(partial, dpi=150, **about))
    pyplot.close(figure)
    return path
