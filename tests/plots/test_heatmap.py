"""A heatmap says what the weights say, whatever the tokens are, and leaves nothing behind."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from device import DeviceArray
from matplotlib import pyplot
from matplotlib.patches import PathPatch

from minattn import masks
from minattn.plots import heatmap

TOKENS = ["$a_b$", "100%", "\\alpha^2", "_x", "{", "a b"]


@pytest.fixture
def weights():
    rng = np.random.default_rng(0)
    return rng.dirichlet(np.ones(6), size=5)


def texts(axis):
    return [tick.get_text() for tick in axis.get_ticklabels()]


def patches(ax, hatch):
    return [patch for patch in ax.patches if isinstance(patch, PathPatch) and patch.get_hatch() == hatch]


def covered(ax, hatch, shape):
    """The cells whose middle lies in a hatched patch."""
    (patch,) = patches(ax, hatch)
    path = patch.get_path()
    middles = [(s, t) for t in range(shape[0]) for s in range(shape[1])]
    return path.contains_points(middles).reshape(shape)


def test_rows_are_queries_from_the_top_and_columns_are_keys(weights):
    ax = heatmap(weights, "abcde", TOKENS, title="one head")
    ax.figure.canvas.draw()
    image = ax.images[0]
    np.testing.assert_array_equal(image.get_array(), weights)
    assert image.get_extent() == [-0.5, 5.5, 4.5, -0.5] and ax.get_ylim() == (4.5, -0.5)
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == ("one head", "looks at (key)", "query")
    assert image.cmap.name == "cividis" and ax.figure.axes[1].get_ylabel() == "weight"


def test_tokens_are_written_as_they_are_and_never_parsed(weights):
    ax = heatmap(weights, TOKENS[:5], TOKENS)
    ax.figure.canvas.draw()
    assert texts(ax.xaxis) == TOKENS and texts(ax.yaxis) == TOKENS[:5]
    assert not any(tick.get_parse_math() or tick.get_usetex() for tick in ax.get_xticklabels() + ax.get_yticklabels())


def test_tokens_that_cannot_be_seen_are_made_visible(weights):
    ax = heatmap(weights, None, ["", " ", " the", "\n", "internationalization", 7])
    ax.figure.canvas.draw()  # a glyph that the font lacks would warn here
    assert texts(ax.xaxis) == ["∅", "␣", "␣the", "\\n", "internationaliz…", "7"]


def test_a_font_without_the_mark_of_a_space_does_not_matter(weights):
    with matplotlib.rc_context({"font.family": "cmr10", "axes.formatter.use_mathtext": True}):
        heatmap(weights, None, " the x").figure.canvas.draw()


def test_labels_are_thinned_turned_and_shrunk_until_they_can_be_read():
    many = heatmap(np.eye(300), [f"token{i}" for i in range(300)], [f"key{i}" for i in range(300)])
    for axis in (many.xaxis, many.yaxis):
        numbers = [int(text.strip("tokeny")) for text in texts(axis)]
        assert 30 < len(numbers) <= 150
        assert numbers == list(axis.get_ticklocs()) == list(range(0, 300, numbers[1]))
        assert all(6 <= tick.get_size() <= 10 for tick in axis.get_ticklabels())
    assert {tick.get_rotation() for tick in many.get_xticklabels()} == {90}


@pytest.mark.parametrize("shape", [(40, 46), (3, 4), (48, 48)])
def test_letters_all_fit_and_do_not_overlap(shape):
    ax = heatmap(np.ones(shape), ["AH"] * shape[0], ["m"] * (shape[1] - 1) + ["<end>"])
    ax.figure.canvas.draw()
    assert [len(texts(ax.yaxis)), len(texts(ax.xaxis))] == list(shape)
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
        boxes = [label.get_window_extent() for label in labels]
        assert not any(one.overlaps(other) for one, other in zip(boxes, boxes[1:], strict=False))
    assert {tick.get_rotation() for tick in ax.get_xticklabels()[:-1]} == {0}


def test_without_labels_positions_are_whole_numbers():
    ax = heatmap(np.ones((1, 5)))
    ax.figure.canvas.draw()
    inside = [place for place in ax.get_yticks() if -0.5 < place < 0.5]
    assert inside == [0] and set(ax.get_xticks()) >= {0, 1, 2, 3, 4}


def test_masked_cells_are_hatched_and_grey():
    rule = masks.causal()
    allowed = np.tril(np.ones((4, 4), dtype=bool))
    weights = np.where(allowed, 0.25, 0.0)
    for mask in (rule, allowed, DeviceArray(allowed)):
        ax = heatmap(weights, mask=mask)
        np.testing.assert_array_equal(covered(ax, "////", (4, 4)), ~allowed)
        np.testing.assert_array_equal(ax.images[0].get_array().mask, ~allowed)
        assert "may not look" in ax.figure.axes[1].get_ylabel()
    assert not heatmap(weights).patches


def test_a_weight_where_nobody_may_look_keeps_its_colour(weights):
    allowed = np.ones(weights.shape, dtype=bool)
    allowed[1, 2] = False
    ax = heatmap(weights, mask=allowed, annot=True)
    assert covered(ax, "////", weights.shape).sum() == 1
    assert not np.ma.getmaskarray(ax.images[0].get_array()).any() and len(ax.texts) == weights.size


def test_nan_is_crossed_and_zero_rows_have_the_colour_of_vmin(weights):
    weights[0, 1], weights[3, 2], weights[4] = np.nan, -np.inf, 0
    ax = heatmap(weights, annot=True)
    ax.figure.canvas.draw()
    np.testing.assert_array_equal(covered(ax, "xxxx", weights.shape), ~np.isfinite(weights))
    np.testing.assert_array_equal(ax.images[0].get_array().mask, ~np.isfinite(weights))
    assert len(ax.texts) == weights.size - 2
    hidden = heatmap(weights, mask=np.isfinite(weights))  # what may not be seen is masked, not missing
    assert not patches(hidden, "xxxx") and patches(hidden, "////")


def test_limits(weights):
    assert heatmap(weights).images[0].get_clim() == (0, weights.max())
    assert heatmap(weights, vmax=1).images[0].get_clim() == (0, 1)
    assert heatmap(-weights, vmin=None).images[0].get_clim() == (-weights.max(), -weights.min())
    assert heatmap(0 * weights).images[0].get_clim() == (0, 1)
    assert heatmap(np.full((2, 2), np.nan)).images[0].get_clim() == (0, 1)
    assert heatmap(weights, vmax=0.1).images[0].colorbar.extend == "max"
    heatmap(0 * weights, vmax=0).figure.canvas.draw()


def test_a_center_makes_colours_that_differ_by_sign():
    gradients = np.array([[-0.5, 0.0], [0.1, np.nan]])
    ax = heatmap(gradients, center=0, cbar_label="gradient", annot=True)
    image = ax.images[0]
    assert image.get_clim() == (-0.5, 0.5) and image.cmap.name == "RdBu_r"
    assert image.colorbar.ax.get_ylabel() == "gradient\ncrossed: not a number"
    assert heatmap(gradients, center=0, vmax=0.2).images[0].get_clim() == (-0.2, 0.2)
    assert heatmap(gradients, center=1, cmap="cividis").images[0].get_clim() == (-0.5, 2.5)
    assert heatmap(0 * gradients, center=0).images[0].get_clim() == (-1, 1)
    with pytest.raises(ValueError, match=r"vmax=-1 must lie above center=0"):
        heatmap(gradients, center=0, vmax=-1)


def test_numbers_are_readable_on_their_colour():
    weights = np.array([[0.0, 0.25, 1.0]])
    ax = heatmap(weights, annot=True, fmt=".0%")
    assert [text.get_text() for text in ax.texts] == ["0%", "25%", "100%"]
    assert [text.get_color() for text in ax.texts] == ["white", "white", "black"]
    assert [text.get_position() for text in ax.texts] == [(0, 0), (1, 0), (2, 0)]
    ax.figure.canvas.draw()
    assert not heatmap(weights).texts
    assert not any(text.get_parse_math() for text in ax.texts)


def test_the_given_axes_are_drawn_on_and_returned(weights):
    figure, (left, right) = pyplot.subplots(1, 2)
    pyplot.sca(right)
    assert heatmap(weights, ax=left, cbar=False) is left
    assert figure.axes == [left, right] and pyplot.gca() is right and pyplot.get_fignums() == [figure.number]
    assert heatmap(weights, ax=right).images[0].colorbar.ax in figure.axes


def test_a_figure_of_its_own_is_new_and_fits_what_is_drawn(weights):
    first, second = heatmap(weights), heatmap(np.ones((40, 46)))
    assert first.get_aspect() == "auto"
    assert first.figure is not second.figure
    assert (second.figure.get_size_inches() > first.figure.get_size_inches()).all()
    words = heatmap(np.ones((40, 46)), ["a long label"] * 40, ["another long one"] * 46)
    assert (words.figure.get_size_inches() > second.figure.get_size_inches()).all()
    assert (heatmap(np.ones((2000, 1))).figure.get_size_inches() <= 16).all()


def test_nothing_is_cut_off(weights):
    title = "A title that is far longer than the figure is wide, and so has to be written in more than one line"
    weights[0, 0] = np.nan
    mask = np.tril(np.ones(weights.shape, dtype=bool))
    ax = heatmap(weights, ["internationalization"] * 5, ["x" * 20] * 6, mask=mask, title=title)
    ax.figure.canvas.draw()
    paper, drawn = ax.figure.bbox, ax.figure.get_tightbbox().transformed(ax.figure.dpi_scale_trans)
    assert drawn.x0 >= 0 and drawn.y0 >= 0 and drawn.x1 <= paper.x1 and drawn.y1 <= paper.y1


def test_styles_with_grids_and_other_defaults_do_not_matter(weights):
    with matplotlib.rc_context({"axes.grid": True, "image.origin": "lower", "image.cmap": "jet"}):
        ax = heatmap(weights)
        ax.figure.canvas.draw()
    assert ax.get_ylim() == (4.5, -0.5) and not any(line.get_visible() for line in ax.get_xgridlines())


def test_arrays_of_a_device_integers_and_half_precision(weights):
    np.testing.assert_array_equal(heatmap(DeviceArray(weights)).images[0].get_array(), weights)
    heatmap(weights.astype(np.float16)).figure.canvas.draw()
    heatmap([[1, 0], [0, 1]], DeviceArray(np.array([7, 3]))).figure.canvas.draw()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"keys": list("abcdefg")}, ValueError, r"keys has 7 labels but weights \(5, 6\) has S=6 columns"),
        ({"queries": "ab"}, ValueError, r"queries has 2 labels but weights \(5, 6\) has T=5 rows"),
        ({"queries": 5}, TypeError, "queries must be a sequence of labels but is a int"),
        ({"weights": np.ones(6)}, ValueError, r"weights \(6,\) must be \(T, S\).*weights\[None\]"),
        ({"weights": np.ones((2, 5, 6))}, ValueError, r"has 3 axes.*choose one head, as in weights\[0\]"),
        ({"weights": np.ones((1, 2, 5, 6))}, ValueError, r"has 4 axes.*one head, as in weights\[0, 0\]"),
        ({"weights": np.ones((0, 6))}, ValueError, "is empty: there is nothing to draw"),
        (
            {"weights": np.ones((5, 6), dtype=complex)},
            TypeError,
            "weights must hold real numbers but has dtype complex",
        ),
        ({"weights": [["a"]]}, TypeError, "weights must hold real numbers"),
        ({"mask": np.ones((5, 6))}, TypeError, "mask must be boolean, True = may look"),
        ({"mask": np.ones((6, 5), dtype=bool)}, ValueError, r"mask has shape \(6, 5\)"),
        ({"vmin": 1.0, "vmax": 0.5}, ValueError, r"vmin=1.0 must not lie above vmax=0.5"),
        ({"annot": True, "fmt": "?"}, ValueError, "format"),
        ({"cmap": "no such colours"}, ValueError, "no such colours"),
    ],
)
def test_errors_teach_and_leave_no_figure_open(weights, change, error, words):
    with pytest.raises(error, match=words):
        heatmap(**{"weights": weights, **change})
    assert pyplot.get_fignums() == []


def test_without_matplotlib_one_sentence_says_what_to_do(weights, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'^figures need matplotlib: pip install "minattn\[plots\]"$'):
        heatmap(weights)


def test_matplotlib_is_imported_only_when_something_is_drawn():
    code = "import sys, minattn.plots; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_axes_that_are_shared():
    """The inner labels are hidden, and there all the same."""
    figure, axes = pyplot.subplots(2, 2, sharex=True, sharey=True)
    for ax in axes.flat:
        heatmap(np.eye(3), "abc", "xyz", ax=ax)
    assert [tick.label1.get_text() for tick in axes[1, 0].xaxis.get_major_ticks()] == list("xyz")
    assert not axes[0, 1].xaxis.get_major_ticks()[0].label1.get_visible()
    pyplot.close(figure)
