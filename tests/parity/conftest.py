"""Everything below this folder compares with PyTorch, and is skipped where it is missing (see torch_twins)."""

import numpy as np
import pytest


def pytest_itemcollected(item):
    item.add_marker(pytest.mark.parity)


@pytest.fixture(autouse=True)
def float64_on_one_thread():
    """What a module makes for itself is float64, as NumPy's is."""
    import torch

    before = torch.get_default_dtype(), torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    yield
    torch.set_default_dtype(before[0])
    torch.set_num_threads(before[1])


@pytest.fixture
def rng():
    return np.random.default_rng(7)
