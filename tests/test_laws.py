"""Every op, on every one of its cases, under every law."""

import numpy as np
import pytest
from laws import LAWS

from minattn.attention import VARIANTS
from minattn.gradcheck import registry
from minattn.recurrent import CELLS

EVERYTHING = [
    pytest.param(op, case, id=f"{name}-{case.name}")
    for name, (op, cases) in registry().items()
    for case in cases(np.random.default_rng(0))
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("op, case", EVERYTHING)
def test_law(law, op, case):
    law(op, case)


@pytest.mark.parametrize("name", VARIANTS | CELLS)
def test_declares_what_it_is(name):
    """Without `naive` a law passes for want of an oracle; without the rest errors and README know nothing."""
    op = (VARIANTS | CELLS)[name]
    assert all(getattr(op, word, None) for word in ("PAPER", "TIME", "MEMORY")) and callable(op.naive)
    assert name in CELLS or (op.SHAPES.keys() >= {"query", "key", "value"} and op.EXACT)
