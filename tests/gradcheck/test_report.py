"""What a report says, as text, as HTML, as JSON; and that it is false wherever anything is wrong."""

import html.parser
import json
import math

import numpy as np
import pytest

from minattn.gradcheck import Likeness, Report, Row, gradcheck

RNG = np.random.default_rng(0)


def row(name="W", error=1.0, wrong=((0, 0),), shape=(2, 3), letters=(), **more):
    numeric = np.arange(1.0, 1 + math.prod(shape)).reshape(shape)
    mask = np.zeros(shape, dtype=bool)
    for place in wrong:
        mask[place] = True
    return Row(name, shape, error, wrong=mask, analytic=numeric + 10 * mask, numeric=numeric, letters=letters, **more)


RIGHT = row(error=1e-16, wrong=())


def report(*rows, **more):
    return Report(list(rows), 1e-3, 1e-12, "attention", **more)


@pytest.mark.parametrize(
    "found, right",
    [
        (report(), True),
        (report(RIGHT), True),
        (report(RIGHT, row()), False),
        (report(RIGHT._replace(error=1e-12)), True),
        (report(RIGHT._replace(error=1.0001e-12)), False),
        (report(RIGHT._replace(error=math.nan)), False),
        (report(RIGHT._replace(error=math.inf)), False),
        (report(RIGHT._replace(error=1e-8)), False),
        (report(RIGHT._replace(error=1e-8, tolerance=1e-7)), True),  # a tolerance of its own goes first
        (report(RIGHT._replace(error=1e-13, tolerance=1e-14)), False),
        (report(RIGHT, faults=("forward writes to x",)), False),
        (report(RIGHT, notes=("by central differences",)), True),
    ],
)
def test_truth(found, right):
    assert bool(found) is right and json.loads(found.json())["ok"] is right
    if right:
        assert found.assert_ok() is None
    else:
        with pytest.raises(AssertionError, match=r"not the derivative of forward \(tolerance 1e-12\)\n"):
            found.assert_ok()


def test_assert_ok_says_everything():
    found = report(
        RIGHT, row("x"), faults=("forward writes to x",), likenesses=(Likeness(("x",), "a sum", "It is.", "dx = 1"),)
    )
    with pytest.raises(AssertionError) as raised:
        found.assert_ok()
    assert str(raised.value).splitlines()[1:] == str(found).splitlines()
    assert str(found).splitlines() == [
        "  ok    W  (2, 3)  error 1.0e-16",
        "  WRONG x  (2, 3)  error 1.0e+00",
        "          1 of 6 elements wrong: all in index 0 of axis 0",
        "          x[0, 0] is 11, should be 1",
        "  WRONG forward writes to x",
        "  x looks like: a sum. It is. Right: dx = 1",
    ]
    assert repr(found) == str(found)


def test_details_name_the_worst_element():
    one = row("W_query", letters=("M", "H", "D"), shape=(4, 2, 3), wrong=[(3, 1, 0)])
    assert one.worst == (3, 1, 0)
    assert one.details() == [
        "1 of 24 elements wrong: all in m=3",
        "W_query[m=3, h=1, d=0] is 32, should be 22",
    ]
    gates = row("W_hidden", letters=("N", "4N"), shape=(3, 12), wrong=[(0, 3), (1, 4), (2, 5)])
    assert gates.details()[0] == "3 of 36 elements wrong: in the forget gate"
    assert gates.details()[1].startswith("W_hidden[n=0, gate=forget, n=0] is ")
    assert row(wrong=[(0,), (1,)]).details()[0] == "every element wrong"
    assert RIGHT.details() == [] and RIGHT.worst is None


def test_the_worst_element_is_wrong_and_nan_is_worse():
    one = row(wrong=[(0, 1), (1, 2)])
    one.analytic[1, 2] += 5
    assert one.worst == (1, 2)
    one.analytic[0, 0] = 1e9  # was not asked for
    assert one.worst == (1, 2)
    one.analytic[0, 1] = np.nan
    assert one.worst == (0, 1) and one.details()[1] == "W[0, 1] is nan, should be 2"
    assert Row("W", (2,), math.inf, "no gradient came back").details() == []


def test_error_is_the_largest():
    assert report(RIGHT, row(error=0.5), row(error=0.25)).error == 0.5
    assert report().error == 0.0


class Checked(html.parser.HTMLParser):
    """Every tag is closed by itself, in turn; `text` is what a reader sees."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], set(), ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.open += [tag] if tag != "br" else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_html_escapes_names_remarks_faults_and_likenesses():
    evil = "<script>&\"'</script>"
    found = report(
        row(evil, remark=evil),
        row(evil, error=math.inf, wrong=()),
        faults=(evil,),
        likenesses=(Likeness((evil,), evil, evil, evil),),
        notes=(evil,),
    )._replace(title=evil)
    seen = Checked(found._repr_html_())
    assert "script" not in seen.tags
    # title; name, remark and worst element of one row; name of the other; the fault; four of the likeness; the note
    assert seen.text.count(evil) == 11
    assert seen.tags == {"table", "caption", "thead", "tbody", "tr", "th", "td", "b", "code", "br", "p"}


def test_html_tells_right_from_wrong():
    seen = Checked(report(RIGHT, row("x"))._repr_html_())
    assert seen.text.count("✓ right") == 1 and seen.text.count("✗ wrong") == 1
    assert "x[0, 0] is 11, should be 1" in seen.text and "attention" in seen.text


def test_json_holds_what_the_text_says():
    found = report(
        RIGHT,
        row("x", remark="seen"),
        row("y", error=math.inf, wrong=()),
        row("z", error=math.nan),
        faults=("a",),
        notes=("b",),
        likenesses=(Likeness(("x",), "name", "why", "formula"),),
    )
    said = json.loads(found.json(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert said["title"] == "attention" and said["tolerance"] == 1e-12 and said["floor"] == 1e-3
    assert [one["ok"] for one in said["rows"]] == [True, False, False, False]
    assert [one["error"] for one in said["rows"]] == [1e-16, 1.0, None, None]
    assert said["rows"][1] == {
        "name": "x", "shape": [2, 3], "error": 1.0, "ok": False, "remark": "seen", "wrong": 1, "worst": [0, 0],
        "details": row("x").details(),
    }  # fmt: skip
    assert said["faults"] == ["a"] and said["notes"] == ["b"]
    assert said["likenesses"] == [{"arrays": ["x"], "name": "name", "why": "why", "formula": "formula"}]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_report_of_numbers_that_are_none(value):
    """From the checker itself: gradients with NaN and infinities are wrong, and can be shown in every form."""

    def backward(dout, x):
        dx = 2 * dout * x
        dx[1, 2] = value
        return dx

    found = gradcheck(lambda x: x * x, backward, (RNG.normal(size=(2, 3)),))
    assert not found and found.rows[0].worst == (1, 2)
    assert json.loads(found.json())["rows"][0]["error"] is None
    assert f"x[1, 2] is {value}, should be" in str(found)
    Checked(found._repr_html_())


def test_a_likeness_reads_as_a_sentence():
    assert str(Likeness(("q", "k"), "the scale", "It is gone.")) == "q, k look like: the scale. It is gone."
    assert str(Likeness(("q",), "a", "b.", "c")) == "q looks like: a. b. Right: c"
