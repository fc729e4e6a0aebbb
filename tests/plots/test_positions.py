"""Positions are drawn in colours that differ by sign, and their dot products beside them."""

import numpy as np
import pytest
from matplotlib import pyplot

from minattn import positions as tables
from minattn.plots import positions


def test_waves_by_name_are_those_of_the_library():
    ax = positions("sinusoidal", T=10, M=6, title="waves")
    ax.figure.canvas.draw()
    image = ax.images[0]
    np.testing.assert_array_equal(image.get_array(), tables.sinusoidal(10, 6))
    assert image.get_clim() == (-1, 1) and image.cmap.name == "RdBu_r" and image.colorbar.ax.get_ylabel() == "value"
    assert [ax.get_title(), ax.get_xlabel(), ax.get_ylabel()] == ["waves", "feature", "place"]
    assert positions("sinusoidal").images[0].get_array().shape == (64, 64)


def test_a_learned_table_and_its_first_rows():
    table = np.random.default_rng(0).normal(size=(7, 4))
    reach = np.abs(table[:5]).max()
    image = positions(table, T=5).images[0]
    np.testing.assert_array_equal(image.get_array(), table[:5])
    assert image.get_clim() == (-reach, reach) and positions(table, vmax=0.5).images[0].get_clim() == (-0.5, 0.5)
    np.testing.assert_array_equal(positions(list(table), M=4, cbar=False).images[0].get_array(), table)


def test_how_alike_places_are_depends_on_the_distance_of_waves():
    left, right = positions("sinusoidal", T=10, M=6, alike=True, title="waves")
    left.figure.canvas.draw()
    alike = np.asarray(right.images[0].get_array())
    table = tables.sinusoidal(10, 6)
    np.testing.assert_allclose(alike[2, 5], table[2] @ table[5], rtol=1e-14)
    np.testing.assert_allclose(np.diagonal(alike, 3), alike[0, 3], rtol=1e-12)
    assert right.images[0].colorbar.ax.get_ylabel() == "dot product" and right.get_aspect() == 1
    assert left.get_title() == "waves" and right.get_title() == "how alike two places are"


def test_the_given_axes_are_drawn_on_and_returned():
    figure, pair = pyplot.subplots(1, 2)
    assert positions("sinusoidal", ax=pair[0], cbar=False) is pair[0]
    assert (positions("sinusoidal", ax=pair, alike=True, cbar=False) == pair).all()
    assert pyplot.get_fignums() == [figure.number] and len(figure.axes) == 2


@pytest.mark.parametrize(
    ("table", "options", "error", "words"),
    [
        ("rotary", {}, ValueError, "rotary and alibi have no table"),
        (np.ones(3), {}, ValueError, r"table \(3,\) must be \(T, M\)"),
        (np.ones((0, 3)), {}, ValueError, r"table \(0, 3\) must be"),
        (np.ones((4, 3)), {"T": 5}, ValueError, r"T=5 places were asked for but table \(4, 3\) has 4 rows"),
        (np.ones((4, 3)), {"M": 5}, ValueError, r"M=5 but table \(4, 3\) has M=3 features"),
        ("sinusoidal", {"T": 0}, ValueError, "T must be a whole number of at least 1"),
        ("sinusoidal", {"M": 2.5}, ValueError, "M must be a whole number of at least 1"),
        ([["a"]], {}, TypeError, "table must hold real numbers"),
        ("sinusoidal", {"alike": True, "ax": [None]}, ValueError, "axes has 1 Axes but there are 2 panels"),
    ],
)
def test_errors_teach_and_leave_no_figure_open(table, options, error, words):
    with pytest.raises(error, match=words):
        positions(table, **options)
    assert pyplot.get_fignums() == []
