"""A folder for proxies, and the server before which they stand."""

from collections.abc import Iterator

import pytest

from kit import ServerProcess, serving

SITE = "push.example.org"


@pytest.fixture(scope="module")
def named_server() -> Iterator[ServerProcess]:
    """A server that was told its name, as docs/proxies.md says."""
    with serving("--allow-origin", f"https://{SITE}") as running:
        yield running
