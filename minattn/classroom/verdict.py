"""What a check says: a mark for each property, what the mistake looks like, where to go on; as text, HTML and data."""

import html
from typing import NamedTuple

from minattn.gradcheck.report import RIGHT, WRONG

OK, WRONG_ANSWER, MISSING, CRASHED = "OK", "WRONG", "NOT IMPLEMENTED", "CRASHED"
DELEGATED, NUMERICAL, TIMEOUT, ENVIRONMENT = "DELEGATED", "NUMERICAL", "TIMEOUT", "ENVIRONMENT"

OWED = 0.1  # of all points


class Mark(NamedTuple):
    """One property: said is "" where it holds. hidden: what is said is kept from the student."""

    name: str
    passed: bool
    said: str = ""
    points: int = 1
    hidden: bool = False


class Verdict(NamedTuple):
    """True where the exercise is solved. outcome: one word; said: why; names: the mistakes it looks like."""

    exercise: str
    outcome: str
    marks: tuple = ()
    said: str = ""
    names: tuple = ()
    likely: tuple = ()
    note: str = ""

    def __bool__(self):
        return self.outcome == OK

    @property
    def earned(self):
        """The share of the points: 1 where all is right, 0 where somebody else did the work.

        Half for the properties, by their weight, and half for being right on other numbers; less a tenth for each that
        everybody owes: the shape, inputs untouched, a second call that gives the same.
        """
        if self.outcome != WRONG_ANSWER:
            return float(bool(self))
        halves = [[m for m in self.marks if m.points and m.hidden == hidden] for hidden in (False, True)]
        shares = [sum(m.points * m.passed for m in half) / sum(m.points for m in half) for half in halves if half]
        owed = sum(not m.passed for m in self.marks if not m.points)
        return max(0.0, sum(shares) / max(len(shares), 1) - OWED * owed)

    def assert_ok(self):
        """Raise AssertionError with all that is known where it is not solved."""
        __tracebackhide__ = True
        if not self:
            raise AssertionError(f"{self}")

    def lines(self):
        """Everything below the title, without what is hidden: (kind, text)."""
        found = [("said", self.said)] if self.said else []
        for mark in self.marks:
            said = "" if mark.passed or mark.hidden or not mark.said else f": {mark.said}"
            found.append(("right" if mark.passed else "wrong", f"{mark.name}{said}"))
        found += [("likely", f"It looks like: {likely}") for likely in self.likely]
        return found + ([("note", self.note)] if self.note else [])

    def __str__(self):
        marks = {"right": "  ok    ", "wrong": "  WRONG "}
        return "\n".join(
            [f"{self.exercise}: {self.outcome}", *(marks.get(kind, "  ") + said for kind, said in self.lines())]
        )

    __repr__ = __str__

    def _repr_html_(self):
        return as_html(self)


def as_html(verdict):
    """A short list with inline colours alone, for a notebook or a page."""
    colour = RIGHT if verdict else "inherit" if verdict.outcome == MISSING else WRONG
    mark = "✓" if verdict else "○" if verdict.outcome == MISSING else "✗"
    parts = [f'<p style="margin:4px 10px"><b style="color:{colour}">{mark} {html.escape(verdict.outcome)}</b> ']
    parts[0] += f"<code>{html.escape(verdict.exercise)}</code></p>"
    for kind, said in verdict.lines():
        sign = {"right": f'<b style="color:{RIGHT}">✓</b> ', "wrong": f'<b style="color:{WRONG}">✗</b> '}.get(kind, "")
        parts.append(f'<p style="margin:2px 10px 2px 24px">{sign}{html.escape(said)}</p>')
    return "\n".join(parts)
