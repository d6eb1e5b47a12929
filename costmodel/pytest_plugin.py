"""The pytest plugin: the fixture `assert_fits`. Every run of pytest imports this, so it imports nothing of the package.

The package's own `__init__` imports nothing either.
"""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="session")
def assert_fits() -> Any:
    """The function `costmodel.testing.assert_fits`: fails unless a training step peaks within a budget."""
    from .testing import assert_fits

    return assert_fits
