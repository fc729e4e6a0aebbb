import numpy as np
import pytest
from device import DeviceArray

from minattn import masks
from minattn.masks import causal, document, padding, window

HERE = np.zeros(1)


def array(mask, shape, **tile):
    found = masks.array(mask, shape, like=HERE, **tile)
    return found if tile else np.broadcast_to(found, shape)


def test_causal():
    assert (array(causal(), (4, 4)) == np.tri(4, dtype=bool)).all()
    assert (array(causal(offset=2), (3, 5)) == np.tri(3, 5, 2, dtype=bool)).all()
    with pytest.raises(ValueError, match=r"S=5 keys the first of the T=3 queries stands at: write causal\(offset=2\)"):
        array(causal(), (3, 5))


def test_padding_stands_for_the_leading_axes_from_the_left():
    mask = array(padding([3, 1]), (2, 4, 3, 5))
    assert (mask[0, :, :, :3]).all() and not mask[0, :, :, 3:].any()
    assert (mask[1, :, :, :1]).all() and not mask[1, :, :, 1:].any()
    both = array(padding([3, 1], query_lengths=[1, 2]), (2, 3, 5))
    assert both.sum(axis=(1, 2)).tolist() == [3, 2]


@pytest.mark.parametrize(
    "lengths, shape, says",
    [
        ([3, 6], (2, 3, 5), "lengths must lie in 0 .. S = 5 but 6 came"),
        ([3, -1], (2, 3, 5), "but -1 came"),
        ([1, 2, 3], (2, 3, 5), r"lengths \(3,\) must stand for the leading axes \(2,\) of the batch"),
        ([[[1]]], (2, 3, 5), "from the left"),
    ],
)
def test_lengths_that_do_not_fit(lengths, shape, says):
    with pytest.raises(ValueError, match=says):
        array(padding(lengths), shape)


def test_window():
    ahead = np.arange(6) - np.arange(4)[:, None] - 1
    assert (array(window(2, 1, offset=1), (4, 6)) == ((ahead >= -2) & (ahead <= 1))).all()
    assert (array(window(None, 0), (4, 4)) == array(causal(), (4, 4))).all()
    assert array(window(None, None), (4, 4)).all()
    with pytest.raises(ValueError, match="left must be at least 0, or None for no border, but is -1"):
        window(-1, 0)


def test_document():
    ids = np.array([[0, 0, 1, 1], [5, 5, 5, 7]])
    mask = array(document(ids), (2, 3, 4, 4))
    assert (mask == (ids[:, None, :, None] == ids[:, None, None, :])).all()
    assert array(document([1, 2], [2, 2, 1]), (2, 3)).tolist() == [[False, False, True], [True, True, False]]
    tile = array(document(ids) & causal(), (2, 3, 4, 4), rows=slice(1, 3), columns=slice(0, 2))
    assert (np.broadcast_to(tile, (2, 3, 2, 2)) == (mask & np.tri(4, dtype=bool))[..., 1:3, 0:2]).all()
    with pytest.raises(
        ValueError, match=r"keys of document\(\) must be integers \(B, ..., 5\) but came as int64 \(2, 4\)"
    ):
        array(document(ids), (2, 4, 5))


def test_fractional_lengths():
    with pytest.raises(TypeError, match="lengths must be integers.*float64"):
        array(padding([1.0, 2.0]), (2, 3, 5))


def test_rules_and_arrays_combine_with_and():
    random = np.random.default_rng(0).random((2, 4, 4)) < 0.5
    expected = np.tri(4, dtype=bool) & (np.arange(4) < np.array([3, 2])[:, None, None]) & random
    for mask in (causal() & padding([3, 2]) & random, random & causal() & padding([3, 2])):
        assert isinstance(mask, masks.Rule)
        assert (array(mask, (2, 4, 4)) == expected).all()
    assert "Causal(offset=1), Padding(lengths=[1]" in repr(causal(offset=1) & padding([1]))


