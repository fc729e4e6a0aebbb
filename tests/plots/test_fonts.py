"""Every token can be read: in a font that has its letters, or else as code points with one line of advice."""

import matplotlib
import numpy as np
import pytest

from minattn.plots import canvas, curves, fonts, heatmap

ONLY_STIX = "ᶁ"  # matplotlib brings a font that has it, STIXGeneral, but not first
NOBODY = "注意"


@pytest.fixture
def bare(monkeypatch):
    """A machine that has no fonts but those that matplotlib brings."""
    ours = matplotlib.get_data_path()
    brought = [font for font in fonts.installed() if str(font.path).startswith(ours)]
    monkeypatch.setattr(fonts, "installed", lambda: brought)


def labels(axis):
    return [tick.get_text() for tick in axis.get_ticklabels()]


def test_letters_that_the_first_font_has_need_no_other(monkeypatch):
    monkeypatch.setattr(fonts, "installed", lambda: pytest.fail("fonts were looked through for nothing"))
    assert fonts.legible(["the", "été", "␣", "∅"], ["sans-serif"])[1:] == (["sans-serif", "DejaVu Sans"], False)


def test_a_font_that_has_the_letters_is_found(bare):
    texts, families, lacking = fonts.legible(["a", f"{ONLY_STIX}b"], ["sans-serif"])
    assert (texts, lacking) == (["a", f"{ONLY_STIX}b"], False)
    assert families[:2] == ["sans-serif", "DejaVu Sans"] and len(families) == 3
    ax = heatmap(np.eye(2), "ab", [ONLY_STIX, "b"])
    ax.figure.canvas.draw()  # a glyph that is missing would warn here
    assert labels(ax.xaxis) == [ONLY_STIX, "b"] and ax.get_xlabel() == "looks at (key)"


def test_the_font_that_has_all_letters_of_a_token_comes_before_one_that_has_some(monkeypatch):
    has = {"some": {1, 2, 0x6CE8}, "most": {0x6CE8, 0x610F}, "other": {0xAC00}}
    monkeypatch.setattr(fonts, "installed", lambda: [fonts.Font(name, name) for name in has])
    known = fonts.characters
    monkeypatch.setattr(fonts, "characters", lambda path: frozenset(has.get(path) or known(path)))
    assert fonts.legible([NOBODY], ["sans-serif"]) == ([NOBODY], ["sans-serif", "DejaVu Sans", "most"], False)
    texts, families, lacking = fonts.legible([NOBODY + "가"], ["sans-serif"])  # no font has all three
    assert (texts, families[2:], lacking) == ([NOBODY + "가"], ["most", "other"], False)


def test_without_a_font_code_points_are_written_and_advice_is_given_once(bare):
    ax = heatmap(np.eye(2), ["a", NOBODY], ["注the", "意 b"], title=f"of {NOBODY} and more")
    ax.figure.canvas.draw()
    assert labels(ax.yaxis) == ["a", "U+6CE8 U+610F"] and labels(ax.xaxis) == ["U+6CE8 the", "U+610F b"]
    assert ax.get_title() == "of U+6CE8 U+610F and more"
    assert ax.get_xlabel() == f"looks at (key)\n{fonts.ADVICE}"


def test_names_and_what_the_axes_say_are_legible_too(bare):
    ax = curves({NOBODY: [1, 2]}, xlabel="x 注", ylabel="y")
    ax.figure.canvas.draw()
    assert ax.get_legend().get_texts()[0].get_text() == "U+6CE8 U+610F"
    assert ax.get_xlabel() == f"x U+6CE8\n{fonts.ADVICE}"


def test_a_line_break_in_a_title_is_no_letter(bare):
    assert fonts.legible(["1/√D\nand 注"], ["sans-serif"])[0] == ["1/√D\nand U+6CE8"]


def test_one_figure_advises_once(bare):
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, layout="constrained")
    for ax in axes:
        heatmap(np.eye(2), "ab", NOBODY, ax=ax)
    assert [fonts.ADVICE in ax.get_xlabel() for ax in axes] == [True, False]


def test_hebrew_reads_from_right_to_left_where_matplotlib_does_not_see_to_it(monkeypatch):
    monkeypatch.setattr(fonts, "_shapes", lambda: False)
    (word, phrase, mixed, pointed, arabic), *_ = fonts.legible(
        ["שלום", "שלום עולם", "a שלום b", "שָׁלוֹם", "سلام"], ["sans-serif"]
    )
    assert word == "םולש" and phrase == "םלוע םולש" and mixed == "a םולש b" and arabic == "سلام"
    assert pointed == "ם" + "וֹ" + "ל" + "שָׁ"  # points stay with their letter
    monkeypatch.setattr(fonts, "_shapes", lambda: True)
    assert fonts.legible(["שלום"], ["sans-serif"])[0] == ["שלום"]


def test_square_letters_take_more_room():
    assert canvas.letters("注意") > canvas.letters("ab") == 2


def test_no_font_of_boxes_no_font_of_pictures_and_no_broken_file(tmp_path):
    assert not any("Last Resort" in font.family for font in fonts.installed())
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"not a font")
    assert fonts.characters(str(broken)) == frozenset()
    assert fonts.characters(str(tmp_path / "gone.ttf")) == frozenset()
