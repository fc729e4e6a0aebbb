"""Fonts: a token can be read in whatever script it is written.

    texts, families, lacking = legible(["注意", "the"], ["sans-serif"])

gives ["注意", "the"] and ["sans-serif", "DejaVu Sans", "Noto Sans CJK JP"] where such a font is installed. Otherwise
the texts are ["U+6CE8 U+610F", "the"] and lacking is True. Fonts are looked through only for what the given ones lack.
"""

import contextlib
import functools
import itertools
import re
from typing import NamedTuple

OURS = "DejaVu Sans"  # comes with matplotlib
ADVICE = "code points: install a font such as Noto Sans CJK"

# A Hebrew letter with the points that belong to it, and such letters in a row, spaces between them included.
LETTER = "[\u05d0-\u05ea\u05ef-\u05f4][\u0591-\u05c7]*"
HEBREW = re.compile(f"{LETTER}(?:[ ␣]*{LETTER})+")
PIECE = re.compile(f"{LETTER}|.")


class Font(NamedTuple):
    family: str
    path: str


def legible(texts, families):
    """Texts to be written in these families -> the texts, the families to write them in, and whether some lack a font.

    matplotlib takes each character from the first family that has it. What none has becomes its code point.
    """
    families = list(dict.fromkeys([*families, OURS]))
    if all(text.isascii() for text in texts):
        return list(texts), families, False
    known = {ord("\n")}.union(*map(_characters_of, families))
    for text in texts:
        while (font := _font_with(frozenset(map(ord, text)) - known)) is not None:
            families.append(font.family)
            known |= characters(font.path)
    shown = [_code_points(text, known) for text in texts]
    return [_in_order(text) for text in shown], families, shown != list(texts)


@functools.cache
def installed():
    """One Font a family, upright and of usual weight before others; not the last resort, whose letters are boxes."""
    from matplotlib import font_manager

    manager = font_manager.fontManager
    for path in sorted(set(font_manager.findSystemFonts()) - {entry.fname for entry in manager.ttflist}):
        with contextlib.suppress(OSError, RuntimeError, ValueError):  # installed since matplotlib last looked
            manager.addfont(path)

    def unusual(entry):
        return entry.style != "normal", str(entry.weight) not in ("400", "normal"), entry.name[:4] != "Noto", entry.name

    families = {}
    for entry in sorted(manager.ttflist, key=unusual):
        if not entry.name.startswith("Last Resort"):
            families.setdefault(entry.name, Font(entry.name, entry.fname))
    return list(families.values())


@functools.lru_cache(maxsize=256)
def characters(path):
    """The code points that a font can draw; none where they are pictures, or where it cannot be read."""
    from matplotlib import font_manager

    try:
        font = font_manager.get_font(path)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError, ValueError):
        return frozenset()


def _characters_of(family):
    """The code points that a family asked for by name can draw; none where it is not installed."""
    from matplotlib import font_manager

    try:
        return characters(font_manager.findfont(font_manager.FontProperties(family=family), fallback_to_default=False))
    except ValueError:
        return frozenset()


def _font_with(lacking):
    """The first font that has all of these code points, or else the one that has most; None where none has any."""
    if not lacking:
        return None
    most, best = 0, None
    for font in installed():
        count = len(lacking & characters(font.path))
        if count == len(lacking):
            return font
        if count > most:
            most, best = count, font
    return best


def _code_points(text, known):
    """注意 -> U+6CE8 U+610F, for characters that are not known."""
    if all(ord(c) in known for c in text):
        return text
    runs = itertools.groupby(text, key=lambda c: ord(c) in known)
    parts = ("".join(run).strip(" ") if seen else " ".join(f"U+{ord(c):04X}" for c in run) for seen, run in runs)
    return " ".join(part for part in parts if part)


def _in_order(text):
    """Hebrew from right to left where matplotlib (before 3.11) sets every text from left to right.

    Arabic stays as it is: its letters would have to be joined as well.
    """
    if _shapes():
        return text
    return HEBREW.sub(lambda run: "".join(reversed(PIECE.findall(run[0]))), text)


def _shapes():
    """Whether matplotlib orders and joins letters itself."""
    from matplotlib import ft2font

    return hasattr(ft2font, "__libraqm_version__")
