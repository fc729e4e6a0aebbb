"""No test here leaves a figure open, or a setting of matplotlib changed."""

import matplotlib

matplotlib.use("Agg")

import pytest
from matplotlib import pyplot


@pytest.fixture(autouse=True)
def clean():
    before = dict(matplotlib.rcParams)
    yield
    pyplot.close("all")
    assert dict(matplotlib.rcParams) == before
