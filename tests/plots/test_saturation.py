"""What is drawn about saturation is measured, and is what the softmax does."""

import math

import numpy as np
import pytest
from matplotlib import pyplot

from minattn.plots import saturation
from minattn.plots.saturation import measure

SMALL = {"S": 16, "queries": 64}


def test_tiny_scales_leave_all_weights_alike():
    measured = measure((4, 64), [1e-9], **SMALL)
    np.testing.assert_allclose(measured.entropy, 1, atol=1e-12)
    # dscores = (dweights - their mean) / S, and dweights has norm 1
    np.testing.assert_allclose(measured.gradient, 1 / 16, rtol=0.05)


def test_huge_scales_leave_one_weight_and_no_gradient():
    measured = measure((4, 64), [1e6], **SMALL)
    np.testing.assert_allclose(measured.entropy, 0, atol=1e-12)
    np.testing.assert_allclose(measured.gradient, 0, atol=1e-12)


def test_one_over_the_root_of_D_makes_all_sizes_alike_and_no_scale_does_not():
    measured = measure((16, 64, 1024), [1.0], S=64, queries=512)
    assert np.ptp(measured.usual_entropy) < 0.02 and measured.usual_entropy.min() > 0.8
    assert measured.usual_gradient.max() < 1.3 * measured.usual_gradient.min()
    assert (np.diff(measured.entropy[:, 0]) < -0.05).all()  # the more features, the sharper
    assert (measured.gradient[1:, 0] < measured.gradient[:-1, 0] / 2).all()


def test_the_usual_scale_is_one_over_the_root_of_D():
    measured = measure(64, [1 / 8], **SMALL)
    np.testing.assert_array_equal(measured.usual_entropy, measured.entropy)
    np.testing.assert_array_equal(measured.usual_gradient, measured.gradient)


def test_the_entropy_is_that_of_the_weights():
    measured = measure(2, [0.7], S=3, queries=1, rng=5)
    rng = np.random.default_rng(5)
    query, key, dweights = rng.normal(size=2), rng.normal(size=(3, 2)), rng.normal(size=3)
    weights = np.exp(0.7 * key @ query)
    weights /= weights.sum()
    np.testing.assert_allclose(measured.entropy, -(weights @ np.log(weights)) / math.log(3), rtol=1e-13)
    dscores = (np.diag(weights) - np.outer(weights, weights)) @ dweights / np.linalg.norm(dweights)
    np.testing.assert_allclose(measured.gradient, np.linalg.norm(dscores), rtol=1e-13)


def test_same_seed_same_numbers_and_a_generator_goes_on():
    rng = np.random.default_rng(3)
    first, second, again = (measure(4, rng=seed, **SMALL).entropy for seed in (rng, rng, 3))
    assert (first == again).all() and (first != second).any()


def test_a_line_for_each_size_on_log_axes():
    entropy, gradient = saturation((4, 512), np.logspace(-2, 2, 9), title="why", **SMALL)
    entropy.figure.canvas.draw()
    measured = measure((4, 512), np.logspace(-2, 2, 9), **SMALL)
    for ax, lines, usual in (
        (entropy, measured.entropy, measured.usual_entropy),
        (gradient, measured.gradient, measured.usual_gradient),
    ):
        drawn = [line for line in ax.get_lines() if line.get_label() != "_nolegend_"]
        for line, values in zip(drawn, lines, strict=True):
            np.testing.assert_array_equal(line.get_xdata(), measured.scale)
            np.testing.assert_array_equal(line.get_ydata(), values)
        assert ax.get_xscale() == "log" and [t.get_text() for t in ax.get_legend().get_texts()] == ["D=4", "D=512"]
        marks = [mark.get_offsets()[0] for mark in ax.collections]
        np.testing.assert_allclose(marks, [(1 / 2, *usual[0]), (1 / math.sqrt(512), *usual[1])])
    assert (entropy.get_yscale(), gradient.get_yscale()) == ("linear", "log")
    assert entropy.figure.get_suptitle() == "why"


def test_the_given_axes_are_drawn_on_and_returned():
    figure, pair = pyplot.subplots(1, 2)
    assert (saturation(4, axes=pair, **SMALL) == pair).all() and pyplot.get_fignums() == [figure.number]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"D": ()}, ValueError, "D is empty"),
        ({"D": (4, 0)}, ValueError, "D must be a whole number of at least 1 but is 0"),
        ({"S": 1}, ValueError, "S must be at least 2: one key alone has weight 1 whatever the scale"),
        ({"scale": [1.0, 0.0]}, ValueError, "scale must be a row of numbers > 0"),
        ({"scale": [np.inf]}, ValueError, "scale must be a row"),
        ({"scale": ["x"]}, TypeError, "scale must hold real numbers"),
    ],
)
def test_errors_teach_and_leave_no_figure_open(options, error, words):
    with pytest.raises(error, match=words):
        saturation(**options)
    assert pyplot.get_fignums() == []
