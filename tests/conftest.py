"""Fixtures for all tests."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from kit import ServerProcess, serving

# How long an example takes says what else the machine does.
settings.register_profile("tidings", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tidings")


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    """A server of this test's own."""
    with serving() as running:
        yield running
