"""Many heads share one scale of colours and one colour bar, and only the outer edges are labelled."""

import numpy as np
import pytest
from device import DeviceArray
from matplotlib import pyplot
from matplotlib.patches import PathPatch

from minattn import masks
from minattn.plots import fonts, heads


@pytest.fixture
def weights():
    return np.random.default_rng(0).dirichlet(np.ones(6), size=(2, 3, 5))  # L=2 H=3 T=5 S=6


def written(axis):
    return [tick.get_text() for tick in axis.get_ticklabels() if tick.get_visible()]


def test_layers_are_rows_heads_are_columns_in_one_scale(weights):
    axes = heads(weights, "abcde", "uvwxyz", title="all heads")
    figure = axes[0, 0].figure
    figure.canvas.draw()
    assert axes.shape == (2, 3)
    for place in np.ndindex(2, 3):
        np.testing.assert_array_equal(axes[place].images[0].get_array(), weights[place])
        assert axes[place].images[0].get_clim() == (0, weights.max())
    assert len(figure.axes) == 7 and figure.axes[-1].get_ylabel() == "weight"
    assert [ax.get_title() for ax in axes.flat] == ["head 0", "head 1", "head 2", "", "", ""]
    assert [ax.get_ylabel() for ax in axes.flat] == ["layer 0", "", "", "layer 1", "", ""]
    said = [figure.get_suptitle(), figure.get_supxlabel(), figure.get_supylabel()]
    assert said == ["all heads", "looks at (key)", "query"]


def test_labels_stand_at_the_outer_edges_alone(weights):
    axes = heads(weights, "abcde", "uvwxyz")
    assert [written(ax.yaxis) for ax in axes.flat] == [list("abcde"), [], []] * 2
    assert [written(ax.xaxis) for ax in axes.flat] == [[]] * 3 + [list("uvwxyz")] * 3
    assert not axes[0, 1].get_yticks().size and not axes[0, 1].get_xticks().size


def test_heads_of_one_layer_stand_four_in_a_row():
    axes = heads(np.ones((6, 2, 2)), "ab", "cd")
    axes[0].figure.canvas.draw()
    assert axes.shape == (6,) and [ax.get_title() for ax in axes] == [f"head {h}" for h in range(6)]
    assert [bool(written(ax.yaxis)) for ax in axes] == [True, False, False, False, True, False]
    assert [bool(written(ax.xaxis)) for ax in axes] == [False, False, True, True, True, True]  # nothing is below
    tops = [ax.get_position().y0 for ax in axes]
    assert tops[0] == pytest.approx(tops[3]) and tops[4] < tops[0]


def test_panels_too_small_for_labels_have_none():
    axes = heads(np.ones((12, 12, 4, 4)), "abcd", "abcd")
    assert not any(written(ax.xaxis) + written(ax.yaxis) for ax in axes.flat)
    assert [ax.get_ylabel() for ax in axes[:, 0]] == [f"layer {layer}" for layer in range(12)]
    assert (axes[0, 0].figure.get_size_inches() <= 16).all()


def test_masks_are_hatched_in_every_panel_and_named_once(weights):
    weights[1, 2, 0, 0] = np.nan
    axes = heads(weights, mask=masks.causal(offset=0))
    assert all(any(isinstance(p, PathPatch) and p.get_hatch() == "////" for p in ax.patches) for ax in axes.flat)
    label = axes[0, 0].figure.axes[-1].get_ylabel()
    assert label == "weight\nhatched: may not look\ncrossed: not a number"
    one = np.ones(weights.shape, dtype=bool)
    one[0, 1] = False
    hatched = [bool(ax.patches) for ax in heads(weights[:, :, 1:], mask=one[:, :, 1:]).flat]
    assert hatched == [False, True, False, False, False, False]


def test_titles_take_the_place_of_numbers(weights):
    titles = [["a", "b", "c"], ["d", "e", "f"]]
    assert [ax.get_title() for ax in heads(weights, titles=titles).flat] == list("abcdef")
    assert [ax.get_title() for ax in heads(weights[0], titles="x y z".split())] == ["x", "y", "z"]


def test_the_given_axes_are_drawn_on_and_returned(weights):
    figure, given = pyplot.subplots(2, 3)
    axes = heads(weights, axes=given, cbar=False)
    assert (axes == given).all() and len(figure.axes) == 6 and pyplot.get_fignums() == [figure.number]
    assert figure.get_supxlabel() == ""


def test_several_arrays_of_a_device(weights):
    axes = heads([DeviceArray(layer) for layer in weights])
    np.testing.assert_array_equal(axes[1, 2].images[0].get_array(), weights[1, 2])
    assert heads(DeviceArray(weights)).shape == (2, 3)


def test_advice_about_fonts_stands_once_below_all(weights, monkeypatch):
    monkeypatch.setattr(fonts, "installed", list)
    axes = heads(weights, ["注意"] * 5, ["意"] * 6, title="注意")
    figure = axes[0, 0].figure
    figure.canvas.draw()
    assert figure.get_supxlabel() == f"looks at (key)\n{fonts.ADVICE}"
    assert not any(ax.get_xlabel() for ax in axes.flat) and figure.get_suptitle() == "U+6CE8 U+610F"


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"weights": np.ones((5, 6))}, ValueError, r"weights \(5, 6\) must be \(H, T, S\).*drawn by heatmap"),
        ({"weights": np.ones((1, 2, 3, 5, 6))}, ValueError, r"choose one sequence, as in weights\[:, 0\]"),
        ({"weights": np.ones((0, 5, 6))}, ValueError, "is empty"),
        ({"keys": "ab"}, ValueError, r"keys has 2 labels but weights \(2, 3, 5, 6\) has S=6 columns"),
        ({"queries": "ab"}, ValueError, "queries has 2 labels"),
        ({"titles": ["a"]}, ValueError, "titles has 1 entries but there are 6 panels"),
        ({"axes": [None]}, ValueError, "axes has 1 Axes but there are 6 panels to draw"),
        ({"mask": np.ones((6, 5), dtype=bool)}, ValueError, r"mask has shape \(6, 5\)"),
        ({"cmap": "no such colours"}, ValueError, "no such colours"),
    ],
)
def test_errors_teach_and_leave_no_figure_open(weights, change, error, words):
    with pytest.raises(error, match=words):
        heads(**{"weights": weights, **change})
    assert pyplot.get_fignums() == []