def test_a_tile_is_a_piece_of_the_whole():
    random = np.random.default_rng(0).random((2, 1, 6)) < 0.5
    mask = causal(offset=1) & padding([5, 2]) & random
    shape, rows, columns = (2, 5, 6), slice(1, 4), slice(2, 6)
    whole = array(mask, shape)
    tile = array(mask, shape, rows=rows, columns=columns)
    assert (np.broadcast_to(tile, (2, 3, 4)) == whole[:, rows, columns]).all()


@pytest.mark.parametrize("mask", [np.ones((3, 5)), np.ones((3, 5), dtype=int)])
def test_numbers_are_no_mask(mask):
    with pytest.raises(TypeError, match="True = may look.*belong in `bias`.*astype"):
        array(mask, (3, 5))


def test_other_things_are_no_mask():
    with pytest.raises(TypeError, match="a rule of minattn.masks or a boolean array but is a list"):
        array([True], (3, 5))
    with pytest.raises(TypeError, match="is a list"):
        array(causal() & [True], (5, 5))


def test_a_mask_must_not_enlarge():
    with pytest.raises(
        ValueError, match=r"mask has shape \(4, 5\), which does not broadcast to \(..., T, S\) = \(3, 5\)"
    ):
        array(np.ones((4, 5), dtype=bool), (3, 5))


def test_what_is_kept_is_shared_by_those_who_look():
    mask = np.ones((2, 3, 4, 5), dtype=bool)
    mask[:, 0, :, 4] = False  # head 0 does not see key 4, the others do
    mask[1, :, :, 3] = False  # nobody in sequence 1 sees key 3
    _, seen = masks.visible(mask, mask.shape, like=HERE)
    hidden = masks.keep(seen, np.ones((2, 1, 5, 2)))
    assert hidden[0].all() and hidden[1, 0, 4].all() and not hidden[1, 0, 3].any()
    assert masks.keep(seen, np.ones((5, 2))).all()  # one key for all: someone sees it
    assert masks.visible(None, (2, 3), like=HERE) == (None, None)


def test_visible_by_tiles_is_visible_at_once(monkeypatch):
    mask, shape = causal(offset=-2) & padding([5, 3]), (2, 7, 6)
    whole = array(mask, shape)
    for tile in (1, 20, 10**6):
        monkeypatch.setattr(masks, "TILE", tile)
        sees, seen = masks.visible(mask, shape, like=HERE)
        assert (sees == whole.any(axis=-1)).all() and (seen == whole.any(axis=-2)).all()


def test_one_row_for_all_queries(monkeypatch):
    mask = np.array([[True, False, True, False]])
    for tile in (1, 12, 10**6):
        monkeypatch.setattr(masks, "TILE", tile)
        sees, seen = masks.visible(mask, (2, 7, 4), like=HERE)
        assert sees.shape[-1] == 7 and sees.all() and (seen == mask[0]).all()


def test_what_rules_know_of_a_tile():
    """span holds all that some row may look at, sure only what every row may look at."""
    shape = (9, 11)
    rules = [causal(offset=2), causal(offset=-3), causal(offset=40), masks.window(2, 1), masks.window(None, 0, 1)]
    rules += [masks.window(1, None), causal(offset=2) & masks.window(3, None), padding(np.array(7))]
    for rule in rules:
        whole = np.broadcast_to(array(rule, shape), shape)
        for rows in (slice(0, 9), slice(0, 4), slice(4, 9), slice(5, 6)):
            span, sure = masks.span(rule, shape, rows)
            outside = np.ones(11, dtype=bool)
            outside[span] = False
            assert not whole[rows][:, outside].any() and whole[rows][:, sure].all(), rule
        all_looked_at = whole.any(axis=0).all() and whole.any(axis=1).all()
        assert masks.visible(rule, shape, like=HERE)[0] is not None or all_looked_at
    assert masks.span(None, shape, slice(0, 4)) == (slice(0, 11), slice(0, 11))
    assert masks.span(causal(offset=2), shape, slice(4, 6)) == (slice(0, 8), slice(0, 7))


def test_rules_work_on_the_device():
    mask = masks.array(causal() & padding([3, 2]), (2, 4, 4), like=DeviceArray(HERE))
    assert isinstance(mask, DeviceArray)
    assert (mask.get() == array(causal() & padding([3, 2]), (2, 4, 4))).all()
