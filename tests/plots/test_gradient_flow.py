"""Gradient flow stands on a log axis, and what cannot stand there is left out without a word of warning."""

import numpy as np
import pytest
from device import DeviceArray
from matplotlib import pyplot

from minattn.plots import gradient_flow


def entries(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_one_line_a_model_on_a_log_axis():
    norms = {"last state": np.logspace(-12, 0, 48), "attention": np.full(48, 0.1)}
    ax = gradient_flow(norms, title="flow")
    ax.figure.canvas.draw()
    assert ax.get_yscale() == "log" and entries(ax) == list(norms)
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == ("flow", "source position", "gradient norm")
    for line, values in zip(ax.get_lines(), norms.values(), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), np.arange(48))
        np.testing.assert_allclose(line.get_ydata(), values, rtol=1e-13)
    assert not ax.collections and ax.get_legend().get_title().get_text() == ""


def test_several_phrases_give_the_median_and_the_middle_half_of_the_logarithms():
    phrases = 10.0 ** np.array([[-4, -1], [-3, -2], [-2, -3], [-1, -4], [0, -9]])
    ax = gradient_flow({"lstm": phrases})
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), [1e-2, 1e-3])
    (band,) = ax.collections
    heights = {round(float(np.log10(y)), 9) for x, y in band.get_paths()[0].vertices if x == 0}
    assert heights == {-3, -2 + 1}
    assert ax.get_legend().get_title().get_text() == "line: median, band: middle half"
    assert not gradient_flow({"one phrase": phrases[:1]}).collections


def test_an_even_number_of_phrases_has_the_geometric_middle():
    ax = gradient_flow({"lstm": [[1e-4], [1e-2]]})
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), [1e-3])


def test_zeros_nan_and_infinity_are_left_out():
    ax = gradient_flow({"lstm": [[1, 0, np.nan, 2], [np.inf, 4, 0, 2], [1, 4, 0, np.nan]]})
    ax.figure.canvas.draw()
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), [1, 4, np.nan, 2])


def test_what_is_left_out_has_a_mark_at_the_foot():
    ax = gradient_flow({"rnn": [1, 0, np.nan, np.inf, 2], "lstm": [[1, 0, 0, 1, 1], [0, 0, np.nan, 1, 1]]})
    ax.figure.canvas.draw()
    marks = [(*mark.get_offsets()[:, 0], mark.get_offsets()[0, 1]) for mark in ax.collections]
    assert [mark[:-1] for mark in marks] == [
        (1,),
        (2, 3),
        (1,),
        (2,),
    ]  # zeros, then what is not finite, by line
    assert marks[0][-1] == marks[1][-1] < marks[2][-1] == marks[3][-1] < 0.1  # a row of marks for each line
    foot = ax.transAxes.inverted().transform(ax.transData.transform([(0, 1)]))[0, 1]
    assert foot > marks[2][-1]  # the lowest norm stands above them
    assert ax.get_legend().get_title().get_text() == "at the foot: triangle 0, cross not finite"
    assert not gradient_flow({"rnn": [1.0, 2.0]}).collections


def test_layers_of_models_that_differ_in_depth():
    ax = gradient_flow({"norm first": np.ones(4), "norm last": np.logspace(-3, 0, 6)}, xlabel="layer")
    assert [len(line.get_xdata()) for line in ax.get_lines()] == [4, 6] and ax.get_xlabel() == "layer"


def test_all_zero_is_said_in_words():
    ax = gradient_flow({"rnn": np.zeros(5), "lstm": np.full((2, 5), np.nan)})
    ax.figure.canvas.draw()
    assert "above 0" in ax.texts[0].get_text()
    assert ax.get_xlim() == (-0.5, 4.5)
    some = gradient_flow({"rnn": np.zeros(5), "lstm": np.ones(5)})
    assert not some.texts and entries(some) == ["rnn (no norm above 0)", "lstm"]


