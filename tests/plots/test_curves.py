"""Curves: one line a name, where x says, and gaps where there is nothing."""

import numpy as np
import pytest
from matplotlib import pyplot

from minattn.plots import curves

LABELS = {"xlabel": "source length (letters)", "ylabel": "phoneme error rate"}
LENGTHS = ["1–8", "9–16", "17–24", "25–32"]


def entries(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_strings_stand_side_by_side_in_their_order():
    series = {"last state": [0.1, 0.2, 0.4, 0.7], "attention": [0.1, 0.1, 0.1, 0.2]}
    ax = curves(series, LENGTHS, title="Error against length", **LABELS)
    ax.figure.canvas.draw()
    assert [tick.get_text() for tick in ax.get_xticklabels()] == LENGTHS
    assert [ax.get_title(), ax.get_xlabel(), ax.get_ylabel()] == ["Error against length", *LABELS.values()]
    assert entries(ax) == list(series)
    for line, values in zip(ax.get_lines(), series.values(), strict=True):
        assert list(line.get_xdata()) == [0, 1, 2, 3] and list(line.get_ydata()) == values
        assert line.get_marker() != "None"


def test_numbers_stand_where_they_are():
    ax = curves({"loss": [3.0, 2.0]}, np.array([10, 100]), **LABELS)
    assert list(ax.get_lines()[0].get_xdata()) == [10, 100]


def test_without_x_values_are_numbered_and_may_differ_in_length():
    ax = curves({"a": [3.0, 2.0], "b": [3.0, 2.0, 1.0]}, **LABELS)
    ax.figure.canvas.draw()
    assert [list(line.get_xdata()) for line in ax.get_lines()] == [[0, 1], [0, 1, 2]]
    assert all(place == int(place) for place in ax.get_xticks())


def test_fractions_as_percent_and_limits():
    ax = curves({"a": [0.1, 0.5]}, ylim=(0, None), percent=True, **LABELS)
    assert ax.get_ylim()[0] == 0 and ax.get_ylim()[1] > 0.5
    ax.figure.canvas.draw()
    assert "20%" in [tick.get_text() for tick in ax.get_yticklabels()]
    assert curves({"a": [0.05, 0.25]}, ylim=(0, 1), **LABELS).get_ylim() == (0, 1)


def test_what_is_not_finite_leaves_a_gap():
    ax = curves({"a": [1.0, np.nan, np.inf, 2.0]}, **LABELS)
    ax.figure.canvas.draw()
    np.testing.assert_array_equal(ax.get_lines()[0].get_ydata(), [1, np.nan, np.nan, 2])
    curves({"a": [np.nan]}, **LABELS).figure.canvas.draw()


def test_names_and_places_are_data():
    names = ["_hidden", "$a_b$", "\\frac"]
    ax = curves(dict.fromkeys(names, [1.0, 2.0]), ["$x^2$", "a_b"], **LABELS)
    ax.figure.canvas.draw()
    assert entries(ax) == names
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["$x^2$", "a_b"]
    assert not any(text.get_parse_math() for text in ax.get_legend().get_texts() + ax.get_xticklabels())


def test_the_given_axes_are_drawn_on_and_returned():
    figure, (ax, other) = pyplot.subplots(1, 2)
    ax.axhline(1.0)
    ax.plot([0, 1], label="_nolegend_")
    assert curves({"a": [1.0, 2.0]}, ax=ax, **LABELS) is ax
    curves({"b": [1.0, 2.0]}, ax=ax, **LABELS)
    a, b = ax.get_lines()[-2:]
    assert a.get_color() != b.get_color() and a.get_marker() != b.get_marker()
    assert entries(ax) == ["a", "b"] and pyplot.gca() is other and pyplot.get_fignums() == [figure.number]


@pytest.mark.parametrize(
    ("series", "options", "error", "words"),
    [
        ([1.0], {}, TypeError, r'series must be a dict name -> array.*list: write \{"model": series\}'),
        ({}, {}, ValueError, "series is empty"),
        ({"a": np.ones((2, 2))}, {}, ValueError, r"series\['a'\] must be a row.*\(2, 2\)"),
        ({"a": []}, {}, ValueError, r"series\['a'\] must be a row of at least one value"),
        ({"a": ["x"]}, {}, TypeError, r"series\['a'\] must hold real numbers"),
        ({"a": np.ones(5)}, {"x": range(6)}, ValueError, r"series\['a'\] has 5 values but x has 6"),
        ({"a": np.ones(5)}, {"x": 5}, TypeError, "x must be a sequence"),
        ({"a": np.ones(5)}, {"ylim": (0, "x")}, TypeError, "axis units"),
    ],
)
def test_errors_teach_and_leave_no_figure_open(series, options, error, words):
    with pytest.raises(error, match=words):
        curves(series, **options, **LABELS)
    assert pyplot.get_fignums() == []
