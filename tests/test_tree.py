from typing import NamedTuple

import numpy as np
import pytest

from minattn import tree


class State(NamedTuple):
    hidden: object
    cell: object


TREE = {"a": np.ones(2), "deep": {"b": np.zeros((2, 3)), "none": None}, "state": State(np.ones(1), None)}


def test_leaves_have_their_paths():
    assert [path for path, _ in tree.leaves(TREE)] == ["a", "deep.b", "state.hidden"]
    assert tree.leaves(None) == [] and tree.leaves(({}, [][:0] or None)) == []


def test_map_keeps_the_form():
    doubled = tree.map(lambda x: 2 * x, TREE)
    assert doubled["deep"]["none"] is None and isinstance(doubled["state"], State)
    assert (doubled["a"] == 2).all() and (TREE["a"] == 1).all()


def test_add_takes_none_for_zero():
    total = tree.add(TREE, {"a": np.ones(2), "deep": {"b": None, "none": np.ones(1)}, "state": State(None, None)})
    assert (total["a"] == 2).all() and total["deep"]["none"] == 1 and total["state"].hidden == 1
    assert tree.add(None, TREE) is TREE


def test_astype():
    assert {leaf.dtype for _, leaf in tree.leaves(tree.astype(TREE, np.float32))} == {np.dtype(np.float32)}


def test_trees_that_differ():
    with pytest.raises(ValueError, match="the trees differ: one has .*'a'.*, the other .*'c'"):
        tree.add({"a": 1}, {"c": 1})
    with pytest.raises(ValueError, match="the trees differ"):
        tree.map(lambda x, y: x, {"a": 1}, None)


def test_join_is_the_union_and_adds_what_both_have():
    left, right = {"a": np.ones(1), "deep": {"b": np.ones(1)}}, {"c": np.ones(1), "deep": {"b": np.ones(1), "d": None}}
    joined = tree.join(left, right)
    assert [(path, float(leaf[0])) for path, leaf in tree.leaves(joined)] == [("a", 1), ("deep.b", 2), ("c", 1)]