def test_models_differ_without_colour():
    ax = gradient_flow({str(i): np.ones(3) for i in range(40)})
    looks = [(line.get_color(), line.get_marker()) for line in ax.get_lines()]
    dashes = [(line.get_marker(), str(line._unscaled_dash_pattern)) for line in ax.get_lines()]
    assert len(set(looks)) == len(set(dashes)) == 40
    assert len({color for color, _ in looks[:7]}) == 7


def test_names_and_tokens_are_data():
    names, tokens = ["_nol", "$a_b$", "50%"], ["$x$", "", " ", "_", "\\"]
    ax = gradient_flow(dict.fromkeys(names, np.ones(5)), tokens=tokens)
    ax.figure.canvas.draw()
    assert entries(ax) == names
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["$x$", "∅", "␣", "_", "\\"]
    texts = ax.get_legend().get_texts() + ax.get_xticklabels()
    assert not any(text.get_parse_math() or text.get_usetex() for text in texts)


def test_few_long_tokens_stand_upright_and_letters_stay():
    ax = gradient_flow({"lstm": np.ones(48)}, tokens=["m"] * 46 + ["<s>", "</s>"])
    assert [tick.get_rotation() for tick in ax.get_xticklabels()] == [0] * 46 + [90] * 2
    ax = gradient_flow({"lstm": np.ones(48)}, tokens=["m", "value"] * 24)
    assert {tick.get_rotation() for tick in ax.get_xticklabels()} == {90}


def test_labels_take_the_place_of_names():
    assert entries(gradient_flow({"a": np.ones(3), "b": np.ones(3)}, labels=["LSTM", "RNN"])) == ["LSTM", "RNN"]


def test_the_given_axes_are_drawn_on_and_returned():
    figure, ax = pyplot.subplots()
    assert gradient_flow({"a": np.ones(3)}, ax=ax) is ax
    assert gradient_flow({"b": np.ones(3)}, ax=ax) is ax
    first, second = ax.get_lines()
    assert first.get_color() != second.get_color() and entries(ax) == ["a", "b"]
    assert pyplot.get_fignums() == [figure.number]


def test_a_value_between_gaps_is_seen_on_a_long_line():
    norms = np.zeros(1000)
    norms[[3, 501]] = 1
    norms[700:900] = 1
    marked = gradient_flow({"a": norms}).get_lines()[0].get_markevery()
    assert {3, 501} <= set(marked) and len(marked) < 100


def test_arrays_of_a_device():
    there = DeviceArray(np.array([1.0, 2.0]))
    np.testing.assert_allclose(gradient_flow({"a": there}).get_lines()[0].get_ydata(), [1, 2])


@pytest.mark.parametrize(
    ("norms", "options", "error", "words"),
    [
        (np.ones(3), {}, TypeError, r'norms must be a dict name -> array.*ndarray: write \{"model": norms\}'),
        ({}, {}, ValueError, "norms is empty"),
        ({"a": np.ones((2, 3, 4))}, {}, ValueError, r"norms\['a'\] must be \(S,\), or \(R, S\).*\(2, 3, 4\)"),
        ({"a": []}, {}, ValueError, r"norms\['a'\] must be \(S,\)"),
        ({"a": [1.0, -2.0]}, {}, ValueError, r"norms\['a'\] holds -2.0: a norm is never negative"),
        ({"a": ["x"]}, {}, TypeError, r"norms\['a'\] must hold real numbers"),
        ({"a": np.ones(3)}, {"tokens": "ab"}, ValueError, "tokens has 2 labels but norms has S=3 source positions"),
        ({"a": np.ones(3)}, {"labels": ["x", "y"]}, ValueError, "labels has 2 entries but norms has 1: a"),
    ],
)
def test_errors_teach_and_leave_no_figure_open(norms, options, error, words):
    with pytest.raises(error, match=words):
        gradient_flow(norms, **options)
    assert pyplot.get_fignums() == []
