"""What a check found: a row for each array, what the mistake looks like, as text, as HTML and as JSON."""

import html
import json
import math
from typing import Any, NamedTuple

import numpy as np

from minattn.gradcheck.location import element, where

RIGHT, WRONG = "var(--right, #1a7f37)", "var(--wrong, #c62828)"  # a page may name its own, for a dark ground


class Row(NamedTuple):
    """One array: error = max |analytic - numeric| / max(max |numeric|, floor).

    wrong: which elements are off, None where shapes do not allow to say; analytic, numeric: both gradients. remark: how
    it was measured, where that is not the common way, and why no number can be given.
    """

    name: str
    shape: tuple
    error: float
    remark: str = ""
    tolerance: float | None = None
    wrong: Any = None
    analytic: Any = None
    numeric: Any = None
    letters: tuple = ()

    @property
    def worst(self):
        """The index of the element that is farthest off, None where nothing is wrong."""
        if self.wrong is None or not self.wrong.any():
            return None
        off = np.where(self.wrong, np.abs(np.nan_to_num(self.analytic - self.numeric, nan=np.inf)), -1)
        return np.unravel_index(off.argmax(), off.shape)

    def details(self):
        """Where it is wrong and how far, in one or two lines; none where it is right."""
        if self.worst is None:
            return []
        count, total = int(self.wrong.sum()), self.wrong.size
        share = "every element" if count == total else f"{count:,} of {total:,} elements"
        place = where(self.wrong, self.letters, self.numeric)
        found, right = self.analytic[self.worst], self.numeric[self.worst]
        at = element(self.name, self.worst, self.shape, self.letters)
        digits = ".6g" if f"{found:.6g}" != f"{right:.6g}" else ".17g"
        return [
            f"{share} wrong{': ' + place if place else ''}",
            f"{at} is {found:{digits}}, should be {right:{digits}}",
        ]


class Likeness(NamedTuple):
    """What a mistake looks like: the arrays that show it, the name of the mistake, why it is one, the right formula."""

    arrays: tuple
    name: str
    why: str
    formula: str = ""

    def __str__(self):
        right = f" Right: {self.formula}" if self.formula else ""
        look = "look" if len(self.arrays) > 1 else "looks"
        return f"{', '.join(self.arrays)} {look} like: {self.name}. {self.why}{right}"


class Report(NamedTuple):
    """One row for each input and parameter; floor: what errors are measured against where gradients are tiny.

    Some true gradients are exactly 0 (a bias of all keys under a softmax) or vanish (a saturated tanh), and rounding is
    no error: the floor is 1e-3 of the largest gradient of the whole problem, that of the output included.

    faults: what is wrong beside the arrays, such as inputs that were written to; likenesses: what the mistake looks
    like; notes: how it was measured.
    """

    rows: list
    floor: float
    tolerance: float
    title: str = ""
    faults: tuple = ()
    likenesses: tuple = ()
    notes: tuple = ()

    def right(self, row):
        """Is this row within its tolerance?"""
        return bool(row.error <= (self.tolerance if row.tolerance is None else row.tolerance))

    @property
    def error(self):
        """The largest error of all rows; NaN counts as infinite."""
        return max((row.error for row in self.rows), default=0.0)

    def __bool__(self):
        return not self.faults and all(map(self.right, self.rows))

    def __str__(self):
        width = max((len(row.name) for row in self.rows), default=0)
        shape = max((len(str(row.shape)) for row in self.rows), default=0)
        lines = []
        for row in self.rows:
            verdict, remark = "ok   " if self.right(row) else "WRONG", row.remark and "  " + row.remark
            lines.append(f"  {verdict} {row.name:{width}}  {row.shape!s:{shape}}  error {row.error:.1e}{remark}")
            lines += [f"          {line}" for line in ([] if self.right(row) else row.details())]
        lines += [f"  WRONG {fault}" for fault in self.faults]
        lines += [f"  {likeness}" for likeness in self.likenesses]
        lines += [f"  {note}" for note in self.notes]
        return "\n".join(lines)

    __repr__ = __str__

    def assert_ok(self):
        """Raise AssertionError with the whole report where anything is wrong."""
        __tracebackhide__ = True  # pytest shows the test
        if not self:
            raise AssertionError(f"backward is not the derivative of forward (tolerance {self.tolerance:g})\n{self}")

    def json(self):
        """The report as a JSON text: numbers that JSON does not know, such as infinity, are null."""
        rows = [
            {
                "name": row.name,
                "shape": list(row.shape),
                "error": row.error if math.isfinite(row.error) else None,
                "ok": self.right(row),
                "remark": row.remark,
                "wrong": None if row.wrong is None else int(row.wrong.sum()),
                "worst": None if row.worst is None else [int(i) for i in row.worst],
                "details": [] if self.right(row) else row.details(),
            }
            for row in self.rows
        ]
        content = {
            "title": self.title,
            "ok": bool(self),
            "tolerance": self.tolerance,
            "floor": self.floor,
            "rows": rows,
        }
        content |= {
            "faults": self.faults,
            "likenesses": [one._asdict() for one in self.likenesses],
            "notes": self.notes,
        }
        return json.dumps(content, indent=1, allow_nan=False)

    def _repr_html_(self):
        """A table for notebooks, with inline colours alone."""
        cell = "padding:2px 10px;text-align:left;vertical-align:top"
        short = cell + ";white-space:nowrap"  # words may wrap, numbers not
        lines = []
        for row in self.rows:
            right = self.right(row)
            details = "<br>".join(html.escape(line) for line in ([] if right else row.details()))
            mark = f'<b style="color:{RIGHT if right else WRONG}">{"✓ right" if right else "✗ wrong"}</b>'
            cells = mark, f"<code>{html.escape(row.name)}</code>", html.escape(str(row.shape)), f"{row.error:.1e}"
            text = "<br>".join(part for part in (html.escape(row.remark), details) if part)
            styled = zip((short, cell, short, short, cell), (*cells, text), strict=True)
            lines.append("<tr>" + "".join(f'<td style="{style}">{part}</td>' for style, part in styled) + "</tr>")
        heads = "".join(f'<th style="{cell}">{head}</th>' for head in ("", "gradient of", "shape", "error", "where"))
        below = "".join(
            f'<p style="margin:4px 10px;color:{colour}">{html.escape(str(line))}</p>'
            for colour, some in ((WRONG, self.faults), ("inherit", self.likenesses), ("inherit", self.notes))
            for line in some
        )
        title = f"{html.escape(self.title)}: gradients against tolerance {self.tolerance:g}"
        if not lines:
            return f'<p style="margin:4px 10px">{title}</p>{below}'
        table = f"<thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody>"
        return f"<table><caption>{title}</caption>{table}</table>{below}"
