"""Every op, on every one of its cases, under every law."""

import numpy as np
import pytest
from laws import LAWS

from minattn.gradcheck import registry

EVERYTHING = [
    pytest.param(op, case, id=f"{name}-{case.name}")
    for name, (op, cases) in registry().items()
    for case in cases(np.random.default_rng(0))
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("op, case", EVERYTHING)
def test_law(law, op, case):
    law(op, case)
