"""Fixtures for all tests."""

from collections.abc import Iterator

import pytest

from kit import ServerProcess, serving


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    """A server of this test's own."""
    with serving() as running:
        yield running
