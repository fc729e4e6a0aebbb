"""What lies here needs CuPy, and nearly all of it a card: elsewhere it is skipped, and says why."""

import pytest

from minattn import backend


@pytest.fixture(scope="session")
def card():
    """Skips where there is no card, with the sentence that a user would get."""
    try:
        backend.to_device({})
    except (ModuleNotFoundError, OSError) as error:
        pytest.skip(str(error))
