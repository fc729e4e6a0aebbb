"""A law that cannot fail proves nothing: each one catches its broken op, and passes the real one."""

import numpy as np
import pytest
from broken import BROKEN, build
from laws import LAWS

from minattn.gradcheck import registry


@pytest.mark.parametrize("row", BROKEN, ids=lambda row: f"{row.law.__name__}: {row.bug}")
def test_broken_op_fails(row):
    name, op = build(row)
    (case,) = [case for case in registry()[name][1](np.random.default_rng(0)) if case.name == row.case]
    row.law(registry()[name][0], case)
    with pytest.raises(row.raises):
        with np.errstate(all="ignore"):
            row.law(op, case)


def test_every_law_has_one():
    assert {row.law for row in BROKEN} == set(LAWS)
