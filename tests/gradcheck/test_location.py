"""Each way in which the place of an error is told."""

import numpy as np
import pytest

from minattn.gradcheck.location import element, names_of, where


def wrong(shape, *places):
    """An array of booleans, True at the places, each an index or a slice."""
    mask = np.zeros(shape, dtype=bool)
    for place in places:
        mask[place] = True
    return mask


ALL = slice(None)


@pytest.mark.parametrize(
    "mask, letters, said",
    [
        (wrong((2, 3)), "", ""),
        (wrong((2, 3), ALL), "", ""),
        (wrong((), ()), "", ""),
        (wrong((3, 2, 4), 0), "B T D", "all in sequence b=0, the first"),
        (wrong((3, 2, 4), 1), "B T D", "all in sequence b=1"),
        (wrong((3, 4, 2), (ALL, 3)), "B T D", "all in step t=3, the last"),
        (wrong((3, 4, 2), (2, 3), (0, 3), (1, 3, 0)), "B S D", "all in step s=3, the last"),
        (wrong((3, 4, 2), (ALL, 1)), "M H D", "all in head h=1"),
        (wrong((3, 4, 2), (1, ALL)), "M H D", "all in m=1"),
        (wrong((3, 2, 4), (ALL, 1)), "M H D", "all in head h=1, the last"),
        (wrong((3, 4, 2), (ALL, slice(3))), "B T D", "everywhere but in step t=3, the last"),
        (wrong((3, 4, 2), (ALL, slice(1, 4))), "B T D", "everywhere but in step t=0, the first"),
        (wrong((3, 4), (0, 1), (1, 2), (2, 3)), "B T", "none in step t=0, the first"),
        (wrong((2, 6, 2), (ALL, [1, 3])), "B T D", "all in steps t=1, 3"),
        (wrong((9, 2), (slice(0, 7), ALL)), "T D", "all in steps t=0 to 6"),
        (wrong((3, 4), 1), "", "all in index 1 of axis 0"),
        (wrong((3, 4), (ALL, [0, 2])), "", "all in indices 0, 2 of axis 1"),
        (wrong((5,), 3), "", "all in index 3 of axis 0"),
        (wrong((5,), [0, 3]), "", "all in indices 0, 3 of axis 0"),
        (wrong((5,), slice(4)), "", "everywhere but in index 4 of axis 0"),
        (wrong((5, 5), np.triu_indices(5, 1)), "", "all above the diagonal"),
        (wrong((5, 5), np.tril_indices(5, -1)), "", "all below the diagonal"),
        (wrong((5, 5), np.triu_indices(5)), "", ""),
        (wrong((2, 4, 6), (1, *np.triu_indices(4, 1, 6))), "", "all above the diagonal"),
        (wrong((2, 6, 4), (ALL, *np.tril_indices(6, -1, 4))), "", "all below the diagonal"),
        (wrong((5, 5), (0, [1, 2, 3])), "", "all in index 0 of axis 0"),  # above it too, but few of those
        (wrong((3, 8), (ALL, slice(2, 4))), "I 4N", "in the forget gate"),
        (wrong((3, 8), (ALL, [0, 7])), "I 4N", "in the input and output gates"),
        (wrong((9,), slice(6, 9)), "3N", "in the candidate gate"),
        (wrong((10,), slice(2, 4)), "5N", "in the 1 gate"),
        (wrong((3, 8), (ALL, slice(0, 8, 2))), "I 4N", "all in 4n=0, 2, 4, 6"),  # in all gates, and not everywhere
    ],
)
def test_what_wrong_elements_have_in_common(mask, letters, said):
    assert where(mask, letters.split()) == said


def test_where_the_true_gradient_is_zero():
    numeric = np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 4.0]])
    assert where(numeric == 0, (), numeric) == "just where the true gradient is 0, masked, padded or never read"
    assert where(numeric != 0, (), numeric) == ""


@pytest.mark.parametrize(
    "shape, letters, names",
    [
        ((2, 3), "", ["axis 0", "axis 1"]),
        ((3,), "", ["axis 0"]),
        ((), "", []),
        ((2, 3), "T D", ["t", "d"]),
        ((4, 2, 3), "T D", ["b", "t", "d"]),
        ((4, 5, 2, 3), "T D", ["b", "h", "t", "d"]),
        ((6, 4, 5, 2, 3), "T D", ["axis 0", "axis 1", "axis 2", "t", "d"]),
        ((3,), "T D", ["axis 0"]),  # the letters are of something else
        ((2, 12), "N 4N", ["n", "4n"]),
    ],
)
def test_names_of_axes(shape, letters, names):
    assert names_of(shape, letters.split()) == names


@pytest.mark.parametrize(
    "index, shape, letters, said",
    [
        ((3, 1, 0), (4, 2, 3), "M H D", "W[m=3, h=1, d=0]"),
        ((1, 5), (2, 8), "I 4N", "W[i=1, gate=cell, n=1]"),
        ((7,), (8,), "4N", "W[gate=output, n=1]"),
        ((3,), (6,), "3N", "W[gate=update, n=1]"),
        ((3,), (10,), "5N", "W[gate=1, n=1]"),
        ((3, 1), (4, 2), "", "W[3, 1]"),
        ((3,), (4,), "", "W[3]"),
        ((), (), "", "W[]"),
    ],
)
def test_an_element_by_the_names_of_its_axes(index, shape, letters, said):
    assert element("W", index, shape, letters.split()) == said
