"""A law that cannot fail proves nothing: each one catches its broken op, and passes the real one."""

import numpy as np
import pytest
from broken import BROKEN
from laws import LAWS

from minattn.gradcheck import registry
from minattn.gradcheck.zoo import build


@pytest.mark.parametrize("row", BROKEN, ids=lambda row: f"{row.law.__name__}: {row.bug.name}")
def test_broken_op_fails(row):
    real, cases = registry()[row.bug.op]
    (case,) = [case for case in cases(np.random.default_rng(0)) if case.name == row.bug.case]
    row.law(real, case)
    with pytest.raises(row.raises):
        with np.errstate(all="ignore"):
            row.law(build(row.bug), case)


def test_every_law_has_one():
    assert {row.law for row in BROKEN} == set(LAWS)
